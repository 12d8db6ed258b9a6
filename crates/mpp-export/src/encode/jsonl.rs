//! JSON lines: one flat object for each group, the metrics beside the time.

use mpp_accounting::report::Report;
use mpp_accounting::units::WallTime;

use super::json::{Writer, push_doubts, push_metrics};
use super::milliseconds;
use crate::figure::{accuracy_numbers, interval_seconds, named_columns};
use crate::format::JsonLayout;

pub(crate) fn write(report: &Report, out: &mut Vec<u8>) {
    let columns = named_columns(&report.columns);
    for group in &report.groups {
        let mut json = Writer::new(JsonLayout::Line, out);
        json.open(b'{');
        json.key("time");
        push_time(report.wall_time, json.out);
        json.key("group").string(&group.name);
        json.key("tier").string(report.accuracy.tier.letter().as_bytes());
        for (name, number) in accuracy_numbers(&report.accuracy) {
            json.key(name).integer(number);
        }
        json.key("interval_sec").float(interval_seconds(report));
        push_metrics(&mut json, &columns, &group.figures);
        push_doubts(&mut json, &columns, &group.figures);
        json.key("matched").integer(group.matched);
        json.key("descendants").integer(group.descendants);
        json.key("unreadable").integer(group.unreadable);
        json.close(b'}');
        out.push(b'\n');
    }
}

/// Seconds since 1970 with milliseconds, `1795435421.52`.
pub(crate) fn push_time(time: WallTime, out: &mut Vec<u8>) {
    let milliseconds = milliseconds(time);
    let sign = if milliseconds < 0 { "-" } else { "" };
    let milliseconds = milliseconds.unsigned_abs();
    let text = format!("{sign}{}.{:03}", milliseconds / 1000, milliseconds % 1000);
    let short = text.trim_end_matches('0');
    let short = if short.ends_with('.') { &text[..=short.len()] } else { short };
    out.extend_from_slice(short.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(unix_ns: i64, expected: &str) {
        let mut out = Vec::new();
        push_time(WallTime { unix_ns }, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_moment_is_a_number_with_its_milliseconds() {
        check(1_795_435_421_520_000_000, "1795435421.52");
        check(1_795_435_420_000_000_000, "1795435420.0");
        check(0, "0.0");
        check(5_000_000, "0.005");
        check(-1_500_000_000, "-1.5");
    }
}
