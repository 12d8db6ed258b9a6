//! What a command and everything that it started used, from its begin to its end.
//!
//! The figures bear the names of [`METRICS`](crate::metric::METRICS). Counters are what the
//! whole tree did; of what rises and falls, the figure is the most that was seen at once: a
//! command that has ended holds nothing any more.

mod comparison;
mod limit;
pub mod records;

use std::time::Duration;

use crate::metric::MetricId;
use crate::rate;
use crate::report::{Column, Figure, Form, Report, Value};

pub use comparison::{Change, Cost, Doubt, compare};
pub use limit::{Judgement, Limit, LimitError};
pub use records::Agreement;

/// What the report of a run says of its tree, in this order.
pub const TOTAL_METRICS: [MetricId; 19] = [
    MetricId::Uptime,
    MetricId::CpuPercent,
    MetricId::CpuUser,
    MetricId::CpuSystem,
    MetricId::MemoryPeak,
    MetricId::IoReadBytes,
    MetricId::IoWriteBytes,
    MetricId::IoCancelledWriteBytes,
    MetricId::IoReadChars,
    MetricId::IoWriteChars,
    MetricId::IoReadCount,
    MetricId::IoWriteCount,
    MetricId::PageFaultsMinor,
    MetricId::PageFaultsMajor,
    MetricId::CtxSwitchesVoluntary,
    MetricId::CtxSwitchesInvoluntary,
    MetricId::ProcessesTotal,
    MetricId::ProcessesEnded,
    MetricId::Fds,
];

/// What it says of each program.
pub const PROGRAM_METRICS: [MetricId; 6] = [
    MetricId::ProcessesEnded,
    MetricId::CpuUser,
    MetricId::CpuSystem,
    MetricId::MemoryPeak,
    MetricId::IoReadBytes,
    MetricId::IoWriteBytes,
];

/// What a command and everything that it started used.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The command as it was typed, without its arguments: those may hold secrets.
    pub program: Box<[u8]>,
    /// How it ended.
    pub ending: Ending,
    /// From its start to its own end.
    pub command_wall: Duration,
    /// The signal that ended the waiting for what the command had left behind.
    pub cut_short_by: Option<i32>,
    /// One row with the columns of [`TOTAL_METRICS`]. Its interval reaches from the start of
    /// the command to the end of the last process, or to when that was not waited for any more.
    pub total: Report,
    /// One row for each program that was seen, with the columns of [`PROGRAM_METRICS`].
    pub programs: Report,
    /// The most resident memory that a single process ever had, in bytes.
    pub largest_process: Figure,
    /// What was left when nobody waited any more, ascending by PID.
    pub still_running: Vec<Survivor>,
    /// How often the tree was looked at.
    pub samples: u64,
    /// How often that failed: what was there then was not seen.
    pub failed_samples: u64,
    /// Whether a process let the kernel reap its children, whose counters then reach nobody.
    pub reaping: Reaping,
    /// Whether what came with waiting for the processes is what their records tell.
    pub agreement: Agreement,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this number.
    Exited(u8),
    /// A signal of this number ended it.
    Signaled(i32),
}

/// A process that outlived the measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its PID.
    pub pid: u32,
    /// Its command name.
    pub comm: Box<[u8]>,
}

/// Who waited for the processes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaping {
    /// Their parents, as far as was seen.
    ByParents,
    /// The kernel, for some: their parent ignored SIGCHLD.
    ByKernel,
}

impl RunReport {
    /// The figure of a column; `None` where a run has none of that name. A rate is the mean over
    /// the whole run.
    #[must_use]
    pub fn figure(&self, column: &Column) -> Option<Figure> {
        figure_of(&self.total, column)
    }
}

/// The figure of a column in a table whose columns are those of [`TOTAL_METRICS`]; `None` where
/// that has none of its name. A rate is the mean over the table's interval.
#[must_use]
pub fn figure_of(total: &Report, column: &Column) -> Option<Figure> {
    let position = TOTAL_METRICS.iter().position(|id| *id == column.metric.id)?;
    let level = *total.groups.first()?.figures.get(position)?;
    Some(match column.form {
        Form::Level => level,
        Form::PerSecond => mean_rate(level, total.interval.unwrap_or_default()),
    })
}

/// The columns of these metrics, as levels.
#[must_use]
pub fn levels(ids: &[MetricId]) -> Vec<Column> {
    ids.iter().map(|id| Column { metric: id.metric(), form: Form::Level }).collect()
}

fn mean_rate(level: Figure, elapsed: Duration) -> Figure {
    let Figure::Known { value, mark } = level else { return level };
    match rate::per_second(value.as_float(), elapsed) {
        Some(rate) => Figure::Known { value: Value::Float(rate), mark },
        None => Figure::Absent(crate::process::Absence::NotYetKnown),
    }
}

#[cfg(test)]
mod tests;
