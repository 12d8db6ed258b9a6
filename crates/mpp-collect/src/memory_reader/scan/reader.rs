//! Reads of one process after the other what a question asks for, each file by its path.
//!
//! The trap: between two files the PID may have become another process's. So where more than one
//! is read of a process that matches, it is made sure that they were of the same. The file that
//! was opened first, if it is `stat` or `comm`, stays open: it belongs to the process and not to
//! the PID, so that as long as it can be read, nobody else had the PID. Where `stat` was read last,
//! it is enough that the process began before the scan did: whoever has a PID later than that had
//! it all the time. Where the environment was read first and the process is younger, it is asked
//! again, `stat` first.
//!
//! As long as no thread hangs, memory is read without asking first how likely that is; as soon as
//! one does, `stat` comes first, and whoever has several threads, or waits undisturbed, comes last.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};

use mpp_accounting::process::{Absence, ProcessKey, Reading};
use mpp_parse::proc_pid_stat::{self, Stat};
use rustix::io::Errno;

use super::{Answer, Answered, Batch, Part, Pulse, Seen, Shared, Step, Texts, Told};
use crate::error::absence_of;
use crate::identity::{cgroup_path, without_deleted};
use crate::measure::is_ending;
use crate::memory_reader::MemoryFile;
use crate::proc_fs::{
    FileError, FileResult, Name, Room, link_target, open_file, read_byte, status_at,
};

/// A thread's own: what it reads with and into.
pub(super) struct Reader<'a> {
    shared: &'a Shared,
    pulse: &'a Pulse,
    room: Room,
    stat_room: Room,
    texts: Texts,
    /// Of the process that is being asked, where it is the first of its files.
    anchor: Option<OwnedFd>,
    files_read: usize,
    /// How many had been read when `stat` was.
    stat_position: usize,
}

/// How a process is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Care {
    /// What the question asks for, and nothing else.
    Least,
    /// Its `stat` before anything else.
    StatFirst,
}

/// In whose memory nobody reads, and who of the others comes later.
struct Caution<'a> {
    care: Care,
    batch: &'a Batch,
    blocked: Vec<ProcessKey>,
}

/// Why something was not read.
enum Unread {
    Answered(Answer),
    Absent(Absence),
}

/// Whether all that was read was of the same process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sameness {
    Sure,
    Unsure,
}

impl<'a> Reader<'a> {
    pub(super) fn new(shared: &'a Shared, pulse: &'a Pulse) -> Self {
        Reader {
            shared,
            pulse,
            room: Room::default(),
            stat_room: Room::default(),
            texts: Texts::default(),
            anchor: None,
            files_read: 0,
            stat_position: 0,
        }
    }

    /// `None` where this thread was given up meanwhile: its answers are nobody's.
    pub(super) fn ask_all(
        &mut self,
        batch: &Batch,
        blocked: Vec<ProcessKey>,
    ) -> Option<Vec<Answered>> {
        let is_calm = blocked.is_empty() && !self.shared.procfs_id.is_anyone_hanging();
        let care = if is_calm { Care::Least } else { Care::StatFirst };
        let caution = Caution { care, batch, blocked };
        let mut answered = Vec::with_capacity(batch.pids.len());
        for pid in &batch.pids {
            let answer = self.ask(*pid, &caution);
            if self.pulse.given_up.get().is_some() {
                return None;
            }
            let parent_pid = self.texts.told.map(|told| told.parent_pid);
            answered.push(Answered { answer: answer.unwrap_or_else(Answer::unknown), parent_pid });
        }
        self.anchor = None;
        Some(answered)
    }

    fn ask(&mut self, pid: u32, caution: &Caution<'_>) -> Result<Answer, Absence> {
        let answer = self.ask_once(pid, caution.care, caution)?;
        let is_match = matches!(answer, Answer::Yes | Answer::Keep(..));
        if !is_match || self.sameness()? == Sameness::Sure {
            return Ok(answer);
        }
        let answer = self.ask_once(pid, Care::StatFirst, caution)?;
        // It has an anchor now, so that there is no doubt left.
        self.sameness().map(|_| answer)
    }

    fn ask_once(&mut self, pid: u32, care: Care, caution: &Caution<'_>) -> Result<Answer, Absence> {
        self.texts.clear();
        (self.anchor, self.files_read) = (None, 0);
        let mut step = match care {
            Care::Least => None,
            Care::StatFirst => Some(Step::Read(Part::Stat)),
        };
        loop {
            let seen = Seen { pid, texts: &self.texts };
            let part = match step.take().unwrap_or_else(|| (self.shared.question)(&seen)) {
                Step::Yes => return Ok(Answer::Yes),
                Step::Keep(key, identity) => return Ok(Answer::Keep(key, identity)),
                Step::No => return Ok(Answer::No),
                Step::Undecided => return Ok(Answer::Undecided),
                Step::Unknown(why) => return Err(why),
                Step::Read(part) if seen.has(part) => return Ok(Answer::Undecided),
                Step::Read(part) => part,
            };
            match self.read(part, pid, caution) {
                Ok(()) => {}
                Err(Unread::Absent(why)) => self.texts.put(part, Reading::Absent(why)),
                Err(Unread::Answered(answer)) => return Ok(answer),
            }
        }
    }

    /// Looks whether all that was read of a process was of the same.
    ///
    /// # Errors
    /// It is gone.
    fn sameness(&self) -> Result<Sameness, Absence> {
        if self.files_read < 2 {
            return Ok(Sameness::Sure);
        }
        let is_stat_last = self.stat_position == self.files_read;
        let is_older =
            self.texts.told.is_some_and(|told| told.start_time_ticks < self.shared.began_ticks);
        match &self.anchor {
            _ if is_stat_last && is_older => Ok(Sameness::Sure),
            Some(anchor) => read_byte(anchor.as_fd()).map(|()| Sameness::Sure).map_err(absence_of),
            None => Ok(Sameness::Unsure),
        }
    }

    /// Reads a part of a process, or says why not, or what that answers.
    fn read(&mut self, part: Part, pid: u32, caution: &Caution<'_>) -> Result<(), Unread> {
        match part {
            Part::Stat => self.read_stat(pid),
            Part::Comm => self.read_comm(pid),
            Part::Owner => self.read_owner(pid),
            Part::Cgroup => self.read_cgroup(pid),
            Part::Executable => self.read_executable(pid),
            Part::Cmdline => self.read_memory(part, MemoryFile::Cmdline, pid, caution),
            Part::Environ => self.read_memory(part, MemoryFile::Environ, pid, caution),
        }
    }

    fn read_stat(&mut self, pid: u32) -> Result<(), Unread> {
        let file = self.open(pid, "stat")?;
        let text = self.stat_room.read_open_lines(file.as_fd(), 1);
        let stat = parse_stat(text).map_err(Unread::answer)?;
        if is_ending(&stat) {
            return Err(Unread::Answered(Answer::No));
        }
        self.texts.told = Some(Told::of(&stat));
        self.texts.put(Part::Comm, Reading::Value(stat.comm));
        self.hold(file);
        self.stat_position = self.files_read;
        Ok(())
    }

    fn read_comm(&mut self, pid: u32) -> Result<(), Unread> {
        let file = self.open(pid, "comm")?;
        let text = self.stat_room.read_open_lines(file.as_fd(), 1);
        let text = text.map_err(|error| Unread::answer(error.absence()))?;
        self.texts.put(Part::Comm, Reading::Value(text.strip_suffix(b"\n").unwrap_or(text)));
        self.hold(file);
        Ok(())
    }

    /// What cannot be told of everybody decides nothing.
    fn open(&self, pid: u32, file: &str) -> Result<OwnedFd, Unread> {
        open_file(&self.shared.procfs, Name::in_process(pid, file).as_c_str())
            .map_err(|errno| Unread::answer(absence_of(errno)))
    }

    /// Keeps the first file of a process open.
    fn hold(&mut self, file: OwnedFd) {
        if self.files_read == 0 {
            self.anchor = Some(file);
        }
        self.files_read += 1;
    }

    fn read_owner(&mut self, pid: u32) -> Result<(), Unread> {
        let status = status_at(&self.shared.procfs, Name::of(pid).as_c_str());
        self.texts.uid = Some(status.map_err(|errno| Unread::answer(absence_of(errno)))?.st_uid);
        self.files_read += 1;
        Ok(())
    }

    fn read_cgroup(&mut self, pid: u32) -> Result<(), Unread> {
        self.files_read += 1;
        let name = Name::in_process(pid, "cgroup");
        let text = self.room.read(&self.shared.procfs, name.as_c_str());
        self.texts.put(Part::Cgroup, cgroup_path(text.map_err(FileError::absence)?));
        Ok(())
    }

    fn read_executable(&mut self, pid: u32) -> Result<(), Unread> {
        if self.has_no_memory()? {
            self.texts.put(Part::Executable, Reading::Value(&[]));
            return Ok(());
        }
        self.files_read += 1;
        let name = Name::in_process(pid, "exe");
        let target = link_target(&self.shared.procfs, name.as_c_str(), &mut self.room);
        match target {
            Ok(target) => {
                self.texts.put(Part::Executable, Reading::Value(without_deleted(&target)));
                Ok(())
            }
            Err(Errno::NOENT | Errno::SRCH) if self.texts.told.is_none() => {
                self.read_stat(pid)?;
                self.read_executable(pid)
            }
            Err(errno) => Err(absence_of(errno).into()),
        }
    }

    /// Reads what can block on the process.
    fn read_memory(
        &mut self,
        part: Part,
        file: MemoryFile,
        pid: u32,
        caution: &Caution<'_>,
    ) -> Result<(), Unread> {
        if self.has_no_memory()? {
            self.texts.put(part, Reading::Value(&[]));
            return Ok(());
        }
        self.shun(pid, caution)?;
        self.files_read += 1;
        self.pulse.begin(pid, self.texts.told.map(|told| told.start_time_ticks));
        let bytes = read_strings(&mut self.room, file, &self.shared.procfs, pid);
        self.pulse.end();
        match bytes {
            // Only its `stat` tells whose memory is empty from who has none.
            Ok([]) | Err(FileError::System(Errno::SRCH)) => {
                if self.texts.told.is_none() || bytes.is_err() {
                    self.texts.told = None;
                    self.read_stat(pid)?;
                }
                self.has_no_memory()?;
                self.texts.put(part, Reading::Value(&[]));
            }
            Ok(bytes) => self.texts.put(part, Reading::Value(bytes)),
            Err(error) => return Err(error.absence().into()),
        }
        Ok(())
    }

    /// Whether it is known to have no memory of its own, a zombie or a kernel thread. One whose
    /// main thread alone has exited must be asked of another.
    fn has_no_memory(&self) -> Result<bool, Unread> {
        match self.texts.told {
            Some(told) if told.is_zombie && told.has_several_threads => {
                Err(Unread::Answered(Answer::Undecided))
            }
            told => Ok(told.is_some_and(|told| told.is_zombie || told.is_kernel_thread)),
        }
    }

    /// Keeps out of the memory of whoever makes readers hang, or is too likely to for now.
    fn shun(&self, pid: u32, caution: &Caution<'_>) -> Result<(), Unread> {
        let Some(told) = self.texts.told else { return Ok(()) };
        if caution.care == Care::Least {
            return Ok(());
        }
        if told.risk > caution.batch.risk_max {
            return Err(Unread::Answered(Answer::Later(told.risk)));
        }
        let key = ProcessKey { pid, start_time_ticks: told.start_time_ticks };
        if caution.blocked.contains(&key) || self.shared.procfs_id.is_hanging_in(key) {
            return Err(Unread::Absent(Absence::Blocked));
        }
        Ok(())
    }
}

impl Answer {
    /// One that is gone is no process any more.
    fn unknown(why: Absence) -> Self {
        if why == Absence::Vanished { Answer::No } else { Answer::Unknown(why) }
    }
}

impl Unread {
    /// What nobody can be told from without.
    fn answer(why: Absence) -> Self {
        Unread::Answered(Answer::unknown(why))
    }
}

impl From<Absence> for Unread {
    /// One that is gone answers nothing else either.
    fn from(why: Absence) -> Self {
        match why {
            Absence::Vanished => Unread::Answered(Answer::No),
            why => Unread::Absent(why),
        }
    }
}

/// When a process began, in clock ticks since boot.
pub(super) fn start_time_of(procfs: &OwnedFd, pid: u32) -> Option<u64> {
    let mut room = Room::default();
    let text = room.read_lines(procfs, Name::in_process(pid, "stat").as_c_str(), 1);
    parse_stat(text).ok().map(|stat| stat.start_time_ticks)
}

fn parse_stat(text: FileResult<&[u8]>) -> Result<Stat<'_>, Absence> {
    let text = text.map_err(FileError::absence)?;
    proc_pid_stat::parse(text).map_err(|_| Absence::Malformed)
}

/// The command line as far as it is looked at, or the whole environment.
fn read_strings<'r>(
    room: &'r mut Room,
    file: MemoryFile,
    procfs: &OwnedFd,
    pid: u32,
) -> FileResult<&'r [u8]> {
    let name: &CStr = file.name();
    let limit_bytes = file.limit_bytes();
    let path = Name::in_process(pid, name.to_str().unwrap_or_default());
    match room.read_strings(procfs, path.as_c_str(), limit_bytes)? {
        (_, true) if file == MemoryFile::Environ => Err(FileError::TooLarge),
        (bytes, _) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::sync::Arc;

    use super::super::tests::shared;
    use super::*;
    use crate::identity::Risk;
    use crate::sys::fault;

    /// A `sleep` that ends with this, and bears the variable `MPP_READER=x`.
    struct Sleeper(Child);

    impl Sleeper {
        fn start() -> Self {
            let mut sleep = Command::new("sleep");
            let sleeper = Sleeper(sleep.arg("600").env("MPP_READER", "x").spawn().unwrap());
            // In the middle of its exec it has no environment yet.
            while std::fs::read(format!("/proc/{}/environ", sleeper.0.id())).unwrap().is_empty() {
                std::thread::yield_now();
            }
            sleeper
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    /// Asks one process for these parts in turn; what it answers, and by how many system calls.
    fn ask(shared: &Shared, pid: u32) -> (Answer, u64) {
        let pulse = Pulse::default();
        let mut reader = Reader::new(shared, &pulse);
        let batch = Batch { pids: vec![pid], risk_max: Risk::Least };
        let ask = || {
            let caution = Caution { care: Care::Least, batch: &batch, blocked: Vec::new() };
            reader.ask(pid, &caution).unwrap_or_else(Answer::unknown)
        };
        fault::with_failure(u64::MAX, Errno::IO, ask)
    }

    /// Matches whoever has the variable, once all these parts were read, and keeps whom it knows.
    fn question(parts: &'static [Part]) -> Shared {
        shared(Arc::new(move |seen: &Seen<'_>| match parts.iter().find(|part| !seen.has(**part)) {
            Some(part) => Step::Read(*part),
            None if parts.contains(&Part::Environ) && seen.variable(b"MPP_READER").is_none() => {
                Step::No
            }
            None => {
                seen.key().map_or(Step::Yes, |key| Step::Keep(key, Box::new(seen.identity(&[]))))
            }
        }))
    }

    #[test]
    fn no_more_system_calls_are_made_than_the_parts_of_a_process_take() {
        let sleeper = Sleeper::start();
        let check = |parts, expected| {
            let (answer, calls) = ask(&question(parts), sleeper.0.id());
            assert!(matches!(answer, Answer::Yes | Answer::Keep(..)), "{parts:?}: {answer:?}");
            assert_eq!(calls, expected, "{parts:?}");
        };
        // Opening and reading; one more for looking whether it was the same process all along.
        check(&[], 0);
        check(&[Part::Comm], 2);
        check(&[Part::Stat], 2);
        check(&[Part::Owner], 1);
        check(&[Part::Environ], 2);
        check(&[Part::Comm, Part::Environ], 5);
        check(&[Part::Comm, Part::Owner, Part::Environ], 6);
        check(&[Part::Comm, Part::Owner, Part::Stat], 5);
        check(&[Part::Environ, Part::Owner, Part::Stat], 5);
    }

    #[test]
    fn one_that_is_younger_than_the_scan_is_asked_again_stat_first() {
        let sleeper = Sleeper::start();
        let mut shared = question(&[Part::Environ, Part::Stat]);
        let (older, fewer) = ask(&shared, sleeper.0.id());
        shared.began_ticks = 0;
        let (younger, more) = ask(&shared, sleeper.0.id());
        assert_eq!(older, younger);
        assert_eq!((fewer, more), (4, 4 + 5));
    }

    #[test]
    fn what_is_read_by_path_of_two_processes_is_no_match() {
        let sleeper = Sleeper::start();
        let shared = question(&[Part::Comm, Part::Environ]);
        let pulse = Pulse::default();
        let mut reader = Reader::new(&shared, &pulse);
        let mut ended = Command::new("sleep").arg("600").spawn().unwrap();
        assert!(reader.read_comm(ended.id()).is_ok());
        ended.kill().unwrap();
        assert!(reader.sameness() == Ok(Sameness::Sure), "one file is of one process");
        ended.wait().unwrap();
        // As if the second file were of whoever had got the number.
        assert!(reader.read_owner(sleeper.0.id()).is_ok());
        assert_eq!(reader.sameness(), Err(Absence::Vanished));
    }

    #[test]
    fn who_has_no_memory_is_told_from_whose_environment_is_empty() {
        let mut empty = Command::new("sleep").arg("600").env_clear().spawn().unwrap();
        let mut zombie = Command::new("true").spawn().unwrap();
        let shared = question(&[Part::Environ, Part::Comm]);
        while start_time_of(&shared.procfs, zombie.id()).is_some()
            && !std::fs::read_to_string(format!("/proc/{}/stat", zombie.id()))
                .unwrap()
                .contains(") Z ")
        {
            std::thread::yield_now();
        }
        for pid in [empty.id(), zombie.id()] {
            assert_eq!(ask(&shared, pid).0, Answer::No, "{pid} has no such variable");
        }
        let parts = question(&[Part::Executable, Part::Cmdline]);
        assert!(matches!(ask(&parts, zombie.id()).0, Answer::Keep(..)), "its `stat` was read");
        zombie.wait().unwrap();
        assert_eq!(ask(&parts, zombie.id()).0, Answer::No);
        empty.kill().unwrap();
        empty.wait().unwrap();
    }

    #[test]
    fn any_call_that_fails_spoils_the_answer_of_one_process_and_nothing_is_taken_for_empty() {
        let sleeper = Sleeper::start();
        let shared = question(&[Part::Comm, Part::Owner, Part::Environ]);
        let (_, calls) = ask(&shared, sleeper.0.id());
        let pulse = Pulse::default();
        let mut reader = Reader::new(&shared, &pulse);
        let batch = Batch { pids: vec![sleeper.0.id()], risk_max: Risk::Least };
        for n in 0..calls {
            let caution = Caution { care: Care::Least, batch: &batch, blocked: Vec::new() };
            let ask = || reader.ask(sleeper.0.id(), &caution).unwrap_or_else(Answer::unknown);
            let (answer, _) = fault::with_failure(n, Errno::IO, ask);
            // An environment that cannot be read has no variable: the question says no to that.
            let is_told = matches!(answer, Answer::Unknown(Absence::Failed(_)) | Answer::No);
            assert!(is_told, "call {n}: {answer:?}");
        }
    }
}
