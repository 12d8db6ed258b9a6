//! `/proc/<pid>/stat` and `/proc/<pid>/task/<tid>/stat`, proc_pid_stat(5).
//!
//! One line of numbers around a name. The trap is the name: a process chooses it,
//! and it may hold spaces, line feeds, parentheses and invalid UTF-8 (`) R 1 1 1`).
//! It therefore reaches from the first `(` to the *last* `)` of the whole buffer,
//! and every field after it must be what the page says.
//!
//! A second trap: a process that is being torn down (state `X`) prints -1 for its
//! process group and session and 0 for its parent and its threads.

use core::fmt;

use crate::cursor::Cursor;
use crate::error::ParseError;

const PAGE: &str = "proc_pid_stat(5)";

/// How many fields the page has; later kernels may append more.
const FIELDS_KNOWN: usize = 52;
/// How many fields every supported kernel prints.
const FIELDS_REQUIRED: usize = 44;

/// What one process or thread is and has done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stat<'a> {
    /// The process ID, or in a thread's file the thread ID: field 1.
    pub pid: u32,
    /// The command name without its parentheses, any bytes: field 2. At most 15 bytes,
    /// but kernel threads print more.
    pub comm: &'a [u8],
    /// A letter, `R`, `S`, `D`, `Z`, `T`, `t`, `X` or `I`: field 3. `Z` is also what a
    /// living process shows whose main thread has exited; see `num_threads`.
    pub state: u8,
    /// The parent's PID; 0 for none, or one outside the PID namespace: field 4.
    pub ppid: u32,
    /// The process group; -1 while being torn down: field 5.
    pub pgrp: i32,
    /// The session; -1 while being torn down: field 6.
    pub session: i32,
    /// The kernel's `PF_*` flags, `include/linux/sched.h`: field 9.
    pub flags: u32,
    /// Page faults that needed no disk, exited threads included; only grows: field 10.
    pub minflt: u64,
    /// The same of children that were waited for: field 11.
    pub cminflt: u64,
    /// Page faults that waited for the disk, exited threads included; only grows: field 12.
    pub majflt: u64,
    /// The same of children that were waited for: field 13.
    pub cmajflt: u64,
    /// CPU time in user mode, in clock ticks; only grows: field 14.
    pub utime_ticks: u64,
    /// CPU time in kernel mode, in clock ticks; only grows: field 15.
    pub stime_ticks: u64,
    /// User CPU time of children that were waited for, in clock ticks: field 16. The page
    /// types it signed; below zero counts as zero.
    pub cutime_ticks: u64,
    /// Kernel CPU time of children that were waited for, in clock ticks: field 17. Signed
    /// in the page; below zero counts as zero.
    pub cstime_ticks: u64,
    /// Living threads; 0 while being torn down: field 20. Signed in the page; below zero
    /// counts as zero.
    pub num_threads: u64,
    /// Start time since boot, in clock ticks; never changes, not even by exec: field 22.
    pub start_time_ticks: u64,
    /// Address space in bytes; 0 for zombies and kernel threads: field 23.
    pub vsize_bytes: u64,
    /// Resident pages, as a sum of counters that lag behind those of proc_pid_statm(5):
    /// field 24. Signed in the page; below zero counts as zero.
    pub rss_pages: u64,
    /// Where the code begins; changed by exec: field 26. Without the right to ptrace(2)
    /// the process it is 0 or 1.
    pub start_code: u64,
    /// Where the stack begins; changed by exec: field 28. Without the right to ptrace(2)
    /// the process it is 0.
    pub start_stack: u64,
    /// Time waited for block devices, in clock ticks; 0 unless delay accounting is on:
    /// field 42.
    pub delayacct_blkio_ticks: u64,
}

/// Reads the one line of a `stat` file.
///
/// # Errors
/// The line is cut, or a field is not what the page says.
pub fn parse(bytes: &[u8]) -> Result<Stat<'_>, ParseError> {
    let mut cursor = Cursor::new(PAGE, bytes);
    let pid = cursor.number_u32("pid")?;
    cursor.expect(b' ', "pid", "a space")?;
    let comm = comm(&mut cursor)?;
    cursor.expect(b' ', "comm", "a space")?;
    let state = state(&mut cursor)?;
    let mut fields = Fields { cursor, number: 3 };
    let stat = Stat {
        pid,
        comm,
        state,
        ppid: fields.pid("ppid")?,
        pgrp: fields.signed_i32("pgrp")?,
        session: fields.signed_i32("session")?,
        flags: fields.skip_to(9, "tty_nr")?.flags("flags")?,
        minflt: fields.number("minflt")?,
        cminflt: fields.number("cminflt")?,
        majflt: fields.number("majflt")?,
        cmajflt: fields.number("cmajflt")?,
        utime_ticks: fields.number("utime")?,
        stime_ticks: fields.number("stime")?,
        cutime_ticks: fields.number_or_zero("cutime")?,
        cstime_ticks: fields.number_or_zero("cstime")?,
        num_threads: fields.skip_to(20, "priority")?.number_or_zero("num_threads")?,
        start_time_ticks: fields.skip_to(22, "itrealvalue")?.number("starttime")?,
        vsize_bytes: fields.number("vsize")?,
        rss_pages: fields.number_or_zero("rss")?,
        start_code: fields.skip_to(26, "rsslim")?.number("startcode")?,
        start_stack: fields.skip_to(28, "endcode")?.number("startstack")?,
        delayacct_blkio_ticks: fields.skip_to(42, "kstkesp")?.number("delayacct_blkio_ticks")?,
    };
    fields.finish()?;
    Ok(stat)
}

/// The name between the first `(`, which is next, and the last `)` of the page.
fn comm<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], ParseError> {
    cursor.expect(b'(', "comm", "an opening parenthesis")?;
    let rest = cursor.rest();
    let Some(length) = memchr::memrchr(b')', rest) else {
        cursor.advance(rest.len());
        return Err(cursor.unexpected("comm", "a closing parenthesis"));
    };
    cursor.advance(length.saturating_add(1));
    Ok(rest.get(..length).unwrap_or_default())
}

fn state(cursor: &mut Cursor<'_>) -> Result<u8, ParseError> {
    match cursor.peek() {
        Some(letter) if letter.is_ascii_alphabetic() => {
            cursor.advance(1);
            Ok(letter)
        }
        _ => Err(cursor.unexpected("state", "a letter")),
    }
}

/// The numbers after the state, each led in by one space.
struct Fields<'a> {
    cursor: Cursor<'a>,
    /// The field that was read last, as the page numbers them.
    number: usize,
}

impl<'a> Fields<'a> {
    fn next<T>(
        &mut self,
        field: &'static str,
        read: fn(&mut Cursor<'a>, &'static str) -> Result<T, ParseError>,
    ) -> Result<T, ParseError> {
        self.cursor.expect(b' ', field, "a space")?;
        self.number = self.number.saturating_add(1);
        read(&mut self.cursor, field)
    }

    fn number(&mut self, field: &'static str) -> Result<u64, ParseError> {
        self.next(field, Cursor::number)
    }

    fn number_or_zero(&mut self, field: &'static str) -> Result<u64, ParseError> {
        self.next(field, Cursor::number_or_zero)
    }

    fn flags(&mut self, field: &'static str) -> Result<u32, ParseError> {
        self.next(field, Cursor::number_u32)
    }

    fn pid(&mut self, field: &'static str) -> Result<u32, ParseError> {
        self.next(field, Cursor::number_or_zero_u32)
    }

    fn signed_i32(&mut self, field: &'static str) -> Result<i32, ParseError> {
        self.next(field, Cursor::signed_i32)
    }

    /// Checks the fields before the one with this number; `field` names the first of them.
    fn skip_to(&mut self, number: usize, field: &'static str) -> Result<&mut Self, ParseError> {
        while self.number.saturating_add(1) < number {
            self.number_or_zero(field)?;
        }
        Ok(self)
    }

    /// Checks the fields that the page knows, ignores those it does not know, and makes
    /// sure that the page ends with the line.
    fn finish(&mut self) -> Result<(), ParseError> {
        self.skip_to(FIELDS_REQUIRED.saturating_add(1), "guest_time")?;
        while self.number < FIELDS_KNOWN && self.cursor.peek() == Some(b' ') {
            self.number_or_zero("start_data")?;
        }
        if self.number == FIELDS_KNOWN && self.cursor.peek() == Some(b' ') {
            let rest = self.cursor.rest();
            self.cursor.advance(memchr::memchr(b'\n', rest).unwrap_or(rest.len()));
        }
        self.cursor.expect_line_feed("")?;
        match self.cursor.peek() {
            None => Ok(()),
            Some(_) => Err(self.cursor.unexpected("", "nothing after the line")),
        }
    }
}

impl fmt::Debug for Stat<'_> {
    /// As derived, but with the name as escaped text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stat")
            .field("pid", &self.pid)
            .field("comm", &format_args!("\"{}\"", self.comm.escape_ascii()))
            .field("state", &char::from(self.state))
            .field("ppid", &self.ppid)
            .field("pgrp", &self.pgrp)
            .field("session", &self.session)
            .field("flags", &format_args!("{:#x}", self.flags))
            .field("minflt", &self.minflt)
            .field("cminflt", &self.cminflt)
            .field("majflt", &self.majflt)
            .field("cmajflt", &self.cmajflt)
            .field("utime_ticks", &self.utime_ticks)
            .field("stime_ticks", &self.stime_ticks)
            .field("cutime_ticks", &self.cutime_ticks)
            .field("cstime_ticks", &self.cstime_ticks)
            .field("num_threads", &self.num_threads)
            .field("start_time_ticks", &self.start_time_ticks)
            .field("vsize_bytes", &self.vsize_bytes)
            .field("rss_pages", &self.rss_pages)
            .field("start_code", &format_args!("{:#x}", self.start_code))
            .field("start_stack", &format_args!("{:#x}", self.start_stack))
            .field("delayacct_blkio_ticks", &self.delayacct_blkio_ticks)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::{String, ToString};
    use std::vec::Vec;

    use super::*;

    const AFTER_COMM: &str = "S 1 17 -1 0 -1 4194304 116 1 2 3 40 50 60 70 20 0 1 0 104544 \
        3133440 362 18446744073709551615 94558216663040 94558216682921 140723122006592 0 0 0 0 \
        0 0 0 0 0 17 1 0 0 9 0 0 94558216698928 94558216700544 94558409801728 140723122010847 \
        140723122010867 140723122010867 140723122012139 0";

    fn page(comm: &[u8], after: &str) -> Vec<u8> {
        [b"5376 (", comm, b") ", after.as_bytes(), b"\n"].concat()
    }

    /// The fields after the name with one of them, as the page numbers it, replaced.
    fn with_field(number: usize, value: &str) -> String {
        let mut fields: Vec<_> = AFTER_COMM.split(' ').collect();
        fields[number - 3] = value;
        fields.join(" ")
    }

    fn check(number: usize, value: &str, expected: Result<u64, &str>, field: fn(&Stat<'_>) -> u64) {
        let page = page(b"cat", &with_field(number, value));
        match (parse(&page), expected) {
            (Ok(stat), Ok(expected)) => assert_eq!(field(&stat), expected, "{value}"),
            (Err(error), Err(expected)) => assert_eq!(error.to_string(), expected),
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn reads_each_field_from_its_own_place() {
        let page = page(b"cat", AFTER_COMM);
        let expected = Stat {
            pid: 5376,
            comm: b"cat",
            state: b'S',
            ppid: 1,
            pgrp: 17,
            session: -1,
            flags: 4_194_304,
            minflt: 116,
            cminflt: 1,
            majflt: 2,
            cmajflt: 3,
            utime_ticks: 40,
            stime_ticks: 50,
            cutime_ticks: 60,
            cstime_ticks: 70,
            num_threads: 1,
            start_time_ticks: 104_544,
            vsize_bytes: 3_133_440,
            rss_pages: 362,
            start_code: 94_558_216_663_040,
            start_stack: 140_723_122_006_592,
            delayacct_blkio_ticks: 9,
        };
        assert_eq!(parse(&page), Ok(expected));
    }

    #[test]
    fn a_name_can_hold_anything_and_forge_nothing() {
        let honest = page(b"cat", AFTER_COMM);
        let honest = parse(&honest).expect("the page is whole");
        let names: [&[u8]; 10] = [
            b"",
            b" ",
            b")",
            b"((",
            b") R 1 1 1",
            b"a) S 1 1 1 0 (b",
            b"x\n5376 (x) R 1",
            b"\x1b[2J\x07",
            b"\xff\xfe\x80",
            b"kworker/u8:0-ext4-rsv-conversion",
        ];
        for comm in names {
            let page = page(comm, AFTER_COMM);
            assert_eq!(parse(&page), Ok(Stat { comm, ..honest }), "{}", comm.escape_ascii());
        }
    }

    #[test]
    fn a_page_cut_anywhere_is_an_error() {
        let page = page(b") R 1 1 1", AFTER_COMM);
        for length in 0..page.len() {
            assert!(parse(&page[..length]).is_err(), "{}", page[..length].escape_ascii());
        }
    }

    #[test]
    fn ignores_fields_a_later_kernel_appends() {
        let known = page(b"cat", AFTER_COMM);
        let appended = page(b"cat", &format!("{AFTER_COMM} 7 -7 a=b"));
        assert_eq!(parse(&appended), parse(&known));
    }

    #[test]
    fn an_earlier_kernel_ends_with_cguest_time() {
        let fields: Vec<_> = AFTER_COMM.split(' ').collect();
        assert!(parse(&page(b"cat", &fields[..42].join(" "))).is_ok());
        assert!(parse(&page(b"cat", &fields[..41].join(" "))).is_err());
    }

    #[test]
    fn counters_reach_the_largest_number_and_no_further() {
        check(14, "18446744073709551615", Ok(u64::MAX), |stat| stat.utime_ticks);
        check(
            14,
            "18446744073709551616",
            Err("proc_pid_stat(5): expected a number of at most 64 bits in field `utime`, \
                 but found a larger one at byte 44"),
            |stat| stat.utime_ticks,
        );
        check(
            4,
            "4294967296",
            Err("proc_pid_stat(5): expected a number of at most 32 bits in field `ppid`, \
                 but found a larger one at byte 13"),
            |stat| stat.ppid.into(),
        );
    }

    #[test]
    fn what_the_page_types_signed_clamps_to_zero() {
        check(16, "-1", Ok(0), |stat| stat.cutime_ticks);
        check(17, "-9223372036854775808", Ok(0), |stat| stat.cstime_ticks);
        check(20, "-1", Ok(0), |stat| stat.num_threads);
        check(24, "-5", Ok(0), |stat| stat.rss_pages);
        check(4, "-1", Ok(0), |stat| stat.ppid.into());
    }

    #[test]
    fn every_field_after_the_name_must_be_what_the_page_says() {
        for number in 3..=52 {
            let page = page(b"cat", &with_field(number, "?"));
            assert!(parse(&page).is_err(), "field {number}");
        }
        check(
            14,
            "-1",
            Err("proc_pid_stat(5): expected a digit in field `utime`, but found `-` at byte 44"),
            |stat| stat.utime_ticks,
        );
    }

    #[test]
    fn two_lines_are_not_a_page() {
        let twice = [page(b"cat", AFTER_COMM), b"more\n".to_vec()].concat();
        assert!(parse(&twice).is_err());
    }

    #[test]
    fn debug_escapes_the_name() {
        let page = page(b"\x1b[2J\"\n", AFTER_COMM);
        let text = format!("{:?}", parse(&page).expect("the page is whole"));
        assert!(
            text.starts_with(r#"Stat { pid: 5376, comm: "\x1b[2J\"\n", state: 'S', "#),
            "{text}"
        );
    }
}
