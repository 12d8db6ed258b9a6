//! The law: what processes did between two sweeps, counted once.
//!
//! The kernel adds a child's counters to its parent's at the moment the parent
//! waits for it, and the sum of the two is then counted twice by whoever adds
//! processes up. This file is the one place where that is undone. It sees only
//! two sweeps of `/proc`; what happened between them it must infer, by three rules:
//!
//! 1. **Balance on T.** The credit of a process is the growth of its total T minus the
//!    last T of the children that it reaped in the interval. A vanished process is
//!    *pending* until a reaper is found whose growth has room for it. So credit is
//!    never negative, and no byte is lost or doubled, whatever the order of reads.
//! 2. **Attribute by L.** The own I/O of the living threads, L, never receives a child's.
//!    It only splits the credit: what T grew by outside L, beyond the tails of ended
//!    threads and the children taken out, was inherited from reaped children.
//! 3. **Unknown is not gone.** A process that could not be read keeps its last reading,
//!    and its growth counts when it is readable again.
//!
//! CPU time and faults obey the same law; there the kernel itself keeps a process's
//! own figures and its reaped children's apart (proc_pid_stat(5): `utime` and `cutime`),
//! so nothing needs to be split.
//!
//! The ledger knows no groups. What came with reaped children and no one was seen
//! doing leaves it as a [`Residual`], and the group fold decides whose it is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::process::{ProcessKey, ProcessSample, ProcessState, ThreadIo, Usage};
use crate::snapshot::Snapshot;
use crate::units::{IoDelta, IoTotals, UsageCounter, UsageDelta};

/// A pending process is given up after this many sweeps in which its candidate
/// reapers were readable: it was reaped automatically, or out of our sight.
const PENDING_SWEEPS_MAX: u32 = 2;

/// An unreadable process is waited for so many sweeps. Then its reaped children's CPU
/// time counts again, and its I/O starts afresh should it ever be readable again.
const HELD_SWEEPS_MAX: u32 = 60;

/// No more vanished processes than this wait for their reapers; beyond it the
/// longest waiting are given up, and counted as lost like any other.
const PENDING_MAX: usize = 65_536;

/// What every process did since the sweep before.
///
/// ```
/// use mpp_accounting::ledger::Ledger;
/// use mpp_accounting::snapshot::Snapshot;
///
/// let mut ledger = Ledger::new();
/// let first = ledger.advance(&Snapshot::default());
/// assert!(first.is_baseline);
/// ```
#[derive(Debug, Default)]
pub struct Ledger {
    /// The processes of the sweep before, strictly ascending by key.
    known: Vec<Known>,
    /// Processes that vanished, and whose counters nobody has been seen to inherit.
    pending: Vec<Pending>,
    /// When the sweep before began; `None` before the first.
    previous_sweep_ticks: Option<u64>,
}

/// What happened between two sweeps.
#[derive(Clone, Debug, Default)]
pub struct Movement {
    /// Whether this was the first sweep: totals stand, but nothing moved yet.
    pub is_baseline: bool,
    /// What each process itself did, ascending by key.
    pub processes: Vec<ProcessDelta>,
    /// What came with reaped children and no one was seen doing.
    pub residuals: Vec<Residual>,
    /// Processes that were seen before and are gone.
    pub ended: Vec<ProcessKey>,
    /// Ended processes given up: what they did after they were last seen is missing.
    pub lost: Vec<ProcessKey>,
    /// Ended processes of which nothing more will be heard: taken out, or given up.
    pub settled: Vec<ProcessKey>,
    /// Living processes whose I/O has never been readable, or not for long: should it be one
    /// day, what they did until then will be missing.
    pub unread: Vec<ProcessKey>,
    /// Counters that went back, and were taken for another process's.
    pub replaced: u64,
    /// Processes of which a counter went back, these included. What went back stands still.
    pub fallen: u64,
}

/// What one process itself did in an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessDelta {
    /// Which process.
    pub key: ProcessKey,
    /// Its I/O; `None` while that is unreadable.
    pub io: Option<IoDelta>,
    /// Its CPU time and faults.
    pub usage: UsageDelta,
}

/// What a reaper inherited beyond the last sight of those it reaped: their tails,
/// and children that were never seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Residual {
    /// Who waited.
    pub reaper: ProcessKey,
    /// The ended processes whose counters were found in the reaper's growth.
    pub taken_out: Vec<TakenOut>,
    /// The I/O; `None` where the reaper's is unreadable.
    pub io: Option<IoDelta>,
    /// The CPU time and faults.
    pub usage: UsageDelta,
    /// Whether one of those taken out had I/O that was never read, so that nobody can
    /// say how much of `io` was already counted before the first sweep.
    pub io_is_unattributed: bool,
}

impl Residual {
    /// Whether there is nothing to give to anyone.
    fn is_empty(&self) -> bool {
        self.io.is_none_or(IoDelta::is_zero) && self.usage.is_zero()
    }
}

/// An ended process whose counters were found in its reaper's growth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TakenOut {
    /// Which process.
    pub key: ProcessKey,
    /// Whether its last reading was final, so that it has no tail.
    pub was_zombie: bool,
}

/// What is remembered of a process until the next sweep.
#[derive(Clone, Debug)]
struct Known {
    key: ProcessKey,
    /// Its parent when last seen; `None` where that was out of sight.
    parent: Option<ProcessKey>,
    is_zombie: bool,
    usage: Usage,
    /// The last readable I/O; `None` where it was never readable.
    io: Option<KnownIo>,
    /// For how many sweeps its I/O, once readable, has not been.
    held_sweeps: u32,
}

/// A readable I/O reading.
#[derive(Clone, Debug, Default)]
struct KnownIo {
    /// T.
    total: IoTotals,
    /// L; `None` where it was not read, because the process never had children.
    threads: Option<Arc<[ThreadIo]>>,
}

/// A vanished process whose reaper is not found yet.
#[derive(Debug)]
struct Pending {
    last: Known,
    /// Sweeps in which every candidate was readable and none had room.
    sweeps: u32,
}

/// A living process while a sweep is accounted: what it grew by, and what is left of
/// that after the children it reaped are taken out.
#[derive(Debug)]
struct Account {
    current: Known,
    previous: Known,
    /// Growth of T not yet taken by reaped children; `None` while unreadable.
    io_left: Option<IoDelta>,
    /// Growth of the reaped children's CPU and faults not yet taken.
    reaped_left: UsageDelta,
    /// Whether it reaped anyone at all: growth of `cmin_flt`, since no process ends
    /// without having faulted.
    has_reaped: bool,
    standing: Standing,
    taken_io: IoDelta,
    taken_out: Vec<TakenOut>,
    took_unread_io: bool,
}

/// How an account's growth counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Read now and before: the difference counts.
    Continued,
    /// Seen for the first time, though it began before the last sweep did: nothing counts yet.
    Baseline,
    /// Exists but could not be read: its last reading stands.
    Held,
}

/// Where a pending process's counters went.
enum Reap {
    /// Into the account at this position.
    Into(usize),
    /// Perhaps into one that cannot be read now.
    Unreadable,
    /// Nobody had room for them.
    Nobody,
}

impl Ledger {
    /// A ledger that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Ledger::default()
    }

    /// Accounts one sweep: what happened since the one before.
    ///
    /// Snapshots must come in the order in which they were taken. The first is a
    /// baseline: everything in it stands, and nothing of it counts as having moved.
    pub fn advance(&mut self, snapshot: &Snapshot) -> Movement {
        let mut movement = Movement::default();
        let Some(previous_sweep_ticks) = self.previous_sweep_ticks.replace(snapshot.taken_at_ticks)
        else {
            self.known = snapshot.processes.iter().map(|p| Known::of(p, snapshot)).collect();
            movement.is_baseline = true;
            movement.unread = unread(&self.known);
            return movement;
        };
        let mut accounts = self.open_accounts(snapshot, previous_sweep_ticks, &mut movement);
        let tick_ns = 1_000_000_000 / snapshot.host.ticks_per_second.max(1);
        self.settle_pending(&mut accounts, tick_ns, &mut movement);
        for account in &accounts {
            account.emit(&mut movement);
        }
        self.known = accounts.into_iter().map(Account::close).collect();
        movement.unread = unread(&self.known);
        movement
    }

    /// Joins the processes of both sweeps, ascending by key, and makes those that
    /// vanished pending.
    fn open_accounts(
        &mut self,
        snapshot: &Snapshot,
        previous_sweep_ticks: u64,
        movement: &mut Movement,
    ) -> Vec<Account> {
        let mut accounts = Vec::with_capacity(snapshot.processes.len());
        let mut before = std::mem::take(&mut self.known).into_iter().peekable();
        for process in &snapshot.processes {
            while let Some(gone) = before.next_if(|known| known.key < process.key) {
                self.leave(gone, snapshot, &mut accounts, movement);
            }
            let current = Known::of(process, snapshot);
            let account = match before.next_if(|known| known.key == process.key) {
                Some(previous) if current.continues(&previous) => {
                    movement.fallen += u64::from(current.has_fallen(&previous));
                    Account::continued(current, previous)
                }
                Some(another) => {
                    movement.replaced += 1;
                    movement.fallen += 1;
                    self.make_pending(another, movement);
                    Account::born(current)
                }
                None if process.key.start_time_ticks >= previous_sweep_ticks => {
                    Account::born(current)
                }
                None => Account::baseline(current),
            };
            accounts.push(account);
        }
        for gone in before {
            self.leave(gone, snapshot, &mut accounts, movement);
        }
        accounts.sort_by_key(|account| account.current.key);
        accounts
    }

    /// A process that was not seen again: still there where its PID could not be read, else pending.
    fn leave(
        &mut self,
        known: Known,
        snapshot: &Snapshot,
        accounts: &mut Vec<Account>,
        movement: &mut Movement,
    ) {
        if snapshot.unreadable_pids.binary_search(&known.key.pid).is_ok() {
            accounts.push(Account::held(known));
        } else {
            self.make_pending(known, movement);
        }
    }

    fn make_pending(&mut self, last: Known, movement: &mut Movement) {
        movement.ended.push(last.key);
        self.pending.push(Pending { last, sweeps: 0 });
    }

    /// Looks for the reaper of every pending process, the longest pending first, parents
    /// before children; gives up those for whom there is none. Those whose I/O was never
    /// read come last, since they fit almost anywhere and would take others' places.
    fn settle_pending(&mut self, accounts: &mut [Account], tick_ns: u64, movement: &mut Movement) {
        self.pending.sort_by_key(|pending| {
            let last = &pending.last;
            let age = std::cmp::Reverse(pending.sweeps);
            (last.io.is_none(), age, last.key.start_time_ticks, last.key)
        });
        let parents: HashMap<ProcessKey, Option<ProcessKey>> =
            self.pending.iter().map(|p| (p.last.key, p.last.parent)).collect();
        let surplus = self.pending.len().saturating_sub(PENDING_MAX);
        let mut waiting = Vec::new();
        for (position, mut pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            let key = pending.last.key;
            match find_reaper(&pending.last, accounts, &parents, tick_ns) {
                Reap::Into(reaper) => {
                    accounts[reaper].take_out(&pending.last);
                    if accounts[reaper].io_left.is_none() && pending.last.io.is_some() {
                        note_lost(&pending.last, movement);
                    }
                    movement.settled.push(key);
                    continue;
                }
                Reap::Unreadable => {}
                Reap::Nobody => pending.sweeps += 1,
            }
            if pending.sweeps > PENDING_SWEEPS_MAX || position < surplus {
                note_lost(&pending.last, movement);
                movement.settled.push(key);
            } else {
                waiting.push(pending);
            }
        }
        self.pending = waiting;
        self.adopt_orphans(&parents, &movement.settled);
    }

    /// Lets the pending children of a settled process look to its parent from now on.
    fn adopt_orphans(
        &mut self,
        parents: &HashMap<ProcessKey, Option<ProcessKey>>,
        settled: &[ProcessKey],
    ) {
        if self.pending.is_empty() {
            return;
        }
        let settled: HashSet<ProcessKey> = settled.iter().copied().collect();
        for pending in &mut self.pending {
            let mut steps = 0;
            while let Some(parent) = pending.last.parent.filter(|parent| settled.contains(parent))
                && steps <= parents.len()
            {
                pending.last.parent = parents.get(&parent).copied().flatten();
                steps += 1;
            }
        }
    }
}

fn unread(known: &[Known]) -> Vec<ProcessKey> {
    known.iter().filter(|known| known.io.is_none()).map(|known| known.key).collect()
}

/// What a process did between its last sight and its end is missing, unless that
/// sight was already final.
fn note_lost(last: &Known, movement: &mut Movement) {
    if !last.is_zombie {
        movement.lost.push(last.key);
    }
}

/// The candidates are its last parent and, where that is gone or a zombie, each ancestor
/// in turn: any of them may be a subreaper, and the last is the init of its namespace.
fn find_reaper(
    last: &Known,
    accounts: &[Account],
    parents: &HashMap<ProcessKey, Option<ProcessKey>>,
    tick_ns: u64,
) -> Reap {
    let mut candidate = last.parent;
    let mut is_orphaned = false;
    // A frozen tree may hold a circle of parents.
    for _ in 0..=accounts.len() + parents.len() {
        let Some(key) = candidate else { return Reap::Nobody };
        let Ok(position) = accounts.binary_search_by_key(&key, |account| account.current.key)
        else {
            is_orphaned = true;
            candidate = parents.get(&key).copied().flatten();
            continue;
        };
        let account = &accounts[position];
        if account.standing == Standing::Held {
            return Reap::Unreadable;
        }
        if account.has_room_for(last, tick_ns) {
            return Reap::Into(position);
        }
        is_orphaned |= account.current.is_zombie;
        if !is_orphaned {
            return Reap::Nobody;
        }
        candidate = account.current.parent;
    }
    Reap::Nobody
}

impl Known {
    fn of(process: &ProcessSample, snapshot: &Snapshot) -> Self {
        Known {
            key: process.key,
            parent: snapshot.by_pid(process.parent_pid).map(|parent| parent.key),
            is_zombie: process.state == ProcessState::Zombie,
            usage: process.usage,
            io: process.io.total.value().map(|total| KnownIo {
                total: *total,
                threads: process.io.threads.value().cloned(),
            }),
            held_sweeps: 0,
        }
    }

    /// Whether this can be a later reading of the same process: its faults did not fall.
    /// CPU time is left out, since the kernel scales it anew at each reading.
    fn continues(&self, previous: &Known) -> bool {
        let faults = |usage: &Usage| {
            [usage.own, usage.reaped]
                .map(|u| (u[UsageCounter::MinorFaults], u[UsageCounter::MajorFaults]))
        };
        let (now, then) = (faults(&self.usage), faults(&previous.usage));
        now.iter().zip(then).all(|(n, t)| n.0 >= t.0 && n.1 >= t.1)
    }

    /// Whether the I/O of this reading can follow the one before. Of a process that is
    /// just being released the kernel shows less than it did a moment ago.
    fn io_follows(&self, previous: &Known) -> bool {
        let was_lost = self.io.is_none() && previous.io.is_some();
        !was_lost && !self.io_fell(previous)
    }

    /// Whether any counter of the same process went back.
    fn has_fallen(&self, previous: &Known) -> bool {
        let (now, then) = (&self.usage, &previous.usage);
        let cpu_fell = now.own.since(then.own).is_none() || now.reaped.since(then.reaped).is_none();
        cpu_fell || self.io_fell(previous)
    }

    fn io_fell(&self, previous: &Known) -> bool {
        match (&self.io, &previous.io) {
            (Some(now), Some(then)) => now.total.since(then.total).is_none(),
            _ => false,
        }
    }

    /// Everything it did and inherited: what a reaper's counters of children grow by.
    fn usage_total(&self) -> UsageDelta {
        self.usage.own.as_delta().plus(self.usage.reaped.as_delta())
    }
}

impl KnownIo {
    /// F: what the total holds beyond the living threads' own; `None` where L was not read.
    fn folded(&self) -> Option<IoDelta> {
        let threads = self.threads.as_ref()?;
        let own = threads.iter().fold(IoTotals::ZERO, |sum, t| sum.plus(t.total.as_delta()));
        Some(self.total.since_clamped(own))
    }

    /// The last own I/O of the threads that `later` no longer has.
    fn ended_threads(&self, later: &KnownIo) -> IoDelta {
        let (Some(before), Some(after)) = (&self.threads, &later.threads) else {
            return IoDelta::ZERO;
        };
        let living: HashSet<_> = after.iter().map(|thread| thread.key).collect();
        before
            .iter()
            .filter(|thread| !living.contains(&thread.key))
            .fold(IoDelta::ZERO, |sum, thread| sum.plus(thread.total.as_delta()))
    }
}

impl Account {
    /// Of a process read now and before.
    fn continued(current: Known, previous: Known) -> Self {
        if !current.io_follows(&previous) {
            return Account::unreadable(current, previous);
        }
        let io_left = match (&current.io, &previous.io) {
            (Some(now), Some(then)) => Some(now.total.since_clamped(then.total)),
            _ => None,
        };
        Account::open(current, previous, io_left, Standing::Continued)
    }

    /// Of a process that began after the last sweep did: everything it did counts.
    fn born(current: Known) -> Self {
        let nothing = Known {
            usage: Usage::default(),
            io: current
                .io
                .is_some()
                .then(|| KnownIo { total: IoTotals::ZERO, threads: Some(Arc::default()) }),
            ..current.clone()
        };
        Account::continued(current, nothing)
    }

    /// Of a process seen for the first time, though it is older than the last sweep.
    fn baseline(current: Known) -> Self {
        let previous = current.clone();
        Account::open(current, previous, None, Standing::Baseline)
    }

    /// Of a process whose `stat` could not be read.
    fn held(previous: Known) -> Self {
        Account::open(previous.clone(), previous, None, Standing::Held)
    }

    /// Of a process whose I/O was readable and now is not, or fell. Its own CPU time goes on; what
    /// it inherits is left alone until its I/O can be balanced with it.
    fn unreadable(mut current: Known, previous: Known) -> Self {
        if previous.held_sweeps >= HELD_SWEEPS_MAX {
            return Account::open(current, previous, None, Standing::Continued);
        }
        current.usage.reaped = previous.usage.reaped;
        current.io.clone_from(&previous.io);
        current.held_sweeps = previous.held_sweeps + 1;
        Account::open(current, previous, None, Standing::Held)
    }

    fn open(current: Known, previous: Known, io_left: Option<IoDelta>, standing: Standing) -> Self {
        let reaped_left = current.usage.reaped.since_clamped(previous.usage.reaped);
        Account {
            has_reaped: reaped_left[UsageCounter::MinorFaults] > 0,
            current,
            previous,
            io_left,
            reaped_left,
            standing,
            taken_io: IoDelta::ZERO,
            taken_out: Vec::new(),
            took_unread_io: false,
        }
    }

    /// Whether all that `child` was last seen to have done fits into what this process
    /// inherited and that nobody else has been found for. CPU time may be off by one
    /// tick, for the rounding of the two readings.
    fn has_room_for(&self, child: &Known, tick_ns: u64) -> bool {
        if !self.has_reaped {
            return false;
        }
        let slack = UsageDelta::from_cpu_ns(tick_ns);
        if !self.reaped_left.plus(slack).covers(child.usage_total()) {
            return false;
        }
        match (&self.io_left, &child.io) {
            (Some(left), Some(io)) => left.covers(io.total.as_delta()),
            _ => true,
        }
    }

    fn take_out(&mut self, child: &Known) {
        self.reaped_left = self.reaped_left.less(child.usage_total());
        match (&mut self.io_left, &child.io) {
            (Some(left), Some(io)) => {
                debug_assert!(left.covers(io.total.as_delta()), "taken out beyond the growth");
                *left = left.less(io.total.as_delta());
                self.taken_io = self.taken_io.plus(io.total.as_delta());
            }
            (Some(_), None) => self.took_unread_io = true,
            (None, _) => {}
        }
        self.taken_out.push(TakenOut { key: child.key, was_zombie: child.is_zombie });
    }

    /// Splits the credit into what the process did itself and what it inherited.
    fn emit(&self, movement: &mut Movement) {
        if self.standing == Standing::Baseline {
            return;
        }
        let own_usage = self.current.usage.own.since_clamped(self.previous.usage.own);
        let inherited_io = self.io_left.map(|credit| self.inherited_io(credit));
        let mut delta = ProcessDelta {
            key: self.current.key,
            io: self.io_left.zip(inherited_io).map(|(credit, inherited)| credit.less(inherited)),
            usage: own_usage,
        };
        let residual = Residual {
            reaper: self.current.key,
            taken_out: self.taken_out.clone(),
            io: inherited_io,
            usage: self.reaped_left,
            io_is_unattributed: self.took_unread_io,
        };
        if !self.has_reaped {
            delta.io = self.io_left;
            delta.usage = delta.usage.plus(self.reaped_left);
        } else if !residual.is_empty() {
            movement.residuals.push(residual);
        }
        movement.processes.push(delta);
    }

    /// The part of the credit that came from reaped children: growth of T outside the
    /// living threads, beyond ended threads' own and the children taken out. It is only a
    /// split, so it is held between nothing and the whole credit.
    fn inherited_io(&self, credit: IoDelta) -> IoDelta {
        let (Some(now), Some(then)) = (&self.current.io, &self.previous.io) else {
            return IoDelta::ZERO;
        };
        let (Some(folded_now), Some(folded_then)) = (now.folded(), then.folded()) else {
            return if self.took_unread_io { credit } else { IoDelta::ZERO };
        };
        folded_now.less(folded_then).less(then.ended_threads(now)).less(self.taken_io).min(credit)
    }

    /// What is remembered until the next sweep.
    fn close(self) -> Known {
        self.current
    }
}
