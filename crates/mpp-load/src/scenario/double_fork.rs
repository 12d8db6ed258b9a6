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
    row("bytes", "64KiB", "bytes that are written at a time, ten times a second"),
    row("writer", "daemon", "who writes them: the `daemon`, or each time a new `child` of it"),
    row("life-ms", "0", "milliseconds that the daemon's parent lives, and after that it writes"),
];

/// Who writes what the daemon is there for.
#[derive(Clone, Copy)]
enum Hand {
    Daemon,
    Child,
}

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let bytes = options.bytes("bytes")?;
    let rounds = options.seconds("seconds")?.as_millis() / 100;
    let reaps_itself = match options.text("to") {
        "subreaper" => true,
        "init" => false,
        other => bail!("`--to {other}`: expected `subreaper` or `init`"),
    };
    let hand = match options.text("writer") {
        "daemon" => Hand::Daemon,
        "child" => Hand::Child,
        other => bail!("`--writer {other}`: expected `daemon` or `child`"),
    };
    let life = options.milliseconds("life-ms")?;
    if reaps_itself {
        kernel::become_subreaper()?;
    }
    stage.ready_and_wait()?;
    let service = actor.spawn(|| {
        let work = || {
            actor.live_for(life)?;
            (0..rounds).try_for_each(|_| write(actor, hand, bytes))
        };
        let daemon = actor.spawn(work)?;
        actor.counters.set(Count::NotablePid, daemon.into());
        actor.live_for(life)
    })?;
    actor.reap(service)?;
    stage
        .say(Line::new("orphaned").number("daemon_pid", actor.counters.value(Count::NotablePid)))?;
    let all = match hand {
        Hand::Daemon => 2,
        Hand::Child => 2 + u64::try_from(rounds)?,
    };
    while actor.counters.value(Count::Ended) < all {
        actor.live_for(Duration::from_millis(10))?;
    }
    if reaps_itself {
        actor.reap_all()?;
    }
    stage.total()?;
    stage.wait_for_end()
}

fn write(actor: &Actor, hand: Hand, bytes: u64) -> Result<()> {
    let write = || actor.write(Writer::Child, bytes, Durability::Left);
    match hand {
        Hand::Daemon => write()?,
        Hand::Child => actor.reap(actor.spawn(write)?)?,
    }
    actor.live_for(Duration::from_millis(100))
}
