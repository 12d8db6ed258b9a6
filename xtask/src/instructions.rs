//! `cargo xtask instructions`: how many instructions fixed work of the pure crates takes.
//!
//! Times differ from machine to machine and from run to run, instructions hardly do. valgrind
//! counts them; more than a tolerance above what is committed is a failure, so that nobody makes
//! parsers, ledger, groups or encoders dearer without saying so.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::step::Program;
use crate::{USAGE, target_folder};

/// The parts of `crates/mpp-load/examples/instructions.rs`.
const PARTS: &[&str] = &["parsers", "ledger", "groups", "encoders"];

/// What was accepted, one part a line: its name and its thousands of instructions.
const ACCEPTED: &str = "bench/instructions.txt";

/// A part may take so many percent more than was accepted. Another compiler, or another order
/// in a hashed table, takes less than that.
const TOLERANCE_PERCENT: u64 = 5;

/// What to do with the counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Hold them against what is committed.
    Compare,
    /// Write them down as what is right from now on.
    Accept,
}

impl Plan {
    /// Reads the arguments behind `instructions`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        match arguments {
            [] => Ok(Plan::Compare),
            [option] if option == "--accept" => Ok(Plan::Accept),
            [other, ..] => bail!("unexpected argument `{other}`\n\n{USAGE}"),
        }
    }
}

/// Counts, and compares or accepts. Without valgrind it says so, and that is all.
pub(crate) fn run(root: &Path, plan: Plan) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if !Program::new(root, "valgrind --version").succeeds() {
        writeln!(out, "    skipped: valgrind is not installed")?;
        return Ok(());
    }
    let line = "cargo build --quiet --release --package mpp-load --example instructions";
    Program::cargo(root, line).run()?;
    let counts = PARTS.iter().map(|part| Ok((*part, count(root, part)?)));
    let counts = counts.collect::<Result<Vec<_>>>()?;
    if plan == Plan::Accept {
        return fs::write(root.join(ACCEPTED), table(&counts))
            .with_context(|| format!("cannot write {ACCEPTED}"));
    }
    let accepted = fs::read_to_string(root.join(ACCEPTED))
        .with_context(|| format!("cannot read {ACCEPTED}"))?;
    for (part, thousands) in &counts {
        let verdict = judge(part, *thousands, &accepted)?;
        writeln!(out, "    {part}: {thousands} thousand instructions, {verdict}")?;
    }
    Ok(())
}

/// Thousands of instructions that a part takes.
fn count(root: &Path, part: &str) -> Result<u64> {
    let release = target_folder(root)?.join("release");
    let line = "valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
                --toggle-collect=instructions::measured*";
    let program = Program::new(root, line).arg(release.join("examples/instructions")).arg(part);
    let (succeeded, words) = program.words()?;
    let total = if succeeded { collected(&words) } else { None };
    let total = total.with_context(|| format!("valgrind did not count `{part}`, but: {words}"))?;
    Ok(total / 1000)
}

/// The number behind `Collected :` of what callgrind says.
fn collected(words: &str) -> Option<u64> {
    let line = words.lines().find_map(|line| line.split_once("Collected :"))?.1;
    line.split_whitespace().next()?.parse().ok().filter(|count| *count > 0)
}

fn table(counts: &[(&str, u64)]) -> String {
    let mut text = String::new();
    for (part, thousands) in counts {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{part} {thousands}");
    }
    text
}

/// How a count compares with what was accepted.
fn judge(part: &str, thousands: u64, accepted: &str) -> Result<String> {
    let figure = accepted.lines().find_map(|line| line.strip_prefix(part)?.strip_prefix(' '));
    let figure = figure.with_context(|| format!("{ACCEPTED} has no line for `{part}`"))?;
    let before: u64 = figure.trim().parse().with_context(|| format!("{ACCEPTED}: `{figure}`"))?;
    let hint = "`cargo xtask instructions --accept` writes down what is right from now on";
    if thousands.saturating_mul(100) > before.saturating_mul(100 + TOLERANCE_PERCENT) {
        bail!(
            "`{part}` takes {thousands} thousand instructions, but took {before}\n\nhint: {hint}"
        );
    }
    match thousands.saturating_mul(100) < before.saturating_mul(100 - TOLERANCE_PERCENT) {
        true => Ok(format!("where {before} were accepted: {hint}")),
        false => Ok(format!("as accepted ({before})")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callgrinds_words_hold_the_number_that_it_collected() {
        let words = "==7== Events    : Ir\n==7== Collected : 1234567\n==7==\n";
        assert_eq!(collected(words), Some(1_234_567));
        assert_eq!(collected("==7== Collected : 0\n"), None, "the function was never entered");
        assert_eq!(collected("==7== error\n"), None);
    }

    #[test]
    fn more_than_the_tolerance_above_what_was_accepted_fails() {
        fn check(thousands: u64, expected: Result<&str, &str>) {
            let verdict = judge("ledger", thousands, "parsers 7\nledger 1000\n");
            let verdict = verdict.map_err(|error| error.to_string());
            match (verdict, expected) {
                (Ok(found), Ok(begin)) => assert!(found.starts_with(begin), "{found}"),
                (Err(found), Err(begin)) => assert!(found.starts_with(begin), "{found}"),
                (found, _) => panic!("{thousands}: {found:?}"),
            }
        }
        check(1000, Ok("as accepted"));
        check(1050, Ok("as accepted"));
        check(900, Ok("where 1000 were accepted"));
        check(1051, Err("`ledger` takes 1051 thousand instructions, but took 1000"));
        assert!(judge("groups", 1, "ledger 1000\n").is_err());
    }

    #[test]
    fn counts_are_compared_unless_they_are_to_be_accepted() {
        let parse = |words: &[&str]| {
            Plan::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).ok()
        };
        assert_eq!(parse(&[]), Some(Plan::Compare));
        assert_eq!(parse(&["--accept"]), Some(Plan::Accept));
        assert_eq!(parse(&["--all"]), None);
    }
}
