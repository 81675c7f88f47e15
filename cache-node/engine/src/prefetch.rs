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

/// Where a table's only segment lies, as published outside its lock: see [`Layout::pack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    buckets: Handle,
    count: usize,
}

impl Layout {
    /// The layout of a table with one segment, in one word; 0 for other tables.
    #[inline]
    pub fn pack(layout: Option<(Handle, usize)>) -> u64 {
        layout.map_or(0, |(buckets, count)| buckets.units() | (count as u64) << 48)
    }

    /// The layout in a word made by [`Layout::pack`].
    #[inline]
    pub fn unpack(packed: u64) -> Option<Self> {
        let units = packed & ((1 << crate::arena::HANDLE_BITS) - 1);
        Some(Self {
            buckets: Handle::from_units(units)?,
            count: (packed >> 48) as usize,
        })
    }

    /// Where the bucket of a key lies.
    #[inline]
    pub fn bucket(self, hash: KeyHash) -> BucketAddress {
        let index = (usize::from(hash.bits(0)) * self.count) >> 16;
        let next = if index + 1 == self.count {
            0
        } else {
            index + 1
        };
        let first = self.buckets.pointer().as_ptr();
        BucketAddress {
            address: first.wrapping_add(index * 64),
            next: first.wrapping_add(next * 64),
            hash: hash.bits(0),
        }
    }
}

/// A bucket that may hold a key.
#[derive(Clone, Copy, Debug)]
pub struct BucketAddress {
    address: *const u8,
    /// The bucket that keys go on to when this one is full.
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
                line(self.next);
                return Some(Self {
                    address: self.next,
                    ..self
                });
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
