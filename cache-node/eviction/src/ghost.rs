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
