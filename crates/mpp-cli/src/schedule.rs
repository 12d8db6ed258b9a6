//! When samples are due: at fixed times from a start, so that nothing drifts.

use std::time::{Duration, Instant};

/// A sample every interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    start: Instant,
    interval: Duration,
    due: u64,
}

impl Schedule {
    /// Samples every `interval` after `start`.
    pub(crate) fn new(start: Instant, interval: Duration) -> Self {
        Schedule { start, interval, due: 0 }
    }

    /// When the next sample is due. Times that are past already are left out: a sample
    /// that came late is not followed by a burst of others.
    pub(crate) fn next(&mut self, now: Instant) -> Instant {
        let elapsed_ns = now.saturating_duration_since(self.start).as_nanos();
        let passed = elapsed_ns.checked_div(self.interval.as_nanos()).unwrap_or(0);
        self.due = self.due.max(u64::try_from(passed).unwrap_or(u64::MAX)).saturating_add(1);
        let offset_ns = self.interval.as_nanos().saturating_mul(u128::from(self.due));
        let offset = Duration::from_nanos(u64::try_from(offset_ns).unwrap_or(u64::MAX));
        self.start.checked_add(offset).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_due_at_multiples_of_the_interval_however_long_each_took() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = Schedule::new(start, Duration::from_millis(100));
        assert_eq!(schedule.next(at(7)), at(100));
        assert_eq!(schedule.next(at(130)), at(200));
        assert_eq!(schedule.next(at(200)), at(300));
    }

    #[test]
    fn times_that_passed_are_left_out() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut schedule = Schedule::new(start, Duration::from_millis(100));
        assert_eq!(schedule.next(at(0)), at(100));
        assert_eq!(schedule.next(at(1050)), at(1100));
    }
}
