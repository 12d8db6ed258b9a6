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
use crate::taskstats::{Drained, ProcessAccount, Taskstats, ThreadExitRecord};

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

    /// Whether it tells of a main thread.
    fn is_main(&self) -> bool {
        self.pid() == self.record.tid
    }

    /// When its thread began, at the latest.
    fn began(&self) -> BootTime {
        BootTime { ns: self.at.ns.saturating_sub(self.record.elapsed_us.saturating_mul(1000)) }
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

/// What is known of one process from its records.
#[derive(Debug, Default)]
struct Gathered<'a> {
    usage: ThreadUsage,
    switches: [u64; 2],
    /// The one that came with the end of the process.
    last: Option<&'a Heard>,
    /// That of its main thread; of several that of the longest life, since a thread that calls exec
    /// takes over the start of the main one.
    main: Option<&'a Heard>,
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
        let mut joined = self.bearers.join(heard, population);
        self.hold_back(&mut joined, population);
        tell(&joined, &self.counting, population, &self.bearers, exits);
        self.bearers.settle(exits.processes.iter().map(ProcessExit::key), population);
        self.bearers.remember_begun(&joined);
    }
}

/// What these records say of threads, and of the processes that ended with them.
fn tell(
    joined: &[(ProcessKey, Heard)],
    counting: &Counting,
    population: &Population<'_>,
    bearers: &Bearers,
    exits: &mut Exits,
) {
    let mut processes: HashMap<ProcessKey, Gathered<'_>> = HashMap::new();
    for (process, heard) in joined {
        let delays = heard.delays(counting);
        exits.threads.push(thread_exit(*process, heard, delays, population));
        processes.entry(*process).or_default().add(heard);
    }
    for (process, mut gathered) in processes {
        if let Some(last) = gathered.last {
            bearers.earlier(process).iter().for_each(|heard| gathered.add(heard));
            exits.processes.push(process_exit(process, last, &gathered, population, bearers));
        }
    }
}

impl Heard {
    /// For how long its process waited, where this was the last of several threads; else the
    /// thread itself.
    fn delays(&self, counting: &Counting) -> Reading<Delays> {
        let record = &self.record;
        let life =
            Life { began: self.began(), threads_max: if self.is_alone() { 1 } else { u64::MAX } };
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

impl<'a> Gathered<'a> {
    fn add(&mut self, heard: &'a Heard) {
        let record = &heard.record;
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
        if record.is_last_thread.unwrap_or(heard.is_main()) {
            self.last = Some(heard);
        }
        if heard.is_main() {
            let mains = self.main.into_iter().chain([heard]);
            self.main = mains.max_by_key(|main| main.record.elapsed_us);
        }
    }

    /// What its threads used, divided between the modes as procfs does it. The CPU time of those
    /// that ended before its last sight is in the kernel's sum `of_all`, which may miss some of the
    /// others'; of their faults that sight has told.
    fn own_usage(&self, of_all: Option<&ProcessAccount>) -> UsageTotals {
        let mut usage = self.usage;
        if let Some(all) = of_all {
            usage.utime_ns = usage.utime_ns.max(all.cpu_user_us.saturating_mul(1000));
            usage.stime_ns = usage.stime_ns.max(all.cpu_system_us.saturating_mul(1000));
            usage.runtime_ns = usage.runtime_ns.max(all.cpu_run_ns);
        }
        let (user_ns, system_ns) = cpu_split(&usage, (0, 0));
        Totals([user_ns, system_ns, usage.min_flt, usage.maj_flt])
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
        || population.origin.scale.ticks_at(heard.began()),
        |thread| thread.key.start_time_ticks,
    )
}

fn process_exit(
    key: ProcessKey,
    heard: &Heard,
    gathered: &Gathered<'_>,
    population: &Population<'_>,
    bearers: &Bearers,
) -> ProcessExit {
    let record = &heard.record;
    let main = gathered.main.unwrap_or(heard);
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
        None => identity_of(&main.record, parent.map(|parent| &*parent.identity)),
    };
    ProcessExit {
        sample: ProcessSample {
            key,
            parent_pid: record.parent_pid,
            lineage: Lineage::new(known.is_none().then_some(parent_key).flatten(), None, None),
            state: ProcessState::Zombie,
            identity,
            read_at: heard.at,
            usage: Usage::new(gathered.own_usage(record.process.as_ref()), UsageTotals::ZERO),
            io: ProcessIo::absent(absent),
            gauges,
        },
        parent: parent_key,
        is_reaped_automatically: false,
        started_at: main.began(),
        ended_at: heard.at,
        rss_peak_bytes: record.peak_rss_kib.map_or(Reading::Absent(Absence::Unsupported), |kib| {
            Reading::Value(kib.saturating_mul(1024))
        }),
        wait_status: record.exit_status.cast_signed(),
    }
}

/// Who a process was that nobody saw: what its main thread was called is its name, and its user is
/// told, too. With its parent's name it is
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
    use mpp_accounting::units::UsageCounter;

    use super::bearers::tests::{SECOND_US, at_rest, only_thread, process_account};
    use super::*;
    use crate::identity::roster::Roster;
    use crate::origin::Origin;
    use crate::proc_fs::Room;
    use crate::scale::Scale;

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

    /// A thread of a process whose main thread has ended, or does so now, by what it is called,
    /// how long it lived and how long it ran.
    fn thread(tid: u32, comm: &[u8], lived_us: u64, ran_us: u64) -> Heard {
        let mut heard = heard(10, 1);
        let record = &mut heard.record;
        record.tid = tid;
        record.comm[..comm.len()].copy_from_slice(comm);
        (record.elapsed_us, record.cpu_user_us) = (lived_us, ran_us);
        record.cpu_run_ns = Some(ran_us * 1000);
        (record.minor_faults, record.peak_rss_kib) = (10, Some(64));
        record.is_last_thread = Some(false);
        heard
    }

    /// The same, the last one of its process, whose threads ran for so long together.
    fn last_of(all_ran_us: u64, mut heard: Heard) -> Heard {
        heard.record.is_last_thread = Some(true);
        let account = process_account(heard.pid());
        let (cpu_user_us, cpu_run_ns) = (all_ran_us, all_ran_us * 1000);
        heard.record.process = Some(ProcessAccount { cpu_user_us, cpu_run_ns, ..account });
        heard
    }

    /// What is told of the one process that ends in the last of these intervals, and that no sweep
    /// sees.
    fn ended(intervals: Vec<Vec<Heard>>) -> ProcessExit {
        let mut origin = Origin::open(std::path::Path::new("/proc"), &mut Room::default()).unwrap();
        origin.scale = Scale::new(100, 4096).unwrap();
        let roster = Roster::default();
        let population = at_rest(&origin, &roster);
        let mut bearers = Bearers::default();
        let mut exits = Exits::default();
        for heard in intervals {
            assert!(exits.processes.is_empty(), "it lives");
            let joined = bearers.join(heard, &population);
            tell(&joined, &Counting::new(), &population, &bearers, &mut exits);
            bearers.settle(exits.processes.iter().map(ProcessExit::key), &population);
            bearers.remember_begun(&joined);
        }
        assert_eq!(exits.processes.len(), 1);
        exits.processes.remove(0)
    }

    #[test]
    fn a_process_that_nobody_saw_is_called_as_its_main_thread_was() {
        let main = || thread(10, b"rustc", SECOND_US / 2, 0);
        let worker = || last_of(0, thread(11, b"opt cgu.0", SECOND_US / 4, 0));
        let is_right = |ended: ProcessExit| {
            assert_eq!(*ended.sample.identity.comm, *b"rustc");
            let lived = ended.ended_at.since(ended.started_at);
            assert_eq!(
                lived.as_micros(),
                u128::from(SECOND_US / 2),
                "from its main thread's start"
            );
        };
        is_right(ended(vec![vec![main(), worker()]]));
        is_right(ended(vec![vec![worker(), main()]]));
        // The main thread's record came an interval before.
        is_right(ended(vec![vec![main()], vec![worker()]]));
    }

    #[test]
    fn a_process_in_whose_midst_a_thread_executed_something_bears_the_new_name() {
        let before = || thread(10, b"shell", SECOND_US / 4, 0);
        let after = || last_of(0, thread(10, b"program", SECOND_US / 2, 0));
        let comm = |heard| ended(vec![heard]).sample.identity.comm.clone();
        assert_eq!(*comm(vec![before(), after()]), *b"program");
        assert_eq!(*comm(vec![after(), before()]), *b"program");
    }

    #[test]
    fn what_threads_ran_that_ended_intervals_before_is_in_the_sum_of_their_process() {
        let ran_ns = |intervals| ended(intervals).sample.usage.own[UsageCounter::CpuUserNs];
        let burner = || thread(11, b"burner", SECOND_US / 2, 300_000);
        let last = |all_ran_us| last_of(all_ran_us, thread(10, b"main", SECOND_US, 1000));
        assert_eq!(ran_ns(vec![vec![burner()], vec![], vec![last(301_000)]]), 301_000_000);
        let faults = |intervals| ended(intervals).sample.usage.own[UsageCounter::MinorFaults];
        assert_eq!(
            faults(vec![vec![burner()], vec![last(301_000)]]),
            20,
            "nobody else tells these"
        );
        // The kernel's sum may miss what the records tell.
        assert_eq!(ran_ns(vec![vec![burner(), last(2000)]]), 301_000_000);
    }

    #[test]
    fn a_peak_that_the_kernel_does_not_tell_is_unknown() {
        let peak = |kib| {
            let mut heard = heard(10, 1);
            heard.record.peak_rss_kib = kib;
            ended(vec![vec![heard]]).rss_peak_bytes
        };
        assert_eq!(peak(Some(64)), Reading::Value(65_536));
        assert_eq!(peak(None), Reading::Absent(Absence::Unsupported));
    }
}
