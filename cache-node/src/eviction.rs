//! Eviction as the node runs it: what its policy is, what it remembers, and what its clock says.
//!
//! The policies themselves are pure and live in `cache_eviction`. This module owns the state that workers share: the rules in force, the
//! logical clock, the memory of evicted keys (a ghost for each stripe of slots), and the observer of `auto`. Making room is in
//! [`room`], what counts as memory in [`pressure`].

mod pressure;
mod room;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};

use cache_eviction::{
    Access, Auto, Ghost, Kind, LfuConfig, Meta, Now, Policy, Rules, Sampler, SizeWeight, Stamp,
    insertions_per_tick,
};
use parking_lot::{Mutex, RwLock};

use crate::clock::{self, Millis};
use crate::slot::{SLOT_COUNT, SlotId};
use crate::store::{KeyHash, Usage};

pub(crate) use pressure::Pressure;
pub(crate) use room::{keep_headroom, make_room};

/// Slots that share a ghost.
const STRIPE: usize = 256;

/// In quiet times a tick is at least so long, and at most [`LONGEST_TICK`]; between the two, 512 of them make a turnover.
const SHORTEST_TICK: Millis = 10_000;
const LONGEST_TICK: Millis = 60_000;

/// Ticks that are told apart.
const TICKS: usize = 1 << Stamp::BITS;

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
    /// Kind of the rules in force; follows `auto`.
    kind: AtomicU32,
    /// Whether there is a limit, so that anything may ever be evicted.
    limited: AtomicBool,
    stamp: AtomicU32,
    insertions: AtomicU64,
    /// Insertions that make a tick.
    per_tick: AtomicU64,
    /// When each tick began, in seconds since the epoch.
    began: Box<[AtomicU32]>,
    last_tick: AtomicU64,
    /// Insertions in all.
    inserted: AtomicU64,
    ghosts: Box<[Mutex<Ghost>]>,
    auto: Mutex<Option<Auto>>,
    sampler: RwLock<Option<Sampler>>,
}

/// The order of [`Kind`]s in [`Eviction::kind`].
const KINDS: [Kind; 7] = [
    Kind::Lru,
    Kind::Lfu,
    Kind::Lrm,
    Kind::Random,
    Kind::Ttl,
    Kind::Fifo,
    Kind::S3,
];

fn number_of(kind: Kind) -> u32 {
    let place = KINDS.iter().position(|known| *known == kind);
    place.unwrap_or(0) as u32
}

impl Eviction {
    pub(crate) fn new(choice: Choice, limited: bool) -> Self {
        let now = (clock::now() / 1000) as u32;
        let eviction = Self {
            choice: RwLock::new(choice),
            kind: AtomicU32::new(0),
            limited: AtomicBool::new(limited),
            stamp: AtomicU32::new(0),
            insertions: AtomicU64::new(0),
            per_tick: AtomicU64::new(1),
            began: (0..TICKS).map(|_| AtomicU32::new(now)).collect(),
            last_tick: AtomicU64::new(clock::now()),
            inserted: AtomicU64::new(0),
            ghosts: (0..SLOT_COUNT / STRIPE).map(|_| Mutex::default()).collect(),
            auto: Mutex::new(None),
            sampler: RwLock::new(None),
        };
        eviction.adopt(choice, limited, 0, 0);
        eviction
    }

    /// Goes over to other settings. `keys` and `bytes` are what the node holds now.
    pub(crate) fn adopt(&self, choice: Choice, limited: bool, keys: usize, bytes: usize) {
        let before = std::mem::replace(&mut *self.choice.write(), choice);
        let was_limited = self.limited.swap(limited, Relaxed);
        let starts = choice.policy == Policy::Auto && limited;
        let mut auto = self.auto.lock();
        if !starts {
            *auto = None;
        } else if auto.is_none() || before.weight != choice.weight {
            *auto = Some(Auto::new(
                choice.weight,
                keys as u64,
                bytes as u64,
                rand::random(),
            ));
        }
        if (before != choice || was_limited != limited) && !(choice.policy.keeps_ghost() && limited)
        {
            self.ghosts
                .iter()
                .for_each(|ghost| *ghost.lock() = Ghost::default());
        }
        self.follow(auto.as_ref(), choice);
    }

    /// Brings what commands look at in line with the choice.
    fn follow(&self, auto: Option<&Auto>, choice: Choice) {
        let kind = match (choice.policy, auto) {
            (_, Some(auto)) => auto.choice(),
            // Without a limit `auto` has nothing to observe.
            (policy, None) => policy.kind().unwrap_or(Kind::Lru),
        };
        self.kind.store(number_of(kind), Relaxed);
        *self.sampler.write() = auto.map(Auto::sampler);
    }

    pub(crate) fn choice(&self) -> Choice {
        *self.choice.read()
    }

    /// The kind of policy in force; under `auto` what it has chosen.
    pub(crate) fn kind(&self) -> Kind {
        let number = self.kind.load(Relaxed) as usize;
        KINDS.get(number).copied().unwrap_or(Kind::Lru)
    }

    /// The rules and the time for commands at `now`.
    pub(crate) fn usage(&self, now: Millis) -> Usage {
        let mut rules = Rules::new(self.kind());
        if rules.kind == Kind::Lfu {
            rules.lfu = self.choice().lfu;
        }
        Usage {
            rules,
            now: Now {
                stamp: Stamp::new(self.stamp.load(Relaxed) as u16),
                minutes: (now / 60_000) as u32,
            },
            sampler: *self.sampler.read(),
        }
    }

    fn ghost(&self, slot: SlotId) -> &Mutex<Ghost> {
        &self.ghosts[slot.index() / STRIPE]
    }

    /// The mark of a key that is about to be added.
    pub(crate) fn fresh(&self, slot: SlotId, hash: KeyHash, usage: &Usage) -> Meta {
        if !self.limited.load(Relaxed) {
            return usage.rules.on_insert(false, usage.now);
        }
        self.count_insertion();
        let remembered = usage.rules.kind == Kind::S3 && self.ghost(slot).lock().take(hash.0);
        usage.rules.on_insert(remembered, usage.now)
    }

    /// A key was evicted that is to be remembered.
    fn remember(&self, slot: SlotId, hash: KeyHash) {
        if self.choice().policy.keeps_ghost() {
            self.ghost(slot).lock().remember(hash.0);
        }
    }

    fn count_insertion(&self) {
        self.inserted.fetch_add(1, Relaxed);
        let insertions = self.insertions.fetch_add(1, Relaxed) + 1;
        if insertions >= self.per_tick.load(Relaxed) {
            self.insertions.store(0, Relaxed);
            self.tick(clock::now());
        }
    }

    fn tick(&self, now: Millis) {
        let stamp = self.stamp.fetch_add(1, Relaxed).wrapping_add(1) as usize % TICKS;
        self.began[stamp].store((now / 1000) as u32, Relaxed);
        self.last_tick.store(now, Relaxed);
    }

    /// `auto` wants to know of an access to this key, for which [`Usage::observed`] said so.
    pub(crate) fn observe(&self, hash: KeyHash, access: Access) {
        let mut auto = self.auto.lock();
        if let Some(observer) = auto.as_mut() {
            let before = observer.choice();
            observer.observe(hash.0, access);
            if observer.choice() != before {
                tracing::info!(policy = ?observer.choice(), "auto has chosen another eviction policy");
                self.follow(auto.as_ref(), self.choice());
            }
        }
    }

    /// Once a second: lets the clock tick in quiet times, and lets what depends on the number of keys follow it.
    pub(crate) fn keep(&self, keys: usize, bytes: usize, inserted_before: &mut u64) {
        let inserted = self.inserted.load(Relaxed);
        let rate = inserted - std::mem::replace(inserted_before, inserted);
        self.per_tick
            .store(insertions_per_tick(keys as u64), Relaxed);
        let turnover = (keys as u64 * 1000).checked_div(rate);
        let length = if self.limited.load(Relaxed) {
            turnover.map_or(LONGEST_TICK, |turnover| turnover / 512)
        } else {
            SHORTEST_TICK
        };
        let now = clock::now();
        let length = length.clamp(SHORTEST_TICK, LONGEST_TICK);
        if now.saturating_sub(self.last_tick.load(Relaxed)) >= length {
            self.tick(now);
        }
        let choice = self.choice();
        if self.limited.load(Relaxed) && choice.policy.keeps_ghost() {
            let each = (keys / self.ghosts.len()).max(1) as u64;
            for ghost in &self.ghosts {
                ghost.lock().resize(each);
            }
        }
        let mut auto = self.auto.lock();
        if let Some(observer) = auto.as_mut() {
            observer.resize(keys as u64, bytes as u64);
            self.follow(auto.as_ref(), choice);
        }
    }

    /// Bytes that eviction takes for itself.
    pub(crate) fn bytes(&self) -> usize {
        let ghosts = self.ghosts.iter().map(|ghost| ghost.lock().heap_bytes());
        ghosts.sum::<usize>() + self.auto.lock().as_ref().map_or(0, Auto::heap_bytes)
    }

    /// Seconds since a key was used (under LRM: changed; under S3 and FIFO: repositioned), as exact as the clock's ticks.
    pub(crate) fn idle_seconds(&self, meta: Meta, usage: &Usage) -> u64 {
        let ticks = usize::from(usage.rules.idle_ticks(meta, usage.now));
        let present = usize::from(usage.now.stamp.get());
        let then = self.began[(present + TICKS - ticks) % TICKS].load(Relaxed);
        (clock::now() / 1000).saturating_sub(u64::from(then)) * u64::from(ticks > 0)
    }

    /// The clock's present tick, to see how far it has moved.
    pub(crate) fn ticks(&self) -> u32 {
        self.stamp.load(Relaxed)
    }
}
