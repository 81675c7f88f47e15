//! A slot: its lock, and the counts that are read without it.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

use cache_engine::KeyHash;
use cache_engine::prefetch::{BucketAddress, Layout};
use cache_engine::slot_lock::{SlotLock, SlotLockGuard};

use crate::slot::SlotId;

use super::Store;
use super::data::SlotData;

/// A slot. Lock and counts come first, so that they share a cache line.
#[derive(Default)]
#[repr(C, align(64))]
pub(super) struct Slot {
    /// How the table's buckets are found, for those who prefetch.
    pub(super) layout: AtomicU64,
    pub(super) bytes: AtomicUsize,
    pub(super) keys: AtomicU32,
    pub(super) volatile: AtomicU32,
    pub(super) lock: SlotLock<SlotData>,
}

/// What the counts outside the lock say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) keys: u32,
    pub(super) volatile: u32,
    pub(super) bytes: usize,
    pub(super) entry_bytes: usize,
    pub(super) probation_bytes: usize,
    pub(super) due: u32,
    pub(super) layout: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            keys: 0,
            volatile: 0,
            bytes: 0,
            entry_bytes: 0,
            probation_bytes: 0,
            due: u32::MAX,
            layout: 0,
        }
    }
}

/// A slot, locked.
pub struct SlotGuard<'a> {
    data: SlotLockGuard<'a, SlotData>,
    id: SlotId,
    store: &'a Store,
}

impl<'a> SlotGuard<'a> {
    pub(super) fn new(data: SlotLockGuard<'a, SlotData>, id: SlotId, store: &'a Store) -> Self {
        Self { data, id, store }
    }

    /// The slot.
    #[inline]
    pub fn id(&self) -> SlotId {
        self.id
    }

    pub(super) fn pause(&self) {
        self.data.pause();
    }
}

impl Drop for SlotGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some((before, after)) = self.data.changes() {
            self.store.publish(self.id, before, after);
        }
    }
}

impl Deref for SlotGuard<'_> {
    type Target = SlotData;

    #[inline]
    fn deref(&self) -> &SlotData {
        &self.data
    }
}

impl DerefMut for SlotGuard<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut SlotData {
        &mut self.data
    }
}

impl Slot {
    /// The bucket in which a key probably stands, as far as that is known without the lock.
    #[inline]
    pub(super) fn bucket(&self, hash: KeyHash) -> Option<BucketAddress> {
        let data: *const SlotData = self.lock.address();
        let places = data.cast::<u8>().wrapping_add(SlotData::PLACES);
        Layout::from_bits(self.layout.load(Relaxed)).bucket(hash, places)
    }
}

/// A slot's table begins in the slot's first cache line, and what a search needs of it ends with the second: the two that are prefetched.
const _: () = assert!(std::mem::offset_of!(Slot, lock) + 8 + SlotData::SEARCHED <= 128);
