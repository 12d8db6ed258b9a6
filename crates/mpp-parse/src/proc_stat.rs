//! `/proc/stat`: when the machine was booted, proc_stat(5).
//!
//! The trap: the line `intr` before it grows with the machine and can exceed a page
//! of memory, so that a short read ends before `btime`. And the number is rounded to
//! seconds and moves when the clock is set: good for showing, not for telling
//! processes apart.

use crate::error::ParseError;
use crate::lines::{Lines, required};

const PAGE: &str = "proc_stat(5)";

/// What is needed of the machine's statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineStat {
    /// When the machine was booted, in seconds since 1970-01-01T00:00:00Z: `btime`.
    pub btime_unix_seconds: u64,
}

/// Reads `/proc/stat`.
///
/// # Errors
/// `btime` is missing, cut, there twice, or not a number.
pub fn parse(bytes: &[u8]) -> Result<MachineStat, ParseError> {
    let mut btime = None;
    for line in Lines::new(PAGE, bytes) {
        if line.key.starts_with(b"btime ") {
            line.store_row(&mut btime, "btime", |cursor, field| {
                cursor.skip_blanks();
                cursor.number(field)
            })?;
        }
    }
    Ok(MachineStat { btime_unix_seconds: required(btime, PAGE, bytes, "btime")? })
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn check(page: &str, expected: Result<u64, &str>) {
        let found = parse(page.as_bytes())
            .map(|stat| stat.btime_unix_seconds)
            .map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(ToString::to_string), "{page:?}");
    }

    #[test]
    fn reads_the_boot_time() {
        check("cpu  1 2 3\nintr 9 0 0\nctxt 3\nbtime 1795413223\nprocesses 7\n", Ok(1_795_413_223));
        check("btimes 1\nbtime 2\n", Ok(2));
    }

    #[test]
    fn a_line_cut_anywhere_is_an_error() {
        let page = b"cpu 1\nbtime 1795413223\n";
        for length in 0..page.len() {
            assert!(parse(&page[..length]).is_err(), "{}", page[..length].escape_ascii());
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        check("cpu 1\n", Err("proc_stat(5): expected field `btime`, but found none"));
        check(
            "btime -1\n",
            Err("proc_stat(5): expected a digit in field `btime`, but found `-` at byte 6"),
        );
    }
}
