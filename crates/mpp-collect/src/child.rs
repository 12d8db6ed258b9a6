//! Processes that we start: helpers of our own, and commands to be measured.
//!
//! A command is run by a [`Supervisor`]. Helpers are for reading: a read that blocks on another process's mmap lock ends only when the reader is killed, so the
//! reader must be a process that can be. It is forked and does not exec: a library cannot know
//! which program it lives in. After fork(2) the child has only the forking thread, and whatever
//! locks other threads held stay locked for ever; therefore this file forks only while the
//! process has one thread, and counts them first.

pub(crate) mod descendants;
mod own_io;
mod signals;
mod supervisor;

use std::ffi::{CStr, c_int, c_void};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::time::Duration;

use rustix::event::PollFlags;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, stat};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, getppid, kill_process, pidfd_open,
    pidfd_send_signal, set_parent_process_death_signal, setrlimit, waitpid,
};

use crate::sys;

pub use signals::{
    Arrival, ArrivedSignal, Sender, SignalMeaning, end_by_signal, pass_on_ignored_pipe,
};
pub use supervisor::{
    Reaped, ReapedChild, ReapedTotals, RunError, Supervisor, WaitStatus, inherited_rss_bytes,
    send_signal,
};

/// How long a child that is not wanted any more has to end by itself, before it is killed.
const PATIENCE: Duration = Duration::from_millis(200);
/// Stack of a process that ends at once.
const STACK_BYTES: usize = 64 << 10;

/// A child process that is ended and reaped when this is dropped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    /// Names the child even where SIGCHLD is ignored and its PID may have gone to a stranger.
    /// `None` before Linux 5.3.
    pidfd: Option<OwnedFd>,
}

impl Child {
    /// Forks a child that runs `body` and then ends, whatever `body` does.
    ///
    /// # Errors
    /// EBUSY where this process has other threads, or where that cannot be found out; else
    /// what fork(2) says.
    pub(crate) fn fork(body: impl FnOnce()) -> Result<Self, Errno> {
        if thread_count()? != 1 {
            return Err(Errno::BUSY);
        }
        sys::call(|| Ok(()))?;
        // SAFETY: there is no other thread that could hold a lock or be half-way through a
        // change of memory, so the child's copy of everything is whole.
        let returned = unsafe { libc::fork() };
        if returned == 0 {
            // A panic must not unwind into the copy of our caller's frames.
            let outcome = catch_unwind(AssertUnwindSafe(body));
            // SAFETY: _exit(2) takes any status and does not return.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        let Some(pid) = Pid::from_raw(returned).filter(|_| returned > 0) else {
            return Err(sys::last_errno());
        };
        let pidfd = sys::call(|| pidfd_open(pid, PidfdFlags::empty())).ok();
        Ok(Child { pid, pidfd })
    }

    /// Gives the child a moment to end by itself, for one whose socket has just been closed.
    ///
    /// A child of its own that it had no time to reap would go to whoever adopts orphans here,
    /// and not every container has somebody who then reaps them.
    pub(crate) fn await_end(&self) {
        if let Some(pidfd) = &self.pidfd {
            // Whatever comes of it, the child is killed and reaped next.
            let _ = sys::wait_until_ready(pidfd.as_fd(), PollFlags::IN, PATIENCE);
        }
    }

    /// The child's PID in our PID namespace.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }
}

impl Drop for Child {
    /// Ends the child with SIGKILL, the only signal that ends a blocked read, and reaps it.
    fn drop(&mut self) {
        // That it has ended already is all that can be wrong with either call.
        let _ = match &self.pidfd {
            Some(pidfd) => pidfd_send_signal(pidfd, Signal::KILL),
            None => kill_process(self.pid, Signal::KILL),
        };
        let reap = || waitpid(Some(self.pid), WaitOptions::empty());
        while reap().is_err_and(|errno| errno == Errno::INTR) {}
    }
}

/// Starts a process that ends at once, waits until it has ended, and returns the PID it had.
///
/// It costs no copy of our memory and sends us no SIGCHLD. The kernel has told whoever wants to
/// know of the end before this returns. Unlike [`Child::fork`] it may be called in a process with
/// many threads: nothing of ours runs in the new one.
///
/// # Errors
/// What clone(2) says.
pub(crate) fn end_at_once() -> Result<Pid, Errno> {
    extern "C" fn end(_: *mut c_void) -> c_int {
        0
    }
    let mut stack = vec![0_u128; STACK_BYTES / size_of::<u128>()];
    let top = stack.as_mut_ptr_range().end.cast();
    // Memory is shared, and we are stopped until the other has left it. No signal is sent to us
    // at its end.
    let flags = libc::CLONE_VM | libc::CLONE_VFORK;
    let returned = sys::call(|| {
        without_signals(|| {
            // SAFETY: the new process runs only `end`, which touches nothing, on a stack of its
            // own, which outlives it.
            match unsafe { libc::clone(end, top, flags, ptr::null_mut()) } {
                -1 => Err(sys::last_errno()),
                pid => Ok(pid),
            }
        })
    })?;
    let pid = Pid::from_raw(returned).ok_or(Errno::AGAIN)?;
    // SAFETY: nothing is written, since there is no status to write to.
    let reap = || unsafe { libc::waitpid(returned, ptr::null_mut(), libc::__WALL) };
    while reap() == -1 && sys::last_errno() == Errno::INTR {}
    Ok(pid)
}

/// Runs `f` while no signal is handled in this thread, nor in a process that it starts: a handler
/// must not run in both at once.
pub(crate) fn without_signals<T>(f: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    // SAFETY: zero is a value of this plain C struct.
    let mut all: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: likewise.
    let mut before: libc::sigset_t = unsafe { mem::zeroed() };
    // SAFETY: it is ours to write to.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: both are valid, and ours.
    let errno = unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before) };
    if errno != 0 {
        return Err(Errno::from_raw_os_error(errno));
    }
    let outcome = f();
    // SAFETY: it is what the call above has written; it cannot fail.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut()) };
    outcome
}

/// How many threads this process has, by the links of its `task` directory, proc_pid_task(5).
///
/// # Errors
/// Where procfs is not mounted at `/proc`.
pub(crate) fn thread_count() -> Result<u64, Errno> {
    let links = sys::call(|| stat(c"/proc/self/task"))?.st_nlink;
    // One link is the directory's name, one is its own dot.
    links.checked_sub(2).filter(|count| *count > 0).ok_or(Errno::BUSY)
}

/// CPU time of the calling thread, in user and kernel mode.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
    seconds + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Whether a process ignores the end of its children, so that the kernel reaps them and their
/// counters reach nobody: `SigIgn` of proc_pid_status(5), which everybody may read. `None`
/// where it has ended. SA_NOCLDWAIT, which does the same, can be seen by nobody.
#[must_use]
pub fn ignores_children(pid: u32) -> Option<bool> {
    const CHILD_SIGNAL_BIT: u64 = 1 << (libc::SIGCHLD - 1);
    let procfs = crate::proc_fs::open_folder(rustix::fs::CWD, c"/proc").ok()?;
    let mut room = crate::proc_fs::Room::default();
    let name = crate::proc_fs::Name::in_process(pid, "status");
    let text = room.read(&procfs, name.as_c_str()).ok()?;
    let status = mpp_parse::proc_pid_status::parse(text).ok()?;
    Some(status.ignored_signals? & CHILD_SIGNAL_BIT != 0)
}

/// Makes a freshly forked child a helper: it dies with `parent`, is deaf to the terminal,
/// leaves no core file, and keeps no descriptor but those of `keep`.
///
/// Privileges are left as they are: it reads what its parent may read.
///
/// # Errors
/// ESRCH where the parent has ended already.
pub(crate) fn become_helper(
    parent: Pid,
    name: &CStr,
    keep: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if getppid() != Some(parent) {
        return Err(Errno::SRCH);
    }
    rustix::thread::set_name(name)?;
    // What the helper reads are other people's secrets: they belong into no core file.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
        // SAFETY: ignoring a signal runs no code of ours; the numbers are valid.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    silence_standard_streams()?;
    close_all_but(keep)
}

/// Points the three standard descriptors to nowhere, so that nobody who waits for the end of
/// our output waits for the helper's.
fn silence_standard_streams() -> Result<(), Errno> {
    let null = openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for stream in 0..3 {
        // SAFETY: the three numbers are owned by no object of this process.
        unsafe { libc::dup2(null.as_raw_fd(), stream) };
    }
    Ok(())
}

/// Closes every descriptor above the standard three that is not in `keep`.
fn close_all_but(keep: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = openat(CWD, c"/proc/self/fd", flags, Mode::empty())?;
    // Gathered first, since a directory must not change while it is listed.
    let mut others = Vec::new();
    let mut buffer = [MaybeUninit::uninit(); 4096];
    let mut listing = RawDir::new(&directory, &mut buffer);
    while let Some(entry) = listing.next() {
        let entry = entry?;
        let name = std::str::from_utf8(entry.file_name().to_bytes()).ok();
        others.extend(name.and_then(|name| name.parse::<RawFd>().ok()));
    }
    drop(directory);
    others.retain(|fd| *fd > 2 && !keep.iter().any(|kept| kept.as_raw_fd() == *fd));
    for fd in others {
        // SAFETY: the objects that own these numbers live on in the parent only; the child
        // runs none of their code, since it never returns to its caller.
        unsafe { libc::close(fd) };
    }
    Ok(())
}
