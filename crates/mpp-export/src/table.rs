//! The table that people read: names at the left, numbers at the right, what they are
//! worth below.
//!
//! No line is longer than the screen is wide. Where columns do not fit, the rest of
//! them follow in a further block, under the same names. A name that is too long
//! loses its middle, never half an escape, to a sign that no name can hold.

use mpp_accounting::metric::MetricId;
use mpp_accounting::report::{Column, Figure, Form, GroupReport, Mark, Report};
use mpp_accounting::snapshot::Visibility;

use crate::escape::{ELLIPSIS, Part, terminal_parts};
use crate::figure::{
    Concern, counted, finite, interval_seconds, reason, trouble_classes, unattributed_cpu_seconds,
};
use crate::format::TableLayout;
use crate::units::{Units, bytes, scaled};

/// A name is not made shorter than this to save a block.
const NAME_WIDTH_LEAST: usize = 12;

/// Where blocks are needed anyway, names take no more than this.
const NAME_WIDTH_IN_BLOCKS: usize = 20;

const NAME_HEADING: &str = "GROUP";
const MEMBERS_HEADING: &str = "PROCS";

pub(crate) fn write(report: &Report, layout: &TableLayout, out: &mut Vec<u8>) {
    let columns = table_columns(report, layout.units);
    let names: Vec<Vec<Part>> = report.groups.iter().map(|group| name_parts(&group.name)).collect();
    write_blocks(&columns, &names, layout.width, out);
    write_footer(report, layout, out);
}

/// Rows under their headings, in as many blocks as it takes.
pub(crate) fn write_blocks(
    columns: &[TableColumn],
    names: &[Vec<Part>],
    width: usize,
    out: &mut Vec<u8>,
) {
    let frame = Frame::fit(columns, names, width);
    let mut rest = columns;
    for length in &frame.block_lengths {
        if rest.len() < columns.len() {
            out.push(b'\n');
        }
        let (block, behind) = rest.split_at(*length);
        frame.write_block(block, names, out);
        rest = behind;
    }
}

/// A name in pieces; two quotes stand for the empty one.
pub(crate) fn name_parts(name: &[u8]) -> Vec<Part> {
    terminal_parts(if name.is_empty() { b"\"\"" } else { name })
}

/// A column of cells, ready to print.
pub(crate) struct TableColumn {
    heading: String,
    cells: Vec<String>,
    width: usize,
}

impl TableColumn {
    pub(crate) fn new(heading: String, cells: Vec<String>) -> Self {
        let width = cells.iter().map(String::len).chain([heading.len()]).max().unwrap_or(0);
        TableColumn { heading, cells, width }
    }
}

/// The members first, then the columns of the report. The number of processes is the
/// members' sum and does not stand there twice.
fn table_columns(report: &Report, units: Units) -> Vec<TableColumn> {
    let is_members = |column: &Column| column.metric.id == MetricId::ProcessesTotal;
    let members = report.groups.iter().map(members_cell);
    let mut columns = vec![TableColumn::new(MEMBERS_HEADING.to_owned(), members.collect())];
    for (position, column) in report.columns.iter().enumerate() {
        if is_members(column) {
            continue;
        }
        let heading = match column.form {
            Form::Level => column.metric.heading.to_owned(),
            Form::PerSecond => format!("{}/s", column.metric.heading),
        };
        let cell = |group: &GroupReport| {
            let figure = group.figures.get(position);
            figure.map_or_else(String::new, |figure| figure_cell(column, *figure, units))
        };
        columns.push(TableColumn::new(heading, report.groups.iter().map(cell).collect()));
    }
    columns
}

/// `4+58`: matched and descendants; a lone `4` where there are no descendants.
fn members_cell(group: &GroupReport) -> String {
    let mark = group.members_mark.prefix();
    match group.descendants {
        0 => format!("{mark}{}", group.matched),
        descendants => format!("{mark}{}+{descendants}", group.matched),
    }
}

fn figure_cell(column: &Column, figure: Figure, units: Units) -> String {
    match finite(figure) {
        Figure::Known { value, mark } => {
            format!("{}{}", mark.prefix(), scaled(column, value, units))
        }
        Figure::Absent(_) => "-".to_owned(),
    }
}

/// How wide names are, what stands between columns, and how many go together.
struct Frame {
    name_width: usize,
    gap: usize,
    block_lengths: Vec<usize>,
}

impl Frame {
    /// All columns in one block if that can be: first with wide gaps, then with narrow
    /// ones, then with shorter names.
    fn fit(columns: &[TableColumn], names: &[Vec<Part>], width: usize) -> Self {
        let name_width = names.iter().map(|name| width_of(name)).chain([NAME_HEADING.len()]).max();
        let name_width = name_width.unwrap_or(0);
        let taken = |gap: usize| columns.iter().map(|column| column.width + gap).sum::<usize>();
        let in_one =
            |name_width, gap| Frame { name_width, gap, block_lengths: vec![columns.len()] };
        for gap in [2, 1] {
            if name_width.saturating_add(taken(gap)) <= width {
                return in_one(name_width, gap);
            }
        }
        let left = width.saturating_sub(taken(1));
        if left >= NAME_WIDTH_LEAST {
            return in_one(left, 1);
        }
        let widest = columns.iter().map(|column| column.width + 1).max().unwrap_or(0);
        let name_width = name_width
            .min(NAME_WIDTH_IN_BLOCKS)
            .min(width.saturating_sub(widest).max(NAME_HEADING.len()));
        let block_lengths = block_lengths(columns, width.saturating_sub(name_width));
        Frame { name_width, gap: 1, block_lengths }
    }

    fn write_block(&self, columns: &[TableColumn], names: &[Vec<Part>], out: &mut Vec<u8>) {
        let headings = columns.iter().map(|column| (column, column.heading.as_str()));
        self.write_line(NAME_HEADING, NAME_HEADING.len(), headings, out);
        for (row, name) in names.iter().enumerate() {
            let (name, width) = shortened(name, self.name_width);
            let cells =
                columns.iter().map(|column| (column, column.cells.get(row).map_or("", |c| c)));
            self.write_line(&name, width, cells, out);
        }
    }

    fn write_line<'a>(
        &self,
        name: &str,
        width: usize,
        cells: impl Iterator<Item = (&'a TableColumn, &'a str)>,
        out: &mut Vec<u8>,
    ) {
        let mut line = name.to_owned();
        line.extend(std::iter::repeat_n(' ', self.name_width.saturating_sub(width)));
        for (column, cell) in cells {
            let padding = self.gap + column.width.saturating_sub(cell.len());
            line.extend(std::iter::repeat_n(' ', padding));
            line.push_str(cell);
        }
        out.extend_from_slice(line.trim_end().as_bytes());
        out.push(b'\n');
    }
}

/// How many columns fit beside the names, block by block, at least one in each.
fn block_lengths(columns: &[TableColumn], width: usize) -> Vec<usize> {
    let mut lengths = Vec::new();
    let (mut length, mut taken) = (0, 0);
    for column in columns {
        if length > 0 && taken + column.width + 1 > width {
            lengths.push(length);
            (length, taken) = (0, 0);
        }
        length += 1;
        taken += column.width + 1;
    }
    lengths.push(length);
    lengths
}

pub(crate) fn width_of(name: &[Part]) -> usize {
    name.iter().map(|part| part.width).sum()
}

/// A name of at most this width, its middle left out where it was longer, and its width.
pub(crate) fn shortened(name: &[Part], width_max: usize) -> (String, usize) {
    let whole = width_of(name);
    if whole <= width_max {
        return (name.iter().map(|part| part.text.as_str()).collect(), whole);
    }
    let left = width_max.saturating_sub(1);
    let head = taken(name.iter(), left - left / 3);
    let head_width = width_of(&name[..head]);
    let tail = taken(name[head..].iter().rev(), left - head_width);
    let (head, tail) = (&name[..head], &name[name.len() - tail..]);
    let mut text: String = head.iter().map(|part| part.text.as_str()).collect();
    text.push(ELLIPSIS);
    text.extend(tail.iter().map(|part| part.text.as_str()));
    (text, head_width + 1 + width_of(tail))
}

/// How many parts fit into a width.
fn taken<'a>(parts: impl Iterator<Item = &'a Part>, width_max: usize) -> usize {
    let mut width = 0;
    parts
        .take_while(|part| {
            width += part.width;
            width <= width_max
        })
        .count()
}

/// What the numbers are worth, in clauses; then what the signs mean that were used.
fn write_footer(report: &Report, layout: &TableLayout, out: &mut Vec<u8>) {
    write_clauses(&worth(report, layout.units), layout.width, out);
    write_clauses(&signs(report), layout.width, out);
}

fn worth(report: &Report, units: Units) -> Vec<String> {
    let sum = |count: fn(&GroupReport) -> u64| {
        report.groups.iter().map(count).fold(0, u64::saturating_add)
    };
    let (matched, descendants) = (sum(|group| group.matched), sum(|group| group.descendants));
    let all = matched.saturating_add(descendants);
    let tier = report.accuracy.tier;
    let mut clauses = vec![
        format!(
            "{} {matched} matched + {descendants} descendants",
            counted(all, "process:", "processes:")
        ),
        format!("tier {} {}", tier.letter(), tier.promise()),
        format!("{} lost", report.accuracy.lost),
        format!("{} unreadable", sum(|group| group.unreadable)),
    ];
    if report.accuracy.lost_records > 0 {
        let count = report.accuracy.lost_records;
        clauses.push(counted(count, "exit record lost", "exit records lost"));
    }
    if report.accuracy.io_bound_bytes > 0 {
        let bytes = bytes(report.accuracy.io_bound_bytes, units);
        clauses.push(format!("I/O at most {bytes} too low"));
    }
    if report.accuracy.undecided > 0 {
        clauses.push(format!("{} may belong or not", report.accuracy.undecided));
    }
    if let Some(interval) = interval_seconds(report) {
        clauses.push(format!("over {interval:.2} s"));
    }
    if report.accuracy.unattributed_io_bytes > 0 {
        let bytes = bytes(report.accuracy.unattributed_io_bytes, units);
        clauses.push(format!("{bytes} of I/O in no group"));
    }
    if report.accuracy.unattributed_tcp_bytes > 0 {
        let bytes = bytes(report.accuracy.unattributed_tcp_bytes, units);
        clauses.push(format!("{bytes} over TCP in no group"));
    }
    if report.accuracy.unattributed_cpu_ns > 0 {
        let seconds = unattributed_cpu_seconds(report);
        clauses.push(format!("{seconds:.2} s of CPU time in no group"));
    }
    clauses.extend(
        match report.host.visibility {
            Visibility::Whole => None,
            Visibility::OthersUnreadable => Some("hidepid: other users' processes are unreadable"),
            Visibility::OthersHidden => Some("hidepid: other users' processes are not seen"),
        }
        .map(str::to_owned),
    );
    clauses.extend(trouble_clauses(report));
    clauses
}

/// What went wrong during the sweep, as far as it concerns who reads this.
fn trouble_clauses(report: &Report) -> Vec<String> {
    let of = |concern: Concern| {
        let classes = trouble_classes(&report.trouble).into_iter();
        let happened = classes.filter(move |class| class.count > 0 && class.concern == concern);
        happened.map(|class| class.words()).collect::<Vec<String>>()
    };
    let mut clauses = of(Concern::Members);
    if !clauses.is_empty() {
        let everywhere = format!("on the whole machine {}", clauses.join(", "));
        clauses = if is_anything_missing(report) { vec![everywhere] } else { Vec::new() };
    }
    clauses.extend(of(Concern::Measuring));
    clauses
}

/// Whether something of the members could not be read, or it is not known who they are.
fn is_anything_missing(report: &Report) -> bool {
    let is_partial =
        |group: &GroupReport| group.unreadable > 0 || group.members_mark != Mark::Exact;
    report.accuracy.undecided > 0 || report.groups.iter().any(is_partial)
}

/// The meaning of each sign that stands in the table.
fn signs(report: &Report) -> Vec<String> {
    let mut clauses = Vec::new();
    let has_mark = |wanted: Mark| {
        let is_wanted =
            |figure: &Figure| matches!(figure, Figure::Known { mark, .. } if *mark == wanted);
        let mut groups = report.groups.iter();
        groups.any(|group| group.members_mark == wanted || group.figures.iter().any(is_wanted))
    };
    let meanings = [
        (Mark::Bound, "within the bound"),
        (Mark::Estimate, "estimate"),
        (Mark::LowerBound, "at least"),
    ];
    for (mark, meaning) in meanings {
        if has_mark(mark) {
            clauses.push(format!("{} {meaning}", mark.prefix()));
        }
    }
    let mut reasons: Vec<String> = Vec::new();
    for group in &report.groups {
        for (column, figure) in report.columns.iter().zip(&group.figures) {
            if let Figure::Absent(why) = finite(*figure) {
                let reason = format!("- unknown: {}", reason(column, why));
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
    }
    clauses.extend(reasons);
    clauses
}

/// Clauses with semicolons between them, broken between words where a line ends.
pub(crate) fn write_clauses(clauses: &[String], width: usize, out: &mut Vec<u8>) {
    let text = clauses.join("; ");
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if !line.is_empty() {
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
}
