//! Every process's sockets, by the iterator of `bpf/files.h`.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use mpp_parse::bpf_socket_record::{LENGTH, SocketRecord, split_first};
use rustix::io::Errno;

use super::hooks::Hook;
use super::skeleton::{Failure, Loaded};
use super::syscall;
use crate::sys;

/// The kernel hands out at most 32 KiB at a time; a record that was cut needs room, too.
const BUFFER: usize = (32 << 10) + LENGTH;

/// The iterator, for as long as this lives.
#[derive(Debug)]
pub(super) struct Files {
    link: OwnedFd,
    /// Empty until somebody asks.
    buffer: Vec<u8>,
}

impl Files {
    /// Takes the program out of what was loaded; `None` where the kernel does not take it, which
    /// is then added to what is missing.
    pub(super) fn attach(
        loaded: &mut Loaded,
        missing: &mut Vec<(Hook, Errno)>,
    ) -> Result<Option<Self>, Failure> {
        let program = loaded.program(Hook::Sockets.program())?;
        if missing.iter().any(|(known, _)| *known == Hook::Sockets) {
            return Ok(None);
        }
        match syscall::link_iterator(program.as_fd()) {
            Ok(link) => Ok(Some(Files { link, buffer: Vec::new() })),
            Err(errno) => {
                missing.push((Hook::Sockets, errno));
                Ok(None)
            }
        }
    }

    /// Hands out every process with descriptors, and behind it each of its sockets.
    ///
    /// # Errors
    /// ETIMEDOUT where it is not done at `until`; ENOMEM and the like; EBADMSG where the last
    /// record was cut.
    pub(super) fn read(
        &mut self,
        until: Instant,
        each: &mut dyn FnMut(&SocketRecord),
    ) -> Result<(), Errno> {
        self.buffer.resize(BUFFER, 0);
        let iteration = syscall::begin_iteration(self.link.as_fd())?;
        let mut kept = 0;
        while Instant::now() < until {
            let room = self.buffer.get_mut(kept..).unwrap_or_default();
            let count = match sys::retrying(|| rustix::io::read(&iteration, &mut *room)) {
                // A million descriptors in a row were no sockets: it goes on behind them.
                Err(Errno::AGAIN) => continue,
                outcome => outcome?,
            };
            if count == 0 {
                return if kept == 0 { Ok(()) } else { Err(Errno::BADMSG) };
            }
            let filled = kept + count;
            let mut rest = self.buffer.get(..filled).unwrap_or_default();
            while let Some((record, behind)) = split_first(rest) {
                each(&record);
                rest = behind;
            }
            kept = rest.len();
            self.buffer.copy_within(filled - kept..filled, 0);
        }
        Err(Errno::TIMEDOUT)
    }
}
