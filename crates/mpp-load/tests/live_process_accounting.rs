//! With process accounting on, acct(5), the kernel has every process write an entry of 64 bytes
//! as it ends, after its record: what records tell is the truth all the same, and what is
//! inferred from what reapers inherit is too high by just that.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use metrics_per_process::report::{Figure, Report, Tier, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{Monitor, metric};
use serde_json::Value as Truth;
use support::stranger::{Place, is_root};
use support::{Load, mpp, number};

/// What accounting writes for one process, and in how many calls.
const ENTRY_BYTES: u64 = 64;
const ENTRY_CALLS: u64 = 1;

/// A page of the file for 64 entries, and blocks of its filesystem's.
const BLOCKS_BYTES_MAX: u64 = 64 << 10;

/// What each child writes to where nothing keeps it, and how many children there are.
const CHILD_BYTES: u64 = 3072;
const CHILDREN: u64 = 150;

/// More than the lines come to that the first process writes, and more than their calls.
const WORDS_MAX: u64 = 16 << 10;

/// Process accounting of the whole machine. Dropping it switches it off.
struct Accounting(Option<Load>);

impl Accounting {
    /// `None` where it may not be switched on.
    fn switch_on() -> Option<Self> {
        if !is_root() {
            eprintln!("switching process accounting on needs root");
            return None;
        }
        Some(Accounting(Some(Load::start(&["accounting"]))))
    }
}

impl Drop for Accounting {
    fn drop(&mut self) {
        let has_ended = self.0.take().is_some_and(Load::end);
        assert!(has_ended || std::thread::panicking(), "accounting was switched off");
    }
}

/// Runs a storm under a monitor: by how much each column of its group grew, and the truth.
fn watch(tier: Tier, group: &str, columns: &[&str]) -> (Vec<u64>, Tier, Truth) {
    let (children, bytes) = (CHILDREN.to_string(), CHILD_BYTES.to_string());
    let numbers = ["--children", &children, "--bytes", &bytes, "--per-second", "300"];
    let mut load = Load::start(&[&["vanish-storm"][..], &numbers].concat());
    let selector = Selector::parse(&format!("{group}:{}", load.pid())).unwrap();
    let mut monitor = Monitor::builder()
        .group("storm", selector)
        .columns(metric::choose(&columns.join(",")).unwrap())
        .tier_max(tier)
        .build()
        .unwrap();
    let mut reports = vec![monitor.sample().unwrap(), monitor.sample().unwrap()];
    load.begin();
    let truth = loop {
        std::thread::sleep(Duration::from_millis(100));
        reports.push(monitor.sample().unwrap());
        match load.line_so_far() {
            Some(line) if line["event"] == "total" => break line,
            _ => {}
        }
    };
    reports.push(monitor.sample().unwrap());
    let last = &reports[reports.len() - 1];
    let grown = columns.iter().map(|column| figure(last, column) - figure(&reports[1], column));
    let worst = reports.iter().skip(2).map(|report| report.accuracy.tier).max();
    (grown.collect(), worst.unwrap(), truth)
}

fn figure(report: &Report, column: &str) -> u64 {
    let position = report.columns.iter().position(|c| c.name() == column).unwrap();
    match report.groups[0].figures[position] {
        Figure::Known { value: Value::Integer(number), .. } => number,
        other => panic!("expected a number in `{column}`, but found {other:?}"),
    }
}

const COLUMNS: [&str; 2] = ["io_counters.write_chars", "io_counters.write_bytes"];

#[test]
fn records_do_not_tell_what_accounting_writes() {
    let Some(_accounting) = Accounting::switch_on() else { return };
    for tier in [Tier::A, Tier::B] {
        let (grown, found, truth) = watch(tier, "children-of", &COLUMNS);
        assert_eq!(number(&truth, "born"), CHILDREN);
        if found == tier {
            assert_eq!(grown, [CHILDREN * CHILD_BYTES, 0], "{tier:?}: {truth}");
        } else {
            assert!(grown[0] <= CHILDREN * (CHILD_BYTES + ENTRY_BYTES) + WORDS_MAX, "{grown:?}");
        }
    }
}

#[test]
fn what_is_inherited_is_too_high_by_an_entry_for_each_that_ended() {
    let Some(_accounting) = Accounting::switch_on() else { return };
    let columns = ["io_counters.write_chars", "io_counters.write_count", COLUMNS[1]];
    let (grown, _, truth) = watch(Tier::C, "pid", &columns);
    let truly = [CHILDREN * CHILD_BYTES, CHILDREN, 0];
    let charged = [CHILDREN * ENTRY_BYTES, CHILDREN * ENTRY_CALLS, CHILDREN * BLOCKS_BYTES_MAX];
    for (grown, (truly, charged)) in grown.iter().zip(truly.into_iter().zip(charged)) {
        let most = truly + charged + WORDS_MAX;
        assert!((truly..=most).contains(grown), "{grown} of {truly} to {most}: {truth}");
    }
    assert!(grown[0] >= truly[0] + charged[0], "accounting was on: {grown:?}");
}

#[test]
fn a_run_leaves_out_what_accounting_wrote_and_says_so() {
    let Some(_accounting) = Accounting::switch_on() else { return };
    let place = Place::for_everybody();
    let (folder, cost) = (place.folder(), place.folder());
    let cost = cost.path().join("cost.json");
    let mut command = mpp();
    command.args(["run", "--summary", "markdown", "-o"]).arg(&cost);
    command.arg("--").arg(place.program("mpp-load"));
    command.args(["short-lived", "--seconds", "1", "--start-after", "0", "--end-after", "0"]);
    command.arg("--directory").arg(folder.path()).stdin(Stdio::null());
    let output = command.output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    let cost: Truth = serde_json::from_slice(&std::fs::read(&cost).unwrap()).unwrap();
    assert_eq!(output.status.code(), Some(0), "{words}");
    if cost["tier"] == "C" && cost["lost_records"] != 0 {
        return;
    }
    assert_eq!((&cost["tier"], &cost["agreement"]), (&"A".into(), &"same".into()), "{cost}");
    assert_eq!(cost["accuracy"].get(COLUMNS[1]), None, "exact: {cost}");
    let ended = &cost["metrics"]["processes.ended"];
    let sentence = format!("what it wrote in the name of {ended} ended processes is left out");
    assert!(words.contains(&sentence), "{sentence}: {words}");
    let truth = String::from_utf8(output.stdout).unwrap();
    let truth: Truth = serde_json::from_str(truth.lines().last().unwrap()).unwrap();
    let written = number(&truth, "parent_write_bytes") + number(&truth, "children_write_bytes");
    assert_eq!(cost["metrics"][COLUMNS[1]], written, "{truth}");
}
