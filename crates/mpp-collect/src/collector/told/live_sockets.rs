//! Sockets as our own programs tell them: what links and tables say of the same processes must be
//! the same, whoever has run since the sweep before and whoever has not.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::{Duration, Instant};

use mpp_accounting::process::{Absence, IdentityNeeds, Reading, Socket, SocketKind, TcpState};
use rustix::net::{AddressFamily, SocketType, netlink, socket, socket_with, sockopt};
use rustix::process::{Pid, Signal, kill_process};

use crate::collector::live_holdings::{Holder, Watch};
use crate::needs::{Measures, Needs};

/// As many of all processes are looked at.
const PROCESSES_MAX: usize = 2000;
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

/// More than this test program has to wait for anybody to rest.
const DEADLINE: Duration = Duration::from_secs(20);

/// Looks until everybody watched has stood still for a sweep; returns what they hold.
fn settle(watch: &mut Watch) -> Vec<Reading<std::sync::Arc<[Socket]>>> {
    let begin = Instant::now();
    loop {
        let found = watch.look();
        if watch.are_all_still() {
            return found;
        }
        assert!(begin.elapsed() < DEADLINE, "who sleeps is taken for one that runs");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the only one watched, who stands still, is not asked; in turn it is all the same.
fn is_spared(watch: &mut Watch) -> bool {
    let pid = watch.pids[0];
    settle(watch);
    (0..4).any(|_| {
        watch.look();
        !watch.asked().contains(&pid)
    })
}

/// For how long the only one watched has run, as proc_pid_schedstat(5) has it.
fn run_time_of(watch: &Watch) -> String {
    std::fs::read_to_string(format!("/proc/{}/schedstat", watch.pids[0])).unwrap()
}

/// The TCP sockets that the only one watched holds.
fn tcp_of(watch: &mut Watch) -> Vec<TcpState> {
    let found = watch.look();
    let sockets = found[0].value().unwrap().iter();
    let tcp = sockets.filter_map(|socket| match socket.kind {
        SocketKind::Tcp(state) => Some(state),
        SocketKind::Udp | SocketKind::Unix => None,
    });
    tcp.collect()
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

#[test]
fn whoever_stood_still_without_sockets_is_not_asked_until_it_runs() {
    let mut holder = Holder::start_without_sockets();
    let pid = holder.child.id();
    let Some(mut watch) = Watch::by_programs(pid) else { return };
    for command in ["listen", "close", "many", "swap", "swap", "close", "listen", "exec"] {
        let before = settle(&mut watch);
        let is_without = before[0].value().unwrap().is_empty();
        assert_eq!(is_spared(&mut watch), is_without, "before {command}");
        assert_eq!(watch.look(), before);
        holder.tell(command);
        check(&mut watch, command);
        assert!(watch.asked().contains(&pid), "{command}");
    }
}

#[test]
fn threads_and_unix_sockets_of_its_own_do_not_make_anybody_be_asked() {
    let mut holder = Holder::start();
    let Some(mut watch) = Watch::by_programs(holder.child.id()) else { return };
    for command in ["thread", "thread", "fork"] {
        assert!(is_spared(&mut watch), "before {command}");
        holder.tell(command);
        check(&mut watch, command);
    }
    assert!(is_spared(&mut watch));
    let other = holder.tell("share");
    assert!(!is_spared(&mut watch), "nobody knows what that one does");
    kill_process(Pid::from_raw(other.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn what_others_do_to_a_shared_socket_of_one_that_stands_still_is_seen() {
    let mut holder = Holder::start();
    let Some(mut watch) = Watch::by_programs(holder.child.id()) else { return };
    let ours = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    let server = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    holder.give(ours.as_fd());
    holder.give(server.as_fd());
    let before = settle(&mut watch);
    let run_time = run_time_of(&watch);
    let anywhere = std::net::SocketAddrV4::new([127, 0, 0, 1].into(), 0);
    rustix::net::bind(&ours, &anywhere).unwrap();
    check(&mut watch, "bound");
    assert_eq!(watch.look()[0].value().unwrap().len(), before[0].value().unwrap().len() + 1);
    rustix::net::bind(&server, &anywhere).unwrap();
    rustix::net::listen(&server, 1).unwrap();
    check(&mut watch, "listens");
    assert_eq!(run_time_of(&watch), run_time, "nobody woke it up");
    assert_eq!(tcp_of(&mut watch), [TcpState::Listen]);
}

#[test]
fn what_the_other_end_does_to_a_connection_of_one_that_stands_still_is_seen() {
    let mut holder = Holder::start();
    let Some(mut watch) = Watch::by_programs(holder.child.id()) else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut given = || {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        holder.give(client.as_fd());
        listener.accept().unwrap().0
    };
    let (closes, resets) = (given(), given());
    settle(&mut watch);
    assert_eq!(tcp_of(&mut watch), [TcpState::Established; 2]);
    let run_time = run_time_of(&watch);
    drop(closes);
    check(&mut watch, "closed at the other end");
    assert_eq!(run_time_of(&watch), run_time, "nobody woke it up");
    let mut states = tcp_of(&mut watch);
    states.sort_unstable();
    assert_eq!(states, [TcpState::Established, TcpState::CloseWait]);
    sockopt::set_socket_linger(&resets, Some(Duration::ZERO)).unwrap();
    drop(resets);
    check(&mut watch, "reset by the other end");
    assert_eq!(run_time_of(&watch), run_time, "nobody woke it up");
    assert_eq!(tcp_of(&mut watch), [TcpState::CloseWait]);
}

#[test]
fn a_socket_that_is_handed_over_to_one_that_stood_still_is_seen() {
    let mut holder = Holder::start();
    let Some(mut watch) = Watch::by_programs(holder.child.id()) else { return };
    let given = UdpSocket::bind("127.0.0.1:0").unwrap();
    let before = settle(&mut watch);
    holder.give(given.as_fd());
    check(&mut watch, "received");
    assert_ne!(watch.look(), before);
}

#[test]
fn what_a_process_opens_for_another_one_is_seen_though_that_stood_still() {
    let mut holder = Holder::start_without_sockets();
    let pid = holder.child.id();
    let Some(mut watch) = Watch::by_programs(pid) else { return };
    let other = holder.tell("share");
    assert_ne!(other, pid);
    for command in ["listen", "swap", "close", "listen"] {
        settle(&mut watch);
        let run_time = run_time_of(&watch);
        holder.tell(command);
        check(&mut watch, command);
        assert_eq!(run_time_of(&watch), run_time, "nobody woke it up");
    }
    // And what it has opened stays when it is not there any more.
    holder.tell("close");
    assert!(settle(&mut watch)[0].value().unwrap().is_empty());
    holder.tell("listen");
    kill_process(Pid::from_raw(other.cast_signed()).unwrap(), Signal::KILL).unwrap();
    let begin = Instant::now();
    while tcp_of(&mut watch) != [TcpState::Listen] {
        assert!(begin.elapsed() < DEADLINE);
    }
    assert_eq!(watch.look(), watch.truth());
}

#[test]
fn a_process_of_which_the_main_thread_is_gone_is_told_of_as_ever() {
    let mut holder = Holder::start_without_sockets();
    let pid = holder.child.id();
    let Some(mut watch) = Watch::by_programs(pid) else { return };
    holder.tell("leave");
    for command in ["listen", "swap", "close", "listen", "listen"] {
        holder.tell(command);
        for _ in 0..3 {
            let found = watch.look();
            let sockets = found[0].value().unwrap().iter().map(|socket| socket.inode);
            assert_eq!(sockets.collect::<Vec<_>>(), inodes_of_threads(pid), "{command}");
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

/// Sockets by the links of a thread that is not the main one.
fn inodes_of_threads(pid: u32) -> Vec<u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let tid = tasks.map(|task| task.unwrap().file_name()).find(|tid| *tid != *pid.to_string());
    let links = std::path::Path::new("/proc").join(tid.unwrap()).join("fd");
    let inode_of = |entry: std::fs::DirEntry| {
        let link = std::fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok()?;
        link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    let links = std::fs::read_dir(links).unwrap();
    let mut inodes: Vec<_> = links.filter_map(|entry| inode_of(entry.unwrap())).collect();
    inodes.sort_unstable();
    inodes
}

#[test]
fn a_socket_behind_five_thousand_descriptors_is_found_there() {
    let mut holder = Holder::start();
    let Some(mut watch) = Watch::by_programs(holder.child.id()) else { return };
    for command in ["listen", "many", "listen", "many", "listen", "swap", "dup"] {
        settle(&mut watch);
        holder.tell(command);
        check(&mut watch, command);
    }
    assert_eq!(watch.look()[0].value().unwrap().len(), 1 + 4);
}

#[test]
fn a_thousand_sockets_of_one_process_are_told_in_several_runs() {
    let Some(mut watch) = Watch::by_programs(std::process::id()) else { return };
    let (one, _other) = UnixStream::pair().unwrap();
    let inode = rustix::fs::fstat(&one).unwrap().st_ino;
    let many: Vec<_> = (0..400).map(|_| one.try_clone().unwrap()).collect();
    let mut holder = Holder::start();
    for _ in 0..3 {
        for one in &many {
            holder.give(one.as_fd());
        }
    }
    watch.pids = vec![holder.child.id()];
    check(&mut watch, "given");
    let sockets = watch.look().remove(0);
    let count = sockets.value().unwrap().iter().filter(|socket| socket.inode == inode).count();
    assert_eq!(count, 1200);
}

#[test]
fn a_mere_path_to_a_socket_is_none() {
    let Some(mut watch) = Watch::by_programs(std::process::id()) else { return };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let inode = rustix::fs::fstat(&socket).unwrap().st_ino;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&socket));
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let _path = rustix::fs::open(link, flags, rustix::fs::Mode::empty()).unwrap();
    let found = watch.look().remove(0);
    let count = found.value().unwrap().iter().filter(|socket| socket.inode == inode).count();
    assert_eq!(count, 1);
}

/// Whoever is looked at while something changes is left out: compared is where links and tables say
/// the same before and after. Strangers may change something and take it back meanwhile, but not in
/// two looks one after the other.
#[test]
fn everybody_on_the_machine_holds_what_links_say_while_some_change_theirs() {
    let mut holders: Vec<_> = (0..6).map(|_| Holder::start()).collect();
    holders.extend((0..6).map(|_| Holder::start_without_sockets()));
    let all = rustix::fs::Dir::read_from(std::fs::File::open("/proc").unwrap()).unwrap();
    let pids = all.filter_map(|entry| entry.unwrap().file_name().to_str().ok()?.parse().ok());
    let pids: Vec<u32> = pids.take(PROCESSES_MAX).collect();
    let Some(mut watch) = Watch::by_programs(std::process::id()) else { return };
    watch.pids.extend(holders.iter().map(|holder| holder.child.id()).chain(pids));
    watch.pids.sort_unstable();
    watch.pids.dedup();
    let commands = ["listen", "dup", "swap", "listen", "close", "thread", "many", "close"];
    let own: Vec<u32> = holders.iter().map(|holder| holder.child.id()).collect();
    let (mut compared, mut doubted) = (0, Vec::new());
    for (round, command) in commands.into_iter().chain(["listen", "swap", "exec"]).enumerate() {
        // Some each time, so that the others stand still.
        for holder in holders.iter_mut().skip(round % 3).step_by(3) {
            if command != "close" || round > 3 {
                holder.tell("listen");
                holder.tell(command);
            }
        }
        let before = watch.truth_of_living();
        let found = watch.look_at_living();
        let after = watch.truth_of_living();
        let doubted_before = std::mem::take(&mut doubted);
        for (pid, sockets) in found {
            // A sweep takes no longer than it may, whoever else keeps this machine busy.
            let is_reached = sockets != Reading::Absent(Absence::NotYetKnown);
            let is_same = is_reached && before.get(&pid) == after.get(&pid);
            if let (true, Some(truth @ Reading::Value(_))) = (is_same, after.get(&pid)) {
                if &sockets != truth && !own.contains(&pid) && !doubted_before.contains(&pid) {
                    doubted.push(pid);
                    continue;
                }
                assert_eq!(&sockets, truth, "{pid} after {command}");
                compared += 1;
            }
        }
    }
    assert!(compared >= 8 * holders.len(), "{compared}");
}
