//! Fields that a schema does not know: dropping them, listing them, and listing fields given twice.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Schema, Type};
use crate::validation;

/// Drops every field that the schema does not know.
pub fn prune(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if !schema.keeps_everything()
                && (schema.kind.is_some() || !schema.properties.is_empty())
            {
                fields.retain(|name, _| {
                    schema.field(name).is_some() || is_object_header(schema, name)
                });
            }
            for (name, field) in fields.iter_mut() {
                if let Some(schema) = schema.field(name) {
                    prune(schema, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items.iter_mut().for_each(|item| prune(schema, item));
            }
        }
        _ => {}
    }
}

/// The paths of all fields that the schema does not know, as in `spec.ports[0].bogus`.
pub fn unknown_fields(schema: &Schema, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect_unknown(schema, value, "", &mut found);
    found
}

fn collect_unknown(schema: &Schema, value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = validation::child(path, name);
                match schema.field(name) {
                    Some(schema) => collect_unknown(schema, field, &path, found),
                    None if schema.keeps_everything() || is_object_header(schema, name) => {}
                    None if schema.kind.is_none() && schema.properties.is_empty() => {}
                    None => found.push(path),
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                for (at, item) in items.iter().enumerate() {
                    collect_unknown(schema, item, &validation::index(path, at), found);
                }
            }
        }
        _ => {}
    }
}

fn is_object_header(schema: &Schema, name: &str) -> bool {
    schema.embedded_resource && matches!(name, "apiVersion" | "kind" | "metadata")
}

/// Brings an object of a built-in kind to the form in which the real server writes it: unknown fields, nulls, and empty lists and maps go
/// (their types omit them), and values that are always there appear.
pub fn canonical(schema: &Schema, value: &mut Value) {
    prune(schema, value);
    drop_empty(schema, value);
    super::apply_defaults(schema, value);
}

fn drop_empty(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if let Some(schema) = schema.field(name) {
                    drop_empty(schema, field);
                }
            }
            if schema.keeps_everything() || schema.is_map() {
                return;
            }
            fields.retain(|name, field| match schema.field(name) {
                Some(known) => !is_omitted(known, field),
                None => true,
            });
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items.iter_mut().for_each(|item| drop_empty(schema, item));
            }
        }
        _ => {}
    }
}

fn is_omitted(schema: &Schema, value: &Value) -> bool {
    let always_there = schema.default == Some(Value::Null);
    match value {
        Value::Null => !always_there,
        Value::Array(items) => items.is_empty() && !always_there,
        Value::Object(fields) => fields.is_empty() && schema.is_map(),
        _ => false,
    }
}

/// The paths of fields that a JSON text gives more than once, in the order in which the repetition is found. Empty if the text is no JSON.
pub fn duplicate_fields(text: &[u8]) -> Vec<String> {
    let found = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_slice(text);
    match (Scan {
        path: String::new(),
        found: &found,
    })
    .deserialize(&mut reader)
    {
        Ok(()) => found.into_inner(),
        Err(_) => Vec::new(),
    }
}

struct Scan<'a> {
    path: String,
    found: &'a RefCell<Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for Scan<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

macro_rules! ignore {
    ($($method:ident: $kind:ty),*) => {
        $(fn $method<E>(self, _: $kind) -> Result<(), E> {
            Ok(())
        })*
    };
}

impl<'de> Visitor<'de> for Scan<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    ignore!(visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str);

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut at = 0;
        while items
            .next_element_seed(Scan {
                path: validation::index(&self.path, at),
                found: self.found,
            })?
            .is_some()
        {
            at += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut seen = std::collections::BTreeSet::new();
        while let Some(name) = fields.next_key::<String>()? {
            let path = validation::child(&self.path, &name);
            if !seen.insert(name) {
                self.found.borrow_mut().push(path.clone());
            }
            fields.next_value_seed(Scan {
                path,
                found: self.found,
            })?;
        }
        Ok(())
    }
}

/// Whether a schema describes something with fields (used by callers that walk both).
impl Schema {
    /// Whether values of this schema are objects with declared fields.
    pub fn has_fields(&self) -> bool {
        self.kind == Some(Type::Object) && !self.properties.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    #[test]
    fn a_field_given_twice_is_named_with_its_path() {
        assert_eq!(
            duplicate_fields(br#"{"data":{"a":"1","a":"2"},"list":[{"b":1,"b":2}]}"#),
            ["data.a", "list[0].b"]
        );
        assert!(duplicate_fields(br#"{"a":1,"b":{"a":2}}"#).is_empty());
        assert!(duplicate_fields(b"{").is_empty());
    }

    #[test]
    fn unknown_fields_are_found_at_any_depth() {
        let pod = builtin("", "v1", "Pod").expect("Pod is built in");
        let value = json!({"bogus": 1, "metadata": {"labels": {"any": "x"}}, "spec": {"containers": [{"name": "c", "imag": "x"}]}});
        assert_eq!(
            unknown_fields(pod, &value),
            ["bogus", "spec.containers[0].imag"]
        );
        let mut pruned = value;
        prune(pod, &mut pruned);
        assert_eq!(
            pruned,
            json!({"metadata": {"labels": {"any": "x"}}, "spec": {"containers": [{"name": "c"}]}})
        );
    }

    #[test]
    fn empty_lists_and_maps_go_but_empty_objects_that_mean_something_stay() {
        let pod = builtin("", "v1", "Pod").expect("Pod is built in");
        let mut value = json!({
            "metadata": {"labels": {}, "finalizers": []},
            "spec": {"containers": [{"name": "c", "command": []}], "volumes": [{"name": "v", "emptyDir": {}}], "nodeName": null},
        });
        canonical(pod, &mut value);
        let expected = json!({
            "metadata": {}, "status": {},
            "spec": {"containers": [{"name": "c", "resources": {}}], "volumes": [{"name": "v", "emptyDir": {}}]},
        });
        assert_eq!(value, expected);
    }
}
