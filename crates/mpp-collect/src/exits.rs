//! Who tells of those that end, and what was told, joined to the processes of a sweep.
//!
//! The best witness there is gives the kernel's record of every thread that ended; the next
//! best gives it rounded; without either a sweep tells what it sees, and the ledger infers
//! the rest. A witness works only in the host's own namespaces, so it is left out where the
//! procfs is not ours.
//!
//! The trap is the order. A record is written before its thread is a zombie. So records that
//! are read after a sweep leave no thread out; those that name a process which neither this
//! sweep nor the one before has seen ended before the sweep came to it, or were born and
//! died behind its back. Where the parent was born behind its back, too, and lives on, nobody
//! can say yet where the child belongs: its record waits for the next sweep.

pub(crate) mod exact;
mod health;
mod rounded;

use mpp_accounting::exit::{ExitSource, Exits, ProcessExit};
use mpp_accounting::process::{Absence, Identity, IdentityNeeds, ProcessKey, ProcessSample};
use mpp_accounting::units::BootTime;
use mpp_parse::bpf_record::TaskKey;
use rustix::io::Errno;

use self::exact::{Descendant, ExactWitness, Executed};
use self::health::Failure;
use self::rounded::RoundedWitness;
pub use crate::bpf::Programs;
use crate::bpf::{Bpf, BpfOptions};
use crate::cure::Cure;
use crate::identity::roster::Roster;
use crate::origin::{Origin, ProcfsKind};
use crate::scale::Scale;
use crate::taskstats::{DelayAccounting, Taskstats, TaskstatsOptions, ThreadAccount};

/// Why ends are not seen better than they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which source is not to be had.
    pub source: ExitSource,
    /// Why, as a sentence.
    pub reason: String,
    /// What would help. `None` where nothing does that could be given here.
    pub cure: Option<Cure>,
}

/// How much of what is told of those that end may wait to be read: kernel memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitRoom {
    /// Bytes for the records of our own hooks, 464 for each end; made a power of two, and at least a
    /// page. What finds no room is added up for each parent. Half as much again is for what is
    /// executed.
    pub ring_bytes: u32,
    /// Bytes for taskstats records in each CPU's socket, about 1.3 KiB each; the kernel doubles
    /// the number. What finds no room is lost, and counted.
    pub socket_bytes: usize,
}

impl Default for ExitRoom {
    /// For some 36,000 ends, and some 50,000 on each CPU.
    fn default() -> Self {
        ExitRoom {
            ring_bytes: BpfOptions::default().exit_ring_bytes,
            socket_bytes: TaskstatsOptions::default().receive_buffer_bytes,
        }
    }
}

/// Who tells of those that end.
#[derive(Debug)]
pub(crate) enum Witness {
    /// Nobody: a sweep must do.
    Nobody,
    /// The kernel's taskstats.
    Rounded(Box<RoundedWitness>),
    /// Hooks of our own in the kernel.
    Exact(Box<ExactWitness>),
}

impl Refusal {
    /// Of a source that worked when it was opened.
    fn of_failure(source: ExitSource, failure: Failure) -> Self {
        let Failure { action, errno } = failure;
        let reason = format!("it worked at first, but now it is not possible to {action}: {errno}");
        Refusal { source, reason, cure: None }
    }
}

/// What a witness's records are joined to.
pub(crate) struct Population<'a> {
    pub(crate) origin: &'a Origin,
    /// By PID: those of this sweep, and those of the one before that it did not see.
    pub(crate) known: &'a Roster,
    /// Those of the sweep before whose PID belongs to another process now.
    pub(crate) replaced: &'a [ProcessKey],
    /// What this sweep saw, ascending by key.
    pub(crate) processes: &'a [ProcessSample],
    /// When the sweep before began; 0 ticks before the first.
    pub(crate) previous_sweep_ticks: u64,
    /// When this one began.
    pub(crate) sweep_ticks: u64,
    /// Whether the kernel counts what is waited for now.
    pub(crate) delays: DelayAccounting,
}

impl Population<'_> {
    /// Whether this sweep or the one before has seen a process.
    pub(crate) fn has_seen(&self, key: ProcessKey) -> bool {
        self.known.get(key.pid).is_some_and(|known| known.key == key)
    }

    /// The process that this sweep saw under a PID.
    pub(crate) fn sample(&self, pid: u32) -> Option<&ProcessSample> {
        let position = self.processes.binary_search_by_key(&pid, |p| p.key.pid).ok()?;
        self.processes.get(position)
    }
}

impl Witness {
    /// Opens the best witness that is not better than `max`, and says why it is not better.
    pub(crate) fn open(
        max: ExitSource,
        programs: Programs,
        room: ExitRoom,
        origin: &Origin,
    ) -> (Witness, Vec<Refusal>) {
        let mut refusals = Vec::new();
        if max == ExitSource::Nobody || origin.kind != ProcfsKind::OwnNamespace {
            return (Witness::Nobody, refusals);
        }
        if max == ExitSource::Exact {
            match Witness::exact(programs, room) {
                Ok(found) => return found,
                Err(refusal) => refusals.push(refusal),
            }
        }
        match Taskstats::open(&TaskstatsOptions { receive_buffer_bytes: room.socket_bytes }) {
            Ok(taskstats) => {
                return (Witness::Rounded(Box::new(RoundedWitness::new(taskstats))), refusals);
            }
            Err(refusal) => refusals.push(Refusal {
                source: ExitSource::Rounded,
                reason: refusal.to_string(),
                cure: refusal.cure(),
            }),
        }
        (Witness::Nobody, refusals)
    }

    /// Opens hooks of our own and nothing else, and says what they lack; `None` where they cannot
    /// be had.
    pub(crate) fn open_exact(
        programs: Programs,
        room: ExitRoom,
        origin: &Origin,
    ) -> Option<(Witness, Vec<Refusal>)> {
        let is_ours = origin.kind == ProcfsKind::OwnNamespace;
        is_ours.then(|| Witness::exact(programs, room).ok()).flatten()
    }

    /// Hooks of our own, and what they lack.
    fn exact(programs: Programs, room: ExitRoom) -> Result<(Witness, Vec<Refusal>), Refusal> {
        let options = BpfOptions {
            programs,
            exit_ring_bytes: room.ring_bytes,
            exec_ring_bytes: room.ring_bytes / 2,
        };
        let bpf = Bpf::open(&options).map_err(|refusal| Refusal {
            source: ExitSource::Exact,
            reason: refusal.to_string(),
            cure: refusal.cure(),
        })?;
        let missing = bpf.missing_hooks().iter().map(|(hook, errno)| Refusal {
            source: ExitSource::Exact,
            reason: format!("{}: {errno}", hook.what_is_missing()),
            cure: None,
        });
        let missing = missing.collect();
        Ok((Witness::Exact(Box::new(ExactWitness::new(bpf))), missing))
    }

    /// Which source this is.
    pub(crate) fn source(&self) -> ExitSource {
        match self {
            Witness::Nobody => ExitSource::Nobody,
            Witness::Rounded(_) => ExitSource::Rounded,
            Witness::Exact(_) => ExitSource::Exact,
        }
    }

    /// Has captured at each exec what somebody looks at.
    pub(crate) fn capture(&mut self, needs: &IdentityNeeds) {
        if let Witness::Exact(witness) = self {
            witness.capture(needs);
        }
    }

    /// Has everybody's waits told from now on.
    pub(crate) fn tell_delays(&mut self) {
        if let Witness::Exact(witness) = self {
            // Where this fails nothing is told, and the processes say so.
            let _ = witness.bpf.tell_delays();
        }
    }

    /// Says of the processes of a sweep that was not told for how long they have waited, as far
    /// as that was asked for.
    pub(crate) fn ask_delays(&mut self, scale: Scale, processes: &mut [ProcessSample]) {
        if let Witness::Rounded(witness) = self {
            witness.ask_delays(scale, processes);
        }
    }

    /// Asks for the context switches that a sweep by files has left out.
    pub(crate) fn ask_switches(&mut self, processes: &mut [ProcessSample]) {
        if let Witness::Rounded(witness) = self {
            witness.ask_switches(processes);
        }
    }

    /// Says what each of these threads did itself, in their order.
    pub(crate) fn ask_threads(
        &mut self,
        tids: &[u32],
        each: &mut dyn FnMut(Result<&ThreadAccount, Absence>),
    ) {
        if let Witness::Rounded(witness) = self {
            witness.taskstats.of_threads(tids, &mut |_, account| each(account));
        }
    }

    /// Takes in what has been told so far. Done before a sweep, and now and then between two
    /// that are far apart, so that nothing overflows.
    pub(crate) fn listen(&mut self, scale: Scale) {
        match self {
            Witness::Nobody => {}
            Witness::Rounded(witness) => witness.listen(),
            Witness::Exact(witness) => witness.listen(scale),
        }
    }

    /// Whether it tells of the living, too.
    pub(crate) fn tells_of_living(&self) -> bool {
        matches!(self, Witness::Exact(witness) if witness.bpf.tells_of_living())
    }

    /// Who may tell of the living, too.
    pub(crate) fn bpf(&mut self) -> Option<&mut Bpf> {
        match self {
            Witness::Exact(witness) => Some(&mut witness.bpf),
            Witness::Nobody | Witness::Rounded(_) => None,
        }
    }

    /// Takes in that the living could not be asked for.
    pub(crate) fn note_living(&mut self, outcome: Result<(), Errno>) {
        if let Witness::Exact(witness) = self {
            witness.note_living(outcome);
        }
    }

    /// Why the living are not told of though the ended are, if that goes on.
    pub(crate) fn silence_on_living(&self) -> Option<Refusal> {
        match self {
            Witness::Exact(witness) => witness.silence_on_living(),
            Witness::Nobody | Witness::Rounded(_) => None,
        }
        .map(|failure| Refusal::of_failure(self.source(), failure))
    }

    /// Why nothing is to be expected from this witness any more, if that is so.
    pub(crate) fn failure(&self) -> Option<Refusal> {
        match self {
            Witness::Nobody => None,
            Witness::Rounded(witness) => witness.failure(),
            Witness::Exact(witness) => witness.failure(),
        }
        .map(|failure| Refusal::of_failure(self.source(), failure))
    }

    /// Messages so far that somebody else than the kernel has sent to this witness. They are not
    /// believed. Only grows.
    pub(crate) fn forged_total(&self) -> u64 {
        match self {
            Witness::Rounded(witness) => witness.taskstats.forged_total(),
            Witness::Nobody | Witness::Exact(_) => 0,
        }
    }

    /// What this witness is told by, for tests that close it.
    #[cfg(test)]
    pub(crate) fn taskstats(&self) -> Option<&Taskstats> {
        match self {
            Witness::Rounded(witness) => Some(&witness.taskstats),
            Witness::Nobody | Witness::Exact(_) => None,
        }
    }

    /// What was told of the last exec of a process.
    pub(crate) fn executed(&self, process: TaskKey) -> Option<&Executed> {
        match self {
            Witness::Exact(witness) => witness.executed(process),
            Witness::Nobody | Witness::Rounded(_) => None,
        }
    }

    /// Who had the environment that a process was forked with at a moment, where its forker's end
    /// was told with the last sweep or the one before.
    pub(crate) fn bequest(&self, forker: ProcessKey, forked_at: BootTime) -> Option<&Identity> {
        match self {
            Witness::Exact(witness) => witness.bequest(forker, forked_at),
            Witness::Nobody | Witness::Rounded(_) => None,
        }
    }

    /// Which descendants of this process live; `None` where that is not told, or not as a whole.
    pub(crate) fn living(&self) -> Option<impl Iterator<Item = Descendant<'_>>> {
        match self {
            Witness::Exact(witness) => witness.living(),
            Witness::Nobody | Witness::Rounded(_) => None,
        }
    }

    /// How many processes that have ended wait for the next sweep to be handed out; 0 where
    /// nobody tells exactly.
    pub(crate) fn ends_waiting(&self) -> usize {
        match self {
            Witness::Exact(witness) => witness.ends_waiting(),
            Witness::Nobody | Witness::Rounded(_) => 0,
        }
    }

    /// What was told since the sweep before, joined to those that this one saw.
    pub(crate) fn testify(&mut self, population: &Population<'_>, exits: &mut Exits) {
        exits.clear();
        exits.source = self.source();
        match self {
            Witness::Nobody => {}
            Witness::Rounded(witness) => witness.testify(population, exits),
            Witness::Exact(witness) => witness.testify(population, exits),
        }
        if !exits.processes.is_sorted_by_key(ProcessExit::key) {
            exits.processes.sort_by_cached_key(ProcessExit::key);
        }
        exits.processes.dedup_by_key(|exit| ProcessExit::key(exit));
    }
}
