//! What a node keeps on disk, and its encoding.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::storage::ConsensusRecord;
use crate::topology::{NodeId, Topology};

/// Begins every record; the last byte is the version of what follows.
const MAGIC: &[u8; 8] = b"EVNODES\x03";

/// Everything that must survive a restart of the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Persisted {
    pub(crate) node: NodeId,
    /// The last incarnation that was drawn.
    pub(crate) incarnation: u64,
    #[serde(with = "super::shared")]
    pub(crate) topology: Arc<Topology>,
    pub(crate) consensus: Option<ConsensusRecord>,
}

/// The bytes are not what [`Persisted::encode`] wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PersistedError {
    /// Another program's file, or another version's.
    #[error("it was not written by this version of cache-node")]
    Foreign,
    /// The checksum is wrong.
    #[error("it is damaged (its checksum is wrong)")]
    Checksum,
    /// The contents contradict each other.
    #[error("it is damaged ({0})")]
    Contents(String),
}

impl Persisted {
    /// The bytes of a record: magic, CRC-32 of the rest, contents.
    pub fn encode(&self) -> Vec<u8> {
        let contents = postcard::to_stdvec(self).expect("plain data is always encoded");
        let mut bytes = Vec::with_capacity(12 + contents.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&crc32fast::hash(&contents).to_le_bytes());
        bytes.extend_from_slice(&contents);
        bytes
    }

    /// The contents of a record.
    ///
    /// # Errors
    ///
    /// When it is not whole.
    pub fn decode(bytes: &[u8]) -> Result<Self, PersistedError> {
        let rest = bytes
            .strip_prefix(MAGIC.as_slice())
            .ok_or(PersistedError::Foreign)?;
        let (sum, contents) = rest.split_at_checked(4).ok_or(PersistedError::Checksum)?;
        if crc32fast::hash(contents).to_le_bytes() != sum {
            return Err(PersistedError::Checksum);
        }
        postcard::from_bytes(contents).map_err(|error| PersistedError::Contents(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Address, Member, ShardId};

    #[test]
    fn a_damaged_file_is_told_from_a_whole_one() {
        let member = Member {
            id: NodeId::new([1; 20]),
            address: Address {
                ip: "127.0.0.1".to_owned(),
                port: 1,
                bus_port: 2,
                hostname: String::new(),
            },
            shard: ShardId::new([2; 20]),
        };
        let persisted = Persisted {
            node: member.id,
            incarnation: 3,
            topology: Arc::new(Topology::single(4, member, 3)),
            consensus: None,
        };
        let bytes = persisted.encode();
        assert_eq!(Persisted::decode(&bytes), Ok(persisted));
        assert_eq!(
            Persisted::decode(b"something else"),
            Err(PersistedError::Foreign)
        );
        for at in 8..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(Persisted::decode(&damaged), Err(PersistedError::Checksum));
        }
        assert_eq!(
            Persisted::decode(&bytes[..bytes.len() - 1]),
            Err(PersistedError::Checksum)
        );
    }
}
