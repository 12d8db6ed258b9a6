//! A run as a Markdown table, for the summary of a build.

use mpp_accounting::report::Figure;
use mpp_accounting::run::Judgement;

use super::text::{bound_note, change_cells, heading};
use super::{RunPage, cell, headline, judged, program_rows, reasons, remarks, signs, tier_note};

/// Writes a run as GitHub and others show it.
pub fn write_markdown(page: &RunPage<'_>, out: &mut String) {
    let report = page.report;
    push(out, &format!("### {}", code_free(&headline(report))));
    push(out, "");
    match page.changes {
        [] => write_figures(page, out),
        changes => {
            push_row(out, &["metric", "before", "now", "difference", "change"].map(str::to_owned));
            push(out, "|---|---:|---:|---:|---:|");
            for change in changes {
                let [before, now, difference, percent] = change_cells(change, page);
                let name = format!("`{}`", change.column.name());
                push_row(out, &[name, before, now, difference, percent]);
            }
        }
    }
    write_programs(page, out);
    let figures: Vec<Figure> =
        report.total.groups.iter().flat_map(|group| group.figures.iter().copied()).collect();
    let mut notes = signs(&figures);
    notes.extend(reasons(report));
    notes.push(tier_note(report));
    notes.extend(bound_note(page.changes));
    push(out, "");
    push(out, &escaped(&notes.join("; ")));
    for remark in remarks(page) {
        push(out, "");
        push(out, &escaped(&remark));
    }
    if !page.limits.is_empty() {
        push(out, "");
    }
    for (limit, judgement) in page.limits {
        let sign = match judgement {
            Judgement::Broken(_) => "**",
            _ => "",
        };
        push(out, &format!("- {sign}{}{sign}", escaped(&judged(limit, judgement, page.units))));
    }
}

fn write_figures(page: &RunPage<'_>, out: &mut String) {
    push_row(out, &["metric", "value"].map(str::to_owned));
    push(out, "|---|---:|");
    let report = page.report;
    for group in &report.total.groups {
        for (column, figure) in report.total.columns.iter().zip(&group.figures) {
            push_row(out, &[format!("`{}`", column.name()), cell(column, *figure, page.units)]);
        }
    }
}

fn write_programs(page: &RunPage<'_>, out: &mut String) {
    let rows = program_rows(page.report);
    if rows.is_empty() {
        return;
    }
    let columns = &page.report.programs.columns;
    push(out, "");
    let mut head = vec!["program".to_owned()];
    head.extend(columns.iter().map(|column| heading(column).to_lowercase()));
    push_row(out, &head);
    push(out, &format!("|---|{}", "---:|".repeat(columns.len())));
    for (name, figures) in rows {
        let mut cells = vec![escaped(&name)];
        let numbers = columns.iter().zip(&figures);
        cells.extend(numbers.map(|(column, figure)| cell(column, *figure, page.units)));
        push_row(out, &cells);
    }
}

/// A name in a headline, without the quotes that mean code there.
fn code_free(text: &str) -> String {
    escaped(&text.replace('`', ""))
}

/// Text that Markdown shows as it is.
///
/// A program's name is chosen by whoever wrote it: it must make no link, image or HTML.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '!' | '|' | '#' | '@' | '~' | ':' => {
                escaped.push('\\');
                escaped.push(letter);
            }
            plain => escaped.push(plain),
        }
    }
    escaped
}

fn push_row(out: &mut String, cells: &[String]) {
    out.push('|');
    for cell in cells {
        out.push(' ');
        out.push_str(&cell.replace(">=", "&ge;").replace('~', "\\~"));
        out.push_str(" |");
    }
    out.push('\n');
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push('\n');
}
