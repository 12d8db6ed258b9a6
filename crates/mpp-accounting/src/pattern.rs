//! Globs and regular expressions over bytes, each within a bound.
//!
//! The text comes from a user, what it is matched against from any process: neither
//! can make a match slow or large. Globs become expressions of the same engine.

use globset::GlobBuilder;
use regex::bytes::{Regex, RegexBuilder};

/// Whether a word is a glob rather than itself.
#[must_use]
pub(crate) fn is_glob(word: &[u8]) -> bool {
    word.iter().any(|byte| b"*?[".contains(byte))
}

/// A compiled glob or regular expression that remembers its text.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: Box<str>,
    regex: Regex,
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Longer than any pattern may be.
    #[error("longer than {LENGTH_MAX} bytes")]
    TooLong,
    /// Not a glob.
    #[error(transparent)]
    Glob(globset::Error),
    /// Not a regular expression, or one that would take too much memory.
    #[error(transparent)]
    Regex(regex::Error),
}

/// No pattern's text is longer.
const LENGTH_MAX: usize = 4096;

/// No compiled pattern, and no cache of its matcher, is larger.
const SIZE_MAX: usize = 1 << 20;

impl Pattern {
    /// A glob that must match the whole; `*` matches any bytes, `/` and newlines too.
    pub(crate) fn glob(text: &str) -> Result<Self, PatternError> {
        if text.len() > LENGTH_MAX {
            return Err(PatternError::TooLong);
        }
        let glob = GlobBuilder::new(text).backslash_escape(true).build();
        let glob = glob.map_err(PatternError::Glob)?;
        Self::compile(text, glob.regex())
    }

    /// A regular expression that may match anywhere.
    pub(crate) fn regex(text: &str) -> Result<Self, PatternError> {
        if text.len() > LENGTH_MAX {
            return Err(PatternError::TooLong);
        }
        Self::compile(text, text)
    }

    fn compile(text: &str, expression: &str) -> Result<Self, PatternError> {
        let is_glob = !std::ptr::eq(text, expression);
        let regex = RegexBuilder::new(expression)
            .dot_matches_new_line(is_glob)
            .size_limit(SIZE_MAX)
            .dfa_size_limit(SIZE_MAX)
            .build()
            .map_err(PatternError::Regex)?;
        Ok(Pattern { text: text.into(), regex })
    }

    /// As it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it matches: a glob the whole, an expression anywhere.
    pub(crate) fn is_match(&self, bytes: &[u8]) -> bool {
        self.regex.is_match(bytes)
    }

    /// The names of its capture groups.
    pub(crate) fn capture_names(&self) -> impl Iterator<Item = &str> {
        self.regex.capture_names().flatten()
    }

    /// What a named group captured, or `None` where it took no part in a match.
    pub(crate) fn capture<'a>(&self, name: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
        Some(self.regex.captures(bytes)?.name(name)?.as_bytes())
    }
}

/// Patterns of the same text are the same.
impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(glob: &str, bytes: &[u8], expected: bool) {
        let pattern = Pattern::glob(glob).expect("a glob");
        assert_eq!(pattern.is_match(bytes), expected, "{glob} on {bytes:?}");
    }

    #[test]
    fn a_glob_matches_the_whole_and_any_bytes() {
        check("a*", b"a\n\xff/x", true);
        check("a*", b"ba", false);
        check("a?c", b"a\xffc", true);
        check("[!a]", b"b", true);
        check("/system.slice/*", b"/system.slice/a/b", true);
        check("a.c", b"abc", false);
        check(r"a\*", b"a*", true);
        check(r"a\*", b"ab", false);
    }

    #[test]
    fn refuses_what_would_take_too_much_memory() {
        assert!(matches!(Pattern::regex(r"(\w{500}){500}"), Err(PatternError::Regex(_))));
        assert_eq!(Pattern::regex(&"a".repeat(5000)), Err(PatternError::TooLong));
        assert_eq!(Pattern::glob(&"a".repeat(5000)), Err(PatternError::TooLong));
    }

    proptest! {
        #[test]
        fn any_text_is_a_pattern_or_an_error(text in any::<String>(), bytes in any::<Vec<u8>>()) {
            for pattern in [Pattern::glob(&text), Pattern::regex(&text)].into_iter().flatten() {
                pattern.is_match(&bytes);
            }
        }
    }

    #[test]
    fn nesting_is_an_error_before_it_is_a_panic() {
        let nested = |depth: usize, open: &str, close: &str| {
            format!("{}a{}", open.repeat(depth), close.repeat(depth))
        };
        for (open, close) in [("{", "}"), ("(", ")")] {
            for (depth, is_pattern) in [(1, true), (20, true), (300, false), (2000, false)] {
                let text = nested(depth, open, close);
                let pattern =
                    if open == "{" { Pattern::glob(&text) } else { Pattern::regex(&text) };
                assert_eq!(pattern.is_ok(), is_pattern, "{depth} of {open}");
            }
        }
    }
}
