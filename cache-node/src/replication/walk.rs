//! Walk and stream: sends a set of slots exactly, while they change.
//!
//! The walk owns a cursor on the log and, for each slot, the log offset at which its content was taken (its *cut*). It alternates:
//! serialise some slots, each under its lock, noting the log's end as its cut; then pass on the records behind the cursor, each only
//! if its slot has been sent and the record is newer than the slot's cut. So every slot is exact at the receiver at any log offset
//! from its cut on, no copy of the data is needed, and the log never has to hold a whole walk.
//!
//! The walk is pure: data and log come through [`Source`], frames leave in a buffer. It must never do I/O or wait.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::frame::{self, Kind};
use crate::log::Scope;
use crate::slot::{SLOT_COUNT, SlotId, SlotSet};

/// A slot with this cut has not been sent.
const NOT_SENT: u64 = u64::MAX;

/// Entries of one slot are split into frames of about this many bytes.
const ENTRIES_PER_FRAME: usize = 64 * 1024;

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

/// Data and log that are walked. It owns a cursor on the log, born before the walk.
pub trait Source {
    /// The log's end.
    fn end(&self) -> u64;

    /// Everything before this log offset has been read.
    fn cursor(&self) -> u64;

    /// Under the slot's lock: hands every entry of `slot`, as effects, to `entry`; answers the log's end and the number of keys.
    /// `None`, and nothing handed over, when the slot is busy.
    fn dump(&self, slot: SlotId, entry: &mut dyn FnMut(&[u8])) -> Option<(u64, u64)>;

    /// Hands the next records to `visit`, in log order, about `limit` bytes of them; the cursor moves behind them.
    fn read(&mut self, limit: usize, visit: &mut dyn FnMut(Record<'_>)) -> Result<(), Overrun>;
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
    unsent: VecDeque<SlotId>,
    cuts: Box<[u64]>,
    newest_cut: u64,
    announced: u64,
    synced: bool,
    progress: Progress,
}

impl Walk {
    /// A walk over `slots`.
    pub fn new(slots: SlotSet) -> Self {
        Self {
            progress: Progress {
                slots_total: slots.len(),
                ..Progress::default()
            },
            unsent: slots.iter().collect(),
            slots,
            cuts: vec![NOT_SENT; SLOT_COUNT].into_boxed_slice(),
            newest_cut: 0,
            announced: 0,
            synced: false,
        }
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
        !self.synced || source.cursor() < source.end()
    }

    /// Appends the next frames to `out`. Answers whether there were any slots or records to look at.
    pub fn step(
        &mut self,
        source: &mut impl Source,
        budget: Budget,
        out: &mut BytesMut,
    ) -> Result<bool, Overrun> {
        let before = (self.progress.slots_sent, source.cursor(), self.synced);
        self.send_slots(source, budget, out);
        self.drain(source, budget.log_bytes, out)?;
        self.announce(source.cursor(), out);
        Ok(before != (self.progress.slots_sent, source.cursor(), self.synced))
    }

    fn send_slots(&mut self, source: &impl Source, budget: Budget, out: &mut BytesMut) {
        let before = out.len();
        for _ in 0..budget.walk_slots.min(self.unsent.len()) {
            let Some(slot) = self.unsent.pop_front() else {
                return;
            };
            if !self.send_slot(source, slot, out) {
                self.unsent.push_back(slot);
            }
            if out.len() - before >= budget.walk_bytes {
                return;
            }
        }
    }

    fn send_slot(&mut self, source: &impl Source, slot: SlotId, out: &mut BytesMut) -> bool {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let before = out.len();
        frame::encode(out, Kind::Slot, slot, source.cursor(), &[]);
        let dumped = source.dump(slot, &mut |entry| {
            if !entries.is_empty() && entries.len() + entry.len() > ENTRIES_PER_FRAME {
                frame::encode(out, Kind::Entries, slot, 0, &entries);
                entries.clear();
            }
            bytes += entry.len() as u64;
            entries.extend_from_slice(entry);
        });
        let Some((cut, keys)) = dumped else {
            out.truncate(before);
            return false;
        };
        if !entries.is_empty() {
            frame::encode(out, Kind::Entries, slot, 0, &entries);
        }
        self.cuts[slot.index()] = cut;
        self.newest_cut = self.newest_cut.max(cut);
        self.progress.slots_sent += 1;
        self.progress.keys += keys;
        self.progress.bytes += bytes;
        true
    }

    fn drain(
        &mut self,
        source: &mut impl Source,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<(), Overrun> {
        let Self {
            slots,
            cuts,
            announced,
            progress,
            ..
        } = self;
        let wanted = |slot: SlotId, start: u64| {
            let cut = cuts[slot.index()];
            cut != NOT_SENT && start >= cut
        };
        source.read(limit, &mut |record| {
            match record.scope {
                Scope::Slot(slot) if wanted(slot, record.start) => {
                    frame::encode(out, Kind::Record, slot, record.end, record.payload);
                    progress.bytes += record.payload.len() as u64;
                }
                Scope::Emptied(slot) if wanted(slot, record.start) => {
                    frame::encode_clear(out, &SlotSet::from_iter([slot]), record.end);
                }
                Scope::All => {
                    let emptied: SlotSet = slots
                        .iter()
                        .filter(|slot| wanted(*slot, record.start))
                        .collect();
                    if emptied.is_empty() {
                        return;
                    }
                    frame::encode_clear(out, &emptied, record.end);
                }
                Scope::Slot(_) | Scope::Emptied(_) | Scope::Other => return,
            }
            *announced = record.end;
        })
    }

    /// Tells the receiver where the stream stands when the last frame does not say so, and that the walk is over when it is.
    fn announce(&mut self, cursor: u64, out: &mut BytesMut) {
        // Every cut must lie before the cursor: only then does the receiver hold one state, that of the cursor.
        if !self.synced && self.unsent.is_empty() && self.newest_cut <= cursor {
            self.synced = true;
            frame::encode_signal(out, Kind::Synced, cursor);
        } else if self.synced && self.announced < cursor {
            frame::encode_signal(out, Kind::Position, cursor);
        } else {
            return;
        }
        self.announced = cursor;
    }
}

#[cfg(test)]
mod tests;
