//! Ended processes as comma-separated values: one line for each, the marks of a line together
//! in its last field.

use mpp_accounting::ended::{Ended, EndedReport, WaitStatus};

use super::{Cmdlines, columns, spaced_cmdline};
use crate::encode::csv::{mark, push_cell};
use crate::encode::rfc_3339;
use crate::escape;
use crate::figure::{NamedColumn, cells, named_columns, push_float};

/// What stands before the metrics.
const HEAD: &str = "ended,ended_within_sec,started,pid,name,uid,user,parent_pid,parent_name,group,\
                    is_descendant,status,signal,has_dumped_core,tier,io_bound_bytes";

pub(super) fn write_head(cmdlines: Cmdlines, out: &mut Vec<u8>) {
    out.extend_from_slice(HEAD.as_bytes());
    for column in columns() {
        out.push(b',');
        out.extend_from_slice(column.name().as_bytes());
    }
    if cmdlines == Cmdlines::Shown {
        out.extend_from_slice(b",cmdline");
    }
    out.extend_from_slice(b",marks\n");
}

pub(super) fn write(report: &EndedReport, cmdlines: Cmdlines, out: &mut Vec<u8>) {
    let columns = columns();
    let columns = named_columns(&columns);
    for ended in &report.processes {
        write_identity(ended, out);
        let (number, signal, core) = match ended.status {
            Some(WaitStatus::Exited(number)) => (number.to_string(), String::new(), "false"),
            Some(WaitStatus::Signaled { signal, has_dumped_core }) => {
                let core = if has_dumped_core { "true" } else { "false" };
                (String::new(), signal.to_string(), core)
            }
            None => Default::default(),
        };
        let (tier, bound) = (report.tier.letter(), ended.io_bound_bytes);
        out.extend_from_slice(format!("{number},{signal},{core},{tier},{bound}").as_bytes());
        write_figures(ended, cmdlines, &columns, out);
    }
}

fn write_identity(ended: &Ended, out: &mut Vec<u8>) {
    out.extend_from_slice(rfc_3339(ended.ended_at).as_bytes());
    out.push(b',');
    push_float(ended.ended_within.as_secs_f64(), out);
    let text = format!(
        ",{},{},{},{},{},{},{},{},{},",
        rfc_3339(ended.started_at),
        ended.key.pid,
        escape::csv(&ended.identity.comm),
        ended.identity.uid,
        escape::csv(ended.user.as_deref().unwrap_or_default()),
        ended.parent_pid,
        escape::csv(ended.parent_comm.as_deref().unwrap_or_default()),
        escape::csv(&ended.group),
        ended.is_descendant,
    );
    out.extend_from_slice(text.as_bytes());
}

fn write_figures(
    ended: &Ended,
    cmdlines: Cmdlines,
    columns: &[NamedColumn<'_>],
    out: &mut Vec<u8>,
) {
    let mut marks = Vec::new();
    for (named, figure) in cells(columns, &ended.figures) {
        out.push(b',');
        push_cell(figure, out);
        marks.extend(mark(named.column, figure).map(|mark| format!("{}={mark}", named.name)));
    }
    if cmdlines == Cmdlines::Shown {
        out.push(b',');
        out.extend_from_slice(escape::csv(&spaced_cmdline(&ended.identity)).as_bytes());
    }
    out.push(b',');
    out.extend_from_slice(escape::csv(marks.join("; ").as_bytes()).as_bytes());
    out.push(b'\n');
}
