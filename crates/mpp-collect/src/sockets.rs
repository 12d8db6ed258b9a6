//! The sockets of processes: the kernel's socket tables by sock_diag(7), joined to the links in
//! `/proc/PID/fd`, proc_pid_fd(5).
//!
//! The text tables under `/proc/net` are never read: the name of an abstract unix socket is
//! printed there as it is, and with a newline in it a process forges lines.
//!
//! Only what stands in the tables is a socket in the sense of [`SocketKind`]: TCP while it listens,
//! is connected or winds a connection down; UDP while it is bound; unix always. What is in no
//! table (an unbound TCP socket, netlink, packet) is left out, and so is what nobody holds
//! (`TIME_WAIT`, a connection not yet accepted): its inode is 0. The tables are read once per
//! sweep, so the answer is as of that moment: a socket that was opened later is not in it. The
//! live tests are in `tests/live_sockets.rs`.

mod ended;
mod holdings;
mod namespace;
mod table;

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mpp_accounting::network::{
    Connection, ConnectionId, Endpoint, Listener, Listening, Network, TcpTraffic,
};
use mpp_accounting::process::{Absence, ProcessKey, Reading, Socket, SocketKind};
use mpp_accounting::slack::Slack;
use mpp_parse::proc_pid_fd::inode;
use rustix::fs::{RawDir, readlinkat_raw};
use rustix::io::Errno;

use self::ended::{EndedSockets, Opener};
use self::holdings::{Holdings, Recalled, Sign};
use self::namespace::Namespaces;
use self::table::SocketTable;
pub(crate) use self::table::TableScope;
use crate::error::absence_of;
use crate::proc_fs::open_listing;
use crate::sys;

/// How long the links of all processes together may take in one sweep.
///
/// A link costs about 3 microseconds, so this is enough for some 300,000 descriptors.
pub const SWEEP_BUDGET: Duration = Duration::from_secs(1);

/// The part of the budget that one process may take.
const PROCESS_SHARE: u32 = 4;
/// Sweeps for which a process that took too long is left alone, at most.
const SWEEPS_LEFT_ALONE_MAX: u64 = 64;
/// Processes remembered as taking too long; of more, some are tried again too early.
const REMEMBERED_MAX: usize = 1024;
/// Links read between two looks at the clock.
const LINKS_PER_LOOK: usize = 64;
/// `socket:[18446744073709551615]` and room to see that a link is longer.
const LINK_BYTES: usize = 32;

/// What is asked for unless somebody wants more, or less.
const EVERY_KIND: TableScope = TableScope { kinds: true, ports: false, traffic: false };

/// Says which sockets processes hold; see the top of this file.
///
/// Once per sweep [`SocketSource::begin_sweep`], then each process once.
#[derive(Debug)]
pub struct SocketSource {
    /// `None` until a process holds a socket.
    namespaces: Option<Result<Namespaces, Absence>>,
    budget: Duration,
    deadline: Instant,
    sweep: u64,
    slow: HashMap<ProcessKey, LeftAlone>,
    entries: Vec<MaybeUninit<u8>>,
    inodes: Vec<u64>,
    found: Vec<Socket>,
    /// What of one process took most room in a sweep.
    slack_of_inodes: Slack,
    slack_of_found: Slack,
    holdings: Holdings,
    remembers: Remembering,
    scope: TableScope,
    /// `None` until somebody asks what connections move.
    ended: Option<Result<EndedSockets, Absence>>,
    listening: Listening,
    unheard: Vec<ProcessKey>,
    walked: u64,
    cut: u64,
    unreached: u64,
    lost: u64,
    /// Those that came to sockets which are closed again.
    forged_before: u64,
}

/// Whose sockets are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remembering {
    Everybody,
    Nobody,
}

#[derive(Clone, Copy, Debug)]
struct LeftAlone {
    until_sweep: u64,
    sweeps: u64,
}

impl SocketSource {
    /// A source of the sockets of processes in the live procfs of our own PID namespace.
    ///
    /// `budget` is the time that the links of all processes may take in one sweep; usually
    /// [`SWEEP_BUDGET`]. Where the kernel has no socket tables for us, the sockets of every
    /// process that holds some will be absent for that reason.
    #[must_use]
    pub fn open(budget: Duration) -> Self {
        SocketSource::with(None, budget)
    }

    /// A source that knows no sockets, for a procfs that is not the live one of our own PID
    /// namespace: its links cannot be joined to this kernel's tables.
    #[must_use]
    pub fn unsupported() -> Self {
        SocketSource::with(Some(Err(Absence::Unsupported)), Duration::ZERO)
    }

    fn with(namespaces: Option<Result<Namespaces, Absence>>, budget: Duration) -> Self {
        SocketSource {
            namespaces,
            budget,
            deadline: Instant::now() + budget,
            sweep: 0,
            slow: HashMap::new(),
            entries: vec![MaybeUninit::uninit(); 32 << 10],
            inodes: Vec::new(),
            found: Vec::new(),
            slack_of_inodes: Slack::default(),
            slack_of_found: Slack::default(),
            holdings: Holdings::new(),
            remembers: Remembering::Everybody,
            scope: EVERY_KIND,
            ended: None,
            listening: Listening::default(),
            unheard: Vec::new(),
            walked: 0,
            cut: 0,
            unreached: 0,
            lost: 0,
            forged_before: 0,
        }
    }

    /// Until the next sweep begins, whoever is asked of is read anew, and nothing is remembered:
    /// it costs more than it spares where it is not asked again.
    pub(crate) fn remember_nobody(&mut self) {
        self.remembers = Remembering::Nobody;
    }

    /// Forgets the tables of the last sweep; they are read again when they are needed.
    pub fn begin_sweep(&mut self) {
        self.begin_sweep_for(EVERY_KIND);
    }

    /// The same, with tables that hold this.
    pub(crate) fn begin_sweep_for(&mut self, scope: TableScope) {
        self.scope = scope;
        self.listening = Listening::default();
        self.unheard.clear();
        self.slack_of_inodes.give_back(&mut self.inodes);
        self.slack_of_found.give_back(&mut self.found);
        self.sweep += 1;
        self.deadline = Instant::now() + self.budget;
        let sweep = self.sweep;
        self.holdings.begin_sweep(sweep);
        self.remembers = Remembering::Everybody;
        // One that was not asked for in so long has ended.
        self.slow.retain(|_, left| left.until_sweep + SWEEPS_LEFT_ALONE_MAX >= sweep);
        match &mut self.namespaces {
            Some(Ok(namespaces)) => namespaces.forget_tables(scope),
            // What failed in the last sweep, for want of a descriptor perhaps, may work now.
            Some(Err(Absence::Failed(_))) => self.namespaces = None,
            Some(Err(_)) | None => {}
        }
        if !scope.traffic {
            self.forged_before += forged_total(self.ended.as_ref());
        }
        // Before any table is read, or an end in between would be missed.
        if scope.traffic && !matches!(self.ended, Some(Ok(_))) {
            let namespaces = opened(&mut self.namespaces, scope);
            self.ended = Some(namespaces.and_then(|_| EndedSockets::open()));
        } else if !scope.traffic {
            self.ended = None;
        }
    }

    /// Every descriptor of a socket that a process holds, in the order of [`Socket`], read anew.
    ///
    /// `directory` is the process's, or that of a living thread where the main thread has
    /// exited. Needs CAP_SYS_PTRACE for other users' processes, and CAP_SYS_ADMIN for those in
    /// another network namespace. Absent: `TooLarge` where it holds so many descriptors that it
    /// would take more than a quarter of the sweep's budget (it is tried again some sweeps
    /// later), `NotYetKnown` where the budget is used up, `Unstable` where the tables changed
    /// each time they were read.
    pub fn sockets_of(
        &mut self,
        key: ProcessKey,
        directory: BorrowedFd<'_>,
    ) -> Reading<Arc<[Socket]>> {
        self.look(key, directory, None)
    }

    /// As [`SocketSource::sockets_of`], but where the process has executed nothing since its
    /// descriptors were read, they are not read again. `fds` is how many it has, where that was
    /// read.
    pub(crate) fn sockets_held(
        &mut self,
        key: ProcessKey,
        directory: BorrowedFd<'_>,
        fds: Option<u32>,
    ) -> Reading<Arc<[Socket]>> {
        // Looked at before the descriptors are: what is done to them meanwhile changes it.
        let sign = match self.remembers {
            Remembering::Everybody => Sign::of(key.pid, fds),
            Remembering::Nobody => None,
        };
        self.look(key, directory, sign)
    }

    /// The sockets of a process that is known to have executed nothing since the last sweep.
    /// `None` where it has to be looked at all the same.
    pub(crate) fn sockets_at_standstill(
        &mut self,
        key: ProcessKey,
    ) -> Option<Reading<Arc<[Socket]>>> {
        let is_remembered = !self.scope.traffic
            && self.holdings.recall(key, None, self.sweep, &mut self.inodes)
                == Recalled::Everything;
        if !is_remembered {
            return None;
        }
        match self.join_own(key) {
            Ok(()) if self.inodes.is_empty() => Some(Reading::Value(self.hand_out(key))),
            Ok(()) => None,
            Err(why) => Some(Reading::Absent(why)),
        }
    }

    fn look(
        &mut self,
        key: ProcessKey,
        directory: BorrowedFd<'_>,
        sign: Option<Sign>,
    ) -> Reading<Arc<[Socket]>> {
        if self.scope.traffic {
            self.note_namespace(key, directory);
        }
        match self.read(key, directory, sign) {
            Ok(sockets) => Reading::Value(sockets),
            Err(why) => {
                // It may have executed something since it was remembered.
                self.holdings.forget(key);
                Reading::Absent(why)
            }
        }
    }

    /// Begins a sweep in which somebody tells what sockets processes hold, up to the deadline.
    /// Where traffic is wanted, the table is read before: why it cannot be, the traffic says.
    pub(crate) fn begin_telling(&mut self) -> Instant {
        if self.scope.traffic {
            let _ = opened(&mut self.namespaces, self.scope).and_then(Namespaces::read_whole);
        }
        self.deadline
    }

    /// Whether all that is wanted of sockets in these network namespaces is known without looking
    /// at who holds them: what moves in another one than ours is not.
    pub(crate) fn hears_of(&mut self, mut namespaces: impl Iterator<Item = u64>) -> bool {
        if !self.scope.traffic {
            return true;
        }
        let own = opened(&mut self.namespaces, self.scope).map(|opened| opened.own_inode());
        namespaces.all(|namespace| own == Ok(namespace))
    }

    /// Takes what was told of a process: its sockets, each with the port that it listens at.
    /// Where they are those that it had before, these are handed out.
    pub(crate) fn take_told(
        &mut self,
        key: ProcessKey,
        told: impl Iterator<Item = (Socket, Option<u16>)>,
        before: Option<&Arc<[Socket]>>,
    ) -> Arc<[Socket]> {
        self.found.clear();
        for (socket, listening_port) in told {
            self.found.push(socket);
            if self.scope.ports {
                self.listening.ports.extend(listening_port.map(|port| (key, port)));
            }
        }
        self.slack_of_found.note(self.found.len());
        self.found.sort_unstable();
        match before {
            _ if self.found.is_empty() => self.none(),
            Some(before) if **before == *self.found => Arc::clone(before),
            _ => Arc::from(&self.found[..]),
        }
    }

    /// What a process holds that holds no socket.
    pub(crate) fn none(&self) -> Arc<[Socket]> {
        self.holdings.none()
    }

    /// Remembers that it cannot be told where a process listens.
    pub(crate) fn note_unread(&mut self, key: ProcessKey, why: Absence) {
        if self.scope.ports {
            self.listening.unread.push((key, why));
        }
    }

    /// What the sweep found out beside the processes, as far as it was asked for.
    pub(crate) fn network(&mut self) -> Network {
        let mut network = Network::default();
        if self.scope.ports {
            let mut listening = std::mem::take(&mut self.listening);
            listening.ports.sort_unstable();
            listening.ports.dedup();
            listening.unread.sort_unstable();
            listening.unread.dedup_by_key(|(key, _)| *key);
            network.listening = Reading::Value(listening);
        }
        if self.scope.traffic {
            network.traffic = match self.traffic() {
                Ok(traffic) => Reading::Value(traffic),
                Err(why) => Reading::Absent(why),
            };
        }
        network
    }

    /// Whether the kernel lets us read its socket tables, or why not.
    ///
    /// # Errors
    /// The reason that every process's sockets would be absent for.
    pub fn standing(&mut self) -> Result<(), Absence> {
        let namespaces = opened(&mut self.namespaces, self.scope)?;
        namespaces.read_whole()
    }

    /// How many times a process was given up because it held too many descriptors. Only grows.
    #[must_use]
    pub fn cut_total(&self) -> u64 {
        self.cut
    }

    /// How many times a process was not reached because the budget was used up. Only grows.
    #[must_use]
    pub fn unreached_total(&self) -> u64 {
        self.unreached
    }

    /// How often the links of a process were read. Only grows.
    #[must_use]
    pub fn walked_total(&self) -> u64 {
        self.walked
    }

    /// How often a process's descriptors were not read again, since it had executed nothing. Only
    /// grows.
    #[must_use]
    pub fn recalled_total(&self) -> u64 {
        self.holdings.recalled_total()
    }

    /// How often there was no room to remember what a process holds. Only grows.
    #[must_use]
    pub fn crowded_out_total(&self) -> u64 {
        self.holdings.crowded_out_total()
    }

    /// How often the kernel had more to say of ended connections than it could queue. Only
    /// grows.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost
    }

    /// How many messages somebody else than the kernel has sent to our sockets. They are not
    /// believed. Only grows.
    #[must_use]
    pub fn forged_total(&self) -> u64 {
        let of_tables = match &self.namespaces {
            Some(Ok(namespaces)) => namespaces.forged_total(),
            Some(Err(_)) | None => 0,
        };
        self.forged_before + of_tables + forged_total(self.ended.as_ref())
    }

    /// Remembers a process of whose ended connections nobody tells us. One whose namespace we
    /// may not even know is not ours, as far as we can tell.
    fn note_namespace(&mut self, key: ProcessKey, directory: BorrowedFd<'_>) {
        let Ok(namespaces) = opened(&mut self.namespaces, self.scope) else { return };
        if namespaces.inode_of(directory) != Ok(namespaces.own_inode()) {
            self.unheard.push(key);
        }
    }

    /// The connections of all namespaces that were looked at, and what ended in ours.
    fn traffic(&mut self) -> Result<TcpTraffic, Absence> {
        let namespaces = opened(&mut self.namespaces, self.scope)?;
        namespaces.read_whole()?;
        let own_namespace = namespaces.own_inode();
        let mut traffic = TcpTraffic { own_namespace, ..TcpTraffic::default() };
        let own_table = namespaces.own_table();
        let told = match &mut self.ended {
            Some(Ok(ended)) => drain(ended, own_namespace, own_table, &mut traffic),
            Some(Err(why)) => Err(*why),
            None => Err(Absence::NotRequested),
        };
        traffic.deafness = told.err();
        self.lost += traffic.lost;
        add_table(own_namespace, own_table, &mut traffic);
        for (namespace, table) in namespaces.other_tables() {
            add_table(namespace, table, &mut traffic);
        }
        traffic.connections.sort_unstable_by_key(|one| (one.id.namespace, one.inode));
        traffic.listeners.sort_unstable_by_key(|one| (one.namespace, one.inode));
        traffic.unheard = std::mem::take(&mut self.unheard);
        traffic.unheard.sort_unstable();
        Ok(traffic)
    }

    fn read(
        &mut self,
        key: ProcessKey,
        directory: BorrowedFd<'_>,
        sign: Option<Sign>,
    ) -> Result<Arc<[Socket]>, Absence> {
        if let Some(Err(why)) = &self.namespaces {
            return Err(*why);
        }
        let now = Instant::now();
        if self.slow.get(&key).is_some_and(|left| self.sweep < left.until_sweep) {
            return Err(Absence::TooLarge);
        }
        if now >= self.deadline {
            self.unreached += 1;
            return Err(Absence::NotYetKnown);
        }
        if sign.is_some()
            && self.holdings.recall(key, sign, self.sweep, &mut self.inodes) == Recalled::Everything
        {
            return self.join(key, directory);
        }
        let own_deadline = now + self.budget / PROCESS_SHARE;
        match self.read_links(directory, own_deadline.min(self.deadline)) {
            Ok(Walk::Whole) => {
                self.slow.remove(&key);
                self.holdings.remember(key, sign, self.sweep, &self.inodes);
            }
            Ok(Walk::Cut) if own_deadline <= self.deadline => {
                self.leave_alone(key);
                return Err(Absence::TooLarge);
            }
            Ok(Walk::Cut) => {
                self.unreached += 1;
                return Err(Absence::NotYetKnown);
            }
            Err(errno) => return Err(absence_of(errno)),
        }
        self.join(key, directory)
    }

    fn leave_alone(&mut self, key: ProcessKey) {
        self.cut += 1;
        let last = self.slow.get(&key).map_or(0, |left| left.sweeps);
        let sweeps = (last * 2).clamp(1, SWEEPS_LEFT_ALONE_MAX);
        if self.slow.len() < REMEMBERED_MAX || last > 0 {
            self.slow.insert(key, LeftAlone { until_sweep: self.sweep + 1 + sweeps, sweeps });
        }
    }

    /// Reads the inodes of all descriptors that are sockets of some kind.
    fn read_links(&mut self, directory: BorrowedFd<'_>, deadline: Instant) -> Result<Walk, Errno> {
        self.inodes.clear();
        self.walked += 1;
        let folder = open_listing(directory, c"fd")?;
        let mut entries = RawDir::new(&folder, &mut self.entries);
        let mut until_look = LINKS_PER_LOOK;
        loop {
            if entries.is_buffer_empty() {
                sys::retrying(|| Ok(()))?;
            }
            let entry = match entries.next() {
                None => return Ok(Walk::Whole),
                Some(Err(Errno::INTR)) => continue,
                Some(entry) => entry?,
            };
            if entry.file_name().to_bytes().first() == Some(&b'.') {
                continue;
            }
            let mut link = [0; LINK_BYTES];
            match sys::retrying(|| readlinkat_raw(&folder, entry.file_name(), &mut link)) {
                Ok(length) => {
                    let target = link.get(..length).unwrap_or_default();
                    self.inodes.extend(inode(target, b"socket"));
                }
                // It was closed since it was listed.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            until_look -= 1;
            if until_look == 0 {
                until_look = LINKS_PER_LOOK;
                if Instant::now() >= deadline {
                    return Ok(Walk::Cut);
                }
            }
        }
    }

    /// Looks the inodes up in the table of our network namespace, which is read no further than
    /// that takes, and those that are not there in the table of the process's, where that is
    /// another. Where traffic is wanted, all of the first is read before anything is looked up.
    fn join(
        &mut self,
        key: ProcessKey,
        directory: BorrowedFd<'_>,
    ) -> Result<Arc<[Socket]>, Absence> {
        self.slack_of_inodes.note(self.inodes.len());
        self.join_own(key)?;
        if !self.inodes.is_empty() {
            let namespaces = opened(&mut self.namespaces, self.scope)?;
            if let Some((other, table)) = namespaces.table_of(directory, self.deadline)? {
                note(&mut self.listening, self.scope, key, table, &self.inodes);
                move_found(other, table, &mut self.inodes, &mut self.found);
            }
        }
        Ok(self.hand_out(key))
    }

    /// Looks the inodes up in the table of our own namespace alone.
    fn join_own(&mut self, key: ProcessKey) -> Result<(), Absence> {
        self.found.clear();
        if self.inodes.is_empty() {
            return Ok(());
        }
        let namespaces = opened(&mut self.namespaces, self.scope)?;
        let own = namespaces.own_inode();
        if self.scope.traffic {
            namespaces.read_whole()?;
        }
        loop {
            let table = namespaces.own_table();
            note(&mut self.listening, self.scope, key, table, &self.inodes);
            move_found(own, table, &mut self.inodes, &mut self.found);
            if self.inodes.is_empty() || table.is_whole() {
                return Ok(());
            }
            namespaces.read_on()?;
        }
    }

    fn hand_out(&mut self, key: ProcessKey) -> Arc<[Socket]> {
        self.slack_of_found.note(self.found.len());
        self.found.sort_unstable();
        self.holdings.hand_out(key, &self.found)
    }
}

/// Notes where a process listens, as far as a table says.
fn note(
    listening: &mut Listening,
    scope: TableScope,
    key: ProcessKey,
    table: &SocketTable,
    inodes: &[u64],
) {
    if scope.ports {
        let ports = inodes.iter().filter_map(|inode| table.port_of(*inode));
        listening.ports.extend(ports.map(|port| (key, port)));
    }
}

/// Takes what ended in our own namespace. The table says which ends accept connections.
fn drain(
    ended: &mut EndedSockets,
    namespace: u64,
    table: &SocketTable,
    traffic: &mut TcpTraffic,
) -> Result<(), Absence> {
    let mut listeners: Vec<Endpoint> = table.tcp_listeners().map(|one| one.local).collect();
    listeners.sort_unstable_by_key(|end| end.port);
    let opener_of = |end: &Endpoint| {
        let first = listeners.partition_point(|listener| listener.port < end.port);
        let mut same_port = listeners[first..].iter().take_while(|one| one.port == end.port);
        match same_port.any(|listener| listener.accepts(end)) {
            true => Opener::Peer,
            false => Opener::Itself,
        }
    };
    traffic.lost = ended.drain(namespace, opener_of, &mut traffic.closed)?;
    Ok(())
}

/// Messages that somebody else than the kernel has sent to whoever hears of ends.
fn forged_total(ended: Option<&Result<EndedSockets, Absence>>) -> u64 {
    ended.map_or(0, |ended| ended.as_ref().map_or(0, EndedSockets::forged_total))
}

/// Adds what a table says to what is handed on.
fn add_table(namespace: u64, table: &SocketTable, traffic: &mut TcpTraffic) {
    traffic.connections.extend(table.connections().iter().map(|one| Connection {
        id: ConnectionId { namespace, cookie: one.cookie },
        inode: u64::from(one.inode),
        local: one.local,
        moved: one.moved,
    }));
    traffic.listeners.extend(table.tcp_listeners().map(|one| Listener {
        namespace,
        inode: u64::from(one.inode),
        local: one.local,
    }));
}

/// The tables, opened where they are not yet, for what is in `scope`.
fn opened(
    namespaces: &mut Option<Result<Namespaces, Absence>>,
    scope: TableScope,
) -> Result<&mut Namespaces, Absence> {
    namespaces.get_or_insert_with(|| Namespaces::open(scope)).as_mut().map_err(|why| *why)
}

/// How far the descriptors of a process were read.
enum Walk {
    Whole,
    Cut,
}

/// Takes out of `inodes` what is in the table.
fn move_found(namespace: u64, table: &SocketTable, inodes: &mut Vec<u64>, found: &mut Vec<Socket>) {
    inodes.retain(|inode| {
        let kind: Option<SocketKind> = table.kind_of(*inode);
        found.extend(kind.map(|kind| Socket { namespace, inode: *inode, kind }));
        kind.is_none()
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::{AsFd, OwnedFd};

    use mpp_accounting::process::TcpState;

    const KEY: ProcessKey = ProcessKey { pid: 1, start_time_ticks: 1 };

    fn own_directory() -> OwnedFd {
        std::fs::File::open("/proc/self").unwrap().into()
    }

    fn inode_of(fd: impl AsFd) -> u64 {
        rustix::fs::fstat(fd).unwrap().st_ino
    }

    /// A frozen process whose descriptors are links to these.
    fn process_with(links: impl IntoIterator<Item = String>) -> (tempfile::TempDir, OwnedFd) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("fd")).unwrap();
        for (link, number) in links.into_iter().zip(0..) {
            let path = directory.path().join("fd").join(format!("{number}"));
            std::os::unix::fs::symlink(link, path).unwrap();
        }
        let fd = std::fs::File::open(directory.path()).unwrap().into();
        (directory, fd)
    }

    #[test]
    fn a_procfs_that_is_not_ours_has_no_sockets_that_we_know_of() {
        let (mut source, directory) = (SocketSource::unsupported(), own_directory());
        source.begin_sweep();
        let sockets = source.sockets_of(KEY, directory.as_fd());
        assert_eq!(sockets, Reading::Absent(Absence::Unsupported));
        assert_eq!(source.standing(), Err(Absence::Unsupported));
    }

    #[test]
    fn only_links_to_sockets_in_the_tables_are_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let inode = inode_of(&listener);
        let links = [
            "/dev/null".to_owned(),
            format!("pipe:[{inode}]"),
            format!("/tmp/socket:[{inode}]"),
            format!("socket:[{inode}]"),
            "anon_inode:[eventpoll]".to_owned(),
            format!("socket:[{inode}]"),
        ];
        let (_directory, fd) = process_with(links);
        let mut source = SocketSource::open(SWEEP_BUDGET);
        let sockets = source.sockets_of(KEY, fd.as_fd());
        let kinds: Vec<_> = sockets.value().unwrap().iter().map(|s| (s.inode, s.kind)).collect();
        let listening = SocketKind::Tcp(TcpState::Listen);
        assert_eq!(kinds, [(inode, listening), (inode, listening)]);
    }

    #[test]
    fn the_tables_are_read_as_far_as_a_process_takes_and_then_further() {
        fn check(
            source: &mut SocketSource,
            socket: Option<u64>,
            expected: &[SocketKind],
            is_whole: Option<bool>,
        ) {
            let (_directory, fd) = process_with(socket.map(|inode| format!("socket:[{inode}]")));
            let sockets = source.sockets_of(KEY, fd.as_fd());
            let kinds: Vec<_> = sockets.value().unwrap().iter().map(|s| s.kind).collect();
            assert_eq!(kinds, expected, "{socket:?}");
            let tables = source.namespaces.as_ref().and_then(|tables| tables.as_ref().ok());
            assert_eq!(tables.map(|tables| tables.own_table().is_whole()), is_whole, "{socket:?}");
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let source = &mut SocketSource::open(SWEEP_BUDGET);
        let listening = SocketKind::Tcp(TcpState::Listen);
        let established = SocketKind::Tcp(TcpState::Established);
        check(source, None, &[], None);
        check(source, Some(inode_of(&listener)), &[listening], Some(false));
        check(source, Some(inode_of(&client)), &[established], Some(false));
        source.standing().unwrap();
        check(source, Some(inode_of(&listener)), &[listening], Some(true));
        source.begin_sweep();
        check(source, Some(inode_of(&listener)), &[listening], Some(false));
    }

    #[test]
    fn a_process_with_too_many_descriptors_is_left_alone_for_some_sweeps() {
        let links = (0..LINKS_PER_LOOK).map(|_| "/dev/null".to_owned());
        let (_directory, fd) = process_with(links);
        let mut source = SocketSource::open(SWEEP_BUDGET);
        // No share of the sweep's time, but time in the sweep.
        source.budget = Duration::ZERO;
        let mut ask = |is_hurried: bool| {
            source.begin_sweep();
            source.budget = if is_hurried { Duration::ZERO } else { SWEEP_BUDGET };
            source.deadline = Instant::now() + SWEEP_BUDGET;
            (source.sockets_of(KEY, fd.as_fd()).absence(), source.cut_total())
        };
        let too_large = Some(Absence::TooLarge);
        assert_eq!(ask(true), (too_large, 1));
        assert_eq!(ask(false), (too_large, 1), "one sweep without a try");
        assert_eq!(ask(true), (too_large, 2));
        assert_eq!(ask(false), (too_large, 2), "two sweeps without a try");
        assert_eq!(ask(false), (too_large, 2));
        assert_eq!(ask(false), (None, 2), "tried again, and whole");
        assert_eq!(ask(true), (too_large, 3));
        assert_eq!(ask(false), (too_large, 3), "from the beginning");
        assert_eq!(ask(false), (None, 3));
    }

    #[test]
    fn what_the_budget_does_not_reach_is_not_yet_known_and_counted() {
        let mut source = SocketSource::open(Duration::ZERO);
        source.begin_sweep();
        let directory = own_directory();
        let sockets = source.sockets_of(KEY, directory.as_fd());
        assert_eq!(sockets, Reading::Absent(Absence::NotYetKnown));
        assert_eq!((source.unreached_total(), source.cut_total()), (1, 0));
    }

    /// Everything that a source can be asked for, of one process.
    fn network_of(fd: &OwnedFd) -> (Reading<usize>, Network) {
        let mut source = SocketSource::open(SWEEP_BUDGET);
        source.begin_sweep_for(TableScope { kinds: true, ports: true, traffic: true });
        let sockets = source.sockets_of(KEY, fd.as_fd());
        if let Reading::Absent(why) = sockets {
            source.note_unread(KEY, why);
        }
        (sockets.map(|sockets| sockets.len()), source.network())
    }

    #[test]
    fn any_failing_call_leaves_no_port_out_and_no_connection_in_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(address).unwrap();
        let links = [inode_of(&listener), inode_of(&client)];
        let (directory, fd) = process_with(links.map(|inode| format!("socket:[{inode}]")));
        // A frozen process has no namespace unless it is given one.
        std::fs::create_dir(directory.path().join("ns")).unwrap();
        let namespace = directory.path().join("ns/net");
        std::os::unix::fs::symlink("/proc/thread-self/ns/net", namespace).unwrap();
        let is_ours = |network: &Network| {
            let Reading::Value(traffic) = &network.traffic else { return false };
            let ends = traffic.connections.iter().map(|connection| connection.inode);
            ends.filter(|inode| links.contains(inode)).count() == 1
        };
        let is_whole = |network: &Network| {
            let Reading::Value(listening) = &network.listening else { return false };
            let Reading::Value(traffic) = &network.traffic else { return false };
            let ports: Option<Vec<u16>> = listening.ports_of(KEY).ok().map(Iterator::collect);
            let is_heard = traffic.deafness.is_none() && traffic.unheard.is_empty();
            ports == Some(vec![address.port()]) && is_ours(network) && is_heard
        };
        let (whole, calls) = sys::fault::with_failure(u64::MAX, Errno::IO, || network_of(&fd));
        assert!(whole.0 == Reading::Value(2) && is_whole(&whole.1), "{whole:?}");
        for n in 0..calls {
            for errno in [Errno::IO, Errno::NOMEM, Errno::INTR, Errno::NOBUFS] {
                let ((sockets, network), _) =
                    sys::fault::with_failure(n, errno, || network_of(&fd));
                let ports = network.listening.value().unwrap().ports_of(KEY);
                let ports = ports.map(Iterator::collect::<Vec<_>>);
                assert!(ports.is_err() || ports == Ok(vec![address.port()]), "call {n}");
                assert_eq!(ports.is_ok(), sockets == Reading::Value(2), "call {n}, {errno:?}");
                assert!(network.traffic.absence().is_some() || is_ours(&network), "call {n}");
                let is_whole = ports.is_ok() && is_whole(&network);
                assert!(errno != Errno::INTR || is_whole, "call {n}: {network:?}");
            }
        }
    }

    #[test]
    fn every_failing_call_is_an_absence_and_never_a_shorter_list() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let links = (0..3).map(|_| format!("socket:[{}]", inode_of(&listener)));
        let (_directory, fd) = process_with(links);
        let read = || {
            let mut source = SocketSource::open(SWEEP_BUDGET);
            source.begin_sweep();
            source.sockets_of(KEY, fd.as_fd()).map(|sockets| sockets.len())
        };
        let (whole, calls) = sys::fault::with_failure(u64::MAX, Errno::IO, read);
        assert_eq!(whole, Reading::Value(3));
        for n in 0..calls {
            for errno in [Errno::IO, Errno::MFILE, Errno::NOMEM, Errno::NOBUFS, Errno::INTR] {
                let (outcome, _) = sys::fault::with_failure(n, errno, read);
                let is_retried = matches!(errno, Errno::NOBUFS | Errno::INTR);
                assert!(outcome == whole || outcome.absence().is_some(), "call {n}: {outcome:?}");
                assert!(is_retried || outcome.absence().is_some(), "call {n}: {outcome:?}");
            }
        }
    }
}
