//! One executable for everything: the playground, and, under the names `cache-node` and `cache-operator`, those programs,
//! so that the pods of the local Kubernetes run the very code that was built here.

use std::path::Path;
use std::process::ExitCode;

use e2e::{cli, programs};

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_default();
    let name = Path::new(&called)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    match name.as_str() {
        programs::NODE => cache_node::run(std::env::args_os()),
        programs::OPERATOR => cache_operator::run(std::env::args_os()),
        _ => cli::run(),
    }
}
