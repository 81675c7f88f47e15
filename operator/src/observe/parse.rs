//! Reading what nodes answer. The formats are Redis's and Valkey's, so they never change under us; our own lines are extra.

use std::collections::BTreeMap;

use redis::Value;

use super::{Member, Migration, MigrationState, NodeId, NodeState, NodeView, Witness};
use crate::names;
use crate::slots::{SlotError, SlotSet};

/// A node's answers to the questions of one observation.
pub(super) struct Answers {
    /// `CLUSTER INFO`
    pub(super) cluster_info: String,
    /// `CLUSTER MYID`
    pub(super) my_id: String,
    /// `CLUSTER NODES`
    pub(super) nodes: String,
    /// `CLUSTER GETSLOTMIGRATIONS`
    pub(super) migrations: Value,
    /// `INFO replication`
    pub(super) replication: String,
    /// `DBSIZE`
    pub(super) keys: u64,
}

/// An answer that could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A line is missing from `CLUSTER INFO`, or its value is not what it should be.
    #[error("CLUSTER INFO: `{0}` is missing or not understood")]
    Info(&'static str),
    /// A line of `CLUSTER NODES` has too few words.
    #[error("CLUSTER NODES: line `{0}` is too short")]
    Line(String),
    /// Slots were not understood.
    #[error(transparent)]
    Slots(#[from] SlotError),
    /// A job of `CLUSTER GETSLOTMIGRATIONS` lacks a field.
    #[error("CLUSTER GETSLOTMIGRATIONS: `{0}` is missing")]
    Job(&'static str),
}

/// The node's view, from its answers. `cluster` is the name that pods of the cluster begin with.
pub(super) fn view(cluster: &str, answers: &Answers) -> Result<NodeView, ParseError> {
    let info = fields(&answers.cluster_info);
    let replication = fields(&answers.replication);
    let text = |name| info.get(name).copied().ok_or(ParseError::Info(name));
    let number = |name| {
        text(name)?
            .parse::<u64>()
            .map_err(|_| ParseError::Info(name))
    };
    let state = match text("node_state")? {
        "fresh" => NodeState::Fresh,
        "primary" => NodeState::Primary,
        "replica" => NodeState::Replica,
        "quarantined" => NodeState::Quarantined,
        _ => return Err(ParseError::Info("node_state")),
    };
    let id = answers.my_id.trim().to_owned();
    let mut members = members(cluster, &answers.nodes)?;
    let (mut generation, mut epoch) = (
        number("cluster_generation")?,
        number("cluster_current_epoch")?,
    );
    if state == NodeState::Fresh {
        // A node that was removed still knows its former cluster; it speaks for itself only.
        members.retain(|member, _| *member == id);
        (generation, epoch) = (0, 0);
    }
    let following = replication.get("role") == Some(&"slave");
    let offset_name = if following {
        "slave_repl_offset"
    } else {
        "master_repl_offset"
    };
    let offset = replication
        .get(offset_name)
        .and_then(|offset| offset.parse().ok());
    Ok(NodeView {
        state,
        generation,
        epoch,
        quorum: text("cluster_quorum")? == "yes",
        voters: text("cluster_voters")?
            .split(',')
            .filter(|voter| !voter.is_empty())
            .map(ToOwned::to_owned)
            .collect(),
        witness: witness(text("cluster_witness")?)?,
        members,
        offset: offset.unwrap_or(0),
        link_up: following
            && replication.get("master_link_status") == Some(&"up")
            && replication.get("master_sync_in_progress") != Some(&"1"),
        keys: answers.keys,
        migrations: migrations(&answers.migrations)?,
        id,
    })
}

/// `id@ip:port`, or nothing.
fn witness(text: &str) -> Result<Option<Witness>, ParseError> {
    if text.is_empty() {
        return Ok(None);
    }
    let parts = || {
        let (id, address) = text.split_once('@')?;
        let (ip, port) = address.rsplit_once(':')?;
        Some(Witness {
            id: id.to_owned(),
            ip: ip.to_owned(),
            port: port.parse().ok()?,
        })
    };
    let witness = parts().ok_or(ParseError::Info("cluster_witness"))?;
    Ok(Some(witness))
}

/// `name:value` lines.
fn fields(text: &str) -> BTreeMap<&str, &str> {
    text.lines()
        .filter_map(|line| line.trim_end().split_once(':'))
        .collect()
}

/// `id ip:port@busport,hostname flags primary ping pong epoch link slot...`
fn members(cluster: &str, text: &str) -> Result<BTreeMap<NodeId, Member>, ParseError> {
    let mut members = BTreeMap::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [id, address, flags, primary, _, _, _, _, slots @ ..] = words.as_slice() else {
            return Err(ParseError::Line(line.to_owned()));
        };
        let (address, hostname) = address.split_once(',').unwrap_or((address, ""));
        let (ip, _) = address.rsplit_once(':').unwrap_or((address, ""));
        let owned: Vec<&str> = slots
            .iter()
            .copied()
            .filter(|slot| !slot.starts_with('['))
            .collect();
        let member = Member {
            place: names::pod_place(cluster, hostname),
            ip: ip.to_owned(),
            primary: (*primary != "-").then(|| (*primary).to_owned()),
            slots: owned.join(" ").parse::<SlotSet>()?,
            failed: flags
                .split(',')
                .any(|flag| flag == "fail" || flag == "fail?"),
        };
        members.insert((*id).to_owned(), member);
    }
    Ok(members)
}

fn migrations(value: &Value) -> Result<Vec<Migration>, ParseError> {
    let Value::Array(jobs) = value else {
        return Ok(Vec::new());
    };
    jobs.iter().map(migration).collect()
}

fn migration(job: &Value) -> Result<Migration, ParseError> {
    let fields = pairs(job);
    let text = |name| fields.get(name).cloned().ok_or(ParseError::Job(name));
    let message = fields.get("message").cloned().unwrap_or_default();
    let state = match text("state")?.as_str() {
        "success" => MigrationState::Succeeded,
        "failed" => MigrationState::Failed(message),
        "cancelled" | "canceled" => MigrationState::Cancelled,
        _ => MigrationState::Active,
    };
    Ok(Migration {
        name: text("name")?,
        source: text("source_node")?,
        target: text("target_node")?,
        slots: text("slot_ranges")?.parse()?,
        state,
    })
}

/// The fields of a map, or of a flat array in RESP2, that are texts.
fn pairs(value: &Value) -> BTreeMap<String, String> {
    match value {
        Value::Map(pairs) => pairs
            .iter()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect(),
        Value::Array(flat) => flat
            .chunks_exact(2)
            .filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])?)))
            .collect(),
        _ => BTreeMap::new(),
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Some(text.clone()),
        Value::VerbatimString { text, .. } => Some(text.clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::PodPlace;

    const ID: &str = "07c37dfeb235213a872192d90877d0cd55635b91";
    const OTHER: &str = "67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1";

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn answers() -> Answers {
        let job = [
            ("name", "b75f"),
            ("operation", "EXPORT"),
            ("slot_ranges", "0-9 12-12"),
            ("target_node", OTHER),
            ("source_node", ID),
            ("state", "replicating"),
            ("message", ""),
        ];
        Answers {
            cluster_info: "cluster_enabled:1\r\ncluster_state:ok\r\ncluster_current_epoch:42\r\ncluster_voters:07c37dfeb235213a872192d90877d0cd55635b91,67ed2db8d677e59ec4a4cefb06858cf2a1a89fa1\r\ncluster_witness:cafe@fd00::7:16400\r\ncluster_generation:1\r\ncluster_quorum:yes\r\nnode_incarnation:7\r\nnode_state:replica\r\n".to_owned(),
            my_id: ID.to_owned(),
            nodes: format!(
                "{ID} 10.0.0.1:6379@16379,a-s0-1.a-nodes.default.svc myself,slave {OTHER} 0 1426238317239 4 connected\n\
                 {OTHER} 10.0.0.2:6379@16379,a-s0-0.a-nodes.default.svc master,fail? - 0 0 4 disconnected 0-5460 7000 [93->-{ID}]\n"
            ),
            migrations: Value::Array(vec![Value::Array(
                job.iter().flat_map(|(name, value)| [bulk(name), bulk(value)]).collect(),
            )]),
            replication: "# Replication\r\nrole:slave\r\nmaster_link_status:up\r\nmaster_sync_in_progress:0\r\nslave_repl_offset:1234\r\nmaster_repl_offset:1200\r\n".to_owned(),
            keys: 5,
        }
    }

    #[test]
    fn a_nodes_answers_are_read() {
        let view = view("a", &answers()).unwrap();
        assert_eq!(
            (view.state, view.generation, view.epoch),
            (NodeState::Replica, 1, 42)
        );
        assert_eq!(
            (view.offset, view.link_up, view.quorum, view.keys),
            (1234, true, true, 5)
        );
        assert_eq!(view.voters, [ID, OTHER]);
        let witness = view.witness.unwrap();
        assert_eq!(
            (witness.id.as_str(), witness.ip.as_str(), witness.port),
            ("cafe", "fd00::7", 16_400)
        );
        let me = &view.members[ID];
        assert_eq!(
            me.place,
            Some(PodPlace {
                shard: 0,
                ordinal: 1
            })
        );
        assert_eq!(me.primary.as_deref(), Some(OTHER));
        let other = &view.members[OTHER];
        assert_eq!(
            (other.slots.to_string().as_str(), other.failed),
            ("0-5460 7000", true)
        );
        assert_eq!(other.ip, "10.0.0.2");
        assert_eq!(view.migrations[0].state, MigrationState::Active);
        assert_eq!(view.migrations[0].slots.len(), 11);
    }

    #[test]
    fn a_node_that_was_removed_speaks_for_itself_only() {
        let mut answers = answers();
        answers.cluster_info = answers
            .cluster_info
            .replace("node_state:replica", "node_state:fresh");
        let view = view("a", &answers).unwrap();
        assert_eq!(view.members.len(), 1);
        assert_eq!(view.epoch, 0);
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut answers = answers();
        answers.cluster_info = "cluster_state:ok\r\n".to_owned();
        assert_eq!(view("a", &answers), Err(ParseError::Info("node_state")));
    }
}
