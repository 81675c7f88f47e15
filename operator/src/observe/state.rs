//! What was observed, as plain data: Kubernetes's pods and every node's own view of the cluster.

use std::collections::BTreeMap;

use crate::names::PodPlace;
use crate::slots::SlotSet;

/// A node's id, 40 hexadecimal digits. It lives as long as the node's data directory.
pub type NodeId = String;

/// Everything a plan is made from, besides what is desired.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The cluster's pods.
    pub pods: BTreeMap<PodPlace, Pod>,
    /// The cluster's StatefulSets: shard index and the number of pods it asks for.
    pub shards: BTreeMap<u32, i32>,
    /// The operator's own vote.
    pub vote: Vote,
}

/// Who votes without being a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// Its id.
    pub id: NodeId,
    /// Its address.
    pub ip: String,
    /// Its bus port.
    pub port: u16,
}

/// The vote that the operator has for a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Vote {
    /// It has none.
    #[default]
    Off,
    /// It does not vote now, but may in a moment.
    Starting,
    /// It votes.
    Ready(Witness),
}

/// A pod and what its node says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Its address, once it has one.
    pub ip: Option<String>,
    /// Kubernetes says that the container's process runs.
    pub running: bool,
    /// Kubernetes is deleting it.
    pub terminating: bool,
    /// The scheduler found no place for it.
    pub unschedulable: bool,
    /// What its node answered; `None` when it did not answer in time.
    pub node: Option<NodeView>,
}

/// What a node says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Alone, owns nothing, waits to be met.
    Fresh,
    /// Serves its shard's slots.
    Primary,
    /// Follows its shard's primary.
    Replica,
    /// Is named as primary, but restarted without its data and does not serve.
    Quarantined,
}

/// A node's own view of itself and of the cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Its role.
    pub state: NodeState,
    /// Generation of the consensus group; the higher one wins over any epoch.
    pub generation: u64,
    /// Index of the newest topology it knows.
    pub epoch: u64,
    /// It sees a quorum of voters.
    pub quorum: bool,
    /// The voters of the consensus group.
    pub voters: Vec<NodeId>,
    /// Who may vote without being a member.
    pub witness: Option<Witness>,
    /// All members that it knows, itself included.
    pub members: BTreeMap<NodeId, Member>,
    /// Its replication offset.
    pub offset: u64,
    /// It is a replica whose link to its primary is up and in sync.
    pub link_up: bool,
    /// Number of keys that it holds.
    pub keys: u64,
    /// Slot migrations that it takes or took part in, newest first.
    pub migrations: Vec<Migration>,
}

/// A member of the cluster in some node's view.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The pod whose host name it announces.
    pub place: Option<PodPlace>,
    /// The address it announces.
    pub ip: String,
    /// The primary that it follows; `None` if it is a primary itself.
    pub primary: Option<NodeId>,
    /// The slots of its shard, if it is a primary.
    pub slots: SlotSet,
    /// It is suspected or known to have failed.
    pub failed: bool,
}

/// How a slot migration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MigrationState {
    /// Under way.
    Active,
    /// Done.
    Succeeded,
    /// Ended without effect, with the reason that the node gives.
    Failed(String),
    /// Ended without effect because somebody asked for it.
    Cancelled,
}

/// A slot migration in a node's view.
#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    /// Its name, the same at both ends.
    pub name: String,
    /// Who gives the slots.
    pub source: NodeId,
    /// Who gets them.
    pub target: NodeId,
    /// The slots.
    pub slots: SlotSet,
    /// How it stands.
    pub state: MigrationState,
}

impl Observed {
    /// The pods whose nodes answered.
    pub fn answering(&self) -> impl Iterator<Item = (PodPlace, &NodeView)> {
        self.pods
            .iter()
            .filter_map(|(place, pod)| Some((*place, pod.node.as_ref()?)))
    }

    /// Pods that have been started and do not answer: each may be a member of a cluster that nobody else knows of.
    pub fn unknown(&self) -> impl Iterator<Item = PodPlace> + '_ {
        self.pods
            .iter()
            .filter(|(_, pod)| pod.ip.is_some() && pod.node.is_none())
            .map(|(place, _)| *place)
    }

    /// The pod whose node has this id.
    pub fn pod_of(&self, id: &str) -> Option<(PodPlace, &Pod, &NodeView)> {
        self.pods.iter().find_map(|(place, pod)| {
            let view = pod.node.as_ref().filter(|view| view.id == id)?;
            Some((*place, pod, view))
        })
    }
}

impl NodeView {
    /// Number of slots that have an owner in this view.
    pub fn slots_owned(&self) -> u32 {
        self.members.values().map(|member| member.slots.len()).sum()
    }

    /// Whether the node is in a cluster with others.
    pub fn has_company(&self) -> bool {
        self.members.len() > 1
    }
}
