//! Taking blocks apart: removing a range of entries by detaching whole blocks and nodes, dividing a block.

use std::ops::Range;

use super::{At, Block, Blocks, Node};
use crate::packed;

/// What was cut out of a sequence: to be dropped where it does not matter how long that takes.
#[derive(Debug, Default)]
pub(crate) struct Cut {
    nodes: Vec<Node>,
    blocks: Vec<Block>,
}

impl Cut {
    /// Number of allocations.
    pub(crate) fn weight(&self) -> usize {
        let blocks = self.nodes.iter().map(|node| node.blocks.len());
        2 * self.nodes.len() + blocks.sum::<usize>() + self.blocks.len()
    }
}

impl Blocks {
    /// Removes `count` entries of `stride` items from entry `start` on, which are all there. `key` gives the key of a block which
    /// has lost its first entry. Work is bounded by the number of nodes, not of blocks or entries.
    pub(crate) fn cut(
        &mut self,
        start: usize,
        count: usize,
        stride: usize,
        key: impl Fn(&[u8], u64) -> u64,
    ) -> Cut {
        let mut cut = Cut::default();
        let end = self.len - count;
        let blocks = self.blocks;
        while self.len > end {
            let Some(place) = self.locate(start) else {
                break;
            };
            let left = self.len - end;
            let block = self.block(place.at);
            let (at, size) = (place.at, block.count as usize);
            if place.entry == 0 && at.block == 0 && self.nodes[at.node].count <= left {
                self.cut_nodes(at.node, left, &mut cut);
            } else if place.entry == 0 && size <= left {
                cut.blocks.push(self.remove_within(at));
                if self.nodes[at.node].blocks.is_empty() {
                    self.remove_node(at.node);
                }
            } else {
                let lost = left.min(size - place.entry);
                self.edit(at, |block| {
                    let whole = block.count as usize * stride;
                    let from = packed::offset_of(block.items(), whole, place.entry * stride);
                    let to = packed::offset_of(block.items(), whole, (place.entry + lost) * stride);
                    if let (Some(from), Some(to)) = (from, to) {
                        block.splice(from, to - from, &[]);
                    }
                    block.count -= lost as u32;
                    block.key = key(block.items(), block.key);
                });
            }
        }
        if self.blocks < blocks {
            self.tidy_around(start);
        }
        cut
    }

    /// Detaches as many whole nodes from `first` on as have at most `left` entries together.
    fn cut_nodes(&mut self, first: usize, mut left: usize, cut: &mut Cut) {
        let mut last = first;
        while let Some(node) = self.nodes.get(last)
            && node.count <= left
        {
            left -= node.count;
            self.len -= node.count;
            self.bytes -= node.bytes;
            self.blocks -= node.blocks.len();
            last += 1;
        }
        cut.nodes.extend(self.nodes.drain(first..last));
        let len = self.nodes.len();
        if self.nodes.capacity() > len + len / 4 + 2 {
            self.nodes.shrink_to(len + len / 8);
        }
    }

    fn tidy_around(&mut self, entry: usize) {
        for entry in [entry, entry.wrapping_sub(1)] {
            if let Some(place) = self.locate(entry) {
                let At { node, .. } = place.at;
                self.tidy_node(node);
            }
        }
    }
}

/// The entries of a block, of `stride` items each, in blocks of `target` bytes or a little more, but at most `most`; entries bigger
/// than that have one each.
pub(crate) fn divide(
    items: &[u8],
    stride: usize,
    (target, most): (usize, usize),
    key: impl Fn(&[u8]) -> u64,
) -> Vec<Block> {
    let mut parts = Vec::new();
    let mut close = |range: Range<usize>, count: u32| {
        let part = &items[range];
        parts.push(Block::new(part, key(part), count));
    };
    let (mut start, mut offset, mut count) = (0, 0, 0);
    while let Some(next) = packed::skip(items, offset, stride) {
        if count > 0 && (offset - start >= target || next - start > most) {
            close(start..offset, count);
            (start, count) = (offset, 0);
        }
        offset = next;
        count += 1;
    }
    close(start..offset, count);
    parts
}
