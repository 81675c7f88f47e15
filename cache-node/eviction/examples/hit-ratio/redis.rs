//! Redis's approximations of LRU and LFU, modelled on its source: per eviction, `maxmemory-samples` random keys go into a pool of 16
//! ordered by idle time as it was when they were sampled, and the best that still exists goes.

use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::cache::Cache;

const POOL_SIZE: usize = 16;
const SAMPLES: usize = 5;
const LFU_INITIAL: u8 = 5;
const LFU_LOG_FACTOR: f64 = 10.0;
const ABSENT: u32 = u32::MAX;

/// What idle time means.
#[derive(Clone, Copy)]
pub(crate) enum Order {
    /// Requests since the last use. Redis counts seconds.
    Lru,
    /// 255 minus the counter, which falls by one every so many requests if that is given.
    Lfu { requests_per_decay: Option<u64> },
}

pub(crate) struct Redis {
    order: Order,
    costs: Vec<u32>,
    /// Position in `resident`, or `ABSENT`.
    position: Vec<u32>,
    resident: Vec<u32>,
    /// LRU: when used last. LFU: when decayed last, in decay periods.
    time: Vec<u64>,
    counter: Vec<u8>,
    /// Ascending by idle time.
    pool: Vec<(u64, u32)>,
    now: u64,
    random: StdRng,
    used: u64,
    capacity: u64,
}

impl Redis {
    pub(crate) fn new(order: Order, costs: Vec<u32>, capacity: u64, seed: u64) -> Self {
        let objects = costs.len();
        Self {
            order,
            costs,
            position: vec![ABSENT; objects],
            resident: Vec::new(),
            time: vec![0; objects],
            counter: vec![0; objects],
            pool: Vec::with_capacity(POOL_SIZE + 1),
            now: 0,
            random: StdRng::seed_from_u64(seed),
            used: 0,
            capacity,
        }
    }

    fn minute(&self) -> u64 {
        match self.order {
            Order::Lfu {
                requests_per_decay: Some(requests),
            } => self.now / requests,
            _ => 0,
        }
    }

    fn decayed(&self, id: u32) -> u8 {
        let minutes = self.minute() - self.time[id as usize];
        self.counter[id as usize].saturating_sub(u8::try_from(minutes).unwrap_or(u8::MAX))
    }

    fn reuse(&mut self, id: u32) {
        if let Order::Lru = self.order {
            self.time[id as usize] = self.now;
            return;
        }
        let counter = self.decayed(id);
        let odds = 1.0 / (f64::from(counter.saturating_sub(LFU_INITIAL)) * LFU_LOG_FACTOR + 1.0);
        let raised = counter < u8::MAX && self.random.random::<f64>() < odds;
        self.counter[id as usize] = counter + u8::from(raised);
        self.time[id as usize] = self.minute();
    }

    fn idle(&self, id: u32) -> u64 {
        match self.order {
            Order::Lru => self.now - self.time[id as usize],
            Order::Lfu { .. } => u64::from(u8::MAX - self.decayed(id)),
        }
    }

    fn sample(&mut self) {
        for _ in 0..SAMPLES {
            let id = self.resident[self.random.random_range(0..self.resident.len())];
            let idle = self.idle(id);
            let at = self.pool.partition_point(|(pooled, _)| *pooled < idle);
            if self.pool.len() < POOL_SIZE {
                self.pool.insert(at, (idle, id));
            } else if at > 0 {
                self.pool.insert(at, (idle, id));
                self.pool.remove(0);
            }
        }
    }

    fn evict(&mut self) {
        self.sample();
        while let Some((_, id)) = self.pool.pop() {
            let position = std::mem::replace(&mut self.position[id as usize], ABSENT);
            if position != ABSENT {
                self.resident.swap_remove(position as usize);
                if let Some(moved) = self.resident.get(position as usize) {
                    self.position[*moved as usize] = position;
                }
                self.used -= u64::from(self.costs[id as usize]);
                return;
            }
        }
    }
}

impl Cache for Redis {
    fn request(&mut self, id: u32) -> bool {
        self.now += 1;
        if self.position[id as usize] != ABSENT {
            self.reuse(id);
            return true;
        }
        let cost = u64::from(self.costs[id as usize]);
        if cost > self.capacity {
            return false;
        }
        while self.used + cost > self.capacity {
            self.evict();
        }
        self.position[id as usize] = self.resident.len() as u32;
        self.resident.push(id);
        self.counter[id as usize] = LFU_INITIAL;
        self.time[id as usize] = if let Order::Lru = self.order {
            self.now
        } else {
            self.minute()
        };
        self.used += cost;
        false
    }

    fn used(&self) -> u64 {
        self.used
    }
}
