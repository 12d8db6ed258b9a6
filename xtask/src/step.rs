//! Other programs, run one after the other, with what they are for and how long they took.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A command line in a folder.
pub(crate) struct Program {
    command: Command,
    words: String,
}

impl Program {
    /// A program of the search path, with arguments separated by spaces.
    pub(crate) fn new(folder: &Path, line: &str) -> Self {
        let mut words = line.split_whitespace();
        let mut program = Self::at(folder, words.next().unwrap_or_default());
        for word in words {
            program = program.arg(word);
        }
        program
    }

    /// A program by its path.
    pub(crate) fn at(folder: &Path, path: impl AsRef<OsStr>) -> Self {
        let words = path.as_ref().to_string_lossy().into_owned();
        let mut command = Command::new(path);
        command.current_dir(folder);
        Program { command, words }
    }

    /// Cargo, the one that runs this program.
    pub(crate) fn cargo(folder: &Path, line: &str) -> Self {
        let mut program = Self::new(folder, line);
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let arguments: Vec<_> = program.command.get_args().map(OsStr::to_owned).collect();
        program.command = Command::new(cargo);
        program.command.args(arguments).current_dir(folder);
        // Cargo sets these for programs that it runs; others that it builds must not see them.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
                program.command.env_remove(name);
            }
        }
        program
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.words.push(' ');
        self.words.push_str(&argument.as_ref().to_string_lossy());
        self.command.arg(argument);
        self
    }

    /// Has it run by another program, which gets its command line behind its own arguments.
    pub(crate) fn under(self, other: Program) -> Self {
        let mut both = other.arg(self.command.get_program());
        both = self.command.get_args().fold(both, Program::arg);
        for (key, value) in self.command.get_envs() {
            match value {
                Some(value) => both.command.env(key, value),
                None => both.command.env_remove(key),
            };
        }
        both
    }

    /// Adds a variable to its environment.
    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(key, value);
        self
    }

    /// Takes a variable out of its environment.
    pub(crate) fn without_env(mut self, key: &str) -> Self {
        self.command.env_remove(key);
        self
    }

    /// Runs it to its end; anything but success is an error that names the command.
    pub(crate) fn run(mut self) -> Result<()> {
        let failed = || format!("cannot run `{}`", self.words);
        let status = self.command.status().with_context(failed)?;
        if !status.success() {
            bail!("`{}` failed: {status}", self.words);
        }
        Ok(())
    }

    /// Runs it to its end and returns what it printed on standard output.
    pub(crate) fn output(mut self) -> Result<String> {
        self.command.stderr(Stdio::inherit());
        let output =
            self.command.output().with_context(|| format!("cannot run `{}`", self.words))?;
        if !output.status.success() {
            bail!("`{}` failed: {}", self.words, output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it to its end and returns what it printed, which must fit into a pipe; meanwhile has a
    /// look at something else ten times a second.
    pub(crate) fn output_beside(mut self, mut look: impl FnMut()) -> Result<String> {
        let failed = || format!("cannot run `{}`", self.words);
        let mut child = self.command.stdout(Stdio::piped()).spawn().with_context(failed)?;
        while child.try_wait().with_context(failed)?.is_none() {
            look();
            std::thread::sleep(Duration::from_millis(100));
        }
        let output = child.wait_with_output().with_context(failed)?;
        if !output.status.success() {
            bail!("`{}` failed: {}", self.words, output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Runs it to its end; whether it succeeded, and what it said on standard error.
    pub(crate) fn words(mut self) -> Result<(bool, String)> {
        let output =
            self.command.output().with_context(|| format!("cannot run `{}`", self.words))?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// Whether it can be run and succeeds, without a word.
    pub(crate) fn succeeds(mut self) -> bool {
        let silent = self.command.stdout(Stdio::null()).stderr(Stdio::null());
        silent.status().is_ok_and(|status| status.success())
    }

    /// The command itself, to be started and talked to.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }
}

/// What it took, for people.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Runs `body` and measures how long it took.
pub(crate) fn timed<T>(body: impl FnOnce() -> T) -> (T, Duration) {
    let begin = Instant::now();
    let value = body();
    (value, begin.elapsed())
}
