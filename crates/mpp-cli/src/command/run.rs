//! `mpp run`: what a command and everything that it started used.

use std::io::{self, Write};

use metrics_per_process::report::Report;
use metrics_per_process::run::{
    Ending, Error, Judgement, Limit, Observer, Run, RunReport, Survivor, compare, end_by_signal,
};
use mpp_export::run::{RunPage, Shown, write_json, write_limits, write_markdown, write_text};
use mpp_export::{Encoder, Format, JsonLayout, Options, Origin, escape};

use crate::args;
use crate::failure::{Failure, Status};
use crate::printer::host_name;
use crate::run_plan::{OWN_FAILURE, RunPlan, Target, Words};
use crate::screen;
use crate::selection::PROCFS;

/// Signals end programs with this number more, shells say.
const SIGNALED: u8 = 128;

/// Runs, reports, and ends as the command did.
pub(crate) fn run(typed: &args::Run) -> Result<Status, Failure> {
    let mut plan = RunPlan::new(typed)?;
    let origin = Origin::of_host(&host_name(PROCFS.as_ref()));
    let mut watcher = Watcher::new(&mut plan, &origin);
    let report = Run::builder()
        .command(plan.command.iter())
        .waiting(plan.waiting)
        .period(plan.period)
        .tier_max(plan.tier_max)
        .run_observed(&mut watcher)
        .map_err(failure)?;
    let series = watcher.end();
    let judge = |limit: &Limit| (limit.clone(), limit.judge(&report));
    let limits: Vec<(Limit, Judgement)> = plan.limits.iter().map(judge).collect();
    let changes = plan.before.as_ref().map(|before| compare(before, &report)).unwrap_or_default();
    let page = RunPage {
        report: &report,
        limits: &limits,
        changes: &changes,
        tier_before: plan.before.as_ref().and_then(|before| before.tier),
        units: plan.units,
    };
    speak(&page, plan.words, &origin);
    let written = write_files(&page, &mut plan, &origin).and(series);
    end(&report, &limits, written)
}

/// Ends as the command did. That it failed says more than that we could not write of it.
fn end(
    report: &RunReport,
    limits: &[(Limit, Judgement)],
    written: Result<(), Failure>,
) -> Result<Status, Failure> {
    let has_succeeded = report.ending == Ending::Exited(0);
    match written {
        Err(failure) if has_succeeded => return Err(failure),
        Err(failure) => drop(screen::write_failure(&mut anstream::stderr(), &failure)),
        Ok(()) => {}
    }
    Ok(status(report, limits))
}

/// What to exit with. Where a signal ended the command, it ends us as well.
fn status(report: &RunReport, limits: &[(Limit, Judgement)]) -> Status {
    let of_signal = |signal: i32| {
        Status::OfRun(SIGNALED.saturating_add(u8::try_from(signal).unwrap_or(u8::MAX)))
    };
    match (report.ending, report.cut_short_by) {
        (Ending::Signaled(signal), _) => {
            end_by_signal(signal);
            of_signal(signal)
        }
        (Ending::Exited(_), Some(signal)) => of_signal(signal),
        (Ending::Exited(0), None) => {
            let is_broken =
                |(_, judgement): &(_, Judgement)| matches!(judgement, Judgement::Broken(_));
            Status::OfRun(u8::from(limits.iter().any(is_broken)))
        }
        (Ending::Exited(status), None) => Status::OfRun(status),
    }
}

/// What the library refuses, in the numbers of env(1).
fn failure(error: Error) -> Failure {
    let status = if error.is_not_found() {
        Status::OfRun(127)
    } else if error.is_not_executable() {
        Status::OfRun(126)
    } else {
        OWN_FAILURE
    };
    Failure { status, cause: error.into(), hint: None }
}

/// Says on stderr what was asked for. Nobody who cannot hear it makes the command fail.
fn speak(page: &RunPage<'_>, words: Words, origin: &Origin) {
    let mut text = String::new();
    match words {
        Words::Text => write_text(page, &mut text),
        Words::Markdown => write_markdown(page, &mut text),
        Words::Json => {
            let mut json = Vec::new();
            write_json(page, origin, JsonLayout::Pretty, &mut json);
            text = String::from_utf8_lossy(&json).into_owned();
        }
        Words::Limits => write_limits(page, Shown::All, &mut text),
        Words::Trouble => write_limits(page, Shown::Trouble, &mut text),
    }
    let mut stderr = anstream::stderr();
    drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
}

fn write_files(page: &RunPage<'_>, plan: &mut RunPlan, origin: &Origin) -> Result<(), Failure> {
    if let Some(target) = &mut plan.output {
        let mut json = Vec::new();
        write_json(page, origin, JsonLayout::Pretty, &mut json);
        target.file.write_all(&json).map_err(|cause| cannot_write(target, cause))?;
    }
    if let Some(target) = &mut plan.summary {
        let mut markdown = String::new();
        write_markdown(page, &mut markdown);
        let written = target.file.write_all(markdown.as_bytes());
        written.map_err(|cause| cannot_write(target, cause))?;
    }
    Ok(())
}

fn cannot_write(target: &Target, cause: io::Error) -> Failure {
    let cause =
        anyhow::Error::new(cause).context(format!("cannot write {}", target.path.display()));
    Failure { status: OWN_FAILURE, cause, hint: None }
}

/// Writes down every look, and says what is waited for.
struct Watcher {
    program: Box<[u8]>,
    words: Words,
    series: Option<(Target, Encoder)>,
    error: Option<Failure>,
}

impl Watcher {
    fn new(plan: &mut RunPlan, origin: &Origin) -> Self {
        let encoder = || Encoder::new(Format::Jsonl, origin.clone(), Options::default());
        let program = plan.command.first().map(|program| program.as_encoded_bytes());
        Watcher {
            program: Box::from(program.unwrap_or_default()),
            words: plan.words,
            series: plan.series.take().map(|target| (target, encoder())),
            error: None,
        }
    }

    /// The first thing that could not be written.
    fn end(self) -> Result<(), Failure> {
        self.error.map_or(Ok(()), Err)
    }
}

impl Observer for Watcher {
    fn sampled(&mut self, report: &Report) {
        let Some((target, encoder)) = self.series.as_mut().filter(|_| self.error.is_none()) else {
            return;
        };
        let mut named = report.clone();
        named.groups.iter_mut().for_each(|group| group.name = self.program.clone());
        let mut line = Vec::new();
        encoder.write(&named, &mut line);
        if let Err(cause) = target.file.write_all(&line) {
            self.error = Some(cannot_write(target, cause));
        }
    }

    fn is_shown_every_look(&self) -> bool {
        self.series.is_some()
    }

    fn still_waiting(&mut self, left: &[Survivor]) {
        const NAMED_MAX: usize = 5;
        if self.words == Words::Trouble || left.is_empty() {
            return;
        }
        let name = |one: &Survivor| format!("{} ({})", escape::terminal(&one.comm), one.pid);
        let mut names: Vec<String> = left.iter().take(NAMED_MAX).map(name).collect();
        if left.len() > NAMED_MAX {
            names.push("...".to_owned());
        }
        let program = escape::terminal(&self.program);
        screen::note(&format!(
            "`{program}` has ended; waiting for what it left: {}; Ctrl-C ends the waiting, \
             `--no-wait` does without",
            names.join(", ")
        ));
    }
}
