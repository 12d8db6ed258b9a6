//! Ended processes as JSON: one object for each interval, described by `schema/exits-1.json`,
//! or one flat object a line for each process.
//!
//! Within schema 1 fields are only added.

use mpp_accounting::ended::{Ended, EndedReport, WaitStatus};

use super::{Cmdlines, EndedLayout, arguments, columns, signal_word};
use crate::encode::json::{Writer, push_doubts, push_metrics};
use crate::encode::jsonl::push_time;
use crate::encode::rfc_3339;
use crate::figure::{NamedColumn, named_columns};
use crate::format::{JsonLayout, Origin};

/// The version of the shape.
const SCHEMA: u64 = 1;

pub(super) fn write(
    report: &EndedReport,
    origin: &Origin,
    layout: &EndedLayout,
    out: &mut Vec<u8>,
) {
    let columns = columns();
    let columns = named_columns(&columns);
    let mut json = Writer::new(layout.json, out);
    json.open(b'{');
    json.key("schema").integer(SCHEMA);
    json.key("kind").string(b"exits");
    json.key("time").string(rfc_3339(report.wall_time).as_bytes());
    json.key("host").string(&origin.host);
    json.key("interval_sec").float(report.interval.map(|interval| interval.as_secs_f64()));
    push_worth(&mut json, report);
    json.key("ended").open(b'[');
    for ended in &report.processes {
        json.item();
        json.open(b'{');
        json.key("started").string(rfc_3339(ended.started_at).as_bytes());
        json.key("ended").string(rfc_3339(ended.ended_at).as_bytes());
        push_process(&mut json, ended, layout.cmdlines);
        json.key("metrics").open(b'{');
        push_metrics(&mut json, &columns, &ended.figures);
        json.close(b'}');
        push_doubts(&mut json, &columns, &ended.figures);
        json.close(b'}');
    }
    json.close(b']');
    json.close(b'}');
    out.push(b'\n');
}

pub(super) fn write_lines(report: &EndedReport, cmdlines: Cmdlines, out: &mut Vec<u8>) {
    let columns = columns();
    let columns = named_columns(&columns);
    for ended in &report.processes {
        write_line(report, ended, cmdlines, &columns, out);
    }
}

fn write_line(
    report: &EndedReport,
    ended: &Ended,
    cmdlines: Cmdlines,
    columns: &[NamedColumn<'_>],
    out: &mut Vec<u8>,
) {
    let mut json = Writer::new(JsonLayout::Line, out);
    json.open(b'{');
    json.key("time");
    push_time(ended.ended_at, json.out);
    json.key("started");
    push_time(ended.started_at, json.out);
    push_process(&mut json, ended, cmdlines);
    push_worth(&mut json, report);
    push_metrics(&mut json, columns, &ended.figures);
    push_doubts(&mut json, columns, &ended.figures);
    json.close(b'}');
    out.push(b'\n');
}

/// How ends were seen in the interval, and how many are not told of.
fn push_worth(json: &mut Writer<'_>, report: &EndedReport) {
    json.key("tier").string(report.tier.letter().as_bytes());
    json.key("shed").integer(report.shed);
    json.key("lost_records").integer(report.lost_records);
    json.key("spilled_records").integer(report.spilled_records);
}

fn push_process(json: &mut Writer<'_>, ended: &Ended, cmdlines: Cmdlines) {
    json.key("ended_within_sec").float(Some(ended.ended_within.as_secs_f64()));
    json.key("pid").integer(u64::from(ended.key.pid));
    json.key("name").string(&ended.identity.comm);
    json.key("uid").integer(u64::from(ended.identity.uid));
    json.key("user").text(ended.user.as_deref());
    json.key("parent_pid").integer(u64::from(ended.parent_pid));
    json.key("parent_name").text(ended.parent_comm.as_deref());
    json.key("group").string(&ended.group);
    json.key("is_descendant").word(if ended.is_descendant { "true" } else { "false" });
    push_status(json, ended.status);
    json.key("io_bound_bytes").integer(ended.io_bound_bytes);
    if cmdlines == Cmdlines::Shown {
        json.key("cmdline");
        match ended.identity.cmdline.value() {
            None => json.null(),
            Some(cmdline) => {
                json.open(b'[');
                for argument in arguments(cmdline) {
                    json.item();
                    json.string(argument);
                }
                json.close(b']');
            }
        }
    }
}

fn push_status(json: &mut Writer<'_>, status: Option<WaitStatus>) {
    let (number, signal, core) = match status {
        Some(WaitStatus::Exited(number)) => (Some(u64::from(number)), None, "false"),
        Some(WaitStatus::Signaled { signal, has_dumped_core }) => {
            (None, Some(signal), if has_dumped_core { "true" } else { "false" })
        }
        None => (None, None, "null"),
    };
    json.key("status").count(number);
    json.key("signal").count(signal.map(u64::from));
    json.key("signal_name").text(signal.map(signal_word).as_deref().map(str::as_bytes));
    json.key("has_dumped_core").word(core);
}
