//! Ended processes in every form: as snapshots of hostile ones, and as laws over any.

use std::sync::Arc;
use std::time::Duration;

use mpp_accounting::ended::{
    ENDED_METRICS, Ended, EndedReport, EndedSummary, SummaryColumn, WaitStatus,
};
use mpp_accounting::exit::ExitSource;
use mpp_accounting::metric::{MetricId, NumberType};
use mpp_accounting::process::{Absence, Identity, ProcessKey, Reading};
use mpp_accounting::report::{Figure, Mark, Tier, Value};
use mpp_accounting::units::WallTime;
use mpp_export::ended::{
    Cmdlines, EXITS_SCHEMA, EXITS_SUMMARY_SCHEMA, EndedEncoder, EndedFormat, EndedLayout,
    write_summary,
};
use mpp_export::{JsonLayout, Origin, Units};
use proptest::prelude::*;
use serde_json::Value as Json;

/// 12:03:41.520 of some day.
const MOMENT: i64 = 1_795_435_421_520_000_000;

fn identity(comm: &[u8], cmdline: Option<&[u8]>) -> Arc<Identity> {
    let absent = Absence::NotRequested;
    Arc::new(Identity {
        comm: comm.into(),
        uid: 33,
        executable: Reading::Absent(absent),
        cmdline: cmdline.map_or(Reading::Absent(absent), |bytes| Reading::Value(bytes.into())),
        environment: Reading::Absent(absent),
        is_environment_incomplete: false,
        cgroup: Reading::Absent(absent),
        is_kernel_thread: false,
    })
}

/// A figure of each metric, as its type wants it.
fn figures(number: u64, mark: Mark) -> [Figure; ENDED_METRICS.len()] {
    ENDED_METRICS.map(|id| {
        let value = match id.metric().number {
            NumberType::Integer => Value::Integer(number),
            NumberType::Float => Value::Float(number as f64 / 1e6),
        };
        Figure::Known { value, mark }
    })
}

/// A compiler that exited, exactly known.
fn compiler() -> Ended {
    Ended {
        key: ProcessKey { pid: 4242, start_time_ticks: 1000 },
        identity: identity(b"cc1plus", Some(b"cc1plus\0-O2\0main.cc\0")),
        user: Some(b"max".as_slice().into()),
        parent_pid: 4200,
        parent_comm: Some(b"make".as_slice().into()),
        group: b"name:make".as_slice().into(),
        is_descendant: true,
        started_at: WallTime { unix_ns: MOMENT - 1_500_000_000 },
        ended_at: WallTime { unix_ns: MOMENT },
        ended_within: Duration::ZERO,
        status: Some(WaitStatus::Exited(0)),
        figures: figures(1_500_000, Mark::Exact),
        io_bound_bytes: 0,
        source: ExitSource::Exact,
    }
}

/// One whose names are made to break what they stand in, and which dumped core.
fn hostile() -> Ended {
    Ended {
        key: ProcessKey { pid: 4_194_303, start_time_ticks: 1 },
        identity: identity(b"\x1b[2J,\"\n\xff", Some(b"\x1b]0;x\x07\0--password=a, b\"\n\0\0")),
        user: None,
        parent_comm: Some("表\u{202e}\n|表表表表表表表".as_bytes().into()),
        group: b"a,\"\nb".as_slice().into(),
        is_descendant: false,
        status: Some(WaitStatus::Signaled { signal: 11, has_dumped_core: true }),
        figures: figures(1_000_000_000_000, Mark::LowerBound),
        ..compiler()
    }
}

/// One that nobody told of.
fn polled() -> Ended {
    let mut figures = figures(20_000, Mark::LowerBound);
    let position = |id| ENDED_METRICS.iter().position(|other| *other == id).expect("a metric");
    figures[position(MetricId::IoReadBytes)] = Figure::Absent(Absence::Denied);
    figures[position(MetricId::IoWriteBytes)] =
        Figure::Known { value: Value::Integer(4096), mark: Mark::Bound };
    Ended {
        key: ProcessKey { pid: 7, start_time_ticks: 1 },
        identity: identity(b"executable-15ch", Some(b"")),
        parent_pid: 0,
        parent_comm: None,
        ended_within: Duration::from_secs(1),
        status: None,
        figures,
        io_bound_bytes: 1023,
        source: ExitSource::Nobody,
        ..compiler()
    }
}

fn report(processes: Vec<Ended>) -> EndedReport {
    EndedReport {
        wall_time: WallTime { unix_ns: MOMENT + 100_000_000 },
        interval: Some(Duration::from_secs(1)),
        tier: Tier::B,
        processes,
        shed: 12,
        lost_records: 1,
        spilled_records: 3,
    }
}

fn written(format: EndedFormat, layout: &EndedLayout, report: &EndedReport) -> String {
    let origin = Origin::of_host(b"web-17");
    let mut encoder = EndedEncoder::new(format, origin, layout.clone());
    let mut out = Vec::new();
    encoder.begin(&mut out);
    encoder.write(report, &mut out);
    encoder.end(&mut out);
    String::from_utf8(out).expect("UTF-8")
}

fn table(width: usize, cmdlines: Cmdlines) -> String {
    let layout = EndedLayout { width, cmdlines, ..EndedLayout::default() };
    written(EndedFormat::Table, &layout, &report(vec![compiler(), hostile(), polled()]))
}

#[test]
fn a_table_takes_the_room_there_is() {
    insta::assert_snapshot!("ended_table_80", table(80, Cmdlines::Hidden));
    insta::assert_snapshot!("ended_table_200", table(200, Cmdlines::Hidden));
    insta::assert_snapshot!("ended_table_cmdlines_80", table(80, Cmdlines::Shown));
    insta::assert_snapshot!("ended_table_cmdlines_200", table(200, Cmdlines::Shown));
}

#[test]
fn no_line_of_a_table_is_wider_than_the_screen() {
    for width in 79..220 {
        for cmdlines in [Cmdlines::Hidden, Cmdlines::Shown] {
            let table = table(width, cmdlines);
            let wide = |line: &&str| unicode_width::UnicodeWidthStr::width(*line) > width;
            assert_eq!(table.lines().find(wide), None, "{width}");
        }
    }
}

#[test]
fn machines_get_every_field() {
    let report = report(vec![compiler(), hostile(), polled()]);
    let layout = EndedLayout { cmdlines: Cmdlines::Shown, ..EndedLayout::default() };
    insta::assert_snapshot!("ended_jsonl", written(EndedFormat::Jsonl, &layout, &report));
    insta::assert_snapshot!("ended_csv", written(EndedFormat::Csv, &layout, &report));
    let pretty = EndedLayout { json: JsonLayout::Pretty, ..layout };
    insta::assert_snapshot!("ended_json", written(EndedFormat::Json, &pretty, &report));
}

#[test]
fn command_lines_are_written_only_where_they_were_asked_for() {
    let report = report(vec![hostile()]);
    for (_, format) in EndedFormat::WORDS {
        let width = 300;
        let hidden = EndedLayout { width, ..EndedLayout::default() };
        assert!(!written(format, &hidden, &report).contains("password"), "{format:?}");
        let shown = EndedLayout { cmdlines: Cmdlines::Shown, ..hidden };
        assert!(written(format, &shown, &report).contains("--password=a, b"), "{format:?}");
    }
}

fn keys(value: &Json) -> Vec<String> {
    let mut keys: Vec<String> = value.as_object().expect("an object").keys().cloned().collect();
    keys.sort();
    keys
}

#[test]
fn json_is_what_the_schema_says() {
    let report = report(vec![compiler(), hostile(), polled()]);
    let layout = EndedLayout { cmdlines: Cmdlines::Shown, ..EndedLayout::default() };
    let json = written(EndedFormat::Json, &layout, &report);
    assert_eq!(json.lines().count(), 1);
    let object: Json = serde_json::from_str(&json).expect("JSON");
    let schema: Json = serde_json::from_str(EXITS_SCHEMA).expect("JSON");
    assert_eq!(keys(&object), keys(&schema["properties"]));
    for process in object["ended"].as_array().expect("a list") {
        assert_eq!(keys(process), keys(&schema["$defs"]["process"]["properties"]));
    }
    let metrics = &object["ended"][0]["metrics"];
    assert_eq!(metrics["io_counters.write_bytes"], 1_500_000);
    assert_eq!(metrics["uptime"], 1.5);
    assert_eq!(object["ended"][1]["signal_name"], "SIGSEGV");
    assert_eq!(object["ended"][2]["metrics"]["io_counters.read_bytes"], Json::Null);
    assert_eq!(object["ended"][2]["why"]["io_counters.read_bytes"], "permission denied");
    for required in schema["required"].as_array().expect("a list") {
        assert!(object.get(required.as_str().expect("text")).is_some(), "{required}");
    }
}

fn summary() -> mpp_accounting::ended::SummaryReport {
    let mut summary = EndedSummary::new();
    let hostile =
        Ended { group: b"\x1b[2J,\"\n\xff-a-rather-long-name".as_slice().into(), ..hostile() };
    summary.add(&report(vec![compiler(), compiler(), hostile, polled()]));
    summary.add(&report(vec![compiler()]));
    summary.report().sorted_by(SummaryColumn::Ended)
}

fn summed(format: EndedFormat, layout: &EndedLayout) -> String {
    let mut out = Vec::new();
    write_summary(&summary(), format, &Origin::of_host(b"web-17"), layout, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn a_summary_in_every_form() {
    let layout = EndedLayout::default();
    insta::assert_snapshot!("ended_summary_table", summed(EndedFormat::Table, &layout));
    insta::assert_snapshot!("ended_summary_jsonl", summed(EndedFormat::Jsonl, &layout));
    insta::assert_snapshot!("ended_summary_csv", summed(EndedFormat::Csv, &layout));
    let pretty = EndedLayout { json: JsonLayout::Pretty, ..layout };
    insta::assert_snapshot!("ended_summary_json", summed(EndedFormat::Json, &pretty));
    let wide = |line: &&str| unicode_width::UnicodeWidthStr::width(*line) > 80;
    let table = summed(EndedFormat::Table, &EndedLayout::default());
    assert_eq!(table.lines().find(wide), None);
}

#[test]
fn a_summary_as_json_is_what_the_schema_says() {
    let json: Json =
        serde_json::from_str(&summed(EndedFormat::Json, &EndedLayout::default())).expect("JSON");
    let schema: Json = serde_json::from_str(EXITS_SUMMARY_SCHEMA).expect("JSON");
    assert_eq!(keys(&json), keys(&schema["properties"]));
    let group = &schema["properties"]["groups"]["items"]["properties"];
    assert_eq!(keys(&json["groups"][0]), keys(group));
    let required = group["metrics"]["required"].as_array().expect("a list");
    assert_eq!(keys(&json["groups"][0]["metrics"]).len(), required.len());
    assert_eq!(json["groups"][0]["metrics"]["ended"], 4);
    assert_eq!(json["groups"][0]["accuracy"]["failed"], "lower_bound");
}

#[test]
fn a_user_whose_name_is_wide_takes_no_more_room_than_others() {
    let line_of = |user: &str| {
        let ended = Ended { user: Some(user.as_bytes().into()), ..compiler() };
        let layout = EndedLayout { width: 200, ..EndedLayout::default() };
        let table = written(EndedFormat::Table, &layout, &report(vec![ended]));
        table.lines().nth(1).expect("a process").to_owned()
    };
    assert!(line_of("max").contains(" max "), "a column for users");
    let width_of = unicode_width::UnicodeWidthStr::width;
    for user in ["ぁ", "ぁぁぁぁぁぁぁぁ", "\u{7f}\u{7f}\u{7f}\u{7f}\u{7f}"] {
        let line = line_of(user);
        assert_eq!(width_of(line.as_str()), width_of(line_of("max").as_str()), "{line}");
        assert!(!line.contains(r"\\"), "escaped twice: {line}");
    }
}

#[test]
fn raw_units_are_whole_numbers() {
    let layout = EndedLayout { units: Units::Raw, ..EndedLayout::default() };
    let table = written(EndedFormat::Table, &layout, &report(vec![compiler()]));
    assert!(table.lines().nth(1).expect("a process").ends_with(" 1500000   1500000"), "{table}");
}

proptest! {
    #[test]
    fn no_name_breaks_a_line_or_reaches_a_terminal(
        comm in proptest::collection::vec(any::<u8>(), 0..16),
        cmdline in proptest::collection::vec(any::<u8>(), 0..200),
        group in proptest::collection::vec(any::<u8>(), 0..40),
        width in 79..250_usize,
    ) {
        let ended = Ended {
            identity: identity(&comm, Some(&cmdline)),
            parent_comm: Some(comm.clone().into()),
            user: Some(group.clone().into()),
            group: group.into(),
            ..compiler()
        };
        let report = report(vec![ended]);
        let layout = EndedLayout { width, cmdlines: Cmdlines::Shown, ..EndedLayout::default() };
        for (_, format) in EndedFormat::WORDS {
            let text = written(format, &layout, &report);
            prop_assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
            let lines = text.lines().count();
            match format {
                EndedFormat::Table => {
                    let wide =
                        |line: &&str| unicode_width::UnicodeWidthStr::width(*line) > width;
                    prop_assert_eq!(text.lines().find(wide), None);
                    prop_assert!((3..=8).contains(&lines), "{}", text);
                }
                EndedFormat::Json | EndedFormat::Jsonl => {
                    prop_assert_eq!(lines, 1);
                    prop_assert!(serde_json::from_str::<Json>(&text).is_ok(), "{}", text);
                }
                EndedFormat::Csv => prop_assert_eq!(lines, 2),
            }
        }
    }
}
