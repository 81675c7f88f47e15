use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::*;
use crate::blocks::CheckBlocks;
use proptest::prelude::*;

const TINY: PackLimits = PackLimits {
    entries: 6,
    value: 24,
    bytes: 80,
};

impl Hash {
    fn check(&self) {
        match self {
            Self::Packed(buffer) => {
                assert_eq!(
                    packed::validate(&buffer.items, 2 * buffer.count as usize),
                    Ok(())
                );
                assert!(buffer.fits(&TINY));
            }
            Self::Big(big) => {
                big.0.blocks().check(2);
                big.0.check_leaves();
                assert_eq!(big.bytes(), size_of::<BigHash>() + big.0.blocks().bytes());
            }
        }
    }
}

fn names() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0..60_u32).prop_map(|number| format!("field:{number:04}").into_bytes()),
        2 => (-5..5_i64).prop_map(|number| number.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ]
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..20),
        4 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 90..200),
    ]
}

fn pairs(hash: HashRef<'_>) -> HashMap<Vec<u8>, Vec<u8>> {
    let all: Vec<_> = hash
        .iter()
        .map(|(field, value)| (field.to_vec(), value.to_vec()))
        .collect();
    let map: HashMap<_, _> = all.iter().cloned().collect();
    assert_eq!(map.len(), all.len());
    map
}

proptest! {
    #[test]
    fn a_hash_is_a_map(edits in prop::collection::vec((0..10_u8, names(), contents()), 1..300)) {
        let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut hash = Hash::default();
        let mut snapshots = Vec::new();
        for (what, field, value) in edits {
            match what {
                0..5 => {
                    let new = hash.set(&field, &value, &TINY);
                    prop_assert_eq!(new, model.insert(field.clone(), value).is_none());
                }
                5..9 => prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                _ => snapshots.push((hash.as_ref().snapshot(), model.clone())),
            }
            hash.check();
            prop_assert_eq!(hash.as_ref().len(), model.len());
            prop_assert_eq!(hash.as_ref().get(&field).map(|value| value.to_vec()), model.get(&field).cloned());
            prop_assert_eq!(hash.as_ref().contains(&field), model.contains_key(&field));
        }
        prop_assert_eq!(pairs(hash.as_ref()), model.clone());
        for (field, value) in &model {
            prop_assert!(hash.as_ref().get(field).unwrap().is(value));
        }
        let by_number: HashMap<_, _> = (0..model.len())
            .map(|index| hash.as_ref().nth(index).unwrap())
            .map(|(field, value)| (field.to_vec(), value.to_vec()))
            .collect();
        prop_assert_eq!(&by_number, &model);
        prop_assert!(hash.as_ref().nth(model.len()).is_none());
        let pieces: usize = hash.as_ref().pieces().map(|piece| piece.count).sum();
        prop_assert_eq!(pieces, model.len());
        for (snapshot, model) in snapshots {
            let map: HashMap<_, _> = snapshot
                .pairs(0, usize::MAX, false)
                .map(|(field, value)| (field.to_vec(), value.to_vec()))
                .collect();
            prop_assert_eq!(map, model);
        }
    }

    #[test]
    fn a_scan_sees_all_that_is_there_throughout(
        stable in prop::collection::btree_set(0..2000_u32, 0..120),
        changes in prop::collection::vec(prop::collection::vec((any::<bool>(), 0..2000_u32), 0..20), 1..30),
        count in 1..12_usize,
    ) {
        let mut hash = Hash::default();
        for number in &stable {
            hash.set(&number.to_le_bytes(), b"1", &TINY);
        }
        let mut changes = changes.into_iter().cycle();
        let mut seen: BTreeSet<u32> = BTreeSet::new();
        let mut cursor = 0;
        for _ in 0..1000 {
            cursor = hash.as_ref().scan(cursor, count, |field, _| {
                let Item::Str(bytes) = field else { panic!("four bytes of a number are no text of one") };
                seen.insert(u32::from_le_bytes(bytes.try_into().unwrap()));
            });
            if cursor == 0 {
                break;
            }
            for (add, number) in changes.next().unwrap() {
                if !stable.contains(&number) {
                    let field = number.to_le_bytes();
                    if add { hash.set(&field, b"2", &TINY); } else { hash.remove(&field); }
                }
            }
        }
        prop_assert_eq!(cursor, 0);
        prop_assert!(seen.is_superset(&stable));
    }
}

#[test]
fn a_hash_that_does_not_change_is_scanned_once() {
    let mut hash = Hash::default();
    for number in 0..5000 {
        hash.set(format!("f{number}").as_bytes(), b"v", &TINY);
    }
    hash.check();
    let mut times: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut cursor = 0;
    let mut calls = 0;
    loop {
        cursor = hash.as_ref().scan(cursor, 10, |field, _| {
            *times.entry(field.to_vec()).or_default() += 1;
        });
        calls += 1;
        assert!(cursor < 1 << 53);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(times.len(), 5000);
    assert!(times.values().all(|times| *times == 1));
    assert!((400..=500).contains(&calls), "{calls} calls");
}

#[test]
fn a_hash_that_shrinks_gives_its_memory_back() {
    let mut hash = Hash::default();
    for number in 0..5000 {
        hash.set(format!("field:{number}").as_bytes(), b"value", &TINY);
    }
    for number in 20..5000 {
        assert!(hash.remove(format!("field:{number}").as_bytes()));
    }
    hash.check();
    let Hash::Big(big) = &hash else {
        panic!("a big hash stays big")
    };
    assert!(big.bytes() < 6000, "{} bytes", big.bytes());
    assert!(big.weight() < 100);
}

#[test]
fn an_entry_bigger_than_a_leaf_has_its_own() {
    let mut hash = Hash::default();
    for number in 0..200 {
        hash.set(format!("small:{number}").as_bytes(), b"value", &TINY);
    }
    for number in 0..5 {
        hash.set(format!("large:{number}").as_bytes(), &[b'x'; 3000], &TINY);
    }
    hash.check();
    let sizes: Vec<(usize, usize)> = hash
        .as_ref()
        .pieces()
        .map(|piece| (piece.items.len(), piece.count))
        .collect();
    assert_eq!(sizes.iter().filter(|(bytes, _)| *bytes > 3000).count(), 5);
    assert!(
        sizes
            .iter()
            .all(|(bytes, count)| *bytes < 200 || *count == 1)
    );
}
