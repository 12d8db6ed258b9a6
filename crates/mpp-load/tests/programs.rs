//! The programs do what they say, by the kernel's own words about them.

mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;

use support::shown::Shown;
use support::{Load, children_of, io_counters, number, state_of};

fn write_bytes(path: &str) -> u64 {
    io_counters(path)["write_bytes"]
}

/// Runs a scenario to its end: how much `/proc/PID/io` of its first process grew, and the
/// last line of truth.
fn run(arguments: &[&str]) -> (u64, serde_json::Value) {
    let mut load = Load::start(arguments);
    let path = format!("/proc/{}/io", load.pid());
    let before = write_bytes(&path);
    load.begin();
    let total = load.total();
    let grown = write_bytes(&path) - before;
    assert!(load.end());
    (grown, total)
}

/// What the first process wrote and what its reaped children wrote end up in its counter.
fn check_all_folded(arguments: &[&str]) {
    let (grown, total) = run(arguments);
    let written = number(&total, "parent_write_bytes") + number(&total, "children_write_bytes");
    assert!(written > 0, "{total}");
    assert_eq!(grown, written, "{total}");
    assert_eq!(number(&total, "born"), number(&total, "reaped"), "{total}");
}

#[test]
fn what_reaped_children_wrote_ends_up_with_their_reaper() {
    check_all_folded(&["parent-and-children", "--seconds", "1"]);
    check_all_folded(&["short-lived", "--seconds", "1"]);
    check_all_folded(&["known-ends", "--children", "50", "--threads", "1"]);
    check_all_folded(&["nested-deaths", "--seconds", "1"]);
    check_all_folded(&["double-fork", "--seconds", "1"]);
    check_all_folded(&["threads", "--seconds", "1"]);
    check_all_folded(&["churn", "--seconds", "1", "--per-second", "50"]);
    check_all_folded(&["exec-from-thread", "--seconds", "1"]);
    check_all_folded(&["change-group", "--seconds", "1"]);
    check_all_folded(&["zombie", "--hold", "0.2"]);
    check_all_folded(&["leaderless", "--seconds", "1", "--resident", "4MiB"]);
}

#[test]
fn what_children_wrote_is_folded_into_nobody_when_the_kernel_reaps_them() {
    let (grown, total) = run(&["autoreap", "--seconds", "1"]);
    assert!(number(&total, "children_write_bytes") > 0);
    assert_eq!(grown, number(&total, "parent_write_bytes"));
    assert_eq!((number(&total, "ended"), number(&total, "reaped")), (10, 0));
}

#[test]
fn what_a_daemon_wrote_does_not_reach_the_first_process_when_init_reaps_it() {
    let (grown, total) = run(&["double-fork", "--to", "init", "--seconds", "1"]);
    assert_eq!(grown, 0);
    assert!(number(&total, "children_write_bytes") >= 10 * 64 * 1024);
}

#[test]
fn workers_of_the_massindexer_wait_as_zombies_whose_counters_add_up_to_the_truth() {
    let mut load = Load::start(&[
        "massindexer",
        "--seconds",
        "1",
        "--reap-every",
        "6",
        "--rest",
        "0",
        "--worker-comm",
        "indexworker",
    ]);
    let own = format!("/proc/{}/task/{}/io", load.pid(), load.pid());
    let all = format!("/proc/{}/io", load.pid());
    let (own_before, all_before) = (write_bytes(&own), write_bytes(&all));
    load.begin();
    let all_ended = loop {
        let tick = load.wait_for("tick");
        if number(&tick, "ended") == 30 {
            break tick;
        }
    };
    let written = number(&all_ended, "children_write_bytes");
    assert_eq!(written - number(&all_ended, "metadata_bytes"), 30 << 20);
    let zombies = children_of(load.pid());
    assert_eq!(zombies.iter().map(|&pid| state_of(pid)).collect::<String>(), "Z".repeat(30));
    let held: u64 = zombies.iter().map(|pid| write_bytes(&format!("/proc/{pid}/io"))).sum();
    assert_eq!(held, written);
    assert_eq!(write_bytes(&all), all_before, "nobody was reaped yet");

    let total = load.total();
    assert_eq!(number(&total, "reaped"), 30);
    assert_eq!(write_bytes(&all) - all_before, written);
    assert_eq!(write_bytes(&own), own_before, "the parent itself writes nothing");
}

#[test]
fn a_zombie_holds_what_it_wrote_until_it_is_reaped() {
    let mut load = Load::start(&["zombie", "--hold", "1"]);
    load.begin();
    let zombie = load.wait_for("zombie");
    let pid = u32::try_from(number(&zombie, "notable_pid")).unwrap();
    assert_eq!(state_of(pid), 'Z');
    let written = write_bytes(&format!("/proc/{pid}/io"));
    assert_eq!(written, number(&zombie, "children_write_bytes"));
    let total = load.total();
    assert_eq!(number(&total, "children_write_bytes"), written);
}

#[test]
fn a_process_without_its_leader_looks_like_a_zombie_and_yet_holds_memory() {
    let load = Load::start(&["leaderless", "--resident", "16MiB"]);
    let child = children_of(load.pid())[0];
    assert_eq!(state_of(child), 'Z');
    let rss_pages = |path: String| {
        let statm = std::fs::read_to_string(path).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(rss_pages(format!("/proc/{child}/statm")), 0);
    let threads = std::fs::read_dir(format!("/proc/{child}/task")).unwrap();
    let mut tids = threads.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let living = tids.find(|tid| *tid != child.to_string()).unwrap();
    assert!(rss_pages(format!("/proc/{child}/task/{living}/statm")) * 4096 >= 16 << 20);
}

#[test]
fn both_bearers_of_a_pid_write_or_the_reason_against_it_is_told() {
    let mut load = Load::start(&["pid-reuse", "--life-ms", "50", "--bytes", "64KiB"]);
    load.begin();
    if std::fs::OpenOptions::new().write(true).open("/proc/sys/kernel/ns_last_pid").is_err() {
        assert!(!load.end(), "without the privilege it fails");
        return;
    }
    let reused = load.wait_for("reused");
    let total = load.total();
    assert_eq!(number(&reused, "notable_pid"), number(&total, "notable_pid"));
    assert!(number(&total, "children_write_bytes") >= 2 * 64 * 1024);
}

#[test]
fn cpu_time_is_used_where_it_is_said_to_be() {
    let arguments = ["burn", "--seconds", "1", "--own-ms", "20", "--child-ms", "40"];
    let (_, total) = run(&arguments);
    assert!(number(&total, "own_cpu_us") >= 200_000, "{total}");
    assert!(number(&total, "ended_cpu_us") >= 400_000, "{total}");
    assert!(number(&total, "reaped_cpu_us") >= number(&total, "ended_cpu_us"), "{total}");
}

#[test]
fn an_undumpable_process_belongs_to_root_and_writes_on() {
    let times = ["--before", "0.2", "--hidden", "0.3", "--after", "0.2"];
    let mut load = Load::start(&[&["undumpable"][..], &times].concat());
    let path = format!("/proc/{}/io", load.pid());
    let owner = || std::fs::metadata(&path).unwrap().uid();
    let (own, before) = (owner(), write_bytes(&path));
    load.begin();
    load.wait_for("hidden");
    assert_eq!(owner(), 0);
    let total = load.total();
    assert_eq!(owner(), own);
    let written = number(&total, "parent_write_bytes");
    assert!(written >= (64 << 20) + (6 << 19), "{total}");
    assert_eq!(write_bytes(&path) - before, written);
}

#[test]
fn a_storm_leaves_nobody_behind() {
    let (_, total) = run(&["vanish-storm", "--per-second", "1000", "--seconds", "1"]);
    assert!(number(&total, "born") > 100, "{total}");
    assert_eq!(number(&total, "born"), number(&total, "reaped"));
}

#[test]
fn what_stands_is_there_when_it_says_so() {
    let load = Load::start(&["zombies", "--count", "50"]);
    let children = children_of(load.pid());
    assert_eq!(children.len(), 50);
    assert!(children.into_iter().all(|pid| state_of(pid) == 'Z'));

    let load = Load::start(&["descriptors", "--count", "500"]);
    let open = std::fs::read_dir(format!("/proc/{}/fd", load.pid())).unwrap().count();
    assert_eq!(open, 500);

    let load = Load::start(&["sleepers", "--count", "600"]);
    let children = children_of(load.pid());
    assert_eq!(children.len(), 600);
    let threads = |pid: &u32| std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
    assert_eq!(children.iter().map(threads).sum::<usize>(), 600 + 50 * 3);
}

/// What the benchmark measures: 50 names, a tenth with 4 threads, another tenth with 10 to 100
/// descriptors, a fifth with sockets, and 500 TCP connections among these.
#[test]
fn sleepers_have_the_names_threads_descriptors_and_sockets_of_a_busy_host() {
    let load = Load::start(&["sleepers", "--count", "500", "--connections", "500"]);
    let all: Vec<Shown> = children_of(load.pid()).into_iter().map(Shown::of).collect();
    assert_eq!(all.len(), 500);
    let names: BTreeSet<&str> = all.iter().map(|shown| shown.comm.as_str()).collect();
    assert_eq!(names.len(), 50, "{names:?}");
    assert_eq!(all.iter().filter(|shown| shown.threads == 4).count(), 50);
    assert_eq!(all.iter().filter(|shown| shown.threads == 1).count(), 450);

    let socket_holders = all.iter().filter(|shown| shown.sockets().next().is_some());
    assert_eq!(socket_holders.count(), 100);
    let many = all.iter().filter(|shown| shown.sockets().next().is_none());
    let many: BTreeSet<_> =
        many.map(|shown| shown.descriptors.len()).filter(|&n| n >= 10).collect();
    assert_eq!(many.len(), 50, "each has another number: {many:?}");
    assert_eq!((many.first(), many.last()), (Some(&10), Some(&100)));

    let inodes: BTreeSet<&str> = all.iter().flat_map(Shown::sockets).collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let established = rows.filter(|row| row[3] == "01" && inodes.contains(row[9]));
    assert_eq!(established.count(), 2 * 500, "both ends of each connection");
}

#[test]
fn so_many_sleepers_are_active_as_were_asked_for() {
    let load = Load::start(&["sleepers", "--count", "600", "--active", "50"]);
    let children = children_of(load.pid());
    let has_written = |pid: &&u32| {
        let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
        written.parse::<u64>().unwrap() >= 512
    };
    let active = || children.iter().filter(has_written).count();
    let mut patience = 1000;
    while active() < 300 && patience > 0 {
        std::thread::sleep(std::time::Duration::from_millis(10));
        patience -= 1;
    }
    assert_eq!(active(), 300);
}

#[test]
fn sleepers_end_with_their_parent() {
    let load = Load::start(&["sleepers", "--count", "20"]);
    let children = children_of(load.pid());
    drop(load);
    for pid in children {
        let path = std::path::PathBuf::from(format!("/proc/{pid}"));
        let mut patience = 1000;
        while path.exists() && state_of(pid) != 'Z' && patience > 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            patience -= 1;
        }
        assert!(patience > 0, "{pid} lives on");
    }
}

#[test]
fn names_are_the_bytes_that_were_asked_for() {
    let names: [&[u8]; 3] = [b") R 1 1 1", b"\x1b[31m\n", b"\xff\xfe"];
    let hex: Vec<String> =
        names.iter().map(|name| name.iter().map(|b| format!("{b:02x}")).collect()).collect();
    let load = Load::start(&["hostile-names", "--hex", &hex.join(",")]);
    let pids = load.ready()["pids"].as_array().unwrap();
    for (pid, name) in pids.iter().zip(names) {
        let comm = std::fs::read(format!("/proc/{pid}/comm")).unwrap();
        assert_eq!(comm.strip_suffix(b"\n").unwrap(), name);
    }
}

#[test]
fn text_areas_are_as_long_as_asked_for() {
    for (area, file) in [("environment", "environ"), ("arguments", "cmdline")] {
        let load = Load::start(&["huge-text", "--area", area, "--bytes", "1MiB"]);
        let text = std::fs::read(format!("/proc/{}/{file}", load.pid())).unwrap();
        assert!(text.starts_with(b"TAG=x\0"), "{area}");
        // The kernel cuts arguments that do not end with NUL, never what we made.
        assert_eq!(text.len(), 1 << 20, "{area}");
    }
    let load = Load::start(&["long-environment", "--bytes", "256KiB"]);
    let pid = number(load.ready(), "notable_pid");
    let text = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(text.len() >= 256 * 1024);
    assert!(text.ends_with(b"\0TAG=x\0"));
}

#[test]
fn a_title_wipes_out_the_environment() {
    let mut load = Load::start_with_environment(&["retitle"], &[("TAG", "x")]);
    let environ = || std::fs::read(format!("/proc/{}/environ", load.pid())).unwrap();
    let holds_tag = |text: &[u8]| text.split(|&b| b == 0).any(|entry| entry == b"TAG=x");
    assert!(holds_tag(&environ()));
    load.begin();
    load.wait_for("retitled");
    let environ = std::fs::read(format!("/proc/{}/environ", load.pid())).unwrap();
    assert!(!holds_tag(&environ));
}

#[test]
fn what_is_asked_wrongly_is_refused_before_anything_is_done() {
    let check = |arguments: &[&str], expected: &str| {
        let program = env!("CARGO_BIN_EXE_mpp-load");
        let output = std::process::Command::new(program).args(arguments).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(words.starts_with(&format!("error: {expected}")), "{words}");
        assert!(output.stdout.is_empty());
    };
    check(&[], "no scenario");
    check(&["massindex"], "unknown scenario `massindex`");
    check(&["zombie", "--holt", "1"], "unknown option `--holt`");
    check(&["zombie", "--bytes", "x"], "`--bytes x`: expected bytes, such as `64KiB`");
}
