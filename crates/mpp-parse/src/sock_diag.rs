//! Sockets from the kernel's own tables: sock_diag(7), `include/uapi/linux/inet_diag.h`
//! and `unix_diag.h`.
//!
//! One request asks for all sockets of one family and protocol in the reader's network
//! namespace; each answer is a fixed part, which is read here, and attributes that later
//! kernels add to. The text tables under `/proc/net` are no substitute: a process can name
//! a socket so that it forges a line there.
//!
//! The trap: a socket that no process holds any more (`TIME_WAIT`, a connection that has
//! not been accepted) has inode 0, so inode 0 belongs to nobody.

use zerocopy::byteorder::network_endian;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::{ErrorKind, ParseError};
use crate::netlink::{FLAG_DUMP, FLAG_REQUEST, HEADER_LENGTH, Header, attributes};

const PAGE: &str = "sock_diag(7)";

/// The kind of requests and answers: `SOCK_DIAG_BY_FAMILY`.
pub const BY_FAMILY: u16 = 20;
/// Sockets in any state.
pub const ALL_STATES: u32 = u32::MAX;

/// The multicast groups that tell of every TCP socket that was destroyed, as bind(2) takes
/// them: `SKNLGRP_INET_TCP_DESTROY` and `SKNLGRP_INET6_TCP_DESTROY`. Needs no capability.
pub const TCP_DESTROY_GROUPS: u32 = 0b0101;

/// The attribute that holds a `struct tcp_info`: `INET_DIAG_INFO`.
const ATTRIBUTE_INFO: u16 = 2;

/// Bytes of a request made by [`inet_request`] or [`tcp_request`].
pub const INET_REQUEST_LENGTH: usize = size_of::<InetRequest>();
/// Bytes of a request made by [`unix_request`].
pub const UNIX_REQUEST_LENGTH: usize = size_of::<UnixRequest>();

const AF_UNIX: u8 = 1;

/// Version of the Internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Family {
    /// Version 4: `AF_INET`.
    V4 = 2,
    /// Version 6: `AF_INET6`. Sockets that take both versions are here.
    V6 = 10,
}

/// Transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Protocol {
    Tcp = 6,
    Udp = 17,
}

/// One TCP or UDP socket: the fixed part of `struct inet_diag_msg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InetSocket {
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: u8,
    /// The state as numbered in the kernel's `include/net/tcp_states.h`; a UDP socket is 1
    /// when connected, else 7.
    pub state: u8,
    /// The own port; 0 while the socket is not bound.
    pub source_port: u16,
    /// The peer's port; 0 while there is none.
    pub destination_port: u16,
    /// The own address; version 4 has it in the first four bytes.
    pub source_address: [u8; 16],
    /// The peer's address, of the same form.
    pub destination_address: [u8; 16],
    /// Names the socket for as long as the machine runs, also where the inode is 0.
    pub cookie: u64,
    /// Bytes not yet read; for a listening socket connections not yet accepted.
    pub receive_queue: u32,
    /// Bytes not yet acknowledged; for a listening socket how many connections may wait.
    pub send_queue: u32,
    /// Its owner, as seen from the reader's user namespace.
    pub uid: u32,
    /// What the link in `/proc/<pid>/fd` names; 0 for a socket that nobody holds.
    pub inode: u32,
}

/// One unix socket: the fixed part of `struct unix_diag_msg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnixSocket {
    /// `SOCK_STREAM` (1), `SOCK_DGRAM` (2) or `SOCK_SEQPACKET` (5).
    pub kind: u8,
    /// 1 when connected, 10 when listening, else 7.
    pub state: u8,
    /// What the link in `/proc/<pid>/fd` names; 0 for a connection not yet accepted.
    pub inode: u32,
    /// Names the socket for as long as the machine runs.
    pub cookie: u64,
}

/// The message that asks for all sockets of a family and protocol whose state's bit
/// (`1 << state`) is set in `states`.
#[must_use]
pub fn inet_request(
    family: Family,
    protocol: Protocol,
    states: u32,
    sequence: u32,
) -> [u8; INET_REQUEST_LENGTH] {
    extended_request(family, protocol, 0, states, sequence)
}

/// As [`inet_request`] for TCP, each answer with what [`tcp_info`] finds in it.
#[must_use]
pub fn tcp_request(family: Family, states: u32, sequence: u32) -> [u8; INET_REQUEST_LENGTH] {
    extended_request(family, Protocol::Tcp, 1 << (ATTRIBUTE_INFO - 1), states, sequence)
}

fn extended_request(
    family: Family,
    protocol: Protocol,
    extensions: u8,
    states: u32,
    sequence: u32,
) -> [u8; INET_REQUEST_LENGTH] {
    let request = InetRequest {
        header: request_header(INET_REQUEST_LENGTH, sequence),
        family: family as u8,
        protocol: protocol as u8,
        extensions,
        padding: 0,
        states,
        id: SocketId::default(),
    };
    zerocopy::transmute!(request)
}

/// The message that asks for all unix sockets whose state's bit (`1 << state`) is set in
/// `states`, without attributes.
#[must_use]
pub fn unix_request(states: u32, sequence: u32) -> [u8; UNIX_REQUEST_LENGTH] {
    let request = UnixRequest {
        header: request_header(UNIX_REQUEST_LENGTH, sequence),
        family: AF_UNIX,
        protocol: 0,
        padding: 0,
        states,
        inode: 0,
        show: 0,
        cookie: [0; 2],
    };
    zerocopy::transmute!(request)
}

/// Reads the payload of an answer to [`inet_request`]; attributes after it are ignored.
///
/// # Errors
/// The payload is shorter than its fixed part.
pub fn parse_inet(payload: &[u8]) -> Result<InetSocket, ParseError> {
    let (message, _) = InetMessage::read_from_prefix(payload)
        .map_err(|_| too_short("inet_diag_msg", size_of::<InetMessage>(), payload))?;
    Ok(InetSocket {
        family: message.family,
        state: message.state,
        source_port: message.id.source_port.get(),
        destination_port: message.id.destination_port.get(),
        source_address: message.id.source_address,
        destination_address: message.id.destination_address,
        cookie: joined(message.id.cookie),
        receive_queue: message.receive_queue,
        send_queue: message.send_queue,
        uid: message.uid,
        inode: message.inode,
    })
}

/// The `struct tcp_info` in an answer to [`tcp_request`], or in what a group of
/// [`TCP_DESTROY_GROUPS`] says, for [`TcpInfo::parse`](crate::tcp_info::TcpInfo::parse).
///
/// `None` where there is none: a connection that is still being opened has moved nothing.
///
/// # Errors
/// The payload is shorter than its fixed part, or an attribute is cut.
pub fn tcp_info(payload: &[u8]) -> Result<Option<&[u8]>, ParseError> {
    let least = size_of::<InetMessage>();
    let after = payload.get(least..).ok_or_else(|| too_short("inet_diag_msg", least, payload))?;
    for attribute in attributes(after) {
        let attribute = attribute?;
        if attribute.kind == ATTRIBUTE_INFO {
            return Ok(Some(attribute.payload));
        }
    }
    Ok(None)
}

/// Reads the payload of an answer to [`unix_request`]; attributes after it are ignored.
///
/// # Errors
/// The payload is shorter than its fixed part.
pub fn parse_unix(payload: &[u8]) -> Result<UnixSocket, ParseError> {
    let (message, _) = UnixMessage::read_from_prefix(payload)
        .map_err(|_| too_short("unix_diag_msg", size_of::<UnixMessage>(), payload))?;
    Ok(UnixSocket {
        kind: message.kind,
        state: message.state,
        inode: message.inode,
        cookie: joined(message.cookie),
    })
}

fn request_header(length: usize, sequence: u32) -> Header {
    Header {
        length: u32::try_from(length).unwrap_or(u32::MAX),
        kind: BY_FAMILY,
        flags: FLAG_REQUEST | FLAG_DUMP,
        sequence,
        port_id: 0,
    }
}

/// The kernel splits a cookie into its low and its high half, in this order.
fn joined([low, high]: [u32; 2]) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

fn too_short(field: &'static str, least: usize, payload: &[u8]) -> ParseError {
    let kind = ErrorKind::InvalidLength { least, most: usize::MAX, found: payload.len() };
    ParseError { page: PAGE, field, offset: 0, kind }
}

/// `struct inet_diag_sockid`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SocketId {
    source_port: network_endian::U16,
    destination_port: network_endian::U16,
    source_address: [u8; 16],
    destination_address: [u8; 16],
    interface: u32,
    cookie: [u32; 2],
}

/// `struct nlmsghdr` and `struct inet_diag_req_v2`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct InetRequest {
    header: Header,
    family: u8,
    protocol: u8,
    extensions: u8,
    padding: u8,
    states: u32,
    id: SocketId,
}

/// `struct inet_diag_msg`.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct InetMessage {
    family: u8,
    state: u8,
    _timer: u8,
    _retransmits: u8,
    id: SocketId,
    _expires: u32,
    receive_queue: u32,
    send_queue: u32,
    uid: u32,
    inode: u32,
}

/// `struct nlmsghdr` and `struct unix_diag_req`.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct UnixRequest {
    header: Header,
    family: u8,
    protocol: u8,
    padding: u16,
    states: u32,
    inode: u32,
    show: u32,
    cookie: [u32; 2],
}

/// `struct unix_diag_msg`.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct UnixMessage {
    _family: u8,
    kind: u8,
    state: u8,
    _padding: u8,
    inode: u32,
    cookie: [u32; 2],
}

const _: () = assert!(HEADER_LENGTH == 16);
const _: () = assert!(INET_REQUEST_LENGTH == 72 && size_of::<InetMessage>() == 72);
const _: () = assert!(UNIX_REQUEST_LENGTH == 40 && size_of::<UnixMessage>() == 16);

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use crate::netlink::messages;

    /// A listening socket on `127.0.0.1:8080`, as the kernel answers.
    fn answer() -> Vec<u8> {
        let mut address = [0; 16];
        address[..4].copy_from_slice(&[127, 0, 0, 1]);
        [
            &[2, 10, 0, 0][..],
            &8080_u16.to_be_bytes(),
            &0_u16.to_be_bytes(),
            &address,
            &[0; 16],
            &3_u32.to_ne_bytes(),
            &7_u32.to_ne_bytes(),
            &1_u32.to_ne_bytes(),
            &0_u32.to_ne_bytes(),
            &5_u32.to_ne_bytes(),
            &128_u32.to_ne_bytes(),
            &1000_u32.to_ne_bytes(),
            &4242_u32.to_ne_bytes(),
        ]
        .concat()
    }

    fn check(payload: &[u8], expected: Result<InetSocket, &str>) {
        let found = parse_inet(payload).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(ToString::to_string));
    }

    fn listening() -> InetSocket {
        InetSocket {
            family: Family::V4 as u8,
            state: 10,
            source_port: 8080,
            destination_port: 0,
            source_address: [127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            destination_address: [0; 16],
            cookie: (1 << 32) | 7,
            receive_queue: 5,
            send_queue: 128,
            uid: 1000,
            inode: 4242,
        }
    }

    #[test]
    fn reads_each_field_from_its_own_place() {
        check(&answer(), Ok(listening()));
    }

    #[test]
    fn ignores_attributes_after_the_fixed_part() {
        check(&[answer(), b"\x05\0\x08\0\0".to_vec()].concat(), Ok(listening()));
    }

    #[test]
    fn an_answer_cut_anywhere_is_an_error() {
        let answer = answer();
        for length in 0..answer.len() {
            check(
                &answer[..length],
                Err(&std::format!(
                    "sock_diag(7): expected a length of at least 72 in field `inet_diag_msg`, \
                     but found {length} at byte 0"
                )),
            );
        }
        for length in 0..16 {
            assert!(parse_unix(&answer[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn finds_what_a_connection_has_moved_behind_other_attributes() {
        let info = [&12_u16.to_ne_bytes()[..], &2_u16.to_ne_bytes(), b"tcp_info"].concat();
        let other = b"\x05\0\x08\0\x01\0\0\0".to_vec();
        let with = [answer(), other.clone(), info.clone()].concat();
        assert_eq!(tcp_info(&with), Ok(Some(b"tcp_info".as_slice())));
        assert_eq!(tcp_info(&answer()), Ok(None));
        assert_eq!(tcp_info(&[answer(), other].concat()), Ok(None));
        assert!(tcp_info(&answer()[..71]).is_err());
        assert!(tcp_info(&[answer(), info[..11].to_vec()].concat()).is_err());
    }

    #[test]
    fn reads_a_unix_socket() {
        let answer =
            [&[1, 5, 10, 0][..], &77_u32.to_ne_bytes(), &[9, 0, 0, 0, 0, 0, 0, 0]].concat();
        let cookie = u64::from(u32::from_ne_bytes([9, 0, 0, 0]));
        let expected = UnixSocket { kind: 5, state: 10, inode: 77, cookie };
        assert_eq!(parse_unix(&answer), Ok(expected));
    }

    #[test]
    fn a_request_is_a_message_of_its_own_length() {
        let inet = inet_request(Family::V6, Protocol::Udp, 1 << 10, 9);
        let unix = unix_request(ALL_STATES, 9);
        let tcp = tcp_request(Family::V4, ALL_STATES, 9);
        for request in [inet.as_slice(), &unix, &tcp] {
            let messages: Vec<_> = messages(request).collect();
            let [Ok(message)] = messages[..] else { panic!("{messages:?}") };
            assert_eq!(message.header.length as usize, request.len());
            assert_eq!((message.header.kind, message.header.flags), (20, 0x301));
            assert_eq!((message.header.sequence, message.header.port_id), (9, 0));
        }
        assert_eq!(inet[16..20], [10, 17, 0, 0]);
        assert_eq!(inet[20..24], 1024_u32.to_ne_bytes());
        assert_eq!(inet[24..], [0; 48]);
        assert_eq!(tcp[16..20], [2, 6, 2, 0]);
        assert_eq!(unix[16..20], [1, 0, 0, 0]);
        assert_eq!(unix[20..24], u32::MAX.to_ne_bytes());
        assert_eq!(unix[24..], [0; 16]);
    }
}
