//! Looks at a command's tree while it runs: what it holds at most, and which programs did what.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::{Ledger, Movement};
use mpp_accounting::metric::MetricId;
use mpp_accounting::process::{ProcessKey, ProcessSample, ProcessState};
use mpp_accounting::report::{Column, Figure, Form, Mark, Report, Tier, Value};
use mpp_accounting::run::{PROGRAM_METRICS, Reaping, Survivor, levels};
use mpp_accounting::selector::{GroupKey, Resolution, Selector};
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::{IoDelta, UsageDelta};
use mpp_collect::child::{ignores_children, thread_cpu_time};
use mpp_collect::{Collector, CollectorOptions, Measures, Needs};

use super::{Error, weakest};

/// No more programs than this are told apart.
const PROGRAMS_MAX: usize = 200;

/// A parent is asked again so many samples later whether it ignores its children's ends.
const SAMPLES_TRUSTED: u64 = 20;

/// So many sweeps after the last end the ledger has given up whoever nobody waited for.
const SWEEPS_TO_SETTLE: usize = 4;

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
            None => Figure::Absent(mpp_accounting::process::Absence::NotYetKnown),
        }
    }
}

/// Looks at the descendants of this process.
#[derive(Debug)]
pub(super) struct Sampler {
    collector: Collector,
    needs: Needs,
    own_pid: u32,
    resolution: Resolution,
    snapshot: Snapshot,
    ledger: Ledger,
    tree: GroupBook,
    programs: GroupBook,
    programs_report: Option<Report>,
    tier_max: Tier,
    pub(super) processes: Peak,
    pub(super) memory: Peak,
    pub(super) fds: Peak,
    seen: HashSet<ProcessKey>,
    reaped_unseen: u64,
    parents_asked: HashMap<ProcessKey, u64>,
    reaping: Reaping,
    /// What each process was seen doing itself, until somebody has inherited it.
    own: HashMap<ProcessKey, (IoDelta, UsageDelta)>,
    /// What those did that nobody waited for, as far as it was seen.
    unreaped: (IoDelta, UsageDelta),
    lost: u64,
    samples: u64,
    cost: Duration,
    last: Instant,
}

impl Sampler {
    pub(super) fn open(tier_max: Tier) -> Result<Self, Error> {
        let collector = Collector::open(CollectorOptions::default())?;
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
            ledger: Ledger::new(),
            tree: GroupBook::new(tree, sample_columns().into()),
            programs: GroupBook::new(programs, levels(&PROGRAM_METRICS).into()),
            programs_report: None,
            tier_max,
            processes: Peak(None),
            memory: Peak(None),
            fds: Peak(None),
            seen: HashSet::new(),
            reaped_unseen: 0,
            parents_asked: HashMap::new(),
            reaping: Reaping::ByParents,
            own: HashMap::new(),
            unreaped: (IoDelta::ZERO, UsageDelta::ZERO),
            lost: 0,
            samples: 0,
            cost: Duration::ZERO,
            last: Instant::now(),
        })
    }

    /// Looks at the tree once.
    pub(super) fn sample(&mut self) -> Result<Report, Error> {
        let before = thread_cpu_time();
        self.collector.sweep_tree(self.own_pid, &self.needs, &mut self.snapshot)?;
        let movement = self.ledger.advance(&self.snapshot);
        self.keep_account(&movement);
        let mut report = self.tree.fold(&self.snapshot, &movement, &self.resolution);
        report.accuracy.tier = report.accuracy.tier.max(self.tier_max);
        self.programs_report =
            Some(self.programs.fold(&self.snapshot, &movement, &self.resolution));
        self.raise_peaks(&report);
        self.ask_parents();
        if self.seen.len() < SEEN_MAX {
            let own_pid = self.own_pid;
            let others = self.snapshot.processes.iter().map(|process| process.key);
            self.seen.extend(others.filter(|key| key.pid != own_pid));
        }
        self.samples += 1;
        self.cost = thread_cpu_time().saturating_sub(before);
        self.last = Instant::now();
        Ok(report)
    }

    /// Looks until all that have ended are settled, and at what is left as one moment.
    pub(super) fn settle(&mut self) -> Result<Report, Error> {
        for _ in 1..SWEEPS_TO_SETTLE {
            self.sample()?;
        }
        self.sample()
    }

    /// Notes that a direct child was waited for.
    pub(super) fn reaped(&mut self, pid: u32) {
        if !self.seen.iter().any(|key| key.pid == pid) {
            self.reaped_unseen += 1;
        }
    }

    /// CPU time that the last look took.
    pub(super) fn cost(&self) -> Duration {
        self.cost
    }

    pub(super) fn since_last(&self) -> Duration {
        self.last.elapsed()
    }

    pub(super) fn samples(&self) -> u64 {
        self.samples
    }

    pub(super) fn reaping(&self) -> Reaping {
        self.reaping
    }

    /// How many ended, as far as was seen.
    pub(super) fn ended(&self) -> u64 {
        let left = self.descendants().filter(|process| process.state == ProcessState::Living);
        (self.seen.len() as u64 + self.reaped_unseen).saturating_sub(left.count() as u64)
    }

    /// What those did that nobody waited for.
    pub(super) fn unreaped(&self) -> (IoDelta, UsageDelta) {
        self.unreaped
    }

    /// What may be missing from what the kernel counted.
    pub(super) fn doubt(&self) -> Mark {
        weakest([
            if self.reaping == Reaping::ByKernel { Mark::LowerBound } else { Mark::Exact },
            if self.lost > 0 { Mark::Estimate } else { Mark::Exact },
        ])
    }

    /// The programs that were seen, the busiest first.
    pub(super) fn programs(&self) -> Report {
        let mut report = self.programs_report.clone().unwrap_or_else(empty_report);
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
        self.snapshot.processes.iter().filter(|process| {
            process.key.pid != self.own_pid
                && self.snapshot.ancestors(process).any(|other| other.key.pid == self.own_pid)
        })
    }

    fn raise_peaks(&mut self, report: &Report) {
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
    fn keep_account(&mut self, movement: &Movement) {
        for delta in movement.processes.iter().filter(|delta| delta.key.pid != self.own_pid) {
            let (io, usage) = self.own.entry(delta.key).or_default();
            *io = io.plus(delta.io.unwrap_or_default());
            *usage = usage.plus(delta.usage);
        }
        for key in &movement.lost {
            if let Some((io, usage)) = self.own.remove(key) {
                self.unreaped = (self.unreaped.0.plus(io), self.unreaped.1.plus(usage));
                self.lost += 1;
            }
        }
        for key in &movement.settled {
            self.own.remove(key);
        }
    }

    /// Looks whether a parent ignores the ends of its children, now and then.
    fn ask_parents(&mut self) {
        let parents: HashSet<u32> =
            self.snapshot.processes.iter().map(|process| process.parent_pid).collect();
        let now = self.samples;
        let mut ignoring = false;
        for process in self.snapshot.processes.iter().filter(|p| p.key.pid != self.own_pid) {
            if parents.contains(&process.key.pid) {
                let asked = self.parents_asked.get(&process.key);
                if asked.is_none_or(|asked| now - asked >= SAMPLES_TRUSTED) {
                    self.parents_asked.insert(process.key, now);
                    ignoring |= ignores_children(process.key.pid) == Some(true);
                }
            }
        }
        if ignoring {
            self.reaping = Reaping::ByKernel;
        }
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
