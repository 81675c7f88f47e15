//! Memory for entries and table buckets: blocks in steps of 8 bytes, named by 34-bit handles.
//!
//! One arena serves the whole process. It owns the layout of memory, never what is in it. Blocks may be allocated and freed by any
//! thread. It never moves a block, and never unmaps an address that was once handed out.

#![allow(unsafe_code)] // The one place that turns handles into pointers.

mod cache;
mod class;
mod pages;
mod region;

use std::num::NonZeroU64;
use std::ptr::NonNull;

pub use class::{MAX_BLOCK, rounded};

use class::{UNIT, block_size, class_of};
use pages::pages;
use region::{PAGE, region};

/// Bits of a handle.
pub(crate) const HANDLE_BITS: u32 = 34;

/// The name of a block: its distance from the arena's start in units of 8 bytes, never 0 and below 2^34.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle(NonZeroU64);

/// The arena's address range is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

impl std::fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the arena of the data set is used up")
    }
}

impl std::error::Error for OutOfMemory {}

impl Handle {
    /// The handle of this many units from the arena's start.
    #[inline]
    pub(crate) fn from_units(units: u64) -> Option<Self> {
        debug_assert!(units < 1 << HANDLE_BITS);
        NonZeroU64::new(units).map(Self)
    }

    /// The distance from the arena's start in units of 8 bytes.
    #[inline]
    pub(crate) fn units(self) -> u64 {
        self.0.get()
    }

    /// Where the block lies; it is aligned to 8 bytes, and to 64 if its size is a multiple of 64.
    #[inline]
    pub(crate) fn pointer(self) -> NonNull<u8> {
        // SAFETY: handles are made by the arena alone, and lie inside of its mapping.
        unsafe { region().base().add(self.0.get() as usize * UNIT) }
    }
}

/// A block of at least `size` bytes (1 to [`MAX_BLOCK`]) with any content.
///
/// # Panics
///
/// When the arena's address range (128 GiB unless the system grants less) is used up. [`in_use`] says how near that is; whoever stores
/// entries refuses or evicts long before.
#[inline]
pub(crate) fn allocate(size: usize) -> Handle {
    debug_assert!(size <= MAX_BLOCK);
    match cache::take(class_of(size)) {
        Ok(handle) => handle,
        Err(error) => panic!("{error}"),
    }
}

/// Frees a block.
///
/// # Safety
///
/// `handle` came from [`allocate`], was not freed since, and nobody reads or writes the block after this.
#[inline]
pub(crate) unsafe fn free(handle: Handle) {
    cache::give(pages().class(handle), handle);
}

/// Bytes of a block that is in use.
#[inline]
pub(crate) fn size_of_block(handle: Handle) -> usize {
    block_size(pages().class(handle))
}

/// The address of so many units from the arena's start, if that lies inside of its mapping.
#[inline]
pub(crate) fn address_of(units: u64) -> Option<*const u8> {
    let offset = units as usize * UNIT;
    let region = region();
    (offset < region.pages() * PAGE)
        .then(|| region.base().as_ptr().wrapping_add(offset).cast_const())
}

/// Bytes of the pages in use, and the most that there can be.
pub fn in_use() -> (usize, usize) {
    let (used, most) = pages().in_use();
    (used * PAGE, most * PAGE)
}

#[cfg(test)]
mod tests;
