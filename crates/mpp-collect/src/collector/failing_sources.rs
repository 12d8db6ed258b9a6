//! Sources of exit records that fail in the middle of a load: somebody else tells, nobody is made
//! anew, and what was written is counted to the byte or marked.

use super::*;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::Ledger;
use mpp_accounting::metric::MetricId;
use mpp_accounting::process::Usage;
use mpp_accounting::report::{Column, Figure, Form, Report, Tier, Value};
use mpp_accounting::selector::{Resolution, Selector};
use rustix::io::Errno;

use crate::sys::fault::with_failure;

/// Bytes of a child, in KiB: records that are rounded down to these miss nothing.
const CHILD_BYTES: u64 = 64 << 10;
/// What the shell writes to say that the child has ended.
const ANSWER: &str = "done\n";

/// How often is looked until others leave an interval alone.
const LOOKS_MAX: u32 = 100;

/// A shell whose children write what they are told.
struct Load {
    shell: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    written_chars: u64,
}

impl Load {
    fn start() -> Self {
        let script = "while read bytes; do head -c $bytes /dev/zero > /dev/null; echo done; done";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, answers) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut load = Load { shell, orders, answers: BufReader::new(answers), written_chars: 0 };
        load.write();
        load
    }

    /// Has three children write, one after the other, and end.
    fn write(&mut self) {
        for _ in 0..3 {
            writeln!(self.orders, "{CHILD_BYTES}").unwrap();
            let mut answer = String::new();
            self.answers.read_line(&mut answer).unwrap();
            assert_eq!(answer, ANSWER);
            self.written_chars += CHILD_BYTES + ANSWER.len() as u64;
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shell.kill().unwrap();
        self.shell.wait().unwrap();
    }
}

/// Everything between a sweep and the report of one group: the load and its descendants.
struct Watch {
    collector: Collector,
    ledger: Ledger,
    book: GroupBook,
    snapshot: Snapshot,
    needs: Needs,
    /// What the shell had used when it was last looked at.
    shell: Option<(ProcessKey, Usage)>,
}

impl Watch {
    /// Watches as well as can be; `None` where that is not at tier A, for which there are
    /// reasons.
    fn of(load: &Load) -> Option<Self> {
        let options = CollectorOptions { exits: ExitSource::Exact, ..CollectorOptions::default() };
        let collector = Collector::open(options).unwrap();
        if collector.exit_source() != ExitSource::Exact {
            eprintln!("this test needs CAP_BPF and CAP_PERFMON: {:?}", collector.refusals());
            assert!(!collector.refusals().is_empty());
            return None;
        }
        let selector = Selector::parse(&format!("pid:{}", load.shell.id())).unwrap();
        let column = Column { metric: MetricId::IoWriteChars.metric(), form: Form::Level };
        let measures = Measures { io: true, ..Measures::default() };
        let mut watch = Watch {
            collector,
            ledger: Ledger::new(),
            book: GroupBook::new(Rows::Named(vec![(Box::default(), selector)]), [column].into()),
            snapshot: Snapshot::default(),
            needs: Needs { measures, ..Needs::default() },
            shell: None,
        };
        watch.sweep().unwrap();
        Some(watch)
    }

    fn sweep(&mut self) -> Result<Report, CollectError> {
        self.collector.sweep(&self.needs, IdentityWait::No, &mut self.snapshot)?;
        let movement = self.ledger.advance(&self.snapshot);
        Ok(self.book.fold(&self.snapshot, &movement, &Resolution::default()))
    }

    /// Lets the load write and looks until the tier is reached: a process of somebody else's
    /// may cost an interval its promise.
    fn reach(&mut self, load: &mut Load, expected: (ExitSource, Tier)) {
        for _ in 0..LOOKS_MAX {
            if self.check(load, expected, 0) == expected.1 {
                return;
            }
        }
        panic!("not at {expected:?} in {LOOKS_MAX} looks");
    }

    /// Lets the load write and looks; the report must say what was written, and promise no
    /// more than this. Returns what it promises.
    fn check(
        &mut self,
        load: &mut Load,
        expected: (ExitSource, Tier),
        failed_sources: u64,
    ) -> Tier {
        load.write();
        let report = self.sweep().unwrap();
        let (source, tier) = (self.collector.exit_source(), report.accuracy.tier);
        assert_eq!(source, expected.0, "{:?}", self.collector.refusals());
        assert!(tier >= expected.1, "{tier:?} is better than {expected:?}");
        assert_eq!(report.trouble.failed_sources, failed_sources);
        assert_eq!(written_chars(&report), load.written_chars, "{expected:?}");
        let shell = self.snapshot.by_pid(load.shell.id()).unwrap();
        if let Some((key, before)) = self.shell.replace((shell.key, shell.usage.clone())) {
            assert_eq!(shell.key, key, "nobody is made anew");
            assert!(shell.usage.own.since(before.own).is_some(), "{before:?} {:?}", shell.usage);
            assert!(shell.usage.reaped().since(before.reaped()).is_some(), "{before:?}");
        }
        tier
    }

    fn reason(&self, source: ExitSource) -> &str {
        let found = self.collector.refusals().iter().filter(|refusal| refusal.source == source);
        let reasons: Vec<&str> = found.map(|refusal| refusal.reason.as_str()).collect();
        assert_eq!(reasons.len(), 1, "{:?}", self.collector.refusals());
        reasons[0]
    }
}

fn written_chars(report: &Report) -> u64 {
    match report.groups[0].figures[0] {
        Figure::Known { value: Value::Integer(chars), .. } => chars,
        figure => panic!("a number, but found {figure:?}"),
    }
}

/// Makes another file of a descriptor, as a daemon does that closes what it did not open.
fn spoil(descriptor: BorrowedFd<'_>) {
    let null = std::fs::File::open("/dev/null").unwrap();
    // SAFETY: both are open, and whoever owns the second one keeps an open descriptor.
    let returned = unsafe { libc::dup2(null.as_raw_fd(), descriptor.as_raw_fd()) };
    assert_eq!(returned, descriptor.as_raw_fd());
}

/// Which descriptor of a source is spoilt.
#[derive(Clone, Copy, Debug)]
enum Part {
    Ring,
    Link,
}

fn spoil_exact(watch: &mut Watch, part: Part) {
    let bpf = watch.collector.witness.bpf().unwrap();
    match part {
        Part::Ring => spoil(bpf.exit_ring()),
        Part::Link => spoil(bpf.exit_link()),
    }
}

/// Falls from tier to tier under a load, and comes back.
fn check_fall(part: Part, why: &str) {
    use ExitSource::{Exact, Nobody, Rounded};
    let mut load = Load::start();
    let Some(mut watch) = Watch::of(&load) else { return };
    watch.reach(&mut load, (Exact, Tier::A));
    spoil_exact(&mut watch, part);
    // One failure may pass; a second one is no accident.
    watch.check(&mut load, (Exact, Tier::C), 0);
    watch.check(&mut load, (Rounded, Tier::C), 1);
    assert!(watch.reason(Exact).contains(why), "{}", watch.reason(Exact));
    watch.check(&mut load, (Rounded, Tier::C), 0);
    watch.reach(&mut load, (Rounded, Tier::B));
    watch.collector.witness.taskstats().unwrap().sockets().for_each(spoil);
    watch.check(&mut load, (Rounded, Tier::C), 0);
    watch.check(&mut load, (Nobody, Tier::C), 1);
    assert!(watch.reason(Rounded).contains("read the records"), "{}", watch.reason(Rounded));
    watch.check(&mut load, (Nobody, Tier::C), 0);
    // A minute later.
    watch.collector.next_look = Some(Instant::now());
    watch.check(&mut load, (Exact, Tier::C), 0);
    assert!(watch.collector.refusals().is_empty(), "{:?}", watch.collector.refusals());
    watch.check(&mut load, (Exact, Tier::C), 0);
    watch.reach(&mut load, (Exact, Tier::A));
}

#[test]
fn a_ring_that_is_gone_is_followed_by_taskstats_and_those_by_polling() {
    check_fall(Part::Ring, "read the exit records");
}

#[test]
fn hooks_that_run_no_more_are_followed_by_taskstats_and_those_by_polling() {
    check_fall(Part::Link, "run the hooks");
}

#[test]
fn a_refused_iterator_leaves_the_living_to_procfs_and_ends_exact() {
    let mut load = Load::start();
    let Some(mut watch) = Watch::of(&load) else { return };
    let exact = (ExitSource::Exact, Tier::A);
    watch.reach(&mut load, exact);
    let bpf = watch.collector.witness.bpf().unwrap();
    bpf.forgo_survey();
    spoil(bpf.iterator().unwrap());
    watch.check(&mut load, exact, 0);
    watch.check(&mut load, exact, 1);
    assert!(watch.reason(ExitSource::Exact).contains("read the tasks"));
    watch.reach(&mut load, exact);
}

#[test]
fn a_refused_survey_leaves_the_living_to_the_iterator() {
    let mut load = Load::start();
    let Some(mut watch) = Watch::of(&load) else { return };
    let exact = (ExitSource::Exact, Tier::A);
    watch.reach(&mut load, exact);
    if let Some(surveyor) = watch.collector.witness.bpf().unwrap().surveyor() {
        spoil(surveyor);
    }
    watch.check(&mut load, exact, 0);
    watch.check(&mut load, exact, 0);
    assert!(watch.collector.witness.bpf().unwrap().surveyor().is_none());
    watch.reach(&mut load, exact);
}

#[test]
fn whichever_call_fails_under_a_load_nothing_is_lost_in_silence() {
    let mut load = Load::start();
    let Some(mut watch) = Watch::of(&load) else { return };
    for errno in [Errno::NOMEM, Errno::IO] {
        let mut calls = 1;
        let mut n = 0;
        while n < calls {
            load.write();
            let (outcome, made) = with_failure(n, errno, || watch.sweep());
            let tier = outcome.as_ref().map_or(Tier::C, |report| report.accuracy.tier);
            if let Ok(report) = &outcome {
                let written = written_chars(report);
                assert!(written <= load.written_chars, "call {n}, {errno:?}: nothing twice");
                let is_whole = written == load.written_chars;
                assert!(is_whole || is_marked(report), "call {n}, {errno:?}: {report:?}");
            }
            load.write();
            let report = watch.sweep().unwrap();
            assert_eq!(written_chars(&report), load.written_chars, "call {n}, {errno:?}, {tier:?}");
            assert_eq!(watch.collector.exit_source(), ExitSource::Exact, "one failure passes");
            calls = made;
            n += 1;
        }
        assert!(calls > 10, "{calls}");
    }
}

/// Whether a report says that something may be missing from it.
fn is_marked(report: &Report) -> bool {
    report.accuracy.tier != Tier::A || report.trouble.failed > 0 || report.groups[0].unreadable > 0
}
