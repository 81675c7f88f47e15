//! The target's side of a migration: applies what arrives, out of sight, until the topology says whose the slots are.
//!
//! What has arrived outlives the connection: the next one, of the same source or of its successor, goes on there.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::Staging;
use super::tracker::{Operation, Subject, Tracker};
use crate::cluster::View;
use crate::node::Node;
use crate::replication::frame::Kind;
use crate::replication::place::Place;
use crate::replication::receive::Receiver;
use crate::replication::wire::{Wire, WireError};
use crate::replication::{FlowError, Inflow, Target, Told};
use crate::topology::{Migration, MigrationId, NodeId};

/// How long the topology that lists the migration may take to get here.
const KNOWN_WITHIN: Duration = Duration::from_secs(3);

/// How long the source may take to close after it was told that the slots are served here.
const FAREWELL: Duration = Duration::from_secs(2);

/// How long the source may take to say whether it goes on with what is here.
const ANSWER: Duration = Duration::from_secs(5);

/// What the source says when it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The migration.
    pub id: MigrationId,
    /// The source's primary.
    pub source: NodeId,
    /// Its incarnation.
    pub incarnation: u64,
    /// Its history, to which the offsets that it sends belong.
    pub history: NodeId,
}

/// A source that has connected.
pub struct Arrival {
    /// What it said.
    pub(super) offer: Offer,
    wire: Wire,
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

/// Why nothing more comes over a connection.
enum Left {
    Ended(Ended),
    Lost(FlowError),
    /// The source has connected anew.
    Superseded(Arrival),
}

struct Import {
    node: Arc<Node>,
    id: MigrationId,
    migration: Migration,
    tracker: Arc<Tracker>,
    views: watch::Receiver<Arc<View>>,
    staging: Staging,
    /// This node's history when it began: once it has another one, others may have changed what is here.
    mine: NodeId,
    /// What is here, while no connection is.
    place: Option<Place>,
}

/// Receives the slots of `migration` over `wire` and those that follow it, until the topology has decided.
pub async fn run(node: Arc<Node>, offer: Offer, migration: Migration, wire: Wire) {
    let arrival = Arrival { offer, wire };
    // Otherwise the task that receives these slots already goes on with this connection.
    if let Some(staging) = node.migrations.stage(&migration.slots, arrival) {
        Import::begin(node, offer, migration, staging).run().await;
    }
}

impl Import {
    fn begin(node: Arc<Node>, offer: Offer, migration: Migration, staging: Staging) -> Self {
        let subject = Subject {
            id: offer.id,
            operation: Operation::Import,
            slots: migration.slots.clone(),
            source: offer.source,
            target: node.cluster.view().myself,
        };
        let trackers = &node.migrations.trackers;
        Self {
            tracker: trackers.begin(subject, "receiving-snapshot"),
            mine: node.replication.history().id,
            views: node.cluster.changes(),
            node,
            id: offer.id,
            migration,
            staging,
            place: None,
        }
    }

    async fn run(mut self) {
        let mut arrived = None;
        loop {
            let arrival = match arrived.take() {
                Some(arrival) => arrival,
                None => match self.next_arrival().await {
                    Ok(arrival) => arrival,
                    Err(ended) => return self.finish(&ended, "the source is gone"),
                },
            };
            match self.serve(arrival).await {
                Left::Ended(ended) => return self.finish(&ended, ""),
                Left::Superseded(arrival) => arrived = Some(arrival),
                Left::Lost(error) => {
                    tracing::warn!(migration = %self.id, "transfer interrupted: {error}");
                    self.tracker.update(|status| {
                        status.state = "interrupted";
                        status.message = error.to_string();
                    });
                }
            }
        }
    }

    /// Waits for the source to connect; how the topology has ended the migration if that comes first.
    async fn next_arrival(&mut self) -> Result<Arrival, Ended> {
        loop {
            if let Some(ended) = self.ended() {
                return Err(ended);
            }
            match happened(&mut self.views, &mut self.staging.arrivals).await {
                Some(arrival) => return Ok(arrival),
                None => tokio::task::yield_now().await,
            }
        }
    }

    /// Receives what one connection brings.
    async fn serve(&mut self, arrival: Arrival) -> Left {
        let Arrival { offer, mut wire } = arrival;
        let receiver = match timeout(ANSWER, self.agree(&mut wire)).await {
            Ok(Ok(receiver)) => receiver,
            Ok(Err(error)) => return Left::Lost(error),
            Err(_) => return Left::Lost(FlowError::Wire(WireError::Silent)),
        };
        tracing::info!(migration = %self.id, slots = %self.migration.slots, here = receiver.whole().len(), source = %offer.source, "receiving slots");
        // What is not said to be here now is void.
        self.place = None;
        self.tracker.update(|status| {
            status.state = "receiving-snapshot";
            status.message.clear();
        });
        let target = Target::import(self.node.clone(), offer.id, self.mine);
        let mut inflow = Inflow::of(wire, target, receiver);
        let left = self.transfer(&mut inflow).await;
        self.place = inflow.place(offer.history);
        match &left {
            Left::Ended(Ended::Mine(index)) => {
                inflow.signal(Kind::Owned, *index);
                tokio::spawn(farewell(inflow));
            }
            Left::Ended(Ended::NotMine) => inflow.goodbye("the migration has ended"),
            Left::Lost(error) => inflow.goodbye(&error.to_string()),
            Left::Superseded(_) => inflow.goodbye("there is another connection"),
        }
        left
    }

    /// Says what is here, and hears whether the source goes on with that.
    async fn agree(&self, wire: &mut Wire) -> Result<Receiver, FlowError> {
        wire.welcome();
        Place::encode(self.place.as_ref(), &mut wire.out);
        let answer = wire.frame().await?;
        if answer.kind == Kind::Goodbye {
            return Err(FlowError::Role(answer.text()));
        }
        let slots = self.migration.slots.clone();
        let agreed = Place::decode(&answer).map_err(WireError::from)?;
        match (agreed, &self.place) {
            (None, _) => Ok(Receiver::new(slots)),
            (Some(place), Some(mine)) if place == *mine => {
                Ok(Receiver::resuming(slots, place.slots, place.offset))
            }
            (Some(_), _) => Err(FlowError::Role("this is not what is here".to_owned())),
        }
    }

    async fn transfer(&mut self, inflow: &mut Inflow) -> Left {
        loop {
            if let Some(ended) = self.ended() {
                return Left::Ended(ended);
            }
            let happened = happened(&mut self.views, &mut self.staging.arrivals);
            let told = match inflow.next(happened).await {
                Ok(told) => told,
                Err(error) => return Left::Lost(error),
            };
            self.tracker.heard();
            match told {
                Told::Interrupted(Some(arrival)) => return Left::Superseded(arrival),
                Told::Interrupted(None) | Told::Applied | Told::Resumed | Told::Offered { .. } => {}
                Told::Synced => self.set_state("waiting-for-paused", inflow),
                Told::Final(_) => self.set_state("failover-requested", inflow),
                Told::Goodbye(why) => return Left::Lost(FlowError::Role(why)),
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
        let serves = view.me().map(|me| me.shard) == Some(self.migration.target)
            && view.is_serving_primary();
        if view.topology.migrations.contains_key(&self.id) {
            // Another primary of this shard goes on with it, or this node will, with what it then has.
            let goes_on = serves && self.node.replication.history().id == self.mine;
            return (!goes_on).then_some(Ended::NotMine);
        }
        let mine = serves
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

    fn finish(self, ended: &Ended, reason: &str) {
        let state = match ended {
            Ended::Mine(_) => "success",
            Ended::NotMine => "failed",
        };
        self.tracker.update(|status| {
            status.state = state;
            if state == "success" {
                status.message.clear();
            } else if status.message.is_empty() {
                status.message = if reason.is_empty() {
                    "the migration has ended here".to_owned()
                } else {
                    reason.to_owned()
                };
            }
        });
        let metrics = &self.node.migrations.metrics;
        metrics.ended.with_label_values(&["import", state]).inc();
        tracing::info!(migration = %self.id, outcome = state, "receiving slots ended");
        // From now on stray data of these slots are swept.
        drop(self.staging);
    }
}

/// Waits for another connection, or for the topology to change.
async fn happened(
    views: &mut watch::Receiver<Arc<View>>,
    arrivals: &mut mpsc::UnboundedReceiver<Arrival>,
) -> Option<Arrival> {
    tokio::select! {
        // The sender is where the staging is.
        arrival = arrivals.recv() => arrival,
        _ = views.changed() => None,
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
