//! Netlink datagrams: messages with headers, and attributes inside them, netlink(7)
//! and `include/uapi/linux/netlink.h`.
//!
//! A datagram holds several messages, each led in by its length; the last one's
//! padding may be missing. The trap: anyone on the machine may send a datagram, so
//! the reader checks that it comes from the kernel's address (port 0, recvfrom(2)) before
//! it comes here, and no length in it is believed before it is held against the bytes
//! that are there.

use core::fmt;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::{ErrorKind, ParseError};

const PAGE: &str = "netlink(7)";

/// Ask the kernel for something: `NLM_F_REQUEST`.
pub const FLAG_REQUEST: u16 = 0x01;
/// Ask for everything there is: `NLM_F_DUMP`.
pub const FLAG_DUMP: u16 = 0x300;
/// Answer with an error message, whose number is 0 where all went well: `NLM_F_ACK`.
pub const FLAG_ACKNOWLEDGE: u16 = 0x04;
/// In an answer: things changed while they were dumped, so some may be missing or come
/// twice: `NLM_F_DUMP_INTR`.
pub const FLAG_DUMP_INTERRUPTED: u16 = 0x10;

/// Bytes of a message's header.
pub const HEADER_LENGTH: usize = size_of::<Header>();

const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_OVERRUN: u16 = 4;
const ALIGNMENT: usize = 4;
const NLA_F_NESTED: u16 = 0x8000;
const NLA_F_NET_BYTEORDER: u16 = 0x4000;

/// A message's header, `struct nlmsghdr`, in the machine's byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// Bytes of the message, header included, padding not: `nlmsg_len`.
    pub length: u32,
    /// What the message is: `nlmsg_type`.
    pub kind: u16,
    /// `FLAG_*`: `nlmsg_flags`.
    pub flags: u16,
    /// The number of the request, repeated in the answer: `nlmsg_seq`.
    pub sequence: u32,
    /// The port of the one who asked, also in the answer: `nlmsg_pid`. No proof of who sent
    /// it; only the datagram's own address is.
    pub port_id: u32,
}

/// One message of a datagram.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// What follows the header, without padding.
    pub payload: &'a [u8],
}

/// What a message says, by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body<'a> {
    /// The answer goes on in the next message or datagram.
    Payload(&'a [u8]),
    /// The answer ends here: `NLMSG_DONE`. The number is 0, or the errno with which a dump
    /// broke off.
    Done {
        /// 0 or an errno, positive.
        errno: u32,
    },
    /// The kernel refused, or, where the number is 0, acknowledged: `NLMSG_ERROR`.
    Error {
        /// 0 or an errno, positive.
        errno: u32,
    },
    /// Messages were lost: `NLMSG_OVERRUN`.
    Overrun,
    /// Nothing: `NLMSG_NOOP`.
    Noop,
}

/// The messages of a datagram, in order. After an error nothing follows.
#[must_use]
pub fn messages(datagram: &[u8]) -> Messages<'_> {
    Messages { records: Records { bytes: datagram, position: 0 } }
}

/// The attributes that follow a message's fixed part. After an error nothing follows.
#[must_use]
pub fn attributes(bytes: &[u8]) -> Attributes<'_> {
    Attributes { records: Records { bytes, position: 0 } }
}

/// Writes a header and a payload at the beginning of `buffer`, with the length filled in,
/// and returns the bytes to send.
///
/// Returns `None` when the buffer is too small for them.
#[must_use]
pub fn encode<'b>(buffer: &'b mut [u8], header: Header, payload: &[u8]) -> Option<&'b [u8]> {
    let length = HEADER_LENGTH.checked_add(payload.len())?;
    let message = buffer.get_mut(..length)?;
    let header = Header { length: u32::try_from(length).ok()?, ..header };
    let (head, body) = message.split_first_chunk_mut::<HEADER_LENGTH>()?;
    *head = zerocopy::transmute!(header);
    body.copy_from_slice(payload);
    Some(message)
}

impl<'a> Message<'a> {
    /// What the message says.
    ///
    /// # Errors
    /// An error message ends before its number.
    pub fn body(&self) -> Result<Body<'a>, ParseError> {
        Ok(match self.header.kind {
            NLMSG_NOOP => Body::Noop,
            NLMSG_OVERRUN => Body::Overrun,
            NLMSG_ERROR => Body::Error { errno: self.errno()? },
            // Only dumps of newer kernels carry a number here.
            NLMSG_DONE => Body::Done { errno: self.errno().unwrap_or(0) },
            _ => Body::Payload(self.payload),
        })
    }

    fn errno(&self) -> Result<u32, ParseError> {
        let number = self.payload.first_chunk().ok_or(ParseError {
            page: PAGE,
            field: "error",
            offset: HEADER_LENGTH.saturating_add(self.payload.len()),
            kind: ErrorKind::UnexpectedEnd { expected: "a number of 32 bits" },
        })?;
        Ok(i32::from_ne_bytes(*number).unsigned_abs())
    }
}

/// Iterator over messages; see [`messages`].
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    records: Records<'a>,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next("nlmsg_len", |bytes: [u8; HEADER_LENGTH]| {
            let header: Header = zerocopy::transmute!(bytes);
            (header, usize::try_from(header.length).unwrap_or(usize::MAX))
        })?;
        Some(record.map(|(header, payload)| Message { header, payload }))
    }
}

impl core::iter::FusedIterator for Messages<'_> {}

/// One attribute, `struct nlattr`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// What the attribute is, without the flags for nesting and byte order: `nla_type`.
    pub kind: u16,
    /// What follows the attribute's header, without padding.
    pub payload: &'a [u8],
}

/// Iterator over attributes; see [`attributes`].
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    records: Records<'a>,
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next("nla_len", |bytes: [u8; 4]| {
            let [length, kind]: [u16; 2] = zerocopy::transmute!(bytes);
            (kind & !(NLA_F_NESTED | NLA_F_NET_BYTEORDER), usize::from(length))
        })?;
        Some(record.map(|(kind, payload)| Attribute { kind, payload }))
    }
}

impl core::iter::FusedIterator for Attributes<'_> {}

/// Pieces that begin with a header which says their length, each on a multiple of four.
#[derive(Clone, Debug)]
struct Records<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Records<'a> {
    /// The next header, and what follows it; `read` takes header and length from bytes.
    fn next<H, const HEADER: usize>(
        &mut self,
        field: &'static str,
        read: impl FnOnce([u8; HEADER]) -> (H, usize),
    ) -> Option<Result<(H, &'a [u8]), ParseError>> {
        let offset = self.position;
        let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        // Whatever goes wrong below, nothing follows.
        self.position = self.bytes.len();
        let error = |kind| Some(Err(ParseError { page: PAGE, field, offset, kind }));
        let Some(header) = rest.first_chunk::<HEADER>() else {
            return error(ErrorKind::InvalidLength {
                least: HEADER,
                most: usize::MAX,
                found: rest.len(),
            });
        };
        let (header, length) = read(*header);
        let Some(payload) = rest.get(HEADER..length) else {
            return error(ErrorKind::InvalidLength {
                least: HEADER,
                most: rest.len(),
                found: length,
            });
        };
        let next = length.checked_next_multiple_of(ALIGNMENT).and_then(|n| n.checked_add(offset));
        self.position = next.unwrap_or(usize::MAX).min(self.bytes.len());
        Some(Ok((header, payload)))
    }
}

impl fmt::Debug for Message<'_> {
    /// As derived, but with bytes as escaped text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("header", &self.header)
            .field("payload", &format_args!("\"{}\"", self.payload.escape_ascii()))
            .finish()
    }
}

impl fmt::Debug for Attribute<'_> {
    /// As derived, but with bytes as escaped text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attribute")
            .field("kind", &self.kind)
            .field("payload", &format_args!("\"{}\"", self.payload.escape_ascii()))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    const HEADER: Header = Header { length: 0, kind: 20, flags: 2, sequence: 7, port_id: 0 };

    fn message(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 64];
        let message = encode(&mut buffer, Header { kind, ..HEADER }, payload);
        let mut message = message.expect("the buffer is large enough").to_vec();
        message.resize(message.len().next_multiple_of(ALIGNMENT), 0);
        message
    }

    fn check(datagram: &[u8], expected: &[Result<Body<'_>, &str>]) {
        let found: Vec<_> = messages(datagram)
            .map(|message| message.and_then(|message| message.body()))
            .map(|body| body.map_err(|error| error.to_string()))
            .collect();
        let expected: Vec<_> =
            expected.iter().map(|body| body.map_err(ToString::to_string)).collect();
        assert_eq!(found, expected, "{}", datagram.escape_ascii());
    }

    #[test]
    fn a_datagram_holds_several_messages() {
        let datagram = [message(20, b"one"), message(20, b""), message(3, &[0; 4])].concat();
        check(
            &datagram,
            &[Ok(Body::Payload(b"one")), Ok(Body::Payload(b"")), Ok(Body::Done { errno: 0 })],
        );
        check(b"", &[]);
    }

    #[test]
    fn the_padding_of_the_last_message_may_be_missing() {
        let datagram = message(20, b"five!");
        check(&datagram[..21], &[Ok(Body::Payload(b"five!"))]);
    }

    #[test]
    fn an_errno_is_the_number_without_its_minus() {
        let error = |number: i32| message(2, &number.to_ne_bytes());
        check(&error(-13), &[Ok(Body::Error { errno: 13 })]);
        check(&error(0), &[Ok(Body::Error { errno: 0 })]);
        check(&error(i32::MIN), &[Ok(Body::Error { errno: 1 << 31 })]);
        check(&message(3, &(-4_i32).to_ne_bytes()), &[Ok(Body::Done { errno: 4 })]);
        check(&message(3, b""), &[Ok(Body::Done { errno: 0 })]);
        check(
            &message(2, b"abc"),
            &[Err("netlink(7): expected a number of 32 bits in field `error`, \
                but the input ended at byte 19")],
        );
    }

    #[test]
    fn messages_that_say_nothing_are_told_from_lost_ones() {
        check(&message(1, b""), &[Ok(Body::Noop)]);
        check(&message(4, b""), &[Ok(Body::Overrun)]);
    }

    #[test]
    fn a_length_that_cannot_be_ends_the_datagram() {
        for (length, expected) in [
            (0, "expected a length from 16 to 24 in field `nlmsg_len`, but found 0 at byte 16"),
            (15, "expected a length from 16 to 24 in field `nlmsg_len`, but found 15 at byte 16"),
            (25, "expected a length from 16 to 24 in field `nlmsg_len`, but found 25 at byte 16"),
            (
                u32::MAX,
                "expected a length from 16 to 24 in field `nlmsg_len`, \
                 but found 4294967295 at byte 16",
            ),
        ] {
            let mut datagram = [message(20, b""), message(20, b"12345678")].concat();
            datagram[16..20].copy_from_slice(&length.to_ne_bytes());
            let expected = std::format!("netlink(7): {expected}");
            check(&datagram, &[Ok(Body::Payload(b"")), Err(&expected)]);
        }
    }

    #[test]
    fn a_datagram_cut_within_a_message_ends_with_an_error() {
        let datagram = message(20, b"12345678");
        for length in 1..datagram.len() {
            let found: Vec<_> = messages(&datagram[..length]).collect();
            assert!(matches!(found[..], [Err(_)]), "{length}: {found:?}");
        }
    }

    #[test]
    fn attributes_lose_their_flags_and_their_padding() {
        let attribute = |length: u16, kind: u16, payload: &[u8]| {
            [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), payload].concat()
        };
        let bytes = [attribute(5, 0x8001, b"x\0\0\0"), attribute(4, 0x4002, b"")].concat();
        let found: Vec<_> = attributes(&bytes).collect();
        let expected =
            [Ok(Attribute { kind: 1, payload: b"x" }), Ok(Attribute { kind: 2, payload: b"" })];
        assert_eq!(found, expected);
        for length in [0, 3, 5, u16::MAX] {
            let found: Vec<_> =
                attributes(&attribute(length, 1, b"")).map(|a| a.is_err()).collect();
            assert_eq!(found, [true], "{length}");
        }
    }

    #[test]
    fn a_buffer_that_is_too_small_is_not_written() {
        let mut buffer = [0; 18];
        assert_eq!(encode(&mut buffer, HEADER, b"abc"), None);
        assert_eq!(buffer, [0; 18]);
        assert_eq!(encode(&mut buffer, HEADER, b"ab").map(<[u8]>::len), Some(18));
    }
}
