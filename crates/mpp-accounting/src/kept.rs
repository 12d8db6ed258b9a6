//! What is known of a process or not, in as little room as it takes: there are thousands of them.

use std::num::{NonZeroU32, NonZeroU64};

use crate::process::ProcessKey;
use crate::units::BootTime;

/// An `Option<ProcessKey>` without the gaps between its fields. Nobody has the PID 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptKey(Option<Parts>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    pid: NonZeroU32,
    /// The upper half of the start time in ticks, and the lower.
    start_time_ticks: [u32; 2],
}

impl KeptKey {
    pub(crate) fn get(self) -> Option<ProcessKey> {
        let Parts { pid, start_time_ticks: [upper, lower] } = self.0?;
        let start_time_ticks = (u64::from(upper) << 32) | u64::from(lower);
        Some(ProcessKey { pid: pid.get(), start_time_ticks })
    }
}

impl From<Option<ProcessKey>> for KeptKey {
    fn from(key: Option<ProcessKey>) -> Self {
        KeptKey(key.and_then(|key| {
            let [a, b, c, d, e, f, g, h] = key.start_time_ticks.to_be_bytes();
            let halves = [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])];
            Some(Parts { pid: NonZeroU32::new(key.pid)?, start_time_ticks: halves })
        }))
    }
}

/// An `Option<BootTime>`, where nothing started at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptStart(Option<NonZeroU64>);

impl KeptStart {
    pub(crate) fn get(self) -> Option<BootTime> {
        self.0.map(|ns| BootTime { ns: ns.get() })
    }
}

impl From<Option<BootTime>> for KeptStart {
    fn from(start: Option<BootTime>) -> Self {
        KeptStart(start.and_then(|start| NonZeroU64::new(start.ns)))
    }
}

/// A count or none, where nothing can be counted as far as `u64::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeptCount(Option<NonZeroU64>);

impl KeptCount {
    pub(crate) fn get(self) -> Option<u64> {
        self.0.map(|next| next.get() - 1)
    }
}

impl From<Option<u64>> for KeptCount {
    fn from(count: Option<u64>) -> Self {
        KeptCount(count.and_then(|count| NonZeroU64::new(count.wrapping_add(1))))
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
        for count in [None, Some(0), Some(1), Some(u64::MAX - 1)] {
            assert_eq!(KeptCount::from(count).get(), count);
        }
    }

    #[test]
    fn it_takes_less_room() {
        assert_eq!(size_of::<KeptKey>(), 12);
        assert_eq!(size_of::<KeptStart>(), 8);
        assert_eq!(size_of::<KeptCount>(), 8);
    }
}
