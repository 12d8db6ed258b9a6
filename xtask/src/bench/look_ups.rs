//! One look-up from start to end, beside pgrep(1), held to bounds; for `cargo xtask ratios`.
//!
//! All commands run by turns among the same sleeping processes, and only ratios of CPU time are
//! judged: of start, answer and end together.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::{Bench, Load};
use crate::complain;

/// One of the names that so many processes share.
const NAME: &str = "sleeper-07";
const PROCESSES: &str = "440";
/// Each command runs so often, by turns, so often in a row.
const TURNS: usize = 10;
const RUNS_IN_A_ROW: usize = 20;

/// Ours, what it is held against, and how many times as much CPU time it may take.
struct Bound {
    ours: &'static [&'static str],
    theirs: &'static [&'static str],
    ratio_max: f64,
}

const PGREP: &[&str] = &["pgrep", "-x", NAME];

/// The goals: half of pgrep's time to find, less than all of it to measure what was found. Everybody
/// has the variable that is asked for, and is told of, which pgrep cannot do. A program that does
/// nothing stands for what starting any takes.
const BOUNDS: &[Bound] = &[
    Bound { ours: &["mpp", "find", NAME], theirs: PGREP, ratio_max: 0.5 },
    Bound { ours: &["mpp", "find", "--env", "VARIABLE_01=value"], theirs: PGREP, ratio_max: 0.8 },
    Bound { ours: &["mpp", "show", "-i", "0", NAME], theirs: PGREP, ratio_max: 1.0 },
    Bound { ours: &["mpp", "--version"], theirs: &["true"], ratio_max: 2.5 },
];

/// Measures every pair; how many are above their bounds.
pub(super) fn check(bench: &Bench) -> Result<usize> {
    let sleepers = ["sleepers", "--count", PROCESSES].map(str::to_owned);
    let load = Load::start(bench, &sleepers)?;
    let mut commands: Vec<Cost> = Vec::new();
    for words in BOUNDS.iter().flat_map(|bound| [bound.ours, bound.theirs]) {
        if commands.iter().all(|known| known.words != words) {
            commands.push(Cost::new(words));
        }
    }
    for _ in 0..TURNS {
        for cost in commands.iter_mut().filter(|cost| !cost.is_missing) {
            cost.take_turn(bench)?;
        }
    }
    drop(load);
    let ticks = |words| {
        let mut same = commands.iter().filter(|cost| cost.words == words);
        same.find(|cost| !cost.is_missing).map(Cost::ticks_a_turn)
    };
    let mut broken = 0;
    for Bound { ours, theirs, ratio_max } in BOUNDS {
        let (Some(own), Some(other)) = (ticks(*ours), ticks(*theirs)) else {
            complain(&format!("  left out: {}: there is no {}", ours.join(" "), theirs[0]));
            continue;
        };
        let ratio = own / other;
        let verdict = if ratio <= *ratio_max { "ok  " } else { "FAIL" };
        broken += usize::from(ratio > *ratio_max);
        writeln!(
            std::io::stdout(),
            "  {verdict} {}: {ratio:.2} times {}, at most {ratio_max}",
            ours.join(" "),
            theirs.join(" ")
        )?;
    }
    Ok(broken)
}

/// How many pairs there are.
pub(super) fn count() -> usize {
    BOUNDS.len()
}

/// What a command has taken so far.
struct Cost {
    words: &'static [&'static str],
    ticks: u64,
    turns: u64,
    is_missing: bool,
}

impl Cost {
    fn new(words: &'static [&'static str]) -> Self {
        Cost { words, ticks: 0, turns: 0, is_missing: false }
    }

    fn take_turn(&mut self, bench: &Bench) -> Result<()> {
        let before = ticks_of_children()?;
        for _ in 0..RUNS_IN_A_ROW {
            if !run(bench, self.words)? {
                self.is_missing = true;
                return Ok(());
            }
        }
        self.ticks += ticks_of_children()? - before;
        self.turns += 1;
        Ok(())
    }

    fn ticks_a_turn(&self) -> f64 {
        self.ticks as f64 / self.turns as f64
    }
}

/// Runs a command to its end; false where there is no such program.
fn run(bench: &Bench, words: &[&str]) -> Result<bool> {
    let (program, arguments) = words.split_first().context("a command has a name")?;
    let path = match *program {
        "mpp" => bench.release.join("mpp"),
        other => PathBuf::from(other),
    };
    let mut command = Command::new(path);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(true),
        Ok(status) => bail!("{}: {status}", words.join(" ")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).context(words.join(" ")),
    }
}

/// CPU time of the children that were waited for: fields 16 and 17 of proc_pid_stat(5).
fn ticks_of_children() -> Result<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, behind_name) = stat.rsplit_once(')').context("a name in parentheses")?;
    let fields = behind_name.split_whitespace().skip(13).take(2);
    fields.map(|field| field.parse::<u64>().context("a number")).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_children_is_found_and_only_grows() {
        let before = ticks_of_children().unwrap();
        assert!(Command::new("true").status().unwrap().success());
        assert!(ticks_of_children().unwrap() >= before);
    }
}
