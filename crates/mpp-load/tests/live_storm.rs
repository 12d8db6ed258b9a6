//! Thousands of processes a second that write and end at once, through the whole monitor: each is
//! counted, each of its bytes, and where too little room was left for their records that is said
//! and made up for.

#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

mod support;

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics_per_process::report::{Figure, Mark, Report, Tier, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{ExitRoom, Monitor, metric};
use serde_json::Value as Truth;
use support::{Load, io_counters, number};

/// What each child writes: not a multiple of what taskstats round down to.
const CHILD_BYTES: u64 = 3000;
const CHILD_BYTES_ROUNDED: u64 = 2048;

/// Room for a handful of records.
const TINY: ExitRoom = ExitRoom { ring_bytes: 4096, socket_bytes: 4096 };

/// So many threads of others may end while no more than one of the monitors listens.
const STRANGERS_MIN: u64 = 200;

const INTERVAL: Duration = Duration::from_millis(500);

/// What a monitor saw of a storm.
#[derive(Default)]
struct Seen {
    reports: Vec<Report>,
    /// Processes of the storm of which a record came.
    recorded: u64,
    /// Threads of others.
    strangers: u64,
    /// Threads that the kernel only added up for the storm's first process.
    spilled: u64,
    /// CPU time of the monitor itself.
    cpu_us: u64,
}

impl Seen {
    fn figure(&self, report: &Report, column: &str) -> (u64, Mark) {
        let position = report.columns.iter().position(|c| c.name() == column);
        match report.groups[0].figures[position.expect("one of the columns")] {
            Figure::Known { value: Value::Integer(number), mark } => (number, mark),
            other => panic!("expected a number in {column}, but found {other:?}"),
        }
    }

    /// By how much a counter grew, and how far that can be trusted.
    fn growth(&self, column: &str) -> (u64, Mark) {
        let figures: Vec<_> = self.reports.iter().map(|r| self.figure(r, column)).collect();
        assert!(figures.is_sorted_by_key(|(number, _)| *number), "{column} fell: {figures:?}");
        let (last, mark) = figures[figures.len() - 1];
        (last - figures[0].0, mark)
    }

    /// The tiers of all intervals but the first, in which somebody else may begin to be heard.
    fn tiers(&self) -> Vec<Tier> {
        self.reports.iter().skip(1).map(|report| report.accuracy.tier).collect()
    }

    /// Records of anybody's threads that the kernel wrote and nobody received.
    fn missed(&self) -> u64 {
        self.reports.last().map_or(0, |report| report.accuracy.lost_records_total)
    }
}

/// CPU time of the calling thread, in microseconds: the first number of its `schedstat`.
fn thread_cpu_us() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat of a thread");
    let on_cpu_ns: u64 = text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    on_cpu_ns / 1000
}

/// A monitor in a thread of its own.
struct Watcher {
    is_over: Arc<AtomicBool>,
    seen: JoinHandle<Seen>,
}

/// A monitor, and what it has seen.
struct Watching {
    monitor: Monitor,
    storm_pid: u32,
    storm_comm: String,
    seen: Seen,
}

impl Watching {
    fn sample(&mut self) {
        let before_us = thread_cpu_us();
        let report = self.monitor.sample().expect("a sample");
        self.seen.cpu_us += thread_cpu_us() - before_us;
        self.seen.reports.push(report);
        let exits = &self.monitor.snapshot().exits;
        let is_of_storm = |comm: &[u8]| *comm == *self.storm_comm.as_bytes();
        let of_storm = exits.processes.iter();
        let of_storm = of_storm.filter(|exit| is_of_storm(&exit.sample.identity.comm)).count();
        self.seen.recorded += of_storm as u64;
        self.seen.strangers += (exits.threads.len() - of_storm) as u64;
        let spills = exits.spills.iter().filter(|spill| spill.parent.pid == self.storm_pid);
        self.seen.spilled += spills.map(|spill| spill.threads).sum::<u64>();
    }
}

impl Watcher {
    /// Takes the baseline before it returns.
    fn start(storm: &Storm<'_>, group: &str, tier: Tier, room: ExitRoom) -> Self {
        let selector = Selector::parse(&format!("{group}:{}", storm.load.pid()));
        let columns = metric::choose("io_counters.write_chars,processes.ended");
        let monitor = Monitor::builder()
            .group(group, selector.expect("a selector"))
            .columns(columns.expect("metrics of the table"))
            .tier_max(tier)
            .exit_room(room)
            .build()
            .expect("a readable procfs");
        let (storm_pid, storm_comm) = (storm.load.pid(), storm.comm.to_owned());
        let mut watching = Watching { monitor, storm_pid, storm_comm, seen: Seen::default() };
        watching.sample();
        watching.sample();
        watching.seen = Seen { reports: watching.seen.reports.split_off(1), ..Seen::default() };
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let seen = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(INTERVAL);
                watching.sample();
            }
            // What was lost in the end shows by now, and the tier is what it was.
            for _ in 0..3 {
                std::thread::sleep(INTERVAL / 4);
                watching.sample();
                end_on_each_cpu();
            }
            watching.seen
        });
        Watcher { is_over, seen }
    }

    fn stop(self) -> Seen {
        self.is_over.store(true, Ordering::Relaxed);
        self.seen.join().expect("the watcher did not panic")
    }
}

/// A storm that is about to begin.
struct Storm<'a> {
    load: &'a Load,
    comm: &'a str,
}

/// What four monitors saw of one storm, and the truth.
struct Watched {
    exact: Seen,
    rounded: Seen,
    exact_tiny: Seen,
    rounded_tiny: Seen,
    truth: Truth,
    /// What the first process wrote itself: its lines of truth.
    words: u64,
}

fn watch(children: u64, per_second: u64) -> Watched {
    let comm = format!("storm{}", std::process::id());
    let [children, per_second, bytes] = [children, per_second, CHILD_BYTES].map(|n| n.to_string());
    let arguments = ["--children", &children, "--per-second", &per_second, "--bytes", &bytes];
    let mut load = Load::start(&[&["vanish-storm", "--comm", &comm][..], &arguments].concat());
    let storm = Storm { load: &load, comm: &comm };
    let roomy = ExitRoom::default();
    let watchers = [
        Watcher::start(&storm, "children-of", Tier::A, roomy),
        Watcher::start(&storm, "children-of", Tier::B, roomy),
        Watcher::start(&storm, "pid", Tier::A, TINY),
        Watcher::start(&storm, "pid", Tier::B, TINY),
    ];
    let words_before = words(&load);
    load.begin();
    let truth = load.total();
    let words = words(&load) - words_before;
    let [exact, rounded, exact_tiny, rounded_tiny] = watchers.map(Watcher::stop);
    Watched { exact, rounded, exact_tiny, rounded_tiny, truth, words }
}

/// What the first process of a storm has written itself, its children left out.
fn words(load: &Load) -> u64 {
    let pid = load.pid();
    io_counters(&format!("/proc/{pid}/task/{pid}/io"))["wchar"]
}

/// Ends two processes on each CPU: that records are missing shows when the next ones come.
fn end_on_each_cpu() {
    let cpus = std::thread::available_parallelism().expect("a number of CPUs").get();
    for cpu in (0..cpus).flat_map(|cpu| [cpu, cpu]) {
        let status = Command::new("taskset").args(["-c", &cpu.to_string(), "true"]).status();
        assert!(status.expect("taskset(1)").success());
    }
}

/// CPU time of the load for each of its children, and of a monitor.
fn cost(seen: &Seen, truth: &Truth) -> (f64, f64) {
    let load_us = number(truth, "own_cpu_us") + number(truth, "reaped_cpu_us");
    let born = number(truth, "born") as f64;
    (load_us as f64 / born, seen.cpu_us as f64 / born)
}

/// Everything was told: each end, each byte, and in every interval.
fn check_whole(seen: &Seen, tier: Tier, child_bytes: u64, truth: &Truth) {
    let born = number(truth, "born");
    if seen.tiers().iter().all(|found| *found > tier) {
        eprintln!("tier {tier:?} is not to be had here");
        return;
    }
    assert_eq!(seen.missed(), 0, "{tier:?}: {truth}");
    assert_eq!((seen.recorded, seen.spilled), (born, 0), "{tier:?}");
    assert!(seen.tiers().iter().all(|found| *found == tier), "{:?}", seen.tiers());
    assert_eq!(seen.growth("processes.ended"), (born, Mark::Exact), "{tier:?}");
    let mark = if tier == Tier::A { Mark::Exact } else { Mark::Bound };
    assert_eq!(seen.growth("io_counters.write_chars"), (born * child_bytes, mark), "{tier:?}");
    let (load_us, own_us) = cost(seen, truth);
    eprintln!("{tier:?}: {own_us:.1} us of our CPU for each end, {load_us:.0} us of the load's");
    // What is measured costs more than measuring it, even where nothing is optimized and the
    // machine has others to look at.
    assert!(own_us < load_us, "{tier:?}: {own_us} us against {load_us} us");
}

/// Of most nothing was told one by one, that is said, and the sum is right all the same.
fn check_tiny(seen: &Seen, tier: Tier, watched: &Watched) {
    let truth = &watched.truth;
    let born = number(truth, "born");
    let (written, mark) = seen.growth("io_counters.write_chars");
    let truth_bytes = number(truth, "thrown_away_bytes") + watched.words;
    assert_eq!(mark, Mark::Estimate);
    let bound = match tier {
        // What others did that found no room either may be taken for its own words.
        Tier::A => watched.words,
        // Where all of an interval came after all, its records are rounded, and that is told.
        _ => seen.reports.last().map_or(0, |report| report.accuracy.io_bound_bytes),
    };
    assert!(
        written <= truth_bytes && truth_bytes - written <= bound,
        "{tier:?}: {written} of {truth_bytes}, at most {bound} less"
    );
    assert!(seen.recorded < born / 10, "{} of {born}", seen.recorded);
}

fn check(children: u64, per_second: u64) {
    let watched = watch(children, per_second);
    let Watched { exact, rounded, exact_tiny, rounded_tiny, truth, .. } = &watched;
    let born = number(truth, "born");
    check_whole(exact, Tier::A, CHILD_BYTES, truth);
    check_whole(rounded, Tier::B, CHILD_BYTES_ROUNDED, truth);
    if exact.tiers().contains(&Tier::A) {
        check_tiny(exact_tiny, Tier::A, &watched);
        // What found no room was added up: nothing is lost, and nothing is told twice.
        assert_eq!(exact_tiny.recorded + exact_tiny.spilled, born, "{truth}");
        assert_eq!(exact_tiny.missed(), 0);
        assert_eq!(exact_tiny.tiers().iter().max(), Some(&Tier::B));
    }
    if rounded.tiers().contains(&Tier::B) {
        check_tiny(rounded_tiny, Tier::B, &watched);
        // Other threads of the machine ended meanwhile, and some of those were lost, too.
        let missed = rounded_tiny.missed();
        let missing = born - rounded_tiny.recorded;
        let most = missing + 2 * rounded.strangers.max(exact.strangers) + STRANGERS_MIN;
        assert!((missing..=most).contains(&missed), "{missed} missed, {missing} missing, {most}");
        assert!(rounded_tiny.tiers().contains(&Tier::C));
    }
}

#[test]
fn five_thousand_ends_a_second_are_counted_one_by_one() {
    check(10_000, 5000);
}

#[test]
fn twenty_thousand_ends_at_twelve_thousand_a_second_are_counted_one_by_one() {
    check(20_000, 12_000);
}
