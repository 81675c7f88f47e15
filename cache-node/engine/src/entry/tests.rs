use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Given {
    Integer(i64),
    String(Vec<u8>, bool),
    Packed(u32, Vec<u8>),
}

impl Given {
    fn payload(&self) -> Payload<'_> {
        match self {
            Self::Integer(value) => Payload::Integer(*value),
            Self::String(bytes, edited) => Payload::String(bytes, *edited),
            Self::Packed(count, bytes) => Payload::Packed(Kind::PackedSet, *count, bytes),
        }
    }
}

fn given() -> impl Strategy<Value = Given> {
    prop_oneof![
        any::<i64>().prop_map(Given::Integer),
        (prop::collection::vec(any::<u8>(), 0..600), any::<bool>())
            .prop_map(|(bytes, edited)| Given::String(bytes, edited)),
        (any::<u32>(), prop::collection::vec(any::<u8>(), 0..600))
            .prop_map(|(count, bytes)| Given::Packed(count, bytes)),
    ]
}

fn deadline() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        Just(None),
        any::<u64>().prop_map(Some),
        (0..1_u64 << 41).prop_map(|time| Some(DEADLINE_ORIGIN + time)),
    ]
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        prop::collection::vec(any::<u8>(), 200..300),
        prop::collection::vec(any::<u8>(), LONG_KEY - 1..LONG_KEY + 2),
    ]
}

fn check(handle: Handle, key: &[u8], deadline: Option<u64>, value: &Given) {
    // SAFETY: the test made the entry and frees it only at its end.
    let entry = unsafe { Entry::at(handle) };
    assert_eq!(entry.key(), key);
    assert_eq!(entry.deadline(), deadline);
    match (entry.payload(), value) {
        (Payload::Integer(found), Given::Integer(value)) => assert_eq!(found, *value),
        (Payload::String(found, was), Given::String(bytes, edited)) => {
            assert_eq!((found, was), (bytes.as_slice(), *edited));
        }
        (Payload::Packed(kind, count, found), Given::Packed(expected, bytes)) => {
            assert_eq!(
                (kind, count, found),
                (Kind::PackedSet, *expected, bytes.as_slice())
            );
        }
        _ => panic!("the value changed its kind"),
    }
}

proptest! {
    #[test]
    fn an_entry_gives_back_what_it_was_given(
        key in key(),
        round: bool,
        first in (deadline(), given()),
        changes in prop::collection::vec((deadline(), prop::option::of(given())), 0..6),
    ) {
        let (mut deadline, mut value) = first;
        let mut handle = create(&key, round, deadline, value.payload());
        check(handle, &key, deadline, &value);
        for (time, change) in changes {
            deadline = time;
            // SAFETY: this test is the entry's only user.
            handle = unsafe {
                match &change {
                    Some(change) => replace(handle, deadline, change.payload()),
                    None => set_deadline(handle, deadline),
                }
            };
            value = change.unwrap_or(value);
            check(handle, &key, deadline, &value);
            // SAFETY: as above.
            assert_eq!(unsafe { Entry::at(handle) }.round(), round);
        }
        // SAFETY: nobody uses it after this.
        unsafe { destroy(handle) };
    }
}

#[test]
fn an_ordinary_entry_has_three_bytes_beside_key_and_value() {
    let (key, value) = ([b'k'; 16], [b'v'; 64]);
    let payload = Payload::String(&value, false);
    assert_eq!(head_len(&key, 0) + payload.len(), 83);
    let form = deadline_form(Some(1_800_000_000_000));
    assert_eq!(head_len(&key, form) + payload.len(), 88);
}
