//! Redis's logarithmic use counter with decay, in 13 bits.
//!
//! Owns the arithmetic of the counter. Redis stamps the counter with 16 bits of minutes; five bits are left here, so that the stamp
//! counts decay periods (`lfu-decay-time` minutes each) modulo 32, and the sweep brings every counter up to date within 31 periods.

use crate::meta::Meta;

/// New keys start here, so that they are not the first to go (`LFU_INIT_VAL`).
const INITIAL: u8 = 5;

/// `lfu-log-factor` and `lfu-decay-time`. After a change of the decay time, counters decay by up to 31 too much, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LfuConfig {
    /// The higher, the more uses a step of the counter takes.
    pub log_factor: u32,
    /// Minutes after which the counter falls by one; 0 is never.
    pub decay_minutes: u32,
}

impl Default for LfuConfig {
    /// Redis's defaults.
    fn default() -> Self {
        Self {
            log_factor: 10,
            decay_minutes: 1,
        }
    }
}

impl LfuConfig {
    fn period(self, minutes: u32) -> u32 {
        minutes.checked_div(self.decay_minutes).unwrap_or(0)
    }

    /// The counter, decayed up to now. `OBJECT FREQ` answers this.
    pub(crate) fn counter(self, meta: Meta, minutes: u32) -> u8 {
        if self.decay_minutes == 0 {
            return meta.counter();
        }
        let periods = self.period(minutes).wrapping_sub(meta.period()) % Meta::PERIODS;
        meta.counter().saturating_sub(periods as u8)
    }

    pub(crate) fn first(self, minutes: u32) -> Meta {
        Meta::from_counter(INITIAL, self.period(minutes))
    }

    pub(crate) fn decayed(self, meta: Meta, minutes: u32) -> Meta {
        Meta::from_counter(self.counter(meta, minutes), self.period(minutes))
    }

    /// After one use: decayed, then raised by one with a probability that falls as the counter grows.
    pub(crate) fn used(self, meta: Meta, minutes: u32, random: u64) -> Meta {
        let counter = self.counter(meta, minutes);
        let above = u64::from(counter.saturating_sub(INITIAL));
        let odds = above * u64::from(self.log_factor) + 1;
        let raised = u128::from(random) * u128::from(odds) <= u128::from(u64::MAX);
        Meta::from_counter(
            counter.saturating_add(u8::from(raised)),
            self.period(minutes),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    #[test]
    fn the_counter_falls_by_one_a_decay_period_and_not_below_zero() {
        let lfu = LfuConfig {
            log_factor: 10,
            decay_minutes: 7,
        };
        let meta = lfu.first(70);
        assert_eq!(lfu.counter(meta, 76), 5);
        assert_eq!(lfu.counter(meta, 77), 4);
        assert_eq!(lfu.counter(meta, 70 + 7 * 20), 0);
        assert_eq!(lfu.decayed(meta, 77), Meta::from_counter(4, 11));
    }

    #[test]
    fn without_decay_the_counter_stays() {
        let lfu = LfuConfig {
            log_factor: 10,
            decay_minutes: 0,
        };
        assert_eq!(lfu.counter(lfu.first(3), u32::MAX), INITIAL);
    }

    #[test]
    fn a_hundred_uses_raise_the_counter_as_redis_documents() {
        // redis.conf: with factor 10 the counter reaches about 10 after 100 hits, 18 after 1,000, 142 after 100,000.
        let lfu = LfuConfig {
            log_factor: 10,
            decay_minutes: 0,
        };
        let mut random = StdRng::seed_from_u64(1);
        let mut mean_after = |uses: u32| {
            let total: u32 = (0..20)
                .map(|_| {
                    let used =
                        (0..uses).fold(lfu.first(0), |meta, _| lfu.used(meta, 0, random.random()));
                    u32::from(lfu.counter(used, 0))
                })
                .sum();
            total / 20
        };
        assert!((8..=11).contains(&mean_after(100)));
        assert!((16..=21).contains(&mean_after(1_000)));
        assert!((135..=150).contains(&mean_after(100_000)));
    }

    #[test]
    fn the_counter_saturates() {
        let lfu = LfuConfig {
            log_factor: 0,
            decay_minutes: 0,
        };
        let used = (0..300).fold(lfu.first(0), |meta, _| lfu.used(meta, 0, u64::MAX));
        assert_eq!(lfu.counter(used, 0), 255);
    }
}
