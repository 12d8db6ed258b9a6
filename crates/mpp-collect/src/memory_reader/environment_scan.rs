//! Looks for the processes that have certain variables in their environment, among all there
//! are, by threads that may hang.
//!
//! What [`MemoryReader`](super::MemoryReader) does for a sweep costs two hand-overs a process:
//! too much for one look at ten thousand. Here a thread takes a batch of PIDs, asks of each
//! process the name, then the user, and of those that are left the environment, and hands back
//! what it found of the whole batch. Whoever waits looks now and then whether the threads get
//! on. One that has been in the same environment for longer than a deadline is given up: that
//! process is remembered, and another thread looks through its batch again without it.
//!
//! Nothing is taken from a process but the answer. Each is asked through its folder, so that
//! all answers are of the same process, whoever bears its PID later.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use mpp_accounting::process::{Absence, ProcessKey};
use mpp_parse::proc_pid_environ::{is_clobbered, variables};
use mpp_parse::proc_pid_stat::{self, Stat};
use rustix::io::Errno;
use rustix::thread::{Pid, gettid};

use super::hanging::ProcfsId;
use super::{EXTENSIONS_MAX, MemoryFile, READ_DEADLINE, is_thread_runnable};
use crate::error::absence_of;
use crate::identity::{Risk, has_only_forked};
use crate::measure::{is_ending, is_kernel_thread};
use crate::proc_fs::{FileError, Name, Room, open_folder, status_of};

/// Processes that a thread takes at a time.
const BATCH: usize = 64;
/// How often it is looked whether the threads get on.
const LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// What is asked of every process: the next only where the one before was answered with yes.
pub struct EnvironmentQuestion {
    /// By command name.
    pub has_name: NameTest,
    /// By effective user; `None` asks nobody.
    pub has_user: Option<UserTest>,
    /// All of these must hold.
    pub variables: Vec<WantedVariable>,
}

/// Whether a command name is one of those looked for.
pub type NameTest = Box<dyn Fn(&[u8]) -> bool + Send + Sync>;

/// Whether the number of a user is one of those looked for.
pub type UserTest = Box<dyn Fn(u32) -> bool + Send + Sync>;

/// A variable that must be there, or must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedVariable {
    /// Its key.
    pub key: Box<[u8]>,
    /// Its whole value, or `None` where it must not be there.
    pub value: Option<Box<[u8]>>,
}

/// What came of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvironmentScan {
    /// The processes of which everything was answered with yes; ascending.
    pub pids: Vec<u32>,
    /// Processes that bear the name and the user, and whose own environment does not tell: it
    /// was written over since they were forked, or must be asked of another thread than the
    /// main one. Ascending.
    pub undecided: Vec<u32>,
    /// Why others could not be asked, once for each.
    pub absences: Vec<Absence>,
}

/// What one process answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    Undecided,
    /// Its environment is not for this pass.
    Later(Risk),
    Unreadable(Absence),
}

/// Processes that a thread looks through, and who of them may be asked for the environment.
#[derive(Clone, Debug)]
struct Batch {
    pids: Vec<u32>,
    risk_max: Risk,
}

/// Asks all these processes, for no longer than `wait`.
///
/// `procfs` is a descriptor of its top folder, `pids` come from its listing.
pub(crate) fn scan(
    procfs: OwnedFd,
    pids: Vec<u32>,
    question: &Arc<EnvironmentQuestion>,
    wait: Duration,
) -> EnvironmentScan {
    let shared = Arc::new(Shared {
        procfs_id: ProcfsId::of(&procfs),
        procfs,
        question: Arc::clone(question),
        state: Mutex::new(State { first_pass: pids, ..State::default() }),
        progress: Condvar::new(),
    });
    let mut found = shared.finish(Instant::now() + wait);
    found.pids.sort_unstable();
    found.undecided.sort_unstable();
    found
}

struct Shared {
    procfs: OwnedFd,
    procfs_id: ProcfsId,
    question: Arc<EnvironmentQuestion>,
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
    found: EnvironmentScan,
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
    /// Odd while it is in an environment; grows with each that it begins and ends.
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
    fn finish(self: &Arc<Self>, until: Instant) -> EnvironmentScan {
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
        let unasked = state.unasked();
        state.close(self.procfs_id);
        let mut found = std::mem::take(&mut state.found);
        found.absences.extend(std::iter::repeat_n(Absence::Blocked, unasked));
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
            if Builder::new().name("mpp-environment".to_owned()).spawn(body).is_err() {
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
        let mut reader = Reader { shared: self, pulse, room: Room::default(), seen: Vec::new() };
        let mut state = self.lock();
        while let Some(batch) = state.begin_batch(number) {
            let blocked = state.blocked.clone();
            drop(state);
            let Some(answers) = reader.ask_all(&batch, &blocked) else { return };
            state = self.lock();
            if !state.end_batch(number, &batch, answers) {
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
    fn end_batch(&mut self, number: u64, batch: &Batch, answers: Vec<Answer>) -> bool {
        let Some(worker) = self.workers.iter_mut().find(|worker| worker.number == number) else {
            return false;
        };
        worker.batch = None;
        for (pid, answer) in batch.pids.iter().zip(answers) {
            match answer {
                Answer::Yes => self.found.pids.push(*pid),
                Answer::No => {}
                Answer::Undecided => self.found.undecided.push(*pid),
                Answer::Later(risk) => self.later.push((risk, *pid)),
                Answer::Unreadable(why) => self.found.absences.push(why),
            }
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

    /// Nobody waits any more: whoever is in an environment now may never come back.
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

    /// Whether it has been in one environment for longer than the deadline.
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
    /// Which of the variables were met.
    seen: Vec<bool>,
}

impl Reader<'_> {
    /// `None` where this thread was given up meanwhile: its answers are nobody's.
    fn ask_all(&mut self, batch: &Batch, blocked: &[ProcessKey]) -> Option<Vec<Answer>> {
        let mut answers = Vec::with_capacity(batch.pids.len());
        let mut stat_room = Room::default();
        for pid in &batch.pids {
            let answer = self.ask(*pid, batch.risk_max, blocked, &mut stat_room);
            if self.pulse.given_up.get().is_some() {
                return None;
            }
            answers.push(answer.unwrap_or_else(Answer::unreadable));
        }
        Some(answers)
    }

    fn ask(
        &mut self,
        pid: u32,
        risk_max: Risk,
        blocked: &[ProcessKey],
        stat_room: &mut Room,
    ) -> Result<Answer, Absence> {
        let question = &*self.shared.question;
        let folder =
            open_folder(&self.shared.procfs, Name::of(pid).as_c_str()).map_err(absence_of)?;
        let stat = read_stat(&folder, stat_room)?;
        if is_ending(&stat) || !(question.has_name)(stat.comm) {
            return Ok(Answer::No);
        }
        if let Some(has_user) = &question.has_user
            && !has_user(status_of(&folder).map_err(absence_of)?.st_uid)
        {
            return Ok(Answer::No);
        }
        let is_ended = stat.state == b'Z';
        if is_ended && stat.num_threads > 1 {
            return Ok(Answer::Undecided);
        }
        if is_ended || is_kernel_thread(&stat) {
            return Ok(judge(&[], question, &stat, &mut self.seen));
        }
        let risk = Risk::of(&stat);
        if risk > risk_max {
            return Ok(Answer::Later(risk));
        }
        let process = ProcessKey { pid, start_time_ticks: stat.start_time_ticks };
        if blocked.contains(&process) || self.shared.procfs_id.is_hanging_in(process) {
            return Err(Absence::Blocked);
        }
        self.pulse.begin(process);
        let bytes = self.room.read_large(&folder, c"environ", MemoryFile::Environ.limit_bytes());
        self.pulse.end();
        match bytes {
            Ok(bytes) => Ok(judge(bytes, question, &stat, &mut self.seen)),
            // It became a zombie; one that is gone has no `stat` any more.
            Err(FileError::System(Errno::SRCH)) => {
                read_stat(&folder, &mut self.room)?;
                Ok(judge(&[], question, &stat, &mut self.seen))
            }
            Err(error) => Err(error.absence()),
        }
    }
}

impl Answer {
    /// One that is gone is no process any more.
    fn unreadable(why: Absence) -> Self {
        if why == Absence::Vanished { Answer::No } else { Answer::Unreadable(why) }
    }
}

fn read_stat<'r>(folder: &OwnedFd, room: &'r mut Room) -> Result<Stat<'r>, Absence> {
    let text = room.read_lines(folder.as_fd(), c"stat", 1).map_err(FileError::absence)?;
    proc_pid_stat::parse(text).map_err(|_| Absence::Malformed)
}

/// Whether an environment is as asked; of two equal keys the first counts.
fn judge(
    bytes: &[u8],
    question: &EnvironmentQuestion,
    stat: &Stat<'_>,
    seen: &mut Vec<bool>,
) -> Answer {
    // Whoever forked it may still have what it wrote over.
    if has_only_forked(stat) && is_clobbered(bytes) {
        return Answer::Undecided;
    }
    seen.clear();
    seen.resize(question.variables.len(), false);
    for (key, value) in variables(bytes) {
        for (wanted, seen) in question.variables.iter().zip(seen.iter_mut()) {
            if *wanted.key == *key && !*seen {
                *seen = true;
                if wanted.value.as_deref() != Some(value) {
                    return Answer::No;
                }
            }
        }
    }
    let mut pairs = question.variables.iter().zip(seen.iter());
    match pairs.all(|(wanted, seen)| *seen == wanted.value.is_some()) {
        true => Answer::Yes,
        false => Answer::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(key: &str, value: Option<&str>) -> WantedVariable {
        let value = value.map(|value| Box::from(value.as_bytes()));
        WantedVariable { key: Box::from(key.as_bytes()), value }
    }

    fn question(variables: Vec<WantedVariable>) -> EnvironmentQuestion {
        EnvironmentQuestion { has_name: Box::new(|_| true), has_user: None, variables }
    }

    fn worker(number: u64, batch: &Batch, beat: u64, since: Instant) -> Worker {
        let pulse = Arc::new(Pulse::default());
        pulse.pid.store(batch.pids[0], Ordering::Relaxed);
        pulse.beat.store(beat, Ordering::Relaxed);
        Worker { number, pulse, batch: Some(batch.clone()), beat, since, extensions: 0 }
    }

    #[test]
    fn every_variable_must_be_as_asked() {
        const FORKED: u32 = 0x40;
        fn check(flags: u32, bytes: &str, variables: &[(&str, Option<&str>)], expected: Answer) {
            let variables = variables.iter().map(|(key, value)| wanted(key, *value)).collect();
            let text = format!("1 (x) S 1 1 1 0 -1 {flags}{}\n", " 0".repeat(44));
            let stat = proc_pid_stat::parse(text.as_bytes()).unwrap();
            let answer = judge(bytes.as_bytes(), &question(variables), &stat, &mut Vec::new());
            assert_eq!(answer, expected, "{flags} {bytes:?}");
        }
        let (page, both) = ("A=1\0B=\0A=2\0", [("A", Some("1")), ("B", Some(""))]);
        check(0, page, &both, Answer::Yes);
        check(0, page, &[("A", Some("2"))], Answer::No);
        check(0, page, &[("A", Some("1")), ("C", None)], Answer::Yes);
        check(0, page, &[("A", Some("1")), ("B", None)], Answer::No);
        check(0, page, &[("C", Some(""))], Answer::No);
        check(0, "", &[("A", None)], Answer::Yes);
        check(0, "a title\0A=1\0", &[("A", Some("1")), ("C", None)], Answer::Yes);
        check(FORKED, page, &both, Answer::Yes);
        check(FORKED, "a title\0A=1\0", &[("A", Some("1"))], Answer::Undecided);
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
        assert!(!state.end_batch(0, &batch, vec![Answer::Yes, Answer::Yes]));
        assert!(state.end_batch(1, &batch, vec![Answer::Yes, Answer::Undecided]));
        assert_eq!((&state.found.pids, &state.found.undecided), (&vec![4], &vec![5]));
        assert_eq!(state.next_batch().unwrap().pids, [4, 5]);
    }
}
