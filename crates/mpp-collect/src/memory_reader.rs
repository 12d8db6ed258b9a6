//! The bounded reader for what can block on the measured process: its `cmdline`, `environ` and
//! `smaps_rollup`.
//!
//! These three take the process's mmap lock. A process can hold that lock for ever (a page fault
//! on a file system that never answers is enough), and then whoever reads them waits for ever,
//! out of reach of everything but SIGKILL. So nobody who measures reads them: requests are left
//! here, somebody who may hang reads, and whoever does not answer within a deadline is given up.
//! The live test is `tests/live_memory_reader.rs`.
//!
//! The reader is a helper process where one can be forked ([`MemoryReaderKind::HelperProcess`]),
//! since a process can be killed; else a bounded set of threads, where a stuck one can only be
//! abandoned.

mod backoff;
mod hanging;
mod helper;
pub mod scan;
mod thread_pool;

use std::collections::HashSet;
use std::ffi::CStr;
use std::fmt;
use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mpp_accounting::process::{Absence, ProcessKey, Reading};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::Pid;

use self::backoff::Backoff;
use self::helper::HelperProcess;
use self::thread_pool::ThreadPool;
use crate::error::absence_of;
use crate::sys;

/// How long one read may take before it is given up.
pub const READ_DEADLINE: Duration = Duration::from_millis(50);

/// How often a thread that is only slow, since it waits for a CPU, gets another deadline.
const EXTENSIONS_MAX: u32 = 20;

/// Requests that may wait for their answers at one time; more are dropped, and counted.
const REQUESTS_MAX: usize = 32_768;

/// Requests that wait at one time on a host where nothing much changes.
const WAITING_USUAL: usize = 512;

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryReaderKind {
    /// A bounded set of threads. A stuck one is abandoned; for a library, which must not fork.
    HelperThreads,
    /// A process of our own, forked while we have one thread. A stuck one is killed; for a
    /// command.
    HelperProcess,
}

/// A file of a process that cannot be read without its mmap lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum MemoryFile {
    /// The command line, proc_pid_cmdline(5).
    Cmdline = 0,
    /// The environment, proc_pid_environ(5).
    Environ = 1,
    /// Proportional memory, `smaps_rollup` of proc_pid_smaps(5).
    SmapsRollup = 2,
}

/// Asks for one file of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemoryRequest {
    /// Which process. Another one that bears the same PID by now is not read.
    pub key: ProcessKey,
    /// Which file.
    pub file: MemoryFile,
}

/// What came of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct MemoryAnswer {
    /// What was asked.
    pub request: MemoryRequest,
    /// The file's bytes.
    ///
    /// Empty for a process without memory of its own: a zombie or a kernel thread. Absent:
    /// `Blocked` when the deadline passed, or the process is not tried again yet; `TooLarge`
    /// above [`MemoryFile::limit_bytes`], but for a command line, which is cut there instead.
    pub outcome: Reading<Vec<u8>>,
    /// Whether the bytes are only the beginning of the file.
    pub is_truncated: bool,
}

/// What became of a request that was submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It will be answered.
    Accepted,
    /// The same was asked before and has not been answered yet.
    AlreadyAsked,
    /// Too many wait already: it was dropped, and counted.
    Dropped,
}

/// Reads the files that can block, beside the sweep. See the top of this file.
#[derive(Debug)]
pub struct MemoryReader {
    procfs: Arc<OwnedFd>,
    backend: Backend,
    backoff: Backoff,
    waiting: HashSet<MemoryRequest>,
    /// Answers that needed no reading.
    ready: Vec<MemoryAnswer>,
    dropped: u64,
    blocked: u64,
}

#[derive(Debug)]
enum Backend {
    Threads(ThreadPool),
    Process(HelperProcess),
}

/// An answer on its way, and whether it cost somebody a deadline.
#[derive(Debug)]
struct Delivery {
    answer: MemoryAnswer,
    was_given_up: bool,
}

impl MemoryReader {
    /// Starts a reader of the processes below `procfs`, a descriptor of its top directory.
    ///
    /// Where no process can be forked, since this one has threads already or the kernel refuses,
    /// there will be threads instead; [`MemoryReader::kind`] says which it became.
    #[must_use]
    pub fn open(kind: MemoryReaderKind, procfs: OwnedFd) -> Self {
        let procfs = Arc::new(procfs);
        let process = match kind {
            MemoryReaderKind::HelperThreads => None,
            MemoryReaderKind::HelperProcess => HelperProcess::start(procfs.as_fd()).ok(),
        };
        let backend = match process {
            Some(process) => Backend::Process(process),
            None => Backend::Threads(ThreadPool::new(Arc::clone(&procfs))),
        };
        MemoryReader {
            procfs,
            backend,
            backoff: Backoff::default(),
            waiting: HashSet::new(),
            ready: Vec::new(),
            dropped: 0,
            blocked: 0,
        }
    }

    /// Asks for a file. Never blocks.
    pub fn submit(&mut self, request: MemoryRequest) -> Submitted {
        if self.waiting.contains(&request) {
            return Submitted::AlreadyAsked;
        }
        if self.waiting.len() >= REQUESTS_MAX {
            self.dropped += 1;
            return Submitted::Dropped;
        }
        self.waiting.insert(request);
        if self.backoff.is_waiting(request.key, Instant::now()) {
            self.ready.push(MemoryAnswer::absent(request, Absence::Blocked));
        } else {
            self.pass_on(request);
        }
        Submitted::Accepted
    }

    /// Waits until every request is answered, but no longer than `wait`, and hands out what has
    /// been answered since the last call.
    ///
    /// A request that is still open stays open: a later call hands out its answer.
    pub fn collect(&mut self, wait: Duration) -> Vec<MemoryAnswer> {
        let mut answers = Vec::new();
        self.collect_each(wait, |answer| answers.push(answer));
        answers
    }

    /// As [`MemoryReader::collect`], one answer at a time, so that only one need be kept.
    pub fn collect_each(&mut self, wait: Duration, mut on_answer: impl FnMut(MemoryAnswer)) {
        let deadline = Instant::now() + wait;
        let mut deliveries = Vec::new();
        loop {
            for answer in std::mem::take(&mut self.ready) {
                self.waiting.remove(&answer.request);
                on_answer(answer);
            }
            let until = if self.waiting.is_empty() { Instant::now() } else { deadline };
            self.receive(until, &mut deliveries);
            for delivery in deliveries.drain(..) {
                self.record(&delivery);
                self.waiting.remove(&delivery.answer.request);
                on_answer(delivery.answer);
            }
            if self.waiting.is_empty() {
                // The first sweep asks of everybody, later ones of a few.
                self.waiting.shrink_to(WAITING_USUAL);
                return;
            }
            if Instant::now() >= deadline {
                return;
            }
        }
    }

    /// Forgets every blocked process that is not living any more.
    pub fn forget_ended(&mut self, is_living: impl FnMut(ProcessKey) -> bool) {
        self.backoff.retain(is_living);
    }

    /// Who reads: what was asked for, or threads where that could not be had.
    #[must_use]
    pub fn kind(&self) -> MemoryReaderKind {
        match self.backend {
            Backend::Threads(_) => MemoryReaderKind::HelperThreads,
            Backend::Process(_) => MemoryReaderKind::HelperProcess,
        }
    }

    /// The PIDs of our helper processes, so that they are measured as ours. The first is the
    /// parent of the others, which are replaced whenever they are stuck.
    pub fn helper_pids(&mut self) -> Vec<u32> {
        let Backend::Process(helper) = &mut self.backend else { return Vec::new() };
        let mut deliveries = Vec::new();
        let outcome = helper.receive(Instant::now(), &mut deliveries);
        let pids = helper.pids();
        // Kept for the next collection.
        for delivery in deliveries {
            self.record(&delivery);
            self.ready.push(delivery.answer);
        }
        if outcome.is_err() {
            self.fall_back(&[]);
            return Vec::new();
        }
        pids
    }

    /// Whether a process blocked its last reader.
    #[must_use]
    pub fn has_blocked(&self, key: ProcessKey) -> bool {
        self.backoff.remembers(key)
    }

    /// How many processes are known to block whoever reads their memory, and are tried again
    /// only now and then.
    #[must_use]
    pub fn blocked_now(&self) -> usize {
        self.backoff.len()
    }

    /// How many reads were given up since the start. Only grows.
    #[must_use]
    pub fn blocked_total(&self) -> u64 {
        self.blocked
    }

    /// How many threads hang in a read at this moment; 0 for a helper process, which is killed.
    #[must_use]
    pub fn stuck_threads(&self) -> usize {
        match &self.backend {
            Backend::Threads(pool) => pool.stuck(),
            Backend::Process(_) => 0,
        }
    }

    /// How many requests were dropped because too many waited. Only grows.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped
    }

    /// How many requests have not been answered yet.
    #[must_use]
    pub fn waiting_now(&self) -> usize {
        self.waiting.len()
    }

    fn pass_on(&mut self, request: MemoryRequest) {
        match &mut self.backend {
            Backend::Threads(pool) => pool.submit(request),
            Backend::Process(helper) => helper.submit(request),
        }
    }

    fn receive(&mut self, until: Instant, deliveries: &mut Vec<Delivery>) {
        match &mut self.backend {
            Backend::Threads(pool) => pool.receive(until, deliveries),
            Backend::Process(helper) => {
                if helper.receive(until, deliveries).is_err() {
                    self.fall_back(deliveries);
                }
            }
        }
    }

    fn record(&mut self, delivery: &Delivery) {
        let key = delivery.answer.request.key;
        if delivery.was_given_up {
            self.blocked += 1;
            self.backoff.record_blocked(key, Instant::now());
        } else if delivery.answer.outcome.absence() != Some(Absence::Blocked) {
            self.backoff.forget(key);
        }
    }

    /// Goes on with threads when the helper process is gone, and asks them for what is still
    /// open. `delivered` is what came in but was not taken note of yet.
    fn fall_back(&mut self, delivered: &[Delivery]) {
        self.backend = Backend::Threads(ThreadPool::new(Arc::clone(&self.procfs)));
        let mut open = self.waiting.clone();
        for answer in self.ready.iter().chain(delivered.iter().map(|delivery| &delivery.answer)) {
            open.remove(&answer.request);
        }
        open.into_iter().for_each(|request| self.pass_on(request));
    }
}

impl MemoryAnswer {
    fn absent(request: MemoryRequest, why: Absence) -> Self {
        MemoryAnswer { request, outcome: Reading::Absent(why), is_truncated: false }
    }
}

impl fmt::Debug for MemoryAnswer {
    /// Says how much was read, never what: arguments and environments hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryAnswer")
            .field("request", &self.request)
            .field("length_bytes", &self.outcome.as_ref().map(Vec::len))
            .field("is_truncated", &self.is_truncated)
            .finish()
    }
}

impl MemoryFile {
    /// All of them.
    pub const ALL: [MemoryFile; 3] =
        [MemoryFile::Cmdline, MemoryFile::Environ, MemoryFile::SmapsRollup];

    /// How much of it is read at most, in bytes.
    ///
    /// A process can make the first two 2 GiB large without any privilege (prctl(2),
    /// `PR_SET_MM_MAP`). The environment's limit is more than exec allows.
    #[must_use]
    pub fn limit_bytes(self) -> usize {
        match self {
            MemoryFile::Cmdline | MemoryFile::SmapsRollup => 64 << 10,
            MemoryFile::Environ => 8 << 20,
        }
    }

    fn name(self) -> &'static CStr {
        match self {
            MemoryFile::Cmdline => c"cmdline",
            MemoryFile::Environ => c"environ",
            MemoryFile::SmapsRollup => c"smaps_rollup",
        }
    }
}

/// Reads what was asked, for as long as it takes: this is what may hang.
fn read_memory_file(procfs: BorrowedFd<'_>, request: MemoryRequest) -> MemoryAnswer {
    let limit = request.file.limit_bytes();
    let outcome = open_process(procfs, request.key).and_then(|directory| {
        match read_file(directory.as_fd(), request.file.name(), limit + 1) {
            Ok(bytes) => Ok(bytes),
            Err(errno) => explain(directory.as_fd(), errno),
        }
    });
    let mut answer = MemoryAnswer { request, outcome: into_reading(outcome), is_truncated: false };
    if let Reading::Value(bytes) = &mut answer.outcome
        && bytes.len() > limit
    {
        if request.file == MemoryFile::Cmdline {
            bytes.truncate(limit);
            answer.is_truncated = true;
        } else {
            answer.outcome = Reading::Absent(Absence::TooLarge);
        }
    }
    answer
}

/// Opens the directory of exactly this process.
///
/// The descriptor stands for the process and not for its PID: once it is known to belong to the
/// right one, everything opened through it does, or fails.
fn open_process(procfs: BorrowedFd<'_>, key: ProcessKey) -> Result<OwnedFd, Absence> {
    let mut name = String::with_capacity(16);
    // Writing into a String cannot fail.
    let _ = write!(name, "{}", key.pid);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = sys::retrying(|| openat(procfs, name.as_str(), flags, Mode::empty()))
        .map_err(absence_of)?;
    match start_time_ticks(directory.as_fd())? {
        found if found == key.start_time_ticks => Ok(directory),
        _ => Err(Absence::Vanished),
    }
}

fn start_time_ticks(directory: BorrowedFd<'_>) -> Result<u64, Absence> {
    let bytes = read_file(directory, c"stat", 4096).map_err(absence_of)?;
    mpp_parse::proc_pid_stat::parse(&bytes)
        .map(|stat| stat.start_time_ticks)
        .map_err(|_| Absence::Malformed)
}

/// What it means that a file of a process could not be read.
///
/// A zombie and a kernel thread answer ESRCH where their memory would be (since Linux 5.x, an
/// empty file before), and so does a process that has ended; only its `stat` tells them apart.
fn explain(directory: BorrowedFd<'_>, errno: Errno) -> Result<Vec<u8>, Absence> {
    if !matches!(errno, Errno::SRCH | Errno::NOENT) {
        return Err(absence_of(errno));
    }
    start_time_ticks(directory)?;
    match errno {
        Errno::SRCH => Ok(Vec::new()),
        _ => Err(Absence::Unsupported),
    }
}

/// Reads a file whole, but at most `limit` bytes of it.
fn read_file(directory: BorrowedFd<'_>, name: &CStr, limit: usize) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = sys::retrying(|| openat(directory, name, flags, Mode::empty()))?;
    let mut bytes = vec![0; limit.min(4096)];
    let mut length = 0;
    loop {
        if length == bytes.len() {
            if length == limit {
                break;
            }
            bytes.resize(limit.min(length * 2), 0);
        }
        match sys::retrying(|| rustix::io::read(&file, &mut bytes[length..]))? {
            0 => break,
            count => length += count,
        }
    }
    bytes.truncate(length);
    // Answers wait by the thousand to be taken.
    bytes.shrink_to_fit();
    Ok(bytes)
}

fn into_reading<T>(outcome: Result<T, Absence>) -> Reading<T> {
    match outcome {
        Ok(value) => Reading::Value(value),
        Err(why) => Reading::Absent(why),
    }
}

/// Whether a thread of ours waits for a CPU or has one.
fn is_thread_runnable(thread: Pid) -> bool {
    is_runnable(&format!("/proc/self/task/{}/stat", thread.as_raw_nonzero()))
}

/// Whether a thread or process waits for a CPU or has one: then it is not stuck, only slow.
///
/// `stat_path` is its `stat` in our own procfs. `false` where that cannot be read.
fn is_runnable(stat_path: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let open = || openat(rustix::fs::CWD, stat_path, flags, Mode::empty());
    let Ok(file) = sys::retrying(open) else { return false };
    let mut bytes = [0; 512];
    let Ok(length) = sys::retrying(|| rustix::io::read(&file, &mut bytes)) else { return false };
    let stat = bytes.get(..length).unwrap_or_default();
    let after_name = stat.iter().rposition(|byte| *byte == b')').map_or(0, |at| at + 2);
    stat.get(after_name) == Some(&b'R')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use tempfile::TempDir;

    const START: u64 = 777;
    /// Far more than any deadline, for what is sure to come.
    const LONG: Duration = Duration::from_secs(60);

    /// A frozen procfs.
    struct Tree(TempDir);

    impl Tree {
        fn new() -> Self {
            Tree(tempfile::tempdir().unwrap())
        }

        fn process(&self, pid: u32) -> PathBuf {
            let directory = self.0.path().join(pid.to_string());
            fs::create_dir(&directory).unwrap();
            let fields = "1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0";
            let stat = format!("{pid} (x) S {fields} {START} 0 0{}\n", " 0".repeat(28));
            fs::write(directory.join("stat"), stat).unwrap();
            directory
        }

        /// A process whose environment blocks its reader, as one that holds its mmap lock.
        fn hostile_process(&self, pid: u32) -> PathBuf {
            let fifo = self.process(pid).join("environ");
            assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
            fifo
        }

        fn root(&self) -> OwnedFd {
            fs::File::open(self.0.path()).unwrap().into()
        }

        fn reader(&self) -> MemoryReader {
            MemoryReader::open(MemoryReaderKind::HelperThreads, self.root())
        }
    }

    fn request(pid: u32, file: MemoryFile) -> MemoryRequest {
        MemoryRequest { key: ProcessKey { pid, start_time_ticks: START }, file }
    }

    fn ask(reader: &mut MemoryReader, request: MemoryRequest) -> Reading<Vec<u8>> {
        assert_eq!(reader.submit(request), Submitted::Accepted);
        let mut answers = reader.collect(LONG);
        let answer = answers.pop().unwrap();
        assert_eq!((answer.request, answers.len()), (request, 0));
        answer.outcome
    }

    /// Lets whoever hangs in this FIFO go on.
    fn release(fifo: &Path) {
        drop(fs::OpenOptions::new().write(true).open(fifo).unwrap());
    }

    #[test]
    fn reads_every_file_that_was_asked_for() {
        let tree = Tree::new();
        for pid in 1..=50 {
            let directory = tree.process(pid);
            fs::write(directory.join("cmdline"), format!("prog\0{pid}\0")).unwrap();
            fs::write(directory.join("environ"), format!("PID={pid}\0")).unwrap();
            fs::write(directory.join("smaps_rollup"), format!("{pid} kB")).unwrap();
        }
        let mut reader = tree.reader();
        for pid in 1..=50 {
            for file in MemoryFile::ALL {
                assert_eq!(reader.submit(request(pid, file)), Submitted::Accepted);
                assert_eq!(reader.submit(request(pid, file)), Submitted::AlreadyAsked);
            }
        }
        let mut answers = reader.collect(LONG);
        answers.sort_by_key(|answer| answer.request);
        assert_eq!(answers.len(), 150);
        for (answer, number) in answers.iter().zip(0..) {
            let pid = number / 3 + 1;
            let [cmdline, environ, rollup] =
                [format!("prog\0{pid}\0"), format!("PID={pid}\0"), format!("{pid} kB")];
            let (file, expected) = match number % 3 {
                0 => (MemoryFile::Cmdline, cmdline),
                1 => (MemoryFile::Environ, environ),
                _ => (MemoryFile::SmapsRollup, rollup),
            };
            assert_eq!(answer.request, request(pid, file));
            assert_eq!(answer.outcome, Reading::Value(expected.into_bytes()));
            assert!(!answer.is_truncated);
        }
        assert_eq!(reader.waiting_now(), 0);
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let tree = Tree::new();
        let mut reader = tree.reader();
        let environ = |pid| request(pid, MemoryFile::Environ);
        assert_eq!(ask(&mut reader, environ(1)), Reading::Absent(Absence::Vanished));
        tree.process(1);
        assert_eq!(ask(&mut reader, environ(1)), Reading::Absent(Absence::Unsupported));
        fs::write(tree.0.path().join("1/stat"), "1 (x").unwrap();
        assert_eq!(ask(&mut reader, environ(1)), Reading::Absent(Absence::Malformed));
        tree.process(2);
        std::os::unix::fs::symlink("/etc/passwd", tree.0.path().join("2/environ")).unwrap();
        let link = Absence::Failed(Errno::LOOP.raw_os_error());
        assert_eq!(ask(&mut reader, environ(2)), Reading::Absent(link));
    }

    #[test]
    fn another_process_that_bears_the_same_pid_is_not_read() {
        let tree = Tree::new();
        fs::write(tree.process(1).join("environ"), "SECRET=1\0").unwrap();
        let key = ProcessKey { pid: 1, start_time_ticks: START - 1 };
        let request = MemoryRequest { key, file: MemoryFile::Environ };
        assert_eq!(ask(&mut tree.reader(), request), Reading::Absent(Absence::Vanished));
    }

    #[test]
    fn a_large_environment_is_refused_and_a_large_command_line_is_cut() {
        fn check(file: MemoryFile, size: usize, expected: Result<(usize, bool), Absence>) {
            let tree = Tree::new();
            fs::write(tree.process(1).join(file.name().to_str().unwrap()), vec![b'x'; size])
                .unwrap();
            let answer = read_memory_file(tree.root().as_fd(), request(1, file));
            let found = match answer.outcome {
                Reading::Value(bytes) => Ok((bytes.len(), answer.is_truncated)),
                Reading::Absent(why) => Err(why),
            };
            assert_eq!(found, expected, "{file:?} of {size} bytes");
        }
        for file in MemoryFile::ALL {
            let limit = file.limit_bytes();
            check(file, 0, Ok((0, false)));
            check(file, 4096, Ok((4096, false)));
            check(file, limit, Ok((limit, false)));
        }
        check(MemoryFile::Cmdline, (64 << 10) + 1, Ok((64 << 10, true)));
        check(MemoryFile::Cmdline, 1 << 20, Ok((64 << 10, true)));
        check(MemoryFile::Environ, (8 << 20) + 1, Err(Absence::TooLarge));
        check(MemoryFile::SmapsRollup, 1 << 20, Err(Absence::TooLarge));
    }

    #[test]
    fn an_answer_keeps_no_more_memory_than_it_needs() {
        let tree = Tree::new();
        fs::write(tree.process(1).join("environ"), "A=1\0").unwrap();
        let answer = read_memory_file(tree.root().as_fd(), request(1, MemoryFile::Environ));
        assert!(answer.outcome.value().unwrap().capacity() < 64);
    }

    #[test]
    fn a_process_that_blocks_costs_one_thread_and_holds_up_nobody() {
        let tree = Tree::new();
        let fifo = tree.hostile_process(1);
        fs::write(tree.process(2).join("environ"), "A=1\0").unwrap();
        let mut reader = tree.reader();
        for file in MemoryFile::ALL {
            reader.submit(request(1, file));
        }
        reader.submit(request(2, MemoryFile::Environ));
        let answers = reader.collect(LONG);
        assert_eq!(answers.len(), 4);
        for answer in answers {
            let expected = match (answer.request.key.pid, answer.request.file) {
                (2, _) => Reading::Value(b"A=1\0".to_vec()),
                (_, MemoryFile::Cmdline) => Reading::Absent(Absence::Unsupported),
                (_, _) => Reading::Absent(Absence::Blocked),
            };
            assert_eq!(answer.outcome, expected, "{:?}", answer.request);
        }
        assert_eq!((reader.blocked_now(), reader.stuck_threads()), (1, 1));
        // Left alone from now on, without a further thread.
        let again = ask(&mut reader, request(1, MemoryFile::Environ));
        assert_eq!(again, Reading::Absent(Absence::Blocked));
        assert_eq!((reader.blocked_total(), reader.stuck_threads()), (1, 1));
        release(&fifo);
        while reader.stuck_threads() > 0 {
            std::thread::yield_now();
        }
        reader.forget_ended(|key| key.pid != 1);
        assert_eq!(reader.blocked_now(), 0);
    }

    #[test]
    fn a_process_in_which_a_thread_hangs_costs_no_second_one() {
        let tree = Tree::new();
        let fifo = tree.hostile_process(1);
        fs::write(tree.process(2).join("environ"), "A=1\0").unwrap();
        let (blocked, blocks) = (request(1, MemoryFile::Environ), Absence::Blocked);
        let mut first = tree.reader();
        assert_eq!(ask(&mut first, blocked), Reading::Absent(blocks));
        // It is due to be tried again.
        first.backoff.forget(blocked.key);
        assert_eq!(ask(&mut first, blocked), Reading::Absent(blocks));
        assert_eq!((first.stuck_threads(), first.blocked_now()), (1, 1));
        // As a program has it that opens a reader for each call.
        for _ in 0..20 {
            let mut next = tree.reader();
            assert_eq!(ask(&mut next, blocked), Reading::Absent(blocks));
            assert_eq!((next.stuck_threads(), next.blocked_now()), (0, 1));
            let ordinary = ask(&mut next, request(2, MemoryFile::Environ));
            assert_eq!(ordinary, Reading::Value(b"A=1\0".to_vec()));
        }
        release(&fifo);
        while first.stuck_threads() > 0 {
            std::thread::yield_now();
        }
        fs::remove_file(&fifo).unwrap();
        fs::write(&fifo, "B=2\0").unwrap();
        assert_eq!(ask(&mut tree.reader(), blocked), Reading::Value(b"B=2\0".to_vec()));
    }

    #[test]
    fn where_everybody_hangs_all_is_blocked_until_one_comes_back() {
        let tree = Tree::new();
        let fifos: Vec<_> = (1..=40).map(|pid| tree.hostile_process(pid)).collect();
        fs::write(tree.process(41).join("environ"), "A=1\0").unwrap();
        let mut reader = tree.reader();
        for pid in 1..=40 {
            reader.submit(request(pid, MemoryFile::Environ));
        }
        let answers = reader.collect(LONG);
        assert_eq!(answers.len(), 40);
        assert!(answers.iter().all(|a| a.outcome == Reading::Absent(Absence::Blocked)));
        assert_eq!(reader.stuck_threads(), 32, "two, and the thirty that were replaced");
        assert_eq!(reader.blocked_now(), 32, "the others were not even tried");
        let ordinary = request(41, MemoryFile::Environ);
        assert_eq!(ask(&mut reader, ordinary), Reading::Absent(Absence::Blocked));
        fifos.iter().take(32).for_each(|fifo| release(fifo));
        while reader.stuck_threads() > 0 {
            std::thread::yield_now();
        }
        assert_eq!(ask(&mut reader, ordinary), Reading::Value(b"A=1\0".to_vec()));
    }

    #[test]
    fn a_caller_that_does_not_wait_gets_its_answer_later() {
        let tree = Tree::new();
        let fifo = tree.hostile_process(1);
        let mut reader = tree.reader();
        reader.submit(request(1, MemoryFile::Environ));
        let mut answers = reader.collect(Duration::ZERO);
        while answers.is_empty() {
            assert_eq!(reader.waiting_now(), 1);
            answers = reader.collect(Duration::from_millis(1));
        }
        assert_eq!(reader.waiting_now(), 0);
        assert_eq!(answers[0].outcome, Reading::Absent(Absence::Blocked));
        release(&fifo);
    }

    #[test]
    fn requests_beyond_the_bound_are_dropped_and_counted() {
        let tree = Tree::new();
        let mut reader = tree.reader();
        for start_time_ticks in 0..REQUESTS_MAX as u64 {
            let key = ProcessKey { pid: 1, start_time_ticks };
            let file = MemoryFile::Cmdline;
            assert_eq!(reader.submit(MemoryRequest { key, file }), Submitted::Accepted);
        }
        assert_eq!(reader.submit(request(2, MemoryFile::Cmdline)), Submitted::Dropped);
        assert_eq!(reader.dropped_total(), 1);
        assert_eq!(reader.collect(LONG).len(), REQUESTS_MAX);
    }

    #[test]
    fn every_failing_call_is_an_absence_and_never_a_shorter_file() {
        let tree = Tree::new();
        fs::write(tree.process(1).join("environ"), vec![b'x'; 10_000]).unwrap();
        let root = tree.root();
        let read = || read_memory_file(root.as_fd(), request(1, MemoryFile::Environ)).outcome;
        let (whole, calls) = sys::fault::with_failure(u64::MAX, Errno::IO, read);
        assert_eq!(whole.value().map(Vec::len), Some(10_000));
        for n in 0..calls {
            for errno in [Errno::IO, Errno::MFILE, Errno::NOMEM] {
                let (outcome, _) = sys::fault::with_failure(n, errno, read);
                let expected = Absence::Failed(errno.raw_os_error());
                assert_eq!(outcome.absence(), Some(expected), "call {n}");
            }
            assert_eq!(sys::fault::with_failure(n, Errno::INTR, read).0, whole, "call {n}");
        }
    }

    #[test]
    fn a_program_with_threads_gets_threads_whatever_it_asked_for() {
        let tree = Tree::new();
        fs::write(tree.process(1).join("environ"), "A=1\0").unwrap();
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || held.recv());
        let mut reader = MemoryReader::open(MemoryReaderKind::HelperProcess, tree.root());
        assert_eq!(reader.kind(), MemoryReaderKind::HelperThreads);
        assert_eq!(reader.helper_pids(), []);
        let answer = ask(&mut reader, request(1, MemoryFile::Environ));
        assert_eq!(answer, Reading::Value(b"A=1\0".to_vec()));
        drop(hold);
        assert!(other.join().unwrap().is_err());
    }

    #[test]
    fn an_answer_prints_its_length_and_not_what_it_says() {
        let outcome = Reading::Value(b"PASSWORD=secret\0".to_vec());
        let request = request(1, MemoryFile::Environ);
        let text = format!("{:?}", MemoryAnswer { request, outcome, is_truncated: false });
        assert!(text.contains("Value(16)"), "{text}");
        assert!(!text.contains("115"), "{text}");
    }
}
