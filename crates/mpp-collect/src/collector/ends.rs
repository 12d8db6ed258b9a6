//! Who tells of ended processes, what comes of it for the sweep, and who tells once that one
//! fails.

use std::time::{Duration, Instant};

use mpp_accounting::exit::{ExitSource, ThreadExit};
use mpp_accounting::process::{ProcessKey, ProcessSample, ThreadIo};
use mpp_accounting::snapshot::Snapshot;
use mpp_parse::proc_pid_stat;

use super::{Collector, Request};
use crate::exits::{Population, Refusal, Witness};
use crate::identity::Known;
use crate::measure::{is_ending, read_thread_total};
use crate::proc_fs::{Name, open_folder};

/// A source of exit records that has failed is looked for again after so long, and each time
/// after twice as long as before.
pub(super) const LOOK_WAIT_MIN: Duration = Duration::from_secs(60);

const LOOK_WAIT_MAX: Duration = Duration::from_secs(3600);

impl Collector {
    /// Takes in what has been told of ended processes so far. A sweep does so by itself; where
    /// sweeps are more than a second or two apart, this keeps what is told from piling up in
    /// the kernel.
    ///
    /// In a process that was forked from the one that opened the collector nobody tells of
    /// ends any more.
    pub fn listen(&mut self) {
        if self.told_pid != std::process::id() {
            self.told_pid = std::process::id();
            self.refusals.push(Refusal {
                source: self.witness.source(),
                reason: "this process was forked from the one that is told".to_owned(),
                cure: None,
            });
            self.witness = Witness::Nobody;
            self.next_look = None;
        }
        self.witness.listen(self.origin.scale);
    }

    /// Joins what was told of ends to what this sweep saw.
    pub(super) fn hear_of_ends(&mut self, into: &mut Snapshot) {
        let population = Population {
            origin: &self.origin,
            known: &self.known,
            replaced: &self.replaced,
            processes: &into.processes,
            previous_sweep_ticks: self.swept_at_ticks,
            sweep_ticks: into.taken_at_ticks,
            delays: self.delay_accounting,
        };
        self.witness.testify(&population, &mut into.exits);
        self.swept_at_ticks = into.taken_at_ticks;
        self.note_silence();
        // All that was told has been handed out: from here on somebody else may tell.
        match self.witness.failure() {
            Some(failure) => self.replace_failed(failure),
            None => self.look_for_better(),
        }
    }

    /// Keeps why the living are not told of, for as long as that is so.
    fn note_silence(&mut self) {
        let silence = self.witness.silence_on_living();
        let is_known = silence.as_ref().is_some_and(|silence| self.refusals.contains(silence));
        if let Some(silence) = silence.filter(|_| !is_known) {
            self.trouble.failed_sources += 1;
            self.refusals.retain(|refusal| refusal.source != silence.source);
            self.refusals.push(silence);
        }
    }

    /// Has the next best witness tell from now on. Who a process is stays what it was.
    fn replace_failed(&mut self, failure: Refusal) {
        let next = match failure.source {
            ExitSource::Exact => ExitSource::Rounded,
            ExitSource::Rounded | ExitSource::Nobody => ExitSource::Nobody,
        };
        let (witness, refusals) = Witness::open(next, self.programs, self.exit_room, &self.origin);
        self.witness = witness;
        self.trouble.failed_sources += 1;
        self.refusals.retain(|refusal| refusal.source != failure.source);
        self.refusals.push(failure);
        self.refusals.extend(refusals);
        self.put_off_look();
    }

    /// Looks now and then whether a better witness can be had again.
    fn look_for_better(&mut self) {
        if self.next_look.is_none_or(|next| Instant::now() < next) {
            return;
        }
        let (witness, refusals) =
            Witness::open(self.exits_max, self.programs, self.exit_room, &self.origin);
        if witness.source() > self.witness.source() {
            self.witness = witness;
            self.refusals = refusals;
            self.next_look = None;
        }
        if self.witness.source() < self.exits_max {
            self.put_off_look();
        }
    }

    fn put_off_look(&mut self) {
        self.next_look = Some(Instant::now() + self.look_wait);
        self.look_wait = (self.look_wait * 2).min(LOOK_WAIT_MAX);
    }

    /// Asks main threads again of which the total of their process was taken in this sweep, where
    /// another thread of it turns out to have ended: that one is told of by itself.
    pub(super) fn heed_ended_threads(&mut self, needs: &Request<'_>, into: &mut Snapshot) {
        if self.watch_of(needs.scope).is_none() || into.exits.lost_records > 0 {
            self.watch += 1;
            return;
        }
        let is_main = |ended: &ThreadExit| ended.thread.tid == ended.process.pid;
        for ended in into.exits.threads.iter().filter(|ended| !is_main(ended)) {
            let Some(known) = self.lone(ended) else { continue };
            known.threads_max = known.threads_max.max(2);
            let before = known.former_threads().and_then(|threads| threads.first().copied());
            if let Some(sample) = sample_of(&mut into.processes, ended.process) {
                // What it did since the sweep before its own record will tell, if it has ended.
                if let Some(now) = self.main_thread_now(sample).or(before) {
                    sample.io.set_threads(sample.key, &[now]);
                }
            }
        }
        // A main thread that ended alone was its process. Else another one has called exec and
        // taken its place, and the process lives.
        for ended in into.exits.threads.iter().filter(|ended| is_main(ended)) {
            if self.lone(ended).is_some()
                && let Some(sample) = sample_of(&mut into.processes, ended.process)
                && let Some(now) = self.main_thread_now(sample)
            {
                sample.io.set_threads(sample.key, &[now]);
            }
        }
    }

    /// The process of a thread, if its total was taken for its main thread's in this sweep; it is
    /// not taken so again.
    fn lone(&mut self, ended: &ThreadExit) -> Option<&mut Known> {
        let round = self.round;
        let known = self.known.get_mut(ended.process.pid)?;
        let memory = known.by_procfs();
        if known.key != ended.process || memory.alone_since.is_none() {
            return None;
        }
        let is_lone = memory.lone_round == round;
        let memory = known.by_procfs_mut();
        (memory.alone_since, memory.standstill) = (None, None);
        Some(known).filter(|_| is_lone)
    }

    /// What the main thread of a process has done by now; `None` where it is no longer there.
    fn main_thread_now(&mut self, sample: &ProcessSample) -> Option<ThreadIo> {
        let ProcessKey { pid, start_time_ticks } = sample.key;
        let thread = *sample.threads().value()?.iter().find(|thread| thread.key.tid == pid)?;
        let Collector { origin, buffers, .. } = self;
        let folder = open_folder(&origin.root, Name::of(pid).as_c_str()).ok()?;
        let text = buffers.room.read_lines(&folder, c"stat", 1).ok()?;
        let stat = proc_pid_stat::parse(text).ok()?;
        if stat.start_time_ticks != start_time_ticks || is_ending(&stat) {
            return None;
        }
        let total = read_thread_total(origin, &folder, pid, buffers).value().copied()?;
        Some(ThreadIo { total, ..thread })
    }
}

/// Samples stand ascending by key.
pub(super) fn sample_of(
    samples: &mut [ProcessSample],
    key: ProcessKey,
) -> Option<&mut ProcessSample> {
    let position = samples.binary_search_by_key(&key, |sample| sample.key).ok()?;
    samples.get_mut(position)
}
