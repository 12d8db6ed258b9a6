//! Memory that was freed and that the allocator still holds.
//!
//! glibc keeps what was freed for the next allocation, and the larger the blocks were that were
//! freed before, the more of it: `M_TRIM_THRESHOLD` and `M_MMAP_THRESHOLD` of mallopt(3), both
//! dynamic. After a storm that is tens of MiB that nobody needs.

/// Gives the pages back to the kernel in which nothing is allocated: malloc_trim(3). It looks
/// through all that was freed, so it is nothing for every sample.
///
/// Other allocators than glibc's give back by themselves.
pub(crate) fn give_back_free_pages() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes no pointer and locks what it looks at.
        let _ = unsafe { libc::malloc_trim(0) };
    }
}
