//! Very many processes of all kinds, as a busy host has them: all asleep, or some of them active
//! again and again.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
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
    row("active", "0", "percent of them that read, write and compute a little after each pause"),
    row("pause-ms", "1000", "how long an active one sleeps"),
    row("connections", "0", "TCP connections that those with sockets have with themselves"),
];

/// How much an active one reads and writes each time, and for how long it computes.
const BYTES: usize = 512;
const BURN: Duration = Duration::from_micros(10);

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let count = options.count("count")?;
    let names = options.count("names")?.max(1);
    let active_percent = options.count("active")?;
    let connections = options.count("connections")?;
    let pause = Duration::from_millis(options.count("pause-ms")?);
    let parent = std::process::id();
    for number in 0..count {
        actor.spawn(|| {
            let held = settle(parent, number, names)?;
            let connected = connect(share_of(connections, number, count))?;
            actor.counters.raise(Count::Stage, 1);
            match is_active(number, active_percent) {
                true => act(actor, pause)?,
                false => actor.live_on()?,
            }
            drop((held, connected));
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
            let missing = (10 + number % 91).saturating_sub(open_descriptors()?);
            held.0 = (0..missing).map(|_| null()).collect::<Result<_>>()?;
        }
        1 | 5 => held.1 = Some(UnixStream::pair().context("cannot make sockets")?),
        _ => {}
    }
    Ok(held)
}

/// How many descriptors this process has, without the one that reads them.
fn open_descriptors() -> Result<u64> {
    let listed = std::fs::read_dir("/proc/self/fd").context("cannot list descriptors")?;
    Ok((listed.count() as u64).saturating_sub(1))
}

/// How many of the connections a process has: all with sockets have as many, or one more or less.
fn share_of(connections: u64, number: u64, count: u64) -> u64 {
    let before = |number: u64| {
        let rest = number % 500;
        number / 500 * 100 + (rest.clamp(50, 100) - 50) + (rest.clamp(250, 300) - 250)
    };
    let holders = before(count).max(1);
    before(number + 1) * connections / holders - before(number) * connections / holders
}

/// Connections of a process with itself: two sockets each.
fn connect(count: u64) -> Result<Vec<(TcpStream, TcpStream)>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen")?;
    let address = listener.local_addr()?;
    let pair = |_| {
        let near = TcpStream::connect(address).context("cannot connect")?;
        Ok((near, listener.accept().context("cannot accept")?.0))
    };
    (0..count).map(pair).collect()
}

/// Active ones are spread evenly over all names and kinds: 37 and 100 have no divisor in common.
fn is_active(number: u64, active_percent: u64) -> bool {
    number * 37 % 100 < active_percent
}

fn act(actor: &Actor, pause: Duration) -> Result<()> {
    let mut source = File::open("/dev/zero").context("cannot open /dev/zero")?;
    let mut sink = File::create("/dev/null").context("cannot open /dev/null")?;
    let mut bytes = [0; BYTES];
    loop {
        actor.live_for(pause)?;
        source.read_exact(&mut bytes)?;
        sink.write_all(&bytes)?;
        let end = kernel::thread_cpu() + BURN;
        while kernel::thread_cpu() < end {
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_of_all_processes_are_all_connections() {
        let check = |connections, count| {
            let shares: Vec<u64> = (0..count).map(|n| share_of(connections, n, count)).collect();
            assert_eq!(shares.iter().sum::<u64>(), connections, "{count}");
            let with = |number: u64| matches!(number / 50 % 10, 1 | 5);
            assert!((0..count).zip(&shares).all(|(number, share)| *share == 0 || with(number)));
        };
        check(500, 1000);
        check(500, 10_000);
        check(500, 101);
        check(0, 1000);
    }
}
