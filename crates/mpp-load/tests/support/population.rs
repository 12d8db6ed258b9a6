//! Very many processes that exist in memory only, the same at every run.

use std::sync::Arc;
use std::time::Duration;

use mpp_accounting::exit::{ExitSource, Exits};
use mpp_accounting::process::{
    Absence, Gauges, Identity, Lineage, Memory, ProcessIo, ProcessKey, ProcessSample, ProcessState,
    Reading, ThreadIo, ThreadKey, ThreadList, Usage,
};
use mpp_accounting::snapshot::{Host, Snapshot};
use mpp_accounting::units::{BootTime, Totals};

/// How many names they share.
pub(crate) const NAMES: u32 = 50;

/// So many children of the first process; one in ten has four threads.
pub(crate) fn population(count: u32) -> Snapshot {
    let identities: Vec<Arc<Identity>> = (0..NAMES).map(|name| Arc::new(named(name))).collect();
    let process = |pid: u32| {
        let identity = &identities[(pid % NAMES) as usize];
        sample(pid, u32::from(pid > 1), Arc::clone(identity))
    };
    Snapshot {
        taken_at: BootTime { ns: 1_000_000_000 },
        taken_at_ticks: 100,
        duration: Duration::ZERO,
        processes: (1..=count).map(process).collect(),
        exits: Exits { source: ExitSource::Exact, ..Exits::default() },
        host: Host { memory_total_bytes: 1 << 34, ticks_per_second: 100, ..Host::default() },
        ..Snapshot::default()
    }
}

/// A second passes, in which one process in `every` reads, writes and computes.
pub(crate) fn pass(snapshot: &mut Snapshot, every: usize) {
    snapshot.taken_at.ns += 1_000_000_000;
    snapshot.taken_at_ticks += 100;
    for process in snapshot.processes.iter_mut().step_by(every) {
        process.usage.own.0[0] += 1000;
        process.usage.own.0[2] += 1;
        let mut threads = process.threads().value().copied().unwrap_or_default().to_vec();
        threads[0].total.0[1] += 4096;
        let total = process.io.total().map(|mut total| {
            total.0[1] += 4096;
            total
        });
        process.io = process.io.clone().with_total(total);
        process.io.set_threads(process.key, &threads);
    }
}

fn named(name: u32) -> Identity {
    let absent = Absence::NotRequested;
    Identity {
        comm: format!("sleeper-{name:02}").into_bytes().into_boxed_slice(),
        uid: 0,
        executable: Reading::Absent(absent),
        cmdline: Reading::Absent(absent),
        environment: Reading::Absent(absent),
        is_environment_incomplete: false,
        cgroup: Reading::Absent(absent),
        is_kernel_thread: false,
    }
}

fn sample(pid: u32, parent_pid: u32, identity: Arc<Identity>) -> ProcessSample {
    let key = ProcessKey { pid, start_time_ticks: 7 };
    let threads = if pid.is_multiple_of(10) { 4 } else { 1 };
    let thread = |number: u32| ThreadIo {
        key: ThreadKey { tid: pid + number * 10_000_000, start_time_ticks: 7 },
        total: Totals([64; 7]),
        has_exited: false,
    };
    let list: Vec<ThreadIo> = (0..threads).map(thread).collect();
    let total = Totals([64 * u64::from(threads); 7]);
    let memory = Memory { rss_bytes: 4096, vms_bytes: 8192, ..Memory::default() };
    let mut gauges = Gauges::absent(Absence::NotRequested);
    gauges.put_memory(Reading::Value(memory));
    gauges.threads = Reading::Value(threads);
    gauges.fds = Reading::Value(3);
    ProcessSample {
        key,
        parent_pid,
        lineage: Lineage::new(None, Some(BootTime { ns: 70_000_000 + u64::from(pid) }), Some(1)),
        state: ProcessState::Living,
        identity,
        read_at: BootTime::default(),
        // Only a parent has waited for anybody.
        usage: Usage::new(Totals([9; 4]), Totals([u64::from(parent_pid == 0); 4])),
        io: ProcessIo::new(
            Reading::Value(total),
            Reading::Value(ThreadList::new(key, total, &list)),
        ),
        gauges,
    }
}
