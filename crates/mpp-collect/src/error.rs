//! What can go wrong with a whole collection, and why one field has no value.
//!
//! An error is for what spoils everything: a procfs that cannot be opened or
//! listed. What spoils one field of one process is an [`Absence`]; a process that
//! ended is neither.

use std::io;
use std::path::PathBuf;

use mpp_accounting::process::Absence;
use rustix::io::Errno;

/// Why nothing could be collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// A system call on something that every collection needs has failed.
    #[error("cannot {action} {}", object.display())]
    System {
        /// What was tried: `open`, `list`, `read`.
        action: &'static str,
        /// On what.
        object: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The folder is neither a mounted procfs nor a frozen tree.
    #[error(
        "expected a procfs, but found another file system at {}\n\n\
         hint: a frozen tree needs a file `frozen` at its root",
        path.display()
    )]
    NotProcfs {
        /// The folder.
        path: PathBuf,
    },
    /// The file `frozen` of a frozen tree does not say what it must.
    #[error("{}: {problem}", path.display())]
    Frozen {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },
}

impl CollectError {
    /// A system call that failed on something every collection needs.
    pub(crate) fn system(action: &'static str, object: impl Into<PathBuf>, errno: Errno) -> Self {
        CollectError::System { action, object: object.into(), source: errno.into() }
    }
}

/// Why a reading has no value after a call on a process's file failed so.
///
/// `ENOENT` and `ESRCH` both mean that the process ended; where a file may be missing
/// although the process lives, the caller says so itself.
pub(crate) fn absence_of(errno: Errno) -> Absence {
    match errno {
        Errno::ACCESS | Errno::PERM => Absence::Denied,
        Errno::NOENT | Errno::SRCH => Absence::Vanished,
        other => Absence::Failed(other.raw_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_was_tried_on_what_and_why_it_failed() {
        let error = CollectError::system("list", "/proc", Errno::IO);
        assert_eq!(error.to_string(), "cannot list /proc");
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(cause.as_deref(), Some("Input/output error (os error 5)"));
    }

    #[test]
    fn only_a_missing_process_has_vanished() {
        assert_eq!(absence_of(Errno::SRCH), Absence::Vanished);
        assert_eq!(absence_of(Errno::NOENT), Absence::Vanished);
        assert_eq!(absence_of(Errno::ACCESS), Absence::Denied);
        assert_eq!(absence_of(Errno::PERM), Absence::Denied);
        assert_eq!(absence_of(Errno::MFILE), Absence::Failed(24));
    }
}
