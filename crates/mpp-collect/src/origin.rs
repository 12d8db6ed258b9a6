//! Which procfs is read: the live one of our own PID namespace, that of another one, or
//! a frozen tree; and what the machine behind it is.
//!
//! The trap: a procfs that is mounted from another PID namespace looks like any other,
//! yet its numbers are not the ones that our own system calls take.

use std::path::Path;

use mpp_accounting::snapshot::Host;
use mpp_accounting::units::{BootTime, WallTime};
use mpp_parse::number::decimal_u64;
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, PROC_SUPER_MAGIC};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::error::CollectError;
use crate::frozen::{self, Frozen};
use crate::proc_fs::{FileError, Room, link_target, open_listing, status_at};
use crate::scale::{Scale, boot_time, unix_ns};
use crate::{sys, visibility};

/// `NSpid` is within the first so many lines of proc_pid_status(5).
const LINES_TO_NSPID: usize = 14;

/// What kind of procfs is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcfsKind {
    /// Live, and its PIDs are those that our system calls take.
    OwnNamespace,
    /// Live, but of another PID namespace: what the kernel tells by other ways than this
    /// procfs cannot be joined to it.
    OtherNamespace,
    /// A copy on disk of what a procfs was at one moment.
    Frozen,
}

/// A procfs, and what must be known to read it.
#[derive(Debug)]
pub(crate) struct Origin {
    /// Its top folder, open for listing.
    pub(crate) root: OwnedFd,
    pub(crate) kind: ProcfsKind,
    pub(crate) scale: Scale,
    pub(crate) host: Host,
    /// Our PID in it; `None` where it does not show us.
    pub(crate) own_pid: Option<u32>,
    /// Whether the size of a process's `fd` folder is its number of descriptors (Linux 6.2).
    pub(crate) counts_descriptors: bool,
    /// Whether processes have an `io` file; kernels can be built without.
    pub(crate) has_io: bool,
    frozen: Option<Frozen>,
    sight: Sight,
}

/// Whether it is known how much of the processes the procfs shows us: that takes reading all
/// mounts, which costs as much as reading a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    Known,
    NotLookedAt,
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) since_boot: BootTime,
    pub(crate) wall_time: WallTime,
}

impl Origin {
    /// Opens the procfs at `path` and finds out what it is.
    pub(crate) fn open(path: &Path, room: &mut Room) -> Result<Self, CollectError> {
        let root = open_root(path)?;
        let file_system = sys::retrying(|| rustix::fs::fstatfs(&root))
            .map_err(|errno| CollectError::system("look at", path, errno))?;
        if file_system.f_type == PROC_SUPER_MAGIC {
            Origin::live(root, room)
                .map_err(|errno| CollectError::system("find ourselves in", path, errno))
        } else {
            let frozen = frozen::read(&root, path, room)?;
            Origin::frozen(root, frozen, path, room)
        }
    }

    fn live(root: OwnedFd, room: &mut Room) -> Result<Self, Errno> {
        let scale = Scale::of_this_machine();
        let own_pid = own_pid(&root, room)?;
        let is_own = own_pid.is_some() && is_own_namespace(&root, room)?;
        let host = Host {
            memory_total_bytes: memory_total_bytes(&root, room).unwrap_or_else(total_by_sysinfo),
            ticks_per_second: scale.ticks_per_second(),
            ..Host::default()
        };
        let kind = if is_own { ProcfsKind::OwnNamespace } else { ProcfsKind::OtherNamespace };
        Ok(Origin {
            kind,
            scale,
            host,
            own_pid,
            counts_descriptors: counts_descriptors(&root),
            has_io: has_io(&root),
            root,
            frozen: None,
            sight: Sight::NotLookedAt,
        })
    }

    fn frozen(
        root: OwnedFd,
        frozen: Frozen,
        path: &Path,
        room: &mut Room,
    ) -> Result<Self, CollectError> {
        let memory_total_bytes = frozen
            .memory_total_bytes
            .or_else(|| memory_total_bytes(&root, room))
            .ok_or_else(|| CollectError::Frozen {
                path: path.join("meminfo"),
                problem: "expected `MemTotal` here or `memory_total_bytes` in `frozen`, \
                          but found neither"
                    .to_owned(),
            })?;
        let ticks_per_second = frozen.scale.ticks_per_second();
        let host = Host { memory_total_bytes, ticks_per_second, ..Host::default() };
        Ok(Origin {
            root,
            kind: ProcfsKind::Frozen,
            scale: frozen.scale,
            host,
            own_pid: None,
            counts_descriptors: false,
            has_io: true,
            frozen: Some(frozen),
            sight: Sight::Known,
        })
    }

    /// Looks again where a frozen tree is: the path may lead to a later one by now.
    ///
    /// A live procfs needs no second look.
    pub(crate) fn refresh(&mut self, path: &Path, room: &mut Room) -> Result<(), CollectError> {
        if self.kind == ProcfsKind::Frozen {
            *self = Origin::open(path, room)?;
        }
        Ok(())
    }

    /// Finds out how much of the processes the procfs shows us, where that is not known yet.
    /// `path` is where it was opened.
    pub(crate) fn find_visibility(&mut self, path: &Path, room: &mut Room) {
        if self.sight == Sight::NotLookedAt {
            self.host.visibility = visibility::of(&self.root, path, room);
            self.sight = Sight::Known;
        }
    }

    /// Whether it is a copy on disk, where nobody can hold a reader up.
    pub(crate) fn is_frozen(&self) -> bool {
        self.kind == ProcfsKind::Frozen
    }

    /// Now, or when the tree was frozen.
    pub(crate) fn now(&self) -> Moment {
        if let Some(frozen) = self.frozen {
            return Moment { since_boot: frozen.taken_at, wall_time: frozen.wall_time };
        }
        let wall = clock_gettime(ClockId::Realtime);
        Moment {
            since_boot: self.since_boot(),
            wall_time: WallTime { unix_ns: unix_ns(wall.tv_sec, wall.tv_nsec) },
        }
    }

    /// As [`Origin::now`], on the clock for intervals alone.
    pub(crate) fn since_boot(&self) -> BootTime {
        match self.frozen {
            Some(frozen) => frozen.taken_at,
            None => since_boot(),
        }
    }
}

/// Now, on the clock for intervals.
pub(crate) fn since_boot() -> BootTime {
    let time = clock_gettime(ClockId::Boottime);
    boot_time(time.tv_sec, time.tv_nsec)
}

fn open_root(path: &Path) -> Result<OwnedFd, CollectError> {
    let failed = |errno| CollectError::system("open", path, errno);
    let name = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())
        .map_err(|_| failed(Errno::INVAL))?;
    open_listing(CWD, &name).map_err(failed)
}

/// Our PID as this procfs numbers processes; `None` where it does not show us.
fn own_pid(root: &OwnedFd, room: &mut Room) -> Result<Option<u32>, Errno> {
    match link_target(root, c"self", room) {
        Ok(target) => Ok(decimal_u64(&target).and_then(|pid| u32::try_from(pid).ok())),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// A procfs of an outer PID namespace shows us under several numbers, its own one first.
fn is_own_namespace(root: &OwnedFd, room: &mut Room) -> Result<bool, Errno> {
    let text = match room.read_lines(root, c"self/status", LINES_TO_NSPID) {
        Ok(text) => text,
        Err(FileError::System(errno)) => return Err(errno),
        Err(FileError::TooLarge) => return Err(Errno::FBIG),
    };
    let numbers = text.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"NSpid:"));
    let own = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    // Without the line the kernel knows no PID namespaces.
    Ok(numbers.is_none_or(|numbers| {
        let mut words = numbers.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        words.next().and_then(decimal_u64) == Some(u64::from(own)) && words.next().is_none()
    }))
}

fn memory_total_bytes(root: &OwnedFd, room: &mut Room) -> Option<u64> {
    let text = room.read_lines(root, c"meminfo", 1).ok()?;
    mpp_parse::proc_meminfo::parse(text).ok().map(|meminfo| meminfo.mem_total_bytes)
}

/// The kernel counts in units of `mem_unit` bytes, sysinfo(2).
fn total_by_sysinfo() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// Any process that can ask has a descriptor: the one it asks with.
fn counts_descriptors(root: &OwnedFd) -> bool {
    let own = status_at(root, c"self/fd").or_else(|_| status_at(CWD, c"/proc/self/fd"));
    own.is_ok_and(|status| status.st_size > 0)
}

/// Only a file that is not there at all says no.
fn has_io(root: &OwnedFd) -> bool {
    status_at(root, c"self/io").err() != Some(Errno::NOENT) || status_at(root, c"self").is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpp_accounting::snapshot::Visibility;

    fn open(path: &str) -> Result<Origin, CollectError> {
        Origin::open(Path::new(path), &mut Room::default())
    }

    #[test]
    fn the_procfs_of_this_machine_shows_us_under_our_own_number() {
        let origin = open("/proc").unwrap();
        assert_eq!(origin.kind, ProcfsKind::OwnNamespace);
        assert_eq!(origin.own_pid, Some(std::process::id()));
        assert!(origin.host.memory_total_bytes > 1 << 20);
        assert_eq!(origin.host.memory_total_bytes >> 20, total_by_sysinfo() >> 20);
        assert!(origin.has_io);
    }

    #[test]
    fn time_passes_on_a_live_procfs() {
        let origin = open("/proc").unwrap();
        let first = origin.now();
        let second = origin.now();
        assert!(second.since_boot > first.since_boot);
        assert!(first.wall_time.unix_ns > 1_700_000_000_000_000_000);
    }

    #[test]
    fn a_folder_that_is_no_procfs_and_no_frozen_tree_is_refused_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let error = open(path).unwrap_err();
        assert!(matches!(error, CollectError::NotProcfs { .. }), "{error}");
        assert!(error.to_string().contains("hint: "), "{error}");
        let error = open(&format!("{path}/missing")).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot open {path}/missing"));
        assert!(open("/proc/self/stat").is_err(), "a file is no folder");
    }

    #[test]
    fn a_frozen_tree_stands_still_and_follows_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let write = |boot_ns: u64| {
            let text = format!(
                "clock_ticks_per_second=250\npage_size_bytes=4096\n\
                 taken_at_unix_ns=5\ntaken_at_boot_ns={boot_ns}\n"
            );
            std::fs::write(folder.path().join("frozen"), text).unwrap();
        };
        write(7);
        std::fs::write(folder.path().join("meminfo"), "MemTotal:       8 kB\n").unwrap();
        let mut room = Room::default();
        let mut origin = Origin::open(folder.path(), &mut room).unwrap();
        assert_eq!(origin.kind, ProcfsKind::Frozen);
        assert_eq!(origin.now(), origin.now());
        assert_eq!(origin.since_boot(), BootTime { ns: 7 });
        let host =
            Host { memory_total_bytes: 8192, ticks_per_second: 250, visibility: Visibility::Whole };
        assert_eq!(origin.host, host);
        write(8);
        origin.refresh(folder.path(), &mut room).unwrap();
        assert_eq!(origin.since_boot(), BootTime { ns: 8 });
    }
}
