//! Writing a slot's entries as effects, for full sync and migration.

use crate::clock::Millis;
use crate::resp::encode_request;

use cache_engine::sorted_set::write_score;

use super::{Entry, SlotData, Text, ValueRef};

/// Items of one effect, so that a big collection arrives in pieces; an even number.
const PIECE: usize = 256;

/// Bytes of one effect of a long string.
const TEXT_PIECE: usize = 64 * 1024;

impl SlotData {
    /// Appends the effects that make all entries of this slot, expired ones that are still there included (their removal follows in
    /// the log).
    pub fn encode(&self, out: &mut Vec<u8>) {
        for entry in self.iter() {
            encode_entry(entry, out);
        }
    }
}

/// Appends the effects that make `entry` where there is no such key.
pub fn encode_entry(entry: Entry<'_>, out: &mut Vec<u8>) {
    encode_value(entry.key(), entry.deadline(), entry.value(), out);
}

/// The same for the parts of an entry.
pub(super) fn encode_value(
    key: &[u8],
    deadline: Option<Millis>,
    value: ValueRef<'_>,
    out: &mut Vec<u8>,
) {
    let entry = Named { key, deadline };
    let mut from = Some(0);
    while let Some(next) = from {
        from = encode_part(entry, value, next, out);
    }
}

/// Appends the effects that make a part of a value, from the place `from` on, of which 0 is the first; answers where the next part begins.
/// What was there before must be there still. The deadline goes with the last part.
pub(super) fn encode_part(
    entry: Named<'_>,
    value: ValueRef<'_>,
    from: u64,
    out: &mut Vec<u8>,
) -> Option<u64> {
    let mut number = itoa::Buffer::new();
    let next = match value {
        ValueRef::Integer(value) => {
            encode_string(entry, number.format(value).as_bytes(), out);
            return None;
        }
        ValueRef::String(value, _) => {
            encode_string(entry, value, out);
            return None;
        }
        ValueRef::Text(text) => encode_text(entry, text, from, out),
        ValueRef::Hash(hash) => {
            let mut pieces = Pieces::default();
            let next = hash.scan(from, PIECE / 2, |field, value| {
                pieces.push(|text| field.write(text));
                pieces.push(|text| value.write(text));
            });
            pieces.encode(b"HSET", entry.key, out);
            (next != 0).then_some(next)
        }
        ValueRef::List(list) => {
            let mut pieces = Pieces::default();
            for item in list.run(from as usize, PIECE, false) {
                pieces.push(|text| item.write(text));
            }
            pieces.encode(b"RPUSH", entry.key, out);
            next_place(from, PIECE, list.len())
        }
        ValueRef::Set(set) => {
            let mut pieces = Pieces::default();
            let next = set.scan(from, PIECE, |member| {
                pieces.push(|text| member.write(text));
            });
            pieces.encode(b"SADD", entry.key, out);
            (next != 0).then_some(next)
        }
        ValueRef::SortedSet(set) => {
            let mut scores = Vec::new();
            let mut pieces = Pieces::default();
            for (member, score) in set.range(from as usize, PIECE / 2, false) {
                scores.clear();
                write_score(score, &mut scores);
                pieces.push(|text| text.extend_from_slice(&scores));
                pieces.push(|text| member.write(text));
            }
            pieces.encode(b"ZADD", entry.key, out);
            next_place(from, PIECE / 2, set.len())
        }
    };
    if next.is_none() {
        encode_deadline(entry, out);
    }
    next
}

fn encode_text(entry: Named<'_>, text: &Text, from: u64, out: &mut Vec<u8>) -> Option<u64> {
    let start = from as usize;
    let part = text.get_range(start..start + TEXT_PIECE);
    let command: &[u8] = if from == 0 { b"SET" } else { b"APPEND" };
    encode_request(out, [command, entry.key, &part].into_iter());
    next_place(from, TEXT_PIECE, text.len())
}

fn next_place(from: u64, count: usize, len: usize) -> Option<u64> {
    let next = from + count as u64;
    (next < len as u64).then_some(next)
}

/// What an entry has beside its value.
#[derive(Clone, Copy)]
pub(super) struct Named<'k> {
    pub(super) key: &'k [u8],
    pub(super) deadline: Option<Millis>,
}

/// Arguments of an effect, gathered in one buffer.
#[derive(Default)]
struct Pieces {
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Pieces {
    fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.text);
        self.ends.push(self.text.len());
    }

    fn encode(&self, command: &[u8], key: &[u8], out: &mut Vec<u8>) {
        if self.ends.is_empty() {
            return;
        }
        let mut args: Vec<&[u8]> = Vec::with_capacity(2 + self.ends.len());
        args.extend([command, key]);
        let mut start = 0;
        for end in &self.ends {
            args.push(&self.text[start..*end]);
            start = *end;
        }
        encode_request(out, args.iter().copied());
    }
}

fn encode_deadline(entry: Named<'_>, out: &mut Vec<u8>) {
    if let Some(deadline) = entry.deadline {
        let mut number = itoa::Buffer::new();
        let deadline = number.format(deadline).as_bytes();
        encode_request(out, [b"PEXPIREAT", entry.key, deadline].into_iter());
    }
}

fn encode_string(entry: Named<'_>, value: &[u8], out: &mut Vec<u8>) {
    match entry.deadline {
        None => encode_request(out, [b"SET", entry.key, value].into_iter()),
        Some(deadline) => {
            let mut number = itoa::Buffer::new();
            let deadline = number.format(deadline).as_bytes();
            encode_request(
                out,
                [b"SET", entry.key, value, b"PXAT", deadline].into_iter(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Deadline, End, Hash, KeyHash, List, PackLimits, Set, SortedSet, Value};

    #[test]
    fn entries_become_effects_with_absolute_deadlines() {
        let mut slot = SlotData::default();
        slot.insert_string(
            b"s",
            KeyHash::of(b"s"),
            b"v",
            Deadline::At(99),
            Default::default(),
        );
        let mut out = Vec::new();
        slot.encode(&mut out);
        let text = String::from_utf8_lossy(&out).into_owned();
        assert_eq!(
            text,
            "*5\r\n$3\r\nSET\r\n$1\r\ns\r\n$1\r\nv\r\n$4\r\nPXAT\r\n$2\r\n99\r\n"
        );
    }

    /// The parts of a value, each as far as a step goes.
    fn parts(value: &Value) -> Vec<Vec<u8>> {
        let entry = Named {
            key: b"k",
            deadline: Some(99),
        };
        let (mut parts, mut from) = (Vec::new(), Some(0));
        while let Some(next) = from {
            let mut out = Vec::new();
            from = encode_part(entry, value.as_ref(), next, &mut out);
            parts.push(out);
        }
        parts
    }

    #[test]
    fn big_values_come_in_small_parts_with_nothing_twice() {
        let limits = PackLimits {
            entries: 16,
            value: 64,
            bytes: 4096,
        };
        let (mut hash, mut set, mut list, mut sorted) = (
            Hash::default(),
            Set::default(),
            List::default(),
            SortedSet::default(),
        );
        for number in 0..5000 {
            let name = format!("<{number}>");
            hash.set(name.as_bytes(), b"v", &limits);
            set.add(name.as_bytes(), &limits);
            list.push(End::Back, name.as_bytes(), &limits);
            sorted.insert(name.as_bytes(), f64::from(number), &limits);
        }
        let values = [
            Value::Hash(hash),
            Value::Set(set),
            Value::List(list),
            Value::SortedSet(sorted),
        ];
        for value in values {
            let parts = parts(&value);
            assert!(parts.len() > 10);
            assert!(parts.iter().all(|part| part.len() < 32 * 1024));
            let text = String::from_utf8(parts.concat()).unwrap();
            for number in 0..5000 {
                assert_eq!(text.matches(&format!("<{number}>")).count(), 1);
            }
            assert_eq!(text.matches("PEXPIREAT").count(), 1);
        }
        let mut long = Text::default();
        long.append(&vec![b'x'; 1 << 20]);
        let parts = parts(&Value::Text(long.into()));
        assert_eq!(parts.len(), 16);
        let text = String::from_utf8(parts.concat()).unwrap();
        assert_eq!(text.matches('x').count(), 1 << 20);
    }
}
