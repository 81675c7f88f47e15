//! A replica's link to its primary: connects, receives a full sync and then the stream, and starts over when anything breaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::FlowError;
use super::apply::Target;
use super::frame::{Kind, PROTOCOL_VERSION};
use super::history::Answer;
use super::inflow::{Inflow, Told};
use super::psync::{self, StreamPlace};
use super::receive::Receiver;
use super::wants::Wants;
use super::wire::{Backoff, Wire, WireError};
use crate::cluster::ClusterError;
use crate::node::Node;
use crate::topology::{NodeId, TopologyCommand};

mod sibling;

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
    let mut place = None;
    loop {
        node.replication.discarded().await;
        let mut link = Link {
            node: &node,
            upstream: &upstream,
            pending: None,
            proposal: None,
        };
        let mut ended = link.session(&mut requests).await;
        if ended.as_ref().is_err_and(is_of_another_kind) {
            ended = foreign(&node, &upstream, &mut place, &mut requests).await;
        }
        if let Some(pending) = link.pending.take() {
            pending.finish(Err("the link to the primary was lost".to_owned()));
        }
        let state = node.replication.link_state();
        if state == LinkState::Connected {
            backoff.reset();
        }
        node.replication.set_link_state(LinkState::Connect);
        let wait = match state {
            LinkState::Sync => backoff.next_long_wait(),
            _ => backoff.next_wait(),
        };
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

/// Whether a node does not know what nodes of this kind say to each other.
fn is_of_another_kind(error: &FlowError) -> bool {
    matches!(
        error,
        FlowError::Wire(WireError::Refused { command, answer })
            if command == "EVENKEEL.SYNC" && answer.to_ascii_lowercase().contains("unknown command")
    )
}

/// One connection to a primary of another kind, on a thread of its own.
async fn foreign(
    node: &Arc<Node>,
    upstream: &Upstream,
    place: &mut Option<StreamPlace>,
    requests: &mut mpsc::UnboundedReceiver<HandOverRequest>,
) -> Result<String, FlowError> {
    let target = upstream.clone();
    let connecting = tokio::task::spawn_blocking(move || psync::connect(&target));
    let (stream, _line) = connecting
        .await
        .map_err(|error| FlowError::Role(error.to_string()))??;
    let (node, upstream, mut known) = (node.clone(), upstream.clone(), place.take());
    let mut following = tokio::task::spawn_blocking(move || {
        let ended = psync::follow(&node, &upstream, stream, &mut known);
        (ended, known)
    });
    loop {
        tokio::select! {
            ended = &mut following => {
                let (ended, known) = ended.map_err(|error| FlowError::Role(error.to_string()))?;
                *place = known;
                return ended.map(|()| "its connection has ended".to_owned());
            }
            Some(request) = requests.recv() => {
                let _ = request.answer.send(Err("the primary is of another kind".to_owned()));
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
        let mut inflow = self.connect(requests).await?;
        loop {
            let told = inflow.next(local(requests, &mut self.proposal)).await?;
            match told {
                Told::Applied | Told::Interrupted(Local::Request(None)) => {}
                Told::Synced => {
                    replication.set_synced_from(self.upstream);
                    replication.set_link_state(LinkState::Connected);
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

    /// Connects to the primary, and begins what it answers. If that is that another replica has what is missing, that comes first.
    async fn connect(
        &mut self,
        requests: &mut mpsc::UnboundedReceiver<HandOverRequest>,
    ) -> Result<Inflow, FlowError> {
        let primary = (self.upstream.host.as_str(), self.upstream.port);
        let (wire, answer) = self.open(primary, Wants::Replication).await?;
        let Some(sibling) = answer.sibling.clone() else {
            return self.begin(wire, answer).await;
        };
        drop(wire);
        self.check(&answer)?;
        if let Err(error) = self.copy_from(&sibling, &answer, requests).await {
            tracing::warn!(replica = %sibling.0, port = sibling.1, "no full sync from another replica: {error}");
        }
        let (wire, answer) = self.open(primary, Wants::OwnCopy).await?;
        self.begin(wire, answer).await
    }

    /// Begins what the primary has answered: a full sync, or the stream from where this node is.
    async fn begin(&self, wire: Wire, answer: Answer) -> Result<Inflow, FlowError> {
        let replication = &self.node.replication;
        if !answer.full {
            tracing::info!(primary = %self.upstream.host, port = self.upstream.port, offset = answer.end, "going on where this node is, without a full sync");
            replication.metrics.partial_syncs.inc();
            replication.adopt(answer.history);
            replication.set_applied(answer.end);
            replication.set_synced_from(self.upstream);
            replication.set_link_state(LinkState::Connected);
            let target = Target::replica(self.node.clone(), self.upstream.clone());
            let receiver = Receiver::going_on(answer.end);
            return Ok(Inflow::of(wire, target, receiver));
        }
        self.check(&answer)?;
        tracing::info!(primary = %self.upstream.host, port = self.upstream.port, "the full sync comes from the primary");
        self.begin_copy(wire, answer).await
    }

    /// Refuses a full sync for which the primary's data are not good enough.
    fn check(&self, answer: &Answer) -> Result<(), FlowError> {
        let why = self.objection(answer);
        self.node
            .replication
            .set_refused(why.as_deref().unwrap_or_default());
        why.map_or(Ok(()), |why| Err(FlowError::Unwanted(why)))
    }

    /// Begins to receive a full sync.
    async fn begin_copy(&self, wire: Wire, answer: Answer) -> Result<Inflow, FlowError> {
        let replication = &self.node.replication;
        let mut target = Target::replica(self.node.clone(), self.upstream.clone());
        replication.metrics.full_syncs.inc();
        replication.set_link_state(LinkState::Sync);
        let room = self.has_room_for(answer.bytes);
        tracing::info!(keys = answer.keys, beside = room, "full sync begins");
        target.begin_copy(answer.history, room).await?;
        Ok(Inflow::of(wire, target, Receiver::of_all()))
    }

    /// Why the primary's data should not take the place of this node's, which came from the same primary: it has lost what is here.
    fn objection(&self, answer: &Answer) -> Option<String> {
        let replication = &self.node.replication;
        let here = self.node.count_keys();
        // What an administrator says now goes before what was copied before.
        if here == 0 || replication.synced_from() != Some(self.upstream.clone()) {
            return None;
        }
        let mine = replication.history();
        if answer.keys == 0 && !answer.history.passes(mine.id, replication.applied()) {
            return Some(format!(
                "the primary is empty and has another history, while this node has {here} keys of it; REPLICAOF again takes its data all the same"
            ));
        }
        // It has begun anew at a place of the history that this node has, or from which that came: behind that it has lost everything.
        let other = answer.history.id != mine.id;
        let ours = |before| before == mine.id || mine.before.is_some_and(|(id, _)| id == before);
        let lost = answer
            .history
            .before
            .filter(|(before, until)| other && ours(*before) && *until < replication.applied());
        // In a cluster, the topology has decided whose data count.
        lost.filter(|_| self.upstream.primary.is_none())
            .map(|(_, until)| {
                format!(
                    "the primary went back to offset {until} of the history of which this node has {}; REPLICAOF again takes its data all the same",
                    replication.applied()
                )
            })
    }

    /// Whether a copy of so many bytes has room beside the data that are here.
    fn has_room_for(&self, bytes: u64) -> bool {
        let limit = self.node.memory_limit() as u64;
        let used = self.node.store.memory().used() as u64;
        limit == 0 || used + bytes <= limit
    }

    async fn open(&self, address: (&str, u16), wants: Wants) -> Result<(Wire, Answer), FlowError> {
        let view = self.node.cluster.view();
        let (primary, incarnation) = match self.upstream.primary {
            Some((primary, incarnation)) => (primary.to_string(), incarnation),
            None => ("-".to_owned(), 0),
        };
        let replication = &self.node.replication;
        let place = if replication.is_incomplete() || wants == Wants::CopyOnly {
            // A mixture is no place in any history, and where a copy is wanted, the rest is not asked for.
            (NodeId::new([0; 20]), 0)
        } else {
            replication.place(self.node)
        };
        let command = [
            "EVENKEEL.SYNC".to_owned(),
            PROTOCOL_VERSION.to_string(),
            view.myself.to_string(),
            view.address.port.to_string(),
            primary,
            incarnation.to_string(),
            place.0.to_string(),
            place.1.to_string(),
            wants.to_string(),
        ];
        let password = self.node.peer_password();
        let (wire, line) = Wire::open(address, password.as_deref(), &command).await?;
        let answer = Answer::read(&line).ok_or_else(|| {
            FlowError::Role(format!("{}:{} answered '{line}'", address.0, address.1))
        })?;
        Ok((wire, answer))
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
