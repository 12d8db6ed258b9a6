//! Runs a command and says what it and everything that it started used, daemons included.
//!
//! The kernel adds what a process did to whoever waits for it, and here that is in the end this
//! process: it becomes a child subreaper, to which orphans are handed. So the I/O, CPU time,
//! faults and context switches of the tree are exact without any privilege. Which program did
//! what is told by the record of each process that ended, where such can be had, and else by
//! looking; where records and waiting do not say the same, the report says so. What rises and
//! falls, memory above all, is looked at again and again, and is a lower bound.
//!
//! ```
//! use metrics_per_process::run::{Ending, Run};
//!
//! # fn in_a_program_with_one_thread() -> Result<(), metrics_per_process::run::Error> {
//! let report = Run::builder().command(["true"]).run()?;
//! assert_eq!(report.ending, Ending::Exited(0));
//! # Ok(())
//! # }
//! ```

mod held;
mod programs;
mod sampler;
mod total;

use std::ffi::OsString;
use std::time::{Duration, Instant};

use mpp_accounting::process::Absence;
use mpp_accounting::report::{Accuracy, Figure, GroupReport, Mark, Report, Tier, Value};
pub use mpp_accounting::run::{
    Agreement, Change, Cost, Doubt, Ending, Judgement, Limit, LimitError, PROGRAM_METRICS, Reaping,
    RunReport, Survivor, TOTAL_METRICS, compare, figure_of,
};
use mpp_collect::CollectError;
use mpp_collect::child::{
    Arrival, ArrivedSignal, Reaped, RunError, Sender, SignalMeaning, Supervisor, WaitStatus,
    send_signal,
};
pub use mpp_collect::child::{end_by_signal, pass_on_ignored_pipe};

use crate::budget::Budget;
use sampler::Sampler;

/// How often the tree is looked at, where a [`Budget`] allows that.
const PERIOD: Duration = Duration::from_millis(50);

/// Looking may take one part in so many of one core's time.
const LOOKING_SHARE: u32 = 200;

/// A command that has just begun is looked at sooner: most are over before long.
const FIRST_PERIOD: Duration = Duration::from_millis(1);

/// No longer than this passes until it is taken in who has ended.
const LISTEN_PERIOD: Duration = Duration::from_millis(100);

/// How long there may be processes left before somebody is told what is waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a command could not be run or measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It could not be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Processes could not be read.
    #[error(transparent)]
    Collect(#[from] CollectError),
}

impl Error {
    /// Whether there is no such command: what a shell exits with 127 for.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::Run(error) if error.is_not_found())
    }

    /// Whether the command is there and cannot be executed: what a shell exits with 126 for.
    #[must_use]
    pub fn is_not_executable(&self) -> bool {
        matches!(self, Error::Run(RunError::Execute { .. })) && !self.is_not_found()
    }
}

/// A command to be run and measured; see the top of this file.
///
/// It takes over the process: no other thread may run, all children are waited for, and
/// signals are taken. A program that has other things to do runs `mpp run` instead.
#[derive(Debug)]
pub struct Run {
    words: Vec<OsString>,
    waiting: Waiting,
    period: Duration,
    tier_max: Tier,
}

/// Makes a [`Run`].
#[derive(Debug)]
pub struct RunBuilder(Run);

/// How long to wait for processes that the command leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Until the last one has ended, or a signal says that it is enough.
    ForAll,
    /// No longer than this after the command has ended.
    UpTo(Duration),
}

/// Is told what goes on while a command runs.
pub trait Observer {
    /// The tree was looked at; the report has one row, with the columns of
    /// [`sample_columns`].
    fn sampled(&mut self, _report: &Report) {}

    /// Whether somebody wants to be told of every look. Where not, most looks are at memory and
    /// descriptors alone, if the kernel tells of all that end.
    fn is_shown_every_look(&self) -> bool {
        true
    }

    /// The command ended a while ago, and these are what is still waited for.
    fn still_waiting(&mut self, _left: &[Survivor]) {}
}

/// What [`Observer::sampled`] is told.
pub use sampler::sample_columns;

/// Somebody who does not want to know.
#[derive(Debug)]
struct Nobody;

impl Observer for Nobody {
    fn is_shown_every_look(&self) -> bool {
        false
    }
}

impl Run {
    /// Nothing to run yet; everything that is started is waited for.
    #[must_use]
    pub fn builder() -> RunBuilder {
        RunBuilder(Run {
            words: Vec::new(),
            waiting: Waiting::ForAll,
            period: PERIOD,
            tier_max: Tier::A,
        })
    }
}

impl RunBuilder {
    /// The command and its arguments. It is looked for as a shell does.
    #[must_use]
    pub fn command(mut self, words: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.0.words = words.into_iter().map(Into::into).collect();
        self
    }

    /// How long to wait for what the command leaves behind.
    #[must_use]
    pub fn waiting(mut self, waiting: Waiting) -> Self {
        self.0.waiting = waiting;
        self
    }

    /// How often to look at the tree; less often where it is so large that looking would cost
    /// more than half a percent of a core.
    #[must_use]
    pub fn period(mut self, period: Duration) -> Self {
        self.0.period = period.max(Duration::from_millis(1));
        self
    }

    /// Sees ended processes no better than this. The best that is to be had, unless said
    /// otherwise; A costs some 6 ms of CPU time before the command is started.
    #[must_use]
    pub fn tier_max(mut self, tier: Tier) -> Self {
        self.0.tier_max = tier;
        self
    }

    /// Runs the command to its end.
    ///
    /// # Errors
    /// It cannot be executed, nothing can be measured here, or this process has other threads.
    pub fn run(self) -> Result<RunReport, Error> {
        self.run_observed(&mut Nobody)
    }

    /// As [`RunBuilder::run`], telling somebody what goes on.
    ///
    /// # Errors
    /// As there.
    pub fn run_observed(self, observer: &mut dyn Observer) -> Result<RunReport, Error> {
        let RunBuilder(run) = self;
        let program = run.words.first().map(OsString::as_os_str).unwrap_or_default();
        let program = Box::from(program.as_encoded_bytes());
        let mut sampler = Sampler::open(run.tier_max)?;
        let mut supervisor = Supervisor::begin()?;
        sampler.sample()?;
        let began = Instant::now();
        let command = supervisor.start(&run.words)?;
        let mut watch = Watch {
            run: &run,
            command,
            supervisor,
            sampler,
            observer,
            began,
            ended: None,
            cut_short_by: None,
            next_sample: began + FIRST_PERIOD.min(run.period),
            next_listening: began + LISTEN_PERIOD,
            budget: Budget::new(LOOKING_SHARE, began),
            has_told: false,
        };
        watch.until_all_is_over()?;
        watch.report(program)
    }
}

/// A command that runs.
struct Watch<'a> {
    run: &'a Run,
    command: u32,
    supervisor: Supervisor,
    sampler: Sampler,
    observer: &'a mut dyn Observer,
    began: Instant,
    /// How and when the command ended.
    ended: Option<(Ending, Instant)>,
    cut_short_by: Option<i32>,
    next_sample: Instant,
    next_listening: Instant,
    budget: Budget,
    has_told: bool,
}

/// Whether there is still something to wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    GoesOn,
    Over,
}

impl Watch<'_> {
    fn until_all_is_over(&mut self) -> Result<(), Error> {
        while self.reap()? == Progress::GoesOn {
            let now = Instant::now();
            if now >= self.next_sample {
                self.look();
            } else if now >= self.next_listening {
                self.sampler.listen();
                self.next_listening = now + LISTEN_PERIOD;
            }
            if self.is_waited_for_enough(now) {
                return Ok(());
            }
            self.tell(now);
            match self.supervisor.wait(self.longest_wait())? {
                Arrival::Elapsed => {}
                Arrival::Child => self.sample_if_cheap(),
                Arrival::Signal(signal) => {
                    if self.take(signal)? == Progress::Over {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Waits for all that have ended.
    fn reap(&mut self) -> Result<Progress, Error> {
        loop {
            match self.supervisor.reap()? {
                Reaped::Nobody => return Ok(Progress::GoesOn),
                Reaped::NobodyLeft => return Ok(Progress::Over),
                Reaped::Child(child) => {
                    self.sampler.reaped(child.pid);
                    if child.pid == self.command && self.ended.is_none() {
                        self.ended = Some((ending(child.status), Instant::now()));
                    }
                }
            }
        }
    }

    /// Looks at no more than somebody wants to know.
    fn look(&mut self) {
        if self.observer.is_shown_every_look() || self.sampler.glance().is_err() {
            self.sample();
        } else {
            self.plan_next_look();
        }
    }

    /// A look that fails is no reason to leave the command alone.
    fn sample(&mut self) {
        if let Ok(report) = self.sampler.sample() {
            self.observer.sampled(report);
        }
        self.plan_next_look();
    }

    fn plan_next_look(&mut self) {
        let elapsed = self.began.elapsed();
        let period = self.run.period.min(FIRST_PERIOD + elapsed / 4);
        let now = Instant::now();
        self.budget.pay(now, self.sampler.cost());
        let wait = out_of_step(period, self.sampler.samples()).max(self.budget.wait(now));
        self.next_sample = now + wait;
        self.next_listening = now + LISTEN_PERIOD;
    }

    /// One more look before a child is waited for, since after that its last counters can not
    /// be told from its parent's any more; unless its record tells them, or looking has cost too
    /// much of late.
    fn sample_if_cheap(&mut self) {
        if !self.sampler.is_told_whole() && self.budget.wait(Instant::now()).is_zero() {
            self.sample();
        }
    }

    fn is_waited_for_enough(&self, now: Instant) -> bool {
        match (self.run.waiting, self.ended) {
            (Waiting::UpTo(longest), Some((_, at))) => now.duration_since(at) >= longest,
            _ => false,
        }
    }

    fn longest_wait(&self) -> Duration {
        let mut until = self.next_sample.min(self.next_listening);
        if let Some((_, at)) = self.ended {
            if let Waiting::UpTo(longest) = self.run.waiting {
                until = until.min(at.checked_add(longest).unwrap_or(until));
            }
            if !self.has_told {
                until = until.min(at + PATIENCE);
            }
        }
        until.saturating_duration_since(Instant::now())
    }

    /// Says once what is waited for.
    fn tell(&mut self, now: Instant) {
        let Some((_, at)) = self.ended else { return };
        if !self.has_told && now.duration_since(at) >= PATIENCE {
            self.has_told = true;
            self.observer.still_waiting(&self.sampler.living());
        }
    }

    /// Hands a signal on to the command; one that it had from the terminal itself is not.
    /// Without the command there is nobody else whom it could be for.
    fn take(&mut self, signal: ArrivedSignal) -> Result<Progress, Error> {
        if self.ended.is_some() && signal.meaning() == SignalMeaning::End {
            self.cut_short_by = Some(signal.number);
            return Ok(Progress::Over);
        }
        if self.ended.is_none() && signal.sender == Sender::Process {
            // It cannot have gone, since it has not been waited for; but it may have become
            // somebody else's, as sudo(8) does, to whom we may send nothing.
            let _ = send_signal(self.command, signal.number);
        }
        if signal.meaning() == SignalMeaning::Stop {
            self.supervisor.stop()?;
        }
        Ok(Progress::GoesOn)
    }

    /// Where what came with waiting is not what the records tell, nothing is promised of either.
    fn accuracy(&self, seen: Accuracy, agreement: Agreement) -> Accuracy {
        let told = self.sampler.records().told();
        let tier = match agreement {
            Agreement::Differs(_) => Tier::C,
            Agreement::Same | Agreement::Charged(_) | Agreement::NotCompared => self.sampler.tier(),
        };
        Accuracy {
            tier,
            lost: if self.sampler.is_told_whole() { 0 } else { seen.lost },
            lost_records: told.lost_records,
            lost_records_total: told.lost_records,
            io_bound_bytes: self.sampler.records().io_bound_bytes(),
            ..seen
        }
    }

    fn report(mut self, program: Box<[u8]>) -> Result<RunReport, Error> {
        let (ending, command_ended) = self.ended.ok_or(RunError::NotOurs)?;
        let wall = self.began.elapsed();
        // Whoever observes is shown the end, too.
        self.sample();
        self.sampler.settle();
        let last = self.sampler.last_report();
        let total::Total { figures, agreement, usage, largest_rss_bytes } =
            total::total(&self.sampler, &self.supervisor, wall);
        let accuracy = self.accuracy(last.accuracy, agreement);
        let row = GroupReport {
            name: program.clone(),
            matched: 0,
            descendants: self.sampler.living().len() as u64,
            members_mark: Mark::Exact,
            unreadable: last.groups.first().map_or(0, |group| group.unreadable),
            figures,
        };
        Ok(RunReport {
            program,
            ending,
            command_wall: command_ended.duration_since(self.began),
            cut_short_by: self.cut_short_by,
            largest_process: match largest_rss_bytes {
                Some(bytes) => {
                    Figure::Known { value: Value::Integer(bytes), mark: self.sampler.doubt() }
                }
                None => Figure::Absent(Absence::Unsupported),
            },
            still_running: self.sampler.living(),
            samples: self.sampler.samples(),
            failed_samples: self.sampler.failed(),
            reaping: self.sampler.reaping(),
            agreement,
            programs: Report { accuracy, ..self.sampler.programs(usage) },
            total: Report {
                accuracy,
                interval: Some(wall),
                columns: mpp_accounting::run::levels(&TOTAL_METRICS).into(),
                groups: vec![row],
                ..last
            },
        })
    }
}

/// How long to wait after the look of that number: a period in the mean, and never the same phase
/// of one again soon. A command that does something again and again, at a pace of its own, would
/// otherwise show the same moment of it at every look.
fn out_of_step(period: Duration, number: u64) -> Duration {
    // Multiples of the golden ratio, less their whole part, lie evenly however many there are.
    const GOLDEN_RATIO: f64 = 1.618_033_988_749_895;
    let phase = |number: u64| (number as f64 * GOLDEN_RATIO).fract();
    period.mul_f64(1.0 + phase(number + 1) - phase(number))
}

fn ending(status: WaitStatus) -> Ending {
    match status {
        WaitStatus::Exited(number) => Ending::Exited(number),
        WaitStatus::Signaled(number) => Ending::Signaled(number),
    }
}

/// The weakest of some promises.
fn weakest(marks: impl IntoIterator<Item = Mark>) -> Mark {
    marks.into_iter().fold(Mark::Exact, Mark::and)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_meet_every_phase_of_a_rhythm_evenly() {
        let period = Duration::from_millis(50);
        for rhythm in [25, 50, 100, 150].map(Duration::from_millis) {
            let (mut now, mut met) = (Duration::ZERO, [0; 5]);
            for number in 0..100 {
                now += out_of_step(period, number);
                let since_beat = now.as_nanos() % rhythm.as_nanos();
                met[usize::try_from(since_beat * 5 / rhythm.as_nanos()).unwrap()] += 1;
            }
            assert!(met.iter().all(|times| (18..=22).contains(times)), "{rhythm:?}: {met:?}");
            assert!((95..=105).contains(&(now.as_millis() / period.as_millis())), "{now:?}");
        }
    }
}
