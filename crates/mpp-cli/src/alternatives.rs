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

/// Every kind of which any value will do: whether commas stand between its values, and what else
/// holds values of the same kind.
const KINDS: [(Kind, Form, Option<Kind>); 9] = [
    (|typed| &mut typed.names, Form::Single, None),
    (|typed| &mut typed.user, Form::List, None),
    (|typed| &mut typed.cmdline, Form::Single, None),
    (PIDS, Form::List, Some(PID_FILES)),
    (PID_FILES, Form::Single, Some(PIDS)),
    (|typed| &mut typed.port, Form::List, None),
    (|typed| &mut typed.children_of, Form::Single, None),
    (|typed| &mut typed.unit, Form::Single, None),
    (|typed| &mut typed.cgroup, Form::Single, None),
];

const PIDS: Kind = |typed| &mut typed.pid;
const PID_FILES: Kind = |typed| &mut typed.pidfile;

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
    for (kind, form, fellow) in KINDS {
        let mut others = typed.clone();
        let values = split(&std::mem::take(kind(&mut others)), form);
        let fellows = fellow.map(|fellow| std::mem::take(fellow(&mut others)));
        let has_fellows = fellows.is_some_and(|fellows| !fellows.is_empty());
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

/// The values of one kind, each once; of too many no more than it takes to see that.
fn split(typed: &[OsString], form: Form) -> Vec<OsString> {
    let mut values: Vec<OsString> = Vec::new();
    for text in typed {
        let is_end = |byte: &u8| form == Form::List && *byte == b',';
        for value in text.as_bytes().split(is_end).map(OsStr::from_bytes) {
            if values.len() > VALUES_MAX {
                return values;
            }
            if !values.iter().any(|known| known == value) {
                values.push(value.to_owned());
            }
        }
    }
    values
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
        check(&["nginx", "nginx"], &[]);
        check(&["nginx", "-u", "max", "-e", "A", "-e", "B", "--unit", "a", "--cgroup", "/b"], &[]);
    }

    #[test]
    fn each_of_several_values_stands_with_the_conditions_of_other_kinds() {
        check(&["nginx", "php*", "-u", "7"], &["name:nginx user:7", "name:php* user:7"]);
        check(&["-p", "4,5", "-p", "6,5"], &["pid:4", "pid:5", "pid:6"]);
        check(&["-p", "4", "-F", "/x"], &["pid:4", "pidfile:/x"]);
        check(&["--port", "80,90-91"], &["port:80", "port:90-91"]);
        let too_many: Vec<String> = (1..=65).map(|pid| pid.to_string()).collect();
        check(&["-p", &too_many.join(",")], &[]);
    }
}
