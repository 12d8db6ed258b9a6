//! What monitors of every tier show of a load, and what is true in the same moments.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_per_process::report::{Figure, Report, Tier, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{Monitor, metric};

use super::Load;
use super::truth::{Deeds, Truth};

const TIERS: [Tier; 3] = [Tier::A, Tier::B, Tier::C];
const INTERVALS: [Duration; 2] = [Duration::from_millis(200), Duration::from_secs(1)];

const WRITTEN: &str = "io_counters.write_bytes";
const PROCESSES: &str = "processes.total";

/// What one process may have written before it counts that: one write, and blocks of the
/// filesystem's own for one file.
pub(crate) const SLICE_BYTES: u64 = (64 + 32) << 10;

/// A sample, and how the load's counters stood before and after it.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) before: Deeds,
    /// Bytes written, by group.
    pub(crate) written: Vec<u64>,
    /// Processes that are there, by group.
    pub(crate) processes: Vec<u64>,
    pub(crate) tier: Tier,
    pub(crate) after: Deeds,
}

/// A monitor that samples in a thread of its own until it is told to stop.
pub(crate) struct Watcher {
    tier: Tier,
    interval: Duration,
    is_over: Arc<AtomicBool>,
    moments: JoinHandle<Vec<Moment>>,
}

impl Watcher {
    /// One for each tier and interval.
    pub(crate) fn start_all(load: &Load, groups: &[&str]) -> Vec<Self> {
        let pairs = TIERS.into_iter().flat_map(|tier| INTERVALS.map(|interval| (tier, interval)));
        pairs.map(|(tier, interval)| Watcher::start(load, groups, tier, interval)).collect()
    }

    /// Takes the baseline before it returns.
    fn start(load: &Load, groups: &[&str], tier: Tier, interval: Duration) -> Self {
        let truth = Truth::of(load);
        let columns = metric::choose(&format!("{WRITTEN},{PROCESSES}")).unwrap();
        let mut builder = Monitor::builder().columns(columns).tier_max(tier);
        for group in groups {
            builder = builder.group(*group, Selector::parse(group).unwrap());
        }
        let mut monitor = builder.build().unwrap();
        let mut moments = vec![moment(&mut monitor, &truth)];
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let moments = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(interval);
                moments.push(moment(&mut monitor, &truth));
            }
            // What was reaped after its reaper was read shows in the next sweep.
            moments.push(moment(&mut monitor, &truth));
            moments
        });
        Watcher { tier, interval, is_over, moments }
    }

    /// Takes the last samples.
    pub(crate) fn stop(self) -> Vec<Moment> {
        self.is_over.store(true, Ordering::Relaxed);
        self.moments.join().expect("the watcher did not panic")
    }
}

impl fmt::Display for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tier {:?} every {:?}", self.tier, self.interval)
    }
}

fn moment(monitor: &mut Monitor, truth: &Truth) -> Moment {
    let before = truth.now();
    let report = monitor.sample().unwrap();
    let after = truth.now();
    let (written, processes) = (column(&report, WRITTEN), column(&report, PROCESSES));
    Moment { before, written, processes, tier: report.accuracy.tier, after }
}

/// The whole numbers of all groups in one column.
fn column(report: &Report, name: &str) -> Vec<u64> {
    let position = report.columns.iter().position(|column| column.name() == name);
    let position = position.expect("one of the columns");
    let figures = report.groups.iter().map(|group| group.figures[position]);
    let number = |figure| match figure {
        Figure::Known { value: Value::Integer(number), .. } => number,
        other => panic!("expected a number, but found {other:?}"),
    };
    figures.map(number).collect()
}
