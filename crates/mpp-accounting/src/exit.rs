//! Those that ended between two sweeps, as the kernel told at their end.
//!
//! A sweep sees nothing of a process that was born and died since the sweep before,
//! and not the last moments of the others. A kernel that is asked for it writes a
//! record for every thread that ends, with all that the thread itself has done; no
//! child's counters are in it. With these records nothing has to be inferred.
//!
//! The trap is what is written when: a thread's record comes before the thread is a
//! zombie, so a sweep that is followed by reading the records finds each thread living,
//! recorded, or both, never neither. CPU time at that moment is not final yet; the rest
//! arrives with whoever waits for the process, or as a [`CpuTail`].

use crate::process::{Delays, ProcessKey, ProcessSample, Reading, ThreadKey};
use crate::units::{BootTime, IoTotals};

/// What is known of those that ended since the sweep before, read right after a sweep.
#[derive(Clone, Debug, Default)]
pub struct Exits {
    /// Who wrote the records.
    pub source: ExitSource,
    /// One for each thread that ended.
    pub threads: Vec<ThreadExit>,
    /// One for each process whose last thread ended, ascending by key.
    pub processes: Vec<ProcessExit>,
    /// Those for whom there was no room, summed up.
    pub spills: Vec<Spill>,
    /// CPU time that processes used after their records were written.
    pub cpu_tails: Vec<CpuTail>,
    /// Records that the kernel wrote and nobody received.
    pub lost_records: u64,
}

/// Who writes the records of those that end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum ExitSource {
    /// Nobody: ends are inferred from two sweeps.
    #[default]
    Nobody,
    /// The kernel's taskstats, which round I/O down to [`ROUNDED_TO_BYTES`].
    Rounded,
    /// A hook of ours in the kernel.
    Exact,
}

/// To what the kernel rounds the bytes of a taskstats record down, `bacct_add_tsk` and
/// `xacct_add_tsk` of `kernel/tsacct.c`.
pub const ROUNDED_TO_BYTES: u64 = 1024;

/// A thread that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadExit {
    /// Whose thread it was.
    pub process: ProcessKey,
    /// Which thread.
    pub thread: ThreadKey,
    /// All that it read and wrote itself.
    pub io: IoTotals,
    /// How many programs had been executed when it ended, as
    /// [`Lineage::exec_count`](crate::process::Lineage::exec_count) counts them;
    /// `None` where nobody told.
    pub exec_count: Option<u64>,
    /// For how long all threads of its process that have ended had waited, this one included.
    /// The largest of a process's records tells it of all.
    pub delays: Reading<Delays>,
}

/// A process that ended.
#[derive(Clone, Debug)]
pub struct ProcessExit {
    /// Who it was and what it had done in the end. It holds nothing any more; its parent is
    /// the one it had then, who will wait for it.
    pub sample: ProcessSample,
    /// The same parent, with its start.
    pub parent: Option<ProcessKey>,
    /// Whether nobody will wait for it, so that its counters go nowhere: its parent ignores
    /// `SIGCHLD` or has set `SA_NOCLDWAIT`, sigaction(2). `false` where nobody can say.
    pub is_reaped_automatically: bool,
    /// When it began.
    pub started_at: BootTime,
    /// When it ended.
    pub ended_at: BootTime,
    /// The most memory it ever had resident, shared pages included whole.
    pub rss_peak_bytes: Reading<u64>,
    /// How it ended, as wait(2) tells it: the status in the second byte, or a signal in the first.
    pub wait_status: i32,
}

impl ProcessExit {
    /// Which process.
    #[must_use]
    pub fn key(&self) -> ProcessKey {
        self.sample.key
    }
}

/// What the threads of one parent's children did for whose records there was no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spill {
    /// The parent of the processes whose threads ended.
    pub parent: ProcessKey,
    /// How many threads.
    pub threads: u64,
    /// All that they had read and written since they began.
    pub io: IoTotals,
}

/// CPU time that a process used between its record and its very end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTail {
    /// Which process.
    pub key: ProcessKey,
    /// Nanoseconds, all of them in the kernel.
    pub cpu_ns: u64,
}

impl Exits {
    /// The record of this process, if it ended.
    #[must_use]
    pub fn by_key(&self, key: ProcessKey) -> Option<&ProcessExit> {
        let position = self.processes.binary_search_by_key(&key, ProcessExit::key).ok()?;
        self.processes.get(position)
    }

    /// Forgets everything but who writes the records; the storage is used again.
    pub fn clear(&mut self) {
        self.threads.clear();
        self.processes.clear();
        self.spills.clear();
        self.cpu_tails.clear();
        self.lost_records = 0;
    }
}
