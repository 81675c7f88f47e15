//! Harm to disks.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::processes::follow;
use crate::trial::Trial;

/// Bytes of a node's disk: enough for what it needs to know of the cluster.
pub(super) const SIZE: u64 = 1024 * 1024;
/// What fills it up.
const FILLER: &str = "filler";

/// A primary's disk is full, and the topology changes, which every node writes down: what it needs to know of the cluster has its place.
pub(super) async fn fill(trial: &mut Trial, shard: usize) -> Result<()> {
    let primary = trial.cluster.primary(shard).await?;
    trial.cluster.nodes[primary].in_directory(fill_up)?;
    let other = (shard + 1) % trial.cluster.shape.shards;
    let old = trial.cluster.primary(other).await?;
    let replica = trial.cluster.replicas(old).await?[0];
    let () = trial.cluster.ask(replica, "CLUSTER FAILOVER").await?;
    trial.some_writes(&[shard, other]).await?;
    ensure!(
        trial.cluster.primary(shard).await? == primary,
        "a primary with a full disk was followed"
    );
    let make_room = |directory: &Path| fs::remove_file(directory.join(FILLER)).context("make room");
    trial.cluster.nodes[primary].in_directory(make_room)?;
    // Its next process finds what it has written down meanwhile.
    trial.cluster.nodes[primary].kill();
    follow(trial, shard, primary).await?;
    trial.cluster.nodes[primary].start()
}

fn fill_up(directory: &Path) -> Result<()> {
    let mut file = File::create(directory.join(FILLER)).context("fill a disk")?;
    loop {
        match file.write(&[0; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).context("fill a disk"),
        }
    }
}
