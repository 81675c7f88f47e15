//! Data on the move: snapshots, start-up, the append-only file, full syncs, slots. Owns the names and the order of measurements; each server is
//! started afresh for each.

mod aof;
mod data;
mod load;
mod migration;
pub mod readings;
mod save;
mod sync;
pub mod tables;
mod watch;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::figures::Entry;
use crate::servers::discovery::Installed;
use crate::session::{Session, reason};
use data::Data;
use migration::Way;
use readings::{Reading, Readings};
use tables::Limits;

/// What begins the note of a server that cannot do a thing.
const NOT_AVAILABLE: &str = "not available";

/// What is moved.
#[derive(Clone, Debug, Args)]
pub struct MovingArguments {
    /// Keys of the data set.
    #[arg(long = "keys", id = "moving_keys", value_name = "N", default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub keys: u64,
    /// Bytes of each value.
    #[arg(long, value_name = "BYTES", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub value: u32,
    /// Limits that were asked for, to be shown beside the figures: a JSON object of the table's rows, such as
    /// '{"save/idle: MB/s": "at least 500"}'.
    #[arg(long, value_name = "FILE")]
    pub limits: Option<PathBuf>,
}

impl MovingArguments {
    /// The limits that the file has.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn limits(&self) -> Result<Limits> {
        let Some(file) = &self.limits else {
            return Ok(Limits::new());
        };
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        serde_json::from_str(&text).with_context(|| format!("limits in {}", file.display()))
    }
}

/// One thing that is measured.
#[derive(Clone, Copy, Debug)]
enum Measurement {
    Save,
    SaveUnderWrites,
    LoadSnapshot,
    AppendOnly(&'static str),
    Rewrite,
    LoadAppendOnlyFile,
    Sync { writes: bool },
    Migration { way: Way, writes: bool },
}

impl Measurement {
    fn all() -> Vec<Self> {
        let policies = aof::POLICIES.map(Self::AppendOnly);
        let migration = |(way, writes)| Self::Migration { way, writes };
        let ways = [
            (Way::Slots, false),
            (Way::Slots, true),
            (Way::Keys, false),
            (Way::Keys, true),
        ];
        [Self::Save, Self::SaveUnderWrites, Self::LoadSnapshot]
            .into_iter()
            .chain(policies)
            .chain([Self::Rewrite, Self::LoadAppendOnlyFile])
            .chain([false, true].map(|writes| Self::Sync { writes }))
            .chain(ways.map(migration))
            .collect()
    }

    fn name(self) -> String {
        let load = |writes| if writes { "writes" } else { "idle" };
        match self {
            Self::Save => "moving/save/idle".to_owned(),
            Self::SaveUnderWrites => "moving/save/writes".to_owned(),
            Self::LoadSnapshot => "moving/load/snapshot".to_owned(),
            Self::AppendOnly(policy) => format!("moving/aof/{policy}"),
            Self::Rewrite => "moving/aof/rewrite".to_owned(),
            Self::LoadAppendOnlyFile => "moving/load/aof".to_owned(),
            Self::Sync { writes } => format!("moving/sync/{}", load(writes)),
            Self::Migration { way, writes } => {
                let way = match way {
                    Way::Slots => "migrateslots",
                    Way::Keys => "migrate",
                };
                format!("moving/{way}/{}", load(writes))
            }
        }
    }

    fn make(self, session: &Session, installed: &Installed, data: Data) -> Result<Readings> {
        match self {
            Self::Save => save::idle(session, installed, data),
            Self::SaveUnderWrites => save::under_writes(session, installed, data),
            Self::LoadSnapshot => load::snapshot(session, installed, data),
            Self::AppendOnly(policy) => aof::speed(session, installed, data, policy),
            Self::Rewrite => aof::rewrite(session, installed, data),
            Self::LoadAppendOnlyFile => load::append_only_file(session, installed, data),
            Self::Sync { writes } => sync::measure(session, installed, data, writes),
            Self::Migration { way, writes } => {
                migration::measure(session, installed, data, way, writes)
            }
        }
    }
}

/// Names of all measurements.
pub fn names() -> Vec<String> {
    Measurement::all()
        .into_iter()
        .map(Measurement::name)
        .collect()
}

/// Makes all chosen measurements. Rounds go around the servers, so that what disturbs the machine for a while disturbs all of them.
///
/// # Errors
/// If none is chosen.
pub fn measure(session: &Session, arguments: &MovingArguments) -> Result<Vec<Entry<Vec<Reading>>>> {
    let data = Data {
        keys: arguments.keys,
        value: arguments.value as usize,
    };
    let mut entries = Vec::new();
    for measurement in Measurement::all() {
        if session.filter.takes(&measurement.name()) {
            entries.extend(measure_all(session, measurement, data));
        }
    }
    if entries.is_empty() {
        bail!("no measurement has such a name; 'peer-bench --list moving' shows all");
    }
    Ok(entries)
}

fn measure_all(
    session: &Session,
    measurement: Measurement,
    data: Data,
) -> Vec<Entry<Vec<Reading>>> {
    let name = measurement.name();
    let servers: Vec<&Installed> = session
        .servers
        .iter()
        .filter(|installed| installed.kind.has_info())
        .collect();
    let mut results: Vec<_> = servers.iter().map(|_| Ok(Vec::new())).collect();
    for _ in 0..session.rounds {
        for (installed, result) in servers.iter().zip(&mut results) {
            let Ok(rounds) = result else { continue };
            match measurement.make(session, installed, data) {
                Ok(readings) => rounds.push(readings),
                Err(error) => {
                    eprintln!("  {name:28} {:10} {error:#}", installed.kind.name());
                    *result = Err(reason(&error));
                }
            }
        }
    }
    let entry = |(installed, result): (&&Installed, Result<Vec<Readings>, String>)| {
        let figures = result.map(|rounds| readings::medians(&rounds));
        for reading in figures.iter().flatten() {
            eprintln!(
                "  {name:28} {:10} {:10.2} {}",
                installed.kind.name(),
                reading.median,
                reading.quantity.name()
            );
        }
        Entry::new(&name, installed.kind, figures)
    };
    servers.iter().zip(results).map(entry).collect()
}
