//! Who a process is, read once and remembered until it executes something else.
//!
//! Command line and environment lie in the process's own memory, where reading them can
//! block, and where the process may write over them: they are asked of the bounded reader
//! beside the sweep, and an environment that was once seen is kept until the next exec.
//! The trap: nothing in procfs says that a process executed something. It shows in what
//! an exec must change: `PF_FORKNOEXEC`, the places of code and stack, and, where those
//! may not be read, the name.

mod procfs_memory;
pub(crate) mod roster;
pub(crate) mod shared;

use std::mem;
use std::sync::Arc;

use mpp_accounting::process::{
    Absence, EnvironmentEntry, Identity, IdentityNeeds, ProcessKey, ProcessState,
    ProportionalMemory, Reading, ThreadList, ThreadView, Usage,
};
use mpp_accounting::units::{IoTotals, Totals, UsageTotals};
use mpp_parse::proc_pid_environ::{is_clobbered, variables};
use mpp_parse::proc_pid_stat::Stat;
use mpp_parse::{proc_pid_cgroup, proc_pid_smaps_rollup};

use self::procfs_memory::ProcfsMemory;
use crate::collector::told::Told;
use crate::exits::exact::Executed;
use crate::measure::{Buffers, Phase, Subject};
use crate::memory_reader::{MemoryAnswer, MemoryFile, MemoryRequest};
use crate::needs::Needs;
use crate::proc_fs::{Room, link_target};
use crate::scale;

/// Forked, and has executed nothing since: `PF_FORKNOEXEC` of `include/linux/sched.h`.
const FLAG_FORKED: u32 = 0x0000_0040;

/// After so many sweeps the control group is read again: a process can be moved.
const SWEEPS_BETWEEN_REREADS: u64 = 16;

/// And after so many everything of a process, also where nothing seems to have changed.
const SWEEPS_BETWEEN_FULL_REREADS: u64 = 256;

/// A control group's path has at most 4096 bytes, once for each of a dozen hierarchies.
const CGROUP_BYTES_MAX: usize = 64 * 1024;

/// A command name is never longer, `TASK_COMM_LEN` of `include/linux/sched.h`.
pub(crate) const COMM_BYTES_MAX: usize = 16;

/// What the kernel appends to the path of an executable that was deleted, proc_pid_exe(5).
const DELETED: &[u8] = b" (deleted)";

/// Which parts of identities are read, everybody's needs so far together.
#[derive(Debug, Default)]
pub(crate) struct Wants {
    pub(crate) needs: IdentityNeeds,
    pub(crate) proportional_memory: bool,
    /// How often `needs` grew, from 1.
    generation: u32,
    /// How often the keys among them did.
    key_generation: u32,
}

impl Wants {
    /// Takes along what else is needed now.
    pub(crate) fn grow(&mut self, needs: &Needs) {
        let mut grown = self.needs.clone();
        grown.extend(&needs.identity);
        if grown.environment_keys != self.needs.environment_keys {
            self.key_generation += 1;
        }
        if grown != self.needs {
            self.needs = grown;
            self.generation += 1;
        }
        self.proportional_memory = needs.measures.proportional_memory;
    }

    /// A number that grows with them.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// Whether name and user are all that is wanted of an identity, and nothing is read beside.
    pub(crate) fn are_told(&self) -> bool {
        let IdentityNeeds { executable, cmdline, cgroup, environment_keys, .. } = &self.needs;
        let reads = *executable || *cmdline || *cgroup || self.proportional_memory;
        !reads && environment_keys.is_empty()
    }
}

/// What is remembered of a process from one sweep to the next.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) key: ProcessKey,
    /// Its parent when it was first seen: who forked it, unless that one had ended by then.
    pub(crate) parent_pid: u32,
    pub(crate) identity: Arc<Identity>,
    /// Whether it ever had a child, as far as was seen.
    pub(crate) had_children: bool,
    /// The most threads it was seen with.
    pub(crate) threads_max: u32,
    /// CPU time as it was last handed out, of its own and of its reaped children; neither may
    /// fall.
    cpu: [Totals<2>; 2],
    /// What the kernel told of it when its identity was last looked at, if it did.
    told: Told,
    is_told: bool,
    /// The number of the last sweep that saw it.
    pub(crate) swept: u64,
    /// Whether its main thread was on its way out then.
    pub(crate) is_exiting: bool,
    /// What the last reading by procfs found of its state.
    pub(crate) state: ProcessState,
    /// Whether its main thread was on a CPU then, or waited for one.
    pub(crate) was_running: bool,
    /// Boxed, since nothing is read by procfs where it is told.
    by_procfs: Option<Box<ProcfsMemory>>,
    pub(crate) overwriting: Overwriting,
    pub(crate) is_cmdline_truncated: bool,
    is_uninterruptible: bool,
    has_memory: bool,
    has_forked: bool,
    places: Places,
    generation: u32,
    /// That of the keys that the environment was searched for.
    key_generation: u32,
    cmdline: Ask,
    environment: Ask,
    rollup: Ask,
}

/// How it stands with a file that is read beside the sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ask {
    /// Nothing to ask.
    #[default]
    No,
    /// To be asked after this sweep.
    Wanted,
    /// Asked, not yet answered.
    Asked,
    /// Asked before the process executed something else: the answer is worth nothing.
    AskedTooEarly,
}

impl Ask {
    fn want(&mut self) {
        if *self == Ask::No {
            *self = Ask::Wanted;
        }
    }

    fn want_anew(&mut self) {
        *self = match self {
            Ask::No | Ask::Wanted => Ask::Wanted,
            Ask::Asked | Ask::AskedTooEarly => Ask::AskedTooEarly,
        };
    }

    /// An answer came that nobody can use.
    fn discard(&mut self) {
        if matches!(self, Ask::Asked | Ask::AskedTooEarly) {
            *self = Ask::Wanted;
        }
    }

    /// Returns whether the answer counts. One that may be better next time is asked again.
    fn answered(&mut self, outcome: Option<Absence>) -> bool {
        let is_final = outcome != Some(Absence::Blocked) && !is_passing(outcome);
        let (next, counts) = match *self {
            Ask::Asked if is_final => (Ask::No, true),
            Ask::Asked => (Ask::Wanted, true),
            Ask::AskedTooEarly => (Ask::Wanted, false),
            Ask::No | Ask::Wanted => (*self, false),
        };
        *self = next;
        counts
    }
}

/// Whether a process was seen to have written over its environment, as setproctitle(3) does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overwriting {
    NotSeen,
    /// It has, and some of what stood there may be missing.
    Lost,
    /// It has, and all that is asked for is known from its exec or from whoever forked it.
    Remembered,
}

impl Overwriting {
    /// That what stood there has become known.
    fn made_good(self) -> Self {
        match self {
            Overwriting::NotSeen => Overwriting::NotSeen,
            Overwriting::Lost | Overwriting::Remembered => Overwriting::Remembered,
        }
    }
}

/// Whether a process has executed something since it was last looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exec {
    Happened,
    NotToldOf,
}

/// Whether a process has memory that could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    HasMemory,
    NoMemory,
}

/// How likely whoever reads a process's memory hangs in it; those with the least go first.
///
/// A process that keeps readers out has one thread that holds the mmap lock and waits for
/// something that does not come, and another one that waits for the lock as a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Risk {
    /// It has one thread.
    Least,
    /// It has had several.
    SeveralThreads,
    /// Its main thread waits and lets no signal disturb it: state `D`, proc_pid_stat(5).
    Uninterruptible,
    /// The last reader hung.
    HasBlocked,
}

impl Risk {
    /// As far as one look from outside tells.
    pub(crate) fn of(stat: &Stat<'_>) -> Self {
        match stat.num_threads {
            _ if stat.state == b'D' => Risk::Uninterruptible,
            0..=1 => Risk::Least,
            _ => Risk::SeveralThreads,
        }
    }
}

/// Whether it was forked and has executed nothing since.
pub(crate) fn has_only_forked(stat: &Stat<'_>) -> bool {
    stat.flags & FLAG_FORKED != 0
}

/// What became of something that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    AsNew,
    Not,
}

/// What an exec changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Image {
    has_forked: bool,
    places: Places,
}

/// Where code and stack begin, as one number: other places are another number, but for one chance
/// in 2 to the 63rd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Places(u64);

impl Places {
    /// A process that is on its way out, or in the middle of an exec, has none; some sandboxes
    /// print 0 for both, too.
    const NONE: Self = Places(0);
    /// Without the right to ptrace(2) the process they read 1 and 0.
    const HIDDEN: Self = Places(1);

    fn of(start_code: u64, start_stack: u64) -> Self {
        match (start_code, start_stack) {
            (0, _) => Places::NONE,
            (1, 0) => Places::HIDDEN,
            _ => Places(mixed(mixed(start_code) ^ start_stack) | 2),
        }
    }
}

/// Every bit of the number told by every bit of another one, in which no two become the same: the
/// last steps of MurmurHash3.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let number = (number ^ (number >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    number ^ (number >> 33)
}

impl Image {
    fn of(stat: &Stat<'_>) -> Self {
        Image {
            has_forked: has_only_forked(stat),
            places: Places::of(stat.start_code, stat.start_stack),
        }
    }

    fn is_hidden(self) -> bool {
        matches!(self.places, Places::NONE | Places::HIDDEN)
    }

    fn is_hidden_but_there(self) -> bool {
        self.places == Places::HIDDEN
    }

    /// A process that is on its way out has given its memory back and has no places. One
    /// that has none yet is in the middle of its exec.
    fn was_replaced_by(self, now: Image) -> bool {
        let has_moved = now.places != Places::NONE && self.places != now.places;
        has_moved || (self.has_forked && !now.has_forked)
    }

    /// Whether both come from the same exec; not known where the places are hidden.
    fn is_of_same_exec(self, other: Image) -> bool {
        !self.is_hidden() && self.places == other.places
    }
}

/// A command name, filled up with zeros.
pub(crate) fn padded(comm: &[u8]) -> [u8; COMM_BYTES_MAX] {
    let mut padded = [0; COMM_BYTES_MAX];
    padded.iter_mut().zip(comm).for_each(|(to, from)| *to = *from);
    padded
}

/// The command name, which holds no zero itself.
pub(crate) fn without_padding(comm: &[u8; COMM_BYTES_MAX]) -> &[u8] {
    comm.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Whether a sweep reads again of a process what changes without a trace: a sixteenth of them all,
/// others each time.
pub(crate) fn is_turn(pid: u32, sweep: u64) -> bool {
    sweep.wrapping_add(u64::from(pid)).is_multiple_of(SWEEPS_BETWEEN_REREADS)
}

/// Whether a sweep reads again all of a process, whatever tells that it is the same.
pub(crate) fn is_turn_of_all(pid: u32, sweep: u64) -> bool {
    sweep.wrapping_add(u64::from(pid)).is_multiple_of(SWEEPS_BETWEEN_FULL_REREADS)
}

/// An identity of which nothing is known but name and user, for this reason.
pub(crate) fn named(comm: Box<[u8]>, uid: u32, why: Absence) -> Identity {
    Identity {
        comm,
        uid,
        executable: Reading::Absent(why),
        cmdline: Reading::Absent(why),
        environment: Reading::Absent(why),
        cgroup: Reading::Absent(why),
        is_environment_incomplete: false,
        is_kernel_thread: false,
    }
}

impl Known {
    /// Meets a process for the first time.
    pub(crate) fn new(
        key: ProcessKey,
        uid: u32,
        subject: &Subject<'_>,
        wants: &Wants,
        buffers: &mut Buffers,
    ) -> Self {
        let identity = Identity {
            is_kernel_thread: subject.is_kernel_thread(),
            ..named(Box::from(subject.stat.comm), uid, Absence::NotRequested)
        };
        let mut known = Known {
            is_uninterruptible: subject.is_uninterruptible(),
            is_exiting: subject.is_exiting(),
            generation: wants.generation,
            ..Known::untold(key, subject.stat.ppid, identity)
        };
        known.set_image(Image::of(subject.stat));
        known.complete(subject, wants, buffers);
        known
    }

    fn image(&self) -> Image {
        Image { has_forked: self.has_forked, places: self.places }
    }

    fn set_image(&mut self, image: Image) {
        Image { has_forked: self.has_forked, places: self.places } = image;
    }

    /// What the kernel told of it when its identity was last looked at.
    pub(crate) fn told(&self) -> Option<Told> {
        self.is_told.then_some(self.told)
    }

    /// The kernel has told this of it.
    pub(crate) fn note_told(&mut self, told: Told) {
        (self.told, self.is_told) = (told, true);
    }

    /// What is remembered of it for the sake of procfs.
    pub(crate) fn by_procfs(&self) -> &ProcfsMemory {
        self.by_procfs.as_deref().unwrap_or(&procfs_memory::NOTHING)
    }

    /// The same, to be changed.
    pub(crate) fn by_procfs_mut(&mut self) -> &mut ProcfsMemory {
        self.by_procfs.get_or_insert_with(|| Box::new(ProcfsMemory::NOTHING))
    }

    /// Whom to ask for its memory: itself, or a thread that lives when the main one exited.
    pub(crate) fn reader_key(&self) -> ProcessKey {
        self.by_procfs().reader.as_deref().copied().unwrap_or(self.key)
    }

    /// As the bounded reader found it last. Who has no memory has none that is shared.
    pub(crate) fn proportional_memory(&self) -> Reading<ProportionalMemory> {
        match self.has_memory {
            true => match &self.by_procfs().proportional_memory {
                Some(reading) => **reading,
                None => Reading::Absent(Absence::NotYetKnown),
            },
            false => Reading::Value(ProportionalMemory::default()),
        }
    }

    /// What its threads had done at the last sweep, where that was read.
    pub(crate) fn threads(&self) -> Option<ThreadView<'_>> {
        let (total, threads) = self.by_procfs().thread_readings.as_ref()?.last.as_ref()?;
        Some(threads.of(self.key, *total))
    }

    /// What they had done at the sweep before that.
    pub(crate) fn former_threads(&self) -> Option<ThreadView<'_>> {
        let (total, threads) = self.by_procfs().thread_readings.as_ref()?.former.as_deref()?;
        Some(threads.of(self.key, *total))
    }

    /// Remembers what a sweep has read of its threads, if it has.
    pub(crate) fn note_threads(&mut self, threads: Option<(IoTotals, ThreadList)>) {
        let is_nothing = threads.is_none() && self.threads().is_none();
        let readings = &mut self.by_procfs_mut().thread_readings;
        if is_nothing {
            *readings = None;
            return;
        }
        let readings = readings.get_or_insert_default();
        readings.former = mem::replace(&mut readings.last, threads).map(Box::new);
    }

    /// Forgets the reading before the last one.
    pub(crate) fn forget_former_threads(&mut self) {
        if let Some(readings) = &mut self.by_procfs_mut().thread_readings {
            readings.former = None;
        }
    }

    /// One that is told of, but could not be looked at.
    pub(crate) fn untold(key: ProcessKey, parent_pid: u32, identity: Identity) -> Self {
        Known {
            key,
            parent_pid,
            identity: Arc::new(identity),
            had_children: false,
            threads_max: 0,
            cpu: [Totals::ZERO; 2],
            told: Told::default(),
            is_told: false,
            swept: 0,
            is_exiting: false,
            state: ProcessState::Living,
            was_running: false,
            by_procfs: None,
            overwriting: Overwriting::NotSeen,
            is_cmdline_truncated: false,
            is_uninterruptible: false,
            has_memory: true,
            has_forked: false,
            places: Places::NONE,
            generation: 0,
            key_generation: 0,
            cmdline: Ask::No,
            environment: Ask::No,
            rollup: Ask::No,
        }
    }

    /// What procfs says of CPU time, in ticks, may be below what was told in nanoseconds a moment
    /// ago, and the other way round in one of the two modes: what was counted stands until it is
    /// passed.
    pub(crate) fn hand_out(&mut self, own: UsageTotals, reaped: UsageTotals) -> Usage {
        let told = self.cpu.map(|Totals([user, system])| Totals([user, system, 0, 0]));
        let [own, reaped] = [own.raised_to(told[0]), reaped.raised_to(told[1])];
        self.cpu = [own, reaped].map(|Totals([user, system, ..])| Totals([user, system]));
        Usage::new(own, reaped)
    }

    /// Takes note of how many threads it has.
    pub(crate) fn note_thread_count(&mut self, threads: u32) {
        self.threads_max = self.threads_max.max(threads);
    }

    /// User and system time of its own as they were last handed out, nanoseconds.
    pub(crate) fn own_cpu(&self) -> (u64, u64) {
        let [Totals([user, system]), _] = self.cpu;
        (user, system)
    }

    /// One of which name and user are all there is to know.
    pub(crate) fn believed(
        key: ProcessKey,
        parent_pid: u32,
        identity: Identity,
        wants: &Wants,
    ) -> Self {
        Known { generation: wants.generation, ..Known::untold(key, parent_pid, identity) }
    }

    /// Takes name and user as they are told for all there is to know.
    pub(crate) fn believe(&mut self, identity: Identity, wants: &Wants) {
        self.identity = Arc::new(identity);
        self.generation = wants.generation;
    }

    /// Whether what is known of it holds, by what the kernel tells: the same program, name,
    /// user and control group, and nothing left to look at.
    pub(crate) fn is_still(
        &mut self,
        comm: &[u8],
        told: Told,
        ends: Ending,
        wants: &Wants,
    ) -> bool {
        let is_same = self.told() == Some(told) && *self.identity.comm == *comm;
        if is_same && ends == Ending::NoMemory && self.has_memory {
            self.settle_without_memory();
        }
        is_same && self.is_identified(wants)
    }

    /// Whether an exec of it may go unnoticed, so that its command line is read again in turn.
    pub(crate) fn may_execute_unnoticed(&self) -> bool {
        self.image().is_hidden_but_there()
    }

    /// Whether there is nothing of its identity that the next reading would add.
    pub(crate) fn is_identified(&self, wants: &Wants) -> bool {
        let Identity { executable, cgroup, .. } = &*self.identity;
        self.generation == wants.generation
            && !is_passing(executable.absence())
            && !is_passing(cgroup.absence())
    }

    /// Whether nothing is asked or missing of it, and nothing to be counted as trouble.
    pub(crate) fn is_settled(&self, wants: &Wants) -> bool {
        let Identity { executable, cmdline, environment, cgroup, .. } = &*self.identity;
        let absences =
            [executable.absence(), cmdline.absence(), environment.absence(), cgroup.absence()];
        let is_whole = |why: &Option<Absence>| matches!(why, None | Some(Absence::NotRequested));
        [self.cmdline, self.environment, self.rollup] == [Ask::No; 3]
            && !wants.proportional_memory
            && self.overwriting == Overwriting::NotSeen
            && !self.is_cmdline_truncated
            && absences.iter().all(is_whole)
    }

    /// Takes what was captured at its last exec for what its memory would say, and was not
    /// read yet, or cannot be any more.
    pub(crate) fn take_exec(&mut self, executed: &Executed, wants: &Wants) {
        let mut next = Identity::clone(&self.identity);
        let is_better = next.environment.value().is_none() || next.is_environment_incomplete;
        if !wants.needs.environment_keys.is_empty()
            && is_better
            && !executed.is_environment_cut
            && let Reading::Value(entries) = &executed.environment
        {
            next.environment = Reading::Value(entries.clone());
            next.is_environment_incomplete = false;
            self.overwriting = self.overwriting.made_good();
            self.environment = Ask::No;
        }
        self.replace(next);
    }

    /// As [`Known::refresh`], where it is known whether it has executed something.
    pub(crate) fn refresh_after(
        &mut self,
        exec: Exec,
        uid: u32,
        subject: &Subject<'_>,
        wants: &Wants,
        sweep: u64,
        buffers: &mut Buffers,
    ) {
        if exec == Exec::Happened && !subject.has_no_memory() {
            self.generation = wants.generation;
            self.forget_image(uid, subject, wants, buffers);
            self.follow_thread(subject);
        } else {
            self.refresh(uid, subject, wants, sweep, buffers);
            // Something of it is new, and this is told of by a number alone.
            self.reread(subject, wants, buffers);
        }
    }

    /// Looks whether it became somebody else since the last sweep.
    pub(crate) fn refresh(
        &mut self,
        uid: u32,
        subject: &Subject<'_>,
        wants: &Wants,
        sweep: u64,
        buffers: &mut Buffers,
    ) {
        let has_failed = is_passing(self.identity.executable.absence())
            || is_passing(self.identity.cgroup.absence());
        self.is_uninterruptible = subject.is_uninterruptible();
        self.is_exiting = subject.is_exiting();
        if self.generation != wants.generation || has_failed {
            self.generation = wants.generation;
            self.complete(subject, wants, buffers);
        }
        if subject.has_no_memory() {
            self.settle_without_memory();
        } else if self.has_executed(subject) {
            self.forget_image(uid, subject, wants, buffers);
        } else {
            self.notice_changes(uid, subject, wants, buffers);
        }
        if is_turn(self.key.pid, sweep) {
            self.reread(subject, wants, buffers);
        }
        self.follow_thread(subject);
    }

    /// Reads what was not asked for before.
    fn complete(&mut self, subject: &Subject<'_>, wants: &Wants, buffers: &mut Buffers) {
        let mut next = Identity::clone(&self.identity);
        let is_new =
            |absence| matches!(absence, Some(Absence::NotRequested)) || is_passing(absence);
        if wants.needs.executable && is_new(next.executable.absence()) {
            next.executable = executable(subject, &mut buffers.room);
        }
        if wants.needs.cgroup && is_new(next.cgroup.absence()) {
            next.cgroup = cgroup(subject, &mut buffers.room);
        }
        if wants.needs.cmdline && next.cmdline.absence() == Some(Absence::NotRequested) {
            next.cmdline = Reading::Absent(Absence::NotYetKnown);
            self.cmdline.want();
        }
        if !wants.needs.environment_keys.is_empty() {
            if next.environment.absence() == Some(Absence::NotRequested) {
                next.environment = Reading::Absent(Absence::NotYetKnown);
            }
            if self.key_generation != wants.key_generation {
                self.key_generation = wants.key_generation;
                next.is_environment_incomplete = next.environment.value().is_some();
                self.environment.want_anew();
            }
        }
        self.replace(next);
        if subject.has_no_memory() {
            self.settle_without_memory();
        }
        self.follow_thread(subject);
    }

    /// A zombie keeps what was known of it; what was not known is not there any more.
    fn settle_without_memory(&mut self) {
        self.has_memory = false;
        (self.cmdline, self.environment, self.rollup) = (Ask::No, Ask::No, Ask::No);
        let Identity { executable, cmdline, environment, .. } = &*self.identity;
        if !is_open(executable) && !is_open(cmdline) && !is_open(environment) {
            return;
        }
        let mut next = Identity::clone(&self.identity);
        settle(&mut next.executable);
        settle(&mut next.cmdline);
        settle(&mut next.environment);
        self.replace(next);
    }

    fn has_executed(&self, subject: &Subject<'_>) -> bool {
        let now = Image::of(subject.stat);
        let has_new_name = *self.identity.comm != *subject.stat.comm;
        self.image().was_replaced_by(now) || (now.is_hidden() && has_new_name)
    }

    /// After an exec nothing of what was known holds.
    fn forget_image(
        &mut self,
        uid: u32,
        subject: &Subject<'_>,
        wants: &Wants,
        buffers: &mut Buffers,
    ) {
        self.set_image(Image::of(subject.stat));
        (self.overwriting, self.is_cmdline_truncated) = (Overwriting::NotSeen, false);
        let mut next = Identity::clone(&self.identity);
        next.comm = Box::from(subject.stat.comm);
        next.uid = uid;
        if wants.needs.executable {
            next.executable = executable(subject, &mut buffers.room);
        }
        if wants.needs.cgroup {
            next.cgroup = cgroup(subject, &mut buffers.room);
        }
        if wants.needs.cmdline {
            next.cmdline = Reading::Absent(Absence::NotYetKnown);
            self.cmdline.want_anew();
        }
        if !wants.needs.environment_keys.is_empty() {
            next.environment = Reading::Absent(Absence::NotYetKnown);
            self.environment.want_anew();
        }
        next.is_environment_incomplete = false;
        next.is_kernel_thread = subject.is_kernel_thread();
        self.replace(next);
    }

    /// A new name or user without an exec: a title that was set, privileges that were dropped.
    fn notice_changes(
        &mut self,
        uid: u32,
        subject: &Subject<'_>,
        wants: &Wants,
        buffers: &mut Buffers,
    ) {
        // The mark of a fork goes with the next exec only, but places may become readable.
        self.places = match Image::of(subject.stat).places {
            Places::NONE => self.places,
            now => now,
        };
        let has_new_name = *self.identity.comm != *subject.stat.comm;
        let has_new_user = self.identity.uid != uid;
        if !has_new_name && !has_new_user {
            return;
        }
        let path = match wants.needs.executable {
            true => executable(subject, &mut buffers.room),
            false => Reading::Absent(Absence::NotRequested),
        };
        if let (Reading::Value(before), Reading::Value(now)) = (&self.identity.executable, &path)
            && before != now
        {
            return self.forget_image(uid, subject, wants, buffers);
        }
        let mut next = Identity::clone(&self.identity);
        next.comm = Box::from(subject.stat.comm);
        next.uid = uid;
        if wants.needs.executable {
            next.executable = path;
        }
        if wants.needs.cmdline {
            self.cmdline.want();
        }
        if has_new_user && next.environment.absence() == Some(Absence::Denied) {
            self.environment.want();
        }
        self.replace(next);
    }

    /// What can change without a trace: the control group, and the command line of a process
    /// whose exec cannot be noticed.
    fn reread(&mut self, subject: &Subject<'_>, wants: &Wants, buffers: &mut Buffers) {
        if wants.needs.cgroup {
            let now = cgroup(subject, &mut buffers.room);
            if now != self.identity.cgroup {
                let mut next = Identity::clone(&self.identity);
                next.cgroup = now;
                self.replace(next);
            }
        }
        let is_blind = Image::of(subject.stat).is_hidden_but_there();
        if wants.needs.cmdline && is_blind && self.has_memory {
            self.cmdline.want();
        }
    }

    fn follow_thread(&mut self, subject: &Subject<'_>) {
        let reader = match subject.phase {
            Phase::LeaderExited(Ok(thread)) => {
                Some(ProcessKey { pid: thread.tid, start_time_ticks: thread.start_time_ticks })
            }
            _ => None,
        };
        if reader != self.by_procfs().reader.as_deref().copied() {
            self.by_procfs_mut().reader = reader.map(Box::new);
        }
    }

    /// Whether there is anything to ask of the bounded reader after this sweep.
    pub(crate) fn has_requests(&mut self, wants: &Wants) -> bool {
        if wants.proportional_memory && self.has_memory {
            self.rollup.want();
        }
        [self.cmdline, self.environment, self.rollup].contains(&Ask::Wanted)
    }

    /// How likely whoever reads its memory hangs in it, as far as can be seen from outside.
    pub(crate) fn risk(&self) -> Risk {
        match self.threads_max {
            _ if self.is_uninterruptible => Risk::Uninterruptible,
            0..=1 => Risk::Least,
            _ => Risk::SeveralThreads,
        }
    }

    /// Asks what there is to ask; `ask` says whether it can be asked now.
    pub(crate) fn requests(&mut self, mut ask: impl FnMut(MemoryRequest) -> bool) {
        let key = self.reader_key();
        for (state, file) in [
            (&mut self.cmdline, MemoryFile::Cmdline),
            (&mut self.environment, MemoryFile::Environ),
            (&mut self.rollup, MemoryFile::SmapsRollup),
        ] {
            if *state == Ask::Wanted && ask(MemoryRequest { key, file }) {
                *state = Ask::Asked;
            }
        }
    }

    /// Takes what the bounded reader found.
    pub(crate) fn accept(&mut self, answer: &MemoryAnswer, wants: &Wants) {
        if answer.request.key != self.reader_key() {
            // It was asked of a thread that has exited since.
            return self.ask_of(answer.request.file).discard();
        }
        let bytes = answer.outcome.as_ref().map(Vec::as_slice);
        if !self.ask_of(answer.request.file).answered(bytes.absence()) {
            return;
        }
        match answer.request.file {
            MemoryFile::Cmdline => {
                if self.accept_cmdline(bytes) == Taken::AsNew {
                    self.is_cmdline_truncated = answer.is_truncated;
                }
            }
            MemoryFile::Environ => self.accept_environment(bytes, &wants.needs.environment_keys),
            MemoryFile::SmapsRollup => self.accept_rollup(bytes),
        }
    }

    fn ask_of(&mut self, file: MemoryFile) -> &mut Ask {
        match file {
            MemoryFile::Cmdline => &mut self.cmdline,
            MemoryFile::Environ => &mut self.environment,
            MemoryFile::SmapsRollup => &mut self.rollup,
        }
    }

    /// Reads here and now what the bounded reader would: in a frozen tree nobody can hold a
    /// lock.
    pub(crate) fn read_frozen(&mut self, subject: &Subject<'_>, wants: &Wants, room: &mut Room) {
        if self.cmdline == Ask::Wanted {
            self.cmdline = Ask::No;
            let limit_bytes = MemoryFile::Cmdline.limit_bytes();
            let (bytes, is_truncated) = match subject.read_beginning(room, c"cmdline", limit_bytes)
            {
                Ok((bytes, is_truncated)) => (Reading::Value(bytes), is_truncated),
                Err(why) => (Reading::Absent(why), false),
            };
            if self.accept_cmdline(bytes) == Taken::AsNew {
                self.is_cmdline_truncated = is_truncated;
            }
        }
        if self.environment == Ask::Wanted {
            self.environment = Ask::No;
            let limit_bytes = MemoryFile::Environ.limit_bytes();
            let bytes = subject.read(room, c"environ", limit_bytes);
            let bytes = bytes.map_or_else(Reading::Absent, Reading::Value);
            self.accept_environment(bytes, &wants.needs.environment_keys);
        }
        if wants.proportional_memory && self.has_memory {
            let limit_bytes = MemoryFile::SmapsRollup.limit_bytes();
            let bytes = subject.read(room, c"smaps_rollup", limit_bytes);
            self.accept_rollup(bytes.map_or_else(Reading::Absent, Reading::Value));
        }
    }

    fn accept_cmdline(&mut self, bytes: Reading<&[u8]>) -> Taken {
        let found = bytes.map(Box::from);
        if found.absence() == Some(Absence::Vanished) {
            self.miss(|identity| &mut identity.cmdline);
            return Taken::Not;
        }
        if found == self.identity.cmdline || has_better(&self.identity.cmdline, &found) {
            return Taken::Not;
        }
        let mut next = Identity::clone(&self.identity);
        next.cmdline = found;
        self.replace(next);
        Taken::AsNew
    }

    fn accept_environment(&mut self, bytes: Reading<&[u8]>, keys: &[Box<[u8]>]) {
        if bytes.absence() == Some(Absence::Vanished) {
            return self.miss(|identity| &mut identity.environment);
        }
        let mut next = Identity::clone(&self.identity);
        let is_all_known = next.environment.value().is_some() && !next.is_environment_incomplete;
        let found = match bytes {
            Reading::Value(bytes) if is_all_known && is_clobbered(bytes) => {
                self.overwriting = Overwriting::Remembered;
                return;
            }
            Reading::Value(bytes) => {
                let remembered = next.environment.value().map_or(&[][..], |entries| entries);
                let (found, is_incomplete) = environment_of(bytes, keys, remembered);
                self.overwriting = match is_incomplete {
                    true => Overwriting::Lost,
                    false => Overwriting::NotSeen,
                };
                next.is_environment_incomplete = is_incomplete;
                found
            }
            Reading::Absent(why) => Reading::Absent(why),
        };
        if !has_better(&next.environment, &found) {
            next.environment = found;
        }
        self.replace(next);
    }

    /// Whom we asked for this has ended; the next sweep will tell whether the process has. What
    /// was known already stays.
    fn miss<T: Clone>(&mut self, part: impl Fn(&mut Identity) -> &mut Reading<T>) {
        let mut next = Identity::clone(&self.identity);
        let reading = part(&mut next);
        if reading.absence() == Some(Absence::NotYetKnown) {
            *reading = Reading::Absent(Absence::Vanished);
            self.replace(next);
        }
    }

    /// Whether it shares the environment of its last exec with the process that forked it, while
    /// its own copy was not read yet, or was written over before or after it was forked.
    pub(crate) fn lacks_environment(&self) -> bool {
        let absence = self.identity.environment.absence();
        let is_open = matches!(absence, Some(Absence::NotYetKnown | Absence::Vanished));
        self.has_forked && (is_open || self.overwriting == Overwriting::Lost)
    }

    /// Takes what is remembered of the environment that it was forked with; whether it is its
    /// parent's. Fork copies it, and where neither has executed anything since, code and stack
    /// are where they were.
    pub(crate) fn inherit_environment(&mut self, parent: &Known) {
        let is_parents = self.key.start_time_ticks >= parent.key.start_time_ticks
            && self.image().is_of_same_exec(parent.image());
        if is_parents {
            self.take_environment_of(&parent.identity);
        }
    }

    /// Whether it was forked after its environment had been written over, and nobody is known who
    /// had it whole.
    pub(crate) fn has_lost_environment(&self) -> bool {
        self.overwriting == Overwriting::Lost && self.image().has_forked
    }

    /// Whether all that was asked of its environment is known.
    pub(crate) fn has_whole_environment(&self) -> bool {
        !self.identity.is_environment_incomplete && self.identity.environment.value().is_some()
    }

    /// Where its exec has put code and stack; `None` where that is hidden.
    pub(crate) fn exec_places(&self) -> Option<Places> {
        let image = self.image();
        (!image.is_hidden()).then_some(image.places)
    }

    /// Takes the environment of one that it was forked from, as that was then.
    pub(crate) fn take_environment_of(&mut self, forker: &Identity) {
        let Some(next) = self.with_environment_of(forker) else { return };
        if !next.is_environment_incomplete {
            self.overwriting = self.overwriting.made_good();
        }
        self.replace(next);
    }

    /// Who it is with that environment, where it is known.
    pub(crate) fn with_environment_of(&self, forker: &Identity) -> Option<Identity> {
        let remembered = forker.environment.value()?;
        let own = self.identity.environment.value().map_or(&[][..], |entries| entries);
        Some(Identity {
            environment: Reading::Value(united(remembered, own)),
            is_environment_incomplete: forker.is_environment_incomplete,
            ..Identity::clone(&self.identity)
        })
    }

    fn accept_rollup(&mut self, bytes: Reading<&[u8]>) {
        let reading = match bytes {
            // The process gave its memory back.
            Reading::Value([]) => Reading::Value(ProportionalMemory::default()),
            Reading::Value(bytes) => proc_pid_smaps_rollup::parse(bytes)
                .map_or(Reading::Absent(Absence::Malformed), |rollup| {
                    Reading::Value(scale::proportional_memory(&rollup))
                }),
            Reading::Absent(why) => Reading::Absent(why),
        };
        self.by_procfs_mut().proportional_memory = Some(Box::new(reading));
    }

    /// Samples that hold the former identity keep it.
    fn replace(&mut self, next: Identity) {
        if next != *self.identity {
            self.identity = Arc::new(next);
        }
    }
}

/// Whether a value might have come, had the process lived longer.
fn is_open<T>(reading: &Reading<T>) -> bool {
    use Absence::{Blocked, NotYetKnown, Unstable, Vanished};
    matches!(reading.absence(), Some(NotYetKnown | Blocked | Unstable | Vanished))
}

fn settle<T>(reading: &mut Reading<Box<[T]>>) {
    if is_open(reading) {
        *reading = Reading::Value(Box::default());
    }
}

/// Whether it is worth trying again.
fn is_passing(absence: Option<Absence>) -> bool {
    matches!(absence, Some(Absence::Failed(_) | Absence::Unstable | Absence::Vanished))
}

/// A value of the same image stays when a later reading of it fails.
fn has_better<T>(known: &Reading<T>, found: &Reading<T>) -> bool {
    known.value().is_some() && found.value().is_none()
}

/// The path of the executable. Zombies and kernel threads have none.
fn executable(subject: &Subject<'_>, room: &mut Room) -> Reading<Box<[u8]>> {
    if subject.has_no_memory() {
        return Reading::Value(Box::default());
    }
    let target = subject.name(c"exe").and_then(|name| {
        link_target(subject.folder, name.as_ref(), room)
            .map_err(|errno| subject.absence(errno.into()))
    });
    match target {
        Ok(path) => Reading::Value(Box::from(without_deleted(&path))),
        Err(why) => Reading::Absent(why),
    }
}

fn cgroup(subject: &Subject<'_>, room: &mut Room) -> Reading<Box<[u8]>> {
    match subject.read(room, c"cgroup", CGROUP_BYTES_MAX) {
        Ok(text) => cgroup_path(text).map(Box::from),
        Err(why) => Reading::Absent(why),
    }
}

/// The path of an executable whose file may have been deleted.
pub(crate) fn without_deleted(path: &[u8]) -> &[u8] {
    path.strip_suffix(DELETED).unwrap_or(path)
}

/// The control group, by its file.
pub(crate) fn cgroup_path(text: &[u8]) -> Reading<&[u8]> {
    match proc_pid_cgroup::parse(text) {
        Ok(entry) => Reading::Value(entry.path),
        Err(_) => Reading::Absent(Absence::Malformed),
    }
}

/// The variables with these keys, by the bytes of an environment, and whether some may be missing;
/// those that are remembered count before those that stand there.
pub(crate) fn environment_of(
    bytes: &[u8],
    keys: &[Box<[u8]>],
    remembered: &[EnvironmentEntry],
) -> (Reading<Box<[EnvironmentEntry]>>, bool) {
    let is_incomplete = is_clobbered(bytes);
    let entries = select(bytes, keys, remembered);
    match entries.is_empty() && is_incomplete {
        true => (Reading::Absent(Absence::Malformed), true),
        false => (Reading::Value(entries), is_incomplete),
    }
}

/// The variables of both, the first of equal keys.
fn united(first: &[EnvironmentEntry], second: &[EnvironmentEntry]) -> Box<[EnvironmentEntry]> {
    let is_new = |entry: &&EnvironmentEntry| first.iter().all(|known| known.key != entry.key);
    first.iter().chain(second.iter().filter(is_new)).cloned().collect()
}

/// The variables with these keys: as remembered, else the first of each that stands there.
fn select(
    bytes: &[u8],
    keys: &[Box<[u8]>],
    remembered: &[EnvironmentEntry],
) -> Box<[EnvironmentEntry]> {
    let mut entries = remembered.to_vec();
    for (key, value) in variables(bytes) {
        let is_wanted = keys.iter().any(|wanted| **wanted == *key);
        if is_wanted && !entries.iter().any(|entry| *entry.key == *key) {
            entries.push(EnvironmentEntry { key: Box::from(key), value: Box::from(value) });
        }
    }
    entries.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever adds a field decides here that ten thousand processes are worth it.
    #[test]
    fn what_is_remembered_of_a_process_does_not_grow_unnoticed() {
        let bytes = size_of::<Known>();
        assert!(bytes <= 136, "{bytes} bytes");
    }

    #[test]
    fn of_what_threads_did_the_last_two_readings_are_remembered() {
        let key = ProcessKey { pid: 7, start_time_ticks: 1 };
        let mut known = Known::untold(key, 1, named(Box::from(*b"x"), 0, Absence::NotRequested));
        let lengths = |known: &Known| {
            let length = |threads: Option<ThreadView<'_>>| threads.map(|threads| threads.len());
            (length(known.threads()), length(known.former_threads()))
        };
        let mut check = |read: Option<ThreadList>, expected| {
            known.note_threads(read.map(|threads| (IoTotals::ZERO, threads)));
            assert_eq!(lengths(&known), expected);
            assert_eq!(known.by_procfs().thread_readings.is_none(), expected == (None, None));
        };
        check(None, (None, None));
        check(Some(ThreadList::listed(&[])), (Some(0), None));
        check(Some(ThreadList::listed(&[])), (Some(0), Some(0)));
        check(None, (None, Some(0)));
        check(None, (None, None));
    }

    #[test]
    fn an_exec_moves_code_and_stack_or_clears_the_mark_of_a_fork() {
        fn check(before: (bool, u64, u64), now: (bool, u64, u64), expected: bool) {
            let image = |(has_forked, start_code, start_stack)| Image {
                has_forked,
                places: Places::of(start_code, start_stack),
            };
            let found = image(before).was_replaced_by(image(now));
            assert_eq!(found, expected, "{before:?} -> {now:?}");
        }
        check((true, 4096, 9000), (true, 4096, 9000), false);
        check((false, 4096, 9000), (false, 8192, 9000), true);
        check((false, 4096, 9000), (false, 4096, 9016), true);
        check((true, 1, 0), (false, 1, 0), true);
        check((false, 1, 0), (false, 1, 0), false);
        // First seen in the middle of an exec; last seen on its way out.
        check((false, 0, 0), (false, 4096, 9000), true);
        check((false, 4096, 9000), (false, 0, 0), false);
        // The right to look was lost: only an exec takes it.
        check((false, 4096, 9000), (false, 1, 0), true);
    }

    #[test]
    fn an_answer_to_a_question_about_the_former_program_is_not_taken() {
        let mut ask = Ask::Wanted;
        assert!(!ask.answered(None), "nobody asked");
        ask = Ask::Asked;
        ask.want_anew();
        assert!(!ask.answered(None));
        assert_eq!(ask, Ask::Wanted, "it is asked again");
        ask = Ask::Asked;
        assert!(ask.answered(Some(Absence::Blocked)));
        assert_eq!(ask, Ask::Wanted, "it may answer later");
        ask = Ask::Asked;
        assert!(ask.answered(Some(Absence::Denied)));
        assert_eq!(ask, Ask::No, "it will not change its mind");
    }

    #[test]
    fn remembered_variables_win_and_the_first_of_two_counts() {
        let entry = |key: &[u8], value: &[u8]| EnvironmentEntry {
            key: Box::from(key),
            value: Box::from(value),
        };
        let keys = [Box::from(*b"A"), Box::from(*b"B"), Box::from(*b"C")];
        let found = select(b"B=1\0A=now\0B=2\0D=4\0", &keys, &[entry(b"A", b"then")]);
        assert_eq!(*found, [entry(b"A", b"then"), entry(b"B", b"1")]);
    }
}
