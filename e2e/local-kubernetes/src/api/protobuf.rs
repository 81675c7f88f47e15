//! Bodies in Kubernetes's protobuf envelope, in which kubectl's typed clients write.
//!
//! Only the kinds that kubectl sends this way are known ([`messages`]); everything else is refused, and answers are
//! always JSON, which those clients accept too.

mod messages;

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use self::messages::{ENVELOPE, Field, Shape};
use crate::clock;

/// The media type.
pub(super) const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";
/// What every envelope begins with.
const MAGIC: &[u8] = b"k8s\0";

/// Decodes an envelope into the object that JSON would have been; `None` for unknown kinds and broken bodies.
pub(super) fn decode(body: &[u8]) -> Option<Value> {
    let envelope = message(body.strip_prefix(MAGIC)?, ENVELOPE)?;
    let text = |field: &str| {
        envelope["typeMeta"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    let raw = STANDARD
        .decode(envelope["raw"].as_str().unwrap_or_default())
        .ok()?;
    let mut object = message(&raw, messages::of_kind(&kind)?)?;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    Some(object)
}

/// A field as it stands on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// Takes a variable-length number off the front.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Takes a field with its number off the front.
fn field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Wire<'a>)> {
    let key = varint(bytes)?;
    let wire = match key & 7 {
        0 => Wire::Number(varint(bytes)?),
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            let (content, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Wire::Bytes(content)
        }
        _ => return None,
    };
    Some((key >> 3, wire))
}

fn message(mut bytes: &[u8], fields: &[Field]) -> Option<Value> {
    let mut object = Map::new();
    while !bytes.is_empty() {
        let (number, wire) = field(&mut bytes)?;
        let Some(known) = fields
            .iter()
            .find(|known| u64::from(known.number) == number)
        else {
            continue;
        };
        put(&mut object, known, &wire)?;
    }
    Some(Value::Object(object))
}

fn put(object: &mut Map<String, Value>, field: &Field, wire: &Wire<'_>) -> Option<()> {
    let name = field.name.to_owned();
    match (&field.shape, wire) {
        (Shape::Number, Wire::Number(number)) => {
            drop(object.insert(name, number.cast_signed().into()));
        }
        (Shape::Bool, Wire::Number(number)) => drop(object.insert(name, (*number != 0).into())),
        // Go writes every text, also empty ones, which JSON leaves out.
        (Shape::Text, Wire::Bytes([])) => {}
        (Shape::Text, Wire::Bytes(bytes)) => drop(object.insert(name, text(bytes)?)),
        (Shape::Bytes, Wire::Bytes(bytes)) => {
            drop(object.insert(name, STANDARD.encode(bytes).into()));
        }
        (Shape::Message(fields), Wire::Bytes(bytes)) => {
            drop(object.insert(name, message(bytes, fields)?));
        }
        (Shape::Time, Wire::Bytes(bytes)) => {
            if let Some(time) = time(bytes)? {
                object.insert(name, time);
            }
        }
        (Shape::IntOrString, Wire::Bytes(bytes)) => {
            let parts = message(bytes, messages::INT_OR_STRING)?;
            let is_text = parts["type"] == 1;
            let value = if is_text {
                &parts["strVal"]
            } else {
                &parts["intVal"]
            };
            object.insert(name, value.clone());
        }
        (Shape::Texts, Wire::Bytes(bytes)) => list(object, name)?.push(text(bytes)?),
        (Shape::Messages(fields), Wire::Bytes(bytes)) => {
            list(object, name)?.push(message(bytes, fields)?);
        }
        (Shape::TextMap, Wire::Bytes(bytes)) => entry(object, name, bytes, messages::TEXT_ENTRY)?,
        (Shape::BytesMap, Wire::Bytes(bytes)) => entry(object, name, bytes, messages::BYTES_ENTRY)?,
        _ => return None,
    }
    Some(())
}

fn text(bytes: &[u8]) -> Option<Value> {
    std::str::from_utf8(bytes).ok().map(Value::from)
}

fn list(object: &mut Map<String, Value>, name: String) -> Option<&mut Vec<Value>> {
    object
        .entry(name)
        .or_insert_with(|| json!([]))
        .as_array_mut()
}

/// An entry of a map is a message of key and value.
fn entry(
    object: &mut Map<String, Value>,
    name: String,
    bytes: &[u8],
    fields: &[Field],
) -> Option<()> {
    let mut entry = message(bytes, fields)?;
    let key = entry["key"].as_str().unwrap_or_default().to_owned();
    let value = match entry["value"].take() {
        Value::Null => "".into(),
        value => value,
    };
    object
        .entry(name)
        .or_insert_with(|| json!({}))
        .as_object_mut()?
        .insert(key, value);
    Some(())
}

/// A time, `None` within if it is not set.
fn time(bytes: &[u8]) -> Option<Option<Value>> {
    let parts = message(bytes, messages::TIME)?;
    let Some(seconds) = parts["seconds"].as_i64().filter(|seconds| *seconds != 0) else {
        return Some(None);
    };
    let moment = Timestamp::from_second(seconds).ok()?;
    Some(Some(clock::rfc3339(moment).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_field(number: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        [&[number << 3 | 2, length], content].concat()
    }

    fn envelope(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [
            bytes_field(1, api_version.as_bytes()),
            bytes_field(2, kind.as_bytes()),
        ]
        .concat();
        [
            MAGIC.to_vec(),
            bytes_field(1, &type_meta),
            bytes_field(2, raw),
        ]
        .concat()
    }

    #[test]
    fn an_object_is_read_from_its_envelope() {
        let label = bytes_field(11, &[bytes_field(1, b"a"), bytes_field(2, b"b")].concat());
        let metadata = [bytes_field(1, b"one"), bytes_field(2, b""), label].concat();
        let data = bytes_field(2, &[bytes_field(1, b"k"), bytes_field(2, b"v")].concat());
        let body = envelope("v1", "Secret", &[bytes_field(1, &metadata), data].concat());
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "one", "labels": {"a": "b"}},
            "data": {"k": "dg=="},
        });
        assert_eq!(decode(&body), Some(expected));
    }

    #[test]
    fn an_unknown_kind_and_a_broken_body_are_refused() {
        assert_eq!(decode(&envelope("v1", "Nope", b"")), None);
        let body = envelope("v1", "Secret", b"\x0a\x7f");
        assert_eq!(decode(&body), None);
        assert_eq!(decode(b"{}"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_body_brings_it_down(raw in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
            let _ = decode(&envelope("v1", "ConfigMap", &raw));
        }
    }
}
