//! `CLUSTER` commands about slots: who owns them, moving one by hand, and their keys.

use crate::clock;
use crate::cluster::{Cluster, HandMove, View};
use crate::resp::parse_integer;
use crate::slot::{SlotId, SlotSet};
use crate::topology::TopologyCommand;

use super::super::context::AsyncContext;
use super::super::error::{Failure, NOT_INTEGER, Result, error};
use super::super::spec::Waiting;
use super::{parse, view};

pub(super) fn add(context: AsyncContext<'_>) -> Waiting<'_> {
    let slots = parse::slot_list(context.args.from(2));
    Box::pin(add_slots(context, slots))
}

pub(super) fn add_range(context: AsyncContext<'_>) -> Waiting<'_> {
    let slots = parse::slot_ranges(context.args.from(2), "addslotsrange");
    Box::pin(add_slots(context, slots))
}

async fn add_slots(mut context: AsyncContext<'_>, slots: Result<SlotSet>) -> Result {
    let view = view(context.node)?;
    let add = TopologyCommand::AddSlots {
        node: view.myself,
        slots: slots?,
    };
    context.node.cluster.propose(add).await?;
    context.reply.ok();
    Ok(())
}

pub(super) fn delete(context: AsyncContext<'_>) -> Waiting<'_> {
    let slots = parse::slot_list(context.args.from(2));
    Box::pin(delete_slots(context, slots))
}

pub(super) fn delete_range(context: AsyncContext<'_>) -> Waiting<'_> {
    let slots = parse::slot_ranges(context.args.from(2), "delslotsrange");
    Box::pin(delete_slots(context, slots))
}

async fn delete_slots(mut context: AsyncContext<'_>, slots: Result<SlotSet>) -> Result {
    view(context.node)?;
    let remove = TopologyCommand::RemoveSlots { slots: slots? };
    context.node.cluster.propose(remove).await?;
    context.reply.ok();
    Ok(())
}

pub(super) fn flush(mut context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let view = view(context.node)?;
        if context.node.store.count_keys(|_| true) > 0 {
            return Err(error("ERR DB must be empty to perform CLUSTER FLUSHSLOTS."));
        }
        let mine = view
            .topology
            .shards
            .values()
            .find(|shard| shard.primary == view.myself && !shard.slots.is_empty());
        if let Some(shard) = mine {
            let remove = TopologyCommand::RemoveSlots {
                slots: shard.slots.clone(),
            };
            context.node.cluster.propose(remove).await?;
        }
        context.reply.ok();
        Ok(())
    })
}

/// `CLUSTER SETSLOT slot MIGRATING|IMPORTING|NODE id`, `CLUSTER SETSLOT slot STABLE`.
pub(super) fn set(mut context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let view = view(context.node)?;
        if view.my_primary().is_some() {
            return Err(error("ERR You can use SETSLOT only with masters."));
        }
        let slot = parse::slot(context.args.at(2))?;
        let action = context.args.at(3).to_ascii_lowercase();
        let cluster = &context.node.cluster;
        match (action.as_slice(), context.args.get(4)) {
            (b"migrating", Some(target)) => migrating(cluster, &view, slot, target).await?,
            (b"importing", Some(source)) => importing(cluster, &view, slot, source).await?,
            (b"stable", None) => by_hand(cluster, slot, HandMove::Stable).await?,
            (b"node", Some(owner)) => {
                let keys = context.node.store.keys_in(slot);
                assign(cluster, &view, slot, owner, keys).await?;
            }
            _ => {
                return Err(error(
                    "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
                ));
            }
        }
        context.reply.ok();
        Ok(())
    })
}

fn owns(view: &View, slot: SlotId) -> bool {
    view.topology
        .owner(slot)
        .is_some_and(|(_, shard)| shard.primary == view.myself)
}

async fn by_hand(cluster: &Cluster, slot: SlotId, hand_move: HandMove) -> Result {
    let slots = SlotSet::from_iter([slot]);
    Ok(cluster.move_by_hand(slots, hand_move).await?)
}

async fn migrating(cluster: &Cluster, view: &View, slot: SlotId, target: &[u8]) -> Result {
    if !owns(view, slot) {
        return Err(Failure::new(format!(
            "ERR I'm not the owner of hash slot {slot}"
        )));
    }
    let target = known_primary(view, target)?;
    by_hand(cluster, slot, HandMove::Migrating(target)).await
}

async fn importing(cluster: &Cluster, view: &View, slot: SlotId, source: &[u8]) -> Result {
    if owns(view, slot) {
        return Err(Failure::new(format!(
            "ERR I'm already the owner of hash slot {slot}"
        )));
    }
    let source = known_primary(view, source)?;
    by_hand(cluster, slot, HandMove::Importing(source)).await
}

fn known_primary(view: &View, text: &[u8]) -> Result<crate::topology::NodeId> {
    let Ok(node) = parse::member(view, text) else {
        let text = String::from_utf8_lossy(text);
        return Err(Failure::new(format!("ERR I don't know about node {text}")));
    };
    if view.topology.is_primary(node) {
        Ok(node)
    } else {
        Err(error("ERR Target node is not a master"))
    }
}

async fn assign(cluster: &Cluster, view: &View, slot: SlotId, owner: &[u8], keys: usize) -> Result {
    let node = parse::member(view, owner)?;
    if !view.topology.is_primary(node) {
        return Err(error("ERR Target node is not a master"));
    }
    if owns(view, slot) && node != view.myself && keys > 0 {
        return Err(Failure::new(format!(
            "ERR Can't assign hashslot {slot} to a different node while I still hold keys for this hash slot."
        )));
    }
    let slots = SlotSet::from_iter([slot]);
    let assign = TopologyCommand::SetSlotOwner { node, slots };
    cluster.propose(assign).await?;
    Ok(())
}

/// `CLUSTER GETKEYSINSLOT slot count`.
pub(super) fn get_keys(mut context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        view(context.node)?;
        let slot = parse::slot_number(context.args.at(2))?;
        let count = parse_integer(context.args.at(3)).ok_or(NOT_INTEGER)?;
        let (Some(slot), Ok(count)) = (slot, usize::try_from(count)) else {
            return Err(error("ERR Invalid slot or number of keys"));
        };
        let keys = context.node.store.list_keys(slot, count, clock::now());
        let keys = keys.await;
        context.reply.array(keys.len());
        for key in keys {
            context.reply.bulk(&key);
        }
        Ok(())
    })
}
