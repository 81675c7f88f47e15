use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::entry::Entry;
use crate::key_hash::KeyHash;

use super::super::tests::{Step, name, put, step, timed, value_of};
use super::super::{Place, Table};

/// Keys with their values and deadlines.
type Content = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

fn content(table: &Table) -> Content {
    let mut content = Content::new();
    table.iter().for_each(|entry| keep(&mut content, entry));
    content
}

fn keep(content: &mut Content, entry: Entry<'_>) {
    let value = (value_of(entry), entry.deadline());
    let known = content.insert(entry.key().to_vec(), value);
    assert_eq!(known, None, "passed twice");
}

fn find(table: &Table, key: &[u8]) -> Option<Place> {
    table.find(key, KeyHash::of(key))
}

/// Passes the entry that is about to change.
fn prepare(table: &mut Table, key: &[u8], passed: &mut Content) {
    if let Some(place) = find(table, key)
        && table.is_behind(place)
    {
        keep(passed, table.entry(place));
        table.pass(place);
    }
}

fn take(table: &mut Table, step: &Step, passed: &mut Content) {
    let key = match step {
        Step::Put(key, ..) | Step::Remove(key) | Step::Expire(key, _) => name(*key),
    };
    prepare(table, &key, passed);
    match step {
        Step::Put(_, length, due) => put(table, &key, &vec![*length as u8; *length], timed(*due)),
        Step::Remove(_) => {
            if let Some(place) = find(table, &key) {
                table.remove(place);
            }
        }
        Step::Expire(_, due) => {
            if let Some(place) = find(table, &key) {
                table.set_deadline(place, timed(*due));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_walk_passes_everything_once_as_it_was(
        before in prop::collection::vec(step(2000), 0..1500),
        walks in prop::collection::vec(
            (prop::collection::vec((step(2000), 0usize..3), 0..300), 1usize..100), 1..4),
    ) {
        let mut table = Table::default();
        let mut nothing = Content::new();
        before.into_iter().for_each(|step| take(&mut table, &step, &mut nothing));
        for (steps, count) in walks {
            let expected = content(&table);
            let mut passed = Content::new();
            let mut next = Some(KeyHash(0));
            table.begin_walk();
            for (step, walked) in steps {
                take(&mut table, &step, &mut passed);
                for _ in 0..walked {
                    next = next.and_then(|from| table.walk(from, count, |entry| keep(&mut passed, entry)));
                }
            }
            while let Some(from) = next {
                next = table.walk(from, count, |entry| keep(&mut passed, entry));
            }
            prop_assert!(!table.is_walking());
            prop_assert_eq!(passed, expected);
            prop_assert!(nothing.is_empty());
        }
    }

    #[test]
    fn after_a_walk_that_was_given_up_another_passes_everything(
        before in prop::collection::vec(step(500), 0..500),
        steps in prop::collection::vec(step(500), 0..100),
    ) {
        let mut table = Table::default();
        let mut ignored = Content::new();
        before.into_iter().for_each(|step| take(&mut table, &step, &mut ignored));
        table.begin_walk();
        steps.into_iter().for_each(|step| take(&mut table, &step, &mut ignored));
        table.end_walk();
        let expected = content(&table);
        let mut passed = Content::new();
        table.begin_walk();
        table.walk(KeyHash(0), usize::MAX, |entry| keep(&mut passed, entry));
        prop_assert_eq!(passed, expected);
    }
}
