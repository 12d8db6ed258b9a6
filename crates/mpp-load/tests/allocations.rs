//! A process that is the same as at the last sample costs no allocation, and not more memory
//! than it needs; and those that are gone cost none any more.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[path = "support/population.rs"]
mod population;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

use metrics_per_process::metric::Need;
use metrics_per_process::report::Tier;
use metrics_per_process::selector::{GroupKey, Resolution, Selector};
use metrics_per_process::{EndedOptions, Monitor, metric};
use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::Ledger;
use mpp_accounting::process::{Gauges, ProcessSample};
use mpp_accounting::slack;
use mpp_accounting::snapshot::Snapshot;
use mpp_export::ended::{EndedEncoder, EndedFormat, EndedLayout};
use mpp_export::{Encoder, Format, Options, Origin};

const METRICS: &str = "processes.*,cpu.*,memory.rss,fds,threads,io_counters.*";

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes that were allocated and not freed.
    static HELD: Cell<i64> = const { Cell::new(0) };
    /// The most of them that there were at once.
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

/// The system's allocator, which counts for each thread.
struct Counting;

// SAFETY: every call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        HELD.set(HELD.get().wrapping_add_unsigned(layout.size() as u64));
        PEAK.set(PEAK.get().max(HELD.get()));
        // SAFETY: the caller keeps the promises of this very call.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub_unsigned(layout.size() as u64));
        // SAFETY: the pointer came from the system's allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations_of(body: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    body();
    ALLOCATIONS.get() - before
}

/// What a body holds at the most, and what it leaves behind.
fn bytes_of<T>(body: impl FnOnce() -> T) -> (i64, i64, T) {
    let before = HELD.get();
    PEAK.set(before);
    let result = body();
    (PEAK.get() - before, HELD.get() - before, result)
}

fn book() -> GroupBook {
    let rows = Rows::Keyed {
        selector: Box::new(Selector::default()),
        key: GroupKey::Name,
        rows_max: 1000,
    };
    GroupBook::new(rows, metric::choose(METRICS).unwrap().into())
}

/// What one more sample of so many processes allocates, of which one in `every` does something,
/// past the purity line.
fn check(count: u32, every: usize) -> u64 {
    let mut snapshot = population::population(count);
    let (mut ledger, mut book) = (Ledger::new(), book());
    let mut fold = |snapshot: &Snapshot| {
        let movement = ledger.advance(snapshot);
        book.fold(snapshot, &movement, &Resolution::default())
    };
    let mut spent = 0;
    for _ in 0..4 {
        population::pass(&mut snapshot, every);
        spent = allocations_of(|| drop(fold(&snapshot)));
    }
    spent
}

#[test]
fn ledger_and_groups_allocate_nothing_for_a_process() {
    let few = check(100, 1000);
    assert_eq!(check(20_000, 20_000), few, "processes that do nothing");
    // Lists of what moved grow by doubling.
    let active = check(20_000, 1);
    assert!(active <= few + 64, "{active} allocations for 20,000 active processes, {few} for 100");
}

/// Past the purity line everything is counted to the byte, so that this holds on any machine.
#[test]
fn ledger_and_groups_hold_little_of_a_process_and_hardly_more_for_a_moment() {
    fn check(count: u32, every: usize, held_max: i64, peak_max: i64) {
        let mut snapshot = population::population(count);
        let (peak, held, kept) = bytes_of(|| {
            let (mut ledger, mut book) = (Ledger::new(), book());
            for _ in 0..3 {
                let movement = ledger.advance(&snapshot);
                drop(book.fold(&snapshot, &movement, &Resolution::default()));
                population::pass(&mut snapshot, every);
            }
            (ledger, book)
        });
        drop(kept);
        let [peak, held] = [peak, held].map(|bytes| bytes / i64::from(count));
        assert!(held <= held_max, "{held} bytes held of a process");
        assert!(peak <= peak_max, "{peak} bytes of a process at the most");
    }
    check(10_000, 10_000, 330, 365);
    check(10_000, 10, 330, 365);
}

/// Sleeping processes, until they are dropped.
struct Sleepers(Child);

impl Sleepers {
    fn start(count: u32) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_mpp-load"));
        command.args(["sleepers", "--count", &count.to_string(), "--directory"]);
        command.arg(directory.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("\"ready\""), "{line}");
        Sleepers(child)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Others on this machine come and go, so the cheapest of many samples is looked at.
fn cheapest_sample(monitor: &mut Monitor) -> u64 {
    for _ in 0..3 {
        monitor.sample().unwrap();
    }
    let allocations = (0..40).map(|_| allocations_of(|| drop(monitor.sample().unwrap())));
    allocations.min().unwrap()
}

#[test]
fn a_sample_by_the_kernels_iterator_allocates_nothing_for_a_process() {
    const COUNT: u32 = 500;
    let columns = metric::choose(METRICS).unwrap();
    let mut monitor = Monitor::builder().by(GroupKey::Name).columns(columns).build().unwrap();
    if monitor.tier() != Tier::A {
        assert!(!monitor.refusals().is_empty(), "nobody says why it is no better");
        return;
    }
    // Each name costs, in every report.
    let _few = Sleepers::start(population::NAMES * 4);
    let before = cheapest_sample(&mut monitor);
    let _many = Sleepers::start(COUNT);
    let after = cheapest_sample(&mut monitor);
    assert!(monitor.snapshot().processes.len() > COUNT as usize);
    assert!(after < before + u64::from(COUNT) / 5, "{before} allocations, then {after}");
}

/// How many bytes a monitor holds that sees no better than this, how many processes it sees, and
/// at which tier.
fn held_by_monitor(tier_max: Tier) -> (i64, i64, Tier) {
    let columns = metric::choose(METRICS).unwrap();
    let builder = Monitor::builder().by(GroupKey::Name).columns(columns).tier_max(tier_max);
    let (_, held, monitor) = bytes_of(|| {
        let mut monitor = builder.build().unwrap();
        for _ in 0..=2 * slack::INTERVALS {
            drop(monitor.sample().unwrap());
        }
        monitor
    });
    (held, monitor.snapshot().processes.len() as i64, monitor.tier())
}

/// How many bytes a monitor holds for one process more, its sample included; `None` where there is
/// no such tier. Whoever ends meanwhile takes room, too, so the least of some monitors counts.
fn held_of_a_process(tier: Tier) -> Option<i64> {
    const COUNT: u32 = 1000;
    const MONITORS: u32 = 5;
    let least = || (0..MONITORS).map(|_| held_by_monitor(tier)).min_by_key(|(held, ..)| *held);
    let _few = Sleepers::start(population::NAMES * 4);
    let (before, processes_before, _) = least()?;
    let _many = Sleepers::start(COUNT);
    let (after, processes, found) = least()?;
    let come = processes - processes_before;
    assert!(come > i64::from(COUNT) / 2, "{come} have come");
    (found == tier).then_some((after - before) / come)
}

/// One of ten sleepers has four threads, which count here with their process.
#[test]
fn a_monitor_holds_little_of_a_process_at_any_tier() {
    fn check(tier: Tier, bytes_max: i64) {
        // Another tier is looked at where it is not to be had.
        let Some(bytes) = held_of_a_process(tier) else { return };
        assert!(bytes <= bytes_max, "{tier:?}: {bytes} bytes of a process");
    }
    check(Tier::A, 800);
    check(Tier::B, 1200);
    check(Tier::C, 1020);
}

/// Children that end at once, by the thousand, and whoever has begun them.
struct Storm {
    child: Child,
    words: BufReader<ChildStdout>,
}

impl Storm {
    const CHILDREN: u32 = 4000;

    fn get_ready() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mpp-load"));
        command.args(["vanish-storm", "--per-second", "100000"]);
        command.args(["--children", &Self::CHILDREN.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let words = BufReader::new(child.stdout.take().unwrap());
        let mut storm = Storm { child, words };
        storm.wait_for("\"ready\"");
        storm
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        while !line.contains(word) {
            line.clear();
            assert_ne!(self.words.read_line(&mut line).unwrap(), 0, "it ended before {word}");
        }
    }

    /// Returns when all have ended.
    fn blow(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        self.wait_for("\"total\"");
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

/// Has a monitor that sees ended processes no better than this, and tells of them one by one,
/// write every report while a storm blows and after it.
fn check_storm(tier_max: Tier) {
    let mut storm = Storm::get_ready();
    let mut columns = metric::choose("all").unwrap();
    columns.retain(|column| column.metric.need != Need::ProportionalMemory);
    let selector = Selector::parse(&format!("pid:{}", storm.child.id())).unwrap();
    let builder = Monitor::builder().group("storm", selector).columns(columns);
    let builder = builder.tier_max(tier_max).ended(EndedOptions::default());
    let mut watch = Watch::begin(builder.build().unwrap());
    for _ in 0..=slack::INTERVALS {
        watch.look();
    }
    let (before, processes_before) = (HELD.get(), watch.processes());
    storm.blow();
    watch.look();
    let after_storm = HELD.get();
    let tier = watch.monitor.tier();
    if tier < Tier::C {
        let records = i64::from(Storm::CHILDREN) * size_of::<ProcessSample>() as i64;
        assert!(after_storm > before + records, "{tier:?}: {before} bytes, then {after_storm}");
    }
    for _ in 0..2 * slack::INTERVALS {
        watch.look();
    }
    // Others on this machine may have come meanwhile.
    let come = watch.processes().saturating_sub(processes_before);
    let allowed = before + 256 * 1024 + come as i64 * 4096;
    let held = HELD.get();
    assert!(held < allowed, "{tier:?}: {before} bytes, {after_storm} after the storm, {held}");
}

/// A monitor whose reports are written, and thrown away, as commands write them.
struct Watch {
    monitor: Monitor,
    encoder: Encoder,
    ended: EndedEncoder,
    buffer: Vec<u8>,
    slack: slack::Slack,
}

impl Watch {
    fn begin(monitor: Monitor) -> Self {
        let origin = Origin::of_host(b"host");
        let encoder = Encoder::new(Format::Jsonl, origin.clone(), Options::default());
        let ended = EndedEncoder::new(EndedFormat::Jsonl, origin, EndedLayout::default());
        Watch { monitor, encoder, ended, buffer: Vec::new(), slack: slack::Slack::default() }
    }

    fn look(&mut self) {
        let report = self.monitor.sample().unwrap();
        self.buffer.clear();
        self.encoder.write(&report, &mut self.buffer);
        self.ended.write(self.monitor.ended(), &mut self.buffer);
        self.slack.give_back(&mut self.buffer);
    }

    fn processes(&self) -> usize {
        self.monitor.snapshot().processes.len()
    }
}

#[test]
fn what_a_storm_took_is_given_back_with_the_samples_after_it() {
    check_storm(Tier::A);
}

#[test]
fn what_a_storm_took_is_given_back_where_records_are_rounded() {
    check_storm(Tier::B);
}

#[test]
fn what_a_storm_took_is_given_back_where_nobody_tells_of_it() {
    check_storm(Tier::C);
}

/// Whoever adds a field decides here that ten thousand processes are worth it.
#[test]
fn what_is_held_of_a_process_does_not_grow_unnoticed() {
    fn check<T>(bytes_max: usize) {
        let found = size_of::<T>();
        assert!(found <= bytes_max, "{}: {found} bytes", std::any::type_name::<T>());
    }
    check::<ProcessSample>(232);
    check::<Gauges>(72);
}
