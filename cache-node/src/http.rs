//! The HTTP port: `/metrics` for Prometheus, `/livez` and `/readyz` for the kubelet.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::clock;
use crate::cluster::node_state;
use crate::node::Node;

/// A worker that has not gone round for so long is stuck, in milliseconds.
const STUCK: u64 = 15_000;

/// Serves the HTTP port until connections are to close.
pub(crate) async fn serve(node: Arc<Node>, listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "serving metrics and probes");
    }
    let closing = Arc::clone(&node);
    axum::serve(listener, router(node))
        .with_graceful_shutdown(async move { closing.shutdown.closing().await })
        .await
}

fn router(node: Arc<Node>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(node)
}

async fn metrics(State(node): State<Arc<Node>>) -> Response {
    match crate::metrics::text(&node) {
        Ok(text) => {
            let kind = [(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)];
            (kind, text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

fn answer(trouble: Option<String>) -> Response {
    match trouble {
        None => "ok\n".into_response(),
        Some(trouble) => (StatusCode::SERVICE_UNAVAILABLE, trouble + "\n").into_response(),
    }
}

async fn livez(State(node): State<Arc<Node>>) -> Response {
    answer(why_not_alive(&node))
}

async fn readyz(State(node): State<Arc<Node>>) -> Response {
    answer(why_not_ready(&node))
}

fn why_not_alive(node: &Node) -> Option<String> {
    let now = clock::now();
    let workers = node.stats.workers();
    let stuck = workers.iter().position(|worker| {
        let last = worker.last_round.load(Relaxed);
        last != 0 && now.saturating_sub(last) > STUCK
    })?;
    Some(format!("worker {stuck} is stuck"))
}

/// A node is ready when clients may be sent to it: as a primary, as a replica whose link is up, or as one that waits for slots or to
/// be met (without which a cluster could not be formed).
fn why_not_ready(node: &Node) -> Option<String> {
    if node.shutdown.is_requested() {
        return Some("shutting down".to_owned());
    }
    if node.is_loading() {
        return Some("loading its data".to_owned());
    }
    if node.is_replica() {
        let down = !node.replication.is_link_up();
        return down.then(|| "the link to the primary is down".to_owned());
    }
    let view = node.cluster.peek();
    if view.enabled && node_state(&view) == "quarantined" {
        return Some("restarted without its data, waits to be reinstated".to_owned());
    }
    None
}
