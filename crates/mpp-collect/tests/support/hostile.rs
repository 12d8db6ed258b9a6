//! Starts the hostile processes among this crate's examples, for the tests of any crate.
//!
//! Include it with `#[path = ".../mpp-collect/tests/support/hostile.rs"] mod hostile;`. The
//! examples are built together with the tests of mpp-collect; elsewhere they are built here where
//! they are missing.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A hostile process, until this is dropped.
pub(crate) struct Hostile {
    program: Child,
    /// The PID of the process to measure: the program itself, or a child of it.
    pub(crate) pid: u32,
}

impl Hostile {
    /// Starts an example: `mmap_lock_holder` with the name that its process shall have, or
    /// `huge_environment`. The environment is added to ours.
    ///
    /// Returns `None` where the kernel or a missing privilege does not allow it; the program
    /// has then said why on stderr.
    pub(crate) fn start(example: &str, name: &str, environment: &[(&str, &str)]) -> Option<Self> {
        let mut program = Command::new(path_of(example))
            .arg(name)
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(program.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.is_empty() {
            assert_eq!(program.wait().unwrap().code(), Some(3), "it says why it cannot");
            return None;
        }
        Some(Hostile { program, pid: line.trim().parse().unwrap() })
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        drop(self.program.stdin.take());
        self.program.wait().unwrap();
    }
}

/// Where cargo has put an example: beside the folder of the test programs.
pub(crate) fn path_of(example: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(2).unwrap();
    let path = folder.join("examples").join(example);
    if !path.exists() {
        let profile: &[&str] = if folder.ends_with("release") { &["--release"] } else { &[] };
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "mpp-collect", "--examples"]).args(profile);
        let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().unwrap();
        assert!(built.success() && path.exists(), "{build:?} did not make {}", path.display());
    }
    path
}
