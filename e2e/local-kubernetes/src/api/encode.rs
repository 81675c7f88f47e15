//! Objects and lists in the representation that the client asked for.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{call::Call, negotiate::Shape};

/// One object.
pub(super) fn object(call: &Call, object: &Value) -> Value {
    match call.representation.shape {
        Shape::Partial => partial(object),
        _ => object.clone(),
    }
}

/// A list with the given list metadata.
pub(super) fn list(call: &Call, items: &[Arc<Value>], metadata: Value) -> Value {
    match call.representation.shape {
        Shape::Partial => {
            let items: Vec<Value> = items.iter().map(|item| partial(item)).collect();
            json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
        }
        _ => {
            let items: Vec<Value> = items.iter().map(|item| list_item(call, item)).collect();
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
fn list_item(call: &Call, item: &Value) -> Value {
    let mut item = item.clone();
    if let (None, Some(root)) = (&call.resource.custom, item.as_object_mut()) {
        root.remove("kind");
        root.remove("apiVersion");
    }
    item
}

/// The metadata alone.
pub(super) fn partial(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// The object of a watch event; the first table of a watch names its columns.
pub(super) fn event(call: &Call, object: &Value, _is_first: bool) -> Value {
    self::object(call, object)
}
