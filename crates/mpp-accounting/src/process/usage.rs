//! CPU time and page faults of one process.

use crate::units::{Totals, UsageTotals};

/// CPU time and page faults of one process. All of them only grow while it lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of the process itself: living and exited threads, no children.
    pub own: UsageTotals,
    /// Boxed, since few processes have any, and none that are zero.
    reaped: Option<Box<UsageTotals>>,
}

impl Usage {
    /// Its own, and that of the children it has waited for.
    #[must_use]
    pub fn new(own: UsageTotals, reaped: UsageTotals) -> Self {
        let reaped = (reaped != Totals::ZERO).then(|| Box::new(reaped));
        Usage { own, reaped }
    }

    /// Of the children it has waited for, and of those they had waited for.
    #[must_use]
    pub fn reaped(&self) -> UsageTotals {
        self.reaped.as_deref().copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_reaped_takes_room() {
        fn check(reaped: [u64; 4], takes_room: bool) {
            let usage = Usage::new(Totals([1; 4]), Totals(reaped));
            assert_eq!(usage.reaped(), Totals(reaped));
            assert_eq!(usage.reaped.is_some(), takes_room);
        }
        check([0; 4], false);
        check([0, 0, 1, 0], true);
        assert_eq!(size_of::<Usage>(), size_of::<UsageTotals>() + 8);
    }
}
