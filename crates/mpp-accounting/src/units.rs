//! Moments, totals and differences: the only quantities past the purity line.
//!
//! A total is what something did since it began; a difference is what it did
//! in an interval. They are different types, so that one is never added where
//! the other was meant. All arithmetic saturates: whatever a kernel or a process
//! sends is clamped, never a panic.

mod narrow;

use std::time::Duration;

pub(crate) use self::narrow::NarrowTotals;

/// A moment since boot, suspended time included: `CLOCK_BOOTTIME`, clock_gettime(2).
///
/// Intervals are differences of this clock, since it neither steps nor stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime {
    /// Nanoseconds since boot.
    pub ns: u64,
}

impl BootTime {
    /// The time from `earlier` to this moment; zero when `earlier` is not earlier.
    #[must_use]
    pub fn since(self, earlier: BootTime) -> Duration {
        Duration::from_nanos(self.ns.saturating_sub(earlier.ns))
    }
}

/// A moment in wall-clock time, for stamps only; it may step in either direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime {
    /// Nanoseconds since 1970-01-01T00:00:00Z, without leap seconds.
    pub unix_ns: i64,
}

/// One of the seven counters of proc_pid_io(5), in the order of that page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum IoCounter {
    /// Bytes handed out by `read(2)` and its like, page cache and sockets included.
    ReadChars,
    /// Bytes taken in by `write(2)` and its like.
    WriteChars,
    /// System calls that read.
    ReadCount,
    /// System calls that write.
    WriteCount,
    /// Bytes fetched from the storage layer.
    ReadBytes,
    /// Bytes to be sent to the storage layer, counted when a page is first dirtied.
    WriteBytes,
    /// Bytes that were dirtied and then truncated away before they reached storage.
    CancelledWriteBytes,
}

/// One of the four counters that proc_pid_stat(5) keeps for a process and for its reaped children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum UsageCounter {
    /// CPU time in user mode, in nanoseconds.
    CpuUserNs,
    /// CPU time in kernel mode, in nanoseconds.
    CpuSystemNs,
    /// Page faults that needed no disk.
    MinorFaults,
    /// Page faults that waited for the disk.
    MajorFaults,
}

/// What a thread can wait for, as the kernel's taskstats count it, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum DelayCounter {
    /// Ready to run, for a CPU.
    Cpu,
    /// For block I/O that it began itself.
    BlockIo,
    /// For pages of its own to be swapped in; may lie within block I/O.
    Swap,
    /// For memory to be freed that it wants to have.
    Reclaim,
}

/// A counter of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpCounter {
    /// Bytes of data that the peer acknowledged.
    SentBytes,
    /// Bytes of data that arrived in order.
    ReceivedBytes,
    /// Segments sent again.
    Retransmits,
}

/// What something did since it began, one number per counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Totals<const N: usize>(pub [u64; N]);

/// What something did in an interval, one number per counter; never negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delta<const N: usize>(pub [u64; N]);

/// Totals of the counters of [`IoCounter`].
pub type IoTotals = Totals<7>;
/// Differences of the counters of [`IoCounter`].
pub type IoDelta = Delta<7>;
/// Totals of the counters of [`UsageCounter`].
pub type UsageTotals = Totals<4>;
/// Differences of the counters of [`UsageCounter`].
pub type UsageDelta = Delta<4>;

/// Totals of the counters of [`DelayCounter`].
pub type DelayTotals = Totals<4>;
/// Differences of the counters of [`DelayCounter`].
pub type DelayDelta = Delta<4>;

/// Totals of the counters of [`TcpCounter`].
pub type TcpTotals = Totals<3>;
/// Differences of the counters of [`TcpCounter`].
pub type TcpDelta = Delta<3>;

impl<const N: usize> Default for Totals<N> {
    fn default() -> Self {
        Totals([0; N])
    }
}

impl<const N: usize> Default for Delta<N> {
    fn default() -> Self {
        Delta([0; N])
    }
}

impl<const N: usize> Totals<N> {
    /// Nothing done yet.
    pub const ZERO: Self = Totals([0; N]);

    /// What was done since `earlier`, or `None` where any counter fell: totals that
    /// fall belong to something else.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Delta<N>> {
        let mut delta = [0; N];
        for ((d, now), then) in delta.iter_mut().zip(self.0).zip(earlier.0) {
            *d = now.checked_sub(then)?;
        }
        Some(Delta(delta))
    }

    /// What was done since `earlier`, a counter that fell counting as still.
    #[must_use]
    pub fn since_clamped(self, earlier: Self) -> Delta<N> {
        Delta(std::array::from_fn(|i| self.0[i].saturating_sub(earlier.0[i])))
    }

    /// Everything done, as the difference from having done nothing.
    #[must_use]
    pub fn as_delta(self) -> Delta<N> {
        Delta(self.0)
    }

    /// The larger of the two, counter by counter.
    #[must_use]
    pub fn raised_to(self, other: Self) -> Self {
        Totals(std::array::from_fn(|i| self.0[i].max(other.0[i])))
    }

    /// The totals after also doing `delta`.
    #[must_use]
    pub fn plus(self, delta: Delta<N>) -> Self {
        Totals(std::array::from_fn(|i| self.0[i].saturating_add(delta.0[i])))
    }
}

impl<const N: usize> Delta<N> {
    /// Nothing happened.
    pub const ZERO: Self = Delta([0; N]);

    /// Whether nothing happened.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == [0; N]
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Delta(std::array::from_fn(|i| self.0[i].saturating_add(other.0[i])))
    }

    /// What is left after `other` is taken out, never below zero.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Delta(std::array::from_fn(|i| self.0[i].saturating_sub(other.0[i])))
    }

    /// The smaller of the two, counter by counter.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Delta(std::array::from_fn(|i| self.0[i].min(other.0[i])))
    }

    /// What of it was done in a part of the time, if it was done evenly; cut to whole units. Nothing
    /// of what was done in no time.
    #[must_use]
    pub fn share(self, part: Duration, whole: Duration) -> Self {
        let (part, whole) = (part.as_nanos().min(whole.as_nanos()), whole.as_nanos());
        Delta(self.0.map(|number| {
            let share = u128::from(number).saturating_mul(part).checked_div(whole).unwrap_or(0);
            u64::try_from(share).unwrap_or(u64::MAX)
        }))
    }

    /// Whether `other` could have been part of this, counter by counter.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.0.iter().zip(other.0).all(|(left, part)| *left >= part)
    }
}

impl UsageTotals {
    /// These totals later, when `later` was read of the same: no counter less than now. The
    /// kernel divides CPU time anew between the modes at each reading, so that one of them may
    /// seem to fall; what both grow by together is told right.
    #[must_use]
    pub fn advanced_to(self, later: Self) -> Self {
        let [user, system, ..] = self.0;
        let [user_later, system_later, ..] = later.0;
        let both = user_later.saturating_add(system_later).max(user.saturating_add(system));
        let mut advanced = self.raised_to(later);
        advanced.0[0] = user_later.clamp(user, both.saturating_sub(system).max(user));
        advanced.0[1] = both.saturating_sub(advanced.0[0]);
        advanced
    }

    /// The faults alone.
    #[must_use]
    pub fn without_cpu(self) -> Self {
        let [_, _, minor_faults, major_faults] = self.0;
        Totals([0, 0, minor_faults, major_faults])
    }

    /// The CPU time alone.
    #[must_use]
    pub fn without_faults(self) -> Self {
        let [user_ns, system_ns, ..] = self.0;
        Totals([user_ns, system_ns, 0, 0])
    }
}

impl UsageDelta {
    /// CPU time in both modes.
    #[must_use]
    pub fn cpu_ns(self) -> u64 {
        let [user, system, ..] = self.0;
        user.saturating_add(system)
    }

    /// Whether `other` could have been part of this: CPU time in both modes together, since one
    /// mode's share of it changes from reading to reading, and each kind of faults.
    #[must_use]
    pub fn covers_in_all(self, other: Self) -> bool {
        self.cpu_ns() >= other.cpu_ns()
            && self.0[2..].iter().zip(&other.0[2..]).all(|(a, b)| a >= b)
    }

    /// What is left after `other` is taken out, never below zero: where one mode's CPU time does
    /// not suffice, the rest is taken out of the other's.
    #[must_use]
    pub fn less_in_all(self, other: Self) -> Self {
        let both = self.cpu_ns().saturating_sub(other.cpu_ns());
        let mut left = self.less(other);
        left.0[0] = left.0[0].min(both);
        left.0[1] = both - left.0[0];
        left
    }

    /// So much CPU time in each mode, and no faults.
    #[must_use]
    pub fn from_cpu_ns(ns: u64) -> Self {
        Delta([ns, ns, 0, 0])
    }
}

impl std::ops::Index<IoCounter> for IoTotals {
    type Output = u64;
    fn index(&self, counter: IoCounter) -> &u64 {
        &self.0[counter as usize]
    }
}

impl std::ops::Index<IoCounter> for IoDelta {
    type Output = u64;
    fn index(&self, counter: IoCounter) -> &u64 {
        &self.0[counter as usize]
    }
}

impl std::ops::Index<DelayCounter> for DelayTotals {
    type Output = u64;
    fn index(&self, counter: DelayCounter) -> &u64 {
        &self.0[counter as usize]
    }
}

impl std::ops::Index<DelayCounter> for DelayDelta {
    type Output = u64;
    fn index(&self, counter: DelayCounter) -> &u64 {
        &self.0[counter as usize]
    }
}

impl std::ops::Index<UsageCounter> for UsageTotals {
    type Output = u64;
    fn index(&self, counter: UsageCounter) -> &u64 {
        &self.0[counter as usize]
    }
}

impl std::ops::Index<UsageCounter> for UsageDelta {
    type Output = u64;
    fn index(&self, counter: UsageCounter) -> &u64 {
        &self.0[counter as usize]
    }
}

impl std::ops::Index<TcpCounter> for TcpTotals {
    type Output = u64;
    fn index(&self, counter: TcpCounter) -> &u64 {
        &self.0[counter as usize]
    }
}

impl std::ops::Index<TcpCounter> for TcpDelta {
    type Output = u64;
    fn index(&self, counter: TcpCounter) -> &u64 {
        &self.0[counter as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_that_fell_is_not_a_difference() {
        assert_eq!(Totals([5, 5]).since(Totals([4, 6])), None);
        assert_eq!(Totals([5, 7]).since(Totals([4, 6])), Some(Delta([1, 1])));
        assert_eq!(Totals([5, 5]).since_clamped(Totals([4, 6])), Delta([1, 0]));
    }

    #[test]
    fn sums_stop_at_the_largest_number() {
        assert_eq!(Totals([u64::MAX]).plus(Delta([1])), Totals([u64::MAX]));
    }

    #[test]
    fn what_one_mode_lacks_is_taken_out_of_the_other() {
        let check = |whole: [u64; 2], part: [u64; 2], left: [u64; 2]| {
            let [whole, part, left] = [whole, part, left].map(|[u, s]| Delta([u, s, 0, 0]));
            assert_eq!(whole.less_in_all(part), left);
            assert_eq!(whole.covers_in_all(part), whole.cpu_ns() >= part.cpu_ns());
        };
        check([5, 5], [3, 1], [2, 4]);
        check([5, 5], [3, 6], [1, 0]);
        check([5, 5], [7, 1], [0, 2]);
        check([5, 5], [9, 9], [0, 0]);
        assert!(!Delta([9, 9, 0, 0]).covers_in_all(Delta([0, 0, 0, 1])));
    }

    #[test]
    fn time_divided_anew_grows_by_what_both_modes_grew() {
        let check = |before: [u64; 2], later: [u64; 2], advanced: [u64; 2]| {
            let [before, later, advanced] =
                [before, later, advanced].map(|[u, s]| Totals([u, s, 7, 0]));
            assert_eq!(before.advanced_to(later), advanced);
        };
        check([5, 5], [7, 8], [7, 8]);
        check([5, 5], [0, 12], [5, 7]);
        check([5, 5], [12, 0], [7, 5]);
        check([5, 5], [3, 4], [5, 5]);
        check([u64::MAX, 5], [1, 2], [u64::MAX, 0]);
    }

    #[test]
    fn no_time_passes_backwards() {
        assert_eq!(BootTime { ns: 1 }.since(BootTime { ns: 2 }), Duration::ZERO);
    }
}
