//! Eviction as the node runs it: what its policy is, what it remembers, and what its clock says.
//!
//! The policies themselves are pure and live in `cache_eviction`. This module owns the state that workers share: the rules in force, the
//! logical [clock](ticks), the [memory of evicted keys](ghosts), and the observer of `auto`. Making room is in [`room`], finding
//! candidates in [`sampling`], what counts as memory in [`pressure`], keeping marks from wrapping round in [`sweep`].

mod ghosts;
mod pressure;
mod room;
mod sampling;
mod sweep;
mod ticks;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use cache_eviction::{
    Access, Auto, Kind, LfuConfig, Meta, Now, Policy, Rules, Sampler, SizeWeight,
};
use parking_lot::{Mutex, RwLock};

use crate::clock::{self, Millis};
use crate::store::{KeyHash, Memory, Usage};

use ghosts::Ghosts;
use sweep::Sweep;
use ticks::Ticks;

pub(crate) use pressure::Pressure;
pub(crate) use room::{keep_headroom, make_room};
pub(crate) use sweep::sweep;

/// What the operator of the node chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) policy: Policy,
    pub(crate) weight: SizeWeight,
    /// Keys looked at for one to be evicted, at least.
    pub(crate) samples: usize,
    pub(crate) lfu: LfuConfig,
}

/// The state of eviction.
pub(crate) struct Eviction {
    choice: RwLock<Choice>,
    /// Kind of the rules in force, as a place in [`KINDS`]; follows `auto`.
    kind: AtomicU32,
    /// Whether there is a limit, so that anything may ever be evicted.
    limited: AtomicBool,
    /// Whether anything was evicted since the data set was empty or the policy another: ghosts and `auto` are of use from then on.
    begun: AtomicBool,
    clock: Ticks,
    /// The tick at which ghosts and `auto` last followed the number of keys.
    followed: AtomicU64,
    ghosts: Ghosts,
    auto: Mutex<Option<Auto>>,
    auto_bytes: AtomicUsize,
    sampler: RwLock<Option<Sampler>>,
    sweep: Sweep,
}

/// Every kind, with its name for people.
const KINDS: [(Kind, &str); 8] = [
    (Kind::Lru, "lru"),
    (Kind::Lfu, "lfu"),
    (Kind::Lrm, "lrm"),
    (Kind::Random, "random"),
    (Kind::Ttl, "ttl"),
    (Kind::Fifo, "fifo"),
    (Kind::S3, "s3"),
    (Kind::S3Lenient, "s3-lenient"),
];

fn number_of(kind: Kind) -> u32 {
    let place = KINDS.iter().position(|(known, _)| *known == kind);
    place.expect("every kind is in the list") as u32
}

impl Eviction {
    pub(crate) fn new(choice: Choice, limited: bool) -> Self {
        let eviction = Self {
            choice: RwLock::new(choice),
            kind: AtomicU32::new(0),
            limited: AtomicBool::new(limited),
            begun: AtomicBool::new(false),
            clock: Ticks::new(clock::now()),
            followed: AtomicU64::new(0),
            ghosts: Ghosts::new(),
            auto: Mutex::new(None),
            auto_bytes: AtomicUsize::new(0),
            sampler: RwLock::new(None),
            sweep: Sweep::new(),
        };
        eviction.put_in_force(None, choice);
        eviction
    }

    /// Goes over to other settings.
    pub(crate) fn adopt(&self, choice: Choice, limited: bool) {
        let before = std::mem::replace(&mut *self.choice.write(), choice);
        let was_limited = self.limited.swap(limited, Relaxed);
        if before.policy != choice.policy
            || before.weight != choice.weight
            || was_limited != limited
        {
            self.begin_anew();
        }
    }

    /// Forgets what was learned from evictions.
    fn begin_anew(&self) {
        let mut auto = self.auto.lock();
        self.begun.store(false, Relaxed);
        self.ghosts.forget();
        *auto = None;
        self.put_in_force(None, self.choice());
    }

    /// Brings what commands look at in line with the choice.
    fn put_in_force(&self, auto: Option<&Auto>, choice: Choice) {
        let kind = match (choice.policy.kind(), auto) {
            (Some(kind), _) => kind,
            (None, Some(auto)) => auto.choice(),
            // What `auto` begins with; for `noeviction` it does not matter, and idle times are most exact under LRU.
            (None, None) if choice.policy == Policy::Auto => Kind::S3,
            (None, None) => Kind::Lru,
        };
        self.kind.store(number_of(kind), Relaxed);
        self.auto_bytes
            .store(auto.map_or(0, Auto::heap_bytes), Relaxed);
        *self.sampler.write() = auto.map(Auto::sampler);
    }

    pub(crate) fn choice(&self) -> Choice {
        *self.choice.read()
    }

    fn kind_and_name(&self) -> (Kind, &'static str) {
        let number = self.kind.load(Relaxed) as usize;
        KINDS.get(number).copied().unwrap_or(KINDS[0])
    }

    /// Name of the kind of policy in force, under `auto` of what it has chosen.
    pub(crate) fn kind_name(&self) -> &'static str {
        if self.choice().policy == Policy::NoEviction {
            return "none";
        }
        self.kind_and_name().1
    }

    /// The time for the policies' cores. Asked for under a slot's lock, it is not before any mark in that slot.
    fn time(&self, now: Millis) -> Now {
        Now {
            stamp: self.clock.stamp(),
            minutes: (now / 60_000) as u32,
        }
    }

    /// The rules and the time for commands at `now`.
    pub(crate) fn usage(&self, now: Millis) -> Usage {
        let mut rules = Rules::new(self.kind_and_name().0);
        if rules.kind == Kind::Lfu {
            rules.lfu = self.choice().lfu;
        }
        Usage {
            rules,
            now: self.time(now),
            sampler: *self.sampler.read(),
        }
    }

    /// The mark of a key that is about to be added.
    #[inline]
    pub(crate) fn fresh(&self, memory: &Memory, hash: KeyHash, usage: &Usage) -> Meta {
        if !self.limited.load(Relaxed) {
            return usage.rules.on_insert(false, usage.now);
        }
        self.clock.inserted(clock::now, || memory.keys_here());
        let now = Now {
            stamp: self.clock.stamp(),
            ..usage.now
        };
        usage.rules.on_insert(self.ghosts.take(hash), now)
    }

    /// `auto` wants to know of an access to this key, for which [`Usage::observed`] said so. When another thread is telling it
    /// something, this access is left out.
    pub(crate) fn observe(&self, hash: KeyHash, access: Access) {
        let Some(mut auto) = self.auto.try_lock() else {
            return;
        };
        if let Some(observer) = auto.as_mut() {
            let before = observer.choice();
            observer.observe(hash.0, access);
            if observer.choice() != before {
                self.put_in_force(auto.as_ref(), self.choice());
                tracing::info!(
                    policy = self.kind_name(),
                    "auto has chosen another eviction policy"
                );
            }
        }
    }

    /// Something is about to be evicted: once a tick, what depends on the number of keys follows it.
    fn evicting(&self, memory: &Memory) {
        let tick = self.clock.count();
        let followed = self.followed.load(Relaxed);
        if followed == tick && self.begun.load(Relaxed) {
            return;
        }
        let claimed = self
            .followed
            .compare_exchange(followed, tick, Relaxed, Relaxed);
        if claimed.is_ok() {
            self.begun.store(true, Relaxed);
            self.follow(memory);
        }
    }

    /// Lets ghosts and `auto` follow the number of keys.
    fn follow(&self, memory: &Memory) {
        let choice = self.choice();
        if !self.limited.load(Relaxed) || !choice.policy.keeps_ghost() {
            return;
        }
        let (keys, bytes) = (memory.keys_here(), memory.entries_here() as u64);
        let Some(mut auto) = self.auto.try_lock() else {
            return;
        };
        self.ghosts.follow(keys);
        if choice.policy == Policy::Auto {
            auto.get_or_insert_with(|| {
                Auto::new(choice.weight, keys as u64, bytes, rand::random())
            })
            .resize(keys as u64, bytes);
            self.put_in_force(auto.as_ref(), choice);
        }
    }

    /// Once a second: lets the clock tick in quiet times, and lets what depends on the number of keys follow it.
    pub(crate) fn keep(&self, memory: &Memory) {
        let keys = memory.keys();
        self.clock
            .keep(clock::now(), keys, self.limited.load(Relaxed));
        if self.begun.load(Relaxed) {
            if keys == 0 {
                self.begin_anew();
            } else {
                self.follow(memory);
            }
        }
    }

    /// Bytes that ghosts take, and the miniature caches of `auto`.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        (self.ghosts.bytes(), self.auto_bytes.load(Relaxed))
    }

    /// Seconds since a key was used (under LRM: changed; under S3 and FIFO: repositioned), as exact as the clock's ticks.
    pub(crate) fn idle_seconds(&self, meta: Meta, usage: &Usage) -> u64 {
        let now = clock::now();
        let ticks = usage.rules.idle_ticks(meta, self.time(now));
        self.clock.seconds_since(ticks, now)
    }

    /// Ticks of the clock since the start.
    fn ticks(&self) -> u64 {
        self.clock.count()
    }
}

#[cfg(test)]
mod tests;
