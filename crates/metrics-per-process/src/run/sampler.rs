//! Looks at a command's tree while it runs: what it holds at most, and which programs did what.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use mpp_accounting::exit::ExitSource;
use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::{Ledger, Movement};
use mpp_accounting::metric::MetricId;
use mpp_accounting::process::{Absence, ProcessKey, ProcessSample, ProcessState};
use mpp_accounting::report::{Column, Figure, Form, Mark, Report, Tier, Value};
use mpp_accounting::run::records::TreeRecords;
use mpp_accounting::run::{PROGRAM_METRICS, Reaping, Survivor, levels};
use mpp_accounting::selector::{GroupKey, Resolution, Selector};
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::{IoDelta, UsageDelta, UsageTotals};
use mpp_collect::child::{ignores_children, inherited_rss_bytes, thread_cpu_time};
use mpp_collect::collector::NeedsSweep;
use mpp_collect::exits::{ExitRoom, Programs};
use mpp_collect::{Collector, CollectorOptions, Measures, Needs};

use super::held::Held;
use super::{Error, programs, weakest};

/// No more programs than this are told apart.
const PROGRAMS_MAX: usize = 200;

/// Room for some 4,000 births and ends in the tree until it is next taken in who has ended. Each
/// MiB takes a quarter of a millisecond to be had.
const ROOM: ExitRoom = ExitRoom { ring_bytes: 2 << 20, socket_bytes: 32 << 20 };

/// Between two sweeps of the tree it may be glanced at for so long.
const GLANCING_MAX: Duration = Duration::from_secs(1);

/// No more that have ended than this are kept until the next sweep.
const ENDS_WAITING_MAX: usize = 2048;

/// Whoever has been there for so many samples is asked no sooner than so many later whether it
/// ignores its children's ends.
const SAMPLES_TRUSTED: u64 = 20;

/// So many sweeps after the last end the ledger has given up whoever nobody waited for.
const SWEEPS_TO_SETTLE: usize = 3;

/// Those that are left may go on ending for ever; so many sweeps are tried.
const SWEEPS_MAX: usize = 8;

/// More ended processes than this are not told apart from others with their PID.
const SEEN_MAX: usize = 1 << 20;

/// What is looked at, besides what stands in the report.
const SAMPLE_METRICS: [MetricId; 5] = [
    MetricId::ProcessesTotal,
    MetricId::MemoryRss,
    MetricId::Threads,
    MetricId::Fds,
    MetricId::ProcessesEnded,
];

/// Counters whose totals and rates stand in each sample.
const SAMPLE_COUNTERS: [MetricId; 4] =
    [MetricId::CpuUser, MetricId::CpuSystem, MetricId::IoReadBytes, MetricId::IoWriteBytes];

/// The columns of each sample of a run.
#[must_use]
pub fn sample_columns() -> Vec<Column> {
    let mut columns = levels(&SAMPLE_METRICS);
    columns.push(Column { metric: MetricId::CpuPercent.metric(), form: Form::Level });
    for id in SAMPLE_COUNTERS {
        let metric = id.metric();
        columns.extend([Form::Level, Form::PerSecond].map(|form| Column { metric, form }));
    }
    columns
}

/// The largest figure of a gauge.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peak(Option<Figure>);

impl Peak {
    fn raise(&mut self, figure: Figure) {
        let number = |figure: &Figure| match figure {
            Figure::Known { value, .. } => value.as_float(),
            Figure::Absent(_) => -1.0,
        };
        if self.0.is_none_or(|largest| number(&figure) > number(&largest)) {
            self.0 = Some(figure);
        }
    }

    /// Between two looks it may have been more.
    pub(super) fn figure(self) -> Figure {
        match self.0 {
            Some(Figure::Known { value, .. }) => Figure::Known { value, mark: Mark::LowerBound },
            Some(absent) => absent,
            None => Figure::Absent(Absence::Vanished),
        }
    }
}

/// What one process was seen doing itself.
#[derive(Clone, Copy, Debug, Default)]
struct Deeds {
    io: IoDelta,
    usage: UsageDelta,
    parent_pid: u32,
}

/// Looks at the descendants of this process.
#[derive(Debug)]
pub(super) struct Sampler {
    collector: Collector,
    needs: Needs,
    own_pid: u32,
    resolution: Resolution,
    snapshot: Snapshot,
    /// What is told of those that ended.
    records: TreeRecords,
    ledger: Ledger,
    tree: GroupBook,
    programs: GroupBook,
    /// Of the last look: what was made of it, and of whom.
    tree_report: Option<Report>,
    programs_report: Option<Report>,
    left: Vec<(ProcessKey, UsageTotals)>,
    is_left_at_rest: bool,
    pub(super) processes: Peak,
    pub(super) memory: Peak,
    pub(super) fds: Peak,
    /// What each program's processes held together at a glance.
    held: Held,
    swept_at: Instant,
    seen: HashSet<ProcessKey>,
    seen_pids: HashSet<u32>,
    reaped_unseen: u64,
    /// The number of the look at which each was first seen.
    first_seen: HashMap<ProcessKey, u64>,
    /// Parents that ignore the ends of their children.
    ignoring: HashSet<u32>,
    /// Direct children that were waited for.
    reaped: HashSet<u32>,
    /// What each process was seen doing itself, until somebody has inherited it.
    own: HashMap<ProcessKey, Deeds>,
    /// What those did that nobody waited for, as far as it was seen.
    unreaped: (IoDelta, UsageDelta),
    lost: u64,
    samples: u64,
    failed: u64,
    cost: Duration,
}

impl Sampler {
    pub(super) fn open(tier_max: Tier) -> Result<Self, Error> {
        let exits = exit_source(tier_max);
        let programs = Programs::Descendants;
        let options =
            CollectorOptions { exits, programs, exit_room: ROOM, ..CollectorOptions::default() };
        let collector = Collector::open(options)?;
        let measures = Measures { memory: true, io: true, fds: true, ..Measures::default() };
        let own_pid = std::process::id();
        let descendants = || {
            let everybody_below = Selector::default().children_of(own_pid.to_string());
            // Our own PID is one.
            everybody_below.unwrap_or_default()
        };
        let tree = Rows::Named(vec![(Box::default(), descendants())]);
        let programs = Rows::Keyed {
            selector: Box::new(descendants()),
            key: GroupKey::Name,
            rows_max: PROGRAMS_MAX,
        };
        Ok(Sampler {
            collector,
            needs: Needs { measures, ..Needs::default() },
            own_pid,
            resolution: Resolution { own_pids: vec![own_pid], ..Resolution::default() },
            snapshot: Snapshot::default(),
            records: TreeRecords::below(own_pid, inherited_rss_bytes()),
            ledger: Ledger::new(),
            tree: GroupBook::new(tree, sample_columns().into()),
            programs: GroupBook::new(programs, levels(&PROGRAM_METRICS).into()),
            tree_report: None,
            programs_report: None,
            left: Vec::new(),
            is_left_at_rest: false,
            processes: Peak(None),
            memory: Peak(None),
            fds: Peak(None),
            held: Held::default(),
            swept_at: Instant::now(),
            seen: HashSet::new(),
            seen_pids: HashSet::new(),
            reaped_unseen: 0,
            first_seen: HashMap::new(),
            ignoring: HashSet::new(),
            reaped: HashSet::new(),
            own: HashMap::new(),
            unreaped: (IoDelta::ZERO, UsageDelta::ZERO),
            lost: 0,
            samples: 0,
            failed: 0,
            cost: Duration::ZERO,
        })
    }

    /// Looks at the tree once.
    ///
    /// # Errors
    /// The processes could not be listed; the next look goes on from the last one.
    pub(super) fn sample(&mut self) -> Result<&Report, Error> {
        let before = thread_cpu_time();
        let swept = self.collector.sweep_tree(self.own_pid, &self.needs, &mut self.snapshot);
        if let Err(error) = swept {
            self.failed += 1;
            return Err(error.into());
        }
        self.take_records();
        let movement = self.ledger.advance(&self.snapshot);
        self.keep_account(&movement);
        let mut report = self.tree.fold(&self.snapshot, &movement, &self.resolution);
        self.say_what_is_told(&mut report);
        let programs = self.programs.fold(&self.snapshot, &movement, &self.resolution);
        self.programs_report = Some(programs);
        self.raise_peaks(&report);
        if self.records.source() != ExitSource::Exact {
            self.ask_parents();
        }
        self.remember_processes();
        self.samples += 1;
        self.swept_at = Instant::now();
        self.cost = thread_cpu_time().saturating_sub(before);
        Ok(self.tree_report.insert(report))
    }

    /// Looks only at what the tree holds, where its records tell all else.
    ///
    /// # Errors
    /// Somebody has to be looked at more closely, or it is time to.
    pub(super) fn glance(&mut self) -> Result<(), NeedsSweep> {
        if !self.is_told_whole() || self.swept_at.elapsed() >= GLANCING_MAX {
            return Err(NeedsSweep);
        }
        let before = thread_cpu_time();
        let Sampler { collector, records, held, .. } = self;
        held.begin();
        let waiting = collector.look_at_descendants(&mut |glimpse| {
            records.see(glimpse.key, glimpse.rss_bytes);
            held.add(&glimpse);
        })?;
        if waiting > ENDS_WAITING_MAX {
            return Err(NeedsSweep);
        }
        if let Some(sum) = self.held.end() {
            let fds = if sum.is_partial { Mark::LowerBound } else { Mark::Exact };
            self.processes.raise(count(sum.processes, Mark::Exact));
            self.memory.raise(count(sum.rss_bytes, Mark::Exact));
            self.fds.raise(count(sum.fds, fds));
        }
        self.samples += 1;
        self.cost = thread_cpu_time().saturating_sub(before);
        Ok(())
    }

    /// The most memory that processes of one program held together at a glance, bytes; 0 where it
    /// was never glanced at.
    pub(super) fn held_by(&self, program: &[u8]) -> u64 {
        self.held.peak_of(program)
    }

    /// Takes in what is told of those that have ended, so that there is room for others.
    pub(super) fn listen(&mut self) {
        self.collector.listen();
    }

    /// Looks until all that have ended are settled, and at those that are left as at one moment.
    /// What could not be looked at any more stays as it was.
    pub(super) fn settle(&mut self) {
        for number in 0..SWEEPS_MAX {
            if self.is_all_told() {
                return;
            }
            let is_read = self.sample().is_ok();
            if number >= SWEEPS_TO_SETTLE && is_read && self.is_left_at_rest {
                return;
            }
        }
    }

    /// Whether nobody is left, and there is an exact record of everybody who was there.
    fn is_all_told(&self) -> bool {
        self.left.is_empty() && self.records.is_all_told()
    }

    /// What was seen at the last look.
    pub(super) fn last_report(&self) -> Report {
        self.tree_report.clone().unwrap_or_else(empty_report)
    }

    /// Whether nobody is left or nobody ended between the last two looks: then the counters of
    /// those that are left are those of one moment, none of them inherited from one that was read
    /// as well.
    pub(super) fn is_left_at_rest(&self) -> bool {
        self.is_left_at_rest
    }

    /// Takes in what was told. The ledger does without: it settles what is looked at by what is
    /// seen alone, at once, where a record may have to wait until it is known whose it is.
    fn take_records(&mut self) {
        let mut exits = std::mem::take(&mut self.snapshot.exits);
        if self.samples == 0 {
            self.records.begin(&exits);
        } else {
            let seen = descendants_of(&self.snapshot, self.own_pid);
            self.records.advance(seen, &mut exits);
        }
    }

    /// Puts into a look what records tell of those that ended. What a look alone shows stays as it
    /// is: gauges are those of a moment, and counters, of which the ledger heard nothing, are
    /// marked as estimates.
    fn say_what_is_told(&self, report: &mut Report) {
        let told = self.records.told();
        report.accuracy.tier = self.tier();
        report.accuracy.lost_records = told.lost_records;
        report.accuracy.lost_records_total = told.lost_records;
        if self.records.source() == ExitSource::Nobody {
            return;
        }
        let ended = count(told.ended, self.records_mark());
        for row in &mut report.groups {
            for (column, figure) in report.columns.iter().zip(&mut row.figures) {
                if column.metric.id == MetricId::ProcessesEnded {
                    *figure = ended;
                }
            }
        }
    }

    fn remember_processes(&mut self) {
        let left: Vec<_> =
            self.descendants().map(|other| (other.key, other.usage.reaped())).collect();
        self.is_left_at_rest = left.is_empty() || left == self.left;
        if self.seen.len() < SEEN_MAX {
            self.seen_pids.extend(left.iter().map(|(key, _)| key.pid));
            self.seen.extend(left.iter().map(|(key, _)| *key));
        }
        self.left = left;
    }

    /// Notes that a direct child was waited for.
    pub(super) fn reaped(&mut self, pid: u32) {
        self.reaped.insert(pid);
        if !self.seen_pids.contains(&pid) {
            self.reaped_unseen += 1;
        }
    }

    /// CPU time that the last look took.
    pub(super) fn cost(&self) -> Duration {
        self.cost
    }

    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    /// How often looking failed.
    pub(super) fn failed(&self) -> u64 {
        self.failed
    }

    /// Who waits, as far as was seen or told.
    pub(super) fn reaping(&self) -> Reaping {
        let is_told = self.records.told().unreaped > 0;
        if self.ignoring.is_empty() && !is_told { Reaping::ByParents } else { Reaping::ByKernel }
    }

    /// How many ended, as far as was seen or told.
    pub(super) fn ended(&self) -> Figure {
        if self.records.source() != ExitSource::Nobody {
            return count(self.records.told().ended, self.records_mark());
        }
        let left = self.descendants().filter(|process| process.state == ProcessState::Living);
        let seen = self.seen.len() as u64 + self.reaped_unseen;
        count(seen.saturating_sub(left.count() as u64), Mark::LowerBound)
    }

    /// What those did that nobody waited for.
    pub(super) fn unreaped(&self) -> (IoDelta, UsageDelta) {
        self.unreaped
    }

    /// What may be missing from what the kernel counted.
    pub(super) fn doubt(&self) -> Mark {
        if self.is_told_whole() {
            return Mark::Exact;
        }
        weakest([
            if self.reaping() == Reaping::ByKernel { Mark::LowerBound } else { Mark::Exact },
            if self.lost > 0 { Mark::Estimate } else { Mark::Exact },
        ])
    }

    /// What is told of those that ended.
    pub(super) fn records(&self) -> &TreeRecords {
        &self.records
    }

    /// Whether there is an exact record of everybody who ended.
    pub(super) fn is_told_whole(&self) -> bool {
        self.records.source() == ExitSource::Exact && self.records.told().lost_records == 0
    }

    /// How well ended processes are known.
    pub(super) fn tier(&self) -> Tier {
        let told = self.records.told();
        let is_lost = told.lost_records > 0;
        match self.records.source() {
            ExitSource::Exact if !is_lost && told.spilled_records == 0 => Tier::A,
            ExitSource::Exact | ExitSource::Rounded if !is_lost => Tier::B,
            _ => Tier::C,
        }
    }

    /// What can be promised of what each ended process's own record tells.
    pub(super) fn records_mark(&self) -> Mark {
        let told = self.records.told();
        let is_missing = told.lost_records > 0 || told.spilled_records > 0;
        if is_missing { Mark::LowerBound } else { Mark::Exact }
    }

    /// The programs, the busiest first: as their records tell, else as they were seen. The whole
    /// tree used so much.
    pub(super) fn programs(&self, whole: UsageTotals) -> Report {
        let seen = self.programs_report.clone().unwrap_or_else(empty_report);
        let mut report = match self.records.source() {
            ExitSource::Nobody => seen,
            ExitSource::Rounded | ExitSource::Exact => programs::told(self, whole, seen),
        };
        let position = PROGRAM_METRICS.iter().position(|id| *id == MetricId::CpuUser).unwrap_or(0);
        let cpu = |figures: &[Figure]| -> f64 {
            let both = figures.iter().skip(position).take(2);
            both.map(|figure| match figure {
                Figure::Known { value, .. } => value.as_float(),
                Figure::Absent(_) => 0.0,
            })
            .sum()
        };
        report.groups.sort_by(|a, b| {
            cpu(&b.figures).total_cmp(&cpu(&a.figures)).then_with(|| a.name.cmp(&b.name))
        });
        report
    }

    /// Who lives, ascending by PID.
    pub(super) fn living(&self) -> Vec<Survivor> {
        let living = self.descendants().filter(|process| process.state == ProcessState::Living);
        living
            .map(|process| Survivor { pid: process.key.pid, comm: process.identity.comm.clone() })
            .collect()
    }

    /// Descendants at the last look.
    pub(super) fn descendants(&self) -> impl Iterator<Item = &ProcessSample> {
        descendants_of(&self.snapshot, self.own_pid)
    }

    /// A look at which nobody lived says nothing of what those held that lived before it.
    fn raise_peaks(&mut self, report: &Report) {
        if !self.descendants().any(|process| process.state == ProcessState::Living) {
            return;
        }
        let Some(row) = report.groups.first() else { return };
        for (column, figure) in report.columns.iter().zip(&row.figures) {
            match column.metric.id {
                MetricId::ProcessesTotal => self.processes.raise(*figure),
                MetricId::MemoryRss => self.memory.raise(*figure),
                MetricId::Fds => self.fds.raise(*figure),
                _ => {}
            }
        }
    }

    /// Remembers what each process did until its counters have reached somebody.
    ///
    /// The ledger gives up whoever fits into nobody's growth. Whom we waited for ourselves has
    /// arrived all the same, and of the others only those are known to be missing whose parent
    /// lets the kernel reap: adding any other might count it twice.
    fn keep_account(&mut self, movement: &Movement) {
        for delta in movement.processes.iter().filter(|delta| delta.key.pid != self.own_pid) {
            let deeds = self.own.entry(delta.key).or_default();
            deeds.io = deeds.io.plus(delta.io.unwrap_or_default());
            deeds.usage = deeds.usage.plus(delta.usage);
            if let Some(process) = self.snapshot.by_key(delta.key) {
                deeds.parent_pid = process.parent_pid;
            }
        }
        for key in movement.lost.iter().filter(|key| !self.reaped.contains(&key.pid)) {
            self.lost += 1;
            if let Some(deeds) = self.own.get(key)
                && self.ignoring.contains(&deeds.parent_pid)
            {
                self.unreaped = (self.unreaped.0.plus(deeds.io), self.unreaped.1.plus(deeds.usage));
            }
        }
        for key in movement.settled.iter().chain(&movement.lost) {
            self.own.remove(key);
        }
    }

    /// Looks whether somebody ignores the ends of its children, now and then: a parent whose
    /// children are seen at once, others too, since children may live between two looks alone.
    fn ask_parents(&mut self) {
        let processes = &self.snapshot.processes;
        let parents: HashSet<u32> = processes.iter().map(|process| process.parent_pid).collect();
        for process in processes.iter().filter(|process| process.key.pid != self.own_pid) {
            let since = *self.first_seen.entry(process.key).or_insert(self.samples);
            let is_due = match self.samples - since {
                0 => parents.contains(&process.key.pid),
                looks if looks < SAMPLES_TRUSTED => looks.is_power_of_two(),
                looks => looks % SAMPLES_TRUSTED == 0,
            };
            if is_due && ignores_children(process.key.pid) == Some(true) {
                self.ignoring.insert(process.key.pid);
            }
        }
        self.first_seen.retain(|key, _| self.snapshot.by_key(*key).is_some());
    }
}

fn descendants_of(snapshot: &Snapshot, root_pid: u32) -> impl Iterator<Item = &ProcessSample> {
    snapshot.processes.iter().filter(move |process| {
        process.key.pid != root_pid
            && snapshot.ancestors(process).any(|other| other.key.pid == root_pid)
    })
}

/// Who tells of ended processes where no more is to be promised than this.
fn exit_source(tier_max: Tier) -> ExitSource {
    match tier_max {
        Tier::A => ExitSource::Exact,
        Tier::B => ExitSource::Rounded,
        Tier::C => ExitSource::Nobody,
    }
}

/// What is there before the first look.
fn empty_report() -> Report {
    GroupBook::new(Rows::Named(Vec::new()), levels(&PROGRAM_METRICS).into()).fold(
        &Snapshot::default(),
        &Movement::default(),
        &Resolution::default(),
    )
}

/// A whole number as a figure.
pub(super) fn count(value: u64, mark: Mark) -> Figure {
    Figure::Known { value: Value::Integer(value), mark }
}
