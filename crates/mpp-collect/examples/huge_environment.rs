//! A process that has told the kernel that its command line and its environment are 2 GiB large.
//!
//! ```text
//! huge_environment        prints its PID, and stays until stdin ends
//! ```
//!
//! It takes no privilege: prctl(2), `PR_SET_MM_MAP`. The pages are all the same page of zeros, so
//! the process itself stays small, but whoever reads its `environ` whole gets 2 GiB.
//!
//! Exit status: 0 when stdin ended, 3 where the kernel does not allow it, with the reason.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "printing is what it is for")]

use std::io::{self, Read, Write};
use std::process::ExitCode;

/// How large both claim to be.
const CLAIMED_BYTES: usize = 2 << 30;

/// `struct prctl_mm_map`, `include/uapi/linux/prctl.h`.
#[repr(C)]
struct MemoryMap {
    start_code: u64,
    end_code: u64,
    start_data: u64,
    end_data: u64,
    start_brk: u64,
    brk: u64,
    start_stack: u64,
    arg_start: u64,
    arg_end: u64,
    env_start: u64,
    env_end: u64,
    auxv: *const u64,
    auxv_size: u32,
    exe_fd: u32,
}

fn main() -> ExitCode {
    match claim().and_then(|()| stay()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot build a process with a huge environment: {error}");
            ExitCode::from(3)
        }
    }
}

fn stay() -> io::Result<()> {
    println!("{}", std::process::id());
    io::stdout().flush()?;
    io::stdin().read_to_end(&mut Vec::new()).map(|_| ())
}

fn claim() -> io::Result<()> {
    let start = reserve()?;
    let end = start + CLAIMED_BYTES as u64;
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // From field 3 on, after the name, proc_pid_stat(5).
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let fields: Vec<u64> = after_name
        .split_ascii_whitespace()
        .map(|field| field.parse().unwrap_or_default())
        .collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or_default();
    // SAFETY: asked to move by nothing, sbrk(3) only says where the heap ends.
    let brk = unsafe { libc::sbrk(0) } as u64;
    let map = MemoryMap {
        start_code: field(26),
        end_code: field(27),
        start_data: field(45),
        end_data: field(46),
        start_brk: field(47),
        brk,
        start_stack: field(28),
        arg_start: start,
        arg_end: end,
        env_start: start,
        env_end: end,
        auxv: std::ptr::null(),
        auxv_size: 0,
        exe_fd: u32::MAX,
    };
    let size = size_of::<MemoryMap>();
    // SAFETY: the kernel reads the record, checks it, and touches no memory of ours.
    let code =
        unsafe { libc::prctl(libc::PR_SET_MM, libc::PR_SET_MM_MAP, &raw const map, size, 0) };
    if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Address space without memory.
fn reserve() -> io::Result<u64> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    let null = std::ptr::null_mut();
    // SAFETY: a new mapping, where the kernel likes, takes nothing from anyone.
    let address = unsafe { libc::mmap(null, CLAIMED_BYTES, libc::PROT_READ, flags, -1, 0) };
    if address == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(address as u64) }
}
