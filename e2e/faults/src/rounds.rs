//! Many failovers, one after the other, and for how long each shard took no writes.

pub mod cli;
mod holding;
mod kind;
mod operated;
mod report;
mod round;
pub mod silence;
mod writer;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

pub use kind::Kind;
pub use operated::series as operated_series;
pub use report::{Distribution, histogram, table};

use crate::cluster::{Cluster, Shape};
use round::Subject;

/// What one round has shown.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The shard that it was about.
    pub shard: usize,
    /// Longest time between two acknowledged writes of the shard's client.
    pub gap: Duration,
    /// From the fault until all living nodes knew the new primary.
    pub known: Duration,
    /// Acknowledged writes that were not there afterwards.
    pub lost: usize,
    /// Attempts of the client that were refused or had no answer, but for redirections.
    pub errors: usize,
}

/// All rounds of a kind with one number of shards.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// What the operator did meanwhile, where there is one.
    pub operator: Option<Vec<String>>,
    /// Shards of the cluster.
    pub shards: usize,
    /// Replicas of each shard.
    pub replicas: usize,
    /// What was done.
    pub kind: Kind,
    /// What came of it.
    pub outcomes: Vec<Outcome>,
}

impl Series {
    /// What was done, and whether there was an operator.
    #[must_use]
    pub fn title(&self) -> String {
        let operator = if self.operator.is_some() {
            ", operator up"
        } else {
            ""
        };
        format!("{}{operator}", self.kind.title())
    }
}

/// Does `kind` to a cluster of so many shards, `rounds` times, to one shard after the other. `progress` is told each outcome.
///
/// # Errors
/// If the cluster does not form, or does not do what it should.
pub fn series(
    executable: &Path,
    kind: Kind,
    shards: usize,
    rounds: usize,
    progress: impl Fn(usize, &Outcome) + Sync,
) -> Result<Series> {
    let shape = shape(kind, shards);
    let replicas = shape.replicas;
    let network = shape.network(1)?;
    let observer = network.host(shape.nodes()).clone();
    let outcomes = observer.run(|| {
        // Clients must not wait for each other, nor for what is asked meanwhile.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        runtime.block_on(async {
            let mut cluster = Cluster::start(executable, shape, network).await?;
            rounds_of(&mut cluster, kind, rounds, &progress).await
        })
    })??;
    Ok(Series {
        operator: None,
        shards,
        replicas,
        kind,
        outcomes,
    })
}

async fn rounds_of(
    subject: &mut impl Subject,
    kind: Kind,
    rounds: usize,
    progress: &impl Fn(usize, &Outcome),
) -> Result<Vec<Outcome>> {
    let mut outcomes = vec![];
    for round in 0..rounds {
        let done = round::execute(subject, kind, round).await;
        for outcome in done.with_context(|| format!("round {round}"))? {
            progress(round, &outcome);
            outcomes.push(outcome);
        }
    }
    Ok(outcomes)
}

/// One shard alone has two replicas: with one, no majority would be left of two nodes.
fn shape(kind: Kind, shards: usize) -> Shape {
    let mut shape = Shape::new(shards, if shards == 1 { 2 } else { 1 });
    shape.virtual_hosts = kind == Kind::Silence;
    if kind == Kind::Addresses {
        shape.names = true;
        shape.arguments = ["--appendonly", "yes"].map(str::to_owned).into();
    }
    shape
}
