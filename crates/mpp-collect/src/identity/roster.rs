//! What is remembered of every process, ascending by PID.
//!
//! A sweep by the kernel's iterator is ascending too and walks beside it; procfs is read in
//! another order, and looks each PID up.

use std::collections::HashMap;

use mpp_accounting::slack::{self, Slack};

use super::Known;

/// See the top of this file. Of each PID there is one at most.
#[derive(Debug, Default)]
pub(crate) struct Roster {
    /// Ascending by PID.
    rows: Vec<Known>,
    /// Newcomers whose place is between others, in any order: at the first sweep nearly everybody.
    newcomers: Vec<Known>,
    /// Where they are, by PID.
    places: HashMap<u32, usize>,
    slack: Slack,
}

impl Roster {
    pub(crate) fn get(&self, pid: u32) -> Option<&Known> {
        match self.position(pid) {
            Some(position) => self.rows.get(position),
            None => self.newcomers.get(*self.places.get(&pid)?),
        }
    }

    pub(crate) fn get_mut(&mut self, pid: u32) -> Option<&mut Known> {
        match self.position(pid) {
            Some(position) => self.rows.get_mut(position),
            None => self.newcomers.get_mut(*self.places.get(&pid)?),
        }
    }

    /// As [`Roster::get`], first at the position where [`Roster::ascending`] had it.
    pub(crate) fn near(&self, position: usize, pid: u32) -> Option<&Known> {
        let known = self.rows.get(position).filter(|known| known.key.pid == pid);
        known.or_else(|| self.get(pid))
    }

    /// As [`Roster::get_mut`], first at the position where [`Roster::ascending`] had it.
    pub(crate) fn near_mut(&mut self, position: usize, pid: u32) -> Option<&mut Known> {
        match self.rows.get(position) {
            Some(known) if known.key.pid == pid => self.rows.get_mut(position),
            _ => self.get_mut(pid),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len() + self.newcomers.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for so many more.
    pub(crate) fn reserve(&mut self, count: usize) {
        slack::make_room(&mut self.rows, count);
    }

    /// Remembers a process, in the place of whoever had its PID.
    pub(crate) fn insert(&mut self, known: Known) {
        let pid = known.key.pid;
        if let Some(former) = self.get_mut(pid) {
            *former = known;
        } else if self.rows.last().is_none_or(|last| last.key.pid < pid) {
            slack::make_room(&mut self.rows, 1);
            self.rows.push(known);
        } else {
            self.places.insert(pid, self.newcomers.len());
            slack::make_room(&mut self.newcomers, 1);
            self.newcomers.push(known);
        }
    }

    pub(crate) fn remove(&mut self, pid: u32) -> Option<Known> {
        if let Some(position) = self.position(pid) {
            return Some(self.rows.remove(position));
        }
        let place = self.places.remove(&pid)?;
        let removed = self.newcomers.swap_remove(place);
        if let Some(moved) = self.newcomers.get(place) {
            self.places.insert(moved.key.pid, place);
        }
        Some(removed)
    }

    /// Two different ones.
    pub(crate) fn pair_mut(&mut self, one: u32, other: u32) -> Option<(&mut Known, &mut Known)> {
        self.settle();
        let positions = [self.position(one)?, self.position(other)?];
        self.rows.get_disjoint_mut(positions).ok().map(|[one, other]| (one, other))
    }

    /// All of them, in no order that anybody may rely on.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.rows.iter().chain(&self.newcomers)
    }

    /// The same, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Known> {
        self.rows.iter_mut().chain(&mut self.newcomers)
    }

    /// All of them, ascending by PID.
    pub(crate) fn ascending(&mut self) -> &mut [Known] {
        self.settle();
        &mut self.rows
    }

    /// Forgets those that `is_gone` speaks of.
    pub(crate) fn forget(&mut self, mut is_gone: impl FnMut(&Known) -> bool) {
        self.settle();
        self.rows.retain(|known| !is_gone(known));
        self.slack.give_back(&mut self.rows);
    }

    /// Gives newcomers their places.
    fn settle(&mut self) {
        if self.newcomers.is_empty() {
            return;
        }
        // Nothing is kept of them for the next time, which has few.
        let mut newcomers = std::mem::take(&mut self.newcomers);
        self.places = HashMap::new();
        slack::merge(&mut self.rows, &mut newcomers, |known| known.key.pid);
    }

    fn position(&self, pid: u32) -> Option<usize> {
        self.rows.binary_search_by_key(&pid, |known| known.key.pid).ok()
    }
}

#[cfg(test)]
mod tests {
    use mpp_accounting::process::{Absence, Identity, ProcessKey, Reading};

    use super::*;

    fn known(pid: u32, start_time_ticks: u64) -> Known {
        let absent = Absence::NotRequested;
        let identity = Identity {
            comm: Box::default(),
            uid: 0,
            executable: Reading::Absent(absent),
            cmdline: Reading::Absent(absent),
            environment: Reading::Absent(absent),
            cgroup: Reading::Absent(absent),
            is_environment_incomplete: false,
            is_kernel_thread: false,
        };
        Known::untold(ProcessKey { pid, start_time_ticks }, 1, identity)
    }

    #[test]
    fn whoever_comes_in_between_is_found_before_and_after_it_has_its_place() {
        fn check(order: &[u32], expected: &[u32]) {
            let mut roster = Roster::default();
            order.iter().for_each(|pid| roster.insert(known(*pid, 5)));
            assert_eq!(roster.len(), expected.len(), "{order:?}");
            assert!(expected.iter().all(|pid| roster.get(*pid).is_some()), "{order:?}");
            let pids: Vec<u32> = roster.ascending().iter().map(|known| known.key.pid).collect();
            assert_eq!(pids, expected, "{order:?}");
        }
        check(&[1, 2, 9], &[1, 2, 9]);
        check(&[9, 2, 1, 5], &[1, 2, 5, 9]);
        check(&[9, 2, 2, 9], &[2, 9]);
    }

    #[test]
    fn whoever_came_in_between_can_go_again() {
        fn check(gone: &[u32], left: &[u32]) {
            let mut roster = Roster::default();
            [9, 5, 1, 7].into_iter().for_each(|pid| roster.insert(known(pid, 5)));
            for pid in gone {
                assert_eq!(roster.remove(*pid).map(|known| known.key.pid), Some(*pid));
                assert!(roster.get(*pid).is_none() && roster.remove(*pid).is_none());
            }
            assert!(left.iter().all(|pid| roster.get(*pid).is_some()), "{gone:?}");
            let pids: Vec<u32> = roster.ascending().iter().map(|known| known.key.pid).collect();
            assert_eq!(pids, left, "{gone:?}");
        }
        check(&[5], &[1, 7, 9]);
        check(&[7, 1], &[5, 9]);
        check(&[1, 5, 7], &[9]);
        check(&[9], &[1, 5, 7]);
    }

    #[test]
    fn the_next_bearer_of_a_pid_takes_the_place_of_the_one_before() {
        let mut roster = Roster::default();
        for (pid, start) in [(7, 1), (3, 1), (7, 2), (3, 2)] {
            roster.insert(known(pid, start));
        }
        assert!([3, 7].iter().all(|pid| roster.get(*pid).unwrap().key.start_time_ticks == 2));
        roster.forget(|known| known.key.pid == 7);
        assert!(roster.get(7).is_none() && roster.remove(3).is_some() && roster.is_empty());
    }
}
