//! What the server keeps of a custom resource definition for serving its resources.

use serde_json::Value;

use crate::{
    jsonpath::JsonPath,
    schema::{self, Schema},
    validation::FieldError,
};

/// One version of an established definition.
#[derive(Debug)]
pub struct Custom {
    /// Name of the definition.
    pub definition: String,
    /// What kubectl prints.
    pub columns: Vec<PrinterColumn>,
    schema: Schema,
}

impl Custom {
    /// Compiles a version; `None` if its schema cannot be read.
    #[must_use]
    pub fn compile(definition: &Value, version: &Value) -> Option<Self> {
        Some(Self {
            definition: crate::object::name(definition).to_owned(),
            columns: PrinterColumn::of_version(version),
            schema: Schema::parse(&version["schema"]["openAPIV3Schema"]).ok()?,
        })
    }

    /// The schema of whole objects.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Drops unknown fields and fills in defaults.
    pub fn settle(&self, object: &mut Value) {
        schema::apply_defaults(&self.schema, object);
    }

    /// Paths of unknown fields.
    #[must_use]
    pub fn unknown_fields(&self, object: &Value) -> Vec<String> {
        schema::unknown_fields(&self.schema, object)
    }

    /// What is wrong with a new or changed object.
    #[must_use]
    pub fn validate(
        &self,
        object: &Value,
        _live: Option<&Value>,
        _subresource: &str,
    ) -> Vec<FieldError> {
        schema::validate(&self.schema, object, "", "")
    }
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
