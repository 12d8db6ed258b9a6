//! Pages of the form `key: value`, one to a line.
//!
//! A key counts only at the beginning of a line and up to the line's first colon.
//! The trap: the first line of proc_pid_status(5) carries a name that the process
//! chose, so a search for `Uid:` anywhere in the page would find a forged one.

use crate::cursor::Cursor;
use crate::error::{ErrorKind, ParseError};

/// The lines of a page, a cut last one included.
pub(crate) struct Lines<'a> {
    rest: Cursor<'a>,
}

/// One line of a page.
pub(crate) struct Line<'a> {
    /// What stands before the first colon; the whole line where there is none.
    pub(crate) key: &'a [u8],
    start: Cursor<'a>,
}

impl<'a> Lines<'a> {
    /// All lines of a page.
    pub(crate) fn new(page: &'static str, bytes: &'a [u8]) -> Self {
        Lines { rest: Cursor::new(page, bytes) }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let rest = self.rest.rest();
        if rest.is_empty() {
            return None;
        }
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let text = rest.get(..length).unwrap_or_default();
        let key_length = memchr::memchr(b':', text).unwrap_or(length);
        let line =
            Line { key: rest.get(..key_length).unwrap_or_default(), start: self.rest.clone() };
        self.rest.advance(length.saturating_add(1));
        Some(line)
    }
}

impl<'a> Line<'a> {
    /// Reads the value after the key and its colon, which must reach to the end of the
    /// line, into `slot`.
    ///
    /// # Errors
    /// A value that `read` refuses, that is cut, or that stands here a second time.
    pub(crate) fn store<T>(
        &self,
        slot: &mut Option<T>,
        field: &'static str,
        read: impl FnOnce(&mut Cursor<'a>, &'static str) -> Result<T, ParseError>,
    ) -> Result<(), ParseError> {
        self.store_from(self.key.len(), slot, field, |cursor, field| {
            cursor.expect(b':', field, "a colon")?;
            cursor.skip_blanks();
            read(cursor, field)
        })
    }

    /// As [`Line::store`], for a line that begins with the field's name and has no colon.
    pub(crate) fn store_row<T>(
        &self,
        slot: &mut Option<T>,
        field: &'static str,
        read: impl FnOnce(&mut Cursor<'a>, &'static str) -> Result<T, ParseError>,
    ) -> Result<(), ParseError> {
        self.store_from(field.len(), slot, field, read)
    }

    fn store_from<T>(
        &self,
        key_length: usize,
        slot: &mut Option<T>,
        field: &'static str,
        read: impl FnOnce(&mut Cursor<'a>, &'static str) -> Result<T, ParseError>,
    ) -> Result<(), ParseError> {
        if slot.is_some() {
            return Err(self.start.error(field, ErrorKind::DuplicateField));
        }
        let mut cursor = self.start.clone();
        cursor.advance(key_length);
        let value = read(&mut cursor, field)?;
        cursor.expect_line_feed(field)?;
        *slot = Some(value);
        Ok(())
    }
}

/// The value of a field that a page must have.
///
/// # Errors
/// There is none.
pub(crate) fn required<T>(
    slot: Option<T>,
    page: &'static str,
    bytes: &[u8],
    field: &'static str,
) -> Result<T, ParseError> {
    slot.ok_or(ParseError { page, field, offset: bytes.len(), kind: ErrorKind::MissingField })
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn check(page: &str, expected: &[&str]) {
        let keys: Vec<_> = Lines::new("page(5)", page.as_bytes()).map(|line| line.key).collect();
        let expected: Vec<_> = expected.iter().map(|key| key.as_bytes()).collect();
        assert_eq!(keys, expected, "{page:?}");
    }

    #[test]
    fn a_key_ends_at_the_first_colon_of_its_line() {
        check("Name:\tUid:\t0\nUid:\t1\n", &["Name", "Uid"]);
        check("no colon\n\nlast: 1", &["no colon", "", "last"]);
        check("", &[]);
    }

    #[test]
    fn a_value_must_reach_to_the_line_feed() {
        let read = |page: &str| {
            let mut slot = None;
            let line = Lines::new("page(5)", page.as_bytes()).next().expect("a line");
            line.store(&mut slot, "key", Cursor::number).map(|()| slot)
        };
        assert_eq!(read("key:\t 12\n"), Ok(Some(12)));
        assert!(read("key: 12").is_err());
        assert!(read("key: 12 \n").is_err());
        assert!(read("key\n").is_err());
    }
}
