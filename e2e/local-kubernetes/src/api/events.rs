//! Events in their two forms: `v1 Event` is what is stored, `events.k8s.io/v1 Event` is another view of it.

use serde_json::{Map, Value, json};

/// Core field and the field of the other form.
const FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// From `events.k8s.io/v1` to `v1`.
pub(super) fn to_core(event: &Value) -> Value {
    let renamed = rename(event, &FIELDS.map(|(core, other)| (other, core)));
    let mut core = Value::Object(renamed);
    core["apiVersion"] = "v1".into();
    fill(
        &mut core,
        &[
            ("source", json!({})),
            ("firstTimestamp", Value::Null),
            ("lastTimestamp", Value::Null),
        ],
    );
    core
}

/// From `v1` to `events.k8s.io/v1`.
pub(super) fn from_core(event: &Value) -> Value {
    let mut other = Value::Object(rename(event, &FIELDS));
    other["apiVersion"] = "events.k8s.io/v1".into();
    let defaults = [
        ("deprecatedSource", json!({})),
        ("deprecatedFirstTimestamp", Value::Null),
        ("deprecatedLastTimestamp", Value::Null),
        ("regarding", json!({})),
    ];
    fill(&mut other, &defaults);
    other
}

/// The core name of a selectable field of `events.k8s.io/v1`.
pub(super) fn core_field(field: &str) -> String {
    let (first, rest) = field
        .split_once('.')
        .map_or((field, None), |(first, rest)| (first, Some(rest)));
    let core = FIELDS
        .iter()
        .find(|(_, other)| *other == first)
        .map_or(first, |(core, _)| core);
    rest.map_or_else(|| core.to_owned(), |rest| format!("{core}.{rest}"))
}

fn rename(event: &Value, names: &[(&str, &str)]) -> Map<String, Value> {
    let fields = event.as_object().into_iter().flatten();
    fields
        .map(|(field, value)| {
            let name = names
                .iter()
                .find(|(from, _)| from == field)
                .map_or(field.as_str(), |(_, to)| to);
            (name.to_owned(), value.clone())
        })
        .collect()
}

fn fill(event: &mut Value, defaults: &[(&str, Value)]) {
    for (field, default) in defaults {
        if event.get(*field).is_none() {
            event[*field] = default.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_survives_both_conversions() {
        let event = json!({
            "kind": "Event", "apiVersion": "events.k8s.io/v1", "note": "text", "regarding": {"name": "a"},
            "reportingController": "c", "deprecatedSource": {}, "deprecatedFirstTimestamp": null,
            "deprecatedLastTimestamp": null,
        });
        let core = to_core(&event);
        assert_eq!(core["message"], "text");
        assert_eq!(core["involvedObject"]["name"], "a");
        assert_eq!(from_core(&core), event);
        assert_eq!(core_field("regarding.name"), "involvedObject.name");
        assert_eq!(core_field("reason"), "reason");
    }
}
