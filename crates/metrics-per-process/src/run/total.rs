//! The figures of a run: what the kernel counted exactly, and what was seen.

use std::time::Duration;

use mpp_accounting::metric::MetricId as M;
use mpp_accounting::process::{Absence, Reading};
use mpp_accounting::rate;
use mpp_accounting::report::{Figure, Mark, Value};
use mpp_accounting::run::TOTAL_METRICS;
use mpp_accounting::units::{IoCounter, IoTotals, Totals, UsageCounter, UsageTotals};
use mpp_collect::child::Supervisor;

use super::sampler::{Sampler, count};

/// What a tree did, and how well that is known.
#[derive(Debug)]
struct Done {
    io: Reading<IoTotals>,
    io_mark: Mark,
    usage: UsageTotals,
    /// Of CPU time: what still runs is counted in ticks.
    cpu_mark: Mark,
    faults_mark: Mark,
    switches: Totals<2>,
    switches_mark: Mark,
}

/// One figure for each of [`TOTAL_METRICS`].
pub(super) fn figures(sampler: &Sampler, supervisor: &Supervisor, wall: Duration) -> Box<[Figure]> {
    let done = done(sampler, supervisor);
    let largest = supervisor.totals().largest_rss_bytes;
    TOTAL_METRICS.iter().map(|id| figure(*id, &done, sampler, largest, wall)).collect()
}

/// What has been waited for, what nobody will wait for, and what still runs.
fn done(sampler: &Sampler, supervisor: &Supervisor) -> Done {
    let totals = supervisor.totals();
    let strange = match supervisor.had_strangers() {
        true => Mark::Estimate,
        false => Mark::Exact,
    };
    let doubt = sampler.doubt().and(strange);
    let (unreaped_io, unreaped_usage) = sampler.unreaped();
    let mut done = Done {
        io: totals.io.map(|io| io.plus(unreaped_io)),
        io_mark: doubt,
        usage: totals.usage.plus(unreaped_usage),
        cpu_mark: doubt,
        faults_mark: doubt,
        switches: totals.switches,
        switches_mark: doubt,
    };
    if !sampler.is_left_at_rest() {
        done.io_mark = done.io_mark.and(Mark::Estimate);
        done.faults_mark = done.faults_mark.and(Mark::Estimate);
    }
    for process in sampler.descendants() {
        done.cpu_mark = done.cpu_mark.and(Mark::Estimate);
        done.switches_mark = Mark::LowerBound;
        done.usage = done.usage.plus(process.usage.own.as_delta());
        done.usage = done.usage.plus(process.usage.reaped.as_delta());
        match (process.io.total, &mut done.io) {
            (Reading::Value(theirs), Reading::Value(io)) => *io = io.plus(theirs.as_delta()),
            (Reading::Absent(_), _) => done.io_mark = Mark::LowerBound,
            (Reading::Value(_), Reading::Absent(_)) => {}
        }
    }
    done
}

fn figure(
    id: M,
    done: &Done,
    sampler: &Sampler,
    largest_rss_bytes: Option<u64>,
    wall: Duration,
) -> Figure {
    let io = |counter: IoCounter| match done.io {
        Reading::Value(io) => count(io[counter], done.io_mark),
        Reading::Absent(why) => Figure::Absent(why),
    };
    let cpu = |counter: UsageCounter| rate::seconds(done.usage[counter]);
    let seconds = |value: f64, mark| Figure::Known { value: Value::Float(value), mark };
    match id {
        M::Uptime => seconds(wall.as_secs_f64(), Mark::Exact),
        M::CpuUser => seconds(cpu(UsageCounter::CpuUserNs), done.cpu_mark),
        M::CpuSystem => seconds(cpu(UsageCounter::CpuSystemNs), done.cpu_mark),
        M::CpuPercent => {
            let both = cpu(UsageCounter::CpuUserNs) + cpu(UsageCounter::CpuSystemNs);
            let share = rate::percent(both, wall.as_secs_f64());
            share
                .map_or(Figure::Absent(Absence::NotYetKnown), |share| seconds(share, done.cpu_mark))
        }
        M::PageFaultsMinor => count(done.usage[UsageCounter::MinorFaults], done.faults_mark),
        M::PageFaultsMajor => count(done.usage[UsageCounter::MajorFaults], done.faults_mark),
        M::CtxSwitchesVoluntary => count(done.switches.0[0], done.switches_mark),
        M::CtxSwitchesInvoluntary => count(done.switches.0[1], done.switches_mark),
        M::IoReadBytes => io(IoCounter::ReadBytes),
        M::IoWriteBytes => io(IoCounter::WriteBytes),
        M::IoCancelledWriteBytes => io(IoCounter::CancelledWriteBytes),
        M::IoReadChars => io(IoCounter::ReadChars),
        M::IoWriteChars => io(IoCounter::WriteChars),
        M::IoReadCount => io(IoCounter::ReadCount),
        M::IoWriteCount => io(IoCounter::WriteCount),
        M::MemoryPeak => memory_peak(sampler.memory.figure(), largest_rss_bytes),
        // The command itself at least.
        M::ProcessesTotal => match sampler.processes.figure() {
            Figure::Absent(_) => count(1, Mark::LowerBound),
            seen => seen,
        },
        M::ProcessesEnded => count(sampler.ended(), Mark::LowerBound),
        M::Fds => sampler.fds.figure(),
        _ => Figure::Absent(Absence::Unsupported),
    }
}

/// The most that all held at one look, or a single one ever: whichever is more.
fn memory_peak(seen: Figure, largest_rss_bytes: Option<u64>) -> Figure {
    let seen_bytes = match seen {
        Figure::Known { value: Value::Integer(bytes), .. } => Some(bytes),
        _ => None,
    };
    match seen_bytes.max(largest_rss_bytes) {
        Some(bytes) => count(bytes, Mark::LowerBound),
        None => seen,
    }
}
