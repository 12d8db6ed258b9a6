//! What a thread of this very process does while it is measured, beside what the kernel counts of
//! it: whoever measures is not in it.
//!
//! A process of its own, because any other thread of it would be in the figures as well.

use std::fs;

use metrics_per_process::measure::{Measured, Meter};
use metrics_per_process::metric::column_by_name;
use metrics_per_process::report::{Figure, Mark, Tier};
use metrics_per_process::run::figure_of;

/// What the kernel has counted of a thread up to a moment.
#[derive(Clone, Copy, Debug)]
struct Counted {
    cpu_ns: u64,
    minor_faults: u64,
    switches: u64,
}

impl Counted {
    /// Of the calling thread.
    fn now() -> Self {
        // The kernel brings the account of a thread up to date where it might hand over the CPU.
        std::thread::yield_now();
        let text = |name: &str| {
            fs::read_to_string(format!("/proc/thread-self/{name}")).expect("a file of ours")
        };
        let number = |text: &str| text.trim().parse::<u64>().expect("a number");
        let stat = text("stat");
        let behind_name = stat.rsplit(')').next().expect("fields");
        let status = text("status");
        let switches = |name: &str| {
            number(status.lines().find_map(|line| line.strip_prefix(name)).expect("a line"))
        };
        Counted {
            cpu_ns: number(text("schedstat").split(' ').next().expect("the first")),
            minor_faults: number(behind_name.split_whitespace().nth(7).expect("a field")),
            switches: switches("voluntary_ctxt_switches:")
                + switches("nonvoluntary_ctxt_switches:"),
        }
    }
}

fn sum(measured: &Measured, names: &[&str]) -> (f64, Mark) {
    let figures = names.iter().map(|name| {
        let column = column_by_name(name).expect("a metric");
        match figure_of(&measured.total, &column) {
            Some(Figure::Known { value, mark }) => (value.as_float(), mark),
            other => panic!("{name}: expected a number, but found {other:?}"),
        }
    });
    figures.fold((0.0, Mark::Exact), |sum, (value, mark)| (sum.0 + value, sum.1.and(mark)))
}

/// Computes, touches memory that it had not before, and gives up the CPU.
fn work() -> u64 {
    let mut sum = 0;
    for round in 0..40_u64 {
        let mut pages = vec![0_u8; 1 << 20];
        for page in pages.chunks_mut(4096) {
            page[0] = 1;
        }
        sum ^= (0..200_000_u64).fold(round, |sum, number| sum.wrapping_mul(31) ^ number);
        sum ^= u64::from(pages[pages.len() / 2]);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    sum
}

#[test]
fn what_measuring_does_itself_is_no_part_of_the_figures() {
    let meter = Meter::start(Tier::A).expect("a meter");
    if meter.tier() != Tier::A {
        println!("not measured exactly here: {:?}", meter.refusals());
        let measured = meter.begin().expect("a measurement").end().expect("what was used");
        assert_eq!(sum(&measured, &["cpu.user", "cpu.system"]).1, Mark::Estimate);
        return;
    }
    let before_begin = Counted::now();
    let measurement = meter.begin().expect("a measurement");
    let after_begin = Counted::now();
    std::hint::black_box(work());
    let before_end = Counted::now();
    let measured = measurement.end().expect("what was used");
    let after_end = Counted::now();
    type Count = fn(&Counted) -> f64;
    let counters: [(&[&str], Count); 3] = [
        (&["cpu.user", "cpu.system"], |counted| counted.cpu_ns as f64 / 1e9),
        (&["page_faults.minor"], |counted| counted.minor_faults as f64),
        (&["ctx_switches.voluntary", "ctx_switches.involuntary"], |c| c.switches as f64),
    ];
    for (names, count) in counters {
        let least = count(&before_end) - count(&after_begin);
        let most = count(&after_end) - count(&before_begin);
        let (found, mark) = sum(&measured, names);
        assert!(least > 0.0, "{names:?}: the thread did something");
        // A nanosecond is lost where whole ones are made seconds.
        let slack = 1e-8;
        assert!(
            (least - slack..=most + slack).contains(&found),
            "{names:?}: {least} {found} {most}"
        );
        assert_eq!(mark, Mark::Exact, "{names:?}");
    }
    assert!(measured.own_cpu > std::time::Duration::ZERO);
}
