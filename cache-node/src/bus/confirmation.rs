//! What voters confirm to a leader: that it leads, for primaries of certain shards, which have asked for leases.
//!
//! The question and the answer are the context of Raft's heartbeats, so shards are named by few bytes of their ids.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::topology::ShardId;

/// A shard, by the first bytes of its id, which is random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ShardTag(u32);

impl ShardTag {
    pub(super) fn of(shard: ShardId) -> Self {
        Self::decode(shard.bytes().first_chunk().expect("20 bytes are enough"))
    }

    fn decode(bytes: &[u8; size_of::<u32>()]) -> Self {
        Self(u32::from_be_bytes(*bytes))
    }
}

/// "I still lead", for the primaries of these shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Confirmation {
    /// The leader's number for it.
    pub(super) number: u64,
    /// Whoever confirms a later number confirms all before it, so these are the shards of all that the leader still waits for.
    pub(super) shards: BTreeSet<ShardTag>,
}

impl Confirmation {
    pub(super) fn encode(&self) -> Vec<u8> {
        let shards = self.shards.iter().flat_map(|tag| tag.0.to_be_bytes());
        let number = self.number.to_be_bytes().into_iter();
        number.chain(shards).collect()
    }

    /// `None` when it is something else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (number, shards) = bytes.split_first_chunk()?;
        let (shards, rest) = shards.as_chunks();
        rest.is_empty().then(|| Self {
            number: u64::from_be_bytes(*number),
            shards: shards.iter().map(ShardTag::decode).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_and_nothing_else() {
        for shards in 0..3 {
            let shards = (0..shards).map(|id| ShardTag::of(ShardId::new([id; 20])));
            let confirmation = Confirmation {
                number: 1 << 40,
                shards: shards.collect(),
            };
            let bytes = confirmation.encode();
            assert_eq!(Confirmation::decode(&bytes), Some(confirmation));
            assert_eq!(Confirmation::decode(&bytes[1..]), None);
        }
        assert_eq!(Confirmation::decode(&[]), None);
    }
}
