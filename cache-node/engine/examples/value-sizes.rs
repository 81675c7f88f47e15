//! Prints what collections take, in bytes allocated: `cargo run --release -p cache-engine --example value-sizes`.
//!
//! The figures beside them are Valkey's, of `MEMORY USAGE key SAMPLES 0` after the same elements were put in a hundred at a time
//! (9.1.2, jemalloc 5.3.1, default configuration); they include Valkey's entry and key name, of 50 to 70 bytes. Ours are followed by
//! the bytes of one element.

use cache_engine::collections::PackLimits;
use cache_engine::hash::Hash;
use cache_engine::list::{End, List};
use cache_engine::set::Set;
use cache_engine::sorted_set::SortedSet;

const ENTRIES: PackLimits = PackLimits {
    entries: 128,
    value: 64,
    bytes: 4096,
};
const FIELDS: PackLimits = PackLimits {
    entries: 512,
    ..ENTRIES
};
const ELEMENTS: PackLimits = PackLimits {
    entries: usize::MAX,
    value: usize::MAX,
    ..ENTRIES
};

/// Elements, then Valkey's bytes of a hash, a list, a set and a sorted set.
const VALKEY: [(usize, [usize; 4]); 5] = [
    (10, [416, 224, 224, 224]),
    (100, [3_616, 1_824, 1_824, 2_080]),
    (500, [16_416, 8_224, 20_976, 44_464]),
    (1_000, [73_912, 16_536, 42_416, 86_896]),
    (100_000, [6_136_632, 1_611_496, 2_940_656, 8_279_424]),
];

fn main() {
    let kinds = ["hash", "list", "set", "sorted set"];
    println!(
        "{:>8}  {:<10} {:>10} {:>10} {:>6} {:>8}",
        "elements", "kind", "bytes", "Valkey", "ratio", "each"
    );
    for (count, valkey) in VALKEY {
        let ours = [hash(count), list(count), set(count), sorted_set(count)];
        for ((kind, ours), valkey) in kinds.iter().zip(ours).zip(valkey) {
            let ratio = ours as f64 / valkey as f64;
            let each = ours as f64 / count as f64;
            println!("{count:>8}  {kind:<10} {ours:>10} {valkey:>10} {ratio:>6.2} {each:>8.1}");
        }
    }
}

fn hash(count: usize) -> usize {
    let mut hash = Hash::default();
    for number in 0..count {
        let (field, value) = (format!("field:{number:06}"), format!("value:{number:010}"));
        hash.set(field.as_bytes(), value.as_bytes(), &FIELDS);
    }
    match hash {
        Hash::Packed(buffer) => buffer.items.len(),
        Hash::Big(big) => big.bytes(),
    }
}

fn list(count: usize) -> usize {
    let mut list = List::default();
    for number in 0..count {
        list.push(
            End::Back,
            format!("element:{number:06}").as_bytes(),
            &ELEMENTS,
        );
    }
    match list {
        List::Packed(buffer) => buffer.items.len(),
        List::Big(big) => big.bytes(),
    }
}

fn set(count: usize) -> usize {
    let mut set = Set::default();
    for number in 0..count {
        set.add(format!("element:{number:06}").as_bytes(), &ENTRIES);
    }
    match set {
        Set::Packed(buffer) => buffer.items.len(),
        Set::Big(big) => big.bytes(),
    }
}

fn sorted_set(count: usize) -> usize {
    let mut set = SortedSet::default();
    for number in 0..count {
        set.insert(
            format!("element:{number:06}").as_bytes(),
            number as f64,
            &ENTRIES,
        );
    }
    match set {
        SortedSet::Packed(buffer) => buffer.items.len(),
        SortedSet::Big(big) => big.bytes(),
    }
}
