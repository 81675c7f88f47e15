//! The operator's HTTP port: `/metrics`, `/livez`, `/readyz`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Serves until the process ends. `ready` says whether the API server was reached; an operator that waits to lead is ready too.
///
/// # Errors
/// When the address cannot be listened on.
pub async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let router = Router::new()
        .route("/livez", get(async || "ok"))
        .route(
            "/readyz",
            get(async move || match ready.load(Ordering::Relaxed) {
                true => (StatusCode::OK, "ok"),
                false => (
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the API server was not reached yet",
                ),
            }),
        )
        .route("/metrics", get(async move || metrics.text()));
    axum::serve(listener, router).await
}
