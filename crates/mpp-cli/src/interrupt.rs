//! Ctrl-C means "enough", not "away with everything measured so far".
//!
//! There is no thread here: the library starts its helper process only while this process has
//! a single one, and Ctrl-C may be caught before.

use std::io::{self, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use signal_hook::consts::SIGINT;
use signal_hook::flag;
use signal_hook::low_level::pipe;

/// Waits that Ctrl-C ends early.
#[derive(Debug)]
pub(crate) struct Interrupt {
    /// Gets a byte for each Ctrl-C.
    arrivals: UnixStream,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// By its deadline.
    Elapsed,
    /// By Ctrl-C.
    Interrupted,
}

impl Interrupt {
    /// Catches the first Ctrl-C of this process; a second one ends it as ever.
    ///
    /// # Errors
    ///
    /// Where no signal handler can be installed.
    pub(crate) fn catch() -> io::Result<Self> {
        let (sender, arrivals) = UnixStream::pair()?;
        let was_interrupted = Arc::new(AtomicBool::new(false));
        // In this order, the first Ctrl-C only raises the flag that lets a second one end us.
        flag::register_conditional_default(SIGINT, Arc::clone(&was_interrupted))?;
        flag::register(SIGINT, was_interrupted)?;
        pipe::register(SIGINT, sender)?;
        Ok(Interrupt { arrivals })
    }

    /// Waits until the deadline, or until Ctrl-C, which may have come before the call.
    ///
    /// # Errors
    ///
    /// What poll(2) or read(2) say about a socket that nobody else knows.
    pub(crate) fn wait_until(&mut self, deadline: Instant) -> io::Result<Wait> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return self.take_arrival();
            }
            self.arrivals.set_read_timeout(Some(left))?;
            match self.arrivals.read(&mut [0]) {
                Ok(_) => return Ok(Wait::Interrupted),
                Err(error) if is_no_arrival(error.kind()) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Looks without waiting.
    fn take_arrival(&mut self) -> io::Result<Wait> {
        self.arrivals.set_nonblocking(true)?;
        let outcome = self.arrivals.read(&mut [0]);
        self.arrivals.set_nonblocking(false)?;
        match outcome {
            Ok(_) => Ok(Wait::Interrupted),
            Err(error) if is_no_arrival(error.kind()) => Ok(Wait::Elapsed),
            Err(error) => Err(error),
        }
    }
}

fn is_no_arrival(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
