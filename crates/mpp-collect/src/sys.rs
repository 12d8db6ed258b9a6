//! The one gate that every system call of this crate passes.
//!
//! Tests close it: they let the N-th call fail with an errno of their choice and
//! then look that nothing panics, hangs or is silently lost.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, Result};

/// Makes a system call, unless a test has decided that this one fails.
pub(crate) fn call<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    #[cfg(test)]
    fault::next()?;
    f()
}

/// Makes a system call, and makes it again as often as a signal interrupts it.
///
/// Only for calls that do not wait: one that waits must look at its deadline first.
pub(crate) fn retrying<T>(mut f: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call(&mut f) {
            Err(Errno::INTR) => {}
            outcome => return outcome,
        }
    }
}

/// Why a system call that was made through libc has failed.
pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::AGAIN)
}

/// Waits until a descriptor is ready, but no longer than `wait`; whether it is. Its end, and an
/// error of it, count as ready.
pub(crate) fn wait_until_ready(
    of: BorrowedFd<'_>,
    events: PollFlags,
    wait: Duration,
) -> Result<bool> {
    let until = Instant::now() + wait;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Errno::INVAL)?;
        let mut fds = [PollFd::from_borrowed_fd(of, events)];
        match call(|| poll(&mut fds, Some(&timeout))) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
pub(crate) mod fault {
    //! Lets the N-th system call of this thread fail.

    use rustix::io::{Errno, Result};
    use std::cell::Cell;

    thread_local! {
        static PLAN: Cell<Option<(u64, Errno)>> = const { Cell::new(None) };
        static CALLS: Cell<u64> = const { Cell::new(0) };
    }

    /// Runs `f` while its call number `n` (from 0) fails with `errno`; returns what `f`
    /// returned and how many calls it made.
    pub(crate) fn with_failure<T>(n: u64, errno: Errno, f: impl FnOnce() -> T) -> (T, u64) {
        PLAN.set(Some((n, errno)));
        CALLS.set(0);
        let value = f();
        PLAN.set(None);
        (value, CALLS.get())
    }

    pub(super) fn next() -> Result<()> {
        let Some((n, errno)) = PLAN.get() else { return Ok(()) };
        let call = CALLS.get();
        CALLS.set(call + 1);
        if call == n { Err(errno) } else { Ok(()) }
    }
}
