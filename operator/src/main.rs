//! The operator binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    cache_operator::run(std::env::args_os())
}
