//! Children that end in every way, each of which says itself what it wrote.

use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::actor::{Actor, Durability, Writer};
use crate::kernel::{self, Wait};
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const OPTIONS: &[OptionRow] = &[
    row("children", "200", "how many children"),
    row("batch", "10", "how many of them begin at once, fifty times a second"),
    row(
        "bytes",
        "4KiB",
        "bytes that the first writes; each further one of ten writes as many more",
    ),
    row("threads", "0", "threads of a child besides its first; each writes as much"),
    row("life-ms", "2", "milliseconds that a child lives after it has written"),
    row("resident", "0", "memory that a child holds to its end"),
    row("reaped-by", "parent", "who reaps them: parent, kernel"),
];

/// How a child ends.
#[derive(Clone, Copy)]
enum End {
    Status(i32),
    Signal(i32),
}

/// One child after the other ends like this.
const ENDS: [End; 5] = [
    End::Status(0),
    End::Status(3),
    End::Signal(libc::SIGTERM),
    End::Signal(libc::SIGKILL),
    End::Status(255),
];

/// What a child does.
struct Part {
    bytes: u64,
    threads: u64,
    life: Duration,
    resident: usize,
    end: End,
}

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let (children, batch) = (options.count("children")?, options.count("batch")?.max(1));
    match options.text("reaped-by") {
        "parent" => {}
        "kernel" => kernel::ignore_children()?,
        other => bail!("`--reaped-by {other}`: expected parent or kernel"),
    }
    let (bytes, threads) = (options.bytes("bytes")?, options.count("threads")?);
    let life = options.milliseconds("life-ms")?;
    let resident = usize::try_from(options.bytes("resident")?)?;
    stage.ready_and_wait()?;
    for (number, end) in (0..children).zip(ENDS.into_iter().cycle()) {
        let part = Part { bytes: bytes * (1 + number % 10), threads, life, resident, end };
        actor.spawn(|| play(actor, &part))?;
        if number % batch == batch - 1 {
            actor.live_for(Duration::from_millis(20))?;
            while let Wait::Reaped { .. } = kernel::reap_ended()? {
                actor.counters.raise(Count::Reaped, 1);
            }
        }
    }
    while let Wait::Reaped { .. } = kernel::reap_next()? {
        actor.counters.raise(Count::Reaped, 1);
    }
    stage.total()?;
    stage.wait_for_end()
}

/// Writes, says how much, and ends.
fn play(actor: &Actor, part: &Part) -> Result<()> {
    // Taking it down is most of what the kernel does between its last words and a zombie.
    let held = vec![1_u8; part.resident];
    let mut wrote = 0;
    for _ in 0..part.threads {
        let (actor, bytes) = (actor.clone(), part.bytes);
        let thread = std::thread::spawn(move || write(&actor, bytes));
        wrote += thread.join().ok().context("a thread panicked")??;
    }
    wrote += write(actor, part.bytes)?;
    let line = Line::new("ends").number("wrote", wrote).number("threads", part.threads + 1);
    let line = match part.end {
        End::Status(status) => line.number("status", u64::try_from(status)?),
        End::Signal(signal) => line.number("signal", u64::try_from(signal)?),
    };
    line.print()?;
    actor.live_for(part.life)?;
    actor.counters.raise(Count::Ended, 1);
    black_box(&held);
    match part.end {
        End::Status(status) => kernel::exit_now(status),
        End::Signal(signal) => Ok(kernel::end_by_signal(signal)?),
    }
}

/// Writes to a file, and returns what the kernel counted of this thread.
fn write(actor: &Actor, bytes: u64) -> Result<u64> {
    actor.write(Writer::Child, bytes, Durability::Left)?;
    Ok(kernel::thread_write_bytes()?)
}
