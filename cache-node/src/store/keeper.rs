//! What a walk has not reached when it changes: kept as it was, by whoever is about to change it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use cache_engine::table::Table;
use cache_rdb::Writer;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::rdb::write_entry;
use super::{Entry, KeyHash, Shared};

/// Commands that write wait while more bytes than this are kept, until the walk has passed them on.
const MOST_BYTES: usize = 16 << 20;

/// Bytes of a block.
const BLOCK: usize = 128 * 1024;

/// What a small entry takes at most, about.
const LARGEST: usize = 8 * 1024;

/// What a big value is counted as: its chunks are shared with the entry until that changes.
const BIG: usize = 256;

/// The table of a slot that was emptied.
pub(super) struct Emptied {
    pub(super) table: Table,
    /// How far it was gone over since.
    pub(super) from: KeyHash,
}

/// Entries as they were when the walk began.
#[derive(Default)]
pub(super) struct Kept {
    /// Small ones, as they stand in an RDB file, in blocks of about [`BLOCK`] bytes.
    pub(super) blocks: Vec<Vec<u8>>,
    /// The last block, which grows.
    pub(super) last: Writer,
    pub(super) big: Vec<Shared>,
    /// Tables of slots that were emptied; the walk has passed some of their entries.
    pub(super) tables: Vec<Emptied>,
}

impl Kept {
    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
            && self.last.out.is_empty()
            && self.big.is_empty()
            && self.tables.is_empty()
    }
}

/// Takes entries that a walk has not reached from those who are about to change them.
#[derive(Default)]
pub(super) struct Keeper {
    kept: Mutex<Kept>,
    bytes: AtomicUsize,
    room: Notify,
}

impl Keeper {
    /// Keeps an entry that is about to change.
    pub(super) fn keep(&self, entry: Entry<'_>) {
        let mut kept = self.kept.lock();
        if let Some(shared) = Shared::of(entry) {
            kept.big.push(shared);
            self.bytes.fetch_add(BIG, Relaxed);
            return;
        }
        let last = &mut kept.last;
        if last.out.capacity() == 0 {
            // Never grown while others wait for the lock.
            last.out.reserve_exact(BLOCK + LARGEST);
        }
        let before = last.out.len();
        write_entry(last, entry.key(), entry.deadline(), entry.value());
        let bytes = last.out.len() - before;
        if last.out.len() >= BLOCK {
            let block = std::mem::take(&mut last.out);
            kept.blocks.push(block);
        }
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Keeps the table of a slot that was emptied.
    pub(super) fn keep_table(&self, table: Table) {
        self.kept.lock().tables.push(Emptied {
            table,
            from: KeyHash(0),
        });
    }

    /// Takes over what was kept.
    pub(super) fn take(&self) -> Kept {
        let kept = std::mem::take(&mut *self.kept.lock());
        self.bytes.store(0, Relaxed);
        self.room.notify_waiters();
        kept
    }

    /// Whether commands that write should wait.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.bytes.load(Relaxed) > MOST_BYTES
    }

    /// Resolves when there seems to be room again.
    pub(super) async fn room(&self) {
        let room = self.room.notified();
        if self.is_full() {
            room.await;
        }
    }
}
