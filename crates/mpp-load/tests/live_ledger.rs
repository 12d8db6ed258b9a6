//! Real processes that know what they wrote, watched as anybody would watch them: what the
//! groups add up to is the truth, byte for byte.
//!
//! Every load is watched by all tiers at once, each five times a second and once a second, in a
//! long run (`MPP_LONG`, which `cargo xtask test --long` sets) every five seconds, too; where a tier is not to be had, by the best that is. Polling cannot get everything right. What
//! it cannot is here too, with what it must never do: count a byte twice, or let a total fall.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_per_process::report::{Figure, Report, Tier, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{Monitor, metric};
use serde_json::Value as Truth;
use support::{Load, number};

const COLUMNS: &str = "io_counters.write_bytes,io_counters.write_bytes_per_sec,cpu.user,cpu.system";

/// The first process with all its descendants, alone, and its descendants alone.
const ALL: &str = "pid:PID";
const PARENT: &str = "pid:PID children:no";
const CHILDREN: &str = "children-of:PID";

const TIERS: [Tier; 3] = [Tier::A, Tier::B, Tier::C];
const INTERVALS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];
/// Longer than most loads go on: all of it falls into an interval or two.
const LONG_INTERVAL: Duration = Duration::from_secs(5);

/// How often each tier looks.
fn intervals() -> Vec<Duration> {
    let mut intervals = INTERVALS.to_vec();
    if is_long() {
        intervals.push(LONG_INTERVAL);
    }
    intervals
}

fn is_long() -> bool {
    std::env::var_os("MPP_LONG").is_some()
}

/// What all watchers of a load see where each sees so many bytes.
fn by_all(bytes: u64) -> Vec<u64> {
    vec![bytes; TIERS.len() * intervals().len()]
}

/// A monitor that samples in a thread of its own until it is told to stop.
struct Watcher {
    is_over: Arc<AtomicBool>,
    samples: JoinHandle<Vec<Report>>,
}

impl Watcher {
    /// Takes the baseline before it returns.
    fn start(group: &str, load: &Load, interval: Duration, tier: Tier) -> Self {
        let selector = Selector::parse(&group.replace("PID", &load.pid().to_string()));
        let mut monitor = Monitor::builder()
            .group(group, selector.expect("a selector"))
            .columns(metric::choose(COLUMNS).expect("metrics of the table"))
            .tier_max(tier)
            .build()
            .expect("a readable procfs");
        let mut samples = vec![monitor.sample().expect("a sample")];
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let samples = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(interval);
                samples.push(monitor.sample().expect("a sample"));
            }
            // What was reaped after its reaper was read shows in the next sweep.
            samples.push(monitor.sample().expect("a sample"));
            samples
        });
        Watcher { is_over, samples }
    }

    /// Lets it stop after its next sample, without waiting for that.
    fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn stop(self) -> Vec<Report> {
        self.end();
        self.samples.join().expect("the watcher did not panic")
    }
}

fn value(report: &Report, column: &str) -> Value {
    let position = report.columns.iter().position(|c| c.name() == column);
    match report.groups[0].figures[position.expect("one of the columns")] {
        Figure::Known { value, .. } => value,
        Figure::Absent(why) => panic!("no {column}: {why}"),
    }
}

fn written(report: &Report) -> u64 {
    match value(report, "io_counters.write_bytes") {
        Value::Integer(bytes) => bytes,
        Value::Float(_) => panic!("bytes are whole"),
    }
}

fn float(report: &Report, column: &str) -> f64 {
    match value(report, column) {
        Value::Float(number) => number,
        Value::Integer(_) => panic!("{column} has a fraction"),
    }
}

/// By how much the total grew from the baseline on. It never falls.
fn growth(samples: &[Report]) -> u64 {
    let totals: Vec<u64> = samples.iter().map(written).collect();
    assert!(totals.is_sorted(), "a total fell: {totals:?}");
    totals[totals.len() - 1] - totals[0]
}

/// Runs a load under watchers of these groups: what each group grew by as each of them saw
/// it, and the truth.
fn watch(arguments: &[&str], groups: &[&str]) -> (Vec<Vec<u64>>, Truth) {
    let mut load = Load::start(arguments);
    let of_group = |group: &&str| {
        let of_tier = |tier: Tier| intervals().into_iter().map(move |interval| (tier, interval));
        let pairs = TIERS.into_iter().flat_map(of_tier);
        pairs.map(|(tier, interval)| Watcher::start(group, &load, interval, tier)).collect()
    };
    let watchers: Vec<Vec<Watcher>> = groups.iter().map(of_group).collect();
    load.begin();
    let truth = load.total();
    watchers.iter().flatten().for_each(Watcher::end);
    let grown = watchers
        .into_iter()
        .map(|pair| pair.into_iter().map(|watcher| growth(&watcher.stop())).collect());
    let grown = grown.collect();
    drop(load);
    (grown, truth)
}

fn everything(truth: &Truth) -> u64 {
    ["parent_write_bytes", "children_write_bytes"].iter().map(|key| number(truth, key)).sum()
}

/// Whether this machine and this user have the best tier.
fn has_exact_records() -> bool {
    Monitor::builder().build().expect("a readable procfs").tier() == Tier::A
}

/// The whole tree in one group adds up to the truth, at every tier and interval.
fn check_whole_tree(arguments: &[&str]) {
    let (grown, truth) = watch(arguments, &[ALL]);
    let truth_bytes = everything(&truth);
    assert!(truth_bytes > 0, "{truth}");
    assert_eq!(grown, [by_all(truth_bytes)], "{truth}");
}

#[test]
fn a_parent_and_children_that_are_reaped_as_they_end_add_up() {
    check_whole_tree(&["parent-and-children"]);
}

/// Giving back memory takes its time, in which a process has its record already and lives on for
/// whoever looks.
#[test]
fn children_whose_ending_takes_its_time_add_up() {
    let arguments = ["parent-and-children", "--resident", "256MiB", "--life-ms", "900"];
    check_whole_tree(&arguments);
}

#[test]
fn children_too_short_to_be_seen_alive_add_up() {
    check_whole_tree(&["short-lived"]);
}

#[test]
fn families_that_end_in_one_go_add_up() {
    check_whole_tree(&["nested-deaths"]);
}

#[test]
fn a_daemon_reaped_by_a_subreaper_adds_up() {
    check_whole_tree(&["double-fork"]);
}

#[test]
fn threads_that_come_and_go_add_up() {
    check_whole_tree(&["threads"]);
}

#[test]
fn an_exec_from_a_thread_that_is_not_the_leader_adds_up() {
    check_whole_tree(&["exec-from-thread"]);
}

#[test]
fn a_process_without_its_leader_adds_up() {
    check_whole_tree(&["leaderless", "--resident", "16MiB"]);
}

#[test]
fn a_zombie_held_for_a_while_is_its_own_not_its_parents() {
    let (grown, truth) = watch(&["zombie", "--hold", "3"], &[ALL, PARENT, CHILDREN]);
    let child = number(&truth, "children_write_bytes");
    let seen_alive = TIERS.len() * intervals().len() - usize::from(is_long());
    let seen = |group: usize| &grown[group][..seen_alive];
    let (all, nothing) = (by_all(child), by_all(0));
    assert_eq!(grown[0], all, "{truth}");
    assert_eq!([seen(1), seen(2)], [&nothing[..seen_alive], &all[..seen_alive]], "{truth}");
    // Between two looks of five seconds it comes and goes. To tier C, which has not seen it, what
    // came with it is its reaper's, as a whole; had it been seen, it would be its own.
    for (parent, children) in grown[1].iter().zip(&grown[2]).skip(seen_alive) {
        for credited in [parent, children] {
            assert!([0, child].contains(credited), "{parent} and {children}: {truth}");
        }
    }
}

#[test]
fn zombies_reaped_in_bursts_write_when_they_write_and_belong_to_whom_they_belong() {
    let arguments = ["massindexer", "--seconds", "7", "--worker-comm", "indexworker"];
    let (grown, truth) = watch(&arguments, &[ALL, PARENT, CHILDREN]);
    let children = number(&truth, "children_write_bytes");
    assert_eq!(number(&truth, "parent_write_bytes"), 0);
    let seen_alive = TIERS.len() * intervals().len() - usize::from(is_long());
    let seen = |group: usize| &grown[group][..seen_alive];
    let (all, nothing) = (by_all(children), by_all(0));
    assert_eq!(grown[0], all, "{truth}");
    assert_eq!([seen(1), seen(2)], [&nothing[..seen_alive], &all[..seen_alive]], "{truth}");
    // Between two looks of five seconds whole batches come, end and are reaped: of those that
    // nobody saw alive tier C cannot tell that they were not their parent, but none counts twice.
    for (parent, children_seen) in grown[1].iter().zip(&grown[2]).skip(seen_alive) {
        assert!(parent + children_seen <= children, "{parent} and {children_seen}: {truth}");
    }
}

#[test]
fn a_burst_of_reaping_makes_no_peak() {
    let mut load = Load::start(&["massindexer", "--seconds", "9"]);
    let watcher = Watcher::start(ALL, &load, Duration::from_secs(1), Tier::A);
    load.begin();
    load.total();
    let samples = watcher.stop();
    // Thirty workers of 1 MiB begin each second; one batch of three more or less may fall
    // into an interval that is not quite a second long, and each brings a little metadata.
    let batch = 3.3 * 1024.0 * 1024.0;
    let rates =
        samples.iter().skip(1).map(|report| float(report, "io_counters.write_bytes_per_sec"));
    let highest = rates.fold(0.0, f64::max);
    assert!(highest <= 11.0 * batch, "{highest} bytes a second");
}

#[test]
fn a_child_that_becomes_another_program_adds_up() {
    check_whole_tree(&["change-group"]);
}

#[test]
fn children_that_nobody_waits_for_are_never_counted_twice() {
    let (grown, truth) = watch(&["autoreap"], &[ALL]);
    let truth_bytes = everything(&truth);
    assert!(number(&truth, "children_write_bytes") > 0);
    if has_exact_records() {
        let exact = intervals().len();
        assert_eq!(grown[0][..exact], by_all(truth_bytes)[..exact], "{truth}");
    }
    for grown in &grown[0] {
        assert!(*grown <= truth_bytes, "{grown} of {truth_bytes}");
        assert!(*grown >= number(&truth, "parent_write_bytes"), "the parent's own is there");
    }
}

#[test]
fn cpu_time_of_children_counts_once() {
    let mut load = Load::start(&["burn"]);
    let watcher = Watcher::start(ALL, &load, Duration::from_millis(500), Tier::A);
    load.begin();
    let truth = load.total();
    let samples = watcher.stop();
    let (first, last) = (&samples[0], &samples[samples.len() - 1]);
    let grown = |column| float(last, column) - float(first, column);
    let measured = grown("cpu.user") + grown("cpu.system");
    let truth = (number(&truth, "own_cpu_us") + number(&truth, "reaped_cpu_us")) as f64 / 1e6;
    // The kernel shows whole ticks, each reading cut to the tick below.
    let ticks = 0.01 * 2.0 * samples.len() as f64;
    assert!((measured - truth).abs() <= ticks, "{measured} s measured, {truth} s true");
}
