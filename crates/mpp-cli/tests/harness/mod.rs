//! Runs the binary as a person or a script would, and keeps what it said.

// Each test file is a program of its own and uses its part of this one.
#![allow(dead_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Variables that change what is printed; a test sets those it is about.
const INFLUENTIAL: [&str; 8] = [
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "COLUMNS",
    "HOST_PROC",
    "LINES",
    "NO_COLOR",
    "RUST_BACKTRACE",
    "TERM",
];

/// A whole run of the command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What it exited with; `None` where a signal ended it.
    pub(crate) status: Option<i32>,
    /// Data.
    pub(crate) stdout: String,
    /// Words.
    pub(crate) stderr: String,
}

/// The command, with nothing in its environment that changes what it prints.
pub(crate) fn mpp<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mpp"));
    command.args(arguments).stdin(Stdio::null());
    for variable in INFLUENTIAL {
        command.env_remove(variable);
    }
    command
}

/// Runs it to its end.
pub(crate) fn run(mut command: Command) -> Ended {
    let output = command.output().expect("the command starts");
    Ended {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("stderr is UTF-8"),
    }
}

/// Runs the command with these arguments to its end.
pub(crate) fn ran(arguments: &[&str]) -> Ended {
    run(mpp(arguments))
}

/// The folder that the frozen trees lie in.
pub(crate) fn frozen_trees() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/proc")
}

/// A process that sleeps under a name of its own, until it is dropped.
#[derive(Debug)]
pub(crate) struct Sleeper {
    child: Child,
    folder: tempfile::TempDir,
}

impl Sleeper {
    /// Starts one whose executable, and so whose command name, is called this.
    pub(crate) fn named(name: impl AsRef<OsStr>) -> Self {
        Sleeper::with_environment(name, &[])
    }

    /// The same, with these variables besides.
    pub(crate) fn with_environment(name: impl AsRef<OsStr>, variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join(name.as_ref());
        let sleep =
            ["/usr/bin/sleep", "/bin/sleep"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(sleep.expect("sleep(1)"), &program).expect("a copy");
        let mut command = Command::new(&program);
        command.arg("600").envs(variables.iter().copied());
        let child = start(&mut command);
        let sleeper = Sleeper { child, folder };
        sleeper.wait_for_name(name.as_ref());
        sleeper
    }

    /// Its PID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Between fork(2) and execve(2) a process still bears its parent's name.
    fn wait_for_name(&self, name: &OsStr) {
        let expected = &name.as_bytes()[..name.len().min(15)];
        let path = format!("/proc/{}/comm", self.pid());
        loop {
            let comm = fs::read(&path).expect("the process lives");
            if comm.strip_suffix(b"\n") == Some(expected) {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// A program that was written a moment ago may still be open in a child that another test
/// has forked and that has not called execve(2) yet.
fn start(command: &mut Command) -> Child {
    const TEXT_FILE_BUSY: i32 = 26;
    loop {
        match command.spawn() {
            Err(error) if error.raw_os_error() == Some(TEXT_FILE_BUSY) => std::thread::yield_now(),
            outcome => return outcome.expect("the program starts"),
        }
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }
}

/// A name that no other process of this machine bears, of at most 15 bytes.
pub(crate) fn unique_name(letter: char) -> String {
    format!("{letter}mpp{}", std::process::id())
}

/// What a command has to say of ended processes on a machine that keeps it from its CPU.
const OF_ENDS: [&str; 4] = [
    "mpp: tier ",
    "mpp: exit records were lost: ",
    "mpp: threads ended faster ",
    "mpp: processes ended faster ",
];

/// The words of a command, but for those of how well ended processes were seen meanwhile.
pub(crate) fn words_beside_ends(stderr: &str) -> Vec<&str> {
    let is_of_ends = |line: &&str| OF_ENDS.iter().any(|begin| line.starts_with(begin));
    stderr.lines().filter(|line| !is_of_ends(line)).collect()
}

/// Everything that a reader still holds, to its end.
pub(crate) fn rest(mut reader: impl Read) -> String {
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("text");
    text
}
