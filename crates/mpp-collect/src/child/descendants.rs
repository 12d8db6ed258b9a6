//! Who descends from a process, by the kernel's own lists of children, proc_pid_task(5).
//!
//! Each thread has a list of the children that it forked and of those it was handed. A list is
//! read in one go, but not all lists at one moment: whoever is handed over meanwhile may stand
//! in none of them, or in two. The next reading has it.

use std::collections::HashSet;

use rustix::fd::OwnedFd;
use rustix::fs::CWD;
use rustix::io::Errno;

use crate::proc_fs::{FileError, Listing, Name, Room, open_file, open_listing, status_at};

/// What lists are read into.
#[derive(Debug)]
pub(crate) struct ChildLists {
    room: Room,
    listing: Listing,
    threads: Vec<u32>,
    seen: HashSet<u32>,
}

impl ChildLists {
    pub(crate) fn new() -> Self {
        ChildLists {
            room: Room::default(),
            listing: Listing::new(),
            threads: Vec::new(),
            seen: HashSet::new(),
        }
    }

    /// Replaces `pids` with `root` and all its descendants, zombies included.
    ///
    /// # Errors
    /// The root has ended, or the kernel was built without these lists (`CONFIG_PROC_CHILDREN`).
    pub(crate) fn tree(
        &mut self,
        procfs: &OwnedFd,
        root: u32,
        pids: &mut Vec<u32>,
    ) -> Result<(), Errno> {
        pids.clear();
        pids.push(root);
        self.append(procfs, root, pids)?;
        self.seen.clear();
        self.seen.insert(root);
        let mut position = 1;
        while let Some(pid) = pids.get(position).copied() {
            if self.seen.insert(pid) {
                position += 1;
                // One that has ended meanwhile has no children any more.
                let _ = self.append(procfs, pid, pids);
            } else {
                pids.swap_remove(position);
            }
        }
        Ok(())
    }

    /// Appends the children of one process.
    fn append(&mut self, procfs: &OwnedFd, pid: u32, pids: &mut Vec<u32>) -> Result<(), Errno> {
        self.threads.clear();
        match threads_of(procfs, pid)? {
            1 => self.threads.push(pid),
            _ => {
                let folder = open_listing(procfs, Name::in_process(pid, "task").as_c_str())?;
                self.listing.numbers(&folder, &mut self.threads)?;
            }
        }
        for position in 0..self.threads.len() {
            let thread = self.threads[position];
            let name = Name::in_thread_of(pid, thread, "children");
            let text = match open_file(procfs, name.as_c_str()) {
                Ok(file) => self.room.read_children(&file),
                Err(errno) => Err(FileError::System(errno)),
            };
            match text {
                Ok(text) => pids.extend(numbers(text)),
                // One of several threads may have ended meanwhile.
                Err(FileError::System(Errno::NOENT | Errno::SRCH)) if thread != pid => {}
                Err(FileError::System(errno)) => return Err(errno),
                Err(FileError::TooLarge) => return Err(Errno::FBIG),
            }
        }
        Ok(())
    }
}

/// The PIDs of our own children, zombies included; none where the kernel does not list them.
pub(crate) fn own_children() -> Vec<u32> {
    let mut children = Vec::new();
    let own = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
    if let Ok(procfs) = open_listing(CWD, c"/proc") {
        // Without the lists nobody is known to be ours.
        let _ = ChildLists::new().append(&procfs, own, &mut children);
    }
    children
}

/// One link of the folder is its name, one is its own dot.
fn threads_of(procfs: &OwnedFd, pid: u32) -> Result<u64, Errno> {
    let status = status_at(procfs, Name::in_process(pid, "task").as_c_str())?;
    Ok(status.st_nlink.saturating_sub(2))
}

fn numbers(text: &[u8]) -> impl Iterator<Item = u32> {
    let words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    words.filter_map(mpp_parse::number::decimal_u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fault::with_failure;
    use std::process::{Child, Command, Stdio};

    /// A shell that waits for a child of its own.
    fn family() -> Child {
        let script = "sleep 600 & echo; read end; kill $!";
        let mut shell = Command::new("sh");
        shell.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut line = [0];
        std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut line).unwrap();
        shell
    }

    fn end(mut shell: Child) {
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }

    #[test]
    fn a_tree_is_its_root_and_everybody_below_whichever_thread_forked_them() {
        let shell = std::thread::spawn(family);
        while !shell.is_finished() {
            std::thread::yield_now();
        }
        let shell = shell.join().unwrap();
        let procfs = open_listing(CWD, c"/proc").unwrap();
        let mut pids = Vec::new();
        let own = std::process::id();
        ChildLists::new().tree(&procfs, own, &mut pids).unwrap();
        assert_eq!(pids[0], own, "{pids:?}");
        assert!(pids.contains(&shell.id()) && pids.len() >= 3, "{pids:?}");
        let children = own_children();
        assert!(children.contains(&shell.id()), "{children:?}");
        ChildLists::new().tree(&procfs, shell.id(), &mut pids).unwrap();
        assert_eq!((pids.len(), pids[0]), (2, shell.id()), "{pids:?}");
        end(shell);
    }

    #[test]
    fn a_root_that_is_not_there_has_no_tree() {
        let procfs = open_listing(CWD, c"/proc").unwrap();
        let mut pids = Vec::new();
        let outcome = ChildLists::new().tree(&procfs, u32::MAX / 2, &mut pids);
        assert_eq!(outcome, Err(Errno::NOENT));
    }

    #[test]
    fn whichever_call_fails_the_tree_is_partial_or_an_error() {
        let shell = family();
        let procfs = open_listing(CWD, c"/proc").unwrap();
        let mut lists = ChildLists::new();
        let mut pids = Vec::new();
        let (_, calls) = with_failure(u64::MAX, Errno::MFILE, || {
            lists.tree(&procfs, shell.id(), &mut pids).unwrap();
        });
        assert!(calls > 4, "{calls}");
        for n in 0..calls {
            let (outcome, _) =
                with_failure(n, Errno::MFILE, || lists.tree(&procfs, shell.id(), &mut pids));
            assert!(outcome.is_err() || pids.len() <= 2, "call {n}: {pids:?}");
        }
        end(shell);
    }
}
