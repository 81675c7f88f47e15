//! The rules of the topology: what each command changes and why it may be refused.
//!
//! Pure and deterministic: every voter applies the same commands at the same indexes and must arrive at the same topology.

use super::{
    Address, Member, Migration, MigrationId, NodeId, Shard, ShardId, Topology, TopologyCommand,
    Witness,
};
use crate::slot::{SlotId, SlotSet};

/// Why a command was not applied. The text goes to the client that asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No member has this id.
    #[error("Unknown node {0}")]
    UnknownNode(NodeId),
    /// No shard has this id.
    #[error("Unknown shard {0}")]
    UnknownShard(ShardId),
    /// No migration with this id is running.
    #[error("Unknown slot migration {0}")]
    UnknownMigration(MigrationId),
    /// The node is a member already.
    #[error("Node {0} is a member already")]
    AlreadyMember(NodeId),
    /// The witness owns nothing, and is no member.
    #[error("Node {0} is the witness")]
    IsWitness(NodeId),
    /// The shard exists already.
    #[error("Shard {0} exists already")]
    ShardExists(ShardId),
    /// A migration with this id is running already.
    #[error("Slot migration {0} is running already")]
    MigrationExists(MigrationId),
    /// The slot has an owner.
    #[error("Slot {0} is already busy")]
    SlotBusy(SlotId),
    /// The slot has no owner.
    #[error("Slot {0} is already unassigned")]
    SlotUnassigned(SlotId),
    /// The slot is not owned by the shard that should give it away.
    #[error("Slot {slot} is not owned by shard {shard}")]
    NotOwner {
        /// The slot.
        slot: SlotId,
        /// The shard that does not own it.
        shard: ShardId,
    },
    /// The slot moves at present.
    #[error("Slot {slot} is being migrated by {migration}; cancel that first")]
    SlotMigrating {
        /// The slot.
        slot: SlotId,
        /// The migration that moves it.
        migration: MigrationId,
    },
    /// The command names no slot.
    #[error("No slots given")]
    NoSlots,
    /// A primary with slots can neither leave nor become a replica.
    #[error("Node {0} is the primary of a shard with slots")]
    HasSlots(NodeId),
    /// A primary with replicas can neither leave nor become a replica: its replicas would be without a shard.
    #[error("Node {0} is the primary of a shard with replicas; move or remove them first")]
    HasReplicas(NodeId),
    /// The last member cannot leave.
    #[error("Node {0} is the only member")]
    OnlyMember(NodeId),
    /// A node cannot replicate itself.
    #[error("Can't replicate myself")]
    ReplicateMyself,
    /// Only primaries are replicated.
    #[error("I can only replicate a master, not a replica.")]
    NotPrimary(NodeId),
    /// A later incarnation of the node is the primary already.
    #[error("A later incarnation of node {0} is the primary already")]
    StaleIncarnation(NodeId),
    /// The shard changed since the hand-over started.
    #[error("The shard changed in the meantime; its epoch is {0}")]
    StaleHandOver(u64),
    /// The source or the target of the migration has another primary than when the slots were sent.
    #[error("Slot migration {0}: source or target has another primary now")]
    StaleMigration(MigrationId),
    /// Source and target of a migration are the same shard.
    #[error("The slots are owned by the target shard already")]
    SameShard,
}

impl Topology {
    /// Applies the log entry at `index`. [`Topology::index`] becomes `index` in any case; a refused command changes nothing else.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] says which rule forbids the command.
    pub fn apply(&mut self, index: u64, command: &TopologyCommand) -> Result<(), Refusal> {
        self.index = index;
        match command {
            TopologyCommand::AddMember {
                member,
                incarnation,
                slots,
            } => self.add_member(member, *incarnation, slots),
            TopologyCommand::RemoveMember { node } => self.remove_member(*node),
            TopologyCommand::SetAddress { node, address } => self.set_address(*node, address),
            TopologyCommand::AddSlots { node, slots } => self.add_slots(*node, slots),
            TopologyCommand::RemoveSlots { slots } => self.remove_slots(slots),
            TopologyCommand::SetSlotOwner { node, slots } => self.set_slot_owner(*node, slots),
            TopologyCommand::Replicate { node, primary } => self.replicate(*node, *primary),
            TopologyCommand::Promote { node, incarnation } => self.promote(*node, *incarnation),
            TopologyCommand::HandOver {
                node,
                incarnation,
                epoch,
            } => self.hand_over(*node, *incarnation, *epoch),
            TopologyCommand::BeginMigration { id, migration } => {
                self.begin_migration(*id, migration)
            }
            TopologyCommand::CompleteMigration {
                id,
                source_since,
                target_since,
            } => self.complete_migration(*id, *source_since, *target_since),
            TopologyCommand::AbortMigration { id } => self
                .migrations
                .remove(id)
                .map(|_| ())
                .ok_or(Refusal::UnknownMigration(*id)),
            TopologyCommand::SetWitness { witness } => self.set_witness(witness),
            TopologyCommand::RemoveWitness => {
                self.witness = None;
                Ok(())
            }
        }
    }

    fn set_witness(&mut self, witness: &Witness) -> Result<(), Refusal> {
        if self.members.contains_key(&witness.id) {
            return Err(Refusal::AlreadyMember(witness.id));
        }
        self.witness = Some(witness.clone());
        Ok(())
    }

    fn add_member(
        &mut self,
        member: &Member,
        incarnation: u64,
        slots: &SlotSet,
    ) -> Result<(), Refusal> {
        if self.members.contains_key(&member.id) {
            return Err(Refusal::AlreadyMember(member.id));
        }
        if self.is_witness(member.id) {
            return Err(Refusal::IsWitness(member.id));
        }
        if self.shards.contains_key(&member.shard) {
            return Err(Refusal::ShardExists(member.shard));
        }
        self.refuse_busy(slots)?;
        let shard = Shard {
            primary: member.id,
            primary_incarnation: incarnation,
            primary_since: self.index,
            slots: slots.clone(),
            epoch: self.index,
        };
        self.shards.insert(member.shard, shard);
        self.members.insert(member.id, member.clone());
        Ok(())
    }

    fn remove_member(&mut self, node: NodeId) -> Result<(), Refusal> {
        self.refuse_bound_primary(node)?;
        if self.members.len() == 1 {
            return Err(Refusal::OnlyMember(node));
        }
        if let Some(member) = self.members.remove(&node) {
            self.drop_empty_shard(member.shard);
        }
        Ok(())
    }

    fn set_address(&mut self, node: NodeId, address: &Address) -> Result<(), Refusal> {
        let member = self
            .members
            .get_mut(&node)
            .ok_or(Refusal::UnknownNode(node))?;
        member.address = address.clone();
        Ok(())
    }

    fn add_slots(&mut self, node: NodeId, slots: &SlotSet) -> Result<(), Refusal> {
        let shard = self.shard_id(node)?;
        refuse_none(slots)?;
        self.refuse_busy(slots)?;
        self.change_slots(shard, |owned| owned.union_with(slots));
        Ok(())
    }

    fn remove_slots(&mut self, slots: &SlotSet) -> Result<(), Refusal> {
        refuse_none(slots)?;
        let assigned = self.assigned();
        if let Some(slot) = slots.iter().find(|slot| !assigned.contains(*slot)) {
            return Err(Refusal::SlotUnassigned(slot));
        }
        self.refuse_migrating(slots)?;
        self.take_from_owners(slots);
        Ok(())
    }

    fn set_slot_owner(&mut self, node: NodeId, slots: &SlotSet) -> Result<(), Refusal> {
        let shard = self.shard_id(node)?;
        refuse_none(slots)?;
        self.refuse_migrating(slots)?;
        if self.shards[&shard].slots.is_superset(slots) {
            return Ok(());
        }
        self.take_from_owners(slots);
        self.change_slots(shard, |owned| owned.union_with(slots));
        Ok(())
    }

    fn replicate(&mut self, node: NodeId, primary: NodeId) -> Result<(), Refusal> {
        let from = self.shard_id(node)?;
        let to = self.shard_id(primary)?;
        if node == primary {
            return Err(Refusal::ReplicateMyself);
        }
        if self.shards[&to].primary != primary {
            return Err(Refusal::NotPrimary(primary));
        }
        if from == to {
            return Ok(());
        }
        self.refuse_bound_primary(node)?;
        if let Some(member) = self.members.get_mut(&node) {
            member.shard = to;
        }
        self.drop_empty_shard(from);
        Ok(())
    }

    fn promote(&mut self, node: NodeId, incarnation: u64) -> Result<(), Refusal> {
        let id = self.shard_id(node)?;
        let index = self.index;
        let Some(shard) = self.shards.get_mut(&id) else {
            return Err(Refusal::UnknownShard(id));
        };
        if shard.primary == node && shard.primary_incarnation == incarnation {
            return Ok(());
        }
        if shard.primary == node && shard.primary_incarnation > incarnation {
            return Err(Refusal::StaleIncarnation(node));
        }
        shard.primary = node;
        shard.primary_incarnation = incarnation;
        shard.primary_since = index;
        shard.epoch = index;
        Ok(())
    }

    fn hand_over(&mut self, node: NodeId, incarnation: u64, epoch: u64) -> Result<(), Refusal> {
        let id = self.shard_id(node)?;
        let index = self.index;
        if self.shards[&id].epoch != epoch {
            return Err(Refusal::StaleHandOver(self.shards[&id].epoch));
        }
        self.promote(node, incarnation)?;
        if let Some(shard) = self.shards.get_mut(&id) {
            shard.epoch = index;
        }
        Ok(())
    }

    fn begin_migration(&mut self, id: MigrationId, migration: &Migration) -> Result<(), Refusal> {
        if self.migrations.contains_key(&id) {
            return Err(Refusal::MigrationExists(id));
        }
        if migration.source == migration.target {
            return Err(Refusal::SameShard);
        }
        for shard in [migration.source, migration.target] {
            if !self.shards.contains_key(&shard) {
                return Err(Refusal::UnknownShard(shard));
            }
        }
        refuse_none(&migration.slots)?;
        let owned = &self.shards[&migration.source].slots;
        if let Some(slot) = migration.slots.iter().find(|slot| !owned.contains(*slot)) {
            return Err(Refusal::NotOwner {
                slot,
                shard: migration.source,
            });
        }
        self.refuse_migrating(&migration.slots)?;
        self.migrations.insert(id, migration.clone());
        Ok(())
    }

    /// A migration outlives its primaries, but what two of them have agreed on says nothing about their successors: those may have other
    /// data.
    fn complete_migration(
        &mut self,
        id: MigrationId,
        source_since: u64,
        target_since: u64,
    ) -> Result<(), Refusal> {
        let migration = self
            .migrations
            .get(&id)
            .cloned()
            .ok_or(Refusal::UnknownMigration(id))?;
        let since = |shard| self.shards.get(&shard).map(|shard| shard.primary_since);
        if (since(migration.source), since(migration.target))
            != (Some(source_since), Some(target_since))
        {
            return Err(Refusal::StaleMigration(id));
        }
        self.migrations.remove(&id);
        self.change_slots(migration.source, |owned| owned.subtract(&migration.slots));
        self.change_slots(migration.target, |owned| owned.union_with(&migration.slots));
        Ok(())
    }

    fn shard_id(&self, node: NodeId) -> Result<ShardId, Refusal> {
        self.shard_of(node)
            .map(|(id, _)| id)
            .ok_or(Refusal::UnknownNode(node))
    }

    /// Refuses when `node` is a primary that its slots or its replicas need.
    fn refuse_bound_primary(&self, node: NodeId) -> Result<(), Refusal> {
        let (id, shard) = self.shard_of(node).ok_or(Refusal::UnknownNode(node))?;
        if shard.primary != node {
            return Ok(());
        }
        if !shard.slots.is_empty() {
            return Err(Refusal::HasSlots(node));
        }
        if self.members_of(id).count() > 1 {
            return Err(Refusal::HasReplicas(node));
        }
        Ok(())
    }

    fn refuse_busy(&self, slots: &SlotSet) -> Result<(), Refusal> {
        let assigned = self.assigned();
        match slots.iter().find(|slot| assigned.contains(*slot)) {
            Some(slot) => Err(Refusal::SlotBusy(slot)),
            None => Ok(()),
        }
    }

    fn refuse_migrating(&self, slots: &SlotSet) -> Result<(), Refusal> {
        let busy = self
            .migrations
            .iter()
            .find(|(_, migration)| migration.slots.intersects(slots));
        let Some((id, migration)) = busy else {
            return Ok(());
        };
        let slot = slots.iter().find(|slot| migration.slots.contains(*slot));
        slot.map_or(Ok(()), |slot| {
            Err(Refusal::SlotMigrating {
                slot,
                migration: *id,
            })
        })
    }

    fn take_from_owners(&mut self, slots: &SlotSet) {
        let index = self.index;
        for shard in self.shards.values_mut() {
            if shard.slots.intersects(slots) {
                shard.slots.subtract(slots);
                shard.epoch = index;
            }
        }
    }

    fn change_slots(&mut self, shard: ShardId, change: impl FnOnce(&mut SlotSet)) {
        let index = self.index;
        if let Some(shard) = self.shards.get_mut(&shard) {
            change(&mut shard.slots);
            shard.epoch = index;
        }
    }

    fn drop_empty_shard(&mut self, shard: ShardId) {
        if self.members_of(shard).next().is_none() {
            self.shards.remove(&shard);
            self.abort_migrations_of(shard);
        }
    }

    fn abort_migrations_of(&mut self, shard: ShardId) {
        self.migrations
            .retain(|_, migration| migration.source != shard && migration.target != shard);
    }
}

fn refuse_none(slots: &SlotSet) -> Result<(), Refusal> {
    if slots.is_empty() {
        Err(Refusal::NoSlots)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
