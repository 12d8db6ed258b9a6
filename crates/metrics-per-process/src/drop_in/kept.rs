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
//! there. Whoever cannot have them does not pay for trying at every call.
//!
//! What calls have read by files of late is kept account of in `kept/tab.rs`.

pub(super) mod tab;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use mpp_accounting::exit::ExitSource;
use mpp_accounting::process::{Identity, ProcessKey};
use mpp_accounting::snapshot::Snapshot;
use mpp_collect::exits::ExitRoom;
use mpp_collect::own_thread::{Vantage, leave_descriptors, spawn_deaf};
use mpp_collect::{CollectError, Collector, CollectorOptions, IdentityWait, Needs};

use super::Filter;
use crate::error::Error;

/// They are kept for so long after a call: whoever calls every minute finds them loaded.
const LINGER: Duration = Duration::from_secs(90);

/// How often what is told of ends is taken in between two readings of one call.
const LISTEN_PERIOD: Duration = Duration::from_secs(1);

/// Where they cannot be had, it is not tried again for so long.
const REFUSED_FOR: Duration = Duration::from_secs(90);

/// Those of this process, or of the one that it was forked from.
static KEPT: Mutex<Slot> = Mutex::new(Slot::Empty);

/// Nobody has them.
const FREE: u8 = 0;
/// A call has them.
const TAKEN: u8 = 1;
/// The thread has ended, or is about to; of one that panicked that is found out by the next call.
const GONE: u8 = 2;

/// Of whom more than counters is read.
pub(super) type IsOfInterest = dyn Fn(ProcessKey, &Identity) -> bool + Send + Sync;

/// The same, and whether that is whoever it was in another call.
pub(super) struct Interest {
    pub(super) is_of_interest: Arc<IsOfInterest>,
    /// What it is decided by, where that is all: as long as it is the same, whoever has not become
    /// somebody else is of interest as he was. `None` where another call may ask for others.
    pub(super) filter: Option<Filter>,
}

/// Programs that one call has to itself.
pub(super) struct Programs {
    kept: Arc<Kept>,
}

/// Why a call does without programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// Another call has them.
    Taken,
    /// They cannot be had from where this process looks, or could not a short while ago.
    Unavailable,
}

/// What the last call left.
enum Slot {
    Empty,
    Kept(Arc<Kept>),
    /// Whoever looked from there could not have them.
    Refused {
        from: Vantage,
        at: Instant,
    },
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
    interest: Interest,
    wait: IdentityWait,
    answer: SyncSender<Result<Arc<Snapshot>, CollectError>>,
}

impl Programs {
    /// Those that are loaded; `None` where there are none, or another call has them.
    pub(super) fn loaded() -> Option<Self> {
        look_into(&KEPT)?.loaded()
    }

    /// Those that are loaded; else they are loaded now, with such room for what is told of ends.
    ///
    /// # Errors
    /// Why this call does without.
    pub(super) fn load(room: ExitRoom) -> Result<Self, Lack> {
        look_into(&KEPT).ok_or(Lack::Taken)?.load(room)
    }

    fn take(kept: &Arc<Kept>) -> Option<Self> {
        change(&kept.state, FREE, TAKEN).then(|| Programs { kept: Arc::clone(kept) })
    }

    /// Reads all processes; what they hold only of those of interest.
    ///
    /// # Errors
    /// The processes cannot be listed, or the thread is gone.
    pub(super) fn sweep(
        &self,
        needs: &Needs,
        interest: Interest,
        wait: IdentityWait,
    ) -> Result<Arc<Snapshot>, Error> {
        let (answer, hear) = sync_channel(1);
        let request = Request { needs: needs.clone(), interest, wait, answer };
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

/// What the last call left; `None` while another call looks at it. One that panicked meanwhile
/// left nothing half done: at worst it has emptied the slot.
fn look_into(slot: &Mutex<Slot>) -> Option<MutexGuard<'_, Slot>> {
    match slot.try_lock() {
        Ok(slot) => Some(slot),
        Err(TryLockError::Poisoned(slot)) => Some(slot.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

impl Slot {
    fn loaded(&self) -> Option<Programs> {
        let Slot::Kept(kept) = self else { return None };
        kept.is_there(Vantage::of_caller().ok()?).then(|| Programs::take(kept)).flatten()
    }

    fn load(&mut self, room: ExitRoom) -> Result<Programs, Lack> {
        let vantage = Vantage::of_caller().map_err(|_| Lack::Unavailable)?;
        match self {
            Slot::Kept(kept) if kept.is_there(vantage) => {
                return Programs::take(kept).ok_or(Lack::Taken);
            }
            Slot::Refused { from, at } if *from == vantage && at.elapsed() < REFUSED_FOR => {
                return Err(Lack::Unavailable);
            }
            _ => {}
        }
        if let Slot::Kept(former) = std::mem::replace(self, Slot::Empty)
            && former.owner != std::process::id()
        {
            // Its thread may have been in the middle of something when this process was forked.
            std::mem::forget(former);
        }
        let Some(kept) = Kept::start(room, vantage).map(Arc::new) else {
            *self = Slot::Refused { from: vantage, at: Instant::now() };
            return Err(Lack::Unavailable);
        };
        *self = Slot::Kept(Arc::clone(&kept));
        Ok(Programs { kept })
    }
}

impl Kept {
    /// Starts the thread, taken; `None` where there are no programs to be had.
    fn start(room: ExitRoom, vantage: Vantage) -> Option<Self> {
        let (requests, received) = channel();
        let (say, hear) = sync_channel(1);
        let state = Arc::new(AtomicU8::new(TAKEN));
        let of_thread = Arc::clone(&state);
        let body = move || {
            let collector = open(room);
            // The other end waits for it.
            let _ = say.send(collector.is_some());
            if let Some(collector) = collector {
                serve(Sweeper::new(collector, room), &received, &of_thread);
            }
        };
        spawn_deaf("mpp-programs", body).ok()?;
        let owner = std::process::id();
        hear.recv().unwrap_or(false).then_some(Kept { owner, vantage, state, requests })
    }

    /// Whether the thread is there, for whoever looks from this place.
    fn is_there(&self, vantage: Vantage) -> bool {
        self.owner == std::process::id()
            && self.vantage == vantage
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
    collector_with_programs(room)
}

fn collector_with_programs(room: ExitRoom) -> Option<Collector> {
    let mut collector = Collector::open(CollectorOptions::default()).ok()?;
    collector.load_programs(room);
    (collector.exit_source() == ExitSource::Exact).then_some(collector)
}

/// A collector, and what it has seen last: whoever has not run since is not told of anew.
struct Sweeper {
    collector: Collector,
    room: ExitRoom,
    last: Arc<Snapshot>,
    filter: Option<Filter>,
    /// Of which variables it remembers the values.
    environment_keys: Vec<Box<[u8]>>,
}

impl Sweeper {
    fn new(collector: Collector, room: ExitRoom) -> Self {
        let (last, filter, environment_keys) = (Arc::default(), None, Vec::new());
        Sweeper { collector, room, last, filter, environment_keys }
    }

    fn sweep(
        &mut self,
        needs: &Needs,
        interest: &Interest,
        wait: IdentityWait,
    ) -> Result<Arc<Snapshot>, CollectError> {
        self.remember(&needs.identity.environment_keys);
        let Interest { is_of_interest, filter } = interest;
        let is_same = filter.is_some() && *filter == self.filter;
        // Forgotten until the sweep has succeeded.
        self.filter = None;
        // Copied only while the call still works with it.
        let into = Arc::make_mut(&mut self.last);
        let collector = &mut self.collector;
        match is_same {
            true => collector.sweep_of_same_interest(needs, &**is_of_interest, wait, into)?,
            false => collector.sweep_of_interest(needs, &**is_of_interest, wait, into)?,
        }
        self.filter.clone_from(filter);
        Ok(Arc::clone(&self.last))
    }

    /// Remembers one set of variables at a time: others than before are for a collector that
    /// knows nobody yet, so that memory does not grow with every call that asks for others.
    fn remember(&mut self, keys: &[Box<[u8]>]) {
        if keys.is_empty() || *keys == *self.environment_keys {
            return;
        }
        if !self.environment_keys.is_empty()
            && let Some(collector) = collector_with_programs(self.room)
        {
            *self = Sweeper::new(collector, self.room);
        }
        self.environment_keys = keys.to_vec();
    }
}

/// Sweeps whenever somebody asks, until nobody has for a while. Where the programs fail it goes on
/// without them to the end of the call.
fn serve(mut sweeper: Sweeper, requests: &Receiver<Request>, state: &AtomicU8) {
    let mut used_at = Instant::now();
    loop {
        let is_taken = state.load(Ordering::Acquire) == TAKEN;
        let has_failed = sweeper.collector.exit_source() != ExitSource::Exact;
        let wait = if is_taken || has_failed { LISTEN_PERIOD } else { LINGER };
        match requests.recv_timeout(wait) {
            Ok(Request { needs, interest, wait, answer }) => {
                // Who asked may have gone.
                let _ = answer.send(sweeper.sweep(&needs, &interest, wait));
                used_at = Instant::now();
            }
            Err(RecvTimeoutError::Timeout) if is_taken => {
                sweeper.collector.listen();
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
    use crate::drop_in::Selection;
    use mpp_collect::Measures;
    use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

    const ROOM: ExitRoom = ExitRoom { ring_bytes: 1 << 16, socket_bytes: 1 << 16 };

    /// What a collector that asks for them gets, with descriptors that no other test counts.
    fn best_source() -> ExitSource {
        let body = || {
            leave_descriptors().unwrap();
            let exits = ExitSource::Exact;
            let options = CollectorOptions { exits, exit_room: ROOM, ..Default::default() };
            Collector::open(options).unwrap().exit_source()
        };
        std::thread::spawn(body).join().unwrap()
    }

    /// Loaded programs and where they are kept, or `None` after seeing that there are none to be
    /// had here.
    fn programs() -> Option<(Slot, Programs)> {
        let mut slot = Slot::Empty;
        let loaded = slot.load(ROOM);
        if best_source() == ExitSource::Exact {
            return Some((slot, loaded.unwrap()));
        }
        eprintln!("no programs in the kernel here");
        assert_eq!(loaded.err(), Some(Lack::Unavailable));
        None
    }

    fn refused_at(slot: &mut Slot) -> &mut Instant {
        match slot {
            Slot::Refused { at, .. } => at,
            Slot::Empty | Slot::Kept(_) => panic!("they were refused"),
        }
    }

    /// Has the calling thread look as one without privileges.
    fn give_up_capabilities() {
        let before = capabilities(None).unwrap();
        let fewer = CapabilitySets { effective: CapabilitySet::empty(), ..before };
        set_capabilities(None, fewer).unwrap();
    }

    /// An interest in everybody, or in nobody.
    fn of(is_of_interest: impl Fn() -> bool + Send + Sync + 'static) -> Interest {
        Interest { is_of_interest: Arc::new(move |_, _| is_of_interest()), filter: None }
    }

    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    #[test]
    fn one_call_has_the_programs_at_a_time_and_the_next_one_finds_them() {
        let Some((mut slot, first)) = programs() else { return };
        assert!(slot.loaded().is_none(), "a call has them");
        assert_eq!(slot.load(ROOM).err(), Some(Lack::Taken));
        let kept = Arc::clone(&first.kept);
        drop(first);
        let second = slot.loaded().unwrap();
        assert!(Arc::ptr_eq(&second.kept, &kept));
        drop(second);
        let third = slot.load(ROOM).unwrap();
        assert!(Arc::ptr_eq(&third.kept, &kept));
        kept.state.store(GONE, Ordering::Release);
        let fourth = slot.load(ROOM).unwrap();
        assert!(!Arc::ptr_eq(&fourth.kept, &kept), "those that are gone are loaded anew");
    }

    #[test]
    fn whoever_cannot_have_them_does_not_try_again_for_a_while() {
        let unprivileged = || {
            give_up_capabilities();
            let mut slot = Slot::Empty;
            assert_eq!(slot.load(ROOM).err(), Some(Lack::Unavailable));
            let first = *refused_at(&mut slot);
            assert_eq!(slot.load(ROOM).err(), Some(Lack::Unavailable));
            assert_eq!(*refused_at(&mut slot), first, "nothing was tried");
            *refused_at(&mut slot) -= REFUSED_FOR;
            assert_eq!(slot.load(ROOM).err(), Some(Lack::Unavailable));
            assert!(*refused_at(&mut slot) > first, "it was tried again");
            slot
        };
        let mut slot = std::thread::spawn(unprivileged).join().unwrap();
        let is_to_be_had = programs().is_some();
        assert_eq!(slot.load(ROOM).is_ok(), is_to_be_had, "who looks from elsewhere tries anew");
    }

    #[test]
    fn a_call_that_panicked_keeps_no_other_from_the_programs() {
        let slot = Arc::new(Mutex::new(Slot::Empty));
        let of_call = Arc::clone(&slot);
        let call = std::thread::spawn(move || {
            let _held = look_into(&of_call).unwrap();
            assert!(look_into(&of_call).is_none(), "one call looks into it at a time");
            panic!("what a defect does");
        });
        assert!(call.join().is_err() && slot.is_poisoned());
        let loaded = look_into(&slot).unwrap().load(ROOM);
        let is_found = look_into(&slot).unwrap().loaded().is_some();
        assert!(!is_found, "a call has them, or there are none");
        let is_to_be_had = loaded.is_ok();
        drop(loaded);
        assert_eq!(look_into(&slot).unwrap().loaded().is_some(), is_to_be_had);
    }

    #[test]
    fn a_thread_that_panicked_is_gone_and_the_next_call_starts_another() {
        let Some((mut slot, first)) = programs() else { return };
        let kept = Arc::clone(&first.kept);
        let outcome =
            first.sweep(&Needs::default(), of(|| panic!("what a defect does")), IdentityWait::No);
        assert!(matches!(outcome, Err(Error::MeterGone)), "{outcome:?}");
        drop(first);
        let second = slot.load(ROOM).unwrap();
        assert!(!Arc::ptr_eq(&second.kept, &kept));
        let found = second.sweep(&Needs::default(), of(|| true), IdentityWait::No).unwrap();
        assert!(found.by_pid(std::process::id()).is_some());
    }

    #[test]
    fn what_is_kept_are_no_descriptors_of_this_process() {
        let before = descriptors();
        let Some((_slot, programs)) = programs() else { return };
        let needs =
            Needs { measures: Measures { fds: true, ..Measures::default() }, ..Needs::default() };
        for _ in 0..2 {
            let found = programs.sweep(&needs, of(|| true), IdentityWait::No).unwrap();
            let own = found.by_pid(std::process::id()).unwrap();
            let fds = own.gauges.fds.value().copied().unwrap();
            // The sweep itself, and the listing that counts.
            let fds = fds as usize;
            assert!(fds <= descriptors() && fds < before + 8, "{fds} {before}");
        }
        assert!(descriptors() < before + 8, "other tests open a few");
    }

    /// A `sleep` that ends with this.
    struct Sleeper(std::process::Child);

    impl Sleeper {
        fn start(variable: &str) -> Self {
            let mut sleep = std::process::Command::new("sleep");
            let sleeper = Sleeper(sleep.arg("600").env("MPP_KEPT", variable).spawn().unwrap());
            await_environment(sleeper.0.id());
            sleeper
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    /// In the middle of its exec a process has no environment yet.
    fn await_environment(pid: u32) {
        while std::fs::read(format!("/proc/{pid}/environ")).unwrap().is_empty() {
            std::thread::yield_now();
        }
    }

    /// Reads by this process so far, of files that somebody asked for.
    fn reads() -> u64 {
        let io = std::fs::read_to_string("/proc/self/io").unwrap();
        let calls = io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap();
        calls.parse().unwrap()
    }

    #[test]
    fn environments_are_read_once_and_again_only_of_who_is_new_or_has_executed_something() {
        let Some((_slot, programs)) = programs() else { return };
        let selection = Selection {
            process_env: vec![(b"MPP_KEPT".to_vec(), Some(b"x".to_vec()))],
            ..Selection::default()
        };
        let filter = Filter::new(&selection);
        let needs = Needs { identity: selection.identity_needs(), ..Needs::default() };
        let wait = IdentityWait::UpTo(Duration::from_secs(60));
        let find = || {
            let found = programs.sweep(&needs, filter.interest(), wait).unwrap();
            let matching = found.processes.iter().filter(|process| filter.matches(process));
            matching.map(|process| process.key.pid).collect::<Vec<_>>()
        };
        let sleepers: Vec<_> = (0..100).map(|_| Sleeper::start("x")).collect();
        let mut expected: Vec<_> = sleepers.iter().map(|sleeper| sleeper.0.id()).collect();
        let before = reads();
        assert_eq!(find(), expected);
        let first = reads() - before;
        assert!(first >= 100, "an environment each, not {first}");
        let before = reads();
        assert_eq!(find(), expected);
        let second = reads() - before;
        assert!(second < 100, "{second} reads, after {first}");
        // One more, and one that becomes one by executing another program.
        let shell = "read x; MPP_KEPT=x exec sleep 600";
        let mut changing = std::process::Command::new("sh");
        let changing = changing.args(["-c", shell]).stdin(std::process::Stdio::piped());
        let mut changing = Sleeper(changing.spawn().unwrap());
        assert_eq!(find(), expected);
        drop(changing.0.stdin.take());
        while std::fs::read(format!("/proc/{}/comm", changing.0.id())).unwrap() != b"sleep\n" {
            std::thread::yield_now();
        }
        await_environment(changing.0.id());
        let more = Sleeper::start("x");
        let _other = Sleeper::start("y");
        expected.extend([changing.0.id(), more.0.id()]);
        let before = reads();
        assert_eq!(find(), expected);
        assert!(reads() - before < 100, "{} reads, after {first}", reads() - before);
    }
}
