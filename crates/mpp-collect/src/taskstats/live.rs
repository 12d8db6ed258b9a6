//! Real threads that end, with known bytes and status, as root; without `CAP_NET_ADMIN` the
//! refusal.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{SendFlags, getsockname, sendto};
use rustix::thread::{
    CapabilitySet, CapabilitySets, UnshareFlags, capabilities, set_capabilities, unshare_unsafe,
};

use super::record::{IO_FLOOR_BYTES, ThreadIo};
use super::*;
use crate::sys::fault::with_failure;

/// A new source, or `None` after seeing that it is refused for the right reason.
fn open_with(receive_buffer_bytes: usize) -> Option<Taskstats> {
    let outcome = Taskstats::open(&TaskstatsOptions { receive_buffer_bytes });
    if capabilities(None).unwrap().effective.contains(CapabilitySet::NET_ADMIN) {
        return Some(outcome.unwrap());
    }
    eprintln!("records of ended threads need CAP_NET_ADMIN here");
    let refusal = outcome.map(drop).unwrap_err();
    assert!(matches!(refusal, Refusal::NotPermitted | Refusal::OtherNamespace), "{refusal}");
    None
}

fn open() -> Option<Taskstats> {
    open_with(TaskstatsOptions::default().receive_buffer_bytes)
}

/// A child process that runs `body` and then ends with the status that it returns.
struct Forked(libc::pid_t);

impl Forked {
    fn start(body: impl FnOnce() -> i32) -> Self {
        // SAFETY: the C library's fork keeps its own locks whole, and the child ends below.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            let status = catch_unwind(AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: _exit(2) takes any status and does not return.
            unsafe { libc::_exit(status) }
        }
        assert!(pid > 0);
        Forked(pid)
    }

    fn pid(&self) -> u32 {
        self.0.unsigned_abs()
    }

    /// Reaps it; its exit code.
    fn wait(self) -> i32 {
        let mut status = 0;
        // SAFETY: the status is ours to write to.
        assert_eq!(unsafe { libc::waitpid(self.0, &raw mut status, 0) }, self.0);
        libc::WEXITSTATUS(status)
    }
}

fn own_pid() -> u32 {
    std::process::id()
}

/// All records that have come and are of interest.
fn records_of(
    taskstats: &mut Taskstats,
    mut is_wanted: impl FnMut(&ThreadExitRecord) -> bool,
) -> Vec<ThreadExitRecord> {
    let mut records = Vec::new();
    taskstats.drain(&mut |record| {
        if is_wanted(record) {
            records.push(record.clone());
        }
    });
    records
}

#[test]
fn a_child_that_wrote_known_bytes_is_told_rounded_down_to_kib() {
    let Some(mut taskstats) = open() else { return };
    let mut file = tempfile::tempfile().unwrap();
    let child = Forked::start(|| {
        rustix::thread::set_name(c"known \xff bytes").unwrap();
        file.write_all(&[7; 10_000]).unwrap();
        file.write_all(&[7; 50_000]).unwrap();
        thread::sleep(Duration::from_millis(20));
        3
    });
    let pid = child.pid();
    assert_eq!(child.wait(), 3);
    let records = records_of(&mut taskstats, |record| record.tid == pid);
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!(record.io.write_char_bytes, 60_000 / IO_FLOOR_BYTES * IO_FLOOR_BYTES);
    assert_eq!(record.io.write_char_bytes, 59_392);
    assert_eq!(record.comm(), b"known \xff bytes");
    assert_eq!((record.exit_status, record.parent_pid), (3 << 8, own_pid()));
    assert_eq!((record.tgid, record.is_last_thread), (Some(pid), Some(true)));
    assert_eq!(record.uid, rustix::process::getuid().as_raw());
    assert_eq!(record.process, None);
    assert!(record.elapsed_us >= 20_000 && record.peak_rss_kib > Some(0));
    assert!(record.voluntary_switches >= 1 && record.minor_faults > 0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!((now - 60..=now).contains(&record.started_at_unix_seconds), "{record:?}");
    let executable = rustix::fs::stat("/proc/self/exe").unwrap();
    let found = record.executable.unwrap();
    assert_eq!((found.device, found.inode), (executable.st_dev, executable.st_ino));
}

#[test]
fn a_process_with_threads_has_a_record_for_each_and_one_for_all() {
    let Some(mut taskstats) = open() else { return };
    let file = tempfile::tempfile().unwrap();
    let child = Forked::start(|| {
        let writers: Vec<_> = (1..=3_usize)
            .map(|number| {
                let mut file = file.try_clone().unwrap();
                thread::spawn(move || {
                    file.write_all(&vec![7; number * 2048]).unwrap();
                    thread::sleep(Duration::from_millis(10));
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        0
    });
    let pid = child.pid();
    assert_eq!(child.wait(), 0);
    let records = records_of(&mut taskstats, |record| record.tgid == Some(pid));
    let mut written: Vec<_> = records.iter().map(|record| record.io.write_char_bytes).collect();
    written.sort_unstable();
    assert_eq!(written, [0, 2048, 4096, 6144]);
    let last: Vec<_> =
        records.iter().filter(|record| record.is_last_thread == Some(true)).collect();
    let [last] = last[..] else { panic!("{records:?}") };
    let process = last.process.unwrap();
    assert_eq!(records.iter().filter(|record| record.process.is_some()).count(), 1);
    assert_eq!(process.tgid, pid);
    // A thread's own record is taken a moment after it was added to the process's.
    let switches: u64 = records.iter().map(|record| record.voluntary_switches).sum();
    assert!((switches.saturating_sub(4)..=switches).contains(&process.voluntary_switches));
    assert!(process.elapsed_us >= 30_000);
}

#[test]
fn nothing_is_lost_of_twenty_thousand_ends_at_full_speed() {
    let Some(mut taskstats) = open() else { return };
    let mut ended = HashSet::new();
    let mut seen = 0;
    let mut drained_at = Instant::now();
    let mut drain = |taskstats: &mut Taskstats, ended: &mut HashSet<u32>| {
        let drained = taskstats.drain(&mut |record| {
            seen += usize::from(record.parent_pid == own_pid() && ended.remove(&record.tid));
        });
        assert_eq!((drained.overflows, drained.unfinished, taskstats.forged_total()), (0, 0, 0));
        assert_eq!((drained.lost, drained.malformed), (0, 0));
    };
    for _ in 0..20_000 {
        ended.insert(end_at_once().unwrap().as_raw_nonzero().get().unsigned_abs());
        if drained_at.elapsed() >= Duration::from_secs(1) {
            drained_at = Instant::now();
            drain(&mut taskstats, &mut ended);
        }
    }
    for _ in 0..3 {
        drain(&mut taskstats, &mut ended);
    }
    assert_eq!((seen, ended.len(), taskstats.lost_total()), (20_000, 0, 0));
}

/// Makes a process end on each CPU.
fn end_on_every_cpu() {
    let before = rustix::thread::sched_getaffinity(None).unwrap();
    for cpu in (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| before.is_set(*cpu)) {
        let mut only = rustix::thread::CpuSet::new();
        only.set(cpu);
        rustix::thread::sched_setaffinity(None, &only).unwrap();
        end_at_once().unwrap();
    }
    rustix::thread::sched_setaffinity(None, &before).unwrap();
}

/// Drains without waiting for what may come late; how many buffers had overflowed.
fn drain(taskstats: &mut Taskstats) -> u64 {
    let drained = taskstats.drain(&mut |_| {});
    assert_eq!((drained.malformed, drained.unfinished), (0, 0));
    drained.overflows
}

/// How many of the `sent` numbers are missing from those `received`, between the first and the
/// last of each CPU that were. Where nothing is missing each CPU's numbers follow one another.
fn missing_between(sent: &[u32], received: &HashSet<u32>) -> usize {
    let of_cpu = |numbers: &[u32]| {
        let has_come = |number: &u32| received.contains(number);
        let Some(first) = numbers.iter().position(has_come) else { return 0 };
        let last = numbers.iter().rposition(has_come).unwrap();
        let between = &numbers[first..=last];
        between.iter().filter(|number| !received.contains(number)).count()
    };
    sent.chunk_by(|one, next| one + 1 == *next).map(of_cpu).sum()
}

#[test]
fn a_small_buffer_loses_exactly_what_is_counted() {
    let (Some(mut large), Some(mut small)) = (open(), open_with(4096)) else { return };
    let mut overflows = 0;
    for round in 0..20 {
        // The first round fits, the others do not.
        for _ in 0..=round * 20 {
            end_at_once().unwrap();
        }
        overflows += drain(&mut small);
    }
    // What was lost last shows in the numbers of what comes next.
    for _ in 0..3 {
        end_on_every_cpu();
        drain(&mut small);
    }
    while !small.sequences.is_certain() {
        end_on_every_cpu();
        drain(&mut small);
    }
    let received: HashSet<u32> = small.sequences.taken().into_iter().collect();
    drain(&mut large);
    let truth = missing_between(&large.sequences.taken(), &received);
    small.sequences.settle();
    small.sequences.settle();
    assert!(truth > 1000 && overflows > 0, "{truth} {overflows}");
    assert_eq!((small.lost_total(), large.lost_total()), (u64::try_from(truth).unwrap(), 0));
}

/// What a thread of its own makes of it.
fn in_thread<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(body).join().unwrap()
}

fn try_open() -> Result<(), Refusal> {
    Taskstats::open(&TaskstatsOptions::default()).map(drop)
}

/// Lets the calling thread keep these capabilities alone.
fn keep_only(set: CapabilitySet) -> rustix::io::Result<()> {
    let sets =
        CapabilitySets { effective: set, permitted: set, inheritable: CapabilitySet::empty() };
    set_capabilities(None, sets)
}

#[test]
fn in_another_network_namespace_nothing_arrives_and_that_is_noticed() {
    let Some(_) = open() else { return };
    let outcome = in_thread(|| {
        // SAFETY: nothing in this thread depends on what is not shared any more.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.map(|()| try_open())
    });
    match outcome {
        Ok(outcome) => assert_eq!(outcome, Err(Refusal::OtherNetworkNamespace)),
        Err(errno) => {
            eprintln!("no network namespaces for us here");
            assert_eq!(errno, Errno::PERM);
        }
    }
}

#[test]
fn the_one_capability_suffices_and_without_it_there_is_a_refusal() {
    let has_it = open().is_some();
    if has_it {
        assert_eq!(
            in_thread(|| keep_only(CapabilitySet::NET_ADMIN).map(|()| try_open())),
            Ok(Ok(()))
        );
    }
    let refused = in_thread(|| keep_only(CapabilitySet::empty()).map(|()| try_open()));
    assert!(matches!(refused, Ok(Err(Refusal::NotPermitted | Refusal::OtherNamespace))));
    let others = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    let refused = in_thread(move || keep_only(others).map(|()| try_open()));
    assert!(!matches!(refused, Ok(Ok(()))), "{refused:?}");
}

/// The refusal in a process that is in namespaces of its own; `None` where it may have none.
fn refusal_in(namespaces: UnshareFlags) -> Option<i32> {
    let status = Forked::start(|| {
        // SAFETY: this process has one thread, which depends on nothing that is shared.
        if unsafe { unshare_unsafe(namespaces) }.is_err() {
            return 100;
        }
        // A PID namespace is entered by the next child only.
        Forked::start(|| match try_open() {
            Ok(()) => 0,
            Err(Refusal::OtherNamespace) => 1,
            Err(Refusal::NotPermitted) => 2,
            Err(_) => 3,
        })
        .wait()
    })
    .wait();
    Some(status).filter(|status| *status != 100)
}

#[test]
fn in_other_user_and_pid_namespaces_the_refusal_says_so() {
    if open().is_none() {
        return;
    }
    for namespaces in [UnshareFlags::NEWUSER, UnshareFlags::NEWPID] {
        match refusal_in(namespaces) {
            Some(status) => assert_eq!(status, 1, "{namespaces:?}"),
            None => eprintln!("{namespaces:?} is not allowed here"),
        }
    }
}

/// A child that waits until it is told to end.
fn waiting_child() -> (Forked, std::io::PipeWriter) {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let fd = writer.as_raw_fd();
    let child = Forked::start(|| {
        // SAFETY: the copy that owns it lives on in the parent only.
        unsafe { libc::close(fd) };
        let mut byte = [0];
        let _ = reader.read(&mut byte);
        0
    });
    // Once it sleeps its counters stand still.
    while !status_of(child.pid()).contains("State:\tS") {
        thread::yield_now();
    }
    (child, writer)
}

fn status_of(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap()
}

fn switches_in(status: &str) -> (u64, u64) {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    (field("voluntary_ctxt_switches:"), field("nonvoluntary_ctxt_switches:"))
}

#[test]
fn the_account_of_a_process_has_the_switches_that_procfs_has() {
    let Some(mut taskstats) = open() else { return };
    let children: Vec<_> = (0..40).map(|_| waiting_child()).collect();
    let mut pids: Vec<_> = children.iter().map(|(child, _)| child.pid()).collect();
    // Nobody: larger than any PID can be.
    pids.insert(17, 1 << 30);
    let mut answers = Vec::new();
    taskstats.of_process(&pids, &mut |pid, account| answers.push((pid, account.copied())));
    assert_eq!(answers.iter().map(|(pid, _)| *pid).collect::<Vec<_>>(), pids);
    for (pid, account) in answers {
        if pid == 1 << 30 {
            assert_eq!(account, Err(Absence::Vanished));
            continue;
        }
        let account = account.unwrap();
        let found = (account.voluntary_switches, account.involuntary_switches);
        assert_eq!((account.tgid, found), (pid, switches_in(&status_of(pid))));
        assert!(account.elapsed_us > 0);
    }
    for (child, writer) in children {
        drop(writer);
        // Others have inherited its write end.
        // SAFETY: it is a child that was not reaped.
        unsafe { libc::kill(child.0, libc::SIGKILL) };
        child.wait();
    }
}

#[test]
fn the_account_of_a_thread_is_what_it_wrote_itself_rounded_down() {
    let Some(mut taskstats) = open() else { return };
    let (reader, mut writer) = std::io::pipe().unwrap();
    let mut pages = tempfile::tempfile().unwrap();
    // Beside a main thread that does nothing; a zombie's main thread is told like a living one.
    let child = Forked::start(|| {
        let mut pages = pages.try_clone().unwrap();
        let writes = move || {
            pages.write_all(&[7; 5000]).unwrap();
            writer
                .write_all(&rustix::thread::gettid().as_raw_nonzero().get().to_ne_bytes())
                .unwrap();
            thread::sleep(Duration::from_secs(600));
        };
        thread::spawn(writes).join().map_or(1, |()| 0)
    });
    let mut tid = [0; 4];
    (&reader).read_exact(&mut tid).unwrap();
    let (pid, tid) = (child.pid(), u32::from_ne_bytes(tid));
    let mut told = Vec::new();
    let mut ask = |tids: &[u32]| {
        told.clear();
        taskstats.of_threads(tids, &mut |id, account| {
            let account = account.map(|account| (account.tgid, account.io.write_char_bytes));
            told.push((id, account));
        });
        told.clone()
    };
    // 5,000 and 4 bytes are 4 KiB and a part of the fifth.
    let expected = [
        (tid, Ok((Some(pid), 4 * IO_FLOOR_BYTES))),
        (pid, Ok((Some(pid), 0))),
        (1 << 30, Err(Absence::Vanished)),
    ];
    assert_eq!(ask(&[tid, pid, 1 << 30]), expected);
    // SAFETY: it is a child that was not reaped.
    unsafe { libc::kill(child.0, libc::SIGKILL) };
    while !status_of(pid).contains("State:\tZ (zombie)") || status_of(pid).contains("Threads:\t2") {
        thread::yield_now();
    }
    assert_eq!(ask(&[tid, pid]), [(tid, Err(Absence::Vanished)), (pid, Ok((Some(pid), 0)))]);
    child.wait();
    assert_eq!(ask(&[pid]), [(pid, Err(Absence::Vanished))]);
    pages.flush().unwrap();
}

#[test]
fn a_process_that_ended_is_not_taken_for_one_that_did_nothing() {
    let Some(mut taskstats) = open() else { return };
    let child = Forked::start(|| 0);
    let pid = child.pid();
    while !status_of(pid).contains("State:\tZ") {
        thread::yield_now();
    }
    let mut zombie = None;
    taskstats.of_process(&[pid], &mut |_, account| zombie = Some(account.copied()));
    child.wait();
    let mut gone = None;
    taskstats.of_process(&[pid], &mut |_, account| gone = Some(account.copied()));
    assert_eq!((zombie, gone), (Some(Err(Absence::Vanished)), Some(Err(Absence::Vanished))));
}

#[test]
fn threads_that_ended_are_in_the_account_of_their_process() {
    let Some(mut taskstats) = open() else { return };
    let switches = |taskstats: &mut Taskstats| {
        let mut found = 0;
        taskstats.of_process(&[own_pid()], &mut |_, account| {
            found = account.unwrap().voluntary_switches;
        });
        found
    };
    let before = switches(&mut taskstats);
    // A sleep that is over before the thread has left its CPU is no switch: it says itself how
    // often it left.
    let left = in_thread(|| {
        let begin = own_switches();
        while own_switches() < begin + 30 {
            thread::sleep(Duration::from_micros(100));
        }
        own_switches()
    });
    assert!(switches(&mut taskstats) >= before + left);
}

/// How often the calling thread has left its CPU of its own accord since it began.
fn own_switches() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable for the length of the call.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) }, 0);
    // SAFETY: all zero bytes are a valid rusage, and the call wrote nothing else.
    unsafe { usage.assume_init() }.ru_nvcsw.try_into().unwrap()
}

#[test]
fn a_message_that_somebody_else_sent_is_counted_and_not_believed() {
    let Some(mut taskstats) = open() else { return };
    // A true record, sent again by a process that is not the kernel.
    let pid = Forked::start(|| 0);
    let ended = pid.pid();
    pid.wait();
    let listener = &taskstats.listeners[0];
    let address = SocketAddrNetlink::try_from(getsockname(&listener.channel).unwrap()).unwrap();
    let target = SocketAddrNetlink::new(address.pid(), 0);
    let fixture = include_bytes!("../../../../fixtures/parse/taskstats/only_thread");
    let mut message = [0; 1024];
    let header = mpp_parse::netlink::Header {
        length: 0,
        kind: taskstats.family,
        flags: 0,
        sequence: 1 << 20,
        port_id: 0,
    };
    let message = mpp_parse::netlink::encode(&mut message, header, fixture).unwrap();
    let forger = Forked::start(|| {
        let channel = Channel::open().unwrap();
        let sent = sendto(&channel, message, SendFlags::empty(), &target);
        i32::from(sent.is_err())
    });
    assert_eq!(forger.wait(), 0);
    let mut tids = Vec::new();
    let drained = taskstats.drain(&mut |record| tids.push(record.tid));
    assert_eq!((taskstats.forged_total(), drained.malformed), (1, 0));
    let forged = parse(fixture).unwrap().thread.unwrap().id;
    assert!(tids.contains(&ended) && !tids.contains(&forged), "{tids:?}");
    for _ in 0..3 {
        assert_eq!(taskstats.drain(&mut |_| {}).lost, 0);
    }
}

#[test]
fn process_accounting_does_not_disturb() {
    let Some(mut taskstats) = open() else { return };
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = std::ffi::CString::new(file.path().as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: the path is a C string.
    if unsafe { libc::acct(path.as_ptr()) } != 0 {
        eprintln!("process accounting is not for us here");
        assert!(matches!(sys::last_errno(), Errno::PERM | Errno::NOSYS));
        return;
    }
    let mut pages = tempfile::tempfile().unwrap();
    let child = Forked::start(|| i32::from(pages.write_all(&[7; 5000]).is_err()));
    let pid = child.pid();
    let status = child.wait();
    // SAFETY: without a path it is switched off.
    assert_eq!(unsafe { libc::acct(std::ptr::null()) }, 0);
    assert_eq!(status, 0);
    let records = records_of(&mut taskstats, |record| record.tid == pid);
    let [record] = &records[..] else { panic!("{records:?}") };
    let expected = ThreadIo { write_char_bytes: 4096, ..record.io };
    assert_eq!(record.io, expected);
    assert!(file.as_file().metadata().unwrap().len() > 0);
}

#[test]
fn a_copy_in_a_forked_process_does_not_end_the_registration() {
    let Some(mut taskstats) = open() else { return };
    let child = Forked::start(|| {
        // SAFETY: the copy is not used again, since this process ends here.
        drop(unsafe { std::ptr::read(&raw const taskstats) });
        0
    });
    child.wait();
    let pid = end_at_once().unwrap().as_raw_nonzero().get().unsigned_abs();
    assert_eq!(records_of(&mut taskstats, |record| record.tid == pid).len(), 1);
}

#[test]
fn delays_are_absent_where_the_kernel_does_not_account_them() {
    let Some(mut taskstats) = open() else { return };
    let switch = File::open("/proc/sys/kernel/task_delayacct").ok().map(|mut file| {
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text.trim() != "0"
    });
    let mut delays = None;
    taskstats.of_process(&[own_pid()], &mut |_, account| delays = Some(account.unwrap().delays));
    let delays = delays.unwrap();
    match switch {
        Some(true) => assert_eq!(taskstats.delay_accounting(), DelayAccounting::On),
        Some(false) => assert_eq!(taskstats.delay_accounting(), DelayAccounting::Off),
        None => eprintln!("this kernel has no switch for delays"),
    }
    let is_on = taskstats.delay_accounting() == DelayAccounting::On;
    assert_eq!(delays.block_io_ns.is_some(), is_on);
    let is_known = taskstats.delay_accounting() != DelayAccounting::Unsupported;
    assert_eq!(delays.run_queue_ns.is_some(), is_known);
}

#[test]
fn whichever_call_fails_nothing_panics_and_no_loss_is_silent() {
    if open().is_none() {
        return;
    }
    for errno in [Errno::NOBUFS, Errno::IO, Errno::MFILE] {
        for n in 0.. {
            let (outcome, calls) = with_failure(n, errno, open_and_use);
            // A child that ended is told of by the drains that follow the one that failed.
            assert!(outcome != Ok(Ok(false)), "{n} {errno}");
            if calls <= n {
                assert_eq!(outcome, Ok(Ok(true)));
                break;
            }
        }
    }
}

/// Whether a child's end came in three drains; the errno where it could not be started.
fn open_and_use() -> Result<Result<bool, Errno>, Refusal> {
    let mut taskstats = Taskstats::open(&TaskstatsOptions::default())?;
    let mut answers = 0;
    taskstats.of_process(&[own_pid(), 1], &mut |_, _| answers += 1);
    assert_eq!(answers, 2);
    let pid = match end_at_once() {
        Ok(pid) => pid.as_raw_nonzero().get().unsigned_abs(),
        Err(errno) => return Ok(Err(errno)),
    };
    let mut has_come = false;
    for _ in 0..3 {
        taskstats.drain(&mut |record| has_come |= record.tid == pid);
    }
    Ok(Ok(has_come))
}
