//! Sets: members, each once.

use crate::collections::{PackLimits, PackedBuf, Piece, Run, Snapshot, View};
use crate::leaves::Leaves;
use crate::packed::{self, Encoded, Item};

/// A set that can be changed.
#[derive(Clone, Debug)]
pub enum Set {
    /// Members in one run of packed items, in the order in which they came.
    Packed(PackedBuf),
    /// Members in leaves.
    Big(Box<BigSet>),
}

/// A set beyond the limits of the packed form.
#[derive(Clone, Debug)]
pub struct BigSet(Leaves<1>);

/// A set to read.
#[derive(Clone, Copy, Debug)]
pub enum SetRef<'a> {
    /// Packed items and their number.
    Packed(&'a [u8], u32),
    /// A big set.
    Big(&'a BigSet),
}

impl Default for Set {
    fn default() -> Self {
        Self::Packed(PackedBuf::default())
    }
}

impl Set {
    /// A set of `count` packed items.
    pub fn from_packed(items: Vec<u8>, count: u32) -> Self {
        Self::Packed(PackedBuf { items, count })
    }

    /// The set to read.
    pub fn as_ref(&self) -> SetRef<'_> {
        match self {
            Self::Packed(buffer) => SetRef::Packed(&buffer.items, buffer.count),
            Self::Big(big) => SetRef::Big(big),
        }
    }

    /// Adds a member; answers whether it is new.
    pub fn add(&mut self, member: &[u8], limits: &PackLimits) -> bool {
        if member.len() > limits.value && matches!(self, Self::Packed(_)) {
            self.make_big();
        }
        match self {
            Self::Packed(buffer) => {
                let member = Encoded::new(member);
                if packed::find(&buffer.items, &member, 1).is_some() {
                    return false;
                }
                packed::push(&mut buffer.items, &member);
                buffer.count += 1;
                if !buffer.fits(limits) {
                    self.make_big();
                }
                true
            }
            Self::Big(big) => big.0.insert(member, &[]),
        }
    }

    /// Removes a member; answers whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Self::Packed(buffer) => {
                let Some(offset) = packed::find(&buffer.items, &Encoded::new(member), 1) else {
                    return false;
                };
                packed::remove(&mut buffer.items, offset, 1);
                packed::settle(&mut buffer.items);
                buffer.count -= 1;
                true
            }
            Self::Big(big) => big.0.remove(member),
        }
    }

    fn make_big(&mut self) {
        if let Self::Packed(buffer) = self {
            *self = Self::Big(Box::new(BigSet(Leaves::from_packed(&buffer.items))));
        }
    }
}

impl BigSet {
    /// Bytes allocated, this struct included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.0.blocks().bytes()
    }

    /// Number of allocations.
    pub fn weight(&self) -> usize {
        1 + self.0.blocks().weight()
    }
}

impl<'a> SetRef<'a> {
    fn view(self) -> View<'a> {
        match self {
            Self::Packed(items, count) => View::Packed(items, count),
            Self::Big(big) => View::Blocks(big.0.blocks()),
        }
    }

    /// Number of members.
    pub fn len(self) -> usize {
        self.view().len()
    }

    /// Whether there is no member.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Whether it is a member.
    pub fn contains(self, member: &[u8]) -> bool {
        match self {
            Self::Packed(items, _) => packed::find(items, &Encoded::new(member), 1).is_some(),
            Self::Big(big) => big.0.contains(member),
        }
    }

    /// All members.
    pub fn iter(self) -> Run<'a> {
        self.view().run(1, 0, self.len(), false)
    }

    /// Member `index` in the present order, which the next change may alter: for choosing one at random.
    pub fn nth(self, index: usize) -> Option<Item<'a>> {
        self.view().run(1, index, 1, false).next()
    }

    /// Visits members as [`crate::hash::HashRef::scan`] visits fields.
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Item<'a>)) -> u64 {
        match self {
            Self::Packed(..) => {
                self.iter().for_each(visit);
                0
            }
            Self::Big(big) => big.0.scan(cursor, count, |entry| {
                packed::items(entry).take(1).for_each(&mut visit);
            }),
        }
    }

    /// All members in packed runs.
    pub fn pieces(self) -> impl Iterator<Item = Piece<'a>> + 'a {
        self.view().pieces()
    }

    /// The set as it is now, to be read later.
    pub fn snapshot(self) -> Snapshot {
        self.view().snapshot(1)
    }
}

#[cfg(test)]
mod tests;
