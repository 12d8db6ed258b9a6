//! One line that says that something is going on, for whoever watches.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Nothing is said before: most commands are over by then.
pub(crate) const QUIET: Duration = Duration::from_millis(300);

/// A line on stderr, written once it has been quiet for long, and erased when this is dropped.
///
/// Whatever takes so long need not know of it: a thread waits beside it. The library forks its
/// helper process while there is one thread only; so begin this after a monitor was built.
/// Where stderr is no terminal there is no thread, and nothing is ever written. No escape
/// sequences: blanks erase as well, on every terminal.
#[derive(Debug)]
pub(crate) struct Progress {
    line: Option<Line>,
}

#[derive(Debug)]
struct Line {
    /// Closed when the line is to go, or is not to come any more.
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Progress {
    /// Begins to wait. `text` is plain ASCII.
    pub(crate) fn begin(text: String) -> Self {
        debug_assert!(text.is_ascii());
        let line = match io::stderr().is_terminal() {
            true => Line::begin(text, QUIET, io::stderr()),
            false => None,
        };
        Progress { line }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(Line { end, thread }) = self.line.take() {
            drop(end);
            // It does nothing that could panic, and then its line would be all that is lost.
            drop(thread.join());
        }
    }
}

impl Line {
    /// `None` where there can be no further thread: then there is no line either.
    fn begin(text: String, quiet: Duration, mut out: impl Write + Send + 'static) -> Option<Self> {
        let (end, is_over) = mpsc::channel();
        let speak = move || {
            if is_over.recv_timeout(quiet) == Err(RecvTimeoutError::Timeout) {
                write_in_line(&mut out, &text);
                // An error is what it waits for: the other end is closed.
                let _ = is_over.recv();
                write_in_line(&mut out, &format!("\r{:columns$}\r", "", columns = text.len()));
            }
        };
        let thread = thread::Builder::new().name("mpp-progress".to_owned()).spawn(speak).ok()?;
        Some(Line { end, thread })
    }
}

/// Writes without a newline. A terminal that has gone away is nobody to tell about it.
fn write_in_line(out: &mut impl Write, text: &str) {
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// What is said about something that takes until `is_over` says so of what was said.
    fn said(quiet: Duration, is_over: fn(&str) -> bool) -> String {
        let (mut screen, terminal) = io::pipe().expect("a pipe");
        let line = Line::begin("reading".to_owned(), quiet, terminal);
        let mut said = String::new();
        while !is_over(&said) {
            let mut byte = [0];
            screen.read_exact(&mut byte).expect("the line is open");
            said.push(char::from(byte[0]));
        }
        drop(Progress { line });
        screen.read_to_string(&mut said).expect("text");
        said
    }

    #[test]
    fn what_takes_long_is_said_and_erased_afterwards() {
        assert_eq!(said(Duration::ZERO, |said| said == "reading"), "reading\r       \r");
    }

    #[test]
    fn nothing_is_said_of_what_is_over_soon() {
        assert_eq!(said(Duration::from_secs(3600), str::is_empty), "");
    }
}
