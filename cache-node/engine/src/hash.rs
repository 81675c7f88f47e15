//! Hashes: fields and their values.

use crate::collections::{PackLimits, PackedBuf, Pairs, Piece, Snapshot, View};
use crate::leaves::Leaves;
use crate::packed::{self, Encoded, Item};

/// A hash that can be changed.
#[derive(Clone, Debug)]
pub enum Hash {
    /// Fields and values in one run of packed items, in the order in which they came.
    Packed(PackedBuf),
    /// Fields and values in leaves.
    Big(Box<BigHash>),
}

/// A hash beyond the limits of the packed form.
#[derive(Clone, Debug)]
pub struct BigHash(Leaves<2>);

/// A hash to read.
#[derive(Clone, Copy, Debug)]
pub enum HashRef<'a> {
    /// Packed items and the number of fields.
    Packed(&'a [u8], u32),
    /// A big hash.
    Big(&'a BigHash),
}

impl Default for Hash {
    fn default() -> Self {
        Self::Packed(PackedBuf::default())
    }
}

impl Hash {
    /// A hash of `count` fields in packed items.
    pub fn from_packed(items: Vec<u8>, count: u32) -> Self {
        Self::Packed(PackedBuf { items, count })
    }

    /// The hash to read.
    pub fn as_ref(&self) -> HashRef<'_> {
        match self {
            Self::Packed(buffer) => HashRef::Packed(&buffer.items, buffer.count),
            Self::Big(big) => HashRef::Big(big),
        }
    }

    /// Gives a field a value; answers whether the field is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &PackLimits) -> bool {
        if field.len() > limits.value || value.len() > limits.value {
            self.make_big();
        }
        let encoded = Encoded::new(value);
        match self {
            Self::Packed(buffer) => {
                let new = set_packed(buffer, &Encoded::new(field), &encoded);
                if !buffer.fits(limits) {
                    self.make_big();
                }
                new
            }
            Self::Big(big) => big.0.insert(field, &[encoded]),
        }
    }

    /// Removes a field; answers whether it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self {
            Self::Packed(buffer) => {
                let Some(offset) = packed::find(&buffer.items, &Encoded::new(field), 2) else {
                    return false;
                };
                packed::remove(&mut buffer.items, offset, 2);
                packed::settle(&mut buffer.items);
                buffer.count -= 1;
                true
            }
            Self::Big(big) => big.0.remove(field),
        }
    }

    fn make_big(&mut self) {
        if let Self::Packed(buffer) = self {
            *self = Self::Big(Box::new(BigHash(Leaves::from_packed(&buffer.items))));
        }
    }
}

fn set_packed(buffer: &mut PackedBuf, field: &Encoded<'_>, value: &Encoded<'_>) -> bool {
    let old = packed::find(&buffer.items, field, 2)
        .and_then(|offset| packed::skip(&buffer.items, offset, 1));
    if let Some(offset) = old {
        packed::replace(&mut buffer.items, offset, value);
        packed::settle(&mut buffer.items);
        false
    } else {
        let end = buffer.items.len();
        packed::insert_all(&mut buffer.items, end, &[*field, *value]);
        buffer.count += 1;
        true
    }
}

impl BigHash {
    /// Bytes allocated, this struct included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.0.blocks().bytes()
    }

    /// Number of allocations.
    pub fn weight(&self) -> usize {
        1 + self.0.blocks().weight()
    }
}

impl<'a> HashRef<'a> {
    fn view(self) -> View<'a> {
        match self {
            Self::Packed(items, count) => View::Packed(items, count),
            Self::Big(big) => View::Blocks(big.0.blocks()),
        }
    }

    /// Number of fields.
    pub fn len(self) -> usize {
        self.view().len()
    }

    /// Whether there is no field.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// A field's value.
    pub fn get(self, field: &[u8]) -> Option<Item<'a>> {
        match self {
            Self::Packed(items, _) => {
                let offset = packed::find(items, &Encoded::new(field), 2)?;
                let value = packed::skip(items, offset, 1)?;
                Some(packed::at(items, value)?.0)
            }
            Self::Big(big) => big.0.value(field),
        }
    }

    /// Whether the field is there.
    pub fn contains(self, field: &[u8]) -> bool {
        match self {
            Self::Packed(items, _) => packed::find(items, &Encoded::new(field), 2).is_some(),
            Self::Big(big) => big.0.contains(field),
        }
    }

    /// All fields and values.
    pub fn iter(self) -> Pairs<'a> {
        Pairs(self.view().run(2, 0, self.len(), false))
    }

    /// Field `index` in the present order, which the next change may alter: for choosing one at random.
    pub fn nth(self, index: usize) -> Option<(Item<'a>, Item<'a>)> {
        Pairs(self.view().run(2, index, 1, false)).next()
    }

    /// Visits at least `count` fields, if there are so many, from the place `cursor` on (0 at first); answers where to go on, 0 at the
    /// end. What is there from the first call to the last is visited, whatever changes in between. A packed hash is visited whole.
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Item<'a>, Item<'a>)) -> u64 {
        match self {
            Self::Packed(..) => {
                self.iter().for_each(|(field, value)| visit(field, value));
                0
            }
            Self::Big(big) => big.0.scan(cursor, count, |entry| {
                let mut items = packed::items(entry);
                if let (Some(field), Some(value)) = (items.next(), items.next()) {
                    visit(field, value);
                }
            }),
        }
    }

    /// All fields and values in packed runs.
    pub fn pieces(self) -> impl Iterator<Item = Piece<'a>> + 'a {
        self.view().pieces()
    }

    /// The hash as it is now, to be read later; its entries are pairs.
    pub fn snapshot(self) -> Snapshot {
        self.view().snapshot(2)
    }
}

#[cfg(test)]
mod tests;
