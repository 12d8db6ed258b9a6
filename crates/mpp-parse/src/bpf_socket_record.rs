//! What our own programs hand over of descriptors: `crates/mpp-collect/bpf/files.h`, which tells of
//! everybody, and `sockets.h`, of those that are asked for.
//!
//! One record for each process with descriptors, and behind it one for each descriptor that is a
//! socket, all of the same length. Process and thread IDs are those of the initial PID namespace.
//! The trap: where the main thread of a process has exited, every other thread's descriptors are
//! handed over, which are the same ones; [`SocketRecord::tid`] tells them apart.

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::bpf_record::TaskKey;

/// As in `files.h`.
const HOLDER_ALONE: u8 = 1;

/// Bytes of one record.
pub const LENGTH: usize = size_of::<RawSocket>();

/// A process, or a descriptor of it that is a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketRecord {
    /// The process.
    pub process: TaskKey,
    /// The thread whose descriptors these are: the leader, or another one where that has exited.
    pub tid: u32,
    /// The inode of the network namespace of the socket, or of the process; 0 where the kernel
    /// has none.
    pub namespace: u32,
    /// Of a process: whether nobody but its own threads uses these descriptors. `false` also where
    /// nobody looked.
    pub is_alone: bool,
    /// `None` for the process itself, which comes first.
    pub socket: Option<HeldSocket>,
}

/// A socket that a descriptor leads to, in the kernel's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldSocket {
    /// Its inode, never 0.
    pub inode: u32,
    /// `AF_*`, address_families(7).
    pub family: u16,
    /// `IPPROTO_*`, or 0.
    pub protocol: u16,
    /// `SOCK_*`, socket(2).
    pub kind: u8,
    /// `TCP_*` of `include/net/tcp_states.h`, of whatever protocol.
    pub state: u8,
    /// Its own port; 0 where it is not bound.
    pub port: u16,
}

/// Takes the first record off. Returns `None` where the bytes do not hold a whole one.
///
/// ```
/// use mpp_parse::bpf_socket_record::{LENGTH, split_first};
///
/// let mut bytes = [0; LENGTH + 1];
/// bytes[0] = 42;
/// let (record, rest) = split_first(&bytes).unwrap();
/// assert_eq!((record.process.id, record.socket, rest.len()), (42, None, 1));
/// assert_eq!(split_first(rest), None);
/// ```
#[must_use]
pub fn split_first(bytes: &[u8]) -> Option<(SocketRecord, &[u8])> {
    let (raw, rest) = RawSocket::ref_from_prefix(bytes).ok()?;
    Some((raw.get(), rest))
}

#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawSocket {
    tgid: U32,
    tid: U32,
    start: U64,
    inode: U32,
    namespace: U32,
    family: U16,
    protocol: U16,
    port: U16,
    kind: u8,
    state: u8,
}

impl RawSocket {
    fn get(&self) -> SocketRecord {
        let socket = HeldSocket {
            inode: self.inode.get(),
            family: self.family.get(),
            protocol: self.protocol.get(),
            kind: self.kind,
            state: self.state,
            port: self.port.get(),
        };
        SocketRecord {
            process: TaskKey { id: self.tgid.get(), start_ns: self.start.get() },
            tid: self.tid.get(),
            namespace: self.namespace.get(),
            is_alone: self.inode.get() == 0 && self.state == HOLDER_ALONE,
            socket: Some(socket).filter(|socket| socket.inode != 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [7_u32, 8] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(9_u64.to_le_bytes());
        for word in [10_u32, 11] {
            bytes.extend(word.to_le_bytes());
        }
        for half in [2_u16, 6, 8080] {
            bytes.extend(half.to_le_bytes());
        }
        bytes.extend([1, 10]);
        bytes
    }

    #[test]
    fn every_field_is_where_the_program_writes_it() {
        let bytes = bytes();
        let socket =
            HeldSocket { inode: 10, family: 2, protocol: 6, kind: 1, state: 10, port: 8080 };
        let process = TaskKey { id: 7, start_ns: 9 };
        let socket = Some(socket);
        let expected = SocketRecord { process, tid: 8, namespace: 11, is_alone: false, socket };
        assert_eq!(split_first(&bytes), Some((expected, &[][..])));
        assert_eq!(bytes.len(), LENGTH);
    }

    #[test]
    fn only_of_a_process_it_is_told_whether_it_is_alone() {
        fn check(inode: u8, state: u8, expected: bool) {
            let mut bytes = bytes();
            bytes[16..20].copy_from_slice(&[inode, 0, 0, 0]);
            bytes[LENGTH - 1] = state;
            assert_eq!(split_first(&bytes).unwrap().0.is_alone, expected);
        }
        check(0, 1, true);
        check(0, 0, false);
        // A connection.
        check(9, 1, false);
    }

    #[test]
    fn one_that_was_cut_is_none() {
        let bytes = bytes();
        for length in 0..LENGTH {
            assert_eq!(split_first(&bytes[..length]), None, "{length}");
        }
    }
}
