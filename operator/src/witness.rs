//! The operator's votes: for each cluster of two nodes it is the witness, the third voter, so that a majority is left when one node dies.
//!
//! The vote is cast by cache-node's own bus, which runs here as a task for each such cluster. What it has promised is kept in a ConfigMap
//! ([`record`]), so that the next operator goes on with it. No two processes may speak for one witness, since not all that it says is
//! written first: a task says nothing when this process may have lost the operators' lease ([`Tenure`]).

mod record;

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use cache_node::cluster::{DriverError, Secret, Witness as Bus, WitnessConfig};
use k8s_openapi::api::core::v1 as core;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::CacheCluster;
use crate::lease::Tenure;
use crate::metrics::{Metrics, WitnessGauges, WitnessSeries};
use crate::names;
use crate::observe::{Vote, Witness};
use crate::resources;
use record::Record;

/// Time until a witness that could not go on begins again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where witnesses are reached.
#[derive(Clone, Debug)]
pub struct Place {
    /// This process's address.
    pub ip: IpAddr,
    /// Ports, one for each cluster.
    pub ports: RangeInclusive<u16>,
}

/// All witnesses of this process.
pub struct Witnesses {
    /// `None`: this operator has no vote.
    place: Option<Place>,
    client: Client,
    tenure: Tenure,
    metrics: Arc<Metrics>,
    running: Mutex<HashMap<ObjectRef<CacheCluster>, Running>>,
}

/// A witness's task. It ends when this is dropped.
struct Running {
    uid: String,
    node_timeout: u64,
    shown: Shown,
    _series: WitnessSeries,
    _stop: DropGuard,
}

/// The witness as it was written last, while it runs.
type Shown = Arc<Mutex<Option<Witness>>>;

/// Why a witness ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Kubernetes(#[from] kube::Error),
    #[error(transparent)]
    Bus(#[from] DriverError),
    #[error("the Secret {0} has no `{file}`", file = resources::SECRET_FILE)]
    NoSecret(String),
}

impl Witnesses {
    /// None of them runs yet. With no `place` none ever does.
    pub fn new(
        client: Client,
        place: Option<Place>,
        tenure: Tenure,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            place,
            client,
            tenure,
            metrics,
            running: Mutex::default(),
        }
    }

    /// The vote that this process has for a cluster.
    pub fn vote(&self, cluster: &CacheCluster) -> Vote {
        if self.place.is_none() {
            return Vote::Off;
        }
        let running = self.running.lock();
        let witness = running.get(&ObjectRef::from_obj(cluster));
        match witness.and_then(|witness| witness.shown.lock().clone()) {
            Some(witness) => Vote::Ready(witness),
            None => Vote::Starting,
        }
    }

    /// Sees to it that the cluster's witness runs.
    pub fn begin(&self, cluster: &CacheCluster) {
        let Some(place) = &self.place else { return };
        let uid = cluster.uid().unwrap_or_default();
        let node_timeout = resources::node_timeout(cluster);
        let mut running = self.running.lock();
        let key = ObjectRef::from_obj(cluster);
        let runs = running
            .get(&key)
            .is_some_and(|it| it.uid == uid && it.node_timeout == node_timeout);
        if runs {
            return;
        }
        // The former one must have ended before: its record would be written by both.
        if running.remove(&key).is_some() {
            return;
        }
        let (stop, shown) = (CancellationToken::new(), Shown::default());
        let namespace = cluster.namespace().unwrap_or_default();
        let series = WitnessSeries::new(self.metrics.clone(), namespace, cluster.name_any());
        let task = Task {
            client: self.client.clone(),
            tenure: self.tenure.clone(),
            place: place.clone(),
            cluster: cluster.clone(),
            node_timeout,
            shown: shown.clone(),
            gauges: series.gauges(),
        };
        tokio::spawn(task.run(stop.clone()));
        let witness = Running {
            uid,
            node_timeout,
            shown,
            _series: series,
            _stop: stop.drop_guard(),
        };
        running.insert(key, witness);
    }

    /// Sees to it that no witness of the cluster runs. What it has written remains.
    pub fn end(&self, cluster: &CacheCluster) {
        self.running.lock().remove(&ObjectRef::from_obj(cluster));
    }
}

struct Task {
    client: Client,
    tenure: Tenure,
    place: Place,
    cluster: CacheCluster,
    node_timeout: u64,
    shown: Shown,
    gauges: WitnessGauges,
}

impl Task {
    /// Votes until `stop`; what ends it before, such as an API server that is away, is tried again.
    async fn run(self, stop: CancellationToken) {
        let name = self.cluster.name_any();
        while !stop.is_cancelled() && !self.tenure.is_over() {
            let ended = tokio::select! {
                () = stop.cancelled() => Ok(()),
                ended = self.vote(&stop) => ended,
            };
            *self.shown.lock() = None;
            self.gauges.votes(false);
            if let Err(error) = ended {
                tracing::warn!(cluster = name, %error, "the operator does not vote at present");
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
    }

    async fn vote(&self, stop: &CancellationToken) -> Result<(), Ended> {
        let namespace = self.cluster.namespace().unwrap_or_default();
        let secret = self.secret(&namespace).await?;
        let api = Api::namespaced(self.client.clone(), &namespace);
        let template = resources::witness(&self.cluster);
        let (record, persisted) =
            Record::open(api, template, self.tenure.clone(), self.gauges.clone()).await?;
        let written = record.written();
        let config = WitnessConfig {
            ip: self.place.ip,
            ports: self.place.ports.clone(),
            node_timeout: self.node_timeout,
            secret: Some(secret),
        };
        let bus = Bus::open(config, persisted, Box::new(record))?;
        let witness = Witness {
            id: bus.id().to_string(),
            ip: bus.address().ip.clone(),
            port: bus.address().bus_port,
        };
        let show = async {
            // Who it is must not be told before the next process would know.
            written.notified().await;
            *self.shown.lock() = Some(witness);
            self.gauges.votes(true);
            std::future::pending().await
        };
        tokio::select! {
            ended = bus.run(stop.clone()) => Ok(ended?),
            never = show => never,
        }
    }

    /// The secret that the nodes know each other by.
    async fn secret(&self, namespace: &str) -> Result<Secret, Ended> {
        let name = names::secret(
            &self.cluster.name_any(),
            &self.cluster.uid().unwrap_or_default(),
        );
        let api: Api<core::Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = api.get(&name).await?;
        let data = secret.data.unwrap_or_default();
        let text = data.get(resources::SECRET_FILE);
        let text = text.ok_or(Ended::NoSecret(name))?;
        Ok(Secret::new(text.0.trim_ascii()))
    }
}
