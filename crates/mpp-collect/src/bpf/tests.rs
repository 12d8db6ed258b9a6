//! The hooks in a real kernel, watching processes that know their own truth.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use mpp_parse::bpf_record::{ExitRecord, GroupEnd, Origin, TaskKey, Text, ThreadUsage};
use mpp_parse::proc_pid_io::Io;
use rustix::event::epoll;
use rustix::process::{Pid, WaitOptions};

use super::*;
use crate::hostile;
use crate::sys::fault::with_failure;

/// Long enough for anything that the kernel does by the way, on any machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Tells a copy of this test program that it is inside.
pub(super) const INNER: &str = "MPP_TEST_INNER";

/// Runs one test of this program again, by a command that runs another one; returns what that
/// command itself complained of.
pub(super) fn again(test: &str, command: &mut Command) -> Option<String> {
    command.arg(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).env(INNER, "").output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let said = String::from_utf8_lossy(&output.stdout);
    if said.is_empty() && !output.status.success() {
        return Some(words);
    }
    assert!(output.status.success() && said.contains("1 passed"), "{said}{words}");
    None
}

/// The programs; `None` where this test lacks the privilege, and then it is refused for that.
pub(super) fn open(options: &BpfOptions) -> Option<Bpf> {
    match Bpf::open(options) {
        Ok(bpf) => {
            assert_eq!(bpf.missing_hooks(), []);
            Some(bpf)
        }
        Err(refusal) => {
            eprintln!("refused: {refusal}");
            let is_lack = matches!(
                refusal,
                Refusal::MissingBoth
                    | Refusal::MissingBpf
                    | Refusal::MissingPerfmon
                    | Refusal::UserNamespace
                    | Refusal::PidNamespace
                    | Refusal::Filtered
                    | Refusal::LockedDown
            );
            assert!(is_lack, "{refusal}");
            assert!(refusal.cure().is_some() || refusal == Refusal::LockedDown);
            None
        }
    }
}

/// What a test keeps of an exit record.
#[derive(Clone, Debug)]
struct Exit {
    thread: TaskKey,
    process: TaskKey,
    parent: TaskKey,
    origin: Option<Origin>,
    comm: Vec<u8>,
    euid: u32,
    end_ns: u64,
    exec_id: u64,
    exit_code: i32,
    io: Io,
    usage: ThreadUsage,
    group: Option<GroupEnd>,
}

impl Exit {
    fn of(record: &ExitRecord<'_>) -> Self {
        Exit {
            thread: record.thread(),
            process: record.process(),
            parent: record.parent(),
            origin: record.origin(),
            comm: record.comm().to_vec(),
            euid: record.euid(),
            end_ns: record.end_ns(),
            exec_id: record.exec_id(),
            exit_code: record.exit_code(),
            io: record.io(),
            usage: record.usage(),
            group: record.group(),
        }
    }
}

/// Every end that waits, of whomever.
fn ends(bpf: &mut Bpf) -> Vec<Exit> {
    let mut exits = Vec::new();
    bpf.drain_exits(&mut |event| {
        if let ExitEvent::Exit(exit) = event {
            exits.push(Exit::of(&exit));
        }
    })
    .unwrap();
    exits
}

/// The ends of the threads of one process; waits until its last one is among them.
fn ends_of(bpf: &mut Bpf, pid: u32) -> Vec<Exit> {
    let (begin, mut found) = (Instant::now(), Vec::<Exit>::new());
    while !found.iter().any(|exit| exit.group.is_some()) {
        assert!(begin.elapsed() < DEADLINE, "process {pid} does not end: {found:?}");
        found.extend(ends(bpf).into_iter().filter(|exit| exit.process.id == pid));
    }
    found
}

/// The end of a process of one thread.
fn end_of(bpf: &mut Bpf, pid: u32) -> Exit {
    let [end] = ends_of(bpf, pid).try_into().unwrap();
    end
}

/// A child that does this and nothing else: only what is safe in a copy of one thread.
fn fork(body: impl FnOnce()) -> u32 {
    // SAFETY: the child makes system calls only, and ends without running anything of ours.
    match unsafe { libc::fork() } {
        0 => {
            body();
            // SAFETY: _exit(2) takes any status and does not return.
            unsafe { libc::_exit(0) }
        }
        pid => u32::try_from(pid).expect("fork(2) has worked"),
    }
}

/// Waits for a child; returns its status and what it used.
fn reap(pid: u32) -> (i32, libc::rusage) {
    let mut status = 0;
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both are writable for the length of the call.
    let returned =
        unsafe { libc::wait4(pid.cast_signed(), &raw mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(returned, pid.cast_signed());
    // SAFETY: all zero bytes are a valid rusage, and the call wrote nothing else.
    (status, unsafe { usage.assume_init() })
}

/// Writes so many zero bytes in one call, to a file that is made here.
fn write_to(path: &CString, bytes: usize, buffer: &[u8]) {
    // SAFETY: the path ends with a NUL.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_CREAT | libc::O_WRONLY, 0o600) };
    // SAFETY: the buffer is longer than what is written of it.
    unsafe { libc::write(fd, buffer.as_ptr().cast(), bytes.min(buffer.len())) };
}

/// A process that has so many children one after the other, each of which does this; returns its
/// PID and how many minor faults its children had. Whatever else this program does meanwhile,
/// they are nobody else's.
fn family(count: usize, child: impl Fn(usize)) -> (u32, u64) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let parent = fork(|| {
        let mut faults = 0;
        for number in 0..count {
            let (_, used) = reap(fork(|| child(number)));
            faults += used.ru_minflt.cast_unsigned();
        }
        // An answer that does not come is missed below.
        let _ = rustix::io::write(&writer, &faults.to_ne_bytes());
    });
    reap(parent);
    let mut faults = [0; 8];
    assert_eq!(rustix::io::read(&reader, &mut faults), Ok(8));
    (parent, u64::from_ne_bytes(faults))
}

/// This process, as the kernel's records name it.
fn itself(bpf: &mut Bpf) -> TaskKey {
    let mut key = None;
    bpf.read_tasks(&mut |task| {
        if task.process().is_some() && task.tgid() == std::process::id() {
            key = Some(task.thread());
        }
    })
    .unwrap();
    key.expect("the iterator finds this process")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap())
    }

    fn path(&self, name: &str) -> CString {
        CString::new(self.0.path().join(name).as_os_str().as_bytes()).unwrap()
    }
}

/// A process that does what it is told; see `examples/known_load.rs`. Killed when dropped.
pub(super) struct Load {
    pub(super) child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Load {
    pub(super) fn start() -> Self {
        let mut command = Command::new(hostile::path_of("known_load"));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut load = Load { child, stdin, stdout: BufReader::new(stdout) };
        // Once it answers, it has begun.
        load.tell("memory 1");
        load
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has done it.
    pub(super) fn tell(&mut self, command: &str) -> &mut Self {
        self.tell_only(command);
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        assert_eq!(answer, "ok\n", "{command}");
        self
    }

    /// Does not wait for an answer.
    fn tell_only(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_child_that_writes_and_ends_is_in_one_record_with_its_bytes_and_faults() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let (folder, buffer) = (Folder::new(), vec![0; 1 << 20]);
    let path = folder.path("written");
    let own = itself(&mut bpf);
    let pid = fork(|| {
        write_to(&path, 123_456, &buffer);
        // SAFETY: _exit(2) takes any status and does not return.
        unsafe { libc::_exit(7) };
    });
    let (status, used) = reap(pid);
    let end = end_of(&mut bpf, pid);
    assert_eq!((end.thread.id, end.thread), (pid, end.process));
    assert_eq!(end.parent, own);
    assert_eq!((end.io.rchar, end.io.syscr), (0, 0));
    assert_eq!((end.io.wchar, end.io.syscw), (123_456, 1));
    // 31 pages were made dirty and perhaps some of the file system's own, unless the folder is
    // not on a disk.
    assert!(matches!(end.io.write_bytes, 0 | 126_976..), "{:?}", end.io);
    let blocks = [end.io.read_bytes, end.io.write_bytes].map(|bytes| (bytes / 512).cast_signed());
    assert_eq!(blocks, [used.ru_inblock, used.ru_oublock]);
    assert_eq!(i64::try_from(end.usage.min_flt).unwrap(), used.ru_minflt);
    assert_eq!(i64::try_from(end.usage.maj_flt).unwrap(), used.ru_majflt);
    assert!(end.end_ns > end.thread.start_ns);
    assert_eq!(end.euid, rustix::process::geteuid().as_raw());
    let group = end.group.unwrap();
    assert_eq!((status, group.status, end.exit_code), (7 << 8, 7 << 8, 7 << 8));
    assert!(!group.is_auto_reaped);
    assert_eq!(group.pool.io.wchar, 0, "it had neither threads nor children");
    let page = rustix::param::page_size() as u64;
    assert_eq!(group.max_rss_pages * page / 1024, used.ru_maxrss.cast_unsigned());
    assert_eq!(bpf.lost().unwrap(), Lost::default());
}

#[test]
fn children_of_two_milliseconds_are_all_there_and_none_twice() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let (folder, buffer) = (Folder::new(), vec![0; 4096]);
    let mut truth = BTreeMap::new();
    for number in 0..200_usize {
        let path = folder.path(&format!("{number}"));
        let pid = fork(|| {
            write_to(&path, number, &buffer);
            // SAFETY: it only sleeps.
            unsafe { libc::usleep(2000 * u32::from(number.is_multiple_of(10))) };
        });
        reap(pid);
        truth.insert(pid, number as u64);
    }
    let mut found = BTreeMap::new();
    for end in ends(&mut bpf).into_iter().filter(|end| truth.contains_key(&end.process.id)) {
        assert!(end.group.is_some());
        assert_eq!(found.insert(end.process.id, end.io.wchar), None, "{end:?}");
    }
    assert_eq!(found, truth);
}

#[test]
fn a_thread_has_its_own_record_and_the_process_keeps_it_in_its_pool() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let folder = Folder::new();
    let mut load = Load::start();
    load.tell(&format!("write-in-thread 54321 {}", folder.path("x").to_str().unwrap()));
    let pid = load.pid();
    drop(load);
    let ends = ends_of(&mut bpf, pid);
    let [thread, leader] = ends.as_slice() else { panic!("{ends:?}") };
    assert_ne!(thread.thread.id, pid);
    assert_eq!((thread.process, thread.group), (leader.process, None));
    assert!(thread.thread.start_ns > thread.process.start_ns);
    assert_eq!((thread.io.wchar, thread.io.syscw), (54_321, 1));
    assert_eq!(leader.thread.id, pid);
    assert_eq!(leader.io.wchar, 6, "it has answered twice");
    let group = leader.group.unwrap();
    assert_eq!(group.pool.io.wchar, 54_321);
    assert_eq!((group.status, leader.exit_code), (9, 9), "it was killed");
    assert!(group.pool.runtime_ns >= thread.usage.runtime_ns);
    assert_eq!(leader.comm, b"known_load");
}

/// Children of a process that nobody waits for.
const UNAWAITED: usize = 8;
/// Much longer than it takes until the kernel frees a process, but some it never tells of.
const FREED_WITHIN: Duration = Duration::from_secs(2);

#[test]
fn processes_that_nobody_waits_for_are_told_with_their_final_times() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    for (handler, flags) in [(libc::SIG_IGN, 0), (libc::SIG_DFL, libc::SA_NOCLDWAIT)] {
        let middle = fork(|| {
            // SAFETY: all zero bytes are a valid sigaction.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            (action.sa_sigaction, action.sa_flags) = (handler, flags);
            // SAFETY: the action is whole, and the old one is not asked for.
            unsafe { libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut()) };
            for _ in 0..UNAWAITED {
                fork(|| burn(Duration::from_millis(30)));
            }
            // SAFETY: no status is asked for; it returns when there is no child any more.
            unsafe { libc::wait(std::ptr::null_mut()) };
        });
        reap(middle);
        let (found, freed) = ends_and_final_times(&mut bpf, middle);
        let children: Vec<&Exit> = found.iter().filter(|exit| exit.parent.id == middle).collect();
        assert_eq!(children.len(), UNAWAITED, "{children:?}");
        for end in children {
            assert!(end.group.unwrap().is_auto_reaped);
            if let Some((runtime_ns, tail_ns)) = freed.get(&end.process.id) {
                assert_eq!(end.usage.runtime_ns + tail_ns, *runtime_ns);
                assert!(*runtime_ns >= 30_000_000, "{runtime_ns}");
            }
        }
        let middle = found.iter().find(|exit| exit.process.id == middle).unwrap();
        assert!(!middle.group.unwrap().is_auto_reaped);
    }
}

/// All ends so far, and for each child of this process that was told of its final time this and
/// what of it came after its end: at least of one, and no time twice.
fn ends_and_final_times(bpf: &mut Bpf, parent: u32) -> (Vec<Exit>, BTreeMap<u32, (u64, u64)>) {
    let (begin, mut found, mut freed) = (Instant::now(), Vec::new(), BTreeMap::new());
    while freed.is_empty() || (freed.len() < UNAWAITED && begin.elapsed() < FREED_WITHIN) {
        assert!(begin.elapsed() < DEADLINE, "no final time has come: {found:?}");
        bpf.drain_exits(&mut |event| match event {
            ExitEvent::Birth(_) => {}
            ExitEvent::Exit(exit) => found.push(Exit::of(&exit)),
            ExitEvent::Free(free) => {
                let is_its =
                    |exit: &Exit| exit.process == free.process() && exit.parent.id == parent;
                if found.iter().any(is_its) {
                    let times = (free.runtime_ns(), free.tail_ns());
                    assert_eq!(freed.insert(free.process().id, times), None, "told twice");
                }
            }
        })
        .unwrap();
    }
    (found, freed)
}

/// Uses that much CPU time.
fn burn(time: Duration) {
    let used = || {
        let mut now = std::mem::MaybeUninit::<libc::timespec>::zeroed();
        // SAFETY: it is writable for the length of the call.
        unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, now.as_mut_ptr()) };
        // SAFETY: all zero bytes are a valid time, and the call wrote nothing else.
        let now = unsafe { now.assume_init() };
        Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).unwrap_or(0))
    };
    while used() < time {}
}

#[test]
fn who_forked_a_process_is_known_after_that_one_has_ended() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let own = itself(&mut bpf);
    let middle = fork(|| {
        let parent = rustix::process::getpid();
        fork(|| while rustix::process::getppid() == Some(parent) {});
    });
    reap(middle);
    let (begin, mut found) = (Instant::now(), Vec::new());
    let (middle, orphan) = loop {
        assert!(begin.elapsed() < DEADLINE, "{found:?}");
        found.extend(ends(&mut bpf));
        let parent = found.iter().find(|end| end.process.id == middle);
        let is_orphan = |end: &&Exit| {
            end.origin.and_then(|origin| origin.forker).is_some_and(|by| by.id == middle)
        };
        if let (Some(parent), Some(orphan)) = (parent, found.iter().find(is_orphan)) {
            break (parent, orphan);
        }
    };
    assert_eq!(middle.origin.unwrap().forker, Some(own));
    assert_ne!(orphan.parent.id, middle.process.id);
    let origin = orphan.origin.unwrap();
    assert_eq!(origin.forker, Some(middle.process));
    assert_eq!((origin.exec, origin.exec_time_ns), (own, None), "both run what we run");
}

#[test]
fn an_exec_tells_the_texts_that_were_asked_for_and_names_what_follows() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let run = || {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "(exit 0) & wait", "zeroth \u{a0}"]).env_clear().env("MPP_TAG", "a b");
        let mut child = command.spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    let cmdline: &[u8] = b"/bin/sh\0-c\0(exit 0) & wait\0zeroth \xc2\xa0\0";
    let (off, on) = (Capture::default(), Capture { cmdline: true, environment: true });
    for (what, texts) in [
        (off, [Text::NotAsked, Text::NotAsked]),
        (on, [Text::Whole(cmdline), Text::Whole(b"MPP_TAG=a b\0")]),
        (Capture { environment: false, ..on }, [Text::Whole(cmdline), Text::NotAsked]),
        (Capture { cmdline: false, ..on }, [Text::NotAsked, Text::Whole(b"MPP_TAG=a b\0")]),
    ] {
        bpf.capture(what).unwrap();
        let pid = run();
        let mut execs = Vec::new();
        bpf.drain_execs(&mut |exec| {
            if exec.process().id == pid {
                assert_eq!([exec.cmdline(), exec.environment()], texts);
                assert!(exec.cmdline() == texts[0] && exec.environment() == texts[1]);
                assert_eq!((exec.comm(), exec.filename()), (&b"sh"[..], &b"/bin/sh"[..]));
                assert_eq!(exec.euid(), rustix::process::geteuid().as_raw());
                assert_eq!(exec.parent().id, std::process::id());
                execs.push((exec.process(), exec.time_ns()));
            }
        })
        .unwrap();
        let [(process, time_ns)] = execs[..] else { panic!("{execs:?}") };
        let found = ends(&mut bpf);
        let end = found.iter().find(|end| end.process.id == pid).unwrap();
        let origin = end.origin.unwrap();
        assert_eq!((origin.exec, origin.exec_time_ns), (process, Some(time_ns)));
        assert_eq!(end.comm, b"sh");
        let child = found.iter().find(|end| end.parent == process).unwrap();
        assert_eq!(child.origin.unwrap(), Origin { forker: Some(process), ..origin });
    }
}

#[test]
fn a_text_that_is_too_long_is_cut_and_says_so() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    bpf.capture(Capture { cmdline: true, environment: true }).unwrap();
    let mut command = Command::new("/bin/true");
    command.arg("x".repeat(5000)).env_clear().env("LONG", "y".repeat(20_000));
    let mut child = command.spawn().unwrap();
    child.wait().unwrap();
    let mut found = 0;
    bpf.drain_execs(&mut |exec| {
        if exec.process().id != child.id() {
            return;
        }
        found += 1;
        let Text::Cut(cmdline) = exec.cmdline() else { panic!("{exec:?}") };
        assert_eq!(cmdline.len(), 4096);
        assert!(cmdline.starts_with(b"/bin/true\0xxx") && cmdline.ends_with(b"xxx"));
        let Text::Cut(environment) = exec.environment() else { panic!("{exec:?}") };
        assert_eq!(environment.len(), 16_384);
        assert!(environment.starts_with(b"LONG=yyy") && environment.ends_with(b"yyy"));
    })
    .unwrap();
    assert_eq!(found, 1);
}

#[test]
fn an_exec_from_a_thread_keeps_the_process_and_who_forked_it() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let own = itself(&mut bpf);
    let mut load = Load::start();
    load.tell_only("exec-from-thread /bin/true");
    load.child.wait().unwrap();
    let found = ends_of(&mut bpf, load.pid());
    let [old_leader, last] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((old_leader.group, old_leader.process), (None, last.process));
    assert_eq!((last.thread.id, last.comm.as_slice()), (load.pid(), &b"true"[..]));
    assert_eq!(last.exec_id, old_leader.exec_id + 1);
    let (before, after) = (old_leader.origin.unwrap(), last.origin.unwrap());
    assert_eq!((before.forker, after.forker), (Some(own), Some(own)));
    assert_eq!((before.exec, after.exec), (last.process, last.process));
    assert!(before.exec_time_ns.unwrap() < after.exec_time_ns.unwrap());
}

/// Ends, bytes and faults of the children of one parent, told one by one and added up.
#[derive(Default)]
struct Told([u64; 3]);

impl Told {
    fn drain(&mut self, bpf: &mut Bpf, parent: u32) -> Result<(), Errno> {
        let mut add = |numbers: [u64; 3]| {
            self.0.iter_mut().zip(numbers).for_each(|(sum, number)| *sum += number);
        };
        bpf.drain_exits(&mut |event| {
            if let ExitEvent::Exit(exit) = event
                && exit.parent().id == parent
            {
                add([1, exit.io().wchar, exit.usage().min_flt]);
            }
        })?;
        // A second call is for kernels that cannot tell when the programs have ended; nothing is
        // handed out twice.
        for _ in 0..2 {
            bpf.take_spilled(&mut |spill| {
                if spill.parent.id == parent {
                    add([spill.count, spill.io.wchar, spill.usage.min_flt]);
                }
            })?;
        }
        Ok(())
    }
}

#[test]
fn what_finds_no_room_is_added_up_for_its_parent_and_counted() {
    let options = BpfOptions { exit_ring_bytes: 4096, ..BpfOptions::default() };
    let Some(mut bpf) = open(&options) else { return };
    let (folder, buffer) = (Folder::new(), vec![0; 4096]);
    let path = folder.path("overwritten");
    for round in 1..=3_u64 {
        let (parent, faults) = family(100, |number| write_to(&path, number, &buffer));
        let mut told = Told::default();
        told.drain(&mut bpf, parent).unwrap();
        assert_eq!(told.0, [100, 99 * 50, faults], "round {round}: count, bytes, faults");
        let lost = bpf.lost().unwrap();
        assert!(lost.spilled >= 90 * round && lost.dropped == 0, "{lost:?}");
    }
}

#[test]
fn execs_that_find_no_room_are_counted_and_push_nobody_out() {
    let options = BpfOptions { exec_ring_bytes: 4096, ..BpfOptions::default() };
    let Some(mut bpf) = open(&options) else { return };
    let path = CString::new("/bin/true").unwrap();
    let arguments = [path.as_ptr(), std::ptr::null()];
    // SAFETY: path and arguments end as they must, and there is no environment.
    let run = |_| assert_eq!(unsafe { libc::execv(path.as_ptr(), arguments.as_ptr()) }, -1);
    let (parent, _) = family(60, run);
    let mut execs = 0;
    bpf.drain_execs(&mut |exec| execs += u64::from(exec.parent().id == parent)).unwrap();
    let exits = ends(&mut bpf).iter().filter(|end| end.parent.id == parent).count();
    let lost = bpf.lost().unwrap();
    assert_eq!(exits, 60);
    assert!(execs < 60, "{execs}");
    assert!(lost.execs_dropped >= 60 - execs, "{lost:?}");
    assert_eq!((lost.spilled, lost.dropped), (0, 0));
}

#[test]
fn whoever_waits_for_the_ring_is_woken_up_when_it_is_half_full_and_not_before() {
    let options = BpfOptions { exit_ring_bytes: 256 << 10, ..BpfOptions::default() };
    let Some(mut bpf) = open(&options) else { return };
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
    let (data, flags) = (epoll::EventData::new_u64(0), epoll::EventFlags::IN);
    epoll::add(&poll, bpf.exit_ring(), data, flags | epoll::EventFlags::ET).unwrap();
    let woken = |wait: Duration| {
        let mut events = Vec::with_capacity(1);
        let timeout = wait.try_into().unwrap();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)).unwrap() > 0
    };
    // What waits already is told at once; from here on only wake-ups count.
    woken(Duration::ZERO);
    ends(&mut bpf);
    reap(fork(|| ()));
    assert!(!woken(Duration::from_millis(20)) || bpf.is_exit_ring_half_full());
    for _ in 0..400 {
        reap(fork(|| ()));
    }
    assert!(bpf.is_exit_ring_half_full());
    assert!(woken(DEADLINE));
    ends(&mut bpf);
    assert!(!bpf.is_exit_ring_half_full());
}

#[test]
fn two_at_once_see_the_same() {
    let (Some(mut one), Some(mut other)) =
        (open(&BpfOptions::default()), open(&BpfOptions::default()))
    else {
        return;
    };
    let pid = fork(|| ());
    reap(pid);
    let (first, second) = (end_of(&mut one, pid), end_of(&mut other, pid));
    assert_eq!((first.process, first.io), (second.process, second.io));
    drop(one);
    let pid = fork(|| ());
    reap(pid);
    end_of(&mut other, pid);
}

#[test]
fn hooks_alone_tell_of_ends_as_all_programs_do_and_of_nobody_who_lives() {
    let Some(mut all) = open(&BpfOptions::default()) else { return };
    let options = BpfOptions { programs: Programs::Descendants, ..BpfOptions::default() };
    let mut hooks = Bpf::open(&options).unwrap();
    assert_eq!((all.tells_of_living(), hooks.tells_of_living()), (true, false));
    let mut load = Load::start();
    load.tell_only("exec-from-thread /bin/true");
    load.child.wait().unwrap();
    let told = |bpf: &mut Bpf| {
        let ends = ends_of(bpf, load.pid()).into_iter();
        // Each looks at the clock for itself.
        let origin = |end: &Exit| end.origin.map(|origin| (origin.forker, origin.exec));
        let told = ends.map(|end| (end.thread, end.parent, origin(&end), end.io, end.group));
        told.collect::<Vec<_>>()
    };
    let found = told(&mut hooks);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found, told(&mut all));
    assert_eq!(hooks.read_tasks(&mut |_| ()), Err(Errno::NOSYS));
    let until = Instant::now() + DEADLINE;
    assert_eq!(hooks.read_sockets(until, &mut |_| ()), Ok(false));
    assert_eq!((hooks.lost().unwrap(), hooks.missing_hooks()), (Lost::default(), &[][..]));
}

#[test]
fn of_descendants_every_birth_and_end_is_told_and_nobody_elses() {
    let options = BpfOptions { programs: Programs::Descendants, ..BpfOptions::default() };
    if open(&options).is_none() {
        return;
    }
    let piped = std::process::Stdio::piped();
    let mut before = std::process::Command::new("cat").stdin(piped).spawn().unwrap();
    let mut bpf = Bpf::open(&options).unwrap();
    let mut shell = std::process::Command::new("sh");
    let mut after = shell.args(["-c", "(/bin/true; exit 3)"]).spawn().unwrap();
    drop(before.stdin.take());
    before.wait().unwrap();
    after.wait().unwrap();
    let (mut living, mut ended) = (Vec::new(), Vec::new());
    bpf.drain_exits(&mut |event| match event {
        ExitEvent::Birth(birth) => living.push(birth.process),
        ExitEvent::Exit(exit) if exit.group().is_some() => {
            // Each end comes behind the birth.
            living.retain(|process| *process != exit.process());
            ended.push((exit.process().id, exit.parent().id));
        }
        ExitEvent::Exit(_) | ExitEvent::Free(_) => {}
    })
    .unwrap();
    assert_eq!((living, bpf.lost().unwrap()), (Vec::new(), Lost::default()));
    assert!(bpf.tells_of_births());
    let parents_of = |pid: u32| ended.iter().filter(move |(other, _)| *other == pid);
    assert_eq!(parents_of(before.id()).count(), 0);
    let (own, shell) = (std::process::id(), after.id());
    assert_eq!(parents_of(shell).collect::<Vec<_>>(), [&(shell, own)]);
    let below = |above: u32| ended.iter().find(move |(_, parent)| *parent == above);
    assert!(below(shell).is_some_and(|(subshell, _)| below(*subshell).is_some()), "{ended:?}");
}

#[test]
fn any_system_call_may_fail() {
    if open(&BpfOptions::default()).is_none() {
        return;
    }
    let options =
        BpfOptions { exit_ring_bytes: 4096, exec_ring_bytes: 4096, ..BpfOptions::default() };
    for errno in [Errno::IO, Errno::MFILE, Errno::NOMEM, Errno::INTR] {
        for n in 0.. {
            let (outcome, calls) = with_failure(n, errno, || Bpf::open(&options));
            if n >= calls {
                assert!(calls > 20, "{calls}");
                break;
            }
            match outcome {
                Ok(bpf) => {
                    let most = usize::from(errno != Errno::INTR);
                    assert!(bpf.missing_hooks().len() <= most, "call {n}, {errno:?}");
                }
                Err(refusal) => {
                    assert!(errno != Errno::INTR, "call {n}: {refusal}");
                    let number = format!("os error {}", errno.raw_os_error());
                    assert!(refusal.to_string().contains(&number), "call {n}: {refusal}");
                }
            }
        }
    }
}

#[test]
fn what_a_failed_call_did_not_hand_out_comes_with_the_next_one() {
    let options = BpfOptions { exit_ring_bytes: 4096, ..BpfOptions::default() };
    let Some(mut bpf) = open(&options) else { return };
    for errno in [Errno::IO, Errno::NOMEM, Errno::INTR] {
        for n in 0.. {
            let (parent, faults) = family(30, |_| ());
            let mut told = Told::default();
            let (outcome, calls) = with_failure(n, errno, || told.drain(&mut bpf, parent));
            assert!(outcome.is_ok() || errno != Errno::INTR, "call {n}");
            told.drain(&mut bpf, parent).unwrap();
            assert_eq!(told.0, [30, 0, faults], "call {n}, {errno:?}: {outcome:?}");
            if n >= calls {
                assert!(calls > 5, "{calls}");
                break;
            }
        }
    }
}

#[test]
fn nothing_is_left_when_it_is_dropped() {
    if std::env::var_os(INNER).is_none() {
        // Other tests in this program have descriptors of their own.
        let test = "bpf::tests::nothing_is_left_when_it_is_dropped";
        assert_eq!(again(test, &mut Command::new("env")), None);
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let Some(bpf) = open(&BpfOptions::default()) else { return };
    let programs = loaded_programs();
    assert!(programs.len() >= 5, "{programs:?}");
    drop(bpf);
    assert_eq!(descriptors(), before);
    let begin = Instant::now();
    // The kernel lets go of them a moment later.
    for id in programs {
        while syscall::program_exists(id).unwrap() {
            assert!(begin.elapsed() < DEADLINE, "program {id} is still there");
        }
    }
}

/// The programs that this process has descriptors of, by their numbers.
fn loaded_programs() -> Vec<u32> {
    let entries = std::fs::read_dir("/proc/self/fdinfo").unwrap();
    let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok());
    let id = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("prog_id:").map(str::to_owned));
        line.and_then(|id| id.trim().parse().ok())
    };
    texts.filter_map(id).collect()
}

#[test]
fn a_child_left_by_a_dead_waiter_is_still_told() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let pid = fork(|| ());
    let pid_to_wait = Pid::from_raw(pid.cast_signed()).unwrap();
    let is_zombie = || {
        let options =
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT;
        rustix::process::waitid(rustix::process::WaitId::Pid(pid_to_wait), options).unwrap()
    };
    assert!(is_zombie().is_some());
    let end = end_of(&mut bpf, pid);
    let mut zombies = 0;
    bpf.read_tasks(&mut |task| {
        if task.tgid() == pid {
            zombies += u32::from(task.has_ended() && task.is_exiting() && task.memory().is_none());
            assert_eq!(task.thread(), end.thread);
            assert_eq!(task.io(), end.io, "a zombie does nothing any more");
        }
    })
    .unwrap();
    assert_eq!(zombies, 1);
    rustix::process::waitpid(Some(pid_to_wait), WaitOptions::empty()).unwrap();
}
