//! Columns of custom resources, as their definitions name them.

use jiff::Timestamp;
use serde_json::Value;

use super::{Column, Columns, age_column, name_column, since, text};
use crate::custom::PrinterColumn;

/// Name and the columns of the definition; name and age if it names none.
pub(super) fn columns(printer_columns: &[PrinterColumn]) -> Columns {
    let mut headings = vec![name_column()];
    if printer_columns.is_empty() {
        headings.push(age_column());
        return Columns {
            headings,
            cells: Box::new(|object, now| {
                vec![text(object, ".metadata.name"), super::age(object, now)]
            }),
        };
    }
    headings.extend(printer_columns.iter().map(heading));
    let printer_columns = printer_columns.to_vec();
    Columns {
        headings,
        cells: Box::new(move |object, now| {
            let mut row = vec![text(object, ".metadata.name")];
            row.extend(
                printer_columns
                    .iter()
                    .map(|column| cell(column, object, now)),
            );
            row
        }),
    }
}

fn heading(column: &PrinterColumn) -> Column {
    let description = match column.description.as_str() {
        "" => format!(
            "Custom resource definition column (in JSONPath format): {}",
            column.json_path
        ),
        description => description.to_owned(),
    };
    Column {
        name: column.name.clone(),
        kind: column.kind.clone(),
        format: column.format.clone(),
        description,
        priority: column.priority,
    }
}

fn cell(column: &PrinterColumn, object: &Value, now: Timestamp) -> Value {
    let found = column.path.find(object);
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
        "integer" => first
            .as_i64()
            .or_else(|| first.as_f64().map(|number| number as i64))
            .into(),
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
