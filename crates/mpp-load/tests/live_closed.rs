//! Loads of another user, watched by whoever has `CAP_NET_ADMIN` and nothing else: of the living
//! the kernel tells each thread by itself, and nothing of their files may be read.
//!
//! What goes to disk is written in whole pages, so that rounding to KiB takes nothing of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

mod support;

use std::process::Command;

use serde_json::Value;
use support::show::Show;
use support::stranger::{Place, is_root, nobody_with};
use support::{Load, io_counters, number};

const WRITTEN: &str = "io_counters.write_bytes";
const WRITTEN_A_SECOND: &str = "io_counters.write_bytes_per_sec";
const WRITES: &str = "io_counters.write_count";

/// `mpp show` of these processes, by `nobody` with these capabilities.
fn show(place: &Place, held: &[&str], selection: &[&str]) -> Show {
    let starter = nobody_with(held);
    let (first, rest) = starter.split_first().unwrap();
    let columns = format!("{WRITTEN},{WRITTEN_A_SECOND},{WRITES},processes.ended");
    let mut command = Command::new(first);
    command.args(rest).arg(place.program("mpp")).arg("show").args(selection).args(["-m", &columns]);
    command.args(["-i", "250ms", "-c", "1000000", "--format", "jsonl"]);
    Show::start_command(&mut command)
}

/// A load of ours that is ready.
fn start_load(place: &Place, arguments: &[&str]) -> Load {
    let mut command = Command::new(place.program("mpp-load"));
    command.args(arguments);
    Load::start_command(command, place.folder())
}

fn all_written(truth: &Value) -> u64 {
    number(truth, "parent_write_bytes") + number(truth, "children_write_bytes")
}

fn mark<'a>(sample: &'a Value, metric: &str) -> Option<&'a str> {
    sample["accuracy"].get(metric).map(|mark| mark.as_str().unwrap())
}

/// Whether capabilities can be handed out here. Where not, others' I/O is no number.
fn may_hand_out() -> bool {
    if !is_root() {
        eprintln!("handing out capabilities needs root");
        let mut command = support::mpp();
        command.args(["show", "-p", "1", "-m", WRITTEN, "-i", "250ms", "--format", "jsonl"]);
        let sample = Show::start_command(command.args(["-c", "1000000"])).last().clone();
        assert_eq!(sample[WRITTEN], Value::Null, "{sample}");
    }
    is_root()
}

/// A whole load that was there before grows by what it writes, to the byte.
fn check(arguments: &[&str]) {
    if !may_hand_out() {
        return;
    }
    let place = Place::for_everybody();
    let mut load = start_load(&place, arguments);
    let mut show = show(&place, &["net_admin"], &["-p", &load.pid().to_string()]);
    load.begin();
    let truth = load.total();
    show.settle();
    let samples = show.end();
    let totals: Vec<u64> = samples.iter().map(|sample| number(sample, WRITTEN)).collect();
    assert!(totals.is_sorted(), "a total fell: {totals:?}");
    let grown = totals[totals.len() - 1] - totals[0];
    assert_eq!(grown, all_written(&truth), "{totals:?} {truth}");
    let last = &samples[samples.len() - 1];
    assert_eq!((&last["tier"], number(last, "unreadable")), (&Value::from("B"), 0), "{last}");
    // What it and others had done before nobody tells: neither its ended threads' deeds nor those
    // of children.
    assert_eq!(mark(last, WRITTEN), Some("lower_bound"), "{last}");
    assert_eq!(mark(last, WRITTEN_A_SECOND), Some("bound"), "{last}");
    assert_eq!(last["why"][WRITES], "permission denied", "{last}");
    assert!(number(last, "io_bound_bytes") > 0, "{last}");
    assert_eq!(mark(last, "processes.ended"), None, "{last}");
    assert_eq!(number(last, "processes.ended"), number(&truth, "ended"), "{last} {truth}");
}

#[test]
fn a_parent_and_children_that_it_reaps_count_once() {
    check(&["parent-and-children", "--seconds", "2"]);
}

#[test]
fn families_that_end_in_one_go_count_once() {
    check(&["nested-deaths", "--seconds", "2"]);
}

#[test]
fn children_that_nobody_waits_for_count() {
    check(&["autoreap", "--seconds", "2"]);
}

#[test]
fn children_too_short_to_be_seen_alive_count() {
    check(&["short-lived", "--seconds", "2"]);
}

#[test]
fn threads_that_come_and_go_count_once() {
    check(&["threads", "--seconds", "2"]);
}

#[test]
fn an_exec_from_another_thread_counts_once() {
    check(&["exec-from-thread", "--seconds", "2"]);
}

#[test]
fn a_process_without_its_leader_counts() {
    check(&["leaderless", "--seconds", "2", "--resident", "1MiB"]);
}

#[test]
fn a_zombie_held_for_a_while_counts_once() {
    check(&["zombie", "--hold", "2"]);
}

#[test]
fn what_began_while_it_was_watched_is_known_whole() {
    if !may_hand_out() {
        return;
    }
    let place = Place::for_everybody();
    let mut show = show(&place, &["net_admin"], &["--by", "name"]);
    let mut load = start_load(&place, &["threads", "--seconds", "2", "--comm", "closed-load"]);
    let before = io_counters(&format!("/proc/{}/io", load.pid()))["write_bytes"];
    load.begin();
    let truth = load.total();
    let all = before + all_written(&truth);
    let is_told = |sample: &Value| {
        sample["group"] == "closed-load" && sample[WRITTEN].as_u64().is_some_and(|told| told >= all)
    };
    let last = show.until(is_told).clone();
    assert_eq!(number(&last, WRITTEN), all, "{last} {truth}");
    assert_eq!(mark(&last, WRITTEN), Some("bound"), "{last}");
}

#[test]
fn who_may_not_hear_of_ended_threads_is_told_of_no_living_ones() {
    if !may_hand_out() {
        return;
    }
    let place = Place::for_everybody();
    let load = start_load(&place, &["threads", "--seconds", "1"]);
    let mut show = show(&place, &[], &["-p", &load.pid().to_string()]);
    let sample = show.next();
    assert_eq!((&sample["tier"], &sample[WRITTEN]), (&Value::from("C"), &Value::Null), "{sample}");
    assert_eq!(sample["why"][WRITTEN], "permission denied", "{sample}");
}
