//! Every layout against a model.

use std::collections::HashMap;

use proptest::prelude::*;

use super::layout::{Entries, Layout, hash, key};
use super::{dense::Dense, pointers::Pointers, swiss::Swiss, words::Words};

/// Keys are few, so that tables fill, overflow and empty again.
fn steps() -> impl Strategy<Value = Vec<(bool, u64)>> {
    proptest::collection::vec((any::<bool>(), 0..400_u64), 0..1500)
}

fn agrees<L: Layout>(steps: &[(bool, u64)]) {
    let mut entries = Entries::with_capacity(0);
    let mut table = L::default();
    let mut model = HashMap::new();
    for &(insert, number) in steps {
        let key = key(number);
        let hash = hash(&key);
        if insert && !model.contains_key(&number) {
            let handle = entries.add(key);
            table.insert(hash, handle, &entries);
            model.insert(number, handle);
        } else if !insert {
            assert_eq!(table.remove(hash, &key, &entries), model.remove(&number));
        }
    }
    for number in 0..400 {
        let key = key(number);
        assert_eq!(
            table.get(hash(&key), &key, &entries),
            model.get(&number).copied()
        );
    }
}

proptest! {
    #[test]
    fn every_layout_finds_what_a_map_finds(steps in steps()) {
        agrees::<Swiss>(&steps);
        agrees::<Words<90>>(&steps);
        agrees::<Dense<8>>(&steps);
        agrees::<Dense<1>>(&steps);
        agrees::<Pointers>(&steps);
    }
}
