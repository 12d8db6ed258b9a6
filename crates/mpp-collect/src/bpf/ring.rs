//! The reading end of a BPF ring buffer, `kernel/bpf/ringbuf.c`.
//!
//! The kernel shows three things of a ring: a page with how far was read, which we write; a page
//! with how far was written; and the bytes, twice in a row, so that a record that goes over the
//! end lies in one piece all the same. Each record is led in by eight bytes: its length, with two
//! bits for one that is still being written and one that was given up.
//!
//! The traps: the length must be read with acquire ordering before the record, and how far was
//! read be written with release ordering after it; a record may stay unfinished for as long as
//! its writer waits for a CPU, while others are written behind it; mapped pages count as our
//! own resident memory, so the bytes are mapped only piece by piece while they are read; and a
//! forked child that had them would keep the whole ring in the kernel for as long as it lives, so
//! it gets none of them.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use super::syscall::Map;
use crate::sys;

/// Bytes mapped at one time, and far more than the longest record.
const WINDOW_MAX: usize = 512 << 10;
/// What leads in a record: its length and a number for the kernel.
const LEAD: usize = 8;
const BUSY: u32 = 1 << 31;
const GIVEN_UP: u32 = 1 << 30;

/// A ring that we read.
#[derive(Debug)]
pub(super) struct Ring {
    map: OwnedFd,
    /// Bytes of the ring, a power of two.
    size: usize,
    page: usize,
    consumer: Mapping,
    producer: Mapping,
    /// How far was looked.
    seen: usize,
    /// Where records before that begin that were still being written, in the order of the ring.
    unwritten: Vec<usize>,
}

impl Ring {
    /// Begins to read a ring.
    pub(super) fn open(map: Map) -> Result<Self, Errno> {
        let size = usize::try_from(map.max_entries()).map_err(|_| Errno::TOOBIG)?;
        Ring::over(map.into_fd(), size)
    }

    fn over(map: OwnedFd, size: usize) -> Result<Self, Errno> {
        let page = rustix::param::page_size();
        let read_write = ProtFlags::READ | ProtFlags::WRITE;
        let consumer = Mapping::of(map.as_fd(), 0, page, read_write)?;
        let producer = Mapping::of(map.as_fd(), page, page, ProtFlags::READ)?;
        let seen = consumer.position().load(Ordering::Relaxed);
        Ok(Ring { map, size, page, consumer, producer, seen, unwritten: Vec::new() })
    }

    /// Hands out every whole record that was there when this was called, each once, and makes
    /// room for others.
    ///
    /// A record that is still being written is passed over: whoever writes it may have lost its
    /// CPU on the way, while those behind it tell of processes that are gone by now.
    ///
    /// # Errors
    /// Where a part of the ring cannot be mapped. What was not handed out stays.
    pub(super) fn drain(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Errno> {
        // What is written meanwhile waits for the next time: writers may be faster than we are.
        let until = self.producer.position().load(Ordering::Acquire);
        self.drain_passed_over(&mut each)?;
        loop {
            let from = self.seen;
            let length = until.wrapping_sub(from).min(WINDOW_MAX);
            if length == 0 {
                return Ok(());
            }
            let window = self.window(from, length)?;
            let pass_over = |position| self.unwritten.push(from.wrapping_add(position));
            let read = window.read(&mut each, pass_over);
            self.seen = from.wrapping_add(read);
            self.make_room();
            if read == 0 {
                // A record longer than any that is written.
                return Ok(());
            }
        }
    }

    /// Hands out the records that have been written since they were passed over.
    fn drain_passed_over(&mut self, each: &mut impl FnMut(&[u8])) -> Result<(), Errno> {
        let mut position = 0;
        while let Some(&from) = self.unwritten.get(position) {
            let length = self.seen.wrapping_sub(from).min(WINDOW_MAX);
            let window = self.window(from, length)?;
            match window.record(0) {
                Some(Record { state: State::Unwritten, .. }) | None => position += 1,
                Some(record) => {
                    window.hand_out(&record, each);
                    self.unwritten.remove(position);
                    self.make_room();
                }
            }
        }
        Ok(())
    }

    /// Leaves to the writers what lies before the first record that is still wanted.
    fn make_room(&self) {
        let read = self.unwritten.first().copied().unwrap_or(self.seen);
        self.consumer.position().store(read, Ordering::Release);
    }

    /// Bytes that wait to be read.
    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        let until = self.producer.position().load(Ordering::Acquire);
        until.wrapping_sub(self.consumer.position().load(Ordering::Relaxed))
    }

    /// Bytes of the whole ring.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.size
    }

    fn window(&self, from: usize, length: usize) -> Result<Window, Errno> {
        let begin = from & (self.size - 1);
        let skipped = begin % self.page;
        let mapped = (skipped + length).next_multiple_of(self.page);
        let offset = 2 * self.page + (begin - skipped);
        let mapping = Mapping::of(self.map.as_fd(), offset, mapped, ProtFlags::READ)?;
        Ok(Window { mapping, skipped, length })
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

/// A piece of the ring.
struct Window {
    mapping: Mapping,
    /// Bytes before the piece, which begins at any multiple of eight.
    skipped: usize,
    length: usize,
}

/// A record by its lead.
struct Record {
    /// Where its bytes begin in the piece.
    begin: usize,
    length: usize,
    state: State,
}

/// How far a record has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Unwritten,
    Written,
    GivenUp,
}

impl Window {
    /// Hands out every whole record, and says where those lie that are still being written;
    /// returns how many bytes they all were.
    fn read(&self, each: &mut impl FnMut(&[u8]), mut pass_over: impl FnMut(usize)) -> usize {
        let mut position = 0;
        while let Some(record) = self.record(position) {
            if record.state == State::Unwritten {
                pass_over(position);
            }
            self.hand_out(&record, each);
            position = record.end();
        }
        position
    }

    fn hand_out(&self, record: &Record, each: &mut impl FnMut(&[u8])) {
        if record.state == State::Written {
            // SAFETY: the record lies within the mapping, and the kernel leaves its bytes
            // alone from when it is written until they are said to have been read.
            each(unsafe { self.mapping.bytes(self.skipped + record.begin, record.length) });
        }
    }

    /// The record at a position; `None` where no whole one lies within the piece.
    fn record(&self, position: usize) -> Option<Record> {
        let begin = position.checked_add(LEAD).filter(|begin| *begin <= self.length)?;
        let lead = self.mapping.word(self.skipped + position).load(Ordering::Acquire);
        let state = match (lead & BUSY, lead & GIVEN_UP) {
            (0, 0) => State::Written,
            (0, _) => State::GivenUp,
            _ => State::Unwritten,
        };
        let length = usize::try_from(lead & !(BUSY | GIVEN_UP)).ok()?;
        let record = Record { begin, length, state };
        (length <= self.length && record.end() <= self.length).then_some(record)
    }
}

impl Record {
    fn end(&self) -> usize {
        self.begin + self.length.next_multiple_of(8)
    }
}

/// Pages of a map that we share with the kernel, and with no child.
#[derive(Debug)]
struct Mapping {
    begin: NonNull<u8>,
    length: usize,
    /// The process that has mapped them: in a forked one something else may be there.
    owner: u32,
    /// As a vector of bytes would be, it may go to another thread.
    owned: PhantomData<Box<[u8]>>,
}

// SAFETY: the pages belong to the process, not to the thread that has mapped them.
unsafe impl Send for Mapping {}

impl Mapping {
    fn of(
        map: BorrowedFd<'_>,
        offset: usize,
        length: usize,
        protection: ProtFlags,
    ) -> Result<Self, Errno> {
        let begin = sys::retrying(|| {
            // SAFETY: the kernel chooses a place where nothing is yet.
            unsafe {
                mmap(std::ptr::null_mut(), length, protection, MapFlags::SHARED, map, offset as u64)
            }
        })?;
        let begin = NonNull::new(begin.cast()).ok_or(Errno::NOMEM)?;
        let mapping = Mapping { begin, length, owner: std::process::id(), owned: PhantomData };
        sys::retrying(|| {
            // SAFETY: these pages are ours, and stay what they are in this process.
            unsafe { madvise(begin.as_ptr().cast(), length, Advice::LinuxDontFork) }
        })?;
        Ok(mapping)
    }

    /// How far was read or written: the first word of either page.
    fn position(&self) -> &AtomicUsize {
        // SAFETY: a page begins with it, is aligned for it, and lives as long as this; the kernel
        // changes it as an atomic, too.
        unsafe { AtomicUsize::from_ptr(self.begin.as_ptr().cast()) }
    }

    /// The four bytes at a multiple of four.
    fn word(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset.is_multiple_of(4) && offset + 4 <= self.length);
        // SAFETY: the offset lies within the mapping; both callers pass multiples of eight.
        let place = unsafe { self.begin.as_ptr().add(offset) };
        // SAFETY: it is aligned and lives as long as this; it is only ever loaded here.
        unsafe { AtomicU32::from_ptr(place.cast()) }
    }

    /// The bytes at an offset.
    ///
    /// # Safety
    /// They must lie within the mapping, and nobody may change them while they are borrowed.
    unsafe fn bytes(&self, offset: usize, length: usize) -> &[u8] {
        debug_assert!(offset + length <= self.length);
        // SAFETY: the caller says that it lies within.
        let place = unsafe { self.begin.as_ptr().add(offset) };
        // SAFETY: the caller says that they are there and stay as they are.
        unsafe { std::slice::from_raw_parts(place, length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if std::process::id() != self.owner {
            return;
        }
        // SAFETY: all that borrow from it are gone; that it fails is not for us to mend.
        let _ = unsafe { munmap(self.begin.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    const SIZE: usize = 1 << 16;

    fn page() -> u64 {
        rustix::param::page_size() as u64
    }

    /// A ring in memory, written as the kernel writes it.
    struct Written {
        file: std::fs::File,
        until: u64,
        ring: Ring,
        told: Vec<u8>,
    }

    impl Written {
        fn new() -> Self {
            let flags = rustix::fs::MemfdFlags::CLOEXEC;
            let file = std::fs::File::from(rustix::fs::memfd_create("ring", flags).unwrap());
            file.set_len(2 * page() + 2 * SIZE as u64).unwrap();
            let ring = Ring::over(file.try_clone().unwrap().into(), SIZE).unwrap();
            Written { file, until: 0, ring, told: Vec::new() }
        }

        /// Makes room for a record of one byte; returns where it begins.
        fn reserve(&mut self, byte: u8) -> u64 {
            let position = self.until;
            self.set(position, 1 | BUSY);
            self.file.write_all_at(&[byte], 2 * page() + position + LEAD as u64).unwrap();
            self.until += 16;
            self.file.write_all_at(&self.until.to_ne_bytes(), page()).unwrap();
            position
        }

        fn set(&self, position: u64, lead: u32) {
            self.file.write_all_at(&lead.to_ne_bytes(), 2 * page() + position).unwrap();
        }

        fn write(&mut self, byte: u8) {
            let position = self.reserve(byte);
            self.set(position, 1);
        }

        /// What the ring hands out now, and how far the writers may go on.
        fn check(&mut self, expected: &[u8], read: u64) {
            let told = &mut self.told;
            self.ring.drain(|bytes| told.extend_from_slice(bytes)).unwrap();
            assert_eq!(std::mem::take(told), expected);
            let mut word = [0; 8];
            self.file.read_exact_at(&mut word, 0).unwrap();
            assert_eq!(u64::from_ne_bytes(word), read);
        }
    }

    #[test]
    fn a_record_that_is_still_being_written_holds_up_no_other() {
        let mut ring = Written::new();
        ring.write(1);
        let second = ring.reserve(2);
        ring.write(3);
        let fourth = ring.reserve(4);
        ring.write(5);
        ring.check(&[1, 3, 5], second);
        ring.check(&[], second);
        ring.set(fourth, 1);
        ring.write(6);
        ring.check(&[4, 6], second);
        ring.set(second, 1);
        ring.check(&[2], 96);
    }

    /// Where a process has mapped rings.
    fn mapped(pid: u32) -> usize {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        maps.matches("memfd:forked-ring").count()
    }

    #[test]
    fn a_forked_child_has_no_part_of_a_ring() {
        let flags = rustix::fs::MemfdFlags::CLOEXEC;
        let file = rustix::fs::memfd_create("forked-ring", flags).unwrap();
        rustix::fs::ftruncate(&file, 2 * page() + 2 * SIZE as u64).unwrap();
        let ring = Ring::over(file, SIZE).unwrap();
        // SAFETY: the child only waits for its end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            loop {
                // SAFETY: it takes nothing.
                unsafe { libc::pause() };
            }
        }
        let in_child = mapped(child.unsigned_abs());
        // SAFETY: the child is ours and not waited for yet.
        unsafe { libc::kill(child, libc::SIGKILL) };
        // SAFETY: nothing is to be written.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        assert_eq!((mapped(std::process::id()), in_child), (2, 0));
        drop(ring);
        assert_eq!(mapped(std::process::id()), 0);
    }

    #[test]
    fn a_record_that_was_given_up_is_never_handed_out() {
        let mut ring = Written::new();
        let first = ring.reserve(1);
        ring.write(2);
        ring.check(&[2], first);
        ring.set(first, 1 | GIVEN_UP);
        ring.write(3);
        ring.check(&[3], 48);
    }
}
