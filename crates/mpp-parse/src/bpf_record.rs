//! What our own BPF programs hand over: `crates/mpp-collect/bpf/record.h`.
//!
//! Every record begins with its length and is of one of six kinds: a living thread, a
//! process that has stood still, a thread's end, the release of a process that nobody waited for,
//! an exec, and a birth. The bytes come
//! from programs that were compiled together with this reader, but not from the same process:
//! so version, kind and every length are held against the bytes that are there.
//!
//! All times are nanoseconds since boot, suspended time included (`CLOCK_BOOTTIME`); process
//! and thread IDs are those of the initial PID namespace. The trap: what a process keeps in its
//! pool (`signal_struct`) holds threads that are gone and, in the same sums for I/O, children
//! that it has waited for; what a thread has is its own alone.

use core::fmt;

use zerocopy::byteorder::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::error::{ErrorKind, ParseError};
use crate::proc_pid_io::Io;

const PAGE: &str = "record.h";

/// The layout that this reader knows: `RECORD_VERSION`.
pub const VERSION: u16 = 5;
/// Bytes of the longest record: an exec with all its texts.
pub const LENGTH_MAX: usize = size_of::<RawExec>() + 256 + 4096 + 16384;

const KIND_TASK: u16 = 1;
const KIND_EXIT: u16 = 2;
const KIND_FREE: u16 = 3;
const KIND_EXEC: u16 = 4;
const KIND_STILL: u16 = 5;
const KIND_BIRTH: u16 = 6;

const TASK_HAS_PROCESS: u32 = 1;
const TASK_HAS_MEMORY: u32 = 2;
const TASK_FDS_CUT: u32 = 4;
const TASK_FDS_UNKNOWN: u32 = 8;
const TASK_HAS_DELAYS: u32 = 16;
const TASK_FORKER_KEPT: u32 = 32;

const DELAYS_CPU: u32 = 1;
const DELAYS_OTHERS: u32 = 2;
const DELAYS_MISSED: u32 = 4;
const DELAYS_OF_ENDED: u32 = 8;

const EXIT_GROUP_DEAD: u32 = 1;
const EXIT_AUTO_REAPED: u32 = 2;
const EXIT_ORIGIN_UNKNOWN: u32 = 4;

const PF_EXITING: u32 = 0x4;
const PF_KTHREAD: u32 = 0x0020_0000;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record<'a> {
    /// A thread that is there.
    Task(TaskRecord<'a>),
    /// A thread that has ended.
    Exit(ExitRecord<'a>),
    /// A process that nobody waited for was released.
    Free(FreeRecord<'a>),
    /// A program was executed.
    Exec(ExecRecord<'a>),
    /// A process of which no thread has run since the reading before.
    Still(TaskKey),
    /// A process was forked.
    Birth(BirthRecord),
}

/// A process or a thread for as long as the machine runs: its ID, and when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskKey {
    /// The thread group ID of a process, or the thread ID of a thread.
    pub id: u32,
    /// When it started, in nanoseconds since boot. A process keeps it over an exec.
    pub start_ns: u64,
}

/// What one thread itself used, since it began. All but the key figures of a running thread are
/// exact; those lag by up to one tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadUsage {
    /// Time in user mode, nanoseconds; whole ticks where the kernel counts by ticks.
    pub utime_ns: u64,
    /// Time in the kernel, likewise.
    pub stime_ns: u64,
    /// Time on a CPU, nanoseconds, exact: `sum_exec_runtime`. The kernel itself divides this
    /// one in the proportion of the two above for `/proc/PID/stat`.
    pub runtime_ns: u64,
    /// Gave the CPU up, to wait for something.
    pub nvcsw: u64,
    /// Was taken off the CPU.
    pub nivcsw: u64,
    /// Faults served without I/O.
    pub min_flt: u64,
    /// Faults that needed I/O.
    pub maj_flt: u64,
}

/// For how long something waited, nanoseconds. What a kernel does not count is 0; what of it
/// counts, [`DelayCount`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delays {
    /// Ready to run, for a CPU.
    pub cpu_ns: u64,
    /// For block I/O.
    pub block_io_ns: u64,
    /// For pages to be swapped in.
    pub swap_ns: u64,
    /// For memory to be freed.
    pub reclaim_ns: u64,
}

/// Which waits were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayCount {
    /// Whether this kernel counts those for a CPU.
    pub counts_cpu: bool,
    /// Whether this kernel can count the others. Whether it does now, is not told.
    pub counts_others: bool,
    /// Whether the others are missing of a thread: it began while that was switched off.
    pub misses_others: bool,
}

/// What a thread has waited for, and with the leader its process's ended threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskDelays {
    /// The thread itself.
    pub own: Delays,
    /// Those that have ended, zombies included. `None` where none has ended, and with any other
    /// thread than the leader.
    pub of_ended: Option<Delays>,
    /// Which waits these are.
    pub count: DelayCount,
}

/// What a process keeps of its threads that were released, and (`c...`) of children that it has
/// waited for: `struct signal_struct`. Living threads are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// I/O of released threads and reaped children together.
    pub io: Io,
    /// User time of released threads, nanoseconds.
    pub utime_ns: u64,
    /// System time of released threads, nanoseconds.
    pub stime_ns: u64,
    /// Time on a CPU of released threads, nanoseconds, exact. There is no such sum for children.
    pub runtime_ns: u64,
    /// User time of reaped children, nanoseconds, already scaled to their exact time.
    pub cutime_ns: u64,
    /// System time of reaped children, likewise.
    pub cstime_ns: u64,
    /// Minor faults of released threads.
    pub min_flt: u64,
    /// Major faults of released threads.
    pub maj_flt: u64,
    /// Minor faults of reaped children.
    pub cmin_flt: u64,
    /// Major faults of reaped children.
    pub cmaj_flt: u64,
    /// Voluntary switches of released threads.
    pub nvcsw: u64,
    /// Involuntary switches of released threads.
    pub nivcsw: u64,
    /// Voluntary switches of reaped children.
    pub cnvcsw: u64,
    /// Involuntary switches of reaped children.
    pub cnivcsw: u64,
}

/// What a process holds in memory, in pages, as proc_pid_statm(5) has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident pages of files.
    pub file_pages: u64,
    /// Resident pages of its own.
    pub anon_pages: u64,
    /// Resident pages of shared memory.
    pub shmem_pages: u64,
    /// Pages swapped out.
    pub swap_entries: u64,
    /// Address space.
    pub total_pages: u64,
    /// Data and stack.
    pub data_pages: u64,
    /// Address of the first byte of code. statm counts whole pages of it.
    pub start_code: u64,
    /// Address behind the last byte of code.
    pub end_code: u64,
    /// Open file descriptors.
    pub fds: Fds,
}

/// How many file descriptors are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fds {
    /// So many.
    Exactly(u32),
    /// There are more than are counted.
    AtLeast(u32),
    /// The process has let go of them, for it is ending.
    Unknown,
}

/// Whose child a process is, and whose exec gave it its program, as kept from its fork on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Who forked it, though that one may have ended since. `None` where it began before the
    /// programs were loaded, or where the hook of forks is missing.
    pub forker: Option<TaskKey>,
    /// Whose exec it runs the program of: itself, or the ancestor that executed it before
    /// forking.
    pub exec: TaskKey,
    /// When that exec was. `None`: before the programs were loaded.
    pub exec_time_ns: Option<u64>,
}

/// What is known of a process when its last thread ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEnd {
    /// What the process had collected, without the thread whose record this is and without those
    /// that are ending in the same moment.
    pub pool: Pool,
    /// The most pages that were resident at one time.
    pub max_rss_pages: u64,
    /// How it ended, as wait(2) hands it out.
    pub status: i32,
    /// Whether nobody will wait for it: its parent ignores SIGCHLD, or said `SA_NOCLDWAIT`.
    pub is_auto_reaped: bool,
}

/// A text of a process that was asked for or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Text<'a> {
    /// Nobody asked for it.
    NotAsked,
    /// Its pages were not in memory.
    Unreadable,
    /// The whole area.
    Whole(&'a [u8]),
    /// The beginning of a longer area.
    Cut(&'a [u8]),
}

/// A thread that is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TaskRecord<'a> {
    task: &'a RawTask,
    process: Option<&'a RawProcess>,
    memory: Option<&'a RawMemory>,
    delays: Option<&'a RawTaskDelays>,
}

/// What is known of a process with its leader's record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProcessPart<'a> {
    process: &'a RawProcess,
}

/// A thread that has ended: what it itself did, to the last byte. Only its CPU time goes on for
/// a little, until it is released.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExitRecord<'a> {
    exit: &'a RawExit,
    group: Option<&'a RawGroup>,
}

/// The release of a process that nobody waited for, with its final CPU time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FreeRecord<'a> {
    free: &'a RawFree,
}

/// A program was executed.
#[derive(Clone, Copy, PartialEq)]
pub struct ExecRecord<'a> {
    exec: &'a RawExec,
    filename: &'a [u8],
    cmdline: Text<'a>,
    environment: Text<'a>,
}

/// A process was forked, by one whose descendants are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BirthRecord {
    /// The process.
    pub process: TaskKey,
    /// Whose exec gave it its program: an ancestor.
    pub exec: TaskKey,
    /// When that was, nanoseconds since boot; `None` where it was before anybody watched.
    pub exec_time_ns: Option<u64>,
}

/// Reads the first of several records; also returns what follows it.
///
/// Returns `None` where the record is not there as a whole, as at the end of a buffer.
///
/// # Errors
/// It is of a version or kind that is not known, or its length is not what its kind asks for.
pub fn split_first(bytes: &[u8]) -> Result<Option<(Record<'_>, &[u8])>, ParseError> {
    let Ok((header, _)) = RawHeader::ref_from_prefix(bytes) else { return Ok(None) };
    header.check()?;
    let length = usize::try_from(header.size.get()).unwrap_or(usize::MAX);
    let Some((record, rest)) = bytes.split_at_checked(length) else {
        return if length <= LENGTH_MAX { Ok(None) } else { Err(wrong_length(length, LENGTH_MAX)) };
    };
    let record = match header.kind.get() {
        KIND_TASK => Record::Task(TaskRecord::parse(record)?),
        KIND_EXIT => Record::Exit(ExitRecord::parse(record)?),
        KIND_FREE => Record::Free(FreeRecord { free: exactly(record)? }),
        KIND_EXEC => Record::Exec(ExecRecord::parse(record)?),
        KIND_STILL => Record::Still(exactly::<RawStill>(record)?.key.get()),
        _ => Record::Birth(exactly::<RawBirth>(record)?.get()),
    };
    Ok(Some((record, rest)))
}

/// Reads one record that is all there is.
///
/// # Errors
/// As [`split_first`], and where the bytes are fewer or more than one record.
pub fn parse(bytes: &[u8]) -> Result<Record<'_>, ParseError> {
    match split_first(bytes)? {
        Some((record, [])) => Ok(record),
        Some((_, rest)) => Err(wrong_length(bytes.len(), bytes.len().saturating_sub(rest.len()))),
        None => Err(ParseError {
            page: PAGE,
            field: "size",
            offset: bytes.len(),
            kind: ErrorKind::UnexpectedEnd { expected: "a whole record" },
        }),
    }
}

impl<'a> TaskRecord<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (task, rest) = take::<RawTask>(bytes, bytes)?;
        let (process, rest) = part(task.parts.get() & TASK_HAS_PROCESS, bytes, rest)?;
        let (memory, rest) = part(task.parts.get() & TASK_HAS_MEMORY, bytes, rest)?;
        let (delays, rest) = part(task.parts.get() & TASK_HAS_DELAYS, bytes, rest)?;
        nothing_behind(bytes, rest)?;
        Ok(TaskRecord { task, process, memory, delays })
    }

    /// Which thread.
    #[must_use]
    pub fn thread(&self) -> TaskKey {
        TaskKey { id: self.task.tid.get(), start_ns: self.task.start.get() }
    }

    /// The thread group ID of its process.
    #[must_use]
    pub fn tgid(&self) -> u32 {
        self.task.tgid.get()
    }

    /// Whether it is a thread of the kernel.
    #[must_use]
    pub fn is_kernel_thread(&self) -> bool {
        self.task.flags.get() & PF_KTHREAD != 0
    }

    /// Whether it has begun to end. Its exit record may be there already, or come in a moment.
    #[must_use]
    pub fn is_exiting(&self) -> bool {
        self.task.flags.get() & PF_EXITING != 0
    }

    /// Whether it has ended and is not yet released; its exit record has been written.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.task.exit_state.get() != 0
    }

    /// All its flags: `PF_*` of `include/linux/sched.h`.
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.task.flags.get()
    }

    /// What it is doing: `TASK_*` of `include/linux/sched.h`; 0 while it runs.
    #[must_use]
    pub fn state(&self) -> u32 {
        self.task.state.get()
    }

    /// Its own I/O.
    #[must_use]
    pub fn io(&self) -> Io {
        self.task.io.get()
    }

    /// Its own CPU time, switches and faults.
    #[must_use]
    pub fn usage(&self) -> ThreadUsage {
        self.task.usage.get()
    }

    /// Whether who forked its process is who it was in the reading before, and is not told.
    #[must_use]
    pub fn keeps_forker(&self) -> bool {
        self.task.parts.get() & TASK_FORKER_KEPT != 0
    }

    /// What its process is, where it is the leader of its thread group, dead or alive.
    #[must_use]
    pub fn process(&self) -> Option<ProcessPart<'a>> {
        self.process.map(|process| ProcessPart { process })
    }

    /// What its process holds. Comes with the leader's record; where the leader has ended, with
    /// each other thread's; never for threads of the kernel and ended processes.
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        let parts = self.task.parts.get();
        self.memory.map(|memory| memory.get(parts))
    }

    /// What it has waited for, where somebody asked for that.
    #[must_use]
    pub fn delays(&self) -> Option<TaskDelays> {
        self.delays.map(RawTaskDelays::get)
    }
}

impl<'a> ProcessPart<'a> {
    /// Its parent at this moment, with ID 0 for the first process and the kernel's root.
    #[must_use]
    pub fn parent(&self) -> TaskKey {
        self.process.parent.get()
    }

    /// Who forked it, though that one may have ended since. `None` where it began before the
    /// programs were loaded, where the hook of forks is missing, for the kernel's root, and where
    /// it is not told: [`TaskRecord::keeps_forker`].
    #[must_use]
    pub fn forker(&self) -> Option<TaskKey> {
        Some(self.process.forker.get()).filter(|forker| forker.id != 0)
    }

    /// How many programs it and its ancestors have executed: another number is another program.
    #[must_use]
    pub fn self_exec_id(&self) -> u64 {
        self.process.self_exec_id.get()
    }

    /// Its command name, any bytes but NUL, at most 15.
    #[must_use]
    pub fn comm(&self) -> &'a [u8] {
        until_nul(&self.process.comm)
    }

    /// The effective user, as the initial user namespace numbers it.
    #[must_use]
    pub fn euid(&self) -> u32 {
        self.process.euid.get()
    }

    /// Threads that are not yet released.
    #[must_use]
    pub fn thread_count(&self) -> u32 {
        self.process.nr_threads.get()
    }

    /// The inode of its cgroup's folder in the v2 hierarchy.
    #[must_use]
    pub fn cgroup_id(&self) -> u64 {
        self.process.cgroup_id.get()
    }

    /// The soft limit on open file descriptors; `u64::MAX` for unlimited.
    #[must_use]
    pub fn fd_limit(&self) -> u64 {
        self.process.fd_limit.get()
    }

    /// What it keeps of threads and children that are gone.
    #[must_use]
    pub fn pool(&self) -> Pool {
        self.process.pool.get()
    }
}

impl<'a> ExitRecord<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (exit, rest) = take::<RawExit>(bytes, bytes)?;
        let (group, rest) = part(exit.marks.get() & EXIT_GROUP_DEAD, bytes, rest)?;
        nothing_behind(bytes, rest)?;
        Ok(ExitRecord { exit, group })
    }

    /// Which thread.
    #[must_use]
    pub fn thread(&self) -> TaskKey {
        TaskKey { id: self.exit.tid.get(), start_ns: self.exit.start.get() }
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> TaskKey {
        TaskKey { id: self.exit.tgid.get(), start_ns: self.exit.leader_start.get() }
    }

    /// Its process's parent at that moment.
    #[must_use]
    pub fn parent(&self) -> TaskKey {
        self.exit.parent.get()
    }

    /// Where its process came from. `None` where the kernel had no room to remember it.
    #[must_use]
    pub fn origin(&self) -> Option<Origin> {
        (self.exit.marks.get() & EXIT_ORIGIN_UNKNOWN == 0).then(|| Origin {
            forker: Some(self.exit.forker.get()).filter(|forker| forker.id != 0),
            exec: self.exit.exec.get(),
            exec_time_ns: Some(self.exit.exec_time.get()).filter(|time| *time != 0),
        })
    }

    /// Its process's command name, any bytes but NUL, at most 15.
    #[must_use]
    pub fn comm(&self) -> &'a [u8] {
        until_nul(&self.exit.comm)
    }

    /// The effective user, as the initial user namespace numbers it.
    #[must_use]
    pub fn euid(&self) -> u32 {
        self.exit.euid.get()
    }

    /// When it ended, in nanoseconds since boot.
    #[must_use]
    pub fn end_ns(&self) -> u64 {
        self.exit.end.get()
    }

    /// A number that grows by one with each exec: that of the program which the thread ran last.
    /// A main thread that went on after another one of the same name ended has a larger one.
    #[must_use]
    pub fn exec_id(&self) -> u64 {
        self.exit.self_exec_id.get()
    }

    /// How the thread ended, as wait(2) hands out a process's end.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        self.exit.exit_code.get()
    }

    /// Its own I/O, final.
    #[must_use]
    pub fn io(&self) -> Io {
        self.exit.io.get()
    }

    /// Its own CPU time so far, and its switches and faults.
    #[must_use]
    pub fn usage(&self) -> ThreadUsage {
        self.exit.usage.get()
    }

    /// What all threads of its process that have ended had waited for, this one included. Of the
    /// records of threads that end in the same moment, the largest says it of all.
    #[must_use]
    pub fn delays(&self) -> (Delays, DelayCount) {
        (self.exit.delays.get(), DelayCount::of(self.exit.delay_marks.get()))
    }

    /// What is known of its process, where this was the last thread. Before Linux 6.16 two
    /// threads that end at the same time may both be taken for the last one.
    #[must_use]
    pub fn group(&self) -> Option<GroupEnd> {
        self.group.map(|group| GroupEnd {
            pool: group.pool.get(),
            max_rss_pages: group.max_rss.get(),
            status: group.status.get(),
            is_auto_reaped: self.exit.marks.get() & EXIT_AUTO_REAPED != 0,
        })
    }
}

impl FreeRecord<'_> {
    /// Which process.
    #[must_use]
    pub fn process(&self) -> TaskKey {
        self.free.key.get()
    }

    /// Time on a CPU of all its threads, final, nanoseconds.
    #[must_use]
    pub fn runtime_ns(&self) -> u64 {
        self.free.runtime.get()
    }

    /// User time of all its threads, final, nanoseconds.
    #[must_use]
    pub fn utime_ns(&self) -> u64 {
        self.free.utime.get()
    }

    /// System time of all its threads, final, nanoseconds.
    #[must_use]
    pub fn stime_ns(&self) -> u64 {
        self.free.stime.get()
    }

    /// What of the time on a CPU is in none of its threads' exit records, nanoseconds. Threads
    /// that ended before the programs were loaded are left out.
    #[must_use]
    pub fn tail_ns(&self) -> u64 {
        self.free.tail.get()
    }
}

impl<'a> ExecRecord<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let (exec, rest) = take::<RawExec>(bytes, bytes)?;
        let marks = exec.marks.get();
        let (filename, rest) = text(exec.filename_bytes, bytes, rest)?;
        let (cmdline, rest) = text(exec.cmdline_bytes, bytes, rest)?;
        let (environment, rest) = text(exec.environment_bytes, bytes, rest)?;
        nothing_behind(bytes, rest)?;
        let cmdline = Text::of(cmdline, marks);
        let environment = Text::of(environment, marks >> 3);
        Ok(ExecRecord { exec, filename, cmdline, environment })
    }

    /// Which process. It has one thread now, and keeps ID and start whichever thread it was.
    #[must_use]
    pub fn process(&self) -> TaskKey {
        self.exec.key.get()
    }

    /// Its parent at that moment.
    #[must_use]
    pub fn parent(&self) -> TaskKey {
        self.exec.parent.get()
    }

    /// When, in nanoseconds since boot: with the process, the name of this exec.
    #[must_use]
    pub fn time_ns(&self) -> u64 {
        self.exec.time.get()
    }

    /// As [`ProcessPart::self_exec_id`], after this exec.
    #[must_use]
    pub fn self_exec_id(&self) -> u64 {
        self.exec.self_exec_id.get()
    }

    /// Its new command name, any bytes but NUL, at most 15.
    #[must_use]
    pub fn comm(&self) -> &'a [u8] {
        until_nul(&self.exec.comm)
    }

    /// The effective user after the exec, as the initial user namespace numbers it.
    #[must_use]
    pub fn euid(&self) -> u32 {
        self.exec.euid.get()
    }

    /// The path that was executed, as it was given, at most 255 bytes of it. Of a script it is
    /// the interpreter's.
    #[must_use]
    pub fn filename(&self) -> &'a [u8] {
        self.filename
    }

    /// The command line, arguments ended by NUL, at most 4 KiB.
    #[must_use]
    pub fn cmdline(&self) -> Text<'a> {
        self.cmdline
    }

    /// The environment, entries ended by NUL, at most 16 KiB.
    #[must_use]
    pub fn environment(&self) -> Text<'a> {
        self.environment
    }
}

impl<'a> Text<'a> {
    /// Told by three bits: asked for, cut, unreadable.
    fn of(bytes: &'a [u8], marks: u32) -> Self {
        match (marks & 1 != 0, marks & 2 != 0, marks & 4 != 0) {
            (false, _, _) => Text::NotAsked,
            (true, _, true) => Text::Unreadable,
            (true, true, false) => Text::Cut(bytes),
            (true, false, false) => Text::Whole(bytes),
        }
    }
}

impl fmt::Debug for Text<'_> {
    /// Only how long it is: arguments and environments hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Text::NotAsked => f.write_str("NotAsked"),
            Text::Unreadable => f.write_str("Unreadable"),
            Text::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Text::Cut(bytes) => write!(f, "Cut({} bytes)", bytes.len()),
        }
    }
}

impl fmt::Debug for ExecRecord<'_> {
    /// As derived, but with names as escaped text and without the texts.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecRecord")
            .field("process", &self.process())
            .field("parent", &self.parent())
            .field("time_ns", &self.time_ns())
            .field("comm", &format_args!("\"{}\"", self.comm().escape_ascii()))
            .field("filename", &format_args!("\"{}\"", self.filename.escape_ascii()))
            .field("cmdline", &self.cmdline)
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawHeader {
    kind: U16,
    version: U16,
    size: U32,
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawKey {
    tgid: U32,
    zero: U32,
    start: U64,
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawIo([U64; 7]);

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawUsage([U64; 7]);

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawDelays([U64; 4]);

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawTaskDelays {
    own: RawDelays,
    of_ended: RawDelays,
    marks: U32,
    zero: U32,
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawPool {
    io: RawIo,
    sums: [U64; 13],
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawTask {
    header: RawHeader,
    tid: U32,
    tgid: U32,
    start: U64,
    flags: U32,
    exit_state: U32,
    state: U32,
    parts: U32,
    io: RawIo,
    usage: RawUsage,
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawProcess {
    parent: RawKey,
    forker: RawKey,
    self_exec_id: U64,
    comm: [u8; 16],
    euid: U32,
    nr_threads: U32,
    cgroup_id: U64,
    fd_limit: U64,
    pool: RawPool,
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawMemory {
    numbers: [U64; 8],
    fds: U32,
    zero: U32,
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawExit {
    header: RawHeader,
    tid: U32,
    tgid: U32,
    start: U64,
    leader_start: U64,
    parent: RawKey,
    forker: RawKey,
    exec: RawKey,
    exec_time: U64,
    comm: [u8; 16],
    end: U64,
    self_exec_id: U64,
    euid: U32,
    exit_code: I32,
    marks: U32,
    delay_marks: U32,
    io: RawIo,
    usage: RawUsage,
    delays: RawDelays,
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawGroup {
    pool: RawPool,
    max_rss: U64,
    status: I32,
    zero: U32,
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawStill {
    header: RawHeader,
    key: RawKey,
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawBirth {
    header: RawHeader,
    key: RawKey,
    exec: RawKey,
    exec_time: U64,
}

impl RawBirth {
    fn get(&self) -> BirthRecord {
        let exec_time_ns = Some(self.exec_time.get()).filter(|ns| *ns != 0);
        BirthRecord { process: self.key.get(), exec: self.exec.get(), exec_time_ns }
    }
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawFree {
    header: RawHeader,
    key: RawKey,
    runtime: U64,
    utime: U64,
    stime: U64,
    tail: U64,
}

#[derive(
    Clone, Copy, Debug, PartialEq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
struct RawExec {
    header: RawHeader,
    key: RawKey,
    parent: RawKey,
    time: U64,
    self_exec_id: U64,
    comm: [u8; 16],
    euid: U32,
    marks: U32,
    filename_bytes: U32,
    cmdline_bytes: U32,
    environment_bytes: U32,
    zero: U32,
}

impl RawHeader {
    fn check(&self) -> Result<(), ParseError> {
        let [kind, kind_high] = self.kind.to_bytes();
        let [version, version_high] = self.version.to_bytes();
        let error = |field, offset, expected, found| {
            Err(ParseError {
                page: PAGE,
                field,
                offset,
                kind: ErrorKind::UnexpectedByte { expected, found },
            })
        };
        match (kind_high, version_high) {
            (0, 0) => {}
            (0, found) => return error("version", 3, "version 5", found),
            (found, _) => return error("kind", 1, "a kind from 1 to 6", found),
        }
        if u16::from(version) != VERSION {
            return error("version", 2, "version 5", version);
        }
        match u16::from(kind) {
            KIND_TASK..=KIND_BIRTH => Ok(()),
            _ => error("kind", 0, "a kind from 1 to 6", kind),
        }
    }
}

impl RawKey {
    fn get(&self) -> TaskKey {
        TaskKey { id: self.tgid.get(), start_ns: self.start.get() }
    }
}

impl RawIo {
    fn get(&self) -> Io {
        let [rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled] = self.0.map(U64::get);
        Io { rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled_write_bytes: cancelled }
    }
}

impl RawUsage {
    fn get(&self) -> ThreadUsage {
        let [utime_ns, stime_ns, runtime_ns, nvcsw, nivcsw, min_flt, maj_flt] =
            self.0.map(U64::get);
        ThreadUsage { utime_ns, stime_ns, runtime_ns, nvcsw, nivcsw, min_flt, maj_flt }
    }
}

impl RawDelays {
    fn get(&self) -> Delays {
        let [cpu_ns, block_io_ns, swap_ns, reclaim_ns] = self.0.map(U64::get);
        Delays { cpu_ns, block_io_ns, swap_ns, reclaim_ns }
    }
}

impl RawTaskDelays {
    fn get(&self) -> TaskDelays {
        let marks = self.marks.get();
        TaskDelays {
            own: self.own.get(),
            of_ended: (marks & DELAYS_OF_ENDED != 0).then(|| self.of_ended.get()),
            count: DelayCount::of(marks),
        }
    }
}

impl DelayCount {
    fn of(marks: u32) -> Self {
        DelayCount {
            counts_cpu: marks & DELAYS_CPU != 0,
            counts_others: marks & DELAYS_OTHERS != 0,
            misses_others: marks & DELAYS_MISSED != 0,
        }
    }
}

impl RawPool {
    fn get(&self) -> Pool {
        let [utime_ns, stime_ns, runtime_ns, cutime_ns, cstime_ns, rest @ ..] =
            self.sums.map(U64::get);
        let [min_flt, maj_flt, cmin_flt, cmaj_flt, nvcsw, nivcsw, cnvcsw, cnivcsw] = rest;
        Pool {
            io: self.io.get(),
            utime_ns,
            stime_ns,
            runtime_ns,
            cutime_ns,
            cstime_ns,
            min_flt,
            maj_flt,
            cmin_flt,
            cmaj_flt,
            nvcsw,
            nivcsw,
            cnvcsw,
            cnivcsw,
        }
    }
}

impl RawMemory {
    fn get(&self, parts: u32) -> Memory {
        let [file_pages, anon_pages, shmem_pages, swap_entries, rest @ ..] =
            self.numbers.map(U64::get);
        let [total_pages, data_pages, start_code, end_code] = rest;
        let fds = match (parts & TASK_FDS_UNKNOWN != 0, parts & TASK_FDS_CUT != 0) {
            (true, _) => Fds::Unknown,
            (false, true) => Fds::AtLeast(self.fds.get()),
            (false, false) => Fds::Exactly(self.fds.get()),
        };
        Memory {
            file_pages,
            anon_pages,
            shmem_pages,
            swap_entries,
            total_pages,
            data_pages,
            start_code,
            end_code,
            fds,
        }
    }
}

/// The next part of a record; `whole` is the record, for errors.
fn take<'a, T: FromBytes + Immutable + KnownLayout + Unaligned>(
    whole: &[u8],
    rest: &'a [u8],
) -> Result<(&'a T, &'a [u8]), ParseError> {
    T::ref_from_prefix(rest).map_err(|_| {
        let before = whole.len().saturating_sub(rest.len());
        too_short(before.saturating_add(size_of::<T>()), whole.len())
    })
}

/// A part that is there where `mark` is not 0.
fn part<'a, T: FromBytes + Immutable + KnownLayout + Unaligned>(
    mark: u32,
    whole: &[u8],
    rest: &'a [u8],
) -> Result<(Option<&'a T>, &'a [u8]), ParseError> {
    if mark == 0 {
        return Ok((None, rest));
    }
    let (part, rest) = take(whole, rest)?;
    Ok((Some(part), rest))
}

fn text<'a>(length: U32, whole: &[u8], rest: &'a [u8]) -> Result<(&'a [u8], &'a [u8]), ParseError> {
    let length = usize::try_from(length.get()).unwrap_or(usize::MAX);
    rest.split_at_checked(length).ok_or_else(|| {
        let before = whole.len().saturating_sub(rest.len());
        too_short(before.saturating_add(length), whole.len())
    })
}

fn exactly<T: FromBytes + Immutable + KnownLayout + Unaligned>(
    bytes: &[u8],
) -> Result<&T, ParseError> {
    let (record, rest) = take(bytes, bytes)?;
    nothing_behind(bytes, rest)?;
    Ok(record)
}

fn nothing_behind(whole: &[u8], rest: &[u8]) -> Result<(), ParseError> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(wrong_length(whole.len(), whole.len().saturating_sub(rest.len())))
}

fn too_short(least: usize, found: usize) -> ParseError {
    let kind = ErrorKind::InvalidLength { least, most: usize::MAX, found };
    ParseError { page: PAGE, field: "size", offset: 4, kind }
}

fn wrong_length(found: usize, most: usize) -> ParseError {
    let kind = ErrorKind::InvalidLength { least: size_of::<RawHeader>(), most, found };
    ParseError { page: PAGE, field: "size", offset: 4, kind }
}

fn until_nul(comm: &[u8]) -> &[u8] {
    comm.split(|byte| *byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    extern crate alloc;

    use alloc::vec::Vec;

    use zerocopy::FromZeros;

    use super::*;

    /// A record of this kind with these parts behind its header, all else zero.
    fn record(kind: u16, marks_at: usize, marks: u32, length: usize) -> Vec<u8> {
        let header = RawHeader {
            kind: kind.into(),
            version: VERSION.into(),
            size: u32::try_from(length).unwrap().into(),
        };
        let mut bytes = alloc::vec![0; length];
        bytes[..8].copy_from_slice(header.as_bytes());
        bytes[marks_at..marks_at + 4].copy_from_slice(&marks.to_le_bytes());
        bytes
    }

    fn check_error(bytes: &[u8], expected: &str) {
        let error = parse(bytes).unwrap_err();
        assert_eq!(alloc::string::ToString::to_string(&error), expected);
    }

    #[test]
    fn who_forked_a_process_is_told_where_it_is_known() {
        let mut bytes = record(KIND_TASK, 36, TASK_HAS_PROCESS, 152 + 240);
        let mut process = RawProcess::new_zeroed();
        process.parent = RawKey { tgid: 1.into(), zero: 0.into(), start: 5.into() };
        let check = |bytes: &[u8], expected| {
            let Ok(Record::Task(task)) = parse(bytes) else { panic!("{:?}", parse(bytes)) };
            let part = task.process().unwrap();
            assert_eq!(part.parent(), TaskKey { id: 1, start_ns: 5 });
            assert_eq!(part.forker(), expected);
        };
        bytes[152..].copy_from_slice(process.as_bytes());
        check(&bytes, None);
        process.forker = RawKey { tgid: 77.into(), zero: 0.into(), start: 9.into() };
        bytes[152..].copy_from_slice(process.as_bytes());
        check(&bytes, Some(TaskKey { id: 77, start_ns: 9 }));
    }

    #[test]
    fn a_process_that_stood_still_is_told_by_its_key_alone() {
        let mut bytes = record(KIND_STILL, 8, 77, 24);
        bytes[16..].copy_from_slice(&9_u64.to_le_bytes());
        let Ok(Record::Still(key)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!(key, TaskKey { id: 77, start_ns: 9 });
        check_error(
            &record(KIND_STILL, 8, 77, 32),
            "record.h: expected a length from 8 to 24 in field `size`, but found 32 at byte 4",
        );
    }

    #[test]
    fn a_birth_tells_whose_exec_gave_the_child_its_program() {
        let mut bytes = record(KIND_BIRTH, 8, 77, 48);
        bytes[16..24].copy_from_slice(&9_u64.to_le_bytes());
        bytes[24..28].copy_from_slice(&5_u32.to_le_bytes());
        bytes[32..40].copy_from_slice(&3_u64.to_le_bytes());
        let (process, exec) = (TaskKey { id: 77, start_ns: 9 }, TaskKey { id: 5, start_ns: 3 });
        let mut birth = BirthRecord { process, exec, exec_time_ns: None };
        assert_eq!(parse(&bytes), Ok(Record::Birth(birth)));
        bytes[40..].copy_from_slice(&4_u64.to_le_bytes());
        birth.exec_time_ns = Some(4);
        assert_eq!(parse(&bytes), Ok(Record::Birth(birth)));
        check_error(
            &record(KIND_BIRTH, 8, 77, 40),
            "record.h: expected a length of at least 48 in field `size`, but found 40 at byte 4",
        );
    }

    #[test]
    fn delays_are_told_with_what_they_count_and_only_where_they_were_asked_for() {
        let mut bytes = record(KIND_TASK, 36, TASK_HAS_DELAYS, 152 + 72);
        let mut delays = RawTaskDelays::new_zeroed();
        delays.own = RawDelays([1, 2, 3, 4].map(U64::from));
        delays.of_ended = RawDelays([10, 20, 30, 40].map(U64::from));
        let mut check = |marks: u32, of_ended, count| {
            delays.marks = marks.into();
            bytes[152..].copy_from_slice(delays.as_bytes());
            let Ok(Record::Task(task)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
            let own = Delays { cpu_ns: 1, block_io_ns: 2, swap_ns: 3, reclaim_ns: 4 };
            assert_eq!(task.delays(), Some(TaskDelays { own, of_ended, count }));
        };
        let (counts_cpu, counts_others, misses_others) = (true, true, false);
        let all = DelayCount { counts_cpu, counts_others, misses_others };
        check(DELAYS_CPU | DELAYS_OTHERS, None, all);
        let ended = Delays { cpu_ns: 10, block_io_ns: 20, swap_ns: 30, reclaim_ns: 40 };
        let count = DelayCount { counts_others: false, ..all };
        check(DELAYS_CPU | DELAYS_OF_ENDED, Some(ended), count);
        let count = DelayCount { misses_others: true, ..all };
        check(DELAYS_CPU | DELAYS_OTHERS | DELAYS_MISSED, None, count);
        let bytes = record(KIND_TASK, 36, 0, 152);
        let Ok(Record::Task(task)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
        assert_eq!(task.delays(), None);
    }

    #[test]
    fn a_forker_that_is_not_told_again_is_not_taken_for_one_that_is_not_known() {
        let check = |parts, expected| {
            let bytes = record(KIND_TASK, 36, parts, 152 + 240);
            let Ok(Record::Task(task)) = parse(&bytes) else { panic!("{:?}", parse(&bytes)) };
            assert_eq!(task.process().unwrap().forker(), None);
            assert_eq!(task.keeps_forker(), expected);
        };
        check(TASK_HAS_PROCESS, false);
        check(TASK_HAS_PROCESS | TASK_FORKER_KEPT, true);
    }

    #[test]
    fn another_version_and_another_kind_are_refused() {
        let mut bytes = record(KIND_FREE, 8, 0, 56);
        assert!(parse(&bytes).is_ok());
        bytes[2] = 1;
        check_error(
            &bytes,
            "record.h: expected version 5 in field `version`, but found `\\x01` at byte 2",
        );
        bytes[2..4].copy_from_slice(&[2, 1]);
        check_error(
            &bytes,
            "record.h: expected version 5 in field `version`, but found `\\x01` at byte 3",
        );
        let bytes = record(7, 8, 0, 56);
        check_error(
            &bytes,
            "record.h: expected a kind from 1 to 6 in field `kind`, but found `\\x07` at byte 0",
        );
    }

    #[test]
    fn a_length_that_its_parts_do_not_have_is_refused() {
        check_error(
            &record(KIND_TASK, 36, TASK_HAS_PROCESS, 152),
            "record.h: expected a length of at least 392 in field `size`, but found 152 at byte 4",
        );
        check_error(
            &record(KIND_TASK, 36, 0, 152 + 240),
            "record.h: expected a length from 8 to 152 in field `size`, but found 392 at byte 4",
        );
        check_error(
            &record(KIND_FREE, 8, 0, 64),
            "record.h: expected a length from 8 to 56 in field `size`, but found 64 at byte 4",
        );
        check_error(
            &record(KIND_FREE, 8, 0, 56)[..55],
            "record.h: expected a whole record in field `size`, but the input ended at byte 55",
        );
    }

    #[test]
    fn a_text_says_whether_it_was_asked_for_and_whether_it_is_whole() {
        let check = |marks, expected| assert_eq!(Text::of(b"a\0", marks), expected);
        check(0, Text::NotAsked);
        check(1, Text::Whole(b"a\0"));
        check(3, Text::Cut(b"a\0"));
        check(5, Text::Unreadable);
    }
}
