//! What sockets processes were last seen to hold, for as long as they have executed nothing since.
//!
//! Nobody but a process itself opens, closes or receives a descriptor of its own, so one that has
//! not been on a CPU holds what it held, and its CPU clock says whether it was; see `run_time.rs`.
//! The count of descriptors would not do: one that is closed and another one that is opened leave
//! it as it is.
//!
//! Two traps. What a thread that is on a CPU just now has run shows with the next tick, so nothing
//! is believed that is younger than two ticks. And processes may share their descriptors without
//! being threads of one another, clone(2) with `CLONE_FILES` alone: what one of them does to them
//! shows at the others by the count of descriptors, or else when their turn has come, after
//! [`SWEEPS_BETWEEN_TURNS`] sweeps at the latest. The live tests are in
//! `collector/live_holdings.rs`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mpp_accounting::process::{ProcessKey, Socket};
use mpp_accounting::slack::Slack;

use crate::run_time::RunTime;

/// So often everybody's descriptors are read anew, whatever has happened.
pub(super) const SWEEPS_BETWEEN_TURNS: u64 = 16;
/// Two ticks of the slowest clock, CONFIG_HZ=100.
const SURE_AFTER: Duration = Duration::from_millis(20);
/// Processes and sockets remembered, together; who finds no room is read anew each time.
const REMEMBERED_MAX: usize = 1 << 20;

/// That a process has executed something shows in that its sign is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    run_time: RunTime,
    /// How many descriptors it had, where that was read.
    fds: Option<u32>,
    seen_at: Instant,
}

impl Sign {
    /// That of a process in our own PID namespace as of now.
    pub(super) fn of(pid: u32, fds: Option<u32>) -> Option<Self> {
        let seen_at = Instant::now();
        let run_time = RunTime::of(pid).ok()?;
        Some(Sign { run_time, fds, seen_at })
    }

    /// Whether who bears this sign now has executed nothing since it bore that one.
    fn says_no_more_than(&self, before: &Sign) -> bool {
        let age = self.seen_at.saturating_duration_since(before.seen_at);
        (self.run_time, self.fds) == (before.run_time, before.fds) && age >= SURE_AFTER
    }
}

/// See the top of this file.
#[derive(Debug)]
pub(super) struct Holdings {
    held: HashMap<ProcessKey, Held>,
    /// Processes and sockets that are remembered.
    places: usize,
    places_max: usize,
    crowded_out: u64,
    recalled: u64,
    none: Arc<[Socket]>,
    slack: Slack,
}

#[derive(Debug)]
struct Held {
    sign: Sign,
    inodes: Box<[u64]>,
    swept: u64,
    /// As they were handed out.
    sockets: Arc<[Socket]>,
}

impl Held {
    fn places(&self) -> usize {
        1 + self.inodes.len()
    }
}

impl Holdings {
    pub(super) fn new() -> Self {
        Holdings {
            held: HashMap::new(),
            places: 0,
            places_max: REMEMBERED_MAX,
            crowded_out: 0,
            recalled: 0,
            none: Arc::from([]),
            slack: Slack::default(),
        }
    }

    /// Forgets whom the sweep before this one has not seen.
    pub(super) fn begin_sweep(&mut self, sweep: u64) {
        self.slack.give_back_map(&mut self.held);
        let places = &mut self.places;
        self.held.retain(|_, held| {
            let is_there = held.swept + 1 >= sweep;
            if !is_there {
                *places -= held.places();
            }
            is_there
        });
    }

    /// No sockets.
    pub(super) fn none(&self) -> Arc<[Socket]> {
        Arc::clone(&self.none)
    }

    /// How often nothing was read again. Only grows.
    pub(super) fn recalled_total(&self) -> u64 {
        self.recalled
    }

    /// How often there was no room for what a process holds. Only grows.
    pub(super) fn crowded_out_total(&self) -> u64 {
        self.crowded_out
    }

    /// The inodes of all its sockets, where it has executed nothing since they were read and its
    /// turn has not come. Without a sign the caller knows that it has not.
    pub(super) fn recall(
        &mut self,
        key: ProcessKey,
        sign: Option<Sign>,
        sweep: u64,
        inodes: &mut Vec<u64>,
    ) -> Recalled {
        let is_its_turn = (sweep + u64::from(key.pid)).is_multiple_of(SWEEPS_BETWEEN_TURNS);
        let Some(held) = self.held.get_mut(&key).filter(|_| !is_its_turn) else {
            return Recalled::Nothing;
        };
        if sign.is_some_and(|sign| !sign.says_no_more_than(&held.sign)) {
            return Recalled::Nothing;
        }
        held.swept = sweep;
        self.recalled += 1;
        inodes.clear();
        inodes.extend_from_slice(&held.inodes);
        Recalled::Everything
    }

    /// Remembers what was read since the sign was looked at.
    pub(super) fn remember(
        &mut self,
        key: ProcessKey,
        sign: Option<Sign>,
        sweep: u64,
        inodes: &[u64],
    ) {
        let former = self.take(key);
        let Some(sign) = sign else { return };
        let places = 1 + inodes.len();
        if self.places + places > self.places_max {
            self.crowded_out += 1;
            return;
        }
        self.places += places;
        let sockets = former.map_or_else(|| self.none(), |held| held.sockets);
        let held = Held { sign, inodes: Box::from(inodes), swept: sweep, sockets };
        self.held.insert(key, held);
    }

    /// Forgets what a process held.
    pub(super) fn forget(&mut self, key: ProcessKey) {
        self.take(key);
    }

    fn take(&mut self, key: ProcessKey) -> Option<Held> {
        let held = self.held.remove(&key)?;
        self.places -= held.places();
        Some(held)
    }

    /// The same sockets, in what they were handed out in before where nothing has changed.
    pub(super) fn hand_out(&mut self, key: ProcessKey, sockets: &[Socket]) -> Arc<[Socket]> {
        if sockets.is_empty() {
            return self.none();
        }
        let Some(held) = self.held.get_mut(&key) else { return Arc::from(sockets) };
        if *held.sockets != *sockets {
            held.sockets = Arc::from(sockets);
        }
        Arc::clone(&held.sockets)
    }
}

/// Whether what a process holds was remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recalled {
    Everything,
    Nothing,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::LazyLock;

    const KEY: ProcessKey = ProcessKey { pid: 5, start_time_ticks: 1 };
    const START: Duration = Duration::from_secs(1);

    /// Of a process that has so many descriptors.
    fn sign(fds: u32, at: Duration) -> Sign {
        static OWN: LazyLock<Sign> = LazyLock::new(|| Sign::of(std::process::id(), None).unwrap());
        Sign { fds: Some(fds), seen_at: *BEGAN + at, ..*OWN }
    }

    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);

    /// Remembers a process in sweep 1, and recalls it.
    fn check(now: Sign, sweep: u64, expected: Recalled) {
        let mut holdings = Holdings::new();
        holdings.remember(KEY, Some(sign(7, START)), 1, &[40, 41]);
        let mut inodes = vec![9];
        assert_eq!(holdings.recall(KEY, Some(now), sweep, &mut inodes), expected);
        let is_everything = expected == Recalled::Everything;
        assert_eq!(inodes, if is_everything { vec![40, 41] } else { vec![9] });
        assert_eq!(holdings.recalled_total(), u64::from(is_everything));
    }

    #[test]
    fn only_the_same_sign_after_two_ticks_is_believed() {
        check(sign(7, START + SURE_AFTER), 2, Recalled::Everything);
        check(sign(8, START + SURE_AFTER), 2, Recalled::Nothing);
        check(sign(7, START + SURE_AFTER / 2), 2, Recalled::Nothing);
        check(sign(7, Duration::ZERO), 2, Recalled::Nothing);
    }

    #[test]
    fn everybodys_turn_comes_once_in_so_many_sweeps() {
        let turn = SWEEPS_BETWEEN_TURNS - u64::from(KEY.pid);
        for sweep in 2..2 + 2 * SWEEPS_BETWEEN_TURNS {
            let is_turn = sweep == turn || sweep == turn + SWEEPS_BETWEEN_TURNS;
            let expected = if is_turn { Recalled::Nothing } else { Recalled::Everything };
            check(sign(7, START * 2), sweep, expected);
        }
    }

    #[test]
    fn who_finds_no_room_is_counted_and_who_has_gone_makes_room() {
        let mut holdings = Holdings { places_max: 4, ..Holdings::new() };
        let key = |pid| ProcessKey { pid, start_time_ticks: 1 };
        holdings.remember(key(1), Some(sign(1, START)), 1, &[1, 2]);
        holdings.remember(key(2), Some(sign(1, START)), 1, &[3]);
        assert_eq!((holdings.held.len(), holdings.crowded_out_total()), (1, 1));
        // Again the same, which takes no more room than before.
        holdings.remember(key(1), Some(sign(2, START)), 1, &[1, 2, 3]);
        assert_eq!((holdings.places, holdings.crowded_out_total()), (4, 1));
        holdings.begin_sweep(2);
        assert_eq!(holdings.held.len(), 1, "the sweep before has seen it");
        holdings.begin_sweep(3);
        assert_eq!((holdings.held.len(), holdings.places), (0, 0));
        holdings.remember(key(2), None, 3, &[3]);
        assert_eq!(holdings.held.len(), 0, "what bears no sign is not remembered");
    }

    #[test]
    fn whoever_has_run_bears_another_sign() {
        let before = Sign::of(std::process::id(), Some(3)).unwrap();
        while Sign::of(std::process::id(), Some(3)).unwrap().run_time == before.run_time {
            std::thread::yield_now();
        }
        let now = Sign { seen_at: before.seen_at + SURE_AFTER, ..before };
        assert!(now.says_no_more_than(&before));
        let later = Sign::of(std::process::id(), Some(3)).unwrap();
        assert!(!Sign { seen_at: now.seen_at, ..later }.says_no_more_than(&before));
        assert_eq!(Sign::of(u32::MAX, None), None);
    }
}
