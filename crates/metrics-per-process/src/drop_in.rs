//! The five functions that a Python library made known, by their own names.
//!
//! Keys, types and zeros are as people know them, with one defect cured: the rates of
//! I/O and CPU time do not jump when children end, since they are the ledger's.
//!
//! A condition that is not given, because its list is empty, matches anything. So an empty
//! list that a program computed selects the whole machine: check it before the call.

mod kept;

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mpp_accounting::group::residual_owner;
use mpp_accounting::ledger::{Ledger, Movement};
use mpp_accounting::metric::{METRICS, Metric, MetricId, Need, NumberType};
use mpp_accounting::process::{
    Absence, ContextSwitches, Identity, IdentityNeeds, Memory, ProcessKey, ProcessSample, Reading,
    Socket, SocketKind, TcpState,
};
use mpp_accounting::rate;
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::{IoCounter, IoDelta, UsageCounter, UsageDelta};
use mpp_collect::exits::ExitRoom;
use mpp_collect::users::{Lookup, UserNames};
use mpp_collect::{
    Collector, CollectorOptions, ContextSwitchNeeds, IdentityWait, Measures, Needs, Part, Question,
    Seen, Step,
};

use self::kept::{Interest, IsOfInterest, Programs, tab};
use crate::error::Error;

/// From so many processes on they are read by programs in the kernel, where we may load them:
/// that costs some 20 ms for the first call, and each process then 2 microseconds instead of 30.
const PROGRAMS_PAY: u64 = 1000;

/// From so many on that pays for the name and user of each alone, which one file tells.
const PROGRAMS_PAY_FOR_NAMES: u64 = 5000;

/// Below so many, calls that are repeated read files for ever: it takes less than a tenth of a
/// millisecond for each hundred.
const REPEATS_PAY: u64 = 500;

/// Reading an environment beside a sweep of programs, so that it is remembered, costs so many
/// times what it costs to look at it by files.
const REMEMBERING_COSTS: u64 = 8;

/// Whoever asks for a smaller part of all processes has only those read.
const PART_MIN: u64 = 4;

/// Bytes for the ends between two readings, some 10,000; of more, the sums stay right.
const EXIT_RING_BYTES: u32 = 4 << 20;

/// How long to wait for environments at most.
const WAIT: Duration = Duration::from_secs(5);

/// Through how many ancestors an environment is followed that was written over in each.
const GENERATIONS_MAX: usize = 16;

/// What the sums are keyed by: a dotted name, `memory.rss` or `memory.rss_per_sec`.
pub type Stats = BTreeMap<String, StatValue>;

/// One value of the five functions.
#[derive(Clone, Debug, PartialEq)]
pub enum StatValue {
    /// Bytes and counts.
    Integer(u64),
    /// Seconds, percentages and rates.
    Float(f64),
    /// `fetch_time`: seconds with five decimals, as text.
    Text(String),
}

impl StatValue {
    /// As a number; text is none.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            StatValue::Integer(value) => Some(*value as f64),
            StatValue::Float(value) => Some(*value),
            StatValue::Text(_) => None,
        }
    }

    fn plus(self, other: StatValue) -> StatValue {
        match (self, other) {
            (StatValue::Integer(a), StatValue::Integer(b)) => {
                StatValue::Integer(a.saturating_add(b))
            }
            (a, b) => {
                StatValue::Float(a.as_f64().unwrap_or_default() + b.as_f64().unwrap_or_default())
            }
        }
    }

    fn is_positive(&self) -> bool {
        self.as_f64().is_none_or(|value| value > 0.0)
    }
}

impl fmt::Display for StatValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StatValue::Integer(value) => write!(f, "{value}"),
            StatValue::Float(value) => write!(f, "{value}"),
            StatValue::Text(text) => f.write_str(text),
        }
    }
}

/// Which processes. Conditions of different kinds must all hold; of the values of one kind
/// any may, but for the environment, of which every entry must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Command names, compared with the kernel's whole: one over 15 bytes never matches.
    pub process_names: Vec<Vec<u8>>,
    /// Effective users, by name. One that does not exist matches nobody.
    pub users: Vec<Vec<u8>>,
    /// Variables with their whole value, or `None` for one that must not be there. A process
    /// whose environment cannot be read does not match.
    pub process_env: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// How [`get_processes_stats_ex`] measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatsOptions {
    /// Time between the two readings; zero for a single reading without rates.
    pub interval: Duration,
    /// Which keys are kept although they are 0.
    pub zeros: Zeros,
    /// Whether to count sockets, which takes longer.
    pub connections: Connections,
}

impl Default for StatsOptions {
    fn default() -> Self {
        StatsOptions {
            interval: Duration::from_secs(1),
            zeros: Zeros::Dropped,
            connections: Connections::Counted,
        }
    }
}

/// Which keys are kept although they are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// None.
    Dropped,
    /// The ones that dashboards cannot do without: processes, threads, descriptors, CPU,
    /// memory and I/O, with the rates of I/O.
    KeptWhereImportant,
}

/// Whether to count sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connections {
    /// Yes.
    Counted,
    /// No: their keys are missing.
    LeftOut,
}

/// The PIDs of the processes that match, ascending.
///
/// ```
/// use metrics_per_process::drop_in::{Selection, find_pids};
///
/// let selection = Selection { process_names: vec![b"no such program".to_vec()], ..Selection::default() };
/// assert_eq!(find_pids(&selection)?, []);
/// # Ok::<(), metrics_per_process::Error>(())
/// ```
///
/// # Errors
/// The processes cannot be listed at all.
pub fn find_pids(selection: &Selection) -> Result<Vec<u32>, Error> {
    let filter = Filter::new(selection);
    let mut session = Session::open(selection.identity_needs(), Measures::default())?;
    if let Some(found) = session.sweep_to_find(&filter) {
        let matching = found.processes.iter().filter(|process| filter.matches(process));
        return Ok(matching.map(|process| process.key.pid).collect());
    }
    if !selection.process_env.is_empty() {
        return session.pids_with_environment(&filter);
    }
    Ok(session.collector.pids_where(|candidate| {
        let has_name = selection.process_names.is_empty()
            || candidate.has_name(|comm| is_one_of(&selection.process_names, comm));
        has_name
            && (selection.users.is_empty()
                || candidate.uid().is_some_and(|uid| filter.matches_user(uid)))
    })?)
}

/// The PIDs of the processes with this command name, ascending.
///
/// ```
/// assert_eq!(metrics_per_process::find_pids_from_name("no such program")?, []);
/// # Ok::<(), metrics_per_process::Error>(())
/// ```
///
/// # Errors
/// The processes cannot be listed at all.
pub fn find_pids_from_name(name: impl AsRef<[u8]>) -> Result<Vec<u32>, Error> {
    find_pids(&Selection { process_names: vec![name.as_ref().to_vec()], ..Selection::default() })
}

/// Everything of one process, zeros kept; empty where there is no such process.
///
/// What cannot be read is left out.
///
/// ```
/// let stats = metrics_per_process::stats_per_pid(std::process::id())?;
/// assert!(stats["memory.rss"].as_f64() > Some(0.0));
/// assert!(metrics_per_process::stats_per_pid(0)?.is_empty());
/// # Ok::<(), metrics_per_process::Error>(())
/// ```
///
/// # Errors
/// The procfs cannot be read at all.
pub fn stats_per_pid(pid: u32) -> Result<Stats, Error> {
    let mut session = Session::open(IdentityNeeds::default(), measures(Connections::Counted))?;
    let samples = session.read(&[pid])?;
    let Some(process) = samples.into_iter().flatten().next() else { return Ok(Stats::new()) };
    let stats = stats_of(&process, session.collector.memory_total_bytes());
    Ok(stats.into_iter().map(|(metric, value)| (key_of(metric), value)).collect())
}

/// The sums over several processes, without what sums to 0, and `total_processes`.
///
/// A PID given twice counts twice; one that no process bears does not count.
///
/// ```
/// use metrics_per_process::drop_in::StatValue;
///
/// let myself = std::process::id();
/// let sums = metrics_per_process::multi_pid_process_stats(&[myself, myself])?;
/// assert_eq!(sums["total_processes"], StatValue::Integer(2));
/// # Ok::<(), metrics_per_process::Error>(())
/// ```
///
/// # Errors
/// The procfs cannot be read at all.
pub fn multi_pid_process_stats(pids: &[u32]) -> Result<Stats, Error> {
    let mut session = Session::open(IdentityNeeds::default(), measures(Connections::Counted))?;
    let memory_total_bytes = session.collector.memory_total_bytes();
    let mut sums = Sums::default();
    if let Some(all) = session.sweep_for(pids) {
        for process in pids.iter().filter_map(|pid| all.by_pid(*pid)) {
            sums.add_process(process, memory_total_bytes);
        }
    } else {
        for process in session.read(pids)?.iter().flatten() {
            sums.add_process(process, memory_total_bytes);
        }
    }
    Ok(sums.finish(Zeros::Dropped, Rates::Unknown))
}

/// Finds processes, reads them, waits, and reads them again: the sums of the second
/// reading, and the growth of every key by the second.
///
/// A process that ended in between is not in the sums. The rates of I/O and CPU time are
/// the ledger's: what survivors did themselves, what members that ended did since the first
/// reading, and all that members born meanwhile did.
///
/// From a thousand processes on, kernel threads included, they are read by programs in the
/// kernel, where we may load them (`CAP_BPF` and `CAP_PERFMON`, or root) and no environment is
/// asked for. Those who began and ended between the readings are then told of, too.
///
/// ```
/// use metrics_per_process::drop_in::{Connections, Selection, StatsOptions};
/// use std::time::Duration;
///
/// let everything = Selection::default();
/// let options = StatsOptions {
///     interval: Duration::from_millis(50),
///     connections: Connections::LeftOut,
///     ..StatsOptions::default()
/// };
/// let sums = metrics_per_process::get_processes_stats_ex(&everything, &options)?;
/// assert!(sums["memory.rss"].as_f64() > Some(0.0));
/// assert!(sums.contains_key("fetch_time"));
/// # Ok::<(), metrics_per_process::Error>(())
/// ```
///
/// # Errors
/// The processes cannot be listed at all.
pub fn get_processes_stats_ex(
    selection: &Selection,
    options: &StatsOptions,
) -> Result<Stats, Error> {
    get_processes_stats_ex_waiting(selection, options, |interval| {
        std::thread::sleep(interval);
        Ok(())
    })
}

/// [`get_processes_stats_ex`] with another way to wait, which may give up.
///
/// # Errors
/// The processes cannot be listed at all, or the wait's own error.
pub fn get_processes_stats_ex_waiting<E: From<Error>>(
    selection: &Selection,
    options: &StatsOptions,
    wait: impl FnOnce(Duration) -> Result<(), E>,
) -> Result<Stats, E> {
    let began = Instant::now();
    let filter = Filter::new(selection);
    let mut session = Session::open(selection.identity_needs(), measures(options.connections))?;
    session.load_programs(PROGRAMS_PAY);
    let first = session.sweep(&filter, Members::default())?;
    let mut sums = Sums::default();
    let rates = if options.interval.is_zero() {
        for process in first.processes.iter().filter(|process| filter.matches(process)) {
            sums.add_process(process, first.host.memory_total_bytes);
        }
        Rates::Unknown
    } else {
        let mut ledger = Ledger::new();
        ledger.advance(&first);
        wait(options.interval)?;
        let members = filter.members(&first);
        let second = session.sweep(&filter, members.clone())?;
        let movement = ledger.advance(&second);
        sums.add_interval(&filter, &members, &first, &second, &movement);
        Rates::Measured
    };
    let mut stats = sums.finish(options.zeros, rates);
    let fetch_time = format!("{:.5}", began.elapsed().as_secs_f64());
    stats.insert(FETCH_TIME.to_owned(), StatValue::Text(fetch_time));
    Ok(stats)
}

const FETCH_TIME: &str = "fetch_time";

/// Whether there are rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rates {
    Measured,
    Unknown,
}

/// The keys that [`Zeros::KeptWhereImportant`] keeps, beside the rates of the four I/O keys.
const IMPORTANT: [MetricId; 13] = [
    MetricId::ProcessesTotal,
    MetricId::Threads,
    MetricId::Fds,
    MetricId::CpuUser,
    MetricId::CpuSystem,
    MetricId::CpuPercent,
    MetricId::MemoryRss,
    MetricId::MemoryVms,
    MetricId::MemoryPercent,
    MetricId::IoReadCount,
    MetricId::IoWriteCount,
    MetricId::IoReadBytes,
    MetricId::IoWriteBytes,
];

/// The metrics whose rates are the ledger's.
const OF_THE_LEDGER: [MetricId; 6] = [
    MetricId::CpuUser,
    MetricId::CpuSystem,
    MetricId::IoReadCount,
    MetricId::IoWriteCount,
    MetricId::IoReadBytes,
    MetricId::IoWriteBytes,
];

/// A collector and what it is asked for, for the length of one call.
///
/// No descriptor of this process outlives it: a program that closes all it has, as services do
/// when they start, would find the next call reading from whatever got the number.
struct Session {
    collector: Collector,
    needs: Needs,
    /// Who sweeps instead of the collector, where that costs less.
    programs: Option<Programs>,
}

impl Session {
    fn open(identity: IdentityNeeds, measures: Measures) -> Result<Self, Error> {
        let collector = Collector::open(CollectorOptions::default())?;
        Ok(Session { collector, needs: Needs { identity, measures }, programs: None })
    }

    /// Where there are so many processes, has them read by programs in the kernel. A process's
    /// environment has to be read as ever, so that nothing is won where it is asked for.
    fn load_programs(&mut self, processes: u64) {
        let asks_environment = !self.needs.identity.environment_keys.is_empty();
        if asks_environment || self.collector.processes_about() < processes {
            return;
        }
        self.programs = Programs::load(exit_room()).ok();
    }

    /// Reads all processes; what they hold only of those that may match, or did before. Where the
    /// thread of the programs has ended, this and all later readings are made by files.
    fn sweep(&mut self, filter: &Filter, former: Members) -> Result<Arc<Snapshot>, Error> {
        let matching = filter.clone();
        let may_match: Arc<IsOfInterest> = Arc::new(move |key, identity| {
            matching.matches_by_name_and_user(identity) || former.contains(key)
        });
        if let Some(programs) = &self.programs {
            // Whoever matched before and does not match any more has run since.
            let (is_of_interest, filter) = (Arc::clone(&may_match), Some(filter.clone()));
            let interest = Interest { is_of_interest, filter };
            match programs.sweep(&self.needs, interest, self.wait()) {
                Err(Error::MeterGone) => self.programs = None,
                outcome => return outcome,
            }
        }
        let mut snapshot = Snapshot::default();
        let wait = self.wait();
        self.collector.sweep_of_interest(&self.needs, &*may_match, wait, &mut snapshot)?;
        Ok(Arc::new(snapshot))
    }

    /// One reading of all processes by programs in the kernel, where these are loaded or there are
    /// so many processes that it pays. `None` where it does not, or they cannot be had.
    fn sweep_once(&self, processes: u64, interest: Interest) -> Option<Arc<Snapshot>> {
        let programs = Programs::loaded().or_else(|| {
            let is_paid = self.collector.processes_about() >= processes;
            is_paid.then(|| Programs::load(exit_room()).ok()).flatten()
        })?;
        programs.sweep(&self.needs, interest, self.wait()).ok()
    }

    /// The same for finding some of them, which is done again and again in many a program: what
    /// calls have read by files until now is compared with what loading costs.
    fn sweep_to_find(&self, filter: &Filter) -> Option<Arc<Snapshot>> {
        let about = self.collector.processes_about();
        let keys = &self.needs.identity.environment_keys;
        if keys.is_empty() {
            let is_paid = about >= REPEATS_PAY && tab::add_by_name(about) >= PROGRAMS_PAY_FOR_NAMES;
            return self.sweep_once(if is_paid { 0 } else { u64::MAX }, filter.interest());
        }
        // An environment is read as ever at first: only by and by it pays to remember it.
        let price = PROGRAMS_PAY_FOR_NAMES.saturating_add(about.saturating_mul(REMEMBERING_COSTS));
        let is_paid = about >= REPEATS_PAY && tab::add_by_environment(about, keys) >= price;
        is_paid.then(|| self.sweep_once(0, filter.interest())).flatten()
    }

    /// One reading of all processes by programs in the kernel, where that costs less than reading
    /// these.
    fn sweep_for(&self, pids: &[u32]) -> Option<Arc<Snapshot>> {
        let count = pids.len() as u64;
        let is_large =
            count >= PROGRAMS_PAY && count * PART_MIN >= self.collector.processes_about();
        let wanted: HashSet<u32> = is_large.then(|| pids.iter().copied().collect())?;
        let is_of_interest: Arc<IsOfInterest> = Arc::new(move |key, _| wanted.contains(&key.pid));
        self.sweep_once(PROGRAMS_PAY, Interest { is_of_interest, filter: None })
    }

    /// The PIDs of the processes that match, where the environment is asked for.
    fn pids_with_environment(&mut self, filter: &Filter) -> Result<Vec<u32>, Error> {
        let scan = self.collector.scan(&filter.question(), WAIT)?;
        let mut pids = scan.found;
        if !scan.undecided.is_empty() {
            let samples = self.read_with_ancestors(scan.undecided)?;
            let matching = samples.iter().filter(|process| filter.matches(process));
            pids.extend(matching.map(|process| process.key.pid));
            pids.sort_unstable();
        }
        Ok(pids)
    }

    /// Reads processes, and for as long as their environment is not whole, whoever forked
    /// them: they may have inherited what they wrote over themselves. Returns the processes.
    fn read_with_ancestors(&mut self, pids: Vec<u32>) -> Result<Vec<ProcessSample>, Error> {
        let count = pids.len();
        let mut asked = pids;
        for _ in 0..GENERATIONS_MAX {
            let samples = self.read(&asked)?;
            let known: HashSet<u32> = asked.iter().copied().collect();
            let heirs = samples.iter().flatten().filter(|process| lacks_variables(process));
            let parents: HashSet<u32> = heirs.map(|process| process.parent_pid).collect();
            let before = asked.len();
            asked.extend(parents.difference(&known).filter(|pid| **pid != 0));
            if asked.len() == before {
                return Ok(samples.into_iter().take(count).flatten().collect());
            }
        }
        let samples = self.read(&asked)?;
        Ok(samples.into_iter().take(count).flatten().collect())
    }

    fn read(&mut self, pids: &[u32]) -> Result<Vec<Option<ProcessSample>>, Error> {
        Ok(self.collector.read(pids, &self.needs, self.wait())?)
    }

    fn wait(&self) -> IdentityWait {
        if self.needs.identity.environment_keys.is_empty() {
            IdentityWait::No
        } else {
            IdentityWait::UpTo(WAIT)
        }
    }
}

fn exit_room() -> ExitRoom {
    ExitRoom { ring_bytes: EXIT_RING_BYTES, ..ExitRoom::default() }
}

fn measures(connections: Connections) -> Measures {
    Measures {
        memory: true,
        io: true,
        fds: true,
        sockets: connections == Connections::Counted,
        context_switches: ContextSwitchNeeds::MainThread,
        ..Measures::default()
    }
}

impl Selection {
    fn identity_needs(&self) -> IdentityNeeds {
        IdentityNeeds {
            environment_keys: self
                .process_env
                .iter()
                .map(|(key, _)| key.as_slice().into())
                .collect(),
            ..IdentityNeeds::default()
        }
    }
}

/// A selection with its users looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    selection: Arc<Selection>,
    uids: Arc<HashSet<u32>>,
}

impl Filter {
    fn new(selection: &Selection) -> Self {
        let mut users = UserNames::default();
        let uid = |name: &Vec<u8>| match users.uid_of(name) {
            Lookup::Found(uid) => Some(uid),
            Lookup::NoSuchUser | Lookup::Unanswered => None,
        };
        let uids = Arc::new(selection.users.iter().filter_map(uid).collect());
        Filter { selection: Arc::new(selection.clone()), uids }
    }

    /// As the collector asks it of every process.
    fn question(&self) -> Arc<Question> {
        let filter = self.clone();
        Arc::new(move |seen: &Seen<'_>| filter.judge(seen))
    }

    fn judge(&self, seen: &Seen<'_>) -> Step {
        let Filter { selection, uids } = self;
        if !selection.process_names.is_empty() {
            match seen.comm() {
                None => return Step::Read(Part::Comm),
                Some(comm) if !is_one_of(&selection.process_names, comm) => return Step::No,
                Some(_) => {}
            }
        }
        if !selection.users.is_empty() {
            match seen.uid() {
                None => return Step::Read(Part::Owner),
                Some(uid) if !uids.contains(&uid) => return Step::No,
                Some(_) => {}
            }
        }
        if selection.process_env.is_empty() {
            return Step::Yes;
        }
        match seen.text(Part::Environ) {
            None => return Step::Read(Part::Environ),
            Some(Reading::Absent(why)) => return Step::Unknown(why),
            Some(Reading::Value(_)) => {}
        }
        match seen.has_lost_environment() {
            None => return Step::Read(Part::Stat),
            Some(true) => return Step::Undecided,
            Some(false) => {}
        }
        let mut variables = selection.process_env.iter();
        match variables.all(|(key, value)| seen.variable(key) == value.as_deref()) {
            true => Step::Yes,
            false => Step::No,
        }
    }

    fn matches(&self, process: &ProcessSample) -> bool {
        let environment = &self.selection.process_env;
        self.matches_by_name_and_user(&process.identity)
            && environment.iter().all(|(key, value)| has_variable(process, key, value.as_deref()))
    }

    /// Whether it may match, as it is asked of every process.
    fn interest(&self) -> Interest {
        let filter = self.clone();
        Interest {
            is_of_interest: Arc::new(move |_, identity| filter.matches_by_name_and_user(identity)),
            filter: Some(self.clone()),
        }
    }

    /// The processes of a snapshot that match.
    fn members(&self, snapshot: &Snapshot) -> Members {
        let members = snapshot.processes.iter().filter(|process| self.matches(process));
        Members::of(members.map(|process| process.key))
    }

    fn matches_by_name_and_user(&self, identity: &Identity) -> bool {
        self.matches_name(&identity.comm) && self.matches_user(identity.uid)
    }

    fn matches_name(&self, comm: &[u8]) -> bool {
        is_one_of(&self.selection.process_names, comm)
    }

    fn matches_user(&self, uid: u32) -> bool {
        self.selection.users.is_empty() || self.uids.contains(&uid)
    }
}

/// Processes that have matched, ascending by key.
#[derive(Clone, Debug, Default)]
struct Members(Arc<[ProcessKey]>);

impl Members {
    fn of(keys: impl IntoIterator<Item = ProcessKey>) -> Self {
        let mut keys: Vec<ProcessKey> = keys.into_iter().collect();
        keys.sort_unstable();
        Members(keys.into())
    }

    fn contains(&self, key: ProcessKey) -> bool {
        self.0.binary_search(&key).is_ok()
    }
}

/// Whether the name is among these; no names at all stand for any.
fn is_one_of(names: &[Vec<u8>], comm: &[u8]) -> bool {
    names.is_empty() || names.iter().any(|name| name == trim_end(comm))
}

/// Without the whitespace at its end that Python strips from bytes, the vertical tab included.
fn trim_end(name: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'\x0b';
    let length = name.iter().rposition(|byte| !is_space(byte)).map_or(0, |last| last + 1);
    &name[..length]
}

/// Whether a variable has this value, or with `None` is not there. What is not `KEY=VALUE` is
/// no variable, and says nothing about those that are.
fn has_variable(process: &ProcessSample, key: &[u8], value: Option<&[u8]>) -> bool {
    let entries = match &process.identity.environment {
        Reading::Value(entries) => &entries[..],
        // It could be read, and nothing of it is `KEY=VALUE`.
        Reading::Absent(Absence::Malformed) => &[],
        Reading::Absent(_) => return false,
    };
    let found = entries.iter().find(|entry| *entry.key == *key);
    found.map(|entry| &*entry.value) == value
}

/// Whether it has written over variables that whoever forked it may still have.
fn lacks_variables(process: &ProcessSample) -> bool {
    let identity = &process.identity;
    identity.is_environment_incomplete || identity.environment.value().is_none()
}

/// The key of a metric that the five functions have.
fn key_of(metric: &Metric) -> String {
    metric.drop_in.unwrap_or(metric.name).to_owned()
}

fn rate_key_of(metric: &Metric) -> String {
    format!("{}_per_sec", key_of(metric))
}

/// Everything that can be said of one process, in the order of the table.
fn stats_of(process: &ProcessSample, memory_total_bytes: u64) -> Vec<(&'static Metric, StatValue)> {
    let sockets = socket_counts(process);
    let stat = |metric: &Metric| stat_of(metric.id, process, memory_total_bytes, sockets.as_ref());
    drop_in_metrics().filter_map(|metric| Some((metric, stat(metric)?))).collect()
}

/// The metrics that the five functions have.
fn drop_in_metrics() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().filter(|metric| metric.drop_in.is_some())
}

fn socket_counts(process: &ProcessSample) -> Option<SocketCounts> {
    process.gauges.seldom.sockets.value().map(|sockets| SocketCounts::of(sockets))
}

fn stat_of(
    id: MetricId,
    process: &ProcessSample,
    memory_total_bytes: u64,
    sockets: Option<&SocketCounts>,
) -> Option<StatValue> {
    use MetricId as M;
    let gauges = &process.gauges;
    let memory =
        |field: fn(&Memory) -> u64| Some(StatValue::Integer(field(gauges.memory().value()?)));
    let count = |reading: Reading<u32>| Some(StatValue::Integer(u64::from(*reading.value()?)));
    let cpu = |counter| Some(StatValue::Float(rate::seconds(process.usage.own[counter])));
    let io = |counter| Some(StatValue::Integer(process.io.total().value()?[counter]));
    let switches = |field: fn(&ContextSwitches) -> u64| {
        Some(StatValue::Integer(field(gauges.context_switches.value()?)))
    };
    match id {
        M::CpuPercent => Some(StatValue::Float(0.0)),
        M::CpuUser => cpu(UsageCounter::CpuUserNs),
        M::CpuSystem => cpu(UsageCounter::CpuSystemNs),
        M::MemoryRss => memory(|m| m.rss_bytes),
        M::MemoryVms => memory(|m| m.vms_bytes),
        M::MemoryShared => memory(|m| m.shared_bytes),
        M::MemoryText => memory(|m| m.text_bytes),
        M::MemoryData => memory(|m| m.data_bytes),
        M::MemoryLib | M::MemoryDirty => memory(|_| 0),
        M::MemoryPercent => {
            let rss_bytes = gauges.memory().value()?.rss_bytes as f64;
            let share = rss_bytes / memory_total_bytes as f64;
            share.is_finite().then_some(StatValue::Float(share * 100.0))
        }
        M::Threads => count(gauges.threads),
        M::Fds => count(gauges.fds),
        M::CtxSwitchesVoluntary => switches(|s| s.voluntary),
        M::CtxSwitchesInvoluntary => switches(|s| s.involuntary),
        M::IoReadCount => io(IoCounter::ReadCount),
        M::IoWriteCount => io(IoCounter::WriteCount),
        M::IoReadBytes => io(IoCounter::ReadBytes),
        M::IoWriteBytes => io(IoCounter::WriteBytes),
        M::ProcessesTotal => None,
        _ => sockets?.count(id).map(StatValue::Integer),
    }
}

/// One process's sockets as the five functions count them: a TCP or UDP socket behind two
/// descriptors once, a unix socket by its descriptors.
struct SocketCounts {
    tcp_states: Vec<TcpState>,
    udp: u64,
    unix: u64,
}

impl SocketCounts {
    fn of(sockets: &[Socket]) -> Self {
        let unix = sockets.iter().filter(|socket| socket.kind == SocketKind::Unix).count() as u64;
        let mut counts = SocketCounts { tcp_states: Vec::new(), udp: 0, unix };
        let mut distinct = sockets.to_vec();
        distinct.dedup();
        for socket in distinct {
            match socket.kind {
                SocketKind::Tcp(state) => counts.tcp_states.push(state),
                SocketKind::Udp => counts.udp += 1,
                SocketKind::Unix => {}
            }
        }
        counts
    }

    /// `None` for a key that is not there: of TCP any socket brings all keys, else none.
    fn count(&self, id: MetricId) -> Option<u64> {
        use MetricId as M;
        let some = |count: u64| (count > 0).then_some(count);
        let total = self.tcp_states.len() as u64;
        match id {
            M::UdpTotal => return some(self.udp),
            M::UnixSocketsTotal => return some(self.unix),
            M::TcpTotal => return some(total),
            M::TcpNone => return some(total).map(|_| 0),
            _ => {}
        }
        let state = id.tcp_state()?;
        let in_state = self.tcp_states.iter().filter(|other| **other == state).count();
        some(total).map(|_| in_state as u64)
    }
}

/// Sums over processes; what sums to nothing is dropped last.
struct Sums {
    /// In the order of the table: ten thousand processes have the same ones.
    columns: Vec<Column>,
    processes: u64,
}

/// The sums of one metric; `None` where nobody has it.
struct Column {
    metric: &'static Metric,
    total: Option<StatValue>,
    rate: Option<StatValue>,
}

impl Default for Sums {
    fn default() -> Self {
        let column = |metric| Column { metric, total: None, rate: None };
        Sums { columns: drop_in_metrics().map(column).collect(), processes: 0 }
    }
}

fn add(sum: &mut Option<StatValue>, value: StatValue) {
    *sum = Some(match sum.take() {
        Some(sum) => sum.plus(value),
        None => value,
    });
}

impl Sums {
    fn add_process(&mut self, process: &ProcessSample, memory_total_bytes: u64) {
        self.processes += 1;
        let sockets = socket_counts(process);
        for column in &mut self.columns {
            let stat = stat_of(column.metric.id, process, memory_total_bytes, sockets.as_ref());
            if let Some(value) = stat {
                add(&mut column.total, value);
            }
        }
    }

    /// Adds the members that lived through an interval, and all that members did in it.
    fn add_interval(
        &mut self,
        filter: &Filter,
        members: &Members,
        first: &Snapshot,
        second: &Snapshot,
        movement: &Movement,
    ) {
        let mut born = self.add_survivors(filter, members, first, second);
        // Where ends are told, those that nobody saw alive are known by name.
        let ended = second.exits.processes.iter().map(|exit| &exit.sample);
        let ended = ended.filter(|process| filter.matches(process)).map(|process| process.key);
        born.extend(ended.filter(|key| first.by_key(*key).is_none()));
        let born = Members::of(born);
        let (io, usage) = moved(movement, |key| members.contains(key) || born.contains(key));
        let has_members = !members.0.is_empty() || !born.0.is_empty();
        let elapsed = second.taken_at.since(first.taken_at);
        let io_is_unknown = io == IoDelta::ZERO && !self.has_total(MetricId::IoWriteBytes);
        let of_the_ledger = |column: &&mut Column| OF_THE_LEDGER.contains(&column.metric.id);
        for column in self.columns.iter_mut().filter(of_the_ledger) {
            let id = column.metric.id;
            if !has_members || (is_io(id) && io_is_unknown) {
                continue;
            }
            if let Some(rate) = rate::per_second(growth(id, io, usage), elapsed) {
                add(&mut column.rate, StatValue::Float(rate));
            }
        }
    }

    /// Adds the members that both readings saw. Returns who of the second one matches and was not
    /// in the first.
    fn add_survivors(
        &mut self,
        filter: &Filter,
        members: &Members,
        first: &Snapshot,
        second: &Snapshot,
    ) -> Vec<ProcessKey> {
        // All three ascend by key.
        let mut earlier = first.processes.iter().peekable();
        let mut matched = members.0.iter().peekable();
        let mut born = Vec::new();
        for process in &second.processes {
            while earlier.next_if(|before| before.key < process.key).is_some() {}
            while matched.next_if(|key| **key < process.key).is_some() {}
            match earlier.next_if(|before| before.key == process.key) {
                Some(before) if matched.next_if(|key| **key == process.key).is_some() => {
                    self.add_survivor(before, process, second.host.memory_total_bytes);
                }
                // One that lived before without matching brings nothing of this interval.
                Some(_) => {}
                None if filter.matches(process) => born.push(process.key),
                None => {}
            }
        }
        born
    }

    fn add_survivor(
        &mut self,
        before: &ProcessSample,
        process: &ProcessSample,
        memory_total_bytes: u64,
    ) {
        self.processes += 1;
        let elapsed = process.read_at.since(before.read_at);
        let (earlier, sockets) = (socket_counts(before), socket_counts(process));
        for column in &mut self.columns {
            let id = column.metric.id;
            if id == MetricId::CpuPercent {
                add(&mut column.total, cpu_percent(before, process, elapsed));
                continue;
            }
            let stat = stat_of(id, process, memory_total_bytes, sockets.as_ref());
            let Some(value) = stat else { continue };
            if !OF_THE_LEDGER.contains(&id) {
                let was = stat_of(id, before, memory_total_bytes, earlier.as_ref());
                let was = match was {
                    Some(was) => was.as_f64(),
                    // A key that stands for no sockets is left out, which is not unreadable.
                    None => earlier.as_ref().filter(|_| is_of_sockets(column.metric)).map(|_| 0.0),
                };
                let growth = value.as_f64().zip(was).map(|(now, was)| now - was);
                if let Some(rate) = growth.and_then(|growth| rate::per_second(growth, elapsed)) {
                    add(&mut column.rate, StatValue::Float(rate));
                }
            }
            add(&mut column.total, value);
        }
    }

    fn finish(self, zeros: Zeros, rates: Rates) -> Stats {
        let mut stats = Stats::new();
        for Column { metric, total, rate } in &self.columns {
            let positive = |sum: &Option<StatValue>| sum.clone().filter(StatValue::is_positive);
            stats.extend(positive(total).map(|total| (key_of(metric), total)));
            stats.extend(positive(rate).map(|rate| (rate_key_of(metric), rate)));
        }
        if self.processes > 0 {
            let key = key_of(MetricId::ProcessesTotal.metric());
            stats.insert(key, StatValue::Integer(self.processes));
        }
        if zeros == Zeros::KeptWhereImportant {
            for metric in IMPORTANT.map(MetricId::metric) {
                if !self.may_be_zero(metric.id) {
                    continue;
                }
                stats.entry(key_of(metric)).or_insert_with(|| zero_of(metric));
                if rates == Rates::Measured && is_io(metric.id) {
                    stats.entry(rate_key_of(metric)).or_insert(StatValue::Float(0.0));
                }
            }
        }
        stats
    }

    /// Unknown is not zero: what could be read of no process stays away.
    fn may_be_zero(&self, id: MetricId) -> bool {
        id == MetricId::ProcessesTotal || self.processes == 0 || self.has_total(id)
    }

    fn has_total(&self, id: MetricId) -> bool {
        self.columns.iter().any(|column| column.metric.id == id && column.total.is_some())
    }
}

fn zero_of(metric: &Metric) -> StatValue {
    match metric.number {
        NumberType::Integer => StatValue::Integer(0),
        NumberType::Float => StatValue::Float(0.0),
    }
}

fn is_of_sockets(metric: &Metric) -> bool {
    metric.need == Need::Sockets
}

fn is_io(id: MetricId) -> bool {
    OF_THE_LEDGER.contains(&id) && !matches!(id, MetricId::CpuUser | MetricId::CpuSystem)
}

/// What members did, the ended ones and the never seen included.
fn moved(movement: &Movement, is_member: impl Fn(ProcessKey) -> bool) -> (IoDelta, UsageDelta) {
    let mut sum = (IoDelta::ZERO, UsageDelta::ZERO);
    for delta in movement.processes.iter().filter(|delta| is_member(delta.key)) {
        sum = (sum.0.plus(delta.io.unwrap_or_default()), sum.1.plus(delta.usage));
    }
    for residual in &movement.residuals {
        if residual_owner(residual, &is_member) == Some(true) {
            let io = residual.io.filter(|_| !residual.io_is_unattributed);
            sum = (sum.0.plus(io.unwrap_or_default()), sum.1.plus(residual.usage));
        }
    }
    sum
}

fn growth(id: MetricId, io: IoDelta, usage: UsageDelta) -> f64 {
    match id {
        MetricId::CpuUser => rate::seconds(usage[UsageCounter::CpuUserNs]),
        MetricId::CpuSystem => rate::seconds(usage[UsageCounter::CpuSystemNs]),
        MetricId::IoReadCount => io[IoCounter::ReadCount] as f64,
        MetricId::IoWriteCount => io[IoCounter::WriteCount] as f64,
        MetricId::IoReadBytes => io[IoCounter::ReadBytes] as f64,
        _ => io[IoCounter::WriteBytes] as f64,
    }
}

/// Percent of one core, to one decimal.
fn cpu_percent(before: &ProcessSample, after: &ProcessSample, elapsed: Duration) -> StatValue {
    let moved = after.usage.own.since_clamped(before.usage.own);
    let busy_ns = moved[UsageCounter::CpuUserNs].saturating_add(moved[UsageCounter::CpuSystemNs]);
    let percent = rate::percent(rate::seconds(busy_ns), elapsed.as_secs_f64()).unwrap_or_default();
    StatValue::Float((percent * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::kept::Lack;
    use super::*;
    use mpp_accounting::exit::ExitSource;
    use std::io::Write as _;

    fn socket(inode: u64, kind: SocketKind) -> Socket {
        Socket { namespace: 1, inode, kind }
    }

    #[test]
    fn any_tcp_socket_brings_all_thirteen_keys() {
        let counts = SocketCounts::of(&[socket(7, SocketKind::Tcp(TcpState::Listen))]);
        let tcp = METRICS.iter().filter(|metric| counts.count(metric.id).is_some());
        assert_eq!(tcp.count(), 13);
        assert_eq!(counts.count(MetricId::TcpListen), Some(1));
        assert_eq!(counts.count(MetricId::TcpNone), Some(0));
        assert_eq!(counts.count(MetricId::UdpTotal), None);
    }

    fn session() -> Session {
        Session::open(IdentityNeeds::default(), measures(Connections::Counted)).unwrap()
    }

    /// A session by programs in the kernel; `None` where this test lacks the privilege. Other tests
    /// of this process may have them for a moment.
    fn by_programs() -> Option<Session> {
        let mut session = session();
        loop {
            session.load_programs(0);
            if session.programs.is_some() {
                return Some(session);
            }
            assert_eq!(session.collector.exit_source(), ExitSource::Nobody);
            if Programs::load(exit_room()).err() == Some(Lack::Unavailable) {
                eprintln!("no programs in the kernel here");
                return None;
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_call_reads_files_while_another_one_has_the_programs() {
        let Some(_first) = by_programs() else { return };
        let mut other = session();
        other.load_programs(0);
        assert!(other.programs.is_none());
        let found = other.sweep(&Filter::new(&Selection::default()), Members::default()).unwrap();
        assert_eq!(found.exits.source, ExitSource::Nobody, "it has no second set of its own");
    }

    /// A program of this name that writes so many MiB to a file beside it, and how it is found.
    fn writer(name: &str, mebibytes: u32) -> (tempfile::TempDir, std::process::Command, Selection) {
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let program = folder.path().join(name);
        std::os::unix::fs::symlink("/bin/dd", &program).unwrap();
        let mut command = std::process::Command::new(&program);
        command.args(["if=/dev/zero", "bs=1M", "status=none"]).arg(format!("count={mebibytes}"));
        command.arg(format!("of={}", folder.path().join("written").display()));
        let process_names = vec![name.as_bytes().to_vec()];
        (folder, command, Selection { process_names, ..Selection::default() })
    }

    /// A process that sleeps, until it is dropped.
    struct Sleeper(std::process::Child);

    impl Sleeper {
        fn start(stdin: std::process::Stdio) -> Self {
            let mut command = std::process::Command::new("sleep");
            let child = command.arg("1000").stdin(stdin).spawn().unwrap();
            let stat = format!("/proc/{}/stat", child.id());
            while !std::fs::read_to_string(&stat).unwrap().contains("(sleep) S") {
                std::thread::yield_now();
            }
            Sleeper(child)
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[test]
    fn programs_in_the_kernel_say_of_a_process_what_its_files_say() {
        let Some(mut told) = by_programs() else { return };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stdin = std::os::fd::OwnedFd::from(listener.try_clone().unwrap());
        let sleeper = Sleeper::start(stdin.into());
        let selection = Selection { process_names: vec![b"sleep".into()], ..Selection::default() };
        let filter = Filter::new(&selection);
        let mut read = session();
        let stats = [&mut told, &mut read].map(|session| {
            // A sweep that is kept from its CPU leaves sockets out, and says so.
            let mut snapshots =
                std::iter::repeat_with(|| session.sweep(&filter, Members::default()).unwrap());
            let snapshot = snapshots.find(|found| found.trouble.unreached_sockets == 0).unwrap();
            let process = snapshot.by_pid(sleeper.0.id()).unwrap();
            assert!(filter.matches(process), "{:?}", process.identity);
            assert_eq!(process.identity.executable, Reading::Absent(Absence::NotRequested));
            stats_of(process, snapshot.host.memory_total_bytes)
        });
        let [told, read] = stats;
        assert_eq!(told.len(), read.len());
        for ((metric, value), (other, expected)) in told.iter().zip(&read) {
            assert_eq!(metric.name, other.name);
            let is_cpu = matches!(metric.id, MetricId::CpuUser | MetricId::CpuSystem);
            let difference = value.as_f64().unwrap() - expected.as_f64().unwrap();
            // Files say it in whole ticks.
            assert!(
                difference.abs() <= if is_cpu { 0.02 } else { 0.0 },
                "{}: {value}, {expected}",
                metric.name
            );
        }
    }

    #[test]
    fn whoever_comes_to_be_of_interest_is_read_though_it_has_not_run_since() {
        let Some(mut session) = by_programs() else { return };
        let sleeper = Sleeper::start(std::process::Stdio::null());
        let named = |name: &[u8]| {
            Filter::new(&Selection { process_names: vec![name.to_vec()], ..Selection::default() })
        };
        let mut check = |name: &[u8], is_read: bool| {
            let found = session.sweep(&named(name), Members::default()).unwrap();
            let sample = found.by_pid(sleeper.0.id()).unwrap();
            assert_eq!(sample.gauges.memory().value().is_some(), is_read, "of interest: {name:?}");
            (Arc::clone(&found), sample.read_at)
        };
        let (first, read_at) = check(b"sleep", true);
        let (second, read_again_at) = check(b"sleep", true);
        assert!(read_again_at > read_at, "it is read at every sweep, also by not having run");
        // What the call holds is not changed under it.
        assert_eq!(first.by_pid(sleeper.0.id()).unwrap().read_at, read_at);
        assert!(second.taken_at > first.taken_at);
        check(b"another", false);
        check(b"another", false);
        check(b"sleep", true);
    }

    #[test]
    fn what_is_born_and_ends_between_two_readings_counts_by_its_name() {
        let Some(mut session) = by_programs() else { return };
        let (_folder, mut command, selection) = writer("mpp-born-ended", 3);
        let filter = Filter::new(&selection);
        let first = session.sweep(&filter, Members::default()).unwrap();
        let mut ledger = Ledger::new();
        ledger.advance(&first);
        assert!(command.status().unwrap().success());
        let second = session.sweep(&filter, Members::default()).unwrap();
        let movement = ledger.advance(&second);
        let mut sums = Sums::default();
        sums.add_interval(&filter, &Members::default(), &first, &second, &movement);
        let elapsed = second.taken_at.since(first.taken_at).as_secs_f64();
        let column = sums.columns.iter().find(|c| c.metric.id == MetricId::IoWriteBytes).unwrap();
        let rate = column.rate.as_ref().unwrap().as_f64().unwrap();
        let excess = rate * elapsed - f64::from(3 << 20);
        // The file system may dirty a page or two of its own in a writer's name.
        assert!((-1.0..65536.0).contains(&excess), "{rate} for {elapsed} s");
    }

    /// Ends the thread that has the programs, as a defect would.
    fn end_programs(session: &Session) {
        let programs = session.programs.as_ref().unwrap();
        let is_of_interest: Arc<IsOfInterest> = Arc::new(|_, _| panic!("what a defect does"));
        let fails = Interest { is_of_interest, filter: None };
        let outcome = programs.sweep(&session.needs, fails, IdentityWait::No);
        assert!(matches!(outcome, Err(Error::MeterGone)), "{outcome:?}");
    }

    #[test]
    fn where_the_thread_of_the_programs_has_ended_the_call_reads_files() {
        let filter = Filter::new(&Selection::default());
        let Some(mut session) = by_programs() else { return };
        end_programs(&session);
        let found = session.sweep(&filter, Members::default()).unwrap();
        assert_eq!(found.exits.source, ExitSource::Nobody);
        assert!(found.by_pid(std::process::id()).is_some());
    }

    #[test]
    fn where_the_thread_ends_between_two_readings_a_writer_has_its_rate_all_the_same() {
        let Some(mut session) = by_programs() else { return };
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = std::fs::File::create(folder.path().join("written")).unwrap();
        let mut writer = std::process::Command::new("cat");
        let mut writer = writer.stdin(std::process::Stdio::piped()).stdout(file).spawn().unwrap();
        let filter = Filter::new(&Selection::default());
        let first = session.sweep(&filter, Members::default()).unwrap();
        let key = first.by_pid(writer.id()).unwrap().key;
        let mut ledger = Ledger::new();
        ledger.advance(&first);
        end_programs(&session);
        let mut input = writer.stdin.take().unwrap();
        input.write_all(&vec![1; 3 << 20]).unwrap();
        while std::fs::metadata(folder.path().join("written")).unwrap().len() < 3 << 20 {
            std::thread::yield_now();
        }
        let second = session.sweep(&filter, Members::of([key])).unwrap();
        drop(input);
        assert!(writer.wait().unwrap().success());
        let (io, _) = moved(&ledger.advance(&second), |moved| moved == key);
        let excess = io[IoCounter::WriteBytes].wrapping_sub(3 << 20);
        assert!(excess < 1 << 16, "{io:?}");
    }

    #[test]
    fn names_lose_the_whitespace_at_their_end_only() {
        fn check(name: &[u8], expected: &[u8]) {
            assert_eq!(trim_end(name), expected);
        }
        check(b" foo bar \t\n\x0b\x0c\r ", b" foo bar");
        check(b"caf\xe9\x85", b"caf\xe9\x85");
        check(b"  ", b"");
    }

    #[test]
    fn a_duplicated_descriptor_counts_for_unix_sockets_only() {
        let udp = socket(7, SocketKind::Udp);
        let unix = socket(8, SocketKind::Unix);
        let counts = SocketCounts::of(&[udp, udp, unix, unix]);
        assert_eq!(counts.count(MetricId::UdpTotal), Some(1));
        assert_eq!(counts.count(MetricId::UnixSocketsTotal), Some(2));
        assert_eq!(counts.count(MetricId::TcpTotal), None);
    }

    #[test]
    fn a_sum_of_nothing_is_dropped_and_important_zeros_are_kept() {
        assert!(Sums::default().finish(Zeros::Dropped, Rates::Unknown).is_empty());
        let kept = Sums::default().finish(Zeros::KeptWhereImportant, Rates::Unknown);
        assert_eq!(kept.len(), 13);
        assert_eq!(kept["total_processes"], StatValue::Integer(0));
        assert_eq!(kept["cpu.percent"], StatValue::Float(0.0));
        let kept = Sums::default().finish(Zeros::KeptWhereImportant, Rates::Measured);
        assert_eq!(kept.len(), 17);
        assert_eq!(kept["io_counters.write_bytes_per_sec"], StatValue::Float(0.0));
    }
}
