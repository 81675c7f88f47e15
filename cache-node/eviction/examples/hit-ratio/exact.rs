//! Reference policies that keep exact order: FIFO, LRU, S3-FIFO, and Belady's optimum.

use std::collections::{BinaryHeap, VecDeque};

use crate::cache::Cache;

const NONE: u32 = u32::MAX;

/// Objects by age, with removal from the middle: a doubly linked list in two arrays.
struct List {
    newer: Vec<u32>,
    older: Vec<u32>,
    newest: u32,
    oldest: u32,
}

impl List {
    fn new(objects: usize) -> Self {
        Self {
            newer: vec![NONE; objects],
            older: vec![NONE; objects],
            newest: NONE,
            oldest: NONE,
        }
    }

    fn push(&mut self, id: u32) {
        let old = self.newest;
        self.newer[id as usize] = NONE;
        self.older[id as usize] = old;
        self.newest = id;
        match old {
            NONE => self.oldest = id,
            old => self.newer[old as usize] = id,
        }
    }

    fn remove(&mut self, id: u32) {
        let (newer, older) = (self.newer[id as usize], self.older[id as usize]);
        match newer {
            NONE => self.newest = older,
            newer => self.older[newer as usize] = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.newer[older as usize] = newer,
        }
    }

    fn pop_oldest(&mut self) -> Option<u32> {
        let oldest = self.oldest;
        (oldest != NONE)
            .then(|| self.remove(oldest))
            .map(|()| oldest)
    }
}

/// Exact LRU, or FIFO if uses do not move an object.
pub(crate) struct Recency {
    costs: Vec<u32>,
    resident: Vec<bool>,
    list: List,
    uses_count: bool,
    used: u64,
    capacity: u64,
}

impl Recency {
    pub(crate) fn lru(costs: Vec<u32>, capacity: u64) -> Self {
        let objects = costs.len();
        Self {
            costs,
            resident: vec![false; objects],
            list: List::new(objects),
            uses_count: true,
            used: 0,
            capacity,
        }
    }

    pub(crate) fn fifo(costs: Vec<u32>, capacity: u64) -> Self {
        Self {
            uses_count: false,
            ..Self::lru(costs, capacity)
        }
    }
}

impl Cache for Recency {
    fn request(&mut self, id: u32) -> bool {
        let cost = u64::from(self.costs[id as usize]);
        if self.resident[id as usize] {
            if self.uses_count {
                self.list.remove(id);
                self.list.push(id);
            }
            return true;
        }
        if cost > self.capacity {
            return false;
        }
        while self.used + cost > self.capacity {
            let Some(oldest) = self.list.pop_oldest() else {
                break;
            };
            self.resident[oldest as usize] = false;
            self.used -= u64::from(self.costs[oldest as usize]);
        }
        self.list.push(id);
        self.resident[id as usize] = true;
        self.used += cost;
        false
    }

    fn used(&self) -> u64 {
        self.used
    }
}

/// Where S3-FIFO has an object.
#[derive(Clone, Copy, PartialEq)]
enum Queue {
    Absent,
    Ghost,
    Small,
    Main,
}

/// Exact S3-FIFO: a small queue of 10 %, a main queue, a ghost queue of 90 %; two uses promote.
pub(crate) struct S3Fifo {
    costs: Vec<u32>,
    queue: Vec<Queue>,
    uses: Vec<u8>,
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    /// With the number of times that the object had been put in, so that a second entry is told from the first.
    ghost: VecDeque<(u32, u32)>,
    ghosted: Vec<u32>,
    small_used: u64,
    main_used: u64,
    ghost_used: u64,
    capacity: u64,
}

impl S3Fifo {
    pub(crate) fn new(costs: Vec<u32>, capacity: u64) -> Self {
        let objects = costs.len();
        Self {
            costs,
            queue: vec![Queue::Absent; objects],
            uses: vec![0; objects],
            small: VecDeque::new(),
            main: VecDeque::new(),
            ghost: VecDeque::new(),
            ghosted: vec![0; objects],
            small_used: 0,
            main_used: 0,
            ghost_used: 0,
            capacity,
        }
    }

    fn cost(&self, id: u32) -> u64 {
        u64::from(self.costs[id as usize])
    }

    fn push_small(&mut self, id: u32) {
        self.small_used += self.cost(id);
        self.queue[id as usize] = Queue::Small;
        self.small.push_back(id);
    }

    fn push_main(&mut self, id: u32) {
        self.main_used += self.cost(id);
        self.queue[id as usize] = Queue::Main;
        self.main.push_back(id);
    }

    fn push_ghost(&mut self, id: u32) {
        self.ghosted[id as usize] += 1;
        self.ghost_used += self.cost(id);
        self.queue[id as usize] = Queue::Ghost;
        self.ghost.push_back((id, self.ghosted[id as usize]));
        while self.ghost_used > self.capacity * 9 / 10 {
            let Some((old, nth)) = self.ghost.pop_front() else {
                break;
            };
            self.ghost_used -= self.cost(old);
            if self.queue[old as usize] == Queue::Ghost && self.ghosted[old as usize] == nth {
                self.queue[old as usize] = Queue::Absent;
            }
        }
    }

    fn evict(&mut self) {
        let from_small = self.small_used > self.capacity / 10 || self.main.is_empty();
        let queue = if from_small {
            &mut self.small
        } else {
            &mut self.main
        };
        let Some(id) = queue.pop_front() else { return };
        let uses = std::mem::take(&mut self.uses[id as usize]);
        if from_small {
            self.small_used -= self.cost(id);
            if uses >= 2 {
                self.push_main(id);
            } else {
                self.push_ghost(id);
            }
        } else {
            self.main_used -= self.cost(id);
            if uses > 0 {
                self.uses[id as usize] = uses - 1;
                self.push_main(id);
            } else {
                self.queue[id as usize] = Queue::Absent;
            }
        }
    }
}

impl Cache for S3Fifo {
    fn request(&mut self, id: u32) -> bool {
        let queue = self.queue[id as usize];
        if matches!(queue, Queue::Small | Queue::Main) {
            self.uses[id as usize] = (self.uses[id as usize] + 1).min(3);
            return true;
        }
        if self.cost(id) > self.capacity {
            return false;
        }
        while self.used() + self.cost(id) > self.capacity {
            self.evict();
        }
        self.uses[id as usize] = 0;
        // Making room may have pushed the object out of the ghost.
        if self.queue[id as usize] == Queue::Ghost {
            self.push_main(id);
        } else {
            self.push_small(id);
        }
        false
    }

    fn used(&self) -> u64 {
        self.small_used + self.main_used
    }
}

/// Belady's optimum, blind to sizes: what is asked for again the latest goes.
pub(crate) struct Belady {
    costs: Vec<u32>,
    /// For each request, when its object is asked for next.
    next: Vec<u32>,
    at: usize,
    /// When each object is asked for next, `None` if it is not resident.
    resident: Vec<Option<u32>>,
    latest: BinaryHeap<(u32, u32)>,
    used: u64,
    capacity: u64,
}

impl Belady {
    pub(crate) fn new(requests: &[u32], costs: Vec<u32>, capacity: u64) -> Self {
        let objects = costs.len();
        let mut upcoming = vec![NONE; objects];
        let mut next = vec![NONE; requests.len()];
        for (at, id) in requests.iter().enumerate().rev() {
            next[at] = upcoming[*id as usize];
            upcoming[*id as usize] = at as u32;
        }
        Self {
            costs,
            next,
            at: 0,
            resident: vec![None; objects],
            latest: BinaryHeap::new(),
            used: 0,
            capacity,
        }
    }
}

impl Cache for Belady {
    fn request(&mut self, id: u32) -> bool {
        let next = self.next[self.at];
        self.at += 1;
        let cost = u64::from(self.costs[id as usize]);
        let hit = self.resident[id as usize].is_some();
        if !hit {
            if cost > self.capacity {
                return false;
            }
            while self.used + cost > self.capacity {
                let Some((when, latest)) = self.latest.pop() else {
                    break;
                };
                // Otherwise the object was asked for since and has another entry.
                if self.resident[latest as usize] == Some(when) {
                    self.resident[latest as usize] = None;
                    self.used -= u64::from(self.costs[latest as usize]);
                }
            }
            self.used += cost;
        }
        self.resident[id as usize] = Some(next);
        self.latest.push((next, id));
        hit
    }

    fn used(&self) -> u64 {
        self.used
    }
}
