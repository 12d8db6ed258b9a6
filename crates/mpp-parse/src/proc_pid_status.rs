//! `/proc/<pid>/status`: users, swap and context switches, proc_pid_status(5).
//!
//! The first line is the name that the process chose, and it may read
//! `Threads:\t999`. Keys therefore count only at the beginning of a line, and a
//! page that has a key twice is refused.
//!
//! Two more traps. The context switches are those of the one thread whose file this
//! is, in `/proc/<pid>/status` of the main thread only. And the memory lines are
//! absent for zombies and kernel threads: absent is not zero.

use crate::cursor::Cursor;
use crate::error::{ErrorKind, ParseError};
use crate::lines::{Lines, required};

const PAGE: &str = "proc_pid_status(5)";

/// What stands in one process's or thread's `status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Users: `Uid`.
    pub uid: Uids,
    /// Living threads of the process: `Threads`. `None` where a sandbox omits it.
    pub threads: Option<u64>,
    /// Anonymous memory swapped out: `VmSwap`. `None` for zombies and kernel threads.
    pub vm_swap_bytes: Option<u64>,
    /// Resident anonymous memory: `RssAnon`. `None` for zombies, kernel threads, and on
    /// kernels before 4.5.
    pub rss_anon_bytes: Option<u64>,
    /// The signals that the process ignores, the lowest bit for number 1: `SigIgn`. `None` where
    /// a sandbox omits it.
    pub ignored_signals: Option<u64>,
    /// How often the thread gave the CPU up to wait for something; only grows:
    /// `voluntary_ctxt_switches`. `None` where a sandbox omits it.
    pub voluntary_ctxt_switches: Option<u64>,
    /// How often the thread was taken off the CPU; only grows: `nonvoluntary_ctxt_switches`.
    /// `None` where a sandbox omits it.
    pub nonvoluntary_ctxt_switches: Option<u64>,
}

/// The four user IDs of a process, as seen from the reader's user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uids {
    /// Who started it.
    pub real: u32,
    /// Whose rights it has.
    pub effective: u32,
    /// Whose rights it can take again.
    pub saved: u32,
    /// Whose rights it has on files.
    pub fs: u32,
}

/// Reads a `status` file; lines that are not asked for are ignored.
///
/// A page that was cut exactly between two lines shows its later fields as absent: the
/// page itself has no end mark, so the caller gives it a buffer that is large enough.
///
/// # Errors
/// The page is cut, `Uid` is missing, or a field is there twice or not what the page says.
pub fn parse(bytes: &[u8]) -> Result<Status, ParseError> {
    let (mut uid, mut threads, mut vm_swap, mut rss_anon) = (None, None, None, None);
    let (mut voluntary, mut nonvoluntary, mut ignored) = (None, None, None);
    for line in Lines::new(PAGE, bytes) {
        match line.key {
            b"Uid" => line.store(&mut uid, "Uid", uids)?,
            b"Threads" => line.store(&mut threads, "Threads", Cursor::number)?,
            b"VmSwap" => line.store(&mut vm_swap, "VmSwap", Cursor::kib_as_bytes)?,
            b"RssAnon" => line.store(&mut rss_anon, "RssAnon", Cursor::kib_as_bytes)?,
            b"SigIgn" => line.store(&mut ignored, "SigIgn", Cursor::hexadecimal)?,
            b"voluntary_ctxt_switches" => {
                line.store(&mut voluntary, "voluntary_ctxt_switches", Cursor::number)?;
            }
            b"nonvoluntary_ctxt_switches" => {
                line.store(&mut nonvoluntary, "nonvoluntary_ctxt_switches", Cursor::number)?;
            }
            _ => {}
        }
    }
    require_last_line_feed(bytes)?;
    Ok(Status {
        uid: required(uid, PAGE, bytes, "Uid")?,
        threads,
        vm_swap_bytes: vm_swap,
        rss_anon_bytes: rss_anon,
        ignored_signals: ignored,
        voluntary_ctxt_switches: voluntary,
        nonvoluntary_ctxt_switches: nonvoluntary,
    })
}

/// `0\t1\t2\t3`.
fn uids(cursor: &mut Cursor<'_>, field: &'static str) -> Result<Uids, ParseError> {
    let mut next = || {
        cursor.skip_blanks();
        cursor.number_u32(field)
    };
    Ok(Uids { real: next()?, effective: next()?, saved: next()?, fs: next()? })
}

/// A page that was cut would otherwise show its last fields as absent.
fn require_last_line_feed(bytes: &[u8]) -> Result<(), ParseError> {
    if bytes.last() == Some(&b'\n') {
        return Ok(());
    }
    let kind = ErrorKind::UnexpectedEnd { expected: "a line feed" };
    Err(ParseError { page: PAGE, field: "", offset: bytes.len(), kind })
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};

    use super::*;

    const AFTER_NAME: &str = "Umask:\t0022\nState:\tS (sleeping)\nUid:\t1000\t0\t1001\t1002\n\
        Gid:\t0\t0\t0\t0\nGroups:\t \nVmRSS:\t    1732 kB\nRssAnon:\t     112 kB\n\
        SigIgn:\t0000000000011000\n\
        VmSwap:\t       8 kB\nThreads:\t17\nvoluntary_ctxt_switches:\t303\n\
        nonvoluntary_ctxt_switches:\t1\n";

    const EXPECTED: Status = Status {
        uid: Uids { real: 1000, effective: 0, saved: 1001, fs: 1002 },
        threads: Some(17),
        vm_swap_bytes: Some(8192),
        rss_anon_bytes: Some(112 * 1024),
        ignored_signals: Some(0x1_1000),
        voluntary_ctxt_switches: Some(303),
        nonvoluntary_ctxt_switches: Some(1),
    };

    fn named(name: &str) -> String {
        format!("Name:\t{name}\n{AFTER_NAME}")
    }

    fn check(page: &str, expected: Result<Status, &str>) {
        let found = parse(page.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(ToString::to_string), "{page:?}");
    }

    #[test]
    fn reads_each_field_from_its_own_line() {
        check(&named("cat"), Ok(EXPECTED));
    }

    #[test]
    fn a_name_can_forge_nothing() {
        let names =
            ["Threads:\t999", "Uid:\t0\t0\t0\t0", "\\nUid:\t0", "VmSwap:\t9 kB", "\x1b[2J", ""];
        for name in names {
            check(&named(name), Ok(EXPECTED));
        }
    }

    #[test]
    fn bytes_that_are_no_text_disturb_nothing() {
        let page = [b"Name:\t\xff\xfe\n".as_slice(), AFTER_NAME.as_bytes()].concat();
        assert_eq!(parse(&page), Ok(EXPECTED));
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        check(
            &named("x\nUid:\t0\t0\t0\t0"),
            Err("proc_pid_status(5): expected field `Uid` once, \
                 but found it again at byte 53"),
        );
    }

    #[test]
    fn zombies_and_kernel_threads_have_no_memory_and_that_is_not_zero() {
        let page = named("cat")
            .replace("RssAnon:\t     112 kB\n", "")
            .replace("VmSwap:\t       8 kB\n", "");
        check(&page, Ok(Status { vm_swap_bytes: None, rss_anon_bytes: None, ..EXPECTED }));
    }

    #[test]
    fn ignores_fields_a_later_kernel_appends() {
        check(&format!("{}x86_Thread_features:\t\nVmSwapped\n", named("cat")), Ok(EXPECTED));
    }

    #[test]
    fn a_page_cut_within_a_line_is_an_error() {
        let page = named("cat");
        for length in 0..page.len() {
            if page.as_bytes()[..length].last() != Some(&b'\n') {
                assert!(parse(&page.as_bytes()[..length]).is_err(), "{:?}", &page[..length]);
            }
        }
        check(
            page.trim_end(),
            Err("proc_pid_status(5): expected a line feed in field \
                 `nonvoluntary_ctxt_switches`, but the input ended at byte 242"),
        );
        check(
            &format!("{page}x86_Th"),
            Err("proc_pid_status(5): expected a line feed, but the input ended at byte 249"),
        );
    }

    #[test]
    fn a_page_without_users_is_none() {
        check("Name:\tcat\n", Err("proc_pid_status(5): expected field `Uid`, but found none"));
        check(
            &named("cat").replace("Uid:\t1000\t0\t1001\t1002", "Uid:\t1000\t0\t1001"),
            Err("proc_pid_status(5): expected a digit in field `Uid`, \
                 but found `\\n` at byte 58"),
        );
    }
}
