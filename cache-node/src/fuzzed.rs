//! What fuzzers drive (`fuzz/`): streams from other servers, as a node applies them, without a network.
//!
//! Only in tests, which replay the fuzzers' seeds, and in fuzzers. An input is a list of steps, so that what lies behind a checksum or
//! a length is reached; whatever it is, nothing may panic.

pub mod psync;
pub mod stream;

use std::cell::RefCell;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::cluster::{Cluster, View, announced};
use crate::config::{Config, Settings};
use crate::node::Node;
use crate::resp::encode_request;
use crate::slot::{SlotId, SlotSet};
use crate::store::Store;
use crate::topology::{Migration, MigrationId, NodeId};

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

/// The migration by which slots come to the node.
fn migration() -> MigrationId {
    MigrationId::new([7; 20])
}

thread_local! {
    /// Nodes that are not in use: to make one takes long.
    static NODES: RefCell<Vec<Arc<Node>>> = const { RefCell::new(Vec::new()) };
}

/// A node with nothing in it, that serves nobody. It is a replica, and slots come to it.
pub(crate) struct Nobody(Arc<Node>);

/// One that was made before, or another.
pub(crate) fn node() -> Nobody {
    let node = NODES.with_borrow_mut(Vec::pop).unwrap_or_else(new_node);
    node.log.restart_at(0);
    node.replication.configure(Some(("primary".to_owned(), 1)));
    Nobody(node)
}

fn new_node() -> Arc<Node> {
    let settings = Settings {
        dir: Path::new("/nowhere").to_owned(),
        proto_max_bulk_len: MOST_BYTES,
        repl_backlog_size: 16 << 10,
        repl_backlog_disk_size: 0,
        ..Settings::default()
    };
    let mut view = View::standalone(NodeId::new([1; 20]), 1, announced(&settings));
    let topology = Arc::make_mut(&mut view.topology);
    let shard = *topology.shards.keys().next().expect("there is one");
    let migration = Migration {
        source: shard,
        target: shard,
        slots: SlotSet::full(),
    };
    topology.migrations.insert(self::migration(), migration);
    let cluster = Cluster::detached(view);
    Arc::new(Node::new(Config::new(settings, None), cluster))
}

impl Deref for Nobody {
    type Target = Arc<Node>;

    fn deref(&self) -> &Arc<Node> {
        &self.0
    }
}

impl Drop for Nobody {
    fn drop(&mut self) {
        let store = &self.0.store;
        for slot in occupied(store) {
            store.lock_blocking(slot).clear();
        }
        self.0.replication.configure(None);
        NODES.with_borrow_mut(|nodes| nodes.push(Arc::clone(&self.0)));
    }
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
