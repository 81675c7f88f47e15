//! This node's seat in the Raft group: the `raft` crate's node, driven without its clock and its randomness.
//!
//! Invariants:
//! - nothing is sent that depends on a vote or an entry before that is on disk ([`Output::late`]);
//! - a seat without its first snapshot never votes: it may have voted in an earlier life that it has forgotten;
//! - an old snapshot never brings back a seat that newer committed entries took away (`floor` in [`Consensus::step`]).

use std::collections::{BTreeMap, BTreeSet};

use protobuf::Message as _;
use raft::eraftpb::{
    ConfChange, ConfChangeType, Entry, EntryType, Message as RaftMessage, MessageType,
};
use raft::{RawNode, SnapshotStatus, StateRole};
use rand::Rng;
use rand::rngs::StdRng;

use super::confirmation::Confirmation;
use super::history::Change;
use super::machine::{Machine, Outcome, Proposal, ProposalId};
use super::seats::SeatChange;
use super::storage::{ConsensusRecord, Damaged, Storage, raft_id};
use crate::topology::{NodeId, Topology};

/// Raft heartbeats go out every this many ticks.
const HEARTBEAT_TICKS: usize = 2;
/// After a leader's process has ended, the voters stand for election one after another, with so many ticks in between: two that stand at
/// once may both lose.
const TURN_TICKS: usize = 2;
/// Most bytes of entries in one message.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Most bytes of proposals that wait for their commit.
const UNCOMMITTED_BYTES: u64 = 64 << 20;

/// What came of driving the seat.
#[derive(Default)]
pub(crate) struct Output {
    /// Messages that may go out at once.
    pub(crate) early: Vec<(NodeId, Vec<u8>)>,
    /// Whether the record must be on disk before `late` goes out.
    pub(crate) persist: bool,
    /// Messages that depend on what must be on disk.
    pub(crate) late: Vec<(NodeId, Vec<u8>)>,
    /// Proposals that were applied.
    pub(crate) applied: Vec<(ProposalId, Outcome)>,
    /// Whether the applied state has changed.
    pub(crate) advanced: bool,
    /// What the applied entries have changed, by their indexes.
    pub(crate) changes: Vec<(u64, Change)>,
    /// Numbers of what was given to [`Consensus::confirm`], after which a majority has confirmed that this node leads.
    pub(crate) confirmed: Vec<u64>,
}

/// See the module.
pub(crate) struct Consensus {
    raft: RawNode<Storage>,
    /// Node ids by their number in the group.
    nodes: BTreeMap<u64, NodeId>,
    /// Term and role for which `election_ticks` was drawn.
    drawn_for: Option<(u64, StateRole)>,
    election_ticks: usize,
    /// Ticks until it stands for election because the leader's process has ended, unless the term has ended by then.
    turn: Option<(u64, usize)>,
    /// Proposals in the log that are not applied yet, with whom they make a primary; only while leader.
    inflight: BTreeMap<ProposalId, Option<NodeId>>,
}

impl Consensus {
    /// The sole voter of a new group.
    pub(crate) fn found(me: NodeId, topology: Topology, election_tick: usize) -> Self {
        let mut seat = Self::open(me, Storage::founding(Machine::new(topology)), election_tick);
        seat.campaign();
        seat
    }

    /// A seat that waits for its first snapshot.
    pub(crate) fn blank(me: NodeId, election_tick: usize) -> Self {
        Self::open(me, Storage::blank(), election_tick)
    }

    /// The seat that was on disk.
    pub(crate) fn restore(
        me: NodeId,
        record: ConsensusRecord,
        election_tick: usize,
    ) -> Result<Self, Damaged> {
        let mut seat = Self::open(me, Storage::restore(record)?, election_tick);
        let alone = seat
            .topology()
            .is_some_and(|topology| topology.voters == BTreeSet::from([me]));
        if alone {
            seat.campaign();
        }
        Ok(seat)
    }

    fn open(me: NodeId, storage: Storage, election_tick: usize) -> Self {
        let config = raft::Config {
            id: raft_id(me),
            election_tick,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: storage.applied(),
            max_size_per_msg: MESSAGE_BYTES,
            max_uncommitted_size: UNCOMMITTED_BYTES,
            check_quorum: true,
            pre_vote: true,
            ..raft::Config::default()
        };
        let log = slog::Logger::root(slog::Discard, slog::o!());
        let raft = RawNode::new(&config, storage, &log)
            .expect("the configuration is valid and the storage never fails");
        let mut seat = Self {
            raft,
            nodes: BTreeMap::from([(raft_id(me), me)]),
            drawn_for: None,
            election_ticks: election_tick,
            turn: None,
            inflight: BTreeMap::new(),
        };
        seat.learn_nodes();
        seat
    }

    fn campaign(&mut self) {
        // Fails only when it is not promotable, and then there is nothing to campaign for.
        let _ = self.raft.campaign();
    }

    /// One tick of the election and heartbeat timers.
    pub(crate) fn tick(&mut self, rng: &mut StdRng) {
        let state = (self.raft.raft.term, self.raft.raft.state);
        if self.drawn_for != Some(state) {
            self.drawn_for = Some(state);
            self.election_ticks = rng.random_range(self.election_range());
        }
        // The crate draws from its thread's generator; ours decides.
        self.raft
            .raft
            .set_randomized_election_timeout(self.election_ticks);
        self.raft.tick();
        self.stand_in_turn();
    }

    /// Ticks without a leader after which this seat stands for election: up to twice the least time, and each voter has a part of that for
    /// itself, in the order of their ids, since two that stand at once may both lose.
    fn election_range(&self) -> std::ops::Range<usize> {
        let least = self.raft.raft.election_timeout();
        let me = self.raft.raft.id;
        let voters = self.topology().map(|topology| &topology.voters);
        let voters = voters.into_iter().flatten();
        let (before, all) = voters.fold((0, 0), |(before, all), voter| {
            (before + usize::from(raft_id(*voter) < me), all + 1)
        });
        let part = least.checked_div(all).unwrap_or(least).max(1);
        let first = least + (before * part).min(least - part);
        first..first + part
    }

    fn stand_in_turn(&mut self) {
        let Some((term, left)) = self.turn.take() else {
            return;
        };
        let raft = &self.raft.raft;
        let follows_nobody =
            raft.state == StateRole::Follower && raft.leader_id == raft::INVALID_ID;
        // The crate panics when one stands that has no seat.
        if raft.term != term || !follows_nobody || !raft.promotable() {
            return;
        }
        if left > 1 {
            self.turn = Some((term, left - 1));
        } else {
            self.campaign();
        }
    }

    /// Takes in a message of another seat. `floor` is the newest index known to be committed. What this seat confirms by that, if anything.
    pub(crate) fn step(&mut self, from: NodeId, bytes: &[u8], floor: u64) -> Option<Confirmation> {
        let message = RaftMessage::parse_from_bytes(bytes).ok()?;
        if message.from != raft_id(from) || !self.admits(&message, floor) {
            return None;
        }
        let asks = message.get_msg_type() == MessageType::MsgHeartbeat;
        let asked = asks.then(|| Confirmation::decode(&message.context));
        self.nodes.insert(message.from, from);
        // Errors say that the message has come too late for this seat's role or term.
        let _ = self.raft.step(message);
        asked.flatten().filter(|_| self.leader() == Some(from))
    }

    fn admits(&self, message: &RaftMessage, floor: u64) -> bool {
        if message.to != self.raft.raft.id {
            return false;
        }
        let seated = self.raft.store().machine.is_some();
        match message.get_msg_type() {
            MessageType::MsgAppend => true,
            // The crate panics when a heartbeat commits what the log does not hold.
            MessageType::MsgHeartbeat => message.commit <= self.raft.raft.raft_log.last_index(),
            MessageType::MsgSnapshot => {
                let snapshot = message.get_snapshot();
                (seated || snapshot.get_metadata().index >= floor)
                    && postcard::from_bytes::<Machine>(&snapshot.data).is_ok()
            }
            _ => seated,
        }
    }

    /// Puts a proposal into the log, unless it is there or was applied already. The outcome, if it is known.
    pub(crate) fn propose(&mut self, proposal: &Proposal) -> Option<Outcome> {
        let recalled = self
            .raft
            .store()
            .machine
            .as_ref()
            .and_then(|machine| machine.recall(proposal.id));
        if recalled.is_some() || self.inflight.contains_key(&proposal.id) {
            return recalled;
        }
        let bytes = postcard::to_stdvec(proposal).ok()?;
        if self.raft.propose(Vec::new(), bytes).is_ok() {
            self.inflight
                .insert(proposal.id, proposal.command.promoted());
        }
        None
    }

    /// Asks the voters whether this node still leads; the answer is in [`Output::confirmed`], if it comes.
    pub(crate) fn confirm(&mut self, confirmation: &Confirmation) {
        self.raft.read_index(confirmation.encode());
    }

    /// The process of `node` has ended: when it led, there is an election soon, and not only after a time without a leader.
    pub(crate) fn leader_gone(&mut self, node: NodeId) {
        let raft = &mut self.raft.raft;
        if raft.state != StateRole::Follower || raft.leader_id != raft_id(node) {
            return;
        }
        let (me, term) = (raft.id, raft.term);
        raft.become_follower(term, raft::INVALID_ID);
        let voters = self.topology().map(|topology| &topology.voters);
        let others = voters.into_iter().flatten().filter(|it| **it != node);
        let before = others.take_while(|it| raft_id(**it) != me).count();
        self.turn = Some((term, 1 + before * TURN_TICKS));
    }

    /// Whom proposals in the log that are not applied yet make primaries.
    pub(crate) fn promotions(&self) -> impl Iterator<Item = NodeId> {
        self.inflight.values().copied().flatten()
    }

    /// Proposes to give or take a seat, or hands over the leadership.
    pub(crate) fn change_seat(&mut self, change: SeatChange) {
        let (kind, node) = match change {
            SeatChange::Transfer(node) => {
                self.raft.transfer_leader(raft_id(node));
                return;
            }
            SeatChange::AddLearner(node) => (ConfChangeType::AddLearnerNode, node),
            SeatChange::Promote(node) => (ConfChangeType::AddNode, node),
            SeatChange::Remove(node) => (ConfChangeType::RemoveNode, node),
        };
        let mut entry = ConfChange::default();
        entry.set_change_type(kind);
        entry.node_id = raft_id(node);
        entry.context = node.bytes().to_vec().into();
        self.nodes.insert(raft_id(node), node);
        // Dropped proposals are repeated by the next round of duties.
        let _ = self.raft.propose_conf_change(Vec::new(), entry);
    }

    /// Whether [`Consensus::drain`] has anything to do.
    pub(crate) fn has_work(&self) -> bool {
        self.raft.has_ready()
    }

    /// Does everything that is due.
    pub(crate) fn drain(&mut self) -> Output {
        let mut output = Output::default();
        while self.raft.has_ready() {
            self.drain_once(&mut output);
        }
        if !self.is_leader() {
            self.inflight.clear();
        }
        self.raft.mut_store().compact();
        output
    }

    fn drain_once(&mut self, output: &mut Output) {
        let mut ready = self.raft.ready();
        output.persist |= ready.must_sync();
        let confirmed = ready.take_read_states().into_iter();
        let confirmed = confirmed.filter_map(|state| Confirmation::decode(&state.request_ctx));
        output.confirmed.extend(confirmed.map(|it| it.number));
        let early = self.addressed(ready.take_messages());
        output.early.extend(early);
        let store = self.raft.mut_store();
        if let Some(hard) = ready.hs() {
            let commit = store.hard.commit.max(hard.commit);
            store.hard = hard.clone();
            store.hard.commit = commit;
        }
        if !ready.snapshot().is_empty() {
            let snapshot = ready.snapshot();
            let machine = postcard::from_bytes(&snapshot.data)
                .expect("a snapshot that cannot be read is not admitted");
            let metadata = snapshot.get_metadata();
            store.install(metadata.index, metadata.term, machine);
            output.advanced = true;
        }
        store.append(ready.entries());
        let mut committed = ready.take_committed_entries();
        let late = self.addressed(ready.take_persisted_messages());
        output.late.extend(late);

        let mut light = self.raft.advance_append(ready);
        if let Some(commit) = light.commit_index() {
            self.raft.mut_store().commit_to(commit);
        }
        let late = self.addressed(light.take_messages());
        output.late.extend(late);
        // Only now: the crate must not meet a leader that has just lost its own seat.
        committed.extend(light.take_committed_entries());
        self.apply(committed, output);
        let applied = self.raft.store().applied();
        self.raft.advance_apply_to(applied);
        self.step_down_if_unseated();
    }

    /// A leader does not take its own seat away, but its predecessor may have proposed that.
    fn step_down_if_unseated(&mut self) {
        let raft = &mut self.raft.raft;
        if raft.state == StateRole::Leader && !raft.promotable() {
            raft.become_follower(raft.term, raft::INVALID_ID);
        }
    }

    fn apply(&mut self, entries: Vec<Entry>, output: &mut Output) {
        for entry in entries {
            output.advanced = true;
            self.raft.mut_store().commit_to(entry.index);
            let change = match entry.get_entry_type() {
                EntryType::EntryNormal => self.apply_proposal(&entry, output),
                EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => {
                    self.apply_seat(&entry)
                }
            };
            let change = change.unwrap_or(Change::Nothing);
            output.changes.push((entry.index, change));
        }
        self.learn_nodes();
    }

    fn apply_proposal(&mut self, entry: &Entry, output: &mut Output) -> Option<Change> {
        let machine = self.raft.mut_store().machine.as_mut()?;
        machine.topology.index = entry.index;
        // A new leader begins its term with an empty entry.
        let proposal: Proposal = postcard::from_bytes(&entry.data).ok()?;
        let outcome = machine.apply(entry.index, &proposal);
        // The outcome of a repetition is that of the first, at its index.
        let applied = outcome == Ok(entry.index);
        self.inflight.remove(&proposal.id);
        output.applied.push((proposal.id, outcome));
        applied.then_some(Change::Command(proposal.command))
    }

    fn apply_seat(&mut self, entry: &Entry) -> Option<Change> {
        let change = ConfChange::parse_from_bytes(&entry.data).ok();
        let node = change
            .as_ref()
            .and_then(|change| <[u8; 20]>::try_from(&change.context[..]).ok())
            .map(NodeId::new);
        let accepted = change.filter(|change| self.raft.apply_conf_change(change).is_ok());
        let machine = self.raft.mut_store().machine.as_mut()?;
        let topology = &mut machine.topology;
        topology.index = entry.index;
        let (change, node) = accepted.zip(node)?;
        topology.voters.remove(&node);
        topology.learners.remove(&node);
        match change.get_change_type() {
            ConfChangeType::AddNode => topology.voters.insert(node),
            ConfChangeType::AddLearnerNode => topology.learners.insert(node),
            ConfChangeType::RemoveNode => true,
        };
        Some(Change::Seats {
            voters: topology.voters.clone(),
            learners: topology.learners.clone(),
        })
    }

    fn learn_nodes(&mut self) {
        let Some(machine) = &self.raft.store().machine else {
            return;
        };
        let topology = &machine.topology;
        let ids = topology.voters.iter().chain(&topology.learners);
        let known: Vec<(u64, NodeId)> = ids.map(|node| (raft_id(*node), *node)).collect();
        self.nodes.extend(known);
    }

    fn addressed(&mut self, messages: Vec<RaftMessage>) -> Vec<(NodeId, Vec<u8>)> {
        let mut sent = Vec::with_capacity(messages.len());
        for message in messages {
            if message.get_msg_type() == MessageType::MsgSnapshot {
                // Nobody acknowledges snapshots: the next append probes whether it has come.
                self.raft
                    .report_snapshot(message.to, SnapshotStatus::Finish);
            }
            let node = self.nodes.get(&message.to).copied();
            if let (Some(node), Ok(bytes)) = (node, message.write_to_bytes()) {
                sent.push((node, bytes));
            }
        }
        sent
    }

    /// The state that this seat has applied; none before its first snapshot.
    pub(crate) fn topology(&self) -> Option<&Topology> {
        self.raft
            .store()
            .machine
            .as_ref()
            .map(|machine| &machine.topology)
    }

    pub(crate) fn record(&self) -> ConsensusRecord {
        self.raft.store().record()
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.raft.raft.state == StateRole::Leader
    }

    /// Whether this leader has applied everything that earlier leaders committed, and no change of seats is on its way.
    pub(crate) fn is_settled_leader(&self) -> bool {
        self.is_leader()
            && self.raft.raft.apply_to_current_term()
            && !self.raft.raft.has_pending_conf()
    }

    pub(crate) fn term(&self) -> u64 {
        self.raft.raft.term
    }

    pub(crate) fn leader(&self) -> Option<NodeId> {
        self.nodes.get(&self.raft.raft.leader_id).copied()
    }

    /// Index of the last entry in the log, committed or not.
    pub(crate) fn last_index(&self) -> u64 {
        self.raft.raft.raft_log.last_index()
    }

    /// Whether this leader knows that `node`'s log holds all committed entries.
    pub(crate) fn has_caught_up(&self, node: NodeId) -> bool {
        let raft = &self.raft.raft;
        raft.prs()
            .get(raft_id(node))
            .is_some_and(|progress| progress.matched >= raft.raft_log.committed)
    }
}
