//! What every controller needs: the client, the clock, events, the error type and the retry rule.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Client;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::core::{ParseExpressionError, Selector};
use kube::runtime::controller::Action;

use super::{Options, pods};
use crate::clock::Clock;
use crate::event_recorder::Recorder;

/// The name under which controllers write.
pub const MANAGER: &str = "kube-controller-manager";

/// How soon a reconcile is repeated after a conflict or a collision.
pub const SOON: Duration = Duration::from_millis(50);

/// Shared by all controllers.
pub struct Context {
    /// Speaks to the API server.
    pub client: Client,
    /// Wall time that follows tokio's clock.
    pub clock: Clock,
    /// Writes events.
    pub recorder: Recorder,
    /// Timings.
    pub options: Options,
}

/// Why a reconcile failed; it is repeated.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused, or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// A label selector that cannot be read.
    #[error("bad selector: {0}")]
    Selector(#[from] ParseExpressionError),
}

/// Parameters of every create and update.
pub fn post() -> PostParams {
    PostParams {
        field_manager: Some(MANAGER.into()),
        ..PostParams::default()
    }
}

/// Deletes in the background, and only the object that was seen.
pub fn precondition(metadata: &ObjectMeta) -> DeleteParams {
    precondition_uid(metadata.uid.as_deref().unwrap_or_default())
}

/// Deletes in the background, and only the object with this uid.
pub fn precondition_uid(uid: &str) -> DeleteParams {
    DeleteParams::background().preconditions(Preconditions {
        uid: Some(uid.into()),
        resource_version: None,
    })
}

/// Whether the object was there already.
pub fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.reason == "AlreadyExists")
}

/// Whether the object (or its kind) is not there.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// Whether somebody else wrote first.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// The outcome of a deletion: an object that is gone, or that is another one by now, is what was wanted.
pub fn deleted<T>(outcome: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match outcome {
        Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error),
        _ => Ok(()),
    }
}

/// A selector that can be sent and matched. No selector selects nothing.
pub fn selector(labels: Option<&LabelSelector>) -> Result<Selector, ParseExpressionError> {
    labels.cloned().unwrap_or_default().try_into()
}

/// Come back when the next ready pod becomes available; without `minReadySeconds` there is nothing to wait for.
pub fn until_available(pods: &[Pod], min_ready_seconds: i32, now: Timestamp) -> Action {
    let next = pods
        .iter()
        .filter_map(|pod| pods::available_at(pod, min_ready_seconds))
        .filter(|at| *at > now)
        .min();
    match next {
        Some(at) if min_ready_seconds > 0 => Action::requeue(
            Duration::try_from(at.duration_since(now))
                .unwrap_or(SOON)
                .max(SOON),
        ),
        _ => Action::await_change(),
    }
}

/// Conflicts are repeated at once, everything else after a second.
pub fn retry<K>(_object: Arc<K>, error: &Error, _context: Arc<Context>) -> Action {
    match error {
        Error::Api(error) if is_conflict(error) => Action::requeue(SOON),
        _ => Action::requeue(Duration::from_secs(1)),
    }
}

/// Polls a controller to its end and logs what failed.
pub async fn drive<T, E: Debug>(name: &'static str, results: impl Stream<Item = Result<T, E>>) {
    results
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(controller = name, ?error, "reconcile failed");
            }
        })
        .await;
}
