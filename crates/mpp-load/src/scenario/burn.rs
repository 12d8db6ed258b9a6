//! CPU time of known length, in the process itself and in children.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;

pub(super) const OPTIONS: &[OptionRow] = &[
    row("seconds", "3", "how long it goes on"),
    row("own-ms", "30", "milliseconds of CPU that the process itself uses, in each tenth second"),
    row("child-ms", "30", "milliseconds of CPU that a child uses, in each tenth second"),
];

pub(super) const WORK: &[OptionRow] = &[
    row("children", "1000", "how many children there are in all"),
    row("at-once", "2", "how many are begun before all of them are waited for"),
    row("child-us", "500", "microseconds of CPU that a child uses before it ends"),
    row("reaped-by", "parent", "who reaps them: `parent`, or `kernel` where SIGCHLD is ignored"),
];

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let own = options.milliseconds("own-ms")?;
    let childs = options.milliseconds("child-ms")?;
    let period = Duration::from_millis(100);
    let rounds = u32::try_from(options.seconds("seconds")?.as_millis() / period.as_millis())?;
    stage.ready_and_wait()?;
    let begin = kernel::boottime();
    for round in 1..=rounds {
        if !childs.is_zero() {
            actor.spawn(|| {
                burn(childs);
                Ok(())
            })?;
        }
        burn(own);
        actor.reap_ended()?;
        stage.tick()?;
        actor.live_for((begin + period * round).saturating_sub(kernel::boottime()))?;
    }
    actor.reap_all()?;
    stage.total()?;
    stage.wait_for_end()
}

pub(super) fn run_work(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let (children, at_once) = (options.count("children")?, options.count("at-once")?.max(1));
    let cpu = Duration::from_micros(options.count("child-us")?);
    match options.text("reaped-by") {
        "parent" => {}
        "kernel" => kernel::ignore_children()?,
        other => bail!("`--reaped-by {other}`: expected `parent` or `kernel`"),
    }
    stage.ready_and_wait()?;
    let mut left = children;
    while left > 0 {
        let batch = left.min(at_once);
        for _ in 0..batch {
            actor.spawn(|| {
                burn(cpu);
                Ok(())
            })?;
        }
        actor.reap_all()?;
        left -= batch;
    }
    stage.total()?;
    stage.wait_for_end()
}

/// Uses so much CPU time, whatever else runs on the machine.
fn burn(cpu: Duration) {
    let end = kernel::thread_cpu() + cpu;
    let mut work = 0_u64;
    while kernel::thread_cpu() < end {
        for number in 0..1000_u64 {
            work = black_box(work.wrapping_mul(31).wrapping_add(number));
        }
    }
}
