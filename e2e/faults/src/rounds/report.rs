//! Distributions, as a table and as a picture. Pure.

use std::fmt::Write;
use std::time::Duration;

use super::Series;

/// Columns of the longest bar.
const WIDTH: usize = 50;

/// Durations in ascending order; at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution(Vec<Duration>);

impl Distribution {
    /// Of these durations; `None` if there are none.
    #[must_use]
    pub fn new(mut durations: Vec<Duration>) -> Option<Self> {
        durations.sort_unstable();
        (!durations.is_empty()).then_some(Self(durations))
    }

    /// The least duration that `percent` of 100 do not exceed (nearest rank), from 1 to 100.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0[rank.clamp(1, self.0.len()) - 1]
    }
}

/// A table in Markdown, a row a series, with milliseconds. Series without an outcome have none.
#[must_use]
pub fn table(all: &[Series]) -> String {
    let mut table = "| what | shards | n | write gap, ms: median | 90 % | 99 % | max | all know, ms: median | 99 % | lost writes: rounds, all, most | errors a round: median |\n".to_owned();
    table.push_str("|---|---|---|---|---|---|---|---|---|---|---|\n");
    for series in all {
        table.push_str(&row(series).unwrap_or_default());
    }
    table
}

fn row(series: &Series) -> Option<String> {
    let outcomes = &series.outcomes;
    let gap = Distribution::new(outcomes.iter().map(|one| one.gap).collect())?;
    let known = Distribution::new(outcomes.iter().map(|one| one.known).collect())?;
    let lossy = outcomes.iter().filter(|one| one.lost > 0).count();
    let lost: usize = outcomes.iter().map(|one| one.lost).sum();
    let most = outcomes.iter().map(|one| one.lost).max()?;
    let mut errors: Vec<usize> = outcomes.iter().map(|one| one.errors).collect();
    errors.sort_unstable();
    let gaps = [50, 90, 99, 100].map(|percent| gap.percentile(percent).as_millis().to_string());
    Some(format!(
        "| {} | {} | {} | {} | {} | {} | {lossy}, {lost}, {most} | {} |\n",
        series.title(),
        series.shards,
        outcomes.len(),
        gaps.join(" | "),
        known.percentile(50).as_millis(),
        known.percentile(99).as_millis(),
        errors[(errors.len() - 1) / 2],
    ))
}

/// How many of `durations` lie between one power of two of milliseconds and the next, as bars.
#[must_use]
pub fn histogram(durations: &[Duration]) -> String {
    let bin = |one: &Duration| one.as_millis().max(1).ilog2();
    let bins: Vec<u32> = durations.iter().map(bin).collect();
    let (Some(first), Some(last)) = (bins.iter().min(), bins.iter().max()) else {
        return String::new();
    };
    let counts = (*first..=*last).map(|bin| (bin, bins.iter().filter(|one| **one == bin).count()));
    let counts: Vec<(u32, usize)> = counts.collect();
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(1);
    let mut text = String::new();
    for (bin, count) in counts {
        let bar = "#".repeat((count * WIDTH).div_ceil(most));
        let (from, to) = (1_u64 << bin, 1_u64 << (bin + 1));
        let _ = writeln!(text, "{from:>6} to {to:>6} ms {count:>5} {bar}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rounds::{Kind, Outcome};

    fn ms(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn percentiles_are_durations_that_were_seen() {
        let ten = Distribution::new((1..=10).rev().map(ms).collect()).unwrap();
        assert_eq!(ten.percentile(50), ms(5));
        assert_eq!(ten.percentile(90), ms(9));
        assert_eq!(ten.percentile(99), ms(10));
        assert_eq!(ten.percentile(100), ms(10));
        assert_eq!(Distribution::new(vec![ms(7)]).unwrap().percentile(1), ms(7));
        assert_eq!(Distribution::new(vec![]), None);
    }

    #[test]
    fn a_row_tells_gaps_knowledge_losses_and_errors() {
        let outcome = |gap, lost| Outcome {
            shard: 0,
            gap: ms(gap),
            known: ms(gap * 2),
            lost,
            errors: 3,
        };
        let series = Series {
            operator: None,
            shards: 3,
            replicas: 1,
            kind: Kind::Kill,
            outcomes: vec![outcome(10, 0), outcome(30, 5), outcome(20, 1)],
        };
        let table = table(&[series]);
        let row = table.lines().last().unwrap();
        assert_eq!(
            row,
            "| SIGKILL of a primary | 3 | 3 | 20 | 30 | 30 | 30 | 40 | 60 | 2, 6, 5 | 3 |"
        );
        let columns = |line: &str| line.matches('|').count();
        assert!(table.lines().all(|line| columns(line) == columns(row)));
    }

    #[test]
    fn bars_are_as_long_as_there_are_durations() {
        let text = histogram(&[ms(0), ms(5), ms(6), ms(17)]);
        let counts: Vec<(&str, usize)> = text
            .lines()
            .map(|line| (line[20..25].trim(), line.matches('#').count()))
            .collect();
        assert_eq!(
            counts,
            [("1", 25), ("0", 0), ("2", 50), ("0", 0), ("1", 25)]
        );
        assert_eq!(histogram(&[]), "");
    }
}
