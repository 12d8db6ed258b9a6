//! One process with very many threads, all of them asleep.

use std::thread;

use anyhow::{Context as _, Result};

use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::Line;

pub(super) const OPTIONS: &[OptionRow] = &[row("count", "10000", "threads in all")];

/// A thread here only sleeps.
const STACK_BYTES: usize = 64 * 1024;

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let count = options.count("count")?;
    (1..count).try_for_each(|_| park_thread())?;
    stage.say(Line::new("ready").number("count", count))?;
    stage.wait_for_end()
}

/// Begins a thread that sleeps until its process ends.
pub(super) fn park_thread() -> Result<()> {
    let builder = thread::Builder::new().stack_size(STACK_BYTES);
    builder.spawn(park_for_ever).context("cannot begin a thread")?;
    Ok(())
}

fn park_for_ever() {
    loop {
        thread::park();
    }
}
