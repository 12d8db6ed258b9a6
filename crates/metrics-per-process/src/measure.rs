//! What this process and everything that it starts uses, from one moment to another.
//!
//! A [`Meter`] is a thread that watches; each [`Measurement`] is a stretch of time. Counters are
//! what was done in it and nothing else; of what rises and falls, memory above all, the figure is
//! the most that was seen at once, and a lower bound. Processes that lived at the begin count
//! with their growth; those that were started since belong to it for good, daemons included,
//! as far as the tier sees whose they are.
//!
//! The thread is part of the process that it measures. What it does itself is taken off. At tier A
//! both are read at one moment; elsewhere they are not, so that CPU time, faults, context switches
//! and what was read without storage are estimates. What a thread that runs meanwhile has used since
//! the last tick of the clock is not in either.
//!
//! ```
//! use metrics_per_process::measure::Meter;
//! use metrics_per_process::report::Tier;
//!
//! let meter = Meter::start(Tier::A)?;
//! let measurement = meter.begin()?;
//! std::process::Command::new("true").status().unwrap();
//! let measured = measurement.end()?;
//! assert!(measured.still_running.is_empty());
//! # Ok::<(), metrics_per_process::Error>(())
//! ```

mod account;
mod watch;

use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mpp_accounting::report::{Figure, Report, Tier};
use mpp_accounting::run::Survivor;
use mpp_collect::exits::Refusal;
use mpp_collect::own_thread::spawn_deaf;

use crate::error::Error;
use watch::Watch;

/// Measures this process and everything below it, by a thread that watches. The thread ends a few
/// seconds after the last measurement, and starts anew with the next one.
#[derive(Debug)]
pub struct Meter {
    tier_max: Tier,
    running: Mutex<Running>,
}

/// A thread that watches. It ends when this and all measurements are dropped.
#[derive(Debug)]
struct Running {
    requests: Sender<Request>,
    tier: Tier,
    refusals: Vec<Refusal>,
}

/// A stretch of time that is measured.
#[derive(Debug)]
pub struct Measurement {
    requests: Sender<Request>,
    number: u64,
    began: Instant,
}

/// What was used in a stretch of time.
#[derive(Clone, Debug)]
pub struct Measured {
    /// One row with the columns of [`TOTAL_METRICS`](crate::run::TOTAL_METRICS); its interval is
    /// the stretch of time.
    pub total: Report,
    /// How many processes began in it, as far as was seen.
    pub started: Figure,
    /// Those that were started in it and lived at its end, ascending by PID.
    pub still_running: Vec<Survivor>,
    /// How often was looked at what all hold.
    pub looks: u64,
    /// How often looking or sweeping failed: what was there then was not seen.
    pub failed_looks: u64,
    /// CPU time that measuring took meanwhile. It is not in the figures.
    pub own_cpu: Duration,
}

/// What the thread is asked for.
enum Request {
    /// Begin a measurement; the answer is its number.
    Begin(SyncSender<Result<u64, Error>>),
    /// What was used so far, that long after the begin.
    Read(u64, Duration, SyncSender<Result<Measured, Error>>),
    /// Nobody wants to know any more.
    Forget(u64),
}

impl Meter {
    /// Starts the thread, which sees ended processes no better than `tier_max` allows.
    ///
    /// # Errors
    /// The processes cannot be read at all, or no thread can be started.
    pub fn start(tier_max: Tier) -> Result<Self, Error> {
        Ok(Meter { tier_max, running: Mutex::new(Running::start(tier_max)?) })
    }

    /// Begins a measurement: what was done before does not count.
    ///
    /// # Errors
    /// The processes cannot be read.
    pub fn begin(&self) -> Result<Measurement, Error> {
        let mut running = self.lock();
        let number = match ask(&running.requests, Request::Begin) {
            Err(Error::MeterGone) => {
                *running = Running::start(self.tier_max)?;
                ask(&running.requests, Request::Begin)?
            }
            answer => answer?,
        };
        Ok(Measurement { requests: running.requests.clone(), number, began: Instant::now() })
    }

    /// How well ended processes can be seen, if none of what is told of them is lost.
    #[must_use]
    pub fn tier(&self) -> Tier {
        self.lock().tier
    }

    /// Why they are not seen better.
    #[must_use]
    pub fn refusals(&self) -> Vec<Refusal> {
        self.lock().refusals.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    fn start(tier_max: Tier) -> Result<Self, Error> {
        let (requests, received) = channel();
        let (say, hear) = sync_channel(1);
        let body = move || match Watch::open(tier_max) {
            Ok(watch) => {
                // The other end waits for it.
                let _ = say.send(Ok((watch.tier(), watch.refusals().to_vec())));
                watch.serve(&received);
            }
            Err(error) => {
                let _ = say.send(Err(error));
            }
        };
        spawn_deaf("mpp-meter", body).map_err(Error::MeterThread)?;
        let (tier, refusals) = hear.recv().map_err(|_| Error::MeterGone)??;
        Ok(Running { requests, tier, refusals })
    }
}

impl Measurement {
    /// What was used until now.
    ///
    /// # Errors
    /// The processes cannot be read.
    pub fn so_far(&self) -> Result<Measured, Error> {
        let elapsed = self.began.elapsed();
        ask(&self.requests, |answer| Request::Read(self.number, elapsed, answer))
    }

    /// What was used, all in all.
    ///
    /// # Errors
    /// The processes cannot be read.
    pub fn end(self) -> Result<Measured, Error> {
        self.so_far()
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        // Where the thread has ended it has forgotten everything.
        let _ = self.requests.send(Request::Forget(self.number));
    }
}

/// Asks and waits for the answer.
fn ask<T>(
    requests: &Sender<Request>,
    request: impl FnOnce(SyncSender<Result<T, Error>>) -> Request,
) -> Result<T, Error> {
    let (say, hear) = sync_channel(1);
    requests.send(request(say)).map_err(|_| Error::MeterGone)?;
    hear.recv().map_err(|_| Error::MeterGone)?
}
