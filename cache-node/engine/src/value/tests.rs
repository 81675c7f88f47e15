use super::*;
use crate::KeyHash;
use crate::collections::PackLimits;
use crate::table::{Expiry, Table};

const LIMITS: PackLimits = PackLimits {
    entries: 16,
    value: 64,
    bytes: 1024,
};

fn hash(fields: usize) -> Value {
    let mut hash = Hash::default();
    for number in 0..fields {
        hash.set(format!("f{number}").as_bytes(), b"value", &LIMITS);
    }
    Value::Hash(hash)
}

fn set(members: usize) -> Value {
    let mut set = Set::default();
    for number in 0..members {
        set.add(number.to_string().as_bytes(), &LIMITS);
    }
    Value::Set(set)
}

fn list(elements: usize) -> Value {
    let mut list = List::default();
    for number in 0..elements {
        list.push(
            crate::list::End::Back,
            format!("{number}").as_bytes(),
            &LIMITS,
        );
    }
    Value::List(list)
}

fn sorted_set(members: usize) -> Value {
    let mut set = SortedSet::default();
    for number in 0..members {
        set.insert(number.to_string().as_bytes(), number as f64, &LIMITS);
    }
    Value::SortedSet(set)
}

/// What can be seen of a value, whatever its form.
fn seen(value: ValueRef<'_>) -> Vec<Vec<u8>> {
    match value {
        ValueRef::Integer(value) => vec![value.to_string().into_bytes()],
        ValueRef::String(bytes, _) => vec![bytes.to_vec()],
        ValueRef::Text(text) => vec![text.get_range(0..text.len())],
        ValueRef::Hash(hash) => {
            let pairs = hash.iter().flat_map(|(field, value)| [field, value]);
            sorted(pairs.map(|item| item.to_vec()).collect())
        }
        ValueRef::List(list) => list
            .run(0, list.len(), false)
            .map(|item| item.to_vec())
            .collect(),
        ValueRef::Set(set) => sorted(set.iter().map(|item| item.to_vec()).collect()),
        ValueRef::SortedSet(set) => set
            .range(0, set.len(), false)
            .map(|(member, score)| format!("{:?} {score}", member.to_vec()).into_bytes())
            .collect(),
    }
}

fn sorted(mut all: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    all.sort();
    all
}

fn samples() -> Vec<Value> {
    vec![
        Value::Integer(-5),
        Value::string(b"short".to_vec(), false),
        Value::string(vec![b'x'; MAX_INLINE], true),
        Value::string(vec![b'y'; MAX_INLINE + 1], false),
        hash(3),
        hash(500),
        list(3),
        list(5000),
        set(3),
        set(500),
        sorted_set(3),
        sorted_set(500),
    ]
}

fn view(table: &Table) -> Vec<Vec<u8>> {
    let place = table.find(b"key", KeyHash::of(b"key")).unwrap();
    seen(table.entry(place).value())
}

fn counted(table: &Table) -> usize {
    table.iter().map(Entry::bytes).sum()
}

#[test]
fn a_value_goes_into_an_entry_and_comes_out_as_it_was() {
    for value in samples() {
        let mut table = Table::default();
        let outer = value.outer_bytes();
        table.insert_value(b"key", KeyHash::of(b"key"), value, None, 0);
        let before = view(&table);
        assert_eq!(table.entry_bytes(), counted(&table));
        assert!(table.entry_bytes() > outer);
        let place = table.find(b"key", KeyHash::of(b"key")).unwrap();
        let copy = table.entry(place).value().to_value();
        let taken = table.take(place);
        assert_eq!((table.len(), table.entry_bytes()), (0, 0));
        for value in [copy, taken] {
            table.insert_value(b"key", KeyHash::of(b"key"), value, Some((5, 5)), 0);
            assert_eq!(view(&table), before);
            let place = table.find(b"key", KeyHash::of(b"key")).unwrap();
            drop(table.delete(place));
            assert_eq!(table.entry_bytes(), 0);
        }
    }
}

#[test]
fn any_value_may_follow_any_other() {
    let hash = KeyHash::of(b"key");
    for first in 0..samples().len() {
        for second in 0..samples().len() {
            let mut table = Table::default();
            let place = table.insert_value(b"key", hash, samples().remove(second), None, 0);
            let expected = view(&table);
            table.delete(place);
            let place = table.insert_value(b"key", hash, samples().remove(first), None, 1 << 12);
            table.set_value(place, samples().remove(second), Expiry::At((9, 9)));
            assert_eq!(view(&table), expected);
            assert_eq!(table.entry_bytes(), counted(&table));
            assert_eq!(table.probation_bytes(), 0);
        }
    }
}

#[test]
fn a_change_in_place_keeps_the_counts_even_if_it_panics() {
    let mut table = Table::default();
    let place = table.insert_value(b"key", KeyHash::of(b"key"), list(3), None, 0);
    table.update(place, |value| {
        let Value::List(list) = value else {
            panic!("a list was put")
        };
        for _ in 0..2000 {
            list.push(crate::list::End::Front, b"more", &LIMITS);
        }
    });
    assert_eq!(table.entry_bytes(), counted(&table));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        table.update(place, |value| {
            *value = Value::Integer(1);
            panic!("half-way");
        });
    }));
    assert!(outcome.is_err());
    assert_eq!(view(&table), [b"1".to_vec()]);
    assert_eq!(table.entry_bytes(), counted(&table));
}

#[test]
fn encodings_have_redis_names() {
    let names: Vec<&str> = samples()
        .into_iter()
        .map(|value| {
            let mut table = Table::default();
            let place = table.insert_value(b"key", KeyHash::of(b"key"), value, None, 0);
            table.entry(place).value().encoding()
        })
        .collect();
    let expected = [
        "int",
        "embstr",
        "raw",
        "raw",
        "listpack",
        "hashtable",
        "listpack",
        "quicklist",
        "intset",
        "hashtable",
        "listpack",
        "skiplist",
    ];
    assert_eq!(names, expected);
}
