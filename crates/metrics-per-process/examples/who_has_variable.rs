//! Prints the PIDs of the processes that have an environment variable.
//!
//! `cargo run --release --example who_has_variable -p metrics-per-process -- LANG`

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command"
)]

use std::error::Error;

use metrics_per_process::selector::Selector;
use metrics_per_process::{FindOptions, find};

fn main() -> Result<(), Box<dyn Error>> {
    let variable = std::env::args().nth(1).ok_or("expected the name of a variable")?;
    let found = find(&Selector::default().environment(&variable)?, &FindOptions::default())?;
    for process in &found.processes {
        println!("{} {}", process.key.pid, process.identity.comm.escape_ascii());
    }
    eprintln!("{} more could not be decided", found.undecided);
    Ok(())
}
