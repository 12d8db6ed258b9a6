//! What groups have waited for: living members, ended ones and those that no sweep ever saw,
//! each wait once, and never more than is known.

mod model_kernel;

use std::sync::Arc;

use model_kernel::{INIT, Kernel, Overflow, Recorder};
use mpp_accounting::exit::ExitSource;
use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::Ledger;
use mpp_accounting::metric;
use mpp_accounting::process::{Absence, EnvironmentEntry, Reading};
use mpp_accounting::report::{Figure, Mark, Report, Value};
use mpp_accounting::selector::{Descendants, Resolution, Selector};
use proptest::prelude::*;

/// A second, in nanoseconds.
const S: u64 = 1_000_000_000;
/// The totals, in the table's order.
const TOTALS: [&str; 4] = ["delays.cpu", "delays.block_io", "delays.swap", "delays.reclaim"];

/// A kernel whose programs are watched by name.
struct Watch {
    kernel: Kernel,
    ledger: Ledger,
    book: GroupBook,
    report: Report,
}

impl Watch {
    /// One group for each of these programs.
    fn of(
        programs: &[&str],
        recorder: Option<Recorder>,
        prepare: impl FnOnce(&mut Kernel),
    ) -> Self {
        let columns = metric::choose("delays").expect("a preset");
        let mut kernel = Kernel::new();
        if let Some(recorder) = recorder {
            kernel.record_ends(recorder);
        }
        prepare(&mut kernel);
        kernel.pass(100);
        let row = |name: &&str| {
            let selector = Selector::parse(&format!("name:{name}")).expect("a selector");
            (name.as_bytes().into(), selector.with_descendants(Descendants::Left))
        };
        let rows = Rows::Named(programs.iter().map(row).collect());
        let mut book = GroupBook::new(rows, columns.into());
        let mut ledger = Ledger::new();
        let snapshot = kernel.sweep();
        let movement = ledger.advance(&snapshot);
        let report = book.fold(&snapshot, &movement, &Resolution::default());
        Watch { kernel, ledger, book, report }
    }

    fn exactly(program: &str, prepare: impl FnOnce(&mut Kernel)) -> Self {
        Watch::of(&[program], Some(recorder(ExitSource::Exact)), prepare)
    }

    /// One second in which something happens.
    fn interval(&mut self, happen: impl FnOnce(&mut Kernel)) {
        self.kernel.pass(1);
        happen(&mut self.kernel);
        self.kernel.pass(99);
        let snapshot = self.kernel.sweep();
        let movement = self.ledger.advance(&snapshot);
        self.report = self.book.fold(&snapshot, &movement, &Resolution::default());
    }

    fn figure(&self, row: usize, column: &str) -> Figure {
        let column = self.report.columns.iter().position(|c| c.name() == column);
        self.report.groups[row].figures[column.expect("a column of this name")]
    }

    /// Seconds and their mark, or why there are none.
    fn check(&self, column: &str, expected: Result<(f64, Mark), Absence>) {
        let found = match self.figure(0, column) {
            Figure::Known { value: Value::Float(seconds), mark } => Ok((seconds, mark)),
            Figure::Absent(why) => Err(why),
            figure => panic!("expected seconds, but found {figure:?}"),
        };
        assert_eq!(found, expected, "{column}");
    }
}

fn recorder(source: ExitSource) -> Recorder {
    Recorder { source, room: usize::MAX, on_overflow: Overflow::Lost }
}

#[test]
fn what_was_waited_before_the_first_sweep_counts_and_moves_nothing() {
    let mut pid = 0;
    let mut watch = Watch::exactly("java", |kernel| {
        pid = kernel.fork(INIT, "java");
        kernel.wait_for(pid, pid, [S, 2 * S, 3 * S, 4 * S]);
    });
    for (column, seconds) in TOTALS.iter().zip([1.0, 2.0, 3.0, 4.0]) {
        watch.check(column, Ok((seconds, Mark::Exact)));
    }
    watch.check("delays.cpu_per_sec", Err(Absence::NotYetKnown));
    watch.interval(|kernel| kernel.wait_for(pid, pid, [S / 4, 0, 0, S / 2]));
    watch.check("delays.cpu", Ok((1.25, Mark::Exact)));
    watch.check("delays.cpu_per_sec", Ok((0.25, Mark::Exact)));
    watch.check("delays.swap_per_sec", Ok((0.0, Mark::Exact)));
    watch.check("delays.reclaim_per_sec", Ok((0.5, Mark::Exact)));
}

/// A process waits while nobody knows whether it bears a variable, beside so many that nobody knows
/// either and that do nothing; what its group has waited for once that is known.
fn waited_before_it_is_known(idle: u32) -> Figure {
    let selector = Selector::parse("env:TAG").expect("a selector");
    let rows = Rows::Named(vec![(b"tagged"[..].into(), selector)]);
    let mut kernel = Kernel::new();
    kernel.record_ends(recorder(ExitSource::Exact));
    for _ in 0..idle {
        kernel.fork(INIT, "idle");
    }
    let columns = metric::choose("delays").expect("a preset");
    let (mut ledger, mut book) = (Ledger::new(), GroupBook::new(rows, columns.into()));
    let mut report = None;
    let mut pid = 0;
    for step in 0..4 {
        kernel.pass(1);
        match step {
            0 => {}
            1 => pid = kernel.fork(INIT, "java"),
            _ => kernel.wait_for(pid, pid, [S, 0, 0, 0]),
        }
        kernel.pass(99);
        let mut snapshot = kernel.sweep();
        for sample in snapshot.processes.iter_mut().filter(|_| step == 3) {
            let variable = EnvironmentEntry { key: b"TAG"[..].into(), value: [].into() };
            let entries = [variable].into_iter().filter(|_| sample.key.pid == pid);
            let identity = Arc::make_mut(&mut sample.identity);
            identity.environment = Reading::Value(entries.collect());
        }
        let movement = ledger.advance(&snapshot);
        report = Some(book.fold(&snapshot, &movement, &Resolution::default()));
    }
    let report = report.expect("four sweeps");
    let column = report.columns.iter().position(|c| c.name() == "delays.cpu");
    report.groups[0].figures[column.expect("a column of this name")]
}

#[test]
fn what_a_process_waited_before_it_was_known_who_it_is_is_its_groups() {
    for idle in [0, 5000] {
        let Figure::Known { value, mark } = waited_before_it_is_known(idle) else {
            panic!("two seconds are known");
        };
        assert_eq!((value, mark), (Value::Float(2.0), Mark::Exact), "beside {idle}");
    }
}

#[test]
fn those_that_end_count_to_their_ends_seen_alive_or_not() {
    let (mut parent, mut child) = (0, 0);
    let mut watch = Watch::exactly("make", |kernel| {
        parent = kernel.fork(INIT, "sh");
        child = kernel.fork(parent, "make");
        kernel.wait_for(child, child, [S, 0, 0, 0]);
    });
    watch.interval(|kernel| {
        kernel.wait_for(child, child, [S, S, 0, 0]);
        kernel.exit_and_wait(child);
        let unseen = kernel.fork(parent, "make");
        kernel.wait_for(unseen, unseen, [3 * S, S, 0, 0]);
        kernel.exit_and_wait(unseen);
    });
    watch.check("delays.cpu", Ok((5.0, Mark::Exact)));
    watch.check("delays.block_io", Ok((2.0, Mark::Exact)));
    watch.check("delays.cpu_per_sec", Ok((4.0, Mark::Exact)));
    watch.interval(|_| {});
    watch.check("delays.cpu", Ok((5.0, Mark::Exact)));
    watch.check("delays.cpu_per_sec", Ok((0.0, Mark::Exact)));
}

#[test]
fn what_had_ended_before_the_first_sweep_is_not_counted() {
    let watch = Watch::exactly("make", |kernel| {
        let child = kernel.fork(INIT, "make");
        kernel.wait_for(child, child, [S, S, 0, 0]);
        kernel.exit_and_wait(child);
    });
    watch.check("delays.cpu", Ok((0.0, Mark::Exact)));
}

#[test]
fn a_parent_that_waits_for_a_child_does_not_inherit_its_waits() {
    let mut parent = 0;
    let mut watch = Watch::exactly("sh", |kernel| parent = kernel.fork(INIT, "sh"));
    watch.interval(|kernel| {
        let child = kernel.fork(parent, "make");
        kernel.wait_for(child, child, [S, S, S, S]);
        kernel.exit_and_wait(child);
    });
    watch.check("delays.cpu", Ok((0.0, Mark::Exact)));
    watch.check("delays.block_io", Ok((0.0, Mark::Exact)));
}

#[test]
fn a_zombie_and_threads_that_end_count_once() {
    let mut pid = 0;
    let mut watch = Watch::exactly("java", |kernel| pid = kernel.fork(INIT, "java"));
    watch.interval(|kernel| {
        let thread = kernel.start_thread(pid);
        kernel.wait_for(pid, thread, [S, 0, 0, 0]);
        kernel.end_thread(pid, thread);
        kernel.wait_for(pid, pid, [S, 0, 0, 0]);
    });
    watch.check("delays.cpu", Ok((2.0, Mark::Exact)));
    watch.interval(|kernel| {
        kernel.wait_for(pid, pid, [S, 0, 0, 0]);
        kernel.exit(pid);
    });
    watch.check("delays.cpu", Ok((3.0, Mark::Exact)));
    watch.interval(|kernel| kernel.wait(INIT, pid));
    watch.check("delays.cpu", Ok((3.0, Mark::Exact)));
}

#[test]
fn what_is_waited_across_an_exec_is_the_former_groups() {
    let mut pid = 0;
    let recorder = Some(recorder(ExitSource::Exact));
    let mut watch = Watch::of(&["sh", "java"], recorder, |kernel| pid = kernel.fork(INIT, "sh"));
    watch.interval(|kernel| {
        kernel.wait_for(pid, pid, [S, 0, 0, 0]);
        kernel.exec(pid, pid, "java");
    });
    watch.check("delays.cpu", Ok((1.0, Mark::Exact)));
    watch.interval(|kernel| kernel.wait_for(pid, pid, [S / 2, 0, 0, 0]));
    watch.check("delays.cpu", Ok((1.0, Mark::Exact)));
    let expected = Figure::Known { value: Value::Float(0.5), mark: Mark::Exact };
    assert_eq!(watch.figure(1, "delays.cpu"), expected);
}

#[test]
fn what_the_kernel_does_not_count_is_absent_and_only_waits_for_a_cpu_are_known() {
    let mut pid = 0;
    let mut watch = Watch::exactly("java", |kernel| {
        kernel.counts_delays = false;
        pid = kernel.fork(INIT, "java");
        kernel.wait_for(pid, pid, [S, S, S, S]);
    });
    watch.interval(|kernel| kernel.wait_for(pid, pid, [S, S, S, S]));
    watch.check("delays.cpu", Ok((2.0, Mark::Exact)));
    for column in ["delays.block_io", "delays.swap", "delays.reclaim", "delays.swap_per_sec"] {
        watch.check(column, Err(Absence::SwitchedOff));
    }
}

#[test]
fn a_member_that_began_uncounted_leaves_a_lower_bound_for_ever() {
    let mut old = 0;
    let mut watch = Watch::exactly("java", |kernel| {
        kernel.counts_delays = false;
        old = kernel.fork(INIT, "java");
        kernel.counts_delays = true;
    });
    watch.interval(|kernel| {
        kernel.wait_for(old, old, [S, S, 0, 0]);
        let new = kernel.fork(INIT, "java");
        kernel.wait_for(new, new, [S, S, 0, 0]);
    });
    watch.check("delays.cpu", Ok((2.0, Mark::Exact)));
    watch.check("delays.block_io", Ok((1.0, Mark::LowerBound)));
    watch.check("delays.block_io_per_sec", Ok((1.0, Mark::LowerBound)));
    watch.interval(|kernel| kernel.exit_and_wait(old));
    watch.check("delays.block_io_per_sec", Ok((0.0, Mark::LowerBound)));
    watch.interval(|_| {});
    watch.check("delays.block_io", Ok((1.0, Mark::LowerBound)));
    watch.check("delays.block_io_per_sec", Ok((0.0, Mark::Exact)));
    watch.check("delays.swap", Ok((0.0, Mark::LowerBound)));
}

#[test]
fn what_was_counted_until_it_was_switched_off_stands_as_a_lower_bound() {
    let mut pid = 0;
    let mut watch = Watch::exactly("java", |kernel| {
        pid = kernel.fork(INIT, "java");
        kernel.wait_for(pid, pid, [0, S, 0, 0]);
    });
    watch.interval(|kernel| {
        kernel.counts_delays = false;
        kernel.wait_for(pid, pid, [0, S, 0, 0]);
    });
    watch.check("delays.block_io", Ok((1.0, Mark::LowerBound)));
    watch.check("delays.block_io_per_sec", Err(Absence::SwitchedOff));
    watch.check("delays.swap", Err(Absence::SwitchedOff));
    watch.interval(|kernel| {
        kernel.counts_delays = true;
        kernel.wait_for(pid, pid, [0, S, 0, 0]);
    });
    watch.check("delays.block_io", Ok((2.0, Mark::LowerBound)));
    watch.check("delays.swap", Ok((0.0, Mark::LowerBound)));
}

#[test]
fn uncounted_members_that_ended_leave_no_plain_zero() {
    let mut watch = Watch::exactly("make", |kernel| kernel.counts_delays = false);
    watch.check("delays.block_io", Ok((0.0, Mark::Exact)));
    watch.interval(|kernel| {
        let child = kernel.fork(INIT, "make");
        kernel.wait_for(child, child, [S, S, S, S]);
        kernel.exit_and_wait(child);
    });
    watch.check("delays.cpu", Ok((1.0, Mark::Exact)));
    watch.check("delays.block_io", Ok((0.0, Mark::LowerBound)));
    watch.check("delays.block_io_per_sec", Ok((0.0, Mark::LowerBound)));
}

#[test]
fn without_records_nothing_is_known() {
    let mut pid = 0;
    let mut watch = Watch::of(&["java"], None, |kernel| pid = kernel.fork(INIT, "java"));
    watch.interval(|kernel| kernel.wait_for(pid, pid, [S, S, S, S]));
    for column in TOTALS {
        watch.check(column, Err(Absence::NeedsRecords));
    }
    watch.interval(|kernel| kernel.exit_and_wait(pid));
    watch.check("delays.cpu", Ok((0.0, Mark::LowerBound)));
}

#[test]
fn a_record_that_is_lost_or_spilled_leaves_a_lower_bound() {
    for on_overflow in [Overflow::Lost, Overflow::Spilled] {
        let full = Recorder { source: ExitSource::Exact, room: 0, on_overflow };
        let mut watch = Watch::of(&["make"], Some(full), |_| {});
        watch.interval(|kernel| {
            let child = kernel.fork(INIT, "make");
            kernel.wait_for(child, child, [S, 0, 0, 0]);
            kernel.exit_and_wait(child);
        });
        watch.check("delays.cpu", Ok((0.0, Mark::LowerBound)));
        watch.interval(|_| {});
        watch.check("delays.cpu", Ok((0.0, Mark::LowerBound)));
        watch.check("delays.cpu_per_sec", Ok((0.0, Mark::Exact)));
    }
}

#[test]
fn rounded_sources_give_estimates() {
    let mut pid = 0;
    let rounded = Some(recorder(ExitSource::Rounded));
    let mut watch = Watch::of(&["java"], rounded, |kernel| pid = kernel.fork(INIT, "java"));
    watch.interval(|kernel| kernel.wait_for(pid, pid, [S, 0, 0, 0]));
    watch.check("delays.cpu", Ok((1.0, Mark::Estimate)));
    watch.check("delays.cpu_per_sec", Ok((1.0, Mark::Estimate)));
}

/// Something that may happen to one of the processes.
#[derive(Clone, Copy, Debug)]
enum Event {
    Fork,
    StartThread,
    EndThread,
    Wait([u64; 4]),
    Exit,
    Reap,
    Sweep,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Fork),
        2 => Just(Event::StartThread),
        1 => Just(Event::EndThread),
        5 => proptest::array::uniform4(0..S).prop_map(Event::Wait),
        2 => Just(Event::Exit),
        1 => Just(Event::Reap),
        2 => Just(Event::Sweep),
    ]
}

/// Lets it happen to whom `choice` picks.
fn happen(kernel: &mut Kernel, event: Event, choice: usize) {
    kernel.pass(1);
    let living: Vec<u32> = kernel.living().into_iter().chain([INIT]).collect();
    let pid = living[choice % living.len()];
    let tids = kernel.process(pid).living_tids();
    let tid = tids[choice / 7 % tids.len()];
    match event {
        Event::Fork => drop(kernel.fork(pid, ["sh", "make"][choice % 2])),
        Event::StartThread => drop(kernel.start_thread(pid)),
        Event::EndThread if tid != pid => kernel.end_thread(pid, tid),
        Event::Wait(delays) => kernel.wait_for(pid, tid, delays),
        Event::Exit if pid != INIT => kernel.exit(pid),
        Event::Reap => {
            if let [zombie, ..] = kernel.zombies_of(pid)[..] {
                kernel.wait(pid, zombie);
            }
        }
        Event::EndThread | Event::Exit | Event::Sweep => {}
    }
}

proptest! {
    /// Over any history, sweeps wherever they fall, each group has waited what its programs did.
    #[test]
    fn every_wait_counts_once_and_where_it_belongs(
        history in proptest::collection::vec((event(), any::<usize>()), 1..120),
    ) {
        let exact = Some(recorder(ExitSource::Exact));
        let mut watch = Watch::of(&["sh", "make"], exact, |_| {});
        for (event, choice) in history {
            match event {
                Event::Sweep => watch.interval(|_| {}),
                _ => happen(&mut watch.kernel, event, choice),
            }
        }
        watch.interval(|_| {});
        for (row, program) in ["sh", "make"].into_iter().enumerate() {
            let truth = watch.kernel.waited.get(program).copied().unwrap_or_default();
            for (column, waited_ns) in TOTALS.iter().zip(truth.0) {
                let value = Value::Float(waited_ns as f64 / 1e9);
                let expected = Figure::Known { value, mark: Mark::Exact };
                prop_assert_eq!(watch.figure(row, column), expected, "{} {}", program, column);
            }
        }
    }
}
