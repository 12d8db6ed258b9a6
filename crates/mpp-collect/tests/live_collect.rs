//! Real processes that know their own truth, read through the live procfs: privileged and not,
//! while they live and after, on mounts that hide them.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]
#![expect(clippy::print_stderr, reason = "a test without a privilege says so")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mpp_accounting::process::{
    Absence, IdentityNeeds, ProcessKey, ProcessSample, ProcessState, Reading,
};
use mpp_accounting::snapshot::{Snapshot, Trouble, Visibility};
use mpp_accounting::units::IoCounter;
use mpp_collect::{
    Collector, CollectorOptions, ContextSwitchNeeds, IdentityWait, Measures, MemoryReaderKind,
    Needs, ProcfsKind,
};

#[path = "support/hostile.rs"]
mod hostile;

use hostile::Hostile;

const MIB: u64 = 1 << 20;
/// Long enough for the bounded reader on any machine; it answers in milliseconds.
const LONG: IdentityWait = IdentityWait::UpTo(Duration::from_secs(20));
/// Tells a copy of this test program that it is the one to look.
const INNER: &str = "MPP_TEST_INNER";

/// A process that does what it is told; see `examples/known_load.rs`. Killed when dropped.
struct Load {
    child: Child,
    /// `None` when it has been told to end.
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Load {
    fn start() -> Self {
        let mut load = Load::spawn(&mut Command::new(hostile::path_of("known_load")));
        // In the middle of its exec, which is when it counts as started, it has no environment.
        load.tell("threads 0");
        load
    }

    fn spawn(command: &mut Command) -> Self {
        let command = command.env("MPP_TEST_TAG", "known").env("MPP_TEST_EMPTY", "");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Load { child, stdin, stdout }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has done it.
    fn tell(&mut self, command: &str) -> &mut Self {
        writeln!(self.stdin.as_ref().unwrap(), "{command}").unwrap();
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert_eq!(answer, "ok\n", "{command}");
        self
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn everything() -> Needs {
    Needs {
        identity: IdentityNeeds {
            executable: true,
            cmdline: true,
            cgroup: true,
            listening_ports: true,
            environment_keys: vec![Box::from(*b"MPP_TEST_TAG"), Box::from(*b"MPP_TEST_EMPTY")],
        },
        measures: Measures {
            memory: true,
            proportional_memory: true,
            swap: true,
            io: true,
            fds: true,
            fd_limit: true,
            sockets: true,
            tcp_traffic: true,
            delays: true,
            context_switches: ContextSwitchNeeds::AllThreads,
        },
    }
}

fn only_measures() -> Needs {
    Needs { identity: IdentityNeeds::default(), ..everything() }
}

fn collector() -> Collector {
    Collector::open(CollectorOptions::default()).unwrap()
}

fn read(collector: &mut Collector, pid: u32) -> ProcessSample {
    read_if_there(collector, pid).unwrap()
}

fn read_if_there(collector: &mut Collector, pid: u32) -> Option<ProcessSample> {
    collector.read(&[pid], &everything(), LONG).unwrap().pop().unwrap()
}

fn sweep(collector: &mut Collector, needs: &Needs) -> Snapshot {
    let mut snapshot = Snapshot::default();
    collector.sweep(needs, LONG, &mut snapshot).unwrap();
    snapshot
}

/// Sweeps until this is so of a process's only child. Its memory may be busy at first: a reading is
/// given up after a while then, and asked for again a second later.
fn child_when(
    collector: &mut Collector,
    parent: u32,
    is_so: impl Fn(&ProcessSample, Trouble) -> bool,
) -> ProcessSample {
    let awaited = Instant::now() + Duration::from_secs(20);
    loop {
        let snapshot = sweep(collector, &everything());
        let child = snapshot.processes.iter().find(|sample| sample.parent_pid == parent).unwrap();
        if is_so(child, collector.trouble()) {
            return child.clone();
        }
        assert!(Instant::now() < awaited, "{:?} {:?}", child.identity, collector.trouble());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn write_chars(sample: &ProcessSample) -> u64 {
    sample.io.total().value().unwrap()[IoCounter::WriteChars]
}

fn scratch() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let path = folder.path().join("written").to_str().unwrap().to_owned();
    (folder, path)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_sweep_sees_every_process_once_in_order_ourselves_too() {
    let load = Load::start();
    let mut collector = collector();
    let snapshot = sweep(&mut collector, &only_measures());
    assert!(snapshot.processes.is_sorted_by(|a, b| a.key < b.key && a.key.pid != b.key.pid));
    let own = snapshot.by_pid(std::process::id()).unwrap();
    assert_eq!(snapshot.by_pid(load.pid()).unwrap().parent_pid, own.key.pid);
    assert!(own.key.start_time_ticks <= snapshot.taken_at_ticks);
    assert!(own.read_at >= snapshot.taken_at);
    assert!(own.io.threads.value().is_some(), "a parent's threads are read at the first sight");
    assert_eq!(collector.own_pids(), [own.key.pid]);
    assert_eq!(collector.procfs_kind(), ProcfsKind::OwnNamespace);
}

#[test]
fn memory_descriptors_and_threads_are_what_the_process_made_of_them() {
    let mut load = Load::start();
    load.tell("name 61");
    let mut collector = collector();
    let before = read(&mut collector, load.pid());
    load.tell("memory 67108864").tell("fds 12").tell("threads 5");
    let after = read(&mut collector, load.pid());
    let rss = |sample: &ProcessSample| sample.gauges.memory().value().unwrap().rss_bytes;
    let growth = rss(&after) - rss(&before);
    assert!((64 * MIB..72 * MIB).contains(&growth), "{growth}");
    assert_eq!(after.gauges.fds.value().unwrap() - before.gauges.fds.value().unwrap(), 12);
    assert_eq!(after.gauges.threads.value(), Some(&6));
    assert!(!before.gauges.context_switches.value().unwrap().is_partial);
    assert!(after.gauges.context_switches.value().unwrap().is_partial);
    let proportional = *after.gauges.seldom.proportional_memory.value().unwrap();
    assert!(proportional.uss_bytes >= 64 * MIB, "{proportional:?}");
    assert!(proportional.pss_bytes >= proportional.uss_bytes, "{proportional:?}");
    assert_eq!(after.gauges.seldom.swap_bytes.absence(), None);
    assert_eq!(&*after.identity.comm, b"a");
}

#[test]
fn twenty_thousand_descriptors_are_counted_by_the_size_of_their_folder() {
    let mut load = Load::start();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let count = limit.current.unwrap_or(u64::MAX).saturating_sub(32).min(20_000);
    eprintln!("{count} descriptors are allowed here");
    load.tell(&format!("fds {count}"));
    let listed = std::fs::read_dir(format!("/proc/{}/fd", load.pid())).unwrap().count() as u64;
    let sample = read(&mut collector(), load.pid());
    assert_eq!(sample.gauges.fds.map(u64::from), Reading::Value(listed));
    assert!(listed > count);
    assert_eq!(sample.gauges.seldom.fd_limit.value().copied(), limit.current.or(Some(u64::MAX)));
}

#[test]
fn written_bytes_are_exact_and_those_of_ended_threads_stay() {
    let (_folder, path) = scratch();
    let mut load = Load::start();
    load.tell(&format!("write 1 {path}"));
    let mut collector = collector();
    let before = read(&mut collector, load.pid());
    load.tell(&format!("write 3000000 {path}"));
    let after = read(&mut collector, load.pid());
    // The answer is three bytes.
    assert_eq!(write_chars(&after) - write_chars(&before), 3_000_003);
    load.tell(&format!("write-in-thread 500000 {path}"));
    let last = read(&mut collector, load.pid());
    assert_eq!(write_chars(&last) - write_chars(&after), 500_003);
    assert_eq!(last.io.threads, Reading::Absent(Absence::NotRequested), "it has no children");
}

#[test]
fn a_reaped_childs_bytes_are_in_the_total_and_in_no_thread() {
    let (_folder, path) = scratch();
    let mut load = Load::start();
    load.tell(&format!("write 7 {path}"));
    let mut collector = collector();
    load.tell(&format!("reap 1000000 {path}"));
    let before = read(&mut collector, load.pid());
    load.tell(&format!("reap 2000000 {path}"));
    let after = read(&mut collector, load.pid());
    let own = |sample: &ProcessSample| {
        let threads = *sample.threads().value().unwrap();
        threads.iter().map(|thread| thread.total[IoCounter::WriteChars]).sum::<u64>()
    };
    assert_eq!(own(&before), 7 + 3 * 3, "what it wrote itself, three answers included");
    let total = write_chars(&after) - write_chars(&before);
    let itself = own(&after) - own(&before);
    assert_eq!(itself, 3);
    assert_eq!(total - itself, 2_000_000);
    let start = after.threads().value().unwrap()[0].key.start_time_ticks;
    assert_eq!(start, after.key.start_time_ticks);
}

#[test]
fn a_zombie_has_no_memory_and_its_counters_are_final() {
    let (_folder, path) = scratch();
    let mut load = Load::start();
    load.tell(&format!("leave-zombie 4000000 {path}"));
    let mut collector = collector();
    let zombie = loop {
        let snapshot = sweep(&mut collector, &everything());
        let children = snapshot.processes.iter().filter(|p| p.parent_pid == load.pid());
        if let Some(child) = children.into_iter().find(|p| p.state == ProcessState::Zombie) {
            break child.clone();
        }
    };
    assert_eq!(zombie.gauges.memory().value().unwrap().rss_bytes, 0);
    assert_eq!(zombie.gauges.fds, Reading::Value(0));
    assert_eq!(zombie.gauges.threads, Reading::Value(1));
    assert_eq!(zombie.gauges.seldom.swap_bytes, Reading::Value(0));
    assert_eq!(zombie.identity.environment.absence(), None);
    if is_root() || zombie.io.total().value().is_some() {
        assert_eq!(write_chars(&zombie), 4_000_000);
    } else {
        eprintln!("it ended before its file could be opened, and we are not root");
        assert_eq!(zombie.io.total(), Reading::Absent(Absence::Denied));
    }
}

#[test]
fn a_process_whose_main_thread_exited_shows_what_its_other_threads_hold() {
    let mut load = Load::start();
    load.tell("memory 67108864").tell("fds 20");
    let before = read(&mut collector(), load.pid());
    load.tell("exit-leader");
    // A collector that has never seen it alive in one piece.
    let mut collector = collector();
    let sample = read(&mut collector, load.pid());
    assert_eq!(sample.state, ProcessState::Living);
    assert!(sample.gauges.memory().value().unwrap().rss_bytes >= 64 * MIB);
    assert_eq!(sample.gauges.fds, before.gauges.fds);
    assert_eq!(sample.identity.cmdline, before.identity.cmdline);
    assert_eq!(sample.identity.environment, before.identity.environment);
    assert_eq!(sample.identity.executable, before.identity.executable);
    assert_eq!(sample.gauges.seldom.sockets, before.gauges.seldom.sockets);
    if is_root() {
        // One more answer, and what it read to see that its main thread had exited.
        assert_eq!(write_chars(&sample) - write_chars(&before), 3);
    } else {
        eprintln!("not root: the file of an exited main thread is closed to us");
        assert_eq!(sample.io.total(), Reading::Absent(Absence::Denied));
    }
}

#[test]
fn names_are_any_bytes_and_forge_nothing() {
    fn check(name: &[u8]) {
        let mut load = Load::start();
        let hex: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        load.tell(&format!("name {hex}"));
        let sample = read(&mut collector(), load.pid());
        assert_eq!(&*sample.identity.comm, name);
        assert_eq!(sample.state, ProcessState::Living);
        assert_eq!(sample.parent_pid, std::process::id());
        assert_eq!(sample.gauges.threads, Reading::Value(1));
        assert_eq!(sample.identity.uid, rustix::process::geteuid().as_raw());
    }
    check(b") R 1 1 1");
    check(b"Threads:\t99999");
    check(b"Uid:\t0\t0\t0\t0");
    check(b"a\nb\x1b[31m\"\t\\");
    check(b"\xff\xfe\xc3");
    check(b") Z 0 0 0 0 0 0");
}

#[test]
fn an_exec_brings_a_new_identity_and_a_title_does_not_lose_the_environment() {
    let mut load = Load::start();
    load.tell("name 61");
    let mut collector = collector();
    let before = read(&mut collector, load.pid());
    let values: Vec<_> =
        before.identity.environment.value().unwrap().iter().map(|entry| &*entry.value).collect();
    assert_eq!(values.len(), 2);
    assert!(values.contains(&&b"known"[..]) && values.contains(&&b""[..]));
    load.tell("title").tell("name 62");
    let after = read(&mut collector, load.pid());
    assert_eq!(after.identity.environment, before.identity.environment);
    assert_eq!(&*after.identity.comm, b"b");
    assert_eq!(collector.trouble().clobbered_environments, 0);
    let late = read(&mut self::collector(), load.pid());
    assert_eq!(late.identity.environment, Reading::Absent(Absence::Malformed));
}

#[test]
fn a_worker_forked_after_a_title_has_the_environment_of_its_parent() {
    let mut load = Load::start();
    let mut collector = collector();
    let parent = read(&mut collector, load.pid()).identity.environment.clone();
    assert_eq!(parent.value().unwrap().len(), 2);
    load.tell("title").tell("worker");
    // By its parent it is known at once; that it needs to be, once its own has been read.
    let is_remembered = |_: &ProcessSample, trouble: Trouble| trouble.remembered_environments >= 1;
    let worker = child_when(&mut collector, load.pid(), is_remembered);
    assert_eq!(worker.identity.environment, parent);
    assert!(!worker.identity.is_environment_incomplete);
    let is_malformed = |worker: &ProcessSample, _| {
        worker.identity.environment == Reading::Absent(Absence::Malformed)
    };
    let late = child_when(&mut self::collector(), load.pid(), is_malformed);
    assert!(late.identity.is_environment_incomplete);
}

#[test]
fn a_worker_is_known_by_its_parent_before_its_own_environment_is_read() {
    let mut load = Load::start();
    let mut collector = collector();
    let parent = read(&mut collector, load.pid()).identity.environment.clone();
    load.tell("worker");
    let mut snapshot = Snapshot::default();
    collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
    let worker = snapshot.processes.iter().find(|sample| sample.parent_pid == load.pid()).unwrap();
    assert_eq!(worker.identity.cmdline, Reading::Absent(Absence::NotYetKnown));
    assert_eq!(worker.identity.environment, parent);
}

#[test]
fn an_exec_of_the_same_name_is_noticed() {
    let script = "read x; MPP_TEST_TAG=second exec sh -c 'echo; read y; echo done' again";
    let mut shell = Load::spawn(Command::new("sh").arg("-c").arg(script));
    let mut collector = collector();
    let before = read(&mut collector, shell.pid());
    assert_eq!(&*before.identity.comm, b"sh");
    writeln!(shell.stdin.as_ref().unwrap()).unwrap();
    shell.stdout.read_line(&mut String::new()).unwrap();
    let after = read(&mut collector, shell.pid());
    assert_eq!(after.key, before.key);
    assert_eq!(&*after.identity.comm, b"sh");
    let cmdline = after.identity.cmdline.value().unwrap();
    assert!(cmdline.ends_with(b"\0again\0"), "{}", cmdline.escape_ascii());
    let environment = after.identity.environment.value().unwrap();
    assert!(environment.iter().any(|entry| *entry.value == *b"second"));
}

#[test]
fn identity_is_shared_while_nothing_changes_and_arrives_a_sweep_later() {
    let load = Load::start();
    let mut collector = collector();
    let mut first = Snapshot::default();
    collector.sweep(&everything(), IdentityWait::No, &mut first).unwrap();
    let (_, second) = (sweep(&mut collector, &everything()), sweep(&mut collector, &everything()));
    let third = sweep(&mut collector, &everything());
    let of = |snapshot: &Snapshot| snapshot.by_pid(load.pid()).unwrap().identity.clone();
    assert_eq!(of(&first).cmdline, Reading::Absent(Absence::NotYetKnown));
    assert!(of(&second).cmdline.value().unwrap().ends_with(b"examples/known_load\0"));
    assert!(std::sync::Arc::ptr_eq(&of(&second), &of(&third)));
}

#[test]
fn what_is_no_process_is_none_and_a_thread_is_no_process() {
    let mut load = Load::start();
    load.tell("threads 1");
    let task = std::fs::read_dir(format!("/proc/{}/task", load.pid())).unwrap();
    let mut tids = task.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap());
    let thread: u32 = tids.find(|tid| *tid != load.pid()).unwrap();
    let mut collector = collector();
    assert!(read_if_there(&mut collector, thread).is_none());
    assert!(read_if_there(&mut collector, 0).is_none());
    assert!(read_if_there(&mut collector, u32::MAX).is_none());
    let pid = load.pid();
    assert!(read_if_there(&mut collector, pid).is_some());
    drop(load);
    assert!(read_if_there(&mut collector, pid).is_none());
    assert_eq!(collector.trouble().vanished, 1);
}

#[test]
fn processes_that_come_and_go_all_the_time_disturb_nobody() {
    let mut load = Load::start();
    load.tell("name 61");
    let quiet = Load::start();
    let storm = std::thread::spawn(move || {
        load.tell("storm 20000");
        load
    });
    let mut collector = collector();
    let mut snapshot = Snapshot::default();
    let mut sweeps = 0;
    while !storm.is_finished() {
        collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
        assert!(snapshot.processes.is_sorted_by(|a, b| a.key.pid < b.key.pid));
        let sample = snapshot.by_pid(quiet.pid()).unwrap();
        assert!(sample.gauges.memory().value().unwrap().rss_bytes > 0);
        let Trouble { malformed, failed, .. } = snapshot.trouble;
        let unread = snapshot
            .processes
            .iter()
            .filter(|sample| sample.identity.environment.absence() == Some(Absence::Malformed));
        assert_eq!(malformed, unread.count() as u64, "titles over environments, nothing else");
        assert_eq!(failed, 0);
        sweeps += 1;
    }
    let load = storm.join().unwrap();
    assert!(sweeps > 0);
    let parent = read(&mut collector, load.pid());
    assert!(parent.usage.reaped().0[2] > 0, "it has waited for children");
}

#[test]
fn the_helper_process_reads_as_the_helper_threads_do() {
    let load = Load::start();
    let options = |memory_reader| CollectorOptions { memory_reader, ..CollectorOptions::default() };
    let cmdline = |kind| {
        let mut collector = Collector::open(options(kind)).unwrap();
        read(&mut collector, load.pid()).identity.cmdline.clone()
    };
    let by_threads = cmdline(MemoryReaderKind::HelperThreads);
    assert!(by_threads.value().unwrap().ends_with(b"known_load\0"));
    assert_eq!(cmdline(MemoryReaderKind::HelperProcess), by_threads);
}

/// Runs one test of this program again, in a copy that anybody may execute, after `before` has
/// made it somebody else. Says and returns `false` where that cannot be.
fn passes_inside(test: &str, procfs: &Path, before: fn(&Path) -> std::io::Result<()>) -> bool {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.path().join("live_collect");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    std::fs::copy(hostile::path_of("known_load"), folder.path().join("known_load")).unwrap();
    let mut command = Command::new(&copy);
    command.args(["--exact", test, "--nocapture"]).env(INNER, procfs);
    let procfs = procfs.to_path_buf();
    // SAFETY: only system calls are made between fork and exec.
    unsafe { command.pre_exec(move || before(&procfs)) };
    match command.output() {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "inside: {said}");
            let ran = String::from_utf8_lossy(&output.stdout);
            assert!(ran.contains("1 passed"), "{ran}");
            true
        }
        Err(error) => {
            eprintln!("no privilege for this here: {error}");
            false
        }
    }
}

fn become_nobody() -> std::io::Result<()> {
    let succeeds = |outcome: i32| match outcome {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: no list of groups is read where their number is 0.
    succeeds(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: setgid(2) takes any number.
    succeeds(unsafe { libc::setgid(65_534) })?;
    // SAFETY: setuid(2) takes any number.
    succeeds(unsafe { libc::setuid(65_534) })
}

/// Mounts a procfs of ours at a folder, in a mount namespace of our own.
fn mount_procfs(at: &Path, options: &std::ffi::CStr) -> std::io::Result<()> {
    let succeeds = |outcome: i32| match outcome {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    let at = std::ffi::CString::new(at.as_os_str().as_encoded_bytes())?;
    // SAFETY: changes the namespace of this one-threaded process only.
    succeeds(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let none = std::ptr::null();
    // SAFETY: paths end with NUL, and a change of propagation reads nothing else.
    succeeds(unsafe { libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, private, none.cast()) })?;
    let kind = c"proc".as_ptr();
    // SAFETY: all texts end with NUL and outlive the call.
    succeeds(unsafe { libc::mount(kind, at.as_ptr(), kind, 0, options.as_ptr().cast()) })
}

/// Where the inner one of two tests shall look; `None` in the outer one.
fn inner() -> Option<PathBuf> {
    std::env::var_os(INNER).map(PathBuf::from)
}

fn collector_of(procfs: PathBuf) -> Collector {
    Collector::open(CollectorOptions { procfs, ..CollectorOptions::default() }).unwrap()
}

#[test]
fn unknown_is_not_zero_for_who_may_not_look() {
    let Some(procfs) = inner() else {
        let test = "unknown_is_not_zero_for_who_may_not_look";
        if !passes_inside(test, Path::new("/proc"), |_| become_nobody()) {
            assert!(!is_root(), "root can become nobody");
        }
        return;
    };
    let mut collector = collector_of(procfs);
    let snapshot = sweep(&mut collector, &everything());
    let first = snapshot.by_pid(1).unwrap();
    assert_eq!(first.identity.uid, 0);
    assert_eq!(first.io.total(), Reading::Absent(Absence::Denied));
    assert_eq!(first.io.threads, Reading::Absent(Absence::Denied));
    assert_eq!(first.gauges.seldom.proportional_memory, Reading::Absent(Absence::Denied));
    assert_eq!(first.identity.executable, Reading::Absent(Absence::Denied));
    assert_eq!(first.identity.environment, Reading::Absent(Absence::Denied));
    assert_eq!(first.gauges.seldom.sockets, Reading::Absent(Absence::Denied));
    // These are open to everybody.
    assert!(first.gauges.memory().value().unwrap().rss_bytes > 0);
    assert!(first.identity.cmdline.value().is_some());
    assert!(first.gauges.threads.value().is_some());
    // Of descriptors only the number, and only where the folder's size is it (Linux 6.2).
    match first.gauges.fds {
        Reading::Value(count) => assert!(count > 0),
        Reading::Absent(why) => assert_eq!(why, Absence::Denied),
    }
    assert!(snapshot.trouble.denied >= 6, "{:?}", snapshot.trouble);
    assert_eq!(snapshot.trouble.failed, 0, "{:?}", snapshot.trouble);
}

#[test]
fn a_held_descriptor_reads_the_io_of_an_own_zombie() {
    if inner().is_none() {
        let test = "a_held_descriptor_reads_the_io_of_an_own_zombie";
        if !passes_inside(test, Path::new("/proc"), |_| become_nobody()) {
            assert!(!is_root(), "root can become nobody");
        }
        return;
    }
    let (_folder, path) = scratch();
    let program = std::env::current_exe().unwrap().with_file_name("known_load");
    let mut load = Load::spawn(&mut Command::new(program));
    load.tell(&format!("write 1 {path}"));
    let mut collector = collector();
    let alive = sweep(&mut collector, &only_measures()).by_pid(load.pid()).unwrap().clone();
    load.tell(&format!("write 1000000 {path}"));
    let pid = load.pid();
    // It ends at the end of its input, and nobody waits for it.
    load.stdin = None;
    let zombie = loop {
        let sample = sweep(&mut collector, &only_measures()).by_pid(pid).unwrap().clone();
        if sample.state == ProcessState::Zombie {
            break sample;
        }
    };
    assert_eq!(write_chars(&zombie) - write_chars(&alive), 1_000_003);
    let late = sweep(&mut self::collector(), &only_measures());
    let unseen = late.by_pid(pid).unwrap();
    assert_eq!(unseen.io.total(), Reading::Absent(Absence::Denied), "its files became root's");
    assert_eq!(unseen.gauges.fds, Reading::Value(0));
    load.child.wait().unwrap();
    let reaped = sweep(&mut collector, &only_measures());
    assert!(reaped.by_key(ProcessKey { pid, ..zombie.key }).is_none());
}

/// Runs a test on a procfs that `before` mounts, where one can be mounted.
fn passes_on_mount(test: &str, before: fn(&Path) -> std::io::Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    if !passes_inside(test, folder.path(), before) {
        // No such mount can be had here: then ours, whatever it is, tells the truth.
        let mut collector = collector();
        let snapshot = sweep(&mut collector, &only_measures());
        let is_whole = snapshot.by_pid(1).is_some();
        assert_eq!(is_whole, collector.visibility() != Visibility::OthersHidden);
    }
}

#[test]
fn a_mount_that_hides_processes_is_told_from_a_whole_one() {
    let Some(procfs) = inner() else {
        return passes_on_mount("a_mount_that_hides_processes_is_told_from_a_whole_one", |at| {
            mount_procfs(at, c"hidepid=2")?;
            become_nobody()
        });
    };
    let mut collector = collector_of(procfs);
    let snapshot = sweep(&mut collector, &everything());
    assert_eq!(snapshot.host.visibility, Visibility::OthersHidden);
    assert!(snapshot.by_pid(1).is_none());
    assert!(snapshot.processes.iter().all(|process| process.identity.uid == 65_534));
    assert!(snapshot.by_pid(std::process::id()).is_some());
}

#[test]
fn a_mount_hides_nothing_from_who_may_trace_everybody() {
    let Some(procfs) = inner() else {
        return passes_on_mount("a_mount_hides_nothing_from_who_may_trace_everybody", |at| {
            mount_procfs(at, c"hidepid=2")
        });
    };
    let mut collector = collector_of(procfs);
    let snapshot = sweep(&mut collector, &only_measures());
    assert_eq!(collector.visibility(), Visibility::Whole);
    assert!(snapshot.by_pid(1).is_some());
}

#[test]
fn a_process_that_holds_its_memory_lock_holds_nobody_up() {
    let environment = [("MPP_TEST_TAG", "locked")];
    let Some(holder) = Hostile::start("mmap_lock_holder", "mpp-locked", &environment) else {
        eprintln!("nobody can be made to hold its lock here");
        assert!(!is_root(), "root may mount what blocks");
        return;
    };
    let load = Load::start();
    let mut collector = collector();
    let snapshot = sweep(&mut collector, &everything());
    let locked = snapshot.by_pid(holder.pid).unwrap();
    assert_eq!(locked.identity.cmdline, Reading::Absent(Absence::Blocked));
    assert_eq!(locked.identity.environment, Reading::Absent(Absence::Blocked));
    assert_eq!(locked.gauges.seldom.proportional_memory, Reading::Absent(Absence::Blocked));
    assert!(locked.gauges.memory().value().unwrap().rss_bytes > 0);
    assert!(locked.io.total().value().is_some());
    assert!(snapshot.trouble.blocked >= 1);
    assert!(snapshot.trouble.given_up_readings >= 1);
    assert!(snapshot.trouble.hanging_threads >= 1);
    let other = snapshot.by_pid(load.pid()).unwrap();
    assert!(other.identity.cmdline.value().is_some());
    drop(holder);
    let later = sweep(&mut collector, &everything());
    assert_eq!(later.by_key(locked.key).map(|sample| sample.key), None);
}

#[test]
fn several_processes_that_hold_their_memory_locks_hide_nobody_else() {
    let start = |_| Hostile::start("mmap_lock_holder", "mpp-locked", &[]);
    let holders: Option<Vec<_>> = (0..8).map(start).collect();
    let Some(holders) = holders else {
        eprintln!("nobody can be made to hold its lock here");
        assert!(!is_root(), "root may mount what blocks");
        return;
    };
    let load = Load::start();
    let mut collector = collector();
    for _ in 0..2 {
        let snapshot = sweep(&mut collector, &everything());
        for holder in &holders {
            let locked = snapshot.by_pid(holder.pid).unwrap();
            assert_eq!(locked.identity.cmdline, Reading::Absent(Absence::Blocked));
        }
        let other = snapshot.by_pid(load.pid()).unwrap();
        assert!(other.identity.cmdline.value().is_some());
    }
    // Whoever comes now is read all the same.
    let late = Load::start();
    let sample = read(&mut collector, late.pid());
    assert!(sample.identity.cmdline.value().is_some());
}

#[test]
fn an_environment_larger_than_any_exec_allows_is_unknown_and_counted() {
    let environment = [("MPP_TEST_TAG", "huge")];
    let Some(huge) = Hostile::start("huge_environment", "mpp-huge", &environment) else {
        eprintln!("no process can make its environment huge here");
        return;
    };
    let mut collector = collector();
    let sample = read(&mut collector, huge.pid);
    assert_eq!(sample.identity.environment, Reading::Absent(Absence::TooLarge));
    assert!(collector.trouble().truncated >= 1);
    assert!(sample.gauges.memory().value().unwrap().rss_bytes > 0);
}

#[test]
fn a_mount_that_closes_processes_lists_them_as_unreadable() {
    let Some(procfs) = inner() else {
        return passes_on_mount("a_mount_that_closes_processes_lists_them_as_unreadable", |at| {
            mount_procfs(at, c"hidepid=1")?;
            become_nobody()
        });
    };
    let mut collector = collector_of(procfs);
    let snapshot = sweep(&mut collector, &only_measures());
    assert_eq!(snapshot.host.visibility, Visibility::OthersUnreadable);
    assert!(snapshot.unreadable_pids.contains(&1));
    assert!(snapshot.trouble.denied >= snapshot.unreadable_pids.len() as u64);
    assert!(snapshot.by_pid(std::process::id()).is_some());
}

#[test]
fn a_mount_of_processes_alone_still_knows_the_machines_memory() {
    let Some(procfs) = inner() else {
        return passes_on_mount(
            "a_mount_of_processes_alone_still_knows_the_machines_memory",
            |at| mount_procfs(at, c"subset=pid"),
        );
    };
    assert!(!procfs.join("meminfo").exists());
    let mut hidden = collector_of(procfs);
    assert_eq!(hidden.visibility(), Visibility::Whole);
    assert!(hidden.host().memory_total_bytes > 16 * MIB);
}

#[test]
fn a_procfs_of_another_pid_namespace_is_known_as_such() {
    // The first process in a new PID namespace sees, at /proc, the namespace outside.
    let test = "a_procfs_of_another_pid_namespace_is_known_as_such";
    if inner().is_none() {
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--"]).arg(own);
        let output = command.args(["--exact", test, "--nocapture"]).env(INNER, "/proc").output();
        let output = output.unwrap();
        if !is_root() {
            eprintln!("a new PID namespace needs root here");
            assert_eq!(collector().procfs_kind(), ProcfsKind::OwnNamespace);
            return;
        }
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let mut collector = collector_of(PathBuf::from("/proc"));
    assert_eq!(collector.procfs_kind(), ProcfsKind::OtherNamespace);
    let outer_pid: u32 =
        std::fs::read_link("/proc/self").unwrap().to_str().unwrap().parse().unwrap();
    assert_ne!(outer_pid, std::process::id());
    assert_eq!(collector.own_pids(), [outer_pid]);
    let snapshot = sweep(&mut collector, &everything());
    let own = snapshot.by_pid(outer_pid).unwrap();
    assert!(own.identity.cmdline.value().is_some(), "{:?}", own.identity);
    assert_eq!(own.gauges.seldom.sockets, Reading::Absent(Absence::Unsupported));
    assert!(own.gauges.memory().value().unwrap().rss_bytes > 0);
}
