//! A stretch of time of this very process, at every tier that is to be had.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use metrics_per_process::measure::{Measured, Meter};
use metrics_per_process::metric::column_by_name;
use metrics_per_process::report::{Figure, Mark, Tier, Value};
use metrics_per_process::run::figure_of;

/// Each test measures the whole process, so one at a time.
static ALONE: Mutex<()> = Mutex::new(());

const MIB: u64 = 1 << 20;

fn number(measured: &Measured, name: &str) -> (u64, Mark) {
    let column = column_by_name(name).expect("a metric");
    match figure_of(&measured.total, &column) {
        Some(Figure::Known { value: Value::Integer(value), mark }) => (value, mark),
        other => panic!("{name}: expected a number, but found {other:?}"),
    }
}

/// A child that writes so many bytes by system calls.
fn write_in_child(bytes: u64, to: &Path) {
    let out = std::fs::File::create(to).expect("a file");
    let mut head = Command::new("head");
    head.args(["-c", &bytes.to_string(), "/dev/zero"]).stdout(Stdio::from(out));
    assert!(head.status().expect("head").success());
}

#[test]
fn a_stretch_holds_what_was_done_in_it_and_nothing_else() {
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    for tier in [Tier::A, Tier::B, Tier::C] {
        let meter = Meter::start(tier).expect("a meter");
        assert!(meter.tier() >= tier && (meter.tier() > tier) != meter.refusals().is_empty());
        write_in_child(5 * MIB, &file);
        let outer = meter.begin().expect("a measurement");
        write_in_child(MIB, &file);
        let inner = meter.begin().expect("another");
        write_in_child(2 * MIB, &file);
        let inner = inner.end().expect("what was used");
        let outer = outer.end().expect("what was used");
        for (measured, expected, ended) in [(&inner, 2 * MIB, 1), (&outer, 3 * MIB, 2)] {
            let (written, mark) = number(measured, "io_counters.write_chars");
            let bound = measured.total.accuracy.io_bound_bytes;
            assert!((expected - bound..=expected).contains(&written), "{tier:?}: {written}");
            let exact = number(measured, "processes.ended").0 == ended;
            match meter.tier() {
                Tier::A => assert!(exact && mark == Mark::Exact && bound == 0),
                Tier::B => assert!(exact && mark == Mark::Bound && bound > 0),
                Tier::C => assert_eq!((mark, bound), (Mark::Estimate, 0)),
            }
            assert_eq!(measured.total.accuracy.tier, meter.tier());
            assert!(measured.still_running.is_empty() && measured.own_cpu > Duration::ZERO);
        }
    }
}

#[test]
fn what_is_held_at_once_and_left_behind_is_told() {
    let _alone = ALONE.lock();
    let meter = Meter::start(Tier::C).expect("a meter");
    let measurement = meter.begin().expect("a measurement");
    let mut cats: Vec<_> = (0..3)
        .map(|_| {
            let cat = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            let mut cat = cat.expect("cat");
            // Once it answers it is a program of its own.
            cat.stdin.as_mut().expect("a pipe").write_all(b"x").expect("a byte");
            let mut answer = [0];
            let stdout = cat.stdout.as_mut().expect("a pipe");
            std::io::Read::read_exact(stdout, &mut answer).expect("a byte");
            cat
        })
        .collect();
    let measured = measurement.so_far().expect("what was used");
    let mut pids: Vec<u32> = cats.iter().map(std::process::Child::id).collect();
    pids.sort_unstable();
    let left: Vec<u32> = measured.still_running.iter().map(|one| one.pid).collect();
    assert_eq!(left, pids);
    assert!(measured.still_running.iter().all(|one| *one.comm == *b"cat"));
    assert_eq!(number(&measured, "processes.total"), (4, Mark::LowerBound));
    assert!(matches!(measured.started, Figure::Known { value: Value::Integer(3), .. }));
    for cat in &mut cats {
        drop(cat.stdin.take());
        cat.wait().expect("its end");
    }
    let measured = measurement.end().expect("what was used");
    assert!(measured.still_running.is_empty());
    assert_eq!(number(&measured, "processes.total"), (4, Mark::LowerBound));
}
