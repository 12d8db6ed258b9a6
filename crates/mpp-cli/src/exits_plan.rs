//! What was meant by the options of `mpp exits`: all is checked before anything is watched.

use std::path::PathBuf;
use std::time::Duration;

use metrics_per_process::ended::SummaryColumn;
use metrics_per_process::report::Tier;
use metrics_per_process::selector::{Descendants, GroupKey, Selector};
use mpp_export::Units;
use mpp_export::ended::{Cmdlines, EndedFormat};

use crate::args;
use crate::failure::Failure;
use crate::plan::{number_of_intervals, one_of, tier, time_above_zero};
use crate::selection::{self, utf8};

/// What `mpp exits` is to do.
#[derive(Debug)]
pub(crate) struct ExitsPlan {
    /// Which processes.
    pub(crate) selector: Selector,
    /// The options that were meant, where a condition was typed as a name.
    pub(crate) meant: Option<String>,
    /// What tells their groups apart; `None` for one group of all.
    pub(crate) key: Option<GroupKey>,
    /// One by one, or added up.
    pub(crate) telling: Telling,
    /// Time between two looks.
    pub(crate) interval: Duration,
    /// As what to write.
    pub(crate) format: EndedFormat,
    /// How the table scales its numbers.
    pub(crate) units: Units,
    /// Where to read.
    pub(crate) procfs: PathBuf,
    /// No better than this.
    pub(crate) tier_max: Tier,
}

/// How ended processes are told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// Each, as it ends.
    OneByOne {
        /// For so many intervals; `None` until Ctrl-C.
        count: Option<u64>,
        /// Whether with its command line.
        cmdlines: Cmdlines,
    },
    /// All of them together.
    Summary {
        /// After so long.
        after: Duration,
        /// In this order; `None` by name.
        sort: Option<SummaryColumn>,
    },
}

impl ExitsPlan {
    /// What was meant.
    ///
    /// # Errors
    ///
    /// The first option that cannot be meant.
    pub(crate) fn new(typed: &args::Exits) -> Result<Self, Failure> {
        let descendants = if typed.no_children { Descendants::Left } else { Descendants::Taken };
        let selector = selection::selector(&typed.selection, descendants)?;
        if selector.is_none() && typed.no_children {
            let what = "`--no-children`: nothing is selected whose children to leave out";
            return Err(
                Failure::usage(what).hint("name what to watch: `mpp exits NAME --no-children`")
            );
        }
        let selector =
            selector.unwrap_or_else(|| Selector::default().with_descendants(descendants));
        let format = format(typed)?;
        let telling = telling(typed)?;
        Ok(ExitsPlan {
            key: key(typed, &selector, telling, format)?,
            selector,
            meant: selection::meant(&typed.selection),
            telling,
            interval: time_above_zero("--interval", &typed.interval)?,
            format,
            units: units(typed, format)?,
            procfs: selection::procfs(&typed.procfs)?,
            tier_max: tier(typed.tier.as_deref())?,
        })
    }
}

fn telling(typed: &args::Exits) -> Result<Telling, Failure> {
    let Some(after) = &typed.summary else {
        if typed.sort.is_some() {
            return Err(Failure::usage("`--sort` has no meaning without `--summary`")
                .hint("what ends is printed in the order in which it ends"));
        }
        return Ok(Telling::OneByOne {
            count: typed.count.as_deref().map(number_of_intervals).transpose()?,
            cmdlines: if typed.list_cmdline { Cmdlines::Shown } else { Cmdlines::Hidden },
        });
    };
    let sort = match typed.sort.as_deref() {
        None => Some(SummaryColumn::Ended),
        Some(word) if word == "name" => None,
        Some(word) => Some(sort(utf8("--sort", word)?)?),
    };
    Ok(Telling::Summary { after: time_above_zero("--summary", after)?, sort })
}

fn sort(word: &str) -> Result<SummaryColumn, Failure> {
    SummaryColumn::parse(word).map_err(|unknown| {
        let names = metrics_per_process::ended::SUMMARY_COLUMNS.map(|(name, _)| name);
        Failure::usage(format!("`--sort`: {unknown}"))
            .hint(format!("the columns are {}, name", names.join(", ")))
            .did_you_mean(unknown.closest())
    })
}

/// The groups of a summary, which are programs unless said otherwise. A table of single
/// processes has no room for theirs.
fn key(
    typed: &args::Exits,
    selector: &Selector,
    telling: Telling,
    format: EndedFormat,
) -> Result<Option<GroupKey>, Failure> {
    let is_summary = matches!(telling, Telling::Summary { .. });
    match &typed.by {
        None => Ok(is_summary.then_some(GroupKey::Name)),
        Some(_) if !is_summary && format == EndedFormat::Table => {
            Err(Failure::usage("`--by` has no meaning for a table of single processes")
                .hint("it goes with `--summary 30s`, and with `--format jsonl`"))
        }
        Some(key) => GroupKey::parse(utf8("--by", key)?, selector)
            .map(Some)
            .map_err(|error| selection::refuse("--by", error)),
    }
}

fn format(typed: &args::Exits) -> Result<EndedFormat, Failure> {
    let format = match &typed.format {
        None if typed.json => EndedFormat::Json,
        None => EndedFormat::Table,
        Some(word) => one_of("--format", word)?,
    };
    if typed.json && format != EndedFormat::Json {
        return Err(Failure::usage("`--json` excludes every other `--format`")
            .hint("leave one of the two out"));
    }
    Ok(format)
}

fn units(typed: &args::Exits, format: EndedFormat) -> Result<Units, Failure> {
    let Some(word) = &typed.units else { return Ok(Units::default()) };
    if format != EndedFormat::Table {
        return Err(Failure::usage("`--units` has no meaning for machines, which get base units")
            .hint("it goes with `--format table`"));
    }
    one_of("--units", word)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Command, Typed};
    use crate::failure::Status;

    fn exits(typed: &[&str]) -> Result<ExitsPlan, Failure> {
        let words = ["mpp", "exits"].iter().chain(typed);
        match Typed::try_parse_from(words).expect("arguments").command {
            Some(Command::Exits(typed)) => ExitsPlan::new(&typed),
            other => panic!("expected exits, but found {other:?}"),
        }
    }

    fn planned(typed: &[&str]) -> ExitsPlan {
        exits(typed).unwrap_or_else(|failure| panic!("{typed:?}: {}", failure.message()))
    }

    fn check_refused(typed: &[&str], message: &str, hint: Option<&str>) {
        let failure = exits(typed).expect_err("a refusal");
        let found = (failure.message(), failure.advice());
        assert_eq!(found, (message.to_owned(), hint.map(str::to_owned)), "{typed:?}");
        assert_eq!(failure.status, Status::Usage);
    }

    #[test]
    fn unless_said_otherwise_every_end_is_told_until_somebody_has_enough() {
        let plan = planned(&[]);
        assert_eq!(plan.selector, Selector::default());
        assert_eq!(plan.telling, Telling::OneByOne { count: None, cmdlines: Cmdlines::Hidden });
        assert_eq!((plan.key, plan.interval), (None, Duration::from_secs(1)));
        assert_eq!(plan.tier_max, Tier::A);
    }

    #[test]
    fn a_summary_is_by_program_and_the_most_frequent_first() {
        let plan = planned(&["--summary", "30s"]);
        let after = Duration::from_secs(30);
        assert_eq!(plan.telling, Telling::Summary { after, sort: Some(SummaryColumn::Ended) });
        assert_eq!(plan.key, Some(GroupKey::Name));
        let plan = planned(&["--summary", "500ms", "--by", "user", "-s", "name"]);
        let after = Duration::from_millis(500);
        assert_eq!(plan.telling, Telling::Summary { after, sort: None });
        assert_eq!(plan.key, Some(GroupKey::User));
    }

    #[test]
    fn command_lines_are_shown_only_where_they_are_asked_for() {
        let telling = planned(&["-a", "-c", "3"]).telling;
        assert_eq!(telling, Telling::OneByOne { count: Some(3), cmdlines: Cmdlines::Shown });
    }

    #[test]
    fn what_cannot_be_meant_is_refused_before_anything_is_watched() {
        check_refused(
            &["-s", "cpu"],
            "`--sort` has no meaning without `--summary`",
            Some("what ends is printed in the order in which it ends"),
        );
        check_refused(
            &["--summary", "1s", "-s", "faild"],
            "`--sort`: expected `name` or the name of a column, but found `faild`",
            Some("did you mean `failed`?"),
        );
        check_refused(
            &["-i", "0"],
            "`--interval`: expected a time above 0",
            Some("give `--interval` a time, such as `1s`"),
        );
        check_refused(
            &["--summary", "soon"],
            "`--summary`: expected a time such as `1s`, `500ms` or `1.5`, but found `soon`",
            None,
        );
        check_refused(
            &["--by", "name"],
            "`--by` has no meaning for a table of single processes",
            Some("it goes with `--summary 30s`, and with `--format jsonl`"),
        );
        check_refused(
            &["--format", "prometheus"],
            "`--format`: expected one of table, json, jsonl, csv, but found `prometheus`",
            None,
        );
        check_refused(
            &["--json", "--format", "csv"],
            "`--json` excludes every other `--format`",
            Some("leave one of the two out"),
        );
        check_refused(
            &["--json", "--units", "si"],
            "`--units` has no meaning for machines, which get base units",
            Some("it goes with `--format table`"),
        );
        check_refused(
            &["--no-children"],
            "`--no-children`: nothing is selected whose children to leave out",
            Some("name what to watch: `mpp exits NAME --no-children`"),
        );
        check_refused(&["-c", "0"], "`--count`: expected a number from 1 on, but found `0`", None);
    }
}
