//! Who belongs to which group, and what each group adds up to.
//!
//! Membership is decided once per process and exec, and remembered by key: a
//! process's own match wins, else it belongs where its nearest ancestor belongs,
//! also after that ancestor is gone. What a process did across a change of group
//! goes to the group it came from.
//!
//! A group's totals start at what its members had done when they were first seen,
//! and from then on grow only by what the ledger says. They never fall.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ledger::{Movement, Residual};
use crate::process::{ContextSwitches, Identity, ProcessKey, ProcessSample};
use crate::report::{Accuracy, Column, GroupReport, Report, Tier};
use crate::selector::{Descendants, GroupKey, Resolution, Selector, Verdict};
use crate::snapshot::Snapshot;
use crate::tally::{Interval, Tally};
use crate::units::{Delta, IoCounter, IoDelta, IoTotals, Totals, UsageDelta, UsageTotals};

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
    members: HashMap<ProcessKey, Member>,
    groups: Vec<Group>,
    row_of_name: HashMap<Box<[u8]>, usize>,
    /// When the last sweep began, for the interval.
    previous: Option<crate::units::BootTime>,
    resolution: Resolution,
    round: u64,
}

/// A process as the groups see it; also kept for those that ended, until the ledger
/// has settled them.
#[derive(Debug)]
struct Member {
    place: Option<Place>,
    identity: Arc<Identity>,
    /// Whether every condition that was looked at could be decided.
    is_decided: bool,
    switches: ContextSwitches,
    /// The round in which this was last looked at.
    round: u64,
}

/// Where a process belongs, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    row: usize,
    role: Role,
}

/// Why a process belongs to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It matched itself.
    Matched,
    /// It descends from one that matched.
    Descendant,
}

/// A group's totals. They never fall.
#[derive(Debug, Default)]
pub(crate) struct Group {
    name: Box<[u8]>,
    pub(crate) io: IoTotals,
    pub(crate) usage: UsageTotals,
    pub(crate) switches: Totals<2>,
    pub(crate) ended: u64,
    pub(crate) rss_peak_bytes: u64,
    /// What moved since the last sweep.
    pub(crate) io_moved: IoDelta,
    pub(crate) usage_moved: UsageDelta,
    pub(crate) switches_moved: Delta<2>,
    /// Whether the start holds what descendants in other groups had done.
    pub(crate) start_has_foreign: bool,
    /// Whether the start misses what ended threads had done.
    pub(crate) start_is_partial: bool,
}

/// Whose an inherited remainder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Row(usize),
    Stranger,
    Nobody,
}

impl GroupBook {
    /// An empty book that will have these rows and columns.
    #[must_use]
    pub fn new(rows: Rows, columns: Arc<[Column]>) -> Self {
        let groups = match &rows {
            Rows::Named(named) => named.iter().map(|(name, _)| Group::named(name)).collect(),
            Rows::Keyed { .. } => Vec::new(),
        };
        GroupBook {
            rows,
            columns,
            members: HashMap::new(),
            groups,
            row_of_name: HashMap::new(),
            previous: None,
            resolution: Resolution::default(),
            round: 0,
        }
    }

    /// Adds one sweep, and what moved since the one before, to the groups, and reports them.
    pub fn fold(
        &mut self,
        snapshot: &Snapshot,
        movement: &Movement,
        resolution: &Resolution,
    ) -> Report {
        self.round += 1;
        for group in &mut self.groups {
            group.begin_interval();
        }
        let earlier: Vec<Option<Owner>> =
            movement.processes.iter().map(|delta| self.owner_of(delta.key)).collect();
        let earlier_reapers: Vec<Option<Owner>> =
            movement.residuals.iter().map(|residual| self.owner_of(residual.reaper)).collect();
        self.assign_all(snapshot, resolution);
        if movement.is_baseline {
            self.start_totals(snapshot);
        }
        for (delta, owner) in movement.processes.iter().zip(earlier) {
            if let Some(group) = self.group_mut(owner.or_else(|| self.owner_of(delta.key))) {
                group.grow(delta.io.unwrap_or_default(), delta.usage);
            }
        }
        let unattributed_io_bytes = movement
            .residuals
            .iter()
            .zip(earlier_reapers)
            .map(|(residual, reaper)| self.give_residual(residual, reaper))
            .sum();
        self.add_switches(snapshot, movement.is_baseline);
        let lost = self.settle(snapshot, movement);
        let interval = Interval::between(self.previous.replace(snapshot.taken_at), snapshot);
        self.report(snapshot, interval, Accuracy { tier: Tier::C, lost, unattributed_io_bytes })
    }

    /// Gives the rows there may be to the largest, before the first process takes one.
    fn reserve_rows(&mut self, snapshot: &Snapshot) {
        let Rows::Keyed { selector, key, rows_max } = &self.rows else { return };
        let mut rss_of_name: HashMap<Box<[u8]>, u64> = HashMap::new();
        for process in &snapshot.processes {
            if selector.matches(process, snapshot, &self.resolution) == Verdict::Yes
                && let Some(name) = row_name(key, selector, process, snapshot, &self.resolution)
            {
                let rss_bytes = process.gauges.memory.value().map_or(0, |m| m.rss_bytes);
                let sum = rss_of_name.entry(name).or_default();
                *sum = sum.saturating_add(rss_bytes);
            }
        }
        let mut names: Vec<_> = rss_of_name.into_iter().collect();
        names.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        for (name, _) in names.into_iter().take(*rows_max) {
            self.row_of_name.insert(name.clone(), self.groups.len());
            self.groups.push(Group::named(&name));
        }
    }

    /// Where every process of the snapshot belongs, ancestors before descendants.
    fn assign_all(&mut self, snapshot: &Snapshot, resolution: &Resolution) {
        if self.resolution != *resolution {
            self.resolution.clone_from(resolution);
            for member in self.members.values_mut() {
                member.is_decided = false;
            }
        }
        if self.groups.is_empty() {
            self.reserve_rows(snapshot);
        }
        let mut order: Vec<&ProcessSample> = snapshot.processes.iter().collect();
        order.sort_by_key(|process| (process.key.start_time_ticks, process.key.pid));
        let mut waiting = Vec::new();
        for process in order {
            waiting.push(process);
            waiting.extend(
                snapshot.ancestors(process).take_while(|ancestor| !self.is_looked_at(ancestor.key)),
            );
            while let Some(next) = waiting.pop() {
                self.assign(next, snapshot);
            }
        }
    }

    fn is_looked_at(&self, key: ProcessKey) -> bool {
        self.members.get(&key).is_some_and(|member| member.round == self.round)
    }

    /// Decides where one process belongs; its parent has been decided before.
    fn assign(&mut self, process: &ProcessSample, snapshot: &Snapshot) {
        if self.is_looked_at(process.key) {
            return;
        }
        let before = self.members.remove(&process.key);
        let is_known = before.as_ref().is_some_and(|member| {
            member.is_decided && Arc::ptr_eq(&member.identity, &process.identity)
        });
        let remembered = before.as_ref().and_then(|member| member.place);
        let (place, is_decided) = match remembered {
            Some(place) if is_known => (Some(place), true),
            None if is_known => (self.inherited_place(process, snapshot), true),
            _ => self.decide(process, snapshot, remembered),
        };
        let member = Member {
            place,
            identity: Arc::clone(&process.identity),
            is_decided,
            switches: before.map(|member| member.switches).unwrap_or_default(),
            round: self.round,
        };
        self.members.insert(process.key, member);
    }

    /// A process's own match; else what it was, an exec that matches nothing keeping the
    /// group; else its parent's. Also says whether all conditions could be decided.
    fn decide(
        &mut self,
        process: &ProcessSample,
        snapshot: &Snapshot,
        remembered: Option<Place>,
    ) -> (Option<Place>, bool) {
        let (matched, is_decided) = self.own_match(process, snapshot);
        if let Some(row) = matched {
            let row = self.row(row, process, snapshot);
            return (
                row.map(|row| Place { row, role: Role::Matched }),
                is_decided && row.is_some(),
            );
        }
        let kept = remembered.filter(|place| self.takes_descendants(place.row));
        let place = kept.or_else(|| self.inherited_place(process, snapshot));
        (place, is_decided)
    }

    /// The first row that a process matches itself, and whether all rows up to it could be
    /// decided: what is still unknown may turn into a match later.
    fn own_match(&self, process: &ProcessSample, snapshot: &Snapshot) -> (Option<usize>, bool) {
        let mut is_decided = true;
        let mut is_match = |selector: &Selector| {
            let verdict = selector.matches(process, snapshot, &self.resolution);
            is_decided &= !matches!(verdict, Verdict::Unknown(_));
            verdict == Verdict::Yes
        };
        let row = match &self.rows {
            Rows::Keyed { selector, .. } => is_match(selector).then_some(0),
            Rows::Named(named) => named.iter().position(|(_, selector)| is_match(selector)),
        };
        (row, is_decided)
    }

    /// Where a process belongs that does not match itself: with its parent.
    fn inherited_place(&mut self, process: &ProcessSample, snapshot: &Snapshot) -> Option<Place> {
        if self.resolution.own_pids.contains(&process.key.pid) {
            return None;
        }
        let parent = snapshot.by_pid(process.parent_pid)?;
        let row = self.members.get(&parent.key)?.place?.row;
        if !self.takes_descendants(row) {
            return None;
        }
        let row = self.row(row, process, snapshot)?;
        Some(Place { row, role: Role::Descendant })
    }

    fn takes_descendants(&self, row: usize) -> bool {
        let descendants = match &self.rows {
            Rows::Keyed { selector, .. } => selector.descendants(),
            Rows::Named(named) => named[row].1.descendants(),
        };
        descendants == Descendants::Taken
    }

    /// The row itself where rows are named; else the row of the process's own value, or
    /// where it has none the row of its parent.
    fn row(&mut self, row: usize, process: &ProcessSample, snapshot: &Snapshot) -> Option<usize> {
        let Rows::Keyed { selector, key, rows_max } = &self.rows else { return Some(row) };
        let Some(name) = row_name(key, selector, process, snapshot, &self.resolution) else {
            let parent = snapshot.by_pid(process.parent_pid)?;
            return Some(self.members.get(&parent.key)?.place?.row);
        };
        if let Some(row) = self.row_of_name.get(&name) {
            return Some(*row);
        }
        let name = if self.groups.len() < *rows_max { name } else { OTHER.into() };
        let row = *self.row_of_name.entry(name.clone()).or_insert(self.groups.len());
        if row == self.groups.len() {
            self.groups.push(Group::named(&name));
        }
        Some(row)
    }

    fn owner_of(&self, key: ProcessKey) -> Option<Owner> {
        let member = self.members.get(&key)?;
        Some(member.place.map_or(Owner::Stranger, |place| Owner::Row(place.row)))
    }

    fn group_mut(&mut self, owner: Option<Owner>) -> Option<&mut Group> {
        match owner? {
            Owner::Row(row) => self.groups.get_mut(row),
            Owner::Stranger | Owner::Nobody => None,
        }
    }

    /// What the members had done before anyone looked.
    fn start_totals(&mut self, snapshot: &Snapshot) {
        for process in &snapshot.processes {
            let Some(place) = self.members.get(&process.key).and_then(|member| member.place) else {
                continue;
            };
            let has_foreign_parent = snapshot
                .by_pid(process.parent_pid)
                .and_then(|parent| self.members.get(&parent.key)?.place)
                .filter(|parent| parent.row != place.row);
            if let Some(parent) = has_foreign_parent {
                self.groups[parent.row].start_has_foreign = true;
            }
            let takes_descendants = self.takes_descendants(place.row);
            let group = &mut self.groups[place.row];
            if takes_descendants {
                group.start_with_inherited(process);
            } else {
                group.start_with_own(process);
            }
        }
    }

    /// Gives an inherited remainder to the group of those it came with. Returns the bytes
    /// that nobody can be named for.
    fn give_residual(&mut self, residual: &Residual, earlier_reaper: Option<Owner>) -> u64 {
        let io = residual.io.unwrap_or_default();
        let owner = residual_owner(residual, |key| match earlier_reaper {
            Some(earlier) if key == residual.reaper => earlier,
            _ => self.owner_of(key).unwrap_or(Owner::Stranger),
        });
        let owner = owner.unwrap_or(Owner::Nobody);
        let io_is_known = !residual.io_is_unattributed && owner != Owner::Nobody;
        let Some(group) = self.group_mut(Some(owner)) else {
            return if owner == Owner::Nobody { storage_bytes(io) } else { 0 };
        };
        group.grow(if io_is_known { io } else { IoDelta::ZERO }, residual.usage);
        if io_is_known { 0 } else { storage_bytes(io) }
    }

    /// Context switches, of which only the living threads' are known.
    fn add_switches(&mut self, snapshot: &Snapshot, is_baseline: bool) {
        for process in &snapshot.processes {
            let Some(switches) = process.gauges.context_switches.value() else { continue };
            let Some(member) = self.members.get_mut(&process.key) else { continue };
            let before = std::mem::replace(&mut member.switches, *switches);
            let Some(place) = member.place else { continue };
            let moved = Totals([switches.voluntary, switches.involuntary])
                .since_clamped(Totals([before.voluntary, before.involuntary]));
            self.groups[place.row].switch(moved, is_baseline);
        }
    }

    /// Counts what ended, and forgets those of whom nothing more will be heard. Returns
    /// how many members' tails are lost.
    fn settle(&mut self, snapshot: &Snapshot, movement: &Movement) -> u64 {
        for key in &movement.ended {
            if let Some(group) = self.group_mut(self.owner_of(*key)) {
                group.ended += 1;
            }
        }
        let is_member = |key: &&ProcessKey| matches!(self.owner_of(**key), Some(Owner::Row(_)));
        let lost = movement.lost.iter().filter(is_member).count();
        for key in movement.settled.iter().filter(|key| snapshot.by_key(**key).is_none()) {
            self.members.remove(key);
        }
        lost as u64
    }

    fn report(
        &mut self,
        snapshot: &Snapshot,
        interval: Option<Interval>,
        accuracy: Accuracy,
    ) -> Report {
        let mut tallies: Vec<Tally> = self.groups.iter().map(|_| Tally::default()).collect();
        for process in &snapshot.processes {
            if let Some(place) = self.members.get(&process.key).and_then(|member| member.place) {
                tallies[place.row].add(process, place.role, &self.columns);
            }
        }
        let unreadable = self
            .members
            .iter()
            .filter(|(key, _)| snapshot.unreadable_pids.binary_search(&key.pid).is_ok());
        for place in unreadable.filter_map(|(_, member)| member.place) {
            tallies[place.row].add_unreadable();
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

/// The name of a process's own row; `None` where it has none.
fn row_name(
    key: &GroupKey,
    selector: &Selector,
    process: &ProcessSample,
    snapshot: &Snapshot,
    resolution: &Resolution,
) -> Option<Box<[u8]>> {
    if *key == GroupKey::UnitOrName && is_kernel_thread(process, snapshot) {
        return Some(KERNEL.into());
    }
    key.value_of(process, selector, resolution)
}

/// Kernel threads are kthreadd and its children; no other process but init has no parent.
fn is_kernel_thread(process: &ProcessSample, snapshot: &Snapshot) -> bool {
    let is_root = |p: &ProcessSample| p.parent_pid == 0 && *p.identity.comm == *b"kthreadd";
    is_root(process) || snapshot.by_pid(process.parent_pid).is_some_and(is_root)
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

impl Group {
    fn named(name: &[u8]) -> Self {
        Group { name: name.into(), ..Group::default() }
    }

    fn begin_interval(&mut self) {
        self.io_moved = IoDelta::ZERO;
        self.usage_moved = UsageDelta::ZERO;
        self.switches_moved = Delta::ZERO;
    }

    fn grow(&mut self, io: IoDelta, usage: UsageDelta) {
        self.io = self.io.plus(io);
        self.usage = self.usage.plus(usage);
        self.io_moved = self.io_moved.plus(io);
        self.usage_moved = self.usage_moved.plus(usage);
    }

    fn switch(&mut self, moved: Delta<2>, is_baseline: bool) {
        self.switches = self.switches.plus(moved);
        if !is_baseline {
            self.switches_moved = self.switches_moved.plus(moved);
        }
    }

    /// Everything a member did, and what its reaped children had done.
    fn start_with_inherited(&mut self, process: &ProcessSample) {
        let io = process.io.total.value().copied().unwrap_or_default();
        self.io = self.io.plus(io.as_delta());
        self.usage = self.usage.plus(process.usage.own.as_delta());
        self.usage = self.usage.plus(process.usage.reaped.as_delta());
    }

    /// What a member did itself: its living threads where children were folded in.
    fn start_with_own(&mut self, process: &ProcessSample) {
        let total = process.io.total.value().copied().unwrap_or_default();
        let own = process.io.threads.value().map_or(total, |threads| {
            threads.iter().fold(IoTotals::ZERO, |sum, thread| sum.plus(thread.total.as_delta()))
        });
        self.start_is_partial |= own != total;
        self.io = self.io.plus(own.as_delta());
        self.usage = self.usage.plus(process.usage.own.as_delta());
    }

    fn report(
        &mut self,
        mut tally: Tally,
        snapshot: &Snapshot,
        interval: Option<Interval>,
        columns: &[Column],
    ) -> GroupReport {
        tally.finish();
        self.rss_peak_bytes = self.rss_peak_bytes.max(tally.rss_bytes());
        let figures =
            columns.iter().map(|column| tally.figure(*column, self, snapshot, interval)).collect();
        GroupReport {
            name: self.name.clone(),
            matched: tally.matched(),
            descendants: tally.descendants(),
            unreadable: tally.unreadable(),
            figures,
        }
    }
}
