//! The line protocol of Influx: `mpp,host=H,group=G metric=1i,... NANOSECONDS`, and one line
//! `mpp_report` for what the report is worth, with the tier as 1 for A to 3 for C, and the
//! visibility as 1 where everything is seen, 2 where others' processes are unreadable, 3 where
//! they are hidden.

use mpp_accounting::report::{Figure, Report, Value};

use crate::escape;
use crate::figure::{
    accuracy_numbers, cells, interval_seconds, named_columns, push_float, push_integer,
    tier_number, visibility_number,
};

pub(crate) fn write(report: &Report, host: &[u8], out: &mut Vec<u8>) {
    let host =
        if host.is_empty() { String::new() } else { format!(",host={}", escape::influx_tag(host)) };
    let time = report.wall_time.unix_ns;
    out.extend_from_slice(format!("mpp_report{host} tier=").as_bytes());
    push_whole(tier_number(report.accuracy.tier), out);
    for (name, number) in accuracy_numbers(&report.accuracy) {
        push_field(name, number, out);
    }
    push_field("visibility", visibility_number(report.host.visibility), out);
    if let Some(interval) = interval_seconds(report) {
        out.extend_from_slice(b",interval_sec=");
        push_float(interval, out);
    }
    out.extend_from_slice(format!(" {time}\n").as_bytes());
    let columns = named_columns(&report.columns);
    for group in &report.groups {
        let name = escape::influx_tag(&group.name);
        out.extend_from_slice(format!("mpp{host},group={name} matched=").as_bytes());
        push_whole(group.matched, out);
        push_field("descendants", group.descendants, out);
        push_field("unreadable", group.unreadable, out);
        for (named, figure) in cells(&columns, &group.figures) {
            if let Figure::Known { value, .. } = figure {
                out.extend_from_slice(format!(",{}=", named.name).as_bytes());
                match value {
                    Value::Integer(number) => push_whole(number, out),
                    Value::Float(number) => push_float(number, out),
                }
            }
        }
        out.extend_from_slice(format!(" {time}\n").as_bytes());
    }
}

fn push_field(name: &str, number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(format!(",{name}=").as_bytes());
    push_whole(number, out);
}

/// Integers there are signed; a larger one would spoil the whole line.
fn push_whole(number: u64, out: &mut Vec<u8>) {
    push_integer(number.min(i64::MAX.cast_unsigned()), out);
    out.push(b'i');
}
