//! Slot migrations: `CLUSTER MIGRATESLOTS`, `GETSLOTMIGRATIONS` and `CANCELSLOTMIGRATIONS`, as in Valkey 9.

use std::sync::Arc;

use crate::migration::request;
use crate::migration::tracker::{Operation, Subject, Tracker};
use crate::node::Node;
use crate::replication::link::is_certain;
use crate::resp::Reply;
use crate::topology::{Migration, MigrationId, TopologyCommand};

use super::context::{AsyncContext, Context};
use super::error::{Failure, Result, error};
use super::spec::Waiting;

/// `CLUSTER MIGRATESLOTS SLOTSRANGE start end [start end ...] NODE id [...]`: begins all of them, or none.
pub(super) fn migrate_slots(context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let AsyncContext {
            node,
            args,
            mut reply,
            ..
        } = context;
        let migrations = request::parse(&node.cluster.view(), args.from(2).iter())
            .map_err(|why| Failure::new(format!("ERR {why}")))?;
        let mut begun = Vec::new();
        for migration in migrations {
            match begin(node, migration).await {
                Ok(id) => begun.push(id),
                Err(failure) => {
                    for id in begun {
                        let abort = TopologyCommand::AbortMigration { id };
                        if let Err(error) = node.cluster.propose(abort).await {
                            tracing::warn!(migration = %id, "could not abort: {error}");
                        }
                    }
                    return Err(failure);
                }
            }
        }
        reply.ok();
        Ok(())
    })
}

async fn begin(node: &Arc<Node>, migration: Migration) -> Result<MigrationId> {
    let id = MigrationId::random();
    // Before the proposal, so that it is listed from its beginning, and can be cancelled.
    let view = node.cluster.view();
    let target = view.topology.shards.get(&migration.target);
    node.migrations.announce(Subject {
        id,
        operation: Operation::Export,
        slots: migration.slots.clone(),
        source: view.myself,
        target: target.map_or(view.myself, |shard| shard.primary),
    });
    let begin = TopologyCommand::BeginMigration { id, migration };
    match node.cluster.propose(begin).await {
        Ok(_) => Ok(id),
        Err(error) => {
            node.migrations.withdraw(id, !is_certain(&error));
            Err(Failure::new(format!("ERR {error}")))
        }
    }
}

/// `CLUSTER CANCELSLOTMIGRATIONS`: cancels every migration away from this node.
pub(super) fn cancel_slot_migrations(context: &mut Context<'_, '_>) -> Result {
    if context.node.migrations.cancel_all() == 0 {
        return Err(error("ERR No migrations ongoing"));
    }
    context.reply.ok();
    Ok(())
}

/// `CLUSTER GETSLOTMIGRATIONS`: running migrations and the latest finished ones, the newest first.
pub(super) fn get_slot_migrations(context: &mut Context<'_, '_>) -> Result {
    let trackers = context.node.migrations.trackers.list();
    context.reply.array(trackers.len());
    for tracker in trackers {
        show(&tracker, &mut context.reply);
    }
    Ok(())
}

fn show(tracker: &Tracker, reply: &mut Reply<'_>) {
    let (subject, status) = (&tracker.subject, tracker.status());
    let ranges: Vec<String> = subject
        .slots
        .ranges()
        .into_iter()
        .map(|(first, last)| format!("{first}-{last}"))
        .collect();
    let texts = [
        ("name", subject.id.to_string()),
        ("operation", subject.operation.name().to_owned()),
        ("slot_ranges", ranges.join(" ")),
        ("target_node", subject.target.to_string()),
        ("source_node", subject.source.to_string()),
    ];
    let times = [
        ("create_time", status.created),
        ("last_update_time", status.updated),
        ("last_ack_time", status.heard),
    ];
    let numbers = [
        ("cow_size", 0),
        ("remaining_repl_size", status.remaining),
        ("slots_total", subject.slots.len() as u64),
        ("slots_moved", status.slots as u64),
        ("keys_moved", status.keys),
        ("bytes_moved", status.bytes),
        ("bytes_per_second", tracker.bytes_per_second()),
        ("paused_ms", status.paused_ms),
    ];
    reply.map(texts.len() + times.len() + 2 + numbers.len());
    for (name, value) in texts {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    for (name, milliseconds) in times {
        reply.bulk(name.as_bytes());
        reply.integer((milliseconds / 1000) as i64);
    }
    for (name, value) in [("state", status.state), ("message", &status.message)] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    for (name, value) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(value as i64);
    }
}
