//! `/proc/<pid>/smaps_rollup`: memory with shared pages divided, proc_pid_smaps_rollup(5).
//!
//! The trap is the reading itself: the kernel walks the process's page tables with
//! its mmap lock held, which stalls the process and, where it holds that lock,
//! blocks the reader for ever. Never read it on the measuring path.

use crate::cursor::Cursor;
use crate::error::ParseError;
use crate::lines::{Lines, required};

const PAGE: &str = "proc_pid_smaps_rollup(5)";

/// Memory of one process, summed over its mappings, in bytes: the page says KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SmapsRollup {
    /// Resident memory, shared pages included whole: `Rss`.
    pub rss_bytes: u64,
    /// Resident memory, each shared page divided by the number of those who share it: `Pss`.
    pub pss_bytes: u64,
    /// Resident memory that nobody shares, as it is in its file: `Private_Clean`.
    pub private_clean_bytes: u64,
    /// Resident memory that nobody shares, changed or anonymous: `Private_Dirty`.
    pub private_dirty_bytes: u64,
    /// Huge pages of hugetlbfs that nobody shares, which no other figure here includes:
    /// `Private_Hugetlb`.
    pub private_hugetlb_bytes: u64,
    /// Anonymous memory that is swapped out, shared pages included whole: `Swap`.
    pub swap_bytes: u64,
    /// Swapped-out memory, each shared page divided: `SwapPss`.
    pub swap_pss_bytes: u64,
}

/// Reads a `smaps_rollup` file; its first line, which names the range, and lines that
/// are not asked for are ignored.
///
/// # Errors
/// One of the fields is missing, cut, there twice, or not a number of kB.
pub fn parse(bytes: &[u8]) -> Result<SmapsRollup, ParseError> {
    let (mut rss, mut pss, mut swap, mut swap_pss) = (None, None, None, None);
    let (mut private_clean, mut private_dirty, mut private_hugetlb) = (None, None, None);
    for line in Lines::new(PAGE, bytes) {
        let (slot, field) = match line.key {
            b"Rss" => (&mut rss, "Rss"),
            b"Pss" => (&mut pss, "Pss"),
            b"Private_Clean" => (&mut private_clean, "Private_Clean"),
            b"Private_Dirty" => (&mut private_dirty, "Private_Dirty"),
            b"Private_Hugetlb" => (&mut private_hugetlb, "Private_Hugetlb"),
            b"Swap" => (&mut swap, "Swap"),
            b"SwapPss" => (&mut swap_pss, "SwapPss"),
            _ => continue,
        };
        line.store(slot, field, Cursor::kib_as_bytes)?;
    }
    let required = |slot, field| required(slot, PAGE, bytes, field);
    Ok(SmapsRollup {
        rss_bytes: required(rss, "Rss")?,
        pss_bytes: required(pss, "Pss")?,
        private_clean_bytes: required(private_clean, "Private_Clean")?,
        private_dirty_bytes: required(private_dirty, "Private_Dirty")?,
        private_hugetlb_bytes: required(private_hugetlb, "Private_Hugetlb")?,
        swap_bytes: required(swap, "Swap")?,
        swap_pss_bytes: required(swap_pss, "SwapPss")?,
    })
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    const WHOLE: &str = "\
55a2dd4eb000-7ffc0734e000 ---p 00000000 00:00 0                          [rollup]
Rss:                1688 kB
Pss:                 350 kB
Pss_Dirty:           112 kB
Shared_Clean:       1520 kB
Private_Clean:        56 kB
Private_Dirty:       112 kB
Private_Hugetlb:    2048 kB
Swap:                  4 kB
SwapPss:               2 kB
";

    const EXPECTED: SmapsRollup = SmapsRollup {
        rss_bytes: 1688 * 1024,
        pss_bytes: 350 * 1024,
        private_clean_bytes: 56 * 1024,
        private_dirty_bytes: 112 * 1024,
        private_hugetlb_bytes: 2048 * 1024,
        swap_bytes: 4096,
        swap_pss_bytes: 2048,
    };

    fn check(page: &str, expected: Result<SmapsRollup, &str>) {
        let found = parse(page.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(ToString::to_string), "{page:?}");
    }

    #[test]
    fn reads_kib_as_bytes() {
        check(WHOLE, Ok(EXPECTED));
    }

    #[test]
    fn ignores_fields_a_later_kernel_appends() {
        check(&std::format!("{WHOLE}SwapPss2: ? kB\nLocked\n"), Ok(EXPECTED));
    }

    #[test]
    fn a_page_cut_anywhere_is_an_error() {
        for length in 0..WHOLE.len() {
            assert!(parse(&WHOLE.as_bytes()[..length]).is_err(), "{:?}", &WHOLE[..length]);
        }
    }

    #[test]
    fn another_unit_is_not_taken_for_kib() {
        check(
            &WHOLE.replace("1688 kB", "1688 MB"),
            Err("proc_pid_smaps_rollup(5): expected the unit kB in field `Rss`, \
                 but found `M` at byte 107"),
        );
    }

    #[test]
    fn says_which_field_is_missing() {
        check(
            &WHOLE.replace("Pss: ", "Psst: "),
            Err("proc_pid_smaps_rollup(5): expected field `Pss`, but found none"),
        );
    }
}
