//! How a scenario and the test that started it take turns.
//!
//! The scenario sets itself up and prints `ready`; the test takes its baseline and
//! writes a line; the scenario acts, prints its truth on the way and a `total` at
//! the end, and stays until the test closes its standard input. Without a test,
//! `--start-after` and `--end-after` take the place of the two signals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::actor::{Actor, Writer};
use crate::kernel;
use crate::options::Options;
use crate::truth::Line;

/// One run of a scenario, seen from its first process.
pub(crate) struct Stage {
    actor: Actor,
    schedule: Option<Schedule>,
}

struct Schedule {
    start_after: Duration,
    end_after: Duration,
}

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of the kernel's `include/uapi/linux/magic.h`.
const MEMORY_FILESYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

impl Stage {
    /// Sets the command name and makes a directory for the files of this run.
    pub(crate) fn set_up(scenario: &str, options: &Options) -> Result<Self> {
        let comm = options.given("comm").unwrap_or(scenario);
        kernel::set_comm(comm.as_bytes()).context("cannot set the command name")?;
        let parent = options.given("directory").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = parent.join(format!("mpp-load-{}", std::process::id()));
        let schedule = match options.given("start-after") {
            None => None,
            Some(_) => Some(Schedule {
                start_after: options.seconds("start-after")?,
                end_after: options.seconds("end-after")?,
            }),
        };
        require_disk(&parent)?;
        std::fs::create_dir(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        Ok(Stage { actor: Actor::first(directory)?, schedule })
    }

    /// The means of the first process.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Says that everything is set up, and waits for the start.
    pub(crate) fn ready_and_wait(&self) -> Result<()> {
        self.wait_after(Line::new("ready"))
    }

    /// Says this, which is that everything is set up, and waits for the start.
    pub(crate) fn wait_after(&self, ready: Line) -> Result<()> {
        if self.schedule.is_some() {
            // Nobody takes a baseline: the blocks of the directory are part of the truth.
            self.actor.count_metadata(Writer::Parent, 0)?;
        }
        self.say(ready)?;
        match &self.schedule {
            Some(schedule) => self.actor.live_for(schedule.start_after),
            None if next_line()?.is_some() => Ok(()),
            None => bail!(
                "standard input was closed before the start, and nothing was done\n\n\
                 hint: `--start-after 0` starts without a line on standard input"
            ),
        }
    }

    /// Prints the truth as it stands now.
    pub(crate) fn tick(&self) -> Result<()> {
        self.say(self.actor.counters.line("tick"))
    }

    /// Prints the truth when all is done: all of this process's life where a schedule runs it.
    pub(crate) fn total(&self) -> Result<()> {
        if self.schedule.is_some() {
            self.remove_directory()?;
        }
        self.say(self.actor.counters.line("total"))
    }

    /// Removes the directory, and counts the blocks of the filesystem's own that this dirties.
    pub(crate) fn remove_directory(&self) -> Result<()> {
        let before = kernel::thread_write_bytes()?;
        let directory = self.actor.directory();
        std::fs::remove_dir_all(directory)
            .with_context(|| format!("cannot remove {}", directory.display()))?;
        self.actor.count_metadata(Writer::Parent, before)
    }

    /// Prints any line.
    pub(crate) fn say(&self, line: Line) -> Result<()> {
        line.print().context("cannot write to standard output")
    }

    /// Stays until standard input is closed or says something, or the schedule is over.
    pub(crate) fn wait_for_end(&self) -> Result<()> {
        match &self.schedule {
            Some(schedule) => self.actor.live_for(schedule.end_after),
            None => next_line().map(drop),
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // What is left there is a scratch file or two; the directory's owner sees them.
        let _ = std::fs::remove_dir_all(self.actor.directory());
    }
}

fn require_disk(directory: &Path) -> Result<()> {
    let magic = kernel::filesystem_magic(directory)
        .with_context(|| format!("cannot use directory {}", directory.display()))?;
    if MEMORY_FILESYSTEMS.contains(&magic) {
        bail!(
            "{} is memory, where written bytes are not counted\n\n\
             hint: name a directory on a disk with `--directory`",
            directory.display()
        );
    }
    Ok(())
}

fn next_line() -> Result<Option<String>> {
    let mut line = String::new();
    let bytes = std::io::stdin().read_line(&mut line).context("cannot read standard input")?;
    Ok((bytes > 0).then_some(line))
}
