//! A server and a client that know every byte they send each other over TCP.
//!
//! The first process has listened and left it to its children: a server, an heir that holds
//! the same listening socket and never accepts, and a client. Client and server keep one
//! connection from before the start to the end, which a second heir of the server inherits;
//! after the start they talk over it again, and over many short ones.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result, bail};

use crate::actor::Actor;
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const OPTIONS: &[OptionRow] = &[
    row("count", "100", "short connections, one after the other"),
    row("bytes", "1000", "bytes that the client sends over a connection at a time"),
    row("reply", "500", "bytes that the server sends back"),
    row("version", "4", "of the Internet protocol: `4` or `6`"),
    row(
        "closes",
        "client",
        "who closes first: `client`, `server`, or `half`: the client in two steps",
    ),
    row("keeps", "yes", "whether the first connection stays open to the end: `yes` or `no`"),
];

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    ClientFirst,
    ServerFirst,
    /// The client says that it sends no more, and closes after the server has.
    HalfByHalf,
}

#[derive(Clone, Copy)]
struct Plan {
    count: u64,
    bytes: usize,
    reply: usize,
    closing: Closing,
    keeps: bool,
}

/// How far the processes have come, together.
const SET_UP: u64 = 1;
const BEGUN: u64 = 2;
const BOTH_DONE: u64 = 4;

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let (plan, actor) = (Plan::of(options)?, stage.actor());
    let address = match options.text("version") {
        "4" => "127.0.0.1:0",
        "6" => "[::1]:0",
        other => bail!("`--version {other}`: expected `4` or `6`"),
    };
    let listener = TcpListener::bind(address).with_context(|| format!("cannot use {address}"))?;
    let address = listener.local_addr()?;
    let server = actor.spawn(|| serve(actor, &listener, plan))?;
    let heir = actor.spawn(|| actor.live_on())?;
    // What the closure takes along is closed here as well.
    let client = actor.spawn(move || {
        drop(listener);
        call(actor, address, plan)
    })?;
    actor.await_stage(SET_UP)?;
    let pids = [server, heir, client];
    let ready = Line::new("ready").number("port", address.port().into());
    stage.wait_after(ready.numbers("pids", &pids))?;
    actor.counters.raise(Count::Stage, 1);
    actor.await_stage(BOTH_DONE)?;
    let times = plan.count + 2;
    let line = actor.counters.line("total");
    stage.say(
        line.number("client_sent_bytes", times * plan.bytes as u64)
            .number("server_sent_bytes", times * plan.reply as u64),
    )?;
    stage.wait_for_end()
}

impl Plan {
    fn of(options: &Options) -> Result<Self> {
        Ok(Plan {
            count: options.count("count")?,
            bytes: usize::try_from(options.bytes("bytes")?)?,
            reply: usize::try_from(options.bytes("reply")?)?,
            closing: match options.text("closes") {
                "client" => Closing::ClientFirst,
                "server" => Closing::ServerFirst,
                "half" => Closing::HalfByHalf,
                other => bail!("`--closes {other}`: expected `client`, `server` or `half`"),
            },
            keeps: match options.text("keeps") {
                "yes" => true,
                "no" => false,
                other => bail!("`--keeps {other}`: expected `yes` or `no`"),
            },
        })
    }
}

fn serve(actor: &Actor, listener: &TcpListener, plan: Plan) -> Result<()> {
    kernel::die_with_parent()?;
    let (mut kept, _) = listener.accept()?;
    answer(&mut kept, plan)?;
    if plan.keeps {
        actor.spawn(|| actor.live_on())?;
    }
    actor.counters.raise(Count::Stage, 1);
    answer(&mut kept, plan)?;
    for _ in 0..plan.count {
        let (mut connection, _) = listener.accept()?;
        answer(&mut connection, plan)?;
        end_served(connection, plan)?;
    }
    let kept = match plan.keeps {
        true => Some(kept),
        false => {
            end_served(kept, plan)?;
            None
        }
    };
    actor.counters.raise(Count::Stage, 1);
    actor.live_on()?;
    drop(kept);
    Ok(())
}

fn call(actor: &Actor, address: SocketAddr, plan: Plan) -> Result<()> {
    kernel::die_with_parent()?;
    let mut kept = TcpStream::connect(address)?;
    ask(&mut kept, plan)?;
    actor.await_stage(BEGUN)?;
    ask(&mut kept, plan)?;
    for _ in 0..plan.count {
        let mut connection = TcpStream::connect(address)?;
        ask(&mut connection, plan)?;
        end_called(connection, plan)?;
    }
    let kept = match plan.keeps {
        true => Some(kept),
        false => {
            end_called(kept, plan)?;
            None
        }
    };
    actor.counters.raise(Count::Stage, 1);
    actor.live_on()?;
    drop(kept);
    Ok(())
}

fn ask(connection: &mut TcpStream, plan: Plan) -> Result<()> {
    connection.write_all(&vec![b'?'; plan.bytes])?;
    Ok(connection.read_exact(&mut vec![0; plan.reply])?)
}

fn answer(connection: &mut TcpStream, plan: Plan) -> Result<()> {
    connection.read_exact(&mut vec![0; plan.bytes])?;
    Ok(connection.write_all(&vec![b'!'; plan.reply])?)
}

fn end_served(mut connection: TcpStream, plan: Plan) -> Result<()> {
    match plan.closing {
        Closing::ServerFirst => Ok(()),
        Closing::ClientFirst | Closing::HalfByHalf => await_end(&mut connection),
    }
}

fn end_called(mut connection: TcpStream, plan: Plan) -> Result<()> {
    match plan.closing {
        Closing::ClientFirst => Ok(()),
        Closing::ServerFirst => await_end(&mut connection),
        Closing::HalfByHalf => {
            connection.shutdown(Shutdown::Write)?;
            await_end(&mut connection)
        }
    }
}

/// Waits until the other side has closed.
fn await_end(connection: &mut TcpStream) -> Result<()> {
    match connection.read(&mut [0])? {
        0 => Ok(()),
        _ => bail!("the other side sent more than it was to"),
    }
}
