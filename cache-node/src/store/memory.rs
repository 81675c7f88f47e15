//! Accounting of the data set's memory.
//!
//! Every allocation counts with the size that the allocator hands out for it. Each thread gathers its changes and publishes them when
//! they grow, or at the end of a turn, so that writers do not fight over one counter.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// Bytes that an allocation of `size` bytes takes: 8 bytes of header, steps of 16, at least 32.
pub fn allocation(size: usize) -> usize {
    if size == 0 {
        0
    } else {
        ((size + 8 + 15) & !15).max(32)
    }
}

thread_local! {
    static PENDING: Cell<i64> = const { Cell::new(0) };
}

/// A thread publishes its changes once they are more than this.
const PUBLISH_ABOVE: i64 = 32 * 1024;

/// The data set's memory.
#[derive(Debug, Default)]
pub struct Memory {
    used: AtomicI64,
    peak: AtomicI64,
}

impl Memory {
    /// Counts a change.
    pub fn add(&self, bytes: i64) {
        let pending = PENDING.get() + bytes;
        PENDING.set(pending);
        if pending.abs() > PUBLISH_ABOVE {
            self.publish();
        }
    }

    /// Publishes what this thread gathered.
    pub fn publish(&self) {
        let pending = PENDING.replace(0);
        if pending != 0 {
            let used = self.used.fetch_add(pending, Relaxed) + pending;
            self.peak.fetch_max(used, Relaxed);
        }
    }

    /// Bytes in use as published; each thread may hold back 32 KiB during its turn.
    pub fn used(&self) -> usize {
        self.used.load(Relaxed).max(0) as usize
    }

    /// Bytes in use as this thread knows it: what is published, and what it holds back itself.
    pub fn used_here(&self) -> usize {
        (self.used.load(Relaxed) + PENDING.get()).max(0) as usize
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
