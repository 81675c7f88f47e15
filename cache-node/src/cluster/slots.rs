//! The replies to `CLUSTER SLOTS` and `CLUSTER SHARDS`.

use super::View;
use crate::bus::Liveness;
use crate::resp::Reply;
use crate::topology::{Member, ShardId};

/// `CLUSTER SLOTS`: for each range of slots its first and last slot, its primary and its replicas, those that have failed left out.
pub fn slots(view: &View, liveness: &Liveness, reply: &mut Reply<'_>) {
    let mut ranges: Vec<_> = view
        .topology
        .shards
        .iter()
        .flat_map(|(id, shard)| shard.slots.ranges().into_iter().map(|range| (range, *id)))
        .collect();
    ranges.sort_unstable();
    reply.array(ranges.len());
    for ((first, last), shard) in ranges {
        let members = primary_first(view, shard);
        let shown: Vec<&&Member> = members
            .iter()
            .enumerate()
            .filter(|(at, member)| *at == 0 || !has_failed(liveness, member))
            .map(|(_, member)| member)
            .collect();
        reply.array(2 + shown.len());
        reply.integer(i64::from(first.number()));
        reply.integer(i64::from(last.number()));
        for member in shown {
            write_endpoint(member, reply);
        }
    }
}

fn write_endpoint(member: &Member, reply: &mut Reply<'_>) {
    let address = &member.address;
    reply.array(4);
    reply.bulk(address.ip.as_bytes());
    reply.integer(i64::from(address.port));
    reply.bulk(member.id.to_string().as_bytes());
    if address.hostname.is_empty() {
        reply.map(0);
    } else {
        reply.map(1);
        reply.bulk(b"hostname");
        reply.bulk(address.hostname.as_bytes());
    }
}

/// `CLUSTER SHARDS`: each shard with its slots and all its members. `own_offset` is this node's replication offset.
pub fn shards(view: &View, liveness: &Liveness, own_offset: u64, reply: &mut Reply<'_>) {
    reply.array(view.topology.shards.len());
    for (id, shard) in &view.topology.shards {
        reply.map(2);
        reply.bulk(b"slots");
        let ranges = shard.slots.ranges();
        reply.array(2 * ranges.len());
        for (first, last) in ranges {
            reply.integer(i64::from(first.number()));
            reply.integer(i64::from(last.number()));
        }
        reply.bulk(b"nodes");
        let members = primary_first(view, *id);
        reply.array(members.len());
        for member in members {
            write_member(view, liveness, own_offset, member, reply);
        }
    }
}

fn write_member(
    view: &View,
    liveness: &Liveness,
    own_offset: u64,
    member: &Member,
    reply: &mut Reply<'_>,
) {
    let address = &member.address;
    let report = liveness.peers.get(&member.id);
    let offset = report.map_or(own_offset, |report| report.status.offset);
    let health = match report {
        Some(report) if report.failed => "fail",
        Some(report) if report.silent_ms.is_some() && !report.status.healthy => "loading",
        _ => "online",
    };
    let role = if view.topology.is_primary(member.id) {
        "master"
    } else {
        "replica"
    };
    reply.map(if address.hostname.is_empty() { 7 } else { 8 });
    let mut field = |name: &str, value: &str| {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    };
    field("id", &member.id.to_string());
    field("ip", &address.ip);
    field("endpoint", &address.ip);
    if !address.hostname.is_empty() {
        field("hostname", &address.hostname);
    }
    field("role", role);
    field("health", health);
    reply.bulk(b"port");
    reply.integer(i64::from(address.port));
    reply.bulk(b"replication-offset");
    reply.integer(i64::try_from(offset).unwrap_or(i64::MAX));
}

fn primary_first(view: &View, shard: ShardId) -> Vec<&Member> {
    let mut members: Vec<&Member> = view.topology.members_of(shard).collect();
    members.sort_by_key(|member| !view.topology.is_primary(member.id));
    members
}

fn has_failed(liveness: &Liveness, member: &Member) -> bool {
    let report = liveness.peers.get(&member.id);
    report.is_some_and(|report| report.failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::nodes::tests::{example, node};
    use crate::resp::Protocol;

    #[test]
    fn slots_name_the_primary_first_and_give_host_names_as_metadata() {
        let (view, liveness) = example(1);
        let mut out = Vec::new();
        slots(&view, &liveness, &mut Reply::new(&mut out, Protocol::Resp2));
        let (one, two) = (node(1), node(2));
        let nodes = format!(
            "*4\r\n$9\r\n127.0.0.1\r\n:7000\r\n$40\r\n{one}\r\n*0\r\n\
             *4\r\n$9\r\n127.0.0.2\r\n:7000\r\n$40\r\n{two}\r\n*2\r\n$8\r\nhostname\r\n$11\r\ntwo.example\r\n"
        );
        let expected = format!("*2\r\n*4\r\n:0\r\n:99\r\n{nodes}*4\r\n:200\r\n:200\r\n{nodes}");
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn shards_show_all_members_and_their_health() {
        let (view, liveness) = example(1);
        let mut out = Vec::new();
        shards(
            &view,
            &liveness,
            9,
            &mut Reply::new(&mut out, Protocol::Resp2),
        );
        let text = String::from_utf8_lossy(&out);
        assert!(text.starts_with("*2\r\n*4\r\n$5\r\nslots\r\n*4\r\n:0\r\n:99\r\n:200\r\n:200\r\n$5\r\nnodes\r\n*2\r\n*14\r\n"));
        assert!(text.contains("$6\r\nhealth\r\n$4\r\nfail\r\n"), "{text}");
        assert!(
            text.contains("$18\r\nreplication-offset\r\n:9\r\n"),
            "{text}"
        );
    }
}
