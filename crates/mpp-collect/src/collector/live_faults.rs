//! Live processes with sockets, read while any one system call fails: what is not known is
//! absent with its reason and counted, and never a smaller number.

use super::*;
use std::net::TcpListener;
use std::process::{Child, Command};

use mpp_accounting::process::{Reading, Socket, SocketKind, TcpState};
use rustix::io::Errno;

use crate::sys::fault::with_failure;

/// Children that hold a listening socket as their standard input, until they are dropped.
struct Holders(Vec<Child>);

impl Holders {
    fn start(listener: &TcpListener, count: usize) -> Self {
        let start = |_| {
            let inherited = OwnedFd::from(listener.try_clone().unwrap());
            Command::new("sleep").arg("1000").stdin(inherited).spawn().unwrap()
        };
        let holders = Holders((0..count).map(start).collect());
        for child in &holders.0 {
            let path = format!("/proc/{}/stat", child.id());
            while !std::fs::read_to_string(&path).unwrap().contains("(sleep) S") {
                std::thread::yield_now();
            }
        }
        holders
    }

    fn pids(&self) -> Vec<u32> {
        self.0.iter().map(Child::id).collect()
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        for child in &mut self.0 {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// The sockets of these processes.
fn sockets_of(
    collector: &mut Collector,
    pids: &[u32],
) -> Result<Vec<Reading<Arc<[Socket]>>>, CollectError> {
    let needs = Needs {
        measures: Measures { sockets: true, fds: true, ..Measures::default() },
        ..Needs::default()
    };
    let samples = collector.read(pids, &needs, IdentityWait::No)?;
    Ok(samples.into_iter().flatten().map(|sample| sample.gauges.seldom.sockets.clone()).collect())
}

#[test]
fn any_system_call_over_live_sockets_may_fail() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let holders = Holders::start(&listener, 2);
    let pids = holders.pids();
    let mut collector = Collector::open(CollectorOptions::default()).unwrap();
    let whole = sockets_of(&mut collector, &pids).unwrap();
    let listening = SocketKind::Tcp(TcpState::Listen);
    assert_eq!(whole.len(), 2);
    assert!(whole.iter().all(|sockets| sockets.value().unwrap()[0].kind == listening));
    for errno in [Errno::IO, Errno::MFILE, Errno::NOMEM, Errno::INTR] {
        for n in 0.. {
            let mut collector = Collector::open(CollectorOptions::default()).unwrap();
            let (outcome, calls) = with_failure(n, errno, || sockets_of(&mut collector, &pids));
            if n >= calls {
                assert!(calls > 20, "both were read, and the kernel's tables");
                break;
            }
            let trouble = collector.trouble();
            let again = sockets_of(&mut collector, &pids).unwrap();
            assert_eq!(again, whole, "call {n}, {errno:?}: one failure spoils one reading");
            let Ok(found) = outcome else {
                assert!(errno != Errno::INTR, "call {n}");
                continue;
            };
            let mut missing = (whole.len() - found.len()) as u64;
            for sockets in &found {
                let is_absent = sockets.absence() == Some(Absence::Failed(errno.raw_os_error()));
                assert!(is_absent || *sockets == whole[0], "call {n}, {errno:?}: {sockets:?}");
                missing += u64::from(is_absent);
            }
            assert!(trouble.failed >= missing, "call {n}, {errno:?}: {trouble:?}");
            assert!(errno != Errno::INTR || missing == 0, "call {n}: {found:?}");
        }
    }
}
