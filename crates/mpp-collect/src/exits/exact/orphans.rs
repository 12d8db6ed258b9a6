//! Those of the ended of whom nobody can say yet where they belong: somebody forked them whom no
//! sweep has seen so far.
//!
//! Such a forker lives on, and the next sweep will see it: their records wait so long, and no
//! longer. It began behind the sweep's back, or it began before it and could not be seen yet: a
//! fork may lose its CPU between the moment that counts as the start and the one in which the
//! process is on the list and runs. So what it forked has ended after the sweep began, too; of
//! whoever ended before it the forker was there to be seen.
//!
//! The trap is a daemon that forks twice. Its middle process is not seen either, and never will
//! be, since it has ended; and that may have been told with the sweep before. So those are
//! remembered whose end was told, for as long as they could be taken for one of the others.

use std::cmp::Reverse;
use std::collections::HashSet;

use mpp_accounting::process::ProcessKey;
use mpp_accounting::slack::Slack;

use super::{Ended, Population};

/// No more than this are remembered; of more the youngest. A child of one that is forgotten may be
/// told of a sweep later.
const TOLD_MAX: usize = 16_384;

/// Whose ends were told lately.
#[derive(Debug, Default)]
pub(super) struct ToldEnds {
    /// Ascending.
    keys: Vec<ProcessKey>,
    slack: Slack,
}

impl ToldEnds {
    /// Those of the ended who wait for the next sweep: their forker, or one further up, has not
    /// been seen and has not ended. Forkers stand before those that they forked.
    pub(super) fn orphans(
        &self,
        ends: &[Ended],
        population: &Population<'_>,
    ) -> HashSet<ProcessKey> {
        let mut orphans = HashSet::new();
        if !ends.iter().any(|ended| self.has_unseen_forker(ended, population)) {
            return orphans;
        }
        let told: HashSet<ProcessKey> = ends.iter().map(|ended| ended.key).collect();
        for ended in ends {
            let Some(forker) = ended.forked_by else { continue };
            let is_unseen = !told.contains(&forker) && self.has_unseen_forker(ended, population);
            if is_unseen || orphans.contains(&forker) {
                orphans.insert(ended.key);
            }
        }
        orphans
    }

    /// Whether whoever forked this one may be there though neither of the last two sweeps has
    /// seen it. What had ended or begun before the first sweep belongs to nobody.
    fn has_unseen_forker(&self, ended: &Ended, population: &Population<'_>) -> bool {
        let Some(forker) = ended.forked_by else { return false };
        let scale = population.origin.scale;
        let is_first_sweep = population.previous_sweep_ticks == 0;
        let began_late = ended.key.start_time_ticks >= population.sweep_ticks;
        scale.ticks_at(ended.ended_at) >= population.sweep_ticks
            && forker.start_time_ticks >= young_since(population)
            && (began_late || !is_first_sweep)
            && !population.has_seen(forker)
            && self.keys.binary_search(&forker).is_err()
    }

    /// Notes whose ends are told with this sweep, and forgets the others once they are too old.
    pub(super) fn remember(
        &mut self,
        told: impl Iterator<Item = ProcessKey>,
        population: &Population<'_>,
    ) {
        let since = young_since(population);
        let is_young = |key: &ProcessKey| key.start_time_ticks >= since;
        self.keys.retain(is_young);
        self.keys.extend(told.filter(is_young));
        if self.keys.len() > TOLD_MAX {
            self.keys.sort_unstable_by_key(|key| Reverse(key.start_time_ticks));
            self.keys.truncate(TOLD_MAX);
        }
        self.keys.sort_unstable();
        self.keys.dedup();
        self.slack.give_back(&mut self.keys);
    }
}

/// Whoever began before this tick could be seen when the sweep began: no fork takes a second from
/// there on. The ledger holds those for new that began so much before a sweep that has not seen
/// them.
fn young_since(population: &Population<'_>) -> u64 {
    population.sweep_ticks.saturating_sub(population.origin.scale.ticks_per_second())
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use mpp_accounting::process::{Absence, ContextSwitches, Usage};
    use mpp_accounting::units::BootTime;

    use super::*;
    use crate::identity::roster::Roster;
    use crate::identity::{Known, named};
    use crate::origin::Origin;
    use crate::proc_fs::Room;
    use crate::scale::Scale;
    use crate::taskstats::DelayAccounting;

    /// When the sweep began.
    const SWEEP_TICKS: u64 = 100_000;
    const PARENT: ProcessKey = key(100, SWEEP_TICKS - 3);
    const CHILD: ProcessKey = key(200, SWEEP_TICKS - 2);

    const fn key(pid: u32, start_time_ticks: u64) -> ProcessKey {
        ProcessKey { pid, start_time_ticks }
    }

    pub(in super::super) fn ended(
        key: ProcessKey,
        forked_by: ProcessKey,
        ended_ticks: u64,
    ) -> Ended {
        let at = |ticks| BootTime { ns: ticks * 10_000_000 };
        Ended {
            key,
            parent_pid: forked_by.pid,
            parent: Some(forked_by),
            forked_by: Some(forked_by),
            forker_task: None,
            exec: None,
            exec_id: 0,
            comm: [0; _],
            uid: 0,
            started_at: at(key.start_time_ticks),
            ended_at: at(ended_ticks),
            usage: Usage::default(),
            switches: ContextSwitches::default(),
            rss_peak_bytes: 0,
            wait_status: 0,
            is_reaped_automatically: false,
        }
    }

    /// A witness that has heard of these ends, one sweep after the other, each a second later; the
    /// sweeps see these processes.
    #[derive(Default)]
    struct Sweeps {
        told: ToldEnds,
        before: u64,
    }

    impl Sweeps {
        /// Who waits, of those that ended.
        fn sweep(&mut self, ticks: u64, seen: &[ProcessKey], ends: &[Ended]) -> Vec<ProcessKey> {
            let mut origin = Origin::open(Path::new("/proc"), &mut Room::default()).unwrap();
            origin.scale = Scale::new(100, 4096).unwrap();
            let mut known = Roster::default();
            for key in seen {
                let identity = named(Box::from(*b"program"), 0, Absence::Vanished);
                known.insert(Known::untold(*key, 1, identity));
            }
            let population = Population {
                origin: &origin,
                known: &known,
                replaced: &[],
                processes: &[],
                previous_sweep_ticks: std::mem::replace(&mut self.before, ticks),
                sweep_ticks: ticks,
                delays: DelayAccounting::Unsupported,
            };
            let orphans = self.told.orphans(ends, &population);
            let told = ends.iter().map(|ended| ended.key).filter(|key| !orphans.contains(key));
            self.told.remember(told, &population);
            let mut orphans: Vec<ProcessKey> = orphans.into_iter().collect();
            orphans.sort_unstable();
            orphans
        }
    }

    /// Who waits of those that ended at these ticks, where the sweep saw these and the one before
    /// was told of those.
    fn check(
        before: &[Ended],
        seen: &[ProcessKey],
        ends: &[Ended],
        expected: impl IntoIterator<Item = ProcessKey>,
    ) {
        let mut sweeps = Sweeps { before: 1, ..Sweeps::default() };
        assert!(sweeps.sweep(SWEEP_TICKS - 20, &[], before).is_empty());
        let found = sweeps.sweep(SWEEP_TICKS, seen, ends);
        assert!(found.into_iter().eq(expected), "{ends:?}");
    }

    #[test]
    fn a_child_waits_for_its_forker_that_began_before_the_sweep_and_could_not_be_seen_by_it() {
        for ended_ticks in [SWEEP_TICKS, SWEEP_TICKS + 2] {
            check(&[], &[], &[ended(CHILD, PARENT, ended_ticks)], [CHILD]);
        }
        let late = key(100, SWEEP_TICKS + 1);
        let child = key(200, SWEEP_TICKS + 1);
        check(&[], &[], &[ended(child, late, SWEEP_TICKS + 2)], [child]);
    }

    #[test]
    fn whatever_a_waiting_child_forked_waits_with_it() {
        let grandchild = key(300, SWEEP_TICKS - 1);
        let ends =
            [ended(CHILD, PARENT, SWEEP_TICKS + 1), ended(grandchild, CHILD, SWEEP_TICKS + 1)];
        check(&[], &[], &ends, [CHILD, grandchild]);
    }

    #[test]
    fn a_child_is_told_of_at_once_where_its_forker_was_seen_or_had_time_to_be() {
        let child = |ended_ticks| [ended(CHILD, PARENT, ended_ticks)];
        check(&[], &[PARENT], &child(SWEEP_TICKS + 1), []);
        // The forker ran before the sweep began, and must have ended since.
        check(&[], &[], &child(SWEEP_TICKS - 1), []);
        let old = key(100, SWEEP_TICKS - 101);
        check(&[], &[], &[ended(CHILD, old, SWEEP_TICKS + 1)], []);
    }

    #[test]
    fn a_daemon_is_told_of_at_once_though_nobody_saw_its_middle_process() {
        let daemon = || ended(CHILD, PARENT, SWEEP_TICKS + 1);
        let middle = |ended_ticks| ended(PARENT, key(1, 0), ended_ticks);
        check(&[], &[], &[middle(SWEEP_TICKS - 1), daemon()], []);
        // The end of the middle one was told with an earlier sweep.
        let middle = key(100, SWEEP_TICKS - 30);
        let before = [ended(middle, key(1, 0), SWEEP_TICKS - 25)];
        check(&before, &[], &[ended(CHILD, middle, SWEEP_TICKS + 1)], []);
        check(&[], &[], &[ended(CHILD, middle, SWEEP_TICKS + 1)], [CHILD]);
    }

    #[test]
    fn nobody_waits_for_longer_than_a_sweep() {
        let mut sweeps = Sweeps { before: 1, ..Sweeps::default() };
        let ends = [ended(CHILD, PARENT, SWEEP_TICKS + 1)];
        assert_eq!(sweeps.sweep(SWEEP_TICKS, &[], &ends), [CHILD]);
        assert_eq!(sweeps.sweep(SWEEP_TICKS + 20, &[], &ends), []);
    }

    #[test]
    fn what_was_done_before_the_first_sweep_waits_for_nobody() {
        let ends = [ended(CHILD, PARENT, SWEEP_TICKS + 1)];
        assert_eq!(Sweeps::default().sweep(SWEEP_TICKS, &[], &ends), []);
        let child = key(200, SWEEP_TICKS);
        let ends = [ended(child, PARENT, SWEEP_TICKS + 1)];
        assert_eq!(Sweeps::default().sweep(SWEEP_TICKS, &[], &ends), [child]);
    }

    #[test]
    fn no_more_of_the_ended_are_remembered_than_the_youngest() {
        let most = u32::try_from(TOLD_MAX).unwrap();
        let mut sweeps = Sweeps { before: 1, ..Sweeps::default() };
        let mut ends: Vec<Ended> = (0..=most)
            .map(|n| ended(key(1000 + n, SWEEP_TICKS - 50), key(1, 0), SWEEP_TICKS - 1))
            .collect();
        ends.push(ended(PARENT, key(1, 0), SWEEP_TICKS - 1));
        sweeps.sweep(SWEEP_TICKS, &[], &ends);
        assert_eq!(sweeps.told.keys.len(), TOLD_MAX);
        assert!(sweeps.told.keys.contains(&PARENT));
        sweeps.sweep(SWEEP_TICKS + 60, &[], &[]);
        assert_eq!(sweeps.told.keys, [PARENT]);
        sweeps.sweep(SWEEP_TICKS + 110, &[], &[]);
        assert!(sweeps.told.keys.is_empty());
    }
}
