//! What every process and thread of a scenario can do: write to disk, live on, begin a child.
//!
//! All processes hold the read end of one pipe, the lifeline, whose write end only
//! the scenario's first process keeps. However that one ends, nothing outlives it:
//! whoever sleeps, sleeps on the lifeline.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::{IntoRawFd as _, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::kernel::{self, Fork, PipeState, Wait, Whose};
use crate::truth::{Count, Counters};

/// Bytes handed to one write(2); a counter is raised with each of them.
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;

/// What becomes of the bytes that were written.
#[derive(Clone, Copy)]
pub(crate) enum Durability {
    /// They reach the disk before the file is removed: nothing is counted as cancelled.
    Synced,
    /// They stay in the page cache and the file stays, so that a write takes no time.
    Left,
    /// The file is removed before they reach the disk: they are counted as written, and again
    /// as cancelled.
    Dropped,
}

/// Who writes, as the truth distinguishes it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    Parent,
    Child,
    ChildAfterExec,
}

/// The means of one process or thread.
#[derive(Clone)]
pub(crate) struct Actor {
    /// Where deeds are counted.
    pub(crate) counters: Counters,
    directory: PathBuf,
    lifeline: RawFd,
}

/// The write end of the lifeline, while this is the scenario's first process.
static LIFELINE_WRITER: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// Distinguishes the files of one process.
static FILES: AtomicU64 = AtomicU64::new(0);

impl Actor {
    /// The first process of a scenario, whose files go into `directory`.
    pub(crate) fn first(directory: PathBuf) -> Result<Self> {
        let (reader, writer) = kernel::pipe()?;
        if let Ok(mut slot) = LIFELINE_WRITER.lock() {
            *slot = Some(writer);
        }
        Ok(Self::attached(Counters::create()?, reader, directory))
    }

    /// A process that was handed these over an exec.
    pub(crate) fn attached(counters: Counters, lifeline: OwnedFd, directory: PathBuf) -> Self {
        Actor { counters, directory, lifeline: lifeline.into_raw_fd() }
    }

    /// Where this scenario's files are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What an exec carries over: the descriptors of counters and lifeline.
    pub(crate) fn descriptors(&self) -> (RawFd, RawFd) {
        (self.counters.fd(), self.lifeline)
    }

    /// Lives for so long, and ends if the scenario's first process ends meanwhile.
    pub(crate) fn live_for(&self, duration: Duration) -> Result<()> {
        match kernel::sleep_unless_closed(self.lifeline, duration)? {
            PipeState::Open => Ok(()),
            PipeState::Closed => kernel::exit_now(0),
        }
    }

    /// Lives until the scenario's first process ends.
    pub(crate) fn live_on(&self) -> Result<()> {
        loop {
            self.live_for(Duration::from_secs(3600))?;
        }
    }

    /// Writes so many bytes to a new file, and counts each write as it is done.
    ///
    /// A filesystem dirties blocks of its own on the way: directory, inode, bitmap. The
    /// kernel counts those as bytes written by this thread, so they are counted here too,
    /// as soon as the file is closed.
    pub(crate) fn write(&self, writer: Writer, bytes: u64, durability: Durability) -> Result<()> {
        let before = kernel::thread_write_bytes()?;
        self.write_file(writer, bytes, durability)?;
        self.count_metadata(writer, before + bytes)
    }

    /// Counts what this thread wrote beyond `known_bytes`: the filesystem's own blocks.
    pub(crate) fn count_metadata(&self, writer: Writer, known_bytes: u64) -> Result<()> {
        let metadata = kernel::thread_write_bytes()?.saturating_sub(known_bytes);
        self.counters.raise(Count::Metadata, metadata);
        self.count_written(writer, metadata);
        Ok(())
    }

    fn write_file(&self, writer: Writer, bytes: u64, durability: Durability) -> Result<()> {
        let number = FILES.fetch_add(1, Ordering::Relaxed);
        // The time tells apart what two programs, or two bearers of a PID, write.
        let now = kernel::boottime().as_nanos();
        let path = self.directory.join(format!("{}-{number}-{now}", std::process::id()));
        let failed = || format!("cannot write {}", path.display());
        let mut file = File::create_new(&path).with_context(failed)?;
        self.fill(&mut file, writer, bytes).with_context(failed)?;
        match durability {
            Durability::Synced => file.sync_all().with_context(failed)?,
            Durability::Dropped => {}
            Durability::Left => return Ok(()),
        }
        std::fs::remove_file(&path).with_context(failed)
    }

    /// Writes so many bytes to an open file, and counts each write as it is done; the filesystem's
    /// own blocks are left to [`Self::count_metadata`].
    pub(crate) fn fill(&self, file: &mut File, writer: Writer, bytes: u64) -> Result<()> {
        static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];
        let mut left = usize::try_from(bytes)?;
        while left > 0 {
            let chunk = left.min(CHUNK_BYTES);
            file.write_all(&ZEROS[..chunk])?;
            self.count_written(writer, chunk as u64);
            left -= chunk;
        }
        Ok(())
    }

    fn count_written(&self, writer: Writer, bytes: u64) {
        let count = match writer {
            Writer::Parent => Count::ParentWritten,
            Writer::Child | Writer::ChildAfterExec => Count::ChildrenWritten,
        };
        self.counters.raise(count, bytes);
        if writer == Writer::ChildAfterExec {
            self.counters.raise(Count::AfterExecWritten, bytes);
        }
    }

    /// Begins a child that runs `body` and ends; returns its PID.
    pub(crate) fn spawn(&self, body: impl FnOnce() -> Result<()>) -> Result<u32> {
        match kernel::fork().context("cannot fork")? {
            Fork::Parent(pid) => {
                self.counters.raise(Count::Born, 1);
                Ok(pid)
            }
            Fork::Child => {
                release_lifeline();
                let outcome = catch_unwind(AssertUnwindSafe(body));
                self.end(match outcome {
                    Ok(Ok(())) => 0,
                    Ok(Err(error)) => complain(&error),
                    Err(_) => 101,
                })
            }
        }
    }

    /// Ends this process as an ended child of the scenario.
    pub(crate) fn end(&self, status: i32) -> ! {
        self.counters.raise(Count::EndedCpuUs, kernel::cpu_us(Whose::Own));
        self.counters.raise(Count::Ended, 1);
        kernel::exit_now(status)
    }

    /// Reaps every child that has ended; returns how many there were.
    pub(crate) fn reap_ended(&self) -> Result<u64> {
        let mut reaped = 0;
        while let Wait::Reaped { pid, status } = kernel::reap_ended()? {
            self.count_reaped(pid, status)?;
            reaped += 1;
        }
        Ok(reaped)
    }

    /// Waits for every child, and reaps it.
    pub(crate) fn reap_all(&self) -> Result<()> {
        while let Wait::Reaped { pid, status } = kernel::reap_next()? {
            self.count_reaped(pid, status)?;
        }
        Ok(())
    }

    /// Ends whoever sleeps on the lifeline, and reaps the children among them.
    pub(crate) fn end_all(&self) -> Result<()> {
        release_lifeline();
        self.reap_all()
    }

    /// Waits for this child, and reaps it.
    pub(crate) fn reap(&self, pid: u32) -> Result<()> {
        match kernel::reap(pid)? {
            Wait::Reaped { pid, status } => self.count_reaped(pid, status),
            Wait::Pending | Wait::NoChildren => bail!("process {pid} is no child of ours"),
        }
    }

    fn count_reaped(&self, pid: u32, status: i32) -> Result<()> {
        self.counters.raise(Count::Reaped, 1);
        if status != 0 {
            bail!("child {pid} failed with wait status {status:#x}");
        }
        Ok(())
    }

    /// Waits until a child has come at least so far, but not for ever.
    pub(crate) fn await_stage(&self, stage: u64) -> Result<()> {
        let deadline = kernel::boottime() + Duration::from_secs(60);
        while self.counters.value(Count::Stage) < stage {
            if kernel::boottime() > deadline {
                bail!("a child did not come as far as it should within a minute");
            }
            self.live_for(Duration::from_millis(5))?;
        }
        Ok(())
    }
}

/// Lets go of the lifeline's write end: for a child, that it may not keep others alive.
fn release_lifeline() {
    if let Ok(mut writer) = LIFELINE_WRITER.lock() {
        *writer = None;
    }
}

/// Says on standard error why a child fails; returns its exit status.
pub(crate) fn complain(error: &anyhow::Error) -> i32 {
    // There is nobody left to tell where standard error is closed.
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
    1
}
