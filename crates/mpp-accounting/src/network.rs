//! What a sweep found out about the network: who listens where, and what TCP connections have
//! moved.
//!
//! Both stand beside the processes and not in them. A connection outlives whoever opened it,
//! is held by several processes at once after a fork, and may be opened and closed between two
//! sweeps, so that no process was ever seen with it.

use crate::process::{Absence, ProcessKey, Reading};
use crate::units::TcpTotals;

/// The network as of one sweep. Each part is absent where nobody asked for it.
#[derive(Clone, Debug)]
pub struct Network {
    /// Who listens where.
    pub listening: Reading<Listening>,
    /// What TCP connections have moved.
    pub traffic: Reading<TcpTraffic>,
}

impl Default for Network {
    fn default() -> Self {
        let absent = Absence::NotRequested;
        Network { listening: Reading::Absent(absent), traffic: Reading::Absent(absent) }
    }
}

/// Which processes listen on which ports, in every network namespace that may be read: TCP
/// sockets that listen, and UDP sockets that are bound and not connected, as `ss -l` lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listening {
    /// Every process with every port it listens on, ascending. A port of a socket that several
    /// processes share stands there once for each.
    pub ports: Vec<(ProcessKey, u16)>,
    /// Processes whose sockets could not be looked at, and why, ascending.
    pub unread: Vec<(ProcessKey, Absence)>,
}

impl Listening {
    /// The ports that a process listens on, ascending; or why they cannot be told.
    ///
    /// # Errors
    /// Why its sockets could not be looked at.
    pub fn ports_of(&self, key: ProcessKey) -> Result<impl Iterator<Item = u16>, Absence> {
        if let Ok(position) = self.unread.binary_search_by_key(&key, |(key, _)| *key) {
            return Err(self.unread[position].1);
        }
        let first = self.ports.partition_point(|(other, _)| *other < key);
        let own = self.ports[first..].iter().take_while(move |(other, _)| *other == key);
        Ok(own.map(|(_, port)| *port))
    }
}

/// The TCP connections of a machine, and those that ended since the sweep before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpTraffic {
    /// The network namespace that the collector lives in. Only here it is told of connections
    /// that end between two sweeps.
    pub own_namespace: u64,
    /// Every connection that exists, ascending by namespace, then inode.
    pub connections: Vec<Connection>,
    /// Every socket that listens, ascending by namespace, then inode.
    pub listeners: Vec<Listener>,
    /// What the kernel said last of connections that ended in our own namespace since the sweep
    /// before, in the order of their ends. Some may still stand among `connections`.
    pub closed: Vec<ClosedConnection>,
    /// Processes in other network namespaces, ascending: of connections that they open and close
    /// between two sweeps nothing is known.
    pub unheard: Vec<ProcessKey>,
    /// How often the kernel had more to say of ended connections than could be kept: at least so
    /// many are missing from `closed`.
    pub lost: u64,
    /// Why the kernel tells nothing of ended connections, where it does not.
    pub deafness: Option<Absence>,
}

/// A TCP connection for as long as the machine runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId {
    /// Inode of its network namespace.
    pub namespace: u64,
    /// The socket's cookie, which outlives its inode.
    pub cookie: u64,
}

/// One end of a TCP connection, as the kernel keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Which one.
    pub id: ConnectionId,
    /// The inode that processes hold it by; 0 where nobody does, since it was not accepted yet
    /// or its process closed it already.
    pub inode: u64,
    /// The own end.
    pub local: Endpoint,
    /// What it has moved since it began.
    pub moved: TcpTotals,
}

/// A TCP connection that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedConnection {
    /// Which one.
    pub id: ConnectionId,
    /// The own end.
    pub local: Endpoint,
    /// What it moved in all. Of what was received one byte may be missing: whether the peer's
    /// FIN is in the kernel's count cannot always be told.
    pub moved: TcpTotals,
    /// Whether its own process threw it away, connected as it was: closed it without lingering
    /// (`SO_LINGER` with no time, socket(7)). That sets the kernel's counters to zero.
    pub was_thrown_away: bool,
}

/// A TCP socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Inode of its network namespace.
    pub namespace: u64,
    /// The inode that processes hold it by.
    pub inode: u64,
    /// Where it listens.
    pub local: Endpoint,
}

/// One end of a connection, or where a socket listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Whether the socket is of version 6, which may take connections of both versions.
    pub is_v6: bool,
    /// The port.
    pub port: u16,
    /// The address; version 4 has it in the first four bytes.
    pub address: [u8; 16],
}

impl Endpoint {
    /// Whether a socket that listens here accepts connections whose own end is there.
    #[must_use]
    pub fn accepts(&self, end: &Endpoint) -> bool {
        let is_anywhere = self.address == [0; 16];
        self.port == end.port
            && self.is_v6 == end.is_v6
            && (is_anywhere || self.address == end.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ports_of_a_process_are_its_own_and_nobody_elses() {
        let key = |pid| ProcessKey { pid, start_time_ticks: 7 };
        let listening = Listening {
            ports: vec![(key(2), 80), (key(3), 80), (key(3), 443), (key(5), 22)],
            unread: vec![(key(4), Absence::Denied)],
        };
        let check = |pid, expected: Result<&[u16], Absence>| {
            let found = listening.ports_of(key(pid)).map(Iterator::collect::<Vec<_>>);
            assert_eq!(found.as_deref().map_err(|why| *why), expected, "{pid}");
        };
        check(1, Ok(&[]));
        check(2, Ok(&[80]));
        check(3, Ok(&[80, 443]));
        check(4, Err(Absence::Denied));
        check(5, Ok(&[22]));
        check(6, Ok(&[]));
    }

    #[test]
    fn a_listener_accepts_at_its_own_address_port_and_version() {
        let end = |is_v6, port, first| {
            let mut address = [0; 16];
            address[0] = first;
            Endpoint { is_v6, port, address }
        };
        let anywhere = end(false, 80, 0);
        assert!(anywhere.accepts(&end(false, 80, 127)));
        assert!(!anywhere.accepts(&end(false, 81, 127)));
        assert!(!anywhere.accepts(&end(true, 80, 127)));
        let loopback = end(false, 80, 127);
        assert!(loopback.accepts(&end(false, 80, 127)));
        assert!(!loopback.accepts(&end(false, 80, 10)));
    }
}
