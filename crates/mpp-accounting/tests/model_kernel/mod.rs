//! A kernel small enough to be right: processes fork, work, exec, exit and are waited
//! for, and their counters move as Linux moves them.
//!
//! It keeps the truth beside the counters: what each process itself did, whatever was
//! folded where. Tests sweep it as the collector sweeps `/proc`, with events between
//! any two reads if they like, and hold the ledger against the truth.

#![allow(dead_code, reason = "each test file uses its own part of the model")]

use std::collections::BTreeMap;
use std::sync::Arc;

use mpp_accounting::exit::{CpuTail, ExitSource, Exits, ProcessExit, Spill, ThreadExit};
use mpp_accounting::process::{
    Absence, ContextSwitches, DelayCoverage, Delays, Gauges, Identity, Lineage, ProcessIo,
    ProcessKey, ProcessSample, ProcessState, Reading, Seldom, SeldomGauges, ThreadIo, ThreadKey,
    ThreadList, Usage,
};
use mpp_accounting::snapshot::{Host, Snapshot};
use mpp_accounting::units::{
    BootTime, DelayTotals, Delta, IoCounter, IoDelta, IoTotals, Totals, UsageDelta, UsageTotals,
};

pub(crate) const TICKS_PER_SECOND: u64 = 100;
const TICK_NS: u64 = 1_000_000_000 / TICKS_PER_SECOND;
pub(crate) const INIT: u32 = 1;

/// Every process faults before it does anything else.
const FORK_FAULTS: u64 = 30;

#[derive(Clone, Debug)]
struct Thread {
    start_ticks: u64,
    io: IoTotals,
    delays: DelayTotals,
    /// Whether all its waits are counted: it began while they were.
    is_counted: bool,
    /// How many programs were executed on the way to what it runs.
    exec_count: u64,
    has_exited: bool,
}

/// Who writes records of those that end, and how many of them it has room for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recorder {
    pub(crate) source: ExitSource,
    /// Records of threads beyond so many between two sweeps are lost, or spilled by an
    /// exact source.
    pub(crate) room: usize,
    pub(crate) on_overflow: Overflow,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    Lost,
    Spilled,
}

#[derive(Clone, Debug)]
pub(crate) struct Process {
    pub(crate) key: ProcessKey,
    pub(crate) parent: u32,
    pub(crate) comm: &'static str,
    identity: Arc<Identity>,
    state: ProcessState,
    threads: BTreeMap<u32, Thread>,
    /// I/O of exited threads and reaped children.
    pool: IoTotals,
    usage: Usage,
    switches: ContextSwitches,
    /// What threads had waited for that have ended, and whether that misses something.
    ended_delays: DelayTotals,
    misses_delays: bool,
    /// Who forked it, where ends were recorded exactly then.
    forked_by: Option<ProcessKey>,
    /// When it started, to the nanosecond.
    started_at: BootTime,
    pub(crate) is_subreaper: bool,
    /// SIGCHLD is ignored: children vanish without being waited for.
    pub(crate) reaps_automatically: bool,
    pub(crate) is_readable: bool,
    /// Its files may not be read, but who rounds records tells of its threads.
    pub(crate) hides_total: bool,
}

impl Process {
    /// That of its living threads, which is the same for all.
    fn exec_count(&self) -> u64 {
        self.threads.values().map(|thread| thread.exec_count).max().unwrap_or(0)
    }

    fn total(&self) -> IoTotals {
        self.threads.values().fold(self.pool, |sum, thread| sum.plus(thread.io.as_delta()))
    }

    pub(crate) fn living_tids(&self) -> Vec<u32> {
        let living = self.threads.iter().filter(|(_, thread)| !thread.has_exited);
        living.map(|(tid, _)| *tid).collect()
    }

    fn living_threads(&self) -> impl Iterator<Item = &Thread> {
        self.threads.values().filter(|thread| !thread.has_exited)
    }
}

/// The machine.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) now_ticks: u64,
    pub(crate) processes: BTreeMap<u32, Process>,
    last_id: u32,
    pub(crate) pid_max: u32,
    /// What each program, by name, really did.
    pub(crate) truth: BTreeMap<&'static str, (IoDelta, UsageDelta)>,
    /// What each process really did.
    pub(crate) truth_of: BTreeMap<ProcessKey, (IoDelta, UsageDelta)>,
    /// For how long each program, by name, really waited.
    pub(crate) waited: BTreeMap<&'static str, DelayTotals>,
    /// Whether waits for anything but a CPU are counted: `kernel.task_delayacct`.
    pub(crate) counts_delays: bool,
    /// How many processes ever began.
    begun: u64,
    /// The order in which new processes are read: by PID, as from a directory.
    seen_starts: BTreeMap<u32, ProcessKey>,
    /// Who was last read in the sweep that is under way.
    pub(crate) last_read: Option<u32>,
    pub(crate) recorder: Option<Recorder>,
    /// Whether processes hide their totals from their beginning.
    hides_totals: bool,
    exits: Exits,
}

/// An event may happen at each of these moments of a sweep.
pub(crate) type Between<'a> = &'a mut dyn FnMut(&mut Kernel);

impl Default for Kernel {
    fn default() -> Self {
        Kernel::new()
    }
}

impl Kernel {
    /// A machine on which only init runs.
    pub(crate) fn new() -> Self {
        let mut kernel = Kernel {
            now_ticks: 1000,
            processes: BTreeMap::new(),
            last_id: 0,
            pid_max: 32_768,
            truth: BTreeMap::new(),
            truth_of: BTreeMap::new(),
            waited: BTreeMap::new(),
            counts_delays: true,
            begun: 0,
            seen_starts: BTreeMap::new(),
            last_read: None,
            recorder: None,
            hides_totals: false,
            exits: Exits::default(),
        };
        kernel.create(0, "init");
        kernel
    }

    /// From now on the files of no process may be read.
    pub(crate) fn hide_totals(&mut self) {
        self.hides_totals = true;
        self.processes.values_mut().for_each(|process| process.hides_total = true);
    }

    pub(crate) fn pass(&mut self, ticks: u64) {
        self.now_ticks += ticks;
    }

    fn free_id(&mut self) -> u32 {
        loop {
            self.last_id = if self.last_id >= self.pid_max { 2 } else { self.last_id + 1 };
            let id = self.last_id;
            if !self.processes.values().any(|p| p.key.pid == id || p.threads.contains_key(&id)) {
                return id;
            }
        }
    }

    fn create(&mut self, parent: u32, comm: &'static str) -> u32 {
        let pid = self.free_id();
        self.begun += 1;
        let forker = self.processes.get(&parent).map(|parent| parent.key);
        let thread = self.new_thread();
        let process = Process {
            key: ProcessKey { pid, start_time_ticks: self.now_ticks },
            parent,
            comm,
            identity: identity(comm),
            state: ProcessState::Living,
            threads: BTreeMap::from([(pid, thread)]),
            pool: IoTotals::ZERO,
            usage: Usage::default(),
            switches: ContextSwitches::default(),
            ended_delays: DelayTotals::ZERO,
            misses_delays: false,
            forked_by: forker.filter(|_| self.is_watched()),
            started_at: BootTime { ns: self.now_ticks * TICK_NS + self.begun },
            is_subreaper: false,
            reaps_automatically: false,
            is_readable: true,
            hides_total: self.hides_totals,
        };
        self.processes.insert(pid, process);
        self.use_cpu(pid, 0, FORK_FAULTS);
        pid
    }

    /// From now on the ends are recorded.
    pub(crate) fn record_ends(&mut self, recorder: Recorder) {
        self.exits.source = recorder.source;
        self.recorder = Some(recorder);
    }

    /// From now on they are not, and those that nobody has fetched are gone.
    pub(crate) fn stop_recording(&mut self) {
        self.exits = Exits::default();
        self.recorder = None;
    }

    /// Whether a hook in the kernel sees who is forked, and when.
    fn is_watched(&self) -> bool {
        self.recorder.is_some_and(|recorder| recorder.source == ExitSource::Exact)
    }

    /// Writes the record of one thread, or loses it.
    fn record_thread(&mut self, pid: u32, tid: u32) {
        let Some(recorder) = self.recorder else { return };
        let process = &self.processes[&pid];
        let thread = &process.threads[&tid];
        let key = ThreadKey { tid, start_time_ticks: thread.start_ticks };
        if self.exits.threads.len() < recorder.room {
            let io = match recorder.source {
                ExitSource::Rounded => rounded_down(thread.io),
                ExitSource::Exact | ExitSource::Nobody => thread.io,
            };
            let delays = Reading::Value(self.delays(process, process.ended_delays));
            let exec_count = self.is_watched().then_some(thread.exec_count);
            let exit = ThreadExit { process: process.key, thread: key, io, exec_count, delays };
            self.exits.threads.push(exit);
        } else if recorder.on_overflow == Overflow::Lost {
            self.exits.lost_records += 1;
        } else {
            let parent = self.processes.get(&process.parent).map_or(process.key, |p| p.key);
            let io = thread.io;
            match self.exits.spills.iter_mut().find(|spill| spill.parent == parent) {
                Some(spill) => {
                    spill.threads += 1;
                    spill.io = spill.io.plus(io.as_delta());
                }
                None => self.exits.spills.push(Spill { parent, threads: 1, io }),
            }
        }
    }

    /// Writes the record of a process whose last thread has been recorded. Its CPU time is not
    /// final: the last tick comes later.
    fn record_process(&mut self, pid: u32) {
        let Some(recorder) = self.recorder else { return };
        if self.exits.processes.len() >= recorder.room {
            return;
        }
        let process = &self.processes[&pid];
        let parent = self.processes.get(&process.parent);
        // Only a hook in the kernel can say it.
        let is_reaped_automatically =
            self.is_watched() && parent.is_some_and(|parent| parent.reaps_automatically);
        let absent = Absence::NotRequested;
        let tail_ns = process.usage.own.0[0].min(TICK_NS);
        let mut sample = self.sample(process, absent_io(absent));
        sample.state = ProcessState::Zombie;
        sample.usage.own.0[0] -= tail_ns;
        self.exits.processes.push(ProcessExit {
            sample,
            parent: parent.map(|parent| parent.key),
            is_reaped_automatically,
            started_at: process.started_at,
            ended_at: BootTime { ns: self.now_ticks * TICK_NS },
            rss_peak_bytes: Reading::Absent(absent),
            wait_status: 0,
        });
        if is_reaped_automatically && tail_ns > 0 {
            self.exits.cpu_tails.push(CpuTail { key: process.key, cpu_ns: tail_ns });
        }
    }

    pub(crate) fn fork(&mut self, parent: u32, comm: &'static str) -> u32 {
        self.create(parent, comm)
    }

    pub(crate) fn start_thread(&mut self, pid: u32) -> u32 {
        let tid = self.free_id();
        let thread = self.new_thread();
        let process = self.process(pid);
        let exec_count = process.exec_count();
        process.threads.insert(tid, Thread { exec_count, ..thread });
        tid
    }

    fn new_thread(&self) -> Thread {
        Thread {
            start_ticks: self.now_ticks,
            io: IoTotals::ZERO,
            delays: DelayTotals::ZERO,
            is_counted: self.counts_delays,
            exec_count: 0,
            has_exited: false,
        }
    }

    /// A thread waits for so many nanoseconds: for a CPU, block I/O, swap, memory.
    pub(crate) fn wait_for(&mut self, pid: u32, tid: u32, delays: [u64; 4]) {
        let counts_delays = self.counts_delays;
        let process = self.process(pid);
        let thread = process.threads.get_mut(&tid).expect("the script names a living thread");
        let is_counted = counts_delays && thread.is_counted;
        let counted = if is_counted { delays } else { [delays[0], 0, 0, 0] };
        thread.delays = thread.delays.plus(Delta(counted));
        let comm = process.comm;
        let waited = self.waited.entry(comm).or_default();
        *waited = waited.plus(Delta(delays));
    }

    /// The kernel adds a thread's waits to its process's before anybody hears of its end.
    fn end_waits(&mut self, pid: u32, tid: u32) {
        let process = self.process(pid);
        let thread = &process.threads[&tid];
        process.misses_delays |= !thread.is_counted;
        process.ended_delays = process.ended_delays.plus(thread.delays.as_delta());
    }

    fn delays(&self, process: &Process, total: DelayTotals) -> Delays {
        let misses_some = process.living_threads().any(|thread| !thread.is_counted);
        let others = match (self.counts_delays, misses_some || process.misses_delays) {
            (false, _) => DelayCoverage::SwitchedOff,
            (true, true) => DelayCoverage::Partial,
            (true, false) => DelayCoverage::Whole,
        };
        Delays { total, others }
    }

    /// Ends one thread; its I/O moves into the pool.
    pub(crate) fn end_thread(&mut self, pid: u32, tid: u32) {
        if self.process(pid).threads.get(&tid).is_some_and(|thread| !thread.has_exited) {
            self.end_waits(pid, tid);
            self.record_thread(pid, tid);
        }
        let process = self.process(pid);
        if let Some(thread) = process.threads.remove(&tid) {
            process.pool = process.pool.plus(thread.io.as_delta());
        }
    }

    /// The main thread ends while others live: it stays listed, as a zombie.
    pub(crate) fn end_leader(&mut self, pid: u32) {
        self.end_waits(pid, pid);
        self.record_thread(pid, pid);
        self.process(pid).threads.get_mut(&pid).expect("a main thread").has_exited = true;
    }

    pub(crate) fn process(&mut self, pid: u32) -> &mut Process {
        self.processes.get_mut(&pid).expect("the script names a process that exists")
    }

    /// The main thread writes so many bytes, in one call.
    pub(crate) fn write(&mut self, pid: u32, bytes: u64) {
        let threads = &self.process(pid).threads;
        let (tid, _) = threads.iter().find(|(_, t)| !t.has_exited).expect("a living thread");
        let tid = *tid;
        self.write_in(pid, tid, bytes);
    }

    pub(crate) fn write_in(&mut self, pid: u32, tid: u32, bytes: u64) {
        let done = Delta([0, bytes, 0, 1, 0, bytes, 0]);
        let process = self.process(pid);
        let thread = process.threads.get_mut(&tid).expect("the script names a living thread");
        thread.io = thread.io.plus(done);
        self.note_done(pid, done, UsageDelta::ZERO);
    }

    pub(crate) fn use_cpu(&mut self, pid: u32, ticks: u64, faults: u64) {
        let done = Delta([ticks * TICK_NS, 0, faults, 0]);
        let process = self.process(pid);
        process.usage.own = process.usage.own.plus(done);
        self.note_done(pid, IoDelta::ZERO, done);
    }

    /// Gives the CPU up so many times.
    pub(crate) fn switch(&mut self, pid: u32, times: u64) {
        self.process(pid).switches.voluntary += times;
    }

    fn note_done(&mut self, pid: u32, io: IoDelta, usage: UsageDelta) {
        let process = &self.processes[&pid];
        let by_program = self.truth.entry(process.comm).or_default();
        *by_program = (by_program.0.plus(io), by_program.1.plus(usage));
        let by_key = self.truth_of.entry(process.key).or_default();
        *by_key = (by_key.0.plus(io), by_key.1.plus(usage));
    }

    /// Another program in the same process. Other threads end; the caller becomes the leader.
    pub(crate) fn exec(&mut self, pid: u32, tid: u32, comm: &'static str) {
        let others: Vec<u32> =
            self.process(pid).threads.keys().copied().filter(|other| *other != tid).collect();
        for other in others {
            self.end_thread(pid, other);
        }
        let process = self.process(pid);
        let start_ticks = process.key.start_time_ticks;
        if let Some(thread) = process.threads.remove(&tid) {
            let exec_count = thread.exec_count + 1;
            process.threads.insert(pid, Thread { start_ticks, exec_count, ..thread });
        }
        process.comm = comm;
        process.identity = identity(comm);
    }

    /// Ends a process. Its children go to the nearest subreaper, or to init.
    pub(crate) fn exit(&mut self, pid: u32) {
        let tids: Vec<u32> = self.process(pid).threads.keys().copied().collect();
        for tid in tids.into_iter().filter(|tid| *tid != pid) {
            self.end_thread(pid, tid);
        }
        if !self.process(pid).threads.get(&pid).is_none_or(|leader| leader.has_exited) {
            self.end_leader(pid);
        }
        self.record_process(pid);
        self.process(pid).state = ProcessState::Zombie;
        let heir = self.heir_of(pid);
        for child in self.processes.values_mut().filter(|child| child.parent == pid) {
            child.parent = heir;
        }
        let parent = self.process(pid).parent;
        if self.processes.get(&parent).is_some_and(|parent| parent.reaps_automatically) {
            self.processes.remove(&pid);
        }
    }

    fn heir_of(&self, pid: u32) -> u32 {
        let mut at = self.processes[&pid].parent;
        while let Some(ancestor) = self.processes.get(&at) {
            if ancestor.is_subreaper && ancestor.state == ProcessState::Living {
                return at;
            }
            at = ancestor.parent;
        }
        INIT
    }

    /// `parent` waits for `child`: everything the child did and inherited is added to it.
    pub(crate) fn wait(&mut self, parent: u32, child: u32) {
        let child = self.processes.remove(&child).expect("a zombie to wait for");
        assert_eq!(child.parent, parent, "only its parent can wait for a process");
        assert_eq!(child.state, ProcessState::Zombie);
        let parent = self.process(parent);
        parent.pool = parent.pool.plus(child.total().as_delta());
        let usage = child.usage.own.as_delta().plus(child.usage.reaped().as_delta());
        let reaped = parent.usage.reaped().plus(usage);
        parent.usage = Usage::new(parent.usage.own, reaped);
    }

    pub(crate) fn exit_and_wait(&mut self, child: u32) {
        let parent = self.process(child).parent;
        self.exit(child);
        if self.processes.contains_key(&child) {
            self.wait(parent, child);
        }
    }

    pub(crate) fn zombies_of(&self, parent: u32) -> Vec<u32> {
        self.processes
            .values()
            .filter(|p| p.parent == parent && p.state == ProcessState::Zombie)
            .map(|p| p.key.pid)
            .collect()
    }

    pub(crate) fn living(&self) -> Vec<u32> {
        self.processes
            .values()
            .filter(|p| p.state == ProcessState::Living && p.key.pid != INIT)
            .map(|p| p.key.pid)
            .collect()
    }

    /// A sweep in which nothing happens.
    pub(crate) fn sweep(&mut self) -> Snapshot {
        self.sweep_while(&mut |_| {})
    }

    /// A sweep in which something may happen before each read. Processes known from the
    /// sweep before are read in order of start, new ones after them.
    pub(crate) fn sweep_while(&mut self, between: Between<'_>) -> Snapshot {
        let mut snapshot = Snapshot {
            taken_at: BootTime { ns: self.now_ticks * TICK_NS },
            taken_at_ticks: self.now_ticks,
            host: Host { ticks_per_second: TICKS_PER_SECOND, ..Host::default() },
            ..Snapshot::default()
        };
        let mut order: Vec<u32> = self.processes.keys().copied().collect();
        order.sort_by_key(|pid| {
            (self.seen_starts.get(pid).map_or(u64::MAX, |key| key.start_time_ticks), *pid)
        });
        self.last_read = None;
        for pid in order {
            between(self);
            self.last_read = None;
            if let Some(sample) = self.read(pid, between) {
                snapshot.processes.push(sample);
                self.last_read = Some(pid);
            }
        }
        snapshot.processes.sort_by_key(|p| p.key);
        snapshot.exits = std::mem::take(&mut self.exits);
        snapshot.exits.processes.sort_by_key(ProcessExit::key);
        self.exits.source = snapshot.exits.source;
        self.seen_starts = snapshot.processes.iter().map(|p| (p.key.pid, p.key)).collect();
        snapshot
    }

    /// Reads one process as the collector does: threads only where it has or had children.
    fn read(&mut self, pid: u32, between: Between<'_>) -> Option<ProcessSample> {
        let process = self.processes.get(&pid)?.clone();
        if self.is_watched() && process.is_readable {
            let io = self.io_told(&process, between);
            return Some(self.sample(&process, io));
        }
        let has_children = self.processes.values().any(|child| child.parent == pid);
        let tells_threads = self.recorder.is_some_and(|r| r.source == ExitSource::Rounded);
        let io = if !process.is_readable || (process.hides_total && !tells_threads) {
            absent_io(Absence::Denied)
        } else if has_children
            || process.usage.reaped() != UsageTotals::ZERO
            || self.recorder.is_some()
        {
            let io = self.read_io_with_threads(pid, between)?;
            if process.hides_total { rounded_io(process.key, &io) } else { io }
        } else {
            let threads = Reading::Absent(Absence::NotRequested);
            ProcessIo::new(Reading::Value(process.total()), threads)
        };
        Some(self.sample(self.processes.get(&pid)?, io))
    }

    fn sample(&self, process: &Process, io: ProcessIo) -> ProcessSample {
        let living = process.living_threads().map(|thread| thread.delays.as_delta());
        let waited = living.fold(process.ended_delays, DelayTotals::plus);
        let delays = match self.recorder {
            Some(_) => Reading::Value(self.delays(process, waited)),
            None => Reading::Absent(Absence::NeedsRecords),
        };
        let seldom = SeldomGauges { delays, ..SeldomGauges::absent(Absence::NotRequested) };
        let mut gauges = Gauges::absent(Absence::NotRequested);
        gauges.context_switches = Reading::Value(process.switches);
        gauges.seldom = Seldom::from(seldom);
        ProcessSample {
            key: process.key,
            parent_pid: process.parent,
            lineage: Lineage::new(
                process.forked_by,
                self.is_watched().then_some(process.started_at),
                self.is_watched().then(|| process.exec_count()),
            ),
            state: process.state,
            identity: Arc::clone(&process.identity),
            read_at: BootTime { ns: self.now_ticks * TICK_NS },
            usage: process.usage.clone(),
            io,
            gauges,
        }
    }

    /// A hook in the kernel tells of a process, its pool and its main thread at one moment, and of its
    /// other threads one by one after that. T is the sum of them.
    fn io_told(&mut self, process: &Process, between: Between<'_>) -> ProcessIo {
        let mut told = process.clone();
        told.threads.clear();
        for (tid, thread) in &process.threads {
            let is_leader = *tid == process.key.pid;
            if !is_leader {
                between(self);
            }
            let now = self.processes.get(&process.key.pid).and_then(|now| now.threads.get(tid));
            let seen = if is_leader { Some(thread) } else { now };
            told.threads.extend(seen.map(|seen| (*tid, seen.clone())));
        }
        let total = told.total();
        let threads = Reading::Value(thread_list(&told, total));
        ProcessIo::new(Reading::Value(total), threads)
    }

    /// stat, T, L, stat, until nobody was reaped in between.
    fn read_io_with_threads(&mut self, pid: u32, between: Between<'_>) -> Option<ProcessIo> {
        for _ in 0..3 {
            let before = self.processes.get(&pid)?.usage.reaped();
            let total = self.processes.get(&pid)?.total();
            between(self);
            let process = self.processes.get(&pid)?;
            let threads = thread_list(process, total);
            // With records nothing rests on total and threads being one moment.
            if process.usage.reaped() == before || self.recorder.is_some() {
                return Some(ProcessIo::new(Reading::Value(total), Reading::Value(threads)));
            }
        }
        Some(absent_io(Absence::Unstable))
    }

    /// What everyone together really did.
    pub(crate) fn truth_of_all(&self) -> (IoDelta, UsageDelta) {
        self.truth.values().fold(Default::default(), |sum: (IoDelta, UsageDelta), part| {
            (sum.0.plus(part.0), sum.1.plus(part.1))
        })
    }
}

fn absent_io(why: Absence) -> ProcessIo {
    ProcessIo::absent(why)
}

/// What is told of the threads of a process whose files may not be read.
fn rounded_io(process: ProcessKey, io: &ProcessIo) -> ProcessIo {
    let round = |thread: &ThreadIo| ThreadIo { total: rounded_down(thread.total), ..*thread };
    let total = io.total().value().copied().unwrap_or_default();
    let threads = io.threads.as_ref().map(|threads| {
        let threads = threads.of(process, total);
        ThreadList::listed(&threads.iter().map(round).collect::<Vec<_>>())
    });
    ProcessIo::new(Reading::Absent(Absence::Denied), threads)
}

/// As the kernel rounds; how often a thread read and wrote is not told.
fn rounded_down(io: IoTotals) -> IoTotals {
    let mut rounded = Totals(io.0.map(|bytes| bytes & !1023));
    rounded.0[IoCounter::ReadCount as usize] = 0;
    rounded.0[IoCounter::WriteCount as usize] = 0;
    rounded
}

/// Its threads beside this reading of its total.
fn thread_list(process: &Process, total: IoTotals) -> ThreadList {
    let threads = process.threads.iter().map(|(tid, thread)| ThreadIo {
        key: ThreadKey { tid: *tid, start_time_ticks: thread.start_ticks },
        total: thread.io,
        has_exited: thread.has_exited,
    });
    ThreadList::new(process.key, total, &threads.collect::<Vec<_>>())
}

fn identity(comm: &str) -> Arc<Identity> {
    Arc::new(Identity {
        comm: comm.as_bytes().into(),
        uid: 1000,
        executable: Reading::Value(Box::default()),
        cmdline: Reading::Value(Box::default()),
        environment: Reading::Absent(Absence::NotRequested),
        cgroup: Reading::Absent(Absence::NotRequested),
        is_environment_incomplete: false,
        is_kernel_thread: false,
    })
}
