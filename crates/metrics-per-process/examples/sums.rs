//! Prints the sums and rates of all processes of some users, as the five functions give them.
//!
//! `cargo run --release --example sums -p metrics-per-process -- root nobody`

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a command")]

use std::error::Error;

use metrics_per_process::drop_in::{Selection, StatsOptions};
use metrics_per_process::get_processes_stats_ex;

fn main() -> Result<(), Box<dyn Error>> {
    let users: Vec<Vec<u8>> = std::env::args().skip(1).map(String::into_bytes).collect();
    if users.is_empty() {
        return Err("expected the names of users".into());
    }
    let selection = Selection { users, ..Selection::default() };
    for (key, value) in get_processes_stats_ex(&selection, &StatsOptions::default())? {
        println!("{key} {value}");
    }
    Ok(())
}
