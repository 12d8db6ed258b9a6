//! The cells of a report as all formats need them: named, finite, and numbered in text.

use std::borrow::Cow;

use mpp_accounting::metric::Need;
use mpp_accounting::process::Absence;
use mpp_accounting::report::{Accuracy, Column, Figure, Report, Tier, Value};
use mpp_accounting::snapshot::{Trouble, Visibility};

/// A column with its name, made once for all groups.
pub(crate) struct NamedColumn<'a> {
    pub(crate) column: &'a Column,
    pub(crate) name: Cow<'static, str>,
}

pub(crate) fn named_columns(columns: &[Column]) -> Vec<NamedColumn<'_>> {
    columns.iter().map(|column| NamedColumn { column, name: column.name() }).collect()
}

/// A row's figures beside their columns. A number that no format can write is absent.
pub(crate) fn cells<'a>(
    columns: &'a [NamedColumn<'a>],
    figures: &'a [Figure],
) -> impl Iterator<Item = (&'a NamedColumn<'a>, Figure)> {
    columns.iter().zip(figures.iter().map(|figure| finite(*figure)))
}

pub(crate) fn finite(figure: Figure) -> Figure {
    match figure {
        Figure::Known { value: Value::Float(number), .. } if !number.is_finite() => {
            Figure::Absent(Absence::Malformed)
        }
        figure => figure,
    }
}

/// Why a cell is empty, in words.
pub(crate) fn reason(column: &Column, why: Absence) -> String {
    let is_by_request = column.metric.need == Need::ProportionalMemory;
    match why {
        Absence::NotRequested if is_by_request => format!("{why} (--pss)"),
        _ => why.to_string(),
    }
}

/// Appends a number: whole ones as they are, others in the shortest form that reads back
/// as the same, `31457280.0`.
pub(crate) fn push_value(value: Value, out: &mut Vec<u8>) {
    match value {
        Value::Integer(number) => push_integer(number, out),
        Value::Float(number) => push_float(number, out),
    }
}

pub(crate) fn push_integer(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a finite number; one that is not is clamped, never written as it is.
pub(crate) fn push_float(number: f64, out: &mut Vec<u8>) {
    let finite = if number.is_nan() { 0.0 } else { number.clamp(f64::MIN, f64::MAX) };
    out.extend_from_slice(zmij::Buffer::new().format_finite(finite).as_bytes());
}

/// CPU time that belongs to one of several groups, nobody knows which.
pub(crate) fn unattributed_cpu_seconds(report: &Report) -> f64 {
    mpp_accounting::rate::seconds(report.accuracy.unattributed_cpu_ns)
}

/// The interval in seconds.
pub(crate) fn interval_seconds(report: &Report) -> Option<f64> {
    report.interval.map(|interval| interval.as_secs_f64())
}

/// The tier for formats that know only numbers: 1 for A, 2 for B, 3 for C.
pub(crate) fn tier_number(tier: Tier) -> u64 {
    match tier {
        Tier::A => 1,
        Tier::B => 2,
        Tier::C => 3,
    }
}

/// How much of the machine is seen, for formats that know only numbers: 1 for the whole, 2
/// where others' processes are unreadable, 3 where they are hidden.
pub(crate) fn visibility_number(visibility: Visibility) -> u64 {
    match visibility {
        Visibility::Whole => 1,
        Visibility::OthersUnreadable => 2,
        Visibility::OthersHidden => 3,
    }
}

/// One class of what may go wrong in a sweep.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TroubleClass {
    /// As machine formats spell it.
    pub(crate) name: &'static str,
    pub(crate) count: u64,
    /// What a table needs to say it.
    pub(crate) concern: Concern,
    /// What one of them is for people.
    one: &'static str,
    /// The same of none and several.
    several: &'static str,
}

impl TroubleClass {
    /// `2 readings refused`.
    pub(crate) fn words(&self) -> String {
        counted(self.count, self.one, self.several)
    }
}

/// When people are told of a class of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    /// Counted over all processes of the machine, most of which nobody asked about: only where
    /// something is missing of those that were asked about.
    Members,
    /// Always: something of ours, or of the kernel's, did not go as it should.
    Measuring,
}

/// A count, and what is counted.
pub(crate) fn counted(count: u64, one: &str, several: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { several })
}

/// What is said of one as of several.
const CUT: &str = "with too many descriptors to find sockets";
const UNREACHED: &str = "not reached in the time for sockets";

/// What may go wrong in a sweep: its name, its count, whom it concerns, and what is counted, of one
/// and of several.
type TroubleRow = (&'static str, fn(&Trouble) -> u64, Concern, &'static str, &'static str);

/// The classes of what may go wrong in a sweep.
const TROUBLE_ROWS: [TroubleRow; 17] = [
    (
        "vanished",
        |trouble| trouble.vanished,
        Concern::Members,
        "ended while being read",
        "ended while being read",
    ),
    ("denied", |trouble| trouble.denied, Concern::Members, "reading refused", "readings refused"),
    (
        "blocked",
        |trouble| trouble.blocked,
        Concern::Members,
        "blocked while being read",
        "blocked while being read",
    ),
    (
        "truncated",
        |trouble| trouble.truncated,
        Concern::Members,
        "reading cut short",
        "readings cut short",
    ),
    (
        "malformed",
        |trouble| trouble.malformed,
        Concern::Members,
        "reading not understood",
        "readings not understood",
    ),
    (
        "failed",
        |trouble| trouble.failed,
        Concern::Measuring,
        "system call failed",
        "system calls failed",
    ),
    (
        "clobbered_environments",
        |trouble| trouble.clobbered_environments,
        Concern::Members,
        "environment overwritten",
        "environments overwritten",
    ),
    (
        "fallen_counters",
        |trouble| trouble.fallen_counters,
        Concern::Measuring,
        "counter that went back",
        "counters that went back",
    ),
    (
        "given_up_readings",
        |trouble| trouble.given_up_readings,
        Concern::Members,
        "reading of memory given up",
        "readings of memory given up",
    ),
    (
        "dropped_readings",
        |trouble| trouble.dropped_readings,
        Concern::Members,
        "reading of memory put off",
        "readings of memory put off",
    ),
    (
        "hanging_threads",
        |trouble| trouble.hanging_threads,
        Concern::Measuring,
        "thread of ours hangs",
        "threads of ours hang",
    ),
    ("cut_sockets", |trouble| trouble.cut_sockets, Concern::Members, CUT, CUT),
    (
        "unreached_sockets",
        |trouble| trouble.unreached_sockets,
        Concern::Members,
        UNREACHED,
        UNREACHED,
    ),
    (
        "lost_connection_reports",
        |trouble| trouble.lost_connection_reports,
        Concern::Measuring,
        "loss of reports on ended connections",
        "losses of reports on ended connections",
    ),
    (
        "failed_sources",
        |trouble| trouble.failed_sources,
        Concern::Measuring,
        "source of exit records failed",
        "sources of exit records failed",
    ),
    (
        "remembered_environments",
        |trouble| trouble.remembered_environments,
        Concern::Members,
        "environment known from before it was overwritten",
        "environments known from before they were overwritten",
    ),
    (
        "forged_messages",
        |trouble| trouble.forged_messages,
        Concern::Measuring,
        "message that the kernel did not send",
        "messages that the kernel did not send",
    ),
];

/// The classes of what may go wrong in a sweep, with their counts.
pub(crate) fn trouble_classes(trouble: &Trouble) -> [TroubleClass; TROUBLE_ROWS.len()] {
    TROUBLE_ROWS.map(|(name, count, concern, one, several)| TroubleClass {
        name,
        count: count(trouble),
        concern,
        one,
        several,
    })
}

/// How much of the machine is seen, in one word.
pub(crate) fn visibility_word(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Whole => "whole",
        Visibility::OthersUnreadable => "others_unreadable",
        Visibility::OthersHidden => "others_hidden",
    }
}

/// What is missing from a report, as every machine format names it.
pub(crate) fn accuracy_numbers(accuracy: &Accuracy) -> [(&'static str, u64); 6] {
    [
        ("lost", accuracy.lost),
        ("lost_records", accuracy.lost_records),
        ("io_bound_bytes", accuracy.io_bound_bytes),
        ("unattributed_io_bytes", accuracy.unattributed_io_bytes),
        ("unattributed_tcp_bytes", accuracy.unattributed_tcp_bytes),
        ("undecided", accuracy.undecided),
    ]
}

#[cfg(test)]
mod tests {
    use mpp_accounting::report::Mark;

    use super::*;

    fn check(value: Value, expected: &str) {
        let mut out = Vec::new();
        push_value(value, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn every_class_of_trouble_has_its_row() {
        let trouble = Trouble {
            vanished: 1,
            denied: 2,
            blocked: 3,
            truncated: 4,
            malformed: 5,
            failed: 6,
            clobbered_environments: 7,
            fallen_counters: 8,
            given_up_readings: 9,
            dropped_readings: 10,
            hanging_threads: 11,
            cut_sockets: 12,
            unreached_sockets: 13,
            lost_connection_reports: 14,
            failed_sources: 15,
            remembered_environments: 16,
            forged_messages: 17,
        };
        let debug = format!("{trouble:?}");
        for (class, count) in trouble_classes(&trouble).iter().zip(1..) {
            assert_eq!(class.count, count, "{}", class.name);
            assert!(debug.contains(&format!("{}: {count}", class.name)), "{debug}");
        }
    }

    #[test]
    fn whole_floats_keep_their_fraction() {
        check(Value::Float(31_457_280.0), "31457280.0");
        check(Value::Float(0.0), "0.0");
        check(Value::Float(12.1), "12.1");
        check(Value::Integer(u64::MAX), "18446744073709551615");
    }

    #[test]
    fn no_format_ever_sees_a_number_that_is_none() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let figure = Figure::Known { value: Value::Float(number), mark: Mark::Exact };
            assert_eq!(finite(figure), Figure::Absent(Absence::Malformed));
            let mut out = Vec::new();
            push_float(number, &mut out);
            assert!(!String::from_utf8_lossy(&out).contains(['n', 'i']));
        }
    }
}
