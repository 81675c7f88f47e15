use super::*;
use crate::packed::{self, Encoded};
use proptest::prelude::*;

/// Checks for the tests of those that are made of blocks.
pub(crate) trait CheckBlocks {
    /// Checks every count against the blocks themselves.
    fn check(&self, stride: usize);
}

impl CheckBlocks for Blocks {
    fn check(&self, stride: usize) {
        let mut bytes = self.nodes.capacity() * size_of::<Node>();
        for node in &self.nodes {
            assert!(!node.blocks.is_empty() && node.blocks.len() <= NODE_BLOCKS);
            assert_eq!(node.key, node.blocks[0].key);
            let mut count = 0;
            let mut node_bytes = holder_bytes(&node.blocks);
            for block in node.blocks.iter() {
                packed::validate(block.items(), block.count as usize * stride).unwrap();
                assert!(block.count > 0);
                count += block.count as usize;
                node_bytes += block.bytes();
                assert!(block.bytes() <= 16 + packed::room(block.items().len()) * 9 / 8 + 32);
            }
            assert_eq!(node.count, count);
            assert_eq!(node.bytes, node_bytes);
            bytes += node_bytes;
        }
        assert_eq!(self.bytes(), bytes);
        assert_eq!(
            self.len,
            self.nodes.iter().map(|node| node.count).sum::<usize>()
        );
        assert_eq!(self.blocks, self.iter().count());
        for pair in self.nodes.windows(2) {
            assert!(pair[0].blocks.len() + pair[1].blocks.len() > 2);
        }
    }
}

impl Blocks {
    fn values(&self) -> Vec<i64> {
        self.iter()
            .flat_map(|block| packed::items(block.items()))
            .map(|item| item.integer().unwrap())
            .collect()
    }
}

fn block(values: &[i64]) -> Block {
    let mut items = Vec::new();
    for value in values {
        packed::push(&mut items, &Encoded::int(*value));
    }
    Block::new(&items, 0, values.len() as u32)
}

fn edits() -> impl Strategy<Value = Vec<(u8, prop::sample::Index, prop::sample::Index, u8)>> {
    prop::collection::vec(
        (
            0..6_u8,
            any::<prop::sample::Index>(),
            any::<prop::sample::Index>(),
            1..5_u8,
        ),
        1..200,
    )
}

proptest! {
    #[test]
    fn a_sequence_of_blocks_is_the_sequence_of_its_entries(edits in edits()) {
        let mut model: Vec<i64> = Vec::new();
        let mut blocks = Blocks::default();
        let mut next = 0_i64;
        let mut snapshots = Vec::new();
        for (what, place, other, many) in edits {
            let values: Vec<i64> = (0..i64::from(many)).map(|off| next + off).collect();
            next += 300;
            let found = blocks.locate(place.index(model.len().max(1)));
            match (what, found) {
                (0, _) | (_, None) => {
                    blocks.push_back(block(&values));
                    model.extend(values);
                }
                (1, Some(found)) => {
                    let start = blocks.before(found.at);
                    blocks.insert(found.at, block(&values));
                    model.splice(start..start, values);
                }
                (2, Some(found)) => {
                    let start = blocks.before(found.at);
                    let count = blocks.block(found.at).count as usize;
                    blocks.replace(found.at, values.iter().map(|value| block(&[*value])).collect());
                    model.splice(start..start + count, values);
                }
                (3, Some(found)) => {
                    let start = blocks.before(found.at);
                    let gone = blocks.remove(found.at);
                    model.drain(start..start + gone.count as usize);
                }
                (4, Some(_)) => {
                    let start = place.index(model.len());
                    let count = other.index(model.len() - start + 1);
                    let cut = blocks.cut(start, count, 1, |_, key| key);
                    prop_assert!(count == 0 || cut.weight() <= 2 * count + 2 * NODE_BLOCKS);
                    model.drain(start..start + count);
                }
                (_, Some(found)) => {
                    blocks.join(found.at, 12, u32::MAX);
                    snapshots.push((blocks.clone(), model.clone()));
                }
            }
            blocks.check(1);
            prop_assert_eq!(blocks.values(), &model[..]);
            for (index, value) in model.iter().enumerate() {
                let found = blocks.locate(index).unwrap();
                prop_assert_eq!(blocks.before(found.at) + found.entry, index);
                let items = blocks.block(found.at).items();
                prop_assert_eq!(packed::items(items).nth(found.entry).unwrap().integer(), Some(*value));
            }
            prop_assert_eq!(blocks.locate(model.len()), None);
            let mut at = blocks.last();
            let mut backward = 0;
            while let Some(here) = at {
                backward += blocks.block(here).count as usize;
                at = blocks.previous(here);
            }
            prop_assert_eq!(backward, model.len());
        }
        for (snapshot, model) in snapshots {
            prop_assert_eq!(snapshot.values(), model);
        }
    }
}

#[test]
fn a_snapshot_shares_what_is_not_changed() {
    let mut blocks = Blocks::of((0..100).map(|value| block(&[value])));
    let snapshot = blocks.clone();
    let at = blocks.locate(50).unwrap().at;
    blocks.edit(at, |block| {
        block.splice(block.items().len(), 0, &[Encoded::int(-1)]);
        block.count += 1;
    });
    blocks.check(1);
    assert_eq!(snapshot.values(), (0..100).collect::<Vec<_>>());
    let shared = blocks.iter().zip(snapshot.iter());
    let same = shared.filter(|(a, b)| a.same(b));
    assert_eq!(same.count(), 99);
}

#[test]
fn a_sequence_that_grows_at_its_ends_has_full_nodes() {
    let mut blocks = Blocks::default();
    for value in 0..1000 {
        if value % 2 == 0 {
            blocks.push_back(block(&[value]));
        } else {
            blocks.insert(At { node: 0, block: 0 }, block(&[value]));
        }
    }
    blocks.check(1);
    assert!(blocks.nodes.len() <= 1000 / NODE_BLOCKS + 2);
}
