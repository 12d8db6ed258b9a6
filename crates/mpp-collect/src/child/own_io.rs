//! What came to us with the children that we waited for, proc_pid_io(5).
//!
//! `/proc/self/io` holds what our threads did and what our reaped children had done,
//! transitively; a thread's own file holds what that thread did. The difference is the
//! children's, to the byte: the kernel adds it in wait(2), `wait_task_zombie` of
//! `kernel/exit.c`. The trap: reading one file moves the other. Our thread is read first, and
//! that reading, whose size is known, is added to it. The live tests are
//! `a_reaped_tree_is_counted_to_the_byte` and `our_own_looking_is_not_counted`.

use std::ffi::CStr;

use mpp_accounting::process::Absence;
use mpp_accounting::units::{IoCounter, IoTotals, Totals};
use mpp_parse::proc_pid_io;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;

use crate::error::absence_of;
use crate::proc_fs::open_file;
use crate::scale::io_totals;
use crate::sys;

/// Seven lines of at most 23 + 20 bytes, with room for what later kernels append.
const IO_BYTES_MAX: usize = 1024;

/// The two files, open. Only while this process has one thread, the one that opened them.
#[derive(Debug)]
pub(crate) struct OwnIo {
    process: OwnedFd,
    thread: OwnedFd,
}

impl OwnIo {
    /// Opens both files.
    pub(crate) fn open() -> Result<Self, Absence> {
        let open = |name: &CStr| open_file(CWD, name).map_err(absence_of);
        Ok(OwnIo { process: open(c"/proc/self/io")?, thread: open(c"/proc/thread-self/io")? })
    }

    /// What all reaped children and their reaped children did, since this process began.
    pub(crate) fn of_reaped_children(&self) -> Result<IoTotals, Absence> {
        let (thread, length) = read(&self.thread)?;
        let (process, _) = read(&self.process)?;
        let Totals(mut own) = thread;
        own[IoCounter::ReadChars as usize] += length;
        own[IoCounter::ReadCount as usize] += 1;
        Ok(Totals(process.since_clamped(Totals(own)).0))
    }
}

/// One reading by one system call, and how many bytes it was.
fn read(file: &OwnedFd) -> Result<(IoTotals, u64), Absence> {
    let mut text = [0; IO_BYTES_MAX];
    let length =
        sys::retrying(|| rustix::io::pread(file.as_fd(), &mut text, 0)).map_err(absence_of)?;
    let io = proc_pid_io::parse(&text[..length]).map_err(|_| Absence::Malformed)?;
    Ok((io_totals(&io), length as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fault::with_failure;
    use rustix::io::Errno;

    #[test]
    fn a_call_that_fails_is_no_number() {
        let io = OwnIo::open().unwrap();
        for n in 0..2 {
            let (read, calls) = with_failure(n, Errno::IO, || io.of_reaped_children());
            assert_eq!(read, Err(Absence::Failed(Errno::IO.raw_os_error())), "of {calls}");
            let (opened, _) = with_failure(n, Errno::ACCESS, || OwnIo::open().map(drop));
            assert_eq!(opened, Err(Absence::Denied));
        }
    }
}
