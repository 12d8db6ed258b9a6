//! The iterator beside `/proc`: the same numbers of processes that hold still.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use mpp_parse::bpf_record::{Fds, Memory, Pool, TaskKey, ThreadUsage};
use mpp_parse::proc_pid_io::{self, Io};
use mpp_parse::proc_pid_stat::{self, Stat};
use mpp_parse::proc_pid_statm;
use mpp_parse::proc_pid_status;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::tests::{Load, open};
use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

/// What the iterator says of one thread.
#[derive(Clone, Debug, PartialEq)]
struct Thread {
    key: TaskKey,
    io: Io,
    usage: ThreadUsage,
    memory: Option<Memory>,
    process: Option<Process>,
    has_ended: bool,
}

/// What the iterator says of one process.
#[derive(Clone, Debug, PartialEq)]
struct Process {
    parent: TaskKey,
    comm: Vec<u8>,
    euid: u32,
    threads: u32,
    cgroup_id: u64,
    fd_limit: u64,
    pool: Pool,
}

fn threads_of(bpf: &mut Bpf, pid: u32) -> Vec<Thread> {
    let mut threads = Vec::new();
    bpf.read_tasks(&mut |task| threads.extend(thread_of(pid, task))).unwrap();
    threads
}

/// The same, as a reading of changes tells it of one of whom nothing is known.
fn threads_told_anew(bpf: &mut Bpf, pid: u32) -> Vec<Thread> {
    let (mut threads, mut leaders) = (Vec::new(), Vec::new());
    bpf.read_changes(Former::Forgotten, &mut |living| match living {
        Living::Task(task) => {
            leaders.extend(task.process().map(|_| task.tgid()));
            threads.extend(thread_of(pid, &task));
        }
        Living::Still(process) => panic!("of {process:?} nothing was told so far"),
    })
    .unwrap();
    assert!(leaders.is_sorted(), "{leaders:?}");
    threads
}

/// A thread of this process.
fn thread_of(pid: u32, task: &TaskRecord<'_>) -> Option<Thread> {
    if task.tgid() != pid {
        return None;
    }
    assert!(!task.is_kernel_thread());
    let process = task.process().map(|process| Process {
        parent: process.parent(),
        comm: process.comm().to_vec(),
        euid: process.euid(),
        threads: process.thread_count(),
        cgroup_id: process.cgroup_id(),
        fd_limit: process.fd_limit(),
        pool: process.pool(),
    });
    Some(Thread {
        key: task.thread(),
        io: task.io(),
        usage: task.usage(),
        memory: task.memory(),
        process,
        has_ended: task.has_ended(),
    })
}

/// Whether a reading of changes says the same of a process, but for the order of its threads.
fn compare_readings(bpf: &mut Bpf, pid: u32) -> Result<(), String> {
    let [one, other] = [threads_of, threads_told_anew].map(|read| {
        let mut threads = read(bpf, pid);
        threads.sort_by_key(|thread| thread.key.id);
        threads
    });
    if one == other { Ok(()) } else { Err(format!("{one:?} by the iterator, or {other:?}")) }
}

fn read(pid: u32, file: &str) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/{file}")).unwrap()
}

/// Reads both again and again until a process that has just been told something holds still.
fn once_still<T>(what: impl Fn() -> T, mut is_same: impl FnMut(&T) -> Result<(), String>) {
    let begin = Instant::now();
    while let Err(difference) = is_same(&what()) {
        assert!(begin.elapsed() < DEADLINE, "{difference}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As the kernel divides the exact time for `stat`, in ticks.
fn scaled_ticks(utime_ns: u64, stime_ns: u64, runtime_ns: u64) -> (u64, u64) {
    let stime = match (utime_ns, stime_ns) {
        (_, 0) => 0,
        (0, _) => runtime_ns,
        (utime, stime) => {
            let share = u128::from(runtime_ns) * u128::from(stime) / u128::from(utime + stime);
            u64::try_from(share).unwrap()
        }
    };
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    ((runtime_ns - stime) / tick_ns, stime / tick_ns)
}

/// Holds what the iterator says of a process against its files.
fn compare(bpf: &mut Bpf, pid: u32) -> Result<(), String> {
    let threads = threads_of(bpf, pid);
    let leader = threads.iter().find(|thread| thread.key.id == pid).unwrap();
    let process = leader.process.as_ref().unwrap();
    let page = read(pid, "stat");
    let stat = proc_pid_stat::parse(&page).unwrap();
    same("comm", process.comm.as_slice(), stat.comm)?;
    same("parent", process.parent.id, stat.ppid)?;
    same("threads", u64::from(process.threads), stat.num_threads)?;
    same("records", threads.len() as u64, stat.num_threads)?;
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    same("start", leader.key.start_ns / tick_ns, stat.start_time_ticks)?;
    let owner = fs::metadata(format!("/proc/{pid}")).unwrap().uid();
    same("euid", process.euid, owner)?;
    compare_usage(&threads, &process.pool, &stat)?;
    compare_threads(&threads, pid)?;
    compare_memory(leader.memory.unwrap(), pid)?;
    let limits = String::from_utf8(read(pid, "limits")).unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let limit = limit.split_whitespace().nth(3).unwrap().parse().unwrap_or(u64::MAX);
    same("fd limit", process.fd_limit, limit)?;
    compare_cgroup(process.cgroup_id, pid)
}

fn same<T: PartialEq + Copy + std::fmt::Debug>(
    what: &str,
    ours: T,
    theirs: T,
) -> Result<(), String> {
    if ours == theirs { Ok(()) } else { Err(format!("{what}: {ours:?} is not {theirs:?}")) }
}

fn compare_usage(threads: &[Thread], pool: &Pool, stat: &Stat<'_>) -> Result<(), String> {
    let sum = |field: fn(&ThreadUsage) -> u64| -> u64 {
        threads.iter().map(|thread| field(&thread.usage)).sum()
    };
    same("minflt", sum(|own| own.min_flt) + pool.min_flt, stat.minflt)?;
    same("majflt", sum(|own| own.maj_flt) + pool.maj_flt, stat.majflt)?;
    same("cminflt", pool.cmin_flt, stat.cminflt)?;
    same("cmajflt", pool.cmaj_flt, stat.cmajflt)?;
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    same("cutime", pool.cutime_ns / tick_ns, stat.cutime_ticks)?;
    same("cstime", pool.cstime_ns / tick_ns, stat.cstime_ticks)?;
    let (utime, stime) = scaled_ticks(
        sum(|own| own.utime_ns) + pool.utime_ns,
        sum(|own| own.stime_ns) + pool.stime_ns,
        sum(|own| own.runtime_ns) + pool.runtime_ns,
    );
    // The kernel never lets either go back, so each may lag behind its share of the sum.
    let total = (utime + stime).abs_diff(stat.utime_ticks + stat.stime_ticks);
    if total > 1 || utime.abs_diff(stat.utime_ticks) > 1 {
        return Err(format!("{utime} and {stime} ticks are not those of {stat:?}"));
    }
    Ok(())
}

fn compare_threads(threads: &[Thread], pid: u32) -> Result<(), String> {
    for thread in threads {
        let task = format!("task/{}", thread.key.id);
        let io = proc_pid_io::parse(&read(pid, &format!("{task}/io"))).unwrap();
        same("io", thread.io, io)?;
        let page = read(pid, &format!("{task}/status"));
        let status = proc_pid_status::parse(&page).unwrap();
        same("voluntary", Some(thread.usage.nvcsw), status.voluntary_ctxt_switches)?;
        same("involuntary", Some(thread.usage.nivcsw), status.nonvoluntary_ctxt_switches)?;
    }
    let whole = proc_pid_io::parse(&read(pid, "io")).unwrap();
    let leader = threads.iter().find_map(|thread| thread.process.as_ref()).unwrap();
    let own: u64 = threads.iter().map(|thread| thread.io.wchar).sum();
    same("wchar of the whole", own + leader.pool.io.wchar, whole.wchar)
}

fn compare_memory(memory: Memory, pid: u32) -> Result<(), String> {
    let statm = proc_pid_statm::parse(&read(pid, "statm")).unwrap();
    let resident = memory.file_pages + memory.anon_pages + memory.shmem_pages;
    same("resident", resident, statm.resident_pages)?;
    same("shared", memory.file_pages + memory.shmem_pages, statm.shared_pages)?;
    same("size", memory.total_pages, statm.size_pages)?;
    same("data", memory.data_pages, statm.data_pages)?;
    let page = rustix::param::page_size() as u64;
    let text = memory.end_code.div_ceil(page) - memory.start_code / page;
    same("text", text, statm.text_pages)?;
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    same("fds", memory.fds, Fds::Exactly(u32::try_from(fds).unwrap()))
}

/// The cgroup's number is the inode of its folder, where the v2 hierarchy is mounted.
fn compare_cgroup(id: u64, pid: u32) -> Result<(), String> {
    let text = String::from_utf8(read(pid, "cgroup")).unwrap();
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::")) else { return Ok(()) };
    for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        if fs::metadata(format!("{mount}/cgroup.controllers")).is_ok() {
            let folder = fs::metadata(format!("{mount}{path}")).unwrap();
            return same("cgroup", id, folder.ino());
        }
    }
    Ok(())
}

fn check(commands: &[&str]) {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let mut load = Load::start();
    for command in commands {
        load.tell(command);
    }
    once_still(|| (), |()| compare(&mut bpf, load.pid()));
    once_still(|| (), |()| compare_readings(&mut bpf, load.pid()));
}

#[test]
fn a_sleeping_process_has_the_numbers_of_its_files() {
    check(&[]);
    check(&["memory 8388608", "fds 30"]);
}

#[test]
fn every_thread_has_its_own_numbers() {
    check(&["threads 5", "memory 100000"]);
}

/// As many as are told together with their process, and more.
#[test]
fn a_process_is_told_as_a_whole_however_many_threads_it_has() {
    for count in [62, 63, 64, 65, 300] {
        check(&[&format!("threads {count}")]);
    }
}

#[test]
fn threads_and_children_that_are_gone_are_in_the_pool() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("written");
    let path = path.display();
    check(&[&format!("write-in-thread 30000 {path}"), &format!("reap 70000 {path}"), "storm 50"]);
}

#[test]
fn descriptors_are_counted_however_many() {
    let own = getrlimit(Resource::Nofile);
    let most = own.maximum.unwrap_or(u64::MAX).min(20_100);
    setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..own }).unwrap();
    // The child inherits it.
    let many = most - 100;
    for count in [55, 60, 61, 200, 1000, many] {
        check(&[&format!("fds {count}")]);
    }
}

#[test]
fn a_name_that_is_no_text_stays_as_it_is() {
    check(&["name 2029205a0aff"]);
}

#[test]
fn where_the_leader_has_ended_the_others_tell_what_the_process_holds() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let mut load = Load::start();
    load.tell("memory 8388608").tell("exit-leader");
    let pid = load.pid();
    let threads = threads_of(&mut bpf, pid);
    let leader = threads.iter().find(|thread| thread.key.id == pid).unwrap();
    assert!(leader.has_ended && leader.memory.is_none() && leader.process.is_some());
    let other = threads.iter().find(|thread| thread.key.id != pid).unwrap();
    assert!(!other.has_ended && other.process.is_none());
    let memory = other.memory.unwrap();
    let resident = memory.file_pages + memory.anon_pages + memory.shmem_pages;
    assert!(resident * rustix::param::page_size() as u64 > 8_388_608, "{memory:?}");
    let fds = fs::read_dir(format!("/proc/{pid}/task/{}/fd", other.key.id)).unwrap().count();
    assert_eq!(memory.fds, Fds::Exactly(u32::try_from(fds).unwrap()));
    once_still(|| (), |()| compare_readings(&mut bpf, pid));
}

/// Where a kernel takes no survey, both are the iterator.
#[test]
fn who_has_not_run_stands_still_whichever_way_he_is_told_of() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let load = Load::start();
    let pid = load.pid();
    for is_surveyed in [true, false] {
        if !is_surveyed {
            bpf.forgo_survey();
        }
        threads_told_anew(&mut bpf, pid);
        let told = |bpf: &mut Bpf| {
            let mut told = Vec::new();
            bpf.read_changes(Former::Remembered, &mut |living| match living {
                Living::Still(process) => told.push((process.id, true)),
                Living::Task(task) => told.extend(task.process().map(|_| (task.tgid(), false))),
            })
            .unwrap();
            assert!(told.is_sorted(), "{told:?}");
            told
        };
        let is_expected = |told: &Vec<(u32, bool)>| {
            // It may have run once more while it was waited for.
            match told.contains(&(pid, true)) && told.contains(&(std::process::id(), false)) {
                true => Ok(()),
                false => Err(format!("surveyed: {is_surveyed}, {told:?}")),
            }
        };
        once_still(|| (), |()| is_expected(&told(&mut bpf)));
    }
}

/// Where a kernel takes no survey, the forker is told each time.
#[test]
fn who_has_run_is_told_with_his_forker_or_as_one_whose_forker_is_known() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let mut load = Load::start();
    let pid = load.pid();
    let told = |bpf: &mut Bpf, former| {
        let mut told = None;
        bpf.read_changes(former, &mut |living| match living {
            Living::Task(task) if task.thread().id == pid => {
                let forker = task.process().and_then(|process| process.forker());
                told = Some((task.keeps_forker(), forker.map(|forker| forker.id)));
            }
            _ => (),
        })
        .unwrap();
        told
    };
    let own = Some(std::process::id());
    assert_eq!(told(&mut bpf, Former::Forgotten), Some((false, own)));
    let kept = bpf.surveyor().is_some().then_some((true, None));
    let mut has_run = || {
        load.tell("name 61");
        told(&mut bpf, Former::Remembered)
    };
    // It may be on its way to sleep when it is met, and is then told as a whole twice.
    let answers: Vec<_> = (0..50).filter_map(|_| has_run()).collect();
    assert!(kept.is_none_or(|kept| answers.contains(&kept)), "{answers:?}");
    let is_expected = answers.iter().all(|&answer| answer == (false, own) || Some(answer) == kept);
    assert!(is_expected, "{answers:?}");
}

#[test]
fn the_kernels_own_threads_hold_nothing() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let mut found = 0;
    bpf.read_tasks(&mut |task| {
        if task.is_kernel_thread() {
            found += 1;
            assert!(task.memory().is_none() && task.process().is_some(), "{task:?}");
        }
    })
    .unwrap();
    assert!(found > 0);
}

#[test]
fn an_exec_is_another_number() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let mut number_of = |pid: u32| {
        let mut number = None;
        bpf.read_tasks(&mut |task| {
            if task.thread().id == pid {
                number = task.process().map(|process| process.self_exec_id());
            }
        })
        .unwrap();
        number
    };
    let mut command = std::process::Command::new("sleep");
    let own = number_of(std::process::id()).unwrap();
    // SAFETY: nothing is done between fork and exec.
    let mut child = unsafe { command.arg("1000").pre_exec(|| Ok(())) }.spawn().unwrap();
    assert_eq!(number_of(child.id()), Some(own + 1));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn who_forked_a_daemon_is_known_after_that_one_has_ended() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let mut command = std::process::Command::new("sh");
    let output = command.args(["-c", "sleep 1000 >&- 2>&- & echo $$ $!"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (shell, daemon) = text.trim().split_once(' ').unwrap();
    let (shell, daemon): (u32, u32) = (shell.parse().unwrap(), daemon.parse().unwrap());
    let mut ended = None;
    bpf.drain_exits(&mut |event| match event {
        ExitEvent::Exit(exit) if exit.process().id == shell => ended = Some(exit.process()),
        _ => (),
    })
    .unwrap();
    let (mut of_daemon, mut of_test) = (None, None);
    bpf.read_tasks(&mut |task| {
        let forker_and_parent = task.process().map(|process| (process.forker(), process.parent()));
        if task.thread().id == daemon {
            of_daemon = forker_and_parent;
        } else if task.thread().id == std::process::id() {
            of_test = forker_and_parent;
        }
    })
    .unwrap();
    let pid = rustix::process::Pid::from_raw(daemon.cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let (forker, parent) = of_daemon.unwrap();
    assert!(ended.is_some() && parent.id != shell, "{ended:?} {parent:?}");
    assert_eq!(forker, ended);
    assert_eq!(of_test.unwrap().0, None, "it began before anybody watched");
}
