//! Walk and stream: sends a set of slots exactly, while they change.
//!
//! The walk owns a cursor on the log and, for each piece of a slot, the log offset at which its content was taken (its *cut*). It
//! alternates: serialise some pieces, each under the slot's lock and of few entries, noting the log's end as its cut; then pass on the
//! records behind the cursor, each only if its key lies in a piece that has been sent and the record is newer than the piece's cut. So
//! every piece is exact at the receiver at any log offset from its cut on, no copy of the data is needed, writers are never held up, any
//! number of walks may go over the same slots, and the log never has to hold a whole walk. Keys have the order of their hashes.
//!
//! The walk is pure: data and log come through [`Source`], frames leave in a buffer. It must never do I/O or wait.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;

use super::frame::{self, Kind};
use crate::command::{EXEC, MULTI};
use crate::log::{Batch, Scope};
use crate::slot::{SLOT_COUNT, SlotId, SlotSet};
use crate::store::KeyHash;

/// A slot with this cut has not been sent.
const NOT_SENT: u64 = u64::MAX;

/// Entries of one slot are split into frames of about this many bytes.
const ENTRIES_PER_FRAME: usize = 64 * 1024;

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

    /// Under the slot's lock: hands some entries of `slot` whose keys' hashes are `from` or higher, as effects, to `entry`, those with
    /// the lowest hashes. Big ones may be put off. `None`, and nothing handed over, when the slot is busy.
    fn dump(&mut self, slot: SlotId, from: KeyHash, entry: &mut dyn FnMut(&[u8])) -> Option<Piece>;

    /// Appends some effects of an entry that [`Source::dump`] has put off, as it was then; answers its slot, or `None` when there is none.
    fn put_off(&mut self, out: &mut Vec<u8>) -> Option<SlotId>;

    /// Whether there are such entries.
    fn has_put_off(&self) -> bool;

    /// Hands each command of effects on one slot to `visit`, with the hash of its key.
    fn commands(&self, effects: &[u8], visit: &mut dyn FnMut(KeyHash, &[u8]));

    /// The next records, in log order, about `limit` bytes of them; the cursor moves behind them.
    fn read(&mut self, limit: usize) -> Result<Batch, Overrun>;
}

/// A piece of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The log's end when it was taken.
    pub cut: u64,
    /// Number of entries.
    pub keys: u64,
    /// The lowest hash behind it; `None` when it was the slot's last one.
    pub next: Option<KeyHash>,
}

/// How much one [`Walk::step`] does.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Stop sending pieces after this many bytes of entries; at least one piece is sent.
    pub walk_bytes: usize,
    /// Stop sending pieces after this many.
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

/// A slot of which pieces were taken at several offsets.
#[derive(Debug, Default)]
struct Pieces {
    /// For each piece the lowest hash behind it (`None`: there is none) and its cut.
    taken: Vec<(Option<KeyHash>, u64)>,
}

impl Pieces {
    /// Where the slot goes on; `None` when it is complete.
    fn next(&self) -> Option<KeyHash> {
        self.taken
            .last()
            .map_or(Some(KeyHash(0)), |(next, _)| *next)
    }

    fn oldest_cut(&self) -> u64 {
        self.taken.first().map_or(NOT_SENT, |(_, cut)| *cut)
    }

    fn newest_cut(&self) -> u64 {
        self.taken.last().map_or(0, |(_, cut)| *cut)
    }

    /// The cut of the piece in which a key lies; [`NOT_SENT`] when it comes later.
    fn cut(&self, hash: KeyHash) -> u64 {
        let index = self
            .taken
            .partition_point(|(next, _)| next.is_some_and(|next| next <= hash));
        self.taken.get(index).map_or(NOT_SENT, |(_, cut)| *cut)
    }
}

/// A walk with the stream that follows it.
#[derive(Debug)]
pub struct Walk {
    slots: SlotSet,
    unsent: VecDeque<SlotId>,
    /// Cuts of slots that are sent.
    cuts: Box<[u64]>,
    /// Slots of which only a part is sent, and those whose records the cursor has not read up to the last cut.
    pieces: BTreeMap<SlotId, Pieces>,
    newest_cut: u64,
    announced: u64,
    synced: bool,
    /// Whether the cursor stands between `MULTI` and `EXEC`.
    within: bool,
    /// Whether the receiver's log continues this one, so that every record goes there as it is once the content is there.
    mirrors: bool,
    progress: Progress,
}

impl Walk {
    /// A walk over all slots, for a receiver whose log continues this one.
    pub fn of_all() -> Self {
        Self {
            mirrors: true,
            ..Self::new(SlotSet::full())
        }
    }

    /// The stream without a walk, for a receiver that has everything up to `offset`.
    pub fn going_on(offset: u64) -> Self {
        Self {
            unsent: VecDeque::new(),
            cuts: vec![0; SLOT_COUNT].into_boxed_slice(),
            announced: offset,
            synced: true,
            ..Self::of_all()
        }
    }

    /// A walk over `slots`.
    pub fn new(slots: SlotSet) -> Self {
        Self {
            mirrors: false,
            progress: Progress {
                slots_total: slots.len(),
                ..Progress::default()
            },
            unsent: slots.iter().collect(),
            slots,
            cuts: vec![NOT_SENT; SLOT_COUNT].into_boxed_slice(),
            pieces: BTreeMap::new(),
            newest_cut: 0,
            announced: 0,
            synced: false,
            within: false,
        }
    }

    /// A walk over `slots` for a receiver that has `whole` of them up to `offset`, where the source's cursor stands.
    pub fn resuming(slots: SlotSet, whole: &SlotSet, offset: u64) -> Self {
        let mut walk = Self::new(slots);
        walk.unsent.retain(|slot| !whole.contains(*slot));
        for slot in walk.slots.iter().filter(|slot| whole.contains(*slot)) {
            walk.cuts[slot.index()] = offset;
            walk.progress.slots_sent += 1;
        }
        walk.newest_cut = offset;
        walk.announced = offset;
        walk
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

    /// Appends the next frames to `out`. Answers whether there were any pieces or records to look at.
    pub fn step(
        &mut self,
        source: &mut impl Source,
        budget: Budget,
        out: &mut BytesMut,
    ) -> Result<bool, Overrun> {
        let before = (self.progress.keys, self.unsent.len(), source.cursor());
        let was_synced = self.synced;
        if !source.has_put_off() {
            self.send_pieces(source, budget, out);
        }
        // What is newer must not come before what was put off.
        if self.send_put_off(source, budget, out) {
            return Ok(true);
        }
        self.drain(source, budget.log_bytes, out)?;
        self.settle(source.cursor(), out);
        self.announce(source.cursor(), out);
        let after = (self.progress.keys, self.unsent.len(), source.cursor());
        Ok(before != after || was_synced != self.synced)
    }

    /// Answers whether there is more.
    fn send_put_off(
        &mut self,
        source: &mut impl Source,
        budget: Budget,
        out: &mut BytesMut,
    ) -> bool {
        let before = out.len();
        let mut effects = Vec::new();
        while out.len() - before < budget.walk_bytes {
            effects.clear();
            let Some(slot) = source.put_off(&mut effects) else {
                return false;
            };
            frame::encode(out, Kind::Entries, slot, 0, &effects);
            self.progress.bytes += effects.len() as u64;
        }
        source.has_put_off()
    }

    fn send_pieces(&mut self, source: &mut impl Source, budget: Budget, out: &mut BytesMut) {
        let before = out.len();
        for _ in 0..budget.walk_slots {
            let Some(slot) = self.unsent.pop_front() else {
                return;
            };
            match self.send_piece(source, slot, out) {
                // It goes on before another slot begins, so that few slots are in pieces.
                Some(Some(_)) => self.unsent.push_front(slot),
                Some(None) => self.progress.slots_sent += 1,
                None => self.unsent.push_back(slot),
            }
            if out.len() - before >= budget.walk_bytes || source.has_put_off() {
                return;
            }
        }
    }

    /// Answers where the slot goes on; `None` when it is busy.
    fn send_piece(
        &mut self,
        source: &mut impl Source,
        slot: SlotId,
        out: &mut BytesMut,
    ) -> Option<Option<KeyHash>> {
        let from = match self.pieces.get(&slot) {
            Some(pieces) => pieces.next()?,
            None => KeyHash(0),
        };
        let mut entries = Vec::new();
        let mut bytes = 0;
        let before = out.len();
        if !self.pieces.contains_key(&slot) {
            frame::encode(out, Kind::Slot, slot, source.cursor(), &[]);
        }
        let dumped = source.dump(slot, from, &mut |entry| {
            if !entries.is_empty() && entries.len() + entry.len() > ENTRIES_PER_FRAME {
                frame::encode(out, Kind::Entries, slot, 0, &entries);
                entries.clear();
            }
            bytes += entry.len() as u64;
            entries.extend_from_slice(entry);
        });
        let Some(piece) = dumped else {
            out.truncate(before);
            return None;
        };
        if !entries.is_empty() {
            frame::encode(out, Kind::Entries, slot, 0, &entries);
        }
        let pieces = self.pieces.entry(slot).or_default();
        pieces.taken.push((piece.next, piece.cut));
        self.newest_cut = self.newest_cut.max(piece.cut);
        self.progress.keys += piece.keys;
        self.progress.bytes += bytes;
        Some(piece.next)
    }

    /// Slots that are complete, and whose records were read up to the last cut, have one cut like any other.
    fn settle(&mut self, cursor: u64, out: &mut BytesMut) {
        let (cuts, mirrors) = (&mut self.cuts, self.mirrors);
        self.pieces.retain(|slot, pieces| {
            let newest = pieces.newest_cut();
            let settled = pieces.next().is_none() && newest <= cursor;
            if settled {
                cuts[slot.index()] = newest;
                if !mirrors {
                    frame::encode(out, Kind::Whole, *slot, cursor, &[]);
                }
            }
            !settled
        });
    }

    fn drain(
        &mut self,
        source: &mut impl Source,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<(), Overrun> {
        let mut read = 0;
        while read < limit {
            let batch = source.read(limit - read)?;
            if batch.records.is_empty() {
                break;
            }
            for record in &batch.records {
                let effects = &batch.bytes[record.range.clone()];
                let start = record.end - effects.len() as u64;
                if record.scope == Scope::Other {
                    self.within = effects == MULTI || (self.within && effects != EXEC);
                }
                self.pass_on(source, record.scope, start, record.end, effects, out);
            }
            read += batch.bytes.len();
        }
        Ok(())
    }

    fn pass_on(
        &mut self,
        source: &impl Source,
        scope: Scope,
        start: u64,
        end: u64,
        effects: &[u8],
        out: &mut BytesMut,
    ) {
        match scope {
            Scope::Slot(slot) if self.is_mirroring() => {
                frame::encode(out, Kind::Record, slot, end, effects);
                self.progress.bytes += effects.len() as u64;
            }
            Scope::Emptied(slot) if self.is_mirroring() => {
                frame::encode(out, Kind::Emptied, slot, end, effects);
            }
            Scope::All if self.is_mirroring() => {
                frame::encode(out, Kind::All, frame::no_slot(), end, effects);
            }
            Scope::Other if self.is_mirroring() => {
                frame::encode(out, Kind::Other, frame::no_slot(), end, effects);
            }
            Scope::Slot(slot) => {
                let Some(wanted) = self.wanted(source, slot, start, effects) else {
                    return;
                };
                frame::encode(out, Kind::Record, slot, end, &wanted);
                self.progress.bytes += wanted.len() as u64;
            }
            Scope::Emptied(slot) => {
                if !self.is_emptied(slot, start) {
                    return;
                }
                frame::encode_clear(out, &SlotSet::from_iter([slot]), end);
            }
            Scope::All => {
                let slots: Vec<SlotId> = self.slots.iter().collect();
                let emptied: SlotSet = slots
                    .into_iter()
                    .filter(|slot| self.is_emptied(*slot, start))
                    .collect();
                if emptied.is_empty() {
                    return;
                }
                frame::encode_clear(out, &emptied, end);
            }
            Scope::Other => return,
        }
        self.announced = end;
    }

    fn is_mirroring(&self) -> bool {
        self.mirrors && self.synced
    }

    /// What of a record is newer than what was sent, and not to be sent later; `None` when that is nothing.
    fn wanted<'a>(
        &self,
        source: &impl Source,
        slot: SlotId,
        start: u64,
        effects: &'a [u8],
    ) -> Option<Cow<'a, [u8]>> {
        let Some(pieces) = self.pieces.get(&slot) else {
            let cut = self.cuts[slot.index()];
            return (cut != NOT_SENT && start >= cut).then_some(Cow::Borrowed(effects));
        };
        let mut wanted = Vec::new();
        source.commands(effects, &mut |hash, command| {
            let cut = pieces.cut(hash);
            if cut != NOT_SENT && start >= cut {
                wanted.extend_from_slice(command);
            }
        });
        (!wanted.is_empty()).then_some(Cow::Owned(wanted))
    }

    /// Whether the receiver is to empty a slot that was emptied. One of which some pieces are older and some newer is sent again.
    fn is_emptied(&mut self, slot: SlotId, start: u64) -> bool {
        let Some(pieces) = self.pieces.get(&slot) else {
            let cut = self.cuts[slot.index()];
            return cut != NOT_SENT && start >= cut;
        };
        let (oldest, newest) = (pieces.oldest_cut(), pieces.newest_cut());
        if start >= oldest && start < newest {
            if pieces.next().is_none() {
                self.progress.slots_sent -= 1;
            } else {
                self.unsent.retain(|other| *other != slot);
            }
            self.pieces.remove(&slot);
            self.unsent.push_back(slot);
            return false;
        }
        oldest != NOT_SENT && start >= newest
    }

    /// Tells the receiver where the stream stands when the last frame does not say so, and that the walk is over when it is.
    fn announce(&mut self, cursor: u64, out: &mut BytesMut) {
        // Every cut must lie before the cursor: only then does the receiver hold one state, that of the cursor. And a log must not begin in
        // the middle of a transaction.
        let is_exact = self.newest_cut <= cursor && !(self.mirrors && self.within);
        if !self.synced && self.unsent.is_empty() && is_exact {
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
