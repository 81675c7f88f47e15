//! What is measured, as numbers with units; medians and ratios. Pure.

use serde::Serialize;

use crate::generator::Outcome;
use crate::servers::Kind;

/// One measurement of one server.
#[derive(Clone, Debug, Serialize)]
pub struct Entry<F> {
    /// Name of the measurement.
    pub name: String,
    /// The server.
    pub server: Kind,
    /// What was measured, if it could be.
    pub figures: Option<F>,
    /// Why nothing was measured.
    pub note: Option<String>,
}

impl<F> Entry<F> {
    /// An entry with figures, or with the reason why there are none.
    pub fn new(name: &str, server: Kind, figures: Result<F, String>) -> Self {
        let (figures, note) = match figures {
            Ok(figures) => (Some(figures), None),
            Err(note) => (None, Some(note)),
        };
        Self {
            name: name.to_owned(),
            server,
            figures,
            note,
        }
    }
}

/// The figures of a server in a measurement.
pub fn find<'a, F>(entries: &'a [Entry<F>], name: &str, server: Kind) -> Option<&'a F> {
    entries
        .iter()
        .find(|entry| entry.name == name && entry.server == server)?
        .figures
        .as_ref()
}

/// Names in the order in which they first appear.
pub fn names<F>(entries: &[Entry<F>]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for entry in entries {
        if !names.contains(&entry.name.as_str()) {
            names.push(&entry.name);
        }
    }
    names
}

/// Speed and latency.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Speed {
    /// Replies a second of wall time.
    pub operations_per_second: f64,
    /// Replies for each second of CPU time of the server, all its threads together.
    pub operations_per_cpu_second: f64,
    /// Lowest and highest of the rounds of the last figure.
    pub operations_per_cpu_second_range: [f64; 2],
    /// CPU seconds of the server for each second of wall time.
    pub server_cores_busy: f64,
    /// CPU seconds of the generator for each second of wall time.
    pub generator_cores_busy: f64,
    /// CPU seconds that other processes took from the cores of both for each second of wall time; what is measured is
    /// not worth much when this is more than a few hundredths.
    pub cores_disturbed: f64,
    /// Latency in microseconds.
    pub p50_us: f64,
    /// Latency in microseconds.
    pub p99_us: f64,
    /// Latency in microseconds.
    pub p999_us: f64,
    /// Longest latency in microseconds.
    pub longest_us: f64,
    /// Share of values asked for that were not there.
    pub misses: f64,
    /// Requests without an answer at the end, in an open loop.
    pub unanswered: u64,
    /// Number of rounds of which these are the medians.
    pub rounds: usize,
}

impl Speed {
    /// Medians over rounds, of each figure for itself; `None` without rounds.
    pub fn median(rounds: &[Outcome]) -> Option<Self> {
        let over = |figure: &dyn Fn(&Outcome) -> f64| median(rounds.iter().map(figure).collect());
        let per_cpu_second = || rounds.iter().map(Outcome::per_cpu_second);
        Some(Self {
            operations_per_second: over(&Outcome::throughput)?,
            operations_per_cpu_second: over(&Outcome::per_cpu_second)?,
            operations_per_cpu_second_range: [
                per_cpu_second().fold(f64::INFINITY, f64::min),
                per_cpu_second().fold(0.0, f64::max),
            ],
            server_cores_busy: over(&|round| round.server_cpu / round.seconds)?,
            generator_cores_busy: over(&|round| round.generator_cpu / round.seconds)?,
            cores_disturbed: over(&|round| round.disturbance() / round.seconds)?,
            p50_us: over(&|round| round.latency(0.5))?,
            p99_us: over(&|round| round.latency(0.99))?,
            p999_us: over(&|round| round.latency(0.999))?,
            longest_us: over(&|round| round.latency(1.0))?,
            misses: over(&|round| {
                round.tally.misses as f64 / (round.tally.replies as f64).max(1.0)
            })?,
            unanswered: rounds.iter().map(|round| round.unanswered).max()?,
            rounds: rounds.len(),
        })
    }
}

/// Latency at a rate that is the same for all.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HalfLoad {
    /// Requests a second that were sent.
    pub rate: f64,
    /// What came of it.
    pub speed: Speed,
}

/// Latency while the table grows and keys expire.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Growth {
    /// Requests a second that were sent.
    pub rate: f64,
    /// Seconds that each key lives.
    pub seconds_to_live: u32,
    /// Keys that were there when the last had been written.
    pub keys_at_end: Option<u64>,
    /// What came of it.
    pub speed: Speed,
}

/// Two workers against one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Workers {
    /// With one.
    pub one: Speed,
    /// With two.
    pub two: Speed,
    /// Operations per CPU second with two, as a multiple of that with one: below 1 by what sharing costs.
    pub efficiency: f64,
    /// Operations a second with two, as a multiple of that with one.
    pub throughput_ratio: f64,
}

/// Speed under our generator and another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CrossCheck {
    /// Operations a second under ours.
    pub own_per_second: f64,
    /// Operations per CPU second of the server under ours.
    pub own_per_cpu_second: f64,
    /// Operations a second under the other.
    pub other_per_second: f64,
    /// Operations per CPU second of the server under the other.
    pub other_per_cpu_second: f64,
}

/// Memory that data takes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Footprint {
    /// Keys, collections or connections.
    pub count: u64,
    /// Resident bytes that each took.
    pub resident: f64,
    /// Bytes that each took by the server's own accounting.
    pub accounted: Option<f64>,
    /// Bytes of each by `MEMORY USAGE`.
    pub memory_usage: Option<f64>,
    /// Bytes of each that are key and value.
    pub payload: f64,
}

impl Footprint {
    /// Resident bytes beyond key and value.
    pub fn overhead(&self) -> f64 {
        self.resident - self.payload
    }
}

/// The middle one, or the mean of the two in the middle; `None` of nothing.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(values[values.len() / 2 - 1], upper))
}

/// How many times `reference` a figure is; `None` if the reference is missing or nothing.
pub fn ratio(figure: f64, reference: Option<f64>) -> Option<f64> {
    let reference = reference.filter(|reference| *reference > 0.0)?;
    Some(figure / reference)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_of_odd_even_and_no_values() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }

    #[test]
    fn ratios_need_a_reference() {
        assert_eq!(ratio(3.0, Some(2.0)), Some(1.5));
        assert_eq!(ratio(3.0, Some(0.0)), None);
        assert_eq!(ratio(3.0, None), None);
    }

    #[test]
    fn entries_are_found_by_name_and_server() {
        let entries = [
            Entry::new("b", Kind::Valkey, Ok(1)),
            Entry::new("a", Kind::Valkey, Err("no".to_owned())),
            Entry::new("b", Kind::Redis, Ok(2)),
        ];
        assert_eq!(find(&entries, "b", Kind::Redis), Some(&2));
        assert_eq!(find(&entries, "a", Kind::Valkey), None);
        assert_eq!(names(&entries), ["b", "a"]);
    }
}
