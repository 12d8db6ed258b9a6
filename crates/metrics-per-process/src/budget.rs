//! How much of a core's time looking may take.
//!
//! A look is paid for by the time that passes. A single one that costs more than the others, as
//! the first of all does, is paid from what was saved: it must not leave a hole behind itself in
//! which a tree may grow and shrink unseen.

use std::time::{Duration, Instant};

/// No more time than this is saved, nor granted at the beginning.
const SAVED_MAX: Duration = Duration::from_secs(2);

/// What time has paid for, and looks have cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Looking may take one part in so many of one core's time.
    share: u32,
    /// Up to when time has to pass before everything is paid.
    paid_until: Instant,
}

impl Budget {
    /// For one part in so many of one core's time.
    pub(crate) fn new(share: u32, now: Instant) -> Self {
        Budget { share, paid_until: earlier(now) }
    }

    /// Pays for a look that took so much CPU time.
    pub(crate) fn pay(&mut self, now: Instant, cost: Duration) {
        self.paid_until = self.paid_until.max(earlier(now)) + cost.saturating_mul(self.share);
    }

    /// How long to wait until another look can be paid for.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.paid_until.saturating_duration_since(now)
    }
}

/// As long ago as is saved at most; a machine may have started later than that.
fn earlier(now: Instant) -> Instant {
    now.checked_sub(SAVED_MAX).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// How long to wait after looks, one every 50 milliseconds, that cost so much.
    #[track_caller]
    fn check(costs: &[Duration], expected: Duration) {
        let mut now = Instant::now();
        let mut budget = Budget::new(200, now);
        for cost in costs {
            now += 50 * MS;
            budget.pay(now, *cost);
        }
        assert_eq!(budget.wait(now), expected);
    }

    #[test]
    fn looks_cost_no_more_than_their_share_for_long() {
        check(&[MS / 4; 1000], Duration::ZERO);
        // 200 ms have to pass for each, of which 50 do, and two seconds are granted.
        check(&[MS; 13], Duration::ZERO);
        check(&[MS; 100], 100 * 150 * MS - 2000 * MS + 50 * MS);
    }

    #[test]
    fn a_single_costly_look_leaves_no_hole() {
        check(&[10 * MS], Duration::ZERO);
        let mut costs = [MS / 5; 100];
        costs[50] = 9 * MS;
        for seen in 50..100 {
            check(&costs[..seen], Duration::ZERO);
        }
    }

    #[test]
    fn what_is_saved_is_no_more_than_was_granted() {
        let begin = Instant::now();
        let mut budget = Budget::new(200, begin);
        let later = begin + Duration::from_secs(3600);
        budget.pay(later, 15 * MS);
        assert_eq!(budget.wait(later), Duration::from_secs(1));
    }
}
