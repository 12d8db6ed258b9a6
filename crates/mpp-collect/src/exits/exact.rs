//! Exit records of our own hooks, and who it was that ended.
//!
//! A record names its process by PID and start in nanoseconds, its parent and who forked it,
//! and whose exec gave it its program. So a process that no sweep ever saw is known as well
//! as any: its name and user stand in the record; command line and environment are those of
//! the exec, if somebody asked for them then, else those of the process that it was forked
//! from. The trap: an exec is told once and may be asked for long after by a descendant, so
//! what was told is kept, up to a bound.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use mpp_accounting::exit::{CpuTail, Exits, ProcessExit, Spill, ThreadExit};
use mpp_accounting::process::{
    Absence, ContextSwitches, EnvironmentEntry, Gauges, Identity, IdentityNeeds, ProcessIo,
    ProcessKey, ProcessSample, ProcessState, Reading, ThreadKey, Usage,
};
use mpp_accounting::units::{BootTime, Totals};
use mpp_parse::bpf_record::{ExecRecord, ExitRecord, FreeRecord, Pool, TaskKey, Text, ThreadUsage};
use mpp_parse::proc_pid_environ::variables;
use rustix::io::Errno;

use super::Population;
use super::health::{Failure, Health};
use super::rounded::listed_start;
use crate::bpf::{Bpf, Capture, ExitEvent};
use crate::proc_fs::Room;
use crate::scale::{Scale, cpu_split, io_totals};
use crate::{delays, identity};

/// No more execs than this are remembered; beyond it the oldest are forgotten.
const EXECS_MAX: usize = 16_384;

/// Hears of ended threads by BPF.
#[derive(Debug)]
pub(crate) struct ExactWitness {
    pub(crate) bpf: Bpf,
    threads: Vec<EndedThread>,
    processes: Vec<Ended>,
    cpu_tails: Vec<CpuTail>,
    spills: Vec<Spill>,
    execs: Execs,
    captured: Capture,
    keys: Vec<Box<[u8]>>,
    /// How many records had been dropped when last asked.
    dropped: u64,
    lost: u64,
    health: Health,
    /// That of the iterator, without which ends are told all the same.
    health_of_living: Health,
}

/// A thread that ended, and when its process started.
#[derive(Debug)]
struct EndedThread {
    process_start: BootTime,
    exit: ThreadExit,
}

/// A process that ended, before it is joined to what is known of it.
#[derive(Debug)]
struct Ended {
    exit: ProcessExit,
    exec: Option<(TaskKey, Option<u64>)>,
}

/// What programs were executed.
#[derive(Debug, Default)]
struct Execs {
    by_process: HashMap<TaskKey, Executed>,
    oldest: VecDeque<TaskKey>,
}

/// What is known of an exec.
#[derive(Clone, Debug)]
pub(crate) struct Executed {
    time_ns: u64,
    pub(crate) filename: Box<[u8]>,
    pub(crate) cmdline: Reading<Box<[u8]>>,
    pub(crate) environment: Reading<Box<[EnvironmentEntry]>>,
    pub(crate) is_environment_cut: bool,
}

impl ExactWitness {
    pub(super) fn new(bpf: Bpf) -> Self {
        ExactWitness {
            bpf,
            threads: Vec::new(),
            processes: Vec::new(),
            cpu_tails: Vec::new(),
            spills: Vec::new(),
            execs: Execs::default(),
            captured: Capture::default(),
            keys: Vec::new(),
            dropped: 0,
            lost: 0,
            health: Health::default(),
            health_of_living: Health::default(),
        }
    }

    /// Has the texts copied at each exec that somebody looks at.
    pub(super) fn capture(&mut self, needs: &IdentityNeeds) {
        let wanted =
            Capture { cmdline: needs.cmdline, environment: !needs.environment_keys.is_empty() };
        self.keys.clone_from(&needs.environment_keys);
        if wanted != self.captured && self.bpf.capture(wanted).is_ok() {
            self.captured = wanted;
        }
    }

    /// Takes in what has been told so far.
    pub(super) fn listen(&mut self, scale: Scale) {
        let ExactWitness { bpf, execs, keys, threads, processes, cpu_tails, spills, .. } = self;
        let attached = bpf.are_hooks_attached();
        // An exec comes before the end of whoever it made.
        let heard_execs = bpf.drain_execs(&mut |record| execs.remember(record, keys));
        let mut take = |event: ExitEvent<'_>| match event {
            ExitEvent::Exit(record) => {
                let process_start = BootTime { ns: record.process().start_ns };
                threads.push(EndedThread { process_start, exit: thread_exit(&record, scale) });
                processes.extend(Ended::of(&record, scale));
            }
            ExitEvent::Free(record) => cpu_tails.extend(cpu_tail(&record, scale)),
        };
        let heard_exits = bpf.drain_exits(&mut take);
        let spilled = bpf.take_spilled(&mut |spill| {
            spills.push(Spill {
                parent: scale.process_key(spill.parent),
                threads: spill.count,
                io: io_totals(&spill.io),
            });
        });
        let lost = bpf.lost().map(|lost| {
            self.lost += lost.dropped.saturating_sub(self.dropped);
            self.dropped = lost.dropped;
        });
        // What is not known to be whole counts as a loss.
        self.lost += self.health.note("run the hooks", attached);
        self.lost += self.health.note("read the execs", heard_execs);
        self.lost += self.health.note("read the exit records", heard_exits);
        self.lost += self.health.note("read what found no room", spilled);
        self.lost += self.health.note("count the lost records", lost);
    }

    /// Takes in whether the living could be asked for.
    pub(super) fn note_living(&mut self, outcome: Result<(), Errno>) {
        self.health_of_living.note("read the tasks", outcome);
    }

    /// Why the living are not told of, if that goes on.
    pub(super) fn silence_on_living(&self) -> Option<Failure> {
        self.health_of_living.is_gone()
    }

    /// Why nothing is to be expected any more, if that is so.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.health.is_gone()
    }

    /// Hands out what was heard, each process with who it was.
    pub(super) fn testify(&mut self, population: &Population<'_>, exits: &mut Exits) {
        self.listen(population.origin.scale);
        self.health.end_round();
        self.health_of_living.end_round();
        // Parents before their children, since those may be like them.
        self.processes.sort_by_key(|ended| ended.exit.started_at);
        let held = self.tell_twins_apart(population);
        let orphans = self.orphans(population);
        let waits = |key: ProcessKey| orphans.contains(&key);
        let told = self.threads.extract_if(.., |thread| !waits(thread.exit.process));
        exits.threads.extend(told.map(|EndedThread { exit, .. }| ThreadExit {
            delays: delays::as_counted(exit.delays, population.delays),
            ..exit
        }));
        exits.cpu_tails.extend(self.cpu_tails.extract_if(.., |tail| !waits(tail.key)));
        exits.spills.append(&mut self.spills);
        exits.lost_records = std::mem::take(&mut self.lost);
        let mut identities: HashMap<ProcessKey, Arc<Identity>> = HashMap::new();
        for mut ended in self.processes.extract_if(.., |ended| !waits(ended.exit.key())) {
            let key = ended.exit.key();
            let known = population.known.get(key.pid).filter(|known| known.key == key);
            let identity = match known {
                Some(known) if !ended.has_become_another(&known.identity) => {
                    Arc::clone(&known.identity)
                }
                // What it has not executed itself it has from what it was.
                Some(known) => Arc::new(self.execs.identity(&ended, Some(&known.identity))),
                None => {
                    let forker = ended.exit.sample.forked_by.or(ended.exit.parent);
                    let forker = forker.and_then(|forker| {
                        let known = population.known.get(forker.pid);
                        let known = known.filter(|known| known.key == forker);
                        known.map(|known| &known.identity).or_else(|| identities.get(&forker))
                    });
                    Arc::new(self.execs.identity(&ended, forker.map(|identity| &**identity)))
                }
            };
            identities.insert(key, Arc::clone(&identity));
            ended.exit.sample.identity = identity;
            exits.processes.push(ended.exit);
        }
        self.processes.extend(held.processes);
        self.threads.extend(held.threads);
    }

    /// Makes a difference between those whose PID was used again within a clock tick, which have
    /// one key. Whoever no sweep saw or will see is given a start in a later tick, which is
    /// nobody's. Those that this sweep saw after another of the same key are taken out: they are
    /// told of with the next one.
    fn tell_twins_apart(&mut self, population: &Population<'_>) -> Held {
        let twins = Twins::among(&self.processes);
        if twins.spans.is_empty() {
            return Held::default();
        }
        let renamed = self.rename_unseen(&twins, population);
        for EndedThread { process_start, exit } in &mut self.threads {
            let Some(free) = renamed.get(&(exit.process, *process_start)) else { continue };
            if exit.thread.tid == exit.process.pid {
                exit.thread.start_time_ticks = free.start_time_ticks;
            }
            exit.process = *free;
        }
        let is_seen = |key, start| twins.is_last(key, start) && is_swept(key, start, population);
        let is_seen_process = |e: &mut Ended| is_seen(e.exit.key(), e.exit.started_at);
        let is_seen_thread = |t: &mut EndedThread| is_seen(t.exit.process, t.process_start);
        Held {
            processes: self.processes.extract_if(.., is_seen_process).collect(),
            threads: self.threads.extract_if(.., is_seen_thread).collect(),
        }
    }

    /// Gives a key of its own to each twin that no sweep saw or will see; returns these, by the
    /// key and the start that they had.
    fn rename_unseen(
        &mut self,
        twins: &Twins,
        population: &Population<'_>,
    ) -> HashMap<(ProcessKey, BootTime), ProcessKey> {
        let mut taken: HashSet<ProcessKey> =
            self.processes.iter().map(|ended| ended.exit.key()).collect();
        let mut renamed = HashMap::new();
        for ended in &mut self.processes {
            let (key, start) = (ended.exit.key(), ended.exit.started_at);
            if !twins.is_unseen(key, start, population) {
                continue;
            }
            let mut free = key;
            while !taken.insert(free) || population.has_seen(free) {
                free.start_time_ticks += 1;
            }
            ended.exit.sample.key = free;
            renamed.insert((key, start), free);
        }
        renamed
    }

    /// Those of the ended whose forker, or one further up, began after the sweep did, was not
    /// seen by it, and has not ended.
    fn orphans(&self, population: &Population<'_>) -> HashSet<ProcessKey> {
        let told: HashSet<ProcessKey> = self.processes.iter().map(|e| e.exit.key()).collect();
        let mut orphans = HashSet::new();
        for ended in &self.processes {
            let Some(forker) = ended.exit.sample.forked_by else { continue };
            let is_unseen = forker.start_time_ticks >= population.sweep_ticks
                && !told.contains(&forker)
                && !population.has_seen(forker);
            if is_unseen || orphans.contains(&forker) {
                orphans.insert(ended.exit.key());
            }
        }
        orphans
    }

    /// What is known of the last exec of a process.
    pub(crate) fn executed(&self, process: TaskKey) -> Option<&Executed> {
        self.execs.by_process.get(&process)
    }
}

/// Whether this sweep saw the process of this key that started at this moment.
fn is_swept(key: ProcessKey, start: BootTime, population: &Population<'_>) -> bool {
    let sample = population.sample(key.pid).filter(|sample| sample.key == key);
    sample.and_then(|seen| seen.started_at) == Some(start)
}

/// Whether a process is still there, or another with the same key.
fn is_listed(key: ProcessKey, population: &Population<'_>) -> bool {
    let start_time_ticks = listed_start(key.pid, population, &mut Room::default());
    start_time_ticks == Some(key.start_time_ticks)
}

/// What is kept for the next sweep.
#[derive(Debug, Default)]
struct Held {
    processes: Vec<Ended>,
    threads: Vec<EndedThread>,
}

/// Of each key that several of the ended have, when the first and the last of them started.
#[derive(Debug)]
struct Twins {
    spans: HashMap<ProcessKey, (BootTime, BootTime)>,
}

impl Twins {
    /// Among these, ascending by start. Those with the same PID stand side by side once they are
    /// sorted by it.
    fn among(processes: &[Ended]) -> Self {
        let mut starts: Vec<(ProcessKey, BootTime)> =
            processes.iter().map(|ended| (ended.exit.key(), ended.exit.started_at)).collect();
        starts.sort_unstable();
        let mut spans: HashMap<ProcessKey, (BootTime, BootTime)> = HashMap::new();
        for pair in starts.windows(2) {
            let [(key, first), (other, last)] = pair else { continue };
            if key == other && first != last {
                spans.entry(*key).or_insert((*first, *last)).1 = *last;
            }
        }
        Twins { spans }
    }

    /// Whether it is one of several that no sweep saw or will see: the sweep before can have seen
    /// the first of them, and this one or the next can see the last.
    fn is_unseen(&self, key: ProcessKey, start: BootTime, population: &Population<'_>) -> bool {
        let Some((first, last)) = self.spans.get(&key) else { return false };
        let is_known = population.has_seen(key);
        if start == *last {
            return is_known && !is_swept(key, start, population) && !is_listed(key, population);
        }
        !is_known || start != *first
    }

    /// Whether it is the last of several.
    fn is_last(&self, key: ProcessKey, start: BootTime) -> bool {
        self.spans.get(&key).is_some_and(|(_, last)| start == *last)
    }
}

impl Execs {
    fn remember(&mut self, record: &ExecRecord<'_>, keys: &[Box<[u8]>]) {
        let executed = Executed {
            time_ns: record.time_ns(),
            filename: Box::from(record.filename()),
            cmdline: reading(record.cmdline()).map(Box::from),
            environment: reading(record.environment()).map(|bytes| asked_for(bytes, keys)),
            is_environment_cut: matches!(record.environment(), Text::Cut(_)),
        };
        let process = record.process();
        if self.by_process.insert(process, executed).is_none() {
            self.oldest.push_back(process);
        }
        while self.oldest.len() > EXECS_MAX {
            if let Some(oldest) = self.oldest.pop_front() {
                self.by_process.remove(&oldest);
            }
        }
    }

    /// Who a process was that nobody saw. What it has not executed itself it has from its
    /// forker.
    fn identity(&self, ended: &Ended, forker: Option<&Identity>) -> Identity {
        let told = &ended.exit.sample.identity;
        let executed = ended.exec.and_then(|(process, time_ns)| {
            self.by_process.get(&process).filter(|executed| Some(executed.time_ns) == time_ns)
        });
        let gone = Absence::Vanished;
        let from_forker = forker.filter(|_| executed.is_none());
        let cgroup = forker.map_or(Reading::Absent(gone), |forker| forker.cgroup.clone());
        let is_kernel_thread = from_forker.is_some_and(|forker| forker.is_kernel_thread);
        let named = Identity { cgroup, is_kernel_thread, ..Identity::clone(told) };
        match (executed, from_forker) {
            (Some(executed), _) => Identity {
                executable: Reading::Value(executed.filename.clone()),
                cmdline: executed.cmdline.clone(),
                environment: executed.environment.clone(),
                is_environment_incomplete: executed.is_environment_cut,
                ..named
            },
            (None, Some(forker)) => Identity {
                executable: forker.executable.clone(),
                cmdline: forker.cmdline.clone(),
                environment: forker.environment.clone(),
                is_environment_incomplete: forker.is_environment_incomplete,
                ..named
            },
            (None, None) => named,
        }
    }
}

impl Ended {
    /// Whether the process had another name or user in the end than it was last seen with.
    fn has_become_another(&self, seen: &Identity) -> bool {
        let told = &self.exit.sample.identity;
        told.comm != seen.comm || told.uid != seen.uid
    }

    /// `None` for a thread that was not its process's last.
    fn of(record: &ExitRecord<'_>, scale: Scale) -> Option<Self> {
        let group = record.group()?;
        let key = scale.process_key(record.process());
        let parent = record.parent();
        let origin = record.origin();
        let pool = group.pool;
        let all = whole_usage(&record.usage(), &pool);
        let (user_ns, system_ns) = cpu_split(&all, (0, 0));
        let ended_at = BootTime { ns: record.end_ns() };
        let absent = Absence::NotRequested;
        let mut gauges = Gauges::absent(absent);
        gauges.context_switches = Reading::Value(ContextSwitches {
            voluntary: all.nvcsw,
            involuntary: all.nivcsw,
            is_partial: false,
        });
        let parent_key = (parent.id != 0).then(|| scale.process_key(parent));
        let forker = origin.and_then(|origin| origin.forker);
        Some(Ended {
            exec: origin.map(|origin| (origin.exec, origin.exec_time_ns)),
            exit: ProcessExit {
                sample: ProcessSample {
                    key,
                    parent_pid: parent.id,
                    forked_by: forker.map(|forker| scale.process_key(forker)).or(parent_key),
                    started_at: Some(BootTime { ns: record.process().start_ns }),
                    exec_count: None,
                    state: ProcessState::Zombie,
                    identity: Arc::new(named(record)),
                    read_at: ended_at,
                    usage: Usage {
                        own: Totals([user_ns, system_ns, all.min_flt, all.maj_flt]),
                        reaped: Totals([
                            pool.cutime_ns,
                            pool.cstime_ns,
                            pool.cmin_flt,
                            pool.cmaj_flt,
                        ]),
                    },
                    io: ProcessIo {
                        total: Reading::Absent(absent),
                        threads: Reading::Absent(absent),
                    },
                    gauges,
                },
                parent: parent_key,
                is_reaped_automatically: group.is_auto_reaped,
                started_at: BootTime { ns: record.process().start_ns },
                ended_at,
                rss_peak_bytes: Reading::Value(scale.bytes(group.max_rss_pages)),
                wait_status: group.status,
            },
        })
    }
}

/// What the last thread used, and those before it.
pub(crate) fn whole_usage(last: &ThreadUsage, pool: &Pool) -> ThreadUsage {
    ThreadUsage {
        utime_ns: last.utime_ns.saturating_add(pool.utime_ns),
        stime_ns: last.stime_ns.saturating_add(pool.stime_ns),
        runtime_ns: last.runtime_ns.saturating_add(pool.runtime_ns),
        nvcsw: last.nvcsw.saturating_add(pool.nvcsw),
        nivcsw: last.nivcsw.saturating_add(pool.nivcsw),
        min_flt: last.min_flt.saturating_add(pool.min_flt),
        maj_flt: last.maj_flt.saturating_add(pool.maj_flt),
    }
}

/// What two used together.
pub(crate) fn plus_usage(one: &ThreadUsage, other: &ThreadUsage) -> ThreadUsage {
    ThreadUsage {
        utime_ns: one.utime_ns.saturating_add(other.utime_ns),
        stime_ns: one.stime_ns.saturating_add(other.stime_ns),
        runtime_ns: one.runtime_ns.saturating_add(other.runtime_ns),
        nvcsw: one.nvcsw.saturating_add(other.nvcsw),
        nivcsw: one.nivcsw.saturating_add(other.nivcsw),
        min_flt: one.min_flt.saturating_add(other.min_flt),
        maj_flt: one.maj_flt.saturating_add(other.maj_flt),
    }
}

/// What a record says by itself.
fn named(record: &ExitRecord<'_>) -> Identity {
    identity::named(Box::from(record.comm()), record.euid())
}

fn thread_exit(record: &ExitRecord<'_>, scale: Scale) -> ThreadExit {
    ThreadExit {
        process: scale.process_key(record.process()),
        thread: scale.thread_key(record.thread()),
        io: io_totals(&record.io()),
        delays: delays::of_ended(record.delays()),
    }
}

fn cpu_tail(record: &FreeRecord<'_>, scale: Scale) -> Option<CpuTail> {
    let tail = CpuTail { key: scale.process_key(record.process()), cpu_ns: record.tail_ns() };
    (tail.cpu_ns > 0).then_some(tail)
}

fn reading(text: Text<'_>) -> Reading<&[u8]> {
    match text {
        Text::NotAsked => Reading::Absent(Absence::NotRequested),
        Text::Unreadable => Reading::Absent(Absence::Unstable),
        Text::Whole(bytes) | Text::Cut(bytes) => Reading::Value(bytes),
    }
}

/// The variables that somebody asks for, the first of equal keys.
fn asked_for(bytes: &[u8], keys: &[Box<[u8]>]) -> Box<[EnvironmentEntry]> {
    let mut entries: Vec<EnvironmentEntry> = Vec::new();
    for (key, value) in variables(bytes) {
        let is_asked = keys.iter().any(|wanted| **wanted == *key);
        if is_asked && !entries.iter().any(|entry| *entry.key == *key) {
            entries.push(EnvironmentEntry { key: Box::from(key), value: Box::from(value) });
        }
    }
    entries.into_boxed_slice()
}

impl Scale {
    /// A process as procfs names it.
    pub(crate) fn process_key(self, key: TaskKey) -> ProcessKey {
        let start_time_ticks = self.ticks_at(BootTime { ns: key.start_ns });
        ProcessKey { pid: key.id, start_time_ticks }
    }

    /// A thread as procfs names it.
    pub(crate) fn thread_key(self, key: TaskKey) -> ThreadKey {
        let start_time_ticks = self.ticks_at(BootTime { ns: key.start_ns });
        ThreadKey { tid: key.id, start_time_ticks }
    }
}
