//! What a load really did: counters that all its processes raise, and the lines that print them.
//!
//! A counter is raised in the moment of the deed, by whoever did it, in memory
//! that forks share. A line is one JSON object, so that a test reads it without
//! knowing which scenario wrote it.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, IntoRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::kernel::{self, COUNTERS, Whose};

/// What is counted; the position in shared memory.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Count {
    /// Bytes written to disk by the scenario's first process.
    ParentWritten,
    /// Bytes written to disk by all others.
    ChildrenWritten,
    /// Of [`Count::ChildrenWritten`]: those written after an exec.
    AfterExecWritten,
    /// Of all bytes written: blocks of the filesystem's own.
    Metadata,
    /// Processes begun by fork.
    Born,
    /// Processes that came to their end.
    Ended,
    /// Processes reaped by a process of the scenario.
    Reaped,
    /// CPU time of ended processes by their own getrusage(2), in microseconds.
    EndedCpuUs,
    /// A PID worth naming: the daemon's, the leaderless process's.
    NotablePid,
    /// Bytes that children wrote to where nothing keeps them.
    ThrownAway,
    /// Threads that ended, besides the first of each process.
    ThreadsEnded,
    /// How far a child has come; each scenario says what it means.
    Stage,
    /// When the child that began last started, in clock ticks since boot.
    StartTicks,
}

/// Counters that all processes of a scenario share.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    cells: &'static [AtomicU64; COUNTERS],
    fd: RawFd,
}

impl Counters {
    /// New counters, all zero; their descriptor stays open for an exec to carry over.
    pub(crate) fn create() -> io::Result<Self> {
        Self::attach(kernel::shared_memory()?)
    }

    /// The counters behind a descriptor that was carried over an exec.
    pub(crate) fn attach(fd: OwnedFd) -> io::Result<Self> {
        let cells = kernel::shared_counters(fd.as_fd())?;
        Ok(Counters { cells, fd: fd.into_raw_fd() })
    }

    /// The descriptor to carry over an exec.
    pub(crate) fn fd(self) -> RawFd {
        self.fd
    }

    /// Counts something that was done.
    pub(crate) fn raise(self, count: Count, by: u64) {
        self.cells[count as usize].fetch_add(by, Ordering::SeqCst);
    }

    /// Says how things stand.
    pub(crate) fn set(self, count: Count, value: u64) {
        self.cells[count as usize].store(value, Ordering::SeqCst);
    }

    /// What was counted so far.
    pub(crate) fn value(self, count: Count) -> u64 {
        self.cells[count as usize].load(Ordering::SeqCst)
    }

    /// One line of truth as of now.
    pub(crate) fn line(self, event: &str) -> Line {
        let line = Line::new(event);
        let mut line = line
            .number("parent_write_bytes", self.value(Count::ParentWritten))
            .number("children_write_bytes", self.value(Count::ChildrenWritten))
            .number("after_exec_write_bytes", self.value(Count::AfterExecWritten))
            .number("thrown_away_bytes", self.value(Count::ThrownAway))
            .number("metadata_bytes", self.value(Count::Metadata))
            .number("born", self.value(Count::Born))
            .number("ended", self.value(Count::Ended))
            .number("reaped", self.value(Count::Reaped))
            .number("ended_cpu_us", self.value(Count::EndedCpuUs))
            .number("own_cpu_us", kernel::cpu_us(Whose::Own))
            .number("reaped_cpu_us", kernel::cpu_us(Whose::Reaped));
        let notable = self.value(Count::NotablePid);
        if notable != 0 {
            line = line.number("notable_pid", notable);
        }
        line
    }
}

/// One JSON object on one line of standard output.
pub(crate) struct Line(String);

impl Line {
    /// Begins a line that says what happened, in which process, and when on both clocks.
    pub(crate) fn new(event: &str) -> Self {
        Line(String::from("{"))
            .text("event", event)
            .number("pid", std::process::id().into())
            .number("boottime_ns", nanoseconds(kernel::boottime()))
            .number("unix_ns", nanoseconds(kernel::realtime()))
    }

    /// Adds a number.
    pub(crate) fn number(mut self, key: &str, value: u64) -> Self {
        self.key(key);
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{value}");
        self
    }

    /// Adds text of plain letters, digits and signs; anything else is left out.
    pub(crate) fn text(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        self.0.push('"');
        self.0.extend(value.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')));
        self.0.push('"');
        self
    }

    /// Adds a list of numbers.
    pub(crate) fn numbers(mut self, key: &str, values: &[u32]) -> Self {
        self.key(key);
        let list: Vec<String> = values.iter().map(u32::to_string).collect();
        self.0.push('[');
        self.0.push_str(&list.join(","));
        self.0.push(']');
        self
    }

    /// Writes the line to standard output, whole and at once.
    pub(crate) fn print(mut self) -> io::Result<()> {
        self.0.push_str("}\n");
        let mut out = io::stdout().lock();
        out.write_all(self.0.as_bytes())?;
        out.flush()
    }

    fn key(&mut self, key: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        let _ = write!(self.0, "\"{key}\":");
    }
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
