//! `mpp exits`: every process that ends, or what they come to.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use metrics_per_process::ended::{EndedReport, EndedSummary, SummaryColumn};
use metrics_per_process::report::Tier;
use metrics_per_process::selector::Selector;
use metrics_per_process::slack::Slack;
use metrics_per_process::{EndedOptions, MemoryReaderKind, Monitor};
use mpp_export::ended::{Cmdlines, EndedEncoder, EndedLayout, write_summary};
use mpp_export::{JsonLayout, Origin};

use crate::args;
use crate::exits_plan::{ExitsPlan, Telling};
use crate::failure::{Failure, Status};
use crate::interrupt::{Interrupt, Wait};
use crate::printer::host_name;
use crate::progress::Progress;
use crate::schedule::Schedule;
use crate::screen;

/// Between two looks ended processes are heard of at least so often: in a storm there is not
/// room for more in the kernel.
const LISTEN_EVERY: Duration = Duration::from_millis(250);

/// Watches and prints, until it was long enough or somebody has enough.
pub(crate) fn run(typed: &args::Exits, out: &mut dyn Write) -> Result<Status, Failure> {
    let plan = ExitsPlan::new(typed)?;
    let mut watch = Watch::begin(&plan)?;
    match plan.telling {
        Telling::OneByOne { count, cmdlines } => watch.tell(&plan, count, cmdlines, out),
        Telling::Summary { after, sort } => watch.sum_up(&plan, after, sort, out),
    }
}

/// A monitor that is looked at again and again.
struct Watch {
    monitor: Monitor,
    interrupt: Interrupt,
    schedule: Schedule,
    notes: Notes,
}

/// What is said once on stderr.
#[derive(Default)]
struct Notes {
    has_lost: bool,
    has_shed: bool,
    has_spilled: bool,
}

impl Watch {
    /// Takes the first look. Who has ended by then is nobody's concern.
    fn begin(plan: &ExitsPlan) -> Result<Self, Failure> {
        let mut monitor = open(plan)?;
        let begin = Instant::now();
        let interrupt = Interrupt::catch().map_err(Failure::cannot_measure)?;
        monitor.sample()?;
        if let Some(options) = &plan.meant {
            // Nobody called so may ever end, and then nothing else is said for ever.
            screen::note(&format!(
                "watching for `{}`; did you mean `mpp exits {options}`?",
                plan.selector
            ));
        }
        if monitor.tier() == Tier::C {
            screen::note(
                "tier C: what begins and ends between two looks is not seen, and of the rest \
                 only what it had done when it was last seen; `mpp doctor` says what would cure it",
            );
        }
        let schedule = Schedule::new(begin, plan.interval);
        Ok(Watch { monitor, interrupt, schedule, notes: Notes::default() })
    }

    /// Prints each process as it ends.
    fn tell(
        &mut self,
        plan: &ExitsPlan,
        count: Option<u64>,
        cmdlines: Cmdlines,
        out: &mut dyn Write,
    ) -> Result<Status, Failure> {
        let origin = Origin::of_host(&host_name(&plan.procfs));
        let layout = EndedLayout { cmdlines, ..layout(plan) };
        let mut encoder = EndedEncoder::new(plan.format, origin, layout);
        let (mut buffer, mut slack) = (Vec::new(), Slack::default());
        encoder.begin(&mut buffer);
        pass_on(&mut buffer, out)?;
        let (mut intervals, mut told) = (0_u64, 0);
        let wait = loop {
            let wait = self.look(None)?;
            let report = self.monitor.ended();
            told += report.processes.len();
            encoder.write(report, &mut buffer);
            slack.give_back(&mut buffer);
            pass_on(&mut buffer, out)?;
            intervals += 1;
            if wait == Wait::Interrupted || Some(intervals) == count {
                break wait;
            }
        };
        encoder.end(&mut buffer);
        pass_on(&mut buffer, out)?;
        Ok(status(wait, told, &plan.selector))
    }

    /// Prints what all come to in the end.
    fn sum_up(
        &mut self,
        plan: &ExitsPlan,
        after: Duration,
        sort: Option<SummaryColumn>,
        out: &mut dyn Write,
    ) -> Result<Status, Failure> {
        let seconds = after.as_millis() as f64 / 1000.0;
        let progress =
            Progress::begin(format!("mpp: watching for {seconds} s, Ctrl-C shows what there is"));
        let end = Instant::now() + after;
        let mut summary = EndedSummary::new();
        let wait = loop {
            let wait = self.look(Some(end))?;
            summary.add(self.monitor.ended());
            if wait == Wait::Interrupted || Instant::now() >= end {
                break wait;
            }
        };
        drop(progress);
        let report = summary.report();
        let report = match sort {
            Some(column) => report.sorted_by(column),
            None => report,
        };
        let origin = Origin::of_host(&host_name(&plan.procfs));
        let mut layout = layout(plan);
        if io::stdout().is_terminal() {
            layout.json = JsonLayout::Pretty;
        }
        let mut buffer = Vec::new();
        write_summary(&report, plan.format, &origin, &layout, &mut buffer);
        pass_on(&mut buffer, out)?;
        Ok(status(wait, report.rows.len(), &plan.selector))
    }

    /// Waits until it is time, but not beyond the end, and looks who has ended.
    fn look(&mut self, end: Option<Instant>) -> Result<Wait, Failure> {
        let due = self.schedule.next(Instant::now());
        let due = end.map_or(due, |end| due.min(end));
        let wait = loop {
            let until = due.min(Instant::now() + LISTEN_EVERY);
            let wait = self.interrupt.wait_until(until).map_err(Failure::cannot_measure)?;
            if wait == Wait::Interrupted || until >= due {
                break wait;
            }
            self.monitor.listen();
        };
        self.monitor.sample()?;
        self.notes.say(self.monitor.ended());
        Ok(wait)
    }
}

impl Notes {
    /// Each kind of loss is said when it first happens; a table counts them all in the end.
    fn say(&mut self, report: &EndedReport) {
        let losses = [
            (
                report.lost_records,
                &mut self.has_lost,
                "exit records were lost: some processes are not here, or with less than they did",
            ),
            (
                report.spilled_records,
                &mut self.has_spilled,
                "threads ended faster than they could be told apart: some processes are not here",
            ),
            (
                report.shed,
                &mut self.has_shed,
                "processes ended faster than they can be kept: some are left out",
            ),
        ];
        for (count, has_been_said, what) in losses {
            if count > 0 && !std::mem::replace(has_been_said, true) {
                screen::note(what);
            }
        }
    }
}

fn open(plan: &ExitsPlan) -> Result<Monitor, Failure> {
    let shows_cmdline = matches!(plan.telling, Telling::OneByOne { cmdlines: Cmdlines::Shown, .. });
    let builder = Monitor::builder()
        .group(plan.selector.to_string(), plan.selector.clone())
        .ended(EndedOptions { shows_cmdline, ..EndedOptions::default() })
        .tier_max(plan.tier_max)
        .procfs(&plan.procfs)
        .memory_reader(MemoryReaderKind::HelperProcess);
    let builder = match &plan.key {
        Some(key) => builder.by(key.clone()),
        None => builder,
    };
    builder.build().map_err(Failure::from)
}

fn layout(plan: &ExitsPlan) -> EndedLayout {
    EndedLayout { units: plan.units, width: screen::width_columns(), ..EndedLayout::default() }
}

/// Writes what there is at once, so that a reader sees each end when it is known.
fn pass_on(buffer: &mut Vec<u8>, out: &mut dyn Write) -> io::Result<()> {
    out.write_all(buffer)?;
    buffer.clear();
    out.flush()
}

/// That nobody ended is a failure only where somebody has waited to the end for it.
fn status(wait: Wait, told: usize, selector: &Selector) -> Status {
    if told > 0 || wait == Wait::Interrupted {
        return Status::Ok;
    }
    screen::note(&match *selector == Selector::default() {
        true => "no process has ended".to_owned(),
        false => format!("no process that matches `{selector}` has ended"),
    });
    Status::NothingMatched
}
