//! Which processes were meant by the options that select.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use metrics_per_process::report::Report;
use metrics_per_process::selector::{Descendants, Selector, SelectorError, Verdict};
use metrics_per_process::snapshot::Visibility;
use metrics_per_process::{Error, Monitor};

use crate::args::{Procfs, Selection};
use crate::failure::Failure;
use crate::text_form;

/// Where processes are read without `--procfs`: containers mount the host's procfs elsewhere
/// and name it here.
const PROCFS_VARIABLE: &str = "HOST_PROC";

/// Where processes are read by default.
pub(crate) const PROCFS: &str = "/proc";

/// The one selector that all options make together; `None` where nothing was selected.
///
/// # Errors
///
/// The option whose value is no condition.
pub(crate) fn selector(
    typed: &Selection,
    descendants: Descendants,
) -> Result<Option<Selector>, Failure> {
    let none = Selector::default().with_descendants(descendants);
    let selector = none.clone();
    let selector = each(selector, "NAME", &typed.names, |s, name| s.name(name.as_bytes()))?;
    let selector = each(selector, "--user", &typed.user, |s, user| s.user(user.as_bytes()))?;
    let selector = each(selector, "--cmdline", &typed.cmdline, |s, re| s.cmdline(re.as_bytes()))?;
    let selector = each(selector, "--env", &typed.env, |s, env| s.environment(env.as_bytes()))?;
    let selector = each(selector, "--pid", &typed.pid, |s, pids| s.pids(pids.as_bytes()))?;
    let selector = each(selector, "--pidfile", &typed.pidfile, |s, path| s.pid_file(path))?;
    let selector = each(selector, "--port", &typed.port, |s, ports| s.ports(ports.as_bytes()))?;
    let selector = each(selector, "--children-of", &typed.children_of, |s, root| {
        s.children_of(root.as_bytes())
    })?;
    let selector = each(selector, "--unit", &typed.unit, |s, unit| s.unit(unit.as_bytes()))?;
    let selector = each(selector, "--cgroup", &typed.cgroup, |s, path| s.cgroup(path.as_bytes()))?;
    let selector = exclude(selector, &typed.exclude)?;
    Ok((selector != none).then_some(selector))
}

/// That a selector matched no process, and what may be the reason: among others that options
/// were [`meant`] where names were typed.
pub(crate) fn nothing_matched(
    selector: &Selector,
    monitor: &Monitor,
    report: &Report,
    meant: Option<&str>,
) -> Failure {
    let failure = Failure::nothing_matched(match *selector == Selector::default() {
        true => "no process can be seen".to_owned(),
        false => format!("no process matches `{selector}`"),
    });
    let needs = selector.identity_needs();
    let trouble = &report.trouble;
    if let Some(hint) = seclusion(report.host.visibility) {
        failure.hint(hint)
    } else if !needs.environment_keys.is_empty() && trouble.clobbered_environments > 0 {
        failure.hint(format!(
            "{} processes wrote over their environments, which cannot be known any more",
            trouble.clobbered_environments
        ))
    } else if !needs.environment_keys.is_empty() && trouble.denied > 0 {
        failure.hint("environments of others could not be read; `mpp doctor` says more")
    } else if needs.listening_ports && trouble.denied > 0 {
        failure.hint("sockets of others could not be read; `mpp doctor` says more")
    } else if trouble.blocked > 0 {
        failure.hint(format!("{} processes could not be read without blocking", trouble.blocked))
    } else if let Some(path) = stale_pid_file(selector, monitor) {
        failure.hint(format!(
            "no process has the PID in {}: whoever wrote it has ended",
            path.display()
        ))
    } else {
        failure
            .hint("`mpp show` lists what there is")
            .did_you_mean(meant.map(|options| format!("mpp show {options}")))
    }
}

/// A PID file that names nobody, so that nothing else need be the reason.
fn stale_pid_file(selector: &Selector, monitor: &Monitor) -> Option<PathBuf> {
    let is_stale = |path: &PathBuf| {
        let alone = Selector::default().pid_file(path);
        alone.is_ok_and(|alone| monitor.is_matched(&alone) == Verdict::No)
    };
    selector.references().pid_files.into_iter().find(is_stale)
}

/// The options that were meant, where a name is a condition in its text form, `name:nginx`.
pub(crate) fn meant(typed: &Selection) -> Option<String> {
    typed.names.iter().find_map(|name| text_form::as_options(name))
}

/// That the processes of others are out of sight, where they are: then whatever was found may
/// not be all.
pub(crate) fn seclusion(visibility: Visibility) -> Option<&'static str> {
    match visibility {
        Visibility::Whole => None,
        Visibility::OthersUnreadable => {
            Some("this procfs closes the processes of others; `mpp doctor` says more")
        }
        Visibility::OthersHidden => {
            Some("this procfs hides the processes of others; `mpp doctor` says more")
        }
    }
}

/// The procfs to read.
///
/// # Errors
///
/// A path that is no directory.
pub(crate) fn procfs(typed: &Procfs) -> Result<PathBuf, Failure> {
    let (path, source) = match (&typed.procfs, std::env::var_os(PROCFS_VARIABLE)) {
        (Some(path), _) => (path.clone(), "`--procfs`"),
        (None, Some(path)) if !path.is_empty() => (PathBuf::from(path), "`$HOST_PROC`"),
        (None, _) => return Ok(PathBuf::from(PROCFS)),
    };
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err(Failure::usage(format!(
            "{source}: expected a directory, but found a file at {}",
            path.display()
        ))),
        Err(cause) => {
            Err(Failure::usage(format!("{source}: cannot read {}: {cause}", path.display())))
        }
    }
}

fn each(
    mut selector: Selector,
    option: &str,
    values: &[OsString],
    add: impl Fn(Selector, &OsStr) -> Result<Selector, SelectorError>,
) -> Result<Selector, Failure> {
    for value in values {
        selector = add(selector, value).map_err(|error| refuse(option, error))?;
    }
    Ok(selector)
}

fn exclude(mut selector: Selector, texts: &[OsString]) -> Result<Selector, Failure> {
    for text in texts {
        let text = utf8("--exclude", text)?;
        let excluded = Selector::parse(text).and_then(|other| selector.excluding(other));
        selector = excluded.map_err(|error| refuse("--exclude", error))?;
    }
    Ok(selector)
}

/// The value of an option that is text.
///
/// # Errors
///
/// Bytes that are not UTF-8.
pub(crate) fn utf8<'a>(option: &str, value: &'a OsStr) -> Result<&'a str, Failure> {
    value.to_str().ok_or_else(|| {
        let found = value.to_string_lossy();
        Failure::usage(format!("`{option}`: expected UTF-8 text, but found `{found}`"))
            .hint("write other bytes as `\\xHH` inside double quotes")
    })
}

/// A selector's error, with the option that holds it.
pub(crate) fn refuse(option: &str, error: SelectorError) -> Failure {
    let hint = error.hint().map(str::to_owned);
    let mut failure = Failure::usage("");
    failure.cause = anyhow::Error::new(Named { option: option.to_owned(), error });
    failure.hint = hint;
    failure
}

/// What the option was given, which says of what it speaks instead of the error.
#[derive(Debug)]
struct Named {
    option: String,
    error: SelectorError,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.option, self.error.finding())
    }
}

impl std::error::Error for Named {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// What the library could not look up, with the option that asked for it.
pub(crate) fn name_option(mut failure: Failure, typed: &Selection) -> Failure {
    let is_of = |users: &OsString, name: &[u8]| {
        users.as_bytes().split(|byte| *byte == b',').any(|user| user == name)
    };
    let option = match failure.cause.downcast_ref() {
        Some(Error::UnknownUser { name } | Error::ForeignUser { name }) => {
            match typed.user.iter().any(|users| is_of(users, name)) {
                true => "`--user`",
                false => "`--exclude`",
            }
        }
        Some(Error::PidFile(_)) if typed.pidfile.is_empty() => "`--exclude`",
        Some(Error::PidFile(_)) => "`--pidfile`",
        _ => return failure,
    };
    failure.cause = failure.cause.context(option);
    failure
}
