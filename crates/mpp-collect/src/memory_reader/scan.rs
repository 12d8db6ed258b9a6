//! Asks every process there is a question, by threads that may hang, and reads no more of each
//! than its answer takes.
//!
//! What [`MemoryReader`](super::MemoryReader) does for a sweep costs two hand-overs a process:
//! too much for one look at ten thousand. Here a thread takes a batch of PIDs; the question
//! decides about each, or names what must be read before it can. The thread hands back what came
//! of the whole batch. Whoever waits looks now and then whether the threads get on. One that has
//! been in the memory of the same process for longer than a deadline is given up: that process is
//! remembered, and another thread looks through its batch again without it.
//!
//! Files are opened by their path from the top, which saves opening each process's folder; how it
//! is made sure that all of them were of the same process is said in `scan/reader.rs`. Nothing is
//! kept of those that do not match.

mod reader;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use mpp_accounting::process::{Absence, Identity, ProcessKey, Reading};
use mpp_parse::proc_pid_environ::{is_clobbered, lookup};
use mpp_parse::proc_pid_stat::Stat;
use rustix::thread::{Pid, gettid};

use self::reader::{Reader, start_time_of};
use super::hanging::ProcfsId;
use super::{EXTENSIONS_MAX, READ_DEADLINE, is_thread_runnable};
use crate::identity::{Risk, environment_of, has_only_forked};
use crate::measure::is_kernel_thread;

/// Processes that a thread takes at a time.
const BATCH: usize = 64;
/// How often it is looked whether the threads get on.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// The start of a process that nobody has asked for it.
const UNKNOWN: u64 = u64::MAX;

/// What is asked of every process, again and again with more read of it each time.
pub type Question = dyn Fn(&Seen<'_>) -> Step + Send + Sync;

/// What a question makes of what it has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It matches.
    Yes,
    /// It matches, and this is kept of it.
    Keep(ProcessKey, Box<Identity>),
    /// It does not.
    No,
    /// This must be read first. What has been read is not asked for again.
    Read(Part),
    /// The process by itself does not tell; see [`Scan::undecided`].
    Undecided,
    /// What decides it could not be read.
    Unknown(Absence),
}

/// What can be read of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The path of its executable.
    Executable = 0,
    /// Its control group.
    Cgroup = 1,
    /// Its command line, which can block on it.
    Cmdline = 2,
    /// Its environment, which can block on it.
    Environ = 3,
    /// Its command name, which alone costs two thirds of [`Part::Stat`].
    Comm = 4,
    /// Its effective user.
    Owner = 5,
    /// Its start, parent and command name.
    Stat = 6,
}

/// What has been seen of a process so far.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Who is asked.
    pub pid: u32,
    texts: &'a Texts,
}

impl Seen<'_> {
    /// What was read of it; `None` before it was asked for, and of [`Part::Owner`] and
    /// [`Part::Stat`], which are no text.
    #[must_use]
    pub fn text(&self, part: Part) -> Option<Reading<&[u8]>> {
        self.texts.get(part)
    }

    /// Its command name; `None` before it or [`Part::Stat`] was asked for.
    #[must_use]
    pub fn comm(&self) -> Option<&[u8]> {
        self.text(Part::Comm)?.value().copied()
    }

    /// Its effective user; `None` before it was asked for.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.texts.uid
    }

    /// Which process it is; `None` before [`Part::Stat`] was asked for.
    #[must_use]
    pub fn key(&self) -> Option<ProcessKey> {
        let start_time_ticks = self.texts.told?.start_time_ticks;
        Some(ProcessKey { pid: self.pid, start_time_ticks })
    }

    /// The value of a variable in the environment that was read; of two equal keys the first
    /// counts.
    #[must_use]
    pub fn variable(&self, key: &[u8]) -> Option<&[u8]> {
        lookup(self.text(Part::Environ)?.value().copied()?, key)
    }

    /// Whether it was forked and has executed nothing since, and has written over its
    /// environment: whoever forked it may still have what stood there. `None` where that takes
    /// [`Part::Stat`].
    #[must_use]
    pub fn has_lost_environment(&self) -> Option<bool> {
        let environment = self.text(Part::Environ);
        let is_written_over = environment
            .is_some_and(|reading| reading.value().is_some_and(|bytes| is_clobbered(bytes)));
        match self.texts.told {
            _ if !is_written_over => Some(false),
            told => told.map(|told| told.has_only_forked),
        }
    }

    /// Who it is, as far as it has been read, with those of the variables in its environment
    /// that have these keys. A name that was not read is empty, a user 0.
    #[must_use]
    pub fn identity(&self, keys: &[Box<[u8]>]) -> Identity {
        let owned = |part| match self.text(part) {
            Some(reading) => reading.map(Box::from),
            None => Reading::Absent(Absence::NotYetKnown),
        };
        let unread = (Reading::Absent(Absence::NotYetKnown), false);
        let (environment, is_environment_incomplete) = match self.text(Part::Environ) {
            Some(Reading::Value(bytes)) => environment_of(bytes, keys, &[]),
            Some(Reading::Absent(why)) => (Reading::Absent(why), false),
            None => unread,
        };
        Identity {
            comm: Box::from(self.comm().unwrap_or_default()),
            uid: self.uid().unwrap_or_default(),
            executable: owned(Part::Executable),
            cmdline: owned(Part::Cmdline),
            environment,
            is_environment_incomplete,
            cgroup: owned(Part::Cgroup),
            is_kernel_thread: self.texts.told.is_some_and(|told| told.is_kernel_thread),
        }
    }

    /// Whether it was asked for, and could be read or not.
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        match part {
            Part::Owner => self.texts.uid.is_some(),
            Part::Stat => self.texts.told.is_some(),
            part => self.text(part).is_some(),
        }
    }
}

/// What came of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The PIDs of the processes that match; ascending.
    pub found: Vec<u32>,
    /// Those of them of which something is kept; ascending by PID.
    pub kept: Vec<(ProcessKey, Box<Identity>)>,
    /// Processes that one look does not tell: the question said so, or they must be asked of
    /// another thread than the main one, which has exited. Ascending.
    pub undecided: Vec<u32>,
    /// The others that could not be asked, and why. Ascending.
    pub unknown: Vec<(u32, Absence)>,
    /// Every process whose [`Part::Stat`] was asked for and could be read, and its parent's PID.
    pub parents: Vec<(u32, u32)>,
}

/// What one process answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    Keep(ProcessKey, Box<Identity>),
    No,
    Undecided,
    /// Its memory is not for this pass.
    Later(Risk),
    Unknown(Absence),
}

/// What came of asking one process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answered {
    answer: Answer,
    /// `None` where its `stat` was not, or could not be read.
    parent_pid: Option<u32>,
}

/// Processes that a thread looks through, and whose memory it may read.
#[derive(Clone, Debug)]
struct Batch {
    pids: Vec<u32>,
    risk_max: Risk,
}

/// What was read of the process that is being asked; the storage is used again.
#[derive(Debug, Default)]
struct Texts {
    texts: [Vec<u8>; 5],
    outcomes: [Option<Reading<()>>; 5],
    uid: Option<u32>,
    told: Option<Told>,
}

/// What its `stat` says of it, beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    start_time_ticks: u64,
    parent_pid: u32,
    risk: Risk,
    is_zombie: bool,
    has_several_threads: bool,
    is_kernel_thread: bool,
    has_only_forked: bool,
}

impl Told {
    fn of(stat: &Stat<'_>) -> Self {
        Told {
            start_time_ticks: stat.start_time_ticks,
            parent_pid: stat.ppid,
            risk: Risk::of(stat),
            is_zombie: stat.state == b'Z',
            has_several_threads: stat.num_threads > 1,
            is_kernel_thread: is_kernel_thread(stat),
            has_only_forked: has_only_forked(stat),
        }
    }
}

impl Texts {
    fn clear(&mut self) {
        (self.outcomes, self.uid, self.told) = ([None; 5], None, None);
    }

    fn get(&self, part: Part) -> Option<Reading<&[u8]>> {
        let position = part as usize;
        let outcome = self.outcomes.get(position).copied().flatten()?;
        Some(outcome.map(|()| self.texts.get(position).map_or(&[][..], Vec::as_slice)))
    }

    fn put(&mut self, part: Part, outcome: Reading<&[u8]>) {
        let position = part as usize;
        let text = &mut self.texts[position];
        text.clear();
        text.extend_from_slice(outcome.value().copied().unwrap_or_default());
        self.outcomes[position] = Some(outcome.map(|_| ()));
    }
}

/// Asks all these processes, for no longer than `wait`.
///
/// `procfs` is a descriptor of its top folder, `pids` come from its listing, and `now_ticks` is
/// what the start of a process says that begins now.
pub(crate) fn scan(
    procfs: OwnedFd,
    pids: Vec<u32>,
    now_ticks: u64,
    question: &Arc<Question>,
    wait: Duration,
) -> Scan {
    let shared = Arc::new(Shared {
        procfs_id: ProcfsId::of(&procfs),
        procfs,
        began_ticks: now_ticks,
        question: Arc::clone(question),
        state: Mutex::new(State { first_pass: pids, ..State::default() }),
        progress: Condvar::new(),
    });
    let mut found = shared.finish(Instant::now() + wait);
    found.found.sort_unstable();
    found.kept.sort_unstable_by_key(|(key, _)| *key);
    found.undecided.sort_unstable();
    found.unknown.sort_unstable_by_key(|(pid, _)| *pid);
    found
}

struct Shared {
    procfs: OwnedFd,
    procfs_id: ProcfsId,
    /// When the scan began: whoever is older had its PID then.
    began_ticks: u64,
    question: Arc<Question>,
    state: Mutex<State>,
    /// Everything is answered, or a thread has ended.
    progress: Condvar,
}

#[derive(Default)]
struct State {
    /// Whom nobody has asked yet; taken from its end.
    first_pass: Vec<u32>,
    /// Batches of threads that were given up.
    again: Vec<Batch>,
    /// Whom to ask last, those with the least risk before the others.
    later: Vec<(Risk, u32)>,
    found: Scan,
    /// In whom a thread of this scan hangs.
    blocked: Vec<ProcessKey>,
    workers: Vec<Worker>,
    workers_begun: u64,
    is_closed: bool,
}

/// A thread that has not been given up.
struct Worker {
    number: u64,
    pulse: Arc<Pulse>,
    /// What it looks through; `None` between two batches.
    batch: Option<Batch>,
    /// The beat it was last seen at, and since when.
    beat: u64,
    since: Instant,
    extensions: u32,
}

/// What a thread shows of itself while it reads.
#[derive(Debug, Default)]
struct Pulse {
    /// Odd while it is in the memory of a process; grows with each that it begins and ends.
    beat: AtomicU64,
    /// In whose.
    pid: AtomicU32,
    /// Or [`UNKNOWN`].
    start_time_ticks: AtomicU64,
    /// Itself; 0 before it has begun.
    thread: AtomicU32,
    /// In whom it was found hanging. Nobody waits for it any more.
    given_up: OnceLock<ProcessKey>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread of ours that panicked has left nothing half-done that could matter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the answers of all; what is open at the end is blocked.
    fn finish(self: &Arc<Self>, until: Instant) -> Scan {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            state.give_up_overdue(now, self);
            self.staff(&mut state);
            if state.is_done() || state.workers.is_empty() || now >= until {
                break;
            }
            let wait = LOOK_INTERVAL.min(until.saturating_duration_since(now));
            let waited = self.progress.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let unasked = state.unasked_pids();
        state.close(self);
        let mut found = std::mem::take(&mut state.found);
        found.unknown.extend(unasked.into_iter().map(|pid| (pid, Absence::Blocked)));
        found
    }

    /// Starts the threads that are missing, as far as the bounds allow and there is work.
    fn staff(self: &Arc<Self>, state: &mut State) {
        let batches = state.unasked().div_ceil(BATCH);
        let allowed = self.procfs_id.workers_allowed().min(batches);
        while state.workers.len() < allowed {
            let number = state.workers_begun;
            let pulse = Arc::new(Pulse::default());
            let (shared, own) = (Arc::clone(self), Arc::clone(&pulse));
            let body = move || shared.live(number, &own);
            if Builder::new().name("mpp-scan".to_owned()).spawn(body).is_err() {
                return;
            }
            state.workers_begun += 1;
            let since = Instant::now();
            state.workers.push(Worker {
                number,
                pulse,
                batch: None,
                beat: 0,
                since,
                extensions: 0,
            });
        }
    }

    /// A thread's life.
    fn live(&self, number: u64, pulse: &Pulse) {
        pulse.thread.store(gettid().as_raw_nonzero().get().unsigned_abs(), Ordering::Relaxed);
        self.work(number, pulse);
        if let Some(process) = pulse.given_up.get() {
            self.procfs_id.forget_hanging(*process);
        }
        self.progress.notify_all();
    }

    /// Asks one batch after the other.
    fn work(&self, number: u64, pulse: &Pulse) {
        let mut reader = Reader::new(self, pulse);
        let mut state = self.lock();
        while let Some(batch) = state.begin_batch(number) {
            let blocked = state.blocked.clone();
            drop(state);
            let Some(answered) = reader.ask_all(&batch, blocked) else { return };
            state = self.lock();
            if !state.end_batch(number, &batch, answered) {
                return;
            }
        }
        state.workers.retain(|worker| worker.number != number);
    }
}

impl State {
    /// Whom nobody has answered for, those that are being asked included.
    fn unasked(&self) -> usize {
        let in_work = self.workers.iter().filter_map(|worker| worker.batch.as_ref());
        let batches = self.again.iter().chain(in_work).map(|batch| batch.pids.len());
        self.first_pass.len() + self.later.len() + batches.sum::<usize>()
    }

    fn unasked_pids(&self) -> Vec<u32> {
        let in_work = self.workers.iter().filter_map(|worker| worker.batch.as_ref());
        let batches = self.again.iter().chain(in_work).flat_map(|batch| &batch.pids);
        let later = self.later.iter().map(|(_, pid)| pid);
        self.first_pass.iter().chain(later).chain(batches).copied().collect()
    }

    fn is_done(&self) -> bool {
        self.unasked() == 0
    }

    /// The next batch for this thread; `None` where there is none, or nobody waits any more.
    fn begin_batch(&mut self, number: u64) -> Option<Batch> {
        if self.is_closed {
            return None;
        }
        let batch = self.next_batch()?;
        let worker = self.workers.iter_mut().find(|worker| worker.number == number)?;
        worker.batch = Some(batch.clone());
        Some(batch)
    }

    fn next_batch(&mut self) -> Option<Batch> {
        if let Some(batch) = self.again.pop() {
            return Some(batch);
        }
        if !self.first_pass.is_empty() {
            let rest = self.first_pass.len().saturating_sub(BATCH);
            return Some(Batch { pids: self.first_pass.split_off(rest), risk_max: Risk::Least });
        }
        let risk_max = self.later.iter().map(|(risk, _)| *risk).min()?;
        let is_next = |(risk, _): &mut (Risk, u32)| *risk == risk_max;
        let pids = self.later.extract_if(.., is_next).take(BATCH).map(|(_, pid)| pid).collect();
        Some(Batch { pids, risk_max })
    }

    /// Takes what came of a batch; whether its thread was still waited for.
    fn end_batch(&mut self, number: u64, batch: &Batch, answered: Vec<Answered>) -> bool {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.number == number) else {
            return false;
        };
        worker.batch = None;
        for (pid, Answered { answer, parent_pid }) in batch.pids.iter().zip(answered) {
            match answer {
                Answer::Later(risk) => {
                    self.later.push((risk, *pid));
                    continue;
                }
                Answer::Yes => self.found.found.push(*pid),
                Answer::Keep(key, identity) => {
                    self.found.found.push(*pid);
                    self.found.kept.push((key, identity));
                }
                Answer::No => {}
                Answer::Undecided => self.found.undecided.push(*pid),
                Answer::Unknown(why) => self.found.unknown.push((*pid, why)),
            }
            self.found.parents.extend(parent_pid.map(|parent_pid| (*pid, parent_pid)));
        }
        true
    }

    /// Gives up every thread that hangs; its batch is asked again without the process.
    fn give_up_overdue(&mut self, now: Instant, shared: &Shared) {
        self.workers.iter_mut().for_each(|worker| worker.look_at(now));
        let overdue: Vec<_> = self.workers.extract_if(.., |worker| worker.hangs(now)).collect();
        for worker in overdue {
            self.blocked.push(worker.pulse.give_up(shared));
            self.again.extend(worker.batch);
        }
    }

    /// Nobody waits any more: whoever is in the memory of a process now may never come back.
    fn close(&mut self, shared: &Shared) {
        self.is_closed = true;
        for worker in self.workers.drain(..).filter(|worker| worker.pulse.is_reading()) {
            worker.pulse.give_up(shared);
        }
    }
}

impl Worker {
    /// Takes note of how it gets on.
    fn look_at(&mut self, now: Instant) {
        let beat = self.pulse.beat.load(Ordering::Acquire);
        if beat != self.beat {
            (self.beat, self.since, self.extensions) = (beat, now, 0);
        } else if self.hangs(now) && self.extensions < EXTENSIONS_MAX && self.pulse.is_only_slow() {
            (self.since, self.extensions) = (now, self.extensions + 1);
        }
    }

    /// Whether it has been in the memory of one process for longer than the deadline.
    fn hangs(&self, now: Instant) -> bool {
        self.beat % 2 == 1 && now.saturating_duration_since(self.since) >= READ_DEADLINE
    }
}

impl Pulse {
    /// It is about to read a process's memory, whose start it may not know.
    fn begin(&self, pid: u32, start_time_ticks: Option<u64>) {
        self.pid.store(pid, Ordering::Relaxed);
        self.start_time_ticks.store(start_time_ticks.unwrap_or(UNKNOWN), Ordering::Relaxed);
        self.beat.fetch_add(1, Ordering::Release);
    }

    fn end(&self) {
        self.beat.fetch_add(1, Ordering::Release);
    }

    fn is_reading(&self) -> bool {
        self.beat.load(Ordering::Acquire) % 2 == 1
    }

    /// Takes account of the thread as one that hangs, until it comes back; in whom it hangs.
    fn give_up(&self, shared: &Shared) -> ProcessKey {
        let pid = self.pid.load(Ordering::Relaxed);
        let start_time_ticks = match self.start_time_ticks.load(Ordering::Relaxed) {
            UNKNOWN => start_time_of(&shared.procfs, pid).unwrap_or(UNKNOWN),
            known => known,
        };
        let process = ProcessKey { pid, start_time_ticks };
        shared.procfs_id.record_hanging(process);
        *self.given_up.get_or_init(|| process)
    }

    /// Whether its thread waits for a CPU, or has one.
    fn is_only_slow(&self) -> bool {
        let thread = i32::try_from(self.thread.load(Ordering::Relaxed)).ok();
        thread.and_then(Pid::from_raw).is_some_and(is_thread_runnable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ProcessKey = ProcessKey { pid: 4, start_time_ticks: 7 };

    fn answered(answer: Answer) -> Answered {
        Answered { answer, parent_pid: Some(1) }
    }

    fn keep() -> Answered {
        let texts = Texts { told: Some(told(Fork::Before)), ..Texts::default() };
        answered(Answer::Keep(KEY, Box::new(seen(&texts).identity(&[]))))
    }

    /// Whether it has executed something since it was forked.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fork {
        Before,
        Last,
    }

    fn told(fork: Fork) -> Told {
        Told {
            start_time_ticks: KEY.start_time_ticks,
            parent_pid: 1,
            risk: Risk::Least,
            is_zombie: false,
            has_several_threads: false,
            is_kernel_thread: false,
            has_only_forked: fork == Fork::Last,
        }
    }

    fn seen(texts: &Texts) -> Seen<'_> {
        Seen { pid: KEY.pid, texts }
    }

    /// A scan of the processes that are there, which are asked nothing.
    pub(super) fn shared(question: Arc<Question>) -> Shared {
        let procfs = OwnedFd::from(std::fs::File::open("/proc").unwrap());
        Shared {
            procfs_id: ProcfsId::of(&procfs),
            procfs,
            began_ticks: u64::MAX,
            question,
            state: Mutex::default(),
            progress: Condvar::new(),
        }
    }

    fn worker(number: u64, batch: &Batch, beat: u64, since: Instant) -> Worker {
        let pulse = Arc::new(Pulse::default());
        pulse.pid.store(batch.pids[0], Ordering::Relaxed);
        pulse.start_time_ticks.store(KEY.start_time_ticks, Ordering::Relaxed);
        pulse.beat.store(beat, Ordering::Relaxed);
        Worker { number, pulse, batch: Some(batch.clone()), beat, since, extensions: 0 }
    }

    #[test]
    fn of_two_equal_variables_the_first_counts_and_a_lost_environment_is_told() {
        fn check(
            fork: Option<Fork>,
            bytes: &str,
            key: &str,
            expected: (Option<&str>, Option<bool>),
        ) {
            let mut texts = Texts { told: fork.map(told), ..Texts::default() };
            texts.put(Part::Environ, Reading::Value(bytes.as_bytes()));
            let seen = seen(&texts);
            let value = seen.variable(key.as_bytes());
            let value = value.map(|value| str::from_utf8(value).unwrap());
            assert_eq!((value, seen.has_lost_environment()), expected, "{fork:?} {bytes:?} {key}");
        }
        check(Some(Fork::Before), "A=1\0B=\0A=2\0", "A", (Some("1"), Some(false)));
        check(Some(Fork::Before), "A=1\0B=\0A=2\0", "B", (Some(""), Some(false)));
        check(Some(Fork::Before), "a title\0A=1\0", "C", (None, Some(false)));
        check(Some(Fork::Last), "A=1\0", "A", (Some("1"), Some(false)));
        check(Some(Fork::Last), "a title\0A=1\0", "A", (Some("1"), Some(true)));
        check(None, "A=1\0", "A", (Some("1"), Some(false)));
        check(None, "a title\0A=1\0", "A", (Some("1"), None));
    }

    #[test]
    fn an_identity_knows_what_was_read_and_says_what_was_not() {
        let mut texts = Texts::default();
        assert_eq!(
            (seen(&texts).comm(), seen(&texts).uid(), seen(&texts).key()),
            (None, None, None)
        );
        texts.put(Part::Cmdline, Reading::Value(b"x\0-v\0"));
        texts.put(Part::Comm, Reading::Value(b"x"));
        texts.put(Part::Executable, Reading::Absent(Absence::Denied));
        (texts.uid, texts.told) = (Some(1), Some(told(Fork::Before)));
        let identity = seen(&texts).identity(&[]);
        assert_eq!((&*identity.comm, identity.uid), (&b"x"[..], 1));
        assert_eq!(identity.cmdline, Reading::Value(Box::from(&b"x\0-v\0"[..])));
        assert_eq!(identity.executable, Reading::Absent(Absence::Denied));
        assert_eq!(identity.environment, Reading::Absent(Absence::NotYetKnown));
        assert_eq!(seen(&texts).key(), Some(KEY));
        texts.clear();
        assert_eq!(seen(&texts).text(Part::Cmdline), None);
        assert!(!seen(&texts).has(Part::Owner) && !seen(&texts).has(Part::Stat));
    }

    #[test]
    fn what_is_risky_is_asked_last_and_the_riskiest_at_the_end() {
        let mut state = State { first_pass: (1..=100).collect(), ..State::default() };
        let first = state.next_batch().unwrap();
        assert_eq!((first.pids.len(), first.risk_max), (BATCH, Risk::Least));
        assert_eq!(first.pids[0], 37);
        assert_eq!(state.next_batch().unwrap().pids.len(), 36);
        let (several, waiting) = (Risk::SeveralThreads, Risk::Uninterruptible);
        state.later = vec![(waiting, 7), (several, 8), (waiting, 9), (several, 10)];
        let mut next = || state.next_batch().map(|batch| (batch.pids, batch.risk_max));
        assert_eq!(next(), Some((vec![8, 10], several)));
        assert_eq!(next(), Some((vec![7, 9], waiting)));
        assert_eq!(next(), None);
    }

    #[test]
    fn the_batch_of_a_thread_that_hangs_goes_to_another_and_its_answers_are_nobodys() {
        let mut shared = shared(Arc::new(|_: &Seen<'_>| Step::No));
        shared.procfs_id = ProcfsId::of(std::io::stdin());
        let (now, batch) = (Instant::now(), Batch { pids: vec![4, 5], risk_max: Risk::Least });
        let long_ago = now.checked_sub(READ_DEADLINE * 2).unwrap();
        let mut state = State {
            workers: vec![worker(0, &batch, 1, long_ago), worker(1, &batch, 2, long_ago)],
            ..State::default()
        };
        assert_eq!(state.unasked(), 4);
        state.give_up_overdue(now, &shared);
        assert_eq!(state.workers.len(), 1, "between two environments nobody hangs");
        assert_eq!(state.blocked, [KEY]);
        assert!(shared.procfs_id.is_hanging_in(state.blocked[0]));
        shared.procfs_id.forget_hanging(state.blocked[0]);
        assert_eq!(state.unasked(), 4);
        assert!(!state.end_batch(0, &batch, vec![keep(), keep()]));
        assert!(state.end_batch(1, &batch, vec![keep(), answered(Answer::Undecided)]));
        let Scan { found, kept, undecided, .. } = &state.found;
        assert_eq!((found, kept.len(), undecided), (&vec![4], 1, &vec![5]));
        assert_eq!(state.found.parents, [(4, 1), (5, 1)], "once each");
        assert_eq!(state.next_batch().unwrap().pids, [4, 5]);
    }
}
