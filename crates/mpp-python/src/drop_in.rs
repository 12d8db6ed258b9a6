//! The five functions. Their documentation stands with their public face, in `compat.py`.

use std::time::Duration;

use metrics_per_process::drop_in::{
    Connections, Selection, StatValue, Stats, StatsOptions, Zeros, get_processes_stats_ex_waiting,
};
use metrics_per_process::{Error, drop_in};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::argument;
use crate::failure::refuse;

/// The PIDs of the processes that match, ascending.
#[pyfunction]
pub(crate) fn find_pids(
    py: Python<'_>,
    process_names: Option<&Bound<'_, PyAny>>,
    users: Option<&Bound<'_, PyAny>>,
    process_env: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<u32>> {
    let selection = selection(process_names, users, process_env)?;
    py.detach(|| drop_in::find_pids(&selection)).map_err(refuse)
}

/// Everything of one process; empty where there is none.
#[pyfunction]
pub(crate) fn stats_per_pid<'py>(
    py: Python<'py>,
    pid: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let Some(pid) = argument::pid("pid", pid)? else { return Ok(PyDict::new(py)) };
    let stats = py.detach(|| drop_in::stats_per_pid(pid)).map_err(refuse)?;
    dict_of(py, stats)
}

/// The sums over several processes.
#[pyfunction]
pub(crate) fn multi_pid_process_stats<'py>(
    py: Python<'py>,
    pids: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let pids = argument::pids("pids", pids)?;
    let stats = py.detach(|| drop_in::multi_pid_process_stats(&pids)).map_err(refuse)?;
    dict_of(py, stats)
}

/// The sums with their rates.
#[pyfunction]
pub(crate) fn get_processes_stats_ex<'py>(
    py: Python<'py>,
    process_names: Option<&Bound<'py, PyAny>>,
    users: Option<&Bound<'py, PyAny>>,
    process_env: Option<&Bound<'py, PyAny>>,
    interval_sec: &Bound<'py, PyAny>,
    keep_important_metrics: &Bound<'py, PyAny>,
    include_connections: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyDict>> {
    let selection = selection(process_names, users, process_env)?;
    let options = StatsOptions {
        interval: argument::interval("interval_sec", interval_sec)?,
        zeros: match argument::flag("keep_important_metrics", keep_important_metrics)? {
            true => Zeros::KeptWhereImportant,
            false => Zeros::Dropped,
        },
        connections: match argument::flag("include_connections", include_connections)? {
            true => Connections::Counted,
            false => Connections::LeftOut,
        },
    };
    let stats = py
        .detach(|| get_processes_stats_ex_waiting(&selection, &options, wait))
        .map_err(Interrupted::into_error)?;
    dict_of(py, stats)
}

fn selection(
    process_names: Option<&Bound<'_, PyAny>>,
    users: Option<&Bound<'_, PyAny>>,
    process_env: Option<&Bound<'_, PyAny>>,
) -> PyResult<Selection> {
    Ok(Selection {
        process_names: argument::list_of_bytes("process_names", process_names)?,
        users: argument::list_of_bytes("users", users)?,
        process_env: argument::environment(process_env)?,
    })
}

/// Why there is no result: it could not be measured, or a signal handler raised.
enum Interrupted {
    Failed(Error),
    Raised(PyErr),
}

impl From<Error> for Interrupted {
    fn from(error: Error) -> Self {
        Interrupted::Failed(error)
    }
}

impl Interrupted {
    fn into_error(self) -> PyErr {
        match self {
            Interrupted::Failed(error) => refuse(error),
            Interrupted::Raised(error) => error,
        }
    }
}

/// Waits as `time.sleep` does: without the GIL, and ended at once by a signal whose handler
/// raises, as that of Ctrl-C.
fn wait(interval: Duration) -> Result<(), Interrupted> {
    Python::attach(|py| {
        py.import("time")?.call_method1("sleep", (interval.as_secs_f64(),))?;
        Ok(())
    })
    .map_err(Interrupted::Raised)
}

/// The keys are interned: they are the same at each call, and those that people look them up by.
fn dict_of(py: Python<'_>, stats: Stats) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    for (key, value) in stats {
        let key = PyString::intern(py, &key);
        match value {
            StatValue::Integer(value) => dict.set_item(key, value)?,
            StatValue::Float(value) => dict.set_item(key, value)?,
            StatValue::Text(value) => dict.set_item(key, value)?,
        }
    }
    Ok(dict)
}
