//! `/proc/<pid>/cmdline`: a process's arguments, proc_pid_cmdline(5).
//!
//! Each argument ends with a NUL. The trap: the text lies in the process's own
//! memory. It may be rewritten into a title without any NUL, padded with hundreds
//! of them, or made 2 GiB long; and reading it blocks while the process holds its
//! mmap lock. It is empty for kernel threads and zombies.

/// The arguments, in order; an empty one is an argument like any other. A last one
/// without its NUL counts, too: the process or the reader may have cut it.
#[must_use]
pub fn arguments(bytes: &[u8]) -> Arguments<'_> {
    Arguments { rest: bytes }
}

/// The first argument: by custom the command as it was called, but any bytes.
///
/// Returns `None` when there are no arguments at all.
#[must_use]
pub fn argv0(bytes: &[u8]) -> Option<&[u8]> {
    arguments(bytes).next()
}

/// What stands after the last slash; the whole path where there is none.
#[must_use]
pub fn basename(path: &[u8]) -> &[u8] {
    match memchr::memrchr(b'/', path) {
        Some(slash) => path.get(slash.saturating_add(1)..).unwrap_or_default(),
        None => path,
    }
}

/// Iterator over arguments; see [`arguments`].
#[derive(Clone, Debug)]
pub struct Arguments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Arguments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let length = memchr::memchr(0, self.rest).unwrap_or(self.rest.len());
        let argument = self.rest.get(..length).unwrap_or_default();
        self.rest = self.rest.get(length.saturating_add(1)..).unwrap_or_default();
        Some(argument)
    }
}

impl core::iter::FusedIterator for Arguments<'_> {}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn check(bytes: &str, expected: &[&str]) {
        let found: Vec<_> = arguments(bytes.as_bytes()).collect();
        let expected: Vec<_> = expected.iter().map(|argument| argument.as_bytes()).collect();
        assert_eq!(found, expected, "{bytes:?}");
        assert_eq!(argv0(bytes.as_bytes()), expected.first().copied());
    }

    #[test]
    fn each_argument_ends_with_a_nul() {
        check("sh\0-c\0sleep 1\0", &["sh", "-c", "sleep 1"]);
        check("sh\0\0x\0", &["sh", "", "x"]);
        check("\0", &[""]);
    }

    #[test]
    fn kernel_threads_and_zombies_have_no_arguments() {
        check("", &[]);
    }

    #[test]
    fn a_title_without_nul_is_one_argument() {
        check("nginx: worker process", &["nginx: worker process"]);
        check("postgres: idle\0\0\0", &["postgres: idle", "", ""]);
    }

    #[test]
    fn a_basename_stands_after_the_last_slash() {
        for (path, expected) in
            [("/usr/bin/sh", "sh"), ("sh", "sh"), ("./a/b", "b"), ("/bin/", ""), ("", "")]
        {
            assert_eq!(basename(path.as_bytes()), expected.as_bytes(), "{path:?}");
        }
    }
}
