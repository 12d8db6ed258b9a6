//! Real processes that wait, watched at every tier that tells of waits, and held against what
//! the kernel says elsewhere: schedstat and stat of each, just before its end and after it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

mod support;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use metrics_per_process::process::Absence;
use metrics_per_process::report::{Figure, Mark, Report, Tier, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{Monitor, metric};

const DEADLINE: Duration = Duration::from_secs(30);
const SWITCH: &str = "/proc/sys/kernel/task_delayacct";

/// A monitor of some processes, without their descendants; `None` where this tier is not to be
/// had, or tells nothing.
fn watch(selector: &str, tier: Tier) -> Option<Monitor> {
    let selector = Selector::parse(selector).unwrap();
    let monitor = Monitor::builder()
        .group("group", selector)
        .columns(metric::choose("delays").unwrap())
        .tier_max(tier)
        .build()
        .unwrap();
    let is_told = monitor.tier() == tier && tier != Tier::C;
    if !is_told {
        eprintln!("tier {tier:?} is not to be had here");
    }
    is_told.then_some(monitor)
}

fn figure(report: &Report, column: &str) -> Figure {
    let position = report.columns.iter().position(|c| c.name() == column);
    report.groups[0].figures[position.expect("one of the columns")]
}

/// Nanoseconds and their mark.
fn waited(report: &Report, column: &str) -> (u64, Mark) {
    match figure(report, column) {
        Figure::Known { value: Value::Float(seconds), mark } => {
            let ns = Duration::from_secs_f64(seconds).as_nanos();
            (ns.try_into().unwrap(), mark)
        }
        figure => panic!("no seconds in {column}: {figure:?}"),
    }
}

/// What a tier promises of a group whose ends were all recorded.
fn promise(tier: Tier) -> Mark {
    if tier == Tier::A { Mark::Exact } else { Mark::Estimate }
}

fn read(path: &str) -> String {
    let mut text = String::new();
    File::open(path).unwrap().read_to_string(&mut text).unwrap();
    text
}

/// For how long the only thread of a process has waited for a CPU; also of a zombie.
fn run_queue_ns(pid: u32) -> u64 {
    let text = read(&format!("/proc/{pid}/schedstat"));
    text.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// For how many hundredths of a second the only thread of a process has waited for block I/O:
/// field 42 of its stat.
fn block_io_ticks(pid: u32) -> u64 {
    let stat = read(&format!("/proc/{pid}/stat"));
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(39).unwrap().parse().unwrap()
}

fn await_state(pid: u32, state: char) {
    let begin = Instant::now();
    let stands = |stat: String| stat.rsplit_once(") ").unwrap().1.starts_with(state);
    while !stands(read(&format!("/proc/{pid}/stat"))) {
        assert!(begin.elapsed() < DEADLINE, "process {pid} is not in state {state}");
    }
}

/// A shell of one thread that does this. Killed and reaped when dropped.
struct Shell(Child);

impl Shell {
    fn start(script: &str) -> Self {
        let mut command = Command::new("sh");
        let command = command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        Shell(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Stops it, so that it does not wait any more; returns what it has waited for a CPU.
    fn stop(&self) -> u64 {
        let stop = Command::new("kill").args(["-STOP", &self.pid().to_string()]).status();
        assert!(stop.unwrap().success());
        await_state(self.pid(), 'T');
        run_queue_ns(self.pid())
    }

    /// Ends it, and leaves it a zombie; returns what it had waited for a CPU in the very end.
    fn end(&mut self) -> u64 {
        self.0.kill().unwrap();
        await_state(self.pid(), 'Z');
        run_queue_ns(self.pid())
    }

    fn say(&mut self) -> &mut ChildStdin {
        self.0.stdin.as_mut().unwrap()
    }

    /// Waits until it says something.
    fn listen(&mut self) {
        self.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

/// More of them than CPUs: each has to wait for one.
fn spinners() -> Vec<Shell> {
    let cpus = std::thread::available_parallelism().unwrap().get();
    (0..cpus * 2).map(|_| Shell::start("while :; do :; done")).collect()
}

fn check_spinners(tier: Tier) {
    let mut shells = spinners();
    let pids: Vec<String> = shells.iter().map(|shell| shell.pid().to_string()).collect();
    let group = format!("pid:{} children:no", pids.join(","));
    let Some(mut monitor) = watch(&group, tier) else { return };
    let (begun_ns, _) = waited(&monitor.sample().unwrap(), "delays.cpu");
    std::thread::sleep(Duration::from_millis(500));
    let mut dying = shells.pop().unwrap();
    let (before_ns, after_ns) = (dying.stop(), dying.end());
    let living_ns: u64 = shells.iter().map(Shell::stop).sum();
    let report = monitor.sample().unwrap();
    let (total_ns, mark) = waited(&report, "delays.cpu");
    assert_eq!(mark, promise(tier));
    // What it waited while it was ending is not counted.
    let truth_ns = living_ns + before_ns..=living_ns + after_ns;
    assert!(truth_ns.contains(&total_ns), "{total_ns} is not in {truth_ns:?}");
    assert!(total_ns > begun_ns);
    drop(dying);
    for _ in 0..2 {
        let report = monitor.sample().unwrap();
        assert_eq!(waited(&report, "delays.cpu"), (total_ns, mark), "reaped, it counts as before");
        assert_eq!(waited(&report, "delays.cpu_per_sec").0, 0);
    }
}

#[test]
fn processes_that_share_cpus_have_waited_what_schedstat_said_before_their_end() {
    check_spinners(Tier::A);
    check_spinners(Tier::B);
}

#[test]
fn who_waits_for_children_does_not_inherit_what_they_waited() {
    let child = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done";
    let script = format!("read x; ({child}) & ({child}) & ({child}) & wait; echo; read x");
    for tier in [Tier::A, Tier::B] {
        let mut shell = Shell::start(&script);
        let parent = format!("pid:{} children:no", shell.pid());
        let children = format!("children-of:{}", shell.pid());
        let (Some(mut parent), Some(mut children)) = (watch(&parent, tier), watch(&children, tier))
        else {
            return;
        };
        let begun = [&mut parent, &mut children].map(|monitor| monitor.sample().unwrap());
        assert_eq!(waited(&begun[1], "delays.cpu").0, 0);
        shell.say().write_all(b"\n").unwrap();
        shell.listen();
        let own_ns = shell.stop();
        let (total_ns, mark) = waited(&parent.sample().unwrap(), "delays.cpu");
        assert_eq!((total_ns, mark), (own_ns, promise(tier)));
        let (children_ns, mark) = waited(&children.sample().unwrap(), "delays.cpu");
        assert!(children_ns > 0, "three share the CPUs with all others");
        assert_eq!(mark, promise(tier));
    }
}

/// The switch of delays, for one test at a time; put back when dropped.
struct Switch {
    /// Locked.
    _file: File,
    found: String,
}

impl Switch {
    /// `None` where it may not be set.
    fn take() -> Option<Self> {
        let file = File::options().read(true).write(true).open(SWITCH);
        let file = file.map_err(|error| eprintln!("{SWITCH}: {error}")).ok()?;
        file.lock().unwrap();
        Some(Switch { _file: file, found: read(SWITCH) })
    }

    fn set(&self, to: &str) {
        fs::write(SWITCH, to).unwrap();
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        fs::write(SWITCH, &self.found).unwrap();
    }
}

/// A process named `dd` that copies this; nobody else here has that name.
fn copier(operands: &str) -> Shell {
    let shell = Shell::start(&format!("exec dd {operands} of=/dev/null 2>&1"));
    let begin = Instant::now();
    while read(&format!("/proc/{}/comm", shell.pid())) != "dd\n" {
        assert!(begin.elapsed() < DEADLINE, "the shell executes nothing");
    }
    shell
}

/// Waits for storage, and is a zombie then.
fn read_storage(file: &Path) -> Shell {
    let reader = copier(&format!("if={} bs=4k iflag=direct", file.display()));
    await_state(reader.pid(), 'Z');
    reader
}

fn check_block_io(tier: Tier, switch: &Switch, file: &Path) {
    switch.set("0");
    let mut old = copier("");
    switch.set("1");
    let copiers = format!("name:dd children-of:{}", std::process::id());
    let Some(mut monitor) = watch(&copiers, tier) else { return };
    let both = monitor.sample().unwrap();
    assert_eq!(
        waited(&both, "delays.block_io").1,
        Mark::LowerBound,
        "{tier:?}: it began uncounted"
    );
    let mut counted = watch(&format!("{copiers} !pid:{}", old.pid()), tier).unwrap();
    assert_eq!(waited(&counted.sample().unwrap(), "delays.block_io").0, 0);
    let reader = read_storage(file);
    let ticks = block_io_ticks(reader.pid());
    let (waited_ns, mark) = waited(&counted.sample().unwrap(), "delays.block_io");
    assert_eq!(mark, promise(tier));
    assert!(waited_ns > 0, "a disk is not that fast");
    // After its record it closes its files, which may wait once more.
    let found_ticks = waited_ns / 10_000_000;
    assert!((found_ticks..=found_ticks + 1).contains(&ticks), "{ticks} {waited_ns}");
    let (both_ns, mark) = waited(&monitor.sample().unwrap(), "delays.block_io");
    assert_eq!((both_ns, mark), (waited_ns, Mark::LowerBound));
    old.end();
    drop((old, reader));
    monitor.sample().unwrap();
    let (both_ns, mark) = waited(&monitor.sample().unwrap(), "delays.block_io");
    assert_eq!((both_ns, mark), (waited_ns, Mark::LowerBound), "a lower bound for ever");
    assert_eq!(waited(&counted.sample().unwrap(), "delays.block_io"), (waited_ns, promise(tier)));

    switch.set("0");
    let _living = copier("");
    let report = counted.sample().unwrap();
    assert_eq!(waited(&report, "delays.block_io"), (waited_ns, Mark::LowerBound));
    assert_eq!(figure(&report, "delays.block_io_per_sec"), Figure::Absent(Absence::SwitchedOff));
    assert_eq!(figure(&report, "delays.swap"), Figure::Absent(Absence::SwitchedOff));
    assert_eq!(waited(&report, "delays.cpu").1, promise(tier), "always counted");
}

#[test]
fn block_io_is_waited_for_as_stat_says_and_known_only_of_what_began_counted() {
    let Some(switch) = Switch::take() else { return };
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = folder.path().join("stored");
    let mut file = File::create(&path).unwrap();
    file.write_all(&[7; 4 << 20]).unwrap();
    file.sync_all().unwrap();
    check_block_io(Tier::A, &switch, &path);
    check_block_io(Tier::B, &switch, &path);
}

#[test]
fn where_nobody_tells_of_ends_nobody_tells_of_waits() {
    let shell = Shell::start("read x");
    let mut monitor = Monitor::builder()
        .group("group", Selector::parse(&format!("pid:{}", shell.pid())).unwrap())
        .columns(metric::choose("delays").unwrap())
        .tier_max(Tier::C)
        .build()
        .unwrap();
    for _ in 0..2 {
        let report = monitor.sample().unwrap();
        assert_eq!(figure(&report, "delays.cpu"), Figure::Absent(Absence::NeedsRecords));
        assert_eq!(figure(&report, "delays.reclaim"), Figure::Absent(Absence::NeedsRecords));
        assert_eq!(report.groups[0].unreadable, 0);
    }
}
