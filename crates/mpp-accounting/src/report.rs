//! What the groups used: the one thing that every sink, screen and page is made from.
//!
//! A report is a table. Its columns are metrics, each as a level or as a rate; its
//! rows are groups; a cell is a [`Figure`]: a number and how far it can be trusted,
//! or the reason why there is none.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::metric::Metric;
use crate::process::Absence;
use crate::snapshot::{Host, Trouble};
use crate::units::WallTime;

/// What each group used at one moment and since the sample before.
#[derive(Clone, Debug)]
pub struct Report {
    /// When the sweep began.
    pub wall_time: WallTime,
    /// Time between the starts of the last two sweeps; `None` where there was only one.
    pub interval: Option<Duration>,
    /// How far the numbers of this report can be trusted.
    pub accuracy: Accuracy,
    /// What stands in each column of every group.
    pub columns: Arc<[Column]>,
    /// The groups.
    pub groups: Vec<GroupReport>,
    /// The machine.
    pub host: Host,
    /// What went wrong during the sweep.
    pub trouble: Trouble,
}

/// Where the numbers came from, and what is missing from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accuracy {
    /// How ended processes were seen.
    pub tier: Tier,
    /// Processes that ended in this interval without anybody taking over their last
    /// counters: what they did between the last sight of them and their end is missing.
    pub lost: u64,
    /// I/O bytes (read and written) of this interval that belong to one of several
    /// groups, nobody knows which, and are in none.
    pub unattributed_io_bytes: u64,
    /// Bytes that TCP connections moved (sent and received) which were opened and closed within
    /// this interval, and of which nobody knows whose they were. They are in no group.
    pub unattributed_tcp_bytes: u64,
    /// CPU time of this interval of which the same is true as of I/O, in nanoseconds.
    pub unattributed_cpu_ns: u64,
    /// Threads that ended in this interval and whose record never reached us, though the
    /// kernel wrote records: the tier is lower for as long.
    pub lost_records: u64,
    /// The same since the first report.
    pub lost_records_total: u64,
    /// By how many bytes at most a group's I/O counters are too low since the start, because
    /// the kernel rounds the records of ended threads down, and what it tells of living ones whose
    /// files may not be read: the largest of all groups. What grew since some moment in the life of
    /// such a thread may be too high by as much.
    pub io_bound_bytes: u64,
    /// Living processes that may or may not belong to a group: something that decides it
    /// could not be read.
    pub undecided: u64,
}

/// How ended processes are seen. `A` is the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Exact: every ended process's own last record.
    A,
    /// Bounded: records rounded, or some lost.
    B,
    /// Estimate: polling alone.
    C,
}

impl Tier {
    /// One letter.
    #[must_use]
    pub fn letter(self) -> &'static str {
        match self {
            Tier::A => "A",
            Tier::B => "B",
            Tier::C => "C",
        }
    }

    /// What the letter promises.
    #[must_use]
    pub fn promise(self) -> &'static str {
        match self {
            Tier::A => "exact",
            Tier::B => "bounded",
            Tier::C => "estimate",
        }
    }
}

/// A metric, and whether as it stands or by the second.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The metric.
    pub metric: &'static Metric,
    /// Its level or its rate.
    pub form: Form,
}

/// Level or rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The gauge's value, or the counter's total.
    Level,
    /// The counter's growth by the second, over the report's interval.
    PerSecond,
}

impl Column {
    /// The dotted name: the metric's, with `_per_sec` for a rate.
    #[must_use]
    pub fn name(&self) -> Cow<'static, str> {
        match self.form {
            Form::Level => Cow::Borrowed(self.metric.name),
            Form::PerSecond => Cow::Owned(format!("{}_per_sec", self.metric.name)),
        }
    }
}

/// One group's row.
#[derive(Clone, Debug)]
pub struct GroupReport {
    /// The group's name: its selector's text form or the value it was grouped by. Any bytes.
    pub name: Box<[u8]>,
    /// Members that matched themselves.
    pub matched: u64,
    /// Members that were taken along as descendants of one that matched.
    pub descendants: u64,
    /// How far these two numbers can be trusted.
    pub members_mark: Mark,
    /// Members of which something requested could not be read.
    pub unreadable: u64,
    /// One figure for each of the report's columns.
    pub figures: Box<[Figure]>,
}

/// A cell of a report.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// A number, and how far it can be trusted.
    Known {
        /// The number, in the metric's unit (per second for a rate).
        value: Value,
        /// How far it can be trusted.
        mark: Mark,
    },
    /// Nothing can be said, and why.
    Absent(Absence),
}

/// A number as its metric types it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// Bytes and counts.
    Integer(u64),
    /// Seconds, percentages and rates; always finite.
    Float(f64),
}

impl Value {
    /// As a number with a fraction, as near as those come.
    #[must_use]
    pub fn as_float(self) -> f64 {
        match self {
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
        }
    }
}

/// How far a number can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// As the kernel counts it.
    Exact,
    /// Off by no more than a bound that is known: [`Accuracy::io_bound_bytes`]. Printed `~`.
    Bound,
    /// Close: something that ended between two sweeps was inferred. Printed `~`.
    Estimate,
    /// At least this much: some members could not be read. Printed `>=`.
    LowerBound,
}

impl Mark {
    /// The mark as it is printed before a number.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Mark::Exact => "",
            Mark::Bound | Mark::Estimate => "~",
            Mark::LowerBound => ">=",
        }
    }

    /// The mark as machine formats spell it; exact numbers carry none.
    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Mark::Exact => None,
            Mark::Bound => Some("bound"),
            Mark::Estimate => Some("estimate"),
            Mark::LowerBound => Some("lower_bound"),
        }
    }

    /// The mark of a number made from two: the weaker promise.
    #[must_use]
    pub fn and(self, other: Mark) -> Mark {
        self.max(other)
    }
}
