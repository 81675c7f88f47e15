//! Columns of custom resources, as their definitions name them.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, Columns, name_column, since, text};
use crate::{crd, jsonpath::JsonPath};

/// Name and the columns of the definition.
pub(super) fn columns(printer_columns: &[(crd::Column, JsonPath)]) -> Columns {
    let mut headings = vec![name_column()];
    headings.extend(printer_columns.iter().map(|(column, _)| heading(column)));
    let printer_columns = printer_columns.to_vec();
    Columns {
        headings,
        cells: Box::new(move |object, now| {
            let mut row = vec![text(object, ".metadata.name")];
            row.extend(
                printer_columns
                    .iter()
                    .map(|(column, path)| cell(column, path, object, now)),
            );
            row
        }),
    }
}

fn heading(column: &crd::Column) -> Column {
    Column {
        name: column.name.clone(),
        kind: column.kind.clone(),
        format: column.format.clone(),
        description: column.description.clone(),
        priority: column.priority,
    }
}

fn cell(column: &crd::Column, path: &JsonPath, object: &Value, now: Timestamp) -> Value {
    let found = path.find(object);
    let Some(first) = found.first().copied().filter(|value| !value.is_null()) else {
        return Value::Null;
    };
    match column.kind.as_str() {
        "string" => found
            .iter()
            .map(|value| plain(value))
            .collect::<Vec<_>>()
            .join(" ")
            .into(),
        "integer" => first.as_i64().into(),
        "number" if first.is_number() => first.clone(),
        "boolean" if first.is_boolean() => first.clone(),
        "date" => since(first, now).into(),
        _ => Value::Null,
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), String::from)
}
