//! The samples of a sweep that is being told, each in the place of one of the sweep before.
//!
//! Both ascend by PID, so that whoever is told of is found again beside the one before, and is
//! left there if nothing about it is new. The traps: once the IDs have begun anew, newcomers stand
//! between the others, where there is no room for them yet; and whom nobody tells of, but somebody
//! else finds, is to stay where it is, or all behind it would move up and down in each sweep.

use mpp_accounting::process::ProcessSample;
use mpp_accounting::slack;
use mpp_accounting::units::BootTime;
use mpp_parse::bpf_record::TaskKey;

/// Where a sample stands while others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seat {
    /// In its place.
    Row(usize),
    /// Among those for whom room is to be made.
    Between(usize),
}

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Seats<'a> {
    rows: &'a mut Vec<ProcessSample>,
    /// How many of them are of this sweep.
    filled: usize,
    /// From here on nobody has been asked for, and all are of the sweep before.
    former: usize,
    between: Vec<ProcessSample>,
    last_pid: Option<u32>,
    /// Whose samples stay though nobody tells of them, ascending.
    untold: &'a [u32],
    /// Who of these had one, ascending.
    stayed: Vec<u32>,
}

impl<'a> Seats<'a> {
    /// Nobody is told of yet.
    pub(super) fn of(rows: &'a mut Vec<ProcessSample>, untold: &'a [u32]) -> Self {
        Seats {
            rows,
            filled: 0,
            former: 0,
            between: Vec::new(),
            last_pid: None,
            untold,
            stayed: Vec::new(),
        }
    }

    /// Whether nobody with this PID, or a larger one, was told of.
    pub(super) fn is_next(&self, pid: u32) -> bool {
        self.last_pid.is_none_or(|last| last < pid)
    }

    /// What the sweep before had of this PID, which is the next one.
    pub(super) fn former(&mut self, pid: u32) -> Option<&mut ProcessSample> {
        while self.rows.get(self.former).is_some_and(|sample| sample.key.pid < pid) {
            self.pass();
        }
        self.rows.get_mut(self.former).filter(|sample| sample.key.pid == pid)
    }

    /// Goes past one of the sweep before that nobody told of.
    fn pass(&mut self) {
        let pid = self.rows.get(self.former).map(|sample| sample.key.pid);
        if let Some(pid) = pid.filter(|pid| self.untold.binary_search(pid).is_ok()) {
            if self.filled != self.former {
                self.rows.swap(self.filled, self.former);
            }
            self.filled += 1;
            self.stayed.push(pid);
        }
        self.former += 1;
    }

    /// Leaves a process in its place; `None` where the sweep before had none that began then.
    pub(super) fn keep(&mut self, process: TaskKey) -> Option<(Seat, &mut ProcessSample)> {
        let started_at = Some(BootTime { ns: process.start_ns });
        self.former(process.id).filter(|sample| sample.lineage.started_at() == started_at)?;
        let (to, from) = (self.filled, self.former);
        if to != from {
            self.rows.swap(to, from);
        }
        (self.filled, self.former) = (to + 1, from + 1);
        self.last_pid = Some(process.id);
        self.rows.get_mut(to).map(|sample| (Seat::Row(to), sample))
    }

    /// Takes in what was told of the next one.
    pub(super) fn seat(&mut self, sample: ProcessSample) -> Seat {
        let pid = sample.key.pid;
        self.last_pid = Some(pid);
        if self.former(pid).is_some() {
            self.former += 1;
        }
        if self.filled == self.former && self.former < self.rows.len() {
            self.between.push(sample);
            return Seat::Between(self.between.len() - 1);
        }
        let seat = Seat::Row(self.filled);
        match self.rows.get_mut(self.filled) {
            Some(row) => *row = sample,
            None => {
                slack::make_room(self.rows, 1);
                self.rows.push(sample);
                self.former += 1;
            }
        }
        self.filled += 1;
        seat
    }

    pub(super) fn get_mut(&mut self, seat: Seat) -> Option<&mut ProcessSample> {
        match seat {
            Seat::Row(row) => self.rows.get_mut(row),
            Seat::Between(row) => self.between.get_mut(row),
        }
    }

    /// Forgets those of the sweep before that nobody told of, and makes room for those between.
    /// Returns who stayed all the same.
    pub(super) fn finish(mut self) -> Vec<u32> {
        while self.former < self.rows.len() {
            self.pass();
        }
        self.rows.truncate(self.filled);
        if !self.between.is_empty() {
            self.rows.append(&mut self.between);
            // By keys alone: room to merge samples would be as much as they take.
            self.rows.sort_by_cached_key(|sample| sample.key);
        }
        self.stayed
    }
}

/// Where the sample of a process stands, which had this seat before all were told of.
pub(super) fn position(samples: &[ProcessSample], seat: Seat, pid: u32) -> Option<usize> {
    let is_there = |row: &usize| samples.get(*row).is_some_and(|sample| sample.key.pid == pid);
    match seat {
        Seat::Row(row) if is_there(&row) => Some(row),
        _ => samples.binary_search_by_key(&pid, |sample| sample.key.pid).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mpp_accounting::process::{
        Absence, Gauges, Lineage, ProcessIo, ProcessKey, ProcessState, Usage,
    };

    use super::*;
    use crate::identity;

    /// One that is told apart from the next sweep's of the same process by its parent.
    fn sample(pid: u32, sweep: u32) -> ProcessSample {
        let absent = Absence::NotRequested;
        ProcessSample {
            key: ProcessKey { pid, start_time_ticks: 1 },
            parent_pid: sweep,
            lineage: Lineage::new(None, Some(BootTime { ns: u64::from(pid) }), None),
            state: ProcessState::Living,
            identity: Arc::new(identity::named(Box::default(), 0, absent)),
            read_at: BootTime::default(),
            usage: Usage::default(),
            io: ProcessIo::absent(absent),
            gauges: Gauges::absent(absent),
        }
    }

    /// Of those told the first number is the PID, the second 1 for one that stood still.
    #[test]
    fn each_sample_finds_its_place_whoever_comes_and_goes() {
        fn check(before: &[u32], told: &[(u32, u32)]) {
            let mut rows: Vec<_> = before.iter().map(|pid| sample(*pid, 1)).collect();
            let mut seats = Seats::of(&mut rows, &[]);
            let mut taken = Vec::new();
            for &(pid, sweep) in told {
                assert!(seats.is_next(pid), "{pid} of {told:?}");
                if sweep == 1 {
                    let key = TaskKey { id: pid, start_ns: u64::from(pid) };
                    taken.push(seats.keep(key).unwrap().0);
                } else {
                    taken.push(seats.seat(sample(pid, sweep)));
                }
                let seat = *taken.last().unwrap();
                assert_eq!(seats.get_mut(seat).unwrap().key.pid, pid, "{told:?}");
                assert!(!seats.is_next(pid), "{pid} of {told:?}");
            }
            seats.finish();
            let found: Vec<_> = rows.iter().map(|s| (s.key.pid, s.parent_pid)).collect();
            assert_eq!(found, told);
            for (seat, (pid, _)) in taken.into_iter().zip(told) {
                let position = position(&rows, seat, *pid).unwrap();
                assert_eq!(rows[position].key.pid, *pid, "{told:?}");
            }
        }
        check(&[], &[]);
        check(&[], &[(4, 2), (9, 2)]);
        check(&[4, 9], &[]);
        check(&[4, 9], &[(4, 1), (9, 1)]);
        check(&[4, 9], &[(4, 2), (9, 1), (12, 2)]);
        check(&[4, 9, 12], &[(9, 1), (12, 1)]);
        check(&[4, 9, 12], &[(4, 1), (12, 2)]);
        // Between two, before all, in the place of one that has gone.
        check(&[4, 9, 12], &[(4, 1), (7, 2), (9, 1), (12, 1)]);
        check(&[4, 9, 12], &[(1, 2), (2, 2), (4, 1), (9, 1), (12, 1), (13, 2)]);
        check(&[4, 9, 12], &[(5, 2), (6, 2), (9, 1), (10, 2), (11, 2), (12, 1)]);
    }

    #[test]
    fn whom_somebody_else_finds_stays_in_its_place() {
        fn check(before: &[u32], untold: &[u32], told: &[(u32, u32)], expected: &[(u32, u32)]) {
            let mut rows: Vec<_> = before.iter().map(|pid| sample(*pid, 1)).collect();
            let mut seats = Seats::of(&mut rows, untold);
            for &(pid, sweep) in told {
                if sweep == 1 {
                    let key = TaskKey { id: pid, start_ns: u64::from(pid) };
                    assert!(seats.keep(key).is_some(), "{pid} of {told:?}");
                } else {
                    seats.seat(sample(pid, sweep));
                }
            }
            let stayed = seats.finish();
            let found: Vec<_> = rows.iter().map(|s| (s.key.pid, s.parent_pid)).collect();
            assert_eq!(found, expected, "{told:?} without {untold:?}");
            let is_told = |pid: &u32| told.iter().any(|(told, _)| told == pid);
            assert!(stayed.iter().all(|pid| untold.contains(pid) && !is_told(pid)), "{stayed:?}");
            assert_eq!(stayed.len() + told.len(), rows.len(), "{told:?} without {untold:?}");
        }
        let before = &[1, 4, 9, 12];
        check(before, &[1], &[(4, 1), (9, 1), (12, 1)], &[(1, 1), (4, 1), (9, 1), (12, 1)]);
        check(before, &[1, 12], &[(4, 2), (9, 1)], &[(1, 1), (4, 2), (9, 1), (12, 1)]);
        // Others came and went; one had none; one is told of after all.
        check(before, &[9], &[(1, 1), (5, 2), (12, 1)], &[(1, 1), (5, 2), (9, 1), (12, 1)]);
        check(before, &[4, 9], &[(2, 2), (12, 1)], &[(2, 2), (4, 1), (9, 1), (12, 1)]);
        check(before, &[3], &[(1, 1), (12, 2)], &[(1, 1), (12, 2)]);
        check(before, &[4], &[(4, 2), (12, 1)], &[(4, 2), (12, 1)]);
        check(&[4], &[4], &[], &[(4, 1)]);
    }

    #[test]
    fn nobody_is_kept_who_began_at_another_time() {
        let mut rows = vec![sample(4, 1)];
        let mut seats = Seats::of(&mut rows, &[]);
        assert!(seats.keep(TaskKey { id: 4, start_ns: 5 }).is_none());
        assert!(seats.keep(TaskKey { id: 3, start_ns: 3 }).is_none());
        assert!(seats.keep(TaskKey { id: 4, start_ns: 4 }).is_some());
    }
}
