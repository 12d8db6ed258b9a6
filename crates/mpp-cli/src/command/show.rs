//! `mpp show`: what the groups used.

use std::cmp::Ordering;
use std::io::Write;
use std::time::{Duration, Instant};

use metrics_per_process::report::{Figure, GroupReport, Report, Tier, Value};
use metrics_per_process::selector::{GroupKey, Selector};
use metrics_per_process::{FindOptions, MemoryReaderKind, Monitor, find};

use crate::alternatives::unmatched;
use crate::args;
use crate::failure::{Failure, Status};
use crate::interrupt::{Interrupt, Wait};
use crate::plan::{Rows, ShowPlan, Sort};
use crate::printer::Printer;
use crate::progress::{Progress, QUIET};
use crate::schedule::Schedule;
use crate::screen;
use crate::selection::{nothing_matched, seclusion};

/// Between two samples ended processes are heard of at least so often.
const LISTEN_EVERY: Duration = Duration::from_secs(1);

/// Without a selection there are no more groups than this; the rest is summed in `other`.
const GROUPS_MAX: usize = 50;

/// Measures and prints.
///
/// The first sweep is the base that the first interval is measured from; it is printed
/// only where no interval was wanted. It may take a second, where processes keep their command
/// lines or environments from being read.
pub(crate) fn run(typed: &args::Show, out: &mut dyn Write) -> Result<Status, Failure> {
    let plan = ShowPlan::new(typed)?;
    let mut monitor = open(&plan)?;
    let begin = Instant::now();
    let mut interrupt = Interrupt::catch().map_err(Failure::cannot_measure)?;
    let progress = Progress::begin(progress_text(plan.interval));
    let mut printer = Printer::new(&plan);
    let base = sample(&mut monitor, plan.sort)?;
    if is_deserted(&base) {
        // The library starts a helper process only while we have a single thread.
        drop(progress);
        return Err(why_deserted(&monitor, &base, &plan));
    }
    if let Some(note) = unmatched(&plan.alternatives, &monitor) {
        screen::note(&note);
    }
    if plan.interval.is_zero() {
        drop(progress);
        printer.print(&base, out)?;
        return Ok(Status::Ok);
    }
    let mut progress = Some(progress);
    let mut tier = monitor.tier();
    let mut schedule = Schedule::new(begin, plan.interval);
    for printed in 0..plan.count {
        let due = schedule.next(Instant::now());
        let wait = wait_listening(&mut monitor, &mut interrupt, due)?;
        if wait == Wait::Interrupted && printed > 0 {
            break;
        }
        let report = sample(&mut monitor, plan.sort)?;
        drop(progress.take());
        tell_of_fall(&monitor, &mut tier);
        printer.print(&report, out)?;
        if wait == Wait::Interrupted {
            break;
        }
    }
    Ok(Status::Ok)
}

/// Waits until a sample is due, and meanwhile takes in what is told of ended processes, so that
/// it does not pile up in the kernel.
fn wait_listening(
    monitor: &mut Monitor,
    interrupt: &mut Interrupt,
    due: Instant,
) -> Result<Wait, Failure> {
    loop {
        let until = due.min(Instant::now() + LISTEN_EVERY);
        let wait = interrupt.wait_until(until).map_err(Failure::cannot_measure)?;
        if wait == Wait::Interrupted || until >= due {
            return Ok(wait);
        }
        monitor.listen();
    }
}

/// Says once where ended processes are seen less well than before, and why, and once where they
/// are seen better again.
fn tell_of_fall(monitor: &Monitor, before: &mut Tier) {
    let tier = monitor.tier();
    let (letter, promise) = (tier.letter(), tier.promise());
    if tier > *before {
        let reasons: Vec<&str> = monitor.refusals().iter().map(|r| r.reason.as_str()).collect();
        let reasons = reasons.join("; ");
        screen::note(&format!("tier {letter} ({promise}) from here on: {reasons}"));
    } else if tier < *before {
        screen::note(&format!("tier {letter} ({promise}) again"));
    }
    *before = tier;
}

/// What is said while the first numbers are not there yet.
fn progress_text(interval: Duration) -> String {
    if interval < QUIET {
        return "mpp: reading the processes".to_owned();
    }
    let seconds = interval.as_millis() as f64 / 1000.0;
    format!("mpp: measuring for {seconds} s, Ctrl-C shows what there is")
}

fn open(plan: &ShowPlan) -> Result<Monitor, Failure> {
    let builder = Monitor::builder().columns(plan.columns.clone()).procfs(&plan.procfs);
    let builder = match plan.interval.is_zero() {
        // Of a single moment nothing is told that procfs does not say, and sooner.
        true => builder.once().tier_max(plan.tier_max),
        false => builder.tier_max(plan.tier_max).memory_reader(MemoryReaderKind::HelperProcess),
    };
    let builder = match &plan.rows {
        Rows::One(selector) => builder.group(selector.to_string(), selector.clone()),
        Rows::By(selector, key) => {
            builder.group(selector.to_string(), selector.clone()).by(key.clone())
        }
        Rows::Everything => builder.everything_by_unit_or_name(GROUPS_MAX),
    };
    builder.build().map_err(Failure::from)
}

/// A baseline in which nobody is a member ends the command: there is nothing to wait for.
fn is_deserted(base: &Report) -> bool {
    base.groups.iter().all(|group| group.matched + group.descendants == 0)
}

fn why_deserted(monitor: &Monitor, base: &Report, plan: &ShowPlan) -> Failure {
    let nothing =
        |selector: &Selector| nothing_matched(selector, monitor, base, plan.meant.as_deref());
    let (selector, key) = match &plan.rows {
        Rows::One(selector) => return nothing(selector),
        Rows::By(selector, key) => (selector, key),
        Rows::Everything => return nothing(&Selector::default()),
    };
    let Some(what) = what_names_a_row(key) else { return nothing(selector) };
    match is_matched(selector, plan) {
        Ok(true) => nothing_keyed(&what, selector, base),
        Ok(false) => nothing(selector),
        Err(failure) => failure,
    }
}

/// What a process must have to have a row; `None` where every process has it.
fn what_names_a_row(key: &GroupKey) -> Option<String> {
    match key {
        GroupKey::Unit => Some("a unit".to_owned()),
        GroupKey::Cgroup => Some("a control group".to_owned()),
        GroupKey::Environment(key) => {
            Some(format!("the variable `{}`", String::from_utf8_lossy(key)))
        }
        GroupKey::Capture(name) => Some(format!("a value for the capture `{name}`")),
        _ => None,
    }
}

/// Whether anybody matches, with a row or without one.
fn is_matched(selector: &Selector, plan: &ShowPlan) -> Result<bool, Failure> {
    let options = FindOptions {
        procfs: plan.procfs.clone(),
        memory_reader: MemoryReaderKind::HelperProcess,
        ..FindOptions::default()
    };
    Ok(!find(selector, &options)?.processes.is_empty())
}

/// That there are processes, but none that has a row.
fn nothing_keyed(what: &str, selector: &Selector, base: &Report) -> Failure {
    let of_whom = match *selector == Selector::default() {
        true => String::new(),
        false => format!("that matches `{selector}` "),
    };
    let failure = Failure::nothing_matched(format!("no process {of_whom}has {what}"));
    if let Some(hint) = seclusion(base.host.visibility) {
        return failure.hint(hint);
    }
    failure.hint(match base.accuracy.undecided {
        0 => "`--by name` makes a row of every program".to_owned(),
        1 => "1 process could not be asked; `mpp doctor` shows what is missing".to_owned(),
        n => format!("{n} processes could not be asked; `mpp doctor` shows what is missing"),
    })
}

fn sample(monitor: &mut Monitor, sort: Sort) -> Result<Report, Failure> {
    let mut report = monitor.sample()?;
    report.groups.sort_by(|a, b| order(a, b, sort));
    Ok(report)
}

/// Largest first, unknown last, equal ones by name.
fn order(a: &GroupReport, b: &GroupReport, sort: Sort) -> Ordering {
    let by_figure = match sort {
        Sort::Name => Ordering::Equal,
        Sort::Column(position) => {
            let figure = |group: &GroupReport| group.figures.get(position).and_then(number);
            match (figure(a), figure(b)) {
                (Some(a), Some(b)) => b.total_cmp(&a),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => Ordering::Equal,
            }
        }
    };
    by_figure.then_with(|| a.name.cmp(&b.name))
}

/// Near enough to tell which is larger.
fn number(figure: &Figure) -> Option<f64> {
    match figure {
        Figure::Known { value: Value::Integer(number), .. } => Some(*number as f64),
        Figure::Known { value: Value::Float(number), .. } => Some(*number),
        Figure::Absent(_) => None,
    }
}
