//! A `CacheCluster` seen from outside, as a user's scripts would: apply, scale, wait, look.
//!
//! Everything goes through the Kubernetes API, so that it is the same on the local Kubernetes and on any other.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use cache_operator::api::CacheCluster;
use cache_operator::names;
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use kube::{Api, Client, Resource};
use serde_json::json;

/// Field manager of what is applied here.
const MANAGER: &str = "playground";

/// One `CacheCluster`, whether it exists yet or not.
#[derive(Clone)]
pub struct Cache {
    client: Client,
    namespace: String,
    name: String,
}

impl Cache {
    /// The cluster `name` in `namespace`.
    #[must_use]
    pub fn new(client: &Client, namespace: &str, name: &str) -> Self {
        Self {
            client: client.clone(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The API of `CacheCluster`s in its namespace.
    #[must_use]
    pub fn api(&self) -> Api<CacheCluster> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The API of pods in its namespace.
    #[must_use]
    pub fn pods_api(&self) -> Api<Pod> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a manifest (YAML) under this cluster's name, by server-side apply.
    ///
    /// # Errors
    /// If it is not YAML or the server refuses it.
    pub async fn apply(&self, manifest: &str) -> Result<()> {
        let mut object: serde_json::Value = serde_yaml::from_str(manifest).context("manifest")?;
        object["metadata"]["name"] = json!(self.name);
        self.api()
            .patch(
                &self.name,
                &PatchParams::apply(MANAGER),
                &Patch::Apply(object),
            )
            .await
            .with_context(|| format!("apply CacheCluster {}", self.name))?;
        Ok(())
    }

    /// What `kubectl scale` does.
    ///
    /// # Errors
    /// If the server refuses it.
    pub async fn scale(&self, shards: i32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": shards}}));
        self.api()
            .patch_scale(&self.name, &PatchParams::default(), &patch)
            .await
            .with_context(|| format!("scale {} to {shards}", self.name))?;
        Ok(())
    }

    /// Deletes it and waits until it and its pods are gone.
    ///
    /// # Errors
    /// If that takes longer than `bound`.
    pub async fn delete(&self, bound: Duration) -> Result<()> {
        self.api()
            .delete(&self.name, &DeleteParams::default())
            .await
            .context("delete")?;
        let gone = async {
            loop {
                if self.api().get_opt(&self.name).await?.is_none() && self.pods().await?.is_empty()
                {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(bound, gone)
            .await
            .with_context(|| format!("{} is not gone after {bound:?}", self.name))?
    }

    /// Its pods that exist.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        let selector = format!("{}={}", names::CLUSTER_LABEL, self.name);
        Ok(self
            .pods_api()
            .list(&ListParams::default().labels(&selector))
            .await
            .context("list pods")?
            .items)
    }

    /// Client addresses (`ip:port`) of its pods, by pod name.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn addresses(&self) -> Result<Vec<String>> {
        let pods = self.pods().await?;
        let addresses: Vec<String> = pods.iter().filter_map(address).collect();
        if addresses.is_empty() {
            bail!("no pod of {} has an address", self.name);
        }
        Ok(addresses)
    }

    /// Waits until it has exactly `count` pods; one that is being deleted counts.
    ///
    /// # Errors
    /// If it has not within `bound`.
    pub async fn wait_pods(&self, count: usize, bound: Duration) -> Result<()> {
        let counted = async {
            while self.pods().await?.len() != count {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            Ok(())
        };
        let otherwise = || format!("{} has not {count} pods after {bound:?}", self.name);
        tokio::time::timeout(bound, counted)
            .await
            .with_context(otherwise)?
    }

    /// Waits until `condition` holds, following every change; `progress` is told what changed, in a line.
    ///
    /// # Errors
    /// If it does not hold within `bound`; the message has the last status.
    pub async fn wait(
        &self,
        what: &str,
        bound: Duration,
        condition: impl Fn(&CacheCluster) -> bool,
        progress: impl Fn(&str),
    ) -> Result<CacheCluster> {
        let mut last = String::from("nothing seen");
        let changes = watcher::watch_object(self.api(), &self.name);
        let mut changes = std::pin::pin!(changes);
        let wait = async {
            while let Some(change) = changes.next().await {
                // The watcher reconnects by itself; an error only means that it will.
                let Ok(Some(cluster)) = change else { continue };
                let line = summary(&cluster);
                if line != last {
                    progress(&line);
                    last = line;
                }
                if condition(&cluster) {
                    return Some(cluster);
                }
            }
            None
        };
        match tokio::time::timeout(bound, wait).await {
            Ok(Some(cluster)) => Ok(cluster),
            Ok(None) => bail!("{}: the watch ended before it was {what}", self.name),
            Err(_) => bail!("{} is not {what} after {bound:?}: {last}", self.name),
        }
    }

    /// Waits until it is Ready as its spec stands now.
    ///
    /// # Errors
    /// If it is not within `bound`.
    pub async fn wait_ready(
        &self,
        bound: Duration,
        progress: impl Fn(&str),
    ) -> Result<CacheCluster> {
        self.wait("ready", bound, is_ready, progress).await
    }
}

/// Client address of a pod, once it has one.
#[must_use]
pub fn address(pod: &Pod) -> Option<String> {
    let ip = pod.status.as_ref()?.pod_ip.as_deref()?;
    Some(format!("{ip}:{}", names::CLIENT_PORT))
}

/// Whether Kubernetes says of a pod that it is ready, and it is not being deleted.
#[must_use]
pub fn is_pod_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|one| one.type_ == "Ready" && one.status == "True");
    pod.metadata.deletion_timestamp.is_none() && ready.next().is_some()
}

/// Whether the operator says of the newest spec that it is so.
#[must_use]
pub fn is_ready(cluster: &CacheCluster) -> bool {
    cluster.status.as_ref().is_some_and(|status| {
        status.observed_generation == cluster.meta().generation
            && status.shards == cluster.spec.shards
            && status.ready_shards == cluster.spec.shards
            && status
                .conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    })
}

/// The status of a cluster in a line.
#[must_use]
pub fn summary(cluster: &CacheCluster) -> String {
    let Some(status) = &cluster.status else {
        return "waiting for the operator".to_owned();
    };
    let mut line = format!(
        "{:?}: {} of {} shards ready, {} of 16384 slots served",
        status.phase, status.ready_shards, cluster.spec.shards, status.slots_covered
    );
    if let Some(moving) = status
        .rebalance
        .as_ref()
        .filter(|rebalance| rebalance.moved_slots < rebalance.planned_slots)
    {
        line += &format!(
            ", {} of {} slots moved",
            moving.moved_slots, moving.planned_slots
        );
    }
    let reason = status
        .conditions
        .iter()
        .find(|condition| condition.type_ == "Ready" && condition.status != "True");
    if let Some(reason) = reason.filter(|reason| !reason.message.is_empty()) {
        line += &format!(" ({})", reason.message);
    }
    line
}
