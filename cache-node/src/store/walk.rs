//! The walk: all entries of all slots, as they were at one moment, while everything goes on.
//!
//! All slots are locked for a moment, in which the walk begins; the log's offset then is the walk's. After that, one slot is locked at a
//! time, for some entries at a time. Whoever is about to change an entry that the walk has not reached hands it to the
//! [`Keeper`] first, as it was. So the walk needs memory only for what was kept and not yet passed on, and that is bounded: commands that
//! write wait when it is too much.

use std::time::{Duration, Instant};

use cache_rdb::Writer;
use tracing::debug;

use crate::slot::{SLOT_COUNT, SlotId};
use crate::stats::Durations;

use super::keeper::{Emptied, Kept};
use super::rdb::{write_entry, write_entry_in_parts};
use super::reaper::discard_table;
use super::{Entry, KeyHash, Shared, SlotGuard, Store};

/// Entries of a slot that are looked at in one go, and while its lock is held.
const ENTRIES: usize = 256;

/// The same while entries are compressed, which takes longer.
const ENTRIES_COMPRESSED: usize = 32;

/// Slots between one that is locked and one that is brought near.
const AHEAD: u16 = 16;

/// A walk that goes on; when it is dropped it is over, wherever it stood.
pub struct Walk<'s> {
    store: &'s Store,
    /// The slot that comes next, by number.
    slot: usize,
    /// Where in the slot.
    from: KeyHash,
    /// What was kept, or is big, and is passed on before the walk goes further.
    waiting: Kept,
}

impl Store {
    /// Begins a walk; `cut` is called at the moment whose entries the walk passes, while nothing changes. `None` while there is another.
    ///
    /// The thread may be blocked for as long as commands take. All commands wait for about as long as it takes to lock all slots.
    pub fn begin_walk<R>(&self, cut: impl FnOnce() -> R) -> Option<(Walk<'_>, R)> {
        let mut walking = self.walking.lock();
        if *walking {
            return None;
        }
        *walking = true;
        let began = Instant::now();
        let mut guards: Vec<SlotGuard<'_>> = Vec::with_capacity(SLOT_COUNT);
        // In ascending order, like everybody who waits for one slot while it holds another.
        guards.extend(SlotId::all().map(|slot| {
            if let Some(ahead) = SlotId::new(slot.number() + AHEAD) {
                self.prefetch_slot(ahead);
            }
            self.lock_blocking(slot)
        }));
        for guard in &mut guards {
            guard.begin_walk(&self.keeper);
        }
        let result = cut();
        drop(guards);
        let locked = began.elapsed();
        self.walk_locks.record(locked);
        debug!(micros = locked.as_micros(), "a walk begins");
        let walk = Walk {
            store: self,
            slot: 0,
            from: KeyHash(0),
            waiting: Kept::default(),
        };
        Some((walk, result))
    }

    /// Waits until there is no walk, but no longer than this.
    pub fn wait_for_walk(&self, within: Duration) {
        let mut walking = self.walking.lock();
        let deadline = Instant::now() + within;
        self.walked
            .wait_while_until(&mut walking, |walking| *walking, deadline);
    }

    /// How long all slots were locked when walks began, from the first slot's lock on.
    pub fn walk_locks(&self) -> &Durations {
        &self.walk_locks
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
    /// Appends some more entries, in the RDB format and in no order; false when there are no more. `between` is called often in the
    /// middle of long values, and may take what was written; its error ends the step, and the walk is of no more use.
    pub fn step<E>(
        &mut self,
        writer: &mut Writer,
        between: &mut impl FnMut(&mut Writer) -> Result<(), E>,
    ) -> Result<bool, E> {
        if self.waiting.is_empty() {
            self.waiting = self.store.keeper.take();
        }
        if !self.waiting.is_empty() {
            write_some(&mut self.waiting, writer, between)?;
            return Ok(true);
        }
        while let Some(slot) = SlotId::new(self.slot as u16).filter(|_| self.slot < SLOT_COUNT) {
            if self.pass(slot, writer) {
                return Ok(true);
            }
        }
        // Nothing is behind any more, so nothing more is kept.
        self.waiting = self.store.keeper.take();
        Ok(!self.waiting.is_empty())
    }

    /// Slots that are done with, of [`SLOT_COUNT`].
    pub fn slots_done(&self) -> usize {
        self.slot
    }

    /// Goes on in a slot; false when there was nothing.
    fn pass(&mut self, slot: SlotId, writer: &mut Writer) -> bool {
        let entries = if writer.compresses {
            ENTRIES_COMPRESSED
        } else {
            ENTRIES
        };
        let mut guard = self.store.lock_blocking(slot);
        let before = writer.out.len();
        let big = &mut self.waiting.big;
        let next = if guard.is_walking() {
            guard.walk(self.from, entries, |entry| {
                write_or_put_off(entry, writer, big);
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
        let waiting = std::mem::take(&mut self.waiting);
        let kept = self.store.keeper.take();
        waiting
            .tables
            .into_iter()
            .chain(kept.tables)
            .for_each(discard);
        *self.store.walking.lock() = false;
        self.store.walked.notify_all();
    }
}

/// Writes one of the parts that wait.
fn write_some<E>(
    waiting: &mut Kept,
    writer: &mut Writer,
    between: &mut impl FnMut(&mut Writer) -> Result<(), E>,
) -> Result<(), E> {
    if let Some(block) = waiting.blocks.pop() {
        writer.out.extend_from_slice(&block);
    } else if !waiting.last.out.is_empty() {
        writer.out.append(&mut waiting.last.out);
    } else if let Some(big) = waiting.big.pop() {
        let value = big.value.as_ref();
        write_entry_in_parts(writer, &big.key, big.deadline, value, between)?;
    } else if let Some(emptied) = waiting.tables.last_mut() {
        let big = &mut waiting.big;
        let next = emptied.table.walk(emptied.from, ENTRIES, |entry| {
            write_or_put_off(entry, writer, big);
        });
        match next {
            Some(from) => emptied.from = from,
            None => waiting.tables.pop().into_iter().for_each(discard),
        }
    }
    Ok(())
}

fn discard(emptied: Emptied) {
    discard_table(emptied.table);
}

/// Writes an entry, or puts it off if it is big.
fn write_or_put_off(entry: Entry<'_>, writer: &mut Writer, big: &mut Vec<Shared>) {
    match Shared::of(entry) {
        Some(shared) => big.push(shared),
        None => write_entry(writer, entry.key(), entry.deadline(), entry.value()),
    }
}

#[cfg(test)]
mod tests;
