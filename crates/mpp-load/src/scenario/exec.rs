//! A process that executes another program: same PID, same start, other name or environment.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};

use crate::actor::{Actor, Durability, Writer};
use crate::kernel::{self, BpfCalls};
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::{Count, Counters};

/// The word by which this program goes on after an exec.
pub(crate) const AFTER_EXEC: &str = "after-exec";

/// The word that runs a command to which bpf(2) is refused.
pub(crate) const REFUSE_BPF: &str = "refuse-bpf";

pub(super) const FROM_THREAD: &[OptionRow] = WRITES;

pub(super) const CHANGE_GROUP: &[OptionRow] = &[
    row("seconds", "3", "how long it writes before the exec, and again after it"),
    row("bytes", "64KiB", "bytes written at a time, ten times a second"),
    row("comm-after", "after-exec", "command name after the exec"),
    row("variable-after", "", "the only variable after the exec; none unless given"),
];

pub(super) const SHORT: &[OptionRow] = &[
    row("seconds", "3", "how long it begins children, ten a second"),
    row("bytes", "64KiB", "bytes that each writes after its exec"),
    row("comm-after", "after-exec", "command name after the exec"),
    row("variable-after", "", "the only variable after the exec; none unless given"),
];

const WRITES: &[OptionRow] = &[
    row("seconds", "3", "how long it writes before the exec, and again after it"),
    row("bytes", "64KiB", "bytes written at a time, ten times a second"),
    row("comm-after", "after-exec", "command name after the exec"),
];

pub(super) const LONG_ENVIRONMENT: &[OptionRow] = &[
    row("bytes", "256KiB", "length of the environment, about"),
    row("variable", "TAG=x", "the variable that stands last"),
    row("comm-after", "long-environ", "command name after the exec"),
];

/// How long a child lives on after each time that it has written, unless it is to be short.
const PAUSE: Duration = Duration::from_millis(100);

/// The parts of a child's life: not yet executed, and past it.
const EXECUTED: u64 = 1;

/// What the program does after the exec.
struct Sequel {
    comm: String,
    bytes: u64,
    rounds: u64,
    /// How long it lives on after each time that it has written.
    pause: Duration,
    /// Whether it then ends or lives on until the scenario ends.
    then: Then,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    End,
    LiveOn,
}

pub(super) fn run_from_thread(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let sequel = Sequel::parse(options)?;
    stage.ready_and_wait()?;
    let child = actor.spawn(|| {
        write_rounds(actor, Writer::Child, sequel.bytes, sequel.rounds, sequel.pause)?;
        let other = actor.clone();
        let thread = thread::spawn(move || {
            other.write(Writer::Child, sequel.bytes, Durability::Left)?;
            sequel.execute(&other, Command::env_clear)
        });
        thread.join().map_err(|_| anyhow!("the executing thread panicked"))?
    })?;
    see_through(stage, child)
}

pub(super) fn run_change_group(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let sequel = Sequel::parse(options)?;
    let variable = variable_after(options)?;
    stage.ready_and_wait()?;
    let child = actor.spawn(|| {
        write_rounds(actor, Writer::Child, sequel.bytes, sequel.rounds, sequel.pause)?;
        sequel.execute(actor, |command| command.env_clear().envs(variable))
    })?;
    see_through(stage, child)
}

pub(super) fn run_short(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let sequel = Sequel { rounds: 1, pause: Duration::ZERO, ..Sequel::parse(options)? };
    let variable = variable_after(options)?;
    let children = options.seconds("seconds")?.as_millis() / PAUSE.as_millis();
    stage.ready_and_wait()?;
    for _ in 0..children {
        let child =
            actor.spawn(|| sequel.execute(actor, |command| command.env_clear().envs(variable)))?;
        actor.reap(child)?;
        actor.live_for(PAUSE)?;
    }
    stage.total()?;
    stage.wait_for_end()
}

fn variable_after(options: &Options) -> Result<Option<(&str, &str)>> {
    let text = options.given("variable-after");
    text.map(|text| text.split_once('=').context("no `=` in --variable-after")).transpose()
}

fn see_through(stage: &Stage, child: u32) -> Result<()> {
    let actor = stage.actor();
    actor.counters.set(Count::NotablePid, child.into());
    actor.await_stage(EXECUTED)?;
    stage.say(actor.counters.line("executed"))?;
    actor.reap(child)?;
    stage.total()?;
    stage.wait_for_end()
}

pub(super) fn run_long_environment(stage: &Stage, options: &Options) -> Result<()> {
    // A variable is at most MAX_ARG_STRLEN long, 128 KiB: execve(2).
    const VARIABLE_BYTES: u64 = 100 * 1024;
    let actor = stage.actor();
    let bytes = options.bytes("bytes")?;
    let (key, value) = options.text("variable").split_once('=').context("no `=` in --variable")?;
    let filling = "x".repeat(usize::try_from(VARIABLE_BYTES.min(bytes))?);
    let comm = options.text("comm-after").to_owned();
    let sequel = Sequel { comm, bytes: 0, rounds: 0, pause: PAUSE, then: Then::LiveOn };
    let child = actor.spawn(|| {
        sequel.execute(actor, |command| {
            command.env_clear();
            // The standard library sorts variables by name: these come first.
            for number in 0..bytes.div_ceil(VARIABLE_BYTES) {
                command.env(format!("0FILLING_{number:04}"), &filling);
            }
            command.env(key, value)
        })
    })?;
    actor.await_stage(EXECUTED)?;
    actor.counters.set(Count::NotablePid, child.into());
    stage.say(actor.counters.line("ready"))?;
    stage.wait_for_end()
}

impl Sequel {
    fn parse(options: &Options) -> Result<Self> {
        Ok(Sequel {
            comm: options.text("comm-after").to_owned(),
            bytes: options.bytes("bytes")?,
            rounds: u64::try_from(options.seconds("seconds")?.as_millis() / PAUSE.as_millis())?,
            pause: PAUSE,
            then: Then::End,
        })
    }

    /// Executes this program under another name; returns only when that failed.
    fn execute(
        &self,
        actor: &Actor,
        environment: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Result<()> {
        // Links and the loading of programs touch the filesystem too: the sequel counts that.
        let written = kernel::thread_write_bytes()?;
        let program = std::env::current_exe().context("cannot find this program")?;
        let link = actor.directory().join(&self.comm);
        if !link.exists() {
            symlink(&program, &link).with_context(|| format!("cannot link {}", link.display()))?;
        }
        let (counters, lifeline) = actor.descriptors();
        let mut command = Command::new(&link);
        command
            .arg(AFTER_EXEC)
            .args([counters.to_string(), lifeline.to_string()])
            .arg(actor.directory())
            .args([written.to_string(), self.bytes.to_string(), self.rounds.to_string()])
            .arg(self.pause.as_millis().to_string())
            .arg(if self.then == Then::End { "end" } else { "live-on" });
        environment(&mut command);
        Err(command.exec()).with_context(|| format!("cannot execute {}", link.display()))
    }
}

/// What the executed program does: `arguments` are what [`Sequel::execute`] hands over.
pub(crate) fn go_on_after_exec(arguments: &[String]) -> Result<()> {
    let [counters, lifeline, directory, written, bytes, rounds, pause_ms, then] = arguments else {
        return Err(anyhow!("`{AFTER_EXEC}` is what this program calls itself by"));
    };
    let counters = Counters::attach(kernel::inherited(counters.parse()?)?)?;
    let lifeline = kernel::inherited(lifeline.parse()?)?;
    let actor = Actor::attached(counters, lifeline, PathBuf::from(directory));
    actor.count_metadata(Writer::Child, written.parse()?)?;
    actor.counters.set(Count::Stage, EXECUTED);
    let pause = Duration::from_millis(pause_ms.parse()?);
    write_rounds(&actor, Writer::ChildAfterExec, bytes.parse()?, rounds.parse()?, pause)?;
    if then == "live-on" {
        actor.live_on()?;
    }
    actor.end(0)
}

/// Executes a command to which bpf(2) is refused: `all` calls or the `loads` of programs, with
/// an errno. Returns only when that failed.
pub(crate) fn execute_without_bpf(arguments: &[String]) -> Result<()> {
    let [calls, errno, program, rest @ ..] = arguments else {
        return Err(anyhow!("expected `{REFUSE_BPF} all|loads ERRNO COMMAND [ARGUMENT]...`"));
    };
    let calls = match calls.as_str() {
        "all" => BpfCalls::All,
        "loads" => BpfCalls::ProgramLoads,
        other => return Err(anyhow!("`{other}`: expected `all` or `loads`")),
    };
    kernel::refuse_bpf(calls, errno.parse()?).context("cannot filter system calls")?;
    Err(Command::new(program).args(rest).exec())
        .with_context(|| format!("cannot execute {program}"))
}

fn write_rounds(
    actor: &Actor,
    writer: Writer,
    bytes: u64,
    rounds: u64,
    pause: Duration,
) -> Result<()> {
    for _ in 0..rounds {
        actor.write(writer, bytes, Durability::Left)?;
        actor.live_for(pause)?;
    }
    Ok(())
}
