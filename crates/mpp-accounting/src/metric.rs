//! The one table of all metrics, with every name they bear.
//!
//! Help, documents, exposition, dashboards and column choice are made from
//! [`METRICS`]; a metric's name stands here and nowhere else.

/// Which metric; the position of its row in [`METRICS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(usize)]
#[expect(missing_docs, reason = "each row of METRICS holds the sentence")]
pub enum MetricId {
    ProcessesTotal,
    ProcessesMatched,
    ProcessesZombie,
    ProcessesEnded,
    Uptime,
    CpuPercent,
    CpuUser,
    CpuSystem,
    MemoryRss,
    MemoryVms,
    MemoryShared,
    MemoryText,
    MemoryData,
    MemoryLib,
    MemoryDirty,
    MemoryPercent,
    MemoryAnon,
    MemorySwap,
    MemoryPss,
    MemoryUss,
    MemoryPeak,
    IoReadCount,
    IoWriteCount,
    IoReadBytes,
    IoWriteBytes,
    IoReadChars,
    IoWriteChars,
    IoCancelledWriteBytes,
    PageFaultsMinor,
    PageFaultsMajor,
    Threads,
    Fds,
    FdsWorstPercent,
    CtxSwitchesVoluntary,
    CtxSwitchesInvoluntary,
    TcpTotal,
    TcpEstablished,
    TcpSynSent,
    TcpSynRecv,
    TcpFinWait1,
    TcpFinWait2,
    TcpTimeWait,
    TcpClose,
    TcpCloseWait,
    TcpLastAck,
    TcpListen,
    TcpClosing,
    TcpNone,
    UdpTotal,
    UnixSocketsTotal,
}

/// One metric: what it means and every name it bears.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Which one.
    pub id: MetricId,
    /// The dotted name, `memory.rss`; canonical everywhere but in Prometheus.
    pub name: &'static str,
    /// What one of it is.
    pub unit: Unit,
    /// Whether it only grows.
    pub kind: Kind,
    /// How it is written.
    pub number: NumberType,
    /// How a group's figure is made from its members'.
    pub fold: Fold,
    /// The Prometheus name of the level, `mpp_io_write_bytes_total`, and fixed labels.
    pub prometheus: (&'static str, &'static [(&'static str, &'static str)]),
    /// The OpenTelemetry name, `mpp.group.disk.io`, and attributes.
    pub otel: (&'static str, &'static [(&'static str, &'static str)]),
    /// The key it has in the five drop-in functions, where they have it.
    pub drop_in: Option<&'static str>,
    /// Where the kernel says it: file and field, or what it is computed from.
    pub source: &'static str,
    /// What it takes to read it of other users' processes.
    pub privilege: Privilege,
    /// What must be read for it, so that nothing else is.
    pub need: Need,
    /// Which presets hold it, besides `all`.
    pub presets: &'static [Preset],
    /// One sentence.
    pub help: &'static str,
}

/// Base units only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Unit {
    Bytes,
    Seconds,
    Percent,
    Count,
}

/// Gauge or counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// May rise and fall.
    Gauge,
    /// Never falls while a monitor lives, and has a rate.
    Counter,
}

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberType {
    /// Whole.
    Integer,
    /// With a fraction.
    Float,
}

/// How a group's figure comes from its members'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// The sum over living members.
    Sum,
    /// The ledger's total: living and ended members.
    Ledger,
    /// The largest of any member.
    Max,
    /// The largest sum seen since the monitor started.
    PeakOfSum,
    /// Distinct sockets over all members: one shared by a fork counts once.
    DistinctSockets,
}

/// What it takes to read a metric of other users' processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Nothing.
    None,
    /// CAP_SYS_PTRACE, or being the same user: a ptrace(2) access check.
    Ptrace,
}

/// What a collector must read for a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Comes with every sweep: stat and the process's directory.
    Always,
    /// statm.
    Memory,
    /// io, of processes and threads.
    Io,
    /// The number of open descriptors.
    Fds,
    /// The limit on open descriptors.
    FdLimit,
    /// status: switches.
    ContextSwitches,
    /// status: swap.
    Swap,
    /// smaps_rollup.
    ProportionalMemory,
    /// Every descriptor's link, and the kernel's socket tables.
    Sockets,
}

/// A named choice of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the words that `-m` takes")]
pub enum Preset {
    Default,
    Io,
    Mem,
    Cpu,
    Net,
}
