//! What a TCP connection has moved: `struct tcp_info`, tcp(7) and `include/uapi/linux/tcp.h`.
//!
//! sock_diag(7) appends it to each socket that is asked about with
//! [`tcp_request`](crate::sock_diag::tcp_request), and to the last word about a socket that
//! was destroyed. Later kernels make the record longer, older ones hand out a shorter one, so
//! that each field is there or not by the record's length.
//!
//! The trap: `tcpi_bytes_acked` also counts the SYN of whoever opened the connection and the
//! acknowledged FIN, and `tcpi_bytes_received` the peer's FIN, one byte each. What was sent
//! is told without them by `tcpi_bytes_sent` and `tcpi_bytes_retrans`; of what was received
//! the state tells, see [`TcpInfo::received_bytes`].

use crate::error::{ErrorKind, ParseError};

const PAGE: &str = "tcp(7)";

/// Up to and with `tcpi_bytes_received`: Linux 4.1.
const LENGTH_MIN: usize = 136;

const TOTAL_RETRANS: usize = 100;
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const BYTES_SENT: usize = 200;
const BYTES_RETRANS: usize = 208;

/// What a connection has moved since it began. All of it only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Segments sent again, those without data included: `tcpi_total_retrans`.
    pub retransmits: u32,
    /// Bytes that the peer acknowledged, SYN and FIN included: `tcpi_bytes_acked`.
    pub acked_bytes: u64,
    /// Bytes that arrived in order, the peer's FIN included: `tcpi_bytes_received`.
    pub received_bytes_with_fin: u64,
    /// Bytes handed to the network, each as often as it was, without SYN and FIN:
    /// `tcpi_bytes_sent`. `None` before Linux 4.19.
    pub transmitted_bytes: Option<u64>,
    /// Those among them that were handed over again: `tcpi_bytes_retrans`. `None` before Linux
    /// 4.19.
    pub retransmitted_bytes: Option<u64>,
}

impl TcpInfo {
    /// Reads the record.
    ///
    /// # Errors
    /// It ends before `tcpi_bytes_received`: the kernel is older than Linux 4.1.
    pub fn parse(record: &[u8]) -> Result<Self, ParseError> {
        let too_short = |_| ParseError {
            page: PAGE,
            field: "tcp_info",
            offset: 0,
            kind: ErrorKind::InvalidLength {
                least: LENGTH_MIN,
                most: usize::MAX,
                found: record.len(),
            },
        };
        let needed = |at| u64_at(record, at).ok_or(()).map_err(too_short);
        Ok(TcpInfo {
            retransmits: u32_at(record, TOTAL_RETRANS).ok_or(()).map_err(too_short)?,
            acked_bytes: needed(BYTES_ACKED)?,
            received_bytes_with_fin: needed(BYTES_RECEIVED)?,
            transmitted_bytes: u64_at(record, BYTES_SENT),
            retransmitted_bytes: u64_at(record, BYTES_RETRANS),
        })
    }

    /// Bytes of data that the peer acknowledged. Only grows.
    ///
    /// While data is on its way, the SYN of whoever opened the connection stands for its last
    /// byte. Before Linux 4.19 SYN and FIN, two bytes at most, cannot be told from data.
    #[must_use]
    pub fn sent_bytes(&self) -> u64 {
        self.payload_bytes().map_or(self.acked_bytes, |payload| payload.min(self.acked_bytes))
    }

    /// Bytes of data that arrived in order, without the peer's FIN where `peer` says that it
    /// came. Only grows.
    #[must_use]
    pub fn received_bytes(&self, peer: PeerEnd) -> u64 {
        match peer {
            PeerEnd::Open => self.received_bytes_with_fin,
            PeerEnd::Finished => self.received_bytes_with_fin.saturating_sub(1),
        }
    }

    /// How many acknowledged bytes were no data: SYN and FIN.
    ///
    /// `None` before Linux 4.19, where nothing tells.
    #[must_use]
    pub fn acked_marks(&self) -> Option<u64> {
        Some(self.acked_bytes.saturating_sub(self.payload_bytes()?))
    }

    /// Bytes of data handed to the network, each once.
    fn payload_bytes(&self) -> Option<u64> {
        Some(self.transmitted_bytes?.saturating_sub(self.retransmitted_bytes?))
    }
}

/// Whether the peer has said that it sends no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerEnd {
    /// Its FIN has not arrived.
    Open,
    /// Its FIN has arrived, and was counted as a byte.
    Finished,
}

impl PeerEnd {
    /// What the state of a socket that still is in the tables tells, as numbered in the kernel's
    /// `include/net/tcp_states.h`.
    #[must_use]
    pub fn of_state(state: u8) -> Self {
        const TIME_WAIT: u8 = 6;
        const CLOSE_WAIT: u8 = 8;
        const LAST_ACK: u8 = 9;
        const CLOSING: u8 = 11;
        match state {
            TIME_WAIT | CLOSE_WAIT | LAST_ACK | CLOSING => PeerEnd::Finished,
            _ => PeerEnd::Open,
        }
    }
}

fn u64_at(record: &[u8], at: usize) -> Option<u64> {
    record.get(at..)?.first_chunk().copied().map(u64::from_ne_bytes)
}

fn u32_at(record: &[u8], at: usize) -> Option<u32> {
    record.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    /// A record of so many bytes in which each field has its own number.
    fn record(length: usize) -> Vec<u8> {
        let mut bytes = std::vec![0xAA; 240];
        bytes[100..104].copy_from_slice(&3_u32.to_ne_bytes());
        for (at, number) in [(120, 1002_u64), (128, 501), (200, 1400), (208, 400)] {
            bytes[at..at + 8].copy_from_slice(&number.to_ne_bytes());
        }
        bytes.truncate(length);
        bytes
    }

    fn check(length: usize, expected: Result<(Option<u64>, Option<u64>), &str>) {
        let found = TcpInfo::parse(&record(length)).map_err(|error| error.to_string());
        let expected = expected.map_err(ToString::to_string);
        let expected = expected.map(|(transmitted_bytes, retransmitted_bytes)| TcpInfo {
            retransmits: 3,
            acked_bytes: 1002,
            received_bytes_with_fin: 501,
            transmitted_bytes,
            retransmitted_bytes,
        });
        assert_eq!(found, expected, "{length}");
    }

    #[test]
    fn each_field_is_there_by_the_records_length() {
        check(240, Ok((Some(1400), Some(400))));
        check(216, Ok((Some(1400), Some(400))));
        check(215, Ok((Some(1400), None)));
        check(207, Ok((None, None)));
        check(136, Ok((None, None)));
        for length in [0, 99, 104, 135] {
            check(
                length,
                Err(&std::format!(
                    "tcp(7): expected a length of at least 136 in field `tcp_info`, \
                     but found {length} at byte 0"
                )),
            );
        }
    }

    #[test]
    fn syn_and_fin_are_no_data() {
        let info = TcpInfo::parse(&record(240)).expect("a record");
        assert_eq!((info.sent_bytes(), info.acked_marks()), (1000, Some(2)));
        assert_eq!(info.received_bytes(PeerEnd::Finished), 500);
        assert_eq!(info.received_bytes(PeerEnd::Open), 501);
        let old = TcpInfo::parse(&record(136)).expect("a record");
        assert_eq!((old.sent_bytes(), old.acked_marks()), (1002, None));
    }

    #[test]
    fn what_was_not_acknowledged_was_not_sent() {
        let mut bytes = record(240);
        bytes[120..128].copy_from_slice(&700_u64.to_ne_bytes());
        let info = TcpInfo::parse(&bytes).expect("a record");
        assert_eq!((info.sent_bytes(), info.acked_marks()), (700, Some(0)));
    }

    #[test]
    fn the_peers_fin_came_before_some_states_only() {
        let finished: Vec<u8> =
            (0..=12).filter(|state| PeerEnd::of_state(*state) == PeerEnd::Finished).collect();
        assert_eq!(finished, [6, 8, 9, 11]);
    }
}
