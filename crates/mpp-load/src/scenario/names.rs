//! Processes under names that break tools.

use anyhow::{Context as _, Result, bail};

use crate::actor::Actor;
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const OPTIONS: &[OptionRow] =
    &[row("hex", "29205220312031", "command names in hex, one child each, separated by commas")];

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let mut pids = Vec::new();
    for hex in options.text("hex").split(',') {
        let comm = bytes_of_hex(hex)?;
        pids.push(begin(actor, &comm)?);
        stage.say(Line::new("born").text("comm_hex", hex).numbers("pids", &pids))?;
    }
    actor.await_stage(pids.len() as u64)?;
    stage.say(Line::new("ready").numbers("pids", &pids))?;
    stage.wait_for_end()
}

fn begin(actor: &Actor, comm: &[u8]) -> Result<u32> {
    actor.spawn(|| {
        kernel::set_comm(comm)?;
        actor.counters.raise(Count::Stage, 1);
        actor.live_on()
    })
}

fn bytes_of_hex(hex: &str) -> Result<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|&[high, low]| Some(digit(high)? * 16 + digit(low)?));
    if !rest.is_empty() {
        bail!("`--hex {hex}`: expected two digits for each byte");
    }
    bytes.collect::<Option<_>>().with_context(|| format!("`--hex {hex}`: expected hex digits"))
}
