//! What is read off while data moves: quantities with units, medians over rounds. Pure.

use serde::Serialize;

use crate::figures;

/// What a number says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Keys and values a second.
    Speed,
    /// Time until it was done.
    Duration,
    /// Memory beyond that before, at most.
    ExtraMemory,
    /// Writes a second before.
    WritesBefore,
    /// Writes a second meanwhile, as a part of those before.
    WritesMeanwhile,
    /// Writes a second, as a part of those without, one request at a time.
    WritesSingly,
    /// Writes a second, as a part of those without, 16 requests at a time.
    WritesPipelined,
    /// 99th percentile of PING meanwhile.
    PingP99,
    /// The same under the same writes before.
    PingP99Before,
    /// 99.9th percentile of PING meanwhile.
    PingP999,
    /// The same under the same writes before.
    PingP999Before,
    /// Longest PING meanwhile.
    PingLongest,
    /// The same under the same writes before.
    PingLongestBefore,
    /// Longest stretch for which a worker served nobody else, by its own account.
    Stall,
    /// The same under the same writes before.
    StallBefore,
    /// Longest time for which all slots were locked, by its own account.
    SlotsLocked,
    /// Longest write to a slot that moves, with all its redirections.
    Pause,
    /// The same before.
    PauseBefore,
}

impl Quantity {
    /// In words, with its unit.
    pub fn name(self) -> &'static str {
        match self {
            Self::Speed => "MB/s",
            Self::Duration => "s",
            Self::ExtraMemory => "more memory, MB",
            Self::WritesBefore => "thousand writes a second before",
            Self::WritesMeanwhile => "writes a second, as a part of those before",
            Self::WritesSingly => "SETs a second, P1, as a part of those without",
            Self::WritesPipelined => "SETs a second, P16, as a part of those without",
            Self::PingP99 => "PING p99, ms",
            Self::PingP99Before => "PING p99 before, ms",
            Self::PingP999 => "PING p99.9, ms",
            Self::PingP999Before => "PING p99.9 before, ms",
            Self::PingLongest => "PING longest, ms",
            Self::PingLongestBefore => "PING longest before, ms",
            Self::Stall => "longest stall of a worker, ms",
            Self::StallBefore => "longest stall of a worker before, ms",
            Self::SlotsLocked => "all slots locked, ms",
            Self::Pause => "longest write, ms",
            Self::PauseBefore => "longest write before, ms",
        }
    }
}

/// Numbers of one round.
pub type Readings = Vec<(Quantity, f64)>;

/// A number over all rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reading {
    /// What it says.
    pub quantity: Quantity,
    /// The median.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

/// The median of each quantity for itself, in the order of the first round; a round may lack some.
pub fn medians(rounds: &[Readings]) -> Vec<Reading> {
    let first = rounds.first().map(Vec::as_slice).unwrap_or_default();
    let over_rounds = |(quantity, _): &(Quantity, f64)| {
        let values: Vec<f64> = rounds
            .iter()
            .flatten()
            .filter(|(other, _)| other == quantity)
            .map(|(_, value)| *value)
            .collect();
        Some(Reading {
            quantity: *quantity,
            lowest: values.iter().copied().fold(f64::INFINITY, f64::min),
            highest: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            median: figures::median(values)?,
        })
    };
    first.iter().filter_map(over_rounds).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_quantity_has_its_own_median() {
        let round = |speed, pause| vec![(Quantity::Speed, speed), (Quantity::Pause, pause)];
        let found = medians(&[round(1.0, 9.0), round(2.0, 7.0), round(3.0, 8.0)]);
        let median = |at: usize| (found[at].quantity, found[at].median);
        assert_eq!(median(0), (Quantity::Speed, 2.0));
        assert_eq!(median(1), (Quantity::Pause, 8.0));
        assert_eq!((found[1].lowest, found[1].highest), (7.0, 9.0));
        assert_eq!(medians(&[]), []);
    }
}
