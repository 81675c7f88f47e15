//! The memory of keys evicted lately, in stripes with a lock each, so that workers seldom meet.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use cache_eviction::Ghost;
use parking_lot::Mutex;

use crate::store::KeyHash;

/// Most stripes.
const STRIPES: usize = 64;
/// There are no more stripes than one for so many keys: in smaller ones buckets would be filled unevenly.
const KEYS_A_STRIPE: usize = 1024;
/// The number of stripes follows the number of keys once that is so many times more or less; what was remembered is lost.
const TOLERANCE: usize = 4;

/// Ghosts, chosen by the keys' hashes.
#[derive(Default)]
pub(super) struct Ghosts {
    /// Whether anything is remembered; changes to true and false under no lock, and is asked under each.
    on: AtomicBool,
    stripes: Box<[Mutex<Ghost>]>,
    /// Stripes in use: a power of two.
    used: AtomicUsize,
    /// Keys for which each stripe is to have room.
    keys_each: AtomicU64,
    bytes: AtomicUsize,
}

impl Ghosts {
    pub(super) fn new() -> Self {
        Self {
            stripes: (0..STRIPES).map(|_| Mutex::default()).collect(),
            used: AtomicUsize::new(1),
            ..Self::default()
        }
    }

    fn stripe(&self, hash: KeyHash) -> &Mutex<Ghost> {
        &self.stripes[hash.0 as usize & (self.used.load(Relaxed) - 1)]
    }

    /// Whether the key is remembered; it no longer is afterwards.
    pub(super) fn take(&self, hash: KeyHash) -> bool {
        self.on.load(Relaxed) && self.stripe(hash).lock().take(hash.0)
    }

    /// Remembers an evicted key.
    pub(super) fn remember(&self, hash: KeyHash) {
        if !self.on.load(Relaxed) {
            return;
        }
        let mut ghost = self.stripe(hash).lock();
        if !self.on.load(Relaxed) {
            return;
        }
        let before = ghost.heap_bytes();
        ghost.resize(self.keys_each.load(Relaxed));
        self.bytes.fetch_add(ghost.heap_bytes(), Relaxed);
        self.bytes.fetch_sub(before, Relaxed);
        ghost.remember(hash.0);
    }

    /// Begins to remember, or follows the number of keys. Each stripe changes its size when it is next used.
    pub(super) fn follow(&self, keys: usize) {
        let wanted = (keys / KEYS_A_STRIPE).clamp(1, STRIPES).next_power_of_two();
        let used = self.used.load(Relaxed);
        if wanted >= used * TOLERANCE || used >= wanted * TOLERANCE || !self.on.load(Relaxed) {
            self.forget();
            self.used.store(wanted, Relaxed);
        }
        let each = (keys / self.used.load(Relaxed)).max(1);
        self.keys_each.store(each as u64, Relaxed);
        self.on.store(true, Relaxed);
    }

    /// Forgets everything, and remembers nothing any more.
    pub(super) fn forget(&self) {
        self.on.store(false, Relaxed);
        for stripe in &self.stripes {
            let mut ghost = stripe.lock();
            self.bytes.fetch_sub(ghost.heap_bytes(), Relaxed);
            *ghost = Ghost::default();
        }
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(keys: u32) -> impl Iterator<Item = KeyHash> {
        (0..keys).map(|key| KeyHash::of(&key.to_le_bytes()))
    }

    fn remembered(ghosts: &Ghosts, keys: u32) -> usize {
        hashes(keys).filter(|hash| ghosts.take(*hash)).count()
    }

    #[test]
    fn nothing_is_remembered_until_it_follows_a_number_of_keys() {
        let ghosts = Ghosts::new();
        hashes(100).for_each(|hash| ghosts.remember(hash));
        assert_eq!((remembered(&ghosts, 100), ghosts.bytes()), (0, 0));
    }

    #[test]
    fn about_as_many_keys_are_remembered_as_are_there() {
        for keys in [100, 1_000, 50_000, 500_000] {
            let ghosts = Ghosts::new();
            ghosts.follow(keys);
            hashes(keys as u32 / 2).for_each(|hash| ghosts.remember(hash));
            let found = remembered(&ghosts, keys as u32 / 2);
            assert!(found > keys / 2 * 8 / 10, "{found} of {keys}");
            let bits = ghosts.bytes() as f64 * 8.0 / keys as f64;
            assert!((10.0..12.0).contains(&bits), "{bits} bits a key of {keys}");
            ghosts.forget();
            assert_eq!(ghosts.bytes(), 0);
        }
    }

    #[test]
    fn what_is_remembered_survives_a_small_change_of_size() {
        let ghosts = Ghosts::new();
        ghosts.follow(20_000);
        hashes(10_000).for_each(|hash| ghosts.remember(hash));
        ghosts.follow(30_000);
        assert!(remembered(&ghosts, 10_000) > 8_000);
    }
}
