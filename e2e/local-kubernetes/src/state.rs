//! What all requests share: the store behind its lock, the registry, and what surrounds them.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    audit::Audit,
    clock::Clock,
    faults::Faults,
    logs::LogSource,
    registry::Registry,
    server::{AddressRange, Options},
    store::Store,
    user::Tokens,
};

/// The server's shared state.
pub(crate) struct State {
    store: Mutex<Store>,
    registry: RwLock<Arc<Registry>>,
    revisions: watch::Sender<u64>,
    pub(crate) clock: Clock,
    pub(crate) services: AddressRange,
    pub(crate) tokens: Tokens,
    pub(crate) audit: Audit,
    pub(crate) faults: Faults,
    pub(crate) logs: RwLock<Option<Arc<dyn LogSource>>>,
}

impl State {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            store: Mutex::new(Store::new(options.history)),
            registry: RwLock::new(Arc::new(Registry::builtin())),
            revisions: watch::Sender::new(0),
            clock: Clock::start(),
            services: options.services,
            tokens: Tokens::default(),
            audit: Audit::default(),
            faults: Faults::default(),
            logs: RwLock::new(None),
        }
    }

    /// Works on the store under its lock; watchers learn of new revisions when the lock is free again.
    pub(crate) fn with_store<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        let (result, revision) = {
            let mut store = self.store.lock();
            let result = work(&mut store);
            (result, store.revision())
        };
        self.revisions.send_if_modified(|known| {
            let newer = *known < revision;
            *known = (*known).max(revision);
            newer
        });
        result
    }

    /// Follows the newest revision.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.subscribe()
    }

    /// What is served now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.read().clone()
    }

    /// Serves something else from now on.
    pub(crate) fn set_registry(&self, registry: Registry) {
        *self.registry.write() = Arc::new(registry);
    }

    /// A new object's uid.
    pub(crate) fn new_uid(&self) -> String {
        Uuid::new_v4().to_string()
    }
}
