//! Size classes: which block sizes there are.
//!
//! Steps of 8 bytes up to 512, then sixteenths of a power of two up to [`MAX_BLOCK`]. So a block is at most 7 bytes bigger than asked up
//! to 512 bytes, and at most 1/16 above; every multiple of 64 up to 2 KiB is a class, which keeps cache-line buckets aligned.

/// Bytes of the unit in which blocks are addressed and sized.
pub(super) const UNIT: usize = 8;

/// The biggest block in bytes.
pub const MAX_BLOCK: usize = 8192;

/// Classes of the first kind: 8, 16, ... 512.
const FINE: usize = 64;

/// Number of classes.
pub(super) const CLASSES: usize = FINE + 4 * 16;

/// The class of the smallest block of at least `size` bytes, which is from 1 to [`MAX_BLOCK`].
#[inline]
pub(super) fn class_of(size: usize) -> usize {
    if size <= FINE * UNIT {
        size.div_ceil(UNIT).max(1) - 1
    } else {
        // `size - 1` lies in the doubling from 2^(9 + doubling) on.
        let doubling = (size - 1).ilog2() as usize - 9;
        let step = 32 << doubling;
        FINE + doubling * 16 + (size - (512 << doubling)).div_ceil(step) - 1
    }
}

/// Bytes of a block of this class.
#[inline]
pub(super) const fn block_size(class: usize) -> usize {
    if class < FINE {
        (class + 1) * UNIT
    } else {
        let doubling = (class - FINE) / 16;
        let step = 32 << doubling;
        (512 << doubling) + ((class - FINE) % 16 + 1) * step
    }
}

/// Bytes that a block for `size` bytes takes; `size` is at most [`MAX_BLOCK`].
#[inline]
pub fn rounded(size: usize) -> usize {
    block_size(class_of(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_gets_the_smallest_block_that_holds_it() {
        for size in 1..=MAX_BLOCK {
            let class = class_of(size);
            assert!(class < CLASSES);
            assert!(block_size(class) >= size, "{size}");
            assert!(class == 0 || block_size(class - 1) < size, "{size}");
        }
        assert_eq!(block_size(CLASSES - 1), MAX_BLOCK);
    }

    #[test]
    fn little_is_lost_and_cache_lines_are_classes() {
        for size in 1..=MAX_BLOCK {
            let lost = rounded(size) - size;
            assert!(lost < UNIT || lost * 16 <= size, "{size} loses {lost}");
        }
        for size in (64..=2048).step_by(64) {
            assert_eq!(rounded(size), size);
        }
    }
}
