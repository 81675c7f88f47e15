//! How the state follows settings and the data set.

use super::*;
use crate::slot::SlotId;
use crate::store::{Deadline, Store};

fn choice(policy: Policy) -> Choice {
    Choice {
        policy,
        weight: SizeWeight::None,
        samples: 16,
        lfu: LfuConfig::default(),
    }
}

fn store(keys: u32) -> Store {
    let store = Store::new();
    for key in 0..keys {
        let key = key.to_le_bytes();
        let mut guard = store.try_lock(SlotId::of(&key)).unwrap();
        guard.insert_string(
            &key,
            KeyHash::of(&key),
            b"value",
            Deadline::Never,
            Meta::default(),
        );
    }
    store.memory().publish();
    store
}

fn read_misses(eviction: &Eviction, keys: u32) {
    for key in 0..keys {
        eviction.observe(KeyHash::of(&key.to_le_bytes()), Access::Miss);
    }
}

#[test]
fn every_kind_of_every_policy_is_told_from_the_others() {
    let kinds = Policy::all().filter_map(Policy::kind);
    for kind in kinds.chain([Kind::S3Lenient]) {
        assert_eq!(KINDS[number_of(kind) as usize].0, kind);
    }
}

#[test]
fn auto_observes_nothing_before_the_first_eviction() {
    let store = store(5_000);
    let eviction = Eviction::new(choice(Policy::Auto), true);
    eviction.keep(store.memory());
    assert!(eviction.usage(0).sampler.is_none());
    assert_eq!(eviction.usage(0).rules.kind, Kind::S3);
    assert_eq!(eviction.bytes(), (0, 0));
    eviction.evicting(store.memory());
    assert!(eviction.usage(0).sampler.is_some());
    assert!(eviction.bytes().1 > 0);
    read_misses(&eviction, 100);
}

#[test]
fn an_emptied_data_set_and_another_policy_begin_anew() {
    let (full, empty) = (store(5_000), store(0));
    let eviction = Eviction::new(choice(Policy::Auto), true);
    eviction.evicting(full.memory());
    eviction.keep(full.memory());
    assert!(eviction.usage(0).sampler.is_some());
    eviction.keep(empty.memory());
    assert!(eviction.usage(0).sampler.is_none());

    eviction.evicting(full.memory());
    eviction.adopt(choice(Policy::AllKeys(Kind::Lfu)), true);
    assert!(eviction.usage(0).sampler.is_none());
    assert_eq!(eviction.usage(0).rules.kind, Kind::Lfu);
    assert_eq!(eviction.bytes(), (0, 0));
    eviction.evicting(full.memory());
    assert_eq!(eviction.bytes(), (0, 0));
}

#[test]
fn a_key_that_comes_back_is_recognized_under_every_policy_that_remembers() {
    let store = store(5_000);
    let hash = KeyHash::of(b"back");
    for policy in [
        Policy::Auto,
        Policy::AllKeys(Kind::S3),
        Policy::Volatile(Kind::S3),
    ] {
        let eviction = Eviction::new(choice(policy), true);
        eviction.evicting(store.memory());
        let fresh = || {
            eviction
                .fresh(store.memory(), hash, &eviction.usage(0))
                .is_main()
        };
        assert!(!fresh(), "{policy}");
        eviction.ghosts.remember(hash);
        assert!(fresh(), "{policy}");
        assert!(!fresh(), "{policy}");
    }
}

#[test]
fn an_observer_in_use_loses_an_access_and_nobody_waits() {
    let store = store(100);
    let eviction = Eviction::new(choice(Policy::Auto), true);
    eviction.evicting(store.memory());
    let _busy = eviction.auto.lock();
    eviction.observe(KeyHash::of(b"key"), Access::Miss);
}
