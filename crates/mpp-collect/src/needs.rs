//! What a collector is asked for: nothing is read that nobody looks at.

use std::time::Duration;

use mpp_accounting::process::IdentityNeeds;

/// What to read of each process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Which parts of who it is.
    pub identity: IdentityNeeds,
    /// Which measures besides those that always come: state, CPU time, faults, threads.
    pub measures: Measures,
}

/// Which measures to read; everything else is `NotRequested`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measures {
    /// Memory by statm: one file of each process.
    pub memory: bool,
    /// Proportional memory by smaps_rollup. Stalls the process while the kernel walks its
    /// memory, so it is read beside the sweep, and is at most one sweep old.
    pub proportional_memory: bool,
    /// Swapped memory by status, a costly file.
    pub swap: bool,
    /// I/O: one file of each process, and one of each thread of those that have children.
    pub io: bool,
    /// The number of open descriptors.
    pub fds: bool,
    /// The limit on them by limits: one file of each process.
    pub fd_limit: bool,
    /// Every descriptor's link, and the kernel's tables of sockets.
    pub sockets: bool,
    /// What each TCP connection has moved, and word of those that end between two sweeps.
    /// Whose they are is told by `sockets`, which must be asked for too.
    pub tcp_traffic: bool,
    /// For how long processes waited. Told only where ends are, too: by the way by our own
    /// programs in the kernel, for 3 microseconds a process by taskstats.
    pub delays: bool,
    /// Switches by status, a costly file.
    pub context_switches: ContextSwitchNeeds,
}

/// Whose context switches to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ContextSwitchNeeds {
    /// Nobody's.
    #[default]
    None,
    /// Those of each process's main thread: one file of each process.
    MainThread,
    /// Those of all living threads: one file of each thread.
    AllThreads,
}

/// Whether to wait, after a sweep, for what is read beside it: command lines,
/// environments and proportional memory.
///
/// The sweep itself never waits for them. What does not arrive is `NotYetKnown` and
/// comes with a later sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityWait {
    /// Take what is there.
    No,
    /// Wait until everything is there, but no longer than this.
    UpTo(Duration),
}
