//! A place in a page's bytes, and the errors that name it.
//!
//! Everything that reads text forward does so through here, so that every error
//! carries page, field and byte in the same way. The cursor never leaves the
//! bytes: past their end there is nothing to peek at.

use crate::error::{ErrorKind, ParseError};
use crate::number::append_digit;

/// A place in the bytes of one page.
#[derive(Clone, Debug)]
pub(crate) struct Cursor<'a> {
    page: &'static str,
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    /// The beginning of a page.
    pub(crate) fn new(page: &'static str, bytes: &'a [u8]) -> Self {
        Cursor { page, bytes, position: 0 }
    }

    /// What is still ahead.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.position..).unwrap_or_default()
    }

    /// The next byte, which stays the next.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    /// Leaves `count` bytes behind, but never the page.
    pub(crate) fn advance(&mut self, count: usize) {
        self.position = self.position.saturating_add(count).min(self.bytes.len());
    }

    /// Leaves spaces and tabs behind.
    pub(crate) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.advance(1);
        }
    }

    /// The bytes before the next `delimiter`, leaving both behind. The delimiter
    /// must come before the line ends.
    pub(crate) fn until(
        &mut self,
        delimiter: u8,
        field: &'static str,
        expected: &'static str,
    ) -> Result<&'a [u8], ParseError> {
        let rest = self.rest();
        let length = memchr::memchr2(delimiter, b'\n', rest).unwrap_or(rest.len());
        self.advance(length);
        self.expect(delimiter, field, expected)?;
        Ok(rest.get(..length).unwrap_or_default())
    }

    /// Leaves one given byte behind; `expected` names it in the error.
    pub(crate) fn expect(
        &mut self,
        byte: u8,
        field: &'static str,
        expected: &'static str,
    ) -> Result<(), ParseError> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected(field, expected));
        }
        self.advance(1);
        Ok(())
    }

    /// Leaves a line feed behind, the proof that the value before it is whole.
    pub(crate) fn expect_line_feed(&mut self, field: &'static str) -> Result<(), ParseError> {
        self.expect(b'\n', field, "a line feed")
    }

    /// A decimal number without a sign.
    pub(crate) fn number(&mut self, field: &'static str) -> Result<u64, ParseError> {
        let start = self.position;
        let mut value = 0;
        while let Some(byte @ b'0'..=b'9') = self.peek() {
            value = append_digit(value, byte).ok_or_else(|| self.overflow(field, start, 64))?;
            self.advance(1);
        }
        if self.position == start {
            return Err(self.unexpected(field, "a digit"));
        }
        Ok(value)
    }

    /// A decimal number of at most 32 bits without a sign.
    pub(crate) fn number_u32(&mut self, field: &'static str) -> Result<u32, ParseError> {
        let start = self.position;
        let value = self.number(field)?;
        u32::try_from(value).map_err(|_| self.overflow(field, start, 32))
    }

    /// A decimal number that may bear a minus.
    pub(crate) fn signed(&mut self, field: &'static str) -> Result<i64, ParseError> {
        let start = self.position;
        if self.peek() == Some(b'-') {
            self.advance(1);
            let magnitude = self.number(field)?;
            0_i64.checked_sub_unsigned(magnitude).ok_or_else(|| self.overflow(field, start, 64))
        } else {
            let magnitude = self.number(field)?;
            i64::try_from(magnitude).map_err(|_| self.overflow(field, start, 64))
        }
    }

    /// A decimal number that may bear a minus; what is below zero counts as zero.
    pub(crate) fn number_or_zero(&mut self, field: &'static str) -> Result<u64, ParseError> {
        let is_negative = self.peek() == Some(b'-');
        if is_negative {
            self.advance(1);
        }
        let magnitude = self.number(field)?;
        Ok(if is_negative { 0 } else { magnitude })
    }

    /// As [`Cursor::number_or_zero`], of at most 32 bits.
    pub(crate) fn number_or_zero_u32(&mut self, field: &'static str) -> Result<u32, ParseError> {
        let start = self.position;
        let value = self.number_or_zero(field)?;
        u32::try_from(value).map_err(|_| self.overflow(field, start, 32))
    }

    /// As [`Cursor::signed`], of at most 32 bits.
    pub(crate) fn signed_i32(&mut self, field: &'static str) -> Result<i32, ParseError> {
        let start = self.position;
        let value = self.signed(field)?;
        i32::try_from(value).map_err(|_| self.overflow(field, start, 32))
    }

    /// A number of at most 16 hexadecimal digits, as the kernel prints masks.
    pub(crate) fn hexadecimal(&mut self, field: &'static str) -> Result<u64, ParseError> {
        let start = self.position;
        let mut value = 0_u64;
        while let Some(digit) = self.peek().and_then(|byte| char::from(byte).to_digit(16)) {
            if value >> 60 != 0 {
                return Err(self.overflow(field, start, 64));
            }
            value = value << 4 | u64::from(digit);
            self.advance(1);
        }
        if self.position == start {
            return Err(self.unexpected(field, "a hexadecimal digit"));
        }
        Ok(value)
    }

    /// A number of KiB with its unit, `   1520 kB`, in bytes.
    pub(crate) fn kib_as_bytes(&mut self, field: &'static str) -> Result<u64, ParseError> {
        let start = self.position;
        let kib = self.number(field)?;
        for byte in *b" kB" {
            self.expect(byte, field, "the unit kB")?;
        }
        kib.checked_mul(1024).ok_or_else(|| self.overflow(field, start, 64))
    }

    /// The error that something else stands here, or nothing at all.
    pub(crate) fn unexpected(&self, field: &'static str, expected: &'static str) -> ParseError {
        let kind = match self.peek() {
            Some(found) => ErrorKind::UnexpectedByte { expected, found },
            None => ErrorKind::UnexpectedEnd { expected },
        };
        self.error(field, kind)
    }

    /// An error at this place.
    pub(crate) fn error(&self, field: &'static str, kind: ErrorKind) -> ParseError {
        ParseError { page: self.page, field, offset: self.position, kind }
    }

    fn overflow(&self, field: &'static str, offset: usize, bits: u32) -> ParseError {
        ParseError { page: self.page, field, offset, kind: ErrorKind::Overflow { bits } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<'a, T: Copy + PartialEq + core::fmt::Debug>(
        read: fn(&mut Cursor<'a>, &'static str) -> Result<T, ParseError>,
        text: &'a str,
        expected: Result<T, (usize, ErrorKind)>,
    ) {
        let found = read(&mut Cursor::new("page(5)", text.as_bytes()), "field");
        assert_eq!(found.map_err(|error| (error.offset, error.kind)), expected, "{text:?}");
    }

    const NO_DIGIT: ErrorKind = ErrorKind::UnexpectedEnd { expected: "a digit" };

    #[test]
    fn a_number_ends_where_its_digits_end() {
        check(Cursor::number, "12 34", Ok(12));
        check(Cursor::number, "18446744073709551615", Ok(u64::MAX));
        check(Cursor::number, "18446744073709551616", Err((0, ErrorKind::Overflow { bits: 64 })));
        check(Cursor::number, "", Err((0, NO_DIGIT)));
        check(Cursor::number_u32, "4294967296", Err((0, ErrorKind::Overflow { bits: 32 })));
    }

    #[test]
    fn a_signed_number_reaches_both_ends_of_its_range() {
        check(Cursor::signed, "-9223372036854775808", Ok(i64::MIN));
        check(Cursor::signed, "9223372036854775807", Ok(i64::MAX));
        check(Cursor::signed, "-9223372036854775809", Err((0, ErrorKind::Overflow { bits: 64 })));
        check(Cursor::signed, "9223372036854775808", Err((0, ErrorKind::Overflow { bits: 64 })));
        check(Cursor::signed, "-", Err((1, NO_DIGIT)));
    }

    #[test]
    fn a_mask_is_hexadecimal() {
        check(Cursor::hexadecimal, "0000000180014a07\n", Ok(0x1_8001_4a07));
        check(Cursor::hexadecimal, "ffffffffffffffff", Ok(u64::MAX));
        check(Cursor::hexadecimal, "10000000000000000", Err((0, ErrorKind::Overflow { bits: 64 })));
        let no_digit = ErrorKind::UnexpectedEnd { expected: "a hexadecimal digit" };
        check(Cursor::hexadecimal, "", Err((0, no_digit)));
    }

    #[test]
    fn below_zero_counts_as_zero() {
        check(Cursor::number_or_zero, "-17", Ok(0));
        check(Cursor::number_or_zero, "18446744073709551615", Ok(u64::MAX));
    }

    #[test]
    fn kib_that_do_not_fit_as_bytes_are_no_number() {
        check(Cursor::kib_as_bytes, "3 kB", Ok(3072));
        check(Cursor::kib_as_bytes, "18014398509481983 kB", Ok(18_446_744_073_709_550_592));
        check(
            Cursor::kib_as_bytes,
            "18014398509481984 kB",
            Err((0, ErrorKind::Overflow { bits: 64 })),
        );
        check(
            Cursor::kib_as_bytes,
            "3 k",
            Err((3, ErrorKind::UnexpectedEnd { expected: "the unit kB" })),
        );
    }
}
