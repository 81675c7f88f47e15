//! The data set: 16,384 slots, each with a lock, a table, and its counts. No I/O happens here.
//!
//! A command takes its slots' locks with [`Store::try_lock`]. When that fails, the command (not the thread) waits with
//! [`Store::available`] and is tried again from the start, routing included. Housekeeping, replication and migration take a slot with
//! [`Store::lock`], which also gets at paused slots. A guard must not be held across an await; the compiler sees to it, since guards
//! are not `Send`.

mod calendar;
mod data;
mod encode;
mod hash;
mod memory;
mod reaper;
mod slot_lock;
mod table;
mod value;
mod watch;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use crate::clock::{Millis, Tick};
use crate::slot::{SLOT_COUNT, SlotId, SlotSet};

pub use data::{Deadline, SlotData};
pub use encode::encode_entry;
pub use hash::{Hash, PackLimits};
pub use memory::{Memory, allocation};
pub use reaper::pending_garbage;
pub use slot_lock::SlotGuard;
pub use table::{KeyHash, Keyed, Table};
pub use value::{Entry, Value};
pub use watch::Touched;

use slot_lock::Slot;

/// The data set.
pub struct Store {
    slots: Box<[Slot]>,
    counts: Counts,
}

/// Counts that are read without a slot's lock; those of one kind stand together, so that looking through all slots is cheap.
struct Counts {
    keys: Box<[AtomicU32]>,
    volatile: Box<[AtomicU32]>,
    bytes: Box<[AtomicUsize]>,
    /// Tick of the earliest expiry handle, `u32::MAX` when there is none.
    due: Box<[AtomicU32]>,
    memory: Memory,
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
            counts: Counts {
                keys: (0..SLOT_COUNT).map(|_| AtomicU32::new(0)).collect(),
                volatile: (0..SLOT_COUNT).map(|_| AtomicU32::new(0)).collect(),
                bytes: (0..SLOT_COUNT).map(|_| AtomicUsize::new(0)).collect(),
                due: (0..SLOT_COUNT).map(|_| AtomicU32::new(u32::MAX)).collect(),
                memory: Memory::default(),
            },
        }
    }

    /// The lock of `slot` for a command; `None` when it is held or the slot is paused.
    pub fn try_lock(&self, slot: SlotId) -> Option<SlotGuard<'_>> {
        self.slots[slot.index()].try_lock(slot, &self.counts)
    }

    /// The lock of `slot` for others than commands, paused or not; `None` when it is held.
    pub fn try_lock_internal(&self, slot: SlotId) -> Option<SlotGuard<'_>> {
        self.slots[slot.index()].try_lock_internal(slot, &self.counts)
    }

    /// Resolves when `slot` seems free and not paused; then try again.
    pub async fn available(&self, slot: SlotId) {
        self.slots[slot.index()].available(true).await;
    }

    /// The lock of `slot` for others than commands, paused or not.
    pub async fn lock(&self, slot: SlotId) -> SlotGuard<'_> {
        loop {
            if let Some(guard) = self.try_lock_internal(slot) {
                return guard;
            }
            self.slots[slot.index()].available(false).await;
        }
    }

    /// The same for a thread that may be blocked for as long as a command takes.
    pub fn lock_blocking(&self, slot: SlotId) -> SlotGuard<'_> {
        self.slots[slot.index()].lock_blocking(slot, &self.counts)
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
            self.slots[slot.index()].resume();
        }
    }

    /// Whether `slot` is paused.
    pub fn is_paused(&self, slot: SlotId) -> bool {
        self.slots[slot.index()].is_paused()
    }

    /// Number of keys in `slot`, expired ones that are not yet removed included.
    pub fn keys_in(&self, slot: SlotId) -> usize {
        self.counts.keys[slot.index()].load(Relaxed) as usize
    }

    /// Bytes allocated for the entries of `slot`.
    pub fn bytes_in(&self, slot: SlotId) -> usize {
        self.counts.bytes[slot.index()].load(Relaxed)
    }

    /// Number of keys in the slots that `shown` admits.
    pub fn count_keys(&self, shown: impl Fn(SlotId) -> bool) -> usize {
        SlotId::all()
            .filter(|slot| self.keys_in(*slot) > 0 && shown(*slot))
            .map(|slot| self.keys_in(slot))
            .sum()
    }

    /// Number of keys with a deadline in the slots that `shown` admits.
    pub fn count_volatile(&self, shown: impl Fn(SlotId) -> bool) -> usize {
        SlotId::all()
            .filter(|slot| self.has_deadlines(*slot) && shown(*slot))
            .map(|slot| self.counts.volatile[slot.index()].load(Relaxed) as usize)
            .sum()
    }

    /// Whether `slot` has something to expire at `now`.
    pub fn has_due(&self, slot: SlotId, now: Millis) -> bool {
        let due = self.counts.due[slot.index()].load(Relaxed);
        due != u32::MAX && due <= Tick::at(now).0
    }

    /// Whether `slot` has keys with a deadline, or had some lately.
    pub fn has_deadlines(&self, slot: SlotId) -> bool {
        self.counts.due[slot.index()].load(Relaxed) != u32::MAX
    }

    /// The data set's memory.
    pub fn memory(&self) -> &Memory {
        &self.counts.memory
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
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

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
                                    guard.put(key.as_bytes(), Value::Integer(1), Deadline::Keep, 1);
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
            guard.put(
                key.as_bytes(),
                Value::string(&[b'x'; 100]),
                Deadline::At(10_000),
                1,
            );
        }
        store.memory().publish();
        assert!(store.memory().used() - base > 1000 * 200);
        let all: SlotSet = [SlotId::of(b"a")].into_iter().collect();
        assert_eq!(store.clear(&all).await, 1000);
        store.memory().publish();
        assert_eq!(store.memory().used(), base);
    }
}
