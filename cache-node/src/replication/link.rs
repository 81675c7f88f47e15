//! A replica's link to its primary: connects, receives a full sync and then the stream, and starts over when anything breaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::FlowError;
use super::apply::Target;
use super::frame::{Kind, PROTOCOL_VERSION};
use super::inflow::{Inflow, Told};
use super::wire::{Backoff, Wire};
use crate::cluster::ClusterError;
use crate::node::Node;
use crate::slot::SlotSet;
use crate::topology::{NodeId, TopologyCommand};

/// Whom this node copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The primary and its incarnation as the topology names them; `None` when cluster mode is off.
    pub primary: Option<(NodeId, u64)>,
    /// Its address.
    pub host: String,
    /// Its client port.
    pub port: u16,
    /// Which of an administrator's orders it was, outside cluster mode; 0 inside.
    pub order: u64,
}

/// State of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkState {
    /// Not connected; an attempt will follow.
    #[default]
    Connect,
    /// An attempt is being made.
    Connecting,
    /// The full sync runs.
    Sync,
    /// The stream runs.
    Connected,
}

impl LinkState {
    /// The name that `ROLE` shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connecting => "connecting",
            Self::Sync => "sync",
            Self::Connected => "connected",
        }
    }
}

/// Asks the link for a planned hand-over.
#[derive(Debug)]
pub struct HandOverRequest {
    /// How long it may take.
    pub within: Duration,
    /// Told how it went, in words fit for a client.
    pub answer: oneshot::Sender<Result<(), String>>,
}

/// A hand-over that this side has asked for.
struct Pending {
    /// The shard's epoch before the primary was asked to pause: its own way out has a later one.
    epoch: u64,
    within: Duration,
    answer: Option<oneshot::Sender<Result<(), String>>>,
}

impl Pending {
    fn finish(mut self, result: Result<(), String>) {
        if let Some(answer) = self.answer.take() {
            // Nobody waits any more when the client is gone.
            let _ = answer.send(result);
        }
    }
}

/// Copies `upstream` until the task is aborted.
pub async fn run(
    node: Arc<Node>,
    upstream: Upstream,
    mut requests: mpsc::UnboundedReceiver<HandOverRequest>,
) {
    let mut backoff = Backoff::default();
    loop {
        let mut link = Link {
            node: &node,
            upstream: &upstream,
            pending: None,
            proposal: None,
        };
        let ended = link.session(&mut requests).await;
        if let Some(pending) = link.pending.take() {
            pending.finish(Err("the link to the primary was lost".to_owned()));
        }
        if node.replication.link_state() == LinkState::Connected {
            backoff.reset();
        }
        node.replication.set_link_state(LinkState::Connect);
        let wait = backoff.next_wait();
        match ended {
            Ok(why) => {
                tracing::info!(primary = %upstream.host, port = upstream.port, "replication ended by the primary: {why}");
            }
            Err(error) => {
                tracing::warn!(primary = %upstream.host, port = upstream.port, "replication interrupted: {error}");
            }
        }
        let retry = tokio::time::sleep(wait);
        tokio::pin!(retry);
        loop {
            tokio::select! {
                () = &mut retry => break,
                Some(request) = requests.recv() => {
                    let _ = request.answer.send(Err("the link to the primary is down".to_owned()));
                }
            }
        }
    }
}

struct Link<'a> {
    node: &'a Arc<Node>,
    upstream: &'a Upstream,
    pending: Option<Pending>,
    /// The proposal to take over; answers whether it has failed for certain.
    proposal: Option<JoinHandle<bool>>,
}

/// What happens on this side.
enum Local {
    Request(Option<HandOverRequest>),
    Proposed { failed: bool },
}

impl Link<'_> {
    /// One connection, from its first byte to its last. Answers the primary's reason when that ends it.
    async fn session(
        &mut self,
        requests: &mut mpsc::UnboundedReceiver<HandOverRequest>,
    ) -> Result<String, FlowError> {
        let replication = &self.node.replication;
        replication.set_link_state(LinkState::Connecting);
        let wire = self.open().await?;
        replication.begin_full_sync();
        tracing::info!(primary = %self.upstream.host, port = self.upstream.port, "full sync begins");
        let target = Target::replica(self.node.clone(), self.upstream.clone());
        let mut inflow = Inflow::new(wire, target, SlotSet::full());
        loop {
            let told = inflow.next(local(requests, &mut self.proposal)).await?;
            match told {
                Told::Applied | Told::Interrupted(Local::Request(None)) => {}
                Told::Synced => {
                    replication.end_full_sync();
                    tracing::info!(
                        bytes = inflow.bytes(),
                        offset = inflow.applied(),
                        "full sync done"
                    );
                }
                Told::Interrupted(Local::Request(Some(request))) => {
                    self.request(&mut inflow, request);
                }
                Told::Interrupted(Local::Proposed { failed }) => {
                    self.proposal = None;
                    if failed {
                        inflow.signal(Kind::Resume, 0);
                    }
                }
                Told::Offered { within_ms } => {
                    let (answer, _) = oneshot::channel();
                    let within = Duration::from_millis(within_ms);
                    self.request(&mut inflow, HandOverRequest { within, answer });
                }
                Told::Final(offset) => self.take_over(&mut inflow, offset).await?,
                Told::Resumed => {
                    if let Some(pending) = self.pending.take() {
                        pending.finish(Err("the primary abandoned the hand-over".to_owned()));
                    }
                }
                Told::Goodbye(why) => return Ok(why),
            }
        }
    }

    async fn open(&self) -> Result<Wire, FlowError> {
        let view = self.node.cluster.view();
        let (primary, incarnation) = match self.upstream.primary {
            Some((primary, incarnation)) => (primary.to_string(), incarnation),
            None => ("-".to_owned(), 0),
        };
        let command = [
            "EVENKEEL.SYNC".to_owned(),
            PROTOCOL_VERSION.to_string(),
            view.myself.to_string(),
            view.address.port.to_string(),
            primary,
            incarnation.to_string(),
        ];
        let password = self.node.peer_password();
        let address = (self.upstream.host.as_str(), self.upstream.port);
        Ok(Wire::open(address, password.as_deref(), &command).await?)
    }

    fn request(&mut self, inflow: &mut Inflow, request: HandOverRequest) {
        let view = self.node.cluster.view();
        let pending = Pending {
            epoch: view
                .topology
                .shard_of(view.myself)
                .map_or(0, |(_, shard)| shard.epoch),
            within: request.within,
            answer: Some(request.answer),
        };
        if !inflow.is_synced() {
            pending.finish(Err("the replica is not in sync yet".to_owned()));
        } else if self.pending.is_some() {
            pending.finish(Err("a hand-over is under way already".to_owned()));
        } else {
            inflow.signal(Kind::HandOver, request.within.as_millis() as u64);
            self.pending = Some(pending);
        }
    }

    /// The primary has paused and this replica has everything: ask the cluster to make it the primary.
    async fn take_over(&mut self, inflow: &mut Inflow, offset: u64) -> Result<(), FlowError> {
        let Some(pending) = self.pending.take() else {
            inflow.signal(Kind::Resume, 0);
            return Ok(());
        };
        inflow.flush().await?;
        let view = self.node.cluster.view();
        let command = TopologyCommand::HandOver {
            node: view.myself,
            incarnation: view.incarnation,
            epoch: pending.epoch,
        };
        tracing::info!(
            offset,
            "in sync with the paused primary, asking to take over"
        );
        // On a task of its own: when it succeeds, this link ends with the role that it served.
        self.proposal = Some(tokio::spawn(propose(self.node.clone(), command, pending)));
        Ok(())
    }
}

async fn local(
    requests: &mut mpsc::UnboundedReceiver<HandOverRequest>,
    proposal: &mut Option<JoinHandle<bool>>,
) -> Local {
    match proposal {
        Some(proposal) => tokio::select! {
            request = requests.recv() => Local::Request(request),
            failed = proposal => Local::Proposed { failed: failed.unwrap_or(false) },
        },
        None => Local::Request(requests.recv().await),
    }
}

/// Asks the cluster to make this node the primary; answers whether that has failed for certain.
async fn propose(node: Arc<Node>, command: TopologyCommand, pending: Pending) -> bool {
    let proposal = node.cluster.propose(command);
    match tokio::time::timeout(pending.within, proposal).await {
        Ok(Ok(index)) => {
            tracing::info!(index, "took over as primary");
            pending.finish(Ok(()));
            false
        }
        Ok(Err(error)) => {
            tracing::warn!("could not take over: {error}");
            pending.finish(Err(error.to_string()));
            is_certain(&error)
        }
        Err(_) => {
            pending.finish(Err("the hand-over was not committed in time".to_owned()));
            false
        }
    }
}

/// Whether the failed proposal can no longer be committed.
pub fn is_certain(error: &ClusterError) -> bool {
    use crate::bus::RequestError;
    matches!(
        error,
        ClusterError::Disabled | ClusterError::Request(RequestError::Refused(_))
    )
}
