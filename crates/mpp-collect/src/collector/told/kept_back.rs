//! Whom procfs lists and the iterator does not hand out, as some sandboxes keep their init from
//! BPF programs.
//!
//! To list all processes costs as much as to be told of them. So the two are only held against
//! each other whenever their numbers no longer agree: the kernel says how many processes it has in
//! the number of links of `/proc` itself (`proc_root_getattr` of `fs/proc/root.c`). Where it has as
//! many more than were told of as when all were listed, and those who were kept back then are still
//! there, nobody else is kept back. On a machine where processes come and go all the time the
//! number says nothing; there all are listed now and then.

/// While the numbers say nothing, a process that is kept back is seen after so many sweeps at the
/// latest.
const SWEEPS_BETWEEN_LISTINGS: u32 = 16;

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct KeptBack {
    /// Ascending.
    pids: Vec<u32>,
    /// How many of them were there when all were listed; `None` until they have been read.
    found: Option<usize>,
    /// By how much the two numbers differed when all were listed; `None` where they moved then.
    difference: Option<i128>,
    sweeps_until_listing: u32,
}

/// How many processes there were.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    /// As the iterator told.
    pub(super) told: usize,
    /// The links of `/proc` before that, and after; `None` where nobody could say.
    pub(super) links_before: Option<u64>,
    pub(super) links_after: Option<u64>,
}

impl Count {
    /// By how much the two differ; `None` where processes came or went meanwhile.
    fn difference(self) -> Option<i128> {
        let links = self.links_before.filter(|links| self.links_after == Some(*links))?;
        Some(i128::from(links) - self.told as i128)
    }
}

impl KeptBack {
    /// Whether all processes should be listed after this sweep.
    pub(super) fn is_listing_due(&mut self, count: Count) -> bool {
        let Some(now) = count.difference() else {
            self.sweeps_until_listing = self.sweeps_until_listing.saturating_sub(1);
            return self.sweeps_until_listing == 0;
        };
        if self.difference != Some(now) || self.found != Some(self.pids.len()) {
            return true;
        }
        self.sweeps_until_listing = SWEEPS_BETWEEN_LISTINGS;
        false
    }

    /// Remembers who was listed and not told of.
    pub(super) fn listed(&mut self, count: Count, untold: impl Iterator<Item = u32>) {
        self.pids.clear();
        self.pids.extend(untold);
        self.pids.sort_unstable();
        self.found = None;
        self.difference = count.difference();
        self.sweeps_until_listing = SWEEPS_BETWEEN_LISTINGS;
    }

    /// Whom to look for, ascending.
    pub(super) fn pids(&self) -> &[u32] {
        &self.pids
    }

    /// Leaves out of them whoever is not there any more, or is not kept back after all.
    pub(super) fn retain(&mut self, is_there: impl FnMut(&u32) -> bool) {
        self.pids.retain(is_there);
    }

    /// All of them that are there have been read.
    pub(super) fn end_sweep(&mut self) {
        self.found.get_or_insert(self.pids.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(told: usize, links_before: u64, links_after: u64) -> Count {
        Count { told, links_before: Some(links_before), links_after: Some(links_after) }
    }

    #[test]
    fn all_are_listed_at_first_and_whenever_the_numbers_disagree() {
        fn check(then: Count, now: Count, expected: bool) {
            let mut kept_back = KeptBack::default();
            assert!(kept_back.is_listing_due(then), "at first");
            kept_back.listed(then, [1].into_iter());
            kept_back.end_sweep();
            assert_eq!(kept_back.is_listing_due(now), expected, "{now:?} after {then:?}");
        }
        let then = count(90, 101, 101);
        check(then, then, false);
        check(then, count(80, 91, 91), false);
        // One more is kept back, or one less.
        check(then, count(90, 102, 102), true);
        check(then, count(91, 101, 101), true);
        // Somebody came or went meanwhile: that says nothing.
        check(then, count(90, 101, 102), false);
        check(then, Count { links_after: None, ..then }, false);
        // Now they stand still for the first time.
        check(count(90, 101, 102), then, true);
    }

    #[test]
    fn all_are_listed_where_one_who_was_kept_back_has_gone_and_another_may_have_come() {
        let then = count(90, 101, 101);
        let mut kept_back = KeptBack::default();
        kept_back.listed(then, [7, 3, 1].into_iter());
        // This one is listed, but cannot be found.
        kept_back.retain(|pid| *pid != 3);
        kept_back.end_sweep();
        assert_eq!(kept_back.pids(), [1, 7]);
        for _ in 0..2 * SWEEPS_BETWEEN_LISTINGS {
            assert!(!kept_back.is_listing_due(then));
            kept_back.end_sweep();
        }
        kept_back.retain(|pid| *pid != 7);
        kept_back.end_sweep();
        assert!(kept_back.is_listing_due(then));
    }

    #[test]
    fn whoever_is_kept_back_is_seen_within_a_bounded_number_of_sweeps() {
        let moving = count(90, 101, 102);
        let mut kept_back = KeptBack::default();
        kept_back.listed(moving, std::iter::empty());
        let sweeps = (1..).find(|_| kept_back.is_listing_due(moving));
        assert_eq!(sweeps, Some(SWEEPS_BETWEEN_LISTINGS));
    }
}
