//! `/proc/<pid>/mountinfo`: what is mounted where, proc_pid_mountinfo(5).
//!
//! It tells how much of the machine's processes a procfs shows: `hidepid` and
//! `subset`, proc(5). The trap: fields are divided by single spaces, and one of them,
//! the source, may be empty; spaces inside a field are written `\040`. A second trap:
//! of several mounts on one point only the last that is listed can be seen.

use core::fmt;

use crate::cursor::Cursor;
use crate::error::ParseError;

const PAGE: &str = "proc_pid_mountinfo(5)";

/// One mount.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Unique among the mounts that exist now: field 1.
    pub mount_id: u32,
    /// Where it is mounted, escaped: field 5; see [`Mount::mount_point`].
    pub mount_point_escaped: &'a [u8],
    /// Options of this mount, `rw,nosuid`: field 6.
    pub mount_options: &'a [u8],
    /// Type of the file system, `proc` or `fuse.sshfs`: field 9.
    pub fs_type: &'a [u8],
    /// What was mounted, escaped; may be empty: field 10.
    pub source_escaped: &'a [u8],
    /// Options of the file system, which all its mounts share, `rw,hidepid=invisible`:
    /// field 11.
    pub super_options: &'a [u8],
}

/// What processes a procfs shows those who may not ptrace(2) them: `hidepid`, proc(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hidepid {
    /// All are listed and readable: `off`, `0`, or no such option.
    Off,
    /// All are listed, only the own ones readable: `noaccess`, `1`.
    NoAccess,
    /// Only the own ones are listed: `invisible`, `2`.
    Invisible,
    /// Only those are listed that may be ptraced: `ptraceable`, `4`.
    Ptraceable,
    /// A word of a later kernel; something is hidden.
    Unrecognized,
}

/// All mounts, in the order of the page. After an error nothing follows.
#[must_use]
pub fn mounts(bytes: &[u8]) -> Mounts<'_> {
    Mounts { cursor: Cursor::new(PAGE, bytes) }
}

/// The mount that is seen at a mount point: the last one listed there.
///
/// Returns `None` when nothing is mounted there.
///
/// # Errors
/// A line is cut or not what the page says.
pub fn mount_at<'a>(bytes: &'a [u8], mount_point: &[u8]) -> Result<Option<Mount<'a>>, ParseError> {
    let mut seen = None;
    for mount in mounts(bytes) {
        let mount = mount?;
        if mount.mount_point().eq(mount_point.iter().copied()) {
            seen = Some(mount);
        }
    }
    Ok(seen)
}

impl<'a> Mount<'a> {
    /// Where it is mounted, byte by byte.
    #[must_use]
    pub fn mount_point(&self) -> Unescaped<'a> {
        Unescaped { rest: self.mount_point_escaped }
    }

    /// What was mounted, byte by byte.
    #[must_use]
    pub fn source(&self) -> Unescaped<'a> {
        Unescaped { rest: self.source_escaped }
    }

    /// The value of an option of the file system; empty for an option without a value.
    ///
    /// Returns `None` when the option is not there.
    #[must_use]
    pub fn super_option(&self, name: &[u8]) -> Option<&'a [u8]> {
        let options = self.super_options.split(|byte| *byte == b',');
        options.filter_map(|option| option.strip_prefix(name)).find_map(|rest| match rest {
            [] => Some(rest),
            [b'=', value @ ..] => Some(value),
            _ => None,
        })
    }

    /// Which processes are hidden, for a mount of type `proc`.
    #[must_use]
    pub fn hidepid(&self) -> Hidepid {
        match self.super_option(b"hidepid") {
            None | Some(b"off" | b"0") => Hidepid::Off,
            Some(b"noaccess" | b"1") => Hidepid::NoAccess,
            Some(b"invisible" | b"2") => Hidepid::Invisible,
            Some(b"ptraceable" | b"4") => Hidepid::Ptraceable,
            Some(_) => Hidepid::Unrecognized,
        }
    }

    /// Whether a mount of type `proc` has processes alone, without `meminfo`, `stat` and
    /// the like: `subset=pid`.
    #[must_use]
    pub fn is_pid_subset(&self) -> bool {
        self.super_option(b"subset") == Some(b"pid")
    }
}

/// Iterator over mounts; see [`mounts`].
#[derive(Clone, Debug)]
pub struct Mounts<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Mounts<'a> {
    type Item = Result<Mount<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.peek()?;
        let mount = read_mount(&mut self.cursor);
        if mount.is_err() {
            self.cursor.advance(usize::MAX);
        }
        Some(mount)
    }
}

impl core::iter::FusedIterator for Mounts<'_> {}

fn read_mount<'a>(cursor: &mut Cursor<'a>) -> Result<Mount<'a>, ParseError> {
    let mount_id = cursor.number_u32("mount ID")?;
    cursor.expect(b' ', "mount ID", "a space")?;
    let mut field = |name| cursor.until(b' ', name, "a space");
    field("parent ID")?;
    field("major:minor")?;
    field("root")?;
    let mount_point_escaped = field("mount point")?;
    let mount_options = field("mount options")?;
    while field("optional fields")? != b"-" {}
    let fs_type = field("filesystem type")?;
    let source_escaped = field("mount source")?;
    let super_options = cursor.until(b'\n', "super options", "a line feed")?;
    Ok(Mount {
        mount_id,
        mount_point_escaped,
        mount_options,
        fs_type,
        source_escaped,
        super_options,
    })
}

/// Iterator over the bytes of a field, with `\040` and its like decoded. A backslash
/// that three octal digits of one byte do not follow stands for itself.
#[derive(Clone, Debug)]
pub struct Unescaped<'a> {
    rest: &'a [u8],
}

impl Iterator for Unescaped<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        if let [b'\\', high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', rest @ ..] =
            self.rest
        {
            self.rest = rest;
            let digit = |byte: &u8| byte & 0b111;
            return Some(digit(high) << 6 | digit(middle) << 3 | digit(low));
        }
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }
}

impl core::iter::FusedIterator for Unescaped<'_> {}

impl fmt::Debug for Mount<'_> {
    /// As derived, but with bytes as escaped text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount")
            .field("mount_id", &self.mount_id)
            .field("mount_point_escaped", &Quoted(self.mount_point_escaped))
            .field("mount_options", &Quoted(self.mount_options))
            .field("fs_type", &Quoted(self.fs_type))
            .field("source_escaped", &Quoted(self.source_escaped))
            .field("super_options", &Quoted(self.super_options))
            .finish()
    }
}

/// Bytes that print as escaped text.
struct Quoted<'a>(&'a [u8]);

impl fmt::Debug for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    const PROC: &str = "22 27 0:21 / /proc rw,relatime shared:5 master:1 - proc proc rw\n";

    fn mount(page: &str) -> Mount<'_> {
        mounts(page.as_bytes()).next().expect("a line").expect("a whole line")
    }

    #[test]
    fn reads_each_field_from_its_own_place() {
        for optional in ["", "shared:5 ", "shared:5 master:1 propagate_from:2 unbindable "] {
            let page = PROC.replace("shared:5 master:1 ", optional);
            let expected = Mount {
                mount_id: 22,
                mount_point_escaped: b"/proc",
                mount_options: b"rw,relatime",
                fs_type: b"proc",
                source_escaped: b"proc",
                super_options: b"rw",
            };
            assert_eq!(mount(&page), expected, "{page:?}");
        }
    }

    #[test]
    fn a_source_may_be_empty() {
        let mount = mount("30 25 0:27 / /a rw - tmpfs  rw,size=1k\n");
        assert_eq!(mount.source_escaped, b"");
        assert_eq!(mount.super_options, b"rw,size=1k");
    }

    #[test]
    fn octal_escapes_are_decoded() {
        for (escaped, expected) in [
            (r"/a\040b", b"/a b".as_slice()),
            (r"/\011\012\134", b"/\t\n\\"),
            (r"\377\400\08\", b"\xff\\400\\08\\"),
            ("", b""),
        ] {
            let found: Vec<_> = Unescaped { rest: escaped.as_bytes() }.collect();
            assert_eq!(found, expected, "{escaped:?}");
        }
    }

    #[test]
    fn the_last_mount_on_a_point_is_the_one_that_is_seen() {
        let page = "22 27 0:21 / /a\\040b rw - proc proc rw\n\
            23 27 0:22 / /a\\040b rw - proc proc rw,hidepid=2\n\
            24 27 0:23 / /c rw - tmpfs proc rw\n";
        let id = |point: &[u8]| {
            mount_at(page.as_bytes(), point).map(|mount| mount.map(|mount| mount.mount_id))
        };
        assert_eq!(id(b"/a b"), Ok(Some(23)));
        assert_eq!(id(b"/a\\040b"), Ok(None));
    }

    #[test]
    fn hidepid_is_a_number_or_a_word() {
        for (options, expected) in [
            ("rw", Hidepid::Off),
            ("rw,hidepid=0", Hidepid::Off),
            ("rw,hidepid=off", Hidepid::Off),
            ("rw,gid=5,hidepid=1", Hidepid::NoAccess),
            ("rw,hidepid=noaccess", Hidepid::NoAccess),
            ("hidepid=2,rw", Hidepid::Invisible),
            ("rw,hidepid=invisible,subset=pid", Hidepid::Invisible),
            ("rw,hidepid=4", Hidepid::Ptraceable),
            ("rw,hidepid=ptraceable", Hidepid::Ptraceable),
            ("rw,hidepid=8", Hidepid::Unrecognized),
            ("rw,hidepid", Hidepid::Unrecognized),
            ("rw,hidepids=2", Hidepid::Off),
        ] {
            let page = PROC.replace("proc rw", &std::format!("proc {options}"));
            assert_eq!(mount(&page).hidepid(), expected, "{options}");
        }
    }

    #[test]
    fn subset_is_seen_among_the_options() {
        for (options, expected) in [("rw", false), ("rw,subset=pid", true), ("subset=all", false)] {
            let page = PROC.replace("proc rw", &std::format!("proc {options}"));
            assert_eq!(mount(&page).is_pid_subset(), expected, "{options}");
        }
    }

    #[test]
    fn a_line_cut_anywhere_is_an_error_and_the_last() {
        for length in 1..PROC.len() {
            let mut mounts = mounts(&PROC.as_bytes()[..length]);
            assert!(mounts.next().is_some_and(|mount| mount.is_err()), "{:?}", &PROC[..length]);
            assert!(mounts.next().is_none());
        }
    }

    #[test]
    fn a_line_does_not_borrow_fields_from_the_next() {
        let page = "22 27 0:21 / /proc rw\n23 27 0:22 / /sys rw - sysfs sysfs rw\n";
        let error = mount_at(page.as_bytes(), b"/sys").expect_err("the first line is short");
        assert_eq!(
            error.to_string(),
            "proc_pid_mountinfo(5): expected a space in field `mount options`, \
             but found `\\n` at byte 21"
        );
    }
}
