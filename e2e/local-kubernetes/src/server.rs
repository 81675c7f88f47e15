//! The handle of a server: starting it, clients of it, and what tests may ask it.

use std::{convert::Infallible, net::Ipv4Addr, sync::Arc};

use axum::{Router, http::HeaderValue};
use tower::{ServiceExt, service_fn};

use crate::{
    api::{self, InProcessUser},
    audit::Audit,
    bootstrap,
    faults::Faults,
    logs::LogSource,
    state::State,
    user::User,
};

/// How a server is set up.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many changes the history keeps; watches from before are refused with 410.
    pub history: usize,
    /// The cluster addresses that Services get.
    pub services: AddressRange,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            history: 20_000,
            services: AddressRange::default(),
        }
    }
}

/// Addresses that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    /// The first of them.
    pub first: Ipv4Addr,
    /// How many there are.
    pub count: u32,
}

impl Default for AddressRange {
    /// Kubernetes's usual 10.96.0.0/12, but for the first ten, which are the cluster's own.
    fn default() -> Self {
        Self {
            first: Ipv4Addr::new(10, 96, 0, 11),
            count: (1 << 20) - 11,
        }
    }
}

impl AddressRange {
    /// The addresses in their order.
    pub fn iter(self) -> impl Iterator<Item = Ipv4Addr> {
        let first = self.first.to_bits();
        (first..first.saturating_add(self.count)).map(Ipv4Addr::from_bits)
    }
}

/// A local Kubernetes API server. Clones are handles of the same one.
#[derive(Clone)]
pub struct Server {
    pub(crate) state: Arc<State>,
    router: Router,
}

impl Server {
    /// A server with the namespaces and roles that every cluster has.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let state = Arc::new(State::new(&options));
        bootstrap::fill(&state);
        let router = api::router(state.clone());
        Self { state, router }
    }

    /// An in-process client of a user: `"admin"`, `"system:serviceaccount:NAMESPACE:NAME"`,
    /// `"system:kube-controller-manager"`, or a [`User`].
    #[must_use]
    pub fn client(&self, user: impl Into<User>) -> kube::Client {
        let user = user.into();
        let router = self.router.clone();
        let service = service_fn(
            move |mut request: axum::http::Request<kube::client::Body>| {
                request.extensions_mut().insert(InProcessUser(user.clone()));
                if let Ok(agent) = HeaderValue::from_str(user.agent()) {
                    request.headers_mut().entry("user-agent").or_insert(agent);
                }
                let router = router.clone();
                async move {
                    router
                        .oneshot(request.map(axum::body::Body::new))
                        .await
                        .map_err(|never: Infallible| match never {})
                }
            },
        );
        kube::Client::new(service, "default")
    }

    /// The axum router, for requests below the level of a `kube::Client`. Without a bearer token they are anonymous.
    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// A bearer token for a user.
    #[must_use]
    pub fn token(&self, user: impl Into<User>) -> String {
        self.state.tokens.issue(user.into())
    }

    /// What was asked of the server.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.state.audit
    }

    /// Failures on demand.
    #[must_use]
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// Forgets all history, so that older watches and lists get 410.
    pub fn compact(&self) {
        self.state.with_store(crate::store::Store::compact);
    }

    /// The revision of the newest write.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.state.with_store(|store| store.revision())
    }

    /// Registers whoever has the logs of containers.
    pub fn set_log_source(&self, source: Arc<dyn LogSource>) {
        *self.state.logs.write() = Some(source);
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("revision", &self.revision())
            .finish_non_exhaustive()
    }
}
