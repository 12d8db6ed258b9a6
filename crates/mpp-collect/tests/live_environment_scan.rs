//! Looking through the environments of all processes, on live ones that we start.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[path = "support/hostile.rs"]
mod hostile;

use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostile::Hostile;
use mpp_accounting::process::Absence;
use mpp_collect::{
    Collector, CollectorOptions, EnvironmentQuestion, EnvironmentScan, WantedVariable,
};

/// Far more than any deadline, for what is sure to come.
const LONG: Duration = Duration::from_secs(60);

/// A `sleep` that ends with this.
struct Sleeper(Child);

impl Sleeper {
    fn start(variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().copied();
        Sleeper(Command::new("sleep").arg("600").envs(variables).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// `name` may be several with `|` between them, or none for any.
fn question(name: &'static str, variables: &[(&str, Option<&str>)]) -> EnvironmentQuestion {
    let wanted = |(key, value): &(&str, Option<&str>)| WantedVariable {
        key: Box::from(key.as_bytes()),
        value: value.map(|value| Box::from(value.as_bytes())),
    };
    EnvironmentQuestion {
        has_name: Box::new(move |comm| {
            name.is_empty() || name.split('|').any(|name| comm == name.as_bytes())
        }),
        has_user: None,
        variables: variables.iter().map(wanted).collect(),
    }
}

fn scan(question: EnvironmentQuestion) -> EnvironmentScan {
    let mut collector = Collector::open(CollectorOptions::default()).unwrap();
    collector.pids_with_environment(&Arc::new(question), LONG).unwrap()
}

#[test]
fn finds_processes_by_name_user_and_variables() {
    let key = format!("MPP_SCAN_{}", std::process::id());
    let with = Sleeper::start(&[(&key, "a b"), ("MPP_SCAN_OTHER", "")]);
    let without = Sleeper::start(&[(&key, "other")]);
    let check = |name, variables: &[(&str, Option<&str>)], expected: &[u32]| {
        assert_eq!(scan(question(name, variables)).pids, expected, "{name} {variables:?}");
    };
    check("", &[(&key, Some("a b"))], &[with.pid()]);
    check("sleep", &[(&key, Some("a b")), ("MPP_SCAN_OTHER", Some(""))], &[with.pid()]);
    check("sleep", &[(&key, Some("other")), ("MPP_SCAN_OTHER", None)], &[without.pid()]);
    check("sleep", &[(&key, Some("a"))], &[]);
    check("slee", &[(&key, Some("a b"))], &[]);
    let own_uid = std::fs::metadata("/proc/self").unwrap().uid();
    for (uid, expected) in [(own_uid, vec![with.pid()]), (own_uid + 1, vec![])] {
        let mut question = question("sleep", &[(&key, Some("a b"))]);
        question.has_user = Some(Box::new(move |other| other == uid));
        assert_eq!(scan(question).pids, expected, "{uid}");
    }
}

/// Case 1 of the hostile ones: see the example `mmap_lock_holder`.
#[test]
fn a_process_that_holds_its_mmap_lock_is_counted_and_costs_one_thread_once() {
    let key = format!("MPP_SCAN_HELD_{}", std::process::id());
    let sleepers: Vec<_> = (0..200).map(|_| Sleeper::start(&[(&key, "x")])).collect();
    let mut expected: Vec<_> = sleepers.iter().map(Sleeper::pid).collect();
    expected.sort_unstable();
    let Some(holder) = Hostile::start("mmap_lock_holder", "mpp-scan-held", &[(&key, "x")]) else {
        assert_eq!(scan(question("sleep", &[(&key, Some("x"))])).pids, expected);
        return;
    };
    let began = Instant::now();
    for _ in 0..3 {
        let found = scan(question("sleep|mpp-scan-held", &[(&key, Some("x"))]));
        assert_eq!(found.pids, expected, "{} is not among them", holder.pid);
        assert_eq!(blocked(&found), 1);
        let found = scan(question("mpp-scan-held", &[(&key, None)]));
        assert_eq!((found.pids.len(), blocked(&found)), (0, 1));
    }
    assert!(began.elapsed() < LONG, "nobody waits for it");
    // One thread hangs, not one a call; and it ends when the process does.
    wait_for_readers(1);
    drop(holder);
    wait_for_readers(0);
    assert_eq!(blocked(&scan(question("mpp-scan-held", &[(&key, None)]))), 0);
}

fn blocked(found: &EnvironmentScan) -> usize {
    found.absences.iter().filter(|why| **why == Absence::Blocked).count()
}

/// Waits until this program has no more than so many threads that read, and has that many.
fn wait_for_readers(count: usize) {
    let deadline = Instant::now() + LONG;
    while readers() != count {
        assert!(Instant::now() < deadline, "{} threads read, not {count}", readers());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn readers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|comm| comm.trim_end() == "mpp-environment").count()
}
