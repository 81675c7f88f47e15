use std::collections::BTreeSet;

use super::*;
use crate::blocks::CheckBlocks;
use proptest::prelude::*;

const TINY: PackLimits = PackLimits {
    entries: 6,
    value: 24,
    bytes: 80,
};

fn members() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..80_i64).prop_map(|number| number.to_string().into_bytes()),
        4 => (0..40_u32).prop_map(|number| format!("member:{number}").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..140),
    ]
}

fn check(set: &Set) {
    match set {
        Set::Packed(buffer) => {
            assert_eq!(
                packed::validate(&buffer.items, buffer.count as usize),
                Ok(())
            );
            assert!(buffer.fits(&TINY));
        }
        Set::Big(big) => {
            big.0.blocks().check(1);
            big.0.check_leaves();
            assert_eq!(big.bytes(), size_of::<BigSet>() + big.0.blocks().bytes());
        }
    }
}

proptest! {
    #[test]
    fn a_set_is_a_set(edits in prop::collection::vec((0..10_u8, members(), any::<prop::sample::Index>()), 1..300)) {
        let mut model: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut set = Set::default();
        let mut snapshots = Vec::new();
        for (what, member, place) in edits {
            match what {
                0..5 => prop_assert_eq!(set.add(&member, &TINY), model.insert(member.clone())),
                5..8 => prop_assert_eq!(set.remove(&member), model.remove(&member)),
                8 if !model.is_empty() => {
                    let member = set.as_ref().nth(place.index(model.len())).unwrap().to_vec();
                    prop_assert!(set.remove(&member));
                    prop_assert!(model.remove(&member));
                }
                _ => snapshots.push((set.as_ref().snapshot(), model.clone())),
            }
            check(&set);
            prop_assert_eq!(set.as_ref().len(), model.len());
            prop_assert_eq!(set.as_ref().contains(&member), model.contains(&member));
        }
        let members: Vec<_> = set.as_ref().iter().map(|member| member.to_vec()).collect();
        prop_assert_eq!(members.len(), model.len());
        prop_assert_eq!(members.into_iter().collect::<BTreeSet<_>>(), model.clone());
        let mut scanned = BTreeSet::new();
        let mut cursor = 0;
        loop {
            cursor = set.as_ref().scan(cursor, 3, |member| assert!(scanned.insert(member.to_vec())));
            if cursor == 0 { break }
        }
        prop_assert_eq!(scanned, model);
        for (snapshot, model) in snapshots {
            let members: BTreeSet<_> = snapshot.run(0, usize::MAX, false).map(|member| member.to_vec()).collect();
            prop_assert_eq!(members, model);
        }
    }
}

#[test]
fn every_member_of_a_big_set_is_chosen_by_one_number() {
    let mut set = Set::default();
    for number in 0..3000 {
        set.add(format!("{number}").as_bytes(), &TINY);
    }
    let chosen: BTreeSet<_> = (0..3000)
        .map(|index| set.as_ref().nth(index).unwrap().to_vec())
        .collect();
    assert_eq!(chosen.len(), 3000);
    assert!(set.as_ref().nth(3000).is_none());
}
