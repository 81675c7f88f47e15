use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::prefetch::Layout;

pub(super) fn put(table: &mut Table, key: &[u8], value: &[u8], deadline: Option<(u64, u32)>) {
    let hash = KeyHash::of(key);
    let payload = Payload::String(value, false);
    match table.find(key, hash) {
        Some(place) => table.replace(place, Some(deadline), payload),
        None => {
            table.insert(key, hash, deadline, payload, 0);
        }
    }
}

pub(super) fn value_of(entry: Entry<'_>) -> Vec<u8> {
    match entry.payload() {
        Payload::String(bytes, _) => bytes.to_vec(),
        _ => panic!("only strings were put"),
    }
}

pub(super) fn name(number: u32) -> Vec<u8> {
    format!("key:{number:06}").into_bytes()
}

/// Bytes of blocks and directory, counted anew.
fn counted_bytes(table: &Table) -> usize {
    let segments = (0..table.segments()).map(|index| table.segment(index).bytes());
    segments.sum::<usize>() + table.more.as_ref().map_or(0, |more| more.bytes())
}

/// Every entry's deadline lies at or behind what its bucket says, and every bucket knows which were passed.
fn check(table: &Table) {
    assert_eq!(table.bytes(), counted_bytes(table));
    assert_eq!(table.places().count(), table.len());
    let mut volatile = 0;
    for place in table.places().collect::<Vec<_>>() {
        let entry = table.entry(place);
        assert_eq!(
            table.find(entry.key(), KeyHash::of(entry.key())),
            Some(place)
        );
        if let Some(deadline) = entry.deadline() {
            volatile += 1;
            let dues = table.segment(place.segment).dues();
            assert!(u64::from(dues[usize::from(place.spot.bucket)]) <= deadline);
        }
        assert_eq!(table.word(place).volatile, entry.deadline().is_some());
    }
    assert_eq!(volatile, table.volatile());
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Put(u32, usize, Option<u32>),
    Remove(u32),
    Expire(u32, Option<u32>),
}

pub(super) fn step(keys: u32) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..keys, 0..80_usize, prop::option::of(1..1000_u32)).prop_map(|(key, len, due)| Step::Put(key, len, due)),
        2 => (0..keys).prop_map(Step::Remove),
        1 => (0..keys, prop::option::of(1..1000_u32)).prop_map(|(key, due)| Step::Expire(key, due)),
    ]
}

pub(super) fn timed(due: Option<u32>) -> Option<(u64, u32)> {
    due.map(|due| (u64::from(due), due))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_behaves_like_a_map(steps in prop::collection::vec(step(300), 0..1500)) {
        let mut table = Table::default();
        let mut model: BTreeMap<Vec<u8>, (Vec<u8>, Option<u32>)> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(key, len, due) => {
                    let (key, value) = (name(key), vec![len as u8; len]);
                    put(&mut table, &key, &value, timed(due));
                    model.insert(key, (value, due));
                }
                Step::Remove(key) => {
                    let key = name(key);
                    let place = table.find(&key, KeyHash::of(&key));
                    prop_assert_eq!(place.is_some(), model.remove(&key).is_some());
                    if let Some(place) = place {
                        table.remove(place);
                    }
                }
                Step::Expire(key, due) => {
                    let key = name(key);
                    if let Some(place) = table.find(&key, KeyHash::of(&key)) {
                        table.set_deadline(place, timed(due));
                        model.get_mut(&key).unwrap().1 = due;
                    }
                }
            }
        }
        check(&table);
        prop_assert_eq!(table.len(), model.len());
        for (key, (value, due)) in &model {
            let place = table.find(key, KeyHash::of(key)).unwrap();
            prop_assert_eq!(&value_of(table.entry(place)), value);
            prop_assert_eq!(table.entry(place).deadline(), due.map(u64::from));
        }
    }
}

#[test]
fn a_big_table_is_split_and_shrinks_to_nothing() {
    let mut table = Table::default();
    for number in 0..20_000 {
        put(&mut table, &name(number), b"value", None);
    }
    check(&table);
    assert!(table.segments() > 16);
    assert_eq!(table.layout(), Layout::NONE);
    for number in 0..20_000 {
        let key = name(number);
        let place = table.find(&key, KeyHash::of(&key)).unwrap();
        table.remove(place);
        if number % 1000 == 0 {
            check(&table);
        }
    }
    assert!(table.is_empty());
    assert_eq!(table.bytes(), 0);
}

#[test]
fn buckets_are_well_filled_at_every_size() {
    let mut table = Table::default();
    for number in 0..900 {
        put(&mut table, &name(number), b"v", None);
        if number >= 40 {
            let per_key = table.bytes() as f64 / table.len() as f64;
            assert!(per_key < 11.5, "{per_key} bytes a key at {number}");
        }
    }
}

#[test]
fn policy_bits_stay_with_their_entry() {
    let mut table = Table::default();
    for number in 0..5000_u32 {
        let key = name(number);
        let payload = Payload::Integer(i64::from(number));
        table.insert(
            &key,
            KeyHash::of(&key),
            None,
            payload,
            (number % 8192) as u16,
        );
    }
    for number in (0..5000).step_by(3) {
        let key = name(number);
        let place = table.find(&key, KeyHash::of(&key)).unwrap();
        table.remove(place);
    }
    for number in (0..5000_u32).filter(|number| number % 3 != 0) {
        let key = name(number);
        let place = table.find(&key, KeyHash::of(&key)).unwrap();
        assert_eq!(table.meta(place), (number % 8192) as u16);
    }
}

#[test]
fn a_scan_sees_what_stays_whatever_comes_and_goes() {
    let mut table = Table::default();
    for number in 0..3000 {
        put(&mut table, &name(number), b"v", None);
    }
    let mut seen = BTreeSet::new();
    let mut cursor = Some(KeyHash(0));
    let mut round = 0;
    while let Some(from) = cursor {
        assert_eq!(from.0.trailing_zeros().min(64 - SCAN_BITS), 64 - SCAN_BITS);
        cursor = table.scan(from, 10, |entry| {
            seen.insert(entry.key().to_vec());
        });
        // 2000 keys stay; a thousand go while others come, which splits segments.
        if round < 1000 {
            let key = name(2000 + round);
            let place = table.find(&key, KeyHash::of(&key)).unwrap();
            table.remove(place);
            for more in 0..5 {
                put(&mut table, &name(10_000 + round * 5 + more), b"v", None);
            }
        }
        round += 1;
    }
    assert!((0..2000).all(|number| seen.contains(&name(number))));
    assert!(round > 100);
}

#[test]
fn samples_reach_every_entry() {
    let mut table = Table::default();
    for number in 0..2000 {
        put(&mut table, &name(number), b"v", None);
    }
    let mut seen = BTreeSet::new();
    let mut random = 1_u64;
    for _ in 0..20_000 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let mixed = random ^ random >> 29;
        seen.extend(
            table
                .sample(mixed)
                .map(|(place, _)| table.entry(place).key().to_vec()),
        );
    }
    assert_eq!(seen.len(), 2000);
}

#[test]
fn the_soonest_bucket_holds_the_earliest_deadline() {
    let mut table = Table::default();
    for number in 0..2000_u32 {
        let due = 10_000 - number;
        put(&mut table, &name(number), b"v", timed(Some(due)));
    }
    let deadlines = table
        .soonest_bucket()
        .map(|place| table.entry(place).deadline());
    assert_eq!(deadlines.min(), Some(Some(8001)));
    assert_eq!(table.next_due(), 8001);
}
