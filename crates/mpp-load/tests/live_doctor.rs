//! `mpp doctor` and `mpp show` with exactly these capabilities, and in namespaces of their own:
//! the right tier, the right sentence and cure, and a self test that is exact where it says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

mod support;

use std::process::{Command, Stdio};

use support::stranger::{Place, is_root, nobody_with, unshared};

/// What a refused system call may return, errno(3).
#[derive(Clone, Copy)]
enum Errno {
    Perm = 1,
    Invalid = 22,
    NoSuchCall = 38,
}

/// What doctor says when it is started by this command; `None` where that may not be.
fn doctor(place: &Place, starter: &[String]) -> Option<String> {
    let (first, rest) = starter.split_first().unwrap();
    let mut command = Command::new(first);
    command.args(rest).arg(place.program("mpp")).arg("doctor").stdin(Stdio::null());
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Words before a command to which calls of bpf(2) are refused with this errno.
fn refusing_bpf(place: &Place, calls: &str, errno: Errno) -> Vec<String> {
    let program = place.program("mpp-load").to_str().unwrap().to_owned();
    let number = (errno as i32).to_string();
    [program, "refuse-bpf".to_owned(), calls.to_owned(), number].to_vec()
}

/// Behind a mount of our own, made by these shell commands.
fn covering(mounts: &str) -> Vec<String> {
    let script = format!("{mounts} && exec \"$@\"");
    let shell = ["--mount", "--propagation", "private", "sh", "-c", &script, "sh"];
    unshared(&shell)
}

/// What the file system of a container has, and that of a machine that was made from one.
const IMAGE_MARKS: [&str; 2] = ["/.dockerenv", "/run/.containerenv"];

/// Doctor, started like this, says all of these sentences.
fn check(place: &Place, starter: &[String], tier: &str, sentences: &[&str]) {
    let Some(page) = doctor(place, starter) else {
        eprintln!("{starter:?} is not to be had here");
        assert!(!is_root(), "root may");
        return;
    };
    let head = format!("tier          {tier} ");
    assert!(page.contains(&head), "{starter:?}: expected `{head}` in\n{page}");
    for sentence in sentences {
        assert!(page.contains(sentence), "{starter:?}: expected `{sentence}` in\n{page}");
    }
    let is_there = |mark: &str| std::path::Path::new(mark).exists();
    let is_image = IMAGE_MARKS.into_iter().any(is_there);
    let is_container = is_there("/run/systemd/container")
        || (is_image && starter.iter().any(|word| word == "--pid"))
        || ["container", "KUBERNETES_SERVICE_HOST"].iter().any(|name| std::env::var(name).is_ok())
        || starter.iter().any(|word| word.starts_with("container="));
    assert!(is_container || !page.contains("docker"), "{starter:?}: containers only in containers");
    let cures = page.matches("setcap").count();
    assert!(cures <= 1, "{starter:?}: two commands that undo each other in\n{page}");
    let counted = page.lines().find(|line| line.contains("self test: 50 children")).unwrap();
    assert!(counted.starts_with("ok "), "{page}");
    assert!(counted.ends_with(&format!("(tier {tier})")), "{counted}");
    let exact = counted.contains("wrote 58575 bytes and ended, 58575 were counted");
    assert!(exact || tier != "A", "exact means exact: {counted}");
}

const NO_BPF: &str = "A: CAP_BPF and CAP_PERFMON are missing: BPF programs may not be loaded";
/// All of it in one command: of two the later would take away what the first gave.
const CURE: &str = "$ sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_net_admin,cap_sys_admin+ep /";
/// The same where the rounded records are to be had, unless they are held.
const CURE_BUT_NET: &str =
    "$ sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search,cap_sys_admin+ep /";
const NO_TASKSTATS: &str = "B: the kernel tells of ended threads only whoever has CAP_NET_ADMIN";

#[test]
fn exactly_these_capabilities_give_exactly_this_tier() {
    let place = Place::for_everybody();
    let held = "capabilities  CAP_BPF, CAP_PERFMON";
    check(&place, &nobody_with(&["bpf", "perfmon"]), "A", &[held, CURE_BUT_NET]);
    let by_thread = "could be read; others' I/O is told by thread, rounded down to KiB";
    check(&place, &nobody_with(&["net_admin"]), "B", &[NO_BPF, CURE, by_thread]);
    // A file of another user is opened before anybody asks for the right to trace.
    let unread = ["needs CAP_DAC_READ_SEARCH", CURE];
    check(&place, &nobody_with(&["net_admin", "sys_ptrace"]), "B", &unread);
    let alone = "A: CAP_PERFMON is missing: BPF programs may not look at tasks";
    check(&place, &nobody_with(&["bpf", "net_admin"]), "B", &[alone]);
    let sentences = [NO_BPF, NO_TASKSTATS, CURE];
    check(&place, &nobody_with(&[]), "C", &sentences);
}

#[test]
fn namespaces_of_its_own_are_named() {
    let place = Place::for_everybody();
    let pid = "A: this is a PID namespace of its own, which sees only a part of the processes";
    let host_only = "B: the kernel tells of ended threads only in the host's user and PID";
    let starter = unshared(&["--pid", "--fork", "--mount-proc"]);
    check(&place, &starter, "C", &[pid, host_only]);
    let delays = "missing  time that processes wait (delays): not told to whoever";
    let user = "A: this is a user namespace of its own, whose capabilities do not reach the kernel";
    check(&place, &unshared(&["--user", "--map-root-user"]), "C", &[user, host_only, delays]);
    let starter = ["env", "container=mine"].map(str::to_owned).to_vec();
    let starter = [starter, unshared(&["--pid", "--fork", "--mount-proc"])].concat();
    check(&place, &starter, "C", &[pid, "$ docker run --cap-add BPF", "--pid host --network host"]);
    // The programs of tier A do not ask for a network; taskstats do.
    check(&place, &unshared(&["--net"]), "A", &[]);
    let starter = [unshared(&["--net"]), nobody_with(&["net_admin"])].concat();
    check(&place, &starter, "C", &[NO_BPF, "B: ", "network namespace"]);
}

#[test]
fn an_image_that_boots_as_a_machine_is_no_container() {
    let place = Place::for_everybody();
    let outside = ["env", "-u", "container", "-u", "KUBERNETES_SERVICE_HOST"].map(str::to_owned);
    let image = covering("mount -t tmpfs none /run && touch /run/.containerenv");
    let says_docker = |namespaces: &[&str]| {
        let page = doctor(&place, &[&outside[..], &image, &unshared(namespaces)].concat())?;
        Some(page.contains("docker run"))
    };
    // A user namespace alone makes no container.
    let machine = says_docker(&["--user", "--map-root-user"]);
    let container = says_docker(&["--pid", "--fork", "--mount-proc"]);
    match is_root() {
        true => assert_eq!((machine, container), (Some(false), Some(true))),
        false => assert_eq!((machine, container), (None, None)),
    }
}

#[test]
fn what_keeps_programs_out_of_the_kernel_is_named() {
    let place = Place::for_everybody();
    if !is_root() {
        // Whoever may not load programs anyway is told that first.
        check(&place, &refusing_bpf(&place, "all", Errno::Perm), "C", &[NO_BPF, CURE]);
        return;
    }
    let sentences = ["A: a seccomp filter refuses the system call bpf(2)"];
    check(&place, &refusing_bpf(&place, "all", Errno::Perm), "B", &sentences);
    check(&place, &refusing_bpf(&place, "all", Errno::NoSuchCall), "B", &sentences);
    let behind = |mounts, refused: Vec<String>| [covering(mounts), refused].concat();
    let locked = "mount -t tmpfs none /sys/kernel && mkdir /sys/kernel/security && \
        echo 'none integrity [confidentiality]' > /sys/kernel/security/lockdown";
    let sentence = "A: the kernel is locked down (confidentiality), so no program may read its";
    check(&place, &behind(locked, refusing_bpf(&place, "all", Errno::Perm)), "B", &[sentence]);
    let sentence = "A: the kernel does not describe its own types (CONFIG_DEBUG_INFO_BTF)";
    check(
        &place,
        &behind(NO_TYPES, refusing_bpf(&place, "loads", Errno::Invalid)),
        "B",
        &[sentence],
    );
    let old = ["setarch".to_owned(), "--uname-2.6".to_owned()].to_vec();
    let starter = [old, refusing_bpf(&place, "loads", Errno::Invalid)].concat();
    let sentence = "A: Linux 2.6 is too old: programs fit themselves to the kernel since 5.17";
    check(&place, &starter, "B", &[sentence]);
}

/// Hides the file in which the kernel describes its types.
const NO_TYPES: &str = "mount -t tmpfs none /sys/kernel/btf";

#[test]
fn types_that_only_this_program_cannot_see_cost_nothing() {
    let place = Place::for_everybody();
    let seen = "ok       types of the kernel (BTF): /sys/kernel/btf/vmlinux: No such file";
    let shown = "; but the kernel has them, since it has taken our programs";
    check(&place, &covering(NO_TYPES), "A", &[seen, shown]);
}
