//! The library's errors as Python's exceptions.

use std::error::Error as _;
use std::io;

use metrics_per_process::{Error, selector};
use pyo3::exceptions::{PyOSError, PyPermissionError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;

pyo3::create_exception!(
    metrics_per_process,
    SelectorError,
    PyValueError,
    "A selector that says nothing: what was expected and what was found, and where it names a \
     user or a PID file that does not exist."
);
pyo3::create_exception!(
    metrics_per_process,
    PermissionLimited,
    PyPermissionError,
    "With `strict=True`: some processes could not be read whole, so the numbers are too low."
);

/// What a failed measurement raises: OSError with its errno, or SelectorError for a selector
/// that names what does not exist.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn refuse(error: Error) -> PyErr {
    match &error {
        Error::UnknownUser { .. } | Error::ForeignUser { .. } | Error::PidFile(_) => {
            SelectorError::new_err(with_causes(&error))
        }
        _ => {
            let words = with_causes(&error);
            match errno_of(&error) {
                Some(errno) => PyOSError::new_err((errno, words)),
                None => PyRuntimeError::new_err(words),
            }
        }
    }
}

/// What a selector that says nothing raises.
#[expect(clippy::needless_pass_by_value, reason = "for `map_err`")]
pub(crate) fn refuse_selector(error: selector::SelectorError) -> PyErr {
    let hint = error.hint().map_or_else(String::new, |hint| format!("\n\nhint: {hint}"));
    SelectorError::new_err(format!("{}{hint}", with_causes(&error)))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

fn errno_of(error: &Error) -> Option<i32> {
    error.source()?.downcast_ref::<io::Error>()?.raw_os_error()
}
