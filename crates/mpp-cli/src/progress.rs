//! One line that says that something is going on, for whoever watches.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Nothing is said before: most commands are over by then.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// A line on stderr that is erased when this is dropped.
///
/// Where stderr is no terminal nothing is ever written. No escape sequences: blanks
/// erase as well, on every terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    columns: usize,
}

impl Progress {
    /// Says `text`, which is plain ASCII.
    pub(crate) fn show(text: &str) -> Self {
        debug_assert!(text.is_ascii());
        if !io::stderr().is_terminal() {
            return Progress { columns: 0 };
        }
        write_in_line(text);
        Progress { columns: text.len() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.columns > 0 {
            write_in_line(&format!("\r{:columns$}\r", "", columns = self.columns));
        }
    }
}

/// Writes without a newline. A terminal that has gone away is nobody to tell about it.
fn write_in_line(text: &str) {
    let mut stderr = io::stderr().lock();
    drop(stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush()));
}
