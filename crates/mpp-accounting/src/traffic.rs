//! Whose the traffic of each TCP connection is.
//!
//! A connection belongs to one group at a time, so that no byte is counted twice: to that of
//! whoever holds it; where holders are of several groups, to the one that it belonged to before,
//! else to that of the oldest holder. What it moves across a change of hands goes to the group
//! that it came from. It stays with its last group when its process has closed it and the kernel
//! still delivers, and until the kernel has said what it moved in all.
//!
//! A connection that was opened and closed between two sweeps was never seen in anybody's
//! hands. It is that of whoever listens where its own end was, if these are of one group: the
//! kernel gives nobody else a port that is listened on. Else nobody can say whose it is, and it
//! is counted as such.

use std::collections::HashMap;

use crate::group::Owner;
use crate::network::{ClosedConnection, Connection, ConnectionId, Endpoint, TcpTraffic};
use crate::process::{ProcessKey, Reading, SocketKind, TcpState};
use crate::slack::Slack;
use crate::snapshot::Snapshot;
use crate::units::{TcpCounter, TcpDelta, TcpTotals};

/// So many sweeps the kernel may take to say what an ended connection moved in all. It does so
/// a moment after the end, but a process may hold a connection long after it ended.
const SWEEPS_TO_REPORT: u64 = 2;

/// For so many sweeps a connection is remembered whose end nobody will tell us of: its table
/// may be out of reach for a while.
const SWEEPS_REMEMBERED: u64 = 64;

/// So many connections that are in no table any more are waited for at most.
const AWAITED_MAX: usize = 1 << 16;

/// The connections of all groups, from one sweep to the next.
#[derive(Debug, Default)]
pub(crate) struct TrafficBook {
    known: HashMap<ConnectionId, Known>,
    /// Where somebody listened at the last sweep, and whose that was, by port.
    listeners: Vec<NamedListener>,
    /// How many sweeps there were with a table of connections.
    sweep: u64,
    slack: Slack,
}

/// What a sweep's connections mean for the groups.
#[derive(Debug, Default)]
pub(crate) struct TrafficMovement {
    /// What to add to which row, more than once for a row.
    pub(crate) credits: Vec<(usize, TcpDelta)>,
    /// Whether that was done before anybody looked.
    pub(crate) is_baseline: bool,
    /// Rows from whose totals something is missing for good.
    pub(crate) partial: Vec<usize>,
    /// Whether something may be missing from any row's.
    pub(crate) all_are_partial: bool,
    /// Rows whose connections ended, and whose last traffic comes with a later sweep.
    pub(crate) awaiting: Vec<usize>,
    /// Rows that share a connection on which something moved with others.
    pub(crate) shared: Vec<usize>,
    /// Bytes of which nobody knows whose they are.
    pub(crate) unattributed_bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    /// `None` until somebody held it.
    owner: Option<Owner>,
    /// What has been added to its owners' totals.
    credited: TcpTotals,
    /// The last sweep whose table had it.
    sweep: u64,
}

/// A process that holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Holding {
    namespace: u64,
    inode: u64,
    /// The oldest holder first.
    since_ticks: u64,
    pid: u32,
    owner: Owner,
    is_listener: bool,
}

#[derive(Clone, Copy, Debug)]
struct NamedListener {
    namespace: u64,
    local: Endpoint,
    owner: Owner,
}

impl TrafficBook {
    /// Follows all connections to this sweep. `owner_of` says whose a process is.
    pub(crate) fn fold(
        &mut self,
        snapshot: &Snapshot,
        owner_of: impl Fn(ProcessKey) -> Option<Owner>,
    ) -> TrafficMovement {
        let Reading::Value(traffic) = &snapshot.network.traffic else {
            return TrafficMovement::default();
        };
        let is_baseline = self.sweep == 0;
        self.sweep += 1;
        let mut movement = TrafficMovement { is_baseline, ..TrafficMovement::default() };
        let holdings = holdings(snapshot, &owner_of);
        for connection in &traffic.connections {
            let holders = holders_of(&holdings, connection.id.namespace, connection.inode);
            self.follow(connection, holders, &mut movement);
        }
        let former = std::mem::replace(&mut self.listeners, listeners(traffic, &holdings));
        for closed in &traffic.closed {
            self.close(closed, &former, &mut movement);
        }
        self.await_reports(traffic, &mut movement);
        if !is_baseline {
            let unheard = traffic.unheard.iter().filter_map(|key| row(owner_of(*key)));
            movement.partial.extend(unheard);
            movement.all_are_partial |=
                traffic.lost > 0 || traffic.deafness.is_some() || movement.unattributed_bytes > 0;
        }
        movement
    }

    /// A connection that exists.
    fn follow(
        &mut self,
        connection: &Connection,
        holders: &[Holding],
        movement: &mut TrafficMovement,
    ) {
        let unknown = Known { owner: None, credited: TcpTotals::ZERO, sweep: 0 };
        let known = self.known.entry(connection.id).or_insert(unknown);
        known.sweep = self.sweep;
        let before = known.owner;
        let stays = holders.iter().any(|holder| Some(holder.owner) == before);
        if !stays && let Some(oldest) = holders.first() {
            known.owner = Some(oldest.owner);
        }
        let Some(owner) = before.or(known.owner) else { return };
        if was_set_back(known.credited, connection.moved) {
            known.credited = TcpTotals::ZERO;
            movement.partial.extend(row(Some(owner)));
        }
        let moved = connection.moved.since_clamped(known.credited);
        if moved.is_zero() {
            return;
        }
        known.credited = known.credited.plus(moved);
        let is_shared = holders.iter().any(|holder| Some(holder.owner) != known.owner);
        if is_shared {
            movement.shared.extend(holders.iter().filter_map(|holder| row(Some(holder.owner))));
        }
        movement.credits.extend(row(Some(owner)).map(|row| (row, moved)));
    }

    /// A connection of which the kernel has said its last.
    fn close(
        &mut self,
        closed: &ClosedConnection,
        former: &[NamedListener],
        movement: &mut TrafficMovement,
    ) {
        let known = self.known.remove(&closed.id);
        // What came and went before anybody looked is nobody's business.
        if known.is_none() && movement.is_baseline {
            return;
        }
        let credited = known.map_or(TcpTotals::ZERO, |known| known.credited);
        let moved = closed.moved.since_clamped(credited);
        let owner = known
            .and_then(|known| known.owner)
            .or_else(|| self.acceptor_of(closed.id.namespace, &closed.local, former));
        match owner {
            Some(Owner::Row(row)) => {
                movement.credits.push((row, moved));
                movement.partial.extend(closed.was_thrown_away.then_some(row));
            }
            Some(Owner::Stranger | Owner::Undecided(_)) => {}
            None if movement.is_baseline => {}
            None => {
                movement.all_are_partial |= closed.was_thrown_away;
                let bytes =
                    moved[TcpCounter::SentBytes].saturating_add(moved[TcpCounter::ReceivedBytes]);
                movement.unattributed_bytes = movement.unattributed_bytes.saturating_add(bytes);
            }
        }
    }

    /// Whose a connection is that was accepted here; `None` where nobody, or several, listen now
    /// or did at the sweep before.
    fn acceptor_of(
        &self,
        namespace: u64,
        end: &Endpoint,
        former: &[NamedListener],
    ) -> Option<Owner> {
        let listens = |listener: &&NamedListener| {
            listener.namespace == namespace && listener.local.accepts(end)
        };
        let listeners = at_port(&self.listeners, end.port).iter().chain(at_port(former, end.port));
        let mut owners = listeners.filter(listens).map(|listener| listener.owner);
        let first = owners.next()?;
        owners.all(|owner| owner == first).then_some(first)
    }

    /// Looks after connections that are in no table any more.
    fn await_reports(&mut self, traffic: &TcpTraffic, movement: &mut TrafficMovement) {
        let sweep = self.sweep;
        self.slack.give_back_map(&mut self.known);
        let missing = self.known.values().filter(|known| known.sweep < sweep).count();
        let is_told = traffic.deafness.is_none();
        self.known.retain(|id, known| {
            let missed = sweep - known.sweep;
            if missed == 0 {
                return true;
            }
            let is_heard = is_told && id.namespace == traffic.own_namespace;
            let is_overdue = missed >= SWEEPS_TO_REPORT;
            // Its report may be among those that were lost, or there are too many to wait for.
            let is_given_up = is_overdue && (traffic.lost > 0 || missing > AWAITED_MAX);
            if !is_heard || is_given_up {
                movement.partial.extend(row(known.owner));
            } else if is_overdue {
                movement.awaiting.extend(row(known.owner));
            }
            match is_heard {
                true => !is_given_up,
                false => missed <= SWEEPS_REMEMBERED && missing <= AWAITED_MAX,
            }
        });
    }
}

/// Whether a connection was thrown away and its socket connected again: then its counters began
/// anew. A byte less is only the peer's FIN, which was not known as one before.
fn was_set_back(credited: TcpTotals, now: TcpTotals) -> bool {
    let fallen = |counter| credited[counter].saturating_sub(now[counter]);
    fallen(TcpCounter::SentBytes) > 1 || fallen(TcpCounter::ReceivedBytes) > 1
}

fn row(owner: Option<Owner>) -> Option<usize> {
    match owner? {
        Owner::Row(row) => Some(row),
        Owner::Stranger | Owner::Undecided(_) => None,
    }
}

/// Everybody who holds a TCP socket, by socket, the oldest first.
fn holdings(snapshot: &Snapshot, owner_of: &impl Fn(ProcessKey) -> Option<Owner>) -> Vec<Holding> {
    let mut holdings = Vec::new();
    for process in &snapshot.processes {
        let Reading::Value(sockets) = &process.gauges.seldom.sockets else { continue };
        if sockets.is_empty() {
            continue;
        }
        let owner = owner_of(process.key).unwrap_or(Owner::Stranger);
        for socket in sockets.iter() {
            let SocketKind::Tcp(state) = socket.kind else { continue };
            holdings.push(Holding {
                namespace: socket.namespace,
                inode: socket.inode,
                since_ticks: process.key.start_time_ticks,
                pid: process.key.pid,
                owner,
                is_listener: state == TcpState::Listen,
            });
        }
    }
    holdings.sort_unstable();
    holdings
}

/// Those who hold this socket. One that nobody holds has inode 0.
fn holders_of(holdings: &[Holding], namespace: u64, inode: u64) -> &[Holding] {
    let socket = |holding: &Holding| (holding.namespace, holding.inode);
    let wanted = (namespace, inode);
    let first = holdings.partition_point(|holding| socket(holding) < wanted);
    let count = holdings[first..].partition_point(|holding| socket(holding) == wanted);
    &holdings[first..first + count]
}

/// Where somebody listens, once for each who holds the socket, by port.
fn listeners(traffic: &TcpTraffic, holdings: &[Holding]) -> Vec<NamedListener> {
    let mut named = Vec::new();
    for listener in &traffic.listeners {
        let holders = holders_of(holdings, listener.namespace, listener.inode);
        let owners = holders.iter().filter(|holder| holder.is_listener).map(|holder| holder.owner);
        named.extend(owners.map(|owner| NamedListener {
            namespace: listener.namespace,
            local: listener.local,
            owner,
        }));
    }
    named.sort_by_key(|listener| listener.local.port);
    named
}

/// Those of a sorted list who listen on this port.
fn at_port(listeners: &[NamedListener], port: u16) -> &[NamedListener] {
    let first = listeners.partition_point(|listener| listener.local.port < port);
    let count = listeners[first..].partition_point(|listener| listener.local.port == port);
    &listeners[first..first + count]
}
