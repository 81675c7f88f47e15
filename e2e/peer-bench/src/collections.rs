//! Bytes of a collection of a thousand elements: many of the same shape are made, and the sum is divided.

use anyhow::Result;

use crate::figures::{Entry, Footprint};
use crate::generator::encode::{Part, Requests, Template};
use crate::generator::keys::Keys;
use crate::generator::replies::Protocol;
use crate::inspect;
use crate::memory::footprint;
use crate::servers::discovery::Installed;
use crate::session::{NO_COMMAND, Session, reason};

/// Collections that are made.
const COLLECTIONS: u64 = 2000;
/// Elements of each.
const ELEMENTS: u64 = 1000;
/// Elements that one command adds; a divisor of `ELEMENTS`.
const CHUNK: usize = 100;
/// Bytes of a field's value.
const VALUE: usize = 16;

/// Kinds of collections.
#[derive(Clone, Copy)]
enum Shape {
    Hash,
    List,
    Set,
    SortedSet,
}

impl Shape {
    const ALL: [Self; 4] = [Self::Hash, Self::List, Self::Set, Self::SortedSet];

    fn name(self) -> &'static str {
        match self {
            Self::Hash => "collections/hash",
            Self::List => "collections/list",
            Self::Set => "collections/set",
            Self::SortedSet => "collections/zset",
        }
    }

    fn command(self) -> &'static str {
        match self {
            Self::Hash => "HSET",
            Self::List => "RPUSH",
            Self::Set => "SADD",
            Self::SortedSet => "ZADD",
        }
    }

    /// One element: what is named after the index, and what belongs to it.
    fn element(self, draw: bool) -> Vec<Part> {
        let named = |prefix: &str| Part::Number {
            prefix: prefix.to_owned(),
            width: 6,
            divisor: 1,
            modulus: ELEMENTS,
            draw,
        };
        match self {
            Self::Hash => vec![named("field:"), Part::Letters(VALUE)],
            Self::List | Self::Set => vec![named("element:")],
            Self::SortedSet => vec![Part::Random(6), named("element:")],
        }
    }

    /// Bytes of elements in a collection; a score is eight.
    fn payload(self) -> f64 {
        let element = match self {
            Self::Hash => "field:000000".len() + VALUE,
            Self::List | Self::Set => "element:000000".len(),
            Self::SortedSet => "element:000000".len() + 8,
        };
        (element as u64 * ELEMENTS) as f64
    }

    /// Requests that make all collections, a chunk each. The key draws the index of the chunk's first element, and every
    /// other element the next one.
    fn requests(self) -> Requests {
        let mut arguments = vec![Part::text(self.command()), Part::key("col:", ELEMENTS)];
        for place in 0..CHUNK {
            arguments.extend(self.element(place > 0));
        }
        let keys = Keys::sequence(0, COLLECTIONS * ELEMENTS);
        Requests::new(Protocol::Resp, vec![(Template::resp(&arguments), 1)], keys)
    }
}

/// Names of all measurements.
pub fn names() -> Vec<String> {
    Shape::ALL
        .iter()
        .map(|shape| shape.name().to_owned())
        .collect()
}

/// Measures all chosen kinds.
pub fn measure(session: &Session) -> Vec<Entry<Footprint>> {
    let mut entries = Vec::new();
    for shape in Shape::ALL {
        if !session.filter.takes(shape.name()) {
            continue;
        }
        for installed in session.stores() {
            let kind = installed.kind;
            let figures = match kind.protocol() {
                Protocol::Resp => {
                    measure_one(session, installed, shape).map_err(|error| reason(&error))
                }
                Protocol::Memcached => Err(NO_COMMAND.to_owned()),
            };
            if let Ok(footprint) = &figures {
                eprintln!(
                    "  {:32} {:10} {:8.0} B each",
                    shape.name(),
                    kind.name(),
                    footprint.resident
                );
            }
            entries.push(Entry::new(shape.name(), kind, figures));
        }
    }
    entries
}

fn measure_one(session: &Session, installed: &Installed, shape: Shape) -> Result<Footprint> {
    let server = session.start(installed)?;
    let before = inspect::settled_memory(&server, inspect::EMPTY)?;
    session.load(&server, shape.requests())?;
    let after = inspect::settled_memory(&server, inspect::LOADED)?;
    Ok(Footprint {
        memory_usage: inspect::memory_usage(&server, "col:000000000007"),
        ..footprint(before, after, COLLECTIONS, shape.payload())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_adds_a_chunk_of_successive_elements_to_one_collection() {
        let mut requests = Shape::List.requests();
        let mut out = Vec::new();
        for _ in 0..11 {
            out.clear();
            assert!(requests.append(&mut out));
        }
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(
                "*102\r\n$5\r\nRPUSH\r\n$16\r\ncol:000000000001\r\n$14\r\nelement:000000\r\n"
            ),
            "{text}"
        );
        assert!(text.ends_with("element:000099\r\n"), "{text}");
    }

    #[test]
    fn all_collections_are_made() {
        let mut requests = Shape::SortedSet.requests();
        let mut out = Vec::new();
        let mut count = 0;
        while requests.append(&mut out) {
            out.clear();
            count += 1;
        }
        assert_eq!(count, COLLECTIONS * ELEMENTS / CHUNK as u64);
    }
}
