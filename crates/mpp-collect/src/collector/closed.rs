//! Processes whose I/O may not be read, and of whose threads the kernel tells all the same.
//!
//! `io` of another user's process takes `CAP_SYS_PTRACE`. Whoever may hear of ended threads may
//! also ask for those that live, whosever they are, and is told of each what it did itself, rounded
//! as in a record. What ended threads did before, and what came with children, nobody tells: the
//! total stays absent. They are asked for when all others have been read, many with one system
//! call.
//!
//! The trap is a thread ID that has passed on since it was listed. The answer names its process,
//! and says how long the thread has lived: one that is younger than the reading of its process is
//! left to the next sweep. The live tests are in `mpp-load/tests/live_closed.rs`.

use mpp_accounting::process::{
    Absence, ProcessIo, ProcessKey, ProcessSample, Reading, ThreadIo, ThreadKey, ThreadList,
    ThreadView,
};
use mpp_accounting::units::IoTotals;
use mpp_parse::proc_pid_stat;

use super::Collector;
use super::ends::sample_of;
use crate::measure::{Buffers, Phase, Subject, Vanished};
use crate::origin::Origin;
use crate::proc_fs::{FileError, Name};
use crate::taskstats::ThreadAccount;

/// Whose threads are asked for, and which. Kept from sweep to sweep for its room.
#[derive(Debug, Default)]
pub(super) struct Closed {
    processes: Vec<ClosedProcess>,
    /// Of one process after the other.
    tids: Vec<u32>,
    answers: Vec<Result<ThreadAccount, Absence>>,
}

/// One process, and how many of the threads are its.
#[derive(Clone, Copy, Debug)]
struct ClosedProcess {
    key: ProcessKey,
    threads: usize,
    has_leader_exited: bool,
}

/// Whether a process of the sweep is to be told by its threads.
pub(super) fn is_told_by_threads(io: &ProcessIo) -> bool {
    io.threads.absence() == Some(Absence::NeedsRecords)
}

impl Closed {
    /// Nobody yet, with the room of the sweep before.
    pub(super) fn begin(&mut self) {
        self.processes.clear();
        self.tids.clear();
        self.answers.clear();
    }

    /// Puts the threads of a process on the list; none where they cannot be listed.
    pub(super) fn enter(
        &mut self,
        key: ProcessKey,
        subject: &Subject<'_>,
        buffers: &mut Buffers,
    ) -> Result<(), Vanished> {
        let threads = match subject.list_tids(subject.stat.num_threads, buffers) {
            Ok(()) => buffers.tids.len(),
            Err(Absence::Vanished) => return Err(Vanished),
            Err(_) => 0,
        };
        self.tids.extend(buffers.tids.iter().take(threads));
        let has_leader_exited = subject.phase != Phase::Living;
        self.processes.push(ClosedProcess { key, threads, has_leader_exited });
        Ok(())
    }
}

impl Collector {
    /// Asks the kernel for the threads of processes whose I/O may not be read. Those that have
    /// ended meanwhile are left out: their records tell of them.
    pub(super) fn ask_closed(&mut self, samples: &mut [ProcessSample]) {
        let Collector { closed, witness, origin, known, buffers, .. } = self;
        let Closed { processes, tids, answers } = closed;
        if processes.is_empty() {
            return;
        }
        let asked_at = origin.since_boot();
        witness.ask_threads(tids, &mut |account| answers.push(account.copied()));
        let mut begin = 0;
        for process in &*processes {
            let end = begin + process.threads;
            let told = tids.get(begin..end).zip(answers.get(begin..end));
            begin = end;
            let Some(sample) = sample_of(samples, process.key) else { continue };
            let Some(known) = known.get_mut(process.key.pid) else { continue };
            let known_threads = known.threads().unwrap_or_default();
            let age_ns = asked_at.since(sample.read_at).as_nanos();
            let mut reader = ThreadReader { process, known_threads, age_ns, origin, buffers };
            sample.io.threads = match told {
                Some((tids @ [_, ..], answers)) => reader.threads(tids, answers),
                _ => Reading::Absent(Absence::Denied),
            };
            let threads = sample.io.threads.value().cloned();
            known.note_threads(threads.map(|threads| (IoTotals::ZERO, threads)));
        }
    }
}

/// Makes a list of threads of what was told of them.
struct ThreadReader<'a> {
    process: &'a ClosedProcess,
    /// What its threads had done at the last reading.
    known_threads: ThreadView<'a>,
    /// For how long they have been listed, in nanoseconds.
    age_ns: u128,
    origin: &'a Origin,
    buffers: &'a mut Buffers,
}

impl ThreadReader<'_> {
    fn threads(
        &mut self,
        tids: &[u32],
        answers: &[Result<ThreadAccount, Absence>],
    ) -> Reading<ThreadList> {
        let mut threads = Vec::new();
        for (tid, answer) in tids.iter().zip(answers) {
            match answer.and_then(|account| self.thread(*tid, &account)) {
                Ok(thread) => threads.push(thread),
                Err(Absence::Vanished) => {}
                Err(why) => return Reading::Absent(why),
            }
        }
        threads.sort_unstable_by_key(|thread| thread.key);
        Reading::Value(ThreadList::listed(&threads))
    }

    fn thread(&mut self, tid: u32, account: &ThreadAccount) -> Result<ThreadIo, Absence> {
        let ClosedProcess { key, has_leader_exited, .. } = *self.process;
        // Told in whole microseconds.
        let lived_ns = u128::from(account.elapsed_us).saturating_add(1) * 1000;
        let is_another = account.tgid.is_some_and(|tgid| tgid != key.pid);
        if is_another || lived_ns < self.age_ns {
            return Err(Absence::Vanished);
        }
        let total = account.io.totals();
        let start_time_ticks = self.start_of(tid, total)?;
        Ok(ThreadIo {
            key: ThreadKey { tid, start_time_ticks },
            total,
            has_exited: tid == key.pid && has_leader_exited,
        })
    }

    /// As [`IoReader`](crate::measure::IoReader) finds it.
    fn start_of(&mut self, tid: u32, total: IoTotals) -> Result<u64, Absence> {
        let key = self.process.key;
        if tid == key.pid {
            return Ok(key.start_time_ticks);
        }
        let known = self.known_threads.iter().find(|known| known.key.tid == tid);
        if let Some(known) = known.filter(|known| total.since(known.total).is_some()) {
            return Ok(known.key.start_time_ticks);
        }
        let name = Name::in_thread_of(key.pid, tid, "stat");
        let text = self.buffers.room.read_lines(&self.origin.root, name.as_c_str(), 1);
        let stat = proc_pid_stat::parse(text.map_err(FileError::absence)?);
        stat.map(|stat| stat.start_time_ticks).map_err(|_| Absence::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proc_fs::Room;
    use crate::taskstats::ThreadIo as ToldIo;

    /// Asked for its threads, which were listed a second ago, a process of this PID has those that
    /// bear it since, and no others.
    #[test]
    fn a_thread_id_that_has_passed_on_is_left_to_the_next_sweep() {
        let origin = Origin::open("/proc".as_ref(), &mut Room::default()).unwrap();
        let own = std::process::id();
        let process = ClosedProcess {
            key: ProcessKey { pid: own, start_time_ticks: 7 },
            threads: 1,
            has_leader_exited: false,
        };
        let check = |tgid, elapsed_us, expected: &[u32]| {
            let io = ToldIo {
                read_char_bytes: 1024,
                write_char_bytes: 0,
                read_bytes: 0,
                write_bytes: 0,
                cancelled_write_bytes: 0,
            };
            let mut reader = ThreadReader {
                process: &process,
                known_threads: ThreadView::default(),
                age_ns: 1_000_000_000,
                origin: &origin,
                buffers: &mut Buffers::new(),
            };
            let threads = reader.threads(&[own], &[Ok(ThreadAccount { tgid, elapsed_us, io })]);
            let threads = threads.value().and_then(ThreadList::written_out).unwrap();
            let found: Vec<u32> = threads.iter().map(|thread| thread.key.tid).collect();
            assert_eq!(found, expected, "{tgid:?} {elapsed_us}");
        };
        check(Some(own), 2_000_000, &[own]);
        check(Some(own), 1_000_000, &[own]);
        check(Some(own), 999_998, &[]);
        check(Some(own + 1), 2_000_000, &[]);
        // An older kernel does not say whose it is.
        check(None, 2_000_000, &[own]);
        check(None, 999_998, &[]);
    }

    #[test]
    fn a_process_of_whose_threads_one_is_refused_is_not_known_by_the_others() {
        let origin = Origin::open("/proc".as_ref(), &mut Room::default()).unwrap();
        let process = ClosedProcess {
            key: ProcessKey { pid: 1, start_time_ticks: 7 },
            threads: 2,
            has_leader_exited: false,
        };
        let check = |answers: [Absence; 2], expected: Result<usize, Absence>| {
            let mut reader = ThreadReader {
                process: &process,
                known_threads: ThreadView::default(),
                age_ns: 0,
                origin: &origin,
                buffers: &mut Buffers::new(),
            };
            let threads = reader.threads(&[1, 2], &answers.map(Err));
            let found = match threads {
                Reading::Value(list) => Ok(list.written_out().unwrap().len()),
                Reading::Absent(why) => Err(why),
            };
            assert_eq!(found, expected);
        };
        check([Absence::Vanished, Absence::Vanished], Ok(0));
        check([Absence::Vanished, Absence::Denied], Err(Absence::Denied));
    }
}
