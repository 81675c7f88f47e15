//! `CLUSTER`: what this node knows of the cluster, in the exact forms of Redis. What changes it is in `change` and `slots`.

mod change;
mod failover;
mod parse;
mod slots;

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use crate::clock;
use crate::cluster::{ClusterError, View, info, nodes, replicas, shards, slots as slots_reply};
use crate::node::Node;
use crate::slot::SlotId;

use super::context::{AsyncContext, Context};
use super::error::{Failure, Result, error};
use super::migration;

use super::spec::{Command, Flags, Waiting};

const fn query(
    name: &'static str,
    arity: i16,
    handler: super::SyncHandler,
    summary: &'static str,
) -> Command {
    Command::new(name, arity, handler, summary)
        .group("cluster")
        .anytime()
}

const fn change(
    name: &'static str,
    arity: i16,
    handler: super::AsyncHandler,
    summary: &'static str,
) -> Command {
    Command::waiting(name, arity, handler, summary)
        .group("cluster")
        .admin()
        .flag(Flags::NO_MULTI)
}

pub(super) static COMMANDS: &[Command] =
    &[Command::container("cluster", SUBCOMMANDS, "Cluster commands.").group("cluster")];

static SUBCOMMANDS: &[Command] = &[
    query("help", 2, help, "Lists the subcommands."),
    query("myid", 2, my_id, "Returns this node's id."),
    query(
        "myshardid",
        2,
        my_shard_id,
        "Returns the id of this node's shard.",
    ),
    query(
        "info",
        2,
        show_info,
        "Returns the state of the cluster as this node sees it.",
    ),
    query("nodes", 2, show_nodes, "Lists the nodes, one a line."),
    query(
        "slots",
        2,
        show_slots,
        "Lists the ranges of slots with their nodes.",
    ),
    query(
        "shards",
        2,
        show_shards,
        "Lists the shards with their slots and nodes.",
    ),
    query(
        "replicas",
        3,
        show_replicas,
        "Lists the replicas of a primary.",
    ),
    query(
        "slaves",
        3,
        show_replicas,
        "Lists the replicas of a primary.",
    ),
    query(
        "links",
        2,
        show_links,
        "Lists the connections of the cluster bus.",
    ),
    query("keyslot", 3, key_slot, "Returns the slot of a key."),
    query(
        "countkeysinslot",
        3,
        count_keys_in_slot,
        "Returns the number of keys in a slot.",
    ),
    Command::waiting(
        "getkeysinslot",
        4,
        slots::get_keys,
        "Returns keys of a slot.",
    )
    .group("cluster")
    .anytime(),
    query(
        "count-failure-reports",
        3,
        count_failure_reports,
        "Returns how many voters suspect a node.",
    ),
    query(
        "saveconfig",
        2,
        save_config,
        "Does nothing: what must be on disk always is.",
    )
    .admin(),
    query(
        "bumpepoch",
        2,
        bump_epoch,
        "Does nothing: epochs never collide.",
    )
    .admin(),
    query(
        "set-config-epoch",
        3,
        set_config_epoch,
        "Does nothing: epochs never collide.",
    )
    .admin(),
    change(
        "meet",
        -4,
        change::meet,
        "Brings another node and this one into one cluster.",
    ),
    change(
        "forget",
        3,
        change::forget,
        "Removes a node from the cluster.",
    ),
    change(
        "replicate",
        3,
        change::replicate,
        "Makes this node a replica of a primary.",
    ),
    change(
        "reset",
        -2,
        change::reset,
        "Leaves the cluster and becomes a fresh node.",
    ),
    change(
        "failover",
        -2,
        failover::failover,
        "Makes this replica the primary of its shard.",
    ),
    change(
        "witness",
        -3,
        change::witness,
        "Names the witness, which votes in a cluster of two nodes, or none.",
    ),
    change("addslots", -3, slots::add, "Gives slots to this node."),
    change(
        "addslotsrange",
        -4,
        slots::add_range,
        "Gives ranges of slots to this node.",
    ),
    change("delslots", -3, slots::delete, "Leaves slots without owner."),
    change(
        "delslotsrange",
        -4,
        slots::delete_range,
        "Leaves ranges of slots without owner.",
    ),
    change(
        "flushslots",
        2,
        slots::flush,
        "Leaves all slots of this node without owner.",
    ),
    change(
        "migrateslots",
        -7,
        migrate_slots,
        "Moves ranges of slots, with their keys, to other shards.",
    ),
    query(
        "getslotmigrations",
        2,
        get_slot_migrations,
        "Lists slot migrations, the newest first.",
    ),
    query(
        "cancelslotmigrations",
        2,
        cancel_slot_migrations,
        "Cancels all slot migrations from this node.",
    )
    .admin(),
    change("setslot", -4, slots::set, "Moves a slot by hand."),
];

/// The view, in cluster mode.
fn view(node: &Node) -> Result<Arc<View>> {
    let view = node.cluster.view();
    if view.enabled {
        Ok(view)
    } else {
        Err(error("ERR This instance has cluster support disabled"))
    }
}

impl From<ClusterError> for Failure {
    /// The answer to a client whose change was not made.
    fn from(error: ClusterError) -> Self {
        Self::new(format!("ERR {error}"))
    }
}

fn wall_clock() -> u64 {
    clock::now() as u64
}

fn help(context: &mut Context<'_, '_>) -> Result {
    view(context.node)?;
    context.reply.array(2 * SUBCOMMANDS.len() + 1);
    context
        .reply
        .simple("CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
    for command in SUBCOMMANDS {
        context.reply.simple(&command.name.to_uppercase());
        context.reply.simple(&format!("    {}", command.summary));
    }
    Ok(())
}

fn my_id(context: &mut Context<'_, '_>) -> Result {
    let view = view(context.node)?;
    context.reply.bulk(view.myself.to_string().as_bytes());
    Ok(())
}

fn my_shard_id(context: &mut Context<'_, '_>) -> Result {
    let view = view(context.node)?;
    let Some(me) = view.me() else {
        return Err(error("ERR This node is not a member of the cluster"));
    };
    context.reply.bulk(me.shard.to_string().as_bytes());
    Ok(())
}

fn show_info(context: &mut Context<'_, '_>) -> Result {
    let view = view(context.node)?;
    let text = info(&view, &context.node.cluster.liveness());
    context.reply.verbatim(&text);
    Ok(())
}

fn show_nodes(context: &mut Context<'_, '_>) -> Result {
    let view = view(context.node)?;
    let text = nodes(&view, &context.node.cluster.liveness(), wall_clock());
    context.reply.verbatim(&text);
    Ok(())
}

fn show_slots(context: &mut Context<'_, '_>) -> Result {
    let view = view(context.node)?;
    slots_reply(&view, &context.node.cluster.liveness(), &mut context.reply);
    Ok(())
}

fn show_shards(context: &mut Context<'_, '_>) -> Result {
    let view = view(context.node)?;
    let liveness = context.node.cluster.liveness();
    let offset = context.node.cluster.own_status().offset;
    shards(&view, &liveness, offset, &mut context.reply);
    Ok(())
}

fn show_replicas(context: &mut Context<'_, '_>) -> Result {
    let view = view(context.node)?;
    let node = parse::member(&view, context.args.at(2))?;
    let Some((shard, _)) = view
        .topology
        .shard_of(node)
        .filter(|(_, shard)| shard.primary == node)
    else {
        return Err(error("ERR The specified node is not a master"));
    };
    let lines = replicas(&view, &context.node.cluster.liveness(), shard, wall_clock());
    context.reply.array(lines.len());
    for line in lines {
        context.reply.bulk(line.as_bytes());
    }
    Ok(())
}

fn show_links(context: &mut Context<'_, '_>) -> Result {
    view(context.node)?;
    let links = context.node.cluster.links();
    let reply = &mut context.reply;
    reply.array(links.len());
    for link in links.iter() {
        let created = link.created.duration_since(UNIX_EPOCH).unwrap_or_default();
        reply.map(6);
        reply.bulk(b"direction");
        reply.bulk(b"to");
        reply.bulk(b"node");
        reply.bulk(link.node.to_string().as_bytes());
        reply.bulk(b"create-time");
        reply.integer(created.as_millis() as i64);
        reply.bulk(b"events");
        reply.bulk(if link.waiting > 0 { b"rw" } else { b"r" });
        reply.bulk(b"send-buffer-allocated");
        reply.integer(0);
        reply.bulk(b"send-buffer-used");
        reply.count(link.waiting);
    }
    Ok(())
}

fn key_slot(context: &mut Context<'_, '_>) -> Result {
    view(context.node)?;
    let slot = SlotId::of(context.args.at(2));
    context.reply.integer(i64::from(slot.number()));
    Ok(())
}

fn count_keys_in_slot(context: &mut Context<'_, '_>) -> Result {
    view(context.node)?;
    let Some(slot) = parse::slot_number(context.args.at(2))? else {
        return Err(error("ERR Invalid slot"));
    };
    context.reply.count(context.node.store.keys_in(slot));
    Ok(())
}

fn count_failure_reports(context: &mut Context<'_, '_>) -> Result {
    let view = view(context.node)?;
    let node = parse::member(&view, context.args.at(2))?;
    let liveness = context.node.cluster.liveness();
    let reports = liveness.peers.get(&node).map_or(0, |peer| peer.reports);
    context.reply.count(reports);
    Ok(())
}

fn migrate_slots(context: AsyncContext<'_>) -> Waiting<'_> {
    match view(context.node) {
        Ok(_) => migration::migrate_slots(context),
        Err(failure) => Box::pin(std::future::ready(Err(failure))),
    }
}

fn get_slot_migrations(context: &mut Context<'_, '_>) -> Result {
    view(context.node)?;
    migration::get_slot_migrations(context)
}

fn cancel_slot_migrations(context: &mut Context<'_, '_>) -> Result {
    view(context.node)?;
    migration::cancel_slot_migrations(context)
}

fn save_config(context: &mut Context<'_, '_>) -> Result {
    view(context.node)?;
    context.reply.ok();
    Ok(())
}

fn bump_epoch(context: &mut Context<'_, '_>) -> Result {
    let view = view(context.node)?;
    let text = format!("STILL {}", view.topology.index);
    context.reply.simple(&text);
    Ok(())
}

fn set_config_epoch(context: &mut Context<'_, '_>) -> Result {
    let view = view(context.node)?;
    let text = context.args.at(2);
    if crate::resp::parse_integer(text).is_none_or(|epoch| epoch < 0) {
        let text = String::from_utf8_lossy(text);
        return Err(Failure::new(format!(
            "ERR Invalid config epoch specified: {text}"
        )));
    }
    if view.topology.members.len() > 1 {
        return Err(error(
            "ERR The user can assign a config epoch only when the node does not know any other node.",
        ));
    }
    context.reply.ok();
    Ok(())
}
