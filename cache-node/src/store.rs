//! The data set: 16,384 slots, each with a lock, a table, and its counts. No I/O happens here.
//!
//! A command takes its slots' locks with [`Store::try_lock`]. When that fails, the command (not the thread) waits with
//! [`Store::available`] and is tried again from the start, routing included. Housekeeping, replication and migration take a slot with
//! [`Store::lock`], which also gets at paused slots. A guard must not be held across an await; the compiler sees to it, since guards
//! are not `Send`.

mod data;
mod encode;
mod keeper;
mod memory;
mod rdb;
mod reaper;
mod shared;
mod slot;
mod walk;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use parking_lot::{Condvar, Mutex};

use crate::clock::{Millis, Tick};
use crate::slot::{SLOT_COUNT, SlotId, SlotSet};
use crate::stats::Durations;

pub use cache_engine::KeyHash;
pub use cache_engine::collections::{Detached, PackLimits, Run};
pub use cache_engine::entry::{Entry, MAX_INLINE};
pub use cache_engine::hash::{Hash, HashRef};
pub use cache_engine::list::{End, List, ListRef};
pub use cache_engine::packed::Item;
pub use cache_engine::prefetch::{self, BucketAddress};
pub use cache_engine::set::{Set, SetRef};
pub use cache_engine::sorted_set::{Members, SortedSet, SortedSetRef};
pub use cache_engine::table::{Identity, Place, SCAN_BITS};
pub use cache_engine::text::Text;
pub use cache_engine::value::{Value, ValueRef};
pub use data::{Deadline, SlotData, Usage};
pub use encode::encode_entry;
pub use memory::Memory;
pub use rdb::{AllLimits, Builder, write_entry, write_value};
pub use reaper::{discard_part, discard_value, pending_garbage};
pub use shared::Shared;
pub use slot::SlotGuard;
pub use walk::Walk;
pub use watch::Touched;

use keeper::Keeper;
use slot::{Counts, Slot};

/// The data set.
pub struct Store {
    slots: Box<[Slot]>,
    /// Tick of the earliest deadline of each slot, `u32::MAX` when there is none; all together, since all are looked through often.
    due: Box<[AtomicU32]>,
    /// A bit for each slot: whether it has keys.
    occupied: Box<[AtomicU64]>,
    memory: Memory,
    /// Whether there is a walk; there is one at a time.
    walking: Mutex<bool>,
    /// It has ended.
    walked: Condvar,
    /// How long all slots were locked for the beginnings of walks; written by whoever holds `walking`.
    walk_locks: Durations,
    /// What the walk has not reached and was about to change.
    keeper: Arc<Keeper>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// An empty data set.
    pub fn new() -> Self {
        Self {
            slots: (0..SLOT_COUNT).map(|_| Slot::default()).collect(),
            due: (0..SLOT_COUNT).map(|_| AtomicU32::new(u32::MAX)).collect(),
            occupied: (0..SLOT_COUNT / 64).map(|_| AtomicU64::new(0)).collect(),
            memory: Memory::default(),
            walking: Mutex::new(false),
            walked: Condvar::new(),
            walk_locks: Durations::default(),
            keeper: Arc::default(),
        }
    }

    #[inline]
    fn slot(&self, slot: SlotId) -> &Slot {
        &self.slots[slot.index()]
    }

    /// The lock of `slot` for a command; `None` when it is held or the slot is paused.
    #[inline]
    pub fn try_lock(&self, slot: SlotId) -> Option<SlotGuard<'_>> {
        let data = self.slot(slot).lock.try_lock()?;
        Some(SlotGuard::new(data, slot, self))
    }

    /// The lock of `slot` for others than commands, paused or not; `None` when it is held.
    pub fn try_lock_internal(&self, slot: SlotId) -> Option<SlotGuard<'_>> {
        let data = self.slot(slot).lock.try_lock_internal()?;
        Some(SlotGuard::new(data, slot, self))
    }

    /// Resolves when `slot` seems free and not paused; then try again.
    pub async fn available(&self, slot: SlotId) {
        self.slot(slot).lock.available(true).await;
    }

    /// The lock of `slot` for others than commands, paused or not.
    pub async fn lock(&self, slot: SlotId) -> SlotGuard<'_> {
        loop {
            if let Some(guard) = self.try_lock_internal(slot) {
                return guard;
            }
            self.slot(slot).lock.available(false).await;
        }
    }

    /// The same for a thread that may be blocked for as long as a command takes.
    pub fn lock_blocking(&self, slot: SlotId) -> SlotGuard<'_> {
        loop {
            if let Some(guard) = self.try_lock_internal(slot) {
                return guard;
            }
            futures::executor::block_on(self.slot(slot).lock.available(false));
        }
    }

    /// Parks every command on these slots, reads too. When this returns, none is running on them. Pauses are counted: a slot goes on when
    /// everybody who paused it has resumed it.
    pub async fn pause(&self, slots: &SlotSet) {
        for slot in slots.iter() {
            self.pause_slot(slot).await;
        }
    }

    /// [`Store::pause`] for one slot.
    pub async fn pause_slot(&self, slot: SlotId) {
        let guard = self.lock(slot).await;
        guard.pause();
    }

    /// Takes one [`Store::pause`] of each of these slots back. Commands parked by it are routed again.
    pub fn resume(&self, slots: &SlotSet) {
        for slot in slots.iter() {
            self.slot(slot).lock.resume();
        }
    }

    /// Whether `slot` is paused.
    pub fn is_paused(&self, slot: SlotId) -> bool {
        self.slot(slot).lock.is_paused()
    }

    /// Asks for the slot's lock and counts, which are looked at soon.
    #[inline]
    pub fn prefetch_slot(&self, slot: SlotId) {
        let slot: *const Slot = self.slot(slot);
        prefetch::line(slot.cast());
        prefetch::line(slot.cast::<u8>().wrapping_add(64));
    }

    /// The bucket in which a key of `slot` probably stands, to be prefetched.
    #[inline]
    pub fn bucket(&self, slot: SlotId, hash: KeyHash) -> Option<BucketAddress> {
        self.slot(slot).bucket(hash)
    }

    /// Number of keys in `slot`, expired ones that are not yet removed included.
    pub fn keys_in(&self, slot: SlotId) -> usize {
        self.slot(slot).keys.load(Relaxed) as usize
    }

    /// Number of keys in `slot` with a deadline.
    pub fn volatile_in(&self, slot: SlotId) -> usize {
        self.slot(slot).volatile.load(Relaxed) as usize
    }

    /// Bytes allocated for the entries of `slot`.
    pub fn bytes_in(&self, slot: SlotId) -> usize {
        self.slot(slot).bytes.load(Relaxed)
    }

    /// The slots that have keys, in ascending order.
    pub fn occupied(&self) -> impl Iterator<Item = SlotId> {
        self.occupied.iter().enumerate().flat_map(|(index, bits)| {
            let bits = bits.load(Relaxed);
            (0..64_u16)
                .filter(move |bit| bits >> bit & 1 == 1)
                .filter_map(move |bit| SlotId::new(index as u16 * 64 + bit))
        })
    }

    /// Number of keys in the slots that `shown` admits.
    pub fn count_keys(&self, shown: impl Fn(SlotId) -> bool) -> usize {
        self.occupied()
            .filter(|slot| shown(*slot))
            .map(|slot| self.keys_in(slot))
            .sum()
    }

    /// Number of keys with a deadline in the slots that `shown` admits.
    pub fn count_volatile(&self, shown: impl Fn(SlotId) -> bool) -> usize {
        SlotId::all()
            .filter(|slot| self.has_deadlines(*slot) && shown(*slot))
            .map(|slot| self.volatile_in(slot))
            .sum()
    }

    /// Whether `slot` has something to expire at `now`.
    pub fn has_due(&self, slot: SlotId, now: Millis) -> bool {
        let due = self.due[slot.index()].load(Relaxed);
        due != u32::MAX && due <= Tick::at(now).0
    }

    /// Whether `slot` has keys with a deadline, or had some lately.
    pub fn has_deadlines(&self, slot: SlotId) -> bool {
        self.due[slot.index()].load(Relaxed) != u32::MAX
    }

    /// The tick at which the first key of `slot` may expire; `u32::MAX`: none does.
    pub fn due(&self, slot: SlotId) -> u32 {
        self.due[slot.index()].load(Relaxed)
    }

    /// The data set's memory.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Up to `limit` live keys of `slot`.
    pub async fn list_keys(&self, slot: SlotId, limit: usize, now: Millis) -> Vec<Vec<u8>> {
        self.lock(slot)
            .await
            .iter()
            .filter(|entry| !entry.is_expired(now))
            .take(limit)
            .map(|entry| entry.key().to_vec())
            .collect()
    }

    /// Empties the slots without leaving an effect: for slots that this node does not own. Memory is freed in the background.
    /// Answers how many keys there were.
    pub async fn clear(&self, slots: &SlotSet) -> usize {
        let mut keys = 0;
        for slot in slots.iter() {
            keys += self.lock(slot).await.clear();
        }
        keys
    }

    /// Puts the content of another data set, which nobody else knows, in the place of this one's if `allowed`, which is asked at that
    /// moment, while nothing changes. Answers what it said. Blocks the thread while commands hold slots.
    pub fn replace_by(&self, other: &Self, allowed: impl FnOnce() -> bool) -> bool {
        let mut guards: Vec<SlotGuard<'_>> =
            SlotId::all().map(|slot| self.lock_blocking(slot)).collect();
        if !allowed() {
            return false;
        }
        for guard in &mut guards {
            let slot = guard.id();
            guard.replace_by(&mut other.lock_blocking(slot));
        }
        // What this thread has counted so far belongs to the other one.
        other.memory.publish();
        drop(guards);
        self.memory.publish();
        true
    }

    /// Brings what is known of a slot without its lock up to date.
    fn publish(&self, id: SlotId, before: Counts, after: Counts) {
        let slot = self.slot(id);
        slot.layout.store(after.layout, Relaxed);
        slot.bytes.store(after.bytes, Relaxed);
        slot.keys.store(after.keys, Relaxed);
        slot.volatile.store(after.volatile, Relaxed);
        if (before.keys == 0) != (after.keys == 0) {
            let (word, bit) = (&self.occupied[id.index() / 64], 1 << (id.index() % 64));
            if after.keys == 0 {
                word.fetch_and(!bit, Relaxed);
            } else {
                word.fetch_or(bit, Relaxed);
            }
        }
        if before.due != after.due {
            self.due[id.index()].store(after.due, Relaxed);
        }
        self.memory.add(&before, &after);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    fn put(slot: &mut SlotData, key: &[u8], value: &[u8], deadline: Deadline) {
        slot.insert_string(key, KeyHash::of(key), value, deadline, Default::default());
    }

    fn slot(number: u16) -> SlotId {
        SlotId::new(number).unwrap()
    }

    #[tokio::test]
    async fn a_paused_slot_parks_commands_but_not_housekeeping() {
        let store = Arc::new(Store::new());
        let slots: SlotSet = [slot(7)].into_iter().collect();
        store.pause(&slots).await;
        assert!(store.try_lock(slot(7)).is_none());
        assert!(store.try_lock(slot(8)).is_some());
        assert!(store.try_lock_internal(slot(7)).is_some());
        let parked = tokio::spawn({
            let store = Arc::clone(&store);
            async move { store.available(slot(7)).await }
        });
        tokio::task::yield_now().await;
        assert!(!parked.is_finished());
        store.resume(&slots);
        tokio::time::timeout(Duration::from_secs(5), parked)
            .await
            .unwrap()
            .unwrap();
        assert!(store.try_lock(slot(7)).is_some());
    }

    #[test]
    fn threads_that_wait_for_a_slot_all_get_it() {
        let store = Store::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let store = &store;
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        for number in 0..2000 {
                            let key = format!("{thread}:{number}");
                            loop {
                                if let Some(mut guard) = store.try_lock(slot(3)) {
                                    put(&mut guard, key.as_bytes(), b"1", Deadline::Keep);
                                    break;
                                }
                                tokio::time::timeout(
                                    Duration::from_secs(20),
                                    store.available(slot(3)),
                                )
                                .await
                                .expect("a waiter is woken");
                            }
                        }
                    });
                });
            }
        });
        assert_eq!(store.keys_in(slot(3)), 8000);
    }

    #[tokio::test]
    async fn memory_is_what_the_slots_hold() {
        let store = Store::new();
        let base = store.memory().used();
        for number in 0..1000 {
            let key = format!("{{a}}{number}");
            let mut guard = store.lock(SlotId::of(key.as_bytes())).await;
            put(
                &mut guard,
                key.as_bytes(),
                &[b'x'; 100],
                Deadline::At(10_000),
            );
        }
        store.memory().publish();
        let used = store.memory().used() - base;
        assert!((1000 * 108..1000 * 140).contains(&used), "{used}");
        let all: SlotSet = [SlotId::of(b"a")].into_iter().collect();
        assert_eq!(store.clear(&all).await, 1000);
        store.memory().publish();
        assert_eq!(store.memory().used(), base);
    }
}
