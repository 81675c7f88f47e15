//! What all measurements of one run share: settings, servers, places, draws of keys. Owns the progress messages.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;

use crate::generator::encode::Requests;
use crate::generator::keys::{self, Distribution, Keys};
use crate::generator::{self, Load, Measured, Outcome, Pace};
use crate::plan::Filter;
use crate::servers::discovery::Installed;
use crate::servers::process::{Extra, Place, Running};
use crate::servers::{Kind, Needs};

/// Pipeline with which data is loaded.
const LOADING_PIPELINE: usize = 128;

/// One run of the program.
pub struct Session {
    /// Servers that are measured.
    pub servers: Vec<Installed>,
    /// Where they run.
    pub place: Place,
    /// Which measurements are made.
    pub filter: Filter,
    /// Keys that data sets hold.
    pub keys: u64,
    /// Connections of the load.
    pub connections: usize,
    /// Rounds of which medians are taken.
    pub rounds: usize,
    /// Time that is measured in each round.
    pub measured: Measured,
    draws: Mutex<HashMap<u64, Arc<[u32]>>>,
}

impl Session {
    /// A run with these settings.
    pub fn new(servers: Vec<Installed>, place: Place, filter: Filter, settings: Settings) -> Self {
        Self {
            servers,
            place,
            filter,
            keys: settings.keys,
            connections: settings.connections,
            rounds: settings.rounds,
            measured: Measured {
                warm_up: (settings.length / 4).min(Duration::from_millis(500)),
                length: settings.length,
            },
            draws: Mutex::default(),
        }
    }

    /// Threads of the generator: one for each of its cores.
    pub fn threads(&self) -> usize {
        self.place.generator_cores.count()
    }

    /// The server that the others are compared with: Valkey, or Redis without it.
    pub fn reference(&self) -> Option<Kind> {
        let has = |kind: &Kind| self.servers.iter().any(|installed| installed.kind == *kind);
        [Kind::Valkey, Kind::Redis].into_iter().find(has)
    }

    /// Starts a server with one thread.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(&self, installed: &Installed) -> Result<Running> {
        Running::start(installed, &self.place, Needs::default())
    }

    /// Starts a server with one thread and something more.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start_with(&self, installed: &Installed, extra: &Extra) -> Result<Running> {
        Running::start_with(installed, &self.place, Needs::default(), extra)
    }

    /// Names that the filter lets through.
    pub fn chosen(&self, names: Vec<String>) -> Vec<String> {
        names
            .into_iter()
            .filter(|name| self.filter.takes(name))
            .collect()
    }

    /// Servers that keep what is stored.
    pub fn stores(&self) -> impl Iterator<Item = &Installed> {
        self.servers
            .iter()
            .filter(|installed| installed.kind.stores())
    }

    /// Keys of a distribution over `count` keys.
    pub fn choose(&self, distribution: Distribution, count: u64) -> Keys {
        match distribution {
            Distribution::Uniform => Keys::uniform(count),
            Distribution::Zipf => {
                let mut draws = self.draws.lock().unwrap_or_else(PoisonError::into_inner);
                let draw = || keys::zipf_draws(u32::try_from(count).unwrap_or(u32::MAX));
                Keys::drawn(Arc::clone(draws.entry(count).or_insert_with(draw)))
            }
        }
    }

    /// Drives a server with one stream of requests for each thread.
    ///
    /// # Errors
    /// As `generator::run`.
    pub fn drive(
        &self,
        server: &Running,
        pipeline: usize,
        pace: Pace,
        streams: Vec<Requests>,
    ) -> Result<Outcome> {
        let load = Load {
            address: server.address,
            process: server.process(),
            connections: self.connections,
            pipeline,
            pace,
            cores: self.place.server_cores.union(&self.place.generator_cores),
        };
        generator::run(&load, streams, &self.place.generator_cores)
    }

    /// Sends all requests of a finite stream.
    ///
    /// # Errors
    /// As `generator::run`.
    pub fn load(&self, server: &Running, requests: Requests) -> Result<()> {
        self.drive(server, LOADING_PIPELINE, Pace::UntilDone, vec![requests])
            .map(drop)
    }
}

/// What the user chose.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Keys that data sets hold.
    pub keys: u64,
    /// Connections of the load.
    pub connections: usize,
    /// Rounds of which medians are taken.
    pub rounds: usize,
    /// Time that is measured in each round.
    pub length: Duration,
}

/// Why there is no figure for a command that a server does not have.
pub const NO_COMMAND: &str = "does not have the command";

/// A reason in a line.
pub fn reason(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let lower = text.to_lowercase();
    if lower.contains("unknown command") || lower.contains("unknown subcommand") {
        return NO_COMMAND.to_owned();
    }
    text.lines().next().unwrap_or_default().to_owned()
}
