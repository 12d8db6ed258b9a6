//! Decimal numbers as the kernel prints them.
//!
//! Digits only: no sign, no space, no separator. The trap is the silent wrap: a
//! number that does not fit is no number, never its lowest 64 bits.

/// A whole text of decimal digits, such as the name of a process's directory in
/// `/proc` or the content of a PID file without its line feed.
///
/// Returns `None` when the text is empty, holds anything but digits, or means a
/// number beyond 64 bits.
#[must_use]
pub fn decimal_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0, |value, byte| append_digit(value, *byte))
}

/// As [`decimal_u64`], for numbers of at most 32 bits: PIDs and users.
#[must_use]
pub fn decimal_u32(text: &[u8]) -> Option<u32> {
    u32::try_from(decimal_u64(text)?).ok()
}

/// The number with one more digit on the right, or `None` when the byte is no
/// digit or the number no longer fits.
pub(crate) fn append_digit(value: u64, byte: u8) -> Option<u64> {
    let digit = byte.wrapping_sub(b'0');
    if digit > 9 {
        return None;
    }
    value.checked_mul(10)?.checked_add(u64::from(digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<u64>) {
        assert_eq!(decimal_u64(text.as_bytes()), expected, "{text:?}");
    }

    #[test]
    fn reads_digits_and_nothing_else() {
        check("0", Some(0));
        check("007", Some(7));
        check("4194304", Some(4_194_304));
        for text in ["", "-1", "+1", " 1", "1 ", "1\n", "1_000", "0x10", "1e3", "\u{661}"] {
            check(text, None);
        }
    }

    #[test]
    fn a_number_beyond_64_bits_is_no_number() {
        check("18446744073709551615", Some(u64::MAX));
        check("18446744073709551616", None);
        check("184467440737095516150", None);
    }

    #[test]
    fn a_number_beyond_32_bits_is_no_pid() {
        assert_eq!(decimal_u32(b"4294967295"), Some(u32::MAX));
        assert_eq!(decimal_u32(b"4294967296"), None);
    }
}
