//! `peer-bench`: cache-node side by side with its peers.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    peer_bench::run(&peer_bench::cli::Arguments::parse())
}
