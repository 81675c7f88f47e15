//! What is done regularly: each worker looks after its share of the slots, the control thread after the rest.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use crate::clock;
use crate::eviction;
use crate::net::Share;
use crate::node::Node;
use crate::process;
use crate::slot::{SLOT_COUNT, SlotId};

/// Time between two rounds of a worker.
const ROUND: Duration = Duration::from_millis(100);

/// A worker removes expired keys for so long before it looks after its connections again.
const SLICE: Duration = Duration::from_millis(1);

/// Buckets looked into under one lock.
const BUCKETS: usize = 16;

/// The log is kept so long after its last reader has gone, for it to come back.
const LOG_KEPT: Duration = Duration::from_secs(3600);

/// Looks after a worker's share of the slots until the task is ended.
pub(crate) async fn keep_slots(share: Arc<Share>) {
    let mut rounds = interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut swept = Swept::default();
    loop {
        rounds.tick().await;
        share.stats.last_round.store(clock::now(), Relaxed);
        expire_due(&share).await;
        let limit = share.node.memory_limit();
        if limit > 0 {
            eviction::keep_headroom(&share.node, limit);
        }
        sweep_marks(&share, &mut swept).await;
        share.node.store.memory().publish();
    }
}

async fn expire_due(share: &Share) {
    let node = &share.node;
    if !node.active_expiry.load(Relaxed) || node.pause.is_on() {
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

/// How far the sweep over the eviction policy's marks has come.
#[derive(Default)]
struct Swept {
    /// The eviction clock's tick, or the minute, at which the present sweep began.
    tick: u32,
    minute: u64,
    next: usize,
}

/// A sweep begins after so many ticks, or minutes; marks stay right for twice as long.
const SWEEP_TICKS: u32 = 128;
const SWEEP_MINUTES: u64 = 10;

/// Slots swept in a round.
const SWEEP_SLOTS: usize = 256;

/// Keeps the marks of the eviction policy from wrapping round: goes over this worker's slots, some in each round, when it is time.
async fn sweep_marks(share: &Share, swept: &mut Swept) {
    let node = &share.node;
    if swept.next >= SLOT_COUNT {
        let (ticks, minute) = (node.eviction.ticks(), clock::now() / 60_000);
        if ticks.wrapping_sub(swept.tick) < SWEEP_TICKS && minute < swept.minute + SWEEP_MINUTES {
            return;
        }
        *swept = Swept {
            tick: ticks,
            minute,
            next: share.index,
        };
    }
    let usage = node.eviction.usage(clock::now());
    let slots = (swept.next..SLOT_COUNT).step_by(share.count);
    for number in slots.take(SWEEP_SLOTS) {
        swept.next = number + share.count;
        let Some(slot) = SlotId::new(number as u16) else {
            continue;
        };
        if node.store.keys_in(slot) > 0 {
            node.store.lock(slot).await.sweep_marks(&usage);
        }
    }
}

/// Removes some expired keys of a slot; true when there may be more.
async fn expire_slot(share: &Share, slot: SlotId, now: clock::Millis) -> bool {
    let node = &share.node;
    let mut removed = 0;
    let more = {
        let mut guard = node.store.lock(slot).await;
        // It may have been paused or handed over while this waited for the lock.
        if node.store.is_paused(slot) || !node.rules(slot) {
            return false;
        }
        guard.expire_due(now, BUCKETS, |key| {
            removed += 1;
            node.log_removal(slot, key);
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
    let mut inserted = 0;
    let baseline = process::resident_bytes().saturating_sub(node.store.memory().used());
    loop {
        rounds.tick().await;
        let memory = node.store.memory();
        node.eviction
            .keep(memory.keys(), memory.used(), &mut inserted);
        node.pressure.measure(
            node.memory_limit(),
            memory.used(),
            node.overhead(),
            baseline,
        );
        let before = std::mem::replace(&mut calls, node.stats.total_calls());
        let rate = calls.saturating_sub(before);
        node.stats.rate.store(rate, Relaxed);
        let timeout = node.config.get().timeout;
        if timeout > 0 {
            let limit = clock::now().saturating_sub(timeout * 1000);
            node.clients.end_idle(limit);
        }
        if node.log.readers() > 0 {
            last_read = Instant::now();
        } else if last_read.elapsed() > LOG_KEPT {
            node.log.release();
        }
    }
}
