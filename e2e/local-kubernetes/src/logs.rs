//! Where `pods/log` gets its text: whoever runs the containers registers a [`LogSource`].

use bytes::Bytes;
use futures::{future::BoxFuture, stream::BoxStream};
use thiserror::Error;

/// Which log is wanted. The pod and the container are known to exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
    /// Uid of the pod.
    pub uid: String,
    /// Name of the container.
    pub container: String,
    /// Whether to go on with what is written later, until the container ends.
    pub follow: bool,
    /// Whether the log of the container's previous run is wanted.
    pub previous: bool,
    /// How many of the last lines are wanted.
    pub tail_lines: Option<u64>,
    /// Only lines of the last so many seconds.
    pub since_seconds: Option<u64>,
    /// Whether every line shall begin with its time.
    pub timestamps: bool,
}

/// Why there is no log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// The container waits to start; the text is its reason.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")]
    Waiting {
        /// Name of the pod.
        pod: String,
        /// Name of the container.
        container: String,
        /// `state.waiting.reason`.
        reason: String,
    },
    /// There was no previous run.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious {
        /// Name of the pod.
        pod: String,
        /// Name of the container.
        container: String,
    },
    /// The log could not be read.
    #[error("{0}")]
    Failed(String),
}

/// Chunks of a log.
pub type LogStream = BoxStream<'static, std::io::Result<Bytes>>;

/// Somebody who has the logs of containers.
pub trait LogSource: Send + Sync {
    /// Opens a log.
    fn open(&self, request: LogRequest) -> BoxFuture<'static, Result<LogStream, LogError>>;
}
