//! How much of the machine's processes a procfs shows us: `hidepid` of proc(5).
//!
//! The trap: where a mount hides processes, every count is silently too low, and only the
//! mount's options tell. What they hide depends on who asks: the group named by `gid=` and
//! whoever may ptrace(2) everybody see everything.
//! The live test is `a_mount_that_hides_processes_is_told_from_a_whole_one`.

use std::ffi::CStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mpp_accounting::snapshot::Visibility;
use mpp_parse::number::decimal_u64;
use mpp_parse::proc_pid_mountinfo::{Hidepid, Mount, mount_at, mounts};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;
use rustix::thread::CapabilitySet;

use crate::proc_fs::{FileResult, Room, open_file};
use crate::sys;

/// A host with thousands of containers has thousands of mounts.
const MOUNTINFO_BYTES_MAX: usize = 8 << 20;

/// Finds out how much the procfs with this root, mounted at `path`, shows us.
///
/// Where its mount cannot be found, the first process tells: it is everybody's ancestor and
/// seldom ours.
pub(crate) fn of(root: &OwnedFd, path: &Path, room: &mut Room) -> Visibility {
    match mount_options(root, path, room) {
        Some(hiding) => hiding.visibility(root),
        None => of_first_process(root),
    }
}

/// What the mount hides, and from whom it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hiding {
    hidepid: Hidepid,
    /// Members of this group see everything.
    exempt_group: Option<u64>,
}

impl Hiding {
    fn of_mount(mount: &Mount<'_>) -> Self {
        let exempt_group = mount.super_option(b"gid").and_then(decimal_u64);
        Hiding { hidepid: mount.hidepid(), exempt_group }
    }

    fn visibility(self, root: &OwnedFd) -> Visibility {
        let hidden = match self.hidepid {
            Hidepid::Off => return Visibility::Whole,
            Hidepid::NoAccess => Visibility::OthersUnreadable,
            _ => Visibility::OthersHidden,
        };
        let is_exempt =
            self.hidepid != Hidepid::Ptraceable && self.exempt_group.is_some_and(is_our_group);
        if is_exempt || (may_trace_everybody() && of_first_process(root) == Visibility::Whole) {
            return Visibility::Whole;
        }
        hidden
    }
}

fn mount_options(root: &OwnedFd, path: &Path, room: &mut Room) -> Option<Hiding> {
    let mount_id = mount_id(root);
    let text = read_mountinfo(root, room).ok()?;
    let mount = match mount_id {
        Some(id) => mounts(text).flatten().find(|mount| u64::from(mount.mount_id) == id),
        None => mount_at(text, path.as_os_str().as_bytes()).ok().flatten(),
    };
    mount.map(|mount| Hiding::of_mount(&mount))
}

/// Unknown before Linux 5.8.
fn mount_id(root: &OwnedFd) -> Option<u64> {
    let wanted = StatxFlags::MNT_ID;
    let found = sys::retrying(|| rustix::fs::statx(root, c"", AtFlags::EMPTY_PATH, wanted)).ok()?;
    let has_mount_id = found.stx_mask & wanted.bits() != 0;
    has_mount_id.then_some(found.stx_mnt_id)
}

/// Ours, wherever a procfs shows it.
fn read_mountinfo<'a>(root: &OwnedFd, room: &'a mut Room) -> FileResult<&'a [u8]> {
    let own: &CStr = c"self/mountinfo";
    let is_there = open_file(root, own).is_ok();
    let (at, name) = if is_there { (root.as_fd(), own) } else { (CWD, c"/proc/self/mountinfo") };
    room.read_large(at, name, MOUNTINFO_BYTES_MAX)
}

/// A folder that is hidden does not exist; one whose files are closed is there.
fn of_first_process(root: &OwnedFd) -> Visibility {
    match open_file(root, c"1/stat") {
        Err(Errno::NOENT) => Visibility::OthersHidden,
        Err(Errno::PERM | Errno::ACCESS) => Visibility::OthersUnreadable,
        _ => Visibility::Whole,
    }
}

fn may_trace_everybody() -> bool {
    sys::retrying(|| rustix::thread::capabilities(None))
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_PTRACE))
}

fn is_our_group(group: u64) -> bool {
    let is_it = |ours: rustix::process::Gid| u64::from(ours.as_raw()) == group;
    is_it(rustix::process::getegid())
        || sys::retrying(rustix::process::getgroups).is_ok_and(|all| all.into_iter().any(is_it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_who_is_exempt_from_the_mount() {
        fn check(super_options: &str, hidepid: Hidepid, exempt_group: Option<u64>) {
            let line = format!("22 28 0:21 / /proc rw,nosuid - proc proc {super_options}\n");
            let mount = mounts(line.as_bytes()).next().unwrap().unwrap();
            assert_eq!(Hiding::of_mount(&mount), Hiding { hidepid, exempt_group });
        }
        check("rw", Hidepid::Off, None);
        check("rw,hidepid=2,gid=1001", Hidepid::Invisible, Some(1001));
        check("rw,gid=12,hidepid=noaccess", Hidepid::NoAccess, Some(12));
        check("rw,hidepid=ptraceable,gid=x", Hidepid::Ptraceable, None);
    }

    #[test]
    fn a_mount_without_options_shows_everything() {
        let root = OwnedFd::from(std::fs::File::open("/proc").unwrap());
        let mut room = Room::default();
        let hiding = mount_options(&root, Path::new("/proc"), &mut room);
        let visibility = of(&root, Path::new("/proc"), &mut room);
        if hiding.is_some_and(|hiding| hiding.hidepid == Hidepid::Off) {
            assert_eq!(visibility, Visibility::Whole);
        } else {
            eprintln!("/proc hides processes here: {hiding:?}");
            assert_eq!(visibility, hiding.unwrap().visibility(&root));
        }
    }
}
