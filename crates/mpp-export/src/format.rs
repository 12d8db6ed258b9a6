//! Which format, and what it takes to write a report in it.

use std::fmt;
use std::str::FromStr;

use mpp_accounting::report::Report;
use mpp_accounting::similar;

use crate::encode::{csv, graphite, influx, json, jsonl, prometheus};
use crate::escape;
use crate::table;
use crate::units::Units;

/// What a report is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Format {
    /// Rows and columns, for people.
    #[default]
    Table,
    /// One object for each report.
    Json,
    /// One flat object a line for each group.
    Jsonl,
    /// Comma-separated values, with one header.
    Csv,
    /// The plaintext protocol of Graphite's Carbon.
    Graphite,
    /// The text exposition format of Prometheus, version 0.0.4.
    Prometheus,
    /// The line protocol of Influx.
    Influx,
}

impl Format {
    /// All formats, with the words that `--format` takes.
    pub const WORDS: [(&'static str, Format); 7] = [
        ("table", Format::Table),
        ("json", Format::Json),
        ("jsonl", Format::Jsonl),
        ("csv", Format::Csv),
        ("graphite", Format::Graphite),
        ("prometheus", Format::Prometheus),
        ("influx", Format::Influx),
    ];
}

impl FromStr for Format {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        UnknownWord::unless_found(word, &Format::WORDS)
    }
}

impl FromStr for Units {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        UnknownWord::unless_found(word, &Units::WORDS)
    }
}

/// A word that names no format or units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownWord {
    expected: String,
    found: String,
    closest: Option<&'static str>,
}

impl UnknownWord {
    pub(crate) fn unless_found<T: Copy>(
        word: &str,
        words: &[(&'static str, T)],
    ) -> Result<T, Self> {
        let known = || words.iter().map(|(known, _)| *known);
        match words.iter().find(|(known, _)| *known == word) {
            Some((_, value)) => Ok(*value),
            None => Err(UnknownWord {
                expected: known().collect::<Vec<_>>().join(", "),
                found: escape::text(word.as_bytes()).into_owned(),
                closest: similar::closest(word, known()),
            }),
        }
    }

    /// The word that was probably meant.
    #[must_use]
    pub fn closest(&self) -> Option<&'static str> {
        self.closest
    }
}

impl fmt::Display for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownWord { expected, found, .. } = self;
        write!(f, "expected one of {expected}, but found `{found}`")
    }
}

impl std::error::Error for UnknownWord {}

/// Where a report comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The machine's name, any bytes.
    pub host: Box<[u8]>,
    /// What Graphite's paths begin with; written as it stands.
    pub graphite_prefix: String,
}

impl Origin {
    /// A machine, whose Graphite paths begin with `servers.` and its name.
    #[must_use]
    pub fn of_host(host: &[u8]) -> Self {
        let graphite_prefix = format!("servers.{}", escape::graphite(host));
        Origin { host: host.into(), graphite_prefix }
    }
}

/// Choices within a format; each concerns one of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How JSON is laid out.
    pub json: JsonLayout,
    /// How CSV is laid out.
    pub csv: CsvLayout,
    /// How the table is laid out.
    pub table: TableLayout,
}

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JsonLayout {
    /// One line for each report.
    #[default]
    Line,
    /// Indented, for people.
    Pretty,
}

/// How CSV is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CsvLayout {
    /// One number a line: `time,group,metric,value,mark,tier`.
    #[default]
    Long,
    /// One group a line, a column for each metric.
    Wide,
}

/// How the table is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLayout {
    /// How numbers are scaled.
    pub units: Units,
    /// How many columns of characters there are; no line is longer.
    pub width: usize,
}

impl Default for TableLayout {
    /// The design size of a screen.
    fn default() -> Self {
        TableLayout { units: Units::Iec, width: 80 }
    }
}

/// Writes reports in one format, one after another.
///
/// Reports of one encoder have the same columns: CSV names them once, in its header.
#[derive(Clone, Debug)]
pub struct Encoder {
    format: Format,
    origin: Origin,
    options: Options,
    has_begun: bool,
}

impl Encoder {
    /// An encoder that has not written anything yet.
    #[must_use]
    pub fn new(format: Format, origin: Origin, options: Options) -> Self {
        Encoder { format, origin, options, has_begun: false }
    }

    /// Appends a report, whole lines only.
    pub fn write(&mut self, report: &Report, out: &mut Vec<u8>) {
        let is_first = !std::mem::replace(&mut self.has_begun, true);
        let (origin, options) = (&self.origin, &self.options);
        match self.format {
            Format::Table => {
                if !is_first {
                    out.push(b'\n');
                }
                table::write(report, &options.table, out);
            }
            Format::Json => json::write(report, origin, options.json, out),
            Format::Jsonl => jsonl::write(report, out),
            Format::Csv => {
                if is_first {
                    csv::write_header(&report.columns, options.csv, out);
                }
                csv::write(report, options.csv, out);
            }
            Format::Graphite => graphite::write(report, &origin.graphite_prefix, out),
            Format::Prometheus => prometheus::write(report, out),
            Format::Influx => influx::write(report, &origin.host, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_its_format() {
        for (word, format) in Format::WORDS {
            assert_eq!(word.parse(), Ok(format));
        }
        for (word, units) in Units::WORDS {
            assert_eq!(word.parse(), Ok(units));
        }
    }

    fn check_unknown(error: &UnknownWord, message: &str, closest: Option<&str>) {
        assert_eq!((error.to_string().as_str(), error.closest()), (message, closest));
    }

    #[test]
    fn an_unknown_word_is_named_and_asked_about() {
        check_unknown(
            &"josn".parse::<Format>().expect_err("unknown"),
            "expected one of table, json, jsonl, csv, graphite, prometheus, influx, \
             but found `josn`",
            Some("json"),
        );
        check_unknown(
            &"\u{1b}".parse::<Units>().expect_err("unknown"),
            "expected one of iec, si, raw, but found `\\x1B`",
            None,
        );
    }
}
