//! The sweep: every process of a procfs, each read as one moment.
//!
//! Processes are read in order of their start times, so that parents come before their
//! children: a child that ends between the two readings is then seen alive, and is not
//! in its parent's counters. The trap is everything that may change on the way: PIDs go
//! to others, processes end between two files, one call fails. Each of these spoils one
//! field of one process at most, and is counted.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mpp_accounting::exit::{ExitSource, ThreadExit};
use mpp_accounting::network::Network;
use mpp_accounting::process::{
    Absence, Gauges, Identity, Lineage, ProcessIo, ProcessKey, ProcessSample, Reading, ThreadIo,
};
use mpp_accounting::slack::{self, Slack};
use mpp_accounting::snapshot::{Host, Snapshot, Trouble, Visibility};
use mpp_accounting::units::IoTotals;
use mpp_parse::proc_pid_stat::{self, Stat};
use mpp_parse::proc_pid_status;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Resource, getrlimit, pidfd_open};

use self::closed::{Closed, is_told_by_threads};
pub use self::glimpse::{Glimpse, NeedsSweep};
use self::standstill::Turn;
use crate::allocator;
use crate::child::descendants::ChildLists;
use crate::error::{CollectError, absence_of};
use crate::exits::{ExitRoom, Population, Programs, Refusal, Witness};
use crate::identity::roster::Roster;
use crate::identity::shared::SharedIdentities;
use crate::identity::{self, Known, Overwriting, Risk, Wants};
use crate::measure::{
    Buffers, Counters, IoReader, Phase, Subject, ThreadNeeds, Vanished, has_reaped, is_ending,
    open_io, read_thread_total, read_total,
};
use crate::memory_reader::scan::{self, Question, Scan};
use crate::memory_reader::{MemoryAnswer, MemoryReader, MemoryReaderKind, Submitted};
use crate::needs::{ContextSwitchNeeds, IdentityWait, Measures, Needs};
use crate::origin::{Origin, ProcfsKind};
use crate::own_thread::ThreadDeeds;
use crate::proc_fs::{FileError, Name, Room, open_folder, status_of};
use crate::scale::small_count;
use crate::sockets::{SWEEP_BUDGET, SocketSource, TableScope};
use crate::taskstats::DelayAccounting;

/// A source of exit records that has failed is looked for again after so long, and each time
/// after twice as long as before.
const LOOK_WAIT_MIN: Duration = Duration::from_secs(60);
const LOOK_WAIT_MAX: Duration = Duration::from_secs(3600);

/// How many `io` descriptors of other processes are kept open at most, whatever our own
/// limit is: each costs the kernel 4.7 KiB.
const HELD_IO_MAX: u64 = 4096;

/// From so many PIDs on, listing all processes costs less than asking each whether it is one.
const LISTING_PAYS: usize = 16;

/// What is known of a process that was not read again in so many rounds is forgotten.
const ROUNDS_REMEMBERED: u64 = 64;

/// How a collector reads.
#[derive(Clone, Debug)]
pub struct CollectorOptions {
    /// The top folder of the procfs, or of a frozen tree.
    pub procfs: PathBuf,
    /// Who reads what can block on a measured process. A frozen tree needs nobody.
    pub memory_reader: MemoryReaderKind,
    /// The best source of exit records that is looked for. Only sweeps have them.
    pub exits: ExitSource,
    /// Which programs tell, where that source is the exact one. Without iterators everybody who
    /// lives is read of in the procfs.
    pub programs: Programs,
    /// How much of what that source tells may wait for the next sweep.
    pub exit_room: ExitRoom,
}

impl Default for CollectorOptions {
    /// `/proc`, helper threads, and nobody who tells of ends: what a library may have.
    fn default() -> Self {
        CollectorOptions {
            procfs: PathBuf::from("/proc"),
            memory_reader: MemoryReaderKind::HelperThreads,
            exits: ExitSource::Nobody,
            programs: Programs::All,
            exit_room: ExitRoom::default(),
        }
    }
}

/// Reads processes, again and again, remembering who they are. See the top of this file.
#[derive(Debug)]
pub struct Collector {
    procfs: PathBuf,
    origin: Origin,
    /// `None` for a frozen tree.
    memory: Option<MemoryReader>,
    /// `None` until somebody asks for sockets.
    sockets: Option<SocketSource>,
    /// `None` until somebody asks for a tree.
    child_lists: Option<ChildLists>,
    known: Roster,
    identities: SharedIdentities,
    /// Stands in a sample until it is known who the process is.
    nobody: Arc<Identity>,
    desk: told::Desk,
    /// The last sweep that was told as a whole, if it was the last one.
    former: Option<told::FormerSweep>,
    sweeper: told::Sweeper,
    /// Whether somebody must be looked at again after the sweep.
    attention: Attention,
    /// Processes that are asked through a thread of theirs, by that thread.
    threads_asked: HashMap<ProcessKey, u32>,
    /// PIDs that were a parent's in the last sweep, or are in this one.
    parents: HashSet<u32>,
    former_parents: HashSet<u32>,
    wants: Wants,
    /// Number of the sweep, or of the reading of single processes.
    round: u64,
    held: HeldIo,
    witness: Witness,
    /// Whether the kernel counts what is waited for, as of the last sweep where that was asked.
    delay_accounting: DelayAccounting,
    refusals: Vec<Refusal>,
    /// The best witness there may be.
    exits_max: ExitSource,
    programs: Programs,
    exit_room: ExitRoom,
    /// When a better one than there is now is looked for.
    next_look: Option<Instant>,
    /// How long after the next failure.
    look_wait: Duration,
    /// The process that the witness tells: a copy in a forked one would take its records.
    told_pid: u32,
    /// Processes that lost their PID to another one since the sweep before.
    replaced: Vec<ProcessKey>,
    /// When the last sweep began.
    swept_at_ticks: u64,
    /// Since when whoever watches rounded records has been told of every thread that ended: a new
    /// number after each loss.
    watch: u64,
    pids: Vec<u32>,
    /// Of their folders, in the same places; none where nobody listed them.
    inodes: Vec<u64>,
    /// In the order of reading.
    order: Vec<Turn>,
    closed: Closed,
    /// Which samples of the sweep before are of this one, too, kept for its room.
    current: Vec<bool>,
    stat_room: Room,
    buffers: Buffers,
    trouble: Trouble,
    tallied: Tallies,
    slacks: Slacks,
}

/// What the readers beside the sweep count since they began, as of the last sweep.
#[derive(Clone, Copy, Debug, Default)]
struct Tallies {
    given_up: u64,
    dropped: u64,
    cut: u64,
    unreached: u64,
    lost_reports: u64,
    forged: u64,
}

/// How much of the room is needed that a snapshot and its collector keep.
#[derive(Debug, Default)]
struct Slacks {
    processes: Slack,
    ended_processes: Slack,
    ended_threads: Slack,
    cpu_tails: Slack,
    spills: Slack,
    pids: Slack,
    inodes: Slack,
    order: Slack,
    current: Slack,
    parents: Slack,
    former_parents: Slack,
    threads_asked: Slack,
    attention: Slack,
    /// After so many sweeps what is free is given on to the kernel.
    sweeps_to_trim: u32,
}

/// What lives long comes to lie among what lived short, and free memory is spread over ever more
/// pages; so those that are free as a whole are given on now and then.
const SWEEPS_BETWEEN_TRIMS: u32 = 300;

/// The first two sweeps find out who everybody is, and take more than those after them.
const SWEEPS_BEFORE_FIRST_TRIM: u32 = 2;

impl Slacks {
    /// Gives on to the kernel what was given back, but later: whoever works with what was swept
    /// gives back, too, and not in the same sweep. `given_back` says of each list whether it has.
    fn trim(&mut self, given_back: &[bool]) {
        if given_back.contains(&true) {
            self.sweeps_to_trim = self.sweeps_to_trim.min(slack::INTERVALS);
        }
        self.sweeps_to_trim = if self.sweeps_to_trim == 0 {
            allocator::give_back_free_pages();
            SWEEPS_BETWEEN_TRIMS
        } else {
            self.sweeps_to_trim - 1
        };
    }
}

/// Whose `io` files are kept open, and how many more may be.
///
/// Only needed where a zombie's file cannot be opened: it belongs to root. Read through a
/// descriptor that its own user opened while it lived, it can: the live test is
/// `a_held_descriptor_reads_the_io_of_an_own_zombie`.
#[derive(Debug)]
struct HeldIo {
    /// `None` for root, who needs none.
    owner: Option<u32>,
    free: u64,
}

/// Whether more than counters is asked for of a process.
type IsOfInterest<'a> = dyn Fn(ProcessKey, &Identity) -> bool + 'a;

/// What is read in one round, and of whom more than counters.
struct Request<'a> {
    needs: &'a Needs,
    /// `None` where everybody is.
    is_of_interest: Option<&'a IsOfInterest<'a>>,
    continuity: Continuity,
    scope: Scope<'a>,
}

/// Whether whoever was of interest in the sweep before, and is still the same, is so now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Continuity {
    AsBefore,
    Unknown,
}

impl<'a> Request<'a> {
    /// All is read of everybody.
    fn of_all(needs: &'a Needs, scope: Scope<'a>) -> Self {
        Request { needs, is_of_interest: None, continuity: Continuity::AsBefore, scope }
    }

    fn measures_of(&self, key: ProcessKey, identity: &Identity) -> Measures {
        let measures = self.needs.measures;
        if self.is_of_interest.is_none_or(|is_of_interest| is_of_interest(key, identity)) {
            return measures;
        }
        Measures { io: measures.io, ..Measures::default() }
    }

    /// Whether what was read for it is what the next one for the same measures wants of those who
    /// have not changed. Proportional memory comes later.
    fn can_be_kept(&self) -> bool {
        !self.needs.measures.proportional_memory
    }
}

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
enum Unseen {
    Vanished,
    Unreadable,
}

/// Whether more may be known of a process than its sample says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Learned {
    Nothing,
    Something,
}

/// Who must be looked at again after a sweep: asked for more, completed, or counted as trouble.
#[derive(Debug, PartialEq, Eq)]
enum Attention {
    /// Those with these PIDs, in any order.
    Some(Vec<u32>),
    Everybody,
}

impl Attention {
    /// Nobody yet, with the room of the sweep before.
    fn begin(&mut self) {
        match self {
            Attention::Some(pids) => pids.clear(),
            Attention::Everybody => *self = Attention::Some(Vec::new()),
        }
    }

    fn turn_to(&mut self, pid: u32) {
        if let Attention::Some(pids) = self {
            pids.push(pid);
        }
    }

    /// Puts them in order, each once.
    fn sort(&mut self) {
        if let Attention::Some(pids) = self {
            pids.sort_unstable();
            pids.dedup();
        }
    }

    fn is_nobodys(&self) -> bool {
        matches!(self, Attention::Some(pids) if pids.is_empty())
    }

    /// Their samples, which stand ascending by PID.
    fn all<'a>(&'a self, samples: &'a [ProcessSample]) -> impl Iterator<Item = &'a ProcessSample> {
        let (everybody, pids) = match self {
            Attention::Everybody => (samples, &[][..]),
            Attention::Some(pids) => (&[][..], &pids[..]),
        };
        let those = pids.iter().filter_map(|pid| {
            let position = samples.binary_search_by_key(pid, |sample| sample.key.pid).ok()?;
            samples.get(position)
        });
        everybody.iter().chain(those)
    }

    /// The same, to be changed.
    fn each_mut(&self, samples: &mut [ProcessSample], mut each: impl FnMut(&mut ProcessSample)) {
        match self {
            Attention::Everybody => samples.iter_mut().for_each(each),
            Attention::Some(pids) => {
                for pid in pids {
                    let position = samples.binary_search_by_key(pid, |sample| sample.key.pid);
                    if let Some(sample) = position.ok().and_then(|at| samples.get_mut(at)) {
                        each(sample);
                    }
                }
            }
        }
    }
}

/// Which processes are swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope<'a> {
    Everybody,
    /// This one and its descendants.
    Tree(u32),
    /// These.
    Some(&'a [u32]),
}

impl Collector {
    /// Opens a procfs and finds out what it offers.
    ///
    /// # Errors
    /// It cannot be opened, or is neither a procfs nor a frozen tree.
    pub fn open(options: CollectorOptions) -> Result<Self, CollectError> {
        let CollectorOptions { procfs, memory_reader, exits, programs, exit_room } = options;
        let mut buffers = Buffers::new();
        let origin = Origin::open(&procfs, &mut buffers.room)?;
        let memory = match origin.is_frozen() {
            true => None,
            false => Some(open_memory_reader(&origin, memory_reader, &procfs)?),
        };
        let (witness, refusals) = Witness::open(exits, programs, exit_room, &origin);
        Ok(Collector {
            procfs,
            held: HeldIo::new(&origin),
            witness,
            delay_accounting: DelayAccounting::Unsupported,
            refusals,
            exits_max: exits,
            programs,
            exit_room,
            next_look: None,
            look_wait: LOOK_WAIT_MIN,
            told_pid: std::process::id(),
            replaced: Vec::new(),
            swept_at_ticks: 0,
            watch: 0,
            origin,
            memory,
            sockets: None,
            child_lists: None,
            known: Roster::default(),
            identities: SharedIdentities::default(),
            nobody: Arc::new(nobody()),
            desk: told::Desk::default(),
            former: None,
            sweeper: told::Sweeper::default(),
            attention: Attention::Everybody,
            threads_asked: HashMap::new(),
            parents: HashSet::new(),
            former_parents: HashSet::new(),
            wants: Wants::default(),
            round: 0,
            pids: Vec::new(),
            inodes: Vec::new(),
            order: Vec::new(),
            closed: Closed::default(),
            current: Vec::new(),
            stat_room: Room::default(),
            buffers,
            trouble: Trouble::default(),
            tallied: Tallies::default(),
            slacks: Slacks { sweeps_to_trim: SWEEPS_BEFORE_FIRST_TRIM, ..Slacks::default() },
        })
    }

    /// Reads every process into `into`, whose storage is used again: a process that has not run
    /// since the sweep before keeps its sample there, if nobody has changed it.
    ///
    /// # Errors
    /// The processes could not be listed; then `into` is left as it was, or without processes,
    /// unreadable ones included, where those who were to tell of them had failed before.
    pub fn sweep(
        &mut self,
        needs: &Needs,
        wait: IdentityWait,
        into: &mut Snapshot,
    ) -> Result<(), CollectError> {
        self.sweep_scope(&Request::of_all(needs, Scope::Everybody), wait, into)
    }

    /// As [`Collector::sweep`], but what processes hold is read only of those of interest: of
    /// all others gauges are `NotRequested`, while CPU time, faults and I/O are read of all.
    ///
    /// The command name and the user are known when it is asked, the environment and the
    /// command line perhaps not yet.
    ///
    /// # Errors
    /// As of [`Collector::sweep`].
    pub fn sweep_of_interest(
        &mut self,
        needs: &Needs,
        is_of_interest: &IsOfInterest<'_>,
        wait: IdentityWait,
        into: &mut Snapshot,
    ) -> Result<(), CollectError> {
        let of_all = Request::of_all(needs, Scope::Everybody);
        let (is_of_interest, continuity) = (Some(is_of_interest), Continuity::Unknown);
        self.sweep_scope(&Request { is_of_interest, continuity, ..of_all }, wait, into)
    }

    /// As [`Collector::sweep_of_interest`], where all that were of interest in the sweep before and
    /// no others are so now, but for those who have become somebody else: whoever has not run
    /// since keeps its sample in `into`.
    ///
    /// # Errors
    /// As of [`Collector::sweep`].
    pub fn sweep_of_same_interest(
        &mut self,
        needs: &Needs,
        is_of_interest: &IsOfInterest<'_>,
        wait: IdentityWait,
        into: &mut Snapshot,
    ) -> Result<(), CollectError> {
        let of_all = Request::of_all(needs, Scope::Everybody);
        let is_of_interest = Some(is_of_interest);
        self.sweep_scope(&Request { is_of_interest, ..of_all }, wait, into)
    }

    /// As [`Collector::sweep`], but of these processes alone, ascending by PID.
    ///
    /// # Errors
    /// The procfs could not be read; then `into` is left as it was.
    pub fn sweep_some(
        &mut self,
        pids: &[u32],
        needs: &Needs,
        wait: IdentityWait,
        into: &mut Snapshot,
    ) -> Result<(), CollectError> {
        self.sweep_scope(&Request::of_all(needs, Scope::Some(pids)), wait, into)
    }

    fn sweep_scope(
        &mut self,
        needs: &Request<'_>,
        wait: IdentityWait,
        into: &mut Snapshot,
    ) -> Result<(), CollectError> {
        self.origin.refresh(&self.procfs, &mut self.buffers.room)?;
        self.origin.find_visibility(&self.procfs, &mut self.buffers.room);
        self.take_answers(Duration::ZERO);
        self.listen();
        if needs.needs.measures.delays {
            self.witness.tell_delays();
            self.delay_accounting = DelayAccounting::read(&mut self.buffers.room);
        }
        let began = Instant::now();
        let moment = self.origin.now();
        self.read_scope(needs, into)?;
        let has_gone = self.known.len() != into.processes.len();
        into.taken_at = moment.since_boot;
        if let Some(former) = &mut self.former {
            former.end(into);
        }
        into.taken_at_ticks = self.origin.scale.ticks_at(moment.since_boot);
        into.wall_time = moment.wall_time;
        into.duration = if self.origin.is_frozen() { Duration::ZERO } else { began.elapsed() };
        into.host = self.origin.host;
        into.network = self.network(needs.needs);
        self.hear_of_ends(into);
        self.heed_ended_threads(needs, into);
        self.give_back_room(into);
        if has_gone {
            self.forget_ended(1);
        }
        self.learn_and_count(needs, wait, into);
        into.trouble = self.trouble;
        Ok(())
    }

    /// Reads those of the scope: told by programs in the kernel where that can be, else by procfs.
    fn read_scope(&mut self, needs: &Request<'_>, into: &mut Snapshot) -> Result<(), CollectError> {
        let may_be_told = needs.scope == Scope::Everybody && self.witness.tells_of_living();
        if !may_be_told {
            self.list_scope(needs.scope)?;
        }
        self.replaced.clear();
        self.sweeper.begin();
        self.begin_round(needs.needs);
        into.unreadable_pids.clear();
        if may_be_told && self.read_told(needs, into) {
            return Ok(());
        }
        self.former = None;
        if may_be_told {
            into.processes.clear();
            self.list_scope(needs.scope)?;
        }
        self.attention = Attention::Everybody;
        self.put_in_order(needs.needs, &into.processes);
        self.read_all(needs, into);
        self.ask_closed(&mut into.processes);
        self.witness.ask_delays(self.origin.scale, &mut into.processes);
        self.witness.ask_switches(&mut into.processes);
        Ok(())
    }

    /// Takes in who they are, as far as that is known by now, and counts what could not be read.
    fn learn_and_count(&mut self, needs: &Request<'_>, wait: IdentityWait, into: &mut Snapshot) {
        let mut attention = mem::replace(&mut self.attention, Attention::Everybody);
        attention.sort();
        let has_inherited = self.take_bequests(&attention, &into.processes);
        let has_learned =
            !attention.is_nobodys() && self.learn(&attention, wait) == Learned::Something;
        let has_learned = has_learned || has_inherited == Learned::Something;
        if has_learned {
            let complete = |sample: &mut ProcessSample| self.complete(sample, needs.needs);
            attention.each_mut(&mut into.processes, complete);
        }
        self.count_troubles(attention.all(&into.processes));
        if let Attention::Some(pids) = &mut attention {
            self.slacks.attention.give_back(pids);
        }
        self.attention = attention;
        if !needs.needs.measures.sockets
            && let Reading::Value(listening) = &into.network.listening
        {
            listening.unread.iter().for_each(|(_, why)| count(&mut self.trouble, *why));
        }
    }

    /// Gives back what a storm took and the sweeps after it did not need.
    fn give_back_room(&mut self, into: &mut Snapshot) {
        let slacks = &mut self.slacks;
        let given_back = [
            slacks.processes.give_back(&mut into.processes),
            slacks.ended_processes.give_back(&mut into.exits.processes),
            slacks.ended_threads.give_back(&mut into.exits.threads),
            slacks.cpu_tails.give_back(&mut into.exits.cpu_tails),
            slacks.spills.give_back(&mut into.exits.spills),
            slacks.pids.give_back(&mut self.pids),
            slacks.inodes.give_back(&mut self.inodes),
            slacks.order.give_back(&mut self.order),
            slacks.current.give_back(&mut self.current),
            slacks.parents.give_back_set(&mut self.parents),
            slacks.former_parents.give_back_set(&mut self.former_parents),
            slacks.threads_asked.give_back_map(&mut self.threads_asked),
        ];
        self.identities.end_sweep();
        slacks.trim(&given_back);
    }

    /// Takes in what has been told of ended processes so far. A sweep does so by itself; where
    /// sweeps are more than a second or two apart, this keeps what is told from piling up in
    /// the kernel.
    ///
    /// In a process that was forked from the one that opened the collector nobody tells of
    /// ends any more.
    pub fn listen(&mut self) {
        if self.told_pid != std::process::id() {
            self.told_pid = std::process::id();
            self.refusals.push(Refusal {
                source: self.witness.source(),
                reason: "this process was forked from the one that is told".to_owned(),
                cure: None,
            });
            self.witness = Witness::Nobody;
            self.next_look = None;
        }
        self.witness.listen(self.origin.scale);
    }

    /// Gives memory on to the kernel that the first sweep, which finds out who everybody is, has
    /// used and left free: before ledger and groups take as much again for long. Sweeps do so by
    /// themselves now and then.
    pub fn give_back_free_memory(&self) {
        allocator::give_back_free_pages();
    }

    /// About how many processes there are, kernel threads included, without listing them; 0 where
    /// the procfs does not say.
    #[must_use]
    pub fn processes_about(&self) -> u64 {
        self.links().unwrap_or(0)
    }

    /// From now on has our own programs in the kernel tell of all that live and end, where they
    /// can be had; else everything stays as it is, and nobody else is asked. Loading them costs as
    /// much as reading a thousand processes.
    pub fn load_programs(&mut self, exit_room: ExitRoom) {
        let (exits, programs) = (ExitSource::Exact, Programs::All);
        if let Some((witness, refusals)) = Witness::open_exact(programs, exit_room, &self.origin) {
            (self.exits_max, self.programs, self.exit_room) = (exits, programs, exit_room);
            (self.witness, self.refusals) = (witness, refusals);
        }
    }

    /// Who tells of ended processes.
    #[must_use]
    pub fn exit_source(&self) -> ExitSource {
        self.witness.source()
    }

    /// What the thread that made the last sweep had done itself when that came to it: of the sum
    /// of its process it is this part. `None` where the kernel does not tell the living itself.
    #[must_use]
    pub fn sweeping_thread(&self) -> Option<ThreadDeeds> {
        self.sweeper.deeds()
    }

    /// Why nobody tells of them better.
    #[must_use]
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// Joins what was told of ends to what this sweep saw.
    fn hear_of_ends(&mut self, into: &mut Snapshot) {
        let population = Population {
            origin: &self.origin,
            known: &self.known,
            replaced: &self.replaced,
            processes: &into.processes,
            previous_sweep_ticks: self.swept_at_ticks,
            sweep_ticks: into.taken_at_ticks,
            delays: self.delay_accounting,
        };
        self.witness.testify(&population, &mut into.exits);
        self.swept_at_ticks = into.taken_at_ticks;
        self.note_silence();
        // All that was told has been handed out: from here on somebody else may tell.
        match self.witness.failure() {
            Some(failure) => self.replace_failed(failure),
            None => self.look_for_better(),
        }
    }

    /// Keeps why the living are not told of, for as long as that is so.
    fn note_silence(&mut self) {
        let silence = self.witness.silence_on_living();
        let is_known = silence.as_ref().is_some_and(|silence| self.refusals.contains(silence));
        if let Some(silence) = silence.filter(|_| !is_known) {
            self.trouble.failed_sources += 1;
            self.refusals.retain(|refusal| refusal.source != silence.source);
            self.refusals.push(silence);
        }
    }

    /// Has the next best witness tell from now on. Who a process is stays what it was.
    fn replace_failed(&mut self, failure: Refusal) {
        let next = match failure.source {
            ExitSource::Exact => ExitSource::Rounded,
            ExitSource::Rounded | ExitSource::Nobody => ExitSource::Nobody,
        };
        let (witness, refusals) = Witness::open(next, self.programs, self.exit_room, &self.origin);
        self.witness = witness;
        self.trouble.failed_sources += 1;
        self.refusals.retain(|refusal| refusal.source != failure.source);
        self.refusals.push(failure);
        self.refusals.extend(refusals);
        self.put_off_look();
    }

    /// Looks now and then whether a better witness can be had again.
    fn look_for_better(&mut self) {
        if self.next_look.is_none_or(|next| Instant::now() < next) {
            return;
        }
        let (witness, refusals) =
            Witness::open(self.exits_max, self.programs, self.exit_room, &self.origin);
        if witness.source() > self.witness.source() {
            self.witness = witness;
            self.refusals = refusals;
            self.next_look = None;
        }
        if self.witness.source() < self.exits_max {
            self.put_off_look();
        }
    }

    fn put_off_look(&mut self) {
        self.next_look = Some(Instant::now() + self.look_wait);
        self.look_wait = (self.look_wait * 2).min(LOOK_WAIT_MAX);
    }

    /// As [`Collector::sweep`], but of one process and its descendants alone: what they did is
    /// whole, since only an ancestor waits for a process, and an orphan of theirs that a
    /// subreaper above them is handed is theirs no more.
    ///
    /// All processes are swept where the kernel does not list children.
    ///
    /// # Errors
    /// The processes could not be listed; then `into` is left as it was.
    pub fn sweep_tree(
        &mut self,
        root_pid: u32,
        needs: &Needs,
        into: &mut Snapshot,
    ) -> Result<(), CollectError> {
        let everyone = Request::of_all(needs, Scope::Tree(root_pid));
        self.sweep_scope(&everyone, IdentityWait::No, into)
    }

    /// Reads the processes with these PIDs, in this order; `None` where there is no such
    /// process, or it could not be read at all (then [`Collector::trouble`] says so).
    ///
    /// A thread that is not a process of its own is no such process.
    ///
    /// # Errors
    /// The procfs itself cannot be read any more.
    pub fn read(
        &mut self,
        pids: &[u32],
        needs: &Needs,
        wait: IdentityWait,
    ) -> Result<Vec<Option<ProcessSample>>, CollectError> {
        self.origin.refresh(&self.procfs, &mut self.buffers.room)?;
        self.take_answers(Duration::ZERO);
        self.begin_round(needs);
        if let Some(sockets) = &mut self.sockets {
            sockets.remember_nobody();
        }
        let is_listed = pids.len() >= LISTING_PAYS;
        if is_listed {
            self.list()?;
            self.pids.sort_unstable();
        }
        let request = Request::of_all(needs, Scope::Some(pids));
        let mut samples = Vec::with_capacity(pids.len());
        for &pid in pids {
            let is_process = self.known.get(pid).is_some()
                || if is_listed { self.is_listed(pid) } else { self.is_process(pid) };
            samples.push(is_process.then(|| self.visit(pid, &request).ok()).flatten());
        }
        self.forget_ended(ROUNDS_REMEMBERED);
        if self.learn(&Attention::Everybody, wait) == Learned::Something {
            samples.iter_mut().flatten().for_each(|sample| self.complete(sample, needs));
        }
        self.count_troubles(samples.iter().flatten());
        Ok(samples)
    }

    /// The PIDs of the processes that `is_wanted` by command name and, where it asks for that,
    /// effective user; ascending. Nothing else is read of them, and nothing is remembered.
    ///
    /// # Errors
    /// The processes could not be listed.
    pub fn pids_where(
        &mut self,
        mut is_wanted: impl FnMut(&[u8], &mut dyn FnMut() -> Option<u32>) -> bool,
    ) -> Result<Vec<u32>, CollectError> {
        self.origin.refresh(&self.procfs, &mut self.buffers.room)?;
        self.trouble = Trouble::default();
        self.list()?;
        let listed = mem::take(&mut self.pids);
        let mut stat_room = mem::take(&mut self.stat_room);
        let wanted = listed.iter().copied().filter(|pid| {
            let name = Name::in_process(*pid, "stat");
            let text = stat_room.read_lines(&self.origin.root, name.as_c_str(), 1);
            let stat = text
                .map_err(FileError::absence)
                .and_then(|text| proc_pid_stat::parse(text).map_err(|_| Absence::Malformed));
            match stat {
                Ok(stat) if is_ending(&stat) => false,
                Ok(stat) => is_wanted(stat.comm, &mut || self.owner_of(*pid)),
                Err(why) => {
                    count(&mut self.trouble, why);
                    false
                }
            }
        });
        let wanted = wanted.collect();
        self.pids = listed;
        self.stat_room = stat_room;
        Ok(wanted)
    }

    /// Asks every process a question, and reads of each no more than its answer takes. Nobody
    /// hangs in a process's memory for longer than a deadline, and the whole takes no longer than
    /// `wait`.
    ///
    /// Nothing is remembered. Of a frozen tree everybody is undecided.
    ///
    /// # Errors
    /// The processes could not be listed.
    pub fn scan(&mut self, question: &Arc<Question>, wait: Duration) -> Result<Scan, CollectError> {
        self.origin.refresh(&self.procfs, &mut self.buffers.room)?;
        self.trouble = Trouble::default();
        self.list()?;
        let pids = mem::take(&mut self.pids);
        if self.origin.is_frozen() {
            return Ok(Scan { undecided: pids, ..Scan::default() });
        }
        let root = duplicate_root(&self.origin, &self.procfs)?;
        let found = scan::scan(root, pids, question, wait);
        found.unknown.iter().for_each(|(_, why)| count(&mut self.trouble, *why));
        let is_blocked = |(_, why): &&(u32, Absence)| *why == Absence::Blocked;
        self.trouble.blocked = found.unknown.iter().filter(is_blocked).count() as u64;
        Ok(found)
    }

    /// The effective user of a process; `None` where that cannot be told.
    fn owner_of(&mut self, pid: u32) -> Option<u32> {
        let folder = open_folder(&self.origin.root, Name::of(pid).as_c_str()).ok()?;
        self.owner(&folder).ok()
    }

    /// Our own PID and those of our helper processes, as this procfs numbers them.
    ///
    /// Helpers cannot be named in the procfs of another PID namespace.
    pub fn own_pids(&mut self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.origin.own_pid.into_iter().collect();
        if self.origin.kind == ProcfsKind::OwnNamespace
            && let Some(memory) = &mut self.memory
        {
            pids.extend(memory.helper_pids());
        }
        pids
    }

    /// How much of the machine's processes the procfs shows us.
    #[must_use]
    pub fn visibility(&mut self) -> Visibility {
        self.host().visibility
    }

    /// The machine.
    #[must_use]
    pub fn host(&mut self) -> Host {
        self.origin.find_visibility(&self.procfs, &mut self.buffers.room);
        self.origin.host
    }

    /// The machine's memory; see [`Host`].
    #[must_use]
    pub fn memory_total_bytes(&self) -> u64 {
        self.origin.host.memory_total_bytes
    }

    /// What kind of procfs is read.
    #[must_use]
    pub fn procfs_kind(&self) -> ProcfsKind {
        self.origin.kind
    }

    /// Who reads what can block; `None` for a frozen tree.
    #[must_use]
    pub fn memory_reader(&self) -> Option<&MemoryReader> {
        self.memory.as_ref()
    }

    /// What went wrong during the last sweep or reading.
    #[must_use]
    pub fn trouble(&self) -> Trouble {
        self.trouble
    }

    fn list(&mut self) -> Result<(), CollectError> {
        self.buffers
            .listing
            .numbered(&self.origin.root, &mut self.pids, &mut self.inodes)
            .map_err(|errno| CollectError::system("list", &self.procfs, errno))
    }

    fn list_scope(&mut self, scope: Scope<'_>) -> Result<(), CollectError> {
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

    fn begin_round(&mut self, needs: &Needs) {
        self.round += 1;
        self.trouble = Trouble::default();
        self.wants.grow(needs);
        self.witness.capture(&self.wants.needs);
        self.closed.begin();
        mem::swap(&mut self.parents, &mut self.former_parents);
        self.parents.clear();
        let scope = table_scope(needs);
        if scope != TableScope::default() {
            let kind = self.origin.kind;
            self.sockets.get_or_insert_with(|| socket_source(kind)).begin_sweep_for(scope);
        }
    }

    /// What was found out beside the processes.
    fn network(&mut self, needs: &Needs) -> Network {
        let source = self.sockets.as_mut().filter(|_| table_scope(needs) != TableScope::default());
        source.map_or_else(Network::default, SocketSource::network)
    }

    /// By start time as far as known, then what is new, by PID.
    fn put_in_order(&mut self, needs: &Needs, former: &[ProcessSample]) {
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

    fn read_all(&mut self, needs: &Request<'_>, into: &mut Snapshot) {
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
    fn is_listed(&self, pid: u32) -> bool {
        self.pids.binary_search(&pid).is_ok()
    }

    /// The folder of a thread is not listed, but it can be opened and looks like a process's.
    fn is_process(&mut self, pid: u32) -> bool {
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

    /// Reads one process, and counts it where that is not possible.
    fn visit(&mut self, pid: u32, needs: &Request<'_>) -> Result<ProcessSample, Unseen> {
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
    fn owner(&mut self, folder: &OwnedFd) -> Result<u32, Absence> {
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
    fn thread_needs(&self, scope: Scope<'_>) -> ThreadNeeds {
        match (scope, self.witness.source()) {
            // Whoever watches a tree from its begin has the whole of what ended from records.
            (Scope::Tree(_), _) | (_, ExitSource::Nobody) => ThreadNeeds::None,
            (_, ExitSource::Rounded | ExitSource::Exact) => ThreadNeeds::EachAtAnyMoment,
        }
    }

    /// Since when every end of a thread has been told of, where that is so and those of this round
    /// will be, too.
    fn watch_of(&self, scope: Scope<'_>) -> Option<u64> {
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

    /// Asks main threads again of which the total of their process was taken in this sweep, where
    /// another thread of it turns out to have ended: that one is told of by itself.
    fn heed_ended_threads(&mut self, needs: &Request<'_>, into: &mut Snapshot) {
        if self.watch_of(needs.scope).is_none() || into.exits.lost_records > 0 {
            self.watch += 1;
            return;
        }
        let is_main = |ended: &ThreadExit| ended.thread.tid == ended.process.pid;
        for ended in into.exits.threads.iter().filter(|ended| !is_main(ended)) {
            let Some(known) = self.lone(ended) else { continue };
            known.threads_max = known.threads_max.max(2);
            let before = known.former_threads().and_then(|threads| threads.first().copied());
            if let Some(sample) = sample_of(&mut into.processes, ended.process) {
                // What it did since the sweep before its own record will tell, if it has ended.
                if let Some(now) = self.main_thread_now(sample).or(before) {
                    sample.io.set_threads(sample.key, &[now]);
                }
            }
        }
        // A main thread that ended alone was its process. Else another one has called exec and
        // taken its place, and the process lives.
        for ended in into.exits.threads.iter().filter(|ended| is_main(ended)) {
            if self.lone(ended).is_some()
                && let Some(sample) = sample_of(&mut into.processes, ended.process)
                && let Some(now) = self.main_thread_now(sample)
            {
                sample.io.set_threads(sample.key, &[now]);
            }
        }
    }

    /// The process of a thread, if its total was taken for its main thread's in this sweep; it is
    /// not taken so again.
    fn lone(&mut self, ended: &ThreadExit) -> Option<&mut Known> {
        let round = self.round;
        let known = self.known.get_mut(ended.process.pid)?;
        let memory = known.by_procfs();
        if known.key != ended.process || memory.alone_since.is_none() {
            return None;
        }
        let is_lone = memory.lone_round == round;
        let memory = known.by_procfs_mut();
        (memory.alone_since, memory.standstill) = (None, None);
        Some(known).filter(|_| is_lone)
    }

    /// What the main thread of a process has done by now; `None` where it is no longer there.
    fn main_thread_now(&mut self, sample: &ProcessSample) -> Option<ThreadIo> {
        let ProcessKey { pid, start_time_ticks } = sample.key;
        let thread = *sample.threads().value()?.iter().find(|thread| thread.key.tid == pid)?;
        let Collector { origin, buffers, .. } = self;
        let folder = open_folder(&origin.root, Name::of(pid).as_c_str()).ok()?;
        let text = buffers.room.read_lines(&folder, c"stat", 1).ok()?;
        let stat = proc_pid_stat::parse(text).ok()?;
        if stat.start_time_ticks != start_time_ticks || is_ending(&stat) {
            return None;
        }
        let total = read_thread_total(origin, &folder, pid, buffers).value().copied()?;
        Some(ThreadIo { total, ..thread })
    }

    fn remember_parent(&mut self, stat: &Stat<'_>) {
        if self.parents.insert(stat.ppid)
            && let Some(parent) = self.known.get_mut(stat.ppid)
            && parent.key.start_time_ticks <= stat.start_time_ticks
        {
            parent.had_children = true;
        }
    }

    /// What is known of a process is worth nothing for the next one with its PID.
    fn forget_former_bearer(&mut self, key: ProcessKey) {
        if let Some(former) = self.known.get(key.pid).filter(|known| known.key != key) {
            self.replaced.push(former.key);
            self.forget(key.pid);
        }
    }

    fn forget(&mut self, pid: u32) {
        if let Some(known) = self.known.remove(pid) {
            self.held.let_go(&known);
        }
    }

    /// Forgets whom nobody has seen in the last rounds.
    fn forget_ended(&mut self, rounds: u64) {
        let oldest = (self.round + 1).saturating_sub(rounds);
        let Collector { known, held, threads_asked, .. } = self;
        known.forget(|known| {
            let has_ended = known.swept < oldest;
            if has_ended {
                held.let_go(known);
            }
            has_ended
        });
        let known = &*known;
        threads_asked
            .retain(|key, pid| known.get(*pid).is_some_and(|known| known.reader_key() == *key));
        if let Some(memory) = &mut self.memory {
            let threads = &self.threads_asked;
            memory.forget_ended(|key| {
                threads.contains_key(&key)
                    || known.get(key.pid).is_some_and(|known| known.key == key)
            });
        }
    }

    /// Finds out what else can be known of the processes that were read.
    fn learn(&mut self, attention: &Attention, wait: IdentityWait) -> Learned {
        self.ask(attention);
        if let IdentityWait::UpTo(longest) = wait {
            self.take_answers(longest);
        }
        match (self.inherit_environments(attention), wait) {
            (Learned::Nothing, IdentityWait::No) => Learned::Nothing,
            _ => Learned::Something,
        }
    }

    /// Has processes that wrote over their environment, or of which it was not read yet, take that
    /// of whoever forked them and has ended since.
    fn take_bequests(&mut self, attention: &Attention, samples: &[ProcessSample]) -> Learned {
        let Collector { known, witness, .. } = self;
        let mut learned = Learned::Nothing;
        for sample in attention.all(samples) {
            let Some((forker, forked_at)) =
                sample.lineage.forked_by().zip(sample.lineage.started_at())
            else {
                continue;
            };
            let heir = known.get_mut(sample.key.pid).filter(|heir| heir.key == sample.key);
            let Some(heir) = heir.filter(|heir| heir.lacks_environment()) else { continue };
            if let Some(forker) = witness.bequest(forker, forked_at) {
                heir.take_environment_of(forker);
                learned = Learned::Something;
            }
        }
        learned
    }

    /// Has processes that wrote over their environment, or of which it was not read yet, take that
    /// of whoever forked them, or of an older one that was.
    fn inherit_environments(&mut self, attention: &Attention) -> Learned {
        let heir = |known: &Known| {
            let is_heir = known.lacks_environment() && known.parent_pid != known.key.pid;
            is_heir.then_some((known.key.start_time_ticks, known.key.pid, known.parent_pid))
        };
        let mut heirs: Vec<_> = match attention {
            Attention::Everybody => self.known.iter().filter_map(heir).collect(),
            Attention::Some(pids) => {
                pids.iter().filter_map(|pid| heir(self.known.get(*pid)?)).collect()
            }
        };
        // A parent may have inherited its own.
        heirs.sort_unstable();
        for (_, pid, parent_pid) in &heirs {
            if let Some((heir, parent)) = self.known.pair_mut(*pid, *parent_pid) {
                heir.inherit_environment(parent);
            }
        }
        self.inherit_from_kin(heirs.iter().map(|(_, pid, _)| *pid));
        if heirs.is_empty() { Learned::Nothing } else { Learned::Something }
    }

    /// Asks the bounded reader for what is missing, last of those in whom it may hang. Nobody
    /// waits here.
    fn ask(&mut self, attention: &Attention) {
        let Collector { memory, known, wants, round, .. } = self;
        let Some(memory) = memory else { return };
        let question = |known: &mut Known| {
            let is_asked = known.swept == *round && known.has_requests(wants);
            is_asked.then(|| match memory.has_blocked(known.reader_key()) {
                true => (Risk::HasBlocked, known.key.pid),
                false => (known.risk(), known.key.pid),
            })
        };
        let mut asked: Vec<_> = match attention {
            Attention::Everybody => known.iter_mut().filter_map(question).collect(),
            Attention::Some(pids) => {
                pids.iter().filter_map(|pid| question(known.get_mut(*pid)?)).collect()
            }
        };
        asked.sort_unstable();
        for (_, pid) in asked {
            if let Some(known) = known.get_mut(pid) {
                known.requests(|request| memory.submit(request) != Submitted::Dropped);
            }
        }
    }

    /// Takes what the bounded reader has found, waiting for the rest no longer than this.
    fn take_answers(&mut self, longest: Duration) {
        let Collector { memory, known, identities, threads_asked, wants, .. } = self;
        let Some(memory) = memory else { return };
        memory.collect_each(longest, |answer: MemoryAnswer| {
            let key = answer.request.key;
            let pid = threads_asked.get(&key).copied().unwrap_or(key.pid);
            if let Some(known) = known.get_mut(pid) {
                known.accept(&answer, wants);
                identities.share(&mut known.identity);
            }
        });
    }

    /// Brings a sample up to what has become known since it was read.
    fn complete(&self, sample: &mut ProcessSample, needs: &Needs) {
        let Some(known) = self.known.get(sample.key.pid).filter(|known| known.key == sample.key)
        else {
            return;
        };
        if !Arc::ptr_eq(&sample.identity, &known.identity) {
            sample.identity = Arc::clone(&known.identity);
        }
        if needs.measures.proportional_memory {
            sample.gauges.seldom.proportional_memory = known.proportional_memory();
        }
    }

    fn count_troubles<'a>(&mut self, samples: impl Iterator<Item = &'a ProcessSample>) {
        for sample in samples {
            count_absences(sample, &mut self.trouble);
            if let Some(known) = self.known.get(sample.key.pid) {
                match known.overwriting {
                    Overwriting::NotSeen => {}
                    Overwriting::Lost => {
                        self.trouble.clobbered_environments += 1;
                        // It is said once what became of it.
                        let is_counted = is_malformed(&sample.identity.environment);
                        let malformed = &mut self.trouble.malformed;
                        *malformed = malformed.saturating_sub(u64::from(is_counted));
                    }
                    Overwriting::Remembered => self.trouble.remembered_environments += 1,
                }
                self.trouble.truncated += u64::from(known.is_cmdline_truncated);
            }
        }
        if let Some(memory) = &self.memory {
            self.trouble.blocked = memory.blocked_now() as u64;
            self.trouble.hanging_threads = memory.stuck_threads() as u64;
        }
        let now = Tallies::of(self.memory.as_ref(), self.sockets.as_ref(), &self.witness);
        let before = mem::replace(&mut self.tallied, now);
        self.trouble.given_up_readings = now.given_up - before.given_up;
        self.trouble.dropped_readings = now.dropped - before.dropped;
        self.trouble.cut_sockets = now.cut - before.cut;
        self.trouble.unreached_sockets = now.unreached - before.unreached;
        self.trouble.lost_connection_reports = now.lost_reports - before.lost_reports;
        // One who tells no more is not asked any more, either.
        self.trouble.forged_messages = now.forged.saturating_sub(before.forged);
    }
}

impl Tallies {
    fn of(
        memory: Option<&MemoryReader>,
        sockets: Option<&SocketSource>,
        witness: &Witness,
    ) -> Self {
        Tallies {
            given_up: memory.map_or(0, MemoryReader::blocked_total),
            dropped: memory.map_or(0, MemoryReader::dropped_total),
            cut: sockets.map_or(0, SocketSource::cut_total),
            unreached: sockets.map_or(0, SocketSource::unreached_total),
            lost_reports: sockets.map_or(0, SocketSource::lost_total),
            forged: witness.forged_total() + sockets.map_or(0, SocketSource::forged_total),
        }
    }
}

fn open_memory_reader(
    origin: &Origin,
    kind: MemoryReaderKind,
    procfs: &std::path::Path,
) -> Result<MemoryReader, CollectError> {
    Ok(MemoryReader::open(kind, duplicate_root(origin, procfs)?))
}

fn duplicate_root(origin: &Origin, procfs: &std::path::Path) -> Result<OwnedFd, CollectError> {
    crate::sys::retrying(|| rustix::io::fcntl_dupfd_cloexec(origin.root.as_fd(), 0))
        .map_err(|errno| CollectError::system("open", procfs, errno))
}

/// What of sockets is read for these needs.
fn table_scope(needs: &Needs) -> TableScope {
    TableScope {
        kinds: needs.measures.sockets,
        ports: needs.identity.listening_ports,
        traffic: needs.measures.tcp_traffic && needs.measures.sockets,
    }
}

/// Links into another kernel's tables, or another PID namespace's, cannot be joined.
fn socket_source(kind: ProcfsKind) -> SocketSource {
    match kind {
        ProcfsKind::OwnNamespace => SocketSource::open(SWEEP_BUDGET),
        ProcfsKind::OtherNamespace | ProcfsKind::Frozen => SocketSource::unsupported(),
    }
}

impl HeldIo {
    fn new(origin: &Origin) -> Self {
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

    fn let_go(&mut self, known: &Known) {
        self.free += u64::from(known.by_procfs().held_io.is_some());
    }
}

/// Samples stand ascending by key.
fn sample_of(samples: &mut [ProcessSample], key: ProcessKey) -> Option<&mut ProcessSample> {
    let position = samples.binary_search_by_key(&key, |sample| sample.key).ok()?;
    samples.get_mut(position)
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

/// Stands for a process of which it is not known yet who it is.
fn nobody() -> Identity {
    identity::named(Box::default(), u32::MAX, Absence::Vanished)
}

fn count(trouble: &mut Trouble, why: Absence) {
    match why {
        Absence::Denied => trouble.denied += 1,
        Absence::Vanished => trouble.vanished += 1,
        Absence::TooLarge => trouble.truncated += 1,
        Absence::Malformed => trouble.malformed += 1,
        Absence::Failed(_) => trouble.failed += 1,
        // Blocked processes are counted once each, by the bounded reader; the rest is no
        // trouble but the way things are.
        _ => {}
    }
}

fn is_malformed<T>(reading: &Reading<T>) -> bool {
    reading.absence() == Some(Absence::Malformed)
}

fn count_absences(sample: &ProcessSample, trouble: &mut Trouble) {
    let Identity { executable, cmdline, environment, cgroup, .. } = &*sample.identity;
    let gauges = &sample.gauges;
    let absences = [
        executable.absence(),
        cmdline.absence(),
        environment.absence(),
        cgroup.absence(),
        sample.io.absence(),
        sample.io.threads.absence(),
        gauges.memory().absence(),
        gauges.seldom.proportional_memory.absence(),
        gauges.seldom.swap_bytes.absence(),
        gauges.fds.absence(),
        gauges.seldom.fd_limit.absence(),
        gauges.context_switches.absence(),
        gauges.seldom.sockets.absence(),
    ];
    absences.into_iter().flatten().for_each(|why| count(trouble, why));
}

/// Whether something could not be read of a process.
fn has_trouble(sample: &ProcessSample) -> bool {
    let mut trouble = Trouble::default();
    count_absences(sample, &mut trouble);
    trouble != Trouble::default()
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

mod closed;
mod glimpse;
mod kin;
pub(crate) mod standstill;
pub(crate) mod told;

#[cfg(test)]
mod failing_sources;
#[cfg(test)]
mod live_faults;
#[cfg(test)]
mod live_holdings;
#[cfg(test)]
mod tests;
