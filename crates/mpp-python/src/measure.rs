//! Measuring this process and what it starts, for `measure` and the pytest plugin; and limits.

use std::mem::ManuallyDrop;
use std::sync::{Mutex, MutexGuard, PoisonError};

use metrics_per_process::measure::{
    Measured as CoreMeasured, Measurement as CoreMeasurement, Meter as CoreMeter,
};
use metrics_per_process::report::{Figure, Mark};
use metrics_per_process::run::{Judgement, Limit};
use metrics_per_process::{metric, similar};
use mpp_export::Units;
use mpp_export::run::{left_line, limit_line, number_text};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::failure::refuse;
use crate::monitor::{number, set_accuracy, set_figures_or, tier_of};
use crate::selector::text_of;

/// Why a metric has no value that a measurement does not have.
const NOT_MEASURED: &str = "a measurement of a stretch of time does not have it";

/// A thread that watches this process and everything below it.
///
/// Not usable in a forked child: the thread did not come along.
#[pyclass(frozen, module = "metrics_per_process._native")]
pub(crate) struct Meter {
    core: Owned<CoreMeter>,
}

/// A stretch of time that is measured.
#[pyclass(frozen, module = "metrics_per_process._native")]
pub(crate) struct Measurement {
    core: Owned<CoreMeasurement>,
}

/// What was used in a stretch of time.
#[pyclass(frozen, module = "metrics_per_process._native")]
pub(crate) struct Measured {
    core: CoreMeasured,
}

/// Something that belongs to the process that made it. In a forked child its thread is gone and
/// its locks may be held for ever, so there it is not even dropped.
struct Owned<T> {
    value: Mutex<Option<ManuallyDrop<T>>>,
    owner_pid: u32,
}

#[pymethods]
impl Meter {
    #[new]
    fn new(py: Python<'_>, tier: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let tier = tier_of(tier)?;
        let core = py.detach(|| CoreMeter::start(tier)).map_err(refuse)?;
        Ok(Meter { core: Owned::new(core) })
    }

    /// Begins a measurement.
    fn begin(&self, py: Python<'_>) -> PyResult<Measurement> {
        let begun = py.detach(|| self.core.with(CoreMeter::begin));
        let core = begun?.map_err(refuse)?;
        Ok(Measurement { core: Owned::new(core) })
    }

    /// Why ended processes are not seen better, a sentence each.
    fn refusals(&self) -> PyResult<Vec<String>> {
        let sentences = |meter: &CoreMeter| {
            meter.refusals().iter().map(|refusal| refusal.reason.clone()).collect()
        };
        self.core.with(sentences)
    }

    /// Whether this process is a fork of the one that made it.
    fn is_foreign(&self) -> bool {
        self.core.is_foreign()
    }

    /// Lets the thread end, once no measurement needs it any more.
    fn close(&self) {
        self.core.let_go();
    }
}

#[pymethods]
impl Measurement {
    /// What was used until now.
    fn so_far(&self, py: Python<'_>) -> PyResult<Measured> {
        let measured = py.detach(|| self.core.with(CoreMeasurement::so_far));
        Ok(Measured { core: measured?.map_err(refuse)? })
    }

    /// Whether this process is a fork of the one that made it.
    fn is_foreign(&self) -> bool {
        self.core.is_foreign()
    }

    /// Measures no longer.
    fn close(&self) {
        self.core.let_go();
    }
}

#[pymethods]
impl Measured {
    /// All of it, as a dict.
    fn row<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (row, report) = (PyDict::new(py), &self.core.total);
        row.set_item("elapsed", report.interval.map(|interval| interval.as_secs_f64()))?;
        set_accuracy(&row, report)?;
        let Some(group) = report.groups.first() else {
            return Err(PyRuntimeError::new_err("the report has no group"));
        };
        row.set_item("unreadable", group.unreadable)?;
        set_figures_or(&row, report, group, |_| NOT_MEASURED.to_owned())?;
        row.set_item(
            "started",
            match self.core.started {
                Figure::Known { value, .. } => Some(number(py, value)?),
                Figure::Absent(_) => None,
            },
        )?;
        row.set_item("left", self.left(py)?)?;
        row.set_item("looks", self.core.looks)?;
        row.set_item("failed_looks", self.core.failed_looks)?;
        row.set_item("own_cpu", self.core.own_cpu.as_secs_f64())?;
        Ok(row)
    }

    /// What became of each limit: a word, and the line that `mpp run` writes of it.
    fn judge(&self, limits: Vec<String>) -> PyResult<Vec<(&'static str, String)>> {
        let judge = |text: String| {
            let limit = parsed(&text)?;
            let judgement = limit.judge_total(&self.core.total);
            Ok((word(&judgement), limit_line(&limit, &judgement, Units::Iec)))
        };
        limits.into_iter().map(judge).collect()
    }

    /// The line that says what is left running; None where nothing is.
    fn left_line(&self) -> Option<String> {
        left_line(&self.core.still_running)
    }
}

impl Measured {
    /// PID and name of each that is left.
    fn left<'py>(&self, py: Python<'py>) -> PyResult<Vec<(u32, Bound<'py, PyAny>)>> {
        let left = self.core.still_running.iter();
        left.map(|one| Ok((one.pid, text_of(py, &one.comm)?))).collect()
    }
}

impl<T> Owned<T> {
    fn new(value: T) -> Self {
        let value = Mutex::new(Some(ManuallyDrop::new(value)));
        Owned { value, owner_pid: std::process::id() }
    }

    fn is_foreign(&self) -> bool {
        self.owner_pid != std::process::id()
    }

    fn lock(&self) -> MutexGuard<'_, Option<ManuallyDrop<T>>> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, f: impl FnOnce(&T) -> R) -> PyResult<R> {
        if self.is_foreign() {
            return Err(PyRuntimeError::new_err(
                "what a process measures cannot be read in a forked child: measure there anew",
            ));
        }
        match &*self.lock() {
            Some(value) => Ok(f(value)),
            None => Err(PyRuntimeError::new_err("nothing is measured any more")),
        }
    }

    fn let_go(&self) {
        if !self.is_foreign()
            && let Some(value) = self.lock().take()
        {
            drop(ManuallyDrop::into_inner(value));
        }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// Refuses what is no limit, as `mpp run --fail-if` does.
#[pyfunction]
#[pyo3(signature = (text, /))]
pub(crate) fn check_limit(text: &str) -> PyResult<()> {
    parsed(text).map(|_| ())
}

/// The word that a misspelt one was probably meant to be.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "a list cannot be borrowed from Python")]
pub(crate) fn closest_word(word: &str, candidates: Vec<String>) -> Option<String> {
    similar::closest(word, candidates.iter().map(String::as_str)).map(str::to_owned)
}

/// A number as the command prints it: `>=12.3MiB`.
#[pyfunction]
#[pyo3(signature = (name, number, mark, /))]
pub(crate) fn figure_text(name: &str, number: f64, mark: Option<&str>) -> PyResult<String> {
    let column = metric::column_by_name(name)
        .ok_or_else(|| PyValueError::new_err(format!("no metric is called `{name}`")))?;
    let marks = [Mark::Exact, Mark::Bound, Mark::Estimate, Mark::LowerBound];
    let mark = marks.into_iter().find(|one| one.word() == mark).unwrap_or(Mark::LowerBound);
    Ok(number_text(&column, number, mark, Units::Iec))
}

fn parsed(text: &str) -> PyResult<Limit> {
    Limit::parse(text)
        .map_err(|error| PyValueError::new_err(format!("{error}\n\nhint: {}", error.hint())))
}

fn word(judgement: &Judgement) -> &'static str {
    match judgement {
        Judgement::Kept(_) => "kept",
        Judgement::Broken(_) => "broken",
        Judgement::KeptAsFarAsKnown(_) => "kept_as_far_as_known",
        Judgement::Unknown(_) => "unknown",
    }
}
