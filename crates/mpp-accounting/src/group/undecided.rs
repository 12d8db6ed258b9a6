//! What those did of whom it cannot be said yet where they belong.
//!
//! That a process is there is known a sweep or two before its environment, and meanwhile it may
//! have done all that it will ever do, and reaped all that it will ever reap. So each of them is a
//! group of its own until it is decided whose it is: then its totals are its group's, though of no
//! interval, or nobody's.

use std::collections::HashMap;
use std::num::NonZeroU16;

use crate::group_totals::{GroupTotals, Marks};
use crate::process::{Identity, ProcessKey, ProcessSample};
use crate::slack::Slack;

/// No more processes than this are kept account of. Of more the deeds are nobody's, and the totals
/// of the group that one of them turns out to belong to are lower bounds.
const REMEMBERED_MAX: usize = 4096;

/// See the top of this file.
#[derive(Debug, Default)]
pub(super) struct Undecided {
    totals: HashMap<ProcessKey, Box<GroupTotals>>,
    slack: Slack,
}

impl Undecided {
    /// What a process has added up to, where there is room for it, for adding what it did in an
    /// interval of which so much can be promised.
    pub(super) fn totals_of(&mut self, key: ProcessKey, marks: Marks) -> Option<&mut GroupTotals> {
        if self.totals.len() >= REMEMBERED_MAX && !self.totals.contains_key(&key) {
            return None;
        }
        let totals = self.totals.entry(key).or_default();
        totals.weaken(marks);
        Some(totals)
    }

    /// What is kept already of a process.
    pub(super) fn known_totals_of(&mut self, key: ProcessKey) -> Option<&mut GroupTotals> {
        self.totals.get_mut(&key).map(|totals| &mut **totals)
    }

    /// What is known of a process that is decided now, once.
    pub(super) fn take(&mut self, key: ProcessKey) -> Option<Box<GroupTotals>> {
        if self.totals.is_empty() { None } else { self.totals.remove(&key) }
    }

    /// Forgets these.
    pub(super) fn forget(&mut self, keys: impl IntoIterator<Item = ProcessKey>) {
        for key in keys {
            self.take(key);
        }
    }

    /// Gives back what room a storm took.
    pub(super) fn end_interval(&mut self) {
        self.slack.give_back_map(&mut self.totals);
    }
}

/// Which of the programs that a process executed one after the other it runs: the last bits of how
/// many there were. `None` where nobody counts them, which only hooks in the kernel do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProgramMark(Option<NonZeroU16>);

impl ProgramMark {
    pub(super) fn of(process: &ProcessSample) -> Self {
        // No process executes thirty thousand programs between two sweeps.
        let last_bits = process.lineage.exec_count().map(|count| (count & 0x7fff) as u16);
        ProgramMark(last_bits.and_then(|bits| NonZeroU16::new(bits + 1)))
    }

    /// Takes over a later one, if there is one. Returns whether that is another program.
    pub(super) fn follow(&mut self, later: ProgramMark) -> bool {
        let before = self.0;
        self.0 = later.0.or(before);
        before.is_some_and(|before| self.0 != Some(before))
    }
}

/// Whether a process has become another program, or another user's, so that what it did before is
/// the former one's. A name that it gave itself, and a reading that has arrived, are no such change.
///
/// The same program executed anew with another environment does not show here: see [`ProgramMark`].
/// Where nobody counts, what it did before counts with what it did then.
pub(super) fn is_another_program(before: &Identity, now: &Identity) -> bool {
    let executables = before.executable.value().zip(now.executable.value());
    let lines = before.cmdline.value().zip(now.cmdline.value());
    before.uid != now.uid
        || executables.is_some_and(|(before, now)| before != now)
        || (before.comm != now.comm && lines.is_some_and(|(before, now)| before != now))
}
