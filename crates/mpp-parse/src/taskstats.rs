//! What the kernel says of threads that end, and of processes when asked: generic netlink's
//! family `TASKSTATS`, `include/uapi/linux/taskstats.h` and `kernel/taskstats.c`.
//!
//! An answer holds one account of a thread, or one of a process, or, when the last thread of a
//! process ends that ever had several, one of each. The account of a process has CPU times,
//! switches and delays, and zeros everywhere else: its threads' accounts have the rest.
//!
//! Two traps. An account grew with the kernel's versions, so that only its length says what is
//! in it. And version 15, which Linux 6.14 and some 6.15 have, put its new fields between the
//! old ones; version 16 moved them to the end.

use core::fmt;

use crate::error::{ErrorKind, ParseError};
use crate::genetlink::{self, Command};
use crate::netlink::{Attributes, FLAG_ACKNOWLEDGE, FLAG_REQUEST, Header, attributes};

const PAGE: &str = "taskstats";

/// The family's name, with its NUL.
pub const FAMILY_NAME: &[u8] = b"TASKSTATS\0";

/// The thread forked and did not exec: `AFORK`.
pub const FLAG_FORKED: u8 = 0x01;
/// The thread was ended by a signal that left a core file: `ACORE`.
pub const FLAG_CORE: u8 = 0x08;
/// The thread was ended by a signal, or by the end of its process that another thread brought
/// about: `AXSIG`.
pub const FLAG_SIGNAL: u8 = 0x10;
/// The thread was the last one of its process: `AGROUP`, since version 12. Before that, it is
/// never set.
pub const FLAG_LAST_THREAD: u8 = 0x20;

/// Bytes of a request made by [`of_process_request`] or [`of_thread_request`]: several of them make
/// one datagram.
pub const REQUEST_LENGTH: usize = 28;

const CMD_GET: u8 = 1;
const CMD_NEW: u8 = 2;
const CMD_ATTR_PID: u16 = 1;
const CMD_ATTR_TGID: u16 = 2;
const CMD_ATTR_REGISTER_CPUMASK: u16 = 3;
const CMD_ATTR_DEREGISTER_CPUMASK: u16 = 4;
const TYPE_PID: u16 = 1;
const TYPE_TGID: u16 = 2;
const TYPE_STATS: u16 = 3;
const TYPE_AGGR_PID: u16 = 4;
const TYPE_AGGR_TGID: u16 = 5;
const GENL_VERSION: u8 = 1;

/// Bytes of version 8, the oldest that is read.
const LENGTH_LEAST: usize = 328;
/// Bytes of version 14, before the largest and smallest delays came in.
const LENGTH_WITHOUT_EXTREMES: usize = 432;
/// The version that has them in the middle.
const SPREAD_VERSION: u16 = 15;
/// Where each of the eight delays ends in every other version; there version 15 has one or two
/// numbers more.
const DELAY_ENDS: [usize; 8] = [32, 48, 64, 328, 344, 368, 416, 432];
const EXTREMES_OF_ALL_DELAYS: usize = DELAY_ENDS.len() * size_of::<u64>();

/// One answer or one record of an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taskstats<'a> {
    /// The account of a thread.
    pub thread: Option<Account<'a>>,
    /// The account of a process.
    pub process: Option<Account<'a>>,
}

/// Whose account it is, and the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account<'a> {
    /// The TID of a thread, the PID of a process, in the reader's PID namespace.
    pub id: u32,
    /// What it has done.
    pub stats: Stats<'a>,
}

/// `struct taskstats` in any of its versions from 8 on.
///
/// All counters only grow while the thread lives, and are the thread's own: what children did
/// is not in them. `None` stands for what the version does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Stats<'a> {
    bytes: &'a [u8],
    /// Numbers that stand behind each delay although other versions have none there.
    spread: usize,
}

/// The message that lets ends of threads on these CPUs be told to the socket it is sent on;
/// `cpus` is a list as in cpuset(7) with its NUL, `0-3,8\0`. It is acknowledged.
///
/// Returns `None` when the buffer is too small for it.
#[must_use]
pub fn register_request<'b>(
    buffer: &'b mut [u8],
    family: u16,
    cpus: &[u8],
    sequence: u32,
) -> Option<&'b [u8]> {
    let flags = FLAG_REQUEST | FLAG_ACKNOWLEDGE;
    request(buffer, header(family, flags, sequence), (CMD_ATTR_REGISTER_CPUMASK, cpus))
}

/// The message that takes [`register_request`] back; it is not acknowledged.
///
/// Returns `None` when the buffer is too small for it.
#[must_use]
pub fn deregister_request<'b>(
    buffer: &'b mut [u8],
    family: u16,
    cpus: &[u8],
    sequence: u32,
) -> Option<&'b [u8]> {
    request(buffer, header(family, FLAG_REQUEST, sequence), (CMD_ATTR_DEREGISTER_CPUMASK, cpus))
}

/// The message that asks for the account of a process, [`REQUEST_LENGTH`] bytes.
///
/// Returns `None` when the buffer is too small for it.
#[must_use]
pub fn of_process_request(
    buffer: &mut [u8],
    family: u16,
    tgid: u32,
    sequence: u32,
) -> Option<&[u8]> {
    let header = header(family, FLAG_REQUEST, sequence);
    request(buffer, header, (CMD_ATTR_TGID, &tgid.to_ne_bytes()))
}

/// The message that asks for the account of a thread, [`REQUEST_LENGTH`] bytes.
///
/// Returns `None` when the buffer is too small for it.
#[must_use]
pub fn of_thread_request(buffer: &mut [u8], family: u16, tid: u32, sequence: u32) -> Option<&[u8]> {
    let header = header(family, FLAG_REQUEST, sequence);
    request(buffer, header, (CMD_ATTR_PID, &tid.to_ne_bytes()))
}

/// Reads the payload of a message of the family.
///
/// # Errors
/// The payload is cut, is no account, or its account is older than version 8.
pub fn parse(payload: &[u8]) -> Result<Taskstats<'_>, ParseError> {
    let (command, rest) = genetlink::parse_command(payload)?;
    if command.number != CMD_NEW {
        let kind = ErrorKind::UnexpectedByte { expected: "an account", found: command.number };
        return Err(ParseError { page: PAGE, field: "cmd", offset: 0, kind });
    }
    let (mut thread, mut process) = (None, None);
    for attribute in attributes(rest) {
        let attribute = attribute?;
        match attribute.kind {
            TYPE_AGGR_PID => thread = Some((TYPE_PID, attribute.payload)),
            TYPE_AGGR_TGID => process = Some((TYPE_TGID, attribute.payload)),
            _ => {}
        }
    }
    let account = |(id, bytes)| parse_account(id, bytes);
    let thread = thread.map(account).transpose()?;
    let process = process.map(account).transpose()?;
    if thread.is_none() && process.is_none() {
        return Err(missing("aggregate", payload));
    }
    Ok(Taskstats { thread, process })
}

fn header(family: u16, flags: u16, sequence: u32) -> Header {
    Header { length: 0, kind: family, flags, sequence, port_id: 0 }
}

fn request<'b>(buffer: &'b mut [u8], header: Header, attribute: (u16, &[u8])) -> Option<&'b [u8]> {
    let command = Command { number: CMD_GET, version: GENL_VERSION, reserved: 0 };
    genetlink::encode(buffer, header, command, attribute)
}

/// Reads what is nested in an aggregate: the one it is about, and its account.
fn parse_account(id_kind: u16, bytes: &[u8]) -> Result<Account<'_>, ParseError> {
    let id = attribute_of(attributes(bytes), id_kind)?.ok_or(missing("pid", bytes))?;
    let found = id.len();
    let id = *id.first_chunk().ok_or(ParseError {
        page: PAGE,
        field: "pid",
        offset: 0,
        kind: ErrorKind::InvalidLength { least: 4, most: usize::MAX, found },
    })?;
    let stats = attribute_of(attributes(bytes), TYPE_STATS)?.ok_or(missing("stats", bytes))?;
    Ok(Account { id: u32::from_ne_bytes(id), stats: Stats::new(stats)? })
}

fn attribute_of(list: Attributes<'_>, kind: u16) -> Result<Option<&[u8]>, ParseError> {
    for attribute in list {
        let attribute = attribute?;
        if attribute.kind == kind {
            return Ok(Some(attribute.payload));
        }
    }
    Ok(None)
}

fn missing(field: &'static str, bytes: &[u8]) -> ParseError {
    ParseError { page: PAGE, field, offset: bytes.len(), kind: ErrorKind::MissingField }
}

impl<'a> Stats<'a> {
    /// Reads the bytes of a `struct taskstats`.
    ///
    /// # Errors
    /// There are fewer bytes than version 8 has, or version 15 has a length that says not where
    /// its fields are.
    pub fn new(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let invalid = |least, most| ParseError {
            page: PAGE,
            field: "stats",
            offset: 0,
            kind: ErrorKind::InvalidLength { least, most, found: bytes.len() },
        };
        if bytes.len() < LENGTH_LEAST {
            return Err(invalid(LENGTH_LEAST, usize::MAX));
        }
        let mut stats = Stats { bytes, spread: 0 };
        if stats.version() == SPREAD_VERSION {
            let extremes = bytes.len().saturating_sub(LENGTH_WITHOUT_EXTREMES);
            stats.spread = match extremes.checked_div(EXTREMES_OF_ALL_DELAYS) {
                Some(spread @ (1 | 2)) if extremes.is_multiple_of(EXTREMES_OF_ALL_DELAYS) => spread,
                _ => {
                    let least = LENGTH_WITHOUT_EXTREMES + EXTREMES_OF_ALL_DELAYS;
                    return Err(invalid(least, least + EXTREMES_OF_ALL_DELAYS));
                }
            };
        }
        Ok(stats)
    }

    /// The version of the struct: `version`. The account of a process that ended may have 0.
    #[must_use]
    pub fn version(&self) -> u16 {
        u16::from_ne_bytes(self.first(0))
    }

    /// The command's name up to its NUL, at most 32 bytes, of any kind: `ac_comm`.
    #[must_use]
    pub fn comm(&self) -> &'a [u8] {
        let comm = self.bytes.get(self.place(80)..).and_then(|rest| rest.get(..32));
        let comm = comm.unwrap_or_default();
        let length = memchr::memchr(0, comm).unwrap_or(comm.len());
        comm.get(..length).unwrap_or_default()
    }

    /// When the thread started, by the wall clock, in seconds: `ac_btime64`, before version 10
    /// `ac_btime`. It moves with the clock, as it is counted back from now.
    #[must_use]
    pub fn start_unix_seconds(&self) -> u64 {
        self.start_unix_seconds_64().unwrap_or(self.start_unix_seconds_32().into())
    }

    /// The status as wait(2) gives it: `ac_exitcode`. Only the last thread's is the process's.
    #[must_use]
    pub fn exit_code(&self) -> u32 {
        u32::from_ne_bytes(self.first(4))
    }

    /// `FLAG_*`: `ac_flag`.
    #[must_use]
    pub fn flags(&self) -> u8 {
        u8::from_ne_bytes(self.first(8))
    }

    /// The real user, as seen from the initial user namespace: `ac_uid`.
    #[must_use]
    pub fn uid(&self) -> u32 {
        u32::from_ne_bytes(self.first(120))
    }

    /// The real group, likewise: `ac_gid`.
    #[must_use]
    pub fn gid(&self) -> u32 {
        u32::from_ne_bytes(self.first(124))
    }

    /// The thread: `ac_pid`.
    #[must_use]
    pub fn tid(&self) -> u32 {
        u32::from_ne_bytes(self.first(128))
    }

    /// The parent process, or the tracer's: `ac_ppid`. 0 where it is outside of the reader's view.
    #[must_use]
    pub fn parent_pid(&self) -> u32 {
        u32::from_ne_bytes(self.first(132))
    }

    /// From the thread's start to now, sleep of the machine not included, in microseconds:
    /// `ac_etime`. Of a process: the sum over its threads.
    #[must_use]
    pub fn elapsed_us(&self) -> u64 {
        u64::from_ne_bytes(self.first(144))
    }

    /// CPU time in user mode as charged by the kernel's accounting, in microseconds: `ac_utime`.
    /// With accounting by ticks, short lives are charged nothing.
    #[must_use]
    pub fn cpu_user_us(&self) -> u64 {
        u64::from_ne_bytes(self.first(152))
    }

    /// CPU time in the kernel, likewise: `ac_stime`.
    #[must_use]
    pub fn cpu_system_us(&self) -> u64 {
        u64::from_ne_bytes(self.first(160))
    }

    /// Page faults without I/O: `ac_minflt`.
    #[must_use]
    pub fn minor_faults(&self) -> u64 {
        u64::from_ne_bytes(self.first(168))
    }

    /// Page faults with I/O: `ac_majflt`.
    #[must_use]
    pub fn major_faults(&self) -> u64 {
        u64::from_ne_bytes(self.first(176))
    }

    /// The largest resident memory that the process (not the thread) ever had, in KiB:
    /// `hiwater_rss`. 0 for a kernel thread.
    #[must_use]
    pub fn peak_rss_kib(&self) -> u64 {
        u64::from_ne_bytes(self.first(200))
    }

    /// The largest virtual memory, likewise: `hiwater_vm`.
    #[must_use]
    pub fn peak_virtual_kib(&self) -> u64 {
        u64::from_ne_bytes(self.first(208))
    }

    /// Bytes read by system calls: `read_char`. Rounded down to a multiple of 1024.
    #[must_use]
    pub fn read_char_bytes(&self) -> u64 {
        u64::from_ne_bytes(self.first(216))
    }

    /// Bytes written by system calls: `write_char`. Rounded down to a multiple of 1024.
    #[must_use]
    pub fn write_char_bytes(&self) -> u64 {
        u64::from_ne_bytes(self.first(224))
    }

    /// Bytes fetched from storage: `read_bytes`. Rounded down to a multiple of 1024.
    #[must_use]
    pub fn read_bytes(&self) -> u64 {
        u64::from_ne_bytes(self.first(248))
    }

    /// Bytes sent to storage: `write_bytes`. Rounded down to a multiple of 1024.
    #[must_use]
    pub fn write_bytes(&self) -> u64 {
        u64::from_ne_bytes(self.first(256))
    }

    /// Bytes that were sent to storage and then truncated: `cancelled_write_bytes`. Rounded
    /// down to a multiple of 1024.
    #[must_use]
    pub fn cancelled_write_bytes(&self) -> u64 {
        u64::from_ne_bytes(self.first(264))
    }

    /// Context switches because the thread waited: `nvcsw`.
    #[must_use]
    pub fn voluntary_switches(&self) -> u64 {
        u64::from_ne_bytes(self.first(272))
    }

    /// Context switches because its time was up: `nivcsw`.
    #[must_use]
    pub fn involuntary_switches(&self) -> u64 {
        u64::from_ne_bytes(self.first(280))
    }

    /// When the thread started, by the wall clock, in seconds: `ac_btime`, which ends in 2106.
    fn start_unix_seconds_32(&self) -> u32 {
        u32::from_ne_bytes(self.first(136))
    }

    /// The same: `ac_btime64`.
    ///
    /// `None` before version 10.
    fn start_unix_seconds_64(&self) -> Option<u64> {
        self.later(344).map(u64::from_ne_bytes)
    }

    /// CPU time as charged by the kernel's accounting, in nanoseconds: `cpu_run_real_total`.
    #[must_use]
    pub fn cpu_run_real_ns(&self) -> u64 {
        u64::from_ne_bytes(self.first(64))
    }

    /// CPU time as measured by the scheduler, in nanoseconds: `cpu_run_virtual_total`.
    #[must_use]
    pub fn cpu_run_virtual_ns(&self) -> u64 {
        u64::from_ne_bytes(self.first(72))
    }

    /// Time spent ready to run and waiting for a CPU, in nanoseconds: `cpu_delay_total`.
    /// Counted whether or not delay accounting is on.
    #[must_use]
    pub fn run_queue_delay_ns(&self) -> u64 {
        u64::from_ne_bytes(self.first(24))
    }

    /// Time spent waiting for block I/O, in nanoseconds: `blkio_delay_total`.
    #[must_use]
    pub fn block_io_delay_ns(&self) -> u64 {
        u64::from_ne_bytes(self.first(40))
    }

    /// Time spent waiting for pages to be swapped in, in nanoseconds: `swapin_delay_total`.
    #[must_use]
    pub fn swap_delay_ns(&self) -> u64 {
        u64::from_ne_bytes(self.first(56))
    }

    /// Time spent reclaiming memory, in nanoseconds: `freepages_delay_total`.
    #[must_use]
    pub fn reclaim_delay_ns(&self) -> u64 {
        u64::from_ne_bytes(self.first(320))
    }

    /// Time spent waiting for pages that had just been evicted, in nanoseconds:
    /// `thrashing_delay_total`.
    ///
    /// `None` before version 9.
    #[must_use]
    pub fn thrashing_delay_ns(&self) -> Option<u64> {
        self.later(336).map(u64::from_ne_bytes)
    }

    /// Time spent compacting memory, in nanoseconds: `compact_delay_total`.
    ///
    /// `None` before version 11.
    #[must_use]
    pub fn compaction_delay_ns(&self) -> Option<u64> {
        self.later(360).map(u64::from_ne_bytes)
    }

    /// Time spent copying pages that are shared until written, in nanoseconds:
    /// `wpcopy_delay_total`.
    ///
    /// `None` before version 13.
    #[must_use]
    pub fn copy_delay_ns(&self) -> Option<u64> {
        self.later(408).map(u64::from_ne_bytes)
    }

    /// Time taken by interrupts while it ran, in nanoseconds: `irq_delay_total`.
    ///
    /// `None` before version 14.
    #[must_use]
    pub fn interrupt_delay_ns(&self) -> Option<u64> {
        self.later(424).map(u64::from_ne_bytes)
    }

    /// The process that the thread belongs to: `ac_tgid`.
    ///
    /// `None` before version 12.
    #[must_use]
    pub fn tgid(&self) -> Option<u32> {
        self.later(368).map(u32::from_ne_bytes)
    }

    /// From the process's start to now, in microseconds: `ac_tgetime`.
    ///
    /// `None` before version 12.
    #[must_use]
    pub fn process_elapsed_us(&self) -> Option<u64> {
        self.later(376).map(u64::from_ne_bytes)
    }

    /// The device that holds the executable, as stat(2) numbers it: `ac_exe_dev`.
    ///
    /// `None` before version 12.
    #[must_use]
    pub fn executable_device(&self) -> Option<u64> {
        self.later(384).map(u64::from_ne_bytes)
    }

    /// The inode of the executable: `ac_exe_inode`.
    ///
    /// `None` before version 12.
    #[must_use]
    pub fn executable_inode(&self) -> Option<u64> {
        self.later(392).map(u64::from_ne_bytes)
    }

    /// A field that every version has, by where version 16 has it.
    fn first<const N: usize>(&self, at: usize) -> [u8; N] {
        // `new` has seen to it that the bytes reach that far.
        self.later(at).unwrap_or([0; N])
    }

    /// A field that later versions have, by where version 16 has it.
    fn later<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(self.place(at)..)?.first_chunk().copied()
    }

    /// Where this version has what version 16 has at `at`.
    fn place(&self, at: usize) -> usize {
        if self.spread == 0 {
            return at;
        }
        let before = DELAY_ENDS.iter().filter(|end| **end <= at).count();
        at.saturating_add(before.saturating_mul(self.spread).saturating_mul(size_of::<u64>()))
    }
}

impl fmt::Debug for Stats<'_> {
    /// Fields instead of bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stats")
            .field("version", &self.version())
            .field("comm", &format_args!("\"{}\"", self.comm().escape_ascii()))
            .field("exit_code", &self.exit_code())
            .field("flags", &self.flags())
            .field("uid", &self.uid())
            .field("gid", &self.gid())
            .field("tid", &self.tid())
            .field("parent_pid", &self.parent_pid())
            .field("elapsed_us", &self.elapsed_us())
            .field("cpu_user_us", &self.cpu_user_us())
            .field("cpu_system_us", &self.cpu_system_us())
            .field("minor_faults", &self.minor_faults())
            .field("major_faults", &self.major_faults())
            .field("peak_rss_kib", &self.peak_rss_kib())
            .field("peak_virtual_kib", &self.peak_virtual_kib())
            .field("read_char_bytes", &self.read_char_bytes())
            .field("write_char_bytes", &self.write_char_bytes())
            .field("read_bytes", &self.read_bytes())
            .field("write_bytes", &self.write_bytes())
            .field("cancelled_write_bytes", &self.cancelled_write_bytes())
            .field("voluntary_switches", &self.voluntary_switches())
            .field("involuntary_switches", &self.involuntary_switches())
            .field("start_unix_seconds", &self.start_unix_seconds())
            .field("cpu_run_real_ns", &self.cpu_run_real_ns())
            .field("cpu_run_virtual_ns", &self.cpu_run_virtual_ns())
            .field("run_queue_delay_ns", &self.run_queue_delay_ns())
            .field("block_io_delay_ns", &self.block_io_delay_ns())
            .field("swap_delay_ns", &self.swap_delay_ns())
            .field("reclaim_delay_ns", &self.reclaim_delay_ns())
            .field("thrashing_delay_ns", &self.thrashing_delay_ns())
            .field("compaction_delay_ns", &self.compaction_delay_ns())
            .field("copy_delay_ns", &self.copy_delay_ns())
            .field("interrupt_delay_ns", &self.interrupt_delay_ns())
            .field("tgid", &self.tgid())
            .field("process_elapsed_us", &self.process_elapsed_us())
            .field("executable_device", &self.executable_device())
            .field("executable_inode", &self.executable_inode())
            .finish()
    }
}

const _: () = assert!(REQUEST_LENGTH == 16 + 4 + 4 + 4);

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;
    use crate::netlink::messages;

    /// Bytes of each version's struct, as its kernel sends it.
    const LENGTHS: [(u16, usize); 10] = [
        (8, 328),
        (9, 344),
        (10, 352),
        (11, 368),
        (12, 400),
        (13, 416),
        (14, 432),
        (15, 496),
        (15, 560),
        (16, 560),
    ];

    /// A field's place in version 16, how many bytes it has, and what it is filled with.
    const FIELDS: [(usize, usize, u64); 13] = [
        (4, 4, 0x700),
        (24, 8, 1),
        (40, 8, 2),
        (56, 8, 3),
        (120, 4, 1000),
        (136, 4, 5),
        (256, 8, 4096),
        (320, 8, 6),
        (336, 8, 7),
        (344, 8, 8),
        (360, 8, 9),
        (368, 4, 10),
        (424, 8, 11),
    ];

    /// The struct of a version with [`FIELDS`] in their places and 0xee wherever only version 15
    /// has something.
    fn stats(version: u16, length: usize) -> Vec<u8> {
        let mut bytes = std::vec![0; 560];
        bytes[..2].copy_from_slice(&version.to_ne_bytes());
        bytes[80..84].copy_from_slice(b"name");
        for (at, size, value) in FIELDS {
            bytes[at..at + size].copy_from_slice(&value.to_ne_bytes()[..size]);
        }
        if version == 15 {
            let spread = (length - 432) / 8;
            for end in DELAY_ENDS.iter().rev() {
                bytes.splice(end..end, std::iter::repeat_n(0xee, spread));
            }
        }
        bytes.truncate(length);
        bytes
    }

    fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
        let length = u16::try_from(payload.len() + 4).expect("it is short");
        [&length.to_ne_bytes(), &kind.to_ne_bytes(), payload].concat()
    }

    fn aggregate(kind: u16, id: u32, stats: &[u8]) -> Vec<u8> {
        let id = attribute(if kind == 4 { 1 } else { 2 }, &id.to_ne_bytes());
        attribute(kind, &[id, attribute(3, stats)].concat())
    }

    fn check(payload: &[u8], expected: &str) {
        let found = parse(payload).map(drop).map_err(|error| error.to_string());
        assert_eq!(found, Err(expected.to_string()));
    }

    #[test]
    fn every_version_has_its_fields_and_none_that_came_later() {
        for (version, length) in LENGTHS {
            let bytes = stats(version, length);
            let stats = Stats::new(&bytes).expect("a kernel would send it");
            assert_eq!(stats.version(), version);
            assert_eq!((stats.exit_code(), stats.uid(), stats.write_bytes()), (0x700, 1000, 4096));
            assert_eq!(stats.comm(), b"name");
            let delays = (stats.run_queue_delay_ns(), stats.block_io_delay_ns());
            assert_eq!((delays, stats.swap_delay_ns()), ((1, 2), 3), "{version}");
            assert_eq!(stats.reclaim_delay_ns(), 6, "{version} {length}");
            let since = |first: u16, value: u64| (version >= first).then_some(value);
            assert_eq!(stats.thrashing_delay_ns(), since(9, 7), "{version}");
            assert_eq!(stats.start_unix_seconds(), if version >= 10 { 8 } else { 5 });
            assert_eq!(stats.compaction_delay_ns(), since(11, 9), "{version}");
            assert_eq!(stats.tgid(), (version >= 12).then_some(10), "{version}");
            assert_eq!(stats.copy_delay_ns(), since(13, 0), "{version}");
            assert_eq!(stats.interrupt_delay_ns(), since(14, 11), "{version}");
        }
    }

    #[test]
    fn ignores_what_a_later_version_appends() {
        let mut bytes = stats(17, 560);
        bytes.extend_from_slice(&[0xff; 40]);
        let stats = Stats::new(&bytes).expect("a later kernel would send it");
        assert_eq!(stats.interrupt_delay_ns(), Some(11));
    }

    #[test]
    fn an_account_too_short_or_of_unknown_layout_is_an_error() {
        check(
            &[&[2, 1, 0, 0][..], &aggregate(4, 7, &stats(7, 327))].concat(),
            "taskstats: expected a length of at least 328 in field `stats`, \
             but found 327 at byte 0",
        );
        for length in [432, 488, 504, 568, 624] {
            let mut bytes = stats(16, 560);
            bytes.resize(length, 0);
            bytes[0] = 15;
            assert!(Stats::new(&bytes).is_err(), "{length}");
        }
    }

    #[test]
    fn a_record_of_the_last_thread_has_both_accounts() {
        let (of_thread, of_process) = (stats(16, 560), stats(14, 432));
        let payload = [
            &[2, 1, 0, 0][..],
            &attribute(6, &[]),
            &aggregate(4, 7, &of_thread),
            &aggregate(5, 6, &of_process),
        ]
        .concat();
        let record = parse(&payload).expect("it is whole");
        let (thread, process) = (record.thread.expect("is there"), record.process);
        assert_eq!((thread.id, thread.stats.version()), (7, 16));
        assert_eq!(process.map(|account| (account.id, account.stats.version())), Some((6, 14)));
        for length in 0..payload.len() {
            let cut = parse(&payload[..length]).map(|record| record.process);
            assert_eq!(cut.ok().flatten(), None, "{length}");
        }
    }

    #[test]
    fn what_is_no_account_is_an_error() {
        check(&[2, 1, 0, 0], "taskstats: expected field `aggregate`, but found none");
        check(
            &[3, 1, 0, 0],
            "taskstats: expected an account in field `cmd`, but found `\\x03` at byte 0",
        );
        let nested = attribute(4, &attribute(1, &7_u32.to_ne_bytes()));
        check(
            &[&[2, 1, 0, 0][..], &nested].concat(),
            "taskstats: expected field `stats`, but found none",
        );
        let nested = attribute(4, &attribute(1, &[7]));
        check(
            &[&[2, 1, 0, 0][..], &nested].concat(),
            "taskstats: expected a length of at least 4 in field `pid`, but found 1 at byte 0",
        );
    }

    #[test]
    fn a_request_names_family_command_and_whom_it_is_about() {
        let mut buffer = [0; 64];
        let request = of_process_request(&mut buffer, 31, 4242, 5).expect("there is room");
        assert_eq!(request.len(), REQUEST_LENGTH);
        assert_eq!(
            request[16..],
            [&[1, 1, 0, 0, 8, 0, 2, 0][..], &4242_u32.to_ne_bytes()].concat()
        );
        let message = messages(request).next().expect("is one").expect("is whole");
        assert_eq!((message.header.kind, message.header.sequence), (31, 5));
        let request = of_thread_request(&mut buffer, 31, 4242, 5).expect("there is room");
        assert_eq!(request.len(), REQUEST_LENGTH);
        assert_eq!(request[20..24], [8, 0, 1, 0]);
        let request = register_request(&mut buffer, 31, b"0-3\0", 6).expect("there is room");
        assert_eq!(request[20..], *b"\x08\0\x03\x000-3\0");
        assert_eq!(request[6..8], [5, 0]);
        let request = deregister_request(&mut buffer, 31, b"0-3\0", 6).expect("there is room");
        assert_eq!(request[20..], *b"\x08\0\x04\x000-3\0");
    }
}
