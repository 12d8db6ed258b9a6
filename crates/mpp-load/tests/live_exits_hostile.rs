//! `mpp exits` on a hostile host: whatever others do, each process that ends is printed once, and
//! nobody else is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::cgroup::Cgroup;
use support::forgery::{IsNobody, forge, netlink_targets};
use support::show::Show;
use support::stranger::{Place, is_root};
use support::{Load, mpp, number};

const TIERS: [&str; 3] = ["A", "B", "C"];
/// How often each message is forged. Nobody reads the socket that asks as long as nothing is asked:
/// whoever fills it waits.
const FORGED: u64 = 3;
/// Processes and threads that the bomb may have at a time.
const PIDS_MAX: u64 = 300;

/// `mpp exits` at most at this tier, which prints an object for each interval.
fn start(tier: &str, arguments: &[&str]) -> Show {
    let mut command = mpp();
    command.args(["exits", "--tier", tier, "-i", "200ms", "--json"]);
    Show::start_command(command.args(arguments))
}

/// Those that were printed whose parent this was, or everybody; each once.
fn told(samples: &[Value], parent: Option<u32>) -> Vec<&Value> {
    let all = samples.iter().flat_map(|sample| sample["ended"].as_array().unwrap());
    let told: Vec<&Value> = all
        .filter(|ended| {
            parent.is_none_or(|parent| number(ended, "parent_pid") == u64::from(parent))
        })
        .collect();
    let bearers: BTreeSet<(u64, String)> =
        told.iter().map(|ended| (number(ended, "pid"), ended["started"].to_string())).collect();
    assert_eq!(bearers.len(), told.len(), "somebody was printed twice");
    told
}

fn sum_of(told: &[&Value], metric: &str) -> u64 {
    told.iter().map(|ended| number(&ended["metrics"], metric)).sum()
}

fn all_of(samples: &[Value], what: &str) -> u64 {
    samples.iter().map(|sample| number(sample, what)).sum()
}

/// Whether records tell of all that ended: none of them is missing, in no interval.
fn is_whole(samples: &[Value]) -> bool {
    let missed = all_of(samples, "lost_records") + all_of(samples, "spilled_records");
    missed == 0 && samples.iter().all(|sample| sample["tier"] != "C")
}

#[test]
fn forged_messages_make_nobody_end_and_hide_nobody() {
    let place = Place::for_everybody();
    let mut load = Load::start(&["parent-and-children", "--seconds", "3"]);
    let mut exits = start("B", &[]);
    load.begin();
    let targets = netlink_targets(exits.pid());
    let is_told = exits.last()["tier"] == "B";
    assert_eq!(!targets.is_empty(), is_told, "records come over netlink alone");
    if is_told {
        let (sent, refused) = forge(&place, &targets, IsNobody::Yes, FORGED);
        assert!(sent == 0 && refused > 0, "the kernel lets only some send");
        let (sent, refused) = forge(&place, &targets, IsNobody::No, FORGED);
        assert_eq!(is_root(), sent > 0 && refused == 0, "{sent} sent, {refused} refused");
    }
    let truth = load.total();
    exits.settle();
    let (samples, _) = exits.end_with_words();
    let is_forged = |ended: &&Value| ended["name"].as_str().unwrap().starts_with("name\n");
    assert_eq!(told(&samples, None).into_iter().find(is_forged), None);
    let told = told(&samples, Some(load.pid()));
    let (count, born) = (told.len() as u64, number(&truth, "born"));
    let is_whole = is_whole(&samples);
    let context = format!("{count} told, {truth}");
    assert!(count == born || (count < born && !is_whole), "{context}");
    let written = number(&truth, "children_write_bytes");
    let bound: u64 = told.iter().map(|ended| number(ended, "io_bound_bytes")).sum();
    let found = sum_of(&told, "io_counters.write_bytes");
    let least = if is_whole { written - bound } else { 0 };
    assert!((least..=written).contains(&found), "{found} written, {bound} unsure, {context}");
}

#[test]
fn a_fork_bomb_in_a_control_group_that_limits_it_is_printed_to_the_last_fork() {
    for tier in TIERS {
        let group = match Cgroup::with_pids_max(&format!("bomb-{tier}"), PIDS_MAX) {
            Ok(group) => group,
            Err(error) => {
                assert!(!is_root(), "a control group of our own: {error}");
                return eprintln!("a bomb without a control group of its own is none: {error}");
            }
        };
        // No limit of its user stands in its way.
        let mut bomb = Load::start(&["fork-bomb", "--limit", "10000", "--seconds", "1"]);
        group.take(bomb.pid());
        let mut exits = start(tier, &["-P", &bomb.pid().to_string()]);
        bomb.begin();
        let truth = bomb.total();
        assert!(group.refused_forks() > 0, "it never came to its limit");
        exits.settle();
        let (samples, words) = exits.end_with_words();
        let (born, said) = (number(&truth, "born"), number(&truth, "thrown_away_bytes"));
        assert!(born > PIDS_MAX, "{truth}");
        let told = told(&samples, None);
        let found = told.len() as u64 + all_of(&samples, "shed");
        let is_whole = is_whole(&samples);
        let context = format!("{tier}: {} told, {truth} {words}", told.len());
        assert!(found == born || (found < born && !is_whole), "{context}");
        let chars = sum_of(&told, "io_counters.write_chars");
        let is_all = is_whole && found == told.len() as u64;
        assert!(chars == said || (chars < said && !is_all), "{chars} written, {context}");
    }
}
