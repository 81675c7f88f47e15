//! The pure state machine on the cluster bus: heartbeats, suspicion, and Raft over topology commands.
//!
//! It has no socket, no clock and no randomness of its own: [`Bus::handle`] takes an event and the time and answers with what
//! to do, so that a simulator can drive it. Two layers with one job each:
//! - *who is alive* (`peers`, `gossip`) is opinion, spread by heartbeats: it may lead to a proposal (`failover`), and changes nothing by itself;
//! - *what is true* (`consensus`, `machine`, `seats`) is the committed topology. Up to five members vote; everybody else gets
//!   the newest topology by gossip, where the greater [`Version`](crate::topology::Version) wins.
//!
//! Invariants:
//! - two topologies with the same cluster and version are equal;
//! - what is published never gets older, as long as the process lives;
//! - a command is applied at most once, however often its proposer had to repeat it;
//! - an action that depends on something being on disk comes after the [`Action::Persist`] that puts it there.

mod audience;
mod codec;
mod confirmation;
mod consensus;
mod duties;
mod failover;
mod former;
mod gossip;
mod held;
mod history;
mod inquiry;
mod lease;
mod leave;
mod machine;
mod meet;
mod message;
mod peers;
mod persisted;
mod proposals;
mod request;
mod resign;
mod restore;
mod seats;
mod shared;
#[cfg(test)]
mod simulator;
mod storage;
mod verdict;
mod witness;

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::topology::{Address, Member, NodeId, ShardId, Topology};
use audience::Turns;
use consensus::Consensus;
use former::Confirmations;
use history::{Change, History};
use inquiry::Inquiries;
use lease::{Grants, Lease};
use leave::Leaving;
use meet::Meetings;
use message::{Body, Sender};
use peers::{Peer, Peers};
use proposals::Proposals;
use resign::Resigning;
use seats::Vacated;

pub use codec::{Decoder, Encoder};
pub use held::Held;
pub use message::{Message, MessageError};
pub use peers::{Liveness, PeerReport};
pub use persisted::{Persisted, PersistedError};
pub use request::{LocalStatus, Request, RequestError};

/// Time between two [`Event::Tick`]s, in ms. Raft counts its timeouts in ticks.
pub const TICK_MS: u64 = 50;
/// Time between two rounds of heartbeats, in ms.
const HEARTBEAT_MS: u64 = 100;
/// How long a request may take, in ms.
pub const REQUEST_MS: u64 = 5_000;
/// Time until something unanswered is sent again, in ms.
const RETRY_MS: u64 = 300;

/// What a bus is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where this node wants to be reached.
    pub address: Address,
    /// Silence after which a node is suspected, in ms.
    pub node_timeout: u64,
}

/// Something that has happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// [`TICK_MS`] have passed.
    Tick,
    /// A message has come.
    Receive(Box<Message>),
    /// The node wants something; the answer will carry the token.
    Request {
        /// Names the request; never used twice.
        token: u64,
        /// What is wanted.
        request: Request,
    },
    /// A connection to this node was refused or reset.
    PeerLost(NodeId),
    /// The process of this node has ended: its system closed a connection in order at this moment, in ms, and refused the next one.
    PeerGone {
        /// Who.
        node: NodeId,
        /// When.
        at: u64,
    },
    /// Whoever is at this address does not talk with this node, and will not before somebody changes something.
    AddressRefused {
        /// The address, as in [`Destination`].
        address: Address,
        /// Why.
        reason: String,
    },
    /// What this node tells others about itself has changed.
    Status(LocalStatus),
}

/// Something to do, in the order given ([`Held`] says what may be done while a write is under way).
#[derive(Clone, Debug)]
pub enum Action {
    /// Send a message; it may be lost.
    Send {
        /// Where to.
        to: Destination,
        /// What.
        message: Box<Message>,
    },
    /// Put this on disk before going on with the next action.
    Persist(Box<Persisted>),
    /// This is what the rest of the process sees from now on.
    Publish(Published),
    /// An [`Event::Status`] with this node's present state is wanted next.
    Report,
    /// A request is answered. A success comes after the topology that shows it was published.
    Reply {
        /// The request's token.
        token: u64,
        /// Index of the entry that made the change.
        result: Result<u64, RequestError>,
    },
}

/// Who this node is, and the newest committed topology that it knows.
#[derive(Clone, Debug)]
pub struct Published {
    /// [`Bus::myself`].
    pub node: NodeId,
    /// [`Bus::incarnation`].
    pub incarnation: u64,
    /// [`Bus::topology`].
    pub topology: Arc<Topology>,
}

impl Published {
    /// The node's shard and its primary, since when that is one, and in which lives of both.
    fn role(&self) -> impl PartialEq + use<> {
        let shard = self.topology.shard_of(self.node);
        let primary = shard.map(|(id, shard)| {
            let life = (shard.primary, shard.primary_incarnation);
            (id, life, shard.primary_since)
        });
        (self.node, self.incarnation, primary)
    }
}

/// Where a message goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// Who should be there; not known when only an address is (`CLUSTER MEET`).
    pub node: Option<NodeId>,
    /// The address.
    pub address: Address,
}

/// The state machine. See the module.
pub struct Bus {
    config: Config,
    me: NodeId,
    incarnation: u64,
    /// It is a witness: it never becomes a member.
    observes: bool,
    rng: StdRng,
    now: u64,
    status: LocalStatus,
    topology: Arc<Topology>,
    consensus: Option<Consensus>,
    peers: Peers,
    proposals: Proposals,
    meetings: Meetings,
    leaving: Option<Leaving>,
    resigning: Option<Resigning>,
    lease: Lease,
    grants: Grants,
    confirmations: Confirmations,
    inquiries: Inquiries,
    next_heartbeat: u64,
    turns: Turns,
    /// How the topology became what it is.
    history: History,
    /// Nobody is asked for the topology before this moment.
    next_want: u64,
    vacated: Vacated,
    /// The term in which this node has told everybody that it leads.
    announced: Option<u64>,
    outbox: Outbox,
}

/// Actions of the event in hand, in the order in which they will be done.
#[derive(Default)]
struct Outbox {
    early: Vec<Action>,
    persist: bool,
    late: Vec<Action>,
    publish: bool,
    replies: Vec<Action>,
    /// Something changed that should be on disk soon, but nothing waits for it.
    unsaved: bool,
}

impl Bus {
    /// The bus of a process that starts at `now`, with what an earlier process left on disk, if any. Without it, the node is
    /// the only member of a new cluster. `now` counts milliseconds from any origin; `seed` feeds all randomness.
    ///
    /// # Errors
    ///
    /// When what was on disk contradicts itself.
    pub fn new(
        config: Config,
        persisted: Option<Persisted>,
        now: u64,
        seed: u64,
    ) -> Result<Self, PersistedError> {
        let mut rng = StdRng::seed_from_u64(seed);
        let start = match persisted {
            None => Start::fresh(&config, &mut rng),
            Some(old) => Start::again(&config, old, &mut rng)?,
        };
        Ok(Self::begin(config, start, rng, now))
    }

    /// The bus of a witness ([`Topology::witness`]), which never becomes a member. Without what an earlier process has left, it has an id that
    /// nobody else has, and waits for a cluster that names it. For the rest, as [`Bus::new`].
    ///
    /// # Errors
    ///
    /// As [`Bus::new`].
    pub fn witness(
        config: Config,
        persisted: Option<Persisted>,
        now: u64,
        seed: u64,
    ) -> Result<Self, PersistedError> {
        let mut rng = StdRng::seed_from_u64(seed);
        let start = match persisted {
            None => Start::blank(&mut rng),
            Some(old) => Start::again(&config, old, &mut rng)?,
        };
        Ok(Self {
            observes: true,
            ..Self::begin(config, start, rng, now)
        })
    }

    fn begin(config: Config, start: Start, rng: StdRng, now: u64) -> Self {
        let Start {
            me,
            incarnation,
            topology,
            consensus,
        } = start;
        let mut peers = Peers::new(config.node_timeout);
        peers.follow(&topology, now);
        let mut history = History::default();
        history.forget(topology.index);
        let outbox = Outbox {
            persist: true,
            publish: true,
            ..Outbox::default()
        };
        Self {
            config,
            me,
            incarnation,
            observes: false,
            rng,
            now,
            status: LocalStatus::default(),
            topology,
            consensus,
            peers,
            proposals: Proposals::default(),
            meetings: Meetings::default(),
            leaving: None,
            resigning: None,
            lease: Lease::default(),
            grants: Grants::default(),
            confirmations: Confirmations::since(now),
            inquiries: Inquiries::default(),
            next_heartbeat: now,
            turns: Turns::default(),
            history,
            next_want: now,
            vacated: Vacated::default(),
            announced: None,
            outbox,
        }
    }

    /// Takes in an event that happens at `now`.
    pub fn handle(&mut self, event: Event, now: u64) -> Vec<Action> {
        self.now = now;
        match event {
            Event::Tick => self.tick(),
            Event::Receive(message) => self.receive(*message),
            Event::Request { token, request } => self.request(token, request),
            Event::PeerLost(node) => self.lose(node),
            Event::PeerGone { node, at } => self.bury(node, at),
            Event::AddressRefused { address, reason } => self.end_meetings_at(&address, &reason),
            Event::Status(status) => {
                self.status = status;
                self.answer_inquiries();
            }
        }
        self.settle();
        self.flush()
    }

    /// This node's id. It changes when the node is reset hard.
    pub fn myself(&self) -> NodeId {
        self.me
    }

    /// This life's number. It changes when the node is reset.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The newest committed topology known here.
    pub fn topology(&self) -> &Arc<Topology> {
        &self.topology
    }

    /// Whether there is proof that the process of this node has ended, and none has followed it.
    pub fn knows_end_of(&self, node: NodeId) -> bool {
        self.peers.get(node).is_some_and(Peer::has_ended)
    }

    /// What is known of the other members.
    pub fn liveness(&self, now: u64) -> Liveness {
        let leader = self.leader();
        // A seat that knows a leader has heard it within the election timeout.
        let seated = self.consensus.as_ref().and_then(Consensus::leader);
        Liveness {
            peers: self.peers.reports(&self.topology, self.me, now),
            leader,
            quorum: seated.is_some() || leader.is_some_and(|node| self.peers.leads(node, now)),
            lacks_lease: self.is_primary() && self.lease_until() <= now,
        }
    }

    fn tick(&mut self) {
        if let Some(consensus) = &mut self.consensus {
            consensus.tick(&mut self.rng);
        }
        if self.now >= self.next_heartbeat {
            self.next_heartbeat = self.now + HEARTBEAT_MS;
            self.peers.forget_strangers(&self.topology, self.now);
            self.send_heartbeats();
        }
        self.ask_for_former();
        self.retry_proposals();
        self.tick_meetings();
        self.tick_leaving();
        self.tick_resigning();
        self.seat_voters();
        self.serve_members();
        self.fail_over();
        self.outbox.persist |= std::mem::take(&mut self.outbox.unsaved);
    }

    fn request(&mut self, token: u64, request: Request) {
        match request {
            Request::Propose(_) if self.is_frozen() => {
                let reason = "This node is joining another cluster".to_owned();
                self.reply(token, Err(RequestError::Refused(reason)));
            }
            Request::Propose(command) => {
                self.propose(command, proposals::Origin::Request(token));
            }
            Request::Meet { ip, bus_port } => self.begin_meeting(token, ip, bus_port),
            Request::Reset { hard } => self.begin_leaving(token, hard),
            Request::Takeover => self.take_over(token),
            Request::Resign => self.begin_resigning(token),
        }
    }

    /// Does all that follows from what has changed.
    fn settle(&mut self) {
        self.follow_leadership();
        self.finish_proposals();
        self.ask_for_lease();
        self.confirm_leadership();
        while let Some(consensus) = &mut self.consensus
            && consensus.has_work()
        {
            let output = consensus.drain();
            let newest = consensus.topology().map(Topology::version);
            self.outbox.persist |= output.persist;
            for (to, bytes) in output.early {
                let action = self.envelope(to, Body::Raft(bytes));
                self.outbox.early.extend(action);
            }
            for (to, bytes) in output.late {
                self.send(to, Body::Raft(bytes));
            }
            if output.advanced && newest.is_some_and(|newest| newest > self.topology.version()) {
                self.advance(output.changes);
            }
            self.follow_leadership();
            for number in output.confirmed {
                self.confirmed(number);
            }
            if output.advanced {
                self.grant_early();
            }
            for (id, outcome) in output.applied {
                self.conclude(id, outcome);
            }
            if output.advanced {
                self.seat_voters();
                self.ask_for_lease();
            }
            self.finish_proposals();
            self.confirm_leadership();
        }
        self.announce_leadership();
        self.finish_resigning();
    }

    /// Takes over the state that this node's own seat has applied.
    fn advance(&mut self, changes: Vec<(u64, Change)>) {
        let consensus = self.consensus.as_ref();
        let Some(topology) = consensus.and_then(Consensus::topology).cloned() else {
            return;
        };
        for (index, change) in changes {
            self.history.note(index, change);
        }
        if self.history.last() != topology.index {
            // It came as a snapshot.
            self.history.forget(topology.index);
        }
        let before = self.topology.version();
        self.replace_topology(Arc::new(topology));
        self.outbox.unsaved = true;
        if self.consensus.as_ref().is_some_and(Consensus::is_leader) {
            self.push_topology(before);
        }
    }

    /// The topology is another one now.
    fn replace_topology(&mut self, topology: Arc<Topology>) {
        let moved = topology.participants().filter(|(node, address)| {
            let before = self.topology.address_of(*node);
            before.is_some_and(|before| before != *address)
        });
        moved.for_each(|(node, _)| self.peers.moved(node, self.now));
        if topology.voters != self.topology.voters {
            self.confirmations.reseat(self.now);
        }
        self.topology = topology;
        self.peers.follow(&self.topology, self.now);
        self.outbox.publish = true;
    }

    fn flush(&mut self) -> Vec<Action> {
        let outbox = std::mem::take(&mut self.outbox);
        let mut actions = outbox.early;
        if outbox.persist {
            actions.push(Action::Persist(Box::new(self.persisted())));
        } else {
            self.outbox.unsaved = outbox.unsaved;
        }
        actions.extend(outbox.late);
        if outbox.publish {
            actions.push(Action::Publish(self.published()));
        }
        actions.extend(outbox.replies);
        if std::mem::take(&mut self.inquiries.wants_status) {
            actions.push(Action::Report);
        }
        actions
    }

    /// What the rest of the process is to see.
    pub fn published(&self) -> Published {
        Published {
            node: self.me,
            incarnation: self.incarnation,
            topology: self.topology.clone(),
        }
    }

    fn persisted(&self) -> Persisted {
        Persisted {
            node: self.me,
            incarnation: self.incarnation,
            topology: self.topology.clone(),
            consensus: self.consensus.as_ref().map(Consensus::record),
        }
    }

    fn reply(&mut self, token: u64, result: Result<u64, RequestError>) {
        self.outbox.replies.push(Action::Reply { token, result });
    }

    fn send(&mut self, to: NodeId, body: Body) {
        let action = self.envelope(to, body);
        self.outbox.late.extend(action);
    }

    fn send_to(&mut self, to: Destination, body: Body) {
        let message = Box::new(Message {
            to: to.node,
            sender: self.sender(),
            body,
            index: self.topology.index,
        });
        self.outbox.late.push(Action::Send { to, message });
    }

    /// `None` when nobody knows where the node is.
    fn envelope(&self, node: NodeId, body: Body) -> Option<Action> {
        let heard = self.peers.get(node).and_then(|peer| peer.address.as_ref());
        let committed = || self.topology.address_of(node);
        let to = Destination {
            node: Some(node),
            address: heard.or_else(committed)?.clone(),
        };
        let message = Box::new(Message {
            to: Some(node),
            sender: self.sender(),
            body,
            index: self.topology.index,
        });
        Some(Action::Send { to, message })
    }

    fn sender(&self) -> Sender {
        Sender {
            node: self.me,
            incarnation: self.incarnation,
            address: self.config.address.clone(),
            cluster: self.topology.cluster,
            generation: self.topology.generation,
            founder: self.topology.founder,
        }
    }

    /// The leader that this node's seat knows, or else the one that heartbeats name.
    fn leader(&self) -> Option<NodeId> {
        let seat = self.consensus.as_ref().and_then(Consensus::leader);
        seat.or_else(|| {
            let named = self.peers.leader(&self.topology, self.now);
            named.map(|(_, node)| node)
        })
    }

    fn is_member(&self) -> bool {
        self.topology.members.contains_key(&self.me)
    }

    /// It is a member or the witness.
    fn takes_part(&self) -> bool {
        self.topology.takes_part(self.me)
    }

    /// Nobody else is a member, nor has a seat still.
    fn is_alone(&self) -> bool {
        let others = self.topology.voters.iter().chain(&self.topology.learners);
        self.is_member()
            && self.topology.members.len() == 1
            && others.copied().all(|node| node == self.me)
    }

    fn has_seat(&self) -> bool {
        self.topology.voters.contains(&self.me) || self.topology.learners.contains(&self.me)
    }
}

/// What a process begins with.
struct Start {
    me: NodeId,
    incarnation: u64,
    topology: Arc<Topology>,
    consensus: Option<Consensus>,
}

impl Start {
    /// The only member of a new cluster.
    fn fresh(config: &Config, rng: &mut StdRng) -> Self {
        let (me, incarnation) = (NodeId::new(rng.random()), rng.random_range(1..1 << 32));
        let topology = fresh_topology(config, me, incarnation, rng);
        let seat = Consensus::found(me, topology.clone(), election_ticks(config));
        Self {
            me,
            incarnation,
            topology: Arc::new(topology),
            consensus: Some(seat),
        }
    }

    /// A witness that knows no cluster.
    fn blank(rng: &mut StdRng) -> Self {
        let me = NodeId::new(rng.random());
        Self {
            me,
            incarnation: rng.random_range(1..1 << 32),
            topology: Arc::new(Topology::unknown(me)),
            consensus: None,
        }
    }

    /// What an earlier process has left.
    fn again(config: &Config, old: Persisted, rng: &mut StdRng) -> Result<Self, PersistedError> {
        let restore = |record| Consensus::restore(old.node, record, election_ticks(config));
        let consensus = old.consensus.map(restore).transpose();
        Ok(Self {
            me: old.node,
            // Incarnations only ever rise, so that messages of an earlier life can be told.
            incarnation: old.incarnation + rng.random_range(1..1024),
            topology: old.topology,
            consensus: consensus
                .map_err(|damaged| PersistedError::Contents(damaged.to_string()))?,
        })
    }
}

fn fresh_topology(config: &Config, me: NodeId, incarnation: u64, rng: &mut StdRng) -> Topology {
    let member = Member {
        id: me,
        address: config.address.clone(),
        shard: ShardId::new(rng.random()),
    };
    Topology::single(rng.random(), member, incarnation)
}

/// Least ticks without a leader before an election; up to twice as many are waited.
fn election_ticks(config: &Config) -> usize {
    (config.node_timeout / 4 / TICK_MS).clamp(6, 60) as usize
}
