//! Copies of a data set on other nodes: full sync, stream, offsets, `WAIT` and the planned hand-over.
//!
//! Who is primary is decided by the topology alone; this module must never decide it.

mod apply;
pub mod durability;
pub mod follow;
pub mod frame;
pub mod handover;
pub mod history;
mod inflow;
pub mod link;
pub mod metrics;
mod outflow;
mod paused;
pub mod place;
pub mod psync;
pub mod receive;
pub mod replicas;
pub mod report;
pub mod runtime;
pub mod serve;
mod source;
pub mod walk;
pub mod wants;
pub mod wire;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Duration;

use crate::clock;
use crate::command::ReplayError;
use crate::migration::driver;
use crate::node::Node;
use crate::store::Store;
use crate::topology::NodeId;

pub(crate) use apply::{Target, empty_if};
pub(crate) use inflow::{Inflow, Told};
pub(crate) use outflow::{Heard, Outflow};
pub(crate) use paused::PausedSlots;
pub(crate) use source::StoreSource;

use durability::Durability;
use history::History;
use link::{HandOverRequest, LinkState, Upstream};
use metrics::Metrics;
use receive::ReceiveError;
use replicas::Replicas;
use runtime::FlowRuntime;
use walk::Overrun;
use wire::WireError;

/// A transfer of data has ended.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The connection.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The reader of the log was too slow.
    #[error("full sync abandoned: {0}; repl-backlog-size may be too small")]
    Overrun(#[from] Overrun),
    /// What arrived makes no sense.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// What arrived cannot be executed.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// This node's log does not continue the sender's.
    #[error("this node's log is at {here}, the primary's at {there}")]
    Diverged {
        /// Where it is here.
        here: u64,
        /// Where it should be.
        there: u64,
    },
    /// The primary's data are not to take the place of this node's.
    #[error("full sync refused: {0}")]
    Unwanted(String),
    /// One of the two nodes is no longer what it was.
    #[error("{0}")]
    Role(String),
}

/// This node's part in replication.
pub struct Replication {
    /// Who copies this node.
    pub replicas: Arc<Replicas>,
    /// How far replicas must be before something is told.
    pub durability: Durability,
    /// Counters for `/metrics`.
    pub metrics: Metrics,
    /// `REPLICAOF host port`, outside cluster mode.
    configured: watch::Sender<Option<(String, u16)>>,
    /// Whether `configured` names a node, where every command looks.
    is_configured: AtomicBool,
    orders: AtomicU64,
    /// Seconds that were counted for pings.
    seconds: AtomicU64,
    link: Mutex<Link>,
    /// The primary's log offset that is applied here.
    applied: AtomicU64,
    /// A full sync has begun and not ended: the data are neither the old nor the new.
    incomplete: AtomicBool,
    handing_over: AtomicBool,
    /// The data set goes on with another node's history, or did until now: as long as that is not over, it is not this node's own.
    follows: AtomicBool,
    /// The last of an administrator's orders that made this node a primary, until the history that begins with it is there; 0 then.
    promoted: AtomicU64,
    /// In cluster mode: up to which of this process's terms as a primary the history is that of its role.
    terms_seen: AtomicU64,
    /// The history that the data set belongs to.
    history: watch::Sender<History>,
    /// The history that began when this process loaded data with a place in another one.
    came_back: OnceLock<History>,
    /// A copy of the primary's data that is being put together.
    beside: Mutex<Option<Arc<Store>>>,
    /// Ends when a data set that is not needed any more has been freed.
    discarded: Mutex<Option<oneshot::Receiver<()>>>,
    /// Whom the data set was copied from, once it was whole.
    synced_from: Mutex<Option<Upstream>>,
    /// Why the last full sync was refused; empty when it was not.
    refused: Mutex<String>,
    runtime: OnceLock<FlowRuntime>,
}

#[derive(Default)]
struct Link {
    state: LinkState,
    /// Milliseconds since the epoch.
    heard: u64,
    /// Milliseconds since the epoch.
    down_since: u64,
    requests: Option<mpsc::UnboundedSender<HandOverRequest>>,
}

impl Default for Replication {
    fn default() -> Self {
        Self {
            replicas: Arc::default(),
            durability: Durability::default(),
            metrics: Metrics::default(),
            configured: watch::Sender::new(None),
            is_configured: AtomicBool::new(false),
            orders: AtomicU64::new(0),
            seconds: AtomicU64::new(0),
            link: Mutex::default(),
            applied: AtomicU64::new(0),
            incomplete: AtomicBool::new(false),
            handing_over: AtomicBool::new(false),
            follows: AtomicBool::new(false),
            promoted: AtomicU64::new(0),
            terms_seen: AtomicU64::new(0),
            history: watch::Sender::new(History::begin()),
            came_back: OnceLock::new(),
            beside: Mutex::default(),
            discarded: Mutex::default(),
            synced_from: Mutex::default(),
            refused: Mutex::default(),
            runtime: OnceLock::new(),
        }
    }
}

impl Replication {
    /// Starts the thread on which data sets travel, and what keeps roles and migrations as they should be.
    ///
    /// # Errors
    ///
    /// The system grants no thread.
    pub fn start(node: &Arc<Node>) -> io::Result<()> {
        let runtime = FlowRuntime::start()?;
        runtime.handle().spawn(follow::follow(node.clone()));
        runtime.handle().spawn(driver::drive(node.clone()));
        let drained = node.clone();
        node.shutdown.on_drain(
            "hand-over",
            Box::new(move || Box::pin(async move { handover::drain(&drained).await })),
        );
        let resigns = node.clone();
        node.shutdown.on_drain(
            "leadership",
            Box::new(move || Box::pin(async move { handover::resign(&resigns).await })),
        );
        // Started once a process.
        let _ = node.replication.runtime.set(runtime);
        Ok(())
    }

    /// Runs a task where data sets travel. Before [`Replication::start`] nothing is run.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(runtime) = self.runtime.get() {
            runtime.handle().spawn(task);
        }
    }

    /// Whom this node is to copy at present.
    pub fn upstream(&self, node: &Node) -> Option<Upstream> {
        let view = node.cluster.peek();
        if !view.enabled {
            let (host, port) = self.configured.borrow().clone()?;
            return Some(Upstream {
                primary: None,
                host,
                port,
                order: self.orders(),
            });
        }
        let primary = view.my_primary()?;
        let (_, shard) = view.topology.shard_of(view.myself)?;
        Some(Upstream {
            primary: Some((primary.id, shard.primary_incarnation)),
            host: primary.address.ip.clone(),
            port: primary.address.port,
            order: 0,
        })
    }

    /// Outside cluster mode: whether there is a node to copy.
    pub fn is_configured(&self) -> bool {
        self.is_configured.load(Ordering::Acquire)
    }

    /// How often [`Replication::configure`] was called.
    fn orders(&self) -> u64 {
        self.orders.load(Ordering::Acquire)
    }

    /// `REPLICAOF`, outside cluster mode.
    pub fn configure(&self, upstream: Option<(String, u16)>) {
        // Said again, it also allows what was refused.
        if *self.configured.borrow() == upstream && self.refused().is_empty() {
            return;
        }
        self.set_refused("");
        let order = self.orders.fetch_add(1, Ordering::AcqRel) + 1;
        if upstream.is_none() {
            // Before the first client writes.
            self.promoted.store(order, Ordering::SeqCst);
        }
        self.is_configured
            .store(upstream.is_some(), Ordering::Release);
        self.set_link_state(LinkState::Connect);
        self.configured.send_replace(upstream);
    }

    /// State of the link to the primary.
    pub fn link_state(&self) -> LinkState {
        self.link.lock().state
    }

    /// Whether the link to the primary is up and the data are the primary's.
    pub fn is_link_up(&self) -> bool {
        self.link_state() == LinkState::Connected
    }

    /// Whether the data are a mixture, because a full sync has begun and not ended. A replica must not show them.
    pub fn is_incomplete(&self) -> bool {
        self.incomplete.load(Ordering::Acquire)
    }

    /// The primary's log offset that is applied here.
    pub fn applied(&self) -> u64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Seconds since something was heard from the primary, and since the link went down.
    pub fn link_ages(&self) -> (u64, u64) {
        let link = self.link.lock();
        let now = clock::now();
        let seconds = |since: u64| now.saturating_sub(since) / 1000;
        (seconds(link.heard), seconds(link.down_since))
    }

    /// Asks the primary for a planned hand-over to this replica, and waits until it is over.
    ///
    /// # Errors
    ///
    /// Why it did not come about, in words fit for a client.
    pub async fn hand_over(&self, within: Duration) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        let request = HandOverRequest { within, answer };
        let sent = self
            .link
            .lock()
            .requests
            .as_ref()
            .map(|requests| requests.send(request));
        if !matches!(sent, Some(Ok(()))) {
            return Err("this node has no link to a primary".to_owned());
        }
        match tokio::time::timeout(within, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("the link to the primary was lost".to_owned()),
            Err(_) => Err("the hand-over was not completed in time".to_owned()),
        }
    }

    /// The primary of this cluster and its incarnation that the data set was copied from, whole.
    pub fn copied(&self, node: &Node) -> Option<(NodeId, u64)> {
        if self.is_settled(node) {
            self.synced_from()?.primary
        } else {
            None
        }
    }

    fn set_link_state(&self, state: LinkState) {
        let mut link = self.link.lock();
        if link.state == LinkState::Connected || link.down_since == 0 {
            link.down_since = clock::now();
        }
        link.state = state;
    }

    fn set_requests(&self, requests: Option<mpsc::UnboundedSender<HandOverRequest>>) {
        self.link.lock().requests = requests;
    }

    fn set_incomplete(&self, incomplete: bool) {
        self.incomplete.store(incomplete, Ordering::Release);
    }

    /// Frees a data set that is not needed any more, which takes a while, on a thread of its own.
    fn discard(&self, store: Option<Arc<Store>>) {
        let Some(store) = store else {
            return;
        };
        let (began, ended) = oneshot::channel::<()>();
        *self.discarded.lock() = Some(ended);
        let work = move || {
            drop(store);
            drop(began);
        };
        let thread = std::thread::Builder::new().name("discard".to_owned());
        if let Err(error) = thread.spawn(work) {
            tracing::warn!(%error, "no thread to free a data set: others waited for it");
        }
    }

    /// Resolves when that is done, so that there is never a third data set.
    async fn discarded(&self) {
        let discarding = self.discarded.lock().take();
        if let Some(discarding) = discarding {
            // It only ever ends.
            let _ = discarding.await;
        }
    }

    fn set_beside(&self, store: Option<Arc<Store>>) {
        *self.beside.lock() = store;
    }

    /// Bytes of a copy of the primary's data that is being put together.
    pub fn bytes_beside(&self) -> usize {
        let beside = self.beside.lock();
        beside.as_ref().map_or(0, |store| store.memory().used())
    }

    /// The history that the data set belongs to.
    pub fn history(&self) -> History {
        self.history.borrow().clone()
    }

    fn adopt(&self, history: History) {
        self.history.send_replace(history);
    }

    /// The data are exactly what they were at `offset` of a history, as what was loaded says. This node may go its own way from there, or
    /// on with that history as a replica.
    pub fn come_back(&self, node: &Node, history: NodeId, offset: u64) {
        let before = History {
            id: history,
            before: None,
        };
        let own = before.branch(offset);
        node.log.restart_at(offset);
        tracing::info!(%history, offset, "what was loaded has a place in a history");
        // A process loads once.
        let _ = self.came_back.set(own.clone());
        self.adopt(own);
    }

    /// The place in a history of what was loaded, as long as this node has not gone on from there.
    pub fn loaded(&self) -> Option<(NodeId, u64)> {
        let history = self.history();
        (self.came_back.get() == Some(&history)).then_some(history.before)?
    }

    /// The place in a history at which this node's data are: what a primary is asked to go on from.
    fn place(&self, node: &Node) -> (NodeId, u64) {
        let end = node.log.end();
        (self.name_at(end), end)
    }

    /// The name by which other nodes know the history of which an offset of this node's log is a place.
    fn name_at(&self, offset: u64) -> NodeId {
        let history = self.history();
        match history.before {
            // Nothing was done here since, and the primary does not know the history that began with it.
            Some((before, until)) if until == offset && self.came_back.get() == Some(&history) => {
                before
            }
            _ => history.id,
        }
    }

    /// The history of which the log's end is a place; `None` when it is none that somebody could go on from. To be asked while nothing
    /// changes.
    pub fn history_at_the_end(&self, node: &Node) -> Option<NodeId> {
        self.history_at(node, node.log.end())
    }

    /// The same for an offset that the log has reached. The log may grow meanwhile, but not begin anew.
    pub fn history_at(&self, node: &Node, offset: u64) -> Option<NodeId> {
        let exact = node.log.is_recording() && !self.is_incomplete() && !self.is_to_branch(node);
        // Replicas know the history that began when this process loaded its data, if there were any.
        let known = self.metrics.served_full.get() + self.metrics.served_partial.get() > 0;
        exact.then(|| {
            if known {
                self.history().id
            } else {
                self.name_at(offset)
            }
        })
    }

    /// The data are not what any history says any more.
    pub fn forget_history(&self) {
        self.adopt(History::begin());
    }

    /// This node's data go their own way from here: it is a primary now.
    fn branch(&self) {
        // In a cluster, it is asked whether a replica has all that its primary has: this node goes its own way now.
        self.synced_from
            .lock()
            .take_if(|upstream| upstream.primary.is_some());
        let history = self.history();
        if self.is_incomplete() {
            // A mixture has no place in the old one.
            self.adopt(History::begin());
        } else if self.came_back.get() != Some(&history) {
            self.adopt(history.branch(self.applied()));
        }
        self.follows.store(false, Ordering::Release);
    }

    /// The history is that of this order and of this term, unless there was a later one.
    fn promotion_done(&self, order: u64, term: u64) {
        self.terms_seen.store(term, Ordering::SeqCst);
        // When there was, it is looked after next.
        let _ = self
            .promoted
            .compare_exchange(order, 0, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Whether the history is that of this node's present role. Between a promotion and the history that begins with it, a place in the
    /// old one says nothing about what was written since.
    pub fn is_settled(&self, node: &Node) -> bool {
        !self.was_promoted(node) && self.follows.load(Ordering::Acquire) == node.is_replica()
    }

    /// Whether this node is a primary now, and the history that begins with that is not there yet.
    fn is_to_branch(&self, node: &Node) -> bool {
        self.promoted.load(Ordering::SeqCst) > 0
            || self.follows.load(Ordering::Acquire)
                && (self.was_promoted(node) || !node.is_replica())
    }

    /// Whether this node has become a primary since its history was last looked after, though it may be none any more.
    fn was_promoted(&self, node: &Node) -> bool {
        self.promoted.load(Ordering::SeqCst) > 0
            || self.terms_seen.load(Ordering::SeqCst) != node.cluster.peek().terms
    }

    /// Whom the data set was copied from, once it was whole.
    fn synced_from(&self) -> Option<Upstream> {
        self.synced_from.lock().clone()
    }

    fn set_synced_from(&self, upstream: &Upstream) {
        *self.synced_from.lock() = Some(upstream.clone());
    }

    /// Why the last full sync was refused; empty when it was not.
    pub fn refused(&self) -> String {
        self.refused.lock().clone()
    }

    fn set_refused(&self, why: &str) {
        why.clone_into(&mut self.refused.lock());
    }

    fn set_applied(&self, offset: u64) {
        self.applied.store(offset, Ordering::Release);
        self.link.lock().heard = clock::now();
    }

    fn begin_hand_over(&self) -> bool {
        !self.handing_over.swap(true, Ordering::AcqRel)
    }

    fn end_hand_over(&self) {
        self.handing_over.store(false, Ordering::Release);
    }
}
