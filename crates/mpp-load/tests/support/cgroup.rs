//! A control group of our own, in which the kernel counts what a load uses.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A group, cgroups(7). Dropping it removes it, once it is empty.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A new group below the one that we are in.
    ///
    /// # Errors
    /// There is no such hierarchy, or we may not make groups in it.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        Cgroup::below(&own_group()?, name)
    }

    /// The same, in which there may be no more than so many processes and threads at a time; of
    /// the first version where that is the one that limits them.
    ///
    /// # Errors
    /// Nobody limits them here, or we may not have it done.
    pub(crate) fn with_pids_max(name: &str, pids_max: u64) -> io::Result<Self> {
        let group = Cgroup::below(&own_group_of_pids().or_else(|_| own_group())?, name)?;
        fs::write(group.path.join("pids.max"), pids_max.to_string())?;
        Ok(group)
    }

    fn below(folder: &Path, name: &str) -> io::Result<Self> {
        let path = folder.join(format!("mpp-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Cgroup { path })
    }

    /// How often somebody here was refused another process.
    pub(crate) fn refused_forks(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("pids.events")).expect("the group's events");
        let value = text.lines().find_map(|line| line.strip_prefix("max "));
        value.and_then(|digits| digits.parse().ok()).expect("a line `max N`")
    }

    /// Moves a process here, with all its threads.
    pub(crate) fn take(&self, pid: u32) {
        fs::write(self.path.join("cgroup.procs"), pid.to_string()).expect("a living process");
    }

    /// CPU time that everybody in it has used since it was made, in microseconds.
    pub(crate) fn usage_us(&self) -> u64 {
        let text = fs::read_to_string(self.path.join("cpu.stat")).expect("cpu.stat of a group");
        let value = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        value.and_then(|digits| digits.parse().ok()).expect("a line `usage_usec N`")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Whoever was killed a moment ago may still be in it.
        for _ in 0..100 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// The folder of our own group of the second version.
fn own_group() -> io::Result<PathBuf> {
    own_folder("0::", |mount| mount.contains(" - cgroup2 "))
}

/// The folder of our own group in the hierarchy of the first version that limits processes.
fn own_group_of_pids() -> io::Result<PathBuf> {
    own_folder(":pids:", |mount| mount.contains(" - cgroup ") && mount.ends_with(",pids"))
}

/// A folder by proc_pid_cgroup(5), in the line with these words, and proc_pid_mountinfo(5).
fn own_folder(words: &str, is_mount: impl Fn(&&str) -> bool) -> io::Result<PathBuf> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "no such hierarchy is mounted");
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let group = groups.lines().find_map(|line| line.split_once(words)).ok_or_else(missing)?.1;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find(is_mount).ok_or_else(missing)?;
    let mut fields = mount.split(' ').skip(3);
    let (Some(root), Some(place)) = (fields.next(), fields.next()) else { return Err(missing()) };
    let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
    Ok(Path::new(place).join(below))
}
