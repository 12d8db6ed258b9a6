//! The kernel that runs this test is understood: every readable page of every process,
//! whatever those processes are called and whatever they do meanwhile.

use std::fs::{read, read_dir};
use std::path::Path;

use mpp_parse::error::ParseError;
use mpp_parse::number::decimal_u32;
use mpp_parse::{
    proc_meminfo, proc_pid_cgroup, proc_pid_fd, proc_pid_io, proc_pid_limits, proc_pid_mountinfo,
    proc_pid_smaps_rollup, proc_pid_stat, proc_pid_statm, proc_pid_status, proc_stat,
};

/// Parses a page of every process that can be read at all, and returns how many there were.
/// A process that ends meanwhile gives an error on reading or nothing at all.
fn check(file: &str, parse: fn(&[u8]) -> Result<(), ParseError>) -> usize {
    let processes = read_dir("/proc").expect("procfs is mounted");
    let mut count = 0;
    for process in processes.flatten() {
        if decimal_u32(process.file_name().as_encoded_bytes()).is_none() {
            continue;
        }
        let Ok(page) = read(process.path().join(file)) else { continue };
        if !page.is_empty() {
            let outcome = parse(&page);
            assert_eq!(outcome, Ok(()), "{}: {}", process.path().display(), page.escape_ascii());
            count += 1;
        }
    }
    count
}

#[test]
fn every_page_of_every_process_is_understood() {
    assert!(check("stat", |page| proc_pid_stat::parse(page).map(drop)) > 0);
    assert!(check("status", |page| proc_pid_status::parse(page).map(drop)) > 0);
    assert!(check("statm", |page| proc_pid_statm::parse(page).map(drop)) > 0);
    assert!(check("io", |page| proc_pid_io::parse(page).map(drop)) > 0);
    assert!(check("limits", |page| proc_pid_limits::parse(page).map(drop)) > 0);
    assert!(check("cgroup", |page| proc_pid_cgroup::parse(page).map(drop)) > 0);
    assert!(check("mountinfo", |page| proc_pid_mountinfo::mount_at(page, b"/").map(drop)) > 0);
}

#[test]
fn a_thread_has_the_pages_of_a_process() {
    let task = Path::new("/proc/thread-self");
    let page = |file: &str| read(task.join(file)).expect("the own thread is readable");
    let stat = page("stat");
    let tid = proc_pid_stat::parse(&stat).expect("a kernel wrote it").pid;
    let link = std::fs::read_link(task).expect("the own thread is readable");
    assert!(link.ends_with(tid.to_string()), "{} is not {tid}", link.display());
    assert!(proc_pid_io::parse(&page("io")).is_ok());
    let status = proc_pid_status::parse(&page("status")).expect("a kernel wrote it");
    assert!(status.voluntary_ctxt_switches.is_some());
}

#[test]
fn two_pages_of_one_process_agree() {
    let page = |file: &str| read(Path::new("/proc/self").join(file)).expect("we are readable");
    let stat = page("stat");
    let stat = proc_pid_stat::parse(&stat).expect("a kernel wrote it");
    assert_eq!(stat.pid, std::process::id());
    assert_eq!(stat.ppid, std::os::unix::process::parent_id());
    let status = proc_pid_status::parse(&page("status")).expect("a kernel wrote it");
    assert!(status.threads.is_some_and(|threads| threads >= 1));
    assert!(status.vm_swap_bytes.is_some());
    let rollup = proc_pid_smaps_rollup::parse(&page("smaps_rollup")).expect("a kernel wrote it");
    assert!(rollup.pss_bytes <= rollup.rss_bytes);
}

#[test]
fn the_machine_is_understood() {
    let meminfo = read("/proc/meminfo").expect("the machine's pages are readable");
    assert!(proc_meminfo::parse(&meminfo).is_ok_and(|meminfo| meminfo.mem_total_bytes > 0));
    let stat = read("/proc/stat").expect("the machine's pages are readable");
    let booted = proc_stat::parse(&stat).expect("a kernel wrote it").btime_unix_seconds;
    let now = std::time::UNIX_EPOCH.elapsed().expect("the clock is set");
    assert!(booted <= now.as_secs() + 1);
}

#[test]
fn a_socket_and_a_namespace_are_told_by_their_links() {
    let socket = std::os::unix::net::UnixDatagram::unbound().expect("a socket can be had");
    let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
    let link = |path: &str| std::fs::read_link(path).expect("the own links are readable");
    let socket_link = link(&format!("/proc/self/fd/{fd}"));
    let bytes = socket_link.as_os_str().as_encoded_bytes();
    assert!(proc_pid_fd::inode(bytes, b"socket").is_some_and(|inode| inode > 0));
    let namespace = link("/proc/self/ns/net");
    let bytes = namespace.as_os_str().as_encoded_bytes();
    assert!(proc_pid_fd::inode(bytes, b"net").is_some_and(|inode| inode > 0));
}
