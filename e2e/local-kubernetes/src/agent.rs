//! The node agent: virtual nodes whose pods are real processes on loopback addresses of their own.
//!
//! An ordinary client of the API, as a kubelet is. Decisions are pure (`machine`, `status`, `environment`, `mounts`,
//! `volumes`, `resolv_conf`, `backoff`); `pod`, `container`, `process` and `node` carry them out. No process outlives the agent, however
//! the agent ends.

pub mod backoff;
mod container;
pub mod credentials;
pub mod dns;
pub mod environment;
mod guardian;
pub mod images;
pub mod logs;
pub mod machine;
pub mod mounts;
pub mod namespace;
pub mod network;
mod node;
mod pod;
pub mod prober;
pub mod process;
pub mod proxy;
pub mod resolv_conf;
mod resolver;
pub mod status;
pub mod volumes;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::select;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::backoff::BackoffPolicy;
use self::credentials::ApiServer;
use self::images::ImageTable;
use self::logs::LogStore;
use self::network::Network;
use self::node::NodeContext;
use self::process::Spawner;
use crate::clock::Clock;
use crate::event_recorder::Recorder;

/// A virtual node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name, also its host name.
    pub name: String,
    /// Its `topology.kubernetes.io/zone`.
    pub zone: String,
    /// Labels beyond the usual ones.
    pub labels: BTreeMap<String, String>,
    /// How much CPU it says it has.
    pub cpu: String,
    /// How much memory it says it has.
    pub memory: String,
    /// How many pods it takes.
    pub pods: String,
}

impl NodeSpec {
    /// `node1`, `node2`, ... each in a zone of its own up to three (`zone-a`, `zone-b`, `zone-c`, `zone-a`, ...).
    #[must_use]
    pub fn numbered(count: usize) -> Vec<Self> {
        let zones = ["zone-a", "zone-b", "zone-c"];
        let node = |index: usize| Self {
            name: format!("node{}", index + 1),
            zone: zones[index % zones.len()].into(),
            labels: BTreeMap::new(),
            cpu: "8".into(),
            memory: "16Gi".into(),
            pods: "110".into(),
        };
        (0..count).map(node).collect()
    }
}

/// How an agent is set up.
#[derive(Clone)]
pub struct AgentOptions {
    /// Speaks to the API server as somebody who may do what kubelets do.
    pub client: Client,
    /// Its nodes.
    pub nodes: Vec<NodeSpec>,
    /// Where pods have their volumes and logs.
    pub dir: PathBuf,
    /// What images stand for.
    pub images: ImageTable,
    /// Where processes find the API server; without it they get no kubeconfig.
    pub api_server: Option<ApiServer>,
    /// How often nodes renew their Leases.
    pub lease_renewal: Duration,
    /// Delays of restarts.
    pub backoff: BackoffPolicy,
    /// Whether cluster IPs on loopback are forwarded to endpoints.
    pub proxy: bool,
}

impl AgentOptions {
    /// The usual options: three nodes, Kubernetes's restart delays, a heartbeat every five seconds, forwarding on.
    #[must_use]
    pub fn new(client: Client, dir: impl Into<PathBuf>, images: ImageTable) -> Self {
        Self {
            client,
            nodes: NodeSpec::numbered(3),
            dir: dir.into(),
            images,
            api_server: None,
            lease_renewal: Duration::from_secs(5),
            backoff: BackoffPolicy::default(),
            proxy: true,
        }
    }
}

struct Running {
    killed: CancellationToken,
    task: JoinHandle<()>,
}

/// The handle of a running agent.
pub struct AgentHandle {
    contexts: BTreeMap<String, Arc<NodeContext>>,
    running: Mutex<BTreeMap<String, Running>>,
    logs: LogStore,
    network: Network,
    name_server: Option<Ipv4Addr>,
    stop: CancellationToken,
    helpers: Vec<JoinHandle<()>>,
    client: Client,
}

/// There is no such node.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The agent has no node of that name.
    #[error("no node {0}")]
    NoNode(String),
    /// The API server refused.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

/// Starts an agent's nodes.
///
/// # Errors
/// No loopback network is free, the directory cannot be made, or no thread can be started.
pub fn start(options: AgentOptions) -> std::io::Result<AgentHandle> {
    let network = Network::claim()?;
    start_on(options, network)
}

/// Starts an agent's nodes on a network that was claimed before.
///
/// # Errors
/// The directory cannot be made, or no thread can be started.
pub fn start_on(mut options: AgentOptions, network: Network) -> std::io::Result<AgentHandle> {
    std::fs::create_dir_all(&options.dir)?;
    options.dir = options.dir.canonicalize()?;
    let clock = Clock::start();
    let logs = LogStore::new(options.dir.join("logs"), clock.clone());
    let spawner = Spawner::start()?;
    let client = options.client.clone();
    let options = Arc::new(options);
    let (sources, _) = broadcast::channel(256);
    let stop = CancellationToken::new();
    let names = resolver::name_server(&network);
    let name_server = names.as_ref().map(|_| network.name_server());
    let mut contexts = BTreeMap::new();
    for (index, spec) in options.nodes.iter().enumerate() {
        let context = NodeContext {
            spec: spec.clone(),
            address: network.node(index),
            options: options.clone(),
            network: network.clone(),
            clock: clock.clone(),
            recorder: Recorder::new(
                client.clone(),
                clock.clone(),
                "kubelet",
                Some(spec.name.clone()),
            ),
            spawner: spawner.clone(),
            logs: logs.clone(),
            name_server,
            sources: sources.clone(),
        };
        contexts.insert(spec.name.clone(), Arc::new(context));
    }
    let mut helpers = vec![tokio::spawn(announce_sources(client.clone(), sources))];
    if options.proxy {
        helpers.push(tokio::spawn(proxy::run(client.clone(), stop.clone())));
    }
    if let Some(names) = names {
        helpers.push(tokio::spawn(names.run(client.clone(), stop.clone())));
    }
    let handle = AgentHandle {
        contexts,
        running: Mutex::default(),
        logs,
        network,
        name_server,
        stop,
        helpers,
        client,
    };
    for name in handle.contexts.keys() {
        handle.launch(name);
    }
    Ok(handle)
}

/// Starts an agent and runs it until `shutdown`.
///
/// # Errors
/// As [`start`].
pub async fn run(options: AgentOptions, shutdown: CancellationToken) -> std::io::Result<()> {
    let handle = start(options)?;
    shutdown.cancelled().await;
    handle.shutdown().await;
    Ok(())
}

/// Tells workers about ConfigMaps and Secrets that have changed.
async fn announce_sources(client: Client, sources: broadcast::Sender<String>) {
    let maps = watcher(
        Api::<ConfigMap>::all(client.clone()),
        watcher::Config::default(),
    )
    .default_backoff()
    .applied_objects();
    let secrets = watcher(Api::<Secret>::all(client), watcher::Config::default())
        .default_backoff()
        .applied_objects();
    let maps = maps.filter_map(|map| async move { map.ok()?.namespace() });
    let secrets = secrets.filter_map(|secret| async move { secret.ok()?.namespace() });
    let mut changed = select(maps.boxed(), secrets.boxed());
    while let Some(namespace) = changed.next().await {
        // Nobody listens while no node runs.
        drop(sources.send(namespace));
    }
}

impl AgentHandle {
    fn launch(&self, name: &str) {
        let Some(context) = self.contexts.get(name) else {
            return;
        };
        let killed = CancellationToken::new();
        let task = tokio::spawn(node::run(context.clone(), killed.clone()));
        self.running
            .lock()
            .insert(name.to_string(), Running { killed, task });
    }

    /// Cuts a node's power: its processes are killed and it falls silent. Returns when they are gone.
    ///
    /// # Errors
    /// There is no such node.
    pub async fn kill_node(&self, name: &str) -> Result<(), AgentError> {
        if !self.contexts.contains_key(name) {
            return Err(AgentError::NoNode(name.into()));
        }
        let running = self.running.lock().remove(name);
        if let Some(running) = running {
            end(running).await;
        }
        Ok(())
    }

    /// Starts a node that was killed: it reports ready and its pods' containers start again.
    ///
    /// # Errors
    /// There is no such node.
    pub fn restart_node(&self, name: &str) -> Result<(), AgentError> {
        if !self.contexts.contains_key(name) {
            return Err(AgentError::NoNode(name.into()));
        }
        if !self.running.lock().contains_key(name) {
            self.launch(name);
        }
        Ok(())
    }

    /// Marks a node unschedulable, or schedulable again.
    ///
    /// # Errors
    /// There is no such node, or the API server refused.
    pub async fn cordon(&self, name: &str, unschedulable: bool) -> Result<(), AgentError> {
        let nodes = Api::<k8s_openapi::api::core::v1::Node>::all(self.client.clone());
        if unschedulable {
            nodes.cordon(name).await?
        } else {
            nodes.uncordon(name).await?
        };
        Ok(())
    }

    /// The logs of its containers, to be registered with the server.
    #[must_use]
    pub fn logs(&self) -> LogStore {
        self.logs.clone()
    }

    /// The loopback network of its nodes and pods.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Where pods ask for names; none when this process may not give them a name server (see [`namespace`] and [`dns`]).
    #[must_use]
    pub fn name_server(&self) -> Option<Ipv4Addr> {
        self.name_server
    }

    /// Kills all processes and stops all nodes, within a bounded time.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let running: Vec<_> = std::mem::take(&mut *self.running.lock())
            .into_values()
            .collect();
        for node in &running {
            node.killed.cancel();
        }
        for node in running {
            end(node).await;
        }
        for helper in self.helpers {
            helper.abort();
        }
    }
}

async fn end(mut node: Running) {
    node.killed.cancel();
    if tokio::time::timeout(Duration::from_secs(5), &mut node.task)
        .await
        .is_err()
    {
        node.task.abort();
    }
}
