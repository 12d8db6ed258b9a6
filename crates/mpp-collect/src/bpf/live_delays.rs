//! What our programs tell of waits, beside the kernel's own taskstats and schedstat: the same
//! nanoseconds, of processes that hold still or have ended.

use std::fs;
use std::time::{Duration, Instant};

use mpp_accounting::units::{DelayCounter, DelayTotals};
use mpp_parse::bpf_record::{DelayCount, Delays};
use rustix::thread::{CapabilitySet, capabilities};

use super::tests::{Load, open};
use super::*;
use crate::delays::{DelaySum, ThreadDelays};
use crate::taskstats::{DelayAccounting, Taskstats, TaskstatsOptions};

const DEADLINE: Duration = Duration::from_secs(20);

/// Both who tell of waits; `None` where this test lacks a privilege.
fn open_both() -> Option<(Bpf, Taskstats)> {
    let held = capabilities(None).unwrap().effective;
    let mut bpf = open(&BpfOptions::default())?;
    if !held.contains(CapabilitySet::NET_ADMIN) {
        eprintln!("taskstats need CAP_NET_ADMIN here");
        return None;
    }
    bpf.tell_delays().unwrap();
    Some((bpf, Taskstats::open(&TaskstatsOptions::default()).unwrap()))
}

/// What the iterator's records of a process add up to.
fn told(bpf: &mut Bpf, pid: u32) -> DelayTotals {
    let mut sum: Option<DelaySum> = None;
    bpf.read_tasks(&mut |task| match &mut sum {
        _ if task.tgid() != pid => {}
        Some(sum) => sum.add(&ThreadDelays::of(task).unwrap()),
        None => sum = DelaySum::begun(task),
    })
    .unwrap();
    sum.unwrap().reading(DelayAccounting::On).value().unwrap().total
}

/// What taskstats say of a process; also of a zombie that had several threads. What is switched
/// off is 0.
fn asked(taskstats: &mut Taskstats, pid: u32) -> DelayTotals {
    let mut totals = DelayTotals::ZERO;
    taskstats.of_process(&[pid], &mut |_, account| {
        let delays = account.unwrap().delays;
        let known = |ns: Option<u64>| ns.unwrap_or(0);
        let waits = [delays.run_queue_ns, delays.block_io_ns, delays.swap_ns, delays.reclaim_ns];
        totals.0 = waits.map(known);
    });
    totals
}

/// What schedstat says that the main thread has waited for a CPU; also of a zombie.
fn main_thread_ns(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The exit records of a process, of which the last has come.
fn ends_of(bpf: &mut Bpf, pid: u32) -> Vec<(Delays, DelayCount)> {
    let (begin, mut ends, mut is_last) = (Instant::now(), Vec::new(), false);
    while !is_last {
        assert!(begin.elapsed() < DEADLINE, "process {pid} does not end");
        bpf.drain_exits(&mut |event| {
            if let ExitEvent::Exit(exit) = event
                && exit.process().id == pid
            {
                ends.push(exit.delays());
                is_last |= exit.group().is_some();
            }
        })
        .unwrap();
    }
    ends
}

/// Waits until a process is a zombie. It is not reaped.
fn await_zombie(pid: u32) {
    let begin = Instant::now();
    while !fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().contains(") Z ") {
        assert!(begin.elapsed() < DEADLINE, "process {pid} does not end");
    }
}

/// A process that waits for a command, after four threads of it have ended.
fn load_with_ended_threads() -> (tempfile::TempDir, Load) {
    let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut load = Load::start();
    for _ in 0..4 {
        let path = folder.path().join("x");
        load.tell(&format!("write-in-thread 4096 {}", path.to_str().unwrap()));
    }
    (folder, load)
}

#[test]
fn the_iterator_says_what_taskstats_say_ended_threads_included() {
    let Some((mut bpf, mut taskstats)) = open_both() else { return };
    let (_folder, load) = load_with_ended_threads();
    let pid = load.pid();
    let begin = Instant::now();
    loop {
        // It may still be on its way to sleep.
        let (told, asked) = (told(&mut bpf, pid), asked(&mut taskstats, pid));
        let is_off = taskstats.delay_accounting() != DelayAccounting::On;
        let [cpu_ns, others @ ..] = told.0;
        if is_off && cpu_ns == asked[DelayCounter::Cpu] || told == asked {
            assert!(cpu_ns > main_thread_ns(pid), "threads that ended have waited, too");
            assert!(!is_off || asked.0[1..] == [0; 3], "{asked:?} {others:?}");
            return;
        }
        assert!(begin.elapsed() < DEADLINE, "{told:?} {asked:?}");
    }
}

#[test]
fn the_largest_record_of_a_process_says_what_all_its_threads_have_waited() {
    let Some((mut bpf, mut taskstats)) = open_both() else { return };
    let (_folder, mut load) = load_with_ended_threads();
    let pid = load.pid();
    load.child.kill().unwrap();
    await_zombie(pid);
    let ends = ends_of(&mut bpf, pid);
    assert_eq!(ends.len(), 5);
    let asked_ns = asked(&mut taskstats, pid)[DelayCounter::Cpu];
    assert_eq!(ends.iter().map(|(delays, _)| delays.cpu_ns).max(), Some(asked_ns));
    // Each record counts its own thread and those before it: the kernel adds a thread to its
    // process's sum before our hook runs.
    assert!(ends.iter().map(|(delays, _)| delays.cpu_ns).is_sorted(), "{ends:?}");
    assert!(ends.iter().all(|(_, count)| count.counts_cpu), "{ends:?}");
}

#[test]
fn the_record_of_a_process_with_one_thread_says_what_it_waited_until_it_began_to_end() {
    let Some((mut bpf, _)) = open_both() else { return };
    let mut load = Load::start();
    let (pid, begin) = (load.pid(), Instant::now());
    // Where CPUs are idle, nobody has to wait for one at once.
    while main_thread_ns(pid) == 0 {
        assert!(begin.elapsed() < DEADLINE, "it never waits for a CPU");
        load.tell("memory 1");
    }
    let before_ns = main_thread_ns(pid);
    load.child.kill().unwrap();
    await_zombie(pid);
    let ends = ends_of(&mut bpf, pid);
    let [(delays, _)] = ends.as_slice() else { panic!("{ends:?}") };
    assert!((before_ns..=main_thread_ns(pid)).contains(&delays.cpu_ns), "{delays:?}");
    // The dead do not wait: the iterator says the last word again.
    let last = told(&mut bpf, pid)[DelayCounter::Cpu];
    assert_eq!(last, main_thread_ns(pid));
}

#[test]
fn nobody_is_told_what_nobody_asked_for() {
    let Some(mut bpf) = open(&BpfOptions::default()) else { return };
    let count = |bpf: &mut Bpf| {
        let mut with = [0_u64; 2];
        bpf.read_tasks(&mut |task| with[usize::from(task.delays().is_some())] += 1).unwrap();
        with
    };
    assert!(matches!(count(&mut bpf), [(1..), 0]));
    bpf.tell_delays().unwrap();
    bpf.capture(Capture { cmdline: true, environment: false }).unwrap();
    assert!(matches!(count(&mut bpf), [0, (1..)]));
}
