//! Network namespaces: ours, and those that measured processes live in, namespaces(7).
//!
//! A netlink socket sees the namespace it was made in. For another one a short-lived thread of
//! ours enters it with setns(2), reads its table and ends; no other thread is touched. Nothing
//! is kept of it, since a socket or a descriptor that is kept would keep the namespace alive.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::Builder;
use std::time::Instant;

use mpp_accounting::process::Absence;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::table::{SocketDiag, SocketTable, TableScope};
use crate::error::absence_of;
use crate::sys;

/// Tables of other namespaces kept for one sweep; a host with more containers than that is
/// answered in part.
const OTHERS_MAX: usize = 4096;

/// The socket tables of one sweep, each read when it is first needed.
#[derive(Debug)]
pub(super) struct Namespaces {
    own_inode: u64,
    scope: TableScope,
    diag: SocketDiag,
    /// Keeps its room from sweep to sweep.
    own_table: SocketTable,
    /// Why it could not be read further in this sweep.
    own_failure: Option<Absence>,
    others: Vec<(u64, Result<SocketTable, Absence>)>,
    /// Datagrams that somebody else than the kernel sent to those who read the others.
    forged_in_others: u64,
}

impl Namespaces {
    /// Opens what asks for the table of our own network namespace: that of the calling thread.
    /// Tables will hold what is in `scope`.
    pub(super) fn open(scope: TableScope) -> Result<Self, Absence> {
        let own_inode = match inode_at(CWD, c"/proc/thread-self/ns/net") {
            Ok(inode) => inode,
            // The kernel has no network namespaces, so everything is in the same one.
            Err(Errno::NOENT) => 0,
            Err(errno) => return Err(absence_of(errno)),
        };
        let diag = SocketDiag::open().map_err(|errno| match errno {
            Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT => Absence::Unsupported,
            other => absence_of(other),
        })?;
        let own_table = SocketTable::default();
        let others = Vec::new();
        Ok(Namespaces {
            own_inode,
            scope,
            diag,
            own_table,
            own_failure: None,
            others,
            forged_in_others: 0,
        })
    }

    /// The inode of our own namespace; 0 where there are none.
    pub(super) fn own_inode(&self) -> u64 {
        self.own_inode
    }

    /// Datagrams so far that somebody else than the kernel has sent. Only grows.
    pub(super) fn forged_total(&self) -> u64 {
        self.diag.forged_total() + self.forged_in_others
    }

    /// Lets every table be read anew, and with this in it.
    pub(super) fn forget_tables(&mut self, scope: TableScope) {
        self.scope = scope;
        self.own_table.clear();
        self.own_failure = None;
        self.others.clear();
    }

    /// The table of our own namespace, as far as it has been read.
    pub(super) fn own_table(&self) -> &SocketTable {
        &self.own_table
    }

    /// Reads on in the table of our own namespace.
    pub(super) fn read_on(&mut self) -> Result<(), Absence> {
        if let Some(why) = self.own_failure {
            return Err(why);
        }
        let outcome = self.diag.read_on(&mut self.own_table, self.scope);
        self.own_failure = outcome.err();
        outcome
    }

    /// Reads all that is left of it.
    pub(super) fn read_whole(&mut self) -> Result<(), Absence> {
        while !self.own_table.is_whole() {
            self.read_on()?;
        }
        Ok(())
    }

    /// The namespace of a process.
    pub(super) fn inode_of(&self, directory: BorrowedFd<'_>) -> Result<u64, Absence> {
        match inode_at(directory, c"ns/net") {
            Err(Errno::NOENT) if self.own_inode == 0 => Ok(0),
            other => other.map_err(absence_of),
        }
    }

    /// The tables of other namespaces that were read in this sweep, in no order.
    pub(super) fn other_tables(&self) -> impl Iterator<Item = (u64, &SocketTable)> {
        self.others.iter().filter_map(|(inode, table)| Some((*inode, table.as_ref().ok()?)))
    }

    /// The namespace of a process and its table; `None` where it is ours.
    ///
    /// Not read any more after `deadline`.
    pub(super) fn table_of(
        &mut self,
        directory: BorrowedFd<'_>,
        deadline: Instant,
    ) -> Result<Option<(u64, &SocketTable)>, Absence> {
        let inode = self.inode_of(directory)?;
        if inode == self.own_inode {
            return Ok(None);
        }
        let position = match self.others.binary_search_by_key(&inode, |(inode, _)| *inode) {
            Ok(position) => position,
            Err(_) if self.others.len() >= OTHERS_MAX || Instant::now() >= deadline => {
                return Err(Absence::NotYetKnown);
            }
            Err(position) => {
                let read = read_other(directory, inode, self.scope);
                let table = read.map(|(table, forged)| {
                    self.forged_in_others += forged;
                    table
                });
                self.others.insert(position, (inode, table));
                position
            }
        };
        match self.others.get(position) {
            Some((_, Ok(table))) => Ok(Some((inode, table))),
            Some((_, Err(why))) => Err(*why),
            None => Err(Absence::NotYetKnown),
        }
    }
}

fn inode_at(directory: impl AsFd, name: &std::ffi::CStr) -> Result<u64, Errno> {
    sys::retrying(|| statat(directory.as_fd(), name, AtFlags::empty())).map(|stat| stat.st_ino)
}

/// Reads the table of the namespace that a process is in, if that is still the one expected; and
/// how many datagrams came meanwhile that somebody else than the kernel had sent.
fn read_other(
    directory: BorrowedFd<'_>,
    inode: u64,
    scope: TableScope,
) -> Result<(SocketTable, u64), Absence> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let namespace =
        sys::retrying(|| openat(directory, c"ns/net", flags, Mode::empty())).map_err(absence_of)?;
    if sys::retrying(|| fstat(&namespace)).map_err(absence_of)?.st_ino != inode {
        return Err(Absence::Unstable);
    }
    let failed = |error: std::io::Error| {
        Absence::Failed(error.raw_os_error().unwrap_or(Errno::AGAIN.raw_os_error()))
    };
    let visitor =
        Builder::new().name("mpp-namespace".to_owned()).spawn(move || visit(&namespace, scope));
    // A panic over there is a fault of ours; here it is one more reason for having nothing.
    visitor.map_err(failed)?.join().unwrap_or(Err(Absence::Failed(Errno::CANCELED.raw_os_error())))
}

fn visit(namespace: &OwnedFd, scope: TableScope) -> Result<(SocketTable, u64), Absence> {
    let kind = Some(LinkNameSpaceType::Network);
    sys::retrying(|| move_into_link_name_space(namespace.as_fd(), kind)).map_err(absence_of)?;
    let mut table = SocketTable::default();
    let mut diag = SocketDiag::open().map_err(absence_of)?;
    diag.read_whole(&mut table, scope)?;
    Ok((table, diag.forged_total()))
}
