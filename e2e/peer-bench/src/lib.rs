//! cache-node side by side with its peers: speed, latency, memory. Each module measures one thing; `session` holds what
//! they share, `report` what they found.

pub mod cli;
pub mod client;
pub mod collections;
pub mod connections;
pub mod cpu;
pub mod cross_check;
pub mod figures;
pub mod generator;
pub mod inspect;
pub mod latency;
pub mod memory;
pub mod moving;
pub mod plan;
pub mod replay;
pub mod report;
pub mod roofline;
pub mod servers;
pub mod session;
pub mod speed;
pub mod wait;
pub mod workers;
pub mod workload;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use cli::{Action, Arguments};
use cpu::Cores;
use plan::Filter;
use report::Report;
use serde::Serialize;
use servers::Kind;
use servers::discovery::{self, Installed};
use servers::process::{self, Place};
use session::{Session, Settings};

/// What a quick run measures.
const QUICK: [&str; 3] = [
    "speed/get/64/*/uniform",
    "speed/set/64/*/uniform",
    "memory/1000000/64",
];

/// Prints names, as many as somebody reads.
fn list(names: &[String]) -> Result<()> {
    let mut output = std::io::stdout().lock();
    for name in names {
        match writeln!(output, "{name}") {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    Ok(())
}

/// Does what the command line says.
///
/// # Errors
/// If a server that was found cannot be started, or a result not be written.
pub fn run(arguments: &Arguments) -> Result<()> {
    if let Some(Action::Roofline { port }) = arguments.command {
        return roofline::serve(port);
    }
    if arguments.list {
        let names = match arguments.command {
            Some(Action::Moving(_)) => moving::names(),
            _ => names(arguments),
        };
        return list(&names);
    }
    let directory = tempfile::Builder::new()
        .prefix("peer-bench-")
        .tempdir()
        .context("temporary directory")?;
    process::clean_up_when_interrupted(directory.path().to_owned())?;
    let (session, missing) = prepare(arguments, directory.path())?;
    if let Some(Action::Replay(replay)) = &arguments.command {
        let entries = replay::measure(&session, replay)?;
        return write_results(&replay::tables::markdown(&entries), &entries, arguments);
    }
    if let Some(Action::Moving(moving)) = &arguments.command {
        let limits = moving.limits()?;
        let entries = moving::measure(&session, moving)?;
        let tables = moving::tables::markdown(&command_line(), &entries, &limits);
        return write_results(&tables, &entries, arguments);
    }
    let mut report = Report::new(&session, missing);
    measure(&session, &mut report, arguments)?;
    write(&report, arguments)
}

/// The command line of this program, as it could be given again.
fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("peer-bench {}", arguments.join(" "))
}

/// Names of all measurements, in the order in which they are made.
fn names(arguments: &Arguments) -> Vec<String> {
    let names = [
        speed::names(),
        latency::names(arguments.growth_keys),
        memory::names(&arguments.memory_keys),
        collections::names(),
        connections::names(arguments.connections),
        workers::names(),
        cross_check::names(),
    ];
    names.concat()
}

fn measure(session: &Session, report: &mut Report, arguments: &Arguments) -> Result<()> {
    let all = names(arguments);
    let chosen = session.chosen(all);
    if chosen.is_empty() {
        bail!("no measurement has such a name; --list shows all");
    }
    eprintln!("Making {} measurements", chosen.len());
    report.speed = speed::measure(session)?;
    report.half_load = latency::measure(session)?;
    report.growth = latency::measure_growth(session, arguments.growth_keys)?;
    report.memory = memory::measure(session, &arguments.memory_keys);
    report.collections = collections::measure(session);
    report.connections = connections::measure(session, arguments.connections);
    report.workers = workers::measure(session)?;
    report.cross_check = cross_check::measure(session)?;
    Ok(())
}

/// Finds servers and cores.
fn prepare(arguments: &Arguments, directory: &Path) -> Result<(Session, Vec<Kind>)> {
    let wanted: &[Kind] = if arguments.servers.is_empty() {
        &Kind::ALL
    } else {
        &arguments.servers
    };
    let mut servers: Vec<Installed> = Vec::new();
    let mut missing = Vec::new();
    for kind in wanted {
        match discovery::find(*kind, arguments.cache_node.as_deref(), directory)? {
            Some(installed) => servers.push(installed),
            None => missing.push(*kind),
        }
    }
    for installed in &servers {
        eprintln!("Found {}", installed.label());
    }
    for kind in &missing {
        eprintln!(
            "Could not find {}: not on PATH, nor in $PEERS/bin",
            kind.program().unwrap_or(kind.name())
        );
    }
    let place = place(arguments, directory)?;
    eprintln!(
        "Servers on core {}, generator on core {}",
        place.server_cores, place.generator_cores
    );
    let patterns = if arguments.quick && arguments.only.is_empty() {
        QUICK.iter().map(ToString::to_string).collect()
    } else {
        arguments.only.clone()
    };
    let settings = Settings {
        keys: arguments.keys,
        connections: arguments.clients,
        rounds: arguments
            .rounds
            .unwrap_or(if arguments.quick { 2 } else { 3 }),
        length: Duration::from_secs_f64(arguments.seconds.unwrap_or(if arguments.quick {
            0.5
        } else {
            1.0
        })),
    };
    Ok((
        Session::new(servers, place, Filter::new(patterns), settings),
        missing,
    ))
}

fn place(arguments: &Arguments, directory: &Path) -> Result<Place> {
    let available = Cores::available()?;
    let choose = |given: &Option<String>, place| match given {
        Some(text) => Cores::parse(text),
        None => Ok(available.slice(place, 1)),
    };
    let place = Place {
        directory: directory.to_owned(),
        server_cores: choose(&arguments.server_cores, 0)?,
        generator_cores: choose(&arguments.generator_cores, 1)?,
    };
    if place.generator_cores.count() == 0 {
        bail!("this needs two cores: one for the server, one for the load generator");
    }
    if place.server_cores.overlaps(&place.generator_cores) {
        eprintln!("Server and generator share a core: figures are not worth much.");
    }
    Ok(place)
}

fn write(report: &Report, arguments: &Arguments) -> Result<()> {
    write_results(&report::tables::markdown(report), report, arguments)?;
    for (file, chart) in [
        (&arguments.chart, report::charts::speed(report)),
        (&arguments.memory_chart, report::charts::memory(report)),
    ] {
        if let Some(file) = file {
            fs::write(file, chart.svg()).with_context(|| format!("write {}", file.display()))?;
        }
    }
    Ok(())
}

/// Shows tables, and writes them and all figures to the files that were asked for.
fn write_results(tables: &str, figures: &impl Serialize, arguments: &Arguments) -> Result<()> {
    println!("{tables}");
    if let Some(file) = &arguments.markdown {
        fs::write(file, tables).with_context(|| format!("write {}", file.display()))?;
    }
    if let Some(file) = &arguments.json {
        let json = serde_json::to_string_pretty(figures).context("JSON")?;
        fs::write(file, json + "\n").with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}
