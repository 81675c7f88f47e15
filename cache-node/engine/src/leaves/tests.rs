use super::*;

impl<const STRIDE: usize> Leaves<STRIDE> {
    /// Checks that every entry is in the leaf where it is looked for, and that leaves are as big as they may be.
    pub(crate) fn check_leaves(&self) {
        let mut next = self.blocks.first();
        let mut last_key = None;
        while let Some(at) = next {
            let block = self.blocks.block(at);
            assert!(last_key < Some(block.key));
            last_key = Some(block.key);
            let entries = entries::<STRIDE>(block.items());
            assert_eq!(entries.len(), block.count as usize);
            for entry in &entries {
                assert_eq!(self.at(entry.hash), Some(at));
            }
            let one = entries.iter().all(|entry| entry.hash == entries[0].hash);
            let small = block.items().len() <= LEAF_BYTES && block.count <= LEAF_ENTRIES;
            assert!(one || small);
            next = self.blocks.next(at);
        }
    }
}
