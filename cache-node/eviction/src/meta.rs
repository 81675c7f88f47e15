//! The 13 bits of eviction metadata beside each key's hash.
//!
//! Owns the layout, in two readings that share the bits; must not know what a policy does with them. Changing between kinds of the
//! same reading keeps what the bits mean. Between LFU and the others they come to mean something else, as in Redis, and correct
//! themselves as keys are used.
//!
//! | reading | bit 12 | bits 11-10 | bits 9-0 |
//! |---|---|---|---|
//! | recency (all but LFU) | `q`: 0 probation, 1 main | `f`: uses since repositioned, 0 to 3 | `t`: stamp of the last repositioning |
//! | LFU | bits 12-8: decay periods, modulo 32 | | bits 7-0: logarithmic counter |

use crate::clock::Stamp;

/// Eviction metadata of one key: a number below 2^13.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meta(u16);

const USES_SHIFT: u32 = Stamp::BITS;
const MAIN_SHIFT: u32 = USES_SHIFT + 2;
const PERIOD_SHIFT: u32 = 8;

impl Meta {
    /// Bits in use.
    pub const BITS: u32 = 13;
    /// `f` stops here.
    pub(crate) const MAX_USES: u8 = 3;
    /// LFU's decay periods are counted modulo this.
    pub(crate) const PERIODS: u32 = 1 << (Self::BITS - PERIOD_SHIFT);

    /// From what [`Meta::to_bits`] gave; higher bits are dropped.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits & ((1 << Self::BITS) - 1))
    }

    /// The metadata as a number below 2^13.
    pub const fn to_bits(self) -> u16 {
        self.0
    }

    /// Metadata in the recency reading.
    pub(crate) const fn new(main: bool, uses: u8, stamp: Stamp) -> Self {
        Self((main as u16) << MAIN_SHIFT | (uses as u16) << USES_SHIFT | stamp.get())
    }

    /// Whether the key is in the main part: `q`. Its bytes count as probation otherwise.
    pub const fn is_main(self) -> bool {
        self.0 >> MAIN_SHIFT != 0
    }

    /// Uses since the key was last repositioned, at most 3: `f`.
    pub const fn uses(self) -> u8 {
        (self.0 >> USES_SHIFT) as u8 & Self::MAX_USES
    }

    /// When the key was last repositioned: `t`.
    pub const fn stamp(self) -> Stamp {
        Stamp::new(self.0)
    }

    pub(crate) const fn with_use(self) -> Self {
        if self.uses() < Self::MAX_USES {
            Self(self.0 + (1 << USES_SHIFT))
        } else {
            self
        }
    }

    pub(crate) const fn with_stamp(self, stamp: Stamp) -> Self {
        Self(self.0 & !(Stamp::SPAN - 1) | stamp.get())
    }

    /// Metadata in LFU's reading.
    pub(crate) const fn from_counter(counter: u8, period: u32) -> Self {
        Self(((period % Self::PERIODS) << PERIOD_SHIFT) as u16 | counter as u16)
    }

    /// LFU's counter as of [`Meta::period`].
    pub(crate) const fn counter(self) -> u8 {
        self.0 as u8
    }

    /// The decay period in which LFU's counter was last brought up to date, modulo 32.
    pub(crate) const fn period(self) -> u32 {
        (self.0 >> PERIOD_SHIFT) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_fields_of_both_readings_do_not_disturb_each_other(main: bool, uses in 0u8..4, tick in 0u16..1024, other in 0u16..1024, counter: u8, period in 0u32..32) {
            let meta = Meta::new(main, uses, Stamp::new(tick));
            prop_assert_eq!((meta.is_main(), meta.uses(), meta.stamp()), (main, uses, Stamp::new(tick)));
            prop_assert_eq!(Meta::from_bits(meta.to_bits()), meta);
            prop_assert!(u32::from(meta.to_bits()) < 1 << Meta::BITS);
            prop_assert_eq!(meta.with_use(), Meta::new(main, (uses + 1).min(3), Stamp::new(tick)));
            prop_assert_eq!(meta.with_stamp(Stamp::new(other)), Meta::new(main, uses, Stamp::new(other)));

            let meta = Meta::from_counter(counter, period);
            prop_assert_eq!((meta.counter(), meta.period()), (counter, period));
            prop_assert!(u32::from(meta.to_bits()) < 1 << Meta::BITS);
        }
    }
}
