//! Generic netlink: families that are looked up by name, `include/uapi/linux/genetlink.h`.
//!
//! The kernel gives a family its number when it is registered, so that the number differs
//! from boot to boot and is asked for by name. Behind a message's header stands a second one
//! with the family's own command, and behind that stand attributes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::error::{ErrorKind, ParseError};
use crate::netlink::{FLAG_REQUEST, HEADER_LENGTH, Header, attributes};

const PAGE: &str = "genetlink";

/// The family that knows all the others: `GENL_ID_CTRL`.
pub const CONTROL_FAMILY: u16 = 0x10;

/// Bytes of a command's header.
pub const COMMAND_LENGTH: usize = size_of::<Command>();

const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_VERSION: u8 = 1;
const ATTRIBUTE_HEADER_LENGTH: usize = 4;
const ALIGNMENT: usize = 4;

/// The header of a command, `struct genlmsghdr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Command {
    /// What is asked or answered, in the family's own numbers: `cmd`.
    pub number: u8,
    /// The version of the family's interface: `version`.
    pub version: u8,
    /// Not used: 0.
    pub reserved: u16,
}

/// Splits a message's payload into its command and the attributes behind it.
///
/// # Errors
/// The payload ends before the command does.
pub fn parse_command(payload: &[u8]) -> Result<(Command, &[u8]), ParseError> {
    Command::read_from_prefix(payload).map_err(|_| {
        let (least, found) = (COMMAND_LENGTH, payload.len());
        let kind = ErrorKind::InvalidLength { least, most: usize::MAX, found };
        ParseError { page: PAGE, field: "genlmsghdr", offset: 0, kind }
    })
}

/// Writes a command with one attribute at the beginning of `buffer`, with all lengths filled
/// in, and returns the bytes to send. They are a multiple of four, so that another message may
/// follow them in the same datagram.
///
/// Returns `None` when the buffer is too small for them, or the attribute too long.
#[must_use]
pub fn encode<'b>(
    buffer: &'b mut [u8],
    header: Header,
    command: Command,
    (kind, attribute): (u16, &[u8]),
) -> Option<&'b [u8]> {
    let attribute_length = ATTRIBUTE_HEADER_LENGTH.checked_add(attribute.len())?;
    let length = attribute_length
        .checked_next_multiple_of(ALIGNMENT)?
        .checked_add(HEADER_LENGTH + COMMAND_LENGTH)?;
    let message = buffer.get_mut(..length)?;
    let header = Header { length: u32::try_from(length).ok()?, ..header };
    let attribute_header = [u16::try_from(attribute_length).ok()?, kind];
    let (head, rest) = message.split_first_chunk_mut::<HEADER_LENGTH>()?;
    *head = zerocopy::transmute!(header);
    let (head, rest) = rest.split_first_chunk_mut::<COMMAND_LENGTH>()?;
    *head = zerocopy::transmute!(command);
    let (head, rest) = rest.split_first_chunk_mut::<ATTRIBUTE_HEADER_LENGTH>()?;
    *head = zerocopy::transmute!(attribute_header);
    let (body, padding) = rest.split_at_mut_checked(attribute.len())?;
    body.copy_from_slice(attribute);
    padding.fill(0);
    Some(message)
}

/// The message that asks for the number of a family; `name` ends with its NUL.
///
/// Returns `None` when the buffer is too small for it.
#[must_use]
pub fn family_request<'b>(buffer: &'b mut [u8], name: &[u8], sequence: u32) -> Option<&'b [u8]> {
    let header =
        Header { length: 0, kind: CONTROL_FAMILY, flags: FLAG_REQUEST, sequence, port_id: 0 };
    let command = Command { number: CTRL_CMD_GETFAMILY, version: CTRL_VERSION, reserved: 0 };
    encode(buffer, header, command, (CTRL_ATTR_FAMILY_NAME, name))
}

/// Reads the family's number from the payload of the answer to [`family_request`].
///
/// # Errors
/// The payload is cut, or has no number.
pub fn parse_family(payload: &[u8]) -> Result<u16, ParseError> {
    let (_, rest) = parse_command(payload)?;
    for attribute in attributes(rest) {
        let attribute = attribute?;
        if attribute.kind == CTRL_ATTR_FAMILY_ID {
            let found = attribute.payload.len();
            return match *attribute.payload {
                [low, high] => Ok(u16::from_ne_bytes([low, high])),
                _ => Err(ParseError {
                    page: PAGE,
                    field: "CTRL_ATTR_FAMILY_ID",
                    offset: 0,
                    kind: ErrorKind::InvalidLength { least: 2, most: 2, found },
                }),
            };
        }
    }
    let kind = ErrorKind::MissingField;
    Err(ParseError { page: PAGE, field: "CTRL_ATTR_FAMILY_ID", offset: payload.len(), kind })
}

const _: () = assert!(COMMAND_LENGTH == 4);

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use crate::netlink::messages;

    fn check(payload: &[u8], expected: Result<u16, &str>) {
        let found = parse_family(payload).map_err(|error| error.to_string());
        assert_eq!(found, expected.map_err(ToString::to_string));
    }

    /// An answer with a name of three letters and the family's number.
    fn answer() -> Vec<u8> {
        [&[1, 2, 0, 0][..], b"\x08\0\x02\0abc\0", b"\x06\0\x01\0\x1f\0\0\0"].concat()
    }

    #[test]
    fn finds_the_number_behind_the_name() {
        check(&answer(), Ok(0x1f));
        check(
            &answer()[..12],
            Err("genetlink: expected field `CTRL_ATTR_FAMILY_ID`, but found none"),
        );
    }

    #[test]
    fn an_answer_cut_anywhere_is_an_error() {
        let answer = answer();
        // The last two bytes are padding.
        for length in 0..answer.len() - 2 {
            assert!(parse_family(&answer[..length]).is_err(), "{length}");
        }
        check(
            &[1, 2],
            Err("genetlink: expected a length of at least 4 in field `genlmsghdr`, \
                 but found 2 at byte 0"),
        );
        check(
            b"\x01\x02\0\0\x05\0\x01\0\x1f\0\0\0",
            Err("genetlink: expected a length from 2 to 2 in field `CTRL_ATTR_FAMILY_ID`, \
                 but found 1 at byte 0"),
        );
    }

    #[test]
    fn a_request_is_a_message_with_one_padded_attribute() {
        let mut buffer = [0xff; 40];
        let request = family_request(&mut buffer, b"ABCDE\0", 9).expect("there is room");
        assert_eq!(request.len(), 32);
        let all: Vec<_> = messages(request).collect();
        let [Ok(message)] = all[..] else { panic!("{all:?}") };
        assert_eq!((message.header.kind, message.header.flags), (CONTROL_FAMILY, 1));
        assert_eq!(message.header.sequence, 9);
        let (command, rest) = parse_command(message.payload).expect("it is whole");
        assert_eq!((command.number, command.version), (3, 1));
        let all: Vec<_> = attributes(rest).collect();
        let [Ok(attribute)] = all[..] else { panic!("{all:?}") };
        assert_eq!((attribute.kind, attribute.payload), (2, b"ABCDE\0".as_slice()));
        assert_eq!(request[30..], [0, 0]);
        assert_eq!(family_request(&mut [0; 31], b"ABCDE\0", 9), None);
    }
}
