//! Accounting of the data set's memory.
//!
//! Every allocation counts with the size that the allocator hands out for it. Each thread gathers its changes and publishes them when
//! they grow, or at the end of a turn, so that writers do not fight over one counter.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

use super::slot::Counts;

/// Changes of a thread that it has not published.
#[derive(Clone, Copy, Default)]
struct Pending {
    bytes: i64,
    entry_bytes: i64,
    probation_bytes: i64,
    keys: i64,
}

thread_local! {
    static PENDING: Cell<Pending> = const { Cell::new(Pending { bytes: 0, entry_bytes: 0, probation_bytes: 0, keys: 0 }) };
}

/// A thread publishes its changes once they are more than this.
const PUBLISH_ABOVE: i64 = 32 * 1024;

/// The data set's memory.
#[derive(Debug, Default)]
pub struct Memory {
    used: AtomicI64,
    entries: AtomicI64,
    probation: AtomicI64,
    keys: AtomicI64,
    peak: AtomicI64,
}

impl Memory {
    /// Counts a slot's change.
    #[inline]
    pub(super) fn add(&self, before: &Counts, after: &Counts) {
        let mut pending = PENDING.get();
        pending.bytes += after.bytes as i64 - before.bytes as i64;
        pending.entry_bytes += after.entry_bytes as i64 - before.entry_bytes as i64;
        pending.probation_bytes += after.probation_bytes as i64 - before.probation_bytes as i64;
        pending.keys += i64::from(after.keys) - i64::from(before.keys);
        PENDING.set(pending);
        if pending.bytes.abs() > PUBLISH_ABOVE {
            self.publish();
        }
    }

    /// Publishes what this thread gathered.
    pub fn publish(&self) {
        let pending = PENDING.replace(Pending::default());
        if pending.entry_bytes != 0 {
            self.entries.fetch_add(pending.entry_bytes, Relaxed);
        }
        if pending.probation_bytes != 0 {
            self.probation.fetch_add(pending.probation_bytes, Relaxed);
        }
        if pending.keys != 0 {
            self.keys.fetch_add(pending.keys, Relaxed);
        }
        if pending.bytes != 0 {
            let used = self.used.fetch_add(pending.bytes, Relaxed) + pending.bytes;
            self.peak.fetch_max(used, Relaxed);
        }
    }

    /// Bytes in use as published; each thread may hold back 32 KiB during its turn.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed).max(0) as usize
    }

    /// Bytes in use as this thread knows it: what is published, and what it holds back itself.
    #[inline]
    pub fn used_here(&self) -> usize {
        (self.used.load(Relaxed) + PENDING.get().bytes).max(0) as usize
    }

    /// Bytes of all entries, tables aside, as this thread knows it.
    pub fn entries_here(&self) -> usize {
        (self.entries.load(Relaxed) + PENDING.get().entry_bytes).max(0) as usize
    }

    /// Bytes of the entries that the eviction policy has on probation, as this thread knows it.
    pub fn probation_here(&self) -> usize {
        let pending = PENDING.get().probation_bytes;
        (self.probation.load(Relaxed) + pending).max(0) as usize
    }

    /// Number of keys in all slots, as published.
    pub fn keys(&self) -> usize {
        self.keys.load(Relaxed).max(0) as usize
    }

    /// Number of keys in all slots, as this thread knows it.
    pub fn keys_here(&self) -> usize {
        (self.keys.load(Relaxed) + PENDING.get().keys).max(0) as usize
    }

    /// The most that was ever in use.
    pub fn peak(&self) -> usize {
        self.peak.load(Relaxed).max(0) as usize
    }

    /// Forgets the peak.
    pub fn reset_peak(&self) {
        self.peak.store(self.used.load(Relaxed), Relaxed);
    }
}
