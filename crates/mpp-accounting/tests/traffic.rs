//! Whose the traffic of connections is, over machines that are written down by hand, and over
//! random histories whose truth is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use mpp_accounting::group::{GroupBook, Rows};
use mpp_accounting::ledger::Ledger;
use mpp_accounting::metric;
use mpp_accounting::network::{
    ClosedConnection, Connection, ConnectionId, Endpoint, Listener, Listening, TcpTraffic,
};
use mpp_accounting::process::{
    Absence, Gauges, Identity, Lineage, ProcessIo, ProcessKey, ProcessSample, ProcessState,
    Reading, Seldom, SeldomGauges, Socket, SocketKind, TcpState, Usage,
};
use mpp_accounting::report::{Figure, Mark, Report, Value};
use mpp_accounting::selector::{Resolution, Selector};
use mpp_accounting::snapshot::Snapshot;
use mpp_accounting::units::{BootTime, TcpTotals, Totals};
use proptest::prelude::*;

const OWN: u64 = 1;
const SECOND_NS: u64 = 1_000_000_000;

/// A machine, watched by groups.
struct Watch {
    /// Each process with its name and the inodes of its sockets.
    processes: BTreeMap<u32, (&'static str, Reading<Vec<u64>>)>,
    traffic: TcpTraffic,
    listening: Reading<Listening>,
    is_table_readable: bool,
    ledger: Ledger,
    book: GroupBook,
    sweeps: u64,
    report: Option<Report>,
}

/// A machine with these processes, and one group for each name.
fn watch(processes: &[(u32, &'static str, &[u64])], groups: &[&str]) -> Watch {
    let columns = metric::choose("net.tcp.*,processes.total").expect("metrics of the table");
    let row = |text: &&str| {
        let selector = if text.contains(':') { (*text).to_owned() } else { format!("name:{text}") };
        (text.as_bytes().into(), Selector::parse(&selector).expect("a selector"))
    };
    let rows = Rows::Named(groups.iter().map(row).collect());
    let processes = processes
        .iter()
        .map(|(pid, name, inodes)| (*pid, (*name, Reading::Value(inodes.to_vec()))))
        .collect();
    Watch {
        processes,
        traffic: TcpTraffic { own_namespace: OWN, ..TcpTraffic::default() },
        listening: Reading::Absent(Absence::NotRequested),
        is_table_readable: true,
        ledger: Ledger::new(),
        book: GroupBook::new(rows, columns.into()),
        sweeps: 0,
        report: None,
    }
}

fn end(port: u16) -> Endpoint {
    Endpoint { is_v6: false, port, address: [0; 16] }
}

fn id(cookie: u64) -> ConnectionId {
    ConnectionId { namespace: OWN, cookie }
}

fn moved(bytes: u64) -> TcpTotals {
    Totals([bytes, 2 * bytes, 0])
}

fn closed(cookie: u64, port: u16, bytes: u64) -> ClosedConnection {
    let (id, local, moved) = (id(cookie), end(port), moved(bytes));
    ClosedConnection { id, local, moved, was_thrown_away: false }
}

fn key(pid: u32) -> ProcessKey {
    ProcessKey { pid, start_time_ticks: u64::from(pid) }
}

impl Watch {
    /// A connection has moved so much by now; its cookie is its first inode.
    fn connect(&mut self, cookie: u64, inode: u64, bytes: u64) {
        self.traffic.connections.retain(|connection| connection.id != id(cookie));
        let (id, local, moved) = (id(cookie), end(5), moved(bytes));
        self.traffic.connections.push(Connection { id, inode, local, moved });
        self.traffic.connections.sort_by_key(|one| (one.id.namespace, one.inode));
    }

    fn close(&mut self, closed: ClosedConnection) {
        self.traffic.connections.retain(|connection| connection.id != closed.id);
        self.traffic.closed.push(closed);
    }

    fn listen(&mut self, inode: u64, port: u16) {
        self.traffic.listeners.push(Listener { namespace: OWN, inode, local: end(port) });
    }

    fn hold(&mut self, pid: u32, inodes: &[u64]) {
        self.processes.get_mut(&pid).expect("a process").1 = Reading::Value(inodes.to_vec());
    }

    fn sample(&self, pid: u32, name: &str, inodes: &Reading<Vec<u64>>) -> ProcessSample {
        let absent = Absence::NotRequested;
        let kind = |inode: u64| match self.traffic.listeners.iter().any(|l| l.inode == inode) {
            true => SocketKind::Tcp(TcpState::Listen),
            false => SocketKind::Tcp(TcpState::Established),
        };
        let sockets = inodes.as_ref().map(|inodes| {
            let sockets = inodes.iter().map(|inode| Socket {
                namespace: OWN,
                inode: *inode,
                kind: kind(*inode),
            });
            sockets.collect::<Arc<[Socket]>>()
        });
        let seldom = SeldomGauges { sockets, ..SeldomGauges::absent(absent) };
        let mut gauges = Gauges::absent(absent);
        gauges.seldom = Seldom::from(seldom);
        let identity = Identity {
            comm: name.as_bytes().into(),
            uid: 0,
            executable: Reading::Value(format!("/bin/{name}").into_bytes().into()),
            cmdline: Reading::Value(name.as_bytes().into()),
            environment: Reading::Absent(absent),
            is_environment_incomplete: false,
            cgroup: Reading::Absent(absent),
            is_kernel_thread: false,
        };
        ProcessSample {
            key: key(pid),
            parent_pid: 0,
            lineage: Lineage::default(),
            state: ProcessState::Living,
            identity: Arc::new(identity),
            read_at: BootTime { ns: self.sweeps * SECOND_NS },
            usage: Usage::default(),
            io: ProcessIo::absent(absent),
            gauges,
        }
    }

    /// A sweep; what was told of ends has been told.
    fn sweep(&mut self) {
        self.sweeps += 1;
        let samples = self.processes.iter();
        let mut snapshot = Snapshot {
            taken_at: BootTime { ns: self.sweeps * SECOND_NS },
            taken_at_ticks: self.sweeps * 100,
            processes: samples.map(|(pid, (name, held))| self.sample(*pid, name, held)).collect(),
            ..Snapshot::default()
        };
        snapshot.network.listening = self.listening.clone();
        snapshot.network.traffic = match self.is_table_readable {
            true => Reading::Value(self.traffic.clone()),
            false => Reading::Absent(Absence::Unstable),
        };
        self.traffic.closed.clear();
        self.traffic.lost = 0;
        let movement = self.ledger.advance(&snapshot);
        self.report = Some(self.book.fold(&snapshot, &movement, &Resolution::default()));
    }

    fn figure(&self, group: &str, column: &str) -> Figure {
        let report = self.report.as_ref().expect("a sweep");
        let row = report.groups.iter().find(|row| *row.name == *group.as_bytes());
        let column = report.columns.iter().position(|c| c.name() == column);
        row.expect("a group of this name").figures[column.expect("a column of this name")]
    }

    /// Sent so many bytes, and received twice as many.
    #[track_caller]
    fn check(&self, group: &str, bytes: u64, mark: Mark) {
        for (column, value) in
            [("net.tcp.sent_bytes", bytes), ("net.tcp.received_bytes", 2 * bytes)]
        {
            let expected = Figure::Known { value: Value::Integer(value), mark };
            assert_eq!(self.figure(group, column), expected, "{group} {column}");
        }
    }

    fn unattributed(&self) -> u64 {
        self.report.as_ref().expect("a sweep").accuracy.unattributed_tcp_bytes
    }
}

#[test]
fn a_total_starts_at_what_connections_had_moved_and_grows_with_them_to_their_end() {
    let mut watch = watch(&[(10, "web", &[7])], &["web"]);
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.check("web", 100, Mark::Exact);
    let unknown = Figure::Absent(Absence::NotYetKnown);
    assert_eq!(watch.figure("web", "net.tcp.sent_bytes_per_sec"), unknown);
    watch.connect(7, 7, 130);
    watch.sweep();
    watch.check("web", 130, Mark::Exact);
    let rate = |value| Figure::Known { value: Value::Float(value), mark: Mark::Exact };
    assert_eq!(watch.figure("web", "net.tcp.received_bytes_per_sec"), rate(60.0));
    watch.hold(10, &[]);
    watch.close(closed(7, 5, 150));
    watch.sweep();
    watch.check("web", 150, Mark::Exact);
    watch.sweep();
    watch.check("web", 150, Mark::Exact);
    assert_eq!(watch.figure("web", "net.tcp.sent_bytes_per_sec"), rate(0.0));
}

#[test]
fn a_connection_that_ends_after_its_table_was_read_counts_once() {
    let mut watch = watch(&[(10, "web", &[7])], &["web"]);
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.traffic.closed.push(closed(7, 5, 140));
    watch.connect(7, 7, 120);
    watch.sweep();
    watch.traffic.connections.clear();
    watch.check("web", 140, Mark::Exact);
    watch.sweep();
    watch.check("web", 140, Mark::Exact);
}

#[test]
fn a_connection_that_forks_share_counts_once() {
    let mut watch = watch(&[(10, "web", &[7]), (11, "web", &[7, 7])], &["web"]);
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.connect(7, 7, 130);
    watch.sweep();
    watch.check("web", 130, Mark::Exact);
}

#[test]
fn a_connection_of_two_groups_counts_in_one_and_both_say_so() {
    let mut watch = watch(&[(10, "old", &[7]), (11, "young", &[7])], &["old", "young"]);
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.check("old", 100, Mark::Estimate);
    watch.check("young", 0, Mark::Estimate);
}

#[test]
fn a_connection_that_is_handed_over_brings_only_what_it_moves_from_then_on() {
    let mut watch = watch(&[(10, "master", &[7]), (11, "worker", &[])], &["master", "worker"]);
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.hold(10, &[]);
    watch.hold(11, &[7]);
    watch.connect(7, 7, 110);
    watch.sweep();
    watch.check("master", 110, Mark::Exact);
    watch.check("worker", 0, Mark::Exact);
    watch.connect(7, 7, 150);
    watch.sweep();
    watch.check("master", 110, Mark::Exact);
    watch.check("worker", 40, Mark::Exact);
}

#[test]
fn what_arrived_before_a_connection_was_accepted_is_the_acceptors() {
    let mut watch = watch(&[(10, "web", &[])], &["web"]);
    watch.connect(7, 0, 30);
    watch.sweep();
    watch.check("web", 0, Mark::Exact);
    watch.connect(7, 9, 50);
    watch.hold(10, &[9]);
    watch.sweep();
    watch.check("web", 50, Mark::Exact);
}

#[test]
fn what_the_kernel_still_delivers_after_the_close_is_the_last_holders() {
    let mut watch = watch(&[(10, "web", &[7])], &["web"]);
    watch.connect(7, 7, 30);
    watch.sweep();
    watch.hold(10, &[]);
    watch.connect(7, 0, 70);
    watch.sweep();
    watch.check("web", 70, Mark::Exact);
    watch.processes.clear();
    watch.close(closed(7, 5, 90));
    watch.sweep();
    watch.check("web", 90, Mark::Exact);
}

#[test]
fn connections_that_came_and_went_are_those_of_who_listens_there() {
    let mut watch = watch(&[(10, "web", &[3]), (11, "db", &[4])], &["web", "db"]);
    watch.listen(3, 80);
    watch.listen(4, 5432);
    watch.close(closed(20, 80, 1_000));
    watch.sweep();
    watch.check("web", 0, Mark::Exact);
    for cookie in 100..6_100 {
        watch.close(closed(cookie, 80, 10));
    }
    watch.close(closed(9_000, 5432, 7));
    watch.sweep();
    watch.check("web", 60_000, Mark::Exact);
    watch.check("db", 7, Mark::Exact);
    // Of one that has stopped listening meanwhile, too.
    watch.traffic.listeners.clear();
    watch.close(closed(9_001, 80, 5));
    watch.sweep();
    watch.check("web", 60_005, Mark::Exact);
    assert_eq!(watch.unattributed(), 0);
}

#[test]
fn a_connection_of_nobody_known_is_in_no_group_and_every_total_may_miss_it() {
    let mut watch = watch(&[(10, "web", &[3]), (11, "db", &[3])], &["web", "db"]);
    watch.listen(3, 80);
    watch.sweep();
    watch.close(closed(20, 40_000, 10));
    // Both hold the socket that listens.
    watch.close(closed(21, 80, 1));
    watch.sweep();
    assert_eq!(watch.unattributed(), 33);
    watch.check("web", 0, Mark::LowerBound);
    watch.sweep();
    assert_eq!(watch.unattributed(), 0);
    watch.check("web", 0, Mark::LowerBound);
}

#[test]
fn a_connection_that_ended_untold_is_waited_for() {
    let mut watch = watch(&[(10, "web", &[7])], &["web"]);
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.traffic.connections.clear();
    watch.sweep();
    watch.check("web", 100, Mark::Exact);
    for _ in 0..100 {
        watch.sweep();
        watch.check("web", 100, Mark::LowerBound);
    }
    watch.close(closed(7, 5, 120));
    watch.sweep();
    watch.check("web", 120, Mark::Exact);
}

#[test]
fn lost_reports_leave_every_total_a_lower_bound() {
    let mut watch = watch(&[(10, "web", &[7]), (11, "db", &[])], &["web", "db"]);
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.traffic.lost = 1;
    watch.sweep();
    watch.check("web", 100, Mark::LowerBound);
    watch.check("db", 0, Mark::LowerBound);
    watch.sweep();
    watch.check("db", 0, Mark::LowerBound);
}

#[test]
fn connections_of_which_nothing_is_told_leave_a_lower_bound() {
    let mut watch = watch(&[(10, "web", &[]), (11, "db", &[])], &["web", "db"]);
    watch.traffic.unheard = vec![key(10)];
    watch.sweep();
    watch.check("web", 0, Mark::Exact);
    watch.sweep();
    watch.check("web", 0, Mark::LowerBound);
    watch.check("db", 0, Mark::Exact);
    watch.traffic.deafness = Some(Absence::Unsupported);
    watch.sweep();
    watch.check("db", 0, Mark::LowerBound);
}

#[test]
fn a_connection_that_was_thrown_away_takes_its_last_bytes_along() {
    let mut watch = watch(&[(10, "web", &[7])], &["web"]);
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.close(ClosedConnection { was_thrown_away: true, ..closed(7, 5, 0) });
    watch.sweep();
    watch.check("web", 100, Mark::LowerBound);
}

#[test]
fn a_socket_that_is_connected_again_begins_anew() {
    let mut watch = watch(&[(10, "web", &[7])], &["web"]);
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.connect(7, 7, 20);
    watch.sweep();
    watch.check("web", 120, Mark::LowerBound);
}

#[test]
fn unreadable_members_are_a_lower_bound_and_unknown_is_not_zero() {
    let mut watch = watch(&[(10, "web", &[7]), (11, "web", &[])], &["web"]);
    watch.processes.get_mut(&11).unwrap_or_else(|| panic!("no 11")).1 =
        Reading::Absent(Absence::Denied);
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.check("web", 100, Mark::LowerBound);
    watch.processes.remove(&10);
    watch.connect(7, 0, 100);
    watch.sweep();
    watch.check("web", 100, Mark::LowerBound);
    let mut watch = self::watch(&[(11, "web", &[])], &["web"]);
    watch.processes.insert(11, ("web", Reading::Absent(Absence::Denied)));
    watch.sweep();
    let denied = Figure::Absent(Absence::Denied);
    assert_eq!(watch.figure("web", "net.tcp.sent_bytes"), denied);
}

#[test]
fn a_table_that_cannot_be_read_once_takes_nothing_away() {
    let mut watch = watch(&[(10, "web", &[7])], &["web"]);
    watch.is_table_readable = false;
    watch.sweep();
    let unstable = Figure::Absent(Absence::Unstable);
    assert_eq!(watch.figure("web", "net.tcp.sent_bytes"), unstable);
    watch.is_table_readable = true;
    watch.connect(7, 7, 100);
    watch.sweep();
    watch.check("web", 100, Mark::Exact);
    watch.is_table_readable = false;
    watch.sweep();
    watch.check("web", 100, Mark::LowerBound);
    assert_eq!(watch.figure("web", "net.tcp.sent_bytes_per_sec"), unstable);
    watch.is_table_readable = true;
    watch.connect(7, 7, 130);
    watch.sweep();
    watch.check("web", 130, Mark::Exact);
}

#[test]
fn a_process_joins_when_it_begins_to_listen_and_stays_when_it_stops() {
    let mut watch = watch(&[(10, "web", &[]), (11, "other", &[])], &["port:80"]);
    let listening =
        |ports: Vec<(ProcessKey, u16)>| Reading::Value(Listening { ports, unread: Vec::new() });
    let members = |watch: &Watch| match watch.figure("port:80", "processes.total") {
        Figure::Known { value: Value::Integer(count), .. } => count,
        other => panic!("expected a count, but found {other:?}"),
    };
    watch.listening = listening(Vec::new());
    watch.sweep();
    assert_eq!(members(&watch), 0);
    watch.listening = listening(vec![(key(10), 80)]);
    watch.sweep();
    assert_eq!(members(&watch), 1);
    watch.listening = listening(vec![(key(11), 81)]);
    watch.sweep();
    assert_eq!(members(&watch), 1);
    let unread = vec![(key(11), Absence::Denied)];
    watch.listening = Reading::Value(Listening { ports: Vec::new(), unread });
    watch.sweep();
    assert_eq!(members(&watch), 1);
    assert_eq!(watch.report.as_ref().expect("a sweep").accuracy.undecided, 1);
}

/// What happens to one connection in one interval.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It moves so much.
    Move(u64),
    /// It goes over to the process of this number.
    Hand(u8),
    /// It ends after moving so much.
    End(u64),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        3 => (0..1_000_u64).prop_map(Step::Move),
        1 => (0..4_u8).prop_map(Step::Hand),
        1 => (0..1_000_u64).prop_map(Step::End),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..6), 1..12)
}

proptest! {
    /// Every byte is in one group, a stranger's, or said to be nobody's; nothing twice.
    #[test]
    fn no_byte_is_lost_and_none_counts_twice(histories in steps()) {
        let names = ["a", "a", "b", "b"];
        let processes: Vec<(u32, &'static str, &[u64])> =
            names.iter().zip(10..).map(|(name, pid)| (pid, *name, &[] as &[u64])).collect();
        let mut watch = watch(&processes, &["a", "b"]);
        watch.sweep();
        let (mut truth, mut nobodys) = (0, 0);
        let mut now: Vec<(u64, usize, bool)> =
            histories.iter().enumerate().map(|(number, _)| (0, number % 4, true)).collect();
        for turn in 0..6 {
            for (number, history) in histories.iter().enumerate() {
                let (bytes, holder, is_open) = &mut now[number];
                let cookie = 100 + number as u64;
                match history.get(turn).filter(|_| *is_open) {
                    Some(Step::Move(more)) => (*bytes, truth) = (*bytes + more, truth + more),
                    Some(Step::Hand(to)) => *holder = usize::from(*to),
                    Some(Step::End(more)) => {
                        (*bytes, truth, *is_open) = (*bytes + more, truth + more, false);
                        watch.close(closed(cookie, 5, *bytes));
                        continue;
                    }
                    None => {}
                }
                if *is_open {
                    watch.connect(cookie, cookie, *bytes);
                }
            }
            for (place, pid) in (10..14).enumerate() {
                let held = now.iter().zip(100..).filter(|((_, holder, is_open), _)| {
                    *is_open && *holder == place
                });
                let inodes: Vec<u64> = held.map(|(_, inode)| inode).collect();
                watch.hold(pid, &inodes);
            }
            watch.sweep();
            nobodys += watch.unattributed();
            let total = |group| match watch.figure(group, "net.tcp.sent_bytes") {
                Figure::Known { value: Value::Integer(bytes), .. } => bytes,
                other => panic!("expected a total, but found {other:?}"),
            };
            prop_assert_eq!(total("a") + total("b") + nobodys / 3, truth);
        }
    }
}
