//! Filling in defaults.

use serde_json::Value;

use super::Schema;

/// Fills in the defaults of missing fields at every depth. A `null` where `null` is no value counts as missing if there is a default.
pub fn apply_defaults(schema: &Schema, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, property) in &schema.properties {
                let Some(default) = &property.default else {
                    continue;
                };
                let missing = match fields.get(name) {
                    None => true,
                    Some(Value::Null) => !property.nullable,
                    Some(_) => false,
                };
                if missing {
                    fields.insert(name.clone(), default.clone());
                }
            }
            for (name, field) in fields.iter_mut() {
                if let Some(schema) = schema.field(name) {
                    apply_defaults(schema, field);
                }
            }
        }
        Value::Array(items) => {
            if let Some(schema) = &schema.items {
                items
                    .iter_mut()
                    .for_each(|item| apply_defaults(schema, item));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_reach_into_lists_and_maps_but_not_into_what_is_missing() {
        let schema = Schema::parse(&json!({
            "type": "object",
            "properties": {
                "shards": {"type": "integer", "default": 3},
                "note": {"type": "string", "nullable": true, "default": "x"},
                "ports": {"type": "array", "items": {"type": "object", "properties": {"port": {"type": "integer", "default": 6379}}}},
                "extra": {"type": "object", "properties": {"deep": {"type": "integer", "default": 1}}},
            },
        }))
        .expect("a valid schema");
        let mut value = json!({"shards": null, "note": null, "ports": [{}]});
        apply_defaults(&schema, &mut value);
        assert_eq!(
            value,
            json!({"shards": 3, "note": null, "ports": [{"port": 6379}]})
        );
    }
}
