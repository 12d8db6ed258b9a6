//! What is heard or seen of a process after its end was counted, and who is new.
//!
//! A process is counted to its end once. Two things may come after that. A record may be late: its
//! process was gone without it, and was settled by what polling tells. Then the record completes
//! that: what it holds beyond all that has been counted is credited, and nothing else. And who was
//! recorded while a sweep went past may still be there for the next one, as long as its memory is
//! given back or nobody waits for it; its counters may seem to be in its parent already, where a
//! sister of it was waited for that did as much. So neither is forgotten before nothing more can
//! come.
//!
//! The trap: what a reaper inherited beyond the last sight of those that it waited for has been
//! counted, too, and nobody knows whose it was. A late record is held against that first.

use std::collections::HashSet;

use super::records::{Batch, Ended, Records};
use super::{Fate, Known, Late, Ledger, Movement, Pending, PreviousSweep};
use crate::process::ProcessKey;
use crate::snapshot::Snapshot;
use crate::units::{BootTime, IoDelta, UsageDelta};

/// A record may come so many sweeps after its process was settled. One that is so young that it
/// could be taken for a new process is remembered for longer.
const LATE_SWEEPS_MAX: u32 = 2;

/// What tells whether a process is new that the sweep before did not see.
#[derive(Debug)]
pub(super) struct Newness {
    previous_sweep: PreviousSweep,
    /// The pending, ascending, and when they started.
    pending: Vec<(ProcessKey, Option<BootTime>)>,
}

/// Whether a pending process's counters have been found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    /// Not yet.
    Open,
    /// In the growth of this one.
    In(ProcessKey),
    /// Nobody had them, for too long.
    GivenUp,
}

/// What may still come of a pending process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outlook {
    Nothing,
    /// Another sight: the next sweep may see it.
    Sight,
    /// Its record.
    Record,
}

/// What a reaper was credited with as inherited together with some whose records may still come,
/// less what late records have told.
#[derive(Debug)]
pub(super) struct Inherited {
    reaper: ProcessKey,
    io: IoDelta,
    usage: UsageDelta,
}

impl Newness {
    pub(super) fn after(previous_sweep: PreviousSweep, pending: &[Pending]) -> Self {
        let pending =
            pending.iter().map(|pending| (pending.last.key, pending.last.started_at.get()));
        let mut pending: Vec<_> = pending.collect();
        pending.sort_unstable();
        Newness { previous_sweep, pending }
    }

    /// Whether a process that the sweep before did not see has done all that it did since. One
    /// that an earlier sweep saw is not new.
    pub(super) fn is_new(&self, key: ProcessKey, started_at: Option<BootTime>) -> bool {
        self.previous_sweep.precedes_start_of(key)
            || (self.previous_sweep.may_precede(key)
                && !self.bearers(key).any(|before| !is_another(before, started_at)))
    }

    /// Whether a process that no sweep has seen is older than the one before: nobody can say what of
    /// it is new.
    pub(super) fn was_out_of_sight(&self, key: ProcessKey) -> bool {
        !self.previous_sweep.may_precede(key) && self.bearers(key).next().is_none()
    }

    /// Whether its key is that of another one, of which not all has been heard.
    pub(super) fn succeeds(&self, key: ProcessKey, started_at: Option<BootTime>) -> bool {
        self.bearers(key).any(|before| is_another(before, started_at))
    }

    fn bearers(&self, key: ProcessKey) -> impl Iterator<Item = Option<BootTime>> {
        let begin = self.pending.partition_point(|(pending, _)| *pending < key);
        let rest = self.pending.get(begin..).unwrap_or_default();
        rest.iter().take_while(move |(pending, _)| *pending == key).map(|(_, start)| *start)
    }
}

/// Whether these are starts of two.
pub(super) fn is_another(this: Option<BootTime>, that: Option<BootTime>) -> bool {
    this.zip(that).is_some_and(|(this, that)| this != that)
}

impl Outlook {
    /// Of one that no sweep saw. Where its record was written before this sweep began, it would
    /// have been seen if it had not been gone.
    pub(super) fn of_unseen(ended: &Ended, snapshot: &Snapshot) -> Self {
        if ended.ended_at >= snapshot.taken_at { Outlook::Sight } else { Outlook::Nothing }
    }

    /// Of one that vanished. The record of a zombie would have been there before.
    pub(super) fn of_gone(last: &Known, records: &Records) -> Self {
        let is_awaited = !last.has_ended && !last.is_zombie && records.are_written();
        if is_awaited { Outlook::Record } else { Outlook::Nothing }
    }
}

impl Pending {
    pub(super) fn is_settled(&self) -> bool {
        self.settlement != Settlement::Open
    }

    /// Whether it did something at last that nobody has told, and that its reaper's counters alone may
    /// hold. A zombie has done all it does, and whom nobody waits for leaves nothing to anybody.
    pub(super) fn has_tail_nowhere(&self, batch: &Batch) -> bool {
        let Known { key, is_zombie, has_ended, fate, .. } = self.last;
        let is_final = is_zombie || has_ended || batch.ended(key).is_some();
        !self.is_settled() && !is_final && !self.may_be_spilled && fate == Fate::Reaped
    }

    /// Takes in that a sweep might have seen it and did not, unless it could not be read.
    pub(super) fn is_not_seen_in(&mut self, snapshot: &Snapshot) {
        let is_gone = || snapshot.unreadable_pids.binary_search(&self.last.key.pid).is_err();
        if self.outlook == Outlook::Sight && is_gone() {
            self.outlook = Outlook::Nothing;
        }
    }

    /// Whether nothing more will be heard of it.
    pub(super) fn is_over(&self, this_sweep: PreviousSweep) -> bool {
        let is_late = || self.sweeps > LATE_SWEEPS_MAX && !this_sweep.may_precede(self.last.key);
        self.is_settled()
            && match self.outlook {
                Outlook::Nothing => true,
                Outlook::Sight => false,
                Outlook::Record => is_late(),
            }
    }

    /// Whom it was taken out of in this sweep, if its record may still come.
    fn just_taken_from(&self) -> Option<ProcessKey> {
        match self.settlement {
            Settlement::In(reaper) if self.sweeps == 0 => Some(reaper),
            _ => None,
        }
        .filter(|_| self.outlook == Outlook::Record)
    }
}

impl Ledger {
    /// Credits what records tell of processes that were gone without them, beyond what has been
    /// counted. All of it was done before this interval.
    pub(super) fn join_late(
        &mut self,
        snapshot: &Snapshot,
        batch: &Batch,
        movement: &mut Movement,
    ) {
        let Ledger { pending, records, inherited, .. } = self;
        for pending in pending.iter_mut().filter(|pending| pending.outlook == Outlook::Record) {
            let Pending { last, foreign_cpu, settlement, rounded_records, .. } = pending;
            let key = last.key;
            if !batch.concerns(key)
                || snapshot.by_key(key).is_some()
                || batch.is_of_another(key, last.started_at.get())
            {
                continue;
            }
            let mut delta = batch.last_deeds(records, last).delta(key);
            *rounded_records += delta.rounded_records;
            if let Some(ended) = batch.ended(key) {
                *foreign_cpu = last.end_with(ended, &delta, movement.ends);
                pending.outlook = Outlook::Nothing;
            } else if let Some(total) = last.total_after(&delta) {
                // The rest may be found with its reaper: this is not to be found there again.
                last.raise_io_to(total);
            }
            if let Settlement::In(reaper) = settlement
                && let Ok(position) = inherited.binary_search_by_key(reaper, |i| i.reaper)
            {
                let inherited = &mut inherited[position];
                delta.io = delta.io.map(|io| inherited.take_io(io));
                delta.usage = inherited.take_usage(delta.usage);
            }
            let late = Late { io: delta.io.unwrap_or_default(), usage: delta.usage };
            movement.note_late(&delta, late);
            movement.processes.push(delta);
        }
    }

    /// Remembers what came with those that were just taken out and whose records may still come.
    pub(super) fn note_inherited(&mut self, movement: &Movement) {
        let Ledger { pending, inherited, .. } = self;
        let awaited = pending.iter().filter(|pending| pending.outlook == Outlook::Record);
        let awaited: HashSet<ProcessKey> = awaited
            .filter_map(|pending| match pending.settlement {
                Settlement::In(reaper) => Some(reaper),
                _ => None,
            })
            .collect();
        inherited.retain(|inherited| awaited.contains(&inherited.reaper));
        let just: HashSet<ProcessKey> =
            pending.iter().filter_map(Pending::just_taken_from).collect();
        if just.is_empty() {
            return;
        }
        let residuals = movement.residuals.iter().filter(|r| just.contains(&r.reaper));
        inherited.extend(residuals.map(|residual| Inherited {
            reaper: residual.reaper,
            io: residual.io.unwrap_or_default(),
            usage: residual.usage,
        }));
        inherited.sort_by_key(|inherited| inherited.reaper);
        inherited.dedup_by(|later, known| {
            let is_same = later.reaper == known.reaper;
            if is_same {
                known.io = known.io.plus(later.io);
                known.usage = known.usage.plus(later.usage);
            }
            is_same
        });
    }
}

impl Inherited {
    /// What is left of a late record's I/O when what was credited before is taken off.
    fn take_io(&mut self, io: IoDelta) -> IoDelta {
        let known = self.io.min(io);
        self.io = self.io.less(known);
        io.less(known)
    }

    /// The same of its CPU time, however that is divided, and faults.
    fn take_usage(&mut self, usage: UsageDelta) -> UsageDelta {
        let left = usage.less_in_all(self.usage);
        self.usage = self.usage.less_in_all(usage);
        left
    }
}
