use super::*;
use proptest::prelude::*;

fn pack(values: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        push(&mut bytes, &Encoded::new(value));
    }
    bytes
}

fn unpack(bytes: &[u8]) -> Vec<Vec<u8>> {
    items(bytes).map(|item| item.to_vec()).collect()
}

/// Numbers around every limit, almost-numbers, and strings around every length limit.
fn values() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|int| int.to_string().into_bytes()),
        (0..63_u32, -2_i64..3, any::<bool>()).prop_map(|(bits, off, minus)| {
            let int = (1_i64 << bits) + off;
            if minus { -int } else { int }.to_string().into_bytes()
        }),
        "[0-9-]{0,21}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..140),
        prop_oneof![Just(4095_usize), Just(4096), 16_370..16_390_usize]
            .prop_map(|len| vec![b'x'; len]),
    ]
}

proptest! {
    #[test]
    fn what_is_packed_is_read_back_from_both_ends(values in prop::collection::vec(values(), 0..20)) {
        let bytes = pack(&values);
        prop_assert_eq!(validate(&bytes, values.len()), Ok(()));
        prop_assert_eq!(&unpack(&bytes), &values);
        let mut backward: Vec<_> = items(&bytes).rev().map(|item| item.to_vec()).collect();
        backward.reverse();
        prop_assert_eq!(&backward, &values);
        for (index, value) in values.iter().enumerate() {
            let offset = offset_of(&bytes, values.len(), index).unwrap();
            let (item, _) = at(&bytes, offset).unwrap();
            prop_assert!(item.is(value));
            prop_assert_eq!(item.text_len(), value.len());
            prop_assert_eq!(item, Item::new(value));
        }
        prop_assert_eq!(offset_of(&bytes, values.len(), values.len()), Some(bytes.len()));
    }

    #[test]
    fn edits_do_to_the_bytes_what_they_do_to_a_vector(
        start in prop::collection::vec(values(), 0..10),
        edits in prop::collection::vec((0..5_u8, any::<prop::sample::Index>(), values()), 0..20),
    ) {
        let mut model = start;
        let mut bytes = pack(&model);
        for (what, place, value) in edits {
            let item = Encoded::new(&value);
            let index = place.index(model.len() + 1);
            let offset = offset_of(&bytes, model.len(), index).unwrap();
            match what {
                0 => {
                    insert(&mut bytes, offset, &item);
                    model.insert(index, value);
                }
                1 => {
                    insert_all(&mut bytes, offset, &[item, Encoded::int(-1)]);
                    model.insert(index, b"-1".to_vec());
                    model.insert(index, value);
                }
                2 if index < model.len() => {
                    replace(&mut bytes, offset, &item);
                    model[index] = value;
                }
                3 => {
                    let count = (model.len() - index).min(2);
                    remove(&mut bytes, offset, count);
                    model.drain(index..index + count);
                }
                _ => {
                    push(&mut bytes, &item);
                    model.push(value);
                }
            }
            prop_assert_eq!(validate(&bytes, model.len()), Ok(()));
            prop_assert_eq!(&unpack(&bytes), &model);
            settle(&mut bytes);
            prop_assert!(bytes.capacity() <= bytes.len() + bytes.len() / 3 + 72);
        }
    }

    #[test]
    fn a_search_finds_the_first_equal_item(values in prop::collection::vec(values(), 0..12), place: prop::sample::Index, other in values()) {
        let bytes = pack(&values);
        for wanted in values.iter().skip(place.index(values.len() + 1)).chain([&other]) {
            let index = values.iter().position(|value| value == wanted);
            let offset = index.map(|index| offset_of(&bytes, values.len(), index).unwrap());
            prop_assert_eq!(find(&bytes, &Encoded::new(wanted), 1), offset);
            let even = values.iter().step_by(2).position(|value| value == wanted);
            if values.len().is_multiple_of(2) {
                let offset = even.map(|index| offset_of(&bytes, values.len(), 2 * index).unwrap());
                prop_assert_eq!(find(&bytes, &Encoded::new(wanted), 2), offset);
            }
        }
    }

    #[test]
    fn malformed_bytes_are_refused_and_read_without_a_panic(
        values in prop::collection::vec(values(), 0..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = pack(&values);
        bytes.truncate(cut.index(bytes.len() + 1));
        if !bytes.is_empty() {
            for (place, byte) in damage {
                let at = place.index(bytes.len());
                bytes[at] = byte;
            }
        }
        let forward = unpack(&bytes);
        let backward = items(&bytes).rev().count();
        let _ = find(&bytes, &Encoded::new(b"wanted"), 1);
        let _ = offset_of(&bytes, 6, 5);
        let mut edited = bytes.clone();
        remove(&mut edited, 0, 3);
        let mut edited = bytes.clone();
        if !edited.is_empty() {
            replace(&mut edited, 0, &Encoded::int(1));
        }
        if validate(&bytes, forward.len()).is_ok() {
            prop_assert_eq!(backward, forward.len());
            prop_assert_eq!(pack(&forward), bytes);
        }
    }

    #[test]
    fn random_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let forward = unpack(&bytes);
        if validate(&bytes, forward.len()).is_ok() {
            prop_assert_eq!(pack(&forward), bytes.clone());
        }
        let _ = items(&bytes).rev().count();
        let _ = find(&bytes, &Encoded::new(b"1"), 2);
    }
}

#[test]
fn items_have_the_bytes_that_the_specification_says() {
    let encoding = |value: &[u8]| {
        let mut bytes = Vec::new();
        Encoded::new(value).write(&mut bytes);
        bytes
    };
    assert_eq!(encoding(b"0"), [0x00, 1]);
    assert_eq!(encoding(b"127"), [0x7F, 1]);
    assert_eq!(encoding(b"128"), [0xC0, 0x80, 2]);
    assert_eq!(encoding(b"-1"), [0xDF, 0xFF, 2]);
    assert_eq!(encoding(b"4096"), [0xF1, 0x00, 0x10, 3]);
    assert_eq!(encoding(b"-32769"), [0xF2, 0xFF, 0x7F, 0xFF, 4]);
    assert_eq!(encoding(b"8388608"), [0xF3, 0x00, 0x00, 0x80, 0x00, 5]);
    assert_eq!(
        encoding(b"2147483648"),
        [0xF4, 0, 0, 0, 0x80, 0, 0, 0, 0, 9]
    );
    assert_eq!(encoding(b"hello"), *b"\x85hello\x06");
    assert_eq!(encoding(b"-0"), *b"\x82-0\x03");
    assert_eq!(encoding(b""), [0x80, 1]);
    let long = encoding(&[b'x'; 200]);
    assert_eq!(&long[..2], [0xE0, 200]);
    assert_eq!(&long[202..], [0x01, 0x80 | 74]);
    let longer = encoding(&[b'x'; 5000]);
    assert_eq!(&longer[..5], [0xF0, 0x88, 0x13, 0, 0]);
    assert_eq!(&longer[5005..], [39, 0x80 | 13]);
    // 16,383 bytes of header and content already take three bytes behind.
    assert_eq!(encoding(&[b'x'; 16_378])[16_383..], [0, 0xFF, 0xFF]);
}

#[test]
fn flaws_are_told_apart() {
    assert_eq!(validate(b"\x85hello\x06", 2), Err(Flaw::Count));
    assert_eq!(validate(b"\x85hello\x07", 1), Err(Flaw::BackLength));
    assert_eq!(validate(b"\x85hell", 1), Err(Flaw::Truncated));
    assert_eq!(validate(b"\xFF", 1), Err(Flaw::Truncated));
    assert_eq!(validate(b"\x8212\x03", 1), Err(Flaw::NotCanonical));
    assert_eq!(validate(&[0xF1, 1, 0, 3], 1), Err(Flaw::NotCanonical));
    assert_eq!(validate(b"", 0), Ok(()));
}
