//! Following the role that the topology (or `REPLICAOF`) gives this node: one link to the right primary, or none.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::link::{self, LinkState, Upstream};
use crate::node::Node;

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
        // It may have been a primary for a moment, in which clients have written.
        let was_promoted = upstream.is_none() || promoted > 0;
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
        replication.promotion_done(promoted);
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
