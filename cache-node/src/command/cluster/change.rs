//! `CLUSTER` commands about membership: `MEET`, `FORGET`, `REPLICATE`, `RESET`.

use std::net::IpAddr;
use std::sync::Arc;

use crate::bus::Request;
use crate::node::Node;
use crate::replication::empty_if;
use crate::resp::parse_integer;
use crate::slot::SlotId;
use crate::topology::{Address, TopologyCommand, Witness};

use super::super::context::AsyncContext;
use super::super::error::{Failure, Result, SYNTAX, error, wrong_arity};
use super::super::spec::Waiting;
use super::{parse, view};

/// Distance of the bus port from the client port, when nothing else is said.
const BUS_PORT_OFFSET: u16 = 10_000;

/// `CLUSTER MEET ip port [bus-port]`.
pub(super) fn meet(mut context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        view(context.node)?;
        let args = context.args;
        if args.len() > 5 {
            return Err(wrong_arity("cluster|meet"));
        }
        let port = port(args.at(3), "base")?;
        let bus_port = match args.get(4) {
            Some(text) => self::port(text, "bus")?,
            None => port.checked_add(BUS_PORT_OFFSET).unwrap_or_default(),
        };
        let ip = String::from_utf8_lossy(args.at(2)).into_owned();
        if ip.parse::<IpAddr>().is_err() || port == 0 || bus_port == 0 {
            return Err(Failure::new(format!(
                "ERR Invalid node address specified: {ip}:{port}"
            )));
        }
        let meet = Request::Meet { ip, bus_port };
        context.node.cluster.request(meet).await?;
        context.reply.ok();
        Ok(())
    })
}

fn port(text: &[u8], what: &str) -> Result<u16> {
    let number = parse_integer(text).and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| {
        let text = String::from_utf8_lossy(text);
        Failure::new(format!("ERR Invalid {what} port specified: {text}"))
    })
}

/// `CLUSTER FORGET id`. Answers OK too when another node was told before.
pub(super) fn forget(mut context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let view = view(context.node)?;
        let text = context.args.at(2);
        let cluster = &context.node.cluster;
        let node = parse::node_id(text).ok_or_else(|| parse::unknown(text))?;
        if node == view.myself {
            return Err(error("ERR I tried hard but I can't forget myself..."));
        }
        if view.my_primary().is_some_and(|primary| primary.id == node) {
            return Err(error("ERR Can't forget my master!"));
        }
        if view.topology.members.contains_key(&node) {
            let remove = TopologyCommand::RemoveMember { node };
            cluster.propose(remove).await?;
        } else if !cluster.has_forgotten(node) {
            return Err(parse::unknown(text));
        }
        context.reply.ok();
        Ok(())
    })
}

/// `CLUSTER WITNESS id ip bus-port`, `CLUSTER WITNESS NONE`.
pub(super) fn witness(mut context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        view(context.node)?;
        let args = context.args;
        let command = match args.len() {
            3 if args.at(2).eq_ignore_ascii_case(b"none") => TopologyCommand::RemoveWitness,
            5 => TopologyCommand::SetWitness {
                witness: Witness {
                    id: parse::node_id(args.at(2)).ok_or_else(|| parse::unknown(args.at(2)))?,
                    address: bus_address(args.at(3), args.at(4))?,
                },
            },
            _ => return Err(SYNTAX),
        };
        context.node.cluster.propose(command).await?;
        context.reply.ok();
        Ok(())
    })
}

/// Where one is that has no client port.
fn bus_address(ip: &[u8], bus_port: &[u8]) -> Result<Address> {
    let ip = String::from_utf8_lossy(ip).into_owned();
    let bus_port = port(bus_port, "bus")?;
    if ip.parse::<IpAddr>().is_err() || bus_port == 0 {
        return Err(Failure::new(format!(
            "ERR Invalid bus address specified: {ip}:{bus_port}"
        )));
    }
    Ok(Address {
        ip,
        port: 0,
        bus_port,
        hostname: String::new(),
    })
}

/// `CLUSTER REPLICATE id`.
pub(super) fn replicate(mut context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let view = view(context.node)?;
        let primary = parse::member(&view, context.args.at(2))?;
        let node = view.myself;
        let serves = view.topology.is_primary(node);
        if serves && primary != node && context.node.store.count_keys(|_| true) > 0 {
            return Err(error(
                "ERR To set a master the node must be empty and without assigned slots.",
            ));
        }
        let replicate = TopologyCommand::Replicate { node, primary };
        let cluster = &context.node.cluster;
        cluster.propose(replicate).await?;
        context.reply.ok();
        Ok(())
    })
}

/// `CLUSTER RESET [HARD|SOFT]`.
pub(super) fn reset(mut context: AsyncContext<'_>) -> Waiting<'_> {
    Box::pin(async move {
        let view = view(context.node)?;
        let hard = match context.args.get(2).map(<[u8]>::to_ascii_lowercase) {
            None => false,
            Some(kind) if kind == b"soft" => false,
            Some(kind) if kind == b"hard" => true,
            Some(_) => return Err(SYNTAX),
        };
        let was_replica = view.my_primary().is_some();
        if !was_replica && context.node.store.count_keys(|_| true) > 0 {
            return Err(error(
                "ERR CLUSTER RESET can't be called with master nodes containing keys",
            ));
        }
        let reset = Request::Reset { hard };
        context.node.cluster.request(reset).await?;
        if was_replica {
            forget_keys(context.node).await;
        }
        context.reply.ok();
        Ok(())
    })
}

/// Drops a replica's copy; it belongs to a cluster that this node has left.
async fn forget_keys(node: &Arc<Node>) {
    // Or else it would go on, without them, where it was when it comes back.
    node.replication.forget_history();
    for slot in SlotId::all().filter(|slot| node.store.keys_in(*slot) > 0) {
        empty_if(node, slot, || true).await;
    }
}
