//! A slot's expiry calendar and its watched keys.

use super::*;

const NOW: Millis = 1_800_000_000_000;

fn put(slot: &mut SlotData, key: &str, deadline: Deadline) {
    slot.put(key.as_bytes(), Value::Integer(1), deadline, NOW);
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
    slot.set_deadline(b"later", Some(NOW + 5000));
    put(&mut slot, "sooner", Deadline::At(NOW + 9000));
    slot.set_deadline(b"sooner", Some(NOW + 2000));
    put(&mut slot, "never", Deadline::At(NOW + 1000));
    slot.set_deadline(b"never", None);
    assert!(expire_at(&mut slot, NOW + 1500).is_empty());
    assert_eq!(expire_at(&mut slot, NOW + 2500), ["sooner"]);
    assert_eq!(expire_at(&mut slot, NOW + 6000), ["later"]);
    assert!(expire_at(&mut slot, NOW + 100_000).is_empty());
    slot.set_deadline(b"never", Some(NOW + 100_000));
    assert_eq!(expire_at(&mut slot, NOW + 101_000), ["never"]);
}

#[test]
fn churn_does_not_fill_the_calendar() {
    let mut slot = SlotData::default();
    put(&mut slot, "stays", Deadline::Never);
    for _ in 0..10_000 {
        put(&mut slot, "k", Deadline::At(NOW + 1_000_000));
        slot.delete(b"k");
    }
    assert!(slot.calendar.len() < 200);
}

#[test]
fn a_watched_key_is_touched_by_change_removal_and_expiry() {
    type Change = fn(&mut SlotData);
    let changes: [Change; 4] = [
        |slot| put(slot, "k", Deadline::Keep),
        |slot| assert!(slot.delete(b"k")),
        |slot| assert!(slot.expire(b"k", NOW + 10)),
        |slot| assert_eq!(slot.clear(), 1),
    ];
    for change in changes {
        let mut slot = SlotData::default();
        let touched = Arc::new(Touched::default());
        put(&mut slot, "k", Deadline::At(NOW + 10));
        slot.watch(b"k", &touched, NOW);
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
    slot.watch(b"k", &touched, NOW + 20);
    assert!(slot.expire(b"k", NOW + 30));
    assert!(!touched.is_set());
    put(&mut slot, "k", Deadline::Never);
    assert!(touched.is_set());
}
