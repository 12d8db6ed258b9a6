//! What the ledger remembers of every process, in as little room as it takes: there are thousands
//! of them, and of most nothing is known that would need more.

use std::num::NonZeroU64;
use std::ops::Deref;

use crate::process::{ProcessKey, Usage};
use crate::units::{BootTime, Totals, UsageTotals};

/// An `Option<ProcessKey>` without the gaps between its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeptKey(Option<Parts>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    pid: u32,
    /// The upper half of the start time in ticks, and the lower.
    start_time_ticks: [u32; 2],
}

impl KeptKey {
    pub(super) fn get(self) -> Option<ProcessKey> {
        let Parts { pid, start_time_ticks: [upper, lower] } = self.0?;
        let start_time_ticks = (u64::from(upper) << 32) | u64::from(lower);
        Some(ProcessKey { pid, start_time_ticks })
    }
}

impl From<Option<ProcessKey>> for KeptKey {
    fn from(key: Option<ProcessKey>) -> Self {
        KeptKey(key.map(|key| {
            let [a, b, c, d, e, f, g, h] = key.start_time_ticks.to_be_bytes();
            let halves = [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])];
            Parts { pid: key.pid, start_time_ticks: halves }
        }))
    }
}

/// An `Option<BootTime>`, where nothing started at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeptStart(Option<NonZeroU64>);

impl KeptStart {
    pub(super) fn get(self) -> Option<BootTime> {
        self.0.map(|ns| BootTime { ns: ns.get() })
    }
}

impl From<Option<BootTime>> for KeptStart {
    fn from(start: Option<BootTime>) -> Self {
        KeptStart(start.and_then(|start| NonZeroU64::new(start.ns)))
    }
}

/// A [`Usage`] of which most have one half.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptUsage {
    pub(super) own: UsageTotals,
    pub(super) reaped: Reaped,
}

impl From<Usage> for KeptUsage {
    fn from(usage: Usage) -> Self {
        KeptUsage { own: usage.own, reaped: Reaped::from(usage.reaped) }
    }
}

/// What came with children that were waited for. Boxed, since few processes have any.
#[derive(Clone, Debug, Default)]
pub(super) struct Reaped(Option<Box<UsageTotals>>);

static NOTHING: UsageTotals = Totals::ZERO;

impl From<UsageTotals> for Reaped {
    fn from(totals: UsageTotals) -> Self {
        Reaped((totals != NOTHING).then(|| Box::new(totals)))
    }
}

impl Deref for Reaped {
    type Target = UsageTotals;
    fn deref(&self) -> &UsageTotals {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_what_was_given() {
        for key in [None, Some((1, 0)), Some((u32::MAX, u64::MAX)), Some((7, 0x1_2345_6789))] {
            let key = key.map(|(pid, start_time_ticks)| ProcessKey { pid, start_time_ticks });
            assert_eq!(KeptKey::from(key).get(), key);
        }
        for start in [None, Some(BootTime { ns: 1 }), Some(BootTime { ns: u64::MAX })] {
            assert_eq!(KeptStart::from(start).get(), start);
        }
        for reaped in [Totals::ZERO, Totals([0, 0, 1, 0])] {
            assert_eq!(*Reaped::from(reaped), reaped);
        }
    }

    #[test]
    fn it_takes_less_room() {
        assert!(size_of::<KeptKey>() < size_of::<Option<ProcessKey>>());
        assert!(size_of::<KeptStart>() < size_of::<Option<BootTime>>());
        assert!(size_of::<KeptUsage>() < size_of::<Usage>());
    }
}
