//! Every format read back by its own grammar, as strictly as whoever it is written for.
//!
//! Each reader refuses, by panicking, what is not well formed. What it returns is one
//! number of each group, by the group's name as the bytes it was before it was escaped.

use std::collections::BTreeMap;

use serde_json::Value;

/// One number of each group, by name. A number that is not there is `None`.
pub(crate) type Numbers = BTreeMap<Vec<u8>, Option<f64>>;

/// Every format; names can be told back from all but the last, whose paths know no escapes.
pub(crate) const FORMATS: [&str; 7] =
    ["table", "json", "jsonl", "csv", "prometheus", "influx", "graphite"];

/// The one metric of a report, by both its names.
#[derive(Clone, Copy)]
pub(crate) struct Metric {
    pub(crate) dotted: &'static str,
    pub(crate) prometheus: &'static str,
}

/// Known of every process.
pub(crate) const THREADS: Metric = Metric { dotted: "threads", prometheus: "mpp_threads" };

/// Known to whoever may trace the process.
pub(crate) const WRITTEN: Metric =
    Metric { dotted: "io_counters.write_bytes", prometheus: "mpp_io_write_bytes_total" };

/// Reads a report back that was asked for this metric alone.
pub(crate) fn read(format: &str, text: &str, metric: Metric) -> Numbers {
    refuse_controls(text);
    match format {
        "table" => table(text),
        "json" => json(text, metric.dotted),
        "jsonl" => text.lines().map(|line| json_line(line, metric.dotted)).collect(),
        "csv" => csv(text, metric.dotted),
        "prometheus" => prometheus(text, metric.prometheus),
        "influx" => influx(text, metric.dotted),
        "graphite" => graphite(text, metric.dotted),
        other => panic!("no reader of {other}"),
    }
}

/// Nothing on a screen or a wire acts on it.
pub(crate) fn refuse_controls(text: &str) {
    let wild = text.chars().find(|c| {
        (c.is_control() && *c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
    });
    assert_eq!(wild, None, "{text:?}");
}

/// Each `\xHH` as its byte.
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        if let [b'\\', b'x', high, low, behind @ ..] = rest {
            bytes.push(hexadecimal(*high) * 16 + hexadecimal(*low));
            rest = behind;
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    bytes
}

fn hexadecimal(digit: u8) -> u8 {
    let value = char::from(digit).to_digit(16).expect("two digits behind `\\x`");
    u8::try_from(value).expect("one digit")
}

/// The same of what stands on a terminal, where every backslash is doubled.
pub(crate) fn bytes_on_terminal(text: &str) -> Vec<u8> {
    let parts = text.split("\\\\").map(bytes_of).collect::<Vec<_>>();
    parts.join(&b'\\')
}

/// The first block: names at the left, the number of processes and one column at the right.
fn table(text: &str) -> Numbers {
    let mut lines = text.lines();
    assert!(lines.next().is_some_and(|head| head.starts_with("GROUP")), "{text}");
    let rows = lines.take_while(|line| !line.contains(" matched + "));
    rows.map(|line| {
        let (rest, number) = last_word(line);
        let (name, _processes) = last_word(rest);
        (bytes_on_terminal(name), number_in_cell(number))
    })
    .collect()
}

fn last_word(line: &str) -> (&str, &str) {
    let (rest, word) = line.trim_end().rsplit_once(' ').expect("a name and two numbers");
    (rest.trim_end(), word)
}

fn number_in_cell(cell: &str) -> Option<f64> {
    let digits = cell.trim_start_matches(['~', '>', '=']);
    (cell != "-").then(|| digits.parse().expect("a number"))
}

fn json(text: &str, metric: &str) -> Numbers {
    let report: Value = serde_json::from_str(text).expect("one JSON object");
    let groups = report["groups"].as_array().expect("groups");
    groups
        .iter()
        .map(|group| {
            let name = bytes_of(group["name"].as_str().expect("a name"));
            (name, known(&group["metrics"], &group["why"], metric))
        })
        .collect()
}

fn json_line(line: &str, metric: &str) -> (Vec<u8>, Option<f64>) {
    let group: Value = serde_json::from_str(line).expect("one JSON object a line");
    let name = bytes_of(group["group"].as_str().expect("a name"));
    (name, known(&group, &group["why"], metric))
}

/// What is `null` says why, and what is a number does not.
fn known(metrics: &Value, why: &Value, metric: &str) -> Option<f64> {
    let number = metrics[metric].as_f64();
    assert_eq!(number.is_none(), metrics[metric].is_null(), "{metrics}");
    assert_eq!(number.is_none(), why[metric].is_string(), "{why}");
    number
}

fn csv(text: &str, metric: &str) -> Numbers {
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("time,group,metric,value,mark,tier"));
    let mut numbers = Numbers::new();
    for line in lines {
        let fields = csv_fields(line);
        let [_, group, name, value, mark, tier] = &fields[..] else { panic!("six fields: {line}") };
        assert!(["A", "B", "C"].contains(&tier.as_str()), "{line}");
        let number: Option<f64> = value.parse().ok();
        assert_eq!(number.is_none(), mark.starts_with("unknown: "), "{line}");
        if name == metric {
            numbers.insert(bytes_of(group), number);
        }
    }
    numbers
}

/// RFC 4180 on one line.
fn csv_fields(line: &str) -> Vec<String> {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut letters = line.chars().peekable();
    let mut is_quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' if is_quoted || field.is_empty() => is_quoted = !is_quoted,
            '"' => panic!("a quote within a field without quotes: {line}"),
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            letter => field.push(letter),
        }
    }
    assert!(!is_quoted, "a field without an end: {line}");
    fields.push(field);
    fields
}

fn prometheus(text: &str, wanted: &str) -> Numbers {
    let mut numbers = Numbers::new();
    let mut families = Vec::new();
    for line in text.lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect("a name and a type");
            assert!(matches!(kind, "counter" | "gauge"), "{line}");
            assert!(!families.contains(&name), "a family in two places: {line}");
            families.push(name);
            continue;
        }
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(is_metric_name(help.split(' ').next().expect("a name")), "{line}");
            continue;
        }
        let (name, labels, number) = prometheus_sample(line);
        assert_eq!(families.last(), Some(&name), "outside its family: {line}");
        if name == wanted {
            numbers.insert(bytes_of(&labels["group"]), Some(number));
        }
    }
    numbers
}

fn is_metric_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
}

fn prometheus_sample(line: &str) -> (&str, BTreeMap<&str, String>, f64) {
    let end = line.find(['{', ' ']).expect("a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_metric_name(name), "{line}");
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (key, behind) = rest.split_once("=\"").expect("a label's value");
            assert!(is_metric_name(key) && !key.contains(':'), "{line}");
            let (value, behind) = label_value(behind);
            assert!(labels.insert(key, value).is_none(), "a label twice: {line}");
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        rest = &rest[1..];
    }
    let number = rest.strip_prefix(' ').expect("one blank").parse().expect("a number");
    (name, labels, number)
}

/// Up to the closing quote, its escapes undone, and what follows.
fn label_value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return (value, &text[at + 1..]),
            '\\' => match letters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                other => panic!("no such escape: {other:?}"),
            },
            letter => value.push(letter),
        }
    }
    panic!("a label without an end: {text}");
}

fn influx(text: &str, metric: &str) -> Numbers {
    let mut numbers = Numbers::new();
    for line in text.lines() {
        let parts = split_unescaped(line, ' ');
        let [series, fields, time] = &parts[..] else { panic!("three parts: {line}") };
        assert!(time.parse::<i64>().is_ok(), "{line}");
        let mut number = None;
        for field in split_unescaped(fields, ',') {
            let (key, value) = field.split_once('=').expect("a field's value");
            let value: f64 = value.strip_suffix('i').unwrap_or(value).parse().expect("a number");
            number = if key == metric { Some(value) } else { number };
        }
        let tags = split_unescaped(series, ',');
        assert!(matches!(tags[0].as_str(), "mpp" | "mpp_report"), "{line}");
        let tags = tags[1..].iter().map(|tag| {
            let [key, value] = &split_unescaped(tag, '=')[..] else { panic!("a tag: {line}") };
            (key.clone(), value.clone())
        });
        let tags: BTreeMap<String, String> = tags.collect();
        if let Some(group) = tags.get("group") {
            numbers.insert(bytes_of(&unescaped(group)), number);
        }
    }
    numbers
}

/// Splits where no backslash stands before the separator; escapes stay.
fn split_unescaped(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut is_escaped = false;
    for letter in text.chars() {
        if letter == separator && !is_escaped {
            parts.push(String::new());
            continue;
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
        is_escaped = letter == '\\';
    }
    parts
}

fn unescaped(tag: &str) -> String {
    let plain = tag.replace("\\,", ",").replace("\\=", "=");
    plain.replace("\\ ", " ")
}

/// By the path's last component but the metric's: what stood there before cannot be told.
fn graphite(text: &str, metric: &str) -> Numbers {
    let mut numbers = Numbers::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [path, value, epoch] = words[..] else { panic!("three words: {line}") };
        assert!(path.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{line}");
        assert!(!path.contains("..") && !path.ends_with('.'), "{line}");
        assert!(epoch.parse::<i64>().is_ok(), "{line}");
        let value: f64 = value.parse().expect("a number");
        if let Some(group) = path.strip_suffix(metric).and_then(|path| path.strip_suffix('.')) {
            let group = group.rsplit('.').next().expect("a component");
            let before = numbers.insert(group.as_bytes().to_vec(), Some(value));
            assert_eq!(before, None, "two groups on one path: {line}");
        }
    }
    numbers
}
