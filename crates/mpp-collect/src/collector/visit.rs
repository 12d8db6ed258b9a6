//! One process, read from the procfs as one moment.
//!
//! Its folder is opened once, and everything is read below it: whatever happens to the PID
//! meanwhile, the folder stays this process's.

use std::mem;
use std::sync::Arc;

use mpp_accounting::exit::ExitSource;
use mpp_accounting::process::{
    Absence, Gauges, Lineage, ProcessIo, ProcessKey, ProcessSample, Reading,
};
use mpp_accounting::units::IoTotals;
use mpp_parse::proc_pid_stat::{self, Stat};
use mpp_parse::proc_pid_status;
use rustix::fd::OwnedFd;
use rustix::process::{Resource, getrlimit};

use super::closed::is_told_by_threads;
use super::troubles::count;
use super::{Collector, Request, Scope};
use crate::error::absence_of;
use crate::identity::Known;
use crate::measure::{
    Buffers, Counters, IoReader, Phase, Subject, ThreadNeeds, Vanished, has_reaped, open_io,
    read_total,
};
use crate::needs::{ContextSwitchNeeds, Measures};
use crate::origin::Origin;
use crate::proc_fs::{FileError, Name, open_folder, status_of};
use crate::scale::small_count;
use crate::sockets::SocketSource;

/// A process that is being visited.
#[derive(Clone, Copy)]
struct Visit<'a> {
    pid: u32,
    uid: u32,
    folder: &'a OwnedFd,
    stat: &'a Stat<'a>,
    /// See [`IoPlan::lone_total`].
    lone_total: Option<IoTotals>,
}

/// How the I/O of a process is read.
struct IoPlan {
    threads: ThreadNeeds,
    /// Its total before its record was read, where its main thread has done all of it unless
    /// another one has ended since.
    lone_total: Option<IoTotals>,
    /// Since when such an end has been told of; `None` where it may not be.
    watch: Option<u64>,
}

/// Why a process that was listed is not in the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unseen {
    Vanished,
    Unreadable,
}

impl Collector {
    /// Reads one process, and counts it where that is not possible.
    pub(super) fn visit(&mut self, pid: u32, needs: &Request<'_>) -> Result<ProcessSample, Unseen> {
        self.visit_folder(pid, needs).map_err(|why| {
            count(&mut self.trouble, why);
            if why == Absence::Vanished {
                // What is known of it may be asked for by the record of its end.
                return Unseen::Vanished;
            }
            // Unreadable is not gone: what is known of it stays.
            if let Some(known) = self.known.get_mut(pid) {
                known.swept = self.round;
            }
            Unseen::Unreadable
        })
    }

    fn visit_folder(&mut self, pid: u32, needs: &Request<'_>) -> Result<ProcessSample, Absence> {
        let name = Name::of(pid);
        let folder = open_folder(&self.origin.root, name.as_c_str()).map_err(absence_of)?;
        let uid = self.owner(&folder)?;
        // Taken out for as long as the record borrows from it.
        let mut stat_room = mem::take(&mut self.stat_room);
        // Before the record, which then tells that the thread was alone until here.
        let lone_total = self.lone_total(pid, &folder, needs.scope);
        let text = stat_room.read_lines(&folder, c"stat", 1).map_err(FileError::absence);
        let sample = text.and_then(|text| {
            let stat = proc_pid_stat::parse(text).map_err(|_| Absence::Malformed)?;
            let visit = Visit { pid, uid, folder: &folder, stat: &stat, lone_total };
            self.visit_open(&visit, needs).map_err(|Vanished| Absence::Vanished)
        });
        self.stat_room = stat_room;
        sample
    }

    /// The effective user: who owns the folder, or what a frozen tree's `status` says.
    pub(super) fn owner(&mut self, folder: &OwnedFd) -> Result<u32, Absence> {
        if !self.origin.is_frozen() {
            return status_of(folder).map(|status| status.st_uid).map_err(absence_of);
        }
        let text = self.buffers.room.read(folder, c"status").map_err(FileError::absence)?;
        let status = proc_pid_status::parse(text).map_err(|_| Absence::Malformed)?;
        Ok(status.uid.effective)
    }

    fn visit_open(
        &mut self,
        visit: &Visit<'_>,
        needs: &Request<'_>,
    ) -> Result<ProcessSample, Vanished> {
        let Visit { pid, uid, folder, stat, lone_total } = *visit;
        let phase = Phase::of(folder, stat, &mut self.buffers)?;
        let plan = IoPlan {
            threads: self.thread_needs(needs.scope),
            lone_total,
            watch: self.watch_of(needs.scope),
        };
        let are_switches_told = plan.watch.is_some();
        let key = ProcessKey { pid, start_time_ticks: stat.start_time_ticks };
        self.remember_parent(stat);
        self.forget_former_bearer(key);
        let Collector { origin, known, identities, buffers, wants, round, sockets, closed, .. } =
            self;
        let subject = Subject { origin, folder, pid, stat, phase };
        match known.get_mut(pid) {
            Some(known) => known.refresh(uid, &subject, wants, *round, buffers),
            None => {
                let mut newcomer = Known::new(key, uid, &subject, wants, buffers);
                identities.share(&mut newcomer.identity);
                known.insert(newcomer);
            }
        }
        let Some(known) = known.get_mut(pid) else { return Err(Vanished) };
        if origin.is_frozen() {
            known.read_frozen(&subject, wants, &mut buffers.room);
        }
        if known.reader_key() != key {
            self.threads_asked.insert(known.reader_key(), pid);
        }
        known.swept = *round;
        known.by_procfs_mut().read_round = *round;
        (known.state, known.was_running) = (phase.state(), subject.is_running());
        known.note_thread_count(small_count(stat.num_threads));
        known.had_children |= self.parents.contains(&pid) || self.former_parents.contains(&pid);
        let mut measures = needs.measures_of(key, &known.identity);
        let leaves_switches = are_switches_told
            && measures.context_switches != ContextSwitchNeeds::None
            && (phase, known.threads_max, measures.swap) == (Phase::Living, 1, false);
        if leaves_switches {
            measures.context_switches = ContextSwitchNeeds::None;
        }
        if measures.io {
            self.held.hold(known, uid, &subject);
        }
        let is_wanted = measures.sockets || needs.needs.identity.listening_ports;
        let sockets = sockets.as_mut().filter(|_| is_wanted);
        let mut sample = assemble(known, &subject, &measures, &plan, sockets, buffers)?;
        if is_told_by_threads(&sample.io) {
            closed.enter(key, &subject, buffers)?;
        }
        if leaves_switches {
            // The file that tells them costs three times what the kernel takes to be asked.
            sample.gauges.context_switches = Reading::Absent(Absence::NeedsRecords);
        }
        Ok(sample)
    }

    /// Of a process that never had children.
    pub(super) fn thread_needs(&self, scope: Scope<'_>) -> ThreadNeeds {
        match (scope, self.witness.source()) {
            // Whoever watches a tree from its begin has the whole of what ended from records.
            (Scope::Tree(_), _) | (_, ExitSource::Nobody) => ThreadNeeds::None,
            (_, ExitSource::Rounded | ExitSource::Exact) => ThreadNeeds::EachAtAnyMoment,
        }
    }

    /// Since when every end of a thread has been told of, where that is so and those of this round
    /// will be, too.
    pub(super) fn watch_of(&self, scope: Scope<'_>) -> Option<u64> {
        let is_watched = scope == Scope::Everybody && self.witness.source() == ExitSource::Rounded;
        is_watched.then_some(self.watch)
    }

    /// The total of a process that never had a second thread, as far as was seen or told.
    fn lone_total(&mut self, pid: u32, folder: &OwnedFd, scope: Scope<'_>) -> Option<IoTotals> {
        let watch = self.watch_of(scope)?;
        let Collector { origin, known, buffers, .. } = self;
        let known = known.get(pid).filter(|known| known.by_procfs().alone_since == Some(watch))?;
        read_total(origin, folder, known.by_procfs().held_io.as_ref(), buffers).value().copied()
    }

    fn remember_parent(&mut self, stat: &Stat<'_>) {
        if self.parents.insert(stat.ppid)
            && let Some(parent) = self.known.get_mut(stat.ppid)
            && parent.key.start_time_ticks <= stat.start_time_ticks
        {
            parent.had_children = true;
        }
    }
}

/// How many `io` descriptors of other processes are kept open at most, whatever our own
/// limit is: each costs the kernel 4.7 KiB.
const HELD_IO_MAX: u64 = 4096;

/// Whose `io` files are kept open, and how many more may be.
///
/// Only needed where a zombie's file cannot be opened: it belongs to root. Read through a
/// descriptor that its own user opened while it lived, it can: the live test is
/// `a_held_descriptor_reads_the_io_of_an_own_zombie`.
#[derive(Debug)]
pub(super) struct HeldIo {
    /// `None` for root, who needs none.
    pub(super) owner: Option<u32>,
    pub(super) free: u64,
}

impl HeldIo {
    pub(super) fn new(origin: &Origin) -> Self {
        let user = rustix::process::geteuid();
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let is_needed = !user.is_root() && !origin.is_frozen();
        HeldIo { owner: is_needed.then(|| user.as_raw()), free: (limit / 4).min(HELD_IO_MAX) }
    }

    /// Opens the `io` of an own process while it lives.
    fn hold(&mut self, known: &mut Known, uid: u32, subject: &Subject<'_>) {
        let is_own = self.owner == Some(uid);
        if is_own
            && self.free > 0
            && known.by_procfs().held_io.is_none()
            && subject.phase == Phase::Living
        {
            let memory = known.by_procfs_mut();
            memory.held_io = open_io(subject.folder).ok();
            self.free -= u64::from(memory.held_io.is_some());
        }
    }

    pub(super) fn let_go(&mut self, known: &Known) {
        self.free += u64::from(known.by_procfs().held_io.is_some());
    }
}

/// Reads counters, then what the process holds.
fn assemble(
    known: &mut Known,
    subject: &Subject<'_>,
    measures: &Measures,
    plan: &IoPlan,
    sockets: Option<&mut SocketSource>,
    buffers: &mut Buffers,
) -> Result<ProcessSample, Vanished> {
    let read_at = subject.origin.since_boot();
    let Counters { usage, mut io } = read_counters(known, subject, measures, plan, buffers)?;
    if plan.watch.is_some() && io.total().absence() == Some(Absence::Denied) {
        io.threads = Reading::Absent(Absence::NeedsRecords);
    }
    let usage = known.hand_out(usage.own, usage.reaped());
    let mut gauges = subject.gauges(measures, u64::from(known.threads_max), buffers);
    if measures.proportional_memory {
        gauges.seldom.proportional_memory = known.proportional_memory();
    }
    if let Some(source) = sockets {
        let fds = gauges.fds.value().copied();
        let found = subject.sockets(known.key, fds, source);
        if measures.sockets {
            gauges.seldom.sockets = found;
        }
    }
    if has_vanished(&io, &gauges) {
        return Err(Vanished);
    }
    if !is_told_by_threads(&io) {
        known.note_threads(io.total().value().copied().zip(io.threads.value().cloned()));
    }
    Ok(ProcessSample {
        key: known.key,
        parent_pid: subject.stat.ppid,
        lineage: Lineage::default(),
        state: subject.phase.state(),
        identity: Arc::clone(&known.identity),
        read_at,
        usage,
        io,
        gauges,
    })
}

fn read_counters(
    known: &mut Known,
    subject: &Subject<'_>,
    measures: &Measures,
    plan: &IoPlan,
    buffers: &mut Buffers,
) -> Result<Counters, Vanished> {
    let usage = subject.origin.scale.usage(subject.stat);
    if !measures.io {
        let absent = Absence::NotRequested;
        let io = ProcessIo::absent(absent);
        return Ok(Counters { usage, io });
    }
    known.had_children |= has_reaped(&usage);
    let threads = if known.had_children { ThreadNeeds::Each } else { plan.threads };
    let is_alone = threads == ThreadNeeds::EachAtAnyMoment && known.threads_max <= 1;
    let is_known_alone =
        is_alone && plan.watch.is_some() && known.by_procfs().alone_since == plan.watch;
    let known_threads = known.threads().unwrap_or_default();
    let reader = IoReader {
        subject,
        held: known.by_procfs().held_io.as_ref(),
        known_threads: &known_threads,
        lone_total: plan.lone_total.filter(|_| is_known_alone),
    };
    let is_taken = reader.lone_total.is_some() && subject.stat.num_threads == 1;
    let counters = reader.read(threads, buffers)?;
    let swept = known.swept;
    let memory = known.by_procfs_mut();
    if is_taken {
        memory.lone_round = swept;
    }
    memory.alone_since = plan.watch.filter(|_| is_alone && is_all_of_main_thread(&counters.io));
    Ok(counters)
}

/// Whether the one thread that there is has done all that the total holds: then nothing came with
/// threads that ended before.
fn is_all_of_main_thread(io: &ProcessIo) -> bool {
    match (&io.total(), &io.threads) {
        (Reading::Value(_), Reading::Value(threads)) => threads.lone_main_has_exited().is_some(),
        _ => false,
    }
}

/// A file that is gone says that its process is.
fn has_vanished(io: &ProcessIo, gauges: &Gauges) -> bool {
    let is_gone = |why: Option<Absence>| why == Some(Absence::Vanished);
    is_gone(io.total().absence())
        || is_gone(gauges.memory().absence())
        || is_gone(gauges.fds.absence())
        || is_gone(gauges.seldom.fd_limit.absence())
        || is_gone(gauges.seldom.swap_bytes.absence())
        || is_gone(gauges.context_switches.absence())
        || is_gone(gauges.seldom.sockets.absence())
}
