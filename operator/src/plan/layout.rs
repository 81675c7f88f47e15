//! How many slots each shard should own.

use std::collections::BTreeMap;

use crate::slots::SLOT_COUNT;

/// The number of slots that each of `wanted` should own, given how many each owns: as even as possible with the fewest slots moved.
///
/// All slots are shared out. The shards that get one slot more are those that own most already, so that no slot moves for a remainder.
pub fn targets(wanted: &[u32], owned: &BTreeMap<u32, u32>) -> BTreeMap<u32, u32> {
    let Ok(count) = u32::try_from(wanted.len()) else {
        return BTreeMap::new();
    };
    if count == 0 {
        return BTreeMap::new();
    }
    let (even, remainder) = (SLOT_COUNT / count, SLOT_COUNT % count);
    let mut by_size = wanted.to_vec();
    by_size.sort_by_key(|index| {
        let owned = owned.get(index).copied().unwrap_or(0);
        (std::cmp::Reverse(owned), *index)
    });
    by_size
        .into_iter()
        .zip(0_u32..)
        .map(|(index, rank)| (index, even + u32::from(rank < remainder)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn moved(owned: &BTreeMap<u32, u32>, targets: &BTreeMap<u32, u32>) -> u32 {
        owned
            .iter()
            .map(|(index, owned)| owned.saturating_sub(targets.get(index).copied().unwrap_or(0)))
            .sum()
    }

    #[test]
    fn three_to_five_shards_moves_no_slot_between_the_old_ones() {
        let owned = BTreeMap::from([(0, 5462), (1, 5461), (2, 5461)]);
        let targets = targets(&[0, 1, 2, 3, 4], &owned);
        assert_eq!(targets.values().sum::<u32>(), SLOT_COUNT);
        assert_eq!(moved(&owned, &targets), targets[&3] + targets[&4]);
    }

    proptest! {
        #[test]
        fn targets_share_out_all_slots_evenly_and_move_the_fewest(
            cuts in proptest::collection::vec(0..=SLOT_COUNT, 0..8), wanted in 1_u32..12
        ) {
            let mut cuts = cuts;
            cuts.extend([0, SLOT_COUNT]);
            cuts.sort_unstable();
            let owned: BTreeMap<u32, u32> = (0..).zip(cuts.windows(2).map(|pair| pair[1] - pair[0])).collect();
            let wanted: Vec<u32> = (0..wanted).collect();
            let targets = targets(&wanted, &owned);
            prop_assert_eq!(targets.values().sum::<u32>(), SLOT_COUNT);
            let (low, high) = (targets.values().min().unwrap(), targets.values().max().unwrap());
            prop_assert!(high - low <= 1);
            // No even layout keeps more: each shard keeps at most `high`, and only as many shards as have `high` may keep it.
            let mut sizes: Vec<u32> = wanted.iter().map(|index| owned.get(index).copied().unwrap_or(0)).collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            let mut best: Vec<u32> = targets.values().copied().collect();
            best.sort_unstable_by(|a, b| b.cmp(a));
            let kept: u32 = sizes.iter().zip(&best).map(|(size, target)| size.min(target)).sum();
            prop_assert_eq!(moved(&owned, &targets), owned.values().sum::<u32>() - kept);
        }
    }
}
