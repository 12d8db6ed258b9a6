//! Asks every process there is a question, by threads that may hang, and reads no more of each
//! than its answer takes.
//!
//! What [`MemoryReader`](super::MemoryReader) does for a sweep costs two hand-overs a process:
//! too much for one look at ten thousand. Here a thread takes a batch of PIDs and reads of each
//! process its `stat`; the question then decides, or names what must be read before it can. The
//! thread hands back what came of the whole batch. Whoever waits looks now and then whether the
//! threads get on. One that has been in the memory of the same process for longer than a deadline
//! is given up: that process is remembered, and another thread looks through its batch again
//! without it.
//!
//! Each process is asked through its folder, so that all that is read of it is of the same
//! process, whoever bears its PID later. Nothing is kept of those that do not match.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use mpp_accounting::process::{Absence, Identity, ProcessKey, Reading};
use mpp_parse::proc_pid_environ::{is_clobbered, lookup};
use mpp_parse::proc_pid_stat::{self, Stat};
use rustix::io::Errno;
use rustix::thread::{Pid, gettid};

use super::hanging::ProcfsId;
use super::{EXTENSIONS_MAX, MemoryFile, READ_DEADLINE, is_thread_runnable};
use crate::error::absence_of;
use crate::identity::{Risk, cgroup_path, environment_of, has_only_forked, without_deleted};
use crate::measure::{is_ending, is_kernel_thread};
use crate::proc_fs::{FileError, FileResult, Name, Room, link_target, open_folder, status_of};

/// Processes that a thread takes at a time.
const BATCH: usize = 64;
/// How often it is looked whether the threads get on.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// What is asked of every process, again and again with more read of it each time.
pub type Question = dyn Fn(&Seen<'_>) -> Step + Send + Sync;

/// What a question makes of what it has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It matches; this is kept of it.
    Yes(Box<Identity>),
    /// It does not.
    No,
    /// This must be read first. What has been read is not asked for again.
    Read(Part),
    /// The process by itself does not tell; see [`Scan::undecided`].
    Undecided,
    /// What decides it could not be read.
    Unknown(Absence),
}

/// What can be read of a process beside its `stat` and its owner.
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
}

/// What has been seen of a process so far.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Which process.
    pub key: ProcessKey,
    /// Its command name.
    pub comm: &'a [u8],
    /// Its effective user.
    pub uid: u32,
    is_kernel_thread: bool,
    has_only_forked: bool,
    texts: &'a Texts,
}

impl Seen<'_> {
    /// What was read of it; `None` before it was asked for.
    #[must_use]
    pub fn text(&self, part: Part) -> Option<Reading<&[u8]>> {
        self.texts.get(part)
    }

    /// The value of a variable in the environment that was read; of two equal keys the first
    /// counts.
    #[must_use]
    pub fn variable(&self, key: &[u8]) -> Option<&[u8]> {
        lookup(self.text(Part::Environ)?.value().copied()?, key)
    }

    /// Whether it was forked and has executed nothing since, and has written over its
    /// environment: whoever forked it may still have what stood there.
    #[must_use]
    pub fn has_lost_environment(&self) -> bool {
        let environment = self.text(Part::Environ);
        self.has_only_forked
            && environment
                .is_some_and(|reading| reading.value().is_some_and(|bytes| is_clobbered(bytes)))
    }

    /// Who it is, as far as it has been read, with those of the variables in its environment
    /// that have these keys.
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
            comm: Box::from(self.comm),
            uid: self.uid,
            executable: owned(Part::Executable),
            cmdline: owned(Part::Cmdline),
            environment,
            is_environment_incomplete,
            cgroup: owned(Part::Cgroup),
            is_kernel_thread: self.is_kernel_thread,
        }
    }
}

/// What came of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The processes that match; ascending by PID.
    pub found: Vec<(ProcessKey, Box<Identity>)>,
    /// Processes that one look does not tell: the question said so, or they must be asked of
    /// another thread than the main one, which has exited. Ascending.
    pub undecided: Vec<u32>,
    /// The others that could not be asked, and why. Ascending.
    pub unknown: Vec<(u32, Absence)>,
    /// Every process whose `stat` could be read, and its parent's PID.
    pub parents: Vec<(u32, u32)>,
}

/// What one process answered.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Yes(ProcessKey, Box<Identity>),
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
    /// `None` where its `stat` could not be read.
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
    texts: [Vec<u8>; 4],
    outcomes: [Option<Reading<()>>; 4],
}

impl Texts {
    fn clear(&mut self) {
        self.outcomes = [None; 4];
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
/// `procfs` is a descriptor of its top folder, `pids` come from its listing.
pub(crate) fn scan(
    procfs: OwnedFd,
    pids: Vec<u32>,
    question: &Arc<Question>,
    wait: Duration,
) -> Scan {
    let shared = Arc::new(Shared {
        procfs_id: ProcfsId::of(&procfs),
        procfs,
        question: Arc::clone(question),
        state: Mutex::new(State { first_pass: pids, ..State::default() }),
        progress: Condvar::new(),
    });
    let mut found = shared.finish(Instant::now() + wait);
    found.found.sort_unstable_by_key(|(key, _)| *key);
    found.undecided.sort_unstable();
    found.unknown.sort_unstable_by_key(|(pid, _)| *pid);
    found
}

struct Shared {
    procfs: OwnedFd,
    procfs_id: ProcfsId,
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
            state.give_up_overdue(now, self.procfs_id);
            self.staff(&mut state);
            if state.is_done() || state.workers.is_empty() || now >= until {
                break;
            }
            let wait = LOOK_INTERVAL.min(until.saturating_duration_since(now));
            let waited = self.progress.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let unasked = state.unasked_pids();
        state.close(self.procfs_id);
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
        let mut reader =
            Reader { shared: self, pulse, room: Room::default(), texts: Texts::default() };
        let mut state = self.lock();
        while let Some(batch) = state.begin_batch(number) {
            let blocked = state.blocked.clone();
            drop(state);
            let Some(answered) = reader.ask_all(&batch, &blocked) else { return };
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
                Answer::Yes(key, identity) => self.found.found.push((key, identity)),
                Answer::No => {}
                Answer::Undecided => self.found.undecided.push(*pid),
                Answer::Unknown(why) => self.found.unknown.push((*pid, why)),
            }
            self.found.parents.extend(parent_pid.map(|parent_pid| (*pid, parent_pid)));
        }
        true
    }

    /// Gives up every thread that hangs; its batch is asked again without the process.
    fn give_up_overdue(&mut self, now: Instant, procfs: ProcfsId) {
        self.workers.iter_mut().for_each(|worker| worker.look_at(now));
        let overdue: Vec<_> = self.workers.extract_if(.., |worker| worker.hangs(now)).collect();
        for worker in overdue {
            self.blocked.push(worker.pulse.give_up(procfs));
            self.again.extend(worker.batch);
        }
    }

    /// Nobody waits any more: whoever is in the memory of a process now may never come back.
    fn close(&mut self, procfs: ProcfsId) {
        self.is_closed = true;
        for worker in self.workers.drain(..).filter(|worker| worker.pulse.is_reading()) {
            worker.pulse.give_up(procfs);
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
    fn begin(&self, process: ProcessKey) {
        self.pid.store(process.pid, Ordering::Relaxed);
        self.start_time_ticks.store(process.start_time_ticks, Ordering::Relaxed);
        self.beat.fetch_add(1, Ordering::Release);
    }

    fn end(&self) {
        self.beat.fetch_add(1, Ordering::Release);
    }

    fn is_reading(&self) -> bool {
        self.beat.load(Ordering::Acquire) % 2 == 1
    }

    /// Takes account of the thread as one that hangs, until it comes back; in whom it hangs.
    fn give_up(&self, procfs: ProcfsId) -> ProcessKey {
        let process = ProcessKey {
            pid: self.pid.load(Ordering::Relaxed),
            start_time_ticks: self.start_time_ticks.load(Ordering::Relaxed),
        };
        procfs.record_hanging(process);
        *self.given_up.get_or_init(|| process)
    }

    /// Whether its thread waits for a CPU, or has one.
    fn is_only_slow(&self) -> bool {
        let thread = i32::try_from(self.thread.load(Ordering::Relaxed)).ok();
        thread.and_then(Pid::from_raw).is_some_and(is_thread_runnable)
    }
}

/// A thread's own: what it reads with and into.
struct Reader<'a> {
    shared: &'a Shared,
    pulse: &'a Pulse,
    room: Room,
    texts: Texts,
}

/// The process that is being asked.
struct Asked<'a> {
    key: ProcessKey,
    folder: &'a OwnedFd,
    stat: &'a Stat<'a>,
}

/// Why something was not read.
enum Unread {
    Answered(Answer),
    Absent(Absence),
}

impl Reader<'_> {
    /// `None` where this thread was given up meanwhile: its answers are nobody's.
    fn ask_all(&mut self, batch: &Batch, blocked: &[ProcessKey]) -> Option<Vec<Answered>> {
        let mut answered = Vec::with_capacity(batch.pids.len());
        let mut stat_room = Room::default();
        for pid in &batch.pids {
            let mut parent_pid = None;
            let answer = self.ask(*pid, batch.risk_max, blocked, &mut stat_room, &mut parent_pid);
            if self.pulse.given_up.get().is_some() {
                return None;
            }
            answered.push(Answered { answer: answer.unwrap_or_else(Answer::unknown), parent_pid });
        }
        Some(answered)
    }

    fn ask(
        &mut self,
        pid: u32,
        risk_max: Risk,
        blocked: &[ProcessKey],
        stat_room: &mut Room,
        parent_pid: &mut Option<u32>,
    ) -> Result<Answer, Absence> {
        let folder = &open_folder(&self.shared.procfs, Name::of(pid).as_c_str());
        let folder = folder.as_ref().map_err(|errno| absence_of(*errno))?;
        let stat = &read_stat(folder, stat_room)?;
        if is_ending(stat) {
            return Ok(Answer::No);
        }
        *parent_pid = Some(stat.ppid);
        let uid = status_of(folder).map_err(absence_of)?.st_uid;
        let key = ProcessKey { pid, start_time_ticks: stat.start_time_ticks };
        let asked = Asked { key, folder, stat };
        self.texts.clear();
        loop {
            let seen = Seen {
                key,
                comm: stat.comm,
                uid,
                is_kernel_thread: is_kernel_thread(stat),
                has_only_forked: has_only_forked(stat),
                texts: &self.texts,
            };
            let part = match (self.shared.question)(&seen) {
                Step::Yes(identity) => return Ok(Answer::Yes(key, identity)),
                Step::No => return Ok(Answer::No),
                Step::Undecided => return Ok(Answer::Undecided),
                Step::Unknown(why) => return Err(why),
                Step::Read(part) if seen.text(part).is_some() => return Ok(Answer::Undecided),
                Step::Read(part) => part,
            };
            match self.read(part, &asked, risk_max, blocked) {
                Ok(()) => {}
                Err(Unread::Absent(why)) => self.texts.put(part, Reading::Absent(why)),
                Err(Unread::Answered(answer)) => return Ok(answer),
            }
        }
    }

    /// Reads a part of a process, or says why not, or what that answers.
    fn read(
        &mut self,
        part: Part,
        asked: &Asked<'_>,
        risk_max: Risk,
        blocked: &[ProcessKey],
    ) -> Result<(), Unread> {
        let is_ended = asked.stat.state == b'Z';
        if part == Part::Cgroup {
            let text = self.room.read(asked.folder, c"cgroup").map_err(FileError::absence)?;
            self.texts.put(part, cgroup_path(text));
            return Ok(());
        }
        if is_ended && asked.stat.num_threads > 1 {
            return Err(Unread::Answered(Answer::Undecided));
        }
        if is_ended || is_kernel_thread(asked.stat) {
            self.texts.put(part, Reading::Value(&[]));
            return Ok(());
        }
        if part == Part::Executable {
            let target = link_target(asked.folder, c"exe", &mut self.room).map_err(absence_of)?;
            self.texts.put(part, Reading::Value(without_deleted(&target)));
            return Ok(());
        }
        let file = if part == Part::Cmdline { MemoryFile::Cmdline } else { MemoryFile::Environ };
        let risk = Risk::of(asked.stat);
        if risk > risk_max {
            return Err(Unread::Answered(Answer::Later(risk)));
        }
        if blocked.contains(&asked.key) || self.shared.procfs_id.is_hanging_in(asked.key) {
            return Err(Unread::Absent(Absence::Blocked));
        }
        self.read_memory(part, file, asked)
    }

    /// Reads what can block on the process.
    fn read_memory(
        &mut self,
        part: Part,
        file: MemoryFile,
        asked: &Asked<'_>,
    ) -> Result<(), Unread> {
        self.pulse.begin(asked.key);
        let bytes = read_strings(&mut self.room, file, asked.folder);
        self.pulse.end();
        match bytes {
            Ok(bytes) => self.texts.put(part, Reading::Value(bytes)),
            // It became a zombie; one that is gone has no `stat` any more.
            Err(FileError::System(Errno::SRCH)) => {
                read_stat(asked.folder, &mut self.room)?;
                self.texts.put(part, Reading::Value(&[]));
            }
            Err(error) => return Err(error.absence().into()),
        }
        Ok(())
    }
}

impl Answer {
    /// One that is gone is no process any more.
    fn unknown(why: Absence) -> Self {
        if why == Absence::Vanished { Answer::No } else { Answer::Unknown(why) }
    }
}

impl From<Absence> for Unread {
    /// One that is gone answers nothing else either.
    fn from(why: Absence) -> Self {
        match why {
            Absence::Vanished => Unread::Answered(Answer::No),
            why => Unread::Absent(why),
        }
    }
}

/// The command line as far as it is looked at, or the whole environment.
fn read_strings<'r>(
    room: &'r mut Room,
    file: MemoryFile,
    folder: &OwnedFd,
) -> FileResult<&'r [u8]> {
    let (name, limit_bytes) = (file.name(), file.limit_bytes());
    match room.read_strings(folder, name, limit_bytes)? {
        (_, true) if file == MemoryFile::Environ => Err(FileError::TooLarge),
        (bytes, _) => Ok(bytes),
    }
}

fn read_stat<'r>(folder: &OwnedFd, room: &'r mut Room) -> Result<Stat<'r>, Absence> {
    let text = room.read_lines(folder.as_fd(), c"stat", 1).map_err(FileError::absence)?;
    proc_pid_stat::parse(text).map_err(|_| Absence::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ProcessKey = ProcessKey { pid: 4, start_time_ticks: 0 };

    fn answered(answer: Answer) -> Answered {
        Answered { answer, parent_pid: Some(1) }
    }

    fn yes() -> Answered {
        let texts = Texts::default();
        answered(Answer::Yes(KEY, Box::new(seen(&texts, Fork::Before).identity(&[]))))
    }

    /// Whether it has executed something since it was forked.
    #[derive(Clone, Copy, PartialEq)]
    enum Fork {
        Before,
        Last,
    }

    fn seen(texts: &Texts, fork: Fork) -> Seen<'_> {
        let has_only_forked = fork == Fork::Last;
        Seen { key: KEY, comm: b"x", uid: 1, is_kernel_thread: false, has_only_forked, texts }
    }

    fn worker(number: u64, batch: &Batch, beat: u64, since: Instant) -> Worker {
        let pulse = Arc::new(Pulse::default());
        pulse.pid.store(batch.pids[0], Ordering::Relaxed);
        pulse.beat.store(beat, Ordering::Relaxed);
        Worker { number, pulse, batch: Some(batch.clone()), beat, since, extensions: 0 }
    }

    #[test]
    fn of_two_equal_variables_the_first_counts_and_a_lost_environment_is_told() {
        fn check(fork: Fork, bytes: &str, key: &str, expected: (Option<&str>, bool)) {
            let mut texts = Texts::default();
            texts.put(Part::Environ, Reading::Value(bytes.as_bytes()));
            let seen = seen(&texts, fork);
            let value = seen.variable(key.as_bytes());
            let found =
                (value.map(|value| str::from_utf8(value).unwrap()), seen.has_lost_environment());
            assert_eq!(found, expected, "{bytes:?} {key}");
        }
        check(Fork::Before, "A=1\0B=\0A=2\0", "A", (Some("1"), false));
        check(Fork::Before, "A=1\0B=\0A=2\0", "B", (Some(""), false));
        check(Fork::Before, "a title\0A=1\0", "C", (None, false));
        check(Fork::Last, "A=1\0", "A", (Some("1"), false));
        check(Fork::Last, "a title\0A=1\0", "A", (Some("1"), true));
    }

    #[test]
    fn an_identity_knows_what_was_read_and_says_what_was_not() {
        let mut texts = Texts::default();
        texts.put(Part::Cmdline, Reading::Value(b"x\0-v\0"));
        texts.put(Part::Executable, Reading::Absent(Absence::Denied));
        let identity = seen(&texts, Fork::Before).identity(&[]);
        assert_eq!(identity.cmdline, Reading::Value(Box::from(&b"x\0-v\0"[..])));
        assert_eq!(identity.executable, Reading::Absent(Absence::Denied));
        assert_eq!(identity.environment, Reading::Absent(Absence::NotYetKnown));
        texts.clear();
        assert_eq!(seen(&texts, Fork::Before).text(Part::Cmdline), None);
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
        let procfs = ProcfsId::of(std::io::stdin());
        let (now, batch) = (Instant::now(), Batch { pids: vec![4, 5], risk_max: Risk::Least });
        let long_ago = now.checked_sub(READ_DEADLINE * 2).unwrap();
        let mut state = State {
            workers: vec![worker(0, &batch, 1, long_ago), worker(1, &batch, 2, long_ago)],
            ..State::default()
        };
        assert_eq!(state.unasked(), 4);
        state.give_up_overdue(now, procfs);
        assert_eq!(state.workers.len(), 1, "between two environments nobody hangs");
        assert_eq!(state.blocked, [ProcessKey { pid: 4, start_time_ticks: 0 }]);
        assert!(procfs.is_hanging_in(state.blocked[0]));
        procfs.forget_hanging(state.blocked[0]);
        assert_eq!(state.unasked(), 4);
        assert!(!state.end_batch(0, &batch, vec![yes(), yes()]));
        assert!(state.end_batch(1, &batch, vec![yes(), answered(Answer::Undecided)]));
        let found: Vec<_> = state.found.found.iter().map(|(key, _)| *key).collect();
        assert_eq!((found, &state.found.undecided), (vec![KEY], &vec![5]));
        assert_eq!(state.found.parents, [(4, 1), (5, 1)], "once each");
        assert_eq!(state.next_batch().unwrap().pids, [4, 5]);
    }
}
