//! The command line.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand, ValueEnum};
use e2e::programs;

use super::{Kind, Outcome, Series, histogram, operated_series, series, table};
use crate::nemesis::Nemesis;
use crate::trial::{self, Mode};

/// Fails primaries over, again and again, and tells what clients saw.
///
/// Clusters are processes of this program on addresses of their own on this machine. Some faults need root: those in which nodes find
/// each other by names (mount namespaces), and those of links (network namespaces and /dev/net/tun; with the operator `ip`, `nft` and
/// control groups of version 2).
#[derive(Parser)]
#[command(name = "failover-rounds", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure for how long a shard takes no writes
    ///
    /// One client a shard writes once in a millisecond, each time another key, so that clients leave the processors to the nodes. After
    /// an error it writes again at once. It gives up on a connection after 50 ms, and on an answer after 100 ms; then it asks the other
    /// nodes for the slots every 5 ms, also while it tries the one that has failed again. So it finds a new owner about as soon as the
    /// others know it. For each round it is told: the longest time between two acknowledged
    /// writes, the time until all living nodes know the new primary, acknowledged writes that are not there afterwards, and
    /// attempts that were refused or had no answer (redirections do not count). At the end there is a table in Markdown, and a histogram of each series.
    Measure {
        /// What is done; all kinds unless given
        #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
        kinds: Vec<Kind>,
        /// Numbers of shards. One shard has two replicas, more have one each
        #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 2, 3, 5], value_parser = shards)]
        shards: Vec<usize>,
        /// Rounds of each kind with each number of shards
        #[arg(long, value_name = "N", default_value_t = 100)]
        rounds: usize,
        /// Measure clusters of the operator, in a local Kubernetes, instead of nodes alone: `terminate` deletes a primary's pod
        ///
        /// Allowed are the kinds kill, terminate, failover, silence and stop. What the operator has done is told after each series.
        #[arg(long)]
        operator: bool,
        /// Write all outcomes to this file, as JSON
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Do one kind of fault to a cluster under a workload, and judge what clients saw
    Judge {
        /// The fault
        nemesis: Nemesis,
        /// How often
        #[arg(long, value_name = "N", default_value_t = 100)]
        rounds: usize,
        /// Argument that all nodes get to acknowledge writes only when replicas have them (may be given several times);
        /// histories must be linearizable then
        #[arg(
            long = "synchronous",
            value_name = "ARGUMENT",
            allow_hyphen_values = true
        )]
        synchronous: Vec<String>,
    },
    /// What `Programs` starts beside each cluster, to end what is left of it
    #[command(name = programs::JANITOR, hide = true)]
    Janitor {
        /// The cluster's directory
        directory: PathBuf,
    },
}

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    match execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failover-rounds: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> Result<()> {
    let executable = std::env::current_exe().context("path of this program")?;
    match command {
        Command::Measure {
            kinds,
            shards,
            rounds,
            operator,
            json,
        } => {
            let allowed = match operator {
                true => &Kind::OPERATED,
                false => Kind::value_variants(),
            };
            ensure!(
                kinds.iter().all(|kind| allowed.contains(kind)),
                "--kind: with --operator allowed are kill, terminate, failover, silence and stop"
            );
            let kinds = match kinds.as_slice() {
                [] => allowed,
                kinds => kinds,
            };
            let all = measure(&executable, kinds, &shards, rounds, operator)?;
            if let Some(file) = json {
                let text = serde_json::to_vec_pretty(&all).context("JSON")?;
                std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
            }
            Ok(())
        }
        Command::Judge {
            nemesis,
            rounds,
            synchronous,
        } => {
            let mode = match synchronous.is_empty() {
                true => Mode::Asynchronous,
                false => Mode::Synchronous(synchronous),
            };
            let summary = trial::run(&executable, nemesis, &mode, rounds)?;
            println!("{nemesis:?}: {summary:?}");
            Ok(())
        }
        Command::Janitor { directory } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(programs::clean_up_at_end_of_input(&directory, None));
            Ok(())
        }
    }
}

/// Measures and prints. A series that fails is told and left out; there is an error at the end then.
fn measure(
    executable: &Path,
    kinds: &[Kind],
    shards: &[usize],
    rounds: usize,
    operator: bool,
) -> Result<Vec<Series>> {
    let (mut all, mut failed) = (vec![], vec![]);
    for kind in kinds {
        for shards in shards {
            let title = format!("{}, {shards} shards", kind.title());
            println!("{title}");
            let progress = |round: usize, outcome: &Outcome| {
                let (gap, known) = (outcome.gap.as_millis(), outcome.known.as_millis());
                let (lost, errors) = (outcome.lost, outcome.errors);
                println!(
                    "  {round}: gap {gap} ms, known after {known} ms, {lost} lost, {errors} errors"
                );
            };
            let measured = match operator {
                true => operated_series(executable, *kind, *shards, rounds, progress),
                false => series(executable, *kind, *shards, rounds, progress),
            };
            match measured {
                Ok(series) => {
                    for step in series.operator.iter().flatten() {
                        println!("  the operator: {step}");
                    }
                    let gaps: Vec<_> = series.outcomes.iter().map(|one| one.gap).collect();
                    println!("{}", histogram(&gaps));
                    all.push(series);
                }
                Err(error) => {
                    eprintln!("{title}: {error:#}");
                    failed.push(title);
                }
            }
        }
    }
    println!("{}", table(&all));
    ensure!(failed.is_empty(), "failed: {}", failed.join("; "));
    Ok(all)
}

fn shards(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=40) => Ok(number),
        _ => Err("allowed are 1 to 40".to_owned()),
    }
}
