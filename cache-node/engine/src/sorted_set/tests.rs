use std::collections::HashMap;

use super::*;
use crate::blocks::CheckBlocks;
use proptest::prelude::*;
use proptest::sample::Index;

const TINY: PackLimits = PackLimits {
    entries: 6,
    value: 24,
    bytes: 80,
};

#[derive(Clone, Debug, Default)]
struct Model(Vec<(f64, Vec<u8>)>);

impl Model {
    fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let old = self.remove(member);
        self.0.push((score + 0.0, member.to_vec()));
        self.0
            .sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        old
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let index = self.0.iter().position(|(_, other)| other == member)?;
        Some(self.0.remove(index).0)
    }
}

fn members() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..60_u32).prop_map(|number| format!("m:{number}").into_bytes()),
        4 => (-20..60_i64).prop_map(|number| number.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..90),
    ]
}

fn scores() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-3..4_i32).prop_map(f64::from),
        (-6..6_i32).prop_map(|number| f64::from(number) / 4.0),
        any::<f64>().prop_filter("scores are numbers", |score| !score.is_nan()),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
        Just(-0.0),
        (4e18..1e19).prop_map(|score: f64| score.round()),
    ]
}

fn check(set: &SortedSet) {
    match set {
        SortedSet::Packed(buffer) => {
            assert_eq!(
                packed::validate(&buffer.items, 2 * buffer.count as usize),
                Ok(())
            );
            assert!(buffer.fits(&TINY));
        }
        SortedSet::Big(big) => {
            let blocks = &big.ordered.blocks;
            blocks.check(2);
            big.scores.blocks().check(2);
            big.scores.check_leaves();
            for block in blocks.iter() {
                assert_eq!(block.key, first_order(block.items(), 0));
            }
            assert_eq!(blocks.len(), big.scores.blocks().len());
            let bytes = blocks.bytes() + big.scores.blocks().bytes();
            assert_eq!(big.bytes(), size_of::<BigSortedSet>() + bytes);
        }
    }
}

fn listed<'a>(members: impl Iterator<Item = (Item<'a>, f64)>) -> Vec<(f64, Vec<u8>)> {
    members
        .map(|(member, score)| (score, member.to_vec()))
        .collect()
}

proptest! {
    #[test]
    fn a_sorted_set_is_a_sorted_sequence_of_members(
        edits in prop::collection::vec((0..12_u8, members(), scores(), any::<Index>(), any::<Index>()), 1..250),
    ) {
        let mut model = Model::default();
        let mut set = SortedSet::default();
        let mut snapshots = Vec::new();
        for (what, member, score, place, other) in edits {
            match what {
                0..6 => prop_assert_eq!(set.insert(&member, score, &TINY), model.insert(&member, score)),
                6..9 => prop_assert_eq!(set.remove(&member), model.remove(&member)),
                9 => {
                    let start = place.index(model.0.len() + 1);
                    let count = other.index(model.0.len() - start + 1) / 3;
                    set.remove_range(start, count);
                    model.0.drain(start..start + count);
                }
                10 => snapshots.push((set.as_ref().snapshot(), model.clone())),
                _ => {
                    let below = model.0.iter().filter(|(other, _)| *other < score).count();
                    let up_to = model.0.iter().filter(|(other, _)| *other <= score).count();
                    prop_assert_eq!(set.as_ref().rank_of_score(score, false), below);
                    prop_assert_eq!(set.as_ref().rank_of_score(score, true), up_to);
                }
            }
            check(&set);
            prop_assert_eq!(set.as_ref().len(), model.0.len());
            let index = model.0.iter().position(|(_, other)| *other == member);
            let expected = index.map(|index| (index, model.0[index].0));
            prop_assert_eq!(set.as_ref().rank(&member), expected);
        }
        let set = set.as_ref();
        prop_assert_eq!(listed(set.range(0, usize::MAX, false)), &model.0[..]);
        let mut backward = listed(set.range(model.0.len().saturating_sub(1), usize::MAX, true));
        backward.reverse();
        prop_assert_eq!(backward, &model.0[..]);
        let mut scanned = HashMap::new();
        let mut cursor = 0;
        loop {
            cursor = set.scan(cursor, 3, |member, score| { scanned.insert(member.to_vec(), score); });
            if cursor == 0 { break }
        }
        prop_assert_eq!(scanned, model.0.iter().map(|(score, member)| (member.clone(), *score)).collect());
        for (snapshot, model) in snapshots {
            prop_assert_eq!(listed(Members::of(snapshot.pairs(0, usize::MAX, false))), model.0);
        }
    }

    #[test]
    fn members_of_one_score_are_ranked_by_their_bytes(members in prop::collection::btree_set(members(), 0..80), other in members()) {
        let mut set = SortedSet::default();
        for member in &members {
            set.insert(member, 7.5, &TINY);
        }
        let set = set.as_ref();
        prop_assert!(set.range(0, usize::MAX, false).map(|(member, _)| member.to_vec()).eq(members.iter().cloned()));
        for member in members.iter().chain([&other]) {
            prop_assert_eq!(set.rank_of_member(member, false), members.range::<Vec<u8>, _>(..member).count());
            prop_assert_eq!(set.rank_of_member(member, true), members.range::<Vec<u8>, _>(..=member).count());
        }
    }

    #[test]
    fn a_score_is_read_from_every_form(score in scores()) {
        for item in [ScoreItem::packed(score), ScoreItem::raw(score)] {
            let mut bytes = Vec::new();
            item.encoded().write(&mut bytes);
            prop_assert_eq!(packed::validate(&bytes, 1), Ok(()));
            let (item, _) = packed::at(&bytes, 0).unwrap();
            prop_assert_eq!(score_of(item), Some(score));
        }
    }

    #[test]
    fn the_order_of_scores_is_kept(a in scores(), b in scores()) {
        prop_assert_eq!(order(a).cmp(&order(b)), a.partial_cmp(&b).unwrap());
    }
}

/// As Valkey 9.1.2 answers to `ZSCORE`.
#[test]
fn scores_are_written_as_redis_writes_them() {
    let cases = [
        (0.0, "0"),
        (-0.0, "0"),
        (3.0, "3"),
        (-17.5, "-17.5"),
        (0.1, "0.1"),
        (1e-5, "0.00001"),
        (1.5e-7, "1.5e-7"),
        (1e-300, "1e-300"),
        (1e17, "100000000000000000"),
        (1e22, "1e+22"),
        (1.7976931348623157e308, "1.7976931348623157e+308"),
        (123456789.125, "123456789.125"),
        (0.000123456, "1.23456e-4"),
        (0.00012, "0.00012"),
        (1e18, "1000000000000000000"),
        (4611686018427387904.0, "4611686018427387904"),
        (9223372036854774784.0, "9223372036854775000"),
        (5e-324, "5e-324"),
        (9007199254740993.0, "9007199254740992"),
        (f64::INFINITY, "inf"),
        (f64::NEG_INFINITY, "-inf"),
        (12345.678901234567, "1.2345678901234567e+4"),
        (-1.25e-12, "-1.25e-12"),
    ];
    for (score, text) in cases {
        let mut out = Vec::new();
        write_score(score, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }
}

#[test]
fn a_packed_sorted_set_has_the_bytes_that_redis_has() {
    let mut set = SortedSet::default();
    set.insert(b"b", 1.0, &TINY);
    set.insert(b"a", 0.5, &TINY);
    let SortedSet::Packed(buffer) = set else {
        panic!("two members are packed")
    };
    assert_eq!(buffer.items, *b"\x81a\x02\x830.5\x04\x81b\x02\x01\x01");
}
