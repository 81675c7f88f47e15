//! Arguments of `CLUSTER` commands.

use crate::cluster::View;
use crate::resp::{Args, parse_integer};
use crate::slot::{SlotId, SlotSet};
use crate::topology::NodeId;

use super::super::error::{Failure, NOT_INTEGER, Result, error, wrong_arity};

/// A member's id.
pub(super) fn member(view: &View, text: &[u8]) -> Result<NodeId> {
    node_id(text)
        .filter(|node| view.topology.members.contains_key(node))
        .ok_or_else(|| unknown(text))
}

/// A node's id, whoever that is.
pub(super) fn node_id(text: &[u8]) -> Option<NodeId> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// No such node.
pub(super) fn unknown(text: &[u8]) -> Failure {
    Failure::new(format!(
        "ERR Unknown node {}",
        String::from_utf8_lossy(text)
    ))
}

/// A slot's number; `None` when the integer is not one.
pub(super) fn slot_number(text: &[u8]) -> Result<Option<SlotId>> {
    let number = parse_integer(text).ok_or(NOT_INTEGER)?;
    Ok(u16::try_from(number).ok().and_then(SlotId::new))
}

/// A slot's number.
pub(super) fn slot(text: &[u8]) -> Result<SlotId> {
    let number = parse_integer(text).and_then(|number| u16::try_from(number).ok());
    number
        .and_then(SlotId::new)
        .ok_or(error("ERR Invalid or out of range slot"))
}

/// Slots one by one, none of them twice.
pub(super) fn slot_list(args: Args<'_>) -> Result<SlotSet> {
    let mut slots = SlotSet::new();
    for text in args.iter() {
        insert(&mut slots, slot(text)?)?;
    }
    Ok(slots)
}

/// First and last slots of ranges, no slot twice.
pub(super) fn slot_ranges(args: Args<'_>, command: &str) -> Result<SlotSet> {
    if args.len() % 2 == 1 {
        return Err(wrong_arity(&format!("cluster|{command}")));
    }
    let mut slots = SlotSet::new();
    for pair in 0..args.len() / 2 {
        let (first, last) = (slot(args.at(2 * pair))?, slot(args.at(2 * pair + 1))?);
        if first > last {
            return Err(Failure::new(format!(
                "ERR start slot number {first} is greater than end slot number {last}"
            )));
        }
        for number in first.number()..=last.number() {
            if let Some(slot) = SlotId::new(number) {
                insert(&mut slots, slot)?;
            }
        }
    }
    Ok(slots)
}

fn insert(slots: &mut SlotSet, slot: SlotId) -> Result {
    if slots.insert(slot) {
        Ok(())
    } else {
        Err(Failure::new(format!(
            "ERR Slot {slot} specified multiple times"
        )))
    }
}
