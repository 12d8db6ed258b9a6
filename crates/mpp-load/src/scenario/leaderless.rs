//! A process whose first thread has exited while another lives.
//!
//! The kernel shows such a process as a zombie with no memory, `proc_pid_stat(5)`.

use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::actor::{Actor, Durability, Writer, complain};
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const OPTIONS: &[OptionRow] = &[
    row("resident", "512MiB", "memory that the living thread holds"),
    row("seconds", "3", "how long that thread writes"),
    row("bytes", "64KiB", "bytes that it writes at a time, ten times a second"),
];

/// The thread holds its memory, and the leader is about to exit.
const HOLDS_MEMORY: u64 = 1;
/// The first process has said go.
const STARTED: u64 = 2;

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let resident = options.bytes("resident")?;
    let bytes = options.bytes("bytes")?;
    let rounds = options.seconds("seconds")?.as_millis() / 100;
    let child = actor.spawn(|| {
        let other = actor.clone();
        thread::spawn(move || {
            let outcome = outlive_leader(&other, resident, bytes, rounds);
            other.end(outcome.map_or_else(|error| complain(&error), |()| 0));
        });
        actor.await_stage(HOLDS_MEMORY)?;
        kernel::exit_this_thread()
    })?;
    actor.counters.set(Count::NotablePid, child.into());
    actor.await_stage(HOLDS_MEMORY)?;
    while !leader_has_exited(child)? {
        actor.live_for(Duration::from_millis(1))?;
    }
    stage.say(
        Line::new("leader_exited")
            .number("notable_pid", child.into())
            .number("resident_bytes", resident),
    )?;
    stage.ready_and_wait()?;
    actor.counters.set(Count::Stage, STARTED);
    actor.reap(child)?;
    stage.total()?;
    stage.wait_for_end()
}

fn leader_has_exited(pid: u32) -> Result<bool> {
    let path = format!("/proc/{pid}/task/{pid}/stat");
    let stat = std::fs::read(&path).with_context(|| format!("cannot read {path}"))?;
    // The state stands behind the last `)`: the name before it may hold anything.
    let name_end = stat.iter().rposition(|&byte| byte == b')').unwrap_or_default();
    Ok(stat[name_end..].starts_with(b") Z"))
}

fn outlive_leader(actor: &Actor, resident: u64, bytes: u64, rounds: u128) -> Result<()> {
    let held = vec![1_u8; usize::try_from(resident)?];
    actor.counters.set(Count::Stage, HOLDS_MEMORY);
    while actor.counters.value(Count::Stage) < STARTED {
        actor.live_for(Duration::from_millis(1))?;
    }
    for _ in 0..rounds {
        actor.write(Writer::Child, bytes, Durability::Left)?;
        actor.live_for(Duration::from_millis(100))?;
    }
    drop(std::hint::black_box(held));
    Ok(())
}
