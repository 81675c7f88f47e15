//! Replays a trace through caches, several at a time.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    cache::{Contender, Options},
    trace::Trace,
};

/// What the size of a cache is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Every object costs 1.
    Objects,
    /// An object costs its size and this many bytes.
    Bytes { overhead: u32 },
}

impl Unit {
    pub(crate) fn cost(self, size: u32) -> u32 {
        match self {
            Self::Objects => 1,
            Self::Bytes { overhead } => size.saturating_add(overhead),
        }
    }
}

/// Share of requests, and of the bytes asked for, that were not in the cache.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MissRatio {
    pub(crate) objects: f64,
    pub(crate) bytes: f64,
}

/// One trace at one size, under every contender in their order.
pub(crate) struct Cell {
    pub(crate) trace: String,
    pub(crate) requests: usize,
    pub(crate) objects: usize,
    /// As it was asked for.
    pub(crate) size: String,
    pub(crate) capacity: u64,
    pub(crate) ratios: Vec<MissRatio>,
}

/// A cache size to replay at: its name and its capacity.
pub(crate) type Sized = (String, u64);

/// Replays every contender at every size; `progress` is called after each replay with how many are done of how many.
pub(crate) fn replay_all(
    trace: &Trace,
    unit: Unit,
    sizes: &[Sized],
    contenders: &[Contender],
    options: &Options,
    threads: usize,
    progress: impl Fn(usize, usize) + Sync,
) -> Vec<Cell> {
    let costs: Vec<u32> = trace.sizes.iter().map(|size| unit.cost(*size)).collect();
    let total = sizes.len() * contenders.len();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results = Mutex::new(vec![
        MissRatio {
            objects: f64::NAN,
            bytes: f64::NAN
        };
        total
    ]);
    thread::scope(|scope| {
        for _ in 0..threads.min(total) {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, Ordering::Relaxed);
                    if job >= total {
                        break;
                    }
                    let capacity = sizes[job / contenders.len()].1;
                    let ratio = replay(
                        trace,
                        &costs,
                        capacity,
                        contenders[job % contenders.len()],
                        options,
                    );
                    results.lock().unwrap_or_else(PoisonError::into_inner)[job] = ratio;
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1, total);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let cell = |(at, (size, capacity)): (usize, &Sized)| Cell {
        trace: trace.name.clone(),
        requests: trace.requests.len(),
        objects: trace.sizes.len(),
        size: size.clone(),
        capacity: *capacity,
        ratios: results[at * contenders.len()..][..contenders.len()].to_vec(),
    };
    sizes.iter().enumerate().map(cell).collect()
}

fn replay(
    trace: &Trace,
    costs: &[u32],
    capacity: u64,
    contender: Contender,
    options: &Options,
) -> MissRatio {
    let mut cache = contender.build(trace, costs.to_vec(), capacity, options);
    let (mut misses, mut missed_bytes, mut bytes) = (0u64, 0u64, 0u64);
    for id in &trace.requests {
        let size = u64::from(trace.sizes[*id as usize]);
        let hit = cache.request(*id);
        bytes += size;
        misses += u64::from(!hit);
        missed_bytes += if hit { 0 } else { size };
        assert!(
            cache.used() <= capacity,
            "{contender} holds more than its capacity"
        );
    }
    MissRatio {
        objects: misses as f64 / trace.requests.len() as f64,
        bytes: missed_bytes as f64 / bytes as f64,
    }
}
