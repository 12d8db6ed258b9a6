//! CPU time of whole trees against what the kernel counts for a control group that holds
//! nothing else: children of a tenth of a millisecond and of a second, reaped and not.

#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

mod support;

use std::time::Duration;

use metrics_per_process::report::{Figure, Mark, Report, Tier, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{Monitor, metric};
use support::Load;
use support::cgroup::Cgroup;

const TIERS: [Tier; 3] = [Tier::A, Tier::B, Tier::C];

/// In what procfs counts CPU time, proc_pid_stat(5).
const TICK_SECONDS: f64 = 0.01;

/// With this variable children of 20 seconds are tried, too.
const LONG: &str = "MPP_LONG";

/// What a monitor saw of a load.
struct Seen {
    /// The best tier that is to be had, up to the one that was asked for.
    tier: Tier,
    seconds: f64,
    mark: Mark,
}

/// CPU time in both modes, and how far it can be trusted.
fn cpu(report: &Report) -> (f64, Mark) {
    let figures = report.groups[0].figures.iter().map(|figure| match figure {
        Figure::Known { value: Value::Float(seconds), mark } => (*seconds, *mark),
        other => panic!("no seconds: {other:?}"),
    });
    figures.fold((0.0, Mark::Exact), |sum, (more, mark)| (sum.0 + more, sum.1.and(mark)))
}

fn monitor(pid: u32, tier: Tier) -> Monitor {
    let selector = Selector::parse(&format!("pid:{pid}")).expect("a selector");
    let columns = metric::choose("cpu.user,cpu.system").expect("metrics of the table");
    let builder = Monitor::builder().group("load", selector).columns(columns).tier_max(tier);
    builder.build().expect("a readable procfs")
}

/// Runs a load: its CPU time as its control group has it, and as a monitor of each tier saw it.
/// `None` where no group can be made.
fn watch(arguments: &[&str]) -> Option<(f64, [Seen; 3])> {
    let group = match Cgroup::new("cpu") {
        Ok(group) => group,
        Err(error) => {
            eprintln!("CPU time cannot be compared without a control group of our own: {error}");
            return None;
        }
    };
    let mut load = Load::start(arguments);
    group.take(load.pid());
    let mut monitors = TIERS.map(|tier| monitor(load.pid(), tier));
    let mut sample = || monitors.each_mut().map(|monitor| monitor.sample().expect("a sample"));
    // What is reported before the second sample is a tier lower.
    sample();
    let (before, true_before) = (sample(), group.usage_us());
    load.begin();
    while load.line_so_far().is_none_or(|line| line["event"] != "total") {
        std::thread::sleep(Duration::from_millis(200));
        sample();
    }
    // The last of an auto-reaped process is told when the kernel has freed it.
    std::thread::sleep(Duration::from_millis(200));
    let (after, true_after) = (sample(), group.usage_us());
    let seen = std::array::from_fn(|which| {
        let ((before, _), (after, mark)) = (cpu(&before[which]), cpu(&after[which]));
        let tier = monitors[which].tier();
        Seen { tier, seconds: after - before, mark }
    });
    drop(load);
    Some(((true_after - true_before) as f64 / 1e6, seen))
}

/// Children of so many microseconds: what each tier sees of them is what it promises.
fn check(child_us: u64, children: u64) {
    let (child_us, children) = (child_us.to_string(), children.to_string());
    let work = ["work", "--child-us", &child_us, "--children", &children, "--reaped-by"];
    for (reaper, error_max) in [("parent", 0.005), ("kernel", 0.01)] {
        let Some((truth, seen)) = watch(&[&work[..], &[reaper]].concat()) else { return };
        for Seen { tier, seconds, mark } in seen {
            let error = seconds - truth;
            let context = format!("{reaper}, {child_us} us, {tier:?}: {seconds} of {truth} s");
            // Own and inherited time in both modes, each cut to whole ticks.
            let ticks = 4.0 * TICK_SECONDS;
            match (tier, reaper) {
                (Tier::A, _) => assert!(error.abs() <= truth * error_max, "{context}"),
                (_, "parent") => assert!(error.abs() <= ticks, "{context}"),
                _ => assert!(error <= ticks, "{context}"),
            }
            let promise = if tier == Tier::A { Mark::Exact } else { Mark::Estimate };
            assert_eq!(mark, promise, "{context}");
        }
    }
}

#[test]
fn children_of_a_tenth_of_a_millisecond_are_all_in_the_sum() {
    check(100, 1500);
}

#[test]
fn children_of_half_a_millisecond_are_all_in_the_sum() {
    check(500, 800);
}

#[test]
fn children_of_two_milliseconds_are_all_in_the_sum() {
    check(2000, 250);
}

#[test]
fn children_of_twenty_milliseconds_are_all_in_the_sum() {
    check(20_000, 30);
}

#[test]
fn children_of_a_second_are_all_in_the_sum() {
    check(1_000_000, 1);
    if std::env::var_os(LONG).is_some() {
        check(20_000_000, 1);
    }
}
