//! The operator against the local Kubernetes, with pods that are ready at once and a model in place of their nodes.
//! The same with real nodes is an end-to-end test.

#![allow(clippy::unwrap_used, reason = "helpers of tests may fail as tests do")]

#[path = "support/model.rs"]
mod model;

use std::sync::Arc;
use std::time::Duration;

use cache_operator::api::{CacheCluster, CacheClusterStatus, Phase};
use cache_operator::lease::Tenure;
use cache_operator::metrics::Metrics;
use cache_operator::witness::Witnesses;
use cache_operator::{controller, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, CustomResourceExt, ResourceExt};
use local_kubernetes::agent::images::ImageTable;
use local_kubernetes::agent::{self, AgentHandle, AgentOptions};
use local_kubernetes::{Options, Server, User, controllers};
use model::Model;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const OPERATOR: &str = "operator";
const LONG: Duration = Duration::from_secs(60);

struct World {
    server: Server,
    client: Client,
    model: Arc<Model>,
    stop: CancellationToken,
    agent: AgentHandle,
    _directory: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let server = Server::new(Options::default());
        let client = server.client("admin");
        install_crd(&client).await;
        let stop = CancellationToken::new();
        let manager = server.client("system:kube-controller-manager");
        tokio::spawn(controllers::run(
            manager,
            controllers::Options::default(),
            stop.clone(),
        ));
        let directory = tempfile::tempdir().unwrap();
        let agent_client = server.client("admin");
        let agent = agent::start(AgentOptions::new(
            agent_client,
            directory.path(),
            ImageTable::hollow(),
        ))
        .unwrap();
        let model = Arc::new(Model::default());
        Self {
            server,
            client,
            model,
            stop,
            agent,
            _directory: directory,
        }
    }

    fn start_operator(&self) -> CancellationToken {
        let stop = self.stop.child_token();
        let client = self.server.client(operator_user());
        let (model, until) = (self.model.clone(), stop.clone());
        // As in the program, passes run on the runtime's own thread.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let metrics = Arc::new(Metrics::new().unwrap());
            let shutdown = until.cancelled_owned();
            let tenure = Tenure::until(Instant::now());
            let witnesses = Witnesses::new(client.clone(), None, tenure, metrics.clone());
            runtime.block_on(controller::run(
                client, None, model, witnesses, metrics, shutdown,
            ));
        });
        stop
    }

    fn clusters(&self) -> Api<CacheCluster> {
        Api::namespaced(self.client.clone(), "default")
    }

    async fn status(&self) -> CacheClusterStatus {
        self.clusters()
            .get("a")
            .await
            .unwrap()
            .status
            .unwrap_or_default()
    }

    async fn scale(&self, shards: i32) {
        let patch = Patch::Merge(json!({"spec": {"shards": shards}}));
        self.clusters()
            .patch("a", &PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits for the phase, telling the model meanwhile where pods are, as the pods' own nodes would.
    async fn until_ready(&self, shards: i32) {
        let ready = async {
            loop {
                self.place_pods().await;
                let status = self.status().await;
                if status.phase == Phase::Ready && status.shards == shards {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(LONG, ready).await.is_err() {
            panic!("not ready: {:#?}", self.status().await);
        }
    }

    async fn place_pods(&self) {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), "default");
        for pod in pods.list(&ListParams::default()).await.unwrap() {
            if let Some(ip) = pod
                .status
                .as_ref()
                .and_then(|status| status.pod_ip.as_ref())
            {
                self.model.place(ip, &pod.name_any());
            }
        }
    }

    async fn count<K>(&self) -> usize
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), "default");
        let ours = ListParams::default().labels(names::CLUSTER_LABEL);
        api.list(&ours).await.unwrap().items.len()
    }

    async fn end(self) {
        self.stop.cancel();
        self.agent.shutdown().await;
    }
}

async fn install_crd(client: &Client) {
    let api: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crd = api
        .create(&PostParams::default(), &CacheCluster::crd())
        .await
        .unwrap();
    let name = crd.name_any();
    let established = await_condition(api, &name, conditions::is_crd_established());
    timeout(LONG, established).await.unwrap().unwrap();
}

fn operator_user() -> User {
    User {
        name: OPERATOR.to_owned(),
        ..User::admin()
    }
}

fn cluster(shards: i32) -> CacheCluster {
    let object = json!({"apiVersion": "cache.evenkeel.dev/v1alpha1", "kind": "CacheCluster",
        "metadata": {"name": "a"}, "spec": {"shards": shards}});
    serde_json::from_value(object).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_formed_scaled_left_alone_and_deleted() {
    let world = World::new().await;
    let operator = world.start_operator();
    world
        .clusters()
        .create(&PostParams::default(), &cluster(3))
        .await
        .unwrap();
    world.until_ready(3).await;
    assert_eq!(
        world.model.slots().values().copied().collect::<Vec<_>>(),
        [5462, 5461, 5461]
    );
    assert_eq!(world.count::<StatefulSet>().await, 3);
    assert_eq!(world.count::<PodDisruptionBudget>().await, 3);
    assert_eq!(world.count::<Service>().await, 2);
    assert_eq!(world.count::<ConfigMap>().await, 1);
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), "default");
    let ours = ListParams::default().labels(names::CLUSTER_LABEL);
    let first = secrets.list(&ours).await.unwrap().items;
    assert_eq!(first.len(), 1);

    world.scale(5).await;
    world.until_ready(5).await;
    assert_eq!(world.model.slots().len(), 5);

    // The operator is killed in the middle of a scale-in; the next one goes on.
    world.scale(3).await;
    operator.cancel();
    let _operator = world.start_operator();
    world.until_ready(3).await;
    assert_eq!(world.count::<StatefulSet>().await, 3);
    assert_eq!(world.model.slots().values().sum::<u32>(), 16_384);

    // Another operator and other shards: the nodes' secret is still the first.
    let now = secrets.list(&ours).await.unwrap().items;
    assert_eq!((now.len(), &now[0].data), (1, &first[0].data));

    // Nothing changes, so nothing is written.
    sleep(Duration::from_secs(2)).await;
    let writes = || world.server.audit().writes().get(OPERATOR).copied();
    let before = writes();
    sleep(Duration::from_secs(3)).await;
    assert!(before.is_some());
    assert_eq!(writes(), before);

    world
        .clusters()
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();
    let gone = async {
        while world.clusters().get_opt("a").await.unwrap().is_some()
            || world.count::<Pod>().await > 0
            || world.count::<Secret>().await > 0
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, gone).await.unwrap();
    assert_eq!(world.count::<StatefulSet>().await, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_cluster_is_not_touched() {
    let world = World::new().await;
    let _operator = world.start_operator();
    let mut paused = cluster(3);
    paused.spec.paused = true;
    world
        .clusters()
        .create(&PostParams::default(), &paused)
        .await
        .unwrap();
    let told = async {
        while world.status().await.phase != Phase::Paused {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LONG, told).await.unwrap();
    assert_eq!(world.count::<StatefulSet>().await, 0);
    world.end().await;
}
