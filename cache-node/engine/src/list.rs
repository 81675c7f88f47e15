//! Lists: elements in an order, quick at both ends.

use crate::blocks::{At, Block, Blocks, divide};
use crate::collections::{Detached, PackLimits, PackedBuf, Piece, Run, Snapshot, View};
use crate::packed::{self, Encoded, Item};

/// Most bytes of a block of several elements.
const BLOCK_BYTES: usize = if cfg!(test) { 64 } else { 4096 };

/// Blocks are joined up to so many bytes.
const JOIN_BYTES: usize = BLOCK_BYTES / 2;

/// A list that can be changed.
#[derive(Clone, Debug)]
pub enum List {
    /// Elements in one run of packed items.
    Packed(PackedBuf),
    /// Elements in blocks.
    Big(Box<BigList>),
}

/// A list beyond the limits of the packed form.
#[derive(Clone, Debug)]
pub struct BigList(Blocks);

/// A list to read.
#[derive(Clone, Copy, Debug)]
pub enum ListRef<'a> {
    /// Packed items and their number.
    Packed(&'a [u8], u32),
    /// A big list.
    Big(&'a BigList),
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where index 0 is.
    Front,
    /// Where index -1 is.
    Back,
}

impl Default for List {
    fn default() -> Self {
        Self::Packed(PackedBuf::default())
    }
}

impl List {
    /// A list of `count` packed items.
    pub fn from_packed(items: Vec<u8>, count: u32) -> Self {
        Self::Packed(PackedBuf { items, count })
    }

    /// The list to read.
    pub fn as_ref(&self) -> ListRef<'_> {
        match self {
            Self::Packed(buffer) => ListRef::Packed(&buffer.items, buffer.count),
            Self::Big(big) => ListRef::Big(big),
        }
    }

    /// Puts an element in at an end.
    pub fn push(&mut self, end: End, value: &[u8], limits: &PackLimits) {
        let index = match end {
            End::Front => 0,
            End::Back => self.as_ref().len(),
        };
        self.insert(index, value, limits);
    }

    /// Puts an element in before element `index`, at the end if there are only so many.
    pub fn insert(&mut self, index: usize, value: &[u8], limits: &PackLimits) {
        let long = value.len() > limits.value;
        let value = Encoded::new(value);
        // A list that becomes big fills its first block, as one that grows does.
        if let Self::Packed(buffer) = self
            && (long || !buffer.has_room(value.size(), limits))
        {
            self.make_big();
        }
        match self {
            Self::Packed(buffer) => {
                let count = buffer.count as usize;
                if let Some(offset) = packed::offset_of(&buffer.items, count, index.min(count)) {
                    packed::insert(&mut buffer.items, offset, &value);
                    buffer.count += 1;
                }
            }
            Self::Big(big) => big.insert(index, &value),
        }
    }

    /// Takes an element off an end and shows it to `take`; answers whether there was one.
    pub fn pop(&mut self, end: End, take: impl FnOnce(Item<'_>)) -> bool {
        let index = match end {
            End::Front => 0,
            End::Back => self.as_ref().len().wrapping_sub(1),
        };
        let Some(item) = self.as_ref().get(index) else {
            return false;
        };
        take(item);
        self.remove(index, 1);
        true
    }

    /// Replaces element `index`; answers whether there is one.
    pub fn set(&mut self, index: usize, value: &[u8], limits: &PackLimits) -> bool {
        if index >= self.as_ref().len() {
            return false;
        }
        if value.len() > limits.value {
            self.make_big();
        }
        let value = Encoded::new(value);
        match self {
            Self::Packed(buffer) => {
                if let Some(offset) = packed::offset_of(&buffer.items, buffer.count as usize, index)
                {
                    packed::replace(&mut buffer.items, offset, &value);
                    packed::settle(&mut buffer.items);
                }
                if !buffer.fits(limits) {
                    self.make_big();
                }
            }
            Self::Big(big) => big.set(index, &value),
        }
        true
    }

    /// Removes `count` elements, or as many as there are, from element `start` on. What is detached should be dropped outside of any
    /// lock.
    pub fn remove(&mut self, start: usize, count: usize) -> Detached {
        let len = self.as_ref().len();
        let count = count.min(len.saturating_sub(start));
        match self {
            Self::Packed(buffer) if count > 0 => {
                if let Some(offset) = packed::offset_of(&buffer.items, len, start) {
                    packed::remove(&mut buffer.items, offset, count);
                    packed::settle(&mut buffer.items);
                    buffer.count -= count as u32;
                }
                Detached::default()
            }
            Self::Big(big) => Detached(big.0.cut(start, count, 1, |_, key| key)),
            Self::Packed(_) => Detached::default(),
        }
    }

    /// Removes up to `most` elements that equal `value`, the first ones from `end`; answers how many.
    pub fn remove_equal(&mut self, end: End, value: &[u8], most: usize) -> usize {
        let mut removed = 0;
        let mut from = 0;
        while removed < most {
            let list = self.as_ref();
            // Elements already looked at keep their number from `end`.
            let Some(found) = list.positions(end, value, from).next() else {
                break;
            };
            let index = match end {
                End::Front => found,
                End::Back => list.len() - 1 - found,
            };
            self.remove(index, 1);
            if let Self::Big(big) = self {
                big.join_at(index);
            }
            from = found;
            removed += 1;
        }
        removed
    }

    fn make_big(&mut self) {
        if let Self::Packed(buffer) = self {
            let blocks = divide(&buffer.items, 1, (BLOCK_BYTES, BLOCK_BYTES), |_| 0);
            let blocks = Blocks::of(blocks.into_iter().filter(|block| block.count > 0));
            *self = Self::Big(Box::new(BigList(blocks)));
        }
    }
}

impl BigList {
    /// Bytes allocated, this struct included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.0.bytes()
    }

    /// Number of allocations.
    pub fn weight(&self) -> usize {
        1 + self.0.weight()
    }

    fn insert(&mut self, index: usize, value: &Encoded<'_>) {
        if index == 0 {
            self.push_front(value);
        } else if let Some(place) = self.0.locate(index) {
            self.0.edit(place.at, |block| {
                if let Some(offset) = offset_of(block, place.entry) {
                    block.splice(offset, 0, &[*value]);
                    block.count += 1;
                }
            });
            self.split(place.at);
        } else {
            self.push_back(value);
        }
    }

    fn push_back(&mut self, value: &Encoded<'_>) {
        match self.0.last() {
            Some(at) if self.has_room(at, value) => self.0.edit(at, |block| {
                block.splice(block.items().len(), 0, &[*value]);
                block.count += 1;
            }),
            _ => self.0.push_back(Block::of_entry(&[*value], 0)),
        }
    }

    fn push_front(&mut self, value: &Encoded<'_>) {
        match self.0.first() {
            Some(at) if self.has_room(at, value) => self.0.edit(at, |block| {
                block.splice(0, 0, &[*value]);
                block.count += 1;
            }),
            _ => self
                .0
                .insert(At { node: 0, block: 0 }, Block::of_entry(&[*value], 0)),
        }
    }

    fn has_room(&self, at: At, value: &Encoded<'_>) -> bool {
        self.0.block(at).items().len() + value.size() <= BLOCK_BYTES
    }

    fn set(&mut self, index: usize, value: &Encoded<'_>) {
        if let Some(place) = self.0.locate(index) {
            self.0.edit(place.at, |block| {
                if let (Some(offset), Some(end)) = (
                    offset_of(block, place.entry),
                    offset_of(block, place.entry + 1),
                ) {
                    block.splice(offset, end - offset, &[*value]);
                }
            });
            self.split(place.at);
        }
    }

    /// Divides a block that has become too big: at an element that is a block of its own, else in the middle.
    fn split(&mut self, at: At) {
        let block = self.0.block(at);
        if block.items().len() > BLOCK_BYTES && block.count > 1 {
            let half = (block.items().len() / 2).min(BLOCK_BYTES);
            let parts = divide(block.items(), 1, (half, BLOCK_BYTES), |_| 0);
            self.0.replace(at, parts);
        }
    }

    /// Joins the block where an element was removed with a neighbour, if both are small.
    fn join_at(&mut self, index: usize) {
        let last = self.0.len().wrapping_sub(1);
        if let Some(place) = self.0.locate(index.min(last))
            && self.0.block(place.at).items().len() < JOIN_BYTES / 2
        {
            self.0.join(place.at, JOIN_BYTES, u32::MAX);
        }
    }
}

fn offset_of(block: &Block, entry: usize) -> Option<usize> {
    packed::offset_of(block.items(), block.count as usize, entry)
}

impl<'a> ListRef<'a> {
    fn view(self) -> View<'a> {
        match self {
            Self::Packed(items, count) => View::Packed(items, count),
            Self::Big(big) => View::Blocks(&big.0),
        }
    }

    /// Number of elements.
    pub fn len(self) -> usize {
        self.view().len()
    }

    /// Whether there is no element.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Element `index`.
    pub fn get(self, index: usize) -> Option<Item<'a>> {
        self.run(index, 1, false).next()
    }

    /// Up to `count` elements from element `start` on, towards the front if `reverse`.
    pub fn run(self, start: usize, count: usize, reverse: bool) -> Run<'a> {
        self.view().run(1, start, count, reverse)
    }

    /// Where elements equal `value`, looking from `end` on and leaving the first `from` out; places are counted from `end`.
    pub fn positions(
        self,
        end: End,
        value: &'a [u8],
        from: usize,
    ) -> impl Iterator<Item = usize> + 'a {
        let len = self.len();
        let run = match end {
            End::Front => self.run(from, len, false),
            // Beyond the front there is nothing: the start lies behind the end.
            End::Back => self.run(len.wrapping_sub(1 + from), len, true),
        };
        let wanted = Item::new(value);
        run.enumerate()
            .filter(move |(_, item)| *item == wanted)
            .map(move |(index, _)| from + index)
    }

    /// All elements in packed runs.
    pub fn pieces(self) -> impl Iterator<Item = Piece<'a>> + 'a {
        self.view().pieces()
    }

    /// The list as it is now, to be read later.
    pub fn snapshot(self) -> Snapshot {
        self.view().snapshot(1)
    }
}

#[cfg(test)]
mod tests;
