//! A Kubernetes quantity (`500m`, `4Gi`, `2`) with a slim schema.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// A quantity as the user wrote it: a number or a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Quantity {
    /// A whole number without unit.
    Number(i64),
    /// A number with an optional unit.
    Text(String),
}

const SUFFIXES: [(&str, f64); 11] = [
    ("Ki", 1024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("m", 0.001),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
    ("Pi", 1_125_899_906_842_624.0),
    ("P", 1e15),
];

impl Quantity {
    /// The quantity with this text.
    pub fn new(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// The value in bytes (or cores), rounded down; `None` if the text is no quantity.
    pub fn value(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            Self::Text(text) => {
                let (digits, factor) = SUFFIXES
                    .iter()
                    .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
                    .unwrap_or((text, 1.0));
                let number: f64 = digits.parse().ok()?;
                (number >= 0.0).then_some((number * factor) as u64)
            }
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl JsonSchema for Quantity {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "pattern": r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?$",
            "maxLength": 24,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_read_with_their_units() {
        assert_eq!(Quantity::new("4Gi").value(), Some(4 << 30));
        assert_eq!(Quantity::new("1.5Mi").value(), Some(3 << 19));
        assert_eq!(Quantity::new("500M").value(), Some(500_000_000));
        assert_eq!(Quantity::new("1500m").value(), Some(1));
        assert_eq!(Quantity::Number(1024).value(), Some(1024));
        assert_eq!(Quantity::new("many").value(), None);
    }
}
