//! The sweep without procfs: every living thread as our own iterator in the kernel tells it.
//!
//! One pass hands out what procfs spreads over half a dozen files of each process. Only who a
//! process is, is still read there, once, and again after an exec or where its name or user
//! has changed. Whom the iterator keeps back is read as ever.

use std::collections::HashMap;
use std::sync::Arc;

use mpp_accounting::process::{
    Absence, ContextSwitches, Gauges, Identity, Memory, ProcessIo, ProcessKey, ProcessSample,
    ProcessState, Reading, Socket, ThreadIo, ThreadList, Usage,
};
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::{BootTime, IoTotals, Totals, UsageCounter};
use mpp_parse::bpf_record::{self, Fds, Pool, TaskKey, TaskRecord, ThreadUsage};
use rustix::fd::AsFd;
use rustix::io::Errno;

use super::{Collector, Request, Unseen};
use crate::bpf::Bpf;
use crate::delays::DelaySum;
use crate::error::absence_of;
use crate::identity::{Ending, Exec, Known};
use crate::measure::{Phase, Subject};
use crate::needs::{ContextSwitchNeeds, Measures};
use crate::origin::Origin;
use crate::proc_fs::{FileError, Name, open_folder};
use crate::scale::{Scale, cpu_split, io_totals};
use crate::sockets::SocketSource;

/// One process, as its threads tell it.
#[derive(Debug)]
pub(super) struct Row {
    key: TaskKey,
    parent: TaskKey,
    forker: Option<TaskKey>,
    comm: Box<[u8]>,
    euid: u32,
    exec_id: u64,
    cgroup_id: u64,
    is_kernel_thread: bool,
    thread_count: u32,
    fd_limit: u64,
    pool: Pool,
    usage: ThreadUsage,
    io: IoTotals,
    threads: Vec<ThreadIo>,
    memory: Option<bpf_record::Memory>,
    delays: Option<DelaySum>,
    state: ProcessState,
}

/// What tells whether the identity that is known still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    exec_id: u64,
    euid: u32,
    cgroup_id: u64,
}

/// Every process of the machine, ascending by PID.
fn read_rows(bpf: &mut Bpf, scale: Scale) -> Result<Vec<Row>, Errno> {
    let mut rows: Vec<Row> = Vec::new();
    let mut row_of: HashMap<u32, usize> = HashMap::new();
    bpf.read_tasks(&mut |task| {
        if task.process().is_some() {
            row_of.insert(task.tgid(), rows.len());
            rows.extend(Row::of(task));
        }
        // A thread whose leader was not told was born behind the iterator's back.
        if let Some(row) = row_of.get(&task.tgid()).and_then(|position| rows.get_mut(*position)) {
            row.add(task, scale);
        }
    })?;
    rows.sort_by_key(|row| row.key.id);
    rows.dedup_by_key(|row| row.key.id);
    Ok(rows)
}

impl Row {
    fn of(leader: &TaskRecord<'_>) -> Option<Self> {
        let process = leader.process()?;
        let pool = process.pool();
        Some(Row {
            key: leader.thread(),
            parent: process.parent(),
            forker: process.forker(),
            comm: Box::from(process.comm()),
            euid: process.euid(),
            exec_id: process.self_exec_id(),
            cgroup_id: process.cgroup_id(),
            is_kernel_thread: leader.is_kernel_thread(),
            thread_count: process.thread_count(),
            fd_limit: process.fd_limit(),
            usage: ThreadUsage {
                utime_ns: pool.utime_ns,
                stime_ns: pool.stime_ns,
                runtime_ns: pool.runtime_ns,
                nvcsw: pool.nvcsw,
                nivcsw: pool.nivcsw,
                min_flt: pool.min_flt,
                maj_flt: pool.maj_flt,
            },
            io: io_totals(&pool.io),
            pool,
            threads: Vec::with_capacity(1),
            memory: None,
            delays: DelaySum::of(leader),
            state: ProcessState::Zombie,
        })
    }

    fn add(&mut self, task: &TaskRecord<'_>, scale: Scale) {
        let usage = task.usage();
        let sum = &mut self.usage;
        for (sum, more) in [
            (&mut sum.utime_ns, usage.utime_ns),
            (&mut sum.stime_ns, usage.stime_ns),
            (&mut sum.runtime_ns, usage.runtime_ns),
            (&mut sum.nvcsw, usage.nvcsw),
            (&mut sum.nivcsw, usage.nivcsw),
            (&mut sum.min_flt, usage.min_flt),
            (&mut sum.maj_flt, usage.maj_flt),
        ] {
            *sum = sum.saturating_add(more);
        }
        let total = io_totals(&task.io());
        self.io = self.io.plus(total.as_delta());
        let key = scale.thread_key(task.thread());
        self.threads.push(ThreadIo { key, total, has_exited: task.has_ended() });
        if !task.has_ended() {
            self.state = ProcessState::Living;
        }
        self.memory = self.memory.or(task.memory());
        if let Some(delays) = &mut self.delays {
            delays.add(task);
        }
    }

    /// Who it is, as far as that is told.
    fn identity(&self) -> Identity {
        let gone = Absence::Vanished;
        Identity {
            comm: self.comm.clone(),
            uid: self.euid,
            executable: Reading::Absent(gone),
            cmdline: Reading::Absent(gone),
            environment: Reading::Absent(gone),
            cgroup: Reading::Absent(gone),
            is_environment_incomplete: false,
            is_kernel_thread: self.is_kernel_thread,
        }
    }

    fn told(&self) -> Told {
        Told { exec_id: self.exec_id, euid: self.euid, cgroup_id: self.cgroup_id }
    }

    fn ending(&self) -> Ending {
        if self.has_no_memory() { Ending::NoMemory } else { Ending::HasMemory }
    }

    fn has_no_memory(&self) -> bool {
        self.is_kernel_thread || self.state == ProcessState::Zombie
    }

    fn gauges(&self, measures: &Measures, scale: Scale) -> Gauges {
        let mut gauges = Gauges::absent(Absence::NotRequested);
        gauges.threads = Reading::Value(u64::from(self.thread_count));
        if measures.memory {
            gauges.memory = self.memory_reading(|memory| scale.told_memory(memory));
        }
        if measures.swap {
            gauges.swap_bytes = self.memory_reading(|memory| scale.bytes(memory.swap_entries));
        }
        if measures.fds {
            gauges.fds = match self.memory.map(|memory| memory.fds) {
                Some(Fds::Exactly(count)) => Reading::Value(u64::from(count)),
                Some(Fds::AtLeast(_)) => Reading::Absent(Absence::TooLarge),
                Some(Fds::Unknown) => Reading::Value(0),
                None => self.memory_reading(|_| 0),
            };
        }
        if measures.fd_limit {
            gauges.fd_limit = Reading::Value(self.fd_limit);
        }
        gauges.context_switches = match measures.context_switches {
            ContextSwitchNeeds::None => Reading::Absent(Absence::NotRequested),
            ContextSwitchNeeds::MainThread | ContextSwitchNeeds::AllThreads => {
                Reading::Value(ContextSwitches {
                    voluntary: self.usage.nvcsw,
                    involuntary: self.usage.nivcsw,
                    is_partial: false,
                })
            }
        };
        gauges
    }

    /// A zombie's sockets are closed. Where the main thread has exited, another one that lives
    /// is looked at.
    fn sockets(
        &self,
        origin: &Origin,
        key: ProcessKey,
        source: &mut SocketSource,
    ) -> Reading<Arc<[Socket]>> {
        if self.has_no_memory() {
            return Reading::Value(Arc::from([]));
        }
        let main_lives = |thread: &ThreadIo| !thread.has_exited && thread.key.tid == key.pid;
        let living = self.threads.iter().find(|thread| !thread.has_exited);
        let folder = open_folder(&origin.root, Name::of(key.pid).as_c_str());
        let folder = folder.and_then(|folder| match living {
            Some(thread) if !self.threads.iter().any(main_lives) => {
                open_folder(&folder, Name::in_thread(thread.key.tid, ".").as_c_str())
            }
            _ => Ok(folder),
        });
        let found = match folder {
            Ok(folder) => source.sockets_of(key, folder.as_fd()),
            Err(errno) => Reading::Absent(absence_of(errno)),
        };
        if let Reading::Absent(why) = found {
            source.note_unread(key, why);
        }
        found
    }

    /// Something of its memory. Zombies, kernel threads, and who is giving it back have none.
    fn memory_reading<T: Default>(&self, of: impl FnOnce(&bpf_record::Memory) -> T) -> Reading<T> {
        match &self.memory {
            Some(memory) => Reading::Value(of(memory)),
            None => Reading::Value(T::default()),
        }
    }
}

impl Collector {
    /// Every process by the iterator; `None` where there is none, or it failed.
    pub(super) fn told(&mut self) -> Option<Vec<Row>> {
        let scale = self.origin.scale;
        let outcome = read_rows(self.witness.bpf()?, scale);
        self.witness.note_living(outcome.as_ref().map(drop).map_err(|errno| *errno));
        outcome.ok()
    }

    /// Makes samples of what was told.
    pub(super) fn read_told(&mut self, rows: Vec<Row>, needs: &Request<'_>, into: &mut Snapshot) {
        for mut row in rows {
            let key = self.origin.scale.process_key(row.key);
            self.forget_former_bearer(key);
            self.identify(&row, key);
            into.processes.extend(self.told_sample(&mut row, key, needs));
        }
        self.read_untold(needs, into);
    }

    /// Reads those by procfs that it lists and the iterator did not hand out: born since, or
    /// kept from BPF programs, as some sandboxes keep their init.
    fn read_untold(&mut self, needs: &Request<'_>, into: &mut Snapshot) {
        let is_untold =
            |pid: &u32| into.processes.binary_search_by_key(pid, |p| p.key.pid).is_err();
        let untold: Vec<u32> = self.pids.iter().copied().filter(is_untold).collect();
        for pid in untold {
            match self.visit(pid, needs) {
                Ok(mut sample) => {
                    // Procfs does not tell it, and whoever does is kept from this one.
                    if sample.gauges.delays == Reading::Absent(Absence::NeedsRecords) {
                        sample.gauges.delays = Reading::Absent(Absence::Denied);
                    }
                    into.processes.push(sample);
                }
                Err(Unseen::Vanished) => {}
                Err(Unseen::Unreadable) => into.unreadable_pids.push(pid),
            }
        }
        into.processes.sort_by_key(|sample| sample.key);
        into.unreadable_pids.sort_unstable();
    }

    /// Makes sure that it is known who a process is.
    fn identify(&mut self, row: &Row, key: ProcessKey) {
        let Collector { known, round, wants, .. } = self;
        if let Some(known) = known.get_mut(&key.pid)
            && known.is_still(&row.comm, row.told(), row.ending(), wants)
        {
            known.swept = *round;
            return;
        }
        if self.visit_identity(row, key).is_none() {
            // It ended meanwhile, or is hidden from us.
            let new = || Box::new(Known::untold(key, row.parent.id, row.identity()));
            self.known.entry(key.pid).or_insert_with(new);
        }
        let executed = self.witness.executed(row.key).cloned();
        let Collector { known, round, wants, .. } = self;
        if let Some(known) = known.get_mut(&key.pid) {
            known.swept = *round;
            known.told = Some(row.told());
            if let Some(executed) = executed {
                known.take_exec(&executed, wants);
            }
        }
    }

    fn visit_identity(&mut self, row: &Row, key: ProcessKey) -> Option<()> {
        let folder = open_folder(&self.origin.root, Name::of(key.pid).as_c_str()).ok()?;
        let mut stat_room = std::mem::take(&mut self.stat_room);
        let text = stat_room.read_lines(&folder, c"stat", 1).map_err(FileError::absence).ok();
        let visited = text.and_then(|text| {
            let stat = mpp_parse::proc_pid_stat::parse(text).ok()?;
            let phase = Phase::of(&folder, &stat, &mut self.buffers).ok()?;
            if stat.start_time_ticks != key.start_time_ticks {
                return None;
            }
            let Collector { origin, known, buffers, wants, round, .. } = self;
            let subject = Subject { origin, folder: &folder, pid: key.pid, stat: &stat, phase };
            match known.get_mut(&key.pid) {
                Some(known) => {
                    let exec = match known.told {
                        Some(told) if told.exec_id != row.exec_id => Exec::Happened,
                        _ => Exec::NotToldOf,
                    };
                    known.refresh_after(exec, row.euid, &subject, wants, *round, buffers);
                }
                None => {
                    let new = Known::new(key, row.euid, &subject, wants, buffers);
                    known.insert(key.pid, Box::new(new));
                }
            }
            Some(())
        });
        self.stat_room = stat_room;
        visited
    }

    fn told_sample(
        &mut self,
        row: &mut Row,
        key: ProcessKey,
        needs: &Request<'_>,
    ) -> Option<ProcessSample> {
        let scale = self.origin.scale;
        let Collector { origin, known, sockets, delay_accounting, .. } = self;
        let known = known.get_mut(&key.pid)?;
        known.threads_max = known.threads_max.max(u64::from(row.thread_count));
        let measures = needs.measures_of(key, &known.identity);
        let mut gauges = row.gauges(&measures, scale);
        if measures.delays {
            gauges.delays = match &row.delays {
                Some(delays) => delays.reading(*delay_accounting),
                None => Reading::Absent(Absence::Unsupported),
            };
        }
        if measures.proportional_memory {
            gauges.proportional_memory = known.proportional_memory;
        }
        let is_wanted = measures.sockets || needs.needs.identity.listening_ports;
        if let Some(source) = sockets.as_mut().filter(|_| is_wanted) {
            let found = row.sockets(origin, key, source);
            if measures.sockets {
                gauges.sockets = found;
            }
        }
        row.threads.sort_unstable_by_key(|thread| thread.key);
        let threads = ThreadList::from(&row.threads[..]);
        let before = known.usage.own;
        let before = (before[UsageCounter::CpuUserNs], before[UsageCounter::CpuSystemNs]);
        let (user_ns, system_ns) = cpu_split(&row.usage, before);
        let pool = &row.pool;
        let usage = known.hand_out(Usage {
            own: Totals([user_ns, system_ns, row.usage.min_flt, row.usage.maj_flt]),
            reaped: Totals([pool.cutime_ns, pool.cstime_ns, pool.cmin_flt, pool.cmaj_flt]),
        });
        let absent = Absence::NotRequested;
        let io = match measures.io {
            true => ProcessIo { total: Reading::Value(row.io), threads: Reading::Value(threads) },
            false => ProcessIo { total: Reading::Absent(absent), threads: Reading::Absent(absent) },
        };
        Some(ProcessSample {
            key,
            parent_pid: row.parent.id,
            forked_by: row.forker.map(|forker| scale.process_key(forker)),
            started_at: Some(BootTime { ns: row.key.start_ns }),
            exec_count: Some(row.exec_id),
            state: row.state,
            identity: Arc::clone(&known.identity),
            read_at: origin.since_boot(),
            usage,
            io,
            gauges,
        })
    }
}

impl Scale {
    /// What statm would say.
    fn told_memory(self, memory: &bpf_record::Memory) -> Memory {
        let shared_pages = memory.file_pages.saturating_add(memory.shmem_pages);
        Memory {
            rss_bytes: self.bytes(shared_pages.saturating_add(memory.anon_pages)),
            vms_bytes: self.bytes(memory.total_pages),
            shared_bytes: self.bytes(shared_pages),
            text_bytes: self.whole_pages(memory.start_code, memory.end_code),
            data_bytes: self.bytes(memory.data_pages),
        }
    }
}
