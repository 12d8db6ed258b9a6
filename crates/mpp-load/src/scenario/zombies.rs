//! Children that ended and are not reaped.

use std::time::Duration;

use anyhow::Result;

use crate::actor::{Durability, Writer};
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const ONE: &[OptionRow] = &[
    row("hold", "5", "seconds that the zombie is held"),
    row("life-ms", "100", "milliseconds that the child lives after it has written"),
    row("bytes", "1MiB", "bytes that the child writes"),
];

pub(super) const MANY: &[OptionRow] = &[row("count", "5000", "how many zombies")];

pub(super) fn run_one(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let bytes = options.bytes("bytes")?;
    let life = options.milliseconds("life-ms")?;
    stage.ready_and_wait()?;
    let child = actor.spawn(|| {
        actor.write(Writer::Child, bytes, Durability::Synced)?;
        actor.live_for(life)
    })?;
    actor.counters.set(Count::NotablePid, child.into());
    await_ended(stage, 1)?;
    stage.say(actor.counters.line("zombie"))?;
    actor.live_for(options.seconds("hold")?)?;
    actor.reap(child)?;
    stage.total()?;
    stage.wait_for_end()
}

pub(super) fn run_many(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let count = options.count("count")?;
    for _ in 0..count {
        actor.spawn(|| Ok(()))?;
    }
    await_ended(stage, count)?;
    stage.say(Line::new("ready").number("count", count))?;
    stage.wait_for_end()
}

/// Waits until so many children have ended, and a moment more until they are zombies.
fn await_ended(stage: &Stage, count: u64) -> Result<()> {
    let actor = stage.actor();
    while actor.counters.value(Count::Ended) < count {
        actor.live_for(Duration::from_millis(1))?;
    }
    actor.live_for(Duration::from_millis(20))
}
