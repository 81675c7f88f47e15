//! One round.

use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::signal::Signal;

use super::holding::{Holding, Replica};
use super::writer::Writer;
use super::{Kind, Outcome};
use crate::client::Seeds;
use crate::cluster::{Cluster, Shape};
use crate::network::Link;
use crate::workload::tag_of;

/// Acknowledged writes before a fault, and after everybody knows how it has ended.
const SOME_WRITES: usize = 100;

/// What rounds are done to.
pub(super) trait Subject {
    /// Its shards and replicas.
    fn shape(&self) -> &Shape;

    /// Where clients look for its nodes.
    fn seeds(&self) -> &Seeds;

    /// Does `kind` to a shard's primary, and waits until all living nodes know what came of it.
    /// `writers` measure from the moment before.
    async fn strike(&mut self, kind: Kind, shard: usize, writers: &[Writer]) -> Result<Struck>;

    /// Waits until the cluster is whole again, and looks for what must have been kept.
    async fn mend(&mut self, kind: Kind, struck: &Struck) -> Result<()>;
}

impl Subject for Cluster {
    fn shape(&self) -> &Shape {
        &self.shape
    }

    fn seeds(&self) -> &Seeds {
        &self.seeds
    }

    async fn strike(&mut self, kind: Kind, shard: usize, writers: &[Writer]) -> Result<Struck> {
        strike(self, kind, shard, writers).await
    }

    async fn mend(&mut self, kind: Kind, struck: &Struck) -> Result<()> {
        mend(self, kind).await?;
        for holding in &struck.holdings {
            holding.is_kept(self).await?;
        }
        Ok(())
    }
}

/// Does `kind` once and leaves a whole cluster. There is an outcome for each shard that it is about.
pub(super) async fn execute(
    cluster: &mut impl Subject,
    kind: Kind,
    round: usize,
) -> Result<Vec<Outcome>> {
    let shards = cluster.shape().shards;
    let affected = match kind {
        Kind::Addresses => (0..shards).collect(),
        _ => vec![round % shards],
    };
    // The others are under load too, as they would be.
    let writers: Vec<Writer> = (0..shards)
        .map(|shard| Writer::start(cluster.seeds(), tag_of(cluster.shape(), shard)))
        .collect();
    for writer in &writers {
        writer.gets_on(SOME_WRITES).await?;
    }
    writers.iter().for_each(Writer::measure);
    let struck = cluster.strike(kind, affected[0], &writers).await?;
    for writer in &writers {
        writer.gets_on(SOME_WRITES).await?;
    }
    cluster.mend(kind, &struck).await?;
    let mut outcomes = vec![];
    for (shard, writer) in writers.into_iter().enumerate() {
        let seen = writer.stop().await?;
        if affected.contains(&shard) {
            outcomes.push(Outcome {
                shard,
                gap: seen.gap,
                known: struck.known,
                lost: seen.lost,
                errors: seen.errors,
            });
        }
    }
    Ok(outcomes)
}

/// What was seen of a fault.
pub(super) struct Struck {
    /// From the fault until all living nodes knew what came of it.
    pub(super) known: Duration,
    /// What replicas had when their primary ended, where they must keep it.
    pub(super) holdings: Vec<Holding>,
}

/// Does it, and waits until all living nodes know what came of it.
async fn strike(
    cluster: &mut Cluster,
    kind: Kind,
    shard: usize,
    writers: &[Writer],
) -> Result<Struck> {
    if kind == Kind::Addresses {
        let known = restart_elsewhere(cluster, writers).await?;
        return Ok(Struck {
            known,
            holdings: vec![],
        });
    }
    let primary = cluster.primary(shard).await?;
    let replicas = cluster.replicas(primary).await?;
    let mut asked = vec![];
    for replica in replicas.iter().filter(|_| kind == Kind::Empty) {
        asked.push(Replica::new(cluster, *replica).await?);
    }
    let mut holdings = vec![];
    let mut viewers = cluster.all_but(&[primary]);
    // What was asked of the cluster is no part of it.
    writers.iter().for_each(Writer::measure);
    let began = Instant::now();
    match kind {
        Kind::Kill => cluster.nodes[primary].kill(),
        Kind::Empty => {
            cluster.nodes[primary].kill();
            // Nobody can wipe them before it is back.
            let keys = writers[shard].acknowledged();
            for replica in asked {
                holdings.push(replica.holds(&keys).await?);
            }
            cluster.nodes[primary].start()?;
            viewers = cluster.all();
        }
        Kind::Terminate => cluster.nodes[primary].signal(Signal::SIGTERM)?,
        Kind::Stop => cluster.nodes[primary].signal(Signal::SIGSTOP)?,
        Kind::Silence => {
            let mut others = viewers.clone();
            others.push(cluster.nodes.len());
            cluster.network.links(&[primary], &others, Link::Cut)?;
        }
        Kind::Failover | Kind::Addresses => {
            let () = cluster.ask(replicas[0], "CLUSTER FAILOVER").await?;
            viewers = cluster.all();
        }
    }
    cluster.wait_for_successor(&viewers, shard, primary).await?;
    let known = began.elapsed();
    if kind == Kind::Terminate {
        cluster.nodes[primary].ended().await?;
    }
    Ok(Struck { known, holdings })
}

async fn restart_elsewhere(cluster: &mut Cluster, writers: &[Writer]) -> Result<Duration> {
    let began = Instant::now();
    writers.iter().for_each(Writer::measure);
    for node in &mut cluster.nodes {
        node.kill();
    }
    cluster.move_all()?;
    for node in &mut cluster.nodes {
        node.start()?;
    }
    cluster.wait_until_whole().await?;
    Ok(began.elapsed())
}

async fn mend(cluster: &mut Cluster, kind: Kind) -> Result<()> {
    cluster.network.heal();
    for node in &mut cluster.nodes {
        if !node.is_running()? {
            node.kill();
            node.start()?;
        } else if kind == Kind::Stop {
            node.signal(Signal::SIGCONT)?;
        }
    }
    cluster.wait_until_whole().await
}
