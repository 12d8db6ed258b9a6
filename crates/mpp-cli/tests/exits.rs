//! `mpp exits` on processes of this machine, started for the purpose and ended.

#![expect(clippy::print_stdout, reason = "a process to be measured says that it is ready")]

mod harness;
#[path = "support/stranger.rs"]
#[allow(dead_code, reason = "each test program uses its own part of it")]
mod stranger;

use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use harness::{Sleeper, mpp, ran, rest, unique_name, words_beside_ends};
use serde_json::Value;
use stranger::Stranger;

/// `mpp exits`, running: its first look has been taken.
struct Watch {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Watch {
    /// Starts it with a format that begins with a head, which stands there once it watches.
    fn start<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Self {
        let mut command = mpp(["exits", "-i", "50ms"]);
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        stdout.read_line(&mut String::new()).expect("a head");
        Watch { child, stdout }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("text");
        line
    }

    /// Types Ctrl-C, and returns what it exits with and what else it said.
    fn interrupt(mut self) -> (Option<i32>, String, String) {
        let kill = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(kill.expect("kill(1)").success());
        let stdout = rest(self.stdout);
        let stderr = rest(self.child.stderr.take().expect("a pipe"));
        (self.child.wait().expect("the command ends").code(), stdout, stderr)
    }
}

/// How ends are seen here, by this user.
fn tier() -> String {
    let shown = ran(&["show", "-p", "1", "-i", "1ms", "--json", "-m", "processes.total"]);
    let report: Value = serde_json::from_str(&shown.stdout).expect("JSON");
    report["tier"].as_str().expect("a letter").to_owned()
}

#[test]
fn a_process_is_printed_once_as_it_ends_and_a_table_closes_with_what_it_is_worth() {
    let name = unique_name('x');
    let sleeper = Sleeper::named(&name);
    let pid = sleeper.pid().to_string();
    let mut watch = Watch::start([&name]);
    drop(sleeper);
    let line = watch.line();
    let fields: Vec<&str> = line.split_whitespace().collect();
    let status = if tier() == "C" { "-" } else { "KILL" };
    assert!(fields.contains(&pid.as_str()) && fields.contains(&name.as_str()), "{line}");
    assert!(fields.contains(&status), "{line}");
    let (code, stdout, _) = watch.interrupt();
    assert_eq!(code, Some(0));
    let foot = stdout.lines().next().expect("a foot").to_owned();
    assert!(foot.starts_with("1 process ended; ") && foot.contains("; tier "), "{stdout}");
    assert!(!stdout.contains(&name), "printed twice: {stdout}");
}

#[test]
fn machines_get_a_line_as_soon_as_a_process_ends() {
    let name = unique_name('y');
    let sleeper = Sleeper::named(&name);
    let pid = sleeper.pid();
    let mut watch = Watch::start([&name, "--format", "csv"]);
    drop(sleeper);
    let line = watch.line();
    assert!(line.contains(&format!(",{pid},{name},")), "{line}");
    let (code, stdout, _) = watch.interrupt();
    assert_eq!((code, stdout.as_str()), (Some(0), ""));
}

#[test]
fn polling_says_once_what_it_cannot_see_and_marks_what_it_saw() {
    let name = unique_name('z');
    let sleeper = Sleeper::named(&name);
    let mut watch = Watch::start([&name, "--format", "csv", "--tier", "C"]);
    drop(sleeper);
    let line = watch.line();
    let fields: Vec<&str> = line.trim_end().split(',').collect();
    // `status`, `signal` and `has_dumped_core` are unknown.
    assert_eq!(fields[11..15], ["", "", "", "C"], "{line}");
    assert!(line.contains("uptime=lower_bound"), "{line}");
    let (code, _, stderr) = watch.interrupt();
    assert_eq!(code, Some(0));
    assert_eq!(stderr.matches("tier C: ").count(), 1, "{stderr}");
    assert!(stderr.contains("mpp doctor") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn a_closed_pipe_ends_it_silently() {
    for format in ["table", "csv"] {
        let name = unique_name('w');
        let sleeper = Sleeper::named(&name);
        let Watch { mut child, stdout } = Watch::start([&name, "--format", format]);
        drop(stdout);
        drop(sleeper);
        let mut stderr = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut stderr).expect("text");
        assert_eq!(child.wait().expect("the command ends").code(), Some(0), "{format}");
        assert!(words_beside_ends(&stderr).is_empty(), "{format}: {stderr}");
    }
}

#[test]
fn a_hostile_name_reaches_no_terminal_and_breaks_no_line() {
    let name = OsString::from_vec(b"\x1b[31m\n\"\\,= \xff\t;".to_vec());
    for format in ["table", "csv"] {
        let sleeper = Sleeper::named(&name);
        let pid = sleeper.pid().to_string();
        let mut watch = Watch::start(["-p", &pid, "-a", "--format", format]);
        drop(sleeper);
        let line = watch.line();
        let wild = line.trim_end_matches('\n').chars().find(|c| c.is_control());
        assert_eq!(wild, None, "{line:?}");
        assert!(line.contains("x1B[31m") && line.contains("xFF"), "{line}");
        assert!(line.contains("600"), "the last argument stands on the same line: {line}");
        assert_eq!(watch.interrupt().0, Some(0));
    }
}

#[test]
fn arguments_are_printed_only_where_they_are_asked_for() {
    for (option, is_printed) in [("--color=never", false), ("-a", true)] {
        let name = unique_name('a');
        let sleeper = Sleeper::named(&name);
        let mut watch = Watch::start([&name, "--format", "csv", option]);
        drop(sleeper);
        // Its only argument, behind its path.
        assert_eq!(watch.line().contains(&format!("{name} 600")), is_printed);
        assert_eq!(watch.interrupt().0, Some(0));
    }
}

#[test]
fn a_summary_adds_up_by_program() {
    let name = unique_name('s');
    let mut command = mpp(["exits", &name, "--summary", "2s", "-i", "100ms", "--json"]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("the command starts");
    // Nobody can see from outside when its first look is over: some of these end after it.
    let mut born = 0;
    while child.try_wait().expect("our own child").is_none() {
        let sleeper = Sleeper::named(&name);
        std::thread::sleep(Duration::from_millis(150));
        drop(sleeper);
        born += 1;
    }
    let output = child.wait_with_output().expect("the command ends");
    assert_eq!(output.status.code(), Some(0));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["kind"], "exits_summary");
    let group = &report["groups"][0];
    assert_eq!(group["name"], Value::from(name));
    let ended = group["metrics"]["ended"].as_u64().expect("a number");
    assert!((1..=born).contains(&ended), "{born}: {report}");
    match report["tier"].as_str() {
        Some("C") => assert!(group["metrics"]["failed"].is_null(), "{report}"),
        _ => assert_eq!(group["metrics"]["failed"], ended, "{report}"),
    }
}

#[test]
fn that_nobody_ended_is_said_and_exits_with_1() {
    for arguments in [&["-c", "2"][..], &["--summary", "50ms"]] {
        let typed = [&["exits", "nobody-is-called-so", "-i", "20ms"], arguments].concat();
        let ended = ran(&typed);
        assert_eq!(ended.status, Some(1), "{ended:?}");
        let last = ended.stderr.lines().last();
        let said = "mpp: no process that matches `name:nobody-is-called-so` has ended";
        assert_eq!(last, Some(said), "{ended:?}");
    }
}

#[test]
fn without_a_privilege_the_answer_is_an_estimate_and_says_so() {
    let stranger = Stranger::new();
    let ended = stranger.run(&["exits", "-i", "20ms", "-c", "1", "--json"]);
    assert!(matches!(ended.status, Some(0 | 1)), "{ended:?}");
    let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!((&report["kind"], &report["tier"]), (&"exits".into(), &"C".into()));
    assert!(ended.stderr.contains("tier C: "), "{}", ended.stderr);
}
