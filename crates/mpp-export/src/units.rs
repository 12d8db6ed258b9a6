//! Numbers as people read them: scaled, three digits, the unit behind.

use mpp_accounting::metric::{Metric, Unit};
use mpp_accounting::report::{Column, Form, Value};

use crate::figure::push_value;

/// How a table scales its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Units {
    /// By 1024: `5.20MiB`.
    #[default]
    Iec,
    /// By 1000: `5.45MB`.
    Si,
    /// Not at all: `5451776`.
    Raw,
}

impl Units {
    /// All units, with the words that `--units` takes.
    pub const WORDS: [(&'static str, Units); 3] =
        [("iec", Units::Iec), ("si", Units::Si), ("raw", Units::Raw)];
}

/// A number of this column, without its mark.
pub(crate) fn scaled(column: &Column, value: Value, units: Units) -> String {
    let number = match value {
        Value::Integer(number) => as_float(number),
        Value::Float(number) => number,
    };
    let Metric { unit, .. } = column.metric;
    match (units, unit, column.form) {
        (Units::Raw, _, _) => raw(value),
        (Units::Iec, Unit::Bytes, _) => with_prefix(number, 1024.0, &IEC_BYTES),
        (Units::Si, Unit::Bytes, _) => with_prefix(number, 1000.0, &SI_BYTES),
        (_, Unit::Count, _) => count(number, value),
        (_, Unit::Percent, _) => three_digits_or_more(number, 1),
        (_, Unit::Seconds, Form::Level) => duration(number),
        (_, Unit::Seconds, Form::PerSecond) => three_digits_or_more(number, 2),
    }
}

/// A number of bytes in words.
pub(crate) fn bytes(number: u64, units: Units) -> String {
    match units {
        Units::Iec => with_prefix(as_float(number), 1024.0, &IEC_BYTES),
        Units::Si => with_prefix(as_float(number), 1000.0, &SI_BYTES),
        Units::Raw => format!("{number} bytes"),
    }
}

const IEC_BYTES: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
const SI_BYTES: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const SI_COUNTS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

/// Larger counts are scaled.
const COUNT_MAX: f64 = 99_999.0;

/// No screen shows a digit that a double does not hold.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn as_float(number: u64) -> f64 {
    number as f64
}

fn raw(value: Value) -> String {
    let mut text = Vec::new();
    push_value(value, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn count(number: f64, value: Value) -> String {
    match value {
        Value::Integer(whole) if number <= COUNT_MAX => whole.to_string(),
        Value::Float(_) if number <= COUNT_MAX => three_digits_or_more(number, 1),
        _ => with_prefix(number, 1000.0, &SI_COUNTS),
    }
}

/// Three digits and the unit that leaves at least one before the point.
fn with_prefix(number: f64, base: f64, suffixes: &[&str; 7]) -> String {
    let mut left = number;
    let mut position = 0;
    // What would round up to the base belongs to the next unit.
    while left >= base - 0.5 && position + 1 < suffixes.len() {
        left /= base;
        position += 1;
    }
    let suffix = suffixes[position];
    match position {
        0 if left.fract() == 0.0 => format!("{left:.0}{suffix}"),
        0 => format!("{}{suffix}", three_digits_or_more(left, 1)),
        _ => format!("{}{suffix}", three_digits_or_more(left, 2)),
    }
}

/// At most so many digits behind the point, fewer where there are enough before it.
fn three_digits_or_more(number: f64, fraction_max: usize) -> String {
    let fraction: usize = match number.abs() {
        small if small < 9.995 => 2,
        medium if medium < 99.95 => 1,
        _ => 0,
    };
    format!("{number:.*}", fraction.min(fraction_max))
}

/// The two largest of days, hours, minutes and seconds.
fn duration(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1}s");
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    let whole = seconds.round() as u64;
    match whole {
        0..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        86_400..8_640_000 => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
        _ => format!("{}d", whole / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use mpp_accounting::metric;
    use proptest::prelude::*;

    use super::*;

    fn check(column: &str, value: Value, units: Units, expected: &str) {
        let column = metric::column_by_name(column).expect("a column");
        assert_eq!(scaled(&column, value, units), expected);
    }

    #[test]
    fn bytes_keep_three_digits() {
        for (bytes, iec, si) in [
            (0, "0B", "0B"),
            (512, "512B", "512B"),
            (1000, "1000B", "1.00kB"),
            (1023, "1023B", "1.02kB"),
            (1024, "1.00KiB", "1.02kB"),
            (5_451_776, "5.20MiB", "5.45MB"),
            (1_048_575, "1.00MiB", "1.05MB"),
            (112_742_891_520, "105GiB", "113GB"),
            (u64::MAX, "16.0EiB", "18.4EB"),
        ] {
            check("memory.rss", Value::Integer(bytes), Units::Iec, iec);
            check("memory.rss", Value::Integer(bytes), Units::Si, si);
            check("memory.rss", Value::Integer(bytes), Units::Raw, &bytes.to_string());
        }
        check("io_counters.read_bytes_per_sec", Value::Float(0.4), Units::Iec, "0.4B");
        check("io_counters.read_bytes_per_sec", Value::Float(1e9), Units::Raw, "1000000000.0");
    }

    #[test]
    fn counts_are_whole_until_they_are_long() {
        check("fds", Value::Integer(99_999), Units::Iec, "99999");
        check("fds", Value::Integer(1_234_567), Units::Iec, "1.23M");
        check("io_counters.read_count_per_sec", Value::Float(12.34), Units::Iec, "12.3");
        check("io_counters.read_count_per_sec", Value::Float(1234.5), Units::Iec, "1234");
    }

    #[test]
    fn times_show_their_two_largest_parts() {
        for (seconds, expected) in [
            (0.0, "0.0s"),
            (59.9, "59.9s"),
            (59.96, "1m00s"),
            (723.0, "12m03s"),
            (11_520.0, "3h12m"),
            (183_600.0, "2d03h"),
            (1e8, "1157d"),
        ] {
            check("uptime", Value::Float(seconds), Units::Iec, expected);
        }
        check("cpu.user_per_sec", Value::Float(0.987), Units::Iec, "0.99");
    }

    #[test]
    fn percentages_have_one_digit_behind_the_point() {
        check("cpu.percent", Value::Float(12.149), Units::Si, "12.1");
        check("cpu.percent", Value::Float(0.04), Units::Si, "0.0");
        check("cpu.percent", Value::Float(799.6), Units::Si, "800");
    }

    proptest! {
        #[test]
        fn a_scaled_number_is_short(number in 0..u64::MAX, rate in 0.0..1e18_f64) {
            for column in metric::choose("all").expect("columns") {
                let value = match column.form {
                    Form::Level => Value::Integer(number),
                    Form::PerSecond => Value::Float(rate),
                };
                if matches!(column.metric.unit, Unit::Bytes | Unit::Count) {
                    prop_assert!(scaled(&column, value, Units::Iec).len() <= 7);
                    prop_assert!(scaled(&column, value, Units::Si).len() <= 7);
                }
            }
        }
    }
}
