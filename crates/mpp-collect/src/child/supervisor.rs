//! Runs one command and is the last to wait for all that it starts.
//!
//! Whoever waits for a process inherits its counters, and those of all that it had waited for.
//! A child subreaper, prctl(2), is handed every descendant whose parent has ended, daemons
//! included; so in the end all counters of the tree arrive here, exactly, without a privilege.
//! Only what nobody waits for (SIGCHLD ignored by its parent) arrives nowhere.
//!
//! Two traps. Children that this process had before the command are not the command's: a shell
//! that executes us leaves us its background jobs. And ru_maxrss survives an exec, getrusage(2),
//! so that a small command shows our own peak.

use std::ffi::{CString, OsStr};
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use mpp_accounting::process::{Absence, Reading};
use mpp_accounting::units::{IoDelta, IoTotals, Totals, UsageTotals};
use rustix::io::Errno;
use rustix::process::{Pid, set_child_subreaper};

use super::descendants::own_children;
use super::own_io::OwnIo;
use super::signals::{self, Arrival, SignalGate};
use super::thread_count;
use crate::{scale, sys};

/// So much more than we ever had a child may have before it executes the command: pages of
/// code that it was the first to need, and what the kernel's counters lag behind.
const RSS_SLACK_BYTES: u64 = 1 << 20;

/// Why no command could be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The command is nowhere, or cannot be executed.
    #[error("cannot execute `{}`", program.escape_ascii())]
    Execute {
        /// The command as it was given.
        program: Box<[u8]>,
        /// Why.
        source: io::Error,
    },
    /// An argument holds a NUL byte, which no command can be given.
    #[error("expected arguments without NUL bytes, but found one in `{}`", argument.escape_ascii())]
    Argument {
        /// The argument.
        argument: Box<[u8]>,
    },
    /// There is no command.
    #[error("expected a command, but found no words at all")]
    Empty,
    /// Other threads of this process could start children and wait for ours.
    #[error("expected a process with one thread, but found {threads}")]
    Threads {
        /// How many there are.
        threads: u64,
    },
    /// The command has ended, and somebody else waited for it.
    #[error("expected to wait for the command, but somebody else did")]
    NotOurs,
    /// A system call that every run needs has failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl RunError {
    fn system(action: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| RunError::System { action, source: errno.into() }
    }

    /// Whether there is no such command, as against one that cannot be executed.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, RunError::Execute { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitStatus {
    /// It exited with this number.
    Exited(u8),
    /// This signal ended it.
    Signaled(i32),
}

/// A child that has ended and was waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReapedChild {
    /// Its PID, which may be somebody else's from now on.
    pub pid: u32,
    /// How it ended.
    pub status: WaitStatus,
}

/// Whether there is anybody left to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaped {
    /// This child.
    Child(ReapedChild),
    /// Nobody has ended, and somebody lives.
    Nobody,
    /// There are no children of the command any more.
    NobodyLeft,
}

/// What all that were waited for did, their descendants included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReapedTotals {
    /// I/O, exact; absent where our own `/proc/self/io` cannot be read.
    pub io: Reading<IoTotals>,
    /// CPU time, as the scheduler counted it, and faults.
    pub usage: UsageTotals,
    /// Voluntary and involuntary context switches of all threads.
    pub switches: Totals<2>,
    /// Direct children that were waited for.
    pub children: u64,
    /// The largest resident memory that one process of the tree ever had, in bytes; `None`
    /// where no process ever had more than this one had when it started the command, since
    /// every process inherits that.
    pub largest_rss_bytes: Option<u64>,
}

/// Waits for a command and everything that it starts. Everything is undone when it is dropped.
#[derive(Debug)]
pub struct Supervisor {
    signals: SignalGate,
    own_io: Result<OwnIo, Absence>,
    /// Children that were there before.
    strangers: Vec<u32>,
    had_strangers: bool,
    io_at_start: Result<IoTotals, Absence>,
    /// What strangers brought.
    strange_io: IoDelta,
    totals: ReapedTotals,
    /// As of the start of the command.
    inherited_rss_bytes: u64,
    was_subreaper: bool,
}

impl Supervisor {
    /// Makes this process the one that all orphans of its descendants are handed to.
    ///
    /// # Errors
    /// This process has other threads, or a system call failed.
    pub fn begin() -> Result<Self, RunError> {
        match thread_count().map_err(RunError::system("count our threads"))? {
            1 => {}
            threads => return Err(RunError::Threads { threads }),
        }
        let signals = SignalGate::close().map_err(RunError::system("block signals"))?;
        let was_subreaper = is_subreaper();
        let own_pid = rustix::process::getpid();
        sys::call(|| set_child_subreaper(Some(own_pid)))
            .map_err(RunError::system("become a child subreaper"))?;
        let own_io = OwnIo::open();
        let io_at_start = own_io.as_ref().map_err(|why| *why).and_then(OwnIo::of_reaped_children);
        let strangers = own_children();
        Ok(Supervisor {
            signals,
            had_strangers: !strangers.is_empty(),
            io_at_start,
            own_io,
            strangers,
            strange_io: IoDelta::ZERO,
            totals: ReapedTotals {
                io: Reading::Absent(Absence::NotYetKnown),
                usage: UsageTotals::ZERO,
                switches: Totals::ZERO,
                children: 0,
                largest_rss_bytes: None,
            },
            inherited_rss_bytes: u64::MAX,
            was_subreaper,
        })
    }

    /// Starts a command as execvp(3) finds it, and returns when it runs.
    ///
    /// Standard streams, open descriptors, environment, working directory, umask, process group
    /// and the signals that are ignored or blocked are what they were before this was made.
    ///
    /// # Errors
    /// It cannot be executed, or fork(2) failed.
    pub fn start(&mut self, words: &[impl AsRef<OsStr>]) -> Result<u32, RunError> {
        let words = c_strings(words)?;
        let program = words.first().ok_or(RunError::Empty)?;
        let (failure, in_child) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(RunError::system("make a pipe"))?;
        self.inherited_rss_bytes = inherited_rss_bytes();
        sys::call(|| Ok(())).map_err(RunError::system("fork"))?;
        // SAFETY: this process has one thread, so the child's copy of everything is whole.
        let returned = unsafe { libc::fork() };
        if returned == 0 {
            self.become_command(&words, &in_child)
        }
        let Some(pid) = Pid::from_raw(returned).filter(|_| returned > 0) else {
            return Err(RunError::system("fork")(last_errno()));
        };
        // Only the child's end is open now, and an exec closes that.
        drop(in_child);
        match read_errno(failure) {
            None => Ok(pid.as_raw_nonzero().get().unsigned_abs()),
            Some(errno) => {
                let _ = wait_for(pid.as_raw_nonzero().get(), 0);
                // What it did until then is no part of any command.
                self.io_at_start = self.folded();
                let source = io::Error::from_raw_os_error(errno);
                Err(RunError::Execute { program: Box::from(program.as_bytes()), source })
            }
        }
    }

    /// Executes the command in a child of ours, or says why it could not, and ends.
    fn become_command(&self, words: &[CString], in_child: &OwnedFd) -> ! {
        let mut pointers: Vec<*const libc::c_char> =
            words.iter().map(|word| word.as_ptr()).collect();
        pointers.push(std::ptr::null());
        let errno = match self.signals.restore_in_child() {
            Err(errno) => errno,
            Ok(()) => {
                // SAFETY: the pointers end with null, there is one before it, and their texts
                // live until the call.
                unsafe { libc::execvp(pointers[0], pointers.as_ptr()) };
                last_errno()
            }
        };
        // A parent that is gone is nobody to tell.
        let _ = rustix::io::write(in_child, &errno.raw_os_error().to_ne_bytes());
        // SAFETY: _exit(2) takes any status and does not return.
        unsafe { libc::_exit(127) }
    }

    /// Waits for a signal or a child's end, no longer than this.
    ///
    /// # Errors
    /// What sigtimedwait(2) says of a set of signals that is our own.
    pub fn wait(&self, longest: Duration) -> Result<Arrival, RunError> {
        self.signals.next(longest).map_err(RunError::system("wait for a signal"))
    }

    /// Stops this process until somebody lets it go on, as Ctrl-Z does with one that does not
    /// catch it.
    ///
    /// # Errors
    /// What sigprocmask(2) says.
    pub fn stop(&self) -> Result<(), RunError> {
        self.signals.stop().map_err(RunError::system("stop"))
    }

    /// Waits for one child that has ended already, if there is any.
    ///
    /// # Errors
    /// What wait4(2) says.
    pub fn reap(&mut self) -> Result<Reaped, RunError> {
        loop {
            let next = peek_ended().map_err(RunError::system("wait for a child"))?;
            let pid = match next {
                Peeked::Ended(pid) => pid,
                Peeked::Nobody if self.has_only_strangers() => return Ok(Reaped::NobodyLeft),
                Peeked::Nobody => return Ok(Reaped::Nobody),
                Peeked::NoChildren => return Ok(Reaped::NobodyLeft),
            };
            if let Some(position) = self.strangers.iter().position(|stranger| *stranger == pid) {
                self.strangers.swap_remove(position);
                self.reap_stranger(pid)?;
                continue;
            }
            return self.reap_own(pid).map(Reaped::Child);
        }
    }

    /// What all that were waited for did.
    #[must_use]
    pub fn totals(&self) -> ReapedTotals {
        let io = match (self.folded(), self.io_at_start) {
            (Ok(now), Ok(start)) => {
                Reading::Value(Totals(now.since_clamped(start).less(self.strange_io).0))
            }
            (Err(why), _) | (_, Err(why)) => Reading::Absent(why),
        };
        ReapedTotals { io, ..self.totals }
    }

    /// Whether this process had children before. They are told apart, but who descends from
    /// them and is orphaned cannot be.
    #[must_use]
    pub fn had_strangers(&self) -> bool {
        self.had_strangers
    }

    fn folded(&self) -> Result<IoTotals, Absence> {
        self.own_io.as_ref().map_err(|why| *why)?.of_reaped_children()
    }

    fn reap_own(&mut self, pid: u32) -> Result<ReapedChild, RunError> {
        let (status, usage) =
            wait_for(pid.cast_signed(), 0).map_err(RunError::system("wait for a child"))?;
        let totals = &mut self.totals;
        totals.usage = totals.usage.plus(scale::usage_of(&usage).as_delta());
        totals.switches = totals.switches.plus(scale::switches_of(&usage).as_delta());
        totals.children += 1;
        let peak = scale::peak_rss_bytes(&usage);
        if peak > self.inherited_rss_bytes {
            totals.largest_rss_bytes = totals.largest_rss_bytes.max(Some(peak));
        }
        Ok(ReapedChild { pid, status: wait_status(status) })
    }

    /// Reads what came with a child that is not the command's, to take it out again.
    fn reap_stranger(&mut self, pid: u32) -> Result<(), RunError> {
        let before = self.folded();
        wait_for(pid.cast_signed(), 0).map_err(RunError::system("wait for a child"))?;
        if let (Ok(before), Ok(after)) = (before, self.folded()) {
            self.strange_io = self.strange_io.plus(after.since_clamped(before));
        }
        Ok(())
    }

    fn has_only_strangers(&self) -> bool {
        !self.strangers.is_empty()
            && own_children().iter().all(|child| self.strangers.contains(child))
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if !self.was_subreaper {
            // That it was possible before says that it is possible now.
            let _ = sys::call(|| set_child_subreaper(None));
        }
    }
}

/// The most resident memory, in bytes, that a process may have of us which we start now, before
/// it has any of its own.
#[must_use]
pub fn inherited_rss_bytes() -> u64 {
    own_peak_rss_bytes().saturating_add(RSS_SLACK_BYTES)
}

/// Sends a signal to a process that has not been waited for.
///
/// # Errors
/// What kill(2) says.
pub fn send_signal(pid: u32, signal: i32) -> Result<(), RunError> {
    let pid = Pid::from_raw(pid.cast_signed());
    let sent = pid.ok_or(Errno::SRCH).and_then(|pid| signals::send(pid, signal));
    sent.map_err(RunError::system("send a signal"))
}

fn c_strings(words: &[impl AsRef<OsStr>]) -> Result<Vec<CString>, RunError> {
    let c_string = |word: &OsStr| {
        let bytes = word.as_bytes();
        CString::new(bytes).map_err(|_| RunError::Argument { argument: Box::from(bytes) })
    };
    words.iter().map(|word| c_string(word.as_ref())).collect()
}

/// What a child said before it ended; nothing where it was executed.
fn read_errno(failure: OwnedFd) -> Option<i32> {
    let mut bytes = [0; 4];
    std::fs::File::from(failure).read_exact(&mut bytes).ok()?;
    Some(i32::from_ne_bytes(bytes))
}

enum Peeked {
    Ended(u32),
    Nobody,
    NoChildren,
}

/// A child that has ended and is still to be waited for.
fn peek_ended() -> Result<Peeked, Errno> {
    let mut found = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let outcome = sys::retrying(|| {
        // SAFETY: `found` is writable for the length of the call.
        let returned = unsafe { libc::waitid(libc::P_ALL, 0, found.as_mut_ptr(), options) };
        if returned < 0 { Err(last_errno()) } else { Ok(()) }
    });
    match outcome {
        Ok(()) => {}
        Err(Errno::CHILD) => return Ok(Peeked::NoChildren),
        Err(errno) => return Err(errno),
    }
    // SAFETY: all zero bytes are a valid siginfo_t, and the call wrote nothing else.
    let found = unsafe { found.assume_init() };
    // SAFETY: waitid(2) fills in the fields of a child, or leaves them zero.
    match u32::try_from(unsafe { found.si_pid() }) {
        Ok(pid) if pid > 0 => Ok(Peeked::Ended(pid)),
        _ => Ok(Peeked::Nobody),
    }
}

fn wait_for(pid: i32, options: i32) -> Result<(i32, libc::rusage), Errno> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    sys::retrying(|| {
        // SAFETY: status and usage are writable for the length of the call.
        let returned = unsafe { libc::wait4(pid, &raw mut status, options, usage.as_mut_ptr()) };
        if returned < 0 { Err(last_errno()) } else { Ok(()) }
    })?;
    // SAFETY: all zero bytes are a valid rusage, and the call wrote nothing else.
    Ok((status, unsafe { usage.assume_init() }))
}

fn wait_status(status: i32) -> WaitStatus {
    if libc::WIFSIGNALED(status) {
        return WaitStatus::Signaled(libc::WTERMSIG(status));
    }
    WaitStatus::Exited(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
}

/// The most memory that we ever had: what a child's peak cannot be below.
fn own_peak_rss_bytes() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable for the length of the call, which does not fail for us.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) };
    // SAFETY: all zero bytes are a valid rusage, and the call wrote nothing else.
    scale::peak_rss_bytes(&unsafe { usage.assume_init() })
}

fn is_subreaper() -> bool {
    let mut flag: i32 = 0;
    // SAFETY: `flag` is writable for the length of the call.
    let returned = unsafe { libc::prctl(libc::PR_GET_CHILD_SUBREAPER, &raw mut flag) };
    returned == 0 && flag != 0
}

fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_other_threads_runs_nothing() {
        // The test harness has one besides ours.
        let error = Supervisor::begin().expect_err("other threads");
        assert!(matches!(error, RunError::Threads { threads } if threads > 1), "{error}");
        assert!(!is_subreaper());
    }

    #[test]
    fn words_with_a_nul_byte_are_refused() {
        let error = c_strings(&["echo", "a\0b"]).expect_err("a NUL byte");
        assert_eq!(
            error.to_string(),
            "expected arguments without NUL bytes, but found one in `a\\x00b`"
        );
    }

    #[test]
    fn a_wait_status_is_a_number_or_a_signal() {
        assert_eq!(wait_status(0), WaitStatus::Exited(0));
        assert_eq!(wait_status(3 << 8), WaitStatus::Exited(3));
        assert_eq!(wait_status(255 << 8), WaitStatus::Exited(255));
        assert_eq!(wait_status(9), WaitStatus::Signaled(9));
        assert_eq!(wait_status(11 | 0x80), WaitStatus::Signaled(11), "with a core file");
    }
}
