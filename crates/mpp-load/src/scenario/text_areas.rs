//! The memory that `/proc/PID/cmdline` and `environ` show, which its process may change at will.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::actor::{Actor, Durability, Writer};
use crate::kernel::{self, MemoryMap};
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::{Count, Line};

pub(super) const HUGE: &[OptionRow] = &[
    row("area", "environment", "which text: `environment` or `arguments`"),
    row("bytes", "2GiB", "how long it is; no memory stands behind it"),
    row("start", "TAG=x", "what it starts with; the rest is NUL"),
];

pub(super) const RETITLE: &[OptionRow] = &[
    row("title", "worker process: idle", "what is written over arguments and environment"),
    row("workers", "0", "children that it forks after that"),
    row("life-ms", "500", "milliseconds that each of them lives after it has written"),
    row("bytes", "64KiB", "bytes that each of them writes"),
    row("forker", "itself", "who forks them: `itself`, or a `daemon` that init inherits at once"),
];

pub(super) fn run_huge(stage: &Stage, options: &Options) -> Result<()> {
    let bytes = options.bytes("bytes")?;
    let start = kernel::reserve(bytes).context("cannot reserve address space")?;
    let text = options.text("start").as_bytes();
    if (text.len() as u64) < bytes {
        // SAFETY: the reserved memory is longer than the text, and nobody else's.
        unsafe { kernel::overwrite(usize::try_from(start)?, text) };
    }
    let mut map = own_memory_map()?;
    match options.text("area") {
        "environment" => (map.env_start, map.env_end) = (start, start + bytes),
        "arguments" => (map.arg_start, map.arg_end) = (start, start + bytes),
        other => bail!("`--area {other}`: expected `environment` or `arguments`"),
    }
    kernel::set_memory_map(&map).context("cannot move the text, see PR_SET_MM_MAP in prctl(2)")?;
    stage.say(Line::new("ready").number("bytes", bytes))?;
    stage.wait_for_end()
}

pub(super) fn run_retitle(stage: &Stage, options: &Options) -> Result<()> {
    let map = own_memory_map()?;
    stage.ready_and_wait()?;
    let length = usize::try_from(map.env_end.saturating_sub(map.arg_start))?;
    let mut text = options.text("title").as_bytes().to_vec();
    text.resize(length, 0);
    // SAFETY: the kernel made these bytes writable for programs that change their title;
    // from here on nothing reads arguments or environment.
    unsafe { kernel::overwrite(usize::try_from(map.arg_start)?, &text) };
    stage.say(Line::new("retitled").number("bytes", length as u64))?;
    fork_workers(stage, options)?;
    stage.wait_for_end()
}

fn fork_workers(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    match options.text("forker") {
        "itself" => work(actor, options)?,
        "daemon" => leave_daemon(actor, options)?,
        other => bail!("`--forker {other}`: expected `itself` or `daemon`"),
    }
    stage.total()
}

fn work(actor: &Actor, options: &Options) -> Result<()> {
    let (workers, bytes) = (options.count("workers")?, options.bytes("bytes")?);
    let life = options.milliseconds("life-ms")?;
    for _ in 0..workers {
        actor.spawn(|| {
            actor.write(Writer::Child, bytes, Durability::Synced)?;
            actor.live_for(life)
        })?;
    }
    actor.reap_all()
}

/// Forks twice, so that nobody is left between the daemon and init; the daemon stays when its
/// workers have ended.
fn leave_daemon(actor: &Actor, options: &Options) -> Result<()> {
    let middle = actor.spawn(|| {
        let daemon = || work(actor, options).and_then(|()| actor.live_on());
        actor.spawn(daemon).map(drop)
    })?;
    actor.reap(middle)?;
    let all = 1 + options.count("workers")?;
    while actor.counters.value(Count::Ended) < all {
        actor.live_for(Duration::from_millis(10))?;
    }
    Ok(())
}

/// Where the kernel says that this process has its parts, `proc_pid_stat(5)`.
fn own_memory_map() -> Result<MemoryMap> {
    let stat = std::fs::read("/proc/self/stat").context("cannot read /proc/self/stat")?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(')').context("no command name in /proc/self/stat")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // The first field behind the name is number 3.
    let field = |number: usize| -> Result<u64> {
        let text = fields.get(number - 3).copied();
        text.and_then(|t| t.parse().ok()).with_context(|| format!("no field {number} in stat"))
    };
    Ok(MemoryMap {
        start_code: field(26)?,
        end_code: field(27)?,
        start_data: field(45)?,
        end_data: field(46)?,
        start_brk: field(47)?,
        brk: kernel::heap_end(),
        start_stack: field(28)?,
        arg_start: field(48)?,
        arg_end: field(49)?,
        env_start: field(50)?,
        env_end: field(51)?,
        auxv: 0,
        auxv_size: 0,
        exe_fd: u32::MAX,
    })
}
