//! taskstats records joined to processes.
//!
//! A record names its process by PID alone, and says for how long the thread lived: the
//! process is the last bearer of the PID that was there when the thread began. The trap: a
//! bearer that lives, and has not lost its main thread, cannot be meant by a record of a last
//! thread that was written before the sweep.

use std::collections::HashMap;
use std::sync::Arc;

use mpp_accounting::exit::{Exits, ProcessExit, ThreadExit};
use mpp_accounting::process::{
    Absence, ContextSwitches, Delays, Gauges, Identity, ProcessIo, ProcessKey, ProcessSample,
    ProcessState, Reading, ThreadKey, Usage,
};
use mpp_accounting::units::{BootTime, Totals, UsageTotals};

use super::Population;
use super::health::{Failure, Health};
use crate::delays::{Counting, Life};
use crate::scale::Scale;
use crate::taskstats::{Taskstats, ThreadExitRecord};

/// No more records than this wait for the next sweep; what is beyond is counted as lost.
const WAITING_MAX: usize = 1 << 20;

/// By how much the two clocks of a start may differ: a start is told in ticks, a life in
/// microseconds.
const START_SLACK_NS: u64 = 20_000_000;

/// Hears of ended threads by taskstats.
#[derive(Debug)]
pub(crate) struct RoundedWitness {
    pub(super) taskstats: Taskstats,
    /// What was told before the sweep that comes next.
    waiting: Vec<Heard>,
    lost: u64,
    counting: Counting,
    health: Health,
}

/// A record, and when it was read.
#[derive(Debug)]
struct Heard {
    record: ThreadExitRecord,
    at: BootTime,
    moment: Moment,
}

/// When a record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Before the sweep that it is joined to began.
    BeforeSweep,
    /// After it ended.
    AfterSweep,
}

/// What is known of one process from the records of one interval.
#[derive(Debug, Default)]
struct Gathered {
    own_usage: UsageTotals,
    switches: [u64; 2],
    last: Option<usize>,
}

impl RoundedWitness {
    pub(super) fn new(taskstats: Taskstats) -> Self {
        let mut counting = Counting::new();
        counting.see(taskstats.delay_accounting(), crate::origin::since_boot());
        RoundedWitness {
            taskstats,
            waiting: Vec::new(),
            lost: 0,
            counting,
            health: Health::default(),
        }
    }

    /// Asks the kernel for how long processes of which that is not known have waited. One that
    /// ends meanwhile is [`Absence::Vanished`], as is a zombie, which its record has told of.
    pub(super) fn ask_delays(&mut self, scale: Scale, processes: &mut [ProcessSample]) {
        let RoundedWitness { taskstats, counting, .. } = self;
        let is_asked = |process: &&mut ProcessSample| {
            process.gauges.delays == Reading::Absent(Absence::NeedsRecords)
        };
        let mut asked: Vec<_> = processes.iter_mut().filter(is_asked).collect();
        let tgids: Vec<u32> = asked.iter().map(|process| process.key.pid).collect();
        let mut next = asked.iter_mut();
        taskstats.of_process(&tgids, &mut |_, account| {
            let Some(process) = next.next() else { return };
            let life = Life {
                began: scale.moment_at(process.key.start_time_ticks),
                threads_max: process.gauges.threads.value().copied().unwrap_or(u64::MAX),
            };
            process.gauges.delays = match account {
                Ok(account) => counting.reading(&account.delays, life),
                Err(why) => Reading::Absent(why),
            };
        });
    }

    /// Takes records in until their sockets are empty.
    pub(super) fn listen(&mut self) {
        self.hear(Moment::BeforeSweep);
    }

    fn hear(&mut self, moment: Moment) {
        let RoundedWitness { taskstats, waiting, lost, counting, .. } = self;
        let at = crate::origin::since_boot();
        let drained = taskstats.drain(&mut |record| {
            if waiting.len() < WAITING_MAX {
                waiting.push(Heard { record: record.clone(), at, moment });
            } else {
                *lost += 1;
            }
        });
        counting.see(taskstats.delay_accounting(), at);
        // A record that could not be read was received, and says nothing.
        self.lost += drained.lost + drained.malformed;
        let outcome = drained.failure.map_or(Ok(()), Err);
        self.lost += self.health.note("read the records of ended threads", outcome);
    }

    /// Why nothing is to be expected any more, if that is so.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.health.is_gone()
    }

    /// Joins what was heard. Records of processes that nobody saw, and that were written since
    /// the sweep began, wait for the next one, which may see them as zombies.
    pub(super) fn testify(&mut self, population: &Population<'_>, exits: &mut Exits) {
        self.hear(Moment::AfterSweep);
        self.health.end_round();
        exits.lost_records = std::mem::take(&mut self.lost);
        let heard = std::mem::take(&mut self.waiting);
        let mut unseen = HashMap::new();
        let mut processes: HashMap<ProcessKey, Gathered> = HashMap::new();
        let mut joined = Vec::with_capacity(heard.len());
        for heard in heard {
            match process_of(&heard, population, &mut unseen) {
                Some(process) => joined.push((process, heard)),
                None => self.waiting.push(Heard { moment: Moment::BeforeSweep, ..heard }),
            }
        }
        for (position, (process, heard)) in joined.iter().enumerate() {
            let delays = heard.delays(&self.counting);
            exits.threads.push(thread_exit(*process, heard, delays, population));
            processes.entry(*process).or_default().add(position, &heard.record);
        }
        for (process, gathered) in processes {
            if let Some(last) = gathered.last {
                let heard = &joined[last].1;
                exits.processes.push(process_exit(process, heard, &gathered, population, &unseen));
            }
        }
    }
}

impl Heard {
    /// For how long its process waited, where this was the last of several threads; else the
    /// thread itself.
    fn delays(&self, counting: &Counting) -> Reading<Delays> {
        let record = &self.record;
        let life_ns = record.elapsed_us.saturating_mul(1000);
        let is_alone = record.process.is_none() && record.is_last_thread == Some(true);
        let life = Life {
            began: BootTime { ns: self.at.ns.saturating_sub(life_ns) },
            threads_max: if is_alone { 1 } else { u64::MAX },
        };
        counting.reading(record.process.as_ref().map_or(&record.delays, |p| &p.delays), life)
    }
}

impl Gathered {
    fn add(&mut self, position: usize, record: &ThreadExitRecord) {
        let usage = Totals([
            record.cpu_user_us.saturating_mul(1000),
            record.cpu_system_us.saturating_mul(1000),
            record.minor_faults,
            record.major_faults,
        ]);
        self.own_usage = self.own_usage.plus(usage.as_delta());
        let switches = [record.voluntary_switches, record.involuntary_switches];
        for (sum, more) in self.switches.iter_mut().zip(switches) {
            *sum = sum.saturating_add(more);
        }
        if record.is_last_thread.unwrap_or(record.tgid.is_none_or(|tgid| tgid == record.tid)) {
            self.last = Some(position);
        }
    }
}

/// Whose thread it was. `None` for one that the next sweep may still see as a zombie.
fn process_of(
    heard: &Heard,
    population: &Population<'_>,
    unseen: &mut HashMap<u32, ProcessKey>,
) -> Option<ProcessKey> {
    let record = &heard.record;
    let pid = record.tgid.unwrap_or(record.tid);
    let began_by_ns = heard.at.ns.saturating_sub(record.elapsed_us.saturating_mul(1000));
    let began_by = BootTime { ns: began_by_ns.saturating_add(START_SLACK_NS) };
    let began_by = population.origin.scale.ticks_at(began_by);
    let current = population.known.get(pid).map(|known| known.key);
    let current = current.filter(|_| !is_surely_another(heard, pid, population));
    let former = population.replaced.iter().copied().filter(|key| key.pid == pid);
    let bearers = current.into_iter().chain(former);
    let bearer = bearers
        .filter(|key| key.start_time_ticks <= began_by)
        .max_by_key(|key| key.start_time_ticks);
    if let Some(key) = bearer {
        return Some(key);
    }
    if heard.moment == Moment::AfterSweep {
        return None;
    }
    // Nobody saw it, so it began after the sweep before.
    let start_time_ticks = population.origin.scale.ticks_at(BootTime { ns: began_by_ns });
    let start_time_ticks = start_time_ticks.max(population.previous_sweep_ticks);
    Some(*unseen.entry(pid).or_insert(ProcessKey { pid, start_time_ticks }))
}

/// Whether the bearer of the PID outlived what the record tells of.
fn is_surely_another(heard: &Heard, pid: u32, population: &Population<'_>) -> bool {
    heard.moment == Moment::BeforeSweep
        && heard.record.is_last_thread == Some(true)
        && population.sample(pid).is_some_and(|sample| sample.state == ProcessState::Living)
}

fn thread_exit(
    process: ProcessKey,
    heard: &Heard,
    delays: Reading<Delays>,
    population: &Population<'_>,
) -> ThreadExit {
    let record = &heard.record;
    let start_time_ticks = match record.tid == process.pid {
        true => process.start_time_ticks,
        false => thread_start(process, heard, population),
    };
    let io = &record.io;
    ThreadExit {
        process,
        thread: ThreadKey { tid: record.tid, start_time_ticks },
        // The kernel rounds the numbers of calls down to KiB, too: they say nothing.
        io: Totals([
            io.read_char_bytes,
            io.write_char_bytes,
            0,
            0,
            io.read_bytes,
            io.write_bytes,
            io.cancelled_write_bytes,
        ]),
        delays,
    }
}

/// That of the thread which was last seen under the ID; else as its life tells it.
fn thread_start(process: ProcessKey, heard: &Heard, population: &Population<'_>) -> u64 {
    let tid = heard.record.tid;
    let known = population.known.get(process.pid).filter(|known| known.key == process);
    let before = known.and_then(|known| known.former_threads.as_deref()).unwrap_or_default();
    let now = known.and_then(|known| known.threads.as_deref()).unwrap_or_default();
    let seen = before.iter().chain(now).find(|thread| thread.key.tid == tid);
    seen.map_or_else(
        || {
            let life_ns = heard.record.elapsed_us.saturating_mul(1000);
            let began = BootTime { ns: heard.at.ns.saturating_sub(life_ns) };
            population.origin.scale.ticks_at(began)
        },
        |thread| thread.key.start_time_ticks,
    )
}

fn process_exit(
    key: ProcessKey,
    heard: &Heard,
    gathered: &Gathered,
    population: &Population<'_>,
    unseen: &HashMap<u32, ProcessKey>,
) -> ProcessExit {
    let record = &heard.record;
    let known = population.known.get(key.pid).filter(|known| known.key == key);
    let parent = population.known.get(record.parent_pid);
    let parent_key = parent.map(|parent| parent.key);
    let parent_key = parent_key.or_else(|| unseen.get(&record.parent_pid).copied());
    let absent = Absence::NotRequested;
    let [voluntary, involuntary] = gathered.switches;
    let switches = match record.process {
        Some(process) => [process.voluntary_switches, process.involuntary_switches],
        None => [voluntary, involuntary],
    };
    let [voluntary, involuntary] = switches;
    let mut gauges = Gauges::absent(absent);
    gauges.context_switches =
        Reading::Value(ContextSwitches { voluntary, involuntary, is_partial: false });
    let identity = match known {
        Some(known) => Arc::clone(&known.identity),
        None => identity_of(record, parent.map(|parent| &*parent.identity)),
    };
    let life_ns = record.elapsed_us.saturating_mul(1000);
    ProcessExit {
        sample: ProcessSample {
            key,
            parent_pid: record.parent_pid,
            forked_by: known.is_none().then_some(parent_key).flatten(),
            started_at: None,
            exec_count: None,
            state: ProcessState::Zombie,
            identity,
            read_at: heard.at,
            usage: Usage { own: gathered.own_usage, ..Usage::default() },
            io: ProcessIo { total: Reading::Absent(absent), threads: Reading::Absent(absent) },
            gauges,
        },
        parent: parent_key,
        is_reaped_automatically: false,
        started_at: BootTime { ns: heard.at.ns.saturating_sub(life_ns) },
        ended_at: heard.at,
        rss_peak_bytes: record
            .peak_rss_kib
            .map_or(Reading::Value(0), |kib| Reading::Value(kib.saturating_mul(1024))),
        wait_status: record.exit_status.cast_signed(),
    }
}

/// Who a process was that nobody saw: its name and user are told. With its parent's name it is
/// the same program, so that all else is its parent's, too; with another it has executed
/// something, and nobody knows with which words.
fn identity_of(record: &ThreadExitRecord, parent: Option<&Identity>) -> Arc<Identity> {
    let gone = Absence::Vanished;
    let same = parent.filter(|parent| *parent.comm == *record.comm());
    Arc::new(Identity {
        comm: Box::from(record.comm()),
        uid: record.uid,
        executable: same.map_or(Reading::Absent(gone), |parent| parent.executable.clone()),
        cmdline: same.map_or(Reading::Absent(gone), |parent| parent.cmdline.clone()),
        environment: same.map_or(Reading::Absent(gone), |parent| parent.environment.clone()),
        is_environment_incomplete: same.is_some_and(|parent| parent.is_environment_incomplete),
        cgroup: parent.map_or(Reading::Absent(gone), |parent| parent.cgroup.clone()),
        is_kernel_thread: same.is_some_and(|parent| parent.is_kernel_thread),
    })
}
