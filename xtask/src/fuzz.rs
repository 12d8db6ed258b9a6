//! Fuzz targets: built once with libFuzzer's coverage, then each searches for a while.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::step::Program;
use crate::{USAGE, number};

/// What to fuzz.
pub(crate) struct Plan {
    target: Option<String>,
    seconds: u64,
}

impl Plan {
    /// Reads the arguments behind `fuzz`.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self> {
        let mut plan = Plan { target: None, seconds: 60 };
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seconds" => plan.seconds = number(argument, &mut arguments)?,
                option if option.starts_with('-') => bail!("unknown option `{option}`\n\n{USAGE}"),
                target if plan.target.is_none() => plan.target = Some(target.to_owned()),
                other => bail!("unexpected argument `{other}`\n\n{USAGE}"),
            }
        }
        Ok(plan)
    }
}

/// Fuzzes one target, or each of them.
pub(crate) fn run(root: &Path, plan: &Plan) -> Result<()> {
    let Some(wanted) = &plan.target else { return run_all(root, plan.seconds) };
    let targets = targets(root)?;
    if !targets.contains(wanted) {
        bail!("unknown fuzz target `{wanted}`\n\nhint: there are {}", targets.join(", "));
    }
    build(root)?;
    run_target(root, wanted, plan.seconds)
}

/// Fuzzes every target for so many seconds.
pub(crate) fn run_all(root: &Path, seconds: u64) -> Result<()> {
    build(root)?;
    targets(root)?.iter().try_for_each(|target| run_target(root, target, seconds))
}

fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let mut targets = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot list {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        targets.extend(name.strip_suffix(".rs").map(str::to_owned));
    }
    targets.sort();
    if targets.is_empty() {
        bail!("there is no fuzz target in {}", folder.display());
    }
    Ok(targets)
}

/// Lints the targets and what they share: no command of the workspace reaches them.
pub(crate) fn check_clippy(root: &Path) -> Result<()> {
    cargo(root, "cargo clippy --quiet --all-targets -- -D warnings").run()
}

fn build(root: &Path) -> Result<()> {
    cargo(root, "cargo build --quiet --release --bins").run()
}

/// Cargo with the flags of `fuzz/.cargo/config.toml`, which RUSTFLAGS would replace.
fn cargo(root: &Path, line: &str) -> Program {
    let program = Program::cargo(&root.join("fuzz"), line);
    let program = program.without_env("RUSTFLAGS").without_env("CARGO_ENCODED_RUSTFLAGS");
    program.without_env("CARGO_TARGET_DIR")
}

/// What a run finds goes to the build folder; the committed corpus is only read.
fn run_target(root: &Path, target: &str, seconds: u64) -> Result<()> {
    let folder = root.join("fuzz");
    let (found, artifacts) =
        (folder.join("target/found").join(target), folder.join("artifacts").join(target));
    for folder in [&found, &artifacts] {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let committed = folder.join("corpus").join(target);
    let mut program = Program::at(&folder, built(&folder, target)?)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .arg("-timeout=10")
        .arg(&found);
    if committed.is_dir() {
        program = program.arg(&committed);
    }
    let (is_clean, words) = program.words()?;
    let mut out = std::io::stdout().lock();
    if !is_clean {
        out.write_all(words.as_bytes())?;
        bail!("fuzz target {target} found something, see fuzz/README.md");
    }
    if !words.contains(COVERAGE) {
        bail!("fuzz target {target} was built without coverage: is RUSTFLAGS set?");
    }
    writeln!(out, "  {target}: {}", outcome(&words))?;
    Ok(())
}

/// What libFuzzer says when a target tells it which code an input reaches.
const COVERAGE: &str = "inline 8-bit counters";

/// libFuzzer's own sentence about how far it came.
fn outcome(words: &str) -> &str {
    words.lines().rfind(|line| line.starts_with("Done ")).unwrap_or("done")
}

/// The program of a target: below the folder of the host's triple.
fn built(folder: &Path, target: &str) -> Result<PathBuf> {
    let candidates = folder.join("target").read_dir()?.filter_map(Result::ok);
    let mut paths = candidates.map(|entry| entry.path().join("release").join(target));
    paths.find(|path| path.is_file()).with_context(|| format!("fuzz target {target} was not built"))
}
