//! Everything that comes and goes, all at once and for as long as wanted: processes under ever
//! new names, threads, connections.
//!
//! Whoever keeps something for each process, thread, name or connection that it ever saw grows
//! under this load. What is written goes to files that are removed at once, so that the disk
//! does not grow either.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::actor::{Actor, Durability, Writer};
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::Count;

pub(super) const OPTIONS: &[OptionRow] = &[
    row("seconds", "60", "how long it goes on"),
    row("per-second", "500", "children a second, as far as the machine manages"),
    row("names", "5000", "command names that children take in turn"),
    row("threads", "50", "threads a second, in a process of their own"),
    row("connections", "50", "connections a second, in a process of their own"),
    row("bytes", "4KiB", "bytes that each child and each thread writes"),
];

/// At most so many are begun before the ended ones are reaped.
const BATCH_MAX: u64 = 64;

/// How often it is looked whether something is due.
const STEP: Duration = Duration::from_millis(2);

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let duration = options.seconds("seconds")?;
    let (per_second, names) = (options.count("per-second")?.max(1), options.count("names")?.max(1));
    let (threads, connections) = (options.count("threads")?, options.count("connections")?);
    let bytes = options.bytes("bytes")?;
    stage.ready_and_wait()?;
    actor.spawn(|| end_threads(actor, threads, duration, bytes))?;
    actor.spawn(|| end_connections(actor, connections, duration))?;
    let (mut previous, mut wraps) = (0, 0);
    at_pace(actor, per_second, duration, |number| {
        let pid = actor.spawn(|| work(actor, number % names, bytes))?;
        wraps += u64::from(pid < previous);
        previous = pid;
        if number % BATCH_MAX == 0 {
            actor.reap_ended()?;
        }
        if number % per_second == 0 { stage.tick() } else { Ok(()) }
    })?;
    actor.reap_all()?;
    let threads = actor.counters.value(Count::ThreadsEnded);
    let line = actor.counters.line("total").number("threads", threads);
    stage.say(line.number("pid_wraps", wraps))?;
    stage.wait_for_end()
}

/// Does something so many times a second, and says how often it was done before; what was due
/// while the machine was busy is made up for.
fn at_pace(
    actor: &Actor,
    per_second: u64,
    duration: Duration,
    mut deed: impl FnMut(u64) -> Result<()>,
) -> Result<()> {
    let begin = kernel::boottime();
    let mut done = 0;
    loop {
        let elapsed = kernel::boottime() - begin;
        if elapsed >= duration {
            return Ok(());
        }
        let due = u64::try_from(elapsed.as_micros())? * per_second / 1_000_000;
        let batch = due.min(done + BATCH_MAX);
        (done..batch).try_for_each(&mut deed)?;
        done = batch;
        actor.live_for(STEP)?;
    }
}

fn work(actor: &Actor, name: u64, bytes: u64) -> Result<()> {
    kernel::set_comm(format!("churn-{name}").as_bytes())?;
    actor.write(Writer::Child, bytes, Durability::Dropped)
}

fn end_threads(actor: &Actor, per_second: u64, duration: Duration, bytes: u64) -> Result<()> {
    kernel::die_with_parent()?;
    at_pace(actor, per_second, duration, |_| {
        let writer = actor.clone();
        let thread = thread::spawn(move || writer.write(Writer::Child, bytes, Durability::Dropped));
        actor.counters.raise(Count::ThreadsEnded, 1);
        thread.join().map_err(|_| anyhow!("a thread panicked"))?
    })
}

fn end_connections(actor: &Actor, per_second: u64, duration: Duration) -> Result<()> {
    kernel::die_with_parent()?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    at_pace(actor, per_second, duration, |_| {
        let mut caller = TcpStream::connect(address)?;
        let (mut called, _) = listener.accept()?;
        caller.write_all(b"?")?;
        Ok(called.read_exact(&mut [0])?)
    })
}
