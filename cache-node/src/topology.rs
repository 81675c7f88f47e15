//! The topology: members, shards, primaries, slot owners and running migrations.
//!
//! It is the state that the bus replicates through Raft. [`TopologyCommand`]s are its log entries; applying one is pure and deterministic.

mod apply;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::slot::{SlotId, SlotSet};

pub use apply::Refusal;

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 20]);

        impl $name {
            /// The id with these 20 bytes.
            pub fn new(bytes: [u8; 20]) -> Self {
                Self(bytes)
            }

            /// A random id.
            pub fn random() -> Self {
                Self(rand::random())
            }

            /// The id's bytes.
            pub fn bytes(&self) -> &[u8; 20] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text).map(Self)
            }
        }
    };
}

hex_id! {
    /// A node's identity for life, 40 hexadecimal digits in text. Addresses may change, this does not.
    NodeId
}
hex_id! {
    /// A shard's identity. Slots belong to shards.
    ShardId
}
hex_id! {
    /// A slot migration's identity (the `name` of a Valkey slot migration job).
    MigrationId
}

/// The text is not 40 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 40 hexadecimal digits")]
pub struct IdError;

fn parse_hex(text: &str) -> Result<[u8; 20], IdError> {
    let mut bytes = [0; 20];
    if text.len() != 40 || !text.is_ascii() {
        return Err(IdError);
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| IdError)?;
    }
    Ok(bytes)
}

/// Where a member is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// IP address that clients and peers connect to.
    pub ip: String,
    /// Client port.
    pub port: u16,
    /// Bus port.
    pub bus_port: u16,
    /// Announced host name; empty when none is announced.
    pub hostname: String,
}

/// One node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Who it is.
    pub id: NodeId,
    /// Where it is.
    pub address: Address,
    /// The shard it belongs to.
    pub shard: ShardId,
}

/// One that has a vote in a cluster of two nodes and is no member: it owns nothing, and clients do not see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Who it is.
    pub id: NodeId,
    /// Where it is. It has no client port.
    pub address: Address,
}

/// A group of one primary and its replicas, owning a set of slots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Who may serve as primary.
    pub primary: NodeId,
    /// The incarnation of the primary that may serve. A primary that restarted has another one and is quarantined.
    pub primary_incarnation: u64,
    /// The topology index at which this primary took over. One that comes back to an earlier node is another.
    pub primary_since: u64,
    /// The slots it owns.
    pub slots: SlotSet,
    /// The topology index at which primary or slots changed last: the shard's `config-epoch` in Redis's terms.
    pub epoch: u64,
}

/// A running slot migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migration {
    /// Shard that owns the slots until the migration completes.
    pub source: ShardId,
    /// Shard that owns them from then on.
    pub target: ShardId,
    /// The slots that move.
    pub slots: SlotSet,
}

/// The replicated cluster state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    /// Drawn when the cluster was born; nodes of different clusters never mix.
    pub cluster: u64,
    /// Rises when the consensus group is re-formed by force; the higher generation wins over any index.
    pub generation: u64,
    /// Who formed this generation. Two nodes may re-form the group at the same time; the higher id then wins.
    pub founder: NodeId,
    /// Index of the last entry applied, whether or not it changed anything: the configuration epoch.
    pub index: u64,
    /// Whose votes decide: members, and maybe the witness.
    pub voters: BTreeSet<NodeId>,
    /// Who is catching up to become a voter.
    pub learners: BTreeSet<NodeId>,
    /// Who may vote without being a member.
    pub witness: Option<Witness>,
    /// All members.
    pub members: BTreeMap<NodeId, Member>,
    /// All shards; each has at least its primary as a member.
    pub shards: BTreeMap<ShardId, Shard>,
    /// Running migrations.
    pub migrations: BTreeMap<MigrationId, Migration>,
}

/// A change of the topology: the content of one Raft log entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopologyCommand {
    /// A node joins. It brings a shard of its own (it is that shard's primary) and the slots that it owned alone.
    AddMember {
        /// The new member; its shard must not exist yet.
        member: Member,
        /// The member's present incarnation.
        incarnation: u64,
        /// Slots that it owned before it joined; refused when one is owned already.
        slots: SlotSet,
    },
    /// A node leaves; its shard ends with its last member. Refused while it is the primary of a shard with slots or with replicas.
    RemoveMember {
        /// Who leaves.
        node: NodeId,
    },
    /// A node announces another address.
    SetAddress {
        /// Whose address changed.
        node: NodeId,
        /// The new address.
        address: Address,
    },
    /// Gives unowned slots to the shard of `node`.
    AddSlots {
        /// A member of the shard.
        node: NodeId,
        /// The slots; refused when one is owned already.
        slots: SlotSet,
    },
    /// Leaves slots without owner. Refused when one is being migrated.
    RemoveSlots {
        /// The slots; refused when one is not owned.
        slots: SlotSet,
    },
    /// Gives slots to the shard of `node`, whoever owned them (`CLUSTER SETSLOT n NODE id`). Refused when one is being migrated.
    SetSlotOwner {
        /// A member of the new owner.
        node: NodeId,
        /// The slots.
        slots: SlotSet,
    },
    /// Makes `node` a replica in the shard of `primary`. Refused while `node` is the primary of a shard with slots or with replicas.
    Replicate {
        /// Who becomes a replica.
        node: NodeId,
        /// The shard's primary.
        primary: NodeId,
    },
    /// Makes `node` the primary of its shard, in the given incarnation only. The shard's migrations go on, but what its former primary
    /// proposes about them is refused from then on.
    Promote {
        /// The new primary.
        node: NodeId,
        /// Its present incarnation.
        incarnation: u64,
    },
    /// [`TopologyCommand::Promote`] under a condition: refused when the shard's epoch is another. Raises the epoch even when `node` is the
    /// primary already, so of two such entries with the same epoch exactly one takes effect: a primary that has paused for a hand-over
    /// names itself to end it, and then knows that no late promotion will follow.
    HandOver {
        /// The new primary.
        node: NodeId,
        /// Its present incarnation.
        incarnation: u64,
        /// The shard's epoch that the hand-over started from.
        epoch: u64,
    },
    /// Announces a migration. Refused when a slot is not owned by the source or moves already.
    BeginMigration {
        /// The migration's id.
        id: MigrationId,
        /// What moves from where to where.
        migration: Migration,
    },
    /// The slots of a migration change owner. Refused when one of the two primaries that have agreed on it is none any more.
    CompleteMigration {
        /// The migration's id; refused when it is not running.
        id: MigrationId,
        /// [`Shard::primary_since`] of the source.
        source_since: u64,
        /// [`Shard::primary_since`] of the target.
        target_since: u64,
    },
    /// A migration ends without effect.
    AbortMigration {
        /// The migration's id; refused when it is not running.
        id: MigrationId,
    },
    /// This one is the witness from now on, and another one is no more. Refused when it is a member.
    SetWitness {
        /// The witness.
        witness: Witness,
    },
    /// There is no witness from now on.
    RemoveWitness,
}

impl TopologyCommand {
    /// Whom the command makes a primary of a shard that there is.
    pub(crate) fn promoted(&self) -> Option<NodeId> {
        match self {
            Self::Promote { node, .. } | Self::HandOver { node, .. } => Some(*node),
            _ => None,
        }
    }
}

/// How new a topology is: of two, the greater one is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version {
    /// [`Topology::generation`].
    pub generation: u64,
    /// [`Topology::founder`].
    pub founder: NodeId,
    /// [`Topology::index`].
    pub index: u64,
}

impl Version {
    /// Whether both were decided by the same consensus group.
    pub fn same_group(&self, other: &Version) -> bool {
        (self.generation, self.founder) == (other.generation, other.founder)
    }
}

impl Topology {
    /// The topology of a cluster of one node that owns no slot, as of index 1.
    pub fn single(cluster: u64, member: Member, incarnation: u64) -> Self {
        let shard = Shard {
            primary: member.id,
            primary_incarnation: incarnation,
            primary_since: 1,
            slots: SlotSet::new(),
            epoch: 1,
        };
        Self {
            cluster,
            generation: 1,
            founder: member.id,
            index: 1,
            voters: BTreeSet::from([member.id]),
            learners: BTreeSet::new(),
            witness: None,
            shards: BTreeMap::from([(member.shard, shard)]),
            members: BTreeMap::from([(member.id, member)]),
            migrations: BTreeMap::new(),
        }
    }

    /// What `node` knows before it has seen any cluster: nobody and nothing, older than everything.
    pub(crate) fn unknown(node: NodeId) -> Self {
        Self {
            cluster: 0,
            generation: 0,
            founder: node,
            index: 0,
            voters: BTreeSet::new(),
            learners: BTreeSet::new(),
            witness: None,
            shards: BTreeMap::new(),
            members: BTreeMap::new(),
            migrations: BTreeMap::new(),
        }
    }

    /// How new this topology is.
    pub fn version(&self) -> Version {
        Version {
            generation: self.generation,
            founder: self.founder,
            index: self.index,
        }
    }

    /// The shard that owns `slot`. Looks at every shard; [`View::route`](crate::cluster::View::route) is the fast way.
    pub fn owner(&self, slot: SlotId) -> Option<(ShardId, &Shard)> {
        self.shards
            .iter()
            .find(|(_, shard)| shard.slots.contains(slot))
            .map(|(id, shard)| (*id, shard))
    }

    /// The shard that `node` belongs to.
    pub fn shard_of(&self, node: NodeId) -> Option<(ShardId, &Shard)> {
        let id = self.members.get(&node)?.shard;
        self.shards.get(&id).map(|shard| (id, shard))
    }

    /// Whether `node` is the witness.
    pub fn is_witness(&self, node: NodeId) -> bool {
        self.witness.as_ref().is_some_and(|it| it.id == node)
    }

    /// Whether `node` is a member or the witness: what it says counts.
    pub(crate) fn takes_part(&self, node: NodeId) -> bool {
        self.members.contains_key(&node) || self.is_witness(node)
    }

    /// The members and the witness, with their addresses.
    pub(crate) fn participants(&self) -> impl Iterator<Item = (NodeId, &Address)> {
        let members = self.members.values().map(|it| (it.id, &it.address));
        members.chain(self.witness.iter().map(|it| (it.id, &it.address)))
    }

    /// Where a member or the witness is.
    pub(crate) fn address_of(&self, node: NodeId) -> Option<&Address> {
        let member = self.members.get(&node).map(|it| &it.address);
        let witness = || self.witness.as_ref().filter(|it| it.id == node);
        member.or_else(|| witness().map(|it| &it.address))
    }

    /// The members of a shard, by id.
    pub fn members_of(&self, shard: ShardId) -> impl Iterator<Item = &Member> {
        self.members
            .values()
            .filter(move |member| member.shard == shard)
    }

    /// Whether `node` is the primary of its shard.
    pub fn is_primary(&self, node: NodeId) -> bool {
        self.shard_of(node)
            .is_some_and(|(_, shard)| shard.primary == node)
    }

    /// The slots that some shard owns.
    pub fn assigned(&self) -> SlotSet {
        let mut assigned = SlotSet::new();
        self.shards
            .values()
            .for_each(|shard| assigned.union_with(&shard.slots));
        assigned
    }
}
