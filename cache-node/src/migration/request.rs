//! Reading `CLUSTER MIGRATESLOTS`. Pure: the arguments and a view in, migrations or an error text out (Valkey's words).

use crate::cluster::View;
use crate::slot::{SLOT_COUNT, SlotId, SlotSet};
use crate::topology::{Migration, NodeId};

/// Reads `SLOTSRANGE start end [start end ...] NODE id [SLOTSRANGE ...]`.
///
/// # Errors
///
/// What is wrong with the arguments, fit for a client.
pub fn parse<'a>(
    view: &View,
    args: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Migration>, String> {
    if !view.is_serving_primary() {
        return Err("Slot migration can only be used on primary nodes.".to_owned());
    }
    let mut args = args.into_iter().peekable();
    let mut migrations: Vec<Migration> = Vec::new();
    while let Some(word) = args.next() {
        if !word.eq_ignore_ascii_case(b"SLOTSRANGE") {
            return Err("syntax error".to_owned());
        }
        let mut slots = SlotSet::new();
        while let Some(start) = args.next_if(|arg| !arg.eq_ignore_ascii_case(b"NODE")) {
            let start = slot(start)?;
            let end = args
                .next_if(|arg| !arg.eq_ignore_ascii_case(b"NODE"))
                .ok_or("No end slot for final slot range")?;
            add_range(&mut slots, start, slot(end)?)?;
        }
        if slots.is_empty() {
            return Err("No slot ranges specified".to_owned());
        }
        if args.next().is_none() {
            return Err("syntax error".to_owned());
        }
        let node = args.next().ok_or("syntax error")?;
        if migrations
            .iter()
            .any(|other| other.slots.intersects(&slots))
        {
            return Err("Slot ranges in migrations overlap".to_owned());
        }
        migrations.push(migration(view, slots, node)?);
    }
    if migrations.is_empty() {
        return Err("syntax error".to_owned());
    }
    Ok(migrations)
}

fn slot(text: &[u8]) -> Result<SlotId, String> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .and_then(SlotId::new)
        .ok_or_else(|| "Invalid or out of range slot".to_owned())
}

fn add_range(slots: &mut SlotSet, start: SlotId, end: SlotId) -> Result<(), String> {
    if start > end {
        return Err(format!(
            "Start slot number {start} is greater than end slot number {end}."
        ));
    }
    let mut range = SlotSet::new();
    range.insert_range(start, end);
    if range.intersects(slots) {
        return Err(format!(
            "Slot range {start}-{end} overlaps with previous range {slots}."
        ));
    }
    slots.union_with(&range);
    Ok(())
}

fn migration(view: &View, slots: SlotSet, node: &[u8]) -> Result<Migration, String> {
    let text = String::from_utf8_lossy(node);
    let node: NodeId = text
        .parse()
        .map_err(|_| format!("Invalid node name: {text}"))?;
    if node == view.myself {
        return Err("Target node can not be this node".to_owned());
    }
    let topology = &view.topology;
    let (target, shard) = topology
        .shard_of(node)
        .ok_or_else(|| format!("Unknown node name: {text}"))?;
    if shard.primary != node {
        return Err("Target node is not a primary".to_owned());
    }
    let (source, mine) = topology
        .shard_of(view.myself)
        .ok_or("This node is not a member of the cluster")?;
    let assigned = topology.assigned();
    if let Some(slot) = slots.iter().find(|slot| !assigned.contains(*slot)) {
        return Err(format!("Slot {slot} has no node served."));
    }
    if !mine.slots.is_superset(&slots) {
        return Err("Slots are not served by this node.".to_owned());
    }
    Ok(Migration {
        source,
        target,
        slots,
    })
}

const _: () = assert!(SLOT_COUNT == 16_384);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::topology::{Address, Member, ShardId, Topology, TopologyCommand};

    fn member(number: u8) -> Member {
        Member {
            id: NodeId::new([number; 20]),
            address: Address {
                ip: "127.0.0.1".to_owned(),
                port: 1,
                bus_port: 2,
                hostname: String::new(),
            },
            shard: ShardId::new([number; 20]),
        }
    }

    fn view() -> View {
        let mut topology = Topology::single(1, member(1), 5);
        let join = TopologyCommand::AddMember {
            member: member(2),
            incarnation: 6,
            slots: SlotSet::new(),
        };
        topology.apply(2, &join).unwrap();
        let mut slots = SlotSet::new();
        slots.insert_range(SlotId::new(0).unwrap(), SlotId::new(99).unwrap());
        let add = TopologyCommand::AddSlots {
            node: member(1).id,
            slots,
        };
        topology.apply(3, &add).unwrap();
        let address = member(1).address;
        View::new(member(1).id, 5, address, Arc::new(topology), Arc::default())
    }

    fn parsed(text: &str) -> Result<Vec<Migration>, String> {
        let text = text
            .replace("ME", &member(1).id.to_string())
            .replace("OTHER", &member(2).id.to_string());
        parse(&view(), text.split(' ').map(str::as_bytes))
    }

    #[test]
    fn several_ranges_and_targets_are_read() {
        let migrations =
            parsed("slotsrange 0 9 20 29 node OTHER SLOTSRANGE 10 19 NODE OTHER").unwrap();
        assert_eq!(migrations.len(), 2);
        assert_eq!(migrations[0].slots.to_string(), "0-9 20-29");
        assert_eq!(migrations[1].slots.to_string(), "10-19");
        assert_eq!(migrations[0].target, member(2).shard);
    }

    #[test]
    fn each_mistake_is_named() {
        for (text, error) in [
            ("NODE OTHER", "syntax error"),
            ("SLOTSRANGE NODE OTHER", "No slot ranges specified"),
            (
                "SLOTSRANGE 0 NODE OTHER",
                "No end slot for final slot range",
            ),
            ("SLOTSRANGE 0 1", "syntax error"),
            ("SLOTSRANGE 0 1 NODE", "syntax error"),
            (
                "SLOTSRANGE 5 1 NODE OTHER",
                "Start slot number 5 is greater than end slot number 1.",
            ),
            (
                "SLOTSRANGE 0 5 3 6 NODE OTHER",
                "Slot range 3-6 overlaps with previous range 0-5.",
            ),
            (
                "SLOTSRANGE 0 16384 NODE OTHER",
                "Invalid or out of range slot",
            ),
            ("SLOTSRANGE 0 1 NODE ME", "Target node can not be this node"),
            (
                "SLOTSRANGE 90 100 NODE OTHER",
                "Slot 100 has no node served.",
            ),
            ("SLOTSRANGE 0 1 NODE xyz", "Invalid node name: xyz"),
            (
                "SLOTSRANGE 0 1 NODE OTHER SLOTSRANGE 1 2 NODE OTHER",
                "Slot ranges in migrations overlap",
            ),
        ] {
            assert_eq!(parsed(text), Err(error.to_owned()), "{text}");
        }
    }
}
