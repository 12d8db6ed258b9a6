//! `/proc/<pid>/limits`: what a process may use, proc_pid_limits(5) and getrlimit(2).
//!
//! A table with columns of fixed width, whose rows are known by the words they begin
//! with. The trap: `unlimited` is a word there, and no number stands for it.

use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::lines::{Lines, required};

const PAGE: &str = "proc_pid_limits(5)";
const OPEN_FILES: &str = "Max open files";

/// Limits of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many file descriptors it may open: `Max open files`, `RLIMIT_NOFILE`.
    pub open_files: Limit,
}

/// One limit, in the unit of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds now; `u64::MAX` for `unlimited`, as `RLIM_INFINITY`.
    pub soft: u64,
    /// How far the process may raise it; `u64::MAX` for `unlimited`.
    pub hard: u64,
}

/// Reads a `limits` file.
///
/// # Errors
/// The row is missing, cut, there twice, or not what the page says.
pub fn parse(bytes: &[u8]) -> Result<Limits, ParseError> {
    let mut open_files = None;
    for line in Lines::new(PAGE, bytes) {
        if line.key.starts_with(OPEN_FILES.as_bytes()) {
            line.store_row(&mut open_files, OPEN_FILES, limit)?;
        }
    }
    Ok(Limits { open_files: required(open_files, PAGE, bytes, OPEN_FILES)? })
}

/// `    1024      unlimited      files   `
fn limit(cursor: &mut Cursor<'_>, field: &'static str) -> Result<Limit, ParseError> {
    let limit = Limit { soft: bound(cursor, field)?, hard: bound(cursor, field)? };
    cursor.expect(b' ', field, "a space")?;
    let rest = cursor.rest();
    cursor.advance(memchr::memchr(b'\n', rest).unwrap_or(rest.len()));
    Ok(limit)
}

/// A number or the word `unlimited`, with the blanks before it.
fn bound(cursor: &mut Cursor<'_>, field: &'static str) -> Result<u64, ParseError> {
    const UNLIMITED: &[u8] = b"unlimited";
    cursor.expect(b' ', field, "a space")?;
    cursor.skip_blanks();
    if cursor.rest().starts_with(UNLIMITED) {
        cursor.advance(UNLIMITED.len());
        return Ok(u64::MAX);
    }
    cursor.number(field)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    const WHOLE: &str = "\
Limit                     Soft Limit           Hard Limit           Units     \n\
Max cpu time              unlimited            unlimited            seconds   \n\
Max open files            1024                 524288               files     \n\
Max realtime timeout      unlimited            unlimited            us        \n";

    fn check(page: &str, expected: Result<(u64, u64), &str>) {
        let found = parse(page.as_bytes())
            .map(|limits| (limits.open_files.soft, limits.open_files.hard))
            .map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(ToString::to_string), "{page:?}");
    }

    #[test]
    fn reads_the_soft_and_the_hard_limit() {
        check(WHOLE, Ok((1024, 524_288)));
    }

    #[test]
    fn unlimited_is_larger_than_any_number() {
        check(&WHOLE.replace("524288   ", "unlimited"), Ok((1024, u64::MAX)));
        check(&WHOLE.replace("1024     ", "unlimited"), Ok((u64::MAX, 524_288)));
    }

    #[test]
    fn ignores_fields_a_later_kernel_appends() {
        check(&std::format!("{WHOLE}Max patience 3 x\n"), Ok((1024, 524_288)));
    }

    #[test]
    fn a_row_cut_anywhere_is_an_error() {
        let row = WHOLE.find("Max realtime").expect("it has the row");
        for length in 0..row {
            assert!(parse(&WHOLE.as_bytes()[..length]).is_err(), "{:?}", &WHOLE[..length]);
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        check("", Err("proc_pid_limits(5): expected field `Max open files`, but found none"));
        check(
            "Max open files            many       1 files\n",
            Err("proc_pid_limits(5): expected a digit in field `Max open files`, \
                 but found `m` at byte 26"),
        );
        check(
            "Max open files 1 2 files\nMax open files 1 2 files\n",
            Err("proc_pid_limits(5): expected field `Max open files` once, \
                 but found it again at byte 25"),
        );
    }
}
