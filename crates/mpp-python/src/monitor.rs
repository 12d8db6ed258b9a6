//! The sampling of one group, again and again, for `show` and `Sampler`.

use std::mem::ManuallyDrop;
use std::sync::{Mutex, PoisonError};

use metrics_per_process::ended::EndedReport;
use metrics_per_process::metric::{self, Need};
use metrics_per_process::process::Absence;
use metrics_per_process::report::{Column, Figure, GroupReport, Report, Tier, Value};
use metrics_per_process::selector::Selector as Conditions;
use metrics_per_process::snapshot::Visibility;
use metrics_per_process::{Error, Monitor as Core};
use pyo3::exceptions::{PyRuntimeError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::argument::list_of_bytes;
use crate::ended::{ended_of, ended_options};
use crate::failure::refuse;
use crate::selector::core_of;

/// Every metric there is, those that stall the measured process included.
const EVERYTHING: &str = "all,memory.pss,memory.uss";

/// One group of processes, ready to be sampled.
///
/// Usable from several threads, one after the other; not in a forked child, since the threads
/// that read what can block did not come along.
#[pyclass(frozen, module = "metrics_per_process._native")]
pub(crate) struct Monitor {
    core: Mutex<Option<ManuallyDrop<Box<Core>>>>,
    owner_pid: u32,
}

#[pymethods]
impl Monitor {
    #[new]
    #[pyo3(signature = (selector, metrics, tier, ends = None))]
    fn new(
        py: Python<'_>,
        selector: Option<&Bound<'_, PyAny>>,
        metrics: Option<&Bound<'_, PyAny>>,
        tier: Option<&Bound<'_, PyAny>>,
        ends: Option<&str>,
    ) -> PyResult<Self> {
        // None is every process.
        let selector = selector.map_or_else(|| Ok(Conditions::default()), core_of)?;
        let columns = columns(metrics)?;
        let tier = tier_of(tier)?;
        let name = selector.to_string();
        let core = py
            .detach(|| {
                let monitor = Core::builder().group(name, selector).columns(columns);
                let monitor = match ends.map(ended_options) {
                    Some(options) => monitor.ended(options),
                    None => monitor,
                };
                monitor.tier_max(tier).build()
            })
            .map_err(refuse)?;
        let core = Mutex::new(Some(ManuallyDrop::new(Box::new(core))));
        Ok(Monitor { core, owner_pid: std::process::id() })
    }

    /// Sweeps once and says what the group used, as a dict.
    fn sample<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = self.with_core(py, Core::sample)?;
        sample_of(py, &report.map_err(refuse)?)
    }

    /// Sweeps once and says who has ended since the sweep before, as a dict.
    fn ended<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let report = self.with_core(py, |core| -> Result<EndedReport, Error> {
            core.sample()?;
            Ok(core.ended().clone())
        })?;
        ended_of(py, &report.map_err(refuse)?)
    }

    /// Takes in what has been told of ends, so that it does not pile up in the kernel.
    fn listen(&self, py: Python<'_>) -> PyResult<()> {
        self.with_core(py, Core::listen)
    }

    /// Lets everything go; further samples raise.
    fn close(&self) {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(core) = core.take()
            && !self.is_foreign()
        {
            drop(ManuallyDrop::into_inner(core));
        }
    }
}

impl Monitor {
    /// Does something without the GIL.
    fn with_core<T: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&mut Core) -> T + Send,
    ) -> PyResult<T> {
        if self.is_foreign() {
            return Err(PyRuntimeError::new_err(
                "a Sampler does not work in a forked child: make a new one there",
            ));
        }
        let done = py.detach(|| {
            let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
            core.as_mut().map(|core| act(core))
        });
        done.ok_or_else(|| PyRuntimeError::new_err("the Sampler is closed"))
    }

    /// Whether this process is a fork of the one that made it. There its threads are gone and
    /// their locks may be held for ever, so it is not even dropped.
    fn is_foreign(&self) -> bool {
        self.owner_pid != std::process::id()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        if !self.is_foreign() {
            self.close();
        }
    }
}

fn columns(metrics: Option<&Bound<'_, PyAny>>) -> PyResult<Vec<Column>> {
    let text = match metrics {
        None => "all".to_owned(),
        Some(text) if text.is_instance_of::<PyString>() => text.extract()?,
        Some(list) => {
            let words = list_of_bytes("metrics", Some(list))?;
            let words: Vec<_> = words.iter().map(|word| String::from_utf8_lossy(word)).collect();
            words.join(",")
        }
    };
    metric::choose(&text)
        .map_err(|error| PyValueError::new_err(format!("{error}\n\nhint: {}", error.hint())))
}

/// The best tier that is asked for.
pub(crate) fn tier_of(tier: Option<&Bound<'_, PyAny>>) -> PyResult<Tier> {
    let Some(tier) = tier else { return Ok(Tier::A) };
    if !tier.is_instance_of::<PyString>() {
        return Err(PyTypeError::new_err("tier: expected `A`, `B` or `C`"));
    }
    match tier.extract::<String>()?.as_str() {
        "A" => Ok(Tier::A),
        "B" => Ok(Tier::B),
        "C" => Ok(Tier::C),
        _ => Err(PyValueError::new_err("tier: expected `A`, `B` or `C`")),
    }
}

fn sample_of<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyDict>> {
    let sample = PyDict::new(py);
    sample.set_item("unix_ns", report.wall_time.unix_ns)?;
    sample.set_item("interval", report.interval.map(|interval| interval.as_secs_f64()))?;
    set_accuracy(&sample, report)?;
    let Some(group) = report.groups.first() else {
        return Err(PyRuntimeError::new_err("the report has no group"));
    };
    sample.set_item("matched", group.matched)?;
    sample.set_item("descendants", group.descendants)?;
    sample.set_item("unreadable", group.unreadable)?;
    set_figures(&sample, report, group)?;
    Ok(sample)
}

/// How far the numbers can be trusted, all in all.
pub(crate) fn set_accuracy(row: &Bound<'_, PyDict>, report: &Report) -> PyResult<()> {
    let accuracy = report.accuracy;
    row.set_item("tier", accuracy.tier.letter())?;
    row.set_item("lost", accuracy.lost)?;
    row.set_item("lost_records", accuracy.lost_records)?;
    row.set_item("io_bound_bytes", accuracy.io_bound_bytes)?;
    row.set_item("undecided", accuracy.undecided)?;
    row.set_item("unattributed_io_bytes", accuracy.unattributed_io_bytes)?;
    row.set_item("unattributed_tcp_bytes", accuracy.unattributed_tcp_bytes)?;
    row.set_item("is_hidden", report.host.visibility != Visibility::Whole)
}

/// Values, marks and reasons, each by name; every metric there is has a value or a reason.
fn set_figures(sample: &Bound<'_, PyDict>, report: &Report, group: &GroupReport) -> PyResult<()> {
    set_figures_or(sample, report, group, |column| reason(column, Absence::NotRequested))
}

/// The same, with the reason of those that the report does not have.
pub(crate) fn set_figures_or(
    sample: &Bound<'_, PyDict>,
    report: &Report,
    group: &GroupReport,
    reason_of_others: impl Fn(&Column) -> String,
) -> PyResult<()> {
    let py = sample.py();
    let (values, marks, why) = (PyDict::new(py), PyDict::new(py), PyDict::new(py));
    let everything =
        metric::choose(EVERYTHING).map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
    for column in &everything {
        values.set_item(column.name(), py.None())?;
        why.set_item(column.name(), reason_of_others(column))?;
    }
    for (column, figure) in report.columns.iter().zip(&group.figures) {
        let name = column.name();
        match figure {
            Figure::Absent(absence) => why.set_item(name, reason(column, *absence))?,
            Figure::Known { value, mark } => {
                why.del_item(&name)?;
                if let Some(word) = mark.word() {
                    marks.set_item(&name, word)?;
                }
                values.set_item(name, number(py, *value)?)?;
            }
        }
    }
    sample.set_item("values", values)?;
    sample.set_item("marks", marks)?;
    sample.set_item("why", why)
}

/// An int or a float.
pub(crate) fn number(py: Python<'_>, value: Value) -> PyResult<Bound<'_, PyAny>> {
    Ok(match value {
        Value::Integer(value) => value.into_pyobject(py)?.into_any(),
        Value::Float(value) => value.into_pyobject(py)?.into_any(),
    })
}

fn reason(column: &Column, absence: Absence) -> String {
    match (absence, column.metric.need) {
        (Absence::NotRequested, Need::ProportionalMemory) => {
            format!("{absence}: name it in `metrics`; reading it holds up the process")
        }
        (Absence::NotRequested, _) => format!("{absence}: name it in `metrics`"),
        _ => absence.to_string(),
    }
}
