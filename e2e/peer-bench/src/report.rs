//! All figures of a run, and their forms: tables, JSON, a chart. Measures nothing.

pub mod chart;
pub mod charts;
pub mod speed_tables;
pub mod table;
pub mod tables;

use serde::Serialize;

use crate::cpu;
use crate::figures::{CrossCheck, Entry, Footprint, Growth, HalfLoad, Speed, Workers};
use crate::servers::Kind;
use crate::servers::discovery::Installed;
use crate::session::Session;

/// The figures of a run. As JSON it is what `--json` writes.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What it ran on.
    pub machine: Machine,
    /// What it was told to do.
    pub settings: Settings,
    /// Servers that were measured.
    pub servers: Vec<Installed>,
    /// Servers that were not found.
    pub missing: Vec<Kind>,
    /// The server that others are compared with.
    pub reference: Option<Kind>,
    /// Speed under full load.
    pub speed: Vec<Entry<Speed>>,
    /// Latency at half load.
    pub half_load: Vec<Entry<HalfLoad>>,
    /// Latency while keys grow the table and expire.
    pub growth: Vec<Entry<Growth>>,
    /// Bytes a key.
    pub memory: Vec<Entry<Footprint>>,
    /// Bytes of collections.
    pub collections: Vec<Entry<Footprint>>,
    /// Bytes of idle connections.
    pub connections: Vec<Entry<Footprint>>,
    /// Two workers against one.
    pub workers: Vec<Entry<Workers>>,
    /// Speed under another generator.
    pub cross_check: Vec<Entry<CrossCheck>>,
}

/// What a run ran on.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Name of the processor.
    pub processor: String,
    /// Release of the kernel.
    pub kernel: String,
    /// Cores of the server.
    pub server_cores: String,
    /// Cores of the generator.
    pub generator_cores: String,
}

/// What a run was told to do.
#[derive(Debug, Serialize)]
pub struct Settings {
    /// Keys of the data sets.
    pub keys: u64,
    /// Connections of the load.
    pub connections: usize,
    /// Rounds of which medians were taken.
    pub rounds: usize,
    /// Measured seconds of each round.
    pub seconds: f64,
}

impl Report {
    /// A report without figures.
    pub fn new(session: &Session, missing: Vec<Kind>) -> Self {
        Self {
            machine: Machine {
                processor: cpu::processor(),
                kernel: cpu::kernel(),
                server_cores: session.place.server_cores.to_string(),
                generator_cores: session.place.generator_cores.to_string(),
            },
            settings: Settings {
                keys: session.keys,
                connections: session.connections,
                rounds: session.rounds,
                seconds: session.measured.length.as_secs_f64(),
            },
            servers: session.servers.clone(),
            missing,
            reference: session.reference(),
            speed: Vec::new(),
            half_load: Vec::new(),
            growth: Vec::new(),
            memory: Vec::new(),
            collections: Vec::new(),
            connections: Vec::new(),
            workers: Vec::new(),
            cross_check: Vec::new(),
        }
    }
}
