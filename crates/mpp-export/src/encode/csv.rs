//! Comma-separated values, RFC 4180 with bare line ends.
//!
//! Long: `time,group,metric,value,mark,tier`, one number a line. The mark is empty for what is
//! exact, else `estimate`, `lower_bound`, or `unknown: ` and the reason beside an empty
//! value. The tier is a letter and so has a column of its own: that of the values holds numbers
//! alone. Lines without a group tell what the report is worth.
//!
//! Wide: one line for each group, a column for each metric, and the marks of a line
//! together in its last one.

use mpp_accounting::report::{Column, Figure, GroupReport, Report};

use super::rfc_3339;
use crate::escape;
use crate::figure::{
    NamedColumn, accuracy_numbers, cells, interval_seconds, named_columns, push_float,
    push_integer, push_value, reason,
};
use crate::format::CsvLayout;

/// What stands before the metrics on a wide line.
const WIDE_HEAD: &str = "time,group,tier,lost,lost_records,io_bound_bytes,unattributed_io_bytes,unattributed_tcp_bytes,undecided,interval_sec,matched,descendants,unreadable";

pub(crate) fn write_header(columns: &[Column], layout: CsvLayout, out: &mut Vec<u8>) {
    match layout {
        CsvLayout::Long => out.extend_from_slice(b"time,group,metric,value,mark,tier\n"),
        CsvLayout::Wide => {
            out.extend_from_slice(WIDE_HEAD.as_bytes());
            for column in columns {
                out.push(b',');
                out.extend_from_slice(column.name().as_bytes());
            }
            out.extend_from_slice(b",marks\n");
        }
    }
}

pub(crate) fn write(report: &Report, layout: CsvLayout, out: &mut Vec<u8>) {
    let time = rfc_3339(report.wall_time);
    let columns = named_columns(&report.columns);
    match layout {
        CsvLayout::Long => {
            let tier = report.accuracy.tier.letter();
            write_accuracy(report, &time, out);
            for group in &report.groups {
                write_long(group, &columns, (&time, tier), out);
            }
        }
        CsvLayout::Wide => {
            for group in &report.groups {
                write_wide(report, group, &columns, &time, out);
            }
        }
    }
}

fn write_accuracy(report: &Report, time: &str, out: &mut Vec<u8>) {
    let tier = report.accuracy.tier.letter();
    for (name, number) in accuracy_numbers(&report.accuracy) {
        push_whole((time, tier), "", name, number, out);
    }
    if let Some(seconds) = interval_seconds(report) {
        out.extend_from_slice(format!("{time},,interval_sec,").as_bytes());
        push_float(seconds, out);
        out.extend_from_slice(format!(",,{tier}\n").as_bytes());
    }
}

/// The lines of a group, with the time and the tier that begin and end each.
fn write_long(
    group: &GroupReport,
    columns: &[NamedColumn<'_>],
    ends: (&str, &str),
    out: &mut Vec<u8>,
) {
    let (time, tier) = ends;
    let name = escape::csv(&group.name);
    for (named, figure) in cells(columns, &group.figures) {
        out.extend_from_slice(format!("{time},{name},{},", named.name).as_bytes());
        push_cell(figure, out);
        let mark = mark(named.column, figure).unwrap_or_default();
        out.extend_from_slice(format!(",{mark},{tier}\n").as_bytes());
    }
    push_whole(ends, &name, "matched", group.matched, out);
    push_whole(ends, &name, "descendants", group.descendants, out);
    push_whole(ends, &name, "unreadable", group.unreadable, out);
}

fn write_wide(
    report: &Report,
    group: &GroupReport,
    columns: &[NamedColumn<'_>],
    time: &str,
    out: &mut Vec<u8>,
) {
    let name = escape::csv(&group.name);
    let tier = report.accuracy.tier.letter();
    out.extend_from_slice(format!("{time},{name},{tier}").as_bytes());
    for (_, number) in accuracy_numbers(&report.accuracy) {
        out.push(b',');
        push_integer(number, out);
    }
    out.push(b',');
    if let Some(seconds) = interval_seconds(report) {
        push_float(seconds, out);
    }
    for number in [group.matched, group.descendants, group.unreadable] {
        out.push(b',');
        push_integer(number, out);
    }
    let mut marks = Vec::new();
    for (named, figure) in cells(columns, &group.figures) {
        out.push(b',');
        push_cell(figure, out);
        marks.extend(mark(named.column, figure).map(|mark| format!("{}={mark}", named.name)));
    }
    out.push(b',');
    out.extend_from_slice(escape::csv(marks.join("; ").as_bytes()).as_bytes());
    out.push(b'\n');
}

fn push_whole(ends: (&str, &str), group: &str, metric: &str, number: u64, out: &mut Vec<u8>) {
    let (time, tier) = ends;
    out.extend_from_slice(format!("{time},{group},{metric},").as_bytes());
    push_integer(number, out);
    out.extend_from_slice(format!(",,{tier}\n").as_bytes());
}

pub(crate) fn push_cell(figure: Figure, out: &mut Vec<u8>) {
    if let Figure::Known { value, .. } = figure {
        push_value(value, out);
    }
}

pub(crate) fn mark(column: &Column, figure: Figure) -> Option<String> {
    match figure {
        Figure::Known { mark, .. } => mark.word().map(str::to_owned),
        Figure::Absent(why) => Some(format!("unknown: {}", reason(column, why))),
    }
}
