//! One compiled version of a definition: how its objects are read, completed and checked.

use serde_json::{Value, json};

use super::{scale, text, texts};
use crate::{
    cel::{self, Rules},
    kinds::{metadata, names::NameRule},
    schema::{self, Additional, Schema, SchemaError, Type},
    validation::{FieldError, Reason},
};

/// A printer column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Heading.
    pub name: String,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub kind: String,
    /// Format of the value, usually empty.
    pub format: String,
    /// What the column shows.
    pub description: String,
    /// 0 is always shown, others on `-o wide`.
    pub priority: i64,
    /// Where the value is.
    pub json_path: String,
}

/// The paths of a scale subresource, as written: `.spec.shards`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Desired replicas.
    pub spec: String,
    /// Observed replicas.
    pub status: String,
    /// Selector of the pods.
    pub selector: Option<String>,
}

/// One version of a definition.
#[derive(Debug)]
pub struct Version {
    /// Name.
    pub name: String,
    /// Whether it is served.
    pub served: bool,
    /// Whether objects are stored in it.
    pub storage: bool,
    /// Warning for requests to a deprecated version.
    pub deprecation: Option<String>,
    /// The schema with the metadata of every object: for pruning, defaulting and ownership.
    pub schema: Schema,
    /// The schema as written, for OpenAPI documents.
    pub openapi: Value,
    /// Printer columns, as defaulted: just the age if none are given.
    pub columns: Vec<Column>,
    /// Whether there is a status subresource.
    pub status: bool,
    /// The scale subresource.
    pub scale: Option<Scale>,
    /// Fields that field selectors may name, as `spec.tier`.
    pub selectable: Vec<String>,
    /// The schema as written, for checking values.
    own: Schema,
    rules: Rules,
}

impl Version {
    pub(super) fn compile(version: &Value, group: &str, kind: &str) -> Result<Self, SchemaError> {
        let name = text(&version["name"]);
        let openapi = version["schema"]["openAPIV3Schema"].clone();
        let own = Schema::parse(&openapi)?;
        let subresources = &version["subresources"];
        let paths = &subresources["scale"];
        let deprecated = version["deprecated"] == true;
        let warning = version["deprecationWarning"].as_str().map(str::to_owned);
        Ok(Self {
            served: version["served"] == true,
            storage: version["storage"] == true,
            deprecation: deprecated
                .then(|| warning.unwrap_or_else(|| format!("{group}/{name} {kind} is deprecated"))),
            schema: with_metadata(own.clone()),
            columns: columns(version),
            status: !subresources["status"].is_null(),
            scale: paths.is_object().then(|| Scale {
                spec: text(&paths["specReplicasPath"]),
                status: text(&paths["statusReplicasPath"]),
                selector: paths["labelSelectorPath"].as_str().map(str::to_owned),
            }),
            selectable: selectable(version),
            rules: Rules::compile(&openapi, group, &name, kind),
            own,
            openapi,
            name,
        })
    }

    /// Brings an object that was sent or stored to the form that is kept: unknown fields go, defaults come.
    pub fn complete(&self, object: &mut Value) {
        schema::prune(&self.schema, object);
        if let (Some(metadata), Some(schema)) = (
            object.get_mut("metadata"),
            self.schema.properties.get("metadata"),
        ) {
            schema::canonical(schema, metadata);
        }
        schema::apply_defaults(&self.own, object);
    }

    /// Fields that the schema does not know.
    pub fn unknown_fields(&self, object: &Value) -> Vec<String> {
        schema::unknown_fields(&self.schema, object)
    }

    /// What is wrong with a new object.
    pub fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = metadata::validate(&object["metadata"], NameRule::Subdomain);
        errors.extend(schema::validate(&self.own, object, "", ""));
        errors.extend(self.validate_scale(object));
        errors.extend(schema::validate_lists(&self.own, object, ""));
        self.add_rules(object, None, errors)
    }

    /// What is wrong with a changed object; values that did not change are not held against it.
    pub fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = metadata::validate_update(&new["metadata"], &old["metadata"]);
        errors.extend(changed(schema::validate(&self.own, new, "", ""), new, old));
        errors.extend(self.validate_scale(new));
        errors.extend(changed(
            schema::validate_lists(&self.own, new, ""),
            new,
            old,
        ));
        self.add_rules(new, Some(old), errors)
    }

    /// What is wrong with an object whose status was written.
    pub fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = metadata::validate_update(&new["metadata"], &old["metadata"]);
        if let (Some(status), Some(value)) = (self.own.properties.get("status"), new.get("status"))
        {
            errors.extend(changed(
                schema::validate(status, value, "status", ""),
                new,
                old,
            ));
        }
        if let Some(scale) = &self.scale {
            errors.extend(scale::validate_status(
                &scale.status,
                scale.selector.as_deref(),
                new,
            ));
        }
        errors.extend(changed(
            schema::validate_lists(&self.own, new, ""),
            new,
            old,
        ));
        self.add_rules(new, Some(old), errors)
    }

    fn validate_scale(&self, object: &Value) -> Vec<FieldError> {
        let Some(paths) = &self.scale else {
            return Vec::new();
        };
        let mut errors = scale::validate_spec(&paths.spec, object);
        errors.extend(scale::validate_status(
            &paths.status,
            paths.selector.as_deref(),
            object,
        ));
        errors
    }

    /// Rules are evaluated only on objects whose shape is right.
    fn add_rules(
        &self,
        object: &Value,
        old: Option<&Value>,
        mut errors: Vec<FieldError>,
    ) -> Vec<FieldError> {
        if !self.rules.any() {
            return errors;
        }
        if errors.iter().any(FieldError::is_blocking) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to complete \
                          validation";
            errors.push(FieldError::invalid("", &Value::Null, detail));
        } else {
            errors.extend(self.rules.validate(&self.own, object, old));
        }
        errors
    }
}

/// Every object has a version, a kind and metadata, whatever its schema says of them.
fn with_metadata(mut schema: Schema) -> Schema {
    let name = std::sync::Arc::new(Schema {
        kind: Some(Type::String),
        ..Schema::default()
    });
    schema.kind = Some(Type::Object);
    schema
        .properties
        .insert("apiVersion".to_owned(), name.clone());
    schema.properties.insert("kind".to_owned(), name);
    let config_map = schema::builtin("", "v1", "ConfigMap");
    if let Some(metadata) = config_map.and_then(|kind| kind.properties.get("metadata")) {
        schema
            .properties
            .insert("metadata".to_owned(), metadata.clone());
    }
    if matches!(schema.additional, Additional::Schema(_)) {
        schema.additional = Additional::None;
    }
    schema
}

/// Ratcheting: errors about values that the update leaves alone are dropped.
fn changed(errors: Vec<FieldError>, new: &Value, old: &Value) -> Vec<FieldError> {
    errors
        .into_iter()
        .filter(|error| {
            let path = if error.reason == Reason::Required {
                cel::parent(&error.field)
            } else {
                &error.field
            };
            let value = cel::value_at(new, path);
            value.is_none() || value != cel::value_at(old, path)
        })
        .collect()
}

fn columns(version: &Value) -> Vec<Column> {
    let Some(listed) = version["additionalPrinterColumns"]
        .as_array()
        .filter(|listed| !listed.is_empty())
    else {
        return vec![Column {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            format: String::new(),
            description: "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to \
                          be set in happens-before order across separate operations. Clients may not set this value. It is represented in \
                          RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
                          https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
                .to_owned(),
            priority: 0,
            json_path: ".metadata.creationTimestamp".to_owned(),
        }];
    };
    listed
        .iter()
        .map(|column| {
            let json_path = text(&column["jsonPath"]);
            let description = column["description"].as_str().map(str::to_owned);
            Column {
                name: text(&column["name"]),
                kind: text(&column["type"]),
                format: text(&column["format"]),
                description: description.unwrap_or_else(|| {
                    format!("Custom resource definition column (in JSONPath format): {json_path}")
                }),
                priority: column["priority"].as_i64().unwrap_or_default(),
                json_path,
            }
        })
        .collect()
}

fn selectable(version: &Value) -> Vec<String> {
    let fields = version["selectableFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let paths: Vec<Value> = fields
        .iter()
        .map(|field| field["jsonPath"].clone())
        .collect();
    texts(&json!(paths))
        .iter()
        .map(|path| path.trim_start_matches('.').to_owned())
        .collect()
}
