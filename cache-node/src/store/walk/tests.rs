use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use cache_rdb::{Event, Item};

use super::*;
use crate::store::{Deadline, PackLimits, Value};
use cache_engine::hash::Hash;

const KEYS: u64 = 3000;

const LIMITS: PackLimits = PackLimits {
    entries: 128,
    value: 64,
    bytes: 2048,
};

fn key(number: u64) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

/// Sets, adds or removes the key whose turn it is; every seventh is a big hash, which grows.
fn write(store: &Store, turn: u64, done: &AtomicU64) {
    let key = key(turn % KEYS);
    let hash = KeyHash::of(&key);
    let mut slot = store.lock_blocking(SlotId::of(&key));
    let place = slot.find(&key, hash);
    let value = turn.to_string().into_bytes();
    match (place, turn % KEYS % 7) {
        (Some(place), 0) => slot.update(place, &key, |found| {
            if let Value::Hash(found) = found {
                found.set(format!("field:{turn}").as_bytes(), &value, &LIMITS);
            }
            ((), true)
        }),
        (None, 0) => {
            let mut fields = Hash::default();
            for field in 0..300 {
                fields.set(format!("{field}").as_bytes(), b"0", &LIMITS);
            }
            fields.set(b"last", &value, &LIMITS);
            slot.insert(
                &key,
                hash,
                Value::Hash(fields),
                Deadline::Never,
                Default::default(),
            );
        }
        (Some(place), 1) if turn.is_multiple_of(2) => slot.delete(place, &key),
        (Some(place), 2) if turn.is_multiple_of(3) => {
            slot.set_deadline(place, &key, Some(turn + 1));
        }
        (Some(place), _) => slot.set_string(place, &key, &value, Deadline::Keep),
        (None, _) => slot.insert_string(&key, hash, &value, Deadline::Never, Default::default()),
    }
    // Under the lock, like the log's offset.
    done.store(turn, SeqCst);
}

/// What is told of each key.
type Content = BTreeMap<Vec<u8>, (Option<u64>, Vec<Vec<u8>>)>;

fn text(item: Item<'_>) -> Vec<u8> {
    item.text(&mut itoa::Buffer::new()).to_vec()
}

fn content(rdb: &[u8]) -> Content {
    let mut content = Content::new();
    let mut last = Vec::new();
    cache_rdb::read(rdb, &mut |event| {
        let parts = match event {
            Event::Begin(header) => {
                last = header.key.to_vec();
                let known = content.insert(last.clone(), (header.deadline, Vec::new()));
                assert_eq!(known, None, "passed twice");
                return Ok(());
            }
            Event::Integer(integer) => vec![text(Item::Integer(integer))],
            Event::Piece(piece) => {
                // A string comes in as many pieces as the reader pleases.
                let parts = &mut content.get_mut(&last).expect("begun").1;
                parts.resize(1, Vec::new());
                parts[0].extend_from_slice(piece);
                return Ok(());
            }
            Event::Field(field, value, _) => vec![text(field), text(value)],
            _ => return Ok(()),
        };
        content.get_mut(&last).expect("begun").1.extend(parts);
        Ok(())
    })
    .expect("it is whole");
    content.values_mut().for_each(|(_, parts)| parts.sort());
    content
}

fn step(walk: &mut Walk<'_>, writer: &mut Writer) -> bool {
    walk.step(writer, &mut |_| Ok::<(), std::convert::Infallible>(()))
        .unwrap()
}

fn walk(store: &Store, compresses: bool, cut: impl FnOnce() -> u64) -> (Content, u64) {
    let mut writer = Writer::new(compresses);
    writer.magic();
    let (mut walk, cut) = store.begin_walk(cut).expect("no other walk");
    assert!(store.begin_walk(|| ()).is_none());
    while step(&mut walk, &mut writer) {}
    drop(walk);
    writer.end();
    writer.out.extend_from_slice(&[0; 8]);
    (content(&writer.out), cut)
}

#[test]
fn a_walk_is_the_data_set_at_its_cut_whatever_is_written_meanwhile() {
    let store = Store::new();
    let (done, ended) = (AtomicU64::new(0), AtomicBool::new(false));
    let (found, cut) = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 1;
            while !ended.load(SeqCst) {
                write(&store, turn, &done);
                turn += 1;
            }
        });
        let mut walks = Vec::new();
        for compresses in [false, true] {
            while done.load(SeqCst) < (walks.len() as u64 + 2) * KEYS * 4 {
                std::thread::yield_now();
            }
            walks.push(walk(&store, compresses, || done.load(SeqCst)));
        }
        ended.store(true, SeqCst);
        walks.pop().expect("two walks")
    });
    // The same turns again, up to the cut.
    let again = Store::new();
    let ignored = AtomicU64::new(0);
    (1..=cut).for_each(|turn| write(&again, turn, &ignored));
    let (expected, _) = walk(&again, false, || cut);
    assert_eq!(found.len(), expected.len());
    for (key, expected) in &expected {
        assert_eq!(&found[key], expected, "{}", String::from_utf8_lossy(key));
    }
}

#[test]
fn what_is_emptied_during_a_walk_is_still_passed() {
    let store = Store::new();
    let done = AtomicU64::new(0);
    (1..=KEYS).for_each(|turn| write(&store, turn, &done));
    let (expected, _) = walk(&store, false, || 0);
    let mut writer = Writer::default();
    writer.magic();
    let (mut walk, ()) = store.begin_walk(|| ()).expect("no other walk");
    for _ in 0..100 {
        step(&mut walk, &mut writer);
    }
    for slot in SlotId::all() {
        store.lock_blocking(slot).clear();
    }
    (1..=KEYS / 2).for_each(|turn| write(&store, turn, &done));
    while step(&mut walk, &mut writer) {}
    writer.end();
    writer.out.extend_from_slice(&[0; 8]);
    assert_eq!(content(&writer.out), expected);
}

#[test]
fn a_walk_that_is_dropped_leaves_nothing_behind() {
    let store = Store::new();
    let done = AtomicU64::new(0);
    (1..=KEYS).for_each(|turn| write(&store, turn, &done));
    let (mut given_up, ()) = store.begin_walk(|| ()).expect("no other walk");
    step(&mut given_up, &mut Writer::default());
    (1..=KEYS).for_each(|turn| write(&store, turn, &done));
    drop(given_up);
    assert!(!store.is_walk_full());
    let (found, _) = walk(&store, false, || 0);
    assert_eq!(found.len(), store.count_keys(|_| true));
}

#[tokio::test]
async fn writers_wait_while_too_much_is_kept() {
    let store = Store::new();
    for number in 0..8000 {
        let key = key(number);
        let mut slot = store.lock(SlotId::of(&key)).await;
        slot.insert_string(
            &key,
            KeyHash::of(&key),
            &[b'x'; 3000],
            Deadline::Never,
            Default::default(),
        );
    }
    let (mut walk, ()) = store.begin_walk(|| ()).expect("no other walk");
    for number in 0..8000 {
        let key = key(number);
        let mut slot = store.lock(SlotId::of(&key)).await;
        let place = slot.find(&key, KeyHash::of(&key)).expect("it is there");
        slot.delete(place, &key);
    }
    assert!(store.is_walk_full());
    let room = store.walk_has_room();
    tokio::pin!(room);
    assert!(futures::poll!(&mut room).is_pending());
    let mut writer = Writer::default();
    assert!(step(&mut walk, &mut writer));
    room.await;
    assert!(!store.is_walk_full());
    while step(&mut walk, &mut writer) {}
    assert!(writer.out.len() > 16 << 20);
}

#[test]
fn a_big_slot_that_is_emptied_during_a_walk_is_still_passed() {
    let store = Store::new();
    let slot = SlotId::of(b"{a}");
    for number in 0..3000 {
        let key = format!("{{a}}{number}").into_bytes();
        let hash = KeyHash::of(&key);
        let mut slot = store.lock_blocking(slot);
        slot.insert_string(&key, hash, b"value", Deadline::Never, Default::default());
    }
    let mut writer = Writer::default();
    writer.magic();
    let (mut walk, ()) = store.begin_walk(|| ()).expect("no other walk");
    assert!(step(&mut walk, &mut writer));
    store.lock_blocking(slot).clear();
    while step(&mut walk, &mut writer) {}
    writer.end();
    writer.out.extend_from_slice(&[0; 8]);
    assert_eq!(content(&writer.out).len(), 3000);
}
