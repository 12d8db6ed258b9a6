//! PIDs that are used again: within a clock tick, so that PID and start time are the same, and in
//! a PID namespace. Nobody is counted twice, nobody is left out whom a record tells of, and no
//! total falls.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

mod support;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use metrics_per_process::report::{Figure, Report, Tier, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{Monitor, metric};
use serde_json::Value as Truth;
use support::stranger::{Place, is_root};
use support::{Load, number};

/// What each of the twins writes, and what taskstats round that down to.
const TWIN_BYTES: u64 = 3000;
const TWIN_BYTES_ROUNDED: u64 = 2048;

/// More than the lines come to that the first process writes, and the choice of PIDs.
const WORDS_MAX: u64 = 64 << 10;

/// Between two samples: so long that many pairs come and go, and so short that many are caught.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::ZERO];

/// No more of those that others start bear a twin's PID in its tick.
const STRANGERS_MAX: u64 = 8;

const COLUMNS: &str = "io_counters.write_chars,processes.ended,cpu.user,cpu.system";

fn monitor(group: &str, pid: u32, tier: Tier) -> Monitor {
    let selector = Selector::parse(&format!("{group}:{pid}")).unwrap();
    let builder = Monitor::builder().group("twins", selector).tier_max(tier);
    builder.columns(metric::choose(COLUMNS).unwrap()).build().unwrap()
}

fn figure(report: &Report, column: &str) -> Value {
    let position = report.columns.iter().position(|c| c.name() == column).unwrap();
    match report.groups[0].figures[position] {
        Figure::Known { value, .. } => value,
        Figure::Absent(why) => panic!("no {column}: {why}"),
    }
}

fn integer(report: &Report, column: &str) -> u64 {
    match figure(report, column) {
        Value::Integer(number) => number,
        Value::Float(_) => panic!("{column} is whole"),
    }
}

/// Samples while the load goes on, with this pause between: bytes and ends that were counted, the
/// truth, and how well ends were seen.
fn watch_twins(group: &str, tier: Tier, pause: Duration) -> (u64, u64, Truth, Tier) {
    let mut load = Load::start(&["twins", "--bytes", &TWIN_BYTES.to_string()]);
    let mut monitor = monitor(group, load.pid(), tier);
    let mut reports = vec![monitor.sample().unwrap(), monitor.sample().unwrap()];
    load.begin();
    let mut truth = None;
    while truth.is_none() {
        std::thread::sleep(pause);
        reports.push(monitor.sample().unwrap());
        truth = load.line_so_far().filter(|line| line["event"] == "total");
    }
    // Records that were put off come with the next one.
    reports.extend([monitor.sample().unwrap(), monitor.sample().unwrap()]);
    let found = reports.iter().skip(2).map(|report| report.accuracy.tier).max();
    for column in COLUMNS.split(',') {
        let levels: Vec<f64> = reports.iter().map(|r| figure(r, column).as_float()).collect();
        assert!(levels.is_sorted(), "{column} fell at {tier:?}: {levels:?}");
    }
    let last = &reports[reports.len() - 1];
    let grown = |column| integer(last, column) - integer(&reports[1], column);
    let counted = (grown("io_counters.write_chars"), grown("processes.ended"));
    (counted.0, counted.1, truth.unwrap(), found.unwrap())
}

/// Whether the next PID can be chosen, without which there are no twins.
fn may_choose_pids() -> bool {
    if is_root() {
        return true;
    }
    eprintln!("choosing the next PID needs root");
    let mut load = Load::start(&["twins"]);
    load.begin();
    assert!(!load.end(), "without the privilege it fails");
    false
}

#[test]
fn twins_within_a_clock_tick_are_told_apart_by_their_records() {
    if !may_choose_pids() {
        return;
    }
    for pause in PAUSES {
        let (bytes, ended, truth, found) = watch_twins("children-of", Tier::A, pause);
        assert!(number(&truth, "twins") > 0, "{truth}");
        assert_eq!(found, Tier::A, "{pause:?}: {truth}");
        let expected = (number(&truth, "thrown_away_bytes"), number(&truth, "born"));
        assert_eq!((bytes, ended), expected, "{pause:?}: {truth}");
    }
}

#[test]
fn twins_within_a_clock_tick_are_never_more_than_there_were_by_rounded_records() {
    if !may_choose_pids() {
        return;
    }
    for pause in PAUSES {
        let (bytes, ended, truth, found) = watch_twins("children-of", Tier::B, pause);
        let (born, thrown_away) = (number(&truth, "born"), number(&truth, "thrown_away_bytes"));
        let least = born * TWIN_BYTES_ROUNDED;
        assert!(bytes >= least - least / 100, "{pause:?} {found:?} {bytes}: {truth}");
        assert!(bytes <= thrown_away, "{pause:?} {found:?} {bytes}: {truth}");
        // A stranger that comes under a twin's PID in its tick is taken for it, too.
        assert!(ended <= born + STRANGERS_MAX, "{pause:?} {found:?} {ended}: {truth}");
    }
}

#[test]
fn twins_within_a_clock_tick_are_never_counted_twice_by_polling() {
    if !may_choose_pids() {
        return;
    }
    for pause in PAUSES {
        let (bytes, ended, truth, _) = watch_twins("pid", Tier::C, pause);
        let thrown_away = number(&truth, "thrown_away_bytes");
        // All of them are reaped by the first process, which is there.
        let expected = thrown_away..=thrown_away + WORDS_MAX;
        assert!(expected.contains(&bytes), "{pause:?} {bytes}: {truth}");
        assert!(ended <= number(&truth, "born"), "{pause:?} {ended}: {truth}");
    }
}

/// Inside, PIDs begin at 1, and the last one is the namespace's own to choose.
#[test]
fn in_a_pid_namespace_the_next_bearer_of_a_pid_is_another() {
    let place = Place::for_everybody();
    let folder = place.folder();
    let work = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    const SCRIPT: &str = "\"$1\" pid-reuse --directory \"$3\" --start-after 1 --end-after 3 \
            > \"$2/truth\" & \
        \"$0\" show pid-reuse -i 200ms -c 22 -m io_counters.write_bytes --format jsonl && wait";
    let unshare = ["--pid", "--fork", "--mount-proc", "--", "sh", "-c", SCRIPT];
    let mut command = Command::new("unshare");
    command.args(unshare).arg(place.program("mpp")).arg(place.program("mpp-load"));
    let output = command.arg(folder.path()).arg(work.path()).stdin(Stdio::null()).output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    if !output.status.success() {
        eprintln!("{words}");
        assert!(!is_root(), "root may: {words}");
        return;
    }
    let shown = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Truth> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let written: Vec<u64> =
        lines.iter().map(|line| number(line, "io_counters.write_bytes")).collect();
    assert!(written.is_sorted(), "{written:?}");
    assert!(lines.iter().all(|line| line["tier"] == "C"), "{shown}");
    let truth = fs::read_to_string(folder.path().join("truth")).unwrap();
    let truth = truth.lines().find(|line| line.contains("\"total\"")).unwrap();
    let truth: Truth = serde_json::from_str(truth).unwrap();
    // The folder may be there before the first sample; the truth itself is a page of a file.
    let found = written[written.len() - 1];
    let children = number(&truth, "children_write_bytes");
    let most = children + number(&truth, "parent_write_bytes") + (64 << 10);
    assert!((children..=most).contains(&found), "{found}: {truth}");
}
