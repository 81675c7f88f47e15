//! One executable for everything: the playground, and, under the names `cache-node` and `cache-operator`, those programs,
//! so that the pods of the local Kubernetes run the very code that was built here.

use std::process::ExitCode;

use e2e::{cli, programs};

fn main() -> ExitCode {
    programs::run_as_called().unwrap_or_else(cli::run)
}
