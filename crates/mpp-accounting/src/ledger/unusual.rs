//! What the ledger remembers of few processes.
//!
//! It takes no room where there is nothing of the kind: there are thousands of the others.

use std::ops::{Deref, DerefMut};

use crate::process::ThreadList;
use crate::units::{IoDelta, UsageDelta};

/// The [`UnusualParts`] of a process, which take room from the first one that is changed.
#[derive(Clone, Debug, Default)]
pub(super) struct Unusual(Option<Box<UnusualParts>>);

/// What most processes have none of.
#[derive(Clone, Debug, Default)]
pub(super) struct UnusualParts {
    /// L where T is out of sight, written out: never to be taken for T.
    pub(super) rounded: Option<ThreadList>,
    /// CPU time of children that were taken out of it before the kernel, which shows whole
    /// ticks, had shown all of it as inherited. Boxed, as is what follows: seldom even here.
    pub(super) overdrawn: Option<Box<UsageDelta>>,
    /// What records of its threads have told beyond T, or beyond its threads where T is out of
    /// sight: they ended after it was read.
    pub(super) ahead: Option<Box<IoDelta>>,
}

static NOTHING: UnusualParts = UnusualParts { rounded: None, overdrawn: None, ahead: None };

impl Unusual {
    /// Of one whose threads alone are told, if there are any.
    pub(super) fn rounded(threads: Option<ThreadList>) -> Self {
        let of = |threads| Box::new(UnusualParts { rounded: Some(threads), ..NOTHING.clone() });
        Unusual(threads.map(of))
    }

    /// Hands out all of it.
    pub(super) fn take(&mut self) -> Self {
        Unusual(self.0.take())
    }

    /// Remembers so much as overdrawn.
    pub(super) fn overdraw(&mut self, usage: UsageDelta) {
        if self.overdrawn.is_some() || !usage.is_zero() {
            self.overdrawn = (!usage.is_zero()).then(|| Box::new(usage));
        }
    }

    /// Remembers that records are so far ahead.
    pub(super) fn get_ahead(&mut self, io: IoDelta) {
        if self.ahead.is_some() || !io.is_zero() {
            self.ahead = (!io.is_zero()).then(|| Box::new(io));
        }
    }

    /// Takes over all but what is overdrawn.
    pub(super) fn take_over(&mut self, other: &Unusual) {
        if self.0.is_some() || other.0.is_some() {
            self.rounded.clone_from(&other.rounded);
            self.ahead.clone_from(&other.ahead);
        }
    }
}

impl Deref for Unusual {
    type Target = UnusualParts;
    fn deref(&self) -> &UnusualParts {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Unusual {
    fn deref_mut(&mut self) -> &mut UnusualParts {
        self.0.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Delta;

    #[test]
    fn what_is_nothing_takes_no_room() {
        let mut unusual = Unusual::rounded(None);
        unusual.overdraw(Delta::ZERO);
        unusual.get_ahead(Delta::ZERO);
        unusual.take_over(&Unusual::default());
        assert!(unusual.0.is_none());
        assert!(unusual.rounded.is_none() && unusual.overdrawn.is_none());
    }

    #[test]
    fn what_is_remembered_is_what_was_given_until_it_is_nothing() {
        let mut unusual = Unusual::rounded(Some(ThreadList::listed(&[])));
        unusual.overdraw(Delta([1; 4]));
        unusual.get_ahead(Delta([2; 7]));
        assert_eq!(unusual.rounded, Some(ThreadList::listed(&[])));
        assert_eq!(unusual.overdrawn.as_deref(), Some(&Delta([1; 4])));
        assert_eq!(unusual.ahead.as_deref(), Some(&Delta([2; 7])));
        unusual.take_over(&Unusual::default());
        assert!(unusual.rounded.is_none() && unusual.ahead.is_none());
        assert!(unusual.overdrawn.is_some(), "that goes on");
        unusual.overdraw(Delta::ZERO);
        assert!(unusual.overdrawn.is_none());
    }
}
