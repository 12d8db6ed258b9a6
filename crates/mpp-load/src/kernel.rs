//! The system calls that scenarios are made of, each behind a safe function.
//!
//! All `unsafe` of this crate stands here. Forking without exec is sound because
//! a process forks only while it has one thread: what starts threads does so
//! after its last fork.

use std::ffi::CString;
use std::io::{Error, Result};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// What fork(2) returned: in the child, or in the parent with the child's PID.
pub(crate) enum Fork {
    Child,
    Parent(u32),
}

/// Makes a copy of this process.
pub(crate) fn fork() -> Result<Fork> {
    // SAFETY: this process has one thread, so the copy may do anything.
    let pid = unsafe { libc::fork() };
    Ok(match checked_pid(pid)? {
        0 => Fork::Child,
        child => Fork::Parent(child),
    })
}

/// Ends the process at once, without running anything that was registered for its end.
pub(crate) fn exit_now(status: i32) -> ! {
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(status) }
}

/// Ends this process by a signal whose default is to end it.
pub(crate) fn end_by_signal(signal: i32) -> Result<()> {
    // SAFETY: takes no pointer, and no handler of ours can run, since this program has none.
    checked(unsafe { libc::raise(signal) })
}

/// Ends the calling thread alone, the leader too, as the bare system call does.
pub(crate) fn exit_this_thread() -> ! {
    // SAFETY: takes no pointer; the stack stays mapped while other threads live.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!("exit(2) returned")
}

/// What became of a child that was waited for.
pub(crate) enum Wait {
    /// It was reaped: its PID and wait status.
    Reaped { pid: u32, status: i32 },
    /// There are children, and none of them has ended.
    Pending,
    /// There are no children.
    NoChildren,
}

/// Reaps any child that has ended already.
pub(crate) fn reap_ended() -> Result<Wait> {
    wait(-1, libc::WNOHANG)
}

/// Waits until any child ends, and reaps it.
pub(crate) fn reap_next() -> Result<Wait> {
    wait(-1, 0)
}

/// Waits until this child ends, and reaps it.
pub(crate) fn reap(pid: u32) -> Result<Wait> {
    wait(pid.cast_signed(), 0)
}

fn wait(pid: i32, options: i32) -> Result<Wait> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is writable for the length of the call.
        let reaped = unsafe { libc::waitpid(pid, &raw mut status, options) };
        match checked_pid(reaped) {
            Ok(0) => return Ok(Wait::Pending),
            Ok(pid) => return Ok(Wait::Reaped { pid, status }),
            Err(error) if error.raw_os_error() == Some(libc::ECHILD) => {
                return Ok(Wait::NoChildren);
            }
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Sets the command name of this thread: at most 15 bytes, any but NUL.
pub(crate) fn set_comm(comm: &[u8]) -> Result<()> {
    let name = CString::new(&comm[..comm.len().min(15)])?;
    // SAFETY: `name` ends with NUL and lives through the call.
    checked(unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) })
}

/// Whether the memory of this process may be dumped, which is whether its own user may read its
/// counters: `PR_SET_DUMPABLE` of prctl(2).
#[derive(Clone, Copy)]
pub(crate) enum Dumps {
    Forbidden,
    Allowed,
}

/// Hands this process's files in /proc to root, or back to its user.
pub(crate) fn set_dumps(dumps: Dumps) -> Result<()> {
    let is_dumpable: libc::c_ulong = match dumps {
        Dumps::Forbidden => 0,
        Dumps::Allowed => 1,
    };
    // SAFETY: PR_SET_DUMPABLE takes a number and no pointer.
    checked(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, is_dumpable, 0, 0, 0) })
}

/// Makes this process the one that orphaned descendants are handed to.
pub(crate) fn become_subreaper() -> Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) })
}

/// Has the kernel kill this process when its parent ends.
pub(crate) fn die_with_parent() -> Result<()> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })
}

/// Ignores SIGCHLD: from now on the kernel reaps the children of this process by itself.
pub(crate) fn ignore_children() -> Result<()> {
    // SAFETY: installs no handler of ours.
    let previous = unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    if previous == libc::SIG_ERR { Err(Error::last_os_error()) } else { Ok(()) }
}

/// Lets the user of this process have so many processes at one time, as far as this process and
/// its descendants are concerned: `RLIMIT_NPROC` of getrlimit(2), which does not hold for root.
pub(crate) fn limit_processes(count: u64) -> Result<()> {
    let limit = libc::rlimit { rlim_cur: count, rlim_max: count };
    // SAFETY: `limit` is readable for the length of the call.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NPROC, &raw const limit) })
}

/// Time since boot, suspended time included.
pub(crate) fn boottime() -> Duration {
    clock(libc::CLOCK_BOOTTIME)
}

/// Time since 1970-01-01T00:00:00Z.
pub(crate) fn realtime() -> Duration {
    clock(libc::CLOCK_REALTIME)
}

/// Bytes of a page of memory.
pub(crate) fn page_size() -> u64 {
    // SAFETY: takes no pointer.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096)
}

/// CPU time of the calling thread.
pub(crate) fn thread_cpu() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is writable for the length of the call.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Whose CPU time to ask for.
#[derive(Clone, Copy)]
pub(crate) enum Whose {
    /// All threads of this process.
    Own,
    /// The children it reaped, and what they had reaped.
    Reaped,
}

/// CPU time by getrusage(2), user and system together, in microseconds.
pub(crate) fn cpu_us(whose: Whose) -> u64 {
    let who = match whose {
        Whose::Own => libc::RUSAGE_SELF,
        Whose::Reaped => libc::RUSAGE_CHILDREN,
    };
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is writable for the length of the call.
    unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
    // SAFETY: all zero bytes are a valid rusage, and the call wrote nothing else.
    let usage = unsafe { usage.assume_init() };
    let sum = |time: libc::timeval| time.tv_sec * 1_000_000 + time.tv_usec;
    (sum(usage.ru_utime) + sum(usage.ru_stime)).cast_unsigned()
}

/// Bytes that the kernel says this thread sent to storage, `write_bytes` of its own
/// `io` in `proc_pid_io(5)`: without children and other threads.
pub(crate) fn thread_write_bytes() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/io")?;
    let value = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    value.and_then(|digits| digits.parse().ok()).ok_or_else(|| {
        Error::other("expected a line `write_bytes: N` in /proc/thread-self/io, but found none")
    })
}

/// When this process started, in clock ticks since boot: field 22 of `proc_pid_stat(5)`.
pub(crate) fn start_time_ticks() -> Result<u64> {
    let stat = std::fs::read("/proc/self/stat")?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(')').unwrap_or_default();
    // The first field behind the name is number 3.
    let field = rest.split_whitespace().nth(22 - 3);
    field
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| Error::other("expected a number in field 22 of /proc/self/stat"))
}

/// How many counters fit in a [`shared_counters`] mapping.
pub(crate) const COUNTERS: usize = 16;

/// Memory for counters that forks share and that survives an exec through its descriptor.
pub(crate) fn shared_memory() -> Result<OwnedFd> {
    // SAFETY: the name ends with NUL.
    let fd = unsafe { libc::memfd_create(c"truth".as_ptr(), 0) };
    checked(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    std::fs::File::from(fd.try_clone()?).set_len(COUNTERS as u64 * 8)?;
    Ok(fd)
}

/// Maps the counters behind a descriptor of [`shared_memory`]; they stay mapped for ever.
pub(crate) fn shared_counters(fd: BorrowedFd<'_>) -> Result<&'static [AtomicU64; COUNTERS]> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let length = COUNTERS * size_of::<AtomicU64>();
    let (null, fd) = (std::ptr::null_mut(), fd.as_raw_fd());
    // SAFETY: a new mapping at an address of the kernel's choice.
    let address = unsafe { libc::mmap(null, length, protection, libc::MAP_SHARED, fd, 0) };
    if address == libc::MAP_FAILED {
        return Err(Error::last_os_error());
    }
    // SAFETY: the mapping is page-aligned, long enough, never unmapped, and every
    // process that maps it uses atomics alone.
    Ok(unsafe { &*address.cast::<[AtomicU64; COUNTERS]>() })
}

/// Takes over a descriptor that this process inherited.
pub(crate) fn inherited(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: takes no pointer.
    checked(unsafe { libc::fcntl(fd, libc::F_GETFD) })?;
    // SAFETY: the descriptor is open, and the command line that named it names it once.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A pipe whose both ends survive an exec: read end, write end.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` is writable for the length of the call.
    checked(unsafe { libc::pipe2(ends.as_mut_ptr(), 0) })?;
    let [read, write] = ends;
    Ok((inherited(read)?, inherited(write)?))
}

/// Sleeps for so long, or until the other end of the pipe is closed everywhere.
pub(crate) fn sleep_unless_closed(pipe: RawFd, duration: Duration) -> Result<PipeState> {
    let end = boottime() + duration;
    loop {
        let left = end.saturating_sub(boottime());
        let mut poll = libc::pollfd { fd: pipe, events: 0, revents: 0 };
        let timeout = libc::timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mask = std::ptr::null();
        // SAFETY: one pollfd and one timespec, both alive through the call; no signal mask.
        let ready = unsafe { libc::ppoll(&raw mut poll, 1, &raw const timeout, mask) };
        match checked(ready) {
            Ok(()) if ready > 0 => return Ok(PipeState::Closed),
            Ok(()) => return Ok(PipeState::Open),
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Whether somebody still holds the other end of a pipe.
pub(crate) enum PipeState {
    Open,
    Closed,
}

/// Allows this process so many open descriptors.
pub(crate) fn allow_descriptors(count: u64) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable for the length of the call.
    checked(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) })?;
    limit.rlim_cur = limit.rlim_cur.max(count);
    limit.rlim_max = limit.rlim_max.max(count);
    // SAFETY: `limit` is readable for the length of the call.
    checked(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) })
}

/// The magic number of the filesystem that holds this path, statfs(2).
pub(crate) fn filesystem_magic(path: &std::path::Path) -> Result<i64> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut answer = std::mem::MaybeUninit::<libc::statfs>::zeroed();
    // SAFETY: `path` ends with NUL and `answer` is writable, both through the call.
    checked(unsafe { libc::statfs(path.as_ptr(), answer.as_mut_ptr()) })?;
    // SAFETY: the call succeeded, and all zero bytes were valid before.
    let answer = unsafe { answer.assume_init() };
    Ok(answer.f_type)
}

/// Writes over memory of this process that the kernel set up: its arguments and environment.
///
/// # Safety
/// `address` to `address + bytes.len()` is writable memory, and nothing reads the
/// arguments or the environment of this process afterwards.
pub(crate) unsafe fn overwrite(address: usize, bytes: &[u8]) {
    let target = std::ptr::with_exposed_provenance_mut::<u8>(address);
    // SAFETY: the caller's promise; `bytes` is memory of ours and does not overlap.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
}

/// Reserves address space without memory behind it: reads find zeros. Never unmapped.
pub(crate) fn reserve(bytes: u64) -> Result<u64> {
    let length = usize::try_from(bytes).map_err(|_| Error::from_raw_os_error(libc::ENOMEM))?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let null = std::ptr::null_mut();
    // SAFETY: a new mapping at an address of the kernel's choice.
    let address = unsafe { libc::mmap(null, length, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED {
        return Err(Error::last_os_error());
    }
    Ok(address.expose_provenance() as u64)
}

/// Where a process says its parts are, `struct prctl_mm_map` of the kernel's
/// `include/uapi/linux/prctl.h`.
#[repr(C)]
pub(crate) struct MemoryMap {
    pub(crate) start_code: u64,
    pub(crate) end_code: u64,
    pub(crate) start_data: u64,
    pub(crate) end_data: u64,
    pub(crate) start_brk: u64,
    pub(crate) brk: u64,
    pub(crate) start_stack: u64,
    pub(crate) arg_start: u64,
    pub(crate) arg_end: u64,
    pub(crate) env_start: u64,
    pub(crate) env_end: u64,
    pub(crate) auxv: u64,
    pub(crate) auxv_size: u32,
    pub(crate) exe_fd: u32,
}

/// The end of the heap, as brk(2) has it.
pub(crate) fn heap_end() -> u64 {
    // SAFETY: moves nothing.
    let end = unsafe { libc::sbrk(0) };
    end.expose_provenance() as u64
}

/// Tells the kernel where to find what `/proc/PID/cmdline` and `environ` show.
pub(crate) fn set_memory_map(map: &MemoryMap) -> Result<()> {
    let length = size_of::<MemoryMap>();
    let address = std::ptr::from_ref(map);
    // SAFETY: the structure is as long as it says and lives through the call. The kernel
    // uses these addresses for what it shows of this process, never to run it.
    let set = unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, address, length, 0) };
    checked(set)
}

/// Process accounting, acct(2), into a file of ours. Dropping it switches it off: of the whole
/// machine, whoever has switched it on before.
pub(crate) struct ProcessAccounting(());

impl ProcessAccounting {
    /// Has the kernel write an entry into this file for every process of the machine that ends.
    pub(crate) fn into_file(path: &std::path::Path) -> Result<Self> {
        let path = CString::new(path.as_os_str().as_encoded_bytes())?;
        // SAFETY: `path` ends with NUL and lives through the call.
        checked(unsafe { libc::acct(path.as_ptr()) })?;
        Ok(ProcessAccounting(()))
    }
}

impl Drop for ProcessAccounting {
    fn drop(&mut self) {
        // SAFETY: no file means to switch it off. Whoever could switch it on may do that.
        unsafe { libc::acct(std::ptr::null()) };
    }
}

/// Which calls of bpf(2) to refuse.
#[derive(Clone, Copy)]
pub(crate) enum BpfCalls {
    All,
    /// `BPF_PROG_LOAD` alone: maps can be made.
    ProgramLoads,
}

/// Has the kernel answer calls of bpf(2) with this errno, in this process and in whatever it
/// executes: the filter of a container, seccomp(2).
pub(crate) fn refuse_bpf(calls: BpfCalls, errno: u16) -> Result<()> {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    /// Offsets in `struct seccomp_data`: the number of the call, and the low half of its first
    /// argument, which is the command of bpf(2).
    const NUMBER: u32 = 0;
    const FIRST_ARGUMENT: u32 = if cfg!(target_endian = "big") { 20 } else { 16 };
    const BPF_PROG_LOAD: u32 = 5;
    let bpf = u32::try_from(libc::SYS_bpf).map_err(Error::other)?;
    let step = |code, k, jf| libc::sock_filter { code, jt: 0, jf, k };
    let command = match calls {
        BpfCalls::ProgramLoads => step(JUMP_IF_EQUAL, BPF_PROG_LOAD, 1),
        // Goes on with the next step either way.
        BpfCalls::All => step(JUMP_IF_EQUAL, BPF_PROG_LOAD, 0),
    };
    let mut filter = [
        step(LOAD_WORD, NUMBER, 0),
        step(JUMP_IF_EQUAL, bpf, 3),
        step(LOAD_WORD, FIRST_ARGUMENT, 0),
        command,
        step(RETURN, libc::SECCOMP_RET_ERRNO | u32::from(errno), 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let length = u16::try_from(filter.len()).map_err(Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers and no pointer.
    checked(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    let mode = libc::SECCOMP_MODE_FILTER;
    // SAFETY: the program and its steps are readable for the length of the call, which copies them.
    checked(unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) })
}

/// Sends a message to the netlink socket that has this port, netlink(7).
pub(crate) fn send_netlink(protocol: i32, port: u32, message: &[u8]) -> Result<()> {
    // SAFETY: takes no pointer.
    let fd =
        unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    checked(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: all zero bytes are a valid address.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = u16::try_from(libc::AF_NETLINK).map_err(Error::other)?;
    address.nl_pid = port;
    let length = u32::try_from(size_of::<libc::sockaddr_nl>()).map_err(Error::other)?;
    // SAFETY: message and address are readable for the length of the call, as long as they say.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            message.as_ptr().cast(),
            message.len(),
            0,
            (&raw const address).cast(),
            length,
        )
    };
    if sent < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn checked(returned: i32) -> Result<()> {
    if returned < 0 { Err(Error::last_os_error()) } else { Ok(()) }
}

fn checked_pid(returned: libc::pid_t) -> Result<u32> {
    u32::try_from(returned).map_err(|_| Error::last_os_error())
}
