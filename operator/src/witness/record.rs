//! What a witness has promised, in a ConfigMap that is only ever changed by compare-and-set: whoever writes must have read what is there, and
//! must not go on when another one has written since.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cache_node::bus::Persisted;
use cache_node::cluster::{Ours, Record as Keeps, RecordError, Writing};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::lease::Tenure;
use crate::metrics::WitnessGauges;

/// Key of the record in the ConfigMap.
const KEY: &str = "state";
/// Time for a write. Meanwhile the witness promises nothing; what became of it is found out by reading it again.
const WRITE: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Record {
    api: Api<ConfigMap>,
    /// The object as it was read or written last; without a resource version it is not there.
    object: ConfigMap,
    tenure: Tenure,
    gauges: WitnessGauges,
    /// It was written by this process, which then has begun to vote.
    begun: bool,
    written: Arc<Notify>,
}

impl Record {
    /// Reads what is there, if anything. What cannot be read is of another version, or damaged: then this is another witness.
    pub(super) async fn open(
        api: Api<ConfigMap>,
        template: ConfigMap,
        tenure: Tenure,
        gauges: WitnessGauges,
    ) -> Result<(Self, Option<Persisted>), kube::Error> {
        let name = template.name_any();
        let found = api.get_opt(&name).await?;
        let persisted = found.as_ref().and_then(|object| read(object, &name));
        let mut object = template;
        object.metadata.resource_version = found.and_then(|found| found.resource_version());
        let record = Self {
            api,
            object,
            tenure,
            gauges,
            begun: false,
            written: Arc::default(),
        };
        Ok((record, persisted))
    }

    /// Notified when something was written.
    pub(super) fn written(&self) -> Arc<Notify> {
        self.written.clone()
    }

    async fn replace(&mut self, bytes: Vec<u8>) -> Result<(), RecordError> {
        self.object.binary_data = Some(BTreeMap::from([(KEY.to_owned(), ByteString(bytes))]));
        let parameters = PostParams::default();
        let name = self.object.name_any();
        let written = match self.object.metadata.resource_version {
            None => timeout(WRITE, self.api.create(&parameters, &self.object)).await??,
            Some(_) => timeout(WRITE, self.api.replace(&name, &parameters, &self.object)).await??,
        };
        self.object.metadata.resource_version = written.resource_version();
        // The first time is only its start.
        if std::mem::replace(&mut self.begun, true) {
            self.gauges.voted(Timestamp::now());
        }
        self.written.notify_one();
        Ok(())
    }
}

fn read(object: &ConfigMap, name: &str) -> Option<Persisted> {
    let bytes = object.binary_data.as_ref()?.get(KEY)?;
    let read = Persisted::decode(&bytes.0);
    read.inspect_err(|error| {
        tracing::warn!(%error, name, "what a witness had written is of no use; it is another one now");
    })
    .ok()
}

impl Keeps for Record {
    fn write(mut self: Box<Self>, persisted: Box<Persisted>) -> Writing {
        Box::pin(async move {
            self.replace(persisted.encode()).await?;
            Ok(self as Box<dyn Keeps>)
        })
    }

    fn ours(&self) -> Ours {
        let tenure = self.tenure.clone();
        Box::new(move || !tenure.is_over())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use cache_node::cluster::{DriverError, Witness, WitnessConfig};
    use local_kubernetes::{Options, Server};
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::metrics::{Metrics, WitnessSeries};

    fn api(server: &Server) -> Api<ConfigMap> {
        Api::namespaced(server.client("admin"), "default")
    }

    /// A witness and what is notified when it has written.
    async fn open(server: &Server, tenure: &Tenure) -> (Witness, Arc<Notify>) {
        let mut template = ConfigMap::default();
        template.metadata.name = Some("a-witness".to_owned());
        let metrics = Arc::new(Metrics::new().unwrap());
        let series = WitnessSeries::new(metrics, "default".to_owned(), "a".to_owned());
        let opened = Record::open(api(server), template, tenure.clone(), series.gauges()).await;
        let (record, persisted) = opened.unwrap();
        let written = record.written();
        let config = WitnessConfig {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            ports: 0..=0,
            node_timeout: 2_000,
            secret: None,
        };
        let witness = Witness::open(config, persisted, Box::new(record));
        (witness.unwrap(), written)
    }

    fn long() -> Tenure {
        Tenure::until(Instant::now() + Duration::from_secs(600))
    }

    #[tokio::test]
    async fn the_next_process_goes_on_as_the_same_witness() {
        let (server, tenure) = (Server::new(Options::default()), long());
        let (first, written) = open(&server, &tenure).await;
        let (id, stop) = (first.id(), CancellationToken::new());
        let running = tokio::spawn(first.run(stop.clone()));
        written.notified().await;
        stop.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(open(&server, &tenure).await.0.id(), id);
    }

    #[tokio::test]
    async fn of_two_that_have_read_the_same_only_one_goes_on() {
        let (server, tenure) = (Server::new(Options::default()), long());
        let (first, written) = open(&server, &tenure).await;
        let (second, _) = open(&server, &tenure).await;
        let stop = CancellationToken::new();
        let running = tokio::spawn(first.run(stop.clone()));
        written.notified().await;
        let ended = second.run(CancellationToken::new()).await;
        assert!(matches!(ended, Err(DriverError::Record(_))), "{ended:?}");
        assert!(!running.is_finished());
        stop.cancel();
        running.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn whoever_may_have_lost_the_lease_says_and_writes_nothing() {
        let server = Server::new(Options::default());
        let (witness, _) = open(&server, &Tenure::until(Instant::now())).await;
        let ended = witness.run(CancellationToken::new()).await;
        assert!(matches!(ended, Err(DriverError::NotOurs)), "{ended:?}");
        assert_eq!(api(&server).get_opt("a-witness").await.unwrap(), None);
    }

    #[tokio::test]
    async fn what_cannot_be_read_makes_it_another_witness_in_the_same_place() {
        let (server, tenure) = (Server::new(Options::default()), long());
        let mut object = ConfigMap::default();
        object.metadata.name = Some("a-witness".to_owned());
        let data = ByteString(b"of another version".to_vec());
        object.binary_data = Some(BTreeMap::from([(KEY.to_owned(), data)]));
        let created = api(&server).create(&PostParams::default(), &object).await;
        created.unwrap();
        let (witness, written) = open(&server, &tenure).await;
        let (id, stop) = (witness.id(), CancellationToken::new());
        let running = tokio::spawn(witness.run(stop.clone()));
        written.notified().await;
        stop.cancel();
        running.await.unwrap().unwrap();
        assert_eq!(open(&server, &tenure).await.0.id(), id);
    }
}
