//! Where a process comes from, as far as the kernel was watched then.

use super::ProcessKey;
use crate::kept::{KeptCount, KeptKey, KeptStart};
use crate::units::BootTime;

/// What `/proc` does not tell of a process's beginning, in half the room of three options: there
/// are thousands of them. By default nothing is known.
///
/// ```
/// use mpp_accounting::process::Lineage;
/// use mpp_accounting::units::BootTime;
///
/// let start = BootTime { ns: 7 };
/// let lineage = Lineage::new(None, Some(start), Some(2));
/// assert_eq!(lineage.forked_by(), None);
/// assert_eq!(lineage.started_at(), Some(start));
/// assert_eq!(lineage.exec_count(), Some(2));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    forked_by: KeptKey,
    started_at: KeptStart,
    exec_count: KeptCount,
}

impl Lineage {
    /// Who forked it, when it started, and how many programs it and its ancestors have executed.
    /// PID 0, the moment 0 and a count of `u64::MAX` stand for nothing known.
    #[must_use]
    pub fn new(
        forked_by: Option<ProcessKey>,
        started_at: Option<BootTime>,
        exec_count: Option<u64>,
    ) -> Self {
        Lineage {
            forked_by: forked_by.into(),
            started_at: started_at.into(),
            exec_count: exec_count.into(),
        }
    }

    /// The same, but forked by this one.
    #[must_use]
    pub fn with_forker(self, forked_by: Option<ProcessKey>) -> Self {
        Lineage { forked_by: forked_by.into(), ..self }
    }

    /// Who forked it, where the kernel was watched then. Stays when the parent ends.
    #[must_use]
    pub fn forked_by(self) -> Option<ProcessKey> {
        self.forked_by.get()
    }

    /// When it started, in nanoseconds since boot, where that is known: tells two bearers of
    /// a PID apart that started within one tick.
    #[must_use]
    pub fn started_at(self) -> Option<BootTime> {
        self.started_at.get()
    }

    /// How many programs it and its ancestors have executed, where that is known: another
    /// number is another program.
    #[must_use]
    pub fn exec_count(self) -> Option<u64> {
        self.exec_count.get()
    }
}
