//! The Kubernetes that caches run on: a local one in this process, or the one that a kubeconfig names.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, DeleteParams, ListParams, LogParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::apart::Apart;
use crate::caches::Cache;
use crate::install;
use crate::local::{Local, LocalOptions};
use crate::programs;

/// How long the operator may take to get ready.
const OPERATOR_BOUND: Duration = Duration::from_secs(90);
/// Selects the operator's pods.
const OPERATOR: &str = "app.kubernetes.io/name=cache-operator";

/// Where the chart has the operator serve its metrics.
const METRICS_PORT: u16 = 8080;

/// A line of the operator's log.
#[derive(Clone, Debug, Deserialize)]
pub struct LogLine {
    /// The module that wrote it.
    pub target: String,
    /// `message`, and what else it says.
    pub fields: Map<String, Value>,
}

impl LogLine {
    /// What it says.
    #[must_use]
    pub fn message(&self) -> &str {
        self.fields
            .get("message")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// An operator that is cut off, until [`Platform::reconnect_operator`].
pub struct CutOff {
    /// What it was before.
    containers: Vec<Container>,
    _apart: Apart,
}

/// A Kubernetes.
pub struct Platform {
    client: Client,
    kubeconfig: PathBuf,
    local: Option<Local>,
}

impl Platform {
    /// Starts a local one, with nothing installed.
    ///
    /// # Errors
    /// If a file, an address or a process cannot be had.
    pub async fn new_local(options: LocalOptions) -> Result<Self> {
        let local = Local::start(options).await?;
        Ok(Self {
            client: local.client(),
            kubeconfig: local.kubeconfig().to_owned(),
            local: Some(local),
        })
    }

    /// The one that a kubeconfig names.
    ///
    /// # Errors
    /// If the file cannot be read or used.
    pub async fn of_kubeconfig(file: &Path) -> Result<Self> {
        let kubeconfig =
            Kubeconfig::read_from(file).with_context(|| format!("read {}", file.display()))?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .context("kubeconfig")?;
        Ok(Self {
            client: Client::try_from(config).context("client")?,
            kubeconfig: file.to_owned(),
            local: None,
        })
    }

    /// A client with every right.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A kubeconfig with every right.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Whether nodes are processes of this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// Whether names of Services and pods resolve in pods, as in every real one.
    #[must_use]
    pub fn names_resolve(&self) -> bool {
        self.local.as_ref().is_none_or(Local::names_resolve)
    }

    /// A cache cluster on it.
    #[must_use]
    pub fn cache(&self, namespace: &str, name: &str) -> Cache {
        Cache::new(&self.client, namespace, name)
    }

    /// Installs the operator on a local Kubernetes and waits until it is ready. Elsewhere it must be there already.
    ///
    /// # Errors
    /// If the server refuses something or the operator is not ready in time.
    pub async fn install(&self, progress: &dyn Fn(&str)) -> Result<()> {
        if !self.is_local() {
            let api: Api<cache_operator::api::CacheCluster> = Api::all(self.client.clone());
            api.list(&ListParams::default().limit(1))
                .await
                .context("is Evenkeel installed there?")?;
            return Ok(());
        }
        progress("applying the CRD and the chart");
        install::crd(&self.client).await?;
        let release = install::release();
        install::operator(&self.client, &release, &json!({"replicas": 1})).await?;
        progress("waiting for the operator");
        install::operator_ready(&self.client, &release, OPERATOR_BOUND).await
    }

    /// Ends the operator without warning, and has its pod replaced so that no restart is delayed.
    ///
    /// # Errors
    /// If it has no pod, or its process is not found.
    pub async fn kill_operator(&self) -> Result<()> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let running = pods
            .list(&ListParams::default().labels(OPERATOR))
            .await
            .context("list the operator's pods")?;
        ensure!(!running.items.is_empty(), "the operator has no pod");
        if let Some(local) = &self.local {
            ensure!(
                local.signal_operators(Signal::SIGKILL)? > 0,
                "the operator has no process"
            );
        }
        for pod in running {
            let Some(namespace) = pod.namespace() else {
                bail!("a pod without namespace")
            };
            let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
            pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0))
                .await
                .context("delete the operator's pod")?;
        }
        Ok(())
    }

    /// What the running operator has written to its log, a JSON object a line.
    ///
    /// # Errors
    /// If it has no pod, or the server does not give the log.
    pub async fn operator_log(&self) -> Result<Vec<LogLine>> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let running = pods
            .list(&ListParams::default().labels(OPERATOR))
            .await
            .context("list the operator's pods")?;
        let pod = running.items.first().context("the operator has no pod")?;
        let namespace = pod.namespace().context("a pod without namespace")?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let text = pods.logs(&pod.name_any(), &LogParams::default()).await;
        let text = text.context("log of the operator")?;
        let lines = text.lines().map(serde_json::from_str);
        lines
            .collect::<Result<_, _>>()
            .context("the operator's log")
    }

    /// The running operator's metrics, in Prometheus's text format.
    ///
    /// # Errors
    /// If it has no pod, or does not answer. Pods' addresses must be reached from here.
    pub async fn operator_metrics(&self) -> Result<String> {
        let pods: Api<Pod> = Api::all(self.client.clone());
        let running = pods.list(&ListParams::default().labels(OPERATOR)).await?;
        let pod = running.items.first().context("the operator has no pod")?;
        let status = pod.status.as_ref();
        let ip = status.and_then(|status| status.pod_ip.as_deref());
        let ip: IpAddr = ip.context("the operator has no address")?.parse()?;
        let mut connection = TcpStream::connect((ip, METRICS_PORT)).await?;
        let request = "GET /metrics HTTP/1.1\r\nHost: operator\r\nConnection: close\r\n\r\n";
        connection.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "metrics: {answer}");
        Ok(answer)
    }

    /// Replaces the operator by one that reaches the API server and nothing else, and that nobody reaches.
    ///
    /// # Errors
    /// If it does not run on this machine, or there can be no network namespace ([`Apart::unavailable`]).
    pub async fn cut_operator_off(&self) -> Result<CutOff> {
        let local = self.local.as_ref().context("the operator runs elsewhere")?;
        let apart = Apart::new(local.api_server())?;
        let api = self.operator();
        let deployment = api.get(&install::release().name).await?;
        let spec = deployment.spec.and_then(|spec| spec.template.spec);
        let containers = spec.context("the operator's pod")?.containers;
        let mut own = containers.clone();
        let container = own.first_mut().context("the operator's container")?;
        container.command = Some(vec![
            programs::OPERATOR_APART.to_owned(),
            apart.path().display().to_string(),
        ]);
        // They would not reach it either.
        container.startup_probe = None;
        container.liveness_probe = None;
        container.readiness_probe = None;
        self.run_operator_as(&own).await?;
        Ok(CutOff {
            containers,
            _apart: apart,
        })
    }

    /// Replaces it by one that reaches all.
    ///
    /// # Errors
    /// If the server refuses it.
    pub async fn reconnect_operator(&self, cut_off: CutOff) -> Result<()> {
        self.run_operator_as(&cut_off.containers).await
    }

    fn operator(&self) -> Api<Deployment> {
        Api::namespaced(self.client.clone(), &install::release().namespace)
    }

    async fn run_operator_as(&self, containers: &[Container]) -> Result<()> {
        let patch = json!({"spec": {"template": {"spec": {"containers": containers}}}});
        let name = install::release().name;
        let parameters = PatchParams::default();
        self.operator()
            .patch(&name, &parameters, &Patch::Merge(patch))
            .await
            .context("change the operator's Deployment")?;
        Ok(())
    }

    /// Lets the API server refuse everything, also what this process asks, or answer again.
    ///
    /// # Errors
    /// If it is not a local one.
    pub fn stop_api_server(&self, stopped: bool) -> Result<()> {
        let local = self
            .local
            .as_ref()
            .context("the API server runs elsewhere")?;
        local.stop_api_server(stopped);
        Ok(())
    }

    /// Sends a signal to the operator's processes.
    ///
    /// # Errors
    /// If they do not run on this machine.
    pub fn signal_operator(&self, signal: Signal) -> Result<()> {
        let local = self.local.as_ref().context("the operator runs elsewhere")?;
        let signalled = local.signal_operators(signal)?;
        ensure!(signalled > 0, "the operator has no process");
        Ok(())
    }

    /// Requests that the local API server denied, as `user: message`.
    #[must_use]
    pub fn denials(&self) -> Vec<String> {
        self.local.as_ref().map(Local::denials).unwrap_or_default()
    }

    /// Requests of service accounts since `since` that ask for a change in a namespace. Known only of the local API server.
    #[must_use]
    pub fn write_requests(&self, namespace: &str, since: jiff::Timestamp) -> Vec<String> {
        self.local
            .as_ref()
            .map(|local| local.write_requests(namespace, since))
            .unwrap_or_default()
    }

    /// Ends a local one with all its processes and files.
    pub async fn stop(self) {
        if let Some(local) = self.local {
            local.stop().await;
        }
    }
}
