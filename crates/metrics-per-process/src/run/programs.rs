//! What each program did, by the records of its processes that ended and by those that are left.

use std::collections::BTreeMap;

use mpp_accounting::exit::ExitSource;
use mpp_accounting::metric::MetricId;
use mpp_accounting::process::{Absence, ProcessSample, ProcessState};
use mpp_accounting::rate;
use mpp_accounting::report::{Figure, GroupReport, Mark, Report, Value};
use mpp_accounting::run::PROGRAM_METRICS;
use mpp_accounting::run::records::{Program, name_of};
use mpp_accounting::units::{IoCounter, UsageCounter, UsageTotals};

use super::sampler::{Sampler, count};

/// The same table as was seen, of all that are told of, who used so much CPU time together.
pub(super) fn told(sampler: &Sampler, whole: UsageTotals, seen: Report) -> Report {
    let mut programs: BTreeMap<Box<[u8]>, Program> = BTreeMap::new();
    for (name, program) in sampler.records().programs() {
        programs.insert(name.into(), *program);
    }
    let mut unread = Mark::Exact;
    let living = sampler.descendants().filter(|process| process.state == ProcessState::Living);
    for process in living {
        let program = programs.entry(name_of(process)).or_default();
        unread = unread.and(add_living(program, process, sampler));
    }
    let rounded = match sampler.records().source() {
        ExitSource::Rounded => Mark::Bound,
        ExitSource::Exact | ExitSource::Nobody => Mark::Exact,
    };
    let ended = sampler.records_mark();
    let marks = Marks { io: ended.and(rounded).and(unread), ended, cpu: ended.and(Mark::Estimate) };
    if ended == Mark::Exact {
        for counter in [UsageCounter::CpuUserNs, UsageCounter::CpuSystemNs] {
            spread(counter, whole[counter], &mut programs);
        }
    }
    let row = |(name, program): (&[u8], &Program)| {
        let same = |group: &&GroupReport| *group.name == *name;
        let program = Program {
            largest_rss_bytes: program.largest_rss_bytes.max(sampler.held_by(name)),
            ..*program
        };
        row(name, &program, seen.groups.iter().find(same), marks)
    };
    let groups = programs.iter().map(|(name, program)| row((name, program))).collect();
    Report { groups, ..seen }
}

/// What can be promised of a row.
#[derive(Clone, Copy, Debug)]
struct Marks {
    io: Mark,
    ended: Mark,
    cpu: Mark,
}

/// Adds what one of them did that still runs, as it was last seen, and its threads that ended.
fn add_living(program: &mut Program, process: &ProcessSample, sampler: &Sampler) -> Mark {
    let records = sampler.records();
    program.usage = program.usage.plus(process.usage.own.as_delta());
    program.io = program.io.plus(records.ended_threads_of(process.key));
    let at_rest = if sampler.is_left_at_rest() { Mark::Exact } else { Mark::Estimate };
    match records.untold(process) {
        Some(io) => {
            program.io = program.io.plus(io);
            at_rest
        }
        None => Mark::LowerBound,
    }
}

/// Gives the programs what of the whole CPU time stands in no record, in proportion to what does:
/// the kernel brings a thread's time up to date at clock ticks and where another one runs, so a
/// record misses what came after, and the giving back of memory.
fn spread(counter: UsageCounter, whole_ns: u64, programs: &mut BTreeMap<Box<[u8]>, Program>) {
    let told: u64 = programs.values().map(|program| program.usage[counter]).sum();
    let ended: u64 = programs.values().map(|program| program.ended).sum();
    let rest = whole_ns.saturating_sub(told);
    for program in programs.values_mut() {
        let (part, all) = match told {
            0 => (program.ended, ended),
            told => (program.usage[counter], told),
        };
        let share = u128::from(rest) * u128::from(part) / u128::from(all.max(1));
        let ns = &mut program.usage.0[counter as usize];
        *ns = ns.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
    }
}

fn row(name: &[u8], program: &Program, seen: Option<&GroupReport>, marks: Marks) -> GroupReport {
    let cpu = |counter: UsageCounter| {
        let value = Value::Float(rate::seconds(program.usage[counter]));
        Figure::Known { value, mark: marks.cpu }
    };
    let figure = |(position, id): (usize, &MetricId)| match id {
        MetricId::ProcessesEnded => count(program.ended, marks.ended),
        MetricId::CpuUser => cpu(UsageCounter::CpuUserNs),
        MetricId::CpuSystem => cpu(UsageCounter::CpuSystemNs),
        MetricId::IoReadBytes => count(program.io[IoCounter::ReadBytes], marks.io),
        MetricId::IoWriteBytes => count(program.io[IoCounter::WriteBytes], marks.io),
        _ => {
            let seen = seen.and_then(|group| group.figures.get(position)).copied();
            largest(seen, program.largest_rss_bytes)
        }
    };
    GroupReport {
        name: name.into(),
        matched: 0,
        descendants: 0,
        unreadable: 0,
        figures: PROGRAM_METRICS.iter().enumerate().map(figure).collect(),
    }
}

/// The most that all held at one look, or that one ever had. Nothing is known of what ended
/// between two looks and never had more than it inherited from its forker.
fn largest(seen: Option<Figure>, told_bytes: u64) -> Figure {
    let seen_bytes = match seen {
        Some(Figure::Known { value: Value::Integer(bytes), .. }) => bytes,
        _ => 0,
    };
    match seen_bytes.max(told_bytes) {
        0 => Figure::Absent(Absence::Vanished),
        bytes => count(bytes, Mark::LowerBound),
    }
}
