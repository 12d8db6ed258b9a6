//! Groups where ends are recorded: those that no sweep ever saw have their place, and every
//! figure says what its interval's records promise.

mod model_kernel;

use model_kernel::{INIT, Kernel, Overflow, Recorder};
use mpp_accounting::exit::{ExitSource, ROUNDED_TO_BYTES};
use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::{Ledger, Movement};
use mpp_accounting::metric;
use mpp_accounting::process::Absence;
use mpp_accounting::report::{Figure, Mark, Report, Tier, Value};
use mpp_accounting::selector::{Descendants, GroupKey, Resolution, Selector};

const METRICS: &str = "processes.ended,io_counters.write_bytes,io_counters.write_bytes_per_sec,\
    page_faults.minor,ctx_switches.voluntary,io_counters.write_count";
const WRITTEN: &str = "io_counters.write_bytes";
const RATE: &str = "io_counters.write_bytes_per_sec";

/// A kernel that records ends, watched by group.
struct Watch {
    kernel: Kernel,
    ledger: Ledger,
    book: GroupBook,
    report: Report,
}

impl Watch {
    fn new(source: ExitSource, rows: Rows, prepare: impl FnOnce(&mut Kernel)) -> Self {
        let columns = metric::choose(METRICS).expect("metrics of the table");
        let mut kernel = Kernel::new();
        kernel.record_ends(recorder(source));
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
        self.kernel.pass(1);
        happen(&mut self.kernel);
        self.kernel.pass(99);
        self.sweep_while(&mut |_| {});
    }

    /// One second, in whose sweep something may happen before each read.
    fn interval_while(&mut self, mut between: impl FnMut(&mut Kernel)) {
        self.kernel.pass(100);
        self.sweep_while(&mut between);
    }

    fn sweep_while(&mut self, between: &mut dyn FnMut(&mut Kernel)) {
        let snapshot = self.kernel.sweep_while(between);
        let movement = self.ledger.advance(&snapshot);
        self.report = self.book.fold(&snapshot, &movement, &Resolution::default());
    }

    fn figure(&self, group: &str, column: &str) -> Figure {
        let row = self.report.groups.iter().find(|row| *row.name == *group.as_bytes());
        let column = self.report.columns.iter().position(|c| c.name() == column);
        row.expect("a group of this name").figures[column.expect("a column of this name")]
    }

    fn total(&self, group: &str, column: &str) -> u64 {
        match self.figure(group, column) {
            Figure::Known { value: Value::Integer(total), .. } => total,
            other => panic!("expected a total, but found {other:?}"),
        }
    }

    fn mark(&self, group: &str, column: &str) -> Mark {
        match self.figure(group, column) {
            Figure::Known { mark, .. } => mark,
            other => panic!("expected a number, but found {other:?}"),
        }
    }
}

fn recorder(source: ExitSource) -> Recorder {
    Recorder { source, room: usize::MAX, on_overflow: Overflow::Lost }
}

fn named(groups: &[(&str, Descendants)]) -> Rows {
    let row = |(name, descendants): &(&str, Descendants)| {
        let selector = Selector::parse(&format!("name:{name}")).expect("a selector");
        (name.as_bytes().into(), selector.with_descendants(*descendants))
    };
    Rows::Named(groups.iter().map(row).collect())
}

/// One row, named after its selector.
fn selected(text: &str, descendants: Descendants) -> Rows {
    let selector = Selector::parse(text).expect("a selector").with_descendants(descendants);
    Rows::Named(vec![(text.as_bytes().into(), selector)])
}

/// A child that no sweep sees: it writes, faults 7 times, waits 5 times, and is waited for.
fn unseen(kernel: &mut Kernel, parent: u32, comm: &'static str, bytes: u64) {
    let child = kernel.fork(parent, comm);
    kernel.write(child, bytes);
    kernel.use_cpu(child, 0, 7);
    kernel.switch(child, 5);
    kernel.exit_and_wait(child);
}

/// What unseen children of `parent` come to in the first of these groups, after one interval:
/// their number, bytes, faults and switches.
fn check(groups: &[(&str, Descendants)], expected: [u64; 4]) {
    let mut parent = 0;
    let mut watch =
        Watch::new(ExitSource::Exact, named(groups), |k| parent = k.fork(INIT, "parent"));
    let name = groups[0].0;
    let faults_before = watch.total(name, "page_faults.minor");
    watch.interval(|kernel| {
        unseen(kernel, parent, "child", 1000);
        unseen(kernel, parent, "child", 200);
    });
    assert_eq!(watch.report.accuracy.tier, Tier::A);
    let found = [
        watch.total(name, "processes.ended"),
        watch.total(name, WRITTEN),
        watch.total(name, "page_faults.minor") - faults_before,
        watch.total(name, "ctx_switches.voluntary"),
    ];
    assert_eq!(found, expected, "{groups:?}");
    assert_eq!(watch.mark(name, "processes.ended"), Mark::Exact);
    assert_eq!(watch.mark(name, WRITTEN), Mark::Exact);
}

#[test]
fn those_never_seen_alive_count_in_their_own_group() {
    check(&[("child", Descendants::Taken)], [2, 1200, 74, 10]);
}

#[test]
fn those_never_seen_alive_count_as_descendants_of_who_forked_them() {
    check(&[("parent", Descendants::Taken)], [2, 1200, 74, 10]);
}

#[test]
fn those_never_seen_alive_are_no_descendants_where_none_are_taken() {
    check(&[("parent", Descendants::Left)], [0, 0, 0, 0]);
}

#[test]
fn their_own_group_comes_before_their_forkers() {
    check(&[("child", Descendants::Left), ("parent", Descendants::Taken)], [2, 1200, 74, 10]);
}

#[test]
fn a_daemon_whose_forker_was_never_seen_belongs_to_its_grandparents_group() {
    let (mut parent, mut daemon) = (0, 0);
    let rows = named(&[("parent", Descendants::Taken)]);
    let mut watch = Watch::new(ExitSource::Exact, rows, |k| parent = k.fork(INIT, "parent"));
    watch.interval(|kernel| {
        let middle = kernel.fork(parent, "middle");
        daemon = kernel.fork(middle, "daemon");
        kernel.write(daemon, 30);
        kernel.exit_and_wait(middle);
    });
    watch.interval(|kernel| kernel.write(daemon, 4));
    assert_eq!(watch.total("parent", WRITTEN), 34);
    watch.interval(|kernel| unseen(kernel, daemon, "child", 500));
    assert_eq!(watch.total("parent", WRITTEN), 534);
}

#[test]
fn what_is_excluded_stays_out_though_no_sweep_saw_it() {
    let mut parent = 0;
    let text = "name:parent !name:helper";
    let rows = selected(text, Descendants::Taken);
    let mut watch = Watch::new(ExitSource::Exact, rows, |k| parent = k.fork(INIT, "parent"));
    watch.interval(|kernel| {
        unseen(kernel, parent, "helper", 1000);
        unseen(kernel, parent, "worker", 20);
        let helper = kernel.fork(parent, "helper");
        unseen(kernel, helper, "worker", 3);
        kernel.exit_and_wait(helper);
    });
    assert_eq!(watch.total(text, WRITTEN), 23, "a helper's children belong to the parent");
    assert_eq!(watch.total(text, "processes.ended"), 2);
}

#[test]
fn descendants_of_a_program_are_found_through_parents_that_have_ended() {
    let mut parent = 0;
    let text = "children-of:parent";
    let rows = selected(text, Descendants::Left);
    let mut watch = Watch::new(ExitSource::Exact, rows, |k| parent = k.fork(INIT, "parent"));
    let mut daemon = 0;
    watch.interval(|kernel| {
        kernel.write(parent, 100_000);
        let middle = kernel.fork(parent, "middle");
        daemon = kernel.fork(middle, "daemon");
        unseen(kernel, middle, "child", 1000);
        kernel.write(daemon, 200);
        kernel.exit_and_wait(middle);
    });
    assert_eq!(watch.total(text, WRITTEN), 1200);
    watch.interval(|kernel| kernel.write(daemon, 30));
    assert_eq!(watch.total(text, WRITTEN), 1230);
}

#[test]
fn an_exec_that_changes_the_group_takes_only_what_comes_after_it() {
    let mut process = 0;
    let rows = named(&[("before", Descendants::Left), ("after", Descendants::Left)]);
    let mut watch = Watch::new(ExitSource::Exact, rows, |k| process = k.fork(INIT, "before"));
    watch.interval(|kernel| {
        kernel.write(process, 20);
        let thread = kernel.start_thread(process);
        kernel.exec(process, thread, "after");
        kernel.write(process, 300);
    });
    assert_eq!((watch.total("before", WRITTEN), watch.total("after", WRITTEN)), (320, 0));
    watch.interval(|kernel| {
        kernel.write(process, 4000);
        kernel.exit_and_wait(process);
    });
    assert_eq!((watch.total("before", WRITTEN), watch.total("after", WRITTEN)), (320, 4000));
    let ended = ["before", "after"].map(|group| watch.total(group, "processes.ended"));
    assert_eq!(ended, [0, 1]);
}

#[test]
fn rounded_records_leave_a_bound_only_where_they_belong() {
    let mut parent = 0;
    let rows = named(&[("child", Descendants::Left), ("parent", Descendants::Left)]);
    let mut watch = Watch::new(ExitSource::Rounded, rows, |k| parent = k.fork(INIT, "parent"));
    watch.interval(|kernel| {
        unseen(kernel, parent, "child", 2050);
        kernel.write(parent, 3);
    });
    assert_eq!(watch.report.accuracy.tier, Tier::B);
    assert_eq!(watch.report.accuracy.io_bound_bytes, ROUNDED_TO_BYTES - 1);
    assert_eq!((watch.total("child", WRITTEN), watch.total("parent", WRITTEN)), (2048, 3));
    assert_eq!(watch.mark("child", WRITTEN), Mark::Bound);
    let calls = "io_counters.write_count";
    assert_eq!(watch.mark("child", calls), Mark::LowerBound, "calls are not told");
    assert_eq!(watch.mark("parent", WRITTEN), Mark::Exact);
    watch.interval(|_| {});
    assert_eq!(watch.mark("child", WRITTEN), Mark::Bound, "a total does not become better");
    assert_eq!(watch.mark("child", RATE), Mark::Exact, "nothing was rounded in this interval");
}

/// The marks of a group's bytes, of their rate, and of how often it wrote, where that is a number.
fn marks(watch: &Watch, group: &str) -> (Mark, Mark, Option<Mark>) {
    let writes = match watch.figure(group, "io_counters.write_count") {
        Figure::Known { mark, .. } => Some(mark),
        Figure::Absent(why) => {
            assert_eq!(why, Absence::Denied, "{group}");
            None
        }
    };
    (watch.mark(group, WRITTEN), watch.mark(group, RATE), writes)
}

#[test]
fn a_group_that_threads_alone_tell_of_says_what_may_be_missing() {
    let rows = Rows::Keyed {
        selector: Box::new(Selector::parse("").expect("a selector")),
        key: GroupKey::Name,
        rows_max: 10,
    };
    let (mut old, mut thread) = (0, 0);
    let mut watch = Watch::new(ExitSource::Rounded, rows, |kernel| {
        kernel.hide_totals();
        old = kernel.fork(INIT, "old");
        thread = kernel.start_thread(old);
        kernel.write_in(old, thread, 5000);
        kernel.process(INIT).hides_total = false;
    });
    // Of what was done before there may have been more; one byte less than a KiB for each thread.
    assert_eq!(watch.total("old", WRITTEN), 4096);
    assert_eq!(watch.mark("old", WRITTEN), Mark::LowerBound);
    assert_eq!(watch.report.accuracy.io_bound_bytes, 2 * (ROUNDED_TO_BYTES - 1));
    let mut new = 0;
    watch.interval(|kernel| {
        new = kernel.fork(old, "new");
        kernel.write(new, 3000);
    });
    assert_eq!(watch.total("new", WRITTEN), 2048);
    assert_eq!(marks(&watch, "new"), (Mark::Bound, Mark::Bound, None));
    // Nothing was written, as far as can be told.
    assert_eq!(marks(&watch, "old"), (Mark::LowerBound, Mark::Bound, None));
    // What the first process inherited before may be another group's, and that is all.
    let inherits = Mark::Estimate;
    assert_eq!(marks(&watch, "init"), (inherits, Mark::Exact, Some(inherits)));
    watch.interval(|kernel| kernel.exit_and_wait(new));
    assert_eq!((watch.total("new", WRITTEN), watch.mark("new", WRITTEN)), (2048, Mark::Bound));
    // One that executes something takes its deeds to another group, and leaves the mark.
    watch.interval(|kernel| kernel.write(old, 2000));
    watch.interval(|kernel| kernel.exec(old, old, "other"));
    assert_eq!(watch.mark("old", WRITTEN), Mark::LowerBound);
    // The thread that ended has a record, and two lived when that group was left.
    assert_eq!(watch.report.accuracy.io_bound_bytes, 3 * (ROUNDED_TO_BYTES - 1));
    assert_eq!(watch.report.groups.iter().map(|group| group.unreadable).sum::<u64>(), 0);
}

#[test]
fn where_records_were_lost_what_threads_alone_tell_is_a_lower_bound_from_then_on() {
    let rows = named(&[("new", Descendants::Left), ("open", Descendants::Left)]);
    let mut watch = Watch::new(ExitSource::Rounded, rows, |kernel| {
        kernel.hide_totals();
    });
    let (mut new, mut open) = (0, 0);
    watch.interval(|kernel| {
        new = kernel.fork(INIT, "new");
        open = kernel.fork(INIT, "open");
        kernel.process(open).hides_total = false;
        kernel.write(new, 4096);
    });
    assert_eq!(watch.mark("new", WRITTEN), Mark::Bound);
    watch.interval(|kernel| {
        kernel.record_ends(Recorder { room: 0, ..recorder(ExitSource::Rounded) });
        unseen(kernel, new, "child", 10_000);
    });
    watch.kernel.record_ends(recorder(ExitSource::Rounded));
    watch.interval(|kernel| kernel.write(new, 4096));
    assert_eq!(watch.total("new", WRITTEN), 8192);
    assert_eq!(
        (watch.mark("new", WRITTEN), watch.mark("new", RATE)),
        (Mark::LowerBound, Mark::Bound)
    );
    assert_eq!(watch.mark("open", WRITTEN), Mark::Estimate);
}

#[test]
fn an_interval_without_its_records_marks_its_rates_and_all_later_totals() {
    let mut parent = 0;
    let rows = named(&[("parent", Descendants::Taken)]);
    let mut watch = Watch::new(ExitSource::Exact, rows, |k| parent = k.fork(INIT, "parent"));
    watch.interval(|kernel| unseen(kernel, parent, "child", 100));
    assert_eq!(
        (watch.mark("parent", WRITTEN), watch.mark("parent", RATE)),
        (Mark::Exact, Mark::Exact)
    );
    watch.interval(|kernel| {
        kernel.record_ends(Recorder { room: 0, ..recorder(ExitSource::Exact) });
        unseen(kernel, parent, "child", 100);
        kernel.record_ends(recorder(ExitSource::Exact));
    });
    assert_eq!((watch.report.accuracy.tier, watch.report.accuracy.lost_records), (Tier::C, 1));
    assert_eq!(watch.mark("parent", RATE), Mark::Estimate);
    watch.interval(|kernel| unseen(kernel, parent, "child", 100));
    let accuracy = watch.report.accuracy;
    assert_eq!(
        (accuracy.tier, accuracy.lost_records, accuracy.lost_records_total),
        (Tier::A, 0, 1)
    );
    assert_eq!(watch.mark("parent", RATE), Mark::Exact);
    assert_eq!(watch.mark("parent", WRITTEN), Mark::Estimate);
    assert_eq!(watch.mark("parent", "processes.ended"), Mark::LowerBound);
    assert_eq!(watch.total("parent", WRITTEN), 300);
}

/// One record is missing and nobody tells of more: the group that it may concern is marked, and
/// the other one is not.
#[test]
fn a_missing_record_marks_the_groups_that_it_may_concern() {
    let rows = named(&[("parent", Descendants::Taken), ("other", Descendants::Taken)]);
    let (mut parent, mut child) = (0, 0);
    let mut other = 0;
    let mut watch = Watch::new(ExitSource::Exact, rows, |kernel| {
        parent = kernel.fork(INIT, "parent");
        child = kernel.fork(parent, "child");
        other = kernel.fork(INIT, "other");
    });
    let rows = named(&[("other", Descendants::Taken)]);
    let columns = metric::choose(METRICS).expect("metrics of the table");
    let mut others_alone = GroupBook::new(rows, columns.into());
    let baseline = Movement { is_baseline: true, ..Movement::default() };
    others_alone.fold(&watch.kernel.sweep(), &baseline, &Resolution::default());
    watch.kernel.write(child, 5000);
    watch.kernel.exit_and_wait(child);
    unseen(&mut watch.kernel, other, "unseen", 300);
    watch.kernel.pass(100);
    let mut snapshot = watch.kernel.sweep();
    snapshot.exits.threads.retain(|exit| exit.thread.tid != child);
    snapshot.exits.processes.retain(|exit| exit.key().pid != child);
    let movement = watch.ledger.advance(&snapshot);
    watch.report = watch.book.fold(&snapshot, &movement, &Resolution::default());
    assert_eq!((watch.total("parent", WRITTEN), watch.total("other", WRITTEN)), (5000, 300));
    for metric in [WRITTEN, RATE] {
        assert_eq!(watch.mark("parent", metric), Mark::Estimate);
        assert_eq!(watch.mark("other", metric), Mark::Exact);
    }
    assert_eq!((watch.report.accuracy.tier, watch.report.accuracy.lost_records), (Tier::C, 1));
    let report = others_alone.fold(&snapshot, &movement, &Resolution::default());
    assert_eq!(report.accuracy.tier, Tier::A, "nothing of it is missing");
}

#[test]
fn a_row_made_in_an_interval_without_records_carries_its_marks() {
    let rows = Rows::Keyed { selector: Box::default(), key: GroupKey::Pid, rows_max: 10 };
    let mut watch = Watch::new(ExitSource::Exact, rows, |_| {});
    let mut made = 0;
    watch.interval(|kernel| {
        made = kernel.fork(INIT, "program");
        kernel.write(made, 5);
        kernel.record_ends(Recorder { room: 0, ..recorder(ExitSource::Exact) });
        unseen(kernel, INIT, "child", 1);
        kernel.record_ends(recorder(ExitSource::Exact));
    });
    watch.interval(|_| {});
    assert_eq!(watch.mark(&made.to_string(), WRITTEN), Mark::Estimate);
    assert_eq!(watch.mark(&made.to_string(), RATE), Mark::Exact);
}

#[test]
fn members_that_nobody_saw_are_forgotten() {
    for source in [ExitSource::Exact, ExitSource::Rounded] {
        let mut parent = 0;
        let rows = named(&[("parent", Descendants::Taken)]);
        let mut watch = Watch::new(source, rows, |k| parent = k.fork(INIT, "parent"));
        for _ in 0..50 {
            watch.interval(|kernel| {
                (0..200).for_each(|_| unseen(kernel, parent, "child", 1));
            });
            assert!(watch.book.member_count() <= 2, "init and the parent");
        }
        assert_eq!(watch.total("parent", "processes.ended"), 10_000);
    }
}

/// Which of two processes that bear one PID and start in one tick a sweep sees.
#[derive(Clone, Copy, Debug)]
enum Seen {
    /// A sweep saw the first one; the next sees the second.
    Both,
    /// The first came and went while a sweep went past; the next sees the second.
    Second,
    /// The same, but the second came and went after that.
    None,
}

/// One twin is the child of each of two parents, who are in different groups: what each of them did
/// is its own group's, whoever came first.
fn check_twins(seen: Seen, first_of: &'static str) {
    let rows = named(&[("one", Descendants::Taken), ("other", Descendants::Taken)]);
    let mut watch = Watch::new(ExitSource::Exact, rows, |kernel| {
        kernel.pid_max = 4;
        kernel.fork(INIT, "one");
        kernel.fork(INIT, "other");
    });
    let (first, second) = if first_of == "one" { (2, 3) } else { (3, 2) };
    let begin = |kernel: &mut Kernel, parent, bytes| {
        let twin = kernel.fork(parent, "twin");
        assert_eq!(twin, 4, "the only PID that is left");
        kernel.write(twin, bytes);
    };
    let tick = match seen {
        Seen::Both => {
            watch.interval(|kernel| begin(kernel, first, 1000));
            watch.kernel.now_ticks - 99
        }
        Seen::Second | Seen::None => {
            // One of its parents has been read by then.
            watch.interval_while(|kernel| {
                if kernel.last_read == Some(2) && !kernel.processes.contains_key(&4) {
                    begin(kernel, first, 1000);
                    kernel.exit_and_wait(4);
                }
            });
            watch.kernel.now_ticks
        }
    };
    watch.interval(|kernel| {
        if matches!(seen, Seen::Both) {
            kernel.write(4, 1);
            kernel.exit_and_wait(4);
        }
        let now = std::mem::replace(&mut kernel.now_ticks, tick);
        begin(kernel, second, 300_000);
        kernel.now_ticks = now;
        if matches!(seen, Seen::None) {
            kernel.exit_and_wait(4);
        }
    });
    watch.interval(|kernel| {
        if kernel.processes.contains_key(&4) {
            kernel.write(4, 20);
            kernel.exit_and_wait(4);
        }
    });
    let other_of = if first_of == "one" { "other" } else { "one" };
    let found = [first_of, other_of]
        .map(|group| (watch.total(group, "processes.ended"), watch.total(group, WRITTEN)));
    let (early, late) = match seen {
        Seen::Both => (1001, 300_020),
        Seen::Second => (1000, 300_020),
        Seen::None => (1000, 300_000),
    };
    assert_eq!(found, [(1, early), (1, late)], "{seen:?} {first_of}");
}

#[test]
fn twins_within_a_tick_are_each_their_own_groups() {
    for seen in [Seen::Both, Seen::Second, Seen::None] {
        check_twins(seen, "one");
        check_twins(seen, "other");
    }
}
