//! A fork bomb: whoever lives forks whom it can, until it may not.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::actor::Actor;
use crate::kernel;
use crate::options::{OptionRow, Options, row};
use crate::stage::Stage;
use crate::truth::Count;

pub(super) const OPTIONS: &[OptionRow] = &[
    row("limit", "300", "processes that its user may have at one time: `RLIMIT_NPROC`"),
    row("seconds", "2", "how long it goes on"),
    row("bytes", "1024", "bytes that each process writes to /dev/null"),
];

/// How long a process forks before it waits for the end of its children.
const LIFE: Duration = Duration::from_millis(20);

/// How long one waits that may not fork.
const PAUSE: Duration = Duration::from_millis(5);

/// What every process of the bomb is made of.
struct Bomb<'a> {
    actor: &'a Actor,
    nowhere: File,
    words: Vec<u8>,
    end: Duration,
}

pub(super) fn run(stage: &Stage, options: &Options) -> Result<()> {
    let actor = stage.actor();
    let nowhere = File::options().write(true).open("/dev/null").context("cannot open /dev/null")?;
    let words = vec![0; usize::try_from(options.bytes("bytes")?)?];
    let duration = options.seconds("seconds")?;
    kernel::limit_processes(options.count("limit")?).context("cannot set `RLIMIT_NPROC`")?;
    stage.ready_and_wait()?;
    let bomb = Bomb { actor, nowhere, words, end: kernel::boottime() + duration };
    while kernel::boottime() < bomb.end {
        bomb.explode()?;
    }
    stage.total()?;
    stage.wait_for_end()
}

impl Bomb<'_> {
    /// Forks for a while, then waits for all that came of it.
    fn explode(&self) -> Result<()> {
        let end = (kernel::boottime() + LIFE).min(self.end);
        while kernel::boottime() < end {
            let is_refused = self.actor.spawn(|| self.go_off()).is_err();
            if is_refused {
                self.actor.live_for(PAUSE)?;
            }
            self.actor.reap_ended()?;
        }
        self.actor.reap_all()
    }

    fn go_off(&self) -> Result<()> {
        (&self.nowhere).write_all(&self.words)?;
        self.actor.counters.raise(Count::ThrownAway, self.words.len() as u64);
        self.explode()
    }
}
