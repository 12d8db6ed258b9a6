//! `mpp doctor` and `mpp show` with exactly these capabilities, and in namespaces of their own:
//! the right tier, the right sentence and cure, and a self test that is exact where it says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use support::mpp;

/// A copy of the program where anybody may execute it.
struct Place(tempfile::TempDir);

impl Place {
    fn for_everybody() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        fs::copy(mpp().get_program(), folder.path().join("mpp")).unwrap();
        Place(folder)
    }

    fn program(&self) -> PathBuf {
        self.0.path().join("mpp")
    }

    /// What doctor says when it is started by this command; `None` where that may not be.
    fn doctor(&self, starter: &[String]) -> Option<String> {
        let (first, rest) = starter.split_first().unwrap();
        let mut command = Command::new(first);
        command.args(rest).arg(self.program()).arg("doctor").stdin(Stdio::null());
        let output = command.output().ok()?;
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }
}

/// `nobody` with these capabilities and no others.
fn nobody_with(capabilities: &[&str]) -> Vec<String> {
    let mut set = "-all".to_owned();
    capabilities.iter().for_each(|capability| set.push_str(&format!(",+{capability}")));
    let user = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let mut starter: Vec<String> = user.map(str::to_owned).into();
    starter.extend([format!("--inh-caps={set}"), format!("--ambient-caps={set}")]);
    starter
}

fn unshared(options: &[&str]) -> Vec<String> {
    ["unshare"].iter().chain(options).map(|&word| word.to_owned()).collect()
}

/// Doctor, started like this, says all of these sentences.
fn check(place: &Place, starter: &[String], tier: &str, sentences: &[&str]) {
    let Some(page) = place.doctor(starter) else {
        eprintln!("{starter:?} is not to be had here");
        assert_ne!(fs::metadata("/proc/self").unwrap().uid(), 0, "root may");
        return;
    };
    let head = format!("tier          {tier} ");
    assert!(page.contains(&head), "{starter:?}: expected `{head}` in\n{page}");
    for sentence in sentences {
        assert!(page.contains(sentence), "{starter:?}: expected `{sentence}` in\n{page}");
    }
    let counted = page.lines().find(|line| line.contains("self test: 50 children")).unwrap();
    assert!(counted.starts_with("ok "), "{page}");
    assert!(counted.ends_with(&format!("(tier {tier})")), "{counted}");
    let exact = counted.contains("wrote 58575 bytes and ended, 58575 were counted");
    assert!(exact || tier != "A", "exact means exact: {counted}");
}

const NO_BPF: &str = "A: CAP_BPF and CAP_PERFMON are missing: BPF programs may not be loaded";
const BPF_CURE: &str = "$ sudo setcap cap_bpf,cap_perfmon+ep";
const NO_TASKSTATS: &str = "B: the kernel tells of ended threads only whoever has CAP_NET_ADMIN";
const TASKSTATS_CURE: &str = "$ sudo setcap cap_net_admin,cap_sys_ptrace";

#[test]
fn exactly_these_capabilities_give_exactly_this_tier() {
    let place = Place::for_everybody();
    check(&place, &nobody_with(&["bpf", "perfmon"]), "A", &["capabilities  CAP_BPF, CAP_PERFMON"]);
    check(&place, &nobody_with(&["net_admin"]), "B", &[NO_BPF, BPF_CURE]);
    // A file of another user is opened before anybody asks for the right to trace.
    let unread = ["needs CAP_DAC_READ_SEARCH", "$ sudo setcap cap_sys_ptrace,cap_dac_read_search"];
    check(&place, &nobody_with(&["net_admin", "sys_ptrace"]), "B", &unread);
    let alone = "A: CAP_PERFMON is missing: BPF programs may not look at tasks";
    check(&place, &nobody_with(&["bpf", "net_admin"]), "B", &[alone]);
    let sentences = [NO_BPF, BPF_CURE, NO_TASKSTATS, TASKSTATS_CURE];
    check(&place, &nobody_with(&[]), "C", &sentences);
}

#[test]
fn namespaces_of_its_own_are_named() {
    let place = Place::for_everybody();
    let container = "$ docker run --cap-add NET_ADMIN --pid host --network host IMAGE";
    let pid = "A: this is a PID namespace of its own, which sees only a part of the processes";
    let host_only = "B: the kernel tells of ended threads only in the host's user and PID";
    let starter = unshared(&["--pid", "--fork", "--mount-proc"]);
    check(&place, &starter, "C", &[pid, host_only, container]);
    let user = "A: this is a user namespace of its own, whose capabilities do not reach the kernel";
    check(&place, &unshared(&["--user", "--map-root-user"]), "C", &[user, host_only, container]);
    // The programs of tier A do not ask for a network; taskstats do.
    check(&place, &unshared(&["--net"]), "A", &[]);
    let starter = [unshared(&["--net"]), nobody_with(&["net_admin"])].concat();
    check(&place, &starter, "C", &[NO_BPF, "B: ", "network namespace", container]);
}
