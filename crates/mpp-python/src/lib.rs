//! The binding behind the Python module `metrics_per_process`.
//!
//! Nothing is measured or computed here: arguments become the library's types, the GIL is
//! let go for as long as the library works, and results become Python's. What people import
//! is written in Python, in `python/metrics_per_process`, and this is its `_native`.

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("metrics-per-process works on Linux only: it reads /proc");

#[cfg(target_os = "linux")]
mod argument;
#[cfg(target_os = "linux")]
mod drop_in;
#[cfg(target_os = "linux")]
mod ended;
#[cfg(target_os = "linux")]
mod failure;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod metric_table;
#[cfg(target_os = "linux")]
mod monitor;
#[cfg(target_os = "linux")]
mod selector;

/// What `metrics_per_process` is made of.
#[cfg(target_os = "linux")]
#[pyo3::pymodule]
mod _native {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::argument::interval_seconds;
    #[pymodule_export]
    use crate::drop_in::{
        find_pids, get_processes_stats_ex, multi_pid_process_stats, stats_per_pid,
    };
    #[pymodule_export]
    use crate::failure::{PermissionLimited, SelectorError};
    #[pymodule_export]
    use crate::measure::{Measured, Measurement, Meter, check_limit, closest_word, figure_text};
    #[pymodule_export]
    use crate::metric_table::{closest_metric, metrics};
    #[pymodule_export]
    use crate::monitor::Monitor;
    #[pymodule_export]
    use crate::selector::{Selector, find};

    /// Runs the command `mpp` with these arguments, of which the first is the name it was
    /// called by, and returns what to exit with.
    #[pyfunction]
    fn run_command(py: Python<'_>, arguments: Vec<Vec<u8>>) -> u8 {
        py.detach(|| mpp_cli::run_to_status(arguments.into_iter().map(OsString::from_vec)))
    }

    /// The same, for whoever says himself what failed: the words for it, if any, and what to exit
    /// with.
    #[pyfunction]
    fn run_command_telling(py: Python<'_>, arguments: Vec<Vec<u8>>) -> (u8, Vec<u8>) {
        py.detach(|| {
            let mut failure = Vec::new();
            let arguments = arguments.into_iter().map(OsString::from_vec);
            (mpp_cli::run_to_status_and_failure(arguments, &mut failure), failure)
        })
    }

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        // The table of columns is made at its first use. Were this process forked just then, by
        // another thread, the child would wait for it for ever.
        let _ = metrics_per_process::metric::column_by_name("");
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
