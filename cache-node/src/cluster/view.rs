//! What this node knows of the cluster, as one immutable value.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::slot::{SLOT_COUNT, SlotId};
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
    /// Where this node says that it is reached.
    pub address: Address,
    /// The committed topology.
    pub topology: Arc<Topology>,
    /// Slots that this node's operator moves key by key (`CLUSTER SETSLOT n MIGRATING|IMPORTING id`); known to this node only.
    pub hand_moved: Arc<HandMoved>,
    /// How often this process came to serve as a primary: those who look now and then miss no time in between.
    pub terms: u64,
    routes: Arc<Routes>,
}

/// Slots that are moved key by key, known only to the two nodes concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandMoved {
    /// Slots that leave this node, and where to.
    pub migrating: BTreeMap<SlotId, NodeId>,
    /// Slots that come to this node, and where from.
    pub importing: BTreeMap<SlotId, NodeId>,
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

/// The answer for each slot, worked out once a view.
#[derive(Debug)]
struct Routes {
    /// For each slot the position in `shards`, [`NOBODY`] without owner.
    slots: Box<[u16]>,
    shards: Vec<ShardRoute>,
    hand_moved: bool,
}

#[derive(Debug)]
enum ShardRoute {
    /// This node serves as primary.
    Mine,
    /// This node is a replica: reads on request, all else at the primary.
    Replica(Route),
    /// Another shard's, or this node's own while it may not serve.
    Elsewhere(Route),
}

const NOBODY: u16 = u16::MAX;
const QUARANTINED: Route =
    Route::Down("This node restarted without its data and waits to be reinstated");
const NOT_SERVED: Route = Route::Down("Hash slot not served");

impl View {
    /// The view of a node whose cluster mode is off.
    pub fn standalone(myself: NodeId, incarnation: u64, address: Address) -> Self {
        let member = Member {
            id: myself,
            address: address.clone(),
            shard: crate::topology::ShardId::new(*myself.bytes()),
        };
        let topology = Topology::single(0, member, incarnation);
        let mut view = Self::new(
            myself,
            incarnation,
            address,
            Arc::new(topology),
            Arc::default(),
        );
        view.enabled = false;
        view
    }

    /// The view of `myself` on `topology` in cluster mode.
    pub fn new(
        myself: NodeId,
        incarnation: u64,
        address: Address,
        topology: Arc<Topology>,
        hand_moved: Arc<HandMoved>,
    ) -> Self {
        let routes = Routes {
            slots: Box::new([]),
            shards: Vec::new(),
            hand_moved: *hand_moved != HandMoved::default(),
        };
        let mut view = Self {
            myself,
            incarnation,
            enabled: true,
            address,
            topology,
            hand_moved,
            terms: 0,
            routes: Arc::new(routes),
        };
        view.routes = Arc::new(view.compute_routes());
        view
    }

    /// This node's member entry; `None` when the cluster has removed this node.
    pub fn me(&self) -> Option<&Member> {
        self.topology.members.get(&self.myself)
    }

    /// Whether this process may serve as its shard's primary: the topology names its id and its incarnation.
    pub fn is_serving_primary(&self) -> bool {
        !self.enabled
            || self
                .topology
                .shard_of(self.myself)
                .is_some_and(|(_, shard)| {
                    shard.primary == self.myself && shard.primary_incarnation == self.incarnation
                })
    }

    /// Whether the topology names this node as primary, but in an earlier incarnation.
    pub fn is_quarantined(&self) -> bool {
        self.topology.is_primary(self.myself) && !self.is_serving_primary()
    }

    /// The primary of this node's shard, when that is another node.
    pub fn my_primary(&self) -> Option<&Member> {
        let (_, shard) = self.topology.shard_of(self.myself)?;
        (shard.primary != self.myself).then(|| self.topology.members.get(&shard.primary))?
    }

    /// Where a command on `slot` goes.
    pub fn route(&self, slot: SlotId, access: Access) -> Route {
        if !self.enabled {
            return Route::Serve;
        }
        if self.routes.hand_moved
            && let Some(route) = self.hand_moved_route(slot, access)
        {
            return route;
        }
        let number = usize::from(self.routes.slots[slot.index()]);
        match self.routes.shards.get(number) {
            None => NOT_SERVED,
            Some(ShardRoute::Mine) => Route::Serve,
            Some(ShardRoute::Replica(_)) if access.readonly && !access.write => Route::Serve,
            Some(ShardRoute::Replica(route) | ShardRoute::Elsewhere(route)) => route.clone(),
        }
    }

    fn hand_moved_route(&self, slot: SlotId, access: Access) -> Option<Route> {
        if !self.is_serving_primary() {
            return None;
        }
        if access.asking && self.hand_moved.importing.contains_key(&slot) {
            return Some(Route::Serve);
        }
        let target = self.hand_moved.migrating.get(&slot)?;
        let mine = self
            .topology
            .owner(slot)
            .is_some_and(|(_, shard)| shard.primary == self.myself);
        let member = self.topology.members.get(target)?;
        mine.then(|| Route::ServeOrAsk(member.address.clone()))
    }

    fn compute_routes(&self) -> Routes {
        let mut slots = vec![NOBODY; SLOT_COUNT].into_boxed_slice();
        let mut shards = Vec::with_capacity(self.topology.shards.len());
        let home = self.me().map(|me| me.shard);
        for (number, (id, shard)) in self.topology.shards.iter().enumerate() {
            shard
                .slots
                .iter()
                .for_each(|slot| slots[slot.index()] = number as u16);
            let elsewhere = || match self.topology.members.get(&shard.primary) {
                Some(primary) => Route::Moved(primary.address.clone()),
                None => NOT_SERVED,
            };
            shards.push(if shard.primary == self.myself {
                if self.is_serving_primary() {
                    ShardRoute::Mine
                } else {
                    ShardRoute::Elsewhere(QUARANTINED)
                }
            } else if home == Some(*id) {
                ShardRoute::Replica(elsewhere())
            } else {
                ShardRoute::Elsewhere(elsewhere())
            });
        }
        Routes {
            slots,
            shards,
            hand_moved: self.routes.hand_moved,
        }
    }
}
