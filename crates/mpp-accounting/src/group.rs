//! Who belongs to which group, and what each group adds up to.
//!
//! Membership is decided once per process and exec, and remembered by key: a
//! process's own match wins, else it belongs where its nearest ancestor belongs,
//! also after that ancestor is gone. What a process did across a change of group
//! goes to the group it came from.
//!
//! A group's totals start at what its members had done when they were first seen,
//! and from then on grow only by what the ledger says. They never fall.

mod members;
mod undecided;

use std::collections::HashMap;
use std::sync::Arc;

use self::members::{Member, Members};
use self::undecided::{ProgramMark, Undecided, is_another_program};

use crate::group_totals::{DelaysMissing, GroupTotals, Marks, Switched};
use crate::ledger::{Ends, Late, Movement, Residual};
use crate::metric::Need;
use crate::process::{Delays, ProcessKey, ProcessSample, Reading};
use crate::report::{Accuracy, Column, GroupReport, Mark, Report, Tier};
use crate::selector::{Descendants, GroupKey, Resolution, Selector, Verdict};
use crate::slack::{self, Slack};
use crate::snapshot::Snapshot;
use crate::tally::{Interval, Role, Tally};
use crate::traffic::{TrafficBook, TrafficMovement};
use crate::units::{IoCounter, IoDelta, Totals, UsageDelta};
use crate::walk::Walk;

/// After so many sweeps without a member a row gives its place to a newcomer, where
/// there are no more rows.
const ROUNDS_DESERTED: u32 = 60;

/// After a process has become another, got another parent or come into sight, those without a
/// place look for so many sweeps whether they inherit one now: an ended parent is still spoken of
/// in the next.
const RESTLESS_ROUNDS: u32 = 3;

/// The row that takes everything beyond the largest number of rows.
const OTHER: &[u8] = b"other";

/// The row of the kernel's own threads, where rows are units and programs.
const KERNEL: &[u8] = b"[kernel]";

/// What the rows of a report are.
#[derive(Debug)]
pub enum Rows {
    /// One row for each selector, whose name stands beside it. The first that matches wins.
    Named(Vec<(Box<[u8]>, Selector)>),
    /// One row for each value of a key among the selected.
    Keyed {
        /// Which processes.
        selector: Box<Selector>,
        /// What tells them apart.
        key: GroupKey,
        /// No more rows than this: those with the most resident memory at the first sweep.
        /// What comes on top is summed in `other`.
        rows_max: usize,
    },
}

/// The groups, their members and their totals, from one report to the next.
#[derive(Debug)]
pub struct GroupBook {
    rows: Rows,
    columns: Arc<[Column]>,
    members: Members,
    /// Those whose keys passed to others in the last interval, ascending.
    former: Vec<Member>,
    undecided: Undecided,
    groups: Vec<Row>,
    row_of_name: HashMap<Box<[u8]>, usize>,
    traffic: TrafficBook,
    /// Whether a process can begin to match without executing anything.
    looks_at_ports: bool,
    /// Whether a column shows for how long members waited.
    shows_delays: bool,
    /// When the last sweep began, for the interval.
    previous: Option<crate::units::BootTime>,
    resolution: Resolution,
    round: u32,
    /// For how many rounds more it is looked whether those without a place inherit one now.
    restless_rounds: u32,
    /// When the last sweep was over: those who began before it and are new were out of sight.
    swept_until_ticks: u64,
    /// What the columns need, each once.
    needs: Vec<Need>,
    /// Whose place is decided in this round, and who owned what moved before: kept for their room.
    turns: Vec<Turn>,
    earlier: Vec<Option<Owner>>,
    slacks: Slacks,
    /// What can be promised of the interval that is being folded.
    marks: Marks,
    /// Exit records that never reached us.
    lost_records_total: u64,
    /// What the records of the last interval promise.
    tier: Tier,
    /// Members that ended in the interval that was folded last.
    ended: Vec<(ProcessKey, Place)>,
    start: Start,
}

/// Where totals begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// At what the members had done before anyone looked.
    AtDoneBefore,
    /// At nothing.
    AtZero,
}

/// How much of the room that is kept is needed.
#[derive(Debug, Default)]
struct Slacks {
    turns: Slack,
    earlier: Slack,
    ended: Slack,
}

/// A member that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedMember<'a> {
    /// Which process.
    pub key: ProcessKey,
    /// The name of its group.
    pub group: &'a [u8],
    /// Whether it belonged there as a descendant of one that matched, not by itself.
    pub is_descendant: bool,
}

/// How far it could be decided where a process belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// Wholly.
    Final,
    /// The selector of this row could not say; it is asked again at the next sweep.
    Doubtful(RowNumber),
    /// Wholly, and it has no part in the row even as a descendant.
    Excluded,
}

/// Where a process belongs, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    row: RowNumber,
    role: Role,
}

/// Which row, in half the room of an index: one is kept of every process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RowNumber(u32);

impl RowNumber {
    const FIRST: RowNumber = RowNumber(0);

    /// There are never more rows than processes.
    fn of(index: usize) -> Self {
        RowNumber(u32::try_from(index).unwrap_or(u32::MAX))
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

/// A row: a group's name, and what its members have added up to.
#[derive(Debug)]
struct Row {
    name: Box<[u8]>,
    totals: GroupTotals,
    /// The last round in which it had a member.
    last_peopled: u32,
}

/// Whose something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// That of the group in this row.
    Row(usize),
    /// That of this process, of which it is not decided yet whether it is in a group.
    Undecided(ProcessKey),
    /// Nobody's who belongs to a group.
    Stranger,
}

impl Owner {
    fn is_decided(self) -> bool {
        !matches!(self, Owner::Undecided(_))
    }

    /// The same where nothing is kept for the undecided.
    fn by_now(self) -> Owner {
        if self.is_decided() { self } else { Owner::Stranger }
    }
}

/// A process whose place is to be decided, in the order in which that happens: by start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Turn {
    start_time_ticks: u64,
    pid: u32,
    /// Among the living; behind them come those that ended.
    position: usize,
}

impl Turn {
    fn of(process: &ProcessSample, position: usize) -> Self {
        let ProcessKey { pid, start_time_ticks } = process.key;
        Turn { start_time_ticks, pid, position }
    }

    fn process(self, snapshot: &Snapshot) -> Option<&ProcessSample> {
        snapshot.processes.get(self.position).or_else(|| {
            let position = self.position.checked_sub(snapshot.processes.len())?;
            snapshot.exits.processes.get(position).map(|exit| &exit.sample)
        })
    }
}

/// How far the members have been walked while their places are decided.
#[derive(Debug, Default)]
struct Walks {
    members: Walk,
    forkers: Walk,
}

/// What everybody holds.
#[derive(Debug)]
struct Census {
    /// One for each row.
    tallies: Vec<Tally>,
    /// How many of the living belong nowhere, but may.
    undecided: u64,
}

impl Member {
    /// How often it gave up the CPU since that was last read.
    fn switched(&mut self, process: &ProcessSample, round: u32, movement: &Movement) -> Switched {
        let Some(switches) = process.gauges.context_switches.value() else {
            return Switched::Unknown;
        };
        let is_new = self.first_round == round;
        let total = Totals([switches.voluntary, switches.involuntary]);
        let before = self.switches.replace(total.into());
        match before {
            Some(before) => Switched::Since(total.since_clamped(before.get())),
            None if movement.is_baseline => Switched::BeforeAll(total),
            None if is_new && movement.knows_start_of(process.key) => {
                Switched::Since(total.as_delta())
            }
            None => Switched::Unknown,
        }
    }

    /// Whether what was decided of a process holds: it has become nobody else, and all could be
    /// said of it.
    fn is_decided(&self, process: &ProcessSample) -> bool {
        !matches!(self.decision, Decision::Doubtful(_))
            && Arc::ptr_eq(&self.identity, &process.identity)
    }

    /// Whether a process may match now though it did not and has executed nothing since: it may
    /// listen on a port by now. One that has stopped listening stays a member, since what it
    /// still does, connections that it winds down say, is the group's.
    fn may_begin_to_match(&self) -> bool {
        !self.place.is_some_and(|place| place.role == Role::Matched)
    }

    /// Whether it is in no group, and may turn out to be in one.
    fn is_undecided(&self) -> bool {
        self.place.is_none() && matches!(self.decision, Decision::Doubtful(_))
    }

    fn owner(&self) -> Owner {
        match self.place {
            Some(place) => Owner::Row(place.row.index()),
            None if self.is_undecided() => Owner::Undecided(self.key),
            None => Owner::Stranger,
        }
    }

    /// Whether it would inherit a place that its parent has.
    fn is_placeless(&self) -> bool {
        self.place.is_none() && self.decision != Decision::Excluded
    }
}

impl GroupBook {
    /// An empty book that will have these rows and columns.
    #[must_use]
    pub fn new(rows: Rows, columns: Arc<[Column]>) -> Self {
        let groups = match &rows {
            Rows::Named(named) => named.iter().map(|(name, _)| Row::named(name)).collect(),
            Rows::Keyed { .. } => Vec::new(),
        };
        let looks_at_ports = match &rows {
            Rows::Named(named) => named.iter().any(|(_, selector)| selector.looks_at_ports()),
            Rows::Keyed { selector, .. } => selector.looks_at_ports(),
        };
        GroupBook {
            rows,
            shows_delays: columns.iter().any(|column| column.metric.need == Need::Delays),
            members: Members::default(),
            former: Vec::new(),
            undecided: Undecided::default(),
            groups,
            row_of_name: HashMap::new(),
            traffic: TrafficBook::default(),
            looks_at_ports,
            previous: None,
            resolution: Resolution::default(),
            round: 0,
            restless_rounds: 0,
            swept_until_ticks: 0,
            needs: distinct_needs(&columns),
            turns: Vec::new(),
            earlier: Vec::new(),
            slacks: Slacks::default(),
            columns,
            marks: Marks::default(),
            lost_records_total: 0,
            tier: Tier::C,
            ended: Vec::new(),
            start: Start::AtDoneBefore,
        }
    }

    /// An empty book whose totals hold only what is done from now on: what its members do after
    /// the sweep that it is begun with.
    ///
    /// The ledger may have seen earlier sweeps: nothing of what `movement` says moved until this
    /// one is taken in. Also returns what its members hold at the begin.
    pub fn begun(
        rows: Rows,
        columns: Arc<[Column]>,
        snapshot: &Snapshot,
        movement: &Movement,
        resolution: &Resolution,
    ) -> (Self, Report) {
        let mut book = GroupBook { start: Start::AtZero, ..GroupBook::new(rows, columns) };
        let baseline = Movement {
            is_baseline: true,
            settled: movement.settled.clone(),
            ends: movement.ends,
            ..Movement::default()
        };
        let report = book.fold(snapshot, &baseline, resolution);
        (book, report)
    }

    /// Those of the last sweep that belong to a group, ascending by key.
    pub fn members<'a>(
        &'a self,
        snapshot: &'a Snapshot,
    ) -> impl Iterator<Item = &'a ProcessSample> + 'a {
        let is_member =
            |key: ProcessKey| self.members.get(key).is_some_and(|member| member.place.is_some());
        snapshot.processes.iter().filter(move |process| is_member(process.key))
    }

    /// Adds one sweep, and what moved since the one before, to the groups, and reports them.
    pub fn fold(
        &mut self,
        snapshot: &Snapshot,
        movement: &Movement,
        resolution: &Resolution,
    ) -> Report {
        self.begin_interval(movement);
        let earlier = self.owners_of_moved(movement);
        let decided_owner_of = |key| self.owner_of(key).filter(|owner| owner.is_decided());
        let earlier_reapers: Vec<Option<Owner>> =
            movement.residuals.iter().map(|residual| decided_owner_of(residual.reaper)).collect();
        self.former = match movement.successions.is_empty() {
            true => Vec::new(),
            false => self.members.take_former(|key| movement.succession(key).is_some()),
        };
        self.undecided.forget(self.former.iter().map(|former| former.key));
        // What was waited across a change of group is the former one's.
        self.add_delays(snapshot, movement);
        self.assign_all(snapshot, resolution);
        if movement.is_baseline && self.start == Start::AtDoneBefore {
            self.start_totals(snapshot);
        }
        self.begin_delays(movement);
        self.add_delays(snapshot, movement);
        self.put_late_in_its_time(movement, &earlier);
        self.give_deltas(movement, earlier);
        self.note_doubts(movement);
        let (nobodys_io, nobodys_usage) = self.give_residuals(movement, earlier_reapers);
        let census = self.take_census(snapshot, movement);
        let unattributed_tcp_bytes = self.add_traffic(snapshot);
        self.lost_records_total = self.lost_records_total.saturating_add(movement.missing_records);
        let accuracy = Accuracy {
            tier: self.tier,
            lost: self.settle(snapshot, movement),
            lost_records: movement.missing_records,
            lost_records_total: self.lost_records_total,
            io_bound_bytes: self.io_bound_bytes(&census.tallies),
            unattributed_io_bytes: storage_bytes(nobodys_io),
            unattributed_tcp_bytes,
            unattributed_cpu_ns: nobodys_usage.cpu_ns(),
            undecided: census.undecided,
        };
        let interval = Interval::between(self.previous.replace(snapshot.taken_at), snapshot);
        let mut report = self.report(census.tallies, snapshot, interval, accuracy);
        report.trouble.fallen_counters = movement.fallen;
        report
    }

    /// Whose each of those was that moved, as long as no place is decided anew; `None` where that
    /// was not decided yet.
    fn owners_of_moved(&mut self, movement: &Movement) -> Vec<Option<Owner>> {
        let mut owners = std::mem::take(&mut self.earlier);
        let walk = Walk::default();
        owners.extend(movement.processes.iter().map(|delta| {
            let owner = self.members.find(&walk, delta.key).map(Member::owner);
            owner.filter(|owner| owner.is_decided())
        }));
        for next in &movement.successions {
            let begin = movement.processes.partition_point(|delta| delta.key < next.key);
            let end = movement.processes.partition_point(|delta| delta.key <= next.key);
            owners.get_mut(begin + 1..end).unwrap_or_default().fill(None);
            if self.members.get(next.key).is_some_and(Member::is_undecided) {
                owners.get_mut(begin..=begin).unwrap_or_default().fill(Some(Owner::Stranger));
            }
        }
        self.slacks.earlier.give_back(&mut owners);
        owners
    }

    fn begin_interval(&mut self, movement: &Movement) {
        self.round += 1;
        self.marks = match movement.is_baseline {
            true => Marks::default(),
            false => Marks::of(movement.ends),
        };
        if movement.spilled_records > 0 {
            // What was added up for parents holds no waits.
            self.marks.delays = Mark::LowerBound;
        }
        for row in &mut self.groups {
            row.totals.begin_interval(self.marks);
        }
    }

    /// Gives what each process did itself to the group that it was in when it did, or else is
    /// in now. Where that is not decided yet it is kept until then.
    fn give_deltas(&mut self, movement: &Movement, mut earlier: Vec<Option<Owner>>) {
        let walk = Walk::default();
        for (delta, owner) in movement.processes.iter().zip(earlier.drain(..)) {
            let now = || self.members.find(&walk, delta.key).map(Member::owner);
            let has_left = delta.rounded_threads > 0 && owner.is_some() && now() != owner;
            let owner = owner.or_else(now);
            if let Some(group) = self.group_mut(owner) {
                group.grow(delta.io.unwrap_or_default(), delta.usage);
                group.round(delta.rounded_records);
                if has_left {
                    // The living are told of with their group.
                    group.round(delta.rounded_threads);
                }
                if delta.rounded_threads > 0 && delta.io.is_some_and(|io| !io.is_zero()) {
                    group.weaken_io(Mark::Bound);
                }
            }
        }
        self.earlier = earlier;
    }

    /// Gives all that was inherited; returns what nobody can be named for.
    fn give_residuals(
        &mut self,
        movement: &Movement,
        earlier_reapers: Vec<Option<Owner>>,
    ) -> (IoDelta, UsageDelta) {
        let mut nobodys = (IoDelta::ZERO, UsageDelta::ZERO);
        for (residual, reaper) in movement.residuals.iter().zip(earlier_reapers) {
            let rest = self.give_residual(residual, reaper);
            nobodys = (nobodys.0.plus(rest.0), nobodys.1.plus(rest.1));
        }
        nobodys
    }

    /// The members that ended in the interval that was folded last, each once.
    pub fn ended(&self) -> impl Iterator<Item = EndedMember<'_>> {
        self.ended.iter().filter_map(|(key, place)| {
            let group = &*self.groups.get(place.row.index())?.name;
            Some(EndedMember { key: *key, group, is_descendant: place.role == Role::Descendant })
        })
    }

    /// What the records of the interval that was folded last promise of these groups.
    pub(crate) fn tier(&self) -> Tier {
        self.tier
    }

    /// Promises less of those groups whose members missing records concern, or whose I/O is out
    /// of sight.
    fn note_doubts(&mut self, movement: &Movement) {
        self.tier = self.tier_of(movement);
        for key in &movement.inferred {
            if let Some(totals) = self.totals_in_doubt(*key) {
                totals.weaken(Marks::of(Ends::Inferred));
            }
        }
        for key in &movement.unread {
            if let Some(totals) = self.totals_in_doubt(*key) {
                totals.io_is_partial = true;
            }
        }
    }

    /// Which totals may miss something of what a process did. Of one that is undecided and did
    /// nothing, nothing is missing, and it takes no room.
    fn totals_in_doubt(&mut self, key: ProcessKey) -> Option<&mut GroupTotals> {
        match self.owner_of(key) {
            Some(Owner::Undecided(key)) => self.undecided.known_totals_of(key),
            owner => self.group_mut(owner),
        }
    }

    /// Missing records lower the tier where they may concern a member.
    fn tier_of(&self, movement: &Movement) -> Tier {
        let is_member = |key: &ProcessKey| matches!(self.owner_of(*key), Some(Owner::Row(_)));
        match movement.ends {
            _ if movement.inferred.iter().any(is_member) => Tier::C,
            Ends::Exact if movement.spilled_records == 0 => Tier::A,
            Ends::Exact | Ends::Rounded => Tier::B,
            Ends::Inferred => Tier::C,
        }
    }

    /// How many processes are remembered: the living, and those that ended until the ledger has
    /// settled them. For tests of that bound.
    #[doc(hidden)]
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// Gives the rows there may be to the largest, before the first process takes one.
    fn reserve_rows(&mut self, snapshot: &Snapshot) {
        let Rows::Keyed { selector, key, rows_max } = &self.rows else { return };
        let mut rss_of_name: HashMap<Box<[u8]>, u64> = HashMap::new();
        for process in &snapshot.processes {
            if selector.matches(process, snapshot, &self.resolution) == Verdict::Yes
                && let Some(name) = row_name(key, selector, process, &self.resolution)
            {
                let rss_bytes = process.gauges.memory().value().map_or(0, |m| m.rss_bytes);
                let sum = rss_of_name.entry(name).or_default();
                *sum = sum.saturating_add(rss_bytes);
            }
        }
        let mut names: Vec<_> = rss_of_name.into_iter().collect();
        names.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        for (name, _) in names.into_iter().take(*rows_max) {
            self.row_of_name.insert(name.clone(), self.groups.len());
            self.groups.push(Row::named(&name));
        }
    }

    /// Where every process of the snapshot belongs, ancestors before descendants.
    fn assign_all(&mut self, snapshot: &Snapshot, resolution: &Resolution) {
        if self.resolution != *resolution {
            self.resolution.clone_from(resolution);
            for member in self.members.iter_mut() {
                member.decision = Decision::Doubtful(RowNumber::FIRST);
            }
        }
        if self.groups.is_empty() {
            self.reserve_rows(snapshot);
        }
        let mut turns = std::mem::take(&mut self.turns);
        self.find_turns(snapshot, &mut turns);
        turns.sort_unstable();
        self.slacks.turns.give_back(&mut turns);
        let mut waiting = Vec::new();
        let walks = Walks::default();
        for turn in turns.drain(..) {
            let Some(process) = turn.process(snapshot) else { continue };
            waiting.push(process);
            // Of thousands that one process has forked this is all there is to ask.
            if !process.lineage.forked_by().is_some_and(|forker| self.is_looked_at(forker, &walks))
            {
                let ancestors = snapshot.ancestors(process);
                let is_next = |next: &&ProcessSample| !self.is_looked_at(next.key, &walks);
                waiting.extend(ancestors.take_while(is_next));
            }
            while let Some(next) = waiting.pop() {
                self.assign(next, snapshot, &walks);
            }
        }
        // The first sweep meets nobody but newcomers, each later one few.
        self.turns = if self.round == 1 { Vec::new() } else { turns };
    }

    /// Looks over everybody, and puts those on the list whose place is to be decided: who is
    /// new, has become another, or could not be judged. Those without a place look to their
    /// parents anew where a place, or a parent, has just changed.
    fn find_turns(&mut self, snapshot: &Snapshot, turns: &mut Vec<Turn>) {
        // As much room as the first sweep needs, and no more.
        let expected = snapshot.processes.len().saturating_sub(self.members.len())
            + snapshot.exits.processes.len();
        let (mut newcomers, walk) = (Vec::new(), Walk::default());
        slack::make_room(&mut newcomers, expected);
        slack::make_room(turns, expected);
        let (round, looks_at_ports) = (self.round, self.looks_at_ports);
        let mut has_placeless = false;
        for (position, process) in snapshot.processes.iter().enumerate() {
            let Some(member) = self.members.next(&walk, process.key) else {
                if process.key.start_time_ticks <= self.swept_until_ticks {
                    self.restless_rounds = RESTLESS_ROUNDS;
                }
                newcomers.push(Member::new(process, round));
                turns.push(Turn::of(process, position));
                continue;
            };
            let has_new_parent = member.parent_pid != process.parent_pid;
            member.parent_pid = process.parent_pid;
            let may_begin = looks_at_ports && member.may_begin_to_match();
            if may_begin || !member.is_decided(process) {
                self.restless_rounds = RESTLESS_ROUNDS;
                turns.push(Turn::of(process, position));
                continue;
            }
            if has_new_parent {
                self.restless_rounds = RESTLESS_ROUNDS;
            }
            member.round = round;
            has_placeless |= member.is_placeless();
        }
        self.remember_when_over(snapshot);
        if self.restless_rounds > 0 {
            self.restless_rounds -= 1;
            if has_placeless {
                self.find_placeless(snapshot, turns);
            }
        }
        self.find_ended(snapshot, turns, &mut newcomers);
        self.members.enter(&mut newcomers);
    }

    fn remember_when_over(&mut self, snapshot: &Snapshot) {
        let sweep_ms = u64::try_from(snapshot.duration.as_millis()).unwrap_or(u64::MAX);
        let sweep_ticks = sweep_ms.saturating_mul(snapshot.host.ticks_per_second) / 1000;
        self.swept_until_ticks = snapshot.taken_at_ticks.saturating_add(sweep_ticks + 1);
    }

    /// Puts those on the list that ended.
    fn find_ended(&self, snapshot: &Snapshot, turns: &mut Vec<Turn>, newcomers: &mut Vec<Member>) {
        let (seen_walk, walk) = (Walk::default(), Walk::default());
        for (position, exit) in snapshot.exits.processes.iter().enumerate() {
            let process = &exit.sample;
            let seen = seen_walk.find(&snapshot.processes, process.key, |process| process.key);
            if seen.is_some() {
                continue;
            }
            if self.members.find(&walk, process.key).is_none() {
                newcomers.push(Member::new(process, self.round));
            }
            turns.push(Turn::of(process, snapshot.processes.len() + position));
        }
    }

    /// Puts those on the list that have no place though nothing excludes them.
    fn find_placeless(&mut self, snapshot: &Snapshot, turns: &mut Vec<Turn>) {
        let (walk, round) = (Walk::default(), self.round);
        for (position, process) in snapshot.processes.iter().enumerate() {
            let member = self.members.next(&walk, process.key);
            if let Some(member) = member.filter(|m| m.round == round && m.is_placeless()) {
                member.round = 0;
                turns.push(Turn::of(process, position));
            }
        }
    }

    fn is_looked_at(&self, key: ProcessKey, walks: &Walks) -> bool {
        let member = self.members.find(&walks.forkers, key);
        member.is_some_and(|member| member.round == self.round)
    }

    /// Decides where one process belongs; its parent has been decided before.
    fn assign(&mut self, process: &ProcessSample, snapshot: &Snapshot, walks: &Walks) {
        let member = self.members.find(&walks.members, process.key);
        let Some(member) = member.filter(|member| member.round != self.round) else { return };
        let remembered = member.place;
        let may_begin = self.looks_at_ports && member.may_begin_to_match();
        let is_decided = !may_begin && member.is_decided(process);
        let (place, decision) = match (is_decided.then_some(member.decision), remembered) {
            (Some(decision), Some(place)) => (Some(place), decision),
            (Some(Decision::Excluded), None) => (None, Decision::Excluded),
            (Some(decision), None) => self.inherit(process, snapshot, (None, decision), walks),
            (None, _) => self.decide(process, snapshot, remembered, walks),
        };
        let round = self.round;
        let Some(member) = self.members.next(&walks.members, process.key) else { return };
        let was_undecided = member.is_undecided();
        let has_executed = member.program.follow(ProgramMark::of(process));
        let is_another = was_undecided
            && (has_executed || is_another_program(&member.identity, &process.identity));
        (member.place, member.decision, member.round) = (place, decision, round);
        member.identity.clone_from(&process.identity);
        if is_another {
            member.has_lost_deeds = false;
            self.undecided.forget([process.key]);
        }
        if was_undecided && !member.is_undecided() {
            self.catch_up(process.key);
        }
    }

    /// Gives what a process did until it was decided where it belongs to its group, if it is in
    /// one.
    fn catch_up(&mut self, key: ProcessKey) {
        let deeds = self.undecided.take(key);
        let Some(member) = self.members.get_mut(key) else { return };
        let has_lost_deeds = std::mem::take(&mut member.has_lost_deeds);
        let owner = member.owner();
        let Some(totals) = self.group_mut(Some(owner)) else { return };
        if let Some(deeds) = deeds {
            totals.absorb(&deeds);
        }
        if has_lost_deeds {
            totals.miss_deeds();
        }
    }

    /// A process's own match; else what it was, an exec that matches nothing keeping the
    /// group; else its parent's.
    fn decide(
        &mut self,
        process: &ProcessSample,
        snapshot: &Snapshot,
        remembered: Option<Place>,
        walks: &Walks,
    ) -> (Option<Place>, Decision) {
        let (matched, decision) = self.own_match(process, snapshot);
        if let Some(row) = matched {
            let role = Role::Matched;
            return match self.row(row, process, snapshot, walks) {
                Some(row) => (Some(Place { row: RowNumber::of(row), role }), decision),
                None if self.is_row_in_doubt(process) => {
                    (None, Decision::Doubtful(RowNumber::of(row)))
                }
                None => (None, decision),
            };
        }
        let kept = remembered.filter(|place| self.takes_descendants(place.row.index()));
        self.inherit(process, snapshot, (kept, decision), walks)
    }

    /// Where a process belongs that does not match itself: where it was, else with its
    /// parent, unless the selector there excludes it.
    fn inherit(
        &mut self,
        process: &ProcessSample,
        snapshot: &Snapshot,
        (kept, decision): (Option<Place>, Decision),
        walks: &Walks,
    ) -> (Option<Place>, Decision) {
        let inherited = || self.nearest_row(process, snapshot, walks);
        let Some(row) = kept.map(|place| place.row.index()).or_else(inherited) else {
            return (None, decision);
        };
        let is_ourselves = self.resolution.own_pids.contains(&process.key.pid);
        if !self.takes_descendants(row) || is_ourselves {
            return (None, decision);
        }
        if self.selector(row).excludes(process, snapshot, &self.resolution) {
            return (None, Decision::Excluded);
        }
        let place = kept.or_else(|| {
            let row = self.row(row, process, snapshot, walks)?;
            Some(Place { row: RowNumber::of(row), role: Role::Descendant })
        });
        (place, decision)
    }

    /// Whether a process without a row may have one once more of it can be read.
    fn is_row_in_doubt(&self, process: &ProcessSample) -> bool {
        match &self.rows {
            Rows::Keyed { key, .. } => key.doubt(&process.identity).is_some(),
            Rows::Named(_) => false,
        }
    }

    /// The first row that a process matches itself, and whether all rows up to it could be
    /// decided: what is still unknown may turn into a match later.
    fn own_match(&self, process: &ProcessSample, snapshot: &Snapshot) -> (Option<usize>, Decision) {
        let mut decision = Decision::Final;
        let mut is_match = |row: usize, selector: &Selector| {
            let verdict = selector.matches(process, snapshot, &self.resolution);
            if matches!(verdict, Verdict::Unknown(_)) && decision == Decision::Final {
                decision = Decision::Doubtful(RowNumber::of(row));
            }
            verdict == Verdict::Yes
        };
        let row = match &self.rows {
            Rows::Keyed { selector, .. } => is_match(0, selector).then_some(0),
            Rows::Named(named) => (0..named.len()).find(|row| is_match(*row, &named[*row].1)),
        };
        (row, decision)
    }

    /// The row of the nearest ancestor, past those that were excluded.
    fn nearest_row(
        &self,
        process: &ProcessSample,
        snapshot: &Snapshot,
        walks: &Walks,
    ) -> Option<usize> {
        let place_of = |forker| self.members.find(&walks.forkers, forker)?.place;
        let forker = process.lineage.forked_by().and_then(place_of);
        if let Some(place) = forker {
            return Some(place.row.index());
        }
        for ancestor in snapshot.ancestors(process) {
            let member = self.members.get(ancestor.key)?;
            match member.place {
                None if member.decision == Decision::Excluded => {}
                place => return Some(place?.row.index()),
            }
        }
        None
    }

    fn takes_descendants(&self, row: usize) -> bool {
        self.selector(row).descendants() == Descendants::Taken
    }

    /// The selector of a named row, or the one of all keyed rows.
    fn selector(&self, row: usize) -> &Selector {
        match &self.rows {
            Rows::Keyed { selector, .. } => selector,
            Rows::Named(named) => &named[row].1,
        }
    }

    /// The row itself where rows are named; else the row of the process's own value, or
    /// where it has none the row of its parent.
    fn row(
        &mut self,
        row: usize,
        process: &ProcessSample,
        snapshot: &Snapshot,
        walks: &Walks,
    ) -> Option<usize> {
        let Rows::Keyed { selector, key, rows_max } = &self.rows else { return Some(row) };
        let Some(name) = row_name(key, selector, process, &self.resolution) else {
            return self.nearest_row(process, snapshot, walks);
        };
        if let Some(row) = self.row_of_name.get(&name) {
            return Some(*row);
        }
        if self.groups.len() < *rows_max {
            return Some(self.new_row(name));
        }
        let row = self.deserted_row().unwrap_or_else(|| self.other_row());
        if *self.groups[row].name != *OTHER {
            self.reuse_row(row, name);
        }
        Some(row)
    }

    fn new_row(&mut self, name: Box<[u8]>) -> usize {
        let row = self.groups.len();
        let new = self.empty_row(&name);
        self.groups.push(new);
        self.row_of_name.insert(name, row);
        row
    }

    /// A row that begins in this interval.
    fn empty_row(&self, name: &[u8]) -> Row {
        let mut row = Row { last_peopled: self.round, ..Row::named(name) };
        row.totals.begin_interval(self.marks);
        row
    }

    fn other_row(&mut self) -> usize {
        let row = self.row_of_name.get(OTHER).copied();
        row.unwrap_or_else(|| self.new_row(OTHER.into()))
    }

    /// A row that has had no member for so long that its name may be forgotten.
    fn deserted_row(&self) -> Option<usize> {
        let is_deserted = |group: &Row| {
            group.last_peopled + ROUNDS_DESERTED < self.round && *group.name != *OTHER
        };
        self.groups.iter().position(is_deserted)
    }

    /// Gives a deserted row to another name. What it had added up to goes on in `other`.
    fn reuse_row(&mut self, row: usize, name: Box<[u8]>) {
        let other = self.other_row();
        let new = self.empty_row(&name);
        let deserted = std::mem::replace(&mut self.groups[row], new);
        self.groups[other].totals.absorb(&deserted.totals);
        self.row_of_name.remove(&deserted.name);
        self.row_of_name.insert(name, row);
    }

    /// Who bore a key that is another's since the last interval.
    fn former(&self, key: ProcessKey) -> Option<&Member> {
        self.former.get(self.former_position(key)?)
    }

    fn former_position(&self, key: ProcessKey) -> Option<usize> {
        self.former.binary_search_by_key(&key, |member| member.key).ok()
    }

    fn owner_of(&self, key: ProcessKey) -> Option<Owner> {
        self.members.get(key).map(Member::owner)
    }

    fn group_mut(&mut self, owner: Option<Owner>) -> Option<&mut GroupTotals> {
        match owner? {
            Owner::Row(row) => self.groups.get_mut(row).map(|row| &mut row.totals),
            Owner::Undecided(key) => {
                let totals = self.undecided.totals_of(key, self.marks);
                if totals.is_none()
                    && let Some(member) = self.members.get_mut(key)
                {
                    member.has_lost_deeds = true;
                }
                totals
            }
            Owner::Stranger => None,
        }
    }

    /// What the members had done before anyone looked. Of those who may turn out to be members it
    /// will be missing.
    fn start_totals(&mut self, snapshot: &Snapshot) {
        for process in &snapshot.processes {
            let Some(member) = self.members.get_mut(process.key) else { continue };
            member.has_lost_deeds = member.is_undecided();
            let Some(place) = member.place else { continue };
            let has_foreign_parent = snapshot
                .by_pid(process.parent_pid)
                .and_then(|parent| self.members.get(parent.key)?.place)
                .filter(|parent| parent.row != place.row);
            if let Some(parent) = has_foreign_parent {
                self.groups[parent.row.index()].totals.start_has_foreign = true;
            }
            let takes_descendants = self.takes_descendants(place.row.index());
            let group = &mut self.groups[place.row.index()].totals;
            if takes_descendants {
                group.start_with_inherited(process);
            } else {
                group.start_with_own(process);
            }
        }
    }

    /// Keeps what was done before the interval out of the rates of those whose it is, who were
    /// `earlier` those of each process that moved.
    fn put_late_in_its_time(&mut self, movement: &Movement, earlier: &[Option<Owner>]) {
        for (key, late) in &movement.late {
            let position = movement.processes.binary_search_by_key(key, |delta| delta.key).ok();
            let owner = position.and_then(|position| *earlier.get(position)?);
            if let Some(group) = self.group_mut(owner.or_else(|| self.owner_of(*key))) {
                group.come_late(*late);
            }
        }
    }

    /// Gives an inherited remainder to the group of those it came with. Returns what nobody
    /// can be named for.
    fn give_residual(
        &mut self,
        residual: &Residual,
        earlier_reaper: Option<Owner>,
    ) -> (IoDelta, UsageDelta) {
        let io = residual.io.unwrap_or_default();
        let owner = residual_owner(residual, |key| match earlier_reaper {
            Some(earlier) if key == residual.reaper => earlier,
            _ => {
                // Of one that has ended nothing more will be known.
                if let Some(former) = self.former(key) {
                    return former.owner().by_now();
                }
                let owner = self.owner_of(key).unwrap_or(Owner::Stranger);
                if key == residual.reaper { owner } else { owner.by_now() }
            }
        });
        let Some(owner) = owner else { return (io, residual.usage) };
        let is_inferred = !io.is_zero();
        let (known, unknown) = match residual.io_is_unattributed {
            true => (IoDelta::ZERO, io),
            false => (io, IoDelta::ZERO),
        };
        match self.group_mut(Some(owner)) {
            Some(group) => {
                group.grow(known, residual.usage);
                group.come_late(Late { io: residual.late.io.min(known), ..residual.late });
                if is_inferred {
                    group.weaken_io(Mark::Estimate);
                }
                (unknown, UsageDelta::ZERO)
            }
            None => Default::default(),
        }
    }

    /// Looks at everybody once: what the members hold, and how often they gave up the CPU.
    fn take_census(&mut self, snapshot: &Snapshot, movement: &Movement) -> Census {
        let mut tallies: Vec<Tally> = self.groups.iter().map(|_| Tally::default()).collect();
        let (walk, mut undecided) = (Walk::default(), 0);
        for process in &snapshot.processes {
            let Some(member) = self.members.next(&walk, process.key) else { continue };
            let switched = match (member.switched(process, self.round, movement), self.start) {
                (Switched::BeforeAll(_), Start::AtZero) => Switched::Unknown,
                (switched, _) => switched,
            };
            match (member.place, member.decision) {
                (Some(place), _) => {
                    tallies[place.row.index()].add(process, place.role, &self.needs);
                    let row = &mut self.groups[place.row.index()];
                    row.last_peopled = self.round;
                    row.totals.switch_as(switched);
                }
                (None, Decision::Doubtful(row)) => {
                    if switched.has_happened() {
                        let totals = self.undecided.totals_of(process.key, self.marks);
                        member.has_lost_deeds |= totals.is_none();
                        totals.into_iter().for_each(|totals| totals.switch_as(switched));
                    }
                    // It holds nothing any more, and whose its deeds are is told with its end.
                    if process.has_vanished() {
                        continue;
                    }
                    undecided += 1;
                    match &self.rows {
                        Rows::Named(_) => tallies[row.index()].add_undecided(),
                        Rows::Keyed { .. } => tallies.iter_mut().for_each(Tally::add_undecided),
                    }
                }
                (None, _) => {}
            }
        }
        self.add_last_switches(snapshot, movement);
        Census { tallies, undecided }
    }

    /// Context switches of those that ended, where that is recorded.
    fn add_last_switches(&mut self, snapshot: &Snapshot, movement: &Movement) {
        if movement.ends != Ends::Exact || movement.is_baseline {
            return;
        }
        let walk = Walk::default();
        for process in snapshot.exits.processes.iter().map(|exit| &exit.sample) {
            let former = movement.succession(process.key).filter(|next| next.ends_now);
            let position = former.and_then(|next| self.former_position(next.key));
            let former = position.and_then(|position| self.former.get_mut(position));
            let member = former.or_else(|| self.members.next(&walk, process.key));
            let Some(member) = member else { continue };
            let switched = member.switched(process, self.round, movement);
            if let Some(place) = member.place {
                self.groups[place.row.index()].totals.switch_as(switched);
            }
        }
    }

    /// What processes that were watched since they began had waited then: nothing.
    fn begin_delays(&mut self, movement: &Movement) {
        if !self.shows_delays || movement.is_baseline {
            return;
        }
        for delta in &movement.processes {
            if let Some(member) = self.members.get_mut(delta.key)
                && member.first_round == self.round
            {
                member.delays.get_or_insert_default();
            }
        }
    }

    /// For how long members have waited that live, and those that ended until they did. What a
    /// process has waited only grows, so that of two sights the larger one is right.
    fn add_delays(&mut self, snapshot: &Snapshot, movement: &Movement) {
        if !self.shows_delays {
            return;
        }
        for process in &snapshot.processes {
            self.add_delays_of(process.key, &process.gauges.seldom.delays, movement);
        }
        // What had ended before the first sweep did all it did before anybody looked.
        let first_ticks = if movement.is_baseline { snapshot.taken_at_ticks } else { 0 };
        for exit in &snapshot.exits.threads {
            if exit.process.start_time_ticks >= first_ticks
                || snapshot.by_key(exit.process).is_some()
            {
                self.add_delays_of(exit.process, &exit.delays, movement);
            }
        }
    }

    fn add_delays_of(&mut self, key: ProcessKey, seen: &Reading<Delays>, movement: &Movement) {
        let Reading::Value(delays) = seen else { return };
        let Some(member) = self.members.get_mut(key) else { return };
        let total = delays.total;
        let before = member.delays.as_deref().copied();
        **member.delays.get_or_insert_default() = total.raised_to(before.unwrap_or_default());
        let owner = member.owner();
        let has_waited = match before {
            Some(before) => !total.since_clamped(before).is_zero(),
            None => !movement.is_baseline,
        };
        // There is room for few of those who are undecided: not for whoever does nothing. What is
        // missing of a reading will be missing of it when that one is decided, too.
        if !owner.is_decided() && !has_waited {
            return;
        }
        let starts_there = self.start == Start::AtDoneBefore;
        let Some(totals) = self.group_mut(Some(owner)) else { return };
        totals.miss_delays(DelaysMissing::of(delays));
        match before {
            Some(before) => totals.wait(total.since_clamped(before)),
            None if movement.is_baseline => {
                if starts_there {
                    totals.delays = totals.delays.plus(total.as_delta());
                }
            }
            None => totals.miss_delays(DelaysMissing::ALL),
        }
    }

    /// What connections have moved. Returns the bytes of which nobody knows whose they are.
    fn add_traffic(&mut self, snapshot: &Snapshot) -> u64 {
        let mut book = std::mem::take(&mut self.traffic);
        let movement = book.fold(snapshot, |key| self.owner_of(key).map(Owner::by_now));
        self.traffic = book;
        let TrafficMovement { credits, is_baseline, partial, awaiting, shared, .. } = movement;
        for (row, moved) in credits {
            if let Some(group) = self.group_mut(Some(Owner::Row(row))) {
                match is_baseline {
                    true => group.tcp = group.tcp.plus(moved),
                    false => group.transfer(moved),
                }
            }
        }
        for (rows, mark) in [
            (partial, GroupTotals::miss_traffic as fn(&mut GroupTotals)),
            (awaiting, GroupTotals::await_traffic),
            (shared, GroupTotals::share_traffic),
        ] {
            for row in rows {
                self.group_mut(Some(Owner::Row(row))).map(mark).unwrap_or_default();
            }
        }
        if movement.all_are_partial {
            self.groups.iter_mut().for_each(|row| row.totals.miss_traffic());
        }
        movement.unattributed_bytes
    }

    /// The largest error that rounded bytes may have brought into a group's I/O.
    fn io_bound_bytes(&self, tallies: &[Tally]) -> u64 {
        let ended = self.groups.iter().map(|row| row.totals.io_bound_bytes);
        let living = tallies.iter().map(Tally::io_bound_bytes);
        ended.zip(living).map(|(ended, living)| ended.saturating_add(living)).max().unwrap_or(0)
    }

    /// Counts what ended, and forgets those of whom nothing more will be heard. Returns
    /// how many members' tails are lost.
    fn settle(&mut self, snapshot: &Snapshot, movement: &Movement) -> u64 {
        self.ended.clear();
        let walk = Walk::default();
        let followed = movement.successions.iter().filter(|next| next.ends_now);
        let mut followed: Vec<ProcessKey> = followed.map(|next| next.key).collect();
        for key in &movement.ended {
            let member = match followed.iter().position(|former| former == key) {
                Some(position) => self.former(followed.swap_remove(position)),
                None => self.members.find(&walk, *key),
            };
            let Some(member) = member else { continue };
            let Some(place) = member.place else { continue };
            let is_unread = member.delays.is_none();
            self.ended.push((*key, place));
            if let Some(row) = self.groups.get_mut(place.row.index()) {
                row.totals.ended += 1;
                row.totals.ended_moved += 1;
                if is_unread {
                    row.totals.miss_delays(DelaysMissing::ALL);
                }
            }
        }
        self.slacks.ended.give_back(&mut self.ended);
        let is_member = |key: &&ProcessKey| matches!(self.owner_of(**key), Some(Owner::Row(_)));
        let lost = movement.lost.iter().filter(is_member).count();
        let walk = Walk::default();
        let seen = |key: ProcessKey| walk.find(&snapshot.processes, key, |process| process.key);
        let gone = movement.settled.iter().filter(|key| seen(**key).is_none());
        let gone: Vec<ProcessKey> = gone.copied().collect();
        self.undecided.forget(gone.iter().copied());
        self.undecided.end_interval();
        self.members.forget(gone);
        lost as u64
    }

    fn report(
        &mut self,
        mut tallies: Vec<Tally>,
        snapshot: &Snapshot,
        interval: Option<Interval>,
        accuracy: Accuracy,
    ) -> Report {
        for pid in &snapshot.unreadable_pids {
            let bearers = self.members.bearers_of(*pid);
            for place in bearers.iter().filter_map(|member| member.place) {
                tallies[place.row.index()].add_unreadable();
                self.groups[place.row.index()].last_peopled = self.round;
            }
        }
        let columns = Arc::clone(&self.columns);
        let rows = self.groups.iter_mut().zip(tallies);
        let groups = rows.map(|(group, tally)| group.report(tally, snapshot, interval, &columns));
        Report {
            wall_time: snapshot.wall_time,
            interval: interval.map(|interval| interval.elapsed),
            accuracy,
            groups: groups.collect(),
            columns: self.columns.clone(),
            host: snapshot.host,
            trouble: snapshot.trouble,
        }
    }
}

/// What columns need, each once, without what always comes.
fn distinct_needs(columns: &[Column]) -> Vec<Need> {
    let mut needs: Vec<Need> = columns.iter().map(|column| column.metric.need).collect();
    needs.sort_unstable();
    needs.dedup();
    needs.retain(|need| *need != Need::Always);
    needs
}

/// The name of a process's own row; `None` where it has none.
fn row_name(
    key: &GroupKey,
    selector: &Selector,
    process: &ProcessSample,
    resolution: &Resolution,
) -> Option<Box<[u8]>> {
    if *key == GroupKey::UnitOrName && process.identity.is_kernel_thread {
        return Some(KERNEL.into());
    }
    key.value_of(process, selector, resolution)
}

/// Whose an inherited remainder is: that of the group of those it came with.
///
/// Children last read as zombies are final and have no part in it. Where the others are
/// of several groups nobody can say, and the answer is `None`. Where no child is known the
/// remainder is the reaper's.
pub fn residual_owner<G: PartialEq>(
    residual: &Residual,
    owner_of: impl Fn(ProcessKey) -> G,
) -> Option<G> {
    let mut all = residual.taken_out.iter().map(|child| owner_of(child.key));
    let Some(first) = all.next() else { return Some(owner_of(residual.reaper)) };
    if all.all(|other| other == first) {
        return Some(first);
    }
    let with_tail = residual.taken_out.iter().filter(|child| !child.was_zombie);
    let mut with_tail = with_tail.map(|child| owner_of(child.key));
    let first = with_tail.next()?;
    with_tail.all(|other| other == first).then_some(first)
}

/// Bytes read from and written to storage.
fn storage_bytes(io: IoDelta) -> u64 {
    io[IoCounter::ReadBytes].saturating_add(io[IoCounter::WriteBytes])
}

impl Row {
    fn named(name: &[u8]) -> Self {
        Row { name: name.into(), totals: GroupTotals::default(), last_peopled: 0 }
    }

    fn report(
        &mut self,
        mut tally: Tally,
        snapshot: &Snapshot,
        interval: Option<Interval>,
        columns: &[Column],
    ) -> GroupReport {
        tally.finish();
        let peak = &mut self.totals.rss_peak_bytes;
        *peak = tally.rss_bytes().max(*peak);
        let figures = columns
            .iter()
            .map(|column| tally.figure(*column, &self.totals, snapshot, interval))
            .collect();
        GroupReport {
            name: self.name.clone(),
            matched: tally.matched(),
            descendants: tally.descendants(),
            members_mark: tally.members_mark(snapshot),
            unreadable: tally.unreadable(),
            figures,
        }
    }
}
