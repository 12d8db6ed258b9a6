//! Hostile and unlucky processes, each built here, as a person at a terminal or a script meets
//! them: the command answers, tells no lie, and prints nothing that acts.
//!
//! mpp-load and the examples of mpp-collect are the processes; where they were not built, the
//! tests say by what command they are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]
#![expect(clippy::print_stdout, reason = "a process to be measured says that it is ready")]

mod harness;

#[path = "support/grammar.rs"]
mod grammar;
#[path = "../../mpp-collect/tests/support/hostile.rs"]
mod hostile_examples;
#[path = "support/load.rs"]
mod load;
#[path = "support/stranger.rs"]
mod stranger;

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use grammar::{FORMATS, Metric, Numbers, THREADS, WRITTEN, bytes_on_terminal, refuse_controls};
use harness::{Ended, Sleeper, mpp, ran, run, unique_name};
use hostile_examples::Hostile;
use load::Load;
use serde_json::Value;
use stranger::{Stranger, is_inner, is_root, wait_to_be_measured};

const MIB: u64 = 1 << 20;

/// Names that have fooled or broken others, none longer than the kernel's 15 bytes.
const NAMES: [&[u8]; 15] = [
    b") R 1 1 1",
    b"Threads:\t99999",
    b"Uid:\t1\t1\t1",
    b"two\nlines 1 1",
    b"\x1b[31mred\x1b[2J",
    b"q\"uo'te\"",
    b"\ttab\t",
    b"\r\x07\x08\x7f",
    b"\xff\xfe\xc3",
    // Cut in the middle of a letter.
    b"01234567890123\xc3",
    b"back\\slash\\x41\\",
    b"a,b=c d{}#",
    b"C1\xc2\x9b31m",
    "\u{202e}sdrawkcab".as_bytes(),
    b"1 2 3",
];

/// Starts one sleeping child under each of these names.
fn start_named(names: &[&[u8]]) -> Load {
    let hex: Vec<String> =
        names.iter().map(|name| name.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
    Load::start(&["hostile-names", "--hex", &hex.join(",")])
}

fn list_of(pids: &[u32]) -> String {
    pids.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// One sweep in each format; none may say anything on stderr.
fn shown_in(format: &str, selection: &[&str], metric: Metric) -> Numbers {
    let options = ["-i", "0", "-m", metric.dotted, "--format", format];
    let ended = ran(&[&["show"], selection, &options].concat());
    assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{format}");
    grammar::read(format, &ended.stdout, metric)
}

/// One sweep as JSON.
fn report(arguments: &[&str]) -> Value {
    let ended = ran(&[&["show", "-i", "0", "--json"], arguments].concat());
    assert_eq!(ended.status, Some(0), "{arguments:?}: {}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("JSON")
}

/// A metric of the only group.
fn metric<'a>(report: &'a Value, name: &str) -> &'a Value {
    let groups = report["groups"].as_array().expect("groups");
    assert_eq!(groups.len(), 1, "{report}");
    &groups[0]["metrics"][name]
}

fn number(report: &Value, name: &str) -> u64 {
    metric(report, name).as_u64().unwrap_or_else(|| panic!("no number `{name}`: {report}"))
}

fn trouble(report: &Value, class: &str) -> u64 {
    report["trouble"][class].as_u64().expect("a count")
}

fn pids_in(text: &str) -> BTreeSet<u32> {
    text.lines().map(|line| line.parse().expect("a PID")).collect()
}

#[test]
fn every_format_is_well_formed_whatever_processes_call_themselves() {
    let load = start_named(&NAMES);
    let pids = list_of(&load.pids());
    let expected: Numbers = NAMES.iter().map(|name| (name.to_vec(), Some(1.0))).collect();
    for format in FORMATS {
        let found = shown_in(format, &["-p", &pids, "--no-children", "--by", "name"], THREADS);
        if format == "graphite" {
            assert_eq!(found.len(), NAMES.len(), "one path each: {found:?}");
            assert!(found.values().all(|threads| *threads == Some(1.0)), "{found:?}");
        } else {
            assert_eq!(found, expected, "{format}");
        }
    }
    let of_pids: Numbers =
        load.pids().iter().map(|pid| (pid.to_string().into_bytes(), Some(1.0))).collect();
    for format in FORMATS {
        let found = shown_in(format, &["-p", &pids, "--no-children", "--by", "pid"], THREADS);
        assert_eq!(found, of_pids, "{format}");
    }
}

#[test]
fn find_prints_hostile_names_and_command_lines_on_one_line_each() {
    let load = start_named(&NAMES);
    let pids = load.pids();
    let listed = ran(&["find", "-p", &list_of(&pids), "-l"]);
    assert_eq!((listed.status, listed.stderr.as_str()), (Some(0), ""));
    refuse_controls(&listed.stdout);
    let found: BTreeSet<(u32, Vec<u8>)> = listed
        .stdout
        .lines()
        .map(|line| line.split_once(' ').expect("a PID and a name"))
        .map(|(pid, name)| (pid.parse().expect("a PID"), bytes_on_terminal(name)))
        .collect();
    let expected = pids.iter().copied().zip(NAMES.iter().map(|name| name.to_vec())).collect();
    assert_eq!(found, expected);

    let title = "x\n1 forged\u{1b}[2J\t\u{7f}\\";
    let arguments = ["huge-text", "--area", "arguments", "--bytes", "64", "--start", title];
    let retitled = Load::start(&arguments);
    let listed = ran(&["find", "-p", &retitled.pid().to_string(), "-a"]).stdout;
    refuse_controls(&listed);
    let (_, cmdline) = listed.trim_end().split_once(' ').expect("a PID and a command line");
    assert_eq!(bytes_on_terminal(cmdline), title.as_bytes());
    assert_eq!(listed.lines().count(), 1);
}

#[test]
fn sensu_measures_a_process_whatever_it_calls_itself() {
    let load = start_named(&NAMES);
    for (name, pid) in NAMES.into_iter().zip(load.pids()) {
        // The script's names end where the kernel's padding begins.
        let typed = OsStr::from_bytes(name.trim_ascii_end());
        let ended = run(mpp([OsStr::new("sensu"), OsStr::new("-n"), typed]));
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{pid}");
        refuse_controls(&ended.stdout);
        let lines: Vec<Vec<&str>> =
            ended.stdout.lines().map(|line| line.split(' ').collect()).collect();
        assert!(lines.iter().all(|words| words.len() == 3), "{}", ended.stdout);
        let value = |metric: &str| {
            let path = format!("per_process_stats.{metric}");
            lines.iter().find(|words| words[0] == path).map(|words| words[1])
        };
        // Another test may have started the same names; each process has one thread.
        let processes = value("total_processes").expect("always there");
        assert!(processes.parse::<u64>().expect("a count") >= 1, "{pid}");
        assert_eq!(value("threads"), Some(processes), "{pid}");
    }
}

#[test]
fn no_name_forges_an_owner_or_threads() {
    let load = start_named(&NAMES);
    let pids = list_of(&load.pids());
    let owner = std::fs::metadata("/proc/self").expect("procfs").uid().to_string();
    let found = ran(&["find", "-p", &pids, "-u", &owner]);
    assert_eq!(pids_in(&found.stdout), load.pids().into_iter().collect());
    // What one of them says of itself.
    assert_eq!(ran(&["find", "-p", &pids, "-u", "1"]).status, Some(1));
    let report = report(&["-p", &pids, "--no-children", "-m", "threads,processes.total"]);
    assert_eq!(number(&report, "threads"), NAMES.len() as u64);
    assert_eq!(number(&report, "processes.total"), NAMES.len() as u64);
    assert_eq!(trouble(&report, "malformed"), 0);
}

/// Whoever bears this name, dead or alive. To ask pgrep(1) would be to hang with it.
#[expect(clippy::disallowed_methods, reason = "to see what the library must not leave behind")]
fn bearers(name: &str) -> Vec<String> {
    let name = format!("({name}) ");
    let entries = std::fs::read_dir("/proc").expect("procfs").map_while(Result::ok);
    let stats = entries.filter_map(|entry| std::fs::read(entry.path().join("stat")).ok());
    stats
        .map(|stat| String::from_utf8_lossy(&stat).into_owned())
        .filter(|stat| stat.contains(&name))
        .collect()
}

/// Starts a process that holds its mmap lock for ever, or says why there is none.
fn start_holder(variable: &str) -> Option<Hostile> {
    let holder = Hostile::start("mmap_lock_holder", "mpp-holder", &[(variable, "held")]);
    if holder.is_none() {
        eprintln!("holding an mmap lock needs CAP_SYS_ADMIN and /dev/fuse");
        let fuse = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse");
        assert!(!is_root() || fuse.is_err(), "everything is there, so it should have worked");
    }
    holder
}

#[test]
fn a_process_that_holds_its_mmap_lock_for_ever_holds_up_no_command() {
    let variable = format!("MPP_HELD_{}", std::process::id());
    let Some(holder) = start_holder(&variable) else { return };
    let name = unique_name('m');
    let sleeper = Sleeper::with_environment(&name, &[(&variable, "free")]);
    let (free, held) = (sleeper.pid().to_string(), holder.pid.to_string());

    let found = ran(&["find", "-e", &variable]);
    assert_eq!(found.status, Some(0));
    // Its file system bears the variable too, and can be read.
    let pids = pids_in(&found.stdout);
    assert!(pids.contains(&sleeper.pid()) && !pids.contains(&holder.pid), "{found:?}");
    let counted = ran(&["find", "-e", &variable, "-c"]);
    assert_eq!(counted.stdout, format!("{}\n", pids.len()));
    assert!(counted.stderr.contains("could not be decided"), "{counted:?}");
    assert_eq!(ran(&["find", "-p", &held, "-a"]).stdout, format!("{held} -\n"));

    let all = report(&["-f", "", "-m", "processes.total"]);
    assert!(trouble(&all, "blocked") >= 1, "{all}");
    let pattern = format!("{name} 600");
    let by_cmdline = report(&["-f", &pattern, "-m", "processes.total"]);
    assert_eq!(number(&by_cmdline, "processes.total"), 1);
    assert!(trouble(&by_cmdline, "blocked") >= 1, "{by_cmdline}");
    let table = ran(&["show", "-f", &pattern, "-i", "0"]).stdout;
    assert!(table.contains("blocked while being read"), "{table}");

    let both = format!("{free},{held}");
    let pss = report(&["-p", &both, "--no-children", "--pss", "-m", "memory.rss,memory.pss"]);
    assert!(number(&pss, "memory.pss") > 0, "{pss}");
    assert_eq!(pss["groups"][0]["accuracy"]["memory.pss"], "lower_bound");
    assert_eq!(pss["groups"][0]["unreadable"], 1);
    let pss = report(&["-p", &held, "--no-children", "--pss", "-m", "memory.rss,memory.pss"]);
    assert!(number(&pss, "memory.rss") > 0, "{pss}");
    assert_eq!(pss["groups"][0]["why"]["memory.pss"], "reading it blocks on the process");

    let sensu = ran(&["sensu", "-n", "mpp-holder"]);
    assert_eq!(sensu.status, Some(0));
    assert!(sensu.stdout.contains("per_process_stats.memory.rss "), "{sensu:?}");
}

#[test]
fn no_helper_that_hung_on_a_process_stays_behind() {
    let variable = format!("MPP_HELD_{}", std::process::id());
    let Some(holder) = start_holder(&variable) else { return };
    // By a name of its own, the command and its helpers can be told from all others.
    let folder = tempfile::tempdir().expect("a folder");
    let name = unique_name('h');
    let copy = folder.path().join(&name);
    std::fs::copy(env!("CARGO_BIN_EXE_mpp"), &copy).expect("a copy");
    let held = holder.pid.to_string();
    for arguments in [
        &["find", "-e", &variable][..],
        &["show", "-i", "20ms", "-c", "5", "-f", "mpp"],
        &["show", "-i", "0", "-p", &held, "--pss"],
    ] {
        let output = Command::new(&copy).args(arguments).output().expect("the command starts");
        assert!(output.status.code().is_some(), "{arguments:?}: {output:?}");
        let mut patience = 500;
        while !bearers(&name).is_empty() && patience > 0 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            patience -= 1;
        }
        assert_eq!(bearers(&name), [""; 0], "{arguments:?}");
    }
}

#[test]
fn names_of_abstract_sockets_forge_no_connection() {
    const TEST: &str = "names_of_abstract_sockets_forge_no_connection";
    if is_inner() {
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let forged = |line: &str| {
            let name = format!("x{}\n{line}\n", std::process::id());
            let address = SocketAddr::from_abstract_name(name.as_bytes()).expect("a name");
            UnixListener::bind_addr(&address).expect("a listener")
        };
        let inode =
            std::fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&tcp)))
                .expect("a socket")
                .ino();
        let unix = format!("0000000000000000: 00000002 00000000 00010000 0001 01 {inode} @forged");
        let line = format!("   7: 0100007F:1F90 00000000:0000 01 0:0 0:0 0 0 0 {inode} 1");
        let _held = (tcp, udp, forged(&unix), forged(&line));
        return wait_to_be_measured();
    }
    let inner = Stranger::new().start_again(TEST, &[]);
    let pid = inner.pid().to_string();
    let report = report(&["-p", &pid, "--no-children", "-m", "conns.*"]);
    let expected = [
        ("conns.tcp.total", 1),
        ("conns.tcp.listen", 1),
        ("conns.tcp.established", 0),
        ("conns.udp.total", 1),
        ("conns.unix_sockets.total", 2),
    ];
    for (name, count) in expected {
        assert_eq!(number(&report, name), count, "{name}: {report}");
    }
    assert_eq!(report["groups"][0]["accuracy"], serde_json::json!({}), "exact");
}

#[test]
fn sockets_in_another_network_namespace_are_counted_or_unknown_and_never_zero() {
    const TEST: &str = "sockets_in_another_network_namespace_are_counted_or_unknown_and_never_zero";
    if is_inner() {
        let listeners = [(); 3].map(|()| TcpListener::bind("0.0.0.0:0").expect("a port"));
        wait_to_be_measured();
        return drop(listeners);
    }
    if !is_root() {
        eprintln!("a network namespace of one's own needs root here");
        let first = report(&["-p", "1", "--no-children", "-m", "conns.*"]);
        assert!(metric(&first, "conns.tcp.listen").is_null(), "{first}");
        return;
    }
    let stranger = Stranger::new();
    let unshare = ["unshare", "--net", "--"];
    let as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];
    let own = stranger.start_again(TEST, &[&unshare[..], &as_nobody].concat());
    let arguments = |pid: &str| {
        ["show", "-i", "0", "--no-children", "-m", "conns.*", "--json", "-p", pid].map(String::from)
    };
    let pid = own.pid().to_string();
    let truth = report(&["-p", &pid, "--no-children", "-m", "conns.*"]);
    assert_eq!(number(&truth, "conns.tcp.listen"), 3, "{truth}");
    assert_eq!(number(&truth, "conns.tcp.total"), 3, "{truth}");
    drop(own);
    // Nobody may read the descriptors of nobody's process, but not its namespace's tables;
    // of root's neither.
    for wrapper in [[&unshare[..], &as_nobody].concat(), unshare.to_vec()] {
        let inner = stranger.start_again(TEST, &wrapper);
        let arguments = arguments(&inner.pid().to_string());
        let ended = stranger.run(&arguments.each_ref().map(String::as_str));
        let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        for name in ["conns.tcp.listen", "conns.tcp.total", "conns.udp.total"] {
            assert!(metric(&report, name).is_null(), "{wrapper:?}: {report}");
            assert_eq!(report["groups"][0]["why"][name], "permission denied", "{report}");
        }
        assert_eq!(report["groups"][0]["unreadable"], 1);
    }
}

#[test]
fn a_process_whose_leader_has_exited_still_holds_its_memory() {
    let load = Load::start(&["leaderless", "--resident", "512MiB", "--comm", "mpp-leaderless"]);
    let found = ran(&["find", "mpp-leaderless", "-P", &load.pid().to_string()]);
    let pid = found.stdout.trim_end();
    assert_eq!((found.status, pids_in(pid).len()), (Some(0), 1), "{found:?}");
    let metrics = "memory.rss,processes.zombie,processes.total,threads,fds,fds.worst_percent";
    let report = report(&["-p", pid, "--no-children", "-m", metrics]);
    assert!(number(&report, "memory.rss") >= 512 * MIB, "{report}");
    assert_eq!(number(&report, "processes.zombie"), 0, "{report}");
    assert_eq!(number(&report, "processes.total"), 1, "{report}");
    assert!(number(&report, "fds") > 0, "{report}");
    let sensu = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(sensu.path(), pid).expect("written");
    let lines = ran(&["sensu", "-p", sensu.path().to_str().expect("a path")]).stdout;
    let rss = lines.lines().find_map(|line| line.strip_prefix("per_process_stats.memory.rss "));
    let bytes = rss.and_then(|rss| rss.split(' ').next()?.parse::<u64>().ok());
    assert!(bytes >= Some(512 * MIB), "{lines}");
}

/// The command with so little address space that it cannot hold what the process claims.
fn ran_in_one_gibibyte(arguments: &[&str]) -> Ended {
    let mut command = Command::new("prlimit");
    command.arg("--as=1073741824").arg(env!("CARGO_BIN_EXE_mpp")).args(arguments);
    run(command)
}

#[test]
fn texts_of_two_gibibytes_are_cut_counted_and_match_nothing() {
    for area in ["environment", "arguments"] {
        let load = Load::start(&["huge-text", "--area", area, "--start", "MPP_HUGE=x"]);
        let pid = load.pid().to_string();
        // Those who forked meanwhile may bear the variable; this process never does.
        let found = ran_in_one_gibibyte(&["find", "-p", &pid, "-e", "MPP_HUGE=x"]);
        assert_eq!((found.status, found.stdout.as_str()), (Some(1), ""), "{area}: {found:?}");
        let absent = ran_in_one_gibibyte(&["find", "-p", &pid, "-e", "!MPP_HUGE"]);
        let is_undecided = area == "environment";
        assert_eq!(absent.status, Some(if is_undecided { 1 } else { 0 }), "{area}: {absent:?}");
        let arguments = ["show", "-i", "0", "-p", &pid, "-m", "memory.rss,processes.total"];
        let shown =
            ran_in_one_gibibyte(&[&arguments[..], &["-f", "", "--json", "--no-children"]].concat());
        let report: Value = serde_json::from_str(&shown.stdout).expect("JSON");
        assert!(number(&report, "memory.rss") < 1 << 30, "{report}");
        if !is_undecided {
            assert!(trouble(&report, "truncated") >= 1, "{report}");
        }
        let by_variable = [&arguments[..], &["--by", "env:MPP_HUGE", "--json"]].concat();
        let shown = ran_in_one_gibibyte(&by_variable);
        if is_undecided {
            assert_eq!(shown.status, Some(1), "it has no row of that name: {shown:?}");
        }
        let listed = ran_in_one_gibibyte(&["find", "-p", &pid, "-a"]);
        assert!(listed.stdout.len() < 70 << 10, "{} bytes", listed.stdout.len());
        assert_eq!(listed.stdout.lines().count(), 1);
    }
}

#[test]
fn an_environment_that_was_overwritten_is_counted_where_it_was_never_seen() {
    let variable = format!("MPP_TAG_{}", std::process::id());
    let mut load = Load::start_with_environment(&["retitle"], &[(&variable, "x")]);
    let pid = load.pid().to_string();
    assert_eq!(ran(&["find", "-e", &variable]).stdout, format!("{pid}\n"));
    load.begin();
    load.wait_for("retitled");
    let late = ran(&["find", "-p", &pid, "-e", &variable]);
    assert_eq!((late.status, late.stdout.as_str()), (Some(1), ""));
    assert!(late.stderr.contains("could not be decided"), "{late:?}");
    let shown = ran(&["show", "-e", &variable, "-i", "0"]);
    assert_eq!((shown.status, shown.stdout.as_str()), (Some(1), ""));
    assert!(shown.stderr.contains("wrote over their environments"), "{shown:?}");
    let sleeper = Sleeper::with_environment(unique_name('o'), &[(&variable, "x")]);
    let seen = report(&["-e", &variable, "-m", "processes.total"]);
    assert_eq!(number(&seen, "processes.total"), 1, "{}: {seen}", sleeper.pid());
    assert!(trouble(&seen, "clobbered_environments") >= 1, "{seen}");
    let table = ran(&["show", "-e", &variable, "-i", "0"]).stdout;
    assert!(table.contains(" overwritten"), "{table}");
}

/// The hard limit, of proc_pid_limits(5).
fn descriptors_allowed() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("procfs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit");
    line.split_whitespace().nth(4).and_then(|hard| hard.parse().ok()).unwrap_or(u64::MAX)
}

#[test]
fn twenty_thousand_descriptors_are_counted_and_their_sockets_known_or_marked() {
    let count = descriptors_allowed().saturating_sub(100).min(20_000);
    eprintln!("{count} descriptors are allowed here");
    let load = Load::start(&["descriptors", "--count", &count.to_string()]);
    let pid = load.pid().to_string();
    let report = report(&["-p", &pid, "--no-children", "-m", "fds,fds.worst_percent,conns.*"]);
    assert_eq!(number(&report, "fds"), count);
    let group = &report["groups"][0];
    match metric(&report, "conns.tcp.total").as_u64() {
        // They are all the same file, which is no socket.
        Some(sockets) => assert_eq!((sockets, &group["unreadable"]), (0, &Value::from(0))),
        None => {
            assert!(group["why"]["conns.tcp.total"].is_string(), "{report}");
            assert_eq!(group["unreadable"], 1);
        }
    }
}

#[test]
fn five_thousand_zombies_are_counted_one_by_one() {
    let load = Load::start(&["zombies", "--count", "5000"]);
    let pid = load.pid().to_string();
    let report = report(&["-p", &pid, "-m", "processes.zombie,processes.total,memory.rss,fds"]);
    assert_eq!(number(&report, "processes.zombie"), 5000);
    assert_eq!(number(&report, "processes.total"), 5001);
    let found = ran(&["find", "-P", &pid, "-c"]);
    assert_eq!((found.status, found.stdout.as_str()), (Some(0), "5000\n"));
}

#[test]
fn what_a_zombie_wrote_stands_until_it_is_reaped_and_after() {
    let mut load = Load::start(&["zombie", "--hold", "3", "--bytes", "3MiB"]);
    let pid = load.pid().to_string();
    let metrics = "processes.zombie,io_counters.write_bytes";
    // To begin, the parent has made itself a folder.
    let before = number(&report(&["-p", &pid, "-m", metrics]), "io_counters.write_bytes");
    load.begin();
    let written = load.wait_for("zombie")["children_write_bytes"].as_u64().expect("bytes");
    assert!(written >= 3 * MIB);
    let truth = before + written;
    let held = report(&["-p", &pid, "-m", metrics]);
    assert_eq!(number(&held, "processes.zombie"), 1);
    if is_root() {
        assert_eq!(number(&held, "io_counters.write_bytes"), truth);
    } else {
        eprintln!("not root: a zombie's counters are closed to us");
        assert_eq!(held["groups"][0]["accuracy"]["io_counters.write_bytes"], "lower_bound");
    }
    load.wait_for("total");
    let reaped = report(&["-p", &pid, "-m", metrics]);
    assert_eq!(number(&reaped, "processes.zombie"), 0);
    assert_eq!(number(&reaped, "io_counters.write_bytes"), truth);
}

/// Measures as `nobody`, where others are hidden by these options; `None` where that cannot be.
fn measured_on_mount(options: &str, arguments: &[&str]) -> Option<Value> {
    let arguments = [&["show", "-i", "0", "--json"], arguments].concat();
    let ended = Stranger::new().run_on_mount(options, &arguments)?;
    Some(serde_json::from_str(&ended.stdout).expect("JSON"))
}

/// Without the mount, ours tells the truth about itself.
fn assert_own_procfs_is_judged_rightly() {
    eprintln!("mounting a procfs needs root");
    let found = ran(&["find", "-p", "1", "-c"]).stdout;
    let own = std::process::id().to_string();
    let report = report(&["-p", &own, "--no-children", "-m", "threads"]);
    assert_eq!(found == "1\n", report["visibility"] != "others_hidden", "{report}");
}

/// A process of `nobody`'s and one of root's, under one name.
fn check_hidden(options: &str, visibility: &str) {
    let metrics = ["-m", "processes.total,memory.rss,threads,memory.percent"];
    let everything = [&["--by", "user"], &metrics[..]].concat();
    let Some(report) = measured_on_mount(options, &everything) else {
        return assert_own_procfs_is_judged_rightly();
    };
    assert_eq!(report["visibility"], visibility, "{options}");
    for group in report["groups"].as_array().expect("groups") {
        for (name, value) in group["metrics"].as_object().expect("metrics") {
            let mark = &group["accuracy"][name];
            assert!(value.is_null() || mark == "lower_bound", "{options}: {name}: {group}");
        }
    }
}

#[test]
fn where_others_are_hidden_every_sum_is_a_lower_bound() {
    let _nobodys = start_as_nobody();
    check_hidden("hidepid=1", "others_unreadable");
    check_hidden("hidepid=2", "others_hidden");
    check_hidden("hidepid=2,subset=pid", "others_hidden");
}

/// Something that `nobody` can see everywhere.
fn start_as_nobody() -> Option<Sleeping> {
    if !is_root() {
        return None;
    }
    let mut command = Command::new("sleep");
    let child = command.arg("600").uid(stranger::NOBODY).gid(stranger::NOBODY).spawn();
    Some(Sleeping(child.expect("sleep(1)")))
}

/// Sleeps until it is dropped.
struct Sleeping(std::process::Child);

impl Drop for Sleeping {
    fn drop(&mut self) {
        self.0.kill().expect("our own child");
        self.0.wait().expect("our own child");
    }
}

#[test]
fn where_others_are_hidden_every_format_and_command_says_so() {
    let Some(nobodys) = start_as_nobody() else { return assert_own_procfs_is_judged_rightly() };
    let pid = nobodys.0.id().to_string();
    let stranger = Stranger::new();
    for (options, clause, number) in [
        ("hidepid=1", "other users' processes are unreadable", 2),
        ("hidepid=2", "other users' processes are not seen", 3),
    ] {
        let run = |arguments: &[&str]| stranger.run_on_mount(options, arguments).expect("a mount");
        let shown = |format| {
            let arguments = ["show", "-p", &pid, "-i", "0", "-m", "threads", "--format", format];
            run(&arguments).stdout
        };
        let table = shown("table");
        assert!(table.contains(clause), "{table}");
        assert_eq!(table.matches(" >=1").count(), 2, "processes and threads: {table}");
        let word = if number == 2 { "others_unreadable" } else { "others_hidden" };
        let prometheus = format!("mpp_visibility{{visibility=\"{word}\"}} 1\n");
        assert!(shown("prometheus").contains(&prometheus), "{}", shown("prometheus"));
        let graphite = format!(".mpp_report.visibility {number} ");
        assert!(shown("graphite").contains(&graphite), "{}", shown("graphite"));
        let influx = format!(",visibility={number}i");
        assert!(shown("influx").contains(&influx), "{}", shown("influx"));
        assert!(shown("csv").contains(",threads,1,lower_bound,A\n"), "{}", shown("csv"));
        assert!(shown("jsonl").contains("\"threads\":\"lower_bound\""), "{}", shown("jsonl"));
        for arguments in [
            &["find", "init", "systemd", "-c"][..],
            &["find", "no-such-name"],
            &["show", "no-such-name"],
            &["sensu", "-n", "no-such-name"],
        ] {
            let ended = run(arguments);
            assert!(
                ended.stderr.contains("processes of others"),
                "{options}: {arguments:?}: {ended:?}"
            );
        }
    }
}

#[test]
fn where_only_processes_are_mounted_the_machines_memory_is_still_known() {
    let own = start_as_nobody();
    let Some(own) = own else { return assert_own_procfs_is_judged_rightly() };
    let pid = own.0.id().to_string();
    let arguments = ["-p", &pid, "--no-children", "-m", "memory.rss,memory.percent"];
    let report = measured_on_mount("subset=pid", &arguments).expect("a mount");
    assert_eq!(report["visibility"], "whole");
    let meminfo = std::fs::read_to_string("/proc/meminfo").expect("procfs");
    let total = meminfo.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
    let expected = 100.0 * number(&report, "memory.rss") as f64 / (total.expect("KiB") * 1024.0);
    let percent = metric(&report, "memory.percent").as_f64().expect("a share");
    assert!((percent / expected - 1.0).abs() < 0.01, "{percent}, expected {expected}");
}

#[test]
fn for_nobody_the_unknown_is_never_zero() {
    let name = unique_name('z');
    let stranger = Stranger::new();
    let sleeper = Sleeper::named(&name);
    let pid = if is_root() { sleeper.pid().to_string() } else { "1".to_owned() };
    let row = pid.clone().into_bytes();
    for format in FORMATS {
        for (metric, is_known) in [(THREADS, true), (WRITTEN, false)] {
            let arguments = ["show", "-i", "0", "--no-children", "--by", "pid", "-p", &pid, "-m"];
            let options = [metric.dotted, "--format", format];
            let ended = stranger.run(&[&arguments[..], &options].concat());
            assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{format}");
            let found = grammar::read(format, &ended.stdout, metric);
            let figure = found.get(&row).copied().flatten();
            assert_eq!(figure.is_some(), is_known, "{format}: {}", ended.stdout);
        }
    }
    let rates = ["show", "-i", "30ms", "--no-children", "-p", &pid, "--json", "-m", "io"];
    let report: Value = serde_json::from_str(&stranger.run(&rates).stdout).expect("JSON");
    let metrics = report["groups"][0]["metrics"].as_object().expect("metrics");
    assert!(metrics.len() >= 14, "{report}");
    for (metric, value) in metrics {
        assert!(value.is_null(), "{metric}: {report}");
        assert_eq!(report["groups"][0]["why"][metric], "permission denied");
    }
    let sensu = stranger.run(&["sensu", "-u", "root"]);
    assert!(sensu.stdout.contains(".total_processes ") && sensu.stdout.contains(".memory.rss "));
    assert!(!sensu.stdout.contains("io_counters"), "{sensu:?}");
}

#[test]
fn a_pid_file_that_is_no_file_is_refused_without_waiting() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let made = Command::new("mkfifo").arg(path("fifo")).status();
    assert!(made.expect("mkfifo(1)").success());
    std::fs::write(path("real"), std::process::id().to_string()).expect("written");
    std::os::unix::fs::symlink(path("real"), path("link")).expect("a link");
    let _socket = UnixListener::bind(path("socket")).expect("a socket");
    std::fs::write(path("huge"), vec![b'1'; 64 << 20]).expect("written");
    std::fs::write(path("empty"), "").expect("written");
    std::fs::write(path("text"), "\u{1b}[2J").expect("written");
    for (path, expected) in [
        (path("fifo"), "found a FIFO"),
        (path("link"), "found a symbolic link"),
        (path("socket"), "found a socket"),
        (folder.path().to_owned(), "found a directory"),
        (Path::new("/dev/zero").to_owned(), "found a device"),
        (path("huge"), "expected a PID in at most 32 bytes"),
        (path("empty"), "found nothing"),
        (path("text"), "expected a digit"),
        (path("missing"), "No such file or directory"),
    ] {
        for command in ["show", "find"] {
            let arguments = [OsString::from(command), OsString::from("-F"), path.clone().into()];
            let ended = run(mpp(arguments));
            assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
            assert!(ended.stderr.contains(expected), "{ended:?}");
            assert_eq!(ended.stderr.matches("mpp: ").count(), 1, "{ended:?}");
            refuse_controls(&ended.stderr);
        }
        // The script's way: in words on stdout.
        let ended = run(mpp([OsString::from("sensu"), OsString::from("-p"), path.into()]));
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(1), ""), "{ended:?}");
        assert!(ended.stdout.contains(expected) && ended.stdout.lines().count() == 1, "{ended:?}");
        refuse_controls(&ended.stdout);
    }
}

#[test]
fn processes_that_vanish_by_the_thousand_disturb_no_command() {
    let name = unique_name('v');
    let sleeper = Sleeper::named(&name);
    let mut load = Load::start(&["vanish-storm", "--per-second", "5000", "--seconds", "3"]);
    let storm = load.pid().to_string();
    load.begin();
    load.wait_for("tick");
    for format in FORMATS {
        let found = shown_in(format, &[&name], THREADS);
        assert_eq!(found.into_values().collect::<Vec<_>>(), [Some(1.0)], "{format}");
    }
    let found = ran(&["find", &name, "-a"]);
    assert_eq!(found.stdout.lines().count(), 1, "{found:?}");
    assert!(found.stdout.starts_with(&sleeper.pid().to_string()), "{found:?}");
    let all = ran(&["show", "-i", "50ms", "-c", "10", "-m", "all", "--format", "jsonl"]);
    assert_eq!((all.status, all.stderr.as_str()), (Some(0), ""));
    let tree = ran(&["show", "-p", &storm, "-i", "50ms", "-c", "10", "-m", "all", "--json"]);
    assert_eq!((tree.status, tree.stderr.as_str()), (Some(0), ""));
    for line in tree.stdout.lines() {
        let report: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!((trouble(&report, "failed"), trouble(&report, "malformed")), (0, 0), "{line}");
        assert!(number(&report, "processes.total") >= 1, "{line}");
    }
    let sensu = ran(&["sensu", "-n", "vanish-storm"]);
    assert_eq!(sensu.status, Some(0));
    assert!(sensu.stdout.contains("total_processes "), "{sensu:?}");
    let truth = load.wait_for("total");
    assert!(truth["born"].as_u64() > Some(1000), "{truth}");
}
