//! One process whose threads begin, write and end all the time.

use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::actor::{Actor, Durability, Writer};
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;

pub(super) const OPTIONS: &[OptionRow] = &[
    row("seconds", "3", "how long it goes on"),
    row("threads", "4", "threads in one batch, ten batches a second"),
    row("life-ms", "50", "milliseconds that a thread lives"),
    row("bytes", "64KiB", "bytes that one thread writes"),
];

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let bytes = options.bytes("bytes")?;
    let life = options.milliseconds("life-ms")?;
    let threads = options.count("threads")?;
    let batches = options.seconds("seconds")?.as_millis() / 100;
    stage.ready_and_wait()?;
    for _ in 0..batches {
        let batch: Vec<_> = (0..threads).map(|_| begin(actor.clone(), bytes, life)).collect();
        for thread in batch {
            thread.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        stage.tick()?;
        actor.live_for(Duration::from_millis(100).saturating_sub(life))?;
    }
    stage.total()?;
    stage.wait_for_end()
}

fn begin(actor: Actor, bytes: u64, life: Duration) -> thread::JoinHandle<Result<()>> {
    thread::spawn(move || {
        actor.write(Writer::Parent, bytes, Durability::Left)?;
        actor.live_for(life)
    })
}
