//! Starts a scenario, listens to its truth, and ends it, however the test ends.

#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

pub(crate) mod cgroup;
pub(crate) mod forgery;
pub(crate) mod moment;
pub(crate) mod show;
pub(crate) mod shown;
pub(crate) mod stranger;
pub(crate) mod truth;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

/// A scenario never leaves a test without a word for longer than this.
const SILENCE_MAX: Duration = Duration::from_secs(90);

/// A running scenario. Dropping it ends it with all its processes.
pub(crate) struct Load {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<Value>,
    ready: Value,
    /// On a disk, since bytes written to memory are not counted.
    directory: TempDir,
}

impl Load {
    /// Starts a scenario and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Load {
        Load::start_with_environment(arguments, &[])
    }

    /// Starts a scenario with variables of its own, and waits until it is ready.
    pub(crate) fn start_with_environment(arguments: &[&str], environment: &[(&str, &str)]) -> Load {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mpp-load"));
        command.args(arguments).envs(environment.iter().copied());
        Load::start_command(command, directory)
    }

    /// Starts a scenario by this command, which may be somebody else's, with its files in this
    /// folder, and waits until it is ready.
    pub(crate) fn start_command(mut command: Command, directory: TempDir) -> Load {
        let mut child = command
            .arg("--directory")
            .arg(directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The receiver is gone when the test is over.
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        let mut load = Load { child, stdin, lines, ready: Value::Null, directory };
        load.ready = load.wait_for("ready");
        load
    }

    /// The PID of the scenario's first process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the scenario said when it was ready.
    pub(crate) fn ready(&self) -> &Value {
        &self.ready
    }

    /// Tells the scenario to begin.
    pub(crate) fn begin(&mut self) {
        self.stdin.as_mut().unwrap().write_all(b"begin\n").unwrap();
    }

    /// The next line of truth; `None` when there is none by now.
    pub(crate) fn line_so_far(&mut self) -> Option<Value> {
        self.lines.try_recv().ok()
    }

    /// The next line of truth, waiting for it.
    pub(crate) fn next_line(&mut self) -> Value {
        self.lines.recv_timeout(SILENCE_MAX).expect("the scenario ended or fell silent")
    }

    /// Waits for a line about this event; lines before it are passed over.
    pub(crate) fn wait_for(&mut self, event: &str) -> Value {
        loop {
            let line = self.next_line();
            if line["event"] == event {
                return line;
            }
        }
    }

    /// Waits until all is done; the processes that are left stay as they are.
    pub(crate) fn total(&mut self) -> Value {
        self.wait_for("total")
    }

    /// Lets the scenario end by itself; whether it did so without an error.
    pub(crate) fn end(mut self) -> bool {
        drop(self.stdin.take());
        self.child.wait().unwrap().success()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only where the scenario has ended and was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command itself, built if it is not there or older than its sources.
pub(crate) fn mpp() -> Command {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let profile: &[&str] = if folder.ends_with("release") { &["--release"] } else { &[] };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "mpp-cli", "--bin", "mpp"])
        .args(profile)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status();
    assert!(built.unwrap().success(), "`cargo build --package mpp-cli` failed");
    let program: PathBuf = folder.join("mpp");
    assert!(program.exists(), "cargo put it elsewhere than to {}", program.display());
    Command::new(program)
}

/// A number that a line of truth names.
pub(crate) fn number(line: &Value, key: &str) -> u64 {
    line[key].as_u64().unwrap_or_else(|| panic!("no number `{key}` in {line}"))
}

/// The PIDs of a process's children, zombies included.
pub(crate) fn children_of(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    text.unwrap().split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

/// The state letter of a process: field 3 of `proc_pid_stat(5)`.
pub(crate) fn state_of(pid: u32) -> char {
    let stat =
        String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/stat")).unwrap()).into_owned();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// The counters of `/proc/PID/io`, or of a thread's `task/TID/io`.
pub(crate) fn io_counters(path: &str) -> BTreeMap<String, u64> {
    let text = std::fs::read_to_string(path).unwrap();
    let pairs = text.lines().map(|line| line.split_once(": ").unwrap());
    pairs.map(|(key, value)| (key.to_owned(), value.parse().unwrap())).collect()
}
