//! The Raft log in memory, the way the `raft` crate reads it, and its form on disk.

use protobuf::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, StorageError};
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::topology::{NodeId, Topology};

/// Entries kept for followers that are a little behind; others get a snapshot.
const KEPT_ENTRIES: usize = 64;
/// The log is shortened when it is longer than this.
const MOST_ENTRIES: usize = 256;

/// A node's number in the Raft group: the first eight bytes of its id, which are random.
pub(crate) fn raft_id(node: NodeId) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&node.bytes()[..8]);
    u64::from_be_bytes(bytes).max(1)
}

/// The Raft group's members as the crate wants them; the topology's voters and learners are changed by the same entries.
pub(crate) fn conf_state(topology: &Topology) -> ConfState {
    ConfState {
        voters: topology.voters.iter().copied().map(raft_id).collect(),
        learners: topology.learners.iter().copied().map(raft_id).collect(),
        ..ConfState::default()
    }
}

/// What a Raft member keeps on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConsensusRecord {
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) commit: u64,
    pub(crate) base_index: u64,
    pub(crate) base_term: u64,
    /// Entries after `base_index`, as protobuf.
    pub(crate) entries: Vec<Vec<u8>>,
    /// The state at its own index, which is at least `base_index`; none before the first snapshot has come.
    pub(crate) machine: Option<Machine>,
}

/// The record contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the consensus log is damaged: {0}")]
pub(crate) struct Damaged(&'static str);

/// See the module. Also holds the applied state, from which snapshots for others are made.
pub(crate) struct Storage {
    pub(crate) hard: HardState,
    pub(crate) machine: Option<Machine>,
    base_index: u64,
    base_term: u64,
    entries: Vec<Entry>,
}

impl Storage {
    /// The empty log of a node that waits for its first snapshot.
    pub(crate) fn blank() -> Self {
        Self {
            hard: HardState::default(),
            machine: None,
            base_index: 0,
            base_term: 0,
            entries: Vec::new(),
        }
    }

    /// The log of a group that begins with this state, in term 1.
    pub(crate) fn founding(machine: Machine) -> Self {
        let index = machine.topology.index;
        let hard = HardState {
            term: 1,
            commit: index,
            ..HardState::default()
        };
        Self {
            hard,
            machine: Some(machine),
            base_index: index,
            base_term: 1,
            entries: Vec::new(),
        }
    }

    pub(crate) fn restore(record: ConsensusRecord) -> Result<Self, Damaged> {
        let mut entries = Vec::with_capacity(record.entries.len());
        for (offset, bytes) in record.entries.iter().enumerate() {
            let entry =
                Entry::parse_from_bytes(bytes).map_err(|_| Damaged("an entry is unreadable"))?;
            if entry.index != record.base_index + 1 + offset as u64 {
                return Err(Damaged("an entry is missing"));
            }
            entries.push(entry);
        }
        let last = record.base_index + entries.len() as u64;
        let applied = record.machine.as_ref().map_or(0, |m| m.topology.index);
        if record.commit > last || applied > record.commit || applied < record.base_index {
            return Err(Damaged("its indexes contradict each other"));
        }
        let hard = HardState {
            term: record.term,
            vote: record.vote,
            commit: record.commit,
            ..HardState::default()
        };
        Ok(Self {
            hard,
            machine: record.machine,
            base_index: record.base_index,
            base_term: record.base_term,
            entries,
        })
    }

    pub(crate) fn record(&self) -> ConsensusRecord {
        ConsensusRecord {
            term: self.hard.term,
            vote: self.hard.vote,
            commit: self.hard.commit,
            base_index: self.base_index,
            base_term: self.base_term,
            entries: self.entries.iter().map(encode_entry).collect(),
            machine: self.machine.clone(),
        }
    }

    /// Index of the last entry applied.
    pub(crate) fn applied(&self) -> u64 {
        self.machine.as_ref().map_or(0, |m| m.topology.index)
    }

    pub(crate) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else {
            return;
        };
        let keep = first.index.saturating_sub(self.base_index + 1) as usize;
        self.entries.truncate(keep);
        self.entries.extend_from_slice(entries);
    }

    /// Replaces everything by a snapshot.
    pub(crate) fn install(&mut self, index: u64, term: u64, machine: Machine) {
        self.base_index = index;
        self.base_term = term;
        self.entries.clear();
        self.machine = Some(machine);
        self.commit_to(index);
    }

    pub(crate) fn commit_to(&mut self, index: u64) {
        self.hard.commit = self.hard.commit.max(index);
    }

    /// Forgets old applied entries when there are many.
    pub(crate) fn compact(&mut self) {
        if self.entries.len() <= MOST_ENTRIES {
            return;
        }
        let applied = self.applied().saturating_sub(self.base_index) as usize;
        let drop = applied.min(self.entries.len()).saturating_sub(KEPT_ENTRIES);
        if let Some(last) = drop.checked_sub(1).and_then(|at| self.entries.get(at)) {
            self.base_index = last.index;
            self.base_term = last.term;
            self.entries.drain(..drop);
        }
    }

    fn last(&self) -> u64 {
        self.base_index + self.entries.len() as u64
    }
}

fn encode_entry(entry: &Entry) -> Vec<u8> {
    entry
        .write_to_bytes()
        .expect("an entry has no required fields and memory suffices")
}

impl raft::Storage for Storage {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let conf = self
            .machine
            .as_ref()
            .map_or_else(ConfState::default, |m| conf_state(&m.topology));
        Ok(RaftState::new(self.hard.clone(), conf))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base_index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let (from, to) = (low - self.base_index - 1, high - self.base_index - 1);
        let mut entries = self.entries[from as usize..to as usize].to_vec();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base_index {
            return Ok(self.base_term);
        }
        if index < self.base_index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        self.entries
            .get((index - self.base_index - 1) as usize)
            .map(|entry| entry.term)
            .ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base_index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let unavailable = raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable);
        let Some(machine) = &self.machine else {
            return Err(unavailable);
        };
        let index = machine.topology.index;
        if index < request_index {
            return Err(unavailable);
        }
        let data = postcard::to_stdvec(machine).map_err(|_| unavailable)?;
        let mut snapshot = Snapshot {
            data: data.into(),
            ..Snapshot::default()
        };
        let metadata = snapshot.mut_metadata();
        metadata.index = index;
        metadata.term = self.term(index)?;
        metadata.set_conf_state(conf_state(&machine.topology));
        Ok(snapshot)
    }
}
