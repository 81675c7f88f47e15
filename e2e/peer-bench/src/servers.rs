//! The servers that are compared: what they are called, what they speak, how they are started. Owns every difference
//! between them that is not measured.

pub mod discovery;
pub mod process;

use std::ffi::OsString;
use std::path::Path;

use serde::Serialize;

use crate::generator::replies::Protocol;

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Ours.
    CacheNode,
    /// The one that all others are compared with.
    Valkey,
    /// Redis.
    Redis,
    /// memcached.
    Memcached,
    /// Pogocache.
    Pogocache,
    /// Answers `+OK` to everything.
    Roofline,
}

/// What a server must be ready for.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// Worker threads.
    pub threads: usize,
    /// Connections.
    pub connections: usize,
}

impl Default for Needs {
    fn default() -> Self {
        Self {
            threads: 1,
            connections: 1000,
        }
    }
}

impl Kind {
    /// All of them, in the order of columns.
    pub const ALL: [Self; 6] = [
        Self::CacheNode,
        Self::Valkey,
        Self::Redis,
        Self::Memcached,
        Self::Pogocache,
        Self::Roofline,
    ];

    /// Name on the command line and in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::CacheNode => "cache-node",
            Self::Valkey => "valkey",
            Self::Redis => "redis",
            Self::Memcached => "memcached",
            Self::Pogocache => "pogocache",
            Self::Roofline => "roofline",
        }
    }

    /// Name of the program, for those that are looked for.
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::CacheNode => Some("cache-node"),
            Self::Valkey => Some("valkey-server"),
            Self::Redis => Some("redis-server"),
            Self::Memcached => Some("memcached"),
            Self::Pogocache => Some("pogocache"),
            Self::Roofline => None,
        }
    }

    /// What it is spoken to in.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Memcached => Protocol::Memcached,
            _ => Protocol::Resp,
        }
    }

    /// Whether it keeps what is stored.
    pub fn stores(self) -> bool {
        self != Self::Roofline
    }

    /// Whether it has `INFO` and `MEMORY USAGE` as Redis has them.
    pub fn has_info(self) -> bool {
        matches!(self, Self::CacheNode | Self::Valkey | Self::Redis)
    }

    /// Whether it can be told how many threads work.
    pub fn has_threads(self) -> bool {
        matches!(self, Self::CacheNode | Self::Memcached | Self::Pogocache)
    }

    /// Arguments with which it listens on `port` of the loopback address, keeps nothing on disk, and never evicts what
    /// fits into `memory` bytes.
    pub fn arguments(
        self,
        port: u16,
        directory: &Path,
        needs: Needs,
        memory: u64,
    ) -> Vec<OsString> {
        let port = port.to_string();
        let threads = needs.threads.to_string();
        // Redis takes 32 descriptors for itself.
        let connections = (needs.connections + 100).to_string();
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |words: &[&str]| arguments.extend(words.iter().map(OsString::from));
        match self {
            Self::CacheNode => add(&[
                "--port",
                &port,
                "--threads",
                &threads,
                "--maxclients",
                &connections,
            ]),
            Self::Valkey | Self::Redis => add(&[
                "--port",
                &port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--maxclients",
                &connections,
                "--loglevel",
                "warning",
            ]),
            Self::Memcached => {
                let mebibytes = (memory >> 20).to_string();
                add(&[
                    "-p",
                    &port,
                    "-l",
                    "127.0.0.1",
                    "-U",
                    "0",
                    "-t",
                    &threads,
                    "-m",
                    &mebibytes,
                ]);
                // Started by root it wants to be told whom to run as; else it ignores this.
                add(&["-c", &connections, "-u", "root"]);
            }
            Self::Pogocache => {
                add(&[
                    "-h",
                    "127.0.0.1",
                    "-p",
                    &port,
                    "--threads",
                    &threads,
                    "--maxconns",
                    &connections,
                ]);
                add(&["--maxmemory", &memory.to_string()]);
            }
            Self::Roofline => add(&["roofline", "--port", &port]),
        }
        if matches!(self, Self::CacheNode | Self::Valkey | Self::Redis) {
            arguments.push("--dir".into());
            arguments.push(directory.into());
        }
        arguments
    }
}
