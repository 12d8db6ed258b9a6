//! A control group of our own, in which the kernel counts what a load uses.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A group of the second version, cgroups(7). Dropping it removes it, once it is empty.
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A new group below the one that we are in.
    ///
    /// # Errors
    /// There is no such hierarchy, or we may not make groups in it.
    pub(crate) fn new(name: &str) -> io::Result<Self> {
        let path = own_group()?.join(format!("mpp-{name}-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Cgroup { path })
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

/// The folder of our own group, by proc_pid_cgroup(5) and proc_pid_mountinfo(5).
fn own_group() -> io::Result<PathBuf> {
    let missing = || io::Error::new(io::ErrorKind::NotFound, "no cgroup2 hierarchy is mounted");
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::")).ok_or_else(missing)?;
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).ok_or_else(missing)?;
    let mut fields = mount.split(' ').skip(3);
    let (Some(root), Some(place)) = (fields.next(), fields.next()) else { return Err(missing()) };
    let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
    Ok(Path::new(place).join(below))
}
