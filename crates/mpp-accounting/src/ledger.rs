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
//! Where the kernel writes a record of every thread that ends, I/O needs no inference: see
//! `records.rs`. A record that is missing brings the three rules back for that interval, for
//! those whom it may concern where that can be known; CPU time keeps to them always, since a
//! record's is not final yet. Then a record is the last sight of its process, and a better one
//! than any sweep has.
//!
//! The ledger knows no groups. What came with reaped children and no one was seen
//! doing leaves it as a [`Residual`], and the group fold decides whose it is.

mod aftermath;
mod late;
mod records;
mod unusual;

use std::collections::{HashMap, HashSet, VecDeque};

use self::aftermath::Aftermath;
use self::late::{Inherited, Newness, Outlook, Settlement};
use self::records::{Batch, Ended, Missing, OwnIo, Records, has_all_of};
use self::unusual::Unusual;
use crate::exit::{ExitSource, Exits, ROUNDED_TO_BYTES, Spill};
use crate::kept::{KeptKey, KeptStart};
use crate::process::{
    ProcessKey, ProcessSample, ProcessState, ThreadIo, ThreadKey, ThreadList, ThreadView, Usage,
};
use crate::slack::{self, Slack};
use crate::snapshot::{Snapshot, Visibility};
use crate::units::{
    BootTime, Delta, IoCounter, IoDelta, IoTotals, NarrowTotals, UsageCounter, UsageDelta,
    UsageTotals,
};
use crate::walk::Walk;

/// A pending process is given up after this many sweeps in which its candidate
/// reapers were readable: it was reaped automatically, or out of our sight.
const PENDING_SWEEPS_MAX: u32 = 2;

/// An unreadable process is waited for so many sweeps. Then its reaped children's CPU
/// time counts again, and its I/O starts afresh should it ever be readable again.
const HELD_SWEEPS_MAX: u32 = 60;

/// The times of so many sweeps are remembered: enough for those in which a process is waited for.
const SWEEP_TIMES_MAX: usize = HELD_SWEEPS_MAX as usize + 2;

/// The PID of the process that inherits orphans, pid_namespaces(7).
const INIT: u32 = 1;

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
    /// The sweep before; `None` before the first.
    previous_sweep: Option<PreviousSweep>,
    sweep_times: SweepTimes,
    /// What was inherited together with those whose records may still come.
    inherited: Vec<Inherited>,
    /// Exit records that are not done with.
    records: Records,
    /// How long ago a sweep had to do without them.
    aftermath: Aftermath,
    known_slack: Slack,
    pending_slack: Slack,
    /// How many did something in the interval before that needed no balance.
    quiet_before: usize,
}

/// What happened between two sweeps.
#[derive(Clone, Debug, Default)]
pub struct Movement {
    /// Whether this was the first sweep: totals stand, but nothing moved yet.
    pub is_baseline: bool,
    /// What each process itself did, ascending by key. Of those that were there before, that did
    /// nothing and have the same parent, nothing is said.
    pub processes: Vec<ProcessDelta>,
    /// What of that was done before this interval, by those that could not be read at its begin,
    /// ascending by key.
    pub late: Vec<(ProcessKey, Late)>,
    /// What came with reaped children and no one was seen doing.
    pub residuals: Vec<Residual>,
    /// Processes that ended: recorded, or seen before and gone.
    pub ended: Vec<ProcessKey>,
    /// Ended processes given up: what they did after they were last seen is missing.
    pub lost: Vec<ProcessKey>,
    /// Ended processes of which nothing more will be heard: taken out, or given up.
    pub settled: Vec<ProcessKey>,
    /// Living processes whose I/O has never been readable, or not for long: should it be one
    /// day, what they did until then will be missing. And those that threads and records alone tell
    /// of, in an interval in which records may be missing: what these held is missing for good.
    pub unread: Vec<ProcessKey>,
    /// Counters that went back, and were taken for another process's.
    pub replaced: u64,
    /// Keys that another process bears now, ascending. The first of their deltas is that of the
    /// former one.
    pub successions: Vec<Succession>,
    /// Processes of which a counter went back, these included. What went back stands still.
    pub fallen: u64,
    /// How the I/O of those that ended was found out.
    pub ends: Ends,
    /// Processes of which it was inferred all the same, ascending: threads of theirs are gone
    /// without a record, or they may have waited for whoever is, or they have inherited what no
    /// record tells, though some had been lost in the interval before.
    pub inferred: Vec<ProcessKey>,
    /// Threads that ended without a record that reached us.
    pub missing_records: u64,
    /// Threads that ended and are known only as part of their parent's sum.
    pub spilled_records: u64,
}

impl Movement {
    /// Whether the I/O of a process was inferred from two sweeps.
    #[must_use]
    pub fn is_inferred(&self, key: ProcessKey) -> bool {
        self.ends == Ends::Inferred || self.inferred.binary_search(&key).is_ok()
    }

    /// Puts what has been noted before the deeds of others, who are many and stay where they are.
    fn put_before(&mut self, mut others: Vec<ProcessDelta>) {
        others.splice(0..0, self.processes.drain(..));
        self.processes = others;
    }

    /// Notes what of a process's deeds was done before this interval.
    fn note_late(&mut self, delta: &ProcessDelta, late: Late) {
        if !late.is_zero() {
            self.late.push((delta.key, late));
        }
    }

    /// That of a key, where another process bears it now.
    #[must_use]
    pub fn succession(&self, key: ProcessKey) -> Option<&Succession> {
        let position = self.successions.binary_search_by_key(&key, |next| next.key).ok()?;
        self.successions.get(position)
    }

    /// Notes that a key is another process's now. The former one's delta, if there is one, has
    /// been noted.
    fn succeed(&mut self, next: Succession) {
        let has_moved = self.processes.last().is_some_and(|delta| delta.key == next.key);
        if !has_moved {
            self.processes.push(ProcessDelta::nothing(next.key));
        }
        self.successions.push(next);
    }

    /// Whether a process that this sweep was the first to see has been watched since it began.
    #[must_use]
    pub fn knows_start_of(&self, key: ProcessKey) -> bool {
        self.processes.binary_search_by_key(&key, |delta| delta.key).is_ok()
    }
}

/// That a key passes from one process to another: its PID was used again within a clock tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Succession {
    /// Which key.
    pub key: ProcessKey,
    /// Whether the former one's end is told in this interval: the first of its key in `ended`.
    pub ends_now: bool,
}

/// How the I/O of those that ended in an interval was found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ends {
    /// From two sweeps.
    #[default]
    Inferred,
    /// From a record of each thread, its bytes rounded down to
    /// [`ROUNDED_TO_BYTES`].
    Rounded,
    /// From a record of each thread.
    Exact,
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
    /// In how many records of its threads the bytes are rounded down.
    pub rounded_records: u64,
    /// Of how many living threads they are: see [`ProcessIo::rounded_threads`].
    ///
    /// [`ProcessIo::rounded_threads`]: crate::process::ProcessIo::rounded_threads
    pub rounded_threads: u64,
}

impl ProcessDelta {
    fn nothing(key: ProcessKey) -> Self {
        let (io, usage) = (Some(IoDelta::ZERO), UsageDelta::ZERO);
        ProcessDelta { key, io, usage, rounded_records: 0, rounded_threads: 0 }
    }
}

/// A part of what is counted in one interval that was done before it, while a process could not be
/// read. It counts in totals now, and in no rate.
///
/// Nobody saw when it was done: it is the share of the time since the last reading that lies before
/// the interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Late {
    /// Of the I/O.
    pub io: IoDelta,
    /// Of the CPU time and faults.
    pub usage: UsageDelta,
}

impl Late {
    /// Whether everything was done in its time.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.io.is_zero() && self.usage.is_zero()
    }
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
    /// What of both was done while the reaper could not be read.
    pub late: Late,
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
    /// Its parent when last seen; none where that was out of sight.
    parent: KeptKey,
    is_zombie: bool,
    usage: Usage,
    /// The last readable T; `None` where it was never readable, or the threads alone are by now.
    io: Option<KnownIo>,
    /// Whether it began while somebody looked and was never readable: then all that is recorded
    /// of it counts.
    is_unread_from_birth: bool,
    /// For how many sweeps its I/O, once readable, has not been.
    held_sweeps: u32,
    /// For how many sweeps its I/O was not read for any reason, and its CPU time; as many as fit.
    unread_sweeps: UnreadSweeps,
    /// Whether only its place is left, while its account is open or it is pending.
    is_taken_out: bool,
    /// Whether its end has been recorded, though a sweep may have seen it, or see it, as a zombie.
    has_ended: bool,
    /// Whether that was told in an earlier interval.
    was_told_ended: bool,
    /// Where its counters go when it ends, as far as its record has said.
    fate: Fate,
    /// When it started, to the nanosecond, where that is known.
    started_at: KeptStart,
    unusual: Unusual,
}

/// For how many sweeps something was not read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct UnreadSweeps {
    io: u8,
    usage: u8,
}

/// When the last sweeps began, this one last; at most [`SWEEP_TIMES_MAX`].
#[derive(Debug, Default)]
struct SweepTimes(VecDeque<BootTime>);

/// What a process did that needs no balance.
#[derive(Clone, Copy, Debug)]
struct QuietStep {
    /// `None` while that is unreadable.
    io: Option<IoDelta>,
    usage: UsageDelta,
    /// Whether its CPU time went back.
    has_fallen: bool,
}

/// Which reading tells what such a process did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QuietLaw {
    /// T.
    Total,
    /// L.
    Threads,
    /// L, where T has not grown by more.
    Either,
}

/// A readable I/O reading.
#[derive(Clone, Debug)]
struct KnownIo {
    /// T.
    total: NarrowTotals<7>,
    threads: KnownThreads,
}

/// L, as it is remembered.
#[derive(Clone, Debug)]
enum KnownThreads {
    /// Not read, because the process never had children.
    Unread,
    /// None was seen, and there was none to be seen.
    Nobody,
    /// Of nearly every process the main thread alone.
    Read(ThreadList),
}

/// A vanished process whose reaper is not found yet, or of which something may still be heard.
#[derive(Debug)]
struct Pending {
    last: Known,
    /// What of its CPU time only a record tells, by another clock than its reaper's.
    foreign_cpu: UsageDelta,
    /// Sweeps in which every candidate was readable and none had room; once it is settled, those
    /// since then.
    sweeps: u32,
    settlement: Settlement,
    outlook: Outlook,
    /// Whether what it did at last may have been counted without a record of its own, in the sum
    /// for its parent.
    may_be_spilled: bool,
    /// Whether its total may hold what no record tells and nobody has seen there.
    may_hold_unrecorded: bool,
    /// In how many records of its last deeds the bytes are rounded down.
    rounded_records: u64,
}

/// Where the counters of a process go that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// To whoever waits for it.
    Reaped,
    /// Nowhere: nobody waits. It is only remembered for what may still be heard of it.
    Dropped,
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
    /// Whether one of those was never readable.
    took_unread_io: bool,
    /// Whether what one of them had done before anybody looked is in the growth.
    took_older_io: bool,
    /// What it did itself by its threads and their records, where none is missing.
    recorded_io: Option<OwnIo>,
    /// What of that was done for certain after its total was read.
    recorded_behind_look: IoDelta,
    /// Whether the total may have grown by what was lost in an earlier interval.
    is_in_aftermath: bool,
    /// What those did that it may have waited for, and that were not taken out.
    disputed_io: IoDelta,
    /// In how many records of those taken out the bytes are rounded down.
    taken_rounded_records: u64,
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

/// What tells whether a process that the sweep before did not see is new.
#[derive(Clone, Copy, Debug)]
struct PreviousSweep {
    began_ticks: u64,
    /// How much earlier a process may have begun that it could not see yet.
    hidden_ticks: u64,
}

/// When a sweep looked at a process.
#[derive(Clone, Copy, Debug)]
struct Look {
    /// In which tick.
    ticks: u64,
    /// How many programs had been executed by then, where that is known.
    exec_count: Option<u64>,
}

/// Where a pending process's counters went.
#[derive(Clone, Copy, Debug)]
enum Reap {
    /// Into the account at this position.
    Into(usize),
    /// Perhaps into one that cannot be read now.
    Unreadable,
    /// Nobody had room for them.
    Nobody,
}

impl PreviousSweep {
    fn of(snapshot: &Snapshot) -> Self {
        let hidden_ticks = match snapshot.host.visibility {
            Visibility::Whole | Visibility::OthersUnreadable => snapshot.host.ticks_per_second,
            // There, others come into sight at any age.
            Visibility::OthersHidden => 0,
        };
        PreviousSweep { began_ticks: snapshot.taken_at_ticks, hidden_ticks }
    }

    /// Whether a process began in its tick or after that.
    fn precedes_start_of(self, key: ProcessKey) -> bool {
        key.start_time_ticks >= self.began_ticks
    }

    /// Whether one that it has not seen, and no earlier sweep either, is new.
    ///
    /// A fork may lose its CPU between the moment that counts as the start and the one in which
    /// the process can be seen and runs.
    fn may_precede(self, key: ProcessKey) -> bool {
        key.start_time_ticks.saturating_add(self.hidden_ticks) >= self.began_ticks
    }
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
        if self.aftermath.is_beginning() {
            self.records.leave_to_reapers(&self.known, snapshot);
        }
        let mut batch = self.records.take(&snapshot.exits);
        self.sweep_times.note(snapshot.taken_at);
        let previous_sweep = self.previous_sweep.replace(PreviousSweep::of(snapshot));
        let Some(previous_sweep) = previous_sweep else {
            self.begin(snapshot, &mut batch, &mut movement);
            return movement;
        };
        self.revive(snapshot);
        let newness = Newness::after(previous_sweep, &self.pending);
        // Born while the sweep went past, they have a thread that ended already.
        self.records.defer_living(&mut batch, |key| {
            let is_known = self.known.binary_search_by_key(&key, |known| known.key).is_ok();
            !is_known && snapshot.by_key(key).is_none() && newness.is_new(key, None)
        });
        let missing = self.records.missing(&self.known, snapshot, &batch);
        let recorded = self.choose_law(snapshot, &missing, &mut batch, &mut movement);
        self.join_late(snapshot, &batch, &mut movement);
        let (mut accounts, quiet) = self.open_accounts(snapshot, &batch, &newness, &mut movement);
        let held = accounts.iter().filter(|account| account.standing == Standing::Held);
        let held: HashSet<ProcessKey> = held.map(|account| account.current.key).collect();
        self.records.defer(&mut batch, |key| held.contains(&key));
        self.enter_unseen(snapshot, &batch, &newness, &mut movement);
        let tick_ns = 1_000_000_000 / snapshot.host.ticks_per_second.max(1);
        self.settle_pending(&mut accounts, snapshot, tick_ns, &mut movement);
        self.quiet_before = quiet.len();
        movement.put_before(quiet);
        let spilled = spilled_io(&snapshot.exits, &movement);
        for account in &mut accounts {
            account.emit(&self.sweep_times, spilled, &mut movement);
        }
        movement.inferred.sort_unstable();
        movement.inferred.dedup();
        self.note_inherited(&movement);
        if movement.spilled_records > 0 {
            give_spills(&snapshot.exits, &missing, &mut movement);
        }
        give_cpu_tails(&snapshot.exits, &mut movement);
        movement.processes.sort_by_key(|delta| delta.key);
        movement.successions.sort_unstable_by_key(|next| next.key);
        movement.late.sort_by_key(|(key, _)| *key);
        self.close_accounts(accounts);
        self.known_slack.give_back(&mut self.known);
        self.records.remember(recorded, &held);
        movement.unread = unread(&self.known, |key| movement.is_inferred(key));
        movement
    }

    /// The first sweep. Records of those that it saw, or that began after it did, are left for
    /// the next one; the others did all they did before anybody looked.
    fn begin(&mut self, snapshot: &Snapshot, batch: &mut Batch, movement: &mut Movement) {
        slack::make_room(&mut self.known, snapshot.processes.len());
        self.known.extend(snapshot.processes.iter().map(|p| Known::of(p, snapshot)));
        movement.is_baseline = true;
        movement.ends = ends_of(snapshot.exits.source);
        movement.unread = unread(&self.known, |_| false);
        self.records.defer_unread(batch, snapshot, |_| true);
        self.records.defer(batch, |key| key.start_time_ticks >= snapshot.taken_at_ticks);
        movement.settled.extend(batch.processes().iter().map(|ended| ended.key));
    }

    /// Takes those back that were recorded before any sweep saw them, and that are seen now
    /// as zombies, or on their way there. The others will not be seen any more.
    fn revive(&mut self, snapshot: &Snapshot) {
        let is_seen = |pending: &mut Pending| {
            let seen = snapshot.by_key(pending.last.key);
            pending.last.has_ended
                && seen.is_some_and(|p| !pending.last.is_another(p.lineage.started_at()))
        };
        let mut revived: Vec<Known> =
            self.pending.extract_if(.., is_seen).map(|pending| pending.last).collect();
        self.pending.iter_mut().for_each(|pending| pending.is_not_seen_in(snapshot));
        slack::merge(&mut self.known, &mut revived, |known| known.key);
    }

    /// Finds out whether this interval's records are whole. Where they are not, those of
    /// processes that the sweep saw belong to the next interval: what was read of them may be
    /// older. Returns the threads that are counted to their ends though the sweep saw them living.
    fn choose_law(
        &mut self,
        snapshot: &Snapshot,
        missing: &Missing,
        batch: &mut Batch,
        movement: &mut Movement,
    ) -> HashMap<ThreadKey, ProcessKey> {
        let exits = &snapshot.exits;
        let spilled: u64 = exits.spills.iter().map(|spill| spill.threads).sum();
        let unexplained = missing.threads().saturating_sub(spilled);
        movement.missing_records = match batch.covers_interval {
            true => unexplained.max(exits.lost_records),
            false => exits.lost_records,
        };
        let is_whose_known = exits.lost_records == 0 && spilled == 0;
        self.aftermath.age();
        if !batch.covers_interval || (movement.missing_records > 0 && !is_whose_known) {
            self.aftermath.begin();
            let Ledger { records, known, .. } = self;
            let covers_interval = batch.covers_interval;
            let is_polled = |key| !(covers_interval && is_told_by_threads(known, snapshot, key));
            records.defer_unread(batch, snapshot, is_polled);
            return records.recorded_in(batch, known, snapshot);
        }
        movement.ends = ends_of(exits.source);
        movement.spilled_records = spilled;
        movement.inferred = self.concerned(missing, snapshot, batch, movement.missing_records);
        if !movement.inferred.is_empty() {
            let Ledger { records, known, .. } = self;
            let is_concerned = |key| {
                movement.inferred.binary_search(&key).is_ok()
                    && !is_told_by_threads(known, snapshot, key)
            };
            records.defer_unread(batch, snapshot, is_concerned);
        }
        self.records.recorded_in(batch, &self.known, snapshot)
    }

    /// Whom missing records concern: whose threads they are, and who may have waited for those
    /// that are gone, which are all in whom [`find_reaper`] may look for them. Ascending.
    ///
    /// Of those that are gone since this sweep that is everybody in question, since a reaper that
    /// was read before it waited shows nothing. Of those that are gone for longer it shows: only
    /// who has waited for somebody since, and for one who had done as much, is concerned.
    fn concerned(
        &self,
        missing: &Missing,
        snapshot: &Snapshot,
        batch: &Batch,
        missing_records: u64,
    ) -> Vec<ProcessKey> {
        let missing = if missing_records > 0 { missing.processes() } else { &[] };
        let open: Vec<&Pending> =
            self.pending.iter().filter(|pending| pending.has_tail_nowhere(batch)).collect();
        if missing.is_empty() && open.is_empty() {
            return Vec::new();
        }
        let ancestors = Ancestors::of(self, snapshot, batch);
        let mut concerned = Vec::new();
        for lost in missing {
            concerned.push(lost.key);
            if lost.is_gone {
                concerned.extend(ancestors.candidates(lost.parent));
            }
        }
        let tick_ns = 1_000_000_000 / snapshot.host.ticks_per_second.max(1);
        for pending in open {
            let reapers = ancestors.candidates(pending.last.parent.get()).filter(|key| {
                let seen = snapshot.by_key(*key);
                seen.is_some_and(|seen| self.may_have_waited(seen, &pending.last, tick_ns))
            });
            concerned.extend(reapers);
        }
        concerned.sort_unstable();
        concerned.dedup();
        concerned
    }

    /// Whether all that a child was last seen to have done fits into what this process has
    /// inherited since it was last read.
    fn may_have_waited(&self, seen: &ProcessSample, child: &Known, tick_ns: u64) -> bool {
        let known = self.known.binary_search_by_key(&seen.key, |known| known.key);
        let known = known.ok().and_then(|position| self.known.get(position));
        let then = known.map_or(UsageTotals::ZERO, |known| known.usage.reaped());
        let inherited = seen.usage.reaped().since_clamped(then);
        let slack = UsageDelta::from_cpu_ns(tick_ns);
        if inherited[UsageCounter::MinorFaults] == 0
            || !inherited.plus(slack).covers_in_all(child.usage_total())
        {
            return false;
        }
        let then = known.map_or(Some(IoTotals::ZERO), |known| Some(known.io.as_ref()?.total()));
        match (seen.io.total().value(), then, &child.io) {
            (Some(now), Some(then), Some(child)) => {
                now.since_clamped(then).covers(child.total().as_delta())
            }
            _ => true,
        }
    }

    /// Joins the processes of both sweeps, ascending by key, and makes those that vanished
    /// pending. Accounts are only opened where something must be balanced; what all others did
    /// is returned beside them, and they are remembered as they are now.
    fn open_accounts(
        &mut self,
        snapshot: &Snapshot,
        batch: &Batch,
        newness: &Newness,
        movement: &mut Movement,
    ) -> (Vec<Account>, Vec<ProcessDelta>) {
        // Room that grows while it is filled is taken twice.
        let room = self.quiet_before + self.quiet_before / 16;
        let (mut accounts, mut quiet) = (Vec::new(), Vec::with_capacity(room));
        let mut known = std::mem::take(&mut self.known);
        let mut position = 0;
        for process in &snapshot.processes {
            while let Some(gone) = known.get_mut(position).filter(|k| k.key < process.key) {
                self.leave(gone.take_out(), snapshot, batch, &mut accounts, movement);
                position += 1;
            }
            let previous = known.get_mut(position).filter(|known| known.key == process.key);
            if let Some(previous) = previous {
                position += 1;
                let law = self.quiet_law(previous, movement.ends);
                let step = previous.quiet_step(process, &self.records, batch, law);
                if let Some(step) = step {
                    movement.fallen += u64::from(step.has_fallen);
                    quiet.extend(previous.follow(process, snapshot, step));
                    continue;
                }
                let previous = previous.take_out();
                let account =
                    self.meet(previous, process, snapshot, batch, &mut accounts, movement);
                accounts.push(account);
                continue;
            }
            let current = Known::of(process, snapshot);
            if newness.succeeds(process.key, process.lineage.started_at()) {
                movement.succeed(Succession { key: process.key, ends_now: false });
            }
            let mut account = match newness.is_new(process.key, process.lineage.started_at()) {
                true => Account::born(current),
                false => Account::baseline(current),
            };
            account.is_in_aftermath = self.aftermath.concerns(&account.previous);
            account.take_records(&self.records, batch, Look::at(process, snapshot), movement);
            accounts.push(account);
        }
        for gone in known.iter_mut().skip(position) {
            self.leave(gone.take_out(), snapshot, batch, &mut accounts, movement);
        }
        self.known = known;
        accounts.sort_by_key(|account| account.current.key);
        (accounts, quiet)
    }

    fn quiet_law(&self, previous: &Known, ends: Ends) -> QuietLaw {
        match ends {
            Ends::Inferred => QuietLaw::Total,
            _ if self.aftermath.concerns(previous) => QuietLaw::Either,
            Ends::Rounded | Ends::Exact => QuietLaw::Threads,
        }
    }

    /// Opens the account of a key that both sweeps saw, be it the same process or another.
    fn meet(
        &mut self,
        previous: Known,
        process: &ProcessSample,
        snapshot: &Snapshot,
        batch: &Batch,
        accounts: &mut Vec<Account>,
        movement: &mut Movement,
    ) -> Account {
        let current = Known::of(process, snapshot);
        let mut account = if current.continues(&previous) {
            movement.fallen += u64::from(current.has_fallen(&previous));
            Account::continued(current, previous, movement.ends)
        } else {
            movement.replaced += 1;
            movement.fallen += 1;
            let ends_now = !previous.was_told_ended;
            if batch.is_of_another(process.key, process.lineage.started_at()) {
                self.leave(previous, snapshot, batch, accounts, movement);
            } else {
                self.make_pending(previous, UsageDelta::ZERO, 0, movement);
            }
            movement.succeed(Succession { key: process.key, ends_now });
            Account::born(current)
        };
        account.is_in_aftermath = self.aftermath.concerns(&account.previous);
        account.take_records(&self.records, batch, Look::at(process, snapshot), movement);
        account
    }

    /// Remembers those with an account as they are now, each in its place.
    fn close_accounts(&mut self, accounts: Vec<Account>) {
        let mut added = Vec::new();
        for account in accounts {
            let current = account.close();
            let slot = self.known.binary_search_by_key(&current.key, |known| known.key);
            match slot.ok().and_then(|position| self.known.get_mut(position)) {
                Some(slot) => *slot = current,
                None => added.push(current),
            }
        }
        self.known.retain(|known| !known.is_taken_out);
        slack::merge(&mut self.known, &mut added, |known| known.key);
    }

    /// A process that was not seen again: still there where its PID could not be read, else
    /// pending, with what its record says as the last sight of it.
    fn leave(
        &mut self,
        mut known: Known,
        snapshot: &Snapshot,
        batch: &Batch,
        accounts: &mut Vec<Account>,
        movement: &mut Movement,
    ) {
        if snapshot.unreadable_pids.binary_search(&known.key.pid).is_ok() {
            accounts.push(Account::held(known));
            return;
        }
        known.reach_ahead();
        let (mut foreign_cpu, mut rounded_records) = (UsageDelta::ZERO, 0);
        let ended = batch.ended(known.key);
        if ended.is_some() || !movement.is_inferred(known.key) {
            let delta = batch.last_deeds(&self.records, &known).delta(known.key);
            let unread = known.unread_sweeps;
            movement.note_late(&delta, self.sweep_times.late(unread, delta.io, delta.usage));
            movement.processes.push(delta);
            rounded_records = delta.rounded_records;
            if let Some(ended) = ended {
                foreign_cpu = known.end_with(ended, &delta, movement.ends);
            }
        }
        self.make_pending(known, foreign_cpu, rounded_records, movement);
    }

    /// Counts those that no sweep ever saw.
    fn enter_unseen(
        &mut self,
        snapshot: &Snapshot,
        batch: &Batch,
        newness: &Newness,
        movement: &mut Movement,
    ) {
        let mut handled: Vec<ProcessKey> = movement.processes.iter().map(|d| d.key).collect();
        handled.sort_unstable();
        let (walk, handled_walk) = (Walk::default(), Walk::default());
        let seen = |key: ProcessKey| {
            let position = walk.find(&snapshot.processes, key, |process| process.key)?;
            snapshot.processes.get(position)
        };
        let is_handled = |key| handled_walk.find(&handled, key, |handled| *handled).is_some();
        let expected = batch.processes().len();
        movement.ended.reserve(expected);
        movement.settled.reserve(expected);
        movement.processes.reserve(expected);
        for ended in batch.processes() {
            let seen =
                seen(ended.key).filter(|p| !batch.is_of_another(p.key, p.lineage.started_at()));
            if seen.is_some() || is_handled(ended.key) {
                continue;
            }
            if newness.succeeds(ended.key, ended.started_at) {
                movement.succeed(Succession { key: ended.key, ends_now: false });
            }
            if !newness.is_new(ended.key, ended.started_at) {
                // It was out of sight: nobody can say what of it is new.
                movement.ended.push(ended.key);
                movement.lost.push(ended.key);
                movement.settled.push(ended.key);
                continue;
            }
            let own = batch.own_of_unseen(ended.key);
            movement.processes.push(ProcessDelta {
                io: Some(own.io),
                usage: ended.own_usage.as_delta(),
                rounded_records: own.rounded_records,
                ..ProcessDelta::nothing(ended.key)
            });
            movement.ended.push(ended.key);
            let outlook = Outlook::of_unseen(ended, snapshot);
            let may_hold_unrecorded = self.aftermath.is_under_way();
            let unseen = Pending::unseen(ended, own, movement.ends, outlook);
            self.pending.push(Pending { may_hold_unrecorded, ..unseen });
        }
        if movement.ends == Ends::Inferred {
            return;
        }
        // Their processes have ended too, but there was no room for the record that says so; where
        // others are hidden, one that is older may live.
        let others_are_hidden = snapshot.host.visibility == Visibility::OthersHidden;
        let inferred = &movement.inferred;
        let is_strange = |key: ProcessKey| {
            let is_told = batch.ended(key).is_some() || seen(key).is_some() || is_handled(key);
            let is_old = || others_are_hidden && newness.was_out_of_sight(key);
            !is_told && inferred.binary_search(&key).is_err() && !is_old()
        };
        movement.processes.extend(batch.of_others(is_strange));
    }

    fn make_pending(
        &mut self,
        last: Known,
        foreign_cpu: UsageDelta,
        rounded_records: u64,
        movement: &mut Movement,
    ) {
        if !last.was_told_ended {
            movement.ended.push(last.key);
        }
        let outlook = Outlook::of_gone(&last, &self.records);
        let settlement = Settlement::Open;
        let may_be_spilled = movement.spilled_records > 0;
        let may_hold_unrecorded = self.aftermath.is_under_way();
        self.pending.push(Pending {
            last,
            foreign_cpu,
            sweeps: 0,
            settlement,
            outlook,
            may_be_spilled,
            may_hold_unrecorded,
            rounded_records,
        });
    }

    /// Looks for the reaper of every pending process, the longest pending first, parents
    /// before children; gives up those for whom there is none. Those whose I/O was never
    /// read come last, since they fit almost anywhere and would take others' places.
    fn settle_pending(
        &mut self,
        accounts: &mut [Account],
        snapshot: &Snapshot,
        tick_ns: u64,
        movement: &mut Movement,
    ) {
        self.pending.sort_by_key(|pending| {
            let last = &pending.last;
            let age = std::cmp::Reverse(pending.sweeps);
            (!pending.is_settled(), last.io.is_none(), age, last.key.start_time_ticks, last.key)
        });
        self.pending_slack.give_back(&mut self.pending);
        let parents = Parents::of(&self.pending);
        let mut surplus = self.pending.len().saturating_sub(PENDING_MAX);
        let (known, this_sweep) = (&self.known, PreviousSweep::of(snapshot));
        self.pending.retain_mut(|pending| {
            let is_surplus = surplus > 0;
            surplus = surplus.saturating_sub(1);
            if pending.is_settled() {
                pending.sweeps += 1;
            } else {
                let reap = match pending.last.fate {
                    Fate::Reaped => find_reaper(pending, accounts, known, &parents, tick_ns),
                    Fate::Dropped => Reap::Nobody,
                };
                pending.settle(reap, accounts, tick_ns, movement);
                if !pending.is_settled() && is_surplus {
                    pending.give_up(movement);
                }
            }
            let is_over = is_surplus || pending.is_over(this_sweep);
            if is_over {
                movement.settled.push(pending.last.key);
            }
            !is_over
        });
        self.adopt_orphans(&parents, &movement.settled);
    }

    /// Lets the pending children of a settled process look to its parent from now on.
    fn adopt_orphans(&mut self, parents: &Parents, settled: &[ProcessKey]) {
        if self.pending.is_empty() || settled.is_empty() {
            return;
        }
        let mut settled = settled.to_vec();
        settled.sort_unstable();
        let is_settled = |parent: &ProcessKey| settled.binary_search(parent).is_ok();
        for pending in &mut self.pending {
            let mut steps = 0;
            while let Some(parent) = pending.last.parent.get().filter(is_settled)
                && steps <= parents.len()
            {
                pending.last.parent = parents.of_pending(parent).flatten().into();
                steps += 1;
            }
        }
    }
}

/// Who may have waited for a process that is gone.
struct Ancestors<'a> {
    snapshot: &'a Snapshot,
    /// Whose children those were of whom this sweep may have seen nothing.
    parents: HashMap<ProcessKey, Option<ProcessKey>>,
    init: Option<ProcessKey>,
}

impl<'a> Ancestors<'a> {
    fn of(ledger: &Ledger, snapshot: &'a Snapshot, batch: &Batch) -> Self {
        let parents = (ledger.pending.iter())
            .map(|pending| (pending.last.key, pending.last.parent.get()))
            .chain(batch.processes().iter().map(|ended| (ended.key, ended.parent)))
            .chain(ledger.known.iter().map(|known| (known.key, known.parent.get())))
            .collect();
        let init = snapshot.by_pid(INIT).map(|init| init.key);
        Ancestors { snapshot, parents, init }
    }

    /// Its last parent and, where that is gone or a zombie, each ancestor in turn.
    fn candidates(&self, parent: Option<ProcessKey>) -> impl Iterator<Item = ProcessKey> {
        let mut is_orphaned = false;
        let next = move |key: &ProcessKey| match self.snapshot.by_key(*key) {
            Some(seen) => {
                is_orphaned |= seen.state == ProcessState::Zombie;
                let parent = self.snapshot.by_pid(seen.parent_pid).map(|parent| parent.key);
                parent.filter(|_| is_orphaned)
            }
            None => {
                is_orphaned = true;
                let init = self.init.filter(|init| init != key);
                self.parents.get(key).copied().unwrap_or(init)
            }
        };
        // A frozen tree may hold a circle of parents.
        let most = self.parents.len() + self.snapshot.processes.len() + 1;
        std::iter::successors(parent, next).take(most)
    }
}

/// Whose children the pending are.
struct Parents {
    /// Ascending.
    of: Vec<(ProcessKey, Option<ProcessKey>)>,
}

impl Parents {
    fn of(pending: &[Pending]) -> Self {
        let mut of: Vec<_> = pending.iter().map(|p| (p.last.key, p.last.parent.get())).collect();
        of.sort_by_key(|(key, _)| *key);
        Parents { of }
    }

    fn len(&self) -> usize {
        self.of.len()
    }

    /// The parent of one of them; `None` for any other process.
    fn of_pending(&self, key: ProcessKey) -> Option<Option<ProcessKey>> {
        let position = self.of.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        self.of.get(position).map(|(_, parent)| *parent)
    }
}

impl Look {
    fn at(process: &ProcessSample, snapshot: &Snapshot) -> Self {
        let tick_ns = 1_000_000_000 / snapshot.host.ticks_per_second.max(1);
        Look { ticks: process.read_at.ns / tick_ns, exec_count: process.lineage.exec_count() }
    }
}

/// Whether a process that the sweep saw is counted by its threads and their records although some
/// may be missing, since nobody knows how its T has grown.
fn is_told_by_threads(known: &[Known], snapshot: &Snapshot, key: ProcessKey) -> bool {
    let Some(seen) = snapshot.by_key(key) else { return false };
    let is_rounded = seen.io.rounded_threads().is_some();
    let position = known.binary_search_by_key(&key, |known| known.key);
    match position.ok().and_then(|position| known.get(position)) {
        Some(known) => known.has_threads() && (is_rounded || known.unusual.rounded.is_some()),
        None => is_rounded,
    }
}

/// Of whose I/O something is missing now, or will be: see [`Movement::unread`].
fn unread(known: &[Known], is_inferred: impl Fn(ProcessKey) -> bool) -> Vec<ProcessKey> {
    let misses = |known: &&Known| match known.unusual.rounded {
        Some(_) => is_inferred(known.key),
        None => known.io.is_none(),
    };
    known.iter().filter(misses).map(|known| known.key).collect()
}

/// What a process did between its last sight and its end is missing, unless that
/// sight was already final.
fn note_lost(last: &Known, movement: &mut Movement) {
    if !last.is_zombie && !last.has_ended {
        movement.lost.push(last.key);
    }
}

fn ends_of(source: ExitSource) -> Ends {
    match source {
        ExitSource::Nobody => Ends::Inferred,
        ExitSource::Rounded => Ends::Rounded,
        ExitSource::Exact => Ends::Exact,
    }
}

/// What threads did for whose records there was no room comes with their parents, less what
/// was counted of them before. A thread's parent in the end need not be the one that it was
/// last seen with: what does not fit there is taken out wherever there is room.
fn give_spills(exits: &Exits, missing: &Missing, movement: &mut Movement) {
    let mut residuals: Vec<Residual> = exits.spills.iter().map(residual_of).collect();
    for lost in missing.processes() {
        residuals.sort_by_key(|residual| Some(residual.reaper) != lost.parent);
        let mut left = lost.counted;
        for residual in &mut residuals {
            let part = residual.io.map_or(IoDelta::ZERO, |io| io.min(left));
            residual.io = residual.io.map(|io| io.less(part));
            left = left.less(part);
        }
        if let Some(nearest) = residuals.first_mut().filter(|_| lost.is_gone) {
            nearest.taken_out.push(TakenOut { key: lost.key, was_zombie: false });
        }
    }
    movement.residuals.extend(residuals);
}

/// The I/O of all those for whose records there was no room, where that counts.
fn spilled_io(exits: &Exits, movement: &Movement) -> IoDelta {
    let spills = if movement.spilled_records > 0 { &*exits.spills } else { &[] };
    spills.iter().fold(IoDelta::ZERO, |sum, spill| sum.plus(spill.io.as_delta()))
}

fn residual_of(spill: &Spill) -> Residual {
    Residual {
        reaper: spill.parent,
        taken_out: Vec::new(),
        io: Some(spill.io.as_delta()),
        usage: UsageDelta::ZERO,
        late: Late::default(),
        io_is_unattributed: false,
    }
}

/// CPU time after the record is in nobody's counters where nobody waits.
fn give_cpu_tails(exits: &Exits, movement: &mut Movement) {
    movement.processes.extend(exits.cpu_tails.iter().map(|tail| {
        let mut usage = UsageDelta::ZERO;
        usage.0[UsageCounter::CpuSystemNs as usize] = tail.cpu_ns;
        ProcessDelta { usage, ..ProcessDelta::nothing(tail.key) }
    }));
}

/// The candidates are its last parent and, where that is gone or a zombie, each ancestor
/// in turn: any of them may be a subreaper, and the last is the init of its namespace.
/// `quiet` are those without an account, who waited for nobody.
fn find_reaper(
    pending: &Pending,
    accounts: &mut [Account],
    quiet: &[Known],
    parents: &Parents,
    tick_ns: u64,
) -> Reap {
    let mut candidate = pending.last.parent.get();
    let mut is_orphaned = false;
    // A frozen tree may hold a circle of parents.
    for _ in 0..=accounts.len() + quiet.len() + parents.len() {
        let Some(key) = candidate else { return Reap::Nobody };
        let seen = match accounts.binary_search_by_key(&key, |account| account.current.key) {
            Ok(position) => {
                let account = &mut accounts[position];
                if account.standing == Standing::Held {
                    return Reap::Unreadable;
                }
                if account.has_room_for(pending, tick_ns) {
                    return Reap::Into(position);
                }
                account.dispute(&pending.last);
                Some(&account.current)
            }
            Err(_) => find_quiet(quiet, key),
        };
        let Some(seen) = seen else {
            is_orphaned = true;
            candidate = match parents.of_pending(key) {
                Some(parent) => parent,
                // It was never seen, and no record of it came: its children are init's now.
                None => find_init(accounts, quiet),
            };
            continue;
        };
        is_orphaned |= seen.is_zombie;
        if !is_orphaned {
            return Reap::Nobody;
        }
        candidate = seen.parent.get();
    }
    Reap::Nobody
}

fn find_quiet(quiet: &[Known], key: ProcessKey) -> Option<&Known> {
    let position = quiet.binary_search_by_key(&key, |known| known.key).ok()?;
    quiet.get(position).filter(|known| !known.is_taken_out)
}

fn find_init(accounts: &[Account], quiet: &[Known]) -> Option<ProcessKey> {
    let with_account = accounts.first().map(|account| account.current.key);
    let without = quiet.iter().find(|known| !known.is_taken_out).map(|known| known.key);
    [with_account, without].into_iter().flatten().find(|key| key.pid == INIT)
}

impl Known {
    fn of(process: &ProcessSample, snapshot: &Snapshot) -> Self {
        let is_rounded = process.io.rounded_threads().is_some();
        let rounded = process.io.threads.value().filter(|_| is_rounded).cloned();
        Known {
            key: process.key,
            parent: snapshot.by_pid(process.parent_pid).map(|parent| parent.key).into(),
            is_zombie: process.state == ProcessState::Zombie,
            usage: process.usage.clone(),
            io: process.io.total().value().map(|total| KnownIo {
                total: (*total).into(),
                threads: KnownThreads::of(process.io.threads.value()),
            }),
            is_unread_from_birth: false,
            held_sweeps: 0,
            unread_sweeps: UnreadSweeps::default(),
            is_taken_out: false,
            has_ended: false,
            was_told_ended: false,
            fate: Fate::Reaped,
            started_at: process.lineage.started_at().into(),
            unusual: Unusual::rounded(rounded),
        }
    }

    /// What it did since it was remembered, where it reaped nobody and its threads are the same:
    /// then there is nothing to balance. `None` where there may be.
    fn quiet_step(
        &self,
        process: &ProcessSample,
        records: &Records,
        batch: &Batch,
        law: QuietLaw,
    ) -> Option<QuietStep> {
        let faults = |usage: UsageTotals| usage.without_cpu();
        let is_strange = self.held_sweeps > 0
            || self.unread_sweeps != UnreadSweeps::default()
            || self.has_ended
            || self.unusual.ahead.is_some()
            || self.is_another(process.lineage.started_at())
            || self.usage.reaped() != process.usage.reaped()
            || faults(process.usage.own).since(faults(self.usage.own)).is_none()
            || batch.concerns(self.key)
            || records.has_recorded_main_thread_of(self.key);
        if is_strange {
            return None;
        }
        let io = match (&self.io, process.io.total().value()) {
            (None, None) => match (&self.unusual.rounded, process.io.rounded_threads()) {
                (None, None) => None,
                (Some(_), Some(now)) => Some(quiet_growth_of_threads(&self.threads(), now)?),
                _ => return None,
            },
            (Some(then), Some(now)) => {
                let threads = process.io.threads.value();
                Some(then.quiet_growth(self.key, *now, threads, law)?)
            }
            _ => return None,
        };
        let (now, then) = (process.usage.own, self.usage.own);
        let has_fallen = now.since(then).is_none();
        Some(QuietStep { io, usage: then.advanced_to(now).since_clamped(then), has_fallen })
    }

    /// Becomes what was read of it. Returns what to say of that.
    fn follow(
        &mut self,
        process: &ProcessSample,
        snapshot: &Snapshot,
        step: QuietStep,
    ) -> Option<ProcessDelta> {
        let QuietStep { io, usage, .. } = step;
        let mut is_unchanged = usage.is_zero() && io.is_some_and(IoDelta::is_zero);
        if self.parent.get().map(|parent| parent.pid) != Some(process.parent_pid) {
            let parent = snapshot.by_pid(process.parent_pid).map(|parent| parent.key).into();
            is_unchanged &= self.parent == parent;
            self.parent = parent;
        }
        self.is_zombie = process.state == ProcessState::Zombie;
        self.usage.own = self.usage.own.advanced_to(process.usage.own);
        if let (Some(known), Some(total)) = (&mut self.io, process.io.total().value()) {
            known.follow(*total, process.io.threads.value());
        }
        if self.unusual.rounded.is_some()
            && let Some(now) = process.io.rounded_threads()
            && *self.threads() != *now
        {
            self.unusual.rounded = Some(raised(now, &self.threads()));
        }
        let rounded_threads = self.rounded_threads();
        let nothing = ProcessDelta::nothing(self.key);
        (!is_unchanged).then_some(ProcessDelta { io, usage, rounded_threads, ..nothing })
    }

    /// Hands itself out, and leaves its place behind.
    fn take_out(&mut self) -> Known {
        let (io, unusual) = (self.io.take(), self.unusual.take());
        let taken = Known { io, unusual, usage: self.usage.clone(), ..*self };
        self.is_taken_out = true;
        taken
    }

    /// Takes a record for the last sight: no sweep has a better one. `total` is what its I/O
    /// came to. CPU time of a rounded record is on another clock than that of a sweep, and is
    /// left to whoever waits. What it inherited since the last sweep is left out: the
    /// children that it came from look for their own way, past this one.
    fn learn_end(&mut self, ended: &Ended, total: Option<IoTotals>, ends: Ends) {
        self.has_ended = true;
        self.fate = ended.fate();
        self.parent = self.parent.get().or(ended.parent).into();
        self.usage.own = self.usage.own.advanced_to(match ends {
            Ends::Exact => ended.own_usage,
            Ends::Rounded | Ends::Inferred => ended.own_usage.without_cpu(),
        });
        if let Some(total) = total {
            self.raise_io_to(total);
        }
    }

    /// Takes over what records of its threads tell of T beyond its last sight.
    fn raise_io_to(&mut self, total: IoTotals) {
        if let Some(io) = &mut self.io {
            // What is counted beyond a sweep is no sight of any thread.
            io.threads = io.threads.as_listed(self.key, io.total());
            io.total.replace(io.total().raised_to(total));
        }
    }

    /// Takes a record for the last sight, of one that is gone and did this since it was seen.
    /// Returns what of its CPU time is by another clock than its reaper's.
    fn end_with(&mut self, ended: &Ended, delta: &ProcessDelta, ends: Ends) -> UsageDelta {
        let counted = self.counted_by_threads().plus(delta.io.unwrap_or_default());
        self.note_counted(counted);
        self.learn_end(ended, self.total_after(delta), ends);
        self.learn_last_cpu(ended, ends)
    }

    /// T after this has been done, where it was ever read.
    fn total_after(&self, delta: &ProcessDelta) -> Option<IoTotals> {
        self.io.as_ref().map(|io| io.total().plus(delta.io.unwrap_or_default()))
    }

    /// Takes the CPU time of its record for counted, since no sweep will tell it any more.
    /// Returns what of it is by another clock than its reaper's.
    fn learn_last_cpu(&mut self, ended: &Ended, ends: Ends) -> UsageDelta {
        let last = self.usage.own.advanced_to(ended.own_usage);
        let beyond = last.since_clamped(self.usage.own);
        self.usage.own = last;
        if ends == Ends::Exact { UsageDelta::ZERO } else { beyond }
    }

    /// Takes over what of T is less than it was.
    fn raise_total_to(&mut self, previous: &Known) {
        if let (Some(now), Some(then)) = (&mut self.io, &previous.io) {
            now.threads = now.threads.as_listed(self.key, now.total());
            now.total.replace(now.total().raised_to(then.total()));
        }
    }

    /// What was taken out of it and not yet shown as inherited.
    fn overdrawn(&self) -> UsageDelta {
        self.unusual.overdrawn.as_deref().copied().unwrap_or_default()
    }

    /// What was counted of it and is not in T yet.
    fn ahead(&self) -> IoDelta {
        self.unusual.ahead.as_deref().copied().unwrap_or_default()
    }

    /// Takes that into T, of one that no later sweep will see.
    fn reach_ahead(&mut self) {
        let ahead = self.ahead();
        if let Some(io) = &mut self.io
            && !ahead.is_zero()
        {
            io.threads = io.threads.as_listed(self.key, io.total());
            io.total.replace(io.total().plus(ahead));
            self.unusual.get_ahead(IoDelta::ZERO);
        }
    }

    /// The threads that were read, none where they were not.
    fn threads(&self) -> ThreadView<'_> {
        if let Some(rounded) = &self.unusual.rounded {
            return rounded.of(self.key, IoTotals::ZERO);
        }
        let list = self.io.as_ref().and_then(|io| io.threads.list(self.key, io.total()));
        list.unwrap_or_default()
    }

    /// Whether the same threads are there, and live or have exited as before; `None` where they
    /// were not read. Of nearly every process that is asked of its main thread alone.
    fn has_same_threads(&self, process: &ProcessSample) -> Option<bool> {
        let now = process.io.threads.value()?;
        let then = match self.io.as_ref().map(|io| &io.threads) {
            Some(KnownThreads::Read(then)) => lone_main_threads(then, now),
            _ => None,
        };
        match then {
            Some([then, now]) => Some(then == now),
            None => Some(has_all_of(process.threads().value()?, &self.threads())),
        }
    }

    /// What is recorded of one that was never readable, where all of that counts.
    fn recorded_alone(&self, batch: &Batch) -> Option<OwnIo> {
        self.is_unread_from_birth.then(|| batch.own_of_unseen(self.key))
    }

    /// Whether the threads were read.
    fn has_threads(&self) -> bool {
        let is_listed = |io: &KnownIo| !matches!(io.threads, KnownThreads::Unread);
        self.unusual.rounded.is_some() || self.io.as_ref().is_some_and(is_listed)
    }

    /// Whether anything is known of its I/O.
    fn is_readable(&self) -> bool {
        self.io.is_some() || self.unusual.rounded.is_some()
    }

    /// How many threads it has, where T is out of sight.
    fn rounded_threads(&self) -> u64 {
        let threads = self.unusual.rounded.as_ref().and_then(ThreadList::written_out);
        threads.map_or(0, |threads| threads.len() as u64)
    }

    /// What was counted of it, as far as that is remembered.
    fn counted_by_threads(&self) -> IoDelta {
        let threads = self.threads();
        threads.iter().fold(self.ahead(), |sum, thread| sum.plus(thread.total.as_delta()))
    }

    /// Remembers that so much was counted, where T is out of sight: this much is to be found with
    /// whoever waits for it.
    fn note_counted(&mut self, counted: IoDelta) {
        if self.unusual.rounded.is_some() {
            self.unusual.get_ahead(IoDelta::ZERO);
            let ahead = counted.less(self.counted_by_threads());
            self.unusual.get_ahead(ahead);
        }
    }

    /// Lets no thread whose bytes are rounded by now have done less than it had.
    fn raise_rounded_to(&mut self, previous: &Known) {
        let now = self.unusual.rounded.as_ref().and_then(ThreadList::written_out);
        if let Some(raised) = now.map(|now| raised(now, &previous.threads())) {
            self.unusual.rounded = Some(raised);
        }
    }

    /// Whether this can be a later reading of the same process: it started at the same moment,
    /// and its faults did not fall. CPU time is left out, since the kernel scales it anew at
    /// each reading.
    fn continues(&self, previous: &Known) -> bool {
        if previous.is_another(self.started_at.get()) {
            return false;
        }
        let faults = |usage: &Usage| {
            [usage.own, usage.reaped()]
                .map(|u| (u[UsageCounter::MinorFaults], u[UsageCounter::MajorFaults]))
        };
        let (now, then) = (faults(&self.usage), faults(&previous.usage));
        now.iter().zip(then).all(|(n, t)| n.0 >= t.0 && n.1 >= t.1)
    }

    /// Whether one with the same key, that started at this moment, is another.
    fn is_another(&self, started_at: Option<BootTime>) -> bool {
        late::is_another(self.started_at.get(), started_at)
    }

    /// Whether the I/O of this reading can follow the one before. Of a process that is
    /// just being released the kernel shows less than it did a moment ago.
    fn io_follows(&self, previous: &Known) -> bool {
        let was_lost = self.io.is_none()
            && (previous.io.is_some()
                || previous.unusual.rounded.is_some() && self.unusual.rounded.is_none());
        !was_lost && !self.io_fell(previous)
    }

    /// Whether any counter of the same process went back.
    fn has_fallen(&self, previous: &Known) -> bool {
        let (now, then) = (&self.usage, &previous.usage);
        let cpu_fell =
            now.own.since(then.own).is_none() || now.reaped().since(then.reaped()).is_none();
        cpu_fell || self.io_fell(previous)
    }

    fn io_fell(&self, previous: &Known) -> bool {
        match (&self.io, &previous.io) {
            (Some(now), Some(then)) => now.total().since(then.total()).is_none(),
            _ => false,
        }
    }

    /// Everything it did and inherited: what a reaper's counters of children grow by.
    fn usage_total(&self) -> UsageDelta {
        self.usage.own.as_delta().plus(self.usage.reaped().as_delta())
    }
}

impl SweepTimes {
    fn note(&mut self, taken_at: BootTime) {
        self.0.push_back(taken_at);
        if self.0.len() > SWEEP_TIMES_MAX {
            self.0.pop_front();
        }
    }

    /// What of all that was done before the sweep before this one, where what did it was not read
    /// in so many sweeps.
    fn late(&self, unread: UnreadSweeps, io: Option<IoDelta>, usage: UsageDelta) -> Late {
        if unread == UnreadSweeps::default() {
            return Late::default();
        }
        Late {
            io: io.map_or(IoDelta::ZERO, |io| self.earlier_part(unread.io, io)),
            usage: self.earlier_part(unread.usage, usage),
        }
    }

    fn earlier_part<const N: usize>(&self, unread_sweeps: u8, done: Delta<N>) -> Delta<N> {
        let mut latest_first = self.0.iter().rev();
        let (Some(now), Some(before)) = (latest_first.next(), latest_first.next()) else {
            return Delta::ZERO;
        };
        let mut unread = latest_first.take(usize::from(unread_sweeps));
        let last_read = unread.next_back().unwrap_or(before);
        done.share(before.since(*last_read), now.since(*last_read))
    }
}

impl Pending {
    /// One that only its record tells of.
    fn unseen(ended: &Ended, own: OwnIo, ends: Ends, outlook: Outlook) -> Self {
        let mut last = Known {
            key: ended.key,
            parent: ended.parent.into(),
            is_zombie: false,
            usage: Usage::new(ended.own_usage.without_cpu(), UsageTotals::ZERO),
            io: Some(KnownIo::without_threads(IoTotals::ZERO.plus(own.io))),
            is_unread_from_birth: false,
            held_sweeps: 0,
            unread_sweeps: UnreadSweeps::default(),
            is_taken_out: false,
            has_ended: true,
            was_told_ended: true,
            fate: ended.fate(),
            started_at: ended.started_at.into(),
            unusual: Unusual::default(),
        };
        let foreign_cpu = last.learn_last_cpu(ended, ends);
        Pending {
            last,
            foreign_cpu,
            sweeps: 0,
            settlement: Settlement::Open,
            outlook,
            may_be_spilled: false,
            may_hold_unrecorded: false,
            rounded_records: own.rounded_records,
        }
    }

    /// Takes it out of its reaper, or waits for one, or gives it up.
    fn settle(
        &mut self,
        reap: Reap,
        accounts: &mut [Account],
        tick_ns: u64,
        movement: &mut Movement,
    ) {
        match reap {
            Reap::Into(reaper) => {
                let reaper = &mut accounts[reaper];
                reaper.take_out(&self.last, tick_ns);
                self.leave_aftermath(reaper);
                if reaper.io_left.is_none() && self.last.is_readable() {
                    note_lost(&self.last, movement);
                }
                (self.settlement, self.sweeps) = (Settlement::In(reaper.current.key), 0);
            }
            Reap::Unreadable => {}
            Reap::Nobody => self.sweeps += 1,
        }
        if !self.is_settled() && self.sweeps > PENDING_SWEEPS_MAX {
            self.give_up(movement);
        }
    }

    fn give_up(&mut self, movement: &mut Movement) {
        note_lost(&self.last, movement);
        (self.settlement, self.sweeps) = (Settlement::GivenUp, 0);
    }
}

impl KnownIo {
    fn total(&self) -> IoTotals {
        self.total.get()
    }

    /// None was seen, and there was none to be seen.
    fn without_threads(total: IoTotals) -> Self {
        KnownIo { total: total.into(), threads: KnownThreads::Nobody }
    }

    /// What was done since by threads of which none is new and none has ended. `None` where
    /// that is not so, or a counter fell.
    fn quiet_growth(
        &self,
        key: ProcessKey,
        total: IoTotals,
        threads: Option<&ThreadList>,
        law: QuietLaw,
    ) -> Option<IoDelta> {
        let growth = total.since(self.total())?;
        let own = match (&self.threads, threads) {
            (KnownThreads::Unread, None) => return Some(growth),
            (KnownThreads::Unread, _) | (_, None) => return None,
            (KnownThreads::Read(then), Some(now)) => match lone_main_threads(then, now) {
                Some([then, now]) if then != now => return None,
                Some([_, true]) => IoDelta::ZERO,
                Some([_, false]) => growth,
                None => quiet_growth_of_threads(&self.threads(key)?, &now.of(key, total))?,
            },
            (KnownThreads::Nobody, Some(now)) => quiet_growth_of_threads(&[], &now.of(key, total))?,
        };
        match law {
            QuietLaw::Total => Some(growth),
            QuietLaw::Threads => Some(own),
            QuietLaw::Either => growth.less(own).is_zero().then_some(own),
        }
    }

    fn follow(&mut self, total: IoTotals, threads: Option<&ThreadList>) {
        self.total.replace(total);
        self.threads = KnownThreads::of(threads);
    }

    fn threads(&self, key: ProcessKey) -> Option<ThreadView<'_>> {
        self.threads.list(key, self.total())
    }

    /// F: what the total holds beyond the living threads' own; `None` where L was not read.
    fn folded(&self, key: ProcessKey) -> Option<IoDelta> {
        let threads = self.threads(key)?;
        let own = threads.iter().fold(IoTotals::ZERO, |sum, t| sum.plus(t.total.as_delta()));
        Some(self.total().since_clamped(own))
    }

    /// The last own I/O of the threads that `later` no longer has.
    fn ended_threads(&self, key: ProcessKey, later: &KnownIo) -> IoDelta {
        let lists = (self.threads(key), later.threads(key));
        let (Some(before), Some(after)) = lists else { return IoDelta::ZERO };
        let living: HashSet<_> = after.iter().map(|thread| thread.key).collect();
        before
            .iter()
            .filter(|thread| !living.contains(&thread.key))
            .fold(IoDelta::ZERO, |sum, thread| sum.plus(thread.total.as_delta()))
    }
}

impl KnownThreads {
    fn of(threads: Option<&ThreadList>) -> Self {
        threads.cloned().map_or(KnownThreads::Unread, KnownThreads::Read)
    }

    /// The threads of this process, whose T this was; `None` where they were not read.
    fn list(&self, key: ProcessKey, total: IoTotals) -> Option<ThreadView<'_>> {
        match self {
            KnownThreads::Unread => None,
            KnownThreads::Nobody => Some(ThreadView::default()),
            KnownThreads::Read(threads) => Some(threads.of(key, total)),
        }
    }

    /// The same, though T goes on without them.
    fn as_listed(&self, key: ProcessKey, total: IoTotals) -> Self {
        match self.list(key, total) {
            Some(threads) => KnownThreads::Read(ThreadList::listed(&threads)),
            None => KnownThreads::Unread,
        }
    }
}

/// Whether the main thread had exited then and now, where it did all that its process did.
fn lone_main_threads(then: &ThreadList, now: &ThreadList) -> Option<[bool; 2]> {
    Some([then.lone_main_has_exited()?, now.lone_main_has_exited()?])
}

/// Threads as they are told now, but none with less than it was told to have done before, where only
/// rounding makes the difference: who told of it then did not round. Where it is more, another
/// thread has called exec and taken the main one's place.
fn raised(now: &[ThreadIo], then: &[ThreadIo]) -> ThreadList {
    let raise = |thread: &ThreadIo| {
        let position = then.binary_search_by_key(&thread.key, |then| then.key);
        let then = position.ok().and_then(|position| then.get(position));
        let then = then.filter(|then| is_hidden_by_rounding(then.total, thread.total));
        let total = then.map_or(thread.total, |then| thread.total.raised_to(then.total));
        ThreadIo { total, ..*thread }
    };
    ThreadList::listed(&now.iter().map(raise).collect::<Vec<_>>())
}

/// Whether a thread that had done `then` may be told, rounded, to have done `now`.
fn is_hidden_by_rounding(then: IoTotals, now: IoTotals) -> bool {
    let mut hidden = then.since_clamped(now);
    // How often it read and wrote is not told at all.
    hidden.0[IoCounter::ReadCount as usize] = 0;
    hidden.0[IoCounter::WriteCount as usize] = 0;
    hidden.0.into_iter().all(|bytes| bytes < ROUNDED_TO_BYTES)
}

/// What threads did themselves of which none is new and none has ended since `then`; `None`
/// where that is not so.
fn quiet_growth_of_threads(then: &[ThreadIo], now: &[ThreadIo]) -> Option<IoDelta> {
    if then.len() != now.len() {
        return None;
    }
    let mut growth = IoDelta::ZERO;
    for (then, now) in then.iter().zip(now) {
        if then.key != now.key || then.has_exited != now.has_exited {
            return None;
        }
        if !now.has_exited {
            growth = growth.plus(now.total.since_clamped(then.total));
        }
    }
    Some(growth)
}

impl Account {
    /// Of a process read now and before. Where threads and their records tell what it did, T may
    /// have missed a thread that ended while it was read.
    fn continued(mut current: Known, previous: Known, ends: Ends) -> Self {
        current.usage.own = previous.usage.own.advanced_to(current.usage.own);
        if !current.io_follows(&previous) {
            let is_told_by_threads = current.has_threads() && previous.has_threads();
            let may_be_told = ends != Ends::Inferred || current.unusual.rounded.is_some();
            if !may_be_told || !is_told_by_threads {
                return Account::unreadable(current, previous);
            }
            current.raise_total_to(&previous);
        }
        current.raise_rounded_to(&previous);
        let io_left = match (&current.io, &previous.io) {
            (Some(now), Some(then)) => {
                Some(now.total().since_clamped(then.total()).less(previous.ahead()))
            }
            _ => None,
        };
        Account::open(current, previous, io_left, Standing::Continued)
    }

    /// Of a process that began after the last sweep did: everything it did counts.
    fn born(current: Known) -> Self {
        let mut unusual = current.unusual.clone();
        if unusual.rounded.is_some() {
            unusual.rounded = Some(ThreadList::listed(&[]));
        }
        let nothing = Known {
            usage: Usage::default(),
            io: current.io.is_some().then(|| KnownIo::without_threads(IoTotals::ZERO)),
            unusual,
            is_unread_from_birth: !current.is_readable(),
            ..current.clone()
        };
        Account::continued(current, nothing, Ends::Inferred)
    }

    /// Of a process seen for the first time, though it is older than the last sweep.
    fn baseline(current: Known) -> Self {
        let previous = current.clone();
        Account::open(current, previous, None, Standing::Baseline)
    }

    /// Of a process whose `stat` could not be read.
    fn held(previous: Known) -> Self {
        let UnreadSweeps { io, usage } = previous.unread_sweeps;
        let unread_sweeps =
            UnreadSweeps { io: io.saturating_add(1), usage: usage.saturating_add(1) };
        let current = Known { unread_sweeps, ..previous.clone() };
        Account::open(current, previous, None, Standing::Held)
    }

    /// Of a process whose I/O was readable and now is not, or fell. Its own CPU time goes on; what
    /// it inherits is left alone until its I/O can be balanced with it.
    fn unreadable(mut current: Known, previous: Known) -> Self {
        if previous.held_sweeps >= HELD_SWEEPS_MAX {
            return Account::open(current, previous, None, Standing::Continued);
        }
        current.usage = Usage::new(current.usage.own, previous.usage.reaped());
        current.io.clone_from(&previous.io);
        current.unusual.take_over(&previous.unusual);
        current.held_sweeps = previous.held_sweeps + 1;
        current.unread_sweeps.io = previous.unread_sweeps.io.saturating_add(1);
        Account::open(current, previous, None, Standing::Held)
    }

    fn open(
        mut current: Known,
        previous: Known,
        io_left: Option<IoDelta>,
        standing: Standing,
    ) -> Self {
        let reaped = current.usage.reaped().since_clamped(previous.usage.reaped());
        let overdrawn = previous.overdrawn();
        current.unusual.overdraw(overdrawn.less_in_all(reaped));
        current.is_unread_from_birth = previous.is_unread_from_birth && !current.is_readable();
        Account {
            has_reaped: reaped[UsageCounter::MinorFaults] > 0,
            reaped_left: reaped.less_in_all(overdrawn),
            current,
            previous,
            io_left,
            standing,
            taken_io: IoDelta::ZERO,
            taken_out: Vec::new(),
            took_unread_io: false,
            took_older_io: false,
            recorded_io: None,
            recorded_behind_look: IoDelta::ZERO,
            is_in_aftermath: false,
            disputed_io: IoDelta::ZERO,
            taken_rounded_records: 0,
        }
    }

    /// Takes over that its end has been recorded, from an earlier interval or this one, and
    /// counts I/O by threads and their records where both sweeps have read the threads.
    fn take_records(
        &mut self,
        records: &Records,
        batch: &Batch,
        look: Look,
        movement: &mut Movement,
    ) {
        let key = self.current.key;
        self.current.has_ended = self.previous.has_ended;
        self.current.was_told_ended = self.previous.has_ended;
        self.current.fate = self.previous.fate;
        let is_polled = movement.is_inferred(key) && !self.is_told_by_threads();
        if is_polled || self.standing == Standing::Held {
            return;
        }
        let none = Batch::default();
        let is_of_another = batch.is_of_another(key, self.current.started_at.get());
        let batch = if is_of_another { &none } else { batch };
        let is_readable = self.previous.has_threads() && self.current.has_threads();
        if is_readable && self.standing == Standing::Continued {
            let threads = self.current.threads();
            let threads = records.threads(batch, &self.previous, &threads, look.exec_count);
            self.recorded_io = Some(batch.own(&threads));
            // What began in the tick of the look may have ended before it.
            self.recorded_behind_look = threads.ahead(look.ticks + 1);
            // Of T it can only be ahead where that is known.
            let ahead = threads.ahead(look.ticks);
            let is_known = self.current.io.is_some();
            self.current.unusual.get_ahead(if is_known { ahead } else { IoDelta::ZERO });
        } else {
            self.recorded_io = self.current.recorded_alone(batch);
        }
        if let Some(ended) = batch.ended(key) {
            if !self.current.was_told_ended {
                movement.ended.push(key);
            }
            let own = self.recorded_io.map_or(IoDelta::ZERO, |own| own.io);
            let total = self.previous.io.as_ref().map(|io| io.total().plus(self.previous.ahead()));
            let total = total.map(|total| total.plus(own));
            self.current.unusual.get_ahead(IoDelta::ZERO);
            self.current.note_counted(self.previous.counted_by_threads().plus(own));
            self.current.learn_end(ended, total, movement.ends);
            self.current.was_told_ended = true;
        }
    }

    /// Whether it is counted by its threads and their records although some may be missing: T is
    /// out of sight, or was.
    fn is_told_by_threads(&self) -> bool {
        let sights = [&self.previous, &self.current];
        let has_lost_total = sights.iter().any(|known| known.unusual.rounded.is_some());
        has_lost_total && sights.iter().all(|known| known.has_threads())
    }

    /// Whether all that a pending child was last seen to have done fits into what this process
    /// inherited and that nobody else has been found for. CPU time may be off by one
    /// tick, for the rounding of the two readings, and by what another clock has told.
    fn has_room_for(&self, pending: &Pending, tick_ns: u64) -> bool {
        let child = &pending.last;
        if !self.has_reaped {
            return false;
        }
        let slack = UsageDelta::from_cpu_ns(tick_ns).plus(pending.foreign_cpu);
        let wanted = child.usage_total().plus(self.current.overdrawn());
        if !self.reaped_left.plus(slack).covers_in_all(wanted) {
            return false;
        }
        match (&self.io_left, &child.io) {
            (Some(left), Some(io)) => left.covers(io.total().as_delta()),
            _ => true,
        }
    }

    fn take_out(&mut self, child: &Known, tick_ns: u64) {
        let usage = child.usage_total();
        let missing = self.current.overdrawn().plus(usage.less_in_all(self.reaped_left));
        let overdrawn_max = UsageDelta::from_cpu_ns(tick_ns);
        let is_within = overdrawn_max.covers_in_all(missing);
        self.current.unusual.overdraw(if is_within { missing } else { overdrawn_max });
        self.reaped_left = self.reaped_left.less_in_all(usage);
        match (&mut self.io_left, &child.io) {
            (Some(left), Some(io)) => {
                debug_assert!(left.covers(io.total().as_delta()), "taken out beyond the growth");
                *left = left.less(io.total().as_delta());
                self.taken_io = self.taken_io.plus(io.total().as_delta());
            }
            (Some(left), None) => {
                // So much of it was counted.
                let counted = child.counted_by_threads().min(*left);
                *left = left.less(counted);
                self.taken_io = self.taken_io.plus(counted);
                self.took_unread_io = true;
                self.took_older_io |= !child.is_unread_from_birth;
            }
            (None, _) => {}
        }
        let was_zombie = child.is_zombie && !child.is_unread_from_birth;
        self.taken_out.push(TakenOut { key: child.key, was_zombie });
    }

    /// Splits the credit into what the process did itself and what it inherited. `spilled` is
    /// what is told of those without records, whosever it is.
    fn emit(&mut self, times: &SweepTimes, spilled: IoDelta, movement: &mut Movement) {
        if self.standing == Standing::Baseline {
            return;
        }
        let own_usage = self.current.usage.own.since_clamped(self.previous.usage.own);
        let unrecorded = self.unrecorded_io();
        if !unrecorded.is_zero() {
            movement.inferred.push(self.current.key);
        }
        let (own_io, inherited_io) = self.split_io(unrecorded, spilled);
        let mut delta = ProcessDelta {
            key: self.current.key,
            io: own_io,
            usage: own_usage,
            rounded_records: self.recorded_io.map_or(0, |own| own.rounded_records),
            rounded_threads: self.previous.rounded_threads().max(self.current.rounded_threads()),
        };
        let unread = self.previous.unread_sweeps;
        let residual = Residual {
            reaper: self.current.key,
            taken_out: std::mem::take(&mut self.taken_out),
            io: inherited_io,
            usage: self.reaped_left,
            late: times.late(unread, inherited_io, self.reaped_left),
            io_is_unattributed: self.took_older_io,
        };
        if !self.has_reaped {
            delta.usage = delta.usage.plus(self.reaped_left);
        } else if !residual.is_empty() {
            movement.residuals.push(residual);
        }
        movement.note_late(&delta, times.late(unread, delta.io, delta.usage));
        movement.processes.push(delta);
    }

    /// What it did itself, and what came with reaped children. Where threads and records say
    /// the first, the children's own records say the second, but for what is `unrecorded`. What
    /// was `spilled` is told of by itself, and may be in the second.
    fn split_io(
        &self,
        unrecorded: IoDelta,
        spilled: IoDelta,
    ) -> (Option<IoDelta>, Option<IoDelta>) {
        let unrecorded = unrecorded.less(spilled);
        match self.recorded_io {
            Some(own) if self.has_reaped => return (Some(own.io), Some(unrecorded)),
            Some(own) => return (Some(own.io.plus(unrecorded)), Some(IoDelta::ZERO)),
            None => {}
        }
        let Some(credit) = self.io_left else { return (None, None) };
        if !self.has_reaped {
            return (Some(credit), Some(IoDelta::ZERO));
        }
        let inherited = self.inherited_io(credit);
        (Some(credit.less(inherited)), Some(inherited.less(spilled)))
    }

    /// The part of the credit that came from reaped children: growth of T outside the
    /// living threads, beyond ended threads' own and the children taken out. It is only a
    /// split, so it is held between nothing and the whole credit.
    fn inherited_io(&self, credit: IoDelta) -> IoDelta {
        let key = self.current.key;
        let (Some(now), Some(then)) = (&self.current.io, &self.previous.io) else {
            return IoDelta::ZERO;
        };
        let (Some(folded_now), Some(folded_then)) = (now.folded(key), then.folded(key)) else {
            return if self.took_unread_io { credit } else { IoDelta::ZERO };
        };
        folded_now
            .less(folded_then)
            .less(then.ended_threads(key, now))
            .less(self.previous.ahead())
            .less(self.taken_io)
            .min(credit)
    }

    /// What is remembered until the next sweep.
    fn close(self) -> Known {
        self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever adds a field decides here that ten thousand processes are worth it.
    #[test]
    fn what_is_remembered_of_a_process_does_not_grow_unnoticed() {
        assert!(size_of::<Known>() <= 192, "{} bytes", size_of::<Known>());
    }
}
