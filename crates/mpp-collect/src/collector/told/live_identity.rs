//! Who a process is, as far as that is believed and as far as it is looked at.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use mpp_accounting::process::{Absence, IdentityNeeds, Reading};
use rustix::io::Errno;

use crate::collector::live_holdings::{Holder, Watch};
use crate::needs::{ContextSwitchNeeds, Measures, Needs};
use crate::sys::fault::with_failure;

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

/// The last word of a command line, as a sweep tells it.
fn last_word(watch: &Watch) -> Option<Vec<u8>> {
    let process = watch.watched().next().unwrap();
    let cmdline = process.identity.cmdline.value()?;
    cmdline.split(|byte| *byte == 0).rev().find(|word| !word.is_empty()).map(<[u8]>::to_vec)
}

/// A shell that executes itself anew with each line that it reads, as its last word.
struct Renewed(Child);

impl Renewed {
    fn start() -> Self {
        const SCRIPT: &str = "read word; exec sh -c \"$0\" \"$0\" \"$word\"";
        let mut command = Command::new("sh");
        let command = command.args(["-c", SCRIPT, SCRIPT, "first"]).stdin(Stdio::piped());
        Renewed(command.spawn().unwrap())
    }

    /// Waits until it runs with this word.
    fn execute(&mut self, word: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{word}").unwrap();
        let path = format!("/proc/{}/cmdline", self.0.id());
        while !std::fs::read(&path).unwrap().ends_with(format!("\0{word}\0").as_bytes()) {
            std::thread::yield_now();
        }
    }
}

impl Drop for Renewed {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn whoever_could_not_be_looked_at_after_an_exec_is_looked_at_again() {
    let mut shell = Renewed::start();
    let Some(mut watch) = Watch::by_programs(shell.0.id()) else { return };
    let identity = IdentityNeeds { cmdline: true, executable: true, ..IdentityNeeds::default() };
    let needs = Needs { identity, ..Needs::default() };
    watch.look_for(&needs);
    let (mut n, mut missed) = (0, 0);
    // Who else began or ended meanwhile takes calls, too: not each time all are met.
    for round in 0..1000 {
        let word = format!("word-{round}");
        shell.execute(&word);
        let (_, calls) = with_failure(n, Errno::MFILE, || watch.look_for(&needs));
        n = if n >= calls { 0 } else { n + 1 };
        let known = last_word(&watch);
        assert!(
            known.is_none_or(|known| known == word.as_bytes()),
            "call {n} of {calls}: an old word"
        );
        let executable = &watch.watched().next().unwrap().identity.executable;
        let failed = Absence::Failed(Errno::MFILE.raw_os_error());
        missed += usize::from(executable.absence() == Some(failed));
        let is_known_again = (0..20).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(5));
            watch.look_for(&needs);
            last_word(&watch).is_some_and(|known| known == word.as_bytes())
        });
        assert!(is_known_again, "call {n}: {:?}", watch.watched().next().unwrap().identity);
        if missed == 3 {
            return;
        }
    }
    panic!("it could be looked at though every call has failed: {missed}");
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
