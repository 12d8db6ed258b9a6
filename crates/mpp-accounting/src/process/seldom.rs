//! What a process holds and few ask for.
//!
//! It takes as much room as all else that is read of a process, and there are thousands of them:
//! so it takes none where nobody asks.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use super::{Absence, Delays, ProportionalMemory, Reading, Socket};

/// The [`SeldomGauges`] of a process, which take room from the first one that is set.
#[derive(Clone, Debug, Default)]
pub struct Seldom(Option<Box<SeldomGauges>>);

/// Gauges that are read only where somebody asks for the very one.
#[derive(Clone, Debug)]
pub struct SeldomGauges {
    /// Proportional memory by smaps_rollup; costly to the process, so only when requested.
    pub proportional_memory: Reading<ProportionalMemory>,
    /// Bytes swapped out: `VmSwap` of proc_pid_status(5).
    pub swap_bytes: Reading<u64>,
    /// The soft limit on open file descriptors; `u64::MAX` for unlimited.
    pub fd_limit: Reading<u64>,
    /// For how long it has waited; a counter that never falls but for a moment while threads of
    /// it end.
    pub delays: Reading<Delays>,
    /// Every descriptor of a socket, ordered by [`Socket`]'s order; a socket behind two
    /// descriptors stands here twice.
    pub sockets: Reading<Arc<[Socket]>>,
}

/// What stands for those that nobody asked for.
static NOT_REQUESTED: SeldomGauges = SeldomGauges::absent(Absence::NotRequested);

impl SeldomGauges {
    /// All of them absent for the same reason.
    #[must_use]
    pub const fn absent(why: Absence) -> Self {
        SeldomGauges {
            proportional_memory: Reading::Absent(why),
            swap_bytes: Reading::Absent(why),
            fd_limit: Reading::Absent(why),
            delays: Reading::Absent(why),
            sockets: Reading::Absent(why),
        }
    }
}

impl Seldom {
    /// All of them absent for the same reason.
    #[must_use]
    pub fn absent(why: Absence) -> Self {
        match why {
            Absence::NotRequested => Seldom(None),
            why => Seldom(Some(Box::new(SeldomGauges::absent(why)))),
        }
    }
}

impl From<SeldomGauges> for Seldom {
    fn from(gauges: SeldomGauges) -> Self {
        Seldom(Some(Box::new(gauges)))
    }
}

impl Deref for Seldom {
    type Target = SeldomGauges;
    fn deref(&self) -> &SeldomGauges {
        self.0.as_deref().unwrap_or(&NOT_REQUESTED)
    }
}

impl DerefMut for Seldom {
    fn deref_mut(&mut self) -> &mut SeldomGauges {
        self.0.get_or_insert_with(|| Box::new(NOT_REQUESTED.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asked_for_is_absent_and_takes_no_room() {
        fn check(why: Absence, takes_room: bool) {
            let seldom = Seldom::absent(why);
            assert_eq!(seldom.0.is_some(), takes_room, "{why}");
            let absences = [
                seldom.proportional_memory.absence(),
                seldom.swap_bytes.absence(),
                seldom.fd_limit.absence(),
                seldom.delays.absence(),
                seldom.sockets.absence(),
            ];
            assert_eq!(absences, [Some(why); 5]);
        }
        check(Absence::NotRequested, false);
        check(Absence::Denied, true);
        assert!(Seldom::default().0.is_none());
    }

    #[test]
    fn one_that_is_set_leaves_the_others_absent() {
        let mut seldom = Seldom::absent(Absence::NotRequested);
        seldom.swap_bytes = Reading::Value(0);
        assert_eq!(seldom.swap_bytes, Reading::Value(0), "nothing swapped out is not unknown");
        assert_eq!(seldom.fd_limit, Reading::Absent(Absence::NotRequested));
    }
}
