//! A slot's expiry calendar and its watched keys.

use super::*;

const NOW: Millis = 1_800_000_000_000;

fn find(slot: &SlotData, key: &str) -> Place {
    slot.find(key.as_bytes(), KeyHash::of(key.as_bytes()))
        .unwrap()
}

fn put(slot: &mut SlotData, key: &str, deadline: Deadline) {
    let bytes = key.as_bytes();
    let hash = KeyHash::of(bytes);
    match slot.find(bytes, hash) {
        Some(place) => slot.set_string(place, bytes, b"v", deadline),
        None => slot.insert_string(bytes, hash, b"v", deadline, Meta::default()),
    }
}

fn set_deadline(slot: &mut SlotData, key: &str, deadline: Option<Millis>) {
    slot.set_deadline(find(slot, key), key.as_bytes(), deadline);
}

fn delete(slot: &mut SlotData, key: &str) {
    slot.delete(find(slot, key), key.as_bytes());
}

fn expire(slot: &mut SlotData, key: &str) {
    slot.expire(find(slot, key), key.as_bytes());
}

fn expire_at(slot: &mut SlotData, now: Millis) -> Vec<String> {
    let mut keys = Vec::new();
    while slot.expire_due(now, 10, |key| {
        keys.push(String::from_utf8_lossy(key).into_owned());
    }) {}
    keys.sort();
    keys
}

#[test]
fn keys_expire_when_they_are_due_and_not_before() {
    let mut slot = SlotData::default();
    put(&mut slot, "a", Deadline::At(NOW + 1000));
    put(&mut slot, "b", Deadline::At(NOW + 60_000));
    put(&mut slot, "c", Deadline::Never);
    assert!(expire_at(&mut slot, NOW + 999).is_empty());
    assert_eq!(expire_at(&mut slot, NOW + 1200), ["a"]);
    assert_eq!(expire_at(&mut slot, NOW + 61_000), ["b"]);
    assert_eq!((slot.len(), slot.volatile()), (1, 0));
}

#[test]
fn a_deadline_that_was_put_off_or_brought_forward_is_kept() {
    let mut slot = SlotData::default();
    put(&mut slot, "later", Deadline::At(NOW + 1000));
    set_deadline(&mut slot, "later", Some(NOW + 5000));
    put(&mut slot, "sooner", Deadline::At(NOW + 9000));
    set_deadline(&mut slot, "sooner", Some(NOW + 2000));
    put(&mut slot, "never", Deadline::At(NOW + 1000));
    set_deadline(&mut slot, "never", None);
    assert!(expire_at(&mut slot, NOW + 1500).is_empty());
    assert_eq!(expire_at(&mut slot, NOW + 2500), ["sooner"]);
    assert_eq!(expire_at(&mut slot, NOW + 6000), ["later"]);
    assert!(expire_at(&mut slot, NOW + 100_000).is_empty());
    set_deadline(&mut slot, "never", Some(NOW + 100_000));
    assert_eq!(expire_at(&mut slot, NOW + 101_000), ["never"]);
}

#[test]
fn many_keys_expire_in_the_order_of_their_deadlines() {
    let mut slot = SlotData::default();
    for number in 0..5000_u64 {
        put(
            &mut slot,
            &format!("{number}"),
            Deadline::At(NOW + 1000 * (number % 50)),
        );
    }
    for second in 0..50 {
        let expired = expire_at(&mut slot, NOW + 1000 * second + 200);
        assert_eq!(expired.len(), 100, "in second {second}");
        let all_due = |key: &String| key.parse::<u64>().unwrap() % 50 == second;
        assert!(expired.iter().all(all_due));
    }
    assert!(slot.is_empty());
}

#[test]
fn a_watched_key_is_touched_by_change_removal_and_expiry() {
    type Change = fn(&mut SlotData);
    let changes: [Change; 4] = [
        |slot| put(slot, "k", Deadline::Keep),
        |slot| delete(slot, "k"),
        |slot| expire(slot, "k"),
        |slot| assert_eq!(slot.clear(), 1),
    ];
    for change in changes {
        let mut slot = SlotData::default();
        let touched = Arc::new(Touched::default());
        put(&mut slot, "k", Deadline::At(NOW + 10));
        slot.watch(b"k", KeyHash::of(b"k"), &touched, NOW);
        assert!(!touched.is_set());
        change(&mut slot);
        assert!(touched.is_set());
    }
}

#[test]
fn removing_a_key_that_had_expired_before_the_watch_is_no_change() {
    let mut slot = SlotData::default();
    let touched = Arc::new(Touched::default());
    put(&mut slot, "k", Deadline::At(NOW + 10));
    slot.watch(b"k", KeyHash::of(b"k"), &touched, NOW + 20);
    expire(&mut slot, "k");
    assert!(!touched.is_set());
    put(&mut slot, "k", Deadline::Never);
    assert!(touched.is_set());
}
