//! Replies that are too long to be written while a slot is locked, or in one turn of a connection: their beginning is, and the rest is
//! read from a snapshot afterwards, piece by piece. Writes go on meanwhile, and the reply does not see them.

use cache_engine::collections::Snapshot;

use crate::resp::{Protocol, Reply};
use crate::store::{Item, Members, Text};

use super::context::Context;

/// A reply of more elements is long.
const LONG: usize = 1024;

/// A string of more bytes is long.
const LONG_BYTES: usize = 256 * 1024;

/// Bytes of a piece.
const PIECE: usize = 64 * 1024;

/// Elements of a piece, at most.
const ELEMENTS: usize = 2048;

/// How elements are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Each element: of a list or a set.
    Elements,
    /// Fields and values, one after the other.
    Pairs,
    /// Fields.
    Fields,
    /// Values.
    Values,
    /// Members of a sorted set, with their scores if so.
    Members {
        /// Whether scores are shown.
        scores: bool,
    },
}

/// Which elements are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first one's place.
    pub(super) start: usize,
    /// How many.
    pub(super) count: usize,
    /// Whether places go down.
    pub(super) reverse: bool,
}

impl Extent {
    /// All of `count` elements.
    pub(super) fn all(count: usize) -> Self {
        Self {
            start: 0,
            count,
            reverse: false,
        }
    }
}

/// The rest of a reply.
pub struct LongReply(Rest);

enum Rest {
    Elements {
        snapshot: Snapshot,
        shape: Shape,
        extent: Extent,
        protocol: Protocol,
    },
    Text {
        text: Text,
        from: usize,
    },
}

impl LongReply {
    /// Appends a piece to `out`; answers whether that was the last one.
    pub fn go_on(&mut self, out: &mut Vec<u8>) -> bool {
        match &mut self.0 {
            Rest::Elements {
                snapshot,
                shape,
                extent,
                protocol,
            } => {
                let mut reply = Reply::new(out, *protocol);
                let shown = show_piece(&mut reply, snapshot, *shape, *extent);
                // Nothing shown would mean that the snapshot has fewer elements than were counted.
                extent.count = if shown == 0 { 0 } else { extent.count - shown };
                extent.start = if extent.reverse {
                    extent.start.wrapping_sub(shown)
                } else {
                    extent.start + shown
                };
                extent.count == 0
            }
            Rest::Text { text, from } => {
                let end = text.len().min(*from + PIECE);
                for slice in text.slices(*from..end) {
                    out.extend_from_slice(slice);
                }
                *from = end;
                let last = end == text.len();
                if last {
                    out.extend_from_slice(b"\r\n");
                }
                last
            }
        }
    }
}

/// Shows elements until a piece is full; answers how many.
fn show_piece(reply: &mut Reply<'_>, snapshot: &Snapshot, shape: Shape, extent: Extent) -> usize {
    let full = reply.position() + PIECE;
    let count = extent.count.min(ELEMENTS);
    let mut shown = 0;
    let mut room = |reply: &Reply<'_>| {
        shown += 1;
        reply.position() < full
    };
    let pairs = |count| snapshot.pairs(extent.start, count, extent.reverse);
    match shape {
        Shape::Elements => {
            let mut elements = snapshot.run(extent.start, count, extent.reverse);
            elements.all(|element| {
                reply.item(element);
                room(reply)
            });
        }
        Shape::Pairs | Shape::Fields | Shape::Values => {
            pairs(count).all(|(field, value)| {
                show_field(reply, shape, field, value);
                room(reply)
            });
        }
        Shape::Members { scores } => {
            Members::of(pairs(count)).all(|(member, score)| {
                show_member(reply, member, score, scores);
                room(reply)
            });
        }
    }
    shown
}

/// Shows what `shape` says of a field.
pub(super) fn show_field(reply: &mut Reply<'_>, shape: Shape, field: Item<'_>, value: Item<'_>) {
    if shape != Shape::Values {
        reply.item(field);
    }
    if shape != Shape::Fields {
        reply.item(value);
    }
}

/// Shows a member, with its score as RESP3 and RESP2 have it.
pub(super) fn show_member(reply: &mut Reply<'_>, member: Item<'_>, score: f64, with_score: bool) {
    if with_score && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    reply.item(member);
    if with_score {
        reply.double(score);
    }
}

/// Whether a string is to be answered later, by [`Context::answer_text_later`].
pub(super) fn is_long_text(alone: bool, text: &Text) -> bool {
    alone && text.len() > LONG_BYTES
}

/// Whether a reply of so many elements is to be written later, by [`Context::answer_later`].
pub(super) fn is_long(alone: bool, elements: usize) -> bool {
    alone && elements > LONG
}

impl Context<'_, '_> {
    /// Has elements of a snapshot written after what the reply has so far.
    pub(super) fn answer_later(&mut self, snapshot: Snapshot, shape: Shape, extent: Extent) {
        let protocol = self.reply.protocol();
        self.session.long_reply = Some(Box::new(LongReply(Rest::Elements {
            snapshot,
            shape,
            extent,
            protocol,
        })));
    }

    /// Answers a long string later.
    pub(super) fn answer_text_later(&mut self, text: Text) {
        self.reply.bulk_header(text.len());
        self.session.long_reply = Some(Box::new(LongReply(Rest::Text { text, from: 0 })));
    }
}
