//! Processes that ended, one by one: who each was, how it ended, and what it did in its life.
//!
//! A figure here is of the process itself and of its whole life, children left out. It is made
//! of what the process had done when it was first seen and of what the ledger has credited it
//! with since, so that it obeys the same law as the totals of groups. Where the kernel writes
//! a record of every end, that is all there is to know; where nobody does, a process is known
//! by the last sight of it, and one that no sweep saw is not known at all.
//!
//! The trap is the CPU time of a record: it is written while the process still tears itself
//! down, so it is less than what the process has used in the end.

mod life;
mod summary;
mod wait_status;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use self::life::{Life, Told};
use crate::exit::{ExitSource, ProcessExit};
use crate::group::{EndedMember, GroupBook};
use crate::ledger::Movement;
use crate::metric::MetricId;
use crate::process::{Identity, ProcessKey};
use crate::report::{Figure, Tier};
use crate::slack::Slack;
use crate::snapshot::Snapshot;
use crate::units::{BootTime, WallTime};

pub use summary::{
    EndedSummary, SUMMARY_COLUMNS, SummaryColumn, SummaryReport, SummaryRow, UnknownColumn,
};
pub use wait_status::{WaitStatus, signal_name};

/// What is told of each ended process, in this order. `uptime` is how long it lived, and
/// `memory.peak` the most memory that it ever had resident itself.
pub const ENDED_METRICS: [MetricId; 15] = [
    MetricId::Uptime,
    MetricId::CpuUser,
    MetricId::CpuSystem,
    MetricId::MemoryPeak,
    MetricId::IoReadBytes,
    MetricId::IoWriteBytes,
    MetricId::IoReadChars,
    MetricId::IoWriteChars,
    MetricId::IoReadCount,
    MetricId::IoWriteCount,
    MetricId::IoCancelledWriteBytes,
    MetricId::PageFaultsMinor,
    MetricId::PageFaultsMajor,
    MetricId::CtxSwitchesVoluntary,
    MetricId::CtxSwitchesInvoluntary,
];

/// No more ended processes than this are kept of one interval, unless said otherwise: the first
/// ones are, and the others counted.
pub const ENDED_MAX: usize = 65_536;

/// A process that ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Which process.
    pub key: ProcessKey,
    /// Who it was in the end.
    pub identity: Arc<Identity>,
    /// The name of its user, where somebody has looked it up: the book does not.
    pub user: Option<Box<[u8]>>,
    /// Whose child it was in the end; 0 for nobody's, and where the parent is out of sight.
    pub parent_pid: u32,
    /// The parent's command name, where it is known.
    pub parent_comm: Option<Box<[u8]>>,
    /// The group that it belonged to.
    pub group: Box<[u8]>,
    /// Whether it belonged there as a descendant of one that matched, not by itself.
    pub is_descendant: bool,
    /// When it began, in wall-clock time.
    pub started_at: WallTime,
    /// When it ended, at the latest.
    pub ended_at: WallTime,
    /// By how much earlier it may have ended; zero where the moment is known.
    pub ended_within: Duration,
    /// How it ended; `None` where nobody told.
    pub status: Option<WaitStatus>,
    /// What it did itself in its whole life: one figure for each of [`ENDED_METRICS`].
    pub figures: [Figure; ENDED_METRICS.len()],
    /// By how many bytes at most each figure of I/O is too low, for records that are rounded.
    pub io_bound_bytes: u64,
    /// Who told of its end.
    pub source: ExitSource,
}

impl Ended {
    /// The figure of a metric; `None` for one that is not among [`ENDED_METRICS`].
    #[must_use]
    pub fn figure(&self, id: MetricId) -> Option<Figure> {
        let position = ENDED_METRICS.iter().position(|other| *other == id)?;
        self.figures.get(position).copied()
    }

    /// Whether it ended with a number other than 0, or by a signal; `None` where nobody told.
    #[must_use]
    pub fn has_failed(&self) -> Option<bool> {
        self.status.map(|status| status != WaitStatus::Exited(0))
    }
}

/// The processes that ended in one interval.
#[derive(Clone, Debug)]
pub struct EndedReport {
    /// When the sweep that found them began.
    pub wall_time: WallTime,
    /// Time since the sweep before; `None` for the first sweep, which knows of no ends.
    pub interval: Option<Duration>,
    /// How ends were seen in this interval.
    pub tier: Tier,
    /// Those of the groups, each once, in the order in which they ended.
    pub processes: Vec<Ended>,
    /// How many more ended for whom there was no room here.
    pub shed: u64,
    /// Threads that ended without a record that reached us. The processes of some of them were
    /// never seen and are not here.
    pub lost_records: u64,
    /// Threads that ended and are known only as part of a sum, for want of room in the kernel;
    /// the same holds of their processes.
    pub spilled_records: u64,
}

impl Default for EndedReport {
    /// That of no interval yet.
    fn default() -> Self {
        EndedReport {
            wall_time: WallTime::default(),
            interval: None,
            tier: Tier::C,
            processes: Vec::new(),
            shed: 0,
            lost_records: 0,
            spilled_records: 0,
        }
    }
}

/// Follows the lives of all processes, and tells of each once, when it has ended.
#[derive(Debug)]
pub struct EndedBook {
    /// Those that the sweep before saw.
    lives: HashMap<ProcessKey, Life>,
    /// Records of ends that the ledger has put off to the next interval.
    put_off: HashMap<ProcessKey, ProcessExit>,
    /// When the sweep before began.
    previous: Option<BootTime>,
    ended_max: usize,
    slack_of_lives: Slack,
    slack_of_put_off: Slack,
}

impl Default for EndedBook {
    fn default() -> Self {
        EndedBook::keeping(ENDED_MAX)
    }
}

impl EndedBook {
    /// A book that has seen nothing, and keeps no more ended processes than this of an interval.
    #[must_use]
    pub fn keeping(ended_max: usize) -> Self {
        EndedBook {
            lives: HashMap::new(),
            put_off: HashMap::new(),
            previous: None,
            ended_max,
            slack_of_lives: Slack::default(),
            slack_of_put_off: Slack::default(),
        }
    }

    /// Follows one sweep, after `groups` have been folded with it, and tells who has ended.
    pub fn advance(
        &mut self,
        snapshot: &Snapshot,
        movement: &Movement,
        groups: &GroupBook,
    ) -> EndedReport {
        self.follow(movement);
        let mut report = EndedReport {
            wall_time: snapshot.wall_time,
            interval: self.previous.map(|previous| snapshot.taken_at.since(previous)),
            tier: groups.tier(),
            lost_records: movement.missing_records,
            spilled_records: movement.spilled_records,
            ..EndedReport::default()
        };
        for member in groups.ended() {
            if report.processes.len() >= self.ended_max {
                report.shed += u64::from(self.has_ended_since_start(member.key));
            } else {
                report.processes.extend(self.ended(&member, snapshot, movement));
            }
        }
        report.processes.sort_by_key(|ended| (ended.ended_at.unix_ns, ended.key));
        self.put_off_records(snapshot, movement);
        self.see(snapshot, movement);
        self.previous = Some(snapshot.taken_at);
        report
    }

    /// How many processes are followed. For tests of that bound.
    #[doc(hidden)]
    #[must_use]
    pub fn life_count(&self) -> usize {
        self.lives.len() + self.put_off.len()
    }

    /// One that was a zombie before anybody looked has ended before, too.
    fn has_ended_since_start(&self, key: ProcessKey) -> bool {
        self.lives.get(&key).is_none_or(|life| !life.was_zombie_at_first)
    }

    fn ended(
        &self,
        member: &EndedMember<'_>,
        snapshot: &Snapshot,
        movement: &Movement,
    ) -> Option<Ended> {
        let key = member.key;
        if !self.has_ended_since_start(key) {
            return None;
        }
        let exit = snapshot.exits.by_key(key).or_else(|| self.put_off.get(&key));
        let unknown = Life::default();
        let life = self.lives.get(&key).unwrap_or(&unknown);
        let told = Told { exit, snapshot, movement, previous: self.previous };
        let identity = exit.map(|exit| &exit.sample.identity).or(life.identity.as_ref())?;
        let parent_pid = exit.map_or(life.parent_pid, |exit| exit.sample.parent_pid);
        let end = life.end(key, &told);
        Some(Ended {
            key,
            identity: Arc::clone(identity),
            user: None,
            parent_pid,
            parent_comm: self.comm_of_parent(exit, parent_pid, snapshot),
            group: member.group.into(),
            is_descendant: member.is_descendant,
            started_at: wall_time(end.started_at, snapshot),
            ended_at: wall_time(end.ended_at, snapshot),
            ended_within: end.within,
            status: exit.map(|exit| WaitStatus::of_kernel(exit.wait_status)),
            figures: life.figures(&end, &told),
            io_bound_bytes: life.io_bound_bytes,
            source: exit.map_or(ExitSource::Nobody, |_| snapshot.exits.source),
        })
    }

    /// The parent may live, or have ended just as well.
    fn comm_of_parent(
        &self,
        exit: Option<&ProcessExit>,
        parent_pid: u32,
        snapshot: &Snapshot,
    ) -> Option<Box<[u8]>> {
        let recorded = exit.and_then(|exit| exit.parent);
        let living = snapshot.by_pid(parent_pid).map(|parent| parent.key);
        let key = recorded.or(living)?;
        let seen = snapshot.by_key(key).or_else(|| Some(&snapshot.exits.by_key(key)?.sample));
        let seen = seen.map(|sample| &sample.identity);
        let identity = seen.or_else(|| self.lives.get(&key)?.identity.as_ref())?;
        Some(identity.comm.clone())
    }

    /// Keeps the records of those that the ledger tells of later. What is beyond the bound is
    /// told of without its record.
    fn put_off_records(&mut self, snapshot: &Snapshot, movement: &Movement) {
        let is_done: HashSet<ProcessKey> =
            movement.ended.iter().chain(&movement.settled).copied().collect();
        self.put_off.retain(|key, _| !is_done.contains(key));
        for exit in &snapshot.exits.processes {
            let is_told = is_done.contains(&exit.key())
                || self.lives.get(&exit.key()).is_some_and(|life| life.is_told);
            if !is_told && self.put_off.len() < self.ended_max {
                self.put_off.insert(exit.key(), exit.clone());
            }
        }
        self.slack_of_put_off.give_back_map(&mut self.put_off);
    }

    /// Adds what was done to the lives of those who did it; where a key passes to another whose
    /// former bearer is told of now, that of the former one.
    fn follow(&mut self, movement: &Movement) {
        for next in movement.successions.iter().filter(|next| !next.ends_now) {
            self.lives.remove(&next.key);
        }
        let mut before = None;
        for delta in &movement.processes {
            let is_repeated = before.replace(delta.key) == Some(delta.key);
            let is_successors = || movement.succession(delta.key).is_some_and(|next| next.ends_now);
            if !is_repeated || !is_successors() {
                self.lives.entry(delta.key).or_default().add(delta, movement);
            }
        }
    }

    /// Begins the lives of those whose keys' former bearers have been told of now.
    fn succeed(&mut self, movement: &Movement) {
        for next in movement.successions.iter().filter(|next| next.ends_now) {
            let begin = movement.processes.partition_point(|delta| delta.key < next.key);
            let rest = movement.processes.get(begin..).unwrap_or_default();
            let mut life = Life::default();
            for delta in rest.iter().take_while(|delta| delta.key == next.key).skip(1) {
                life.add(delta, movement);
            }
            self.lives.insert(next.key, life);
        }
    }

    /// Remembers what this sweep saw, and forgets those that are gone.
    fn see(&mut self, snapshot: &Snapshot, movement: &Movement) {
        for key in &movement.ended {
            if let Some(life) = self.lives.get_mut(key) {
                life.is_told = true;
            }
        }
        self.succeed(movement);
        for sample in &snapshot.processes {
            let has_begun = self.lives.contains_key(&sample.key);
            let life = self.lives.entry(sample.key).or_default();
            if !has_begun {
                life.begin_with(sample);
            }
            life.see(sample, snapshot.taken_at);
        }
        self.slack_of_lives.give_back_map(&mut self.lives);
        self.lives.retain(|key, life| {
            life.seen_at == Some(snapshot.taken_at)
                || (!life.is_told && snapshot.unreadable_pids.binary_search(&key.pid).is_ok())
        });
    }
}

/// A moment since boot as wall-clock time, by the clocks of this sweep.
fn wall_time(at: BootTime, snapshot: &Snapshot) -> WallTime {
    let offset = i128::from(at.ns) - i128::from(snapshot.taken_at.ns);
    let unix_ns = i128::from(snapshot.wall_time.unix_ns) + offset;
    let clamped = unix_ns.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
    WallTime { unix_ns: i64::try_from(clamped).unwrap_or(i64::MAX) }
}
