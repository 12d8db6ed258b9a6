//! Very many processes of all kinds, as a busy host has them: all asleep, or some of them active
//! once a second.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::parent_id;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::actor::Actor;
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::scenario::parked_threads::park_thread;
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const OPTIONS: &[OptionRow] = &[
    row("count", "1000", "how many processes"),
    row("names", "50", "how many names they share"),
    row("active", "0", "percent of them that read, write and compute a little each second"),
];

/// How long an active one sleeps, then how much it reads and writes, and for how long it computes.
const PAUSE: Duration = Duration::from_secs(1);
const BYTES: usize = 512;
const BURN: Duration = Duration::from_micros(10);

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let count = options.count("count")?;
    let names = options.count("names")?.max(1);
    let active_percent = options.count("active")?;
    let parent = std::process::id();
    for number in 0..count {
        actor.spawn(|| {
            let held = settle(parent, number, names)?;
            actor.counters.raise(Count::Stage, 1);
            match is_active(number, active_percent) {
                true => act(actor)?,
                false => actor.live_on()?,
            }
            drop(held);
            Ok(())
        })?;
    }
    actor.await_stage(count)?;
    stage.say(Line::new("ready").number("count", count))?;
    stage.wait_for_end()?;
    actor.end_all()
}

/// The files and sockets that a process holds while it lives.
type Held = (Vec<File>, Option<(UnixStream, UnixStream)>);

fn settle(parent: u32, number: u64, names: u64) -> Result<Held> {
    kernel::die_with_parent()?;
    if parent_id() != parent {
        kernel::exit_now(0);
    }
    kernel::set_comm(format!("sleeper-{:02}", number % names).as_bytes())?;
    // One in ten has four threads, another one in ten holds 10 to 100 descriptors, and two others
    // have sockets.
    let mut held = Held::default();
    match number / 50 % 10 {
        3 => (1..4).try_for_each(|_| park_thread())?,
        7 => {
            let null = || File::open("/dev/null").context("cannot open /dev/null");
            held.0 = (0..10 + number % 91).map(|_| null()).collect::<Result<_>>()?;
        }
        1 | 5 => held.1 = Some(UnixStream::pair().context("cannot make sockets")?),
        _ => {}
    }
    Ok(held)
}

/// Active ones are spread evenly over all names and kinds: 37 and 100 have no divisor in common.
fn is_active(number: u64, active_percent: u64) -> bool {
    number * 37 % 100 < active_percent
}

fn act(actor: &Actor) -> Result<()> {
    let mut source = File::open("/dev/zero").context("cannot open /dev/zero")?;
    let mut sink = File::create("/dev/null").context("cannot open /dev/null")?;
    let mut bytes = [0; BYTES];
    loop {
        actor.live_for(PAUSE)?;
        source.read_exact(&mut bytes)?;
        sink.write_all(&bytes)?;
        let end = kernel::thread_cpu() + BURN;
        while kernel::thread_cpu() < end {
            std::hint::spin_loop();
        }
    }
}
