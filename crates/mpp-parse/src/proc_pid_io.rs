//! `/proc/<pid>/io` and `/proc/<pid>/task/<tid>/io`: what was read and written,
//! proc_pid_io(5).
//!
//! The kernel adds a child's counters to its parent's at the moment the parent
//! waits for the child. A process's record therefore cannot tell what the process
//! moved itself; a thread's record, of the same form, never receives a child's.

use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::lines::{Lines, required};

const PAGE: &str = "proc_pid_io(5)";

/// I/O of one process or one thread. All counters only grow while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Io {
    /// Bytes handed out by read(2) and its like, page cache included.
    pub rchar: u64,
    /// Bytes taken in by write(2) and its like.
    pub wchar: u64,
    /// System calls that read.
    pub syscr: u64,
    /// System calls that write.
    pub syscw: u64,
    /// Bytes fetched from the storage layer.
    pub read_bytes: u64,
    /// Bytes to be sent to the storage layer, counted when a page is first dirtied.
    pub write_bytes: u64,
    /// Bytes that were dirtied and then truncated away before they reached storage.
    pub cancelled_write_bytes: u64,
}

/// Reads an `io` file; the order of its lines does not matter, and lines that a later
/// kernel appends are ignored.
///
/// # Errors
/// One of the seven counters is missing, cut, there twice, or not a number.
pub fn parse(bytes: &[u8]) -> Result<Io, ParseError> {
    let (mut rchar, mut wchar, mut syscr, mut syscw) = (None, None, None, None);
    let (mut read_bytes, mut write_bytes, mut cancelled_write_bytes) = (None, None, None);
    for line in Lines::new(PAGE, bytes) {
        let (slot, field) = match line.key {
            b"rchar" => (&mut rchar, "rchar"),
            b"wchar" => (&mut wchar, "wchar"),
            b"syscr" => (&mut syscr, "syscr"),
            b"syscw" => (&mut syscw, "syscw"),
            b"read_bytes" => (&mut read_bytes, "read_bytes"),
            b"write_bytes" => (&mut write_bytes, "write_bytes"),
            b"cancelled_write_bytes" => (&mut cancelled_write_bytes, "cancelled_write_bytes"),
            _ => continue,
        };
        line.store(slot, field, Cursor::number)?;
    }
    let required = |slot, field| required(slot, PAGE, bytes, field);
    Ok(Io {
        rchar: required(rchar, "rchar")?,
        wchar: required(wchar, "wchar")?,
        syscr: required(syscr, "syscr")?,
        syscw: required(syscw, "syscw")?,
        read_bytes: required(read_bytes, "read_bytes")?,
        write_bytes: required(write_bytes, "write_bytes")?,
        cancelled_write_bytes: required(cancelled_write_bytes, "cancelled_write_bytes")?,
    })
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    const WHOLE: &str = "rchar: 6976\nwchar: 1\nsyscr: 10\nsyscw: 2\nread_bytes: 4096\n\
        write_bytes: 8192\ncancelled_write_bytes: 3\n";

    const EXPECTED: Io = Io {
        rchar: 6976,
        wchar: 1,
        syscr: 10,
        syscw: 2,
        read_bytes: 4096,
        write_bytes: 8192,
        cancelled_write_bytes: 3,
    };

    fn check(page: &str, expected: Result<Io, &str>) {
        let found = parse(page.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(ToString::to_string), "{page:?}");
    }

    #[test]
    fn reads_all_seven_counters() {
        check(WHOLE, Ok(EXPECTED));
    }

    #[test]
    fn the_order_of_the_lines_does_not_matter() {
        let mut lines: std::vec::Vec<_> = WHOLE.split_inclusive('\n').collect();
        lines.reverse();
        check(&lines.concat(), Ok(EXPECTED));
    }

    #[test]
    fn ignores_fields_a_later_kernel_appends() {
        check(&std::format!("{WHOLE}swapped_bytes: many\nrchars: 9\n\n"), Ok(EXPECTED));
    }

    #[test]
    fn a_page_cut_anywhere_is_an_error() {
        for length in 0..WHOLE.len() {
            assert!(parse(&WHOLE.as_bytes()[..length]).is_err(), "{:?}", &WHOLE[..length]);
        }
    }

    #[test]
    fn counters_reach_the_largest_number_and_no_further() {
        let with = |rchar: &str| WHOLE.replace("6976", rchar);
        check(&with("18446744073709551615"), Ok(Io { rchar: u64::MAX, ..EXPECTED }));
        check(
            &with("18446744073709551616"),
            Err("proc_pid_io(5): expected a number of at most 64 bits in field `rchar`, \
                 but found a larger one at byte 7"),
        );
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        check(
            &WHOLE.replace("6976", "x"),
            Err("proc_pid_io(5): expected a digit in field `rchar`, but found `x` at byte 7"),
        );
        check(
            &WHOLE.replace("wchar: 1\n", ""),
            Err("proc_pid_io(5): expected field `wchar`, but found none"),
        );
        check(
            &std::format!("{WHOLE}rchar: 1\n"),
            Err("proc_pid_io(5): expected field `rchar` once, but found it again at byte 100"),
        );
        check("", Err("proc_pid_io(5): expected field `rchar`, but found none"));
    }
}
