//! What is wrong with a selector or a group key.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use crate::pattern::{Pattern, PatternError};

/// A selector or a group key that says nothing: what was expected, and what was found.
///
/// The message is one line; [`SelectorError::hint`] says what to do about it, and the
/// source, where there is one, what is wrong with a pattern.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SelectorError(Box<Finding>);

#[derive(Clone, Debug, PartialEq)]
struct Finding {
    what: &'static str,
    expected: Cow<'static, str>,
    found: String,
    at: Option<usize>,
    hint: Option<String>,
    cause: Option<PatternError>,
}

impl SelectorError {
    pub(super) fn new(expected: impl Into<Cow<'static, str>>, found: &[u8]) -> Self {
        SelectorError(Box::new(Finding {
            what: "selector",
            expected: expected.into(),
            found: quoted(found),
            at: None,
            hint: None,
            cause: None,
        }))
    }

    /// The same, of a group key.
    pub(super) fn of_group_key(mut self) -> Self {
        self.0.what = "group key";
        self
    }

    /// The same, found at this byte of the text form.
    pub(super) fn at(mut self, at: usize) -> Self {
        self.0.at = Some(at);
        self
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The same, asking whether another word was meant.
    pub(super) fn did_you_mean(self, word: Option<impl fmt::Display>) -> Self {
        match word {
            Some(word) => self.with_hint(format!("did you mean `{word}`?")),
            None => self,
        }
    }

    pub(super) fn caused_by(mut self, cause: PatternError) -> Self {
        self.0.cause = Some(cause);
        self
    }

    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The message without the word before it that says of what it speaks: for who says so already,
    /// as the name of an option does.
    #[must_use]
    pub fn finding(&self) -> String {
        let Finding { expected, found, at, .. } = self.0.as_ref();
        let finding = format!("expected {expected}, but found {found}");
        match at {
            Some(at) => format!("{finding} at byte {at}"),
            None => finding,
        }
    }

    /// The byte of the text form at which it was found; `None` outside of a text form.
    #[must_use]
    pub fn position(&self) -> Option<usize> {
        self.0.at
    }
}

impl fmt::Display for SelectorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.what, self.finding())
    }
}

impl Error for SelectorError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.cause.as_ref().map(|cause| cause as &(dyn Error + 'static))
    }
}

/// A pattern is written as text, whatever it matches.
pub(super) fn as_text<'a>(
    bytes: &'a [u8],
    expected: &'static str,
) -> Result<&'a str, SelectorError> {
    std::str::from_utf8(bytes)
        .map_err(|_| SelectorError::new(expected, bytes).with_hint("a pattern is UTF-8 text"))
}

pub(super) fn glob(bytes: &[u8], expected: &'static str) -> Result<Pattern, SelectorError> {
    let text = as_text(bytes, expected)?;
    Pattern::glob(text).map_err(|cause| SelectorError::new(expected, bytes).caused_by(cause))
}

/// No more of what was found is shown.
const FOUND_LENGTH_MAX: usize = 60;

/// What was found, in backticks, printable and on one line.
fn quoted(found: &[u8]) -> String {
    if found.is_empty() {
        return "nothing".to_owned();
    }
    let shown = &found[..found.len().min(FOUND_LENGTH_MAX)];
    let dots = if shown.len() < found.len() { "..." } else { "" };
    let mut text = String::new();
    push_printable(&mut text, shown);
    format!("`{text}{dots}`")
}

/// Bytes as text on one line: control characters and what is not UTF-8 as `\xHH`.
pub(super) fn push_printable(text: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter.is_control() {
                let mut encoded = [0; 4];
                push_hexadecimal(text, letter.encode_utf8(&mut encoded).as_bytes());
            } else {
                text.push(letter);
            }
        }
        push_hexadecimal(text, chunk.invalid());
    }
}

fn push_hexadecimal(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        text.push_str("\\x");
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
        }
    }
}
