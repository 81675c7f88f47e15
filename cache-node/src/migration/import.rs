//! The target's side of a migration: applies what arrives, out of sight, until the topology says whose the slots are.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::Staging;
use super::tracker::{Operation, Subject, Tracker};
use crate::cluster::View;
use crate::node::Node;
use crate::replication::frame::Kind;
use crate::replication::wire::Wire;
use crate::replication::{FlowError, Inflow, Target, Told};
use crate::topology::{Migration, MigrationId, NodeId, TopologyCommand};

/// How long the topology that lists the migration may take to get here.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);

/// How long the source may take to close after it was told that the slots are served here.
const FAREWELL: Duration = Duration::from_secs(2);

/// An abort is proposed so often while the source is gone and the topology has not decided.
const ABORT_EVERY: Duration = Duration::from_secs(1);

/// What the source says when it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The migration.
    pub id: MigrationId,
    /// The source's primary.
    pub source: NodeId,
    /// Its incarnation.
    pub incarnation: u64,
}

/// Waits until the migration is known here, and checks that both sides are what the topology says.
///
/// # Errors
///
/// A text for the source.
pub async fn admit(node: &Node, offer: Offer) -> Result<Migration, String> {
    let mut views = node.cluster.changes();
    let known = timeout(
        KNOWN_WITHIN,
        views.wait_for(|view| view.topology.migrations.contains_key(&offer.id)),
    );
    if known.await.is_err() {
        return Err(format!("slot migration {} is not known here", offer.id));
    }
    check(&node.cluster.view(), offer)
}

fn check(view: &View, offer: Offer) -> Result<Migration, String> {
    let topology = &view.topology;
    let migration = topology
        .migrations
        .get(&offer.id)
        .ok_or_else(|| format!("slot migration {} has ended", offer.id))?;
    let source = topology.shards.get(&migration.source);
    let from_source = source.is_some_and(|shard| {
        (shard.primary, shard.primary_incarnation) == (offer.source, offer.incarnation)
    });
    if !from_source {
        return Err("you are not the serving primary of the source shard".to_owned());
    }
    if view.me().map(|me| me.shard) != Some(migration.target) || !view.is_serving_primary() {
        return Err("I am not the serving primary of the target shard".to_owned());
    }
    Ok(migration.clone())
}

/// How the topology has ended a migration, seen from the target.
enum Ended {
    /// The slots are served here, as of this topology index.
    Mine(u64),
    /// They are not.
    NotMine,
}

struct Import {
    node: Arc<Node>,
    id: MigrationId,
    migration: Migration,
    tracker: Arc<Tracker>,
    views: watch::Receiver<Arc<View>>,
}

/// Receives the slots of `migration` over `wire`, until the topology has decided.
pub async fn run(node: Arc<Node>, offer: Offer, migration: Migration, mut wire: Wire) {
    wire.welcome();
    let staging = node.migrations.stage(offer.id, migration.slots.clone());
    let view = node.cluster.view();
    let subject = Subject {
        id: offer.id,
        operation: Operation::Import,
        slots: migration.slots.clone(),
        source: offer.source,
        target: view.myself,
    };
    let tracker = node
        .migrations
        .trackers
        .begin(subject, "receiving-snapshot");
    tracing::info!(migration = %offer.id, slots = %migration.slots, source = %offer.source, "receiving slots");
    let mut import = Import {
        views: node.cluster.changes(),
        node,
        id: offer.id,
        migration,
        tracker,
    };
    let target = Target::import(import.node.clone(), offer.id);
    let slots = import.migration.slots.clone();
    let mut inflow = Inflow::new(wire, target, slots);
    let transferred = import.transfer(&mut inflow).await;
    let (ended, reason) = match transferred {
        Ok(ended) => (ended, String::new()),
        Err(error) => {
            tracing::warn!(migration = %offer.id, "transfer interrupted: {error}");
            // The commit may be under way: the slots stay staged until the topology has decided.
            (import.decided().await, error.to_string())
        }
    };
    import.finish(&ended, reason, staging);
    if let Ended::Mine(index) = ended {
        inflow.signal(Kind::Owned, index);
        farewell(inflow).await;
    } else {
        inflow.goodbye("the migration has ended");
    }
}

impl Import {
    async fn transfer(&mut self, inflow: &mut Inflow) -> Result<Ended, FlowError> {
        loop {
            if let Some(ended) = self.ended() {
                return Ok(ended);
            }
            let told = inflow.next(self.views.changed()).await?;
            self.tracker.heard();
            match told {
                Told::Applied | Told::Interrupted(_) | Told::Resumed | Told::Offered { .. } => {}
                Told::Synced => self.set_state("waiting-for-paused", inflow),
                Told::Final(_) => self.set_state("failover-requested", inflow),
                Told::Goodbye(why) => return Err(FlowError::Role(why)),
            }
            self.tracker.update(|status| status.bytes = inflow.bytes());
        }
    }

    fn set_state(&self, state: &'static str, inflow: &Inflow) {
        self.tracker.update(|status| {
            status.state = state;
            status.bytes = inflow.bytes();
            status.slots = self.migration.slots.len();
        });
    }

    fn ended(&self) -> Option<Ended> {
        let view = self.node.cluster.view();
        if view.topology.migrations.contains_key(&self.id) {
            return None;
        }
        let mine = view.is_serving_primary()
            && view
                .topology
                .shard_of(view.myself)
                .is_some_and(|(_, shard)| shard.slots.is_superset(&self.migration.slots));
        Some(if mine {
            Ended::Mine(view.topology.index)
        } else {
            Ended::NotMine
        })
    }

    /// Waits until the topology has decided, and asks it to: whichever of completion and abort is committed first wins.
    async fn decided(&mut self) -> Ended {
        loop {
            if let Some(ended) = self.ended() {
                return ended;
            }
            let abort = TopologyCommand::AbortMigration { id: self.id };
            if let Err(error) = self.node.cluster.propose(abort).await {
                tracing::warn!(migration = %self.id, "could not abort: {error}");
                // Changes or not: it is looked at again either way.
                let _ = timeout(ABORT_EVERY, self.views.changed()).await;
            }
        }
    }

    fn finish(&self, ended: &Ended, reason: String, staging: Staging) {
        let state = match ended {
            Ended::Mine(_) => "success",
            Ended::NotMine => "failed",
        };
        self.tracker.update(|status| {
            status.state = state;
            if state == "failed" {
                status.message = if reason.is_empty() {
                    "the migration was aborted".to_owned()
                } else {
                    reason
                };
            }
        });
        let metrics = &self.node.migrations.metrics;
        metrics.ended.with_label_values(&["import", state]).inc();
        tracing::info!(migration = %self.id, outcome = state, "receiving slots ended");
        // From now on stray data of these slots are swept.
        drop(staging);
    }
}

async fn farewell(mut inflow: Inflow) {
    let closed = async {
        loop {
            match inflow.next(std::future::pending::<()>()).await {
                Ok(Told::Goodbye(_)) | Err(_) => return,
                Ok(_) => {}
            }
        }
    };
    // The source need not say goodbye; the slots are served in any case.
    let _ = timeout(FAREWELL, closed).await;
}
