//! Starts a scenario of mpp-load, and ends it however the test ends.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// A running scenario. Dropping it ends it with all its processes.
pub(crate) struct Load {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    /// What the scenario said when it was ready.
    pub(crate) ready: Value,
    /// On a disk, since bytes written to memory are not counted.
    _directory: tempfile::TempDir,
}

impl Load {
    /// Starts a scenario and waits until it is ready.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Load::start_with_environment(arguments, &[])
    }

    /// The same, with these variables besides.
    pub(crate) fn start_with_environment(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let mut child = Command::new(program())
            .args(arguments)
            .arg("--directory")
            .arg(directory.path())
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("mpp-load starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut load = Load { child, stdin, stdout, ready: Value::Null, _directory: directory };
        load.ready = load.wait_for("ready");
        load
    }

    /// The PID of the scenario's first process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The PIDs that it named when it was ready.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let pids = self.ready["pids"].as_array().expect("PIDs");
        pids.iter().map(|pid| u32::try_from(pid.as_u64().expect("a PID")).expect("a PID")).collect()
    }

    /// Tells the scenario to begin.
    pub(crate) fn begin(&mut self) {
        self.stdin.write_all(b"begin\n").expect("the scenario waits");
    }

    /// Waits for a line about this event; lines before it are passed over.
    pub(crate) fn wait_for(&mut self, event: &str) -> Value {
        for line in (&mut self.stdout).lines() {
            let line: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
            if line["event"] == event {
                return line;
            }
        }
        panic!("the scenario ended before `{event}`");
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // Both fail only where the scenario has ended and was waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where cargo puts it: beside the folder of the test programs.
fn program() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let folder = test.ancestors().nth(2).expect("the folder of this build");
    let program = folder.join("mpp-load");
    assert!(program.exists(), "run `cargo build -p mpp-load` first");
    program
}
