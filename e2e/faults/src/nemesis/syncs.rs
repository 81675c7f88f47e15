//! Harm during a full sync.

use anyhow::{Result, ensure};

use super::processes::follow;
use crate::trial::Trial;
use crate::wait::until;
use crate::workload::tag_of;

/// Which end of the sync is harmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The primary.
    Source,
    /// The replica.
    Target,
}

/// Keys whose copying takes long enough to be met with.
const KEYS: usize = 40_000;

pub(super) async fn kill(trial: &mut Trial, shard: usize, side: Side) -> Result<()> {
    let primary = trial.cluster.primary(shard).await?;
    let replicas = trial.cluster.replicas(primary).await?;
    ensure!(replicas.len() == 2, "replicas: {replicas:?}");
    fill(trial, shard, primary, KEYS).await?;
    let target = replicas[1];
    trial.cluster.nodes[target].kill();
    trial.cluster.nodes[target].start()?;
    until("a full sync is under way", async || {
        let info = trial
            .cluster
            .ask::<String>(target, "INFO replication")
            .await;
        let info = info.map_err(|error| format!("{error:#}"))?;
        if info.contains("master_sync_in_progress:1") {
            Ok(())
        } else {
            Err(info)
        }
    })
    .await?;
    match side {
        Side::Source => {
            trial.cluster.nodes[primary].kill();
            follow(trial, shard, primary).await?;
            let successor = trial
                .cluster
                .owner_at(target, trial.cluster.shape.slot(shard))
                .await?;
            ensure!(successor == replicas[0], "node {target} had not all data");
            trial.some_writes(&[shard]).await?;
            trial.cluster.nodes[primary].start()
        }
        Side::Target => {
            trial.cluster.nodes[target].kill();
            trial.some_writes(&[shard]).await?;
            trial.cluster.nodes[target].start()
        }
    }
}

/// Writes so many keys of half a kilobyte into the slot that the workload uses.
pub(super) async fn fill(trial: &Trial, shard: usize, primary: usize, keys: usize) -> Result<()> {
    let (tag, _) = tag_of(&trial.cluster.shape, shard);
    let address = trial.cluster.nodes[primary].address();
    let mut connection = crate::client::connect(address, crate::wait::PATIENCE).await?;
    let value = "v".repeat(500);
    for first in (0..keys).step_by(1000) {
        let mut pipe = redis::pipe();
        for number in first..first + 1000 {
            pipe.set(format!("{{{tag}}}ballast:{number}"), &value)
                .ignore();
        }
        let () = pipe.query_async(&mut connection).await?;
    }
    Ok(())
}
