//! What a build looks like: a few large processes at once, many small writers, and a daemon that
//! outlives everybody.
//!
//! Made for whoever runs it as a command: it says all that it and its descendants wrote, the
//! blocks of the filesystem included, before it ends; the daemon has written by then and lives on.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::actor::{Actor, Durability, Writer};
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::Count;

pub(super) const OPTIONS: &[OptionRow] = &[
    row("large", "4", "processes that hold memory at the same time"),
    row("resident", "200MiB", "memory that each of them holds"),
    row("hold-ms", "500", "milliseconds for which all of them hold it"),
    row("writers", "40", "processes that write, one after the other"),
    row("bytes", "1MiB", "bytes that each of them writes"),
    row("daemon-bytes", "8MiB", "bytes that the daemon writes"),
    row("outlives-ms", "300", "milliseconds that the daemon lives on after it has written"),
];

/// So many processes hold their memory, counted by the stage of the scenario.
const RELEASED: u64 = 1 << 32;

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    stage.ready_and_wait()?;
    let peak_rss_bytes = hold_memory(actor, options)?;
    let bytes = options.bytes("bytes")?;
    for _ in 0..options.count("writers")? {
        let writer = actor.spawn(|| actor.write(Writer::Child, bytes, Durability::Left))?;
        actor.reap(writer)?;
    }
    let ended = actor.counters.value(Count::Ended);
    begin_daemon(actor, options)?;
    // Its parent has ended; the daemon has written when it says so.
    while actor.counters.value(Count::Ended) == ended
        || actor.counters.value(Count::Stage) != DAEMON_HAS_WRITTEN
    {
        actor.live_for(Duration::from_millis(1))?;
    }
    stage.remove_directory()?;
    stage.say(actor.counters.line("total").number("peak_rss_bytes", peak_rss_bytes))?;
    stage.wait_for_end()
}

const DAEMON_HAS_WRITTEN: u64 = u64::MAX;

/// Has processes hold memory all at the same time; returns what they and we held then.
fn hold_memory(actor: &Actor, options: &Options) -> Result<u64> {
    let large = options.count("large")?;
    let resident = usize::try_from(options.bytes("resident")?)?;
    let counters = actor.counters;
    let mut pids = Vec::new();
    for _ in 0..large {
        pids.push(actor.spawn(|| {
            let held = vec![1_u8; resident];
            counters.raise(Count::Stage, 1);
            while counters.value(Count::Stage) < RELEASED {
                actor.live_for(Duration::from_millis(1))?;
            }
            drop(black_box(held));
            Ok(())
        })?);
    }
    actor.await_stage(large)?;
    let mut rss_bytes = rss_bytes_of(std::process::id())?;
    for pid in &pids {
        rss_bytes += rss_bytes_of(*pid)?;
    }
    actor.live_for(options.milliseconds("hold-ms")?)?;
    counters.set(Count::Stage, RELEASED);
    for pid in pids {
        actor.reap(pid)?;
    }
    Ok(rss_bytes)
}

/// `resident` of proc_pid_statm(5), in bytes.
fn rss_bytes_of(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/statm");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.with_context(|| format!("no second number in {path}"))?;
    Ok(pages * kernel::page_size())
}

/// A child begins a daemon and ends; whoever is handed the daemon reaps it.
fn begin_daemon(actor: &Actor, options: &Options) -> Result<()> {
    let bytes = options.bytes("daemon-bytes")?;
    let outlives = options.milliseconds("outlives-ms")?;
    let parent = actor.spawn(|| {
        actor.spawn(|| {
            actor.write(Writer::Child, bytes, Durability::Left)?;
            actor.counters.set(Count::Stage, DAEMON_HAS_WRITTEN);
            // Not on the lifeline: it is to outlive the first process.
            std::thread::sleep(outlives);
            Ok(())
        })?;
        Ok(())
    })?;
    actor.reap(parent)
}
