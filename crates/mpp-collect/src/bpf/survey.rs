//! Every process in two steps, by the programs of `bpf/survey.h`: who stands still, and then what
//! there is to tell of the others.
//!
//! It tells what the iterator tells of changes, in the same records and the same order, for less.
//! So does the program of `bpf/sockets.h` of the sockets of those that are asked for.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use mpp_accounting::slack::{self, Slack};
use mpp_parse::bpf_record::TaskKey;
use mpp_parse::bpf_socket_record::{self, SocketRecord};
use rustix::io::Errno;

use super::skeleton::{Failure, Loaded};
use super::syscall::{self, Map};
use super::tasks::{Living, iterate, records};

/// `MET_MAX`, `ASKED_MAX` and `TOLD_BYTES` of `bpf/survey.h`.
const MET_MAX: usize = 1024;
const ASKED_MAX: usize = 256;
const TOLD_BYTES: usize = 32 << 10;
/// Bytes of `struct told`: two numbers lead in what is told.
pub(super) const ROOM: usize = 8 + TOLD_BYTES;
/// Bytes of `struct met`.
const MET_BYTES: usize = 16;
/// `STAND_STILL` of `bpf/still.h`.
const STILL: u32 = 3;
/// No kernel has more processes.
const PROCESSES_MAX: usize = 1 << 22;

/// The programs, and what they leave.
#[derive(Debug)]
pub(super) struct Survey {
    surveyor: OwnedFd,
    teller: OwnedFd,
    socket_teller: OwnedFd,
    met: Map,
    asked: Map,
    told: Map,
    /// Those of this reading, then ascending.
    processes: Vec<Met>,
    slack: Slack,
    asks: Vec<u8>,
}

/// A process in the kernel's list of all, in as few bytes as the kernel needs for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Met {
    pid: u32,
    stand: u32,
    start_ns: u64,
}

/// Those told after one another, and between them those of whom nothing is to be told.
struct Order<'a, I: Iterator<Item = Met>> {
    still: std::iter::Peekable<I>,
    each: &'a mut dyn FnMut(Living<'_>),
}

impl Survey {
    /// Takes the programs out of what was loaded.
    pub(super) fn attach(loaded: &mut Loaded) -> Result<Self, Failure> {
        Ok(Survey {
            surveyor: loaded.program("survey_processes")?,
            teller: loaded.program("tell_asked")?,
            socket_teller: loaded.program("tell_sockets")?,
            met: loaded.map("met")?,
            asked: loaded.map("asked")?,
            told: loaded.map("told")?,
            processes: Vec::new(),
            slack: Slack::default(),
            asks: vec![0; ASKED_MAX * MET_BYTES],
        })
    }

    /// What goes along all processes.
    #[cfg(test)]
    pub(super) fn surveyor(&self) -> BorrowedFd<'_> {
        self.surveyor.as_fd()
    }

    /// Goes along all processes, and remembers how each stands.
    ///
    /// # Errors
    /// EPERM where the kernel did not take the programs; ESRCH where a process ended behind which
    /// the survey was to go on; EOPNOTSUPP while waits are to be told.
    pub(super) fn go_along(&mut self, room: &mut [u8]) -> Result<(), Errno> {
        self.slack.give_back(&mut self.processes);
        self.processes.clear();
        let mut last = 0;
        while self.processes.len() < PROCESSES_MAX {
            let mut context = [last, 0];
            run(self.surveyor.as_fd(), &mut context)?;
            let [behind, count] = context;
            let mets = room.get_mut(..MET_MAX * MET_BYTES).ok_or(Errno::INVAL)?;
            self.met.read(0, mets)?;
            let count = usize::try_from(count).map_err(|_| Errno::BADMSG)?;
            slack::make_room(&mut self.processes, count);
            let mets = mets.as_chunks().0.iter().take(count);
            self.processes.extend(mets.map(Met::of));
            if behind == 0 {
                self.put_in_order();
                return Ok(());
            }
            last = behind;
        }
        Err(Errno::OVERFLOW)
    }

    /// Whoever stood still when all were met, ascending.
    pub(super) fn still(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().filter(|met| met.is_still()).map(|met| met.pid)
    }

    /// Who was met is of no use any more.
    pub(super) fn forget(&mut self) {
        self.processes.clear();
    }

    /// Of two with one ID the first one ended meanwhile; it is told of once more, as somebody
    /// whom an iterator met just before its end.
    fn put_in_order(&mut self) {
        if !self.processes.is_sorted_by_key(|met| met.pid) {
            self.processes.sort_by_key(|met| met.pid);
        }
        self.processes.dedup_by_key(|met| met.pid);
    }

    /// Hands out each of these processes, as far as it has descriptors, and behind it each of its
    /// sockets. One that is told with another start has ended half-way.
    ///
    /// # Errors
    /// ETIMEDOUT where it is not done at `until`; what bpf(2) says; EBADMSG where a record was
    /// cut. The last process's sockets may not be all then.
    pub(super) fn tell_sockets(
        &mut self,
        pids: &mut dyn Iterator<Item = u32>,
        until: Instant,
        room: &mut [u8],
        each: &mut dyn FnMut(&SocketRecord),
    ) -> Result<(), Errno> {
        let mut holders = pids.map(Met::whose_sockets);
        loop {
            let count = fill(&mut self.asks, &mut holders);
            if count == 0 {
                return Ok(());
            }
            self.asked.set(0, &self.asks)?;
            let mut next = 0;
            while next < count {
                if Instant::now() >= until {
                    return Err(Errno::TIMEDOUT);
                }
                run(self.socket_teller.as_fd(), &mut [count, next, 0, 0])?;
                let bytes = room.get_mut(..ROOM).ok_or(Errno::INVAL)?;
                self.told.read(0, bytes)?;
                let (reached, mut told) = told_in(bytes).ok_or(Errno::BADMSG)?;
                while let Some((record, behind)) = bpf_socket_record::split_first(told) {
                    each(&record);
                    told = behind;
                }
                if !told.is_empty() {
                    return Err(Errno::BADMSG);
                }
                next = reached;
            }
        }
    }

    /// Tells of all that were met, ascending. `iterator` is the program that tells of those with
    /// more threads than are told here.
    ///
    /// # Errors
    /// What bpf(2) says; EBADMSG where a record is not what it should be.
    pub(super) fn tell(
        &mut self,
        iterator: BorrowedFd<'_>,
        room: &mut [u8],
        each: &mut dyn FnMut(Living<'_>),
    ) -> Result<(), Errno> {
        let Survey { teller, asked, told, processes, asks, .. } = self;
        let still = processes.iter().copied().filter(Met::is_still).peekable();
        let mut others = processes.iter().copied().filter(|met| !met.is_still());
        let mut order = Order { still, each };
        loop {
            let count = fill(asks, &mut others);
            if count == 0 {
                order.finish();
                return Ok(());
            }
            asked.set(0, asks)?;
            let mut next = 0;
            while next < count {
                let mut context = [count, next, 0, 0];
                run(teller.as_fd(), &mut context)?;
                let [_, _, is_crowd, _] = context;
                let reached = take_told(told, room, &mut |living| order.take(living))?;
                if is_crowd != 0 {
                    let pid = asked_at(asks, reached).ok_or(Errno::BADMSG)?;
                    tell_crowd(iterator, pid, room, &mut |living| order.take(living))?;
                }
                let reached = reached.saturating_add(is_crowd);
                if reached <= next {
                    return Err(Errno::BADMSG);
                }
                next = reached;
            }
        }
    }
}

/// Hands out what was told in one run; returns how many of those asked for are done with.
fn take_told(told: &Map, room: &mut [u8], each: &mut dyn FnMut(Living<'_>)) -> Result<u32, Errno> {
    let bytes = room.get_mut(..ROOM).ok_or(Errno::INVAL)?;
    told.read(0, bytes)?;
    let (reached, told) = told_in(bytes).ok_or(Errno::BADMSG)?;
    if records(told, each)? == 0 { Ok(reached) } else { Err(Errno::BADMSG) }
}

/// Tells of a process with many threads, unless it has ended.
fn tell_crowd(
    iterator: BorrowedFd<'_>,
    pid: u32,
    room: &mut [u8],
    each: &mut dyn FnMut(Living<'_>),
) -> Result<(), Errno> {
    match syscall::link_iterator_of(iterator, pid) {
        Ok(link) => iterate(link.as_fd(), room, each),
        Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Runs one of the programs; an error that it returns is one.
fn run<const N: usize>(program: BorrowedFd<'_>, numbers: &mut [u32; N]) -> Result<(), Errno> {
    let mut context: Vec<u8> = numbers.iter().flat_map(|number| number.to_ne_bytes()).collect();
    let returned = syscall::run(program, &mut context)?;
    if returned < 0 {
        return Err(Errno::from_raw_os_error(returned.saturating_neg()));
    }
    for (number, bytes) in numbers.iter_mut().zip(context.as_chunks().0) {
        *number = u32::from_ne_bytes(*bytes);
    }
    Ok(())
}

/// Writes down whom to ask for next; returns how many.
fn fill(asks: &mut [u8], others: &mut impl Iterator<Item = Met>) -> u32 {
    let mut count = 0;
    for (place, met) in asks.as_chunks_mut().0.iter_mut().zip(others) {
        *place = met.bytes();
        count += 1;
    }
    count
}

/// How many of those asked for are done with, and what was told of them.
fn told_in(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (lead, bytes) = bytes.split_first_chunk::<8>()?;
    let [a, b, c, d, next @ ..] = *lead;
    let filled = usize::try_from(u32::from_ne_bytes([a, b, c, d])).ok()?;
    Some((u32::from_ne_bytes(next), bytes.get(..filled)?))
}

fn asked_at(asks: &[u8], position: u32) -> Option<u32> {
    let place = usize::try_from(position).ok()?.checked_mul(MET_BYTES)?;
    asks.get(place..)?.first_chunk().map(|id| u32::from_ne_bytes(*id))
}

impl Met {
    /// As `struct met` has it.
    fn of(bytes: &[u8; MET_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, start @ ..] = *bytes;
        Met {
            pid: u32::from_ne_bytes([a, b, c, d]),
            stand: u32::from_ne_bytes([e, f, g, h]),
            start_ns: u64::from_ne_bytes(start),
        }
    }

    /// Somebody whose sockets are asked for, from the first descriptor on.
    fn whose_sockets(pid: u32) -> Self {
        Met { pid, stand: 0, start_ns: 0 }
    }

    /// As [`Met::of`] reads it.
    fn bytes(&self) -> [u8; MET_BYTES] {
        let [a, b, c, d] = self.pid.to_ne_bytes();
        let [e, f, g, h] = self.stand.to_ne_bytes();
        let [i, j, k, l, m, n, o, p] = self.start_ns.to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    fn process(&self) -> TaskKey {
        TaskKey { id: self.pid, start_ns: self.start_ns }
    }

    fn is_still(&self) -> bool {
        self.stand == STILL
    }
}

impl<I: Iterator<Item = Met>> Order<'_, I> {
    /// Before a process those come that stand still and have smaller IDs.
    fn take(&mut self, living: Living<'_>) {
        let leader = match &living {
            Living::Still(process) => Some(process.id),
            Living::Task(task) => task.process().map(|_| task.tgid()),
        };
        if let Some(leader) = leader {
            while let Some(met) = self.still.next_if(|met| met.pid < leader) {
                (self.each)(Living::Still(met.process()));
            }
        }
        (self.each)(living);
    }

    fn finish(self) {
        for met in self.still {
            (self.each)(Living::Still(met.process()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpp_parse::bpf_record::{Record, VERSION, split_first};

    /// Bytes of a record of one that stood still, as the programs write it.
    fn told_still(pid: u32) -> Vec<u8> {
        let header = [5, VERSION].map(u16::to_ne_bytes).concat();
        let numbers = [24, pid, 0].map(u32::to_ne_bytes).concat();
        [header, numbers, u64::from(pid).to_ne_bytes().to_vec()].concat()
    }

    /// Each by its ID and how it stands.
    fn survey_of(met: &[(u32, u32)]) -> Vec<Met> {
        let met = met.iter();
        met.map(|&(pid, stand)| Met { pid, stand, start_ns: u64::from(pid) }).collect()
    }

    #[test]
    fn those_that_stand_still_come_between_the_others() {
        fn check(still: &[u32], told: &[u32], expected: &[u32]) {
            let still: Vec<_> = still.iter().map(|pid| (*pid, STILL)).collect();
            let mut found = Vec::new();
            let mut each = |living: Living<'_>| match living {
                Living::Still(process) => found.push(process.id),
                Living::Task(task) => panic!("{task:?}"),
            };
            let still = survey_of(&still).into_iter().peekable();
            let mut order = Order { still, each: &mut each };
            for pid in told {
                let bytes = told_still(*pid);
                let record = split_first(&bytes).unwrap().unwrap().0;
                let Record::Still(process) = record else { panic!("{record:?}") };
                order.take(Living::Still(process));
            }
            order.finish();
            assert_eq!(found, expected);
        }
        check(&[], &[], &[]);
        check(&[1, 2], &[], &[1, 2]);
        check(&[], &[1, 2], &[1, 2]);
        check(&[1, 4, 9], &[2, 3, 12], &[1, 2, 3, 4, 9, 12]);
        check(&[5], &[2, 9], &[2, 5, 9]);
    }

    #[test]
    fn who_is_asked_for_next_are_those_that_do_not_stand_still() {
        let met = survey_of(&[(1, 0), (2, STILL), (3, 2)]);
        let mut others = met.into_iter().filter(|met| !met.is_still());
        let mut asks = vec![0xff; 3 * MET_BYTES];
        assert_eq!(fill(&mut asks, &mut others), 2);
        assert_eq!([asked_at(&asks, 0), asked_at(&asks, 1)], [Some(1), Some(3)]);
        assert_eq!(asked_at(&asks, 3), None);
        assert_eq!(fill(&mut asks, &mut others), 0);
    }

    #[test]
    fn sockets_are_asked_for_from_the_first_descriptor_on() {
        let mut asks = vec![0xff; 3 * MET_BYTES];
        let mut holders = [7, 9].into_iter().map(Met::whose_sockets);
        assert_eq!(fill(&mut asks, &mut holders), 2);
        assert_eq!([asked_at(&asks, 0), asked_at(&asks, 1)], [Some(7), Some(9)]);
        assert_eq!([&asks[4..8], &asks[20..24]], [[0; 4]; 2]);
        assert_eq!(fill(&mut asks, &mut holders), 0);
    }

    #[test]
    fn nobody_is_left_out_where_all_room_is_taken() {
        let all: Vec<_> = (1..=600).map(|pid| (pid, 1)).collect();
        let met = survey_of(&all);
        let mut others = met.into_iter();
        let mut asks = vec![0; ASKED_MAX * MET_BYTES];
        let (mut count, mut found) = (1, Vec::new());
        while count > 0 {
            count = fill(&mut asks, &mut others);
            found.extend((0..count).filter_map(|position| asked_at(&asks, position)));
        }
        assert_eq!(found, (1..=600).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_told_is_as_long_as_is_said_and_no_longer() {
        fn check(next: u32, filled: u32, expected: Option<(u32, &[u8])>) {
            let bytes = [&filled.to_ne_bytes()[..], &next.to_ne_bytes(), &[7, 8, 9]].concat();
            assert_eq!(told_in(&bytes), expected);
        }
        check(3, 2, Some((3, &[7, 8])));
        check(0, 0, Some((0, &[])));
        check(1, 4, None);
        assert_eq!(told_in(&[0; 7]), None);
    }
}
