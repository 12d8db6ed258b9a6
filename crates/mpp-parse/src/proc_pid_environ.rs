//! `/proc/<pid>/environ`: a process's environment at its last exec, proc_pid_environ(5).
//!
//! `KEY=VALUE` entries, each ended by a NUL. The trap: what setenv(3) changes later
//! is not seen here, but setproctitle(3) and its like write a title over the entries
//! (redis, postgres, gunicorn), so a variable that was there seems gone. Such a page
//! can be told by entries that are not `KEY=VALUE`: [`is_clobbered`].

use crate::proc_pid_cmdline::{Arguments, arguments};

/// The variables, in order: entries of the form `KEY=VALUE` with a key. Others are
/// skipped. Of two equal keys both come; the first is the one that counts, getenv(3).
#[must_use]
pub fn variables(bytes: &[u8]) -> Variables<'_> {
    Variables { entries: arguments(bytes) }
}

/// The value of the first variable with this key; an empty value is a value.
///
/// Returns `None` when there is no such variable.
#[must_use]
pub fn lookup<'a>(bytes: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    variables(bytes).find(|(found, _)| *found == key).map(|(_, value)| value)
}

/// Whether something other than `KEY=VALUE` stands among the entries, so that absent
/// variables cannot be trusted to be absent.
///
/// A title that happens to read `KEY=VALUE` everywhere is not recognised.
#[must_use]
pub fn is_clobbered(bytes: &[u8]) -> bool {
    arguments(bytes).any(|entry| split(entry).is_none())
}

/// Iterator over pairs of key and value; see [`variables`].
#[derive(Clone, Debug)]
pub struct Variables<'a> {
    entries: Arguments<'a>,
}

impl<'a> Iterator for Variables<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.entries.find_map(split)
    }
}

impl core::iter::FusedIterator for Variables<'_> {}

/// Key and value at the first `=`; an entry without one, or without a key, has neither.
fn split(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let equals = memchr::memchr(b'=', entry).filter(|at| *at > 0)?;
    Some((entry.get(..equals)?, entry.get(equals.saturating_add(1)..)?))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn check(bytes: &str, expected: &[(&str, &str)]) {
        let found: Vec<_> = variables(bytes.as_bytes()).collect();
        let expected: Vec<_> =
            expected.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes())).collect();
        assert_eq!(found, expected, "{bytes:?}");
    }

    #[test]
    fn a_key_ends_at_the_first_equals_sign() {
        check("A=1\0B=x=y\0C=\0", &[("A", "1"), ("B", "x=y"), ("C", "")]);
        check("A=\n\x1b\0", &[("A", "\n\x1b")]);
        check("", &[]);
    }

    #[test]
    fn entries_that_are_not_variables_are_skipped() {
        check("title\0=x\0\0A=1\0", &[("A", "1")]);
    }

    #[test]
    fn the_last_variable_may_lack_its_nul() {
        check("A=1\0B=2", &[("A", "1"), ("B", "2")]);
    }

    #[test]
    fn the_first_of_two_equal_keys_wins() {
        let page = b"AB=0\0A=1\0A=2\0B=\0";
        assert_eq!(lookup(page, b"A"), Some(b"1".as_slice()));
        assert_eq!(lookup(page, b"B"), Some(b"".as_slice()));
        assert_eq!(lookup(page, b"C"), None);
        assert_eq!(lookup(page, b""), None);
        assert_eq!(lookup(page, b"A="), None);
    }

    #[test]
    fn a_title_over_the_environment_shows() {
        for (page, expected) in [
            ("", false),
            ("A=1\0B=2\0", false),
            ("A=1\0B=2", false),
            (" worker 3\0B=2\0", true),
            ("\0\0\0\0\0", true),
            ("A=1\0\0\0", true),
            ("A=1\0=2\0", true),
        ] {
            assert_eq!(is_clobbered(page.as_bytes()), expected, "{page:?}");
        }
    }
}
