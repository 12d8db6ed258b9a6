//! Who has not run since it was last read, and keeps its sample.
//!
//! Whatever a process does, it does on a CPU: write, fault, fork, wait for a child, execute
//! something, open and close, even end. So one that has run for as long as right before its last
//! reading, and was not on a CPU then, has the counters and descriptors that it had. A child is
//! looked at after its parent as ever: what it did until then is in neither, or in both as before.
//!
//! The trap is what others do to it. A new parent: it is read again unless its parent is there
//! and living. The states of its sockets, and what it waits for: they are asked for each time.
//! Its memory (reclaimed, collapsed, a file that is cut), its limits, its control group, the name
//! space of descriptors or memory that it shares with another process: in turn, a sixteenth of
//! all each sweep. Of these only memory and descriptors are read again where nothing else of the
//! kind is asked for; all of it after 256 sweeps, in case a clock did not tell of a run. The live
//! tests are in `tests/live_standstill.rs`.

use mpp_accounting::process::{Absence, Memory, ProcessSample, ProcessState, Reading};
use mpp_accounting::units::BootTime;
use mpp_parse::proc_pid_statm;
use rustix::fd::AsFd;
use std::sync::Arc;

use super::{Collector, Request, Scope};
use crate::identity::{Known, is_turn, is_turn_of_all};
use crate::measure::ThreadNeeds;
use crate::needs::Measures;
use crate::origin::ProcfsKind;
use crate::proc_fs::{Name, open_folder, status_at};
use crate::run_time::RunTime;
use crate::scale::small_count;

/// How a process stood right before it was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standstill {
    /// How long it had run.
    run_time: RunTime,
    /// The inode of its folder: as long as procfs lists the same, it is the same process's. 0, which
    /// no folder has, in a tree, where the run time is to tell.
    inode: u64,
    /// The sample, among others of the same process.
    read_at: BootTime,
    extent: Extent,
}

/// What of a process is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    measures: Measures,
    threads: ThreadNeeds,
}

/// A process whose turn it is in a sweep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// When it started, as far as that is known.
    pub(super) start_time_ticks: u64,
    pub(super) pid: u32,
    /// Of its folder, where procfs listed it.
    pub(super) inode: Option<u64>,
    /// Where it stood among those that are known, and among the samples of the sweep before: places
    /// to look at first.
    pub(super) known_at: usize,
    pub(super) sample_at: usize,
}

impl Collector {
    /// How long a process has run, where that can spare us reading it. A listing tells the bearer
    /// of a PID from the next. The lists of children in a tree do not; but the next one would have
    /// to be a child in the same tree that has run for as long to the nanosecond.
    pub(super) fn run_time(&self, turn: &Turn, scope: Scope<'_>) -> Option<RunTime> {
        let is_told_apart = match scope {
            Scope::Everybody => turn.inode.is_some(),
            Scope::Tree(_) => true,
            Scope::Some(_) => false,
        };
        let is_of_use = is_told_apart && self.origin.kind == ProcfsKind::OwnNamespace;
        if is_of_use { RunTime::of(turn.pid).ok() } else { None }
    }

    /// Takes a sample of the sweep before for this one, where its process has not run since.
    pub(super) fn keep(
        &mut self,
        turn: &Turn,
        run_time: Option<RunTime>,
        needs: &Request<'_>,
        sample: &mut ProcessSample,
    ) -> bool {
        let Some(known) = self.known.near(turn.known_at, turn.pid) else { return false };
        let Some(standstill) = known.by_procfs().standstill.filter(|_| known.key == sample.key)
        else {
            return false;
        };
        let has_run = run_time != Some(standstill.run_time);
        if has_run
            || turn.inode.unwrap_or(0) != standstill.inode
            || standstill.read_at != sample.read_at
            || !is_whole(sample)
            || !known.is_identified(&self.wants)
            || standstill.extent != self.extent(known, needs)
            || !self.has_its_parent(sample)
        {
            return false;
        }
        let is_same_beside =
            !is_turn(turn.pid, self.round) || self.glance(turn, &standstill, sample);
        if !is_same_beside || !self.look_at_sockets(needs, standstill.extent.measures, sample) {
            return false;
        }
        self.refresh_kept(turn, standstill, sample);
        true
    }

    fn refresh_kept(&mut self, turn: &Turn, standstill: Standstill, sample: &mut ProcessSample) {
        let (round, read_at) = (self.round, self.origin.since_boot());
        let Some(known) = self.known.near_mut(turn.known_at, turn.pid) else { return };
        known.swept = round;
        let memory = known.by_procfs_mut();
        memory.read_round = round;
        if let Some(before) = &mut memory.standstill {
            before.read_at = read_at;
        }
        // Those of two readings ago are those of the last one now.
        known.forget_former_threads();
        sample.read_at = read_at;
        sample.lineage = sample.lineage.with_forker(None);
        if !Arc::ptr_eq(&sample.identity, &known.identity) {
            sample.identity = Arc::clone(&known.identity);
        }
        let measures = standstill.extent.measures;
        if measures.proportional_memory {
            sample.gauges.seldom.proportional_memory = known.proportional_memory();
        }
        if measures.delays {
            sample.gauges.seldom.delays = Reading::Absent(Absence::NeedsRecords);
        }
    }

    /// Remembers how a process stood before it was read, unless it may have been on a CPU then or
    /// the next reading may find more.
    pub(super) fn note_reading(
        &mut self,
        turn: &Turn,
        run_time: Option<RunTime>,
        needs: &Request<'_>,
        sample: &ProcessSample,
    ) {
        let Some(run_time) = run_time else { return };
        let Some(known) = self.known.near(turn.known_at, turn.pid) else { return };
        let is_still = !known.was_running && known.reader_key() == known.key && is_whole(sample);
        let extent = self.extent(known, needs);
        let inode = turn.inode.unwrap_or(0);
        let standstill = Standstill { run_time, inode, read_at: sample.read_at, extent };
        if let Some(known) = self.known.near_mut(turn.known_at, turn.pid) {
            known.by_procfs_mut().standstill = is_still.then_some(standstill);
        }
    }

    fn extent(&self, known: &Known, needs: &Request<'_>) -> Extent {
        let threads = match known.had_children {
            true => ThreadNeeds::Each,
            false => self.thread_needs(needs.scope),
        };
        Extent { measures: needs.measures_of(known.key, &known.identity), threads }
    }

    /// Whether its parent is there, as it was: children of one that ends are handed on.
    fn has_its_parent(&self, sample: &ProcessSample) -> bool {
        sample.parent_pid == 0
            || self.known.get(sample.parent_pid).is_some_and(|parent| {
                parent.state == ProcessState::Living
                    && parent.key.start_time_ticks <= sample.key.start_time_ticks
                    && parent.by_procfs().read_round == self.round
            })
    }

    /// Reads again what others may have changed of a process that has not run; whether that is all
    /// there is to be read, and it has not run since. Its files are found by its PID: as long as
    /// its run time is the same to the nanosecond, nobody else bears it.
    fn glance(&mut self, turn: &Turn, standstill: &Standstill, sample: &mut ProcessSample) -> bool {
        let Measures { memory, fds, swap, fd_limit, proportional_memory, .. } =
            standstill.extent.measures;
        let is_blind = || {
            let known = self.known.near(turn.known_at, turn.pid);
            known.is_none_or(Known::may_execute_unnoticed)
        };
        let wants = &self.wants.needs;
        let asks_more = swap || fd_limit || proportional_memory || wants.cgroup;
        let needs_more = asks_more || (wants.cmdline && is_blind());
        if needs_more || is_turn_of_all(turn.pid, self.round) {
            return false;
        }
        if sample.state == ProcessState::Zombie || sample.identity.is_kernel_thread {
            return true;
        }
        let memory = memory.then(|| self.memory_of(turn.pid));
        let fds = fds.then(|| self.descriptors_of(turn.pid));
        let is_read = memory != Some(None) && fds != Some(None);
        if !is_read || RunTime::of(turn.pid) != Ok(standstill.run_time) {
            return false;
        }
        if let Some(memory) = memory.flatten() {
            sample.gauges.put_memory(Reading::Value(memory));
        }
        if let Some(fds) = fds.flatten() {
            sample.gauges.fds = Reading::Value(small_count(fds));
        }
        true
    }

    fn memory_of(&mut self, pid: u32) -> Option<Memory> {
        let Collector { origin, buffers, .. } = self;
        let name = Name::in_process(pid, "statm");
        let text = buffers.room.read_lines(&origin.root, name.as_c_str(), 1).ok()?;
        Some(origin.scale.memory(&proc_pid_statm::parse(text).ok()?))
    }

    /// `None` where the kernel does not count them.
    fn descriptors_of(&self, pid: u32) -> Option<u64> {
        let name = Name::in_process(pid, "fd");
        let status = self
            .origin
            .counts_descriptors
            .then(|| status_at(&self.origin.root, name.as_c_str()))?;
        u64::try_from(status.ok()?.st_size).ok()
    }

    /// Looks at its sockets, where that is asked for; whether they could be looked at.
    fn look_at_sockets(
        &mut self,
        needs: &Request<'_>,
        measures: Measures,
        sample: &mut ProcessSample,
    ) -> bool {
        let is_asked = measures.sockets || needs.needs.identity.listening_ports;
        let Some(source) = self.sockets.as_mut().filter(|_| is_asked) else { return true };
        let is_none = sample.state == ProcessState::Zombie || sample.identity.is_kernel_thread;
        let known = match is_none {
            true => Some(Reading::Value(source.none())),
            false => source.sockets_at_standstill(sample.key),
        };
        let found = match known {
            Some(found) => found,
            None => match open_folder(&self.origin.root, Name::of(sample.key.pid).as_c_str()) {
                Ok(folder) => {
                    let fds = sample.gauges.fds.value().copied();
                    source.sockets_held(sample.key, folder.as_fd(), fds)
                }
                Err(_) => return false,
            },
        };
        if let Reading::Absent(why) = found {
            source.note_unread(sample.key, why);
        }
        if found.absence() == Some(Absence::Vanished) {
            return false;
        }
        if measures.sockets {
            sample.gauges.seldom.sockets = found;
        }
        true
    }
}

/// Whether nothing is missing that might be there the next time.
fn is_whole(sample: &ProcessSample) -> bool {
    let gauges = &sample.gauges;
    let absences = [
        sample.io.total().absence(),
        sample.io.threads.absence(),
        gauges.memory().absence(),
        gauges.seldom.swap_bytes.absence(),
        gauges.fds.absence(),
        gauges.seldom.fd_limit.absence(),
        gauges.context_switches.absence(),
    ];
    let is_lasting = |why| {
        matches!(
            why,
            Absence::NotRequested
                | Absence::Denied
                | Absence::Unsupported
                // Asked for after the sweep.
                | Absence::NeedsRecords
        )
    };
    absences.into_iter().flatten().all(is_lasting)
}
