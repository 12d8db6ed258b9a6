//! What a run used: as text, as Markdown, as JSON, and read back to compare the next one with.

mod json;
mod markdown;
mod read;
mod text;

use mpp_accounting::metric::{MetricId, NumberType, Unit};
use mpp_accounting::process::Absence;
use mpp_accounting::rate::rounded;
use mpp_accounting::report::{
    Accuracy, Column, Figure, Form, GroupReport, Mark, Report, Tier, Value,
};
use mpp_accounting::run::{
    Agreement, Change, Ending, Judgement, Limit, Reaping, RunReport, Survivor,
};
use mpp_accounting::units::IoCounter;

use crate::escape;
use crate::figure::{counted, finite};
use crate::units::{Units, scaled};

pub use json::write_json;
pub use markdown::write_markdown;
pub use read::{CostError, read_cost};
pub use text::{Shown, write_limits, write_text};

/// The JSON Schema (2020-12) of what [`write_json`] writes.
pub const RUN_SCHEMA: &str = include_str!("../schema/run-1.json");

/// A run, and what is said about it.
#[derive(Clone, Copy, Debug)]
pub struct RunPage<'a> {
    /// What it used.
    pub report: &'a RunReport,
    /// Each limit, and whether it was kept.
    pub limits: &'a [(Limit, Judgement)],
    /// What it used more or less than an earlier one; empty where there is none.
    pub changes: &'a [Change],
    /// The tier of the earlier one, where there is one and it says.
    pub tier_before: Option<Tier>,
    /// How numbers are scaled for people.
    pub units: Units,
}

/// Programs beyond this are one row.
const PROGRAMS_SHOWN: usize = 10;

/// A number with its mark, as [`write_text`] writes it.
#[must_use]
pub fn number_text(column: &Column, number: f64, mark: Mark, units: Units) -> String {
    cell(column, Figure::Known { value: whole_where_counted(column, number), mark }, units)
}

/// A mark and a number, or the sign for unknown.
pub(crate) fn cell(column: &Column, figure: Figure, units: Units) -> String {
    match finite(figure) {
        Figure::Known { value, mark } => {
            format!("{}{}", mark.prefix(), sized(column, value, units))
        }
        Figure::Absent(_) => "-".to_owned(),
    }
}

/// A number with its sign.
fn signed_cell(column: &Column, difference: f64, mark: Mark, units: Units) -> String {
    let sign = if difference < 0.0 { '-' } else { '+' };
    let size = whole_where_counted(column, difference.abs());
    format!("{}{sign}{}", mark.prefix(), sized(column, size, units))
}

/// As tables scale it, but short times keep three digits: a run may be over in milliseconds.
fn sized(column: &Column, value: Value, units: Units) -> String {
    let is_time = column.metric.unit == Unit::Seconds && column.form == Form::Level;
    match value {
        Value::Float(number) if is_time && units != Units::Raw => short_time(number),
        _ => scaled(column, value, units),
    }
}

fn short_time(seconds: f64) -> String {
    match seconds {
        none if none <= 0.0 => "0s".to_owned(),
        short if short < 0.0995 => format!("{:.1}ms", short * 1e3),
        short if short < 0.9995 => format!("{:.0}ms", short * 1e3),
        some if some < 59.995 => format!("{some:.2}s"),
        long => scaled(&uptime(), Value::Float(long), Units::Iec),
    }
}

/// A number as its metric types it: JSON and differences know fractions alone.
fn whole_where_counted(column: &Column, number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
    match column.metric.number {
        NumberType::Integer => Value::Integer(number.round() as u64),
        NumberType::Float => Value::Float(number),
    }
}

/// `sh exited with status 0 after 2.3s`.
fn headline(report: &RunReport) -> String {
    let program = escape::terminal(&report.program);
    let after = short_time(report.command_wall.as_secs_f64());
    let ended = match report.ending {
        Ending::Exited(status) => format!("exited with status {status}"),
        Ending::Signaled(signal) => format!("was ended by signal {signal}"),
    };
    format!("`{program}` {ended} after {after}")
}

fn uptime() -> Column {
    Column { metric: MetricId::Uptime.metric(), form: Form::Level }
}

/// What has to be known to read the figures, one sentence each.
fn remarks(page: &RunPage<'_>) -> Vec<String> {
    let report = page.report;
    let mut remarks = Vec::new();
    if let Some(left) = what_is_left(&report.still_running) {
        remarks.push(left);
    }
    let is_told_whole = report.total.accuracy.tier == Tier::A;
    if report.reaping == Reaping::ByKernel && !is_told_whole {
        remarks
            .push("a process ignored SIGCHLD: what its children did unseen is missing".to_owned());
    }
    remarks.extend(agreement_remark(report.agreement));
    let tier = report.total.accuracy.tier;
    if let Some(before) = page.tier_before.filter(|before| *before != tier) {
        let (before, now) = (before.letter(), tier.letter());
        remarks.push(format!(
            "before at tier {before}, now at tier {now}: ended processes were not seen alike"
        ));
    }
    remarks
}

/// What to say of two ways of counting that did not come to the same.
fn agreement_remark(agreement: Agreement) -> Option<String> {
    match agreement {
        Agreement::NotCompared | Agreement::Same => None,
        Agreement::Charged(processes) => Some(format!(
            "process accounting is on: what it wrote in the name of {} is left out",
            counted(processes, "ended process", "ended processes")
        )),
        Agreement::Differs(by) => Some(format!(
            "what came with waiting is not what the records of ended processes tell: {} bytes \
             written, {} read and {} calls lie between the two",
            by[IoCounter::WriteBytes].max(by[IoCounter::WriteChars]),
            by[IoCounter::ReadBytes].max(by[IoCounter::ReadChars]),
            by[IoCounter::WriteCount].saturating_add(by[IoCounter::ReadCount]),
        )),
    }
}

/// How well ended processes are known, and what is missing.
fn tier_note(report: &RunReport) -> String {
    let Accuracy { tier, lost_records, .. } = report.total.accuracy;
    let note = format!("tier {} ({})", tier.letter(), tier.promise());
    match lost_records {
        0 => note,
        lost => format!("{note}, {}", counted(lost, "record lost", "records lost")),
    }
}

/// Why some figures bear the signs that they bear, where that is always so.
fn reasons(report: &RunReport) -> Vec<String> {
    let marked = |id: MetricId, wanted: Mark| {
        let figure = report.figure(&Column { metric: id.metric(), form: Form::Level });
        matches!(figure, Some(Figure::Known { mark, .. }) if mark == wanted)
    };
    let seen = [MetricId::MemoryPeak, MetricId::ProcessesTotal, MetricId::Fds];
    let mut reasons = Vec::new();
    if seen.into_iter().any(|id| marked(id, Mark::LowerBound)) {
        reasons.push("memory, processes, fds: the most that a look saw".to_owned());
    }
    let is_told = report.total.accuracy.tier != Tier::C;
    if is_told && marked(MetricId::CpuUser, Mark::Exact) && !report.programs.groups.is_empty() {
        reasons.push(
            "CPU time by program: what ending took is in no record, and shared out".to_owned(),
        );
    }
    let position = report.programs.columns.iter().position(is_peak);
    let is_unseen = |program: &GroupReport| {
        let peak = position.and_then(|at| program.figures.get(at));
        matches!(peak, Some(Figure::Absent(Absence::Vanished)))
    };
    if report.programs.groups.iter().any(is_unseen) {
        reasons.push("PEAK -: ended unseen, with less than it began with".to_owned());
    }
    reasons
}

fn is_peak(column: &Column) -> bool {
    column.metric.id == MetricId::MemoryPeak
}

/// Who still runs, as a sentence; `None` where nobody does.
#[must_use]
pub fn what_is_left(left: &[Survivor]) -> Option<String> {
    const NAMED_MAX: usize = 5;
    let named: Vec<String> = left
        .iter()
        .take(NAMED_MAX)
        .map(|one| format!("{} ({})", escape::terminal(&one.comm), one.pid))
        .collect();
    let more = match left.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    match left.len() {
        0 => None,
        1 => Some(format!("1 process still runs, counted up to now: {}", named.join(", "))),
        count => {
            let named = named.join(", ");
            Some(format!("{count} processes still run, counted up to now: {named}{more}"))
        }
    }
}

/// The signs that stand in some figures, with their meaning.
fn signs(figures: &[Figure]) -> Vec<String> {
    let mut signs = Vec::new();
    let meanings = [
        (Mark::Bound, "too low by a known bound"),
        (Mark::Estimate, "an estimate"),
        (Mark::LowerBound, "at least"),
    ];
    for (mark, meaning) in meanings {
        let is_used =
            |figure: &Figure| matches!(figure, Figure::Known { mark: m, .. } if *m == mark);
        if figures.iter().any(is_used) {
            signs.push(format!("{} {meaning}", mark.prefix()));
        }
    }
    for figure in figures {
        if let Figure::Absent(why) = figure {
            let sign = format!("- unknown: {why}");
            if !signs.contains(&sign) {
                signs.push(sign);
            }
        }
    }
    signs
}

/// A limit, and what became of it: the line that [`write_limits`] writes for it.
#[must_use]
pub fn limit_line(limit: &Limit, judgement: &Judgement, units: Units) -> String {
    format!("limit {}", judged(limit, judgement, units))
}

/// The line of the limit that nothing may be left running; `None` where it was kept.
#[must_use]
pub fn left_line(left: &[Survivor]) -> Option<String> {
    what_is_left(left).map(|sentence| format!("limit BROKEN: leaves no process: {sentence}"))
}

/// What became of a limit.
fn judged(limit: &Limit, judgement: &Judgement, units: Units) -> String {
    let text = escape::text(limit.text().as_bytes());
    let found = |figure: &Figure| cell(limit.column(), *figure, units);
    match judgement {
        Judgement::Kept(figure) => format!("kept: {text}: found {}", found(figure)),
        Judgement::Broken(figure) => format!("BROKEN: {text}: found {}", found(figure)),
        Judgement::KeptAsFarAsKnown(figure) => {
            format!("kept as far as was seen: {text}: found {}", found(figure))
        }
        Judgement::Unknown(why) => format!("unknown: {text}: {why}"),
    }
}

/// The rows of programs that are shown; the last one holds what the others do not.
fn program_rows(report: &RunReport) -> Vec<(String, Vec<Figure>)> {
    let programs = &report.programs;
    let mut rows: Vec<(String, Vec<Figure>)> = programs
        .groups
        .iter()
        .take(PROGRAMS_SHOWN)
        .map(|group| (escape::terminal(&group.name), group.figures.to_vec()))
        .collect();
    if let Some(rest) = rest_of(report) {
        rows.push(("(other, unseen)".to_owned(), rest));
    }
    rows
}

/// What the whole tree did beyond the programs that are shown; `None` where that is nothing.
fn rest_of(report: &RunReport) -> Option<Vec<Figure>> {
    let total = report.total.groups.first()?;
    let shown = &report.programs.groups[..report.programs.groups.len().min(PROGRAMS_SHOWN)];
    let columns = report.programs.columns.iter().enumerate();
    let rest: Vec<Figure> =
        columns.map(|(at, column)| rest_in(column, at, total, &report.total, shown)).collect();
    let is_something = |figure: &Figure| match figure {
        Figure::Known { value, .. } => value.as_float() > 0.0005,
        Figure::Absent(_) => false,
    };
    rest.iter().any(is_something).then_some(rest)
}

/// A total less what is shown of it. Peaks do not add up, so of these nothing is left.
fn rest_in(
    column: &Column,
    position: usize,
    total: &GroupReport,
    totals: &Report,
    shown: &[GroupReport],
) -> Figure {
    let unknown = Figure::Absent(Absence::NotRequested);
    let same = |other: &Column| other.metric.id == column.metric.id;
    let whole = totals.columns.iter().position(same).and_then(|at| total.figures.get(at));
    let (Some(Figure::Known { value, .. }), false) = (whole, is_peak(column)) else {
        return unknown;
    };
    let mut seen = 0.0;
    for group in shown {
        match group.figures.get(position) {
            Some(Figure::Known { value, .. }) => seen += value.as_float(),
            Some(Figure::Absent(why)) => return Figure::Absent(*why),
            None => return unknown,
        }
    }
    let rest = rounded(value.as_float() - seen).max(0.0);
    let rest = whole_where_counted(column, rest);
    Figure::Known { value: rest, mark: Mark::Estimate }
}
