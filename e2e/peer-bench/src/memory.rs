//! Bytes a key: each server is started afresh, filled, and left until its memory has settled.

use anyhow::{Result, bail};

use crate::cpu;
use crate::figures::{Entry, Footprint};
use crate::generator::keys::Keys;
use crate::inspect::{self, Memory};
use crate::plan::VALUES;
use crate::servers::discovery::Installed;
use crate::servers::process::Running;
use crate::session::{Session, reason};
use crate::workload::{self, Life};

/// Bytes of a key.
const KEY: usize = 16;
/// Bytes that are allowed for beside key and value when a fill is checked against the memory that there is.
const ALLOWANCE: u64 = 128;

struct Fill {
    keys: u64,
    value: usize,
    life: Life,
}

impl Fill {
    fn all(counts: &[u64]) -> Vec<Self> {
        let lives = [Life::Forever, Life::Days];
        let fills = |keys: &u64| {
            let keys = *keys;
            VALUES.into_iter().flat_map(move |value| {
                lives
                    .into_iter()
                    .map(move |life| Self { keys, value, life })
            })
        };
        counts.iter().flat_map(fills).collect()
    }

    fn name(&self) -> String {
        let life = if self.life == Life::Forever {
            "no-ttl"
        } else {
            "ttl"
        };
        format!("memory/{}/{}/{life}", self.keys, self.value)
    }
}

/// Names of all measurements.
pub fn names(counts: &[u64]) -> Vec<String> {
    Fill::all(counts).iter().map(Fill::name).collect()
}

/// Measures all chosen fills.
pub fn measure(session: &Session, counts: &[u64]) -> Vec<Entry<Footprint>> {
    let mut entries = Vec::new();
    for fill in Fill::all(counts) {
        let name = fill.name();
        if !session.filter.takes(&name) {
            continue;
        }
        for installed in session.stores() {
            let figures = measure_one(session, installed, &fill).map_err(|error| reason(&error));
            if let Ok(footprint) = &figures {
                let kind = installed.kind.name();
                eprintln!(
                    "  {name:32} {kind:10} {:6.1} B a key beyond key and value",
                    footprint.overhead()
                );
            }
            entries.push(Entry::new(&name, installed.kind, figures));
        }
    }
    entries
}

fn measure_one(session: &Session, installed: &Installed, fill: &Fill) -> Result<Footprint> {
    let payload = (KEY + fill.value) as u64;
    let needed = fill.keys * (payload + ALLOWANCE);
    let available = cpu::available_memory()?;
    if needed > available {
        bail!(
            "needs {} MiB of memory, {} are there",
            needed >> 20,
            available >> 20
        );
    }
    let server = session.start(installed)?;
    let before = inspect::settled_memory(&server, inspect::EMPTY)?;
    let keys = Keys::sequence(0, fill.keys);
    session.load(
        &server,
        workload::fill(installed.kind.protocol(), fill.value, fill.life, keys),
    )?;
    let after = inspect::settled_memory(&server, inspect::LOADED)?;
    check_number_of_keys(&server, fill.keys)?;
    Ok(footprint(before, after, fill.keys, payload as f64))
}

/// A cache that has dropped keys would look small. A server that does not tell is trusted.
fn check_number_of_keys(server: &Running, expected: u64) -> Result<()> {
    if let Ok(found) = inspect::keys(server)
        && found != expected
    {
        bail!("{found} keys of {expected} are there");
    }
    Ok(())
}

/// What each of `count` things took.
pub fn footprint(before: Memory, after: Memory, count: u64, payload: f64) -> Footprint {
    let each = |before: u64, after: u64| (after as f64 - before as f64) / count as f64;
    Footprint {
        count,
        resident: each(before.resident, after.resident),
        accounted: before
            .accounted
            .zip(after.accounted)
            .map(|(before, after)| each(before, after)),
        memory_usage: None,
        payload,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_footprint_is_what_was_added_for_each() {
        let before = Memory {
            resident: 1000,
            accounted: Some(500),
        };
        let after = Memory {
            resident: 2000,
            accounted: Some(1300),
        };
        let footprint = footprint(before, after, 10, 80.0);
        assert_eq!(
            (
                footprint.resident,
                footprint.accounted,
                footprint.overhead()
            ),
            (100.0, Some(80.0), 20.0)
        );
    }

    #[test]
    fn fills_have_names_by_keys_value_and_life() {
        let names = names(&[1000]);
        assert_eq!(names.len(), 6);
        assert_eq!(names[0], "memory/1000/8/no-ttl");
        assert_eq!(names[5], "memory/1000/1024/ttl");
    }
}
