//! The command `mpp`: what was typed, what was meant, and the printing of it.
//!
//! Nothing is measured or computed here. Arguments become a plan, where everything that
//! can be wrong with them is said; a command carries its plan out with the library and
//! prints what the exporters make of it.

#![forbid(unsafe_code)]

mod alternatives;
mod args;
mod command;
mod exits_plan;
mod failure;
mod interrupt;
mod interval;
mod metric_pattern;
mod plan;
mod printer;
mod progress;
mod python_float;
mod run_plan;
mod schedule;
mod screen;
mod selection;
mod text_form;
mod usage;

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};

use crate::args::{Command, Typed};
use crate::failure::{Failure, Status};
use crate::usage::Words;

/// The script that `mpp sensu` stands in for; called by that name, mpp is `mpp sensu`.
const SENSU_SCRIPT: &str = "metrics-per-process.py";

/// Runs the command that the arguments name, and returns what to exit with.
///
/// The first argument is the name the program was called by. Data goes to stdout, words
/// to stderr.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    metrics_per_process::run::pass_on_ignored_pipe();
    run_to_status(arguments).into()
}

/// As [`run`], for a program that ends itself: the number to exit with.
#[must_use]
pub fn run_to_status(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    run_with(arguments, report)
}

/// As [`run_to_status`], for a program that says itself what failed: the words for it are put into
/// `failure`, which stays empty where nothing failed.
#[must_use]
pub fn run_to_status_and_failure(
    arguments: impl IntoIterator<Item = OsString>,
    failure: &mut Vec<u8>,
) -> u8 {
    run_with(arguments, |found, _| {
        screen::write_failure(&mut anstream::StripStream::new(failure), found)
    })
}

fn run_with(
    arguments: impl IntoIterator<Item = OsString>,
    tell: impl FnOnce(&Failure, &Words) -> io::Result<()>,
) -> u8 {
    let typed = with_help_last(with_sensu_named(arguments.into_iter().collect()));
    // Made once: that takes as long as finding a process among a hundred.
    let command = Typed::command();
    let words = Words::scan(&typed, &command);
    screen::choose_color(words.color.as_deref());
    match parse(&typed, command, &words).and_then(carry_out) {
        Ok(status) => status.number(),
        Err(failure) if failure.is_closed_pipe() => Status::Ok.number(),
        Err(failure) => {
            // There is nowhere left to say that even this could not be written.
            drop(tell(&failure, &words));
            failure.status.number()
        }
    }
}

/// What is left to do once the arguments are read.
enum Parsed {
    /// Help or the version was asked for, and this is it.
    Text(clap::Error),
    /// No command.
    Nothing,
    /// This command.
    Command(Command),
}

fn with_sensu_named(mut typed: Vec<OsString>) -> Vec<OsString> {
    let name = typed.first().map(Path::new).and_then(Path::file_name);
    if name == Some(OsStr::new(SENSU_SCRIPT)) {
        typed.insert(1, OsString::from("sensu"));
    }
    typed
}

/// `mpp help show` is `mpp show --help`; what follows is not for that command to read.
fn with_help_last(mut typed: Vec<OsString>) -> Vec<OsString> {
    if typed.get(1).is_some_and(|word| word == "help") {
        typed.remove(1);
        typed.truncate(2);
        typed.push(OsString::from("--help"));
    }
    typed
}

fn parse(typed: &[OsString], mut command: clap::Command, words: &Words) -> Result<Parsed, Failure> {
    let matched = command.try_get_matches_from_mut(typed);
    match matched.and_then(|matches| Typed::from_arg_matches(&matches)) {
        Ok(typed) => Ok(typed.command.map_or(Parsed::Nothing, Parsed::Command)),
        Err(error) if is_text(error.kind()) => Ok(Parsed::Text(error)),
        Err(error) => Err(usage::from_clap(&error, &command, words)),
    }
}

fn is_text(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::DisplayHelp | ErrorKind::DisplayVersion)
}

fn carry_out(parsed: Parsed) -> Result<Status, Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let out: &mut dyn Write = &mut out;
    let command = match parsed {
        Parsed::Text(text) => {
            text.print()?;
            return Ok(Status::Ok);
        }
        Parsed::Nothing => return bare(),
        Parsed::Command(command) => command,
    };
    let status = match command {
        Command::Show(typed) => command::show::run(&typed, out)
            .map_err(|failure| selection::name_option(failure, &typed.selection)),
        Command::Find(typed) => command::find::run(&typed, out)
            .map_err(|failure| selection::name_option(failure, &typed.selection)),
        Command::Exits(typed) => command::exits::run(&typed, out)
            .map_err(|failure| selection::name_option(failure, &typed.selection)),
        Command::Run(typed) => command::run::run(&typed),
        Command::Sensu(typed) => command::sensu::run(&typed, out),
        Command::Metrics(typed) => command::metrics::run(&typed, out),
        Command::Doctor(typed) => command::doctor::run(&typed, out),
        Command::Completions(typed) => command::completions::run(&typed, out),
        Command::Man(typed) => command::man::run(&typed, out),
    }?;
    out.flush()?;
    Ok(status)
}

/// `mpp` without a command: help, and a failure where no person is looking.
fn bare() -> Result<Status, Failure> {
    let help = Typed::command().render_help();
    if io::stdout().is_terminal() {
        write!(anstream::stdout(), "{}", help.ansi())?;
        return Ok(Status::Ok);
    }
    write!(anstream::stderr(), "{}", help.ansi())?;
    Ok(Status::Usage)
}

/// Says what failed: in words to stderr and, where JSON was asked for, as an object to stdout.
fn report(failure: &Failure, words: &Words) -> io::Result<()> {
    if words.wants_json && words.command.as_deref() == Some("run") {
        // The data of a run goes to stderr: stdout is the command's.
        return io::stderr().write_all(&screen::error_object(failure));
    }
    if words.wants_json {
        io::stdout().write_all(&screen::error_object(failure))?;
    }
    screen::write_failure(&mut anstream::stderr(), failure)
}

/// The candidate that a misspelt word was probably meant to be.
fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    metrics_per_process::similar::closest(word, candidates.iter().copied())
}
