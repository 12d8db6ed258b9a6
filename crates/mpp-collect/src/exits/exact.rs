//! Exit records of our own hooks, and who it was that ended.
//!
//! A record names its process by PID and start in nanoseconds, its parent and who forked it,
//! and whose exec gave it its program. So a process that no sweep ever saw is known as well
//! as any: its name and user stand in the record; command line and environment are those of
//! the exec, if somebody asked for them then, else those of the process that it was forked
//! from. The trap: an exec is told once and may be asked for long after by a descendant, so
//! what was told is kept, up to a bound.

mod bequests;
mod living;
mod orphans;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use mpp_accounting::exit::{CpuTail, Exits, ProcessExit, Spill, ThreadExit};
use mpp_accounting::process::{
    Absence, ContextSwitches, EnvironmentEntry, Gauges, Identity, IdentityNeeds, Lineage,
    ProcessIo, ProcessKey, ProcessSample, ProcessState, Reading, ThreadKey, Usage,
};
use mpp_accounting::slack::{self, Slack};
use mpp_accounting::units::{BootTime, Totals};
use mpp_parse::bpf_record::{
    BirthRecord, ExecRecord, ExitRecord, FreeRecord, Pool, TaskKey, Text, ThreadUsage,
};
use mpp_parse::proc_pid_environ::variables;
use rustix::io::Errno;

use self::bequests::Bequests;
use self::living::Living;
use self::orphans::ToldEnds;
use super::Population;
use super::health::{Failure, Health};
use super::rounded::bearers::listed_start;
use crate::bpf::{Bpf, Capture, ExitEvent};
use crate::identity::{COMM_BYTES_MAX, Known};
use crate::proc_fs::Room;
use crate::scale::{Scale, cpu_split, io_totals};
use crate::{delays, identity};

/// No more execs than this are remembered; beyond it the oldest are forgotten.
const EXECS_MAX: usize = 16_384;

/// With so few there is nothing to gain by looking for those of processes that are gone.
const EXECS_KEPT_MIN: usize = 64;

/// Hears of ended threads by BPF.
#[derive(Debug)]
pub(crate) struct ExactWitness {
    pub(crate) bpf: Bpf,
    threads: Vec<EndedThread>,
    processes: Vec<Ended>,
    /// When those started that began in the tick of the last sweep, or later, and that it saw:
    /// only they may have a twin since.
    young: HashMap<ProcessKey, BootTime>,
    cpu_tails: Vec<CpuTail>,
    spills: Vec<Spill>,
    /// Whose ends were told lately.
    told: ToldEnds,
    bequests: Bequests,
    execs: Execs,
    living: Living,
    captured: Capture,
    keys: Vec<Box<[u8]>>,
    /// How many records had been dropped when last asked.
    dropped: u64,
    lost: u64,
    health: Health,
    /// That of the iterator, without which ends are told all the same.
    health_of_living: Health,
    slack_of_threads: Slack,
    slack_of_processes: Slack,
    slack_of_tails: Slack,
    slack_of_spills: Slack,
}

/// A thread that ended, and when its process started.
#[derive(Debug)]
struct EndedThread {
    process_start: BootTime,
    exit: ThreadExit,
}

/// A process that ended, before it is joined to what is known of it: small, since a storm leaves
/// thousands.
#[derive(Debug)]
struct Ended {
    key: ProcessKey,
    parent_pid: u32,
    parent: Option<ProcessKey>,
    forked_by: Option<ProcessKey>,
    /// Whose exec gave it its program, and when.
    exec: Option<(TaskKey, Option<u64>)>,
    /// Filled up with zeros.
    comm: [u8; COMM_BYTES_MAX],
    uid: u32,
    started_at: BootTime,
    ended_at: BootTime,
    usage: Usage,
    switches: ContextSwitches,
    rss_peak_bytes: u64,
    wait_status: i32,
    is_reaped_automatically: bool,
}

/// Who those were that forked the ended, each once.
#[derive(Debug)]
struct Forkers<'a> {
    /// Ascending.
    keys: Vec<ProcessKey>,
    /// In the same order; `None` as long as nobody knows.
    identities: Vec<Option<Arc<Identity>>>,
    /// Those of whom a sweep knows all but the environment.
    heirs: Vec<Heir<'a>>,
}

/// Somebody who may have the environment of whoever forked it.
#[derive(Debug)]
struct Heir<'a> {
    known: &'a Known,
    forked_by: ProcessKey,
    started_at: BootTime,
}

/// What programs were executed.
#[derive(Debug, Default)]
struct Execs {
    by_process: HashMap<TaskKey, Executed>,
    oldest: VecDeque<TaskKey>,
    /// Those of processes that are gone are looked for when there are so many, or so many sweeps
    /// later.
    look_over_at: usize,
    sweeps_until_look: u32,
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
            young: HashMap::new(),
            cpu_tails: Vec::new(),
            spills: Vec::new(),
            told: ToldEnds::default(),
            bequests: Bequests::default(),
            execs: Execs::default(),
            living: Living::default(),
            captured: Capture::default(),
            keys: Vec::new(),
            dropped: 0,
            lost: 0,
            health: Health::default(),
            health_of_living: Health::default(),
            slack_of_threads: Slack::default(),
            slack_of_processes: Slack::default(),
            slack_of_tails: Slack::default(),
            slack_of_spills: Slack::default(),
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
        let ExactWitness {
            bpf, execs, living, keys, threads, processes, cpu_tails, spills, ..
        } = self;
        // An exec comes before the end of whoever it made.
        let heard_execs = bpf.drain_execs(&mut |record| execs.remember(record, keys));
        let mut take = |event: ExitEvent<'_>| match event {
            ExitEvent::Birth(birth) => living.is_born(birth),
            ExitEvent::Exit(record) => {
                if record.group().is_some() {
                    living.has_ended(record.process());
                }
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
        // What is not known to be whole counts as a loss.
        self.lost += self.health.note("read the execs", heard_execs);
        self.lost += self.health.note("read the exit records", heard_exits);
        self.lost += self.health.note("read what found no room", spilled);
    }

    /// Takes in what was not told until now, as far as the hooks know.
    fn count_losses(&mut self) {
        let attached = self.bpf.are_hooks_attached();
        let lost = self.bpf.lost().map(|lost| {
            if lost.spilled + lost.dropped + lost.execs_dropped > 0 {
                self.living.doubt();
            }
            self.lost += lost.dropped.saturating_sub(self.dropped);
            self.dropped = lost.dropped;
        });
        self.lost += self.health.note("run the hooks", attached);
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
        self.count_losses();
        self.health.end_round();
        self.health_of_living.end_round();
        self.slack_of_threads.give_back(&mut self.threads);
        self.slack_of_processes.give_back(&mut self.processes);
        self.slack_of_tails.give_back(&mut self.cpu_tails);
        self.slack_of_spills.give_back(&mut self.spills);
        // Parents before their children, since those may be like them.
        if !self.processes.is_sorted_by_key(|ended| ended.started_at) {
            self.processes.sort_by_cached_key(|ended| ended.started_at);
        }
        let held = self.tell_twins_apart(population);
        let orphans = self.told.orphans(&self.processes, population);
        let waits = |key: ProcessKey| orphans.contains(&key);
        let told = self.threads.extract_if(.., |thread| !waits(thread.exit.process));
        exits.threads.extend(told.map(|EndedThread { exit, .. }| ThreadExit {
            delays: delays::as_counted(exit.delays, population.delays),
            ..exit
        }));
        exits.cpu_tails.extend(self.cpu_tails.extract_if(.., |tail| !waits(tail.key)));
        exits.spills.append(&mut self.spills);
        exits.lost_records = std::mem::take(&mut self.lost);
        self.identify_all(waits, population, exits);
        self.told.remember(exits.processes.iter().map(ProcessExit::key), population);
        self.processes.extend(held.processes);
        self.threads.extend(held.threads);
        self.execs.forget_gone(population);
    }

    /// Hands out those of the ended that do not wait, each with who it was.
    fn identify_all(
        &mut self,
        waits: impl Fn(ProcessKey) -> bool,
        population: &Population<'_>,
        exits: &mut Exits,
    ) {
        self.bequests.begin_round();
        let mut forkers = Forkers::of(&self.processes, population);
        forkers.inherit(&self.bequests, |_| true);
        for ended in self.processes.extract_if(.., |ended| !waits(ended.key)) {
            let identity = self.execs.identity(&ended, &forkers, &self.bequests, population);
            forkers.learn(ended.key, &identity);
            if !self.keys.is_empty() {
                self.bequests.keep(&ended, &identity);
                forkers.inherit(&self.bequests, |heir| heir.forked_by == ended.key);
            }
            exits.processes.push(ended.into_exit(identity));
        }
    }

    /// Who had the environment that a process was forked with, where its forker has ended lately.
    pub(crate) fn bequest(&self, forker: ProcessKey, forked_at: BootTime) -> Option<&Identity> {
        self.bequests.get(forker, forked_at)
    }

    /// Makes a difference between those whose PID was used again within a clock tick, which have
    /// one key. Whoever no sweep saw or will see is given a start in a later tick, which is
    /// nobody's. Those that this sweep saw after another that has ended, or that the next one may
    /// see, are taken out: they are told of with the next one.
    fn tell_twins_apart(&mut self, population: &Population<'_>) -> Held {
        let tellings = tellings(&self.processes, &self.young, population);
        self.young = young_of(population);
        if tellings.is_empty() {
            return Held::default();
        }
        let renamed = self.rename_unseen(&tellings, population);
        for EndedThread { process_start, exit } in &mut self.threads {
            let Some(free) = renamed.get(&(exit.process, *process_start)) else { continue };
            if exit.thread.tid == exit.process.pid {
                exit.thread.start_time_ticks = free.start_time_ticks;
            }
            exit.process = *free;
        }
        let is_early = |key, start| tellings.get(&(key, start)) == Some(&Telling::WithNextSweep);
        let is_early_process = |e: &mut Ended| is_early(e.key, e.started_at);
        let is_early_thread = |t: &mut EndedThread| is_early(t.exit.process, t.process_start);
        Held {
            processes: self.processes.extract_if(.., is_early_process).collect(),
            threads: self.threads.extract_if(.., is_early_thread).collect(),
        }
    }

    /// Gives a key of its own to each twin that no sweep saw or will see; returns these, by the
    /// key and the start that they had.
    fn rename_unseen(
        &mut self,
        tellings: &HashMap<(ProcessKey, BootTime), Telling>,
        population: &Population<'_>,
    ) -> HashMap<(ProcessKey, BootTime), ProcessKey> {
        let mut taken: HashSet<ProcessKey> = self.processes.iter().map(|ended| ended.key).collect();
        let mut renamed = HashMap::new();
        for ended in &mut self.processes {
            let (key, start) = (ended.key, ended.started_at);
            if tellings.get(&(key, start)) != Some(&Telling::UnderAnotherKey) {
                continue;
            }
            let mut free = key;
            while !taken.insert(free) || population.has_seen(free) {
                free.start_time_ticks += 1;
            }
            ended.key = free;
            renamed.insert((key, start), free);
        }
        renamed
    }

    /// Which descendants live, as of when they were last told of; `None` where nobody tells.
    pub(crate) fn living(&self) -> Option<impl Iterator<Item = Descendant<'_>>> {
        if !self.bpf.tells_of_births() || self.lost > 0 {
            return None;
        }
        Some(self.living.all()?.map(|birth| Descendant {
            process: birth.process,
            program: self.execs.program_of(birth),
        }))
    }

    /// How many processes that have ended wait to be handed out.
    pub(crate) fn ends_waiting(&self) -> usize {
        self.processes.len()
    }

    /// What is known of the last exec of a process.
    pub(crate) fn executed(&self, process: TaskKey) -> Option<&Executed> {
        self.execs.by_process.get(&process)
    }
}

/// A descendant that lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Descendant<'a> {
    pub(crate) process: TaskKey,
    /// The name of the program that it executes, where that was told.
    pub(crate) program: Option<&'a [u8]>,
}

/// Whether this sweep saw the process of this key that started at this moment.
fn is_swept(key: ProcessKey, start: BootTime, population: &Population<'_>) -> bool {
    let sample = population.sample(key.pid).filter(|sample| sample.key == key);
    sample.and_then(|seen| seen.lineage.started_at()) == Some(start)
}

/// Whether the next sweep may see a process that this one did not: it began behind this one's
/// back, and is still there, or another with the same key.
fn may_be_swept(key: ProcessKey, population: &Population<'_>) -> bool {
    key.start_time_ticks >= population.sweep_ticks
        && listed_start(key.pid, population, &mut Room::default()) == Some(key.start_time_ticks)
}

/// What is kept for the next sweep.
#[derive(Debug, Default)]
struct Held {
    processes: Vec<Ended>,
    threads: Vec<EndedThread>,
}

/// How the end of one of several with the same key is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    AsItIs,
    UnderAnotherKey,
    WithNextSweep,
}

/// How each of the ended is told that shares its key with another one, be that one ended, among
/// the `young` of the sweep before, or seen by this one.
fn tellings(
    processes: &[Ended],
    young: &HashMap<ProcessKey, BootTime>,
    population: &Population<'_>,
) -> HashMap<(ProcessKey, BootTime), Telling> {
    let mut starts: Vec<(ProcessKey, BootTime)> =
        processes.iter().map(|ended| (ended.key, ended.started_at)).collect();
    starts.sort_unstable();
    let mut tellings = HashMap::new();
    for twins in starts.chunk_by(|(one, _), (other, _)| one == other) {
        let [(key, start), rest @ ..] = twins else { continue };
        let before = young.get(key);
        let is_another = |seen: Option<BootTime>| seen.is_some_and(|seen| seen != *start);
        let swept = population.sample(key.pid).filter(|sample| sample.key == *key);
        let has_twin =
            is_another(before.copied()) || is_another(swept.and_then(|s| s.lineage.started_at()));
        if rest.is_empty() && !has_twin {
            continue;
        }
        let has_first_ended = twins.iter().any(|(_, start)| before == Some(start));
        for (key, start) in twins {
            let telling = if before == Some(start) {
                Telling::AsItIs
            } else if is_swept(*key, *start, population) {
                if has_first_ended { Telling::WithNextSweep } else { Telling::AsItIs }
            } else if may_be_swept(*key, population) {
                Telling::WithNextSweep
            } else {
                Telling::UnderAnotherKey
            };
            tellings.insert((*key, *start), telling);
        }
    }
    tellings
}

/// Those that this sweep saw and that began in its tick or later.
fn young_of(population: &Population<'_>) -> HashMap<ProcessKey, BootTime> {
    let is_young = |p: &&ProcessSample| p.key.start_time_ticks >= population.sweep_ticks;
    let young = population.processes.iter().filter(is_young);
    young.filter_map(|process| Some((process.key, process.lineage.started_at()?))).collect()
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

    /// The name of the program that a process executes: the last part of a path.
    fn program_of(&self, birth: &BirthRecord) -> Option<&[u8]> {
        let inherited = || {
            let executed = self.by_process.get(&birth.exec)?;
            (Some(executed.time_ns) == birth.exec_time_ns).then_some(executed)
        };
        let executed = self.by_process.get(&birth.process).or_else(inherited)?;
        executed.filename.rsplit(|byte| *byte == b'/').next()
    }

    /// Forgets, now and then, what those executed that two sweeps have not seen any more. Who
    /// runs it still has been seen since, or was forked by one that was.
    fn forget_gone(&mut self, population: &Population<'_>) {
        self.sweeps_until_look = self.sweeps_until_look.saturating_sub(1);
        let are_many = self.by_process.len() >= self.look_over_at.max(EXECS_KEPT_MIN);
        if !are_many && self.sweeps_until_look > 0 {
            return;
        }
        self.sweeps_until_look = slack::INTERVALS;
        let scale = population.origin.scale;
        self.by_process.retain(|process, executed| {
            let executed_at = BootTime { ns: executed.time_ns };
            scale.ticks_at(executed_at) >= population.previous_sweep_ticks
                || population.has_seen(scale.process_key(*process))
        });
        self.oldest.retain(|process| self.by_process.contains_key(process));
        self.look_over_at = self.by_process.len() * 2;
        let room = self.look_over_at.max(EXECS_KEPT_MIN);
        self.by_process.shrink_to(room);
        self.oldest.shrink_to(room);
    }

    /// Who a process was: as it was seen, where it is the same in the end; else what it has not
    /// executed itself it has from what it was, or from its forker.
    fn identity(
        &self,
        ended: &Ended,
        forkers: &Forkers<'_>,
        bequests: &Bequests,
        population: &Population<'_>,
    ) -> Arc<Identity> {
        let seen;
        let before = match population.known.get(ended.key.pid) {
            Some(known) if known.key == ended.key => {
                let forker = ended.forked_by.filter(|_| known.lacks_environment());
                let bequest = forker.and_then(|forker| bequests.get(forker, ended.started_at));
                seen = match bequest.and_then(|forker| known.with_environment_of(forker)) {
                    Some(identity) => Arc::new(identity),
                    None => Arc::clone(&known.identity),
                };
                if ended.bears_name_of(&seen) {
                    return seen;
                }
                Some(&seen)
            }
            _ => ended.forker().and_then(|forker| forkers.get(forker)),
        };
        let executed = ended.exec.and_then(|(process, time_ns)| {
            let executed = self.by_process.get(&process).filter(|_| time_ns.is_some())?;
            (Some(executed.time_ns) == time_ns).then_some(executed)
        });
        match (executed, before) {
            (None, Some(before)) if ended.bears_name_of(before) => Arc::clone(before),
            (executed, before) => Arc::new(ended.identity(executed, before.map(|one| &**one))),
        }
    }
}

impl<'a> Forkers<'a> {
    /// Those that this sweep or the one before has seen are known at once.
    fn of(processes: &[Ended], population: &Population<'a>) -> Self {
        let mut keys: Vec<ProcessKey> = processes.iter().filter_map(Ended::forker).collect();
        // Many have the same one in turn.
        keys.dedup();
        keys.sort_unstable();
        keys.dedup();
        let identity = |forker: &ProcessKey| {
            let known = population.known.get(forker.pid).filter(|known| known.key == *forker);
            known.map(|known| Arc::clone(&known.identity))
        };
        let identities = keys.iter().map(identity).collect();
        let heirs = keys.iter().filter_map(|forker| Heir::of(*forker, population)).collect();
        Forkers { keys, identities, heirs }
    }

    /// Gives those who lack it, and whose turn it is, the environment of whoever forked them, where
    /// that one has left it.
    fn inherit(&mut self, bequests: &Bequests, is_turn: impl Fn(&Heir<'_>) -> bool) {
        let Forkers { keys, identities, heirs } = self;
        heirs.retain(|heir| {
            let bequest = || bequests.get(heir.forked_by, heir.started_at);
            let Some(forker) = is_turn(heir).then(bequest).flatten() else { return true };
            let position = keys.binary_search(&heir.known.key).ok();
            if let Some(identity) = position.and_then(|at| identities.get_mut(at)) {
                *identity = heir.known.with_environment_of(forker).map(Arc::new);
            }
            false
        });
    }

    fn get(&self, key: ProcessKey) -> Option<&Arc<Identity>> {
        self.identities.get(self.keys.binary_search(&key).ok()?)?.as_ref()
    }

    /// Takes in who one of the ended was, in case it forked another one.
    fn learn(&mut self, key: ProcessKey, identity: &Arc<Identity>) {
        if let Ok(position) = self.keys.binary_search(&key)
            && let Some(slot) = self.identities.get_mut(position)
        {
            slot.get_or_insert_with(|| Arc::clone(identity));
        }
    }
}

impl<'a> Heir<'a> {
    fn of(key: ProcessKey, population: &Population<'a>) -> Option<Self> {
        let known = population.known.get(key.pid).filter(|known| known.key == key)?;
        let seen = population.sample(key.pid).filter(|seen| seen.key == key)?;
        let (forked_by, started_at) = seen.lineage.forked_by().zip(seen.lineage.started_at())?;
        known.lacks_environment().then_some(Heir { known, forked_by, started_at })
    }
}

impl Ended {
    /// `None` for a thread that was not its process's last.
    fn of(record: &ExitRecord<'_>, scale: Scale) -> Option<Self> {
        let group = record.group()?;
        let parent = record.parent();
        let origin = record.origin();
        let pool = group.pool;
        let all = whole_usage(&record.usage(), &pool);
        let (user_ns, system_ns) = cpu_split(&all, (0, 0));
        let parent_key = (parent.id != 0).then(|| scale.process_key(parent));
        let forker = origin.and_then(|origin| origin.forker);
        Some(Ended {
            key: scale.process_key(record.process()),
            parent_pid: parent.id,
            parent: parent_key,
            forked_by: forker.map(|forker| scale.process_key(forker)).or(parent_key),
            exec: origin.map(|origin| (origin.exec, origin.exec_time_ns)),
            comm: identity::padded(record.comm()),
            uid: record.euid(),
            started_at: BootTime { ns: record.process().start_ns },
            ended_at: BootTime { ns: record.end_ns() },
            usage: Usage::new(
                Totals([user_ns, system_ns, all.min_flt, all.maj_flt]),
                Totals([pool.cutime_ns, pool.cstime_ns, pool.cmin_flt, pool.cmaj_flt]),
            ),
            switches: ContextSwitches {
                voluntary: all.nvcsw,
                involuntary: all.nivcsw,
                is_partial: false,
            },
            rss_peak_bytes: scale.bytes(group.max_rss_pages),
            wait_status: group.status,
            is_reaped_automatically: group.is_auto_reaped,
        })
    }

    /// When it executed something itself, since boot in nanoseconds; `None` where it never has, or
    /// before anybody looked.
    fn executed_at(&self) -> Option<u64> {
        let (process, time_ns) = self.exec?;
        time_ns.filter(|_| process.id == self.key.pid)
    }

    /// Whose child it was.
    fn forker(&self) -> Option<ProcessKey> {
        self.forked_by.or(self.parent)
    }

    fn comm(&self) -> &[u8] {
        identity::without_padding(&self.comm)
    }

    /// Whether it had this name and user in the end.
    fn bears_name_of(&self, identity: &Identity) -> bool {
        *self.comm() == *identity.comm && self.uid == identity.uid
    }

    /// Who it was by its record, by what it executed, and by what it was before or was forked
    /// from.
    fn identity(&self, executed: Option<&Executed>, before: Option<&Identity>) -> Identity {
        let gone = Absence::Vanished;
        let named = identity::named(Box::from(self.comm()), self.uid, Absence::Vanished);
        let cgroup = before.map_or(Reading::Absent(gone), |before| before.cgroup.clone());
        match (executed, before) {
            (Some(executed), _) => Identity {
                executable: Reading::Value(executed.filename.clone()),
                cmdline: executed.cmdline.clone(),
                environment: executed.environment.clone(),
                is_environment_incomplete: executed.is_environment_cut,
                cgroup,
                ..named
            },
            (None, Some(before)) => {
                Identity { comm: named.comm, uid: self.uid, ..Identity::clone(before) }
            }
            (None, None) => named,
        }
    }

    /// What is handed out of it.
    fn into_exit(self, identity: Arc<Identity>) -> ProcessExit {
        let absent = Absence::NotRequested;
        let mut gauges = Gauges::absent(absent);
        gauges.context_switches = Reading::Value(self.switches);
        ProcessExit {
            sample: ProcessSample {
                key: self.key,
                parent_pid: self.parent_pid,
                lineage: Lineage::new(self.forked_by, Some(self.started_at), None),
                state: ProcessState::Zombie,
                identity,
                read_at: self.ended_at,
                usage: self.usage,
                io: ProcessIo::absent(absent),
                gauges,
            },
            parent: self.parent,
            is_reaped_automatically: self.is_reaped_automatically,
            started_at: self.started_at,
            ended_at: self.ended_at,
            rss_peak_bytes: Reading::Value(self.rss_peak_bytes),
            wait_status: self.wait_status,
        }
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

fn thread_exit(record: &ExitRecord<'_>, scale: Scale) -> ThreadExit {
    ThreadExit {
        process: scale.process_key(record.process()),
        thread: scale.thread_key(record.thread()),
        io: io_totals(&record.io()),
        exec_count: Some(record.exec_id()),
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
