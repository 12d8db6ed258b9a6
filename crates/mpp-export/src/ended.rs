//! Ended processes, one by one or added up: for people, and for machines.
//!
//! A table of what ends grows at its bottom while one looks at it, so its columns are as
//! wide as what may come, and what the numbers are worth follows at the end. Command lines may
//! hold secrets and are written only where they were asked for; environments never are.

mod csv;
mod json;
mod signs;
mod summary;
mod table;

use std::str::FromStr;

use mpp_accounting::ended::EndedReport;
use mpp_accounting::rate::rounded;
use mpp_accounting::report::{Column, Figure, Form, Value};
use mpp_accounting::{ended::ENDED_METRICS, metric::MetricId};

use self::table::Table;
use crate::format::{JsonLayout, Origin, UnknownWord};
use crate::units::Units;

pub use summary::write_summary;

/// The JSON Schema (2020-12) of what [`EndedFormat::Json`] writes.
pub const EXITS_SCHEMA: &str = include_str!("../schema/exits-1.json");

/// The JSON Schema (2020-12) of what [`write_summary`] writes as [`EndedFormat::Json`].
pub const EXITS_SUMMARY_SCHEMA: &str = include_str!("../schema/exits-summary-1.json");

/// What ended processes are written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EndedFormat {
    /// Rows and columns, for people.
    #[default]
    Table,
    /// One object for each interval.
    Json,
    /// One flat object a line for each process.
    Jsonl,
    /// Comma-separated values, with one header.
    Csv,
}

impl EndedFormat {
    /// All formats, with the words that `--format` takes.
    pub const WORDS: [(&'static str, EndedFormat); 4] = [
        ("table", EndedFormat::Table),
        ("json", EndedFormat::Json),
        ("jsonl", EndedFormat::Jsonl),
        ("csv", EndedFormat::Csv),
    ];
}

impl FromStr for EndedFormat {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        UnknownWord::unless_found(word, &EndedFormat::WORDS)
    }
}

/// Whether command lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Cmdlines {
    /// They may hold secrets.
    #[default]
    Hidden,
    /// Somebody asked for them.
    Shown,
}

/// How ended processes are laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedLayout {
    /// How JSON is laid out.
    pub json: JsonLayout,
    /// How the table scales its numbers.
    pub units: Units,
    /// How many columns of characters the table has. No line is longer, unless numbers are raw.
    pub width: usize,
    /// Whether command lines are written.
    pub cmdlines: Cmdlines,
}

impl Default for EndedLayout {
    /// The design size of a screen.
    fn default() -> Self {
        EndedLayout {
            json: JsonLayout::Line,
            units: Units::Iec,
            width: 80,
            cmdlines: Cmdlines::Hidden,
        }
    }
}

/// Writes ended processes in one format, one interval after another.
#[derive(Debug)]
pub struct EndedEncoder {
    format: EndedFormat,
    origin: Origin,
    layout: EndedLayout,
    table: Table,
    has_begun: bool,
}

impl EndedEncoder {
    /// An encoder that has not written anything yet.
    #[must_use]
    pub fn new(format: EndedFormat, origin: Origin, layout: EndedLayout) -> Self {
        let table = Table::new(&layout);
        EndedEncoder { format, origin, layout, table, has_begun: false }
    }

    /// Appends what a table or CSV begin with, once.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        match self.format {
            EndedFormat::Table => self.table.write_head(out),
            EndedFormat::Csv => csv::write_head(self.layout.cmdlines, out),
            EndedFormat::Json | EndedFormat::Jsonl => {}
        }
    }

    /// Appends an interval, whole lines only.
    pub fn write(&mut self, report: &EndedReport, out: &mut Vec<u8>) {
        self.begin(out);
        match self.format {
            EndedFormat::Table => self.table.write(report, out),
            EndedFormat::Json => json::write(report, &self.origin, &self.layout, out),
            EndedFormat::Jsonl => json::write_lines(report, self.layout.cmdlines, out),
            EndedFormat::Csv => csv::write(report, self.layout.cmdlines, out),
        }
    }

    /// Appends what a table ends with: what it is worth, and what its signs mean.
    pub fn end(&mut self, out: &mut Vec<u8>) {
        if self.format == EndedFormat::Table {
            self.table.write_foot(out);
        }
    }
}

/// The columns of [`ENDED_METRICS`].
fn columns() -> Vec<Column> {
    mpp_accounting::run::levels(&ENDED_METRICS)
}

/// CPU time in both modes together.
fn cpu(figures: &[Figure]) -> Figure {
    let of = |id: MetricId| {
        let position = ENDED_METRICS.iter().position(|other| *other == id);
        position.and_then(|position| figures.get(position)).copied()
    };
    match (of(MetricId::CpuUser), of(MetricId::CpuSystem)) {
        (
            Some(Figure::Known { value: user, mark }),
            Some(Figure::Known { value: system, mark: other }),
        ) => Figure::Known {
            value: Value::Float(rounded(user.as_float() + system.as_float())),
            mark: mark.and(other),
        },
        (Some(absent @ Figure::Absent(_)), _) | (_, Some(absent)) => absent,
        (Some(known), None) => known,
        (None, None) => Figure::Absent(mpp_accounting::process::Absence::NotRequested),
    }
}

/// A figure for a screen; what is unknown is `-`.
fn cell(id: MetricId, figure: Figure, units: Units) -> String {
    let column = Column { metric: id.metric(), form: Form::Level };
    crate::run::cell(&column, figure, units)
}

/// The arguments with a blank between them; the name in brackets where there are none, as in
/// ps(1); `-` where they are unknown.
fn spaced_cmdline(identity: &mpp_accounting::process::Identity) -> Vec<u8> {
    let Some(cmdline) = identity.cmdline.value() else { return b"-".to_vec() };
    let arguments: Vec<&[u8]> = arguments(cmdline).collect();
    match arguments.is_empty() {
        true => [b"[", &*identity.comm, b"]"].concat(),
        false => arguments.join(&b' '),
    }
}

/// The arguments of a command line, which the kernel ends with a NUL each.
fn arguments(cmdline: &[u8]) -> impl Iterator<Item = &[u8]> {
    let end = cmdline.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    cmdline[..end].split(|byte| *byte == 0).filter(move |_| end > 0)
}

/// The name of a signal with its `SIG`; `SIG34` for one without a name.
fn signal_word(signal: u8) -> String {
    let name = mpp_accounting::ended::signal_name(signal);
    name.map_or_else(|| format!("SIG{signal}"), |name| format!("SIG{name}"))
}
