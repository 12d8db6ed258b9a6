//! For how long processes waited: what our programs or the kernel's taskstats tell, made ours.
//!
//! The trap is what is not counted. Whoever began while `kernel.task_delayacct` was 0 shows
//! zeros for as long as it lives, whatever it waits for, and while it is 0 nobody's waits grow;
//! only those for a CPU are always counted. Our programs see of which threads that is so;
//! taskstats do not say it, and the beginning of a process must do.

use mpp_accounting::process::{Absence, DelayCoverage, Delays, Reading};
use mpp_accounting::units::{BootTime, DelayTotals, Totals};
use mpp_parse::bpf_record::{DelayCount, Delays as ToldDelays, TaskDelays, TaskRecord};

use crate::taskstats::{DelayAccounting, Delays as AccountedDelays};

/// What a process's threads have waited for, added up as our programs tell of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DelaySum {
    total: DelayTotals,
    count: DelayCount,
    /// Whether its threads that are ending are in the sum already.
    holds_ended: bool,
}

/// What one thread has waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadDelays {
    told: TaskDelays,
    is_exiting: bool,
}

impl ThreadDelays {
    /// `None` where nobody asked.
    pub(crate) fn of(task: &TaskRecord<'_>) -> Option<Self> {
        Some(ThreadDelays { told: task.delays()?, is_exiting: task.is_exiting() })
    }
}

impl DelaySum {
    /// Begins with a leader, and the threads that had ended when its record was written. `None`
    /// where nobody asked.
    pub(crate) fn begun(leader: &TaskRecord<'_>) -> Option<Self> {
        let thread = ThreadDelays::of(leader)?;
        let of_ended = thread.told.of_ended;
        let mut sum = DelaySum {
            total: of_ended.map_or(DelayTotals::ZERO, |ended| delay_totals(&ended)),
            count: thread.told.count,
            holds_ended: of_ended.is_some(),
        };
        sum.add(&thread);
        Some(sum)
    }

    /// Adds a thread. One that is ending is left out where it may be among the
    /// ended: its own record tells of it in a moment.
    pub(crate) fn add(&mut self, thread: &ThreadDelays) {
        self.count.misses_others |= thread.told.count.misses_others;
        if !(self.holds_ended && thread.is_exiting) {
            self.total = self.total.plus(delay_totals(&thread.told.own).as_delta());
        }
    }

    /// The whole, as far as it is counted.
    pub(crate) fn reading(&self, now: DelayAccounting) -> Reading<Delays> {
        as_counted(told(self.total, self.count), now)
    }
}

/// What an exit record of ours says.
pub(crate) fn of_ended((delays, count): (ToldDelays, DelayCount)) -> Reading<Delays> {
    told(delay_totals(&delays), count)
}

/// What was told, where the kernel may have stopped counting since.
pub(crate) fn as_counted(delays: Reading<Delays>, now: DelayAccounting) -> Reading<Delays> {
    delays.map(|delays| match (delays.others, now) {
        (DelayCoverage::Unsupported, _) | (_, DelayAccounting::On) => delays,
        _ => Delays { others: DelayCoverage::SwitchedOff, ..delays },
    })
}

fn told(total: DelayTotals, count: DelayCount) -> Reading<Delays> {
    if !count.counts_cpu {
        return Reading::Absent(Absence::Unsupported);
    }
    let others = match (count.counts_others, count.misses_others) {
        (false, _) => DelayCoverage::Unsupported,
        (true, true) => DelayCoverage::Partial,
        (true, false) => DelayCoverage::Whole,
    };
    Reading::Value(Delays { total, others })
}

fn delay_totals(delays: &ToldDelays) -> DelayTotals {
    let ToldDelays { cpu_ns, block_io_ns, swap_ns, reclaim_ns } = *delays;
    Totals([cpu_ns, block_io_ns, swap_ns, reclaim_ns])
}

/// Since when the kernel counts what is waited for besides a CPU, as far as was seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counting {
    now: DelayAccounting,
    /// `None` while it does not.
    since: Option<BootTime>,
}

/// What is known of the life of a process whose taskstats were read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// When it began, at the earliest.
    pub(crate) began: BootTime,
    /// The most threads it is known to have had.
    pub(crate) threads_max: u64,
}

impl Counting {
    /// Nothing is counted until something else is seen.
    pub(crate) fn new() -> Self {
        Counting { now: DelayAccounting::Unsupported, since: None }
    }

    /// Notes how it is now.
    pub(crate) fn see(&mut self, accounting: DelayAccounting, at: BootTime) {
        self.now = accounting;
        self.since = match accounting {
            DelayAccounting::On => self.since.or(Some(at)),
            DelayAccounting::Off | DelayAccounting::Unsupported => None,
        };
    }

    /// What taskstats say of a process. They do not say whether it was counted since it began;
    /// one that began since we watch was, and so was the only thread of which anything was.
    pub(crate) fn reading(&self, delays: &AccountedDelays, life: Life) -> Reading<Delays> {
        let Some(cpu_ns) = delays.run_queue_ns else {
            return Reading::Absent(Absence::Unsupported);
        };
        let others = match self.now {
            DelayAccounting::Unsupported => DelayCoverage::Unsupported,
            DelayAccounting::Off => DelayCoverage::SwitchedOff,
            DelayAccounting::On
                if self.since.is_some_and(|since| life.began >= since)
                    || (life.threads_max <= 1 && delays.has_others()) =>
            {
                DelayCoverage::Whole
            }
            DelayAccounting::On => DelayCoverage::Partial,
        };
        let known = |ns: Option<u64>| ns.unwrap_or(0);
        let [block_io_ns, swap_ns, reclaim_ns] =
            [delays.block_io_ns, delays.swap_ns, delays.reclaim_ns].map(known);
        Reading::Value(Delays { total: Totals([cpu_ns, block_io_ns, swap_ns, reclaim_ns]), others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: DelayCount =
        DelayCount { counts_cpu: true, counts_others: true, misses_others: false };

    fn coverage(delays: Reading<Delays>) -> Result<DelayCoverage, Absence> {
        delays.value().map(|delays| delays.others).ok_or_else(|| delays.absence().unwrap())
    }

    #[test]
    fn what_our_programs_tell_is_whole_only_where_all_threads_were_counted() {
        let check = |count, now, expected| {
            let reading = as_counted(of_ended((ToldDelays::default(), count)), now);
            assert_eq!(coverage(reading), expected, "{count:?} {now:?}");
        };
        let partial = DelayCount { misses_others: true, ..COUNT };
        let without = DelayCount { counts_others: false, ..COUNT };
        let nothing = DelayCount { counts_cpu: false, ..COUNT };
        check(COUNT, DelayAccounting::On, Ok(DelayCoverage::Whole));
        check(partial, DelayAccounting::On, Ok(DelayCoverage::Partial));
        check(COUNT, DelayAccounting::Off, Ok(DelayCoverage::SwitchedOff));
        check(without, DelayAccounting::Off, Ok(DelayCoverage::Unsupported));
        check(nothing, DelayAccounting::On, Err(Absence::Unsupported));
    }

    #[test]
    fn taskstats_are_whole_of_those_that_began_while_delays_were_counted() {
        let zeros = AccountedDelays {
            run_queue_ns: Some(5),
            block_io_ns: Some(0),
            ..AccountedDelays::default()
        };
        let copied = AccountedDelays { copy_ns: Some(1), ..zeros };
        let mut counting = Counting::new();
        let check = |counting: &Counting, delays, life: (u64, u64), expected| {
            let life = Life { began: BootTime { ns: life.0 }, threads_max: life.1 };
            assert_eq!(coverage(counting.reading(&delays, life)), expected, "{delays:?} {life:?}");
        };
        check(&counting, AccountedDelays::default(), (9, 1), Err(Absence::Unsupported));
        counting.see(DelayAccounting::Off, BootTime { ns: 50 });
        check(&counting, zeros, (200, 1), Ok(DelayCoverage::SwitchedOff));
        counting.see(DelayAccounting::On, BootTime { ns: 100 });
        counting.see(DelayAccounting::On, BootTime { ns: 300 });
        check(&counting, zeros, (200, 7), Ok(DelayCoverage::Whole));
        check(&counting, zeros, (99, 1), Ok(DelayCoverage::Partial));
        check(&counting, copied, (99, 1), Ok(DelayCoverage::Whole));
        check(&counting, copied, (99, 2), Ok(DelayCoverage::Partial));
        counting.see(DelayAccounting::Off, BootTime { ns: 400 });
        counting.see(DelayAccounting::On, BootTime { ns: 500 });
        check(&counting, zeros, (200, 1), Ok(DelayCoverage::Partial));
    }
}
