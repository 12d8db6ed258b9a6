//! Why BPF programs cannot be had here, in one sentence each, and what would cure it.
//!
//! The kernel's own answer is a bare errno that means ten things: EPERM is a missing capability,
//! a user namespace, a locked-down kernel or a container's filter. So what could be meant is
//! looked up, but only after something has failed: a capability that is missing, or a kernel
//! that is too old by its number, need not stand in the way.

use rustix::fs::{AtFlags, CWD, statat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use super::skeleton::{Failure, Step};
use crate::cure::Cure;
use crate::proc_fs::Room;
use crate::sys;

/// `PROC_PID_INIT_INO` of `include/linux/proc_ns.h`.
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// `PROC_USER_INIT_INO` of the same.
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
/// The kernel relocates programs by itself since then.
const KERNEL_NEEDED: (u32, u32) = (5, 17);

/// What loading programs takes.
const NEEDED: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// Why the kernel's own counters of every ended process cannot be had by BPF.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// CAP_BPF is held, CAP_PERFMON is not.
    #[error("CAP_PERFMON is missing: BPF programs may not look at tasks")]
    MissingPerfmon,
    /// CAP_PERFMON is held, CAP_BPF is not.
    #[error("CAP_BPF is missing: BPF programs may not be loaded")]
    MissingBpf,
    /// Neither is held.
    #[error("CAP_BPF and CAP_PERFMON are missing: BPF programs may not be loaded")]
    MissingBoth,
    /// Capabilities in a user namespace of its own do not count.
    #[error("this is a user namespace of its own, whose capabilities do not reach the kernel")]
    UserNamespace,
    /// The iterator sees the processes of its own PID namespace only, and numbers them by others.
    #[error("this is a PID namespace of its own, which sees only a part of the processes")]
    PidNamespace,
    /// The kernel keeps what it holds from everybody: lockdown=confidentiality.
    #[error("the kernel is locked down (confidentiality), so no program may read its memory")]
    LockedDown,
    /// A filter of a container or service refuses bpf(2).
    #[error("a seccomp filter refuses the system call bpf(2)")]
    Filtered,
    /// Both capabilities are held, and something else said no: a security module.
    #[error("a security module refuses BPF programs, although both capabilities are held")]
    Forbidden,
    /// The kernel was built without types, which the programs' fields are found by.
    #[error("the kernel does not describe its own types (CONFIG_DEBUG_INFO_BTF)")]
    NoTypes,
    /// The kernel was built without bpf(2).
    #[error("the kernel was built without the system call bpf(2) (CONFIG_BPF_SYSCALL)")]
    NoSyscall,
    /// The kernel does not relocate programs by itself.
    #[error("Linux {}.{} is too old: programs fit themselves to the kernel since 5.17", .0.0, .0.1)]
    KernelTooOld((u32, u32)),
    /// The kernel's verifier does not accept the programs.
    #[error("the kernel's verifier refuses the programs (os error {0})")]
    Verifier(i32),
    /// The iterator ran and did not meet this very process.
    #[error("the task iterator does not find this process itself")]
    NotSeen,
    /// The programs are compiled for machines whose numbers begin with the lowest byte.
    #[error("the programs are not built for big-endian machines")]
    BigEndian,
    /// A system call failed for another reason.
    #[error("cannot {action}: os error {errno}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        errno: i32,
    },
}

impl Refusal {
    /// What gives what is missing; `None` where nothing does that could be given here.
    #[must_use]
    pub fn cure(&self) -> Option<Cure> {
        match self {
            Refusal::MissingBpf | Refusal::MissingPerfmon | Refusal::MissingBoth => {
                Cure::granting(NEEDED)
            }
            Refusal::UserNamespace | Refusal::PidNamespace | Refusal::Filtered => {
                Cure::of_container(NEEDED)
            }
            _ => None,
        }
    }

    /// What a failure means here.
    pub(super) fn of(failure: Failure) -> Self {
        judge(failure, &Surroundings::read())
    }
}

/// Whether this process is in the PID namespace of the machine itself.
pub(super) fn is_in_initial_pid_namespace() -> Result<bool, Errno> {
    namespace(c"/proc/self/ns/pid").map(|inode| inode == INITIAL_PID_NAMESPACE)
}

fn namespace(path: &std::ffi::CStr) -> Result<u64, Errno> {
    sys::retrying(|| statat(CWD, path, AtFlags::empty())).map(|stat| stat.st_ino)
}

/// What can be meant by a failure.
#[derive(Clone, Copy, Debug)]
struct Surroundings {
    has_bpf: bool,
    has_perfmon: bool,
    is_in_initial_user_namespace: bool,
    is_locked_down: bool,
    is_filtered: bool,
    has_types: bool,
    /// `None` where its name is no number.
    kernel: Option<(u32, u32)>,
}

impl Surroundings {
    fn read() -> Self {
        let held =
            sys::call(|| capabilities(None)).map_or(CapabilitySet::empty(), |sets| sets.effective);
        let is_admin = held.contains(CapabilitySet::SYS_ADMIN);
        let user_namespace = namespace(c"/proc/self/ns/user");
        Surroundings {
            has_bpf: is_admin || held.contains(CapabilitySet::BPF),
            has_perfmon: is_admin || held.contains(CapabilitySet::PERFMON),
            // A kernel without user namespaces has no such file.
            is_in_initial_user_namespace: user_namespace
                .map_or(true, |inode| inode == INITIAL_USER_NAMESPACE),
            is_locked_down: file_contains(c"/sys/kernel/security/lockdown", b"[confidentiality]"),
            is_filtered: file_contains(c"/proc/self/status", b"\nSeccomp:\t2"),
            has_types: statat(CWD, c"/sys/kernel/btf/vmlinux", AtFlags::empty()).is_ok(),
            kernel: release(rustix::system::uname().release().to_bytes()),
        }
    }
}

fn file_contains(path: &std::ffi::CStr, words: &[u8]) -> bool {
    let mut room = Room::default();
    let bytes = room.read(CWD, path).unwrap_or_default();
    bytes.windows(words.len()).any(|window| window == words)
}

/// The first two numbers of `uname -r`.
fn release(name: &[u8]) -> Option<(u32, u32)> {
    let mut numbers = name
        .split(|byte| !byte.is_ascii_digit())
        .map(|digits| std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok()));
    Some((numbers.next()??, numbers.next()??))
}

/// The meaning of a failure, most likely cause first.
fn judge(failure: Failure, here: &Surroundings) -> Refusal {
    let Failure { step, errno } = failure;
    let too_old = here.kernel.filter(|kernel| *kernel < KERNEL_NEEDED).map(Refusal::KernelTooOld);
    let has_both = here.has_bpf && here.has_perfmon;
    // The verifier says EACCES when it means that memory is read where there is none.
    let is_verdict = has_both && step == Step::LoadPrograms && errno == Errno::ACCESS;
    // Without CAP_PERFMON the verifier does not know a helper function that the loader calls.
    let is_unknown_call =
        !here.has_perfmon && (step, errno) == (Step::LoadLoader, Errno::INVAL) && too_old.is_none();
    if is_unknown_call || matches!(errno, Errno::PERM | Errno::ACCESS) && !is_verdict {
        return match (here.has_bpf, here.has_perfmon) {
            _ if !here.is_in_initial_user_namespace => Refusal::UserNamespace,
            (false, false) => Refusal::MissingBoth,
            (false, true) => Refusal::MissingBpf,
            (true, false) => Refusal::MissingPerfmon,
            _ if here.is_locked_down => Refusal::LockedDown,
            _ if here.is_filtered => Refusal::Filtered,
            // Until Linux 5.11 maps counted as locked memory, of which there may be too little.
            _ => too_old.unwrap_or(Refusal::Forbidden),
        };
    }
    match (errno, step) {
        (Errno::NOSYS, Step::Prepare) if here.is_filtered => Refusal::Filtered,
        (Errno::NOSYS, Step::Prepare) => Refusal::NoSyscall,
        // Whoever is short of these is told so, whatever was being done.
        (Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::AGAIN, _) => failed(step, errno),
        (_, Step::LoadLoader | Step::LoadPrograms) if here.is_locked_down => Refusal::LockedDown,
        (_, Step::LoadLoader | Step::LoadPrograms) if !here.has_types => Refusal::NoTypes,
        (_, Step::LoadLoader | Step::LoadPrograms) => {
            too_old.unwrap_or(Refusal::Verifier(errno.raw_os_error()))
        }
        _ => failed(step, errno),
    }
}

fn failed(step: Step, errno: Errno) -> Refusal {
    let action = match step {
        Step::Prepare => "make a BPF map",
        Step::LoadLoader | Step::LoadPrograms => "load the BPF programs",
        Step::Attach => "attach the BPF programs",
        Step::Other => "prepare the BPF programs",
    };
    Refusal::Failed { action, errno: errno.raw_os_error() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Surroundings = Surroundings {
        has_bpf: true,
        has_perfmon: true,
        is_in_initial_user_namespace: true,
        is_locked_down: false,
        is_filtered: false,
        has_types: true,
        kernel: Some((6, 1)),
    };

    fn check(step: Step, errno: Errno, here: Surroundings, expected: &str) {
        let found = judge(Failure { step, errno }, &here).to_string();
        assert_eq!(found, expected, "{step:?} {errno:?} {here:?}");
    }

    #[test]
    fn a_missing_capability_is_named_and_no_other() {
        let (load, perm) = (Step::LoadPrograms, Errno::PERM);
        let sentence = "CAP_BPF is missing: BPF programs may not be loaded";
        check(Step::Prepare, perm, Surroundings { has_bpf: false, ..HERE }, sentence);
        let sentence = "CAP_PERFMON is missing: BPF programs may not look at tasks";
        check(load, perm, Surroundings { has_perfmon: false, ..HERE }, sentence);
        check(
            Step::LoadLoader,
            Errno::INVAL,
            Surroundings { has_perfmon: false, ..HERE },
            sentence,
        );
        let neither = Surroundings { has_bpf: false, has_perfmon: false, ..HERE };
        let sentence = "CAP_BPF and CAP_PERFMON are missing: BPF programs may not be loaded";
        check(Step::Prepare, perm, neither, sentence);
        check(Step::Prepare, Errno::ACCESS, neither, sentence);
    }

    #[test]
    fn with_all_capabilities_a_refusal_has_another_reason() {
        let perm = Errno::PERM;
        check(
            Step::Prepare,
            perm,
            Surroundings { is_in_initial_user_namespace: false, ..HERE },
            "this is a user namespace of its own, whose capabilities do not reach the kernel",
        );
        let locked = Surroundings { is_locked_down: true, ..HERE };
        let sentence = "the kernel is locked down (confidentiality), so no program may read its \
                        memory";
        check(Step::Prepare, perm, locked, sentence);
        check(Step::LoadPrograms, Errno::INVAL, locked, sentence);
        let filtered = Surroundings { is_filtered: true, ..HERE };
        let sentence = "a seccomp filter refuses the system call bpf(2)";
        check(Step::Prepare, perm, filtered, sentence);
        check(Step::Prepare, Errno::NOSYS, filtered, sentence);
        check(
            Step::Prepare,
            perm,
            HERE,
            "a security module refuses BPF programs, although both capabilities are held",
        );
    }

    #[test]
    fn an_old_kernel_is_told_from_one_that_refuses() {
        let old = Surroundings { kernel: Some((5, 10)), ..HERE };
        let sentence = "Linux 5.10 is too old: programs fit themselves to the kernel since 5.17";
        check(Step::LoadLoader, Errno::INVAL, old, sentence);
        check(Step::LoadPrograms, Errno::TOOBIG, old, sentence);
        check(Step::LoadLoader, Errno::INVAL, Surroundings { has_perfmon: false, ..old }, sentence);
        // Its maps count as locked memory, of which there may be too little.
        check(Step::Prepare, Errno::PERM, old, sentence);
        let sentence = "the kernel's verifier refuses the programs (os error 22)";
        check(Step::LoadPrograms, Errno::INVAL, HERE, sentence);
        let sentence = "the kernel's verifier refuses the programs (os error 13)";
        check(Step::LoadPrograms, Errno::ACCESS, HERE, sentence);
    }

    #[test]
    fn what_the_kernel_was_built_without_is_named() {
        check(
            Step::Prepare,
            Errno::NOSYS,
            HERE,
            "the kernel was built without the system call bpf(2) (CONFIG_BPF_SYSCALL)",
        );
        check(
            Step::LoadPrograms,
            Errno::NOENT,
            Surroundings { has_types: false, ..HERE },
            "the kernel does not describe its own types (CONFIG_DEBUG_INFO_BTF)",
        );
    }

    #[test]
    fn a_shortage_is_no_fault_of_the_kernel() {
        let sentence = "cannot load the BPF programs: os error 12";
        check(Step::LoadPrograms, Errno::NOMEM, HERE, sentence);
        check(Step::Prepare, Errno::MFILE, HERE, "cannot make a BPF map: os error 24");
        check(Step::Attach, Errno::BUSY, HERE, "cannot attach the BPF programs: os error 16");
    }

    #[test]
    fn a_release_is_read_by_its_first_two_numbers() {
        assert_eq!(release(b"6.1.0-28-amd64"), Some((6, 1)));
        assert_eq!(release(b"5.14.0-503.el9.x86_64"), Some((5, 14)));
        assert_eq!(release(b"6"), None);
        assert_eq!(release(b"next.1"), None);
    }

    #[test]
    fn what_capabilities_can_cure_has_a_cure() {
        for refusal in [Refusal::MissingBoth, Refusal::MissingBpf, Refusal::MissingPerfmon] {
            assert_eq!(refusal.cure(), Cure::granting(NEEDED), "{refusal}");
        }
        assert_eq!(Refusal::PidNamespace.cure(), Cure::of_container(NEEDED));
        assert_eq!(Refusal::LockedDown.cure(), None);
        assert_eq!(Refusal::KernelTooOld((5, 4)).cure(), None);
    }
}
