//! Growth by the second.
//!
//! A rate divides what happened by the time that was measured, never by the time
//! that was asked for.

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
    rate.is_finite().then_some(rate)
}

/// A share of a whole in percent; `None` of nothing.
#[must_use]
pub fn percent(part: f64, whole: f64) -> Option<f64> {
    let share = 100.0 * part / whole;
    share.is_finite().then_some(share)
}

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
    fn a_share_of_nothing_is_unknown() {
        assert_eq!(percent(1.0, 0.0), None);
        assert_eq!(percent(1.0, 8.0), Some(12.5));
    }
}
