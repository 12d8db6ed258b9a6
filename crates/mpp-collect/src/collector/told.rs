//! The sweep without procfs: every living thread as our own iterator in the kernel tells it.
//!
//! One pass hands out what procfs spreads over half a dozen files of each process. Each record
//! becomes a sample in the place of one of the sweep before, beside what is remembered of the
//! process: nothing is allocated for one that is still the same, and of one that has not run since
//! then no more is told than that; its sample stays, and what others may have done to it meanwhile
//! is looked at every sixteenth time. Only who a process is, is read from procfs, once, and again
//! after an exec or where its name or user has changed. Whom the iterator keeps back is read as
//! ever.
//!
//! The trap: threads are told in the order of their IDs, those of all processes mixed. Once the
//! IDs have begun anew, a thread may be told before its process.

mod kept_back;
mod leader;
#[cfg(test)]
mod live_identity;
#[cfg(test)]
mod live_sockets;
mod seats;
mod sockets;
mod sweeper;

use std::sync::Arc;

use mpp_accounting::process::{
    Absence, Delays, Gauges, Identity, Lineage, ProcessKey, ProcessSample, ProcessState,
    ProportionalMemory, Reading, ThreadIo, ThreadList, Usage,
};
use mpp_accounting::slack::Slack;
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::{BootTime, IoTotals, Totals, UsageTotals};
use mpp_parse::bpf_record::{self, Pool, TaskKey, TaskRecord, ThreadUsage};

use self::kept_back::{Count, KeptBack};
use self::leader::{Leader, add_memory, io_of, switches, thread_io};
use self::seats::{Seat, Seats, position};
use self::sockets::HeldSockets;
pub(super) use self::sweeper::Sweeper;
use super::learning::Attention;
use super::troubles::has_trouble;
use super::visit::Unseen;
use super::{Collector, Continuity, Request};
use crate::bpf::{Former, Living};
use crate::delays::{DelaySum, ThreadDelays};
use crate::exits::exact::plus_usage;
use crate::identity::{self, COMM_BYTES_MAX, Exec, Known, Wants};
use crate::measure::{Phase, Subject};
use crate::needs::{ContextSwitchNeeds, Measures};
use crate::origin::since_boot;
use crate::proc_fs::{FileError, Name, open_folder, status_of};
use crate::scale::{Scale, cpu_split};
use crate::taskstats::DelayAccounting;

/// The clock is looked at once for so many records: the kernel fills its buffer with about as
/// many at a time, within a fraction of a millisecond, and where nearly everybody stood still with
/// a thousand in little more than one.
const RECORDS_PER_CLOCK: u32 = 64;

/// Room is made for no more processes than this before anybody has been told of.
const PROCESSES_EXPECTED_MAX: usize = 1 << 20;

/// Room for so many newcomers is kept from one sweep to the next.
const STRANGERS_KEPT: usize = 256;

/// What tells whether the identity that is known still holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    exec_id: u64,
    euid: u32,
    cgroup_id: u64,
}

/// What a sweep needs besides its snapshot, kept for its room.
#[derive(Debug, Default)]
pub(super) struct Desk {
    kept_back: KeptBack,
    /// Whose samples are those of the sweep before until they are read by procfs, ascending.
    stayed: Vec<u32>,
    rest: Rest,
    held: HeldSockets,
}

#[cfg(test)]
impl Desk {
    /// Who was asked for its sockets in the last sweep, ascending.
    pub(super) fn asked_for_sockets(&self) -> &[u32] {
        self.held.asked()
    }
}

/// What cannot be finished before everything has been told.
#[derive(Debug, Default)]
struct Rest {
    strangers: Vec<Stranger>,
    crowds: Vec<Crowd>,
    /// The threads of crowds, each with the position of its crowd.
    threads: Vec<(usize, ThreadIo)>,
    early: Vec<Companion>,
    slack_of_crowds: Slack,
    slack_of_threads: Slack,
}

/// A process of which it is not known who it is, or whether it is still the same.
#[derive(Debug)]
struct Stranger {
    /// That of its sample.
    seat: Seat,
    task: TaskKey,
    told: Told,
    /// Filled up with zeros.
    comm: [u8; COMM_BYTES_MAX],
    is_kernel_thread: bool,
    /// `None` where it has done nothing since it was last told.
    usage: Option<ThreadUsage>,
}

/// A process with several threads.
#[derive(Debug)]
struct Crowd {
    /// That of its sample.
    seat: Seat,
    pid: u32,
    usage: ThreadUsage,
    io: IoTotals,
    /// `None` where nobody asked.
    delays: Option<DelaySum>,
    has_memory: bool,
    /// Its threads in the sweep before.
    former: Option<ThreadList>,
}

/// A thread beside the main one.
#[derive(Debug)]
struct Companion {
    pid: u32,
    usage: ThreadUsage,
    thread: ThreadIo,
    delays: Option<ThreadDelays>,
    memory: Option<bpf_record::Memory>,
}

/// What became of the telling of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Told,
    /// Somebody stood still of whom nothing is remembered that would do: all is to be told anew.
    Missed,
    Failed,
}

/// A sweep that was told as a whole, by what the next one must have in common with it for its
/// samples to be worth something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FormerSweep {
    taken_at: BootTime,
    processes: usize,
    measures: Measures,
    /// Whether they were read of everybody.
    is_of_all: bool,
    generation: u32,
}

impl FormerSweep {
    /// That which stands in this snapshot, if it was one for these needs.
    fn of(needs: &Request<'_>, wants: &Wants, snapshot: &Snapshot) -> Self {
        FormerSweep {
            taken_at: snapshot.taken_at,
            processes: snapshot.processes.len(),
            measures: needs.needs.measures,
            is_of_all: needs.is_of_interest.is_none(),
            generation: wants.generation(),
        }
    }

    /// The same, now that it is over.
    pub(super) fn end(&mut self, snapshot: &Snapshot) {
        (self.taken_at, self.processes) = (snapshot.taken_at, snapshot.processes.len());
    }
}

/// What is known of a process, as far as its sample needs it.
struct Recognized {
    identity: Arc<Identity>,
    usage: Usage,
    proportional_memory: Reading<ProportionalMemory>,
}

/// A sweep that is being told.
struct Telling<'a> {
    scale: Scale,
    delay_accounting: DelayAccounting,
    needs: &'a Request<'a>,
    wants: &'a Wants,
    round: u64,
    known: &'a mut [Known],
    /// How many of them were walked past.
    walked: usize,
    seats: Seats<'a>,
    rest: &'a mut Rest,
    sweeper: &'a mut Sweeper,
    nobody: &'a Arc<Identity>,
    attention: &'a mut Attention,
    read_at: BootTime,
    records: u32,
    /// Whether somebody stood still of whom nothing is remembered that would do.
    has_missed: bool,
}

impl Telling<'_> {
    fn take(&mut self, living: Living<'_>) {
        if self.records.is_multiple_of(RECORDS_PER_CLOCK) {
            self.read_at = since_boot();
        }
        self.records = self.records.wrapping_add(1);
        match living {
            Living::Task(task) => self.take_task(&task),
            Living::Still(process) => self.has_missed |= self.take_still(process).is_none(),
        }
    }

    /// Leaves the sample of the sweep before as it is; `None` where there is none.
    fn take_still(&mut self, process: TaskKey) -> Option<()> {
        let known = known_of(self.known, &mut self.walked, process.id)?;
        let (seat, sample) = self.seats.keep(process)?;
        if known.key != sample.key {
            return None;
        }
        known.swept = self.round;
        if !known.is_identified(self.wants) {
            self.rest.strangers.push(Stranger::again(known, process, seat)?);
        }
        if !known.is_settled(self.wants) || has_no_fds(&sample.gauges) {
            self.attention.turn_to(process.id);
        }
        if !Arc::ptr_eq(&sample.identity, &known.identity) {
            sample.identity = Arc::clone(&known.identity);
        }
        sample.read_at = self.read_at;
        Some(())
    }

    fn take_task(&mut self, task: &TaskRecord<'_>) {
        self.sweeper.hear(task);
        match task.process() {
            Some(process) => self.take_leader(&Leader::new(task, process, self.scale)),
            None => self.take_companion(Companion {
                pid: task.tgid(),
                usage: task.usage(),
                thread: thread_io(task, self.scale),
                delays: ThreadDelays::of(task),
                memory: task.memory(),
            }),
        }
    }

    fn take_leader(&mut self, leader: &Leader<'_>) {
        if !self.seats.is_next(leader.key.pid) {
            return;
        }
        let recognized = self.recognize(leader);
        let is_stranger = recognized.is_none();
        let Recognized { identity, usage, proportional_memory } =
            recognized.unwrap_or_else(|| self.unrecognized(leader));
        let measures = measures_of(self.needs, self.nobody, leader.key, &identity);
        let mut gauges = leader.gauges(&measures, self.scale);
        if measures.proportional_memory {
            gauges.seldom.proportional_memory = proportional_memory;
        }
        if has_no_fds(&gauges) {
            self.attention.turn_to(leader.key.pid);
        }
        let forked_by = self.forker(leader);
        let delays = DelaySum::begun(&leader.task);
        if measures.delays {
            gauges.seldom.delays = reading(delays.as_ref(), self.delay_accounting);
        }
        let former = leader.is_crowd().then(|| self.former_threads(leader.key));
        let threads = match &former {
            // The others are not known yet.
            Some(_) => ThreadList::new(leader.key, leader.thread.total, &[leader.thread]),
            None => self.lone_thread(leader),
        };
        let seat = self.seats.seat(ProcessSample {
            key: leader.key,
            parent_pid: leader.process.parent().id,
            lineage: Lineage::new(
                forked_by,
                Some(BootTime { ns: leader.task.thread().start_ns }),
                Some(leader.told.exec_id),
            ),
            state: leader.state(),
            identity,
            read_at: self.read_at,
            usage,
            io: io_of(&measures, leader.io(), threads),
            gauges,
        });
        if let Some(former) = former {
            self.open_crowd(leader, delays, seat, former);
        }
        if is_stranger {
            self.rest.strangers.push(Stranger::of(leader, seat));
        }
    }

    /// Who a process is, as far as it is known; `None` of a stranger.
    fn recognize(&mut self, leader: &Leader<'_>) -> Option<Recognized> {
        let Leader { key, told, .. } = *leader;
        let known = known_of(self.known, &mut self.walked, key.pid)?;
        let comm = leader.process.comm();
        if known.key != key || !known.is_still(comm, told, leader.ending(), self.wants) {
            return None;
        }
        known.swept = self.round;
        known.threads_max = known.threads_max.max(leader.process.thread_count());
        if !known.is_settled(self.wants) {
            self.attention.turn_to(key.pid);
        }
        let reaped = reaped(&leader.pool);
        let usage = match leader.is_crowd() {
            true => Usage::new(UsageTotals::default(), reaped),
            false => hand_out(known, &leader.usage, reaped),
        };
        Some(Recognized {
            identity: Arc::clone(&known.identity),
            usage,
            proportional_memory: known.proportional_memory(),
        })
    }

    /// What stands in the sample of a stranger until it is known who that is.
    fn unrecognized(&self, leader: &Leader<'_>) -> Recognized {
        Recognized {
            identity: Arc::clone(self.nobody),
            usage: Usage::new(UsageTotals::default(), reaped(&leader.pool)),
            proportional_memory: Reading::Absent(Absence::NotYetKnown),
        }
    }

    /// Who forked a process. It is told once, and then remembered.
    fn forker(&mut self, leader: &Leader<'_>) -> Option<ProcessKey> {
        if !leader.task.keeps_forker() {
            return leader.process.forker().map(|forker| self.scale.process_key(forker));
        }
        let former = self.seats.former(leader.key.pid).filter(|former| former.key == leader.key);
        self.has_missed |= former.is_none();
        former.and_then(|former| former.lineage.forked_by())
    }

    /// The threads of a process in the sweep before.
    fn former_threads(&mut self, key: ProcessKey) -> Option<ThreadList> {
        let former = self.seats.former(key.pid).filter(|former| former.key == key)?;
        former.io.threads.value().cloned()
    }

    /// The main thread of a process that has no other one. Where that has not done all of it, the
    /// list of the sweep before stands as long as it is right.
    fn lone_thread(&mut self, leader: &Leader<'_>) -> ThreadList {
        let (key, io, threads) = (leader.key, leader.io(), [leader.thread]);
        let former = match leader.thread.total == io {
            true => None,
            false => self.former_threads(key).filter(|former| *former.of(key, io) == threads),
        };
        former.unwrap_or_else(|| ThreadList::new(key, io, &threads))
    }

    fn open_crowd(
        &mut self,
        leader: &Leader<'_>,
        delays: Option<DelaySum>,
        seat: Seat,
        former: Option<ThreadList>,
    ) {
        self.rest.threads.push((self.rest.crowds.len(), leader.thread));
        self.rest.crowds.push(Crowd {
            seat,
            pid: leader.key.pid,
            usage: leader.usage,
            io: leader.io(),
            delays,
            has_memory: leader.task.memory().is_some(),
            former,
        });
    }

    /// A thread of a process that had no other one when it was told is younger than that; it
    /// comes with the next sweep.
    fn take_companion(&mut self, companion: Companion) {
        let pid = companion.pid;
        if self.seats.is_next(pid) {
            self.rest.early.push(companion);
        } else if let Some(position) = self.rest.crowd_of(pid) {
            self.join(position, &companion);
        }
    }

    fn join(&mut self, position: usize, companion: &Companion) {
        let Some(crowd) = self.rest.crowds.get_mut(position) else { return };
        crowd.usage = plus_usage(&crowd.usage, &companion.usage);
        crowd.io = crowd.io.plus(companion.thread.total.as_delta());
        if let (Some(sum), Some(delays)) = (&mut crowd.delays, &companion.delays) {
            sum.add(delays);
        }
        self.rest.threads.push((position, companion.thread));
        let Some(sample) = self.seats.get_mut(crowd.seat) else { return };
        if !companion.thread.has_exited {
            sample.state = ProcessState::Living;
        }
        if companion.memory.is_some() && !crowd.has_memory {
            crowd.has_memory = true;
            let identity = &sample.identity;
            let measures = measures_of(self.needs, self.nobody, sample.key, identity);
            add_memory(&mut sample.gauges, companion.memory.as_ref(), &measures, self.scale);
        }
    }

    /// Lets those join that were told before their process.
    fn join_early(&mut self) {
        for companion in std::mem::take(&mut self.rest.early) {
            if let Some(position) = self.rest.crowd_of(companion.pid) {
                self.join(position, &companion);
            }
        }
    }
}

impl Rest {
    /// Crowds stand ascending by PID, and threads of one follow one another more often than not.
    fn crowd_of(&self, pid: u32) -> Option<usize> {
        match self.crowds.last() {
            Some(last) if last.pid == pid => Some(self.crowds.len() - 1),
            _ => self.crowds.binary_search_by_key(&pid, |crowd| crowd.pid).ok(),
        }
    }

    /// The first sweep meets nobody but strangers, and is told of every crowd.
    fn forget_first(&mut self) {
        self.strangers.shrink_to(STRANGERS_KEPT);
        self.crowds.shrink_to(STRANGERS_KEPT);
        self.threads.shrink_to(STRANGERS_KEPT);
    }

    fn clear(&mut self) {
        self.slack_of_threads.give_back(&mut self.threads);
        self.strangers.clear();
        self.crowds.clear();
        self.threads.clear();
        self.early.clear();
    }
}

impl Collector {
    /// Makes samples of what the iterator tells, and reads by procfs whom it keeps back. Returns
    /// `false` where there is no iterator, or it failed: then the snapshot has no processes.
    pub(super) fn read_told(&mut self, needs: &Request<'_>, into: &mut Snapshot) -> bool {
        let links_before = self.links();
        let began_ticks = self.origin.scale.ticks_at(self.origin.now().since_boot);
        let is_first = self.known.is_empty();
        if is_first {
            // As much as is needed and no more, since the first sweep needs most.
            let count = links_before.map_or(0, |links| usize::try_from(links).unwrap_or(0));
            let count = count.min(PROCESSES_EXPECTED_MAX);
            self.known.reserve(count);
            into.processes.reserve_exact(count);
            self.desk.rest.strangers.reserve_exact(count);
        }
        let mut rest = std::mem::take(&mut self.desk.rest);
        let former = FormerSweep::of(needs, &self.wants, into);
        let is_of_use = needs.continuity == Continuity::AsBefore && self.former == Some(former);
        let outcome = match is_of_use {
            true => self.tell(Former::Remembered, needs, into, &mut rest),
            false => Outcome::Missed,
        };
        self.former = None;
        let outcome = match outcome {
            Outcome::Missed => {
                rest.clear();
                self.tell(Former::Forgotten, needs, into, &mut rest)
            }
            outcome => outcome,
        };
        let is_told = outcome == Outcome::Told;
        if is_told {
            let told = into.processes.len() - self.desk.stayed.len();
            self.identify_all(&mut rest, needs, into);
            self.finish_crowds(&mut rest, needs, into);
            self.add_sockets(needs, into);
            let links_after = self.links();
            let count = Count { told, links_before, links_after };
            let kept_back = self.find_kept_back(count, began_ticks, into);
            self.read_kept_back(kept_back, needs, into);
            self.former = Some(former).filter(|_| needs.can_be_kept());
        }
        rest.clear();
        if is_first {
            rest.forget_first();
            (self.pids, self.inodes) = (Vec::new(), Vec::new());
        }
        self.desk.rest = rest;
        is_told
    }

    fn tell(
        &mut self,
        former: Former,
        needs: &Request<'_>,
        into: &mut Snapshot,
        rest: &mut Rest,
    ) -> Outcome {
        let Collector {
            witness,
            known,
            wants,
            round,
            origin,
            nobody,
            delay_accounting,
            sweeper,
            attention,
            desk,
            ..
        } = self;
        let Some(bpf) = witness.bpf() else { return Outcome::Failed };
        attention.begin();
        let mut telling = Telling {
            scale: origin.scale,
            delay_accounting: *delay_accounting,
            needs,
            wants,
            round: *round,
            known: known.ascending(),
            walked: 0,
            seats: Seats::of(&mut into.processes, desk.kept_back.pids()),
            rest,
            sweeper,
            nobody,
            attention,
            read_at: BootTime::default(),
            records: 0,
            has_missed: false,
        };
        let outcome = bpf.read_changes(former, &mut |living| telling.take(living));
        telling.join_early();
        let Telling { seats, has_missed, .. } = telling;
        desk.stayed = seats.finish();
        let told = match outcome {
            Ok(()) if has_missed => Outcome::Missed,
            Ok(()) => Outcome::Told,
            Err(_) => Outcome::Failed,
        };
        if told == Outcome::Failed {
            into.processes.clear();
        }
        witness.note_living(outcome);
        told
    }

    /// Finds out who the strangers are.
    fn identify_all(&mut self, rest: &mut Rest, needs: &Request<'_>, into: &mut Snapshot) {
        for stranger in rest.strangers.drain(..) {
            let position = position(&into.processes, stranger.seat, stranger.task.id);
            let sample = position.and_then(|position| into.processes.get_mut(position));
            let Some(sample) = sample else { continue };
            self.attention.turn_to(sample.key.pid);
            self.forget_former_bearer(sample.key);
            self.identify(&stranger, sample);
            let Some(known) = self.known.get_mut(sample.key.pid) else { continue };
            let threads = sample.gauges.threads.value().copied().unwrap_or(0);
            known.note_thread_count(threads);
            if let Some(usage) = stranger.usage.filter(|_| threads <= 1) {
                sample.usage = hand_out(known, &usage, sample.usage.reaped());
            }
            self.identities.share(&mut known.identity);
            sample.identity = Arc::clone(&known.identity);
            let measures = needs.measures_of(sample.key, &sample.identity);
            if measures != needs.needs.measures {
                let threads = sample.gauges.threads;
                sample.gauges = Gauges::absent(Absence::NotRequested);
                sample.gauges.threads = threads;
            } else if measures.proportional_memory {
                sample.gauges.seldom.proportional_memory = known.proportional_memory();
            }
        }
    }

    fn identify(&mut self, stranger: &Stranger, sample: &ProcessSample) {
        let key = sample.key;
        if self.wants.are_told() {
            self.believe(stranger, sample);
        } else if self.visit_identity(stranger, key).is_none() && self.known.get(key.pid).is_none()
        {
            // It ended meanwhile, or is hidden from us.
            let identity = stranger.identity(Absence::Vanished);
            self.known.insert(Known::untold(key, sample.parent_pid, identity));
        }
        let executed = self.witness.executed(stranger.task).cloned();
        let Collector { known, round, wants, .. } = self;
        if let Some(known) = known.get_mut(key.pid) {
            known.swept = *round;
            known.note_told(stranger.told);
            if let Some(executed) = executed {
                known.take_exec(&executed, wants);
            }
        }
    }

    /// Where nothing else is wanted, name and user are as they are told.
    fn believe(&mut self, stranger: &Stranger, sample: &ProcessSample) {
        let Collector { known, wants, .. } = self;
        let identity = stranger.identity(Absence::NotRequested);
        match known.get_mut(sample.key.pid) {
            Some(known) => known.believe(identity, wants),
            None => {
                known.insert(Known::believed(sample.key, sample.parent_pid, identity, wants));
            }
        }
    }

    fn visit_identity(&mut self, stranger: &Stranger, key: ProcessKey) -> Option<()> {
        let folder = open_folder(&self.origin.root, Name::of(key.pid).as_c_str()).ok()?;
        let mut stat_room = std::mem::take(&mut self.stat_room);
        let text = stat_room.read_lines(&folder, c"stat", 1).map_err(FileError::absence).ok();
        let visited = text.and_then(|text| {
            let stat = mpp_parse::proc_pid_stat::parse(text).ok()?;
            let phase = Phase::of(&folder, &stat, &mut self.buffers).ok()?;
            if stat.start_time_ticks != key.start_time_ticks {
                return None;
            }
            let Collector { origin, known, buffers, wants, round, .. } = self;
            let subject = Subject { origin, folder: &folder, pid: key.pid, stat: &stat, phase };
            let Told { exec_id, euid, .. } = stranger.told;
            match known.get_mut(key.pid) {
                Some(known) => {
                    let exec = match known.told() {
                        Some(told) if told.exec_id != exec_id => Exec::Happened,
                        _ => Exec::NotToldOf,
                    };
                    known.refresh_after(exec, euid, &subject, wants, *round, buffers);
                }
                None => known.insert(Known::new(key, euid, &subject, wants, buffers)),
            }
            Some(())
        });
        self.stat_room = stat_room;
        visited
    }

    /// Adds the threads of each process up that has several.
    fn finish_crowds(&mut self, rest: &mut Rest, needs: &Request<'_>, into: &mut Snapshot) {
        rest.slack_of_crowds.give_back(&mut rest.crowds);
        rest.threads.sort_unstable_by_key(|(crowd, thread)| (*crowd, thread.key));
        let mut chunks = rest.threads.chunk_by(|one, next| one.0 == next.0);
        for crowd in rest.crowds.drain(..) {
            let chunk = chunks.next().unwrap_or_default();
            let position = position(&into.processes, crowd.seat, crowd.pid);
            let sample = position.and_then(|position| into.processes.get_mut(position));
            let Some(sample) = sample else { continue };
            if let Some(known) = self.known.get_mut(crowd.pid) {
                sample.usage = hand_out(known, &crowd.usage, sample.usage.reaped());
            }
            let (key, io) = (sample.key, crowd.io);
            let is_same = |former: &ThreadList| {
                former.of(key, io).iter().eq(chunk.iter().map(|(_, thread)| thread))
            };
            let threads = crowd.former.filter(is_same).unwrap_or_else(|| {
                let threads: Vec<_> = chunk.iter().map(|(_, thread)| *thread).collect();
                ThreadList::new(key, io, &threads)
            });
            let measures = needs.measures_of(sample.key, &sample.identity);
            if measures.context_switches == ContextSwitchNeeds::AllThreads {
                sample.gauges.context_switches = switches(&crowd.usage);
            }
            if measures.delays {
                sample.gauges.seldom.delays = reading(crowd.delays.as_ref(), self.delay_accounting);
            }
            sample.io = io_of(&measures, crowd.io, threads);
        }
    }

    /// How many processes the kernel has, and something constant; `None` where it cannot say.
    #[allow(clippy::useless_conversion, reason = "it is half as wide on other architectures")]
    pub(super) fn links(&self) -> Option<u64> {
        status_of(&self.origin.root).ok().map(|status| status.st_nlink)
    }

    /// Whether a process was there before this tick, or nobody can say.
    fn may_be_older(&mut self, pid: u32, began_ticks: u64) -> bool {
        let name = Name::in_process(pid, "stat");
        match self.stat_room.read_lines(&self.origin.root, name.as_c_str(), 1) {
            Ok(text) => mpp_parse::proc_pid_stat::parse(text)
                .map_or(true, |stat| stat.start_time_ticks < began_ticks),
            Err(error) => error.absence() != Absence::Vanished,
        }
    }

    /// Finds those that procfs lists and the iterator did not hand out, since they are kept from
    /// BPF programs. Who is born since is left to the next sweep, which is told when exactly.
    fn find_kept_back(&mut self, count: Count, began_ticks: u64, into: &Snapshot) -> KeptBack {
        let stayed = std::mem::take(&mut self.desk.stayed);
        let is_told = |pid: &u32| {
            into.processes.binary_search_by_key(pid, |p| p.key.pid).is_ok()
                && stayed.binary_search(pid).is_err()
        };
        let mut kept_back = std::mem::take(&mut self.desk.kept_back);
        if kept_back.is_listing_due(count) {
            match self.list() {
                Ok(()) => {
                    kept_back.listed(count, self.pids.iter().copied().filter(|pid| !is_told(pid)));
                }
                // Those that were kept back before are read all the same.
                Err(_) => self.trouble.failed += 1,
            }
        }
        kept_back.retain(|pid| !is_told(pid) && self.may_be_older(*pid, began_ticks));
        self.desk.stayed = stayed;
        kept_back
    }

    /// Reads those by procfs that are kept back.
    fn read_kept_back(
        &mut self,
        mut kept_back: KeptBack,
        needs: &Request<'_>,
        into: &mut Snapshot,
    ) {
        let (mut newcomers, mut unread) = (Vec::new(), std::mem::take(&mut self.desk.stayed));
        kept_back.retain(|pid| match self.visit(*pid, needs) {
            Ok(sample) => {
                let sample = self.seen_kept_back(sample);
                match unread.binary_search(pid) {
                    Ok(place) => {
                        unread.remove(place);
                        put(&mut into.processes, sample);
                    }
                    Err(_) => newcomers.push(sample),
                }
                true
            }
            Err(Unseen::Vanished) => false,
            Err(Unseen::Unreadable) => {
                into.unreadable_pids.push(*pid);
                true
            }
        });
        kept_back.end_sweep();
        self.desk.kept_back = kept_back;
        if !unread.is_empty() {
            into.processes.retain(|sample| unread.binary_search(&sample.key.pid).is_err());
        }
        if !newcomers.is_empty() {
            into.processes.append(&mut newcomers);
            // By keys alone: room to merge samples would be as much as they take.
            into.processes.sort_by_cached_key(|sample| sample.key);
        }
        into.unreadable_pids.sort_unstable();
    }

    /// Takes note of one that was kept back and read by procfs.
    fn seen_kept_back(&mut self, mut sample: ProcessSample) -> ProcessSample {
        // Procfs does not tell it, and whoever does is kept from this one.
        if sample.gauges.seldom.delays == Reading::Absent(Absence::NeedsRecords) {
            sample.gauges.seldom.delays = Reading::Absent(Absence::Denied);
        }
        let known = self.known.get(sample.key.pid);
        if has_trouble(&sample) || known.is_none_or(|known| !known.is_settled(&self.wants)) {
            self.attention.turn_to(sample.key.pid);
        }
        sample
    }
}

impl Stranger {
    fn of(leader: &Leader<'_>, seat: Seat) -> Self {
        Stranger {
            seat,
            task: leader.task.thread(),
            told: leader.told,
            comm: identity::padded(leader.process.comm()),
            is_kernel_thread: leader.task.is_kernel_thread(),
            usage: Some(leader.usage),
        }
    }

    /// One that was told of before, has stood still since, and was not to be found out about then.
    fn again(known: &Known, task: TaskKey, seat: Seat) -> Option<Self> {
        Some(Stranger {
            seat,
            task,
            told: known.told()?,
            comm: identity::padded(&known.identity.comm),
            is_kernel_thread: known.identity.is_kernel_thread,
            usage: None,
        })
    }

    /// Who it is, as far as that is told; the rest is absent for this reason.
    fn identity(&self, why: Absence) -> Identity {
        let comm = Box::from(identity::without_padding(&self.comm));
        let named = identity::named(comm, self.told.euid, why);
        Identity { is_kernel_thread: self.is_kernel_thread, ..named }
    }
}

/// Puts a sample in the place of the one with the same PID.
fn put(samples: &mut [ProcessSample], sample: ProcessSample) {
    let place = samples.binary_search_by_key(&sample.key.pid, |sample| sample.key.pid);
    if let Some(former) = place.ok().and_then(|place| samples.get_mut(place)) {
        *former = sample;
    }
}

/// What is remembered of the process with this PID, on a walk along all of them.
fn known_of<'a>(known: &'a mut [Known], walked: &mut usize, pid: u32) -> Option<&'a mut Known> {
    while known.get(*walked).is_some_and(|known| known.key.pid < pid) {
        *walked += 1;
    }
    known.get_mut(*walked).filter(|known| known.key.pid == pid)
}

/// Whether it could not be said how many descriptors there are, though somebody asked.
fn has_no_fds(gauges: &Gauges) -> bool {
    gauges.fds.absence().is_some_and(|why| why != Absence::NotRequested)
}

/// What to measure. Of a stranger everything: whether anybody is interested is known when it is
/// known who it is.
fn measures_of(
    needs: &Request<'_>,
    nobody: &Arc<Identity>,
    key: ProcessKey,
    identity: &Arc<Identity>,
) -> Measures {
    match Arc::ptr_eq(identity, nobody) {
        true => needs.needs.measures,
        false => needs.measures_of(key, identity),
    }
}

/// What a process did, with CPU time divided so that neither part falls below what was said.
fn hand_out(known: &mut Known, usage: &ThreadUsage, reaped: UsageTotals) -> Usage {
    let (user_ns, system_ns) = cpu_split(usage, known.own_cpu());
    let own = Totals([user_ns, system_ns, usage.min_flt, usage.maj_flt]);
    known.hand_out(own, reaped)
}

fn reading(delays: Option<&DelaySum>, accounting: DelayAccounting) -> Reading<Delays> {
    delays.map_or(Reading::Absent(Absence::Unsupported), |delays| delays.reading(accounting))
}

fn reaped(pool: &Pool) -> UsageTotals {
    Totals([pool.cutime_ns, pool.cstime_ns, pool.cmin_flt, pool.cmaj_flt])
}
