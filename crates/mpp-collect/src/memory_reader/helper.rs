//! Reading by a process that can be killed.
//!
//! ```text
//! we --requests--> supervisor --one request--> worker --read(2)--> may hang for ever
//!    <--answers---            <--its answer---
//! ```
//!
//! The supervisor is forked while we have one thread, and always has one thread itself. That is
//! why there are two processes: a stuck worker must be killed and replaced at a time when we may
//! have many threads, and then only the supervisor can fork. It reads nothing that can block. All
//! three die with whoever forked them: by `PR_SET_PDEATHSIG`, and by the end of their socket.
//!
//! Every message begins with its fixed size and says how much follows. Both ends are the same
//! program, so numbers travel in the machine's own form.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mpp_accounting::process::{Absence, ProcessKey, Reading};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown,
    socketpair,
};
use rustix::process::{Pid, getpid};

use super::backoff::DELAY_FIRST;
use super::{
    Delivery, MemoryAnswer, MemoryFile, MemoryRequest, READ_DEADLINE, is_runnable, read_memory_file,
};
use crate::child::{Child, become_helper};
use crate::sys::{self, wait_until_ready};

/// Workers forked within a second at most: more hostile processes than that wait their turn.
const WORKERS_PER_SECOND_MAX: usize = 16;
/// How often a worker that is only slow, since it waits for a CPU, gets another deadline.
const EXTENSIONS_MAX: u32 = 20;
/// Processes that the supervisor remembers as having blocked a worker just now.
const JUST_BLOCKED_MAX: usize = 64;
/// Once the time is up, no more than this is taken in before the caller has its say.
const BYTES_AFTER_DEADLINE_MAX: usize = 1 << 20;

/// Our end: the socket to the supervisor, and what is on its way in either direction.
pub(super) struct HelperProcess {
    socket: OwnedFd,
    supervisor: Child,
    worker_pid: Option<u32>,
    unsent: VecDeque<MemoryRequest>,
    /// Encoded requests, of which the socket has not taken all bytes yet.
    outgoing: Vec<u8>,
    /// What has come in of the next message.
    incoming: Vec<u8>,
}

impl HelperProcess {
    /// Forks the supervisor.
    ///
    /// # Errors
    /// EBUSY where we have threads already; else what the kernel says.
    pub(super) fn start(procfs: BorrowedFd<'_>) -> Result<Self, Errno> {
        let (ours, theirs) = socket_pair()?;
        let parent = getpid();
        let supervisor = Child::fork(|| {
            let keep = [theirs.as_fd(), procfs];
            if become_helper(parent, c"mpp-reader", &keep).is_ok() {
                // It ends when we do, or when the socket breaks: the same thing.
                let _ = Supervisor::new(theirs.as_fd(), procfs).run();
            }
        })?;
        Ok(HelperProcess {
            supervisor,
            worker_pid: None,
            socket: ours,
            unsent: VecDeque::new(),
            outgoing: Vec::new(),
            incoming: Vec::new(),
        })
    }

    /// Puts a request into the queue, whose bound is the caller's.
    pub(super) fn submit(&mut self, request: MemoryRequest) {
        self.unsent.push_back(request);
    }

    /// The supervisor's PID, and the worker's as far as we have been told.
    pub(super) fn pids(&self) -> Vec<u32> {
        let supervisor = self.supervisor.pid().as_raw_nonzero().get();
        u32::try_from(supervisor).ok().into_iter().chain(self.worker_pid).collect()
    }

    /// Sends what can be sent, waits until there is an answer, but not beyond `until`, and hands
    /// out all there are.
    ///
    /// # Errors
    /// Where the supervisor is gone, or talks nonsense.
    pub(super) fn receive(
        &mut self,
        until: Instant,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), Errno> {
        let mut taken_bytes = 0;
        loop {
            self.send_requests()?;
            let received = self.take_in()?;
            taken_bytes += received;
            self.decode(deliveries)?;
            let wait = until.saturating_duration_since(Instant::now());
            let is_over = wait.is_zero() && taken_bytes >= BYTES_AFTER_DEADLINE_MAX;
            if received > 0 && !is_over {
                continue;
            }
            if !deliveries.is_empty() || wait.is_zero() {
                return Ok(());
            }
            let events =
                if self.has_unsent() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
            wait_until_ready(self.socket.as_fd(), events, wait)?;
        }
    }

    fn has_unsent(&self) -> bool {
        !self.unsent.is_empty() || !self.outgoing.is_empty()
    }

    fn send_requests(&mut self) -> Result<(), Errno> {
        while self.has_unsent() {
            let count = self.unsent.len().min(256);
            if self.outgoing.is_empty() {
                let next = self.unsent.drain(..count);
                self.outgoing.extend(next.flat_map(encode_request));
            }
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match sys::call(|| send(&self.socket, &self.outgoing, flags)) {
                Ok(sent) => drop(self.outgoing.drain(..sent)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }

    /// Takes in what the socket holds at this moment, at most 64 KiB; how many bytes that were.
    fn take_in(&mut self) -> Result<usize, Errno> {
        let length = self.incoming.len();
        self.incoming.resize(length + (64 << 10), 0);
        let flags = RecvFlags::DONTWAIT;
        let outcome = sys::call(|| recv(&self.socket, &mut self.incoming[length..], flags));
        let received = outcome.map_or(0, |(_, received)| received);
        self.incoming.truncate(length + received);
        match outcome {
            Ok((_, 0)) => Err(Errno::PIPE),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(received),
            Err(errno) => Err(errno),
        }
    }

    /// Takes the whole messages out of what came in.
    fn decode(&mut self, deliveries: &mut Vec<Delivery>) -> Result<(), Errno> {
        let mut start = 0;
        while let Some(head) = head_at(&self.incoming, start) {
            let head = Head::decode(head).ok_or(Errno::PROTO)?;
            let body = start + Head::SIZE;
            let Some(bytes) = self.incoming.get(body..body + head.length) else { break };
            match head.word {
                Word::Worker => self.worker_pid = Some(head.number),
                Word::Value | Word::Beginning | Word::Absent => {
                    deliveries.push(head.delivery(bytes).ok_or(Errno::PROTO)?);
                }
            }
            start = body + head.length;
        }
        self.incoming.drain(..start);
        if self.incoming.is_empty() {
            self.incoming.shrink_to(256 << 10);
        }
        Ok(())
    }
}

impl fmt::Debug for HelperProcess {
    /// Without the bytes on their way: they are arguments and environments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HelperProcess")
            .field("supervisor", &self.supervisor)
            .field("worker_pid", &self.worker_pid)
            .field("unsent", &self.unsent.len())
            .finish_non_exhaustive()
    }
}

impl Drop for HelperProcess {
    /// Hangs up, and lets the supervisor reap its worker before it is reaped itself.
    fn drop(&mut self) {
        // Shutting down a socket whose other end is gone already is all that can fail.
        let _ = shutdown(&self.socket, Shutdown::Both);
        self.supervisor.await_end();
    }
}

/// The forked process that forks: hands requests to a worker and watches its deadline.
struct Supervisor<'a> {
    client: BorrowedFd<'a>,
    procfs: BorrowedFd<'a>,
    worker: Option<Worker>,
    /// When the last workers were forked.
    forked_at: VecDeque<Instant>,
    just_blocked: VecDeque<(ProcessKey, Instant)>,
}

struct Worker {
    child: Child,
    socket: OwnedFd,
}

impl<'a> Supervisor<'a> {
    fn new(client: BorrowedFd<'a>, procfs: BorrowedFd<'a>) -> Self {
        let (forked_at, just_blocked) = (VecDeque::new(), VecDeque::new());
        Supervisor { client, procfs, worker: None, forked_at, just_blocked }
    }

    /// Serves until the socket ends.
    fn run(&mut self) -> Result<(), Errno> {
        loop {
            let mut bytes = [0; REQUEST_SIZE];
            receive_all(self.client, &mut bytes)?;
            let request = decode_request(&bytes).ok_or(Errno::PROTO)?;
            if self.has_just_blocked(request.key) {
                self.answer_blocked(request)?;
                continue;
            }
            // A worker that somebody killed is no reason to have no answer.
            let outcome = self.ask_worker(request).or_else(|_| {
                self.worker = None;
                self.ask_worker(request)
            });
            match outcome {
                Ok(Outcome::Answered(head)) => self.forward(&head)?,
                Ok(Outcome::Overdue) => {
                    self.remember_blocked(request.key);
                    self.worker = None;
                    let mut head = Head::of(request, &Reading::Absent(Absence::Blocked), false);
                    head.was_given_up = true;
                    send_all(self.client, &head.encode())?;
                }
                Err(errno) => {
                    self.worker = None;
                    let why = Reading::Absent(Absence::Failed(errno.raw_os_error()));
                    send_all(self.client, &Head::of(request, &why, false).encode())?;
                }
            }
        }
    }

    fn answer_blocked(&self, request: MemoryRequest) -> Result<(), Errno> {
        let head = Head::of(request, &Reading::Absent(Absence::Blocked), false);
        send_all(self.client, &head.encode())
    }

    /// Whether another file of this process hung so recently that this one would too.
    fn has_just_blocked(&self, key: ProcessKey) -> bool {
        let is_recent = |at: &Instant| at.elapsed() < DELAY_FIRST;
        self.just_blocked.iter().any(|(blocked, at)| *blocked == key && is_recent(at))
    }

    fn remember_blocked(&mut self, key: ProcessKey) {
        if self.just_blocked.len() == JUST_BLOCKED_MAX {
            self.just_blocked.pop_front();
        }
        self.just_blocked.push_back((key, Instant::now()));
    }

    /// Has one request read. The head of the answer has arrived then; its bytes follow it.
    fn ask_worker(&mut self, request: MemoryRequest) -> Result<Outcome, Errno> {
        if self.worker.is_none() {
            self.worker = Some(self.fork_worker()?);
        }
        let Some(worker) = &self.worker else { return Err(Errno::CHILD) };
        send_all(worker.socket.as_fd(), &encode_request(request))?;
        let mut extensions = 0;
        while !wait_until_ready(worker.socket.as_fd(), PollFlags::IN, READ_DEADLINE)? {
            let is_stuck = extensions == EXTENSIONS_MAX || !worker.is_only_slow();
            // It may have come to its end between the two looks.
            if is_stuck && !wait_until_ready(worker.socket.as_fd(), PollFlags::IN, Duration::ZERO)?
            {
                return Ok(Outcome::Overdue);
            }
            extensions += 1;
        }
        let mut bytes = [0; Head::SIZE];
        receive_all(worker.socket.as_fd(), &mut bytes)?;
        let head = Head::decode(&bytes).ok_or(Errno::PROTO)?;
        Ok(Outcome::Answered(head))
    }

    /// Passes an answer on. Nothing here waits for a measured process: the worker has it all.
    fn forward(&self, head: &Head) -> Result<(), Errno> {
        send_all(self.client, &head.encode())?;
        let Some(worker) = &self.worker else { return Err(Errno::CHILD) };
        let mut buffer = [0; 16 << 10];
        let mut left = head.length;
        while left > 0 {
            let part = &mut buffer[..left.min(16 << 10)];
            receive_all(worker.socket.as_fd(), part)?;
            send_all(self.client, part)?;
            left -= part.len();
        }
        Ok(())
    }

    fn fork_worker(&mut self) -> Result<Worker, Errno> {
        self.await_turn();
        let (ours, theirs) = socket_pair()?;
        let (parent, procfs) = (getpid(), self.procfs);
        let child = Child::fork(|| {
            let keep = [theirs.as_fd(), procfs];
            if become_helper(parent, c"mpp-reader", &keep).is_ok() {
                let _ = work(theirs.as_fd(), procfs);
            }
        })?;
        send_all(self.client, &Head::worker(child.pid()).encode())?;
        Ok(Worker { child, socket: ours })
    }

    /// Waits while too many workers were forked within the last second.
    fn await_turn(&mut self) {
        if self.forked_at.len() == WORKERS_PER_SECOND_MAX
            && let Some(oldest) = self.forked_at.pop_front()
        {
            std::thread::sleep(Duration::from_secs(1).saturating_sub(oldest.elapsed()));
        }
        self.forked_at.push_back(Instant::now());
    }
}

enum Outcome {
    Answered(Head),
    Overdue,
}

impl Worker {
    fn is_only_slow(&self) -> bool {
        is_runnable(&format!("/proc/{}/stat", self.child.pid().as_raw_nonzero()))
    }
}

/// The worker's life: this is the process that may hang.
fn work(supervisor: BorrowedFd<'_>, procfs: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        let mut bytes = [0; REQUEST_SIZE];
        receive_all(supervisor, &mut bytes)?;
        let request = decode_request(&bytes).ok_or(Errno::PROTO)?;
        let answer = read_memory_file(procfs, request);
        let head = Head::of(request, &answer.outcome, answer.is_truncated);
        send_all(supervisor, &head.encode())?;
        if let Reading::Value(bytes) = &answer.outcome {
            send_all(supervisor, bytes)?;
        }
    }
}

/// A request in transit: PID, file, start time.
const REQUEST_SIZE: usize = 16;

fn encode_request(request: MemoryRequest) -> [u8; REQUEST_SIZE] {
    let mut bytes = [0; REQUEST_SIZE];
    bytes[0..4].copy_from_slice(&request.key.pid.to_ne_bytes());
    bytes[4..8].copy_from_slice(&(request.file as u32).to_ne_bytes());
    bytes[8..16].copy_from_slice(&request.key.start_time_ticks.to_ne_bytes());
    bytes
}

fn decode_request(bytes: &[u8; REQUEST_SIZE]) -> Option<MemoryRequest> {
    let [p0, p1, p2, p3, f0, f1, f2, f3, start @ ..] = *bytes;
    let file = usize::try_from(u32::from_ne_bytes([f0, f1, f2, f3])).ok()?;
    let start_time_ticks = u64::from_ne_bytes(start);
    let key = ProcessKey { pid: u32::from_ne_bytes([p0, p1, p2, p3]), start_time_ticks };
    Some(MemoryRequest { key, file: *MemoryFile::ALL.get(file)? })
}

/// What a message to us says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// The file follows, whole.
    Value = 0,
    /// The file's beginning follows.
    Beginning = 1,
    /// There is none; the number says why.
    Absent = 2,
    /// A new worker; the number is its PID.
    Worker = 3,
}

/// The fixed beginning of every message to us; `length` bytes follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    word: Word,
    was_given_up: bool,
    number: u32,
    length: usize,
    request: MemoryRequest,
}

impl Head {
    const SIZE: usize = 16 + REQUEST_SIZE;

    fn of(request: MemoryRequest, outcome: &Reading<Vec<u8>>, is_truncated: bool) -> Self {
        let (word, number, length) = match outcome {
            Reading::Value(bytes) if is_truncated => (Word::Beginning, 0, bytes.len()),
            Reading::Value(bytes) => (Word::Value, 0, bytes.len()),
            Reading::Absent(why) => (Word::Absent, absence_number(*why), 0),
        };
        Head { word, was_given_up: false, number, length, request }
    }

    fn worker(pid: Pid) -> Self {
        let key = ProcessKey { pid: 0, start_time_ticks: 0 };
        let request = MemoryRequest { key, file: MemoryFile::Cmdline };
        let number = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0);
        Head { word: Word::Worker, was_given_up: false, number, length: 0, request }
    }

    fn encode(&self) -> [u8; Head::SIZE] {
        let mut bytes = [0; Head::SIZE];
        bytes[0] = self.word as u8;
        bytes[1] = u8::from(self.was_given_up);
        bytes[4..8].copy_from_slice(&self.number.to_ne_bytes());
        bytes[8..16].copy_from_slice(&(self.length as u64).to_ne_bytes());
        bytes[16..].copy_from_slice(&encode_request(self.request));
        bytes
    }

    /// Returns `None` for what no end of ours sends.
    fn decode(bytes: &[u8; Head::SIZE]) -> Option<Self> {
        let (head, request) = bytes.split_first_chunk::<16>()?;
        let [word, was_given_up, _, _, n0, n1, n2, n3, length @ ..] = *head;
        let word = [Word::Value, Word::Beginning, Word::Absent, Word::Worker]
            .into_iter()
            .find(|known| *known as u8 == word)?;
        let request = decode_request(request.try_into().ok()?)?;
        let length = usize::try_from(u64::from_ne_bytes(length)).ok()?;
        if length > request.file.limit_bytes() {
            return None;
        }
        let number = u32::from_ne_bytes([n0, n1, n2, n3]);
        Some(Head { word, was_given_up: was_given_up != 0, number, length, request })
    }

    /// The answer that this message is. Returns `None` for an unknown reason of absence.
    fn delivery(&self, bytes: &[u8]) -> Option<Delivery> {
        let outcome = match self.word {
            Word::Absent => Reading::Absent(absence_of_number(self.number)?),
            _ => Reading::Value(bytes.to_vec()),
        };
        let is_truncated = self.word == Word::Beginning;
        let answer = MemoryAnswer { request: self.request, outcome, is_truncated };
        Some(Delivery { answer, was_given_up: self.was_given_up })
    }
}

/// The absences that a read can end in; their position is their number in transit.
const ABSENCES: [Absence; 6] = [
    Absence::Denied,
    Absence::Vanished,
    Absence::Unsupported,
    Absence::Blocked,
    Absence::TooLarge,
    Absence::Malformed,
];

/// Above the numbers of [`ABSENCES`] stand the errnos.
const ERRNO_BASE: u32 = 1000;

fn absence_number(why: Absence) -> u32 {
    let known = ABSENCES.iter().position(|known| *known == why);
    let number = known.and_then(|position| u32::try_from(position).ok());
    number.unwrap_or_else(|| match why {
        Absence::Failed(errno) => ERRNO_BASE.saturating_add(errno.unsigned_abs()),
        _ => ERRNO_BASE,
    })
}

fn absence_of_number(number: u32) -> Option<Absence> {
    if let Some(errno) = number.checked_sub(ERRNO_BASE) {
        return Some(Absence::Failed(i32::try_from(errno).ok()?));
    }
    ABSENCES.get(usize::try_from(number).ok()?).copied()
}

fn head_at(bytes: &[u8], start: usize) -> Option<&[u8; Head::SIZE]> {
    bytes.get(start..)?.first_chunk()
}

fn socket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (family, flags) = (AddressFamily::UNIX, SocketFlags::CLOEXEC);
    sys::call(|| socketpair(family, SocketType::STREAM, flags, None))
}

fn send_all(socket: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn receive_all(socket: BorrowedFd<'_>, mut bytes: &mut [u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match recv(socket, &mut *bytes, RecvFlags::empty()) {
            Ok((_, 0)) => return Err(Errno::PIPE),
            Ok((_, received)) => bytes = bytes.get_mut(received..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(file: MemoryFile) -> MemoryRequest {
        MemoryRequest { key: ProcessKey { pid: u32::MAX, start_time_ticks: u64::MAX - 1 }, file }
    }

    #[test]
    fn a_request_arrives_as_it_was_sent() {
        for file in MemoryFile::ALL {
            assert_eq!(decode_request(&encode_request(request(file))), Some(request(file)));
        }
        let mut unknown = encode_request(request(MemoryFile::Cmdline));
        unknown[4..8].copy_from_slice(&3_u32.to_ne_bytes());
        assert_eq!(decode_request(&unknown), None);
    }

    #[test]
    fn an_answer_arrives_as_it_was_sent() {
        fn check(outcome: Reading<Vec<u8>>, is_truncated: bool) {
            let request = request(MemoryFile::Environ);
            let head = Head::of(request, &outcome, is_truncated);
            let arrived = Head::decode(&head.encode()).unwrap();
            assert_eq!(arrived, head);
            let bytes = outcome.value().cloned().unwrap_or_default();
            let delivery = arrived.delivery(&bytes).unwrap();
            assert_eq!(delivery.answer, MemoryAnswer { request, outcome, is_truncated });
        }
        check(Reading::Value(b"A=1\0".to_vec()), false);
        check(Reading::Value(Vec::new()), true);
        for why in ABSENCES.into_iter().chain([Absence::Failed(5), Absence::Failed(0)]) {
            check(Reading::Absent(why), false);
        }
    }

    #[test]
    fn what_no_end_of_ours_sends_is_refused() {
        let head = Head::of(request(MemoryFile::Cmdline), &Reading::Value(Vec::new()), false);
        let mut unknown_word = head.encode();
        unknown_word[0] = 9;
        assert_eq!(Head::decode(&unknown_word), None);
        let mut too_long = head.encode();
        too_long[8..16].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert_eq!(Head::decode(&too_long), None);
        let unknown_absence = Head { word: Word::Absent, number: 99, ..head };
        assert!(unknown_absence.delivery(&[]).is_none());
    }
}
