//! The command line.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use e2e::programs;

use crate::nemesis::Nemesis;
use crate::trial::{self, Mode};

/// Fails primaries over, again and again, and tells what clients saw.
#[derive(Parser)]
#[command(name = "failover-rounds", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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
