//! The shared Kubernetes, and a namespace of its own for every test.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use e2e::caches::Cache;
use e2e::install;
use e2e::local::LocalOptions;
use e2e::platform::Platform;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// How long a cluster of a few shards may take to do what it was told.
pub(crate) const BOUND: Duration = Duration::from_secs(180);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static PLATFORM: OnceLock<Arc<Platform>> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::const_new(());
/// Clusters under load come one after another: the machine may have two cores only.
static HEAVY: Mutex<()> = Mutex::const_new(());

/// What a test has.
pub(crate) struct Bench {
    pub(crate) platform: Arc<Platform>,
    pub(crate) namespace: String,
}

impl Bench {
    /// The cache cluster of a test.
    pub(crate) fn cache(&self) -> Cache {
        self.platform.cache(&self.namespace, "cache")
    }

    /// Creates a cluster and waits until it is Ready.
    pub(crate) async fn ready_cache(&self, shards: i32, replicas: i32) -> Cache {
        let cache = self.cache();
        cache.apply(&manifest(shards, replicas)).await.unwrap();
        cache.wait_ready(BOUND, say).await.unwrap();
        cache
    }
}

/// Progress, seen with `--nocapture` or when the test fails.
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// A small cluster.
pub(crate) fn manifest(shards: i32, replicas: i32) -> String {
    format!(
        "apiVersion: cache.evenkeel.dev/v1alpha1\nkind: CacheCluster\nmetadata:\n  name: cache\nspec:\n  shards: {shards}\n  replicasPerShard: {replicas}\n"
    )
}

/// Runs a test with a namespace of its own. No request of the operator may be denied meanwhile.
pub(crate) fn run(name: &str, body: impl AsyncFnOnce(&Bench)) {
    RUNTIME.block_on(async { run_on(platform().await, name, body).await });
}

/// The same, for a test that presses a cluster: one at a time.
pub(crate) fn run_heavy(name: &str, body: impl AsyncFnOnce(&Bench)) {
    let _turn = RUNTIME.block_on(HEAVY.lock());
    run(name, body);
}

/// The same with a local Kubernetes of its own, for a test that others would suffer from.
pub(crate) fn run_apart(name: &str, body: impl AsyncFnOnce(&Bench)) {
    let _turn = RUNTIME.block_on(HEAVY.lock());
    RUNTIME.block_on(async {
        let platform = Platform::new_local(local()).await.unwrap();
        platform.install(&say).await.unwrap();
        let platform = Arc::new(platform);
        run_on(platform.clone(), name, body).await;
        Arc::into_inner(platform).unwrap().stop().await;
    });
}

async fn run_on(platform: Arc<Platform>, name: &str, body: impl AsyncFnOnce(&Bench)) {
    let bench = Bench {
        platform,
        namespace: format!("e2e-{name}-{:04x}", rand::random::<u16>()),
    };
    let platform = &bench.platform;
    install::namespace(platform.client(), &bench.namespace)
        .await
        .unwrap();
    body(&bench).await;
    let namespaces: Api<Namespace> = Api::all(platform.client().clone());
    namespaces
        .delete(&bench.namespace, &DeleteParams::default())
        .await
        .unwrap();
    assert_eq!(
        platform.denials(),
        Vec::<String>::new(),
        "the chart's rules do not allow what the operator does"
    );
}

fn local() -> LocalOptions {
    LocalOptions::of(env!("CARGO_BIN_EXE_playground").into())
}

/// Whether nodes are processes of this machine; if not, says that a test is skipped.
pub(crate) fn local_only(bench: &Bench) -> bool {
    if !bench.platform.is_local() {
        eprintln!("skipped: needs the local Kubernetes");
    }
    bench.platform.is_local()
}

/// Whether names of pods resolve in pods; if not, says that a test is skipped.
pub(crate) fn names_resolve(bench: &Bench) -> bool {
    if !bench.platform.names_resolve() {
        eprintln!(
            "skipped: needs names that resolve in pods, for which the local Kubernetes must run as root"
        );
    }
    bench.platform.names_resolve()
}

async fn platform() -> Arc<Platform> {
    let _turn = STARTING.lock().await;
    if PLATFORM.get().is_none() {
        let platform = match std::env::var_os("E2E_KUBECONFIG") {
            Some(file) => Platform::of_kubeconfig(&PathBuf::from(file)).await.unwrap(),
            None => Platform::new_local(local()).await.unwrap(),
        };
        platform.install(&say).await.unwrap();
        assert!(PLATFORM.set(Arc::new(platform)).is_ok());
    }
    PLATFORM.get().unwrap().clone()
}
