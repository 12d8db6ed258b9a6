//! Whole collections: frozen trees with every kind of process, and each system call failing
//! once.

use super::*;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use mpp_accounting::process::{
    EnvironmentEntry, Gauges, IdentityNeeds, Memory, ProcessIo, ProcessState, ProportionalMemory,
    Reading, ThreadIo,
};
use mpp_accounting::units::IoCounter;
use rustix::io::Errno;

use crate::identity::Risk;
use crate::needs::ContextSwitchNeeds;
use crate::sys::fault::with_failure;

const SERVICES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/proc/6.18-services");
const SERVICES_LATER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/proc/6.18-services-later");
const MIB: u64 = 1 << 20;

fn everything() -> Needs {
    Needs {
        identity: IdentityNeeds {
            executable: true,
            cmdline: true,
            cgroup: true,
            listening_ports: false,
            environment_keys: vec![Box::from(*b"TAG_ENV_VAR"), Box::from(*b"EMPTY")],
        },
        measures: Measures {
            memory: true,
            proportional_memory: true,
            swap: true,
            io: true,
            fds: true,
            fd_limit: true,
            sockets: false,
            tcp_traffic: false,
            delays: true,
            context_switches: ContextSwitchNeeds::AllThreads,
        },
    }
}

fn open(procfs: impl AsRef<Path>) -> Result<Collector, CollectError> {
    Collector::open(CollectorOptions {
        procfs: procfs.as_ref().to_path_buf(),
        ..CollectorOptions::default()
    })
}

fn sweep(procfs: impl AsRef<Path>, needs: &Needs) -> Result<Snapshot, CollectError> {
    let mut snapshot = Snapshot::default();
    open(procfs)?.sweep(needs, IdentityWait::No, &mut snapshot)?;
    Ok(snapshot)
}

fn services() -> Snapshot {
    sweep(SERVICES, &everything()).unwrap()
}

/// A frozen tree with few processes, which a test may spoil.
struct Tree(tempfile::TempDir);

impl Tree {
    /// A copy of one process of the services, under its own PID.
    fn of(pid: u32) -> Self {
        Tree::of_some(&[pid])
    }

    fn of_some(pids: &[u32]) -> Self {
        let tree = Tree(tempfile::tempdir().unwrap());
        for file in ["frozen", "meminfo"] {
            fs::copy(Path::new(SERVICES).join(file), tree.path(file)).unwrap();
        }
        for pid in pids.iter().map(u32::to_string) {
            copy_folder(&Path::new(SERVICES).join(&pid), &tree.path(&pid));
        }
        tree
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        fs::write(self.path(name), bytes).unwrap();
        self
    }

    fn sweep(&self) -> Snapshot {
        sweep(self.0.path(), &everything()).unwrap()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&source, &target);
        } else if kind.is_symlink() {
            symlink(fs::read_link(&source).unwrap(), &target).unwrap();
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
}

fn bytes(reading: &Reading<Box<[u8]>>) -> &[u8] {
    reading.value().unwrap_or_else(|| panic!("a value, but found {reading:?}"))
}

#[test]
fn a_sweep_holds_every_process_in_order_and_says_when_it_was() {
    let snapshot = services();
    let pids: Vec<_> = snapshot.processes.iter().map(|process| process.key.pid).collect();
    assert_eq!(
        pids,
        [
            1, 2, 17, 412, 801, 802, 803, 900, 901, 950, 1000, 1010, 1011, 1020, 1030, 1040, 1050,
            1051, 1060
        ]
    );
    assert_eq!(snapshot.taken_at.ns, 86_400_000_000_000);
    assert_eq!(snapshot.taken_at_ticks, 8_640_000);
    assert_eq!(snapshot.wall_time.unix_ns, 1_795_435_421_520_000_000);
    assert_eq!(snapshot.host.memory_total_bytes, 8192 * MIB);
    assert_eq!(snapshot.host.ticks_per_second, 100);
    assert_eq!(snapshot.unreadable_pids, Vec::<u32>::new());
    // A title stands where 803's environment was.
    let trouble = Trouble { clobbered_environments: 1, ..Trouble::default() };
    assert_eq!(snapshot.trouble, trouble);
}

#[test]
fn units_are_nanoseconds_and_bytes() {
    let snapshot = services();
    let java = snapshot.by_pid(950).unwrap();
    assert_eq!(java.key.start_time_ticks, 2000);
    assert_eq!(java.usage.own.0, [500_000_000_000, 40_000_000_000, 210_000, 44]);
    let memory = java.gauges.memory();
    assert_eq!(
        *memory.value().unwrap(),
        Memory {
            rss_bytes: 900 * MIB,
            vms_bytes: 3000 * MIB,
            shared_bytes: 24 * MIB,
            text_bytes: 4096,
            data_bytes: 1500 * MIB,
        }
    );
    assert_eq!(java.gauges.seldom.swap_bytes, Reading::Value(10 * MIB));
    let proportional = ProportionalMemory { pss_bytes: 882 * MIB, uss_bytes: 876 * MIB };
    assert_eq!(java.gauges.seldom.proportional_memory, Reading::Value(proportional));
    assert_eq!(java.gauges.threads, Reading::Value(4));
    assert_eq!(java.gauges.fds, Reading::Value(7));
    assert_eq!(java.gauges.seldom.fd_limit, Reading::Value(4096));
    let switches = java.gauges.context_switches.value().unwrap();
    assert_eq!((switches.voluntary, switches.involuntary), (48, 4));
    assert!(switches.is_partial, "threads that exited took theirs along");
    assert_eq!(java.gauges.seldom.sockets, Reading::Absent(Absence::NotRequested));
}

#[test]
fn what_nobody_asks_for_is_not_read() {
    let snapshot = sweep(SERVICES, &Needs::default()).unwrap();
    let absent = Absence::NotRequested;
    for process in &snapshot.processes {
        let Gauges { threads, .. } = &process.gauges;
        assert!(threads.value().is_some());
        let mut expected = Gauges::absent(absent);
        expected.threads = *threads;
        assert_eq!(format!("{:?}", process.gauges), format!("{expected:?}"));
        assert_eq!(process.io.total(), Reading::Absent(absent));
        assert_eq!(process.io.threads, Reading::Absent(absent));
        assert_eq!(process.identity.executable, Reading::Absent(absent));
        assert_eq!(process.identity.cmdline, Reading::Absent(absent));
        assert_eq!(process.identity.environment, Reading::Absent(absent));
        assert_eq!(process.identity.cgroup, Reading::Absent(absent));
    }
}

#[test]
fn threads_are_read_of_parents_alone() {
    fn check(pid: u32, expected: &[(u32, u64, u64)]) {
        let snapshot = services();
        let threads = snapshot.by_pid(pid).unwrap().threads();
        let parts = |thread: &ThreadIo| {
            (thread.key.tid, thread.key.start_time_ticks, thread.total[IoCounter::WriteBytes])
        };
        let found: Option<Vec<_>> =
            threads.value().map(|threads| threads.iter().map(parts).collect());
        assert_eq!(found.unwrap_or_default(), expected, "{pid}");
    }
    check(801, &[(801, 900, 4096)]);
    check(1010, &[(1010, 8_630_000, 0)]);
    // Many threads, but no children: what exited threads left is its own.
    check(950, &[]);
    check(802, &[]);
    let snapshot = services();
    let not_requested = Reading::Absent(Absence::NotRequested);
    assert_eq!(snapshot.by_pid(950).unwrap().io.threads, not_requested);
    let script = snapshot.by_pid(1010).unwrap();
    assert_eq!(script.io.total().value().unwrap()[IoCounter::WriteBytes], 50_003_968);
}

#[test]
fn every_thread_of_a_parent_is_read_with_its_own_start() {
    let tree = Tree::of(950);
    let stat = fs::read_to_string(tree.path("950/stat")).unwrap();
    // It has waited for a child that caused 44 page faults.
    let tree = tree.write("950/stat", stat.replace(" 210000 0 44 ", " 210000 44 44 "));
    let snapshot = tree.sweep();
    let threads = *snapshot.processes[0].threads().value().unwrap();
    let keys: Vec<_> =
        threads.iter().map(|thread| (thread.key.tid, thread.key.start_time_ticks)).collect();
    assert_eq!(keys, [(950, 2000), (951, 2001), (952, 2001), (960, 4000)]);
    let own = threads.iter().map(|thread| thread.total[IoCounter::ReadChars]).sum::<u64>();
    let total = snapshot.processes[0].io.total().value().unwrap()[IoCounter::ReadChars];
    assert_eq!(total - own, 77_000, "what exited threads and children left");
}

#[test]
fn a_zombie_has_ended_but_its_counters_are_real() {
    let snapshot = services();
    let zombie = snapshot.by_pid(1020).unwrap();
    assert_eq!(zombie.state, ProcessState::Zombie);
    assert_eq!(zombie.usage.own.0, [30_000_000, 10_000_000, 150, 0]);
    assert_eq!(zombie.io.total().value().unwrap()[IoCounter::WriteBytes], 4096);
    assert_eq!(zombie.gauges.memory(), Reading::Value(Memory::default()));
    assert_eq!(zombie.gauges.seldom.swap_bytes, Reading::Value(0));
    assert_eq!(zombie.gauges.fds, Reading::Value(0));
    assert_eq!(zombie.gauges.threads, Reading::Value(1));
    assert_eq!(zombie.identity.environment, Reading::Value(Box::default()));
    assert_eq!(zombie.identity.cmdline, Reading::Value(Box::default()));
    assert_eq!(&*zombie.identity.comm, b"mail");
}

#[test]
fn a_process_whose_main_thread_exited_is_read_through_one_that_lives() {
    let snapshot = services();
    let renderer = snapshot.by_pid(1030).unwrap();
    assert_eq!(renderer.state, ProcessState::Living);
    assert_eq!(renderer.gauges.memory().value().unwrap().rss_bytes, 512 * MIB);
    assert_eq!(renderer.gauges.fds, Reading::Value(4));
    assert_eq!(renderer.gauges.threads, Reading::Value(3));
    assert_eq!(bytes(&renderer.identity.executable), b"/opt/render/renderer");
    assert_eq!(bytes(&renderer.identity.cmdline), b"/opt/render/renderer\0--quality=high\0");
    assert_eq!(bytes(&renderer.identity.cgroup), b"/system.slice/render.service");
    assert_eq!(renderer.io.total().value().unwrap()[IoCounter::WriteBytes], 4_001_792);
}

#[test]
fn a_process_whose_living_threads_cannot_be_found_has_unknown_memory() {
    let tree = Tree::of(1030);
    fs::remove_dir_all(tree.path("1030/task/1031")).unwrap();
    fs::remove_dir_all(tree.path("1030/task/1032")).unwrap();
    let snapshot = tree.sweep();
    let renderer = &snapshot.processes[0];
    assert_eq!(renderer.state, ProcessState::Living);
    assert_eq!(renderer.gauges.memory(), Reading::Absent(Absence::Unstable));
    assert_eq!(renderer.gauges.fds, Reading::Absent(Absence::Unstable));
    assert_eq!(renderer.identity.cmdline, Reading::Absent(Absence::Unstable));
}

#[test]
fn kernel_threads_have_no_memory_and_no_executable() {
    let snapshot = services();
    let worker = snapshot.by_pid(17).unwrap();
    assert_eq!(&*worker.identity.comm, b"kworker/0:1-events");
    assert_eq!(worker.gauges.memory(), Reading::Value(Memory::default()));
    assert_eq!(worker.gauges.fds, Reading::Value(0));
    assert_eq!(worker.identity.executable, Reading::Value(Box::default()));
    assert_eq!(worker.identity.environment, Reading::Value(Box::default()));
    assert_eq!(worker.parent_pid, 2);
    let kernel_threads = snapshot.processes.iter().filter(|p| p.identity.is_kernel_thread);
    assert_eq!(kernel_threads.map(|p| p.key.pid).collect::<Vec<_>>(), [2, 17]);
    assert_eq!(snapshot.by_pid(2).unwrap().parent_pid, 0);
}

#[test]
fn a_missing_file_spoils_one_field() {
    let snapshot = services();
    let listener = snapshot.by_pid(1040).unwrap();
    assert_eq!(listener.io.total(), Reading::Absent(Absence::Unsupported));
    assert_eq!(listener.gauges.memory().value().unwrap().rss_bytes, 7 * MIB);
    assert_eq!(bytes(&listener.identity.executable), b"/usr/sbin/sshd");
}

#[test]
fn names_chosen_to_mislead_mislead_nobody() {
    let snapshot = services();
    let evil = snapshot.by_pid(1050).unwrap();
    assert_eq!(&*evil.identity.comm, b") R 1 1\n\x1b[31m\xff");
    assert_eq!(
        (evil.parent_pid, evil.identity.uid, evil.state),
        (1000, 1002, ProcessState::Living)
    );
    assert_eq!(evil.usage.own.0[..2], [90_000_000, 90_000_000]);
    assert_eq!(bytes(&evil.identity.executable), b"/home/eve/bin/e vil");
    let liar = snapshot.by_pid(1051).unwrap();
    assert_eq!(&*liar.identity.comm, b"Threads:\t99999");
    assert_eq!((liar.gauges.threads, liar.identity.uid), (Reading::Value(1), 1002));
}

#[test]
fn identity_says_who_a_process_is() {
    fn check(pid: u32, uid: u32, executable: &[u8], cgroup: &[u8]) {
        let snapshot = services();
        let identity = &snapshot.by_pid(pid).unwrap().identity;
        assert_eq!(identity.uid, uid, "{pid}");
        assert_eq!(bytes(&identity.executable), executable, "{pid}");
        assert_eq!(bytes(&identity.cgroup), cgroup, "{pid}");
    }
    check(802, 33, b"/usr/sbin/nginx", b"/system.slice/nginx.service");
    check(1000, 1000, b"/usr/bin/bash", b"/user.slice/user-1000.slice/session-3.scope");
    let container = b"/system.slice/docker-3f4e2d1c0b9a8f7e6d5c4b3a291807f6e5d4c3b2a1908f7e6d5c4b3a29180706.scope";
    check(1060, 1003, b"/usr/bin/python3.11", container);
}

#[test]
fn environment_holds_what_was_asked_for_and_the_first_of_two() {
    fn check(pid: u32, expected: Reading<&[(&[u8], &[u8])]>) {
        let snapshot = services();
        let found = snapshot.by_pid(pid).unwrap().identity.environment.clone();
        let expected = expected.map(|pairs| {
            let entry = |(key, value): &(&[u8], &[u8])| EnvironmentEntry {
                key: Box::from(*key),
                value: Box::from(*value),
            };
            pairs.iter().map(entry).collect::<Box<[_]>>()
        });
        assert_eq!(found, expected, "{pid}");
    }
    check(950, Reading::Value(&[(b"TAG_ENV_VAR", b"whatever")]));
    check(1000, Reading::Value(&[(b"EMPTY", b"")]));
    check(1050, Reading::Value(&[(b"TAG_ENV_VAR", b"what\never")]));
    check(412, Reading::Value(&[]));
    // What stands there is a title: that a variable is missing says nothing.
    check(803, Reading::Absent(Absence::Malformed));
}

#[test]
fn an_environment_once_seen_survives_a_title_written_over_it() {
    let tree = Tree::of(950);
    let mut collector = open(tree.0.path()).unwrap();
    let mut snapshot = Snapshot::default();
    collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
    let before = Arc::clone(&snapshot.processes[0].identity);
    let tree = tree.write("950/environ", b"java: shard 7 is merging\0\0\0");
    collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
    assert!(Arc::ptr_eq(&before, &snapshot.processes[0].identity), "shared while unchanged");
    // A key that nobody asked for before is looked for in what is there now.
    let mut more = everything();
    more.identity.environment_keys.push(Box::from(*b"HOME"));
    collector.sweep(&more, IdentityWait::No, &mut snapshot).unwrap();
    assert_eq!(snapshot.processes[0].identity.environment, before.environment);
    assert_eq!(snapshot.trouble.clobbered_environments, 1);
    // An exec brings a new one.
    let stat = fs::read_to_string(tree.path("950/stat")).unwrap();
    let tree = tree.write("950/stat", stat.replace(" 94379706966016 ", " 94379700000000 "));
    let _tree = tree.write("950/environ", b"TAG_ENV_VAR=new\0HOME=/root\0");
    collector.sweep(&more, IdentityWait::No, &mut snapshot).unwrap();
    let entries = snapshot.processes[0].identity.environment.value().unwrap().clone();
    let values: Vec<_> = entries.iter().map(|entry| &*entry.value).collect();
    assert_eq!(values, [&b"new"[..], b"/root"]);
    assert_eq!(snapshot.trouble.clobbered_environments, 0);
}

#[test]
fn an_environment_that_was_partly_overwritten_is_incomplete() {
    fn check(environ: &[u8], expected: (Option<usize>, bool)) {
        let snapshot = Tree::of(950).write("950/environ", environ).sweep();
        let identity = &snapshot.processes[0].identity;
        let found = identity.environment.value().map(|entries| entries.len());
        let case = environ.escape_ascii();
        assert_eq!((found, identity.is_environment_incomplete), expected, "{case}");
    }
    check(b"TAG_ENV_VAR=x\0HOME=/\0", (Some(1), false));
    check(b"HOME=/\0", (Some(0), false));
    check(b"java: shard 7\0TAG_ENV_VAR=x\0", (Some(1), true));
    check(b"java: shard 7\0HOME=/\0", (None, true));
}

#[test]
fn a_variable_asked_for_after_the_environment_was_overwritten_may_be_missing() {
    let tree = Tree::of(950);
    let mut collector = open(tree.0.path()).unwrap();
    let mut snapshot = Snapshot::default();
    let mut needs = everything();
    needs.identity.environment_keys = vec![Box::from(*b"NOT_THERE")];
    collector.sweep(&needs, IdentityWait::No, &mut snapshot).unwrap();
    let identity = Arc::clone(&snapshot.processes[0].identity);
    assert_eq!(identity.environment, Reading::Value(Box::default()));
    assert!(!identity.is_environment_incomplete);
    let _tree = tree.write("950/environ", b"java: shard 7 is merging\0");
    needs.measures.fds = false;
    needs.identity.cgroup = !needs.identity.cgroup;
    collector.sweep(&needs, IdentityWait::No, &mut snapshot).unwrap();
    assert!(!snapshot.processes[0].identity.is_environment_incomplete, "nothing new was asked");
    needs.identity.environment_keys = vec![Box::from(*b"TAG_ENV_VAR")];
    collector.sweep(&needs, IdentityWait::No, &mut snapshot).unwrap();
    let identity = &snapshot.processes[0].identity;
    assert_eq!(identity.environment, Reading::Value(Box::default()));
    assert!(identity.is_environment_incomplete);
}

#[test]
fn who_may_hang_a_reader_is_asked_last() {
    fn check(pid: u32, from: &str, to: &str, expected: Risk) {
        let tree = Tree::of(pid);
        let stat = fs::read_to_string(tree.path(format!("{pid}/stat"))).unwrap();
        assert!(stat.contains(from), "{stat}");
        let tree = tree.write(&format!("{pid}/stat"), stat.replace(from, to));
        let mut collector = open(tree.0.path()).unwrap();
        collector.sweep(&everything(), IdentityWait::No, &mut Snapshot::default()).unwrap();
        assert_eq!(collector.known.get(pid).unwrap().risk(), expected, "{pid}: {to}");
    }
    check(1011, ") R ", ") S ", Risk::Least);
    check(1011, ") R ", ") D ", Risk::Uninterruptible);
    check(950, ") S ", ") S ", Risk::SeveralThreads);
    check(950, ") S ", ") D ", Risk::Uninterruptible);
    let order = [Risk::Least, Risk::SeveralThreads, Risk::Uninterruptible, Risk::HasBlocked];
    assert!(order.is_sorted());
}

/// Copies process 950, later than all others, as a child made by fork(2) that has written over
/// its environment; its code starts at `start_code`.
fn fork_with_title(tree: Tree, pid: u32, parent_pid: u32, start_code: &str) -> Tree {
    let start = 3000 + fs::read_dir(tree.0.path()).unwrap().count();
    copy_folder(&Path::new(SERVICES).join("950"), &tree.path(pid.to_string()));
    let stat = fs::read_to_string(tree.path("950/stat")).unwrap();
    let stat = stat
        .replace("950 (java) S 1 ", &format!("{pid} (java) S {parent_pid} "))
        .replace(" -1 4194304 ", " -1 4194368 ")
        .replace(" 2000 3145728000 ", &format!(" {start} 3145728000 "))
        .replace(" 94379706966016 ", &format!(" {start_code} "));
    fs::write(tree.path(format!("{pid}/stat")), stat).unwrap();
    tree.write(&format!("{pid}/environ"), b"java: worker\0\0\0LANG=C\0")
}

#[test]
fn a_forked_worker_has_the_environment_that_is_remembered_of_its_parent() {
    const START_CODE: &str = "94379706966016";
    let tree = Tree::of(950);
    let mut collector = open(tree.0.path()).unwrap();
    let mut snapshot = Snapshot::default();
    collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
    let tree = tree.write("950/environ", b"java: master process\0\0\0");
    let tree = fork_with_title(tree, 960, 950, START_CODE);
    // A worker of the worker, with a smaller PID.
    let tree = fork_with_title(tree, 940, 960, START_CODE);
    // Forked, but by nobody that is known; and forked by what 950 was before its exec.
    let tree = fork_with_title(tree, 970, 1, START_CODE);
    let tree = fork_with_title(tree, 980, 950, "94379700000000");
    let mut late = Snapshot::default();
    let mut newcomer = open(tree.0.path()).unwrap();
    newcomer.sweep(&everything(), IdentityWait::No, &mut late).unwrap();
    let unknown = late.processes.iter().filter(|p| p.identity.environment.value().is_none());
    assert_eq!(unknown.count(), 5, "who comes late finds titles alone");
    for round in 0..2 {
        collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
        let environment = |pid| &snapshot.by_pid(pid).unwrap().identity.environment;
        let entry =
            EnvironmentEntry { key: Box::from(*b"TAG_ENV_VAR"), value: Box::from(*b"whatever") };
        for pid in [950, 960, 940] {
            assert_eq!(*environment(pid), Reading::Value(Box::from([entry.clone()])), "{pid}");
            assert!(!snapshot.by_pid(pid).unwrap().identity.is_environment_incomplete, "{pid}");
        }
        for pid in [970, 980] {
            assert_eq!(*environment(pid), Reading::Absent(Absence::Malformed), "{pid} {round}");
        }
        let Trouble { clobbered_environments, remembered_environments, .. } = snapshot.trouble;
        assert_eq!((clobbered_environments, remembered_environments), (2, 2));
    }
}

#[test]
fn a_process_that_claims_to_be_its_own_parent_inherits_nothing() {
    let tree = fork_with_title(Tree::of(950), 960, 960, "94379706966016");
    let snapshot = tree.sweep();
    let environment = &snapshot.by_pid(960).unwrap().identity.environment;
    assert_eq!(*environment, Reading::Absent(Absence::Malformed));
}

#[test]
fn identity_is_read_again_at_an_exec_a_new_name_and_a_new_user() {
    fn check(edit: impl Fn(&Tree), expected: (&[u8], u32, &[u8])) {
        let tree = Tree::of(1011);
        let mut collector = open(tree.0.path()).unwrap();
        let mut snapshot = Snapshot::default();
        collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
        fs::write(tree.path("1011/cmdline"), b"xz\0").unwrap();
        collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
        let cmdline = bytes(&snapshot.processes[0].identity.cmdline).to_vec();
        assert_eq!(cmdline, b"gzip\0-9\0/home/max/a.tar\0", "nothing says that it changed");
        edit(&tree);
        collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
        let identity = &snapshot.processes[0].identity;
        let found = (&*identity.comm, identity.uid, bytes(&identity.cmdline));
        assert_eq!(found, expected);
    }
    fn replace(tree: &Tree, file: &str, from: &str, to: &str) {
        let text = fs::read_to_string(tree.path(file)).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(tree.path(file), text.replace(from, to)).unwrap();
    }
    check(
        |tree| replace(tree, "1011/stat", "94379707215872", "94379000000000"),
        (b"gzip", 1000, b"xz\0"),
    );
    check(|tree| replace(tree, "1011/stat", "(gzip)", "(xz)"), (b"xz", 1000, b"xz\0"));
    check(
        |tree| replace(tree, "1011/status", "Uid:\t1000\t1000", "Uid:\t1000\t33"),
        (b"gzip", 33, b"xz\0"),
    );
}

#[test]
fn a_pid_given_to_another_process_brings_another_identity() {
    let tree = Tree::of(1011);
    let mut collector = open(tree.0.path()).unwrap();
    let mut snapshot = Snapshot::default();
    collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
    let first = snapshot.processes[0].clone();
    let stat = fs::read_to_string(tree.path("1011/stat")).unwrap();
    let tree = tree.write("1011/stat", stat.replace(" 8639500 ", " 8639999 "));
    let _tree = tree.write("1011/environ", b"TAG_ENV_VAR=other\0");
    collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
    let second = &snapshot.processes[0];
    assert_ne!(first.key, second.key);
    assert_ne!(first.identity.environment, second.identity.environment);
}

#[test]
fn a_tree_that_its_path_leads_to_later_is_swept_next() {
    let folder = tempfile::tempdir().unwrap();
    let current = folder.path().join("proc");
    symlink(SERVICES, &current).unwrap();
    let mut collector = open(&current).unwrap();
    let (mut first, mut second) = (Snapshot::default(), Snapshot::default());
    collector.sweep(&everything(), IdentityWait::No, &mut first).unwrap();
    fs::remove_file(&current).unwrap();
    symlink(SERVICES_LATER, &current).unwrap();
    collector.sweep(&everything(), IdentityWait::No, &mut second).unwrap();
    assert_eq!(second.taken_at.since(first.taken_at), Duration::from_secs(1));
    assert!(second.by_pid(1011).is_none() && second.by_pid(1012).is_some());
    let (before, after) = (first.by_pid(802).unwrap(), second.by_pid(802).unwrap());
    assert!(Arc::ptr_eq(&before.identity, &after.identity));
    let growth = after.io.total().value().unwrap().since(*before.io.total().value().unwrap());
    assert_eq!(growth.unwrap().0[IoCounter::WriteBytes as usize], 409_600);
    // The reaped child's bytes are in the parent's total, and in none of its threads.
    let of = |snapshot: &Snapshot| {
        let script = snapshot.by_pid(1010).unwrap().clone();
        let own = script.threads().value().unwrap()[0].total[IoCounter::WriteBytes];
        (script.io.total().value().unwrap()[IoCounter::WriteBytes], own)
    };
    assert_eq!(of(&second).0 - of(&first).0, 20_004_864 + 262_144);
    assert_eq!(of(&second).1, of(&first).1);
}

#[test]
fn counters_of_a_parent_that_reaps_all_the_time_are_unstable_and_not_wrong() {
    // Reads differ only on a live procfs; here the second look finds nothing it can use.
    let tree = Tree::of(1010);
    let mut collector = open(tree.0.path()).unwrap();
    let mut calls_of_io = Vec::new();
    let needs =
        Needs { measures: Measures { io: true, ..Measures::default() }, ..Needs::default() };
    let mut snapshot = Snapshot::default();
    collector.sweep(&needs, IdentityWait::No, &mut snapshot).unwrap();
    for n in 0.. {
        let (outcome, calls) =
            with_failure(n, Errno::IO, || collector.sweep(&needs, IdentityWait::No, &mut snapshot));
        if n >= calls {
            break;
        }
        if outcome.is_ok() && snapshot.processes.len() == 1 {
            calls_of_io.push(snapshot.processes[0].io.clone());
        }
    }
    let unstable = Reading::Absent(Absence::Unstable);
    let second_look_failed = calls_of_io.iter().filter(|io| io.total() == unstable);
    assert!(second_look_failed.count() >= 2, "opening and reading stat again");
    let is_one_moment = |io: &ProcessIo| io.total() != unstable || io.threads.value().is_none();
    assert!(calls_of_io.iter().all(is_one_moment));
}

#[test]
fn a_stat_that_cannot_be_read_is_an_unreadable_process_and_not_a_missing_one() {
    fn check(spoil: impl Fn(&Tree), expected: Trouble) {
        let tree = Tree::of(1011);
        spoil(&tree);
        let snapshot = tree.sweep();
        assert!(snapshot.processes.is_empty());
        assert_eq!(snapshot.unreadable_pids, [1011]);
        assert_eq!(snapshot.trouble, expected);
    }
    // The first sweep looks twice: once for the order, once for the record.
    check(
        |tree| fs::write(tree.path("1011/stat"), b"1011 (gzip) S 1\n").unwrap(),
        Trouble { malformed: 2, ..Trouble::default() },
    );
    check(
        |tree| fs::write(tree.path("1011/stat"), vec![b'1'; 100_000]).unwrap(),
        Trouble { truncated: 2, ..Trouble::default() },
    );
    check(
        |tree| {
            fs::remove_file(tree.path("1011/stat")).unwrap();
            fs::create_dir(tree.path("1011/stat")).unwrap();
        },
        Trouble { failed: 2, ..Trouble::default() },
    );
    check(
        |tree| fs::write(tree.path("1011/status"), b"Name:\tgzip\n").unwrap(),
        Trouble { malformed: 1, ..Trouble::default() },
    );
}

#[test]
fn state_x_and_a_process_without_threads_have_vanished() {
    fn check(from: &str, to: &str) {
        let tree = Tree::of(1011);
        let stat = fs::read_to_string(tree.path("1011/stat")).unwrap();
        let snapshot = tree.write("1011/stat", stat.replace(from, to)).sweep();
        assert!(snapshot.processes.is_empty() && snapshot.unreadable_pids.is_empty());
        assert_eq!(snapshot.trouble, Trouble { vanished: 1, ..Trouble::default() });
    }
    check("(gzip) R", "(gzip) X");
    check(" 20 0 1 0 ", " 20 0 0 0 ");
}

#[test]
fn every_reading_is_capped_and_the_cut_is_counted() {
    let tree = Tree::of(1011);
    let tree = tree.write("1011/cmdline", vec![b'x'; (64 << 10) + 1]);
    let mut environ = b"TAG_ENV_VAR=big\0".to_vec();
    environ.resize((8 << 20) + 1, b'=');
    let tree = tree.write("1011/environ", environ);
    let tree = tree.write("1011/io", vec![b'1'; 100_000]);
    let snapshot = tree.sweep();
    let process = &snapshot.processes[0];
    assert_eq!(bytes(&process.identity.cmdline).len(), 64 << 10);
    assert_eq!(process.identity.environment, Reading::Absent(Absence::TooLarge));
    assert_eq!(process.io.total(), Reading::Absent(Absence::TooLarge));
    assert_eq!(snapshot.trouble, Trouble { truncated: 3, ..Trouble::default() });
}

#[test]
fn text_that_is_not_in_its_format_spoils_its_field_alone() {
    fn check(file: &str, text: &str, absent: impl Fn(&ProcessSample) -> Option<Absence>) {
        let tree = Tree::of(1011).write(&format!("1011/{file}"), text);
        let snapshot = tree.sweep();
        let process = &snapshot.processes[0];
        assert_eq!(absent(process), Some(Absence::Malformed), "{file}");
        assert_eq!(snapshot.trouble, Trouble { malformed: 1, ..Trouble::default() }, "{file}");
    }
    check("statm", "1 2 3\n", |process| process.gauges.memory().absence());
    check("io", "rchar: 1\n", |process| process.io.total().absence());
    check("limits", "Limit\n", |process| process.gauges.seldom.fd_limit.absence());
    check("cgroup", "0:/\n", |process| process.identity.cgroup.absence());
    check("smaps_rollup", "Rss: 1 kB\n", |process| {
        process.gauges.seldom.proportional_memory.absence()
    });
}

#[test]
fn a_process_that_was_moved_is_found_in_its_new_group_within_sixteen_sweeps() {
    let tree = Tree::of(1011);
    let mut collector = open(tree.0.path()).unwrap();
    let mut snapshot = Snapshot::default();
    collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
    let _tree = tree.write("1011/cgroup", "0::/moved\n");
    for _ in 0..16 {
        collector.sweep(&everything(), IdentityWait::No, &mut snapshot).unwrap();
    }
    assert_eq!(bytes(&snapshot.processes[0].identity.cgroup), b"/moved");
}

#[test]
fn descriptors_are_held_within_their_budget_and_given_back() {
    let sleepers = Sleepers::start(3);
    let mut collector = open("/proc").unwrap();
    collector.held = HeldIo { owner: Some(rustix::process::geteuid().as_raw()), free: 2 };
    let needs =
        Needs { measures: Measures { io: true, ..Measures::default() }, ..Needs::default() };
    for _ in 0..2 {
        let samples = collector.read(&sleepers.pids(), &needs, IdentityWait::No).unwrap();
        assert!(samples.iter().flatten().all(|sample| sample.io.total().value().is_some()));
        let held = collector.known.iter().filter(|known| known.by_procfs().held_io.is_some());
        assert_eq!((held.count(), collector.held.free), (2, 0));
    }
    drop(sleepers);
    let mut snapshot = Snapshot::default();
    collector.held.owner = None;
    collector.sweep(&needs, IdentityWait::No, &mut snapshot).unwrap();
    assert_eq!(collector.held.free, 2);
}

#[test]
fn a_collector_can_be_handed_to_another_thread() {
    fn check<T: Send>(_: &T) {}
    check(&open(SERVICES).unwrap());
}

#[test]
fn a_tree_that_does_not_know_the_machines_memory_is_refused() {
    let tree = Tree::of(1011);
    fs::remove_file(tree.path("meminfo")).unwrap();
    let error = open(tree.0.path()).unwrap_err();
    assert!(error.to_string().contains("`memory_total_bytes`"), "{error}");
}

#[test]
fn what_a_sweep_did_not_reach_is_counted_once_and_in_that_sweep() {
    let mut collector = open("/proc").unwrap();
    collector.sockets = Some(SocketSource::open(Duration::ZERO));
    let mut needs = Needs::default();
    let own = [std::process::id()];
    let mut unreached = |sockets: bool| {
        needs.measures.sockets = sockets;
        collector.read(&own, &needs, IdentityWait::No).unwrap();
        collector.trouble().unreached_sockets
    };
    assert_eq!([true, true, false, true].map(&mut unreached), [1, 1, 0, 1]);
}

#[test]
fn single_processes_are_read_in_the_order_asked_for() {
    let mut collector = open(SERVICES).unwrap();
    let samples = collector.read(&[950, 7, 1, 950, 0], &everything(), IdentityWait::No).unwrap();
    let pids: Vec<_> = samples.iter().map(|sample| Some(sample.as_ref()?.key.pid)).collect();
    assert_eq!(pids, [Some(950), None, Some(1), Some(950), None]);
}

/// What one process is and has, as comparable text; a field that is absent because a call
/// failed is a question mark.
fn fields(process: &ProcessSample) -> Vec<String> {
    fn field<T: std::fmt::Debug>(reading: &Reading<T>) -> String {
        match reading {
            Reading::Absent(Absence::Failed(_) | Absence::Unstable) => "?".to_owned(),
            reading => format!("{reading:?}"),
        }
    }
    let Identity { comm, uid, executable, cmdline, environment, cgroup, .. } = &*process.identity;
    let Identity { is_environment_incomplete, is_kernel_thread, .. } = &*process.identity;
    let gauges = &process.gauges;
    vec![
        format!("{:?} {} {:?} {comm:?} {uid}", process.key, process.parent_pid, process.state),
        format!("{:?}", process.usage),
        field(executable),
        field(cmdline),
        field(environment),
        format!("{is_environment_incomplete} {is_kernel_thread}"),
        field(cgroup),
        field(&process.io.total()),
        field(&process.threads()),
        field(&gauges.memory()),
        field(&gauges.seldom.proportional_memory),
        field(&gauges.seldom.swap_bytes),
        field(&gauges.threads),
        field(&gauges.fds),
        field(&gauges.seldom.fd_limit),
        field(&gauges.context_switches),
        field(&gauges.seldom.sockets),
    ]
}

/// Every process but one is as it was; that one is missing and counted, or lacks fields and
/// that is counted, or one that nobody knew to be a parent lacks its threads.
fn assert_one_loss(n: u64, errno: Errno, found: &Snapshot, whole: &Snapshot) {
    let context = format!("call {n} failed with {errno:?}");
    let mut spoiled = 0;
    for expected in &whole.processes {
        let pid = expected.key.pid;
        let Some(process) = found.by_pid(pid) else {
            assert_eq!(found.unreadable_pids, [pid], "{context}");
            spoiled += 1;
            continue;
        };
        let pairs: Vec<_> = fields(process).into_iter().zip(fields(expected)).collect();
        let unread = format!("{:?}", Reading::<u64>::Absent(Absence::NotRequested));
        for (now, then) in &pairs {
            assert!(
                now == then || now == "?" || *now == unread,
                "{context}: {pid}: {now}, was {then}"
            );
        }
        spoiled += u64::from(pairs.iter().any(|(now, then)| now != then));
    }
    assert_eq!(found.processes.len() + found.unreadable_pids.len(), whole.processes.len());
    assert!(spoiled <= 1, "{context}: {spoiled} processes spoiled");
    let is_counted = found.trouble.failed > whole.trouble.failed;
    assert!(spoiled == 0 || is_counted || has_unstable(found), "{context}: {:?}", found.trouble);
}

fn has_unstable(snapshot: &Snapshot) -> bool {
    let unstable = Some(Absence::Unstable);
    snapshot.processes.iter().any(|process| process.io.total().absence() == unstable)
}

#[test]
fn any_system_call_over_a_frozen_tree_may_fail() {
    // One of each kind: kernel thread, parent and child, threads, zombie, exited main thread.
    let tree = Tree::of_some(&[2, 801, 802, 950, 1020, 1030]);
    let whole = tree.sweep();
    for errno in [Errno::IO, Errno::MFILE, Errno::NOMEM, Errno::INTR] {
        let mut errors = 0;
        for n in 0.. {
            let (outcome, calls) = with_failure(n, errno, || sweep(tree.0.path(), &everything()));
            if n >= calls {
                assert!(calls > 200, "the whole tree was read");
                break;
            }
            match outcome {
                Ok(snapshot) if errno == Errno::INTR => {
                    let of = |snapshot: &Snapshot| {
                        snapshot.processes.iter().map(fields).collect::<Vec<_>>()
                    };
                    assert_eq!(of(&snapshot), of(&whole), "call {n} was interrupted");
                    assert_eq!(snapshot.trouble, whole.trouble);
                }
                Ok(snapshot) => assert_one_loss(n, errno, &snapshot, &whole),
                Err(error) => {
                    assert!(errno != Errno::INTR, "call {n}: {error}");
                    errors += 1;
                }
            }
        }
        assert!(errors > 0 || errno == Errno::INTR, "a procfs that cannot be listed is an error");
        assert!(errors < 20, "{errors} calls were too important");
    }
}

/// Processes that sleep until they are dropped.
struct Sleepers(Vec<std::process::Child>);

impl Sleepers {
    fn start(count: usize) -> Self {
        let start = |_| std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let sleepers = Sleepers((0..count).map(start).collect());
        for child in &sleepers.0 {
            // Until it has executed sleep and sleeps, its fields move.
            let path = format!("/proc/{}/stat", child.id());
            while !fs::read_to_string(&path).unwrap().contains("(sleep) S") {
                std::thread::yield_now();
            }
        }
        sleepers
    }

    fn pids(&self) -> Vec<u32> {
        self.0.iter().map(std::process::Child::id).collect()
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

#[test]
fn any_system_call_over_live_processes_may_fail() {
    let sleepers = Sleepers::start(3);
    let pids = sleepers.pids();
    let mut needs = everything();
    // Read by others, whose calls are not ours to fail.
    needs.measures.proportional_memory = false;
    let collect = || {
        let mut collector = open("/proc")?;
        // The second reading is of known processes.
        collector.read(&pids[..1], &needs, IdentityWait::UpTo(Duration::from_secs(10)))?;
        let read = collector.read(&pids, &needs, IdentityWait::UpTo(Duration::from_secs(10)))?;
        let processes: Vec<_> = read.into_iter().flatten().collect();
        let trouble = collector.trouble();
        Ok::<_, CollectError>((processes, trouble))
    };
    let (whole, _) = collect().unwrap();
    assert_eq!(whole.len(), 3);
    for errno in [Errno::IO, Errno::MFILE, Errno::NOMEM, Errno::INTR] {
        for n in 0.. {
            let (outcome, calls) = with_failure(n, errno, collect);
            if n >= calls {
                assert!(calls > 60, "all three were read");
                break;
            }
            let Ok((processes, trouble)) = outcome else {
                assert!(errno != Errno::INTR, "call {n}");
                continue;
            };
            let expected = whole
                .iter()
                .filter(|process| processes.iter().any(|found| found.key == process.key));
            let mut spoiled = whole.len() - processes.len();
            for (found, expected) in processes.iter().zip(expected) {
                for (now, then) in fields(found).iter().zip(fields(expected)) {
                    assert!(*now == then || now == "?", "call {n}, {errno:?}: {now}, was {then}");
                    spoiled += usize::from(*now != then);
                }
            }
            assert!(spoiled <= 1, "call {n}, {errno:?}");
            assert!(spoiled == 0 || trouble.failed == 1, "call {n}, {errno:?}: {trouble:?}");
            assert!(spoiled == 0 || errno != Errno::INTR, "call {n}");
        }
    }
}

#[test]
fn a_roll_call_names_whom_a_sweep_sees_and_asks_for_users_only_when_told() {
    let snapshot = services();
    let roll_call = |wanted: &dyn Fn(&ProcessSample) -> bool| -> Vec<u32> {
        let wanted = snapshot.processes.iter().filter(|process| wanted(process));
        wanted.map(|process| process.key.pid).collect()
    };
    let mut collector = open(SERVICES).unwrap();
    let all = collector.pids_where(|_| true).unwrap();
    assert_eq!(all, roll_call(&|_| true));
    let Some(first) = snapshot.processes.first() else { panic!("the tree is empty") };
    let (comm, uid) = (&*first.identity.comm, first.identity.uid);
    let named = collector.pids_where(|candidate| candidate.has_name(|name| name == comm)).unwrap();
    assert_eq!(named, roll_call(&|process| *process.identity.comm == *comm));
    let owned = collector.pids_where(|candidate| candidate.uid() == Some(uid)).unwrap();
    assert_eq!(owned, roll_call(&|process| process.identity.uid == uid));
}

#[test]
fn what_others_hold_is_not_read_but_what_they_did_is() {
    let whole = services();
    let Some(chosen) = whole.processes.first().map(|process| process.key) else {
        panic!("the tree is empty")
    };
    let mut snapshot = Snapshot::default();
    let mut collector = open(SERVICES).unwrap();
    let is_chosen = |key: ProcessKey, _: &Identity| key == chosen;
    let (needs, wait) = (everything(), IdentityWait::No);
    collector.sweep_of_interest(&needs, &is_chosen, wait, &mut snapshot).unwrap();
    assert_eq!(snapshot.processes.len(), whole.processes.len());
    for (process, full) in snapshot.processes.iter().zip(&whole.processes) {
        assert_eq!((process.key, &process.usage, &process.io), (full.key, &full.usage, &full.io));
        let memory = process.gauges.memory();
        if process.key == chosen {
            assert_eq!(memory, full.gauges.memory());
        } else {
            assert_eq!(memory, Reading::Absent(Absence::NotRequested));
        }
    }
}
