//! What this node knows of the cluster, as one immutable value.

use std::sync::Arc;

use crate::slot::SlotId;
use crate::topology::{Address, Member, NodeId, Topology};

/// The newest committed topology known here, seen from this node.
#[derive(Clone, Debug)]
pub struct View {
    /// This node.
    pub myself: NodeId,
    /// This process's incarnation, drawn at start.
    pub incarnation: u64,
    /// Whether cluster mode is on; off, every slot is served.
    pub enabled: bool,
    /// The committed topology.
    pub topology: Arc<Topology>,
}

/// How a command touches its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The command may change keys.
    pub write: bool,
    /// The connection said `READONLY`.
    pub readonly: bool,
    /// The connection said `ASKING` just before.
    pub asking: bool,
}

/// Where a command on one slot goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Execute here.
    Serve,
    /// Execute here if all keys exist, else answer `ASK` with this address.
    ServeOrAsk(Address),
    /// Answer `MOVED` with this address.
    Moved(Address),
    /// Answer `CLUSTERDOWN` with this text.
    Down(&'static str),
}

impl View {
    /// This node's member entry.
    pub fn me(&self) -> Option<&Member> {
        self.topology.members.get(&self.myself)
    }

    /// Whether this process may serve as its shard's primary: the topology names its id and its incarnation.
    pub fn is_serving_primary(&self) -> bool {
        self.me()
            .and_then(|me| self.topology.shards.get(&me.shard))
            .is_some_and(|shard| {
                shard.primary == self.myself && shard.primary_incarnation == self.incarnation
            })
    }

    /// The primary of this node's shard, when that is another node.
    pub fn my_primary(&self) -> Option<&Member> {
        let shard = self.topology.shards.get(&self.me()?.shard)?;
        (shard.primary != self.myself).then(|| self.topology.members.get(&shard.primary))?
    }

    /// Where a command on `slot` goes.
    pub fn route(&self, slot: SlotId, access: Access) -> Route {
        if !self.enabled {
            return Route::Serve;
        }
        let Some((id, shard)) = self.topology.owner(slot) else {
            return Route::Down("Hash slot not served");
        };
        let mine = self.me().is_some_and(|me| me.shard == id);
        if mine && self.is_serving_primary() {
            return Route::Serve;
        }
        if mine && shard.primary != self.myself && access.readonly && !access.write {
            return Route::Serve;
        }
        if shard.primary == self.myself {
            return Route::Down("This node restarted without its data and waits to be reinstated");
        }
        match self.topology.members.get(&shard.primary) {
            Some(primary) => Route::Moved(primary.address.clone()),
            None => Route::Down("Hash slot not served"),
        }
    }
}
