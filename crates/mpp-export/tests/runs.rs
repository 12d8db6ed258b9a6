//! A run in every form, as snapshots of a hostile one; and read back.

use std::time::Duration;

use mpp_accounting::metric::MetricId;
use mpp_accounting::process::Absence;
use mpp_accounting::report::{Accuracy, Figure, GroupReport, Mark, Report, Tier, Value};
use mpp_accounting::run::{
    Agreement, Change, Cost, Ending, Judgement, Limit, PROGRAM_METRICS, Reaping, RunReport,
    Survivor, TOTAL_METRICS, compare, levels,
};
use mpp_accounting::snapshot::{Host, Trouble};
use mpp_accounting::units::{IoCounter, IoDelta, WallTime};
use mpp_export::run::{
    RUN_SCHEMA, RunPage, Shown, read_cost, write_json, write_limits, write_markdown, write_text,
};
use mpp_export::{JsonLayout, Origin, Units};
use serde_json::Value as Json;

fn integer(value: u64, mark: Mark) -> Figure {
    Figure::Known { value: Value::Integer(value), mark }
}

fn float(value: f64, mark: Mark) -> Figure {
    Figure::Known { value: Value::Float(value), mark }
}

fn row(name: &[u8], figures: Vec<Figure>) -> GroupReport {
    GroupReport {
        name: name.into(),
        matched: 0,
        descendants: 0,
        members_mark: Mark::Exact,
        unreadable: 0,
        figures: figures.into(),
    }
}

fn report_of(ids: &[MetricId], groups: Vec<GroupReport>) -> Report {
    Report {
        wall_time: WallTime { unix_ns: 1_795_435_421_520_000_000 },
        interval: Some(Duration::from_millis(3420)),
        accuracy: Accuracy {
            tier: Tier::C,
            lost: 1,
            lost_records: 0,
            lost_records_total: 0,
            io_bound_bytes: 0,
            unattributed_tcp_bytes: 0,
            unattributed_io_bytes: 0,
            unattributed_cpu_ns: 0,
            undecided: 0,
        },
        columns: levels(ids).into(),
        groups,
        host: Host::default(),
        trouble: Trouble::default(),
    }
}

/// What the metrics of the whole tree are; the rest is unknown.
fn total_figure(id: MetricId) -> Figure {
    match id {
        MetricId::Uptime => float(3.42, Mark::Exact),
        MetricId::CpuPercent => float(181.3, Mark::Exact),
        MetricId::CpuUser => float(6.2, Mark::Exact),
        MetricId::CpuSystem => float(0.004_25, Mark::Estimate),
        MetricId::MemoryPeak => integer(851_443_712, Mark::LowerBound),
        MetricId::IoWriteBytes => integer(50_331_648, Mark::Exact),
        MetricId::IoReadBytes => integer(0, Mark::Exact),
        MetricId::PageFaultsMinor => integer(257_123, Mark::Exact),
        MetricId::ProcessesTotal => integer(9, Mark::LowerBound),
        MetricId::ProcessesEnded => integer(46, Mark::LowerBound),
        _ => Figure::Absent(Absence::Denied),
    }
}

/// A run with every mark, whose names are made to break what they stand in.
fn hostile_run() -> RunReport {
    let program = |name: &[u8], user: f64, written: u64| {
        let figures = vec![
            integer(4, Mark::LowerBound),
            float(user, Mark::Estimate),
            float(0.001, Mark::Estimate),
            integer(800 << 20, Mark::LowerBound),
            Figure::Absent(Absence::Denied),
            integer(written, Mark::Estimate),
        ];
        row(name, figures)
    };
    let programs = vec![
        program(b"cc1plus", 5.0, 40 << 20),
        program(b"\x1b[2J|<b>\n", 0.5, 0),
        program("表`[a](b)".as_bytes(), 0.0, 0),
    ];
    let figures = TOTAL_METRICS.iter().map(|id| total_figure(*id)).collect();
    RunReport {
        program: Box::from(b"./<img>|`x\n\xff".as_slice()),
        ending: Ending::Exited(2),
        command_wall: Duration::from_millis(2310),
        cut_short_by: Some(2),
        total: report_of(&TOTAL_METRICS, vec![row(b"", figures)]),
        programs: report_of(&PROGRAM_METRICS, programs),
        largest_process: integer(213 << 20, Mark::Exact),
        still_running: vec![
            Survivor { pid: 4242, comm: Box::from(b"ngi\x07nx".as_slice()) },
            Survivor { pid: 4243, comm: Box::from(b"<script>".as_slice()) },
        ],
        samples: 31,
        failed_samples: 1,
        agreement: Agreement::NotCompared,
        reaping: Reaping::ByKernel,
    }
}

fn limits(run: &RunReport) -> Vec<(Limit, Judgement)> {
    ["memory.peak > 1GiB", "memory.peak > 500MiB", "fds > 5", "io_counters.write_bytes > 1GB"]
        .map(|text| Limit::parse(text).expect("a limit"))
        .map(|limit| (limit.clone(), limit.judge(run)))
        .into()
}

fn before() -> Cost {
    let metrics = [
        ("uptime", (3.0, Mark::Exact)),
        ("memory.peak", (f64::from(1 << 30), Mark::LowerBound)),
        ("io_counters.write_bytes", (f64::from(25_165_824), Mark::Exact)),
        ("io_counters.read_bytes", (0.0, Mark::Exact)),
        ("fds", (7.0, Mark::LowerBound)),
    ];
    let metrics = metrics.map(|(name, before)| (name.to_owned(), before)).into();
    Cost { program: "make".to_owned(), tier: Some(Tier::A), metrics }
}

#[test]
fn two_ways_of_counting_that_differ_are_said_to() {
    let check = |agreement, expected: &str| {
        let run = RunReport { agreement, ..hostile_run() };
        let (limits, changes, units) = (&[][..], &[][..], Units::Iec);
        let page = RunPage { report: &run, limits, changes, tier_before: None, units };
        let mut text = String::new();
        write_text(&page, &mut text);
        assert!(text.contains(expected), "{text}");
    };
    let mut by = IoDelta::ZERO;
    by.0[IoCounter::WriteBytes as usize] = 4096;
    let sentence = "not what the records of ended processes tell: 4096 bytes";
    check(Agreement::Differs(by), sentence);
    check(Agreement::Charged(1), "accounting is on: what it wrote in the name of 1 ended process");
}

#[test]
fn a_run_for_people() {
    let run = hostile_run();
    let (limits, changes) = (limits(&run), compare(&before(), &run));
    let page = RunPage {
        report: &run,
        limits: &limits,
        changes: &[],
        tier_before: None,
        units: Units::Iec,
    };
    let mut text = String::new();
    write_text(&page, &mut text);
    insta::assert_snapshot!("run_text", text);
    let too_wide: Vec<&str> =
        text.lines().skip(1).take(30).filter(|line| line.chars().count() > 80).collect();
    assert_eq!(too_wide, [""; 0]);
    assert!(!text.contains('\x1b') && !text.contains('\x07'));

    let compared = RunPage { changes: &changes, tier_before: Some(Tier::A), ..page };
    let mut text = String::new();
    write_text(&compared, &mut text);
    insta::assert_snapshot!("run_text_compared", text);
    let mut trouble = String::new();
    write_limits(&page, Shown::Trouble, &mut trouble);
    assert_eq!(
        trouble,
        "limit BROKEN: memory.peak > 500MiB: found >=812MiB\n\
         limit unknown: fds > 5: permission denied\n"
    );
}

#[test]
fn a_run_in_markdown() {
    let run = hostile_run();
    let (limits, changes) = (limits(&run), compare(&before(), &run));
    let page = RunPage {
        report: &run,
        limits: &limits,
        changes: &[],
        tier_before: None,
        units: Units::Si,
    };
    let mut text = String::new();
    write_markdown(&page, &mut text);
    insta::assert_snapshot!("run_markdown", text);
    let mut compared = String::new();
    write_markdown(
        &RunPage { changes: &changes, tier_before: Some(Tier::A), ..page },
        &mut compared,
    );
    insta::assert_snapshot!("run_markdown_compared", compared);
    for text in [text, compared] {
        assert!(!text.contains("<img>") && !text.contains("<script>") && !text.contains("<b>"));
        let tables = text.lines().filter(|line| line.starts_with('|'));
        let bars = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(tables.map(bars).all(|bars| [3, 6, 8].contains(&bars)), "{text}");
    }
}

#[test]
fn a_run_as_json_is_what_the_schema_says_and_is_read_back() {
    let run = hostile_run();
    let (limits, changes) = (limits(&run), compare(&before(), &run));
    let page = RunPage {
        report: &run,
        limits: &limits,
        changes: &changes,
        tier_before: Some(Tier::A),
        units: Units::Iec,
    };
    let mut json = Vec::new();
    write_json(&page, &Origin::of_host(b"web-17"), JsonLayout::Pretty, &mut json);
    insta::assert_snapshot!("run_json", String::from_utf8_lossy(&json));
    let object: Json = serde_json::from_slice(&json).expect("JSON");
    let schema: Json = serde_json::from_str(RUN_SCHEMA).expect("JSON");
    let keys = |value: &Json| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
        keys.sort();
        keys
    };
    assert_eq!(keys(&object), keys(&schema["properties"]));
    for required in schema["required"].as_array().expect("a list") {
        assert!(object.get(required.as_str().expect("text")).is_some(), "{required}");
    }
    let cost = read_cost(&json).expect("what a run used");
    assert_eq!(cost.metrics["memory.peak"], (851_443_712.0, Mark::LowerBound));
    assert_eq!(cost.metrics["io_counters.write_bytes"], (50_331_648.0, Mark::Exact));
    assert_eq!(cost.metrics.get("fds"), None, "unknown is not zero");
    assert!(compare(&cost, &run).iter().filter_map(Change::difference).all(|d| d == 0.0));
}

fn check_refused(text: &str, expected: &str) {
    let error = read_cost(text.as_bytes()).expect_err("not what a run used");
    assert_eq!(error.to_string(), expected, "{text}");
}

#[test]
fn what_no_run_wrote_is_refused() {
    check_refused("", "expected JSON");
    check_refused("[]", "expected the report of a run (`\"kind\":\"run\"`), but found none");
    check_refused(
        "{\"schema\":1,\"groups\":[]}",
        "expected the report of a run (`\"kind\":\"run\"`), but found none",
    );
    check_refused("{\"kind\":\"run\",\"schema\":2}", "expected schema 1, but found 2");
    check_refused(
        "{\"kind\":\"run\",\"schema\":1}",
        "expected an object `metrics`, but found none",
    );
}
