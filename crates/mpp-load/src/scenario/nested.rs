//! Three generations that end within one breath.

use std::time::Duration;

use anyhow::Result;

use crate::actor::{Durability, Writer};
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;

pub(super) const OPTIONS: &[OptionRow] = &[
    row("seconds", "3", "how long it goes on"),
    row("every-ms", "200", "milliseconds from one family to the next"),
    row("life-ms", "20", "milliseconds that the grandchild lives"),
    row("linger-ms", "0", "milliseconds that the child lives on after it has written"),
    row("bytes", "64KiB", "bytes that the grandchild writes, and the child after reaping it"),
];

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let bytes = options.bytes("bytes")?;
    let life = options.milliseconds("life-ms")?;
    let linger = options.milliseconds("linger-ms")?;
    let every = options.milliseconds("every-ms")?.max(Duration::from_millis(1));
    let families = options.seconds("seconds")?.as_millis() / every.as_millis();
    stage.ready_and_wait()?;
    for _ in 0..families {
        let child = actor.spawn(|| {
            let grandchild = actor.spawn(|| {
                actor.write(Writer::Child, bytes, Durability::Left)?;
                actor.live_for(life)
            })?;
            actor.reap(grandchild)?;
            actor.write(Writer::Child, bytes, Durability::Left)?;
            actor.live_for(linger)
        })?;
        actor.reap(child)?;
        stage.tick()?;
        actor.live_for(every.saturating_sub(life))?;
    }
    stage.total()?;
    stage.wait_for_end()
}
