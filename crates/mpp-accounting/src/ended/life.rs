//! What is known of a process as long as it lives, and what comes of it in the end.

use std::sync::Arc;
use std::time::Duration;

use super::ENDED_METRICS;
use crate::exit::{ExitSource, ProcessExit, ROUNDED_TO_BYTES};
use crate::ledger::{Movement, ProcessDelta};
use crate::metric::MetricId;
use crate::process::{
    Absence, ContextSwitches, Identity, ProcessKey, ProcessSample, ProcessState, Reading,
};
use crate::rate::seconds;
use crate::report::{Figure, Mark, Value};
use crate::snapshot::Snapshot;
use crate::units::{BootTime, IoCounter, IoDelta, IoTotals, UsageCounter, UsageTotals};

/// A process from when it was first seen, or began, to its end.
#[derive(Debug, Default)]
pub(super) struct Life {
    /// Who it was when last seen; `None` for one that no sweep saw.
    pub(super) identity: Option<Arc<Identity>>,
    /// Its parent then.
    pub(super) parent_pid: u32,
    /// Whether it was a zombie when it was first seen, though it began before anyone looked.
    pub(super) was_zombie_at_first: bool,
    /// Whether its end has been told.
    pub(super) is_told: bool,
    /// The start of the last sweep that saw it.
    pub(super) seen_at: Option<BootTime>,
    /// By how many bytes at most its I/O is too low, for rounded records.
    pub(super) io_bound_bytes: u64,
    io: Io,
    usage: UsageTotals,
    rss_peak_bytes: Option<u64>,
    switches: Option<ContextSwitches>,
    /// Whether it was seen to have waited for children: what it did itself then has to be told
    /// from what they did.
    has_reaped: bool,
    /// When it was last seen alive.
    alive_at: Option<BootTime>,
    /// When it was first seen as a zombie.
    zombie_at: Option<BootTime>,
}

/// I/O of its own, from its beginning on.
#[derive(Debug, Default)]
struct Io {
    total: IoTotals,
    /// What `total` promises, as `Mark::Exact` at first.
    doubt: Doubt,
    /// Whether any of it was ever readable; else why not.
    is_known: bool,
    absence: Option<Absence>,
    /// Whether some of it was inferred from two sweeps.
    is_inferred: bool,
}

/// What can be promised of a sum: the weakest promise of all that went into it.
#[derive(Clone, Copy, Debug)]
struct Doubt(Mark);

impl Default for Doubt {
    fn default() -> Self {
        Doubt(Mark::Exact)
    }
}

/// What is told of an end, and by whom.
pub(super) struct Told<'a> {
    /// Its record; `None` where there is none.
    pub(super) exit: Option<&'a ProcessExit>,
    /// The sweep that found it ended.
    pub(super) snapshot: &'a Snapshot,
    pub(super) movement: &'a Movement,
    /// When the sweep before began.
    pub(super) previous: Option<BootTime>,
}

/// When a life began and ended.
pub(super) struct End {
    pub(super) started_at: BootTime,
    /// At the latest.
    pub(super) ended_at: BootTime,
    /// How much earlier it may have been.
    pub(super) within: Duration,
    lived: Duration,
    lived_mark: Mark,
}

impl Told<'_> {
    fn source(&self) -> ExitSource {
        self.exit.map_or(ExitSource::Nobody, |_| self.snapshot.exits.source)
    }
}

/// Whether every record of a process's threads in the interval has arrived, and nothing had to be
/// inferred.
fn is_whole(key: ProcessKey, movement: &Movement) -> bool {
    !movement.is_inferred(key) && movement.spilled_records == 0
}

impl Life {
    /// Begins in the middle of a life: what the process had done itself when it was first seen.
    /// Where it has waited for children, what their ended siblings among its threads did cannot
    /// be told from theirs.
    pub(super) fn begin_with(&mut self, sample: &ProcessSample) {
        self.was_zombie_at_first = sample.state == ProcessState::Zombie;
        self.usage = sample.usage.own;
        if let Some(why) = sample.io.absence() {
            self.io.absence = Some(why);
            self.io.weaken(Mark::LowerBound);
            return;
        }
        self.io.is_known = true;
        let total = sample.io.total().value().copied();
        if let Some(total) = total
            && sample.usage.reaped()[UsageCounter::MinorFaults] == 0
        {
            self.io.total = total;
            return;
        }
        let threads = sample.threads().value().copied().unwrap_or_default();
        let own = threads.iter().fold(IoTotals::ZERO, |sum, t| sum.plus(t.total.as_delta()));
        self.io.total = own;
        if total != Some(own) {
            self.io.weaken(Mark::LowerBound);
        }
    }

    /// Adds what the ledger has credited it with.
    pub(super) fn add(&mut self, delta: &ProcessDelta, movement: &Movement) {
        self.usage = self.usage.plus(delta.usage);
        match delta.io {
            Some(io) => self.io.add(io),
            None => {
                self.io.absence = self.io.absence.or(Some(Absence::Denied));
                self.io.weaken(Mark::LowerBound);
            }
        }
        if delta.rounded_records > 0 {
            let bytes = delta.rounded_records.saturating_mul(ROUNDED_TO_BYTES - 1);
            self.io_bound_bytes = self.io_bound_bytes.saturating_add(bytes);
            self.io.weaken(Mark::Bound);
        }
        self.io.is_inferred |= !is_whole(delta.key, movement);
    }

    /// Takes a sight of it.
    pub(super) fn see(&mut self, sample: &ProcessSample, taken_at: BootTime) {
        self.identity = Some(Arc::clone(&sample.identity));
        self.parent_pid = sample.parent_pid;
        self.seen_at = Some(taken_at);
        self.has_reaped |= sample.usage.reaped()[UsageCounter::MinorFaults] > 0;
        match sample.state {
            ProcessState::Living => self.alive_at = Some(sample.read_at),
            ProcessState::Zombie => self.zombie_at = self.zombie_at.or(Some(sample.read_at)),
        }
        if let Some(memory) = sample.gauges.memory().value() {
            self.rss_peak_bytes = self.rss_peak_bytes.max(Some(memory.rss_bytes));
        }
        if let Some(switches) = sample.gauges.context_switches.value() {
            self.switches = Some(*switches);
        }
    }

    /// When it began and ended.
    pub(super) fn end(&self, key: ProcessKey, told: &Told<'_>) -> End {
        let hertz = told.snapshot.host.ticks_per_second.max(1);
        let began = key.start_time_ticks.saturating_mul(1_000_000_000 / hertz);
        let began = BootTime { ns: began };
        let exit = match (told.exit, told.source()) {
            (Some(exit), ExitSource::Exact) => {
                let lived = exit.ended_at.since(exit.started_at);
                return End {
                    started_at: exit.started_at,
                    ended_at: exit.ended_at,
                    within: Duration::ZERO,
                    lived,
                    lived_mark: Mark::Exact,
                };
            }
            (exit, _) => exit,
        };
        let latest = exit.map(|exit| exit.ended_at).or(self.zombie_at);
        let ended_at = latest.unwrap_or(told.snapshot.taken_at);
        let earliest = self.alive_at.or(told.previous).unwrap_or(ended_at).max(began);
        let seen = self.alive_at.map_or(Duration::ZERO, |alive_at| alive_at.since(began));
        let started_at = match (exit, self.alive_at) {
            (Some(exit), None) => exit.started_at,
            _ => began,
        };
        let recorded = exit.map(|exit| exit.ended_at.since(exit.started_at));
        End {
            started_at,
            ended_at,
            within: ended_at.since(earliest),
            lived: recorded.unwrap_or_default().max(seen),
            lived_mark: if recorded.is_some() { Mark::Estimate } else { Mark::LowerBound },
        }
    }

    /// What it did itself in its whole life.
    pub(super) fn figures(&self, end: &End, told: &Told<'_>) -> [Figure; ENDED_METRICS.len()] {
        let usage =
            told.exit.map_or(self.usage, |exit| self.usage.raised_to(exit.sample.usage.own));
        let cpu_mark = self.cpu_mark(told);
        let cpu = |counter: UsageCounter| known(Value::Float(seconds(usage[counter])), cpu_mark);
        let faults =
            |counter: UsageCounter| known(Value::Integer(usage[counter]), self.fault_mark(told));
        let switches = self.switches_of(told);
        ENDED_METRICS.map(|id| match id {
            MetricId::Uptime => known(Value::Float(end.lived.as_secs_f64()), end.lived_mark),
            MetricId::CpuUser => cpu(UsageCounter::CpuUserNs),
            MetricId::CpuSystem => cpu(UsageCounter::CpuSystemNs),
            MetricId::PageFaultsMinor => faults(UsageCounter::MinorFaults),
            MetricId::PageFaultsMajor => faults(UsageCounter::MajorFaults),
            MetricId::MemoryPeak => self.peak(told),
            MetricId::CtxSwitchesVoluntary => switches[0],
            MetricId::CtxSwitchesInvoluntary => switches[1],
            MetricId::IoReadChars => self.io_figure(IoCounter::ReadChars, told),
            MetricId::IoWriteChars => self.io_figure(IoCounter::WriteChars, told),
            MetricId::IoReadCount => self.io_figure(IoCounter::ReadCount, told),
            MetricId::IoWriteCount => self.io_figure(IoCounter::WriteCount, told),
            MetricId::IoReadBytes => self.io_figure(IoCounter::ReadBytes, told),
            MetricId::IoWriteBytes => self.io_figure(IoCounter::WriteBytes, told),
            MetricId::IoCancelledWriteBytes => self.io_figure(IoCounter::CancelledWriteBytes, told),
            _ => Figure::Absent(Absence::Unsupported),
        })
    }

    /// Whether the last sight of it was final: a zombie does nothing any more.
    fn was_seen_ended(&self) -> bool {
        self.zombie_at.is_some()
    }

    /// A record is written before the process has torn itself down. Only of one that nobody
    /// waits for the kernel tells the rest as well.
    fn cpu_mark(&self, told: &Told<'_>) -> Mark {
        let key = told.exit.map(ProcessExit::key);
        let has_tail = || told.snapshot.exits.cpu_tails.iter().any(|tail| Some(tail.key) == key);
        match told.source() {
            ExitSource::Exact if has_tail() => Mark::Exact,
            ExitSource::Rounded => Mark::Estimate,
            ExitSource::Nobody if self.was_seen_ended() => Mark::Exact,
            ExitSource::Exact | ExitSource::Nobody => Mark::LowerBound,
        }
    }

    /// Rounded records tell the faults of each thread alone, so those of threads that ended
    /// after the last sight, but in an earlier interval, may be missing. Of a process that was out
    /// of sight nobody knows how many intervals that is.
    fn fault_mark(&self, told: &Told<'_>) -> Mark {
        // Whom nobody saw and the ledger credits with nothing was out of sight.
        let was_in_sight = self.io.is_known;
        match told.source() {
            ExitSource::Exact => Mark::Exact,
            ExitSource::Rounded if self.identity.is_none() && was_in_sight => Mark::Exact,
            ExitSource::Nobody if self.was_seen_ended() => Mark::Exact,
            ExitSource::Rounded | ExitSource::Nobody => Mark::LowerBound,
        }
    }

    fn peak(&self, told: &Told<'_>) -> Figure {
        match told.exit.map(|exit| exit.rss_peak_bytes) {
            Some(Reading::Value(bytes)) => known(Value::Integer(bytes), Mark::Exact),
            _ => match self.rss_peak_bytes {
                Some(bytes) => known(Value::Integer(bytes), Mark::LowerBound),
                None => Figure::Absent(Absence::NotRequested),
            },
        }
    }

    fn switches_of(&self, told: &Told<'_>) -> [Figure; 2] {
        let recorded = told.exit.and_then(|exit| exit.sample.gauges.context_switches.value());
        let mark = match told.source() {
            ExitSource::Exact => Mark::Exact,
            ExitSource::Rounded => Mark::Estimate,
            ExitSource::Nobody => Mark::LowerBound,
        };
        match recorded.or(self.switches.as_ref()) {
            Some(switches) => {
                [switches.voluntary, switches.involuntary].map(|n| known(Value::Integer(n), mark))
            }
            None => [Figure::Absent(Absence::NotRequested); 2],
        }
    }

    fn io_figure(&self, counter: IoCounter, told: &Told<'_>) -> Figure {
        if !self.io.is_known {
            return Figure::Absent(self.io.absence.unwrap_or(Absence::Vanished));
        }
        let value = Value::Integer(self.io.total[counter]);
        let is_final = match told.exit {
            Some(exit) => is_whole(exit.key(), told.movement),
            None => self.was_seen_ended(),
        };
        // Of calls a rounded record says nothing.
        let is_count = matches!(counter, IoCounter::ReadCount | IoCounter::WriteCount);
        let says_nothing = is_count && told.source() == ExitSource::Rounded;
        let is_final = is_final && !says_nothing;
        // What it inherited from children may have been taken for its own: not even a bound.
        let is_split = self.io.is_inferred && self.has_reaped;
        let mark = match is_final {
            _ if is_split => Mark::Estimate,
            true => self.io.doubt.0,
            false => Mark::LowerBound,
        };
        known(value, mark)
    }
}

impl Io {
    fn add(&mut self, delta: IoDelta) {
        self.total = self.total.plus(delta);
        self.is_known = true;
    }

    fn weaken(&mut self, mark: Mark) {
        self.doubt = Doubt(self.doubt.0.and(mark));
    }
}

fn known(value: Value, mark: Mark) -> Figure {
    Figure::Known { value, mark }
}
