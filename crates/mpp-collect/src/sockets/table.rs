//! The sockets of one network namespace, by inode.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use mpp_accounting::process::{Absence, SocketKind, TcpState};
use mpp_parse::netlink::{Body, FLAG_DUMP_INTERRUPTED, Message, messages};
use mpp_parse::sock_diag::{
    ALL_STATES, Family, Protocol, inet_request, parse_inet, parse_unix, unix_request,
};
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrAny, SocketFlags, SocketType, recvfrom, sendto,
    socket_with,
};

use crate::sys;

/// How often a table is read again when it changed so that the kernel calls the answer broken.
const ATTEMPTS_MAX: u32 = 4;
/// The kernel answers at once; this is for a kernel that does not.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
/// The kernel fills at most 32 KiB at a time.
const DATAGRAM_BYTES: usize = 32 << 10;

/// The sockets that wait for connections lie in a table of their own, which is small.
const TCP_LISTENING: u32 = 1 << TcpState::Listen as u32;
/// All other states but `TIME_WAIT`: of those there may be tens of thousands, and nobody holds
/// one. Bits above the eleventh are states that the kernel keeps to itself.
const TCP_CONNECTED: u32 = 0xffe & !(1 << TcpState::TimeWait as u32) & !TCP_LISTENING;

/// What a table is read in, the cheap parts first. The kernel walks its whole table of
/// connections for each of the last two, however few there are: 0.2 ms for the usual size.
const PARTS: [Part; 7] = [
    Part::TcpListening(Family::V4),
    Part::TcpListening(Family::V6),
    Part::Unix,
    Part::Udp(Family::V4),
    Part::Udp(Family::V6),
    Part::TcpConnected(Family::V4),
    Part::TcpConnected(Family::V6),
];

/// A netlink socket that asks for tables; it belongs to the network namespace it was made in.
#[derive(Debug)]
pub(super) struct SocketDiag {
    socket: OwnedFd,
    sequence: u32,
    datagram: Vec<u8>,
}

/// The sockets of a network namespace that somebody may hold, as far as they have been read.
#[derive(Debug, Default)]
pub(super) struct SocketTable {
    /// Sorted by inode.
    sockets: Vec<(u32, SocketKind)>,
    parts_read: usize,
}

/// What is asked for at one time.
#[derive(Clone, Copy, Debug)]
enum Part {
    TcpListening(Family),
    TcpConnected(Family),
    Udp(Family),
    Unix,
}

/// Why a dump gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    /// It may do the next time.
    ForNow,
    /// It will not.
    Because(Absence),
}

impl SocketTable {
    /// What the socket with this inode is, if it is in the table.
    pub(super) fn kind_of(&self, inode: u64) -> Option<SocketKind> {
        let inode = u32::try_from(inode).ok()?;
        let position = self.sockets.binary_search_by_key(&inode, |(inode, _)| *inode).ok()?;
        self.sockets.get(position).map(|(_, kind)| *kind)
    }

    /// Keeps the room, not the sockets.
    pub(super) fn clear(&mut self) {
        self.sockets.clear();
        self.parts_read = 0;
    }

    /// Whether nothing is left to read.
    pub(super) fn is_whole(&self) -> bool {
        self.parts_read == PARTS.len()
    }
}

impl SocketDiag {
    /// Opens a socket in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, Errno> {
        let protocol = Some(netlink::SOCK_DIAG);
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let socket = sys::retrying(|| socket_with(family, SocketType::RAW, flags, protocol))?;
        Ok(SocketDiag { socket, sequence: 0, datagram: vec![0; DATAGRAM_BYTES] })
    }

    /// Reads the next part of a table, where there is one.
    pub(super) fn read_on(&mut self, table: &mut SocketTable) -> Result<(), Absence> {
        let Some(part) = PARTS.get(table.parts_read) else { return Ok(()) };
        self.read_part(*part, &mut table.sockets)?;
        table.parts_read += 1;
        // A socket may come twice when the table changes while it is read.
        table.sockets.sort_unstable();
        table.sockets.dedup_by_key(|(inode, _)| *inode);
        Ok(())
    }

    /// Reads all that is left of a table.
    pub(super) fn read_whole(&mut self, table: &mut SocketTable) -> Result<(), Absence> {
        while !table.is_whole() {
            self.read_on(table)?;
        }
        Ok(())
    }

    fn read_part(
        &mut self,
        part: Part,
        sockets: &mut Vec<(u32, SocketKind)>,
    ) -> Result<(), Absence> {
        let length = sockets.len();
        for _ in 0..ATTEMPTS_MAX {
            match self.dump(part, sockets) {
                Ok(()) => return Ok(()),
                Err(Broken::Because(why)) => return Err(why),
                Err(Broken::ForNow) => sockets.truncate(length),
            }
        }
        Err(Absence::Unstable)
    }

    fn dump(&mut self, part: Part, sockets: &mut Vec<(u32, SocketKind)>) -> Result<(), Broken> {
        let sequence = self.sequence.wrapping_add(1);
        self.sequence = sequence;
        self.ask(part)?;
        let mut is_interrupted = false;
        loop {
            let Some(datagram) = self.receive()? else { continue };
            for message in messages(datagram) {
                let message = message.map_err(|_| Broken::Because(Absence::Malformed))?;
                // What is left of an answer that was given up.
                if message.header.sequence != sequence {
                    continue;
                }
                is_interrupted |= message.header.flags & FLAG_DUMP_INTERRUPTED != 0;
                if take(message, part, sockets)? == Progress::Done {
                    return if is_interrupted { Err(Broken::ForNow) } else { Ok(()) };
                }
            }
        }
    }

    fn ask(&self, part: Part) -> Result<(), Broken> {
        let inet = |family, protocol, states| inet_request(family, protocol, states, self.sequence);
        match part {
            Part::TcpListening(family) => self.send(&inet(family, Protocol::Tcp, TCP_LISTENING)),
            Part::TcpConnected(family) => self.send(&inet(family, Protocol::Tcp, TCP_CONNECTED)),
            Part::Udp(family) => self.send(&inet(family, Protocol::Udp, ALL_STATES)),
            Part::Unix => self.send(&unix_request(ALL_STATES, self.sequence)),
        }
    }

    fn send(&self, request: &[u8]) -> Result<(), Broken> {
        let kernel = SocketAddrNetlink::new(0, 0);
        sys::retrying(|| sendto(&self.socket, request, SendFlags::empty(), &kernel))
            .map(|_| ())
            .map_err(Broken::of)
    }

    /// The next datagram from the kernel. `None` for one from somebody else: anybody may send
    /// to a netlink socket.
    fn receive(&mut self) -> Result<Option<&[u8]>, Broken> {
        let (socket, buffer) = (&self.socket, &mut self.datagram[..]);
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let (length, sender) = loop {
            let received = sys::retrying(|| recvfrom(socket, &mut *buffer, flags));
            match received.map(|(_, length, sender)| (length, sender)) {
                // Mostly it is there already.
                Err(Errno::AGAIN) => wait_for_answer(socket)?,
                outcome => break outcome.map_err(Broken::of)?,
            }
        };
        if !is_kernel(sender) {
            return Ok(None);
        }
        // One that was cut is longer than what came.
        self.datagram.get(..length).map(Some).ok_or(Broken::ForNow)
    }
}

fn wait_for_answer(socket: &OwnedFd) -> Result<(), Broken> {
    match sys::wait_until_ready(socket.as_fd(), PollFlags::IN, ANSWER_WAIT) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Broken::of(Errno::TIMEDOUT)),
        Err(errno) => Err(Broken::of(errno)),
    }
}

impl Broken {
    fn of(errno: Errno) -> Self {
        match errno {
            // The answer was too fast for the receive buffer, or another dump is not over.
            Errno::NOBUFS | Errno::BUSY | Errno::AGAIN => Broken::ForNow,
            // No such family or protocol in this kernel.
            Errno::NOENT | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::OPNOTSUPP => {
                Broken::Because(Absence::Unsupported)
            }
            Errno::ACCESS | Errno::PERM => Broken::Because(Absence::Denied),
            other => Broken::Because(Absence::Failed(other.raw_os_error())),
        }
    }
}

fn is_kernel(sender: Option<SocketAddrAny>) -> bool {
    sender
        .and_then(|sender| SocketAddrNetlink::try_from(sender).ok())
        .is_some_and(|sender| sender.pid() == 0)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

/// Takes one message of an answer.
fn take(
    message: Message<'_>,
    part: Part,
    sockets: &mut Vec<(u32, SocketKind)>,
) -> Result<Progress, Broken> {
    let malformed = |_| Broken::Because(Absence::Malformed);
    match message.body().map_err(malformed)? {
        Body::Payload(payload) => {
            let (inode, kind) = match part {
                Part::TcpListening(_) | Part::TcpConnected(_) => {
                    let socket = parse_inet(payload).map_err(malformed)?;
                    (socket.inode, TcpState::from_kernel(socket.state).map(SocketKind::Tcp))
                }
                Part::Udp(_) => {
                    (parse_inet(payload).map_err(malformed)?.inode, Some(SocketKind::Udp))
                }
                Part::Unix => {
                    (parse_unix(payload).map_err(malformed)?.inode, Some(SocketKind::Unix))
                }
            };
            // Inode 0 belongs to nobody.
            sockets.extend(kind.filter(|_| inode != 0).map(|kind| (inode, kind)));
            Ok(Progress::More)
        }
        Body::Done { errno: 0 } => Ok(Progress::Done),
        Body::Done { errno } | Body::Error { errno } => {
            let errno = i32::try_from(errno).unwrap_or(i32::MAX);
            Err(Broken::of(Errno::from_raw_os_error(errno)))
        }
        Body::Overrun => Err(Broken::ForNow),
        Body::Noop => Ok(Progress::More),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    use mpp_parse::netlink::{FLAG_DUMP, Header, encode};
    use mpp_parse::sock_diag::BY_FAMILY;
    use rustix::net::getsockname;

    /// The payload of an answer about a unix socket with this inode.
    fn unix_answer(inode: u32) -> Vec<u8> {
        [&[1, 1, 1, 0][..], &inode.to_ne_bytes(), &[0; 8]].concat()
    }

    fn message<'b>(buffer: &'b mut [u8], sequence: u32, kind: u16, payload: &[u8]) -> &'b [u8] {
        let header = Header { length: 0, kind, flags: FLAG_DUMP, sequence, port_id: 0 };
        encode(buffer, header, payload).unwrap()
    }

    #[test]
    fn a_message_that_somebody_else_sent_is_not_believed() {
        const FORGED: u32 = 4_294_967_290;
        let mut diag = SocketDiag::open().unwrap();
        let mut table = SocketTable::default();
        diag.read_whole(&mut table).unwrap();
        let address = SocketAddrNetlink::try_from(getsockname(&diag.socket).unwrap()).unwrap();
        let forger = SocketDiag::open().unwrap();
        let target = SocketAddrNetlink::new(address.pid(), 0);
        // Forged are an answer to the dump of unix sockets that follows, and the end of it.
        let (mut answer, mut end) = ([0; 64], [0; 64]);
        let sequence = diag.sequence + 3;
        let answer = message(&mut answer, sequence, BY_FAMILY, &unix_answer(FORGED));
        let end = message(&mut end, sequence, 3, &[0; 4]);
        for forged in [answer, end] {
            if let Err(errno) = sendto(&forger.socket, forged, SendFlags::empty(), &target) {
                eprintln!("forging needs CAP_NET_ADMIN here");
                assert_eq!(errno, Errno::PERM);
            }
        }
        let (left, _right) = UnixStream::pair().unwrap();
        table.clear();
        diag.read_whole(&mut table).unwrap();
        assert_eq!(table.kind_of(u64::from(FORGED)), None);
        let inode = rustix::fs::fstat(&left).unwrap().st_ino;
        assert_eq!(table.kind_of(inode), Some(SocketKind::Unix));
    }

    #[test]
    fn what_the_kernel_says_instead_of_a_table_is_a_reason() {
        fn check(kind: u16, payload: &[u8], expected: Result<Progress, Broken>) {
            let mut buffer = [0; 256];
            let bytes = message(&mut buffer, 1, kind, payload);
            let message = messages(bytes).next().unwrap().unwrap();
            let mut sockets = Vec::new();
            assert_eq!(take(message, Part::Unix, &mut sockets), expected, "{kind} {payload:?}");
            assert_eq!(sockets, []);
        }
        let because = |why| Err(Broken::Because(why));
        let code = |errno: Errno| (-errno.raw_os_error()).to_ne_bytes();
        check(2, &code(Errno::NOENT), because(Absence::Unsupported));
        check(2, &code(Errno::PERM), because(Absence::Denied));
        check(2, &code(Errno::INVAL), because(Absence::Failed(22)));
        check(3, &code(Errno::BUSY), Err(Broken::ForNow));
        check(3, &[0; 4], Ok(Progress::Done));
        check(4, &[], Err(Broken::ForNow));
        check(1, &[], Ok(Progress::More));
        check(BY_FAMILY, &[1, 2, 3], because(Absence::Malformed));
        check(BY_FAMILY, &unix_answer(0), Ok(Progress::More));
    }

    #[test]
    fn a_kind_is_found_by_inode_and_by_nothing_else() {
        let sockets = vec![(5, SocketKind::Unix), (9, SocketKind::Udp)];
        let table = SocketTable { sockets, parts_read: 0 };
        assert_eq!(table.kind_of(9), Some(SocketKind::Udp));
        for inode in [0, 6, 10, (1 << 32) + 5] {
            assert_eq!(table.kind_of(inode), None, "{inode}");
        }
    }
}
