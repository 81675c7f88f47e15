//! Values, in all the forms that they had over the years.

use std::io::Read;

use crate::format::{Item, kind};

use super::source::{Length, Source, Text};
use super::{Event, Kind, Reason, Visit, intset, listpack, ziplist, zipmap};

/// Bytes of a string that are told at once.
const PIECE: u64 = 64 * 1024;

/// What a value of this code is. Valkey and Redis disagree about some.
pub(super) fn kind_of(code: u8, is_valkey: bool) -> Result<Kind, Reason> {
    Ok(match code {
        kind::STRING => Kind::String,
        kind::LIST | kind::LIST_ZIPLIST | kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => {
            Kind::List
        }
        kind::SET | kind::SET_INTSET | kind::SET_LISTPACK => Kind::Set,
        kind::SORTED_SET_TEXT
        | kind::SORTED_SET
        | kind::SORTED_SET_ZIPLIST
        | kind::SORTED_SET_LISTPACK => Kind::SortedSet,
        kind::HASH | kind::HASH_ZIPMAP | kind::HASH_ZIPLIST | kind::HASH_LISTPACK => Kind::Hash,
        kind::HASH_FIELD_DEADLINES if is_valkey => Kind::Hash,
        kind::HASH_METADATA | kind::HASH_LISTPACK_EX if !is_valkey => Kind::Hash,
        kind::STREAM_1 | kind::STREAM_2 | kind::STREAM_3 => {
            return Err(Reason::Unsupported("a stream"));
        }
        kind::MODULE_1 | kind::MODULE_2 => return Err(Reason::Unsupported("a module's value")),
        other => return Err(Reason::Unknown(other)),
    })
}

/// Reads values, with buffers for their parts.
#[derive(Default)]
pub(super) struct Reader {
    first: Vec<u8>,
    second: Vec<u8>,
}

impl Reader {
    /// Reads the value behind its code and key. The code is one that [`kind_of`] knows.
    pub(super) fn read<R: Read>(
        &mut self,
        source: &mut Source<R>,
        code: u8,
        visit: &mut Visit<'_>,
    ) -> Result<(), Reason> {
        match code {
            kind::STRING => self.string(source, visit)?,
            kind::LIST | kind::SET => self.elements(source, visit)?,
            kind::HASH => self.fields(source, Deadlines::None, visit)?,
            kind::HASH_FIELD_DEADLINES => self.fields(source, Deadlines::Behind, visit)?,
            kind::HASH_METADATA => {
                let soonest = u64::from_le_bytes(source.array()?);
                self.fields(source, Deadlines::Before(soonest), visit)?;
            }
            kind::SORTED_SET => self.members(source, binary_score, visit)?,
            kind::SORTED_SET_TEXT => self.members(source, text_score, visit)?,
            kind::LIST_QUICKLIST | kind::LIST_QUICKLIST_2 => self.quicklist(source, code, visit)?,
            _ => self.packed(source, code, visit)?,
        }
        visit(Event::End).map_err(Reason::Refused)
    }

    fn string<R: Read>(
        &mut self,
        source: &mut Source<R>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Reason> {
        let mut missing = match source.length()? {
            Length::Count(length) => length,
            Length::Encoded(form) => {
                let text = source.encoded(form, &mut self.first)?;
                let event = match text.item(&self.first) {
                    Item::Integer(integer) => Event::Integer(integer),
                    Item::Bytes(bytes) => Event::Piece(bytes),
                };
                return visit(event).map_err(Reason::Refused);
            }
        };
        if missing == 0 {
            return visit(Event::Piece(b"")).map_err(Reason::Refused);
        }
        while missing > 0 {
            let piece = source.piece(missing.min(PIECE))?;
            missing -= piece.len() as u64;
            visit(Event::Piece(piece)).map_err(Reason::Refused)?;
        }
        Ok(())
    }

    fn elements<R: Read>(
        &mut self,
        source: &mut Source<R>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Reason> {
        for _ in 0..source.count()? {
            let text = source.string(&mut self.first)?;
            visit(Event::Element(text.item(&self.first))).map_err(Reason::Refused)?;
        }
        Ok(())
    }

    fn fields<R: Read>(
        &mut self,
        source: &mut Source<R>,
        deadlines: Deadlines,
        visit: &mut Visit<'_>,
    ) -> Result<(), Reason> {
        for _ in 0..source.count()? {
            let before = deadlines.before(source)?;
            let field = source.string(&mut self.first)?;
            let value = source.string(&mut self.second)?;
            let deadline = deadlines.behind(source, before)?;
            let (field, value) = (field.item(&self.first), value.item(&self.second));
            visit(Event::Field(field, value, deadline)).map_err(Reason::Refused)?;
        }
        Ok(())
    }

    fn members<R: Read>(
        &mut self,
        source: &mut Source<R>,
        score: fn(&mut Source<R>) -> Result<f64, Reason>,
        visit: &mut Visit<'_>,
    ) -> Result<(), Reason> {
        for _ in 0..source.count()? {
            let text = source.string(&mut self.first)?;
            let score = score(source)?;
            member(text.item(&self.first), score, visit)?;
        }
        Ok(())
    }

    fn quicklist<R: Read>(
        &mut self,
        source: &mut Source<R>,
        code: u8,
        visit: &mut Visit<'_>,
    ) -> Result<(), Reason> {
        for _ in 0..source.count()? {
            let plain = code == kind::LIST_QUICKLIST_2
                && match source.count()? {
                    1 => true,
                    2 => false,
                    _ => return Err(Reason::Damaged("a node of a list")),
                };
            let text = source.string(&mut self.first)?;
            let mut element = |item: Item<'_>| visit(Event::Element(item)).map_err(Reason::Refused);
            match (text, plain) {
                (text, true) => element(text.item(&self.first))?,
                (Text::Integer(_), false) => return Err(Reason::Damaged("a node of a list")),
                (Text::InBuffer, false) if code == kind::LIST_QUICKLIST => {
                    ziplist::read(&self.first, &mut element)?;
                }
                (Text::InBuffer, false) => listpack::read(&self.first, &mut element)?,
            }
        }
        Ok(())
    }

    /// A collection that is one string.
    fn packed<R: Read>(
        &mut self,
        source: &mut Source<R>,
        code: u8,
        visit: &mut Visit<'_>,
    ) -> Result<(), Reason> {
        if code == kind::HASH_LISTPACK_EX {
            // The soonest deadline; the fields' own are in the listpack.
            source.array::<8>()?;
        }
        let Text::InBuffer = source.string(&mut self.first)? else {
            return Err(Reason::Damaged("a packed collection"));
        };
        let bytes = self.first.as_slice();
        match code {
            kind::LIST_ZIPLIST => ziplist::read(bytes, &mut |item| {
                visit(Event::Element(item)).map_err(Reason::Refused)
            }),
            kind::SET_LISTPACK => listpack::read(bytes, &mut |item| {
                visit(Event::Element(item)).map_err(Reason::Refused)
            }),
            kind::SET_INTSET => intset::read(bytes, &mut |integer| {
                visit(Event::Element(Item::Integer(integer))).map_err(Reason::Refused)
            }),
            kind::HASH_ZIPMAP => zipmap::read(bytes, &mut |field, value| {
                let event = Event::Field(Item::Bytes(field), Item::Bytes(value), None);
                visit(event).map_err(Reason::Refused)
            }),
            kind::HASH_ZIPLIST => grouped(bytes, ziplist::read, |[field, value]| {
                visit(Event::Field(field, value, None)).map_err(Reason::Refused)
            }),
            kind::HASH_LISTPACK => grouped(bytes, listpack::read, |[field, value]| {
                visit(Event::Field(field, value, None)).map_err(Reason::Refused)
            }),
            kind::HASH_LISTPACK_EX => grouped(bytes, listpack::read, |[field, value, deadline]| {
                let Item::Integer(deadline) = deadline else {
                    return Err(Reason::Damaged("a field's deadline"));
                };
                let deadline = u64::try_from(deadline).ok().filter(|time| *time > 0);
                visit(Event::Field(field, value, deadline)).map_err(Reason::Refused)
            }),
            kind::SORTED_SET_ZIPLIST => grouped(bytes, ziplist::read, |[text, score]| {
                member(text, packed_score(score)?, visit)
            }),
            kind::SORTED_SET_LISTPACK => grouped(bytes, listpack::read, |[text, score]| {
                member(text, packed_score(score)?, visit)
            }),
            other => Err(Reason::Unknown(other)),
        }
    }
}

/// Reads items in groups of `N`.
fn grouped<'a, const N: usize>(
    bytes: &'a [u8],
    read: impl FnOnce(&'a [u8], &mut dyn FnMut(Item<'a>) -> Result<(), Reason>) -> Result<(), Reason>,
    mut take: impl FnMut([Item<'a>; N]) -> Result<(), Reason>,
) -> Result<(), Reason> {
    let mut group = [Item::Integer(0); N];
    let mut filled = 0;
    read(bytes, &mut |item| {
        group[filled] = item;
        filled += 1;
        if filled < N {
            return Ok(());
        }
        filled = 0;
        take(group)
    })?;
    if filled == 0 {
        Ok(())
    } else {
        Err(Reason::Damaged("an odd number of items"))
    }
}

fn member(text: Item<'_>, score: f64, visit: &mut Visit<'_>) -> Result<(), Reason> {
    if score.is_nan() {
        return Err(Reason::Damaged("a score that is no number"));
    }
    visit(Event::Member(text, score)).map_err(Reason::Refused)
}

fn packed_score(item: Item<'_>) -> Result<f64, Reason> {
    match item {
        Item::Integer(integer) => Ok(integer as f64),
        Item::Bytes(text) => parse_score(text),
    }
}

fn parse_score(text: &[u8]) -> Result<f64, Reason> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Reason::Damaged("a score"))
}

fn binary_score<R: Read>(source: &mut Source<R>) -> Result<f64, Reason> {
    Ok(f64::from_le_bytes(source.array()?))
}

/// A score as files before Redis 3.2 have it.
fn text_score<R: Read>(source: &mut Source<R>) -> Result<f64, Reason> {
    match source.byte()? {
        253 => Ok(f64::NAN),
        254 => Ok(f64::INFINITY),
        255 => Ok(f64::NEG_INFINITY),
        length => {
            let mut text = Vec::new();
            while text.len() < usize::from(length) {
                let missing = usize::from(length) - text.len();
                text.extend_from_slice(source.piece(missing as u64)?);
            }
            parse_score(&text)
        }
    }
}

/// Where the deadlines of a hash's fields stand.
#[derive(Clone, Copy)]
enum Deadlines {
    None,
    /// Behind each value: milliseconds since 1970, or -1 for none.
    Behind,
    /// Before each field: milliseconds behind the soonest of all, plus 1; 0 for none.
    Before(u64),
}

impl Deadlines {
    fn before<R: Read>(self, source: &mut Source<R>) -> Result<Option<u64>, Reason> {
        let Self::Before(soonest) = self else {
            return Ok(None);
        };
        let behind = source.count()?;
        Ok(behind
            .checked_sub(1)
            .map(|behind| soonest.saturating_add(behind)))
    }

    fn behind<R: Read>(
        self,
        source: &mut Source<R>,
        before: Option<u64>,
    ) -> Result<Option<u64>, Reason> {
        let Self::Behind = self else {
            return Ok(before);
        };
        let deadline = i64::from_le_bytes(source.array()?);
        Ok(u64::try_from(deadline).ok())
    }
}
