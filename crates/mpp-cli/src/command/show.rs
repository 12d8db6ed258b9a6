//! `mpp show`: what the groups used.

use std::cmp::Ordering;
use std::io::Write;
use std::time::{Duration, Instant};

use metrics_per_process::report::{Figure, GroupReport, Report, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{MemoryReaderKind, Monitor};

use crate::args;
use crate::failure::{Failure, Status};
use crate::interrupt::{Interrupt, Wait};
use crate::plan::{Rows, ShowPlan, Sort};
use crate::printer::Printer;
use crate::progress::{self, Progress};
use crate::schedule::Schedule;
use crate::selection::nothing_matched;

/// Without a selection there are no more groups than this; the rest is summed in `other`.
const GROUPS_MAX: usize = 50;

/// Measures and prints.
///
/// The first sweep is the base that the first interval is measured from; it is printed
/// only where no interval was wanted.
pub(crate) fn run(typed: &args::Show, out: &mut dyn Write) -> Result<Status, Failure> {
    let plan = ShowPlan::new(typed)?;
    let mut monitor = open(&plan)?;
    let begin = Instant::now();
    let mut interrupt = Interrupt::catch().map_err(Failure::cannot_measure)?;
    let mut printer = Printer::new(&plan);
    let base = sample(&mut monitor, plan.sort)?;
    refuse_empty(&base, &plan)?;
    if plan.interval.is_zero() {
        printer.print(&base, out)?;
        return Ok(Status::Ok);
    }
    let mut schedule = Schedule::new(begin, plan.interval);
    for printed in 0..plan.count {
        let due = schedule.next(Instant::now());
        let wait = if printed == 0 {
            wait_watched(&mut interrupt, begin, due)
        } else {
            interrupt.wait_until(due)
        };
        let wait = wait.map_err(Failure::cannot_measure)?;
        if wait == Wait::Interrupted && printed > 0 {
            break;
        }
        printer.print(&sample(&mut monitor, plan.sort)?, out)?;
        if wait == Wait::Interrupted {
            break;
        }
    }
    Ok(Status::Ok)
}

/// Waits for the first sample, and says so where that takes long enough to wonder.
fn wait_watched(interrupt: &mut Interrupt, begin: Instant, due: Instant) -> std::io::Result<Wait> {
    let quiet_until = due.min(begin + progress::QUIET);
    if interrupt.wait_until(quiet_until)? == Wait::Interrupted {
        return Ok(Wait::Interrupted);
    }
    let left = due.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(Wait::Elapsed);
    }
    let _progress = Progress::show(&format!(
        "mpp: measuring for {}, Ctrl-C shows what there is",
        in_words(due.saturating_duration_since(begin))
    ));
    interrupt.wait_until(due)
}

/// `1.5 s`, without zeros that say nothing.
fn in_words(duration: Duration) -> String {
    format!("{} s", duration.as_millis() as f64 / 1000.0)
}

fn open(plan: &ShowPlan) -> Result<Monitor, Failure> {
    let builder = Monitor::builder()
        .columns(plan.columns.clone())
        .tier_max(plan.tier_max)
        .procfs(&plan.procfs)
        .memory_reader(MemoryReaderKind::HelperProcess);
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
fn refuse_empty(base: &Report, plan: &ShowPlan) -> Result<(), Failure> {
    if base.groups.iter().any(|group| group.matched + group.descendants > 0) {
        return Ok(());
    }
    match &plan.rows {
        Rows::One(selector) | Rows::By(selector, _) => Err(nothing_matched(selector, base)),
        Rows::Everything => Err(nothing_matched(&Selector::default(), base)),
    }
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
