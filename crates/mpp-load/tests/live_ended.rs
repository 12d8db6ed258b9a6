//! Real processes that end in every way: each is told of once, with how it ended and what it
//! wrote; and where nobody records ends, only what can be known.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use metrics_per_process::ended::{Ended, WaitStatus};
use metrics_per_process::exit::ExitSource;
use metrics_per_process::metric::MetricId;
use metrics_per_process::report::{Figure, Mark, Tier, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{EndedOptions, Monitor};
use serde_json::Value as Truth;
use support::{Load, number};

const TIERS: [Tier; 3] = [Tier::A, Tier::B, Tier::C];
const INTERVAL: Duration = Duration::from_millis(200);

/// What a monitor has told of.
#[derive(Default)]
struct Told {
    tier: Option<Tier>,
    ended: Vec<Ended>,
    lost_records: u64,
    spilled_records: u64,
    shed: u64,
}

fn monitor(selector: &str, tier_max: Tier) -> Monitor {
    let selector = Selector::parse(selector).unwrap();
    Monitor::builder()
        .group("all", selector)
        .ended(EndedOptions::default())
        .tier_max(tier_max)
        .build()
        .unwrap()
}

impl Told {
    fn take(&mut self, monitor: &mut Monitor) {
        monitor.sample().unwrap();
        let report = monitor.ended();
        self.tier = self.tier.max(Some(report.tier));
        self.ended.extend(report.processes.iter().cloned());
        self.lost_records += report.lost_records;
        self.spilled_records += report.spilled_records;
        self.shed += report.shed;
    }

    fn by_pid(&self) -> BTreeMap<u32, &Ended> {
        let by_pid: BTreeMap<u32, &Ended> =
            self.ended.iter().map(|ended| (ended.key.pid, ended)).collect();
        let is_again = |ended: &&Ended| !std::ptr::eq(by_pid[&ended.key.pid], *ended);
        let again: Vec<_> =
            self.ended.iter().filter(is_again).map(|e| (e, by_pid[&e.key.pid])).collect();
        assert!(again.is_empty(), "told of twice at {:?}: {again:?}", self.tier);
        by_pid
    }
}

/// Runs a load to its end: what was told of its children, what each of them said, and the
/// last line of truth.
fn watch(arguments: &[&str], tier_max: Tier, interval: Duration) -> (Told, Vec<Truth>, Truth) {
    let mut load = Load::start(arguments);
    let mut monitor = monitor(&format!("children-of:{}", load.pid()), tier_max);
    monitor.sample().unwrap();
    load.begin();
    let (mut told, mut truths) = (Told::default(), Vec::new());
    let total = 'load: loop {
        std::thread::sleep(interval);
        while let Some(line) = load.line_so_far() {
            match line["event"].as_str() {
                Some("ends") => truths.push(line),
                Some("total") => break 'load line,
                _ => {}
            }
        }
        told.take(&mut monitor);
    };
    told.take(&mut monitor);
    // Records that were put off come with the next one.
    told.take(&mut monitor);
    (told, truths, total)
}

fn written(ended: &Ended) -> (u64, Mark) {
    match ended.figure(MetricId::IoWriteBytes) {
        Some(Figure::Known { value: Value::Integer(bytes), mark }) => (bytes, mark),
        other => panic!("bytes, not {other:?}"),
    }
}

fn status_of(truth: &Truth) -> WaitStatus {
    let of = |key: &str| u8::try_from(number(truth, key)).unwrap();
    match truth.get("signal") {
        Some(_) => WaitStatus::Signaled { signal: of("signal"), has_dumped_core: false },
        None => WaitStatus::Exited(of("status")),
    }
}

/// Whether a process was told of as its own words have it, by what its marks promise; where no
/// record was lost, by what its tier promises.
fn check_told(ended: &Ended, truth: &Truth, tier: Tier) {
    let wrote = number(truth, "wrote");
    let bound = 1023 * number(truth, "threads");
    let (bytes, mark) = written(ended);
    match mark {
        Mark::Exact => assert_eq!(bytes, wrote, "{truth}"),
        Mark::Bound => {
            assert!(bytes <= wrote && wrote - bytes <= bound, "{bytes} of {truth}: {ended:?}");
            assert!(ended.io_bound_bytes <= bound, "{truth}");
        }
        Mark::LowerBound => assert!(bytes <= wrote, "{bytes} of {truth}"),
        Mark::Estimate => panic!("it has no children that could be mistaken for it: {truth}"),
    }
    match tier {
        Tier::A => assert_eq!(mark, Mark::Exact, "{truth}"),
        Tier::B => assert_eq!(mark, Mark::Bound, "{truth}"),
        Tier::C => {}
    }
    let told = (ended.source != ExitSource::Nobody).then(|| status_of(truth));
    assert_eq!(ended.status, told, "{truth}");
    let Some(Figure::Known { value, .. }) = ended.figure(MetricId::Uptime) else {
        panic!("no life of {truth}")
    };
    assert!(value.as_float() < 60.0, "{truth}");
}

/// Every child is told of once, as it says itself; without records only those that were seen.
fn check_ends(arguments: &[&str]) {
    check_ends_at(arguments, INTERVAL);
}

fn check_ends_at(arguments: &[&str], interval: Duration) {
    for tier_max in TIERS {
        let (told, truths, total) = watch(arguments, tier_max, interval);
        let tier = told.tier.unwrap();
        let by_pid = told.by_pid();
        let pid = |truth: &Truth| u32::try_from(number(truth, "pid")).unwrap();
        let truths: BTreeMap<u32, &Truth> =
            truths.iter().map(|truth| (pid(truth), truth)).collect();
        assert_eq!(truths.len() as u64, number(&total, "born"));
        for (pid, ended) in &by_pid {
            check_told(ended, truths[pid], tier);
        }
        let missing: BTreeSet<_> = truths.keys().filter(|pid| !by_pid.contains_key(pid)).collect();
        match tier {
            Tier::A | Tier::B => assert_eq!(missing, BTreeSet::new(), "{tier:?}"),
            Tier::C => assert!(by_pid.len() <= truths.len()),
        }
    }
}

#[test]
fn children_of_two_milliseconds_are_told_of_with_status_signal_and_bytes() {
    check_ends(&["known-ends"]);
}

#[test]
fn children_that_the_kernel_reaps_are_told_of_just_so() {
    check_ends(&["known-ends", "--reaped-by", "kernel"]);
}

#[test]
fn children_that_lived_through_some_sweeps_are_told_of_with_their_whole_life() {
    check_ends(&["known-ends", "--children", "40", "--life-ms", "500"]);
}

#[test]
fn what_threads_wrote_that_ended_long_before_is_their_processs() {
    check_ends(&["known-ends", "--children", "40", "--life-ms", "500", "--threads", "3"]);
}

/// Their records come long before they are zombies: until their memory is taken down they are
/// seen as living, by then with their last thread told of.
#[test]
fn children_that_take_long_to_end_are_told_of_once() {
    let large = ["known-ends", "--children", "12", "--batch", "2", "--resident", "256MiB"];
    check_ends_at(&large, Duration::from_millis(50));
}

/// In a storm nobody is left out and nobody told of twice.
#[test]
fn a_storm_of_five_thousand_ends_a_second_is_told_of_to_the_last() {
    for tier_max in [Tier::A, Tier::B] {
        let (told, _, total) = watch(&["vanish-storm", "--seconds", "2"], tier_max, INTERVAL);
        let by_pid = told.by_pid();
        if told.tier == Some(Tier::C) {
            assert!(by_pid.len() as u64 <= number(&total, "born"));
            continue;
        }
        let unheard = (told.lost_records, told.spilled_records, told.shed);
        assert_eq!(unheard, (0, 0, 0), "{:?}", told.tier);
        assert_eq!(by_pid.len() as u64, number(&total, "born"), "{tier_max:?}");
    }
}

#[test]
fn who_executes_something_after_the_last_sweep_is_told_of_under_its_last_name() {
    let mut command = Command::new("sh");
    let mut child = command.args(["-c", "read line; exec sleep 0"]);
    child = child.stdin(std::process::Stdio::piped());
    let mut child = child.spawn().unwrap();
    let mut monitor = monitor(&format!("pid:{}", child.id()), Tier::A);
    monitor.sample().unwrap();
    drop(child.stdin.take());
    child.wait().unwrap();
    let mut told = Told::default();
    told.take(&mut monitor);
    let name = match told.tier {
        Some(Tier::A) => b"sleep".as_slice(),
        _ => b"sh",
    };
    assert_eq!(told.ended.len(), 1);
    assert_eq!(&*told.ended[0].identity.comm, name);
    assert_eq!(told.ended[0].parent_pid, std::process::id());
}
