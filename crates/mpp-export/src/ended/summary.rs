//! What many short lives come to: a table, or an object, of ended processes by group.

use mpp_accounting::ended::{SUMMARY_COLUMNS, SummaryColumn, SummaryReport, SummaryRow};
use mpp_accounting::report::{Figure, Mark};

use super::signs::Signs;
use super::table::missing;
use super::{EndedFormat, EndedLayout};
use crate::encode::csv::push_cell;
use crate::encode::json::Writer;
use crate::encode::rfc_3339;
use crate::escape::{self, Part};
use crate::figure::{counted, finite};
use crate::format::{JsonLayout, Origin};
use crate::table::{TableColumn, name_parts, write_blocks, write_clauses};

/// The version of the shape.
const SCHEMA: u64 = 1;

/// Writes a summary; the rows in the order in which they stand in it.
pub fn write_summary(
    report: &SummaryReport,
    format: EndedFormat,
    origin: &Origin,
    layout: &EndedLayout,
    out: &mut Vec<u8>,
) {
    match format {
        EndedFormat::Table => write_table(report, layout, out),
        EndedFormat::Json => write_json(report, origin, layout.json, out),
        EndedFormat::Jsonl => {
            for row in &report.rows {
                let mut json = Writer::new(JsonLayout::Line, out);
                json.open(b'{');
                json.key("time").string(rfc_3339(report.wall_time).as_bytes());
                json.key("group").string(&row.name);
                push_worth(&mut json, report);
                push_numbers(&mut json, row);
                push_doubts(&mut json, row);
                json.close(b'}');
                out.push(b'\n');
            }
        }
        EndedFormat::Csv => write_csv(report, out),
    }
}

fn write_table(report: &SummaryReport, layout: &EndedLayout, out: &mut Vec<u8>) {
    let mut signs = Signs::default();
    let mut columns = Vec::with_capacity(SUMMARY_COLUMNS.len());
    for (_, column) in SUMMARY_COLUMNS {
        let cells = report.rows.iter().map(|row| {
            let figure = row.figure(column);
            match column {
                SummaryColumn::Cpu => signs.note_cpu(figure),
                _ => signs.note(figure),
            }
            crate::run::cell(&column.like(), figure, layout.units)
        });
        columns.push(TableColumn::new(column.heading().to_owned(), cells.collect()));
    }
    let names: Vec<Vec<Part>> = report.rows.iter().map(|row| name_parts(&row.name)).collect();
    write_blocks(&columns, &names, layout.width, out);
    write_foot(report, &signs, layout.width, out);
}

fn write_foot(report: &SummaryReport, signs: &Signs, width: usize, out: &mut Vec<u8>) {
    let count = |row: &SummaryRow| match row.figure(SummaryColumn::Ended) {
        Figure::Known { value: mpp_accounting::report::Value::Integer(count), .. } => count,
        _ => 0,
    };
    let ended = report.rows.iter().map(count).fold(0, u64::saturating_add);
    let mut clauses = vec![
        counted(ended, "process ended", "processes ended"),
        format!("tier {} {}", report.tier.letter(), report.tier.promise()),
        format!("over {:.2} s", report.elapsed.as_secs_f64()),
    ];
    clauses.extend(missing(report.shed, report.lost_records, report.spilled_records));
    write_clauses(&clauses, width, out);
    let mut meanings = signs.clauses(Some(report.tier));
    if !report.rows.is_empty() {
        meanings.push("MEDIAN, P99 and MAX of how long they lived".to_owned());
    }
    write_clauses(&meanings, width, out);
}

fn write_json(report: &SummaryReport, origin: &Origin, layout: JsonLayout, out: &mut Vec<u8>) {
    let mut json = Writer::new(layout, out);
    json.open(b'{');
    json.key("schema").integer(SCHEMA);
    json.key("kind").string(b"exits_summary");
    json.key("time").string(rfc_3339(report.wall_time).as_bytes());
    json.key("host").string(&origin.host);
    push_worth(&mut json, report);
    json.key("groups").open(b'[');
    for row in &report.rows {
        json.item();
        json.open(b'{');
        json.key("name").string(&row.name);
        json.key("metrics").open(b'{');
        push_numbers(&mut json, row);
        json.close(b'}');
        push_doubts(&mut json, row);
        json.close(b'}');
    }
    json.close(b']');
    json.close(b'}');
    out.push(b'\n');
}

fn push_worth(json: &mut Writer<'_>, report: &SummaryReport) {
    json.key("interval_sec").float(Some(report.elapsed.as_secs_f64()));
    json.key("tier").string(report.tier.letter().as_bytes());
    json.key("shed").integer(report.shed);
    json.key("lost_records").integer(report.lost_records);
    json.key("spilled_records").integer(report.spilled_records);
}

fn cells(row: &SummaryRow) -> impl Iterator<Item = (&'static str, Figure)> {
    SUMMARY_COLUMNS.into_iter().zip(row.figures).map(|((name, _), figure)| (name, finite(figure)))
}

fn push_numbers(json: &mut Writer<'_>, row: &SummaryRow) {
    for (name, figure) in cells(row) {
        json.key(name).figure(figure);
    }
}

fn push_doubts(json: &mut Writer<'_>, row: &SummaryRow) {
    json.key("accuracy").open(b'{');
    for (name, figure) in cells(row) {
        if let Figure::Known { mark, .. } = figure
            && let Some(word) = mark.word()
        {
            json.key(name).string(word.as_bytes());
        }
    }
    json.close(b'}');
    json.key("why").open(b'{');
    for (name, figure) in cells(row) {
        if let Figure::Absent(why) = figure {
            json.key(name).string(why.to_string().as_bytes());
        }
    }
    json.close(b'}');
}

fn write_csv(report: &SummaryReport, out: &mut Vec<u8>) {
    let names: Vec<&str> = SUMMARY_COLUMNS.iter().map(|(name, _)| *name).collect();
    out.extend_from_slice(format!("group,tier,{},marks\n", names.join(",")).as_bytes());
    for row in &report.rows {
        let head = format!("{},{}", escape::csv(&row.name), report.tier.letter());
        out.extend_from_slice(head.as_bytes());
        let mut marks = Vec::new();
        for (name, figure) in cells(row) {
            out.push(b',');
            push_cell(figure, out);
            marks.extend(doubt(figure).map(|doubt| format!("{name}={doubt}")));
        }
        out.push(b',');
        out.extend_from_slice(escape::csv(marks.join("; ").as_bytes()).as_bytes());
        out.push(b'\n');
    }
}

fn doubt(figure: Figure) -> Option<String> {
    match figure {
        Figure::Known { mark, .. } => Mark::word(mark).map(str::to_owned),
        Figure::Absent(why) => Some(format!("unknown: {why}")),
    }
}
