//! Sorted sets: members with scores, in the order of scores, then of members' bytes.
//!
//! Packed, a set is a run of member, score, member, score ... in order, scores as Redis writes them: an integer item, or the shortest
//! text. A big one has the same pairs in blocks in order and once more in leaves by member; there a score that is no integer is a
//! nine-byte item of a marker and the number's own bytes. [`score_of`] reads every form.
//!
//! Ranges are asked for by rank; where a score or a member begins or ends is a rank too ([`SortedSetRef::rank_of_score`],
//! [`SortedSetRef::rank_of_member`]). Scores are never NaN; there is one zero, as in a packed sorted set of Redis.

mod ordered;
mod score;

pub use score::{score_of, write_score};

use crate::collections::{Detached, PackLimits, PackedBuf, Pairs, Piece, Snapshot, View};
use crate::leaves::Leaves;
use crate::packed::{self, Encoded, Item};
use ordered::{AmongEqual, Border, Ordered, first_order};
use score::{ScoreItem, order};

/// A sorted set that can be changed.
#[derive(Clone, Debug)]
pub enum SortedSet {
    /// Members and scores in one run of packed items, in order.
    Packed(PackedBuf),
    /// Members and scores in blocks.
    Big(Box<BigSortedSet>),
}

/// A sorted set beyond the limits of the packed form.
#[derive(Clone, Debug)]
pub struct BigSortedSet {
    /// Members and scores in order.
    ordered: Ordered,
    /// Scores by member.
    scores: Leaves<2>,
}

/// A sorted set to read.
#[derive(Clone, Copy, Debug)]
pub enum SortedSetRef<'a> {
    /// Packed items and the number of members.
    Packed(&'a [u8], u32),
    /// A big sorted set.
    Big(&'a BigSortedSet),
}

impl Default for SortedSet {
    fn default() -> Self {
        Self::Packed(PackedBuf::default())
    }
}

impl SortedSet {
    /// A sorted set of `count` members in packed items.
    pub fn from_packed(items: Vec<u8>, count: u32) -> Self {
        Self::Packed(PackedBuf { items, count })
    }

    /// The sorted set to read.
    pub fn as_ref(&self) -> SortedSetRef<'_> {
        match self {
            Self::Packed(buffer) => SortedSetRef::Packed(&buffer.items, buffer.count),
            Self::Big(big) => SortedSetRef::Big(big),
        }
    }

    /// Gives a member a score, which is not NaN; answers the score that it had.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &PackLimits) -> Option<f64> {
        if member.len() > limits.value {
            self.make_big();
        }
        // There is one zero only.
        let score = score + 0.0;
        match self {
            Self::Packed(buffer) => {
                let old = insert_packed(buffer, member, score);
                if !buffer.fits(limits) {
                    self.make_big();
                }
                old
            }
            Self::Big(big) => big.insert(member, score),
        }
    }

    /// Removes a member; answers the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Packed(buffer) => {
                let old = remove_packed(buffer, &Encoded::new(member));
                packed::settle(&mut buffer.items);
                old
            }
            Self::Big(big) => {
                let old = score_of(big.scores.value(member)?)?;
                big.scores.remove(member);
                big.ordered.remove(member, old);
                Some(old)
            }
        }
    }

    /// Removes `count` members, or as many as there are, from rank `start` on. What is detached should be dropped outside of any lock.
    ///
    /// Members are looked up one by one: whoever must not take long removes a few thousand at a time.
    pub fn remove_range(&mut self, start: usize, count: usize) -> Detached {
        let len = self.as_ref().len();
        let count = count.min(len.saturating_sub(start));
        match self {
            Self::Packed(buffer) => {
                if let Some(offset) = packed::offset_of(&buffer.items, 2 * len, 2 * start)
                    && count > 0
                {
                    packed::remove(&mut buffer.items, offset, 2 * count);
                    packed::settle(&mut buffer.items);
                    buffer.count -= count as u32;
                }
                Detached::default()
            }
            Self::Big(big) => {
                let gone = Pairs(View::Blocks(&big.ordered.blocks).run(2, start, count, false));
                let mut buffer = itoa::Buffer::new();
                for (member, _) in gone {
                    big.scores.remove(member.text(&mut buffer));
                }
                Detached(big.ordered.blocks.cut(start, count, 2, first_order))
            }
        }
    }

    fn make_big(&mut self) {
        if let Self::Packed(buffer) = self {
            let ordered = Ordered::from_packed(&buffer.items);
            let mut scores = Leaves::default();
            for block in ordered.blocks.iter() {
                scores.extend(block.items());
            }
            *self = Self::Big(Box::new(BigSortedSet { ordered, scores }));
        }
    }
}

fn insert_packed(buffer: &mut PackedBuf, member: &[u8], score: f64) -> Option<f64> {
    let encoded = Encoded::new(member);
    let old = remove_packed(buffer, &encoded);
    let border = Border {
        order: order(score),
        among_equal: AmongEqual::Before(member),
    };
    let (_, offset) = border.within(&buffer.items);
    let score = ScoreItem::packed(score);
    packed::insert_all(&mut buffer.items, offset, &[encoded, score.encoded()]);
    buffer.count += 1;
    old
}

fn remove_packed(buffer: &mut PackedBuf, member: &Encoded<'_>) -> Option<f64> {
    let offset = packed::find(&buffer.items, member, 2)?;
    let (_, score) = packed::at(&buffer.items, offset)?;
    let old = score_of(packed::at(&buffer.items, score)?.0);
    packed::remove(&mut buffer.items, offset, 2);
    buffer.count -= 1;
    old
}

impl BigSortedSet {
    /// Bytes allocated, this struct included.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.ordered.blocks.bytes() + self.scores.blocks().bytes()
    }

    /// Number of allocations.
    pub fn weight(&self) -> usize {
        1 + self.ordered.blocks.weight() + self.scores.blocks().weight()
    }

    fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let mut old = None;
        let item = ScoreItem::raw(score);
        let encoded = [item.encoded()];
        self.scores
            .insert_seeing(member, &encoded, |item| old = score_of(item));
        if old != Some(score) {
            if let Some(old) = old {
                self.ordered.remove(member, old);
            }
            self.ordered.insert(member, score);
        }
        old
    }
}

impl<'a> SortedSetRef<'a> {
    fn view(self) -> View<'a> {
        match self {
            Self::Packed(items, count) => View::Packed(items, count),
            Self::Big(big) => View::Blocks(&big.ordered.blocks),
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

    /// A member's score.
    pub fn score(self, member: &[u8]) -> Option<f64> {
        let score = match self {
            Self::Packed(items, _) => {
                let offset = packed::find(items, &Encoded::new(member), 2)?;
                let score = packed::skip(items, offset, 1)?;
                packed::at(items, score)?.0
            }
            Self::Big(big) => big.scores.value(member)?,
        };
        score_of(score)
    }

    /// A member's rank from the lowest score on, and its score.
    pub fn rank(self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        let rank = self.before(&Border {
            order: order(score),
            among_equal: AmongEqual::Before(member),
        });
        Some((rank, score))
    }

    /// The rank at which `score` begins: number of members with a lower one. If `behind`, at which it ends: number of members with a
    /// lower one or the same.
    pub fn rank_of_score(self, score: f64, behind: bool) -> usize {
        self.before(&Border {
            order: order(score),
            among_equal: if behind {
                AmongEqual::Last
            } else {
                AmongEqual::First
            },
        })
    }

    /// The rank at which `member` would be, or behind it if `behind`, in a set where all have the same score. Ranks mean nothing in
    /// others.
    pub fn rank_of_member(self, member: &[u8], behind: bool) -> usize {
        let Some((_, score)) = self.range(0, 1, false).next() else {
            return 0;
        };
        self.before(&Border {
            order: order(score),
            among_equal: if behind {
                AmongEqual::Behind(member)
            } else {
                AmongEqual::Before(member)
            },
        })
    }

    /// Up to `count` members with scores from rank `start` on, towards the lowest score if `reverse`.
    pub fn range(self, start: usize, count: usize, reverse: bool) -> Members<'a> {
        Members(Pairs(self.view().run(2, start, count, reverse)))
    }

    /// Visits members as [`crate::hash::HashRef::scan`] visits fields.
    pub fn scan(self, cursor: u64, count: usize, mut visit: impl FnMut(Item<'a>, f64)) -> u64 {
        match self {
            Self::Packed(..) => {
                let all = self.range(0, self.len(), false);
                all.for_each(|(member, score)| visit(member, score));
                0
            }
            Self::Big(big) => big.scores.scan(cursor, count, |entry| {
                let mut items = packed::items(entry);
                if let (Some(member), Some(score)) = (items.next(), items.next())
                    && let Some(score) = score_of(score)
                {
                    visit(member, score);
                }
            }),
        }
    }

    /// All members and scores in packed runs, in order; scores in any form that [`score_of`] reads.
    pub fn pieces(self) -> impl Iterator<Item = Piece<'a>> + 'a {
        self.view().pieces()
    }

    /// The members and scores as they are now, to be read later in order ([`Members::of`]).
    pub fn snapshot(self) -> Snapshot {
        self.view().snapshot(2)
    }

    fn before(self, border: &Border<'_>) -> usize {
        match self {
            Self::Packed(items, _) => border.within(items).0,
            Self::Big(big) => big.ordered.rank(border),
        }
    }
}

/// Members and scores one after the other.
#[derive(Clone, Debug)]
pub struct Members<'a>(Pairs<'a>);

impl<'a> Members<'a> {
    /// Members and scores of a sorted set's snapshot or piece.
    pub fn of(pairs: Pairs<'a>) -> Self {
        Self(pairs)
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (Item<'a>, f64);

    fn next(&mut self) -> Option<Self::Item> {
        let (member, score) = self.0.next()?;
        Some((member, score_of(score)?))
    }
}

#[cfg(test)]
mod tests;
