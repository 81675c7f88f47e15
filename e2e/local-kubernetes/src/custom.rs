//! What the server keeps of a custom resource definition for serving its resources.

use serde_json::Value;

use crate::jsonpath::JsonPath;

/// One version of an established definition.
#[derive(Debug)]
pub struct Custom {
    /// Name of the definition.
    pub definition: String,
    /// What kubectl prints.
    pub columns: Vec<PrinterColumn>,
}

/// An additional printer column.
#[derive(Clone, Debug)]
pub struct PrinterColumn {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// Format of the type, often empty.
    pub format: String,
    /// Text of the definition, or empty.
    pub description: String,
    /// Columns above 0 are printed by `-o wide` only.
    pub priority: i64,
    /// The path as written.
    pub json_path: String,
    /// The path, parsed.
    pub path: JsonPath,
}

impl PrinterColumn {
    /// Reads the columns of a version; those whose path cannot be read are left out.
    #[must_use]
    pub fn of_version(version: &Value) -> Vec<Self> {
        let columns = version["additionalPrinterColumns"].as_array();
        columns
            .into_iter()
            .flatten()
            .filter_map(Self::read)
            .collect()
    }

    fn read(column: &Value) -> Option<Self> {
        let text = |field: &str| column[field].as_str().unwrap_or_default().to_owned();
        Some(Self {
            name: text("name"),
            kind: text("type"),
            format: text("format"),
            description: text("description"),
            priority: column["priority"].as_i64().unwrap_or_default(),
            path: JsonPath::parse(&text("jsonPath")).ok()?,
            json_path: text("jsonPath"),
        })
    }
}
