//! The sweep of a procfs: whoever is listed, in order of start times.
//!
//! Parents come before their children so: a child that ends between the two readings is then seen
//! alive, and is not in its parent's counters.

use std::mem;

use mpp_accounting::process::{Absence, ProcessSample};
use mpp_accounting::slack;
use mpp_accounting::snapshot::Snapshot;
use mpp_parse::proc_pid_stat;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::standstill::Turn;
use super::troubles::count;
use super::visit::Unseen;
use super::{Collector, Request, Scope};
use crate::child::descendants::ChildLists;
use crate::error::CollectError;
use crate::needs::Needs;
use crate::origin::ProcfsKind;
use crate::proc_fs::{FileError, Name};

impl Collector {
    pub(super) fn list(&mut self) -> Result<(), CollectError> {
        self.buffers
            .listing
            .numbered(&self.origin.root, &mut self.pids, &mut self.inodes)
            .map_err(|errno| CollectError::system("list", &self.procfs, errno))
    }

    pub(super) fn list_scope(&mut self, scope: Scope<'_>) -> Result<(), CollectError> {
        self.inodes.clear();
        match scope {
            Scope::Everybody => self.list(),
            Scope::Tree(root_pid) => self.list_tree(root_pid),
            Scope::Some(pids) => {
                self.pids.clear();
                self.pids.extend_from_slice(pids);
                Ok(())
            }
        }
    }

    /// Everybody, where the kernel does not list children.
    fn list_tree(&mut self, root_pid: u32) -> Result<(), CollectError> {
        let lists = self.child_lists.get_or_insert_with(ChildLists::new);
        match lists.tree(&self.origin.root, root_pid, &mut self.pids) {
            Ok(()) => Ok(()),
            Err(_) => self.list(),
        }
    }

    /// By start time as far as known, then what is new, by PID.
    pub(super) fn put_in_order(&mut self, needs: &Needs, former: &[ProcessSample]) {
        // Nothing is known at the first sweep: one more look at each process tells who came
        // first and who has children, so that the first reading is as good as the next.
        let is_first = self.known.is_empty();
        if !self.pids.is_sorted() {
            self.inodes.clear();
            self.pids.sort_unstable();
        }
        let known = self.known.ascending();
        let (mut known_at, mut sample_at) = (0, 0);
        self.order.clear();
        slack::make_room(&mut self.order, self.pids.len());
        for (position, &pid) in self.pids.iter().enumerate() {
            known_at += known[known_at..].iter().take_while(|known| known.key.pid < pid).count();
            sample_at += former[sample_at..].iter().take_while(|s| s.key.pid < pid).count();
            let same = known.get(known_at).filter(|known| known.key.pid == pid);
            let start_time_ticks = same.map_or(u64::MAX, |known| known.key.start_time_ticks);
            let inode = self.inodes.get(position).copied();
            self.order.push(Turn { start_time_ticks, pid, inode, known_at, sample_at });
        }
        if is_first && needs.measures.io {
            let mut order = mem::take(&mut self.order);
            for turn in &mut order {
                turn.start_time_ticks = self.scout(turn.pid).unwrap_or(u64::MAX);
            }
            self.order = order;
        }
        self.order.sort_unstable_by_key(|turn| (turn.start_time_ticks, turn.pid));
    }

    /// When a process started. Whose child it is, is remembered.
    fn scout(&mut self, pid: u32) -> Option<u64> {
        let name = Name::in_process(pid, "stat");
        let text = self.buffers.room.read_lines(&self.origin.root, name.as_c_str(), 1);
        let stat = text
            .map_err(FileError::absence)
            .and_then(|text| proc_pid_stat::parse(text).map_err(|_| Absence::Malformed));
        match stat {
            Ok(stat) => {
                self.former_parents.insert(stat.ppid);
                Some(stat.start_time_ticks)
            }
            // The sweep proper will find out and count it.
            Err(Absence::Vanished) => None,
            Err(why) => {
                count(&mut self.trouble, why);
                None
            }
        }
    }

    pub(super) fn read_all(&mut self, needs: &Request<'_>, into: &mut Snapshot) {
        let order = mem::take(&mut self.order);
        let mut current = mem::take(&mut self.current);
        current.clear();
        current.resize(into.processes.len(), false);
        let mut newcomers = Vec::new();
        if into.processes.is_empty() {
            slack::make_room(&mut newcomers, order.len());
        }
        self.known.reserve(order.len().saturating_sub(self.known.len()));
        for turn in &order {
            let former = into.processes.get_mut(turn.sample_at);
            let former = former.filter(|sample| sample.key.pid == turn.pid);
            match self.read_in_turn(turn, former, needs) {
                Ok(None) => current[turn.sample_at] = true,
                Ok(Some(sample)) => newcomers.push(sample),
                Err(Unseen::Vanished) => {}
                Err(Unseen::Unreadable) => into.unreadable_pids.push(turn.pid),
            }
        }
        let mut is_current = current.iter();
        into.processes.retain(|_| is_current.next() == Some(&true));
        slack::merge(&mut into.processes, &mut newcomers, |sample| sample.key);
        into.processes.dedup_by_key(|sample| sample.key.pid);
        into.unreadable_pids.sort_unstable();
        (self.order, self.current) = (order, current);
    }

    /// Puts its sample in the place of the one before of the same PID; returns it where there is
    /// none.
    fn read_in_turn(
        &mut self,
        turn: &Turn,
        mut former: Option<&mut ProcessSample>,
        needs: &Request<'_>,
    ) -> Result<Option<ProcessSample>, Unseen> {
        let run_time = self.run_time(turn, needs.scope);
        let is_kept = former.as_mut().is_some_and(|s| self.keep(turn, run_time, needs, s));
        if is_kept {
            return Ok(None);
        }
        let sample = self.visit(turn.pid, needs)?;
        self.note_reading(turn, run_time, needs, &sample);
        Ok(match former {
            Some(former) => {
                *former = sample;
                None
            }
            None => Some(sample),
        })
    }

    /// Threads are not listed.
    pub(super) fn is_listed(&self, pid: u32) -> bool {
        self.pids.binary_search(&pid).is_ok()
    }

    /// The folder of a thread is not listed, but it can be opened and looks like a process's.
    pub(super) fn is_process(&mut self, pid: u32) -> bool {
        if self.origin.kind == ProcfsKind::OwnNamespace
            && let Some(is_process) = bears_process(pid)
        {
            return is_process;
        }
        let name = Name::in_process(pid, "status");
        match self.buffers.room.read(&self.origin.root, name.as_c_str()) {
            Ok(text) => thread_group(text).is_none_or(|leader| leader == pid),
            // The visit will say what is wrong with it.
            Err(_) => true,
        }
    }
}

/// Whether a PID is a process's and not a thread's, pidfd_open(2); `None` where the kernel does
/// not say.
fn bears_process(pid: u32) -> Option<bool> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    match crate::sys::retrying(|| pidfd_open(pid, PidfdFlags::empty())) {
        Ok(_) => Some(true),
        // A thread is invalid, and not found since Linux 6.15.
        Err(Errno::INVAL | Errno::NOENT | Errno::SRCH) => Some(false),
        Err(_) => None,
    }
}

/// The process that a thread belongs to: `Tgid` of proc_pid_status(5), which stands after
/// the name, at the beginning of a line.
fn thread_group(status: &[u8]) -> Option<u32> {
    let line =
        status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Tgid:\t"))?;
    let number = mpp_parse::number::decimal_u64(line)?;
    u32::try_from(number).ok()
}
