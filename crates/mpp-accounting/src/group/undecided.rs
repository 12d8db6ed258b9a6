//! What those did of whom it cannot be said yet where they belong.
//!
//! That a process is there is known a sweep or two before its environment, and meanwhile it may
//! have done all that it will ever do. So its deeds are kept until it is decided whose it is: then
//! they are its group's, though of no interval, or nobody's.

use std::collections::HashMap;

use crate::group_totals::{GroupTotals, Marks};
use crate::ledger::{Ends, ProcessDelta};
use crate::process::ProcessKey;
use crate::slack::Slack;
use crate::units::{IoDelta, UsageDelta};

/// No more processes than this are kept account of. Of more the deeds are nobody's, and the totals of
/// the group that one of them turns out to belong to are lower bounds.
const REMEMBERED_MAX: usize = 16_384;

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    deeds: HashMap<ProcessKey, Deeds>,
    slack: Slack,
}

/// What one process did while nobody knew whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deeds {
    io: IoDelta,
    usage: UsageDelta,
    rounded_records: u64,
    is_inferred: bool,
}

/// Whether what a process did is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addition {
    Kept,
    NoRoom,
}

impl Undecided {
    /// Adds what a process did in an interval, where there is room for it.
    pub(super) fn add(&mut self, delta: &ProcessDelta) -> Addition {
        if self.deeds.len() >= REMEMBERED_MAX && !self.deeds.contains_key(&delta.key) {
            return Addition::NoRoom;
        }
        let deeds = self.deeds.entry(delta.key).or_insert(Deeds {
            io: IoDelta::ZERO,
            usage: UsageDelta::ZERO,
            rounded_records: 0,
            is_inferred: false,
        });
        deeds.io = deeds.io.plus(delta.io.unwrap_or_default());
        deeds.usage = deeds.usage.plus(delta.usage);
        deeds.rounded_records += delta.rounded_records;
        Addition::Kept
    }

    /// Notes that a missing record concerns a process.
    pub(super) fn infer(&mut self, key: ProcessKey) {
        if let Some(deeds) = self.deeds.get_mut(&key) {
            deeds.is_inferred = true;
        }
    }

    /// What is known of a process that is decided now, once.
    pub(super) fn take(&mut self, key: ProcessKey) -> Option<Deeds> {
        if self.deeds.is_empty() { None } else { self.deeds.remove(&key) }
    }

    /// Forgets these, and gives back what room a storm took.
    pub(super) fn forget(&mut self, keys: &[ProcessKey]) {
        for key in keys {
            self.take(*key);
        }
        self.slack.give_back_map(&mut self.deeds);
    }
}

impl Deeds {
    /// Adds them to the group whose they are.
    pub(super) fn give_to(self, group: &mut GroupTotals) {
        group.catch_up(self.io, self.usage);
        group.round(self.rounded_records);
        if self.is_inferred {
            group.weaken(Marks::of(Ends::Inferred));
        }
    }
}
