//! Processes that vanish by the thousand.

use std::time::Duration;

use anyhow::Result;

use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;

pub(super) const OPTIONS: &[OptionRow] = &[
    row("per-second", "5000", "children a second, as far as the machine manages"),
    row("seconds", "3", "how long it goes on"),
];

/// At most so many are begun before the ended ones are reaped.
const BATCH_MAX: u128 = 64;

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let per_second = u128::from(options.count("per-second")?);
    let duration = options.seconds("seconds")?;
    stage.ready_and_wait()?;
    let begin = kernel::boottime();
    let (mut born, mut ticks) = (0, 0);
    loop {
        let elapsed = kernel::boottime() - begin;
        if elapsed >= duration {
            break;
        }
        let due = (elapsed.as_micros() * per_second / 1_000_000).saturating_sub(born);
        for _ in 0..due.min(BATCH_MAX) {
            actor.spawn(|| Ok(()))?;
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
