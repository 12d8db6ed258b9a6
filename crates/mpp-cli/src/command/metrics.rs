//! `mpp metrics`: the one table of all metrics.

use std::io::Write;

use metrics_per_process::metric::{Fold, Kind, METRICS, Metric, NumberType, Privilege};
use mpp_export::{Format, escape};

use crate::args;
use crate::failure::{Failure, Status};
use crate::plan::one_of;

/// Prints every metric.
pub(crate) fn run(typed: &args::Metrics, out: &mut dyn Write) -> Result<Status, Failure> {
    let format = match &typed.format {
        Some(word) => one_of("--format", word)?,
        None if typed.json => Format::Json,
        None => Format::Table,
    };
    let text = match format {
        Format::Table if typed.json => {
            return Err(Failure::usage("`--json` excludes every other `--format`")
                .hint("leave one of the two out"));
        }
        Format::Table => METRICS.iter().map(paragraph).collect::<String>().into_bytes(),
        Format::Json => json(),
        _ => {
            return Err(Failure::usage("`--format`: metrics are listed as table or json only")
                .hint("`mpp show --format ...` prints their values"));
        }
    };
    out.write_all(&text)?;
    Ok(Status::Ok)
}

/// A line with the facts and, below it, the meaning and where it comes from.
fn paragraph(metric: &Metric) -> String {
    let Metric { name, help, source, .. } = metric;
    let facts = format!("{} {}", metric.unit.word(), metric.kind.word());
    let rate = match metric.kind {
        Kind::Gauge => "",
        Kind::Counter => ", also _per_sec",
    };
    let privilege = match (metric.privilege, metric.privilege.words()) {
        (_, None) => String::new(),
        // Also of one's own.
        (Privilege::Records, Some(words)) => format!("; with {words}"),
        (_, Some(words)) => format!("; others' with {words}"),
    };
    let source = format!("Source: {source}{privilege}.");
    format!("{name}  ({facts}{rate})\n{}{}", indented(help), indented(&source))
}

/// Lines of words, none wider than 80 columns.
fn indented(text: &str) -> String {
    const INDENT: &str = "   ";
    let mut lines = INDENT.to_owned();
    let mut columns = INDENT.len();
    for word in text.split(' ') {
        if columns + 1 + word.len() > 80 {
            lines.push('\n');
            lines.push_str(INDENT);
            columns = INDENT.len();
        }
        lines.push(' ');
        lines.push_str(word);
        columns += 1 + word.len();
    }
    lines.push('\n');
    lines
}

fn json() -> Vec<u8> {
    let mut out = b"{\"schema\":1,\"metrics\":[".to_vec();
    for (position, metric) in METRICS.iter().enumerate() {
        out.extend_from_slice(if position == 0 { b"\n" } else { b",\n" });
        push_object(metric, &mut out);
    }
    out.extend_from_slice(b"\n]}\n");
    out
}

fn push_object(metric: &Metric, out: &mut Vec<u8>) {
    let number = match metric.number {
        NumberType::Integer => "integer",
        NumberType::Float => "float",
    };
    let fold = match metric.fold {
        Fold::Sum => "sum",
        Fold::Ledger => "ledger",
        Fold::Max => "max",
        Fold::PeakOfSum => "peak_of_sum",
        Fold::DistinctSockets => "distinct_sockets",
        Fold::Connections => "connections",
    };
    let fields = [
        ("name", metric.name),
        ("heading", metric.heading),
        ("unit", metric.unit.word()),
        ("kind", metric.kind.word()),
        ("type", number),
        ("sums_by", fold),
        ("prometheus", metric.prometheus.0),
        ("otel", metric.otel.0),
        ("source", metric.source),
        ("privilege", metric.privilege.words().unwrap_or("none")),
        ("help", metric.help),
    ];
    for (position, (key, value)) in fields.into_iter().enumerate() {
        out.push(if position == 0 { b'{' } else { b',' });
        escape::push_json(key.as_bytes(), out);
        out.push(b':');
        escape::push_json(value.as_bytes(), out);
    }
    out.extend_from_slice(b",\"drop_in\":");
    match metric.drop_in {
        Some(key) => escape::push_json(key.as_bytes(), out),
        None => out.extend_from_slice(b"null"),
    }
    push_labels("prometheus_labels", metric.prometheus.1, out);
    push_labels("otel_attributes", metric.otel.1, out);
    out.push(b'}');
}

fn push_labels(key: &str, labels: &[(&str, &str)], out: &mut Vec<u8>) {
    out.push(b',');
    escape::push_json(key.as_bytes(), out);
    out.extend_from_slice(b":{");
    for (position, (name, value)) in labels.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        escape::push_json(name.as_bytes(), out);
        out.push(b':');
        escape::push_json(value.as_bytes(), out);
    }
    out.push(b'}');
}
