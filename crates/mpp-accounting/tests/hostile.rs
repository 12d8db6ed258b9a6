//! Clocks that step and counters that go back, sweep by sweep: no rate is made of them, no
//! total falls, and what could not be followed is counted.

mod model_kernel;

use std::time::Duration;

use model_kernel::{INIT, Kernel};
use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::Ledger;
use mpp_accounting::metric;
use mpp_accounting::process::ProcessSample;
use mpp_accounting::report::{Figure, Report, Value};
use mpp_accounting::selector::{Resolution, Selector};
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::{BootTime, IoTotals, UsageCounter, WallTime};

const HOUR_NS: i64 = 3_600_000_000_000;

/// A process that writes 1000 bytes a second, watched alone.
struct Watch {
    kernel: Kernel,
    writer: u32,
    ledger: Ledger,
    book: GroupBook,
}

impl Watch {
    fn new() -> Self {
        let mut kernel = Kernel::new();
        let writer = kernel.fork(INIT, "writer");
        kernel.write(writer, 5000);
        kernel.use_cpu(writer, 1_000_000_000, 100);
        let selector = Selector::parse("name:writer").expect("a selector");
        let columns = metric::choose("io,cpu,page_faults.*,processes.total,uptime");
        let rows = Rows::Named(vec![(b"writer".as_slice().into(), selector)]);
        let book = GroupBook::new(rows, columns.expect("metrics of the table").into());
        let mut watch = Watch { kernel, writer, ledger: Ledger::new(), book };
        watch.sweep(|_| {});
        watch
    }

    /// A second in which the process writes; the sweep at its end, after `distort`.
    fn sweep(&mut self, distort: impl FnOnce(&mut Snapshot)) -> Report {
        self.kernel.pass(100);
        self.kernel.write(self.writer, 1000);
        let mut snapshot = self.kernel.sweep();
        distort(&mut snapshot);
        let movement = self.ledger.advance(&snapshot);
        self.book.fold(&snapshot, &movement, &Resolution::default())
    }

    /// The same, where the process's own reading is changed.
    fn sweep_with(&mut self, change: impl FnOnce(&mut ProcessSample)) -> Report {
        let key = self.kernel.process(self.writer).key;
        self.sweep(|snapshot| {
            let mut processes = snapshot.processes.iter_mut();
            change(processes.find(|process| process.key == key).expect("it was swept"));
        })
    }
}

fn figures(report: &Report) -> Vec<(String, Figure)> {
    let names = report.columns.iter().map(|column| column.name().into_owned());
    names.zip(report.groups[0].figures.iter().copied()).collect()
}

fn number(report: &Report, column: &str) -> Option<f64> {
    let (_, figure) =
        figures(report).into_iter().find(|(name, _)| name == column).expect("a column");
    match figure {
        Figure::Known { value: Value::Integer(number), .. } => Some(number as f64),
        Figure::Known { value: Value::Float(number), .. } => Some(number),
        Figure::Absent(_) => None,
    }
}

/// Whatever was swept, a number is finite and not below zero, and is possible.
fn assert_sane(report: &Report) {
    for (name, _) in figures(report) {
        let Some(number) = number(report, &name) else { continue };
        assert!((0.0..1e12).contains(&number), "{name}: {number}");
    }
}

#[test]
fn a_wall_clock_that_steps_changes_no_figure() {
    for step_ns in [-HOUR_NS, HOUR_NS, i64::MIN] {
        let (mut steady, mut stepping) = (Watch::new(), Watch::new());
        for _ in 0..3 {
            let expected = steady.sweep(|_| {});
            let found = stepping.sweep(|snapshot| {
                let wall_time = snapshot.wall_time.unix_ns.saturating_add(step_ns);
                snapshot.wall_time = WallTime { unix_ns: wall_time };
            });
            assert_eq!(figures(&found), figures(&expected), "{step_ns}");
            assert_eq!(found.interval, Some(Duration::from_secs(1)));
            assert_ne!(found.wall_time, expected.wall_time, "the stamp is the wall clock's");
        }
    }
}

#[test]
fn a_boot_clock_that_stands_or_goes_back_makes_rates_unknown_and_no_number_wild() {
    for back in [0, 1_000_000_000, u64::MAX] {
        let mut watch = Watch::new();
        let before = watch.sweep(|_| {});
        let mut previous = BootTime::default();
        watch.sweep(|snapshot| previous = snapshot.taken_at);
        let report = watch.sweep(|snapshot| {
            snapshot.taken_at = BootTime { ns: previous.ns.saturating_sub(back) };
        });
        assert_sane(&report);
        assert_eq!(number(&report, "io_counters.write_bytes_per_sec"), None, "{back}");
        assert_eq!(number(&report, "cpu.percent"), None, "{back}");
        let bytes = |report: &Report| number(report, "io_counters.write_bytes");
        assert!(bytes(&report) > bytes(&before), "totals need no clock");
    }
}

#[test]
fn a_suspend_is_part_of_its_interval() {
    let mut watch = Watch::new();
    watch.kernel.pass(100 * 3600);
    let report = watch.sweep(|_| {});
    let rate = number(&report, "io_counters.write_bytes_per_sec").expect("a rate");
    assert!((rate - 1000.0 / 3601.0).abs() < 1e-6, "{rate}");
}

/// Sweeps once with a counter that went back, and once more where it is back.
fn check_fall(change: impl Fn(IoTotals) -> IoTotals) {
    let (mut watch, mut steady) = (Watch::new(), Watch::new());
    let before = watch.sweep(|_| {});
    assert_eq!(before.trouble.fallen_counters, 0);
    let fallen = watch.sweep_with(|process| {
        let total = process.io.total().map(&change);
        process.io = process.io.clone().with_total(total);
    });
    assert_eq!(fallen.trouble.fallen_counters, 1);
    let after = watch.sweep(|_| {});
    let truth = (0..3).map(|_| steady.sweep(|_| {})).last().expect("three sweeps");
    for (name, _) in figures(&before) {
        let of = |report: &Report| number(report, &name);
        if name.ends_with("_per_sec") || name == "cpu.percent" {
            continue;
        }
        assert!(of(&fallen) >= of(&before) && of(&after) >= of(&fallen), "{name} fell");
    }
    [&fallen, &after].into_iter().for_each(assert_sane);
    assert!(number(&after, "io_counters.write_bytes") >= number(&truth, "io_counters.write_bytes"));
}

#[test]
fn counters_that_go_back_are_clamped_and_counted() {
    check_fall(|_| IoTotals::ZERO);
    check_fall(|mut total| {
        total.0[5] -= 1;
        total.0[0] = 0;
        total.0[1] -= 2000;
        total
    });
}

#[test]
fn faults_that_go_back_are_another_process_and_counted() {
    let mut watch = Watch::new();
    let before = watch.sweep(|_| {});
    let report = watch.sweep_with(|process| {
        process.usage.own.0[UsageCounter::MinorFaults as usize] = 1;
    });
    assert_eq!(report.trouble.fallen_counters, 1);
    assert_sane(&report);
    let column = "page_faults.minor";
    assert!(number(&report, column) >= number(&before, column), "totals do not fall");
}

#[test]
fn cpu_time_that_goes_back_stands_still() {
    let mut watch = Watch::new();
    let before = watch.sweep(|_| {});
    let report = watch.sweep_with(|process| process.usage.own.0[0] = 0);
    assert_eq!(report.trouble.fallen_counters, 1);
    assert_sane(&report);
    assert_eq!(number(&report, "cpu.user"), number(&before, "cpu.user"));
    assert_eq!(number(&report, "cpu.user_per_sec"), Some(0.0));
}
