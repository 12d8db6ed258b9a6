//! Ports and traffic on a load that knows its truth: who listens is found, every byte is counted
//! once, short connections included, and what cannot be told is said.
//!
//! Each test runs in a network namespace of its own, so that nobody else's connections are in
//! it; where that is not allowed, the tests that need to be alone say so.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stderr, reason = "a test that lacks a privilege says so")]

mod support;

use std::process::{Command, Stdio};
use std::time::Duration;

use metrics_per_process::metric;
use metrics_per_process::process::Absence;
use metrics_per_process::report::{Figure, Mark, Report, Value};
use metrics_per_process::selector::Selector;
use metrics_per_process::{FindOptions, Monitor, find};
use serde_json::Value as Json;
use support::{Load, number};

/// Says to the test that it is alone.
const ALONE: &str = "MPP_TEST_IN_OWN_NETWORK";

/// Runs a test of this file in a network namespace of its own, with a loopback device that is up.
fn alone(test: &str, body: fn()) {
    if std::env::var_os(ALONE).is_some() {
        let ip = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        assert!(ip.unwrap().success(), "ip(8)");
        return body();
    }
    let itself = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--net").arg(itself).args(["--exact", test, "--nocapture"]).env(ALONE, "1");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("unshare failed: Operation not permitted") {
        eprintln!("a network namespace of its own needs CAP_SYS_ADMIN");
        assert_ne!(own_uid(), 0);
        return;
    }
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && out.contains("1 passed"), "{out}\n{said}");
}

/// The effective user, as procfs says it.
fn own_uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}

/// A load, the port it listens on, and its server, the server's heir, and its client.
fn start(arguments: &[&str]) -> (Load, u64, [u64; 3]) {
    let load = Load::start(&[&["connections"], arguments].concat());
    let port = number(load.ready(), "port");
    let pids = load.ready()["pids"].as_array().unwrap();
    let pids = [0, 1, 2].map(|position| pids[position].as_u64().unwrap());
    (load, port, pids)
}

/// Groups by their selectors, with all that is said of TCP.
fn monitor(groups: &[&str]) -> Monitor {
    let columns = metric::choose("net.tcp.*,processes.total,conns.tcp.total").unwrap();
    let mut builder = Monitor::builder().columns(columns);
    for group in groups {
        builder = builder.group(*group, Selector::parse(group).unwrap());
    }
    builder.build().unwrap()
}

fn figure(report: &Report, group: &str, column: &str) -> Figure {
    let row = report.groups.iter().find(|row| *row.name == *group.as_bytes()).unwrap();
    row.figures[report.columns.iter().position(|c| c.name() == column).unwrap()]
}

fn value(report: &Report, group: &str, column: &str) -> (u64, Mark) {
    match figure(report, group, column) {
        Figure::Known { value: Value::Integer(number), mark } => (number, mark),
        other => panic!("expected a number in {group} {column}, but found {other:?}"),
    }
}

/// What a group sent and received.
fn traffic(report: &Report, group: &str) -> [u64; 2] {
    ["net.tcp.sent_bytes", "net.tcp.received_bytes"].map(|column| value(report, group, column).0)
}

/// Samples until the kernel, which tells of ends a moment later, has told of all of them.
fn sample_until(monitor: &mut Monitor, is_done: impl Fn(&Report, u64) -> bool) -> (Report, u64) {
    let mut unattributed = 0;
    for _ in 0..100 {
        let report = monitor.sample().unwrap();
        unattributed += report.accuracy.unattributed_tcp_bytes;
        if is_done(&report, unattributed) {
            return (report, unattributed);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let report = monitor.sample().unwrap();
    (report, unattributed)
}

/// How the server's side is selected.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Port,
    Pid,
}

/// Both sides of a load are groups. Server and client agree with the truth to the byte.
fn check_both_sides(by: By, arguments: &[&str], count: u64) {
    let count_text = count.to_string();
    let (mut load, port, [server, heir, client]) =
        start(&[arguments, &["--count", &count_text]].concat());
    let server = match by {
        By::Port => format!("port:{port}"),
        By::Pid => format!("pid:{server},{heir}"),
    };
    let client = format!("pid:{client}");
    let mut monitor = monitor(&[&server, &client]);
    let first = monitor.sample().unwrap();
    assert_eq!(traffic(&first, &server), [500, 1000], "one talk before the start: {arguments:?}");
    assert_eq!(traffic(&first, &client), [1000, 500], "one talk before the start: {arguments:?}");
    // A process that closes its descriptors even to root may listen on the port, too.
    let is_decided = by == By::Pid || first.accuracy.undecided == 0;
    let mark = if is_decided { Mark::Exact } else { Mark::LowerBound };
    assert_eq!(value(&first, &server, "net.tcp.sent_bytes").1, mark);
    load.begin();
    let total = load.total();
    let (sent, replied) =
        (number(&total, "client_sent_bytes"), number(&total, "server_sent_bytes"));
    let (last, unattributed) = sample_until(&mut monitor, |report, unattributed| {
        traffic(report, &server) == [replied, sent] && unattributed == 1500 * count
    });
    assert_eq!(traffic(&last, &server), [replied, sent], "{arguments:?}");
    // A client's short connections are nobody's, since nobody saw who had them.
    assert_eq!(unattributed, 1500 * count, "{arguments:?}");
    assert_eq!(traffic(&last, &client), [2000, 1000], "{arguments:?}");
    let mark = if count == 0 { Mark::Exact } else { Mark::LowerBound };
    assert_eq!(value(&last, &client, "net.tcp.sent_bytes").1, mark, "{arguments:?}");
    assert_eq!(last.trouble.lost_connection_reports, 0);
}

#[test]
fn both_sides_of_a_connection_are_told_to_the_byte() {
    alone("both_sides_of_a_connection_are_told_to_the_byte", || {
        check_both_sides(By::Pid, &[], 0);
        for closes in ["client", "server", "half"] {
            check_both_sides(By::Pid, &["--keeps", "no", "--closes", closes], 0);
            check_both_sides(By::Pid, &["--keeps", "no", "--closes", closes], 20);
        }
        check_both_sides(By::Pid, &["--version", "6", "--keeps", "no"], 20);
    });
}

#[test]
fn six_thousand_short_connections_are_their_listeners() {
    alone("six_thousand_short_connections_are_their_listeners", || {
        check_both_sides(By::Port, &[], 6_000);
    });
}

#[test]
fn a_connection_that_an_heir_holds_too_counts_once() {
    alone("a_connection_that_an_heir_holds_too_counts_once", || {
        let (_load, _, [server, heir, _]) = start(&["--count", "0"]);
        let family = format!("pid:{server},{heir}");
        let heirs = format!("children-of:{server}");
        let report = monitor(&[&family]).sample().unwrap();
        // Server, the heir of its socket, and the heir of its connection.
        assert_eq!(value(&report, &family, "processes.total"), (3, Mark::Exact));
        assert_eq!(value(&report, &family, "conns.tcp.total").0, 2);
        assert_eq!(traffic(&report, &family), [500, 1000]);
        // Among several groups it is that of the oldest holder, and both say that they share.
        let report = monitor(&[&heirs, &family]).sample().unwrap();
        assert_eq!(value(&report, &family, "net.tcp.sent_bytes"), (500, Mark::Estimate));
        assert_eq!(value(&report, &heirs, "net.tcp.sent_bytes"), (0, Mark::Estimate));
    });
}

/// The PIDs that a selector finds, and how many processes it cannot decide.
fn found(selector: &str) -> (Vec<u64>, u64) {
    let selector = Selector::parse(selector).unwrap();
    let selector = selector.with_descendants(metrics_per_process::selector::Descendants::Left);
    let found = find(&selector, &FindOptions::default()).unwrap();
    (found.processes.iter().map(|process| process.key.pid.into()).collect(), found.undecided)
}

#[test]
fn a_port_finds_its_listeners_among_forks_over_both_versions() {
    for version in ["4", "6"] {
        let (_load, port, [server, heir, client]) = start(&["--count", "0", "--version", version]);
        let (listeners, _) = found(&format!("port:{port}"));
        assert_eq!(listeners.len(), 3, "{listeners:?}");
        assert!(listeners.contains(&server) && listeners.contains(&heir));
        assert!(!listeners.contains(&client), "it dropped the socket");
        let range = format!("port:{}-{port},1", port.saturating_sub(1));
        assert!(found(&range).0.contains(&server));
        assert!(!found(&format!("!port:{port}")).0.contains(&server));
        assert!(found(&format!("pid:{client} !port:{port}")).0.contains(&client));
        assert_eq!(found(&format!("pid:{server} port:{port}")).0, [server]);
        assert_eq!(found(&format!("pid:{client} port:{port}")), (Vec::new(), 0));
    }
}

#[test]
fn a_bound_udp_socket_is_one_that_listens_until_it_is_connected() {
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let selector = format!("pid:{} port:{}", std::process::id(), udp.local_addr().unwrap().port());
    let itself = u64::from(std::process::id());
    assert_eq!(found(&selector).0, [itself]);
    udp.connect("127.0.0.1:9").unwrap();
    assert_eq!(found(&selector).0.len(), 0);
}

#[test]
fn congestion_shows_as_retransmits_and_no_byte_counts_twice() {
    alone("congestion_shows_as_retransmits_and_no_byte_counts_twice", || {
        let run = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).status().unwrap().success()
        };
        assert!(run("ip", &["link", "set", "lo", "mtu", "1500"]));
        let limit = ["rate", "20mbit", "burst", "2kb", "limit", "12kb"];
        let queue = ["qdisc", "add", "dev", "lo", "root", "tbf"];
        let is_narrow = run("tc", &[&queue[..], &limit[..]].concat());
        let (mut load, port, [.., client]) = start(&["--count", "0", "--bytes", "1MiB"]);
        let (server, client) = (format!("port:{port}"), format!("pid:{client}"));
        let mut monitor = monitor(&[&server, &client]);
        monitor.sample().unwrap();
        load.begin();
        let total = load.total();
        let report = monitor.sample().unwrap();
        let sent = number(&total, "client_sent_bytes");
        assert_eq!(traffic(&report, &server)[1], sent);
        let retransmits = value(&report, &client, "net.tcp.retransmits").0;
        assert!(retransmits > 0 || !is_narrow, "{retransmits}");
    });
}

#[test]
fn a_process_in_another_network_is_a_lower_bound_and_never_zero() {
    let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    // The load is in a network of its own, the monitor is not.
    let child = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_mpp-load"))
        .args(["connections", "--count", "5", "--start-after", "1", "--end-after", "60"])
        .arg("--directory")
        .arg(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let mut lines = lines.map(|line| serde_json::from_str::<Json>(&line.unwrap()).unwrap());
    let Some(opened) = lines.find(|line| line["event"] == "ready") else {
        eprintln!("a network namespace of its own needs CAP_SYS_ADMIN");
        assert_ne!(own_uid(), 0);
        assert!(!child.wait().unwrap().success());
        return;
    };
    let server = format!("port:{}", number(&opened, "port"));
    let mut monitor = monitor(&[&server]);
    let first = monitor.sample().unwrap();
    assert!(value(&first, &server, "processes.total").0 >= 2, "it is found there as well");
    lines.find(|line| line["event"] == "total").unwrap();
    let last = monitor.sample().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // What was kept is known; of what came and went nobody tells us.
    let sent = value(&last, &server, "net.tcp.sent_bytes");
    assert_eq!(sent, (1000, Mark::LowerBound));
}

#[test]
fn strangers_sockets_are_unknown_to_those_without_privileges_and_their_own_are_not() {
    let (_load, port, [server, ..]) = start(&["--count", "0"]);
    let setpriv = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command.args(["--inh-caps=-all", "--bounding-set=-all"]).args(arguments);
        command
    };
    if !setpriv(&["true"]).status().unwrap().success() {
        eprintln!("to become nobody needs root");
        assert_ne!(own_uid(), 0);
        return;
    }
    let mut itself = setpriv(&[]);
    itself.arg(std::env::current_exe().unwrap());
    itself.args(["--exact", "as_nobody", "--nocapture"]).env(AS_NOBODY, format!("{port} {server}"));
    let output = itself.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// Says to the test below that it is nobody, on which port somebody else listens, and who.
const AS_NOBODY: &str = "MPP_TEST_AS_NOBODY";

#[test]
fn as_nobody() {
    let Some(given) = std::env::var_os(AS_NOBODY) else { return };
    let (port, stranger) = given.to_str().unwrap().split_once(' ').unwrap();
    let (strangers, undecided) = found(&format!("port:{port}"));
    assert_eq!(strangers.len(), 0);
    assert!(undecided >= 3, "unknown is not no: {undecided}");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    std::io::Write::write_all(&mut client, b"hello").unwrap();
    std::io::Read::read_exact(&mut server, &mut [0; 5]).unwrap();
    let own = format!("port:{}", listener.local_addr().unwrap().port());
    assert_eq!(found(&format!("pid:{} {own}", std::process::id())).0.len(), 1);
    let itself = format!("pid:{}", std::process::id());
    let stranger = format!("pid:{stranger}");
    let mut monitor = monitor(&[&itself, &stranger]);
    let report = monitor.sample().unwrap();
    assert_eq!(traffic(&report, &itself), [5, 5]);
    let denied = Figure::Absent(Absence::Denied);
    assert_eq!(figure(&report, &stranger, "net.tcp.sent_bytes"), denied);
}
