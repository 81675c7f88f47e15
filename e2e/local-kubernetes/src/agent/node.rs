//! A virtual node: its Node object, its heartbeats, and a worker for each of its pods.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::{
    Node, NodeAddress, NodeCondition, NodeStatus, NodeSystemInfo, Pod,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference, Time};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::container::program_on_path;
use super::images::Program;
use super::logs::LogStore;
use super::network::Network;
use super::pod::{Message, Worker};
use super::process::{Order, Spawner};
use super::{AgentOptions, NodeSpec};
use crate::clock::Clock;
use crate::controllers::nodes::LEASE_NAMESPACE;
use crate::event_recorder::Recorder;
use crate::moment::whole_second;

/// What the workers of a node share.
pub(super) struct NodeContext {
    pub(super) spec: NodeSpec,
    pub(super) address: Ipv4Addr,
    pub(super) options: Arc<AgentOptions>,
    pub(super) network: Network,
    pub(super) clock: Clock,
    pub(super) recorder: Recorder,
    pub(super) spawner: Spawner,
    pub(super) logs: LogStore,
    /// Where pods ask for names; none when they ask where this machine does.
    pub(super) name_server: Option<Ipv4Addr>,
    /// Namespaces in which a ConfigMap or Secret has changed.
    pub(super) sources: broadcast::Sender<String>,
}

impl NodeContext {
    /// The program and arguments of a command that is run beside a container's process (probe, hook).
    pub(super) fn resolve(
        &self,
        image: &str,
        words: &[String],
        order: &Order,
    ) -> Option<(PathBuf, Vec<String>)> {
        let name = words.first()?;
        let of_image = match self.options.images.program(image, Some(name)) {
            Ok(Program::Path(path)) => Some(path),
            _ => None,
        };
        let program = of_image
            .or_else(|| program_on_path(name, &order.environment))
            .or_else(|| Some(PathBuf::from(name)).filter(|path| path.is_file()))?;
        Some((program, words[1..].to_vec()))
    }
}

fn kubelet() -> PostParams {
    PostParams {
        field_manager: Some("kubelet".into()),
        ..PostParams::default()
    }
}

/// Runs the node until `killed`; then its processes are gone and nothing more is written, as when a machine loses power.
pub(super) async fn run(context: Arc<NodeContext>, killed: CancellationToken) {
    let node = killed
        .run_until_cancelled(Box::pin(register(&context)))
        .await;
    let Some(node) = node else { return };
    let heartbeats = Box::pin(renew(&context, &node));
    tokio::join!(
        killed.run_until_cancelled(heartbeats),
        Box::pin(follow_pods(&context, &killed))
    );
}

/// Writes the Node object, again and again until the server takes it.
async fn register(context: &NodeContext) -> Node {
    loop {
        match try_register(context).await {
            Ok(node) => return node,
            Err(error) => {
                tracing::debug!(%error, node = context.spec.name, "could not register a node");
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
}

async fn try_register(context: &NodeContext) -> Result<Node, kube::Error> {
    let api = Api::<Node>::all(context.options.client.clone());
    let name = &context.spec.name;
    let mut node = match api.get_opt(name).await? {
        Some(node) => node,
        None => {
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                labels: Some(context.spec.labels()),
                ..ObjectMeta::default()
            };
            api.create(
                &kubelet(),
                &Node {
                    metadata,
                    ..Node::default()
                },
            )
            .await?
        }
    };
    beat(context, &node).await?;
    let status = status(context, &node);
    if node.status.as_ref() != Some(&status) {
        node.status = Some(status);
        node = api.replace_status(name, &kubelet(), &node).await?;
    }
    Ok(node)
}

fn status(context: &NodeContext, node: &Node) -> NodeStatus {
    let now = context.clock.now();
    let old = node.status.clone().unwrap_or_default();
    let condition = |type_: &str, status: &str, reason: &str, message: &str| {
        let same = old
            .conditions
            .iter()
            .flatten()
            .find(|before| before.type_ == type_ && before.status == status);
        NodeCondition {
            type_: type_.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_heartbeat_time: Some(Time(whole_second(now))),
            last_transition_time: same
                .and_then(|before| before.last_transition_time.clone())
                .or(Some(Time(whole_second(now)))),
        }
    };
    let address = |type_: &str, address: String| NodeAddress {
        type_: type_.into(),
        address,
    };
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", context.address.to_string()),
            address("Hostname", context.spec.name.clone()),
        ]),
        capacity: Some(context.spec.allocatable()),
        allocatable: Some(context.spec.allocatable()),
        conditions: Some(vec![
            condition(
                "MemoryPressure",
                "False",
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            condition(
                "DiskPressure",
                "False",
                "KubeletHasNoDiskPressure",
                "kubelet has no disk pressure",
            ),
            condition(
                "PIDPressure",
                "False",
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            condition(
                "Ready",
                "True",
                "KubeletReady",
                "kubelet is posting ready status",
            ),
        ]),
        node_info: Some(NodeSystemInfo {
            architecture: architecture().into(),
            operating_system: "linux".into(),
            os_image: "processes of this machine".into(),
            kubelet_version: "v1.36.2".into(),
            container_runtime_version: "local://0.1.0".into(),
            ..NodeSystemInfo::default()
        }),
        ..old
    }
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

impl NodeSpec {
    fn labels(&self) -> BTreeMap<String, String> {
        let pairs = [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", architecture()),
            ("topology.kubernetes.io/region", "local"),
            ("topology.kubernetes.io/zone", self.zone.as_str()),
        ];
        let own = pairs
            .into_iter()
            .map(|(key, value)| (key.to_string(), value.to_string()));
        own.chain(self.labels.clone()).collect()
    }

    /// What the node can give to pods.
    pub(super) fn allocatable(&self) -> BTreeMap<String, Quantity> {
        [
            ("cpu", &self.cpu),
            ("memory", &self.memory),
            ("pods", &self.pods),
        ]
        .into_iter()
        .map(|(name, amount)| (name.to_string(), Quantity(amount.clone())))
        .collect()
    }
}

/// Writes the node's Lease.
async fn beat(context: &NodeContext, node: &Node) -> Result<(), kube::Error> {
    let api = Api::<Lease>::namespaced(context.options.client.clone(), LEASE_NAMESPACE);
    let name = &context.spec.name;
    let now = Some(MicroTime(context.clock.now()));
    match api.get_opt(name).await? {
        Some(mut lease) => {
            lease.spec.get_or_insert_default().renew_time = now;
            api.replace(name, &kubelet(), &lease).await?;
        }
        None => {
            let owner = OwnerReference {
                api_version: "v1".into(),
                kind: "Node".into(),
                name: name.clone(),
                uid: node.uid().unwrap_or_default(),
                ..OwnerReference::default()
            };
            let metadata = ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(LEASE_NAMESPACE.into()),
                owner_references: Some(vec![owner]),
                ..ObjectMeta::default()
            };
            let seconds = i32::try_from(context.options.lease_renewal.as_secs().saturating_mul(4))
                .unwrap_or(40)
                .max(1);
            let spec = LeaseSpec {
                holder_identity: Some(name.clone()),
                lease_duration_seconds: Some(seconds),
                renew_time: now,
                ..LeaseSpec::default()
            };
            api.create(
                &kubelet(),
                &Lease {
                    metadata,
                    spec: Some(spec),
                },
            )
            .await?;
        }
    }
    Ok(())
}

async fn renew(context: &NodeContext, node: &Node) {
    loop {
        tokio::time::sleep(context.options.lease_renewal).await;
        if let Err(error) = beat(context, node).await {
            tracing::debug!(%error, node = context.spec.name, "missed a heartbeat");
        }
        // A controller that thought the node lost wrote so; a living node contradicts.
        let api = Api::<Node>::all(context.options.client.clone());
        if let Ok(Some(seen)) = api.get_opt(&context.spec.name).await
            && crate::controllers::nodes::health::readiness(&seen) != "True"
            && let Err(error) = try_register(context).await
        {
            tracing::debug!(%error, node = context.spec.name, "could not report a node ready");
        }
    }
}

/// The workers of the node's pods, by uid.
#[derive(Default)]
struct Workers {
    senders: HashMap<String, (String, mpsc::Sender<Message>)>,
    tasks: JoinSet<String>,
}

impl Workers {
    async fn see(&mut self, context: &Arc<NodeContext>, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        if let Some((_, worker)) = self.senders.get(&uid) {
            // A worker that has just finished wants no news.
            drop(worker.send(Message::Changed(Box::new(pod))).await);
            return;
        }
        let (sender, inbox) = mpsc::channel(256);
        self.senders.insert(
            uid.clone(),
            (pod.namespace().unwrap_or_default(), sender.clone()),
        );
        let worker = Worker::new(context.clone(), pod, sender, inbox);
        self.tasks.spawn(async move {
            worker.run().await;
            uid
        });
    }

    async fn lose(&self, uid: &str) {
        if let Some((_, worker)) = self.senders.get(uid) {
            drop(worker.send(Message::Gone).await);
        }
    }
}

/// Gives every pod of the node a worker until the node is killed; then the workers go, and with them their processes.
async fn follow_pods(context: &Arc<NodeContext>, killed: &CancellationToken) {
    let mine = watcher::Config::default().fields(&format!("spec.nodeName={}", context.spec.name));
    let mut events = watcher(Api::<Pod>::all(context.options.client.clone()), mine)
        .default_backoff()
        .boxed();
    let mut workers = Workers::default();
    let mut listed: Vec<String> = Vec::new();
    let mut sources = context.sources.subscribe();
    loop {
        tokio::select! {
            () = killed.cancelled() => break,
            event = events.next() => match event {
                None => break,
                Some(Err(error)) => tracing::debug!(%error, node = context.spec.name, "watching pods failed"),
                Some(Ok(watcher::Event::Init)) => listed.clear(),
                Some(Ok(watcher::Event::InitApply(pod))) => {
                    listed.push(pod.uid().unwrap_or_default());
                    workers.see(context, pod).await;
                }
                Some(Ok(watcher::Event::InitDone)) => {
                    let gone: Vec<_> = workers.senders.keys().filter(|uid| !listed.contains(uid)).cloned().collect();
                    for uid in gone {
                        workers.lose(&uid).await;
                    }
                }
                Some(Ok(watcher::Event::Apply(pod))) => workers.see(context, pod).await,
                Some(Ok(watcher::Event::Delete(pod))) => workers.lose(&pod.uid().unwrap_or_default()).await,
            },
            Some(done) = workers.tasks.join_next() => match done {
                Ok(uid) => drop(workers.senders.remove(&uid)),
                Err(error) => tracing::error!(%error, node = context.spec.name, "a pod's worker failed"),
            },
            changed = sources.recv() => {
                let namespace = changed.ok();
                // None: too many changes to name them, so everybody looks.
                for (of, worker) in workers.senders.values().filter(|(of, _)| namespace.as_ref().is_none_or(|changed| changed == of)) {
                    tracing::trace!(namespace = of, "volumes may have changed");
                    drop(worker.try_send(Message::SourceChanged));
                }
            }
        }
    }
    workers.tasks.shutdown().await;
}
