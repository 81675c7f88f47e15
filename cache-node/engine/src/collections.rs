//! What all collections have in common: limits, the packed form, reading in order, snapshots.
//!
//! A collection is *packed* while it is small (one run of packed items, which a store may keep anywhere, for instance inside the key's
//! entry) and *big* from the first change that exceeds a limit on; never packed again. Both forms are read through the same calls.
//! An *entry* of a collection is what it counts: an element of a list or set, a field and its value, a member and its score.

use crate::blocks::{At, Blocks};
use crate::packed::{self, Item, Items};

/// What a packed collection may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackLimits {
    /// Most entries.
    pub entries: usize,
    /// Longest item, in bytes of its text.
    pub value: usize,
    /// Most bytes of packed items.
    pub bytes: usize,
}

/// A packed collection that owns its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedBuf {
    /// Packed items.
    pub items: Vec<u8>,
    /// Number of entries, of one or two items each.
    pub count: u32,
}

impl PackedBuf {
    /// Whether the limits hold, but for the length of single items.
    pub(crate) fn fits(&self, limits: &PackLimits) -> bool {
        self.count as usize <= limits.entries && self.items.len() <= limits.bytes
    }

    /// Whether the limits hold for one more entry of `size` bytes.
    pub(crate) fn has_room(&self, size: usize, limits: &PackLimits) -> bool {
        (self.count as usize) < limits.entries && self.items.len() + size <= limits.bytes
    }
}

/// A run of a collection's packed items, in the collection's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Packed items.
    pub items: &'a [u8],
    /// Number of entries.
    pub count: usize,
}

/// A collection's entries as they lie.
#[derive(Clone, Copy, Debug)]
pub(crate) enum View<'a> {
    Packed(&'a [u8], u32),
    Blocks(&'a Blocks),
}

impl<'a> View<'a> {
    pub(crate) fn len(self) -> usize {
        match self {
            Self::Packed(_, count) => count as usize,
            Self::Blocks(blocks) => blocks.len(),
        }
    }

    /// The items of up to `count` entries of `stride` items, from entry `start` on; if `reverse`, from it towards the first entry,
    /// each entry's items from the last to the first.
    pub(crate) fn run(self, stride: usize, start: usize, count: usize, reverse: bool) -> Run<'a> {
        let len = self.len();
        let count = if start >= len {
            0
        } else if reverse {
            count.min(start.saturating_add(1))
        } else {
            count.min(len - start)
        };
        let (bytes, entries, entry, blocks) = match self {
            Self::Packed(bytes, entries) => (bytes, entries as usize, start, None),
            Self::Blocks(blocks) => match blocks.locate(start) {
                Some(place) => {
                    let block = blocks.block(place.at);
                    let entries = block.count as usize;
                    (
                        block.items(),
                        entries,
                        place.entry,
                        Some((blocks, place.at)),
                    )
                }
                None => (&[][..], 0, 0, None),
            },
        };
        // A reverse run begins behind its first entry.
        let border = entry.min(entries) + usize::from(reverse);
        let border = border.min(entries) * stride;
        let offset = packed::offset_of(bytes, entries * stride, border).unwrap_or(bytes.len());
        let (before, behind) = bytes.split_at(offset.min(bytes.len()));
        Run {
            items: packed::items(if reverse { before } else { behind }),
            blocks,
            left: count * stride,
            reverse,
        }
    }

    pub(crate) fn pieces(self) -> impl Iterator<Item = Piece<'a>> + 'a {
        let (packed, blocks) = match self {
            Self::Packed(items, count) => {
                let count = count as usize;
                (Some(Piece { items, count }), None)
            }
            Self::Blocks(blocks) => (None, Some(blocks)),
        };
        let blocks = blocks.into_iter().flat_map(Blocks::iter);
        packed.into_iter().chain(blocks.map(|block| Piece {
            items: block.items(),
            count: block.count as usize,
        }))
    }

    pub(crate) fn snapshot(self, stride: usize) -> Snapshot {
        let form = match self {
            Self::Packed(items, count) => Form::Packed(PackedBuf {
                items: items.to_vec(),
                count,
            }),
            Self::Blocks(blocks) => Form::Blocks(blocks.clone()),
        };
        Snapshot { form, stride }
    }
}

/// Items one after the other, in either direction.
#[derive(Clone, Debug)]
pub struct Run<'a> {
    items: Items<'a>,
    /// The sequence and the block that `items` are of, if there may be more blocks.
    blocks: Option<(&'a Blocks, At)>,
    left: usize,
    reverse: bool,
}

impl<'a> Run<'a> {
    fn step(&mut self) -> Option<Item<'a>> {
        if self.reverse {
            self.items.next_back()
        } else {
            self.items.next()
        }
    }

    fn next_block(&mut self) -> Option<()> {
        let (blocks, at) = self.blocks?;
        let next = if self.reverse {
            blocks.previous(at)
        } else {
            blocks.next(at)
        }?;
        self.items = packed::items(blocks.block(next).items());
        self.blocks = Some((blocks, next));
        Some(())
    }
}

impl<'a> Iterator for Run<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        self.left = self.left.checked_sub(1)?;
        loop {
            if let Some(item) = self.step() {
                return Some(item);
            }
            self.next_block()?;
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.left))
    }
}

/// Pairs of items one after the other: field and value, member and score.
#[derive(Clone, Debug)]
pub struct Pairs<'a>(pub(crate) Run<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (first, second) = (self.0.next()?, self.0.next()?);
        Some(if self.0.reverse {
            (second, first)
        } else {
            (first, second)
        })
    }
}

/// A collection as it was at one moment: taken under a lock in time that depends on the number of its nodes (a packed one is
/// copied), read after.
#[derive(Clone, Debug)]
pub struct Snapshot {
    form: Form,
    stride: usize,
}

#[derive(Clone, Debug)]
enum Form {
    Packed(PackedBuf),
    Blocks(Blocks),
}

impl Snapshot {
    fn view(&self) -> View<'_> {
        match &self.form {
            Form::Packed(buffer) => View::Packed(&buffer.items, buffer.count),
            Form::Blocks(blocks) => View::Blocks(blocks),
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items of up to `count` entries from entry `start` on, towards the first one if `reverse`.
    pub fn run(&self, start: usize, count: usize, reverse: bool) -> Run<'_> {
        self.view().run(self.stride, start, count, reverse)
    }

    /// The same in pairs, for collections whose entries are pairs.
    pub fn pairs(&self, start: usize, count: usize, reverse: bool) -> Pairs<'_> {
        Pairs(self.run(start, count, reverse))
    }

    /// All entries, run by run as they lie.
    pub fn pieces(&self) -> impl Iterator<Item = Piece<'_>> {
        self.view().pieces()
    }
}

/// Something detached from a collection, to be dropped where it does not matter how long that takes.
#[derive(Debug, Default)]
pub struct Detached(pub(crate) crate::blocks::Cut);

impl Detached {
    /// Number of allocations that dropping it frees.
    pub fn weight(&self) -> usize {
        self.0.weight()
    }
}
