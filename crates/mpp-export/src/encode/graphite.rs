//! Graphite's plaintext protocol: `PREFIX.GROUP.METRIC VALUE EPOCH`.
//!
//! Paths know no escapes, so bytes that Graphite forbids become `_`. A path is a function of the
//! group's name alone: no newcomer of a like name ever renames the series of another group. It
//! ends in a short hash of the name unless it can be told back without: `name_nginx` is always
//! `name:nginx`, `nginx_service` always `nginx.service`, and a program that is called
//! `nginx_service` has a hash. Beside the groups stand `mpp_report.tier` (1 for A to 3 for C),
//! `.lost`, `.unattributed_io_bytes`, `.unattributed_tcp_bytes`, `.undecided`, `.visibility` (1
//! where everything is seen, 2 where others' processes are unreadable, 3 where they are hidden)
//! and `.interval_sec`.

use mpp_accounting::report::{Figure, Report};

use super::seconds;
use crate::escape;
use crate::figure::{
    accuracy_numbers, cells, interval_seconds, named_columns, push_float, push_integer, push_value,
    tier_number, visibility_number,
};

/// The component that no group may take.
const REPORT: &str = "mpp_report";

pub(crate) fn write(report: &Report, prefix: &str, out: &mut Vec<u8>) {
    let columns = named_columns(&report.columns);
    let mut lines = Lines { prefix, epoch: seconds(report.wall_time), out };
    let tier = ("tier", tier_number(report.accuracy.tier));
    let visibility = ("visibility", visibility_number(report.host.visibility));
    let numbers = accuracy_numbers(&report.accuracy);
    for (name, number) in [tier].into_iter().chain(numbers).chain([visibility]) {
        lines.push(REPORT, name, |out| push_integer(number, out));
    }
    if let Some(interval) = interval_seconds(report) {
        lines.push(REPORT, "interval_sec", |out| push_float(interval, out));
    }
    for group in &report.groups {
        let path = path_of(&group.name);
        for (named, figure) in cells(&columns, &group.figures) {
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

/// What may stand before the first `:` of a selector's text, and so before a path's first `_`.
const SELECTOR_KINDS: [&str; 8] =
    ["name", "user", "cmdline", "env", "pid", "children-of", "unit", "cgroup"];

/// What may stand behind the last `.` of a systemd unit that has processes, and so behind a
/// path's last `_`: systemd.unit(5).
const UNIT_KINDS: [&str; 6] = ["service", "scope", "slice", "socket", "mount", "swap"];

/// The component of a group.
///
/// Whoever looks for a name with the hash of another finds one; but to count as another group
/// it is enough to bear its name.
fn path_of(name: &[u8]) -> String {
    let path = escape::graphite(name);
    let is_free = path != REPORT && !has_hash(&path);
    match is_free && usual_name(&path).as_bytes() == name {
        true => path,
        false => format!("{path}_{:08x}", hash(name)),
    }
}

/// The one name that a path without a hash stands for.
fn usual_name(path: &str) -> String {
    let selector = match path.split_once('_') {
        Some((kind, rest)) if SELECTOR_KINDS.contains(&kind) => format!("{kind}:{rest}"),
        _ => path.to_owned(),
    };
    match selector.rsplit_once('_') {
        Some((unit, kind)) if UNIT_KINDS.contains(&kind) => format!("{unit}.{kind}"),
        _ => selector,
    }
}

/// Whether a path looks as if it ended in a hash.
fn has_hash(path: &str) -> bool {
    let end = path.rsplit_once('_').map_or("", |(_, end)| end);
    end.len() == 8 && end.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// FNV-1a: the same on every machine and in every version.
fn hash(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(name: &str, expected: &str) {
        assert_eq!(path_of(name.as_bytes()), expected, "{name:?}");
    }

    #[test]
    fn a_path_that_can_be_told_back_is_the_name_itself() {
        check("massindexer", "massindexer");
        check("kworker-0_1", "kworker-0_1");
        check("name:nginx", "name_nginx");
        check("env:TAG_ENV_VAR", "env_TAG_ENV_VAR");
        check("children-of:bash", "children-of_bash");
        check("nginx.service", "nginx_service");
        check("unit:nginx.service", "unit_nginx_service");
    }

    #[test]
    fn any_other_path_has_a_hash_whoever_else_is_there() {
        check("a.b", "a_b_108bf50c");
        check("a/b", "a_b_3a8e75c1");
        check("nginx_service", "nginx_service_10b06043");
        check("name_nginx", "name_nginx_68dacefd");
        check("mpp_report", "mpp_report_a85d774b");
        check("a_b_108bf50c", "a_b_108bf50c_ff4fad91");
        check("", "__811c9dc5");
        check("_", "_");
    }

    #[test]
    fn no_two_names_have_one_path() {
        let pieces = ["a", "_", ".", ":", "/", "name", "user", "service", "mpp_report", "108bf50c"];
        let longer = |names: &[String]| -> Vec<String> {
            names.iter().flat_map(|name| pieces.map(|piece| format!("{name}{piece}"))).collect()
        };
        let mut names = vec![String::new()];
        for _ in 0..4 {
            names.extend(longer(&names));
            names.sort_unstable();
            names.dedup();
        }
        let paths: BTreeSet<String> = names.iter().map(|name| path_of(name.as_bytes())).collect();
        assert_eq!(paths.len(), names.len());
    }
}
