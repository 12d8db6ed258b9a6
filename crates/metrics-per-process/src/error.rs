//! Why nothing could be measured.

use mpp_accounting::selector::SelectorError;
use mpp_collect::CollectError;
use mpp_collect::pid_file::PidFileError;

/// Why nothing could be measured.
///
/// A process that ended, or one that cannot be read, is never an error: the report says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The processes could not be read at all.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// A selector names a user that does not exist.
    #[error("expected the name or number of a user, but found `{}`", name.escape_ascii())]
    UnknownUser {
        /// The name.
        name: Box<[u8]>,
    },
    /// A selector names a user, but the procfs is another machine's or container's.
    #[error(
        "expected the number of a user, but found `{}`: names here are not those of this procfs",
        name.escape_ascii()
    )]
    ForeignUser {
        /// The name.
        name: Box<[u8]>,
    },
    /// Several groups were to be split by one key, whose values would name rows of each.
    #[error("group key: expected at most one group to split, but found several")]
    SeveralGroupsByKey,
    /// The selector of this very process, by which a self test finds its children, is none.
    #[error("cannot select the children of the self test")]
    SelfTestSelector {
        /// Why it is none.
        source: SelectorError,
    },
    /// The children of a self test cannot be started: there is no `head`.
    #[error("cannot start the children of the self test")]
    SelfTestStart {
        /// Why not.
        source: std::io::Error,
    },
    /// A child of a self test ended with a failure, so that nobody knows what it wrote.
    #[error("expected the children of the self test to succeed, but one ended with {status}")]
    SelfTestChild {
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// The thread that measures its own process cannot be started.
    #[error("cannot start the thread that measures")]
    MeterThread(#[source] std::io::Error),
    /// It has ended.
    #[error("the thread that measures has ended")]
    MeterGone,
    /// A selector names a PID file that holds no PID.
    #[error(transparent)]
    PidFile(#[from] PidFileError),
}
