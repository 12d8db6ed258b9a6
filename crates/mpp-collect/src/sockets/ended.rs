//! The kernel's last word about each TCP socket: the multicast groups
//! `SKNLGRP_INET_TCP_DESTROY` and `SKNLGRP_INET6_TCP_DESTROY` of sock_diag(7).
//!
//! A connection that is opened and closed between two sweeps stands in no table that we read.
//! The kernel tells of each destroyed socket with all that it moved, of those in our own network
//! namespace and from when we began to listen; no capability is needed. Two traps. What the
//! kernel cannot queue is lost, and it says so once for all of it (`ENOBUFS`). And a socket is
//! in state `CLOSE` when it is destroyed, so that nothing says whether the peer's FIN is
//! among the bytes received: the test `both_sides_of_a_connection_are_told_to_the_byte` in
//! mpp-load shows the ways that a connection can end and is told to the byte all the same.

use std::os::fd::OwnedFd;

use mpp_accounting::network::{ClosedConnection, ConnectionId, Endpoint};
use mpp_accounting::process::Absence;
use mpp_parse::netlink::{Body, Message, messages};
use mpp_parse::sock_diag::{InetSocket, TCP_DESTROY_GROUPS, parse_inet, tcp_info};
use mpp_parse::tcp_info::{PeerEnd, TcpInfo};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recvfrom, socket_with};

use super::table::{is_kernel, local_end, totals};
use crate::error::absence_of;
use crate::sys;

/// Enough for tens of thousands of ends between two sweeps. Without CAP_NET_ADMIN the kernel
/// gives what `net.core.rmem_max` allows. Only what is queued takes memory.
const BUFFER_BYTES: usize = 32 << 20;
/// An end is told in some 400 bytes.
const DATAGRAM_BYTES: usize = 4 << 10;
/// No more ends are taken in one sweep; the others wait in the buffer for the next.
const ENDS_MAX: usize = 1 << 18;
/// What setting a socket back leaves between what was written and what was acknowledged, where it
/// was never connected: a SYN, and two bytes that tcp_disconnect() of `net/ipv4/tcp.c` adds to the
/// peer's window, which is unknown then.
const GAP_OF_UNCONNECTED: u32 = 3;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opener {
    /// This end.
    Itself,
    /// The other one: it was accepted here.
    Peer,
}

/// A netlink socket that is told of the end of every TCP socket in its network namespace.
#[derive(Debug)]
pub(super) struct EndedSockets {
    socket: OwnedFd,
    datagram: Vec<u8>,
    /// Datagrams so far that somebody else than the kernel has sent.
    forged: u64,
}

impl EndedSockets {
    /// Begins to listen in the network namespace of the calling thread.
    pub(super) fn open() -> Result<Self, Absence> {
        let protocol = Some(netlink::SOCK_DIAG);
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let socket = sys::retrying(|| socket_with(family, SocketType::RAW, flags, protocol))
            .map_err(absence_of)?;
        // As much as we may have; what it comes to is measured by what is lost.
        let _ = sys::retrying(|| set_socket_recv_buffer_size_force(&socket, BUFFER_BYTES))
            .or_else(|_| sys::retrying(|| set_socket_recv_buffer_size(&socket, BUFFER_BYTES)));
        let address = SocketAddrNetlink::new(0, TCP_DESTROY_GROUPS);
        sys::retrying(|| bind(&socket, &address)).map_err(|errno| match errno {
            // The kernel is older than the groups.
            Errno::INVAL | Errno::NOENT => Absence::Unsupported,
            other => absence_of(other),
        })?;
        Ok(EndedSockets { socket, datagram: vec![0; DATAGRAM_BYTES], forged: 0 })
    }

    /// Datagrams so far that somebody else than the kernel has sent. Only grows.
    pub(super) fn forged_total(&self) -> u64 {
        self.forged
    }

    /// Appends what ended since the last time. Returns how often the kernel had more to say than
    /// it could queue.
    ///
    /// `opener_of` says who opened a connection, by its own end.
    ///
    /// # Errors
    /// Why the rest cannot be had. What was appended is true all the same.
    pub(super) fn drain(
        &mut self,
        namespace: u64,
        opener_of: impl Fn(&Endpoint) -> Opener,
        into: &mut Vec<ClosedConnection>,
    ) -> Result<u64, Absence> {
        let mut lost = 0;
        for _ in 0..ENDS_MAX {
            let (socket, buffer) = (&self.socket, &mut self.datagram[..]);
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let received = sys::retrying(|| {
                recvfrom(socket, &mut *buffer, flags).map(|(_, length, from)| (length, from))
            });
            let (length, sender) = match received {
                Ok(received) => received,
                Err(Errno::AGAIN) => break,
                Err(Errno::NOBUFS) => {
                    lost += 1;
                    continue;
                }
                Err(errno) => return Err(absence_of(errno)),
            };
            // Anybody may send to a netlink socket.
            if !is_kernel(sender) {
                self.forged += 1;
                continue;
            }
            let datagram = self.datagram.get(..length).ok_or(Absence::Malformed)?;
            for message in messages(datagram) {
                let message = message.map_err(|_| Absence::Malformed)?;
                into.extend(ended(message, namespace, &opener_of)?);
            }
        }
        Ok(lost)
    }
}

/// What a message says. `None` for one that tells of no connection: a socket that listened, or
/// never was connected.
fn ended(
    message: Message<'_>,
    namespace: u64,
    opener_of: impl Fn(&Endpoint) -> Opener,
) -> Result<Option<ClosedConnection>, Absence> {
    let malformed = |_| Absence::Malformed;
    let Body::Payload(payload) = message.body().map_err(malformed)? else { return Ok(None) };
    let socket = parse_inet(payload).map_err(malformed)?;
    let Some(info) = tcp_info(payload).map_err(malformed)? else { return Ok(None) };
    let info = TcpInfo::parse(info).map_err(|_| Absence::Unsupported)?;
    let local = local_end(&socket);
    let peer = peer_end(&info, &socket, opener_of(&local));
    let connection = ClosedConnection {
        id: ConnectionId { namespace, cookie: socket.cookie },
        local,
        moved: totals(&info, peer),
        was_thrown_away: socket.destination_port == 0 && socket.send_queue > GAP_OF_UNCONNECTED,
    };
    Ok(Some(connection))
}

/// Whether the peer's FIN was counted among what was received.
///
/// It was not where the peer never acknowledged ours: then the connection broke off. Where it did,
/// nearly always both sides have finished: the exception is a peer that finishes later than this
/// end was forgotten, and then one byte is missing.
fn peer_end(info: &TcpInfo, socket: &InetSocket, opener: Opener) -> PeerEnd {
    // Whoever opens a connection also has a SYN acknowledged.
    let without_fin = match opener {
        Opener::Peer => 0,
        Opener::Itself => 1,
    };
    let has_finished = info.acked_marks().is_none_or(|marks| marks > without_fin);
    if has_finished && socket.send_queue == 0 { PeerEnd::Finished } else { PeerEnd::Open }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    use mpp_parse::netlink::{Header, encode};
    use mpp_parse::sock_diag::BY_FAMILY;
    use rustix::net::{SendFlags, getsockname, sendto};

    /// What the kernel said when an end was destroyed that sent so much and received so much.
    fn captured(case: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/parse/sock_diag/");
        std::fs::read(format!("{folder}{case}")).unwrap()
    }

    fn message(payload: &[u8]) -> Vec<u8> {
        let header = Header { length: 0, kind: BY_FAMILY, flags: 0, sequence: 0, port_id: 0 };
        encode(&mut [0; 1024], header, payload).unwrap().to_vec()
    }

    fn check(payload: &[u8], opener: Opener, moved: [u64; 3], was_thrown_away: bool) {
        let bytes = message(payload);
        let message = messages(&bytes).next().unwrap().unwrap();
        let found = ended(message, 7, |_| opener).unwrap().unwrap();
        assert_eq!((found.moved.0, found.was_thrown_away), (moved, was_thrown_away));
        assert_eq!(found.id.namespace, 7);
    }

    #[test]
    fn syn_and_fin_are_taken_off_the_last_word() {
        let (client, server) = (captured("destroyed_client"), captured("destroyed_server"));
        check(&client, Opener::Itself, [1000, 500, 0], false);
        check(&server, Opener::Peer, [500, 1000, 0], false);
        // Something of ours was never acknowledged: the connection broke off.
        let mut broken = client.clone();
        broken[60..64].copy_from_slice(&5_u32.to_ne_bytes());
        check(&broken, Opener::Itself, [1000, 501, 0], false);
    }

    #[test]
    fn a_connection_that_was_set_back_is_told_from_one_that_never_was() {
        let mut payload = captured("destroyed_client");
        payload[6..8].fill(0);
        let check_gap = |mut payload: Vec<u8>, gap: u32, was_thrown_away: bool| {
            payload[60..64].copy_from_slice(&gap.to_ne_bytes());
            check(&payload, Opener::Itself, [1000, 501, 0], was_thrown_away);
        };
        check_gap(payload.clone(), 3, false);
        check_gap(payload, 70_658, true);
        let mut connected = captured("destroyed_client");
        connected[60..64].copy_from_slice(&70_658_u32.to_ne_bytes());
        check(&connected, Opener::Itself, [1000, 501, 0], false);
    }

    #[test]
    fn what_is_no_connection_and_what_is_cut_is_told_apart() {
        let payload = captured("destroyed_client");
        for length in 0..payload.len() {
            let bytes = message(&payload[..length]);
            let found = ended(messages(&bytes).next().unwrap().unwrap(), 7, |_| Opener::Peer);
            assert!(found.is_err() || found == Ok(None), "{length}: {found:?}");
        }
    }

    /// Opens and closes so many connections; returns the port of their listener.
    fn come_and_go(count: usize) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..count {
            let client = TcpStream::connect(address).unwrap();
            drop(listener.accept().unwrap());
            drop(client);
        }
        address.port()
    }

    /// Drains until something has come that is asked for, or long enough; returns what was lost.
    fn drain(
        ended: &mut EndedSockets,
        is_enough: impl Fn(&[ClosedConnection], u64) -> bool,
    ) -> (Vec<ClosedConnection>, u64) {
        let (mut all, mut lost) = (Vec::new(), 0);
        for _ in 0..200 {
            lost += ended.drain(0, |_| Opener::Peer, &mut all).unwrap();
            if is_enough(&all, lost) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        (all, lost)
    }

    #[test]
    fn every_end_is_told_once() {
        let mut ended = EndedSockets::open().unwrap();
        let port = come_and_go(50);
        let count = |all: &[ClosedConnection]| all.iter().filter(|c| c.local.port == port).count();
        // One of them is the socket that listened.
        let (all, lost) = drain(&mut ended, |all, _| count(all) > 50);
        assert_eq!((count(&all), lost), (51, 0));
    }

    #[test]
    fn what_the_kernel_could_not_queue_is_counted_as_lost() {
        let mut ended = EndedSockets::open().unwrap();
        set_socket_recv_buffer_size(&ended.socket, 1).unwrap();
        come_and_go(100);
        let (all, lost) = drain(&mut ended, |_, lost| lost > 0);
        assert!(lost > 0 && all.len() < 200, "{lost} lost, {} told", all.len());
        // And what comes later is told again.
        set_socket_recv_buffer_size(&ended.socket, 1 << 20).unwrap();
        drain(&mut ended, |_, _| false);
        let port = come_and_go(1);
        let is_there = |all: &[ClosedConnection], _| all.iter().any(|c| c.local.port == port);
        let (all, _) = drain(&mut ended, is_there);
        assert!(is_there(&all, 0));
    }

    #[test]
    fn an_end_that_somebody_else_tells_is_not_believed() {
        let mut ended = EndedSockets::open().unwrap();
        let address = SocketAddrNetlink::try_from(getsockname(&ended.socket).unwrap()).unwrap();
        let forger = EndedSockets::open().unwrap();
        let mut payload = captured("destroyed_client");
        payload[44..52].fill(0xFE);
        let forged = message(&payload);
        let target = SocketAddrNetlink::new(address.pid(), 0);
        let is_forged = match sendto(&forger.socket, &forged, SendFlags::empty(), &target) {
            Ok(_) => true,
            Err(errno) => {
                assert_eq!(errno, Errno::PERM, "forging needs CAP_NET_ADMIN here");
                false
            }
        };
        let port = come_and_go(1);
        let (all, _) = drain(&mut ended, |all, _| all.iter().any(|c| c.local.port == port));
        assert!(!all.is_empty() && all.iter().all(|c| c.id.cookie != 0xFEFE_FEFE_FEFE_FEFE));
        assert_eq!(ended.forged_total(), u64::from(is_forged));
    }
}
