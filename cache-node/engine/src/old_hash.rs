//! Hashes: a small one is one packed block, a big one a table.

use crate::old_table::{OldKeyHash as KeyHash, Keyed, Table};
fn allocation(size: usize) -> usize { if size == 0 { 0 } else { ((size + 8 + 15) & !15).max(32) } }

/// A field of a big hash.
#[derive(Debug)]
struct Field {
    name: Box<[u8]>,
    value: Box<[u8]>,
}

impl Field {
    fn size(&self) -> usize {
        allocation(self.name.len()) + allocation(self.value.len())
    }
}

impl Keyed for Field {
    fn key(&self) -> &[u8] {
        &self.name
    }
}

/// When a hash stops being packed (`hash-max-listpack-entries`, `hash-max-listpack-value`).
#[derive(Clone, Copy, Debug)]
pub struct PackLimits {
    /// Most fields of a packed hash.
    pub entries: usize,
    /// Longest field name or value of a packed hash, in bytes.
    pub value: usize,
}

/// Fields with values.
pub struct Hash(Form);

enum Form {
    /// Length-prefixed names and values, one after the other, in the order in which they came.
    Packed {
        bytes: Vec<u8>,
        len: usize,
    },
    Table {
        fields: Table<Field>,
        bytes: usize,
    },
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Default for Hash {
    fn default() -> Self {
        Self(Form::Packed {
            bytes: Vec::new(),
            len: 0,
        })
    }
}

impl Hash {
    /// Number of fields.
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Packed { len, .. } => *len,
            Form::Table { fields, .. } => fields.len(),
        }
    }

    /// Whether there is no field; such a hash does not stay in the store.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The encoding's name, as `OBJECT ENCODING` answers.
    pub fn encoding(&self) -> &'static str {
        match self.0 {
            Form::Packed { .. } => "listpack",
            Form::Table { .. } => "hashtable",
        }
    }

    /// Bytes allocated.
    pub fn size(&self) -> usize {
        match &self.0 {
            Form::Packed { bytes, .. } => allocation(bytes.capacity()),
            Form::Table { fields, bytes } => fields.bytes() + bytes,
        }
    }

    /// The value of `name`.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        match &self.0 {
            Form::Packed { bytes, .. } => {
                Packed(bytes).find_map(|(field, value)| (field == name).then_some(value))
            }
            Form::Table { fields, .. } => fields
                .get(name, KeyHash::of(name))
                .map(|field| field.value.as_ref()),
        }
    }

    /// Sets a field; true when it is new.
    pub fn set(&mut self, name: &[u8], value: &[u8], limits: PackLimits) -> bool {
        if let Form::Packed { bytes, len } = &mut self.0 {
            if name.len() <= limits.value && value.len() <= limits.value {
                let place = find_packed(bytes, name);
                if place.is_some() || *len < limits.entries {
                    return set_packed(bytes, len, place, name, value);
                }
            }
            self.unpack();
        }
        let Form::Table { fields, bytes } = &mut self.0 else {
            return false;
        };
        let field = Field {
            name: name.into(),
            value: value.into(),
        };
        *bytes += field.size();
        let old = fields.insert(field, KeyHash::of(name));
        *bytes -= old.as_ref().map_or(0, Field::size);
        old.is_none()
    }

    /// Removes a field; true when it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match &mut self.0 {
            Form::Packed { bytes, len } => {
                let Some((start, _, end)) = find_packed(bytes, name) else {
                    return false;
                };
                bytes.drain(start..end);
                *len -= 1;
                true
            }
            Form::Table { fields, bytes } => {
                let Some(field) = fields.remove(name, KeyHash::of(name)) else {
                    return false;
                };
                *bytes -= field.size();
                true
            }
        }
    }

    /// All fields with their values.
    pub fn iter(&self) -> Box<dyn Iterator<Item = (&[u8], &[u8])> + '_> {
        match &self.0 {
            Form::Packed { bytes, .. } => Box::new(Packed(bytes)),
            Form::Table { fields, .. } => Box::new(
                fields
                    .iter()
                    .map(|field| (field.name.as_ref(), field.value.as_ref())),
            ),
        }
    }

    /// Visits at least `count` fields from the cursor on; answers the next cursor, `None` at the end. A packed hash is visited whole.
    pub fn scan<'a>(
        &'a self,
        cursor: u32,
        count: usize,
        mut visit: impl FnMut(&'a [u8], &'a [u8]),
    ) -> Option<u32> {
        match &self.0 {
            Form::Packed { bytes, .. } => {
                Packed(bytes).for_each(|(name, value)| visit(name, value));
                None
            }
            Form::Table { fields, .. } => fields
                .scan(KeyHash(cursor), count, |field| {
                    visit(&field.name, &field.value);
                })
                .map(|next| next.0),
        }
    }

    /// A field chosen by `random`, which answers a number below its argument.
    pub fn pick(&self, mut random: impl FnMut(usize) -> usize) -> Option<(&[u8], &[u8])> {
        match &self.0 {
            Form::Packed { len: 0, .. } => None,
            Form::Packed { bytes, len } => Packed(bytes).nth(random(*len)),
            Form::Table { fields, .. } => fields
                .pick(random)
                .map(|field| (field.name.as_ref(), field.value.as_ref())),
        }
    }

    /// A copy.
    pub fn duplicate(&self) -> Self {
        match &self.0 {
            Form::Packed { bytes, len } => Self(Form::Packed {
                bytes: bytes.clone(),
                len: *len,
            }),
            Form::Table { .. } => {
                let limits = PackLimits {
                    entries: 0,
                    value: 0,
                };
                let mut copy = Self::default();
                for (name, value) in self.iter() {
                    copy.set(name, value, limits);
                }
                copy
            }
        }
    }

    fn unpack(&mut self) {
        let Form::Packed { bytes: packed, .. } = &self.0 else {
            return;
        };
        let (mut fields, mut bytes) = (Table::default(), 0);
        for (name, value) in Packed(packed) {
            let field = Field {
                name: name.into(),
                value: value.into(),
            };
            bytes += field.size();
            fields.insert(field, KeyHash::of(name));
        }
        self.0 = Form::Table { fields, bytes };
    }
}

/// The fields of a packed hash.
struct Packed<'a>(&'a [u8]);

impl<'a> Iterator for Packed<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (name, rest) = take_packed(self.0);
        let (value, rest) = take_packed(rest);
        self.0 = rest;
        Some((name, value))
    }
}

/// Start of the field, start of its value, and end of the field.
type Place = (usize, usize, usize);

fn find_packed(bytes: &[u8], name: &[u8]) -> Option<Place> {
    let mut rest = bytes;
    while !rest.is_empty() {
        let start = bytes.len() - rest.len();
        let (field, behind) = take_packed(rest);
        let value = bytes.len() - behind.len();
        rest = take_packed(behind).1;
        if field == name {
            return Some((start, value, bytes.len() - rest.len()));
        }
    }
    None
}

fn set_packed(
    bytes: &mut Vec<u8>,
    len: &mut usize,
    place: Option<Place>,
    name: &[u8],
    value: &[u8],
) -> bool {
    if let Some((_, start, end)) = place {
        let mut item = Vec::with_capacity(value.len() + 5);
        push_packed(&mut item, value);
        bytes.splice(start..end, item);
        return false;
    }
    bytes.reserve_exact(name.len() + value.len() + 4);
    push_packed(bytes, name);
    push_packed(bytes, value);
    *len += 1;
    true
}

/// Splits the first item off: a length in groups of seven bits, least significant first, and so many bytes.
fn take_packed(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (mut length, mut shift, mut start) = (0_usize, 0, 0);
    while let Some(byte) = bytes.get(start) {
        length |= usize::from(byte & 0x7F) << shift;
        start += 1;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    bytes[start..].split_at(length)
}

fn push_packed(out: &mut Vec<u8>, item: &[u8]) {
    let mut length = item.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(item);
}

