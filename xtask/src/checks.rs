//! `cargo xtask test`: everything that must pass, in the order in which it fails cheapest.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::step::{Program, seconds, timed};
use crate::{bench, boot, bpf, fuzz, instructions, number, python, same_load, soak, tidy};

/// What to run.
pub(crate) struct Plan {
    /// How long each fuzz target searches.
    fuzz_seconds: u64,
    depth: Depth,
}

/// How far random tests search.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// As far as every change can wait for.
    Usual,
    /// As far as a night allows.
    Long,
}

impl Plan {
    /// Reads the arguments behind `test`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut plan = Plan { fuzz_seconds: 5, depth: Depth::Usual };
        let mut seconds = None;
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--long" => plan = Plan { fuzz_seconds: 60, depth: Depth::Long },
                "--fuzz-seconds" => seconds = Some(number(argument, &mut arguments)?),
                other => bail!("unknown option `{other}`\n\n{}", crate::USAGE),
            }
        }
        Ok(Plan { fuzz_seconds: seconds.unwrap_or(plan.fuzz_seconds), ..plan })
    }
}

impl Plan {
    /// What is checked, in order.
    fn checks(&self) -> Vec<&'static Check> {
        let long = match self.depth {
            Depth::Usual => &[],
            Depth::Long => LONG_CHECKS,
        };
        CHECKS.iter().chain(long).collect()
    }
}

/// One check: its name, and what it does.
struct Check {
    name: &'static str,
    run: fn(&Path, &Plan) -> Result<()>,
}

const CHECKS: &[Check] = &[
    Check { name: "format", run: check_format },
    Check { name: "clippy", run: check_clippy },
    Check { name: "tidy", run: |root, _| tidy::run(root) },
    Check { name: "compiled BPF programs", run: |root, _| bpf::check(root) },
    Check { name: "parsers of other tools' output", run: |root, _| same_load::test(root) },
    Check { name: "programs that tests start", run: build_programs },
    Check { name: "tests", run: run_tests },
    Check { name: "examples in documentation", run: run_doc_tests },
    Check { name: "documentation", run: build_documentation },
    Check { name: "fuzz targets", run: run_fuzz_targets },
    Check { name: "release build", run: build_release },
    Check {
        name: "instructions",
        run: |root, _| instructions::run(root, instructions::Plan::Compare),
    },
    Check { name: "ratios to the C limit", run: |root, _| bench::ratios::check(root) },
    Check { name: "Python module", run: |root, _| python::test(root) },
    Check { name: "Python wheel", run: |root, _| python::wheel(root) },
];

/// What takes minutes of its own, with `--long`.
const LONG_CHECKS: &[Check] = &[
    Check { name: "Debian's 6.1 kernel", run: |root, _| boot::check(root) },
    Check { name: "ten minutes without growth", run: |root, _| soak::run(root, &soak::Plan::FULL) },
];

/// How many random cases a property test tries with `--long`.
const LONG_CASES: &str = "20000";

/// With it in the environment, live loads are watched at intervals of 5 s, too.
const LONG: &str = "MPP_LONG";

/// Runs every check until one fails, and ends with a line that counts them.
pub(crate) fn run(root: &Path, plan: &Plan) -> Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    let checks = plan.checks();
    for (number, check) in checks.iter().enumerate() {
        writeln!(out, "==> {}/{} {}", number + 1, checks.len(), check.name)?;
        out.flush()?;
        let (outcome, took) = timed(|| (check.run)(root, plan));
        let took = seconds(took);
        if let Err(error) = outcome {
            writeln!(out, "FAILED: {} after {took}: {error:#}", check.name)?;
            writeln!(out, "checks: {number} passed, 1 failed")?;
            return Ok(ExitCode::FAILURE);
        }
        writeln!(out, "    {}: {took}", check.name)?;
    }
    writeln!(out, "checks: {} passed, 0 failed", checks.len())?;
    Ok(ExitCode::SUCCESS)
}

fn check_format(root: &Path, _: &Plan) -> Result<()> {
    Program::cargo(root, "cargo fmt --all --check").run()?;
    let fuzz = root.join("fuzz");
    if fuzz.join("Cargo.toml").exists() {
        Program::cargo(&fuzz, "cargo fmt --check").run()?;
    }
    Ok(())
}

fn check_clippy(root: &Path, _: &Plan) -> Result<()> {
    Program::cargo(root, "cargo clippy --quiet --workspace --all-targets -- -D warnings").run()?;
    fuzz::check_clippy(root)
}

fn build_programs(root: &Path, _: &Plan) -> Result<()> {
    Program::cargo(root, "cargo build --quiet --workspace --bins").run()
}

fn run_tests(root: &Path, plan: &Plan) -> Result<()> {
    let has_nextest = Program::cargo(root, "cargo nextest --version").succeeds();
    let line = match (has_nextest, plan.depth) {
        (true, Depth::Usual) => "cargo nextest run --workspace --all-targets --status-level fail",
        (true, Depth::Long) => {
            "cargo nextest run --workspace --all-targets --status-level fail --retries 0"
        }
        (false, _) => "cargo test --quiet --workspace --all-targets",
    };
    let tests = Program::cargo(root, line);
    match plan.depth {
        Depth::Usual => tests.run(),
        Depth::Long => tests.env("PROPTEST_CASES", LONG_CASES).env(LONG, "1").run(),
    }
}

fn run_doc_tests(root: &Path, _: &Plan) -> Result<()> {
    Program::cargo(root, "cargo test --quiet --workspace --doc").run()
}

fn build_documentation(root: &Path, _: &Plan) -> Result<()> {
    let line = "cargo doc --quiet --workspace --no-deps";
    Program::cargo(root, line).env("RUSTDOCFLAGS", "-D warnings").run()
}

fn run_fuzz_targets(root: &Path, plan: &Plan) -> Result<()> {
    fuzz::run_all(root, plan.fuzz_seconds)
}

fn build_release(root: &Path, _: &Plan) -> Result<()> {
    Program::cargo(root, "cargo build --quiet --release").run()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expected: Result<(u64, bool), &str>) {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        let plan = Plan::parse(&arguments).map(|p| (p.fuzz_seconds, p.depth == Depth::Long));
        let first_line = |error: anyhow::Error| {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        };
        assert_eq!(plan.map_err(first_line), expected.map_err(str::to_owned));
    }

    #[test]
    fn options_of_the_tests_are_read_in_any_order() {
        check(&[], Ok((5, false)));
        check(&["--long"], Ok((60, true)));
        check(&["--fuzz-seconds", "9", "--long"], Ok((9, true)));
        check(&["--fuzz-seconds"], Err("option `--fuzz-seconds` needs a value"));
        check(&["--quick"], Err("unknown option `--quick`"));
    }
}
