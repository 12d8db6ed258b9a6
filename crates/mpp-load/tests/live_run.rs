//! `mpp run` on loads that know their truth: every byte of the whole tree, daemons included, and
//! the memory that all of it held at once; with every privilege and with none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use support::{mpp, number};

/// `nobody`, to whom nothing belongs.
const NOBODY: u32 = 65_534;

/// Who runs the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runner {
    Ourselves,
    Nobody,
}

/// Copies of both programs where anybody may execute them, and a folder for whoever does.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn for_everybody() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Place { folder };
        place.open(place.folder.path());
        fs::copy(mpp().get_program(), place.path("mpp")).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_mpp-load"), place.path("mpp-load")).unwrap();
        fs::create_dir(place.path("work")).unwrap();
        fs::set_permissions(place.path("work"), PermissionsExt::from_mode(0o777)).unwrap();
        place
    }

    fn open(&self, path: &Path) {
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a scenario: its last line of truth, and what `mpp run` says of it.
    fn run(&self, runner: Runner, options: &[&str], scenario: &[&str]) -> (Value, Value) {
        let work = self.path("work");
        // Nobody may not write what is ours.
        let cost = work.join(format!("{runner:?}.json"));
        let mut command = Command::new(self.path("mpp"));
        command.args(["run", "--quiet", "-o"]).arg(&cost).args(options).arg("--");
        command.arg(self.path("mpp-load")).args(scenario).arg("--directory").arg(&work);
        command.args(["--start-after", "0", "--end-after", "0"]);
        command.current_dir(&work).stdin(Stdio::null());
        if runner == Runner::Nobody && fs::metadata("/proc/self").unwrap().uid() == 0 {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), words.as_ref()), (Some(0), ""), "{scenario:?}");
        let truth = String::from_utf8(output.stdout).unwrap();
        let total = truth.lines().last().expect("a line of truth");
        let cost = serde_json::from_slice(&fs::read(cost).unwrap()).unwrap();
        (serde_json::from_str(total).unwrap(), cost)
    }
}

fn metric(cost: &Value, name: &str) -> f64 {
    cost["metrics"][name].as_f64().unwrap_or_else(|| panic!("no number `{name}` in {cost}"))
}

fn written(truth: &Value) -> u64 {
    number(truth, "parent_write_bytes") + number(truth, "children_write_bytes")
}

/// Large processes, small writers and a daemon: every byte, and the peak within a tenth.
fn check_tree(runner: Runner, tier: &str) {
    let place = Place::for_everybody();
    let (truth, cost) = place.run(runner, &["--tier", tier], &["tree"]);
    let of_files = written(&truth) - number(&truth, "metadata_bytes");
    assert_eq!(of_files, 48 << 20, "{truth}");
    assert_eq!(cost["metrics"]["io_counters.write_bytes"], written(&truth), "{runner:?}: {cost}");
    assert_eq!(cost["accuracy"].get("io_counters.write_bytes"), None, "exact: {cost}");
    let peak = number(&truth, "peak_rss_bytes") as f64;
    let found = metric(&cost, "memory.peak");
    assert!((found / peak - 1.0).abs() < 0.1, "{runner:?}: {found} is not near {peak}");
    let largest = cost["largest_process_rss"].as_f64().unwrap();
    assert!(largest > 200.0 * 1_048_576.0 && largest < peak / 3.0, "{cost}");
    // The daemon, which lives on for 300 ms, was waited for.
    let (command, whole) = (cost["command_sec"].as_f64(), cost["interval_sec"].as_f64());
    assert!(whole.unwrap() - command.unwrap() > 0.1, "{cost}");
    assert_eq!(cost["still_running"], Value::Array(Vec::new()));
    check_programs(&truth, &cost, tier);
}

/// With a record of each process the programs are exact, at tier B but for the rounding.
fn check_programs(truth: &Value, cost: &Value, tier: &str) {
    let found = cost["tier"].as_str().unwrap();
    assert!(found >= tier, "{cost}");
    if found == "C" {
        assert!(tier == "C" || cost["lost_records"] != 0 || !is_privileged(), "{cost}");
        return;
    }
    assert_eq!(cost["agreement"], "same", "{cost}");
    // Four large ones, forty writers, the daemon, who forked it, and the first of all.
    assert_eq!(cost["metrics"]["processes.ended"], 47, "{cost}");
    assert_eq!(cost["accuracy"].get("processes.ended"), None, "exact: {cost}");
    let programs = cost["programs"].as_array().unwrap();
    assert_eq!((programs.len(), &programs[0]["name"]), (1, &Value::from("tree")), "{cost}");
    let mark = if found == "A" { Value::Null } else { Value::from("bound") };
    assert_eq!(programs[0]["accuracy"]["io_counters.write_bytes"], mark, "{cost}");
    let bound = cost["io_bound_bytes"].as_f64().unwrap();
    let missing = written(truth) as f64 - metric(&programs[0], "io_counters.write_bytes");
    assert!((0.0..=bound).contains(&missing), "{missing} of {bound}: {cost}");
    assert!((bound > 0.0) == (found == "B"), "{cost}");
}

/// Whether records of ended processes can be had at all.
fn is_privileged() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn a_reaped_tree_is_counted_to_the_byte_by_the_record_of_each_process() {
    check_tree(Runner::Ourselves, "A");
}

#[test]
fn a_reaped_tree_is_counted_to_the_byte_where_records_are_rounded() {
    check_tree(Runner::Ourselves, "B");
}

#[test]
fn a_reaped_tree_is_counted_to_the_byte_by_looking_alone() {
    check_tree(Runner::Ourselves, "C");
}

#[test]
fn a_reaped_tree_is_counted_to_the_byte_without_any_privilege() {
    let place = Place::for_everybody();
    let (_, cost) = place.run(Runner::Nobody, &[], &["short-lived", "--seconds", "0"]);
    assert_eq!(cost["tier"], "C", "{cost}");
    check_tree(Runner::Nobody, "C");
}

#[test]
fn an_earlier_run_of_another_tier_is_said_to_be_one() {
    let place = Place::for_everybody();
    let scenario = ["short-lived", "--seconds", "0"];
    place.run(Runner::Ourselves, &["--tier", "C"], &scenario);
    let before = place.path("work").join("before.json");
    fs::rename(place.path("work").join("Ourselves.json"), &before).unwrap();
    let compare = ["--compare", before.to_str().unwrap()];
    let (_, cost) = place.run(Runner::Ourselves, &compare, &scenario);
    assert_eq!(cost["compared_tier"], "C", "{cost}");
}

/// What a scenario wrote, to the byte; its CPU time within a hundredth or a millisecond.
fn check_exact(place: &Place, runner: Runner, scenario: &[&str]) {
    let (truth, cost) = place.run(runner, &[], scenario);
    let found = &cost["metrics"]["io_counters.write_bytes"];
    assert_eq!(found, written(&truth), "{scenario:?}: {truth} {cost}");
    assert_eq!(cost["accuracy"].get("io_counters.write_bytes"), None, "{scenario:?}: {cost}");
    let true_us = number(&truth, "own_cpu_us") + number(&truth, "reaped_cpu_us");
    let cpu = metric(&cost, "cpu.user") + metric(&cost, "cpu.system");
    let beyond = cpu - true_us as f64 / 1e6;
    assert!((-0.0005..0.05).contains(&beyond), "{scenario:?}: {beyond} s of {truth} {cost}");
}

#[test]
fn short_lives_threads_and_deep_trees_are_exact() {
    let place = Place::for_everybody();
    for runner in [Runner::Ourselves, Runner::Nobody] {
        check_exact(&place, runner, &["short-lived", "--seconds", "1"]);
        check_exact(&place, runner, &["nested-deaths", "--seconds", "1"]);
        check_exact(&place, runner, &["threads", "--seconds", "1"]);
        check_exact(&place, runner, &["exec-from-thread", "--seconds", "1"]);
        check_exact(&place, runner, &["double-fork", "--to", "init", "--seconds", "1"]);
    }
}

#[test]
fn cpu_time_of_many_short_lives_is_the_schedulers_own() {
    let place = Place::for_everybody();
    let scenario = ["burn", "--seconds", "1", "--own-ms", "20", "--child-ms", "40"];
    check_exact(&place, Runner::Nobody, &scenario);
}

/// What nobody waits for is told by records alone.
fn check_autoreap(runner: Runner, tier: &str) {
    let place = Place::for_everybody();
    let (truth, cost) = place.run(runner, &["--tier", tier], &["autoreap", "--seconds", "1"]);
    assert_eq!(cost["reaped_by"], "kernel", "{cost}");
    let (found, true_bytes) = (metric(&cost, "io_counters.write_bytes"), written(&truth) as f64);
    if cost["tier"] == "A" {
        assert_eq!(cost["accuracy"].get("io_counters.write_bytes"), None, "exact: {cost}");
        assert!((0.0..=65_536.0).contains(&(found - true_bytes)), "{truth} {cost}");
        assert_eq!(
            cost["metrics"]["processes.ended"],
            number(&truth, "born") + 1,
            "{truth} {cost}"
        );
        return;
    }
    assert!(tier != "A" || cost["lost_records"] != 0 || !is_privileged(), "{cost}");
    for name in ["io_counters.write_bytes", "cpu.user", "page_faults.minor"] {
        assert_eq!(cost["accuracy"][name], "lower_bound", "{cost}");
    }
    let parent = number(&truth, "parent_write_bytes") as f64;
    assert!(found >= parent && found <= true_bytes + 65_536.0, "{truth} {cost}");
}

#[test]
fn children_that_the_kernel_reaps_are_told_by_their_records() {
    check_autoreap(Runner::Ourselves, "A");
}

#[test]
fn children_that_the_kernel_reaps_make_what_is_known_a_lower_bound_without_exact_records() {
    check_autoreap(Runner::Ourselves, "B");
    check_autoreap(Runner::Ourselves, "C");
    check_autoreap(Runner::Nobody, "C");
}

#[test]
fn programs_are_told_apart_and_do_not_add_up_to_more_than_the_whole() {
    let place = Place::for_everybody();
    let scenario =
        ["parent-and-children", "--seconds", "2", "--life-ms", "200", "--worker-comm", "worker"];
    let (truth, cost) = place.run(Runner::Ourselves, &[], &scenario);
    let programs = cost["programs"].as_array().unwrap();
    let of = |name: &str| programs.iter().find(|program| program["name"] == name);
    let written = |program: &Value| metric(program, "io_counters.write_bytes");
    let (worker, parent) = (of("worker").unwrap(), of("parent-and-chil").unwrap());
    let (theirs, own) =
        (number(&truth, "children_write_bytes"), number(&truth, "parent_write_bytes"));
    assert!((written(worker) / theirs as f64 - 1.0).abs() < 0.25, "{truth} {cost}");
    assert!((written(parent) / own as f64 - 1.0).abs() < 0.25, "{truth} {cost}");
    let sum: f64 = programs.iter().map(written).sum();
    assert!(sum <= metric(&cost, "io_counters.write_bytes"), "{cost}");
}

#[test]
fn what_outlives_the_command_is_counted_up_to_when_it_is_not_waited_for_any_more() {
    let place = Place::for_everybody();
    for runner in [Runner::Ourselves, Runner::Nobody] {
        let scenario = ["tree", "--large", "1", "--writers", "1", "--outlives-ms", "3000"];
        let (truth, cost) = place.run(runner, &["--no-wait"], &scenario);
        assert_eq!(cost["metrics"]["io_counters.write_bytes"], written(&truth), "{cost}");
        assert_eq!(cost["accuracy"]["cpu.user"], "estimate", "ticks: {cost}");
        assert_eq!(cost["accuracy"]["ctx_switches.voluntary"], "lower_bound", "{cost}");
        let left = cost["still_running"].as_array().unwrap();
        assert_eq!(left.len(), 1, "{cost}");
        assert_eq!(left[0]["name"], "tree", "{cost}");
        let (command, whole) = (cost["command_sec"].as_f64(), cost["interval_sec"].as_f64());
        assert!(whole.unwrap() - command.unwrap() < 2.0, "{cost}");
    }
}

/// Looks are told how well ends are known; what they only infer themselves is an estimate, and
/// what they see at a moment is neither.
#[test]
fn each_look_of_a_series_says_how_far_it_can_be_trusted() {
    for tier in ["A", "C"] {
        let place = Place::for_everybody();
        let path = place.path("work").join("series");
        let options = ["--tier", tier, "-i", "20ms", "--series", path.to_str().unwrap()];
        let (_, cost) = place.run(Runner::Ourselves, &options, &["tree"]);
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(lines.len() > 2, "{text}");
        let is_told = cost["tier"] == "A";
        assert!(tier != "A" || is_told || cost["lost_records"] != 0 || !is_privileged(), "{cost}");
        for line in &lines {
            assert!(!is_told || line["tier"] == "A", "{line}");
            assert!(tier != "C" || line["tier"] == "C", "{line}");
            let mark = |name: &str| line["accuracy"][name].as_str();
            assert_eq!(mark("cpu.user"), Some("estimate"), "{line}");
            assert_eq!(mark("io_counters.write_bytes"), Some("estimate"), "{line}");
            assert_eq!((mark("memory.rss"), mark("processes.total")), (None, None), "{line}");
            let of_ends = (!is_told).then_some("lower_bound");
            assert_eq!(mark("processes.ended"), of_ends, "{line}");
        }
        let ended = lines.last().unwrap()["processes.ended"].as_u64();
        assert!(ended > Some(0) && ended <= cost["metrics"]["processes.ended"].as_u64(), "{text}");
    }
}
