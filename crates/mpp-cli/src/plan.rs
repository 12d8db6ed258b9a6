//! What was meant: every option checked, and nothing left to refuse once measuring begins.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use metrics_per_process::metric::{self, MetricId, Need};
use metrics_per_process::report::{Column, Form, Tier};
use metrics_per_process::selector::{Descendants, GroupKey, Selector};
use mpp_export::{CsvLayout, Format, Units, UnknownWord};

use crate::alternatives::{Alternative, alternatives};
use crate::args;
use crate::failure::Failure;
use crate::selection::{self, utf8};
use crate::{interval, nearest};

/// What `mpp show` is to do.
#[derive(Debug)]
pub(crate) struct ShowPlan {
    /// What the rows are.
    pub(crate) rows: Rows,
    /// Of conditions with several values each value, to see whether somebody has it.
    pub(crate) alternatives: Vec<Alternative>,
    /// The options that were meant, where a condition was typed as a name.
    pub(crate) meant: Option<String>,
    /// What the columns are.
    pub(crate) columns: Vec<Column>,
    /// Time between samples; zero for a single sweep.
    pub(crate) interval: Duration,
    /// How many samples to print, at least one.
    pub(crate) count: u64,
    /// In which order the rows stand.
    pub(crate) sort: Sort,
    /// How to print.
    pub(crate) output: Output,
    /// Where to read.
    pub(crate) procfs: PathBuf,
    /// No better than this.
    pub(crate) tier_max: Tier,
}

/// What the rows of a report are.
#[derive(Debug)]
pub(crate) enum Rows {
    /// The selected processes, as one.
    One(Selector),
    /// One row for each value among the selected.
    By(Selector, GroupKey),
    /// One row for each systemd unit, or program where there is none.
    Everything,
}

/// The order of rows. Equal ones stand by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// By the column at this position, largest first.
    Column(usize),
    /// By name.
    Name,
}

/// How a report is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Output {
    /// In which format.
    pub(crate) format: Format,
    /// How the table scales its numbers.
    pub(crate) units: Units,
    /// How CSV is laid out.
    pub(crate) csv: CsvLayout,
    /// What Graphite's paths begin with, where not with the machine's name.
    pub(crate) prefix: Option<String>,
}

impl ShowPlan {
    /// What was meant.
    ///
    /// # Errors
    ///
    /// The first option that cannot be meant.
    pub(crate) fn new(typed: &args::Show) -> Result<Self, Failure> {
        refuse_history(typed.since.as_deref())?;
        let interval = interval_of(typed)?;
        let output = output(typed)?;
        let columns = columns(typed, &output, interval)?;
        Ok(ShowPlan {
            rows: rows(typed)?,
            alternatives: alternatives(&typed.selection)?,
            meant: selection::meant(&typed.selection),
            sort: sort(typed.sort.as_deref(), &columns)?,
            columns,
            interval,
            count: count(typed.count.as_deref(), interval)?,
            output,
            procfs: selection::procfs(&typed.procfs)?,
            tier_max: tier(typed.tier.as_deref())?,
        })
    }
}

fn refuse_history(since: Option<&OsStr>) -> Result<(), Failure> {
    match since {
        None => Ok(()),
        Some(_) => Err(Failure::usage("`--since`: there is no history to look into yet")
            .hint("leave `--since` out to measure now")),
    }
}

fn interval_of(typed: &args::Show) -> Result<Duration, Failure> {
    let text = utf8("--interval", &typed.interval)?;
    interval::parse(text).map_err(|what| Failure::usage(format!("`--interval`: {what}")))
}

fn count(typed: Option<&OsStr>, interval: Duration) -> Result<u64, Failure> {
    let Some(count) = typed.map(number_of_intervals).transpose()? else { return Ok(1) };
    if count > 1 && interval.is_zero() {
        let what = format!("`--count`: expected 1 with an interval of 0, but found `{count}`");
        return Err(Failure::usage(what).hint("give `--interval` a time, such as `1s`"));
    }
    Ok(count)
}

/// A time above 0 that something is to take.
///
/// # Errors
///
/// Anything else.
pub(crate) fn time_above_zero(option: &str, typed: &OsStr) -> Result<Duration, Failure> {
    let text = utf8(option, typed)?;
    let time =
        interval::parse(text).map_err(|what| Failure::usage(format!("`{option}`: {what}")))?;
    if time.is_zero() {
        return Err(Failure::usage(format!("`{option}`: expected a time above 0"))
            .hint(format!("give `{option}` a time, such as `1s`")));
    }
    Ok(time)
}

/// What `--count` says.
///
/// # Errors
///
/// Anything but a number from 1 on.
pub(crate) fn number_of_intervals(typed: &OsStr) -> Result<u64, Failure> {
    let text = utf8("--count", typed)?;
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| {
        Failure::usage(format!("`--count`: expected a number from 1 on, but found `{text}`"))
    })
}

fn rows(typed: &args::Show) -> Result<Rows, Failure> {
    let descendants = if typed.no_children { Descendants::Left } else { Descendants::Taken };
    let selector = selection::selector(&typed.selection, descendants)?;
    match (&typed.by, selector) {
        (Some(key), selector) => {
            let everything = || Selector::default().with_descendants(descendants);
            let selector = selector.unwrap_or_else(everything);
            let key = GroupKey::parse(utf8("--by", key)?, &selector)
                .map_err(|error| selection::refuse("--by", error))?;
            Ok(Rows::By(selector, key))
        }
        (None, Some(selector)) => Ok(Rows::One(selector)),
        (None, None) if typed.no_children => {
            Err(Failure::usage("`--no-children`: nothing is selected whose children to leave out")
                .hint("name what to measure: `mpp show NAME --no-children`"))
        }
        (None, None) => Ok(Rows::Everything),
    }
}

/// What stands in a report: what was asked for, or what suits the format.
///
/// A single sweep has no rates; where nothing was asked for, totals stand in for them.
fn columns(
    typed: &args::Show,
    output: &Output,
    interval: Duration,
) -> Result<Vec<Column>, Failure> {
    let mut columns = match &typed.metrics {
        Some(metrics) => {
            metric::choose(utf8("--metrics", metrics)?).map_err(|error| unknown_metric(&error))?
        }
        None if output.format == Format::Table => preset("default")?,
        None => affordable(preset("all")?),
    };
    if typed.pss {
        let level = |id: MetricId| Column { metric: id.metric(), form: Form::Level };
        columns.extend([MetricId::MemoryPss, MetricId::MemoryUss].map(level));
    }
    if interval.is_zero() {
        columns = match &typed.metrics {
            Some(_) => columns.into_iter().filter(|column| column.form == Form::Level).collect(),
            None => columns.into_iter().filter_map(without_interval).collect(),
        };
    }
    let columns = each_once(columns);
    if columns.is_empty() {
        return Err(Failure::usage("`--metrics`: only rates, and an interval of 0 has none")
            .hint("give `--interval` a time, such as `1s`"));
    }
    Ok(columns)
}

/// Machines get every level and rate that costs little to read.
fn affordable(columns: Vec<Column>) -> Vec<Column> {
    let is_cheap = |need| matches!(need, Need::Always | Need::Memory | Need::Io | Need::Fds);
    columns.into_iter().filter(|column| is_cheap(column.metric.need)).collect()
}

/// What a single sweep can say in place of a column.
fn without_interval(column: Column) -> Option<Column> {
    let has_meaning = column.metric.id != MetricId::CpuPercent;
    has_meaning.then_some(Column { form: Form::Level, ..column })
}

fn each_once(columns: Vec<Column>) -> Vec<Column> {
    let mut once: Vec<Column> = Vec::with_capacity(columns.len());
    for column in columns {
        let is_same =
            |other: &Column| other.metric.id == column.metric.id && other.form == column.form;
        if !once.iter().any(is_same) {
            once.push(column);
        }
    }
    once
}

fn preset(word: &str) -> Result<Vec<Column>, Failure> {
    metric::choose(word).map_err(|error| unknown_metric(&error))
}

fn unknown_metric(error: &metric::UnknownMetric) -> Failure {
    Failure::usage(format!("`--metrics`: {error}")).hint(error.hint())
}

fn sort(typed: Option<&OsStr>, columns: &[Column]) -> Result<Sort, Failure> {
    let position = |name: &str| columns.iter().position(|column| column.name() == name);
    let Some(typed) = typed else {
        let busiest = [MetricId::CpuPercent, MetricId::MemoryRss];
        let busiest = busiest.into_iter().find_map(|id| position(id.metric().name));
        return Ok(busiest.map_or(Sort::Name, Sort::Column));
    };
    let text = utf8("--sort", typed)?;
    if text == "name" {
        return Ok(Sort::Name);
    }
    if let Some(position) = position(text) {
        return Ok(Sort::Column(position));
    }
    let names: Vec<_> = columns.iter().map(Column::name).collect();
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).chain(["name"]).collect();
    if metric::column_by_name(text).is_some() {
        let rate = format!("{text}_per_sec");
        let failure = Failure::usage(format!("`--sort`: `{text}` is not among the columns"))
            .hint(format!("add it to them: `-m default,{text}`"));
        return Err(failure.did_you_mean(names.contains(&rate.as_str()).then_some(rate)));
    }
    let what = format!("`--sort`: expected `name` or the name of a column, but found `{text}`");
    let nearest = nearest(text, &names).or_else(|| metric::closest(text));
    Err(Failure::usage(what)
        .hint(format!("the columns are {}", names.join(", ")))
        .did_you_mean(nearest))
}

/// The tier that was typed, or the best.
///
/// # Errors
///
/// Anything but the three letters.
pub(crate) fn tier(typed: Option<&OsStr>) -> Result<Tier, Failure> {
    let Some(typed) = typed else { return Ok(Tier::A) };
    let text = utf8("--tier", typed)?;
    let tiers = [Tier::A, Tier::B, Tier::C];
    let found = tiers.into_iter().find(|tier| tier.letter().eq_ignore_ascii_case(text));
    found.ok_or_else(|| Failure::usage(format!("`--tier`: expected A, B or C, but found `{text}`")))
}

fn output(typed: &args::Show) -> Result<Output, Failure> {
    let format = match &typed.format {
        None if typed.json => Format::Json,
        None => Format::Table,
        Some(word) => one_of("--format", word)?,
    };
    if typed.json && format != Format::Json {
        return Err(Failure::usage("`--json` excludes every other `--format`")
            .hint("leave one of the two out"));
    }
    for (option, is_typed, wanted) in [
        ("--wide", typed.wide, Format::Csv),
        ("--prefix", typed.prefix.is_some(), Format::Graphite),
        ("--units", typed.units.is_some(), Format::Table),
    ] {
        if is_typed && format != wanted {
            return Err(without_meaning(option, format, wanted));
        }
    }
    Ok(Output {
        format,
        units: typed
            .units
            .as_deref()
            .map_or(Ok(Units::default()), |word| one_of("--units", word))?,
        csv: if typed.wide { CsvLayout::Wide } else { CsvLayout::Long },
        prefix: typed.prefix.as_deref().map(graphite_prefix).transpose()?,
    })
}

/// Series names end at a blank, so none may stand in them.
fn graphite_prefix(typed: &OsStr) -> Result<String, Failure> {
    let text = utf8("--prefix", typed)?;
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        let what = "`--prefix`: expected visible ASCII characters";
        return Err(Failure::usage(format!("{what}, but found `{text}`"))
            .hint("a prefix looks like `servers.web17`"));
    }
    Ok(text.trim_end_matches('.').to_owned())
}

/// That an option goes with another format.
fn without_meaning(option: &str, format: Format, wanted: Format) -> Failure {
    let word =
        |format| Format::WORDS.iter().find(|(_, f)| *f == format).map_or("", |(word, _)| word);
    Failure::usage(format!("`{option}` has no meaning with `--format {}`", word(format)))
        .hint(format!("it goes with `--format {}`", word(wanted)))
}

/// The word of a closed set that was typed.
///
/// # Errors
///
/// Any other word, asking whether one of the set was meant.
pub(crate) fn one_of<T>(option: &str, typed: &OsStr) -> Result<T, Failure>
where
    T: FromStr<Err = UnknownWord>,
{
    utf8(option, typed)?.parse().map_err(|unknown: UnknownWord| {
        Failure::usage(format!("`{option}`: {unknown}")).did_you_mean(unknown.closest())
    })
}

/// What `mpp find` is to do.
#[derive(Debug)]
pub(crate) struct FindPlan {
    /// Which processes, and whether with their descendants.
    pub(crate) selector: Selector,
    /// What to print of them.
    pub(crate) listing: Listing,
    /// Where to read.
    pub(crate) procfs: PathBuf,
}

/// What `mpp find` prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// How many there are.
    Count,
    /// Each one, with this between them.
    Each(Detail, Vec<u8>),
}

/// What `mpp find` prints of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    /// Its PID.
    Pid,
    /// PID and name.
    Name,
    /// PID and command line.
    Cmdline,
}

impl FindPlan {
    /// What was meant.
    ///
    /// # Errors
    ///
    /// The first option that cannot be meant, or that nothing is looked for.
    pub(crate) fn new(typed: &args::Find) -> Result<Self, Failure> {
        let descendants = if typed.children { Descendants::Taken } else { Descendants::Left };
        let selector = selection::selector(&typed.selection, descendants)?.ok_or_else(|| {
            Failure::usage("nothing to look for")
                .hint("`mpp find NAME`, or any selecting option of `mpp find --help`")
        })?;
        let detail = match (typed.list_name, typed.list_cmdline) {
            (_, true) => Detail::Cmdline,
            (true, false) => Detail::Name,
            (false, false) => Detail::Pid,
        };
        let delimiter = typed.delimiter.as_deref().unwrap_or(OsStr::new("\n"));
        let listing = match typed.count {
            true => Listing::Count,
            false => Listing::Each(detail, delimiter.as_bytes().to_vec()),
        };
        Ok(FindPlan { selector, listing, procfs: selection::procfs(&typed.procfs)? })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Command, Typed};

    fn show(typed: &[&str]) -> Result<ShowPlan, Failure> {
        let words = ["mpp", "show"].iter().chain(typed);
        match Typed::try_parse_from(words).expect("arguments").command {
            Some(Command::Show(typed)) => ShowPlan::new(&typed),
            other => panic!("expected show, but found {other:?}"),
        }
    }

    fn planned(typed: &[&str]) -> ShowPlan {
        show(typed).unwrap_or_else(|failure| panic!("{typed:?}: {}", failure.message()))
    }

    fn find(typed: &[&str]) -> Result<FindPlan, Failure> {
        let words = ["mpp", "find"].iter().chain(typed);
        match Typed::try_parse_from(words).expect("arguments").command {
            Some(Command::Find(typed)) => FindPlan::new(&typed),
            other => panic!("expected find, but found {other:?}"),
        }
    }

    fn check_refused(typed: &[&str], message: &str, hint: Option<&str>) {
        let failure = show(typed).expect_err("a refusal");
        let found = (failure.message(), failure.advice());
        assert_eq!(found, (message.to_owned(), hint.map(str::to_owned)), "{typed:?}");
        assert_eq!(failure.status, crate::failure::Status::Usage);
    }

    fn names(plan: &ShowPlan) -> Vec<String> {
        plan.columns.iter().map(|column| column.name().into_owned()).collect()
    }

    #[test]
    fn several_conditions_are_one_selector() {
        let plan = planned(&[
            "nginx",
            "php*",
            "-u",
            "max,33",
            "-e",
            "TAG=x",
            "-e",
            "!OLD",
            "-x",
            "name:curl",
        ]);
        let Rows::One(selector) = plan.rows else { panic!("expected one group") };
        assert_eq!(
            selector.to_string(),
            "name:nginx name:php* user:max user:33 env:TAG=x !env:OLD !name:curl"
        );
        assert_eq!(selector.descendants(), Descendants::Taken);
    }

    #[test]
    fn nothing_selected_is_everything() {
        assert!(matches!(planned(&[]).rows, Rows::Everything));
        let Rows::By(selector, key) = planned(&["--by", "user"]).rows else { panic!("by") };
        assert!(selector.is_unconditional());
        assert_eq!(key, GroupKey::User);
    }

    #[test]
    fn an_interval_of_nothing_has_totals_in_place_of_rates() {
        let timed = planned(&[]);
        assert_eq!((timed.interval, timed.count), (Duration::from_secs(1), 1));
        assert!(names(&timed).contains(&"io_counters.write_bytes_per_sec".to_owned()));
        let single = planned(&["-i", "0"]);
        assert!(names(&single).contains(&"io_counters.write_bytes".to_owned()));
        assert!(names(&single).iter().all(|name| !name.ends_with("_per_sec")));
        assert!(!names(&single).contains(&"cpu.percent".to_owned()));
    }

    #[test]
    fn machines_get_totals_and_rates_and_nothing_dear() {
        let names = names(&planned(&["--format", "jsonl"]));
        for expected in ["io_counters.write_bytes", "io_counters.write_bytes_per_sec", "fds"] {
            assert!(names.contains(&expected.to_owned()), "{expected} in {names:?}");
        }
        for dear in ["memory.pss", "conns.tcp.total", "ctx_switches.voluntary"] {
            assert!(!names.contains(&dear.to_owned()), "{dear} in {names:?}");
        }
    }

    #[test]
    fn proportional_memory_comes_only_when_asked_for() {
        assert!(!names(&planned(&["-m", "all"])).contains(&"memory.pss".to_owned()));
        let names = names(&planned(&["-m", "fds,memory.pss", "--pss"]));
        assert_eq!(names, ["memory.pss", "fds", "memory.uss"]);
    }

    #[test]
    fn rows_stand_by_what_was_asked_or_by_cpu() {
        let position = |plan: &ShowPlan, name: &str| {
            names(plan).iter().position(|other| other == name).map(Sort::Column)
        };
        let plan = planned(&[]);
        assert_eq!(Some(plan.sort), position(&plan, "cpu.percent"));
        let plan = planned(&["-i", "0"]);
        assert_eq!(Some(plan.sort), position(&plan, "memory.rss"));
        let plan = planned(&["-s", "fds"]);
        assert_eq!(Some(plan.sort), position(&plan, "fds"));
        assert_eq!(planned(&["-s", "name"]).sort, Sort::Name);
        assert_eq!(planned(&["-m", "fds"]).sort, Sort::Name);
    }

    #[test]
    fn formats_take_their_own_options_only() {
        assert_eq!(planned(&["--json"]).output.format, Format::Json);
        assert_eq!(planned(&["--format", "csv", "--wide"]).output.csv, CsvLayout::Wide);
        assert_eq!(planned(&["--units", "si"]).output.units, Units::Si);
        let plan = planned(&["--format", "graphite", "--prefix", "servers.web17."]);
        assert_eq!(plan.output.prefix.as_deref(), Some("servers.web17"));
        check_refused(
            &["--wide"],
            "`--wide` has no meaning with `--format table`",
            Some("it goes with `--format csv`"),
        );
        check_refused(
            &["--json", "--format", "csv"],
            "`--json` excludes every other `--format`",
            Some("leave one of the two out"),
        );
        check_refused(
            &["--format", "graphite", "--prefix", "a b"],
            "`--prefix`: expected visible ASCII characters, but found `a b`",
            Some("a prefix looks like `servers.web17`"),
        );
        check_refused(
            &["--format", "josn"],
            "`--format`: expected one of table, json, jsonl, csv, graphite, prometheus, influx, \
             but found `josn`",
            Some("did you mean `json`?"),
        );
    }

    #[test]
    fn times_and_counts_are_checked() {
        check_refused(
            &["-i", "soon"],
            "`--interval`: expected a time such as `1s`, `500ms` or `1.5`, but found `soon`",
            None,
        );
        check_refused(&["-c", "0"], "`--count`: expected a number from 1 on, but found `0`", None);
        check_refused(
            &["-c", "-1"],
            "`--count`: expected a number from 1 on, but found `-1`",
            None,
        );
        check_refused(
            &["-i", "0", "-c", "2"],
            "`--count`: expected 1 with an interval of 0, but found `2`",
            Some("give `--interval` a time, such as `1s`"),
        );
        check_refused(
            &["-i", "0", "-m", "cpu.user_per_sec"],
            "`--metrics`: only rates, and an interval of 0 has none",
            Some("give `--interval` a time, such as `1s`"),
        );
    }

    #[test]
    fn columns_to_sort_by_are_checked() {
        check_refused(
            &["-s", "memory.rs"],
            "`--sort`: expected `name` or the name of a column, but found `memory.rs`",
            Some("did you mean `memory.rss`?"),
        );
        check_refused(
            &["-s", "memory.vms"],
            "`--sort`: `memory.vms` is not among the columns",
            Some("add it to them: `-m default,memory.vms`"),
        );
        check_refused(
            &["-s", "io_counters.write_bytes"],
            "`--sort`: `io_counters.write_bytes` is not among the columns",
            Some("did you mean `io_counters.write_bytes_per_sec`?"),
        );
    }

    #[test]
    fn what_does_not_exist_yet_is_said_so() {
        check_refused(
            &["--since", "24h"],
            "`--since`: there is no history to look into yet",
            Some("leave `--since` out to measure now"),
        );
        assert_eq!(planned(&["--tier", "b"]).tier_max, Tier::B);
        check_refused(&["--tier", "D"], "`--tier`: expected A, B or C, but found `D`", None);
    }

    #[test]
    fn children_are_left_out_only_of_something() {
        let Rows::One(selector) = planned(&["nginx", "--no-children"]).rows else { panic!("one") };
        assert_eq!(selector.descendants(), Descendants::Left);
        check_refused(
            &["--no-children"],
            "`--no-children`: nothing is selected whose children to leave out",
            Some("name what to measure: `mpp show NAME --no-children`"),
        );
    }

    #[test]
    fn find_takes_only_what_matched_unless_told() {
        let plan = find(&["nginx"]).expect("a plan");
        assert_eq!(plan.selector.descendants(), Descendants::Left);
        assert_eq!(plan.listing, Listing::Each(Detail::Pid, b"\n".to_vec()));
        let plan = find(&["nginx", "--children", "-l", "-d", ", "]).expect("a plan");
        assert_eq!(plan.selector.descendants(), Descendants::Taken);
        assert_eq!(plan.listing, Listing::Each(Detail::Name, b", ".to_vec()));
        assert_eq!(find(&["-u", "0", "-c"]).expect("a plan").listing, Listing::Count);
        assert_eq!(find(&[]).expect_err("a refusal").message(), "nothing to look for");
    }
}
