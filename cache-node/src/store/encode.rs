//! Writing a slot's entries as effects, for full sync and migration.

use crate::resp::encode_request;

use super::{Entry, SlotData, ValueRef};

/// Fields of one `HSET` effect, so that a big hash arrives in pieces.
const FIELDS: usize = 128;

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
    let mut number = itoa::Buffer::new();
    match entry.value() {
        ValueRef::Integer(value) => encode_string(entry, number.format(value).as_bytes(), out),
        ValueRef::String(value, _) => encode_string(entry, value, out),
        ValueRef::Hash(hash) => {
            let mut args: Vec<&[u8]> = Vec::with_capacity(2 + 2 * FIELDS.min(hash.len()));
            let mut fields = hash.iter().peekable();
            while fields.peek().is_some() {
                args.clear();
                args.extend([b"HSET", entry.key()]);
                for (name, value) in fields.by_ref().take(FIELDS) {
                    args.extend([name, value]);
                }
                encode_request(out, args.iter().copied());
            }
            if let Some(deadline) = entry.deadline() {
                let deadline = number.format(deadline).as_bytes();
                encode_request(out, [b"PEXPIREAT", entry.key(), deadline].into_iter());
            }
        }
    }
}

fn encode_string(entry: Entry<'_>, value: &[u8], out: &mut Vec<u8>) {
    match entry.deadline() {
        None => encode_request(out, [b"SET", entry.key(), value].into_iter()),
        Some(deadline) => {
            let mut number = itoa::Buffer::new();
            let deadline = number.format(deadline).as_bytes();
            encode_request(
                out,
                [b"SET", entry.key(), value, b"PXAT", deadline].into_iter(),
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
        };
        let mut hash = Hash::default();
        for number in 0..300 {
            hash.set(format!("f{number}").as_bytes(), b"v", limits);
        }
        let mut slot = SlotData::default();
        let value = Value::Hash(Box::new(hash));
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
