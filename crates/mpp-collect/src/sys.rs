//! The one gate that every system call of this crate passes.
//!
//! Tests close it: they let the N-th call fail with an errno of their choice and
//! then look that nothing panics, hangs or is silently lost.

use rustix::io::Result;

/// Makes a system call, unless a test has decided that this one fails.
pub(crate) fn call<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    #[cfg(test)]
    fault::next()?;
    f()
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
