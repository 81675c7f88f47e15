//! Which key a request is about: uniform, Zipf with exponent 0.99, or each once in order. Owns the random numbers of the
//! generator; knows nothing of protocols.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Every key is as likely as any other.
    Uniform,
    /// The key of rank r is chosen with a probability proportional to 1 / r^0.99, as in YCSB.
    Zipf,
}

impl Distribution {
    /// Name in the names of measurements.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
        }
    }
}

/// Draws of a Zipf distribution that are made beforehand, so that a draw costs the generator next to nothing. The
/// sequence starts over after this many draws.
const ZIPF_DRAWS: usize = 1 << 22;

/// Chooses key indices.
#[derive(Clone)]
pub enum Keys {
    /// Any of `count` keys.
    Uniform {
        /// Number of keys.
        count: u64,
        /// Source of randomness.
        random: SmallRng,
    },
    /// A walk through draws made beforehand.
    Drawn {
        /// The draws.
        draws: Arc<[u32]>,
        /// The next one.
        next: usize,
    },
    /// Each index of a range once.
    Sequence {
        /// The next index.
        next: u64,
        /// One past the last index.
        end: u64,
    },
}

impl Keys {
    /// Keys chosen uniformly from `0..count`.
    pub fn uniform(count: u64) -> Self {
        Self::Uniform {
            count,
            random: SmallRng::from_os_rng(),
        }
    }

    /// Keys chosen from `draws`, from some place on.
    pub fn drawn(draws: Arc<[u32]>) -> Self {
        let next = rand::rng().random_range(0..draws.len());
        Self::Drawn { draws, next }
    }

    /// The keys of `start..end`, each once.
    pub fn sequence(start: u64, end: u64) -> Self {
        Self::Sequence { next: start, end }
    }

    /// The next key's index; `None` when a sequence is at its end.
    #[inline]
    pub fn draw(&mut self) -> Option<u64> {
        match self {
            Self::Uniform { count, random } => {
                // Multiplying instead of dividing: the high half of a product with 32 random bits.
                Some((u64::from(random.random::<u32>()) * *count) >> 32)
            }
            Self::Drawn { draws, next } => {
                let index = draws[*next];
                *next = if *next + 1 == draws.len() {
                    0
                } else {
                    *next + 1
                };
                Some(u64::from(index))
            }
            Self::Sequence { next, end } => {
                if next == end {
                    return None;
                }
                *next += 1;
                Some(*next - 1)
            }
        }
    }
}

/// Draws of a Zipf distribution over `0..count`; ranks are scattered over the indices so that popular keys are no
/// neighbours.
pub fn zipf_draws(count: u32) -> Arc<[u32]> {
    let zipf = Zipf::new(count);
    let mut random = SmallRng::from_os_rng();
    let draw = |_| scatter(zipf.rank(random.random()), count);
    (0..ZIPF_DRAWS).map(draw).collect()
}

/// Maps ranks onto indices, one to one: a multiplication modulo `count` by a number that has no common divisor with it.
fn scatter(rank: u32, count: u32) -> u32 {
    let mut factor = 2_654_435_761_u64 % u64::from(count.max(1));
    while greatest_common_divisor(factor, u64::from(count)) != 1 {
        factor += 1;
    }
    ((u64::from(rank) * factor) % u64::from(count)) as u32
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// The method of Gray et al., "Quickly generating billion-record synthetic databases", SIGMOD 1994, as YCSB uses it.
struct Zipf {
    count: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    const EXPONENT: f64 = 0.99;

    fn new(count: u32) -> Self {
        let zeta = |n: u32| {
            (1..=n)
                .map(|rank| f64::from(rank).powf(-Self::EXPONENT))
                .sum::<f64>()
        };
        let all = zeta(count);
        let eta = (1.0 - (2.0 / f64::from(count)).powf(1.0 - Self::EXPONENT))
            / (1.0 - zeta(2.min(count)) / all);
        Self {
            count: f64::from(count),
            zeta: all,
            alpha: 1.0 / (1.0 - Self::EXPONENT),
            eta,
        }
    }

    /// Rank, from 0, for a number that is uniform over 0..1.
    fn rank(&self, uniform: f64) -> u32 {
        let scaled = uniform * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(Self::EXPONENT) {
            return 1.min(self.count as u32 - 1);
        }
        let rank = self.count * (self.eta * uniform - self.eta + 1.0).powf(self.alpha);
        (rank as u32).min(self.count as u32 - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_sequence_yields_each_key_once_and_ends() {
        let mut keys = Keys::sequence(3, 6);
        let all: Vec<u64> = std::iter::from_fn(|| keys.draw()).collect();
        assert_eq!(all, [3, 4, 5]);
    }

    #[test]
    fn uniform_keys_stay_in_range_and_reach_most_of_it() {
        let mut keys = Keys::uniform(100);
        let seen: HashSet<u64> = (0..10_000).filter_map(|_| keys.draw()).collect();
        assert!(seen.iter().all(|key| *key < 100));
        assert!(seen.len() > 95, "{} of 100 keys", seen.len());
    }

    #[test]
    fn zipf_ranks_are_as_likely_as_the_law_says() {
        let zipf = Zipf::new(1000);
        let mut random = SmallRng::seed_from_u64(7);
        let draws = 400_000;
        let mut counts = vec![0_u32; 1000];
        for _ in 0..draws {
            counts[zipf.rank(random.random()) as usize] += 1;
        }
        // The method is exact for the first two ranks and close for the rest.
        for (rank, tolerance) in [(1_u32, 0.02), (2, 0.03), (10, 0.25), (100, 0.25)] {
            let expected = f64::from(draws) * f64::from(rank).powf(-0.99) / zipf.zeta;
            let found = f64::from(counts[rank as usize - 1]);
            assert!(
                (found / expected - 1.0).abs() < tolerance,
                "rank {rank}: {found} for {expected}"
            );
        }
        let first_hundred: u32 = counts[..100].iter().sum();
        let share = f64::from(first_hundred) / f64::from(draws);
        let expected = (1..=100)
            .map(|rank| f64::from(rank).powf(-0.99))
            .sum::<f64>()
            / zipf.zeta;
        assert!((share - expected).abs() < 0.02, "{share} for {expected}");
    }

    #[test]
    fn scattering_ranks_loses_no_key() {
        for count in [1, 2, 10, 1000, 4096] {
            let indices: HashSet<u32> = (0..count).map(|rank| scatter(rank, count)).collect();
            assert_eq!(indices.len(), count as usize);
        }
    }
}
