//! Whose sockets are whose, as our own iterator over descriptors tells it in one pass.
//!
//! What it tells is joined to the samples of the sweep by PID and start time. Who is not told of
//! (without descriptors, begun since, kept back) is asked by procfs, as everybody is where the
//! kernel has no such iterator or it fails. The trap: it shows sockets in every state, while only
//! what stands in the kernel's tables counts; see the top of `sockets.rs`.

use std::sync::Arc;

use mpp_accounting::process::{
    ProcessSample, ProcessState, Reading, Socket, SocketKind, TcpState, ThreadIo,
};
use mpp_accounting::slack::Slack;
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::BootTime;
use mpp_parse::bpf_socket_record::{HeldSocket, SocketRecord};
use rustix::fd::AsFd;

use super::{Collector, Request};
use crate::bpf::Bpf;
use crate::error::absence_of;
use crate::origin::Origin;
use crate::proc_fs::{Name, open_folder};
use crate::sockets::SocketSource;

/// `AF_*` of address_families(7), `SOCK_*` of socket(2), `IPPROTO_*` of ip(7).
const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u8 = 1;
const SOCK_DGRAM: u8 = 2;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;

/// What the iterator has told in this sweep.
#[derive(Debug, Default)]
pub(super) struct HeldSockets {
    /// One for each sample.
    holders: Vec<Option<Holder>>,
    /// Those of one holder follow one another.
    sockets: Vec<Told>,
    slack_of_holders: Slack,
    slack_of_sockets: Slack,
    /// The position of whoever is being told of.
    current: Option<usize>,
}

/// A process that was told of.
#[derive(Clone, Copy, Debug)]
struct Holder {
    namespace: u32,
    first: usize,
    end: usize,
}

/// A socket that counts.
#[derive(Clone, Copy, Debug)]
struct Told {
    socket: Socket,
    /// Where it waits for others to come.
    listening_port: Option<u16>,
}

impl HeldSockets {
    /// Ends the interval of the sweep before, of which everything is still here.
    fn begin_sweep(&mut self) {
        self.slack_of_holders.give_back(&mut self.holders);
        self.slack_of_sockets.give_back(&mut self.sockets);
        self.clear(0);
    }

    /// Nobody has been told of, of so many.
    fn clear(&mut self, samples: usize) {
        self.holders.clear();
        self.holders.resize(samples, None);
        self.sockets.clear();
        self.current = None;
    }

    fn take(&mut self, record: &SocketRecord, samples: &[ProcessSample]) {
        match record.socket {
            None => self.current = self.open_holder(record, samples),
            Some(socket) => {
                let holder = self.current.and_then(|position| self.holders.get_mut(position));
                if let Some(Some(holder)) = holder
                    && let Some(told) = Told::of(&socket, record.namespace)
                {
                    self.sockets.push(told);
                    holder.end = self.sockets.len();
                }
            }
        }
    }

    /// Returns the position of a process that the sweep has seen, and nobody has told of so far:
    /// where the main thread has exited, the others tell the same descriptors again.
    fn open_holder(&mut self, record: &SocketRecord, samples: &[ProcessSample]) -> Option<usize> {
        let pid = record.process.id;
        let is_it = |position: &usize| samples.get(*position).is_some_and(|s| s.key.pid == pid);
        // Mostly in the same order as the samples.
        let next = self.current.map_or(0, |position| position + 1);
        let position = Some(next).filter(is_it);
        let position =
            position.or_else(|| samples.binary_search_by_key(&pid, |s| s.key.pid).ok())?;
        let started_at = Some(BootTime { ns: record.process.start_ns });
        let slot = self.holders.get_mut(position)?;
        if slot.is_some() || samples.get(position)?.lineage.started_at() != started_at {
            return None;
        }
        let first = self.sockets.len();
        *slot = Some(Holder { namespace: record.namespace, first, end: first });
        Some(position)
    }

    /// What was told of the process at this position: its namespace and its sockets.
    fn of(&self, position: usize) -> Option<(u64, &[Told])> {
        let holder = self.holders.get(position).copied().flatten()?;
        let sockets = self.sockets.get(holder.first..holder.end)?;
        Some((u64::from(holder.namespace), sockets))
    }
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
        let Collector { origin, sockets, attention, witness, desk, trouble, .. } = self;
        let listens = needs.needs.identity.listening_ports;
        let Some(source) = sockets.as_mut().filter(|_| listens || needs.needs.measures.sockets)
        else {
            return;
        };
        let held = &mut desk.held;
        held.begin_sweep();
        if let Some(bpf) = witness.bpf()
            && read_told(bpf, held, source, &into.processes).is_err()
        {
            trouble.failed += 1;
        }
        for (position, sample) in into.processes.iter_mut().enumerate() {
            let measures = needs.measures_of(sample.key, &sample.identity);
            if !measures.sockets && !listens {
                continue;
            }
            let told = held.of(position).filter(|(own, told)| {
                let namespaces = told.iter().map(|told| told.socket.namespace);
                source.hears_of(namespaces.chain([*own]))
            });
            let found = match told {
                _ if has_no_descriptors(sample) => Reading::Value(source.none()),
                Some((_, told)) => Reading::Value(source.take_told(
                    sample.key,
                    told.iter().map(|told| (told.socket, told.listening_port)),
                    sample.gauges.seldom.sockets.value(),
                )),
                None => sockets_of(sample, origin, source),
            };
            if found.absence().is_some() {
                attention.turn_to(sample.key.pid);
            }
            if measures.sockets {
                sample.gauges.seldom.sockets = found;
            }
        }
    }
}

/// Where it fails, nobody has been told of.
fn read_told(
    bpf: &mut Bpf,
    held: &mut HeldSockets,
    source: &mut SocketSource,
    samples: &[ProcessSample],
) -> Result<(), rustix::io::Errno> {
    held.clear(samples.len());
    let until = source.begin_telling();
    let outcome = bpf.read_sockets(until, &mut |record| held.take(record, samples));
    if outcome.is_err() {
        held.clear(0);
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
    source: &mut SocketSource,
) -> Reading<Arc<[Socket]>> {
    let key = sample.key;
    let threads = sample.threads().value().copied().unwrap_or_default();
    let main_lives = |thread: &ThreadIo| !thread.has_exited && thread.key.tid == key.pid;
    let living = threads.iter().find(|thread| !thread.has_exited);
    let folder = open_folder(&origin.root, Name::of(key.pid).as_c_str());
    let folder = folder.and_then(|folder| match living {
        Some(thread) if !threads.iter().any(main_lives) => {
            open_folder(&folder, Name::in_thread(thread.key.tid, ".").as_c_str())
        }
        _ => Ok(folder),
    });
    let found = match folder {
        Ok(folder) => source.sockets_held(key, folder.as_fd(), sample.gauges.fds.value().copied()),
        Err(errno) => Reading::Absent(absence_of(errno)),
    };
    if let Reading::Absent(why) = found {
        source.note_unread(key, why);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use mpp_accounting::process::{Absence, Gauges, Lineage, ProcessIo, ProcessKey, Usage};
    use mpp_accounting::slack;
    use mpp_parse::bpf_record::TaskKey;

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
    fn room_for_a_storm_is_kept_for_as_many_sweeps_as_elsewhere() {
        let mut all = HeldSockets::default();
        let mut sweep = |samples: usize| {
            all.begin_sweep();
            all.clear(samples);
            all.holders.capacity()
        };
        assert!(sweep(10_000) >= 10_000);
        let after: Vec<usize> = (0..2 * slack::INTERVALS).map(|_| sweep(100)).collect();
        let kept = after.iter().take_while(|room| **room >= 10_000).count();
        assert!(kept >= slack::INTERVALS as usize, "{after:?}");
        assert!(after.iter().any(|room| *room <= 250), "{after:?}");
    }

    #[test]
    fn descriptors_that_are_told_twice_count_once_and_strangers_not_at_all() {
        let samples = [sample(5, 50), sample(7, 70), sample(9, 90)];
        let mut all = HeldSockets::default();
        all.clear(samples.len());
        let mut tell = |pid, ns, inode| {
            let socket = HeldSocket { inode, ..held(AF_UNIX, 1, 0, 1, 0) };
            let record = SocketRecord {
                process: TaskKey { id: pid, start_ns: ns },
                tid: pid,
                namespace: 4,
                socket: Some(socket).filter(|socket| socket.inode != 0),
            };
            all.take(&record, &samples);
        };
        for inode in [0, 1, 2] {
            tell(5, 50, inode);
        }
        // Born since, another one with the same PID, once more, and who holds none.
        for (pid, ns, inode) in
            [(6, 60, 0), (6, 60, 3), (9, 91, 0), (9, 91, 4), (5, 50, 0), (5, 50, 5), (7, 70, 0)]
        {
            tell(pid, ns, inode);
        }
        let found = |position| {
            let (namespace, told) = all.of(position)?;
            assert_eq!(namespace, 4);
            Some(told.iter().map(|told| told.socket.inode).collect::<Vec<_>>())
        };
        assert_eq!([found(0), found(1), found(2)], [Some(vec![1, 2]), Some(vec![]), None]);
    }
}
