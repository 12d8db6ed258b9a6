//! Why no records of ended threads can be had here, and what would help.

use rustix::fs::{AtFlags, CWD, statat};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::cure::Cure;
use crate::sys;

/// The initial user namespace: `PROC_USER_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;
/// What being told takes, and what reading other users' processes takes besides.
const NEEDED: CapabilitySet =
    CapabilitySet::NET_ADMIN.union(CapabilitySet::SYS_PTRACE).union(CapabilitySet::DAC_READ_SEARCH);

/// Why the kernel does not tell us of ended threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    /// The capability is missing.
    #[error("the kernel tells of ended threads only whoever has CAP_NET_ADMIN")]
    NotPermitted,
    /// The capability may be there, but not the right one.
    #[error("the kernel tells of ended threads only in the host's user and PID namespaces")]
    OtherNamespace,
    /// Asking succeeds in any network namespace; an answer comes only into the host's.
    #[error("the kernel tells of ended threads only in the host's network namespace")]
    OtherNetworkNamespace,
    /// The kernel does not know the family `TASKSTATS`.
    #[error("this kernel was built without CONFIG_TASKSTATS")]
    Unsupported,
    /// What arrives cannot be read.
    #[error("this kernel tells of ended threads in a form that is not known")]
    UnknownForm,
    /// Records name the thread alone, before version 12 of them: what short-lived threads did
    /// would be their process's parent's.
    #[error(
        "this kernel does not tell to which process an ended thread belonged (taskstats before version 12)"
    )]
    NoThreadGroup,
    /// A system call has failed.
    #[error("cannot {action}: {errno}")]
    System {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        errno: Errno,
    },
}

impl Refusal {
    /// What would help; `None` where nothing does that could be given here.
    pub(crate) fn cure(self) -> Option<Cure> {
        match self {
            Refusal::NotPermitted => Cure::granting(NEEDED),
            Refusal::OtherNamespace | Refusal::OtherNetworkNamespace => Cure::of_container(NEEDED),
            Refusal::Unsupported
            | Refusal::UnknownForm
            | Refusal::NoThreadGroup
            | Refusal::System { .. } => None,
        }
    }

    /// What an errno means that answers a request of the family.
    pub(super) fn of(action: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::PERM if is_in_initial_user_namespace() => Refusal::NotPermitted,
            // The list of CPUs is the kernel's own, so that nothing else can be invalid.
            Errno::PERM | Errno::INVAL => Refusal::OtherNamespace,
            Errno::NOENT | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => Refusal::Unsupported,
            errno => Refusal::System { action, errno },
        }
    }
}

/// Whether the calling thread is; it counts as being there where that cannot be found out.
fn is_in_initial_user_namespace() -> bool {
    let namespace = sys::retrying(|| statat(CWD, c"/proc/thread-self/ns/user", AtFlags::empty()));
    namespace.map_or(true, |stat| stat.st_ino == INITIAL_USER_NAMESPACE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(refusal: Refusal, sentence: &str) {
        assert_eq!(refusal.to_string(), sentence);
    }

    #[test]
    fn every_refusal_is_a_sentence() {
        check(
            Refusal::NotPermitted,
            "the kernel tells of ended threads only whoever has CAP_NET_ADMIN",
        );
        check(
            Refusal::NoThreadGroup,
            "this kernel does not tell to which process an ended thread belonged (taskstats before version 12)",
        );
        check(Refusal::of("x", Errno::NOENT), "this kernel was built without CONFIG_TASKSTATS");
        check(
            Refusal::of("x", Errno::INVAL),
            "the kernel tells of ended threads only in the host's user and PID namespaces",
        );
        check(
            Refusal::of("open a socket", Errno::MFILE),
            "cannot open a socket: Too many open files (os error 24)",
        );
    }

    #[test]
    fn what_capabilities_can_cure_has_a_cure() {
        assert_eq!(Refusal::NotPermitted.cure(), Cure::granting(NEEDED));
        for refusal in [Refusal::OtherNamespace, Refusal::OtherNetworkNamespace] {
            assert_eq!(refusal.cure(), Cure::of_container(NEEDED));
        }
        assert_eq!(Refusal::Unsupported.cure(), None);
        assert_eq!(Refusal::NoThreadGroup.cure(), None);
    }
}
