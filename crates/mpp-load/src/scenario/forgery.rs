//! Messages that look like the kernel's, sent to netlink sockets of others, netlink(7).

use anyhow::{Context as _, Result, bail};

use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::Line;

pub(super) const OPTIONS: &[OptionRow] = &[
    row("targets", "", "whom to send to: `PROTOCOL:PORT,...`, as /proc/net/netlink lists them"),
    row("count", "20", "how often each kind of message is sent to each of them"),
];

/// The record of a thread that once ended, with all it says of itself.
const RECORD: &[u8] = include_bytes!("../../../../fixtures/parse/taskstats/only_thread");

/// The kernel's last word on a TCP socket.
const DESTROYED: &[u8] = include_bytes!("../../../../fixtures/parse/sock_diag/destroyed_client");

/// `NETLINK_SOCK_DIAG` and `NETLINK_GENERIC` of `include/uapi/linux/netlink.h`.
const SOCK_DIAG: i32 = 4;
const GENERIC: i32 = 16;

/// `SOCK_DIAG_BY_FAMILY` of `include/uapi/linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;

/// Numbers that the kernel gives to the first families of generic netlink, taskstats' among them.
const FAMILIES: std::ops::Range<u16> = 16..48;

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let targets = options.text("targets").split(',').map(target);
    let targets = targets.collect::<Result<Vec<_>>>()?;
    let count = options.count("count")?;
    stage.ready_and_wait()?;
    let (mut sent, mut refused) = (0, 0);
    for number in 0..count {
        for (protocol, port) in &targets {
            let sequence = u32::try_from(number)?;
            for message in messages(*protocol, sequence)? {
                match kernel::send_netlink(*protocol, *port, &message) {
                    Ok(()) => sent += 1,
                    Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                        refused += 1;
                    }
                    Err(error) => return Err(error).context("cannot send a message"),
                }
            }
        }
    }
    stage.say(Line::new("total").number("sent", sent).number("refused", refused))?;
    stage.wait_for_end()
}

fn target(text: &str) -> Result<(i32, u32)> {
    let (protocol, port) =
        text.split_once(':').with_context(|| format!("`{text}`: expected `PROTOCOL:PORT`"))?;
    Ok((protocol.parse()?, port.parse()?))
}

/// Every message that somebody who listens there might believe.
fn messages(protocol: i32, sequence: u32) -> Result<Vec<Vec<u8>>> {
    Ok(match protocol {
        SOCK_DIAG => vec![message(BY_FAMILY, sequence, DESTROYED)],
        GENERIC => FAMILIES.map(|family| message(family, sequence, RECORD)).collect(),
        other => bail!("no message is known for netlink protocol {other}"),
    })
}

/// A netlink message of no flags from port 0, the kernel's.
fn message(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    const HEADER_BYTES: u32 = 16;
    let length = HEADER_BYTES + u32::try_from(payload.len()).unwrap_or(0);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(0_u16.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(payload);
    bytes
}
