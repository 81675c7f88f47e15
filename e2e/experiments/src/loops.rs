//! Runtime against raw epoll loop: the same `+OK` server in several shapes, measured by its processor time.
//!
//! Each shape is a process of its own on the first core; the generator has the second. Rounds are interleaved, so that
//! what disturbs the machine disturbs all shapes alike.

mod generator;
mod reply;
mod server;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use clap::Args;

use self::generator::Load;
use crate::measure::{heading, median, process_cpu, row, spread};

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// Interleaved rounds; the table shows medians.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests of a round by pipeline depth 1; deeper pipelines send `depth` to the power of one half times as many.
    #[arg(long, default_value_t = 60_000)]
    requests: usize,
    /// Pipeline depths.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    depths: Vec<usize>,
    /// Shapes, the first is what the others are compared with.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "epoll,try,try-once,poll,await,nested"
    )]
    shapes: Vec<server::Shape>,
    /// Connections.
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// Use the generator of this program even where valkey-benchmark is found.
    #[arg(long)]
    builtin: bool,
}

/// How the hidden server process is to run.
#[derive(Args)]
pub struct ServeOptions {
    /// The shape to serve in.
    shape: server::Shape,
}

struct Server {
    shape: server::Shape,
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; either way it is gone afterwards.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves on a port that the system chooses, printed on standard output, until killed.
///
/// # Errors
/// When the socket or the runtime fails.
pub fn serve(options: &ServeOptions) -> anyhow::Result<()> {
    pin(0);
    server::serve(options.shape)
}

/// Runs the experiment.
///
/// # Errors
/// When a server or the generator cannot be started.
pub fn run(options: &Options) -> anyhow::Result<()> {
    pin(1);
    let benchmark = if options.builtin {
        None
    } else {
        find_benchmark()
    };
    let source = benchmark
        .as_ref()
        .map_or("the built-in generator", |_| "valkey-benchmark");
    println!(
        "Generator: {source}, {} connections, {} rounds.",
        options.connections, options.rounds
    );
    let servers = options
        .shapes
        .iter()
        .map(|&shape| start(shape))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut results: BTreeMap<(usize, usize), Vec<f64>> = BTreeMap::new();
    for round in 0..=options.rounds {
        for &depth in &options.depths {
            for (index, server) in servers.iter().enumerate() {
                let requests =
                    (options.requests as f64 * (depth as f64).sqrt()) as usize / depth * depth;
                let before = process_cpu(server.child.id())?;
                let load = Load {
                    port: server.port,
                    connections: options.connections,
                    depth,
                    requests,
                };
                match &benchmark {
                    Some(path) => load.with_valkey(path)?,
                    None => load.with_builtin()?,
                }
                let used = process_cpu(server.child.id())? - before;
                // The first round warms up.
                if round > 0 {
                    let rate = requests as f64 / used.as_secs_f64();
                    results.entry((depth, index)).or_default().push(rate);
                }
            }
        }
    }
    print(options, &servers, &results);
    Ok(())
}

fn print(options: &Options, servers: &[Server], results: &BTreeMap<(usize, usize), Vec<f64>>) {
    let mut cells = vec!["loop".to_owned()];
    for depth in &options.depths {
        cells.push(format!("P{depth}: thousand op a CPU-second (spread)"));
        cells.push(format!("P{depth}: ratio"));
    }
    heading(&cells.iter().map(String::as_str).collect::<Vec<_>>());
    for (index, server) in servers.iter().enumerate() {
        let mut cells = vec![server.shape.describe().to_owned()];
        for &depth in &options.depths {
            let rates = &results[&(depth, index)];
            // Ratios are taken within a round and then their median, which cancels slow drifts of the machine.
            let ratios: Vec<f64> = rates
                .iter()
                .zip(&results[&(depth, 0)])
                .map(|(rate, first)| rate / first)
                .collect();
            cells.push(format!(
                "{:.1} ({:.0} %)",
                median(rates) / 1e3,
                spread(rates)
            ));
            cells.push(format!("{:.3}", median(&ratios)));
        }
        row(&cells);
    }
}

fn start(shape: server::Shape) -> anyhow::Result<Server> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("serve")
        .arg(shape.name())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let output = child.stdout.take().context("the server has no output")?;
    BufReader::new(output).read_line(&mut line)?;
    let port = line
        .trim()
        .parse()
        .context("the server did not say its port")?;
    Ok(Server { shape, child, port })
}

fn find_benchmark() -> Option<PathBuf> {
    let peers = std::env::var_os("PEERS").map(|peers| PathBuf::from(peers).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    peers
        .into_iter()
        .chain(std::env::split_paths(&path))
        .map(|folder| folder.join("valkey-benchmark"))
        .find(|file| file.is_file())
}

fn pin(core: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    // With one core there is nothing to separate.
    if let Some(&core) = cores.get(core) {
        core_affinity::set_for_current(core);
    }
}
