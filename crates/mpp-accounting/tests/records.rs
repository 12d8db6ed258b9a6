//! Histories written by hand whose ends are recorded: what each process did itself is known
//! to the byte, and where the records are rounded, to what they were rounded by.
//!
//! Each story runs once under each source of records. It is told to a machine on which only
//! init runs; what was done before its first sweep nobody must be credited with.

mod model_kernel;

use std::collections::BTreeMap;

use model_kernel::{INIT, Kernel, Overflow, Recorder};
use mpp_accounting::exit::{ExitSource, Exits, ROUNDED_TO_BYTES};
use mpp_accounting::ledger::{Ends, Ledger, Movement};
use mpp_accounting::process::{ProcessKey, ProcessSample, Reading};
use mpp_accounting::snapshot::{Snapshot, Visibility};
use mpp_accounting::units::{IoCounter, IoDelta, IoTotals, UsageDelta};

type Truth = BTreeMap<ProcessKey, (IoDelta, UsageDelta)>;

/// A ledger beside a kernel that records ends, and what it has said so far.
struct Watch {
    kernel: Kernel,
    source: ExitSource,
    /// How many threads lived when the first sweep was taken, by process, whose bytes are rounded.
    rounded_before: BTreeMap<ProcessKey, u64>,
    ledger: Ledger,
    /// What each process was credited with.
    own: Truth,
    /// What came with reaped children.
    inherited: (IoDelta, UsageDelta),
    /// What was done before anyone looked.
    before: Truth,
    rounded_records: BTreeMap<ProcessKey, u64>,
    ended: BTreeMap<ProcessKey, u64>,
    settled: BTreeMap<ProcessKey, u64>,
    lost: usize,
    missing_records: u64,
    /// How the ends of each interval were found out.
    ends: Vec<Ends>,
}

impl Watch {
    fn new(source: ExitSource) -> Self {
        let mut kernel = Kernel::new();
        kernel.record_ends(recorder(source));
        Watch {
            kernel,
            source,
            rounded_before: BTreeMap::new(),
            ledger: Ledger::new(),
            own: Truth::new(),
            inherited: Default::default(),
            before: Truth::new(),
            rounded_records: BTreeMap::new(),
            ended: BTreeMap::new(),
            settled: BTreeMap::new(),
            lost: 0,
            missing_records: 0,
            ends: Vec::new(),
        }
    }

    /// The first sweep.
    fn begin(&mut self) {
        self.begin_while(&mut |_| {});
    }

    /// The first sweep, with something happening between its reads. What happens there is
    /// later than the baseline only of processes that have been read.
    fn begin_while(&mut self, between: &mut dyn FnMut(&mut Kernel)) {
        self.kernel.pass(100);
        self.before = self.kernel.truth_of.clone();
        let snapshot = self.kernel.sweep_while(between);
        assert!(self.ledger.advance(&snapshot).is_baseline);
        self.rounded_before = rounded_threads(&snapshot);
    }

    /// One interval: something happens, a second passes, a sweep is taken.
    fn interval(&mut self, happen: impl FnOnce(&mut Kernel)) -> Movement {
        self.interval_while(happen, &mut |_| {})
    }

    /// The same with something happening between the reads of the sweep.
    fn interval_while(
        &mut self,
        happen: impl FnOnce(&mut Kernel),
        between: &mut dyn FnMut(&mut Kernel),
    ) -> Movement {
        self.kernel.pass(1);
        happen(&mut self.kernel);
        self.kernel.pass(99);
        let snapshot = self.kernel.sweep_while(between);
        self.take(&snapshot)
    }

    /// One interval in whose sweep something happens after this process has been read.
    fn interval_with_late(&mut self, read: u32, mut late: impl FnMut(&mut Kernel)) -> Movement {
        self.interval_with(|_| {}, read, &mut late)
    }

    fn interval_with(
        &mut self,
        happen: impl FnOnce(&mut Kernel),
        read: u32,
        late: &mut dyn FnMut(&mut Kernel),
    ) -> Movement {
        let last = self.kernel.fork(INIT, "last");
        assert!(last > read, "what begins later is read later");
        let mut is_done = false;
        let movement = self.interval_while(happen, &mut |kernel| {
            if kernel.last_read == Some(read) && !std::mem::replace(&mut is_done, true) {
                late(kernel);
            }
        });
        assert!(is_done, "the sweep read the process and went on");
        movement
    }

    fn take(&mut self, snapshot: &Snapshot) -> Movement {
        let movement = self.ledger.advance(snapshot);
        for delta in &movement.processes {
            let own = self.own.entry(delta.key).or_default();
            *own = (own.0.plus(delta.io.unwrap_or_default()), own.1.plus(delta.usage));
            *self.rounded_records.entry(delta.key).or_default() += delta.rounded_records;
        }
        for residual in &movement.residuals {
            let (io, usage) = &mut self.inherited;
            *io = io.plus(residual.io.unwrap_or_default());
            *usage = usage.plus(residual.usage);
        }
        for key in &movement.ended {
            *self.ended.entry(*key).or_default() += 1;
        }
        for key in &movement.settled {
            *self.settled.entry(*key).or_default() += 1;
        }
        self.lost += movement.lost.len();
        self.missing_records += movement.missing_records;
        self.ends.push(movement.ends);
        movement
    }

    /// What each process did since the baseline.
    fn truth(&self) -> Truth {
        let done = |(key, (io, usage)): (&ProcessKey, &(IoDelta, UsageDelta))| {
            let before = self.before.get(key).copied().unwrap_or_default();
            (*key, (io.less(before.0), usage.less(before.1)))
        };
        self.kernel.truth_of.iter().map(done).collect()
    }

    /// Every process was credited with what it did itself, less what rounding hides: of bytes,
    /// and where threads are told of by themselves of nothing else. A growth that begins with a
    /// rounded number may be rounded up.
    fn assert_own(&self) {
        let living = rounded_threads(&self.kernel.clone().sweep());
        for (key, (truth, _)) in self.truth() {
            let (own, _) = self.own.get(&key).copied().unwrap_or_default();
            let of = |counts: &BTreeMap<ProcessKey, u64>| counts.get(&key).copied().unwrap_or(0);
            let below = (of(&self.rounded_records) + of(&living)) * (ROUNDED_TO_BYTES - 1);
            let above = of(&self.rounded_before) * (ROUNDED_TO_BYTES - 1);
            for (credited, did) in own.0.into_iter().zip(truth.0) {
                let found = (credited, did, below, above);
                assert!(credited <= did + above && did <= credited + below, "{key:?}: {found:?}");
            }
        }
        assert!(self.inherited.0.is_zero(), "with records nothing is inferred");
    }

    /// CPU time and faults of all together are exact, whoever brought them.
    fn assert_usage(&self) {
        assert_eq!(self.credited_usage(), self.true_usage(), "CPU time, minor and major faults");
    }

    fn true_usage(&self) -> [u64; 3] {
        cpu_and_faults(self.truth().into_values().fold(UsageDelta::ZERO, |s, t| s.plus(t.1)))
    }

    fn credited_usage(&self) -> [u64; 3] {
        let own = self.own.values().fold(UsageDelta::ZERO, |sum, own| sum.plus(own.1));
        cpu_and_faults(own.plus(self.inherited.1))
    }

    /// Each end is told once, and each process that is gone is settled once.
    fn assert_ends(&self) {
        let is_there = |key: &ProcessKey| {
            self.kernel.processes.get(&key.pid).is_some_and(|process| process.key == *key)
        };
        for (key, times) in &self.ended {
            assert_eq!(*times, 1, "{key:?} ended once");
            assert_eq!(self.settled.contains_key(key), !is_there(key), "{key:?} is settled");
        }
        assert!(self.settled.values().all(|times| *times == 1));
        for key in self.truth().keys().filter(|key| !is_there(key)) {
            let is_older = self.before.contains_key(key);
            assert!(is_older || self.ended.contains_key(key), "{key:?} has ended");
        }
    }
}

/// By process, the threads whose bytes are rounded in a sweep.
fn rounded_threads(snapshot: &Snapshot) -> BTreeMap<ProcessKey, u64> {
    let count = |seen: &ProcessSample| Some((seen.key, seen.io.rounded_threads()?.len() as u64));
    snapshot.processes.iter().filter_map(count).collect()
}

fn cpu_and_faults(usage: UsageDelta) -> [u64; 3] {
    let [user_ns, system_ns, minor, major] = usage.0;
    [user_ns + system_ns, minor, major]
}

fn recorder(source: ExitSource) -> Recorder {
    Recorder { source, room: usize::MAX, on_overflow: Overflow::Lost }
}

fn ends_of(source: ExitSource) -> Ends {
    match source {
        ExitSource::Exact => Ends::Exact,
        ExitSource::Rounded => Ends::Rounded,
        ExitSource::Nobody => Ends::Inferred,
    }
}

/// Tells a story under a source, and lets everything come to rest.
fn tell(source: ExitSource, story: impl Fn(&mut Watch)) -> Watch {
    tell_to(Watch::new(source), story)
}

/// The same where no file of any process may be read.
fn tell_from_outside(story: impl Fn(&mut Watch)) -> Watch {
    let mut watch = Watch::new(ExitSource::Rounded);
    watch.kernel.hide_totals();
    tell_to(watch, story)
}

fn tell_to(mut watch: Watch, story: impl Fn(&mut Watch)) -> Watch {
    story(&mut watch);
    for _ in 0..5 {
        watch.interval(|_| {});
    }
    watch
}

/// Tells a story under each source of records: nothing but rounding may be missing, of any
/// process, and no interval may do without its records.
fn check(story: impl Fn(&mut Watch)) {
    let watches = [
        (ExitSource::Exact, tell(ExitSource::Exact, &story)),
        (ExitSource::Rounded, tell(ExitSource::Rounded, &story)),
        (ExitSource::Rounded, tell_from_outside(&story)),
    ];
    for (source, watch) in watches {
        watch.assert_own();
        watch.assert_usage();
        watch.assert_ends();
        assert_eq!((watch.lost, watch.missing_records), (0, 0), "{source:?}");
        assert!(watch.ends.iter().all(|ends| *ends == ends_of(source)), "{source:?}");
    }
}

fn own(movement: &Movement, key: ProcessKey) -> u64 {
    let delta = movement.processes.iter().filter(|delta| delta.key == key);
    delta.map(|delta| delta.io.unwrap_or_default()[IoCounter::WriteBytes]).sum()
}

#[test]
fn a_child_that_was_seen_and_reaped_counts_once() {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        let child = watch.kernel.fork(parent, "child");
        watch.kernel.write(child, 77_777);
        watch.begin();
        watch.interval(|kernel| kernel.write(child, 1000));
        watch.interval(|kernel| {
            kernel.write(child, 500);
            kernel.use_cpu(child, 7, 3);
            kernel.exit_and_wait(child);
        });
    });
}

#[test]
fn children_never_seen_alive_count_in_the_interval_in_which_they_ended() {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        watch.begin();
        let mut children = Vec::new();
        let movement = watch.interval(|kernel| {
            for round in 0..50 {
                let child = kernel.fork(parent, "child");
                children.push(kernel.process(child).key);
                kernel.write(child, 5000 + round);
                kernel.use_cpu(child, round % 3, round);
                kernel.exit_and_wait(child);
            }
            kernel.write(parent, 1024);
        });
        assert!(children.iter().all(|child| own(&movement, *child) >= 4096));
        assert_eq!(own(&movement, watch.kernel.process(parent).key), 1024);
        watch.interval(|_| {});
    });
}

#[test]
fn what_a_reaped_child_wrote_is_not_its_parents() {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        watch.begin();
        let key = watch.kernel.process(parent).key;
        for _ in 0..3 {
            let movement = watch.interval(|kernel| {
                let child = kernel.fork(parent, "child");
                kernel.write(child, 10_000);
                kernel.write(parent, 3072);
                kernel.exit_and_wait(child);
            });
            assert_eq!(own(&movement, key), 3072);
        }
    });
}

#[test]
fn nested_deaths_in_one_interval_count_once() {
    check(|watch| {
        let shell = watch.kernel.fork(INIT, "shell");
        let child = watch.kernel.fork(shell, "child");
        let grandchild = watch.kernel.fork(child, "grandchild");
        watch.begin();
        watch.interval(|kernel| {
            kernel.write(shell, 1);
            kernel.write(child, 20);
            kernel.write(grandchild, 300);
        });
        watch.interval(|kernel| {
            kernel.write(grandchild, 4000);
            kernel.use_cpu(grandchild, 5, 6);
            kernel.exit_and_wait(grandchild);
            kernel.write(child, 50_000);
            kernel.use_cpu(child, 2, 1);
            let unseen = kernel.fork(child, "unseen");
            kernel.write(unseen, 1500);
            kernel.exit_and_wait(unseen);
            kernel.exit_and_wait(child);
        });
    });
}

#[test]
fn a_zombie_held_for_five_seconds_counts_once() {
    for is_seen_alive in [true, false] {
        check(|watch| {
            let parent = watch.kernel.fork(INIT, "parent");
            watch.begin();
            let child = watch.kernel.fork(parent, "child");
            if is_seen_alive {
                watch.interval(|kernel| kernel.write(child, 999));
            }
            let key = watch.kernel.process(child).key;
            watch.interval(|kernel| {
                kernel.write(child, 10_240);
                kernel.use_cpu(child, 4, 9);
                kernel.exit(child);
            });
            for _ in 0..5 {
                assert_eq!(own(&watch.interval(|_| {}), key), 0);
            }
            watch.interval(|kernel| kernel.wait(parent, child));
        });
    }
}

#[test]
fn a_zombie_from_before_the_first_sweep_counts_nothing() {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        let zombie = watch.kernel.fork(parent, "zombie");
        watch.kernel.write(zombie, 9999);
        watch.kernel.exit(zombie);
        watch.begin();
        watch.interval(|kernel| kernel.wait(parent, zombie));
    });
}

/// Where so many children are not waited for: an exact source knows their last ticks, and
/// that nobody will; a rounded one misses a tick of each at most.
fn check_unwaited(children: u64, story: impl Fn(&mut Watch)) {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let watch = tell(source, &story);
        watch.assert_own();
        watch.assert_ends();
        assert_eq!((watch.lost, watch.missing_records), (0, 0), "{source:?}");
        let ([cpu_ns, minor, major], truth) = (watch.credited_usage(), watch.true_usage());
        let bound = if source == ExitSource::Exact { 0 } else { children * 10_000_000 };
        assert!(cpu_ns <= truth[0] && truth[0] - cpu_ns <= bound, "{cpu_ns} of {}", truth[0]);
        assert_eq!([minor, major], truth[1..], "{source:?}");
    }
}

#[test]
fn automatically_reaped_children_count_to_their_last_tick() {
    check_unwaited(2, |watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        watch.kernel.process(parent).reaps_automatically = true;
        let child = watch.kernel.fork(parent, "child");
        watch.begin();
        watch.interval(|kernel| {
            kernel.write(child, 1000);
            kernel.use_cpu(child, 3, 0);
        });
        watch.interval(|kernel| {
            kernel.write(child, 77);
            kernel.use_cpu(child, 2, 5);
            kernel.exit(child);
            let unseen = kernel.fork(parent, "unseen");
            kernel.write(unseen, 2048);
            kernel.use_cpu(unseen, 6, 7);
            kernel.exit(unseen);
        });
    });
}

/// Only an exact source tells who will not be waited for, and so takes nobody's place.
#[test]
fn an_automatically_reaped_child_leaves_other_childrens_places_alone() {
    let watch = tell(ExitSource::Exact, |watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        let (unwaited, waited) = (watch.kernel.fork(parent, "a"), watch.kernel.fork(parent, "b"));
        watch.begin();
        watch.interval(|kernel| {
            kernel.use_cpu(unwaited, 5, 50);
            kernel.use_cpu(waited, 5, 50);
            kernel.process(parent).reaps_automatically = true;
            kernel.exit(unwaited);
            kernel.process(parent).reaps_automatically = false;
            kernel.use_cpu(waited, 2, 20);
            kernel.exit_and_wait(waited);
        });
    });
    watch.assert_own();
    watch.assert_usage();
    watch.assert_ends();
}

/// A daemon whose middle process ends, and whom `heir` inherits and waits for.
fn check_double_fork(heir: impl Fn(&mut Kernel) -> u32) {
    check(|watch| {
        let heir = heir(&mut watch.kernel);
        let parent = watch.kernel.fork(heir, "parent");
        watch.begin();
        let (mut middle, mut daemon) = (0, 0);
        watch.interval(|kernel| {
            middle = kernel.fork(parent, "middle");
            daemon = kernel.fork(middle, "daemon");
            kernel.write(middle, 3000);
            kernel.write(daemon, 1000);
            kernel.exit_and_wait(middle);
        });
        watch.interval(|kernel| kernel.write(daemon, 200));
        watch.interval(|kernel| {
            kernel.write(daemon, 30);
            kernel.use_cpu(daemon, 3, 3);
            kernel.exit(daemon);
            kernel.wait(heir, daemon);
        });
    });
}

#[test]
fn a_double_fork_to_init_counts_once() {
    check_double_fork(|_| INIT);
}

#[test]
fn a_double_fork_to_a_subreaper_counts_once() {
    check_double_fork(|kernel| {
        let subreaper = kernel.fork(INIT, "subreaper");
        kernel.process(subreaper).is_subreaper = true;
        subreaper
    });
}

#[test]
fn an_orphan_reaped_by_init_while_its_parent_is_a_zombie_counts_once() {
    check(|watch| {
        let grandparent = watch.kernel.fork(INIT, "grandparent");
        let parent = watch.kernel.fork(grandparent, "parent");
        let child = watch.kernel.fork(parent, "child");
        watch.begin();
        watch.interval(|kernel| kernel.write(child, 1000));
        watch.interval(|kernel| {
            kernel.exit(parent);
            kernel.write(child, 10);
            kernel.exit_and_wait(child);
        });
        watch.interval(|kernel| kernel.wait(grandparent, parent));
    });
}

#[test]
fn thread_churn_is_the_processs_own() {
    check(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        watch.begin();
        let mut kept = 0;
        watch.interval(|kernel| {
            kept = kernel.start_thread(process);
            kernel.write_in(process, kept, 100);
        });
        watch.interval(|kernel| {
            for _ in 0..20 {
                let thread = kernel.start_thread(process);
                kernel.write_in(process, thread, 10_000);
                kernel.end_thread(process, thread);
            }
            kernel.write_in(process, kept, 5);
            kernel.end_thread(process, kept);
        });
    });
}

#[test]
fn a_leader_that_exits_first_leaves_its_threads_living() {
    check(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        let thread = watch.kernel.start_thread(process);
        watch.kernel.write(process, 5000);
        watch.begin();
        watch.interval(|kernel| {
            kernel.write(process, 1025);
            kernel.end_leader(process);
            kernel.write_in(process, thread, 3000);
        });
        watch.interval(|kernel| kernel.write_in(process, thread, 400));
        watch.interval(|kernel| {
            kernel.write_in(process, thread, 50);
            kernel.exit_and_wait(process);
        });
    });
}

#[test]
fn exec_after_the_leader_has_exited_is_counted() {
    check(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        let thread = watch.kernel.start_thread(process);
        watch.kernel.write(process, 5000);
        watch.begin();
        watch.interval(|kernel| {
            kernel.end_leader(process);
            kernel.write_in(process, thread, 3000);
        });
        watch.interval(|kernel| {
            kernel.write_in(process, thread, 40);
            kernel.exec(process, thread, "after");
            kernel.write(process, 7);
        });
        watch.interval(|kernel| {
            kernel.write(process, 600);
            kernel.exit_and_wait(process);
        });
    });
}

/// Whether the sweep before an exec saw the thread that called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Seen,
    New,
}

/// A process whose other thread writes and is about to call exec; the process, and that thread.
fn about_to_exec(watch: &mut Watch, caller: Caller) -> (u32, u32) {
    let process = watch.kernel.fork(INIT, "before");
    watch.kernel.write(process, 100_000);
    let mut thread = 0;
    if caller == Caller::Seen {
        thread = watch.kernel.start_thread(process);
        watch.kernel.write_in(process, thread, 60_000);
    }
    watch.begin();
    if caller == Caller::New {
        thread = watch.kernel.start_thread(process);
    }
    (process, thread)
}

fn check_exec(story: impl Fn(&mut Watch, u32, u32)) {
    for caller in [Caller::Seen, Caller::New] {
        check(|watch| {
            let (process, thread) = about_to_exec(watch, caller);
            story(watch, process, thread);
        });
    }
}

#[test]
fn exec_from_another_thread_keeps_the_process() {
    check_exec(|watch, process, thread| {
        let key = watch.kernel.process(process).key;
        let movement = watch.interval(|kernel| {
            kernel.write(process, 10_240);
            kernel.write_in(process, thread, 200);
            kernel.exec(process, thread, "after");
            kernel.write(process, 3000);
        });
        assert!(own(&movement, key) >= 12_288);
        watch.interval(|kernel| kernel.write(process, 40));
        watch.interval(|kernel| {
            kernel.write(process, 5);
            kernel.exit_and_wait(process);
        });
    });
}

/// Born, executed from another thread and still there: no sweep saw what it was before.
#[test]
fn exec_from_another_thread_of_a_process_never_seen_before_counts_both_lives() {
    check(|watch| {
        watch.begin();
        watch.kernel.pass(1);
        let process = watch.kernel.fork(INIT, "before");
        let thread = watch.kernel.start_thread(process);
        watch.kernel.write(process, 10_240);
        watch.kernel.exec(process, thread, "after");
        watch.kernel.write(process, 30_720);
        watch.kernel.pass(99);
        let key = watch.kernel.process(process).key;
        let snapshot = watch.kernel.sweep();
        let movement = watch.take(&snapshot);
        assert_eq!(own(&movement, key), 40_960);
    });
}

/// The same where the thread that executed has done less than the one whose name it took. Where
/// nobody counts what is executed, the bytes alone do not tell the two apart.
#[test]
fn exec_from_a_thread_that_did_less_counts_both_lives_of_a_process_never_seen_before() {
    let mut watch = Watch::new(ExitSource::Exact);
    watch.begin();
    let mut process = 0;
    watch.interval(|kernel| {
        process = kernel.fork(INIT, "before");
        let thread = kernel.start_thread(process);
        // More bytes, and more calls.
        for _ in 0..3 {
            kernel.write(process, 10_000);
        }
        kernel.write_in(process, thread, 200);
        kernel.exec(process, thread, "after");
        kernel.write(process, 40);
    });
    let key = watch.kernel.process(process).key;
    assert_eq!(watch.own[&key].0[IoCounter::WriteBytes], 30_240);
    watch.interval(|kernel| kernel.write(process, 5));
    watch.interval(|kernel| kernel.exit_and_wait(process));
    assert_eq!(watch.own[&key].0[IoCounter::WriteBytes], 30_245);
}

/// Its exec did not replace its main thread, so the record is that of the one that was seen.
#[test]
fn a_process_that_executes_and_ends_as_soon_as_it_was_read_counts_once() {
    let mut watch = Watch::new(ExitSource::Exact);
    let process = watch.kernel.fork(INIT, "before");
    watch.begin();
    let key = watch.kernel.process(process).key;
    let happen = |kernel: &mut Kernel| {
        kernel.write(process, 1000);
        kernel.exec(process, process, "after");
        kernel.write(process, 70);
    };
    let mut late = |kernel: &mut Kernel| {
        kernel.write(process, 5);
        kernel.exit(process);
    };
    watch.interval_with(happen, process, &mut late);
    assert_eq!(watch.own[&key].0[IoCounter::WriteBytes], 1075);
    watch.interval(|kernel| kernel.wait(INIT, process));
    assert_eq!(watch.own[&key].0[IoCounter::WriteBytes], 1075);
}

#[test]
fn exec_from_another_thread_that_starts_threads_at_once_keeps_the_process() {
    check_exec(|watch, process, thread| {
        watch.interval(|kernel| {
            kernel.write(process, 10_240);
            kernel.exec(process, thread, "after");
            kernel.write(process, 3000);
            let next = kernel.start_thread(process);
            kernel.write_in(process, next, 500);
        });
        watch.interval(|kernel| kernel.exit_and_wait(process));
    });
}

#[test]
fn exec_twice_in_an_interval_keeps_the_process() {
    check_exec(|watch, process, thread| {
        watch.interval(|kernel| {
            kernel.write_in(process, thread, 2048);
            kernel.exec(process, thread, "between");
            kernel.write(process, 4096);
            let second = kernel.start_thread(process);
            kernel.write_in(process, second, 200_000);
            kernel.exec(process, second, "after");
            kernel.write(process, 8192);
        });
        watch.interval(|kernel| {
            kernel.write(process, 1);
            kernel.exit_and_wait(process);
        });
    });
}

#[test]
fn exec_and_death_in_one_interval_count_once() {
    check_exec(|watch, process, thread| {
        watch.interval(|kernel| {
            kernel.write(process, 1024);
            kernel.write_in(process, thread, 2048);
            kernel.exec(process, thread, "after");
            kernel.write(process, 4096);
            kernel.exit_and_wait(process);
        });
    });
}

#[test]
fn exec_and_death_while_the_sweep_goes_past_count_once() {
    check_exec(|watch, process, thread| {
        watch.interval_with_late(process, |kernel| {
            kernel.write_in(process, thread, 2048);
            kernel.exec(process, thread, "after");
            kernel.write(process, 4096);
            kernel.exit_and_wait(process);
        });
    });
}

#[test]
fn exec_while_the_sweep_goes_past_is_counted_once() {
    check_exec(|watch, process, thread| {
        watch.interval_with_late(process, |kernel| {
            kernel.write(process, 2048);
            kernel.write_in(process, thread, 10);
            kernel.exec(process, thread, "after");
            kernel.write(process, 4096);
        });
        watch.interval(|kernel| kernel.write(process, 1_000_000));
        watch.interval(|kernel| kernel.exit_and_wait(process));
    });
}

#[test]
fn exec_by_a_thread_born_while_the_sweep_goes_past_is_counted_once() {
    check(|watch| {
        let process = watch.kernel.fork(INIT, "before");
        watch.kernel.write(process, 100_000);
        watch.begin();
        watch.interval_with_late(process, |kernel| {
            kernel.write(process, 2048);
            let thread = kernel.start_thread(process);
            kernel.exec(process, thread, "after");
            kernel.write(process, 4096);
        });
        watch.interval(|kernel| kernel.write(process, 10));
        watch.interval(|kernel| kernel.exit_and_wait(process));
    });
}

/// A process ends right after the sweep has read it; `reap` says what becomes of it then.
fn check_race(reap: impl Fn(&mut Kernel, u32, u32)) {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        let child = watch.kernel.fork(parent, "child");
        let thread = watch.kernel.start_thread(child);
        watch.begin();
        watch.interval_with(|kernel| kernel.write_in(child, thread, 3000), child, &mut |kernel| {
            kernel.write(child, 2048);
            kernel.write_in(child, thread, 4096);
            kernel.use_cpu(child, 2, 3);
            kernel.exit(child);
        });
        watch.interval(|kernel| reap(kernel, parent, child));
        watch.interval(|_| {});
        watch.interval(|kernel| {
            if !kernel.zombies_of(parent).is_empty() {
                kernel.wait(parent, child);
            }
        });
    });
}

#[test]
fn seen_living_and_recorded_in_one_interval_then_a_zombie_counts_once() {
    check_race(|_, _, _| {});
}

#[test]
fn seen_living_and_recorded_in_one_interval_then_gone_counts_once() {
    check_race(Kernel::wait);
}

#[test]
fn seen_living_and_recorded_in_one_interval_then_waited_for_by_nobody_counts_once() {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        watch.kernel.process(parent).reaps_automatically = true;
        let child = watch.kernel.fork(parent, "child");
        watch.begin();
        watch.interval_with_late(child, |kernel| {
            kernel.write(child, 2048);
            kernel.use_cpu(child, 0, 9);
            kernel.exit(child);
        });
    });
}

#[test]
fn a_thread_that_ends_while_the_sweep_goes_past_counts_once() {
    check(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        let thread = watch.kernel.start_thread(process);
        watch.begin();
        watch.interval_with_late(process, |kernel| {
            kernel.write_in(process, thread, 4096);
            kernel.end_thread(process, thread);
        });
        watch.interval(|kernel| kernel.write(process, 10));
        watch.interval(|kernel| kernel.exit_and_wait(process));
    });
}

#[test]
fn a_leader_that_exits_while_the_sweep_goes_past_counts_once() {
    check(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        let thread = watch.kernel.start_thread(process);
        watch.begin();
        watch.interval_with_late(process, |kernel| {
            kernel.write(process, 4096);
            kernel.end_leader(process);
        });
        watch.interval(|kernel| kernel.write_in(process, thread, 10));
        watch.interval(|kernel| kernel.exit_and_wait(process));
    });
}

#[test]
fn a_process_born_while_the_sweep_goes_past_with_a_thread_already_ended_counts_once() {
    for is_dead_by_then in [false, true] {
        check(|watch| {
            let parent = watch.kernel.fork(INIT, "parent");
            watch.begin();
            let mut child = 0;
            watch.interval_with_late(parent, |kernel| {
                child = kernel.fork(parent, "child");
                let thread = kernel.start_thread(child);
                kernel.write_in(child, thread, 5000);
                kernel.end_thread(child, thread);
                kernel.write(child, 100);
                if is_dead_by_then {
                    kernel.exit(child);
                }
            });
            watch.interval(|kernel| {
                if !is_dead_by_then {
                    kernel.write(child, 20);
                    kernel.exit(child);
                }
            });
            watch.interval(|kernel| kernel.wait(parent, child));
        });
    }
}

/// A child that did 30 ms of work ends, whose record tells so much more CPU time than its
/// reaper's clock.
fn with_clock_ahead(watch: &mut Watch, ahead_ns: u64, end: impl FnOnce(&mut Kernel, u32)) -> u32 {
    let parent = watch.kernel.fork(INIT, "parent");
    let child = watch.kernel.fork(parent, "child");
    watch.begin();
    watch.kernel.pass(100);
    watch.kernel.use_cpu(child, 3, 50);
    end(&mut watch.kernel, child);
    let mut snapshot = watch.kernel.sweep();
    snapshot.exits.processes[0].sample.usage.own.0[0] += ahead_ns;
    watch.take(&snapshot);
    parent
}

#[test]
fn the_clock_of_a_rounded_record_is_not_asked_where_a_sweep_tells_cpu_time() {
    let watch = tell(ExitSource::Rounded, |watch| {
        let parent = with_clock_ahead(watch, 25_000_000, Kernel::exit);
        let zombie = watch.kernel.zombies_of(parent)[0];
        watch.interval(|kernel| kernel.wait(parent, zombie));
    });
    watch.assert_usage();
}

#[test]
fn the_clock_of_a_rounded_record_does_not_keep_its_process_from_its_reaper() {
    let ahead_ns = 25_000_000;
    let watch = tell(ExitSource::Rounded, |watch| {
        with_clock_ahead(watch, ahead_ns, Kernel::exit_and_wait);
    });
    let truth = watch.truth().into_values().fold(UsageDelta::ZERO, |sum, t| sum.plus(t.1));
    let own = watch.own.values().fold(UsageDelta::ZERO, |sum, own| sum.plus(own.1));
    let excess = own.plus(watch.inherited.1).less(truth);
    assert!(excess.0[0] <= ahead_ns && excess.0[2..] == [0, 0], "{excess:?}");
}

/// Two children that did 60 ms of work in user mode each, some of it before a sweep saw them, end,
/// and their records tell all of it as done in the kernel.
fn check_divided_anew(seen_ticks: u64, end: impl Fn(&mut Kernel, u32)) {
    let watch = tell(ExitSource::Exact, |watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        let children = [watch.kernel.fork(parent, "child"), watch.kernel.fork(parent, "child")];
        watch.begin();
        watch.interval(|kernel| {
            children.iter().for_each(|child| kernel.use_cpu(*child, seen_ticks, 5));
        });
        watch.kernel.pass(100);
        for child in children {
            watch.kernel.use_cpu(child, 6 - seen_ticks, 50);
            end(&mut watch.kernel, child);
        }
        let mut snapshot = watch.kernel.sweep();
        for exit in &mut snapshot.exits.processes {
            exit.sample.usage.own.0.swap(0, 1);
        }
        watch.take(&snapshot);
        watch.interval(|kernel| {
            for zombie in kernel.zombies_of(parent) {
                kernel.wait(parent, zombie);
            }
        });
    });
    watch.assert_usage();
    assert_eq!(watch.lost, 0, "both found their reaper");
}

#[test]
fn cpu_time_that_is_divided_anew_between_the_modes_counts_once() {
    for seen_ticks in [0, 4] {
        check_divided_anew(seen_ticks, Kernel::exit_and_wait);
        check_divided_anew(seen_ticks, Kernel::exit);
    }
}

#[test]
fn records_of_the_first_sweep_count_with_the_second() {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        let child = watch.kernel.fork(parent, "child");
        watch.kernel.write(child, 9000);
        let dead = watch.kernel.fork(parent, "dead");
        watch.kernel.write(dead, 5000);
        watch.kernel.exit_and_wait(dead);
        watch.kernel.fork(INIT, "last");
        let mut is_done = false;
        watch.begin_while(&mut |kernel| {
            if kernel.last_read == Some(child) && !std::mem::replace(&mut is_done, true) {
                kernel.write(child, 4096);
                kernel.exit(child);
                let unseen = kernel.fork(parent, "unseen");
                kernel.write(unseen, 2048);
                kernel.exit_and_wait(unseen);
            }
        });
        assert!(is_done);
        watch.interval(|kernel| kernel.wait(parent, child));
    });
}

#[test]
fn unreadable_for_three_sweeps_while_threads_end_counts_when_readable_again() {
    check(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        let thread = watch.kernel.start_thread(process);
        watch.begin();
        watch.interval(|kernel| {
            kernel.write_in(process, thread, 3000);
            kernel.process(process).is_readable = false;
        });
        watch.interval(|kernel| {
            kernel.write_in(process, thread, 4096);
            kernel.end_thread(process, thread);
        });
        watch.interval(|kernel| {
            let short = kernel.start_thread(process);
            kernel.write_in(process, short, 2048);
            kernel.end_thread(process, short);
        });
        let key = watch.kernel.process(process).key;
        let movement = watch.interval(|kernel| {
            kernel.write(process, 7);
            kernel.process(process).is_readable = true;
        });
        assert!(own(&movement, key) >= 6144);
        watch.interval(|kernel| kernel.exit_and_wait(process));
    });
}

#[test]
fn a_thread_that_ended_while_the_sweep_went_past_is_not_missed_when_it_is_unreadable_next() {
    check(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        let thread = watch.kernel.start_thread(process);
        watch.begin();
        watch.interval_with_late(process, |kernel| {
            kernel.write_in(process, thread, 4096);
            kernel.end_thread(process, thread);
        });
        watch.interval(|kernel| kernel.process(process).is_readable = false);
        watch.interval(|kernel| kernel.process(process).is_readable = true);
        watch.interval(|kernel| kernel.exit_and_wait(process));
    });
}

#[test]
fn a_process_that_dies_unreadable_counts_by_its_record() {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        let child = watch.kernel.fork(parent, "child");
        watch.begin();
        watch.interval(|kernel| {
            kernel.write(child, 3000);
            kernel.process(child).is_readable = false;
        });
        watch.interval(|kernel| {
            kernel.write(child, 4096);
            kernel.exit_and_wait(child);
        });
    });
}

/// Whoever may hear of ends need not be allowed to read the living: a process that began while
/// somebody looked did all that its records tell, though no sweep could read it.
fn check_never_readable(end: impl Fn(&mut Watch, u32, u32)) {
    for is_parent_readable in [true, false] {
        check(|watch| {
            let parent = watch.kernel.fork(INIT, "parent");
            watch.kernel.process(parent).is_readable = is_parent_readable;
            watch.begin();
            let mut child = 0;
            watch.interval(|kernel| {
                child = kernel.fork(parent, "child");
                kernel.process(child).is_readable = false;
                kernel.write(child, 3000);
            });
            watch.interval(|kernel| {
                let thread = kernel.start_thread(child);
                kernel.write_in(child, thread, 5000);
                kernel.end_thread(child, thread);
            });
            watch.interval(|kernel| kernel.write(child, 4096));
            end(watch, parent, child);
        });
    }
}

#[test]
fn a_process_that_was_never_readable_counts_whole_by_its_records() {
    check_never_readable(|watch, _, child| {
        watch.interval(|kernel| kernel.exit_and_wait(child));
    });
}

#[test]
fn a_zombie_that_was_never_readable_counts_whole_by_its_records() {
    check_never_readable(|watch, parent, child| {
        watch.interval(|kernel| kernel.exit(child));
        watch.interval(|_| {});
        watch.interval(|kernel| kernel.wait(parent, child));
    });
}

/// What was counted of it as it could be read must not count again when its record comes.
#[test]
fn a_process_that_was_readable_at_first_counts_nothing_twice() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        for unread_sweeps in [1, 70] {
            let watch = tell(source, |watch| {
                watch.begin();
                let mut child = 0;
                watch.interval(|kernel| {
                    child = kernel.fork(INIT, "child");
                    kernel.write(child, 9000);
                });
                for _ in 0..unread_sweeps {
                    watch.interval(|kernel| kernel.process(child).is_readable = false);
                }
                watch.interval(|kernel| kernel.exit_and_wait(child));
            });
            let credited = watch.own.values().fold(IoDelta::ZERO, |sum, own| sum.plus(own.0));
            assert_eq!(credited[IoCounter::WriteBytes], 9000, "{source:?} {unread_sweeps}");
        }
    }
}

#[test]
fn a_process_that_was_not_readable_and_older_than_the_first_sweep_counts_nothing_twice() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let watch = tell(source, |watch| {
            let parent = watch.kernel.fork(INIT, "parent");
            let child = watch.kernel.fork(parent, "child");
            watch.kernel.write(child, 9000);
            watch.kernel.process(child).is_readable = false;
            watch.begin();
            watch.interval(|kernel| kernel.write(child, 1000));
            watch.interval(|kernel| kernel.exit_and_wait(child));
        });
        // What of its records is new nobody can say.
        let credited = watch.own.values().fold(IoDelta::ZERO, |sum, own| sum.plus(own.0));
        assert_eq!(credited, IoDelta::ZERO, "{source:?}");
    }
}

/// A kernel that is just releasing a process may show less of it than a moment ago; its record
/// is in the same batch.
#[test]
fn a_process_whose_counters_fell_as_it_ended_counts_once() {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        let child = watch.kernel.fork(parent, "child");
        watch.kernel.write(child, 50_000);
        watch.begin();
        watch.interval_with(|kernel| kernel.write(child, 100), child, &mut |_| {});
        watch.kernel.pass(100);
        let key = watch.kernel.process(child).key;
        watch.kernel.write(child, 2048);
        let mut snapshot = watch.kernel.sweep();
        watch.kernel.exit_and_wait(child);
        snapshot.exits = watch.kernel.sweep().exits;
        let sample = snapshot.processes.iter_mut().find(|sample| sample.key == key);
        let sample = sample.expect("it was swept");
        sample.io = sample.io.clone().with_total(Reading::Value(IoTotals::ZERO));
        watch.take(&snapshot);
    });
}

/// A process gives its memory back after its record is written, and that may take seconds: all the
/// while it is there for whoever looks, and no zombie.
#[test]
fn a_process_that_is_taken_down_for_many_sweeps_counts_once() {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        let child = watch.kernel.fork(parent, "child");
        watch.begin();
        watch.interval(|kernel| kernel.write(child, 2048));
        watch.kernel.pass(100);
        watch.kernel.write(child, 5000);
        let key = watch.kernel.process(child).key;
        let mut snapshot = watch.kernel.sweep();
        let living = snapshot.by_key(key).expect("it was swept").clone();
        watch.kernel.exit(child);
        snapshot.exits = watch.kernel.sweep().exits;
        watch.take(&snapshot);
        for _ in 0..3 {
            watch.kernel.pass(100);
            let mut snapshot = watch.kernel.sweep();
            let seen = snapshot.processes.iter_mut().find(|sample| sample.key == key);
            *seen.expect("it was swept") = living.clone();
            watch.take(&snapshot);
        }
        watch.interval(|kernel| kernel.wait(parent, child));
    });
}

/// One thread ends while the process is read: its bytes are not among those of ended threads yet,
/// nor among those of living ones any more. What another did shows all the same.
#[test]
fn what_a_thread_did_counts_at_once_though_another_ends_while_its_process_is_read() {
    check(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        let thread = watch.kernel.start_thread(process);
        watch.kernel.write_in(process, thread, 8192);
        watch.begin();
        let key = watch.kernel.process(process).key;
        watch.kernel.pass(100);
        watch.kernel.write(process, 4096);
        watch.kernel.end_thread(process, thread);
        let mut snapshot = watch.kernel.sweep();
        let sample = snapshot.processes.iter_mut().find(|sample| sample.key == key).unwrap();
        let threads = sample.threads().value().unwrap().to_vec();
        let living = threads.iter().fold(IoDelta::ZERO, |sum, t| sum.plus(t.total.as_delta()));
        sample.io = sample.io.clone().with_total(Reading::Value(IoTotals::ZERO.plus(living)));
        sample.io.set_threads(key, &threads);
        let movement = watch.take(&snapshot);
        assert_eq!(own(&movement, key), 4096, "not an interval later");
        watch.interval(|kernel| kernel.write(process, 10));
    });
}

#[test]
fn a_reused_pid_is_another_process() {
    check(|watch| {
        watch.kernel.pid_max = 4;
        let parent = watch.kernel.fork(INIT, "parent");
        let child = watch.kernel.fork(parent, "child");
        watch.begin();
        watch.interval(|kernel| kernel.write(child, 2000));
        watch.interval(|kernel| {
            kernel.write(child, 1024);
            kernel.exit_and_wait(child);
            let filler = kernel.fork(parent, "filler");
            let second = kernel.fork(parent, "child");
            assert_eq!(second, child, "the PID came round");
            kernel.write(second, 5);
            kernel.exit_and_wait(filler);
        });
        watch.interval(|kernel| kernel.exit_and_wait(child));
    });
}

/// A child that did as much as its twin before it, and more.
fn twin_in_the_same_tick(kernel: &mut Kernel, parent: u32, child: u32) {
    let start = kernel.process(child).key.start_time_ticks;
    kernel.write(child, 1024);
    kernel.exit_and_wait(child);
    let now = std::mem::replace(&mut kernel.now_ticks, start);
    let twin = kernel.fork(parent, "child");
    kernel.now_ticks = now;
    assert_eq!(twin, child, "the PID came round");
    kernel.write(twin, 300_000);
    kernel.use_cpu(twin, 50, 5000);
}

#[test]
fn a_twin_within_a_tick_is_told_by_the_nanosecond_of_its_start() {
    let watch = tell(ExitSource::Exact, |watch| {
        watch.kernel.pid_max = 3;
        let parent = watch.kernel.fork(INIT, "parent");
        let child = watch.kernel.fork(parent, "child");
        watch.kernel.write(child, 10_000);
        watch.kernel.use_cpu(child, 1, 100);
        watch.begin();
        let movement = watch.interval(|kernel| twin_in_the_same_tick(kernel, parent, child));
        assert_eq!(movement.replaced, 1);
        watch.interval(|kernel| kernel.write(child, 8000));
        watch.interval(|kernel| {
            kernel.write(child, 90);
            kernel.use_cpu(child, 3, 3);
            kernel.exit_and_wait(child);
        });
    });
    watch.assert_own();
    watch.assert_usage();
    assert_eq!(watch.missing_records, 0);
    assert_eq!(watch.ended.values().sum::<u64>(), 2);
}

/// The records are those of a few seconds only; what cannot be exact then is found by
/// polling, and nothing is doubled.
fn check_switching(story: impl Fn(&mut Watch)) {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let watch = tell(source, &story);
        let truth = watch.truth().into_values().fold(IoDelta::ZERO, |sum, t| sum.plus(t.0));
        let own = watch.own.values().fold(IoDelta::ZERO, |sum, own| sum.plus(own.0));
        let credited = own.plus(watch.inherited.0)[IoCounter::WriteBytes];
        let truth = truth[IoCounter::WriteBytes];
        let bound = watch.rounded_records.values().sum::<u64>() * (ROUNDED_TO_BYTES - 1);
        assert!(credited <= truth && truth - credited <= bound, "{credited} of {truth}");
        watch.assert_usage();
        assert_eq!(watch.lost, 0);
    }
}

/// A parent, a seen child and an unseen one: both end, and are waited for.
fn two_deaths(kernel: &mut Kernel, parent: u32, seen: u32) {
    kernel.write(seen, 40_000);
    kernel.use_cpu(seen, 2, 2);
    kernel.exit_and_wait(seen);
    let unseen = kernel.fork(parent, "unseen");
    kernel.write(unseen, 20_000);
    kernel.exit_and_wait(unseen);
}

/// A parent with so many children, each of which has written.
fn family(kernel: &mut Kernel, children: usize) -> (u32, Vec<u32>) {
    let parent = kernel.fork(INIT, "parent");
    let children: Vec<u32> = (0..children).map(|_| kernel.fork(parent, "child")).collect();
    for child in &children {
        kernel.write(*child, 3000);
    }
    (parent, children)
}

#[test]
fn a_source_switched_on_within_an_interval_counts_from_the_next_one() {
    check_switching(|watch| {
        let source = watch.source;
        watch.kernel.stop_recording();
        let (parent, children) = family(&mut watch.kernel, 4);
        watch.begin();
        watch.interval(|kernel| two_deaths(kernel, parent, children[0]));
        let movement = watch.interval(|kernel| {
            two_deaths(kernel, parent, children[1]);
            kernel.record_ends(recorder(source));
            two_deaths(kernel, parent, children[2]);
        });
        assert_eq!(movement.ends, Ends::Inferred, "only a part of it was recorded");
        let movement = watch.interval(|kernel| two_deaths(kernel, parent, children[3]));
        assert_eq!(movement.ends, ends_of(source));
    });
}

#[test]
fn a_source_switched_off_leaves_polling() {
    check_switching(|watch| {
        let source = watch.source;
        let (parent, children) = family(&mut watch.kernel, 4);
        watch.begin();
        watch.interval(|kernel| two_deaths(kernel, parent, children[0]));
        let movement = watch.interval(|kernel| {
            two_deaths(kernel, parent, children[1]);
            kernel.stop_recording();
        });
        assert_eq!((movement.ends, movement.missing_records), (Ends::Inferred, 0));
        watch.interval(|kernel| two_deaths(kernel, parent, children[2]));
        watch.interval(|kernel| kernel.record_ends(recorder(source)));
        let movement = watch.interval(|kernel| two_deaths(kernel, parent, children[3]));
        assert_eq!(movement.ends, ends_of(source));
    });
}

#[test]
fn records_lost_in_between_leave_polling_for_as_long() {
    check_switching(|watch| {
        let source = watch.source;
        let (parent, children) = family(&mut watch.kernel, 3);
        watch.begin();
        watch.interval(|kernel| two_deaths(kernel, parent, children[0]));
        let movement = watch.interval(|kernel| {
            kernel.record_ends(Recorder { room: 0, ..recorder(source) });
            two_deaths(kernel, parent, children[1]);
            kernel.record_ends(recorder(source));
        });
        assert_eq!((movement.ends, movement.missing_records), (Ends::Inferred, 2));
        let movement = watch.interval(|kernel| two_deaths(kernel, parent, children[2]));
        assert_eq!((movement.ends, movement.missing_records), (ends_of(source), 0));
    });
}

/// Records that the kernel counted as lost, though no thread is missed: all were born and
/// died between two sweeps.
#[test]
fn lost_records_of_the_never_seen_leave_polling_too() {
    check_switching(|watch| {
        let source = watch.source;
        let (parent, _) = family(&mut watch.kernel, 1);
        watch.begin();
        let movement = watch.interval(|kernel| {
            kernel.record_ends(Recorder { room: 1, ..recorder(source) });
            for _ in 0..3 {
                let unseen = kernel.fork(parent, "unseen");
                kernel.write(unseen, 20_000);
                kernel.exit_and_wait(unseen);
            }
            kernel.record_ends(recorder(source));
        });
        assert_eq!((movement.ends, movement.missing_records), (Ends::Inferred, 2));
    });
}

/// The thread's bytes are in what the next sweep reads of its process, and that one has to do
/// without records.
#[test]
fn a_thread_that_ended_before_any_sweep_saw_its_process_counts_once_by_polling_too() {
    check_switching(|watch| {
        let source = watch.source;
        let parent = watch.kernel.fork(INIT, "parent");
        watch.begin();
        watch.interval_with_late(parent, |kernel| {
            let child = kernel.fork(parent, "child");
            let thread = kernel.start_thread(child);
            kernel.write_in(child, thread, 40_960);
            kernel.end_thread(child, thread);
        });
        let movement = watch.interval(|kernel| {
            kernel.record_ends(Recorder { room: 0, ..recorder(source) });
            let unseen = kernel.fork(parent, "unseen");
            kernel.exit_and_wait(unseen);
            kernel.record_ends(recorder(source));
        });
        assert_eq!(movement.ends, Ends::Inferred);
    });
}

/// What was recorded of those that ended after their process was read, or their parent, is in
/// what the next sweep reads of it; that one has to do without records.
fn check_recorded_ahead(ahead: impl Fn(&mut Kernel, u32, u32)) {
    check_switching(|watch| {
        let source = watch.source;
        let process = watch.kernel.fork(INIT, "process");
        let thread = watch.kernel.start_thread(process);
        watch.begin();
        let movement = watch.interval_with_late(process, |kernel| ahead(kernel, process, thread));
        assert_eq!(movement.ends, ends_of(source));
        let movement = watch.interval(|kernel| {
            kernel.write(process, 30);
            kernel.record_ends(Recorder { room: 0, ..recorder(source) });
            let unseen = kernel.fork(INIT, "unseen");
            kernel.exit_and_wait(unseen);
            kernel.record_ends(recorder(source));
        });
        assert_eq!(movement.ends, Ends::Inferred);
        watch.interval(|kernel| kernel.write(process, 5));
    });
}

#[test]
fn a_thread_recorded_ahead_of_its_process_counts_once_by_polling_too() {
    check_recorded_ahead(|kernel, process, thread| {
        kernel.write_in(process, thread, 40_960);
        kernel.end_thread(process, thread);
    });
}

#[test]
fn a_thread_born_and_recorded_ahead_of_its_process_counts_once_by_polling_too() {
    check_recorded_ahead(|kernel, process, _| {
        let thread = kernel.start_thread(process);
        kernel.write_in(process, thread, 40_960);
        kernel.end_thread(process, thread);
    });
}

#[test]
fn children_recorded_ahead_of_their_parent_count_once_by_polling_too() {
    check_recorded_ahead(|kernel, process, _| {
        for _ in 0..3 {
            let child = kernel.fork(process, "child");
            kernel.write(child, 40_960);
            kernel.use_cpu(child, 1, 1);
            kernel.exit_and_wait(child);
        }
    });
}

/// Its record says who its parent was, but of that one nothing is known at all: what it did was
/// inherited by init, together with what its parent did.
#[test]
fn a_recorded_child_of_a_parent_that_nobody_knows_counts_once() {
    check_switching(|watch| {
        let source = watch.source;
        watch.begin();
        let movement = watch.interval(|kernel| {
            let parent = kernel.fork(INIT, "parent");
            let child = kernel.fork(parent, "child");
            kernel.write(child, 20_480);
            kernel.use_cpu(child, 2, 5);
            kernel.exit_and_wait(child);
            kernel.record_ends(Recorder { room: 0, ..recorder(source) });
            kernel.write(parent, 3000);
            kernel.exit_and_wait(parent);
            kernel.record_ends(recorder(source));
        });
        assert_eq!((movement.ends, movement.missing_records), (Ends::Inferred, 1));
    });
}

#[test]
fn a_lost_record_is_found_out_by_a_thread_that_is_gone() {
    let watch = tell(ExitSource::Exact, |watch| {
        let process = watch.kernel.fork(INIT, "process");
        let thread = watch.kernel.start_thread(process);
        watch.begin();
        watch.kernel.pass(100);
        watch.kernel.write_in(process, thread, 5000);
        watch.kernel.end_thread(process, thread);
        let mut snapshot = watch.kernel.sweep();
        snapshot.exits.threads.clear();
        let movement = watch.take(&snapshot);
        assert_eq!((movement.ends, movement.missing_records), (Ends::Exact, 1));
        assert_eq!(movement.inferred, [watch.kernel.process(process).key]);
    });
    watch.assert_own();
}

/// Of two children that are waited for, the record of one is lost and nobody tells: its parent
/// brings its last bytes, once, and everybody else keeps to the records.
#[test]
fn a_process_without_a_record_concerns_its_parent_alone() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let watch = tell(source, |watch| {
            let (parent, children) = family(&mut watch.kernel, 2);
            let (other, strangers) = family(&mut watch.kernel, 1);
            watch.begin();
            watch.kernel.pass(100);
            let keys = [parent, children[0]].map(|pid| watch.kernel.process(pid).key);
            let kept = [other, strangers[0], children[1]].map(|pid| watch.kernel.process(pid).key);
            for child in [children[0], children[1], strangers[0]] {
                watch.kernel.write(child, 50_000);
                watch.kernel.exit_and_wait(child);
            }
            watch.kernel.write(parent, 7);
            let mut snapshot = watch.kernel.sweep();
            snapshot.exits.threads.retain(|exit| exit.process != keys[1]);
            snapshot.exits.processes.retain(|exit| exit.key() != keys[1]);
            let movement = watch.take(&snapshot);
            assert_eq!((movement.ends, movement.missing_records), (ends_of(source), 1));
            assert_eq!(movement.inferred, keys);
            assert!(kept.iter().all(|key| !movement.is_inferred(*key)));
            let residual = movement.residuals.iter().find(|r| r.reaper == keys[0]).unwrap();
            let taken: Vec<_> = residual.taken_out.iter().map(|child| child.key).collect();
            assert_eq!(taken, [keys[1], kept[2]]);
            let least = 50_000;
            let bytes = residual.io.unwrap()[IoCounter::WriteBytes];
            assert!((least..least + ROUNDED_TO_BYTES).contains(&bytes), "{bytes}");
        });
        let truth = watch.truth().into_values().fold(IoDelta::ZERO, |sum, t| sum.plus(t.0));
        let own = watch.own.values().fold(IoDelta::ZERO, |sum, own| sum.plus(own.0));
        let missing = truth.less(own.plus(watch.inherited.0))[IoCounter::WriteBytes];
        assert!(missing < ROUNDED_TO_BYTES, "what the other family's record hides: {missing}");
        watch.assert_usage();
    }
}

/// The thread's record came while nobody had seen its process, in an interval that was polled:
/// the next one has its records again.
#[test]
fn a_record_ahead_of_its_process_is_kept_over_an_interval_without_records() {
    check_switching(|watch| {
        let source = watch.source;
        let parent = watch.kernel.fork(INIT, "parent");
        watch.begin();
        let movement = watch.interval_with(
            |kernel| {
                kernel.record_ends(Recorder { room: 0, ..recorder(source) });
                let unseen = kernel.fork(parent, "unseen");
                kernel.exit_and_wait(unseen);
                kernel.record_ends(recorder(source));
            },
            parent,
            &mut |kernel| {
                let child = kernel.fork(parent, "child");
                let thread = kernel.start_thread(child);
                kernel.write_in(child, thread, 40_960);
                kernel.end_thread(child, thread);
            },
        );
        assert_eq!(movement.ends, Ends::Inferred);
        watch.interval(|_| {});
    });
}

#[test]
fn spilled_records_are_summed_by_parent_less_what_was_counted() {
    let watch = tell(ExitSource::Exact, |watch| {
        let (parent, children) = family(&mut watch.kernel, 3);
        watch.begin();
        watch.interval(|kernel| children.iter().for_each(|child| kernel.write(*child, 50_000)));
        let movement = watch.interval(|kernel| {
            let recorder = recorder(ExitSource::Exact);
            let on_overflow = Overflow::Spilled;
            kernel.record_ends(Recorder { room: 0, on_overflow, ..recorder });
            for child in &children {
                kernel.write(*child, 7);
                kernel.exit_and_wait(*child);
            }
            kernel.record_ends(recorder);
        });
        assert_eq!((movement.ends, movement.spilled_records), (Ends::Exact, 3));
        assert_eq!(movement.missing_records, 0);
        let spilled = movement.residuals.iter().find(|r| r.io.is_some_and(|io| !io.is_zero()));
        let spilled = spilled.expect("what was spilled");
        assert_eq!(spilled.reaper, watch.kernel.process(parent).key);
        assert_eq!(spilled.io.expect("its I/O")[IoCounter::WriteBytes], 21);
        assert_eq!(spilled.taken_out.len(), 3);
    });
    let truth = watch.truth().into_values().fold(IoDelta::ZERO, |sum, t| sum.plus(t.0));
    let own = watch.own.values().fold(IoDelta::ZERO, |sum, own| sum.plus(own.0));
    assert_eq!(own.plus(watch.inherited.0), truth);
}

/// Two children that no sweep saw are told of, and their parent has waited for the second alone.
/// What it inherited has room for either; the first is there for whoever looks next, as long as its
/// memory is given back, or nobody waits for it.
#[test]
fn a_process_that_ended_behind_a_sweep_is_no_newcomer_to_the_next() {
    check(|watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        watch.begin();
        let mut children = Vec::new();
        watch.interval_while(|_| {}, &mut |kernel| {
            if !children.is_empty() {
                return;
            }
            for _ in 0..2 {
                let child = kernel.fork(parent, "child");
                kernel.write(child, 4096);
                kernel.use_cpu(child, 1, 10);
                kernel.exit(child);
                children.push(child);
            }
            kernel.wait(parent, children[1]);
        });
        watch.interval(|kernel| kernel.write(parent, 1));
        watch.interval(|_| {});
        watch.interval(|kernel| kernel.wait(parent, children[0]));
    });
}

/// Takes the records of a process out of a snapshot.
fn take_records_of(snapshot: &mut Snapshot, key: ProcessKey) -> Exits {
    let mut exits = Exits::default();
    let Exits { threads, processes, .. } = &mut snapshot.exits;
    exits.threads.extend(threads.extract_if(.., |exit| exit.process == key));
    exits.processes.extend(processes.extract_if(.., |exit| exit.key() == key));
    exits
}

/// A sweep that reads this process before this happens.
fn sweep_past(kernel: &mut Kernel, read: u32, late: impl Fn(&mut Kernel)) -> Snapshot {
    let mut is_done = false;
    kernel.sweep_while(&mut |kernel| {
        if kernel.last_read == Some(read) && !std::mem::replace(&mut is_done, true) {
            late(kernel);
        }
    })
}

/// A child ends, as the sweep that `end` takes sees it, whose records come so many sweeps too late; until then it is settled by what polling
/// tells, or not at all. It ends once, and no byte counts twice, whatever its parent has inherited.
fn check_late_records(sweeps_late: usize, end: impl Fn(&mut Kernel, u32) -> Snapshot) {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let watch = tell(source, |watch| {
            let (parent, children) = family(&mut watch.kernel, 2);
            watch.begin();
            watch.interval(|kernel| kernel.write(children[0], 3000));
            let key = watch.kernel.process(children[0]).key;
            watch.kernel.pass(100);
            watch.kernel.write(children[0], 50_000);
            watch.kernel.use_cpu(children[0], 7, 20);
            watch.kernel.write(parent, 9);
            let mut snapshot = end(&mut watch.kernel, children[0]);
            let late = take_records_of(&mut snapshot, key);
            assert_eq!((late.threads.len(), late.processes.len()), (1, 1));
            watch.take(&snapshot);
            for _ in 1..sweeps_late {
                watch.interval(|kernel| kernel.write(parent, 10));
            }
            watch.kernel.pass(100);
            let mut snapshot = watch.kernel.sweep();
            snapshot.exits.threads.extend(late.threads);
            snapshot.exits.processes.extend(late.processes);
            watch.take(&snapshot);
        });
        assert_eq!(watch.missing_records, 1, "{source:?}");
        assert!(watch.ended.values().all(|times| *times == 1), "{source:?}: {:?}", watch.ended);
        assert!(watch.settled.values().all(|times| *times == 1), "{source:?}");
        let truth = watch.truth().into_values().fold(IoDelta::ZERO, |sum, t| sum.plus(t.0));
        let own = watch.own.values().fold(IoDelta::ZERO, |sum, own| sum.plus(own.0));
        let found = own.plus(watch.inherited.0)[IoCounter::WriteBytes];
        let truth = truth[IoCounter::WriteBytes];
        let bound = if source == ExitSource::Exact { 0 } else { ROUNDED_TO_BYTES - 1 };
        assert!(found <= truth && truth - found <= bound, "{source:?} {found} of {truth}");
        let ([cpu_ns, minor, major], truth) = (watch.credited_usage(), watch.true_usage());
        assert!(cpu_ns <= truth[0] && truth[0] - cpu_ns <= 10_000_000, "{source:?} {cpu_ns}");
        assert_eq!([minor, major], truth[1..], "{source:?}");
    }
}

#[test]
fn records_that_come_after_their_process_was_settled_by_polling_count_nothing_twice() {
    for sweeps_late in 1..4 {
        check_late_records(sweeps_late, |kernel, child| {
            kernel.exit_and_wait(child);
            kernel.sweep()
        });
    }
}

#[test]
fn records_that_come_while_their_process_still_looks_for_its_reaper_complete_it() {
    for sweeps_late in 1..4 {
        check_late_records(sweeps_late, |kernel, child| {
            let parent = kernel.process(child).parent;
            kernel.process(parent).reaps_automatically = true;
            kernel.exit(child);
            kernel.process(parent).reaps_automatically = false;
            kernel.sweep()
        });
    }
}

#[test]
fn records_of_threads_that_come_one_after_the_other_before_their_process_is_found_count_once() {
    let watch = tell(ExitSource::Exact, |watch| {
        let (parent, children) = family(&mut watch.kernel, 1);
        let thread = watch.kernel.start_thread(children[0]);
        watch.begin();
        watch.interval(|kernel| kernel.write(children[0], 3000));
        watch.kernel.pass(100);
        let key = watch.kernel.process(children[0]).key;
        watch.kernel.write(children[0], 50_000);
        watch.kernel.write_in(children[0], thread, 700);
        // It ends, and nobody has waited for it when its parent is read.
        let mut snapshot = sweep_past(&mut watch.kernel, parent, |kernel| {
            kernel.exit_and_wait(children[0]);
        });
        let Exits { threads, .. } = take_records_of(&mut snapshot, key);
        assert_eq!(threads.len(), 2);
        watch.take(&snapshot);
        // The parent has not been readable when the first of the two comes.
        for (number, record) in threads.into_iter().enumerate() {
            watch.kernel.pass(100);
            let mut snapshot = watch.kernel.sweep();
            snapshot.exits.threads.push(record);
            if number == 0 {
                let parent = watch.kernel.process(parent).key;
                snapshot.processes.retain(|process| process.key != parent);
                snapshot.unreadable_pids = vec![parent.pid];
            }
            watch.take(&snapshot);
        }
    });
    let truth = watch.truth().into_values().fold(IoDelta::ZERO, |sum, t| sum.plus(t.0));
    let own = watch.own.values().fold(IoDelta::ZERO, |sum, own| sum.plus(own.0));
    let found = own.plus(watch.inherited.0)[IoCounter::WriteBytes];
    assert_eq!(found, truth[IoCounter::WriteBytes]);
}

#[test]
fn records_that_come_after_what_they_tell_was_found_with_a_reaper_read_before_count_nothing_twice()
{
    for sweeps_late in 1..4 {
        check_late_records(sweeps_late, |kernel, child| {
            let parent = kernel.process(child).parent;
            sweep_past(kernel, parent, |kernel| {
                kernel.write(child, 4096);
                kernel.exit_and_wait(child);
            })
        });
    }
}

/// A child ends after its parent was read and before it was read itself, and its records never come.
/// In which of the two intervals after that `meanwhile` makes the parent one of those of whom more is
/// inferred; returns what is missing at the end.
fn missing_after_a_look(
    source: ExitSource,
    end: impl Fn(&mut Kernel, u32),
    meanwhile: impl Fn(&mut Kernel, u32),
    inferred: [bool; 2],
) -> u64 {
    let watch = tell(source, |watch| {
        let (parent, children) = family(&mut watch.kernel, 2);
        let bystander = watch.kernel.fork(parent, "bystander");
        watch.begin();
        let keys = [parent, children[0], bystander].map(|pid| watch.kernel.process(pid).key);
        watch.kernel.pass(100);
        let mut snapshot = sweep_past(&mut watch.kernel, parent, |kernel| {
            kernel.write(children[0], 50_000);
            kernel.use_cpu(children[0], 7, 20);
            end(kernel, children[0]);
        });
        let records = take_records_of(&mut snapshot, keys[1]);
        assert_eq!((records.threads.len(), records.processes.len()), (1, 1));
        let movement = watch.take(&snapshot);
        assert_eq!((movement.ends, movement.missing_records), (ends_of(source), 1));
        let found = inferred.map(|_| {
            let movement = watch.interval(|kernel| {
                kernel.write(bystander, 1);
                meanwhile(kernel, parent);
            });
            assert_eq!(movement.ends, ends_of(source));
            assert!(!movement.is_inferred(keys[2]), "it has no child");
            movement.is_inferred(keys[0])
        });
        assert_eq!(found, inferred, "{source:?}");
    });
    assert_eq!(watch.missing_records, 1, "{source:?}");
    let truth = watch.truth().into_values().fold(IoDelta::ZERO, |sum, t| sum.plus(t.0));
    let own = watch.own.values().fold(IoDelta::ZERO, |sum, own| sum.plus(own.0));
    let found = own.plus(watch.inherited.0)[IoCounter::WriteBytes];
    let truth = truth[IoCounter::WriteBytes];
    assert!(found <= truth, "{source:?} {found} of {truth}");
    let hidden = watch.rounded_records.values().sum::<u64>() * (ROUNDED_TO_BYTES - 1);
    (truth - found).saturating_sub(hidden)
}

fn reap_another(kernel: &mut Kernel, parent: u32) {
    let unseen = kernel.fork(parent, "unseen");
    kernel.write(unseen, 20_000);
    kernel.exit_and_wait(unseen);
}

#[test]
fn what_a_child_without_a_record_did_is_found_though_its_reaper_was_read_before() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let quiet = |_: &mut Kernel, _| {};
        let busy = |kernel: &mut Kernel, parent| kernel.write(parent, 700);
        let reap = Kernel::exit_and_wait;
        assert_eq!(missing_after_a_look(source, reap, quiet, [true, false]), 0);
        assert_eq!(missing_after_a_look(source, reap, busy, [true, false]), 0);
        assert_eq!(missing_after_a_look(source, reap, reap_another, [true, false]), 0);
    }
}

/// Nobody can have it whose counters of children have not grown by as much as it had done.
#[test]
fn a_child_without_a_record_that_nobody_waited_for_concerns_no_later_interval() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let drop = |kernel: &mut Kernel, child: u32| {
            let parent = kernel.process(child).parent;
            kernel.process(parent).reaps_automatically = true;
            kernel.exit(child);
            kernel.process(parent).reaps_automatically = false;
        };
        let little = |kernel: &mut Kernel, parent| {
            let unseen = kernel.fork(parent, "unseen");
            kernel.exit_and_wait(unseen);
        };
        let tail = 50_000 - 2 * ROUNDED_TO_BYTES..=50_000;
        assert!(tail.contains(&missing_after_a_look(source, drop, |_, _| {}, [false; 2])));
        assert!(tail.contains(&missing_after_a_look(source, drop, little, [false; 2])));
    }
}

/// A process beside others whose files may be read: it changes its user, say.
fn hide(kernel: &mut Kernel, pid: u32) {
    kernel.process(pid).hides_total = true;
}

#[test]
fn a_process_whose_files_close_and_open_again_counts_once() {
    let watch = tell(ExitSource::Rounded, |watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        let thread = watch.kernel.start_thread(parent);
        watch.begin();
        let key = watch.kernel.process(parent).key;
        // Of 5,000 bytes 4,096 are told by now: the next 4 KiB must not count 904 bytes of them again.
        watch.interval(|kernel| kernel.write_in(parent, thread, 5000));
        assert_eq!(own(&watch.interval(|kernel| hide(kernel, parent)), key), 0);
        assert_eq!(own(&watch.interval(|_| {}), key), 0);
        let movement = watch.interval(|kernel| kernel.write_in(parent, thread, 4096));
        assert_eq!(own(&movement, key), 8192 - 5000);
        let movement = watch.interval(|kernel| {
            kernel.write_in(parent, thread, 100);
            kernel.process(parent).hides_total = false;
        });
        assert_eq!(own(&movement, key), 5000 + 4096 + 100 - 8192);
        watch.interval(|kernel| kernel.end_thread(parent, thread));
        watch.interval(|kernel| kernel.exit_and_wait(parent));
    });
    watch.assert_own();
    watch.assert_usage();
    watch.assert_ends();
}

#[test]
fn a_process_of_whose_threads_nothing_is_told_for_a_while_counts_when_it_is_again() {
    let watch = tell_from_outside(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        let thread = watch.kernel.start_thread(process);
        watch.begin();
        let key = watch.kernel.process(process).key;
        watch.interval(|kernel| {
            kernel.write_in(process, thread, 10_000);
            kernel.process(process).is_readable = false;
        });
        let movement = watch.interval(|kernel| kernel.end_thread(process, thread));
        assert_eq!(own(&movement, key), 0);
        let movement = watch.interval(|kernel| kernel.process(process).is_readable = true);
        assert_eq!(own(&movement, key), 9216);
        watch.interval(|kernel| kernel.exit_and_wait(process));
    });
    watch.assert_own();
    watch.assert_usage();
    watch.assert_ends();
}

#[test]
fn what_a_hidden_process_grew_counts_although_records_were_lost_and_is_told_to_miss_some() {
    let watch = tell_from_outside(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        let (kept, lost) = (watch.kernel.start_thread(process), watch.kernel.start_thread(process));
        let stranger = watch.kernel.fork(INIT, "stranger");
        watch.begin();
        let key = watch.kernel.process(process).key;
        let movement = watch.interval(|kernel| {
            kernel.write_in(process, kept, 20_480);
            kernel.write_in(process, lost, 4096);
            kernel.end_thread(process, kept);
            kernel.record_ends(Recorder { room: 1, ..recorder(ExitSource::Rounded) });
            kernel.end_thread(process, lost);
            kernel.exit_and_wait(stranger);
            kernel.write(process, 2048);
        });
        assert_eq!((movement.ends, own(&movement, key)), (Ends::Inferred, 20_480 + 2048));
        assert!(movement.unread.contains(&key), "what the lost record held is missing for good");
        watch.kernel.record_ends(recorder(ExitSource::Rounded));
        let movement = watch.interval(|kernel| kernel.write(process, 1024));
        assert_eq!((movement.ends, own(&movement, key)), (Ends::Rounded, 1024));
        assert!(!movement.unread.contains(&key));
    });
    assert!(watch.missing_records > 0);
}

#[test]
fn a_hidden_process_without_one_record_keeps_to_the_others() {
    tell_from_outside(|watch| {
        let process = watch.kernel.fork(INIT, "process");
        let (kept, lost) = (watch.kernel.start_thread(process), watch.kernel.start_thread(process));
        watch.begin();
        let key = watch.kernel.process(process).key;
        watch.kernel.pass(1);
        for (thread, bytes) in [(kept, 20_480), (lost, 4096)] {
            watch.kernel.write_in(process, thread, bytes);
            watch.kernel.end_thread(process, thread);
        }
        watch.kernel.pass(99);
        let mut snapshot = watch.kernel.sweep();
        snapshot.exits.threads.retain(|exit| exit.thread.tid != lost);
        let movement = watch.take(&snapshot);
        assert_eq!((movement.ends, movement.missing_records), (Ends::Rounded, 1));
        assert!(movement.is_inferred(key) && movement.unread.contains(&key));
        assert_eq!(own(&movement, key), 20_480);
    });
}

#[test]
fn a_lost_record_beside_hidden_children_doubles_nothing_with_their_parent() {
    let watch = tell(ExitSource::Rounded, |watch| {
        let parent = watch.kernel.fork(INIT, "parent");
        watch.kernel.hide_totals();
        watch.kernel.process(parent).hides_total = false;
        let children: Vec<u32> = (0..3).map(|_| watch.kernel.fork(parent, "child")).collect();
        watch.begin();
        watch.interval(|kernel| {
            for child in &children {
                kernel.write(*child, 40_960);
            }
        });
        // Only the first end is told.
        watch.interval(|kernel| {
            kernel.record_ends(Recorder { room: 1, ..recorder(ExitSource::Rounded) });
            for child in &children {
                kernel.write(*child, 10_240);
                kernel.exit_and_wait(*child);
            }
        });
        watch.kernel.record_ends(recorder(ExitSource::Rounded));
    });
    let own = watch.own.values().fold(IoDelta::ZERO, |sum, own| sum.plus(own.0));
    let done = watch.truth().into_values().fold(IoDelta::ZERO, |sum, truth| sum.plus(truth.0));
    let bytes = |io: IoDelta| io[IoCounter::WriteBytes];
    assert!(bytes(own) >= 3 * 40_960, "what was seen living stays");
    let all = bytes(own.plus(watch.inherited.0));
    assert!(all <= bytes(done), "{all} of {}", bytes(done));
}

/// The record of a process that no sweep sees alive is lost, and somebody tells. It did all that it
/// did after its parent had been read.
fn lose_behind_a_look(watch: &mut Watch, parent: u32, happen: impl Fn(&mut Kernel)) {
    let lossless = recorder(watch.source);
    let movement = watch.interval_with_late(parent, |kernel| {
        kernel.record_ends(Recorder { room: 0, ..lossless });
        happen(kernel);
        kernel.record_ends(lossless);
    });
    assert_eq!(movement.ends, Ends::Inferred);
    assert!(movement.missing_records > 0);
}

/// Something is lost behind the look at a parent, and `meanwhile` happens in the interval after
/// that, in which nothing is lost. Of that one `inferred` says, of the parent and of everybody else
/// who is there at its end, whether more is inferred than records tell.
fn check_behind_a_look(
    lost: impl Fn(&mut Kernel, u32),
    meanwhile: impl Fn(&mut Kernel, u32),
    inferred: &[&str],
) {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let watch = tell(source, |watch| {
            let (parent, _) = family(&mut watch.kernel, 2);
            let (other, strangers) = family(&mut watch.kernel, 2);
            watch.begin();
            lose_behind_a_look(watch, parent, |kernel| lost(kernel, parent));
            let movement = watch.interval(|kernel| {
                kernel.write(parent, 30);
                meanwhile(kernel, parent);
                kernel.write(strangers[0], 4096);
                kernel.exit_and_wait(strangers[0]);
                kernel.write(other, 5);
            });
            assert_eq!((movement.ends, movement.missing_records), (ends_of(source), 0));
            let processes = watch.kernel.processes.values();
            let found = processes.filter(|process| movement.is_inferred(process.key));
            let found: Vec<&str> = found.map(|process| process.comm).collect();
            assert_eq!(found, inferred, "{source:?}");
            let movement = watch.interval(|kernel| reap_another(kernel, parent));
            assert!(movement.inferred.is_empty(), "{source:?}");
        });
        assert_all_is_credited(&watch);
    }
}

/// All together are credited with what they did, less what rounding hides.
fn assert_all_is_credited(watch: &Watch) {
    let truth = watch.truth().into_values().fold(IoDelta::ZERO, |sum, t| sum.plus(t.0));
    let own = watch.own.values().fold(IoDelta::ZERO, |sum, own| sum.plus(own.0));
    let credited = own.plus(watch.inherited.0)[IoCounter::WriteBytes];
    let truth = truth[IoCounter::WriteBytes];
    let hidden = watch.rounded_records.values().sum::<u64>() * (ROUNDED_TO_BYTES - 1);
    assert!(credited <= truth && truth - credited <= hidden, "{credited} of {truth}");
    watch.assert_usage();
}

/// One that writes, ends, and is waited for or not.
fn unseen_child(kernel: &mut Kernel, parent: u32) -> u32 {
    let child = kernel.fork(parent, "unseen");
    kernel.write(child, 50_000);
    kernel.use_cpu(child, 3, 20);
    child
}

fn reap_unseen(kernel: &mut Kernel, parent: u32) {
    let child = unseen_child(kernel, parent);
    kernel.exit_and_wait(child);
}

#[test]
fn what_a_child_never_seen_did_whose_record_was_lost_is_found_with_a_reaper_read_before() {
    check_behind_a_look(reap_unseen, |_, _| {}, &["parent"]);
    check_behind_a_look(reap_unseen, reap_another, &["parent"]);
    let waits_later = |kernel: &mut Kernel, parent| {
        let child = kernel.zombies_of(parent)[0];
        kernel.wait(parent, child);
    };
    let ends = |kernel: &mut Kernel, parent| {
        let child = unseen_child(kernel, parent);
        kernel.exit(child);
    };
    check_behind_a_look(ends, waits_later, &["parent"]);
}

#[test]
fn what_a_thread_never_seen_did_whose_record_was_lost_is_found_with_its_process() {
    let thread = |kernel: &mut Kernel, process| {
        let thread = kernel.start_thread(process);
        kernel.write_in(process, thread, 50_000);
        kernel.end_thread(process, thread);
    };
    check_behind_a_look(thread, |_, _| {}, &["parent"]);
    let of_a_newcomer = |kernel: &mut Kernel, parent| {
        let child = unseen_child(kernel, parent);
        thread(kernel, child);
    };
    check_behind_a_look(of_a_newcomer, |_, _| {}, &["unseen"]);
}

/// Of its record nothing came, but of one of its threads: that is kept for when its process is seen,
/// and never will be. Its reaper has all.
#[test]
fn a_thread_whose_process_has_no_record_is_found_with_the_reaper_alone() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let watch = tell(source, |watch| {
            let (parent, _) = family(&mut watch.kernel, 1);
            watch.begin();
            let movement = watch.interval(|kernel| {
                let child = unseen_child(kernel, parent);
                let thread = kernel.start_thread(child);
                kernel.write_in(child, thread, 40_960);
                kernel.end_thread(child, thread);
                kernel.record_ends(Recorder { room: 0, ..recorder(source) });
                kernel.exit_and_wait(child);
                kernel.record_ends(recorder(source));
            });
            assert_eq!((movement.ends, movement.missing_records), (Ends::Inferred, 1));
        });
        assert_all_is_credited(&watch);
    }
}

#[test]
fn a_zombie_never_seen_before_whose_record_was_lost_counts_whole() {
    let ends = |kernel: &mut Kernel, parent| {
        let child = unseen_child(kernel, parent);
        kernel.exit(child);
    };
    check_behind_a_look(ends, |_, _| {}, &["unseen"]);
}

/// What was lost goes through the hands of one that ends, too, and again behind the look at its
/// reaper.
#[test]
fn what_was_lost_is_found_though_its_reaper_ends_behind_another_look() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let watch = tell(source, |watch| {
            let (grandparent, parents) = family(&mut watch.kernel, 1);
            let parent = parents[0];
            watch.begin();
            lose_behind_a_look(watch, parent, |kernel| reap_unseen(kernel, parent));
            let movement = watch.interval_with_late(grandparent, |kernel| {
                kernel.write(parent, 4096);
                kernel.exit_and_wait(parent);
            });
            assert!(movement.inferred.is_empty(), "nobody shows anything yet");
            let movement = watch.interval(|_| {});
            assert_eq!(movement.inferred, [watch.kernel.process(grandparent).key]);
        });
        assert_all_is_credited(&watch);
    }
}

/// Of one that cannot be read in the interval after, what was lost is found when it can.
#[test]
fn what_was_lost_is_found_when_its_reaper_is_readable_again() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let watch = tell(source, |watch| {
            let (parent, _) = family(&mut watch.kernel, 1);
            watch.begin();
            lose_behind_a_look(watch, parent, |kernel| reap_unseen(kernel, parent));
            for _ in 0..3 {
                watch.interval(|kernel| kernel.process(parent).is_readable = false);
            }
            let movement = watch.interval(|kernel| kernel.process(parent).is_readable = true);
            assert_eq!(movement.inferred, [watch.kernel.process(parent).key]);
        });
        assert_all_is_credited(&watch);
    }
}

/// A sum for a parent holds what those did that were waited for since; they may be what its
/// total has grown by, and nothing of that is found a second time.
#[test]
fn what_is_summed_up_after_a_loss_counts_nothing_twice() {
    let watch = tell(ExitSource::Exact, |watch| {
        let (parent, _) = family(&mut watch.kernel, 1);
        let exact = recorder(ExitSource::Exact);
        watch.begin();
        lose_behind_a_look(watch, parent, |kernel| reap_unseen(kernel, parent));
        let movement = watch.interval(|kernel| {
            let on_overflow = Overflow::Spilled;
            kernel.record_ends(Recorder { room: 0, on_overflow, ..exact });
            reap_another(kernel, parent);
            kernel.record_ends(exact);
        });
        assert_eq!((movement.ends, movement.spilled_records), (Ends::Exact, 1));
        assert_eq!(movement.inferred, [watch.kernel.process(parent).key]);
    });
    assert_all_is_credited(&watch);
}

/// A child's records never come, and its reaper, read before, is polled in the next interval; there
/// records of other children of it are summed up. Its total holds them, too.
#[test]
fn what_is_summed_up_for_one_who_is_polled_counts_once() {
    let watch = tell(ExitSource::Exact, |watch| {
        let (parent, children) = family(&mut watch.kernel, 1);
        let exact = recorder(ExitSource::Exact);
        watch.begin();
        let key = watch.kernel.process(children[0]).key;
        watch.kernel.pass(100);
        let mut snapshot = sweep_past(&mut watch.kernel, parent, |kernel| {
            kernel.write(children[0], 50_000);
            kernel.exit_and_wait(children[0]);
        });
        take_records_of(&mut snapshot, key);
        assert_eq!(watch.take(&snapshot).missing_records, 1);
        let movement = watch.interval(|kernel| {
            kernel.record_ends(Recorder { room: 0, on_overflow: Overflow::Spilled, ..exact });
            reap_another(kernel, parent);
            kernel.record_ends(exact);
        });
        assert!(movement.is_inferred(watch.kernel.process(parent).key));
    });
    assert_all_is_credited(&watch);
}

/// A sweep that is shown one process and no other, as by `hidepid` of proc(5).
fn sweep_of_one(kernel: &mut Kernel, shown: ProcessKey) -> Snapshot {
    kernel.pass(100);
    let mut snapshot = kernel.sweep();
    snapshot.processes.retain(|process| process.key == shown);
    snapshot.host.visibility = Visibility::OthersHidden;
    snapshot
}

#[test]
fn what_a_process_out_of_sight_did_in_its_life_is_not_credited_to_the_interval_of_its_end() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let mut watch = Watch::new(source);
        let shown = watch.kernel.fork(INIT, "shown");
        let shown = watch.kernel.process(shown).key;
        let old = watch.kernel.fork(INIT, "old");
        let key = watch.kernel.process(old).key;
        let thread = watch.kernel.start_thread(old);
        watch.kernel.write(old, 1 << 40);
        watch.kernel.write_in(old, thread, 1 << 40);
        watch.kernel.use_cpu(old, 1000, 1000);
        assert!(watch.ledger.advance(&sweep_of_one(&mut watch.kernel, shown)).is_baseline);
        watch.ledger.advance(&sweep_of_one(&mut watch.kernel, shown));
        watch.kernel.end_thread(old, thread);
        let movement = watch.ledger.advance(&sweep_of_one(&mut watch.kernel, shown));
        assert_eq!((own(&movement, key), movement.lost), (0, vec![]), "{source:?}: a thread");
        watch.kernel.exit_and_wait(old);
        let movement = watch.ledger.advance(&sweep_of_one(&mut watch.kernel, shown));
        assert!(movement.processes.iter().all(|delta| delta.key != key), "{source:?}");
        assert_eq!((movement.lost, movement.residuals), (vec![key], vec![]), "{source:?}");
    }
}
