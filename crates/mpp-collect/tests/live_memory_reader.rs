//! Reading the memory files of real processes, hostile ones among them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

#[path = "support/hostile.rs"]
mod hostile;

use std::fs;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use hostile::{Hostile, path_of};
use mpp_accounting::process::{Absence, ProcessKey, Reading};
use mpp_collect::memory_reader::{MemoryFile, MemoryReader, MemoryReaderKind, MemoryRequest};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};

/// Far more than any deadline, for what is sure to come.
const LONG: Duration = Duration::from_secs(60);

fn key_of(pid: u32) -> ProcessKey {
    let stat = fs::read(format!("/proc/{pid}/stat")).unwrap();
    let stat = mpp_parse::proc_pid_stat::parse(&stat).unwrap();
    ProcessKey { pid, start_time_ticks: stat.start_time_ticks }
}

fn reader() -> MemoryReader {
    let procfs = fs::File::open("/proc").unwrap();
    MemoryReader::open(MemoryReaderKind::HelperThreads, procfs.into())
}

fn read(reader: &mut MemoryReader, pid: u32, file: MemoryFile) -> Reading<Vec<u8>> {
    reader.submit(MemoryRequest { key: key_of(pid), file });
    let mut answers = reader.collect(LONG);
    assert_eq!(answers.len(), 1);
    answers.pop().unwrap().outcome
}

/// The example that reads with a helper process, as the command does.
struct Program {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(pids: &[u32]) -> Self {
        let mut child = Command::new(path_of("read_memory"))
            .arg("--stay")
            .args(pids.iter().map(u32::to_string))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Program { child, lines }
    }

    /// What it has printed up to and with its helpers' PIDs, and these.
    fn output(&mut self) -> (Vec<String>, Vec<u32>) {
        let mut printed = Vec::new();
        for line in self.lines.by_ref() {
            let line = line.unwrap();
            if let Some(pids) = line.strip_prefix("helpers ") {
                let pids = pids.split(' ').map(|pid| pid.parse().unwrap()).collect();
                return (printed, pids);
            }
            printed.push(line);
        }
        panic!("it ended early: {printed:?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// State and parent of every process.
fn processes() -> Vec<(u32, u8, u32)> {
    let entries = fs::read_dir("/proc").unwrap();
    let stats = entries.filter_map(|entry| fs::read(entry.unwrap().path().join("stat")).ok());
    stats
        .filter_map(|stat| {
            let stat = mpp_parse::proc_pid_stat::parse(&stat).ok()?;
            Some((stat.pid, stat.state, stat.ppid))
        })
        .collect()
}

fn is_there(pid: u32) -> bool {
    processes().iter().any(|(other, _, _)| *other == pid)
}

fn pid_of(number: u32) -> Pid {
    Pid::from_raw(number.try_into().unwrap()).unwrap()
}

#[test]
fn reads_what_the_process_itself_sees() {
    let (mut reader, own) = (reader(), std::process::id());
    for (file, path) in
        [(MemoryFile::Cmdline, "/proc/self/cmdline"), (MemoryFile::Environ, "/proc/self/environ")]
    {
        assert_eq!(read(&mut reader, own, file), Reading::Value(fs::read(path).unwrap()));
    }
    let rollup = read(&mut reader, own, MemoryFile::SmapsRollup);
    assert!(mpp_parse::proc_pid_smaps_rollup::parse(rollup.value().unwrap()).is_ok());
}

#[test]
fn a_zombie_has_no_memory_of_its_own() {
    let mut child = Command::new("true").spawn().unwrap();
    let pid = child.id();
    while !processes().iter().any(|(other, state, _)| *other == pid && *state == b'Z') {
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut reader = reader();
    assert_eq!(read(&mut reader, pid, MemoryFile::Cmdline), Reading::Value(Vec::new()));
    let environ = read(&mut reader, pid, MemoryFile::Environ);
    if rustix::process::geteuid().is_root() {
        assert_eq!(environ, Reading::Value(Vec::new()));
    } else {
        eprintln!("the files of a zombie are root's");
        assert_eq!(environ, Reading::Absent(Absence::Denied));
    }
    let key = key_of(pid);
    child.wait().unwrap();
    reader.submit(MemoryRequest { key, file: MemoryFile::Cmdline });
    assert_eq!(reader.collect(LONG)[0].outcome, Reading::Absent(Absence::Vanished));
}

#[test]
fn an_environment_of_two_gibibytes_is_too_large_and_a_command_line_is_cut() {
    let Some(hostile) = Hostile::start("huge_environment", "", &[]) else {
        eprintln!("this kernel lets nobody claim a huge environment");
        return;
    };
    let mut reader = reader();
    let environ = read(&mut reader, hostile.pid, MemoryFile::Environ);
    assert_eq!(environ, Reading::Absent(Absence::TooLarge));
    let file = MemoryFile::Cmdline;
    reader.submit(MemoryRequest { key: key_of(hostile.pid), file });
    let answer = reader.collect(LONG).pop().unwrap();
    assert_eq!(answer.outcome.value().map(Vec::len), Some(file.limit_bytes()));
    assert!(answer.is_truncated);
}

#[test]
fn a_process_that_holds_its_mmap_lock_for_ever_hangs_one_thread_and_no_caller() {
    let Some(hostile) = Hostile::start("mmap_lock_holder", "holder", &[]) else {
        assert_holding_is_not_allowed();
        return;
    };
    let (mut reader, own) = (reader(), std::process::id());
    let key = key_of(hostile.pid);
    for file in MemoryFile::ALL {
        reader.submit(MemoryRequest { key, file });
        reader.submit(MemoryRequest { key: key_of(own), file });
    }
    let answers = reader.collect(LONG);
    assert_eq!(answers.len(), 6);
    for answer in answers {
        let is_blocked = answer.outcome.absence() == Some(Absence::Blocked);
        assert_eq!(is_blocked, answer.request.key == key, "{answer:?}");
    }
    assert_eq!((reader.blocked_now(), reader.stuck_threads()), (1, 1));
    // Its end ends the read, and the thread with it.
    drop(hostile);
    while reader.stuck_threads() > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_helper_process_that_hangs_is_killed_reaped_and_replaced() {
    let Some(hostile) = Hostile::start("mmap_lock_holder", "holder", &[]) else {
        assert_holding_is_not_allowed();
        return;
    };
    let own = std::process::id();
    let mut program = Program::start(&[hostile.pid, own]);
    let (mut printed, helpers) = program.output();
    let cmdline = fs::read("/proc/self/cmdline").unwrap().len();
    let environ = fs::read("/proc/self/environ").unwrap().len();
    let rollup = printed.iter().position(|line| line.starts_with(&format!("{own} Smaps")));
    assert!(!printed.remove(rollup.unwrap()).contains("blocks"));
    let blocked = "reading it blocks on the process";
    let expected = [
        "reader HelperProcess".to_owned(),
        format!("{own} Cmdline {cmdline}"),
        format!("{own} Environ {environ}"),
        format!("{} Cmdline {blocked}", hostile.pid),
        format!("{} Environ {blocked}", hostile.pid),
        format!("{} SmapsRollup {blocked}", hostile.pid),
        "blocked 1 waiting 0".to_owned(),
    ];
    // Nobody waits for another one's deadline, so any order will do.
    assert_eq!(printed.len(), expected.len(), "{printed:?}");
    assert!(expected.iter().all(|line| printed.contains(line)), "{printed:?}");
    let [supervisor, workers @ ..] = &helpers[..] else { panic!("{helpers:?}") };
    let children: Vec<_> =
        processes().into_iter().filter(|(_, _, parent)| parent == supervisor).collect();
    assert!(children.iter().all(|(_, state, _)| *state != b'Z'), "{children:?}");
    let children: Vec<_> = children.into_iter().map(|(pid, _, _)| pid).collect();
    assert_eq!(children, workers, "the one that hung is gone, the other one is not");
    assert_eq!(workers.len(), 1);
}

#[test]
fn helper_processes_keep_nothing_open_and_end_with_their_parent() {
    // Orphans come to us, so that their end can be waited for.
    set_child_subreaper(Some(getpid())).unwrap();
    let mut program = Program::start(&[std::process::id()]);
    let (_, helpers) = program.output();
    assert_eq!(helpers.len(), 2, "a supervisor and its worker");
    for helper in &helpers {
        let mut targets: Vec<_> = fs::read_dir(format!("/proc/{helper}/fd"))
            .unwrap()
            .map(|entry| fs::read_link(entry.unwrap().path()).unwrap().display().to_string())
            // That of the worker, by which the supervisor ends it.
            .filter(|target| !target.contains("pidfd"))
            .map(|target| target.split(':').next().unwrap_or_default().to_owned())
            .collect();
        targets.sort();
        targets.dedup();
        assert_eq!(targets, ["/dev/null", "/proc", "socket"]);
    }
    kill_process(pid_of(program.child.id()), Signal::KILL).unwrap();
    drop(program);
    for helper in helpers {
        match waitpid(Some(pid_of(helper)), WaitOptions::empty()) {
            Ok(ended) => assert_eq!(ended.map(|(pid, _)| pid), Some(pid_of(helper))),
            // The supervisor had the time to reap its worker itself.
            Err(errno) => assert_eq!(errno, Errno::CHILD),
        }
        assert!(!is_there(helper), "it has outlived its parent");
    }
}

#[test]
fn helper_processes_are_gone_when_their_reader_is() {
    let mut program = Program::start(&[std::process::id()]);
    let (_, helpers) = program.output();
    drop(program);
    assert!(!helpers.into_iter().any(is_there), "they were not reaped");
}

#[test]
fn a_helper_process_that_somebody_killed_is_reaped_too() {
    let mut program = Program::start(&[std::process::id()]);
    let (_, helpers) = program.output();
    kill_process(pid_of(helpers[1]), Signal::KILL).unwrap();
    drop(program);
    assert!(!helpers.into_iter().any(is_there), "they were not reaped");
}

#[test]
fn a_helper_process_that_somebody_killed_is_replaced_and_nothing_is_lost() {
    let mut program = Program::start(&[std::process::id()]);
    let (before, helpers) = program.output();
    kill_process(pid_of(helpers[1]), Signal::KILL).unwrap();
    writeln!(program.child.stdin.as_ref().unwrap()).unwrap();
    let (after, replaced) = program.output();
    let of = |printed: &[String], file: &str| {
        let line = printed.iter().find(|line| line.contains(file));
        line.unwrap().clone()
    };
    for file in ["Cmdline", "Environ"] {
        assert_eq!(of(&after, file), of(&before, file));
    }
    assert_eq!((helpers[0], replaced.len()), (replaced[0], 2), "the same supervisor");
    assert!(!replaced.contains(&helpers[1]));
    assert!(!is_there(helpers[1]), "it was not reaped");
}

/// The children of a process, by the kernel's own list.
fn children_of(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// Processes that only wait. Ended when dropped.
struct Sleepers(Vec<Child>);

impl Sleepers {
    fn start(count: usize) -> Self {
        let start = |_| Command::new("sleep").arg("600").spawn().unwrap();
        Sleepers((0..count).map(start).collect())
    }

    fn pids(&self) -> Vec<u32> {
        self.0.iter().map(Child::id).collect()
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for sleeper in &mut self.0 {
            sleeper.kill().unwrap();
            sleeper.wait().unwrap();
        }
    }
}

#[test]
fn helper_processes_that_a_busy_moment_made_are_ended_again_but_for_one() {
    let sleepers = Sleepers::start(8);
    let mut program = Program::start(&sleepers.pids());
    let (_, helpers) = program.output();
    let supervisor = helpers[0];
    let descriptors = || fs::read_dir(format!("/proc/{supervisor}/fd")).unwrap().count();
    let wait_for_the_last = || {
        let until = Instant::now() + LONG;
        while children_of(supervisor).len() > 1 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(children_of(supervisor).len(), 1);
    };
    // The first moment may have been a busy one by itself.
    wait_for_the_last();
    let few = descriptors();
    // The only worker stands still for a moment, so that another one helps out. Where the moment
    // was too long it is given up, and another moment has to do.
    let mut workers = children_of(supervisor);
    while workers.len() < 2 {
        let slow = workers.last().map(|pid| pid_of(*pid));
        if let Some(slow) = slow {
            kill_process(slow, Signal::STOP).unwrap();
        }
        writeln!(program.child.stdin.as_ref().unwrap()).unwrap();
        while children_of(supervisor) == workers {
            std::thread::yield_now();
        }
        if let Some(slow) = slow {
            // It may have been given up just now.
            let _ = kill_process(slow, Signal::CONT);
        }
        program.output();
        workers = children_of(supervisor);
    }
    assert!(descriptors() > few, "each worker takes its own");
    wait_for_the_last();
    assert_eq!(descriptors(), few);
    // Whoever is left reads as ever, and we have been told who that is.
    writeln!(program.child.stdin.as_ref().unwrap()).unwrap();
    let (_, helpers) = program.output();
    assert_eq!(helpers[1..], children_of(supervisor));
}

/// What must be missing where the hostile process could not be built.
fn assert_holding_is_not_allowed() {
    eprintln!("holding an mmap lock needs CAP_SYS_ADMIN and /dev/fuse");
    let can_open = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").is_ok();
    let sets = rustix::thread::capabilities(None).unwrap();
    let is_admin = sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN);
    assert!(!(can_open && is_admin), "everything is there, so it should have worked");
}
