//! The edge round the bus: sockets, timers, persistence, and the [`View`] that the rest of the node reads.
//!
//! [`Cluster`] is the handle that everybody else holds. Reading the view takes no lock; whatever changes the topology goes
//! through the bus and answers when it is committed.

mod accept;
mod disk;
mod driver;
mod file;
mod handshake;
mod hello;
mod info;
mod link;
mod local;
mod nodes;
mod pages;
mod record;
mod refusals;
mod seal;
mod secret;
mod slots;
mod view;
mod wire;
mod witness;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::bus::{Liveness, LocalStatus, Request, RequestError};
use crate::slot::SlotSet;
use crate::topology::{NodeId, TopologyCommand};
use refusals::Refusals;

pub use driver::{ClusterConfig, Driver, DriverError};
pub use file::FileError;
pub use info::{info, node_state};
pub use local::{announced, open, run};
pub use nodes::{nodes, replicas};
pub use record::{Ours, Record, RecordError, Writing};
pub use secret::{Secret, SecretError};
pub use slots::{shards, slots};
pub use view::{Access, HandMoved, Route, View};
pub use witness::{Witness, WitnessConfig};

/// What the bus tells other nodes about this one; asked for at every heartbeat, so it must be cheap.
pub trait Local: Send + Sync {
    /// This node's present state.
    fn status(&self) -> LocalStatus;
}

/// So long after a node has become a primary, what it needs for that is waited for before commands are refused: its first lease, which comes
/// within two round trips, and as many replicas as it is told to have. In ms.
const NEW_MS: u64 = 1_000;

/// Why a change of the topology was not made. The text is fit for a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// A rule forbids it, or it was not committed in time.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Cluster mode is off.
    #[error("This instance has cluster support disabled")]
    Disabled,
    /// The bus has stopped: the process is on its way down.
    #[error("The cluster bus has stopped")]
    Stopped,
}

/// This node's part in the cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// Never changes while the process runs.
    enabled: bool,
    shared: Arc<Shared>,
}

struct Shared {
    view: ArcSwap<View>,
    changes: watch::Sender<Arc<View>>,
    liveness: ArcSwap<Liveness>,
    links: ArcSwap<Vec<LinkReport>>,
    status: ArcSwap<LocalStatus>,
    /// Nodes that were members while this process ran, and are not any more.
    forgotten: Mutex<BTreeSet<NodeId>>,
    refusals: Arc<Refusals>,
    orders: mpsc::UnboundedSender<Order>,
    /// When this node's lease as a primary ends, in ms since `started`; the greatest when cluster mode is off.
    lease: AtomicU64,
    /// The same, for those who wait for one.
    leases: watch::Sender<u64>,
    /// Until when this node counts as one that has just become a primary, in ms since `started`.
    new_until: AtomicU64,
    started: Instant,
}

impl Shared {
    /// Ms since the process started.
    fn elapsed(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Tells those who execute commands until when they may write.
    fn show_lease(&self, until: u64) {
        self.lease.store(until, Relaxed);
        self.leases
            .send_if_modified(|shown| std::mem::replace(shown, until) != until);
    }

    /// Makes this the view that everybody sees.
    fn show(&self, mut view: View) {
        let old = self.view.load_full();
        let begins = view.is_serving_primary() && !old.is_serving_primary();
        view.terms = old.terms + u64::from(begins);
        if begins {
            self.new_until.store(self.elapsed() + NEW_MS, Relaxed);
        }
        let view = Arc::new(view);
        self.view.store(view.clone());
        self.changes.send_replace(view);
    }
}

/// What a handle asks of the driver.
enum Order {
    Request {
        request: Request,
        answer: oneshot::Sender<Result<u64, RequestError>>,
    },
    MoveByHand {
        slots: SlotSet,
        hand_move: HandMove,
        done: oneshot::Sender<()>,
    },
}

/// How this node takes part in moving a slot key by key (`CLUSTER SETSLOT`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandMove {
    /// The slot leaves for this node.
    Migrating(NodeId),
    /// The slot comes from this node.
    Importing(NodeId),
    /// The slot does not move.
    Stable,
}

/// An outgoing connection of the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkReport {
    /// Whom it goes to.
    pub node: NodeId,
    /// When it was made.
    pub created: SystemTime,
    /// Messages that wait for it.
    pub waiting: usize,
}

impl Cluster {
    /// A handle with no bus behind it: `view` never changes and every request is refused. For cluster mode off.
    pub fn detached(view: View) -> Self {
        let (orders, _) = mpsc::unbounded_channel();
        Self::new(view, orders)
    }

    fn new(view: View, orders: mpsc::UnboundedSender<Order>) -> Self {
        let view = Arc::new(view);
        Self {
            enabled: view.enabled,
            shared: Arc::new(Shared {
                changes: watch::Sender::new(view.clone()),
                view: ArcSwap::new(view),
                liveness: ArcSwap::default(),
                links: ArcSwap::default(),
                status: ArcSwap::default(),
                forgotten: Mutex::default(),
                refusals: Arc::default(),
                orders,
                lease: AtomicU64::new(u64::MAX),
                leases: watch::Sender::new(u64::MAX),
                new_until: AtomicU64::new(0),
                started: Instant::now(),
            }),
        }
    }

    /// Makes this the view that everybody sees.
    #[cfg(test)]
    pub(crate) fn show(&self, view: View) {
        self.shared.show(view);
    }

    /// Whether cluster mode is on.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// This node's id.
    pub fn myself(&self) -> NodeId {
        self.shared.view.load().myself
    }

    /// The newest view, for one command: cheaper than [`Cluster::view`], not to be held across an await.
    pub fn peek(&self) -> Guard<Arc<View>> {
        self.shared.view.load()
    }

    /// The newest view, to keep.
    pub fn view(&self) -> Arc<View> {
        self.shared.view.load_full()
    }

    /// Every new view from now on.
    pub fn changes(&self) -> watch::Receiver<Arc<View>> {
        self.shared.changes.subscribe()
    }

    /// Proposes a change of the topology and waits until it is committed and visible in [`Cluster::view`].
    /// The answer is the index of its log entry.
    ///
    /// # Errors
    ///
    /// The refusal, or a time-out after five seconds; after a time-out the command may still be applied later.
    pub async fn propose(&self, command: TopologyCommand) -> Result<u64, ClusterError> {
        self.request(Request::Propose(command)).await
    }

    /// Asks the bus for something that takes consensus.
    ///
    /// # Errors
    ///
    /// As [`Cluster::propose`].
    pub async fn request(&self, request: Request) -> Result<u64, ClusterError> {
        if !self.enabled() {
            return Err(ClusterError::Disabled);
        }
        let (answer, answered) = oneshot::channel();
        self.shared
            .orders
            .send(Order::Request { request, answer })
            .map_err(|_| ClusterError::Stopped)?;
        let answer = answered.await.map_err(|_| ClusterError::Stopped)?;
        Ok(answer?)
    }

    /// Resolves when the bus has stopped.
    pub async fn stopped(&self) {
        self.shared.orders.closed().await;
    }

    /// What is known of the other members, at most a tick old.
    pub fn liveness(&self) -> Arc<Liveness> {
        self.shared.liveness.load_full()
    }

    /// The bus's outgoing connections.
    pub fn links(&self) -> Arc<Vec<LinkReport>> {
        self.shared.links.load_full()
    }

    /// Connections of the bus that were refused since the start, at either end, by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.shared.refusals.counts()
    }

    /// Whether this node has no lease at this moment: then it must take no writes as a primary, because another one may. Looks at the clock
    /// itself: what a turn knows of it may be of before the process was stopped.
    #[inline]
    pub fn lacks_lease(&self) -> bool {
        let until = self.shared.lease.load(Relaxed);
        until != u64::MAX && self.shared.elapsed() >= until
    }

    /// Whether this node has become a primary a moment ago, and may not have yet what it needs for that.
    pub fn is_new_primary(&self) -> bool {
        self.new_for().is_some() && self.peek().is_serving_primary()
    }

    /// How long this node still counts as a new primary.
    pub fn new_for(&self) -> Option<Duration> {
        let until = self.shared.new_until.load(Relaxed);
        let left = until.saturating_sub(self.shared.elapsed());
        (left > 0).then(|| Duration::from_millis(left))
    }

    /// Tells when this node's lease lasts longer than before, or is gone.
    pub fn leases(&self) -> watch::Receiver<u64> {
        self.shared.leases.subscribe()
    }

    /// Resolves when this node has a lease, or is no new primary any more.
    pub async fn has_lease(&self) {
        let mut leases = self.shared.leases.subscribe();
        while self.lacks_lease() && self.is_new_primary() {
            let left = self.new_for().unwrap_or_default();
            // What has changed is looked at in any case.
            let _ = tokio::time::timeout(left, leases.changed()).await;
        }
    }

    /// Whether `node` was a member while this process ran and is not any more.
    pub fn has_forgotten(&self, node: NodeId) -> bool {
        self.shared.forgotten.lock().contains(&node)
    }

    /// This node's state as its bus last told the others.
    pub fn own_status(&self) -> LocalStatus {
        **self.shared.status.load()
    }

    /// Notes that slots are moved key by key; only this node knows. Visible in the view afterwards.
    ///
    /// # Errors
    ///
    /// When there is no bus.
    pub async fn move_by_hand(
        &self,
        slots: SlotSet,
        hand_move: HandMove,
    ) -> Result<(), ClusterError> {
        let (done, is_done) = oneshot::channel();
        let order = Order::MoveByHand {
            slots,
            hand_move,
            done,
        };
        self.shared
            .orders
            .send(order)
            .map_err(|_| ClusterError::Stopped)?;
        is_done.await.map_err(|_| ClusterError::Stopped)
    }
}

#[cfg(test)]
mod tests;
