//! A process that is readable, then is not, then is again, and writes all the while.
//!
//! `PR_SET_DUMPABLE` hands the process's files in /proc to root: whoever watches without
//! privileges, as the user of the process too, is refused its counters meanwhile.

use std::fs::File;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::actor::Writer;
use crate::kernel::{self, Dumps};
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const OPTIONS: &[OptionRow] = &[
    row("first-bytes", "64MiB", "bytes that it writes at once, before all others"),
    row("bytes", "512KiB", "bytes that it writes every 100 ms"),
    row("before", "4", "seconds until it is undumpable"),
    row("hidden", "5", "seconds for which it is"),
    row("after", "4", "seconds for which it is readable again"),
];

/// Between two writes.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let (bytes, first_bytes) = (options.bytes("bytes")?, options.bytes("first-bytes")?);
    let phases = [
        ("readable", options.seconds("before")?, Dumps::Allowed),
        ("hidden", options.seconds("hidden")?, Dumps::Forbidden),
        ("readable", options.seconds("after")?, Dumps::Allowed),
    ];
    // Undumpable, it could not read its own counters: one file stays open, and the blocks of the
    // filesystem are counted when it is readable.
    let path = actor.directory().join("written");
    let failed = || format!("cannot write {}", path.display());
    let mut file = File::create_new(&path).with_context(failed)?;
    stage.ready_and_wait()?;
    // Creating the file may have cost a block, if the folder's had just been written back.
    let written = actor.counters.value(Count::ParentWritten);
    let before = kernel::thread_write_bytes()?.saturating_sub(written);
    actor.fill(&mut file, Writer::Parent, first_bytes).with_context(failed)?;
    for (phase, duration, dumps) in phases {
        kernel::set_dumps(dumps)?;
        stage.say(Line::new(phase))?;
        let end = kernel::boottime() + duration;
        while kernel::boottime() < end {
            actor.fill(&mut file, Writer::Parent, bytes).with_context(failed)?;
            stage.tick()?;
            actor.live_for(PAUSE.min(end.saturating_sub(kernel::boottime())))?;
        }
    }
    actor.count_metadata(Writer::Parent, before + actor.counters.value(Count::ParentWritten))?;
    stage.total()?;
    stage.wait_for_end()
}
