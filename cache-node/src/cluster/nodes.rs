//! The text of `CLUSTER NODES` and `CLUSTER REPLICAS`: one line a member.

use std::fmt::Write;

use super::View;
use crate::bus::Liveness;
use crate::topology::{Address, Member, NodeId, ShardId, Topology};

/// `CLUSTER NODES`. `now` is the wall clock in ms since 1970.
pub fn nodes(view: &View, liveness: &Liveness, now: u64) -> String {
    let mut text = String::new();
    if view.me().is_none() {
        text.push_str(&removed(view));
    }
    for member in view.topology.members.values() {
        text.push_str(&line(view, liveness, member, now));
        text.push('\n');
    }
    text
}

/// The lines of a shard's replicas.
pub fn replicas(view: &View, liveness: &Liveness, shard: ShardId, now: u64) -> Vec<String> {
    view.topology
        .members_of(shard)
        .filter(|member| !view.topology.is_primary(member.id))
        .map(|member| line(view, liveness, member, now))
        .collect()
}

/// This node's line when the cluster has removed it.
fn removed(view: &View) -> String {
    format!(
        "{} {} myself,master - 0 0 0 connected\n",
        view.myself,
        endpoint(&view.address)
    )
}

fn line(view: &View, liveness: &Liveness, member: &Member, now: u64) -> String {
    let topology: &Topology = &view.topology;
    let shard = topology.shards.get(&member.shard);
    let primary = shard.map(|shard| shard.primary);
    let is_primary = primary == Some(member.id);
    let report = liveness.peers.get(&member.id);
    let mut flags = Vec::with_capacity(3);
    if member.id == view.myself {
        flags.push("myself");
    }
    flags.push(if is_primary { "master" } else { "slave" });
    match report {
        Some(report) if report.failed => flags.push("fail"),
        Some(report) if report.suspected => flags.push("fail?"),
        _ => {}
    }
    let heard = report.and_then(|report| report.silent_ms);
    let mut text = format!(
        "{} {} {} {} 0 {} {} {}",
        member.id,
        endpoint(&member.address),
        flags.join(","),
        primary
            .filter(|_| !is_primary)
            .map_or_else(|| "-".to_owned(), |id: NodeId| id.to_string()),
        heard.map_or(0, |silent| now.saturating_sub(silent)),
        shard.map_or(0, |shard| shard.epoch),
        match report {
            Some(report) if report.suspected => "disconnected",
            _ => "connected",
        }
    );
    if let Some(shard) = shard.filter(|shard| is_primary && !shard.slots.is_empty()) {
        text.push(' ');
        text.push_str(&shard.slots.to_string());
    }
    if member.id == view.myself {
        push_hand_moved(&mut text, view);
    }
    text
}

fn push_hand_moved(text: &mut String, view: &View) {
    let moves = view
        .hand_moved
        .migrating
        .iter()
        .map(|(slot, node)| format!(" [{slot}->-{node}]"));
    let imports = view
        .hand_moved
        .importing
        .iter()
        .map(|(slot, node)| format!(" [{slot}-<-{node}]"));
    text.extend(moves.chain(imports));
}

/// `ip:port@bus-port[,hostname]`.
fn endpoint(address: &Address) -> String {
    let mut text = format!("{}:{}@{}", address.ip, address.port, address.bus_port);
    if !address.hostname.is_empty() {
        let _ = write!(text, ",{}", address.hostname);
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::bus::PeerReport;
    use crate::cluster::HandMoved;
    use crate::slot::SlotId;
    use crate::topology::TopologyCommand;

    pub(in crate::cluster) fn node(number: u8) -> NodeId {
        NodeId::new([number; 20])
    }

    fn member(number: u8) -> Member {
        Member {
            id: node(number),
            address: Address {
                ip: format!("127.0.0.{number}"),
                port: 7000,
                bus_port: 17000,
                hostname: if number == 2 {
                    "two.example".to_owned()
                } else {
                    String::new()
                },
            },
            shard: ShardId::new([number + 100; 20]),
        }
    }

    /// Node 1 is a primary with slots 0 to 99 and 200 with replica 2; node 3 is a primary without slots that has failed.
    pub(in crate::cluster) fn example(myself: u8) -> (View, Liveness) {
        let mut topology = Topology::single(7, member(1), 11);
        let mut commands: Vec<TopologyCommand> = [2, 3]
            .map(|number| TopologyCommand::AddMember {
                member: member(number),
                incarnation: u64::from(number) + 10,
                slots: crate::slot::SlotSet::new(),
            })
            .into();
        commands.push(TopologyCommand::Replicate {
            node: node(2),
            primary: node(1),
        });
        commands.push(TopologyCommand::AddSlots {
            node: node(1),
            slots: (0..100).chain([200]).filter_map(SlotId::new).collect(),
        });
        for command in commands {
            topology.apply(topology.index + 1, &command).unwrap();
        }
        let report = |failed| PeerReport {
            suspected: failed,
            failed,
            silent_ms: Some(40),
            incarnation: 1,
            status: crate::bus::LocalStatus {
                offset: 5,
                healthy: true,
                ..Default::default()
            },
            reports: 0,
        };
        let mut peers: BTreeMap<NodeId, PeerReport> = (1..=3)
            .map(|number| (node(number), report(number == 3)))
            .collect();
        peers.remove(&node(myself));
        let liveness = Liveness {
            peers,
            leader: Some(node(1)),
            quorum: true,
            lacks_lease: false,
        };
        let mut moved = HandMoved::default();
        if let Some(slot) = SlotId::new(7) {
            moved.migrating.insert(slot, node(3));
        }
        let view = View::new(
            node(myself),
            u64::from(myself) + 10,
            member(myself).address,
            Arc::new(topology),
            Arc::new(moved),
        );
        (view, liveness)
    }

    #[test]
    fn a_line_has_the_fields_of_redis() {
        let (view, liveness) = example(1);
        let (one, two, three) = (node(1), node(2), node(3));
        assert_eq!(
            nodes(&view, &liveness, 1_000),
            format!(
                "{one} 127.0.0.1:7000@17000 myself,master - 0 0 5 connected 0-99 200 [7->-{three}]\n\
                 {two} 127.0.0.2:7000@17000,two.example slave {one} 0 960 5 connected\n\
                 {three} 127.0.0.3:7000@17000 master,fail - 0 960 3 disconnected\n"
            )
        );
        let shard = view.me().unwrap().shard;
        assert_eq!(replicas(&view, &liveness, shard, 1_000).len(), 1);
    }
}
