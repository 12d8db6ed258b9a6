//! Why bytes were not what their manual page says.
//!
//! An error names the page, the field and the byte, so that a report from a
//! stranger's kernel can be acted on without its data. The trap: the byte that
//! was found may have been chosen by a process, so it is escaped, and no more
//! than that one byte of the input is ever repeated.

use core::fmt;

/// Bytes that do not follow their manual page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseError {
    /// The manual page with its section, `proc_pid_io(5)`.
    pub page: &'static str,
    /// The field in the page's own words; empty where no single field is meant.
    pub field: &'static str,
    /// Where, in bytes from the beginning of what was parsed.
    pub offset: usize,
    /// What was wrong there.
    pub kind: ErrorKind,
}

/// What was wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Another byte stands there.
    UnexpectedByte {
        /// What the page promises, with its article.
        expected: &'static str,
        /// What stands there.
        found: u8,
    },
    /// The bytes end there.
    UnexpectedEnd {
        /// What the page promises, with its article.
        expected: &'static str,
    },
    /// A number is larger than its field can be.
    Overflow {
        /// How many bits the field has.
        bits: u32,
    },
    /// The page ended without the field; the offset is the page's length.
    MissingField,
    /// The page has the field a second time, so one of the two is forged.
    DuplicateField,
    /// A message states a length that cannot be.
    InvalidLength {
        /// The shortest that could be.
        least: usize,
        /// The longest that could be; `usize::MAX` where only the shortest is known.
        most: usize,
        /// What it states.
        found: usize,
    },
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ParseError { page, field, offset, kind } = self;
        write!(f, "{page}: expected ")?;
        match kind {
            ErrorKind::UnexpectedByte { expected, .. } | ErrorKind::UnexpectedEnd { expected } => {
                f.write_str(expected)?;
            }
            ErrorKind::Overflow { bits } => write!(f, "a number of at most {bits} bits")?,
            ErrorKind::MissingField => return write!(f, "field `{field}`, but found none"),
            ErrorKind::DuplicateField => {
                return write!(f, "field `{field}` once, but found it again at byte {offset}");
            }
            ErrorKind::InvalidLength { least, most: usize::MAX, .. } => {
                write!(f, "a length of at least {least}")?;
            }
            ErrorKind::InvalidLength { least, most, .. } => {
                write!(f, "a length from {least} to {most}")?;
            }
        }
        if !field.is_empty() {
            write!(f, " in field `{field}`")?;
        }
        match kind {
            ErrorKind::UnexpectedByte { found, .. } => {
                write!(f, ", but found `{}` at byte {offset}", found.escape_ascii())
            }
            ErrorKind::InvalidLength { found, .. } => {
                write!(f, ", but found {found} at byte {offset}")
            }
            ErrorKind::Overflow { .. } => write!(f, ", but found a larger one at byte {offset}"),
            _ => write!(f, ", but the input ended at byte {offset}"),
        }
    }
}

impl core::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn check(field: &'static str, kind: ErrorKind, expected: &str) {
        let error = ParseError { page: "proc_pid_io(5)", field, offset: 7, kind };
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn says_page_field_byte_and_what_was_expected() {
        check(
            "rchar",
            ErrorKind::UnexpectedByte { expected: "a digit", found: b'x' },
            "proc_pid_io(5): expected a digit in field `rchar`, but found `x` at byte 7",
        );
        check(
            "rchar",
            ErrorKind::UnexpectedEnd { expected: "a digit" },
            "proc_pid_io(5): expected a digit in field `rchar`, but the input ended at byte 7",
        );
        check(
            "",
            ErrorKind::UnexpectedEnd { expected: "a line feed" },
            "proc_pid_io(5): expected a line feed, but the input ended at byte 7",
        );
        check(
            "rchar",
            ErrorKind::Overflow { bits: 64 },
            "proc_pid_io(5): expected a number of at most 64 bits in field `rchar`, \
             but found a larger one at byte 7",
        );
    }

    #[test]
    fn says_which_field_is_missing_or_stands_twice() {
        check(
            "wchar",
            ErrorKind::MissingField,
            "proc_pid_io(5): expected field `wchar`, but found none",
        );
        check(
            "wchar",
            ErrorKind::DuplicateField,
            "proc_pid_io(5): expected field `wchar` once, but found it again at byte 7",
        );
    }

    #[test]
    fn says_which_lengths_could_be() {
        check(
            "nlmsg_len",
            ErrorKind::InvalidLength { least: 16, most: 40, found: 3 },
            "proc_pid_io(5): expected a length from 16 to 40 in field `nlmsg_len`, \
             but found 3 at byte 7",
        );
        check(
            "inet_diag_msg",
            ErrorKind::InvalidLength { least: 72, most: usize::MAX, found: 3 },
            "proc_pid_io(5): expected a length of at least 72 in field `inet_diag_msg`, \
             but found 3 at byte 7",
        );
    }

    #[test]
    fn a_byte_that_would_move_the_cursor_is_escaped() {
        for (found, shown) in [(0x1b, "\\x1b"), (b'\n', "\\n"), (0xff, "\\xff"), (b'`', "`")] {
            check(
                "rchar",
                ErrorKind::UnexpectedByte { expected: "a digit", found },
                &std::format!(
                    "proc_pid_io(5): expected a digit in field `rchar`, \
                     but found `{shown}` at byte 7"
                ),
            );
        }
    }
}
