//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::moving::MovingArguments;
use crate::replay::ReplayArguments;
use crate::servers::Kind;

/// Measures cache-node side by side with Valkey, Redis, memcached and Pogocache.
///
/// Each server runs on one core, the load generator on another, and the servers take turns, so that figures of one run can
/// be compared. Peers are looked for in $PEERS/bin and on PATH; those that are not there are named and left out. Nothing
/// but loopback is used, nothing is kept on disk, and all servers are ended with this program.
///
/// Try first:  peer-bench --quick
#[derive(Debug, Parser)]
#[command(version, max_term_width = 110)]
pub struct Arguments {
    /// A run of about a minute: GET and SET of 64 bytes, and bytes a key.
    #[arg(long)]
    pub quick: bool,
    /// Which measurements to make: parts of names as --list shows them, such as 'get', 'speed/*/64/p16' or 'memory'.
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Which servers to measure [default: all that are found].
    #[arg(long, value_name = "SERVER", value_delimiter = ',')]
    pub servers: Vec<Kind>,
    /// Show the names of all measurements, then stop.
    #[arg(long)]
    pub list: bool,
    /// The cache-node to measure [default: the release build beside this program, which is built if it is missing].
    #[arg(long, value_name = "PATH")]
    pub cache_node: Option<PathBuf>,

    /// Keys in the data sets that speed is measured on.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1000..))]
    pub keys: u64,
    /// Rounds of which medians are taken [default: 3, quick 2].
    #[arg(long, value_name = "N", value_parser = positive)]
    pub rounds: Option<usize>,
    /// Seconds that are measured in each round [default: 1, quick 0.5].
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Connections of the load.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = positive)]
    pub clients: usize,
    /// Cores of the server, such as '0' or '0,2-3' [default: the first].
    #[arg(long, value_name = "CORES")]
    pub server_cores: Option<String>,
    /// Cores of the load generator, one thread on each [default: the second].
    #[arg(long, value_name = "CORES")]
    pub generator_cores: Option<String>,

    /// Numbers of keys with which bytes a key are measured.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1_000_000, 10_000_000])]
    pub memory_keys: Vec<u64>,
    /// Idle connections whose memory is measured.
    #[arg(long, value_name = "N", default_value_t = 50_000, value_parser = positive)]
    pub connections: usize,
    /// Keys that are written while they grow the table and expire.
    #[arg(long, value_name = "N", default_value_t = 10_000_000)]
    pub growth_keys: u64,

    /// Write the tables to a file too.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Write all figures as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw operations per CPU second, relative to Valkey, as SVG.
    #[arg(long, value_name = "FILE")]
    pub chart: Option<PathBuf>,

    /// Draw bytes a key beyond key and value as SVG.
    #[arg(long, value_name = "FILE")]
    pub memory_chart: Option<PathBuf>,

    /// Something else than measuring.
    #[command(subcommand)]
    pub command: Option<Action>,
}

/// Something else than measuring.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Replay traces through cache-node and its peers, and compare hit ratios.
    ///
    /// Options of the whole program, such as --servers or --markdown, come before 'replay'.
    Replay(ReplayArguments),
    /// Move data: snapshots, start-up, append-only file, full syncs, slots; how fast, and what others notice.
    ///
    /// Options of the whole program, such as --servers, --only or --rounds, come before 'moving'; 'peer-bench --list moving' shows what there is.
    Moving(MovingArguments),
    /// Answer '+OK' to every command, as the roofline of the tables.
    #[command(hide = true)]
    Roofline {
        /// Port on the loopback address.
        #[arg(long)]
        port: u16,
    },
}

impl ValueEnum for Kind {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("not a number above 0".to_owned()),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if (0.05..=3600.0).contains(&number) => Ok(number),
        _ => Err("not a number of seconds from 0.05 to 3600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn lists_are_separated_by_commas() {
        let arguments = Arguments::parse_from([
            "peer-bench",
            "--servers",
            "cache-node,valkey",
            "--only",
            "get,set",
        ]);
        assert_eq!(arguments.servers, [Kind::CacheNode, Kind::Valkey]);
        assert_eq!(arguments.only, ["get", "set"]);
    }
}
