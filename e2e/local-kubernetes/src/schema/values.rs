//! Checking values against a schema, worded as the real server words it.

use serde_json::Value;

use super::{Additional, Schema, Type, formats};
use crate::validation::{self, FieldError};

/// Checks a value. `path` is where errors are reported, `name` is what messages call the field: `spec.shards in body should be ...`.
/// Status subresources report at `status.shards` but call the field `shards`.
pub fn validate(schema: &Schema, value: &Value, path: &str, name: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    Check {
        errors: &mut errors,
    }
    .value(
        schema,
        value,
        &Place {
            path: path.to_owned(),
            name: name.to_owned(),
        },
    );
    errors
}

/// The JSON type of a value as messages call it.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Where a value stands, for reports and in words.
struct Place {
    path: String,
    name: String,
}

impl Place {
    fn child(&self, field: &str) -> Self {
        Self {
            path: validation::child(&self.path, field),
            name: validation::child(&self.name, field),
        }
    }

    fn item(&self, at: usize) -> Self {
        Self {
            path: validation::index(&self.path, at),
            name: validation::index(&self.name, at),
        }
    }
}

struct Check<'a> {
    errors: &'a mut Vec<FieldError>,
}

impl Check<'_> {
    fn invalid(&mut self, place: &Place, value: &Value, what: &str) {
        let detail = format!("{} in body {what}", place.name);
        self.errors
            .push(FieldError::invalid(&place.path, value, &detail));
    }

    fn value(&mut self, schema: &Schema, value: &Value, place: &Place) {
        if value.is_null() && schema.nullable {
            return;
        }
        if !has_type(schema, value) {
            let wanted = if schema.int_or_string {
                "integer,string"
            } else {
                schema.kind.map_or("", Type::as_str)
            };
            let found = type_name(value);
            let detail = format!(
                "{} in body must be of type {wanted}: \"{found}\"",
                place.name
            );
            self.errors.push(FieldError::type_invalid(
                &place.path,
                &found.into(),
                &detail,
            ));
        }
        match value {
            Value::String(text) => self.string(schema, text, value, place),
            Value::Number(number) => {
                self.number(schema, number.as_f64().unwrap_or_default(), value, place);
            }
            Value::Array(items) => self.list(schema, items, value, place),
            _ => {}
        }
        self.branches(schema, value, place);
        if let Some(allowed) = &schema.allowed
            && !allowed.contains(value)
        {
            let names: Vec<String> = allowed.iter().map(plain).collect();
            self.errors
                .push(FieldError::not_supported(&place.path, value, &names));
        }
        if let Value::Object(fields) = value {
            self.object(schema, fields, value, place);
        }
    }

    fn string(&mut self, schema: &Schema, text: &str, value: &Value, place: &Place) {
        let length = text.chars().count() as u64;
        if let Some(max) = schema.max_length
            && length > max
        {
            self.errors.push(FieldError::too_long(&place.path, max));
            return;
        }
        if let Some(min) = schema.min_length
            && length < min
        {
            self.invalid(
                place,
                value,
                &format!("should be at least {min} chars long"),
            );
            return;
        }
        if let Some(pattern) = &schema.pattern
            && !pattern.is_match(text)
        {
            self.invalid(place, value, &format!("should match '{pattern}'"));
            return;
        }
        if let Some(format) = &schema.format
            && !formats::is_valid_format(format, text)
        {
            let detail = format!(
                "{} in body must be of type {format}: {}",
                place.name,
                validation::quoted(text)
            );
            self.errors
                .push(FieldError::type_invalid(&place.path, value, &detail));
        }
    }

    fn number(&mut self, schema: &Schema, number: f64, value: &Value, place: &Place) {
        if let Some(step) = schema.multiple_of
            && (number / step).fract() != 0.0
        {
            self.invalid(place, value, &format!("should be a multiple of {step}"));
        }
        if let Some(max) = schema.maximum {
            if schema.exclusive_maximum && number >= max {
                self.invalid(place, value, &format!("should be less than {max}"));
            } else if number > max {
                self.invalid(
                    place,
                    value,
                    &format!("should be less than or equal to {max}"),
                );
            }
        }
        if let Some(min) = schema.minimum {
            if schema.exclusive_minimum && number <= min {
                self.invalid(place, value, &format!("should be greater than {min}"));
            } else if number < min {
                self.invalid(
                    place,
                    value,
                    &format!("should be greater than or equal to {min}"),
                );
            }
        }
    }

    fn list(&mut self, schema: &Schema, items: &[Value], value: &Value, place: &Place) {
        if let Some(item_schema) = &schema.items {
            for (at, item) in items.iter().enumerate() {
                self.value(item_schema, item, &place.item(at));
            }
        }
        if let Some(min) = schema.min_items
            && (items.len() as u64) < min
        {
            self.invalid(
                place,
                &items.len().into(),
                &format!("should have at least {min} items"),
            );
        }
        if let Some(max) = schema.max_items
            && items.len() as u64 > max
        {
            self.errors
                .push(FieldError::too_many(&place.path, items.len(), max));
        }
        if schema.unique_items
            && items
                .iter()
                .enumerate()
                .any(|(at, item)| items[..at].contains(item))
        {
            self.invalid(place, value, "shouldn't contain duplicates");
        }
    }

    fn object(
        &mut self,
        schema: &Schema,
        fields: &serde_json::Map<String, Value>,
        value: &Value,
        place: &Place,
    ) {
        if let Some(max) = schema.max_properties
            && fields.len() as u64 > max
        {
            self.errors
                .push(FieldError::too_many(&place.path, fields.len(), max));
        }
        if let Some(min) = schema.min_properties
            && (fields.len() as u64) < min
        {
            self.invalid(
                place,
                value,
                &format!("should have at least {min} properties"),
            );
        }
        for name in schema
            .required
            .iter()
            .filter(|name| !fields.contains_key(*name))
        {
            self.errors
                .push(FieldError::required(place.child(name).path, ""));
        }
        for (name, field) in fields {
            if let Some(known) = schema.properties.get(name) {
                self.value(known, field, &place.child(name));
            } else if let Additional::Schema(known) = &schema.additional {
                self.value(known, field, &place.child(name));
            }
        }
    }

    fn branches(&mut self, schema: &Schema, value: &Value, place: &Place) {
        if schema.int_or_string {
            return;
        }
        let quoted = validation::quoted(&place.name);
        let holds = |branch: &Schema| validate(branch, value, "", "").is_empty();
        if !schema.any_of.is_empty() && !schema.any_of.iter().any(holds) {
            self.composite(
                place,
                value,
                &format!("{quoted} must validate at least one schema (anyOf)"),
            );
            if let Some(first) = schema.any_of.first() {
                self.value(first, value, place);
            }
        }
        if !schema.one_of.is_empty() {
            let matching = schema.one_of.iter().filter(|branch| holds(branch)).count();
            if matching != 1 {
                let found = if matching == 0 {
                    "Found none valid".to_owned()
                } else {
                    format!("Found {matching} valid alternatives")
                };
                self.composite(
                    place,
                    value,
                    &format!("{quoted} must validate one and only one schema (oneOf). {found}"),
                );
            }
        }
        for branch in &schema.all_of {
            self.value(branch, value, place);
        }
        if schema.not.as_ref().is_some_and(|branch| holds(branch)) {
            self.composite(
                place,
                value,
                &format!("{quoted} must not validate the schema (not)"),
            );
        }
    }

    fn composite(&mut self, place: &Place, value: &Value, detail: &str) {
        // Composite errors carry no value in Kubernetes; it prints an empty string for it.
        let printed = if value.is_null() {
            value.clone()
        } else {
            "".into()
        };
        self.errors
            .push(FieldError::invalid(&place.path, &printed, detail));
    }
}

fn has_type(schema: &Schema, value: &Value) -> bool {
    if schema.int_or_string {
        return value.is_string() || value.is_i64() || value.is_u64();
    }
    match schema.kind {
        None => true,
        Some(Type::Object) => value.is_object(),
        Some(Type::Array) => value.is_array(),
        Some(Type::String) => value.is_string(),
        Some(Type::Boolean) => value.is_boolean(),
        Some(Type::Number) => value.is_number(),
        Some(Type::Integer) => value.as_f64().is_some_and(|number| number.fract() == 0.0),
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
