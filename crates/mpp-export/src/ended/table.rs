//! The table of what ends, a line for each process as it comes.

use mpp_accounting::ended::{Ended, EndedReport, WaitStatus, signal_name};
use mpp_accounting::metric::MetricId;
use mpp_accounting::report::{Figure, Tier};

use super::signs::Signs;
use super::{Cmdlines, EndedLayout, cell, cpu, spaced_cmdline};
use crate::encode::rfc_3339;
use crate::escape::terminal_parts;
use crate::figure::counted;
use crate::table::{shortened, width_of, write_clauses};
use crate::units::Units;

/// Narrower than this a command line goes below its process.
const CMDLINE_WIDTH_LEAST: usize = 24;

/// So far it stands in there.
const CMDLINE_INDENT: usize = 18;

/// What stands on a line. The order is that of the lines; which of them there are depends on
/// the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Time,
    TimeWithMilliseconds,
    Pid,
    User,
    Name,
    Status,
    Life,
    Cpu,
    Memory,
    Read,
    Write,
    Parent,
}

/// What every table has.
const ALWAYS: [Place; 8] = [
    Place::Time,
    Place::Pid,
    Place::Name,
    Place::Status,
    Place::Life,
    Place::Cpu,
    Place::Read,
    Place::Write,
];

/// What a table has besides where there is room, the most useful first.
const WHERE_THERE_IS_ROOM: [Place; 4] =
    [Place::Memory, Place::User, Place::Parent, Place::TimeWithMilliseconds];

const IN_ORDER: [Place; 12] = [
    Place::Time,
    Place::TimeWithMilliseconds,
    Place::Pid,
    Place::User,
    Place::Name,
    Place::Status,
    Place::Life,
    Place::Cpu,
    Place::Memory,
    Place::Read,
    Place::Write,
    Place::Parent,
];

impl Place {
    fn heading(self) -> &'static str {
        match self {
            Place::Time | Place::TimeWithMilliseconds => "UTC",
            Place::Pid => "PID",
            Place::User => "USER",
            Place::Name => "NAME",
            Place::Status => "STATUS",
            Place::Life => "LIFE",
            Place::Cpu => "CPU",
            Place::Memory => "MEMORY",
            Place::Read => "READ",
            Place::Write => "WRITE",
            Place::Parent => "PARENT",
        }
    }

    /// Room for the longest that may come, with its mark.
    fn width(self) -> usize {
        match self {
            Place::Time | Place::Memory | Place::Read | Place::Write => 9,
            Place::TimeWithMilliseconds => 13,
            Place::Pid | Place::Status => 7,
            Place::Life | Place::Cpu | Place::User => 8,
            Place::Name => 15,
            Place::Parent => 24,
        }
    }

    /// Words stand at the left of their column, numbers at the right.
    fn is_left(self) -> bool {
        matches!(self, Place::User | Place::Name | Place::Parent)
    }
}

/// A table that is being written.
#[derive(Clone, Debug)]
pub(super) struct Table {
    places: Vec<Place>,
    width: usize,
    units: Units,
    /// Room for the command line behind the rest; 0 where it goes below.
    cmdline_width: usize,
    cmdlines: Cmdlines,
    signs: Signs,
    has_core: bool,
    count: u64,
    failed: u64,
    untold: u64,
    shed: u64,
    lost_records: u64,
    spilled_records: u64,
    tier: Option<Tier>,
    elapsed_seconds: f64,
}

impl Table {
    pub(super) fn new(layout: &EndedLayout) -> Self {
        let mut chosen = ALWAYS.to_vec();
        let taken =
            |chosen: &[Place]| chosen.iter().map(|p| p.width() + 1).sum::<usize>().max(1) - 1;
        for place in WHERE_THERE_IS_ROOM {
            let mut more = chosen.clone();
            if place == Place::TimeWithMilliseconds {
                more.retain(|other| *other != Place::Time);
            }
            more.push(place);
            if taken(&more) <= layout.width {
                chosen = more;
            }
        }
        let left = layout.width.saturating_sub(taken(&chosen) + 1);
        let is_beside = layout.cmdlines == Cmdlines::Shown && left >= CMDLINE_WIDTH_LEAST;
        Table {
            places: IN_ORDER.into_iter().filter(|place| chosen.contains(place)).collect(),
            width: layout.width,
            units: layout.units,
            cmdline_width: if is_beside { left } else { 0 },
            cmdlines: layout.cmdlines,
            signs: Signs::default(),
            has_core: false,
            count: 0,
            failed: 0,
            untold: 0,
            shed: 0,
            lost_records: 0,
            spilled_records: 0,
            tier: None,
            elapsed_seconds: 0.0,
        }
    }

    pub(super) fn write_head(&self, out: &mut Vec<u8>) {
        let mut line = String::new();
        for place in &self.places {
            push_cell(&mut line, *place, place.heading(), place.heading().len());
        }
        if self.cmdline_width > 0 {
            line.push_str(" COMMAND");
        }
        push_line(&line, out);
    }

    pub(super) fn write(&mut self, report: &EndedReport, out: &mut Vec<u8>) {
        self.tier = self.tier.max(Some(report.tier));
        self.shed = self.shed.saturating_add(report.shed);
        self.lost_records = self.lost_records.saturating_add(report.lost_records);
        self.spilled_records = self.spilled_records.saturating_add(report.spilled_records);
        self.elapsed_seconds += report.interval.unwrap_or_default().as_secs_f64();
        for ended in &report.processes {
            self.count += 1;
            self.failed += u64::from(ended.has_failed() == Some(true));
            self.untold += u64::from(ended.has_failed().is_none());
            self.write_process(ended, out);
        }
    }

    fn write_process(&mut self, ended: &Ended, out: &mut Vec<u8>) {
        let mut line = String::new();
        for place in self.places.clone() {
            let (text, width) = self.cell(place, ended);
            push_cell(&mut line, place, &text, width);
        }
        if self.cmdlines == Cmdlines::Shown {
            let room = match self.cmdline_width {
                0 => {
                    push_line(&line, out);
                    line = " ".repeat(CMDLINE_INDENT);
                    self.width.saturating_sub(CMDLINE_INDENT)
                }
                room => {
                    line.push(' ');
                    room
                }
            };
            let parts = terminal_parts(&spaced_cmdline(&ended.identity));
            line.push_str(&shortened(&parts, room).0);
        }
        push_line(&line, out);
    }

    /// The text of a cell, and how wide it is.
    fn cell(&mut self, place: Place, ended: &Ended) -> (String, usize) {
        let name = |bytes: &[u8]| shortened(&terminal_parts(bytes), place.width());
        let text = match place {
            Place::Name => return name(&ended.identity.comm),
            Place::User => {
                return match &ended.user {
                    Some(user) => name(user),
                    None => name(ended.identity.uid.to_string().as_bytes()),
                };
            }
            Place::Parent => return parent_cell(ended, place.width()),
            Place::Time => self.time_cell(ended, "HH:MM:SS".len()),
            Place::TimeWithMilliseconds => self.time_cell(ended, "HH:MM:SS.mmm".len()),
            Place::Pid => ended.key.pid.to_string(),
            Place::Status => self.status_cell(ended.status),
            Place::Life => self.figure_cell(ended, MetricId::Uptime),
            Place::Cpu => {
                let figure = cpu(&ended.figures);
                self.signs.note_cpu(figure);
                cell(MetricId::CpuUser, figure, self.units)
            }
            Place::Memory => self.figure_cell(ended, MetricId::MemoryPeak),
            Place::Read => self.figure_cell(ended, MetricId::IoReadBytes),
            Place::Write => self.figure_cell(ended, MetricId::IoWriteBytes),
        };
        let width = text.len();
        (text, width)
    }

    fn figure_cell(&mut self, ended: &Ended, id: MetricId) -> String {
        let unknown = Figure::Absent(mpp_accounting::process::Absence::NotRequested);
        let figure = ended.figure(id).unwrap_or(unknown);
        self.signs.note(figure);
        cell(id, figure, self.units)
    }

    /// The time of the day; an estimate where the process may have ended a while before.
    fn time_cell(&mut self, ended: &Ended, length: usize) -> String {
        let moment = rfc_3339(ended.ended_at);
        let time = moment.split_once('T').map_or("", |(_, time)| time);
        let time = time.get(..length).unwrap_or(time);
        if ended.ended_within.is_zero() {
            return time.to_owned();
        }
        self.signs.note_estimate();
        format!("~{time}")
    }

    fn status_cell(&mut self, status: Option<WaitStatus>) -> String {
        match status {
            None => "-".to_owned(),
            Some(WaitStatus::Exited(number)) => number.to_string(),
            Some(WaitStatus::Signaled { signal, has_dumped_core }) => {
                self.has_core |= has_dumped_core;
                let name =
                    signal_name(signal).map_or_else(|| format!("SIG{signal}"), str::to_owned);
                format!("{name}{}", if has_dumped_core { "*" } else { "" })
            }
        }
    }

    pub(super) fn write_foot(&self, out: &mut Vec<u8>) {
        let mut clauses = vec![counted(self.count, "process ended", "processes ended")];
        if self.untold < self.count {
            clauses.push(format!("{} failed", self.failed));
        }
        if let Some(tier) = self.tier {
            clauses.push(format!("tier {} {}", tier.letter(), tier.promise()));
            clauses.push(format!("over {:.2} s", self.elapsed_seconds));
        }
        clauses.extend(missing(self.shed, self.lost_records, self.spilled_records));
        write_clauses(&clauses, self.width, out);
        let mut signs = self.signs.clauses(self.tier);
        if self.has_core {
            signs.push("* with a core dump".to_owned());
        }
        if self.untold > 0 {
            signs.push("status -: nobody told".to_owned());
        }
        write_clauses(&signs, self.width, out);
    }
}

/// What ended and is not told of, in clauses.
pub(super) fn missing(shed: u64, lost_records: u64, spilled_records: u64) -> Vec<String> {
    let mut clauses = Vec::new();
    if shed > 0 {
        clauses.push(format!("{shed} more left out, for want of room"));
    }
    if lost_records > 0 {
        clauses.push(counted(lost_records, "exit record lost", "exit records lost"));
    }
    if spilled_records > 0 {
        let one = "thread's record summed up in the kernel";
        clauses.push(counted(spilled_records, one, "threads' records summed up in the kernel"));
    }
    clauses
}

/// `make(4242)`.
fn parent_cell(ended: &Ended, room: usize) -> (String, usize) {
    let pid = format!("({})", ended.parent_pid);
    if ended.parent_pid == 0 {
        return ("-".to_owned(), 1);
    }
    let parts = terminal_parts(ended.parent_comm.as_deref().unwrap_or(b"-"));
    let (name, _) = shortened(&parts, room.saturating_sub(pid.len()));
    let width = width_of(&parts).min(room.saturating_sub(pid.len()));
    (format!("{name}{pid}"), width + pid.len())
}

fn push_cell(line: &mut String, place: Place, text: &str, width: usize) {
    if !line.is_empty() {
        line.push(' ');
    }
    let padding = " ".repeat(place.width().saturating_sub(width));
    match place.is_left() {
        true => line.extend([text, &padding]),
        false => line.extend([&padding, text]),
    }
}

fn push_line(line: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(line.trim_end().as_bytes());
    out.push(b'\n');
}
