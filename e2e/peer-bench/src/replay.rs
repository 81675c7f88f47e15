//! Traces replayed through running servers: hit ratios with the same number of keys, next to the simulator's figure, and with the same
//! memory. Owns the order of measurements; each server is started afresh for each.

pub mod calibrate;
pub mod drive;
pub mod simulator;
pub mod tables;
pub mod trace;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;

use crate::client;
use crate::servers::Kind;
use crate::servers::discovery::Installed;
use crate::servers::process::Running;
use crate::session::{Session, reason};
use drive::Replayed;
use simulator::Simulator;
use trace::Trace;

/// Bytes of a key in a server, as `drive` writes it.
pub const KEY: u64 = 16;
/// A cache holds so many bytes of values at least; fewer, and fixed costs of a server would be most of its memory.
const LEAST_BYTES: u64 = 4 << 20;
/// Bytes that an object takes beside its key and value, by and large, where memory is set in proportion to a trace's bytes.
const ALLOWANCE: u64 = 64;

/// What to replay.
#[derive(Clone, Debug, Args)]
pub struct ReplayArguments {
    /// Traces: records of two little-endian 32-bit numbers, object id and size in bytes (1 where there are no sizes), compressed with
    /// zstd.
    #[arg(long = "trace", value_name = "FILE", num_args = 1.., required = true)]
    pub traces: Vec<PathBuf>,
    /// Cache sizes in percent of the distinct objects.
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_values_t = [1.0, 10.0], value_parser = percent)]
    pub size: Vec<f64>,
    /// Requests of a trace that are replayed, from its beginning.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: u64,
    /// Bytes of a value at least; more where a cache would hold less than 4 MiB.
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..))]
    pub value: u64,
    /// Requests a second [default: as many as go]. Redis and Valkey know the time of a use by the second only: faster, and their LRU
    /// hardly tells keys apart.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub rate: Option<f64>,
    /// The simulator to compare with [default: the hit-ratio example of cache-eviction beside this program, which is built if it is
    /// missing].
    #[arg(long, value_name = "PATH")]
    pub simulator: Option<PathBuf>,
}

fn percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 100.0 => Ok(number),
        _ => Err("not a number above 0, and at most 100".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("not a number above 0".to_owned()),
    }
}

/// What a server is told to evict by.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Contender {
    /// The server.
    pub server: Kind,
    /// `maxmemory-policy`.
    pub policy: &'static str,
    /// The simulator's policy that is the same.
    #[serde(skip)]
    simulated: &'static str,
}

impl Contender {
    /// All policies of a server that are replayed.
    fn all(server: Kind) -> Vec<Self> {
        let policies: &[(&str, &str)] = match server {
            Kind::CacheNode => &[
                ("auto", "auto:0"),
                ("allkeys-s3", "allkeys-s3:0"),
                ("allkeys-lru", "allkeys-lru"),
                ("allkeys-lfu", "allkeys-lfu"),
            ],
            // A replay takes seconds, in which no counter decays.
            Kind::Valkey | Kind::Redis => &[
                ("allkeys-lru", "redis-lru"),
                ("allkeys-lfu", "redis-lfu-no-decay"),
            ],
            _ => &[],
        };
        let contender = |(policy, simulated): &(&'static str, &'static str)| Self {
            server,
            policy,
            simulated,
        };
        policies.iter().map(contender).collect()
    }
}

/// A replay with about the same number of keys in every server.
#[derive(Clone, Debug, Serialize)]
pub struct SameKeys {
    /// What came of it.
    pub replayed: Replayed,
    /// `maxmemory` beyond what the empty server took.
    pub memory: u64,
    /// The simulator's hit ratio with as many keys as the server held on the average.
    pub simulated: f64,
}

/// A replay with the same memory for every server.
#[derive(Clone, Debug, Serialize)]
pub struct SameMemory {
    /// What came of it.
    pub replayed: Replayed,
    /// `maxmemory` beyond what the empty server took.
    pub memory: u64,
}

/// What one contender did with one trace at one size.
#[derive(Clone, Debug, Serialize)]
pub struct Entry {
    /// The trace.
    pub trace: String,
    /// Requests replayed.
    pub requests: usize,
    /// Distinct objects among them.
    pub objects: usize,
    /// Cache size in percent of the objects.
    pub percent: f64,
    /// Bytes of a value with the same number of keys.
    pub value: u64,
    /// Who.
    #[serde(flatten)]
    pub contender: Contender,
    /// With the same number of keys.
    pub same_keys: Option<SameKeys>,
    /// With the same memory.
    pub same_memory: Option<SameMemory>,
    /// Why something is missing.
    pub note: Option<String>,
}

/// Replays all traces at all sizes through all servers that evict as Redis does.
///
/// # Errors
/// If a trace cannot be read or the simulator not be built.
pub fn measure(session: &Session, arguments: &ReplayArguments) -> Result<Vec<Entry>> {
    let simulator = Simulator::find(arguments.simulator.as_deref())?;
    let mut entries = Vec::new();
    for path in &arguments.traces {
        let trace = Trace::read(path, arguments.requests as usize)
            .with_context(|| format!("read {}", path.display()))?;
        let plain = session.place.directory.join("trace.bin.zst");
        trace.write_unsized(&plain)?;
        for percent in &arguments.size {
            let cell = Cell::new(&trace, *percent, arguments.value);
            for installed in &session.servers {
                for contender in Contender::all(installed.kind) {
                    let replay = Replay {
                        session,
                        installed,
                        contender,
                        cell: &cell,
                        rate: arguments.rate,
                    };
                    entries.push(replay.run(&simulator, &plain));
                }
            }
        }
        fs::remove_file(&plain).context("remove the simulator's trace")?;
    }
    if entries.is_empty() {
        bail!("there is no server that a trace could be replayed through");
    }
    Ok(entries)
}

/// One trace at one size.
struct Cell<'t> {
    trace: &'t Trace,
    percent: f64,
    /// Keys that are to be held.
    keys: u64,
    /// Bytes of a value, if all are the same.
    value: u64,
}

impl<'t> Cell<'t> {
    fn new(trace: &'t Trace, percent: f64, value: u64) -> Self {
        let keys = (trace.sizes.len() as f64 * percent / 100.0)
            .round()
            .max(1.0) as u64;
        Self {
            trace,
            percent,
            keys,
            value: value.max(LEAST_BYTES / keys),
        }
    }

    /// Sizes of values when memory is the same: the trace's if it has any.
    fn sizes(&self) -> drive::Sizes<'_> {
        if self.trace.is_sized() {
            drive::Sizes::Each(&self.trace.sizes)
        } else {
            drive::Sizes::Fixed(self.value)
        }
    }

    /// Memory in proportion to that of all objects.
    fn memory(&self) -> u64 {
        let sizes = self.sizes();
        let objects = 0..self.trace.sizes.len() as u32;
        let all: u64 = objects
            .map(|object| sizes.of(object) + KEY + ALLOWANCE)
            .sum();
        (all as f64 * self.percent / 100.0) as u64
    }
}

struct Replay<'s> {
    session: &'s Session,
    installed: &'s Installed,
    contender: Contender,
    cell: &'s Cell<'s>,
    rate: Option<f64>,
}

impl Replay<'_> {
    fn run(self, simulator: &Simulator, plain: &std::path::Path) -> Entry {
        let (same_keys, same_memory) = (self.same_keys(simulator, plain), self.same_memory());
        let errors = [same_keys.as_ref().err(), same_memory.as_ref().err()];
        let note = errors.into_iter().flatten().next().map(reason);
        self.tell(same_keys.as_ref().ok(), same_memory.as_ref().ok(), &note);
        Entry {
            trace: self.cell.trace.name.clone(),
            requests: self.cell.trace.requests.len(),
            objects: self.cell.trace.sizes.len(),
            percent: self.cell.percent,
            value: self.cell.value,
            contender: self.contender,
            same_keys: same_keys.ok(),
            same_memory: same_memory.ok(),
            note,
        }
    }

    fn tell(&self, keys: Option<&SameKeys>, memory: Option<&SameMemory>, note: &Option<String>) {
        let percent = |ratio: Option<f64>| {
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{:.2} %", ratio * 100.0))
        };
        eprintln!(
            "  {} {} %  {} {}: hits {} (simulator {}), with the same memory {}{}",
            self.cell.trace.name,
            self.cell.percent,
            self.contender.server.name(),
            self.contender.policy,
            percent(keys.map(|keys| keys.replayed.hit_ratio())),
            percent(keys.map(|keys| keys.simulated)),
            percent(memory.map(|memory| memory.replayed.hit_ratio())),
            note.as_ref()
                .map(|note| format!("; {note}"))
                .unwrap_or_default(),
        );
    }

    fn same_keys(&self, simulator: &Simulator, plain: &std::path::Path) -> Result<SameKeys> {
        let sizes = drive::Sizes::Fixed(self.cell.value);
        let memory = calibrate::memory_for(&self.start()?, self.cell.keys, self.cell.value)?;
        let server = self.start()?;
        calibrate::limit(&server, memory)?;
        let replayed = drive::replay(&server, self.cell.trace, self.manner(sizes))?;
        let keys = replayed.keys.round().max(1.0) as u64;
        let simulated = simulator.hit_ratio(plain, self.contender.simulated, keys)?;
        Ok(SameKeys {
            replayed,
            memory,
            simulated,
        })
    }

    fn same_memory(&self) -> Result<SameMemory> {
        let memory = self.cell.memory();
        let server = self.start()?;
        calibrate::limit(&server, memory)?;
        let replayed = drive::replay(&server, self.cell.trace, self.manner(self.cell.sizes()))?;
        Ok(SameMemory { replayed, memory })
    }

    fn manner<'a>(&'a self, sizes: drive::Sizes<'a>) -> drive::Manner<'a> {
        drive::Manner {
            sizes,
            keys: self.cell.keys,
            rate: self.rate,
        }
    }

    fn start(&self) -> Result<Running> {
        let server = self.session.start(self.installed)?;
        let set = ["CONFIG", "SET", "maxmemory-policy", self.contender.policy];
        client::resp(server.address, &set)?;
        Ok(server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(sizes: &[u32]) -> Trace {
        Trace {
            name: "trace".to_owned(),
            requests: (0..sizes.len() as u32).collect(),
            sizes: sizes.to_vec(),
        }
    }

    #[test]
    fn a_cache_holds_a_part_of_the_objects_and_some_mebibytes() {
        let trace = trace(&[1; 2000]);
        let cell = Cell::new(&trace, 1.0, 64);
        assert_eq!((cell.keys, cell.value), (20, LEAST_BYTES / 20));
        let cell = Cell::new(&trace, 100.0, 4096);
        assert_eq!((cell.keys, cell.value), (2000, 4096));
        assert_eq!(cell.memory(), 2000 * (4096 + KEY + ALLOWANCE));
    }

    #[test]
    fn objects_with_sizes_take_memory_by_them() {
        let trace = trace(&[100, 300]);
        let cell = Cell::new(&trace, 50.0, 64);
        assert_eq!(cell.memory(), (400 + 2 * (KEY + ALLOWANCE)) / 2);
    }

    #[test]
    fn sizes_are_percentages() {
        assert_eq!(percent("1%"), Ok(1.0));
        assert_eq!(percent("0.1"), Ok(0.1));
        assert!(percent("0").is_err() && percent("101").is_err() && percent("x").is_err());
    }
}
