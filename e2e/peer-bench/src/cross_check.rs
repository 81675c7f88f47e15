//! The same servers and workloads under `valkey-benchmark`, so that it can be seen whether our generator favours anyone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cpu;
use crate::figures::{CrossCheck, Entry, median};
use crate::generator::keys::Distribution;
use crate::generator::replies::Protocol;
use crate::generator::{Outcome, Pace};
use crate::plan::{Cell, PIPELINES};
use crate::servers::discovery::find_program;
use crate::servers::process::Running;
use crate::session::{NO_COMMAND, Session, reason};
use crate::speed;
use crate::workload::Workload;

/// Bytes of a value.
const VALUE: usize = 64;

/// Names of all measurements.
pub fn names() -> Vec<String> {
    cells().iter().map(name).collect()
}

fn cells() -> Vec<Cell> {
    let cells = [Workload::Get, Workload::Set]
        .into_iter()
        .flat_map(|workload| {
            PIPELINES.into_iter().map(move |pipeline| Cell {
                workload,
                value: VALUE,
                pipeline,
                distribution: Distribution::Uniform,
            })
        });
    cells.collect()
}

fn name(cell: &Cell) -> String {
    format!("cross-check/{}", cell.name())
}

/// Measures all chosen cells with both generators.
///
/// # Errors
/// If a server cannot be started.
pub fn measure(session: &Session) -> Result<Vec<Entry<CrossCheck>>> {
    let cells: Vec<Cell> = cells()
        .into_iter()
        .filter(|cell| session.filter.takes(&name(cell)))
        .collect();
    let mut entries = Vec::new();
    if cells.is_empty() {
        return Ok(entries);
    }
    let Some(program) = ["valkey-benchmark", "redis-benchmark"]
        .into_iter()
        .find_map(find_program)
    else {
        eprintln!("  Could not find valkey-benchmark or redis-benchmark: no cross-check");
        return Ok(entries);
    };
    let mut servers = Vec::new();
    for installed in session
        .servers
        .iter()
        .filter(|installed| installed.kind.protocol() == Protocol::Resp)
    {
        let server = session.start(installed)?;
        let loaded = speed::load(session, &server, Workload::Get.dataset(), VALUE);
        servers.push((server, loaded));
    }
    for cell in &cells {
        let mut rounds: Vec<_> = servers
            .iter()
            .map(|(_, loaded)| loaded.clone().map(|()| Vec::new()))
            .collect();
        for _ in 0..session.rounds {
            for ((server, _), rounds) in servers.iter().zip(&mut rounds) {
                let Ok(done) = rounds else { continue };
                match both(session, cell, server, &program) {
                    Ok(pair) => done.push(pair),
                    Err(error) => *rounds = Err(reason(&error)),
                }
            }
        }
        for ((server, _), rounds) in servers.iter().zip(rounds) {
            let figures =
                rounds.and_then(|rounds| summary(&rounds).ok_or_else(|| "no round".to_owned()));
            if let Ok(check) = &figures {
                eprintln!(
                    "  {:32} {:10} {:8.0} k op/CPU-s ours, {:8.0} k op/CPU-s {}",
                    name(cell),
                    server.kind.name(),
                    check.own_per_cpu_second / 1e3,
                    check.other_per_cpu_second / 1e3,
                    program.file_name().unwrap_or_default().display(),
                );
            }
            entries.push(Entry::new(&name(cell), server.kind, figures));
        }
    }
    Ok(entries)
}

fn summary(rounds: &[(Outcome, Other)]) -> Option<CrossCheck> {
    let over =
        |figure: &dyn Fn(&(Outcome, Other)) -> f64| median(rounds.iter().map(figure).collect());
    Some(CrossCheck {
        own_per_second: over(&|(own, _)| own.throughput())?,
        own_per_cpu_second: over(&|(own, _)| own.per_cpu_second())?,
        other_per_second: over(&|(_, other)| other.per_second)?,
        other_per_cpu_second: over(&|(_, other)| other.per_cpu_second)?,
    })
}

/// What the other generator found.
struct Other {
    per_second: f64,
    per_cpu_second: f64,
}

/// One round with each generator; the other one is given as many requests as ours made in its time.
fn both(
    session: &Session,
    cell: &Cell,
    server: &Running,
    program: &Path,
) -> Result<(Outcome, Other)> {
    let streams = speed::streams(session, cell, server.kind).context(NO_COMMAND)?;
    let own = session.drive(
        server,
        cell.pipeline,
        Pace::Closed(session.measured),
        streams,
    )?;
    let requests = own.tally.replies.max(1000);
    let before = cpu::process_seconds(server.process())?;
    let output = command(session, cell, server, program, requests)
        .output()
        .context("start the other generator")?;
    let taken = cpu::process_seconds(server.process())? - before;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    let other = Other {
        per_second: requests_per_second(&String::from_utf8_lossy(&output.stdout))?,
        per_cpu_second: requests as f64 / taken.max(1e-9),
    };
    Ok((own, other))
}

/// Its keys have the form of ours.
fn command(
    session: &Session,
    cell: &Cell,
    server: &Running,
    program: &Path,
    requests: u64,
) -> Command {
    let mut command = Command::new(PathBuf::from(program));
    command.args(["-h", "127.0.0.1", "--csv", "-t", cell.workload.name()]);
    let numbers = [
        ("-p", u64::from(server.address.port())),
        ("-n", requests),
        ("-r", session.keys),
        ("-d", VALUE as u64),
        ("-P", cell.pipeline as u64),
        ("-c", session.connections as u64),
    ];
    for (flag, number) in numbers {
        command.args([flag, &number.to_string()]);
    }
    command
}

/// The second column of its last line: `"GET","123456.78",...`.
fn requests_per_second(csv: &str) -> Result<f64> {
    let line = csv
        .lines()
        .rfind(|line| line.starts_with('"'))
        .context("the other generator printed no result")?;
    let field = line.split(',').nth(1).unwrap_or_default();
    field
        .trim_matches('"')
        .parse()
        .with_context(|| format!("the other generator printed: {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read_from_the_last_line_of_the_csv() {
        let csv = "\"test\",\"rps\",\"avg_latency_ms\"\n\"GET\",\"81300.81\",\"0.4\"\n";
        assert!((requests_per_second(csv).unwrap() - 81_300.81).abs() < 1e-6);
        assert!(requests_per_second("\"test\",\"rps\"\n").is_err());
        assert!(requests_per_second("").is_err());
    }
}
