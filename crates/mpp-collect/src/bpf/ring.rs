//! The reading end of a BPF ring buffer, `kernel/bpf/ringbuf.c`.
//!
//! The kernel shows three things of a ring: a page with how far was read, which we write; a page
//! with how far was written; and the bytes, twice in a row, so that a record that goes over the
//! end lies in one piece all the same. Each record is led in by eight bytes: its length, with two
//! bits for one that is still being written and one that was given up.
//!
//! The traps: the length must be read with acquire ordering before the record, and how far was
//! read be written with release ordering after it; and mapped pages count as our own resident
//! memory, so the bytes are mapped only piece by piece while they are read.

use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

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
    map: Map,
    /// Bytes of the ring, a power of two.
    size: usize,
    page: usize,
    consumer: Mapping,
    producer: Mapping,
}

impl Ring {
    /// Begins to read a ring.
    pub(super) fn open(map: Map) -> Result<Self, Errno> {
        let page = rustix::param::page_size();
        let size = usize::try_from(map.max_entries()).map_err(|_| Errno::TOOBIG)?;
        let read_write = ProtFlags::READ | ProtFlags::WRITE;
        let consumer = Mapping::of(map.as_fd(), 0, page, read_write)?;
        let producer = Mapping::of(map.as_fd(), page, page, ProtFlags::READ)?;
        Ok(Ring { map, size, page, consumer, producer })
    }

    /// Hands out every record that was there when this was called, and makes room for others.
    ///
    /// # Errors
    /// Where a part of the ring cannot be mapped. What was not handed out stays.
    pub(super) fn drain(&mut self, mut each: impl FnMut(&[u8])) -> Result<(), Errno> {
        // What is written meanwhile waits for the next time: writers may be faster than we are.
        let until = self.producer.position().load(Ordering::Acquire);
        loop {
            // Only we write it.
            let from = self.consumer.position().load(Ordering::Relaxed);
            let length = until.wrapping_sub(from).min(WINDOW_MAX);
            if length == 0 {
                return Ok(());
            }
            let window = self.window(from, length)?;
            let read = window.read(&mut each);
            self.consumer.position().store(from.wrapping_add(read), Ordering::Release);
            if read == 0 {
                // The next one is still being written.
                return Ok(());
            }
        }
    }

    /// Bytes that wait to be read.
    pub(super) fn waiting_bytes(&self) -> usize {
        let until = self.producer.position().load(Ordering::Acquire);
        until.wrapping_sub(self.consumer.position().load(Ordering::Relaxed))
    }

    /// Bytes of the whole ring.
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

impl Window {
    /// Hands out every whole record; returns how many bytes they were.
    fn read(&self, each: &mut impl FnMut(&[u8])) -> usize {
        let mut position = 0;
        while let Some(lead) = self.lead(position) {
            let length = usize::try_from(lead & !(BUSY | GIVEN_UP)).unwrap_or(usize::MAX);
            let next = length
                .checked_next_multiple_of(8)
                .and_then(|length| position.checked_add(LEAD)?.checked_add(length));
            let Some(next) = next.filter(|next| lead & BUSY == 0 && *next <= self.length) else {
                break;
            };
            if lead & GIVEN_UP == 0 {
                // SAFETY: the record lies within the mapping, and the kernel leaves its bytes
                // alone from now until they are said to have been read.
                each(unsafe { self.mapping.bytes(self.skipped + position + LEAD, length) });
            }
            position = next;
        }
        position
    }

    /// The length of the record at a position, with its two bits.
    fn lead(&self, position: usize) -> Option<u32> {
        (position + LEAD <= self.length)
            .then(|| self.mapping.word(self.skipped + position).load(Ordering::Acquire))
    }
}

/// Pages of a map that we share with the kernel.
#[derive(Debug)]
struct Mapping {
    begin: NonNull<u8>,
    length: usize,
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
        Ok(Mapping { begin, length, owned: PhantomData })
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
        // SAFETY: all that borrow from it are gone; that it fails is not for us to mend.
        let _ = unsafe { munmap(self.begin.as_ptr().cast(), self.length) };
    }
}
