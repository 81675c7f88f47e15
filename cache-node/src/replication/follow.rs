//! Following the role that the topology (or `REPLICAOF`) gives this node: one link to the right primary, or none.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::link::{self, LinkState, Upstream};
use crate::node::Node;

/// A time in which a node copies nobody.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PrimaryTerm {
    term: u64,
    orders: u64,
}

impl PrimaryTerm {
    /// The one of now; none while the node is to copy another.
    pub fn of(node: &Node) -> Option<Self> {
        node.replication.upstream(node).is_none().then(|| Self {
            term: node.cluster.peek().terms,
            orders: node.replication.orders(),
        })
    }

    /// Returns when it is over.
    pub async fn end(self, node: &Node) {
        let mut views = node.cluster.changes();
        let mut configured = node.replication.configured.subscribe();
        while Self::of(node) == Some(self) {
            tokio::select! {
                _ = views.changed() => {}
                _ = configured.changed() => {}
            }
        }
    }
}

/// Keeps the link to the primary as it should be, for ever.
pub async fn follow(node: Arc<Node>) {
    let mut views = node.cluster.changes();
    let mut configured = node.replication.configured.subscribe();
    let mut link: Option<(Upstream, JoinHandle<()>)> = None;
    loop {
        let replication = &node.replication;
        let upstream = replication.upstream(&node);
        // In this order: a promotion before that upstream is never overlooked.
        let promoted = replication.promoted.load(Ordering::SeqCst);
        let term = node.cluster.peek().terms;
        // It may have been a primary for a moment, in which clients have written.
        let has_term = term != replication.terms_seen.load(Ordering::SeqCst);
        let was_promoted = upstream.is_none() || promoted > 0 || has_term;
        let branches = was_promoted && replication.follows.load(Ordering::Acquire);
        // A process on its way down copies nobody any more: what is on its disk at the end is all that it has.
        let ends = node.shutdown.is_requested();
        let wanted = upstream.filter(|_| !ends);
        if branches || link.as_ref().map(|(upstream, _)| upstream) != wanted.as_ref() {
            if let Some((_, task)) = link.take() {
                stop(&node, task).await;
            }
            if branches {
                replication.branch();
            }
            link = wanted.map(|upstream| start(&node, upstream));
        }
        replication.promotion_done(promoted, term);
        let alive = tokio::select! {
            changed = views.changed() => changed.is_ok(),
            changed = configured.changed() => changed.is_ok(),
            () = node.shutdown.requested(), if !ends => true,
        };
        if !alive {
            return;
        }
    }
}

fn start(node: &Arc<Node>, upstream: Upstream) -> (Upstream, JoinHandle<()>) {
    tracing::info!(primary = %upstream.host, port = upstream.port, "copying another node from now on");
    let (requests, inbox) = mpsc::unbounded_channel();
    node.replication.set_requests(Some(requests));
    node.replication.follows.store(true, Ordering::Release);
    let task = tokio::spawn(link::run(node.clone(), upstream.clone(), inbox));
    (upstream, task)
}

async fn stop(node: &Arc<Node>, task: JoinHandle<()>) {
    task.abort();
    // Aborted between two steps, never within one.
    let _ = task.await;
    let replication = &node.replication;
    replication.set_requests(None);
    replication.set_link_state(LinkState::Connect);
    if replication.is_incomplete() {
        tracing::warn!("the last full sync did not end; the data are a mixture of old and new");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Cluster, View};
    use crate::config::{Config, Settings};
    use crate::topology::{Address, Member, NodeId, ShardId, Topology};

    /// This node, and the other one.
    const ME: [u8; 20] = [1; 20];
    const OTHER: [u8; 20] = [2; 20];

    /// A shard of two nodes that cannot be reached, with this primary.
    fn view(primary: [u8; 20]) -> View {
        let address = Address {
            ip: "127.0.0.1".to_owned(),
            port: 1,
            bus_port: 1,
            hostname: String::new(),
        };
        let member = |id| Member {
            id: NodeId::new(id),
            address: address.clone(),
            shard: ShardId::new([3; 20]),
        };
        let mut topology = Topology::single(1, member(primary), 7);
        for id in [ME, OTHER] {
            topology.members.insert(NodeId::new(id), member(id));
        }
        View::new(
            NodeId::new(ME),
            7,
            address.clone(),
            Arc::new(topology),
            Arc::default(),
        )
    }

    /// A moment as a primary that was over before anybody looked: clients may have written in it, so the data are no place in the old
    /// history any more.
    #[tokio::test]
    async fn a_moment_as_a_primary_is_not_overlooked() {
        let cluster = Cluster::detached(view(OTHER));
        let node = Arc::new(Node::new(Config::new(Settings::default(), None), cluster));
        let following = tokio::spawn(follow(node.clone()));
        tokio::task::yield_now().await;
        assert!(node.replication.is_settled(&node));
        let before = node.replication.history();
        node.cluster.show(view(OTHER));
        tokio::task::yield_now().await;
        assert_eq!(node.replication.history(), before);
        node.cluster.show(view(ME));
        node.cluster.show(view(OTHER));
        assert!(!node.replication.is_settled(&node));
        let mut histories = node.replication.history.subscribe();
        let limit = std::time::Duration::from_secs(20);
        tokio::time::timeout(limit, histories.changed())
            .await
            .expect("in time")
            .expect("the node is there");
        assert_eq!(node.replication.history().before, Some((before.id, 0)));
        following.abort();
    }
}
