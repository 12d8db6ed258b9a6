//! Folders and files of a procfs: listing, opening and reading them with as few system
//! calls as there can be, proc(5).
//!
//! The traps: a procfs file has no size, so it is read until nothing more comes; a
//! folder of a process stays the folder of that process when its PID is given to the
//! next one, a path does not; and nothing is opened in a way that could wait for
//! somebody, even where a frozen tree holds a named pipe.

use std::ffi::CStr;
use std::mem::MaybeUninit;

use mpp_accounting::process::Absence;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, RawDir, Stat};
use rustix::io::{Errno, Result};

use crate::error::absence_of;
use crate::sys;

/// Most bytes read of any file but environ, cmdline and mountinfo.
const FILE_BYTES_MAX: usize = 64 * 1024;
/// Most bytes read of a list of children: more processes than a machine can have.
const CHILDREN_BYTES_MAX: usize = 8 * 4_194_304;
/// Bytes of a number in such a list, and of the blank behind it.
const CHILD_BYTES_MAX: usize = 11;
/// Enough for every file of an ordinary process, so that the buffer seldom grows.
const FILE_BYTES_USUAL: usize = 4096;
/// Room for the names of a few hundred entries per system call.
const LISTING_BYTES: usize = 32 * 1024;

/// Opens a folder just to reach what is inside it.
pub(crate) fn open_folder(at: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    sys::retrying(|| rustix::fs::openat(at.as_fd(), name, flags, Mode::empty()))
}

/// Opens a folder to list it.
pub(crate) fn open_listing(at: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    sys::retrying(|| rustix::fs::openat(at.as_fd(), name, flags, Mode::empty()))
}

/// Opens a file to read it, waiting for nobody.
pub(crate) fn open_file(at: impl AsFd, name: &CStr) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    sys::retrying(|| rustix::fs::openat(at.as_fd(), name, flags, Mode::empty()))
}

/// Reads one byte of an open file from its beginning, for whether it can be read.
pub(crate) fn read_byte(file: BorrowedFd<'_>) -> Result<()> {
    let mut byte = [0];
    sys::retrying(|| rustix::io::pread(file, &mut byte, 0)).map(|_| ())
}

/// What stat(2) says of an open folder or file.
pub(crate) fn status_of(of: impl AsFd) -> Result<Stat> {
    sys::retrying(|| rustix::fs::fstat(of.as_fd()))
}

/// What stat(2) says of a file in a folder.
pub(crate) fn status_at(at: impl AsFd, name: &CStr) -> Result<Stat> {
    sys::retrying(|| rustix::fs::statat(at.as_fd(), name, AtFlags::empty()))
}

/// Where a symbolic link in a folder points to.
pub(crate) fn link_target(at: impl AsFd, name: &CStr, room: &mut Room) -> Result<Box<[u8]>> {
    room.grow_to(FILE_BYTES_USUAL);
    let bytes = &mut room.bytes[..];
    let length = sys::retrying(|| rustix::fs::readlinkat_raw(at.as_fd(), name, &mut *bytes))?;
    if length == room.bytes.len() {
        return Err(Errno::NAMETOOLONG);
    }
    Ok(Box::from(&room.bytes[..length]))
}

/// A buffer that every small file is read into, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Room {
    bytes: Vec<u8>,
}

impl Room {
    /// Opens a file in a folder and reads all of it.
    pub(crate) fn read(&mut self, at: impl AsFd, name: &CStr) -> FileResult<&[u8]> {
        self.read_large(at, name, FILE_BYTES_MAX)
    }

    /// Opens a file in a folder and reads it until it ends with a line feed and has so many
    /// lines, or nothing more comes: mostly that is one system call instead of two.
    pub(crate) fn read_lines(
        &mut self,
        at: impl AsFd,
        name: &CStr,
        lines: usize,
    ) -> FileResult<&[u8]> {
        let file = open_file(at, name)?;
        self.read_open_lines(file.as_fd(), lines)
    }

    /// As [`Room::read_lines`], of an open file from its beginning, wherever it stands.
    pub(crate) fn read_open_lines(
        &mut self,
        file: BorrowedFd<'_>,
        lines: usize,
    ) -> FileResult<&[u8]> {
        let length = self.fill(file, FILE_BYTES_MAX, |bytes| {
            bytes.last() == Some(&b'\n')
                && (lines <= 1 || bytes.iter().filter(|byte| **byte == b'\n').count() >= lines)
        })?;
        self.up_to(length, FILE_BYTES_MAX)
    }

    /// Opens a file in a folder and reads all of it, unless it is larger than `max_bytes`.
    pub(crate) fn read_large(
        &mut self,
        at: impl AsFd,
        name: &CStr,
        max_bytes: usize,
    ) -> FileResult<&[u8]> {
        let file = open_file(at, name)?;
        self.read_up_to(file.as_fd(), max_bytes)
    }

    /// Opens a file in a folder and reads its first `max_bytes` bytes; says whether more follow.
    pub(crate) fn read_beginning(
        &mut self,
        at: impl AsFd,
        name: &CStr,
        max_bytes: usize,
    ) -> FileResult<(&[u8], bool)> {
        let file = open_file(at, name)?;
        let length = self.fill(file.as_fd(), max_bytes, |_| false)?;
        Ok((&self.bytes[..length.min(max_bytes)], length > max_bytes))
    }

    /// As [`Room::read_beginning`], of a file that holds strings, each with a NUL at its end: mostly
    /// that is one system call instead of two. The kernel hands out fewer bytes than there is room
    /// for only at the end, `get_mm_cmdline` and `environ_read` of `fs/proc/base.c`.
    pub(crate) fn read_strings(
        &mut self,
        at: impl AsFd,
        name: &CStr,
        max_bytes: usize,
    ) -> FileResult<(&[u8], bool)> {
        let file = open_file(at, name)?;
        let length = self.fill(file.as_fd(), max_bytes, |bytes| bytes.last() == Some(&0))?;
        Ok((&self.bytes[..length.min(max_bytes)], length > max_bytes))
    }

    /// Reads a list of children, which may be longer than any other file.
    pub(crate) fn read_children(&mut self, file: impl AsFd) -> FileResult<&[u8]> {
        // The kernel fills a page with whole numbers as long as there are any, `seq_read_iter`.
        let is_whole = |bytes: &[u8]| bytes.len() + CHILD_BYTES_MAX < FILE_BYTES_USUAL;
        let length = self.fill(file.as_fd(), CHILDREN_BYTES_MAX, is_whole)?;
        self.up_to(length, CHILDREN_BYTES_MAX)
    }

    fn read_up_to(&mut self, file: BorrowedFd<'_>, max_bytes: usize) -> FileResult<&[u8]> {
        let length = self.fill(file, max_bytes, |_| false)?;
        self.up_to(length, max_bytes)
    }

    fn up_to(&self, length: usize, max_bytes: usize) -> FileResult<&[u8]> {
        if length > max_bytes { Err(FileError::TooLarge) } else { Ok(&self.bytes[..length]) }
    }

    /// Reads until nothing more comes, more than `max_bytes` have come, or it is whole; where
    /// there was no room for more, it may not be.
    fn fill(
        &mut self,
        file: BorrowedFd<'_>,
        max_bytes: usize,
        is_whole: impl Fn(&[u8]) -> bool,
    ) -> FileResult<usize> {
        let mut length = 0;
        self.grow_to(FILE_BYTES_USUAL);
        loop {
            let offset = length as u64;
            let free = &mut self.bytes[length..];
            let count = sys::retrying(|| rustix::io::pread(file, &mut *free, offset))?;
            length += count;
            let is_full = length == self.bytes.len();
            if count == 0 || length > max_bytes || (!is_full && is_whole(&self.bytes[..length])) {
                return Ok(length);
            }
            if is_full {
                self.grow_to((length * 4).min(max_bytes + 1));
            }
        }
    }

    fn grow_to(&mut self, length: usize) {
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        }
    }
}

/// What came of reading a file.
pub(crate) type FileResult<T> = std::result::Result<T, FileError>;

/// Why a file could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileError {
    /// A system call failed.
    System(Errno),
    /// It holds more than we are willing to read.
    TooLarge,
}

impl FileError {
    /// Why the reading has no value.
    pub(crate) fn absence(self) -> Absence {
        match self {
            FileError::System(errno) => absence_of(errno),
            FileError::TooLarge => Absence::TooLarge,
        }
    }
}

impl From<Errno> for FileError {
    fn from(errno: Errno) -> Self {
        FileError::System(errno)
    }
}

/// A buffer that folders are listed into.
#[derive(Debug)]
pub(crate) struct Listing {
    room: Vec<MaybeUninit<u8>>,
}

impl Listing {
    /// A buffer for a few hundred names at a time; it never grows.
    pub(crate) fn new() -> Self {
        Listing { room: vec![MaybeUninit::uninit(); LISTING_BYTES] }
    }

    /// Replaces `numbers` with the names in the folder that are numbers, as PIDs and TIDs
    /// are, ascending.
    pub(crate) fn numbers(&mut self, folder: impl AsFd, numbers: &mut Vec<u32>) -> Result<()> {
        numbers.clear();
        self.names(folder, |name| numbers.extend(number(name)))?;
        if !numbers.is_sorted() {
            numbers.sort_unstable();
        }
        Ok(())
    }

    /// As [`Listing::numbers`], with the inode number of each in the same place of `inodes`.
    pub(crate) fn numbered(
        &mut self,
        folder: impl AsFd,
        numbers: &mut Vec<u32>,
        inodes: &mut Vec<u64>,
    ) -> Result<()> {
        numbers.clear();
        inodes.clear();
        self.entries(folder, |name, inode| {
            if let Some(number) = number(name) {
                numbers.push(number);
                inodes.push(inode);
            }
        })?;
        if !numbers.is_sorted() {
            let mut pairs: Vec<_> = numbers.drain(..).zip(inodes.drain(..)).collect();
            pairs.sort_unstable();
            (*numbers, *inodes) = pairs.into_iter().unzip();
        }
        Ok(())
    }

    /// How many entries the folder holds, its own two links not among them.
    pub(crate) fn count(&mut self, folder: impl AsFd) -> Result<u64> {
        let mut count = 0;
        self.names(folder, |_| count += 1)?;
        Ok(count)
    }

    /// Gives every name in the folder to `each`, from the first one on.
    pub(crate) fn names(&mut self, folder: impl AsFd, mut each: impl FnMut(&[u8])) -> Result<()> {
        self.entries(folder, |name, _| each(name))
    }

    /// The same with the number of its inode.
    fn entries(&mut self, folder: impl AsFd, mut each: impl FnMut(&[u8], u64)) -> Result<()> {
        let folder = folder.as_fd();
        sys::retrying(|| rustix::fs::seek(folder, rustix::fs::SeekFrom::Start(0)))?;
        let mut entries = RawDir::new(folder, &mut self.room);
        loop {
            if entries.is_buffer_empty() {
                sys::retrying(|| Ok(()))?;
            }
            let Some(entry) = entries.next() else { return Ok(()) };
            match entry {
                Ok(entry) => match entry.file_name().to_bytes() {
                    b"." | b".." => {}
                    name => each(name, entry.ino()),
                },
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// The number that a name in decimal digits spells, without leading zeros.
fn number(name: &[u8]) -> Option<u32> {
    if name.first() == Some(&b'0') && name.len() > 1 {
        return None;
    }
    let mut value = 0_u32;
    for byte in name {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    (!name.is_empty()).then_some(value)
}

/// The name of a process's folder, or of a file below it, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    bytes: [u8; Name::BYTES],
    length: usize,
}

impl Name {
    /// `4294967295/task/4294967295/children` and the NUL after it fit, with room to spare.
    const BYTES: usize = 48;

    /// `4242`
    pub(crate) fn of(number: u32) -> Self {
        let mut name = Name { bytes: [0; Name::BYTES], length: 0 };
        name.push_number(number);
        name
    }

    /// `4242/stat`
    pub(crate) fn in_process(pid: u32, file: &str) -> Self {
        let mut name = Name::of(pid);
        name.push(b"/");
        name.push(file.as_bytes());
        name
    }

    /// `task/4243/io`
    pub(crate) fn in_thread(tid: u32, file: &str) -> Self {
        let mut name = Name { bytes: [0; Name::BYTES], length: 0 };
        name.push(b"task/");
        name.push_number(tid);
        name.push(b"/");
        name.push(file.as_bytes());
        name
    }

    /// `4242/task/4243/children`
    pub(crate) fn in_thread_of(pid: u32, tid: u32, file: &str) -> Self {
        let mut name = Name::of(pid);
        name.push(b"/task/");
        name.push_number(tid);
        name.push(b"/");
        name.push(file.as_bytes());
        name
    }

    /// As system calls take it.
    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.bytes).unwrap_or_default()
    }

    fn push(&mut self, text: &[u8]) {
        // The last byte stays NUL; the names of this crate are never that long.
        let free = Name::BYTES - 1 - self.length;
        debug_assert!(text.len() <= free, "a name of a procfs file fits");
        let taken = text.len().min(free);
        self.bytes[self.length..][..taken].copy_from_slice(&text[..taken]);
        self.length += taken;
    }

    fn push_number(&mut self, number: u32) {
        let mut digits = [0; 10];
        let mut rest = number;
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.push(&digits[first..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn folder_of(entries: &[&str]) -> (tempfile::TempDir, OwnedFd) {
        let folder = tempfile::tempdir().unwrap();
        for entry in entries {
            std::fs::write(folder.path().join(entry), entry).unwrap();
        }
        let fd = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        (folder, fd)
    }

    #[test]
    fn only_names_that_are_numbers_are_processes() {
        fn check(name: &[u8], expected: Option<u32>) {
            assert_eq!(number(name), expected, "{}", name.escape_ascii());
        }
        check(b"1", Some(1));
        check(b"4294967295", Some(u32::MAX));
        check(b"4294967296", None);
        check(b"", None);
        check(b"0", Some(0));
        check(b"01", None);
        check(b"-1", None);
        check(b"1a", None);
        check(b"self", None);
    }

    #[test]
    fn names_are_built_without_an_allocation() {
        assert_eq!(Name::of(0).as_c_str(), c"0");
        assert_eq!(Name::in_process(4242, "stat").as_c_str(), c"4242/stat");
        let longest = Name::in_thread(u32::MAX, "smaps_rollup");
        assert_eq!(longest.as_c_str(), c"task/4294967295/smaps_rollup");
    }

    #[test]
    fn a_listing_is_ascending_and_can_be_repeated() {
        let (_folder, fd) = folder_of(&["10", "9", "stat", "1"]);
        let mut listing = Listing::new();
        let mut numbers = vec![77];
        for _ in 0..2 {
            listing.numbers(&fd, &mut numbers).unwrap();
            assert_eq!(numbers, [1, 9, 10]);
            assert_eq!(listing.count(&fd).unwrap(), 4);
        }
    }

    #[test]
    fn a_listing_larger_than_its_buffer_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        for pid in 0..3000 {
            std::fs::write(folder.path().join(pid.to_string()), "").unwrap();
        }
        let fd = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        let mut numbers = Vec::new();
        Listing::new().numbers(&fd, &mut numbers).unwrap();
        assert_eq!(numbers, (0..3000).collect::<Vec<u32>>());
    }

    #[test]
    fn a_listing_that_fails_in_the_middle_is_an_error_and_not_a_short_list() {
        let folder = tempfile::tempdir().unwrap();
        for pid in 0..3000 {
            std::fs::write(folder.path().join(pid.to_string()), "").unwrap();
        }
        let fd = OwnedFd::from(std::fs::File::open(folder.path()).unwrap());
        let mut numbers = Vec::new();
        let list = |numbers: &mut Vec<u32>| Listing::new().numbers(&fd, numbers);
        let (_, calls) = sys::fault::with_failure(u64::MAX, Errno::IO, || list(&mut numbers));
        assert!(calls > 3, "a seek, more than one buffer and an end");
        for n in 0..calls {
            let (outcome, _) = sys::fault::with_failure(n, Errno::IO, || list(&mut numbers));
            assert_eq!(outcome, Err(Errno::IO), "call {n}");
        }
    }

    #[test]
    fn a_file_of_any_length_is_read_whole_up_to_the_cap() {
        let (folder, fd) = folder_of(&[]);
        let mut room = Room::default();
        for length in [0, 1, 4095, 4096, 4097, FILE_BYTES_MAX] {
            std::fs::write(folder.path().join("f"), vec![b'x'; length]).unwrap();
            assert_eq!(room.read(&fd, c"f").unwrap().len(), length);
        }
        std::fs::write(folder.path().join("f"), vec![b'x'; FILE_BYTES_MAX + 1]).unwrap();
        assert_eq!(room.read(&fd, c"f"), Err(FileError::TooLarge));
        let (beginning, is_truncated) = room.read_beginning(&fd, c"f", FILE_BYTES_MAX).unwrap();
        assert_eq!((beginning.len(), is_truncated), (FILE_BYTES_MAX, true));
    }

    #[test]
    fn a_named_pipe_in_a_frozen_tree_holds_nobody_up() {
        let (folder, fd) = folder_of(&[]);
        let status = std::process::Command::new("mkfifo").arg(folder.path().join("io")).status();
        assert!(status.unwrap().success());
        assert_eq!(Room::default().read(&fd, c"io"), Err(FileError::System(Errno::SPIPE)));
    }

    #[test]
    fn a_link_may_point_to_what_does_not_exist() {
        let (folder, fd) = folder_of(&[]);
        symlink("/usr/sbin/gone (deleted)", folder.path().join("exe")).unwrap();
        let target = link_target(&fd, c"exe", &mut Room::default()).unwrap();
        assert_eq!(&*target, b"/usr/sbin/gone (deleted)");
    }
}
