//! Who a process is, as far as that is believed and as far as it is looked at.

use mpp_accounting::process::{Absence, IdentityNeeds, Reading};

use crate::collector::live_holdings::{Holder, Watch};
use crate::needs::{ContextSwitchNeeds, Measures, Needs};

#[test]
fn what_is_wanted_later_of_a_process_that_was_believed_is_read_then() {
    let Some(mut watch) = Watch::by_programs(std::process::id()) else { return };
    let measures = Measures { fds: true, ..Measures::default() };
    let mut needs = Needs { measures, ..Needs::default() };
    watch.look_for(&needs);
    let process = watch.watched().next().unwrap();
    let comm = std::fs::read("/proc/self/comm").unwrap();
    assert_eq!(&*process.identity.comm, comm.trim_ascii_end());
    assert_eq!(process.identity.executable, Reading::Absent(Absence::NotRequested));
    assert!(process.gauges.fds.value().is_some(), "interest was asked when it was known who");
    needs.identity = IdentityNeeds { executable: true, ..IdentityNeeds::default() };
    watch.look_for(&needs);
    let executable = watch.watched().next().unwrap().identity.executable.clone();
    let own = std::fs::read_link("/proc/self/exe").unwrap();
    assert_eq!(executable.value().unwrap()[..], *own.into_os_string().into_encoded_bytes());
}

#[test]
fn switches_of_the_main_thread_are_its_own_and_of_all_threads_more() {
    let Some(mut watch) = Watch::by_programs(std::process::id()) else { return };
    let other = std::thread::spawn(|| {
        for _ in 0..100 {
            std::thread::sleep(std::time::Duration::from_micros(10));
        }
        std::thread::park();
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut switches = |context_switches| {
        let measures = Measures { context_switches, ..Measures::default() };
        watch.look_for(&Needs { measures, ..Needs::default() });
        let process = watch.watched().next().unwrap();
        process.gauges.context_switches.value().unwrap().voluntary
    };
    let (main, all) =
        (switches(ContextSwitchNeeds::MainThread), switches(ContextSwitchNeeds::AllThreads));
    assert!(all >= main + 100, "{main} of {all}");
    other.thread().unpark();
    other.join().unwrap();
}

#[test]
fn who_forked_a_process_stays_known_however_often_that_has_run() {
    let Some(mut watch) = Watch::by_programs(std::process::id()) else { return };
    let mut holder = Holder::start();
    watch.pids = vec![holder.child.id()];
    let context_switches = ContextSwitchNeeds::AllThreads;
    let measures = Measures { context_switches, ..Measures::default() };
    let needs = Needs { measures, ..Needs::default() };
    let mut switches = Vec::new();
    for look in 0..20 {
        holder.tell("listen");
        watch.look_for(&needs);
        let process = watch.watched().next().unwrap();
        let forker = process.lineage.forked_by().map(|forker| forker.pid);
        assert_eq!(forker, Some(std::process::id()), "in look {look}");
        switches.push(process.gauges.context_switches.value().unwrap().voluntary);
    }
    // It may answer before it waits again, but it has run between the first look and the last.
    assert!(switches.first() < switches.last(), "{switches:?}");
}
