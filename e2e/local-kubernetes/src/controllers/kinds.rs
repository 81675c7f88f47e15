//! Which resources the server has: what the garbage collector watches and a namespace's deletion empties.

use kube::Client;
use kube::core::discovery::Scope;
use kube::discovery::{ApiResource, Discovery, verbs};

/// A resource whose objects can be listed, watched and deleted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Kind {
    /// How to address it.
    pub resource: ApiResource,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

/// The preferred version of every deletable resource, in the order of discovery.
pub async fn discover(client: &Client) -> Result<Vec<Kind>, kube::Error> {
    let discovery = Discovery::new(client.clone()).run().await?;
    let mut kinds = Vec::new();
    for group in discovery.groups_alphabetical() {
        for (resource, capabilities) in group.recommended_resources() {
            let usable = [verbs::LIST, verbs::WATCH, verbs::DELETE]
                .iter()
                .all(|verb| capabilities.supports_operation(verb));
            // Core events and those of events.k8s.io are the same objects, and nobody owns an event.
            let event = resource.kind == "Event";
            if usable && !(event && resource.group == "events.k8s.io") {
                kinds.push(Kind {
                    resource,
                    namespaced: capabilities.scope == Scope::Namespaced,
                });
            }
        }
    }
    Ok(kinds)
}
