//! What the kernel keeps for a sampler: page tables, BPF maps and programs, socket buffers, and the
//! files of `/proc` that it looked up, all of which it charges to a memory cgroup, cgroups(7).
//!
//! The trap: a file of `/proc` that has been looked up is remembered, and only who was first is
//! charged. So each sampler gets a cgroup and a `/proc` of its own, by `bench/in_cgroup.sh`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::complain;
use crate::step::Program;

/// Where memory cgroups lie, and what a group's kernel memory is added up from there.
struct Hierarchy {
    root: &'static str,
    read: fn(&Path) -> Option<u64>,
}

/// Where a machine has both, the controller is with one of them, and the other has no such files.
const HIERARCHIES: &[Hierarchy] = &[
    Hierarchy { root: "/sys/fs/cgroup/memory", read: bytes_of_v1 },
    Hierarchy { root: "/sys/fs/cgroup", read: bytes_of_v2 },
];

/// A memory cgroup for one sampler, for as long as this lives.
pub(super) struct KernelAccount {
    folder: PathBuf,
    read: fn(&Path) -> Option<u64>,
    script: PathBuf,
}

impl KernelAccount {
    /// Makes a cgroup that counts kernel memory, and tries whether a program can be put into it.
    ///
    /// # Errors
    /// Why there is no such thing here: no memory controller, no counting in it, or no right to
    /// make cgroups or to mount.
    pub(super) fn open(bench: &Path) -> Result<Self> {
        let name = format!("mpp-bench-{}", std::process::id());
        let account = HIERARCHIES.iter().find_map(|Hierarchy { root, read }| {
            let folder = Path::new(root).join(&name);
            fs::create_dir(&folder).ok()?;
            let account = KernelAccount { folder, read: *read, script: bench.join("in_cgroup.sh") };
            account.bytes().is_some().then_some(account)
        });
        let account = account.context("there is no memory cgroup to be had that counts it")?;
        let trial = Program::new(bench, "true").under(account.script());
        ensure!(trial.succeeds(), "a program cannot be put into a cgroup with a /proc of its own");
        Ok(account)
    }

    /// Bytes of kernel memory that are charged to the group now; `None` where that is not counted.
    pub(super) fn bytes(&self) -> Option<u64> {
        (self.read)(&self.folder)
    }

    /// What runs a program in the group.
    pub(super) fn script(&self) -> Program {
        let folder = self.script.parent().unwrap_or(Path::new("."));
        Program::at(folder, &self.script).arg(&self.folder)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for KernelAccount {
    fn drop(&mut self) {
        // Whoever has just ended may be in it for a moment yet.
        for _ in 0..20 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        complain(&format!("cannot remove {}", self.folder.display()));
    }
}

/// With TCP's buffers, which have an account of their own there.
fn bytes_of_v1(folder: &Path) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    let kernel: u64 = number("memory.kmem.usage_in_bytes")?;
    Some(kernel + number("memory.kmem.tcp.usage_in_bytes").unwrap_or(0))
}

fn bytes_of_v2(folder: &Path) -> Option<u64> {
    kernel_of(&fs::read_to_string(folder.join("memory.stat")).ok()?)
}

/// `kernel` (since Linux 5.18: slab, page tables, stacks, percpu, vmalloc) and `sock` of a
/// `memory.stat`.
fn kernel_of(stat: &str) -> Option<u64> {
    let value = |key: &str| {
        let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
        lines.find(|(name, _)| *name == key)?.1.parse::<u64>().ok()
    };
    Some(value("kernel")? + value("sock").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_memory_is_that_of_the_kernel_and_of_sockets() {
        let stat = "anon 4096\nfile 0\nkernel 700000\nkernel_stack 16384\npagetables 9\nsock 5\n";
        assert_eq!(kernel_of(stat), Some(700_005));
        assert_eq!(kernel_of("anon 4096\nkernel_stack 16384\nslab 9\n"), None);
    }

    #[test]
    fn what_a_program_has_the_kernel_keep_is_charged_to_its_account() {
        let bench = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("bench");
        let account = match KernelAccount::open(&bench) {
            Ok(account) => account,
            // Whoever may not make cgroups learns why.
            Err(error) => return assert!(!format!("{error:#}").is_empty()),
        };
        let folder = account.folder().to_path_buf();
        // Looks up a file of each process, and stays there until it has been looked at.
        let line = "ls /proc/[0-9]*/stat /proc/[0-9]*/io > /dev/null; echo done; sleep 0.3";
        let program = Program::new(&bench, "sh -c").arg(line).under(account.script());
        let mut highest = 0;
        let output = program.output_beside(|| highest = highest.max(account.bytes().unwrap_or(0)));
        assert_eq!(output.unwrap(), "done\n");
        assert!(highest > 64 << 10, "{highest} bytes");
        drop(account);
        assert!(!folder.exists());
    }
}
