//! All processes of a machine in one sweep.
//!
//! A snapshot is what the ledger advances by. It says when the sweep began and
//! ended, because a process that started before the sweep began and yet was not
//! seen then must not be counted as new, and it names the PIDs that exist but
//! could not be read, because unreadable is not gone.

use std::time::Duration;

use crate::exit::Exits;
use crate::network::Network;
use crate::process::{ProcessKey, ProcessSample};
use crate::units::{BootTime, WallTime};

/// One sweep over every process.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When the sweep began, on the clock that intervals are measured with.
    pub taken_at: BootTime,
    /// The same moment in clock ticks since boot, rounded down: comparable with
    /// [`ProcessKey::start_time_ticks`](crate::process::ProcessKey::start_time_ticks).
    pub taken_at_ticks: u64,
    /// The same moment in wall-clock time.
    pub wall_time: WallTime,
    /// How long the sweep took.
    pub duration: Duration,
    /// The processes, strictly ascending by key.
    pub processes: Vec<ProcessSample>,
    /// PIDs that exist but whose `stat` could not be read, ascending.
    pub unreadable_pids: Vec<u32>,
    /// Those that ended since the sweep before, read right after this one.
    pub exits: Exits,
    /// Who listens where, and what connections have moved.
    pub network: Network,
    /// What the machine is.
    pub host: Host,
    /// What went wrong while sweeping, by class; all zero on a quiet machine.
    pub trouble: Trouble,
}

/// No line of ancestors is followed further than this: a kernel cannot make a
/// longer one, a frozen tree could hold a circle.
pub(crate) const ANCESTORS_MAX: usize = 4096;

impl Snapshot {
    /// The process that bore this PID during the sweep.
    #[must_use]
    pub fn by_pid(&self, pid: u32) -> Option<&ProcessSample> {
        let position = self.processes.binary_search_by_key(&pid, |p| p.key.pid).ok()?;
        self.processes.get(position)
    }

    /// The process with this key, if it was seen.
    #[must_use]
    pub fn by_key(&self, key: ProcessKey) -> Option<&ProcessSample> {
        self.by_pid(key.pid).filter(|p| p.key == key)
    }

    /// Whose child a process is: who forked it, also if that one has ended since the sweep
    /// before; else its parent as it is now.
    #[must_use]
    pub fn parent_of(&self, process: &ProcessSample) -> Option<&ProcessSample> {
        let forked_by = process.lineage.forked_by().and_then(|key| {
            self.by_key(key).or_else(|| self.exits.by_key(key).map(|exit| &exit.sample))
        });
        forked_by.or_else(|| self.by_pid(process.parent_pid))
    }

    /// Parent, grandparent and so on, nearest first, as far as they were seen.
    pub fn ancestors<'a>(
        &'a self,
        process: &ProcessSample,
    ) -> impl Iterator<Item = &'a ProcessSample> + use<'a> {
        let parent = self.parent_of(process);
        std::iter::successors(parent, |p| self.parent_of(p)).take(ANCESTORS_MAX)
    }
}

/// Facts of the machine that shares and uptimes are computed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// `MemTotal` of proc_meminfo(5), or of sysinfo(2) where that is hidden.
    pub memory_total_bytes: u64,
    /// Clock ticks per second, `sysconf(_SC_CLK_TCK)`.
    pub ticks_per_second: u64,
    /// How much of the machine's processes this procfs shows.
    pub visibility: Visibility,
}

/// How much of the machine's processes a procfs shows, by its mount options, proc(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Visibility {
    /// All of them.
    #[default]
    Whole,
    /// `hidepid=1`: all are listed, only the own ones readable.
    OthersUnreadable,
    /// `hidepid=2` or `4`: only the own ones are listed.
    OthersHidden,
}

/// What went wrong during a sweep, counted by class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// Processes that ended while they were read.
    pub vanished: u64,
    /// Readings that the kernel refused.
    pub denied: u64,
    /// Processes whose memory could not be read without blocking.
    pub blocked: u64,
    /// Readings cut at a limit of ours.
    pub truncated: u64,
    /// Texts that were not in their documented format.
    pub malformed: u64,
    /// System calls that failed in any other way.
    pub failed: u64,
    /// Processes whose environment cannot be trusted, since they wrote over it.
    pub clobbered_environments: u64,
    /// Processes of which a counter went back, and was not followed. A sweep alone cannot
    /// know: the ledger fills it in, for the report.
    pub fallen_counters: u64,
    /// Readings of processes' memory given up since the sweep before, because they blocked.
    pub given_up_readings: u64,
    /// Readings of processes' memory that were not even begun since the sweep before, because
    /// too many waited already; they are asked for again.
    pub dropped_readings: u64,
    /// Threads of ours that hang in such a reading at the end of the sweep.
    pub hanging_threads: u64,
    /// Processes whose sockets were given up in this sweep, because they hold more descriptors
    /// than can be looked at in their share of its time; they are left alone for some sweeps.
    pub cut_sockets: u64,
    /// Processes whose sockets were not reached in the time that a sweep has for sockets.
    pub unreached_sockets: u64,
    /// How often, since the sweep before, the kernel had more to say of ended connections than
    /// could be kept.
    pub lost_connection_reports: u64,
    /// Sources of exit records that worked at first, and were given up in this sweep.
    pub failed_sources: u64,
    /// Processes that wrote over their environment, or were forked by one that had, while it is
    /// known all the same: from their exec, or from whoever forked them.
    pub remembered_environments: u64,
    /// Messages since the sweep before that came to where the kernel tells us something, and
    /// that somebody else had sent. They are not believed.
    pub forged_messages: u64,
}
