//! `/proc/<pid>/statm`: memory in pages, proc_pid_statm(5).
//!
//! The trap: a zombie, a kernel thread and a process whose main thread has exited
//! all print zeros, though the last may hold gigabytes; read that one through
//! `/proc/<pid>/task/<living tid>/statm`.

use crate::cursor::Cursor;
use crate::error::ParseError;

const PAGE: &str = "proc_pid_statm(5)";

/// Memory of one process, each number in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statm {
    /// Address space.
    pub size_pages: u64,
    /// Resident pages, shared ones included whole.
    pub resident_pages: u64,
    /// Resident pages backed by files or shared memory.
    pub shared_pages: u64,
    /// Code.
    pub text_pages: u64,
    /// Libraries; always 0 since Linux 2.6.
    pub lib_pages: u64,
    /// Data and stack.
    pub data_pages: u64,
    /// Dirty pages; always 0 since Linux 2.6.
    pub dt_pages: u64,
}

/// Reads the one line of a `statm` file; numbers that later kernels append are ignored.
///
/// # Errors
/// The line is cut, or holds something that is not a number.
pub fn parse(bytes: &[u8]) -> Result<Statm, ParseError> {
    let mut cursor = Cursor::new(PAGE, bytes);
    let statm = Statm {
        size_pages: cursor.number("size")?,
        resident_pages: next(&mut cursor, "resident")?,
        shared_pages: next(&mut cursor, "shared")?,
        text_pages: next(&mut cursor, "text")?,
        lib_pages: next(&mut cursor, "lib")?,
        data_pages: next(&mut cursor, "data")?,
        dt_pages: next(&mut cursor, "dt")?,
    };
    if cursor.peek() == Some(b' ') {
        let rest = cursor.rest();
        cursor.advance(memchr::memchr(b'\n', rest).unwrap_or(rest.len()));
    }
    cursor.expect_line_feed("dt")?;
    Ok(statm)
}

fn next(cursor: &mut Cursor<'_>, field: &'static str) -> Result<u64, ParseError> {
    cursor.expect(b' ', field, "a space")?;
    cursor.number(field)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn check(page: &str, expected: Result<[u64; 7], &str>) {
        let found = parse(page.as_bytes()).map(|statm| {
            [
                statm.size_pages,
                statm.resident_pages,
                statm.shared_pages,
                statm.text_pages,
                statm.lib_pages,
                statm.data_pages,
                statm.dt_pages,
            ]
        });
        assert_eq!(found.map_err(|error| error.to_string()), expected.map_err(ToString::to_string));
    }

    #[test]
    fn reads_seven_numbers_in_their_order() {
        check("765 422 394 5 0 123 0\n", Ok([765, 422, 394, 5, 0, 123, 0]));
    }

    #[test]
    fn ignores_fields_a_later_kernel_appends() {
        check("7 6 5 4 3 2 1 0 x\n", Ok([7, 6, 5, 4, 3, 2, 1]));
    }

    #[test]
    fn numbers_reach_64_bits_and_no_further() {
        check("18446744073709551615 1 1 1 1 1 1\n", Ok([u64::MAX, 1, 1, 1, 1, 1, 1]));
        check(
            "1 18446744073709551616 1 1 1 1 1\n",
            Err("proc_pid_statm(5): expected a number of at most 64 bits in field `resident`, \
                 but found a larger one at byte 2"),
        );
    }

    #[test]
    fn a_page_cut_anywhere_is_an_error() {
        let page = b"765 422 394 5 0 123 10\n";
        for length in 0..page.len() {
            assert!(parse(&page[..length]).is_err(), "{}", page[..length].escape_ascii());
        }
    }

    #[test]
    fn says_where_a_number_is_none() {
        check(
            "765 -1 394 5 0 123 0\n",
            Err("proc_pid_statm(5): expected a digit in field `resident`, \
                 but found `-` at byte 4"),
        );
        check(
            "765  422 394 5 0 123 0\n",
            Err("proc_pid_statm(5): expected a digit in field `resident`, \
                 but found ` ` at byte 4"),
        );
    }
}
