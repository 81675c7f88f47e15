//! Which part of a sorted set is meant: by rank, by score, or by member where all scores are the same.

use std::ops::Range;

use crate::resp::parse_float;
use crate::store::SortedSetRef;

use super::error::{Failure, Result, error};
use super::text::{elements, integer};

const NOT_A_SCORE: Failure = error("ERR min or max is not a float");
const NOT_A_MEMBER: Failure = error("ERR min or max not valid string range item");

/// An end of a range of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ScoreBound {
    score: f64,
    /// Whether the score itself is left out.
    open: bool,
}

impl ScoreBound {
    /// Reads `1.5`, `(1.5`, `-inf` and the like.
    fn read(text: &[u8]) -> Result<Self> {
        let (open, number) = match text {
            [b'(', number @ ..] => (true, number),
            _ => (false, text),
        };
        let score = parse_float(number).ok_or(NOT_A_SCORE)?;
        Ok(Self { score, open })
    }
}

/// An end of a range of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LexBound<'a> {
    /// `-`
    First,
    /// `+`
    Last,
    /// `[member`
    Closed(&'a [u8]),
    /// `(member`
    Open(&'a [u8]),
}

impl<'a> LexBound<'a> {
    fn read(text: &'a [u8]) -> Result<Self> {
        match text {
            b"-" => Ok(Self::First),
            b"+" => Ok(Self::Last),
            [b'[', member @ ..] => Ok(Self::Closed(member)),
            [b'(', member @ ..] => Ok(Self::Open(member)),
            _ => Err(NOT_A_MEMBER),
        }
    }

    /// The rank at which a range begins (`end` false) or ends with this.
    fn rank(self, set: SortedSetRef<'_>, end: bool) -> usize {
        match self {
            Self::First => 0,
            Self::Last => set.len(),
            Self::Closed(member) => set.rank_of_member(member, end),
            Self::Open(member) => set.rank_of_member(member, !end),
        }
    }
}

/// A part of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bounds<'a> {
    /// From one rank to another, both included; negative ones count from the end.
    Rank(i64, i64),
    /// From one score to another.
    Score(ScoreBound, ScoreBound),
    /// From one member to another.
    Lex(LexBound<'a>, LexBound<'a>),
}

impl<'a> Bounds<'a> {
    /// Reads two ranks.
    pub(super) fn ranks(start: &'a [u8], end: &'a [u8]) -> Result<Self> {
        Ok(Self::Rank(integer(start)?, integer(end)?))
    }

    /// Reads the least and the greatest score.
    pub(super) fn scores(least: &'a [u8], greatest: &'a [u8]) -> Result<Self> {
        let least = ScoreBound::read(least)?;
        Ok(Self::Score(least, ScoreBound::read(greatest)?))
    }

    /// Reads the first and the last member.
    pub(super) fn members(first: &'a [u8], last: &'a [u8]) -> Result<Self> {
        let first = LexBound::read(first)?;
        Ok(Self::Lex(first, LexBound::read(last)?))
    }

    /// The ranks of the part in `set`, from the lowest score on. If `reverse`, ranks in the bounds are counted from the highest on.
    pub(super) fn part(self, set: SortedSetRef<'_>, reverse: bool) -> Range<usize> {
        let (start, end) = match self {
            Self::Rank(start, end) => {
                let length = set.len();
                let part = elements(start, end, length);
                if reverse {
                    (length - part.end, length - part.start)
                } else {
                    (part.start, part.end)
                }
            }
            Self::Score(least, greatest) => (
                set.rank_of_score(least.score, least.open),
                set.rank_of_score(greatest.score, !greatest.open),
            ),
            Self::Lex(first, last) => (first.rank(set, false), last.rank(set, true)),
        };
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{PackLimits, SortedSet};

    fn part(bounds: Bounds<'_>, reverse: bool) -> Range<usize> {
        let limits = PackLimits {
            entries: 128,
            value: 64,
            bytes: 4096,
        };
        let mut set = SortedSet::default();
        for (member, score) in [(b"a", 1.0), (b"b", 2.0), (b"c", 2.0), (b"d", 3.0)] {
            set.insert(member, score, &limits);
        }
        bounds.part(set.as_ref(), reverse)
    }

    #[test]
    fn scores_can_be_left_out_at_both_ends() {
        let scores = |least: &'static str, greatest: &'static str| {
            part(
                Bounds::scores(least.as_bytes(), greatest.as_bytes()).unwrap(),
                false,
            )
        };
        assert_eq!(scores("2", "3"), 1..4);
        assert_eq!(scores("(2", "3"), 3..4);
        assert_eq!(scores("-inf", "(2"), 0..1);
        assert_eq!(scores("3", "1").len(), 0);
        assert_eq!(scores("(2", "(2").len(), 0);
        assert!(Bounds::scores(b"x", b"1").is_err());
        assert!(Bounds::scores(b"1", b"nan").is_err());
    }

    #[test]
    fn ranks_count_from_the_highest_score_in_reverse() {
        assert_eq!(part(Bounds::Rank(0, 0), true), 3..4);
        assert_eq!(part(Bounds::Rank(1, -1), true), 0..3);
        assert_eq!(part(Bounds::Rank(0, 1), false), 0..2);
        assert_eq!(part(Bounds::Rank(9, 10), true).len(), 0);
    }

    #[test]
    fn members_need_a_bracket() {
        assert_eq!(
            Bounds::members(b"-", b"(c").unwrap(),
            Bounds::Lex(LexBound::First, LexBound::Open(b"c"))
        );
        assert!(Bounds::members(b"a", b"+").is_err());
        assert!(Bounds::members(b"-", b"").is_err());
    }
}
