//! `/proc/<pid>/cgroup`: which control groups a process is in, proc_pid_cgroup(5)
//! and cgroups(7).
//!
//! One line `hierarchy:controllers:path` for each hierarchy. The kernel allows no line
//! feed in a group's name, but colons and spaces, so only the first two colons divide.
//! The trap: on a host with both versions the process stands in several groups at once;
//! [`parse`] says which one is meant. A second one: after the path of a group that was
//! removed the kernel writes ` (deleted)`, which a living group's name could also end with.

use core::fmt;

use crate::cursor::Cursor;
use crate::error::{ErrorKind, ParseError};

const PAGE: &str = "proc_pid_cgroup(5)";

/// The process's place in one hierarchy.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The hierarchy's number; 0 is version 2.
    pub hierarchy_id: u32,
    /// The controllers bound to the hierarchy, `cpu,cpuacct` or `name=systemd`; empty for
    /// version 2.
    pub controllers: &'a [u8],
    /// The group as seen from the reader's cgroup namespace, without ` (deleted)`.
    pub path: &'a [u8],
    /// Whether the group has been removed: the process is a zombie, or on its way there.
    pub is_deleted: bool,
}

/// The one group that stands for the process: its place in the hierarchy of version 2, else
/// in systemd's of version 1, else in the first that is listed.
///
/// # Errors
/// A line is cut or not what the page says, or there is none.
pub fn parse(bytes: &[u8]) -> Result<Entry<'_>, ParseError> {
    let mut best: Option<(u8, Entry<'_>)> = None;
    for entry in entries(bytes) {
        let entry = entry?;
        let rank = match (entry.hierarchy_id, entry.controllers) {
            (0, b"") => 0,
            (_, b"name=systemd") => 1,
            _ => 2,
        };
        if best.as_ref().is_none_or(|(best_rank, _)| rank < *best_rank) {
            best = Some((rank, entry));
        }
    }
    let missing = || {
        let kind = ErrorKind::MissingField;
        ParseError { page: PAGE, field: "cgroup-path", offset: bytes.len(), kind }
    };
    best.map(|(_, entry)| entry).ok_or_else(missing)
}

/// The process's places in all hierarchies. After an error nothing follows.
#[must_use]
pub fn entries(bytes: &[u8]) -> Entries<'_> {
    Entries { cursor: Cursor::new(PAGE, bytes) }
}

/// Iterator over hierarchies; see [`entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.peek()?;
        let entry = read_entry(&mut self.cursor);
        if entry.is_err() {
            self.cursor.advance(usize::MAX);
        }
        Some(entry)
    }
}

impl core::iter::FusedIterator for Entries<'_> {}

fn read_entry<'a>(cursor: &mut Cursor<'a>) -> Result<Entry<'a>, ParseError> {
    let hierarchy_id = cursor.number_u32("hierarchy-ID")?;
    cursor.expect(b':', "hierarchy-ID", "a colon")?;
    let controllers = cursor.until(b':', "controller-list", "a colon")?;
    let path = cursor.until(b'\n', "cgroup-path", "a line feed")?;
    let (path, is_deleted) = match path.strip_suffix(b" (deleted)") {
        Some(path) => (path, true),
        None => (path, false),
    };
    Ok(Entry { hierarchy_id, controllers, path, is_deleted })
}

impl fmt::Debug for Entry<'_> {
    /// As derived, but with bytes as escaped text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("hierarchy_id", &self.hierarchy_id)
            .field("controllers", &format_args!("\"{}\"", self.controllers.escape_ascii()))
            .field("path", &format_args!("\"{}\"", self.path.escape_ascii()))
            .field("is_deleted", &self.is_deleted)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    fn check(page: &str, expected: Result<&str, &str>) {
        let found = parse(page.as_bytes()).map(|entry| entry.path).map_err(|e| e.to_string());
        let expected = expected.map(str::as_bytes).map_err(ToString::to_string);
        assert_eq!(found, expected, "{page:?}");
    }

    #[test]
    fn version_2_comes_before_systemd_and_systemd_before_the_first() {
        check("9:name=systemd:/b\n4:memory:/c\n0::/a\n", Ok("/a"));
        check("4:memory:/c\n9:name=systemd:/b\n", Ok("/b"));
        check("4:memory:/c\n3:cpu,cpuacct:/d\n", Ok("/c"));
    }

    #[test]
    fn a_path_may_hold_colons_and_spaces() {
        check("0::/a:b c::/\u{e9}\n", Ok("/a:b c::/\u{e9}"));
    }

    #[test]
    fn a_removed_group_keeps_its_path() {
        let entries: Vec<_> = entries(b"0::/a (deleted)\n").collect();
        let expected = Entry { hierarchy_id: 0, controllers: b"", path: b"/a", is_deleted: true };
        assert_eq!(entries, [Ok(expected)]);
    }

    #[test]
    fn all_hierarchies_are_listed_in_order() {
        let ids: Vec<_> = entries(b"9:name=systemd:/b\n4:memory:/c\n0::/a\n")
            .map(|entry| entry.expect("the page is whole").hierarchy_id)
            .collect();
        assert_eq!(ids, [9, 4, 0]);
    }

    #[test]
    fn a_page_cut_within_a_line_is_an_error() {
        let page = "9:name=systemd:/b\n0::/a\n";
        for length in 0..page.len() {
            if page.as_bytes()[..length].last() != Some(&b'\n') {
                assert!(parse(&page.as_bytes()[..length]).is_err(), "{:?}", &page[..length]);
            }
        }
    }

    #[test]
    fn after_an_error_nothing_follows() {
        let mut entries = entries(b"x\n0::/a\n");
        assert!(entries.next().is_some_and(|entry| entry.is_err()));
        assert!(entries.next().is_none());
    }

    #[test]
    fn says_what_is_wrong_and_where() {
        check("", Err("proc_pid_cgroup(5): expected field `cgroup-path`, but found none"));
        check(
            "0:/a\n",
            Err("proc_pid_cgroup(5): expected a colon in field `controller-list`, \
                 but found `\\n` at byte 4"),
        );
    }
}
