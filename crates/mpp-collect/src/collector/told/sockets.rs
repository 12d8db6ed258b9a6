//! Whose sockets are whose, as our own programs in the kernel tell it.
//!
//! Whoever has not run since the sweep before holds what it held then, and is not asked: nobody but
//! a process itself opens, closes or receives a descriptor of its own. All others are told, by
//! their IDs, or all of the machine where the kernel has only the iterator over descriptors. What
//! is told is joined to the samples of the sweep by PID and start time. Who is not told of (without
//! descriptors, begun since, kept back) is asked by procfs, as everybody is where the kernel has no
//! such program or it fails.
//!
//! The traps: a socket of the internet is bound, connected, closed or reset by others who share it
//! or by its other end, and a descriptor is opened by another process that shares all of them. So
//! whoever held any such socket, even one that counts only once it is bound, or shares its
//! descriptors with a stranger, is asked each time. And the programs show sockets in every state,
//! while only what stands in the kernel's tables counts; see the top of `sockets.rs`.

use std::iter::Peekable;
use std::sync::Arc;

use mpp_accounting::process::{
    Absence, ProcessKey, ProcessSample, ProcessState, Reading, Socket, SocketKind, TcpState,
    ThreadIo,
};
use mpp_accounting::slack::Slack;
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::BootTime;
use mpp_parse::bpf_socket_record::{HeldSocket, SocketRecord};
use mpp_parse::proc_pid_stat;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use super::{Attention, Collector, Request};
use crate::bpf::Bpf;
use crate::error::absence_of;
use crate::origin::Origin;
use crate::proc_fs::{FileError, Name, Room, open_folder};
use crate::sockets::SocketSource;

/// `AF_*` of address_families(7), `SOCK_*` of socket(2), `IPPROTO_*` of ip(7).
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u8 = 1;
const SOCK_DGRAM: u8 = 2;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;

/// What is found out of sockets in a sweep, and remembered for the next one.
#[derive(Debug, Default)]
pub(super) struct HeldSockets {
    /// One for each sample.
    turns: Vec<Turn>,
    /// Those whose turn it was to be told of, ascending.
    asked: Vec<u32>,
    /// Of whom something may change that has not run, by what was told in the last sweep, ascending.
    doubtful: Vec<u32>,
    /// Those of the process that is being told of.
    told: Vec<Told>,
    slack_of_turns: Slack,
    slack_of_asked: Slack,
    slack_of_doubtful: Slack,
    slack_of_told: Slack,
}

/// What is still to be found out of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Nothing,
    /// Where it listens, and no more.
    Ports,
    Sockets,
}

/// The process that is being told of.
#[derive(Clone, Copy, Debug)]
struct Holder {
    position: usize,
    pid: u32,
    namespace: u32,
    /// Whether that may change although the process does not run.
    is_doubtful: bool,
}

/// A socket that counts.
#[derive(Clone, Copy, Debug)]
struct Told {
    socket: Socket,
    /// Where it waits for others to come.
    listening_port: Option<u16>,
}

impl HeldSockets {
    /// Ends the interval of the sweep before, of which all room is still here. Returns who was in
    /// doubt then.
    fn begin_sweep(&mut self) -> Vec<u32> {
        self.slack_of_turns.give_back(&mut self.turns);
        self.slack_of_asked.give_back(&mut self.asked);
        self.slack_of_doubtful.give_back(&mut self.doubtful);
        self.slack_of_told.give_back(&mut self.told);
        self.turns.clear();
        self.asked.clear();
        self.told.clear();
        std::mem::take(&mut self.doubtful)
    }

    /// Who was not spared in the last sweep, ascending.
    #[cfg(test)]
    pub(super) fn asked(&self) -> &[u32] {
        &self.asked
    }
}

/// A sweep's samples, while it is told what sockets they hold.
struct Joining<'a> {
    samples: &'a mut [ProcessSample],
    source: &'a mut SocketSource,
    held: &'a mut HeldSockets,
    /// Whoever is being told of.
    current: Option<Holder>,
    /// The place of the next one, mostly.
    next: usize,
}

impl Joining<'_> {
    /// Finds out whose turn it is, and keeps what is known of the others. `still` are those who
    /// have not run since the sweep before, ascending.
    fn choose(&mut self, needs: &Request<'_>, still: impl Iterator<Item = u32>) {
        let listens = needs.needs.identity.listening_ports;
        // Whom nobody asks cannot say in which network namespace it is.
        let mut still = still.filter(|_| !needs.needs.measures.tcp_traffic).peekable();
        let mut doubtful = self.held.begin_sweep();
        let mut in_doubt = doubtful.iter().copied().peekable();
        for sample in self.samples.iter_mut() {
            let pid = sample.key.pid;
            let (is_still, is_doubtful) = (holds(&mut still, pid), holds(&mut in_doubt, pid));
            let asks = needs.measures_of(sample.key, &sample.identity).sockets;
            let before = &sample.gauges.seldom.sockets;
            let is_kept = is_still && !is_doubtful && before.value().is_some();
            let turn = match (asks, has_no_descriptors(sample)) {
                (true, true) => {
                    if before.value().is_none_or(|sockets| !sockets.is_empty()) {
                        sample.gauges.seldom.sockets = Reading::Value(self.source.none());
                    }
                    Turn::Nothing
                }
                (true, false) if is_kept => Turn::Nothing,
                (true, false) => Turn::Sockets,
                (false, has_none) => {
                    if before.value().is_some() {
                        sample.gauges.seldom.sockets = Reading::Absent(Absence::NotRequested);
                    }
                    if listens && !has_none { Turn::Ports } else { Turn::Nothing }
                }
            };
            self.held.turns.push(turn);
            if turn != Turn::Nothing {
                self.held.asked.push(pid);
            }
        }
        doubtful.clear();
        self.held.doubtful = doubtful;
    }

    fn take(&mut self, record: &SocketRecord) {
        match record.socket {
            None => {
                // What is told of it anew was not right.
                if self.current.is_some_and(|holder| holder.pid == record.process.id) {
                    self.drop_current();
                }
                self.close();
                self.current = self.open(record);
            }
            Some(socket) => {
                if let Some(holder) = &mut self.current {
                    holder.is_doubtful |= is_of_internet(&socket);
                    self.held.told.extend(Told::of(&socket, record.namespace));
                }
            }
        }
    }

    /// Returns a process whose turn it is, which nobody has told of so far: where the main thread
    /// has exited, the iterator tells the same descriptors again.
    fn open(&mut self, record: &SocketRecord) -> Option<Holder> {
        let Joining { samples, held, next, .. } = self;
        let pid = record.process.id;
        while samples.get(*next).is_some_and(|sample| sample.key.pid < pid) {
            *next += 1;
        }
        let is_it = |position: &usize| samples.get(*position).is_some_and(|s| s.key.pid == pid);
        let position = Some(*next).filter(is_it);
        let position =
            position.or_else(|| samples.binary_search_by_key(&pid, |s| s.key.pid).ok())?;
        let started_at = Some(BootTime { ns: record.process.start_ns });
        let is_asked = held.turns.get(position).is_some_and(|turn| *turn != Turn::Nothing);
        if !is_asked || samples.get(position)?.lineage.started_at() != started_at {
            return None;
        }
        let SocketRecord { namespace, is_alone, .. } = *record;
        Some(Holder { position, pid, namespace, is_doubtful: !is_alone })
    }

    /// Hands out what was told of one process: that is all. Whose namespace tells us nothing of its
    /// traffic is asked by procfs.
    fn close(&mut self) {
        let Joining { samples, source, held, current, .. } = self;
        let Some(holder) = current.take() else { return };
        let namespaces = held.told.iter().map(|told| told.socket.namespace);
        let is_heard = source.hears_of(namespaces.chain([u64::from(holder.namespace)]));
        let sample = samples.get_mut(holder.position).filter(|_| is_heard);
        if let (Some(sample), Some(turn)) = (sample, held.turns.get_mut(holder.position)) {
            let told = held.told.iter().map(|told| (told.socket, told.listening_port));
            let before = sample.gauges.seldom.sockets.value();
            let sockets = source.take_told(sample.key, told, before);
            let turn = std::mem::replace(turn, Turn::Nothing);
            held.doubtful.extend(holder.is_doubtful.then_some(holder.pid));
            if turn == Turn::Sockets {
                sample.gauges.seldom.sockets = Reading::Value(sockets);
            }
        }
        self.drop_current();
    }

    /// Forgets what was told of a process.
    fn drop_current(&mut self) {
        self.held.slack_of_told.note(self.held.told.len());
        self.held.told.clear();
        self.current = None;
    }

    /// Asks those by procfs who were not told of.
    fn ask_others(&mut self, origin: &Origin, room: &mut Room, attention: &mut Attention) {
        let Joining { samples, source, held, .. } = self;
        for position in 0..held.turns.len() {
            let turn = held.turns.get(position).copied().unwrap_or(Turn::Nothing);
            let Some(sample) = samples.get_mut(position).filter(|_| turn != Turn::Nothing) else {
                continue;
            };
            let found = sockets_of(sample, origin, room, source);
            held.doubtful.push(sample.key.pid);
            if found.absence().is_some() {
                attention.turn_to(sample.key.pid);
            }
            if turn == Turn::Sockets {
                sample.gauges.seldom.sockets = found;
            }
        }
        held.doubtful.sort_unstable();
    }
}

/// Whether this ascending list has this one, who comes after all that were asked for before.
fn holds(ascending: &mut Peekable<impl Iterator<Item = u32>>, pid: u32) -> bool {
    while ascending.next_if(|other| *other < pid).is_some() {}
    ascending.peek() == Some(&pid)
}

impl Told {
    /// `None` for a socket that stands in no table.
    fn of(held: &HeldSocket, namespace: u32) -> Option<Told> {
        let kind = kind_of(held)?;
        let is_listening = match kind {
            SocketKind::Tcp(state) => state == TcpState::Listen,
            SocketKind::Udp => TcpState::from_kernel(held.state) == Some(TcpState::Close),
            SocketKind::Unix => false,
        };
        let (namespace, inode) = (u64::from(namespace), u64::from(held.inode));
        Some(Told {
            socket: Socket { namespace, inode, kind },
            listening_port: is_listening.then_some(held.port),
        })
    }
}

/// Whether what it is may change by others than whoever holds it.
fn is_of_internet(held: &HeldSocket) -> bool {
    matches!(held.family, AF_INET | AF_INET6)
}

/// A TCP socket that is closed, bound or not, stands in no table, and neither does a UDP socket
/// without a port.
fn kind_of(held: &HeldSocket) -> Option<SocketKind> {
    match (held.family, held.kind, held.protocol) {
        (AF_UNIX, ..) => Some(SocketKind::Unix),
        (AF_INET | AF_INET6, SOCK_STREAM, IPPROTO_TCP) => TcpState::from_kernel(held.state)
            .filter(|state| !matches!(state, TcpState::Close | TcpState::TimeWait))
            .map(SocketKind::Tcp),
        (AF_INET | AF_INET6, SOCK_DGRAM, IPPROTO_UDP) if held.port != 0 => Some(SocketKind::Udp),
        _ => None,
    }
}

impl Collector {
    /// Adds what sockets processes hold, as far as somebody asks for them.
    pub(super) fn add_sockets(&mut self, needs: &Request<'_>, into: &mut Snapshot) {
        let Collector { origin, sockets, attention, witness, desk, trouble, stat_room, .. } = self;
        let is_asked = needs.needs.identity.listening_ports || needs.needs.measures.sockets;
        let Some(source) = sockets.as_mut().filter(|_| is_asked) else { return };
        let samples = &mut into.processes[..];
        let held = &mut desk.held;
        let mut joining = Joining { samples, source, held, current: None, next: 0 };
        match witness.bpf() {
            Some(bpf) => {
                joining.choose(needs, bpf.still());
                if read_told(bpf, &mut joining).is_err() {
                    trouble.failed += 1;
                }
            }
            None => joining.choose(needs, std::iter::empty()),
        }
        joining.ask_others(origin, stat_room, attention);
    }
}

/// Joins what is told of those whose turn it is. Where that fails, only the last one has not been
/// told of as a whole.
fn read_told(bpf: &mut Bpf, joining: &mut Joining<'_>) -> Result<(), Errno> {
    let until = joining.source.begin_telling();
    let asked = std::mem::take(&mut joining.held.asked);
    let mut pids = asked.iter().copied();
    let outcome = bpf.read_sockets_of(&mut pids, until, &mut |record| joining.take(record));
    joining.held.asked = asked;
    let outcome = match outcome {
        Ok(false) => bpf.read_sockets(until, &mut |record| joining.take(record)),
        outcome => outcome,
    };
    match outcome {
        Ok(_) => joining.close(),
        Err(_) => joining.drop_current(),
    }
    outcome.map(drop)
}

/// A zombie's are closed.
fn has_no_descriptors(sample: &ProcessSample) -> bool {
    sample.identity.is_kernel_thread || sample.state == ProcessState::Zombie
}

/// What links in procfs say. Where the main thread has exited, another one that lives is looked
/// at.
fn sockets_of(
    sample: &ProcessSample,
    origin: &Origin,
    room: &mut Room,
    source: &mut SocketSource,
) -> Reading<Arc<[Socket]>> {
    let key = sample.key;
    let threads = sample.threads().value().copied().unwrap_or_default();
    let main_lives = |thread: &ThreadIo| !thread.has_exited && thread.key.tid == key.pid;
    let living = threads.iter().find(|thread| !thread.has_exited);
    let folder = folder_of(key, origin, room).and_then(|folder| match living {
        Some(thread) if !threads.iter().any(main_lives) => {
            let name = Name::in_thread(thread.key.tid, ".");
            open_folder(&folder, name.as_c_str()).map_err(absence_of)
        }
        _ => Ok(folder),
    });
    let found = match folder {
        Ok(folder) => source.sockets_held(key, folder.as_fd(), sample.gauges.fds.value().copied()),
        Err(why) => Reading::Absent(why),
    };
    if let Reading::Absent(why) = found {
        source.note_unread(key, why);
    }
    found
}

/// The folder of a process, unless its PID has become another one's since the sweep saw it.
fn folder_of(key: ProcessKey, origin: &Origin, room: &mut Room) -> Result<OwnedFd, Absence> {
    let folder = open_folder(&origin.root, Name::of(key.pid).as_c_str()).map_err(absence_of)?;
    let text = room.read_lines(&folder, c"stat", 1).map_err(FileError::absence)?;
    let stat = proc_pid_stat::parse(text).map_err(|_| Absence::Malformed)?;
    let is_it = stat.start_time_ticks == key.start_time_ticks;
    if is_it { Ok(folder) } else { Err(Absence::Vanished) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpp_accounting::process::{Gauges, Lineage, ProcessIo, Usage};
    use mpp_accounting::slack;
    use mpp_parse::bpf_record::TaskKey;

    use super::super::super::Scope;
    use crate::needs::{Measures, Needs};

    fn held(family: u16, kind: u8, protocol: u16, state: u8, port: u16) -> HeldSocket {
        HeldSocket { inode: 9, family, protocol, kind, state, port }
    }

    #[test]
    fn only_what_stands_in_the_tables_is_a_socket() {
        fn check(held: HeldSocket, expected: Option<(SocketKind, Option<u16>)>) {
            let told = Told::of(&held, 4);
            assert_eq!(told.map(|told| (told.socket.kind, told.listening_port)), expected);
        }
        let tcp = |state| Some((SocketKind::Tcp(state), None));
        check(held(AF_INET, 1, 6, 1, 80), tcp(TcpState::Established));
        check(held(AF_INET6, 1, 6, 2, 80), tcp(TcpState::SynSent));
        check(held(AF_INET, 1, 6, 10, 80), Some((SocketKind::Tcp(TcpState::Listen), Some(80))));
        check(held(AF_INET, 1, 6, 7, 80), None);
        check(held(AF_INET, 1, 6, 99, 80), None);
        check(held(AF_INET, 2, 17, 7, 53), Some((SocketKind::Udp, Some(53))));
        check(held(AF_INET6, 2, 17, 1, 53), Some((SocketKind::Udp, None)));
        check(held(AF_INET, 2, 17, 7, 0), None);
        check(held(AF_UNIX, 5, 0, 7, 0), Some((SocketKind::Unix, None)));
        // Raw, MPTCP, SCTP, ping, netlink.
        check(held(AF_INET, 3, 6, 7, 6), None);
        check(held(AF_INET, 1, 262, 1, 80), None);
        check(held(AF_INET, 1, 132, 1, 80), None);
        check(held(AF_INET, 2, 1, 7, 8), None);
        check(held(16, 3, 0, 7, 0), None);
    }

    fn sample(pid: u32, started_at_ns: u64) -> ProcessSample {
        let absent = Absence::NotRequested;
        ProcessSample {
            key: ProcessKey { pid, start_time_ticks: 1 },
            parent_pid: 1,
            lineage: Lineage::new(None, Some(BootTime { ns: started_at_ns }), None),
            state: ProcessState::Living,
            identity: Arc::new(crate::identity::named(Box::default(), 0, absent)),
            read_at: BootTime::default(),
            usage: Usage::default(),
            io: ProcessIo::absent(absent),
            gauges: Gauges::absent(absent),
        }
    }

    #[test]
    fn a_pid_that_became_another_processes_lends_nobody_its_sockets() {
        let mut room = Room::default();
        let origin = Origin::open(std::path::Path::new("/proc"), &mut room).unwrap();
        let pid = std::process::id();
        let text = room.read_lines(&origin.root, c"self/stat", 1).unwrap();
        let start_time_ticks = proc_pid_stat::parse(text).unwrap().start_time_ticks;
        let own = ProcessKey { pid, start_time_ticks };
        assert!(folder_of(own, &origin, &mut room).is_ok());
        let former = ProcessKey { pid, start_time_ticks: start_time_ticks - 1 };
        assert_eq!(folder_of(former, &origin, &mut room).unwrap_err(), Absence::Vanished);
    }

    #[test]
    fn room_for_a_storm_is_kept_for_as_many_sweeps_as_elsewhere() {
        let mut all = HeldSockets::default();
        let mut sweep = |samples: usize| {
            all.begin_sweep();
            all.turns.resize(samples, Turn::Sockets);
            all.turns.capacity()
        };
        assert!(sweep(10_000) >= 10_000);
        let after: Vec<usize> = (0..2 * slack::INTERVALS).map(|_| sweep(100)).collect();
        let kept = after.iter().take_while(|room| **room >= 10_000).count();
        assert!(kept >= slack::INTERVALS as usize, "{after:?}");
        assert!(after.iter().any(|room| *room <= 250), "{after:?}");
    }

    fn needs() -> Needs {
        let measures = Measures { sockets: true, ..Measures::default() };
        Needs { measures, ..Needs::default() }
    }

    #[test]
    fn whoever_has_a_socket_of_the_internet_or_is_not_alone_is_in_doubt() {
        fn check(is_alone: bool, family: u16, expected: bool) {
            let (mut source, mut held) =
                (SocketSource::open(crate::sockets::SWEEP_BUDGET), HeldSockets::default());
            let (samples, source) = (&mut [sample(5, 50)][..], &mut source);
            let mut joining = Joining { samples, source, held: &mut held, current: None, next: 0 };
            let needs = needs();
            joining.choose(&Request::of_all(&needs, Scope::Everybody), std::iter::empty());
            joining.take(&SocketRecord { is_alone, ..record(5, 50, 0) });
            // One that is closed, and stands in no table.
            let socket = HeldSocket { inode: 1, ..super::tests::held(family, 1, 6, 7, 0) };
            joining.take(&SocketRecord { socket: Some(socket), ..record(5, 50, 1) });
            joining.close();
            assert_eq!(held.doubtful == [5], expected, "{is_alone}, {family}");
        }
        check(true, AF_UNIX, false);
        check(true, 16, false);
        check(false, AF_UNIX, true);
        check(true, AF_INET, true);
        check(true, AF_INET6, true);
    }

    /// A process with this start and one socket by this inode; 0 for the process itself.
    fn record(pid: u32, start_ns: u64, inode: u32) -> SocketRecord {
        let socket = HeldSocket { inode, ..held(AF_UNIX, 1, 0, 1, 0) };
        SocketRecord {
            process: TaskKey { id: pid, start_ns },
            tid: pid,
            namespace: 4,
            is_alone: false,
            socket: Some(socket).filter(|socket| socket.inode != 0),
        }
    }

    /// Joins what is told to these samples, where nobody stood still; returns the inodes of each
    /// that was told of.
    fn joined(samples: &mut [ProcessSample], records: &[(u32, u64, u32)]) -> Vec<Option<Vec<u64>>> {
        let (mut source, mut held) =
            (SocketSource::open(crate::sockets::SWEEP_BUDGET), HeldSockets::default());
        let mut joining =
            Joining { samples, source: &mut source, held: &mut held, current: None, next: 0 };
        let needs = needs();
        joining.choose(&Request::of_all(&needs, Scope::Everybody), std::iter::empty());
        for &(pid, start_ns, inode) in records {
            joining.take(&record(pid, start_ns, inode));
        }
        joining.close();
        let inodes_of = |sample: &ProcessSample| {
            let sockets = sample.gauges.seldom.sockets.value()?;
            Some(sockets.iter().map(|socket| socket.inode).collect())
        };
        samples.iter().map(inodes_of).collect()
    }

    #[test]
    fn descriptors_that_are_told_twice_count_once_and_strangers_not_at_all() {
        let mut samples = [sample(5, 50), sample(7, 70), sample(9, 90)];
        let told = [
            (5, 50, 0),
            (5, 50, 1),
            (5, 50, 2),
            // Born since.
            (6, 60, 0),
            (6, 60, 3),
            // Another one with the same PID.
            (9, 91, 0),
            (9, 91, 4),
            // Once more.
            (5, 50, 0),
            (5, 50, 5),
            // Who holds none.
            (7, 70, 0),
        ];
        assert_eq!(joined(&mut samples, &told), [Some(vec![1, 2]), Some(vec![]), None]);
    }

    #[test]
    fn one_that_ended_half_way_is_not_told_of() {
        let mut samples = [sample(5, 50), sample(7, 70)];
        let told = [(5, 50, 0), (5, 50, 1), (5, 0, 0), (7, 70, 0), (7, 70, 2)];
        assert_eq!(joined(&mut samples, &told), [None, Some(vec![2])]);
    }

    #[test]
    fn only_those_are_spared_who_stand_still_known_and_without_a_doubt() {
        /// Of three, who stand still, are in doubt and not known: who is asked.
        fn check(still: &[u32], doubtful: &[u32], unknown: &[u32], expected: &[u32]) {
            let mut source = SocketSource::open(crate::sockets::SWEEP_BUDGET);
            let mut samples = [sample(5, 50), sample(7, 70), sample(9, 90)];
            for sample in &mut samples {
                sample.gauges.seldom.sockets = match unknown.contains(&sample.key.pid) {
                    true => Reading::Absent(Absence::Denied),
                    false => Reading::Value(source.none()),
                };
            }
            let mut held = HeldSockets { doubtful: doubtful.to_vec(), ..HeldSockets::default() };
            let mut needs = needs();
            let mut choose = |needs: &Needs| {
                let (samples, source) = (&mut samples[..], &mut source);
                let mut joining =
                    Joining { samples, source, held: &mut held, current: None, next: 0 };
                let request = Request::of_all(needs, Scope::Everybody);
                joining.choose(&request, still.iter().copied());
                held.asked.clone()
            };
            assert_eq!(choose(&needs), expected);
            needs.measures.tcp_traffic = true;
            assert_eq!(choose(&needs), [5, 7, 9], "where it is to be known in what namespace");
        }
        check(&[], &[], &[], &[5, 7, 9]);
        check(&[5, 7, 9], &[], &[], &[]);
        check(&[4, 5, 9, 12], &[], &[], &[7]);
        check(&[5, 7, 9], &[7], &[], &[7]);
        check(&[5, 7, 9], &[3, 5, 9], &[], &[5, 9]);
        check(&[5, 7, 9], &[], &[5], &[5]);
    }

    #[test]
    fn whoever_nobody_asks_about_any_more_is_not_known_to_hold_anything() {
        let mut source = SocketSource::open(crate::sockets::SWEEP_BUDGET);
        let mut held = HeldSockets::default();
        let mut samples = [sample(5, 50)];
        samples[0].gauges.seldom.sockets = Reading::Value(source.none());
        let needs = needs();
        let of_all = Request::of_all(&needs, Scope::Everybody);
        let nobody = |_: ProcessKey, _: &mpp_accounting::process::Identity| false;
        let request = Request { is_of_interest: Some(&nobody), ..of_all };
        let (samples, source) = (&mut samples[..], &mut source);
        let mut joining = Joining { samples, source, held: &mut held, current: None, next: 0 };
        joining.choose(&request, std::iter::once(5));
        let sockets = &joining.samples[0].gauges.seldom.sockets;
        assert_eq!(sockets.absence(), Some(Absence::NotRequested));
        assert!(joining.held.asked().is_empty());
    }
}
