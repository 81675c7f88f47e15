//! What fuzzers drive (`fuzz/`): streams from other servers, as a node applies them, without a network.
//!
//! Only in tests, which replay the fuzzers' seeds, and in fuzzers. An input is a list of steps, so that what lies behind a checksum or
//! a length is reached; whatever it is, nothing may panic.

pub mod psync;
pub mod stream;

use std::path::Path;
use std::sync::Arc;

use crate::cluster::{Cluster, View, announced};
use crate::config::{Config, Settings};
use crate::node::Node;
use crate::resp::encode_request;
use crate::slot::SlotId;
use crate::store::Store;
use crate::topology::{NodeId, Topology};

/// Longest string, so that one command cannot take much memory.
const MOST_BYTES: usize = 1 << 20;

/// What commands are made of.
const WORDS: [&str; 64] = [
    "a",
    "b",
    "{a}1",
    "{b}1",
    "0",
    "1",
    "-1",
    "7",
    "SET",
    "DEL",
    "APPEND",
    "INCR",
    "SETRANGE",
    "PEXPIREAT",
    "PERSIST",
    "RENAME",
    "COPY",
    "HSET",
    "HDEL",
    "HINCRBY",
    "RPUSH",
    "LPUSH",
    "LPOP",
    "LREM",
    "LSET",
    "LTRIM",
    "LINSERT",
    "SADD",
    "SREM",
    "SMOVE",
    "ZADD",
    "ZREM",
    "ZINCRBY",
    "ZREMRANGEBYRANK",
    "RESTORE",
    "MULTI",
    "EXEC",
    "SELECT",
    "PING",
    "REPLCONF",
    "GETACK",
    "*",
    "FLUSHALL",
    "FLUSHDB",
    "CLUSTER",
    "FLUSHSLOT",
    "MSET",
    "SUNIONSTORE",
    "ZUNIONSTORE",
    "BEFORE",
    "GETDEL",
    "RPOPLPUSH",
    "PX",
    "KEEPTTL",
    "NX",
    "REPLACE",
    "9999999999999",
    "SETEX",
    "UNLINK",
    "PUBLISH",
    "CONFIG",
    "SHUTDOWN",
    "1.5",
    "",
];

/// A node with nothing in it, that serves nobody.
pub(crate) fn node() -> Arc<Node> {
    node_with(|_| ())
}

/// The same, in a cluster that is a little different.
fn node_with(change: impl FnOnce(&mut Topology)) -> Arc<Node> {
    let settings = Settings {
        dir: Path::new("/nowhere").to_owned(),
        proto_max_bulk_len: MOST_BYTES,
        repl_backlog_size: 16 << 10,
        repl_backlog_disk_size: 0,
        ..Settings::default()
    };
    let mut view = View::standalone(NodeId::random(), 1, announced(&settings));
    change(Arc::make_mut(&mut view.topology));
    let cluster = Cluster::detached(view);
    Arc::new(Node::new(Config::new(settings, None), cluster))
}

/// The steps of an input.
struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// So many bytes, or those that are left.
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A command: up to eight words, each one that is known, or bytes.
    fn command(&mut self) -> Option<Vec<u8>> {
        let count = self.byte()? % 8 + 1;
        let words: Vec<&[u8]> = (0..count).map_while(|_| self.word()).collect();
        let mut command = Vec::new();
        encode_request(&mut command, words.into_iter());
        Some(command)
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        let byte = self.byte()?;
        Some(match WORDS.get(usize::from(byte)) {
            Some(word) => word.as_bytes(),
            None => self.bytes(usize::from(byte) - WORDS.len()),
        })
    }
}

/// Its slots with keys.
fn occupied(store: &Store) -> Vec<SlotId> {
    store.occupied().collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = format!("{}/../fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
        let files = fs::read_dir(folder).expect("seeds");
        let read = |file: std::io::Result<fs::DirEntry>| fs::read(file.unwrap().path()).unwrap();
        files.map(read).collect()
    }

    #[test]
    fn the_seeds_of_the_fuzzers_do_no_harm() {
        seeds("stream")
            .iter()
            .for_each(|seed| stream::receive(seed));
        seeds("psync").iter().for_each(|seed| psync::follow(seed));
    }
}
