//! What a [`Node`] gives the bus: its settings at the start, its state at every heartbeat.

use std::net::IpAddr;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{Cluster, ClusterConfig, Driver, DriverError, Local, Secret, SecretError, View};
use crate::bus::LocalStatus;
use crate::config::Settings;
use crate::node::Node;
use crate::topology::{Address, NodeId};

/// The cluster side of a process, and the driver to [`run`] in cluster mode.
///
/// # Errors
///
/// As [`Cluster::open`], and when there is no telling the secret.
pub fn open(settings: &Settings) -> Result<(Cluster, Option<Driver>), DriverError> {
    if settings.cluster_enabled {
        let config = ClusterConfig::of(settings)?;
        if config.secret.is_none() {
            tracing::warn!(
                port = config.bus_port,
                "whoever reaches the cluster bus's port can speak there: there is no cluster-secret"
            );
        }
        let (cluster, driver) = Cluster::open(config)?;
        return Ok((cluster, Some(driver)));
    }
    let view = View::standalone(NodeId::random(), rand::random(), announced(settings));
    Ok((Cluster::detached(view), None))
}

/// Runs the bus as long as the process lives; when it cannot go on, neither can the process.
///
/// # Errors
///
/// As [`Driver::run`].
pub async fn run(driver: Driver, node: Arc<Node>) -> Result<(), DriverError> {
    let ended = driver.run(node, CancellationToken::new()).await;
    if let Err(error) = &ended {
        tracing::error!(%error, "shutting down: the cluster bus has ended");
    }
    ended
}

impl ClusterConfig {
    /// What the settings say.
    ///
    /// # Errors
    ///
    /// When there is no telling the secret.
    pub fn of(settings: &Settings) -> Result<Self, SecretError> {
        Ok(Self {
            dir: settings.dir.clone(),
            bind: settings.bind.clone(),
            bus_port: settings.bus_port(),
            address: announced(settings),
            node_timeout: settings.cluster_node_timeout,
            secret: Secret::of(settings)?,
        })
    }
}

/// Where clients and other nodes find this one: what `cluster-announce-*` says, or else where it listens.
pub fn announced(settings: &Settings) -> Address {
    let or = |announced: u16, real: u16| if announced == 0 { real } else { announced };
    let ip = if settings.cluster_announce_ip.is_empty() {
        let specific = settings.bind.iter().find(|ip| !ip.is_unspecified());
        specific
            .copied()
            .unwrap_or(IpAddr::from([127, 0, 0, 1]))
            .to_string()
    } else {
        settings.cluster_announce_ip.clone()
    };
    Address {
        ip,
        port: or(settings.cluster_announce_port, settings.port),
        bus_port: or(settings.cluster_announce_bus_port, settings.bus_port()),
        hostname: settings.cluster_announce_hostname.clone(),
    }
}

impl Local for Node {
    fn status(&self) -> LocalStatus {
        let keys = self.store.count_keys(|_| true);
        let shown = if keys == 0 { 0 } else { self.count_keys() };
        let replica = self.is_replica();
        LocalStatus {
            offset: if replica {
                self.replication.applied()
            } else {
                self.log.end()
            },
            keys: keys as u64,
            stray_keys: keys.saturating_sub(shown) as u64,
            healthy: !(replica && self.replication.is_incomplete()),
            loaded: self.replication.loaded(),
            synchronous: self.synchronous() as u8,
            copied: self.replication.copied(self),
        }
    }
}
