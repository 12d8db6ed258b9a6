//! Several values of one kind of condition: any will do, so one that nobody has goes unnoticed
//! beside one that somebody has, unless it is looked for.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use metrics_per_process::Monitor;
use metrics_per_process::selector::{Descendants, Selector, Verdict};

use crate::args::Selection;
use crate::failure::Failure;
use crate::selection::selector;
use crate::text_form;

/// More values of one kind were written by a program, which is not told what it asked for.
const VALUES_MAX: usize = 64;

/// No more of them are named.
const NAMED_MAX: usize = 5;

/// The values of one kind among what was typed.
type Kind = fn(&mut Selection) -> &mut Vec<OsString>;

/// Every kind of which any value will do, and whether commas stand between values.
const KINDS: [(Kind, Form); 9] = [
    (|typed| &mut typed.names, Form::Single),
    (|typed| &mut typed.user, Form::List),
    (|typed| &mut typed.cmdline, Form::Single),
    (|typed| &mut typed.pid, Form::List),
    (|typed| &mut typed.pidfile, Form::Single),
    (|typed| &mut typed.port, Form::List),
    (|typed| &mut typed.children_of, Form::Single),
    (|typed| &mut typed.unit, Form::Single),
    (|typed| &mut typed.cgroup, Form::Single),
];

/// How values are typed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Each as an argument.
    Single,
    /// Also with commas between them.
    List,
}

/// One value alone, with all conditions of other kinds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alternative {
    /// As it was typed.
    value: OsString,
    /// What it selects.
    selector: Selector,
}

/// Each value of the kinds that have several.
///
/// # Errors
///
/// The option whose value is no condition.
pub(crate) fn alternatives(typed: &Selection) -> Result<Vec<Alternative>, Failure> {
    let mut alternatives = Vec::new();
    for (position, (kind, form)) in KINDS.into_iter().enumerate() {
        let mut others = typed.clone();
        let values = split(&std::mem::take(kind(&mut others)), form);
        // PIDs and the files that hold them are one kind.
        let has_fellows = match position {
            PID => !std::mem::take(&mut others.pidfile).is_empty(),
            PID_FILE => !std::mem::take(&mut others.pid).is_empty(),
            _ => false,
        };
        if (values.len() < 2 && !has_fellows) || values.len() > VALUES_MAX {
            continue;
        }
        for value in values {
            let mut one = others.clone();
            kind(&mut one).push(value.clone());
            if let Some(selector) = selector(&one, Descendants::Taken)? {
                alternatives.push(Alternative { value, selector });
            }
        }
    }
    Ok(alternatives)
}

/// Where [`KINDS`] has PIDs, and the files that hold them.
const PID: usize = 3;
const PID_FILE: usize = 4;

/// That nobody in the last sample has some of the values; `None` where each is somebody's.
pub(crate) fn unmatched(alternatives: &[Alternative], monitor: &Monitor) -> Option<String> {
    let unmatched: Vec<&Alternative> = alternatives
        .iter()
        .filter(|alternative| monitor.is_matched(&alternative.selector) == Verdict::No)
        .collect();
    let mut texts: Vec<String> = unmatched
        .iter()
        .take(NAMED_MAX)
        .map(|alternative| format!("`{}`", alternative.selector))
        .collect();
    if unmatched.is_empty() {
        return None;
    }
    if let Some(more) = unmatched.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        texts.push(format!("{more} more"));
    }
    let note = format!("no process matches {}", texts.join(" or "));
    let meant = unmatched.iter().find_map(|one| text_form::as_options(&one.value));
    Some(match meant {
        Some(options) => format!("{note}; did you mean `{options}`?"),
        None => note,
    })
}

fn split(values: &[OsString], form: Form) -> Vec<OsString> {
    let parts = |value: &OsString| -> Vec<OsString> {
        match form {
            Form::Single => vec![value.clone()],
            Form::List => value
                .as_bytes()
                .split(|byte| *byte == b',')
                .map(|part| OsStr::from_bytes(part).to_owned())
                .collect(),
        }
    };
    values.iter().flat_map(parts).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Command, Typed};

    fn check(typed: &[&str], expected: &[&str]) {
        let words = ["mpp", "show"].iter().chain(typed);
        let Some(Command::Show(show)) = Typed::try_parse_from(words).expect("arguments").command
        else {
            panic!("expected show");
        };
        let found = alternatives(&show.selection).expect("conditions");
        let texts: Vec<String> = found.iter().map(|one| one.selector.to_string()).collect();
        assert_eq!(texts, expected, "{typed:?}");
    }

    #[test]
    fn a_value_that_is_alone_in_its_kind_is_no_alternative() {
        check(&[], &[]);
        check(&["nginx", "-u", "max", "-e", "A", "-e", "B", "--unit", "a", "--cgroup", "/b"], &[]);
    }

    #[test]
    fn each_of_several_values_stands_with_the_conditions_of_other_kinds() {
        check(&["nginx", "php*", "-u", "7"], &["name:nginx user:7", "name:php* user:7"]);
        check(&["-p", "4,5", "-p", "6"], &["pid:4", "pid:5", "pid:6"]);
        check(&["-p", "4", "-F", "/x"], &["pid:4", "pidfile:/x"]);
        check(&["--port", "80,90-91"], &["port:80", "port:90-91"]);
        let too_many: Vec<String> = (1..=65).map(|pid| pid.to_string()).collect();
        check(&["-p", &too_many.join(",")], &[]);
    }
}
