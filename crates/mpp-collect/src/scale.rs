//! The kernel's units made into ours: clock ticks into nanoseconds, pages into bytes.
//!
//! Units are converted in this file and nowhere else. The trap: what a clock tick is
//! worth belongs to the kernel that printed it, so a frozen tree brings its own scale.

use std::time::Duration;

use mpp_accounting::process::{Memory, ProportionalMemory, Usage};
use mpp_accounting::units::{BootTime, IoTotals, Totals, UsageTotals};
use mpp_parse::bpf_record::ThreadUsage;
use mpp_parse::proc_pid_io::Io;
use mpp_parse::proc_pid_smaps_rollup::SmapsRollup;
use mpp_parse::proc_pid_stat::Stat;
use mpp_parse::proc_pid_statm::Statm;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// What a clock tick and a page are worth on the machine that printed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    /// `sysconf(_SC_CLK_TCK)`, never 0.
    ticks_per_second: u64,
    /// `sysconf(_SC_PAGESIZE)`.
    page_size_bytes: u64,
}

impl Scale {
    /// `None` where a second would have no ticks, or a page no bytes.
    pub(crate) fn new(ticks_per_second: u64, page_size_bytes: u64) -> Option<Self> {
        let is_sound = (1..=NS_PER_SECOND).contains(&ticks_per_second) && page_size_bytes > 0;
        is_sound.then_some(Scale { ticks_per_second, page_size_bytes })
    }

    /// Of the machine that this program runs on.
    pub(crate) fn of_this_machine() -> Self {
        Scale {
            ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
            page_size_bytes: rustix::param::page_size() as u64,
        }
    }

    /// Clock ticks per second.
    pub(crate) fn ticks_per_second(self) -> u64 {
        self.ticks_per_second
    }

    /// A moment in clock ticks since boot, rounded down as the kernel rounds start times.
    pub(crate) fn ticks_at(self, moment: BootTime) -> u64 {
        let (seconds, rest) = (moment.ns / NS_PER_SECOND, moment.ns % NS_PER_SECOND);
        let ticks = seconds.saturating_mul(self.ticks_per_second);
        ticks.saturating_add(rest * self.ticks_per_second / NS_PER_SECOND)
    }

    /// The beginning of a clock tick since boot.
    pub(crate) fn moment_at(self, ticks: u64) -> BootTime {
        BootTime { ns: self.ns(ticks) }
    }

    /// CPU time and faults of a process and of the children it waited for.
    pub(crate) fn usage(self, stat: &Stat<'_>) -> Usage {
        let totals = |user, system, minor, major| -> UsageTotals {
            Totals([self.ns(user), self.ns(system), minor, major])
        };
        Usage::new(
            totals(stat.utime_ticks, stat.stime_ticks, stat.minflt, stat.majflt),
            totals(stat.cutime_ticks, stat.cstime_ticks, stat.cminflt, stat.cmajflt),
        )
    }

    /// Memory in bytes.
    pub(crate) fn memory(self, statm: &Statm) -> Memory {
        let bytes = |pages: u64| pages.saturating_mul(self.page_size_bytes);
        Memory {
            rss_bytes: bytes(statm.resident_pages),
            vms_bytes: bytes(statm.size_pages),
            shared_bytes: bytes(statm.shared_pages),
            text_bytes: bytes(statm.text_pages),
            data_bytes: bytes(statm.data_pages),
        }
    }

    /// Pages in bytes.
    pub(crate) fn bytes(self, pages: u64) -> u64 {
        pages.saturating_mul(self.page_size_bytes)
    }

    /// Bytes of all pages from one address to another.
    pub(crate) fn whole_pages(self, start: u64, end: u64) -> u64 {
        let first = start - start % self.page_size_bytes;
        let last = end.checked_next_multiple_of(self.page_size_bytes).unwrap_or(u64::MAX);
        last.saturating_sub(first)
    }

    fn ns(self, ticks: u64) -> u64 {
        let (seconds, rest) = (ticks / self.ticks_per_second, ticks % self.ticks_per_second);
        let ns = seconds.saturating_mul(NS_PER_SECOND);
        ns.saturating_add(rest * NS_PER_SECOND / self.ticks_per_second)
    }
}

/// How many threads or descriptors a process has, of which no kernel lets it have more.
pub(crate) fn small_count(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// I/O of a process or a thread, in the order of [`IoCounter`](mpp_accounting::units::IoCounter).
pub(crate) fn io_totals(io: &Io) -> IoTotals {
    Totals([
        io.rchar,
        io.wchar,
        io.syscr,
        io.syscw,
        io.read_bytes,
        io.write_bytes,
        io.cancelled_write_bytes,
    ])
}

/// User and system time of a process that was on a CPU for `runtime_ns`, divided in the
/// proportion of its ticks as the kernel does for `/proc/PID/stat`, `cputime_adjust` of
/// `kernel/sched/cputime.c`: neither falls below what was said `before`.
pub(crate) fn cpu_split(usage: &ThreadUsage, before: (u64, u64)) -> (u64, u64) {
    let ThreadUsage { utime_ns, stime_ns, runtime_ns, .. } = *usage;
    let (user_before, system_before) = before;
    let runtime_ns = runtime_ns.max(user_before.saturating_add(system_before));
    let system_ns = match (utime_ns, stime_ns) {
        (_, 0) => 0,
        (0, _) => runtime_ns,
        _ => {
            let parts = u128::from(utime_ns) + u128::from(stime_ns);
            let share = u128::from(runtime_ns) * u128::from(stime_ns) / parts;
            u64::try_from(share).unwrap_or(runtime_ns)
        }
    };
    let user_max_ns = runtime_ns.saturating_sub(user_before);
    let system_ns = system_ns.max(system_before).min(user_max_ns);
    (runtime_ns - system_ns, system_ns)
}

/// CPU time and faults of a child that was waited for, and of all that it had waited for,
/// getrusage(2): as the scheduler counted them, not in ticks.
pub(crate) fn usage_of(usage: &libc::rusage) -> UsageTotals {
    Totals([
        timeval_ns(usage.ru_utime),
        timeval_ns(usage.ru_stime),
        count_of(usage.ru_minflt),
        count_of(usage.ru_majflt),
    ])
}

/// Voluntary and involuntary context switches of the same, all threads included.
pub(crate) fn switches_of(usage: &libc::rusage) -> Totals<2> {
    Totals([count_of(usage.ru_nvcsw), count_of(usage.ru_nivcsw)])
}

/// The largest resident memory that one of the same ever had; the kernel counts in KiB.
pub(crate) fn peak_rss_bytes(usage: &libc::rusage) -> u64 {
    count_of(usage.ru_maxrss).saturating_mul(1024)
}

fn timeval_ns(time: libc::timeval) -> u64 {
    let us = count_of(time.tv_sec).saturating_mul(1_000_000);
    us.saturating_add(count_of(time.tv_usec)).saturating_mul(1000)
}

/// The kernel's counts are never negative.
fn count_of(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// Proportional memory in bytes.
pub(crate) fn proportional_memory(rollup: &SmapsRollup) -> ProportionalMemory {
    ProportionalMemory {
        pss_bytes: rollup.pss_bytes,
        uss_bytes: rollup
            .private_clean_bytes
            .saturating_add(rollup.private_dirty_bytes)
            .saturating_add(rollup.private_hugetlb_bytes),
    }
}

/// A kernel's time of seconds and nanoseconds since boot.
pub(crate) fn boot_time(seconds: i64, nanoseconds: i64) -> BootTime {
    let seconds = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let since_boot =
        seconds.saturating_add(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0)));
    BootTime { ns: u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX) }
}

/// A kernel's time of seconds and nanoseconds since 1970.
pub(crate) fn unix_ns(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_become_nanoseconds_without_loss_and_without_overflow() {
        fn check(ticks_per_second: u64, ticks: u64, expected_ns: u64) {
            let scale = Scale::new(ticks_per_second, 4096).unwrap();
            assert_eq!(scale.ns(ticks), expected_ns, "{ticks} ticks of 1/{ticks_per_second} s");
        }
        check(100, 1, 10_000_000);
        check(100, 12_345, 123_450_000_000);
        check(1024, 1024, 1_000_000_000);
        check(1024, 1, 976_562);
        check(100, u64::MAX, u64::MAX);
        check(1, 0, 0);
    }

    #[test]
    fn a_moment_is_rounded_down_to_the_tick_that_a_process_started_in_it_bears() {
        fn check(ns: u64, expected_ticks: u64) {
            let scale = Scale::new(100, 4096).unwrap();
            assert_eq!(scale.ticks_at(BootTime { ns }), expected_ticks, "{ns} ns");
        }
        check(0, 0);
        check(9_999_999, 0);
        check(10_000_000, 1);
        check(1_019_999_999, 101);
        check(u64::MAX, 1_844_674_407_370);
    }

    #[test]
    fn a_scale_without_ticks_or_bytes_does_not_exist() {
        assert_eq!(Scale::new(0, 4096), None);
        assert_eq!(Scale::new(100, 0), None);
        assert_eq!(Scale::new(NS_PER_SECOND + 1, 4096), None);
    }

    #[test]
    fn pages_that_cannot_be_stop_at_the_largest_number() {
        let text = b"18446744073709551615 2 1 1 0 1 0\n";
        let memory =
            Scale::new(100, 4096).unwrap().memory(&mpp_parse::proc_pid_statm::parse(text).unwrap());
        assert_eq!(memory.vms_bytes, u64::MAX);
        assert_eq!(memory.rss_bytes, 8192);
    }
}
