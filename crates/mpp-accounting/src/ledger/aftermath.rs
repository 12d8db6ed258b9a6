//! What may come to light after a sweep that had to do without records.
//!
//! Where a record was lost of a thread that no sweep saw, polling finds what it did in the total
//! of its process or of whoever waited for that one. But who had been looked at before shows it in
//! the next sweep only, whose own records are whole again. So those records are not enough then: what
//! a total has grown by beyond them, and beyond the children taken out of it, is what was lost. Of
//! whom that is more than rounding hides, more is inferred than records tell.
//!
//! The trap: such a process may itself end behind the next look at its reaper, and take with it what
//! it has found. So whom it is taken out of is asked, too, whenever that is. And one that cannot
//! be read is asked when it can.

use super::{Account, HELD_SWEEPS_MAX, Known, Pending};
use crate::exit::ROUNDED_TO_BYTES;
use crate::units::{Delta, IoDelta};

/// How long ago a sweep had to do without records.
#[derive(Debug, Default)]
pub(super) struct Aftermath {
    /// So many sweeps; `None` where none had to, or too long ago for anybody to be waited for.
    sweeps: Option<u32>,
}

impl Aftermath {
    /// Whether the sweep before this one had to do without records.
    pub(super) fn is_beginning(&self) -> bool {
        self.sweeps == Some(0)
    }

    /// Another sweep has been taken.
    pub(super) fn age(&mut self) {
        self.sweeps = self.sweeps.map(|sweeps| sweeps + 1).filter(|it| *it <= HELD_SWEEPS_MAX + 1);
    }

    /// This one has to do without records.
    pub(super) fn begin(&mut self) {
        self.sweeps = Some(0);
    }

    /// Whether something that was lost may show in what this process has grown by since it was
    /// last read.
    pub(super) fn concerns(&self, previous: &Known) -> bool {
        let unread_sweeps = u32::from(previous.unread_sweeps.io);
        self.sweeps.is_some_and(|sweeps| sweeps <= unread_sweeps + 1)
    }

    /// Whether one that ends now may take something with it that nobody has seen in its total.
    pub(super) fn is_under_way(&self) -> bool {
        self.sweeps.is_some_and(|sweeps| sweeps <= 1)
    }
}

impl Account {
    /// What the total has grown by that neither records nor children explain, where records may have
    /// been lost of what it holds. Nothing is counted twice for it: what is in doubt is left out.
    pub(super) fn unrecorded_io(&self) -> IoDelta {
        let (Some(own), Some(left)) = (self.recorded_io, self.io_left) else {
            return IoDelta::ZERO;
        };
        // What a child had done before anybody looked is no loss.
        if !self.is_in_aftermath || self.took_older_io {
            return IoDelta::ZERO;
        }
        let recorded = own.io.less(self.recorded_behind_look).plus(self.disputed_io);
        let unrecorded = left.less(recorded);
        let rounded_records = own.rounded_records.saturating_add(self.taken_rounded_records);
        let hidden = rounded_records.saturating_mul(ROUNDED_TO_BYTES - 1);
        let is_hidden = unrecorded.less(Delta([hidden; IoDelta::ZERO.0.len()])).is_zero();
        if is_hidden { IoDelta::ZERO } else { unrecorded }
    }

    /// Leaves alone what a child did that this process may have waited for, and that did not fit:
    /// what it did has been counted, and whether it is in the growth nobody can say.
    pub(super) fn dispute(&mut self, child: &Known) {
        if let Some(io) = child.io.as_ref().filter(|_| self.is_in_aftermath) {
            self.disputed_io = self.disputed_io.plus(io.total().as_delta());
        }
    }
}

impl Pending {
    /// Adds to what its reaper's growth may hold beyond the records of its children.
    pub(super) fn leave_aftermath(&self, reaper: &mut Account) {
        reaper.is_in_aftermath |= self.may_hold_unrecorded;
        reaper.taken_rounded_records += self.rounded_records;
    }
}
