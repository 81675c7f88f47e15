//! Entries in the RDB format: into files and streams, and out of what `RESTORE` is given.

use std::convert::Infallible;

use cache_engine::collections::PackLimits;
use cache_engine::list::End;
use cache_rdb::{Event, Item as RdbItem, Kind, Writer};

use crate::clock::Millis;
use crate::resp::parse_integer;

use super::{
    Hash, HashRef, Item, List, ListRef, Set, SetRef, SortedSet, SortedSetRef, Text, Value, ValueRef,
};

/// A string of more bytes is never compressed, which would need it in one piece.
const MOST_COMPRESSED: usize = 1 << 20;

/// Whether a value's chunks can be shared, so that it need not be written at once.
pub(super) fn is_big(value: ValueRef<'_>) -> bool {
    matches!(
        value,
        ValueRef::Text(_)
            | ValueRef::Hash(HashRef::Big(_))
            | ValueRef::List(ListRef::Big(_))
            | ValueRef::Set(SetRef::Big(_))
            | ValueRef::SortedSet(SortedSetRef::Big(_))
    )
}

/// Appends an entry.
pub fn write_entry(writer: &mut Writer, key: &[u8], deadline: Option<Millis>, value: ValueRef<'_>) {
    let Ok(()) = write_entry_in_parts(writer, key, deadline, value, &mut nothing_between);
}

/// The same for a value that may be long: `between` is called after each of its items, and may take what was written.
pub(super) fn write_entry_in_parts<E>(
    writer: &mut Writer,
    key: &[u8],
    deadline: Option<Millis>,
    value: ValueRef<'_>,
    between: &mut impl FnMut(&mut Writer) -> Result<(), E>,
) -> Result<(), E> {
    writer.entry(kind_of(value), key, deadline);
    write_content(writer, value, between)
}

/// Appends a value with its kind, as `DUMP` answers it but for the end.
pub fn write_value(writer: &mut Writer, value: ValueRef<'_>) {
    writer.kind(kind_of(value));
    let Ok(()) = write_content(writer, value, &mut nothing_between);
}

#[expect(clippy::unnecessary_wraps, reason = "others may fail")]
fn nothing_between(_: &mut Writer) -> Result<(), Infallible> {
    Ok(())
}

fn kind_of(value: ValueRef<'_>) -> Kind {
    match value {
        ValueRef::Integer(_) | ValueRef::String(..) | ValueRef::Text(_) => Kind::String,
        ValueRef::Hash(_) => Kind::Hash,
        ValueRef::List(_) => Kind::List,
        ValueRef::Set(_) => Kind::Set,
        ValueRef::SortedSet(_) => Kind::SortedSet,
    }
}

fn item(item: Item<'_>) -> RdbItem<'_> {
    match item {
        Item::Int(integer) => RdbItem::Integer(integer),
        Item::Str(bytes) => RdbItem::Bytes(bytes),
    }
}

fn write_content<E>(
    writer: &mut Writer,
    value: ValueRef<'_>,
    between: &mut impl FnMut(&mut Writer) -> Result<(), E>,
) -> Result<(), E> {
    match value {
        ValueRef::Integer(integer) => writer.item(RdbItem::Integer(integer)),
        ValueRef::String(bytes, _) => writer.item(RdbItem::Bytes(bytes)),
        ValueRef::Text(text) if writer.compresses && text.len() <= MOST_COMPRESSED => {
            writer.item(RdbItem::Bytes(&text.get_range(0..text.len())));
        }
        ValueRef::Text(text) => {
            writer.length(text.len() as u64);
            for piece in text.slices(0..text.len()) {
                writer.piece(piece);
                between(writer)?;
            }
        }
        ValueRef::Hash(hash) => {
            writer.length(hash.len() as u64);
            for (field, value) in hash.iter() {
                writer.item(item(field));
                writer.item(item(value));
                between(writer)?;
            }
        }
        ValueRef::List(list) => {
            writer.length(list.len() as u64);
            for element in list.run(0, list.len(), false) {
                writer.item(item(element));
                between(writer)?;
            }
        }
        ValueRef::Set(set) => {
            writer.length(set.len() as u64);
            for member in set.iter() {
                writer.item(item(member));
                between(writer)?;
            }
        }
        ValueRef::SortedSet(set) => {
            writer.length(set.len() as u64);
            for (member, score) in set.range(0, set.len(), false) {
                writer.item(item(member));
                writer.score(score);
                between(writer)?;
            }
        }
    }
    Ok(())
}

/// Until when collections stay packed, by kind.
#[derive(Clone, Copy, Debug)]
pub struct AllLimits {
    /// Of hashes.
    pub hash: PackLimits,
    /// Of lists.
    pub list: PackLimits,
    /// Of sets.
    pub set: PackLimits,
    /// Of sorted sets.
    pub sorted_set: PackLimits,
}

/// A value that comes piece by piece.
pub struct Builder {
    limits: AllLimits,
    value: Built,
}

enum Built {
    String(Vec<u8>),
    /// A string that has become too long for one buffer.
    Text(Box<Text>),
    Integer(i64),
    Hash(Hash),
    List(List),
    Set(Set),
    SortedSet(SortedSet),
}

/// A string of more bytes is gathered in chunks.
const MOST_GATHERED: usize = 64 << 10;

impl Builder {
    /// A value of this kind.
    pub fn new(kind: Kind, limits: AllLimits) -> Self {
        let value = match kind {
            Kind::String => Built::String(Vec::new()),
            Kind::List => Built::List(List::default()),
            Kind::Set => Built::Set(Set::default()),
            Kind::Hash => Built::Hash(Hash::default()),
            Kind::SortedSet => Built::SortedSet(SortedSet::default()),
        };
        Self { limits, value }
    }

    /// Adds what an event says of the value.
    ///
    /// # Errors
    ///
    /// What it says cannot be held, or does not belong to a value of this kind.
    pub fn add(&mut self, event: Event<'_>) -> Result<(), String> {
        let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
        let limits = &self.limits;
        match (&mut self.value, event) {
            (Built::String(_), Event::Integer(integer)) => self.value = Built::Integer(integer),
            (Built::String(bytes), Event::Piece(piece)) => {
                bytes.extend_from_slice(piece);
                if bytes.len() > MOST_GATHERED {
                    self.value = Built::Text(Box::new(Text::from(bytes.as_slice())));
                }
            }
            (Built::Text(text), Event::Piece(piece)) => text.append(piece),
            (Built::List(list), Event::Element(element)) => {
                list.push(End::Back, element.text(&mut first), &limits.list);
            }
            (Built::Set(set), Event::Element(member)) => {
                set.add(member.text(&mut first), &limits.set);
            }
            (Built::Hash(_), Event::Field(_, _, Some(_))) => {
                return Err("a field with a deadline cannot be held".to_owned());
            }
            (Built::Hash(hash), Event::Field(field, value, None)) => {
                let (field, value) = (field.text(&mut first), value.text(&mut second));
                hash.set(field, value, &limits.hash);
            }
            (Built::SortedSet(set), Event::Member(member, score)) => {
                // One zero: see the documentation of sorted sets.
                set.insert(member.text(&mut first), score + 0.0, &limits.sorted_set);
            }
            (_, event) => return Err(format!("{event:?} does not belong here")),
        }
        Ok(())
    }

    /// The value; `None` for a collection without anything in it, which no key holds.
    pub fn finish(self) -> Option<Value> {
        let value = match self.value {
            Built::Integer(integer) => Value::Integer(integer),
            Built::String(bytes) => match parse_integer(&bytes) {
                Some(integer) => Value::Integer(integer),
                None => Value::string(bytes, false),
            },
            Built::Text(text) => Value::Text(text),
            Built::Hash(hash) => Value::Hash(hash),
            Built::List(list) => Value::List(list),
            Built::Set(set) => Value::Set(set),
            Built::SortedSet(set) => Value::SortedSet(set),
        };
        (!value.is_empty_collection()).then_some(value)
    }
}
