//! What the records of ended processes tell of a command's tree.
//!
//! A run watches its processes from their begin to their end, so nothing has to be inferred: what
//! an ended process did stands whole in its record and in those of its threads. Whose record it
//! is, is told by descent: who forked it, or whose child it was at its end. Daemons that were
//! handed to somebody else are found by who forked them.
//!
//! The trap: a process may end whose forker was born after the last look and lives on, so that
//! nobody knows it yet. Such a record waits until the next looks have shown who that was.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::exit::{ExitSource, Exits, ProcessExit, ROUNDED_TO_BYTES};
use crate::process::{Absence, ProcessKey, ProcessSample, ProcessState, Reading};
use crate::selector::{GroupKey, Resolution, Selector};
use crate::units::{IoCounter, IoDelta, IoTotals, Totals, UsageCounter, UsageDelta, UsageTotals};

/// So many looks later nobody is found any more to whom a record would belong.
const ROUNDS_WAITED: u32 = 2;

/// So many looks later nothing more is told of the CPU time that a process used after its record.
/// It is told within 50 ms of the end, which is a look, or several where they follow each other;
/// some of it is never told, and some ends use none.
const TAIL_ROUNDS_WAITED: u32 = 64;

/// No more processes than this are told apart; what is beyond is counted as lost.
const MEMBERS_MAX: usize = 1 << 20;

/// What is told of the tree below one process, which is not part of it.
#[derive(Debug)]
pub struct TreeRecords {
    root_pid: u32,
    source: ExitSource,
    is_interrupted: bool,
    members: HashSet<ProcessKey>,
    /// The last bearer of each PID among them.
    member_of_pid: HashMap<u32, ProcessKey>,
    /// Records of whom nobody knows yet whether they belong to the tree.
    waiting: Vec<Waiting>,
    /// What ended threads did of processes that have not ended, or not yet been placed.
    threads: HashMap<ProcessKey, ThreadSum>,
    programs: BTreeMap<Box<[u8]>, Program>,
    /// The programs of those whose last CPU time is told later.
    tails_expected: HashMap<ProcessKey, ExpectedTail>,
    /// The most memory that each had, of those that may still fork.
    peaks: HashMap<ProcessKey, u64>,
    inherited_rss_bytes: u64,
    /// Whose ends were told of since the look before.
    ended_now: HashSet<ProcessKey>,
    sum: Told,
}

/// What was told of all that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Processes.
    pub ended: u64,
    /// What their threads did themselves, and those that ended of living processes.
    pub io: IoTotals,
    /// CPU time, without what was used after each record was written, and faults.
    pub usage: UsageTotals,
    /// What those used for whom nobody waited, and those that they had waited for.
    pub unreaped_usage: UsageDelta,
    /// Voluntary and involuntary context switches of those for whom nobody waited.
    pub unreaped_switches: [u64; 2],
    /// How many of these there were.
    pub unreaped: u64,
    /// Records whose bytes are rounded down.
    pub rounded_records: u64,
    /// Threads known only as part of their parent's sum: in `io`, but in no program.
    pub spilled_records: u64,
    /// Records that never came.
    pub lost_records: u64,
    /// The most resident memory that one ever had that was told apart from what a process has
    /// of its forker; 0 where there was none.
    pub largest_rss_bytes: u64,
}

/// What one program's processes did themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// How many ended.
    pub ended: u64,
    /// Their I/O.
    pub io: IoTotals,
    /// Their CPU time and faults, as in [`Told::usage`].
    pub usage: UsageTotals,
    /// The most that one of them had resident; see [`Told::largest_rss_bytes`].
    pub largest_rss_bytes: u64,
}

/// A record that waits.
#[derive(Debug)]
struct Waiting {
    exit: ProcessExit,
    rounds: u32,
}

/// CPU time that is told of later.
#[derive(Debug)]
struct ExpectedTail {
    program: Box<[u8]>,
    rounds: u32,
}

/// What ended threads of one process did.
#[derive(Clone, Copy, Debug, Default)]
struct ThreadSum {
    io: IoTotals,
    records: u64,
}

impl TreeRecords {
    /// Of the tree below a process that itself had so much memory at most when it began the
    /// first of it: what it begins inherits that as its own largest.
    #[must_use]
    pub fn below(root_pid: u32, inherited_rss_bytes: u64) -> Self {
        TreeRecords {
            root_pid,
            source: ExitSource::Nobody,
            is_interrupted: false,
            members: HashSet::new(),
            member_of_pid: HashMap::new(),
            waiting: Vec::new(),
            threads: HashMap::new(),
            programs: BTreeMap::new(),
            tails_expected: HashMap::new(),
            peaks: HashMap::new(),
            inherited_rss_bytes,
            ended_now: HashSet::new(),
            sum: Told::default(),
        }
    }

    /// Begins when there is nothing yet below the root: what was told until now is of others.
    pub fn begin(&mut self, exits: &Exits) {
        self.source = exits.source;
    }

    /// Takes in one look: who of the tree was seen, and what was told since the one before.
    pub fn advance<'a>(
        &mut self,
        seen: impl Iterator<Item = &'a ProcessSample>,
        exits: &mut Exits,
    ) {
        self.is_interrupted |= exits.source != self.source;
        self.ended_now.clear();
        for process in seen {
            let rss_bytes = process.gauges.memory().value().map_or(0, |memory| memory.rss_bytes);
            self.see(process.key, rss_bytes);
        }
        self.sum.lost_records = self.sum.lost_records.saturating_add(exits.lost_records);
        for record in exits.threads.drain(..) {
            let sum = self.threads.entry(record.process).or_default();
            sum.io = sum.io.plus(record.io.as_delta());
            sum.records += 1;
        }
        self.waiting.iter_mut().for_each(|waiting| waiting.rounds += 1);
        let new = exits.processes.drain(..).map(|exit| Waiting { exit, rounds: 0 });
        self.waiting.extend(new);
        self.place_all();
        self.take_spills(exits);
        self.take_tails(exits);
    }

    /// Takes in that one of the tree was seen, with so much resident memory, between two looks.
    pub fn see(&mut self, process: ProcessKey, rss_bytes: u64) {
        self.admit(process);
        if self.peaks.len() < MEMBERS_MAX || self.peaks.contains_key(&process) {
            let peak = self.peaks.entry(process).or_default();
            *peak = rss_bytes.max(*peak);
        }
    }

    /// Who writes the records; nobody if that has changed on the way, so that some are missing.
    #[must_use]
    pub fn source(&self) -> ExitSource {
        if self.is_interrupted { ExitSource::Nobody } else { self.source }
    }

    /// What was told of all.
    #[must_use]
    pub fn told(&self) -> Told {
        let open = self.threads.iter().filter(|(key, _)| self.members.contains(key));
        let mut told = self.sum;
        for (_, threads) in open {
            told.io = told.io.plus(threads.io.as_delta());
            told.rounded_records += self.rounded(threads.records);
        }
        told
    }

    /// What ended threads of a living process did.
    #[must_use]
    pub fn ended_threads_of(&self, key: ProcessKey) -> IoDelta {
        self.threads.get(&key).map_or(IoDelta::ZERO, |threads| threads.io.as_delta())
    }

    /// What a process did, seen living at the last look, that is not told of by records: nothing
    /// where its end is by now. `None` where it could not be read.
    #[must_use]
    pub fn untold(&self, process: &ProcessSample) -> Option<IoDelta> {
        if process.state == ProcessState::Zombie || self.ended_now.contains(&process.key) {
            return Some(IoDelta::ZERO);
        }
        match (process.threads(), process.io.total()) {
            (Reading::Value(threads), _) => {
                let living = threads.iter().filter(|thread| !thread.has_exited);
                Some(living.fold(IoDelta::ZERO, |sum, thread| sum.plus(thread.total.as_delta())))
            }
            // It has no children, so that all is its own, ended threads' included.
            (Reading::Absent(Absence::NotRequested), Reading::Value(total)) => {
                let told = self.threads.get(&process.key).map_or(IoTotals::ZERO, |told| told.io);
                Some(total.since_clamped(told))
            }
            (Reading::Absent(_), _) => None,
        }
    }

    /// Whether the last CPU time of somebody for whom nobody waited is still to be told.
    #[must_use]
    pub fn awaits_times(&self) -> bool {
        !self.tails_expected.is_empty()
    }

    /// Whether, once nobody is left, everything has been told: there is an exact record of each that
    /// ended, so that whoever waits to be placed belongs to somebody else. A forker that was only
    /// added up for its parent would be missed by those that wait for its record.
    #[must_use]
    pub fn is_all_told(&self) -> bool {
        let Told { lost_records, spilled_records, .. } = self.sum;
        let is_each_told = lost_records == 0 && spilled_records == 0;
        self.source() == ExitSource::Exact && is_each_told && !self.awaits_times()
    }

    /// Programs of which a process ended, by name.
    pub fn programs(&self) -> impl Iterator<Item = (&[u8], &Program)> {
        self.programs.iter().map(|(name, program)| (&**name, program))
    }

    /// By how many bytes at most each of the I/O counters is too low.
    #[must_use]
    pub fn io_bound_bytes(&self) -> u64 {
        self.told().rounded_records.saturating_mul(ROUNDED_TO_BYTES - 1)
    }

    fn rounded(&self, records: u64) -> u64 {
        if self.source == ExitSource::Rounded { records } else { 0 }
    }

    fn admit(&mut self, key: ProcessKey) {
        if self.members.len() < MEMBERS_MAX {
            self.members.insert(key);
            self.member_of_pid.insert(key.pid, key);
        } else if !self.members.contains(&key) {
            self.sum.lost_records = self.sum.lost_records.saturating_add(1);
        }
    }

    /// Places what waits: forkers before those that they forked, so that in the end only those
    /// are left of whose forker nobody knows.
    fn place_all(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.sort_by_key(|waiting| waiting.exit.started_at);
        loop {
            let is_below = |waiting: &mut Waiting| self.is_below(&waiting.exit);
            let placed: Vec<Waiting> = waiting.extract_if(.., is_below).collect();
            placed.iter().for_each(|placed| self.place(&placed.exit));
            if placed.is_empty() {
                break;
            }
        }
        for given_up in waiting.extract_if(.., |waiting| waiting.rounds >= ROUNDS_WAITED) {
            self.threads.remove(&given_up.exit.key());
        }
        self.waiting = waiting;
    }

    /// Whether an ended process belongs to the tree, as far as is known.
    fn is_below(&mut self, exit: &ProcessExit) -> bool {
        let key = exit.key();
        let is_member = |key: ProcessKey| key.pid == self.root_pid || self.members.contains(&key);
        let is_below = self.members.contains(&key)
            || exit.sample.lineage.forked_by().is_some_and(is_member)
            || exit.parent.is_some_and(is_member)
            || exit.sample.parent_pid == self.root_pid
            // A parent that was out of sight is known by its PID alone.
            || exit.parent.is_none()
                && self
                    .member_of_pid
                    .get(&exit.sample.parent_pid)
                    .is_some_and(|parent| parent.start_time_ticks <= key.start_time_ticks);
        if is_below {
            self.admit(key);
        }
        is_below
    }

    fn place(&mut self, exit: &ProcessExit) {
        let key = exit.key();
        self.ended_now.insert(key);
        let threads = self.threads.remove(&key).unwrap_or_default();
        let rss_bytes = self.own_peak(exit);
        let rounded = self.rounded(threads.records);
        let own_usage = exit.sample.usage.own;
        let name = name_of(&exit.sample);
        let program = self.programs.entry(name.clone()).or_default();
        program.ended += 1;
        program.io = program.io.plus(threads.io.as_delta());
        program.usage = program.usage.plus(own_usage.as_delta());
        program.largest_rss_bytes = program.largest_rss_bytes.max(rss_bytes);
        let sum = &mut self.sum;
        sum.ended += 1;
        sum.io = sum.io.plus(threads.io.as_delta());
        sum.usage = sum.usage.plus(own_usage.as_delta());
        sum.rounded_records += rounded;
        sum.largest_rss_bytes = sum.largest_rss_bytes.max(rss_bytes);
        if exit.is_reaped_automatically {
            sum.unreaped += 1;
            let reaped = exit.sample.usage.reaped();
            let usage = sum.unreaped_usage.plus(own_usage.as_delta());
            sum.unreaped_usage = usage.plus(reaped.as_delta());
            if let Reading::Value(switches) = exit.sample.gauges.context_switches {
                let [voluntary, involuntary] = &mut sum.unreaped_switches;
                *voluntary = voluntary.saturating_add(switches.voluntary);
                *involuntary = involuntary.saturating_add(switches.involuntary);
            }
            self.expect_tail(key, name);
        }
    }

    /// The most that it had resident itself; 0 where that may be its forker's: an exec leaves a
    /// process the largest memory that it ever had, getrusage(2).
    fn own_peak(&mut self, exit: &ProcessExit) -> u64 {
        let peak = exit.rss_peak_bytes.value().copied().unwrap_or(0);
        let forker = exit.sample.lineage.forked_by().or(exit.parent);
        let inherited = match forker {
            Some(forker) if forker.pid != self.root_pid => self.peaks.get(&forker).copied(),
            _ => None,
        };
        let own = if peak > inherited.unwrap_or(self.inherited_rss_bytes) { peak } else { 0 };
        if self.peaks.len() < MEMBERS_MAX {
            let known = self.peaks.entry(exit.key()).or_default();
            *known = peak.max(*known);
        }
        own
    }

    fn take_spills(&mut self, exits: &mut Exits) {
        for spill in exits.spills.drain(..) {
            if spill.parent.pid == self.root_pid || self.members.contains(&spill.parent) {
                self.sum.spilled_records = self.sum.spilled_records.saturating_add(spill.threads);
                self.sum.io = self.sum.io.plus(spill.io.as_delta());
            }
        }
    }

    fn expect_tail(&mut self, key: ProcessKey, program: Box<[u8]>) {
        if self.tails_expected.len() < MEMBERS_MAX {
            self.tails_expected.insert(key, ExpectedTail { program, rounds: 0 });
        }
    }

    /// CPU time after the record, of those whose counters go to nobody.
    fn take_tails(&mut self, exits: &mut Exits) {
        for tail in exits.cpu_tails.drain(..) {
            let Some(expected) = self.tails_expected.remove(&tail.key) else { continue };
            let mut usage = UsageDelta::ZERO;
            usage.0[UsageCounter::CpuSystemNs as usize] = tail.cpu_ns;
            self.sum.usage = self.sum.usage.plus(usage);
            self.sum.unreaped_usage = self.sum.unreaped_usage.plus(usage);
            if let Some(program) = self.programs.get_mut(&expected.program) {
                program.usage = program.usage.plus(usage);
            }
        }
        self.tails_expected.retain(|_, expected| {
            expected.rounds += 1;
            expected.rounds <= TAIL_ROUNDS_WAITED
        });
    }
}

/// The program that a process ran, as [`GroupKey::Name`] names it.
#[must_use]
pub fn name_of(process: &ProcessSample) -> Box<[u8]> {
    let name = GroupKey::Name.value_of(process, &Selector::default(), &Resolution::default());
    name.unwrap_or_else(|| process.identity.comm.clone())
}

/// Whether two ways of counting the same processes agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// There was only one.
    NotCompared,
    /// They do, as far as the records tell.
    Same,
    /// They do, but for what process accounting wrote in the name of so many ended processes.
    Charged(u64),
    /// They do not: by so much the larger exceeds the smaller, counter by counter.
    Differs(IoDelta),
}

/// Compares what came with waiting with what records tell of the same processes, of which so many
/// ended, and of whose bytes so many may be missing in each counter.
#[must_use]
pub fn agreement(waited: IoTotals, recorded: IoTotals, ended: u64, bound_bytes: u64) -> Agreement {
    let difference = Totals(std::array::from_fn(|i| waited.0[i].abs_diff(recorded.0[i])));
    let is_same = |i: usize| match bound_bytes {
        0 => difference.0[i] == 0,
        // Rounded records say nothing of the numbers of calls.
        _ if CALLS.contains(&i) => true,
        bound => recorded.0[i] <= waited.0[i] && difference.0[i] <= bound,
    };
    if (0..difference.0.len()).all(is_same) {
        return Agreement::Same;
    }
    let charged = waited.since(recorded).and_then(charged_processes);
    match charged.filter(|charged| *charged <= ended) {
        Some(charged) => Agreement::Charged(charged),
        None => Agreement::Differs(difference.as_delta()),
    }
}

/// For how many processes process accounting, acct(5), has written just that: each writes its own
/// entry, in one call, after its record. The entry may begin a new page of the file, and that
/// another block of the filesystem's. `acct_write_process` of the kernel's `kernel/acct.c`;
/// live_process_accounting of mpp-load shows it.
fn charged_processes(difference: IoDelta) -> Option<u64> {
    const ENTRY_BYTES: u64 = 64;
    const BLOCKS_BYTES_MAX: u64 = 128 << 10;
    let charged = difference[IoCounter::WriteCount];
    let mut rest = difference;
    for counter in [IoCounter::WriteChars, IoCounter::WriteCount, IoCounter::WriteBytes] {
        rest.0[counter as usize] = 0;
    }
    let is_charge = rest.is_zero()
        && difference[IoCounter::WriteChars] == charged.saturating_mul(ENTRY_BYTES)
        && difference[IoCounter::WriteBytes] <= charged.saturating_mul(BLOCKS_BYTES_MAX);
    (is_charge && charged > 0).then_some(charged)
}

/// Counters of calls, which rounded records do not tell.
const CALLS: [usize; 2] = [IoCounter::ReadCount as usize, IoCounter::WriteCount as usize];

#[cfg(test)]
mod tests;
