//! A process with very many open descriptors.

use std::fs::File;

use anyhow::{Context as _, Result};

use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::Line;

pub(super) const OPTIONS: &[OptionRow] =
    &[row("count", "20000", "descriptors open in all, at least as many as it needs itself")];

/// Room for standard streams and what a run needs itself.
const MARGIN: u64 = 64;

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let count = options.count("count")?;
    kernel::allow_descriptors(count + MARGIN).with_context(|| {
        format!("cannot allow {count} descriptors, see RLIMIT_NOFILE in setrlimit(2)")
    })?;
    let first = File::open("/dev/null").context("cannot open /dev/null")?;
    let mut held = vec![first];
    while open_descriptors()? < count {
        let missing = count - open_descriptors()?;
        for _ in 0..missing {
            held.push(held[0].try_clone().context("cannot duplicate a descriptor")?);
        }
    }
    stage.say(Line::new("ready").number("count", open_descriptors()?))?;
    stage.wait_for_end()?;
    drop(held);
    Ok(())
}

/// How many are open, without the one that the listing itself takes.
fn open_descriptors() -> Result<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").context("cannot list /proc/self/fd")?;
    Ok((entries.count() as u64).saturating_sub(1))
}
