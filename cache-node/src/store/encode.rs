//! Writing a slot's entries as effects, for full sync and migration.

use crate::clock::Millis;
use crate::resp::encode_request;

use cache_engine::sorted_set::write_score;

use super::{Entry, Item, SlotData, ValueRef};

/// Items of one effect, so that a big collection arrives in pieces; an even number.
const PIECE: usize = 256;

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
    let mut number = itoa::Buffer::new();
    let entry = Named { key, deadline };
    match value {
        ValueRef::Integer(value) => encode_string(entry, number.format(value).as_bytes(), out),
        ValueRef::String(value, _) => encode_string(entry, value, out),
        ValueRef::Text(text) => {
            for (number, chunk) in text.chunks().enumerate() {
                let command: &[u8] = if number == 0 { b"SET" } else { b"APPEND" };
                encode_request(out, [command, key, chunk.as_slice()].into_iter());
            }
            encode_deadline(entry, out);
        }
        ValueRef::Hash(hash) => {
            let items = hash.iter().flat_map(|(field, value)| [field, value]);
            encode_items(b"HSET", entry, items, out);
        }
        ValueRef::List(list) => {
            encode_items(b"RPUSH", entry, list.run(0, list.len(), false), out);
        }
        ValueRef::Set(set) => encode_items(b"SADD", entry, set.iter(), out),
        ValueRef::SortedSet(set) => {
            let mut scores = Vec::new();
            let mut members = set.range(0, set.len(), false).peekable();
            while members.peek().is_some() {
                let mut pieces = Pieces::default();
                for (member, score) in members.by_ref().take(PIECE / 2) {
                    scores.clear();
                    write_score(score, &mut scores);
                    pieces.push(|text| text.extend_from_slice(&scores));
                    pieces.push(|text| member.write(text));
                }
                pieces.encode(b"ZADD", key, out);
            }
            encode_deadline(entry, out);
        }
    }
}

/// What an entry has beside its value.
#[derive(Clone, Copy)]
struct Named<'k> {
    key: &'k [u8],
    deadline: Option<Millis>,
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

/// Appends one effect for every [`PIECE`] items, and the deadline.
fn encode_items<'a>(
    command: &[u8],
    entry: Named<'_>,
    items: impl Iterator<Item = Item<'a>>,
    out: &mut Vec<u8>,
) {
    let mut items = items.peekable();
    while items.peek().is_some() {
        let mut pieces = Pieces::default();
        for item in items.by_ref().take(PIECE) {
            pieces.push(|text| item.write(text));
        }
        pieces.encode(command, entry.key, out);
    }
    encode_deadline(entry, out);
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
    use crate::store::{Deadline, Hash, KeyHash, PackLimits, Value};

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

    #[test]
    fn a_big_hash_comes_in_pieces() {
        let limits = PackLimits {
            entries: 512,
            value: 64,
            bytes: 4096,
        };
        let mut hash = Hash::default();
        for number in 0..300 {
            hash.set(format!("f{number}").as_bytes(), b"v", &limits);
        }
        let mut slot = SlotData::default();
        let value = Value::Hash(hash);
        slot.insert(
            b"h",
            KeyHash::of(b"h"),
            value,
            Deadline::At(99),
            Default::default(),
        );
        let mut out = Vec::new();
        slot.encode(&mut out);
        let text = String::from_utf8_lossy(&out);
        assert_eq!(text.matches("HSET").count(), 3);
        assert_eq!(text.matches("PEXPIREAT").count(), 1);
    }
}
