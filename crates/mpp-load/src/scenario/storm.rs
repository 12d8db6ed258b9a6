//! Processes that vanish by the thousand.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::actor::Actor;
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::Count;

pub(super) const OPTIONS: &[OptionRow] = &[
    row("per-second", "5000", "children a second, as far as the machine manages"),
    row("seconds", "3", "how long it goes on"),
    row("children", "0", "how many there are in all, however long it takes; 0: no matter"),
    row("bytes", "0", "bytes that each writes to /dev/null before it ends"),
];

/// At most so many are begun before the ended ones are reaped.
const BATCH_MAX: u128 = 64;

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let per_second = u128::from(options.count("per-second")?);
    let duration = options.seconds("seconds")?;
    let children = u128::from(options.count("children")?);
    let words = vec![0; usize::try_from(options.bytes("bytes")?)?];
    let nowhere = File::options().write(true).open("/dev/null").context("cannot open /dev/null")?;
    stage.ready_and_wait()?;
    let begin = kernel::boottime();
    let (mut born, mut ticks) = (0, 0);
    loop {
        let elapsed = kernel::boottime() - begin;
        let is_over = if children == 0 { elapsed >= duration } else { born >= children };
        if is_over {
            break;
        }
        let left = if children == 0 { u128::MAX } else { children - born };
        let due = (elapsed.as_micros() * per_second / 1_000_000).saturating_sub(born).min(left);
        for _ in 0..due.min(BATCH_MAX) {
            actor.spawn(|| throw_away(actor, &nowhere, &words))?;
            born += 1;
        }
        actor.reap_ended()?;
        if elapsed.as_secs() > ticks {
            ticks += 1;
            stage.tick()?;
        }
        if due == 0 {
            actor.live_for(Duration::from_micros(500))?;
        }
    }
    actor.reap_all()?;
    stage.total()?;
    stage.wait_for_end()
}

/// Writes everything in one call to where nothing keeps it.
fn throw_away(actor: &Actor, mut nowhere: &File, words: &[u8]) -> Result<()> {
    if !words.is_empty() {
        nowhere.write_all(words)?;
        actor.counters.raise(Count::ThrownAway, words.len() as u64);
    }
    Ok(())
}
