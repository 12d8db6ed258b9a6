//! Hostile and unlucky processes as a program meets them that uses the library: the five
//! functions answer, groups add up, and neither time nor threads are lost for good.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

#[path = "../../mpp-collect/tests/support/hostile.rs"]
mod examples;
mod support;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use examples::Hostile;
use metrics_per_process::drop_in::{Connections, Selection, StatValue, Stats, StatsOptions};
use metrics_per_process::report::{Figure, Report, Tier, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{
    FindOptions, Monitor, find, find_pids, find_pids_from_name, get_processes_stats_ex, metric,
    multi_pid_process_stats, stats_per_pid,
};
use support::{Load, children_of, number};

const MIB: u64 = 1 << 20;

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn with_variable(key: &str, value: Option<&str>) -> Selection {
    let entry = (key.as_bytes().to_vec(), value.map(|value| value.as_bytes().to_vec()));
    Selection { process_env: vec![entry], ..Selection::default() }
}

fn integer(stats: &Stats, key: &str) -> u64 {
    match stats.get(key) {
        Some(StatValue::Integer(value)) => *value,
        other => panic!("expected a number `{key}`, but found {other:?}"),
    }
}

fn monitor(groups: &[&str], columns: &str) -> Monitor {
    let mut builder = Monitor::builder().columns(metric::choose(columns).unwrap());
    for group in groups {
        builder = builder.group(*group, Selector::parse(group).unwrap());
    }
    builder.build().unwrap()
}

/// A whole number of a report's group.
fn figure(report: &Report, row: usize, column: &str) -> u64 {
    let position = report.columns.iter().position(|c| c.name() == column).unwrap();
    match report.groups[row].figures[position] {
        Figure::Known { value: Value::Integer(number), .. } => number,
        other => panic!("expected a number in `{column}`, but found {other:?}"),
    }
}

/// Whom a condition finds that is sure to find somebody. On a machine that is busy enough, the
/// deadline for environments may pass before the right one was read: then the next call tells.
fn found(condition: &Selection) -> Vec<u32> {
    let calls = (0..20).map(|_| find_pids(condition).unwrap());
    calls.into_iter().find(|pids| !pids.is_empty()).expect("somebody is found")
}

/// A process that only waits, under a name and with a variable of its own.
fn start_waiting(name: &str, variable: &str, value: &str) -> Load {
    let arguments = ["zombies", "--count", "0", "--comm", name];
    Load::start_with_environment(&arguments, &[(variable, value)])
}

/// Starts a process that holds its mmap lock for ever, or says why there is none.
fn start_holder(variable: &str) -> Option<Hostile> {
    let holder = Hostile::start("mmap_lock_holder", "mpp-held", &[(variable, "held")]);
    if holder.is_none() {
        eprintln!("holding an mmap lock needs CAP_SYS_ADMIN and /dev/fuse");
        let fuse = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
        assert!(!is_root() || fuse.is_err(), "everything is there, so it should have worked");
    }
    holder
}

#[test]
fn the_five_functions_answer_beside_a_process_that_holds_its_mmap_lock() {
    let variable = format!("MPP_LIBRARY_{}", std::process::id());
    let Some(holder) = start_holder(&variable) else { return };
    let load = start_waiting("mpp-free", &variable, "free");
    assert_eq!(found(&with_variable(&variable, Some("free"))), [load.pid()]);
    // The file system that its memory hangs on bears the variable too, and can be read.
    for condition in [with_variable(&variable, Some("held")), with_variable("MPP_NOWHERE", None)] {
        assert!(!found(&condition).contains(&holder.pid), "unreadable matches nothing");
    }
    assert!(find_pids_from_name("mpp-held").unwrap().contains(&holder.pid));
    let stats = stats_per_pid(holder.pid).unwrap();
    assert!(integer(&stats, "memory.rss") > 0 && integer(&stats, "threads") == 2, "{stats:?}");
    let both = multi_pid_process_stats(&[holder.pid, load.pid()]).unwrap();
    assert_eq!(integer(&both, "total_processes"), 2);
    let options = StatsOptions { interval: Duration::from_millis(50), ..StatsOptions::default() };
    let free = get_processes_stats_ex(&with_variable(&variable, Some("free")), &options).unwrap();
    assert_eq!(integer(&free, "total_processes"), 1);
    assert!(integer(&free, "memory.rss") > 0, "{free:?}");
}

/// Threads of this program that read what can block.
fn readers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name == b"mpp-reader\n").count()
}

#[test]
fn a_process_that_holds_its_mmap_lock_costs_one_thread_and_not_one_a_call() {
    let Some(_holder) = start_holder("MPP_HELD") else { return };
    for _ in 0..40 {
        find_pids(&with_variable("MPP_NOWHERE", Some("x"))).unwrap();
    }
    // Those that do not hang end by and by; other tests may hold some, too.
    let mut patience = 500;
    while readers() > 8 && patience > 0 {
        std::thread::sleep(Duration::from_millis(10));
        patience -= 1;
    }
    assert!(readers() <= 8, "{} threads are left", readers());
}

/// The shortest of so many samples: whole, and without the wait for identities.
fn shortest(monitor: &mut Monitor) -> (Duration, Duration) {
    let mut shortest = (Duration::MAX, Duration::MAX);
    for _ in 0..30 {
        let begin = Instant::now();
        monitor.sample().unwrap();
        let sweep = monitor.snapshot().duration;
        shortest = (shortest.0.min(begin.elapsed()), shortest.1.min(sweep));
    }
    shortest
}

#[test]
fn a_sweep_of_all_others_takes_at_most_twice_the_quiet_time() {
    let groups = ["cmdline:mpp-nowhere", "env:MPP_NOWHERE"];
    let mut monitor = monitor(&groups, "default,fds,io,mem");
    let quiet = shortest(&mut monitor);
    let Some(holder) = start_holder("MPP_HELD") else { return };
    let held = shortest(&mut monitor);
    let report = monitor.sample().unwrap();
    assert!(report.trouble.blocked >= 1, "{:?}", report.trouble);
    assert!(monitor.snapshot().by_pid(holder.pid).is_some());
    assert!(held.0 <= quiet.0 * 2 && held.1 <= quiet.1 * 2, "{held:?}, {quiet:?} without it");
}

#[test]
fn a_leader_that_exited_leaves_what_its_threads_hold() {
    let load = Load::start(&["leaderless", "--resident", "512MiB", "--comm", "mpp-headless"]);
    let child = children_of(load.pid())[0];
    let found = find_pids_from_name("mpp-headless").unwrap();
    assert!(found.contains(&child) && found.contains(&load.pid()), "{found:?}");
    let stats = stats_per_pid(child).unwrap();
    assert!(integer(&stats, "memory.rss") >= 512 * MIB, "{stats:?}");
    assert!(integer(&stats, "fds") > 0, "{stats:?}");
    let selector = format!("pid:{child} children:no");
    let report =
        monitor(&[&selector], "memory.rss,processes.zombie,processes.total").sample().unwrap();
    assert!(figure(&report, 0, "memory.rss") >= 512 * MIB);
    assert_eq!(figure(&report, 0, "processes.zombie"), 0);
    assert_eq!(figure(&report, 0, "processes.total"), 1);
}

#[test]
fn an_environment_of_two_gibibytes_matches_nothing_and_is_counted() {
    let load = Load::start(&["huge-text", "--start", "MPP_GIANT=x"]);
    for condition in [with_variable("MPP_GIANT", Some("x")), with_variable("MPP_GIANT", None)] {
        assert!(!find_pids(&condition).unwrap().contains(&load.pid()));
    }
    let selector = Selector::parse(&format!("pid:{} env:MPP_GIANT", load.pid())).unwrap();
    let found = find(&selector, &FindOptions::default()).unwrap();
    assert!(found.processes.is_empty() && found.undecided >= 1, "{found:?}");
    assert!(found.trouble.truncated >= 1, "{:?}", found.trouble);
    assert!(integer(&stats_per_pid(load.pid()).unwrap(), "memory.rss") < 1 << 30);
}

#[test]
fn an_environment_seen_before_it_was_overwritten_is_remembered() {
    let variable = format!("MPP_TITLE_{}", std::process::id());
    let mut load = Load::start_with_environment(&["retitle"], &[(&variable, "x")]);
    let group = format!("env:{variable}=x");
    let mut early = monitor(&[&group], "processes.total");
    assert_eq!(figure(&early.sample().unwrap(), 0, "processes.total"), 1);
    load.begin();
    load.wait_for("retitled");
    for _ in 0..3 {
        assert_eq!(figure(&early.sample().unwrap(), 0, "processes.total"), 1);
    }
    let late = monitor(&[&group], "processes.total").sample().unwrap();
    assert_eq!((late.groups[0].matched, late.groups[0].descendants), (0, 0));
    assert!(late.trouble.clobbered_environments >= 1, "{:?}", late.trouble);
    assert!(find_pids(&with_variable(&variable, Some("x"))).unwrap().is_empty());
}

#[test]
fn the_next_bearer_of_a_pid_begins_anew() {
    let second = format!("mpp2{}", std::process::id());
    let mut load = Load::start(&["pid-reuse", "--worker-comm", &second, "--bytes", "2MiB"]);
    let groups = [format!("name:{second}"), format!("pid:{}", load.pid())];
    let column = "io_counters.write_bytes";
    let mut monitor = monitor(&groups.each_ref().map(String::as_str), column);
    let first = monitor.sample().unwrap();
    load.begin();
    if !is_root() {
        eprintln!("choosing the next PID needs root");
        assert!(!load.end(), "without the privilege it fails");
        return;
    }
    let truth = loop {
        std::thread::sleep(Duration::from_millis(50));
        monitor.sample().unwrap();
        match load.line_so_far() {
            Some(line) if line["event"] == "total" => break line,
            _ => {}
        }
    };
    let last = monitor.sample().unwrap();
    let grown = |row| figure(&last, row, column) - figure(&first, row, column);
    let written = number(&truth, "children_write_bytes") + number(&truth, "parent_write_bytes");
    assert_eq!(grown(0) + grown(1), written, "{truth}");
    // Each wrote as much as the other, and a little for its file.
    assert!((2 * MIB..3 * MIB).contains(&grown(0)), "{} of the second's", grown(0));
}

#[test]
fn five_thousand_zombies_are_read_one_by_one() {
    let load = Load::start(&["zombies", "--count", "5000"]);
    let zombies = children_of(load.pid());
    let sums = multi_pid_process_stats(&zombies).unwrap();
    assert_eq!(integer(&sums, "total_processes"), 5000);
    assert_eq!(integer(&sums, "threads"), 5000);
    assert!(!sums.contains_key("memory.rss") && !sums.contains_key("fds"), "{sums:?}");
    let group = format!("pid:{}", load.pid());
    let mut monitor = monitor(&[&group], "processes.zombie,cpu.user,page_faults.minor");
    for _ in 0..2 {
        assert_eq!(figure(&monitor.sample().unwrap(), 0, "processes.zombie"), 5000);
    }
    let faults = figure(&monitor.sample().unwrap(), 0, "page_faults.minor");
    assert!(faults >= 5000, "each faulted before it ended, and {faults} are kept");
}

/// Every number is one, and no counter's rate is below zero.
fn check_sane(stats: &Stats) {
    for (key, value) in stats {
        let Some(number) = value.as_f64() else { continue };
        assert!(number.is_finite(), "{key}: {number}");
        assert!(number >= 0.0 || key.ends_with("_per_sec"), "{key}: {number}");
        let is_of_counter = key.starts_with("io_counters") || key.starts_with("cpu.");
        assert!(number >= 0.0 || !is_of_counter, "{key}: {number}");
    }
}

#[test]
fn processes_that_vanish_by_the_thousand_disturb_none_of_the_five_functions() {
    let mut load = Load::start(&["vanish-storm", "--per-second", "5000", "--seconds", "4"]);
    let variable = "MPP_NOWHERE";
    load.begin();
    load.wait_for("tick");
    for connections in [Connections::Counted, Connections::LeftOut] {
        let interval = Duration::from_millis(100);
        let options = StatsOptions { interval, connections, ..StatsOptions::default() };
        let everything = get_processes_stats_ex(&Selection::default(), &options).unwrap();
        assert!(integer(&everything, "total_processes") > 1, "{everything:?}");
        check_sane(&everything);
        let storm =
            Selection { process_names: vec![b"vanish-storm".to_vec()], ..Selection::default() };
        check_sane(&get_processes_stats_ex(&storm, &options).unwrap());
        assert!(find_pids(&with_variable(variable, Some("x"))).unwrap().is_empty());
        assert!(!find_pids(&with_variable(variable, None)).unwrap().is_empty());
        let pids = find_pids_from_name("vanish-storm").unwrap();
        assert!(pids.contains(&load.pid()), "{pids:?}");
        // Most of them have vanished by now.
        check_sane(&multi_pid_process_stats(&pids).unwrap());
        for pid in pids {
            check_sane(&stats_per_pid(pid).unwrap());
        }
    }
    assert!(load.line_so_far().is_none_or(|line| line["event"] != "total"), "it was going on");
    assert!(number(&load.total(), "born") > 1000);
}

/// Each of it forks two more, so many times: two to the power of one more, less two, in all.
const BOMB_DEPTH: u32 = 10;

/// As many as are there at one time, each of which says two bytes.
#[test]
fn a_fork_bomb_is_counted_to_the_last_fork() {
    let script = "b() { echo x; [ $1 -gt 0 ] && { b $(($1-1)) & b $(($1-1)) & wait; }; }; \
                  read begin; b \"$0\"; read end";
    let mut command = Command::new("sh");
    command.args(["-c", script, &BOMB_DEPTH.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    let mut bomb = command.spawn().unwrap();
    let columns = "processes.ended,io_counters.write_chars";
    let mut monitor = monitor(&[&format!("pid:{}", bomb.id())], columns);
    let born = (2 << BOMB_DEPTH) - 2;
    let mut reports = vec![monitor.sample().unwrap(), monitor.sample().unwrap()];
    let mut stdin = bomb.stdin.take().unwrap();
    stdin.write_all(b"begin\n").unwrap();
    let is_over = |report: &Report| figure(report, 0, "processes.ended") >= born;
    let patience = Instant::now() + Duration::from_secs(30);
    while !reports.last().is_some_and(is_over) && Instant::now() < patience {
        std::thread::sleep(Duration::from_millis(20));
        reports.push(monitor.sample().unwrap());
    }
    reports.push(monitor.sample().unwrap());
    stdin.write_all(b"end\n").unwrap();
    assert!(bomb.wait().unwrap().success());
    for column in columns.split(',') {
        let levels: Vec<u64> = reports.iter().map(|report| figure(report, 0, column)).collect();
        assert!(levels.is_sorted(), "{column} fell: {levels:?}");
    }
    let last = &reports[reports.len() - 1];
    let grown = |column| figure(last, 0, column) - figure(&reports[1], 0, column);
    let found = (grown("processes.ended"), grown("io_counters.write_chars"));
    if reports.iter().skip(1).all(|report| report.accuracy.tier == Tier::A) {
        // The first of all speaks, too.
        assert_eq!(found, (born, 2 * (born + 1)), "{:?}", last.accuracy);
    }
    // Whatever was lost, nothing counts twice.
    let is_within = found.0 <= born && found.1 <= 2 * (born + 1);
    assert!(is_within, "{found:?} {:?}", last.accuracy);
}
