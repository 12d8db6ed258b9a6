//! A full sample of all processes by the crate procfs, once a second, `sample` printed for each.

use std::time::{Duration, Instant};

use procfs::process::{Process, all_processes};

fn main() {
    loop {
        let due = Instant::now() + Duration::from_secs(1);
        let processes = all_processes().into_iter().flatten().flatten();
        println!("sample {}", processes.filter_map(|process| figures(&process)).count());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// What our own sample reads: identity, CPU, memory, I/O, switches, threads, descriptors.
fn figures(process: &Process) -> Option<u64> {
    let stat = process.stat().ok()?;
    let status = process.status().ok()?;
    let io = process.io().ok()?;
    let fds = process.fd_count().ok()? as u64;
    let switches = status.voluntary_ctxt_switches.unwrap_or(0);
    let sum = stat.utime + stat.stime + stat.rss + stat.starttime + io.write_bytes + fds + switches;
    Some(std::hint::black_box(sum))
}
