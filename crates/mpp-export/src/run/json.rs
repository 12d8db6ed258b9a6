//! A run as JSON: one object, described by `schema/run-1.json`.
//!
//! Within schema 1 fields are only added.

use mpp_accounting::report::Figure;
use mpp_accounting::run::{Agreement, Change, Ending, Judgement, Reaping};

use super::RunPage;
use crate::encode::json::{Writer, push_doubts, push_metrics};
use crate::encode::rfc_3339;
use crate::figure::{finite, named_columns};
use crate::format::{JsonLayout, Origin};

/// The version of the shape.
const SCHEMA: u64 = 1;

/// Writes a run with a line feed behind it.
pub fn write_json(page: &RunPage<'_>, origin: &Origin, layout: JsonLayout, out: &mut Vec<u8>) {
    let report = page.report;
    let mut json = Writer::new(layout, out);
    json.open(b'{');
    json.key("schema").integer(SCHEMA);
    json.key("kind").string(b"run");
    json.key("time").string(rfc_3339(report.total.wall_time).as_bytes());
    json.key("host").string(&origin.host);
    json.key("program").string(&report.program);
    let (status, signal) = match report.ending {
        Ending::Exited(status) => (Some(u64::from(status)), None),
        Ending::Signaled(signal) => (None, u64::try_from(signal).ok()),
    };
    json.key("status").count(status);
    json.key("signal").count(signal);
    json.key("command_sec").float(Some(report.command_wall.as_secs_f64()));
    json.key("interval_sec").float(report.total.interval.map(|whole| whole.as_secs_f64()));
    json.key("tier").string(report.total.accuracy.tier.letter().as_bytes());
    json.key("lost").integer(report.total.accuracy.lost);
    json.key("lost_records").integer(report.total.accuracy.lost_records);
    json.key("io_bound_bytes").integer(report.total.accuracy.io_bound_bytes);
    json.key("agreement").string(match report.agreement {
        Agreement::NotCompared => b"not_compared",
        Agreement::Same | Agreement::Charged(_) => b"same",
        Agreement::Differs(_) => b"differs",
    });
    json.key("samples").integer(report.samples);
    json.key("failed_samples").integer(report.failed_samples);
    json.key("reaped_by").string(match report.reaping {
        Reaping::ByParents => b"parents",
        Reaping::ByKernel => b"kernel",
    });
    push_group(&mut json, page);
    json.key("largest_process_rss");
    json.figure(report.largest_process);
    push_programs(&mut json, page);
    push_left(&mut json, page);
    push_limits(&mut json, page);
    if let Some(before) = page.tier_before {
        json.key("compared_tier").string(before.letter().as_bytes());
    }
    push_changes(&mut json, page.changes);
    json.close(b'}');
    out.push(b'\n');
}

/// `metrics`, `accuracy` and `why` of the whole tree.
fn push_group(json: &mut Writer<'_>, page: &RunPage<'_>) {
    let columns = named_columns(&page.report.total.columns);
    if let Some(group) = page.report.total.groups.first() {
        json.key("metrics").open(b'{');
        push_metrics(json, &columns, &group.figures);
        json.close(b'}');
        push_doubts(json, &columns, &group.figures);
    }
}

fn push_programs(json: &mut Writer<'_>, page: &RunPage<'_>) {
    let columns = named_columns(&page.report.programs.columns);
    json.key("programs").open(b'[');
    for group in &page.report.programs.groups {
        json.item();
        json.open(b'{');
        json.key("name").string(&group.name);
        json.key("metrics").open(b'{');
        push_metrics(json, &columns, &group.figures);
        json.close(b'}');
        push_doubts(json, &columns, &group.figures);
        json.close(b'}');
    }
    json.close(b']');
}

fn push_left(json: &mut Writer<'_>, page: &RunPage<'_>) {
    json.key("still_running").open(b'[');
    for one in &page.report.still_running {
        json.item();
        json.open(b'{');
        json.key("pid").integer(u64::from(one.pid));
        json.key("name").string(&one.comm);
        json.close(b'}');
    }
    json.close(b']');
}

fn push_limits(json: &mut Writer<'_>, page: &RunPage<'_>) {
    json.key("limits").open(b'[');
    for (limit, judgement) in page.limits {
        let (word, figure) = match judgement {
            Judgement::Kept(figure) => ("kept", *figure),
            Judgement::Broken(figure) => ("broken", *figure),
            Judgement::KeptAsFarAsKnown(figure) => ("kept_as_far_as_known", *figure),
            Judgement::Unknown(why) => ("unknown", Figure::Absent(*why)),
        };
        json.item();
        json.open(b'{');
        json.key("limit").string(limit.text().as_bytes());
        json.key("judgement").string(word.as_bytes());
        json.key("found");
        json.figure(finite(figure));
        json.close(b'}');
    }
    json.close(b']');
}

fn push_changes(json: &mut Writer<'_>, changes: &[Change]) {
    if changes.is_empty() {
        return;
    }
    json.key("compared").open(b'{');
    for change in changes {
        json.key(&change.column.name()).open(b'{');
        json.key("before").float(change.before.map(|(number, _)| number));
        json.key("now").float(change.now_value());
        json.key("difference").float(change.difference());
        json.key("percent").float(change.percent());
        if let Some(doubt) = change.doubt() {
            json.key("why").string(doubt.words().as_bytes());
        }
        json.close(b'}');
    }
    json.close(b'}');
}
