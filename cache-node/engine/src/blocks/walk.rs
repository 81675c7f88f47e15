//! Places in a sequence of blocks, by entry and one after the other.

use super::{At, Block, Blocks};

/// An entry's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The block.
    pub(crate) at: At,
    /// The entry's number within it.
    pub(crate) entry: usize,
}

impl Blocks {
    /// The place of entry `index`, counted through the nodes from the nearer end; `None` from the end on.
    pub(crate) fn locate(&self, index: usize) -> Option<Place> {
        if index >= self.len {
            return None;
        }
        let (node, before) = if index < self.len / 2 {
            first_beyond(index, 0, self.nodes.iter().map(|node| node.count))
        } else {
            last_from(
                index,
                self.len,
                self.nodes.iter().map(|node| node.count).enumerate().rev(),
            )
        };
        let within = &self.nodes[node];
        let counts = within.blocks.iter().map(|block| block.count as usize);
        let (block, before) = if index - before < within.count / 2 {
            first_beyond(index, before, counts)
        } else {
            last_from(index, before + within.count, counts.enumerate().rev())
        };
        Some(Place {
            at: At { node, block },
            entry: index - before,
        })
    }

    /// Number of entries before a block.
    pub(crate) fn before(&self, at: At) -> usize {
        let nodes = self.nodes[..at.node].iter().map(|node| node.count);
        let blocks = self.nodes.get(at.node).map_or(&[][..], |node| &node.blocks);
        let blocks = blocks[..at.block].iter().map(|block| block.count as usize);
        nodes.sum::<usize>() + blocks.sum::<usize>()
    }

    /// The first block.
    pub(crate) fn first(&self) -> Option<At> {
        (!self.nodes.is_empty()).then_some(At { node: 0, block: 0 })
    }

    /// The last block.
    pub(crate) fn last(&self) -> Option<At> {
        let node = self.nodes.len().checked_sub(1)?;
        Some(At {
            node,
            block: self.nodes[node].blocks.len() - 1,
        })
    }

    /// The block behind.
    pub(crate) fn next(&self, at: At) -> Option<At> {
        let At { node, block } = at;
        if block + 1 < self.nodes[node].blocks.len() {
            Some(At {
                node,
                block: block + 1,
            })
        } else {
            (node + 1 < self.nodes.len()).then_some(At {
                node: node + 1,
                block: 0,
            })
        }
    }

    /// The block before.
    pub(crate) fn previous(&self, at: At) -> Option<At> {
        let At { node, block } = at;
        if let Some(block) = block.checked_sub(1) {
            Some(At { node, block })
        } else {
            let node = node.checked_sub(1)?;
            Some(At {
                node,
                block: self.nodes[node].blocks.len() - 1,
            })
        }
    }

    /// All blocks.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Block> {
        self.nodes.iter().flat_map(|node| node.blocks.iter())
    }
}

/// Which of `counts`, of which the first begins at `before`, has entry `index`, and where it begins.
fn first_beyond(
    index: usize,
    mut before: usize,
    counts: impl Iterator<Item = usize>,
) -> (usize, usize) {
    let mut number = 0;
    for count in counts {
        if index < before + count {
            break;
        }
        before += count;
        number += 1;
    }
    (number, before)
}

/// The same from the end, where the last ends at `end`.
fn last_from(
    index: usize,
    mut end: usize,
    counts: impl Iterator<Item = (usize, usize)>,
) -> (usize, usize) {
    for (number, count) in counts {
        end -= count;
        if index >= end {
            return (number, end);
        }
    }
    (0, end)
}
