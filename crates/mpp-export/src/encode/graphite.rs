//! Graphite's plaintext protocol: `PREFIX.GROUP.METRIC VALUE EPOCH`.
//!
//! Paths know no escapes, so bytes that Graphite forbids become `_`, and two groups may
//! come to the same path; then a short hash of the name tells them apart. Beside the
//! groups stand `mpp_report.tier` (1 for A to 3 for C), `.lost`,
//! `.unattributed_io_bytes` and `.interval_sec`.

use std::collections::HashMap;

use mpp_accounting::report::{Figure, GroupReport, Report};

use super::seconds;
use crate::escape;
use crate::figure::{
    cells, interval_seconds, named_columns, push_float, push_integer, push_value, tier_number,
};

/// The component that no group may take.
const REPORT: &str = "mpp_report";

pub(crate) fn write(report: &Report, prefix: &str, out: &mut Vec<u8>) {
    let columns = named_columns(&report.columns);
    let mut lines = Lines { prefix, epoch: seconds(report.wall_time), out };
    for (name, number) in [
        ("tier", tier_number(report.accuracy.tier)),
        ("lost", report.accuracy.lost),
        ("unattributed_io_bytes", report.accuracy.unattributed_io_bytes),
    ] {
        lines.push(REPORT, name, |out| push_integer(number, out));
    }
    if let Some(interval) = interval_seconds(report) {
        lines.push(REPORT, "interval_sec", |out| push_float(interval, out));
    }
    for (group, path) in report.groups.iter().zip(paths(&report.groups)) {
        for (named, figure) in cells(&columns, group) {
            if let Figure::Known { value, .. } = figure {
                lines.push(&path, &named.name, |out| push_value(value, out));
            }
        }
        lines.push(&path, "matched", |out| push_integer(group.matched, out));
        lines.push(&path, "descendants", |out| push_integer(group.descendants, out));
        lines.push(&path, "unreadable", |out| push_integer(group.unreadable, out));
    }
}

struct Lines<'a> {
    prefix: &'a str,
    epoch: i64,
    out: &'a mut Vec<u8>,
}

impl Lines<'_> {
    fn push(&mut self, path: &str, name: &str, push_number: impl FnOnce(&mut Vec<u8>)) {
        if !self.prefix.is_empty() {
            self.out.extend_from_slice(self.prefix.as_bytes());
            self.out.push(b'.');
        }
        self.out.extend_from_slice(format!("{path}.{name} ").as_bytes());
        push_number(self.out);
        self.out.extend_from_slice(format!(" {}\n", self.epoch).as_bytes());
    }
}

/// A component for each group, no two the same.
fn paths(groups: &[GroupReport]) -> Vec<String> {
    let plain: Vec<String> = groups.iter().map(|group| escape::graphite(&group.name)).collect();
    let mut uses = HashMap::from([(REPORT, 1)]);
    for path in &plain {
        *uses.entry(path).or_insert(0) += 1;
    }
    let is_shared = |path: &str| uses.get(path).is_some_and(|uses| *uses > 1);
    groups
        .iter()
        .zip(&plain)
        .map(|(group, path)| match is_shared(path) {
            true => format!("{path}_{:08x}", hash(&group.name)),
            false => path.clone(),
        })
        .collect()
}

/// FNV-1a: the same on every machine and in every version.
fn hash(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: &[&str], expected: &[&str]) {
        let group = |name: &&str| GroupReport {
            name: name.as_bytes().into(),
            matched: 0,
            descendants: 0,
            unreadable: 0,
            figures: Box::default(),
        };
        let groups: Vec<GroupReport> = names.iter().map(group).collect();
        assert_eq!(paths(&groups), expected);
    }

    #[test]
    fn groups_that_would_share_a_path_are_told_apart() {
        check(&["a.b", "c"], &["a_b", "c"]);
        check(&["a.b", "a/b", "a_b"], &["a_b_108bf50c", "a_b_3a8e75c1", "a_b_1ba46871"]);
        check(&["mpp_report"], &["mpp_report_a85d774b"]);
    }
}
