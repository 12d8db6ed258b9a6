//! Reading by a bounded set of threads, of which some may hang for ever.
//!
//! A thread cannot be killed, so one that hangs is abandoned: its request is answered, another
//! takes its place, and it ends by itself should its read ever return. When more hang than are
//! replaced, and the last one hangs too, every request is answered `Blocked` until one comes
//! back. A hanging thread does not hold up the end of the process: exit_group(2) kills it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use mpp_accounting::process::{Absence, Reading};
use rustix::thread::{Pid, gettid};

use super::hanging::ProcfsId;
use super::{
    Delivery, EXTENSIONS_MAX, MemoryAnswer, MemoryRequest, READ_DEADLINE, WAITING_USUAL,
    is_thread_runnable, read_memory_file,
};

/// Reading pauses while so many bytes of answers lie about that nobody has collected. To wake
/// somebody for them costs as much as to read one or two files, and these are hundreds.
const ANSWER_BYTES_MAX: usize = 128 << 10;

/// The threads and what they share. Dropping it lets them end as soon as they can.
#[derive(Debug)]
pub(super) struct ThreadPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    procfs: Arc<OwnedFd>,
    procfs_id: ProcfsId,
    state: Mutex<State>,
    /// There is something to read, or nobody to read for any more.
    work: Condvar,
    /// There is something to collect.
    answered: Condvar,
    /// A read has begun, and with it a deadline.
    begun: Condvar,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<MemoryRequest>,
    deliveries: Vec<Delivery>,
    delivered_bytes: usize,
    /// Reads that are going on, each by a worker.
    reads: Vec<Read>,
    /// Threads that read or wait for work; the stuck ones are not among them.
    workers: usize,
    stuck: usize,
    /// Workers that wait for work: waking nobody costs a system call too.
    workers_waiting: usize,
    /// Whether the watchdog waits without a deadline, since nothing was being read.
    is_watchdog_idle: bool,
    reads_begun: u64,
    has_watchdog: bool,
    is_closed: bool,
}

#[derive(Debug)]
struct Read {
    number: u64,
    thread: Pid,
    request: MemoryRequest,
    deadline: Instant,
    extensions: u32,
}

impl ThreadPool {
    /// A pool without threads: they start with the first request.
    pub(super) fn new(procfs: Arc<OwnedFd>) -> Self {
        let (work, answered, begun) = (Condvar::new(), Condvar::new(), Condvar::new());
        let state = Mutex::default();
        let procfs_id = ProcfsId::of(&procfs);
        ThreadPool { shared: Arc::new(Shared { procfs, procfs_id, state, work, answered, begun }) }
    }

    /// Puts a request into the queue, whose bound is the caller's. Where a thread hangs in the
    /// process already, the answer is known.
    pub(super) fn submit(&self, request: MemoryRequest) {
        let mut state = self.shared.lock();
        if self.shared.procfs_id.is_hanging_in(request.key) {
            state.give_up(request);
            return;
        }
        state.queue.push_back(request);
        self.shared.staff(&mut state);
        self.shared.call_for_work(&state);
    }

    /// Waits until there is an answer, but not beyond `until`, and hands out all there are.
    pub(super) fn receive(&self, until: Instant, deliveries: &mut Vec<Delivery>) {
        let mut state = self.shared.lock();
        loop {
            if !state.deliveries.is_empty() {
                deliveries.append(&mut state.deliveries);
                state.delivered_bytes = 0;
                state.deliveries.shrink_to(WAITING_USUAL);
                if state.queue.is_empty() {
                    state.queue.shrink_to(WAITING_USUAL);
                }
                self.shared.work.notify_all();
                return;
            }
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return;
            }
            state = wait_timeout(&self.shared.answered, state, wait);
        }
    }

    /// How many threads hang.
    pub(super) fn stuck(&self) -> usize {
        self.shared.lock().stuck
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.is_closed = true;
        state.queue.clear();
        if state.has_watchdog {
            self.shared.work.notify_all();
            self.shared.begun.notify_all();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Starts the threads that are missing, as far as the bounds allow. Where there is and will
    /// be nobody to read, answers everything.
    fn staff(self: &Arc<Self>, state: &mut State) {
        if !state.has_watchdog {
            state.has_watchdog = self.spawn("mpp-watchdog", Shared::watch).is_ok();
        }
        let allowed = self.procfs_id.workers_allowed();
        while state.has_watchdog && state.workers < allowed {
            if self.spawn("mpp-reader", Shared::work).is_err() {
                break;
            }
            state.workers += 1;
        }
        if state.workers == 0 {
            for request in std::mem::take(&mut state.queue) {
                state.deliver(MemoryAnswer::absent(request, Absence::Blocked));
            }
            self.answered.notify_all();
        }
    }

    fn call_for_work(&self, state: &State) {
        if state.workers_waiting > 0 {
            self.work.notify_one();
        }
    }

    fn spawn(self: &Arc<Self>, name: &str, body: fn(&Arc<Self>)) -> std::io::Result<()> {
        let shared = Arc::clone(self);
        Builder::new().name(name.to_owned()).spawn(move || body(&shared)).map(|_| ())
    }

    /// A worker's life: reads one request after the other.
    fn work(self: &Arc<Self>) {
        let mut state = self.lock();
        while !state.is_closed {
            let Some((number, request)) = state.begin_read() else {
                state.workers_waiting += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.workers_waiting -= 1;
                continue;
            };
            // Else it wakes by itself, before this read's deadline.
            if std::mem::take(&mut state.is_watchdog_idle) {
                self.begun.notify_one();
            }
            drop(state);
            let answer = read_memory_file(self.procfs.as_fd(), request);
            state = self.lock();
            if !state.end_read(number) {
                // It was given up and replaced meanwhile; its answer is nobody's.
                state.stuck -= 1;
                self.procfs_id.forget_hanging(request.key);
                return;
            }
            state.deliver(answer);
            if state.has_paused() {
                self.answered.notify_all();
            }
            // The next in the queue may have waited for this process's other file.
            self.call_for_work(&state);
        }
        state.workers -= 1;
    }

    /// The watchdog's life: gives reads up when their deadline has passed.
    fn watch(self: &Arc<Self>) {
        let mut state = self.lock();
        while !state.is_closed {
            let now = Instant::now();
            if state.give_up_overdue(now, self.procfs_id) {
                self.staff(&mut state);
                self.answered.notify_all();
            }
            let next = state.reads.iter().map(|read| read.deadline).min();
            state = match next {
                Some(deadline) => {
                    let wait = deadline.saturating_duration_since(now);
                    wait_timeout(&self.begun, state, wait)
                }
                None => {
                    state.is_watchdog_idle = true;
                    self.begun.wait(state).unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
    }
}

impl State {
    /// The next request, now being read. Never two of one process: if it blocks, one thread
    /// hanging in it is enough.
    fn begin_read(&mut self) -> Option<(u64, MemoryRequest)> {
        if self.delivered_bytes >= ANSWER_BYTES_MAX {
            return None;
        }
        let is_free =
            |request: &MemoryRequest| self.reads.iter().all(|read| read.request.key != request.key);
        let request = self.queue.iter().position(is_free).and_then(|at| self.queue.remove(at))?;
        let number = self.reads_begun;
        self.reads_begun += 1;
        let deadline = Instant::now() + READ_DEADLINE;
        self.reads.push(Read { number, thread: gettid(), request, deadline, extensions: 0 });
        Some((number, request))
    }

    /// Whether nothing more comes for now: everything is read, or answers must be collected
    /// first. Before that nobody who waits for all of them need wake.
    fn has_paused(&self) -> bool {
        self.queue.is_empty() || self.delivered_bytes >= ANSWER_BYTES_MAX
    }

    /// Whether the read was still waited for.
    fn end_read(&mut self, number: u64) -> bool {
        let position = self.reads.iter().position(|read| read.number == number);
        position.map(|at| self.reads.swap_remove(at)).is_some()
    }

    /// Gives up every read whose deadline has passed; whether there was one.
    fn give_up_overdue(&mut self, now: Instant, procfs: ProcfsId) -> bool {
        for read in self.reads.iter_mut().filter(|read| read.deadline <= now) {
            if read.extensions < EXTENSIONS_MAX && read.is_only_slow() {
                read.extensions += 1;
                read.deadline = now + READ_DEADLINE;
            }
        }
        let overdue: Vec<_> = self.reads.extract_if(.., |read| read.deadline <= now).collect();
        for read in &overdue {
            self.stuck += 1;
            procfs.record_hanging(read.request.key);
            self.workers -= 1;
            self.give_up(read.request);
            // Its other files would block as well.
            let (same, others): (VecDeque<_>, _) = std::mem::take(&mut self.queue)
                .into_iter()
                .partition(|request| request.key == read.request.key);
            self.queue = others;
            for request in same {
                self.deliver(MemoryAnswer::absent(request, Absence::Blocked));
            }
        }
        !overdue.is_empty()
    }

    fn deliver(&mut self, answer: MemoryAnswer) {
        self.delivered_bytes += size_of::<Delivery>();
        if let Reading::Value(bytes) = &answer.outcome {
            self.delivered_bytes += bytes.capacity();
        }
        self.deliveries.push(Delivery { answer, was_given_up: false });
    }

    /// Answers a request for which a thread hangs.
    fn give_up(&mut self, request: MemoryRequest) {
        let answer = MemoryAnswer::absent(request, Absence::Blocked);
        self.deliveries.push(Delivery { answer, was_given_up: true });
    }
}

impl Read {
    fn is_only_slow(&self) -> bool {
        is_thread_runnable(self.thread)
    }
}

/// A thread of ours that panicked has left nothing half-done that could matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn wait_timeout<'a>(
    condition: &Condvar,
    state: MutexGuard<'a, State>,
    wait: Duration,
) -> MutexGuard<'a, State> {
    condition.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
}
