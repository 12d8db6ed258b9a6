//! The sweep: every process, each read as one moment, and what is remembered of it until the next.
//!
//! Where programs in the kernel tell of all that live, `told.rs` takes that in; else `listed.rs`
//! goes through the procfs, and `visit.rs` reads one process there. `ends.rs` joins what was told
//! of those that ended, and `learning.rs` what comes later. The trap is everything that may change
//! on the way: PIDs go to others, processes end between two files, one call fails. Each of these
//! spoils one field of one process at most, and is counted in `troubles.rs`.

pub(crate) mod candidate;
mod closed;
mod ends;
mod glimpse;
mod kin;
mod learning;
mod listed;
mod room;
pub(crate) mod standstill;
pub(crate) mod told;
mod troubles;
mod visit;

#[cfg(test)]
mod failing_sources;
#[cfg(test)]
mod live_faults;
#[cfg(test)]
mod live_holdings;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::mem;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mpp_accounting::exit::ExitSource;
use mpp_accounting::network::Network;
use mpp_accounting::process::{Absence, Identity, ProcessKey, ProcessSample};
use mpp_accounting::snapshot::{Host, Snapshot, Trouble, Visibility};
use rustix::fd::{AsFd, OwnedFd};

use self::candidate::Candidate;
use self::closed::Closed;
use self::ends::LOOK_WAIT_MIN;
pub use self::glimpse::{Glimpse, NeedsSweep};
use self::learning::{Attention, Learned};
use self::room::Slacks;
use self::standstill::Turn;
use self::troubles::{Tallies, count};
use self::visit::HeldIo;
use crate::allocator;
use crate::child::descendants::ChildLists;
use crate::error::CollectError;
use crate::exits::{ExitRoom, Programs, Refusal, Witness};
use crate::identity::roster::Roster;
use crate::identity::shared::SharedIdentities;
use crate::identity::{self, Wants};
use crate::measure::Buffers;
use crate::memory_reader::scan::{self, Question, Scan};
use crate::memory_reader::{MemoryReader, MemoryReaderKind};
use crate::needs::{IdentityWait, Measures, Needs};
use crate::origin::{Origin, ProcfsKind};
use crate::own_thread::ThreadDeeds;
use crate::proc_fs::Room;
use crate::sockets::{SWEEP_BUDGET, SocketSource, TableScope};
use crate::taskstats::DelayAccounting;

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
            slacks: Slacks::new(),
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

    /// The PIDs of the processes that `is_wanted` by command name and effective user, as far as it
    /// asks for them; ascending. Nothing else is read of them, and nothing is remembered.
    ///
    /// # Errors
    /// The processes could not be listed.
    pub fn pids_where(
        &mut self,
        mut is_wanted: impl FnMut(&mut Candidate<'_>) -> bool,
    ) -> Result<Vec<u32>, CollectError> {
        self.origin.refresh(&self.procfs, &mut self.buffers.room)?;
        self.trouble = Trouble::default();
        self.list()?;
        let mut listed = mem::take(&mut self.pids);
        let mut room = mem::take(&mut self.stat_room);
        listed.retain(|pid| {
            let mut candidate = Candidate::new(*pid, &self.origin, &mut room);
            let is_wanted = is_wanted(&mut candidate);
            if let Some(why) = candidate.trouble() {
                count(&mut self.trouble, why);
            }
            is_wanted
        });
        self.stat_room = room;
        Ok(listed)
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
        let now_ticks = self.origin.scale.ticks_at(self.origin.since_boot());
        self.list()?;
        let pids = mem::take(&mut self.pids);
        if self.origin.is_frozen() {
            return Ok(Scan { undecided: pids, ..Scan::default() });
        }
        let root = duplicate_root(&self.origin, &self.procfs)?;
        let found = scan::scan(root, pids, now_ticks, question, wait);
        found.unknown.iter().for_each(|(_, why)| count(&mut self.trouble, *why));
        let is_blocked = |(_, why): &&(u32, Absence)| *why == Absence::Blocked;
        self.trouble.blocked = found.unknown.iter().filter(is_blocked).count() as u64;
        Ok(found)
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

/// Stands for a process of which it is not known yet who it is.
fn nobody() -> Identity {
    identity::named(Box::default(), u32::MAX, Absence::Vanished)
}
