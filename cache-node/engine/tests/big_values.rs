//! Collections of the sizes that are in use, where the unit tests have tiny blocks.

use cache_engine::collections::PackLimits;
use cache_engine::hash::Hash;
use cache_engine::list::{End, List};
use cache_engine::set::Set;
use cache_engine::sorted_set::SortedSet;

const LIMITS: PackLimits = PackLimits {
    entries: 128,
    value: 64,
    bytes: 4096,
};

fn element(number: usize) -> Vec<u8> {
    format!("element:{number:06}").into_bytes()
}

/// The limits are what `MEMORY USAGE key SAMPLES 0` answers in Valkey 9.1.2.
#[test]
fn a_thousand_elements_take_no_more_than_in_valkey() {
    let (mut hash, mut list, mut set, mut sorted) = (
        Hash::default(),
        List::default(),
        Set::default(),
        SortedSet::default(),
    );
    let elements = PackLimits {
        entries: usize::MAX,
        ..LIMITS
    };
    for number in 0..1000 {
        let (field, value) = (format!("field:{number:06}"), format!("value:{number:010}"));
        hash.set(field.as_bytes(), value.as_bytes(), &LIMITS);
        list.push(End::Back, &element(number), &elements);
        set.add(&element(number), &LIMITS);
        sorted.insert(&element(number), number as f64, &LIMITS);
    }
    let (Hash::Big(hash), List::Big(list), Set::Big(set), SortedSet::Big(sorted)) =
        (hash, list, set, sorted)
    else {
        panic!("a thousand elements are beyond the limits of the packed form");
    };
    assert!(hash.bytes() <= 73_912, "hash: {}", hash.bytes());
    assert!(list.bytes() <= 16_536, "list: {}", list.bytes());
    assert!(set.bytes() <= 42_416, "set: {}", set.bytes());
    assert!(sorted.bytes() <= 86_896, "sorted set: {}", sorted.bytes());
}

#[test]
fn a_hundred_thousand_elements_are_found_ranked_and_removed() {
    const COUNT: usize = 100_000;
    let (mut hash, mut list, mut sorted) = (Hash::default(), List::default(), SortedSet::default());
    for number in 0..COUNT {
        // Multiplying with a number that shares no factor with it visits every number once.
        let number = number * 7919 % COUNT;
        assert!(hash.set(&element(number), number.to_string().as_bytes(), &LIMITS));
        list.push(End::Front, &element(number), &LIMITS);
        assert_eq!(
            sorted.insert(&element(number), number as f64 / 2.0, &LIMITS),
            None
        );
    }
    for number in (0..COUNT).step_by(7) {
        let value = hash.as_ref().get(&element(number)).unwrap();
        assert!(value.is(number.to_string().as_bytes()));
        let rank = sorted.as_ref().rank(&element(number));
        assert_eq!(rank, Some((number, number as f64 / 2.0)));
        let at = list.as_ref().get(COUNT - 1 - number).unwrap();
        assert!(at.is(&element(number * 7919 % COUNT)));
    }
    assert_eq!(sorted.as_ref().rank_of_score(1000.0, false), 2000);
    assert_eq!(sorted.as_ref().rank_of_score(1000.0, true), 2001);
    sorted.remove_range(10, COUNT - 20);
    assert_eq!(sorted.as_ref().len(), 20);
    assert_eq!(sorted.as_ref().score(&element(5000)), None);
    list.remove(1, COUNT - 2);
    assert_eq!(list.as_ref().len(), 2);
    for number in 0..COUNT {
        assert!(hash.remove(&element(number)));
    }
    assert!(hash.as_ref().is_empty());
}
