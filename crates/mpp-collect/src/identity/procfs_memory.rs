//! What is remembered of a process only because procfs is read for it.
//!
//! Whoever is told of by the kernel's iterator needs none of it, and takes no room for it: of
//! thousands of processes that is what most of them would take.

use mpp_accounting::process::{ProcessKey, ProportionalMemory, Reading, ThreadList};
use mpp_accounting::units::IoTotals;
use rustix::fd::OwnedFd;

use crate::collector::standstill::Standstill;

/// See the top of this file.
#[derive(Debug)]
pub(crate) struct ProcfsMemory {
    /// Since when, as the collector numbers its watches over ends of threads, what it did is known
    /// to be all its main thread's.
    pub(crate) alone_since: Option<u64>,
    /// The last sweep in which it was not asked by itself because of that.
    pub(crate) lone_round: u64,
    /// The number of the last sweep that read it by procfs, or knew without that it would find the
    /// same.
    pub(crate) read_round: u64,
    /// How that reading can be known to hold; `None` where it cannot.
    pub(crate) standstill: Option<Standstill>,
    /// Its `io`, opened while it lived.
    pub(crate) held_io: Option<OwnedFd>,
    /// What its threads had done, where that was read.
    pub(super) thread_readings: Option<Box<ThreadReadings>>,
    /// Which living thread to ask for its memory, when the main one has exited. Boxed, since that
    /// is seldom.
    pub(super) reader: Option<Box<ProcessKey>>,
    /// `None` until it was asked for: of few it ever is.
    pub(super) proportional_memory: Option<Box<Reading<ProportionalMemory>>>,
}

/// What the threads of a process had done, where that was read, with its total.
#[derive(Debug, Default)]
pub(super) struct ThreadReadings {
    /// At the last sweep.
    pub(super) last: Option<(IoTotals, ThreadList)>,
    /// At the one before that. Boxed, since few have done anything since.
    pub(super) former: Option<Box<(IoTotals, ThreadList)>>,
}

impl ProcfsMemory {
    /// That of a process for which it was never read.
    pub(super) const NOTHING: Self = ProcfsMemory {
        alone_since: None,
        lone_round: 0,
        read_round: 0,
        standstill: None,
        held_io: None,
        thread_readings: None,
        reader: None,
        proportional_memory: None,
    };
}

/// For whoever only looks.
pub(super) static NOTHING: ProcfsMemory = ProcfsMemory::NOTHING;

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever adds a field decides here that ten thousand processes are worth it.
    #[test]
    fn what_is_remembered_of_a_process_does_not_grow_unnoticed() {
        assert!(size_of::<ProcfsMemory>() <= 104, "{} bytes", size_of::<ProcfsMemory>());
        assert!(size_of::<ThreadReadings>() <= 88, "{} bytes", size_of::<ThreadReadings>());
    }
}
