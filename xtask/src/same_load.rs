//! `cargo xtask same-load`: one load that knows its truth, and what each tool shows of it.
//!
//! Builds our side; `bench/same_load` brings the peers here and compares.

use std::path::Path;

use anyhow::{Result, bail};

use crate::step::Program;
use crate::{USAGE, number, target_folder, value};

/// What to compare.
pub(crate) struct Plan {
    seconds: u64,
    only: Option<String>,
}

impl Plan {
    /// Reads the arguments behind `same-load`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut plan = Plan { seconds: 12, only: None };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => plan.seconds = number(argument, &mut arguments)?.max(4),
                "--only" => plan.only = Some(value(argument, &mut arguments)?.to_owned()),
                other => bail!("unknown option `{other}`\n\n{USAGE}"),
            }
        }
        Ok(plan)
    }
}

/// Builds, compares, prints the tables and writes them to `bench/results`.
pub(crate) fn run(root: &Path, plan: &Plan) -> Result<()> {
    let line = "cargo build --quiet --release --package mpp-cli --package mpp-load --bins";
    Program::cargo(root, line).run()?;
    let compare = Program::new(root, "python3 -B bench/same_load --programs")
        .arg(target_folder(root)?.join("release"))
        .arg("--seconds")
        .arg(plan.seconds.to_string());
    match &plan.only {
        Some(load) => compare.arg("--only").arg(load).run(),
        None => compare.run(),
    }
}

/// Tries the parsers of what other tools print, on lines that they printed once.
pub(crate) fn test(root: &Path) -> Result<()> {
    Program::new(root, "python3 -B -m unittest discover --quiet --start-directory bench/same_load")
        .run()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expected: Option<(u64, Option<&str>)>) {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        let plan = Plan::parse(&arguments).ok();
        let read = plan.as_ref().map(|plan| (plan.seconds, plan.only.as_deref()));
        assert_eq!(read, expected, "{arguments:?}");
    }

    #[test]
    fn a_comparison_lasts_as_long_as_typed_and_shows_all_loads_unless_one_is_named() {
        check(&[], Some((12, None)));
        check(&["--seconds", "20", "--only", "autoreap"], Some((20, Some("autoreap"))));
        check(&["--seconds", "1"], Some((4, None)));
        check(&["--seconds"], None);
        check(&["--quick"], None);
    }
}
