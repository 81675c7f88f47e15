//! Harm to the network.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::processes::follow;
use crate::network::Link;
use crate::trial::Trial;

/// The packets of a node that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// Those that it sends.
    From,
    /// Those that are meant for it.
    To,
}

pub(super) async fn cut_primary(trial: &mut Trial, shard: usize) -> Result<()> {
    let primary = trial.cluster.primary(shard).await?;
    let side = [primary, trial.clients_apart()];
    trial.cut_off(&side)?;
    follow(trial, shard, primary).await?;
    trial.some_writes(&[shard]).await?;
    trial.cluster.network.heal();
    Ok(())
}

pub(super) async fn silence(trial: &mut Trial, shard: usize, lost: Direction) -> Result<()> {
    let primary = trial.cluster.primary(shard).await?;
    for other in trial.cluster.all_but(&[primary]) {
        let (from, to) = match lost {
            Direction::From => (primary, other),
            Direction::To => (other, primary),
        };
        trial.cluster.network.link(from, to, Link::Cut)?;
    }
    follow(trial, shard, primary).await?;
    trial.some_writes(&[shard]).await?;
    trial.cluster.network.heal();
    Ok(())
}

pub(super) async fn cut_minority(trial: &mut Trial) -> Result<()> {
    let first = trial.cluster.primary(0).await?;
    let second = trial.cluster.primary(1).await?;
    let side = [first, second, trial.clients_apart()];
    trial.cut_off(&side)?;
    let others = trial.cluster.all_but(&[first, second]);
    for (shard, primary) in [(0, first), (1, second)] {
        let cluster = &trial.cluster;
        cluster.wait_for_successor(&others, shard, primary).await?;
        trial.some_writes(&[shard]).await?;
    }
    trial.cluster.network.heal();
    Ok(())
}

pub(super) async fn slow_primary(trial: &mut Trial, shard: usize) -> Result<()> {
    let primary = trial.cluster.primary(shard).await?;
    let others = trial.cluster.all_but(&[primary]);
    let slow = Link::Slow(Duration::from_millis(200));
    trial.cluster.network.links(&[primary], &others, slow)?;
    // Longer than a lease, at the rate of the workload.
    let shards: Vec<usize> = (0..trial.cluster.shape.shards).collect();
    trial.workload.wait_for_writes(&shards, 500).await?;
    let still = trial.cluster.primary(shard).await?;
    ensure!(
        still == primary,
        "node {still} follows {primary}, which was only slow"
    );
    trial.cluster.network.heal();
    Ok(())
}

impl Trial {
    /// Cuts off these hosts from all others.
    fn cut_off(&self, side: &[usize]) -> Result<()> {
        let hosts = 0..self.cluster.nodes.len() + crate::trial::CLIENT_HOSTS;
        let others: Vec<usize> = hosts.filter(|host| !side.contains(host)).collect();
        self.cluster.network.links(side, &others, Link::Cut)
    }
}
