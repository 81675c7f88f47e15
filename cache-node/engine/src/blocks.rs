//! Big collections: a sequence of blocks of packed items.
//!
//! Two levels: nodes of at most [`NODE_BLOCKS`] blocks, each block a run of packed items ([`crate::packed`]) behind a reference count,
//! as is each node. A copy of the sequence is a copy of the references to its nodes, so a reader takes one under the lock and reads it
//! after; who changes a block or a node that is shared copies that one first. Growth and removal move one block or one node, never
//! the whole.
//!
//! Every block stands with its number of entries and a *key* that its owner chooses: a list has none, a hash keeps the lowest hash
//! of the block's entries, a sorted set the first score. So a block is found by place or by key without touching other blocks. What an
//! entry is (one item or a pair), in which order they are and when a block is full is the owner's affair.
//!
//! Bytes and allocations are counted at every change, as asked of the allocator.

mod block;
mod cut;
mod walk;

use std::sync::Arc;

pub(crate) use block::Block;
pub(crate) use cut::{Cut, divide};

/// Most blocks of a node.
const NODE_BLOCKS: usize = if cfg!(test) { 8 } else { 128 };

/// Nodes with fewer blocks are joined with a neighbour if the two are small enough together.
const SMALL_NODE: usize = NODE_BLOCKS / 4;

/// Bytes of what stands before a node's blocks: two counters and the vector.
const SHARED_VEC: usize = 16 + size_of::<Vec<u8>>();

/// A run of blocks. Never empty, except within a call.
#[derive(Clone, Debug)]
struct Node {
    blocks: Arc<Vec<Block>>,
    /// The first block's key.
    key: u64,
    /// Entries of all blocks.
    count: usize,
    /// Bytes of the blocks and of what holds them.
    bytes: usize,
}

impl Node {
    fn new(blocks: Vec<Block>) -> Self {
        Self {
            key: blocks.first().map_or(0, |block| block.key),
            count: blocks.iter().map(|block| block.count as usize).sum(),
            bytes: holder_bytes(&blocks) + blocks.iter().map(Block::bytes).sum::<usize>(),
            blocks: Arc::new(blocks),
        }
    }

    /// Changes the list of blocks; keeps key and count of bytes, not of entries.
    fn change<R>(&mut self, change: impl FnOnce(&mut Vec<Block>) -> R) -> R {
        let before = holder_bytes(&self.blocks);
        let blocks = Arc::make_mut(&mut self.blocks);
        let result = change(blocks);
        self.key = blocks.first().map_or(0, |block| block.key);
        self.bytes = self.bytes - before + holder_bytes(blocks);
        result
    }

    fn insert(&mut self, at: usize, block: Block) {
        self.count += block.count as usize;
        self.bytes += block.bytes();
        self.change(|blocks| {
            if blocks.len() == blocks.capacity() {
                blocks.reserve_exact(1 + blocks.len() / 8);
            }
            blocks.insert(at, block);
        });
    }

    fn remove(&mut self, at: usize) -> Block {
        let block = self.change(|blocks| {
            let block = blocks.remove(at);
            if blocks.capacity() > blocks.len() + blocks.len() / 4 + 2 {
                blocks.shrink_to(blocks.len() + blocks.len() / 8);
            }
            block
        });
        self.count -= block.count as usize;
        self.bytes -= block.bytes();
        block
    }
}

/// Bytes of a node's list of blocks, without the blocks.
fn holder_bytes(blocks: &Vec<Block>) -> usize {
    SHARED_VEC + blocks.capacity() * size_of::<Block>()
}

/// A sequence of blocks. Cloning it takes a snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Blocks {
    nodes: Vec<Node>,
    /// Number of entries.
    len: usize,
    /// Number of blocks.
    blocks: usize,
    /// Bytes of all nodes.
    bytes: usize,
}

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct At {
    pub(crate) node: usize,
    pub(crate) block: usize,
}

impl Blocks {
    /// The sequence of these blocks.
    pub(crate) fn of(blocks: impl IntoIterator<Item = Block>) -> Self {
        let mut all = Self::default();
        for block in blocks {
            all.push_back(block);
        }
        all
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.nodes.capacity() * size_of::<Node>()
    }

    /// Number of allocations.
    pub(crate) fn weight(&self) -> usize {
        1 + 2 * self.nodes.len() + self.blocks
    }

    /// The block at a place that exists.
    pub(crate) fn block(&self, at: At) -> &Block {
        &self.nodes[at.node].blocks[at.block]
    }

    /// The last block whose key is below `key`, or is `key` and `not_after` holds; the first block of all if there is none. Among
    /// blocks of one key `not_after` holds for the first ones only.
    pub(crate) fn by_key(&self, key: u64, not_after: impl Fn(&Block) -> bool) -> Option<At> {
        let before = |own: u64, block: &dyn Fn() -> bool| own < key || own == key && block();
        let node = self
            .nodes
            .partition_point(|node| before(node.key, &|| not_after(&node.blocks[0])))
            .saturating_sub(1);
        let blocks = &self.nodes.get(node)?.blocks;
        let block = blocks
            .partition_point(|block| before(block.key, &|| not_after(block)))
            .saturating_sub(1);
        Some(At { node, block })
    }

    /// The last block whose key is at most `key`, or the first block of all, where keys lie evenly between 0 and `2^bits`.
    pub(crate) fn by_even_key(&self, key: u64, bits: u32) -> Option<At> {
        let node = self
            .nodes
            .partition_point(|node| node.key <= key)
            .saturating_sub(1);
        let end = self.nodes.get(node + 1).map_or(1 << bits, |next| next.key);
        let Node {
            blocks, key: start, ..
        } = self.nodes.get(node)?;
        // The place is guessed: most guesses are off by a block or two, which costs less than a search.
        let width = u128::from(end.saturating_sub(*start)).max(1);
        let guess = u128::from(key.saturating_sub(*start)) * blocks.len() as u128 / width;
        let mut block = (guess as usize).min(blocks.len() - 1);
        while block > 0 && blocks[block].key > key {
            block -= 1;
        }
        while let Some(next) = blocks.get(block + 1)
            && next.key <= key
        {
            block += 1;
        }
        Some(At { node, block })
    }

    /// Changes a block.
    pub(crate) fn edit<R>(&mut self, at: At, change: impl FnOnce(&mut Block) -> R) -> R {
        let node = &mut self.nodes[at.node];
        let before = node.bytes;
        let holder = holder_bytes(&node.blocks);
        let blocks = Arc::make_mut(&mut node.blocks);
        node.bytes = node.bytes - holder + holder_bytes(blocks);
        let block = &mut blocks[at.block];
        let (bytes, count) = (block.bytes(), block.count);
        let result = change(block);
        node.bytes = node.bytes - bytes + block.bytes();
        node.count = node.count - count as usize + block.count as usize;
        self.len = self.len - count as usize + block.count as usize;
        if at.block == 0 {
            node.key = block.key;
        }
        self.bytes = self.bytes - before + node.bytes;
        result
    }

    /// Puts a block at the end.
    pub(crate) fn push_back(&mut self, block: Block) {
        let node = self.nodes.len().saturating_sub(1);
        let block_at = self.nodes.last().map_or(0, |node| node.blocks.len());
        self.insert(
            At {
                node,
                block: block_at,
            },
            block,
        );
    }

    /// Puts a block in before the one at `at`, which may be one behind the last of its node.
    pub(crate) fn insert(&mut self, at: At, block: Block) {
        let full = self
            .nodes
            .get(at.node)
            .is_none_or(|node| node.blocks.len() >= NODE_BLOCKS);
        let last = at.node + 1 >= self.nodes.len();
        let behind = self
            .nodes
            .get(at.node)
            .is_none_or(|node| node.blocks.len() == at.block);
        // At the ends full nodes stay full, so that a sequence which grows there has no half-empty ones.
        if full && last && behind {
            self.push_node(self.nodes.len(), block);
        } else if full && at == (At { node: 0, block: 0 }) {
            self.push_node(0, block);
        } else {
            self.insert_within(at, block);
            self.split_node(at.node);
        }
    }

    /// Takes a block out.
    pub(crate) fn remove(&mut self, at: At) -> Block {
        let block = self.remove_within(at);
        self.tidy_node(at.node);
        block
    }

    /// Puts `parts`, of which there is at least one, in the place of the block at `at`.
    pub(crate) fn replace(&mut self, at: At, parts: Vec<Block>) {
        self.remove_within(at);
        for (index, part) in parts.into_iter().enumerate() {
            let at = At {
                node: at.node,
                block: at.block + index,
            };
            self.insert_within(at, part);
        }
        self.split_node(at.node);
    }

    /// Joins a block with a neighbour of the same node if the two have at most so many bytes of items and entries.
    pub(crate) fn join(&mut self, at: At, bytes: usize, entries: u32) {
        let blocks = &self.nodes[at.node].blocks;
        let fits = |left: usize| {
            let (a, b) = (blocks.get(left)?, blocks.get(left + 1)?);
            let small = a.items().len() + b.items().len() <= bytes && a.count + b.count <= entries;
            small.then_some(left)
        };
        let left = fits(at.block).or_else(|| fits(at.block.checked_sub(1)?));
        if let Some(left) = left {
            let (node, block) = (at.node, left);
            let right = self.remove_within(At {
                node,
                block: left + 1,
            });
            self.edit(At { node, block }, |left| {
                left.append(right.items());
                left.count += right.count;
            });
            self.tidy_node(node);
        }
    }

    fn insert_within(&mut self, at: At, block: Block) {
        self.len += block.count as usize;
        self.blocks += 1;
        let node = &mut self.nodes[at.node];
        self.bytes -= node.bytes;
        node.insert(at.block, block);
        self.bytes += node.bytes;
    }

    fn remove_within(&mut self, at: At) -> Block {
        let node = &mut self.nodes[at.node];
        self.bytes -= node.bytes;
        let block = node.remove(at.block);
        self.bytes += node.bytes;
        self.len -= block.count as usize;
        self.blocks -= 1;
        block
    }

    /// Puts in a node of one block.
    fn push_node(&mut self, at: usize, block: Block) {
        self.len += block.count as usize;
        self.blocks += 1;
        self.insert_node(at, Node::new(vec![block]));
    }

    fn insert_node(&mut self, at: usize, node: Node) {
        self.bytes += node.bytes;
        if self.nodes.len() == self.nodes.capacity() {
            self.nodes.reserve_exact(1 + self.nodes.len() / 8);
        }
        self.nodes.insert(at, node);
    }

    fn remove_node(&mut self, at: usize) -> Node {
        let node = self.nodes.remove(at);
        self.bytes -= node.bytes;
        if self.nodes.capacity() > self.nodes.len() + self.nodes.len() / 4 + 2 {
            self.nodes
                .shrink_to(self.nodes.len() + self.nodes.len() / 8);
        }
        node
    }

    /// Splits a node that has grown too long.
    fn split_node(&mut self, at: usize) {
        if self.nodes[at].blocks.len() <= NODE_BLOCKS {
            return;
        }
        let node = self.remove_node(at);
        let mut blocks = Arc::unwrap_or_clone(node.blocks);
        let tail = blocks.split_off(blocks.len() / 2);
        blocks.shrink_to(blocks.len() + blocks.len() / 8);
        self.insert_node(at, Node::new(tail));
        self.insert_node(at, Node::new(blocks));
    }

    /// Removes an empty node, joins a small one with a neighbour.
    fn tidy_node(&mut self, at: usize) {
        let len = |node: usize| self.nodes.get(node).map(|node| node.blocks.len());
        let Some(own) = len(at) else { return };
        if own == 0 {
            self.remove_node(at);
            return;
        }
        if own >= SMALL_NODE {
            return;
        }
        let fits = |left: usize| {
            let together = len(left)? + len(left + 1)?;
            (together <= NODE_BLOCKS / 4 * 3).then_some(left)
        };
        if let Some(left) = fits(at).or_else(|| fits(at.checked_sub(1)?)) {
            let right = self.remove_node(left + 1);
            let node = self.remove_node(left);
            let mut blocks = Arc::unwrap_or_clone(node.blocks);
            blocks.reserve_exact(right.blocks.len());
            blocks.extend(right.blocks.iter().cloned());
            self.insert_node(left, Node::new(blocks));
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::CheckBlocks;
