//! How each kind of policy changes a key's metadata: on insertion, on use, in the sweep, and when the key is up for eviction.
//!
//! Owns the transition rules of [`Meta`]; pure functions of their arguments. Order among candidates is in `evictor`.

use crate::{
    clock::{Now, Stamp},
    lfu::LfuConfig,
    meta::Meta,
    policy::Kind,
    pool::Candidate,
};

/// What is to happen to a candidate that came up for eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was used or moved since it was sampled: leave it and take the next.
    Stale,
    /// Evict it, and [`crate::Ghost::remember`] it if so said and the policy keeps a ghost.
    Evict {
        /// Whether the key goes into the ghost.
        remember: bool,
    },
    /// It has earned to stay: write this metadata and take the next. Whether the key [is in the main part](Meta::is_main) may change.
    Keep(Meta),
}

/// The rules of one kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The kind.
    pub kind: Kind,
    /// Only LFU looks at this.
    pub lfu: LfuConfig,
}

impl Rules {
    /// The rules of a kind, with Redis's defaults for LFU.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            lfu: LfuConfig::default(),
        }
    }

    /// Metadata of a new key. `ghost_hit` is what [`crate::Ghost::take`] said of it: under S3 such a key skips probation.
    #[inline]
    pub fn on_insert(self, ghost_hit: bool, now: Now) -> Meta {
        match self.kind {
            Kind::Lfu => self.lfu.first(now.minutes),
            Kind::S3 | Kind::S3Lenient => Meta::new(ghost_hit, 0, now.stamp),
            _ => Meta::new(false, 0, now.stamp),
        }
    }

    /// Metadata after a read, if it changes. Under S3 only the first three reads after a repositioning write anything. `random` is
    /// called by LFU only.
    #[inline]
    pub fn on_read(self, meta: Meta, now: Now, random: impl FnOnce() -> u64) -> Option<Meta> {
        let after = match self.kind {
            Kind::S3 | Kind::S3Lenient => meta.with_use(),
            // Uses are counted so that a change to S3 finds them.
            Kind::Lru => meta.with_use().with_stamp(now.stamp),
            Kind::Lfu => self.lfu.used(meta, now.minutes, random()),
            Kind::Lrm | Kind::Random | Kind::Ttl | Kind::Fifo => return None,
        };
        (after != meta).then_some(after)
    }

    /// Metadata after an overwrite or a change in place, if it changes.
    #[inline]
    pub fn on_write(self, meta: Meta, now: Now, random: impl FnOnce() -> u64) -> Option<Meta> {
        match self.kind {
            Kind::Lrm => {
                let after = meta.with_stamp(now.stamp);
                (after != meta).then_some(after)
            }
            _ => self.on_read(meta, now, random),
        }
    }

    /// What a background sweep writes, if anything: it must see every key within 256 ticks, and under LFU within 31 decay periods,
    /// so that no stamp wraps and looks young.
    #[inline]
    pub fn on_sweep(self, meta: Meta, now: Now) -> Option<Meta> {
        let after = match self.kind {
            Kind::Lfu => self.lfu.decayed(meta, now.minutes),
            _ if now.stamp.since(meta.stamp()) > Stamp::OLDEST => {
                meta.with_stamp(now.stamp.back(Stamp::OLDEST))
            }
            _ => return None,
        };
        (after != meta).then_some(after)
    }

    /// Ticks since the key was repositioned, for `OBJECT IDLETIME` (under LRU and LRM: since it was used or modified).
    pub fn idle_ticks(self, meta: Meta, now: Now) -> u16 {
        now.stamp.since(meta.stamp())
    }

    /// LFU's counter, decayed up to now, for `OBJECT FREQ`.
    pub fn lfu_counter(self, meta: Meta, now: Now) -> u8 {
        self.lfu.counter(meta, now.minutes)
    }

    /// What is to happen to a candidate from [`crate::Evictor::pop`], given what the entry says now. To be called under the entry's
    /// lock; if the place holds no entry or another key's, the candidate is stale without asking.
    pub fn judge<P>(self, sampled: &Candidate<P>, current: &Candidate<P>, now: Now) -> Verdict {
        let (then, meta) = (sampled.meta, current.meta);
        let stale = match self.kind {
            Kind::Random => false,
            Kind::Ttl => sampled.deadline != current.deadline,
            Kind::Lfu => self.lfu.counter(meta, now.minutes) > self.lfu.counter(then, now.minutes),
            _ => (meta.is_main(), meta.stamp()) != (then.is_main(), then.stamp()),
        };
        if stale {
            return Verdict::Stale;
        }
        let (main, uses) = (meta.is_main(), meta.uses());
        match self.kind {
            Kind::S3 | Kind::S3Lenient if main && uses > 0 => {
                Verdict::Keep(Meta::new(true, uses - 1, now.stamp))
            }
            Kind::S3 | Kind::S3Lenient if !main && uses >= self.kind.uses_to_promote() => {
                Verdict::Keep(Meta::new(true, 0, now.stamp))
            }
            Kind::S3 | Kind::S3Lenient => Verdict::Evict { remember: !main },
            // Inserted under S3, whose reads do not move the stamp: it may have been used a moment ago.
            Kind::Lru if main && uses > 0 => Verdict::Keep(Meta::new(false, uses, now.stamp)),
            // So that S3, should `auto` change to it, finds a memory.
            Kind::Lru => Verdict::Evict { remember: true },
            _ => Verdict::Evict { remember: false },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(tick: u16) -> Now {
        Now {
            stamp: Stamp::new(tick),
            minutes: 0,
        }
    }

    fn verdict(kind: Kind, meta: Meta, now: Now) -> Verdict {
        let candidate = Candidate {
            place: (),
            meta,
            bytes: 1,
            deadline: None,
        };
        Rules::new(kind).judge(&candidate, &candidate, now)
    }

    fn read(kind: Kind, meta: Meta, now: Now) -> Option<Meta> {
        Rules::new(kind).on_read(meta, now, || 0)
    }

    #[test]
    fn s3_puts_a_new_key_on_probation_unless_the_ghost_knows_it() {
        let rules = Rules::new(Kind::S3);
        assert_eq!(
            rules.on_insert(false, at(7)),
            Meta::new(false, 0, Stamp::new(7))
        );
        assert_eq!(
            rules.on_insert(true, at(7)),
            Meta::new(true, 0, Stamp::new(7))
        );
        assert_eq!(
            Rules::new(Kind::Lru).on_insert(true, at(7)),
            Meta::new(false, 0, Stamp::new(7))
        );
    }

    #[test]
    fn s3_writes_on_the_first_three_reads_and_then_never() {
        let mut meta = Rules::new(Kind::S3).on_insert(false, at(7));
        for uses in 1..=3 {
            meta = read(Kind::S3, meta, at(50)).unwrap();
            assert_eq!(meta, Meta::new(false, uses, Stamp::new(7)));
        }
        assert_eq!(read(Kind::S3, meta, at(60)), None);
    }

    #[test]
    fn s3_promotes_after_two_uses_and_its_lenient_form_after_one() {
        let (now, then) = (at(30), Stamp::new(10));
        let promoted = Verdict::Keep(Meta::new(true, 0, now.stamp));
        for (kind, uses, expected) in [
            (Kind::S3, 0, Verdict::Evict { remember: true }),
            (Kind::S3, 1, Verdict::Evict { remember: true }),
            (Kind::S3, 2, promoted),
            (Kind::S3Lenient, 0, Verdict::Evict { remember: true }),
            (Kind::S3Lenient, 1, promoted),
        ] {
            assert_eq!(
                verdict(kind, Meta::new(false, uses, then), now),
                expected,
                "{kind:?} after {uses} uses"
            );
        }
    }

    #[test]
    fn s3_gives_a_main_key_one_more_turn_a_use() {
        let now = at(30);
        let then = Stamp::new(10);
        assert_eq!(
            verdict(Kind::S3, Meta::new(true, 3, then), now),
            Verdict::Keep(Meta::new(true, 2, now.stamp))
        );
        assert_eq!(
            verdict(Kind::S3, Meta::new(true, 0, then), now),
            Verdict::Evict { remember: false }
        );
    }

    #[test]
    fn lru_restamps_on_reads_and_writes_only_if_a_tick_has_passed() {
        let meta = Meta::new(false, 3, Stamp::new(10));
        assert_eq!(read(Kind::Lru, meta, at(10)), None);
        assert_eq!(
            read(Kind::Lru, meta, at(11)),
            Some(Meta::new(false, 3, Stamp::new(11)))
        );
        assert_eq!(
            Rules::new(Kind::Lru).on_write(meta, at(11), || 0),
            read(Kind::Lru, meta, at(11))
        );
    }

    #[test]
    fn lrm_restamps_on_writes_only_and_fifo_never() {
        let meta = Meta::new(false, 0, Stamp::new(10));
        let after = |kind| {
            (
                read(kind, meta, at(20)),
                Rules::new(kind).on_write(meta, at(20), || 0),
            )
        };
        assert_eq!(
            after(Kind::Lrm),
            (None, Some(meta.with_stamp(Stamp::new(20))))
        );
        for kind in [Kind::Fifo, Kind::Ttl, Kind::Random] {
            assert_eq!(after(kind), (None, None), "{kind:?}");
        }
    }

    #[test]
    fn a_key_that_s3_had_in_use_gets_one_turn_after_a_change_to_lru() {
        let hot = Meta::new(true, 2, Stamp::new(0));
        let Verdict::Keep(kept) = verdict(Kind::Lru, hot, at(30)) else {
            panic!("it was evicted")
        };
        assert_eq!(kept, Meta::new(false, 2, Stamp::new(30)));
        assert_eq!(
            verdict(Kind::Lru, kept, at(60)),
            Verdict::Evict { remember: true }
        );
    }

    #[test]
    fn candidates_that_have_changed_are_stale() {
        let rules = Rules::new(Kind::Ttl);
        let sampled = Candidate {
            place: (),
            meta: Meta::default(),
            bytes: 1,
            deadline: Some(5),
        };
        assert_eq!(
            rules.judge(
                &sampled,
                &Candidate {
                    deadline: Some(9),
                    ..sampled
                },
                at(0)
            ),
            Verdict::Stale
        );
        let rules = Rules::new(Kind::Lfu);
        let sampled = Candidate {
            meta: Meta::from_counter(4, 0),
            ..sampled
        };
        let used = Candidate {
            meta: Meta::from_counter(5, 0),
            ..sampled
        };
        assert_eq!(rules.judge(&sampled, &used, at(0)), Verdict::Stale);
        // More uses without a repositioning do not make an S3 candidate stale; they count for it.
        let sampled = Candidate {
            meta: Meta::new(false, 0, Stamp::new(3)),
            ..sampled
        };
        let used = Candidate {
            meta: Meta::new(false, 2, Stamp::new(3)),
            ..sampled
        };
        assert!(matches!(
            Rules::new(Kind::S3).judge(&sampled, &used, at(9)),
            Verdict::Keep(_)
        ));
    }

    proptest! {
        /// Swept as often as asked for, a key never looks younger than another that was repositioned after it.
        #[test]
        fn the_sweep_keeps_the_order_of_ages(ages in prop::collection::vec(0u32..5000, 2), every in 1u32..=255) {
            let rules = Rules::new(Kind::Lru);
            let end = 5000u32;
            let swept = |age: u32| {
                let start = end - age;
                let mut meta = Meta::new(false, 0, Stamp::new(start as u16 % 1024));
                for tick in (start..=end).filter(|tick| tick % every == 0) {
                    meta = rules.on_sweep(meta, at(tick as u16 % 1024)).unwrap_or(meta);
                }
                rules.idle_ticks(meta, at(end as u16 % 1024))
            };
            let (a, b) = (ages[0].max(ages[1]), ages[0].min(ages[1]));
            prop_assert!(swept(b) as u32 <= b);
            if b <= u32::from(Stamp::OLDEST) {
                prop_assert_eq!(u32::from(swept(b)), b);
                prop_assert!(swept(a) >= swept(b) || a > u32::from(Stamp::OLDEST) && swept(a) >= Stamp::OLDEST);
            }
        }
    }
}
