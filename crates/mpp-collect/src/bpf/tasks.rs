//! Every thread of the machine, by the iterator of `bpf/tasks.h`.
//!
//! Whoever remembers what was told in the reading before is told in a few bytes that a process has
//! not run since: `bpf/still.h`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use mpp_parse::bpf_record::{self, Record, TaskKey, TaskRecord};
use mpp_parse::bpf_socket_record::SocketRecord;
use rustix::fs::CWD;
use rustix::io::Errno;

use super::skeleton::{Failure, Loaded, Step};
use super::survey::{self, Survey};
use super::syscall::{self, Map};
use crate::proc_fs::{FileError, Room};
use crate::sys;

/// The kernel hands out at most 32 KiB at a time; a record that was cut needs room, too. A survey
/// needs less.
const BUFFER: usize = 40 << 10;
const _: () = assert!(BUFFER >= survey::ROOM);
/// The numbers of all CPUs that there may ever be, `0-63`.
const POSSIBLE_CPUS: &std::ffi::CStr = c"/sys/devices/system/cpu/possible";

/// What is told of the living.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Living<'a> {
    /// A thread.
    Task(TaskRecord<'a>),
    /// A process of which no thread has run since the reading before; of its threads none is told.
    Still(TaskKey),
}

/// What becomes of that which was told in the reading before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Former {
    /// Whoever is told remembers it.
    Remembered,
    /// All is to be told anew.
    Forgotten,
}

/// The iterator, for as long as this lives.
#[derive(Debug)]
pub(super) struct Tasks {
    program: OwnedFd,
    link: OwnedFd,
    /// What tells of changes for less; `None` where the kernel does not take it.
    survey: Option<Box<Survey>>,
    /// Where the program finds the number of the reading.
    rounds: Map,
    /// That of the last reading of changes; 1 before the first, since what was never told says 0.
    round: u32,
    buffer: Vec<u8>,
}

impl Tasks {
    /// Takes the program out of what was loaded.
    pub(super) fn attach(loaded: &mut Loaded) -> Result<Self, Failure> {
        let program = loaded.program("write_task")?;
        let link = syscall::link_iterator(program.as_fd()).map_err(Failure::at(Step::Attach))?;
        Ok(Tasks {
            program,
            link,
            survey: Some(Box::new(Survey::attach(loaded)?)),
            rounds: loaded.map("rounds")?,
            round: 1,
            buffer: vec![0; BUFFER],
        })
    }

    /// What is asked for the living.
    #[cfg(test)]
    pub(super) fn link(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    /// What goes along all processes.
    #[cfg(test)]
    pub(super) fn surveyor(&self) -> Option<BorrowedFd<'_>> {
        self.survey.as_ref().map(|survey| survey.surveyor())
    }

    /// From now on asks the iterator for changes, too, as where no survey is taken.
    #[cfg(test)]
    pub(super) fn forgo_survey(&mut self) {
        self.survey = None;
        self.skip_round();
    }

    /// Hands out every thread, those of a process after their leader.
    ///
    /// # Errors
    /// ENOMEM and the like; EBADMSG where the program's records are not what they should be.
    /// Threads that were handed out until then are right.
    pub(super) fn read(&mut self, each: &mut dyn FnMut(&TaskRecord<'_>)) -> Result<(), Errno> {
        let mut is_whole = true;
        iterate(self.link.as_fd(), &mut self.buffer, &mut |living| match living {
            Living::Task(task) => each(&task),
            Living::Still(_) => is_whole = false,
        })?;
        if is_whole { Ok(()) } else { Err(Errno::BADMSG) }
    }

    /// As [`Tasks::read`], but of processes that stood still only that, and that only if the
    /// reading of changes before this one succeeded.
    ///
    /// # Errors
    /// As there.
    pub(super) fn read_changes(
        &mut self,
        former: Former,
        each: &mut dyn FnMut(Living<'_>),
    ) -> Result<(), Errno> {
        if former == Former::Forgotten {
            self.skip_round();
        }
        let outcome = match self.survey() {
            Surveyed::All(mut survey) => {
                let outcome = survey.tell(self.program.as_fd(), &mut self.buffer, each);
                self.survey = Some(survey);
                outcome
            }
            Surveyed::Nobody => {
                self.in_round(|tasks| iterate(tasks.link.as_fd(), &mut tasks.buffer, each))
            }
        };
        if outcome.is_err() {
            self.skip_round();
            self.survey.iter_mut().for_each(|survey| survey.forget());
        }
        outcome
    }

    /// Whoever stood still in the last reading of changes, ascending; nobody where that failed,
    /// or was not told by a survey.
    pub(super) fn still(&self) -> impl Iterator<Item = u32> {
        self.survey.iter().flat_map(|survey| survey.still())
    }

    /// Hands out the sockets of these processes, in the room of the tasks. Returns `false` where
    /// this kernel did not take the program.
    ///
    /// # Errors
    /// As [`Survey::tell_sockets`].
    pub(super) fn read_sockets(
        &mut self,
        pids: &mut dyn Iterator<Item = u32>,
        until: Instant,
        each: &mut dyn FnMut(&SocketRecord),
    ) -> Result<bool, Errno> {
        let Some(survey) = &mut self.survey else { return Ok(false) };
        survey.tell_sockets(pids, until, &mut self.buffer, each).map(|()| true)
    }

    /// Goes along all processes, where that can be done. Where it failed half-way, all is to be
    /// told anew: who was met stands remembered as somebody who was told.
    fn survey(&mut self) -> Surveyed {
        let Some(mut survey) = self.survey.take() else { return Surveyed::Nobody };
        match self.in_round(|tasks| survey.go_along(&mut tasks.buffer)) {
            Ok(()) => return Surveyed::All(survey),
            Err(Errno::SRCH | Errno::OPNOTSUPP) => {
                survey.forget();
                self.survey = Some(survey);
            }
            // It is not taken here, or not any more.
            Err(_) => {}
        }
        self.skip_round();
        Surveyed::Nobody
    }

    /// Does something as the next reading.
    fn in_round(&mut self, read: impl FnOnce(&mut Self) -> Result<(), Errno>) -> Result<(), Errno> {
        self.skip_round();
        self.rounds.set(0, &self.round.to_ne_bytes())?;
        let outcome = read(self);
        // Whoever else reads is to leave no trace.
        outcome.and(self.rounds.set(0, &0_u32.to_ne_bytes()))
    }

    /// What was kept in the round before is of no use in the one after the next.
    fn skip_round(&mut self) {
        self.round = self.round.checked_add(1).unwrap_or(1);
    }
}

/// What became of a survey.
enum Surveyed {
    /// Everybody was met.
    All(Box<Survey>),
    /// The iterator is to be asked.
    Nobody,
}

/// Hands out what an iterator tells.
pub(super) fn iterate(
    link: BorrowedFd<'_>,
    buffer: &mut [u8],
    each: &mut dyn FnMut(Living<'_>),
) -> Result<(), Errno> {
    let iteration = syscall::begin_iteration(link)?;
    let mut kept = 0;
    loop {
        let room = buffer.get_mut(kept..).unwrap_or_default();
        let count = sys::retrying(|| rustix::io::read(&iteration, &mut *room))?;
        if count == 0 {
            return if kept == 0 { Ok(()) } else { Err(Errno::BADMSG) };
        }
        let filled = kept + count;
        let rest = records(buffer.get(..filled).unwrap_or_default(), each)?;
        buffer.copy_within(filled - rest..filled, 0);
        kept = rest;
    }
}

/// Hands out every whole record; returns how many bytes of another one are left.
pub(super) fn records(bytes: &[u8], each: &mut dyn FnMut(Living<'_>)) -> Result<usize, Errno> {
    let mut rest = bytes;
    loop {
        match bpf_record::split_first(rest) {
            Ok(Some((Record::Task(task), behind))) => {
                each(Living::Task(task));
                rest = behind;
            }
            Ok(Some((Record::Still(process), behind))) => {
                each(Living::Still(process));
                rest = behind;
            }
            Ok(None) => return Ok(rest.len()),
            _ => return Err(Errno::BADMSG),
        }
    }
}

/// How many CPUs there may ever be, counting from 0 without gaps.
pub(super) fn possible_cpus() -> Result<u32, Errno> {
    let mut room = Room::default();
    let text = room.read(CWD, POSSIBLE_CPUS).map_err(|error| match error {
        FileError::System(errno) => errno,
        FileError::TooLarge => Errno::TOOBIG,
    })?;
    count_of(text).ok_or(Errno::BADMSG)
}

/// One more than the last number of a list.
fn count_of(list: &[u8]) -> Option<u32> {
    let last = list.trim_ascii().rsplit(|byte| !byte.is_ascii_digit()).next()?;
    std::str::from_utf8(last).ok()?.parse::<u32>().ok()?.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::count_of;

    #[test]
    fn cpus_are_counted_to_the_last_one() {
        assert_eq!(count_of(b"0\n"), Some(1));
        assert_eq!(count_of(b"0-1\n"), Some(2));
        assert_eq!(count_of(b"0-3,8-127\n"), Some(128));
        assert_eq!(count_of(b"\n"), None);
        assert_eq!(count_of(b"0-4294967295\n"), None);
    }
}
