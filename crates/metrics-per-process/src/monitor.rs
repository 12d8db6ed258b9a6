//! Samples groups again and again: sweep, ledger, groups, report.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::Duration;

use mpp_accounting::ended::{ENDED_MAX, EndedBook, EndedReport};
use mpp_accounting::exit::ExitSource;
use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::Ledger;
use mpp_accounting::metric::Need;
use mpp_accounting::report::{Column, Report, Tier};
use mpp_accounting::selector::{Descendants, GroupKey, References, Selector, Verdict};
use mpp_accounting::snapshot::Snapshot;
use mpp_collect::exits::{ExitRoom, Refusal};
use mpp_collect::{
    Collector, CollectorOptions, ContextSwitchNeeds, IdentityWait, Measures, MemoryReaderKind,
    Needs,
};

use crate::error::Error;
use crate::lone::{Kept, Lone, Parents};
use crate::resolver::Resolver;

/// How long the first sample waits for command lines and environments at most.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// How long later samples wait for those of new processes at most.
const LATER_WAIT: Duration = Duration::from_millis(100);

/// No more rows than this when grouping by a key, unless said otherwise.
const ROWS_MAX: usize = 1000;

/// Samples groups of processes again and again.
///
/// Each sample sweeps all processes, since a member may wait for a stranger's child and
/// the reverse. The first is the baseline: it has totals and gauges, but no rates.
///
/// ```
/// use metrics_per_process::{Monitor, metric, selector::Selector};
///
/// let mut monitor = Monitor::builder()
///     .group("shells", Selector::parse("name:bash name:sh")?)
///     .columns(metric::choose("processes.total,cpu.percent")?)
///     .build()?;
/// assert_eq!(monitor.sample()?.interval, None);
/// assert!(monitor.sample()?.interval.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Monitor {
    collector: Collector,
    needs: Needs,
    snapshot: Snapshot,
    ledger: Ledger,
    book: GroupBook,
    references: References,
    resolver: Resolver,
    names_users: bool,
    /// Whom the first sample looks for, where it need not look at anybody else.
    sought: Option<Vec<Selector>>,
    wait: Duration,
    tier_max: Tier,
    /// Whether the next sample is the first of many.
    begins_many: bool,
    /// `None` where nobody asks who ended.
    ended_book: Option<EndedBook>,
    ended: EndedReport,
}

/// What a [`Monitor`] is to sample.
#[derive(Debug)]
pub struct MonitorBuilder {
    groups: Vec<(Box<[u8]>, Selector)>,
    key: Option<GroupKey>,
    rows_max: usize,
    columns: Vec<Column>,
    options: CollectorOptions,
    tier_max: Tier,
    samples: Samples,
    ended: Option<EndedOptions>,
}

/// How many samples will be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Samples {
    Many,
    One,
}

/// What is wanted of ended processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedOptions {
    /// Whether to also read the command line of every process, for showing it.
    pub shows_cmdline: bool,
    /// No more of them are kept of one interval; what is beyond is counted.
    pub processes_max: usize,
}

impl Default for EndedOptions {
    fn default() -> Self {
        EndedOptions { shows_cmdline: false, processes_max: ENDED_MAX }
    }
}

impl Monitor {
    /// A monitor of all processes, which the builder's methods narrow and group.
    #[must_use]
    pub fn builder() -> MonitorBuilder {
        MonitorBuilder {
            groups: Vec::new(),
            key: None,
            rows_max: ROWS_MAX,
            columns: Vec::new(),
            options: CollectorOptions { exits: ExitSource::Exact, ..CollectorOptions::default() },
            ended: None,
            tier_max: Tier::A,
            samples: Samples::Many,
        }
    }

    /// Sweeps all processes once and reports what the groups hold, and what they did
    /// since the sample before.
    ///
    /// # Errors
    /// The processes could not be listed at all. The next sample goes on from the last
    /// good one.
    pub fn sample(&mut self) -> Result<Report, Error> {
        self.resolver.refresh(&self.references, self.collector.own_pids());
        let wait = IdentityWait::UpTo(std::mem::replace(&mut self.wait, LATER_WAIT));
        match self.candidates()? {
            Some(pids) => {
                self.collector.sweep_some(&pids, &self.needs, wait, &mut self.snapshot)?;
            }
            None => self.collector.sweep(&self.needs, wait, &mut self.snapshot)?,
        }
        if std::mem::take(&mut self.begins_many) {
            self.collector.give_back_free_memory();
        }
        if self.names_users {
            self.resolver.name_users(&self.snapshot);
        }
        let movement = self.ledger.advance(&self.snapshot);
        let mut report = self.book.fold(&self.snapshot, &movement, &self.resolver.resolution);
        if report.interval.is_none() {
            // Of a moment nobody can have ended: nothing is inferred, and no record is needed.
            report.accuracy.tier = self.tier_max;
        }
        if let Some(book) = &mut self.ended_book {
            self.ended = book.advance(&self.snapshot, &movement, &self.book);
            self.resolver.name_users_of(&mut self.ended);
        }
        Ok(report)
    }

    /// The processes of the groups that ended in the interval of the last sample, one by one:
    /// who each was, how it ended and what it did itself in its whole life. Each is told of
    /// once. Nobody is, unless [`MonitorBuilder::ended`] has asked for it.
    ///
    /// ```
    /// use metrics_per_process::selector::Selector;
    /// use metrics_per_process::{EndedOptions, Monitor};
    /// use std::process::Command;
    ///
    /// let children = Selector::default().children_of(std::process::id().to_string())?;
    /// let mut monitor =
    ///     Monitor::builder().group("mine", children).ended(EndedOptions::default()).build()?;
    /// monitor.sample()?;
    /// let status = Command::new("true").status()?;
    /// monitor.sample()?;
    /// for ended in &monitor.ended().processes {
    ///     println!("{} {}", ended.key.pid, ended.identity.comm.escape_ascii());
    /// }
    /// # assert!(status.success());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn ended(&self) -> &EndedReport {
        &self.ended
    }

    /// Those that may belong to a group, ascending by PID, where they can be told from the others
    /// without measuring everybody.
    fn candidates(&mut self) -> Result<Option<Vec<u32>>, Error> {
        let Some(selectors) = self.sought.take() else { return Ok(None) };
        let takes_descendants =
            selectors.iter().any(|selector| selector.descendants() == Descendants::Taken);
        let resolution = self.resolver.resolution.clone();
        let parents = if takes_descendants { Parents::OfAll } else { Parents::Unasked };
        let lone = Lone { selectors, resolution, kept: Kept::Pid, parents };
        let scan = self.collector.scan(&lone.into_question(), FIRST_WAIT)?;
        if !scan.undecided.is_empty() {
            return Ok(None);
        }
        let mut pids: BTreeSet<u32> = scan.found.iter().copied().collect();
        if takes_descendants {
            add_descendants(&scan.parents, &mut pids);
        }
        pids.extend(scan.unknown.iter().map(|(pid, _)| *pid));
        Ok(Some(pids.into_iter().collect()))
    }

    /// Takes in what the kernel has told of ended processes since the last sample. Each sample
    /// does so by itself; where samples are seconds apart, call this once a second in between,
    /// or what is told by a storm of short processes may find no room.
    pub fn listen(&mut self) {
        self.collector.listen();
    }

    /// How well ended processes can be seen, if none of what is told of them is lost.
    #[must_use]
    pub fn tier(&self) -> Tier {
        match self.collector.exit_source() {
            ExitSource::Exact => Tier::A,
            ExitSource::Rounded => Tier::B,
            ExitSource::Nobody => Tier::C,
        }
    }

    /// Why they are not seen better.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        self.collector.refusals()
    }

    /// Whether anybody in the last sample matches: yes, no, or unknown where nobody does and
    /// somebody may.
    ///
    /// For parts of the groups' selectors, to see which of several conditions holds for nobody:
    /// what no group asks for is not read, and then unknown.
    #[must_use]
    pub fn is_matched(&self, selector: &Selector) -> Verdict {
        let resolution = &self.resolver.resolution;
        let mut doubt = Verdict::No;
        for process in &self.snapshot.processes {
            match selector.matches(process, &self.snapshot, resolution) {
                Verdict::Yes => return Verdict::Yes,
                unknown @ Verdict::Unknown(_) => doubt = unknown,
                Verdict::No => {}
            }
        }
        doubt
    }

    /// The processes of the last sample.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl MonitorBuilder {
    /// Adds a group. A process that several match belongs to the first.
    #[must_use]
    pub fn group(mut self, name: impl Into<Vec<u8>>, selector: Selector) -> Self {
        self.groups.push((name.into().into_boxed_slice(), selector));
        self
    }

    /// Makes one row for each value of `key` among the processes of the one group that was
    /// added, or of all processes where none was.
    ///
    /// ```
    /// use metrics_per_process::selector::{GroupKey, Selector};
    /// use metrics_per_process::{Monitor, metric};
    ///
    /// let mut monitor = Monitor::builder()
    ///     .group("of root", Selector::parse("user:0")?)
    ///     .by(GroupKey::Name)
    ///     .columns(metric::choose("processes.total")?)
    ///     .build()?;
    /// for row in monitor.sample()?.groups {
    ///     println!("{}", row.name.escape_ascii());
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn by(mut self, key: GroupKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Makes no more rows than this; what is beyond is summed in `other`. 1,000, unless said
    /// otherwise.
    #[must_use]
    pub fn rows_max(mut self, rows_max: usize) -> Self {
        self.rows_max = rows_max;
        self
    }

    /// Makes one row for each systemd unit, or program where there is none, but no more than
    /// `groups_max`; the rest is summed in `other`.
    #[must_use]
    pub fn everything_by_unit_or_name(self, groups_max: usize) -> Self {
        self.rows_max(groups_max).by(GroupKey::UnitOrName)
    }

    /// What to measure. Nothing else is read.
    #[must_use]
    pub fn columns(mut self, columns: Vec<Column>) -> Self {
        self.columns = columns;
        self
    }

    /// Also keeps the processes that end, for [`Monitor::ended`]. Reads the I/O and memory of
    /// all processes, whatever the columns.
    #[must_use]
    pub fn ended(mut self, options: EndedOptions) -> Self {
        self.ended = Some(options);
        self
    }

    /// Sees ended processes no better than this, and so promises no more: how lower tiers
    /// are tried where a better one is to be had. The best that is to be had, unless said
    /// otherwise.
    #[must_use]
    pub fn tier_max(mut self, tier: Tier) -> Self {
        self.tier_max = tier;
        self.options.exits = match tier {
            Tier::A => ExitSource::Exact,
            Tier::B => ExitSource::Rounded,
            Tier::C => ExitSource::Nobody,
        };
        self
    }

    /// How much of what the kernel tells of ended processes may wait for the next sample.
    #[must_use]
    pub fn exit_room(mut self, room: ExitRoom) -> Self {
        self.options.exit_room = room;
        self
    }

    /// Takes one sample only: it reads no more of those that do not belong than tells so, and has
    /// nobody tell of ended processes. Of later samples none is any cheaper.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.samples = Samples::One;
        self
    }

    /// Reads another procfs than `/proc`: the host's, as a container sees it, or a frozen tree.
    #[must_use]
    pub fn procfs(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.procfs = path.into();
        self
    }

    /// Who reads what can block on a measured process. Helper threads, unless said otherwise.
    #[must_use]
    pub fn memory_reader(mut self, kind: MemoryReaderKind) -> Self {
        self.options.memory_reader = kind;
        self
    }

    /// Opens the procfs and looks up what the selectors name.
    ///
    /// # Errors
    /// The procfs cannot be read, a named user does not exist, a PID file holds no PID, or
    /// several groups are to be split by one key.
    pub fn build(mut self) -> Result<Monitor, Error> {
        if self.samples == Samples::One {
            self.options.exits = ExitSource::Nobody;
        }
        let mut selectors = self.groups;
        if selectors.is_empty() {
            selectors.push((Box::default(), Selector::default()));
        }
        let mut needs = Needs { measures: measures(&self.columns), ..Needs::default() };
        let mut references = References::default();
        for (_, selector) in &selectors {
            needs.identity.extend(&selector.identity_needs());
            references.extend(selector.references());
        }
        if let Some(key) = &self.key {
            if selectors.len() > 1 {
                return Err(Error::SeveralGroupsByKey);
            }
            needs.identity.extend(&key.identity_needs());
            // Which rows are the largest is told by their memory.
            needs.measures.memory = true;
        }
        if let Some(ended) = self.ended {
            (needs.measures.io, needs.measures.memory) = (true, true);
            needs.identity.cmdline |= ended.shows_cmdline;
        }
        let is_lone = |(_, selector): &(_, Selector)| {
            !selector.is_unconditional() && !selector.looks_beyond_identity()
        };
        let is_narrow = self.samples == Samples::One && selectors.iter().all(is_lone);
        let sought = is_narrow.then(|| selectors.iter().map(|(_, one)| one.clone()).collect());
        let collector = Collector::open(self.options)?;
        let mut resolver = Resolver::new(collector.procfs_kind());
        resolver.check(&references)?;
        let names_users = self.key == Some(GroupKey::User);
        let rows = match self.key {
            Some(key) => {
                let selector = Box::new(selectors.swap_remove(0).1);
                Rows::Keyed { selector, key, rows_max: self.rows_max }
            }
            None => Rows::Named(selectors),
        };
        Ok(Monitor {
            collector,
            needs,
            snapshot: Snapshot::default(),
            ledger: Ledger::new(),
            book: GroupBook::new(rows, self.columns.into()),
            references,
            resolver,
            names_users,
            sought,
            wait: FIRST_WAIT,
            tier_max: self.tier_max,
            begins_many: self.samples == Samples::Many,
            ended_book: self.ended.map(|ended| EndedBook::keeping(ended.processes_max)),
            ended: EndedReport::default(),
        })
    }
}

/// Adds all that descend from those in `pids`.
fn add_descendants(parents: &[(u32, u32)], pids: &mut BTreeSet<u32>) {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, parent_pid) in parents {
        children.entry(*parent_pid).or_default().push(*pid);
    }
    let mut reached: Vec<u32> = pids.iter().copied().collect();
    while let Some(pid) = reached.pop() {
        let new = children.remove(&pid).unwrap_or_default();
        reached.extend(new.into_iter().filter(|child| pids.insert(*child)));
    }
}

/// What must be read for these columns.
fn measures(columns: &[Column]) -> Measures {
    let needs: BTreeSet<Need> = columns.iter().map(|column| column.metric.need).collect();
    let mut measures = Measures::default();
    for need in needs {
        match need {
            Need::Always => {}
            Need::Memory => measures.memory = true,
            Need::Io => measures.io = true,
            Need::Fds => measures.fds = true,
            Need::FdLimit => (measures.fds, measures.fd_limit) = (true, true),
            Need::ContextSwitches => measures.context_switches = ContextSwitchNeeds::AllThreads,
            Need::Delays => measures.delays = true,
            Need::Swap => measures.swap = true,
            Need::ProportionalMemory => measures.proportional_memory = true,
            Need::Sockets => measures.sockets = true,
            Need::TcpTraffic => (measures.sockets, measures.tcp_traffic) = (true, true),
        }
    }
    measures
}
