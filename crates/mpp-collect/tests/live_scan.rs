//! Asking all processes a question, on live ones that we start.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

#[path = "support/hostile.rs"]
mod hostile;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hostile::Hostile;
use mpp_accounting::process::{Absence, Reading};
use mpp_collect::{Collector, CollectorOptions, Part, Question, Scan, Seen, Step};

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

/// Asks for a name, which may be several with `|` between them, or none for any, and variables.
fn question(name: &str, variables: &[(&str, Option<&str>)]) -> Arc<Question> {
    let name = name.to_owned();
    let owned = |(key, value): &(&str, Option<&str>)| ((*key).to_owned(), value.map(str::to_owned));
    let variables: Vec<_> = variables.iter().map(owned).collect();
    Arc::new(move |seen: &Seen<'_>| {
        let Some(comm) = seen.comm() else { return Step::Read(Part::Comm) };
        let is_one = |name: &str| comm == name.as_bytes();
        if !name.is_empty() && !name.split('|').any(is_one) {
            return Step::No;
        }
        match seen.text(Part::Environ) {
            None => return Step::Read(Part::Environ),
            Some(Reading::Absent(why)) => return Step::Unknown(why),
            Some(Reading::Value(_)) => {}
        }
        match seen.has_lost_environment() {
            None => return Step::Read(Part::Stat),
            Some(true) => return Step::Undecided,
            Some(false) => {}
        }
        let is_as_asked = |(key, value): &(String, Option<String>)| {
            seen.variable(key.as_bytes()) == value.as_deref().map(str::as_bytes)
        };
        match variables.iter().all(is_as_asked) {
            true => Step::Yes,
            false => Step::No,
        }
    })
}

fn scan(question: &Arc<Question>) -> Scan {
    let mut collector = Collector::open(CollectorOptions::default()).unwrap();
    collector.scan(question, LONG).unwrap()
}

fn pids(scan: &Scan) -> Vec<u32> {
    scan.found.clone()
}

#[test]
fn finds_processes_by_name_and_variables() {
    let key = format!("MPP_SCAN_{}", std::process::id());
    let with = Sleeper::start(&[(&key, "a b"), ("MPP_SCAN_OTHER", "")]);
    let without = Sleeper::start(&[(&key, "other")]);
    let check = |name, variables: &[(&str, Option<&str>)], expected: &[u32]| {
        assert_eq!(pids(&scan(&question(name, variables))), expected, "{name} {variables:?}");
    };
    check("", &[(&key, Some("a b"))], &[with.pid()]);
    check("sleep", &[(&key, Some("a b")), ("MPP_SCAN_OTHER", Some(""))], &[with.pid()]);
    check("sleep", &[(&key, Some("other")), ("MPP_SCAN_OTHER", None)], &[without.pid()]);
    check("sleep", &[(&key, Some("a"))], &[]);
    check("slee", &[(&key, Some("a b"))], &[]);
}

#[test]
fn what_a_question_asks_for_is_read_once_and_kept_of_those_that_match() {
    let sleeper = Sleeper::start(&[]);
    let pid = sleeper.pid();
    let question: Arc<Question> = Arc::new(move |seen: &Seen<'_>| {
        let parts = [Part::Executable, Part::Cgroup, Part::Cmdline, Part::Owner, Part::Stat];
        match (parts.into_iter().find(|part| !seen.has(*part)), seen.key()) {
            _ if seen.pid != pid => Step::No,
            (Some(part), _) => Step::Read(part),
            (None, Some(key)) => Step::Keep(key, Box::new(seen.identity(&[]))),
            (None, None) => Step::Undecided,
        }
    });
    let Scan { kept, parents, .. } = scan(&question);
    assert!(parents.contains(&(pid, std::process::id())));
    let [(key, identity)] = kept.as_slice() else { panic!("expected one, kept {kept:?}") };
    let status = std::fs::metadata(format!("/proc/{pid}")).unwrap();
    assert_eq!((key.pid, identity.uid), (pid, status.uid()));
    assert_eq!(&*identity.comm, b"sleep");
    assert_eq!(identity.cmdline, Reading::Value(Box::from(&b"sleep\x00600\0"[..])));
    let executable = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    assert_eq!(identity.executable, Reading::Value(executable.as_os_str().as_bytes().into()));
    assert!(identity.cgroup.value().is_some_and(|path| path.starts_with(b"/")));
}

/// Case 1 of the hostile ones: see the example `mmap_lock_holder`.
#[test]
fn a_process_that_holds_its_mmap_lock_is_counted_and_costs_one_thread_once() {
    let key = format!("MPP_SCAN_HELD_{}", std::process::id());
    let sleepers: Vec<_> = (0..200).map(|_| Sleeper::start(&[(&key, "x")])).collect();
    let mut expected: Vec<_> = sleepers.iter().map(Sleeper::pid).collect();
    expected.sort_unstable();
    let Some(holder) = Hostile::start("mmap_lock_holder", "mpp-scan-held", &[(&key, "x")]) else {
        assert_eq!(pids(&scan(&question("sleep", &[(&key, Some("x"))]))), expected);
        return;
    };
    let began = Instant::now();
    for _ in 0..3 {
        let found = scan(&question("sleep|mpp-scan-held", &[(&key, Some("x"))]));
        assert_eq!(pids(&found), expected, "{} is not among them", holder.pid);
        assert_eq!(blocked(&found), 1);
        let found = scan(&question("mpp-scan-held", &[(&key, None)]));
        assert_eq!((found.found.len(), blocked(&found)), (0, 1));
    }
    assert!(began.elapsed() < LONG, "nobody waits for it");
    // One thread hangs, not one a call; and it ends when the process does.
    wait_for_readers(1);
    drop(holder);
    wait_for_readers(0);
    assert_eq!(blocked(&scan(&question("mpp-scan-held", &[(&key, None)]))), 0);
}

fn blocked(found: &Scan) -> usize {
    found.unknown.iter().filter(|(_, why)| *why == Absence::Blocked).count()
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
    names.filter(|comm| comm.trim_end() == "mpp-scan").count()
}
