//! A daemon: its parent ends at once, and somebody further up reaps it.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::actor::{Actor, Durability, Writer};
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const OPTIONS: &[OptionRow] = &[
    row("to", "subreaper", "who reaps the daemon: `subreaper`, the first process, or `init`"),
    row("seconds", "3", "how long the daemon writes"),
    row("bytes", "64KiB", "bytes that the daemon writes at a time, ten times a second"),
];

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let bytes = options.bytes("bytes")?;
    let rounds = options.seconds("seconds")?.as_millis() / 100;
    let reaps_itself = match options.text("to") {
        "subreaper" => true,
        "init" => false,
        other => bail!("`--to {other}`: expected `subreaper` or `init`"),
    };
    if reaps_itself {
        kernel::become_subreaper()?;
    }
    stage.ready_and_wait()?;
    let service = actor.spawn(|| begin_daemon(actor, rounds, bytes))?;
    actor.reap(service)?;
    stage
        .say(Line::new("orphaned").number("daemon_pid", actor.counters.value(Count::NotablePid)))?;
    while actor.counters.value(Count::Ended) < 2 {
        actor.live_for(Duration::from_millis(10))?;
    }
    if reaps_itself {
        actor.reap_all()?;
    }
    stage.total()?;
    stage.wait_for_end()
}

fn begin_daemon(actor: &Actor, rounds: u128, bytes: u64) -> Result<()> {
    let daemon = actor.spawn(|| {
        for _ in 0..rounds {
            actor.write(Writer::Child, bytes, Durability::Left)?;
            actor.live_for(Duration::from_millis(100))?;
        }
        Ok(())
    })?;
    actor.counters.set(Count::NotablePid, daemon.into());
    Ok(())
}
