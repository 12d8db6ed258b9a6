//! Prints every process that ends within three seconds: how it ended, how long it lived, and
//! what it wrote.
//!
//! `cargo run --release --example ended -p metrics-per-process`

#![expect(clippy::print_stdout, reason = "a command")]

use std::error::Error;
use std::time::Duration;

use metrics_per_process::metric::MetricId;
use metrics_per_process::report::{Figure, Value};
use metrics_per_process::{EndedOptions, Monitor};

fn main() -> Result<(), Box<dyn Error>> {
    let mut monitor = Monitor::builder().ended(EndedOptions::default()).build()?;
    monitor.sample()?;
    for _ in 0..3 {
        std::thread::sleep(Duration::from_secs(1));
        monitor.sample()?;
        for ended in &monitor.ended().processes {
            println!(
                "{:>7} {:<15} status {}, lived {} s, wrote {} bytes",
                ended.key.pid,
                ended.identity.comm.escape_ascii(),
                ended.status.map_or("unknown".to_owned(), |status| status.to_string()),
                text(ended.figure(MetricId::Uptime)),
                text(ended.figure(MetricId::IoWriteBytes)),
            );
        }
    }
    Ok(())
}

/// The number with its mark, or `-` where nothing can be said.
fn text(figure: Option<Figure>) -> String {
    match figure {
        Some(Figure::Known { value: Value::Integer(count), mark }) => {
            format!("{}{count}", mark.prefix())
        }
        Some(Figure::Known { value: Value::Float(number), mark }) => {
            format!("{}{number:.3}", mark.prefix())
        }
        Some(Figure::Absent(_)) | None => "-".to_owned(),
    }
}
