//! What all experiments share: clocks, resident memory, medians, skewed keys, Markdown.
//!
//! It measures; it never decides what is good.

use std::time::Duration;

use anyhow::Context;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Processor time that the calling thread has used.
///
/// # Errors
/// When the system does not tell.
pub fn thread_cpu() -> anyhow::Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(Duration::from_micros(micros.unsigned_abs()))
}

/// Processor time that the first thread of process `pid` has used, from `/proc/PID/schedstat`.
///
/// # Errors
/// When there is no such process or the kernel does not keep these figures.
pub fn process_cpu(pid: u32) -> anyhow::Result<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat"))?;
    let nanos = text.split(' ').next().context("empty schedstat")?.parse()?;
    Ok(Duration::from_nanos(nanos))
}

/// Resident bytes of this process.
///
/// # Errors
/// When `/proc` is not there.
pub fn resident() -> anyhow::Result<usize> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = text
        .split(' ')
        .nth(1)
        .context("statm has too few fields")?
        .parse()?;
    Ok(pages * 4096)
}

/// The middle value; of an even number, the lower of the two. 0 for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        len => sorted[(len - 1) / 2],
    }
}

/// Distance from the lowest to the highest value, in percent of the median: how noisy a cell is.
pub fn spread(values: &[f64]) -> f64 {
    let highest = values.iter().copied().fold(f64::MIN, f64::max);
    let lowest = values.iter().copied().fold(f64::MAX, f64::min);
    let middle = median(values);
    if middle == 0.0 {
        0.0
    } else {
        (highest - lowest) / middle * 100.0
    }
}

/// Prints one Markdown row.
pub fn row<T: AsRef<str>>(cells: &[T]) {
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    println!("| {} |", cells.join(" | "));
}

/// Prints a Markdown heading row and the rule below it.
pub fn heading(cells: &[&str]) {
    println!();
    row(cells);
    row(&vec!["---"; cells.len()]);
}

/// A small fast generator of random numbers (xorshift64*), the same on every run.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// A generator; equal seeds give equal numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.bits()) * limit as u128) >> 64) as usize
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// The numbers below `count` in random order.
    pub fn permutation(&mut self, count: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count as u32).collect();
        for last in (1..count).rev() {
            order.swap(last, self.below(last + 1));
        }
        order
    }
}

/// Keys by Zipf's law with exponent 0.99, after Gray et al. 1994 (the sampler that YCSB uses).
pub struct Zipf {
    keys: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    const THETA: f64 = 0.99;

    /// Ranks below `keys`, 0 the most frequent.
    pub fn new(keys: usize) -> Self {
        let zeta: f64 = (1..=keys)
            .map(|rank| (rank as f64).powf(-Self::THETA))
            .sum();
        let zeta_two = 1.0 + 0.5_f64.powf(Self::THETA);
        let keys = keys as f64;
        Self {
            keys,
            zeta,
            alpha: 1.0 / (1.0 - Self::THETA),
            eta: (1.0 - (2.0 / keys).powf(1.0 - Self::THETA)) / (1.0 - zeta_two / zeta),
        }
    }

    /// A rank.
    pub fn rank(&self, random: &mut Random) -> usize {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(Self::THETA) {
            return 1;
        }
        let rank = self.keys * (self.eta * unit - self.eta + 1.0).powf(self.alpha);
        (rank as usize).min(self.keys as usize - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_lower_middle() {
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.0);
    }

    #[test]
    fn the_first_rank_gets_the_share_that_zipf_gives_it() {
        let zipf = Zipf::new(1000);
        let mut random = Random::new(7);
        let first = (0..100_000).filter(|_| zipf.rank(&mut random) == 0).count();
        let share = first as f64 / 100_000.0;
        assert!((share - 1.0 / zipf.zeta).abs() < 0.01, "{share}");
    }

    #[test]
    fn a_permutation_holds_every_number_once() {
        let mut order = Random::new(1).permutation(1000);
        order.sort_unstable();
        assert!(
            order
                .iter()
                .enumerate()
                .all(|(index, &number)| index == number as usize)
        );
    }
}
