//! What would give what is missing here, and the command that does it.
//!
//! setcap(8) replaces what a program has: of two such commands the later one takes away what the
//! earlier one gave. So what is missing is kept as a [`Grant`], which includes what is held
//! already, and grants are joined before one of them is written down as a command.

use std::ffi::CStr;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, statat};
use rustix::thread::{CapabilitySet, capabilities, capability_is_in_bounding_set};

use crate::sys;

/// The capabilities that measuring may need, and their names in capabilities(7).
pub(crate) const NAMES: [(CapabilitySet, &str); 6] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
    (CapabilitySet::DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
];
/// What systemd leaves where it finds itself in a container, at each start of it.
const CONTAINER_MARK: &CStr = c"/run/systemd/container";
/// What container managers leave in the file systems of the containers they start. Machines whose
/// disk was made from such a file system have them as well.
const IMAGE_MARKS: [&CStr; 2] = [c"/.dockerenv", c"/run/.containerenv"];
/// Namespaces of which a container has at least one of its own, unless it was given all of its
/// host's; and the numbers of those that the kernel itself began with: `PROC_PID_INIT_INO` and its
/// like, include/linux/proc_ns.h. That a new one bears another number is shown by the live test
/// `an_image_that_boots_as_a_machine_is_no_container`.
const FIRST_NAMESPACES: [(&CStr, u64); 3] = [
    (c"/proc/self/ns/pid", 0xEFFF_FFFC),
    (c"/proc/self/ns/uts", 0xEFFF_FFFE),
    (c"/proc/self/ns/ipc", 0xEFFF_FFFF),
];
/// What they leave in the environment there: podman and systemd the first, Kubernetes the other.
const CONTAINER_VARIABLES: [&str; 2] = ["container", "KUBERNETES_SERVICE_HOST"];

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cure {
    /// This command.
    Command(&'static str),
    /// Capabilities.
    Grant(Grant),
}

/// Capabilities that a program or its container has to be given: those that are missing, and those
/// that are held and must not be lost by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    capabilities: CapabilitySet,
    receiver: Receiver,
}

/// Who is given them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Receiver {
    /// The program's file.
    Program,
    /// The container: what it was not started with no program in it can have.
    Container,
}

impl Cure {
    /// What gives these capabilities to this program. `None` where it has them, so that
    /// something else refuses, and where no program can be given them and this is no container,
    /// which could be started anew.
    pub(crate) fn granting(missing: CapabilitySet) -> Option<Self> {
        if permitted().contains(missing) {
            return None;
        }
        let may_be_given = NAMES.into_iter().filter(|(set, _)| missing.contains(*set)).all(
            // Until the opposite is known it may.
            |(set, _)| sys::call(|| capability_is_in_bounding_set(set)).unwrap_or(true),
        );
        if may_be_given {
            let capabilities = missing | permitted();
            return Some(Cure::Grant(Grant { capabilities, receiver: Receiver::Program }));
        }
        Cure::of_container(missing)
    }

    /// What gives these capabilities to our container, in the namespaces of its host. `None`
    /// outside of containers.
    pub(crate) fn of_container(missing: CapabilitySet) -> Option<Self> {
        let capabilities = missing | permitted();
        is_container().then_some(Cure::Grant(Grant { capabilities, receiver: Receiver::Container }))
    }
}

impl Grant {
    /// What both of them give.
    #[must_use]
    pub fn joined(self, other: Self) -> Self {
        let receiver = match (self.receiver, other.receiver) {
            (Receiver::Program, Receiver::Program) => Receiver::Program,
            _ => Receiver::Container,
        };
        Grant { capabilities: self.capabilities | other.capabilities, receiver }
    }

    /// The one command that gives all of it to the program at `program`, for a shell.
    #[must_use]
    pub fn command(&self, program: &Path) -> String {
        let names = NAMES.iter().filter(|(set, _)| self.capabilities.contains(*set));
        match self.receiver {
            Receiver::Program => {
                let names: Vec<_> = names.map(|(_, name)| name.to_ascii_lowercase()).collect();
                format!("sudo setcap {}+ep {}", names.join(","), quoted(program))
            }
            Receiver::Container => {
                let added: String = names
                    .filter_map(|(_, name)| name.strip_prefix("CAP_"))
                    .map(|name| format!("--cap-add {name} "))
                    .collect();
                // The kernel tells of ended threads only in its own network namespace.
                let needs_network = self.capabilities.contains(CapabilitySet::NET_ADMIN);
                let network = if needs_network { "--network host " } else { "" };
                format!("docker run {added}--pid host {network}IMAGE")
            }
        }
    }
}

/// A path as a shell reads it as one word.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(&byte);
    if path.bytes().all(is_plain) {
        return path.into_owned();
    }
    format!("'{}'", path.replace('\'', r"'\''"))
}

/// Those of [`NAMES`] that this process has, and so its program unless its user is root.
fn permitted() -> CapabilitySet {
    let known = NAMES.into_iter().fold(CapabilitySet::empty(), |all, (set, _)| all | set);
    // Not knowing what we hold is not holding it.
    sys::call(|| capabilities(None)).map_or(CapabilitySet::empty(), |sets| sets.permitted) & known
}

fn is_container() -> bool {
    let is_there =
        |path: &CStr| sys::retrying(|| statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)).is_ok();
    is_there(CONTAINER_MARK)
        || CONTAINER_VARIABLES.into_iter().any(|name| std::env::var_os(name).is_some())
        || (IMAGE_MARKS.into_iter().any(is_there) && !is_in_first_namespaces())
}

/// Whether the namespaces of this process are surely those that the kernel began with.
fn is_in_first_namespaces() -> bool {
    FIRST_NAMESPACES.into_iter().all(|(path, number)| {
        let found = sys::retrying(|| statat(CWD, path, AtFlags::empty()));
        found.is_ok_and(|status| status.st_ino == number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(capabilities: CapabilitySet, receiver: Receiver, expected: &str) {
        let command = Grant { capabilities, receiver }.command("/usr/bin/mpp".as_ref());
        assert_eq!(command, expected);
    }

    #[test]
    fn a_grant_is_one_command() {
        let both = CapabilitySet::BPF | CapabilitySet::PERFMON;
        check(both, Receiver::Program, "sudo setcap cap_bpf,cap_perfmon+ep /usr/bin/mpp");
        check(
            both,
            Receiver::Container,
            "docker run --cap-add BPF --cap-add PERFMON --pid host IMAGE",
        );
        check(
            CapabilitySet::NET_ADMIN,
            Receiver::Container,
            "docker run --cap-add NET_ADMIN --pid host --network host IMAGE",
        );
    }

    #[test]
    fn what_is_joined_takes_nothing_away() {
        let of = |capabilities, receiver| Grant { capabilities, receiver };
        let bpf = of(CapabilitySet::BPF, Receiver::Program);
        let ptrace = of(CapabilitySet::SYS_PTRACE, Receiver::Program);
        let expected = of(CapabilitySet::BPF | CapabilitySet::SYS_PTRACE, Receiver::Program);
        assert_eq!(bpf.joined(ptrace), expected);
        assert_eq!(ptrace.joined(bpf), expected);
        assert_eq!(bpf.joined(bpf), bpf);
        let container = of(CapabilitySet::BPF, Receiver::Container);
        assert_eq!(bpf.joined(container), container);
    }

    #[test]
    fn what_is_held_is_given_again() {
        match Cure::granting(CapabilitySet::BPF) {
            Some(Cure::Grant(grant)) => {
                assert!(grant.capabilities.contains(CapabilitySet::BPF | permitted()));
                assert!(!permitted().contains(CapabilitySet::BPF));
            }
            other => {
                assert_eq!(other, None);
                assert!(permitted().contains(CapabilitySet::BPF) || !is_container());
            }
        }
    }

    #[test]
    fn a_path_stays_one_word_of_a_shell() {
        let check = |path: &str, expected| assert_eq!(quoted(path.as_ref()), expected);
        check("/usr/local/bin/mpp", "/usr/local/bin/mpp");
        check("/home/a b/mpp", "'/home/a b/mpp'");
        check("/it's/$(x)", r"'/it'\''s/$(x)'");
    }
}
