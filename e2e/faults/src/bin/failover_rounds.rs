//! The command line of the crate, and, under the name `cache-node`, that program, so that clusters run the very code that
//! was built here.

use std::path::Path;
use std::process::ExitCode;

use e2e::programs;
use faults::rounds::cli;

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    if Path::new(&called).file_name() == Some(programs::NODE.as_ref()) {
        return cache_node::run(std::env::args_os());
    }
    cli::run()
}
