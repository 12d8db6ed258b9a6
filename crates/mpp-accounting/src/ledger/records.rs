//! The second law: what exit records and the living threads say together.
//!
//! A thread's own I/O never holds a child's. So what a process did itself is the growth of
//! its living threads, and of each thread that ended what its record holds beyond what was
//! counted of it before. Nothing is inferred; but it is only true where no record is
//! missing, which is found out first, by looking for a record of every thread that is gone.
//!
//! Three traps. A thread may be seen living and be recorded a moment later, in the same
//! interval: its record wins, and the next sweep must not miss it. A main thread's record
//! may be followed by a living main thread, when another thread of the process has called
//! exec: that one takes over the name and the start of the main thread, and leaves without a
//! record of its own. Which of them was seen is told by how many programs were executed, and
//! guessed from the bytes where nobody counts those. And the records that follow a sweep that had
//! to be settled without them belong to the next one.
//!
//! A record that is missing brings polling back, but not for more than it must:
//!
//! 1. Where nobody who writes records told of a loss, the threads that a sweep saw and that are
//!    gone without a record are all that is missing. That concerns their processes; where such
//!    a process is gone, too, whoever may have waited for it: its parent if that lives, else
//!    each ancestor, since any of them may be a subreaper. Nobody else can hold a byte of it,
//!    so these are polled, and all others keep to their records. Who was read before it waited
//!    shows it in the next sweep only, and is polled then, too.
//! 2. Where a loss was told, it may be of a thread that no sweep ever saw, and nobody can say
//!    whose that was: an unseen child may have been reaped by anybody's ancestor or by nobody
//!    at all, and of `SA_NOCLDWAIT` procfs shows nothing. Nor can the known threads be set off
//!    against what was told, since a full socket tells that records were lost, but how many
//!    only with later ones. Then everybody is polled and marked, with records as better sights.
//!
//! What was lost may show one sweep later only, when the records are whole again: see
//! `aftermath.rs`.

use std::collections::{HashMap, HashSet};

use super::{Fate, Known, ProcessDelta};
use crate::exit::{ExitSource, Exits, ProcessExit, ROUNDED_TO_BYTES, ThreadExit};
use crate::process::{ProcessKey, ThreadIo, ThreadKey, ThreadView};
use crate::snapshot::Snapshot;
use crate::units::{BootTime, Delta, IoDelta, IoTotals, UsageDelta, UsageTotals};
use crate::walk::Walk;

/// What is remembered of exit records from one sweep to the next.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Threads that the sweep before saw living and whose records were counted with it, and
    /// the process of each.
    recorded: HashMap<ThreadKey, ProcessKey>,
    /// Records that came too late for the sweep before.
    deferred_threads: Vec<EndedThread>,
    deferred_processes: Vec<Ended>,
    /// Who wrote records when the sweep before was taken.
    source: ExitSource,
}

/// The records that count in one interval.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By process, then thread; records of the same thread in the order in which they came.
    threads: Vec<EndedThread>,
    /// Ascending by key.
    processes: Vec<Ended>,
    /// How far the two have been walked: nearly everybody asks in the order of keys.
    thread_walk: Walk,
    process_walk: Walk,
    rounding: Rounding,
    /// Whether whoever writes the records did so all the time since the sweep before: only
    /// then are there records of all that ended, and had that sweep read all threads.
    pub(super) covers_interval: bool,
}

/// Whether the bytes of a record are rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rounding {
    #[default]
    None,
    Kibibytes,
}

impl Rounding {
    /// Whether a thread that had done `now` can have this record. Where that is so by chance,
    /// and the thread is another, it counts with the next sweep instead.
    fn can_end(self, end: IoTotals, now: IoTotals) -> bool {
        let hidden = match self {
            Rounding::None => 0,
            Rounding::Kibibytes => ROUNDED_TO_BYTES - 1,
        };
        end.plus(Delta([hidden; IoTotals::ZERO.0.len()])).since(now).is_some()
    }
}

/// What counts of the record of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) key: ProcessKey,
    pub(super) parent: Option<ProcessKey>,
    /// CPU time and faults of its own.
    pub(super) own_usage: UsageTotals,
    pub(super) is_reaped_automatically: bool,
    /// As its last sample tells it, where it does.
    pub(super) started_at: Option<BootTime>,
    /// When it ended, at the latest.
    pub(super) ended_at: BootTime,
}

/// What counts of the record of a thread.
#[derive(Clone, Copy, Debug)]
struct EndedThread {
    process: ProcessKey,
    thread: ThreadKey,
    /// All that it did itself.
    io: IoTotals,
    /// How many programs its process had executed by then; `None` where nobody told.
    exec_count: Option<u64>,
}

/// What a process did itself, by its threads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnIo {
    pub(super) io: IoDelta,
    /// In how many records of it the bytes are rounded down.
    pub(super) rounded_records: u64,
}

/// What a process did between its last sight and its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastDeeds {
    /// `None` where its I/O was never readable, or its threads were not.
    pub(super) own: Option<OwnIo>,
    pub(super) usage: UsageDelta,
}

impl LastDeeds {
    pub(super) fn delta(&self, key: ProcessKey) -> ProcessDelta {
        ProcessDelta {
            io: self.own.map(|own| own.io),
            usage: self.usage,
            rounded_records: self.own.map_or(0, |own| own.rounded_records),
            ..ProcessDelta::nothing(key)
        }
    }
}

/// The threads of one process in two sweeps, and the records between.
pub(super) struct Threads<'a> {
    key: ProcessKey,
    previous: ThreadView<'a>,
    current: &'a [ThreadIo],
    records: &'a [EndedThread],
    recorded: &'a HashMap<ThreadKey, ProcessKey>,
    rounding: Rounding,
    has_ended: bool,
    /// How many programs had been executed when this sweep looked; `None` where nobody told.
    exec_count: Option<u64>,
}

impl Records {
    /// The records that count with this sweep: what was left from the one before, and the new.
    pub(super) fn take(&mut self, exits: &Exits) -> Batch {
        let mut threads = std::mem::take(&mut self.deferred_threads);
        threads.extend(exits.threads.iter().map(EndedThread::of));
        threads.sort_by_key(|record| (record.process, record.thread));
        let mut processes = std::mem::take(&mut self.deferred_processes);
        processes.extend(exits.processes.iter().map(Ended::of));
        processes.sort_by_key(|ended| ended.key);
        processes.dedup_by_key(|ended| ended.key);
        let rounding = match exits.source {
            ExitSource::Rounded => Rounding::Kibibytes,
            ExitSource::Exact | ExitSource::Nobody => Rounding::None,
        };
        let before = std::mem::replace(&mut self.source, exits.source);
        let covers_interval = exits.source != ExitSource::Nobody && before == exits.source;
        Batch { threads, processes, rounding, covers_interval, ..Batch::default() }
    }

    /// Whether somebody writes records now.
    pub(super) fn are_written(&self) -> bool {
        self.source != ExitSource::Nobody
    }

    /// Keeps for the next sweep what was written of processes that `is_late` speaks of, and
    /// leaves the rest.
    pub(super) fn defer(&mut self, batch: &mut Batch, is_late: impl Fn(ProcessKey) -> bool) {
        self.deferred_threads.extend(batch.threads.extract_if(.., |r| is_late(r.process)));
        self.deferred_processes.extend(batch.processes.extract_if(.., |p| is_late(p.key)));
    }

    /// Keeps for the next sweep, of the processes that this one saw and that `is_concerned`
    /// speaks of, what it cannot have read: records of threads that it saw living. The others
    /// are in what it read, or will be in what their reapers inherit.
    pub(super) fn defer_unread(
        &mut self,
        batch: &mut Batch,
        snapshot: &Snapshot,
        is_concerned: impl Fn(ProcessKey) -> bool,
    ) {
        let deferred = std::mem::take(&mut self.deferred_threads);
        self.defer(batch, |key| is_concerned(key) && snapshot.by_key(key).is_some());
        self.deferred_threads.retain(|record| {
            let Some(sample) = snapshot.by_key(record.process) else { return false };
            sample.threads().value().is_none_or(|threads| {
                find(threads, record.thread).is_some_and(|thread| !thread.has_exited)
            })
        });
        self.deferred_threads.extend(deferred);
    }

    /// Keeps for the next sweep what was written of threads of processes that `is_unseen`
    /// speaks of and that have not ended.
    pub(super) fn defer_living(
        &mut self,
        batch: &mut Batch,
        is_unseen: impl Fn(ProcessKey) -> bool,
    ) {
        let mut threads = std::mem::take(&mut batch.threads);
        let is_late = |record: &mut EndedThread| {
            batch.ended(record.process).is_none() && is_unseen(record.process)
        };
        self.deferred_threads.extend(threads.extract_if(.., is_late));
        batch.threads = threads;
    }

    /// Forgets what was kept over a sweep without records, of threads whose processes have not been
    /// seen since and have no record either: that one was lost. What they did is in what their
    /// reapers have inherited, or will.
    pub(super) fn leave_to_reapers(&mut self, known: &[Known], snapshot: &Snapshot) {
        let Records { deferred_threads, deferred_processes, .. } = self;
        deferred_threads.retain(|record| {
            let key = record.process;
            snapshot.by_key(key).is_some()
                || snapshot.exits.by_key(key).is_some()
                || snapshot.unreadable_pids.binary_search(&key.pid).is_ok()
                || known.binary_search_by_key(&key, |known| known.key).is_ok()
                || deferred_processes.iter().any(|ended| ended.key == key)
        });
    }

    /// Looks at the threads of a process that the sweep before saw. `current` is empty where
    /// it is gone. One whose end was told of before has no living threads, whatever is seen.
    pub(super) fn threads<'a>(
        &'a self,
        batch: &'a Batch,
        previous: &'a Known,
        current: &'a [ThreadIo],
        exec_count: Option<u64>,
    ) -> Threads<'a> {
        // Whoever's end was told of may still be there for a while as its memory is given back.
        let current = if previous.has_ended { &[] } else { current };
        let new = self.threads_of_new(batch, previous.key, current, exec_count);
        Threads { previous: previous.threads(), ..new }
    }

    /// The same of one that it did not see.
    fn threads_of_new<'a>(
        &'a self,
        batch: &'a Batch,
        key: ProcessKey,
        current: &'a [ThreadIo],
        exec_count: Option<u64>,
    ) -> Threads<'a> {
        Threads {
            key,
            previous: ThreadView::default(),
            current,
            records: batch.of_process(key),
            recorded: &self.recorded,
            rounding: batch.rounding,
            has_ended: batch.ended(key).is_some(),
            exec_count,
        }
    }

    /// Whether the sweep before saw the main thread of a process living, and counted it to its
    /// end.
    pub(super) fn has_recorded_main_thread_of(&self, key: ProcessKey) -> bool {
        !self.recorded.is_empty() && self.recorded.contains_key(&key.main_thread())
    }

    /// Which threads are gone of which there is no record.
    pub(super) fn missing(&self, known: &[Known], snapshot: &Snapshot, batch: &Batch) -> Missing {
        let mut missing = Missing::default();
        let mut samples = snapshot.processes.iter().peekable();
        for known in known {
            while samples.next_if(|sample| sample.key < known.key).is_some() {}
            let sample = samples.peek().filter(|sample| sample.key == known.key);
            if known.is_zombie || known.has_ended {
                continue;
            }
            let unrecorded = match sample {
                Some(sample) => {
                    if known.has_same_threads(sample) != Some(false) {
                        continue;
                    }
                    let current = sample.threads();
                    let current = current.value().map_or(&[][..], |threads| threads);
                    self.threads(batch, known, current, sample.lineage.exec_count()).unrecorded()
                }
                None if snapshot.unreadable_pids.binary_search(&known.key.pid).is_ok() => continue,
                None => self.threads(batch, known, &[], None).unrecorded(),
            };
            missing.add(known, &unrecorded, snapshot);
        }
        missing
    }

    /// The threads that this sweep saw living and that are counted to their ends all the
    /// same: the next sweep must not miss their records.
    pub(super) fn recorded_in(
        &self,
        batch: &Batch,
        known: &[Known],
        snapshot: &Snapshot,
    ) -> HashMap<ThreadKey, ProcessKey> {
        let walk = Walk::default();
        let is_counted = |record: &&EndedThread| {
            let position = walk.find(&snapshot.processes, record.process, |sample| sample.key);
            let Some(position) = position else { return false };
            let sample = &snapshot.processes[position];
            let current = sample.threads();
            let Some(current) = current.value() else { return false };
            if batch.is_of_another(sample.key, sample.lineage.started_at()) {
                return false;
            }
            let position = known.binary_search_by_key(&record.process, |known| known.key);
            let threads = match position {
                Ok(position) => {
                    self.threads(batch, &known[position], current, sample.lineage.exec_count())
                }
                Err(_) => {
                    self.threads_of_new(batch, record.process, current, sample.lineage.exec_count())
                }
            };
            let is_leader = record.thread == threads.leader();
            threads.living(record.thread).is_some()
                && (!is_leader || threads.leader_lives().is_recorded)
        };
        let counted = batch.threads.iter().filter(is_counted);
        counted.map(|record| (record.thread, record.process)).collect()
    }

    /// From now on these are the threads that were counted to their ends, and of processes
    /// that this sweep could not read those that were before.
    pub(super) fn remember(
        &mut self,
        mut recorded: HashMap<ThreadKey, ProcessKey>,
        unread: &HashSet<ProcessKey>,
    ) {
        recorded.retain(|_, process| !unread.contains(process));
        recorded.extend(self.recorded.drain().filter(|(_, process)| unread.contains(process)));
        self.recorded = recorded;
    }
}

impl Batch {
    /// The records of one process's threads.
    fn of_process(&self, key: ProcessKey) -> &[EndedThread] {
        self.thread_walk.find_all(&self.threads, key, |record| record.process)
    }

    /// Whether anything was written of a process or a thread of it.
    pub(super) fn concerns(&self, key: ProcessKey) -> bool {
        let is_empty = self.threads.is_empty() && self.processes.is_empty();
        !is_empty && (self.ended(key).is_some() || !self.of_process(key).is_empty())
    }

    /// The record of a process, if it ended.
    pub(super) fn ended(&self, key: ProcessKey) -> Option<&Ended> {
        let position = self.process_walk.find(&self.processes, key, |ended| ended.key)?;
        self.processes.get(position)
    }

    /// Whether those of this key that ended did not start at this moment: it has been used
    /// twice within a tick.
    pub(super) fn is_of_another(&self, key: ProcessKey, started_at: Option<BootTime>) -> bool {
        let recorded = self.ended(key).and_then(|ended| ended.started_at);
        recorded.zip(started_at).is_some_and(|(this, that)| this != that)
    }

    /// What a process did between its last sight and its end, as far as its records tell.
    pub(super) fn last_deeds(&self, records: &Records, known: &Known) -> LastDeeds {
        let threads = records.threads(self, known, &[], None);
        let own = known.has_threads().then(|| self.own(&threads));
        let usage = self.ended(known.key).map(|ended| {
            known.usage.own.advanced_to(ended.own_usage).since_clamped(known.usage.own)
        });
        LastDeeds {
            own: own.or_else(|| known.recorded_alone(self)),
            usage: usage.unwrap_or_default(),
        }
    }

    /// All processes that ended.
    pub(super) fn processes(&self) -> &[Ended] {
        &self.processes
    }

    /// What all threads of a process did that nobody saw alive.
    pub(super) fn own_of_unseen(&self, key: ProcessKey) -> OwnIo {
        let records = self.of_process(key);
        let io = records.iter().fold(IoDelta::ZERO, |sum, r| sum.plus(r.io.as_delta()));
        OwnIo { io, rounded_records: self.rounded(records.len()) }
    }

    /// What threads did of processes that `is_strange` speaks of.
    pub(super) fn of_others(
        &self,
        is_strange: impl Fn(ProcessKey) -> bool,
    ) -> impl Iterator<Item = ProcessDelta> {
        self.threads.iter().filter(move |record| is_strange(record.process)).map(|record| {
            ProcessDelta {
                io: Some(record.io.as_delta()),
                rounded_records: self.rounded(1),
                ..ProcessDelta::nothing(record.process)
            }
        })
    }

    /// What a process did itself.
    pub(super) fn own(&self, threads: &Threads<'_>) -> OwnIo {
        let rounded_records = self.rounded(threads.records.len());
        OwnIo { io: threads.own_io(), rounded_records }
    }

    fn rounded(&self, records: usize) -> u64 {
        match self.rounding {
            Rounding::None => 0,
            Rounding::Kibibytes => records as u64,
        }
    }
}

impl EndedThread {
    fn of(exit: &ThreadExit) -> Self {
        let ThreadExit { process, thread, io, exec_count, .. } = *exit;
        EndedThread { process, thread, io, exec_count }
    }
}

impl Ended {
    pub(super) fn fate(&self) -> Fate {
        if self.is_reaped_automatically { Fate::Dropped } else { Fate::Reaped }
    }

    fn of(exit: &ProcessExit) -> Self {
        Ended {
            key: exit.key(),
            parent: exit.parent,
            own_usage: exit.sample.usage.own,
            is_reaped_automatically: exit.is_reaped_automatically,
            started_at: exit.sample.lineage.started_at(),
            ended_at: exit.ended_at,
        }
    }
}

impl Threads<'_> {
    fn leader(&self) -> ThreadKey {
        self.key.main_thread()
    }

    fn is_recorded(&self, thread: ThreadKey) -> bool {
        self.recorded.contains_key(&thread)
            || self.records.binary_search_by_key(&thread, |record| record.thread).is_ok()
    }

    fn living(&self, thread: ThreadKey) -> Option<&ThreadIo> {
        find(self.current, thread).filter(|thread| !thread.has_exited)
    }

    /// Threads that lived, are gone, and have no record.
    fn unrecorded_all(&self) -> impl Iterator<Item = &ThreadIo> {
        self.previous.iter().filter(|thread| {
            !thread.has_exited && self.living(thread.key).is_none() && !self.is_recorded(thread.key)
        })
    }

    /// The same, but for one that has become the main thread.
    fn unrecorded(&self) -> Vec<ThreadIo> {
        let is_succeeded = self.leader_lives().has_later;
        self.unrecorded_all().skip(usize::from(is_succeeded)).copied().collect()
    }

    /// What bore the main thread's name, one after the other.
    fn leader_lives(&self) -> LeaderLives {
        let leader = self.leader();
        let before = find(&self.previous, leader);
        let is_another =
            self.recorded.contains_key(&leader) || before.is_some_and(|thread| thread.has_exited);
        let counted = before.map_or(IoTotals::ZERO, |thread| thread.total);
        let now = self.living(leader).map(|thread| thread.total);
        let mut records = self.records.iter().filter(|record| record.thread == leader);
        let first = if is_another { None } else { records.next() };
        let may_be_first = now.is_some_and(|now| now.since(counted).is_some())
            && (self.has_ended || self.unrecorded_all().next().is_none());
        let is_of_first = first.zip(now).is_some_and(|(record, now)| {
            let can_end = || may_be_first && self.rounding.can_end(record.io, now);
            self.ended_after_look(record).unwrap_or_else(can_end)
        });
        let mut lives = LeaderLives { is_recorded: is_of_first, ..LeaderLives::default() };
        if let Some(end) = first.map(|record| record.io) {
            let end = if is_of_first { end.raised_to(now.unwrap_or_default()) } else { end };
            lives.first = end.since_clamped(counted);
        }
        for record in records {
            lives.has_later = true;
            lives.later = lives.later.plus(record.io.as_delta());
            lives.is_recorded |= now.is_some_and(|now| {
                let can_end = || self.rounding.can_end(record.io, now);
                self.ended_after_look(record).unwrap_or_else(can_end)
            });
        }
        let is_later = is_another || first.is_some();
        match now {
            Some(now) if !is_later => lives.first = now.since_clamped(counted),
            Some(now) if !lives.is_recorded => {
                lives.has_later = true;
                lives.later = lives.later.plus(now.as_delta());
            }
            _ => {}
        }
        lives
    }

    /// Whether a main thread ended after this sweep saw one: what made room for the exec of another
    /// thread has executed less than that one. `None` where nobody tells what was executed.
    fn ended_after_look(&self, record: &EndedThread) -> Option<bool> {
        Some(record.exec_count? >= self.exec_count?)
    }

    /// What was counted of the thread that took over the main thread's name. Where the process
    /// has ended, a thread that was seen living and has no record must be the one.
    fn counted_of_successor(&self) -> IoDelta {
        let is_other = |thread: &&ThreadIo| {
            !thread.has_exited && thread.key != self.leader() && !self.is_recorded(thread.key)
        };
        let seen = || self.current.iter().find(is_other).filter(|_| self.has_ended);
        let successor = self.unrecorded_all().next().or_else(seen);
        successor.map_or(IoDelta::ZERO, |thread| thread.total.as_delta())
    }

    /// What its records tell beyond what was read of it at this tick: of threads that were seen
    /// living, and of those that began since. One that began in the same tick may have ended before;
    /// nothing is counted twice then, but of an interval without records its bytes may be missing.
    pub(super) fn ahead(&self, read_at_ticks: u64) -> IoDelta {
        let is_seen =
            |thread| find(&self.previous, thread).or(find(self.current, thread)).is_some();
        let leader_goes_on = !self.leader_lives().is_recorded;
        let mut ahead = IoDelta::ZERO;
        for record in self.records {
            let thread = record.thread;
            if thread == self.leader() && leader_goes_on {
                continue;
            }
            if let Some(seen) = self.living(thread) {
                ahead = ahead.plus(record.io.since_clamped(seen.total));
            } else if thread.start_time_ticks >= read_at_ticks && !is_seen(thread) {
                ahead = ahead.plus(record.io.as_delta());
            }
        }
        ahead
    }

    fn own_io(&self) -> IoDelta {
        let leader = self.leader();
        let lives = self.leader_lives();
        let mut own = lives.first;
        if lives.has_later {
            own = own.plus(lives.later.less(self.counted_of_successor()));
        }
        for thread in self.current.iter().filter(|t| !t.has_exited && t.key != leader) {
            let counted = find(&self.previous, thread.key).map_or(IoTotals::ZERO, |t| t.total);
            own = own.plus(thread.total.since_clamped(counted));
        }
        let mut last = None;
        for record in self.records.iter().filter(|record| record.thread != leader) {
            let is_another = last.replace(record.thread) == Some(record.thread)
                || self.recorded.contains_key(&record.thread);
            let seen =
                || self.living(record.thread).or_else(|| find(&self.previous, record.thread));
            let counted = if is_another { None } else { seen() };
            let counted = counted.map_or(IoTotals::ZERO, |thread| thread.total);
            own = own.plus(record.io.since_clamped(counted));
        }
        own
    }
}

/// What bore the main thread's name in an interval. When another thread calls exec, the main
/// thread ends with a record and the caller takes over its name, with all that it did before.
#[derive(Debug, Default)]
struct LeaderLives {
    /// What the one did that the sweep before saw, or that came with the process.
    first: IoDelta,
    /// What those that came after it did in all, from their beginning as threads.
    later: IoDelta,
    /// Whether there were any.
    has_later: bool,
    /// Whether the one that this sweep saw living has a record.
    is_recorded: bool,
}

/// Threads that are gone without a record.
#[derive(Debug, Default)]
pub(super) struct Missing {
    processes: Vec<MissingThreads>,
    threads: u64,
}

/// Those of one process.
#[derive(Debug)]
pub(super) struct MissingThreads {
    pub(super) key: ProcessKey,
    pub(super) parent: Option<ProcessKey>,
    /// What was counted of them before.
    pub(super) counted: IoDelta,
    /// Whether the whole process is gone.
    pub(super) is_gone: bool,
}

impl Missing {
    fn add(&mut self, known: &Known, unrecorded: &[ThreadIo], snapshot: &Snapshot) {
        if unrecorded.is_empty() {
            return;
        }
        let counted = unrecorded.iter().map(|thread| thread.total.as_delta());
        self.threads += unrecorded.len() as u64;
        self.processes.push(MissingThreads {
            key: known.key,
            parent: known.parent.get(),
            counted: counted.fold(IoDelta::ZERO, IoDelta::plus),
            is_gone: snapshot.by_key(known.key).is_none(),
        });
    }

    /// How many threads.
    pub(super) fn threads(&self) -> u64 {
        self.threads
    }

    /// Whose threads.
    pub(super) fn processes(&self) -> &[MissingThreads] {
        &self.processes
    }
}

/// Whether the same threads are there, and live or have exited as before.
pub(super) fn has_all_of(now: &[ThreadIo], then: &[ThreadIo]) -> bool {
    let is_same = |(now, then): (&ThreadIo, &ThreadIo)| {
        now.key == then.key && now.has_exited == then.has_exited
    };
    now.len() == then.len() && now.iter().zip(then).all(is_same)
}

/// Threads stand ascending by key.
fn find(threads: &[ThreadIo], key: ThreadKey) -> Option<&ThreadIo> {
    let position = threads.binary_search_by_key(&key, |thread| thread.key).ok()?;
    threads.get(position)
}
