//! `mpp sensu`: stands in for `metrics-per-process.py`, line by line.
//!
//! What the script prints, drops and exits with is kept, also where it is odd. Three
//! things are cured: with a PID file the script measures itself, one vanished process
//! costs it all lines, and a bad regex ends in a traceback.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics_per_process::drop_in::{Selection, StatValue, Stats};
use metrics_per_process::selector::{Descendants, Selector};
use metrics_per_process::{
    Error, FindOptions, MemoryReaderKind, doctor, find, find_pids, find_pids_from_name,
    multi_pid_process_stats, stats_per_pid,
};

use crate::args;
use crate::failure::{Failure, Status};
use crate::metric_pattern::{MetricPatterns, PatternError};
use crate::python_float::python2_str;
use crate::screen;
use crate::selection::{PROCFS, seclusion, utf8};

/// The kernel keeps no more of a name, and the script compares with what it keeps.
const COMM_BYTES_MAX: usize = 15;

/// The sum that is printed also when it is 0, and whatever the patterns say.
const TOTAL_PROCESSES: &str = "total_processes";

/// Prints the lines that the script would have printed.
///
/// What the script refuses in words it refuses on stdout, and exits with 1.
pub(crate) fn run(typed: &args::Sensu, out: &mut dyn Write) -> Result<Status, Failure> {
    let wanted = match Wanted::new(typed) {
        Ok(wanted) => wanted,
        Err(what) => {
            writeln!(out, "{what}")?;
            return Ok(Status::NothingMatched);
        }
    };
    let patterns = patterns(&typed.metrics_regexes)?;
    let stats = match wanted.measure() {
        Ok(stats) => stats,
        Err(error @ Error::PidFile(_)) => {
            writeln!(out, "{}", Failure::from(error).message())?;
            return Ok(Status::NothingMatched);
        }
        Err(error) => return Err(Failure { status: Status::NothingMatched, ..error.into() }),
    };
    let epoch_seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for (metric, value) in chosen(&stats, &patterns)? {
        out.write_all(typed.graphite_scheme.as_bytes())?;
        writeln!(out, ".{metric} {} {epoch_seconds}", number(value))?;
    }
    Ok(Status::Ok)
}

/// What the script was asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'a> {
    /// The sum over the processes of a name.
    Name(&'a OsStr),
    /// The process in a PID file.
    PidFile(&'a OsStr),
    /// The sum over the processes of a user.
    User(&'a OsStr),
}

impl<'a> Wanted<'a> {
    /// The one thing that was asked for, or what the script says where it is not one.
    fn new(typed: &'a args::Sensu) -> Result<Self, &'static str> {
        match (&typed.process_name, &typed.pid_file, &typed.user) {
            (Some(name), None, None) => Ok(Wanted::Name(name)),
            (None, Some(path), None) => Ok(Wanted::PidFile(path)),
            (None, None, Some(user)) => Ok(Wanted::User(user)),
            (None, None, None) => {
                Err("one of a process name (-n), a pid file (-p) or a user (-u) is needed")
            }
            _ => Err("only one of a process name (-n), a pid file (-p) or a user (-u) is possible"),
        }
    }

    /// Reads the processes. An empty word selects nothing and prints nothing, as in the script.
    fn measure(&self) -> Result<Stats, Error> {
        match self {
            Wanted::Name(word) | Wanted::PidFile(word) | Wanted::User(word) if word.is_empty() => {
                Ok(Stats::new())
            }
            Wanted::Name(name) => {
                warn_of_long(name);
                warn_of_seclusion()?;
                sums(&find_pids_from_name(name.as_bytes())?)
            }
            Wanted::User(user) => {
                warn_of_seclusion()?;
                let users = vec![user.as_bytes().to_vec()];
                sums(&find_pids(&Selection { users, ..Selection::default() })?)
            }
            Wanted::PidFile(path) => of_pid_file(path),
        }
    }
}

/// The script's names are the kernel's, which are cut.
fn warn_of_long(name: &OsStr) {
    if name.len() > COMM_BYTES_MAX {
        screen::note(&format!(
            "`{}` is longer than {COMM_BYTES_MAX} bytes, where the kernel cuts names: \
             nothing matches; `mpp show` takes whole names",
            name.to_string_lossy()
        ));
    }
}

/// Graphite's lines cannot say that a sum is a lower bound.
fn warn_of_seclusion() -> Result<(), Error> {
    if let Some(why) = seclusion(doctor::visibility(PROCFS)?) {
        screen::note(why);
    }
    Ok(())
}

/// The sums, with the number of processes also where there is none.
fn sums(pids: &[u32]) -> Result<Stats, Error> {
    let mut stats = multi_pid_process_stats(pids)?;
    stats.entry(TOTAL_PROCESSES.to_owned()).or_insert(StatValue::Integer(0));
    Ok(stats)
}

/// Everything of the one process, zeros kept.
fn of_pid_file(path: &OsStr) -> Result<Stats, Error> {
    // That the path is one at all is checked where it is opened: an error here has no other cause.
    let selector = Selector::default().with_descendants(Descendants::Left).pid_file(path);
    let Ok(selector) = selector else { return Ok(Stats::new()) };
    let options =
        FindOptions { memory_reader: MemoryReaderKind::HelperProcess, ..FindOptions::default() };
    let found = find(&selector, &options)?;
    match found.processes.first() {
        Some(process) => stats_per_pid(process.key.pid),
        None => {
            screen::note(&format!("no process has the PID in {}", path.to_string_lossy()));
            Ok(Stats::new())
        }
    }
}

fn patterns(typed: &OsStr) -> Result<MetricPatterns, Failure> {
    let refuse = |failure: Failure| Failure { status: Status::NothingMatched, ..failure };
    let list = utf8("--metrics-regexes", typed).map_err(refuse)?;
    MetricPatterns::parse(list).map_err(refuse_pattern)
}

fn refuse_pattern(error: PatternError) -> Failure {
    let what = format!("`--metrics-regexes`: bad regex `{}`", error.pattern);
    let cause = anyhow::Error::new(*error.cause).context(what);
    Failure { status: Status::NothingMatched, ..Failure::cannot_measure(cause) }
        .hint("a comma separates regexes; each is matched at the start of a metric's name")
}

/// What the patterns let through, by name.
fn chosen<'a>(
    stats: &'a Stats,
    patterns: &MetricPatterns,
) -> Result<Vec<(&'a str, &'a StatValue)>, Failure> {
    let mut chosen = Vec::with_capacity(stats.len());
    for (metric, value) in stats {
        if metric == TOTAL_PROCESSES || patterns.choose(metric).map_err(refuse_pattern)? {
            chosen.push((metric.as_str(), value));
        }
    }
    Ok(chosen)
}

fn number(value: &StatValue) -> String {
    match value {
        StatValue::Float(number) => python2_str(*number),
        StatValue::Integer(_) | StatValue::Text(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats() -> Stats {
        let integer = |name: &str, value| (name.to_owned(), StatValue::Integer(value));
        let float = |name: &str, value| (name.to_owned(), StatValue::Float(value));
        Stats::from([
            integer("threads", 9),
            integer("total_processes", 3),
            float("cpu.user", 2.38),
            float("memory.percent", 0.014_535_682_182_93),
            float("cpu.percent", 0.0),
        ])
    }

    fn check(list: &str, expected: &[&str]) {
        let patterns = MetricPatterns::parse(list).expect("patterns");
        let stats = stats();
        let lines: Vec<String> = chosen(&stats, &patterns)
            .expect("quick matches")
            .into_iter()
            .map(|(metric, value)| format!("{metric} {}", number(value)))
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn lines_are_sorted_and_floats_are_python_2s() {
        check(
            ".*",
            &[
                "cpu.percent 0.0",
                "cpu.user 2.38",
                "memory.percent 0.0145356821829",
                "threads 9",
                "total_processes 3",
            ],
        );
    }

    #[test]
    fn the_number_of_processes_is_not_filtered() {
        check("cpu.user", &["cpu.user 2.38", "total_processes 3"]);
        check("nothing", &["total_processes 3"]);
    }
}
