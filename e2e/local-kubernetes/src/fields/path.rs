//! One step of a path into an object, as `managedFields` writes it.

use std::fmt;

use serde_json::{Map, Value};

use crate::validation::quoted;

/// A field, or an item of a list.
///
/// Keys and values are kept as canonical JSON text, which makes them comparable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathElement {
    /// `f:name`: a field of an object or an entry of a map.
    Field(String),
    /// `k:{"name":"c"}`: the item of a keyed list with these key values.
    Key(String),
    /// `v:"a"`: the item of a set with this value.
    Value(String),
    /// `i:3`: an item by its place.
    Index(usize),
}

impl PathElement {
    /// The element for a list item with these key values.
    pub fn key(values: &Map<String, Value>) -> Self {
        // The map is ordered by name, so that equal keys have equal text.
        Self::Key(Value::Object(values.clone()).to_string())
    }

    /// The element for an item of a set.
    pub fn value(value: &Value) -> Self {
        Self::Value(value.to_string())
    }

    /// The name in a `fieldsV1` object.
    pub fn to_wire(&self) -> String {
        match self {
            Self::Field(name) => format!("f:{name}"),
            Self::Key(json) => format!("k:{json}"),
            Self::Value(json) => format!("v:{json}"),
            Self::Index(at) => format!("i:{at}"),
        }
    }

    /// Reads a name of a `fieldsV1` object.
    pub fn from_wire(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_once(':')?;
        match kind {
            "f" => Some(Self::Field(rest.to_owned())),
            "k" => Some(Self::key(
                serde_json::from_str::<Value>(rest).ok()?.as_object()?,
            )),
            "v" => Some(Self::value(&serde_json::from_str(rest).ok()?)),
            "i" => Some(Self::Index(rest.parse().ok()?)),
            _ => None,
        }
    }
}

/// As conflicts print it: `.name`, `[name="c"]`, `[="a"]`, `[3]`.
impl fmt::Display for PathElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Value(json) => write!(f, "[={json}]"),
            Self::Index(at) => write!(f, "[{at}]"),
            Self::Key(json) => {
                let values: Map<String, Value> = serde_json::from_str(json).unwrap_or_default();
                let parts: Vec<String> = values
                    .iter()
                    .map(|(name, value)| {
                        format!(
                            "{name}={}",
                            value.as_str().map_or_else(|| value.to_string(), quoted)
                        )
                    })
                    .collect();
                write!(f, "[{}]", parts.join(","))
            }
        }
    }
}

/// A path as conflicts print it: `.spec.ports[port=80,protocol="TCP"].name`.
pub fn display(path: &[PathElement]) -> String {
    path.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_names_read_back_in_canonical_form() {
        for name in [
            "f:data",
            r#"k:{"port":80,"protocol":"TCP"}"#,
            r#"v:"z1""#,
            "i:3",
            "f:a.b/c",
        ] {
            assert_eq!(
                PathElement::from_wire(name).map(|element| element.to_wire()),
                Some(name.to_owned())
            );
        }
        let unordered = PathElement::from_wire(r#"k:{"protocol":"TCP","port":80}"#);
        assert_eq!(
            unordered,
            PathElement::from_wire(r#"k:{"port":80,"protocol":"TCP"}"#)
        );
        assert_eq!(PathElement::from_wire("x:1"), None);
    }

    #[test]
    fn keys_print_with_their_names() {
        let path = [".spec", "ports"]
            .map(|name| PathElement::Field(name.trim_start_matches('.').to_owned()));
        let key = PathElement::from_wire(r#"k:{"port":80,"protocol":"TCP"}"#).expect("a key");
        assert_eq!(
            display(&[path[0].clone(), path[1].clone(), key]),
            r#".spec.ports[port=80,protocol="TCP"]"#
        );
    }
}
