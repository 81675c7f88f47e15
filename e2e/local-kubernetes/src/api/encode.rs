//! Objects and lists in the representation that the client asked for.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{call::Call, events, negotiate::Shape, table};
use crate::object as fields;

/// A stored object as this resource shows it: events have two forms, custom resources several versions.
pub(super) fn from_storage(call: &Call, object: &Value) -> Value {
    let resource = &call.resource;
    if resource.is("events.k8s.io", "Event") {
        return events::from_core(object);
    }
    let mut object = object.clone();
    if resource.custom.is_some() {
        object["apiVersion"] = resource.api_version().into();
    }
    object
}

/// An object of this resource as it is stored.
pub(super) fn to_storage(call: &Call, object: Value) -> Value {
    if call.resource.is("events.k8s.io", "Event") {
        events::to_core(&object)
    } else {
        object
    }
}

/// One stored object.
pub(super) fn object(call: &Call, stored: &Value) -> Value {
    let object = from_storage(call, stored);
    match call.representation.shape {
        Shape::Partial => partial(&object),
        Shape::Table => {
            let metadata = json!({"resourceVersion": object["metadata"]["resourceVersion"]});
            table::table(call, &[&object], &metadata, true)
        }
        _ => object,
    }
}

/// A list of stored objects with the given list metadata.
pub(super) fn list(call: &Call, items: &[Arc<Value>], metadata: &Value) -> Value {
    let items: Vec<Value> = items.iter().map(|item| from_storage(call, item)).collect();
    match call.representation.shape {
        Shape::Partial => {
            let items: Vec<Value> = items.iter().map(partial).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
        }
        Shape::Table => table::table(call, &items.iter().collect::<Vec<_>>(), metadata, true),
        _ => {
            let items: Vec<Value> = items
                .into_iter()
                .map(|item| list_item(call, item))
                .collect();
            json!({
                "kind": call.resource.list_kind,
                "apiVersion": call.resource.api_version(),
                "metadata": metadata,
                "items": items,
            })
        }
    }
}

/// Items of built-in lists do not repeat their kind.
fn list_item(call: &Call, mut item: Value) -> Value {
    if let (None, Some(root)) = (&call.resource.custom, item.as_object_mut()) {
        root.remove("kind");
        root.remove("apiVersion");
    }
    item
}

/// The object of a watch event; only the first table of a watch names its columns.
pub(super) fn event(call: &Call, stored: &Value, is_first: bool) -> Value {
    if call.representation.shape != Shape::Table {
        return object(call, stored);
    }
    let object = from_storage(call, stored);
    let metadata = json!({"resourceVersion": fields::resource_version(&object).to_string()});
    table::table(call, &[&object], &metadata, is_first)
}

/// The metadata alone.
pub(super) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}
