//! Sockets that this test opens itself, in every state that it can bring about, and what the
//! kernel's tables make of them.
//!
//! Other tests of this file may run in the same process, so each looks only for the sockets that
//! it knows by their inodes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use mpp_accounting::process::{Absence, ProcessKey, Reading, Socket, SocketKind, TcpState};
use mpp_collect::sockets::{SWEEP_BUDGET, SocketSource};
use rustix::net::{AddressFamily, SocketType, bind, connect, listen, socket};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};

/// All sockets of a process, as a new source sees them.
fn sockets_of(pid: u32) -> Reading<Vec<Socket>> {
    let directory = std::fs::File::open(format!("/proc/{pid}")).unwrap();
    let mut source = SocketSource::open(SWEEP_BUDGET);
    source.begin_sweep();
    let key = ProcessKey { pid, start_time_ticks: 0 };
    source.sockets_of(key, directory.as_fd()).map(|sockets| sockets.to_vec())
}

fn inode_of(fd: impl AsFd) -> u64 {
    rustix::fs::fstat(fd).unwrap().st_ino
}

/// What a process holds behind this socket's inode: one kind for each descriptor.
fn kinds_in(pid: u32, fd: impl AsFd) -> Vec<SocketKind> {
    // Borrowed, since it must stay open until it has been looked for.
    let inode = inode_of(fd.as_fd());
    let sockets = sockets_of(pid);
    let ours = sockets.value().unwrap().iter().filter(|socket| socket.inode == inode);
    ours.map(|socket| socket.kind).collect()
}

fn check(fd: impl AsFd, expected: &[SocketKind]) {
    assert_eq!(kinds_in(std::process::id(), fd), expected);
}

fn tcp(state: TcpState) -> [SocketKind; 1] {
    [SocketKind::Tcp(state)]
}

/// A child that runs until this is dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> std::io::Result<Self> {
        command.arg("1000").stdout(Stdio::null()).spawn().map(Running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn connected(address: &str) -> (TcpListener, TcpStream, TcpStream) {
    let listener = TcpListener::bind(address).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let server = listener.accept().unwrap().0;
    (listener, client, server)
}

/// Waits until the other end's acknowledgement has taken a socket out of this state.
fn await_acknowledgement(fd: impl AsFd, passing: TcpState) {
    while kinds_in(std::process::id(), fd.as_fd()) == tcp(passing) {
        std::thread::yield_now();
    }
}

/// Waits until the other end has hung up.
fn await_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn a_connection_is_in_the_state_that_its_two_ends_have_brought_it_to() {
    let (listener, mut client, mut server) = connected("127.0.0.1:0");
    check(&listener, &tcp(TcpState::Listen));
    check(&client, &tcp(TcpState::Established));
    check(&server, &tcp(TcpState::Established));
    client.shutdown(Shutdown::Write).unwrap();
    await_end(&mut server);
    check(&server, &tcp(TcpState::CloseWait));
    await_acknowledgement(&client, TcpState::FinWait1);
    check(&client, &tcp(TcpState::FinWait2));
    server.shutdown(Shutdown::Write).unwrap();
    await_end(&mut client);
    await_acknowledgement(&server, TcpState::LastAck);
    // The one ends closed, the other in TIME_WAIT: neither is a connection that a process holds.
    check(&server, &[]);
    check(&client, &[]);
    let all = sockets_of(std::process::id());
    let time_wait = SocketKind::Tcp(TcpState::TimeWait);
    assert!(all.value().unwrap().iter().all(|s| s.inode != 0 && s.kind != time_wait));
}

#[test]
fn version_six_counts_as_version_four_does() {
    if let Err(error) = TcpListener::bind("[::1]:0") {
        eprintln!("no IPv6 here: {error}");
        assert_ne!(error.kind(), std::io::ErrorKind::PermissionDenied);
        return;
    }
    let (listener, client, server) = connected("[::1]:0");
    check(&listener, &tcp(TcpState::Listen));
    check(&client, &tcp(TcpState::Established));
    check(&server, &tcp(TcpState::Established));
    check(UdpSocket::bind("[::1]:0").unwrap(), &[SocketKind::Udp]);
    check(TcpListener::bind("[::]:0").unwrap(), &tcp(TcpState::Listen));
}

#[test]
fn a_connection_that_nobody_answers_is_being_opened() {
    let full = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&full, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    listen(&full, 0).unwrap();
    let address = SocketAddrV4::try_from(rustix::net::getsockname(&full).unwrap()).unwrap();
    let ends: Vec<_> = (0..4)
        .map(|_| {
            let end = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
            rustix::io::ioctl_fionbio(&end, true).unwrap();
            assert!(connect(&end, &address).is_err(), "nobody accepts that fast");
            end
        })
        .collect();
    // A backlog of 0 holds one; the kernel drops the first packet of all later ones.
    let last = ends.last().unwrap();
    check(last, &tcp(TcpState::SynSent));
}

#[test]
fn a_tcp_socket_that_neither_listens_nor_is_connected_is_not_counted() {
    let idle = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    check(&idle, &[]);
    bind(&idle, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    check(&idle, &[]);
    listen(&idle, 1).unwrap();
    check(&idle, &tcp(TcpState::Listen));
}

#[test]
fn a_udp_socket_counts_from_when_it_is_bound() {
    let udp: OwnedFd = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    check(&udp, &[]);
    bind(&udp, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).unwrap();
    check(&udp, &[SocketKind::Udp]);
    let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
    connected.connect("127.0.0.1:9").unwrap();
    check(&connected, &[SocketKind::Udp]);
}

#[test]
fn a_unix_socket_counts_bound_or_not() {
    let (left, right) = UnixStream::pair().unwrap();
    check(&left, &[SocketKind::Unix]);
    check(&right, &[SocketKind::Unix]);
    check(UnixDatagram::unbound().unwrap(), &[SocketKind::Unix]);
}

#[test]
fn a_name_with_a_newline_forges_no_connection() {
    let victim = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!(
        "x{}\n0000000000000000: 00000002 00000000 00010000 0001 01 {} /forged\n",
        std::process::id(),
        inode_of(&victim)
    );
    let address = SocketAddr::from_abstract_name(line.as_bytes()).unwrap();
    let forger = UnixListener::bind_addr(&address).unwrap();
    check(&forger, &[SocketKind::Unix]);
    check(&victim, &tcp(TcpState::Listen));
}

#[test]
fn every_descriptor_of_a_socket_is_listed() {
    let (listener, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixStream::pair().unwrap());
    let _second = (listener.try_clone().unwrap(), unix.0.try_clone().unwrap());
    check(&listener, &[SocketKind::Tcp(TcpState::Listen); 2]);
    check(&unix.0, &[SocketKind::Unix; 2]);
}

#[test]
fn a_socket_that_a_child_inherited_is_in_both() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let inherited = OwnedFd::from(listener.try_clone().unwrap());
    let mut command = Command::new("sleep");
    let child = Running::start(command.stdin(inherited)).unwrap();
    drop(command);
    assert_eq!(kinds_in(child.0.id(), &listener), tcp(TcpState::Listen));
    check(&listener, &tcp(TcpState::Listen));
}

#[test]
fn a_connection_that_was_not_accepted_belongs_to_the_caller_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"x").unwrap();
    check(&client, &tcp(TcpState::Established));
    check(&listener, &tcp(TcpState::Listen));
}

/// A child in a network namespace of its own that holds a bound UDP socket there.
fn start_elsewhere(namespaces: UnshareFlags) -> std::io::Result<Running> {
    let mut command = Command::new("sleep");
    let enter = move || {
        // SAFETY: nothing in this child depends on what is not shared any more.
        unsafe { rustix::thread::unshare_unsafe(namespaces) }?;
        let udp = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
        bind(&udp, &SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0))?;
        // Left open for the program that follows.
        std::mem::forget(udp);
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
    unsafe { command.pre_exec(enter) };
    Running::start(command.stdin(Stdio::null()))
}

#[test]
fn a_process_in_another_network_namespace_has_its_sockets_from_there() {
    let namespaces = UnshareFlags::NEWNET;
    let child = match start_elsewhere(namespaces)
        .or_else(|_| start_elsewhere(namespaces | UnshareFlags::NEWUSER))
    {
        Ok(child) => child,
        Err(error) => {
            eprintln!("no network namespaces for us here: {error}");
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            return;
        }
    };
    let namespace = inode_of_namespace(&format!("/proc/{}/ns/net", child.0.id()));
    let own = inode_of_namespace("/proc/self/ns/net");
    assert_ne!(namespace, own);
    let sockets = sockets_of(child.0.id());
    let may_enter = capabilities(None).unwrap().effective.contains(CapabilitySet::SYS_ADMIN);
    if may_enter {
        let found: Vec<_> = sockets.value().unwrap().iter().collect();
        let [socket] = found[..] else { panic!("{found:?}") };
        assert_eq!((socket.namespace, socket.kind), (namespace, SocketKind::Udp));
    } else {
        eprintln!("entering the namespace needs CAP_SYS_ADMIN");
        assert_eq!(sockets, Reading::Absent(Absence::Denied));
    }
    assert_eq!(own, inode_of_namespace("/proc/thread-self/ns/net"), "we have not moved");
}

fn inode_of_namespace(path: &str) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}
