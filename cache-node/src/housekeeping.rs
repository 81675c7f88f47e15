//! What is done regularly: each worker looks after its share of the slots, the control thread after the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use cache_eviction::Access;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock;
use crate::eviction;
use crate::net::Share;
use crate::node::Node;
use crate::process;
use crate::replication::psync;
use crate::slot::SlotId;
use crate::store::KeyHash;

/// Time between two rounds of a worker.
const ROUND: Duration = Duration::from_millis(100);

/// A worker removes expired keys for so long before it looks after its connections again.
const SLICE: Duration = Duration::from_millis(1);

/// Keys that the sweep over the eviction policy's marks goes over in a round, if it is time.
const SWEPT: usize = 1 << 16;

/// Buckets looked into under one lock.
const BUCKETS: usize = 16;

/// The log is kept so long after its last reader has gone, for it to come back.
const LOG_KEPT: Duration = Duration::from_secs(3600);

/// Looks after a worker's share of the slots until the task is ended.
pub(crate) async fn keep_slots(share: Arc<Share>) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        share.stats.last_round.store(clock::now(), Relaxed);
        expire_due(&share).await;
        keep_headroom(&share.node).await;
        eviction::sweep(&share.node, SWEPT);
        share.node.store.memory().publish();
    }
}

/// Makes a little room under `maxmemory` before anybody needs it.
async fn keep_headroom(node: &Node) {
    let limit = node.memory_limit();
    if node.persistence.is_loading() || node.shutdown.is_closing() {
        return;
    }
    while limit > 0 && eviction::keep_headroom(node, limit) {
        tokio::task::yield_now().await;
    }
}

async fn expire_due(share: &Share) {
    let node = &share.node;
    // While commands of the append-only file are executed, those decide what is there.
    let loading = node.persistence.is_loading();
    // Nothing changes any more once clients are gone: what is saved then is the end, for replicas as well.
    let closing = node.shutdown.is_closing();
    if loading || closing || !node.active_expiry.load(Relaxed) || node.pause.is_on() {
        return;
    }
    let now = clock::now();
    let mut began = Instant::now();
    for slot in SlotId::all().skip(share.index).step_by(share.count) {
        while node.store.has_due(slot, now) && !node.store.is_paused(slot) && node.rules(slot) {
            if !expire_slot(share, slot, now).await {
                break;
            }
            if began.elapsed() > SLICE {
                tokio::task::yield_now().await;
                began = Instant::now();
            }
        }
    }
}

/// Removes some expired keys of a slot; true when there may be more.
async fn expire_slot(share: &Share, slot: SlotId, now: clock::Millis) -> bool {
    let node = &share.node;
    let mut removed = 0;
    let usage = node.eviction.usage(now);
    let more = {
        let mut guard = node.store.lock(slot).await;
        // It may have been paused or handed over while this waited for the lock.
        if node.store.is_paused(slot) || !node.rules(slot) || node.shutdown.is_closing() {
            return false;
        }
        guard.expire_due(now, BUCKETS, |key| {
            removed += 1;
            node.log_removal(slot, key);
            let hash = KeyHash::of(key);
            if usage.observed(hash) {
                node.eviction.observe(hash, Access::Remove);
            }
        })
    };
    share.stats.count_expired(removed);
    more
}

/// Looks after the process until the task is ended: rates, idle clients, the log.
pub(crate) async fn keep_process(node: Arc<Node>) {
    let mut rounds = interval(Duration::from_secs(1));
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calls = node.stats.total_calls();
    let mut last_read = Instant::now();
    let baseline = process::resident_bytes().saturating_sub(node.store.memory().used());
    loop {
        rounds.tick().await;
        let memory = node.store.memory();
        node.eviction.keep(memory);
        let (ghosts, auto) = node.eviction.bytes();
        node.pressure.measure(
            node.memory_limit(),
            memory.used() + ghosts + auto,
            node.overhead(),
            baseline,
        );
        let before = std::mem::replace(&mut calls, node.stats.total_calls());
        let rate = calls.saturating_sub(before);
        node.stats.rate.store(rate, Relaxed);
        node.clients.keep(&node.config.get(), clock::now());
        node.persistence.keep(&node);
        psync::ping(&node);
        if node.log.readers() > 0 {
            last_read = Instant::now();
        } else if last_read.elapsed() > LOG_KEPT && !node.is_replica() {
            node.log.release();
        }
    }
}
