//! Trees whose records come whole, late, rounded or not at all.

use std::sync::Arc;

use super::*;
use crate::exit::{CpuTail, Spill, ThreadExit};
use crate::process::{
    Absence, ContextSwitches, Gauges, Identity, Lineage, ProcessIo, ProcessState, ThreadKey, Usage,
};
use crate::units::{BootTime, IoCounter};

const ROOT: u32 = 10;

fn key(pid: u32) -> ProcessKey {
    ProcessKey { pid, start_time_ticks: u64::from(pid) }
}

fn sample(pid: u32, parent_pid: u32, comm: &str) -> ProcessSample {
    let absent = Absence::NotRequested;
    let mut gauges = Gauges::absent(absent);
    gauges.context_switches =
        Reading::Value(ContextSwitches { voluntary: 3, involuntary: 1, is_partial: false });
    ProcessSample {
        key: key(pid),
        parent_pid,
        lineage: Lineage::default(),
        state: ProcessState::Living,
        identity: Arc::new(Identity {
            comm: comm.as_bytes().into(),
            uid: 0,
            executable: Reading::Absent(absent),
            cmdline: Reading::Absent(absent),
            environment: Reading::Absent(absent),
            is_environment_incomplete: false,
            cgroup: Reading::Absent(absent),
            is_kernel_thread: false,
        }),
        read_at: BootTime::default(),
        usage: Usage::new(Totals([1000, 500, 7, 0]), Totals([100, 50, 3, 0])),
        io: ProcessIo::absent(absent),
        gauges,
    }
}

/// A process that was forked by `forker`, was the child of `parent` at its end, and wrote.
fn ended(pid: u32, forker: u32, parent: u32, comm: &str) -> ProcessExit {
    ProcessExit {
        sample: ProcessSample {
            lineage: Lineage::default().with_forker(Some(key(forker))),
            ..sample(pid, parent, comm)
        },
        parent: Some(key(parent)),
        is_reaped_automatically: false,
        started_at: BootTime { ns: u64::from(pid) },
        ended_at: BootTime::default(),
        rss_peak_bytes: Reading::Value(u64::from(pid) << 20),
        wait_status: 0,
    }
}

fn wrote(pid: u32, bytes: u64) -> ThreadExit {
    let mut io = IoTotals::ZERO;
    io.0[IoCounter::WriteBytes as usize] = bytes;
    let thread = ThreadKey { tid: pid, start_time_ticks: u64::from(pid) };
    let delays = Reading::Absent(Absence::NotRequested);
    ThreadExit { process: key(pid), thread, io, exec_count: None, delays }
}

fn exits(processes: Vec<ProcessExit>) -> Exits {
    let threads = processes.iter().map(|exit| wrote(exit.key().pid, 100)).collect();
    Exits { source: ExitSource::Exact, threads, processes, ..Exits::default() }
}

fn begun(source: ExitSource) -> TreeRecords {
    let mut records = TreeRecords::below(ROOT, 1 << 20);
    records.begin(&Exits { source, ..exits(vec![ended(9, 1, 1, "stranger")]) });
    records
}

/// Looks in turn: who was seen, and who had ended; how many of the tree and what they wrote.
fn check(looks: Vec<(Vec<ProcessSample>, Vec<ProcessExit>)>, expected: (u64, u64)) -> TreeRecords {
    let mut records = begun(ExitSource::Exact);
    for (seen, processes) in looks {
        records.advance(seen.iter(), &mut exits(processes));
    }
    let told = records.told();
    assert_eq!((told.ended, told.io[IoCounter::WriteBytes]), expected);
    assert_eq!(records.source(), ExitSource::Exact);
    records
}

#[test]
fn everything_that_descends_from_the_root_is_of_the_tree_and_nobody_else() {
    let shell = || sample(20, ROOT, "sh");
    check(vec![(vec![shell()], vec![ended(21, 20, 20, "cc"), ended(30, 1, 1, "cron")])], (1, 100));
    // A daemon: its parent has ended, and it was handed to somebody else.
    let daemon = vec![ended(21, 20, 20, "sh"), ended(22, 21, 1, "daemon")];
    check(vec![(vec![shell()], daemon)], (2, 200));
    // An orphan that was handed to the root, forked by nobody that is known.
    check(vec![(vec![], vec![ended(40, 39, ROOT, "orphan")])], (1, 100));
}

#[test]
fn a_record_waits_until_its_forker_is_known() {
    let late = || ended(23, 22, 22, "cc");
    // Born behind the look's back, and seen by the next.
    check(vec![(vec![], vec![late()]), (vec![sample(22, 21, "sh")], vec![])], (1, 100));
    // Ended one look later, out of order.
    let forker = ended(22, ROOT, ROOT, "sh");
    check(vec![(vec![], vec![late()]), (vec![], vec![forker])], (2, 200));
    // Nobody ever knows it.
    let records = check(
        vec![(vec![], vec![late()]), (vec![], vec![]), (vec![], vec![]), (vec![], vec![])],
        (0, 0),
    );
    assert!(records.waiting.is_empty() && records.threads.is_empty(), "{records:?}");
}

#[test]
fn an_early_end_is_none_while_a_record_may_wait_for_a_forker_that_was_only_added_up() {
    let is_all_told = |exits: &mut Exits| {
        let mut records = begun(ExitSource::Exact);
        records.advance([sample(21, ROOT, "sh")].iter(), exits);
        (records.is_all_told(), records.told().ended)
    };
    let shell = || ended(21, ROOT, ROOT, "sh");
    let (forker, child) = (ended(22, 21, 21, "make"), ended(23, 22, 22, "cc"));
    assert_eq!(is_all_told(&mut exits(vec![shell(), forker, child.clone()])), (true, 3));
    // Who forked it ended as well, and is known only by what the kernel added up for the shell.
    let spills = vec![Spill { parent: key(21), threads: 1, io: wrote(22, 100).io }];
    let mut told = Exits { spills, ..exits(vec![shell(), child]) };
    assert_eq!(is_all_told(&mut told), (false, 1));
    assert_eq!(is_all_told(&mut Exits { lost_records: 1, ..exits(vec![shell()]) }), (false, 1));
    assert!(!begun(ExitSource::Rounded).is_all_told() && !begun(ExitSource::Nobody).is_all_told());
}

#[test]
fn a_parent_known_by_its_pid_alone_is_enough_if_it_is_older() {
    let nameless = |pid, parent| {
        let mut exit = ended(pid, 1, parent, "cc");
        (exit.sample.lineage, exit.parent) = (Lineage::default(), None);
        exit
    };
    check(vec![(vec![sample(20, ROOT, "sh")], vec![nameless(21, 20)])], (1, 100));
    check(vec![(vec![sample(20, ROOT, "sh")], vec![nameless(19, 20)])], (0, 0));
}

#[test]
fn programs_add_up_to_the_whole_and_threads_count_before_their_process_ends() {
    let mut records = begun(ExitSource::Exact);
    let shell = sample(20, ROOT, "sh");
    let mut told =
        exits(vec![ended(21, 20, 20, "cc"), ended(22, 20, 20, "ld"), ended(23, 20, 20, "cc")]);
    told.threads.push(wrote(20, 5));
    told.threads.push(wrote(50, 7));
    records.advance([&shell].into_iter(), &mut told);
    let programs: Vec<_> = records.programs().map(|(name, p)| (name.to_vec(), p.ended)).collect();
    assert_eq!(programs, [(b"cc".to_vec(), 2), (b"ld".to_vec(), 1)]);
    assert_eq!(records.told().io[IoCounter::WriteBytes], 305);
    // Its own total holds what its ended thread did.
    let mut living = shell.clone();
    living.io = living.io.with_total(Reading::Value(wrote(20, 9).io));
    assert_eq!(records.untold(&living), Some(wrote(20, 4).io.as_delta()));
    living.io = living.io.with_total(Reading::Absent(Absence::Denied));
    assert_eq!(records.untold(&living), None);
    assert_eq!(records.untold(&sample(21, 20, "cc")), Some(IoDelta::ZERO), "its end was told");
    assert_eq!(records.told().usage, Totals([3000, 1500, 21, 0]));
    assert_eq!(records.told().unreaped, 0);
}

#[test]
fn memory_that_a_process_may_have_of_its_forker_is_not_its_own() {
    let mut large = ended(21, ROOT, ROOT, "python");
    large.rss_peak_bytes = Reading::Value(500 << 20);
    let mut small = ended(22, 21, 21, "true");
    small.rss_peak_bytes = Reading::Value(500 << 20);
    let mut first = ended(20, ROOT, ROOT, "sh");
    first.rss_peak_bytes = Reading::Value(1 << 20);
    let records = check(vec![(vec![], vec![first, large, small])], (3, 300));
    let peak = |name: &[u8]| records.programs[name].largest_rss_bytes;
    assert_eq!((peak(b"sh"), peak(b"python"), peak(b"true")), (0, 500 << 20, 0));
    assert_eq!(records.told().largest_rss_bytes, 500 << 20);
}

#[test]
fn last_cpu_time_that_is_never_told_is_not_waited_for_without_end() {
    let mut records = begun(ExitSource::Exact);
    let mut dropped = ended(21, ROOT, 20, "job");
    dropped.is_reaped_automatically = true;
    records.advance([].into_iter(), &mut exits(vec![dropped]));
    let looks = (1..200).take_while(|_| {
        records.advance([].into_iter(), &mut exits(Vec::new()));
        records.awaits_times()
    });
    assert_eq!(looks.count(), TAIL_ROUNDS_WAITED as usize - 1);
    assert!(records.tails_expected.is_empty());
}

#[test]
fn what_nobody_waits_for_is_kept_apart_with_its_last_cpu_time() {
    let mut records = begun(ExitSource::Exact);
    let mut dropped = ended(21, ROOT, 20, "job");
    dropped.is_reaped_automatically = true;
    assert!(!records.awaits_times());
    records.advance([].into_iter(), &mut exits(vec![dropped]));
    assert!(records.awaits_times());
    let mut tails = exits(Vec::new());
    tails.cpu_tails =
        vec![CpuTail { key: key(21), cpu_ns: 9 }, CpuTail { key: key(99), cpu_ns: 5 }];
    records.advance([].into_iter(), &mut tails);
    assert!(!records.awaits_times());
    let told = records.told();
    assert_eq!((told.unreaped, told.unreaped_switches), (1, [3, 1]));
    assert_eq!(told.unreaped_usage, Totals([1100, 559, 10, 0]).as_delta());
    assert_eq!(records.programs[&b"job"[..]].usage, Totals([1000, 509, 7, 0]));
}

#[test]
fn what_is_lost_spilled_or_interrupted_is_said() {
    let mut records = begun(ExitSource::Exact);
    let spill = |parent| Spill { parent: key(parent), threads: 2, io: wrote(1, 30).io };
    let mut told = exits(vec![ended(21, ROOT, ROOT, "sh")]);
    told.lost_records = 3;
    told.spills = vec![spill(21), spill(77)];
    records.advance([].into_iter(), &mut told);
    let sum = records.told();
    assert_eq!((sum.lost_records, sum.spilled_records), (3, 2));
    assert_eq!(sum.io[IoCounter::WriteBytes], 130);
    records.advance([].into_iter(), &mut Exits::default());
    assert_eq!(records.source(), ExitSource::Nobody, "somebody else tells now");
}

#[test]
fn two_ways_of_counting_agree_to_the_byte_or_within_what_rounding_hides() {
    let io = |chars, bytes, calls| Totals([0, chars, 0, calls, 0, bytes, 0]);
    let check = |waited: IoTotals, recorded: IoTotals, bound, is_same| {
        let found = agreement(waited, recorded, 3, bound);
        assert_eq!(found == Agreement::Same, is_same, "{waited:?} {recorded:?} {bound}: {found:?}");
    };
    check(io(5, 4096, 2), io(5, 4096, 2), 0, true);
    check(io(5, 4096, 2), io(5, 4096, 1), 0, false);
    check(io(5, 4096, 2), io(4, 4096, 2), 0, false);
    check(io(2000, 4096, 2), io(1024, 4096, 0), 1023, true);
    check(io(3000, 4096, 2), io(1024, 4096, 0), 1023, false);
    check(io(1023, 4096, 2), io(1024, 4096, 0), 1023, false);
}

#[test]
fn what_process_accounting_wrote_in_their_name_is_no_difference() {
    let io = |chars, bytes, calls| Totals([7, chars, 0, calls, 0, bytes, 0]);
    let check = |waited: IoTotals, expected: Option<u64>| {
        let found = agreement(waited, io(500, 4096, 5), 3, 0);
        let charged = match found {
            Agreement::Charged(processes) => Some(processes),
            _ => None,
        };
        assert_eq!(charged, expected, "{waited:?}: {found:?}");
    };
    check(io(500 + 64, 4096, 6), Some(1));
    check(io(500 + 3 * 64, 3 * 4096, 8), Some(3));
    check(io(500 + 4 * 64, 4096, 9), None);
    check(io(500 + 65, 4096, 6), None);
    check(io(500 + 64, 4096 << 10, 6), None);
    check(io(500, 8192, 5), None);
    check(io(500 - 64, 4096, 4), None);
    check(Totals([8, 564, 0, 6, 0, 4096, 0]), None);
}

#[test]
fn rounded_records_say_by_how_much_they_may_be_too_low() {
    let mut records = begun(ExitSource::Rounded);
    let mut told = exits(vec![ended(21, ROOT, ROOT, "sh"), ended(30, 1, 1, "cron")]);
    told.source = ExitSource::Rounded;
    told.threads.push(wrote(20, 1024));
    records.advance([&sample(20, ROOT, "sh")].into_iter(), &mut told);
    assert_eq!(records.io_bound_bytes(), 2 * 1023);
}
