//! The table against a model, and what a scan promises.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug, PartialEq)]
struct Item(Vec<u8>, u32);

impl Keyed for Item {
    fn key(&self) -> &[u8] {
        &self.0
    }
}

fn item(number: u32, value: u32) -> (Item, KeyHash) {
    let key = format!("key:{number}").into_bytes();
    let hash = KeyHash::of(&key);
    (Item(key, value), hash)
}

fn scan_all(table: &Table<Item>, count: usize) -> Vec<Vec<u8>> {
    let mut seen = Vec::new();
    let mut from = Some(KeyHash(0));
    while let Some(start) = from {
        from = table.scan(start, count, |item| seen.push(item.0.clone()));
    }
    seen
}

#[test]
fn a_table_of_many_segments_finds_everything() {
    let mut table = Table::default();
    for number in 0..20_000 {
        let (item, hash) = item(number, number);
        assert_eq!(table.insert(item, hash), None);
    }
    assert!(table.segments.len() > 20);
    for number in 0..20_000 {
        let (item, hash) = item(number, number);
        assert_eq!(table.get(&item.0, hash), Some(&item));
        assert_eq!(
            table
                .with_hash(hash)
                .filter(|found| **found == item)
                .count(),
            1
        );
    }
    let mut seen = scan_all(&table, 10);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 20_000);
    for number in 0..20_000 {
        let (item, hash) = item(number, number);
        assert_eq!(table.remove(&item.0, hash), Some(item));
    }
    assert!(table.is_empty());
    assert_eq!(table.bytes(), 0);
}

#[test]
fn an_item_is_picked_from_any_table_that_has_one() {
    let mut table = Table::default();
    assert_eq!(table.pick(|_| 0), None);
    let (only, hash) = item(1, 1);
    table.insert(only.clone(), hash);
    assert_eq!(table.pick(|below| below - 1), Some(&only));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_table_behaves_like_a_map(
        steps in prop::collection::vec((0..3000_u32, 0..3_u8), 0..4000)
    ) {
        let mut table: Table<Item> = Table::default();
        let mut model = BTreeMap::new();
        for (value, (number, action)) in steps.into_iter().enumerate() {
            let (item, hash) = item(number, value as u32);
            let key = item.0.clone();
            if action == 0 {
                prop_assert_eq!(table.remove(&key, hash).map(|item| item.1), model.remove(&key));
            } else {
                let old = table.insert(item, hash).map(|item| item.1);
                prop_assert_eq!(old, model.insert(key.clone(), value as u32));
            }
            prop_assert_eq!(table.get(&key, hash).map(|item| item.1), model.get(&key).copied());
            prop_assert_eq!(table.len(), model.len());
        }
        let all: BTreeSet<Vec<u8>> = table.iter().map(|item| item.0.clone()).collect();
        prop_assert_eq!(all.len(), model.len());
    }

    #[test]
    fn a_scan_sees_what_is_present_throughout(
        count in 1..50_usize, growth in 1..2000_u32, start in 0..2000_u32
    ) {
        let mut table = Table::default();
        for number in 0..start {
            let (item, hash) = item(number, 0);
            table.insert(item, hash);
        }
        let mut seen = BTreeSet::new();
        let mut from = Some(KeyHash(0));
        let mut next = 1_000_000;
        while let Some(hash) = from {
            from = table.scan(hash, count, |item| { seen.insert(item.0.clone()); });
            for number in next..next + growth / 20 {
                let (item, hash) = item(number, 0);
                table.insert(item, hash);
            }
            next += growth / 20;
            if next > 1_020_000 { break; }
        }
        if from.is_none() {
            for number in 0..start {
                prop_assert!(seen.contains(&item(number, 0).0.0));
            }
        }
    }
}
