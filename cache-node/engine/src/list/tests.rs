use std::collections::VecDeque;

use super::*;
use crate::blocks::CheckBlocks;
use proptest::prelude::*;
use proptest::sample::Index;

const TINY: PackLimits = PackLimits {
    entries: usize::MAX,
    value: usize::MAX,
    bytes: 40,
};

fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..10_u32).prop_map(|number| format!("element:{number}").into_bytes()),
        4 => any::<i32>().prop_map(|number| number.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 50..150),
    ]
}

fn check(list: &List, model: &VecDeque<Vec<u8>>) {
    match list {
        List::Packed(buffer) => {
            assert_eq!(
                packed::validate(&buffer.items, buffer.count as usize),
                Ok(())
            );
            assert!(buffer.fits(&TINY));
        }
        List::Big(big) => {
            big.0.check(1);
            assert_eq!(big.bytes(), size_of::<BigList>() + big.0.bytes());
            for block in big.0.iter() {
                assert!(block.items().len() <= BLOCK_BYTES || block.count == 1);
            }
        }
    }
    let list = list.as_ref();
    assert_eq!(list.len(), model.len());
    assert!(
        list.run(0, usize::MAX, false)
            .map(|item| item.to_vec())
            .eq(model.iter().cloned())
    );
}

fn end(front: bool) -> End {
    if front { End::Front } else { End::Back }
}

fn remove_equal(model: &mut VecDeque<Vec<u8>>, end: End, value: &[u8], most: usize) -> usize {
    let mut places: Vec<usize> = (0..model.len())
        .filter(|index| model[*index] == value)
        .collect();
    if end == End::Back {
        places.reverse();
    }
    places.truncate(most);
    places.sort_unstable();
    for place in places.iter().rev() {
        model.remove(*place);
    }
    places.len()
}

proptest! {
    #[test]
    fn a_list_is_a_sequence(edits in prop::collection::vec((0..16_u8, values(), any::<Index>(), any::<Index>(), any::<bool>()), 1..250)) {
        let mut model: VecDeque<Vec<u8>> = VecDeque::new();
        let mut list = List::default();
        let mut snapshots = Vec::new();
        for (what, value, place, other, front) in edits {
            let index = place.index(model.len() + 1);
            match what {
                0..6 => {
                    list.push(end(front), &value, &TINY);
                    if front { model.push_front(value) } else { model.push_back(value) }
                }
                6..8 => {
                    list.insert(index, &value, &TINY);
                    model.insert(index, value);
                }
                8..10 => {
                    let mut taken = None;
                    let some = list.pop(end(front), |item| taken = Some(item.to_vec()));
                    let expected = if front { model.pop_front() } else { model.pop_back() };
                    prop_assert_eq!(some, expected.is_some());
                    prop_assert_eq!(taken, expected);
                }
                10..12 => {
                    prop_assert_eq!(list.set(index, &value, &TINY), index < model.len());
                    if let Some(old) = model.get_mut(index) { *old = value }
                }
                12 => {
                    let count = other.index(model.len() - index + 1) / 4;
                    list.remove(index, count);
                    model.drain(index..index + count);
                }
                13 => {
                    let most = other.index(4);
                    let expected = remove_equal(&mut model, end(front), &value, most);
                    prop_assert_eq!(list.remove_equal(end(front), &value, most), expected);
                }
                14 => {
                    let mut expected: Vec<usize> = (0..model.len()).filter(|index| model[*index] == value).collect();
                    if !front {
                        expected = expected.iter().rev().map(|index| model.len() - 1 - index).collect();
                    }
                    expected.retain(|place| *place >= index / 2);
                    let found: Vec<usize> = list.as_ref().positions(end(front), &value, index / 2).collect();
                    prop_assert_eq!(found, expected);
                }
                _ => snapshots.push((list.as_ref().snapshot(), model.clone())),
            }
            check(&list, &model);
        }
        for (index, value) in model.iter().enumerate() {
            prop_assert!(list.as_ref().get(index).unwrap().is(value));
            let backward: Vec<_> = list.as_ref().run(index, 5, true).map(|item| item.to_vec()).collect();
            let expected: Vec<_> = model.range(..=index).rev().take(5).cloned().collect();
            prop_assert_eq!(backward, expected);
        }
        prop_assert!(list.as_ref().get(model.len()).is_none());
        for (snapshot, model) in snapshots {
            let values: VecDeque<_> = snapshot.run(0, usize::MAX, false).map(|item| item.to_vec()).collect();
            prop_assert_eq!(values, model);
        }
    }
}

#[test]
fn trimming_detaches_blocks_and_counts_them() {
    let mut list = List::default();
    for number in 0..10_000 {
        list.push(End::Back, format!("element:{number}").as_bytes(), &TINY);
    }
    let weight = |list: &List| match list {
        List::Packed(_) => 0,
        List::Big(big) => big.weight(),
    };
    let before = weight(&list);
    let detached = list.remove(10, 9_980);
    assert_eq!(list.as_ref().len(), 20);
    assert!(detached.weight() + weight(&list) + 20 > before);
    assert!(weight(&list) < 30);
    assert!(list.as_ref().get(10).unwrap().is(b"element:9990"));
}

#[test]
fn a_list_that_grows_at_its_ends_has_full_blocks() {
    for end in [End::Front, End::Back] {
        let mut list = List::default();
        for number in 0..1000 {
            list.push(end, format!("element:{number:06}").as_bytes(), &TINY);
        }
        // Four elements of 16 bytes fill a block; the conversion may have left two half-empty ones.
        let blocks = list.as_ref().pieces().count();
        assert!(blocks <= 252, "{blocks} blocks");
    }
}
