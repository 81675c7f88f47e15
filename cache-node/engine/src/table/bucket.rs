//! A bucket: eight words in one cache line.
//!
//! A word is the handle of an entry, 16 bits of its key's hash, whether it has a deadline, and 13 bits that belong to the eviction
//! policy. A word without a handle is free.

use crate::arena::Handle;

/// Words of a bucket.
pub const LANES: usize = 8;

/// Bits that belong to the eviction policy.
pub const META_BITS: u32 = 13;

const META: u16 = (1 << META_BITS) - 1;
const VOLATILE: u16 = 1 << META_BITS;
const HIGH_SHIFT: u32 = META_BITS + 1;

/// Eight words. The parts of a word stand apart, so that all hashes are compared at once.
#[derive(Clone)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    hashes: [u16; LANES],
    /// The low 32 bits of the handles.
    handles: [u32; LANES],
    /// Policy bits, deadline bit, and the high two bits of the handle.
    marks: [u16; LANES],
}

const _: () = assert!(size_of::<Bucket>() == 64);

/// One word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) hash: u16,
    pub(super) handle: Handle,
    pub(super) volatile: bool,
    pub(super) meta: u16,
}

impl Bucket {
    /// The lanes with this hash, as bits; free lanes may be among them.
    #[inline]
    pub(super) fn matches(&self, hash: u16) -> u32 {
        let mut found = 0;
        for (lane, other) in self.hashes.iter().enumerate() {
            found |= u32::from(*other == hash) << lane;
        }
        found
    }

    /// The lanes in use, as bits.
    #[inline]
    pub(super) fn used(&self) -> u32 {
        let mut used = 0;
        for lane in 0..LANES {
            used |= u32::from(self.is_used(lane)) << lane;
        }
        used
    }

    /// The lanes in use with a deadline, as bits.
    #[inline]
    pub(super) fn volatile(&self) -> u32 {
        let mut lanes = 0;
        for (lane, mark) in self.marks.iter().enumerate() {
            lanes |= u32::from(mark & VOLATILE != 0) << lane;
        }
        lanes
    }

    #[inline]
    fn is_used(&self, lane: usize) -> bool {
        // An arena's block 0 is never handed out, but one whose low bits are zero may be.
        self.handles[lane] != 0 || self.marks[lane] >> HIGH_SHIFT != 0
    }

    #[inline]
    pub(super) fn handle(&self, lane: usize) -> Option<Handle> {
        let high = u64::from(self.marks[lane] >> HIGH_SHIFT);
        let units = high << 32 | u64::from(self.handles[lane]);
        Handle::from_units(units)
    }

    #[inline]
    pub(super) fn hash(&self, lane: usize) -> u16 {
        self.hashes[lane]
    }

    #[inline]
    pub(super) fn word(&self, lane: usize) -> Option<Word> {
        Some(Word {
            hash: self.hashes[lane],
            handle: self.handle(lane)?,
            volatile: self.marks[lane] & VOLATILE != 0,
            meta: self.meta(lane),
        })
    }

    #[inline]
    pub(super) fn put(&mut self, lane: usize, word: Word) {
        self.hashes[lane] = word.hash;
        self.marks[lane] = word.meta & META | if word.volatile { VOLATILE } else { 0 };
        self.set_handle(lane, word.handle);
    }

    #[inline]
    pub(super) fn set_handle(&mut self, lane: usize, handle: Handle) {
        let units = handle.units();
        self.handles[lane] = units as u32;
        let mark = self.marks[lane] & (META | VOLATILE);
        self.marks[lane] = mark | ((units >> 32) as u16) << HIGH_SHIFT;
    }

    #[inline]
    pub(super) fn clear(&mut self, lane: usize) {
        self.hashes[lane] = 0;
        self.handles[lane] = 0;
        self.marks[lane] = 0;
    }

    #[inline]
    pub(super) fn meta(&self, lane: usize) -> u16 {
        self.marks[lane] & META
    }

    #[inline]
    pub(super) fn set_meta(&mut self, lane: usize, meta: u16) {
        self.marks[lane] = self.marks[lane] & !META | meta & META;
    }

    #[inline]
    pub(super) fn set_volatile(&mut self, lane: usize, volatile: bool) {
        self.marks[lane] = self.marks[lane] & !VOLATILE | if volatile { VOLATILE } else { 0 };
    }
}

/// The places of the bits that are set, lowest first.
#[inline]
pub(super) fn lanes(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = bits.trailing_zeros();
        (lane < 32).then(|| {
            bits &= bits - 1;
            lane as usize
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_survives_with_all_its_bits() {
        let mut bucket = Bucket {
            hashes: [0; LANES],
            handles: [0; LANES],
            marks: [0; LANES],
        };
        let units = [1, 1 << 32, (1 << 34) - 1, 12_345_678_901];
        for (lane, units) in units.into_iter().enumerate() {
            let word = Word {
                hash: lane as u16,
                handle: Handle::from_units(units).unwrap(),
                volatile: lane % 2 == 0,
                meta: META - lane as u16,
            };
            bucket.put(lane, word);
            assert_eq!(bucket.word(lane), Some(word));
        }
        assert_eq!(bucket.used(), 0b1111);
        assert_eq!(bucket.volatile(), 0b0101);
        assert_eq!(
            lanes(bucket.matches(0)).collect::<Vec<_>>(),
            [0, 4, 5, 6, 7]
        );
        bucket.set_meta(1, 5);
        bucket.set_volatile(1, true);
        assert_eq!(bucket.handle(1), Handle::from_units(1 << 32));
        assert_eq!((bucket.meta(1), bucket.volatile()), (5, 0b0111));
        bucket.clear(1);
        assert_eq!(bucket.word(1), None);
        assert_eq!(bucket.used(), 0b1101);
    }
}
