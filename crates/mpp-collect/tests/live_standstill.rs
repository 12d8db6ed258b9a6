//! A collector that keeps the samples of those who have not run sees what one sees that reads
//! everybody each time: by procfs, and by our own iterator in the kernel, which is told by it who
//! stood still.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mpp_accounting::exit::ExitSource;
use mpp_accounting::process::{Absence, ContextSwitches, IdentityNeeds, ProcessSample, Reading};
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::BootTime;
use mpp_collect::{Collector, CollectorOptions, ContextSwitchNeeds, IdentityWait, Measures, Needs};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

#[path = "support/hostile.rs"]
#[expect(dead_code, reason = "nobody here is hostile, but all programs are found alike")]
mod hostile;

/// Every process is read again after so many sweeps.
const SWEEPS_TO_EVERYBODY: usize = 16;

/// So many descriptors nobody has: what is found in a sample again was not read.
const MARK: Reading<u32> = Reading::Value(u32::MAX);

/// Long enough on any machine; mostly it is there in milliseconds.
const LONG: Duration = Duration::from_secs(20);

/// A process that does what it is told, `examples/known_load.rs`; killed when dropped.
struct Load {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    folder: tempfile::TempDir,
}

impl Load {
    fn start() -> Self {
        let mut command = Command::new(hostile::path_of("known_load"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut load = Load { child, stdin, stdout, folder: tempfile::tempdir().unwrap() };
        load.tell("threads 0");
        load
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has done it.
    fn tell(&mut self, command: &str) {
        self.say(command);
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert_eq!(answer, "ok\n", "{command}");
    }

    fn say(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has it write, and more, to a file of its own.
    fn tell_with_file(&mut self, command: &str) {
        let path = self.path("written");
        self.tell(&format!("{command} {}", path.display()));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Waits until all threads of a process sleep, or it has ended.
fn await_sleep(pid: u32) {
    let awaited = Instant::now() + LONG;
    let scheduled = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let of_task = |task: fs::DirEntry| {
            let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            let state = read("stat").rsplit(") ").next().and_then(|rest| rest.chars().next());
            (matches!(state, Some('S' | 'Z' | 'T')), read("schedstat"))
        };
        tasks.map(|task| of_task(task.unwrap())).collect::<Vec<_>>()
    };
    loop {
        let before = scheduled();
        std::thread::sleep(Duration::from_millis(5));
        if before == scheduled() && before.iter().all(|(sleeps, _)| *sleeps) {
            return;
        }
        assert!(Instant::now() < awaited, "{pid} does not come to rest");
    }
}

/// The first two numbers of its version.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

fn threads_of(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

/// Who is swept, and who tells of the ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Everybody(ExitSource),
    /// What this process has begun; nobody tells.
    Tree,
}

impl Way {
    const ALL: [Way; 4] = [
        Way::Everybody(ExitSource::Nobody),
        Way::Everybody(ExitSource::Rounded),
        Way::Everybody(ExitSource::Exact),
        Way::Tree,
    ];

    fn sweep(self, collector: &mut Collector, needs: &Needs, into: &mut Snapshot) {
        match self {
            Way::Everybody(_) => collector.sweep(needs, IdentityWait::UpTo(LONG), into),
            Way::Tree => collector.sweep_tree(std::process::id(), needs, into),
        }
        .unwrap();
    }
}

/// Two collectors that sweep at the same moments.
struct Pair {
    way: Way,
    keeping: Collector,
    kept: Snapshot,
    reading: Collector,
}

impl Pair {
    fn open(way: Way) -> Self {
        let exits = match way {
            Way::Everybody(exits) => exits,
            Way::Tree => ExitSource::Nobody,
        };
        let open =
            || Collector::open(CollectorOptions { exits, ..CollectorOptions::default() }).unwrap();
        Pair { way, keeping: open(), kept: Snapshot::default(), reading: open() }
    }

    /// While waits are told by the iterator, everything is; and a tree waits for nobody's texts.
    fn needs(&self) -> Needs {
        let mut needs = needs();
        if self.way == Way::Tree {
            needs.identity = IdentityNeeds::default();
        }
        needs.measures.delays = self.keeping.exit_source() != ExitSource::Exact;
        needs
    }

    /// What each sees of a process.
    fn sweep(&mut self, pid: u32) -> [Option<ProcessSample>; 2] {
        self.sweep_for(&self.needs(), pid)
    }

    fn sweep_for(&mut self, needs: &Needs, pid: u32) -> [Option<ProcessSample>; 2] {
        self.way.sweep(&mut self.keeping, needs, &mut self.kept);
        // There is nothing to keep in an empty one.
        let mut read = Snapshot::default();
        self.way.sweep(&mut self.reading, needs, &mut read);
        [self.kept.by_pid(pid).cloned(), read.by_pid(pid).cloned()]
    }

    /// Sweeps until the sample is one that would be kept, then marks it. Before Linux 6.2 the
    /// iterator keeps none of a process with several threads.
    fn mark(&mut self, pid: u32) {
        await_sleep(pid);
        // It may be its turn in one of them.
        for _ in 0..3 {
            self.sweep(pid);
            let process = self.kept.processes.iter_mut().find(|p| p.key.pid == pid).unwrap();
            process.gauges.fds = MARK;
            let [kept, _] = self.sweep(pid);
            if kept.unwrap().gauges.fds == MARK {
                return;
            }
        }
        let is_told = self.keeping.exit_source() == ExitSource::Exact;
        let is_excused = is_told && threads_of(pid) > 1 && kernel() < (6, 2);
        assert!(is_excused, "{pid} sleeps, and is read again all the same");
    }

    fn check_same(&mut self, pid: u32, what: &str) {
        let [kept, read] = self.sweep(pid);
        kept.iter().for_each(|sample| check_threads(sample, what));
        let [kept, read] = [kept, read].map(|sample| sample.map(|sample| text_of(&sample)));
        assert_eq!(kept, read, "{what}");
    }
}

/// What each thread did is what procfs tells of that one alone, though it was perhaps not asked.
fn check_threads(sample: &ProcessSample, what: &str) {
    for thread in sample.threads().value().copied().unwrap_or_default().iter() {
        let path = format!("/proc/{}/task/{}/io", sample.key.pid, thread.key.tid);
        let text = fs::read_to_string(path).unwrap();
        let numbers = text.lines().map(|line| line.split(' ').nth(1).unwrap().parse().unwrap());
        assert_eq!(thread.total.0.to_vec(), numbers.collect::<Vec<u64>>(), "{what}: {thread:?}");
    }
}

fn text_of(sample: &ProcessSample) -> String {
    format!("{:#?}", ProcessSample { read_at: BootTime::default(), ..sample.clone() })
}

fn needs() -> Needs {
    Needs {
        identity: IdentityNeeds {
            executable: true,
            cmdline: true,
            cgroup: true,
            ..IdentityNeeds::default()
        },
        measures: Measures {
            memory: true,
            proportional_memory: false,
            swap: true,
            io: true,
            fds: true,
            fd_limit: true,
            sockets: true,
            tcp_traffic: false,
            delays: true,
            context_switches: ContextSwitchNeeds::AllThreads,
        },
    }
}

/// What one of them does, from rest to rest, both collectors see.
fn check(what: &str, prepare: impl Fn(&mut Load), act: impl Fn(&mut Load)) {
    for way in Way::ALL {
        let mut pair = Pair::open(way);
        let mut load = Load::start();
        prepare(&mut load);
        pair.mark(load.pid());
        act(&mut load);
        await_sleep(load.pid());
        let what = format!("{what}, {way:?}, told by {:?}", pair.keeping.exit_source());
        pair.check_same(load.pid(), &what);
        pair.check_same(load.pid(), &format!("{what}, one sweep later"));
    }
}

fn nothing(_: &mut Load) {}

#[test]
fn what_a_process_does_is_seen_whatever_it_is() {
    check("a line read and answered", nothing, |load| load.tell("threads 0"));
    check("a page touched", nothing, |load| load.tell("memory 4096"));
    check("a file opened", nothing, |load| load.tell("fds 1"));
    check("a byte written", nothing, |load| load.tell_with_file("write 1"));
    check("a name taken", nothing, |load| load.tell("name 616263"));
    check("a thread begun", nothing, |load| load.tell("threads 1"));
}

#[test]
fn what_another_thread_does_while_the_main_one_sleeps_is_seen() {
    let pipe = |load: &mut Load| {
        let path = load.path("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        load.tell(&format!("echo-in-thread {}", path.display()));
    };
    check("a byte written by a thread", pipe, |load| {
        File::create(load.path("pipe")).unwrap().write_all(b"x").unwrap();
    });
    let begun_and_ended = |load: &mut Load| load.tell_with_file("write-in-thread 5000");
    check("a thread begun and ended", nothing, begun_and_ended);
    check("a second one", begun_and_ended, begun_and_ended);
}

#[test]
fn what_comes_with_children_and_programs_is_seen() {
    let reap = |load: &mut Load| load.tell_with_file("reap 3000");
    check("a child begun", nothing, |load| load.tell("worker"));
    check("a child reaped", nothing, reap);
    check("another one", reap, reap);
    check("children that did nothing", nothing, |load| load.tell("storm 2"));
    check("a zombie made", nothing, |load| load.tell_with_file("leave-zombie 100"));
    check("a program executed", nothing, |load| {
        load.say("exec-from-thread cat");
        let has_executed = || {
            let comm = fs::read_to_string(format!("/proc/{}/comm", load.pid())).unwrap();
            comm == "cat\n"
        };
        let awaited = Instant::now() + LONG;
        while !has_executed() && Instant::now() < awaited {
            std::thread::yield_now();
        }
    });
}

#[test]
fn the_end_of_a_main_thread_or_of_a_process_is_seen() {
    check("a main thread ended", |load| load.tell("threads 1"), |load| load.tell("exit-leader"));
    check("a process ended", nothing, |load| {
        kill_process(pid_of(load.pid()), Signal::KILL).unwrap();
    });
}

#[test]
fn another_user_is_seen() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("without root nobody can become another user: an own file is written instead");
        check("a byte written", nothing, |load| load.tell_with_file("write 1"));
        return;
    }
    check("another user", nothing, |load| load.tell("user 65534"));
}

fn pid_of(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

#[test]
fn a_process_that_sleeps_is_not_read_again_until_it_is_its_turn() {
    for way in [Way::Everybody(ExitSource::Nobody), Way::Tree] {
        let load = Load::start();
        let mut pair = Pair::open(way);
        pair.mark(load.pid());
        let is_marked =
            |pair: &mut Pair| pair.sweep(load.pid())[0].as_ref().unwrap().gauges.fds == MARK;
        let kept = (0..SWEEPS_TO_EVERYBODY).take_while(|_| is_marked(&mut pair)).count();
        assert!(kept < SWEEPS_TO_EVERYBODY, "{way:?}: it is never read again");
    }
}

#[test]
fn a_process_that_is_handed_to_another_parent_in_its_sleep_has_that_parent() {
    for exits in [ExitSource::Nobody, ExitSource::Exact] {
        check_new_parent(exits);
    }
}

fn check_new_parent(exits: ExitSource) {
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", "sleep 1000 <&- >&- & echo $!; read line"]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(shell.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let sleeper: u32 = line.trim().parse().unwrap();
    let mut pair = Pair::open(Way::Everybody(exits));
    pair.mark(sleeper);
    drop(shell.stdin.take());
    // It stays a zombie: whom it had begun has another parent already.
    await_sleep(shell.id());
    let [kept, read] = pair.sweep(sleeper).map(Option::unwrap);
    kill_process(pid_of(sleeper), Signal::KILL).unwrap();
    assert_ne!(read.parent_pid, shell.id());
    assert_eq!(text_of(&kept), text_of(&read));
    shell.wait().unwrap();
}

/// Sets a limit from outside.
fn limit_descriptors(pid: u32, count: u64) {
    let limit = Rlimit { current: Some(count), maximum: Some(1000) };
    prlimit(Some(pid_of(pid)), Resource::Nofile, limit).unwrap();
}

#[test]
fn what_others_change_in_a_sleeping_process_is_seen_after_sixteen_sweeps() {
    for exits in [ExitSource::Nobody, ExitSource::Rounded, ExitSource::Exact] {
        for command in ["threads 0", "threads 3"] {
            let mut load = Load::start();
            load.tell(command);
            let mut pair = Pair::open(Way::Everybody(exits));
            pair.mark(load.pid());
            limit_descriptors(load.pid(), 123);
            let mut limit_is_seen = || {
                let [kept, _] = pair.sweep(load.pid());
                kept.unwrap().gauges.seldom.fd_limit == Reading::Value(123)
            };
            let is_seen = (0..SWEEPS_TO_EVERYBODY).any(|_| limit_is_seen());
            assert!(is_seen, "{command}, told by {:?}", pair.keeping.exit_source());
            pair.check_same(load.pid(), command);
        }
    }
}

#[test]
fn what_others_changed_is_seen_at_once_where_the_process_has_run() {
    check("another limit", nothing, |load| {
        limit_descriptors(load.pid(), 123);
        load.tell("threads 0");
    });
    let with_threads = |load: &mut Load| load.tell("threads 3");
    check("another limit of several threads", with_threads, |load| {
        limit_descriptors(load.pid(), 123);
        load.tell("threads 0");
    });
}

/// A control group of ours; removed when dropped, by when nobody may be in it.
struct Group(PathBuf);

impl Group {
    /// `None` where there are none of the second version, or we may not make one.
    fn create() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let is_second = |line: &&str| line.split(' ').nth(2) == Some("cgroup2");
        let mounted = mounts.lines().find(is_second)?.split(' ').nth(1)?;
        let path = PathBuf::from(mounted).join(format!("standstill-{}", std::process::id()));
        fs::create_dir(&path).ok().map(|()| Group(path))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever was killed a moment ago may still be in it.
        let awaited = Instant::now() + LONG;
        while fs::remove_dir(&self.0).is_err() && Instant::now() < awaited {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// By the iterator at once; by procfs when it is its turn.
#[test]
fn a_sleeping_process_that_is_moved_is_told_in_its_new_control_group() {
    for exits in [ExitSource::Nobody, ExitSource::Exact] {
        check_moved(exits);
    }
}

fn check_moved(exits: ExitSource) {
    let mut pair = Pair::open(Way::Everybody(exits));
    let group = Group::create();
    let load = Load::start();
    pair.mark(load.pid());
    let Some(group) = &group else {
        // Where none can be made it stays where it is.
        assert_eq!(pair.sweep(load.pid())[0].as_ref().unwrap().gauges.fds, MARK);
        return;
    };
    fs::write(group.0.join("cgroup.procs"), load.pid().to_string()).unwrap();
    let name = group.0.file_name().unwrap().as_encoded_bytes();
    let mut is_told = || {
        let [kept, _] = pair.sweep(load.pid()).map(Option::unwrap);
        kept.identity.cgroup.value().unwrap().ends_with(name)
    };
    let is_found = (0..SWEEPS_TO_EVERYBODY).position(|_| is_told());
    let told_by = pair.keeping.exit_source();
    let is_soon_enough = |sweep| told_by != ExitSource::Exact || sweep == 0;
    assert!(is_found.is_some_and(is_soon_enough), "{is_found:?}, told by {told_by:?}");
    pair.check_same(load.pid(), "another control group");
}

/// Pages of a file that is cut are taken away from whoever has it mapped.
#[test]
fn memory_that_others_take_from_a_sleeping_process_is_seen_after_sixteen_sweeps() {
    const PAGES: u64 = 64;
    for exits in [ExitSource::Nobody, ExitSource::Rounded, ExitSource::Exact] {
        let mut load = Load::start();
        let path = load.path("mapped");
        let bytes = PAGES * u64::try_from(rustix::param::page_size()).unwrap();
        fs::write(&path, vec![b'x'; usize::try_from(bytes).unwrap()]).unwrap();
        load.tell(&format!("map {}", path.display()));
        let mut pair = Pair::open(Way::Everybody(exits));
        pair.mark(load.pid());
        let mut shared = || {
            let [kept, _] = pair.sweep(load.pid());
            kept.unwrap().gauges.memory().value().unwrap().shared_bytes
        };
        let before = shared();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        let is_seen = (0..SWEEPS_TO_EVERYBODY).any(|_| shared() + bytes <= before);
        assert!(is_seen, "told by {:?}", pair.keeping.exit_source());
    }
}

#[test]
fn a_sample_is_kept_only_where_it_is_from_the_sweep_before() {
    for exits in [ExitSource::Nobody, ExitSource::Rounded, ExitSource::Exact] {
        check_kept_samples(exits);
    }
}

fn check_kept_samples(exits: ExitSource) {
    let mut pair = Pair::open(Way::Everybody(exits));
    let what = |what| format!("{what}, told by {exits:?}");
    let load = Load::start();
    pair.mark(load.pid());
    let older = pair.kept.clone();
    pair.sweep(load.pid());
    // One that missed a sweep, and one that others were taken out of.
    pair.kept = older;
    pair.check_same(load.pid(), &what("an older snapshot"));
    pair.mark(load.pid());
    pair.kept.processes.retain(|process| process.key.pid != load.pid());
    pair.check_same(load.pid(), &what("a snapshot without it"));
    // Other measures.
    pair.mark(load.pid());
    let mut fewer = pair.needs();
    fewer.measures.fds = false;
    pair.keeping.sweep(&fewer, IdentityWait::No, &mut pair.kept).unwrap();
    let kept = pair.kept.by_pid(load.pid()).unwrap();
    assert_eq!(kept.gauges.fds, Reading::Absent(Absence::NotRequested));
    pair.check_same(load.pid(), &what("more measures"));
}

/// What is asked for most: of a sleeping process only memory and descriptors are read again.
#[test]
fn memory_and_descriptors_of_a_sleeping_process_are_read_again_within_sixteen_sweeps() {
    for exits in [ExitSource::Nobody, ExitSource::Rounded] {
        let load = Load::start();
        let mut pair = Pair::open(Way::Everybody(exits));
        let measures = Measures { memory: true, io: true, fds: true, ..Measures::default() };
        let needs = Needs { measures, ..Needs::default() };
        await_sleep(load.pid());
        pair.sweep_for(&needs, load.pid());
        let process = pair.kept.processes.iter_mut().find(|p| p.key.pid == load.pid()).unwrap();
        process.gauges.fds = MARK;
        process.gauges.put_memory(Reading::Absent(Absence::Unstable));
        let is_marked = |sample: &ProcessSample| {
            sample.gauges.fds == MARK || sample.gauges.memory().value().is_none()
        };
        let mut sweeps = 0;
        let [kept, read] = loop {
            let [kept, read] = pair.sweep_for(&needs, load.pid()).map(Option::unwrap);
            sweeps += 1;
            if !is_marked(&kept) {
                break [kept, read];
            }
        };
        assert!(sweeps <= SWEEPS_TO_EVERYBODY, "{sweeps}");
        assert_eq!(text_of(&kept), text_of(&read));
    }
}

/// The two lines at the end of a thread's `status`.
fn switches_in_file(pid: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let number = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse().unwrap()
    };
    (number("voluntary_ctxt_switches:"), number("nonvoluntary_ctxt_switches:"))
}

/// Where taskstats answer they are asked instead, of those that have one thread.
#[test]
fn context_switches_of_a_sleeping_process_are_those_of_its_file_whoever_tells_them() {
    for exits in [ExitSource::Nobody, ExitSource::Rounded] {
        let mut load = Load::start();
        let mut pair = Pair::open(Way::Everybody(exits));
        let context_switches = ContextSwitchNeeds::AllThreads;
        let measures = Measures { context_switches, ..Measures::default() };
        let needs = Needs { measures, ..Needs::default() };
        let mut check = |pid: u32, what: &str| {
            await_sleep(pid);
            let (voluntary, involuntary) = switches_in_file(pid);
            let expected = ContextSwitches { voluntary, involuntary, is_partial: false };
            for sample in pair.sweep_for(&needs, pid).map(Option::unwrap) {
                assert_eq!(sample.gauges.context_switches, Reading::Value(expected), "{what}");
            }
        };
        check(load.pid(), "at first");
        check(load.pid(), "kept");
        load.tell("threads 0");
        check(load.pid(), "it has run");
        load.tell("threads 1");
        await_sleep(load.pid());
        let [kept, read] = pair.sweep_for(&needs, load.pid()).map(Option::unwrap);
        assert_eq!(text_of(&kept), text_of(&read));
        assert!(kept.gauges.context_switches.value().unwrap().is_partial, "it has two threads");
    }
}
