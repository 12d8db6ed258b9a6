//! Whose record it is: of all that bore a PID, the one that ended.
//!
//! A record names its process by PID, and says for how long the thread lived. Two traps, where
//! PIDs come round within an interval. Records come sorted by CPU, so that of two bearers of a
//! PID the later one may be told of first. And whoever is a zombie had its record before: one
//! that comes now is another bearer's, although nobody ever saw that one.

use std::collections::{HashMap, HashSet};

use mpp_accounting::process::{ProcessKey, ProcessState};
use mpp_accounting::slack::Slack;
use mpp_accounting::units::BootTime;
use mpp_parse::proc_pid_stat;

use super::{Heard, Moment};
use crate::exits::Population;
use crate::proc_fs::{Name, Room};

/// By how much the two clocks of a start may differ: a start is told in ticks, a life in
/// microseconds.
const START_SLACK_NS: u64 = 20_000_000;

/// The bearers of PIDs, as far as records have told of them.
#[derive(Debug, Default)]
pub(super) struct Bearers {
    /// Those whose last record came with an earlier sweep, and that may still be seen.
    done: HashSet<ProcessKey>,
    /// By PID, those of this interval that nobody saw: the last one.
    unseen: HashMap<u32, ProcessKey>,
    /// By PID, those that nobody had seen in the interval before either, though threads of theirs
    /// had ended. They began behind that sweep: this one sees them, or the records of their ends
    /// are here.
    begun: HashMap<u32, ProcessKey>,
    /// The records of those threads.
    earlier: HashMap<ProcessKey, Vec<Heard>>,
    /// Those whose only record came in this interval.
    alone: HashSet<ProcessKey>,
    slack_of_done: Slack,
    slack_of_alone: Slack,
    room: Room,
}

impl Bearers {
    /// Joins the records of an interval to their processes, in the order in which they came.
    pub(super) fn join(
        &mut self,
        heard: Vec<Heard>,
        population: &Population<'_>,
    ) -> Vec<(ProcessKey, Heard)> {
        self.unseen.clear();
        self.alone.clear();
        // A PID is borne again only after its bearer has ended, and of several threads the first
        // to begin tells best when their process did.
        let mut order: Vec<usize> = (0..heard.len()).collect();
        order.sort_unstable_by_key(|position| {
            let heard = &heard[*position];
            (!heard.is_alone(), heard.began(), *position)
        });
        let mut keys = vec![None; heard.len()];
        for position in order {
            let heard = &heard[position];
            keys[position] = Some(match heard.is_alone() {
                true => self.of_only_thread(heard, population),
                false => self.of_thread(heard, population),
            });
        }
        keys.into_iter().flatten().zip(heard).collect()
    }

    /// The process that bore a PID and that no sweep saw, if there was one in this interval.
    pub(super) fn unseen(&self, pid: u32) -> Option<ProcessKey> {
        self.unseen.get(&pid).copied()
    }

    /// The records of the interval before of a process that no sweep has seen.
    pub(super) fn earlier(&self, process: ProcessKey) -> &[Heard] {
        self.earlier.get(&process).map_or(&[], Vec::as_slice)
    }

    /// Remembers the records of those that have not ended and that no sweep has seen, once
    /// [`settle`](Bearers::settle) has found out who these are.
    pub(super) fn remember_begun(&mut self, joined: &[(ProcessKey, Heard)]) {
        self.earlier.clear();
        for (process, heard) in joined {
            if self.begun.get(&process.pid) == Some(process) {
                self.earlier.entry(*process).or_default().push(heard.clone());
            }
        }
    }

    /// Takes account of who has ended by now: those that were `told`, and zombies, whose records
    /// are older than they are. Who is not known any more is forgotten.
    pub(super) fn settle(
        &mut self,
        told: impl Iterator<Item = ProcessKey>,
        population: &Population<'_>,
    ) {
        let is_seen =
            |key: &ProcessKey| population.sample(key.pid).is_some_and(|seen| seen.key == *key);
        self.slack_of_alone.give_back_set(&mut self.alone);
        self.slack_of_done.give_back_set(&mut self.done);
        self.done.retain(is_seen);
        let mut begun = std::mem::take(&mut self.unseen);
        begun.retain(|_, key| !self.alone.contains(key));
        for key in told {
            begun.remove(&key.pid);
            if is_seen(&key) {
                self.done.insert(key);
            }
        }
        self.begun = begun;
        let zombies = population.processes.iter().filter(|p| p.state == ProcessState::Zombie);
        self.done.extend(zombies.map(|zombie| zombie.key));
    }

    /// Whose only thread it was.
    fn of_only_thread(&mut self, heard: &Heard, population: &Population<'_>) -> ProcessKey {
        if let Some(key) = self.known(heard, population) {
            self.alone.insert(key);
            return key;
        }
        let mut key = self.unseen_key(heard, population);
        while !self.alone.insert(key) {
            key.start_time_ticks += 1;
        }
        self.unseen.insert(key.pid, key);
        key
    }

    /// Whose thread it was, of a process that had several.
    fn of_thread(&mut self, heard: &Heard, population: &Population<'_>) -> ProcessKey {
        if let Some(key) = self.known(heard, population) {
            return key;
        }
        let pid = heard.pid();
        if let Some(key) = self.unseen.get(&pid).filter(|key| !self.alone.contains(*key)) {
            return *key;
        }
        let mut key = self.unseen_key(heard, population);
        while self.alone.contains(&key) {
            key.start_time_ticks += 1;
        }
        self.unseen.insert(pid, key);
        key
    }

    /// The last of those that are known under the PID and that were there when the thread began.
    fn known(&self, heard: &Heard, population: &Population<'_>) -> Option<ProcessKey> {
        let pid = heard.pid();
        let began_by = population.origin.scale.ticks_at(began_by(heard));
        let current = population.known.get(pid).map(|known| known.key);
        let current = current.filter(|_| !is_surely_another(heard, pid, population));
        let former = population.replaced.iter().copied().filter(|key| key.pid == pid);
        // A thread's record may come after that of the last one, but no process has two last ones.
        let is_done = |key: &ProcessKey| heard.is_alone() && self.done.contains(key);
        let may_be = |key: &ProcessKey| {
            key.start_time_ticks <= began_by && !self.alone.contains(key) && !is_done(key)
        };
        // Threads of theirs have ended before, so that none is an only one. Where that one's life
        // was all that told when they began, they may have begun long before.
        let begun = self.begun.get(&pid).copied();
        let begun = begun.filter(|key| !heard.is_alone() && !self.alone.contains(key));
        let bearers = current.into_iter().chain(former).filter(may_be).chain(begun);
        bearers.max_by_key(|key| key.start_time_ticks)
    }

    /// As procfs still tells it, else as the life of the thread does.
    fn unseen_key(&mut self, heard: &Heard, population: &Population<'_>) -> ProcessKey {
        let pid = heard.pid();
        let scale = population.origin.scale;
        let listed = match heard.moment {
            Moment::AfterSweep => listed_start(pid, population, &mut self.room),
            Moment::BeforeSweep => None,
        };
        let listed = listed.filter(|listed| *listed <= scale.ticks_at(began_by(heard)));
        let began = scale.ticks_at(heard.began());
        // Nobody saw it, so it began after the sweep before, or shortly before that and could not
        // be seen yet. If it is older it was out of sight, and the ledger has to know.
        let swept = population.previous_sweep_ticks;
        let is_older = began.saturating_add(scale.ticks_per_second()) < swept;
        let start_time_ticks = if is_older { began } else { began.max(swept) };
        ProcessKey { pid, start_time_ticks: listed.unwrap_or(start_time_ticks) }
    }
}

/// When a thread began, at the latest, by the clock of processes' starts.
fn began_by(heard: &Heard) -> BootTime {
    BootTime { ns: heard.began().ns.saturating_add(START_SLACK_NS) }
}

/// When the process started that bears a PID now.
pub(in crate::exits) fn listed_start(
    pid: u32,
    population: &Population<'_>,
    room: &mut Room,
) -> Option<u64> {
    let name = Name::in_process(pid, "stat");
    let text = room.read_lines(&population.origin.root, name.as_c_str(), 1).ok()?;
    proc_pid_stat::parse(text).ok().map(|stat| stat.start_time_ticks)
}

/// Whether the bearer of the PID outlived what the record tells of. The live test is
/// `children_that_take_long_to_end_are_told_of_once`.
fn is_surely_another(heard: &Heard, pid: u32, population: &Population<'_>) -> bool {
    heard.moment == Moment::BeforeSweep
        && heard.record.is_last_thread == Some(true)
        && population.known.get(pid).is_some_and(|known| !known.is_exiting)
        && population.sample(pid).is_some_and(|sample| sample.state == ProcessState::Living)
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use mpp_accounting::process::{
        Absence, Gauges, Identity, Lineage, ProcessIo, ProcessSample, Usage,
    };

    use super::*;
    use crate::identity::{Known, named, roster::Roster};
    use crate::origin::Origin;
    use crate::taskstats::{DelayAccounting, Delays, ProcessAccount, ThreadExitRecord, ThreadIo};

    const PID: u32 = 4_000_000;
    pub(in super::super) const SECOND_US: u64 = 1_000_000;
    /// When the records were read, and in which tick that was.
    const AT: BootTime = BootTime { ns: 1_000_000_000_000 };
    const AT_TICKS: u64 = 100_000;
    /// A second before.
    const SWEPT_TICKS: u64 = AT_TICKS - 100;

    /// The record of an only thread that lived for so long.
    pub(in super::super) fn only_thread(elapsed_us: u64, moment: Moment) -> Heard {
        let none = ThreadIo {
            read_char_bytes: 0,
            write_char_bytes: 0,
            read_bytes: 0,
            write_bytes: 0,
            cancelled_write_bytes: 0,
        };
        let record = ThreadExitRecord {
            tid: PID,
            tgid: Some(PID),
            parent_pid: 1,
            uid: 0,
            comm: [0; 32],
            started_at_unix_seconds: 0,
            elapsed_us,
            exit_status: 0,
            is_last_thread: Some(true),
            io: none,
            minor_faults: 0,
            major_faults: 0,
            cpu_user_us: 0,
            cpu_system_us: 0,
            cpu_run_ns: None,
            voluntary_switches: 0,
            involuntary_switches: 0,
            delays: Delays::default(),
            peak_rss_kib: None,
            executable: None,
            process: None,
        };
        Heard { record, at: AT, moment }
    }

    /// What the last two sweeps saw under the PID.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Seen {
        /// Only the one before, as this.
        Before(ProcessState),
        /// Only this one, alive.
        Living,
        /// Only this one, alive as far as one could see, but on its way out.
        Exiting,
    }

    /// The kernel's sum of a process's threads, which did nothing.
    pub(in super::super) fn process_account(tgid: u32) -> ProcessAccount {
        ProcessAccount {
            tgid,
            cpu_user_us: 0,
            cpu_system_us: 0,
            cpu_run_ns: 0,
            elapsed_us: 0,
            voluntary_switches: 0,
            involuntary_switches: 0,
            delays: Delays::default(),
        }
    }

    /// A sweep, a second after another, that saw nobody.
    pub(in super::super) fn at_rest<'a>(origin: &'a Origin, known: &'a Roster) -> Population<'a> {
        Population {
            origin,
            known,
            replaced: &[],
            processes: &[],
            previous_sweep_ticks: SWEPT_TICKS,
            sweep_ticks: AT_TICKS,
            delays: DelayAccounting::Unsupported,
        }
    }

    fn identity() -> Identity {
        named(Box::from(*b"program"), 0, Absence::Vanished)
    }

    fn sample(key: ProcessKey, state: ProcessState) -> ProcessSample {
        let absent = Absence::NotRequested;
        ProcessSample {
            key,
            parent_pid: 1,
            lineage: Lineage::default(),
            state,
            identity: Arc::new(identity()),
            read_at: AT,
            usage: Usage::default(),
            io: ProcessIo::absent(absent),
            gauges: Gauges::absent(absent),
        }
    }

    /// Tells which of these records are those of the process that a sweep saw and that began so
    /// many ticks before they were read.
    fn check(seen: Seen, began_ticks: u64, heard: Vec<Heard>, expected: &[bool]) {
        let key = ProcessKey { pid: PID, start_time_ticks: AT_TICKS - began_ticks };
        let mut origin = Origin::open(Path::new("/proc"), &mut Room::default()).unwrap();
        origin.scale = crate::scale::Scale::new(100, 4096).unwrap();
        let mut known = Roster::default();
        let mut bearer = Known::untold(key, 1, identity());
        bearer.is_exiting = seen != Seen::Living;
        known.insert(bearer);
        let mut population = at_rest(&origin, &known);
        let mut bearers = Bearers::default();
        let state = match seen {
            Seen::Before(state) => state,
            Seen::Living | Seen::Exiting => ProcessState::Living,
        };
        let processes = [sample(key, state)];
        match seen {
            Seen::Before(_) => {
                population.processes = &processes;
                bearers.settle(std::iter::empty(), &population);
                population.processes = &[];
            }
            Seen::Living | Seen::Exiting => population.processes = &processes,
        }
        let joined = bearers.join(heard, &population);
        let found: Vec<bool> = joined.iter().map(|(found, _)| *found == key).collect();
        assert_eq!(found, expected, "{seen:?}: {joined:?}");
        let keys: HashSet<ProcessKey> = joined.iter().map(|(key, _)| *key).collect();
        assert_eq!(keys.len(), joined.len(), "each is another one");
    }

    #[test]
    fn a_record_read_before_the_sweep_is_that_of_the_process_on_its_way_out() {
        let heard = || vec![only_thread(SECOND_US, Moment::BeforeSweep)];
        check(Seen::Exiting, 101, heard(), &[true]);
        check(Seen::Living, 101, heard(), &[false]);
        check(Seen::Living, 101, vec![only_thread(SECOND_US, Moment::AfterSweep)], &[true]);
    }

    #[test]
    fn of_two_bearers_of_a_pid_the_one_that_lived_longer_is_the_one_that_was_seen() {
        let seen = Seen::Before(ProcessState::Living);
        let short = || only_thread(2000, Moment::BeforeSweep);
        let long = || only_thread(3 * SECOND_US, Moment::BeforeSweep);
        check(seen, 310, vec![long(), short()], &[true, false]);
        check(seen, 310, vec![short(), long()], &[false, true]);
    }

    /// A process that no sweep sees loses a thread, which lived for so long, in one interval and
    /// ends in the next, so much later, two seconds old.
    fn check_end_of_unseen(thread_us: u64, later_us: u64) {
        let mut origin = Origin::open(Path::new("/proc"), &mut Room::default()).unwrap();
        origin.scale = crate::scale::Scale::new(100, 4096).unwrap();
        let roster = Roster::default();
        let population = Population { previous_sweep_ticks: 0, ..at_rest(&origin, &roster) };
        let mut bearers = Bearers::default();
        let mut thread = only_thread(thread_us, Moment::AfterSweep);
        thread.record.tid = PID + 1;
        thread.record.is_last_thread = Some(false);
        let mut last = only_thread(2 * SECOND_US, Moment::BeforeSweep);
        last.at.ns += later_us * 1000;
        last.record.process = Some(process_account(PID));
        let first = bearers.join(vec![thread], &population)[0].0;
        bearers.settle(std::iter::empty(), &population);
        assert_eq!(bearers.join(vec![last.clone()], &population)[0].0, first);
        bearers.settle(std::iter::once(first), &population);
        last.at.ns += 5_000_000_000;
        assert_ne!(bearers.join(vec![last], &population)[0].0, first, "it has ended");
    }

    #[test]
    fn the_end_of_a_process_that_nobody_saw_is_that_of_its_threads_process() {
        check_end_of_unseen(SECOND_US, SECOND_US * 3 / 2);
    }

    #[test]
    fn a_thread_that_began_long_after_its_process_is_of_the_same_one() {
        check_end_of_unseen(1000, SECOND_US / 2);
    }

    #[test]
    fn a_record_that_comes_after_a_zombie_was_seen_is_another_processs() {
        let short = || vec![only_thread(2000, Moment::BeforeSweep)];
        check(Seen::Before(ProcessState::Zombie), 310, short(), &[false]);
        check(Seen::Before(ProcessState::Living), 310, short(), &[true]);
    }

    /// Tells when the processes of these records began, of which no sweep saw any.
    fn starts(heard: Vec<Heard>) -> Vec<u64> {
        let mut origin = Origin::open(Path::new("/proc"), &mut Room::default()).unwrap();
        origin.scale = crate::scale::Scale::new(100, 4096).unwrap();
        let roster = Roster::default();
        let joined = Bearers::default().join(heard, &at_rest(&origin, &roster));
        joined.iter().map(|(key, _)| key.start_time_ticks).collect()
    }

    #[test]
    fn a_process_that_was_out_of_sight_began_when_it_began() {
        let start = |elapsed_us| starts(vec![only_thread(elapsed_us, Moment::BeforeSweep)])[0];
        assert_eq!(start(900 * SECOND_US), AT_TICKS - 90_000);
        assert_eq!(start(3 * SECOND_US), AT_TICKS - 300);
        // So short a time before the sweep it may have been there and not to be seen.
        assert_eq!(start(3 * SECOND_US / 2), SWEPT_TICKS);
        assert_eq!(start(SECOND_US / 2), AT_TICKS - 50);
    }

    #[test]
    fn a_process_that_was_out_of_sight_is_as_old_as_the_oldest_of_its_threads() {
        let young = || {
            let mut heard = only_thread(1000, Moment::BeforeSweep);
            heard.record.tid = PID + 1;
            heard.record.is_last_thread = Some(false);
            heard
        };
        let old = || {
            let mut heard = only_thread(900 * SECOND_US, Moment::BeforeSweep);
            heard.record.process = Some(process_account(PID));
            heard
        };
        assert_eq!(starts(vec![young(), old()]), [AT_TICKS - 90_000; 2]);
        assert_eq!(starts(vec![old(), young()]), [AT_TICKS - 90_000; 2]);
    }
}
