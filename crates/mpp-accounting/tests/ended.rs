//! Ended processes, one by one, over the model kernel: each is told of once, and every figure
//! keeps what its mark promises.

mod model_kernel;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model_kernel::{INIT, Kernel, Overflow, Recorder};
use mpp_accounting::ended::{
    Ended, EndedBook, EndedReport, EndedSummary, SummaryColumn, SummaryReport, WaitStatus,
};
use mpp_accounting::exit::ExitSource;
use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::Ledger;
use mpp_accounting::metric::MetricId;
use mpp_accounting::process::{Absence, ProcessKey};
use mpp_accounting::report::{Figure, Mark, Tier, Value};
use mpp_accounting::selector::{Descendants, GroupKey, Resolution, Selector};
use mpp_accounting::snapshot::{Snapshot, Visibility};
use mpp_accounting::units::{IoCounter, UsageCounter};
use proptest::prelude::*;

/// A kernel, watched for those that end.
struct Watch {
    kernel: Kernel,
    ledger: Ledger,
    groups: GroupBook,
    book: EndedBook,
    summary: EndedSummary,
    /// All that was told of, in order.
    told: Vec<Ended>,
    last: EndedReport,
}

impl Watch {
    fn new(recorder: Option<Recorder>, rows: Rows, prepare: impl FnOnce(&mut Kernel)) -> Self {
        let mut kernel = Kernel::new();
        if let Some(recorder) = recorder {
            kernel.record_ends(recorder);
        }
        prepare(&mut kernel);
        kernel.pass(100);
        let mut watch = Watch {
            kernel,
            ledger: Ledger::new(),
            groups: GroupBook::new(rows, Vec::new().into()),
            book: EndedBook::default(),
            summary: EndedSummary::new(),
            told: Vec::new(),
            last: EndedReport::default(),
        };
        let snapshot = watch.kernel.sweep();
        watch.take(&snapshot);
        watch
    }

    /// One second in which something happens.
    fn interval(&mut self, happen: impl FnOnce(&mut Kernel)) -> Vec<Ended> {
        self.kernel.pass(1);
        happen(&mut self.kernel);
        self.kernel.pass(99);
        let snapshot = self.kernel.sweep();
        self.take(&snapshot)
    }

    fn take(&mut self, snapshot: &Snapshot) -> Vec<Ended> {
        let movement = self.ledger.advance(snapshot);
        let resolution = Resolution::default();
        self.groups.fold(snapshot, &movement, &resolution);
        self.last = self.book.advance(snapshot, &movement, &self.groups);
        self.summary.add(&self.last);
        self.told.extend(self.last.processes.iter().cloned());
        self.last.processes.clone()
    }

    fn truth(&self, key: ProcessKey, counter: IoCounter) -> u64 {
        self.kernel.truth_of.get(&key).map_or(0, |truth| truth.0[counter])
    }
}

const SOURCES: [ExitSource; 3] = [ExitSource::Exact, ExitSource::Rounded, ExitSource::Nobody];

fn recorder(source: ExitSource) -> Option<Recorder> {
    let recorder = Recorder { source, room: usize::MAX, on_overflow: Overflow::Lost };
    (source != ExitSource::Nobody).then_some(recorder)
}

fn everything() -> Rows {
    Rows::Named(vec![(Box::default(), Selector::default())])
}

fn named(name: &str, descendants: Descendants) -> Rows {
    let selector = Selector::parse(&format!("name:{name}")).expect("a selector");
    Rows::Named(vec![(name.as_bytes().into(), selector.with_descendants(descendants))])
}

fn by_name() -> Rows {
    let selector = Box::new(Selector::default());
    Rows::Keyed { selector, key: GroupKey::Name, rows_max: 100 }
}

fn integer(ended: &Ended, id: MetricId) -> (u64, Mark) {
    match ended.figure(id) {
        Some(Figure::Known { value: Value::Integer(number), mark }) => (number, mark),
        other => panic!("a whole number, not {other:?}"),
    }
}

fn float(ended: &Ended, id: MetricId) -> (f64, Mark) {
    match ended.figure(id) {
        Some(Figure::Known { value: Value::Float(number), mark }) => (number, mark),
        other => panic!("a number, not {other:?}"),
    }
}

fn written(ended: &Ended) -> (u64, Mark) {
    integer(ended, MetricId::IoWriteBytes)
}

fn names(told: &[Ended]) -> Vec<&str> {
    told.iter().map(|e| std::str::from_utf8(&e.identity.comm).expect("ASCII")).collect()
}

/// A child that writes, is seen alive by some sweeps, and ends: what is told of it under each
/// source of records.
fn check_child(sweeps: usize, expected: [(u64, Mark); 3]) {
    for (source, expected) in SOURCES.into_iter().zip(expected) {
        let mut watch = Watch::new(recorder(source), everything(), |_| {});
        let mut child = 0;
        watch.interval(|kernel| {
            child = kernel.fork(INIT, "child");
            kernel.write(child, 5000);
        });
        for _ in 1..sweeps {
            assert!(watch.interval(|kernel| kernel.write(child, 5000)).is_empty(), "it lives");
        }
        watch.interval(|kernel| {
            kernel.write(child, 777);
            kernel.exit_and_wait(child);
        });
        assert_eq!(names(&watch.told), ["child"], "{source:?}");
        assert_eq!(written(&watch.told[0]), expected, "{source:?}");
        assert_eq!(watch.told[0].parent_comm.as_deref(), Some(b"init".as_slice()));
    }
}

#[test]
fn a_process_seen_alive_is_told_of_with_all_that_it_did_in_its_life() {
    let [whole, rounded] = [5777, 5120];
    check_child(1, [(whole, Mark::Exact), (rounded, Mark::Bound), (5000, Mark::LowerBound)]);
    let [whole, rounded] = [15_777, 15_360];
    check_child(3, [(whole, Mark::Exact), (rounded, Mark::Bound), (15_000, Mark::LowerBound)]);
}

#[test]
fn a_record_that_says_less_than_the_last_sight_does_not_make_less_of_it() {
    let mut watch = Watch::new(recorder(ExitSource::Rounded), everything(), |_| {});
    let mut child = 0;
    watch.interval(|kernel| {
        child = kernel.fork(INIT, "child");
        kernel.write(child, 5000);
    });
    watch.interval(|kernel| kernel.exit_and_wait(child));
    assert_eq!(written(&watch.told[0]), (5000, Mark::Bound));
    assert_eq!(watch.told[0].io_bound_bytes, 1023);
}

#[test]
fn a_process_that_no_sweep_saw_is_told_of_where_somebody_records_its_end() {
    for source in SOURCES {
        let mut watch = Watch::new(recorder(source), everything(), |_| {});
        let told = watch.interval(|kernel| {
            let child = kernel.fork(INIT, "short");
            kernel.write(child, 2048);
            kernel.exit_and_wait(child);
        });
        if source == ExitSource::Nobody {
            assert_eq!((told.len(), watch.last.tier), (0, Tier::C));
            continue;
        }
        assert_eq!(names(&told), ["short"]);
        assert_eq!(written(&told[0]).0, 2048);
        assert_eq!(told[0].status, Some(WaitStatus::Exited(0)));
        assert_eq!(told[0].has_failed(), Some(false));
        assert_eq!(integer(&told[0], MetricId::PageFaultsMinor), (30, Mark::Exact));
    }
}

#[test]
fn of_a_process_that_was_out_of_sight_faults_are_a_lower_bound() {
    let (mut old, mut thread) = (0, 0);
    let mut watch = Watch::new(recorder(ExitSource::Rounded), everything(), |_| {});
    let mut hidden = |watch: &mut Watch, happen: fn(&mut Kernel, u32, &mut u32)| {
        watch.kernel.pass(100);
        if old == 0 {
            old = watch.kernel.fork(INIT, "old");
        }
        happen(&mut watch.kernel, old, &mut thread);
        let mut snapshot = watch.kernel.sweep();
        snapshot.processes.retain(|process| process.key.pid == INIT);
        snapshot.host.visibility = Visibility::OthersHidden;
        watch.take(&snapshot)
    };
    hidden(&mut watch, |kernel, old, thread| *thread = kernel.start_thread(old));
    hidden(&mut watch, |kernel, old, thread| kernel.end_thread(old, *thread));
    let told = hidden(&mut watch, |kernel, old, _| kernel.exit_and_wait(old));
    assert_eq!(names(&told), ["old"]);
    assert_eq!(integer(&told[0], MetricId::PageFaultsMinor).1, Mark::LowerBound);
}

#[test]
fn what_a_process_inherited_from_its_children_is_not_its_own() {
    for source in SOURCES {
        let mut watch = Watch::new(recorder(source), everything(), |_| {});
        let mut parent = 0;
        watch.interval(|kernel| {
            parent = kernel.fork(INIT, "parent");
            kernel.write(parent, 1024);
        });
        watch.interval(|kernel| {
            let child = kernel.fork(parent, "child");
            kernel.write(child, 1 << 20);
            kernel.exit_and_wait(child);
        });
        watch.interval(|kernel| kernel.exit_and_wait(parent));
        let parent = watch.told.iter().find(|e| *e.identity.comm == *b"parent").expect("it");
        let (bytes, mark) = written(parent);
        match source {
            ExitSource::Exact => assert_eq!((bytes, mark), (1024, Mark::Exact)),
            ExitSource::Rounded => assert_eq!((bytes, mark), (1024, Mark::Bound)),
            // The sweep before had no reason to look at its threads.
            ExitSource::Nobody => assert_eq!(mark, Mark::Estimate),
        }
    }
}

#[test]
fn a_zombie_is_told_of_once_and_its_last_sight_is_final() {
    for source in SOURCES {
        let mut watch = Watch::new(recorder(source), everything(), |_| {});
        let mut child = 0;
        watch.interval(|kernel| child = kernel.fork(INIT, "child"));
        watch.interval(|kernel| {
            kernel.write(child, 4096);
            kernel.exit(child);
        });
        watch.interval(|_| {});
        watch.interval(|kernel| kernel.wait(INIT, child));
        watch.interval(|_| {});
        assert_eq!(names(&watch.told), ["child"], "{source:?}");
        let (bytes, mark) = written(&watch.told[0]);
        assert_eq!(bytes, 4096);
        let final_mark = if source == ExitSource::Rounded { Mark::Bound } else { Mark::Exact };
        assert_eq!(mark, final_mark);
        let has_status = watch.told[0].status.is_some();
        assert_eq!(has_status, source != ExitSource::Nobody);
    }
}

#[test]
fn who_had_ended_before_anyone_looked_is_not_told_of() {
    for source in SOURCES {
        let mut child = 0;
        let mut watch = Watch::new(recorder(source), everything(), |kernel| {
            child = kernel.fork(INIT, "child");
            kernel.exit(child);
        });
        watch.interval(|kernel| kernel.wait(INIT, child));
        watch.interval(|_| {});
        assert_eq!(names(&watch.told), [""; 0], "{source:?}");
    }
}

#[test]
fn a_process_older_than_the_first_look_is_told_of_with_what_it_had_done_before() {
    for (reaps, expected) in [(false, Mark::Exact), (true, Mark::LowerBound)] {
        let mut old = 0;
        let mut watch = Watch::new(recorder(ExitSource::Exact), everything(), |kernel| {
            old = kernel.fork(INIT, "old");
            kernel.write(old, 3000);
            if reaps {
                let child = kernel.fork(old, "child");
                kernel.write(child, 500);
                kernel.exit_and_wait(child);
            }
        });
        watch.interval(|kernel| {
            kernel.write(old, 40);
            kernel.exit_and_wait(old);
        });
        assert_eq!(written(&watch.told[0]), (3040, expected));
    }
}

#[test]
fn when_it_began_and_ended_is_known_as_well_as_somebody_told() {
    let life = |source| {
        let mut watch = Watch::new(recorder(source), everything(), |_| {});
        let mut child = 0;
        watch.interval(|kernel| child = kernel.fork(INIT, "child"));
        watch.interval(|kernel| kernel.exit_and_wait(child));
        watch.told.remove(0)
    };
    let exact = life(ExitSource::Exact);
    assert_eq!(exact.ended_within, Duration::ZERO);
    let (lived, mark) = float(&exact, MetricId::Uptime);
    assert!((lived - 1.0).abs() < 0.001 && mark == Mark::Exact, "{lived}");
    let lived_ns = exact.ended_at.unix_ns - exact.started_at.unix_ns;
    assert!((lived_ns as f64 / 1e9 - lived).abs() < 0.001);
    let seen = life(ExitSource::Nobody);
    assert_eq!(seen.ended_within, Duration::from_secs(1));
    let (lived, mark) = float(&seen, MetricId::Uptime);
    assert!((lived - 0.99).abs() < 0.001 && mark == Mark::LowerBound, "{lived}");
    assert_eq!(seen.source, ExitSource::Nobody);
}

#[test]
fn cpu_time_promises_no_more_than_its_record_does() {
    for (source, expected) in
        SOURCES.into_iter().zip([Mark::LowerBound, Mark::Estimate, Mark::LowerBound])
    {
        let mut watch = Watch::new(recorder(source), everything(), |_| {});
        let mut child = 0;
        watch.interval(|kernel| {
            child = kernel.fork(INIT, "child");
            kernel.use_cpu(child, 10, 0);
        });
        watch.interval(|kernel| kernel.exit_and_wait(child));
        let (cpu, mark) = float(&watch.told[0], MetricId::CpuUser);
        assert!((cpu - 0.1).abs() < 1e-9 && mark == expected, "{source:?}: {cpu} {mark:?}");
    }
}

#[test]
fn the_cpu_time_of_one_that_nobody_waits_for_is_whole() {
    let mut parent = 0;
    let mut watch = Watch::new(recorder(ExitSource::Exact), everything(), |kernel| {
        parent = kernel.fork(INIT, "parent");
        kernel.process(parent).reaps_automatically = true;
    });
    watch.interval(|kernel| {
        let child = kernel.fork(parent, "child");
        kernel.use_cpu(child, 7, 0);
        kernel.exit(child);
    });
    let (cpu, mark) = float(&watch.told[0], MetricId::CpuUser);
    let (tail, _) = float(&watch.told[0], MetricId::CpuSystem);
    assert!((cpu + tail - 0.07).abs() < 1e-9 && mark == Mark::Exact, "{cpu} + {tail} {mark:?}");
}

#[test]
fn io_that_was_never_readable_is_unknown() {
    let mut watch = Watch::new(None, everything(), |_| {});
    let mut child = 0;
    watch.interval(|kernel| {
        child = kernel.fork(INIT, "child");
        kernel.process(child).is_readable = false;
        kernel.write(child, 4096);
    });
    watch.interval(|kernel| kernel.exit_and_wait(child));
    assert_eq!(names(&watch.told), ["child"]);
    let figure = watch.told[0].figure(MetricId::IoWriteBytes);
    assert_eq!(figure, Some(Figure::Absent(Absence::Denied)));
}

#[test]
fn io_that_threads_alone_told_of_is_bounded_and_what_was_before_is_not_known() {
    let mut old = 0;
    let rounded = recorder(ExitSource::Rounded);
    let mut watch = Watch::new(rounded, everything(), |kernel| {
        kernel.hide_totals();
        old = kernel.fork(INIT, "old");
        kernel.write(old, 5000);
    });
    let mut new = 0;
    watch.interval(|kernel| {
        new = kernel.fork(INIT, "new");
        kernel.write(new, 5000);
    });
    watch.interval(|kernel| {
        for process in [old, new] {
            kernel.write(process, 5000);
            kernel.exit_and_wait(process);
        }
    });
    let told = |name: &str| {
        let told = watch.told.iter().find(|ended| &*ended.identity.comm == name.as_bytes());
        told.and_then(|ended| ended.figure(MetricId::IoWriteBytes))
    };
    let figure = |value, mark| Some(Figure::Known { value: Value::Integer(value), mark });
    assert_eq!(told("new"), figure(9216, Mark::Bound));
    assert_eq!(told("old"), figure(9216, Mark::LowerBound));
}

#[test]
fn only_members_of_groups_are_told_of_and_descendants_with_their_group() {
    for (descendants, expected) in
        [(Descendants::Taken, ["web", "worker"].as_slice()), (Descendants::Left, &["web"])]
    {
        let mut web = 0;
        let rows = named("web", descendants);
        let mut watch = Watch::new(recorder(ExitSource::Exact), rows, |kernel| {
            web = kernel.fork(INIT, "web");
        });
        let mut told = watch.interval(|kernel| {
            let worker = kernel.fork(web, "worker");
            let stranger = kernel.fork(INIT, "stranger");
            kernel.exit_and_wait(worker);
            kernel.exit_and_wait(stranger);
            kernel.exit_and_wait(web);
        });
        told.sort_by_key(|ended| ended.identity.comm.clone());
        assert_eq!(names(&told), expected);
        assert!(told.iter().all(|ended| *ended.group == *b"web"));
        let roles: Vec<bool> = told.iter().map(|ended| ended.is_descendant).collect();
        assert_eq!(roles, [false, true][..expected.len()]);
    }
}

#[test]
fn beyond_the_bound_the_rest_is_counted() {
    let mut watch = Watch::new(recorder(ExitSource::Exact), everything(), |_| {});
    watch.book = EndedBook::keeping(3);
    let told = watch.interval(|kernel| {
        for _ in 0..10 {
            let child = kernel.fork(INIT, "child");
            kernel.exit_and_wait(child);
        }
    });
    assert_eq!((told.len(), watch.last.shed), (3, 7));
}

#[test]
fn where_records_are_lost_the_tier_falls_and_nothing_is_promised_that_may_be_missing() {
    for on_overflow in [Overflow::Lost, Overflow::Spilled] {
        let recorder = Recorder { source: ExitSource::Exact, room: 2, on_overflow };
        let mut watch = Watch::new(Some(recorder), everything(), |_| {});
        let told = watch.interval(|kernel| {
            for _ in 0..5 {
                let child = kernel.fork(INIT, "child");
                kernel.write(child, 100);
                kernel.exit_and_wait(child);
            }
        });
        assert_eq!(told.len(), 2);
        assert!(told.iter().all(|ended| written(ended) == (100, Mark::LowerBound)));
        let report = &watch.last;
        match on_overflow {
            Overflow::Lost => assert_eq!((report.tier, report.lost_records), (Tier::C, 3)),
            Overflow::Spilled => assert_eq!((report.tier, report.spilled_records), (Tier::B, 3)),
        }
    }
}

fn figure(report: &SummaryReport, name: &str, column: SummaryColumn) -> (f64, Mark) {
    let row = report.rows.iter().find(|row| *row.name == *name.as_bytes()).expect("a row");
    match row.figure(column) {
        Figure::Known { value, mark } => (value.as_float(), mark),
        Figure::Absent(why) => panic!("{why}"),
    }
}

#[test]
fn a_summary_counts_by_group_and_by_the_second() {
    let mut watch = Watch::new(recorder(ExitSource::Exact), by_name(), |_| {});
    for _ in 0..4 {
        watch.interval(|kernel| {
            for _ in 0..3 {
                let child = kernel.fork(INIT, "cc1");
                kernel.write(child, 1000);
                kernel.exit_and_wait(child);
            }
            let child = kernel.fork(INIT, "ld");
            kernel.exit_and_wait(child);
        });
    }
    let report = watch.summary.report();
    assert_eq!((report.elapsed, report.tier), (Duration::from_secs(4), Tier::A));
    assert_eq!(report.rows.len(), 2);
    assert_eq!(figure(&report, "cc1", SummaryColumn::Ended), (12.0, Mark::Exact));
    assert_eq!(figure(&report, "cc1", SummaryColumn::EndedPerSecond), (3.0, Mark::Exact));
    assert_eq!(figure(&report, "cc1", SummaryColumn::WriteBytes), (12_000.0, Mark::Exact));
    assert_eq!(figure(&report, "cc1", SummaryColumn::Failed), (0.0, Mark::Exact));
    assert_eq!(figure(&report, "ld", SummaryColumn::Ended), (4.0, Mark::Exact));
}

#[test]
fn a_summary_of_what_polling_saw_says_at_least_and_nothing_of_failures() {
    let mut watch = Watch::new(None, by_name(), |_| {});
    let mut child = 0;
    watch.interval(|kernel| child = kernel.fork(INIT, "cc1"));
    watch.interval(|kernel| kernel.exit_and_wait(child));
    let report = watch.summary.report();
    assert_eq!(figure(&report, "cc1", SummaryColumn::Ended), (1.0, Mark::LowerBound));
    assert_eq!(report.rows[0].figure(SummaryColumn::Failed), Figure::Absent(Absence::Unsupported));
}

/// Whether a figure keeps what its mark promises.
fn keeps_promise(ended: &Ended, truth: u64) -> bool {
    let (told, mark) = written(ended);
    match mark {
        Mark::Exact => told == truth,
        Mark::Bound => told <= truth && truth - told <= ended.io_bound_bytes,
        Mark::LowerBound => told <= truth,
        Mark::Estimate => true,
    }
}

/// One random thing happens.
fn event(kernel: &mut Kernel, kind: u8, whom: usize, bytes: u64) {
    let living = kernel.living();
    let Some(pid) = living.get(whom % living.len().max(1)).copied() else {
        kernel.fork(INIT, "first");
        return;
    };
    match kind % 10 {
        0..=2 => {
            kernel.fork(pid, "child");
        }
        3 | 4 => kernel.write(pid, bytes),
        5 => {
            let thread = kernel.start_thread(pid);
            kernel.write_in(pid, thread, bytes);
            if bytes.is_multiple_of(2) {
                kernel.end_thread(pid, thread);
            }
        }
        6 | 7 => kernel.exit(pid),
        8 => kernel.process(pid).reaps_automatically = bytes.is_multiple_of(2),
        _ => {
            if let Some(zombie) = kernel.zombies_of(pid).first() {
                kernel.wait(pid, *zombie);
            }
        }
    }
    if let Some(orphan) = kernel.zombies_of(INIT).first().copied() {
        kernel.wait(INIT, orphan);
    }
}

proptest! {
    #[test]
    fn whatever_happens_each_end_is_told_of_once_and_every_mark_keeps_its_promise(
        seconds in proptest::collection::vec(
            proptest::collection::vec((any::<u8>(), any::<usize>(), 0..1_000_000_u64), 0..30),
            1..12,
        ),
        source in 0..3_usize,
        room in prop_oneof![Just(usize::MAX), 1..20_usize],
    ) {
        let source = SOURCES[source];
        let overflow = Recorder { source, room, on_overflow: Overflow::Lost };
        let recorder = (source != ExitSource::Nobody).then_some(overflow);
        let mut watch = Watch::new(recorder, everything(), |_| {});
        let (mut begun, mut has_lost) = (BTreeSet::new(), false);
        for events in seconds {
            let mut seen = BTreeSet::new();
            watch.interval(|kernel| {
                for (kind, whom, bytes) in events {
                    event(kernel, kind, whom, bytes);
                    seen.extend(kernel.processes.values().map(|process| process.key));
                }
            });
            begun.extend(seen);
            has_lost |= watch.last.lost_records > 0;
        }
        // What was put off is told of by now, and zombies without a record are waited for.
        for _ in 0..4 {
            watch.interval(|kernel| {
                while let Some((parent, zombie)) = kernel.processes.keys().copied().find_map(|p| {
                    Some((p, *kernel.zombies_of(p).first()?))
                }) {
                    kernel.wait(parent, zombie);
                }
            });
            has_lost |= watch.last.lost_records > 0;
        }
        let mut told: BTreeMap<ProcessKey, u64> = BTreeMap::new();
        for ended in &watch.told {
            *told.entry(ended.key).or_default() += 1;
            let truth = watch.truth(ended.key, IoCounter::WriteBytes);
            prop_assert!(keeps_promise(ended, truth), "{truth} is the truth of {ended:?}");
            let faults = integer(ended, MetricId::PageFaultsMinor).0;
            let truth = watch.kernel.truth_of[&ended.key].1[UsageCounter::MinorFaults];
            prop_assert!(faults <= truth, "{faults} of {truth}");
        }
        prop_assert!(told.values().all(|times| *times == 1), "told of twice: {told:?}");
        let living: BTreeSet<ProcessKey> =
            watch.kernel.processes.values().map(|process| process.key).collect();
        prop_assert!(told.keys().all(|key| !living.contains(key)), "the living have not ended");
        if source != ExitSource::Nobody && !has_lost {
            let ended: BTreeSet<ProcessKey> = begun.difference(&living).copied().collect();
            prop_assert_eq!(told.keys().copied().collect::<BTreeSet<_>>(), ended);
        }
        prop_assert!(watch.book.life_count() <= living.len());
    }
}
