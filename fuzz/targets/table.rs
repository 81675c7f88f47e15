//! The table against a map: keys, values, deadlines, policy bits, scans, expiry, and the counts of bytes.

#![no_main]

use std::collections::{BTreeSet, HashMap};

use cache_engine::KeyHash;
use cache_engine::collections::PackLimits;
use cache_engine::entry::Entry;
use cache_engine::hash::Hash;
use cache_engine::table::{Due, Expiry, META_BITS, Place, Table};
use cache_engine::value::{Value, ValueRef};
use libfuzzer_sys::fuzz_target;

/// Most keys that an input's steps of many keys touch: more make it slow, and show nothing new.
const MOST: usize = 2500;

/// Later deadlines take fewer bytes; both forms are used.
const LATER: u64 = 1_700_000_000_000;

/// What an entry is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kept {
    value: Content,
    deadline: Option<u64>,
    meta: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Integer(i64),
    Text(Vec<u8>),
    /// So many fields, all of this length.
    Hash(usize, usize),
}

fuzz_target!(|input: &[u8]| {
    let mut run = Run::default();
    let mut steps = input;
    while let [step, a, b, c, rest @ ..] = steps {
        steps = rest;
        run.step(*step, *a, *b, *c);
    }
    run.check();
});

#[derive(Default)]
struct Run {
    table: Table,
    model: HashMap<Vec<u8>, Kept>,
    cursor: Option<KeyHash>,
    /// Keys that were there when the scan began and still are, and that it has not shown.
    owed: BTreeSet<Vec<u8>>,
    /// Keys touched in steps of many.
    touched: usize,
}

fn key_of(a: u8, b: u8) -> Vec<u8> {
    let mut key = format!("key:{a}:{b}").into_bytes();
    match a {
        // Beyond 255 bytes, and beyond what lies in an entry, a key is kept otherwise.
        250..=252 => key.resize(300, b'x'),
        253..=255 => key.resize(3000, b'x'),
        _ => {}
    }
    key
}

fn deadline_of(c: u8) -> Option<Due> {
    let tick = u32::from(c >> 2) + 1;
    match c & 3 {
        0 | 1 => None,
        2 => Some((u64::from(tick), tick)),
        _ => Some((LATER + u64::from(tick), tick)),
    }
}

fn tick_of(deadline: u64) -> u32 {
    (deadline % LATER) as u32
}

fn content_of(step: u8, c: u8) -> Content {
    match step & 3 {
        0 => Content::Integer(i64::from(c) - 128),
        1 => Content::Text(vec![c; usize::from(c)]),
        2 => Content::Text(vec![c; usize::from(c) * 150]),
        _ => Content::Hash(1 + usize::from(c & 15), 1 + usize::from(c >> 4) * 10),
    }
}

fn hash_of(fields: usize, length: usize) -> Hash {
    let limits = PackLimits {
        entries: 8,
        value: 64,
        bytes: 4096,
    };
    let mut hash = Hash::from_packed(Vec::new(), 0);
    for field in 0..fields {
        hash.set(field.to_string().as_bytes(), &vec![b'v'; length], &limits);
    }
    hash
}

fn value_of(content: &Content) -> Value {
    match content {
        Content::Integer(value) => Value::Integer(*value),
        Content::Text(bytes) => Value::string(bytes.clone(), false),
        Content::Hash(fields, length) => Value::Hash(hash_of(*fields, *length)),
    }
}

fn is(entry: Entry<'_>, kept: &Kept) -> bool {
    let same = match (entry.value(), &kept.value) {
        (ValueRef::Integer(value), Content::Integer(wanted)) => value == *wanted,
        (ValueRef::String(bytes, _), Content::Text(wanted)) => bytes == wanted,
        (ValueRef::Text(text), Content::Text(wanted)) => text.get_range(0..text.len()) == *wanted,
        (ValueRef::Hash(hash), Content::Hash(fields, length)) => {
            hash.len() == *fields
                && hash
                    .iter()
                    .all(|(_, value)| value.to_vec().len() == *length)
        }
        _ => false,
    };
    same && entry.deadline() == kept.deadline
}

impl Run {
    fn step(&mut self, step: u8, a: u8, b: u8, c: u8) {
        let key = key_of(a, b);
        match step >> 2 {
            0..16 => self.put(key, content_of(step, c), deadline_of(c), b),
            // Enough keys to split segments.
            16..20 => {
                for more in 0..self.many(c) {
                    let key = format!("many:{}:{}", a & 7, usize::from(b) * 4 + more).into_bytes();
                    let deadline = deadline_of(b.wrapping_add(more as u8));
                    self.put(key, Content::Integer(more as i64), deadline, c);
                }
            }
            20..24 => {
                for more in 0..self.many(c) {
                    let key = format!("many:{}:{}", a & 7, usize::from(b) * 4 + more);
                    self.delete(key.as_bytes(), step & 1 == 0);
                }
            }
            24..36 => self.delete(&key, step & 1 == 0),
            36..44 => self.expire_key(&key, deadline_of(c)),
            44..48 => self.update(&key, c),
            48..52 => self.set_meta(&key, u16::from_le_bytes([b, c]) & ((1 << META_BITS) - 1)),
            52..58 => self.scan(1 + usize::from(c)),
            58..60 => self.sample(u64::from_le_bytes([a, b, c, a, b, c, a, b])),
            _ => self.expire_due(u32::from(c >> 2)),
        }
    }

    fn many(&mut self, c: u8) -> usize {
        let count = (usize::from(c) * 4).min(MOST - self.touched);
        self.touched += count;
        count
    }

    fn find(&self, key: &[u8]) -> Option<Place> {
        let place = self.table.find(key, KeyHash::of(key));
        assert_eq!(place.is_some(), self.model.contains_key(key));
        place
    }

    fn put(&mut self, key: Vec<u8>, value: Content, deadline: Option<Due>, meta: u8) {
        let hash = KeyHash::of(&key);
        let kept = |deadline: Option<u64>, meta| Kept {
            value: value.clone(),
            deadline,
            meta,
        };
        let Some(place) = self.find(&key) else {
            let meta = u16::from(meta) << (META_BITS - 8);
            self.table
                .insert_value(&key, hash, value_of(&value), deadline, meta);
            self.model
                .insert(key, kept(deadline.map(|(time, _)| time), meta));
            return;
        };
        let before = self.model[&key].clone();
        let (expiry, deadline) = match deadline {
            Some(due) => (Expiry::At(due), Some(due.0)),
            None if meta & 1 == 0 => (Expiry::Never, None),
            None => (Expiry::Keep, before.deadline),
        };
        drop(match &value {
            Content::Integer(value) => self.table.set_integer(place, *value, expiry),
            Content::Text(bytes) if bytes.len() < 256 => {
                self.table.set_string(place, bytes, expiry)
            }
            other => self.table.set_value(place, value_of(other), expiry),
        });
        self.model.insert(key, kept(deadline, before.meta));
    }

    fn delete(&mut self, key: &[u8], take: bool) {
        if let Some(place) = self.find(key) {
            if take {
                drop(self.table.take(place));
            } else {
                drop(self.table.delete(place));
            }
            self.model.remove(key);
            self.owed.remove(key);
        }
    }

    fn expire_key(&mut self, key: &[u8], deadline: Option<Due>) {
        if let Some(place) = self.find(key) {
            self.table.set_expiry(place, deadline);
            if let Some(kept) = self.model.get_mut(key) {
                kept.deadline = deadline.map(|(time, _)| time);
            }
        }
    }

    fn update(&mut self, key: &[u8], c: u8) {
        let Some(place) = self.find(key) else {
            return;
        };
        let content = match &self.model[key].value {
            Content::Integer(_) => Content::Text(vec![c; 40 * usize::from(c)]),
            Content::Text(_) => Content::Hash(1 + usize::from(c), 5),
            Content::Hash(..) => Content::Integer(i64::from(c)),
        };
        self.table
            .update(place, |value| *value = value_of(&content));
        if let Some(kept) = self.model.get_mut(key) {
            kept.value = content;
        }
    }

    fn set_meta(&mut self, key: &[u8], meta: u16) {
        if let Some(place) = self.find(key) {
            self.table.set_meta(place, meta);
            if let Some(kept) = self.model.get_mut(key) {
                kept.meta = meta;
            }
        }
    }

    /// Goes on with a scan, or begins one. What was there throughout has been seen at its end.
    fn scan(&mut self, count: usize) {
        let from = self.cursor.unwrap_or_else(|| {
            self.owed = self.model.keys().cloned().collect();
            KeyHash(0)
        });
        let (model, owed) = (&self.model, &mut self.owed);
        self.cursor = self.table.scan(from, count, |entry| {
            assert!(model.contains_key(entry.key()));
            owed.remove(entry.key());
        });
        if self.cursor.is_none() {
            assert!(
                self.owed.is_empty(),
                "a scan has missed {:?}",
                self.owed.len()
            );
        }
    }

    fn sample(&self, random: u64) {
        for (place, volatile) in self.table.sample(random) {
            let entry = self.table.entry(place);
            assert_eq!(entry.deadline().is_some(), volatile);
            assert!(is(entry, &self.model[entry.key()]));
            let identity = self.table.identity(place);
            let again = self.table.locate(identity);
            assert_eq!(again, Some(place));
        }
    }

    /// Removes what has expired at a tick, as the store does.
    fn expire_due(&mut self, now: u32) {
        while let Some((segment, bucket)) = self.table.due_bucket(now) {
            let mut expired = Vec::new();
            let mut next = u32::MAX;
            for place in self.table.volatile_of(segment, bucket) {
                let entry = self.table.entry(place);
                let tick = entry.deadline().map_or(u32::MAX, tick_of);
                if tick <= now {
                    expired.push(entry.key().to_vec());
                } else {
                    next = next.min(tick);
                }
            }
            self.table.set_due(segment, bucket, next);
            expired.iter().for_each(|key| self.delete(key, false));
        }
        let left = self.model.values().filter_map(|kept| kept.deadline);
        assert!(
            left.map(tick_of).all(|tick| tick > now),
            "an expired key was missed"
        );
    }

    fn check(&self) {
        assert_eq!(self.table.len(), self.model.len());
        let volatile = self.model.values().filter(|kept| kept.deadline.is_some());
        assert_eq!(self.table.volatile(), volatile.count());
        let (mut bytes, mut probation) = (0, 0);
        for place in self.table.places() {
            let entry = self.table.entry(place);
            let kept = &self.model[entry.key()];
            assert!(is(entry, kept));
            assert_eq!(self.table.meta(place), kept.meta);
            bytes += entry.bytes();
            if kept.meta >> (META_BITS - 1) == 0 {
                probation += entry.bytes();
            }
        }
        assert_eq!(self.table.entry_bytes(), bytes);
        assert_eq!(self.table.probation_bytes(), probation);
        for key in self.model.keys() {
            assert!(self.find(key).is_some());
        }
    }
}
