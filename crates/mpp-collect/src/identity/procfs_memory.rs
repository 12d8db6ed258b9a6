//! What is remembered of a process only because procfs is read for it.
//!
//! Whoever is told of by the kernel's iterator needs none of it, and takes no room for it: of
//! thousands of processes that is what most of them would take.

use mpp_accounting::process::{Absence, ProcessKey, ProportionalMemory, Reading, ThreadIo};
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
    /// Which living thread to ask for its memory, when the main one has exited.
    pub(super) reader: Option<ProcessKey>,
    pub(super) proportional_memory: Reading<ProportionalMemory>,
}

/// What the threads of a process had done, where that was read.
#[derive(Debug, Default)]
pub(super) struct ThreadReadings {
    /// At the last sweep.
    pub(super) last: Option<Box<[ThreadIo]>>,
    /// At the one before that.
    pub(super) former: Option<Box<[ThreadIo]>>,
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
        proportional_memory: Reading::Absent(Absence::NotYetKnown),
    };
}

/// For whoever only looks.
pub(super) static NOTHING: ProcfsMemory = ProcfsMemory::NOTHING;
