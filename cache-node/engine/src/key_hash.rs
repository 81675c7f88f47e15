//! Hashes of keys.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use foldhash::quality::FixedState;

/// A key's hash, with a seed of the process, so that nobody outside can choose keys that collide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

static STATE: LazyLock<FixedState> = LazyLock::new(|| {
    // Whoever fuzzes wants an input to do the same again.
    let seed = if cfg!(fuzzing) {
        0
    } else {
        RandomState::new().build_hasher().finish()
    };
    FixedState::with_seed(seed)
});

impl KeyHash {
    /// The hash of `key`.
    #[inline]
    pub fn of(key: &[u8]) -> Self {
        let mut hasher = STATE.build_hasher();
        hasher.write(key);
        Self(hasher.finish())
    }

    /// 16 bits of the hash, the first of them behind `depth` leading ones.
    #[inline]
    pub(crate) fn bits(self, depth: u8) -> u16 {
        (self.0 << depth >> 48) as u16
    }

    /// The `depth` leading bits.
    #[inline]
    pub(crate) fn prefix(self, depth: u8) -> usize {
        if depth == 0 {
            0
        } else {
            (self.0 >> (64 - u32::from(depth))) as usize
        }
    }
}
