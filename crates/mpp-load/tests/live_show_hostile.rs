//! `mpp show` on a hostile host: what processes do to be overlooked, forgotten or believed changes
//! none of its totals, and what it had to do without is counted in what it prints.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use serde_json::Value;
use support::forgery::{IsNobody, forge, netlink_targets};
use support::show::{Show, growth, metric, trouble};
use support::stranger::{Place, is_root};
use support::{Load, children_of, io_counters, mpp, number};

const TIERS: [&str; 3] = ["A", "B", "C"];
const WRITTEN: &str = "io_counters.write_bytes";
const ENDED: &str = "processes.ended";
const CHARS: &str = "io_counters.write_chars";
/// A user to whom nothing else belongs, so that the limit on processes is the bomb's own.
const BOMBER: u32 = 45_123;

/// Somebody who bears a variable, so that there is a group before anybody else joins it.
fn start_bearer(variable: &str) -> Load {
    Load::start_with_environment(&["zombies", "--count", "0"], &[(variable, "x")])
}

/// A daemon that bears a variable until it writes a title over it, and then has workers.
fn start_daemon(variable: &str, life_ms: &str) -> Load {
    let workers = ["--workers", "20", "--life-ms", life_ms, "--bytes", "64KiB"];
    Load::start_with_environment(&[&["retitle"][..], &workers].concat(), &[(variable, "x")])
}

/// The group of those alone that bear a variable themselves.
fn show_bearers(tier: &str, interval: &str, variable: &str) -> Show {
    let columns = format!("processes.total,{ENDED},{WRITTEN}");
    let arguments = ["-e", variable, "--no-children", "-m", &columns];
    Show::start(tier, interval, &arguments)
}

/// All that the workers of a daemon did is in the group, within what a record is rounded by.
fn check_workers(samples: &[Value], total: &Value) {
    let truth = number(total, "children_write_bytes");
    let found = growth(samples, WRITTEN);
    let bounds = samples.iter().map(|sample| number(sample, "io_bound_bytes"));
    let bound = bounds.max().unwrap();
    assert!((truth - bound..=truth).contains(&found), "{found} of {truth}, {bound} unsure");
}

#[test]
fn a_daemon_that_wrote_over_its_environment_stays_in_its_group_with_workers_forked_later() {
    for tier in TIERS {
        let variable = format!("MPP_SHOW_{}_{tier}", std::process::id());
        let mut load = start_daemon(&variable, "1500");
        let mut show = show_bearers(tier, "200ms", &variable);
        // Its environment may still be on its way in the first sample.
        show.until(|sample| metric(sample, "processes.total") == 1);
        let first = show.samples.len() - 1;
        load.begin();
        load.wait_for("retitled");
        let all = show.until(|sample| metric(sample, "processes.total") == 21);
        assert!(trouble(all, "remembered_environments") > 0, "{all}");
        // Who comes late finds titles alone, and says so.
        let late = Command::new(mpp().get_program()).args(["show", "-e", &variable]).output();
        let late = late.unwrap();
        let words = String::from_utf8(late.stderr).unwrap();
        assert_eq!((late.status.code(), late.stdout.as_slice()), (Some(1), &b""[..]), "{words}");
        assert!(words.contains("wrote over their environments"), "{words}");
        let total = load.total();
        show.settle();
        let samples = show.end();
        let samples = &samples[first..];
        let mut totals = samples.iter().map(|sample| metric(sample, "processes.total"));
        assert!(totals.clone().all(|total| (1..=21).contains(&total)), "{tier}");
        assert_eq!(totals.next_back(), Some(1), "the daemon itself is there to the end");
        assert_eq!(growth(samples, ENDED), number(&total, "born"), "{tier}");
        check_workers(samples, &total);
    }
}

#[test]
fn workers_too_short_to_be_seen_alive_belong_to_the_daemon_that_wrote_over_its_environment() {
    for tier in TIERS {
        let variable = format!("MPP_SHORT_{}_{tier}", std::process::id());
        let mut load = start_daemon(&variable, "1");
        let mut show = show_bearers(tier, "250ms", &variable);
        show.until(|sample| metric(sample, "processes.total") == 1);
        let first = show.samples.len() - 1;
        load.begin();
        let total = load.total();
        show.settle();
        let samples = show.end();
        let samples = &samples[first..];
        let (ended, born) = (growth(samples, ENDED), number(&total, "born"));
        match samples[0]["tier"].as_str().unwrap() {
            "A" | "B" => assert_eq!(ended, born, "{tier}"),
            // Nobody tells of those that no sweep saw.
            _ => assert!(ended <= born, "{ended} of {born}"),
        }
        check_workers(samples, &total);
    }
}

/// Whom no sweep sees in between has ended when the daemon is first seen, and init is its parent
/// then. Who forked it tells whose environment it has; elsewhere that the places of its code and
/// stack are those of the one that is known.
#[test]
fn a_daemon_forked_twice_after_its_environment_was_written_over_stays_in_its_group() {
    for (tier, life_ms) in [("A", "1500"), ("A", "1"), ("B", "1500"), ("C", "1500")] {
        let variable = format!("MPP_TWICE_{}_{tier}_{life_ms}", std::process::id());
        let workers = ["--workers", "20", "--life-ms", life_ms, "--bytes", "64KiB"];
        let arguments = [&["retitle", "--forker", "daemon"][..], &workers].concat();
        let mut load = Load::start_with_environment(&arguments, &[(&variable, "x")]);
        let mut show = show_bearers(tier, "200ms", &variable);
        show.until(|sample| metric(sample, "processes.total") == 1);
        let first = show.samples.len() - 1;
        load.begin();
        let total = load.total();
        show.settle();
        let samples = show.end();
        let (samples, last) = (&samples[first..], samples.last().unwrap());
        if last["tier"] == "A" {
            assert_eq!(metric(last, "processes.total"), 2, "itself and its daemon: {last}");
            assert_eq!(growth(samples, ENDED), number(&total, "born") - 1, "{life_ms}");
            check_workers(samples, &total);
        } else {
            assert_eq!(metric(last, "processes.total"), 2, "itself and its daemon: {last}");
            assert!(trouble(last, "remembered_environments") >= 1, "{tier}: {last}");
        }
    }
}

/// So soon after its exec that no sweep has seen it, nobody else can know what stood there.
#[test]
fn a_daemon_that_writes_over_its_environment_at_once_is_known_by_its_exec() {
    let variable = format!("MPP_EXEC_{}", std::process::id());
    let bearer = start_bearer(&variable);
    let mut shows = TIERS.map(|tier| show_bearers(tier, "1500ms", &variable));
    for show in &mut shows {
        show.until(|sample| metric(sample, "processes.total") == 1);
    }
    let firsts = shows.each_ref().map(|show| show.samples.len() - 1);
    let mut load = start_daemon(&variable, "1");
    let before = io_counters(&format!("/proc/{}/io", load.pid()))["write_bytes"];
    load.begin();
    let total = load.total();
    shows.iter_mut().for_each(Show::settle);
    for (show, first) in shows.into_iter().zip(firsts) {
        let samples = show.end();
        let last = samples.last().unwrap();
        if last["tier"] == "A" {
            assert_eq!(metric(last, "processes.total"), 2, "{last}");
            assert_eq!(growth(&samples[first..], ENDED), number(&total, "born"));
            let truth = before + number(&total, "children_write_bytes");
            assert_eq!(growth(&samples[first..], WRITTEN), truth);
            continue;
        }
        // Where a sweep came in between it is known, else it is known that it cannot be.
        let (there, unknown) = (metric(last, "processes.total"), "clobbered_environments");
        assert!(there == 2 || (there == 1 && trouble(last, unknown) >= 1), "{last}");
    }
    assert!(bearer.end());
}

#[test]
fn forged_messages_change_no_total_and_are_counted() {
    let place = Place::for_everybody();
    let mut load = Load::start(&["parent-and-children", "--seconds", "3"]);
    let before = io_counters(&format!("/proc/{}/io", load.pid()))["write_bytes"];
    let columns = format!("{WRITTEN},{ENDED},conns.tcp.total,net.tcp.*,delays.cpu");
    let pid = load.pid().to_string();
    let mut show = Show::start("B", "200ms", &["-p", &pid, "-m", &columns]);
    // Whoever is asked for delays has been asked once.
    show.settle();
    load.begin();
    let targets = netlink_targets(show.pid());
    assert!(targets.split(',').count() >= 2, "{targets}");
    let (sent_by_nobody, refused) = forge(&place, &targets, IsNobody::Yes, 20);
    assert!(sent_by_nobody == 0 && refused > 0, "the kernel lets only some send");
    let (sent, refused) = forge(&place, &targets, IsNobody::No, 20);
    assert_eq!(is_root(), sent > 0 && refused == 0, "{sent} sent, {refused} refused");
    let truth = load.total();
    show.settle();
    let samples = show.end();
    let last = samples.last().unwrap();
    let forged: u64 = samples.iter().map(|sample| trouble(sample, "forged_messages")).sum();
    assert_eq!(forged, sent);
    assert!(samples.iter().all(|sample| number(sample, "lost_records") == 0));
    if last["tier"] == "B" {
        assert_eq!(growth(&samples, ENDED), number(&truth, "born"));
    }
    let written = number(&truth, "parent_write_bytes") + number(&truth, "children_write_bytes");
    let (found, bound) = (growth(&samples, WRITTEN), number(last, "io_bound_bytes"));
    assert!((written - bound..=written).contains(&found), "{found} of {written}, {bound} unsure");
    assert_eq!(metric(&samples[0], WRITTEN), before);
    for moved in ["net.tcp.sent_bytes", "net.tcp.received_bytes"] {
        let found = samples.iter().filter_map(|s| s["groups"][0]["metrics"][moved].as_u64());
        let found: Vec<u64> = found.collect();
        assert!(!found.is_empty() && found.iter().all(|bytes| *bytes == 0), "{moved}: {found:?}");
    }
}

/// CPU time that a process and its children have used, the helpers of a command: nanoseconds of
/// proc_pid_schedstat(5), all threads.
fn cpu_ns(pid: u32) -> u64 {
    let of_thread = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0)
    };
    let of_process = |pid: u32| {
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        tasks.map(|task| of_thread(task.unwrap().path())).sum::<u64>()
    };
    of_process(pid) + children_of(pid).into_iter().map(of_process).sum::<u64>()
}

/// How many processes there are.
fn processes() -> u64 {
    let names = std::fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit)).count() as u64
}

/// CPU time that ten samples cost, for each of the processes that there are.
fn cost_of_a_process(show: &mut Show) -> f64 {
    show.settle();
    let (count, before, first) = (processes(), cpu_ns(show.pid()), show.samples.len());
    while show.samples.len() < first + 10 {
        show.next();
    }
    let samples = (show.samples.len() - first) as f64;
    (cpu_ns(show.pid()) - before) as f64 / samples / count as f64
}

#[test]
fn five_thousand_zombies_cost_no_more_each_than_others_and_all_are_counted() {
    let columns = "processes.zombie,processes.total,threads";
    let quiet = start_bearer("MPP_ZOMBIES");
    let start = |tier, load: &Load| {
        Show::start(tier, "200ms", &["-p", &load.pid().to_string(), "-m", columns])
    };
    let mut shows = TIERS.map(|tier| start(tier, &quiet));
    let costs_before = shows.each_mut().map(cost_of_a_process);
    let crowd = Load::start(&["zombies", "--count", "5000"]);
    let costs = shows.each_mut().map(cost_of_a_process);
    for (cost, before) in costs.iter().zip(costs_before) {
        // What grew with the square of their number would be thirty times as much.
        assert!(*cost <= 2.0 * before, "{costs:?} ns each, {costs_before:?} without zombies");
    }
    shows.into_iter().for_each(|show| drop(show.end()));
    let mut shows = TIERS.map(|tier| start(tier, &crowd));
    shows.iter_mut().for_each(Show::settle);
    for sample in shows.into_iter().flat_map(Show::end) {
        assert_eq!(metric(&sample, "processes.zombie"), 5000, "{sample}");
        assert_eq!(metric(&sample, "processes.total"), 5001, "{sample}");
        let classes = ["failed", "malformed", "given_up_readings", "dropped_readings"];
        assert_eq!(classes.map(|class| trouble(&sample, class)), [0; 4], "{sample}");
    }
}

#[test]
fn a_fork_bomb_is_counted_to_the_last_fork_by_no_more_than_a_sweep_an_interval() {
    let place = Place::for_everybody();
    for tier in TIERS {
        let mut command = Command::new(place.program("mpp-load"));
        command.arg("fork-bomb");
        if !is_root() {
            eprintln!("a limit on processes of one's own needs another user, so root");
            return assert_eq!(command.args(["--limit", "0"]).status().unwrap().code(), Some(1));
        }
        command.uid(BOMBER).gid(BOMBER);
        let mut bomb = Load::start_command(command, place.folder());
        let pid = bomb.pid().to_string();
        let own_io = || io_counters(&format!("/proc/{pid}/task/{pid}/io"))["wchar"];
        let columns = format!("processes.total,{ENDED},{CHARS}");
        let mut show = Show::start(tier, "200ms", &["-p", &pid, "-m", &columns]);
        show.settle();
        let own_before = own_io();
        let shown_before = metric(show.last(), CHARS);
        bomb.begin();
        let truth = bomb.total();
        show.settle();
        let own = own_io() - own_before;
        let samples = show.end();
        check_bomb(tier, &samples, shown_before, own, &truth);
    }
}

fn check_bomb(tier: &str, samples: &[Value], shown_before: u64, own: u64, truth: &Value) {
    let last = samples.last().unwrap();
    let (born, said) = (number(truth, "born"), number(truth, "thrown_away_bytes"));
    assert!(born > 300, "{truth}");
    let found = (growth(samples, ENDED), metric(last, CHARS) - shown_before);
    // A lost record of somebody's who is no member leaves the tier as it is.
    if samples.iter().all(|sample| sample["tier"] == samples[0]["tier"]) {
        let ended = if last["tier"] == "C" { found.0 } else { born };
        assert!(found.0 <= born, "{found:?} {truth}");
        assert_eq!(found, (ended, said + own), "{tier}: {truth}");
    } else {
        let lost: u64 = samples.iter().map(|sample| number(sample, "lost_records")).sum();
        assert!(lost > 0 && found.0 <= born && found.1 <= said + own, "{lost} {found:?} {truth}");
    }
    let intervals = samples.iter().filter_map(|sample| sample["interval_sec"].as_f64());
    // The clock of a timer may be ahead by a moment.
    assert!(
        intervals.clone().all(|interval| interval > 0.15),
        "{:?}",
        intervals.collect::<Vec<_>>()
    );
}
