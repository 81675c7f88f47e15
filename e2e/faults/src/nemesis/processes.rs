//! Harm to processes.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use redis::FromRedisValue;

use crate::node::Node;
use crate::trial::Trial;
use crate::workload::tag_of;

pub(super) async fn kill_primary(trial: &mut Trial, shard: usize) -> Result<()> {
    let primary = trial.cluster.primary(shard).await?;
    trial.cluster.nodes[primary].kill();
    follow(trial, shard, primary).await?;
    trial.some_writes(&[shard]).await?;
    trial.cluster.nodes[primary].start()
}

pub(super) async fn stop_primary(trial: &mut Trial, shard: usize) -> Result<()> {
    let primary = trial.cluster.primary(shard).await?;
    trial.cluster.nodes[primary].signal(Signal::SIGSTOP)?;
    let followed = follow(trial, shard, primary).await;
    trial.cluster.nodes[primary].signal(Signal::SIGCONT)?;
    followed
}

pub(super) async fn terminate(trial: &mut Trial, shard: usize) -> Result<()> {
    let primary = trial.cluster.primary(shard).await?;
    trial.cluster.nodes[primary].signal(Signal::SIGTERM)?;
    trial.cluster.nodes[primary].ended().await?;
    follow(trial, shard, primary).await?;
    trial.cluster.nodes[primary].start()
}

pub(super) async fn fail_over(trial: &mut Trial, shard: usize) -> Result<()> {
    let primary = trial.cluster.primary(shard).await?;
    let replica = trial.cluster.replicas(primary).await?[0];
    let () = trial.cluster.ask(replica, "CLUSTER FAILOVER").await?;
    let all = trial.cluster.all();
    let successor = trial
        .cluster
        .wait_for_successor(&all, shard, primary)
        .await?;
    ensure!(
        successor == replica,
        "node {successor} follows, not {replica}"
    );
    Ok(())
}

pub(super) async fn kill_two_voters(trial: &mut Trial) -> Result<()> {
    let leader = trial.cluster.leader(0).await?;
    let shards = 0..trial.cluster.shape.shards;
    let mut primaries = vec![];
    for shard in shards {
        primaries.push((shard, trial.cluster.primary(shard).await?));
    }
    // Those who stand for election are killed with the leader, but no shard loses all its members.
    let kin = trial.cluster.replicas(leader).await.unwrap_or_default();
    let other = primaries
        .iter()
        .map(|(_, primary)| *primary)
        .find(|one| *one != leader && !kin.contains(one) && !is_kin(trial, *one, leader))
        .unwrap_or(leader);
    ensure!(other != leader, "no other shard has a primary");
    trial.cluster.nodes[leader].kill();
    trial.cluster.nodes[other].kill();
    let living = trial.cluster.all_but(&[leader, other]);
    for (shard, primary) in primaries {
        if [leader, other].contains(&primary) {
            let cluster = &trial.cluster;
            cluster.wait_for_successor(&living, shard, primary).await?;
            trial.some_writes(&[shard]).await?;
        }
    }
    trial.cluster.nodes[leader].start()?;
    trial.cluster.nodes[other].start()
}

/// Whether two nodes are of one shard: a shard's members are as many numbers apart as there are shards.
fn is_kin(trial: &Trial, one: usize, other: usize) -> bool {
    let shards = trial.cluster.shape.shards;
    one % shards == other % shards
}

pub(super) async fn restart_empty(trial: &mut Trial, shard: usize) -> Result<()> {
    let primary = trial.cluster.primary(shard).await?;
    let replica = trial.cluster.replicas(primary).await?[0];
    let before: usize = trial.cluster.ask(replica, "DBSIZE").await?;
    ensure!(before > 0, "the replica has nothing that could be wiped");
    trial.cluster.nodes[primary].kill();
    trial.cluster.nodes[primary].start()?;
    let all = trial.cluster.all();
    let successor = trial
        .cluster
        .wait_for_successor(&all, shard, primary)
        .await?;
    ensure!(
        successor == replica,
        "node {successor} follows, not {replica}"
    );
    trial.cluster.wait_until_whole().await?;
    // The workload removes nothing.
    let after: usize = trial.cluster.ask(replica, "DBSIZE").await?;
    ensure!(
        after >= before,
        "the replica had {before} keys, and has {after}"
    );
    Ok(())
}

pub(super) async fn restart_all(trial: &mut Trial) -> Result<()> {
    kill_all(trial)?;
    start_all(trial).await
}

/// All nodes come back without data. Nothing is left, and nothing that is acknowledged from then on is lost.
pub(super) async fn restart_all_empty(trial: &mut Trial) -> Result<()> {
    for shard in 0..trial.cluster.shape.shards {
        ask_primary::<()>(trial, shard, &format!("SET {} here", mark(trial, shard))).await?;
    }
    kill_all(trial)?;
    trial.nothing_is_lost_from_now_on();
    start_all(trial).await?;
    for shard in 0..trial.cluster.shape.shards {
        let exists = format!("EXISTS {}", mark(trial, shard));
        let left: usize = ask_primary(trial, shard, &exists).await?;
        ensure!(left == 0, "shard {shard} has data of before, from nowhere");
    }
    Ok(())
}

/// A key of a shard that the workload does not use.
fn mark(trial: &Trial, shard: usize) -> String {
    let (tag, _) = tag_of(&trial.cluster.shape, shard);
    format!("{{{tag}}}mark")
}

async fn ask_primary<T: FromRedisValue>(trial: &Trial, shard: usize, command: &str) -> Result<T> {
    let primary = trial.cluster.primary(shard).await?;
    trial.cluster.ask(primary, command).await
}

/// Kills all nodes at once: nobody sees another one end.
fn kill_all(trial: &mut Trial) -> Result<()> {
    for node in &trial.cluster.nodes {
        node.signal(Signal::SIGKILL)?;
    }
    // Waits for their ends.
    trial.cluster.nodes.iter_mut().for_each(Node::kill);
    Ok(())
}

async fn start_all(trial: &mut Trial) -> Result<()> {
    for node in &mut trial.cluster.nodes {
        node.start()?;
    }
    let shards: Vec<usize> = (0..trial.cluster.shape.shards).collect();
    trial.some_writes(&shards).await
}

/// Waits until all others know that somebody has followed `old`.
pub(super) async fn follow(trial: &Trial, shard: usize, old: usize) -> Result<()> {
    let others = trial.cluster.all_but(&[old]);
    let cluster = &trial.cluster;
    cluster.wait_for_successor(&others, shard, old).await?;
    Ok(())
}
