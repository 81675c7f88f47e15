//! Keeps this node's migrations as the topology has them: starts exports, also those that an earlier primary or an earlier life of this
//! node has begun, and sweeps stray data.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::export;
use super::tracker::{Operation, Subject};
use crate::cluster::View;
use crate::node::Node;
use crate::replication::empty_if;
use crate::slot::{SlotId, SlotSet};
use crate::topology::{Migration, MigrationId, TopologyCommand};

/// Pause between attempts to abort a migration that was withdrawn.
const RETRY: Duration = Duration::from_secs(1);

/// Attempts to abort migrations that were withdrawn.
type Aborts = BTreeMap<MigrationId, JoinHandle<()>>;

/// Runs for ever.
pub async fn drive(node: Arc<Node>) {
    let mut views = node.cluster.changes();
    let mut aborts = Aborts::new();
    loop {
        let view = node.cluster.view();
        aborts.retain(|_, attempt| !attempt.is_finished());
        if view.enabled && view.is_serving_primary() {
            for (id, migration) in from_here(&view) {
                look_after(&node, &view, id, migration, &mut aborts);
            }
            sweep(&node, &view).await;
        }
        tokio::select! {
            changed = views.changed() => if changed.is_err() { return },
            () = node.migrations.sweep.notified() => {}
        }
    }
}

fn from_here(view: &View) -> Vec<(MigrationId, Migration)> {
    let mine = view.me().map(|me| me.shard);
    view.topology
        .migrations
        .iter()
        .filter(|(_, migration)| Some(migration.source) == mine)
        .map(|(id, migration)| (*id, migration.clone()))
        .collect()
}

fn look_after(
    node: &Arc<Node>,
    view: &View,
    id: MigrationId,
    migration: Migration,
    aborts: &mut Aborts,
) {
    let migrations = &node.migrations;
    if migrations.is_exporting(id) || aborts.contains_key(&id) {
        return;
    }
    if migrations.is_withdrawn(id) {
        aborts.insert(id, tokio::spawn(abort(node.clone(), id)));
        return;
    }
    let target = view.topology.shards.get(&migration.target);
    let exporting = migrations.begin_export(Subject {
        id,
        operation: Operation::Export,
        slots: migration.slots.clone(),
        source: view.myself,
        target: target.map_or(view.myself, |shard| shard.primary),
    });
    tokio::spawn(export::run(node.clone(), id, migration, exporting));
}

async fn abort(node: Arc<Node>, id: MigrationId) {
    let abort = TopologyCommand::AbortMigration { id };
    match node.cluster.propose(abort).await {
        Ok(_) => tracing::info!(migration = %id, "aborted a migration that was committed too late"),
        Err(error) => {
            tracing::warn!(migration = %id, "could not abort: {error}");
            tokio::time::sleep(RETRY).await;
            // Looked at again after this attempt has ended.
            let sweeper = node.clone();
            tokio::spawn(async move { sweeper.migrations.sweep.notify_one() });
        }
    }
}

/// Whether keys in `slot` are stray: it belongs to another shard and is not on its way.
fn is_stray(node: &Node, view: &View, elsewhere: &SlotSet, slot: SlotId) -> bool {
    elsewhere.contains(slot)
        && !node.migrations.is_staged(slot)
        && !node.migrations.is_leaving(slot)
        && !view.hand_moved.importing.contains_key(&slot)
}

fn slots_of_others(view: &View) -> SlotSet {
    let mut slots = view.topology.assigned();
    if let Some((_, mine)) = view.topology.shard_of(view.myself) {
        slots.subtract(&mine.slots);
    }
    slots
}

/// Drops data of slots that the topology has given to other shards.
async fn sweep(node: &Arc<Node>, view: &View) {
    let elsewhere = slots_of_others(view);
    let mut keys = 0;
    let mut slots = 0;
    for slot in elsewhere.iter() {
        let here = node.store.keys_in(slot);
        if here == 0 || !is_stray(node, view, &elsewhere, slot) {
            continue;
        }
        let still_stray = || {
            let view = node.cluster.view();
            view.is_serving_primary() && is_stray(node, &view, &slots_of_others(&view), slot)
        };
        if empty_if(node, slot, still_stray).await {
            slots += 1;
            keys += here;
        }
        tokio::task::yield_now().await;
    }
    if slots > 0 {
        tracing::info!(
            slots,
            keys,
            "dropped data of slots that belong to other shards"
        );
    }
}
