//! The command on processes of this machine, started for the purpose.

mod harness;

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, Command, Stdio};

use harness::{Ended, Sleeper, mpp, ran, rest, run, unique_name, words_beside_ends};

fn pids(text: &str) -> Vec<u32> {
    let mut pids: Vec<u32> = text.lines().map(|line| line.parse().expect("a PID")).collect();
    pids.sort_unstable();
    pids
}

#[test]
fn find_and_pgrep_agree_where_only_the_name_can_match() {
    let name = unique_name('p');
    let sleepers: Vec<Sleeper> = (0..3).map(|_| Sleeper::named(&name)).collect();
    let pgrep = Command::new("pgrep").args(["-x", &name]).output().expect("pgrep(1)");
    let found = ran(&["find", &name]);
    assert_eq!(pids(&found.stdout), pids(&String::from_utf8_lossy(&pgrep.stdout)));
    assert_eq!(pids(&found.stdout).len(), sleepers.len());
    assert_eq!(found.status, pgrep.status.code());
}

#[test]
fn find_and_pgrep_agree_that_nothing_is_there() {
    let name = unique_name('n');
    let pgrep = Command::new("pgrep").args(["-x", &name]).output().expect("pgrep(1)");
    let found = ran(&["find", &name]);
    assert_eq!((found.status, found.stdout.as_str()), (pgrep.status.code(), ""));
    assert_eq!(found.status, Some(1));
}

#[test]
fn find_lists_names_command_lines_and_counts() {
    let name = unique_name('l');
    let sleeper = Sleeper::named(&name);
    let pid = sleeper.pid();
    assert_eq!(ran(&["find", &name, "-l"]).stdout, format!("{pid} {name}\n"));
    assert_eq!(ran(&["find", &name, "-c"]).stdout, "1\n");
    let listed = ran(&["find", &name, "-a"]).stdout;
    assert!(listed.starts_with(&format!("{pid} /")) && listed.ends_with("600\n"), "{listed}");
    let twice = Sleeper::named(&name);
    let mut both = [pid, twice.pid()];
    both.sort_unstable();
    assert_eq!(ran(&["find", &name, "-d", ","]).stdout, format!("{},{}\n", both[0], both[1]));
}

#[test]
fn a_name_longer_than_the_kernels_is_found_whole() {
    let name = format!("{}-longer-than-fifteen", unique_name('w'));
    let sleeper = Sleeper::named(&name);
    assert_eq!(pids(&ran(&["find", &name]).stdout), [sleeper.pid()]);
}

#[test]
fn who_listens_on_a_port_is_found_and_what_it_transfers_is_shown() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let listener = std::net::TcpListener::bind(address).expect("loopback");
        let end = listener.local_addr().expect("an address");
        let (itself, port) = (std::process::id(), end.port().to_string());
        assert!(pids(&ran(&["find", "--port", &port]).stdout).contains(&itself), "{address}");
        let listed = ran(&["find", "--port", &format!("1,{port}-{port}"), "-c"]);
        assert_ne!(listed.stdout, "0\n", "{address}");
        let excluded = format!("port:{port}");
        let others = ran(&["find", "-p", &itself.to_string(), "-x", &excluded]);
        assert_eq!((others.status, others.stdout.as_str()), (Some(1), ""), "{address}");
        let mut client = std::net::TcpStream::connect(end).expect("a connection");
        let mut server = listener.accept().expect("a connection").0;
        client.write_all(b"0123456789").expect("a listener");
        server.read_exact(&mut [0; 10]).expect("ten bytes");
        let shown = ran(&["show", "--port", &port, "-i", "0", "-m", "net.tcp.*", "--json"]);
        let report: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
        assert_eq!(report["groups"][0]["name"], format!("port:{port}"));
        let metrics = &report["groups"][0]["metrics"];
        assert!(metrics["net.tcp.sent_bytes"].as_u64() >= Some(10), "{report}");
        assert!(metrics["net.tcp.received_bytes"].as_u64() >= Some(10), "{report}");
        assert!(metrics["net.tcp.retransmits"].is_u64(), "{report}");
    }
}

#[test]
fn a_group_is_measured_and_its_mark_says_how_well() {
    let name = unique_name('g');
    let _sleeper = Sleeper::named(&name);
    let shown = ran(&["show", &name, "-i", "50ms", "-m", "processes.total,threads", "--json"]);
    assert_eq!((shown.status, shown.stderr.as_str()), (Some(0), ""));
    let report: serde_json::Value = serde_json::from_str(&shown.stdout).expect("JSON");
    assert_eq!(report["groups"][0]["metrics"]["processes.total"], 1);
    assert_eq!(report["groups"][0]["metrics"]["threads"], 1);
    assert!(["A", "B", "C"].contains(&report["tier"].as_str().expect("a letter")));
    assert!(report["interval_sec"].as_f64() > Some(0.0));
}

#[test]
fn as_many_samples_are_printed_as_were_asked_for() {
    let name = unique_name('c');
    let _sleeper = Sleeper::named(&name);
    let shown = ran(&["show", &name, "-i", "20ms", "-c", "3", "--format", "jsonl"]);
    assert_eq!((shown.status, shown.stdout.lines().count()), (Some(0), 3));
    let single = ran(&["show", &name, "-i", "0", "--format", "jsonl"]);
    let line: serde_json::Value = serde_json::from_str(&single.stdout).expect("JSON");
    assert!(line["interval_sec"].is_null(), "{line}");
}

/// Waits until the process catches SIGINT: bit 1 of `SigCgt` in proc_pid_status(5).
fn wait_until_it_catches_sigint(child: &Child) {
    let path = format!("/proc/{}/status", child.id());
    loop {
        let status = std::fs::read_to_string(&path).expect("the command runs");
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.expect("SigCgt").trim(), 16).expect("a mask");
        if caught & 0b10 != 0 {
            return;
        }
        std::thread::yield_now();
    }
}

fn interrupt(child: &Child) {
    let kill = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(kill.expect("kill(1)").success());
}

#[test]
fn ctrl_c_prints_what_was_measured_so_far() {
    let name = unique_name('i');
    let _sleeper = Sleeper::named(&name);
    let child = mpp(["show", &name, "-i", "1h", "--format", "jsonl"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    wait_until_it_catches_sigint(&child);
    interrupt(&child);
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one line");
    assert_eq!(line["processes.total"], 1);
    assert!(line["interval_sec"].as_f64() < Some(3600.0), "{line}");
}

#[test]
fn ctrl_c_between_samples_ends_without_another() {
    let name = unique_name('j');
    let _sleeper = Sleeper::named(&name);
    let mut child = mpp(["show", &name, "-i", "10ms", "-c", "1000000", "--format", "jsonl"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
    lines.read_line(&mut String::new()).expect("a first sample");
    interrupt(&child);
    for line in rest(lines).lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("whole lines only");
    }
    assert_eq!(child.wait().expect("the command ends").code(), Some(0));
}

#[test]
fn a_closed_pipe_ends_it_silently() {
    let name = unique_name('q');
    let _sleeper = Sleeper::named(&name);
    for format in ["table", "json", "jsonl", "csv", "graphite", "prometheus", "influx"] {
        let mut child = mpp(["show", &name, "-i", "10ms", "-c", "1000000", "--format", format])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe"));
        lines.read_line(&mut String::new()).expect("a first line");
        drop(lines);
        let output = child.wait_with_output().expect("the command ends");
        assert_eq!(output.status.code(), Some(0), "{format}");
        let stderr = String::from_utf8(output.stderr).expect("text");
        assert!(words_beside_ends(&stderr).is_empty(), "{format}: {stderr}");
    }
}

#[test]
fn output_that_cannot_be_written_is_said() {
    let full = std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    let mut command = mpp(["metrics"]);
    let output = command.stdout(full).output().expect("the command starts");
    assert_eq!(output.status.code(), Some(3));
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(words, "mpp: cannot write the output: No space left on device (os error 28)\n");
}

/// No terminal obeys, and no parser stumbles over, what a process chose to be called.
fn check_tame(ended: &Ended, arguments: &[&str]) {
    assert_eq!(ended.status, Some(0), "{arguments:?}: {}", ended.stderr);
    for text in [&ended.stdout, &ended.stderr] {
        let wild = text.chars().find(|c| c.is_control() && *c != '\n');
        assert_eq!(wild, None, "{arguments:?}: {text:?}");
    }
}

#[test]
fn a_hostile_name_reaches_no_terminal_and_breaks_no_line() {
    let name = OsString::from_vec(b"\x1b[31m\n\"\\,= \xff\t;".to_vec());
    let sleeper = Sleeper::named(&name);
    let pid = sleeper.pid().to_string();
    for arguments in [
        &["find", "-p", &pid, "-l"][..],
        &["find", "-p", &pid, "-a"],
        &["show", "-p", &pid, "-i", "0", "--by", "name"],
    ] {
        let ended = ran(arguments);
        check_tame(&ended, arguments);
        assert_eq!(ended.stdout.matches("x1B").count(), 1, "{arguments:?}: {ended:?}");
    }
    let lines_of = |format: &str, pid: &str| {
        let arguments =
            ["show", "-p", pid, "-i", "0", "--by", "name", "-m", "fds", "--format", format];
        let ended = ran(&arguments);
        check_tame(&ended, &arguments);
        ended.stdout.lines().count()
    };
    let tame = Sleeper::named(unique_name('t'));
    for format in ["json", "jsonl", "csv", "graphite", "prometheus", "influx"] {
        assert_eq!(
            lines_of(format, &pid),
            lines_of(format, &tame.pid().to_string()),
            "{format} has as many lines for a hostile name as for a tame one"
        );
    }
}

#[test]
fn a_hostile_name_that_is_typed_comes_back_escaped() {
    let shown = run(mpp(["show", "\u{1b}]0;title\u{7}", "-i", "0"]));
    assert_eq!(shown.status, Some(1));
    assert!(!shown.stderr.contains(['\u{1b}', '\u{7}']), "{:?}", shown.stderr);
}

#[test]
fn no_secret_of_an_environment_is_ever_printed() {
    const CANARY: &str = "canary-7f3a91";
    let name = unique_name('s');
    let sleeper = Sleeper::with_environment(&name, &[("PASSWORD", CANARY), ("STAGE", "blue")]);
    let pid = sleeper.pid().to_string();
    for arguments in [
        &["find", "-e", "PASSWORD", "-a"][..],
        &["show", "-e", "PASSWORD", "-i", "0"],
        &["show", "-p", &pid, "-i", "0", "-m", "all", "--json"],
        &["show", "-p", &pid, "-i", "0", "--by", "env:STAGE"],
        &["doctor"],
    ] {
        let ended = ran(arguments);
        assert_eq!(ended.status, Some(0), "{arguments:?}: {}", ended.stderr);
        assert!(!ended.stdout.contains(CANARY) && !ended.stderr.contains(CANARY), "{arguments:?}");
    }
    let by_stage = ran(&["show", "-p", &pid, "-i", "0", "--by", "env:STAGE"]);
    assert!(by_stage.stdout.contains("blue"), "{}", by_stage.stdout);
}

#[test]
fn colour_is_where_it_was_asked_for() {
    fn check(arguments: &[&str], variables: &[(&str, &str)], is_coloured: bool) {
        let mut command = mpp(arguments);
        command.envs(variables.iter().copied());
        let ended = run(command);
        assert_eq!(ended.stderr.contains('\u{1b}'), is_coloured, "{arguments:?} {variables:?}");
        assert!(!ended.stdout.contains('\u{1b}'), "{arguments:?} {variables:?}");
    }
    check(&["nginx"], &[], false);
    check(&["nginx"], &[("TERM", "xterm")], false);
    check(&["nginx", "--color", "always"], &[], true);
    check(&["nginx", "--color=always"], &[("NO_COLOR", "1")], true);
    check(&["nginx"], &[("CLICOLOR_FORCE", "1")], true);
    check(&["nginx"], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false);
    check(&["nginx", "--color", "never"], &[("CLICOLOR_FORCE", "1")], false);
}

/// What the command writes to a terminal that is both its stdout and its stderr.
fn on_terminal(arguments: &str) -> Ended {
    let binary = env!("CARGO_BIN_EXE_mpp");
    let mut command = Command::new("script");
    command.args(["-qefc", &format!("{binary} {arguments}"), "/dev/null"]).stdin(Stdio::null());
    for (variable, value) in [("TERM", "xterm"), ("COLUMNS", "80")] {
        command.env(variable, value);
    }
    command.env_remove("NO_COLOR").env_remove("CLICOLOR").env_remove("CLICOLOR_FORCE");
    run(command)
}

/// What is left on the terminal when a line of progress, which a busy machine may need anywhere,
/// is erased.
fn left_standing(text: &str) -> &str {
    match text.starts_with("mpp: ") {
        true => text.splitn(3, '\r').nth(2).expect("an erased line"),
        false => text,
    }
}

#[test]
fn a_terminal_is_told_of_a_longer_wait_in_one_line_that_is_erased() {
    let name = unique_name('x');
    let _sleeper = Sleeper::named(&name);
    let shown = on_terminal(&format!("show {name} -i 600ms"));
    assert_eq!(shown.status, Some(0));
    let (progress, rest) = shown.stdout.split_once('\r').expect("an erased line");
    assert!(progress.starts_with("mpp: measuring for 0.6 s"), "{shown:?}");
    let erased = rest.split_once('\r').expect("an erased line").0;
    assert_eq!((erased.trim(), erased.len()), ("", progress.len()), "{shown:?}");
    let quick = on_terminal(&format!("show {name} -i 50ms"));
    assert!(left_standing(&quick.stdout).starts_with("GROUP"), "{quick:?}");
}

#[test]
fn a_terminal_gets_help_in_colour_and_json_in_lines() {
    let bare = on_terminal("");
    assert_eq!(bare.status, Some(0));
    assert!(bare.stdout.contains("Usage:") && bare.stdout.contains('\u{1b}'), "{bare:?}");
    let name = unique_name('y');
    let _sleeper = Sleeper::named(&name);
    let object = on_terminal(&format!("show {name} -i 0 -m fds --json")).stdout;
    let object = left_standing(&object);
    assert!(object.starts_with("{\r\n"), "{object}");
    serde_json::from_str::<serde_json::Value>(object).expect("JSON");
    let lines = on_terminal(&format!("show {name} -i 10ms -c 2 -m fds --json")).stdout;
    assert_eq!(left_standing(&lines).lines().count(), 2, "{lines}");
}
