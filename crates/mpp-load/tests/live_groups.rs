//! Whose it is what a process wrote that changed: by an exec that gives it another name or
//! another environment, or by the end of those from whom it has its group.
//!
//! All that a process did up to the sample that sees its exec is its old group's, and from then
//! on all is its new one's; together it is the truth, byte for byte, at every tier.

mod support;

use std::sync::atomic::{AtomicU32, Ordering};

use metrics_per_process::report::Tier;
use serde_json::Value;
use support::moment::{Moment, SLICE_BYTES, Watcher};
use support::{Load, number};

/// What each watcher saw of a load, with its words for it.
struct Watched {
    seen: Vec<(String, Vec<Moment>)>,
    total: Value,
}

fn watch(arguments: &[&str], environment: &[(&str, &str)], groups: &[&str]) -> Watched {
    let mut load = Load::start_with_environment(arguments, environment);
    let groups: Vec<String> =
        groups.iter().map(|group| group.replace("PID", &load.pid().to_string())).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let watchers = Watcher::start_all(&load, &groups);
    load.begin();
    let total = load.total();
    let seen = watchers.into_iter().map(|watcher| {
        let what = format!("{arguments:?} {groups:?} at {watcher}");
        (what, watcher.stop())
    });
    let seen = seen.collect();
    Watched { seen, total }
}

fn everything(truth: &Value) -> u64 {
    number(truth, "parent_write_bytes") + number(truth, "children_write_bytes")
}

/// By how much each group grew from the baseline on.
fn growth(moments: &[Moment]) -> Vec<u64> {
    let (first, last) = (&moments[0], &moments[moments.len() - 1]);
    last.written.iter().zip(&first.written).map(|(last, first)| last - first).collect()
}

fn worst_tier(moments: &[Moment]) -> Option<Tier> {
    moments.iter().map(|moment| moment.tier).max()
}

/// A name or value that no other test uses at the same time.
fn unique(word: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{word}{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The first group has all up to the sample in which the second has a member, the second all
/// from then on. A machine that is busy enough may let nobody look in between.
fn check_change(watched: &Watched) {
    let all = everything(&watched.total);
    let after_exec = number(&watched.total, "after_exec_write_bytes");
    for (what, moments) in &watched.seen {
        let grown = growth(moments);
        assert_eq!(grown.iter().sum::<u64>(), all, "{what}: {grown:?}");
        let lives_changed = |m: &&Moment| m.before.after_exec > 0 && m.after.ended == 0;
        let Some(looked) = moments.iter().position(|moment| moment.processes[1] > 0) else {
            assert!(moments.iter().find(lives_changed).is_none(), "{what}: nobody changed");
            continue;
        };
        let (before, changed) = (&moments[looked - 1], &moments[looked]);
        let least = after_exec.saturating_sub(changed.after.after_exec + SLICE_BYTES);
        assert!(grown[1] >= least, "{what}: {grown:?}, at least {least}");
        let most = after_exec + SLICE_BYTES - changed.before.after_exec;
        let was_seen = before.processes[0] > 1;
        assert!(grown[1] <= most || !was_seen, "{what}: {grown:?}, at most {most}");
    }
}

#[test]
fn an_exec_under_another_name_changes_the_group() {
    let (before, after) = (unique("cg-"), unique("ca-"));
    let arguments = ["change-group", "--comm", &before, "--comm-after", &after];
    let groups = [format!("name:{before}"), format!("name:{after}")];
    check_change(&watch(&arguments, &[], &groups.each_ref().map(String::as_str)));
}

#[test]
fn an_exec_with_another_environment_changes_the_group() {
    let (before, after) = (unique("before"), unique("after"));
    let variable = format!("MPP_GROUP={after}");
    let arguments = ["change-group", "--variable-after", &variable];
    let groups = [format!("env:MPP_GROUP={before}"), format!("env:{variable}")];
    let groups = groups.each_ref().map(String::as_str);
    check_change(&watch(&arguments, &[("MPP_GROUP", &before)], &groups));
}

#[test]
fn an_exec_that_matches_nothing_keeps_the_group() {
    let value = unique("kept");
    let group = format!("env:MPP_GROUP={value}");
    let watched = watch(&["change-group"], &[("MPP_GROUP", &value)], &[&group]);
    for (what, moments) in &watched.seen {
        assert_eq!(growth(moments), [everything(&watched.total)], "{what}");
    }
}

#[test]
fn who_executes_something_writes_and_ends_between_two_samples_belongs_by_what_it_was_last() {
    let (before, after) = (unique("sx-"), unique("sa-"));
    let variable = format!("MPP_GROUP={after}");
    let arguments = ["short-execs", "--comm", &before, "--comm-after", &after];
    let arguments = [&arguments[..], &["--variable-after", &variable]].concat();
    let by_name = [format!("name:{before}"), format!("name:{after}")];
    let by_variable = [format!("env:MPP_GROUP={before}"), format!("env:{variable}")];
    for (groups, exact) in [(by_name, Tier::B), (by_variable, Tier::A)] {
        let groups = groups.each_ref().map(String::as_str);
        let watched = watch(&arguments, &[("MPP_GROUP", &before)], &groups);
        let (all, children) =
            (everything(&watched.total), number(&watched.total, "children_write_bytes"));
        for (what, moments) in &watched.seen {
            let grown = growth(moments);
            assert_eq!(grown.iter().sum::<u64>(), all, "{what}: {grown:?}");
            assert!(grown[1] <= children, "{what}: {grown:?}");
            // Of whom a sample saw before the exec, the first group has all up to the next one.
            let seen = moments.iter().map(|moment| moment.processes[0].saturating_sub(1));
            let firsts = seen.sum::<u64>() * SLICE_BYTES;
            let is_exact = worst_tier(moments) <= Some(exact);
            assert!(grown[1] + firsts >= children || !is_exact, "{what}: {grown:?}");
        }
    }
}

/// A daemon whose parent is long gone, and the children that it begins after that, are still
/// descendants of the one that began all that, whoever adopts the daemon.
fn check_orphans(adopter: &str, writer: &str, parent_life_ms: &str, group: &str) {
    let name = unique("do-");
    let arguments = ["double-fork", "--comm", &name, "--seconds", "2", "--to", adopter];
    let arguments = [&arguments[..], &["--writer", writer, "--life-ms", parent_life_ms]].concat();
    let watched = watch(&arguments, &[], &[&group.replace("NAME", &name)]);
    let all = everything(&watched.total);
    for (what, moments) in &watched.seen {
        let grown = growth(moments)[0];
        assert!(grown <= all, "{what}: {grown} of {all}");
        // Who forked a process that only its end tells of is known at tier A alone; what an
        // adopter waits for that is no member is told by records alone.
        let is_seen = moments.iter().any(|m| m.processes[0] >= 2 && m.after.ended == 0);
        let is_whole = match worst_tier(moments) {
            Some(Tier::A) => true,
            Some(Tier::B) => is_seen,
            _ => is_seen && adopter == "subreaper",
        };
        assert!(grown == all || !is_whole, "{what}: {grown} of {all}");
    }
}

#[test]
fn a_daemon_whose_parent_is_long_gone_belongs_where_that_belonged() {
    check_orphans("subreaper", "daemon", "1300", "children-of:NAME");
    check_orphans("init", "daemon", "1300", "children-of:PID");
}

#[test]
fn what_a_daemon_begins_whose_parent_is_long_gone_belongs_where_that_belonged() {
    check_orphans("subreaper", "child", "1300", "children-of:PID");
    check_orphans("init", "child", "1300", "children-of:NAME");
}

#[test]
fn a_daemon_whose_parent_nobody_saw_belongs_where_that_belonged() {
    check_orphans("subreaper", "daemon", "0", "children-of:NAME");
    check_orphans("init", "child", "0", "children-of:PID");
}
