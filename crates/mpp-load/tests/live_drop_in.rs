//! The five functions, on processes whose truth is known.

mod support;

use std::time::{Duration, Instant};

use metrics_per_process::drop_in::{
    Connections, Selection, StatValue, Stats, StatsOptions, Zeros, get_processes_stats_ex_waiting,
};
use metrics_per_process::{Error, find_pids, find_pids_from_name, multi_pid_process_stats};
use metrics_per_process::{get_processes_stats_ex, stats_per_pid};
use support::{Load, children_of, number};

fn named(name: &str) -> Selection {
    Selection { process_names: vec![name.as_bytes().to_vec()], ..Selection::default() }
}

fn float(stats: &Stats, key: &str) -> f64 {
    stats.get(key).and_then(StatValue::as_f64).unwrap_or_else(|| panic!("no number {key}"))
}

fn without_connections(interval: Duration) -> StatsOptions {
    StatsOptions { interval, connections: Connections::LeftOut, ..StatsOptions::default() }
}

#[test]
fn a_process_is_found_by_its_whole_name_and_by_its_environment() {
    let variable = ("MPP_LIVE_DROP_IN", "whole value");
    let load = Load::start_with_environment(&["zombie", "--comm", "found-by-name"], &[variable]);
    let pid = load.pid();
    let check = |selection: Selection, expected: &[u32]| {
        assert_eq!(find_pids(&selection).expect("a procfs"), expected, "{selection:?}");
    };
    assert_eq!(find_pids_from_name("found-by-name").expect("a procfs"), [pid]);
    check(named("found-by-nam"), &[]);
    let with = |key: &str, value: Option<&str>| Selection {
        process_env: vec![(key.into(), value.map(Into::into))],
        ..named("found-by-name")
    };
    check(with(variable.0, Some(variable.1)), &[pid]);
    check(with(variable.0, Some("whole")), &[]);
    check(with(variable.0, None), &[]);
    check(with("MPP_NOBODY_HAS_THIS", None), &[pid]);
    let of = |user: &str| Selection { users: vec![user.into()], ..named("found-by-name") };
    check(of("no such user"), &[]);
}

/// What is not `KEY=VALUE` is no variable, and hides none.
#[test]
fn a_title_over_the_environment_holds_no_variable() {
    let mut load = Load::start_with_environment(&["retitle"], &[("MPP_LIVE_TITLE", "x")]);
    load.begin();
    load.wait_for("retitled");
    let has_it = |value: Option<&str>| {
        let process_env = vec![("MPP_LIVE_TITLE".into(), value.map(Into::into))];
        let selection = Selection { process_env, ..Selection::default() };
        find_pids(&selection).expect("a procfs").contains(&load.pid())
    };
    assert!(has_it(None));
    assert!(!has_it(Some("x")));
}

#[test]
fn one_process_keeps_its_zeros_and_one_that_is_not_there_has_nothing() {
    let load = Load::start(&["zombie"]);
    let stats = stats_per_pid(load.pid()).expect("a procfs");
    assert_eq!(stats["cpu.percent"], StatValue::Float(0.0));
    assert_eq!(stats["memory.lib"], StatValue::Integer(0));
    assert_eq!(stats["threads"], StatValue::Integer(1));
    assert!(!stats.contains_key("total_processes"));
    for nobody in [0, 1 << 22, u32::MAX] {
        assert!(stats_per_pid(nobody).expect("a procfs").is_empty(), "{nobody}");
    }
}

#[test]
fn sums_drop_zeros_and_count_a_pid_as_often_as_it_is_given() {
    let load = Load::start(&["zombie"]);
    let pid = load.pid();
    let one = stats_per_pid(pid).expect("a procfs");
    let sums = multi_pid_process_stats(&[pid, pid, u32::MAX]).expect("a procfs");
    assert_eq!(sums["total_processes"], StatValue::Integer(2));
    assert_eq!(float(&sums, "fds"), 2.0 * float(&one, "fds"));
    assert_eq!(sums["threads"], StatValue::Integer(2));
    assert!(!sums.contains_key("memory.lib") && !sums.contains_key("cpu.percent"));
    assert!(multi_pid_process_stats(&[]).expect("a procfs").is_empty());
}

/// The defect of the original: a parent that reaps a burst seems to write it all at once.
#[test]
fn reaping_a_burst_makes_no_rate() {
    let arguments = ["massindexer", "--comm", "dropinburst", "--seconds", "2", "--reap-every", "8"];
    let mut load = Load::start(&arguments);
    load.begin();
    loop {
        let tick = load.wait_for("tick");
        if number(&tick, "ended") == 60 {
            break;
        }
    }
    let wait = |_| {
        while let Some(line) = load.line_so_far() {
            assert_eq!(number(&line, "reaped"), 0, "the first reading took seconds");
        }
        load.total();
        Ok::<(), Error>(())
    };
    let options = without_connections(Duration::from_secs(1));
    let sums = get_processes_stats_ex_waiting(&named("dropinburst"), &options, wait);
    let sums = sums.expect("a procfs");
    assert_eq!(sums["total_processes"], StatValue::Integer(1), "the zombies were reaped");
    assert!(!sums.contains_key("io_counters.write_bytes_per_sec"), "nothing was written: {sums:?}");
}

#[test]
fn what_ended_and_unseen_members_wrote_is_in_the_rate() {
    let mut load = Load::start(&["short-lived", "--comm", "dropinshort", "--seconds", "2"]);
    let (mut written, mut waited) = (0, Duration::ZERO);
    let wait = |_| {
        let began = Instant::now();
        load.begin();
        let total = load.total();
        written = number(&total, "parent_write_bytes") + number(&total, "children_write_bytes");
        waited = began.elapsed();
        Ok::<(), Error>(())
    };
    let options = without_connections(Duration::from_secs(1));
    let sums = get_processes_stats_ex_waiting(&named("dropinshort"), &options, wait);
    let sums = sums.expect("a procfs");
    let rate = float(&sums, "io_counters.write_bytes_per_sec");
    let elapsed = match &sums["fetch_time"] {
        StatValue::Text(text) => text.parse::<f64>().expect("seconds"),
        other => panic!("expected text, but found {other:?}"),
    };
    // The time between the two readings holds the wait, and the call holds that time.
    let truth = written as f64;
    assert!(rate * waited.as_secs_f64() <= truth, "{rate} B/s over {waited:?} of {truth} B");
    assert!(rate * elapsed >= truth, "{rate} B/s over {elapsed} s of {truth} B");
}

#[test]
fn a_process_that_joins_by_an_exec_brings_nothing_of_that_interval() {
    let mut load = Load::start(&["change-group", "--comm-after", "dropinafter", "--seconds", "1"]);
    let wait = |_| {
        load.begin();
        load.total();
        Ok::<(), Error>(())
    };
    let options = StatsOptions {
        zeros: Zeros::KeptWhereImportant,
        ..without_connections(Duration::from_secs(1))
    };
    let sums = get_processes_stats_ex_waiting(&named("dropinafter"), &options, wait);
    let sums = sums.expect("a procfs");
    assert_eq!(sums["total_processes"], StatValue::Integer(0), "it was not there at first");
}

#[test]
fn a_single_reading_has_no_rates() {
    let load = Load::start(&["zombie", "--comm", "dropinsingle"]);
    let options =
        StatsOptions { zeros: Zeros::KeptWhereImportant, ..without_connections(Duration::ZERO) };
    let sums = get_processes_stats_ex(&named("dropinsingle"), &options).expect("a procfs");
    assert_eq!(sums["total_processes"], StatValue::Integer(1));
    assert_eq!(sums["cpu.percent"], StatValue::Float(0.0));
    assert!(sums.keys().all(|key| !key.ends_with("_per_sec")), "{sums:?}");
    assert!(children_of(load.pid()).is_empty());
}
