//! With which words those were executed that no sweep saw, or that became somebody else after it:
//! their own, or none, and never those of whoever forked them.

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

use std::io::Write;
use std::process::{Child, Command, Stdio};

use mpp_accounting::exit::{ExitSource, ProcessExit};
use mpp_accounting::process::{Absence, IdentityNeeds, Reading};
use mpp_accounting::snapshot::Snapshot;
use mpp_collect::exits::ExitRoom;
use mpp_collect::{Collector, CollectorOptions, IdentityWait, Needs};

/// Sweeps by our own programs in the kernel.
struct Watch {
    collector: Collector,
    snapshot: Snapshot,
}

impl Watch {
    /// `None` where this test lacks the privilege.
    fn start(exit_room: ExitRoom) -> Option<Self> {
        let exits = ExitSource::Exact;
        let options = CollectorOptions { exits, exit_room, ..CollectorOptions::default() };
        let collector = Collector::open(options).unwrap();
        if collector.exit_source() != exits {
            assert!(!collector.refusals().is_empty());
            eprintln!("refused: {:?}", collector.refusals());
            return None;
        }
        let mut watch = Watch { collector, snapshot: Snapshot::default() };
        watch.look();
        Some(watch)
    }

    fn look(&mut self) {
        let identity =
            IdentityNeeds { cmdline: true, executable: true, ..IdentityNeeds::default() };
        let needs = Needs { identity, ..Needs::default() };
        let wait = IdentityWait::UpTo(std::time::Duration::from_secs(5));
        self.collector.sweep(&needs, wait, &mut self.snapshot).unwrap();
    }

    fn ended(&self) -> &[ProcessExit] {
        &self.snapshot.exits.processes
    }
}

fn shell(script: &str, word: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script, word]).stdin(Stdio::piped()).spawn().unwrap()
}

fn await_file(path: &str, is_there: impl Fn(&[u8]) -> bool) {
    while !std::fs::read(path).is_ok_and(|bytes| is_there(&bytes)) {
        std::thread::yield_now();
    }
}

#[test]
fn whoever_executed_what_found_no_room_has_no_words_and_not_those_of_its_parent() {
    // Room for 565 ends, and for 32 execs with such a word; others end meanwhile, too.
    let Some(mut watch) = Watch::start(ExitRoom { ring_bytes: 256 << 10, ..ExitRoom::default() })
    else {
        return;
    };
    let word = "x".repeat(3900);
    let script = "for n in $(seq 90); do /bin/true \"$0\"; done";
    let mut parent = shell(script, &word);
    let pid = parent.id();
    parent.wait().unwrap();
    watch.look();
    let own = Reading::Value(Box::from(format!("/bin/true\0{word}\0").as_bytes()));
    let gone = Reading::Absent(Absence::Vanished);
    let is_child =
        |end: &&ProcessExit| end.sample.parent_pid == pid && *end.sample.identity.comm == *b"true";
    let mut untold = 0;
    for end in watch.ended().iter().filter(is_child) {
        let identity = &end.sample.identity;
        let is_untold = identity.cmdline == gone && identity.executable == gone.clone();
        assert!(is_untold || identity.cmdline == own, "{identity:?}");
        untold += usize::from(is_untold);
    }
    assert!(untold > 0, "all found room");
}

#[test]
fn a_subshell_whose_shell_became_another_program_has_not_its_words() {
    let Some(mut watch) = Watch::start(ExitRoom::default()) else { return };
    let script = "exec 3<&0; (read word <&3) & exec sleep 1000";
    let mut forker = shell(script, "sh");
    let pid = forker.id();
    await_file(&format!("/proc/{pid}/comm"), |comm| comm == b"sleep\n");
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let subshell: u32 = children.trim().parse().unwrap();
    drop(forker.stdin.take());
    await_file(&format!("/proc/{subshell}/stat"), |stat| stat.windows(3).any(|at| at == b") Z"));
    forker.kill().unwrap();
    forker.wait().unwrap();
    // Whoever takes in the orphan reaps it.
    while std::fs::exists(format!("/proc/{subshell}")).unwrap() {
        std::thread::yield_now();
    }
    watch.look();
    let of = |pid| watch.ended().iter().find(|end| end.sample.key.pid == pid).unwrap();
    let words = of(pid).sample.identity.cmdline.clone();
    assert_eq!(words, Reading::Value(Box::from(*b"sleep\x001000\0")));
    let identity = &of(subshell).sample.identity;
    assert_eq!(*identity.comm, *b"sh");
    assert_eq!(identity.cmdline, Reading::Absent(Absence::Vanished));
    assert_eq!(identity.executable, Reading::Absent(Absence::Vanished));
}

#[test]
fn whoever_executed_something_of_the_same_name_after_it_was_seen_ends_with_the_new_words() {
    const SCRIPT: &str = "read word; exec sh -c 'read word' second";
    let Some(mut watch) = Watch::start(ExitRoom::default()) else { return };
    let mut process = shell(SCRIPT, "first");
    let pid = process.id();
    await_file(&format!("/proc/{pid}/cmdline"), |words| words.ends_with(b"\0first\0"));
    watch.look();
    writeln!(process.stdin.as_mut().unwrap(), "go").unwrap();
    await_file(&format!("/proc/{pid}/cmdline"), |words| words.ends_with(b"\0second\0"));
    drop(process.stdin.take());
    process.wait().unwrap();
    watch.look();
    let ended = watch.ended().iter().find(|end| end.sample.key.pid == pid).unwrap();
    let words = Reading::Value(Box::from(*b"sh\0-c\0read word\0second\0"));
    assert_eq!(ended.sample.identity.cmdline, words);
}
