//! A bounded pool of the best candidates for eviction seen so far.
//!
//! Owns the candidates and their order by a score that the caller computes; must not know what makes a candidate good.

use crate::meta::Meta;

/// Candidates that a pool holds (Redis's `EVPOOL_SIZE`).
pub const POOL_SIZE: usize = 16;

/// A key that was sampled for eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<P> {
    /// Where the caller finds it again. Equal places are taken for the same key.
    pub place: P,
    /// Its metadata when sampled.
    pub meta: Meta,
    /// What evicting it would free. Only S3 with a size weight looks at it while sampling.
    pub bytes: u32,
    /// Its deadline in any unit. Only `volatile-ttl` looks at it.
    pub deadline: Option<u64>,
}

/// Up to [`POOL_SIZE`] candidates.
#[derive(Clone, Debug)]
pub(crate) struct Pool<P> {
    candidates: [Option<Candidate<P>>; POOL_SIZE],
    len: usize,
    /// When the pool is full: no candidate in it had a lower score when this was computed. Scores only grow with time.
    floor: u64,
}

impl<P: Copy + PartialEq> Pool<P> {
    pub(crate) fn new() -> Self {
        Self {
            candidates: [None; POOL_SIZE],
            len: 0,
            floor: 0,
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn held(&self) -> impl Iterator<Item = (usize, Candidate<P>)> + '_ {
        self.candidates[..self.len]
            .iter()
            .flatten()
            .copied()
            .enumerate()
    }

    /// Takes the candidate in, if the pool has room or it scores higher than the lowest, which then leaves.
    pub(crate) fn offer(&mut self, candidate: Candidate<P>, score: impl Fn(&Candidate<P>) -> u64) {
        let offered = score(&candidate);
        if self.len == POOL_SIZE && offered <= self.floor {
            return;
        }
        let same = self.held().find(|(_, held)| held.place == candidate.place);
        if let Some((at, _)) = same {
            self.candidates[at] = Some(candidate);
            self.floor = 0;
            return;
        }
        if self.len < POOL_SIZE {
            self.candidates[self.len] = Some(candidate);
            self.len += 1;
            self.floor = 0;
            return;
        }
        let lowest = self.held().map(|(at, held)| (score(&held), at)).min();
        if let Some((floor, at)) = lowest {
            self.floor = floor;
            if offered > floor {
                self.candidates[at] = Some(candidate);
            }
        }
    }

    /// Takes the candidate with the highest score out.
    pub(crate) fn pop(&mut self, score: impl Fn(&Candidate<P>) -> u64) -> Option<Candidate<P>> {
        let (_, at) = self.held().map(|(at, held)| (score(&held), at)).max()?;
        self.remove(at)
    }

    /// Takes the candidate at a position out.
    pub(crate) fn remove(&mut self, at: usize) -> Option<Candidate<P>> {
        self.len -= 1;
        self.candidates.swap(at, self.len);
        self.candidates[self.len].take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn candidate(place: u64, score: u32) -> Candidate<u64> {
        Candidate {
            place,
            meta: Meta::default(),
            bytes: score,
            deadline: None,
        }
    }

    fn score(candidate: &Candidate<u64>) -> u64 {
        u64::from(candidate.bytes)
    }

    proptest! {
        #[test]
        fn the_best_of_distinct_places_come_out_best_first(scores in prop::collection::vec(0u32..1000, 0..100)) {
            let mut pool = Pool::new();
            for (place, bytes) in scores.iter().enumerate() {
                pool.offer(candidate(place as u64, *bytes), score);
            }
            let mut expected = scores;
            expected.sort_unstable_by(|a, b| b.cmp(a));
            expected.truncate(POOL_SIZE);
            let popped: Vec<u32> = std::iter::from_fn(|| pool.pop(score)).map(|candidate| candidate.bytes).collect();
            prop_assert_eq!(popped, expected);
            prop_assert_eq!(pool.len(), 0);
        }
    }

    #[test]
    fn a_place_sampled_again_is_held_once_with_what_was_seen_last() {
        let mut pool = Pool::new();
        pool.offer(candidate(7, 1), score);
        pool.offer(candidate(7, 2), score);
        assert_eq!(pool.pop(score), Some(candidate(7, 2)));
        assert_eq!(pool.pop(score), None);
    }
}
