//! Which items have been put in order, as a bitset that is short where it is remembered.

use crate::transition::State;

const BITS: usize = u64::BITS as usize;

/// A set of items. Those that must have happened come before those that may not.
#[derive(Debug)]
pub(super) struct Placed {
    required: Vec<u64>,
    optional: Vec<u64>,
    /// Items from this number on are optional.
    boundary: usize,
}

/// What decides how the search goes on: which items are placed, and what the key holds. Of the required items, which are
/// placed roughly by time, it keeps the words between the first that is not full and the last that is not empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Configuration {
    state: State,
    full_words: usize,
    words: Box<[u64]>,
}

impl Placed {
    pub(super) fn nothing(required: usize, optional: usize) -> Self {
        Self {
            required: vec![0; required.div_ceil(BITS)],
            optional: vec![0; optional.div_ceil(BITS)],
            boundary: required,
        }
    }

    pub(super) fn flip(&mut self, item: usize) {
        let (words, bit) = match item.checked_sub(self.boundary) {
            None => (&mut self.required, item),
            Some(bit) => (&mut self.optional, bit),
        };
        words[bit / BITS] ^= 1 << (bit % BITS);
    }

    pub(super) fn configuration(&self, state: State) -> Configuration {
        let full_words = self.required.iter().take_while(|word| **word == u64::MAX);
        let full_words = full_words.count();
        let after = &self.required[full_words..];
        let length = after.iter().rposition(|word| *word != 0);
        let after = &after[..length.map_or(0, |last| last + 1)];
        Configuration {
            state,
            full_words,
            // The optional words are always as many, so that two sets cannot look the same.
            words: after.iter().chain(&self.optional).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_that_differ_have_configurations_that_differ() {
        let sets: [&[usize]; 7] = [&[], &[0], &[63], &[64], &[130], &[131], &[0, 131]];
        let mut seen = vec![];
        for set in sets {
            let mut placed = Placed::nothing(130, 70);
            set.iter().for_each(|item| placed.flip(*item));
            seen.push(placed.configuration(None));
            seen.push(placed.configuration(Some(1)));
            // All but these, too.
            (0..200).for_each(|item| placed.flip(item));
            seen.push(placed.configuration(None));
        }
        for (index, configuration) in seen.iter().enumerate() {
            assert!(!seen[..index].contains(configuration), "{index}");
        }
    }

    #[test]
    fn a_long_placed_prefix_is_short_to_remember() {
        let mut placed = Placed::nothing(10_000, 0);
        (0..9_000).for_each(|item| placed.flip(item));
        assert_eq!(placed.configuration(None).words.len(), 1);
        (0..9_000).rev().for_each(|item| placed.flip(item));
        assert_eq!(
            placed.configuration(None),
            Placed::nothing(10_000, 0).configuration(None)
        );
    }
}
