//! taskstats records joined to processes.
//!
//! The traps. A record is written long before its process is a zombie, since its memory is taken
//! down in between, and on a busy machine others run meanwhile. So a sweep may see as living
//! whose record was read before it, and another one may have borne its PID before. And sockets
//! are read one after the other: a process may end on one CPU after the socket there was read,
//! and its parent on another before that, so that the parent is told of first.

pub(super) mod bearers;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use mpp_accounting::exit::{Exits, ProcessExit, ThreadExit};
use mpp_accounting::process::{
    Absence, ContextSwitches, Delays, Gauges, Identity, Lineage, ProcessIo, ProcessKey,
    ProcessSample, ProcessState, Reading, ThreadKey, Usage,
};
use mpp_accounting::units::{BootTime, Totals, UsageTotals};

use mpp_parse::bpf_record::ThreadUsage;

use self::bearers::Bearers;
use super::Population;
use super::health::{Failure, Health};
use crate::delays::{Counting, Life};
use crate::identity::Known;
use crate::scale::{Scale, cpu_split};
use crate::taskstats::{Drained, Taskstats, ThreadExitRecord};

/// No more records than this wait for the next sweep; what is beyond is counted as lost.
const WAITING_MAX: usize = 1 << 20;

/// Hears of ended threads by taskstats.
#[derive(Debug)]
pub(crate) struct RoundedWitness {
    pub(super) taskstats: Taskstats,
    /// What was told before the sweep that comes next.
    waiting: Vec<Heard>,
    lost: u64,
    /// Whether the kernel had no room for a record since the sweep before: which ones, the gaps
    /// in their numbers tell, but perhaps only when the next record comes.
    has_overflowed: bool,
    /// Losses that were told before their gaps showed.
    told_ahead: u64,
    counting: Counting,
    bearers: Bearers,
    health: Health,
}

/// A record, and when it was read.
#[derive(Clone, Debug)]
struct Heard {
    record: ThreadExitRecord,
    /// Not before the end that it tells of, however long the reading took.
    at: BootTime,
    moment: Moment,
}

/// How records are taken in.
type Drain = fn(&mut Taskstats, &mut dyn FnMut(&ThreadExitRecord)) -> Drained;

/// When a record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Before the sweep that it is joined to began.
    BeforeSweep,
    /// After it ended.
    AfterSweep,
}

impl Heard {
    /// The PID of its process.
    fn pid(&self) -> u32 {
        self.record.tgid.unwrap_or(self.record.tid)
    }

    /// Whether this is the only record of its process, which never had a second thread.
    fn is_alone(&self) -> bool {
        let record = &self.record;
        let is_main = record.tgid == Some(record.tid);
        is_main && record.is_last_thread == Some(true) && record.process.is_none()
    }
}

/// Moves records from `late` to `heard` whose process was a child of one in `heard`, or a child
/// of theirs.
fn take_descendants(heard: &mut Vec<Heard>, late: &mut Vec<Heard>) {
    let mut told: HashSet<u32> = heard.iter().map(Heard::pid).collect();
    loop {
        let known = heard.len();
        heard.extend(late.extract_if(.., |one| told.contains(&one.record.parent_pid)));
        if heard.len() == known {
            return;
        }
        told.extend(heard.iter().skip(known).map(Heard::pid));
    }
}

/// What is known of one process from the records of one interval.
#[derive(Debug, Default)]
struct Gathered {
    usage: ThreadUsage,
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
            has_overflowed: false,
            told_ahead: 0,
            counting,
            bearers: Bearers::default(),
            health: Health::default(),
        }
    }

    /// Asks the kernel for how long processes of which that is not known have waited. One that
    /// ends meanwhile is [`Absence::Vanished`], as is a zombie, which its record has told of.
    pub(super) fn ask_delays(&mut self, scale: Scale, processes: &mut [ProcessSample]) {
        let RoundedWitness { taskstats, counting, .. } = self;
        let is_asked = |process: &&mut ProcessSample| {
            process.gauges.seldom.delays == Reading::Absent(Absence::NeedsRecords)
        };
        let mut asked: Vec<_> = processes.iter_mut().filter(is_asked).collect();
        let tgids: Vec<u32> = asked.iter().map(|process| process.key.pid).collect();
        let mut next = asked.iter_mut();
        taskstats.of_process(&tgids, &mut |_, account| {
            let Some(process) = next.next() else { return };
            let life = Life {
                began: scale.moment_at(process.key.start_time_ticks),
                threads_max: process
                    .gauges
                    .threads
                    .value()
                    .map_or(u64::MAX, |threads| u64::from(*threads)),
            };
            process.gauges.seldom.delays = match account {
                Ok(account) => counting.reading(&account.delays, life),
                Err(why) => Reading::Absent(why),
            };
        });
    }

    /// Asks the kernel for the context switches of processes of which they are not known. These
    /// never had a second thread as far as was seen: of one that ended the kernel tells, by
    /// version, nothing or what it had done until shortly before its end, and for a moment twice
    /// (`fill_tgid_exit` and `fill_stats_for_tgid` of `kernel/taskstats.c`).
    pub(super) fn ask_switches(&mut self, processes: &mut [ProcessSample]) {
        let is_asked = |process: &&mut ProcessSample| {
            process.gauges.context_switches == Reading::Absent(Absence::NeedsRecords)
        };
        let mut asked: Vec<_> = processes.iter_mut().filter(is_asked).collect();
        let tgids: Vec<u32> = asked.iter().map(|process| process.key.pid).collect();
        let mut next = asked.iter_mut();
        self.taskstats.of_process(&tgids, &mut |_, account| {
            let Some(process) = next.next() else { return };
            let switches = account.map(|account| ContextSwitches {
                voluntary: account.voluntary_switches,
                involuntary: account.involuntary_switches,
                is_partial: false,
            });
            process.gauges.context_switches = switches.map_or_else(Reading::Absent, Reading::Value);
        });
    }

    /// Takes records in until their sockets are empty.
    pub(super) fn listen(&mut self) {
        self.hear(Moment::BeforeSweep);
    }

    fn hear(&mut self, moment: Moment) {
        self.hear_by(Taskstats::drain, moment);
    }

    fn hear_by(&mut self, drain: Drain, moment: Moment) {
        let RoundedWitness { taskstats, waiting, lost, counting, .. } = self;
        let drained = drain(taskstats, &mut |record| {
            if waiting.len() < WAITING_MAX {
                let at = crate::origin::since_boot();
                waiting.push(Heard { record: record.clone(), at, moment });
            } else {
                *lost += 1;
            }
        });
        counting.see(taskstats.delay_accounting(), crate::origin::since_boot());
        // A record that could not be read was received, and says nothing.
        let told = drained.lost.min(self.told_ahead);
        self.told_ahead -= told;
        self.lost += drained.lost - told + drained.malformed;
        self.has_overflowed |= drained.overflows > 0;
        let outcome = drained.failure.map_or(Ok(()), Err);
        self.lost += self.health.note("read the records of ended threads", outcome);
    }

    /// Takes account of what was lost in this interval: the next may be whole.
    fn hear_of_losses(&mut self) {
        self.hear(Moment::AfterSweep);
        if self.lost == 0 {
            (self.lost, self.told_ahead) = (1, self.told_ahead + 1);
        }
    }

    /// What was heard, and of what has come meanwhile the ends of descendants of those that were
    /// told of. A child that is waited for ends before its parent, so that these are all there by
    /// now; once their parents are forgotten nobody could say whose they were. The rest waits.
    fn heard_to_the_last_child(&mut self) -> Vec<Heard> {
        let mut heard = std::mem::take(&mut self.waiting);
        self.hear_by(Taskstats::drain_again, Moment::AfterSweep);
        take_descendants(&mut heard, &mut self.waiting);
        for late in &mut self.waiting {
            late.moment = Moment::BeforeSweep;
        }
        heard
    }

    /// Why nothing is to be expected any more, if that is so.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.health.is_gone()
    }

    /// Joins what was heard. Processes that nobody saw, and of which records were written since
    /// the sweep began, are looked up: the next sweep may see them as zombies. They do not wait
    /// for it, since what their reapers inherited of them may be in this one.
    pub(super) fn testify(&mut self, population: &Population<'_>, exits: &mut Exits) {
        self.hear(Moment::AfterSweep);
        if std::mem::take(&mut self.has_overflowed) {
            self.hear_of_losses();
        }
        let heard = self.heard_to_the_last_child();
        self.health.end_round();
        exits.lost_records = std::mem::take(&mut self.lost);
        let mut processes: HashMap<ProcessKey, Gathered> = HashMap::new();
        let mut joined = self.bearers.join(heard, population);
        self.hold_back(&mut joined, population);
        for (position, (process, heard)) in joined.iter().enumerate() {
            let delays = heard.delays(&self.counting);
            exits.threads.push(thread_exit(*process, heard, delays, population));
            processes.entry(*process).or_default().add(position, &heard.record);
        }
        for (process, gathered) in processes {
            if let Some(last) = gathered.last {
                let heard = &joined[last].1;
                let exit = process_exit(process, heard, &gathered, population, &self.bearers);
                exits.processes.push(exit);
            }
        }
        self.bearers.settle(exits.processes.iter().map(ProcessExit::key), population);
    }
}

impl Heard {
    /// For how long its process waited, where this was the last of several threads; else the
    /// thread itself.
    fn delays(&self, counting: &Counting) -> Reading<Delays> {
        let record = &self.record;
        let life_ns = record.elapsed_us.saturating_mul(1000);
        let life = Life {
            began: BootTime { ns: self.at.ns.saturating_sub(life_ns) },
            threads_max: if self.is_alone() { 1 } else { u64::MAX },
        };
        counting.reading(record.process.as_ref().map_or(&record.delays, |p| &p.delays), life)
    }
}

impl RoundedWitness {
    /// Keeps for the next sweep what was heard after this one of processes that nobody saw, and
    /// whose parents, or others further up, nobody saw either and have not ended.
    fn hold_back(&mut self, joined: &mut Vec<(ProcessKey, Heard)>, population: &Population<'_>) {
        let mut told: HashSet<u32> = joined.iter().map(|(process, _)| process.pid).collect();
        loop {
            let is_orphan = |(process, heard): &mut (ProcessKey, Heard)| {
                let parent = heard.record.parent_pid;
                heard.moment == Moment::AfterSweep
                    && !population.has_seen(*process)
                    && population.known.get(parent).is_none()
                    && !told.contains(&parent)
            };
            let orphans: Vec<_> = joined.extract_if(.., is_orphan).collect();
            if orphans.is_empty() {
                return;
            }
            for (process, heard) in orphans {
                told.remove(&process.pid);
                self.waiting.push(Heard { moment: Moment::BeforeSweep, ..heard });
            }
        }
    }
}

impl Gathered {
    fn add(&mut self, position: usize, record: &ThreadExitRecord) {
        let user_ns = record.cpu_user_us.saturating_mul(1000);
        let system_ns = record.cpu_system_us.saturating_mul(1000);
        let by_ticks_ns = user_ns.saturating_add(system_ns);
        for (sum, more) in [
            (&mut self.usage.utime_ns, user_ns),
            (&mut self.usage.stime_ns, system_ns),
            (&mut self.usage.runtime_ns, record.cpu_run_ns.unwrap_or(by_ticks_ns)),
            (&mut self.usage.min_flt, record.minor_faults),
            (&mut self.usage.maj_flt, record.major_faults),
        ] {
            *sum = sum.saturating_add(more);
        }
        let switches = [record.voluntary_switches, record.involuntary_switches];
        for (sum, more) in self.switches.iter_mut().zip(switches) {
            *sum = sum.saturating_add(more);
        }
        if record.is_last_thread.unwrap_or(record.tgid.is_none_or(|tgid| tgid == record.tid)) {
            self.last = Some(position);
        }
    }

    /// What its threads used, divided between the modes as procfs does it.
    fn own_usage(&self) -> UsageTotals {
        let (user_ns, system_ns) = cpu_split(&self.usage, (0, 0));
        Totals([user_ns, system_ns, self.usage.min_flt, self.usage.maj_flt])
    }
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
    ThreadExit {
        process,
        thread: ThreadKey { tid: record.tid, start_time_ticks },
        io: record.io.totals(),
        exec_count: None,
        delays,
    }
}

/// That of the thread which was last seen under the ID; else as its life tells it.
fn thread_start(process: ProcessKey, heard: &Heard, population: &Population<'_>) -> u64 {
    let tid = heard.record.tid;
    let known = population.known.get(process.pid).filter(|known| known.key == process);
    let before = known.and_then(Known::former_threads).unwrap_or_default();
    let now = known.and_then(Known::threads).unwrap_or_default();
    let seen = before.iter().chain(now.iter()).find(|thread| thread.key.tid == tid);
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
    bearers: &Bearers,
) -> ProcessExit {
    let record = &heard.record;
    let known = population.known.get(key.pid).filter(|known| known.key == key);
    let parent = population.known.get(record.parent_pid);
    let parent_key = parent.map(|parent| parent.key);
    let parent_key = parent_key.or_else(|| bearers.unseen(record.parent_pid));
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
            lineage: Lineage::new(known.is_none().then_some(parent_key).flatten(), None, None),
            state: ProcessState::Zombie,
            identity,
            read_at: heard.at,
            usage: Usage::new(gathered.own_usage(), UsageTotals::ZERO),
            io: ProcessIo::absent(absent),
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

#[cfg(test)]
mod tests {
    use super::bearers::tests::only_thread;
    use super::*;

    fn heard(pid: u32, parent_pid: u32) -> Heard {
        let Heard { record, at, moment } = only_thread(1, Moment::AfterSweep);
        let record = ThreadExitRecord { tid: pid, tgid: Some(pid), parent_pid, ..record };
        Heard { record, at, moment }
    }

    #[test]
    fn of_what_comes_late_only_descendants_of_those_told_of_are_taken_at_once() {
        let pids = |heard: &[Heard]| heard.iter().map(Heard::pid).collect::<Vec<_>>();
        let mut told = vec![heard(10, 1), heard(20, 1)];
        // A grandchild comes before its parent; 50 is the child of one that lives.
        let mut late = vec![heard(12, 11), heard(50, 2), heard(11, 10), heard(51, 50)];
        take_descendants(&mut told, &mut late);
        assert_eq!((pids(&told), pids(&late)), (vec![10, 20, 11, 12], vec![50, 51]));
        take_descendants(&mut Vec::new(), &mut late);
        assert_eq!(pids(&late), [50, 51]);
    }
}
