//! Bytes that a kernel really gave, and the records that are made of them.
//!
//! `fixtures/parse/README.md` says what was captured and how. One snapshot holds all
//! cases of one page, so that a zombie can be read beside a shell.

use std::fmt::Debug;
use std::path::Path;

use mpp_parse::{
    genetlink, netlink, proc_meminfo, proc_pid_cgroup, proc_pid_cmdline, proc_pid_environ,
    proc_pid_fd, proc_pid_io, proc_pid_limits, proc_pid_mountinfo, proc_pid_smaps_rollup,
    proc_pid_stat, proc_pid_statm, proc_pid_status, proc_stat, sock_diag, taskstats, tcp_info,
};

/// Compares what `show` says of every captured case of a page with the page's snapshot.
fn check(page: &str, show: fn(&[u8]) -> String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/parse").join(page);
    let files = std::fs::read_dir(&folder).expect("the page has a folder of fixtures");
    let mut cases: Vec<_> = files.map(|file| file.expect("the folder is readable")).collect();
    cases.sort_by_key(std::fs::DirEntry::file_name);
    let mut text = String::new();
    for case in cases {
        let bytes = std::fs::read(case.path()).expect("the case is readable");
        text += &format!("== {}\n", case.file_name().display());
        text += &format!("{}\n", show(&bytes).trim_end());
    }
    insta::assert_snapshot!(page, text);
}

fn shown(record: impl Debug) -> String {
    format!("{record:#?}")
}

/// One record a line.
fn listed<T: Debug>(records: impl Iterator<Item = T>) -> String {
    records.fold(String::new(), |text, record| text + &format!("{record:?}\n"))
}

#[test]
fn stat() {
    check("proc_pid_stat", |bytes| shown(proc_pid_stat::parse(bytes)));
}

#[test]
fn status() {
    check("proc_pid_status", |bytes| shown(proc_pid_status::parse(bytes)));
}

#[test]
fn statm() {
    check("proc_pid_statm", |bytes| shown(proc_pid_statm::parse(bytes)));
}

#[test]
fn io() {
    check("proc_pid_io", |bytes| shown(proc_pid_io::parse(bytes)));
}

#[test]
fn smaps_rollup() {
    check("proc_pid_smaps_rollup", |bytes| shown(proc_pid_smaps_rollup::parse(bytes)));
}

#[test]
fn limits() {
    check("proc_pid_limits", |bytes| shown(proc_pid_limits::parse(bytes)));
}

#[test]
fn meminfo() {
    check("proc_meminfo", |bytes| shown(proc_meminfo::parse(bytes)));
}

#[test]
fn machine_stat() {
    check("proc_stat", |bytes| shown(proc_stat::parse(bytes)));
}

#[test]
fn cmdline() {
    check("proc_pid_cmdline", |bytes| {
        listed(
            proc_pid_cmdline::arguments(bytes).map(|argument| argument.escape_ascii().to_string()),
        )
    });
}

#[test]
fn environ() {
    check("proc_pid_environ", |bytes| {
        let variables = proc_pid_environ::variables(bytes)
            .map(|(key, value)| (key.escape_ascii().to_string(), value.escape_ascii().to_string()));
        let is_clobbered = proc_pid_environ::is_clobbered(bytes);
        format!("{}is_clobbered: {is_clobbered}", listed(variables))
    });
}

#[test]
fn cgroup() {
    check("proc_pid_cgroup", |bytes| {
        let entries = listed(proc_pid_cgroup::entries(bytes));
        format!("{entries}chosen: {:?}", proc_pid_cgroup::parse(bytes))
    });
}

#[test]
fn mountinfo() {
    check("proc_pid_mountinfo", |bytes| {
        proc_pid_mountinfo::mounts(bytes).fold(String::new(), |mut text, mount| {
            let mount = mount.expect("a kernel wrote it");
            let point: Vec<u8> = mount.mount_point().collect();
            text += &format!("{mount:?}\n");
            text += &format!("    at {} {:?}\n", point.escape_ascii(), mount.hidepid());
            text += &format!("    is_pid_subset: {}\n", mount.is_pid_subset());
            text
        })
    });
}

#[test]
fn fd_links() {
    check("proc_pid_fd", |bytes| {
        listed([b"socket".as_slice(), b"net"].iter().map(|kind| proc_pid_fd::inode(bytes, kind)))
    });
}

#[test]
fn netlink_messages() {
    check("netlink", |bytes| {
        netlink::messages(bytes).fold(String::new(), |mut text, message| {
            let message = message.expect("a kernel wrote it");
            text += &format!("{:?}\n", message.header);
            match message.body().expect("a kernel wrote it") {
                netlink::Body::Payload(payload) => {
                    let fixed = if payload.first() == Some(&1) { 16 } else { 72 };
                    text + &listed(netlink::attributes(&payload[fixed..]))
                }
                other => text + &format!("{other:?}\n"),
            }
        })
    });
}

#[test]
fn sockets() {
    check("sock_diag", |bytes| match bytes.first() {
        Some(1) => format!("{:?}", sock_diag::parse_unix(bytes)),
        _ => format!("{:?}", sock_diag::parse_inet(bytes)),
    });
}

#[test]
fn traffic() {
    check("tcp_info", |bytes| shown(tcp_info::TcpInfo::parse(bytes)));
}

#[test]
fn families() {
    check("genetlink", |bytes| format!("{:?}", genetlink::parse_family(bytes)));
}

#[test]
fn accounts() {
    check("taskstats", |bytes| shown(taskstats::parse(bytes)));
}
