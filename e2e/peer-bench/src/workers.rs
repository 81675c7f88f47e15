//! Two workers against one: what the second adds, and what sharing costs. Both run on the same two cores.

use anyhow::Result;

use crate::cpu::Cores;
use crate::figures::{Entry, Speed, Workers, ratio};
use crate::generator::Pace;
use crate::generator::keys::Distribution;
use crate::plan::Cell;
use crate::servers::Needs;
use crate::servers::discovery::Installed;
use crate::servers::process::{Place, Running};
use crate::session::{NO_COMMAND, Session, reason};
use crate::speed;
use crate::workload::{Dataset, Workload};

/// Bytes of a value.
const VALUE: usize = 64;

/// Names of all measurements.
pub fn names() -> Vec<String> {
    cells().iter().map(name).collect()
}

fn cells() -> Vec<Cell> {
    let workloads = [Workload::Get, Workload::Set];
    let cells = workloads.into_iter().flat_map(|workload| {
        [16, 64].into_iter().flat_map(move |pipeline| {
            [Distribution::Uniform, Distribution::Zipf]
                .into_iter()
                .map(move |distribution| Cell {
                    workload,
                    value: VALUE,
                    pipeline,
                    distribution,
                })
        })
    });
    cells.collect()
}

fn name(cell: &Cell) -> String {
    format!("workers/{}", cell.name())
}

/// Measures all chosen cells, with each server whose threads can be chosen.
///
/// # Errors
/// If a server cannot be started.
pub fn measure(session: &Session) -> Result<Vec<Entry<Workers>>> {
    let cells: Vec<Cell> = cells()
        .into_iter()
        .filter(|cell| session.filter.takes(&name(cell)))
        .collect();
    let mut entries = Vec::new();
    if cells.is_empty() {
        return Ok(entries);
    }
    for installed in session
        .servers
        .iter()
        .filter(|installed| installed.kind.has_threads())
    {
        let one = start(session, installed, 1)?;
        let two = start(session, installed, 2)?;
        for cell in &cells {
            let figures = compare(session, cell, &one, &two);
            if let Ok(workers) = &figures {
                eprintln!(
                    "  {:32} {:10} {:.2}x op/CPU-s, {:.2}x op/s",
                    name(cell),
                    installed.kind.name(),
                    workers.efficiency,
                    workers.throughput_ratio
                );
            }
            entries.push(Entry::new(&name(cell), installed.kind, figures));
        }
    }
    Ok(entries)
}

/// Starts a server on two cores: those that are the servers', and where that is one, the generator's too.
fn start(
    session: &Session,
    installed: &Installed,
    threads: usize,
) -> Result<(Running, Result<(), String>)> {
    let place = Place {
        server_cores: two_cores(&session.place),
        ..session.place.clone()
    };
    let needs = Needs {
        threads,
        ..Needs::default()
    };
    let server = Running::start(installed, &place, needs)?;
    let loaded = speed::load(session, &server, Dataset::Strings, VALUE);
    Ok((server, loaded))
}

fn two_cores(place: &Place) -> Cores {
    place.server_cores.union(&place.generator_cores).slice(0, 2)
}

type Loaded = (Running, Result<(), String>);

fn compare(session: &Session, cell: &Cell, one: &Loaded, two: &Loaded) -> Result<Workers, String> {
    let mut outcomes = [Vec::new(), Vec::new()];
    for _ in 0..session.rounds {
        for ((server, loaded), outcomes) in [one, two].into_iter().zip(&mut outcomes) {
            loaded.clone()?;
            let streams = speed::streams(session, cell, server.kind).ok_or(NO_COMMAND)?;
            let outcome = session.drive(
                server,
                cell.pipeline,
                Pace::Closed(session.measured),
                streams,
            );
            outcomes.push(outcome.map_err(|error| reason(&error))?);
        }
    }
    let [one, two] =
        outcomes.map(|rounds| Speed::median(&rounds).ok_or_else(|| "no round".to_owned()));
    let (one, two) = (one?, two?);
    let compare =
        |figure: fn(&Speed) -> f64| ratio(figure(&two), Some(figure(&one))).ok_or("no operations");
    Ok(Workers {
        efficiency: compare(|speed| speed.operations_per_cpu_second)?,
        throughput_ratio: compare(|speed| speed.operations_per_second)?,
        one,
        two,
    })
}
