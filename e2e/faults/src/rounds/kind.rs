//! What is done in a round.

use clap::ValueEnum;
use serde::Serialize;

/// What is done in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// SIGKILL of a primary
    Kill,
    /// SIGKILL of a primary, which is started again at once, without its data; replicas must keep theirs
    Empty,
    /// SIGTERM of a primary, which hands over first
    Terminate,
    /// CLUSTER FAILOVER at a replica
    Failover,
    /// All packets between a primary and everybody else are lost, clients included
    Silence,
    /// SIGSTOP of a primary
    Stop,
    /// SIGKILL of all nodes, which come back at other addresses with their append-only files
    Addresses,
}

impl Kind {
    /// What can be done to a cluster of the operator: its pods have no volumes, so that all that restart at once would be others.
    pub const OPERATED: [Self; 5] = [
        Self::Kill,
        Self::Terminate,
        Self::Failover,
        Self::Silence,
        Self::Stop,
    ];

    /// As it is called in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL of a primary",
            Self::Empty => "restart of a primary without its data",
            Self::Terminate => "SIGTERM of a primary",
            Self::Failover => "`CLUSTER FAILOVER`",
            Self::Silence => "silent partition of a primary",
            Self::Stop => "SIGSTOP of a primary",
            Self::Addresses => "restart of all nodes at other addresses",
        }
    }
}
