//! A group's figures: what its living members hold, added up, and its totals.
//!
//! A sum of which some parts could not be read is a lower bound; one of which no part
//! could be read is absent. A sum over no members is zero, and exact.

use std::time::Duration;

use crate::exit::ROUNDED_TO_BYTES;
use crate::group_totals::{DelaysMissing, GroupTotals};
use crate::metric::{MetricId, Need};
use crate::process::{
    Absence, DelayCoverage, Memory, ProcessSample, ProcessState, Reading, Socket, SocketKind,
    TcpState,
};
use crate::rate;
use crate::report::{Column, Figure, Form, Mark, Value};
use crate::snapshot::{Snapshot, Visibility};
use crate::units::{
    BootTime, DelayCounter, DelayDelta, IoCounter, IoDelta, TcpCounter, UsageCounter,
};

/// The time between two sweeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) elapsed: Duration,
}

impl Interval {
    /// From the sweep that began at `previous` to this one.
    pub(crate) fn between(previous: Option<BootTime>, snapshot: &Snapshot) -> Option<Self> {
        Some(Interval { elapsed: snapshot.taken_at.since(previous?) })
    }
}

/// Why a process belongs to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It matched itself.
    Matched,
    /// It descends from one that matched.
    Descendant,
}

/// A sum of readings, and how many of them there were.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    total: u64,
    readable: u64,
    unreadable: u64,
    why: Option<Absence>,
}

impl Sum {
    fn add(&mut self, reading: Reading<u64>) {
        match reading {
            Reading::Value(value) => {
                self.total = self.total.saturating_add(value);
                self.readable += 1;
            }
            Reading::Absent(why) => self.miss(why),
        }
    }

    fn miss(&mut self, why: Absence) {
        self.unreadable += 1;
        self.why.get_or_insert(why);
    }

    /// Why there is nothing to show at all.
    fn absence(&self) -> Option<Absence> {
        self.why.filter(|_| self.readable == 0)
    }

    /// What the missing parts leave of a promise.
    fn mark(&self) -> Mark {
        if self.unreadable == 0 { Mark::Exact } else { Mark::LowerBound }
    }

    fn figure(&self, number: impl FnOnce(u64) -> Value) -> Figure {
        match self.absence() {
            Some(why) => Figure::Absent(why),
            None => Figure::Known { value: number(self.total), mark: self.mark() },
        }
    }
}

/// What the living members of one group hold.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    matched: u64,
    descendants: u64,
    zombies: u64,
    unreadable: u64,
    unread_members: u64,
    undecided: u64,
    oldest_start_ticks: Option<u64>,
    rss: Sum,
    memory: Memory,
    anon_bytes: u64,
    pss: Sum,
    uss: Sum,
    swap: Sum,
    threads: Sum,
    fds: Sum,
    fds_worst: Sum,
    fds_worst_percent: f64,
    /// These two count nothing; they remember whose I/O could be read, and of whom it is known how
    /// often they read and wrote.
    io: Sum,
    io_calls: Sum,
    /// Living threads whose bytes are rounded down.
    rounded_threads: u64,
    switches: Sum,
    /// These count nothing either.
    delays_cpu: Sum,
    delays_others: Sum,
    sockets_read: Sum,
    sockets: Vec<Socket>,
}

impl Tally {
    /// Adds one living member. `needs` is what somebody looks at.
    pub(crate) fn add(&mut self, process: &ProcessSample, role: Role, needs: &[Need]) {
        match role {
            Role::Matched => self.matched += 1,
            Role::Descendant => self.descendants += 1,
        }
        self.zombies += u64::from(process.state == ProcessState::Zombie);
        let start = process.key.start_time_ticks;
        self.oldest_start_ticks = Some(self.oldest_start_ticks.map_or(start, |o| o.min(start)));
        self.unreadable += u64::from(needs.iter().any(|need| is_missing(process, *need)));
        self.add_memory(process);
        self.threads.add(process.gauges.threads.map(u64::from));
        self.add_fds(process);
        self.add_io(process);
        self.add_switches(process);
        self.add_delays(process);
        match &process.gauges.seldom.sockets {
            Reading::Value(sockets) => {
                self.sockets_read.readable += 1;
                self.sockets.extend_from_slice(sockets);
            }
            Reading::Absent(why) => self.sockets_read.miss(*why),
        }
    }

    /// Adds a member that exists and of which nothing could be read.
    pub(crate) fn add_unreadable(&mut self) {
        self.unread_members += 1;
        self.unreadable += 1;
        for sum in [
            &mut self.rss,
            &mut self.pss,
            &mut self.uss,
            &mut self.swap,
            &mut self.threads,
            &mut self.fds,
            &mut self.fds_worst,
            &mut self.io,
            &mut self.io_calls,
            &mut self.switches,
            &mut self.delays_cpu,
            &mut self.delays_others,
            &mut self.sockets_read,
        ] {
            sum.miss(Absence::Denied);
        }
    }

    /// Whether there may be members that are not among these.
    fn misses_members(&self, snapshot: &Snapshot) -> bool {
        snapshot.host.visibility != Visibility::Whole || self.undecided > 0
    }

    /// How far the number of members can be trusted.
    pub(crate) fn members_mark(&self, snapshot: &Snapshot) -> Mark {
        match self.misses_members(snapshot) || self.unread_members > 0 {
            true => Mark::LowerBound,
            false => Mark::Exact,
        }
    }

    /// Notes that a process may or may not be a member.
    pub(crate) fn add_undecided(&mut self) {
        self.undecided += 1;
    }

    fn add_memory(&mut self, process: &ProcessSample) {
        let gauges = &process.gauges;
        self.rss.add(gauges.memory().map(|memory| memory.rss_bytes));
        if let Reading::Value(memory) = gauges.memory() {
            let sum = &mut self.memory;
            sum.vms_bytes = sum.vms_bytes.saturating_add(memory.vms_bytes);
            sum.shared_bytes = sum.shared_bytes.saturating_add(memory.shared_bytes);
            sum.text_bytes = sum.text_bytes.saturating_add(memory.text_bytes);
            sum.data_bytes = sum.data_bytes.saturating_add(memory.data_bytes);
            let anon_bytes = memory.rss_bytes.saturating_sub(memory.shared_bytes);
            self.anon_bytes = self.anon_bytes.saturating_add(anon_bytes);
        }
        self.pss.add(gauges.seldom.proportional_memory.map(|memory| memory.pss_bytes));
        self.uss.add(gauges.seldom.proportional_memory.map(|memory| memory.uss_bytes));
        self.swap.add(gauges.seldom.swap_bytes);
    }

    fn add_fds(&mut self, process: &ProcessSample) {
        let (fds, limit) = (process.gauges.fds, process.gauges.seldom.fd_limit);
        self.fds.add(fds.map(u64::from));
        match (fds, limit) {
            (Reading::Value(fds), Reading::Value(limit)) => {
                let percent = rate::percent(f64::from(fds), limit as f64);
                match percent {
                    Some(percent) => {
                        self.fds_worst.add(Reading::Value(0));
                        self.fds_worst_percent = self.fds_worst_percent.max(percent);
                    }
                    None => self.fds_worst.miss(Absence::Unsupported),
                }
            }
            (Reading::Absent(why), _) | (_, Reading::Absent(why)) => self.fds_worst.miss(why),
        }
    }

    fn add_io(&mut self, process: &ProcessSample) {
        if let Some(threads) = process.io.rounded_threads() {
            self.rounded_threads += threads.len() as u64;
        }
        self.io.add(process.io.absence().map_or(Reading::Value(0), Reading::Absent));
        self.io_calls.add(process.io.total().map(|_| 0));
    }

    /// By how many bytes at most each of the I/O counters is too low, for threads that live.
    pub(crate) fn io_bound_bytes(&self) -> u64 {
        self.rounded_threads.saturating_mul(ROUNDED_TO_BYTES - 1)
    }

    /// Of whom a counter could be read.
    fn io_of(&self, counter: IoCounter) -> &Sum {
        if is_of_calls(counter) { &self.io_calls } else { &self.io }
    }

    /// Why nothing can be said of a counter, where members are known to have done this.
    fn io_absence(&self, counter: IoCounter, done: IoDelta) -> Option<Absence> {
        let is_nothing = if is_of_calls(counter) { done[counter] == 0 } else { done.is_zero() };
        self.io_of(counter).absence().filter(|_| is_nothing)
    }

    /// What is left of a promise, as far as the living are concerned.
    fn io_mark(&self, counter: IoCounter, mark: Mark) -> Mark {
        let living = if self.rounded_threads > 0 { Mark::Bound } else { Mark::Exact };
        rounded(counter, mark.and(living)).and(self.io_of(counter).mark())
    }

    fn add_switches(&mut self, process: &ProcessSample) {
        match process.gauges.context_switches {
            // Nothing is unreadable here, but exited threads are missing.
            Reading::Value(switches) if switches.is_partial => {
                self.switches.readable += 1;
                self.switches.unreadable += 1;
            }
            reading => self.switches.add(reading.map(|_| 0)),
        }
    }

    fn add_delays(&mut self, process: &ProcessSample) {
        let delays = process.gauges.seldom.delays;
        // What has ended waits no more, and its record has told the rest.
        if process.state == ProcessState::Zombie && delays.absence() == Some(Absence::Vanished) {
            return;
        }
        self.delays_cpu.add(delays.map(|_| 0));
        match delays.map(|delays| delays.others) {
            Reading::Value(DelayCoverage::Whole) => self.delays_others.readable += 1,
            Reading::Value(DelayCoverage::Partial) => {
                self.delays_others.readable += 1;
                self.delays_others.unreadable += 1;
            }
            Reading::Value(DelayCoverage::SwitchedOff) => {
                self.delays_others.miss(Absence::SwitchedOff);
            }
            Reading::Value(DelayCoverage::Unsupported) => {
                self.delays_others.miss(Absence::Unsupported);
            }
            Reading::Absent(why) => self.delays_others.miss(why),
        }
    }

    /// Lets each socket count once, however many members and descriptors share it.
    pub(crate) fn finish(&mut self) {
        self.sockets.sort_unstable();
        self.sockets.dedup();
    }

    pub(crate) fn matched(&self) -> u64 {
        self.matched
    }

    pub(crate) fn descendants(&self) -> u64 {
        self.descendants
    }

    pub(crate) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    pub(crate) fn rss_bytes(&self) -> u64 {
        self.rss.total
    }

    /// The figure of one column.
    pub(crate) fn figure(
        &self,
        column: Column,
        group: &GroupTotals,
        snapshot: &Snapshot,
        interval: Option<Interval>,
    ) -> Figure {
        let unread = snapshot.network.traffic.absence();
        let figure = match (column.form, interval) {
            // Nobody could look at any connection this time.
            (form, _) if column.metric.need == Need::TcpTraffic && unread.is_some() => {
                match (tcp_counter(column.metric.id), form, unread) {
                    (Some(counter), Form::Level, _) if group.tcp != Default::default() => {
                        known(Value::Integer(group.tcp[counter]), Mark::LowerBound)
                    }
                    (.., why) => Figure::Absent(why.unwrap_or(Absence::NotYetKnown)),
                }
            }
            (Form::Level, _) => self.level(column.metric.id, group, snapshot, interval),
            (Form::PerSecond, Some(interval)) => self.rate(column.metric.id, group, interval),
            (Form::PerSecond, None) => Figure::Absent(Absence::NotYetKnown),
        };
        let misses_own = column.metric.need == Need::Always && self.unread_members > 0;
        match figure {
            Figure::Known { value, mark } if self.misses_members(snapshot) || misses_own => {
                Figure::Known { value, mark: mark.and(Mark::LowerBound) }
            }
            figure => figure,
        }
    }

    fn level(
        &self,
        id: MetricId,
        group: &GroupTotals,
        snapshot: &Snapshot,
        interval: Option<Interval>,
    ) -> Figure {
        use MetricId as M;
        let members = self.matched + self.descendants + self.unread_members;
        match id {
            M::ProcessesTotal => exact(members),
            M::ProcessesMatched => exact(self.matched),
            M::ProcessesZombie => exact(self.zombies),
            M::ProcessesEnded => known(Value::Integer(group.ended), group.marks.ended),
            M::Uptime => self.uptime(snapshot),
            M::CpuPercent => cpu_percent(group, interval),
            M::CpuUser => cpu_seconds(group, UsageCounter::CpuUserNs),
            M::CpuSystem => cpu_seconds(group, UsageCounter::CpuSystemNs),
            M::PageFaultsMinor => faults(group, UsageCounter::MinorFaults),
            M::PageFaultsMajor => faults(group, UsageCounter::MajorFaults),
            M::MemoryRss => self.rss.figure(Value::Integer),
            M::MemoryVms => self.memory(self.memory.vms_bytes),
            M::MemoryShared => self.memory(self.memory.shared_bytes),
            M::MemoryText => self.memory(self.memory.text_bytes),
            M::MemoryData => self.memory(self.memory.data_bytes),
            M::MemoryLib | M::MemoryDirty => self.memory(0),
            M::MemoryAnon => self.memory(self.anon_bytes),
            M::MemoryPercent => self.memory_percent(snapshot),
            M::MemorySwap => self.swap.figure(Value::Integer),
            M::MemoryPss => self.pss.figure(Value::Integer),
            M::MemoryUss => self.uss.figure(Value::Integer),
            M::MemoryPeak => match self.rss.absence() {
                Some(why) if group.rss_peak_bytes == 0 => Figure::Absent(why),
                _ => known(Value::Integer(group.rss_peak_bytes), Mark::LowerBound),
            },
            M::Threads => self.threads.figure(Value::Integer),
            M::Fds => self.fds.figure(Value::Integer),
            M::FdsWorstPercent => self.fds_worst.figure(|_| Value::Float(self.fds_worst_percent)),
            M::CtxSwitchesVoluntary => self.switches(group.switches.0[0], group),
            M::CtxSwitchesInvoluntary => self.switches(group.switches.0[1], group),
            M::DelaysCpu | M::DelaysBlockIo | M::DelaysSwap | M::DelaysReclaim => {
                let missing = group.delays_missing;
                self.delays(id, group.delays.as_delta(), missing, group.marks.delays)
            }
            _ => match (io_counter(id), socket_choice(id), tcp_counter(id)) {
                (Some(counter), ..) => self.io_total(group, counter),
                (_, Some(choice), _) => self.count_sockets(choice),
                (.., Some(counter)) => self.tcp_total(group, counter),
                (None, None, None) => Figure::Absent(Absence::Unsupported),
            },
        }
    }

    fn rate(&self, id: MetricId, group: &GroupTotals, interval: Interval) -> Figure {
        use MetricId as M;
        let usage = |counter: UsageCounter| group.usage_in_time()[counter];
        let marks = group.marks_moved;
        let (growth, mark) = match id {
            M::CpuUser => (rate::seconds(usage(UsageCounter::CpuUserNs)), marks.usage),
            M::CpuSystem => (rate::seconds(usage(UsageCounter::CpuSystemNs)), marks.usage),
            M::PageFaultsMinor => (usage(UsageCounter::MinorFaults) as f64, marks.usage),
            M::PageFaultsMajor => (usage(UsageCounter::MajorFaults) as f64, marks.usage),
            M::CtxSwitchesVoluntary | M::CtxSwitchesInvoluntary => {
                if let Some(why) = self.switches.absence() {
                    return Figure::Absent(why);
                }
                let index = usize::from(id == M::CtxSwitchesInvoluntary);
                let moved = group.switches_moved.0[index] as f64;
                (moved, marks.switches.and(self.switches.mark()))
            }
            M::DelaysCpu | M::DelaysBlockIo | M::DelaysSwap | M::DelaysReclaim => {
                let (moved, missing) = (group.delays_moved, group.delays_missing_moved);
                match self.delays(id, moved, missing, marks.delays) {
                    Figure::Known { value: Value::Float(seconds), mark } => (seconds, mark),
                    figure => return figure,
                }
            }
            M::ProcessesEnded => (group.ended_moved as f64, marks.ended),
            M::NetTcpSentBytes | M::NetTcpReceivedBytes | M::NetTcpRetransmits => {
                let moved = tcp_counter(id).map_or(0, |counter| group.tcp_moved[counter]);
                match self.sockets_read.absence() {
                    Some(why) if group.tcp_moved.is_zero() => return Figure::Absent(why),
                    _ => (moved as f64, self.tcp_mark(group)),
                }
            }
            _ => {
                let Some(counter) = io_counter(id) else {
                    return Figure::Absent(Absence::Unsupported);
                };
                if let Some(why) = self.io_absence(counter, group.io_moved) {
                    return Figure::Absent(why);
                }
                (group.io_in_time()[counter] as f64, self.io_mark(counter, marks.io))
            }
        };
        match rate::per_second(growth, interval.elapsed) {
            Some(rate) => known(Value::Float(rate), mark),
            None => Figure::Absent(Absence::NotYetKnown),
        }
    }

    fn io_total(&self, group: &GroupTotals, counter: IoCounter) -> Figure {
        match self.io_absence(counter, group.io.as_delta()) {
            Some(why) => Figure::Absent(why),
            None => known(Value::Integer(group.io[counter]), self.io_mark(counter, io_mark(group))),
        }
    }

    fn tcp_total(&self, group: &GroupTotals, counter: TcpCounter) -> Figure {
        match self.sockets_read.absence() {
            Some(why) if group.tcp == Default::default() => Figure::Absent(why),
            _ => known(Value::Integer(group.tcp[counter]), self.tcp_mark(group)),
        }
    }

    /// The kernel counts each connection exactly; what may fail is seeing all of them.
    fn tcp_mark(&self, group: &GroupTotals) -> Mark {
        let is_whole = !group.tcp_is_partial && !group.tcp_is_awaited;
        let seen = if is_whole { Mark::Exact } else { Mark::LowerBound };
        let own = if group.tcp_is_shared { Mark::Estimate } else { Mark::Exact };
        seen.and(own).and(self.sockets_read.mark())
    }

    /// Seconds of waiting, of which some may be missing.
    fn delays(
        &self,
        id: MetricId,
        waited: DelayDelta,
        missing: DelaysMissing,
        mark: Mark,
    ) -> Figure {
        let Some(counter) = delay_counter(id) else {
            return Figure::Absent(Absence::Unsupported);
        };
        let sum = match counter {
            DelayCounter::Cpu => &self.delays_cpu,
            DelayCounter::BlockIo | DelayCounter::Swap | DelayCounter::Reclaim => {
                &self.delays_others
            }
        };
        match sum.absence() {
            Some(why) if waited[counter] == 0 => Figure::Absent(why),
            _ => known(
                Value::Float(rate::seconds(waited[counter])),
                mark.and(missing.mark(counter)).and(sum.mark()),
            ),
        }
    }

    fn memory(&self, bytes: u64) -> Figure {
        self.rss.figure(|_| Value::Integer(bytes))
    }

    fn memory_percent(&self, snapshot: &Snapshot) -> Figure {
        let total = snapshot.host.memory_total_bytes;
        match rate::percent(self.rss.total as f64, total as f64) {
            Some(percent) => self.rss.figure(|_| Value::Float(percent)),
            None => Figure::Absent(Absence::Unsupported),
        }
    }

    /// What members did after they were last seen is missing from any later total.
    fn switches(&self, total: u64, group: &GroupTotals) -> Figure {
        match self.switches.figure(|_| Value::Integer(total)) {
            Figure::Known { value, mark } => known(value, mark.and(group.marks.switches)),
            figure => figure,
        }
    }

    fn uptime(&self, snapshot: &Snapshot) -> Figure {
        let Some(start) = self.oldest_start_ticks else {
            return Figure::Absent(Absence::Vanished);
        };
        let ticks = snapshot.taken_at_ticks.saturating_sub(start);
        known(
            Value::Float(ticks as f64 / snapshot.host.ticks_per_second.max(1) as f64),
            Mark::Exact,
        )
    }

    fn count_sockets(&self, choice: SocketChoice) -> Figure {
        let count = self.sockets.iter().filter(|socket| choice.holds(socket.kind)).count();
        self.sockets_read.figure(|_| Value::Integer(count as u64))
    }
}

/// Whether something that a column needs could not be read of a process.
fn is_missing(process: &ProcessSample, need: Need) -> bool {
    let gauges = &process.gauges;
    let why = match need {
        Need::Always => None,
        Need::Memory => gauges.memory().absence(),
        Need::Io => process.io.absence(),
        Need::Fds => gauges.fds.absence(),
        Need::FdLimit => gauges.seldom.fd_limit.absence(),
        Need::ContextSwitches => gauges.context_switches.absence(),
        // That nobody counts it is not the process's doing.
        Need::Delays => gauges.seldom.delays.absence().filter(|why| {
            let is_general = [Absence::NeedsRecords, Absence::Unsupported].contains(why);
            !is_general && process.state == ProcessState::Living
        }),
        Need::Swap => gauges.seldom.swap_bytes.absence(),
        Need::ProportionalMemory => gauges.seldom.proportional_memory.absence(),
        Need::Sockets | Need::TcpTraffic => gauges.seldom.sockets.absence(),
    };
    why.is_some()
}

fn known(value: Value, mark: Mark) -> Figure {
    Figure::Known { value, mark }
}

fn exact(count: u64) -> Figure {
    known(Value::Integer(count), Mark::Exact)
}

/// What can be promised of a total: no more than of its start, and of what moved since.
fn io_mark(group: &GroupTotals) -> Mark {
    let start = if group.start_is_partial || group.io_is_partial {
        Mark::LowerBound
    } else if group.start_has_foreign {
        Mark::Estimate
    } else {
        Mark::Exact
    };
    start.and(group.marks.io)
}

/// Of a rounded record the bytes are known within a bound, the numbers of calls not at all.
fn rounded(counter: IoCounter, mark: Mark) -> Mark {
    if mark == Mark::Bound && is_of_calls(counter) { Mark::LowerBound } else { mark }
}

fn is_of_calls(counter: IoCounter) -> bool {
    matches!(counter, IoCounter::ReadCount | IoCounter::WriteCount)
}

fn usage_mark(group: &GroupTotals) -> Mark {
    let start = if group.start_has_foreign { Mark::Estimate } else { Mark::Exact };
    start.and(group.marks.usage)
}

fn cpu_seconds(group: &GroupTotals, counter: UsageCounter) -> Figure {
    known(Value::Float(rate::seconds(group.usage[counter])), usage_mark(group))
}

fn faults(group: &GroupTotals, counter: UsageCounter) -> Figure {
    known(Value::Integer(group.usage[counter]), usage_mark(group))
}

fn cpu_percent(group: &GroupTotals, interval: Option<Interval>) -> Figure {
    let Some(interval) = interval else { return Figure::Absent(Absence::NotYetKnown) };
    let moved = group.usage_in_time();
    let busy_ns = moved[UsageCounter::CpuUserNs].saturating_add(moved[UsageCounter::CpuSystemNs]);
    match rate::percent(rate::seconds(busy_ns), interval.elapsed.as_secs_f64()) {
        Some(percent) => known(Value::Float(percent), group.marks_moved.usage),
        None => Figure::Absent(Absence::NotYetKnown),
    }
}

fn io_counter(id: MetricId) -> Option<IoCounter> {
    use MetricId as M;
    Some(match id {
        M::IoReadChars => IoCounter::ReadChars,
        M::IoWriteChars => IoCounter::WriteChars,
        M::IoReadCount => IoCounter::ReadCount,
        M::IoWriteCount => IoCounter::WriteCount,
        M::IoReadBytes => IoCounter::ReadBytes,
        M::IoWriteBytes => IoCounter::WriteBytes,
        M::IoCancelledWriteBytes => IoCounter::CancelledWriteBytes,
        _ => return None,
    })
}

fn delay_counter(id: MetricId) -> Option<DelayCounter> {
    Some(match id {
        MetricId::DelaysCpu => DelayCounter::Cpu,
        MetricId::DelaysBlockIo => DelayCounter::BlockIo,
        MetricId::DelaysSwap => DelayCounter::Swap,
        MetricId::DelaysReclaim => DelayCounter::Reclaim,
        _ => return None,
    })
}

fn tcp_counter(id: MetricId) -> Option<TcpCounter> {
    Some(match id {
        MetricId::NetTcpSentBytes => TcpCounter::SentBytes,
        MetricId::NetTcpReceivedBytes => TcpCounter::ReceivedBytes,
        MetricId::NetTcpRetransmits => TcpCounter::Retransmits,
        _ => return None,
    })
}

/// Which sockets a metric counts.
#[derive(Clone, Copy, Debug)]
enum SocketChoice {
    Tcp,
    TcpIn(TcpState),
    /// No TCP socket is without a state; the key is the seed's.
    NoTcp,
    Udp,
    Unix,
}

impl SocketChoice {
    fn holds(self, kind: SocketKind) -> bool {
        match (self, kind) {
            (SocketChoice::Tcp, SocketKind::Tcp(_))
            | (SocketChoice::Udp, SocketKind::Udp)
            | (SocketChoice::Unix, SocketKind::Unix) => true,
            (SocketChoice::TcpIn(wanted), SocketKind::Tcp(state)) => wanted == state,
            _ => false,
        }
    }
}

fn socket_choice(id: MetricId) -> Option<SocketChoice> {
    match id {
        MetricId::TcpTotal => Some(SocketChoice::Tcp),
        MetricId::TcpNone => Some(SocketChoice::NoTcp),
        MetricId::UdpTotal => Some(SocketChoice::Udp),
        MetricId::UnixSocketsTotal => Some(SocketChoice::Unix),
        _ => id.tcp_state().map(SocketChoice::TcpIn),
    }
}
