//! Members and scores in order: where an entry stands or would stand.

use std::cmp::Ordering;

use super::score::{ScoreItem, order, score_of};
use crate::blocks::{At, Block, Blocks, divide};
use crate::packed::{self, Encoded, Item};

/// Most bytes of a block of several members.
const BLOCK_BYTES: usize = if cfg!(test) { 64 } else { 512 };

/// A border between entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct Border<'a> {
    /// The score's place in the order of scores.
    pub(super) order: u64,
    pub(super) among_equal: AmongEqual<'a>,
}

/// Where a border runs among members of the same score.
#[derive(Clone, Copy, Debug)]
pub(super) enum AmongEqual<'a> {
    /// Before all of them.
    First,
    /// Behind all of them.
    Last,
    /// Before this member.
    Before(&'a [u8]),
    /// Behind this member.
    Behind(&'a [u8]),
}

impl Border<'_> {
    /// Whether an entry lies before the border.
    fn follows(&self, order: u64, member: impl FnOnce() -> Option<Ordering>) -> bool {
        match order.cmp(&self.order) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal => match self.among_equal {
                AmongEqual::First => false,
                AmongEqual::Last => true,
                AmongEqual::Before(_) => member() == Some(Ordering::Less),
                AmongEqual::Behind(_) => member() != Some(Ordering::Greater),
            },
        }
    }

    fn compare(&self, member: Item<'_>) -> Option<Ordering> {
        match self.among_equal {
            AmongEqual::First | AmongEqual::Last => None,
            AmongEqual::Before(other) | AmongEqual::Behind(other) => Some(member.cmp_text(other)),
        }
    }

    /// Number and offset of the first entry behind the border.
    pub(super) fn within(&self, items: &[u8]) -> (usize, usize) {
        let (mut entry, mut offset) = (0, 0);
        while let Some((member, score)) = packed::at(items, offset)
            && let Some((score, next)) = packed::at(items, score)
            && self.follows(order(score_of(score).unwrap_or_default()), || {
                self.compare(member)
            })
        {
            entry += 1;
            offset = next;
        }
        (entry, offset)
    }

    fn after_start_of(&self, block: &Block) -> bool {
        self.follows(block.key, || {
            let (member, _) = packed::at(block.items(), 0)?;
            self.compare(member)
        })
    }
}

/// Blocks of members and scores.
#[derive(Clone, Debug, Default)]
pub(super) struct Ordered {
    pub(super) blocks: Blocks,
}

impl Ordered {
    /// The entries of packed items, which are in order.
    pub(super) fn from_packed(items: &[u8]) -> Self {
        let mut ordered = Self::default();
        let mut items = packed::items(items);
        while let (Some(member), Some(score)) = (items.next(), items.next()) {
            let score = ScoreItem::raw(score_of(score).unwrap_or_default());
            let entry = [Encoded::of(member), score.encoded()];
            let end = ordered.blocks.last();
            ordered.put(end, usize::MAX, &entry);
        }
        ordered
    }

    /// Number of entries before the border.
    pub(super) fn rank(&self, border: &Border<'_>) -> usize {
        self.blocks
            .by_key(border.order, |block| border.after_start_of(block))
            .map_or(0, |at| {
                self.blocks.before(at) + border.within(self.blocks.block(at).items()).0
            })
    }

    /// Puts a member in that is not there.
    pub(super) fn insert(&mut self, member: &[u8], score: f64) {
        let border = Border {
            order: order(score),
            among_equal: AmongEqual::Before(member),
        };
        let at = self
            .blocks
            .by_key(border.order, |block| border.after_start_of(block));
        let offset = at.map_or(0, |at| border.within(self.blocks.block(at).items()).1);
        let score = ScoreItem::raw(score);
        self.put(at, offset, &[Encoded::new(member), score.encoded()]);
    }

    /// Takes a member out that has this score.
    pub(super) fn remove(&mut self, member: &[u8], score: f64) {
        let border = Border {
            order: order(score),
            among_equal: AmongEqual::Before(member),
        };
        // The entry may be the first of its block, before which the border runs.
        let behind = Border {
            among_equal: AmongEqual::Behind(member),
            ..border
        };
        let Some(at) = self
            .blocks
            .by_key(behind.order, |block| behind.after_start_of(block))
        else {
            return;
        };
        let (_, offset) = border.within(self.blocks.block(at).items());
        let (bytes, count) = self.blocks.edit(at, |block| {
            if let Some(end) = packed::skip(block.items(), offset, 2) {
                block.splice(offset, end - offset, &[]);
            }
            block.count -= 1;
            block.key = first_order(block.items(), block.key);
            (block.items().len(), block.count)
        });
        if count == 0 {
            self.blocks.remove(at);
        } else if bytes < BLOCK_BYTES / 4 {
            self.blocks.join(at, BLOCK_BYTES / 2, u32::MAX);
        }
    }

    /// Puts an entry in at an offset of a block, or of a new one if there is none; an offset beyond its end is its end.
    fn put(&mut self, at: Option<At>, offset: usize, entry: &[Encoded<'_>; 2]) {
        let size = entry[0].size() + entry[1].size();
        let Some(at) = at else {
            self.blocks.push_back(block_of(entry));
            return;
        };
        let len = self.blocks.block(at).items().len();
        let offset = offset.min(len);
        if len + size > BLOCK_BYTES {
            // At the ends full blocks stay full, so that a set which grows there has no half-empty ones.
            if offset == len && self.blocks.next(at).is_none() {
                self.blocks.push_back(block_of(entry));
                return;
            }
            if offset == 0 && self.blocks.first() == Some(at) {
                self.blocks.insert(at, block_of(entry));
                return;
            }
        }
        self.blocks.edit(at, |block| {
            block.splice(offset, 0, entry);
            block.count += 1;
            block.key = first_order(block.items(), block.key);
        });
        if len + size > BLOCK_BYTES {
            let items = self.blocks.block(at).items();
            let half = (items.len() / 2).min(BLOCK_BYTES);
            let parts = divide(items, 2, (half, BLOCK_BYTES), |items| first_order(items, 0));
            self.blocks.replace(at, parts);
        }
    }
}

fn block_of(entry: &[Encoded<'_>; 2]) -> Block {
    let mut block = Block::of_entry(entry, 0);
    block.key = first_order(block.items(), 0);
    block
}

/// A block's key: the order of its first score; `otherwise` for no items.
pub(super) fn first_order(items: &[u8], otherwise: u64) -> u64 {
    packed::items(items)
        .nth(1)
        .and_then(score_of)
        .map_or(otherwise, order)
}
