//! `auto` from the outside: what it chooses, and what it takes to do so.

use cache_eviction::{Access, Auto, Kind, SizeWeight};
use rand::{Rng, SeedableRng, rngs::StdRng};

const KEYS: u64 = 400;

fn hash(key: u64) -> u64 {
    let mixed = (key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ mixed >> 27
}

fn auto() -> Auto {
    Auto::new(SizeWeight::None, KEYS, KEYS, 1)
}

/// A read that the client follows with a write if the node does not have the key.
fn read(auto: &mut Auto, key: u64) {
    if auto.sampler().picks(hash(key)) {
        auto.observe(hash(key), Access::Miss);
        auto.observe(hash(key), Access::Insert { bytes: 1 });
    }
}

/// Keys are asked for again and again for a while, the newest the most, and then never again.
fn drift(auto: &mut Auto, requests: u64, random: &mut StdRng) {
    for at in 0..requests {
        // The distance back is uneven: the cube of a uniform number.
        let back = random.random::<f64>().powi(3) * 3.0 * KEYS as f64;
        read(auto, 10_000_000 + at / 4 - back as u64);
    }
}

/// A few keys that stay popular among many that are asked for once.
fn scan(auto: &mut Auto, requests: u64, random: &mut StdRng) {
    for at in 0..requests {
        let key = if random.random_bool(0.5) {
            random.random_range(0..KEYS)
        } else {
            20_000_000 + at
        };
        read(auto, key);
    }
}

#[test]
fn it_begins_with_s3_and_stays_there_through_scans() {
    let mut auto = auto();
    assert_eq!(auto.choice(), Kind::S3);
    scan(&mut auto, 50_000, &mut StdRng::seed_from_u64(1));
    assert_ne!(auto.choice(), Kind::Lru);
    let misses = |kind| {
        auto.standings()
            .into_iter()
            .find(|standing| standing.kind == kind)
            .unwrap()
            .misses
    };
    assert!(misses(Kind::S3) < misses(Kind::Lru));
}

#[test]
fn it_leaves_s3_where_keys_are_used_for_a_while_and_returns_when_that_ends() {
    let (mut auto, mut random) = (auto(), StdRng::seed_from_u64(2));
    drift(&mut auto, 50_000, &mut random);
    assert_ne!(auto.choice(), Kind::S3);
    scan(&mut auto, 100_000, &mut random);
    assert_eq!(auto.choice(), Kind::S3);
}

#[test]
fn metadata_ghost_and_sketch_take_at_most_24_bits_a_key_from_one_and_a_half_million_keys_on() {
    for keys in [1_500_000, 3_000_000, 10_000_000, 100_000_000, 1_000_000_000] {
        let auto = Auto::new(SizeWeight::Root, keys, keys * 200, 1);
        assert!(
            auto.heap_bytes() <= 512 << 10,
            "{keys} keys: {} bytes",
            auto.heap_bytes()
        );
        // 13 bits of metadata, and 12 bits for each of 88 fingerprints for 100 keys.
        let bits = 13.0 + 12.0 * 0.88 + 8.0 * auto.heap_bytes() as f64 / keys as f64;
        assert!(bits <= 24.0, "{keys} keys: {bits} bits");
    }
}

#[test]
fn memory_does_not_grow_with_use() {
    let mut auto = auto();
    let before = auto.heap_bytes();
    scan(&mut auto, 20_000, &mut StdRng::seed_from_u64(3));
    assert_eq!(auto.heap_bytes(), before);
}

#[test]
fn the_sample_follows_the_number_of_keys() {
    let mut auto = auto();
    let picked = |auto: &Auto| {
        (0..100_000)
            .filter(|key| auto.sampler().picks(hash(*key)))
            .count()
    };
    assert_eq!(picked(&auto), 100_000);
    auto.resize(1_000_000, 1_000_000);
    let some = picked(&auto);
    assert!((80..250).contains(&some), "{some} of 100,000");
    // A small change leaves it alone.
    let sampler = auto.sampler();
    auto.resize(1_100_000, 1_100_000);
    assert_eq!(auto.sampler(), sampler);
    auto.resize(10, 10);
    assert_eq!(picked(&auto), 100_000);
}
