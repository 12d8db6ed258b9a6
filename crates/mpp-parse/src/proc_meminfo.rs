//! `/proc/meminfo`: the machine's memory, proc_meminfo(5).
//!
//! The trap: inside a container this is still the whole machine's.

use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::lines::{Lines, required};

const PAGE: &str = "proc_meminfo(5)";

/// Memory of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meminfo {
    /// Usable memory in bytes; the page says KiB: `MemTotal`.
    pub mem_total_bytes: u64,
}

/// Reads `meminfo`, or its beginning.
///
/// # Errors
/// `MemTotal` is missing, cut, or not a number of kB.
pub fn parse(bytes: &[u8]) -> Result<Meminfo, ParseError> {
    let mut mem_total = None;
    for line in Lines::new(PAGE, bytes) {
        if line.key == b"MemTotal" {
            line.store(&mut mem_total, "MemTotal", Cursor::kib_as_bytes)?;
        }
    }
    Ok(Meminfo { mem_total_bytes: required(mem_total, PAGE, bytes, "MemTotal")? })
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn check(page: &str, expected: Result<u64, &str>) {
        let found = parse(page.as_bytes())
            .map(|meminfo| meminfo.mem_total_bytes)
            .map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(ToString::to_string), "{page:?}");
    }

    #[test]
    fn reads_kib_as_bytes() {
        check("MemTotal:       24684092 kB\nMemFree:        2 kB\n", Ok(25_276_510_208));
        check("MemFree: 2 kB\nMemTotal: 1 kB\nMemAva", Ok(1024));
    }

    #[test]
    fn a_line_cut_anywhere_is_an_error() {
        let page = b"MemTotal:       24684092 kB\n";
        for length in 0..page.len() {
            assert!(parse(&page[..length]).is_err(), "{}", page[..length].escape_ascii());
        }
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        check("MemFree: 2 kB\n", Err("proc_meminfo(5): expected field `MemTotal`, but found none"));
        check(
            "MemTotal: 18446744073709551615 kB\n",
            Err("proc_meminfo(5): expected a number of at most 64 bits in field `MemTotal`, \
                 but found a larger one at byte 10"),
        );
    }
}
