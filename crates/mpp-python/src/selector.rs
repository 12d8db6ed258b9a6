//! Which processes: the library's selectors, by keywords or in their text form.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use metrics_per_process::selector::{Descendants, Selector as Core, SelectorError as CoreError};
use metrics_per_process::snapshot::Visibility;
use metrics_per_process::{FindOptions, Why};
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyMapping, PyString};

use crate::argument::{self, is_int, wrong_type};
use crate::failure::{SelectorError, refuse, refuse_selector};

/// A choice of processes. Conditions of different kinds must all hold; of the values of one
/// kind any may, but for the environment, of which every entry must hold.
#[pyclass(frozen, module = "metrics_per_process")]
pub(crate) struct Selector(pub(crate) Core);

/// What one keyword adds to a selector.
type Add = fn(Core, &[u8]) -> Result<Core, CoreError>;

#[pymethods]
impl Selector {
    #[new]
    #[pyo3(signature = (*, names=None, users=None, cmdline=None, env=None, pids=None,
        pid_files=None, ports=None, children_of=None, units=None, cgroups=None, exclude=None,
        children=None))]
    #[expect(clippy::too_many_arguments, reason = "one keyword for each kind of condition")]
    fn new(
        names: Option<&Bound<'_, PyAny>>,
        users: Option<&Bound<'_, PyAny>>,
        cmdline: Option<&Bound<'_, PyAny>>,
        env: Option<&Bound<'_, PyAny>>,
        pids: Option<&Bound<'_, PyAny>>,
        pid_files: Option<&Bound<'_, PyAny>>,
        ports: Option<&Bound<'_, PyAny>>,
        children_of: Option<&Bound<'_, PyAny>>,
        units: Option<&Bound<'_, PyAny>>,
        cgroups: Option<&Bound<'_, PyAny>>,
        exclude: Option<&Bound<'_, PyAny>>,
        children: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let mut selector = Core::default();
        selector = each(selector, "names", names, |s, name| s.name(name))?;
        selector = each(selector, "users", users, |s, user| s.user(user))?;
        selector = each(selector, "cmdline", cmdline, |s, regex| s.cmdline(regex))?;
        selector = add_environment(selector, env)?;
        selector = each(selector, "pids", pids, |s, pid| s.pids(pid))?;
        selector = add_pid_files(selector, pid_files)?;
        selector = each(selector, "ports", ports, |s, port| s.ports(port))?;
        selector = each(selector, "children_of", children_of, |s, root| s.children_of(root))?;
        selector = each(selector, "units", units, |s, unit| s.unit(unit))?;
        selector = each(selector, "cgroups", cgroups, |s, path| s.cgroup(path))?;
        selector = add_exclusions(selector, exclude)?;
        let descendants = children.map_or(Ok(Descendants::Taken), descendants)?;
        conditional(selector.with_descendants(descendants)).map(Selector)
    }

    /// Reads the text form, `name:foo user:max env:TAG=x !env:OTHER`.
    #[staticmethod]
    #[pyo3(signature = (text, /))]
    fn parse(text: &Bound<'_, PyAny>) -> PyResult<Self> {
        if !text.is_instance_of::<PyString>() {
            return Err(wrong_type("selector", "a str", text));
        }
        let selector = Core::parse(&text.extract::<String>()?).map_err(refuse_selector)?;
        conditional(selector).map(Selector)
    }

    /// Whether descendants of what matches are taken along.
    #[getter]
    fn children(&self) -> bool {
        self.0.descendants() == Descendants::Taken
    }

    fn __str__(&self) -> String {
        self.0.to_string()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let text = PyString::new(py, &self.0.to_string()).repr()?;
        Ok(format!("Selector.parse({text})"))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Selector>().is_ok_and(|other| other.get().0 == self.0)
    }

    fn __hash__(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.0.to_string().hash(&mut hasher);
        hasher.finish()
    }
}

/// What the argument `children` asks for.
fn descendants(children: &Bound<'_, PyAny>) -> PyResult<Descendants> {
    let are_taken = argument::flag("children", children)?;
    Ok(if are_taken { Descendants::Taken } else { Descendants::Left })
}

/// Adds the values of one keyword, a list or a single one.
fn each(
    mut selector: Core,
    name: &str,
    values: Option<&Bound<'_, PyAny>>,
    add: Add,
) -> PyResult<Core> {
    for value in some_of(name, values)? {
        let bytes = match is_int(&value) {
            true => value.str()?.to_string().into_bytes(),
            false => argument::bytes_of(name, &value)?,
        };
        selector = add(selector, &bytes).map_err(refuse_selector)?;
    }
    Ok(selector)
}

/// A selector that says something: one that does not would select every process, which a text or
/// a list that a program computed may do by accident.
fn conditional(selector: Core) -> PyResult<Core> {
    match selector.is_unconditional() {
        false => Ok(selector),
        true => Err(SelectorError::new_err(
            "selector: expected a condition, but found none\n\nhint: `name:*` selects every process",
        )),
    }
}

/// The values of a keyword that says something if it is given: an empty list is no condition, and
/// would select every process that the others do.
fn some_of<'py>(
    name: &str,
    values: Option<&Bound<'py, PyAny>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let found = values_of(name, values)?;
    match values {
        Some(_) if found.is_empty() => Err(no_value(name)),
        _ => Ok(found),
    }
}

fn no_value(name: &str) -> PyErr {
    SelectorError::new_err(format!("{name}: expected one value or more, but found none"))
}

/// One value stands for a list of one.
fn values_of<'py>(
    name: &str,
    values: Option<&Bound<'py, PyAny>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let Some(values) = values else { return Ok(Vec::new()) };
    if values.is_instance_of::<PyString>() || is_int(values) || values.cast::<Selector>().is_ok() {
        return Ok(vec![values.clone()]);
    }
    if values.is_instance_of::<PyBytes>() {
        return Err(wrong_type(name, "a str or a list of str", values));
    }
    let items = values.try_iter().map_err(|_| wrong_type(name, "a str or a list", values))?;
    items.collect()
}

fn add_environment(mut selector: Core, values: Option<&Bound<'_, PyAny>>) -> PyResult<Core> {
    let Some(values) = values else { return Ok(selector) };
    let mapping = values
        .cast::<PyMapping>()
        .map_err(|_| wrong_type("env", "a dict of str to str, True, False or None", values))?;
    if mapping.is_empty()? {
        return Err(no_value("env"));
    }
    for item in mapping.items()?.iter() {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item.extract()?;
        let condition = condition(argument::bytes_of("env: a key", &key)?, &value)?;
        selector = selector.environment(condition).map_err(refuse_selector)?;
    }
    Ok(selector)
}

/// `KEY`, `KEY=VALUE` or `!KEY`.
fn condition(mut key: Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    if let Ok(is_present) = value.cast::<PyBool>() {
        if !is_present.is_true() {
            key.insert(0, b'!');
        }
    } else if value.is_none() {
        key.insert(0, b'!');
    } else if value.is_instance_of::<PyString>() {
        key.push(b'=');
        key.extend(argument::bytes_of("env: a value", value)?);
    } else {
        return Err(wrong_type("env: a value", "a str, True, False or None", value));
    }
    Ok(key)
}

fn add_pid_files(mut selector: Core, values: Option<&Bound<'_, PyAny>>) -> PyResult<Core> {
    let Some(values) = values else { return Ok(selector) };
    let is_one = values.is_instance_of::<PyString>() || values.hasattr("__fspath__")?;
    let paths = if is_one { vec![values.clone()] } else { some_of("pid_files", Some(values))? };
    for path in paths {
        let path: PathBuf = path
            .extract()
            .map_err(|_| wrong_type("pid_files", "a path or a list of paths", &path))?;
        selector = selector.pid_file(path).map_err(refuse_selector)?;
    }
    Ok(selector)
}

fn add_exclusions(mut selector: Core, values: Option<&Bound<'_, PyAny>>) -> PyResult<Core> {
    for value in values_of("exclude", values)? {
        let excluded = match value.cast::<Selector>() {
            Ok(excluded) => excluded.get().0.clone(),
            Err(_) => Selector::parse(&value)?.0,
        };
        selector = selector.excluding(excluded).map_err(refuse_selector)?;
    }
    Ok(selector)
}

/// A process that was found: PID, command name, user number, whether it matched itself.
type FoundRow<'py> = (u32, Bound<'py, PyAny>, u32, bool);

/// What was found, how many could not be decided, and whether some are hidden.
#[pyfunction]
pub(crate) fn find<'py>(
    py: Python<'py>,
    selector: &Bound<'py, PyAny>,
    children: &Bound<'py, PyAny>,
) -> PyResult<(Vec<FoundRow<'py>>, u64, bool)> {
    let selector = core_of(selector)?.with_descendants(descendants(children)?);
    let found = py
        .detach(|| metrics_per_process::find(&selector, &FindOptions::default()))
        .map_err(refuse)?;
    let mut rows = Vec::with_capacity(found.processes.len());
    for process in &found.processes {
        let name = text_of(py, &process.identity.comm)?;
        let is_matched = process.why == Why::Matched;
        rows.push((process.key.pid, name, process.identity.uid, is_matched));
    }
    Ok((rows, found.undecided, found.visibility != Visibility::Whole))
}

/// A selector, or one in its text form.
pub(crate) fn core_of(value: &Bound<'_, PyAny>) -> PyResult<Core> {
    if let Ok(selector) = value.cast::<Selector>() {
        return Ok(selector.get().0.clone());
    }
    if value.is_instance_of::<PyString>() {
        return Ok(Selector::parse(value)?.0);
    }
    Err(PyTypeError::new_err(format!(
        "selector: expected a Selector or its text form, but found {}",
        value.get_type().name()?
    )))
}

/// Bytes as text from which they can be had again.
pub(crate) fn text_of<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    PyBytes::new(py, bytes).call_method1("decode", ("utf-8", "surrogateescape"))
}
