//! What a group's members have added up to, living and ended.
//!
//! Totals start at what the members had done when they were first seen, and from then on
//! only grow. Where something is missing from a start, that is remembered for good: a
//! number that was once a lower bound does not become better by waiting.

use crate::exit::ROUNDED_TO_BYTES;
use crate::ledger::{Ends, Late};
use crate::process::{DelayCoverage, Delays, ProcessSample};
use crate::report::Mark;
use crate::units::{
    DelayCounter, DelayDelta, DelayTotals, Delta, IoDelta, IoTotals, TcpDelta, TcpTotals, Totals,
    UsageDelta, UsageTotals,
};

/// How far counters can be trusted: each the weakest promise of what went into it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) io: Mark,
    pub(crate) usage: Mark,
    pub(crate) switches: Mark,
    pub(crate) delays: Mark,
    pub(crate) ended: Mark,
}

impl Default for Marks {
    fn default() -> Self {
        let exact = Mark::Exact;
        Marks { io: exact, usage: exact, switches: exact, delays: exact, ended: exact }
    }
}

impl Marks {
    /// What can be promised of an interval whose ends were found out like this. Rounded
    /// records spoil only the I/O of the groups that they belong to.
    pub(crate) fn of(ends: Ends) -> Self {
        match ends {
            Ends::Exact => Marks::default(),
            Ends::Rounded => {
                let estimate = Mark::Estimate;
                Marks { usage: estimate, switches: estimate, delays: estimate, ..Marks::default() }
            }
            Ends::Inferred => Marks {
                io: Mark::Estimate,
                usage: Mark::Estimate,
                switches: Mark::Estimate,
                delays: Mark::LowerBound,
                ended: Mark::LowerBound,
            },
        }
    }

    fn and(self, other: Marks) -> Self {
        Marks {
            io: self.io.and(other.io),
            usage: self.usage.and(other.usage),
            switches: self.switches.and(other.switches),
            delays: self.delays.and(other.delays),
            ended: self.ended.and(other.ended),
        }
    }
}

/// Whether some of what members waited for is missing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DelaysMissing {
    /// What they waited for a CPU.
    pub(crate) cpu: bool,
    /// What they waited for anything else.
    pub(crate) others: bool,
}

impl DelaysMissing {
    /// Some of everything.
    pub(crate) const ALL: Self = DelaysMissing { cpu: true, others: true };

    /// What of a process is not counted.
    pub(crate) fn of(delays: &Delays) -> Self {
        DelaysMissing { cpu: false, others: delays.others != DelayCoverage::Whole }
    }

    fn or(self, other: Self) -> Self {
        DelaysMissing { cpu: self.cpu || other.cpu, others: self.others || other.others }
    }

    /// What is left of a promise.
    pub(crate) fn mark(self, counter: DelayCounter) -> Mark {
        let is_missing = match counter {
            DelayCounter::Cpu => self.cpu,
            DelayCounter::BlockIo | DelayCounter::Swap | DelayCounter::Reclaim => self.others,
        };
        if is_missing { Mark::LowerBound } else { Mark::Exact }
    }
}

/// How often a process gave up the CPU, by choice or not.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Switched {
    /// Nobody can say.
    Unknown,
    /// Until the first sweep.
    BeforeAll(Totals<2>),
    /// Since the last one.
    Since(Delta<2>),
}

impl Switched {
    /// Whether it did so since the last sweep.
    pub(crate) fn has_happened(self) -> bool {
        matches!(self, Switched::Since(moved) if !moved.is_zero())
    }
}

/// A group's totals. They never fall.
#[derive(Debug, Default)]
pub(crate) struct GroupTotals {
    pub(crate) io: IoTotals,
    pub(crate) usage: UsageTotals,
    pub(crate) switches: Totals<2>,
    pub(crate) delays: DelayTotals,
    pub(crate) tcp: TcpTotals,
    pub(crate) ended: u64,
    pub(crate) ended_moved: u64,
    pub(crate) rss_peak_bytes: u64,
    /// What moved since the last sweep.
    pub(crate) io_moved: IoDelta,
    pub(crate) usage_moved: UsageDelta,
    pub(crate) switches_moved: Delta<2>,
    pub(crate) delays_moved: DelayDelta,
    pub(crate) tcp_moved: TcpDelta,
    /// What of that was done before the last sweep, by members that could not be read then.
    late: Late,
    /// Whether the start holds what descendants in other groups had done.
    pub(crate) start_has_foreign: bool,
    /// Whether the start misses what ended threads had done.
    pub(crate) start_is_partial: bool,
    /// Whether a member's I/O was once out of sight, and what it did until then is missing.
    pub(crate) io_is_partial: bool,
    /// Which of members' waits are missing, and which of those in the last interval.
    pub(crate) delays_missing: DelaysMissing,
    pub(crate) delays_missing_moved: DelaysMissing,
    /// Whether something that members moved over TCP may be missing, or will come later only.
    pub(crate) tcp_is_partial: bool,
    /// Whether members moved something over a connection that they share with others.
    pub(crate) tcp_is_shared: bool,
    /// Whether a member's connection ended, and the kernel has not yet said with what totals.
    pub(crate) tcp_is_awaited: bool,
    /// What can be promised of what moved since the last sweep.
    pub(crate) marks_moved: Marks,
    /// What can be promised of everything that moved since the first.
    pub(crate) marks: Marks,
    /// By how many bytes at most each of the I/O counters is too low, for rounded records.
    pub(crate) io_bound_bytes: u64,
}

impl GroupTotals {
    /// Nothing has moved yet since the last sweep.
    pub(crate) fn begin_interval(&mut self, marks: Marks) {
        self.marks_moved = marks;
        self.marks = self.marks.and(marks);
        self.io_moved = IoDelta::ZERO;
        self.usage_moved = UsageDelta::ZERO;
        self.late = Late::default();
        self.switches_moved = Delta::ZERO;
        self.delays_moved = DelayDelta::ZERO;
        self.delays_missing_moved = DelaysMissing::default();
        self.tcp_moved = TcpDelta::ZERO;
        self.tcp_is_awaited = false;
        self.ended_moved = 0;
    }

    /// Notes that bytes are missing from so many records of members' threads.
    pub(crate) fn round(&mut self, records: u64) {
        if records > 0 {
            let bytes = records.saturating_mul(ROUNDED_TO_BYTES - 1);
            self.io_bound_bytes = self.io_bound_bytes.saturating_add(bytes);
            self.weaken_io(Mark::Bound);
        }
    }

    /// Promises no more than this of the I/O of the interval, and so of all.
    pub(crate) fn weaken_io(&mut self, mark: Mark) {
        self.marks_moved.io = self.marks_moved.io.and(mark);
        self.marks.io = self.marks.io.and(mark);
    }

    /// Promises no more than this of the interval, and so of all.
    pub(crate) fn weaken(&mut self, marks: Marks) {
        self.marks_moved = self.marks_moved.and(marks);
        self.marks = self.marks.and(marks);
    }

    /// Adds what a member did, or what came with its children.
    pub(crate) fn grow(&mut self, io: IoDelta, usage: UsageDelta) {
        self.io = self.io.plus(io);
        self.usage = self.usage.plus(usage);
        self.io_moved = self.io_moved.plus(io);
        self.usage_moved = self.usage_moved.plus(usage);
    }

    /// Notes that what a member did before it was known that it is one has been forgotten. It was done
    /// before this interval, so that only totals are too low, and they stay so.
    pub(crate) fn miss_deeds(&mut self) {
        let missing = Mark::LowerBound;
        self.marks.io = self.marks.io.and(missing);
        self.marks.usage = self.marks.usage.and(missing);
        self.marks.switches = self.marks.switches.and(missing);
        self.delays_missing = DelaysMissing::ALL;
    }

    /// Notes that so much of what was added was done before the last sweep. What was done since is
    /// estimated by it, so that rates are; the totals are not.
    pub(crate) fn come_late(&mut self, late: Late) {
        self.late =
            Late { io: self.late.io.plus(late.io), usage: self.late.usage.plus(late.usage) };
        if !late.io.is_zero() {
            self.marks_moved.io = self.marks_moved.io.and(Mark::Estimate);
        }
        if !late.usage.is_zero() {
            self.marks_moved.usage = self.marks_moved.usage.and(Mark::Estimate);
        }
    }

    /// The I/O of the interval alone, for rates.
    pub(crate) fn io_in_time(&self) -> IoDelta {
        self.io_moved.less(self.late.io)
    }

    /// The CPU time and faults of the interval alone, for rates.
    pub(crate) fn usage_in_time(&self) -> UsageDelta {
        self.usage_moved.less(self.late.usage)
    }

    /// Adds a member's context switches.
    pub(crate) fn switch_as(&mut self, switched: Switched) {
        match switched {
            Switched::Unknown => {}
            Switched::BeforeAll(total) => self.switches = self.switches.plus(total.as_delta()),
            Switched::Since(moved) => {
                self.switches = self.switches.plus(moved);
                self.switches_moved = self.switches_moved.plus(moved);
            }
        }
    }

    /// Adds for how long members have waited.
    pub(crate) fn wait(&mut self, moved: DelayDelta) {
        self.delays = self.delays.plus(moved);
        self.delays_moved = self.delays_moved.plus(moved);
    }

    /// Notes what is missing of a member's waits.
    pub(crate) fn miss_delays(&mut self, missing: DelaysMissing) {
        self.delays_missing = self.delays_missing.or(missing);
        self.delays_missing_moved = self.delays_missing_moved.or(missing);
    }

    /// Adds what members' connections moved.
    pub(crate) fn transfer(&mut self, moved: TcpDelta) {
        self.tcp = self.tcp.plus(moved);
        self.tcp_moved = self.tcp_moved.plus(moved);
    }

    /// Notes that something members moved is missing for good.
    pub(crate) fn miss_traffic(&mut self) {
        self.tcp_is_partial = true;
    }

    /// Notes that something members moved comes with a later sweep.
    pub(crate) fn await_traffic(&mut self) {
        self.tcp_is_awaited = true;
    }

    /// Notes that members moved something together with others.
    pub(crate) fn share_traffic(&mut self) {
        self.tcp_is_shared = true;
    }

    /// Takes over what a row without members, or a process of which nobody knew whose it is, had
    /// added up to: in total, and in no rate.
    pub(crate) fn absorb(&mut self, deserted: &GroupTotals) {
        self.io = self.io.plus(deserted.io.as_delta());
        self.usage = self.usage.plus(deserted.usage.as_delta());
        self.switches = self.switches.plus(deserted.switches.as_delta());
        self.delays = self.delays.plus(deserted.delays.as_delta());
        self.delays_missing = self.delays_missing.or(deserted.delays_missing);
        self.tcp = self.tcp.plus(deserted.tcp.as_delta());
        self.ended = self.ended.saturating_add(deserted.ended);
        self.start_has_foreign |= deserted.start_has_foreign;
        self.start_is_partial |= deserted.start_is_partial;
        self.io_is_partial |= deserted.io_is_partial;
        self.tcp_is_partial |= deserted.tcp_is_partial;
        self.tcp_is_shared |= deserted.tcp_is_shared;
        self.marks = self.marks.and(deserted.marks);
        self.io_bound_bytes = self.io_bound_bytes.saturating_add(deserted.io_bound_bytes);
    }

    /// Everything a member did, and what its reaped children had done; its living threads alone
    /// where no more is known.
    pub(crate) fn start_with_inherited(&mut self, process: &ProcessSample) {
        let io = process.io.total().value().copied().unwrap_or_else(|| own_of(process));
        self.start_is_partial |= process.io.rounded_threads().is_some();
        self.io = self.io.plus(io.as_delta());
        self.usage = self.usage.plus(process.usage.own.as_delta());
        self.usage = self.usage.plus(process.usage.reaped().as_delta());
    }

    /// What a member did itself: its living threads where children were folded in.
    pub(crate) fn start_with_own(&mut self, process: &ProcessSample) {
        let own = own_of(process);
        self.start_is_partial |= match process.io.total().value() {
            Some(total) => own != *total,
            None => process.io.rounded_threads().is_some(),
        };
        self.io = self.io.plus(own.as_delta());
        self.usage = self.usage.plus(process.usage.own.as_delta());
    }
}

/// What a process did itself: its living threads, or all where these were not read.
fn own_of(process: &ProcessSample) -> IoTotals {
    let total = process.io.total().value().copied().unwrap_or_default();
    process.threads().value().map_or(total, |threads| {
        threads.iter().fold(IoTotals::ZERO, |sum, thread| sum.plus(thread.total.as_delta()))
    })
}
