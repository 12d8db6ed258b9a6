//! Groups over the model kernel: whose a byte is, and what a total may never do.

mod model_kernel;

use std::sync::Arc;

use model_kernel::{INIT, Kernel};
use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::{Ends, Late, Ledger, Movement, ProcessDelta, Residual, Succession};
use mpp_accounting::metric;
use mpp_accounting::process::{
    Absence, EnvironmentEntry, Identity, Lineage, ProcessKey, ProcessSample, Reading,
};
use mpp_accounting::report::{Figure, Mark, Report, Value};
use mpp_accounting::selector::{Descendants, GroupKey, Resolution, Selector};
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::{Delta, IoCounter, UsageDelta};

/// A kernel, watched by group.
struct Watch {
    kernel: Kernel,
    ledger: Ledger,
    book: GroupBook,
    report: Report,
}

const METRICS: &str = "processes.total,processes.ended,io_counters.write_bytes,io_counters.write_bytes_per_sec,\
     ctx_switches.voluntary";

impl Watch {
    fn new(rows: Rows, prepare: impl FnOnce(&mut Kernel)) -> Self {
        let columns = metric::choose(METRICS).expect("metrics of the table");
        let mut kernel = Kernel::new();
        prepare(&mut kernel);
        kernel.pass(100);
        let mut ledger = Ledger::new();
        let mut book = GroupBook::new(rows, columns.into());
        let snapshot = kernel.sweep();
        let movement = ledger.advance(&snapshot);
        let report = book.fold(&snapshot, &movement, &Resolution::default());
        Watch { kernel, ledger, book, report }
    }

    /// One second in which something happens.
    fn interval(&mut self, happen: impl FnOnce(&mut Kernel)) {
        self.interval_in_which(happen, &[]);
    }

    /// One second in which something happens and at the end of which some cannot be read at all.
    fn interval_in_which(&mut self, happen: impl FnOnce(&mut Kernel), unreadable: &[u32]) {
        self.interval_of(happen, |snapshot| {
            snapshot.processes.retain(|process| !unreadable.contains(&process.key.pid));
            snapshot.unreadable_pids = unreadable.to_vec();
        });
    }

    /// One second in which something happens and whose sweep sees this.
    fn interval_of(&mut self, happen: impl FnOnce(&mut Kernel), see: impl FnOnce(&mut Snapshot)) {
        self.kernel.pass(1);
        happen(&mut self.kernel);
        self.kernel.pass(99);
        let mut snapshot = self.kernel.sweep();
        see(&mut snapshot);
        let movement = self.ledger.advance(&snapshot);
        self.report = self.book.fold(&snapshot, &movement, &Resolution::default());
    }

    fn figure(&self, group: &str, column: &str) -> Figure {
        let row = self.report.groups.iter().find(|row| *row.name == *group.as_bytes());
        let column = self.report.columns.iter().position(|c| c.name() == column);
        row.expect("a group of this name").figures[column.expect("a column of this name")]
    }

    fn written(&self, group: &str) -> u64 {
        match self.figure(group, "io_counters.write_bytes") {
            Figure::Known { value: Value::Integer(bytes), .. } => bytes,
            other => panic!("expected a total, but found {other:?}"),
        }
    }

    fn rate(&self, group: &str, column: &str) -> (f64, Mark) {
        match self.figure(group, column) {
            Figure::Known { value, mark } => (value.as_float(), mark),
            other => panic!("expected a rate, but found {other:?}"),
        }
    }

    fn truth(&self, name: &str) -> u64 {
        self.kernel.truth.get(name).map_or(0, |truth| truth.0[IoCounter::WriteBytes])
    }
}

fn selector(text: &str, descendants: Descendants) -> Selector {
    Selector::parse(text).expect("a selector").with_descendants(descendants)
}

fn named(groups: &[(&str, Descendants)]) -> Rows {
    let row = |(name, descendants): &(&str, Descendants)| {
        (name.as_bytes().into(), selector(&format!("name:{name}"), *descendants))
    };
    Rows::Named(groups.iter().map(row).collect())
}

/// A parent whose children write and are reaped in bursts, four seconds apart.
fn burst(watch: &mut Watch, parent: u32, mut check: impl FnMut(&Watch)) {
    for second in 0..12 {
        watch.interval(|kernel| {
            for _ in 0..10 {
                let child = kernel.fork(parent, "child");
                kernel.write(child, 1000);
                kernel.exit(child);
            }
            kernel.write(parent, 7);
            if second % 4 == 3 {
                for zombie in kernel.zombies_of(parent) {
                    kernel.wait(parent, zombie);
                }
            }
        });
        check(watch);
    }
}

#[test]
fn parent_and_children_in_one_group_write_what_they_write_each_second() {
    let mut parent = 0;
    let mut watch = Watch::new(named(&[("parent", Descendants::Taken)]), |kernel| {
        parent = kernel.fork(INIT, "parent");
    });
    burst(&mut watch, parent, |watch| {
        let rate = watch.figure("parent", "io_counters.write_bytes_per_sec");
        assert_eq!(rate, Figure::Known { value: Value::Float(10_007.0), mark: Mark::Estimate });
    });
    assert_eq!(watch.written("parent"), watch.truth("parent") + watch.truth("child"));
}

#[test]
fn a_group_of_the_parent_alone_has_none_of_its_childrens_bytes() {
    let mut parent = 0;
    let mut watch = Watch::new(named(&[("parent", Descendants::Left)]), |kernel| {
        parent = kernel.fork(INIT, "parent");
    });
    burst(&mut watch, parent, |_| {});
    assert_eq!(watch.written("parent"), watch.truth("parent"));
}

#[test]
fn a_group_of_the_children_alone_has_all_of_theirs() {
    let mut parent = 0;
    let mut watch = Watch::new(named(&[("child", Descendants::Left)]), |kernel| {
        parent = kernel.fork(INIT, "parent");
    });
    burst(&mut watch, parent, |_| {});
    assert_eq!(watch.written("child"), watch.truth("child"));
}

#[test]
fn children_of_two_groups_reaped_in_one_interval_leave_their_tails_to_nobody() {
    let (mut parent, mut red, mut blue) = (0, 0, 0);
    let rows = named(&[("red", Descendants::Taken), ("blue", Descendants::Taken)]);
    let mut watch = Watch::new(rows, |kernel| {
        parent = kernel.fork(INIT, "parent");
        red = kernel.fork(parent, "red");
        blue = kernel.fork(parent, "blue");
    });
    watch.interval(|kernel| {
        kernel.write(red, 1000);
        kernel.write(blue, 500);
    });
    watch.interval(|kernel| {
        kernel.write(red, 10);
        kernel.write(blue, 20);
        kernel.exit_and_wait(red);
        kernel.exit_and_wait(blue);
    });
    assert_eq!((watch.written("red"), watch.written("blue")), (1000, 500));
    assert_eq!(watch.report.accuracy.unattributed_io_bytes, 30);
}

#[test]
fn a_zombie_has_no_part_in_the_tail_of_another_groups_child() {
    let (mut parent, mut red, mut blue) = (0, 0, 0);
    let rows = named(&[("red", Descendants::Taken), ("blue", Descendants::Taken)]);
    let mut watch = Watch::new(rows, |kernel| {
        parent = kernel.fork(INIT, "parent");
        red = kernel.fork(parent, "red");
        blue = kernel.fork(parent, "blue");
    });
    watch.interval(|kernel| {
        kernel.write(red, 1000);
        kernel.exit(red);
    });
    watch.interval(|kernel| {
        kernel.wait(parent, red);
        kernel.write(blue, 20);
        kernel.exit_and_wait(blue);
    });
    assert_eq!((watch.written("red"), watch.written("blue")), (1000, 20));
    assert_eq!(watch.report.accuracy.unattributed_io_bytes, 0);
}

#[test]
fn growth_across_an_exec_goes_to_the_group_it_came_from() {
    let mut process = 0;
    let rows = named(&[("before", Descendants::Left), ("after", Descendants::Left)]);
    let mut watch = Watch::new(rows, |kernel| process = kernel.fork(INIT, "before"));
    watch.interval(|kernel| kernel.write(process, 100));
    watch.interval(|kernel| {
        kernel.write(process, 20);
        kernel.exec(process, process, "after");
        kernel.write(process, 3);
    });
    watch.interval(|kernel| kernel.write(process, 4000));
    assert_eq!((watch.written("before"), watch.written("after")), (123, 4000));
}

#[test]
fn descendants_stay_in_their_group_when_their_parent_is_gone() {
    let (mut parent, mut daemon) = (0, 0);
    let mut watch = Watch::new(named(&[("parent", Descendants::Taken)]), |kernel| {
        parent = kernel.fork(INIT, "parent");
        daemon = kernel.fork(parent, "daemon");
    });
    watch.interval(|kernel| kernel.exit_and_wait(parent));
    watch.interval(|kernel| kernel.write(daemon, 50));
    assert_eq!(watch.written("parent"), 50);
    let members = watch.figure("parent", "processes.total");
    assert_eq!(members, Figure::Known { value: Value::Integer(1), mark: Mark::Exact });
    let ended = watch.figure("parent", "processes.ended");
    assert_eq!(ended, Figure::Known { value: Value::Integer(1), mark: Mark::LowerBound });
}

#[test]
fn totals_start_at_what_members_had_done_and_never_fall() {
    let mut parent = 0;
    let mut watch = Watch::new(named(&[("parent", Descendants::Taken)]), |kernel| {
        parent = kernel.fork(INIT, "parent");
        kernel.write(parent, 100);
        let child = kernel.fork(parent, "child");
        kernel.write(child, 20);
        kernel.exit_and_wait(child);
    });
    assert_eq!(watch.written("parent"), 120);
    watch.interval(|kernel| kernel.exit_and_wait(parent));
    assert_eq!(watch.written("parent"), 120, "also when nobody is left");
}

#[test]
fn without_children_a_total_starts_without_what_was_inherited() {
    let watch = Watch::new(named(&[("parent", Descendants::Left)]), |kernel| {
        let parent = kernel.fork(INIT, "parent");
        kernel.write(parent, 100);
        let child = kernel.fork(parent, "child");
        kernel.write(child, 20);
        kernel.exit_and_wait(child);
    });
    let total = watch.figure("parent", "io_counters.write_bytes");
    assert_eq!(total, Figure::Known { value: Value::Integer(100), mark: Mark::LowerBound });
}

#[test]
fn rows_beyond_the_largest_number_are_summed_in_other() {
    let rows = Rows::Keyed { selector: Box::default(), key: GroupKey::Pid, rows_max: 3 };
    let watch = Watch::new(rows, |kernel| {
        for _ in 0..10 {
            let process = kernel.fork(INIT, "program");
            kernel.write(process, 1);
        }
    });
    assert_eq!(watch.report.groups.len(), 4);
    assert_eq!(watch.written("other"), 8);
}

#[test]
fn an_unreadable_member_makes_a_lower_bound_and_a_wholly_unreadable_group_says_nothing() {
    let mut hidden = 0;
    let rows = named(&[("open", Descendants::Taken), ("closed", Descendants::Taken)]);
    let mut watch = Watch::new(rows, |kernel| {
        let open = kernel.fork(INIT, "open");
        kernel.write(open, 100);
        hidden = kernel.fork(open, "hidden");
        let closed = kernel.fork(INIT, "closed");
        kernel.process(hidden).is_readable = false;
        kernel.process(closed).is_readable = false;
    });
    watch.interval(|_| {});
    let open = watch.figure("open", "io_counters.write_bytes");
    assert_eq!(open, Figure::Known { value: Value::Integer(100), mark: Mark::LowerBound });
    assert!(matches!(watch.figure("closed", "io_counters.write_bytes"), Figure::Absent(_)));
    assert!(matches!(watch.figure("closed", "io_counters.write_bytes_per_sec"), Figure::Absent(_)));
}

#[test]
fn what_is_excluded_is_no_descendant_either_but_its_children_are() {
    let (mut shell, mut helper, mut worker) = (0, 0, 0);
    let rows = Rows::Named(vec![(
        b"parent".as_slice().into(),
        selector("name:parent !name:shell", Descendants::Taken),
    )]);
    let mut watch = Watch::new(rows, |kernel| {
        let parent = kernel.fork(INIT, "parent");
        shell = kernel.fork(parent, "shell");
        helper = kernel.fork(parent, "helper");
        worker = kernel.fork(shell, "worker");
    });
    watch.interval(|kernel| {
        kernel.write(shell, 1);
        kernel.write(helper, 20);
        kernel.write(worker, 300);
    });
    assert_eq!(watch.written("parent"), 320);
}

#[test]
fn a_process_that_may_belong_makes_a_lower_bound() {
    let rows =
        Rows::Named(vec![(b"tagged".as_slice().into(), selector("env:TAG", Descendants::Taken))]);
    let watch = Watch::new(rows, |kernel| {
        kernel.fork(INIT, "program");
    });
    assert_eq!(watch.report.accuracy.undecided, 2, "no environment was read, of init neither");
    let members = watch.figure("tagged", "processes.total");
    assert_eq!(members, Figure::Known { value: Value::Integer(0), mark: Mark::LowerBound });
    assert_eq!(watch.report.groups[0].members_mark, Mark::LowerBound, "whatever the columns");
}

#[test]
fn one_that_ended_while_it_was_asked_who_it_is_leaves_the_others_as_exact_as_they_were() {
    fn check(threads: u32, undecided: u64, mark: Mark) {
        let mut process = Unknown::new();
        process.interval(
            |kernel, pid| kernel.write(pid, 500),
            |sample| {
                bear(sample, Reading::Absent(Absence::Vanished));
                sample.gauges.threads = Reading::Value(threads);
            },
        );
        assert_eq!(process.watch.report.accuracy.undecided, undecided, "{threads} threads");
        assert_eq!(process.total("processes.total"), integer(0, mark), "{threads} threads");
        process.turn_out_to_be_a_member();
        assert_eq!(process.total("io_counters.write_bytes"), integer(500, Mark::Estimate));
    }
    check(1, 0, Mark::Exact);
    // Only the thread that was asked may have ended.
    check(2, 1, Mark::LowerBound);
}

/// A process of which nobody knows for some intervals whether it bears a variable.
struct Unknown {
    watch: Watch,
    pid: u32,
}

impl Unknown {
    fn new() -> Self {
        let mut watch = Watch::new(tagged_row(), |_| {});
        let mut pid = 0;
        watch.interval(|kernel| pid = kernel.fork(INIT, "program"));
        Unknown { watch, pid }
    }

    /// One that was there before anybody looked, and whose I/O cannot be read.
    fn out_of_sight() -> Self {
        let mut pid = 0;
        let watch = Watch::new(tagged_row(), |kernel| {
            pid = kernel.fork(INIT, "program");
            kernel.process(pid).is_readable = false;
        });
        Unknown { watch, pid }
    }

    /// One second in which it does something, and at the end of which this is known of it. All
    /// others bear no variable.
    fn interval(
        &mut self,
        happen: impl FnOnce(&mut Kernel, u32),
        see: impl FnOnce(&mut ProcessSample),
    ) {
        let pid = self.pid;
        self.watch.interval_of(
            |kernel| happen(kernel, pid),
            |snapshot| {
                for sample in &mut snapshot.processes {
                    bear(sample, Reading::Value(Box::default()));
                }
                let sample = snapshot.processes.iter_mut().find(|p| p.key.pid == pid);
                see(sample.expect("it lives"));
            },
        );
    }

    /// The same while its environment is not known yet.
    fn unknown_interval(&mut self, happen: impl FnOnce(&mut Kernel, u32)) {
        self.interval(happen, |sample| bear(sample, Reading::Absent(Absence::NotYetKnown)));
    }

    /// An interval in which it does nothing, and at whose end it is known to bear the variable.
    fn turn_out_to_be_a_member(&mut self) {
        self.interval(|_, _| {}, |sample| bear(sample, tagged()));
    }

    fn total(&self, column: &str) -> Figure {
        self.watch.figure("tagged", column)
    }
}

fn bear(sample: &mut ProcessSample, environment: Reading<Box<[EnvironmentEntry]>>) {
    Arc::make_mut(&mut sample.identity).environment = environment;
}

fn tagged_row() -> Rows {
    Rows::Named(vec![(b"tagged".as_slice().into(), selector("env:TAG", Descendants::Taken))])
}

fn tagged() -> Reading<Box<[EnvironmentEntry]>> {
    let entry = EnvironmentEntry { key: b"TAG".as_slice().into(), value: Box::default() };
    Reading::Value(Box::new([entry]))
}

fn integer(number: u64, mark: Mark) -> Figure {
    Figure::Known { value: Value::Integer(number), mark }
}

/// Writes 500 bytes in each of two intervals before it is known who it is, and 500 more then;
/// returns what the group has before that, and after.
fn written_before_it_is_known(environment: Reading<Box<[EnvironmentEntry]>>) -> [u64; 2] {
    let mut process = Unknown::new();
    let write = |kernel: &mut Kernel, pid| kernel.write(pid, 500);
    process.unknown_interval(write);
    process.unknown_interval(write);
    let before = process.watch.written("tagged");
    process.interval(write, |sample| bear(sample, environment));
    let (rate, _) = process.watch.rate("tagged", "io_counters.write_bytes_per_sec");
    assert!(rate <= 500.0, "what was done before is no part of the rate: {rate}");
    [before, process.watch.written("tagged")]
}

#[test]
fn what_a_process_did_before_it_was_known_who_it_is_is_its_groups() {
    assert_eq!(written_before_it_is_known(tagged()), [0, 1500]);
    assert_eq!(written_before_it_is_known(Reading::Value(Box::default())), [0, 0]);
    let denied = Reading::Absent(Absence::Denied);
    assert_eq!(written_before_it_is_known(denied), [0, 0]);
}

#[test]
fn what_came_with_children_before_it_was_known_who_reaped_them_is_its_groups() {
    let reap = |kernel: &mut Kernel, parent| {
        let child = kernel.fork(parent, "child");
        kernel.write(child, 700);
        kernel.exit_and_wait(child);
    };
    let mut process = Unknown::new();
    process.unknown_interval(reap);
    process.turn_out_to_be_a_member();
    assert_eq!(process.watch.written("tagged"), 700);
    let mut process = Unknown::new();
    process.interval(reap, |sample| bear(sample, tagged()));
    assert_eq!(process.watch.written("tagged"), 700, "known in the same interval");
}

#[test]
fn how_often_a_process_gave_up_the_cpu_before_it_was_known_who_it_is_is_its_groups() {
    let mut process = Unknown::new();
    process.unknown_interval(|kernel, pid| kernel.switch(pid, 5));
    process.unknown_interval(|kernel, pid| kernel.switch(pid, 3));
    process.turn_out_to_be_a_member();
    assert_eq!(process.total("ctx_switches.voluntary"), integer(8, Mark::Estimate));
}

#[test]
fn io_out_of_sight_before_it_was_known_whose_it_is_leaves_a_lower_bound() {
    let mut process = Unknown::out_of_sight();
    process.unknown_interval(|kernel, pid| kernel.write(pid, 1000));
    process.unknown_interval(|kernel, pid| kernel.process(pid).is_readable = true);
    process.turn_out_to_be_a_member();
    let total = process.total("io_counters.write_bytes");
    assert!(matches!(total, Figure::Known { mark: Mark::LowerBound, .. }), "{total:?}");
}

/// What is in the group of what a process did before it became this.
fn written_before_it_became(another: impl FnOnce(&mut Identity)) -> u64 {
    let mut process = Unknown::new();
    process.unknown_interval(|kernel, pid| kernel.write(pid, 500));
    process.interval(
        |_, _| {},
        |sample| {
            bear(sample, tagged());
            another(Arc::make_mut(&mut sample.identity));
        },
    );
    process.watch.written("tagged")
}

#[test]
fn what_another_program_or_user_did_before_is_not_the_groups() {
    assert_eq!(written_before_it_became(|_| {}), 500);
    assert_eq!(written_before_it_became(|now| now.comm = b"renamed"[..].into()), 500);
    let another = |now: &mut Identity| now.executable = Reading::Value(b"/bin/b"[..].into());
    assert_eq!(written_before_it_became(another), 0);
    assert_eq!(written_before_it_became(|now| now.uid = 0), 0);
}

/// What is in the group of what a process did when so many programs had been executed, of which the
/// last was the same one with another environment.
fn written_at(exec_counts: [Option<u64>; 3]) -> u64 {
    let [at_deed, later, known] = exec_counts;
    let mut process = Unknown::new();
    let unknown = Reading::Absent(Absence::NotYetKnown);
    let mut see = |exec_count, bytes, environment| {
        let happen = |kernel: &mut Kernel, pid| kernel.write(pid, bytes);
        process.interval(happen, |sample| {
            let (forker, start) = (sample.lineage.forked_by(), sample.lineage.started_at());
            sample.lineage = Lineage::new(forker, start, exec_count);
            bear(sample, environment);
        });
    };
    see(at_deed, 500, unknown.clone());
    see(later, 0, unknown);
    see(known, 0, tagged());
    process.watch.written("tagged")
}

#[test]
fn what_the_same_program_did_with_another_environment_is_not_the_groups() {
    assert_eq!(written_at([Some(7), Some(7), Some(7)]), 500);
    assert_eq!(written_at([Some(7), Some(8), Some(8)]), 0);
    assert_eq!(written_at([Some(7), Some(7), Some(8)]), 0);
    assert_eq!(written_at([Some(7), None, Some(8)]), 0, "not told for a while");
    assert_eq!(written_at([None, Some(8), Some(8)]), 500, "nobody can say");
}

/// One that nobody could judge does this and leaves its key to another; what is in the group of
/// the other, which writes nothing, when that one is judged.
fn left_to_a_successor(before: Movement, at_its_end: Movement) -> u64 {
    let mut watch = Watch::new(tagged_row(), |_| {});
    let mut snapshot = watch.kernel.sweep();
    for movement in [before, at_its_end] {
        snapshot.taken_at.ns += 1_000_000_000;
        watch.book.fold(&snapshot, &movement, &Resolution::default());
    }
    bear(&mut snapshot.processes[0], tagged());
    watch.report = watch.book.fold(&snapshot, &Movement::default(), &Resolution::default());
    watch.written("tagged")
}

#[test]
fn what_an_undecided_process_did_is_not_that_of_the_next_bearer_of_its_key() {
    let key = Kernel::new().sweep().processes[0].key;
    let io = Some(Delta([0, 10, 0, 1, 0, 10, 0]));
    let usage = UsageDelta::from_cpu_ns(1);
    let delta = ProcessDelta { key, io, usage, rounded_records: 0, rounded_threads: 0 };
    let does = Movement { processes: vec![delta], ..Movement::default() };
    let ends = Succession { key, ends_now: true };
    let ends = Movement { successions: vec![ends], ..does.clone() };
    let residual = Residual {
        reaper: key,
        taken_out: Vec::new(),
        io,
        usage,
        late: Late::default(),
        io_is_unattributed: false,
    };
    let reaps = Movement { residuals: vec![residual], ..ends.clone() };
    assert_eq!(left_to_a_successor(does.clone(), Movement::default()), 10, "the same one");
    assert_eq!(left_to_a_successor(does, ends.clone()), 0, "what it did before");
    assert_eq!(left_to_a_successor(Movement::default(), ends), 0, "what it did at last");
    assert_eq!(left_to_a_successor(Movement::default(), reaps), 0, "what it reaped at last");
}

/// So many processes write 10 bytes each, and 10 more until their environments can be read: the last
/// of them bears a variable. Beside them there are idle ones, of which something may be missing since
/// an earlier interval. Returns what the group has then, in total and by the second.
fn written_among_the_undecided(idle: u32, count: u32) -> [Figure; 2] {
    let mut watch = Watch::new(tagged_row(), |_| {});
    let template = watch.kernel.sweep().processes.remove(0);
    let key = |pid| ProcessKey { pid, start_time_ticks: 2000 };
    let keys: Vec<ProcessKey> = (2..2 + idle + count).map(key).collect();
    let (doubtful, busy) = keys.split_at(idle as usize);
    let delta = |key: &ProcessKey| ProcessDelta {
        key: *key,
        io: Some(Delta([0, 10, 0, 1, 0, 10, 0])),
        usage: UsageDelta::from_cpu_ns(1),
        rounded_records: 0,
        rounded_threads: 0,
    };
    let (inferred, unread) = (doubtful.to_vec(), doubtful.to_vec());
    let doubts = Movement { inferred, unread, ..Movement::default() };
    let deeds = Movement { processes: busy.iter().map(delta).collect(), ..Movement::default() };
    let sample = |key: &ProcessKey| ProcessSample { key: *key, ..template.clone() };
    let mut snapshot = watch.kernel.sweep();
    snapshot.processes = keys.iter().map(sample).collect();
    for (movement, is_known) in [(doubts, false), (deeds.clone(), false), (deeds, true)] {
        snapshot.taken_at.ns += 1_000_000_000;
        for sample in snapshot.processes.iter_mut().filter(|_| is_known) {
            let variable = EnvironmentEntry { key: b"TAG"[..].into(), value: [].into() };
            let entries = [variable].into_iter().filter(|_| sample.key.pid == idle + count + 1);
            let environment = Reading::Value(entries.collect());
            Arc::make_mut(&mut sample.identity).environment = environment;
        }
        watch.report = watch.book.fold(&snapshot, &movement, &Resolution::default());
    }
    ["io_counters.write_bytes", "io_counters.write_bytes_per_sec"]
        .map(|column| watch.figure("tagged", column))
}

#[test]
fn what_the_undecided_did_that_found_no_room_makes_a_lower_bound() {
    let rate = Figure::Known { value: Value::Float(10.0), mark: Mark::Estimate };
    let total = |bytes, mark| Figure::Known { value: Value::Integer(bytes), mark };
    assert_eq!(written_among_the_undecided(0, 4096), [total(20, Mark::Estimate), rate]);
    assert_eq!(written_among_the_undecided(0, 4097), [total(10, Mark::LowerBound), rate]);
}

#[test]
fn the_undecided_that_cannot_be_read_and_do_nothing_take_no_room() {
    let rate = Figure::Known { value: Value::Float(10.0), mark: Mark::Estimate };
    let total = Figure::Known { value: Value::Integer(20), mark: Mark::Estimate };
    assert_eq!(written_among_the_undecided(4097, 1), [total, rate]);
}

#[test]
fn what_an_undecided_process_had_done_before_anybody_looked_is_missing_and_told() {
    let (mut pid, mut start) = (0, Kernel::new().sweep());
    let mut watch = Watch::new(tagged_row(), |kernel| {
        pid = kernel.fork(INIT, "program");
        kernel.write(pid, 1000);
        start = kernel.sweep();
    });
    watch.book = GroupBook::new(tagged_row(), metric::choose(METRICS).expect("metrics").into());
    for sample in &mut start.processes {
        bear(sample, Reading::Absent(Absence::NotYetKnown));
    }
    let baseline = Movement { is_baseline: true, ..Movement::default() };
    watch.book.fold(&start, &baseline, &Resolution::default());
    let mut process = Unknown { watch, pid };
    process.interval(|kernel, pid| kernel.write(pid, 10), |sample| bear(sample, tagged()));
    assert_eq!(process.total("io_counters.write_bytes"), integer(10, Mark::LowerBound));
}

/// What a row made for a process promises of 500 bytes that it wrote when nobody knew yet which row
/// is its own, in an interval whose ends were found out like this.
fn promised_of_a_row_made_later(ends: Ends) -> Figure {
    let selector = Box::new(selector("env:TAG", Descendants::Taken));
    let mut watch = Watch::new(Rows::Keyed { selector, key: GroupKey::Name, rows_max: 10 }, |_| {});
    let mut snapshot = watch.kernel.sweep();
    let mut process = snapshot.processes[0].clone();
    process.key = ProcessKey { pid: 4242, start_time_ticks: snapshot.taken_at_ticks };
    Arc::make_mut(&mut process.identity).comm = b"program"[..].into();
    let key = process.key;
    snapshot.processes.push(process);
    let io = Some(Delta([0, 500, 0, 1, 0, 500, 0]));
    let delta =
        ProcessDelta { key, io, usage: UsageDelta::ZERO, rounded_records: 0, rounded_threads: 0 };
    let writes = Movement { processes: vec![delta], ends, ..Movement::default() };
    let nothing = Movement { ends: Ends::Exact, ..Movement::default() };
    for (environment, movement) in
        [(Reading::Absent(Absence::NotYetKnown), writes), (tagged(), nothing)]
    {
        for process in &mut snapshot.processes {
            let is_it = process.key == key;
            let none = Reading::Value(Box::default());
            bear(process, if is_it { environment.clone() } else { none });
        }
        snapshot.taken_at.ns += 1_000_000_000;
        watch.report = watch.book.fold(&snapshot, &movement, &Resolution::default());
    }
    watch.figure("program", "io_counters.write_bytes")
}

#[test]
fn what_an_undecided_process_did_is_promised_as_when_it_did_it() {
    assert_eq!(promised_of_a_row_made_later(Ends::Exact), integer(500, Mark::Exact));
    assert_eq!(promised_of_a_row_made_later(Ends::Inferred), integer(500, Mark::Estimate));
}

#[test]
fn io_that_was_once_out_of_sight_leaves_a_lower_bound() {
    let mut process = 0;
    let mut watch = Watch::new(named(&[("program", Descendants::Taken)]), |kernel| {
        process = kernel.fork(INIT, "program");
        kernel.write(process, 1000);
        kernel.process(process).is_readable = false;
    });
    watch.interval(|kernel| kernel.process(process).is_readable = true);
    watch.interval(|kernel| kernel.write(process, 5));
    let total = watch.figure("program", "io_counters.write_bytes");
    assert_eq!(total, Figure::Known { value: Value::Integer(5), mark: Mark::LowerBound });
}

#[test]
fn a_row_that_nobody_is_in_any_more_makes_room() {
    let rows = Rows::Keyed { selector: Box::default(), key: GroupKey::Pid, rows_max: 3 };
    let mut first = 0;
    let mut watch = Watch::new(rows, |kernel| {
        kernel.fork(INIT, "program");
        first = kernel.fork(INIT, "program");
        kernel.write(first, 7);
    });
    watch.interval(|kernel| kernel.exit_and_wait(first));
    for _ in 0..61 {
        watch.interval(|_| {});
    }
    let mut second = 0;
    watch.interval(|kernel| {
        second = kernel.fork(INIT, "program");
        kernel.write(second, 5);
    });
    assert_eq!(watch.written(&second.to_string()), 5);
    assert_eq!(watch.written("other"), 7);
}

#[test]
fn ended_members_have_a_rate() {
    let columns = metric::choose("processes.ended_per_sec").expect("a metric");
    let mut kernel = Kernel::new();
    let parent = kernel.fork(INIT, "parent");
    let child = kernel.fork(parent, "child");
    let mut ledger = Ledger::new();
    let mut book = GroupBook::new(named(&[("parent", Descendants::Taken)]), columns.into());
    let mut report = |kernel: &mut Kernel| {
        let snapshot = kernel.sweep();
        let movement = ledger.advance(&snapshot);
        book.fold(&snapshot, &movement, &Resolution::default())
    };
    report(&mut kernel);
    kernel.pass(100);
    kernel.exit_and_wait(child);
    let figure = report(&mut kernel).groups[0].figures[0];
    assert_eq!(figure, Figure::Known { value: Value::Float(1.0), mark: Mark::LowerBound });
}

#[test]
fn rows_made_in_one_interval_do_not_take_each_others_place() {
    let rows = Rows::Keyed { selector: Box::default(), key: GroupKey::Pid, rows_max: 2 };
    let mut watch = Watch::new(rows, |_| {});
    for _ in 0..62 {
        watch.interval(|_| {});
    }
    let (mut first, mut second) = (0, 0);
    watch.interval(|kernel| {
        first = kernel.fork(INIT, "program");
        second = kernel.fork(INIT, "program");
        kernel.write(first, 5);
        kernel.write(second, 70);
    });
    assert_eq!(watch.written(&first.to_string()), 5);
    assert_eq!(watch.written("other"), 70);
}

#[test]
fn what_is_excluded_stays_out_when_its_parent_joins_later() {
    let (mut shell, mut helper) = (0, 0);
    let rows = Rows::Named(vec![(
        b"parent".as_slice().into(),
        selector("name:parent !name:helper", Descendants::Taken),
    )]);
    let mut watch = Watch::new(rows, |kernel| {
        shell = kernel.fork(INIT, "shell");
        helper = kernel.fork(shell, "helper");
    });
    watch.interval(|kernel| kernel.exec(shell, shell, "parent"));
    watch.interval(|kernel| {
        kernel.write(shell, 5);
        kernel.write(helper, 70);
    });
    assert_eq!(watch.written("parent"), 5);
}

#[test]
fn a_book_begun_later_holds_what_is_done_from_then_on() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::new(named(&[("parent", Descendants::Taken)]), |kernel| {
        parent = kernel.fork(INIT, "parent");
        kernel.write(parent, 100);
        child = kernel.fork(parent, "child");
        kernel.write(child, 20);
    });
    let zombie = watch.kernel.fork(parent, "zombie");
    watch.kernel.write(zombie, 3000);
    watch.kernel.exit(zombie);
    watch.kernel.pass(100);
    let snapshot = watch.kernel.sweep();
    let movement = watch.ledger.advance(&snapshot);
    let columns = watch.report.columns.clone();
    let rows = named(&[("parent", Descendants::Taken)]);
    (watch.book, watch.report) =
        GroupBook::begun(rows, columns, &snapshot, &movement, &Resolution::default());
    assert_eq!(watch.written("parent"), 0, "what was done before is not in it");
    let members: Vec<u32> = watch.book.members(&snapshot).map(|member| member.key.pid).collect();
    assert_eq!(members, [parent, child, zombie]);
    let mut daemon = 0;
    watch.interval(|kernel| {
        kernel.write(child, 5);
        kernel.exit_and_wait(zombie);
        daemon = kernel.fork(parent, "daemon");
    });
    assert_eq!(watch.written("parent"), 5, "a zombie that is reaped brings nothing");
    watch.interval(|kernel| {
        kernel.exit_and_wait(parent);
        kernel.write(daemon, 70);
        kernel.write(child, 600);
    });
    assert_eq!(watch.written("parent"), 675, "whoever was in it stays in it");
    let figure = watch.figure("parent", "io_counters.write_bytes");
    assert!(matches!(figure, Figure::Known { mark: Mark::Estimate, .. }), "{figure:?}");
}

/// What of a member cannot be read.
#[derive(Clone, Copy)]
enum Unreadable {
    Io,
    Everything,
}

/// Two members write evenly, of which one cannot be read for four seconds.
fn check_rate_after_a_stretch_without(what: Unreadable) {
    let (mut parent, mut other) = (0, 0);
    let mut watch = Watch::new(named(&[("parent", Descendants::Taken)]), |kernel| {
        parent = kernel.fork(INIT, "parent");
        other = kernel.fork(parent, "other");
    });
    let write = |kernel: &mut Kernel| {
        kernel.write(parent, 1000);
        kernel.write(other, 70);
    };
    watch.interval(write);
    for _ in 0..4 {
        match what {
            Unreadable::Io => watch.interval(|kernel| {
                write(kernel);
                kernel.process(other).is_readable = false;
            }),
            Unreadable::Everything => watch.interval_in_which(write, &[other]),
        }
        assert_eq!(
            watch.rate("parent", "io_counters.write_bytes_per_sec"),
            (1000.0, Mark::LowerBound)
        );
    }
    watch.interval(|kernel| {
        write(kernel);
        kernel.process(other).is_readable = true;
    });
    let rate = watch.rate("parent", "io_counters.write_bytes_per_sec");
    assert_eq!(rate, (1070.0, Mark::Estimate), "only what was done in this second");
    assert_eq!(watch.written("parent"), 6 * 1070, "all of it is in the total");
    watch.interval(write);
    assert_eq!(watch.rate("parent", "io_counters.write_bytes_per_sec").0, 1070.0);
}

#[test]
fn what_was_done_while_its_io_could_not_be_read_is_spread_over_that_time() {
    check_rate_after_a_stretch_without(Unreadable::Io);
}

#[test]
fn what_was_done_while_nothing_of_it_could_be_read_is_spread_over_that_time() {
    check_rate_after_a_stretch_without(Unreadable::Everything);
}

#[test]
fn what_came_with_children_while_their_reaper_could_not_be_read_is_spread_over_that_time() {
    let mut parent = 0;
    let mut watch = Watch::new(named(&[("parent", Descendants::Taken)]), |kernel| {
        parent = kernel.fork(INIT, "parent");
    });
    let spawn = |kernel: &mut Kernel| {
        let child = kernel.fork(parent, "child");
        kernel.write(child, 300);
        kernel.exit_and_wait(child);
    };
    watch.interval(spawn);
    for _ in 0..2 {
        watch.interval_in_which(spawn, &[parent]);
    }
    watch.interval(spawn);
    let rate = watch.rate("parent", "io_counters.write_bytes_per_sec");
    assert_eq!(rate, (300.0, Mark::Estimate));
    assert_eq!(watch.written("parent"), 4 * 300);
}
