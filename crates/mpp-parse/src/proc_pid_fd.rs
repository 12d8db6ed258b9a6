//! `/proc/<pid>/fd/<n>` and `/proc/<pid>/ns/<type>`: what a link of the form
//! `socket:[1234]` or `net:[4026531840]` points to, proc_pid_fd(5) and
//! proc_pid_ns(5).
//!
//! The trap: a file may bear such a name, too, but its path then begins with a slash.

use crate::number::decimal_u64;

/// The inode that a link names, when it is of this kind: `socket`, `pipe`, `net`.
///
/// Returns `None` for every other link.
#[must_use]
pub fn inode(link: &[u8], kind: &[u8]) -> Option<u64> {
    let number = link.strip_prefix(kind)?.strip_prefix(b":[")?.strip_suffix(b"]")?;
    decimal_u64(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(link: &str, kind: &str, expected: Option<u64>) {
        assert_eq!(inode(link.as_bytes(), kind.as_bytes()), expected, "{link:?}");
    }

    #[test]
    fn an_inode_stands_in_brackets_after_its_kind() {
        check("socket:[1234]", "socket", Some(1234));
        check("net:[4026531840]", "net", Some(4_026_531_840));
        check("socket:[18446744073709551615]", "socket", Some(u64::MAX));
    }

    #[test]
    fn other_links_have_none() {
        for link in [
            "",
            "socket",
            "socket:[",
            "socket:[]",
            "socket:[1",
            "socket:[-1]",
            "socket:[1] (deleted)",
            "/run/socket:[1]",
            "pipe:[1]",
            "anon_inode:[eventfd]",
            "socket:[18446744073709551616]",
        ] {
            check(link, "socket", None);
        }
    }
}
