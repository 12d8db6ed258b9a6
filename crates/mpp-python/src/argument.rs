//! What Python hands over, as the library's types, or a TypeError or ValueError that says
//! what was expected and what was found.
//!
//! Text becomes bytes by UTF-8 with surrogate escape, whatever the locale: so names that are
//! not UTF-8, as `os.fsdecode` and the functions here return them, come back as they were.

use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyByteArray, PyBytes, PyFloat, PyInt, PyMapping, PyString};

/// No wait is longer than this: about 31 years.
const INTERVAL_SECONDS_MAX: f64 = 1e9;

/// The bytes of a `str`.
pub(crate) fn bytes_of(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if !value.is_instance_of::<PyString>() {
        return Err(wrong_type(name, "a str", value));
    }
    encode(name, value)
}

fn encode(name: &str, text: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let encoded = text.call_method1("encode", ("utf-8", "surrogateescape")).map_err(|cause| {
        let error = PyValueError::new_err(format!(
            "{name}: expected text that can be encoded, but found a lone surrogate"
        ));
        error.set_cause(text.py(), Some(cause));
        error
    })?;
    Ok(encoded.extract::<&[u8]>()?.to_vec())
}

/// The bytes of several `str`; of none where the argument is `None`.
pub(crate) fn list_of_bytes(
    name: &str,
    values: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<Vec<u8>>> {
    let Some(values) = values else { return Ok(Vec::new()) };
    let mut list = Vec::new();
    for value in items_of(name, "a list of str", values)? {
        let value = value?;
        if !value.is_instance_of::<PyString>() {
            return Err(wrong_item(name, "a list of str", &value));
        }
        list.push(encode(name, &value)?);
    }
    Ok(list)
}

/// What to iterate over. A `str` is iterable too, letter by letter, which nobody means.
fn items_of<'py>(
    name: &str,
    expected: &str,
    values: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, pyo3::types::PyIterator>> {
    let is_text = values.is_instance_of::<PyString>();
    if is_text || values.is_instance_of::<PyBytes>() || values.is_instance_of::<PyByteArray>() {
        let hint = if is_text { ": put it into brackets" } else { "" };
        let found = type_name(values);
        let words = format!("{name}: expected {expected}, but found a bare {found}{hint}");
        return Err(PyTypeError::new_err(words));
    }
    let py = values.py();
    values.try_iter().map_err(|cause| match cause.is_instance_of::<PyTypeError>(py) {
        true => wrong_type(name, expected, values),
        false => cause,
    })
}

/// Variables with their values, or `None` for one that must not be there.
type Environment = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// What the argument `process_env` asks of the environment.
pub(crate) fn environment(values: Option<&Bound<'_, PyAny>>) -> PyResult<Environment> {
    const NAME: &str = "process_env";
    let Some(values) = values else { return Ok(Vec::new()) };
    let mapping = values
        .cast::<PyMapping>()
        .map_err(|_| wrong_type(NAME, "a dict of str to str or None", values))?;
    let mut conditions = Vec::new();
    for item in mapping.items()?.iter() {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let key = bytes_of("process_env: a key", &key)?;
        let value = match value.is_none() {
            true => None,
            false if value.is_instance_of::<PyString>() => Some(encode(NAME, &value)?),
            false => return Err(wrong_type("process_env: a value", "a str or None", &value)),
        };
        conditions.push((key, value));
    }
    Ok(conditions)
}

/// A PID; `None` for a number that no process can have.
pub(crate) fn pid(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
    if value.is_instance_of::<PyBool>() {
        return Err(wrong_type(name, "an int", value));
    }
    let number = match value.extract::<i64>() {
        Ok(number) => Some(number),
        Err(cause) if cause.is_instance_of::<PyOverflowError>(value.py()) => {
            if value.lt(0)? {
                Some(-1)
            } else {
                None
            }
        }
        Err(cause) if cause.is_instance_of::<PyTypeError>(value.py()) => {
            return Err(wrong_type(name, "an int", value));
        }
        Err(cause) => return Err(cause),
    };
    match number {
        Some(..0) => {
            let words = format!("{name}: expected a PID, but found a negative number");
            Err(PyValueError::new_err(words))
        }
        number => Ok(number.and_then(|number| u32::try_from(number).ok())),
    }
}

/// PIDs that processes can have; the others are nobody's.
pub(crate) fn pids(name: &str, values: &Bound<'_, PyAny>) -> PyResult<Vec<u32>> {
    let mut pids = Vec::new();
    for value in items_of(name, "a list of int", values)? {
        pids.extend(pid(name, &value?)?);
    }
    Ok(pids)
}

/// True or False, or what equals one of them.
pub(crate) fn flag(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.eq(true)? {
        return Ok(true);
    }
    if value.eq(false)? {
        return Ok(false);
    }
    Err(wrong_type(name, "True or False", value))
}

/// Seconds as a duration.
pub(crate) fn interval(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let is_number = value.is_instance_of::<PyFloat>()
        || (value.hasattr("__index__")? && !value.is_instance_of::<PyBool>());
    if !is_number {
        return Err(wrong_type(name, "an int or a float", value));
    }
    let seconds = value.extract::<f64>().or_else(|cause| {
        // An int beyond what a float can hold.
        let is_too_large = cause.is_instance_of::<PyOverflowError>(value.py());
        if is_too_large { Ok(f64::INFINITY) } else { Err(cause) }
    })?;
    if seconds.is_nan() || seconds < 0.0 || (seconds.is_infinite() && value.lt(0)?) {
        let words = format!("{name}: expected seconds from 0 on, but found {seconds}");
        return Err(PyValueError::new_err(words));
    }
    if seconds > INTERVAL_SECONDS_MAX {
        let words =
            format!("{name}: expected at most {INTERVAL_SECONDS_MAX} seconds, but found more");
        return Err(PyValueError::new_err(words));
    }
    Duration::try_from_secs_f64(seconds).map_err(|cause| PyValueError::new_err(cause.to_string()))
}

/// Seconds as a float, after all checks.
#[pyfunction]
#[pyo3(signature = (interval, /))]
pub(crate) fn interval_seconds(interval: &Bound<'_, PyAny>) -> PyResult<f64> {
    self::interval("interval", interval).map(|interval| interval.as_secs_f64())
}

pub(crate) fn wrong_type(name: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    let found = article(&type_name(found));
    PyTypeError::new_err(format!("{name}: expected {expected}, but found {found}"))
}

fn wrong_item(name: &str, expected: &str, found: &Bound<'_, PyAny>) -> PyErr {
    let found = article(&type_name(found));
    PyTypeError::new_err(format!("{name}: expected {expected}, but found {found} in it"))
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    if value.is_none() {
        return "None".to_owned();
    }
    value.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

fn article(name: &str) -> String {
    match name.bytes().next() {
        _ if name == "None" => name.to_owned(),
        Some(b'a' | b'e' | b'i' | b'o' | b'u') => format!("an {name}"),
        _ => format!("a {name}"),
    }
}

/// Whether it is an int, and not one of the two that are called True and False.
pub(crate) fn is_int(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>()
}
