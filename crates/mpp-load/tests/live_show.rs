//! The command on a load that knows its truth: `mpp show` sees each second what was written in
//! it, neither more nor less, and over the whole run every byte.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

use std::process::Stdio;

use serde_json::Value;
use support::{Load, mpp, number};

/// How long the load begins workers, after a rest of two seconds.
const WORK_SECONDS: f64 = 6.0;
const REST_SECONDS: f64 = 2.0;

/// The load begins so many batches of workers in a second, and so many workers in a batch.
const BATCHES_PER_SECOND: f64 = 10.0;
const WORKERS_PER_BATCH: f64 = 3.0;

fn float(line: &Value, key: &str) -> f64 {
    line[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {line}"))
}

/// Runs the load under `mpp show`: one line a second, the first line of truth, and the last.
fn show_massindexer(name: &str) -> (Vec<Value>, Value, Value) {
    let mut mpp = mpp();
    let seconds = WORK_SECONDS.to_string();
    let mut load = Load::start(&["massindexer", "--comm", name, "--seconds", &seconds]);
    let arguments = ["-i", "1s", "-c", "12", "--tier", "C", "--format", "jsonl"];
    let mpp = mpp.arg("show").arg(name).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    let shown = mpp.spawn().unwrap();
    load.begin();
    let (first, total) = (load.wait_for("tick"), load.total());
    let shown = shown.wait_with_output().unwrap();
    assert_eq!(shown.status.code(), Some(0));
    let lines = String::from_utf8(shown.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    (lines, first, total)
}

#[test]
fn every_second_of_a_load_whose_children_are_reaped_in_bursts_shows_what_was_written_in_it() {
    let (lines, first, total) = show_massindexer(&format!("massidx{}", std::process::id()));
    assert_eq!(lines.len(), 12);
    let totals: Vec<u64> =
        lines.iter().map(|line| number(line, "io_counters.write_bytes")).collect();
    assert!(totals.is_sorted(), "a total fell: {totals:?}");
    let written = number(&total, "children_write_bytes");
    assert_eq!(totals[11] - totals[0], written, "{totals:?}");

    // The first truth is told one second after the begin of the rest.
    let begin = number(&first, "unix_ns") as f64 / 1e9 - 1.0 + REST_SECONDS;
    let end = begin + WORK_SECONDS;
    let batch = WORKERS_PER_BATCH * written as f64 / number(&total, "born") as f64;
    let true_rate = BATCHES_PER_SECOND * batch;
    let mut full_seconds = 0;
    for line in &lines {
        let (at, interval) = (float(line, "time"), float(line, "interval_sec"));
        let rate = float(line, "io_counters.write_bytes_per_sec");
        if at - interval < begin || at > end {
            continue;
        }
        full_seconds += 1;
        eprintln!("E {:.3} {:.4}", (rate - true_rate) / batch, float(line, "interval_sec"));
        let difference = (rate - true_rate).abs();
        let allowed = batch.max(true_rate / 10.0);
        assert!(difference <= allowed, "{rate} is not near {true_rate}: {line}");
    }
    assert!(full_seconds >= 4, "{lines:?}");
}
