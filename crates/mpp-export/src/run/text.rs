//! A run for people: a metric a line, programs below, limits last.

use std::fmt::Write as _;

use mpp_accounting::metric::MetricId;
use mpp_accounting::report::{Column, Figure, Form, Mark};
use mpp_accounting::run::{Change, Judgement};
use unicode_width::UnicodeWidthStr as _;

use super::{
    RunPage, cell, headline, limit_line, program_rows, reasons, remarks, short_time, signed_cell,
    signs, sized, tier_note,
};
use crate::table::write_clauses;

/// Columns that lines of words take.
const WIDTH: usize = 80;

/// Writes everything that is known of a run.
pub fn write_text(page: &RunPage<'_>, out: &mut String) {
    let report = page.report;
    push(out, &format!("mpp: {}{}", headline(report), whole_time(page)));
    push(out, "");
    match page.changes {
        [] => write_figures(page, out),
        changes => write_changes(page, changes, out),
    }
    let programs = program_rows(report);
    if !programs.is_empty() {
        push(out, "");
        write_programs(page, &programs, out);
    }
    push(out, "");
    let mut figures: Vec<Figure> =
        report.total.groups.iter().flat_map(|group| group.figures.iter().copied()).collect();
    figures.extend(programs.iter().flat_map(|(_, figures)| figures).filter(|f| is_known(f)));
    let mut notes = signs(&figures);
    notes.extend(reasons(report));
    notes.push(tier_note(report));
    notes.push(match report.failed_samples {
        0 => format!("{} looks", report.samples),
        failed => format!("{} looks, {failed} more failed", report.samples),
    });
    notes.extend(bound_note(page.changes));
    let mut clauses = Vec::new();
    write_clauses(&notes, WIDTH, &mut clauses);
    out.push_str(&String::from_utf8_lossy(&clauses));
    for remark in remarks(page) {
        push(out, &remark);
    }
    write_limits(page, Shown::All, out);
}

/// Which limits are worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// All of them.
    All,
    /// Those that are broken, and those of which nobody knows.
    Trouble,
}

/// Writes a line for each limit.
pub fn write_limits(page: &RunPage<'_>, shown: Shown, out: &mut String) {
    for (limit, judgement) in page.limits {
        let is_trouble = matches!(judgement, Judgement::Broken(_) | Judgement::Unknown(_));
        if shown == Shown::All || is_trouble {
            push(out, &limit_line(limit, judgement, page.units));
        }
    }
}

/// How long the last process lived on after the command, where anybody would notice.
fn whole_time(page: &RunPage<'_>) -> String {
    let report = page.report;
    let whole = report.total.interval.unwrap_or_default();
    let longer = whole.saturating_sub(report.command_wall);
    if longer.as_millis() < 50 {
        return String::new();
    }
    let whole = short_time(whole.as_secs_f64());
    match report.still_running.len() {
        0 => format!(", the last that it started after {whole}"),
        _ => format!(", measured until {whole}"),
    }
}

fn write_figures(page: &RunPage<'_>, out: &mut String) {
    let report = page.report;
    let Some(row) = report.total.groups.first() else { return };
    for (column, figure) in report.total.columns.iter().zip(&row.figures) {
        let mut line = name_and_number(column, *figure, page);
        if column.metric.id == MetricId::MemoryPeak && is_known(&report.largest_process) {
            let largest = cell(column, report.largest_process, page.units);
            // Writing to a string cannot fail.
            let _ = write!(line, "   largest process {largest}");
        }
        push(out, &line);
    }
}

fn name_and_number(column: &Column, figure: Figure, page: &RunPage<'_>) -> String {
    format!("{:<34}{:>12}", column.name(), cell(column, figure, page.units))
}

fn write_changes(page: &RunPage<'_>, changes: &[Change], out: &mut String) {
    push(
        out,
        &format!("{:<34}{:>12}{:>12}{:>13}{:>9}", "", "BEFORE", "NOW", "DIFFERENCE", "CHANGE"),
    );
    for change in changes {
        let [before, now, difference, percent] = change_cells(change, page);
        let name = change.column.name();
        push(out, &format!("{name:<34}{before:>12}{now:>12}{difference:>13}{percent:>9}"));
    }
}

/// How a difference of lower bounds is meant, where there is one.
pub(super) fn bound_note(changes: &[Change]) -> Option<String> {
    let is_bound = |change: &Change| {
        let now = matches!(change.now, Figure::Known { mark: Mark::LowerBound, .. });
        let before = matches!(change.before, Some((_, Mark::LowerBound)));
        change.difference().is_some() && (now || before)
    };
    let note = "a DIFFERENCE of what is >= may be chance: of two looks one sees more";
    changes.iter().any(is_bound).then(|| note.to_owned())
}

/// Before, now, the difference, and its share of what was before.
pub(super) fn change_cells(change: &Change, page: &RunPage<'_>) -> [String; 4] {
    let column = &change.column;
    let before = change.before.map_or_else(
        || "-".to_owned(),
        |(number, mark)| {
            let value = super::whole_where_counted(column, number);
            format!("{}{}", mark.prefix(), sized(column, value, page.units))
        },
    );
    let difference = change.difference().map_or_else(
        || "-".to_owned(),
        |difference| signed_cell(column, difference, change.mark(), page.units),
    );
    let percent = change.percent().map_or_else(
        || "-".to_owned(),
        |percent| format!("{}{percent:+.1}%", change.mark().prefix()),
    );
    [before, cell(column, change.now, page.units), difference, percent]
}

const HEADING: &str = "PROGRAM";

fn write_programs(page: &RunPage<'_>, rows: &[(String, Vec<Figure>)], out: &mut String) {
    let columns = &page.report.programs.columns;
    let widest = rows.iter().map(|(name, _)| name.width()).chain([HEADING.len()]).max();
    let padded = |name: &str| {
        let padding = widest.unwrap_or(0).saturating_sub(name.width());
        format!("{name}{}", " ".repeat(padding))
    };
    let mut head = padded(HEADING);
    for column in columns.iter() {
        let _ = write!(head, "{:>10}", heading(column));
    }
    push(out, &head);
    for (name, figures) in rows {
        let mut line = padded(name);
        for (column, figure) in columns.iter().zip(figures) {
            let _ = write!(line, "{:>10}", cell(column, *figure, page.units));
        }
        push(out, &line);
    }
}

pub(super) fn heading(column: &Column) -> String {
    match column.form {
        Form::Level => column.metric.heading.to_owned(),
        Form::PerSecond => format!("{}/s", column.metric.heading),
    }
}

fn is_known(figure: &Figure) -> bool {
    matches!(figure, Figure::Known { .. })
}

fn push(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}
