//! The end of the process: asked for once, by a signal or `SHUTDOWN`, and awaited by everybody.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// What is done before connections are closed, such as handing over to a replica.
pub type DrainHook = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// The way down has two steps: *requested* (no new connections; drain hooks run), then *closing* (connections finish and close).
#[derive(Default)]
pub struct Shutdown {
    requested: CancellationToken,
    closing: CancellationToken,
    hooks: Mutex<Vec<(&'static str, DrainHook)>>,
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown")
            .field("requested", &self.requested.is_cancelled())
            .field("closing", &self.closing.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl Shutdown {
    /// Asks for the end. Asking twice is the same.
    pub fn request(&self) {
        self.requested.cancel();
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// Resolves when the end is asked for.
    pub async fn requested(&self) {
        self.requested.cancelled().await;
    }

    /// Whether connections are to close.
    pub fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Resolves when connections are to close.
    pub async fn closing(&self) {
        self.closing.cancelled().await;
    }

    /// Registers what is to be done before connections are closed. Hooks run one after the other, on the control thread, within
    /// `shutdown-timeout`; `name` is for the log.
    pub fn on_drain(&self, name: &'static str, hook: DrainHook) {
        self.hooks.lock().push((name, hook));
    }

    pub(crate) fn take_hooks(&self) -> Vec<(&'static str, DrainHook)> {
        std::mem::take(&mut self.hooks.lock())
    }

    pub(crate) fn close(&self) {
        self.closing.cancel();
    }
}
