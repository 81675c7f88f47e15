//! The memory of keys that were evicted lately: a key that comes back soon after it left was worth keeping.
//!
//! Owns 12-bit fingerprints in buckets of eight, oldest first out within a bucket; must never hold a key. One key in about 500 that
//! was not evicted lately is taken for one that was.

/// Fingerprints a bucket.
const WAYS: usize = 8;
const FINGERPRINT_BITS: u32 = 12;
const FINGERPRINT_MASK: u128 = (1 << FINGERPRINT_BITS) - 1;
const BUCKET_BYTES: usize = WAYS * FINGERPRINT_BITS as usize / 8;
const BUCKET_MASK: u128 = (1 << (8 * BUCKET_BYTES)) - 1;

/// Fingerprints for every 100 resident keys. Half of it costs 1 to 2 % more misses; twice as many gain nothing.
const FINGERPRINTS_PERCENT: u64 = 88;

/// The fingerprints of keys evicted lately.
#[derive(Clone, Debug, Default)]
pub struct Ghost {
    /// Eight fingerprints each, the newest in the lowest bits, 0 for none.
    buckets: Vec<[u8; BUCKET_BYTES]>,
}

impl Ghost {
    /// A ghost of the right size for this many resident keys.
    pub fn for_keys(keys: u64) -> Self {
        Self {
            buckets: vec![[0; BUCKET_BYTES]; buckets_for(keys)],
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * BUCKET_BYTES
    }

    /// Follows the number of resident keys once it has changed by more than an eighth. Most of what was remembered still is.
    /// Allocates, and takes a pass over the ghost.
    pub fn resize(&mut self, keys: u64) {
        let (old, new) = (self.buckets.len(), buckets_for(keys));
        if new.abs_diff(old) * 8 <= old {
            return;
        }
        // Buckets divide the range of hashes among them in order: what was in a bucket is now in the buckets of the same part of the
        // range, which of them is not known.
        let from = |at: usize| {
            self.buckets
                .get((at as u64 * old as u64 / new as u64) as usize)
                .copied()
                .unwrap_or_default()
        };
        self.buckets = (0..new).map(from).collect();
    }

    /// Remembers an evicted key, forgetting the oldest of its bucket.
    pub fn remember(&mut self, hash: u64) {
        if let Some((at, fingerprint)) = self.find(hash) {
            let bucket = self.load(at) << FINGERPRINT_BITS | fingerprint;
            self.store(at, bucket);
        }
    }

    /// Whether the key is remembered; it no longer is afterwards.
    pub fn take(&mut self, hash: u64) -> bool {
        let Some((at, fingerprint)) = self.find(hash) else {
            return false;
        };
        let bucket = self.load(at);
        let way = |way: usize| way as u32 * FINGERPRINT_BITS;
        let Some(found) = (0..WAYS).find(|i| bucket >> way(*i) & FINGERPRINT_MASK == fingerprint)
        else {
            return false;
        };
        let newer = bucket & ((1 << way(found)) - 1);
        let older = bucket >> way(found + 1) << way(found);
        self.store(at, older | newer);
        true
    }

    fn find(&self, hash: u64) -> Option<(usize, u128)> {
        // Mixed, because the caller's table may have used up some bits of the hash to choose the ghost.
        let mixed = (hash ^ hash >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let at = ((mixed >> 32) * self.buckets.len() as u64) >> 32;
        let fingerprint = u128::from(mixed) & FINGERPRINT_MASK;
        (!self.buckets.is_empty()).then_some((at as usize, fingerprint.max(1)))
    }

    fn load(&self, at: usize) -> u128 {
        let mut bytes = [0; 16];
        bytes[..BUCKET_BYTES].copy_from_slice(&self.buckets[at]);
        u128::from_le_bytes(bytes)
    }

    fn store(&mut self, at: usize, bucket: u128) {
        let bytes = (bucket & BUCKET_MASK).to_le_bytes();
        self.buckets[at].copy_from_slice(&bytes[..BUCKET_BYTES]);
    }
}

fn buckets_for(keys: u64) -> usize {
    (keys * FINGERPRINTS_PERCENT).div_ceil(100 * WAYS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng, rngs::StdRng};

    fn hashes(seed: u64) -> impl Iterator<Item = u64> {
        let mut random = StdRng::seed_from_u64(seed);
        std::iter::repeat_with(move || random.random())
    }

    fn remembered(ghost: &mut Ghost, hashes: &[u64]) -> usize {
        hashes.iter().filter(|hash| ghost.take(**hash)).count()
    }

    #[test]
    fn a_remembered_key_is_taken_once() {
        let mut ghost = Ghost::for_keys(1000);
        for hash in hashes(1).take(100) {
            ghost.remember(hash);
            assert!(ghost.take(hash));
            assert!(!ghost.take(hash));
        }
    }

    #[test]
    fn the_newest_of_a_bucket_are_kept_and_the_oldest_forgotten() {
        let mut ghost = Ghost::for_keys(1);
        assert_eq!(ghost.heap_bytes(), 12);
        let keys: Vec<u64> = hashes(2).take(10).collect();
        keys.iter().for_each(|hash| ghost.remember(*hash));
        assert_eq!(remembered(&mut ghost, &keys[..2]), 0);
        // Taking one from the middle leaves the others.
        assert!(ghost.take(keys[5]));
        assert_eq!(remembered(&mut ghost, &keys[2..]), 7);
    }

    #[test]
    fn about_as_many_keys_are_remembered_as_there_is_room_for() {
        let mut ghost = Ghost::for_keys(10_000);
        let keys: Vec<u64> = hashes(3).take(8_800).collect();
        keys.iter().for_each(|hash| ghost.remember(*hash));
        assert!(remembered(&mut ghost, &keys) > 7_000);
    }

    #[test]
    fn few_strangers_are_taken_for_remembered_keys() {
        let mut ghost = Ghost::for_keys(10_000);
        hashes(4).take(50_000).for_each(|hash| ghost.remember(hash));
        let strangers: Vec<u64> = hashes(5).take(10_000).collect();
        assert!(remembered(&mut ghost, &strangers) < 40);
    }

    #[test]
    fn growth_forgets_nothing_and_shrinking_keeps_a_part() {
        let mut ghost = Ghost::for_keys(10_000);
        let keys: Vec<u64> = hashes(6).take(3_000).collect();
        keys.iter().for_each(|hash| ghost.remember(*hash));
        let before = remembered(&mut ghost.clone(), &keys);
        ghost.resize(10_500);
        assert_eq!(ghost.heap_bytes(), Ghost::for_keys(10_000).heap_bytes());
        ghost.resize(20_000);
        assert!(remembered(&mut ghost.clone(), &keys) * 100 >= before * 99);
        ghost.resize(10_000);
        assert!(remembered(&mut ghost, &keys) * 100 >= before * 45);
    }

    #[test]
    fn an_empty_ghost_remembers_nothing() {
        let mut ghost = Ghost::default();
        ghost.remember(1);
        assert!(!ghost.take(1));
        ghost.resize(100);
        ghost.remember(1);
        assert!(ghost.take(1));
    }

    #[test]
    fn it_takes_less_than_eleven_bits_a_key() {
        assert!(Ghost::for_keys(1_000_000).heap_bytes() * 8 < 10_600_000);
    }
}
