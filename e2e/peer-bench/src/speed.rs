//! Speed: how many operations a server makes, how much CPU time each takes, how long clients wait, while every connection
//! is kept busy.

use anyhow::Result;

use crate::figures::{Entry, Speed};
use crate::generator::Pace;
use crate::generator::encode::Requests;
use crate::generator::keys::Keys;
use crate::plan::Cell;
use crate::servers::Kind;
use crate::servers::process::Running;
use crate::session::{NO_COMMAND, Session, reason};
use crate::workload::Dataset;

/// Names of all measurements.
pub fn names() -> Vec<String> {
    Cell::all().iter().map(name).collect()
}

fn name(cell: &Cell) -> String {
    format!("speed/{}", cell.name())
}

/// Measures all chosen cells.
///
/// # Errors
/// If a server cannot be started.
pub fn measure(session: &Session) -> Result<Vec<Entry<Speed>>> {
    let cells: Vec<Cell> = Cell::all()
        .into_iter()
        .filter(|cell| session.filter.takes(&name(cell)))
        .collect();
    let mut entries = Vec::new();
    let same_data =
        |a: &Cell, b: &Cell| (a.workload.dataset(), a.value) == (b.workload.dataset(), b.value);
    for group in cells.chunk_by(same_data) {
        entries.extend(measure_group(session, group)?);
    }
    Ok(entries)
}

/// Measures cells that work on the same data: each server is loaded once.
fn measure_group(session: &Session, cells: &[Cell]) -> Result<Vec<Entry<Speed>>> {
    let dataset = cells[0].workload.dataset();
    let value = cells[0].value;
    let mut servers = Vec::new();
    for installed in &session.servers {
        eprintln!(
            "  loading {dataset:?} of {value} B into {}",
            installed.kind.name()
        );
        let server = session.start(installed)?;
        let loaded = load(session, &server, dataset, value);
        servers.push((server, loaded));
    }
    let mut entries = Vec::new();
    for cell in cells {
        entries.extend(measure_cell(session, cell, &servers));
    }
    Ok(entries)
}

/// Loads the data; the error is the reason why the server cannot have it.
pub fn load(
    session: &Session,
    server: &Running,
    dataset: Dataset,
    value: usize,
) -> Result<(), String> {
    if !server.kind.stores() {
        return Ok(());
    }
    let requests = dataset
        .load(
            server.kind.protocol(),
            value,
            Keys::sequence(0, session.keys),
        )
        .ok_or_else(|| NO_COMMAND.to_owned())?;
    session
        .load(server, requests)
        .map_err(|error| reason(&error))
}

/// Requests of a cell for each thread of the generator; `None` if the server cannot be asked.
pub fn streams(session: &Session, cell: &Cell, kind: Kind) -> Option<Vec<Requests>> {
    let stream = |_| {
        let keys = session.choose(cell.distribution, session.keys);
        cell.workload.requests(kind.protocol(), cell.value, keys)
    };
    (0..session.threads()).map(stream).collect()
}

/// Rounds go around the servers, so that what disturbs the machine for a while disturbs all of them.
fn measure_cell(
    session: &Session,
    cell: &Cell,
    servers: &[(Running, Result<(), String>)],
) -> Vec<Entry<Speed>> {
    let name = name(cell);
    let mut results: Vec<_> = servers
        .iter()
        .map(|(_, loaded)| loaded.clone().map(|()| Vec::new()))
        .collect();
    for _ in 0..session.rounds {
        for ((server, _), result) in servers.iter().zip(&mut results) {
            let Ok(rounds) = result else { continue };
            match run(session, cell, server) {
                Ok(outcome) => rounds.push(outcome),
                Err(note) => *result = Err(note),
            }
        }
    }
    let entry = |((server, _), result): (&(Running, _), Result<Vec<_>, String>)| {
        let figures =
            result.and_then(|rounds| Speed::median(&rounds).ok_or_else(|| "no round".to_owned()));
        if let Ok(speed) = &figures {
            eprintln!(
                "  {name:32} {:10} {:8.0} k op/s {:8.0} k op/CPU-s  p99.9 {:7.0} us  server {:3.0} %, generator {:3.0} %",
                server.kind.name(),
                speed.operations_per_second / 1e3,
                speed.operations_per_cpu_second / 1e3,
                speed.p999_us,
                speed.server_cores_busy * 100.0,
                speed.generator_cores_busy * 100.0,
            );
        }
        Entry::new(&name, server.kind, figures)
    };
    servers.iter().zip(results).map(entry).collect()
}

fn run(
    session: &Session,
    cell: &Cell,
    server: &Running,
) -> Result<crate::generator::Outcome, String> {
    let streams = streams(session, cell, server.kind).ok_or_else(|| NO_COMMAND.to_owned())?;
    let outcome = session
        .drive(
            server,
            cell.pipeline,
            Pace::Closed(session.measured),
            streams,
        )
        .map_err(|error| reason(&error))?;
    if server.kind.stores() && outcome.tally.misses > 0 {
        return Err(format!("{} values were missing", outcome.tally.misses));
    }
    Ok(outcome)
}
