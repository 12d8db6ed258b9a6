//! Floats as Python 2 prints them: `str(float)`, twelve significant digits.
//!
//! The script that `mpp sensu` stands in for runs on Python 2, and graphs drawn from
//! its lines should not move by a digit. `str` there is C's `%.12g` with `.0` kept on
//! whole numbers, and switches to exponents below 1e-4 and from 1e11 on: one digit
//! earlier than `%g` does, since the `.0` must fit (`format_float_short` in Python's
//! `pystrtod.c`).

/// Digits that are kept.
const SIGNIFICANT_DIGITS: usize = 12;

/// The number as Python 2's `str` writes it; `nan`, `inf` and `-inf` are words there.
pub(crate) fn python2_str(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    let sign = if number.is_sign_negative() { "-" } else { "" };
    if number.is_infinite() {
        return format!("{sign}inf");
    }
    let scientific = format!("{:.*e}", SIGNIFICANT_DIGITS - 1, number.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_end_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let body = if (-4..11).contains(&exponent) {
        positional(digits, exponent)
    } else {
        exponential(digits, exponent)
    };
    format!("{sign}{body}")
}

/// `123.45`, with at least one digit on each side of the point.
fn positional(digits: &str, exponent: i32) -> String {
    let Ok(whole_digits) = usize::try_from(exponent + 1) else {
        let zeros = "0".repeat(usize::try_from(-1 - exponent).unwrap_or(0));
        return format!("0.{zeros}{digits}");
    };
    if whole_digits == 0 {
        return format!("0.{digits}");
    }
    if digits.len() <= whole_digits {
        return format!("{digits:0<whole_digits$}.0");
    }
    let (whole, fraction) = digits.split_at(whole_digits);
    format!("{whole}.{fraction}")
}

/// `1.5e+11`, `1e-05`: an exponent of at least two digits, and no `.0`.
fn exponential(digits: &str, exponent: i32) -> String {
    let (first, rest) = digits.split_at(1);
    let point = if rest.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{first}{point}{rest}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(number: f64, expected: &str) {
        assert_eq!(python2_str(number), expected, "{number:?}");
    }

    #[test]
    fn whole_numbers_keep_their_point() {
        check(0.0, "0.0");
        check(-0.0, "-0.0");
        check(1.0, "1.0");
        check(100.0, "100.0");
        check(1_234_567.0, "1234567.0");
        check(10_000_000_000.0, "10000000000.0");
    }

    #[test]
    fn twelve_digits_are_kept_and_zeros_at_the_end_are_not() {
        check(0.5, "0.5");
        check(2.38, "2.38");
        check(0.014_535_682_182_93, "0.0145356821829");
        check(1.0 / 3.0, "0.333333333333");
        check(2.0 / 3.0, "0.666666666667");
        check(123.456_789_012_345, "123.456789012");
        check(99.999_999_999_999_9, "100.0");
        check(12_345_678_901.25, "12345678901.2");
        check(0.1 + 0.2, "0.3");
        check(-1.5, "-1.5");
    }

    #[test]
    fn exponents_begin_where_python_2_begins_them() {
        check(99_999_999_999.0, "99999999999.0");
        check(99_999_999_999.95, "99999999999.9");
        check(99_999_999_999.999_98, "1e+11");
        check(100_000_000_000.0, "1e+11");
        check(123_456_789_012.0, "1.23456789012e+11");
        check(1e22, "1e+22");
        check(1e100, "1e+100");
        check(0.0001, "0.0001");
        check(0.000_099_99, "9.999e-05");
        check(0.000_099_999_999_999_99, "0.0001");
        check(1e-7, "1e-07");
        check(5e-324, "4.94065645841e-324");
    }

    #[test]
    fn what_is_no_number_is_a_word() {
        check(f64::NAN, "nan");
        check(f64::INFINITY, "inf");
        check(f64::NEG_INFINITY, "-inf");
    }
}
