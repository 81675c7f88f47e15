//! Short hashes and labels in the style of Kubernetes: safe alphabets for generated names. Pure.

use serde::Serialize;

/// Kubernetes's alphabet for generated names: no vowels and no look-alikes, so that no words appear.
const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// 32-bit FNV-1a.
fn fnv(bytes: &[u8], seed: u32) -> u32 {
    bytes.iter().fold(seed, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(16_777_619)
    })
}

/// A hash of a value's JSON (object keys in the order of the type) and of a collision count, spelled in safe letters.
///
/// As in Kubernetes, the decimal digits of the hash are mapped one by one, so the text has at most ten letters.
pub fn hash_of<T: Serialize>(value: &T, collisions: i32) -> String {
    let text = serde_json::to_vec(value).unwrap_or_default();
    let mut hash = fnv(&text, 2_166_136_261);
    if collisions > 0 {
        hash = fnv(&collisions.to_le_bytes(), hash);
    }
    hash.to_string()
        .bytes()
        .map(|digit| SAFE[usize::from(digit) % SAFE.len()] as char)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn hashes_are_safe_name_parts_and_depend_on_collisions(text in ".{0,60}") {
            let plain = hash_of(&text, 0);
            prop_assert!(!plain.is_empty() && plain.len() <= 10);
            prop_assert!(plain.bytes().all(|letter| SAFE.contains(&letter)));
            prop_assert_eq!(&plain, &hash_of(&text, 0));
            prop_assert_ne!(&plain, &hash_of(&text, 1));
        }
    }
}
