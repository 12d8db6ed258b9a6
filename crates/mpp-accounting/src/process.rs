//! One process at one moment: who it is, what it holds, what it has done.
//!
//! A field that may be unreadable is a [`Reading`]: a value, or the reason there
//! is none. Unknown is never zero.

mod lineage;
mod narrow_memory;
mod seldom;
mod thread_list;
mod usage;

use std::fmt;
use std::sync::Arc;

pub use self::lineage::Lineage;
use self::narrow_memory::NarrowMemory;
pub use self::seldom::{Seldom, SeldomGauges};
pub use self::thread_list::{ThreadList, ThreadView};
pub use self::usage::Usage;
use crate::units::{BootTime, DelayTotals, IoTotals, NarrowTotals};

/// A process for as long as the machine runs: its PID and when it started.
///
/// A bare PID names whoever bears it now; only the start time tells one bearer
/// from the next. Ordered by PID, then start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcessKey {
    /// The process ID (the kernel's tgid) in the PID namespace of the procfs that was read.
    pub pid: u32,
    /// Start time since boot, in clock ticks: field 22 of proc_pid_stat(5).
    pub start_time_ticks: u64,
}

impl ProcessKey {
    /// The main thread bears its process's numbers.
    #[must_use]
    pub fn main_thread(self) -> ThreadKey {
        ThreadKey { tid: self.pid, start_time_ticks: self.start_time_ticks }
    }
}

/// A thread for as long as the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ThreadKey {
    /// The thread ID.
    pub tid: u32,
    /// Start time since boot, in clock ticks.
    pub start_time_ticks: u64,
}

/// A value that was read, or why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reading<T> {
    /// What was read.
    Value(T),
    /// Why nothing could be read.
    Absent(Absence),
}

/// Why a value is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Absence {
    /// Nobody asked for it.
    NotRequested,
    /// It has not arrived yet: a later sample will have it.
    NotYetKnown,
    /// The kernel refused: EACCES or EPERM.
    Denied,
    /// The process ended while it was read.
    Vanished,
    /// This kernel, or this procfs, does not offer it.
    Unsupported,
    /// Reading it blocks on the process itself; it was given up, and is tried again later.
    Blocked,
    /// It is larger than what we are willing to read.
    TooLarge,
    /// The kernel's text was not what its manual page says.
    Malformed,
    /// The kernel can count it, but does not: `kernel.task_delayacct` of sysctl(8) is 0.
    SwitchedOff,
    /// The kernel tells it only whoever hears of ended threads, too.
    NeedsRecords,
    /// The process keeps changing while it is read; this reading would not be one moment.
    Unstable,
    /// A system call failed with this errno.
    Failed(i32),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Absence::NotRequested => "not requested",
            Absence::NotYetKnown => "not yet known",
            Absence::Denied => "permission denied",
            Absence::Vanished => "the process ended",
            Absence::Unsupported => "not offered by this kernel",
            Absence::Blocked => "reading it blocks on the process",
            Absence::TooLarge => "larger than the reading limit",
            Absence::Malformed => "not in the documented format",
            Absence::SwitchedOff => {
                "the kernel does not count it; `sysctl kernel.task_delayacct=1` makes it"
            }
            Absence::NeedsRecords => {
                "told at tiers A and B only; `mpp doctor` says what is missing"
            }
            Absence::Unstable => "changed while it was read",
            Absence::Failed(errno) => return write!(f, "system call failed (os error {errno})"),
        };
        f.write_str(text)
    }
}

impl<T> Reading<T> {
    /// The value, where there is one.
    #[must_use]
    pub fn value(&self) -> Option<&T> {
        match self {
            Reading::Value(value) => Some(value),
            Reading::Absent(_) => None,
        }
    }

    /// The reason, where there is no value.
    #[must_use]
    pub fn absence(&self) -> Option<Absence> {
        match self {
            Reading::Value(_) => None,
            Reading::Absent(why) => Some(*why),
        }
    }

    /// The same reading of something computed from the value.
    #[must_use]
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Reading<U> {
        match self {
            Reading::Value(value) => Reading::Value(f(value)),
            Reading::Absent(why) => Reading::Absent(why),
        }
    }

    /// The same reading, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> Reading<&T> {
        match self {
            Reading::Value(value) => Reading::Value(value),
            Reading::Absent(why) => Reading::Absent(*why),
        }
    }
}

/// What a process was doing, as far as accounting cares: field 3 of proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProcessState {
    /// Living: running, sleeping, stopped or traced. A process whose leader has
    /// exited while other threads live is living, whatever the kernel prints.
    Living,
    /// Ended, and waiting to be reaped: its counters are final.
    Zombie,
}

/// Who a process is: what selectors and grouping look at.
///
/// Shared between samples and replaced as a whole at an exec or a change of user,
/// so two samples with the same pointer have the same identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The command name, at most 15 bytes, chosen by the process: any bytes but NUL.
    pub comm: Box<[u8]>,
    /// The effective user: owner of `/proc/PID`, or `Uid:` of a frozen tree.
    pub uid: u32,
    /// The whole path of the executable, without ` (deleted)`.
    pub executable: Reading<Box<[u8]>>,
    /// The command line as the kernel hands it out: arguments ended by NUL, at most 64 KiB.
    /// Empty for kernel threads and zombies.
    pub cmdline: Reading<Box<[u8]>>,
    /// The variables that were asked for and are present, first of equal keys only.
    /// Empty for kernel threads and zombies never seen alive.
    pub environment: Reading<Box<[EnvironmentEntry]>>,
    /// Whether variables that were asked for may be missing from `environment`: the process
    /// wrote over some of them, or they were asked for after it was read. Those that stand
    /// there are true all the same; that another one does not stand there says nothing.
    pub is_environment_incomplete: bool,
    /// The path in the cgroup v2 hierarchy (or v1's `name=systemd`), as in proc_pid_cgroup(5).
    pub cgroup: Reading<Box<[u8]>>,
    /// Whether it is a thread of the kernel, which runs no program and has no memory of its
    /// own: `PF_KTHREAD` of `include/linux/sched.h` in field 9 of proc_pid_stat(5).
    pub is_kernel_thread: bool,
}

/// One variable of a process's environment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvironmentEntry {
    /// Left of the first `=`.
    pub key: Box<[u8]>,
    /// Right of the first `=`.
    pub value: Box<[u8]>,
}

/// One process at one moment.
#[derive(Clone, Debug)]
pub struct ProcessSample {
    /// Which process.
    pub key: ProcessKey,
    /// Its parent's PID at that moment; 0 for the first process and kernel threads' root.
    pub parent_pid: u32,
    /// Where it comes from.
    pub lineage: Lineage,
    /// Living, or a zombie.
    pub state: ProcessState,
    /// Who it is.
    pub identity: Arc<Identity>,
    /// When its counters were read.
    pub read_at: BootTime,
    /// CPU time and faults, always readable together with the key.
    pub usage: Usage,
    /// I/O, as far as readable.
    pub io: ProcessIo,
    /// What it holds right now.
    pub gauges: Gauges,
}

impl ProcessSample {
    /// Whether it ended while it was asked who it is. Of several threads that alone which was
    /// asked may have ended.
    pub(crate) fn has_vanished(&self) -> bool {
        let Identity { executable, cmdline, environment, cgroup, .. } = &*self.identity;
        let absences =
            [executable.absence(), cmdline.absence(), environment.absence(), cgroup.absence()];
        absences.contains(&Some(Absence::Vanished)) && self.gauges.threads.value() == Some(&1)
    }

    /// Each living thread's own I/O, as far as it was read: see [`ProcessIo::rounded_threads`] for
    /// how far that is exact.
    #[must_use]
    pub fn threads(&self) -> Reading<ThreadView<'_>> {
        match (&self.io.threads, &self.io.total) {
            (Reading::Value(list), Reading::Value(total)) => {
                Reading::Value(list.of(self.key, total.get()))
            }
            (Reading::Value(list), Reading::Absent(_)) if list.written_out().is_some() => {
                Reading::Value(list.of(self.key, IoTotals::ZERO))
            }
            (Reading::Absent(why), _) | (_, Reading::Absent(why)) => Reading::Absent(*why),
        }
    }
}

/// I/O of one process.
///
/// Where `total` is absent and `threads` are not, the kernel has told of each thread by itself: see
/// [`ProcessIo::rounded_threads`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessIo {
    total: Reading<NarrowTotals<7>>,
    /// Each living thread's own I/O, KERNEL's L, by way of [`ProcessSample::threads`].
    /// `NotRequested` where a process never had children: then its `total` is all its own.
    pub threads: Reading<ThreadList>,
}

impl ProcessIo {
    /// T and L, as far as they were read.
    #[must_use]
    pub fn new(total: Reading<IoTotals>, threads: Reading<ThreadList>) -> Self {
        ProcessIo { total: total.map(NarrowTotals::from), threads }
    }

    /// Neither, for the same reason.
    #[must_use]
    pub fn absent(why: Absence) -> Self {
        ProcessIo { total: Reading::Absent(why), threads: Reading::Absent(why) }
    }

    /// `/proc/PID/io`: living threads, exited threads and reaped children, together.
    /// KERNEL's T. Only grows while the process lives.
    #[must_use]
    pub fn total(&self) -> Reading<IoTotals> {
        self.total.as_ref().map(NarrowTotals::get)
    }

    /// The same threads beside another T.
    #[must_use]
    pub fn with_total(self, total: Reading<IoTotals>) -> Self {
        ProcessIo::new(total, self.threads)
    }

    /// Takes these for the living threads of the process, ascending by key, where its T was read.
    pub fn set_threads(&mut self, process: ProcessKey, threads: &[ThreadIo]) {
        self.threads = self.total().map(|total| ThreadList::new(process, total, threads));
    }

    /// The threads of a process whose T is out of sight: the bytes of each are rounded down to
    /// [`ROUNDED_TO_BYTES`](crate::exit::ROUNDED_TO_BYTES), how often they read and wrote is not
    /// told, and what ended threads and reaped children did before anybody looked is not known.
    /// `None` where T is known, or nothing is.
    #[must_use]
    pub fn rounded_threads(&self) -> Option<&[ThreadIo]> {
        match (&self.threads, &self.total) {
            (Reading::Value(threads), Reading::Absent(_)) => threads.written_out(),
            _ => None,
        }
    }

    /// Why nothing at all is known of what it did.
    #[must_use]
    pub fn absence(&self) -> Option<Absence> {
        self.total.absence().filter(|_| self.rounded_threads().is_none())
    }
}

/// One living thread's own I/O, `/proc/PID/task/TID/io`. Never receives a child's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadIo {
    /// Which thread.
    pub key: ThreadKey,
    /// What it read and wrote since it began.
    pub total: IoTotals,
    /// Whether it is known to have ended: a zombie's threads, or a main thread that exited
    /// before the others.
    pub has_exited: bool,
}

/// What a process holds at one moment: these may fall as well as rise.
#[derive(Clone, Debug)]
pub struct Gauges {
    memory: Reading<NarrowMemory>,
    /// Living threads.
    pub threads: Reading<u32>,
    /// Open file descriptors.
    pub fds: Reading<u32>,
    /// Context switches; a counter, but of living threads only, so it may fall.
    pub context_switches: Reading<ContextSwitches>,
    /// What few ask for.
    pub seldom: Seldom,
}

impl Gauges {
    /// All gauges absent for the same reason.
    #[must_use]
    pub fn absent(why: Absence) -> Self {
        Gauges {
            memory: Reading::Absent(why),
            threads: Reading::Absent(why),
            fds: Reading::Absent(why),
            context_switches: Reading::Absent(why),
            seldom: Seldom::absent(why),
        }
    }

    /// Memory by statm.
    #[must_use]
    pub fn memory(&self) -> Reading<Memory> {
        self.memory.as_ref().map(NarrowMemory::get)
    }

    /// Takes this for its memory by statm.
    pub fn put_memory(&mut self, memory: Reading<Memory>) {
        self.memory = memory.map(NarrowMemory::from);
    }
}

/// Memory by proc_pid_statm(5), in bytes. All zero for zombies and kernel threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident pages, shared ones included whole.
    pub rss_bytes: u64,
    /// Address space.
    pub vms_bytes: u64,
    /// Resident pages backed by files or shared memory.
    pub shared_bytes: u64,
    /// Code.
    pub text_bytes: u64,
    /// Data and stack.
    pub data_bytes: u64,
}

/// Memory by proc_pid_smaps_rollup(5), in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProportionalMemory {
    /// Resident memory with each shared page divided by those who share it.
    pub pss_bytes: u64,
    /// Resident memory that nobody shares.
    pub uss_bytes: u64,
}

/// Context switches by proc_pid_status(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContextSwitches {
    /// Gave the CPU up, to wait for something.
    pub voluntary: u64,
    /// Was taken off the CPU.
    pub involuntary: u64,
    /// Whether threads that have exited, or were not asked, may be missing from the two.
    pub is_partial: bool,
}

/// For how long threads have waited, those that ended included until they began to end, and no
/// children: the kernel's taskstats, `delayacct_add_tsk` of `kernel/delayacct.c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delays {
    /// What was counted since each began.
    pub total: DelayTotals,
    /// How far all but the wait for a CPU is counted.
    pub others: DelayCoverage,
}

/// How far the kernel counts what threads wait for besides a CPU.
///
/// It does so for threads that began while `kernel.task_delayacct` was 1, as long as that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelayCoverage {
    /// Since each thread began.
    Whole,
    /// Not of all threads, or not all the time.
    Partial,
    /// Not now. What was counted before stands.
    SwitchedOff,
    /// Never: this kernel cannot.
    Unsupported,
}

/// One socket that a process holds open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Socket {
    /// Inode of the network namespace the socket belongs to.
    pub namespace: u64,
    /// Inode of the socket, unique within a boot.
    pub inode: u64,
    /// Protocol and state.
    pub kind: SocketKind,
}

/// Protocol of a socket, and its state where the protocol has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SocketKind {
    /// TCP over v4 or v6, bound and in one of its states.
    Tcp(TcpState),
    /// UDP over v4 or v6, bound.
    Udp,
    /// Unix, bound or not.
    Unix,
}

/// State of a TCP socket, as numbered in the kernel's `include/net/tcp_states.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names are TCP's own, RFC 9293 section 3.3.2")]
pub enum TcpState {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
}

impl TcpState {
    /// All states, in the kernel's order.
    pub const ALL: [TcpState; 11] = [
        TcpState::Established,
        TcpState::SynSent,
        TcpState::SynRecv,
        TcpState::FinWait1,
        TcpState::FinWait2,
        TcpState::TimeWait,
        TcpState::Close,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::Listen,
        TcpState::Closing,
    ];

    /// The state that the kernel numbers so, or `None` for a number without a name.
    #[must_use]
    pub fn from_kernel(number: u8) -> Option<Self> {
        TcpState::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

/// Which parts of an identity somebody will look at; everything else is `NotRequested`.
///
/// All that a collector is told about selectors and groupings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityNeeds {
    /// The path of the executable.
    pub executable: bool,
    /// The command line. Read beside the sweep, since it can block on the process.
    pub cmdline: bool,
    /// The control group.
    pub cgroup: bool,
    /// The ports it listens on: every descriptor's link, and the kernel's tables of sockets that
    /// listen. Not part of an identity, since they come and go without an exec.
    pub listening_ports: bool,
    /// The variables to look for. Read beside the sweep, since it can block on the process.
    pub environment_keys: Vec<Box<[u8]>>,
}

impl IdentityNeeds {
    /// Takes everything along that `other` needs.
    pub fn extend(&mut self, other: &IdentityNeeds) {
        self.executable |= other.executable;
        self.cmdline |= other.cmdline;
        self.cgroup |= other.cgroup;
        self.listening_ports |= other.listening_ports;
        for key in &other.environment_keys {
            if !self.environment_keys.contains(key) {
                self.environment_keys.push(key.clone());
            }
        }
    }
}
