//! The built-in controllers: ordinary clients of the API that make its objects come true.
//!
//! Every controller is level-triggered: a watch says that something changed, live reads say what is, a pure plan says what
//! to do, and nothing is written when nothing changed. Pods become processes elsewhere (the node agent).

pub mod accounts;
pub mod claims;
pub mod context;
pub mod custom_resources;
pub mod deployment;
pub mod disruption;
pub mod endpoints;
pub mod garbage;
pub mod kinds;
pub mod names;
pub mod namespaces;
pub mod nodes;
pub mod pods;
pub mod replicaset;
pub mod scheduler;
pub mod statefulset;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::context::Context;
use crate::clock::Clock;
use crate::event_recorder::Recorder;

/// Timings and data of the controllers.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long after its last heartbeat a node counts as lost.
    pub node_grace: Duration,
    /// Upper bound of the time that pods tolerate a lost node; `None` takes their word (Kubernetes's default is 300 s).
    pub max_toleration: Option<Duration>,
    /// The certificate authority (PEM) for every namespace's `kube-root-ca.crt`; empty without TLS.
    pub root_ca: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node_grace: Duration::from_secs(20),
            max_toleration: None,
            root_ca: String::new(),
        }
    }
}

/// Runs all controllers until `shutdown`; returns when they have all stopped.
pub async fn run(client: Client, options: Options, shutdown: CancellationToken) {
    let clock = Clock::start();
    let recorder = Recorder::new(
        client.clone(),
        clock.clone(),
        "kube-controller-manager",
        None,
    );
    let context = Arc::new(Context {
        client,
        clock,
        recorder,
        options,
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(accounts::run(context.clone(), shutdown.clone()));
    tasks.spawn(claims::run(context.clone(), shutdown.clone()));
    tasks.spawn(custom_resources::run(context.clone(), shutdown.clone()));
    tasks.spawn(deployment::run(context.clone(), shutdown.clone()));
    tasks.spawn(disruption::run(context.clone(), shutdown.clone()));
    tasks.spawn(endpoints::run(context.clone(), shutdown.clone()));
    tasks.spawn(garbage::run(context.clone(), shutdown.clone()));
    tasks.spawn(namespaces::run(context.clone(), shutdown.clone()));
    tasks.spawn(nodes::run(context.clone(), shutdown.clone()));
    tasks.spawn(replicaset::run(context.clone(), shutdown.clone()));
    tasks.spawn(scheduler::run(context.clone(), shutdown.clone()));
    tasks.spawn(statefulset::run(context, shutdown));
    while let Some(outcome) = tasks.join_next().await {
        if let Err(error) = outcome
            && error.is_panic()
        {
            tracing::error!(%error, "a controller panicked");
        }
    }
}
