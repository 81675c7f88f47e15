//! The cache-node binary.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// For all that is not in the engine's arena. How it gives memory back is said in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    cache_node::run(std::env::args_os())
}
