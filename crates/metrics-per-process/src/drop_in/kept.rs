//! Programs in the kernel that are kept from one call to the next.
//!
//! Loading them costs as much as reading a thousand processes, so whoever calls again and again
//! pays for it once. They belong to a thread of our own with a table of descriptors of its own: a
//! program that closes all it has, as services do when they start, takes nothing from them and
//! nobody gets their numbers; and a child that is forked meanwhile inherits none. The thread ends,
//! and with it the programs, some time after the last call, or with the process.
//!
//! The traps. One call has them at a time, since what is told of ends is told once; another one
//! in the meantime does without. A forked child has our memory, but not the thread. And whoever
//! has given up privileges since, or entered another namespace, is not told what was seen from
//! there.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use mpp_accounting::exit::ExitSource;
use mpp_accounting::process::{Identity, ProcessKey};
use mpp_accounting::snapshot::Snapshot;
use mpp_collect::exits::ExitRoom;
use mpp_collect::own_thread::{Vantage, leave_descriptors, spawn_deaf};
use mpp_collect::{CollectError, Collector, CollectorOptions, IdentityWait, Needs};

use crate::error::Error;

/// They are kept for so long after a call: whoever calls every minute finds them loaded.
const LINGER: Duration = Duration::from_secs(90);

/// How often what is told of ends is taken in between two readings of one call.
const LISTEN_PERIOD: Duration = Duration::from_secs(1);

/// Those of this process, or of the one that it was forked from.
static KEPT: Mutex<Option<Arc<Kept>>> = Mutex::new(None);

/// Nobody has them.
const FREE: u8 = 0;
/// A call has them.
const TAKEN: u8 = 1;
/// The thread has ended, or is about to; of one that panicked that is found out by the next call.
const GONE: u8 = 2;

/// Of whom more than counters is read.
pub(super) type Interest = dyn Fn(ProcessKey, &Identity) -> bool + Send + Sync;

/// Programs that one call has to itself.
pub(super) struct Programs {
    kept: Arc<Kept>,
}

/// The thread, as calls know it.
struct Kept {
    /// The process that it is a thread of.
    owner: u32,
    /// From where the programs were loaded.
    vantage: Vantage,
    state: Arc<AtomicU8>,
    requests: Sender<Request>,
}

/// A sweep that is asked for.
struct Request {
    needs: Needs,
    is_of_interest: Arc<Interest>,
    answer: SyncSender<Result<Snapshot, CollectError>>,
}

impl Programs {
    /// Those that are loaded; `None` where there are none, or another call has them.
    pub(super) fn loaded() -> Option<Self> {
        let kept = Arc::clone(KEPT.try_lock().ok()?.as_ref()?);
        kept.is_taken_now().then_some(Programs { kept })
    }

    /// Those that are loaded; else they are loaded now, with such room for what is told of ends.
    /// `None` where they cannot be had, or another call has them.
    pub(super) fn load(room: ExitRoom) -> Option<Self> {
        let mut slot = match KEPT.try_lock() {
            Ok(slot) => slot,
            Err(TryLockError::Poisoned(slot)) => slot.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        if let Some(kept) = slot.as_ref().filter(|kept| kept.is_there()) {
            let kept = Arc::clone(kept);
            return kept.is_taken_now().then_some(Programs { kept });
        }
        if let Some(former) = slot.take()
            && former.owner != std::process::id()
        {
            // Its thread may have been in the middle of something when this process was forked.
            std::mem::forget(former);
        }
        let kept = Arc::new(Kept::start(room)?);
        *slot = Some(Arc::clone(&kept));
        Some(Programs { kept })
    }

    /// Reads all processes; what they hold only of those of interest.
    ///
    /// # Errors
    /// The processes cannot be listed, or the thread is gone.
    pub(super) fn sweep(
        &self,
        needs: &Needs,
        is_of_interest: Arc<Interest>,
    ) -> Result<Snapshot, Error> {
        let (answer, hear) = sync_channel(1);
        let request = Request { needs: needs.clone(), is_of_interest, answer };
        self.kept.requests.send(request).map_err(|_| self.note_end())?;
        Ok(hear.recv().map_err(|_| self.note_end())??)
    }

    /// A thread that panicked cannot say any more that it is gone: whoever finds it so does.
    fn note_end(&self) -> Error {
        self.kept.state.store(GONE, Ordering::Release);
        Error::MeterGone
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        change(&self.kept.state, TAKEN, FREE);
    }
}

impl Kept {
    /// Starts the thread, taken; `None` where there are no programs to be had.
    fn start(room: ExitRoom) -> Option<Self> {
        let (requests, received) = channel();
        let (say, hear) = sync_channel(1);
        let (owner, vantage) = (std::process::id(), Vantage::of_caller().ok()?);
        let state = Arc::new(AtomicU8::new(TAKEN));
        let of_thread = Arc::clone(&state);
        let body = move || {
            let collector = open(room);
            // The other end waits for it.
            let _ = say.send(collector.is_some());
            if let Some(collector) = collector {
                serve(collector, &received, &of_thread);
            }
        };
        spawn_deaf("mpp-programs", body).ok()?;
        let is_open = hear.recv().unwrap_or(false);
        is_open.then_some(Kept { owner, vantage, state, requests })
    }

    fn is_taken_now(&self) -> bool {
        self.is_there() && change(&self.state, FREE, TAKEN)
    }

    /// Whether the thread is there, and this process looks from where it does.
    fn is_there(&self) -> bool {
        self.owner == std::process::id()
            && Vantage::of_caller() == Ok(self.vantage)
            && self.state.load(Ordering::Acquire) != GONE
    }
}

/// Whether the state was `from`, and is `to` now.
fn change(state: &AtomicU8, from: u8, to: u8) -> bool {
    state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// A collector with programs and descriptors of its own, in the thread that is to have it.
fn open(room: ExitRoom) -> Option<Collector> {
    leave_descriptors().ok()?;
    let mut collector = Collector::open(CollectorOptions::default()).ok()?;
    collector.load_programs(room);
    (collector.exit_source() == ExitSource::Exact).then_some(collector)
}

/// Sweeps whenever somebody asks, until nobody has for a while. Where the programs fail it goes on
/// without them to the end of the call.
fn serve(mut collector: Collector, requests: &Receiver<Request>, state: &AtomicU8) {
    let mut used_at = Instant::now();
    loop {
        let is_taken = state.load(Ordering::Acquire) == TAKEN;
        let has_failed = collector.exit_source() != ExitSource::Exact;
        let wait = if is_taken || has_failed { LISTEN_PERIOD } else { LINGER };
        match requests.recv_timeout(wait) {
            Ok(Request { needs, is_of_interest, answer }) => {
                let (mut snapshot, wait) = (Snapshot::default(), IdentityWait::No);
                let outcome =
                    collector.sweep_of_interest(&needs, &*is_of_interest, wait, &mut snapshot);
                // Who asked may have gone.
                let _ = answer.send(outcome.map(|()| snapshot));
                used_at = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) if is_taken => {
                collector.listen();
                used_at = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) => {
                let is_over = has_failed || used_at.elapsed() >= LINGER;
                if is_over && change(state, FREE, GONE) {
                    return;
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpp_collect::Measures;

    /// Loaded programs, or `None` after seeing that there are none to be had here. Other tests of
    /// this process may have them for a moment.
    fn programs() -> Option<Programs> {
        let room = ExitRoom { ring_bytes: 1 << 16, ..ExitRoom::default() };
        let mut alone = Collector::open(CollectorOptions::default()).unwrap();
        alone.load_programs(room);
        if alone.exit_source() != ExitSource::Exact {
            eprintln!("no programs in the kernel here");
            assert!(Programs::load(room).is_none());
            return None;
        }
        loop {
            if let Some(programs) = Programs::load(room) {
                return Some(programs);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn one_call_has_the_programs_at_a_time_and_the_next_one_finds_them() {
        let Some(first) = programs() else { return };
        assert!(Programs::loaded().is_none(), "a call has them");
        let kept = Arc::as_ptr(&first.kept);
        drop(first);
        let second = programs().unwrap();
        assert_eq!(Arc::as_ptr(&second.kept), kept);
        second.kept.state.store(GONE, Ordering::Release);
        let third = programs().unwrap();
        assert_ne!(Arc::as_ptr(&third.kept), kept, "those that are gone are loaded anew");
    }

    #[test]
    fn a_thread_that_panicked_is_gone_and_the_next_call_starts_another() {
        let Some(first) = programs() else { return };
        let kept = Arc::clone(&first.kept);
        let fails = Arc::new(|_: ProcessKey, _: &Identity| panic!("what a defect does"));
        let outcome = first.sweep(&Needs::default(), fails);
        assert!(matches!(outcome, Err(Error::MeterGone)), "{outcome:?}");
        drop(first);
        let second = programs().unwrap();
        assert!(!Arc::ptr_eq(&second.kept, &kept));
        let found = second.sweep(&Needs::default(), Arc::new(|_, _| true)).unwrap();
        assert!(found.by_pid(std::process::id()).is_some());
    }

    #[test]
    fn what_is_kept_are_no_descriptors_of_this_process() {
        let before = descriptors();
        let Some(programs) = programs() else { return };
        let needs =
            Needs { measures: Measures { fds: true, ..Measures::default() }, ..Needs::default() };
        for _ in 0..2 {
            let found = programs.sweep(&needs, Arc::new(|_, _| true)).unwrap();
            let own = found.by_pid(std::process::id()).unwrap();
            let fds = own.gauges.fds.value().copied().unwrap();
            // The sweep itself, and the listing that counts.
            assert!(fds <= descriptors() as u64 && fds < before as u64 + 8, "{fds} {before}");
        }
        assert!(descriptors() < before + 8, "other tests open a few");
    }
}
