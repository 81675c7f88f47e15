//! The replicas that are connected to this node, and what they have acknowledged.
//!
//! Owned by whoever sends data: one entry a connection. It must never touch data or sockets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use crate::clock;
use crate::topology::NodeId;

/// What the connection to a replica is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Have the replica acknowledge now.
    AskAck,
    /// Have the replica take over within so many milliseconds.
    Offer(u64),
}

/// One connected replica.
#[derive(Debug)]
pub struct Replica {
    /// Who it is.
    pub node: NodeId,
    /// The address that it comes from.
    pub ip: String,
    /// The port that it listens on for clients.
    pub port: u16,
    /// Whether it is of another kind, and speaks Redis's protocol.
    pub foreign: bool,
    online: AtomicBool,
    acknowledged: AtomicU64,
    /// The log offset up to which it has everything on its disk.
    synced: AtomicU64,
    /// Milliseconds since the epoch.
    heard: AtomicU64,
    orders: mpsc::UnboundedSender<Order>,
}

impl Replica {
    /// Whether the full sync is over.
    pub fn is_online(&self) -> bool {
        self.online.load(Relaxed)
    }

    /// The log offset up to which it has applied everything.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Relaxed)
    }

    /// Seconds since it last acknowledged.
    pub fn lag(&self) -> u64 {
        clock::now().saturating_sub(self.heard.load(Relaxed)) / 1000
    }

    /// Asks the connection for something; nothing happens when it is gone.
    pub fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }
}

/// All connected replicas.
#[derive(Debug, Default)]
pub struct Replicas {
    connected: Mutex<BTreeMap<u64, Arc<Replica>>>,
    next: AtomicU64,
    acks: watch::Sender<()>,
}

impl Replicas {
    /// Adds a replica whose full sync begins; it is removed when the answer is dropped.
    pub fn add(self: &Arc<Self>, node: NodeId, ip: String, port: u16) -> Connected {
        self.add_any(node, ip, port, false)
    }

    /// The same for one of another kind.
    pub fn add_foreign(self: &Arc<Self>, ip: String, port: u16) -> Connected {
        self.add_any(NodeId::random(), ip, port, true)
    }

    fn add_any(self: &Arc<Self>, node: NodeId, ip: String, port: u16, foreign: bool) -> Connected {
        let (orders, inbox) = mpsc::unbounded_channel();
        let replica = Arc::new(Replica {
            node,
            ip,
            port,
            foreign,
            online: AtomicBool::new(false),
            acknowledged: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            heard: AtomicU64::new(clock::now()),
            orders,
        });
        let number = self.next.fetch_add(1, Relaxed);
        let mut connected = self.connected.lock();
        // One that comes back has lost its old connection, whose end may not have been seen yet.
        connected.retain(|_, other| other.node != node);
        connected.insert(number, replica.clone());
        drop(connected);
        Connected {
            replicas: self.clone(),
            number,
            replica,
            inbox,
        }
    }

    /// The replicas, in the order in which they came.
    pub fn list(&self) -> Vec<Arc<Replica>> {
        self.connected.lock().values().cloned().collect()
    }

    /// Number of replicas that have acknowledged `offset`.
    pub fn count_at(&self, offset: u64) -> usize {
        let connected = self.connected.lock();
        connected
            .values()
            .filter(|replica| replica.is_online() && replica.acknowledged() >= offset)
            .count()
    }

    /// Number of replicas that have everything up to `offset` on their disks.
    pub fn count_synced_at(&self, offset: u64) -> usize {
        let connected = self.connected.lock();
        connected
            .values()
            .filter(|replica| replica.is_online() && replica.synced.load(Relaxed) >= offset.max(1))
            .count()
    }

    /// Number of replicas in sync that have said something within so many seconds; 0: ever.
    pub fn count_good(&self, most_lag: u64) -> usize {
        let connected = self.connected.lock();
        connected
            .values()
            .filter(|replica| replica.is_online())
            .filter(|replica| most_lag == 0 || replica.lag() <= most_lag)
            .count()
    }

    /// Whether there are some of another kind.
    pub fn has_foreign(&self) -> bool {
        self.connected
            .lock()
            .values()
            .any(|replica| replica.foreign)
    }

    /// The replica in sync, of this kind, that has acknowledged most.
    pub fn most_advanced(&self) -> Option<Arc<Replica>> {
        let connected = self.connected.lock();
        let online = connected
            .values()
            .filter(|replica| replica.is_online() && !replica.foreign);
        online.max_by_key(|replica| replica.acknowledged()).cloned()
    }

    /// A replica that may send `newcomer` a full sync: in sync, of this kind, and with everything up to `offset`. Where there are several,
    /// newcomers are spread over them.
    pub fn sibling(&self, newcomer: NodeId, offset: u64) -> Option<Arc<Replica>> {
        let connected = self.connected.lock();
        let mut able: Vec<_> = connected
            .values()
            .filter(|other| other.is_online() && !other.foreign && other.node != newcomer)
            .filter(|other| other.acknowledged() >= offset)
            .collect();
        able.sort_by_key(|other| other.node);
        let spread = usize::from(newcomer.bytes()[0]);
        let chosen = able.get(spread % able.len().max(1))?;
        Some(Arc::clone(chosen))
    }

    /// `WAIT`: until `wanted` replicas have acknowledged `offset`, or for at most `limit` (`None`: for ever). Answers how many have.
    pub async fn wait(&self, wanted: usize, offset: u64, limit: Option<Duration>) -> usize {
        self.wait_for(wanted, limit, || self.count_at(offset)).await
    }

    /// Tells when a replica has come, gone, or acknowledged something.
    pub fn news(&self) -> watch::Receiver<()> {
        self.acks.subscribe()
    }

    /// `WAITAOF`: the same, until they have `offset` on their disks.
    pub async fn wait_synced(&self, wanted: usize, offset: u64, limit: Option<Duration>) -> usize {
        self.wait_for(wanted, limit, || self.count_synced_at(offset))
            .await
    }

    async fn wait_for(
        &self,
        wanted: usize,
        limit: Option<Duration>,
        count: impl Fn() -> usize,
    ) -> usize {
        let deadline = limit.map(|limit| Instant::now() + limit);
        let mut acks = self.acks.subscribe();
        self.list()
            .iter()
            .for_each(|replica| replica.order(Order::AskAck));
        loop {
            acks.mark_unchanged();
            let reached = count();
            if reached >= wanted {
                return reached;
            }
            let changed = match deadline {
                Some(deadline) => timeout_at(deadline, acks.changed()).await,
                None => Ok(acks.changed().await),
            };
            if !matches!(changed, Ok(Ok(()))) {
                return count();
            }
        }
    }
}

/// A replica's entry, kept by its connection.
#[derive(Debug)]
pub struct Connected {
    replicas: Arc<Replicas>,
    number: u64,
    /// What others see of it.
    pub replica: Arc<Replica>,
    /// What others ask of the connection.
    pub inbox: mpsc::UnboundedReceiver<Order>,
}

impl Connected {
    /// The replica has acknowledged `offset`.
    pub fn acknowledge(&self, offset: u64) {
        self.replica.acknowledged.fetch_max(offset, Relaxed);
        self.replica.heard.store(clock::now(), Relaxed);
        self.replicas.acks.send_replace(());
    }

    /// The replica has everything up to `offset` on its disk.
    pub fn acknowledge_synced(&self, offset: u64) {
        self.replica.synced.fetch_max(offset, Relaxed);
        self.replicas.acks.send_replace(());
    }

    /// The full sync is over.
    pub fn set_online(&self) {
        self.replica.online.store(true, Relaxed);
        self.replicas.acks.send_replace(());
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.replicas.connected.lock().remove(&self.number);
        self.replicas.acks.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas() -> Arc<Replicas> {
        Arc::new(Replicas::default())
    }

    #[tokio::test]
    async fn wait_returns_as_soon_as_enough_replicas_have_acknowledged() {
        let replicas = replicas();
        let mut first = replicas.add(NodeId::new([1; 20]), "127.0.0.1".into(), 1);
        let second = replicas.add(NodeId::new([2; 20]), "127.0.0.1".into(), 2);
        first.set_online();
        second.set_online();
        let waiting = {
            let replicas = replicas.clone();
            tokio::spawn(async move { replicas.wait(2, 10, None).await })
        };
        assert_eq!(first.inbox.recv().await, Some(Order::AskAck));
        first.acknowledge(10);
        second.acknowledge(12);
        assert_eq!(waiting.await.expect("no panic"), 2);
        let most = replicas.most_advanced().expect("two are online");
        assert_eq!(most.node, second.replica.node);
    }

    #[test]
    fn only_a_replica_that_has_enough_sends_full_syncs() {
        let replicas = replicas();
        let add = |number: u8| replicas.add(NodeId::new([number; 20]), "127.0.0.1".into(), 1);
        let (first, second, foreign) =
            (add(1), add(2), replicas.add_foreign("127.0.0.1".into(), 1));
        foreign.set_online();
        foreign.acknowledge(100);
        let chosen = |newcomer: u8, offset| {
            let newcomer = NodeId::new([newcomer; 20]);
            replicas.sibling(newcomer, offset).map(|other| other.node)
        };
        assert_eq!(chosen(3, 0), None);
        first.set_online();
        first.acknowledge(100);
        second.acknowledge(200);
        assert_eq!(chosen(3, 100), Some(first.replica.node));
        assert_eq!(chosen(3, 101), None);
        assert_eq!(chosen(1, 0), None);
        second.set_online();
        assert_eq!(chosen(3, 101), Some(second.replica.node));
        assert_ne!(chosen(3, 50), chosen(4, 50));
    }

    #[test]
    fn a_replica_that_comes_back_counts_once() {
        let replicas = replicas();
        let node = NodeId::new([1; 20]);
        let old = replicas.add(node, "127.0.0.1".into(), 1);
        let new = replicas.add(node, "127.0.0.1".into(), 1);
        for connected in [&old, &new] {
            connected.set_online();
            connected.acknowledge(10);
        }
        assert_eq!(replicas.count_at(10), 1);
        drop(old);
        assert_eq!(replicas.count_at(10), 1);
    }

    #[tokio::test]
    async fn wait_answers_what_there_is_when_the_time_is_up() {
        let replicas = replicas();
        let first = replicas.add(NodeId::new([1; 20]), "127.0.0.1".into(), 1);
        first.set_online();
        first.acknowledge(5);
        let limit = Some(Duration::from_millis(50));
        assert_eq!(replicas.wait(1, 10, limit).await, 0);
        assert_eq!(replicas.wait(1, 5, limit).await, 1);
        drop(first);
        assert_eq!(replicas.wait(0, 5, limit).await, 0);
    }
}
