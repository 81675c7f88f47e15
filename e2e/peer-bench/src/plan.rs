//! Names of measurements and the choice among them. A name is a path such as `speed/get/64/p16/uniform`.

use crate::generator::keys::Distribution;
use crate::workload::Workload;

/// Lengths of values in bytes.
pub const VALUES: [usize; 3] = [8, 64, 1024];
/// Requests sent at a time.
pub const PIPELINES: [usize; 3] = [1, 16, 64];

/// A filter on names. A pattern is some successive parts of a path, each written out or `*`; an empty filter lets all
/// names through.
#[derive(Clone, Debug, Default)]
pub struct Filter(Vec<String>);

impl Filter {
    /// A filter that lets through what any of the patterns matches.
    pub fn new(patterns: impl IntoIterator<Item = String>) -> Self {
        Self(patterns.into_iter().collect())
    }

    /// Whether a name is chosen.
    pub fn takes(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| matches(pattern, name))
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<&str> = pattern.trim_matches('/').split('/').collect();
    let parts: Vec<&str> = name.split('/').collect();
    let fits = |window: &[&str]| {
        window
            .iter()
            .zip(&pattern)
            .all(|(part, wanted)| *wanted == "*" || part == wanted)
    };
    parts.windows(pattern.len()).any(fits)
}

/// One combination of workload, length of values, pipeline and distribution of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What clients do.
    pub workload: Workload,
    /// Bytes of a value; 0 if the workload has none to choose.
    pub value: usize,
    /// Requests sent at a time.
    pub pipeline: usize,
    /// How keys are chosen.
    pub distribution: Distribution,
}

impl Cell {
    /// `get/64/p16/uniform`.
    pub fn name(&self) -> String {
        let value = if self.workload.has_values() {
            format!("/{}", self.value)
        } else {
            String::new()
        };
        format!(
            "{}{value}/p{}/{}",
            self.workload.name(),
            self.pipeline,
            self.distribution.name()
        )
    }

    /// All combinations, those on the same data next to each other.
    pub fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for value in VALUES {
            for workload in Workload::ALL {
                if workload.has_values() {
                    cells.extend(Self::of(workload, value));
                }
            }
        }
        cells.extend(Self::of(Workload::Zadd, 0));
        cells.extend(Self::of(Workload::Incr, 0));
        cells
    }

    fn of(workload: Workload, value: usize) -> impl Iterator<Item = Self> {
        let distributions = [Distribution::Uniform, Distribution::Zipf];
        distributions.into_iter().flat_map(move |distribution| {
            PIPELINES.into_iter().map(move |pipeline| Self {
                workload,
                value,
                pipeline,
                distribution,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn patterns_match_whole_parts_anywhere_in_a_name() {
        let takes = |pattern: &str, name: &str| Filter::new([pattern.to_owned()]).takes(name);
        assert!(takes("get", "speed/get/64/p16/uniform"));
        assert!(takes("get/*/p16", "speed/get/64/p16/uniform"));
        assert!(takes("speed", "speed/get/64/p16/uniform"));
        assert!(!takes("get", "speed/mget/64/p16/uniform"));
        assert!(!takes("p1", "speed/get/64/p16/uniform"));
        assert!(!takes("get/p16", "speed/get/64/p16/uniform"));
        assert!(!takes("a/b/c", "a/b"));
        assert!(Filter::default().takes("anything"));
    }

    #[test]
    fn every_combination_has_its_own_name() {
        let cells = Cell::all();
        let names: HashSet<String> = cells.iter().map(Cell::name).collect();
        assert_eq!(names.len(), cells.len());
        // Five workloads with three lengths of values and two without, three pipelines, two distributions.
        assert_eq!(cells.len(), (5 * 3 + 2) * 3 * 2);
        assert!(names.contains("zadd/p64/zipf") && names.contains("hset/1024/p1/uniform"));
    }
}
