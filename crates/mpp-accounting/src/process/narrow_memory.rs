//! Memory in half the room.

use super::Memory;

/// The smallest page of any kernel that we run on: memory is told in whole ones of these.
const PAGE_BYTES: u64 = 4096;

/// [`Memory`], in pages of 32 bits each as long as that says it all: up to 16 TiB.
///
/// Equal ones are kept alike, so they can be compared as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NarrowMemory {
    Pages([u32; 5]),
    /// Boxed, since few processes have so much, or none of a real kernel.
    Bytes(Box<Memory>),
}

impl NarrowMemory {
    pub(super) fn get(&self) -> Memory {
        match self {
            NarrowMemory::Pages(pages) => {
                let bytes = pages.map(|pages| u64::from(pages) * PAGE_BYTES);
                let [rss_bytes, vms_bytes, shared_bytes, text_bytes, data_bytes] = bytes;
                Memory { rss_bytes, vms_bytes, shared_bytes, text_bytes, data_bytes }
            }
            NarrowMemory::Bytes(memory) => **memory,
        }
    }
}

impl From<Memory> for NarrowMemory {
    fn from(memory: Memory) -> Self {
        let Memory { rss_bytes, vms_bytes, shared_bytes, text_bytes, data_bytes } = memory;
        let bytes = [rss_bytes, vms_bytes, shared_bytes, text_bytes, data_bytes];
        let all_bits = bytes.iter().fold(0, |bits, number| bits | number);
        if all_bits % PAGE_BYTES != 0 || u32::try_from(all_bits / PAGE_BYTES).is_err() {
            return NarrowMemory::Bytes(Box::new(memory));
        }
        #[expect(clippy::cast_possible_truncation, reason = "no bit beyond is set")]
        NarrowMemory::Pages(bytes.map(|bytes| (bytes / PAGE_BYTES) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Reading;

    #[test]
    fn what_is_kept_is_what_was_given() {
        fn check(rss_bytes: u64, vms_bytes: u64, takes_a_box: bool) {
            let (shared_bytes, text_bytes, data_bytes) = (4096, 8192, 12_288);
            let memory = Memory { rss_bytes, vms_bytes, shared_bytes, text_bytes, data_bytes };
            let kept = NarrowMemory::from(memory);
            assert_eq!(kept.get(), memory);
            assert_eq!(matches!(kept, NarrowMemory::Bytes(_)), takes_a_box, "{memory:?}");
        }
        check(0, 0, false);
        check(4096, (16 << 40) - 4096, false);
        check(4096, 16 << 40, true);
        check(4095, 4096, true);
        check(u64::MAX, 1, true);
    }

    #[test]
    fn it_takes_half_the_room() {
        assert_eq!(size_of::<Reading<NarrowMemory>>(), 24);
        assert_eq!(size_of::<Reading<Memory>>(), 48);
    }
}
