//! Prometheus' text exposition format 0.0.4.
//!
//! The only format with other names than the dotted ones, in base units: percentages
//! are ratios here. Totals are counters, and Prometheus makes rates of them itself; a
//! rate is written, as a gauge `..._per_second`, only where its total is not a column.

use mpp_accounting::metric::{Kind, METRICS, Metric, Unit};
use mpp_accounting::report::{Column, Figure, Form, Report, Tier, Value};
use mpp_accounting::snapshot::Visibility;

use crate::escape;
use crate::figure::{
    finite, interval_seconds, push_float, push_integer, push_value, trouble_classes,
    unattributed_cpu_seconds, visibility_word,
};

pub(crate) fn write(report: &Report, out: &mut Vec<u8>) {
    let groups: Vec<String> =
        report.groups.iter().map(|group| escape::prometheus_label(&group.name)).collect();
    write_worth(report, out);
    write_members(report, &groups, out);
    for family in families(&report.columns) {
        family.write(report, &groups, out);
    }
}

/// What the whole report is worth.
fn write_worth(report: &Report, out: &mut Vec<u8>) {
    write_one("mpp_up", "Whether this report was measured.", 1, out);
    let help = "How ended processes are seen: A exact, B bounded, C estimate; 1 for what holds.";
    let tiers = [Tier::A, Tier::B, Tier::C];
    let tiers = tiers.map(|tier| (tier.letter(), u64::from(tier == report.accuracy.tier)));
    write_by_label("mpp_tier", help, "tier", &tiers, out);
    let help =
        "Processes that ended in the last interval, their last counters taken over by nobody.";
    write_one("mpp_lost_processes", help, report.accuracy.lost, out);
    let help = "Records of ended threads that the kernel wrote and that never arrived.";
    write_head("mpp_exit_records_lost_total", help, "counter", out);
    let lost = report.accuracy.lost_records_total;
    push_sample("mpp_exit_records_lost_total", "", |out| push_integer(lost, out), out);
    let help = "By how much a group's I/O counters are too low at most, for rounded records.";
    write_one("mpp_io_bound_bytes", help, report.accuracy.io_bound_bytes, out);
    let help = "I/O of the last interval that belongs to one of several groups, and is in none.";
    write_one("mpp_unattributed_io_bytes", help, report.accuracy.unattributed_io_bytes, out);
    let help =
        "Bytes over TCP connections that came and went in the last interval, whose is unknown.";
    write_one("mpp_unattributed_tcp_bytes", help, report.accuracy.unattributed_tcp_bytes, out);
    let help = "CPU time of the last interval of which the same is true as of I/O.";
    write_head("mpp_unattributed_cpu_seconds", help, "gauge", out);
    let seconds = unattributed_cpu_seconds(report);
    push_sample("mpp_unattributed_cpu_seconds", "", |out| push_float(seconds, out), out);
    let help =
        "Living processes that may or may not belong to a group: what decides it is unreadable.";
    write_one("mpp_undecided_processes", help, report.accuracy.undecided, out);
    if let Some(interval) = interval_seconds(report) {
        let help = "Time between the starts of the last two sweeps.";
        write_head("mpp_interval_seconds", help, "gauge", out);
        push_sample("mpp_interval_seconds", "", |out| push_float(interval, out), out);
    }
    let help = "How much of the machine's processes is seen; 1 for what holds.";
    let kinds = [Visibility::Whole, Visibility::OthersUnreadable, Visibility::OthersHidden];
    let kinds =
        kinds.map(|kind| (visibility_word(kind), u64::from(kind == report.host.visibility)));
    write_by_label("mpp_visibility", help, "visibility", &kinds, out);
    let help = "What went wrong during the last sweep, by class.";
    let classes = trouble_classes(&report.trouble).map(|class| (class.name, class.count));
    write_by_label("mpp_sweep_trouble", help, "class", &classes, out);
}

/// A family of one series.
fn write_one(name: &str, help: &str, number: u64, out: &mut Vec<u8>) {
    write_head(name, help, "gauge", out);
    push_sample(name, "", |out| push_integer(number, out), out);
}

/// A family of one series for each value of a label.
fn write_by_label(
    name: &str,
    help: &str,
    label: &str,
    series: &[(&'static str, u64)],
    out: &mut Vec<u8>,
) {
    write_head(name, help, "gauge", out);
    for (value, number) in series {
        let labels = format!("{label}=\"{value}\"");
        push_sample(name, &labels, |out| push_integer(*number, out), out);
    }
}

/// Who each group is made of.
fn write_members(report: &Report, groups: &[String], out: &mut Vec<u8>) {
    if report.groups.is_empty() {
        return;
    }
    let help = "Members of the group: matched themselves, or taken along as descendants.";
    write_head("mpp_members", help, "gauge", out);
    for (group, name) in report.groups.iter().zip(groups) {
        for (role, count) in [("descendant", group.descendants), ("matched", group.matched)] {
            let labels = format!("group=\"{name}\",role=\"{role}\"");
            push_sample("mpp_members", &labels, |out| push_integer(count, out), out);
        }
    }
    let help = "Members of which something requested could not be read.";
    write_head("mpp_unreadable_members", help, "gauge", out);
    for (group, name) in report.groups.iter().zip(groups) {
        let labels = format!("group=\"{name}\"");
        push_sample(
            "mpp_unreadable_members",
            &labels,
            |out| push_integer(group.unreadable, out),
            out,
        );
    }
}

/// Columns that bear one name and differ in a label.
struct Family<'a> {
    name: String,
    kind: &'static str,
    help: String,
    /// Each with its position among the report's columns.
    columns: Vec<(usize, &'a Column)>,
}

/// The families of a report, in the order of their first columns.
fn families(columns: &[Column]) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    for (position, column) in columns.iter().enumerate() {
        let is_level_there = || {
            columns
                .iter()
                .any(|other| other.form == Form::Level && other.metric.id == column.metric.id)
        };
        if column.form == Form::PerSecond && is_level_there() {
            continue;
        }
        let name = family_name(column);
        match families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.columns.push((position, column)),
            None => families.push(Family {
                name,
                kind: family_kind(column),
                help: family_help(column),
                columns: vec![(position, column)],
            }),
        }
    }
    families
}

fn family_name(column: &Column) -> String {
    let name = column.metric.prometheus.0;
    match column.form {
        Form::Level => name.to_owned(),
        Form::PerSecond => format!("{}_per_second", name.trim_end_matches("_total")),
    }
}

fn family_kind(column: &Column) -> &'static str {
    match (column.form, column.metric.kind) {
        (Form::Level, Kind::Counter) => "counter",
        (Form::Level, Kind::Gauge) | (Form::PerSecond, _) => "gauge",
    }
}

/// The help of the one metric, or of each by its labels; the same whichever are columns.
fn family_help(column: &Column) -> String {
    let bearers: Vec<&Metric> =
        METRICS.iter().filter(|metric| metric.prometheus.0 == column.metric.prometheus.0).collect();
    let help = match bearers.as_slice() {
        [only] => only.help.to_owned(),
        several => several
            .iter()
            .map(|metric| format!("{}: {}", labels_in_words(metric), metric.help))
            .collect::<Vec<_>>()
            .join(" "),
    };
    match column.form {
        Form::Level => help,
        Form::PerSecond => format!("By the second, over the last interval. {help}"),
    }
}

fn labels_in_words(metric: &Metric) -> String {
    let values: Vec<&str> = metric.prometheus.1.iter().map(|(_, value)| *value).collect();
    values.join(" ")
}

impl Family<'_> {
    fn write(&self, report: &Report, groups: &[String], out: &mut Vec<u8>) {
        let mut is_begun = false;
        for (group, name) in report.groups.iter().zip(groups) {
            for (position, column) in &self.columns {
                let Some(figure) = group.figures.get(*position) else { continue };
                let Figure::Known { value, .. } = finite(*figure) else { continue };
                if !is_begun {
                    write_head(&self.name, &self.help, self.kind, out);
                    is_begun = true;
                }
                push_sample(
                    &self.name,
                    &labels(name, column.metric),
                    |out| {
                        push_in_base_unit(value, column.metric.unit, out);
                    },
                    out,
                );
            }
        }
    }
}

/// The group's label and the metric's own, by their names' order.
fn labels(group: &str, metric: &Metric) -> String {
    let mut labels = vec![format!("group=\"{group}\"")];
    labels.extend(metric.prometheus.1.iter().map(|(key, value)| format!("{key}=\"{value}\"")));
    labels.sort_unstable_by(|a, b| a.split('=').next().cmp(&b.split('=').next()));
    labels.join(",")
}

fn push_in_base_unit(value: Value, unit: Unit, out: &mut Vec<u8>) {
    match (unit, value) {
        (Unit::Percent, Value::Float(percent)) => push_float(percent / 100.0, out),
        _ => push_value(value, out),
    }
}

fn write_head(name: &str, help: &str, kind: &str, out: &mut Vec<u8>) {
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    out.extend_from_slice(format!("# HELP {name} {help}\n# TYPE {name} {kind}\n").as_bytes());
}

fn push_sample(
    name: &str,
    labels: &str,
    push_number: impl FnOnce(&mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(name.as_bytes());
    if !labels.is_empty() {
        out.extend_from_slice(format!("{{{labels}}}").as_bytes());
    }
    out.push(b' ');
    push_number(out);
    out.push(b'\n');
}
