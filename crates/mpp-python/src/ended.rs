//! Ended processes, for `ended`.

use metrics_per_process::EndedOptions;
use metrics_per_process::ended::{ENDED_METRICS, Ended, EndedReport, WaitStatus};
use metrics_per_process::process::{Identity, Reading};
use metrics_per_process::report::{Figure, Value};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::selector::text_of;

/// What is wanted of ended processes: with the word `cmdlines` their command lines, too.
pub(crate) fn ended_options(word: &str) -> EndedOptions {
    EndedOptions { shows_cmdline: word == "cmdlines", ..EndedOptions::default() }
}

/// Who ended in an interval, and what is missing.
pub(crate) fn ended_of<'py>(py: Python<'py>, report: &EndedReport) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("tier", report.tier.letter())?;
    dict.set_item("shed", report.shed)?;
    dict.set_item("lost_records", report.lost_records)?;
    dict.set_item("spilled_records", report.spilled_records)?;
    let rows = PyList::empty(py);
    for ended in &report.processes {
        rows.append(row_of(py, ended, report.tier.letter())?)?;
    }
    dict.set_item("processes", rows)?;
    Ok(dict)
}

fn row_of<'py>(py: Python<'py>, ended: &Ended, tier: &str) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("pid", ended.key.pid)?;
    row.set_item("name", text_of(py, &ended.identity.comm)?)?;
    row.set_item("uid", ended.identity.uid)?;
    row.set_item("user", optional_text(py, ended.user.as_deref())?)?;
    row.set_item("parent_pid", ended.parent_pid)?;
    row.set_item("parent_name", optional_text(py, ended.parent_comm.as_deref())?)?;
    row.set_item("matched", !ended.is_descendant)?;
    row.set_item("started_ns", ended.started_at.unix_ns)?;
    row.set_item("ended_ns", ended.ended_at.unix_ns)?;
    row.set_item("ended_within", ended.ended_within.as_secs_f64())?;
    let (status, signal, core) = match ended.status {
        Some(WaitStatus::Exited(number)) => (Some(number), None, Some(false)),
        Some(WaitStatus::Signaled { signal, has_dumped_core }) => {
            (None, Some(signal), Some(has_dumped_core))
        }
        None => (None, None, None),
    };
    row.set_item("status", status)?;
    row.set_item("signal", signal)?;
    row.set_item("core_dumped", core)?;
    row.set_item("failed", ended.has_failed())?;
    row.set_item("cmdline", cmdline_of(py, &ended.identity)?)?;
    row.set_item("tier", tier)?;
    row.set_item("io_bound_bytes", ended.io_bound_bytes)?;
    set_figures(&row, ended)?;
    Ok(row)
}

fn optional_text<'py>(
    py: Python<'py>,
    bytes: Option<&[u8]>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    bytes.map(|bytes| text_of(py, bytes)).transpose()
}

/// The arguments; `None` where they are unknown, or nobody asked for them.
fn cmdline_of<'py>(
    py: Python<'py>,
    identity: &Identity,
) -> PyResult<Option<Vec<Bound<'py, PyAny>>>> {
    let Reading::Value(cmdline) = &identity.cmdline else { return Ok(None) };
    let end = cmdline.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let arguments = cmdline[..end].split(|byte| *byte == 0).filter(|_| end > 0);
    arguments.map(|argument| text_of(py, argument)).collect::<PyResult<_>>().map(Some)
}

/// Values, marks and reasons, each by name.
fn set_figures(row: &Bound<'_, PyDict>, ended: &Ended) -> PyResult<()> {
    let py = row.py();
    let (values, marks, why) = (PyDict::new(py), PyDict::new(py), PyDict::new(py));
    for (id, figure) in ENDED_METRICS.into_iter().zip(ended.figures) {
        let name = id.metric().name;
        match figure {
            Figure::Absent(absence) => {
                values.set_item(name, py.None())?;
                why.set_item(name, absence.to_string())?;
            }
            Figure::Known { value, mark } => {
                if let Some(word) = mark.word() {
                    marks.set_item(name, word)?;
                }
                match value {
                    Value::Integer(value) => values.set_item(name, value)?,
                    Value::Float(value) => values.set_item(name, value)?,
                }
            }
        }
    }
    row.set_item("values", values)?;
    row.set_item("marks", marks)?;
    row.set_item("why", why)
}
