//! A whole local cluster in one call: server, controllers and node agent, and an orderly end of all three.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::agent::backoff::BackoffPolicy;
use crate::agent::credentials::ApiServer;
use crate::agent::images::ImageTable;
use crate::agent::network::Network;
use crate::agent::{self, AgentHandle, AgentOptions, NodeSpec};
use crate::controllers;
use crate::server::{self, Server};
use crate::user::User;

/// How long the controllers may take to stop.
const STOP: Duration = Duration::from_secs(5);

/// How a cluster is set up.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The API server.
    pub server: server::Options,
    /// The controllers. `root_ca` is filled in when the server is served over TLS.
    pub controllers: controllers::Options,
    /// The nodes.
    pub nodes: Vec<NodeSpec>,
    /// Where pods have their volumes and logs.
    pub dir: PathBuf,
    /// What images stand for.
    pub images: ImageTable,
    /// How often nodes renew their Leases.
    pub lease_renewal: Duration,
    /// Delays of restarts.
    pub backoff: BackoffPolicy,
    /// The loopback network of nodes, pods and Services; a free one is claimed when it is not given.
    pub network: Option<Network>,
    /// Where processes find the API server, when it is served to them.
    pub api_server: Option<ApiServer>,
}

impl ClusterOptions {
    /// Three nodes, Kubernetes's timings, files below `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, images: ImageTable) -> Self {
        Self {
            server: server::Options::default(),
            controllers: controllers::Options::default(),
            nodes: NodeSpec::numbered(3),
            dir: dir.into(),
            images,
            lease_renewal: Duration::from_secs(5),
            backoff: BackoffPolicy::default(),
            network: None,
            api_server: None,
        }
    }
}

/// A running cluster.
pub struct LocalCluster {
    server: Server,
    agent: AgentHandle,
    controllers: JoinHandle<()>,
    stop: CancellationToken,
}

/// Starts a server with controllers and nodes.
///
/// # Errors
/// The node agent could not start.
pub fn start(mut options: ClusterOptions) -> std::io::Result<LocalCluster> {
    let network = options.network.take().map_or_else(Network::claim, Ok)?;
    options.server.services = network.services();
    options.network = Some(network);
    let server = Server::new(options.server);
    start_with(server, options)
}

/// Starts controllers and nodes for a server that is there already (and may be served over TLS). For Services to be
/// reachable at their cluster addresses, the server's `services` and `network` must be of the same [`Network`].
///
/// # Errors
/// The node agent could not start.
pub fn start_with(server: Server, options: ClusterOptions) -> std::io::Result<LocalCluster> {
    let stop = CancellationToken::new();
    let network = options.network.map_or_else(Network::claim, Ok)?;
    let setup = AgentOptions {
        nodes: options.nodes,
        api_server: options.api_server,
        lease_renewal: options.lease_renewal,
        backoff: options.backoff,
        ..AgentOptions::new(
            server.client(User::component("kubelet")),
            options.dir,
            options.images,
        )
    };
    let agent = agent::start_on(setup, network)?;
    server.set_log_source(Arc::new(agent.logs()));
    let client = server.client(User::component("kube-controller-manager"));
    let controllers = tokio::spawn(controllers::run(client, options.controllers, stop.clone()));
    Ok(LocalCluster {
        server,
        agent,
        controllers,
        stop,
    })
}

impl LocalCluster {
    /// An in-process client that may do everything.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.server.client(User::admin())
    }

    /// The API server.
    #[must_use]
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The nodes.
    #[must_use]
    pub fn agent(&self) -> &AgentHandle {
        &self.agent
    }

    /// Stops controllers and nodes within a bounded time; no process is left.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.agent.shutdown().await;
        let stop = self.controllers.abort_handle();
        if tokio::time::timeout(STOP, self.controllers).await.is_err() {
            stop.abort();
        }
    }
}
