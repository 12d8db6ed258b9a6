//! The one table of all metrics, with every name they bear.
//!
//! Help, documents, exposition, dashboards and column choice are made from
//! [`METRICS`]; a metric's name stands here and nowhere else.

use std::fmt;
use std::sync::LazyLock;

use crate::pattern::Pattern;
use crate::process::TcpState;
use crate::report::{Column, Form};
use crate::similar;

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
    DelaysCpu,
    DelaysBlockIo,
    DelaysSwap,
    DelaysReclaim,
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
    NetTcpSentBytes,
    NetTcpReceivedBytes,
    NetTcpRetransmits,
}

impl MetricId {
    /// Its row.
    #[must_use]
    pub fn metric(self) -> &'static Metric {
        &METRICS[self as usize]
    }

    /// The state whose TCP sockets it counts, where it counts one state's.
    #[must_use]
    pub fn tcp_state(self) -> Option<TcpState> {
        Some(match self {
            MetricId::TcpEstablished => TcpState::Established,
            MetricId::TcpSynSent => TcpState::SynSent,
            MetricId::TcpSynRecv => TcpState::SynRecv,
            MetricId::TcpFinWait1 => TcpState::FinWait1,
            MetricId::TcpFinWait2 => TcpState::FinWait2,
            MetricId::TcpTimeWait => TcpState::TimeWait,
            MetricId::TcpClose => TcpState::Close,
            MetricId::TcpCloseWait => TcpState::CloseWait,
            MetricId::TcpLastAck => TcpState::LastAck,
            MetricId::TcpListen => TcpState::Listen,
            MetricId::TcpClosing => TcpState::Closing,
            _ => return None,
        })
    }
}

/// One metric: what it means and every name it bears.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Which one.
    pub id: MetricId,
    /// The dotted name, `memory.rss`; canonical everywhere but in Prometheus.
    pub name: &'static str,
    /// The head of its column on a screen, where the name has no room; `/s` follows for a rate.
    pub heading: &'static str,
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

impl Unit {
    /// As tables of metrics spell it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
            Unit::Percent => "percent",
            Unit::Count => "count",
        }
    }
}

/// Gauge or counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// May rise and fall.
    Gauge,
    /// Never falls while a monitor lives, and has a rate.
    Counter,
}

impl Kind {
    /// As tables of metrics spell it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        }
    }
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
    /// The growth of members' connections, those that ended included; one that members share
    /// counts once.
    Connections,
}

/// What it takes to read a metric of other users' processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Nothing.
    None,
    /// `CAP_SYS_PTRACE`, or being the same user: a ptrace(2) access check.
    Ptrace,
    /// What it takes to open files of others besides, or to be told by programs in the kernel.
    Open,
    /// The same exactly; within a KiB a thread to be told by taskstats.
    OpenOrRounded,
    /// What it takes to hear of ended threads, also of one's own: `CAP_NET_ADMIN`, or `CAP_BPF`
    /// and `CAP_PERFMON`.
    Records,
}

impl Privilege {
    /// The capabilities in words; `None` where it takes nothing.
    #[must_use]
    pub fn words(self) -> Option<&'static str> {
        match self {
            Privilege::None => None,
            Privilege::Ptrace => Some("CAP_SYS_PTRACE"),
            Privilege::Open => {
                Some("CAP_BPF and CAP_PERFMON, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
            }
            Privilege::OpenOrRounded => Some(
                "CAP_BPF and CAP_PERFMON, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; \
                 within a KiB a thread with CAP_NET_ADMIN",
            ),
            Privilege::Records => Some("CAP_NET_ADMIN, or CAP_BPF and CAP_PERFMON"),
        }
    }
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
    /// For how long it waited, by taskstats or what is behind them.
    Delays,
    /// status: swap.
    Swap,
    /// `smaps_rollup`.
    ProportionalMemory,
    /// Every descriptor's link, and the kernel's socket tables.
    Sockets,
    /// The same, what each TCP connection has moved, and word of those that end.
    TcpTraffic,
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
    Delays,
}

/// The metric of this dotted name, `memory.rss`; no rates, no presets.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The column of this name: a metric's, `memory.rss`, or a counter's rate,
/// `io_counters.write_bytes_per_sec`.
#[must_use]
pub fn column_by_name(name: &str) -> Option<Column> {
    COLUMNS.iter().find(|named| named.name == name).map(|named| named.column)
}

/// The metric or rate whose name most resembles a misspelt one.
#[must_use]
pub fn closest(name: &str) -> Option<&'static str> {
    similar::closest(name, COLUMNS.iter().map(|named| named.name.as_str()))
}

/// The columns that `-m GLOB,...` means, each once, in the table's order.
///
/// An item is a preset (`default`, `all`, `io`, `mem`, `cpu`, `net`, `delays`) or a glob over the
/// names of metrics and of counters' rates. A preset brings counters as totals and
/// rates; `default` brings their rates alone, and what fits a screen of 80 columns.
/// Proportional memory stalls the process it is read from, so neither a preset nor a
/// glob that also matches anything else brings it.
///
/// # Errors
/// An item that names nothing.
pub fn choose(text: &str) -> Result<Vec<Column>, UnknownMetric> {
    let mut chosen = vec![false; COLUMNS.len()];
    for item in text.split(',').map(str::trim) {
        let mut found = false;
        for (taken, is_named) in chosen.iter_mut().zip(named_by(item)) {
            *taken |= is_named;
            found |= is_named;
        }
        if !found {
            return Err(UnknownMetric::new(item));
        }
    }
    let columns = COLUMNS.iter().zip(chosen).filter(|(_, taken)| *taken);
    Ok(columns.map(|(named, _)| named.column).collect())
}

impl Preset {
    /// All presets with the words that `-m` takes; `all` is one more.
    pub const WORDS: [(&'static str, Preset); 6] = [
        ("default", Preset::Default),
        ("io", Preset::Io),
        ("mem", Preset::Mem),
        ("cpu", Preset::Cpu),
        ("net", Preset::Net),
        ("delays", Preset::Delays),
    ];

    /// Whether the preset brings this column.
    #[must_use]
    pub fn brings(self, column: &Column) -> bool {
        let metric = column.metric;
        let form_fits = match (self, metric.kind) {
            (Preset::Default, Kind::Counter) => column.form == Form::PerSecond,
            _ => true,
        };
        form_fits && metric.presets.contains(&self)
    }
}

/// The word for every metric but those of proportional memory.
const ALL: &str = "all";

/// A word of `-m` that names no metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownMetric {
    found: String,
    closest: Option<&'static str>,
}

impl UnknownMetric {
    fn new(found: &str) -> Self {
        let presets = Preset::WORDS.iter().map(|(word, _)| *word).chain([ALL]);
        let names = COLUMNS.iter().map(|named| named.name.as_str());
        UnknownMetric {
            found: found.to_owned(),
            closest: similar::closest(found, presets.chain(names)).or_else(|| akin(found)),
        }
    }

    /// The metric, rate or preset that was probably meant.
    #[must_use]
    pub fn closest(&self) -> Option<&'static str> {
        self.closest
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self.closest {
            Some(name) => format!("did you mean `{name}`?"),
            None => "`mpp metrics` lists all metrics".to_owned(),
        }
    }
}

/// What is meant by a part of a name: `rss`, `io.read_bytes`, `memory`, `io.*`.
fn akin(found: &str) -> Option<&'static str> {
    let (head, tail) = found.rsplit_once('.').unwrap_or(("", found));
    let mut names = COLUMNS.iter().map(|named| named.name.as_str());
    let ends_so = |name: &&str| {
        name.rsplit_once('.').is_some_and(|(_, last)| last == tail) && name.starts_with(head)
    };
    if let Some(name) = names.find(ends_so) {
        return Some(name);
    }
    let family = if tail == "*" { head } else { found };
    let is_family = METRICS
        .iter()
        .any(|metric| metric.name.strip_prefix(family).is_some_and(|rest| rest.starts_with('.')));
    let mut presets = Preset::WORDS.iter().map(|(word, _)| *word);
    presets.find(|word| *word == family || is_family && family.starts_with(word))
}

impl fmt::Display for UnknownMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = self.found.escape_debug();
        write!(f, "expected the name of a metric, a glob or a preset, but found `{found}`")
    }
}

impl std::error::Error for UnknownMetric {}

/// A column with its name.
struct NamedColumn {
    name: String,
    column: Column,
}

/// Every column there can be: each metric, and behind each counter its rate.
static COLUMNS: LazyLock<Vec<NamedColumn>> = LazyLock::new(|| {
    let mut columns = Vec::new();
    for metric in &METRICS {
        let forms: &[Form] = match metric.kind {
            Kind::Gauge => &[Form::Level],
            Kind::Counter => &[Form::Level, Form::PerSecond],
        };
        for &form in forms {
            let column = Column { metric, form };
            columns.push(NamedColumn { name: column.name().into_owned(), column });
        }
    }
    columns
});

/// For each of [`COLUMNS`], whether one item of `-m` names it.
fn named_by(item: &str) -> Vec<bool> {
    let preset = Preset::WORDS.iter().find(|(word, _)| *word == item);
    if let Some((_, preset)) = preset {
        return COLUMNS.iter().map(|named| preset.brings(&named.column)).collect();
    }
    if item == ALL {
        return COLUMNS.iter().map(|named| !is_costly(&named.column)).collect();
    }
    let Ok(glob) = Pattern::glob(item) else {
        return vec![false; COLUMNS.len()];
    };
    let matches = |named: &NamedColumn| glob.is_match(named.name.as_bytes());
    let matched: Vec<bool> = COLUMNS.iter().map(matches).collect();
    let names_costly_alone =
        COLUMNS.iter().zip(&matched).all(|(named, matched)| !matched || is_costly(&named.column));
    if names_costly_alone {
        return matched;
    }
    let kept = COLUMNS.iter().zip(matched);
    kept.map(|(named, matched)| matched && !is_costly(&named.column)).collect()
}

/// Whether reading it holds up the measured process.
fn is_costly(column: &Column) -> bool {
    column.metric.need == Need::ProportionalMemory
}

/// Every metric, in the order of [`MetricId`], which is the order of columns too.
pub static METRICS: [Metric; 57] = [
    Metric {
        id: MetricId::ProcessesTotal,
        name: "processes.total",
        heading: "PROCS",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_processes", &[]),
        otel: ("mpp.group.process.count", &[]),
        drop_in: Some("total_processes"),
        source: "the sweep of /proc",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[Preset::Default],
        help: "Members alive or waiting to be reaped, descendants included.",
    },
    Metric {
        id: MetricId::ProcessesMatched,
        name: "processes.matched",
        heading: "MATCHED",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_processes_matched", &[]),
        otel: ("mpp.group.process.matched", &[]),
        drop_in: None,
        source: "the sweep of /proc",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[],
        help: "Members that match the selector themselves, not as descendants.",
    },
    Metric {
        id: MetricId::ProcessesZombie,
        name: "processes.zombie",
        heading: "ZOMBIES",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_processes_zombie", &[]),
        otel: ("mpp.group.process.zombie", &[]),
        drop_in: None,
        source: "proc_pid_stat(5) state",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[],
        help: "Members that have ended and wait to be reaped.",
    },
    Metric {
        id: MetricId::ProcessesEnded,
        name: "processes.ended",
        heading: "ENDED",
        unit: Unit::Count,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_processes_ended_total", &[]),
        otel: ("mpp.group.process.ended", &[]),
        drop_in: None,
        source: "members gone since an earlier sweep",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[],
        help: "Members seen alive that have ended since the monitor started.",
    },
    Metric {
        id: MetricId::Uptime,
        name: "uptime",
        heading: "UPTIME",
        unit: Unit::Seconds,
        kind: Kind::Gauge,
        number: NumberType::Float,
        fold: Fold::Max,
        prometheus: ("mpp_uptime_seconds", &[]),
        otel: ("mpp.group.uptime", &[]),
        drop_in: None,
        source: "proc_pid_stat(5) starttime",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[Preset::Default],
        help: "Time since the oldest member started.",
    },
    Metric {
        id: MetricId::CpuPercent,
        name: "cpu.percent",
        heading: "CPU%",
        unit: Unit::Percent,
        kind: Kind::Gauge,
        number: NumberType::Float,
        fold: Fold::Ledger,
        prometheus: ("mpp_cpu_usage_ratio", &[]),
        otel: ("mpp.group.cpu.utilization", &[]),
        drop_in: Some("cpu.percent"),
        source: "growth of cpu.user and cpu.system over the interval",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[Preset::Default, Preset::Cpu],
        help: "CPU time over the interval as a share of one core, ended members included.",
    },
    Metric {
        id: MetricId::CpuUser,
        name: "cpu.user",
        heading: "USER",
        unit: Unit::Seconds,
        kind: Kind::Counter,
        number: NumberType::Float,
        fold: Fold::Ledger,
        prometheus: ("mpp_cpu_seconds_total", &[("mode", "user")]),
        otel: ("mpp.group.cpu.time", &[("cpu.mode", "user")]),
        drop_in: Some("cpu.user"),
        source: "proc_pid_stat(5) utime, cutime",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[Preset::Cpu],
        help: "CPU time in user mode, ended members included.",
    },
    Metric {
        id: MetricId::CpuSystem,
        name: "cpu.system",
        heading: "SYSTEM",
        unit: Unit::Seconds,
        kind: Kind::Counter,
        number: NumberType::Float,
        fold: Fold::Ledger,
        prometheus: ("mpp_cpu_seconds_total", &[("mode", "system")]),
        otel: ("mpp.group.cpu.time", &[("cpu.mode", "system")]),
        drop_in: Some("cpu.system"),
        source: "proc_pid_stat(5) stime, cstime",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[Preset::Cpu],
        help: "CPU time in kernel mode, ended members included.",
    },
    Metric {
        id: MetricId::MemoryRss,
        name: "memory.rss",
        heading: "RSS",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_rss_bytes", &[]),
        otel: ("mpp.group.memory.usage", &[]),
        drop_in: Some("memory.rss"),
        source: "proc_pid_statm(5) resident",
        privilege: Privilege::None,
        need: Need::Memory,
        presets: &[Preset::Default, Preset::Mem],
        help: "Resident memory; a page that several members share counts once for each of them.",
    },
    Metric {
        id: MetricId::MemoryVms,
        name: "memory.vms",
        heading: "VMS",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_virtual_bytes", &[]),
        otel: ("mpp.group.memory.virtual", &[]),
        drop_in: Some("memory.vms"),
        source: "proc_pid_statm(5) size",
        privilege: Privilege::None,
        need: Need::Memory,
        presets: &[Preset::Mem],
        help: "Address space, whether or not memory stands behind it.",
    },
    Metric {
        id: MetricId::MemoryShared,
        name: "memory.shared",
        heading: "SHARED",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_shared_bytes", &[]),
        otel: ("mpp.group.memory.shared", &[]),
        drop_in: Some("memory.shared"),
        source: "proc_pid_statm(5) shared",
        privilege: Privilege::None,
        need: Need::Memory,
        presets: &[Preset::Mem],
        help: "Resident memory backed by files or shared memory.",
    },
    Metric {
        id: MetricId::MemoryText,
        name: "memory.text",
        heading: "TEXT",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_text_bytes", &[]),
        otel: ("mpp.group.memory.text", &[]),
        drop_in: Some("memory.text"),
        source: "proc_pid_statm(5) text",
        privilege: Privilege::None,
        need: Need::Memory,
        presets: &[],
        help: "Address space of code.",
    },
    Metric {
        id: MetricId::MemoryData,
        name: "memory.data",
        heading: "DATA",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_data_bytes", &[]),
        otel: ("mpp.group.memory.data", &[]),
        drop_in: Some("memory.data"),
        source: "proc_pid_statm(5) data",
        privilege: Privilege::None,
        need: Need::Memory,
        presets: &[],
        help: "Address space of data and stack.",
    },
    Metric {
        id: MetricId::MemoryLib,
        name: "memory.lib",
        heading: "LIB",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_lib_bytes", &[]),
        otel: ("mpp.group.memory.lib", &[]),
        drop_in: Some("memory.lib"),
        source: "proc_pid_statm(5) lib",
        privilege: Privilege::None,
        need: Need::Memory,
        presets: &[],
        help: "Always 0 since Linux 2.6; kept for compatibility.",
    },
    Metric {
        id: MetricId::MemoryDirty,
        name: "memory.dirty",
        heading: "DIRTY",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_dirty_bytes", &[]),
        otel: ("mpp.group.memory.dirty", &[]),
        drop_in: Some("memory.dirty"),
        source: "proc_pid_statm(5) dt",
        privilege: Privilege::None,
        need: Need::Memory,
        presets: &[],
        help: "Always 0 since Linux 2.6; kept for compatibility.",
    },
    Metric {
        id: MetricId::MemoryPercent,
        name: "memory.percent",
        heading: "MEM%",
        unit: Unit::Percent,
        kind: Kind::Gauge,
        number: NumberType::Float,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_rss_ratio", &[]),
        otel: ("mpp.group.memory.utilization", &[]),
        drop_in: Some("memory.percent"),
        source: "memory.rss and proc_meminfo(5) MemTotal",
        privilege: Privilege::None,
        need: Need::Memory,
        presets: &[Preset::Mem],
        help: "Resident memory as a share of the machine's memory.",
    },
    Metric {
        id: MetricId::MemoryAnon,
        name: "memory.anon",
        heading: "ANON",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_anon_bytes", &[]),
        otel: ("mpp.group.memory.anon", &[]),
        drop_in: None,
        source: "proc_pid_statm(5) resident less shared",
        privilege: Privilege::None,
        need: Need::Memory,
        presets: &[Preset::Mem],
        help: "Resident memory that no file stands behind: heap and stack.",
    },
    Metric {
        id: MetricId::MemorySwap,
        name: "memory.swap",
        heading: "SWAP",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_swap_bytes", &[]),
        otel: ("mpp.group.memory.swap", &[]),
        drop_in: None,
        source: "proc_pid_status(5) VmSwap",
        privilege: Privilege::None,
        need: Need::Swap,
        presets: &[Preset::Mem],
        help: "Memory that was swapped out.",
    },
    Metric {
        id: MetricId::MemoryPss,
        name: "memory.pss",
        heading: "PSS",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_pss_bytes", &[]),
        otel: ("mpp.group.memory.pss", &[]),
        drop_in: None,
        source: "proc_pid_smaps_rollup(5) Pss",
        privilege: Privilege::Ptrace,
        need: Need::ProportionalMemory,
        presets: &[],
        help: "Resident memory with each shared page divided by those who share it; reading it stalls the process while its memory is walked.",
    },
    Metric {
        id: MetricId::MemoryUss,
        name: "memory.uss",
        heading: "USS",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_memory_uss_bytes", &[]),
        otel: ("mpp.group.memory.uss", &[]),
        drop_in: None,
        source: "proc_pid_smaps_rollup(5) Private_Clean, Private_Dirty, Private_Hugetlb",
        privilege: Privilege::Ptrace,
        need: Need::ProportionalMemory,
        presets: &[],
        help: "Resident memory that nobody shares; reading it stalls the process while its memory is walked.",
    },
    Metric {
        id: MetricId::MemoryPeak,
        name: "memory.peak",
        heading: "PEAK",
        unit: Unit::Bytes,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::PeakOfSum,
        prometheus: ("mpp_memory_rss_peak_bytes", &[]),
        otel: ("mpp.group.memory.peak", &[]),
        drop_in: None,
        source: "largest memory.rss of all samples",
        privilege: Privilege::None,
        need: Need::Memory,
        presets: &[Preset::Mem],
        help: "The largest resident memory seen since the monitor started; between samples it may have been more.",
    },
    Metric {
        id: MetricId::IoReadCount,
        name: "io_counters.read_count",
        heading: "READS",
        unit: Unit::Count,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_io_read_calls_total", &[]),
        otel: ("mpp.group.disk.operations", &[("disk.io.direction", "read")]),
        drop_in: Some("io_counters.read_count"),
        source: "proc_pid_io(5) syscr",
        privilege: Privilege::Open,
        need: Need::Io,
        presets: &[Preset::Io],
        help: "System calls that read, ended members included.",
    },
    Metric {
        id: MetricId::IoWriteCount,
        name: "io_counters.write_count",
        heading: "WRITES",
        unit: Unit::Count,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_io_write_calls_total", &[]),
        otel: ("mpp.group.disk.operations", &[("disk.io.direction", "write")]),
        drop_in: Some("io_counters.write_count"),
        source: "proc_pid_io(5) syscw",
        privilege: Privilege::Open,
        need: Need::Io,
        presets: &[Preset::Io],
        help: "System calls that write, ended members included.",
    },
    Metric {
        id: MetricId::IoReadBytes,
        name: "io_counters.read_bytes",
        heading: "READ",
        unit: Unit::Bytes,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_io_read_bytes_total", &[]),
        otel: ("mpp.group.disk.io", &[("disk.io.direction", "read")]),
        drop_in: Some("io_counters.read_bytes"),
        source: "proc_pid_io(5) read_bytes",
        privilege: Privilege::OpenOrRounded,
        need: Need::Io,
        presets: &[Preset::Default, Preset::Io],
        help: "Bytes fetched from the storage layer, ended members included.",
    },
    Metric {
        id: MetricId::IoWriteBytes,
        name: "io_counters.write_bytes",
        heading: "WRITE",
        unit: Unit::Bytes,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_io_write_bytes_total", &[]),
        otel: ("mpp.group.disk.io", &[("disk.io.direction", "write")]),
        drop_in: Some("io_counters.write_bytes"),
        source: "proc_pid_io(5) write_bytes",
        privilege: Privilege::OpenOrRounded,
        need: Need::Io,
        presets: &[Preset::Default, Preset::Io],
        help: "Bytes sent to the storage layer, counted when a page is first dirtied, ended members included.",
    },
    Metric {
        id: MetricId::IoReadChars,
        name: "io_counters.read_chars",
        heading: "RCHARS",
        unit: Unit::Bytes,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_io_read_chars_bytes_total", &[]),
        otel: ("mpp.group.io.chars", &[("disk.io.direction", "read")]),
        drop_in: None,
        source: "proc_pid_io(5) rchar",
        privilege: Privilege::OpenOrRounded,
        need: Need::Io,
        presets: &[Preset::Io],
        help: "Bytes handed out by read(2) and its like, page cache and pipes included.",
    },
    Metric {
        id: MetricId::IoWriteChars,
        name: "io_counters.write_chars",
        heading: "WCHARS",
        unit: Unit::Bytes,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_io_write_chars_bytes_total", &[]),
        otel: ("mpp.group.io.chars", &[("disk.io.direction", "write")]),
        drop_in: None,
        source: "proc_pid_io(5) wchar",
        privilege: Privilege::OpenOrRounded,
        need: Need::Io,
        presets: &[Preset::Io],
        help: "Bytes taken in by write(2) and its like, page cache and pipes included.",
    },
    Metric {
        id: MetricId::IoCancelledWriteBytes,
        name: "io_counters.cancelled_write_bytes",
        heading: "CANCELLED",
        unit: Unit::Bytes,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_io_cancelled_write_bytes_total", &[]),
        otel: ("mpp.group.disk.cancelled", &[]),
        drop_in: None,
        source: "proc_pid_io(5) cancelled_write_bytes",
        privilege: Privilege::OpenOrRounded,
        need: Need::Io,
        presets: &[Preset::Io],
        help: "Bytes that were dirtied and then truncated away before they reached storage.",
    },
    Metric {
        id: MetricId::PageFaultsMinor,
        name: "page_faults.minor",
        heading: "MINFLT",
        unit: Unit::Count,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_page_faults_total", &[("type", "minor")]),
        otel: ("mpp.group.paging.faults", &[("system.paging.fault.type", "minor")]),
        drop_in: None,
        source: "proc_pid_stat(5) minflt, cminflt",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[Preset::Mem],
        help: "Page faults that needed no disk, ended members included.",
    },
    Metric {
        id: MetricId::PageFaultsMajor,
        name: "page_faults.major",
        heading: "MAJFLT",
        unit: Unit::Count,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_page_faults_total", &[("type", "major")]),
        otel: ("mpp.group.paging.faults", &[("system.paging.fault.type", "major")]),
        drop_in: None,
        source: "proc_pid_stat(5) majflt, cmajflt",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[Preset::Mem],
        help: "Page faults that waited for the disk, ended members included.",
    },
    Metric {
        id: MetricId::Threads,
        name: "threads",
        heading: "THR",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_threads", &[]),
        otel: ("mpp.group.thread.count", &[]),
        drop_in: Some("threads"),
        source: "proc_pid_stat(5) num_threads",
        privilege: Privilege::None,
        need: Need::Always,
        presets: &[Preset::Default, Preset::Cpu],
        help: "Living threads.",
    },
    Metric {
        id: MetricId::Fds,
        name: "fds",
        heading: "FDS",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::Sum,
        prometheus: ("mpp_open_fds", &[]),
        otel: ("mpp.group.unix.file_descriptor.count", &[]),
        drop_in: Some("fds"),
        source: "proc_pid_fd(5) st_size; a listing before Linux 6.2, which takes ptrace access",
        privilege: Privilege::None,
        need: Need::Fds,
        presets: &[Preset::Default],
        help: "Open file descriptors.",
    },
    Metric {
        id: MetricId::FdsWorstPercent,
        name: "fds.worst_percent",
        heading: "FD%",
        unit: Unit::Percent,
        kind: Kind::Gauge,
        number: NumberType::Float,
        fold: Fold::Max,
        prometheus: ("mpp_fds_worst_ratio", &[]),
        otel: ("mpp.group.unix.file_descriptor.utilization", &[]),
        drop_in: None,
        source: "fds and proc_pid_limits(5) Max open files",
        privilege: Privilege::None,
        need: Need::FdLimit,
        presets: &[],
        help: "Open file descriptors as a share of the soft limit, of the member that is closest to its own.",
    },
    Metric {
        id: MetricId::CtxSwitchesVoluntary,
        name: "ctx_switches.voluntary",
        heading: "CSW",
        unit: Unit::Count,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_context_switches_total", &[("type", "voluntary")]),
        otel: ("mpp.group.context_switches", &[("process.context_switch.type", "voluntary")]),
        drop_in: Some("ctx_switches.voluntary"),
        source: "proc_pid_status(5) voluntary_ctxt_switches",
        privilege: Privilege::None,
        need: Need::ContextSwitches,
        presets: &[Preset::Cpu],
        help: "Times that a thread gave the CPU up to wait; those of exited threads and ended members are missing.",
    },
    Metric {
        id: MetricId::CtxSwitchesInvoluntary,
        name: "ctx_switches.involuntary",
        heading: "ICSW",
        unit: Unit::Count,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Ledger,
        prometheus: ("mpp_context_switches_total", &[("type", "involuntary")]),
        otel: ("mpp.group.context_switches", &[("process.context_switch.type", "involuntary")]),
        drop_in: Some("ctx_switches.involuntary"),
        source: "proc_pid_status(5) nonvoluntary_ctxt_switches",
        privilege: Privilege::None,
        need: Need::ContextSwitches,
        presets: &[Preset::Cpu],
        help: "Times that a thread was taken off the CPU; those of exited threads and ended members are missing.",
    },
    Metric {
        id: MetricId::DelaysCpu,
        name: "delays.cpu",
        heading: "CPUWAIT",
        unit: Unit::Seconds,
        kind: Kind::Counter,
        number: NumberType::Float,
        fold: Fold::Ledger,
        prometheus: ("mpp_delays_cpu_seconds_total", &[]),
        otel: ("mpp.group.delay.time", &[("mpp.delay.cause", "cpu")]),
        drop_in: None,
        source: "sched_info.run_delay, taskstats cpu_delay_total",
        privilege: Privilege::Records,
        need: Need::Delays,
        presets: &[Preset::Delays],
        help: "Time that threads were ready to run and waited for a CPU, ended members included until they began to end.",
    },
    Metric {
        id: MetricId::DelaysBlockIo,
        name: "delays.block_io",
        heading: "IOWAIT",
        unit: Unit::Seconds,
        kind: Kind::Counter,
        number: NumberType::Float,
        fold: Fold::Ledger,
        prometheus: ("mpp_delays_block_io_seconds_total", &[]),
        otel: ("mpp.group.delay.time", &[("mpp.delay.cause", "block_io")]),
        drop_in: None,
        source: "task_delay_info.blkio_delay, taskstats blkio_delay_total",
        privilege: Privilege::Records,
        need: Need::Delays,
        presets: &[Preset::Delays],
        help: "Time that threads waited for block I/O, ended members included until they began to end.",
    },
    Metric {
        id: MetricId::DelaysSwap,
        name: "delays.swap",
        heading: "SWAPWAIT",
        unit: Unit::Seconds,
        kind: Kind::Counter,
        number: NumberType::Float,
        fold: Fold::Ledger,
        prometheus: ("mpp_delays_swap_seconds_total", &[]),
        otel: ("mpp.group.delay.time", &[("mpp.delay.cause", "swap")]),
        drop_in: None,
        source: "task_delay_info.swapin_delay, taskstats swapin_delay_total",
        privilege: Privilege::Records,
        need: Need::Delays,
        presets: &[Preset::Delays],
        help: "Time that threads waited for pages to be swapped in, ended members included until they began to end.",
    },
    Metric {
        id: MetricId::DelaysReclaim,
        name: "delays.reclaim",
        heading: "RECLAIM",
        unit: Unit::Seconds,
        kind: Kind::Counter,
        number: NumberType::Float,
        fold: Fold::Ledger,
        prometheus: ("mpp_delays_reclaim_seconds_total", &[]),
        otel: ("mpp.group.delay.time", &[("mpp.delay.cause", "reclaim")]),
        drop_in: None,
        source: "task_delay_info.freepages_delay, taskstats freepages_delay_total",
        privilege: Privilege::Records,
        need: Need::Delays,
        presets: &[Preset::Delays],
        help: "Time that threads spent freeing memory that they wanted to have, ended members included until they began to end.",
    },
    Metric {
        id: MetricId::TcpTotal,
        name: "conns.tcp.total",
        heading: "TCP",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_sockets", &[]),
        otel: ("mpp.group.network.socket.count", &[("network.transport", "tcp")]),
        drop_in: Some("conns.tcp.total"),
        source: "proc_pid_fd(5) and sock_diag(7)",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "TCP sockets in any state; one that members share counts once.",
    },
    Metric {
        id: MetricId::TcpEstablished,
        name: "conns.tcp.established",
        heading: "ESTAB",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "established")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "established"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.established"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Connections in use.",
    },
    Metric {
        id: MetricId::TcpSynSent,
        name: "conns.tcp.syn_sent",
        heading: "SYNSENT",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "syn_sent")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "syn_sent"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.syn_sent"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Connections asked for and not yet answered.",
    },
    Metric {
        id: MetricId::TcpSynRecv,
        name: "conns.tcp.syn_recv",
        heading: "SYNRECV",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "syn_recv")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "syn_recv"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.syn_recv"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Connections that a peer asked for and has not yet confirmed.",
    },
    Metric {
        id: MetricId::TcpFinWait1,
        name: "conns.tcp.fin_wait1",
        heading: "FINW1",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "fin_wait1")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "fin_wait1"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.fin_wait1"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Connections closed on this side, which the peer has not yet acknowledged.",
    },
    Metric {
        id: MetricId::TcpFinWait2,
        name: "conns.tcp.fin_wait2",
        heading: "FINW2",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "fin_wait2")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "fin_wait2"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.fin_wait2"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Connections closed on this side, which the peer has not yet closed on its own.",
    },
    Metric {
        id: MetricId::TcpTimeWait,
        name: "conns.tcp.time_wait",
        heading: "TIMEW",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "time_wait")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "time_wait"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.time_wait"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Connections closed on both sides that wait for late segments.",
    },
    Metric {
        id: MetricId::TcpClose,
        name: "conns.tcp.close",
        heading: "CLOSE",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "close")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "close"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.close"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Sockets that are bound but neither listen nor are connected any more.",
    },
    Metric {
        id: MetricId::TcpCloseWait,
        name: "conns.tcp.close_wait",
        heading: "CLOSEW",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "close_wait")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "close_wait"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.close_wait"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Connections that the peer has closed and this side has not.",
    },
    Metric {
        id: MetricId::TcpLastAck,
        name: "conns.tcp.last_ack",
        heading: "LASTACK",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "last_ack")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "last_ack"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.last_ack"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Connections closed on both sides that wait for the peer's last acknowledgement.",
    },
    Metric {
        id: MetricId::TcpListen,
        name: "conns.tcp.listen",
        heading: "LISTEN",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "listen")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "listen"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.listen"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Sockets that wait for connections.",
    },
    Metric {
        id: MetricId::TcpClosing,
        name: "conns.tcp.closing",
        heading: "CLOSING",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "closing")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "closing"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.closing"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Connections that both sides closed at the same moment.",
    },
    Metric {
        id: MetricId::TcpNone,
        name: "conns.tcp.none",
        heading: "NOSTATE",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_tcp_connections", &[("state", "none")]),
        otel: (
            "mpp.group.network.connection.count",
            &[("network.connection.state", "none"), ("network.transport", "tcp")],
        ),
        drop_in: Some("conns.tcp.none"),
        source: "sock_diag(7) idiag_state",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[],
        help: "TCP sockets in a state that has no name.",
    },
    Metric {
        id: MetricId::UdpTotal,
        name: "conns.udp.total",
        heading: "UDP",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_udp_sockets", &[]),
        otel: ("mpp.group.network.socket.count", &[("network.transport", "udp")]),
        drop_in: Some("conns.udp.total"),
        source: "proc_pid_fd(5) and sock_diag(7)",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "UDP sockets that are bound; one that members share counts once.",
    },
    Metric {
        id: MetricId::UnixSocketsTotal,
        name: "conns.unix_sockets.total",
        heading: "UNIX",
        unit: Unit::Count,
        kind: Kind::Gauge,
        number: NumberType::Integer,
        fold: Fold::DistinctSockets,
        prometheus: ("mpp_unix_sockets", &[]),
        otel: ("mpp.group.network.socket.count", &[("network.transport", "unix")]),
        drop_in: Some("conns.unix_sockets.total"),
        source: "proc_pid_fd(5) and sock_diag(7)",
        privilege: Privilege::Open,
        need: Need::Sockets,
        presets: &[Preset::Net],
        help: "Unix sockets, bound or not; one that members share counts once.",
    },
    Metric {
        id: MetricId::NetTcpSentBytes,
        name: "net.tcp.sent_bytes",
        heading: "TCPSENT",
        unit: Unit::Bytes,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Connections,
        prometheus: ("mpp_tcp_bytes_total", &[("direction", "sent")]),
        otel: (
            "mpp.group.network.io",
            &[("network.io.direction", "transmit"), ("network.transport", "tcp")],
        ),
        drop_in: None,
        source: "tcp(7) tcpi_bytes_acked",
        privilege: Privilege::Open,
        need: Need::TcpTraffic,
        presets: &[Preset::Net],
        help: "Bytes of data sent over TCP and acknowledged by the peer, over connections that ended included.",
    },
    Metric {
        id: MetricId::NetTcpReceivedBytes,
        name: "net.tcp.received_bytes",
        heading: "TCPRECV",
        unit: Unit::Bytes,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Connections,
        prometheus: ("mpp_tcp_bytes_total", &[("direction", "received")]),
        otel: (
            "mpp.group.network.io",
            &[("network.io.direction", "receive"), ("network.transport", "tcp")],
        ),
        drop_in: None,
        source: "tcp(7) tcpi_bytes_received",
        privilege: Privilege::Open,
        need: Need::TcpTraffic,
        presets: &[Preset::Net],
        help: "Bytes of data received over TCP, over connections that ended included.",
    },
    Metric {
        id: MetricId::NetTcpRetransmits,
        name: "net.tcp.retransmits",
        heading: "RETRANS",
        unit: Unit::Count,
        kind: Kind::Counter,
        number: NumberType::Integer,
        fold: Fold::Connections,
        prometheus: ("mpp_tcp_retransmits_total", &[]),
        otel: ("mpp.group.network.retransmits", &[("network.transport", "tcp")]),
        drop_in: None,
        source: "tcp(7) tcpi_total_retrans",
        privilege: Privilege::Open,
        need: Need::TcpTraffic,
        presets: &[Preset::Net],
        help: "TCP segments sent again because the peer did not acknowledge them in time.",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: &[&str]) {
        let columns = choose(text).expect("a choice");
        let names: Vec<_> = columns.iter().map(Column::name).collect();
        assert_eq!(names, expected, "{text}");
    }

    fn is_sorted_set<T: Ord>(items: impl IntoIterator<Item = T>) -> bool {
        let mut seen = BTreeSet::new();
        items.into_iter().all(|item| seen.insert(item))
    }

    #[test]
    fn a_metric_stands_at_the_position_of_its_id() {
        for (position, metric) in METRICS.iter().enumerate() {
            assert_eq!(metric.id as usize, position, "{}", metric.name);
            assert!(std::ptr::eq(metric.id.metric(), metric));
        }
    }

    #[test]
    fn no_two_metrics_share_a_name_of_any_kind() {
        assert!(is_sorted_set(METRICS.iter().map(|m| m.name)));
        assert!(is_sorted_set(METRICS.iter().map(|m| m.heading)));
        assert!(is_sorted_set(METRICS.iter().map(|m| m.prometheus)));
        assert!(is_sorted_set(METRICS.iter().map(|m| m.otel)));
        assert!(is_sorted_set(METRICS.iter().filter_map(|m| m.drop_in)));
    }

    #[test]
    fn every_help_is_one_sentence() {
        for metric in &METRICS {
            let help = metric.help;
            assert!(help.starts_with(|c: char| c.is_ascii_uppercase()), "{help}");
            assert!(help.ends_with('.') && !help.contains(". "), "{help}");
            assert!(help.chars().all(|c| !c.is_control()), "{help}");
        }
    }

    #[test]
    fn names_are_dotted_words() {
        for metric in &METRICS {
            let is_name =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._".contains(c);
            assert!(metric.name.chars().all(is_name), "{}", metric.name);
            assert!(
                metric.name != ALL && !Preset::WORDS.iter().any(|(word, _)| *word == metric.name)
            );
        }
    }

    #[test]
    fn prometheus_names_say_unit_and_kind() {
        for metric in &METRICS {
            let name = metric.prometheus.0;
            assert!(name.starts_with("mpp_"), "{name}");
            assert_eq!(name.ends_with("_total"), metric.kind == Kind::Counter, "{name}");
            let base = name.trim_end_matches("_total");
            let unit = match metric.unit {
                Unit::Bytes => "_bytes",
                Unit::Seconds => "_seconds",
                Unit::Percent => "_ratio",
                Unit::Count => "",
            };
            assert!(base.ends_with(unit), "{name}");
        }
    }

    #[test]
    fn a_family_has_one_kind_one_unit_and_the_same_labels_throughout() {
        let mut families = BTreeMap::new();
        for metric in &METRICS {
            let keys: Vec<_> = metric.prometheus.1.iter().map(|(key, _)| *key).collect();
            assert!(keys.is_sorted(), "{}", metric.name);
            let shape = (metric.kind, metric.unit, metric.number, keys);
            let first = families.entry(metric.prometheus.0).or_insert_with(|| shape.clone());
            assert_eq!(*first, shape, "{}", metric.name);
        }
    }

    #[test]
    fn otel_names_are_under_our_own_prefix() {
        for metric in &METRICS {
            assert!(metric.otel.0.starts_with("mpp.group."), "{}", metric.name);
        }
    }

    #[test]
    fn the_keys_of_the_five_functions_are_all_there() {
        let keys: BTreeSet<_> = METRICS.iter().filter_map(|m| m.drop_in).collect();
        assert_eq!(keys.len(), 8 + 3 + 2 + 2 + 4 + 13 + 2 + 1);
        for metric in METRICS.iter().filter(|m| m.drop_in.is_some_and(|key| key != m.name)) {
            assert_eq!((metric.name, metric.drop_in), ("processes.total", Some("total_processes")));
        }
    }

    #[test]
    fn percentages_and_seconds_have_fractions_and_nothing_else_has() {
        for metric in &METRICS {
            let has_fraction = matches!(metric.unit, Unit::Percent | Unit::Seconds);
            assert_eq!(metric.number == NumberType::Float, has_fraction, "{}", metric.name);
        }
    }

    #[test]
    fn compatibility_zeros_are_in_no_preset() {
        for id in [MetricId::MemoryLib, MetricId::MemoryDirty] {
            assert!(id.metric().presets.is_empty());
        }
    }

    #[test]
    fn the_default_fits_a_screen_and_shows_io_as_rates() {
        check(
            "default",
            &[
                "processes.total",
                "uptime",
                "cpu.percent",
                "memory.rss",
                "io_counters.read_bytes_per_sec",
                "io_counters.write_bytes_per_sec",
                "threads",
                "fds",
            ],
        );
    }

    #[test]
    fn an_exact_name_brings_one_column_and_a_glob_both_forms() {
        check("fds", &["fds"]);
        check("cpu.user_per_sec", &["cpu.user_per_sec"]);
        check("cpu.u*", &["cpu.user", "cpu.user_per_sec"]);
        check("page_faults.m[ai]*or", &["page_faults.minor", "page_faults.major"]);
    }

    #[test]
    fn the_table_decides_the_order_and_nothing_stands_twice() {
        check("threads, cpu.percent,cpu.p*", &["cpu.percent", "threads"]);
    }

    #[test]
    fn proportional_memory_comes_only_when_named() {
        check("memory.pss", &["memory.pss"]);
        check("memory.[pu]ss", &["memory.pss", "memory.uss"]);
        check("memory.*ss", &["memory.rss"]);
        for text in ["all", "mem", "*", "memory.*"] {
            let columns = choose(text).expect("a choice");
            assert!(!columns.is_empty() && !columns.iter().any(is_costly), "{text}");
        }
        let all = choose("all,memory.pss,memory.uss").expect("a choice");
        assert_eq!(all.len(), COLUMNS.len());
    }

    #[test]
    fn a_preset_brings_totals_and_rates() {
        let columns = choose("io").expect("a choice");
        assert_eq!(columns.len(), 14);
        for (word, _) in Preset::WORDS {
            assert!(choose(word).is_ok_and(|columns| !columns.is_empty()), "{word}");
        }
    }

    fn check_unknown(text: &str, message: &str, hint: &str) {
        let error = choose(text).expect_err("an unknown metric");
        assert_eq!((error.to_string().as_str(), error.hint().as_str()), (message, hint));
    }

    #[test]
    fn an_unknown_metric_is_named_and_asked_about() {
        check_unknown(
            "fds,memry.rss",
            "expected the name of a metric, a glob or a preset, but found `memry.rss`",
            "did you mean `memory.rss`?",
        );
        check_unknown(
            "cpu,",
            "expected the name of a metric, a glob or a preset, but found ``",
            "`mpp metrics` lists all metrics",
        );
        check_unknown(
            "[",
            "expected the name of a metric, a glob or a preset, but found `[`",
            "`mpp metrics` lists all metrics",
        );
    }

    #[test]
    fn rates_and_presets_are_suggested_too() {
        assert_eq!(
            closest("io_counters.write_byte_per_sec"),
            Some("io_counters.write_bytes_per_sec")
        );
        assert_eq!(choose("defualt").expect_err("unknown").closest(), Some("default"));
    }

    #[test]
    fn a_part_of_a_name_is_asked_about() {
        let check = |text, expected| {
            assert_eq!(choose(text).expect_err("unknown").closest(), expected, "{text}");
        };
        check("rss", Some("memory.rss"));
        check("io.read_bytes", Some("io_counters.read_bytes"));
        check("memory", Some("mem"));
        check("io.*", Some("io"));
        check("io_counters", Some("io"));
        check("nothing.of.this", None);
        check(".", None);
    }

    #[test]
    fn every_column_is_found_by_its_name() {
        for named in COLUMNS.iter() {
            let column = column_by_name(&named.name).expect("a column");
            assert_eq!(
                (column.metric.id, column.form),
                (named.column.metric.id, named.column.form)
            );
        }
        assert!(column_by_name("fds_per_sec").is_none());
        assert!(by_name("cpu.user_per_sec").is_none());
        assert_eq!(by_name("cpu.user"), Some(MetricId::CpuUser.metric()));
    }

    proptest! {
        #[test]
        fn any_text_is_a_choice_or_an_error(text in any::<String>()) {
            if let Ok(columns) = choose(&text) {
                prop_assert!(!columns.is_empty());
            }
        }
    }
}
