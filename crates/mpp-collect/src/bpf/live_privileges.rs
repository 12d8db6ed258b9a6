//! What it takes to load the programs, tried with exactly that: capabilities of a thread, and
//! namespaces of a process.

use std::process::Command;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::tests::{INNER, again, open};
use super::*;

/// Tries with these capabilities and no others, in a thread that has them alone.
fn check(held: CapabilitySet, expected: &Result<(), Refusal>) {
    let own = capabilities(None).unwrap();
    if !own.permitted.contains(CapabilitySet::BPF | CapabilitySet::PERFMON) {
        eprintln!("this test needs CAP_BPF and CAP_PERFMON to give them away");
        assert!(open(&BpfOptions::default()).is_none());
        return;
    }
    let tries = move || {
        let sets = CapabilitySets { effective: held, permitted: held, ..own };
        set_capabilities(None, sets).unwrap();
        Bpf::open(&BpfOptions::default()).map(|mut bpf| {
            let mut processes = 0;
            bpf.read_tasks(&mut |task| processes += u32::from(task.process().is_some())).unwrap();
            assert!(processes > 2, "the first process, the kernel's and this one");
            bpf.drain_exits(&mut |_| ()).unwrap();
            bpf.lost().unwrap();
        })
    };
    let found = std::thread::spawn(tries).join().unwrap();
    assert_eq!(&found, expected, "{held:?}");
}

#[test]
fn two_capabilities_are_enough() {
    check(CapabilitySet::BPF | CapabilitySet::PERFMON, &Ok(()));
}

#[test]
fn either_one_alone_is_refused_by_the_name_of_the_other() {
    check(CapabilitySet::BPF, &Err(Refusal::MissingPerfmon));
    check(CapabilitySet::PERFMON, &Err(Refusal::MissingBpf));
    check(CapabilitySet::NET_ADMIN, &Err(Refusal::MissingBoth));
}

/// Runs one test of this program again, inside new namespaces.
fn in_namespaces(options: &[&str], test: &str) {
    if let Some(why) = again(test, Command::new("unshare").args(options)) {
        eprintln!("{why}");
        let is_root = rustix::process::geteuid().is_root();
        assert!(!is_root || options.contains(&"--user"), "{why}");
    }
}

#[test]
fn a_pid_namespace_of_its_own_is_refused() {
    if std::env::var_os(INNER).is_some() {
        assert_eq!(Bpf::open(&BpfOptions::default()).err(), Some(Refusal::PidNamespace));
        return;
    }
    let test = "bpf::live_privileges::a_pid_namespace_of_its_own_is_refused";
    in_namespaces(&["--pid", "--fork"], test);
}

#[test]
fn capabilities_of_a_user_namespace_of_its_own_do_not_count() {
    if std::env::var_os(INNER).is_some() {
        let refusal = Bpf::open(&BpfOptions::default()).err();
        assert_eq!(refusal, Some(Refusal::UserNamespace));
        return;
    }
    let test = "bpf::live_privileges::capabilities_of_a_user_namespace_of_its_own_do_not_count";
    in_namespaces(&["--user", "--map-root-user"], test);
}
