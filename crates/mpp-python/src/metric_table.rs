//! The one table of metrics, as Python sees it.

use metrics_per_process::metric::{self, Fold, METRICS, Metric, NumberType};
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// One dict for each metric, in the table's order.
#[pyfunction]
pub(crate) fn metrics(py: Python<'_>) -> PyResult<Vec<Bound<'_, PyDict>>> {
    METRICS.iter().map(|metric| row(py, metric)).collect()
}

/// The name of a metric or rate that a misspelt one was probably meant to be.
#[pyfunction]
#[pyo3(signature = (name, /))]
pub(crate) fn closest_metric(name: &str) -> Option<&'static str> {
    metric::closest(name)
}

fn row<'py>(py: Python<'py>, metric: &Metric) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("name", metric.name)?;
    row.set_item("unit", metric.unit.word())?;
    row.set_item("kind", metric.kind.word())?;
    row.set_item("type", number(metric.number))?;
    row.set_item("sums_by", fold(metric.fold))?;
    row.set_item("drop_in", metric.drop_in)?;
    row.set_item("prometheus", metric.prometheus.0)?;
    row.set_item("otel", metric.otel.0)?;
    row.set_item("source", metric.source)?;
    row.set_item("privilege", metric.privilege.words())?;
    row.set_item("help", metric.help)?;
    Ok(row)
}

fn number(number: NumberType) -> &'static str {
    match number {
        NumberType::Integer => "integer",
        NumberType::Float => "float",
    }
}

fn fold(fold: Fold) -> &'static str {
    match fold {
        Fold::Sum => "sum",
        Fold::Ledger => "ledger",
        Fold::Max => "max",
        Fold::PeakOfSum => "peak_of_sum",
        Fold::DistinctSockets => "distinct_sockets",
        Fold::Connections => "connections",
    }
}
