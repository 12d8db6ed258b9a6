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
//! record of its own. And the records that follow a sweep that had to be settled without
//! them belong to the next one.

use std::collections::{HashMap, HashSet};

use super::{Fate, Known, ProcessDelta};
use crate::exit::{ExitSource, Exits, ProcessExit, ThreadExit};
use crate::process::{ProcessKey, ThreadIo, ThreadKey};
use crate::snapshot::Snapshot;
use crate::units::{IoDelta, IoTotals, UsageDelta, UsageTotals};

/// What is remembered of exit records from one sweep to the next.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// Threads that the sweep before saw living and whose records were counted with it, and
    /// the process of each.
    recorded: HashMap<ThreadKey, ProcessKey>,
    /// Records that came too late for the sweep before.
    deferred_threads: Vec<ThreadExit>,
    deferred_processes: Vec<Ended>,
}

/// The records that count in one interval.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// By process, then thread; records of the same thread in the order in which they came.
    threads: Vec<ThreadExit>,
    /// Ascending by key.
    processes: Vec<Ended>,
    rounding: Rounding,
}

/// Whether the bytes of a record are rounded down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rounding {
    #[default]
    None,
    Kibibytes,
}

/// What counts of the record of a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) key: ProcessKey,
    pub(super) parent: Option<ProcessKey>,
    /// CPU time and faults of its own.
    pub(super) own_usage: UsageTotals,
    pub(super) is_reaped_automatically: bool,
}

/// What a process did itself, by its threads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnIo {
    pub(super) io: IoDelta,
    /// In how many records of it the bytes are rounded down.
    pub(super) rounded_records: u64,
}

/// The threads of one process in two sweeps, and the records between.
pub(super) struct Threads<'a> {
    key: ProcessKey,
    previous: &'a [ThreadIo],
    current: &'a [ThreadIo],
    records: &'a [ThreadExit],
    recorded: &'a HashMap<ThreadKey, ProcessKey>,
    has_ended: bool,
    /// Whether it executed something between the two sweeps; `None` where nobody can say.
    has_executed: Option<bool>,
}

impl Records {
    /// The records that count with this sweep: what was left from the one before, and the new.
    pub(super) fn take(&mut self, exits: &Exits) -> Batch {
        let mut threads = std::mem::take(&mut self.deferred_threads);
        threads.extend_from_slice(&exits.threads);
        threads.sort_by_key(|record| (record.process, record.thread));
        let mut processes = std::mem::take(&mut self.deferred_processes);
        processes.extend(exits.processes.iter().map(Ended::of));
        processes.sort_by_key(|ended| ended.key);
        processes.dedup_by_key(|ended| ended.key);
        let rounding = match exits.source {
            ExitSource::Rounded => Rounding::Kibibytes,
            ExitSource::Exact | ExitSource::Nobody => Rounding::None,
        };
        Batch { threads, processes, rounding }
    }

    /// Keeps for the next sweep what was written of processes that `is_late` speaks of, and
    /// leaves the rest.
    pub(super) fn defer(&mut self, batch: &mut Batch, is_late: impl Fn(ProcessKey) -> bool) {
        self.deferred_threads.extend(batch.threads.extract_if(.., |r| is_late(r.process)));
        self.deferred_processes.extend(batch.processes.extract_if(.., |p| is_late(p.key)));
    }

    /// Keeps for the next sweep, of the processes that this one saw, what it cannot have read:
    /// records of threads that it saw living. The others are in what it read, or will be in
    /// what their reapers inherit.
    pub(super) fn defer_unread(&mut self, batch: &mut Batch, snapshot: &Snapshot) {
        self.defer(batch, |key| snapshot.by_key(key).is_some());
        self.deferred_threads.retain(|record| {
            let Some(sample) = snapshot.by_key(record.process) else { return false };
            sample.io.threads.value().is_none_or(|threads| {
                find(threads, record.thread).is_some_and(|thread| !thread.has_exited)
            })
        });
    }

    /// Keeps for the next sweep what was written of threads of processes that `is_unseen`
    /// speaks of and that have not ended.
    pub(super) fn defer_living(
        &mut self,
        batch: &mut Batch,
        is_unseen: impl Fn(ProcessKey) -> bool,
    ) {
        let mut threads = std::mem::take(&mut batch.threads);
        let is_late = |record: &mut ThreadExit| {
            batch.ended(record.process).is_none() && is_unseen(record.process)
        };
        self.deferred_threads.extend(threads.extract_if(.., is_late));
        batch.threads = threads;
    }

    /// Looks at the threads of a process that the sweep before saw. `current` is empty where
    /// it is gone.
    pub(super) fn threads<'a>(
        &'a self,
        batch: &'a Batch,
        previous: &'a Known,
        current: &'a [ThreadIo],
        exec_count: Option<u64>,
    ) -> Threads<'a> {
        let execs = exec_count.zip(previous.exec_count);
        Threads {
            key: previous.key,
            previous: previous.threads(),
            current,
            records: batch.of_process(previous.key),
            recorded: &self.recorded,
            has_ended: batch.ended(previous.key).is_some(),
            has_executed: execs.map(|(now, then)| now != then),
        }
    }

    /// Which threads are gone of which there is no record.
    pub(super) fn missing(&self, known: &[Known], snapshot: &Snapshot, batch: &Batch) -> Missing {
        let mut missing = Missing::default();
        for known in known.iter().filter(|known| !known.is_zombie && !known.has_ended) {
            let unrecorded = match snapshot.by_key(known.key) {
                Some(sample) => {
                    let Some(current) = sample.io.threads.value() else { continue };
                    self.threads(batch, known, current, sample.exec_count).unrecorded()
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
        let is_counted = |record: &&ThreadExit| {
            let Some(sample) = snapshot.by_key(record.process) else { return false };
            let Some(current) = sample.io.threads.value() else { return false };
            let position = known.binary_search_by_key(&record.process, |known| known.key);
            let is_living = find(current, record.thread).is_some_and(|thread| !thread.has_exited);
            let is_another = position.is_ok_and(|position| {
                let threads = self.threads(batch, &known[position], current, sample.exec_count);
                record.thread == threads.leader() && threads.has_been_replaced()
            });
            is_living && !is_another
        };
        let counted = batch.threads.iter().filter(is_counted);
        counted.map(|record| (record.thread, record.process)).collect()
    }

    /// From now on these are the threads that were counted to their ends, and those of
    /// processes that this sweep could not read.
    pub(super) fn remember(
        &mut self,
        mut recorded: HashMap<ThreadKey, ProcessKey>,
        unread: &HashSet<ProcessKey>,
    ) {
        recorded.extend(self.recorded.drain().filter(|(_, process)| unread.contains(process)));
        self.recorded = recorded;
    }
}

impl Batch {
    /// The records of one process's threads.
    fn of_process(&self, key: ProcessKey) -> &[ThreadExit] {
        let begin = self.threads.partition_point(|record| record.process < key);
        let end = self.threads.partition_point(|record| record.process <= key);
        &self.threads[begin..end]
    }

    /// The record of a process, if it ended.
    pub(super) fn ended(&self, key: ProcessKey) -> Option<&Ended> {
        let position = self.processes.binary_search_by_key(&key, |ended| ended.key).ok()?;
        self.processes.get(position)
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
                key: record.process,
                io: Some(record.io.as_delta()),
                usage: UsageDelta::ZERO,
                rounded_records: self.rounded(1),
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
        }
    }
}

impl Threads<'_> {
    fn leader(&self) -> ThreadKey {
        ThreadKey { tid: self.key.pid, start_time_ticks: self.key.start_time_ticks }
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
        let successor = self.successor().map(|thread| thread.key);
        self.unrecorded_all().filter(|thread| Some(thread.key) != successor).copied().collect()
    }

    /// Whether the main thread is not the one that the first record speaks of: another thread
    /// has called exec and taken over its name.
    fn has_been_replaced(&self) -> bool {
        let leader = self.leader();
        let of_leader = self.records.iter().filter(|record| record.thread == leader).count();
        let records = of_leader + usize::from(self.recorded.contains_key(&leader));
        if records > 1 {
            return true;
        }
        let Some(living) = self.living(leader) else { return false };
        if self.has_ended || records == 0 {
            return false;
        }
        self.has_executed.unwrap_or_else(|| {
            // Else the record may just be later than the sweep.
            let is_its_own = self.recorded.get(&leader).is_none()
                && self.records.iter().any(|record| {
                    record.thread == leader && record.io.since(living.total).is_some()
                });
            let count = self.current.iter().filter(|thread| !thread.has_exited).count();
            self.unrecorded_all().next().is_some() || (count == 1 && !is_its_own)
        })
    }

    /// The thread that became the main one, where the sweep before saw it.
    fn successor(&self) -> Option<&ThreadIo> {
        if self.has_been_replaced() { self.unrecorded_all().next() } else { None }
    }

    fn own_io(&self) -> IoDelta {
        let leader = self.leader();
        let is_replaced = self.has_been_replaced();
        let of_successor = || self.successor().map_or(IoTotals::ZERO, |thread| thread.total);
        let mut own = IoDelta::ZERO;
        for thread in self.current.iter().filter(|thread| !thread.has_exited) {
            let counted = match find(self.previous, thread.key) {
                _ if is_replaced && thread.key == leader => of_successor(),
                Some(previous) => previous.total,
                None => IoTotals::ZERO,
            };
            own = own.plus(thread.total.since_clamped(counted));
        }
        let mut last = None;
        for record in self.records {
            let is_second = last.replace(record.thread) == Some(record.thread)
                || self.recorded.contains_key(&record.thread);
            let is_leaders = is_replaced && record.thread == leader;
            let counted = match (self.living(record.thread), find(self.previous, record.thread)) {
                _ if is_second => of_successor(),
                (Some(living), _) if !is_leaders => living.total,
                (_, Some(previous)) => previous.total,
                (_, None) => IoTotals::ZERO,
            };
            own = own.plus(record.io.since_clamped(counted));
        }
        own
    }
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
            parent: known.parent,
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

/// Threads stand ascending by key.
fn find(threads: &[ThreadIo], key: ThreadKey) -> Option<&ThreadIo> {
    let position = threads.binary_search_by_key(&key, |thread| thread.key).ok()?;
    threads.get(position)
}
