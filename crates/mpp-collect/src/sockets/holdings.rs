//! What sockets processes were last seen to hold, for as long as they have executed nothing since.
//!
//! Nobody but a process itself opens, closes or receives a descriptor of its own, so one that has
//! not been on a CPU holds what it held. `schedstat` says whether it was: for how long each of
//! its threads has run, in nanoseconds, and how often it was put on a CPU. The count of
//! descriptors would not do: one that is closed and another one that is opened leave it as it is.
//!
//! Two traps. What a thread that is on a CPU just now has run shows with the next tick, so nothing
//! is believed that is younger than two ticks. And processes may share their descriptors without
//! being threads of one another, clone(2) with `CLONE_FILES` alone: what one of them does to them
//! shows at the others by the count of descriptors, or else when their turn has come, after
//! [`SWEEPS_BETWEEN_TURNS`] sweeps at the latest. The live tests are in
//! `collector/live_holdings.rs`.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher as _};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mpp_accounting::process::{ProcessKey, Socket};

use crate::proc_fs::{Listing, Name, Room, open_listing};

/// So often everybody's descriptors are read anew, whatever has happened.
pub(super) const SWEEPS_BETWEEN_TURNS: u64 = 16;
/// Two ticks of the slowest clock, CONFIG_HZ=100.
const SURE_AFTER: Duration = Duration::from_millis(20);
/// Processes and sockets remembered, together; who finds no room is read anew each time.
const REMEMBERED_MAX: usize = 1 << 20;
/// What `schedstat` reads on a kernel that does not count, or of a thread that never ran.
const NOTHING_COUNTED: &[u8] = b"0 0 0\n";

/// What the caller knows of a process anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) threads: u64,
    /// Where it was read.
    pub(crate) fds: Option<u64>,
}

/// That a process has executed something shows in that its sign is another one. Two that differ
/// look alike once in 2^64 times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sign {
    hash: u64,
    seen_at: Instant,
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
    listing: Listing,
    room: Room,
    tids: Vec<u32>,
}

#[derive(Debug)]
struct Held {
    sign: Sign,
    inodes: Box<[u64]>,
    /// Whatever they lead to.
    descriptors: u64,
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
            listing: Listing::new(),
            room: Room::default(),
            tids: Vec::new(),
        }
    }

    /// Forgets whom the sweep before this one has not seen.
    pub(super) fn begin_sweep(&mut self, sweep: u64) {
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

    /// The sign of a process as of now, where it can be had for less than reading its links.
    ///
    /// Of a process with several threads every one has a file, and costs as much as a link.
    pub(super) fn sign(
        &mut self,
        key: ProcessKey,
        directory: BorrowedFd<'_>,
        counts: Counts,
    ) -> Option<Sign> {
        let seen_at = Instant::now();
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(counts.fds.unwrap_or(u64::MAX));
        if counts.threads <= 1 {
            let text = self.room.read_lines(directory, c"schedstat", 1).ok()?;
            if text == NOTHING_COUNTED {
                return None;
            }
            hasher.write(text);
        } else {
            let descriptors = self.held.get(&key).map(|held| held.descriptors);
            let descriptors = descriptors.or(counts.fds).unwrap_or(0);
            if counts.threads.saturating_mul(2) > descriptors {
                return None;
            }
            self.sign_threads(directory, &mut hasher)?;
        }
        Some(Sign { hash: hasher.finish(), seen_at })
    }

    fn sign_threads(
        &mut self,
        directory: BorrowedFd<'_>,
        hasher: &mut DefaultHasher,
    ) -> Option<()> {
        let tasks = open_listing(directory, c"task").ok()?;
        self.listing.numbers(&tasks, &mut self.tids).ok()?;
        for tid in &self.tids {
            let name = Name::in_process(*tid, "schedstat");
            let text = self.room.read_lines(&tasks, name.as_c_str(), 1).ok()?;
            if text == NOTHING_COUNTED {
                return None;
            }
            hasher.write_u32(*tid);
            hasher.write(text);
        }
        Some(())
    }

    /// The inodes of all its sockets, where it has executed nothing since they were read and its
    /// turn has not come.
    pub(super) fn recall(
        &mut self,
        key: ProcessKey,
        sign: Sign,
        sweep: u64,
        inodes: &mut Vec<u64>,
    ) -> Recalled {
        let is_its_turn = (sweep + u64::from(key.pid)).is_multiple_of(SWEEPS_BETWEEN_TURNS);
        let Some(held) = self.held.get_mut(&key).filter(|_| !is_its_turn) else {
            return Recalled::Nothing;
        };
        let age = sign.seen_at.saturating_duration_since(held.sign.seen_at);
        if held.sign.hash != sign.hash || age < SURE_AFTER {
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
        descriptors: u64,
    ) {
        let former = self.forget(key);
        let Some(sign) = sign else { return };
        let places = 1 + inodes.len();
        if self.places + places > self.places_max {
            self.crowded_out += 1;
            return;
        }
        self.places += places;
        let sockets = former.map_or_else(|| self.none(), |held| held.sockets);
        let held = Held { sign, inodes: Box::from(inodes), descriptors, swept: sweep, sockets };
        self.held.insert(key, held);
    }

    fn forget(&mut self, key: ProcessKey) -> Option<Held> {
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
    use std::os::fd::AsFd;

    const KEY: ProcessKey = ProcessKey { pid: 5, start_time_ticks: 1 };
    const START: Duration = Duration::from_secs(1);

    fn sign(hash: u64, at: Duration) -> Sign {
        Sign { hash, seen_at: *BEGAN + at }
    }

    static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);

    /// Remembers a process in sweep 1, and recalls it.
    fn check(now: Sign, sweep: u64, expected: Recalled) {
        let mut holdings = Holdings::new();
        holdings.remember(KEY, Some(sign(7, START)), 1, &[40, 41], 3);
        let mut inodes = vec![9];
        assert_eq!(holdings.recall(KEY, now, sweep, &mut inodes), expected);
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
        holdings.remember(key(1), Some(sign(1, START)), 1, &[1, 2], 2);
        holdings.remember(key(2), Some(sign(1, START)), 1, &[3], 1);
        assert_eq!((holdings.held.len(), holdings.crowded_out_total()), (1, 1));
        // Again the same, which takes no more room than before.
        holdings.remember(key(1), Some(sign(2, START)), 1, &[1, 2, 3], 3);
        assert_eq!((holdings.places, holdings.crowded_out_total()), (4, 1));
        holdings.begin_sweep(2);
        assert_eq!(holdings.held.len(), 1, "the sweep before has seen it");
        holdings.begin_sweep(3);
        assert_eq!((holdings.held.len(), holdings.places), (0, 0));
        holdings.remember(key(2), None, 3, &[3], 1);
        assert_eq!(holdings.held.len(), 0, "what bears no sign is not remembered");
    }

    #[test]
    fn a_thread_that_nobody_counts_bears_no_sign() {
        fn check(schedstat: &str, counts: Counts, bears_one: bool) {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("schedstat"), schedstat).unwrap();
            for tid in ["5", "6"] {
                let thread = folder.path().join("task").join(tid);
                std::fs::create_dir_all(&thread).unwrap();
                std::fs::write(thread.join("schedstat"), schedstat).unwrap();
            }
            let fd = std::fs::File::open(folder.path()).unwrap();
            let found = Holdings::new().sign(KEY, fd.as_fd(), counts);
            assert_eq!(found.is_some(), bears_one, "{schedstat:?}, {counts:?}");
        }
        let counts = |threads, fds| Counts { threads, fds };
        check("10 0 1\n", counts(1, None), true);
        check("0 0 0\n", counts(1, None), false);
        check("10 0 1\n", counts(2, Some(4)), true);
        check("0 0 0\n", counts(2, Some(4)), false);
        check("10 0 1\n", counts(2, Some(3)), false);
        check("10 0 1\n", counts(2, None), false);
    }
}
