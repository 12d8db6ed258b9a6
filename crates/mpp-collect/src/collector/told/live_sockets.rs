//! Sockets as the iterator over descriptors tells them: what links and tables say of the same
//! processes must be the same.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

use mpp_accounting::process::{IdentityNeeds, Reading};
use rustix::net::{AddressFamily, SocketType, netlink, socket, socket_with};

use crate::collector::live_holdings::{Holder, Watch};
use crate::needs::{Measures, Needs};

/// How often is looked until the tables are at rest.
const LOOKS_MAX: u32 = 100;

/// Looks at everybody watched, who must have been told of, and not be asked: as the tables were
/// before and after. Where these differ it is looked again, since a connection goes from state to
/// state by itself: the other end acknowledges the end of what is said.
fn check(watch: &mut Watch, what: &str) {
    for _ in 0..LOOKS_MAX {
        let before = watch.truth();
        let walked = watch.walked();
        let found = watch.look();
        let after = watch.truth();
        assert_eq!(watch.walked(), walked, "{what}");
        assert_eq!(watch.collector.trouble().failed, 0);
        if before == after {
            assert_eq!(found, after, "{what}");
            return;
        }
    }
    panic!("{what}: the tables are never at rest");
}

#[test]
fn every_kind_of_socket_is_told_as_the_tables_have_it() {
    let Some(mut watch) = Watch::by_programs(std::process::id()) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let server = listener.accept().unwrap().0;
    let closing = TcpStream::connect(address).unwrap();
    closing.shutdown(std::net::Shutdown::Write).unwrap();
    // Without IPv6 here, one less.
    let v6 = TcpListener::bind("[::1]:0").ok();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let connected = UdpSocket::bind("127.0.0.1:0").unwrap();
    connected.connect("127.0.0.1:9").unwrap();
    let idle = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let bound = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&bound, &std::net::SocketAddrV4::new([127, 0, 0, 1].into(), 0)).unwrap();
    let unbound = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    let kernel = Some(netlink::GENERIC);
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let route = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, kernel).unwrap();
    let unix = (UnixStream::pair().unwrap(), UnixDatagram::unbound().unwrap());
    let twice = client.try_clone().unwrap();
    check(&mut watch, "every kind");
    let sockets = watch.look();
    let inode_of = |fd: std::os::fd::BorrowedFd<'_>| rustix::fs::fstat(fd).unwrap().st_ino;
    let count = |fd: std::os::fd::BorrowedFd<'_>| {
        let inode = inode_of(fd);
        sockets[0].value().unwrap().iter().filter(|socket| socket.inode == inode).count()
    };
    let told = [client.as_fd(), server.as_fd(), udp.as_fd(), connected.as_fd(), unix.1.as_fd()];
    assert_eq!(told.map(count), [2, 1, 1, 1, 1]);
    let untold = [idle.as_fd(), bound.as_fd(), unbound.as_fd(), route.as_fd()];
    assert_eq!(untold.map(count), [0; 4]);
    drop((closing, v6, twice));
}

#[test]
fn whatever_a_process_does_to_its_sockets_is_told_by_the_next_sweep() {
    let mut holder = Holder::start();
    let Some(mut watch) = Watch::by_programs(holder.child.id()) else { return };
    for command in ["listen", "dup", "swap", "listen", "fork", "close", "thread", "exec"] {
        let answered = holder.tell(command);
        if !watch.pids.contains(&answered) {
            watch.pids.push(answered);
        }
        check(&mut watch, command);
    }
    let given = UdpSocket::bind("127.0.0.1:0").unwrap();
    holder.give(given.as_fd());
    check(&mut watch, "receive");
    let other = holder.tell("share");
    watch.pids.push(other);
    holder.tell("swap");
    check(&mut watch, "share");
}

#[test]
fn ports_and_traffic_are_told_with_the_same_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = TcpStream::connect(address).unwrap();
    let Some(mut watch) = Watch::by_programs(std::process::id()) else { return };
    let mut needs = Needs {
        measures: Measures { sockets: true, tcp_traffic: true, ..Measures::default() },
        identity: IdentityNeeds { listening_ports: true, ..IdentityNeeds::default() },
    };
    let found = watch.look_for(&needs);
    assert_eq!(found, watch.truth());
    let process = watch.watched().next().unwrap();
    let Reading::Value(listening) = &watch.network().listening else { panic!() };
    let ports = listening.ports_of(process.key).unwrap().collect::<Vec<_>>();
    assert_eq!(ports, [address.port()]);
    let Reading::Value(traffic) = &watch.network().traffic else { panic!() };
    let inode = rustix::fs::fstat(&client).unwrap().st_ino;
    assert!(traffic.connections.iter().any(|connection| connection.inode == inode));
    // Ports alone, by whoever asks for no sockets.
    needs.measures = Measures::default();
    assert!(watch.look_for(&needs).iter().all(|sockets| sockets.absence().is_some()));
    let Reading::Value(listening) = &watch.network().listening else { panic!() };
    let key = watch.watched().next().unwrap().key;
    assert_eq!(listening.ports_of(key).unwrap().collect::<Vec<_>>(), [address.port()]);
}
