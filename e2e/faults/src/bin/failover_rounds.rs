//! The command line of the crate, and, under the names `cache-node` and `cache-operator`, those programs, so that clusters run
//! the very code that was built here.

use std::process::ExitCode;

use e2e::programs;
use faults::rounds::{cli, silence};

fn main() -> ExitCode {
    if let Err(error) = silence::join_group() {
        eprintln!("failover-rounds: {error:#}");
        return ExitCode::FAILURE;
    }
    programs::run_as_called().unwrap_or_else(cli::run)
}
