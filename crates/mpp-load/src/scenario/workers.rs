//! A parent and the children it begins: who writes how much, how long they live, who reaps when.

use std::hint::black_box;
use std::time::Duration;

use anyhow::Result;

use crate::actor::{Actor, Durability, Writer};
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::Count;

pub(super) const MASSINDEXER: &[OptionRow] = &[
    row("seconds", "10", "how long it begins workers"),
    row("workers", "3", "workers in one batch, ten batches a second"),
    row("bytes", "1MiB", "bytes that one worker writes"),
    row("reap-every", "4", "seconds between two reapings"),
    row("rest", "2", "seconds of rest before the first write and after the last reaping"),
    row("tick-ms", "1000", "milliseconds between two lines of truth"),
    row("worker-comm", "", "command name of the workers; the parent's unless given"),
];

pub(super) const FAMILY: &[OptionRow] = &[
    row("seconds", "3", "how long it begins children"),
    row("children", "1", "children in one batch, ten batches a second"),
    row("bytes", "64KiB", "bytes that one child writes"),
    row("parent-bytes", "64KiB", "bytes that the parent writes with each batch"),
    row("life-ms", "50", "milliseconds that a child lives"),
    row("resident", "0", "memory that a child holds to its end, so that ending takes its time"),
    row("tick-ms", "1000", "milliseconds between two lines of truth"),
    row("worker-comm", "", "command name of the children; the parent's unless given"),
];

pub(super) const SHORT_LIVED: &[OptionRow] = &[
    row("seconds", "3", "how long it begins children"),
    row("per-second", "100", "children a second"),
    row("bytes", "16KiB", "bytes that one child writes"),
    row("life-ms", "2", "milliseconds that a child lives"),
    row("tick-ms", "1000", "milliseconds between two lines of truth"),
    row("worker-comm", "", "command name of the children; the parent's unless given"),
];

/// What parent and children do.
struct Plan {
    batch: u64,
    every: Duration,
    life: Duration,
    resident: usize,
    child_bytes: u64,
    parent_bytes: u64,
    durability: Durability,
    reaping: Reaping,
    rest: Duration,
    duration: Duration,
    tick: Duration,
    worker_comm: Option<Vec<u8>>,
}

/// When the parent reaps.
enum Reaping {
    /// At this pace, whoever has ended by then.
    Every(Duration),
    /// Never: it ignores SIGCHLD, and the kernel does it.
    ByKernel,
}

/// The pace at which a parent reaps that wants no zombies.
const AT_ONCE: Reaping = Reaping::Every(Duration::from_millis(5));

pub(super) fn run_massindexer(stage: &Stage, options: &Options) -> Result<()> {
    let plan = Plan {
        batch: options.count("workers")?,
        every: Duration::from_millis(100),
        life: Duration::from_millis(100),
        resident: 0,
        child_bytes: options.bytes("bytes")?,
        parent_bytes: 0,
        durability: Durability::Synced,
        reaping: Reaping::Every(options.seconds("reap-every")?),
        rest: options.seconds("rest")?,
        duration: options.seconds("seconds")?,
        tick: tick(options)?,
        worker_comm: worker_comm(options),
    };
    plan.run(stage)
}

pub(super) fn run_family(stage: &Stage, options: &Options) -> Result<()> {
    family(options, AT_ONCE)?.run(stage)
}

pub(super) fn run_autoreap(stage: &Stage, options: &Options) -> Result<()> {
    family(options, Reaping::ByKernel)?.run(stage)
}

fn family(options: &Options, reaping: Reaping) -> Result<Plan> {
    Ok(Plan {
        batch: options.count("children")?,
        every: Duration::from_millis(100),
        life: options.milliseconds("life-ms")?,
        resident: usize::try_from(options.bytes("resident")?)?,
        child_bytes: options.bytes("bytes")?,
        parent_bytes: options.bytes("parent-bytes")?,
        durability: Durability::Left,
        reaping,
        rest: Duration::ZERO,
        duration: options.seconds("seconds")?,
        tick: tick(options)?,
        worker_comm: worker_comm(options),
    })
}

pub(super) fn run_short_lived(stage: &Stage, options: &Options) -> Result<()> {
    let per_second = u32::try_from(options.count("per-second")?.max(1))?;
    let plan = Plan {
        batch: 1,
        every: Duration::from_secs(1) / per_second,
        life: options.milliseconds("life-ms")?,
        resident: 0,
        child_bytes: options.bytes("bytes")?,
        parent_bytes: 0,
        durability: Durability::Left,
        reaping: Reaping::Every(Duration::from_millis(1)),
        rest: Duration::ZERO,
        duration: options.seconds("seconds")?,
        tick: tick(options)?,
        worker_comm: worker_comm(options),
    };
    plan.run(stage)
}

/// How often the truth is told; never at every turn of the loop.
fn tick(options: &Options) -> Result<Duration> {
    Ok(options.milliseconds("tick-ms")?.max(Duration::from_millis(1)))
}

fn worker_comm(options: &Options) -> Option<Vec<u8>> {
    options.given("worker-comm").map(|name| name.as_bytes().to_vec())
}

impl Plan {
    fn run(&self, stage: &Stage) -> Result<()> {
        if matches!(self.reaping, Reaping::ByKernel) {
            kernel::ignore_children()?;
        }
        stage.ready_and_wait()?;
        let mut ticks = Pace::new(kernel::boottime(), self.tick);
        pass(stage, &mut ticks, self.rest)?;
        self.work(stage, &mut ticks)?;
        stage.actor().reap_all()?;
        pass(stage, &mut ticks, self.rest)?;
        stage.total()?;
        stage.wait_for_end()
    }

    fn work(&self, stage: &Stage, ticks: &mut Pace) -> Result<()> {
        let counters = stage.actor().counters;
        let begin = kernel::boottime();
        let end = begin + self.duration;
        let mut batches = Pace::at_once(begin, self.every);
        let mut reapings = match self.reaping {
            Reaping::Every(period) => Pace::new(begin, period),
            Reaping::ByKernel => Pace::never(),
        };
        while kernel::boottime() < end {
            if batches.is_due() {
                self.begin_batch(stage.actor())?;
            }
            keep_house(stage, &mut reapings, ticks, batches.next)?;
        }
        // The last batch waits for its reaping like any other.
        while reapings.ever_comes() && counters.value(Count::Reaped) < counters.value(Count::Born) {
            keep_house(stage, &mut reapings, ticks, Duration::MAX)?;
        }
        Ok(())
    }

    fn begin_batch(&self, actor: &Actor) -> Result<()> {
        for _ in 0..self.batch {
            actor.spawn(|| self.work_as_child(actor))?;
        }
        if self.parent_bytes > 0 {
            actor.write(Writer::Parent, self.parent_bytes, self.durability)?;
        }
        Ok(())
    }

    fn work_as_child(&self, actor: &Actor) -> Result<()> {
        let end = kernel::boottime() + self.life;
        if let Some(comm) = &self.worker_comm {
            kernel::set_comm(comm)?;
        }
        // Left to the kernel, which gives it back as the process ends.
        std::mem::forget(black_box(vec![1_u8; self.resident]));
        actor.write(Writer::Child, self.child_bytes, self.durability)?;
        actor.live_for(end.saturating_sub(kernel::boottime()))
    }
}

/// Reaps and prints what is due, and sleeps until something is due again.
fn keep_house(stage: &Stage, reapings: &mut Pace, ticks: &mut Pace, wake: Duration) -> Result<()> {
    if reapings.is_due() {
        stage.actor().reap_ended()?;
    }
    if ticks.is_due() {
        stage.tick()?;
    }
    let next = wake.min(reapings.next).min(ticks.next);
    stage.actor().live_for(next.saturating_sub(kernel::boottime()))
}

/// Lets time pass, printing the truth on the way.
fn pass(stage: &Stage, ticks: &mut Pace, duration: Duration) -> Result<()> {
    let end = kernel::boottime() + duration;
    while kernel::boottime() < end {
        if ticks.is_due() {
            stage.tick()?;
        }
        let next = ticks.next.min(end);
        stage.actor().live_for(next.saturating_sub(kernel::boottime()))?;
    }
    Ok(())
}

/// Something that is due again and again, on a schedule that does not drift.
struct Pace {
    next: Duration,
    period: Duration,
}

impl Pace {
    /// Due first when one period has passed.
    fn new(begin: Duration, period: Duration) -> Self {
        Pace { next: begin + period, period }
    }

    /// Due first at the beginning.
    fn at_once(begin: Duration, period: Duration) -> Self {
        Pace { next: begin, period }
    }

    /// Never due.
    fn never() -> Self {
        Pace { next: Duration::MAX, period: Duration::ZERO }
    }

    /// Whether it is due at any time at all.
    fn ever_comes(&self) -> bool {
        self.next < Duration::MAX
    }

    /// Whether it is due now; each time that it was due counts once.
    fn is_due(&mut self) -> bool {
        let is_due = kernel::boottime() >= self.next;
        if is_due {
            self.next += self.period;
        }
        is_due
    }
}
