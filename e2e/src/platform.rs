//! The Kubernetes that caches run on: a local one in this process, or the one that a kubeconfig names.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use nix::sys::signal::Signal;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::caches::Cache;
use crate::install;
use crate::local::{Local, LocalOptions};

/// How long the operator may take to get ready.
const OPERATOR_BOUND: Duration = Duration::from_secs(90);
/// Selects the operator's pods.
const OPERATOR: &str = "app.kubernetes.io/name=cache-operator";

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
