//! What one process holds and has done, read through its own folder.
//!
//! Three traps. A process whose main thread has exited prints zeros and nothing in the
//! main thread's files though it lives and holds gigabytes: it is read through a thread
//! that lives. A zombie's files are empty or closed, but its counters are final. And the
//! kernel adds a child's I/O to its parent's when the parent waits for it: total and
//! threads of a parent are one reading only if no child was reaped between the two.
//! The live tests are `a_process_whose_main_thread_exited_shows_what_its_other_threads_hold`,
//! `a_zombie_has_no_memory_and_its_counters_are_final` and
//! `a_reaped_childs_bytes_are_in_the_total_and_in_no_thread`.

use std::ffi::CStr;
use std::sync::Arc;

use mpp_accounting::process::{
    Absence, ContextSwitches, Gauges, Memory, ProcessIo, ProcessKey, ProcessState, Reading, Socket,
    ThreadIo, ThreadKey, ThreadList, Usage,
};
use mpp_accounting::units::{IoTotals, UsageTotals};
use mpp_parse::proc_pid_stat::Stat;
use mpp_parse::proc_pid_status::Status;
use mpp_parse::{proc_pid_io, proc_pid_limits, proc_pid_stat, proc_pid_statm, proc_pid_status};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use crate::error::absence_of;
use crate::needs::{ContextSwitchNeeds, Measures};
use crate::origin::Origin;
use crate::proc_fs::{
    FileError, FileResult, Listing, Name, Room, open_file, open_folder, open_listing, status_at,
};
use crate::scale::{io_totals, small_count};
use crate::sockets::SocketSource;

/// A kernel thread, which has no memory of its own: `PF_KTHREAD` of `include/linux/sched.h`.
const FLAG_KERNEL_THREAD: u32 = 0x0020_0000;

/// On its way out, `PF_EXITING` of `include/linux/sched.h`: its record may have been written,
/// though it is no zombie yet and may not be one for long.
const FLAG_EXITING: u32 = 0x0000_0004;

/// Lines of an `io` file; later kernels may append more.
const IO_LINES: usize = 7;

/// How often a parent is read again because it reaped a child in the meantime.
const ATTEMPTS: usize = 3;

/// The process that is being read.
#[derive(Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) origin: &'a Origin,
    /// Its folder. It stays this process's whoever gets its PID.
    pub(crate) folder: &'a OwnedFd,
    pub(crate) pid: u32,
    pub(crate) stat: &'a Stat<'a>,
    pub(crate) phase: Phase,
}

/// How far through its life a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Its main thread lives.
    Living,
    /// Its main thread has exited, another one lives: this one, unless it could not be found.
    LeaderExited(Result<ThreadKey, Absence>),
    /// Ended, not yet reaped.
    Zombie,
}

/// What files are read into.
#[derive(Debug)]
pub(crate) struct Buffers {
    pub(crate) room: Room,
    pub(crate) listing: Listing,
    pub(crate) tids: Vec<u32>,
    threads: Vec<ThreadIo>,
}

/// Why a process is not among the living and the zombies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Vanished;

impl Buffers {
    pub(crate) fn new() -> Self {
        Buffers {
            room: Room::default(),
            listing: Listing::new(),
            tids: Vec::new(),
            threads: Vec::new(),
        }
    }
}

impl Phase {
    /// Looks at the state, and for a living thread where the main one has exited.
    ///
    /// A process that is being taken down prints state `X`, or no threads at all.
    pub(crate) fn of(
        folder: &OwnedFd,
        stat: &Stat<'_>,
        buffers: &mut Buffers,
    ) -> Result<Self, Vanished> {
        match stat.state {
            b'X' | b'x' => Err(Vanished),
            _ if stat.num_threads == 0 => Err(Vanished),
            b'Z' if stat.num_threads > 1 => match living_thread(folder, stat.pid, buffers) {
                Ok(Some(thread)) => Ok(Phase::LeaderExited(Ok(thread))),
                Ok(None) => Ok(Phase::LeaderExited(Err(Absence::Unstable))),
                Err(why) => Ok(Phase::LeaderExited(Err(why))),
            },
            b'Z' => Ok(Phase::Zombie),
            _ => Ok(Phase::Living),
        }
    }

    /// As accounting knows it.
    pub(crate) fn state(self) -> ProcessState {
        match self {
            Phase::Living | Phase::LeaderExited(_) => ProcessState::Living,
            Phase::Zombie => ProcessState::Zombie,
        }
    }
}

/// A thread of the process, other than the main one, that has not exited.
fn living_thread(
    folder: &OwnedFd,
    pid: u32,
    buffers: &mut Buffers,
) -> Result<Option<ThreadKey>, Absence> {
    list_threads(folder, buffers).map_err(absence_of)?;
    for tid in buffers.tids.iter().copied().filter(|tid| *tid != pid) {
        let Ok(text) = buffers.room.read_lines(folder, Name::in_thread(tid, "stat").as_c_str(), 1)
        else {
            continue;
        };
        if let Ok(stat) = proc_pid_stat::parse(text)
            && !matches!(stat.state, b'Z' | b'X' | b'x')
        {
            return Ok(Some(ThreadKey { tid, start_time_ticks: stat.start_time_ticks }));
        }
    }
    Ok(None)
}

fn list_threads(folder: &OwnedFd, buffers: &mut Buffers) -> Result<(), Errno> {
    let tasks = open_listing(folder, c"task")?;
    buffers.listing.numbers(&tasks, &mut buffers.tids)
}

impl Subject<'_> {
    /// Zombies have given their memory back, and kernel threads use the kernel's.
    pub(crate) fn has_no_memory(&self) -> bool {
        self.phase == Phase::Zombie || self.is_kernel_thread()
    }

    /// Whether its main thread waits for something and lets no signal disturb it.
    pub(crate) fn is_uninterruptible(&self) -> bool {
        self.stat.state == b'D'
    }

    /// Whether its main thread is on its way out.
    pub(crate) fn is_exiting(&self) -> bool {
        self.stat.flags & FLAG_EXITING != 0
    }

    /// Whether its main thread is on a CPU or waits for one.
    pub(crate) fn is_running(&self) -> bool {
        self.stat.state == b'R'
    }

    pub(crate) fn is_kernel_thread(&self) -> bool {
        is_kernel_thread(self.stat)
    }

    /// Everything it holds right now, as far as it is asked for. `threads_max` is the most
    /// threads it was ever seen with.
    pub(crate) fn gauges(
        &self,
        measures: &Measures,
        threads_max: u64,
        buffers: &mut Buffers,
    ) -> Gauges {
        let mut gauges = Gauges::absent(Absence::NotRequested);
        gauges.threads = Reading::Value(small_count(self.stat.num_threads));
        if measures.memory {
            gauges.put_memory(self.memory(buffers));
        }
        if measures.fds {
            gauges.fds = self.descriptors(buffers);
        }
        if measures.fd_limit {
            gauges.seldom.fd_limit = self.descriptor_limit(buffers);
        }
        if measures.delays {
            gauges.seldom.delays = Reading::Absent(Absence::NeedsRecords);
        }
        self.status_gauges(measures, threads_max, buffers, &mut gauges);
        gauges
    }

    /// Kernel threads and zombies have no memory; the kernel prints zeros for them.
    fn memory(&self, buffers: &mut Buffers) -> Reading<Memory> {
        if self.has_no_memory() {
            return Reading::Value(Memory::default());
        }
        let name = match self.name(c"statm") {
            Ok(name) => name,
            Err(why) => return Reading::Absent(why),
        };
        match buffers.room.read_lines(self.folder, name.as_ref(), 1) {
            Ok(text) => {
                let statm = proc_pid_statm::parse(text).ok();
                parsed(statm.map(|statm| self.origin.scale.memory(&statm)))
            }
            Err(error) => Reading::Absent(self.absence(error)),
        }
    }

    /// A zombie's descriptors are closed, and kernel threads have none.
    fn descriptors(&self, buffers: &mut Buffers) -> Reading<u32> {
        if self.has_no_memory() {
            return Reading::Value(0);
        }
        let name = match self.name(c"fd") {
            Ok(name) => name,
            Err(why) => return Reading::Absent(why),
        };
        let count = if self.origin.counts_descriptors {
            status_at(self.folder, name.as_ref())
                .map(|status| u64::try_from(status.st_size).unwrap_or(0))
        } else {
            open_listing(self.folder, name.as_ref())
                .and_then(|folder| buffers.listing.count(&folder))
        };
        match count {
            Ok(count) => Reading::Value(small_count(count)),
            Err(errno) => Reading::Absent(self.absence(errno.into())),
        }
    }

    /// A zombie's sockets are closed, and kernel threads have none. `fds` is how many descriptors
    /// it has, where that was read.
    pub(crate) fn sockets(
        &self,
        key: ProcessKey,
        fds: Option<u32>,
        source: &mut SocketSource,
    ) -> Reading<Arc<[Socket]>> {
        let found = match self.phase {
            _ if self.has_no_memory() => return Reading::Value(source.none()),
            Phase::Zombie | Phase::Living => source.sockets_held(key, self.folder.as_fd(), fds),
            Phase::LeaderExited(Err(why)) => Reading::Absent(why),
            Phase::LeaderExited(Ok(thread)) => {
                let name = Name::in_thread(thread.tid, ".");
                match open_folder(self.folder, name.as_c_str()) {
                    Ok(folder) => source.sockets_held(key, folder.as_fd(), fds),
                    Err(errno) => Reading::Absent(self.absence(errno.into())),
                }
            }
        };
        let found = match (found, self.phase) {
            (Reading::Absent(Absence::Vanished), Phase::LeaderExited(_)) => {
                Reading::Absent(Absence::Unstable)
            }
            (found, _) => found,
        };
        if let Reading::Absent(why) = found {
            source.note_unread(key, why);
        }
        found
    }

    fn descriptor_limit(&self, buffers: &mut Buffers) -> Reading<u64> {
        self.reading(buffers, c"limits", |text| {
            proc_pid_limits::parse(text).map(|limits| limits.open_files.soft).ok()
        })
    }

    /// Lists its threads, of which there are so many: one needs no listing.
    pub(crate) fn list_tids(&self, count: u64, buffers: &mut Buffers) -> Result<(), Absence> {
        if count <= 1 {
            buffers.tids.clear();
            buffers.tids.push(self.pid);
            return Ok(());
        }
        list_threads(self.folder, buffers).map_err(|errno| missing_in(self.origin, errno.into()))
    }

    /// What stands in `status`, which is read once for all of it.
    fn status_gauges(
        &self,
        measures: &Measures,
        threads_max: u64,
        buffers: &mut Buffers,
        gauges: &mut Gauges,
    ) {
        let wants_main_thread = measures.context_switches == ContextSwitchNeeds::MainThread;
        if measures.swap {
            let status = self.reading(buffers, c"status", |text| proc_pid_status::parse(text).ok());
            gauges.seldom.swap_bytes = self.swap_bytes(&status);
            // The file is the main thread's only where that one lives.
            if wants_main_thread && !matches!(self.phase, Phase::LeaderExited(_)) {
                gauges.context_switches = self.main_thread_switches(status, threads_max);
                return;
            }
        }
        gauges.context_switches = match measures.context_switches {
            ContextSwitchNeeds::None => return,
            ContextSwitchNeeds::MainThread => {
                let status = self.read_status(buffers, c"status");
                self.main_thread_switches(status, threads_max)
            }
            ContextSwitchNeeds::AllThreads => self.all_threads_switches(threads_max, buffers),
        };
    }

    /// Processes without memory have none that is swapped out.
    fn swap_bytes(&self, status: &Reading<Status>) -> Reading<u64> {
        match status {
            Reading::Absent(why) => Reading::Absent(*why),
            Reading::Value(Status { vm_swap_bytes: Some(bytes), .. }) => Reading::Value(*bytes),
            Reading::Value(_) if self.has_no_memory() => Reading::Value(0),
            Reading::Value(_) => Reading::Absent(Absence::Unsupported),
        }
    }

    fn main_thread_switches(
        &self,
        status: Reading<Status>,
        threads_max: u64,
    ) -> Reading<ContextSwitches> {
        match status {
            Reading::Value(status) => switches(&status, threads_max),
            Reading::Absent(why) => Reading::Absent(why),
        }
    }

    /// Threads that have exited took their switches along, so the sum is whole only where
    /// there never was more than one thread.
    fn all_threads_switches(
        &self,
        threads_max: u64,
        buffers: &mut Buffers,
    ) -> Reading<ContextSwitches> {
        if self.stat.num_threads <= 1 {
            let status = self.read_status(buffers, c"status");
            return self.main_thread_switches(status, threads_max);
        }
        if let Err(errno) = list_threads(self.folder, buffers) {
            return Reading::Absent(self.absence(errno.into()));
        }
        let mut sum = ContextSwitches { is_partial: true, ..ContextSwitches::default() };
        for position in 0..buffers.tids.len() {
            let name = Name::in_thread(buffers.tids[position], "status");
            match self.read_status(buffers, name.as_c_str()) {
                Reading::Value(status) => match switches(&status, threads_max) {
                    Reading::Value(one) => {
                        sum.voluntary = sum.voluntary.saturating_add(one.voluntary);
                        sum.involuntary = sum.involuntary.saturating_add(one.involuntary);
                    }
                    absent @ Reading::Absent(_) => return absent,
                },
                // A thread that has exited meanwhile.
                Reading::Absent(Absence::Vanished) => {}
                Reading::Absent(why) => return Reading::Absent(why),
            }
        }
        Reading::Value(sum)
    }

    fn read_status(&self, buffers: &mut Buffers, name: &CStr) -> Reading<Status> {
        match buffers.room.read_lines(self.folder, name, 1) {
            Ok(text) => parsed(proc_pid_status::parse(text).ok()),
            Err(error) => Reading::Absent(missing_in(self.origin, error)),
        }
    }

    /// Reads one of the process's files: the main thread's, or that of one that lives.
    fn reading<T>(
        &self,
        buffers: &mut Buffers,
        file: &'static CStr,
        parse: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Reading<T> {
        let name = match self.name(file) {
            Ok(name) => name,
            Err(why) => return Reading::Absent(why),
        };
        match buffers.room.read(self.folder, name.as_ref()) {
            Ok(text) => parsed(parse(text)),
            Err(error) => Reading::Absent(self.absence(error)),
        }
    }

    /// Reads one of the process's files whole.
    pub(crate) fn read<'b>(
        &self,
        room: &'b mut Room,
        file: &'static CStr,
        max_bytes: usize,
    ) -> Result<&'b [u8], Absence> {
        let name = self.name(file)?;
        room.read_large(self.folder, name.as_ref(), max_bytes).map_err(|error| self.absence(error))
    }

    /// Reads the first bytes of one of the process's files; says whether more follow.
    pub(crate) fn read_beginning<'b>(
        &self,
        room: &'b mut Room,
        file: &'static CStr,
        max_bytes: usize,
    ) -> Result<(&'b [u8], bool), Absence> {
        let name = self.name(file)?;
        room.read_beginning(self.folder, name.as_ref(), max_bytes)
            .map_err(|error| self.absence(error))
    }

    /// Where a file of the process is, from its folder.
    pub(crate) fn name(&self, file: &'static CStr) -> Result<FileName, Absence> {
        match self.phase {
            Phase::LeaderExited(Ok(thread)) => {
                let file = file.to_str().unwrap_or_default();
                Ok(FileName::OfThread(Name::in_thread(thread.tid, file)))
            }
            Phase::LeaderExited(Err(why)) => Err(why),
            Phase::Living | Phase::Zombie => Ok(FileName::OfProcess(file)),
        }
    }

    /// Why a file of the process could not be read.
    ///
    /// The thread through which a process is read may end and the process live on.
    pub(crate) fn absence(&self, error: FileError) -> Absence {
        match (missing_in(self.origin, error), self.phase) {
            (Absence::Vanished, Phase::LeaderExited(_)) => Absence::Unstable,
            (why, _) => why,
        }
    }
}

/// The name of a file in a process's folder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FileName {
    OfProcess(&'static CStr),
    OfThread(Name),
}

impl FileName {
    pub(crate) fn as_ref(&self) -> &CStr {
        match self {
            FileName::OfProcess(name) => name,
            FileName::OfThread(name) => name.as_c_str(),
        }
    }
}

/// In a frozen tree nobody ends: what is missing was never there.
fn missing_in(origin: &Origin, error: FileError) -> Absence {
    match error.absence() {
        Absence::Vanished if origin.is_frozen() => Absence::Unsupported,
        why => why,
    }
}

fn parsed<T>(value: Option<T>) -> Reading<T> {
    value.map_or(Reading::Absent(Absence::Malformed), Reading::Value)
}

/// Those of one thread, which are the process's where it never had another one.
fn switches(status: &Status, threads_max: u64) -> Reading<ContextSwitches> {
    let is_partial = threads_max > 1;
    match (status.voluntary_ctxt_switches, status.nonvoluntary_ctxt_switches) {
        (Some(voluntary), Some(involuntary)) => {
            Reading::Value(ContextSwitches { voluntary, involuntary, is_partial })
        }
        _ => Reading::Absent(Absence::Unsupported),
    }
}

/// Whether a process's threads are read one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadNeeds {
    /// It never had children: everything it did is its own.
    None,
    /// It may have reaped children: total and threads must be one moment.
    Each,
    /// Those that end are recorded: each thread counts by itself, at any moment.
    EachAtAnyMoment,
}

/// I/O and usage of one process, read as one moment.
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) usage: Usage,
    pub(crate) io: ProcessIo,
}

/// How a process's I/O is read.
#[derive(Debug)]
pub(crate) struct IoReader<'a> {
    pub(crate) subject: &'a Subject<'a>,
    /// A descriptor of its `io` file that was opened while it lived.
    pub(crate) held: Option<&'a OwnedFd>,
    /// What its threads had done at the last reading.
    pub(crate) known_threads: &'a [ThreadIo],
    /// What its main thread had done before its record was read, if that one was alone.
    pub(crate) lone_total: Option<IoTotals>,
}

impl IoReader<'_> {
    /// Reads the total, and where it is needed each thread's part of it, again and again
    /// until no child was reaped between the two.
    pub(crate) fn read(
        &self,
        needs: ThreadNeeds,
        buffers: &mut Buffers,
    ) -> Result<Counters, Vanished> {
        let mut usage = self.subject.origin.scale.usage(self.subject.stat);
        let not_requested = Reading::Absent(Absence::NotRequested);
        if needs == ThreadNeeds::None {
            let io = ProcessIo::new(self.total(buffers), not_requested);
            return Ok(Counters { usage, io });
        }
        let mut thread_count = self.subject.stat.num_threads;
        if let (Some(total), 1, ThreadNeeds::EachAtAnyMoment) =
            (self.lone_total, thread_count, needs)
        {
            let process = self.process();
            let (key, has_exited) = (process.main_thread(), self.has_exited(process.pid));
            let threads = ThreadList::new(process, total, &[ThreadIo { key, total, has_exited }]);
            let (total, threads) = (Reading::Value(total), Reading::Value(threads));
            return Ok(Counters { usage, io: ProcessIo::new(total, threads) });
        }
        for _ in 0..ATTEMPTS {
            let total = match self.total(buffers) {
                Reading::Value(total) => total,
                Reading::Absent(why) => {
                    let (total, threads) = (Reading::Absent(why), Reading::Absent(why));
                    return Ok(Counters { usage, io: ProcessIo::new(total, threads) });
                }
            };
            let threads = self.threads(thread_count, total, buffers);
            let total = Reading::Value(total);
            if needs == ThreadNeeds::EachAtAnyMoment {
                return Ok(Counters { usage, io: ProcessIo::new(total, threads) });
            }
            let Some((now, count_now)) = self.stat_again(buffers)? else {
                // Nobody can say whether the two belong together.
                return Ok(self.unstable(usage));
            };
            let is_whole = thread_count > 1 || count_now <= 1;
            if now.reaped() == usage.reaped() && is_whole {
                return Ok(Counters { usage, io: ProcessIo::new(total, threads) });
            }
            (usage, thread_count) = (now, count_now);
        }
        Ok(self.unstable(usage))
    }

    fn unstable(&self, usage: Usage) -> Counters {
        let why = Absence::Unstable;
        Counters { usage, io: ProcessIo::absent(why) }
    }

    /// `None` where it can no longer be read, though it may well exist.
    fn stat_again(&self, buffers: &mut Buffers) -> Result<Option<(Usage, u64)>, Vanished> {
        let text = match buffers.room.read_lines(self.subject.folder, c"stat", 1) {
            Ok(text) => text,
            Err(error) if error.absence() == Absence::Vanished => return Err(Vanished),
            Err(_) => return Ok(None),
        };
        let Ok(stat) = proc_pid_stat::parse(text) else { return Ok(None) };
        match stat.num_threads {
            0 => Err(Vanished),
            count => Ok(Some((self.subject.origin.scale.usage(&stat), count))),
        }
    }

    fn total(&self, buffers: &mut Buffers) -> Reading<IoTotals> {
        read_total(self.subject.origin, self.subject.folder, self.held, buffers)
    }

    fn process(&self) -> ProcessKey {
        let Subject { pid, stat, .. } = *self.subject;
        ProcessKey { pid, start_time_ticks: stat.start_time_ticks }
    }

    /// Each living thread's own part of a total.
    fn threads(&self, count: u64, total: IoTotals, buffers: &mut Buffers) -> Reading<ThreadList> {
        if let Err(why) = self.subject.list_tids(count, buffers) {
            return Reading::Absent(why);
        }
        buffers.threads.clear();
        for position in 0..buffers.tids.len() {
            match self.thread(buffers.tids[position], buffers) {
                Reading::Value(thread) => buffers.threads.push(thread),
                // It has exited: what it did is in the total all the same.
                Reading::Absent(Absence::Vanished) => {}
                Reading::Absent(why) => return Reading::Absent(why),
            }
        }
        buffers.threads.sort_unstable_by_key(|thread| thread.key);
        Reading::Value(ThreadList::new(self.process(), total, &buffers.threads))
    }

    fn thread(&self, tid: u32, buffers: &mut Buffers) -> Reading<ThreadIo> {
        let total = match read_thread_total(self.subject.origin, self.subject.folder, tid, buffers)
        {
            Reading::Value(total) => total,
            Reading::Absent(why) => return Reading::Absent(why),
        };
        self.thread_start(tid, total, buffers).map(|start_time_ticks| ThreadIo {
            key: ThreadKey { tid, start_time_ticks },
            total,
            has_exited: self.has_exited(tid),
        })
    }

    /// Only a main thread stays after its end: as long as others live, or until its process
    /// is waited for.
    fn has_exited(&self, tid: u32) -> bool {
        tid == self.subject.pid && self.subject.phase != Phase::Living
    }

    /// When a thread started: the main one with the process, one that was there before and
    /// whose counters did not fall when it did then.
    fn thread_start(&self, tid: u32, total: IoTotals, buffers: &mut Buffers) -> Reading<u64> {
        if tid == self.subject.pid {
            return Reading::Value(self.subject.stat.start_time_ticks);
        }
        let known = self.known_threads.iter().find(|known| known.key.tid == tid);
        if let Some(known) = known.filter(|known| total.since(known.total).is_some()) {
            return Reading::Value(known.key.start_time_ticks);
        }
        let name = Name::in_thread(tid, "stat");
        match buffers.room.read(self.subject.folder, name.as_c_str()) {
            Ok(text) => parsed(proc_pid_stat::parse(text).ok().map(|stat| stat.start_time_ticks)),
            Err(error) => Reading::Absent(missing_in(self.subject.origin, error)),
        }
    }
}

/// What a process did, with its threads that ended and the children it waited for; through `held`
/// where its `io` was opened before.
pub(crate) fn read_total(
    origin: &Origin,
    folder: &OwnedFd,
    held: Option<&OwnedFd>,
    buffers: &mut Buffers,
) -> Reading<IoTotals> {
    if !origin.has_io {
        return Reading::Absent(Absence::Unsupported);
    }
    let text = match held {
        Some(file) => buffers.room.read_open_lines(file.as_fd(), IO_LINES),
        None => buffers.room.read_lines(folder, c"io", IO_LINES),
    };
    parse_io(origin, text)
}

/// What one thread of a process did.
pub(crate) fn read_thread_total(
    origin: &Origin,
    folder: &OwnedFd,
    tid: u32,
    buffers: &mut Buffers,
) -> Reading<IoTotals> {
    let name = Name::in_thread(tid, "io");
    parse_io(origin, buffers.room.read_lines(folder, name.as_c_str(), IO_LINES))
}

fn parse_io(origin: &Origin, text: FileResult<&[u8]>) -> Reading<IoTotals> {
    match text {
        Ok(text) => parsed(proc_pid_io::parse(text).ok().map(|io| io_totals(&io))),
        Err(error) => Reading::Absent(missing_in(origin, error)),
    }
}

/// Whether it is a thread of the kernel's own, without memory and descriptors.
pub(crate) fn is_kernel_thread(stat: &Stat<'_>) -> bool {
    stat.flags & FLAG_KERNEL_THREAD != 0
}

/// Whether it is being taken down, and as good as gone.
pub(crate) fn is_ending(stat: &Stat<'_>) -> bool {
    matches!(stat.state, b'X' | b'x') || stat.num_threads == 0
}

/// Whether anything came with reaped children.
pub(crate) fn has_reaped(usage: &Usage) -> bool {
    usage.reaped() != UsageTotals::ZERO
}

/// Opens a process's `io` file to keep it.
pub(crate) fn open_io(folder: &OwnedFd) -> Result<OwnedFd, Errno> {
    open_file(folder, c"io")
}
