//! The figures of a run: what the kernel counted exactly, and what was seen.

use std::time::Duration;

use mpp_accounting::exit::ExitSource;
use mpp_accounting::metric::MetricId as M;
use mpp_accounting::process::{Absence, Reading};
use mpp_accounting::rate;
use mpp_accounting::report::{Figure, Mark, Value};
use mpp_accounting::run::records::agreement;
use mpp_accounting::run::{Agreement, Reaping, TOTAL_METRICS};
use mpp_accounting::units::{
    Delta, IoCounter, IoDelta, IoTotals, Totals, UsageCounter, UsageTotals,
};
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

/// What the whole tree did.
#[derive(Debug)]
pub(super) struct Total {
    /// One figure for each of [`TOTAL_METRICS`].
    pub(super) figures: Box<[Figure]>,
    /// Whether both ways of counting agree.
    pub(super) agreement: Agreement,
    pub(super) usage: UsageTotals,
    /// The most resident memory that one process ever had.
    pub(super) largest_rss_bytes: Option<u64>,
}

/// Adds up what is known at the end.
pub(super) fn total(sampler: &Sampler, supervisor: &Supervisor, wall: Duration) -> Total {
    let mut done = done(sampler, supervisor);
    let agreement = compare(&mut done, sampler);
    let largest = largest_rss_bytes(sampler, supervisor);
    let figure = |id: &M| figure(*id, &done, sampler, largest, wall);
    let figures = TOTAL_METRICS.iter().map(figure).collect();
    Total { figures, agreement, usage: done.usage, largest_rss_bytes: largest }
}

/// The most that one process ever had, as those tell who waited for it and its record.
fn largest_rss_bytes(sampler: &Sampler, supervisor: &Supervisor) -> Option<u64> {
    let told = Some(sampler.records().told().largest_rss_bytes).filter(|bytes| *bytes > 0);
    supervisor.totals().largest_rss_bytes.max(told)
}

/// Holds what came with waiting against what the records tell. Where a process let the kernel
/// reap its children the records alone are whole; where the two differ otherwise neither is
/// trusted.
fn compare(done: &mut Done, sampler: &Sampler) -> Agreement {
    let records = sampler.records();
    let told = records.told();
    let is_comparable = told.lost_records == 0 && sampler.is_left_at_rest();
    let Reading::Value(waited) = done.io else { return Agreement::NotCompared };
    if records.source() == ExitSource::Nobody || !is_comparable {
        return Agreement::NotCompared;
    }
    let mut recorded = told.io;
    for process in sampler.descendants() {
        let Some(untold) = records.untold(process) else { return Agreement::NotCompared };
        recorded = recorded.plus(untold);
    }
    let whole = waited.raised_to(recorded);
    if sampler.reaping() == Reaping::ByKernel {
        done.io = Reading::Value(whole);
        return if whole == recorded { Agreement::Same } else { Agreement::NotCompared };
    }
    let found = agreement(waited, recorded, told.ended, records.io_bound_bytes());
    match found {
        Agreement::NotCompared | Agreement::Same => {}
        // What accounting wrote is nothing that they did.
        Agreement::Charged(_) => done.io = Reading::Value(recorded),
        Agreement::Differs(_) => {
            done.io = Reading::Value(whole);
            done.io_mark = done.io_mark.and(Mark::Estimate);
        }
    }
    found
}

/// What has been waited for, what nobody will wait for, and what still runs.
fn done(sampler: &Sampler, supervisor: &Supervisor) -> Done {
    let totals = supervisor.totals();
    let strange = match supervisor.had_strangers() {
        true => Mark::Estimate,
        false => Mark::Exact,
    };
    let doubt = sampler.doubt().and(strange);
    let told = sampler.records().told();
    let (unreaped_io, unreaped_usage) = match sampler.is_told_whole() {
        // Of I/O the records are compared with the whole.
        true => (IoDelta::ZERO, told.unreaped_usage),
        false => sampler.unreaped(),
    };
    let mut done = Done {
        io: totals.io.map(|io| io.plus(unreaped_io)),
        io_mark: doubt,
        usage: totals.usage.plus(unreaped_usage),
        cpu_mark: doubt,
        faults_mark: doubt,
        switches: totals.switches.plus(Delta(told.unreaped_switches)),
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
        done.usage = done.usage.plus(process.usage.reaped().as_delta());
        match (process.io.total(), &mut done.io) {
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
        M::ProcessesEnded => sampler.ended(),
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
