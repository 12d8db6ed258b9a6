//! Two frozen moments of one machine, a second apart: the rates between them are known to
//! the byte, those of a process that ended in between included.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use metrics_per_process::report::{Figure, Report, Value};
use metrics_per_process::selector::{GroupKey, Selector};
use metrics_per_process::{Monitor, MonitorBuilder, metric};

/// A monitor's report over the second between the two moments.
fn second(group: impl FnOnce(MonitorBuilder) -> MonitorBuilder) -> Report {
    let moments = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/proc");
    let folder = tempfile::tempdir().expect("a folder for the link");
    let link: PathBuf = folder.path().join("proc");
    symlink(moments.join("6.18-services"), &link).expect("a link");
    let columns = metric::choose("io_counters.write_bytes_per_sec").expect("a metric");
    let builder = Monitor::builder().procfs(&link).columns(columns);
    let mut monitor = group(builder).build().expect("a frozen tree");
    monitor.sample().expect("the first moment");
    std::fs::remove_file(&link).expect("the link is there");
    symlink(moments.join("6.18-services-later"), &link).expect("a link");
    monitor.sample().expect("the second moment")
}

fn rate(report: &Report, group: &str) -> f64 {
    let row = report.groups.iter().find(|row| *row.name == *group.as_bytes());
    match row.expect("a group of this name").figures[0] {
        Figure::Known { value: Value::Float(rate), .. } => rate,
        other => panic!("expected a rate, but found {other:?}"),
    }
}

fn check(selector: &str, expected: f64) {
    let parsed = Selector::parse(selector).expect("a selector");
    let report = second(|builder| builder.group(selector, parsed));
    assert_eq!(rate(&report, selector), expected, "{selector}");
}

#[test]
fn a_group_writes_what_its_members_wrote() {
    check("name:systemd-journald", 1_048_576.0);
    check("name:nginx", 1_228_800.0);
    check("name:java", 31_461_376.0);
}

#[test]
fn a_process_read_through_a_living_thread_writes_too() {
    check("name:renderer", 1_003_520.0);
}

#[test]
fn a_child_that_ended_counts_in_its_parents_group_and_once() {
    check("name:backup.sh", 262_144.0 + 1_499_136.0);
    check("name:gzip children:no", 262_144.0 + 1_499_136.0);
    check("name:backup.sh children:no", 0.0);
}

#[test]
fn rows_add_up_to_all_that_was_written() {
    let report = second(|builder| builder.by(GroupKey::UnitOrName));
    let known = |row: &metrics_per_process::report::GroupReport| match row.figures[0] {
        Figure::Known { value: Value::Float(rate), .. } => rate,
        _ => 0.0,
    };
    let sum: f64 = report.groups.iter().map(known).sum();
    let truth = [1_048_576, 409_600, 819_200, 8_388_608, 31_461_376, 262_144, 1_499_136, 1_003_520];
    assert_eq!(sum, f64::from(truth.iter().sum::<i32>()));
}
