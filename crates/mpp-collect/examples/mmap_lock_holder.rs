//! A process whose mmap lock is held for ever: reading its `cmdline`, `environ` or
//! `smaps_rollup` blocks until one of the two is killed.
//!
//! ```text
//! mmap_lock_holder [NAME]     prints the PID of the process, and keeps it until stdin ends
//! ```
//!
//! This program is a file system of one file (raw FUSE, no mount point) and its child is the
//! process that suffers. The child maps the file and touches a page. The first read of that page
//! is answered with an error: the kernel then tries the fault a second time, and the second time
//! it keeps the mmap lock for reading while it waits (`mm/filemap.c`, `filemap_fault`;
//! `FAULT_FLAG_TRIED`). The second read is never answered. A second thread of the child then calls
//! mmap(2) and waits for the lock as a writer, and a waiting writer keeps out every later reader
//! (`kernel/locking/rwsem.c`): that is what hangs ps(1).
//!
//! Exit status: 0 when stdin ended, 3 where the kernel or a missing privilege does not allow it
//! (CAP_SYS_ADMIN and `/dev/fuse` are needed), with the reason on stderr.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what it is for")]

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

/// The kernel's numbers of the requests that must be answered, `include/uapi/linux/fuse.h`.
mod opcode {
    pub(super) const GETATTR: u32 = 3;
    pub(super) const OPEN: u32 = 14;
    pub(super) const READ: u32 = 15;
    pub(super) const INIT: u32 = 26;
    /// Requests to which no answer may be written.
    pub(super) const WITHOUT_ANSWER: [u32; 3] = [2, 36, 42];
}

/// A page, and the whole of the file.
const FILE_BYTES: usize = 4096;

fn main() -> ExitCode {
    let name = std::env::args().nth(1);
    match hold(name.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot build a process that holds its mmap lock: {error}");
            ExitCode::from(3)
        }
    }
}

fn hold(name: Option<&str>) -> io::Result<()> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
    let mount = mount(&device)?;
    let (go_reader, go_writer) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: this process has one thread, so the child's copy of its memory is whole.
    let forked = unsafe { libc::fork() };
    if forked == 0 {
        drop(go_writer);
        suffer(device, &mount, go_reader, name);
    }
    let victim =
        Pid::from_raw(forked).filter(|_| forked > 0).ok_or_else(io::Error::last_os_error)?;
    drop(mount);
    let served = serve(device, &go_writer, victim);
    // The device is closed by now, which ends every request that waits for an answer.
    kill_process(victim, Signal::KILL)?;
    waitpid(Some(victim), WaitOptions::empty())?;
    served
}

/// Makes the file system; nothing is mounted anywhere, the descriptor alone keeps it.
fn mount(device: &File) -> io::Result<OwnedFd> {
    const SET_STRING: libc::c_long = 1;
    const CREATE: libc::c_long = 6;
    // SAFETY: fsopen(2) takes a C string and returns a descriptor or -1.
    let context = descriptor(unsafe { libc::syscall(libc::SYS_fsopen, c"fuse".as_ptr(), 1) })?;
    let fd = format!("{}\0", device.as_raw_fd());
    let options = [("fd\0", fd.as_str()), ("rootmode\0", "100444\0"), ("user_id\0", "0\0")];
    for (key, value) in options.into_iter().chain([("group_id\0", "0\0")]) {
        let (fd, key, value) = (context.as_raw_fd(), key.as_ptr(), value.as_ptr());
        // SAFETY: key and value are strings that end with NUL and outlive the call.
        check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, SET_STRING, key, value, 0) })?;
    }
    let null = std::ptr::null::<u8>();
    let fd = context.as_raw_fd();
    // SAFETY: the command to create takes neither key nor value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, CREATE, null, null, 0) })?;
    // SAFETY: fsmount(2) takes a descriptor and flags and returns a descriptor or -1.
    descriptor(unsafe { libc::syscall(libc::SYS_fsmount, fd, 1, 0) })
}

fn check(returned: libc::c_long) -> io::Result<libc::c_long> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

fn descriptor(returned: libc::c_long) -> io::Result<OwnedFd> {
    let number = i32::try_from(check(returned)?).map_err(io::Error::other)?;
    // SAFETY: the kernel has just returned this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The child: one thread takes the fault, another waits for the lock as a writer.
fn suffer(device: File, mount: &OwnedFd, go: OwnedFd, name: Option<&str>) -> ! {
    // Held here too, the device would outlive the server, and the fault with it.
    drop(device);
    let outcome = rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(io::Error::from)
        .and_then(|()| name_process(name))
        .and_then(|()| fault(mount, go));
    eprintln!("the fault returned: {outcome:?}");
    // SAFETY: _exit(2) takes any status and does not return.
    unsafe { libc::_exit(3) }
}

fn name_process(name: Option<&str>) -> io::Result<()> {
    let Some(name) = name else { return Ok(()) };
    let name = std::ffi::CString::new(name)?;
    Ok(rustix::thread::set_name(&name)?)
}

fn fault(mount: &OwnedFd, go: OwnedFd) -> io::Result<()> {
    let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    let file = File::open(path)?;
    // The kernel asks for the size only now; a page beyond the end would be a SIGBUS.
    file.metadata()?;
    std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
        if File::from(go).read(&mut [0]).is_ok_and(|count| count == 1) {
            let _ = map(libc::PROT_READ | libc::PROT_WRITE, libc::MAP_ANONYMOUS, -1);
        }
    })?;
    let page = map(libc::PROT_READ, 0, file.as_raw_fd())?;
    // SAFETY: the mapping is whole and ours; advice changes no contents.
    unsafe { libc::madvise(page.cast(), FILE_BYTES, libc::MADV_RANDOM) };
    // SAFETY: the page is mapped for reading; the read never returns, which is the point.
    let byte = unsafe { page.read_volatile() };
    Err(io::Error::other(format!("read {byte}")))
}

fn map(protection: i32, flags: i32, fd: i32) -> io::Result<*mut u8> {
    let (null, flags) = (std::ptr::null_mut(), flags | libc::MAP_PRIVATE);
    // SAFETY: a new mapping, where the kernel likes, takes nothing from anyone.
    let address = unsafe { libc::mmap(null, FILE_BYTES, protection, flags, fd, 0) };
    if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address.cast()) }
}

/// Answers the kernel until the lock is held and stdin ends.
fn serve(mut device: File, go: &OwnedFd, victim: Pid) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut reads = 0;
    loop {
        let stdin = io::stdin();
        let mut ready = [PollFd::new(&device, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
        poll(&mut ready, None)?;
        let [from_kernel, from_user] = ready.map(|fd| !fd.revents().is_empty());
        if from_user && stdin.lock().read(&mut [0; 64])? == 0 {
            return Ok(());
        }
        if !from_kernel {
            continue;
        }
        let length = device.read(&mut buffer)?;
        let request = Request::parse(buffer.get(..length).unwrap_or_default())?;
        reads += u32::from(request.opcode == opcode::READ);
        if request.opcode == opcode::READ && reads > 1 {
            rustix::io::write(go, &[1])?;
            wait_for_writer(victim)?;
            println!("{}", victim.as_raw_nonzero());
            io::stdout().flush()?;
        } else if !opcode::WITHOUT_ANSWER.contains(&request.opcode) {
            device.write_all(&answer(&request))?;
        }
    }
}

/// What the head of a request says, `struct fuse_in_header`.
struct Request {
    opcode: u32,
    unique: u64,
}

impl Request {
    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let (Some(opcode), Some(unique)) = (bytes.get(4..8), bytes.get(8..16)) else {
            return Err(io::Error::other("a request of the kernel is too short"));
        };
        let opcode = u32::from_ne_bytes(opcode.try_into().map_err(io::Error::other)?);
        let unique = u64::from_ne_bytes(unique.try_into().map_err(io::Error::other)?);
        Ok(Request { opcode, unique })
    }
}

/// The whole answer to a request: `struct fuse_out_header` and what follows it.
fn answer(request: &Request) -> Vec<u8> {
    let (error, body) = match request.opcode {
        opcode::INIT => (0, init()),
        opcode::GETATTR => (0, attributes()),
        opcode::OPEN => (0, vec![0; 16]),
        opcode::READ => (-libc::EIO, Vec::new()),
        _ => (-libc::ENOSYS, Vec::new()),
    };
    let length = u32::try_from(16 + body.len()).unwrap_or(16);
    let mut answer = Vec::with_capacity(16 + body.len());
    answer.extend_from_slice(&length.to_ne_bytes());
    answer.extend_from_slice(&error.to_ne_bytes());
    answer.extend_from_slice(&request.unique.to_ne_bytes());
    answer.extend_from_slice(&body);
    answer
}

/// `struct fuse_init_out` of protocol 7.31 without a single option.
fn init() -> Vec<u8> {
    let mut body = vec![0; 64];
    body[0..4].copy_from_slice(&7u32.to_ne_bytes());
    body[4..8].copy_from_slice(&31u32.to_ne_bytes());
    body[20..24].copy_from_slice(&4096u32.to_ne_bytes());
    body
}

/// `struct fuse_attr_out` of a regular file of one page.
fn attributes() -> Vec<u8> {
    let mut body = vec![0; 104];
    body[16..24].copy_from_slice(&1u64.to_ne_bytes());
    body[24..32].copy_from_slice(&(FILE_BYTES as u64).to_ne_bytes());
    body[32..40].copy_from_slice(&8u64.to_ne_bytes());
    body[76..80].copy_from_slice(&(libc::S_IFREG | 0o444).to_ne_bytes());
    body[80..84].copy_from_slice(&1u32.to_ne_bytes());
    body
}

/// Waits until the child's second thread waits for the lock: only then do readers block.
fn wait_for_writer(victim: Pid) -> io::Result<()> {
    let tasks = format!("/proc/{}/task", victim.as_raw_nonzero());
    loop {
        for task in std::fs::read_dir(&tasks)? {
            let stat = std::fs::read(task?.path().join("stat"))?;
            if is_blocked_writer(&stat) {
                return Ok(());
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_blocked_writer(stat: &[u8]) -> bool {
    const WRITER: &CStr = c"(writer) D ";
    stat.windows(WRITER.count_bytes()).any(|window| window == WRITER.to_bytes())
}
