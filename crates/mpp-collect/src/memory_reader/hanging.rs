//! Which threads of this program hang in a read, and in which process.
//!
//! Threads that hang outlive whoever sent them, so they are kept account of for the whole
//! program: where one hangs in a process, nobody sends another after it, and the bound is on
//! all of them together. A program that opens a reader for every call loses one thread, not one
//! a call. A forked child has none of them, so there the account begins anew.

use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, TryLockError};

use mpp_accounting::process::ProcessKey;
use rustix::fs::fstat;

use crate::sys;

/// Threads that read at one time, for one caller.
pub(super) const WORKERS_MAX: usize = 2;
/// Hanging threads that are replaced; with more of them, fewer than two read. Each costs some
/// 20 KiB for as long as it hangs.
pub(super) const STUCK_REPLACED_MAX: usize = 30;
/// How often the lock is tried: whoever holds it lets go at once.
const TRIES_MAX: u32 = 1000;

/// Every thread of this program that hangs, whoever sent it.
static HANGING: Mutex<Account> = Mutex::new(Account { owner_pid: 0, threads: Vec::new() });

#[derive(Debug)]
struct Account {
    /// Whose threads they are; after a fork they are somebody else's.
    owner_pid: u32,
    threads: Vec<Hanging>,
}

/// A thread that hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hanging {
    procfs: ProcfsId,
    process: ProcessKey,
}

/// Device and inode of a procfs's top folder: keys mean something within one procfs only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcfsId {
    device: u64,
    inode: u64,
}

impl ProcfsId {
    /// That of this top folder; all whose status cannot be had are taken for the same.
    pub(super) fn of(procfs: impl AsFd) -> Self {
        let status = sys::retrying(|| fstat(procfs.as_fd()));
        let (device, inode) = status.map_or((0, 0), |status| (status.st_dev, status.st_ino));
        ProcfsId { device, inode }
    }

    /// Whether a thread hangs in this process.
    pub(super) fn is_hanging_in(self, process: ProcessKey) -> bool {
        account()
            .is_some_and(|account| account.threads.contains(&Hanging { procfs: self, process }))
    }

    /// Whether a thread hangs in any of its processes.
    pub(super) fn is_anyone_hanging(self) -> bool {
        account()
            .is_some_and(|account| account.threads.iter().any(|hanging| hanging.procfs == self))
    }

    /// A thread hangs.
    pub(super) fn record_hanging(self, process: ProcessKey) {
        if let Some(mut account) = account() {
            account.threads.push(Hanging { procfs: self, process });
        }
    }

    /// A thread that hung has come back.
    pub(super) fn forget_hanging(self, process: ProcessKey) {
        let back = Hanging { procfs: self, process };
        if let Some(mut account) = account()
            && let Some(position) = account.threads.iter().position(|hanging| *hanging == back)
        {
            account.threads.swap_remove(position);
        }
    }

    /// How many threads may read for one caller now: fewer where many hang.
    pub(super) fn workers_allowed(self) -> usize {
        let hanging = account().map_or(0, |account| {
            account.threads.iter().filter(|hanging| hanging.procfs == self).count()
        });
        WORKERS_MAX.min((WORKERS_MAX + STUCK_REPLACED_MAX).saturating_sub(hanging))
    }
}

/// The account of this process; `None` where its lock is held for ever, since another thread
/// held it when this process was forked. Such a child goes on without knowing who hangs.
fn account() -> Option<MutexGuard<'static, Account>> {
    for _ in 0..TRIES_MAX {
        let mut account = match HANGING.try_lock() {
            Ok(account) => account,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                std::thread::yield_now();
                continue;
            }
        };
        account.become_that_of(std::process::id());
        return Some(account);
    }
    None
}

impl Account {
    /// Threads do not survive a fork: the account of another process is not ours.
    fn become_that_of(&mut self, own_pid: u32) {
        if self.owner_pid != own_pid {
            *self = Account { owner_pid: own_pid, threads: Vec::new() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOMEWHERE: ProcfsId = ProcfsId { device: u64::MAX, inode: 1 };
    const ELSEWHERE: ProcfsId = ProcfsId { device: u64::MAX, inode: 2 };
    const NOWHERE: ProcfsId = ProcfsId { device: u64::MAX, inode: 3 };
    const PROCESS: ProcessKey = ProcessKey { pid: 7, start_time_ticks: 1 };

    #[test]
    fn a_thread_hangs_in_one_process_of_one_procfs_until_it_comes_back() {
        SOMEWHERE.record_hanging(PROCESS);
        assert!(SOMEWHERE.is_hanging_in(PROCESS));
        assert!(!SOMEWHERE.is_hanging_in(ProcessKey { start_time_ticks: 2, ..PROCESS }));
        assert!(!NOWHERE.is_hanging_in(PROCESS));
        SOMEWHERE.forget_hanging(PROCESS);
        assert!(!SOMEWHERE.is_hanging_in(PROCESS));
    }

    #[test]
    fn a_forked_child_has_no_thread_that_hangs() {
        let hanging = Hanging { procfs: SOMEWHERE, process: PROCESS };
        let mut account = Account { owner_pid: 4, threads: vec![hanging] };
        account.become_that_of(4);
        assert_eq!(account.threads, [hanging]);
        account.become_that_of(5);
        assert_eq!(account.threads, []);
    }

    #[test]
    fn the_more_threads_hang_the_fewer_read() {
        assert_eq!(ELSEWHERE.workers_allowed(), WORKERS_MAX);
        for _ in 0..STUCK_REPLACED_MAX + 1 {
            ELSEWHERE.record_hanging(PROCESS);
        }
        assert_eq!(ELSEWHERE.workers_allowed(), WORKERS_MAX - 1);
        for _ in 0..STUCK_REPLACED_MAX + 1 {
            ELSEWHERE.forget_hanging(PROCESS);
        }
    }
}
