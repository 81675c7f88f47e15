//! Replication as clients see it: the section of `INFO`, and `ROLE`.

use std::fmt::Write;

use super::link::LinkState;
use crate::node::Node;
use crate::resp::Reply;
use crate::topology::NodeId;

/// What this node copies: host and port.
fn upstream(node: &Node) -> Option<(String, u16)> {
    let upstream = node.replication.upstream(node)?;
    Some((upstream.host, upstream.port))
}

/// Offset up to which this node has data: its own log's end, or what it has applied of its primary's.
pub fn offset(node: &Node) -> u64 {
    if node.replication.upstream(node).is_some() {
        node.replication.applied()
    } else {
        node.log.end()
    }
}

/// The section `# Replication` of `INFO`, without its heading.
pub fn info(node: &Node) -> String {
    let mut text = String::new();
    let replication = &node.replication;
    let line = |text: &mut String, name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{name}:{value}\r\n");
    };
    let upstream = upstream(node);
    line(
        &mut text,
        "role",
        if upstream.is_some() {
            &"slave"
        } else {
            &"master"
        },
    );
    if let Some((host, port)) = upstream {
        let state = replication.link_state();
        let (heard, down) = replication.link_ages();
        let up = state == LinkState::Connected;
        line(&mut text, "master_host", &host);
        line(&mut text, "master_port", &port);
        line(
            &mut text,
            "master_link_status",
            if up { &"up" } else { &"down" },
        );
        line(
            &mut text,
            "master_last_io_seconds_ago",
            if up { &heard } else { &-1 },
        );
        let syncing = u8::from(state == LinkState::Sync);
        line(&mut text, "master_sync_in_progress", &syncing);
        line(&mut text, "slave_read_repl_offset", &replication.applied());
        line(&mut text, "slave_repl_offset", &replication.applied());
        let refused = replication.refused();
        if !refused.is_empty() {
            line(&mut text, "evenkeel_sync_refused", &refused);
        }
        if !up {
            line(&mut text, "master_link_down_since_seconds", &down);
        }
        line(&mut text, "slave_priority", &100);
        line(&mut text, "slave_read_only", &1);
        line(&mut text, "replica_announced", &1);
    }
    let replicas = replication.replicas.list();
    line(&mut text, "connected_slaves", &replicas.len());
    for (number, replica) in replicas.iter().enumerate() {
        let state = if replica.is_online() {
            "online"
        } else {
            "wait_bgsave"
        };
        let value = format!(
            "ip={},port={},state={state},offset={},lag={}",
            replica.ip,
            replica.port,
            replica.acknowledged(),
            replica.lag()
        );
        line(&mut text, &format!("slave{number}"), &value);
    }
    line(&mut text, "master_failover_state", &"no-failover");
    let history = replication.history();
    line(&mut text, "master_replid", &history.id);
    match history.before {
        Some((before, until)) => {
            line(&mut text, "master_replid2", &before);
            line(&mut text, "master_repl_offset", &offset(node));
            // Redis counts the first byte that differs.
            line(&mut text, "second_repl_offset", &(until + 1));
        }
        None => {
            line(&mut text, "master_replid2", &NodeId::new([0; 20]));
            line(&mut text, "master_repl_offset", &offset(node));
            line(&mut text, "second_repl_offset", &-1);
        }
    }
    let (held, first) = node.log.held();
    line(
        &mut text,
        "repl_backlog_active",
        &u8::from(node.log.is_recording()),
    );
    line(&mut text, "repl_backlog_size", &node.log.capacity());
    line(&mut text, "repl_backlog_first_byte_offset", &first);
    line(&mut text, "repl_backlog_histlen", &held);
    text
}

/// The reply to `ROLE`.
pub fn role(node: &Node, reply: &mut Reply<'_>) {
    if let Some((host, port)) = upstream(node) {
        reply.array(5);
        reply.bulk(b"slave");
        reply.bulk(host.as_bytes());
        reply.integer(i64::from(port));
        reply.bulk(node.replication.link_state().name().as_bytes());
        reply.integer(node.replication.applied() as i64);
        return;
    }
    let replicas = node.replication.replicas.list();
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(offset(node) as i64);
    reply.array(replicas.len());
    for replica in replicas {
        reply.array(3);
        reply.bulk(replica.ip.as_bytes());
        reply.bulk(replica.port.to_string().as_bytes());
        reply.bulk(replica.acknowledged().to_string().as_bytes());
    }
}
