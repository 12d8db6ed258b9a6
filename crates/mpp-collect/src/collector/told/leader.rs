//! A process as the record of its main thread tells it.

use mpp_accounting::process::{
    Absence, ContextSwitches, Gauges, Memory, ProcessIo, ProcessKey, ProcessState, Reading,
    ThreadIo, ThreadList,
};
use mpp_accounting::units::IoTotals;
use mpp_parse::bpf_record::{self, Fds, Pool, ProcessPart, TaskRecord, ThreadUsage};

use super::Told;
use crate::exits::exact::whole_usage;
use crate::identity::Ending;
use crate::needs::{ContextSwitchNeeds, Measures};
use crate::scale::{Scale, io_totals};

/// See the top of this file.
pub(super) struct Leader<'a> {
    pub(super) task: TaskRecord<'a>,
    pub(super) process: ProcessPart<'a>,
    pub(super) key: ProcessKey,
    pub(super) told: Told,
    pub(super) pool: Pool,
    /// Of the main thread and those that are gone.
    pub(super) usage: ThreadUsage,
    pub(super) thread: ThreadIo,
}

impl<'a> Leader<'a> {
    pub(super) fn new(task: &TaskRecord<'a>, process: ProcessPart<'a>, scale: Scale) -> Self {
        let pool = process.pool();
        Leader {
            task: *task,
            process,
            key: scale.process_key(task.thread()),
            told: Told {
                exec_id: process.self_exec_id(),
                euid: process.euid(),
                cgroup_id: process.cgroup_id(),
            },
            usage: whole_usage(&task.usage(), &pool),
            pool,
            thread: thread_io(task, scale),
        }
    }

    pub(super) fn is_crowd(&self) -> bool {
        self.process.thread_count() > 1
    }

    pub(super) fn state(&self) -> ProcessState {
        match self.thread.has_exited {
            true => ProcessState::Zombie,
            false => ProcessState::Living,
        }
    }

    pub(super) fn ending(&self) -> Ending {
        // Where the main thread has exited, others may live on.
        match self.task.is_kernel_thread() || (self.thread.has_exited && !self.is_crowd()) {
            true => Ending::NoMemory,
            false => Ending::HasMemory,
        }
    }

    /// I/O of the main thread and of those that are gone.
    pub(super) fn io(&self) -> IoTotals {
        io_totals(&self.pool.io).plus(self.thread.total.as_delta())
    }

    pub(super) fn gauges(&self, measures: &Measures, scale: Scale) -> Gauges {
        let mut gauges = Gauges::absent(Absence::NotRequested);
        gauges.threads = Reading::Value(self.process.thread_count());
        add_memory(&mut gauges, self.task.memory().as_ref(), measures, scale);
        if measures.fd_limit {
            gauges.seldom.fd_limit = Reading::Value(self.process.fd_limit());
        }
        gauges.context_switches = match measures.context_switches {
            ContextSwitchNeeds::None => return gauges,
            ContextSwitchNeeds::MainThread => switches(&self.task.usage()),
            ContextSwitchNeeds::AllThreads => switches(&self.usage),
        };
        gauges
    }
}

pub(super) fn thread_io(task: &TaskRecord<'_>, scale: Scale) -> ThreadIo {
    ThreadIo {
        key: scale.thread_key(task.thread()),
        total: io_totals(&task.io()),
        has_exited: task.has_ended(),
    }
}

pub(super) fn switches(usage: &ThreadUsage) -> Reading<ContextSwitches> {
    Reading::Value(ContextSwitches {
        voluntary: usage.nvcsw,
        involuntary: usage.nivcsw,
        is_partial: false,
    })
}

/// What goes with the memory. Zombies, kernel threads, and who is giving it back have none.
pub(super) fn add_memory(
    gauges: &mut Gauges,
    memory: Option<&bpf_record::Memory>,
    measures: &Measures,
    scale: Scale,
) {
    if measures.memory {
        gauges.put_memory(Reading::Value(memory.map_or_else(Memory::default, |m| told(m, scale))));
    }
    if measures.swap {
        gauges.seldom.swap_bytes =
            Reading::Value(memory.map_or(0, |m| scale.bytes(m.swap_entries)));
    }
    if measures.fds {
        gauges.fds = match memory.map(|memory| memory.fds) {
            Some(Fds::Exactly(count)) => Reading::Value(count),
            Some(Fds::AtLeast(_)) => Reading::Absent(Absence::TooLarge),
            Some(Fds::Unknown) | None => Reading::Value(0),
        };
    }
}

/// The total is T, and the threads are L.
pub(super) fn io_of(measures: &Measures, total: IoTotals, threads: ThreadList) -> ProcessIo {
    let absent = Absence::NotRequested;
    match measures.io {
        true => ProcessIo::new(Reading::Value(total), Reading::Value(threads)),
        false => ProcessIo::absent(absent),
    }
}

/// What statm would say.
fn told(memory: &bpf_record::Memory, scale: Scale) -> Memory {
    let shared_pages = memory.file_pages.saturating_add(memory.shmem_pages);
    Memory {
        rss_bytes: scale.bytes(shared_pages.saturating_add(memory.anon_pages)),
        vms_bytes: scale.bytes(memory.total_pages),
        shared_bytes: scale.bytes(shared_pages),
        text_bytes: scale.whole_pages(memory.start_code, memory.end_code),
        data_bytes: scale.bytes(memory.data_pages),
    }
}
