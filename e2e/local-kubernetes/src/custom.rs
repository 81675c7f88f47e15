//! What the server keeps of a custom resource definition for serving its resources.

use serde_json::Value;

use crate::{
    crd::{Column, Version},
    jsonpath::JsonPath,
    schema::Schema,
    validation::FieldError,
};

/// One version of an established definition.
#[derive(Debug)]
pub struct Custom {
    /// What kubectl prints; columns whose path cannot be read are left out.
    pub columns: Vec<(Column, JsonPath)>,
    /// The compiled version.
    pub version: Version,
}

impl Custom {
    /// Prepares a compiled version for serving.
    #[must_use]
    pub fn new(version: Version) -> Self {
        let columns = version
            .columns
            .iter()
            .filter_map(|column| Some((column.clone(), JsonPath::parse(&column.json_path).ok()?)));
        Self {
            columns: columns.collect(),
            version,
        }
    }

    /// The schema of whole objects.
    #[must_use]
    pub fn schema(&self) -> &Schema {
        &self.version.schema
    }

    /// What is wrong with a changed object.
    #[must_use]
    pub fn validate_update(&self, new: &Value, live: &Value, subresource: &str) -> Vec<FieldError> {
        if subresource == "status" {
            self.version.validate_status_update(new, live)
        } else {
            self.version.validate_update(new, live)
        }
    }
}
