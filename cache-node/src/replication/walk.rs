//! Walk and stream: sends a set of slots exactly, while they change.
//!
//! The walk owns a cursor on the log and, for each slot, the log offset at which its content was taken (its *cut*). It alternates:
//! serialise some slots, each under its lock, noting the log's end as its cut; then pass on the records behind the cursor, each only
//! if its slot has been sent and the record is newer than the slot's cut. So every slot is exact at the receiver at any log offset
//! from its cut on, no copy of the data is needed, and the log never has to hold a whole walk.
//!
//! The walk is pure: data and log come through [`Source`], frames leave in a buffer. It must never do I/O or wait.

use bytes::BytesMut;

use super::frame::{self, Kind};
use crate::slot::{SLOT_COUNT, SlotId, SlotSet};

/// A slot with this cut has not been sent.
const NOT_SENT: u64 = u64::MAX;

/// Entries of one slot are split into frames of about this many bytes.
const ENTRIES_PER_FRAME: usize = 64 * 1024;

/// What a log record concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One slot; the payload is an effect to execute.
    Slot(SlotId),
    /// This slot, which was emptied.
    Emptied(SlotId),
    /// All slots, which were emptied.
    AllEmptied,
}

/// One record of the log.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// What it concerns.
    pub scope: Scope,
    /// Offset of its first byte.
    pub start: u64,
    /// Offset behind its last byte.
    pub end: u64,
    /// The effect.
    pub payload: &'a [u8],
}

/// The log no longer holds what the cursor wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the reader is {behind} bytes behind, more than the log holds")]
pub struct Overrun {
    /// How far the cursor is behind the log's end, in bytes.
    pub behind: u64,
}

/// Data and log that are walked.
pub trait Source {
    /// The log's end.
    fn end(&self) -> u64;

    /// Under the slot's lock: hands every entry of `slot`, as effects, to `entry`, and returns the log's end and the number of keys.
    fn dump(&self, slot: SlotId, entry: &mut dyn FnMut(&[u8])) -> (u64, u64);

    /// Hands records from `cursor` on to `visit`, in log order, until about `limit` bytes are read; returns the new cursor.
    fn read(
        &self,
        cursor: u64,
        limit: usize,
        visit: &mut dyn FnMut(Record<'_>),
    ) -> Result<u64, Overrun>;
}

/// How much one [`Walk::step`] does.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Stop sending slots after this many bytes of entries; at least one slot is sent.
    pub walk_bytes: usize,
    /// Stop sending slots after this many slots.
    pub walk_slots: usize,
    /// Bytes of log to read.
    pub log_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            walk_bytes: 64 * 1024,
            walk_slots: 64,
            log_bytes: 256 * 1024,
        }
    }
}

/// What has been sent so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Slots to send.
    pub slots_total: usize,
    /// Slots sent.
    pub slots_sent: usize,
    /// Keys sent with their slots.
    pub keys: u64,
    /// Bytes of entries and records.
    pub bytes: u64,
}

/// A walk with the stream that follows it.
#[derive(Debug)]
pub struct Walk {
    slots: SlotSet,
    next: usize,
    cuts: Box<[u64]>,
    cursor: u64,
    announced: u64,
    synced: bool,
    progress: Progress,
}

impl Walk {
    /// A walk over `slots` that reads the log from `cursor`, which is a log end not newer than the first step.
    pub fn new(slots: SlotSet, cursor: u64) -> Self {
        Self {
            progress: Progress {
                slots_total: slots.len(),
                ..Progress::default()
            },
            slots,
            next: 0,
            cuts: vec![NOT_SENT; SLOT_COUNT].into_boxed_slice(),
            cursor,
            announced: cursor,
            synced: false,
        }
    }

    /// Everything before this log offset has been passed on or was of no concern.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether every slot has been sent and [`Kind::Synced`] with it.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// What has been sent so far.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Whether a step would send something.
    pub fn has_work(&self, source: &impl Source) -> bool {
        !self.synced || self.cursor < source.end()
    }

    /// Appends the next frames to `out`.
    pub fn step(
        &mut self,
        source: &impl Source,
        budget: Budget,
        out: &mut BytesMut,
    ) -> Result<(), Overrun> {
        if !self.synced {
            self.send_slots(source, budget, out);
        }
        self.drain(source, budget.log_bytes, out)?;
        self.announce(out);
        Ok(())
    }

    fn send_slots(&mut self, source: &impl Source, budget: Budget, out: &mut BytesMut) {
        let before = out.len();
        for _ in 0..budget.walk_slots {
            let Some(slot) = self.take_next() else {
                return;
            };
            self.send_slot(source, slot, out);
            if out.len() - before >= budget.walk_bytes {
                return;
            }
        }
    }

    fn take_next(&mut self) -> Option<SlotId> {
        while self.next < SLOT_COUNT {
            let slot = SlotId::new(self.next as u16)?;
            self.next += 1;
            if self.slots.contains(slot) {
                return Some(slot);
            }
        }
        None
    }

    fn send_slot(&mut self, source: &impl Source, slot: SlotId, out: &mut BytesMut) {
        let mut entries = Vec::new();
        frame::encode(out, Kind::Slot, slot, self.cursor, &[]);
        let cursor = self.cursor;
        let mut bytes = 0;
        let (cut, keys) = source.dump(slot, &mut |entry| {
            if !entries.is_empty() && entries.len() + entry.len() > ENTRIES_PER_FRAME {
                frame::encode(out, Kind::Entries, slot, cursor, &entries);
                entries.clear();
            }
            bytes += entry.len() as u64;
            entries.extend_from_slice(entry);
        });
        if !entries.is_empty() {
            frame::encode(out, Kind::Entries, slot, cursor, &entries);
        }
        self.cuts[slot.index()] = cut;
        self.progress.slots_sent += 1;
        self.progress.keys += keys;
        self.progress.bytes += bytes;
    }

    fn drain(
        &mut self,
        source: &impl Source,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<(), Overrun> {
        let cuts = &self.cuts;
        let sent = &mut self.progress.bytes;
        let announced = &mut self.announced;
        let wanted = |slot: SlotId, start: u64| {
            start >= cuts[slot.index()] && cuts[slot.index()] != NOT_SENT
        };
        self.cursor = source.read(self.cursor, limit, &mut |record| {
            match record.scope {
                Scope::Slot(slot) if wanted(slot, record.start) => {
                    frame::encode(out, Kind::Record, slot, record.end, record.payload);
                    *sent += record.payload.len() as u64;
                }
                Scope::Emptied(slot) if wanted(slot, record.start) => {
                    frame::encode_clear(out, &SlotSet::from_iter([slot]), record.end);
                }
                Scope::AllEmptied => {
                    let slots: SlotSet = self
                        .slots
                        .iter()
                        .filter(|slot| wanted(*slot, record.start))
                        .collect();
                    if slots.is_empty() {
                        return;
                    }
                    frame::encode_clear(out, &slots, record.end);
                }
                Scope::Slot(_) | Scope::Emptied(_) => return,
            }
            *announced = record.end;
        })?;
        Ok(())
    }

    /// Tells the receiver where the stream stands when the last frame does not say so, and that the walk is over when it is.
    fn announce(&mut self, out: &mut BytesMut) {
        let all_sent = self.progress.slots_sent == self.progress.slots_total;
        // Every cut must lie behind the cursor: only then does the receiver hold one state, that of the cursor.
        let newest_cut = self.slots.iter().map(|slot| self.cuts[slot.index()]).max();
        if !self.synced && all_sent && newest_cut.is_none_or(|cut| cut <= self.cursor) {
            self.synced = true;
            self.announced = self.cursor;
            frame::encode_signal(out, Kind::Synced, self.cursor);
        } else if self.synced && self.announced < self.cursor {
            self.announced = self.cursor;
            frame::encode_signal(out, Kind::Position, self.cursor);
        }
    }
}

#[cfg(test)]
mod tests;
