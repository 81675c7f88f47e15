//! The primary's side of replication: one task a connected replica.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::FlowError;
use super::frame::{Frame, Kind};
use super::handover::Paused;
use super::history::{Answer, History};
use super::outflow::{Heard, Outflow};
use super::replicas::{Connected, Order};
use super::source::StoreSource;
use super::walk::Walk;
use super::wants::Wants;
use super::wire::Wire;
use crate::cluster::View;
use crate::log::Cursor;
use crate::node::Node;
use crate::topology::NodeId;

/// How long clients wait for a replica that has become the primary to know that.
const TAKES_OVER: Duration = Duration::from_secs(1);

/// What a replica says when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The replica.
    pub node: NodeId,
    /// Its client port.
    pub port: u16,
    /// The history that its data belong to.
    pub history: NodeId,
    /// Where in it they are.
    pub offset: u64,
    /// What it wants.
    pub wants: Wants,
    /// Whom it wants to copy: a primary and its incarnation, or nobody in particular when cluster mode is off.
    pub primary: Option<(NodeId, u64)>,
}

/// Why this node does not serve a replica.
///
/// # Errors
///
/// A text for the replica.
pub fn admit(view: &View, has_data: bool, hello: &Hello) -> Result<(), String> {
    let Some((primary, incarnation)) = hello.primary else {
        return match (view.enabled, has_data) {
            (true, _) => Err("cluster mode is on here; use CLUSTER REPLICATE".to_owned()),
            (false, false) => Err("I copy another node myself, and have no link to it".to_owned()),
            (false, true) => Ok(()),
        };
    };
    if !view.enabled {
        return Err("cluster mode is off here".to_owned());
    }
    if hello.wants == Wants::CopyOnly {
        let (_, shard) = view.topology.shard_of(view.myself).unzip();
        let copied = view.my_primary().map(|primary| primary.id);
        let since = shard.map(|shard| shard.primary_incarnation);
        if (copied, since) != (Some(primary), Some(incarnation)) {
            return Err(format!("I am no replica of {primary}"));
        }
        if !has_data {
            return Err("I have no link to my primary".to_owned());
        }
    } else if primary != view.myself {
        return Err(format!("I am {}, not {primary}", view.myself));
    } else if incarnation != view.incarnation || !view.is_serving_primary() {
        return Err("I am not the serving primary of my shard".to_owned());
    }
    let mine = view.me().map(|me| me.shard);
    let theirs = view
        .topology
        .members
        .get(&hello.node)
        .map(|them| them.shard);
    if theirs.is_none() || mine != theirs {
        return Err("you are not a replica in my shard".to_owned());
    }
    Ok(())
}

/// Serves the replica that `hello` names until the connection ends.
pub async fn serve(node: Arc<Node>, hello: Hello, mut wire: Wire) {
    let ip = wire
        .peer()
        .map_or_else(String::new, |peer| peer.ip().to_string());
    let mut histories = node.replication.history.subscribe();
    let history = histories.borrow_and_update().clone();
    let metrics = &node.replication.metrics;
    let missing = history
        .passes(hello.history, hello.offset)
        .then(|| node.log.cursor_at(hello.offset))
        .flatten();
    let answer = Answer {
        full: missing.is_none(),
        history,
        end: missing.as_ref().map_or(node.log.end(), Cursor::offset),
        keys: node.store.count_keys(|_| true) as u64,
        bytes: node.store.memory().used() as u64,
        sibling: missing.is_none().then(|| sibling(&node, &hello)).flatten(),
    };
    wire.answer(&answer.line());
    if let Some((host, port)) = answer.sibling {
        tracing::info!(replica = %hello.node, from = host, port, "a full sync is left to another replica");
        metrics.sent_to_siblings.inc();
        // If it cannot be said, it is asked again.
        let _ = wire.flush().await;
        return;
    }
    let connected = node.replication.replicas.add(hello.node, ip, hello.port);
    let (walk, source) = match missing {
        Some(cursor) => {
            tracing::info!(replica = %hello.node, offset = hello.offset, "a replica goes on where it was");
            connected.set_online();
            metrics.served_partial.inc();
            let walk = Walk::going_on(hello.offset);
            (walk, StoreSource::at(node.clone(), cursor))
        }
        None => {
            tracing::info!(replica = %hello.node, "full sync begins");
            metrics.served_full.inc();
            (Walk::of_all(), StoreSource::new(node.clone()))
        }
    };
    let source = source.named(format!("replica {}:{}", connected.replica.ip, hello.port));
    let mut serving = Serving {
        outflow: Outflow::of(wire, walk, source),
        histories,
        views: node.cluster.changes(),
        connected,
        hand_over: HandOver::None,
        node: &node,
        hello: &hello,
    };
    let error = serving.run().await.err();
    match serving.take() {
        HandOver::Final(paused, _) if follows(&node.cluster.view(), hello.node) => {
            tracing::info!(replica = %hello.node, "the replica has taken over");
            serving.wait_for_end().await;
            paused.resume();
            return;
        }
        // The replica may have proposed its promotion already.
        HandOver::Final(paused, _) => {
            tokio::spawn(paused.settle(node.clone()));
        }
        HandOver::Catching(paused, _) => paused.resume(),
        HandOver::None => {}
    }
    match error {
        Some(FlowError::Role(why)) => {
            tracing::info!(replica = %hello.node, "replica disconnected: {why}");
            serving.outflow.goodbye(&why);
        }
        Some(error) => {
            if matches!(error, FlowError::Overrun(_)) {
                node.replication.metrics.overruns.inc();
            }
            tracing::warn!(replica = %hello.node, "replica disconnected: {error}");
            serving.outflow.goodbye(&error.to_string());
        }
        None => {}
    }
}

/// Whether `node` has become the primary of this node's shard.
fn follows(view: &View, node: NodeId) -> bool {
    view.my_primary().is_some_and(|primary| primary.id == node)
}

/// A replica that may send the full sync: one that has so much that what is missing then will still be in the log's memory.
fn sibling(node: &Node, hello: &Hello) -> Option<(String, u16)> {
    if hello.wants != Wants::Replication {
        return None;
    }
    let log = &node.log;
    let enough = log.end().saturating_sub(log.capacity() as u64 / 2);
    let sibling = node.replication.replicas.sibling(hello.node, enough)?;
    Some((sibling.ip.clone(), sibling.port))
}

/// A hand-over to this replica.
enum HandOver {
    None,
    /// Paused; the replica is to get everything up to the pause.
    Catching(Paused, Instant),
    /// The replica may have everything, and may propose.
    Final(Paused, Instant),
}

struct Serving<'a> {
    node: &'a Arc<Node>,
    hello: &'a Hello,
    outflow: Outflow,
    connected: Connected,
    views: watch::Receiver<Arc<View>>,
    histories: watch::Receiver<History>,
    hand_over: HandOver,
}

impl Serving<'_> {
    async fn run(&mut self) -> Result<(), FlowError> {
        loop {
            self.outflow.set_prompt(self.node.synchronous() > 0);
            let deadline = match &self.hand_over {
                HandOver::None => None,
                HandOver::Catching(_, deadline) | HandOver::Final(_, deadline) => Some(*deadline),
            };
            tokio::select! {
                heard = self.outflow.next() => self.heard(heard?).await,
                Some(order) = self.connected.inbox.recv() => self.obey(order),
                _ = self.views.changed() => self.check_role()?,
                _ = self.histories.changed() => {
                    return Err(FlowError::Role("my data have another history now".to_owned()));
                }
                () = until(deadline), if deadline.is_some() => self.give_up(),
            }
            self.announce_final();
        }
    }

    async fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Synced => {
                self.connected.set_online();
                let progress = self.outflow.progress();
                tracing::info!(replica = %self.hello.node, keys = progress.keys, bytes = progress.bytes, "full sync done");
            }
            Heard::Frame(frame) => self.frame(&frame).await,
        }
    }

    async fn frame(&mut self, frame: &Frame) {
        match frame.kind {
            Kind::Ack => {
                self.connected.acknowledge(frame.offset);
                if let Some(synced) = frame.synced() {
                    self.connected.acknowledge_synced(synced);
                }
            }
            Kind::HandOver => self.pause(Duration::from_millis(frame.offset)).await,
            Kind::Resume => {
                if let HandOver::Catching(paused, _) | HandOver::Final(paused, _) = self.take() {
                    tracing::info!(replica = %self.hello.node, "the replica abandoned the hand-over");
                    paused.resume();
                }
            }
            _ => tracing::warn!(replica = %self.hello.node, kind = ?frame.kind, "unexpected frame"),
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::AskAck => self.outflow.ask_ack(),
            Order::Offer(within_ms) => self.outflow.signal(Kind::HandOver, within_ms),
        }
    }

    async fn pause(&mut self, within: Duration) {
        if !matches!(self.hand_over, HandOver::None) || !self.connected.replica.is_online() {
            return;
        }
        let deadline = Instant::now() + within;
        match Paused::new(self.node, within).await {
            Some(paused) => {
                tracing::info!(replica = %self.hello.node, offset = paused.offset(), "paused for a hand-over");
                self.outflow.finish_at(paused.offset());
                self.hand_over = HandOver::Catching(paused, deadline);
            }
            None => self.outflow.signal(Kind::Resume, 0),
        }
    }

    /// From the moment that [`Kind::Final`] is on its way, only the topology can say how the hand-over ends.
    fn announce_final(&mut self) {
        if !self.outflow.is_finished() {
            return;
        }
        self.hand_over = match self.take() {
            HandOver::Catching(paused, deadline) => HandOver::Final(paused, deadline),
            other => other,
        };
    }

    fn take(&mut self) -> HandOver {
        std::mem::replace(&mut self.hand_over, HandOver::None)
    }

    fn give_up(&mut self) {
        tracing::warn!(replica = %self.hello.node, "the hand-over took too long");
        self.outflow.signal(Kind::Resume, 0);
        match self.take() {
            HandOver::None => {}
            HandOver::Catching(paused, _) => paused.resume(),
            HandOver::Final(paused, _) => {
                tokio::spawn(paused.settle(self.node.clone()));
            }
        }
    }

    /// The connection ends with the role.
    fn check_role(&self) -> Result<(), FlowError> {
        let view = self.node.cluster.view();
        // Once it is served, it is as good as this node's own data.
        admit(&view, true, self.hello).map_err(FlowError::Role)
    }

    /// Waits until the replica ends the connection, which it does when it knows that it is the primary: before that it would send back
    /// the clients that are sent to it.
    async fn wait_for_end(&mut self) {
        let ended = async { while self.outflow.next().await.is_ok() {} };
        if tokio::time::timeout(TAKES_OVER, ended).await.is_err() {
            tracing::warn!(replica = %self.hello.node, "the replica does not seem to know that it is the primary");
        }
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
