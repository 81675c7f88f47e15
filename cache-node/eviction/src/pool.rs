//! A bounded pool of the best candidates for eviction seen so far.
//!
//! Owns the candidates and their order by a score that the caller computes; must not know what makes a candidate good.

use crate::{clock::Now, meta::Meta};

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
    /// Beside the candidates, so that looking for the lowest or highest reads two cache lines.
    scores: [u64; POOL_SIZE],
    scored_at: Now,
    len: usize,
    /// No candidate has a lower score, if the pool is full; 0 if that is not known.
    floor: u64,
}

impl<P: Copy + PartialEq> Pool<P> {
    pub(crate) fn new() -> Self {
        Self {
            candidates: [None; POOL_SIZE],
            scores: [0; POOL_SIZE],
            scored_at: Now::default(),
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

    /// Takes the candidate in, if the pool has room or it scores higher than the lowest, which then leaves.
    pub(crate) fn offer(
        &mut self,
        candidate: Candidate<P>,
        now: Now,
        score: impl Fn(&Candidate<P>) -> u64,
    ) {
        self.rescore(now, &score);
        let offered = score(&candidate);
        if self.len == POOL_SIZE && offered <= self.floor {
            return;
        }
        let at = match self.position(candidate.place) {
            Some(same) => same,
            None if self.len < POOL_SIZE => {
                self.len += 1;
                self.len - 1
            }
            None => {
                let (floor, lowest) = self.lowest();
                self.floor = floor;
                if offered <= floor {
                    return;
                }
                lowest
            }
        };
        // Only the lowest was replaced by a higher one, unless the floor was not known or a candidate is seen again.
        self.floor = if self.len == POOL_SIZE {
            self.floor.min(offered)
        } else {
            0
        };
        self.candidates[at] = Some(candidate);
        self.scores[at] = offered;
    }

    /// Takes the candidate with the highest score out.
    pub(crate) fn pop(
        &mut self,
        now: Now,
        score: impl Fn(&Candidate<P>) -> u64,
    ) -> Option<Candidate<P>> {
        self.rescore(now, score);
        let (_, at) = self.scored().max()?;
        self.remove(at)
    }

    /// Takes the candidate at a position out.
    pub(crate) fn remove(&mut self, at: usize) -> Option<Candidate<P>> {
        self.len -= 1;
        self.floor = 0;
        self.candidates.swap(at, self.len);
        self.scores.swap(at, self.len);
        self.candidates[self.len].take()
    }

    /// Scores change with time, which stands still most of the time.
    fn rescore(&mut self, now: Now, score: impl Fn(&Candidate<P>) -> u64) {
        if now == self.scored_at {
            return;
        }
        self.scored_at = now;
        self.floor = 0;
        for (candidate, slot) in self.candidates.iter().zip(&mut self.scores) {
            *slot = candidate.as_ref().map_or(0, &score);
        }
    }

    fn position(&self, place: P) -> Option<usize> {
        self.candidates[..self.len]
            .iter()
            .position(|held| held.is_some_and(|held| held.place == place))
    }

    fn scored(&self) -> impl Iterator<Item = (u64, usize)> + '_ {
        self.scores[..self.len].iter().copied().zip(0..)
    }

    fn lowest(&self) -> (u64, usize) {
        self.scored().min().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use proptest::prelude::*;

    const NOW: Now = Now {
        stamp: Stamp::new(1),
        minutes: 0,
    };

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
                pool.offer(candidate(place as u64, *bytes), NOW, score);
            }
            let mut expected = scores;
            expected.sort_unstable_by(|a, b| b.cmp(a));
            expected.truncate(POOL_SIZE);
            let popped: Vec<u32> = std::iter::from_fn(|| pool.pop(NOW, score)).map(|candidate| candidate.bytes).collect();
            prop_assert_eq!(popped, expected);
            prop_assert_eq!(pool.len(), 0);
        }
    }

    #[test]
    fn a_place_sampled_again_is_held_once_with_what_was_seen_last() {
        let mut pool = Pool::new();
        pool.offer(candidate(7, 1), NOW, score);
        pool.offer(candidate(7, 2), NOW, score);
        assert_eq!(pool.pop(NOW, score), Some(candidate(7, 2)));
        assert_eq!(pool.pop(NOW, score), None);
    }
}
