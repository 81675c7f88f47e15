//! RDB files and dumps: any bytes end in values or in an error, and values that were read are the same once written and read again.

#![no_main]

use cache_rdb::{Checksum, Event, Item, Kind, Writer, read, read_value, seal_dump};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let [form, bytes @ ..] = input else {
        return;
    };
    match form {
        // A dump: a kind and its value, whose checksum a fuzzer would not find.
        0 => {
            let mut dump = bytes.to_vec();
            seal_dump(&mut dump);
            let _ = read_value(&dump, |_| Ok(()), &mut |_| Ok(()));
        }
        // The content of a file, in version 12 or in Valkey's.
        1 => read_content(b"REDIS0012", bytes),
        2 => read_content(b"VALKEY080", bytes),
        // A whole file.
        _ => {
            let _ = read(bytes, &mut |_| Ok(()));
        }
    }
});

fn read_content(magic: &[u8], content: &[u8]) {
    let mut file = magic.to_vec();
    file.extend_from_slice(content);
    // No checksum.
    file.extend_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    let Some(first) = entries(&file) else {
        return;
    };
    let again = entries(&written(&first));
    assert_eq!(again.as_ref(), Some(&first));
}

/// A key with its kind and deadline, and the texts of its parts with their scores.
#[derive(Debug, PartialEq)]
struct Entry {
    key: Vec<u8>,
    kind: Kind,
    deadline: Option<u64>,
    parts: Vec<(Vec<u8>, u64)>,
}

fn text(item: Item<'_>) -> (Vec<u8>, u64) {
    (item.text(&mut itoa::Buffer::new()).to_vec(), 0)
}

/// `None`: the file cannot be read, or holds deadlines of fields, which are not written.
fn entries(file: &[u8]) -> Option<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    read(file, &mut |event| {
        let parts = match event {
            Event::Begin(header) => {
                entries.push(Entry {
                    key: header.key.to_vec(),
                    kind: header.kind,
                    deadline: header.deadline,
                    parts: Vec::new(),
                });
                return Ok(());
            }
            Event::Piece(piece) => {
                let parts = &mut entries.last_mut().expect("begun").parts;
                match parts.first_mut() {
                    Some((text, _)) => text.extend_from_slice(piece),
                    None => parts.push((piece.to_vec(), 0)),
                }
                return Ok(());
            }
            Event::Integer(integer) => vec![text(Item::Integer(integer))],
            Event::Element(item) => vec![text(item)],
            Event::Field(field, value, None) => vec![text(field), text(value)],
            Event::Field(_, _, Some(_)) => return Err("a deadline".to_owned()),
            Event::Member(member, score) => vec![(text(member).0, score.to_bits())],
            _ => return Ok(()),
        };
        entries.last_mut().expect("begun").parts.extend(parts);
        Ok(())
    })
    .ok()
    .map(|_| entries)
}

fn written(entries: &[Entry]) -> Vec<u8> {
    let mut writer = Writer::new(true);
    writer.magic();
    writer.database(0, entries.len() as u64, 0);
    for entry in entries {
        writer.entry(entry.kind, &entry.key, entry.deadline);
        let per_part = if entry.kind == Kind::Hash { 2 } else { 1 };
        if entry.kind != Kind::String {
            writer.length((entry.parts.len() / per_part) as u64);
        }
        for (text, score) in &entry.parts {
            writer.item(Item::Bytes(text));
            if entry.kind == Kind::SortedSet {
                writer.score(f64::from_bits(*score));
            }
        }
    }
    writer.end();
    let checksum = Checksum::of(&writer.out);
    writer.out.extend_from_slice(&checksum.to_le_bytes());
    writer.out
}
