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
//! die with whoever forked them: by `PR_SET_PDEATHSIG`, and by the end of their socket.
//!
//! One worker is enough as long as every read returns at once. Only when all workers have been
//! reading for a moment is another one forked, so that a process that hangs its reader costs the
//! others that moment and not a whole deadline. Two of them never read the same process. Whoever
//! has had nothing to do for a while is ended again, but for the last.
//!
//! Every message begins with its fixed size and says how much follows. Both ends are the same
//! program, so numbers travel in the machine's own form.

use std::collections::VecDeque;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use mpp_accounting::process::{Absence, ProcessKey, Reading};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown,
    socketpair,
};
use rustix::process::{Pid, getpid};

use super::backoff::DELAY_FIRST;
use super::{
    Delivery, MemoryAnswer, MemoryFile, MemoryRequest, READ_DEADLINE, WAITING_USUAL, is_runnable,
    read_memory_file,
};
use crate::child::{Child, become_helper};
use crate::sys::{self, wait_until_ready};

/// Workers that read at one time.
const WORKERS_MAX: usize = 4;
/// Workers forked within a second at most: more hostile processes than that wait their turn.
const WORKERS_PER_SECOND_MAX: usize = 32;
/// A worker that has had nothing to do for so long is one too many.
const IDLE_MAX: Duration = Duration::from_secs(5);
/// How long a read takes that may hang: most take a hundredth of it.
const SUSPICIOUSLY_LONG: Duration = Duration::from_millis(5);
/// Requests that the supervisor takes in before the first of them is answered.
const PENDING_MAX: usize = 256;
/// How often a worker that is only slow, since it waits for a CPU, gets another deadline.
const EXTENSIONS_MAX: u32 = 20;
/// Processes that the supervisor remembers as having blocked a worker just now.
const JUST_BLOCKED_MAX: usize = 64;
/// No more than this is taken in before the caller gets the answers that are in it.
const TAKEN_BYTES_MAX: usize = 1 << 20;

/// The supervisor, and our end of the socket to it.
pub(super) struct HelperProcess {
    link: Link,
    supervisor: Child,
}

/// The socket to the supervisor, and what is on its way in either direction.
struct Link {
    socket: OwnedFd,
    /// The workers that live, as far as we have been told.
    worker_pids: Vec<u32>,
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
        Ok(HelperProcess { link: Link::new(ours), supervisor })
    }

    /// Puts a request into the queue, whose bound is the caller's.
    pub(super) fn submit(&mut self, request: MemoryRequest) {
        self.link.unsent.push_back(request);
    }

    /// The supervisor's PID, and those of its workers.
    pub(super) fn pids(&self) -> Vec<u32> {
        let supervisor = self.supervisor.pid().as_raw_nonzero().get();
        let supervisor = u32::try_from(supervisor).ok();
        supervisor.into_iter().chain(self.link.worker_pids.iter().copied()).collect()
    }

    /// Sends what can be sent, waits until there is an answer, but not beyond `until`, and hands
    /// out those there are, or a part of them where they are large.
    ///
    /// # Errors
    /// Where the supervisor is gone, or talks nonsense.
    pub(super) fn receive(
        &mut self,
        until: Instant,
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), Errno> {
        self.link.receive(until, deliveries)
    }
}

impl Link {
    fn new(socket: OwnedFd) -> Self {
        Link {
            socket,
            worker_pids: Vec::new(),
            unsent: VecDeque::new(),
            outgoing: Vec::new(),
            incoming: Vec::new(),
        }
    }

    fn receive(&mut self, until: Instant, deliveries: &mut Vec<Delivery>) -> Result<(), Errno> {
        let mut taken_bytes = 0;
        loop {
            self.send_requests()?;
            let received = self.take_in()?;
            taken_bytes += received;
            self.decode(deliveries)?;
            if received > 0 && taken_bytes < TAKEN_BYTES_MAX {
                continue;
            }
            let wait = until.saturating_duration_since(Instant::now());
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
        // The first sweep asks of everybody, later ones of a few.
        self.unsent.shrink_to(WAITING_USUAL);
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
                Word::WorkerBegan => self.worker_pids.push(head.number),
                Word::WorkerEnded => self.worker_pids.retain(|pid| *pid != head.number),
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
            .field("worker_pids", &self.link.worker_pids)
            .field("unsent", &self.link.unsent.len())
            .finish_non_exhaustive()
    }
}

impl Drop for HelperProcess {
    /// Hangs up, and lets the supervisor reap its workers before it is reaped itself.
    fn drop(&mut self) {
        // Shutting down a socket whose other end is gone already is all that can fail.
        let _ = shutdown(&self.link.socket, Shutdown::Both);
        self.supervisor.await_end();
    }
}

/// The forked process that forks: hands requests to workers and watches their deadlines.
struct Supervisor<'a> {
    client: BorrowedFd<'a>,
    procfs: BorrowedFd<'a>,
    /// What has come in of the next request.
    incoming: Vec<u8>,
    pending: VecDeque<Pending>,
    workers: Vec<Worker>,
    /// When the last workers were forked.
    forked_at: VecDeque<Instant>,
    just_blocked: VecDeque<(ProcessKey, Instant)>,
}

/// A request that has no answer yet.
#[derive(Clone, Copy)]
struct Pending {
    request: MemoryRequest,
    attempt: Attempt,
}

/// A worker that somebody killed is no reason to have no answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    First,
    Last,
}

struct Worker {
    child: Child,
    socket: OwnedFd,
    read: Option<Read>,
    /// When its last read ended.
    idle_since: Instant,
}

/// What a worker is doing.
struct Read {
    pending: Pending,
    began: Instant,
    deadline: Instant,
    extensions: u32,
}

impl<'a> Supervisor<'a> {
    fn new(client: BorrowedFd<'a>, procfs: BorrowedFd<'a>) -> Self {
        Supervisor {
            client,
            procfs,
            incoming: Vec::new(),
            pending: VecDeque::new(),
            workers: Vec::new(),
            forked_at: VecDeque::new(),
            just_blocked: VecDeque::new(),
        }
    }

    /// Serves until the socket ends.
    fn run(&mut self) -> Result<(), Errno> {
        loop {
            self.assign()?;
            let ready = self.wait()?;
            if ready.has_requests {
                self.take_requests()?;
            }
            // From the end, since workers that are gone are taken out.
            for position in (0..self.workers.len()).rev() {
                if ready.worker_pids.contains(&self.workers[position].child.pid()) {
                    self.take_answer(position)?;
                }
            }
            self.give_up_overdue()?;
            self.end_idle()?;
        }
    }

    /// Takes in what requests there are, as far as there is room.
    fn take_requests(&mut self) -> Result<(), Errno> {
        let mut buffer = [0; PENDING_MAX * REQUEST_SIZE];
        let free = PENDING_MAX.saturating_sub(self.pending.len()) * REQUEST_SIZE;
        let room = buffer.get_mut(self.incoming.len()..free).unwrap_or_default();
        match recv(self.client, &mut *room, RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(Errno::PIPE),
            Ok((_, received)) => self.incoming.extend_from_slice(&room[..received]),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        let (whole, _) = self.incoming.as_chunks::<REQUEST_SIZE>();
        for bytes in whole {
            let request = decode_request(bytes).ok_or(Errno::PROTO)?;
            self.pending.push_back(Pending { request, attempt: Attempt::First });
        }
        let taken = whole.len() * REQUEST_SIZE;
        self.incoming.drain(..taken);
        Ok(())
    }

    /// Gives requests to workers, as far as there are idle ones.
    fn assign(&mut self) -> Result<(), Errno> {
        while let Some(position) = self.next_request() {
            let Pending { request, attempt } = self.pending[position];
            if self.has_just_blocked(request.key) {
                self.pending.remove(position);
                self.answer(&MemoryAnswer::absent(request, Absence::Blocked))?;
                continue;
            }
            let worker = match self.idle_worker() {
                Ok(Some(worker)) => worker,
                // The others go on without one more.
                Ok(None) => return Ok(()),
                Err(_) if !self.workers.is_empty() => return Ok(()),
                Err(errno) => {
                    self.pending.remove(position);
                    let why = Absence::Failed(errno.raw_os_error());
                    self.answer(&MemoryAnswer::absent(request, why))?;
                    continue;
                }
            };
            self.pending.remove(position);
            self.begin_read(worker, Pending { request, attempt })?;
        }
        Ok(())
    }

    /// The first request about a process that nobody reads.
    fn next_request(&self) -> Option<usize> {
        let is_read = |key| {
            let mut reads = self.workers.iter().filter_map(|worker| worker.read.as_ref());
            reads.any(|read| read.pending.request.key == key)
        };
        self.pending.iter().position(|pending| !is_read(pending.request.key))
    }

    /// A worker that does nothing, forked where the others take suspiciously long. `None` where
    /// it is not yet time for another one.
    fn idle_worker(&mut self) -> Result<Option<usize>, Errno> {
        if let Some(position) = self.workers.iter().position(|worker| worker.read.is_none()) {
            return Ok(Some(position));
        }
        if self.next_fork_at().is_none_or(|at| at > Instant::now()) {
            return Ok(None);
        }
        let worker = self.fork_worker()?;
        self.workers.push(worker);
        Ok(Some(self.workers.len() - 1))
    }

    /// When another worker may be forked; `None` where there are enough.
    fn next_fork_at(&self) -> Option<Instant> {
        if self.workers.len() == WORKERS_MAX {
            return None;
        }
        let reads = self.workers.iter().filter_map(|worker| worker.read.as_ref());
        let suspicious_at = reads.map(|read| read.began + SUSPICIOUSLY_LONG).max();
        let is_over_bound = self.forked_at.len() == WORKERS_PER_SECOND_MAX;
        let oldest = self.forked_at.front().filter(|_| is_over_bound);
        let allowed_at = oldest.map(|at| *at + Duration::from_secs(1));
        Some(suspicious_at.max(allowed_at).unwrap_or_else(Instant::now))
    }

    fn begin_read(&mut self, position: usize, pending: Pending) -> Result<(), Errno> {
        let began = Instant::now();
        let worker = &mut self.workers[position];
        worker.read = Some(Read { pending, began, deadline: began + READ_DEADLINE, extensions: 0 });
        match send_all(worker.socket.as_fd(), &encode_request(pending.request)) {
            Ok(()) => Ok(()),
            Err(errno) => self.lose_worker(position, errno),
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) -> Result<Ready, Errno> {
        let has_room = self.pending.len() < PENDING_MAX;
        let events = if has_room { PollFlags::IN } else { PollFlags::empty() };
        let busy = self.workers.iter().filter(|worker| worker.read.is_some());
        let mut fds = vec![PollFd::from_borrowed_fd(self.client, events)];
        fds.extend(busy.clone().map(|worker| PollFd::new(&worker.socket, PollFlags::IN)));
        let timeout = self.next_event_at().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout.map(Timespec::try_from).transpose().map_err(|_| Errno::INVAL)?;
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(errno) => return Err(errno),
        }
        let (client, workers) = fds.split_first().ok_or(Errno::INVAL)?;
        if client.revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(Errno::PIPE);
        }
        let ready = busy.zip(workers).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(Ready {
            has_requests: client.revents().contains(PollFlags::IN),
            worker_pids: ready.map(|(worker, _)| worker.child.pid()).collect(),
        })
    }

    /// The next deadline, the next time that a worker may be forked for who waits for one, or
    /// that one is too many.
    fn next_event_at(&self) -> Option<Instant> {
        let reads = self.workers.iter().filter_map(|worker| worker.read.as_ref());
        let deadline = reads.map(|read| read.deadline).min();
        let fork = self.next_request().and_then(|_| self.next_fork_at());
        let spare = self.longest_idle().map(|(_, since)| since + IDLE_MAX);
        deadline.into_iter().chain(fork).chain(spare).min()
    }

    /// Where several live, who of them has had nothing to do for longest, and since when.
    fn longest_idle(&self) -> Option<(usize, Instant)> {
        let idle = self.workers.iter().enumerate().filter(|(_, worker)| worker.read.is_none());
        let longest = idle.map(|(position, worker)| (position, worker.idle_since));
        longest.min_by_key(|(_, since)| *since).filter(|_| self.workers.len() > 1)
    }

    /// Ends those whom a busy moment made, and whom nobody has needed since.
    fn end_idle(&mut self) -> Result<(), Errno> {
        while let Some((position, since)) = self.longest_idle() {
            if since.elapsed() < IDLE_MAX {
                break;
            }
            self.end_worker(position)?;
        }
        Ok(())
    }

    /// Passes an answer on. Nothing here waits for a measured process: the worker has it all.
    fn take_answer(&mut self, position: usize) -> Result<(), Errno> {
        let worker = &mut self.workers[position];
        let mut bytes = [0; Head::SIZE];
        if let Err(errno) = receive_all(worker.socket.as_fd(), &mut bytes) {
            return self.lose_worker(position, errno);
        }
        (worker.read, worker.idle_since) = (None, Instant::now());
        let head = Head::decode(&bytes).ok_or(Errno::PROTO)?;
        send_all(self.client, &bytes)?;
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

    /// A worker has ended, though nobody here ended it: its request is read once more.
    fn lose_worker(&mut self, position: usize, errno: Errno) -> Result<(), Errno> {
        let Some(Pending { request, attempt }) = self.end_worker(position)? else {
            return Ok(());
        };
        match attempt {
            Attempt::First => {
                self.pending.push_front(Pending { request, attempt: Attempt::Last });
                Ok(())
            }
            Attempt::Last => {
                let why = Absence::Failed(errno.raw_os_error());
                self.answer(&MemoryAnswer::absent(request, why))
            }
        }
    }

    /// Ends workers whose deadline has passed, unless they only wait for a CPU.
    fn give_up_overdue(&mut self) -> Result<(), Errno> {
        let now = Instant::now();
        for position in (0..self.workers.len()).rev() {
            let worker = &mut self.workers[position];
            if !worker.is_overdue(now) || worker.extend_if_slow(now) {
                continue;
            }
            // It may have come to its end between the two looks.
            if wait_until_ready(worker.socket.as_fd(), PollFlags::IN, Duration::ZERO)? {
                continue;
            }
            if let Some(Pending { request, .. }) = self.end_worker(position)? {
                self.remember_blocked(request.key);
                let mut head = Head::of(&MemoryAnswer::absent(request, Absence::Blocked));
                head.was_given_up = true;
                send_all(self.client, &head.encode())?;
            }
        }
        Ok(())
    }

    /// Kills a worker; what it was reading.
    fn end_worker(&mut self, position: usize) -> Result<Option<Pending>, Errno> {
        let worker = self.workers.swap_remove(position);
        let ended = Head::of_worker(Word::WorkerEnded, worker.child.pid());
        send_all(self.client, &ended.encode())?;
        Ok(worker.read.map(|read| read.pending))
    }

    fn answer(&self, answer: &MemoryAnswer) -> Result<(), Errno> {
        send_all(self.client, &Head::of(answer).encode())
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

    fn fork_worker(&mut self) -> Result<Worker, Errno> {
        if self.forked_at.len() == WORKERS_PER_SECOND_MAX {
            self.forked_at.pop_front();
        }
        self.forked_at.push_back(Instant::now());
        let (ours, theirs) = socket_pair()?;
        let (parent, procfs) = (getpid(), self.procfs);
        let child = Child::fork(|| {
            let keep = [theirs.as_fd(), procfs];
            if become_helper(parent, c"mpp-reader", &keep).is_ok() {
                let _ = work(theirs.as_fd(), procfs);
            }
        })?;
        send_all(self.client, &Head::of_worker(Word::WorkerBegan, child.pid()).encode())?;
        Ok(Worker { child, socket: ours, read: None, idle_since: Instant::now() })
    }
}

/// Who has something to say.
#[derive(Default)]
struct Ready {
    has_requests: bool,
    worker_pids: Vec<Pid>,
}

impl Worker {
    fn is_overdue(&self, now: Instant) -> bool {
        self.read.as_ref().is_some_and(|read| read.deadline <= now)
    }

    /// Gives it another deadline where it only waits for a CPU; whether that was so.
    fn extend_if_slow(&mut self, now: Instant) -> bool {
        let is_only_slow = self.is_only_slow();
        let read = self.read.as_mut().filter(|read| read.extensions < EXTENSIONS_MAX);
        let Some(read) = read.filter(|_| is_only_slow) else { return false };
        read.extensions += 1;
        read.deadline = now + READ_DEADLINE;
        true
    }

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
        send_all(supervisor, &Head::of(&answer).encode())?;
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
    /// There is a new worker; the number is its PID.
    WorkerBegan = 3,
    /// That worker is gone.
    WorkerEnded = 4,
}

impl Word {
    const ALL: [Word; 5] =
        [Word::Value, Word::Beginning, Word::Absent, Word::WorkerBegan, Word::WorkerEnded];
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

    fn of(answer: &MemoryAnswer) -> Self {
        let (word, number, length) = match &answer.outcome {
            Reading::Value(bytes) if answer.is_truncated => (Word::Beginning, 0, bytes.len()),
            Reading::Value(bytes) => (Word::Value, 0, bytes.len()),
            Reading::Absent(why) => (Word::Absent, absence_number(*why), 0),
        };
        Head { word, was_given_up: false, number, length, request: answer.request }
    }

    fn of_worker(word: Word, pid: Pid) -> Self {
        let key = ProcessKey { pid: 0, start_time_ticks: 0 };
        let request = MemoryRequest { key, file: MemoryFile::Cmdline };
        let number = u32::try_from(pid.as_raw_nonzero().get()).unwrap_or(0);
        Head { word, was_given_up: false, number, length: 0, request }
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
        let word = Word::ALL.into_iter().find(|known| *known as u8 == word)?;
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
            let answer = MemoryAnswer { request, outcome, is_truncated };
            let head = Head::of(&answer);
            let arrived = Head::decode(&head.encode()).unwrap();
            assert_eq!(arrived, head);
            let bytes = answer.outcome.value().cloned().unwrap_or_default();
            let delivery = arrived.delivery(&bytes).unwrap();
            assert_eq!(delivery.answer, answer);
        }
        check(Reading::Value(b"A=1\0".to_vec()), false);
        check(Reading::Value(Vec::new()), true);
        for why in ABSENCES.into_iter().chain([Absence::Failed(5), Absence::Failed(0)]) {
            check(Reading::Absent(why), false);
        }
    }

    #[test]
    fn what_no_end_of_ours_sends_is_refused() {
        let request = request(MemoryFile::Cmdline);
        let head = Head::of(&MemoryAnswer::absent(request, Absence::Denied));
        let mut unknown_word = head.encode();
        unknown_word[0] = 9;
        assert_eq!(Head::decode(&unknown_word), None);
        let mut too_long = head.encode();
        too_long[8..16].copy_from_slice(&u64::MAX.to_ne_bytes());
        assert_eq!(Head::decode(&too_long), None);
        let unknown_absence = Head { word: Word::Absent, number: 99, ..head };
        assert!(unknown_absence.delivery(&[]).is_none());
    }

    #[test]
    fn large_answers_are_handed_over_as_they_come_and_not_all_at_the_end() {
        const COUNT: usize = 64;
        let (ours, theirs) = socket_pair().unwrap();
        let outcome = Reading::Value(vec![b'x'; 512 << 10]);
        let request = request(MemoryFile::Environ);
        let answer = MemoryAnswer { request, outcome, is_truncated: false };
        let sender = std::thread::spawn({
            let answer = answer.clone();
            move || {
                for _ in 0..COUNT {
                    send_all(theirs.as_fd(), &Head::of(&answer).encode()).unwrap();
                    send_all(theirs.as_fd(), answer.outcome.value().unwrap()).unwrap();
                }
                theirs
            }
        });
        let mut link = Link::new(ours);
        let (mut count, mut deliveries) = (0, Vec::new());
        while count < COUNT {
            link.receive(Instant::now() + Duration::from_secs(60), &mut deliveries).unwrap();
            let bytes = deliveries.len() * (512 << 10);
            assert!(bytes <= TAKEN_BYTES_MAX + (512 << 10), "{bytes} at one time");
            count += deliveries.len();
            assert!(deliveries.drain(..).all(|delivery| delivery.answer == answer));
        }
        drop(sender.join().unwrap());
    }
}
