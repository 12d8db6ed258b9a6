//! Every format of one report: as snapshots of a hostile one, and as laws over any.

use std::collections::HashSet;
use std::time::Duration;

use mpp_accounting::metric;
use mpp_accounting::process::Absence;
use mpp_accounting::report::{
    Accuracy, Column, Figure, Form, GroupReport, Mark, Report, Tier, Value,
};
use mpp_accounting::snapshot::{Host, Trouble, Visibility};
use mpp_accounting::units::WallTime;
use mpp_export::{
    CsvLayout, Encoder, Format, JsonLayout, Options, Origin, REPORT_SCHEMA, TableLayout, Units,
};
use proptest::prelude::*;
use serde_json::Value as Json;

const COLUMNS: &str = "processes.total,uptime,cpu.percent,cpu.user,memory.rss,memory.pss,\
                       io_counters.read_bytes_per_sec,io_counters.write_bytes,\
                       io_counters.write_bytes_per_sec,fds,conns.tcp.listen";

fn exact(value: Value) -> Figure {
    Figure::Known { value, mark: Mark::Exact }
}

fn group(name: &[u8], matched: u64, descendants: u64, figures: [Figure; 11]) -> GroupReport {
    let unreadable = u64::from(figures.iter().any(|figure| matches!(figure, Figure::Absent(_))));
    let members_mark = Mark::Exact;
    let figures = figures.into();
    GroupReport { name: name.into(), matched, descendants, members_mark, unreadable, figures }
}

/// Figures that are all exact.
fn quiet(matched: u64) -> [Figure; 11] {
    [
        exact(Value::Integer(matched)),
        exact(Value::Float(0.5)),
        exact(Value::Float(0.0)),
        exact(Value::Float(0.0)),
        exact(Value::Integer(0)),
        exact(Value::Integer(0)),
        exact(Value::Float(0.0)),
        exact(Value::Integer(0)),
        exact(Value::Float(0.0)),
        exact(Value::Integer(3)),
        exact(Value::Integer(0)),
    ]
}

fn massindexer() -> GroupReport {
    let estimate = |value| Figure::Known { value, mark: Mark::Estimate };
    let at_least = |value| Figure::Known { value, mark: Mark::LowerBound };
    let figures = [
        exact(Value::Integer(62)),
        exact(Value::Float(183_723.25)),
        estimate(Value::Float(12.1)),
        estimate(Value::Float(4.36)),
        exact(Value::Integer(5_451_776)),
        Figure::Absent(Absence::NotRequested),
        Figure::Absent(Absence::Denied),
        at_least(Value::Integer(112_742_891_520)),
        estimate(Value::Float(31_457_280.0)),
        at_least(Value::Integer(186)),
        exact(Value::Integer(2)),
    ];
    group(b"massindexer", 4, 58, figures)
}

/// A report with every mark, several reasons, and names made to break each format.
fn hostile_report() -> Report {
    let hostile: [&[u8]; 8] = [
        b"a\nmpp_up{} 0\n",
        b"\x1b[2J\x1b]0;title\x07",
        b"comma, \"quote\" = \\ back\\x41",
        b"\xff\xfe cut \xc3",
        "größe 表 \u{202e}gnp.exe".as_bytes(),
        b"",
        b"a.b",
        b"a/b",
    ];
    let mut groups = vec![massindexer()];
    groups.extend(hostile.iter().map(|name| group(name, 1, 0, quiet(1))));
    Report {
        wall_time: WallTime { unix_ns: 1_795_435_421_520_000_000 },
        interval: Some(Duration::from_millis(1000)),
        accuracy: Accuracy {
            tier: Tier::C,
            lost: 3,
            lost_records: 2,
            lost_records_total: 7,
            io_bound_bytes: 1023,
            unattributed_io_bytes: 4096,
            unattributed_tcp_bytes: 512,
            unattributed_cpu_ns: 0,
            undecided: 0,
        },
        columns: metric::choose(COLUMNS).expect("columns").into(),
        groups,
        host: Host { visibility: Visibility::OthersUnreadable, ..Host::default() },
        trouble: Trouble { vanished: 2, denied: 1, hanging_threads: 1, ..Trouble::default() },
    }
}

fn written(format: Format, options: Options, report: &Report) -> String {
    let mut encoder = Encoder::new(format, Origin::of_host(b"web-17"), options);
    let mut bytes = Vec::new();
    encoder.write(report, &mut bytes);
    String::from_utf8(bytes).expect("UTF-8")
}

fn plainly(format: Format) -> String {
    written(format, Options::default(), &hostile_report())
}

fn table(width: usize, units: Units) -> String {
    let options = Options { table: TableLayout { units, width }, ..Options::default() };
    written(Format::Table, options, &hostile_report())
}

#[test]
fn a_table_says_what_its_numbers_are_worth() {
    insta::assert_snapshot!("table", table(120, Units::Iec));
}

#[test]
fn a_table_breaks_into_blocks_on_a_narrow_screen() {
    insta::assert_snapshot!("table_of_60_columns", table(60, Units::Si));
}

#[test]
fn a_table_can_show_raw_numbers() {
    insta::assert_snapshot!("table_of_raw_numbers", table(150, Units::Raw));
}

#[test]
fn the_default_columns_fit_a_screen_of_80() {
    let mut report = hostile_report();
    report.columns = metric::choose("default").expect("columns").into();
    let busy = Figure::Known { value: Value::Integer(1_073_000_000), mark: Mark::Estimate };
    for group in &mut report.groups {
        group.figures = [
            exact(Value::Integer(62)),
            exact(Value::Float(183_723.25)),
            Figure::Known { value: Value::Float(1234.5), mark: Mark::Estimate },
            busy,
            busy,
            Figure::Absent(Absence::Denied),
            exact(Value::Integer(1250)),
            Figure::Known { value: Value::Integer(2000), mark: Mark::LowerBound },
        ]
        .into();
    }
    report.groups[0].name =
        b"a-program-with-a-name-far-too-long-for-any-column-0815".as_slice().into();
    let text = written(Format::Table, Options::default(), &report);
    assert!(!text.contains("\n\n"), "one block:\n{text}");
    insta::assert_snapshot!("table_of_default_columns", text);
}

#[test]
fn a_report_without_groups_is_a_heading_and_a_footer() {
    let mut report = hostile_report();
    report.groups.clear();
    insta::assert_snapshot!(
        "table_of_nothing",
        written(Format::Table, Options::default(), &report)
    );
}

#[test]
fn json_is_one_object_a_line() {
    insta::assert_snapshot!("json", plainly(Format::Json));
}

#[test]
fn json_can_be_indented() {
    let options = Options { json: JsonLayout::Pretty, ..Options::default() };
    insta::assert_snapshot!("json_pretty", written(Format::Json, options, &hostile_report()));
}

#[test]
fn jsonl_is_one_flat_object_for_each_group() {
    insta::assert_snapshot!("jsonl", plainly(Format::Jsonl));
}

#[test]
fn csv_is_one_number_a_line() {
    insta::assert_snapshot!("csv", plainly(Format::Csv));
}

#[test]
fn wide_csv_is_one_group_a_line() {
    let options = Options { csv: CsvLayout::Wide, ..Options::default() };
    insta::assert_snapshot!("csv_wide", written(Format::Csv, options, &hostile_report()));
}

#[test]
fn graphite_leaves_out_what_is_unknown() {
    insta::assert_snapshot!("graphite", plainly(Format::Graphite));
}

#[test]
fn prometheus_has_base_units_and_whole_families() {
    insta::assert_snapshot!("prometheus", plainly(Format::Prometheus));
}

#[test]
fn influx_is_one_line_for_each_group() {
    insta::assert_snapshot!("influx", plainly(Format::Influx));
}

#[test]
fn members_keep_their_mark_whatever_the_columns() {
    let mut report = hostile_report();
    report.columns = report.columns[9..10].into();
    report.groups.truncate(1);
    report.groups[0].members_mark = Mark::LowerBound;
    report.groups[0].figures = [exact(Value::Integer(7))].into();
    let table = written(Format::Table, Options::default(), &report);
    assert_eq!(table.lines().nth(1), Some("massindexer  >=4+58    7"));
    assert!(table.contains(">= at least"), "{table}");
}

#[test]
fn the_header_of_csv_is_written_once() {
    let report = hostile_report();
    let mut encoder = Encoder::new(Format::Csv, Origin::default(), Options::default());
    let mut bytes = Vec::new();
    encoder.write(&report, &mut bytes);
    encoder.write(&report, &mut bytes);
    let text = String::from_utf8(bytes).expect("UTF-8");
    assert_eq!(text.matches("time,group").count(), 1);
}

#[test]
fn tables_one_after_another_have_a_line_between_them() {
    let report = hostile_report();
    let options = Options {
        table: TableLayout { width: 200, ..TableLayout::default() },
        ..Options::default()
    };
    let mut encoder = Encoder::new(Format::Table, Origin::default(), options);
    let mut bytes = Vec::new();
    encoder.write(&report, &mut bytes);
    let first = bytes.len();
    encoder.write(&report, &mut bytes);
    assert_eq!(bytes[first], b'\n');
    assert_eq!(bytes[..first], bytes[first + 1..]);
}

fn check_type(schema: &Json, value: &Json, path: &str) {
    if let Some(types) = schema.get("type") {
        let types: Vec<&Json> =
            types.as_array().map_or(vec![types], |several| several.iter().collect());
        let has_type = |kind: &Json| match kind.as_str().expect("a type") {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "integer" => value.is_u64(),
            "null" => value.is_null(),
            other => panic!("unknown type {other}"),
        };
        assert!(types.iter().any(|kind| has_type(kind)), "{path}: {value} is not {types:?}");
    }
}

/// As much of JSON Schema as our schema uses.
fn check_schema(schema: &Json, root: &Json, value: &Json, path: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#')).expect("a definition");
        return check_schema(target, root, value, path);
    }
    check_type(schema, value, path);
    if let Some(constant) = schema.get("const") {
        assert_eq!(value, constant, "{path}");
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{path}: {value}");
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64()) {
        assert!(number >= least, "{path}: {value}");
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(value.get(required.as_str().expect("a name")).is_some(), "{path}: no {required}");
    }
    for (key, field) in value.as_object().into_iter().flatten() {
        if let Some(schema) = schema["properties"].get(key).or(schema.get("additionalProperties")) {
            check_schema(schema, root, field, &format!("{path}.{key}"));
        } else {
            panic!("{path}.{key} is not in the schema");
        }
    }
    for item in value.as_array().into_iter().flatten() {
        check_schema(&schema["items"], root, item, &format!("{path}[]"));
    }
}

fn check_json(text: &str) {
    let schema: Json = serde_json::from_str(REPORT_SCHEMA).expect("a schema");
    let object: Json = serde_json::from_str(text).expect("JSON");
    check_schema(&schema, &schema, &object, "report");
    for group in object["groups"].as_array().expect("groups") {
        for (name, value) in group["metrics"].as_object().expect("metrics") {
            assert_eq!(value.is_null(), group["why"].get(name).is_some(), "{name}");
        }
    }
}

#[test]
fn json_has_the_published_shape() {
    check_json(&plainly(Format::Json));
}

#[test]
fn json_holds_the_numbers_and_the_reasons() {
    let object: Json = serde_json::from_str(&plainly(Format::Json)).expect("JSON");
    let group = &object["groups"][0];
    assert_eq!(group["metrics"]["io_counters.write_bytes"], 112_742_891_520_u64);
    assert_eq!(group["metrics"]["memory.pss"], Json::Null);
    assert_eq!(group["why"]["memory.pss"], "not requested (--pss)");
    assert_eq!(group["why"]["io_counters.read_bytes_per_sec"], "permission denied");
    assert_eq!(group["accuracy"]["cpu.percent"], "estimate");
    assert_eq!(group["accuracy"]["fds"], "lower_bound");
    assert_eq!(group["accuracy"].get("memory.rss"), None);
    assert_eq!(object["groups"][4]["name"], "\\xFF\\xFE cut \\xC3");
}

#[test]
fn one_sweep_has_no_interval() {
    let report = Report { interval: None, ..hostile_report() };
    let text = |format| written(format, Options::default(), &report);
    assert!(text(Format::Json).contains("\"interval_sec\":null"));
    for format in [Format::Csv, Format::Graphite, Format::Prometheus, Format::Influx] {
        assert!(!text(format).contains("interval_sec"), "{format:?}");
    }
    check_json(&text(Format::Json));
}

#[test]
fn prometheus_writes_a_rate_only_where_its_total_is_missing() {
    let text = plainly(Format::Prometheus);
    assert!(text.contains("mpp_io_write_bytes_total{group=\"massindexer\"} 112742891520\n"));
    assert!(!text.contains("mpp_io_write_bytes_per_second"));
    assert!(text.contains("# TYPE mpp_io_read_bytes_per_second gauge\n"));
    assert!(text.contains("mpp_cpu_usage_ratio{group=\"massindexer\"} 0.121\n"));
    assert!(text.contains("mpp_tcp_connections{group=\"massindexer\",state=\"listen\"} 2\n"));
}

fn figures() -> impl Strategy<Value = Figure> {
    let mark = prop_oneof![Just(Mark::Exact), Just(Mark::Estimate), Just(Mark::LowerBound)];
    let value = prop_oneof![
        any::<u64>().prop_map(Value::Integer),
        (0.0..1e30_f64).prop_map(Value::Float),
        Just(Value::Float(f64::NAN)),
        Just(Value::Float(f64::INFINITY)),
    ];
    prop_oneof![
        4 => (value, mark).prop_map(|(value, mark)| Figure::Known { value, mark }),
        1 => Just(Figure::Absent(Absence::Failed(5))),
        1 => Just(Figure::Absent(Absence::NotRequested)),
    ]
}

fn reports() -> impl Strategy<Value = Report> {
    let columns = metric::choose("all,memory.pss").expect("columns");
    let columns = prop::sample::subsequence(columns, 1..10);
    let names = prop_oneof![
        any::<Vec<u8>>(),
        any::<String>().prop_map(String::into_bytes),
        "[\\\\x\"',= \n\u{1b}.]{0,40}".prop_map(String::into_bytes),
    ];
    let group = (names, any::<u64>(), 0..3_u64, prop::collection::vec(figures(), 10));
    (columns, prop::collection::vec(group, 0..6), any::<i64>(), any::<u64>()).prop_map(
        |(columns, groups, unix_ns, lost)| Report {
            wall_time: WallTime { unix_ns },
            accuracy: Accuracy {
                tier: Tier::B,
                lost,
                lost_records: lost,
                lost_records_total: lost,
                io_bound_bytes: lost,
                unattributed_io_bytes: lost,
                unattributed_tcp_bytes: lost,
                unattributed_cpu_ns: 0,
                undecided: 0,
            },
            groups: groups
                .into_iter()
                .map(|(name, matched, descendants, figures)| GroupReport {
                    name: name.into(),
                    matched,
                    descendants,
                    members_mark: Mark::Exact,
                    unreadable: 0,
                    figures: figures[..columns.len()].into(),
                })
                .collect(),
            columns: columns.into(),
            ..hostile_report()
        },
    )
}

/// Nothing that acts on a screen, and whole lines only.
fn check_lines(text: &str) {
    assert!(text.is_empty() || text.ends_with('\n'));
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(!text.contains("NaN") && !text.to_lowercase().contains(" inf"), "{text}");
}

/// Splits a CSV line into its fields.
fn csv_fields(line: &str) -> usize {
    let mut is_quoted = false;
    let commas = line.chars().filter(|letter| {
        is_quoted ^= *letter == '"';
        *letter == ',' && !is_quoted
    });
    let count = commas.count();
    assert!(!is_quoted, "{line}");
    count + 1
}

/// One line of the exposition format; returns the series and the family it belongs to.
fn check_exposition_line(line: &str) -> Option<(&str, &str)> {
    if line.starts_with('#') {
        return None;
    }
    let (series, number) = line.rsplit_once(' ').expect("a number");
    number.parse::<f64>().expect("a number");
    let family = series.split('{').next().expect("a name");
    let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    assert!(family.starts_with("mpp_") && family.chars().all(is_name), "{line}");
    if let Some(labels) = series.strip_prefix(family).filter(|labels| !labels.is_empty()) {
        assert!(labels.starts_with('{') && labels.ends_with("\"}"), "{line}");
    }
    Some((series, family))
}

fn check_exposition(text: &str) {
    let mut finished = HashSet::new();
    let mut series_seen = HashSet::new();
    let mut current = "";
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(finished.insert(current.to_owned()), "{line}");
            current = rest.split(' ').next().expect("a name");
            assert!(!finished.contains(current), "{line}");
        }
        if let Some((series, family)) = check_exposition_line(line) {
            assert_eq!(family, current, "{line}");
            assert!(series_seen.insert(series.to_owned()), "{line}");
        }
    }
}

/// Reports name their groups uniquely.
fn with_distinct_names(mut report: Report) -> Report {
    let mut names = HashSet::new();
    report.groups.retain(|group| names.insert(group.name.clone()));
    report
}

proptest! {
    #[test]
    fn no_name_and_no_number_breaks_a_format(report in reports()) {
        let report = with_distinct_names(report);
        for (_, format) in Format::WORDS {
            check_lines(&written(format, Options::default(), &report));
        }
        check_json(&written(Format::Json, Options::default(), &report));
        let pretty = Options { json: JsonLayout::Pretty, ..Options::default() };
        check_json(&written(Format::Json, pretty, &report));
        let jsonl = written(Format::Jsonl, Options::default(), &report);
        prop_assert_eq!(jsonl.lines().count(), report.groups.len());
        for line in jsonl.lines() {
            prop_assert!(serde_json::from_str::<Json>(line).is_ok_and(|object| object.is_object()));
        }
        check_exposition(&written(Format::Prometheus, Options::default(), &report));
    }

    #[test]
    fn every_csv_line_has_the_fields_of_the_header(report in reports()) {
        for csv in [CsvLayout::Long, CsvLayout::Wide] {
            let text = written(Format::Csv, Options { csv, ..Options::default() }, &report);
            let counts: HashSet<usize> = text.lines().map(csv_fields).collect();
            prop_assert_eq!(counts.len(), 1, "{}", text);
        }
    }

    #[test]
    fn every_graphite_line_is_a_distinct_path_a_number_and_a_time(report in reports()) {
        let report = with_distinct_names(report);
        let text = written(Format::Graphite, Options::default(), &report);
        let mut paths = HashSet::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            prop_assert_eq!(words.len(), 3, "{}", line);
            let path = words[0].strip_prefix("servers.web-17.").expect("the prefix");
            let is_path = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            prop_assert!(path.chars().all(is_path) && paths.insert(path.to_owned()), "{}", line);
            prop_assert!(words[1].parse::<f64>().is_ok() && words[2].parse::<i64>().is_ok());
        }
    }

    #[test]
    fn every_influx_line_has_tags_fields_and_a_time(report in reports()) {
        let text = written(Format::Influx, Options::default(), &report);
        prop_assert_eq!(text.lines().count(), report.groups.len() + 1);
        for line in text.lines() {
            let unescaped = line.replace("\\ ", "").replace("\\,", "").replace("\\=", "");
            let words: Vec<&str> = unescaped.split(' ').collect();
            prop_assert_eq!(words.len(), 3, "{}", line);
            for field in words[1].split(',') {
                let (_, number) = field.split_once('=').expect("a field");
                let is_whole = number.strip_suffix('i').is_some_and(|n| n.parse::<i64>().is_ok());
                prop_assert!(is_whole || number.parse::<f64>().is_ok(), "{}", field);
            }
        }
    }

    #[test]
    fn no_line_of_a_table_is_wider_than_the_screen(report in reports(), width in 40..200_usize) {
        let options = Options {
            table: TableLayout { units: Units::Iec, width },
            ..Options::default()
        };
        let mut report = report;
        for group in &mut report.groups {
            group.matched %= 1000;
        }
        let text = written(Format::Table, options, &report);
        for line in text.lines() {
            prop_assert!(unicode_width::UnicodeWidthStr::width(line) <= width, "{}", line);
        }
    }
}

#[test]
fn a_name_is_shortened_in_the_middle_and_never_within_an_escape() {
    let mut report = hostile_report();
    report.columns = metric::choose("fds").expect("columns").into();
    report.groups.truncate(1);
    report.groups[0].figures = Box::new([exact(Value::Integer(1))]);
    for width in 20..60 {
        report.groups[0].name = [b"\xff".as_slice(); 20].concat().into();
        let options =
            Options { table: TableLayout { units: Units::Iec, width }, ..Options::default() };
        let text = written(Format::Table, options, &report);
        let name =
            text.lines().nth(1).expect("a row").split(' ').next().expect("a name").to_owned();
        assert_eq!(name.replace("\\xFF", ""), "…", "{text}");
    }
}

#[test]
fn columns_of_both_forms_are_told_apart_by_their_headings() {
    let column = |form| Column { metric: metric::by_name("cpu.user").expect("a metric"), form };
    let mut report = hostile_report();
    report.columns = [column(Form::Level), column(Form::PerSecond)].into();
    for group in &mut report.groups {
        group.figures = Box::new([exact(Value::Float(1.0)), exact(Value::Float(0.25))]);
    }
    let text = written(Format::Table, Options::default(), &report);
    assert!(text.lines().next().is_some_and(|line| line.ends_with("USER  USER/s")), "{text}");
}
