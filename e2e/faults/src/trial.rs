//! A trial: a cluster under a workload, something that is done to it again and again, and the judgement.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use history::Failover;

use crate::cluster::{Cluster, Shape};
use crate::nemesis::{Loss, Nemesis};
use crate::network::Host;
use crate::promise::{MAY_LOSE, Promise, judge};
use crate::reigns::reigns;
use crate::workload::{Workload, is_counter};

/// Hosts of clients. The second can be put on the side of nodes that are cut off.
pub const CLIENT_HOSTS: usize = 2;
/// Rounds that are judged together.
const BATCH: usize = 4;
/// Acknowledged writes of each shard before and after each fault.
const SOME_WRITES: usize = 30;

/// How writes are acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// By the primary alone: a failover may lose some.
    #[default]
    Asynchronous,
    /// By replicas too, which these arguments ask all nodes for: nothing may be lost, and histories are linearizable.
    Synchronous(Vec<String>),
}

/// What came of a trial in which everything was as promised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Rounds.
    pub rounds: usize,
    /// Operations that clients have tried.
    pub operations: usize,
    /// Those of them that were refused or had no answer.
    pub not_executed: usize,
    /// Changes of a shard's primary.
    pub changes: usize,
}

/// The cluster of a trial and the clients of its present batch.
pub struct Trial {
    /// The cluster.
    pub cluster: Cluster,
    /// The clients.
    pub workload: Workload,
    /// Since when nothing more can be lost in this round, where that is known before its end.
    safe_since: Option<u64>,
}

/// Does `nemesis` to a cluster, `rounds` times. `executable` is the node when called `cache-node`, and a janitor.
///
/// # Errors
/// If the cluster does not do what it should, or clients saw what they should not.
pub fn run(executable: &Path, nemesis: Nemesis, mode: &Mode, rounds: usize) -> Result<Summary> {
    let shape = nemesis.shape(mode);
    let network = shape.network(CLIENT_HOSTS)?;
    let observer = network.host(shape.nodes()).clone();
    observer.run(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut cluster = Cluster::start(executable, shape, network).await?;
            let mut summary = Summary::default();
            while summary.rounds < rounds {
                let batch = BATCH.min(rounds - summary.rounds);
                cluster = run_batch(cluster, nemesis, mode, batch, &mut summary).await?;
            }
            Ok(summary)
        })
    })?
}

async fn run_batch(
    cluster: Cluster,
    nemesis: Nemesis,
    mode: &Mode,
    rounds: usize,
    summary: &mut Summary,
) -> Result<Cluster> {
    let hosts = client_hosts(&cluster);
    let prefix = format!(":{}", summary.rounds);
    let workload = Workload::start(&cluster.shape, &cluster.seeds, &hosts, &prefix);
    let mut trial = Trial {
        cluster,
        workload,
        safe_since: None,
    };
    let mut failovers = vec![];
    let shards: Vec<usize> = (0..trial.cluster.shape.shards).collect();
    let mut owners = vec![trial.owners().await?];
    for round in 0..rounds {
        trial.workload.wait_for_writes(&shards, SOME_WRITES).await?;
        let from = trial.workload.now();
        let struck = nemesis.strike(&mut trial, summary.rounds + round).await;
        struck.with_context(|| format!("{nemesis:?}, round {round}"))?;
        trial.cluster.wait_until_whole().await?;
        trial.workload.wait_for_writes(&shards, SOME_WRITES).await?;
        let to = trial
            .safe_since
            .take()
            .unwrap_or_else(|| trial.workload.now());
        failovers.push(Failover { from, to });
        owners.push(trial.owners().await?);
    }
    let Trial {
        cluster, workload, ..
    } = trial;
    let record = workload.stop().await?;
    let most = match (nemesis.loss(), mode) {
        (Loss::Everything, _) => Some(record.history.operations().len()),
        (Loss::LastWrites, Mode::Asynchronous) => Some(MAY_LOSE),
        _ => None,
    };
    let promise = match most {
        Some(most) => Promise::Loss { failovers, most },
        None => Promise::Linearizable,
    };
    let judged = judge(&record.history, &promise, is_counter);
    judged.map_err(|broken| anyhow::anyhow!("{nemesis:?}: {}", broken.join("\n")))?;
    for (shard, writes) in record.acknowledged.iter().enumerate() {
        let changes = owners
            .windows(2)
            .filter(|two| two[0][shard] != two[1][shard]);
        let changes = changes.count();
        let reigns = reigns(writes);
        ensure!(
            reigns.len() <= changes + rounds * nemesis.moves() + 1,
            "{nemesis:?}: shard {shard} changed its primary {changes} times in {rounds} rounds, but writes were taken by {reigns:?}"
        );
        summary.changes += changes;
    }
    summary.rounds += rounds;
    summary.operations += record.history.operations().len();
    summary.not_executed += record.not_executed;
    Ok(cluster)
}

fn client_hosts(cluster: &Cluster) -> Vec<Host> {
    let nodes = cluster.nodes.len();
    let hosts = nodes..nodes + CLIENT_HOSTS;
    hosts
        .map(|number| cluster.network.host(number).clone())
        .collect()
}

impl Trial {
    /// The owners of the slots that the workload uses, by shard.
    async fn owners(&self) -> Result<Vec<usize>> {
        let shape: &Shape = &self.cluster.shape;
        let mut owners = vec![];
        for shard in 0..shape.shards {
            let (_, slot) = crate::workload::tag_of(shape, shard);
            owners.push(self.cluster.owner_at(0, slot).await?);
        }
        Ok(owners)
    }

    /// Notes that what is acknowledged from now on must stay, before the round is over.
    pub fn nothing_is_lost_from_now_on(&mut self) {
        self.safe_since = Some(self.workload.now());
    }

    /// The number of the host whose clients can be put on another side than the rest.
    #[must_use]
    pub fn clients_apart(&self) -> usize {
        self.cluster.nodes.len() + 1
    }

    /// Waits until `shards` have taken some writes.
    ///
    /// # Errors
    /// If they do not in time.
    pub async fn some_writes(&self, shards: &[usize]) -> Result<()> {
        self.workload.wait_for_writes(shards, SOME_WRITES).await
    }
}
