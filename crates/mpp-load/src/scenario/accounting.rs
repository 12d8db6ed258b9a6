//! Process accounting, on for as long as the scenario goes on, and off when it ends in whatever way
//! but by SIGKILL.

use std::fs::File;

use anyhow::{Context as _, Result};

use crate::kernel::ProcessAccounting;
use crate::options::{OptionRow, Options};
use crate::stage::Stage;
use crate::truth::Line;

pub(super) const OPTIONS: &[OptionRow] = &[];

pub(super) fn run(stage: &Stage, _: &Options) -> Result<()> {
    let path = stage.actor().directory().join("entries");
    File::create_new(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let _accounting = ProcessAccounting::into_file(&path)
        .context("cannot switch process accounting on, which needs CAP_SYS_PACCT")?;
    stage.say(Line::new("ready"))?;
    stage.wait_for_end()
}
