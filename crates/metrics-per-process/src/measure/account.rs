//! One measurement's account: what was done since its begin, and the most that was held.

use std::collections::HashSet;
use std::time::Duration;

use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::{Ends, Movement};
use mpp_accounting::metric::MetricId as M;
use mpp_accounting::process::{Absence, ProcessKey, ProcessSample, ProcessState, Reading};
use mpp_accounting::rate;
use mpp_accounting::report::{Accuracy, Figure, Mark, Report, Tier, Value};
use mpp_accounting::run::{Survivor, TOTAL_METRICS, levels};
use mpp_accounting::selector::{Resolution, Selector};
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::{Delta, IoCounter, IoDelta, UsageCounter, UsageDelta};
use mpp_collect::own_thread::ThreadDeeds;

use super::Measured;

/// No more processes than this are followed that leave the tree.
const FOLLOWED_MAX: usize = 1 << 16;

/// What processes held at one moment, all together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    processes: u64,
    rss_bytes: u64,
    fds: u64,
}

impl Held {
    /// The sum of what they hold. What cannot be read is not in it.
    pub(super) fn by<'a>(processes: impl Iterator<Item = &'a ProcessSample>) -> Self {
        let mut held = Held::default();
        for process in processes {
            let gauges = &process.gauges;
            held.processes += 1;
            held.rss_bytes += gauges.memory().value().map_or(0, |memory| memory.rss_bytes);
            held.fds += gauges.fds.value().map_or(0, |fds| u64::from(*fds));
        }
        held
    }

    fn plus(self, other: Held) -> Held {
        Held {
            processes: self.processes + other.processes,
            rss_bytes: self.rss_bytes.saturating_add(other.rss_bytes),
            fds: self.fds.saturating_add(other.fds),
        }
    }

    fn raise(&mut self, other: Held) {
        self.processes = self.processes.max(other.processes);
        self.rss_bytes = self.rss_bytes.max(other.rss_bytes);
        self.fds = self.fds.max(other.fds);
    }
}

/// What the measuring thread had done, and when that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reckoned {
    deeds: ThreadDeeds,
    /// What is left of a promise where it is taken off.
    mark: Mark,
}

impl Reckoned {
    /// As a part of the sum that it is taken off.
    pub(super) fn with_the_sum(deeds: ThreadDeeds) -> Self {
        Reckoned { deeds, mark: Mark::Exact }
    }

    /// A moment before the sum was read.
    pub(super) fn beforehand(deeds: ThreadDeeds) -> Self {
        Reckoned { deeds, mark: Mark::Estimate }
    }
}

/// What a measurement has come to.
#[derive(Debug)]
pub(super) struct Account {
    own_pid: u32,
    book: GroupBook,
    report: Report,
    began_at_ticks: u64,
    /// What the measuring thread had done at the begin.
    deeds: Reckoned,
    zombies: Zombies,
    /// Who belonged to it at the begin.
    before: HashSet<ProcessKey>,
    /// Who belonged to it at the last sweep.
    members: HashSet<ProcessKey>,
    /// Who was seen below us: they belong to it wherever they go.
    followed: HashSet<ProcessKey>,
    /// How many of those that were followed have ended.
    ended: u64,
    peak: Held,
    accuracy: Accuracy,
    looks: u64,
    failed_looks: u64,
}

impl Account {
    pub(super) fn begin(
        own_pid: u32,
        snapshot: &Snapshot,
        movement: &Movement,
        deeds: Reckoned,
    ) -> Self {
        let myself = Selector::default().pids(own_pid.to_string()).unwrap_or_default();
        let rows = Rows::Named(vec![(Box::default(), myself)]);
        let columns = levels(&TOTAL_METRICS).into();
        let (book, report) =
            GroupBook::begun(rows, columns, snapshot, movement, &Resolution::default());
        let zombies = match movement.ends {
            Ends::Exact | Ends::Rounded => Zombies::Ended,
            Ends::Inferred => Zombies::Present,
        };
        let before: HashSet<_> = present(&book, snapshot, zombies).collect();
        Account {
            own_pid,
            peak: Held::by(book.members(snapshot)),
            accuracy: Accuracy { tier: Tier::A, ..nothing_missing(report.accuracy) },
            report,
            began_at_ticks: snapshot.taken_at_ticks,
            deeds,
            members: book.members(snapshot).map(|process| process.key).collect(),
            zombies,
            before,
            followed: HashSet::new(),
            ended: 0,
            looks: 0,
            failed_looks: 0,
            book,
        }
    }

    pub(super) fn began_at_ticks(&self) -> u64 {
        self.began_at_ticks
    }

    pub(super) fn members(&self) -> impl Iterator<Item = ProcessKey> + '_ {
        self.members.iter().chain(&self.followed).copied()
    }

    /// Notes that something was not seen.
    pub(super) fn fail(&mut self) {
        self.failed_looks += 1;
    }

    /// Who belongs to it and is not below us any more.
    pub(super) fn strays(&self, tree: &Snapshot) -> HashSet<ProcessKey> {
        self.members().filter(|key| tree.by_key(*key).is_none()).collect()
    }

    /// Takes in what the tree and those outside of it hold.
    pub(super) fn look<'a>(
        &mut self,
        held: Held,
        tree: &Snapshot,
        strays: impl Iterator<Item = &'a ProcessSample> + Clone,
    ) {
        self.looks += 1;
        self.peak.raise(held.plus(Held::by(strays.clone())));
        let seen = tree.processes.iter().map(|process| process.key);
        let stays: HashSet<_> = strays.map(|process| process.key).collect();
        // Whoever is neither here nor there has ended.
        let before = self.followed.len();
        self.followed.retain(|key| stays.contains(key) || tree.by_key(*key).is_some());
        self.ended += (before - self.followed.len()) as u64;
        let room = FOLLOWED_MAX.saturating_sub(self.followed.len());
        self.followed.extend(seen.filter(|key| key.pid != self.own_pid).take(room));
    }

    /// Takes in what moved up to this sweep.
    pub(super) fn advance(&mut self, snapshot: &mut Snapshot, movement: &Movement) {
        let adopted = self.adopt(snapshot);
        self.report = self.book.fold(snapshot, movement, &Resolution::default());
        for key in adopted {
            if let Some(process) = by_key_mut(snapshot, key) {
                process.lineage = process.lineage.with_forker(None);
            }
        }
        self.peak.raise(Held::by(self.book.members(snapshot)));
        self.members = self.book.members(snapshot).map(|process| process.key).collect();
        let now = self.report.accuracy;
        let sum = &mut self.accuracy;
        *sum = Accuracy {
            tier: sum.tier.max(now.tier),
            lost: sum.lost.saturating_add(now.lost),
            lost_records: sum.lost_records.saturating_add(now.lost_records),
            lost_records_total: sum.lost_records.saturating_add(now.lost_records),
            io_bound_bytes: now.io_bound_bytes,
            unattributed_io_bytes: sum
                .unattributed_io_bytes
                .saturating_add(now.unattributed_io_bytes),
            unattributed_tcp_bytes: 0,
            unattributed_cpu_ns: sum.unattributed_cpu_ns.saturating_add(now.unattributed_cpu_ns),
            undecided: now.undecided,
        };
    }

    /// Names us as the parent of those that were seen below us and have nobody there any more.
    fn adopt(&self, snapshot: &mut Snapshot) -> Vec<ProcessKey> {
        let Some(own) = snapshot.by_pid(self.own_pid).map(|process| process.key) else {
            return Vec::new();
        };
        let mut adopted = Vec::new();
        for key in &self.followed {
            if let Some(process) = by_key_mut(snapshot, *key)
                && process.lineage.forked_by().is_none()
            {
                process.lineage = process.lineage.with_forker(Some(own));
                adopted.push(*key);
            }
        }
        adopted
    }

    /// What was used from the begin to the last sweep.
    pub(super) fn measured(
        &self,
        elapsed: Duration,
        deeds: &Reckoned,
        snapshot: &Snapshot,
    ) -> Measured {
        let own = OwnDeeds::between(&self.deeds, deeds);
        let [user, system] = self.cpu_seconds(&own);
        let mut total = self.report.clone();
        total.interval = Some(elapsed);
        total.accuracy = self.accuracy;
        if let Some(group) = total.groups.first_mut() {
            let figures = TOTAL_METRICS.iter().zip(&*group.figures);
            group.figures = figures
                .map(|(id, figure)| match id {
                    M::Uptime => seconds(elapsed.as_secs_f64(), Mark::Exact),
                    M::CpuUser => user,
                    M::CpuSystem => system,
                    M::CpuPercent => percent_of([user, system], elapsed),
                    M::MemoryPeak => at_least(self.peak.rss_bytes),
                    M::ProcessesTotal => at_least(self.peak.processes),
                    M::Fds => at_least(self.peak.fds),
                    M::ProcessesEnded => self.ended(),
                    id => own.taken_from(*id, *figure),
                })
                .collect();
        }
        Measured {
            started: self.started(snapshot),
            still_running: self.still_running(snapshot),
            total,
            looks: self.looks,
            failed_looks: self.failed_looks,
            own_cpu: own.cpu(),
        }
    }

    fn level(&self, id: M) -> Option<Figure> {
        let position = TOTAL_METRICS.iter().position(|other| *other == id)?;
        self.report.groups.first()?.figures.get(position).copied()
    }

    /// User and system time without what the thread used. The kernel divides a sum by its ticks, so
    /// that the parts of the thread are not quite parts of those of the process: both together are.
    fn cpu_seconds(&self, own: &OwnDeeds) -> [Figure; 2] {
        let level = |id| self.level(id).unwrap_or(Figure::Absent(Absence::NotYetKnown));
        let figures = [level(M::CpuUser), level(M::CpuSystem)];
        let [Figure::Known { value: user, mark }, Figure::Known { value: system, .. }] = figures
        else {
            return figures;
        };
        let (user, system) = (user.as_float(), system.as_float());
        let both = (user + system - own.cpu().as_secs_f64()).max(0.0);
        let user = (user - rate::seconds(own.usage[UsageCounter::CpuUserNs])).clamp(0.0, both);
        [user, both - user].map(|value| seconds(rate::rounded(value), mark.and(own.mark)))
    }

    /// How many ended: whom the sweeps missed a look may have seen.
    fn ended(&self) -> Figure {
        match self.level(M::ProcessesEnded) {
            Some(Figure::Known { value: Value::Integer(ended), mark: Mark::LowerBound }) => {
                at_least(ended.max(self.ended))
            }
            Some(figure) => figure,
            None => Figure::Absent(Absence::NotYetKnown),
        }
    }

    /// How many began since the begin: those that ended, and those that are left.
    fn started(&self, snapshot: &Snapshot) -> Figure {
        let Figure::Known { value: Value::Integer(ended), mark } = self.ended() else {
            return Figure::Absent(Absence::NotYetKnown);
        };
        let present: HashSet<_> = present(&self.book, snapshot, self.zombies).collect();
        let left = present.difference(&self.before).count() as u64;
        let gone = self.before.difference(&present).count() as u64;
        let value = Value::Integer((ended + left).saturating_sub(gone));
        Figure::Known { value, mark }
    }

    fn still_running(&self, snapshot: &Snapshot) -> Vec<Survivor> {
        let is_left = |process: &&ProcessSample| {
            process.state == ProcessState::Living && !self.before.contains(&process.key)
        };
        let left = self.book.members(snapshot).filter(is_left);
        left.map(|process| Survivor { pid: process.key.pid, comm: process.identity.comm.clone() })
            .collect()
    }
}

/// What the measuring thread did between two moments.
struct OwnDeeds {
    usage: UsageDelta,
    switches: Delta<2>,
    io: Option<IoDelta>,
    mark: Mark,
}

impl OwnDeeds {
    fn between(before: &Reckoned, after: &Reckoned) -> Self {
        let mark = before.mark.and(after.mark);
        let (before, after) = (&before.deeds, &after.deeds);
        let io = match (before.io, after.io) {
            (Reading::Value(before), Reading::Value(after)) => Some(after.since_clamped(before)),
            _ => None,
        };
        OwnDeeds {
            usage: after.usage.since_clamped(before.usage),
            switches: after.switches.since_clamped(before.switches),
            io,
            mark,
        }
    }

    fn cpu(&self) -> Duration {
        let usage = self.usage;
        let both = usage[UsageCounter::CpuUserNs].saturating_add(usage[UsageCounter::CpuSystemNs]);
        Duration::from_nanos(both)
    }

    /// The figure, of something that is counted in whole numbers, without what the thread did.
    fn taken_from(&self, id: M, figure: Figure) -> Figure {
        let io = |counter: IoCounter| self.io.map_or(0, |io| io[counter]);
        let own = match id {
            M::PageFaultsMinor => self.usage[UsageCounter::MinorFaults],
            M::PageFaultsMajor => self.usage[UsageCounter::MajorFaults],
            M::CtxSwitchesVoluntary => self.switches.0[0],
            M::CtxSwitchesInvoluntary => self.switches.0[1],
            // The files of /proc are no storage, and nothing is written.
            M::IoReadChars => io(IoCounter::ReadChars),
            M::IoReadCount => io(IoCounter::ReadCount),
            _ => return figure,
        };
        match figure {
            Figure::Known { value: Value::Integer(value), mark } => {
                let value = Value::Integer(value.saturating_sub(own));
                Figure::Known { value, mark: mark.and(self.mark) }
            }
            figure => figure,
        }
    }
}

/// Whether a zombie counts among those that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zombies {
    /// Its end is recorded, and it does.
    Ended,
    /// It is seen, and so has not gone yet.
    Present,
}

/// The members that do not count as ended yet.
fn present<'a>(
    book: &'a GroupBook,
    snapshot: &'a Snapshot,
    zombies: Zombies,
) -> impl Iterator<Item = ProcessKey> + 'a {
    let is_present = move |process: &&ProcessSample| {
        zombies == Zombies::Present || process.state == ProcessState::Living
    };
    book.members(snapshot).filter(is_present).map(|process| process.key)
}

fn by_key_mut(snapshot: &mut Snapshot, key: ProcessKey) -> Option<&mut ProcessSample> {
    let position = snapshot.processes.binary_search_by_key(&key, |process| process.key).ok()?;
    snapshot.processes.get_mut(position)
}

/// What is said of an interval in which nothing was missing.
fn nothing_missing(of_report: Accuracy) -> Accuracy {
    Accuracy {
        lost: 0,
        lost_records: 0,
        lost_records_total: 0,
        unattributed_io_bytes: 0,
        unattributed_tcp_bytes: 0,
        unattributed_cpu_ns: 0,
        ..of_report
    }
}

/// The share of one core that these seconds are of the time that passed.
fn percent_of(parts: [Figure; 2], elapsed: Duration) -> Figure {
    let mut sum = (0.0, Mark::Exact);
    for part in parts {
        match part {
            Figure::Known { value, mark } => sum = (sum.0 + value.as_float(), sum.1.and(mark)),
            absent => return absent,
        }
    }
    rate::percent(sum.0, elapsed.as_secs_f64())
        .map_or(Figure::Absent(Absence::NotYetKnown), |percent| seconds(percent, sum.1))
}

fn seconds(value: f64, mark: Mark) -> Figure {
    Figure::Known { value: Value::Float(value), mark }
}

/// Between two looks it may have been more.
fn at_least(value: u64) -> Figure {
    Figure::Known { value: Value::Integer(value), mark: Mark::LowerBound }
}
