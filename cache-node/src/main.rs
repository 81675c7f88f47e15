//! The cache-node binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cache_node::run(std::env::args_os())
}
