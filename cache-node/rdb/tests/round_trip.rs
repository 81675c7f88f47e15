//! What was written is read again, and nothing that was not.

use std::io::Read;

use cache_rdb::{
    Checksum, Event, Item, Kind, Reason, Writer, is_dump, read, read_value, seal_dump,
};
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq)]
enum Value {
    String(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(Vec<Vec<u8>>),
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
    SortedSet(Vec<(Vec<u8>, f64)>),
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    key: Vec<u8>,
    deadline: Option<u64>,
    value: Value,
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..100),
        any::<i64>().prop_map(|integer| integer.to_string().into_bytes()),
        (-40_000i64..40_000).prop_map(|integer| integer.to_string().into_bytes()),
        (0usize..3000).prop_map(|length| b"abcab".iter().copied().cycle().take(length).collect()),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("a number", |score| !score.is_nan())
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        text().prop_map(Value::String),
        proptest::collection::vec(text(), 0..20).prop_map(Value::List),
        proptest::collection::vec(text(), 0..20).prop_map(Value::Set),
        proptest::collection::vec((text(), text()), 0..20).prop_map(Value::Hash),
        proptest::collection::vec((text(), score()), 0..20).prop_map(Value::SortedSet),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    (text(), proptest::option::of(any::<u64>()), value()).prop_map(|(key, deadline, value)| Entry {
        key,
        deadline,
        value,
    })
}

/// An integer where the text is one, as a data set keeps it.
fn item(text: &[u8]) -> Item<'_> {
    let integer = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    match integer {
        Some(integer) if integer.to_string().as_bytes() == text => Item::Integer(integer),
        _ => Item::Bytes(text),
    }
}

fn write_value(writer: &mut Writer, value: &Value) {
    match value {
        Value::String(text) => writer.item(item(text)),
        Value::List(items) | Value::Set(items) => {
            writer.length(items.len() as u64);
            items.iter().for_each(|text| writer.item(item(text)));
        }
        Value::Hash(fields) => {
            writer.length(fields.len() as u64);
            for (field, value) in fields {
                writer.item(item(field));
                writer.item(item(value));
            }
        }
        Value::SortedSet(members) => {
            writer.length(members.len() as u64);
            for (member, score) in members {
                writer.item(item(member));
                writer.score(*score);
            }
        }
    }
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::String(_) => Kind::String,
        Value::List(_) => Kind::List,
        Value::Set(_) => Kind::Set,
        Value::Hash(_) => Kind::Hash,
        Value::SortedSet(_) => Kind::SortedSet,
    }
}

fn file(entries: &[Entry], compresses: bool) -> Vec<u8> {
    let mut writer = Writer::new(compresses);
    writer.magic();
    writer.aux("made-by", "a test");
    writer.database(0, entries.len() as u64, 0);
    for entry in entries {
        writer.entry(kind(&entry.value), &entry.key, entry.deadline);
        write_value(&mut writer, &entry.value);
    }
    writer.end();
    let checksum = Checksum::of(&writer.out);
    writer.out.extend_from_slice(&checksum.to_le_bytes());
    writer.out
}

fn empty(kind: Kind) -> Value {
    match kind {
        Kind::String => Value::String(Vec::new()),
        Kind::List => Value::List(Vec::new()),
        Kind::Set => Value::Set(Vec::new()),
        Kind::Hash => Value::Hash(Vec::new()),
        Kind::SortedSet => Value::SortedSet(Vec::new()),
    }
}

fn owned(item: Item<'_>) -> Vec<u8> {
    item.text(&mut itoa::Buffer::new()).to_vec()
}

fn extend(value: &mut Value, event: Event<'_>) {
    match (value, event) {
        (Value::String(text), Event::Piece(piece)) => text.extend_from_slice(piece),
        (Value::String(text), Event::Integer(integer)) => {
            text.extend_from_slice(&owned(Item::Integer(integer)));
        }
        (Value::List(items) | Value::Set(items), Event::Element(item)) => items.push(owned(item)),
        (Value::Hash(fields), Event::Field(field, value, None)) => {
            fields.push((owned(field), owned(value)));
        }
        (Value::SortedSet(members), Event::Member(member, score)) => {
            members.push((owned(member), score));
        }
        (value, event) => panic!("{event:?} in {value:?}"),
    }
}

fn read_all(input: impl Read) -> Result<(Vec<Entry>, u64), cache_rdb::Error> {
    let mut entries: Vec<Entry> = Vec::new();
    let length = read(input, &mut |event| {
        match event {
            Event::Begin(header) => entries.push(Entry {
                key: header.key.to_vec(),
                deadline: header.deadline,
                value: empty(header.kind),
            }),
            Event::Aux(..) | Event::Database(_) | Event::Sizes { .. } | Event::End => {}
            event => extend(&mut entries.last_mut().expect("an entry").value, event),
        }
        Ok(())
    })?;
    Ok((entries, length))
}

/// Reads in pieces of so many bytes.
struct Slow<'a>(&'a [u8], usize);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(buffer.len());
        self.0.read(&mut buffer[..length])
    }
}

proptest! {
    #[test]
    fn a_file_is_read_as_it_was_written(
        entries in proptest::collection::vec(entry(), 0..20),
        compresses: bool,
        piece in 1usize..200,
    ) {
        let bytes = file(&entries, compresses);
        let (found, length) = read_all(Slow(&bytes, piece)).expect("it is whole");
        prop_assert_eq!(found, entries);
        prop_assert_eq!(length, bytes.len() as u64);
    }

    #[test]
    fn a_shorter_file_is_refused_where_it_ends(
        entries in proptest::collection::vec(entry(), 0..10),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = file(&entries, true);
        let length = cut.index(bytes.len());
        let error = read_all(&bytes[..length]).expect_err("it is cut off");
        prop_assert!(matches!(error.reason, Reason::Truncated), "{error}");
        prop_assert_eq!(error.offset, length as u64);
    }

    #[test]
    fn a_file_with_a_flipped_bit_is_refused(
        entries in proptest::collection::vec(entry(), 0..10),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let mut bytes = file(&entries, true);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // Version 9 can become version 1, which has no checksum: then that is left over.
        let result = read_all(bytes.as_slice());
        prop_assert!(result.is_err() || result.is_ok_and(|(_, length)| length < bytes.len() as u64));
    }

    #[test]
    fn a_dump_is_read_as_it_was_written(value in value(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut writer = Writer::new(true);
        writer.kind(kind(&value));
        write_value(&mut writer, &value);
        let mut dump = writer.out;
        seal_dump(&mut dump);
        let mut found = None;
        let mut begun = Value::String(Vec::new());
        read_value(&dump, |kind| { found = Some(kind); begun = empty(kind); Ok(()) }, &mut |_| Ok(()))
            .expect("it is whole");
        prop_assert_eq!(found, Some(kind(&value)));
        read_value(&dump, |_| Ok(()), &mut |event| {
            if event != Event::End {
                extend(&mut begun, event);
            }
            Ok(())
        }).expect("it is whole");
        prop_assert_eq!(begun, value);
        let at = at.index(dump.len());
        dump[at] ^= 1 << bit;
        prop_assert!(!is_dump(&dump));
    }

    #[test]
    fn any_bytes_end_in_an_error_or_in_values(bytes in proptest::collection::vec(any::<u8>(), 0..300), kind in 0u8..26) {
        let mut file = b"REDIS0012".to_vec();
        file.extend_from_slice(&[kind, 1, b'k']);
        file.extend_from_slice(&bytes);
        let _ = read(file.as_slice(), &mut |_| Ok(()));
        let mut dump = vec![kind];
        dump.extend_from_slice(&bytes);
        seal_dump(&mut dump);
        let _ = read_value(&dump, |_| Ok(()), &mut |_| Ok(()));
    }
}

#[test]
fn a_length_that_lies_is_believed_only_as_far_as_bytes_come() {
    let mut file = b"REDIS0009\x00\x01k".to_vec();
    file.extend_from_slice(&[0x80, 0x1f, 0xff, 0xff, 0xff]);
    file.extend_from_slice(b"abc");
    let error = read(file.as_slice(), &mut |_| Ok(())).expect_err("nothing follows");
    assert!(matches!(error.reason, Reason::Truncated), "{error}");
    // A compressed string that would become much longer than it can.
    let file = b"REDIS0009\x00\x01k\xc3\x04\x80\x1f\xff\xff\xff\x00abc";
    let error = read(file.as_slice(), &mut |_| Ok(())).expect_err("too long");
    assert!(matches!(error.reason, Reason::Damaged(_)), "{error}");
}

#[test]
fn what_does_not_take_an_entry_ends_the_reading() {
    let entries = [Entry {
        key: b"key".to_vec(),
        deadline: None,
        value: Value::String(b"value".to_vec()),
    }];
    let bytes = file(&entries, false);
    let error = read(bytes.as_slice(), &mut |event| match event {
        Event::Begin(header) => Err(format!("no {} here", String::from_utf8_lossy(header.key))),
        _ => Ok(()),
    })
    .expect_err("refused");
    assert!(error.to_string().ends_with("no key here"), "{error}");
}

/// Files of real servers; see `cache-node/tests/data`.
fn samples() -> Vec<Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data");
    let paths = std::fs::read_dir(folder).expect("the folder is there");
    paths
        .map(|entry| entry.expect("it can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rdb"))
        .map(|path| std::fs::read(path).expect("it can be read"))
        .collect()
}

#[test]
fn damaged_files_of_real_servers_are_refused() {
    let mut cases = 0;
    for (number, sample) in samples().iter().enumerate() {
        read(sample.as_slice(), &mut |_| Ok(())).expect("it is whole");
        for case in 0..1250 {
            let at = (case * 7919 + number * 31) % sample.len();
            let mut flipped = sample.clone();
            flipped[at] ^= 1 << (case % 8);
            assert!(
                read(flipped.as_slice(), &mut |_| Ok(())).is_err(),
                "byte {at}"
            );
            let error = read(&sample[..at], &mut |_| Ok(())).expect_err("it is cut off");
            assert_eq!(error.offset, at as u64);
            cases += 2;
        }
    }
    assert_eq!(cases, 10_000);
}
