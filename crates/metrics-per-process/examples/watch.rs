//! Prints what the processes with a name write and use, once a second for five seconds.
//!
//! `cargo run --release --example watch -p metrics-per-process -- postgres`

#![expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a command")]

use std::error::Error;
use std::time::Duration;

use metrics_per_process::report::{Figure, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{Monitor, metric};

fn main() -> Result<(), Box<dyn Error>> {
    let name = std::env::args().nth(1).ok_or("expected the name of a program")?;
    let mut monitor = Monitor::builder()
        .group(name.as_str(), Selector::default().name(&name)?)
        .columns(metric::choose("processes.total,cpu.percent,io_counters.write_bytes_per_sec")?)
        .build()?;
    monitor.sample()?;
    for _ in 0..5 {
        std::thread::sleep(Duration::from_secs(1));
        let report = monitor.sample()?;
        for (column, figure) in report.columns.iter().zip(&report.groups[0].figures) {
            print!("{} {}  ", column.name(), text(figure));
        }
        println!();
    }
    Ok(())
}

/// The number with its mark, or `-` where nothing can be said.
fn text(figure: &Figure) -> String {
    match figure {
        Figure::Known { value: Value::Integer(count), mark } => format!("{}{count}", mark.prefix()),
        Figure::Known { value: Value::Float(number), mark } => {
            format!("{}{number:.1}", mark.prefix())
        }
        Figure::Absent(_) => "-".to_owned(),
    }
}
