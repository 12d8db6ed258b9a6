//! Two children that bear the same PID, one after the other.
//!
//! The next PID is chosen through `/proc/sys/kernel/ns_last_pid`, `proc_sys_kernel(5)`:
//! that needs `CAP_CHECKPOINT_RESTORE` or root, and luck, since anybody may fork in between.

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
        write_and_live(actor, bytes, life)
    })?;
    stage.say(Line::new("reused").number("notable_pid", pid.into()))?;
    actor.reap_all()?;
    stage.total()?;
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
        std::fs::write(LAST_PID, wanted.saturating_sub(1).to_string())
            .with_context(|| format!("cannot choose the next PID by {LAST_PID}"))?;
        let pid = actor.spawn(|| if std::process::id() == wanted { body() } else { Ok(()) })?;
        if pid == wanted {
            return Ok(());
        }
        actor.reap(pid)?;
        actor.live_for(Duration::from_millis(1))?;
    }
    bail!("PID {wanted} was not to be had in {} s", PATIENCE.as_secs())
}
