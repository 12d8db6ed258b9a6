//! Growth by the second, shares, and how many digits such numbers have.
//!
//! A rate divides what happened by the time that was measured, never by the time
//! that was asked for. No clock here is good for more than nine digits, and what a double holds
//! beyond them is noise of the division: so a quotient is [`rounded`] where it is made, and all
//! formats, the library and Python have the same short number.

use std::time::Duration;

/// Growth by the second.
///
/// Returns `None` when no time passed: a rate over nothing is unknown, not zero.
///
/// ```
/// use mpp_accounting::rate::per_second;
/// use std::time::Duration;
///
/// assert_eq!(per_second(512.0, Duration::from_millis(500)), Some(1024.0));
/// assert_eq!(per_second(512.0, Duration::ZERO), None);
/// ```
#[must_use]
pub fn per_second(growth: f64, elapsed: Duration) -> Option<f64> {
    let rate = growth / elapsed.as_secs_f64();
    rate.is_finite().then(|| rounded(rate))
}

/// A share of a whole in percent; `None` of nothing.
#[must_use]
pub fn percent(part: f64, whole: f64) -> Option<f64> {
    let share = 100.0 * part / whole;
    share.is_finite().then(|| rounded(share))
}

/// The number nearest to this one that has nine significant digits; of larger ones the nearest
/// whole number, so that counts stay what they are.
///
/// For quotients, and for sums and differences of fractions: `0.1 + 0.2` is `0.3` then, and not
/// `0.30000000000000004`.
///
/// ```
/// use mpp_accounting::rate::rounded;
///
/// assert_eq!(rounded(0.1 + 0.2), 0.3);
/// assert_eq!(rounded(100.0 / 3.0), 33.3333333);
/// assert_eq!(rounded(31_457_280_123.25), 31_457_280_123.0);
/// ```
#[must_use]
pub fn rounded(number: f64) -> f64 {
    if number == 0.0 || !number.is_finite() {
        return number;
    }
    #[expect(clippy::cast_possible_truncation, reason = "logarithms of doubles are below 309")]
    let digits_before_point = number.abs().log10().floor() as i32 + 1;
    let fraction_digits = SIGNIFICANT_DIGITS - digits_before_point;
    match fraction_digits {
        ..=0 => number.round(),
        // A power of ten up to this one is a double, so that the quotient is the nearest to the
        // decimal number.
        1..=22 => {
            let scale = 10_f64.powi(fraction_digits);
            (number * scale).round() / scale
        }
        // So small that it is rounded by being printed anyway.
        _ => number,
    }
}

/// What no clock and no interval is known better than.
const SIGNIFICANT_DIGITS: i32 = 9;

/// Nanoseconds as seconds.
#[must_use]
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_over_no_time_is_unknown_not_zero() {
        assert_eq!(per_second(0.0, Duration::ZERO), None);
        assert_eq!(per_second(1.0, Duration::ZERO), None);
    }

    #[test]
    fn what_is_divided_has_no_more_digits_than_are_known() {
        let check = |number: f64, expected: &str| {
            assert_eq!(rounded(number).to_string(), expected);
            assert_eq!(rounded(-number).to_string(), format!("-{expected}"));
        };
        check(0.1 + 0.2, "0.3");
        check(1.0 / 3.0, "0.333333333");
        check(200.0 / 3.0, "66.6666667");
        check(999.999_999_96, "1000");
        check(123_456_789.5, "123456790");
        check(31_457_280_123.25, "31457280123");
        check(1e22, "10000000000000000000000");
        check(0.000_000_123_456_789_12, "0.000000123456789");
        assert_eq!(rounded(0.0).to_string(), "0");
        assert!(rounded(f64::NAN).is_nan() && rounded(f64::MAX) == f64::MAX);
        assert!(rounded(f64::MIN_POSITIVE) > 0.0);
        assert_eq!(per_second(1.0, Duration::from_millis(300)), Some(3.333_333_33));
        assert_eq!(percent(-2.0, 3.0), Some(-66.666_666_7));
    }

    #[test]
    fn a_share_of_nothing_is_unknown() {
        assert_eq!(percent(1.0, 0.0), None);
        assert_eq!(percent(1.0, 8.0), Some(12.5));
    }
}
