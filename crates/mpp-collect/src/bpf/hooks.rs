//! What the hooks of `bpf/hooks.h` have written: exits and execs from their rings, spills and
//! losses from their maps.

#[cfg(test)]
use std::os::fd::BorrowedFd;
use std::os::fd::{AsFd, OwnedFd};

use mpp_parse::bpf_record::{
    self, BirthRecord, ExecRecord, ExitRecord, FreeRecord, Record, TaskKey, ThreadUsage,
};
use mpp_parse::proc_pid_io::Io;
use rustix::io::Errno;
use rustix::thread::{MembarrierCommand, membarrier};

use super::Programs;
use super::compiled::{HOOKS, PROGRAMS};
use super::ring::Ring;
use super::skeleton::{Failure, Loaded, Settings, Step};
use super::syscall::{self, Map};
use super::tasks;
use crate::sys;

/// `SETTING_*` of `bpf/record.h`.
const SETTING_CMDLINE: u32 = 1;
const SETTING_ENVIRONMENT: u32 = 2;
const SETTING_SPILL_ODD: u32 = 4;
const SETTING_DELAYS: u32 = 8;
/// Bytes of `struct record_key`, and numbers of `struct spill` and `struct losses`.
const KEY_BYTES: usize = 16;
const SPILL_NUMBERS: usize = 15;
const LOSSES: usize = 4;

/// A hook without which the others still work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    /// Without it nobody is known to have forked a process, and identity is not inherited.
    Fork,
    /// Without it no execs are told.
    Exec,
    /// Without it the last CPU time of auto-reaped processes is missing.
    Free,
    /// Without it links are read to find out whose sockets are whose. An iterator.
    Sockets,
}

impl Hook {
    /// All of them, in the order of the constants in `hooks.h` and `files.h`.
    const ALL: [Hook; 4] = [Hook::Fork, Hook::Exec, Hook::Free, Hook::Sockets];
    const AT_TRACEPOINTS: [Hook; 3] = [Hook::Fork, Hook::Exec, Hook::Free];

    /// What nobody tells without it, as the beginning of a sentence.
    pub(crate) fn what_is_missing(self) -> &'static str {
        match self {
            Hook::Fork => "nobody tells who forked whom",
            Hook::Exec => "nobody tells what short-lived processes executed",
            Hook::Free => "the last CPU time of processes that nobody waits for is not told",
            Hook::Sockets => "whose sockets are whose is found out by links in /proc",
        }
    }

    /// Whether these programs have it.
    fn is_among(self, programs: Programs) -> bool {
        programs == Programs::All || self != Hook::Sockets
    }

    pub(super) fn program(self) -> &'static str {
        match self {
            Hook::Fork => "remember_fork",
            Hook::Exec => "write_exec",
            Hook::Free => "write_free",
            Hook::Sockets => "write_socket",
        }
    }
}

/// Which texts are copied at an exec. Each costs time and room in the ring at every exec of
/// anybody on the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capture {
    /// The command line, at most 4 KiB of it.
    pub(crate) cmdline: bool,
    /// The environment, at most 16 KiB of it.
    pub(crate) environment: bool,
}

/// Something that has ended, or begun.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ExitEvent<'a> {
    /// A descendant was forked. It comes before anything else that is told of it here.
    Birth(BirthRecord),
    /// A thread.
    Exit(ExitRecord<'a>),
    /// The CPU time of an auto-reaped process is final.
    Free(FreeRecord<'a>),
}

/// What children of one parent did themselves, whose exit records found no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spill {
    /// The parent at their exit.
    pub(crate) parent: TaskKey,
    /// Threads that ended.
    pub(crate) count: u64,
    /// Their own I/O.
    pub(crate) io: Io,
    /// Their own CPU time, switches and faults.
    pub(crate) usage: ThreadUsage,
}

/// What was not told one by one, in total since the programs were loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Threads whose end found no room in the ring, but whose counters are in a [`Spill`].
    pub(crate) spilled: u64,
    /// Threads of whose end nothing is left.
    pub(crate) dropped: u64,
    /// Auto-reaped processes whose final CPU time found no room.
    pub(crate) tails_dropped: u64,
    /// Execs and births that found no room.
    pub(crate) execs_dropped: u64,
}

/// The hooks, for as long as this lives.
#[derive(Debug)]
pub(super) struct Hooks {
    exits: Ring,
    execs: Ring,
    settings: Map,
    counts: Map,
    /// The one that is filled by [`SETTING_SPILL_ODD`] not set, and the other.
    spills: [Map; 2],
    /// The bits in `settings`.
    bits: u32,
    /// How many spills there were when they were last taken.
    spills_seen: u64,
    /// Whether the spills that are not filled any more are still to be taken.
    is_closing: bool,
    missing: Vec<(Hook, Errno)>,
    /// Those of which a run that was left out is a loss.
    needed_programs: Vec<OwnedFd>,
    /// Programs run while these are open.
    links: Vec<OwnedFd>,
}

impl Hooks {
    /// Lets the programs run that were loaded.
    pub(super) fn attach(
        mut loaded: Loaded,
        mut missing: Vec<(Hook, Errno)>,
        programs: Programs,
    ) -> Result<Self, Failure> {
        let mut links = Vec::new();
        let mut needed_programs = Vec::new();
        for hook in Hook::AT_TRACEPOINTS {
            let program = loaded.program(hook.program())?;
            if missing.iter().any(|(known, _)| *known == hook) {
                continue;
            }
            match syscall::attach_to_tracepoint(program.as_fd()) {
                Ok(link) => links.push(link),
                // Of whom it does not remember nothing would be told.
                Err(errno) if hook == Hook::Fork && programs == Programs::Descendants => {
                    return Err(Failure { step: Step::Attach, errno });
                }
                Err(errno) => missing.push((hook, errno)),
            }
            if hook == Hook::Fork && programs == Programs::Descendants {
                needed_programs.push(program);
            }
        }
        // The last one: what it tells of, the others have seen begin.
        let exit_program = loaded.program("write_exit")?;
        let link = syscall::attach_to_tracepoint(exit_program.as_fd());
        links.push(link.map_err(Failure::at(Step::Attach))?);
        needed_programs.push(exit_program);
        let ring = |map| Ring::open(map).map_err(Failure::at(Step::Other));
        Ok(Hooks {
            exits: ring(loaded.map("exits")?)?,
            execs: ring(loaded.map("execs")?)?,
            settings: loaded.map("settings")?,
            counts: loaded.map("counts")?,
            spills: [loaded.map("spills_even")?, loaded.map("spills_odd")?],
            bits: 0,
            spills_seen: 0,
            is_closing: false,
            missing,
            needed_programs,
            links,
        })
    }

    /// Hooks that this kernel did not take, and why.
    pub(super) fn missing(&self) -> &[(Hook, Errno)] {
        &self.missing
    }

    /// Whether every link is still one.
    pub(super) fn are_attached(&self) -> Result<(), Errno> {
        self.links.iter().try_for_each(|link| syscall::is_link(link.as_fd()))
    }

    /// From now on copies these texts at each exec, and no others.
    pub(super) fn capture(&mut self, what: Capture) -> Result<(), Errno> {
        let mut bits = self.bits & (SETTING_SPILL_ODD | SETTING_DELAYS);
        if what.cmdline {
            bits |= SETTING_CMDLINE;
        }
        if what.environment {
            bits |= SETTING_ENVIRONMENT;
        }
        self.set(bits)
    }

    /// From now on the iterator tells with each thread for how long it has waited.
    pub(super) fn tell_delays(&mut self) -> Result<(), Errno> {
        match self.bits & SETTING_DELAYS {
            0 => self.set(self.bits | SETTING_DELAYS),
            _ => Ok(()),
        }
    }

    fn set(&mut self, bits: u32) -> Result<(), Errno> {
        self.settings.set(0, &bits.to_ne_bytes())?;
        self.bits = bits;
        Ok(())
    }

    /// Hands out and forgets everything that has ended, and each birth before the end that belongs
    /// to it.
    pub(super) fn drain_exits(&mut self, each: &mut dyn FnMut(ExitEvent<'_>)) -> Result<(), Errno> {
        let mut outcome = Ok(());
        self.exits.drain(|bytes| match bpf_record::parse(bytes) {
            Ok(Record::Exit(exit)) => each(ExitEvent::Exit(exit)),
            Ok(Record::Free(free)) => each(ExitEvent::Free(free)),
            Ok(Record::Birth(birth)) => each(ExitEvent::Birth(birth)),
            _ => outcome = Err(Errno::BADMSG),
        })?;
        outcome
    }

    /// Hands out and forgets every exec.
    pub(super) fn drain_execs(
        &mut self,
        each: &mut dyn FnMut(&ExecRecord<'_>),
    ) -> Result<(), Errno> {
        let mut outcome = Ok(());
        self.execs.drain(|bytes| match bpf_record::parse(bytes) {
            Ok(Record::Exec(exec)) => each(&exec),
            _ => outcome = Err(Errno::BADMSG),
        })?;
        outcome
    }

    /// Hands out and forgets what was added up for each parent.
    ///
    /// The programs are first sent to the other map; once those that had begun before have ended,
    /// nobody adds to this one any more and it can be emptied. Where the kernel cannot tell that
    /// they have ended, this waits for the next call.
    pub(super) fn take_spills(&mut self, each: &mut dyn FnMut(Spill)) -> Result<(), Errno> {
        if !self.is_closing {
            let spilled = self.read_losses()?.spilled;
            if spilled == self.spills_seen {
                return Ok(());
            }
            self.set(self.bits ^ SETTING_SPILL_ODD)?;
            self.is_closing = true;
            // Those that were spilled meanwhile are in either map: look again next time.
            self.spills_seen = spilled;
            if sys::retrying(|| membarrier(MembarrierCommand::Global)).is_err() {
                return Ok(());
            }
        }
        let [even, odd] = &self.spills;
        let closed = if self.bits & SETTING_SPILL_ODD == 0 { odd } else { even };
        let mut outcome = Ok(());
        closed.take_all(|key, value| match spill(key, value) {
            Some(spill) => each(spill),
            None => outcome = Err(Errno::BADMSG),
        })?;
        self.is_closing = false;
        outcome
    }

    /// What was lost since the programs were loaded.
    pub(super) fn lost(&self) -> Result<Lost, Errno> {
        let mut lost = self.read_losses()?;
        for program in &self.needed_programs {
            let misses = syscall::recursion_misses(program.as_fd())?;
            lost.dropped = lost.dropped.saturating_add(misses);
        }
        Ok(lost)
    }

    fn read_losses(&self) -> Result<Lost, Errno> {
        let mut bytes = [0; 8 * LOSSES];
        self.counts.read(0, &mut bytes)?;
        let [spilled, dropped, tails_dropped, execs_dropped] =
            numbers(&bytes).ok_or(Errno::BADMSG)?;
        Ok(Lost { spilled, dropped, tails_dropped, execs_dropped })
    }

    /// Whether the ring of exits should be drained before it overflows.
    #[cfg(test)]
    pub(super) fn is_exit_ring_half_full(&self) -> bool {
        self.exits.waiting_bytes() >= self.exits.size() / 2
    }

    /// What becomes ready when the ring of exits becomes half full.
    #[cfg(test)]
    pub(super) fn exit_ring(&self) -> BorrowedFd<'_> {
        self.exits.as_fd()
    }

    /// What keeps the hook at exits running: it was attached last.
    #[cfg(test)]
    pub(super) fn exit_link(&self) -> BorrowedFd<'_> {
        self.links.last().map_or(self.exits.as_fd(), AsFd::as_fd)
    }
}

/// How the programs are adapted to what a kernel takes.
#[derive(Clone, Copy, Debug)]
struct Adaptation {
    casts: Casts,
    survey: Survey,
    without: &'static [Hook],
}

/// How pointers are followed; see `untrusted()` in `bpf/kernel.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Casts {
    /// As the verifier is quick with.
    Taken,
    /// As every kernel takes it.
    Refused,
}

/// Whether there are the programs of `bpf/survey.h`, without which changes are told at their price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Survey {
    /// As Linux takes them since about 6.10.
    Taken,
    /// Emptied.
    Refused,
}

const AS_THEY_ARE: Adaptation =
    Adaptation { casts: Casts::Taken, survey: Survey::Taken, without: &[] };

/// What is tried where a kernel does not take the programs as they are, one after the other.
const ADAPTATIONS: [Adaptation; 7] = [
    Adaptation { survey: Survey::Refused, ..AS_THEY_ARE },
    as_old(&[]),
    as_old(&[Hook::Sockets]),
    as_old(&[Hook::Exec]),
    as_old(&[Hook::Fork]),
    as_old(&[Hook::Free]),
    as_old(&Hook::ALL),
];

/// As every kernel takes them, without these hooks.
const fn as_old(without: &'static [Hook]) -> Adaptation {
    Adaptation { casts: Casts::Refused, survey: Survey::Refused, without }
}

/// Loads the programs; where that fails, without the survey, then without casts, then without one hook, then without any.
/// Also returns the hooks that were left out, and why.
pub(super) fn load(
    programs: Programs,
    sizes: &[(&'static str, u32)],
) -> Result<(Loaded, Vec<(Hook, Errno)>), Failure> {
    let first = match load_adapted(programs, AS_THEY_ARE, sizes) {
        Ok(loaded) => return Ok((loaded, Vec::new())),
        Err(failure) => failure,
    };
    let is_verdict = first.step == Step::LoadPrograms && first.errno != Errno::PERM;
    if is_verdict {
        for how in ADAPTATIONS {
            if let Ok(loaded) = load_adapted(programs, how, sizes) {
                let missing = how.without.iter().filter(|hook| hook.is_among(programs));
                return Ok((loaded, missing.map(|hook| (*hook, first.errno)).collect()));
            }
        }
    }
    Err(first)
}

/// Loads the programs in one way.
fn load_adapted(
    programs: Programs,
    how: Adaptation,
    sizes: &[(&'static str, u32)],
) -> Result<Loaded, Failure> {
    let casts = u32::from(how.casts == Casts::Taken);
    let survey = u32::from(how.survey == Survey::Taken);
    let [fork, exec, free, files] = Hook::ALL.map(|hook| u32::from(!how.without.contains(&hook)));
    // In the order of their definition in the sources.
    match programs {
        Programs::All => {
            let cpus = tasks::possible_cpus().map_err(Failure::at(Step::Other))?;
            PROGRAMS.load(Settings {
                constants: &[casts, cpus, survey, fork, exec, free, files],
                sizes,
            })
        }
        Programs::Descendants => {
            // Without the hook nobody knows whose descendants are ours, and all are told of.
            let root = fork * std::process::id();
            HOOKS.load(Settings { constants: &[casts, root, fork, exec, free], sizes })
        }
    }
}

/// Numbers one after the other, as the programs leave them in maps.
fn numbers<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let numbers: &[[u8; 8]; N] = chunks.try_into().ok().filter(|_| rest.is_empty())?;
    Some(numbers.map(u64::from_ne_bytes))
}

fn spill(key: &[u8], value: &[u8]) -> Option<Spill> {
    let key: &[u8; KEY_BYTES] = key.try_into().ok()?;
    let id = u32::from_ne_bytes(*key.first_chunk()?);
    let parent = TaskKey { id, start_ns: u64::from_ne_bytes(*key.last_chunk()?) };
    let [count, io @ .., a, b, c, d, e, f, g] = numbers::<SPILL_NUMBERS>(value)?;
    let [rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled_write_bytes] = io;
    let io = Io { rchar, wchar, syscr, syscw, read_bytes, write_bytes, cancelled_write_bytes };
    let usage = ThreadUsage {
        utime_ns: a,
        stime_ns: b,
        runtime_ns: c,
        nvcsw: d,
        nivcsw: e,
        min_flt: f,
        maj_flt: g,
    };
    Some(Spill { parent, count, io, usage })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::{Bpf, BpfOptions};

    /// A kernel that takes the programs takes them in any of their forms; the first one is not
    /// there in vain.
    #[test]
    fn a_kernel_takes_the_programs_in_every_form() {
        if let Err(refusal) = Bpf::open(&BpfOptions::default()) {
            println!("not measured here: {refusal}");
            return;
        }
        for programs in [Programs::All, Programs::Descendants] {
            for how in ADAPTATIONS.into_iter().chain([AS_THEY_ARE]) {
                let loaded = load_adapted(programs, how, &[("exits", 4096), ("execs", 4096)]);
                assert!(loaded.is_ok(), "{programs:?}, {how:?}: {:?}", loaded.err());
            }
        }
    }
}
