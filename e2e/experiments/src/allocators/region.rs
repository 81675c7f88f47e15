//! Reserved address space, seen as words that any thread may read and write.

#![allow(unsafe_code)]

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};

/// The words; they are zero until written, and memory only once written. Never unmapped: it lives as long as the process.
pub(super) struct Region(&'static [AtomicU64]);

impl Region {
    /// Reserves `bytes`.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn reserve(bytes: NonZeroUsize) -> nix::Result<Self> {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE;
        // SAFETY: a new mapping at an address of the system's choice touches no other memory.
        let base = unsafe {
            mmap_anonymous(
                None,
                bytes,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                flags,
            )?
        };
        // SAFETY: the mapping is that long, aligned to a page, zeroed, and never unmapped; atomics allow shared writing.
        let words = unsafe {
            std::slice::from_raw_parts(base.cast::<AtomicU64>().as_ptr(), bytes.get() / 8)
        };
        Ok(Self(words))
    }

    /// All words.
    pub(super) fn words(&self) -> &[AtomicU64] {
        self.0
    }

    /// Gives the memory of some words back to the system; they read as zero afterwards.
    pub(super) fn give_back(&self, words: std::ops::Range<usize>) {
        let words = &self.0[words];
        let address = NonNull::from(words).cast();
        // SAFETY: the range is within the mapping; a private anonymous page becomes zero, which is a value of an atomic.
        let result = unsafe { madvise(address, size_of_val(words), MmapAdvise::MADV_DONTNEED) };
        // Only memory is lost when it fails, no correctness.
        let _ = result;
    }
}
