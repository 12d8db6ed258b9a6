//! What was meant by the options of `mpp run`: all is checked before anything is started.

use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

use metrics_per_process::report::Tier;
use metrics_per_process::run::{Cost, Limit, Waiting};
use mpp_export::Units;
use mpp_export::run::read_cost;

use crate::args;
use crate::failure::{Failure, Status};
use crate::plan::{one_of, tier, time_above_zero};
use crate::selection::utf8;
use crate::{interval, nearest};

/// What `mpp run` exits with where it fails itself, as env(1).
pub(crate) const OWN_FAILURE: Status = Status::OfRun(125);

/// Where the jobs of GitHub's actions take their summaries from.
const GITHUB_SUMMARY: &str = "GITHUB_STEP_SUMMARY";

/// Larger files are not what a run used.
const COST_BYTES_MAX: u64 = 64 << 20;

/// What `mpp run` is to do.
#[derive(Debug)]
pub(crate) struct RunPlan {
    /// The command and its arguments.
    pub(crate) command: Vec<OsString>,
    /// What must not hold.
    pub(crate) limits: Vec<Limit>,
    /// What to compare with.
    pub(crate) before: Option<Cost>,
    /// How long to wait for what is left.
    pub(crate) waiting: Waiting,
    /// How often to look.
    pub(crate) period: Duration,
    /// No better than this.
    pub(crate) tier_max: Tier,
    /// Where the report goes as JSON.
    pub(crate) output: Option<Target>,
    /// Where every look goes.
    pub(crate) series: Option<Target>,
    /// Where the summary goes.
    pub(crate) summary: Option<Target>,
    /// What goes to stderr.
    pub(crate) words: Words,
    /// How numbers are scaled.
    pub(crate) units: Units,
}

/// A file to write, open already, so that it is not a long run that finds out it cannot be.
#[derive(Debug)]
pub(crate) struct Target {
    /// As it was typed.
    pub(crate) path: PathBuf,
    /// For writing, at its beginning or its end.
    pub(crate) file: File,
}

/// What is said on stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Words {
    /// The report as text.
    Text,
    /// The report as Markdown.
    Markdown,
    /// The report as JSON.
    Json,
    /// Limits alone.
    Limits,
    /// What went wrong.
    Trouble,
}

impl RunPlan {
    /// What was meant.
    ///
    /// # Errors
    ///
    /// The first option that cannot be meant, or a file that cannot be read or written.
    pub(crate) fn new(typed: &args::Run) -> Result<Self, Failure> {
        let limits = typed.fail_if.iter().map(|text| limit(text)).collect::<Result<_, _>>()?;
        let summary = typed.summary.as_deref().map(summary_kind).transpose()?;
        let waiting = waiting(typed)?;
        let period = time_above_zero("--interval", &typed.interval)?;
        let tier_max = tier(typed.tier.as_deref())?;
        let units =
            typed.units.as_deref().map_or(Ok(Units::default()), |u| one_of("--units", u))?;
        let words = words(typed, summary.as_ref())?;
        // Read before anything is written: it may be the same file.
        let before = typed.compare.as_deref().map(cost).transpose()?;
        Ok(RunPlan {
            command: typed.command.clone(),
            limits,
            before,
            waiting,
            period,
            tier_max,
            output: typed.output.as_deref().map(|path| created("--output", path)).transpose()?,
            series: typed.series.as_deref().map(|path| created("--series", path)).transpose()?,
            summary: match summary {
                Some(Summary::Github(path)) => Some(appended(&path)?),
                Some(Summary::Markdown) | None => None,
            },
            words,
            units,
        })
    }
}

/// What `--summary` means.
#[derive(Debug)]
enum Summary {
    Markdown,
    Github(PathBuf),
}

fn summary_kind(typed: &OsStr) -> Result<Summary, Failure> {
    match utf8("--summary", typed)? {
        "markdown" => Ok(Summary::Markdown),
        "github" => match std::env::var_os(GITHUB_SUMMARY).filter(|path| !path.is_empty()) {
            Some(path) => Ok(Summary::Github(PathBuf::from(path))),
            None => Err(Failure::usage(format!(
                "`--summary github`: expected the variable `{GITHUB_SUMMARY}`, but it is not set"
            ))
            .hint("elsewhere than in a job of GitHub's, `--summary markdown` goes to stderr")),
        },
        other => {
            let what = format!("`--summary`: expected github or markdown, but found `{other}`");
            Err(Failure::usage(what).did_you_mean(nearest(other, &["github", "markdown"])))
        }
    }
}

fn words(typed: &args::Run, summary: Option<&Summary>) -> Result<Words, Failure> {
    let wants_markdown = matches!(summary, Some(Summary::Markdown));
    if typed.json && wants_markdown {
        return Err(Failure::usage("`--json` and `--summary markdown` both go to stderr")
            .hint("leave one of the two out, or write JSON to a file with -o"));
    }
    Ok(if typed.quiet {
        Words::Trouble
    } else if typed.json {
        Words::Json
    } else if wants_markdown {
        Words::Markdown
    } else if typed.output.is_some() && typed.compare.is_none() {
        Words::Limits
    } else {
        Words::Text
    })
}

fn waiting(typed: &args::Run) -> Result<Waiting, Failure> {
    Ok(match (&typed.wait, typed.no_wait) {
        (_, true) => Waiting::UpTo(Duration::ZERO),
        (Some(longest), false) => Waiting::UpTo(time("--wait", longest)?),
        (None, false) => Waiting::ForAll,
    })
}

fn time(option: &str, typed: &OsStr) -> Result<Duration, Failure> {
    let text = utf8(option, typed)?;
    interval::parse(text).map_err(|what| Failure::usage(format!("`{option}`: {what}")))
}

fn limit(typed: &OsStr) -> Result<Limit, Failure> {
    Limit::parse(utf8("--fail-if", typed)?)
        .map_err(|error| Failure::usage(format!("`--fail-if`: {error}")).hint(error.hint()))
}

/// What an earlier run used.
fn cost(path: &Path) -> Result<Cost, Failure> {
    use std::io::Read as _;
    let refuse = |cause: anyhow::Error| {
        let context = format!("`--compare`: cannot read {}", path.display());
        let mut failure = Failure::usage("");
        failure.cause = cause.context(context);
        failure.hint("`mpp run -o FILE -- COMMAND` writes one")
    };
    let file = File::open(path).map_err(|error| refuse(error.into()))?;
    let mut text = Vec::new();
    let read = file.take(COST_BYTES_MAX).read_to_end(&mut text);
    read.map_err(|error| refuse(error.into()))?;
    read_cost(&text).map_err(|error| refuse(error.into()))
}

fn created(option: &str, path: &Path) -> Result<Target, Failure> {
    let file = File::create(path).map_err(|cause| cannot_write(option, path, cause))?;
    Ok(Target { path: path.to_owned(), file })
}

fn appended(path: &Path) -> Result<Target, Failure> {
    let file = OpenOptions::new().append(true).create(true).open(path);
    let file = file.map_err(|cause| cannot_write("--summary", path, cause))?;
    Ok(Target { path: path.to_owned(), file })
}

fn cannot_write(option: &str, path: &Path, cause: std::io::Error) -> Failure {
    let context = format!("`{option}`: cannot write {}", path.display());
    let cause = anyhow::Error::new(cause).context(context);
    Failure { status: OWN_FAILURE, cause, hint: None }
}
