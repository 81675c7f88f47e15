//! `meta.k8s.io/v1 Table`: the columns that kubectl prints.

mod access;
mod core;
mod custom;
mod duration;
mod network;
mod pods;
mod workloads;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{call::Call, encode};
use crate::object;

const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A column's heading.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
}

/// Makes the cells of an object's row.
type Cells = Box<dyn Fn(&Value, Timestamp) -> Vec<Value>>;

/// Headings and cells of a kind.
struct Columns {
    headings: Vec<Column>,
    cells: Cells,
}

fn column(name: &str, description: &str) -> Column {
    Column {
        name: name.into(),
        kind: "string".into(),
        format: String::new(),
        description: description.into(),
        priority: 0,
    }
}

fn name_column() -> Column {
    Column {
        format: "name".into(),
        ..column("Name", NAME)
    }
}

fn age_column() -> Column {
    column("Age", AGE)
}

impl Column {
    fn integer(self) -> Self {
        Self {
            kind: "integer".into(),
            ..self
        }
    }

    /// Shown by `-o wide` only.
    fn wide(self) -> Self {
        Self {
            priority: 1,
            ..self
        }
    }

    fn definition(&self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        })
    }
}

/// A table of objects; `with_headings` is false for all but the first event of a watch.
pub(super) fn table(call: &Call, items: &[&Value], metadata: &Value, with_headings: bool) -> Value {
    let columns = columns(call);
    let now = call.state.clock.now();
    let rows: Vec<Value> = items
        .iter()
        .map(|item| json!({"cells": (columns.cells)(item, now), "object": row_object(call, item)}))
        .collect();
    let headings = with_headings.then(|| {
        columns
            .headings
            .iter()
            .map(Column::definition)
            .collect::<Vec<_>>()
    });
    json!({
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": headings,
        "rows": rows,
    })
}

/// What a row carries beside its cells: the metadata, unless the client says otherwise.
fn row_object(call: &Call, item: &Value) -> Value {
    match call.query.get("includeObject") {
        "None" => Value::Null,
        "Object" => item.clone(),
        _ => encode::partial(item),
    }
}

fn columns(call: &Call) -> Columns {
    let resource = &call.resource;
    if let Some(custom) = &resource.custom {
        return custom::columns(&custom.columns);
    }
    match resource.kind.as_str() {
        "ConfigMap" => core::config_maps(),
        "Secret" => core::secrets(),
        "Namespace" => core::namespaces(),
        "Node" => core::nodes(),
        "ServiceAccount" => core::service_accounts(),
        "PersistentVolumeClaim" => core::claims(),
        "Event" => core::events(),
        "Pod" => pods::columns(),
        "Service" => network::services(),
        "Endpoints" => network::endpoints(),
        "EndpointSlice" => network::endpoint_slices(),
        "StatefulSet" => workloads::stateful_sets(),
        "Deployment" => workloads::deployments(),
        "ReplicaSet" => workloads::replica_sets(),
        "ControllerRevision" => workloads::revisions(),
        "PodDisruptionBudget" => workloads::disruption_budgets(),
        "Lease" => core::leases(),
        "RoleBinding" | "ClusterRoleBinding" => access::bindings(),
        _ => created_at(),
    }
}

/// Kinds without columns of their own.
fn created_at() -> Columns {
    let created = Column {
        kind: "date".into(),
        ..column("Created At", AGE)
    };
    Columns {
        headings: vec![name_column(), created],
        cells: Box::new(|object, _| {
            vec![
                text(object, ".metadata.name"),
                object["metadata"]["creationTimestamp"].clone(),
            ]
        }),
    }
}

/// Cells of kinds whose first and last columns are name and age.
fn named(middle: Vec<Column>, cells: impl Fn(&Value) -> Vec<Value> + 'static) -> Columns {
    let mut headings = vec![name_column()];
    let wide_from = middle
        .iter()
        .position(|column| column.priority > 0)
        .unwrap_or(middle.len());
    headings.extend(middle);
    headings.insert(1 + wide_from, age_column());
    Columns {
        headings,
        cells: Box::new(move |object, now| {
            let mut row = vec![text(object, ".metadata.name")];
            row.extend(cells(object));
            row.insert(1 + wide_from, age(object, now));
            row
        }),
    }
}

/// The time since an object's creation.
fn age(object: &Value, now: Timestamp) -> Value {
    since(&object["metadata"]["creationTimestamp"], now).into()
}

/// The time since a timestamp field, `<unknown>` if it is empty.
fn since(timestamp: &Value, now: Timestamp) -> String {
    match timestamp
        .as_str()
        .and_then(|text| text.parse::<Timestamp>().ok())
    {
        Some(moment) => duration::human(now.duration_since(moment)),
        None => "<unknown>".into(),
    }
}

/// A field as a text cell, empty if absent.
fn text(object: &Value, path: &str) -> Value {
    string(object, path).into()
}

fn string(object: &Value, path: &str) -> String {
    match object::at_path(object, path) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A field as a text cell, a placeholder if absent or empty.
fn text_or(object: &Value, path: &str, placeholder: &str) -> Value {
    match string(object, path) {
        text if text.is_empty() => placeholder.into(),
        text => text.into(),
    }
}

/// A field as a number, 0 if absent.
fn number(object: &Value, path: &str) -> i64 {
    object::at_path(object, path)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// The number of entries of a map or list.
fn count(value: &Value) -> usize {
    value.as_object().map_or_else(
        || value.as_array().map_or(0, Vec::len),
        serde_json::Map::len,
    )
}

/// A list field, empty if absent.
fn items<'a>(object: &'a Value, path: &str) -> &'a [Value] {
    object::at_path(object, path)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The named texts of a list's items, joined by commas.
fn joined(items: &[Value], field: &str) -> String {
    items
        .iter()
        .filter_map(|item| item[field].as_str())
        .collect::<Vec<_>>()
        .join(",")
}
