//! Two children that bear the same PID, one after the other, or many such pairs.
//!
//! The next PID is chosen through `/proc/sys/kernel/ns_last_pid`, `proc_sys_kernel(5)`:
//! that needs `CAP_CHECKPOINT_RESTORE` or root, and luck, since anybody may fork in between.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::actor::{Actor, Durability, Writer};
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const OPTIONS: &[OptionRow] = &[
    row("life-ms", "500", "milliseconds that each of the two lives"),
    row("bytes", "1MiB", "bytes that each of the two writes"),
    row("worker-comm", "", "command name of the second; the parent's unless given"),
];

pub(super) const TWINS: &[OptionRow] = &[
    row("attempts", "2000", "pairs of children, each of which writes once and ends"),
    row("bytes", "3000", "bytes that each writes to /dev/null"),
];

const LAST_PID: &str = "/proc/sys/kernel/ns_last_pid";

/// Whoever forked in between may live on for a while under the wanted PID.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let bytes = options.bytes("bytes")?;
    let life = options.milliseconds("life-ms")?;
    let second_comm = options.given("worker-comm").map(str::as_bytes);
    stage.ready_and_wait()?;
    let pid = actor.spawn(|| write_and_live(actor, bytes, life))?;
    actor.counters.set(Count::NotablePid, pid.into());
    actor.reap(pid)?;
    spawn_as(stage, pid, || {
        second_comm.map_or(Ok(()), kernel::set_comm)?;
        // Whoever saw it before it bore its own name gives what it does now to the former.
        actor.live_for(life)?;
        write_and_live(actor, bytes, life)
    })?;
    stage.say(Line::new("reused").number("notable_pid", pid.into()))?;
    actor.reap_all()?;
    stage.total()?;
    stage.wait_for_end()
}

/// Pairs of children one right after the other: most of them have the same PID and start within
/// the same clock tick.
pub(super) fn run_twins(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let words = vec![0; usize::try_from(options.bytes("bytes")?)?];
    let nowhere = File::options().write(true).open("/dev/null").context("cannot open /dev/null")?;
    let attempts = options.count("attempts")?;
    stage.ready_and_wait()?;
    let begin_one = || {
        let pid = actor.spawn(|| {
            actor.counters.set(Count::StartTicks, kernel::start_time_ticks()?);
            (&nowhere).write_all(&words)?;
            actor.counters.raise(Count::ThrownAway, words.len() as u64);
            Ok(())
        })?;
        actor.reap(pid)?;
        Ok::<_, anyhow::Error>((pid, actor.counters.value(Count::StartTicks)))
    };
    let mut twins = 0;
    for _ in 0..attempts {
        let (pid, start_time_ticks) = begin_one()?;
        choose_next(pid)?;
        twins += u64::from(begin_one()? == (pid, start_time_ticks));
    }
    stage.say(actor.counters.line("total").number("twins", twins))?;
    stage.wait_for_end()
}

fn write_and_live(actor: &Actor, bytes: u64, life: Duration) -> Result<()> {
    actor.write(Writer::Child, bytes, Durability::Synced)?;
    actor.live_for(life)
}

/// Begins children until one has the wanted PID; all others end at once.
fn spawn_as(stage: &Stage, wanted: u32, body: impl Fn() -> Result<()>) -> Result<()> {
    let actor = stage.actor();
    let end = kernel::boottime() + PATIENCE;
    while kernel::boottime() < end {
        choose_next(wanted)?;
        let pid = actor.spawn(|| if std::process::id() == wanted { body() } else { Ok(()) })?;
        if pid == wanted {
            return Ok(());
        }
        actor.reap(pid)?;
        actor.live_for(Duration::from_millis(1))?;
    }
    bail!("PID {wanted} was not to be had in {} s", PATIENCE.as_secs())
}

/// Has the next process bear this PID, if nobody else is quicker.
fn choose_next(pid: u32) -> Result<()> {
    std::fs::write(LAST_PID, pid.saturating_sub(1).to_string())
        .with_context(|| format!("cannot choose the next PID by {LAST_PID}"))
}
