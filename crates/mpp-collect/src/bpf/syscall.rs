//! The system call bpf(2), as far as the loader and the readers need it.
//!
//! One structure a command, laid out as in `include/uapi/linux/bpf.h`; a kernel that knows
//! longer ones takes the rest for zero. The trap: of a map's keys and values the kernel reads and
//! writes as many bytes as the map was made for, whatever our buffers hold; so a [`Map`] asks
//! the kernel for its sizes once, and holds every buffer against them.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::Errno;

use crate::sys;

const MAP_CREATE: libc::c_int = 0;
const MAP_LOOKUP: libc::c_int = 1;
const MAP_UPDATE: libc::c_int = 2;
const PROG_LOAD: libc::c_int = 5;
const PROG_RUN: libc::c_int = 10;
const OBJECT_INFO: libc::c_int = 15;
const RAW_TRACEPOINT_OPEN: libc::c_int = 17;
const MAP_LOOKUP_AND_DELETE_BATCH: libc::c_int = 25;
const LINK_CREATE: libc::c_int = 28;
const ITER_CREATE: libc::c_int = 33;

const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_SYSCALL: u32 = 31;
const PROG_SLEEPABLE: u32 = 1 << 4;
const ATTACH_ITER: u32 = 28;
/// The verifier gives up with EAGAIN when a signal comes; the next one is rarely as unlucky.
const LOAD_TRIES: usize = 5;
/// Entries taken out of a map in one call.
const BATCH: usize = 256;
/// Bytes of an instruction.
const INSTRUCTION: usize = 8;

#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct MapBatch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    core_relo_cnt: u32,
    fd_array: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
}

#[repr(C)]
#[derive(Default)]
struct ObjectInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct RawTracepoint {
    name: u64,
    prog_fd: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
    iter_info: u64,
    iter_info_len: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// Words of `struct bpf_link_info` up to what depends on its kind.
const LINK_INFO_WORDS: usize = 4;
/// Words of `struct bpf_prog_info` up to `recursion_misses`, which is the last two.
const PROG_INFO_WORDS: usize = 54;

/// Makes the call.
///
/// # Safety
/// Every address in `attribute` must be 0, or that of as many bytes as the command reads or
/// writes there, which live until it returns.
unsafe fn bpf<A>(command: libc::c_int, attribute: &mut A) -> Result<u32, Errno> {
    let attribute: *mut A = attribute;
    sys::retrying(|| {
        // SAFETY: the attribute is as long as is said; for what it points to the caller vouches.
        let returned = unsafe { libc::syscall(libc::SYS_bpf, command, attribute, size_of::<A>()) };
        u32::try_from(returned).map_err(|_| {
            Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
        })
    })
}

/// The descriptor that a command has just returned, which nobody else owns yet.
fn owned(returned: u32) -> Result<OwnedFd, Errno> {
    let fd = RawFd::try_from(returned).map_err(|_| Errno::BADF)?;
    // SAFETY: the kernel has just made it for us, and this is the only place that takes it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor as the commands want it.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn address<T>(of: &[T]) -> u64 {
    of.as_ptr().expose_provenance() as u64
}

fn address_mut<T>(of: &mut [T]) -> u64 {
    of.as_mut_ptr().expose_provenance() as u64
}

fn length<T>(of: &[T]) -> Result<u32, Errno> {
    u32::try_from(of.len()).map_err(|_| Errno::TOOBIG)
}

/// A name as the kernel stores it, cut where it is too long.
fn name16(name: &[u8]) -> [u8; 16] {
    let mut stored = [0; 16];
    for (to, from) in stored.iter_mut().take(15).zip(name) {
        *to = *from;
    }
    stored
}

/// A map, with the sizes of what is in it.
#[derive(Debug)]
pub(super) struct Map {
    fd: OwnedFd,
    key_size: usize,
    value_size: usize,
    max_entries: u32,
}

impl Map {
    /// A map that a program has made for us.
    pub(super) fn adopt(fd: OwnedFd) -> Result<Self, Errno> {
        // The beginning of `struct bpf_map_info`.
        let mut words = [0; 5];
        describe(fd.as_fd(), &mut words)?;
        let [_type, _id, key_size, value_size, max_entries] = words;
        let size = |number| usize::try_from(number).map_err(|_| Errno::TOOBIG);
        Ok(Map { fd, key_size: size(key_size)?, value_size: size(value_size)?, max_entries })
    }

    /// The descriptor alone, for a map that is read by mapping it.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// A map with one element of so many bytes.
    pub(super) fn of_one(name: &[u8], value_size: u32) -> Result<Self, Errno> {
        let mut attribute = MapCreate {
            map_type: MAP_TYPE_ARRAY,
            key_size: 4,
            value_size,
            max_entries: 1,
            map_name: name16(name),
            ..MapCreate::default()
        };
        // SAFETY: there is no address in it.
        let fd = owned(unsafe { bpf(MAP_CREATE, &mut attribute) }?)?;
        Map::adopt(fd)
    }

    /// How many elements it has room for; of a ring, bytes.
    pub(super) fn max_entries(&self) -> u32 {
        self.max_entries
    }

    /// Sets the element with this number.
    pub(super) fn set(&self, index: u32, value: &[u8]) -> Result<(), Errno> {
        if self.key_size != size_of::<u32>() || value.len() != self.value_size {
            return Err(Errno::INVAL);
        }
        let key = [index];
        let mut attribute = MapElement {
            map_fd: number(self.fd.as_fd()),
            key: address(&key),
            value: address(value),
            ..MapElement::default()
        };
        // SAFETY: key and value are as long as the map's are, and are only read.
        unsafe { bpf(MAP_UPDATE, &mut attribute) }.map(drop)
    }

    /// Reads the element with this number.
    pub(super) fn read(&self, index: u32, value: &mut [u8]) -> Result<(), Errno> {
        if self.key_size != size_of::<u32>() || value.len() != self.value_size {
            return Err(Errno::INVAL);
        }
        let key = [index];
        let mut attribute = MapElement {
            map_fd: number(self.fd.as_fd()),
            key: address(&key),
            value: address_mut(value),
            ..MapElement::default()
        };
        // SAFETY: key and value are as long as the map's are.
        unsafe { bpf(MAP_LOOKUP, &mut attribute) }.map(drop)
    }

    /// Takes every element out of a hash map and hands out key and value.
    pub(super) fn take_all(&self, mut each: impl FnMut(&[u8], &[u8])) -> Result<(), Errno> {
        let (mut keys, mut values) =
            (vec![0; BATCH * self.key_size], vec![0; BATCH * self.value_size]);
        loop {
            // Taken elements are gone, so each batch begins at the beginning.
            let mut place = [0_u64];
            let mut attribute = MapBatch {
                out_batch: address_mut(&mut place),
                keys: address_mut(&mut keys),
                values: address_mut(&mut values),
                count: u32::try_from(BATCH).unwrap_or(u32::MAX),
                map_fd: number(self.fd.as_fd()),
                ..MapBatch::default()
            };
            // SAFETY: there is room for as many keys and values as are asked for, and eight bytes
            // for the place, of which the kernel uses four.
            let outcome = unsafe { bpf(MAP_LOOKUP_AND_DELETE_BATCH, &mut attribute) };
            let count = usize::try_from(attribute.count).unwrap_or(0).min(BATCH);
            let taken = match outcome {
                Ok(_) | Err(Errno::NOENT) => count,
                Err(errno) => return Err(errno),
            };
            let keys = keys.chunks_exact(self.key_size.max(1));
            for (key, value) in keys.zip(values.chunks_exact(self.value_size.max(1))).take(taken) {
                each(key, value);
            }
            if outcome.is_err() {
                return Ok(());
            }
        }
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Fills the description of a map or program, as far as there is room.
fn describe(fd: BorrowedFd<'_>, words: &mut [u32]) -> Result<(), Errno> {
    let mut attribute = ObjectInfo {
        bpf_fd: number(fd),
        info_len: length(words)?.saturating_mul(4),
        info: address_mut(words),
    };
    // SAFETY: the kernel writes at most as many bytes as are said to be there.
    unsafe { bpf(OBJECT_INFO, &mut attribute) }.map(drop)
}

/// Whether a descriptor is still what keeps a program running: of what is none of BPF's there is
/// no description.
pub(super) fn is_link(link: BorrowedFd<'_>) -> Result<(), Errno> {
    describe(link, &mut [0; LINK_INFO_WORDS])
}

/// Loads a program that makes system calls: the one that loads the others. `map` is the only
/// map that it knows.
pub(super) fn load_loader(instructions: &[u8], map: &Map) -> Result<OwnedFd, Errno> {
    let maps = [number(map.as_fd())];
    let license = c"Dual BSD/GPL".to_bytes_with_nul();
    let mut tries = LOAD_TRIES;
    loop {
        let mut attribute = ProgLoad {
            prog_type: PROG_TYPE_SYSCALL,
            insn_cnt: length(instructions)? / u32::try_from(INSTRUCTION).unwrap_or(u32::MAX),
            insns: address(instructions),
            license: address(license),
            prog_flags: PROG_SLEEPABLE,
            prog_name: name16(b"mpp_loader"),
            fd_array: address(&maps),
            ..ProgLoad::default()
        };
        tries = tries.saturating_sub(1);
        // SAFETY: the instructions are as many as are said, the license ends with a NUL, the
        // array has the one descriptor that the instructions name, and all are only read.
        match unsafe { bpf(PROG_LOAD, &mut attribute) } {
            Err(Errno::AGAIN) if tries > 0 => {}
            outcome => return owned(outcome?),
        }
    }
}

/// Runs a program that makes system calls, on a context that it reads and changes; returns what
/// it returned.
pub(super) fn run(program: BorrowedFd<'_>, context: &mut [u8]) -> Result<i32, Errno> {
    let mut attribute = ProgRun {
        prog_fd: number(program),
        ctx_size_in: length(context)?,
        ctx_in: address_mut(context),
        ..ProgRun::default()
    };
    // SAFETY: the kernel copies the context in and back, as many bytes as are said to be there.
    // What addresses in it point to is for the caller, see `Skeleton::load`.
    unsafe { bpf(PROG_RUN, &mut attribute) }?;
    Ok(attribute.retval.cast_signed())
}

/// Lets a program run at the tracepoint that it was made for, for as long as the descriptor lives.
pub(super) fn attach_to_tracepoint(program: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut attribute = RawTracepoint { prog_fd: number(program), ..RawTracepoint::default() };
    // SAFETY: there is no address in it.
    owned(unsafe { bpf(RAW_TRACEPOINT_OPEN, &mut attribute) }?)
}

/// Makes an iterator of a program, to be begun as often as wanted.
pub(super) fn link_iterator(program: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut attribute =
        LinkCreate { prog_fd: number(program), attach_type: ATTACH_ITER, ..LinkCreate::default() };
    // SAFETY: there is no address in it.
    owned(unsafe { bpf(LINK_CREATE, &mut attribute) }?)
}

/// As [`link_iterator`], over the threads of one process. Since Linux 6.1.
pub(super) fn link_iterator_of(program: BorrowedFd<'_>, pid: u32) -> Result<OwnedFd, Errno> {
    // `union bpf_iter_link_info`: of which thread, of which process.
    let of = [0, pid, 0, 0];
    let mut attribute = LinkCreate {
        prog_fd: number(program),
        attach_type: ATTACH_ITER,
        iter_info: address(&of),
        iter_info_len: 16,
        ..LinkCreate::default()
    };
    // SAFETY: there are as many bytes as are said, which are only read.
    owned(unsafe { bpf(LINK_CREATE, &mut attribute) }?)
}

/// Begins an iteration; what the program writes is read from the descriptor until its end.
pub(super) fn begin_iteration(link: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let mut attribute = IterCreate { link_fd: number(link), ..IterCreate::default() };
    // SAFETY: there is no address in it.
    owned(unsafe { bpf(ITER_CREATE, &mut attribute) }?)
}

/// How often a program was not run because it, or another task in it, had been interrupted on
/// the same CPU.
pub(super) fn recursion_misses(program: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut words = [0_u32; PROG_INFO_WORDS];
    describe(program, &mut words)?;
    let [.., first, second] = words.map(u32::to_ne_bytes);
    let mut misses = [0; 8];
    let (left, right) = misses.split_at_mut(4);
    left.copy_from_slice(&first);
    right.copy_from_slice(&second);
    Ok(u64::from_ne_bytes(misses))
}

/// Whether there is a program with this number.
#[cfg(test)]
pub(super) fn program_exists(id: u32) -> Result<bool, Errno> {
    const PROG_BY_ID: libc::c_int = 13;
    let mut attribute = [id, 0, 0];
    // SAFETY: there is no address in it.
    match unsafe { bpf(PROG_BY_ID, &mut attribute) } {
        Ok(fd) => owned(fd).map(|_| true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}
