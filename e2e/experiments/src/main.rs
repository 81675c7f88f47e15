//! Runs one experiment and prints its tables.

use clap::{Parser, Subcommand};
use experiments::{allocators, locks, loops, tables};

#[derive(Parser)]
#[command(about = "The measurements behind docs/engine.md; each prints Markdown tables")]
struct Arguments {
    #[command(subcommand)]
    experiment: Experiment,
}

#[derive(Subcommand)]
enum Experiment {
    /// Runtime against raw epoll loop.
    Loops(loops::Options),
    /// Slot lock against message hop.
    Locks(locks::Options),
    /// Table layouts: bytes a key and nanoseconds an operation.
    Tables(tables::Options),
    /// General allocators and a slab: bytes beyond payload, time, what comes back after deleting.
    Allocators(allocators::Options),
    /// The server that `loops` starts for itself.
    #[command(hide = true)]
    Serve(loops::ServeOptions),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().experiment {
        Experiment::Loops(options) => loops::run(&options),
        Experiment::Locks(options) => locks::run(&options),
        Experiment::Tables(options) => tables::run(&options),
        Experiment::Allocators(options) => allocators::run(&options),
        Experiment::Serve(options) => loops::serve(&options),
    }
}
