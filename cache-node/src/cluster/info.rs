//! The text of `CLUSTER INFO`.

use std::fmt::Write;

use super::View;
use crate::bus::Liveness;
use crate::slot::SLOT_COUNT;
use crate::topology::Witness;

/// Slots by the state of their shard's primary.
#[derive(Debug, Default, PartialEq, Eq)]
struct Slots {
    assigned: usize,
    suspected: usize,
    failed: usize,
}

/// `CLUSTER INFO`: Redis's lines and then ours.
pub fn info(view: &View, liveness: &Liveness) -> String {
    let topology = &view.topology;
    let slots = count_slots(view, liveness);
    let whole = slots.assigned == SLOT_COUNT && slots.failed == 0 && !liveness.lacks_lease;
    let serving = topology
        .shards
        .values()
        .filter(|shard| !shard.slots.is_empty());
    let my_epoch = topology
        .shard_of(view.myself)
        .map_or(0, |(_, shard)| shard.epoch);
    let voters: Vec<String> = topology.voters.iter().map(ToString::to_string).collect();
    let lines = [
        (
            "cluster_state",
            if whole { "ok" } else { "fail" }.to_owned(),
        ),
        ("cluster_slots_assigned", slots.assigned.to_string()),
        (
            "cluster_slots_ok",
            (slots.assigned - slots.suspected - slots.failed).to_string(),
        ),
        ("cluster_slots_pfail", slots.suspected.to_string()),
        ("cluster_slots_fail", slots.failed.to_string()),
        ("cluster_known_nodes", topology.members.len().to_string()),
        ("cluster_size", serving.count().to_string()),
        ("cluster_current_epoch", topology.index.to_string()),
        ("cluster_my_epoch", my_epoch.to_string()),
        (
            "cluster_leader",
            liveness
                .leader
                .map_or_else(String::new, |leader| leader.to_string()),
        ),
        ("cluster_voters", voters.join(",")),
        ("cluster_witness", witness(view)),
        ("cluster_generation", topology.generation.to_string()),
        (
            "cluster_quorum",
            if liveness.quorum { "yes" } else { "no" }.to_owned(),
        ),
        (
            "cluster_lacks_lease",
            if liveness.lacks_lease { "yes" } else { "no" }.to_owned(),
        ),
        ("node_incarnation", view.incarnation.to_string()),
        ("node_state", node_state(view).to_owned()),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        let _ = write!(text, "{name}:{value}\r\n");
    }
    text
}

/// `id@ip:bus-port`; empty when there is none.
fn witness(view: &View) -> String {
    let witness = view.topology.witness.as_ref();
    witness.map_or_else(String::new, |Witness { id, address }| {
        format!("{id}@{}:{}", address.ip, address.bus_port)
    })
}

/// What this node is at present: `fresh` nodes wait to be met.
pub fn node_state(view: &View) -> &'static str {
    let Some((_, shard)) = view.topology.shard_of(view.myself) else {
        return "fresh";
    };
    if view.topology.members.len() == 1 && shard.slots.is_empty() {
        "fresh"
    } else if shard.primary != view.myself {
        "replica"
    } else if view.is_serving_primary() {
        "primary"
    } else {
        "quarantined"
    }
}

fn count_slots(view: &View, liveness: &Liveness) -> Slots {
    let mut slots = Slots::default();
    for shard in view.topology.shards.values() {
        let count = shard.slots.len();
        slots.assigned += count;
        match liveness.peers.get(&shard.primary) {
            Some(report) if report.failed => slots.failed += count,
            Some(report) if report.suspected => slots.suspected += count,
            None if shard.primary == view.myself && view.is_quarantined() => slots.failed += count,
            _ => {}
        }
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::nodes::tests::{example, node};

    #[test]
    fn lines_are_those_of_redis_and_ours() {
        let (view, liveness) = example(1);
        let text = info(&view, &liveness);
        for line in [
            "cluster_state:fail",
            "cluster_slots_assigned:101",
            "cluster_slots_ok:101",
            "cluster_known_nodes:3",
            "cluster_size:1",
            "cluster_current_epoch:5",
            "cluster_my_epoch:5",
            &format!("cluster_leader:{}", node(1)),
            &format!("cluster_voters:{}", node(1)),
            "cluster_witness:",
            "cluster_generation:1",
            "cluster_quorum:yes",
            "cluster_lacks_lease:no",
            "node_incarnation:11",
            "node_state:primary",
        ] {
            assert!(text.contains(&format!("{line}\r\n")), "{line} in {text}");
        }
        assert_eq!(node_state(&example(2).0), "replica");
    }
}
