//! The walk: all entries of all slots, as they were at one moment, while everything goes on.
//!
//! All slots are locked for a moment, in which the walk begins; the log's offset then is the walk's. After that, one slot is locked at a
//! time, for some entries at a time. Whoever is about to change an entry that the walk has not reached hands it to the
//! [`Keeper`] first, as it was. So the walk needs memory only for what was kept and not yet passed on, and that is bounded: commands that
//! write wait when it is too much.

use std::time::Instant;

use cache_rdb::Writer;
use tracing::debug;

use crate::slot::{SLOT_COUNT, SlotId};

use super::keeper::{Big, Kept};
use super::rdb::write_entry;
use super::reaper::discard_table;
use super::{KeyHash, SlotGuard, Store};

/// Entries of a slot that are looked at in one go, and while its lock is held.
const ENTRIES: usize = 256;

/// The same while entries are compressed, which takes longer.
const ENTRIES_COMPRESSED: usize = 32;

/// A walk that goes on; when it is dropped it is over, wherever it stood.
pub struct Walk<'s> {
    store: &'s Store,
    /// The slot that comes next, by number.
    slot: usize,
    /// Where in the slot.
    from: KeyHash,
}

impl Store {
    /// Begins a walk; `cut` is called at the moment whose entries the walk passes, while nothing changes. `None` while there is another.
    ///
    /// The thread may be blocked for as long as commands take. All commands wait for about as long as it takes to lock all slots.
    pub fn begin_walk<R>(&self, cut: impl FnOnce() -> R) -> Option<(Walk<'_>, R)> {
        let began = Instant::now();
        let mut walking = self.walking.lock();
        if *walking {
            return None;
        }
        *walking = true;
        let mut guards: Vec<SlotGuard<'_>> = Vec::with_capacity(SLOT_COUNT);
        // In ascending order, like everybody who waits for one slot while it holds another.
        guards.extend(SlotId::all().map(|slot| self.lock_blocking(slot)));
        for guard in &mut guards {
            guard.begin_walk(&self.keeper);
        }
        let result = cut();
        drop(guards);
        debug!(micros = began.elapsed().as_micros(), "a walk begins");
        let walk = Walk {
            store: self,
            slot: 0,
            from: KeyHash(0),
        };
        Some((walk, result))
    }

    /// Whether a walk has so much to pass on that commands that write should wait.
    #[inline]
    pub fn is_walk_full(&self) -> bool {
        self.keeper.is_full()
    }

    /// Resolves when that seems to be over.
    pub async fn walk_has_room(&self) {
        self.keeper.room().await;
    }
}

impl Walk<'_> {
    /// Appends some more entries, in the RDB format and in no order; false when there are no more.
    pub fn step(&mut self, writer: &mut Writer) -> bool {
        if write_kept(writer, self.store.keeper.take()) {
            return true;
        }
        while let Some(slot) = SlotId::new(self.slot as u16).filter(|_| self.slot < SLOT_COUNT) {
            let mut big = Vec::new();
            let passed = self.pass(slot, writer, &mut big);
            write_big(writer, &big);
            if passed {
                return true;
            }
        }
        // Nothing is behind any more, so nothing more is kept.
        write_kept(writer, self.store.keeper.take())
    }

    /// Slots that are done with, of [`SLOT_COUNT`].
    pub fn slots_done(&self) -> usize {
        self.slot
    }

    /// Goes on in a slot; false when there was nothing.
    fn pass(&mut self, slot: SlotId, writer: &mut Writer, big: &mut Vec<Big>) -> bool {
        let entries = if writer.compresses {
            ENTRIES_COMPRESSED
        } else {
            ENTRIES
        };
        let mut guard = self.store.lock_blocking(slot);
        let before = writer.out.len();
        let next = if guard.is_walking() {
            guard.walk(self.from, entries, |entry| {
                if super::rdb::is_big(entry.value()) {
                    big.push(Big::of(entry));
                } else {
                    write_entry(writer, entry.key(), entry.deadline(), entry.value());
                }
            })
        } else {
            None
        };
        match next {
            Some(from) => self.from = from,
            None => {
                self.slot += 1;
                self.from = KeyHash(0);
            }
        }
        writer.out.len() > before || !big.is_empty()
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        let rest = (self.slot..SLOT_COUNT).filter_map(|slot| SlotId::new(slot as u16));
        rest.for_each(|slot| self.store.lock_blocking(slot).end_walk());
        for table in self.store.keeper.take().tables {
            discard_table(table);
        }
        *self.store.walking.lock() = false;
    }
}

/// False when nothing was kept.
fn write_kept(writer: &mut Writer, mut kept: Kept) -> bool {
    let before = writer.out.len();
    writer.out.append(&mut kept.encoded.out);
    write_big(writer, &kept.big);
    for mut table in kept.tables {
        table.walk(KeyHash(0), usize::MAX, |entry| {
            write_entry(writer, entry.key(), entry.deadline(), entry.value());
        });
        discard_table(table);
    }
    writer.out.len() > before
}

fn write_big(writer: &mut Writer, big: &[Big]) {
    for big in big {
        write_entry(writer, &big.key, big.deadline, big.value.as_ref());
    }
}

#[cfg(test)]
mod tests;
