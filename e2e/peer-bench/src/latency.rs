//! Latency at half load: all servers get the same number of requests a second, half of what the reference makes at its
//! best, at times that do not depend on the answers. Also while many keys grow the table and expire.

use std::time::Duration;

use anyhow::{Context, Result};

use crate::figures::{Entry, Growth, HalfLoad, Speed};
use crate::generator::keys::{Distribution, Keys};
use crate::generator::{Measured, Outcome, Pace};
use crate::inspect;
use crate::plan::Cell;
use crate::servers::discovery::Installed;
use crate::servers::process::Running;
use crate::session::{NO_COMMAND, Session, reason};
use crate::speed;
use crate::workload::{self, Life, Workload};

/// Bytes of a value.
const VALUE: usize = 64;
/// Requests sent at a time while keys grow.
const GROWTH_PIPELINE: usize = 16;
/// Bounds of the time in which the table grows to its full size.
const GROWTH_SECONDS: std::ops::RangeInclusive<f64> = 2.0..=600.0;

/// Names of all measurements.
pub fn names(growth_keys: u64) -> Vec<String> {
    let mut names: Vec<String> = cells().iter().map(name).collect();
    names.push(growth_name(growth_keys));
    names
}

fn cells() -> Vec<Cell> {
    let workloads = [Workload::Get, Workload::Set, Workload::Mixed];
    let cells = workloads.into_iter().flat_map(|workload| {
        [1, 16].into_iter().map(move |pipeline| Cell {
            workload,
            value: VALUE,
            pipeline,
            distribution: Distribution::Uniform,
        })
    });
    cells.collect()
}

fn name(cell: &Cell) -> String {
    format!("half-load/{}", cell.name())
}

fn growth_name(keys: u64) -> String {
    format!("growth/{keys}")
}

/// Measures all chosen cells at half load.
///
/// # Errors
/// If a server cannot be started.
pub fn measure(session: &Session) -> Result<Vec<Entry<HalfLoad>>> {
    let cells: Vec<Cell> = cells()
        .into_iter()
        .filter(|cell| session.filter.takes(&name(cell)))
        .collect();
    let mut entries = Vec::new();
    let Some(first) = cells.first() else {
        return Ok(entries);
    };
    let mut servers = Vec::new();
    for installed in &session.servers {
        let server = session.start(installed)?;
        let loaded = speed::load(session, &server, first.workload.dataset(), VALUE);
        servers.push((server, loaded));
    }
    for cell in &cells {
        entries.extend(measure_cell(session, cell, &servers)?);
    }
    Ok(entries)
}

fn measure_cell(
    session: &Session,
    cell: &Cell,
    servers: &[(Running, Result<(), String>)],
) -> Result<Vec<Entry<HalfLoad>>> {
    let name = name(cell);
    let reference = servers
        .iter()
        .find(|(server, _)| Some(server.kind) == session.reference());
    let (yardstick, _) = reference.or(servers.first()).context("no server")?;
    let rate = full_load(session, cell, yardstick)?.throughput() / 2.0;
    let mut results: Vec<_> = servers
        .iter()
        .map(|(_, loaded)| loaded.clone().map(|()| Vec::new()))
        .collect();
    for _ in 0..session.rounds {
        for ((server, _), result) in servers.iter().zip(&mut results) {
            let Ok(rounds) = result else { continue };
            let pace = Pace::Open {
                rate,
                measured: session.measured,
            };
            match drive(session, cell, server, pace) {
                Ok(outcome) => rounds.push(outcome),
                Err(error) => *result = Err(reason(&error)),
            }
        }
    }
    let entry = |((server, _), result): (&(Running, _), Result<Vec<Outcome>, String>)| {
        let figures =
            result.and_then(|rounds| Speed::median(&rounds).ok_or_else(|| "no round".to_owned()));
        if let Ok(speed) = &figures {
            let kind = server.kind.name();
            eprintln!(
                "  {name:32} {kind:10} {:8.0} op/s  p99.9 {:7.0} us",
                rate, speed.p999_us
            );
        }
        Entry::new(
            &name,
            server.kind,
            figures.map(|speed| HalfLoad { rate, speed }),
        )
    };
    Ok(servers.iter().zip(results).map(entry).collect())
}

fn full_load(session: &Session, cell: &Cell, server: &Running) -> Result<Outcome> {
    drive(session, cell, server, Pace::Closed(session.measured))
}

fn drive(session: &Session, cell: &Cell, server: &Running, pace: Pace) -> Result<Outcome> {
    let streams = speed::streams(session, cell, server.kind).context(NO_COMMAND)?;
    session.drive(server, cell.pipeline, pace, streams)
}

/// Writes twice `keys` keys at half load, each of which lives as long as it takes to write half of them: the table grows to
/// `keys` keys, then as many expire as are written.
///
/// # Errors
/// If the reference cannot be measured.
pub fn measure_growth(session: &Session, keys: u64) -> Result<Vec<Entry<Growth>>> {
    let name = growth_name(keys);
    if !session.filter.takes(&name) {
        return Ok(Vec::new());
    }
    let reference = session
        .stores()
        .find(|installed| Some(installed.kind) == session.reference());
    let yardstick = reference
        .or_else(|| session.stores().next())
        .context("no server")?;
    let cell = Cell {
        workload: Workload::Set,
        value: VALUE,
        pipeline: GROWTH_PIPELINE,
        distribution: Distribution::Uniform,
    };
    let half = full_load(session, &cell, &session.start(yardstick)?)?.throughput() / 2.0;
    // The life of a key is in whole seconds.
    let seconds = (keys as f64 / half)
        .clamp(*GROWTH_SECONDS.start(), *GROWTH_SECONDS.end())
        .ceil();
    let rate = keys as f64 / seconds;
    let mut entries = Vec::new();
    for installed in session.stores() {
        let kind = installed.kind;
        eprintln!("  {name:32} {:10} for {:.0} s", kind.name(), 2.0 * seconds);
        let figures =
            grow(session, installed, keys, rate, seconds as u32).map_err(|error| reason(&error));
        if let Ok(growth) = &figures {
            eprintln!(
                "  {name:32} {:10} {rate:8.0} op/s  p99.9 {:7.0} us",
                kind.name(),
                growth.speed.p999_us
            );
        }
        entries.push(Entry::new(&name, kind, figures));
    }
    Ok(entries)
}

fn grow(
    session: &Session,
    installed: &Installed,
    keys: u64,
    rate: f64,
    seconds: u32,
) -> Result<Growth> {
    let server = session.start(installed)?;
    let threads = session.threads() as u64;
    let stream = |thread: u64| {
        let share = Keys::sequence(
            2 * keys * thread / threads,
            2 * keys * (thread + 1) / threads,
        );
        workload::fill(
            installed.kind.protocol(),
            VALUE,
            Life::Seconds(seconds),
            share,
        )
    };
    let pace = Pace::Open {
        rate,
        measured: Measured {
            warm_up: Duration::ZERO,
            length: Duration::from_secs(2 * u64::from(seconds)),
        },
    };
    let outcome = session.drive(
        &server,
        GROWTH_PIPELINE,
        pace,
        (0..threads).map(stream).collect(),
    )?;
    Ok(Growth {
        rate,
        seconds_to_live: seconds,
        keys_at_end: inspect::keys(&server).ok(),
        speed: Speed::median(&[outcome]).context("no round")?,
    })
}
