//! The thread that watches: it sweeps where a measurement begins or is read, looks at the tree in
//! between, and listens to what is told of ended processes.

use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use mpp_accounting::exit::ExitSource;
use mpp_accounting::ledger::{Ledger, Movement};
use mpp_accounting::process::ProcessKey;
use mpp_accounting::report::Tier;
use mpp_accounting::snapshot::Snapshot;
use mpp_collect::child::thread_cpu_time;
use mpp_collect::exits::Refusal;
use mpp_collect::own_thread::{OwnThread, leave_descriptors};
use mpp_collect::{
    CollectError, Collector, CollectorOptions, ContextSwitchNeeds, IdentityWait, Measures, Needs,
};

use super::account::{Account, Held, Reckoned};
use super::{Measured, Request};
use crate::budget::Budget;
use crate::error::Error;

/// How often is looked at what the tree holds.
const LOOK_PERIOD: Duration = Duration::from_millis(50);

/// What has just begun is looked at sooner: most blocks are over before long.
const FIRST_PERIOD: Duration = Duration::from_millis(1);

/// How often what is told of ends is taken in, and where nobody tells all are swept.
const LISTEN_PERIOD: Duration = Duration::from_secs(1);

/// The thread stays for so long after the last measurement: beginning anew costs more.
const LINGER: Duration = Duration::from_secs(5);

/// Looking, and sweeping, may each take one part in so many of one core's time. What somebody asks
/// for, by a begin or a reading, is not in it.
const SHARE: u32 = 100;

/// What the thread knows.
pub(super) struct Watch {
    sweeper: Collector,
    looker: Collector,
    own_pid: u32,
    snapshot: Snapshot,
    ledger: Ledger,
    tree: Snapshot,
    thread: OwnThread,
    accounts: BTreeMap<u64, Account>,
    next_number: u64,
    last_begin: Instant,
    looks: Budget,
    sweeps: Budget,
    next_look: Instant,
    next_sweep: Instant,
    next_listening: Instant,
    /// Since when nothing is measured.
    idle_since: Instant,
}

impl Watch {
    /// Opens what there is to read, and takes the first sweep, of which nothing is known but how
    /// things stand.
    pub(super) fn open(tier_max: Tier) -> Result<Self, Error> {
        let exits = match tier_max {
            Tier::A => ExitSource::Exact,
            Tier::B => ExitSource::Rounded,
            Tier::C => ExitSource::Nobody,
        };
        // Where the kernel cannot do that, our descriptors are counted among the process's.
        let _ = leave_descriptors();
        let now = Instant::now();
        let mut watch = Watch {
            sweeper: Collector::open(CollectorOptions { exits, ..CollectorOptions::default() })?,
            looker: Collector::open(CollectorOptions::default())?,
            own_pid: std::process::id(),
            snapshot: Snapshot::default(),
            ledger: Ledger::new(),
            tree: Snapshot::default(),
            thread: OwnThread::open(),
            accounts: BTreeMap::new(),
            next_number: 0,
            last_begin: now,
            looks: Budget::new(SHARE, now),
            sweeps: Budget::new(SHARE, now),
            next_look: now,
            next_sweep: now,
            next_listening: now,
            idle_since: now,
        };
        watch.sweep()?;
        Ok(watch)
    }

    pub(super) fn tier(&self) -> Tier {
        match self.sweeper.exit_source() {
            ExitSource::Exact => Tier::A,
            ExitSource::Rounded => Tier::B,
            ExitSource::Nobody => Tier::C,
        }
    }

    pub(super) fn refusals(&self) -> &[Refusal] {
        self.sweeper.refusals()
    }

    /// Does what is asked for until nobody can ask any more, or nobody has for a while.
    pub(super) fn serve(mut self, requests: &Receiver<Request>) {
        // Where the machine is busy the first sweep alone may have taken longer than it lingers.
        self.idle_since = Instant::now();
        loop {
            match requests.recv_timeout(self.longest_wait()) {
                Ok(Request::Begin(answer)) => {
                    // Who asked may have gone.
                    let _ = answer.send(self.begin());
                }
                Ok(Request::Read(number, elapsed, answer)) => {
                    let _ = answer.send(self.read(number, elapsed));
                }
                Ok(Request::Forget(number)) => {
                    drop(self.accounts.remove(&number));
                    self.idle_since = Instant::now();
                }
                Err(RecvTimeoutError::Timeout) if self.has_lingered() => return,
                Err(RecvTimeoutError::Timeout) => self.do_what_is_due(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn has_lingered(&self) -> bool {
        self.accounts.is_empty() && self.idle_since.elapsed() >= LINGER
    }

    fn longest_wait(&self) -> Duration {
        let due = match self.accounts.is_empty() {
            // What is told meanwhile is of no measurement, lost or not.
            true => self.idle_since + LINGER,
            false => self.next_look.min(self.next_sweep).min(self.next_listening),
        };
        due.saturating_duration_since(Instant::now())
    }

    fn do_what_is_due(&mut self) {
        let now = Instant::now();
        if now >= self.next_look {
            let before = thread_cpu_time();
            self.look();
            self.looks.pay(now, thread_cpu_time().saturating_sub(before));
            self.plan_look();
        }
        if now >= self.next_sweep {
            let before = thread_cpu_time();
            // What could not be swept now is swept the next time.
            if self.advance().is_err() {
                self.accounts.values_mut().for_each(Account::fail);
            }
            self.sweeps.pay(now, thread_cpu_time().saturating_sub(before));
            self.plan_sweep();
        } else if now >= self.next_listening {
            self.sweeper.listen();
            self.next_listening = now + LISTEN_PERIOD;
        }
    }

    fn begin(&mut self) -> Result<u64, Error> {
        self.look();
        let (movement, deeds) = self.advance()?;
        let account = Account::begin(self.own_pid, &self.snapshot, &movement, deeds);
        let number = self.next_number;
        self.next_number += 1;
        self.accounts.insert(number, account);
        self.last_begin = Instant::now();
        self.plan_look();
        Ok(number)
    }

    fn read(&mut self, number: u64, elapsed: Duration) -> Result<Measured, Error> {
        self.look();
        let (_, deeds) = self.advance()?;
        let account = self.accounts.get(&number).ok_or(Error::MeterGone)?;
        Ok(account.measured(elapsed, &deeds, &self.snapshot))
    }

    /// Sweeps, and tells every measurement what moved.
    fn advance(&mut self) -> Result<(Movement, Reckoned), Error> {
        // The kernel brings the account of this thread up to date.
        std::thread::yield_now();
        let beforehand = self.thread.deeds().map_err(|errno| Error::MeterThread(errno.into()))?;
        let movement = self.sweep()?;
        let deeds = match self.sweeper.sweeping_thread() {
            Some(deeds) => Reckoned::with_the_sum(deeds),
            None => Reckoned::beforehand(beforehand),
        };
        for account in self.accounts.values_mut() {
            account.advance(&mut self.snapshot, &movement);
        }
        Ok((movement, deeds))
    }

    fn sweep(&mut self) -> Result<Movement, Error> {
        let swept = self.sweep_everybody();
        self.plan_sweep();
        swept?;
        Ok(self.ledger.advance(&self.snapshot))
    }

    fn plan_sweep(&mut self) {
        let period = match self.tier() {
            Tier::A | Tier::B => LISTEN_PERIOD,
            Tier::C => LOOK_PERIOD,
        };
        let now = Instant::now();
        self.next_sweep = now + period.max(self.sweeps.wait(now));
        self.next_listening = now + LISTEN_PERIOD;
    }

    /// What processes hold is read of those alone that may belong to a measurement.
    fn sweep_everybody(&mut self) -> Result<(), CollectError> {
        let tree = self.tree.processes.iter().map(|process| process.key);
        let members = self.accounts.values().flat_map(Account::members);
        let known: HashSet<ProcessKey> = tree.chain(members).collect();
        let oldest = self.accounts.values().map(Account::began_at_ticks).min();
        let (own_pid, oldest) = (self.own_pid, oldest.unwrap_or(u64::MAX));
        self.sweeper.sweep_of_interest(
            &needs(),
            &|key, _| key.pid == own_pid || key.start_time_ticks >= oldest || known.contains(&key),
            IdentityWait::No,
            &mut self.snapshot,
        )
    }

    /// Looks at what the tree holds. A look that fails is no reason to give up.
    fn look(&mut self) {
        let swept = self.looker.sweep_tree(self.own_pid, &look_needs(), &mut self.tree);
        match swept {
            Ok(()) => self.tell_look(),
            Err(_) => self.accounts.values_mut().for_each(Account::fail),
        }
        self.plan_look();
    }

    fn plan_look(&mut self) {
        let now = Instant::now();
        let period = LOOK_PERIOD.min(FIRST_PERIOD + now.duration_since(self.last_begin) / 4);
        self.next_look = now + period.max(self.looks.wait(now));
    }

    fn tell_look(&mut self) {
        let Watch { looker, tree, accounts, .. } = self;
        let held = Held::by(tree.processes.iter());
        for account in accounts.values_mut() {
            let strays = account.strays(tree);
            let pids: Vec<u32> = strays.iter().map(|key| key.pid).collect();
            let found = match pids.as_slice() {
                [] => Ok(Vec::new()),
                pids => looker.read(pids, &look_needs(), IdentityWait::No),
            };
            let found: Vec<_> = found.unwrap_or_default().into_iter().flatten().collect();
            account.look(held, tree, found.iter().filter(|process| strays.contains(&process.key)));
        }
    }
}

/// What a sweep reads.
fn needs() -> Needs {
    let measures = Measures {
        memory: true,
        io: true,
        fds: true,
        context_switches: ContextSwitchNeeds::AllThreads,
        ..Measures::default()
    };
    Needs { measures, ..Needs::default() }
}

/// What a look reads.
fn look_needs() -> Needs {
    let measures = Measures { memory: true, fds: true, ..Measures::default() };
    Needs { measures, ..Needs::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long until it looks and sweeps again, once each has cost so much.
    fn waits_after(watch: &mut Watch, cost: Duration) -> [Duration; 2] {
        let began = Instant::now();
        watch.looks.pay(began, cost);
        watch.sweeps.pay(began, cost);
        watch.plan_look();
        watch.plan_sweep();
        let now = Instant::now();
        [watch.next_look, watch.next_sweep].map(|next| next.saturating_duration_since(now))
    }

    #[test]
    fn a_single_costly_look_leaves_no_hole_and_many_keep_to_their_share() {
        let mut watch = Watch::open(Tier::C).unwrap();
        let waits = waits_after(&mut watch, Duration::from_millis(10));
        assert!(waits.iter().all(|wait| *wait <= LOOK_PERIOD), "{waits:?}");
        let waits = waits_after(&mut watch, Duration::from_secs(10));
        assert!(waits.iter().all(|wait| *wait > Duration::from_secs(500)), "{waits:?}");
    }

    #[test]
    fn what_somebody_asks_for_is_not_taken_from_what_the_thread_may_spend() {
        let mut watch = Watch::open(Tier::C).unwrap();
        let before = (watch.looks, watch.sweeps);
        let number = watch.begin().unwrap();
        watch.read(number, Duration::ZERO).unwrap();
        assert_eq!((watch.looks, watch.sweeps), before);
    }
}
