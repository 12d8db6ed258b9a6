//! Limits and comparisons of runs.

use std::time::Duration;

use super::*;
use crate::process::Absence;
use crate::report::{Accuracy, GroupReport, Mark, Tier};
use crate::snapshot::{Host, Trouble};
use crate::units::WallTime;

/// A run of two seconds in which one metric has this figure, and all others are unknown.
fn run_with(id: MetricId, figure: Figure) -> RunReport {
    let figures = TOTAL_METRICS.iter().map(|other| match *other == id {
        true => figure,
        false => Figure::Absent(Absence::Denied),
    });
    let group = GroupReport {
        name: Box::default(),
        matched: 0,
        descendants: 0,
        members_mark: Mark::Exact,
        unreadable: 0,
        figures: figures.collect(),
    };
    let report = |ids: &[MetricId], groups| Report {
        wall_time: WallTime::default(),
        interval: Some(Duration::from_secs(2)),
        accuracy: Accuracy {
            tier: Tier::C,
            lost: 0,
            lost_records: 0,
            lost_records_total: 0,
            io_bound_bytes: 0,
            unattributed_io_bytes: 0,
            unattributed_tcp_bytes: 0,
            unattributed_cpu_ns: 0,
            undecided: 0,
        },
        columns: levels(ids).into(),
        groups,
        host: Host::default(),
        trouble: Trouble::default(),
    };
    RunReport {
        program: Box::from(b"sh".as_slice()),
        ending: Ending::Exited(0),
        command_wall: Duration::from_secs(2),
        cut_short_by: None,
        total: report(&TOTAL_METRICS, vec![group]),
        programs: report(&PROGRAM_METRICS, Vec::new()),
        largest_process: Figure::Absent(Absence::NotYetKnown),
        still_running: Vec::new(),
        samples: 3,
        failed_samples: 1,
        reaping: Reaping::ByParents,
        agreement: Agreement::NotCompared,
    }
}

fn known(value: u64, mark: Mark) -> Figure {
    Figure::Known { value: Value::Integer(value), mark }
}

/// What becomes of a limit where the peak is this.
fn check(limit: &str, figure: Figure, expected: Judgement) {
    let limit = Limit::parse(limit).expect("a limit");
    let report = run_with(limit.column().metric.id, figure);
    assert_eq!(limit.judge(&report), expected, "{}", limit.text());
}

#[test]
fn a_limit_is_broken_where_its_condition_holds() {
    let peak = known(4 << 20, Mark::Exact);
    for broken in ["> 3MiB", ">= 4MiB", "< 5MiB", "<= 4MiB", "== 4194304", "> 4MB", ">1K", "<= 3G"]
    {
        check(&format!("memory.peak {broken}"), peak, Judgement::Broken(peak));
    }
    for kept in ["> 4MiB", ">= 4.1MiB", "< 4MiB", "<= 3M", "== 4MB"] {
        check(&format!("memory.peak {kept}"), peak, Judgement::Kept(peak));
    }
}

#[test]
fn what_may_have_been_more_breaks_a_limit_above_it_for_sure_and_keeps_none() {
    let peak = known(4 << 20, Mark::LowerBound);
    check("memory.peak > 3MiB", peak, Judgement::Broken(peak));
    check("memory.peak > 4MiB", peak, Judgement::KeptAsFarAsKnown(peak));
    check("memory.peak < 5MiB", peak, Judgement::KeptAsFarAsKnown(peak));
    check("memory.peak < 4MiB", peak, Judgement::Kept(peak));
    check("memory.peak == 4MiB", peak, Judgement::KeptAsFarAsKnown(peak));
    check("memory.peak == 3MiB", peak, Judgement::Kept(peak));
}

#[test]
fn nobody_knows_whether_an_unknown_figure_keeps_a_limit() {
    let absent = Figure::Absent(Absence::Denied);
    check("fds > 5", absent, Judgement::Unknown(Absence::Denied));
}

#[test]
fn rates_are_means_over_the_run() {
    let rate = Figure::Known { value: Value::Float(50.0), mark: Mark::Exact };
    let written = known(100, Mark::Exact);
    check("io_counters.write_bytes_per_sec > 49", written, Judgement::Broken(rate));
    check("io_counters.write_bytes_per_sec > 50", written, Judgement::Kept(rate));
}

/// What becomes of a limit on the sum of both kinds of CPU time.
fn check_sum(limit: &str, user: Figure, system: Figure, expected: Judgement) {
    let limit = Limit::parse(limit).expect("a limit");
    let mut report = run_with(MetricId::CpuUser, user);
    let position = TOTAL_METRICS.iter().position(|id| *id == MetricId::CpuSystem);
    let row = report.total.groups.first_mut().expect("the row");
    row.figures[position.expect("a column")] = system;
    assert_eq!(limit.judge(&report), expected, "{}", limit.text());
}

#[test]
fn metrics_of_one_unit_may_be_added_up() {
    let seconds = |value, mark| Figure::Known { value: Value::Float(value), mark };
    let (user, system) = (seconds(1.5, Mark::Exact), seconds(0.75, Mark::Estimate));
    let sum = seconds(2.25, Mark::Estimate);
    check_sum("cpu.user + cpu.system > 2s", user, system, Judgement::Broken(sum));
    check_sum("cpu.user+cpu.system > 3s", user, system, Judgement::Kept(sum));
    let absent = Figure::Absent(Absence::Denied);
    check_sum("cpu.user + cpu.system > 2s", user, absent, Judgement::Unknown(Absence::Denied));
    check_sum("cpu.user + cpu.system > 2s", absent, system, Judgement::Unknown(Absence::Denied));
    let at_least = seconds(1.0, Mark::LowerBound);
    let known = seconds(2.5, Mark::LowerBound);
    check_sum("cpu.user + cpu.system > 3s", user, at_least, Judgement::KeptAsFarAsKnown(known));
    check_refused(
        "memory.peak + fds > 1",
        "`memory.peak` and `fds` cannot be added up",
        "only metrics of one unit can, as `cpu.user + cpu.system > 2s`",
    );
    check_refused(
        "cpu.user + cpu.system_per_sec > 1",
        "`cpu.user` and `cpu.system_per_sec` cannot be added up",
        "only metrics of one unit can, as `cpu.user + cpu.system > 2s`",
    );
    assert!(Limit::parse("cpu.user + > 1s").is_err() && Limit::parse("+ fds > 1").is_err());
}

#[test]
fn values_have_the_units_of_their_metric() {
    let cases = [
        ("uptime > 1.5m", 90.0),
        ("uptime > 500ms", 0.5),
        ("cpu.percent > 150%", 150.0),
        ("processes.total > 2k", 2000.0),
        ("memory.peak > 1TiB", 1_099_511_627_776.0),
    ];
    for (text, expected) in cases {
        let bound = Limit::parse(text).expect("a limit").bound;
        assert!((bound - expected).abs() < 1e-9, "{text}: {bound}");
    }
}

fn check_refused(text: &str, what: &str, hint: &str) {
    let error = Limit::parse(text).expect_err("no limit");
    assert_eq!((error.to_string().as_str(), error.hint()), (what, hint));
}

#[test]
fn what_is_no_limit_is_refused_with_a_hint() {
    check_refused(
        "memory.peak",
        "expected `METRIC OPERATOR VALUE`, but found no operator in `memory.peak`",
        "a limit looks like `memory.peak > 4GiB`; operators are > >= < <= ==",
    );
    check_refused(
        "memory.peek > 4GiB",
        "expected the name of a metric, but found `memory.peek`",
        "did you mean `memory.peak`?",
    );
    check_refused(
        "memory.peak > many",
        "expected a size such as `4GiB`, but found `many`",
        "a limit looks like `memory.peak > 4GiB`",
    );
    check_refused(
        "uptime > 4GiB",
        "expected a time such as `90s`, but found `4GiB`",
        "a limit looks like `uptime > 90s`",
    );
    let error = Limit::parse("memory.pss > 1").expect_err("no limit");
    assert_eq!(error.to_string(), "a run has no metric `memory.pss`");
    assert!(Limit::parse("fds > -1").is_err() && Limit::parse("fds > inf").is_err());
    assert!(Limit::parse("fds > 1e3").is_err() && Limit::parse("fds >").is_err());
}

#[test]
fn a_change_is_what_is_more_or_less_than_before() {
    let now = run_with(MetricId::IoWriteBytes, known(150, Mark::Exact));
    let name = MetricId::IoWriteBytes.metric().name.to_owned();
    let mut before = Cost::default();
    before.metrics.insert(name.clone(), (100.0, Mark::Exact));
    let changes = compare(&before, &now);
    assert_eq!(changes.len(), TOTAL_METRICS.len());
    let written = changes.iter().find(|change| change.column.name() == name).expect("a row");
    assert_eq!((written.difference(), written.percent()), (Some(50.0), Some(50.0)));
    assert_eq!(written.mark(), Mark::Exact);
    let read = changes.iter().find(|change| change.column.name() != name).expect("a row");
    assert_eq!((read.difference(), read.percent()), (None, None));
    before.metrics.insert(name, (0.0, Mark::Exact));
    let from_nothing = compare(&before, &now)[6];
    assert_eq!((from_nothing.difference(), from_nothing.percent()), (Some(150.0), None));
}

#[test]
fn a_difference_of_what_was_at_least_so_much_is_an_estimate() {
    let check = |before: (f64, Mark), now: Figure, expected: Option<(f64, Mark)>| {
        let run = run_with(MetricId::MemoryPeak, now);
        let name = MetricId::MemoryPeak.metric().name.to_owned();
        let cost = Cost { metrics: [(name.clone(), before)].into(), ..Cost::default() };
        let changes = compare(&cost, &run);
        let change = changes.iter().find(|change| change.column.name() == name).expect("a row");
        assert_eq!(change.difference().map(|number| (number, change.mark())), expected);
        assert_eq!(change.doubt().is_some(), expected.is_none());
    };
    let absent = Figure::Absent(Absence::Denied);
    check((100.0, Mark::LowerBound), absent, None);
    check((100.0, Mark::LowerBound), known(150, Mark::LowerBound), Some((50.0, Mark::Estimate)));
    check((100.0, Mark::LowerBound), known(150, Mark::Exact), Some((50.0, Mark::Estimate)));
    check((100.0, Mark::Exact), known(150, Mark::LowerBound), Some((50.0, Mark::Estimate)));
    check((100.0, Mark::Estimate), known(150, Mark::Exact), Some((50.0, Mark::Estimate)));
    check((0.1, Mark::Exact), known(0, Mark::Exact), Some((-0.1, Mark::Exact)));
}
