//! Processes that change what sockets they hold between two sweeps, in every way there is: what
//! the second sweep says must be what reading every link anew says.

use super::*;
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, IoSlice};
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread::sleep;

use mpp_accounting::process::{Reading, Socket};
use mpp_parse::proc_pid_stat;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::Pid;

use crate::hostile;
use crate::sys::fault::with_failure;

/// Longer than it takes until what was remembered is believed.
const LONG_ENOUGH: Duration = Duration::from_millis(30);
/// In so many sweeps everybody's turn comes.
const TURN: usize = 16;

/// A process that does what it is told; see `examples/socket_holder.rs`. Killed when dropped.
pub(super) struct Holder {
    pub(super) child: Child,
    stream: OwnedFd,
    stdout: BufReader<ChildStdout>,
}

impl Holder {
    pub(super) fn start() -> Self {
        let (stream, theirs) = UnixStream::pair().unwrap();
        Holder::start_with(stream.into(), theirs.into())
    }

    /// One that holds no socket, and so can be given none.
    pub(super) fn start_without_sockets() -> Self {
        let (theirs, stream) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        Holder::start_with(stream, theirs)
    }

    fn start_with(stream: OwnedFd, theirs: OwnedFd) -> Self {
        let mut command = Command::new(hostile::path_of("socket_holder"));
        let command = command.stdin(theirs).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Holder { child, stream, stdout }
    }

    /// Waits until it has been done; returns the PID of whoever has answered.
    pub(super) fn tell(&mut self, command: &str) -> u32 {
        self.say(command);
        if command == "exec" {
            // What executes anew does not answer for it.
            return self.tell("listen");
        }
        let mut answer = String::new();
        self.stdout.read_line(&mut answer).unwrap();
        answer.trim_end().parse().unwrap()
    }

    fn say(&self, command: &str) {
        let line = format!("{command}\n");
        assert_eq!(rustix::io::write(&self.stream, line.as_bytes()), Ok(line.len()));
    }

    /// Hands a descriptor over.
    pub(super) fn give(&mut self, what: BorrowedFd<'_>) {
        self.say("receive");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let rights = [what];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&rights)));
        let byte = [IoSlice::new(b"x")];
        sendmsg(&self.stream, &byte, &mut ancillary, SendFlags::empty()).unwrap();
        self.stdout.read_line(&mut String::new()).unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

/// Somebody who sweeps again and again.
pub(super) struct Watch {
    pub(super) collector: Collector,
    snapshot: Snapshot,
    pub(super) pids: Vec<u32>,
    reach: Reach,
}

/// Who is swept besides those watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Nobody,
    /// And whoever has not run keeps its sample.
    Everybody,
}

impl Watch {
    pub(super) fn over(pid: u32) -> Self {
        Watch::with(CollectorOptions::default(), pid, Reach::Nobody)
    }

    /// By our own programs in the kernel; `None` where this test lacks the privilege.
    pub(super) fn by_programs(pid: u32) -> Option<Self> {
        let exits = ExitSource::Exact;
        let options = CollectorOptions { exits, ..CollectorOptions::default() };
        let watch = Watch::with(options, pid, Reach::Everybody);
        if watch.collector.exit_source() == exits {
            return Some(watch);
        }
        assert!(!watch.collector.refusals().is_empty());
        eprintln!("refused: {:?}", watch.collector.refusals());
        None
    }

    fn with(options: CollectorOptions, pid: u32, reach: Reach) -> Self {
        let collector = Collector::open(options).unwrap();
        Watch { collector, snapshot: Snapshot::default(), pids: vec![pid], reach }
    }

    /// The sockets of everybody watched, in a sweep.
    pub(super) fn look(&mut self) -> Vec<Reading<Arc<[Socket]>>> {
        self.look_for(&Needs {
            measures: Measures { sockets: true, fds: true, ..Measures::default() },
            ..Needs::default()
        })
    }

    pub(super) fn look_for(&mut self, needs: &Needs) -> Vec<Reading<Arc<[Socket]>>> {
        self.pids.sort_unstable();
        let Watch { collector, snapshot, pids, reach } = self;
        if *reach == Reach::Everybody {
            let is_watched = |key: ProcessKey, _: &Identity| pids.contains(&key.pid);
            let wait = IdentityWait::No;
            collector.sweep_of_same_interest(needs, &is_watched, wait, snapshot).unwrap();
        } else {
            collector.sweep_some(pids, needs, IdentityWait::No, snapshot).unwrap();
        }
        let found: Vec<_> =
            self.watched().map(|process| process.gauges.seldom.sockets.clone()).collect();
        assert_eq!(found.len(), self.pids.len());
        found
    }

    pub(super) fn watched(&self) -> impl Iterator<Item = &ProcessSample> {
        self.snapshot.processes.iter().filter(|process| self.pids.contains(&process.key.pid))
    }

    /// Who was asked for its sockets in the last sweep by our own programs, ascending.
    pub(super) fn asked(&self) -> &[u32] {
        self.collector.desk.asked_for_sockets()
    }

    /// Whether our own programs found that nobody watched has run between the last two sweeps.
    pub(super) fn are_all_still(&mut self) -> bool {
        let Watch { collector, pids, .. } = self;
        let still: Vec<u32> = collector.witness.bpf().into_iter().flat_map(|b| b.still()).collect();
        pids.iter().all(|pid| still.binary_search(pid).is_ok())
    }

    /// How often links were read so far.
    pub(super) fn walked(&self) -> u64 {
        self.collector.sockets.as_ref().map_or(0, SocketSource::walked_total)
    }

    /// What the last sweep found out beside the processes.
    pub(super) fn network(&self) -> &Network {
        &self.snapshot.network
    }

    /// As [`Watch::look`], of those watched who are still there.
    pub(super) fn look_at_living(&mut self) -> Vec<(u32, Reading<Arc<[Socket]>>)> {
        let needs = Needs {
            measures: Measures { sockets: true, fds: true, ..Measures::default() },
            ..Needs::default()
        };
        let Watch { collector, snapshot, .. } = self;
        collector.sweep(&needs, IdentityWait::No, snapshot).unwrap();
        let sockets_of = |process: &ProcessSample| process.gauges.seldom.sockets.clone();
        self.watched().map(|process| (process.key.pid, sockets_of(process))).collect()
    }

    /// As [`Watch::truth`], of those watched who are still there with their main thread: without
    /// it, links show nothing.
    pub(super) fn truth_of_living(&self) -> HashMap<u32, Reading<Arc<[Socket]>>> {
        let mut source = SocketSource::open(SWEEP_BUDGET);
        source.begin_sweep();
        let sockets_of = |pid: &u32| {
            let directory = std::fs::File::open(format!("/proc/{pid}")).ok()?;
            let key = ProcessKey { pid: *pid, start_time_ticks: 0 };
            let found = source.sockets_of(key, directory.as_fd());
            let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
            let has_main_thread = proc_pid_stat::parse(&stat).ok()?.state != b'Z';
            has_main_thread.then_some((*pid, found))
        };
        self.pids.iter().filter_map(sockets_of).collect()
    }

    /// The same sockets, read anew by somebody who remembers nobody.
    pub(super) fn truth(&self) -> Vec<Reading<Arc<[Socket]>>> {
        let mut source = SocketSource::open(SWEEP_BUDGET);
        source.begin_sweep();
        let sockets_of = |pid: u32| {
            let directory = std::fs::File::open(format!("/proc/{pid}")).unwrap();
            source.sockets_of(ProcessKey { pid, start_time_ticks: 0 }, directory.as_fd())
        };
        let mut pids = self.pids.clone();
        pids.sort_unstable();
        pids.into_iter().map(sockets_of).collect()
    }

    /// Looks until what is held is remembered and not read any more.
    fn settle(&mut self) {
        self.look();
        for _ in 0..TURN {
            sleep(LONG_ENOUGH);
            let before = self.recalled();
            self.look();
            if self.recalled() - before == self.pids.len() as u64 {
                sleep(LONG_ENOUGH);
                return;
            }
        }
        panic!("who sleeps is read again and again");
    }

    fn recalled(&self) -> u64 {
        self.collector.sockets.as_ref().map_or(0, SocketSource::recalled_total)
    }
}

/// Has all but the last command done, lets everything settle, and has the last one done: the next
/// sweep must see what a whole reading sees, and that it is another thing than before.
fn check(commands: &[&str]) {
    check_among(Reach::Nobody, commands);
    check_among(Reach::Everybody, commands);
}

fn check_among(reach: Reach, commands: &[&str]) {
    let mut holder = Holder::start();
    let (last, first) = commands.split_last().unwrap();
    let mut watch = Watch::with(CollectorOptions::default(), holder.child.id(), reach);
    for command in first {
        holder.tell(command);
    }
    watch.settle();
    let before = watch.look();
    let answered = holder.tell(last);
    if !watch.pids.contains(&answered) {
        watch.pids.push(answered);
    }
    let after = watch.look();
    assert_eq!(after, watch.truth(), "{commands:?}");
    assert_ne!(after, before, "{commands:?}");
    watch.settle();
    assert_eq!(watch.look(), after, "{commands:?}: once more, from memory");
}

#[test]
fn whatever_a_process_does_to_its_sockets_is_in_the_next_sweep() {
    check(&["listen"]);
    check(&["listen", "listen", "close"]);
    check(&["listen", "dup"]);
    check(&["listen", "dup", "close"]);
    check(&["thread", "listen", "listen", "close"]);
    check(&["listen", "fork"]);
}

#[test]
fn a_socket_that_takes_the_place_of_another_one_is_seen_although_the_count_stays() {
    check(&["listen", "swap"]);
    check(&["listen", "listen", "listen", "swap"]);
    let many: Vec<&str> = ["thread"].into_iter().chain(["listen"; 20]).chain(["swap"]).collect();
    check(&many);
}

#[test]
fn an_exec_closes_what_is_not_to_outlive_it() {
    check(&["listen", "listen", "dup", "exec"]);
    check(&["listen", "exec"]);
}

#[test]
fn a_socket_that_somebody_hands_over_is_in_the_next_sweep() {
    let mut holder = Holder::start();
    let given = UdpSocket::bind("127.0.0.1:0").unwrap();
    let inode = rustix::fs::fstat(&given).unwrap().st_ino;
    let holds_it = |found: &[Reading<Arc<[Socket]>>]| {
        found[0].value().unwrap().iter().any(|socket| socket.inode == inode)
    };
    holder.tell("listen");
    let mut watch = Watch::over(holder.child.id());
    watch.settle();
    assert!(!holds_it(&watch.look()));
    holder.give(given.as_fd());
    let after = watch.look();
    assert!(holds_it(&after));
    assert_eq!(after, watch.truth());
}

#[test]
fn what_a_process_does_to_descriptors_that_another_one_shares_is_seen_in_time() {
    let mut holder = Holder::start();
    holder.tell("listen");
    let other = holder.tell("share");
    assert_ne!(other, holder.child.id());
    let mut watch = Watch::over(holder.child.id());
    watch.settle();
    // The count says so.
    holder.tell("listen");
    assert_eq!(watch.look(), watch.truth());
    watch.settle();
    // Nothing says so but that its turn comes.
    holder.tell("swap");
    let is_seen = (0..TURN).any(|_| watch.look() == watch.truth());
    assert!(is_seen);
    rustix::process::kill_process(
        Pid::from_raw(other.cast_signed()).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
}

#[test]
fn any_call_may_fail_while_sockets_are_remembered() {
    let mut holder = Holder::start();
    for command in ["listen", "listen", "dup"] {
        holder.tell(command);
    }
    let pid = holder.child.id();
    let mut watch = Watch::over(pid);
    watch.settle();
    let whole = watch.look();
    for n in 0.. {
        sleep(LONG_ENOUGH);
        let needs = Needs {
            measures: Measures { sockets: true, fds: true, ..Measures::default() },
            ..Needs::default()
        };
        let mut snapshot = Snapshot::default();
        let collector = &mut watch.collector;
        let (outcome, calls) = with_failure(n, Errno::IO, || {
            collector.sweep_some(&[pid], &needs, IdentityWait::No, &mut snapshot)
        });
        if n >= calls {
            break;
        }
        let found = snapshot.processes.first().map(|process| process.gauges.seldom.sockets.clone());
        let is_known = found.as_ref().is_some_and(|found| found.value().is_some());
        assert!(!is_known || found.as_ref() == whole.first(), "call {n}: {found:?}");
        assert!(is_known || outcome.is_err() || collector.trouble() != Trouble::default());
    }
}
