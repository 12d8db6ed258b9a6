//! What must hold between any bytes and what a parser makes of them.
//!
//! One function for each parser, shared by the fuzz targets, by the replay of their
//! corpus and by the property tests: whatever one of them finds, the others can hold.
//! Beyond "no panic" each states what it can: what is borrowed lies inside the input,
//! iterators end, a record printed in the kernel's form is read back the same, and
//! lines of a later kernel change nothing.

use mpp_parse::error::ParseError;
use mpp_parse::{
    bpf_record, bpf_socket_record, genetlink, netlink, number, proc_meminfo, proc_pid_cgroup,
    proc_pid_cmdline, proc_pid_environ, proc_pid_fd, proc_pid_io, proc_pid_limits,
    proc_pid_mountinfo, proc_pid_smaps_rollup, proc_pid_stat, proc_pid_statm, proc_pid_status,
    proc_stat, sock_diag, taskstats, tcp_info,
};

/// What one target does with the bytes it is given.
pub type Relation = fn(&[u8]);

/// Every target by its name, which is also the name of its corpus.
pub const TARGETS: [(&str, Relation); 21] = [
    ("bpf_record", bpf_record),
    ("bpf_socket_record", bpf_socket_record),
    ("genetlink", genetlink),
    ("netlink", netlink),
    ("number", number),
    ("proc_meminfo", proc_meminfo),
    ("proc_pid_cgroup", proc_pid_cgroup),
    ("proc_pid_cmdline", proc_pid_cmdline),
    ("proc_pid_environ", proc_pid_environ),
    ("proc_pid_fd", proc_pid_fd),
    ("proc_pid_io", proc_pid_io),
    ("proc_pid_limits", proc_pid_limits),
    ("proc_pid_mountinfo", proc_pid_mountinfo),
    ("proc_pid_smaps_rollup", proc_pid_smaps_rollup),
    ("proc_pid_stat", proc_pid_stat),
    ("proc_pid_statm", proc_pid_statm),
    ("proc_pid_status", proc_pid_status),
    ("proc_stat", proc_stat),
    ("sock_diag", sock_diag),
    ("taskstats", taskstats),
    ("tcp_info", tcp_info),
];

/// Records of one length, one behind the other, and never a part of one.
pub fn bpf_socket_record(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((record, behind)) = bpf_socket_record::split_first(rest) {
        assert_eq!(behind.len() + bpf_socket_record::LENGTH, rest.len());
        assert!(record.socket.is_none_or(|socket| socket.inode != 0));
        rest = behind;
    }
    assert!(rest.len() < bpf_socket_record::LENGTH);
}

/// The name between the outermost parentheses, and a round trip through the kernel's form.
pub fn proc_pid_stat(bytes: &[u8]) {
    let Some(stat) = accepted(bytes, proc_pid_stat::parse(bytes)) else { return };
    let comm = place(stat.comm, bytes);
    assert_eq!(bytes[comm.start - 1], b'(');
    assert_eq!(bytes[comm.end], b')');
    assert!(!bytes[comm.end + 1..].contains(&b')'));
    assert!(is_printable(&format!("{stat:?}")));
    assert_eq!(proc_pid_stat::parse(&print_stat(&stat)), Ok(stat));
}

/// A page without a cut, and deafness to later kernels.
pub fn proc_pid_status(bytes: &[u8]) {
    let Some(status) = accepted(bytes, proc_pid_status::parse(bytes)) else { return };
    assert_eq!(bytes.last(), Some(&b'\n'));
    let name = b"Name:\tUid:\t0\t0\t0\t0\n".as_slice();
    assert_eq!(proc_pid_status::parse(&[name, bytes].concat()), Ok(status));
    assert_eq!(proc_pid_status::parse(&[bytes, LATER_LINE].concat()), Ok(status));
}

/// A round trip through the kernel's form.
pub fn proc_pid_statm(bytes: &[u8]) {
    let Some(statm) = accepted(bytes, proc_pid_statm::parse(bytes)) else { return };
    assert_eq!(proc_pid_statm::parse(&print_statm(&statm)), Ok(statm));
}

/// A round trip through the kernel's form, and deafness to later kernels.
pub fn proc_pid_io(bytes: &[u8]) {
    let Some(io) = accepted(bytes, proc_pid_io::parse(bytes)) else { return };
    let printed = print_io(&io);
    assert_eq!(proc_pid_io::parse(&printed), Ok(io));
    assert_eq!(proc_pid_io::parse(&[LATER_LINE, &printed].concat()), Ok(io));
}

/// Whole KiB, and deafness to later kernels.
pub fn proc_pid_smaps_rollup(bytes: &[u8]) {
    let Some(rollup) = accepted(bytes, proc_pid_smaps_rollup::parse(bytes)) else { return };
    assert_eq!(rollup.rss_bytes % 1024, 0);
    assert_eq!(proc_pid_smaps_rollup::parse(&[LATER_LINE, bytes].concat()), Ok(rollup));
}

/// The arguments with their NULs are the page.
pub fn proc_pid_cmdline(bytes: &[u8]) {
    let mut joined = Vec::new();
    for argument in proc_pid_cmdline::arguments(bytes) {
        place(argument, bytes);
        joined.extend_from_slice(argument);
        joined.push(0);
    }
    assert!(joined == bytes || joined.strip_suffix(&[0]) == Some(bytes));
    let argv0 = proc_pid_cmdline::argv0(bytes);
    assert_eq!(argv0.is_none(), bytes.is_empty());
    let base = proc_pid_cmdline::basename(argv0.unwrap_or_default());
    assert!(!base.contains(&b'/'));
}

/// The variables with their NULs are the page, unless it is clobbered; the first of two
/// equal keys is the one that is looked up.
pub fn proc_pid_environ(bytes: &[u8]) {
    let mut joined = Vec::new();
    let mut seen: Vec<&[u8]> = Vec::new();
    for (key, value) in proc_pid_environ::variables(bytes) {
        assert!(!key.is_empty() && !key.contains(&b'='));
        place(value, bytes);
        joined.extend_from_slice(&[key, b"=", value, b"\0"].concat());
        // Looking a key up walks the page, so only so many are.
        if seen.len() < 64 && !seen.contains(&key) {
            assert_eq!(proc_pid_environ::lookup(bytes, key), Some(value));
            seen.push(key);
        }
    }
    let is_whole = joined == bytes || joined.strip_suffix(&[0]) == Some(bytes);
    assert_eq!(proc_pid_environ::is_clobbered(bytes), !is_whole);
}

/// The chosen group is one of those that are listed.
pub fn proc_pid_cgroup(bytes: &[u8]) {
    let entries: Vec<_> = proc_pid_cgroup::entries(bytes).collect();
    assert!(entries.len() <= bytes.len());
    for entry in &entries {
        if let Some(entry) = accepted(bytes, *entry) {
            place(entry.path, bytes);
            place(entry.controllers, bytes);
            assert!(is_printable(&format!("{entry:?}")));
        }
    }
    let chosen = proc_pid_cgroup::parse(bytes);
    assert_eq!(chosen.is_ok(), !entries.is_empty() && entries.iter().all(Result::is_ok));
    if let Some(chosen) = accepted(bytes, chosen) {
        assert!(entries.contains(&Ok(chosen)));
    }
}

/// Deafness to later kernels.
pub fn proc_pid_limits(bytes: &[u8]) {
    let Some(limits) = accepted(bytes, proc_pid_limits::parse(bytes)) else { return };
    assert_eq!(proc_pid_limits::parse(&[LATER_LINE, bytes].concat()), Ok(limits));
}

/// Decoding never makes a field longer, and a mount is found where it says it is.
pub fn proc_pid_mountinfo(bytes: &[u8]) {
    let mounts: Vec<_> = proc_pid_mountinfo::mounts(bytes).collect();
    assert!(mounts.len() <= bytes.len());
    for mount in &mounts {
        let Some(mount) = accepted(bytes, *mount) else { return };
        for field in [mount.mount_options, mount.fs_type, mount.super_options] {
            place(field, bytes);
        }
        let mount_point: Vec<u8> = mount.mount_point().collect();
        assert!(mount_point.len() <= mount.mount_point_escaped.len());
        assert!(mount.source().count() <= mount.source_escaped.len());
        assert_eq!(mount.super_option(b"hidepid").is_none(), {
            let mut options = mount.super_options.split(|byte| *byte == b',');
            options.all(|o| o != b"hidepid" && !o.starts_with(b"hidepid="))
        });
        let _ = (mount.hidepid(), mount.is_pid_subset());
        assert!(is_printable(&format!("{mount:?}")));
    }
    let Some(Ok(last)) = mounts.last() else { return };
    let mount_point: Vec<u8> = last.mount_point().collect();
    assert_eq!(proc_pid_mountinfo::mount_at(bytes, &mount_point), Ok(Some(*last)));
}

/// An inode that was read can be written in the kernel's form and read again.
pub fn proc_pid_fd(bytes: &[u8]) {
    for kind in ["socket", "net"] {
        if let Some(inode) = proc_pid_fd::inode(bytes, kind.as_bytes()) {
            assert!(bytes.starts_with(kind.as_bytes()));
            let printed = format!("{kind}:[{inode}]");
            assert_eq!(proc_pid_fd::inode(printed.as_bytes(), kind.as_bytes()), Some(inode));
        }
    }
}

/// Whole KiB, and deafness to later kernels.
pub fn proc_meminfo(bytes: &[u8]) {
    let Some(meminfo) = accepted(bytes, proc_meminfo::parse(bytes)) else { return };
    assert_eq!(meminfo.mem_total_bytes % 1024, 0);
    assert_eq!(proc_meminfo::parse(&[LATER_LINE, bytes].concat()), Ok(meminfo));
}

/// Deafness to later kernels.
pub fn proc_stat(bytes: &[u8]) {
    let Some(stat) = accepted(bytes, proc_stat::parse(bytes)) else { return };
    assert_eq!(proc_stat::parse(&[LATER_LINE, bytes].concat()), Ok(stat));
}

/// The same answer as the standard library's, which takes a plus besides.
pub fn number(bytes: &[u8]) {
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.starts_with('+'));
    assert_eq!(number::decimal_u64(bytes), text.and_then(|text| text.parse().ok()));
    assert_eq!(number::decimal_u32(bytes), text.and_then(|text| text.parse().ok()));
}

/// Iterators end, payloads lie inside, and a message can be encoded again.
pub fn netlink(bytes: &[u8]) {
    let mut count = 0;
    for message in netlink::messages(bytes) {
        count += 1;
        let Some(message) = accepted(bytes, message) else { continue };
        let payload = place(message.payload, bytes);
        let before = &bytes[payload.start - netlink::HEADER_LENGTH..payload.end];
        let mut buffer = vec![0; before.len()];
        assert_eq!(netlink::encode(&mut buffer, message.header, message.payload), Some(before));
        assert_eq!(netlink::encode(&mut buffer[1..], message.header, message.payload), None);
        let _ = accepted(before, message.body());
        check_attributes(message.payload);
    }
    assert!(count <= bytes.len() / netlink::HEADER_LENGTH + 1);
    check_attributes(bytes);
}

/// Records follow one another, and each is read alike alone and refused without its last byte.
pub fn bpf_record(bytes: &[u8]) {
    let _ = accepted(bytes, bpf_record::parse(bytes));
    let mut rest = bytes;
    while let Some(Some((record, behind))) = accepted(rest, bpf_record::split_first(rest)) {
        let alone = &rest[..rest.len() - behind.len()];
        assert_eq!(bpf_record::parse(alone), Ok(record));
        assert!(accepted(alone, bpf_record::parse(&alone[..alone.len() - 1])).is_none());
        assert!(is_printable(&format!("{record:?}")));
        rest = behind;
    }
}

/// What follows the fixed part changes nothing.
pub fn sock_diag(bytes: &[u8]) {
    if let Some(socket) = accepted(bytes, sock_diag::parse_inet(bytes)) {
        assert_eq!(sock_diag::parse_inet(&bytes[..72]), Ok(socket));
    }
    if let Some(Some(info)) = accepted(bytes, sock_diag::tcp_info(bytes)) {
        assert!(place(info, bytes).start >= 72 + 4);
    }
    if let Some(socket) = accepted(bytes, sock_diag::parse_unix(bytes)) {
        assert_eq!(sock_diag::parse_unix(&bytes[..16]), Ok(socket));
    }
    let Some((states, rest)) = bytes.split_first_chunk() else { return };
    let Some(sequence) = rest.first_chunk() else { return };
    let (states, sequence) = (u32::from_ne_bytes(*states), u32::from_ne_bytes(*sequence));
    let (family, protocol) = (sock_diag::Family::V6, sock_diag::Protocol::Tcp);
    let inet = sock_diag::inet_request(family, protocol, states, sequence);
    let unix = sock_diag::unix_request(states, sequence);
    let tcp = sock_diag::tcp_request(family, states, sequence);
    for request in [inet.as_slice(), &unix, &tcp] {
        let messages: Vec<_> = netlink::messages(request).collect();
        let [Ok(message)] = messages[..] else { panic!("{messages:?} is not one message") };
        assert_eq!(message.header.sequence, sequence);
        assert_eq!(message.payload[4..8], states.to_ne_bytes());
    }
}

/// Deafness to later kernels, and data that is never more than all that was counted.
pub fn tcp_info(bytes: &[u8]) {
    let Some(info) = accepted(bytes, tcp_info::TcpInfo::parse(bytes)) else { return };
    assert!(bytes.len() >= 136);
    if bytes.len() >= 216 {
        assert_eq!(tcp_info::TcpInfo::parse(&bytes[..216]), Ok(info));
        assert!(info.acked_marks().is_some());
    }
    assert!(info.sent_bytes() <= info.acked_bytes);
    for state in 0..=u8::MAX {
        let received_bytes = info.received_bytes(tcp_info::PeerEnd::of_state(state));
        assert!(info.received_bytes_with_fin - received_bytes <= 1);
    }
}

/// A request names its family's command, and the rest of a payload lies inside.
pub fn genetlink(bytes: &[u8]) {
    if let Some((command, rest)) = accepted(bytes, genetlink::parse_command(bytes)) {
        assert_eq!(place(rest, bytes).end, bytes.len());
        let header = netlink::Header { length: 0, kind: 20, flags: 1, sequence: 7, port_id: 0 };
        let mut buffer = vec![0xff; bytes.len() + 32];
        let attribute = (9, rest);
        let Some(request) = genetlink::encode(&mut buffer, header, command, attribute) else {
            assert!(rest.len() > usize::from(u16::MAX) - 4);
            return;
        };
        let messages: Vec<_> = netlink::messages(request).collect();
        let [Ok(message)] = messages[..] else { panic!("{messages:?} is not one message") };
        let (found, attributes) = genetlink::parse_command(message.payload).expect("it is whole");
        assert_eq!(found, command);
        let attributes: Vec<_> = netlink::attributes(attributes).collect();
        assert_eq!(attributes, [Ok(netlink::Attribute { kind: 9, payload: rest })]);
    }
    let _ = accepted(bytes, genetlink::parse_family(bytes));
}

/// Whatever an account says, it says it of bytes that are there, and what a later version
/// appends changes nothing.
pub fn taskstats(bytes: &[u8]) {
    if let Some(record) = accepted(bytes, taskstats::parse(bytes)) {
        for account in [record.thread, record.process].into_iter().flatten() {
            place(account.stats.comm(), bytes);
            assert!(is_printable(&format!("{account:?}")));
        }
    }
    let Some(stats) = accepted(bytes, taskstats::Stats::new(bytes)) else { return };
    assert_eq!(stats.tgid().is_some(), bytes.len() >= 372);
    assert!(stats.comm().len() <= 32 && !stats.comm().contains(&0));
    // Of version 15 the length says where its fields are; others only say what there is.
    if stats.version() != 15 && bytes.len() >= 560 {
        let longer = [bytes, LATER_LINE].concat();
        let longer = taskstats::Stats::new(&longer).expect("it is longer than it was");
        assert_eq!(format!("{longer:?}"), format!("{stats:?}"));
    }
}

/// A `stat` page in the kernel's form; fields that are not kept are printed as zero.
pub fn print_stat(stat: &proc_pid_stat::Stat<'_>) -> Vec<u8> {
    let head = format!("{} (", stat.pid);
    let state = char::from(stat.state);
    let mut tail = format!(") {state} {} {} {} 0 -1", stat.ppid, stat.pgrp, stat.session);
    let zeros = |count| [0].repeat(count);
    let runs: [&[u64]; 9] = [
        &[stat.flags.into(), stat.minflt, stat.cminflt, stat.majflt, stat.cmajflt],
        &[stat.utime_ticks, stat.stime_ticks, stat.cutime_ticks, stat.cstime_ticks],
        &[20, 0, stat.num_threads, 0, stat.start_time_ticks],
        &[stat.vsize_bytes, stat.rss_pages],
        &[u64::MAX, stat.start_code, 0, stat.start_stack],
        &zeros(13),
        &[stat.delayacct_blkio_ticks],
        &zeros(9),
        &[0],
    ];
    for field in runs.concat() {
        tail.push_str(&format!(" {field}"));
    }
    [head.as_bytes(), stat.comm, tail.as_bytes(), b"\n"].concat()
}

/// A `statm` page in the kernel's form.
pub fn print_statm(statm: &proc_pid_statm::Statm) -> Vec<u8> {
    let proc_pid_statm::Statm {
        size_pages,
        resident_pages,
        shared_pages,
        text_pages,
        lib_pages,
        data_pages,
        dt_pages,
    } = statm;
    let head = format!("{size_pages} {resident_pages} {shared_pages} {text_pages}");
    format!("{head} {lib_pages} {data_pages} {dt_pages}\n").into_bytes()
}

/// An `io` page in the kernel's form.
pub fn print_io(io: &proc_pid_io::Io) -> Vec<u8> {
    let proc_pid_io::Io { rchar, wchar, syscr, syscw, .. } = io;
    let proc_pid_io::Io { read_bytes, write_bytes, cancelled_write_bytes, .. } = io;
    let calls = format!("rchar: {rchar}\nwchar: {wchar}\nsyscr: {syscr}\nsyscw: {syscw}\n");
    let storage = format!("read_bytes: {read_bytes}\nwrite_bytes: {write_bytes}\n");
    format!("{calls}{storage}cancelled_write_bytes: {cancelled_write_bytes}\n").into_bytes()
}

const LATER_LINE: &[u8] = b"a_later_kernel: 1 2 3\n";

/// The record, or nothing after looking at the error: it points into the input and can
/// be shown on a terminal.
fn accepted<T>(bytes: &[u8], parsed: Result<T, ParseError>) -> Option<T> {
    parsed
        .inspect_err(|error| {
            assert!(error.offset <= bytes.len(), "{error} is beyond {} bytes", bytes.len());
            assert!(is_printable(&error.to_string()), "{error:?}");
        })
        .ok()
}

fn check_attributes(bytes: &[u8]) {
    let mut count = 0;
    for attribute in netlink::attributes(bytes) {
        count += 1;
        if let Some(attribute) = accepted(bytes, attribute) {
            place(attribute.payload, bytes);
        }
    }
    assert!(count <= bytes.len() / 4 + 1);
}

/// Where the part lies in the whole; it must lie there.
fn place(part: &[u8], whole: &[u8]) -> std::ops::Range<usize> {
    let (part, whole) = (part.as_ptr_range(), whole.as_ptr_range());
    assert!(whole.start <= part.start && part.end <= whole.end);
    let start = part.start.addr() - whole.start.addr();
    start..start + (part.end.addr() - part.start.addr())
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
