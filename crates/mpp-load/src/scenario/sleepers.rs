//! Very many sleeping processes of all kinds, as a busy host has them.

use std::fs::File;
use std::os::unix::process::parent_id;

use anyhow::{Context as _, Result};

use crate::actor::Actor;
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::scenario::parked_threads::park_thread;
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const OPTIONS: &[OptionRow] =
    &[row("count", "1000", "how many processes"), row("names", "50", "how many names they share")];

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let count = options.count("count")?;
    let names = options.count("names")?.max(1);
    let parent = std::process::id();
    for number in 0..count {
        actor.spawn(|| sleep(actor, parent, number, names))?;
    }
    actor.await_stage(count)?;
    stage.say(Line::new("ready").number("count", count))?;
    stage.wait_for_end()?;
    actor.end_all()
}

fn sleep(actor: &Actor, parent: u32, number: u64, names: u64) -> Result<()> {
    kernel::die_with_parent()?;
    if parent_id() != parent {
        return Ok(());
    }
    kernel::set_comm(format!("sleeper-{:02}", number % names).as_bytes())?;
    // One in ten has four threads, another one in ten holds 10 to 100 descriptors.
    let (threads, descriptors) = match number / 50 % 10 {
        3 => (4, 0),
        7 => (1, 10 + number % 91),
        _ => (1, 0),
    };
    (1..threads).try_for_each(|_| park_thread())?;
    let null = || File::open("/dev/null").context("cannot open /dev/null");
    let held = (0..descriptors).map(|_| null()).collect::<Result<Vec<_>>>()?;
    actor.counters.raise(Count::Stage, 1);
    actor.live_on()?;
    drop(held);
    Ok(())
}
