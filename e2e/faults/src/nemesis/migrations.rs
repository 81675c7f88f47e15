//! Slots on the move, and harm to those who move them.

use anyhow::{Context, Result};

use super::processes::follow;
use super::syncs::fill;
use crate::trial::Trial;
use crate::wait::until;
use crate::workload::tag_of;

/// Keys in the slot, so that it takes a while to move it.
const KEYS: usize = 10_000;

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Victim {
    /// The primary that slots move from.
    Source,
    /// The primary that they move to.
    Target,
    /// A replica of the first.
    SourceReplica,
    /// A replica of the second.
    TargetReplica,
}

pub(super) async fn there_and_back(trial: &mut Trial, shard: usize) -> Result<()> {
    let source = trial.cluster.primary(shard).await?;
    let target = another(trial, shard).await?;
    move_slots(trial, shard, source, target).await?;
    trial.some_writes(&[shard]).await?;
    move_slots(trial, shard, target, source).await
}

async fn another(trial: &Trial, shard: usize) -> Result<usize> {
    let shards = trial.cluster.shape.shards;
    trial.cluster.primary((shard + 1) % shards).await
}

/// The command that moves the slot that the workload uses.
fn order(trial: &Trial, shard: usize, target: usize) -> String {
    let (_, slot) = tag_of(&trial.cluster.shape, shard);
    let (slot, id) = (slot.number(), &trial.cluster.ids[target]);
    format!("CLUSTER MIGRATESLOTS SLOTSRANGE {slot} {slot} NODE {id}")
}

async fn begin(trial: &Trial, shard: usize, source: usize, target: usize) -> Result<()> {
    let order = order(trial, shard, target);
    trial.cluster.insist(source, &order).await
}

async fn move_slots(trial: &Trial, shard: usize, source: usize, target: usize) -> Result<()> {
    begin(trial, shard, source, target).await?;
    wait_for_owner(trial, shard, target).await
}

async fn wait_for_owner(trial: &Trial, shard: usize, owner: usize) -> Result<()> {
    let (_, slot) = tag_of(&trial.cluster.shape, shard);
    until("the slot has its new owner everywhere", async || {
        let seen = trial.cluster.owner(&trial.cluster.all(), slot).await;
        match seen {
            Ok(seen) if seen == owner => Ok(()),
            Ok(seen) => Err(format!("node {seen}, not {owner}")),
            Err(error) => Err(format!("{error:#}")),
        }
    })
    .await?;
    Ok(())
}

/// Kills somebody while the slot moves. Wherever that leaves the slot, it is brought back.
pub(super) async fn kill(trial: &mut Trial, shard: usize, victim: Victim) -> Result<()> {
    let source = trial.cluster.primary(shard).await?;
    let target = another(trial, shard).await?;
    let of = match victim {
        Victim::Source | Victim::SourceReplica => source,
        Victim::Target | Victim::TargetReplica => target,
    };
    let replicas = trial.cluster.replicas(of).await?;
    let harmed_shard = if of == source {
        shard
    } else {
        (shard + 1) % trial.cluster.shape.shards
    };
    fill(trial, shard, source, KEYS).await?;
    begin(trial, shard, source, target).await?;
    let is_primary = matches!(victim, Victim::Source | Victim::Target);
    let killed = if is_primary {
        of
    } else {
        *replicas.first().context("a replica")?
    };
    trial.cluster.nodes[killed].kill();
    if is_primary {
        follow(trial, harmed_shard, killed).await?;
    }
    trial.some_writes(&[shard, harmed_shard]).await?;
    trial.cluster.nodes[killed].start()?;
    trial.cluster.wait_until_whole().await?;
    bring_back(trial, shard).await
}

async fn bring_back(trial: &Trial, shard: usize) -> Result<()> {
    let home = trial.cluster.primary(shard).await?;
    let (_, slot) = tag_of(&trial.cluster.shape, shard);
    until("the slot is where it was", async || {
        let owner = trial.cluster.owner(&trial.cluster.all(), slot).await;
        let owner = owner.map_err(|error| format!("{error:#}"))?;
        if owner == home {
            return Ok(());
        }
        // It is refused while the slot moves, and where it has just left.
        let order = order(trial, shard, home);
        match trial.cluster.ask::<redis::Value>(owner, &order).await {
            Ok(_) => Err(format!("it moves from node {owner}")),
            Err(error) => Err(format!("it is at node {owner}: {error:#}")),
        }
    })
    .await?;
    Ok(())
}
