//! A full sample of all processes by the crate sysinfo, once a second, `sample` printed for each.

use std::time::{Duration, Instant};

use sysinfo::{ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

fn main() {
    let mut system = System::new();
    // As much as it has of what our own sample reads.
    let wanted = ProcessRefreshKind::nothing()
        .with_cpu()
        .with_memory()
        .with_disk_usage()
        .with_user(UpdateKind::OnlyIfNotSet)
        .without_tasks();
    loop {
        let due = Instant::now() + Duration::from_secs(1);
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, wanted);
        println!("sample {}", system.processes().len());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
