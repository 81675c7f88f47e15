//! Bringing memory near before it is needed.
//!
//! Commands that were read together are prefetched together, so that their cache misses overlap. This happens before any lock is taken,
//! so what is looked at may change meanwhile; nothing but the choice of what to prefetch depends on it.

#![allow(unsafe_code)] // Prefetches, and reads that may race.

use crate::arena::{Handle, size_of_block};
use crate::key_hash::KeyHash;
use crate::table::LANES;

/// Asks for the cache line at this address; any address is allowed.
#[inline]
pub fn line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing as far as the program can tell, and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{}]", in(reg) address, options(readonly, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Asks for the beginning of a block: enough of it for the processor to go on by itself.
#[inline]
pub(crate) fn block(handle: Handle) {
    let start = handle.pointer().as_ptr().cast_const();
    for index in 0..3 {
        line(start.wrapping_add(64 * index));
    }
}

/// How the buckets of a table with one segment are found, as published outside its lock in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout(u64);

impl Layout {
    /// Of an empty table, or one with more segments.
    pub const NONE: Self = Self(0);

    /// Of so many buckets, whose places stand in the block `many`, or in the table itself.
    pub(crate) fn new(many: Option<Handle>, buckets: usize) -> Self {
        Self(many.map_or(0, Handle::units) | (buckets as u64) << 48)
    }

    /// The word.
    #[inline]
    pub fn to_bits(self) -> u64 {
        self.0
    }

    /// The layout in a word.
    #[inline]
    pub fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Where the bucket of a key lies. `few` is where the places stand if they stand in the table: see [`crate::table::Table::PLACES`].
    #[inline]
    pub fn bucket(self, hash: KeyHash, few: *const u8) -> Option<BucketAddress> {
        let count = (self.0 >> 48) as usize;
        if count == 0 {
            return None;
        }
        let many = Handle::from_units(self.0 & ((1 << crate::arena::HANDLE_BITS) - 1));
        let places = many.map_or(few, |many| many.pointer().as_ptr().cast_const());
        let index = (usize::from(hash.bits(0)) * count) >> 16;
        Some(BucketAddress {
            address: bucket_at(places, index)?,
            next: places.wrapping_add(4 * if index + 1 == count { 0 } else { index + 1 }),
            hash: hash.bits(0),
        })
    }
}

/// The address that stands at place `index`, perhaps while another thread changes it.
#[inline]
fn bucket_at(places: *const u8, index: usize) -> Option<*const u8> {
    #[cfg(target_arch = "x86_64")]
    {
        let place: u32;
        // SAFETY: places stand in a table, which is there as long as its slot is, or in a block of the arena, which never unmaps what it
        // once handed out; so the read cannot fault. That it may race with a writer is why it is done by the machine and not in Rust.
        unsafe {
            std::arch::asm!("mov {0:e}, dword ptr [{1}]", out(reg) place, in(reg) places.wrapping_add(index * 4),
                options(readonly, nostack, preserves_flags));
        }
        // It may be anything if the block has become another's; what is found there is looked at only if it lies in the arena.
        crate::arena::address_of(u64::from(place) * 8)
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (places, index);
        None
    }
}

/// A bucket that may hold a key.
#[derive(Clone, Copy, Debug)]
pub struct BucketAddress {
    address: *const u8,
    /// Where the place of the bucket stands that keys go on to when this one is full.
    next: *const u8,
    hash: u16,
}

impl BucketAddress {
    /// Asks for the bucket.
    #[inline]
    pub fn prefetch(self) {
        line(self.address);
    }

    /// Asks for the entries that may be the key's, once the bucket is near. Where there is none, answers the next bucket, to which the key
    /// may have gone on, and asks for that.
    #[inline]
    pub fn prefetch_entries(self) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        {
            let mut found = false;
            for lane in 0..LANES {
                if self.hash_at(lane) == self.hash {
                    found = true;
                    self.prefetch_entry(lane);
                }
            }
            if !found {
                let address = bucket_at(self.next, 0)?;
                line(address);
                return Some(Self { address, ..self });
            }
        }
        None
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn prefetch_entry(self, lane: usize) {
        // The two bits of the mark that belong to the handle are left out: with less than 32 GiB they are zero.
        let Some(handle) = Handle::from_units(u64::from(self.handle_at(lane))) else {
            return;
        };
        let (entry, size) = (handle.pointer().as_ptr(), size_of_block(handle));
        line(entry);
        if size > 64 {
            line(entry.wrapping_add(64));
        }
        // A big value is copied faster than this could ask for all of it.
        line(entry.wrapping_add(size.min(192) - 1));
    }

    /// The hash in a lane, perhaps while another thread changes it.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn hash_at(self, lane: usize) -> u16 {
        let hash: u16;
        // SAFETY: the arena never unmaps what it once handed out, so the read cannot fault. That it may race with a writer is why it is
        // done by the machine and not in Rust; whatever it finds only chooses what to prefetch.
        unsafe {
            std::arch::asm!("mov {0:x}, word ptr [{1}]", out(reg) hash, in(reg) self.address.wrapping_add(lane * 2),
                options(readonly, nostack, preserves_flags));
        }
        hash
    }

    /// The low bits of the handle in a lane, perhaps while another thread changes it.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn handle_at(self, lane: usize) -> u32 {
        let handle: u32;
        // SAFETY: as above.
        unsafe {
            std::arch::asm!("mov {0:e}, dword ptr [{1}]", out(reg) handle, in(reg) self.address.wrapping_add(16 + lane * 4),
                options(readonly, nostack, preserves_flags));
        }
        handle
    }
}
