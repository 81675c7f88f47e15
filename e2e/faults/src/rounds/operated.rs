//! Rounds with a `CacheCluster` in a local Kubernetes, with the real operator, whose pods are real processes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cache_node::slot::SlotId;
use e2e::caches::{self, Cache};
use e2e::local::LocalOptions;
use e2e::platform::Platform;
use e2e::{faults, install, nodes};
use kube::api::DeleteParams;
use local_kubernetes::agent::backoff::BackoffPolicy;
use nix::sys::signal::Signal;
use parking_lot::RwLock;
use tokio::runtime::Runtime;

use super::round::{Struck, Subject};
use super::silence::{self, Silenced};
use super::writer::Writer;
use super::{Kind, Outcome, Series, rounds_of, shape};
use crate::client::Seeds;
use crate::cluster::Shape;
use crate::wait::{until, until_within};
use crate::workload::tag_of;

/// Namespace of the cluster.
const NAMESPACE: &str = "rounds";
/// Name of the cluster.
const NAME: &str = "cache";
/// How long Kubernetes and the operator may take to bring a cluster into being, or pods back.
const BOUND: Duration = Duration::from_secs(180);
/// The module of the operator that writes down each step.
const STEPS: &str = "cache_operator::act";

/// As [`series`](super::series), with the operator.
///
/// # Errors
/// If there is no such cluster in time, or it does not do what it should.
pub fn series(
    executable: &Path,
    kind: Kind,
    shards: usize,
    rounds: usize,
    progress: impl Fn(usize, &Outcome) + Send,
) -> Result<Series> {
    let work = || series_here(executable, kind, shards, rounds, progress);
    match kind {
        Kind::Silence => silence::somewhere(work)?,
        _ => work(),
    }
}

fn series_here(
    executable: &Path,
    kind: Kind,
    shards: usize,
    rounds: usize,
    progress: impl Fn(usize, &Outcome),
) -> Result<Series> {
    let shape = shape(kind, shards);
    let replicas = shape.replicas;
    let mut options = LocalOptions::of(executable.to_owned());
    // A pod is killed once in a while, so that each of its starts is the first after a long time.
    options.backoff = BackoffPolicy {
        reset: Duration::ZERO,
        ..BackoffPolicy::default()
    };
    // Clients must not wait for what Kubernetes does in this process.
    let (kubernetes, clients) = (Runtime::new()?, Runtime::new()?);
    let mut operated = kubernetes.block_on(Operated::start(options, shape))?;
    let (steps, outcomes) = clients.block_on(async {
        let steps = operated.steps().await?.len();
        let outcomes = rounds_of(&mut operated, kind, rounds, &progress).await;
        let steps = operated.steps().await?.split_off(steps);
        anyhow::Ok((steps, outcomes))
    })?;
    kubernetes.block_on(operated.platform.stop());
    let outcomes = outcomes.with_context(|| format!("the operator did: {steps:?}"))?;
    Ok(Series {
        operator: Some(steps),
        shards,
        replicas,
        kind,
        outcomes,
    })
}

struct Operated {
    platform: Platform,
    cache: Cache,
    shape: Shape,
    seeds: Seeds,
    /// The process that does not run at present.
    stopped: Option<i32>,
    /// The process that nobody hears at present.
    silenced: Option<Silenced>,
}

impl Operated {
    async fn start(options: LocalOptions, shape: Shape) -> Result<Self> {
        let platform = Platform::new_local(options).await?;
        platform.install(&|_| ()).await?;
        install::namespace(platform.client(), NAMESPACE).await?;
        let cache = platform.cache(NAMESPACE, NAME);
        cache.apply(&manifest(&shape)).await?;
        cache.wait_ready(BOUND, |_| ()).await?;
        let mut operated = Self {
            platform,
            cache,
            shape,
            seeds: Arc::new(RwLock::new(vec![])),
            stopped: None,
            silenced: None,
        };
        operated.wait_until_whole().await?;
        Ok(operated)
    }

    /// What the operator has done, in its words.
    async fn steps(&self) -> Result<Vec<String>> {
        let log = self.platform.operator_log().await?;
        let steps = log.iter().filter(|line| line.target == STEPS);
        Ok(steps.map(|line| line.message().to_owned()).collect())
    }

    /// Waits until all pods are ready and all nodes see a whole cluster, and the operator says so.
    async fn wait_until_whole(&mut self) -> Result<()> {
        until_within(BOUND, "the cluster is whole", async || {
            let looked = self.look().await;
            looked.map_err(|error| format!("{error:#}"))
        })
        .await?;
        self.cache.wait_ready(BOUND, |_| ()).await?;
        let seeds = self.cache.addresses().await?;
        let seeds = seeds.iter().map(|seed| seed.parse());
        *self.seeds.write() = seeds.collect::<Result<Vec<SocketAddr>, _>>()?;
        Ok(())
    }

    async fn look(&self) -> Result<()> {
        let pods = self.cache.pods().await?;
        let ready = pods.iter().filter(|pod| caches::is_pod_ready(pod)).count();
        let wanted = self.shape.nodes();
        ensure!(
            ready == wanted && pods.len() == wanted,
            "{ready} of {wanted} pods are ready"
        );
        let replicas = self.shape.shards * self.shape.replicas;
        let addresses = self.cache.addresses().await?;
        nodes::whole(&addresses, self.shape.voters(), replicas).await
    }
}

impl Subject for Operated {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn seeds(&self) -> &Seeds {
        &self.seeds
    }

    async fn strike(&mut self, kind: Kind, shard: usize, writers: &[Writer]) -> Result<Struck> {
        let (_, slot) = tag_of(&self.shape, shard);
        let mut viewers = self.cache.addresses().await?;
        let members = nodes::shard_seen_by(&viewers[0], slot).await?;
        let [primary, replica, ..] = members.as_slice() else {
            anyhow::bail!("the shard has no replica: {members:?}");
        };
        let process = nodes::process(primary).await?;
        // What was asked of the cluster is no part of it.
        writers.iter().for_each(Writer::measure);
        let began = Instant::now();
        match kind {
            Kind::Kill => faults::signal_process(process, Signal::SIGKILL)?,
            Kind::Stop => {
                faults::signal_process(process, Signal::SIGSTOP)?;
                self.stopped = Some(process);
            }
            Kind::Terminate => {
                faults::delete(&self.cache, primary, &DeleteParams::default()).await?;
            }
            Kind::Failover => nodes::fail_over(replica).await?,
            Kind::Silence => self.silenced = Some(Silenced::new(process, primary)?),
            Kind::Empty | Kind::Addresses => {
                anyhow::bail!("{}: not with the operator", kind.title())
            }
        }
        if kind != Kind::Failover {
            viewers.retain(|viewer| viewer != primary);
        }
        wait_for_successor(&viewers, slot, primary).await?;
        Ok(Struck {
            known: began.elapsed(),
            holdings: vec![],
        })
    }

    async fn mend(&mut self, _: Kind, _: &Struck) -> Result<()> {
        if let Some(process) = self.stopped.take() {
            faults::signal_process(process, Signal::SIGCONT)?;
        }
        if let Some(silenced) = self.silenced.take() {
            silenced.end()?;
        }
        self.wait_until_whole().await
    }
}

/// Waits until all `viewers` know the same primary of the slot's shard, other than `old`.
async fn wait_for_successor(viewers: &[String], slot: SlotId, old: &str) -> Result<()> {
    until("all know the new primary", async || {
        let looks = viewers
            .iter()
            .map(|viewer| nodes::shard_seen_by(viewer, slot));
        let seen = futures::future::try_join_all(looks).await;
        let seen = seen.map_err(|error| format!("{error:#}"))?;
        let owners: Vec<_> = seen.iter().map(|members| members.first()).collect();
        let same = owners.windows(2).all(|pair| pair[0] == pair[1]);
        let other = owners
            .first()
            .is_some_and(|one| one.is_some_and(|one| one != old));
        (same && other)
            .then_some(())
            .ok_or_else(|| format!("{owners:?}"))
    })
    .await?;
    Ok(())
}

/// The same nodes as without the operator.
fn manifest(shape: &Shape) -> String {
    let (shards, replicas) = (shape.shards, shape.replicas);
    format!(
        "apiVersion: cache.evenkeel.dev/v1alpha1\nkind: CacheCluster\nmetadata:\n  name: {NAME}\nspec:\n  shards: {shards}\n  replicasPerShard: {replicas}\n  config:\n    threads: \"1\"\n"
    )
}
