//! `mpp run` passes everything through: standard streams, signals, status; and keeps its limits.

mod harness;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use harness::{mpp, ran, rest, run, unique_name};
use serde_json::Value;

/// What a command is ended by, and what it said on stdout, with `mpp run` before it.
fn ran_under(command: &[&str]) -> (Option<i32>, Option<i32>, String) {
    let output = mpp(["run", "-q", "--"]).args(command).output().expect("the command starts");
    let stdout = String::from_utf8(output.stdout).expect("text");
    (output.status.code(), output.status.signal(), stdout)
}

fn check_status(script: &str, status: Option<i32>, signal: Option<i32>) {
    let ended = ran_under(&["sh", "-c", script]);
    assert_eq!((ended.0, ended.1), (status, signal), "{script}");
}

#[test]
fn the_status_is_the_commands() {
    check_status("exit 0", Some(0), None);
    check_status("exit 3", Some(3), None);
    check_status("exit 255", Some(255), None);
    check_status("kill -TERM $$", None, Some(15));
    check_status("kill -KILL $$", None, Some(9));
    check_status("kill -SEGV $$", None, Some(11));
}

#[test]
fn what_cannot_be_executed_is_told_apart_from_what_is_not_there() {
    let ended = ran(&["run", "nobody-is-called-so"]);
    let message =
        "mpp: cannot execute `nobody-is-called-so`: No such file or directory (os error 2)\n";
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(127), ""));
    assert_eq!(ended.stderr, message);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let ended = ran(&["run", "--", file.to_str().expect("a path")]);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(126), ""));
    assert!(ended.stderr.ends_with("Permission denied (os error 13)\n"), "{}", ended.stderr);
    assert_eq!(ran(&["run"]).status, Some(2));
    let object = ran(&["run", "--json", "nobody-is-called-so"]);
    assert_eq!(object.stdout, "", "stdout is the command's");
    let error: Value = serde_json::from_str(&object.stderr).expect("JSON");
    assert!(error["error"].as_str().expect("text").starts_with("cannot execute"), "{error}");
}

#[test]
fn standard_input_and_output_are_the_commands() {
    let mut command = mpp(["run", "-q", "--", "cat"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the command starts");
    child.stdin.take().expect("a pipe").write_all(b"in and out\n").expect("written");
    assert_eq!(rest(child.stdout.take().expect("a pipe")), "in and out\n");
    assert!(child.wait().expect("our own child").success());
    let words = ran(&["run", "--", "sh", "-c", "echo out; echo err >&2"]);
    assert_eq!(words.stdout, "out\n");
    assert!(words.stderr.starts_with("err\nmpp: `sh` exited with status 0 after "), "{words:?}");
}

/// What a script prints about its own process, directly and under `mpp run`, must be the same.
fn check_same(prelude: &str, script: &str) {
    let mpp = env!("CARGO_BIN_EXE_mpp");
    let printed = |wrapper: &str| {
        let whole = format!("{prelude} exec {wrapper} sh -c '{script}'");
        let output = Command::new("sh").args(["-c", &whole]).output().expect("sh(1)");
        assert!(output.status.success(), "{whole}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(printed(&format!("{mpp} run -q --")), printed("env"), "{prelude} {script}");
}

#[test]
fn the_command_finds_everything_as_it_would_without_us() {
    // What the kernel says of the process itself, before a shell could change it.
    let signals = "exec grep -E \"^Sig(Blk|Ign|Cgt)\" /proc/self/status";
    check_same("", signals);
    check_same("trap \"\" HUP USR1 INT CHLD;", signals);
    check_same("trap \"\" PIPE;", signals);
    check_same("umask 027; cd /;", "umask; pwd; ulimit -n; nice");
    check_same("export X=1;", "env | grep -v ^_= | sort");
    check_same("", "ls /proc/self/fd | wc -l");
    check_same("exec 7</dev/null;", "readlink /proc/self/fd/7");
    check_same("", "grep -E \"^(Cap|Seccomp|NoNewPrivs|Uid|Gid|Groups)\" /proc/self/status");
}

/// Fields of `/proc/PID/stat` behind the name: state, parent, group, session, terminal.
fn stat_of(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let behind = stat.rsplit_once(") ")?.1.to_owned();
    Some(behind.split(' ').map(str::to_owned).collect())
}

/// Starts a script that says `ready` and its PID.
fn start(options: &[&str], script: &str) -> (Child, u32, BufReader<std::process::ChildStdout>) {
    let mut command = mpp(["run"]);
    command.args(options).args(["--", "sh", "-c", &format!("echo ready $$; {script}")]);
    command.process_group(0).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the command starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    out.read_line(&mut line).expect("a line");
    let pid = line.trim().strip_prefix("ready ").expect("a PID").parse().expect("a PID");
    (child, pid, out)
}

fn send(signal: &str, pid: u32) {
    let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
    assert!(sent.expect("kill(1)").success(), "{signal}");
}

fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_signal_for_us_reaches_the_command() {
    for signal in ["TERM", "HUP", "USR1", "USR2", "INT", "QUIT"] {
        let script =
            format!("trap 'echo got; exit 7' {signal}; echo set; while :; do sleep 0.02; done");
        let (mut child, _, mut out) = start(&["-q"], &script);
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        send(signal, child.id());
        assert_eq!(rest(out), "got\n", "{signal}");
        assert_eq!(child.wait().expect("our own child").code(), Some(7), "{signal}");
    }
}

#[test]
fn an_untrapped_signal_ends_both() {
    let (mut child, _, _) = start(&["-q"], "exec sleep 600");
    send("TERM", child.id());
    assert_eq!(child.wait().expect("our own child").signal(), Some(15));
}

#[test]
fn the_command_is_in_our_process_group_and_session() {
    let (mut child, pid, _) = start(&["-q"], "exec sleep 600");
    let (ours, theirs) = (stat_of(child.id()).expect("it lives"), stat_of(pid).expect("it lives"));
    assert_eq!(ours[2..6], theirs[2..6], "group, session, terminal, its foreground");
    assert_eq!(theirs[1], child.id().to_string(), "its parent");
    send("KILL", pid);
    assert_eq!(child.wait().expect("our own child").signal(), Some(9));
}

#[test]
fn both_stop_and_go_on_together() {
    let (mut child, pid, out) = start(&["-q"], "while ! [ -e \"$STOPPED\" ]; do sleep 0.02; done");
    let state = |pid: u32| stat_of(pid).map(|stat| stat[0].clone()).unwrap_or_default();
    send("TSTP", child.id());
    wait_until("the command stops", || state(pid) == "T");
    wait_until("we stop", || state(child.id()) == "T");
    send("CONT", child.id());
    wait_until("the command goes on", || state(pid) != "T");
    wait_until("we go on", || state(child.id()) != "T");
    send("TERM", child.id());
    assert_eq!(child.wait().expect("our own child").signal(), Some(15));
    drop(out);
}

/// Runs `mpp run` on a terminal of its own, types something, and returns what was shown.
fn on_terminal(arguments: &str, typed: &[u8], when: &str) -> (Option<i32>, String) {
    // Without `exec` the shell of script(1) stays in the foreground, and Ctrl-C is its, too.
    let line = format!("exec {} run {arguments}", env!("CARGO_BIN_EXE_mpp"));
    let mut script = Command::new("script")
        .args(["-qefc", &line, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script(1)");
    let mut stdin = script.stdin.take().expect("a pipe");
    let mut out = script.stdout.take().expect("a pipe");
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown).contains(when) {
        let mut byte = [0];
        if out.read(&mut byte).expect("a terminal") == 0 {
            panic!("never shown: {when}: {}", String::from_utf8_lossy(&shown));
        }
        shown.push(byte[0]);
    }
    stdin.write_all(typed).expect("typed");
    out.read_to_end(&mut shown).expect("a terminal");
    let status = script.wait().expect("our own child").code();
    (status, String::from_utf8_lossy(&shown).into_owned())
}

#[test]
fn the_terminal_is_the_commands() {
    let script = "test -t 0 && test -t 1 && test -t 2 && stty size >/dev/null && echo terminal";
    let (status, shown) = on_terminal(&format!("-q -- sh -c '{script}'"), b"", "terminal");
    assert_eq!(status, Some(0), "{shown}");
    let (status, shown) =
        on_terminal("-q -- sh -c 'echo go; read x; echo got $x; exit 5'", b"word\n", "go");
    assert!(shown.contains("got word"), "{shown}");
    assert_eq!(status, Some(5));
}

#[test]
fn ctrl_c_ends_the_command_and_what_it_used_is_still_said() {
    let (status, shown) = on_terminal("-- sh -c 'echo go; exec sleep 600'", b"\x03", "go");
    assert_eq!(status, Some(130), "{shown}");
    assert!(shown.contains("mpp: `sh` was ended by signal 2 after"), "{shown}");
}

#[test]
fn ctrl_c_that_the_command_takes_for_itself_does_not_end_us() {
    let script =
        "trap \"echo no\" INT; sleep 0.2; echo go; for i in 1 2 3 4; do sleep 0.1; done; exit 4";
    let (status, shown) = on_terminal(&format!("-q -- sh -c '{script}'"), b"\x03", "go");
    assert_eq!(status, Some(4), "{shown}");
    assert!(shown.contains("no"), "{shown}");
}

/// Runs with `-o` and returns what was written.
fn cost_of(options: &[&str], command: &[&str]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cost.json");
    let mut running = mpp(["run", "-q", "-o"]);
    running.arg(&path).args(options).arg("--").args(command);
    let ended = run(running);
    assert_eq!(ended.stderr, "", "{options:?}");
    (ended.status, serde_json::from_slice(&fs::read(path).expect("written")).expect("JSON"))
}

fn is_alive(name: &str) -> bool {
    !ran(&["find", name]).stdout.is_empty()
}

#[test]
fn a_daemon_is_waited_for_and_leaves_no_zombie() {
    let script = "(setsid sleep 0.4 >/dev/null 2>&1 &); exit 0";
    let begun = Instant::now();
    let (status, cost) = cost_of(&[], &["sh", "-c", script]);
    assert_eq!(status, Some(0));
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert!(cost["interval_sec"].as_f64() >= Some(0.4), "{cost}");
    assert!(cost["command_sec"].as_f64() < cost["interval_sec"].as_f64(), "{cost}");
    assert_eq!(cost["still_running"], Value::Array(Vec::new()));
}

/// A daemon under a name of its own, left by a command.
fn leaving(name: &str) -> String {
    let sleep = ["/usr/bin/sleep", "/bin/sleep"].into_iter().find(|path| Path::new(path).exists());
    let sleep = sleep.expect("sleep(1)");
    format!(
        "d=$(mktemp -d); cp {sleep} $d/{name}; (setsid $d/{name} 30 >/dev/null 2>&1 &); sleep 0.1; rm -r $d"
    )
}

fn end(name: &str) {
    for pid in ran(&["find", name]).stdout.lines() {
        send("KILL", pid.parse().expect("a PID"));
    }
}

#[test]
fn what_is_left_is_named_where_nobody_waits() {
    for options in [&["--no-wait"][..], &["--wait", "200ms"]] {
        let name = unique_name('d');
        let (status, cost) = cost_of(options, &["sh", "-c", &leaving(&name)]);
        let was_alive = is_alive(&name);
        end(&name);
        assert_eq!((status, was_alive), (Some(0), true), "{cost}");
        assert_eq!(cost["still_running"][0]["name"], name.as_str(), "{cost}");
    }
}

#[test]
fn a_signal_ends_the_waiting_and_says_so_with_its_number() {
    for (signal, status) in [("INT", 130), ("TERM", 143)] {
        let name = unique_name(if signal == "INT" { 'i' } else { 't' });
        let (mut child, pid, out) = start(&[], &leaving(&name));
        wait_until("the command ends", || stat_of(pid).is_none());
        let mut stderr = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut note = String::new();
        stderr.read_line(&mut note).expect("a line");
        assert!(note.starts_with("mpp: `sh` has ended; waiting for what it left: "), "{note}");
        assert!(note.contains(&name), "{note}");
        send(signal, child.id());
        assert_eq!(child.wait().expect("our own child").code(), Some(status));
        let words = rest(stderr);
        end(&name);
        assert!(words.contains("1 process still runs, counted up to now: "), "{words}");
        assert!(words.contains(&name), "{words}");
        drop(out);
    }
}

#[test]
fn children_that_we_had_before_are_not_the_commands() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let (a, b, cost) = ("a", "b", "cost.json");
    let write = |name: &str, mib: u32| {
        format!("dd if=/dev/zero of={name} bs=1M count={mib} conv=fsync 2>/dev/null")
    };
    let script = format!(
        "({}; sleep 0.2) & sleep 0.1; exec {} run -q -o {cost} -- sh -c '{}; sleep 0.5'",
        write(a, 8),
        env!("CARGO_BIN_EXE_mpp"),
        write(b, 1)
    );
    let ended = Command::new("sh").args(["-c", &script]).current_dir(&folder).status();
    assert!(ended.expect("sh(1)").success());
    let cost = fs::read(folder.path().join(cost)).expect("written");
    let cost: Value = serde_json::from_slice(&cost).expect("JSON");
    let written = cost["metrics"]["io_counters.write_bytes"].as_u64().expect("a number");
    assert!((1 << 20..2 << 20).contains(&written), "{cost}");
    assert_eq!(cost["accuracy"]["io_counters.write_bytes"], "estimate", "{cost}");
}

#[test]
fn whoever_ignored_our_children_before_does_not_spoil_the_counting() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    // perl(1) and others restore SIGCHLD; a program that does not is reaped by us all the same.
    let script = format!(
        "trap '' CHLD; exec {} run -q -o cost.json -- dd if=/dev/zero of=a bs=1M count=4 status=none",
        env!("CARGO_BIN_EXE_mpp")
    );
    let ended = Command::new("sh").args(["-c", &script]).current_dir(&folder).status();
    assert!(ended.expect("sh(1)").success());
    let cost = fs::read(folder.path().join("cost.json")).expect("written");
    let cost: Value = serde_json::from_slice(&cost).expect("JSON");
    assert_eq!(cost["metrics"]["io_counters.write_chars"], 4 << 20, "{cost}");
    assert_eq!(cost["accuracy"].get("io_counters.write_chars"), None, "{cost}");
}

#[test]
fn our_own_looking_is_not_counted() {
    let read = |looks: &str, count: &str| {
        let dd = ["dd", "if=/dev/zero", "of=/dev/null", "bs=1M", "status=none", count];
        let (_, cost) = cost_of(&["-i", looks], &dd);
        let metric = |name: &str| cost["metrics"][name].as_i64().expect("a number");
        (metric("io_counters.read_chars"), metric("io_counters.read_count"))
    };
    let (bytes, count) = read("1h", "count=2");
    for looks in ["1ms", "1h"] {
        assert_eq!(read(looks, "count=3"), (bytes + (1 << 20), count + 1), "{looks}");
    }
}

/// The status under a limit, and the line that stderr has about it.
fn check_limit(limit: &str, script: &str, status: i32, word: &str) {
    let ended = ran(&["run", "--fail-if", limit, "--", "sh", "-c", script]);
    assert_eq!(ended.status, Some(status), "{limit}: {}", ended.stderr);
    let line = ended.stderr.lines().find(|line| line.starts_with("limit "));
    let line = line.expect("a line about the limit");
    assert!(line.starts_with(&format!("limit {word}: {limit}: found ")), "{line}");
}

#[test]
fn a_broken_limit_is_a_failure_of_a_command_that_succeeded() {
    let write = "dd if=/dev/zero bs=1M count=2 status=none >/dev/null";
    check_limit("io_counters.write_chars > 1MiB", write, 1, "BROKEN");
    check_limit("io_counters.write_chars > 2MiB", write, 0, "kept");
    check_limit("io_counters.write_chars == 2MiB", write, 1, "BROKEN");
    check_limit("io_counters.write_chars > 1MiB", &format!("{write}; exit 9"), 9, "BROKEN");
    check_limit("uptime >= 200ms", "sleep 0.2", 1, "BROKEN");
    check_limit("memory.peak > 1TiB", "sleep 0.1", 0, "kept as far as was seen");
    check_limit("cpu.user > 1h", "", 0, "kept");
    let quiet = ran(&["run", "-q", "--fail-if", "uptime > 0", "--", "true"]);
    assert!(quiet.stderr.starts_with("limit BROKEN: uptime > 0: "), "{}", quiet.stderr);
    assert_eq!(ran(&["run", "-q", "--fail-if", "uptime > 1h", "--", "true"]).stderr, "");
}

#[test]
fn what_is_no_limit_is_refused_before_anything_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    let (proof, cost) = (folder.path().join("proof"), folder.path().join("cost.json"));
    let (proof, cost) = (proof.to_str().expect("a path"), cost.to_str().expect("a path"));
    let check = |options: &[&str], message: &str, hint: &str| {
        let ended = ran(&[&["run"], options, &["--", "touch", proof]].concat());
        assert_eq!(ended.stderr, format!("mpp: {message}\n\nhint: {hint}\n"), "{options:?}");
        assert_eq!((ended.status, ended.stdout.as_str()), (Some(2), ""));
        assert!(!Path::new(proof).exists() && !Path::new(cost).exists(), "{options:?}");
    };
    check(
        &["--fail-if", "memory.peek > 4GiB", "-o", cost],
        "`--fail-if`: expected the name of a metric, but found `memory.peek`",
        "did you mean `memory.peak`?",
    );
    check(
        &["--summary", "markdwon"],
        "`--summary`: expected github or markdown, but found `markdwon`",
        "did you mean `markdown`?",
    );
    check(
        &["--summary", "github"],
        "`--summary github`: expected the variable `GITHUB_STEP_SUMMARY`, but it is not set",
        "elsewhere than in a job of GitHub's, `--summary markdown` goes to stderr",
    );
    check(
        &["-i", "0"],
        "`--interval`: expected a time above 0",
        "give `--interval` a time, such as `1s`",
    );
    check(&["--fail-iff", "x"], "unknown option `--fail-iff`", "did you mean `--fail-if`?");
    let ended = ran(&["run", "--compare", cost, "--", "touch", proof]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.stderr.starts_with("mpp: `--compare`: cannot read "), "{}", ended.stderr);
    assert!(!Path::new(proof).exists());
    let ended = ran(&["run", "-o", &format!("{cost}/x"), "--", "touch", proof]);
    assert_eq!(ended.status, Some(125), "{}", ended.stderr);
    assert!(!Path::new(proof).exists());
}

#[test]
fn one_run_is_compared_with_another() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cost.json");
    let path = path.to_str().expect("a path");
    let dd = |count: &str| {
        ["dd", "if=/dev/zero", "of=/dev/null", "bs=1M", "status=none", count].map(str::to_owned)
    };
    let run_dd = |options: &[&str], count: &str| {
        let mut command = mpp(["run"]);
        command.args(options).arg("--").args(dd(count));
        run(command)
    };
    let first = run_dd(&["-o", path], "count=2");
    assert_eq!((first.status, first.stderr.as_str()), (Some(0), ""));
    // The file that is compared with may be the one that is written.
    let second = run_dd(&["-o", path, "--compare", path], "count=3");
    let line = second.stderr.lines().find(|line| line.starts_with("io_counters.write_chars "));
    let words: Vec<&str> = line.expect("a line").split_whitespace().collect();
    assert_eq!(words[1..], ["2.00MiB", "3.00MiB", "+1.00MiB", "+50.0%"], "{}", second.stderr);
    let third = run_dd(&["--json", "--compare", path], "count=3");
    let object: Value = serde_json::from_str(&third.stderr).expect("JSON");
    let compared = &object["compared"]["io_counters.write_chars"];
    assert_eq!(compared["difference"], 0.0, "{object}");
    for text in ["", "{}", "[1]", "{\"kind\":\"run\",\"schema\":2,\"metrics\":{}}"] {
        fs::write(path, text).expect("written");
        assert_eq!(run_dd(&["--compare", path], "count=1").status, Some(2), "{text}");
    }
}

#[test]
fn a_summary_is_markdown_that_no_name_can_break() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("summary.md");
    fs::write(&path, "before\n").expect("written");
    let mut command = mpp(["run", "-q", "--summary", "github", "--", "true"]);
    command.env("GITHUB_STEP_SUMMARY", &path);
    assert_eq!(run(command).status, Some(0));
    let text = fs::read_to_string(&path).expect("text");
    assert!(text.starts_with("before\n### true exited with status 0 after "), "{text}");
    assert!(text.contains("| metric | value |\n|---|---:|\n| `uptime` | "), "{text}");
    let evil = folder.path().join("<img src=x>|`[a](b)");
    fs::copy("/bin/true", &evil).expect("a copy");
    let mut command = mpp(["run", "--summary", "markdown", "--"]);
    command.arg(&evil);
    let shown = run(command).stderr;
    assert!(!shown.contains("<img") && !shown.contains("[a](b)"), "{shown}");
}

#[test]
fn a_series_has_a_line_for_every_look() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("series.jsonl");
    let mut command = mpp(["run", "-q", "-i", "20ms", "--series"]);
    command.arg(&path).args(["--", "sleep", "0.5"]);
    assert_eq!(run(command).status, Some(0));
    let text = fs::read_to_string(&path).expect("text");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(lines.len() >= 2, "{text}");
    assert!(lines.iter().all(|line| line["group"] == "sleep"), "{text}");
    assert!(lines.iter().any(|line| line["memory.rss"].as_u64() > Some(0)), "{text}");
    assert!(lines.is_sorted_by_key(|line| line["time"].as_f64()), "{text}");
}

/// The metrics in each line of a series, in the order of the alphabet.
const SERIES_COLUMNS: [&str; 14] = [
    "cpu.percent",
    "cpu.system",
    "cpu.system_per_sec",
    "cpu.user",
    "cpu.user_per_sec",
    "fds",
    "io_counters.read_bytes",
    "io_counters.read_bytes_per_sec",
    "io_counters.write_bytes",
    "io_counters.write_bytes_per_sec",
    "memory.rss",
    "processes.ended",
    "processes.total",
    "threads",
];

#[test]
fn the_most_memory_of_a_series_is_the_peak_that_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("series.jsonl");
    let series = path.to_str().expect("a path");
    // Three at once hold more than any of them alone ever did.
    let script = "sleep 0.5 & sleep 0.5; wait";
    let (_, cost) = cost_of(&["-i", "20ms", "--series", series], &["sh", "-c", script]);
    let text = fs::read_to_string(&path).expect("text");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let most = lines.iter().filter_map(|line| line["memory.rss"].as_u64()).max();
    assert_eq!(cost["metrics"]["memory.peak"].as_u64(), most, "{cost} {text}");
    assert!(most > cost["largest_process_rss"].as_u64(), "{cost} {text}");
    for line in &lines {
        let fields = line.as_object().expect("an object").keys().map(String::as_str);
        let is_metric = |name: &&str| name.contains('.') || ["fds", "threads"].contains(name);
        let columns: Vec<&str> = fields.filter(is_metric).collect();
        assert_eq!(columns, SERIES_COLUMNS, "{line}");
        assert!(line["interval_sec"].as_f64() > Some(0.0), "{line}");
        assert_eq!(line["group"], "sh");
    }
    assert!(lines.is_sorted_by_key(|line| line["time"].as_f64()), "{text}");
}

#[test]
fn no_argument_or_variable_of_the_command_is_written_down() {
    let secret = "canary-secret-7231";
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_str().expect("a path").to_owned();
    let (cost, series, summary) = (file("cost.json"), file("series"), file("summary"));
    let mut command = mpp(["run", "-o", &cost, "--series", &series, "--summary", "github"]);
    command.args(["--fail-if", "uptime > 0", "--", "sh", "-c", "sleep 0.1; :", secret]);
    command.env("TOKEN", secret).env("GITHUB_STEP_SUMMARY", &summary);
    let ended = run(command);
    assert_eq!(ended.status, Some(1));
    for text in [cost, series, summary].map(|path| fs::read_to_string(path).expect("text")) {
        assert!(!text.is_empty() && !text.contains(secret), "{text}");
    }
    assert!(!ended.stderr.contains(secret), "{}", ended.stderr);
}

#[test]
fn what_is_unknown_is_no_number() {
    // Over before anybody could look at it.
    let (_, cost) = cost_of(&["-i", "1h"], &["true"]);
    for (name, value) in cost["metrics"].as_object().expect("an object") {
        assert_eq!(value.is_null(), cost["why"].get(name).is_some(), "{name}: {cost}");
    }
    assert_eq!(cost["metrics"]["io_counters.write_bytes"], 0, "{cost}");
    assert_eq!(cost["largest_process_rss"], Value::Null, "our own is not its: {cost}");
}

#[test]
fn the_schema_names_every_field_that_is_written() {
    let schema: Value = serde_json::from_str(mpp_export::run::RUN_SCHEMA).expect("JSON");
    let (_, cost) = cost_of(&["--fail-if", "uptime > 1h"], &["sleep", "0.05"]);
    let properties = schema["properties"].as_object().expect("an object");
    let required = schema["required"].as_array().expect("a list");
    for key in cost.as_object().expect("an object").keys() {
        assert!(properties.contains_key(key), "{key} is not in the schema");
    }
    for key in required {
        assert!(cost.get(key.as_str().expect("text")).is_some(), "{key} is missing: {cost}");
    }
}
