//! A thread of our own that measures the process it lives in.
//!
//! What it does itself is the process's too, and has to be taken off again: getrusage(2) with
//! `RUSAGE_THREAD` and `/proc/thread-self/io` of proc_pid_io(5) tell it to the nanosecond and the
//! byte. The trap is signals: one that is sent to the process may be handed to any of its
//! threads, and then it interrupts no other. This thread takes none. And descriptors: the
//! process's own would be counted with ours among them, a forked child would inherit ours, and
//! `closefrom` would close them; so the thread has a table of its own. The live tests are
//! `what_a_thread_did_itself_is_told_apart`, `a_deaf_thread_takes_no_signal` and
//! `descriptors_of_a_thread_with_its_own_table_are_nobody_elses`.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::thread::{Builder, JoinHandle};

use mpp_accounting::process::{Absence, Reading};
use mpp_accounting::units::{IoTotals, Totals, UsageTotals};
use mpp_parse::proc_pid_io;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{CapabilitySet, capabilities};

use crate::child::without_signals;
use crate::error::absence_of;
use crate::proc_fs::{open_file, status_at};
use crate::scale::{io_totals, switches_of, usage_of};
use crate::sys;

/// Seven lines of at most 23 + 20 bytes, with room for what later kernels append.
const IO_BYTES_MAX: usize = 1024;

/// What a thread has done since it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadDeeds {
    /// CPU time and faults.
    pub usage: UsageTotals,
    /// Voluntary and involuntary context switches.
    pub switches: Totals<2>,
    /// I/O.
    pub io: Reading<IoTotals>,
}

/// Tells what the thread that opened it has done.
#[derive(Debug)]
pub struct OwnThread {
    io: Result<OwnedFd, Absence>,
}

impl OwnThread {
    /// For the calling thread, which alone may ask.
    #[must_use]
    pub fn open() -> Self {
        OwnThread { io: open_file(CWD, c"/proc/thread-self/io").map_err(absence_of) }
    }

    /// What it has done so far.
    ///
    /// # Errors
    /// What getrusage(2) says.
    pub fn deeds(&self) -> Result<ThreadDeeds, Errno> {
        let mut usage = MaybeUninit::<libc::rusage>::zeroed();
        sys::call(|| {
            // SAFETY: `usage` is writable and of the right type.
            match unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) } {
                0 => Ok(()),
                _ => Err(sys::last_errno()),
            }
        })?;
        // SAFETY: zeroes are a value of this plain C struct, and the kernel has filled it in.
        let usage = unsafe { usage.assume_init() };
        let io = match &self.io {
            Ok(file) => read(file),
            Err(why) => Reading::Absent(*why),
        };
        Ok(ThreadDeeds { usage: usage_of(&usage), switches: switches_of(&usage), io })
    }
}

/// One reading by one system call.
fn read(file: &OwnedFd) -> Reading<IoTotals> {
    let mut text = [0; IO_BYTES_MAX];
    match sys::retrying(|| rustix::io::pread(file.as_fd(), &mut text, 0)) {
        Ok(length) => match proc_pid_io::parse(&text[..length]) {
            Ok(io) => Reading::Value(io_totals(&io)),
            Err(_) => Reading::Absent(Absence::Malformed),
        },
        Err(errno) => Reading::Absent(absence_of(errno)),
    }
}

/// From where a thread looks: what the kernel shows to one is for those alone who look from the
/// same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vantage {
    user: u32,
    capabilities: CapabilitySet,
    /// Inodes of its network and its mount namespace.
    namespaces: [u64; 2],
}

impl Vantage {
    /// That of the calling thread: its effective user, its effective capabilities, capabilities(7),
    /// and its namespaces, namespaces(7).
    ///
    /// # Errors
    /// What capget(2) says, or stat(2) where procfs is not mounted at `/proc`.
    pub fn of_caller() -> Result<Self, Errno> {
        let capabilities = sys::call(|| capabilities(None))?.effective;
        let inode = |name: &CStr| Ok::<u64, Errno>(status_at(CWD, name)?.st_ino);
        let namespaces = [inode(c"/proc/thread-self/ns/net")?, inode(c"/proc/thread-self/ns/mnt")?];
        Ok(Vantage { user: rustix::process::geteuid().as_raw(), capabilities, namespaces })
    }
}

/// Gives the calling thread an empty table of descriptors of its own, close_range(2). What it, and
/// threads that it starts, open from now on is not seen among the process's, nor inherited.
///
/// # Errors
/// ENOSYS before Linux 5.9; then the table is shared as before.
pub fn leave_descriptors() -> Result<(), Errno> {
    sys::call(|| {
        // SAFETY: it takes no pointer. The descriptors that this thread does not see any more
        // stay open for those that own them.
        let left = unsafe {
            libc::syscall(libc::SYS_close_range, 0_u32, u32::MAX, libc::CLOSE_RANGE_UNSHARE)
        };
        if left == 0 { Ok(()) } else { Err(sys::last_errno()) }
    })?;
    // What writes to a standard stream, as a panic does, must not write into something else.
    for _ in 0..3 {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let null = sys::retrying(|| openat(CWD, c"/dev/null", flags, Mode::empty()))?;
        std::mem::forget(null);
    }
    Ok(())
}

/// Starts a thread that takes no signals.
///
/// # Errors
/// It cannot be started.
pub fn spawn_deaf(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let builder = Builder::new().name(name.to_owned());
    // A thread inherits the mask of the one that starts it.
    without_signals(|| Ok(builder.spawn(body)))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::fault::with_failure;
    use mpp_accounting::units::IoCounter;
    use rustix::thread::{CapabilitySets, set_capabilities};
    use std::sync::mpsc::channel;

    #[test]
    fn what_a_thread_did_itself_is_told_apart() {
        let thread = OwnThread::open();
        let before = thread.deeds().unwrap();
        let Reading::Value(io_before) = before.io else { panic!("{before:?}") };
        std::thread::spawn(|| std::fs::read("/proc/self/maps").unwrap()).join().unwrap();
        std::fs::write("/dev/null", [0; 1000]).unwrap();
        let after = thread.deeds().unwrap();
        let Reading::Value(io_after) = after.io else { panic!("{after:?}") };
        let moved = io_after.since(io_before).unwrap();
        assert_eq!((moved[IoCounter::WriteChars], moved[IoCounter::WriteCount]), (1000, 1));
        // The one reading of its own file, and nothing of the other thread.
        assert_eq!(moved[IoCounter::ReadCount], 1, "{moved:?}");
        assert!(after.usage.since(before.usage).is_some() && after.switches.0 >= before.switches.0);
    }

    #[test]
    fn a_deaf_thread_takes_no_signal() {
        let (say, hear) = channel();
        let body = move || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("SigBlk:")).unwrap().to_owned();
            say.send(line).unwrap();
        };
        spawn_deaf("deaf", body).unwrap().join().unwrap();
        let blocked = hear.recv().unwrap();
        let mask = u64::from_str_radix(blocked.trim_start_matches("SigBlk:").trim(), 16).unwrap();
        let signals = [libc::SIGINT, libc::SIGTERM, libc::SIGCHLD, libc::SIGALRM];
        assert!(signals.iter().all(|signal| mask & (1 << (signal - 1)) != 0), "{blocked}");
        let own = std::fs::read_to_string("/proc/thread-self/status").unwrap();
        assert!(!own.contains(&blocked), "the mask of the one that started it stays");
    }

    #[test]
    fn descriptors_of_a_thread_with_its_own_table_are_nobody_elses() {
        let body = || {
            let before = std::fs::File::open("/dev/null").unwrap();
            // Its own copy of the number is gone with the table.
            std::mem::forget(before);
            leave_descriptors().unwrap();
            let list = |folder| std::fs::read_dir(folder).unwrap().count();
            // The three, and the one that lists them.
            let own = list("/proc/thread-self/fd");
            let kept: Vec<_> = (0..50).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
            (own, list("/proc/thread-self/fd"), kept.len())
        };
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = count();
        let (own, with_more, kept) = std::thread::spawn(body).join().unwrap();
        assert_eq!((own, with_more, kept), (4, 54, 50));
        // One that was opened before; other tests open and close theirs.
        assert!(count() < before + 50, "{before} {}", count());
    }

    #[test]
    fn whoever_gives_up_a_capability_looks_from_elsewhere() {
        let vantage = || Vantage::of_caller().unwrap();
        assert_eq!(vantage(), vantage());
        let body = move || {
            let before = capabilities(None).unwrap();
            let fewer = CapabilitySets { effective: CapabilitySet::empty(), ..before };
            set_capabilities(None, fewer).unwrap();
            (before.effective.is_empty(), vantage())
        };
        let (had_none, fewer) = std::thread::spawn(body).join().unwrap();
        assert_eq!(fewer == vantage(), had_none);
        let (refused, _) = with_failure(0, Errno::PERM, Vantage::of_caller);
        assert_eq!(refused, Err(Errno::PERM));
    }

    #[test]
    fn a_call_that_fails_is_no_number() {
        let thread = OwnThread::open();
        let (deeds, calls) = with_failure(0, Errno::IO, || thread.deeds());
        assert_eq!((deeds, calls), (Err(Errno::IO), 1));
        let (deeds, _) = with_failure(1, Errno::IO, || thread.deeds());
        let failed = Absence::Failed(Errno::IO.raw_os_error());
        assert_eq!(deeds.unwrap().io, Reading::Absent(failed));
        let (thread, _) = with_failure(0, Errno::ACCESS, OwnThread::open);
        assert_eq!(thread.deeds().unwrap().io, Reading::Absent(Absence::Denied));
    }
}
