//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The operator of Evenkeel cache clusters.
#[derive(Debug, Parser)]
#[command(name = "cache-operator", version, about, max_term_width = 120)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the CacheCluster CustomResourceDefinition as YAML.
    Crd,
    /// Reconcile CacheClusters. The API server is found as kubectl finds it: KUBECONFIG, else the pod's service account.
    Run(RunArgs),
}

/// How to run.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// Watch this namespace only; without it, all.
    #[arg(long, env = "CACHE_OPERATOR_NAMESPACE")]
    pub namespace: Option<String>,

    /// Where to serve /metrics, /livez and /readyz.
    #[arg(
        long,
        env = "CACHE_OPERATOR_METRICS_ADDR",
        default_value = "0.0.0.0:8080"
    )]
    pub metrics_addr: SocketAddr,

    /// Namespace of the Lease; without it, the one of the kubeconfig or of the pod.
    #[arg(long, env = "CACHE_OPERATOR_LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,

    /// Name of the Lease by which operators agree on who acts.
    #[arg(
        long,
        env = "CACHE_OPERATOR_LEASE_NAME",
        default_value = "cache-operator"
    )]
    pub lease_name: String,

    /// Who we are in the Lease. A restart under the same identity goes on without waiting.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    /// Seconds after which an operator that does not renew its lease is taken to be gone, at least 2.
    #[arg(long, env = "CACHE_OPERATOR_LEASE_SECONDS", default_value = "6", value_parser = clap::value_parser!(u64).range(2..=600))]
    pub lease_seconds: u64,

    /// Seconds between renewals of the lease; must be less than half of --lease-seconds.
    #[arg(long, env = "CACHE_OPERATOR_RENEW_SECONDS", default_value = "2", value_parser = clap::value_parser!(u64).range(1..=300))]
    pub renew_seconds: u64,

    /// Address of this process, at which the nodes of clusters of two reach it as their third voter; without it, it has no vote.
    #[arg(long, env = "CACHE_OPERATOR_WITNESS_ADDRESS")]
    pub witness_address: Option<IpAddr>,

    /// Ports for that, one for each cluster of two: FIRST-LAST.
    #[arg(long, env = "CACHE_OPERATOR_WITNESS_PORTS", default_value = "16400-16899", value_parser = ports)]
    pub witness_ports: RangeInclusive<u16>,

    /// Form of the log.
    #[arg(long, env = "CACHE_OPERATOR_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What is logged: a level, or filters such as info,cache_operator=debug.
    #[arg(long, env = "RUST_LOG", default_value = "info")]
    pub log: String,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl RunArgs {
    /// How long a lease lives without renewal.
    pub fn lease_duration(&self) -> Duration {
        Duration::from_secs(self.lease_seconds)
    }

    /// Time between renewals.
    pub fn renew_interval(&self) -> Duration {
        Duration::from_secs(self.renew_seconds)
    }
}

/// `FIRST-LAST`.
fn ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let bounds = text.split_once('-');
    let bounds = bounds.and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
    match bounds {
        Some((first, last)) if 0 < first && first <= last => Ok(first..=last),
        _ => Err("a range of ports is FIRST-LAST, both from 1 to 65535".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_range_of_ports_has_a_first_and_a_last() {
        assert_eq!(ports("16400-16400"), Ok(16_400..=16_400));
        for text in ["", "16400", "2-1", "0-9", "1-65536", "a-b"] {
            assert!(ports(text).unwrap_err().contains("FIRST-LAST"), "{text}");
        }
    }

    #[test]
    fn bad_values_name_the_flag() {
        let line = ["cache-operator", "run", "--lease-seconds", "1"];
        let error = CommandLine::try_parse_from(line).unwrap_err().to_string();
        assert!(error.contains("--lease-seconds"), "{error}");
    }
}
