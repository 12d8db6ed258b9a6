//! Forged messages to the netlink sockets of a program.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use super::stranger::{NOBODY, Place, is_root};
use super::{Load, number};

/// Who sends them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum IsNobody {
    Yes,
    No,
}

/// The netlink sockets that a process holds: `PROTOCOL:PORT,...`, by the kernel's table of them.
pub(crate) fn netlink_targets(pid: u32) -> String {
    let inodes: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.into()))
        .collect();
    let table = std::fs::read_to_string("/proc/net/netlink").unwrap();
    let words = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    // Columns: address, protocol, port, and at the end the inode.
    let ours = words.filter(|words| inodes.iter().any(|inode| words.last() == Some(&&**inode)));
    ours.map(|words| format!("{}:{}", words[1], words[2])).collect::<Vec<_>>().join(",")
}

/// Has `nobody`, or ourselves, send each forged message so often to all these sockets; how many
/// were sent, and how many the kernel refused to.
pub(crate) fn forge(place: &Place, targets: &str, is_nobody: IsNobody, count: u64) -> (u64, u64) {
    let mut command = Command::new(place.program("mpp-load"));
    command.args(["forgery", "--targets", targets, "--count", &count.to_string()]);
    if is_nobody == IsNobody::Yes && is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut forger = Load::start_command(command, place.folder());
    forger.begin();
    let total = forger.total();
    assert!(forger.end());
    (number(&total, "sent"), number(&total, "refused"))
}
