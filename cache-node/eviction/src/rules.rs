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
