//! Structural schemas: what an object of a kind may look like, and how its lists and maps merge.
//!
//! Owns the schema tree and what follows from it alone: pruning, defaulting, validation of values, unknown fields. Built-in kinds and custom resources
//! share one tree. Never does I/O and never knows about requests.

mod builtin;
mod defaulting;
mod extensions;
mod formats;
mod lists;
mod prune;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use regex::Regex;
use serde_json::{Map, Value};

pub use self::{
    builtin::{builtin, definition_kind, definition_name, definitions},
    formats::{Quantity, is_valid_format},
    lists::validate_lists,
    prune::{canonical, duplicate_fields, prune, unknown_fields},
    values::validate,
};
pub use self::{defaulting::apply_defaults, values::type_name};

/// The JSON type that a schema asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A JSON object.
    Object,
    /// A JSON array.
    Array,
    /// A JSON string.
    String,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
}

impl Type {
    /// The name in schemas and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [
            Self::Object,
            Self::Array,
            Self::String,
            Self::Integer,
            Self::Number,
            Self::Boolean,
        ]
        .into_iter()
        .find(|kind| kind.as_str() == name)
    }
}

/// How server-side apply merges a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// The whole list is one field.
    #[default]
    Atomic,
    /// Every (scalar) item is a field of its own.
    Set,
    /// Items are found by the values of these fields.
    Map(Vec<String>),
}

/// What an object may contain beside its declared properties.
#[derive(Clone, Debug, Default)]
pub enum Additional {
    /// Nothing.
    #[default]
    None,
    /// Anything (`additionalProperties: true`).
    Any,
    /// Values of this schema: the object is a map.
    Schema(Arc<Schema>),
}

/// One `x-kubernetes-validations` rule, as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The CEL expression.
    pub rule: String,
    /// Fixed message.
    pub message: Option<String>,
    /// CEL expression that gives the message.
    pub message_expression: Option<String>,
    /// `FieldValueInvalid` and so on.
    pub reason: Option<String>,
    /// Relative JSON path of the field to blame.
    pub field_path: Option<String>,
    /// Whether `oldSelf` is an optional.
    pub optional_old_self: Option<bool>,
}

/// How a strategic merge patch treats a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatchStrategy {
    /// Lists are merged (by `merge_key`, or as sets of scalars without one).
    pub merge: bool,
    /// The value is replaced as a whole, though it is a map.
    pub replace: bool,
    /// Keys that the patch does not name in `$retainKeys` are dropped.
    pub retain_keys: bool,
    /// The field that names an item.
    pub merge_key: Option<String>,
}

/// One node of a structural schema.
#[derive(Clone, Debug, Default)]
pub struct Schema {
    /// The JSON type; none for int-or-string and for anything-goes.
    pub kind: Option<Type>,
    /// `int32`, `date-time`, ...
    pub format: Option<String>,
    /// What the field is for.
    pub description: Option<String>,
    /// Declared fields of an object.
    pub properties: BTreeMap<String, Arc<Schema>>,
    /// Fields that must be there.
    pub required: Vec<String>,
    /// What is allowed beside the declared fields.
    pub additional: Additional,
    /// Schema of a list's items.
    pub items: Option<Arc<Schema>>,
    /// Whether `null` is a value.
    pub nullable: bool,
    /// Value of a missing field.
    pub default: Option<Value>,
    /// The allowed values.
    pub allowed: Option<Vec<Value>>,
    /// Smallest number.
    pub minimum: Option<f64>,
    /// Whether the smallest number itself is excluded.
    pub exclusive_minimum: bool,
    /// Largest number.
    pub maximum: Option<f64>,
    /// Whether the largest number itself is excluded.
    pub exclusive_maximum: bool,
    /// The number must be a multiple of this.
    pub multiple_of: Option<f64>,
    /// Length of strings in characters.
    pub min_length: Option<u64>,
    /// Length of strings in characters.
    pub max_length: Option<u64>,
    /// Number of items.
    pub min_items: Option<u64>,
    /// Number of items.
    pub max_items: Option<u64>,
    /// Whether items must differ.
    pub unique_items: bool,
    /// Number of entries.
    pub min_properties: Option<u64>,
    /// Number of entries.
    pub max_properties: Option<u64>,
    /// Regular expression that a string must match.
    pub pattern: Option<Regex>,
    /// Value validations that must all hold.
    pub all_of: Vec<Schema>,
    /// Value validations of which one must hold.
    pub any_of: Vec<Schema>,
    /// Value validations of which exactly one must hold.
    pub one_of: Vec<Schema>,
    /// A value validation that must not hold.
    pub not: Option<Box<Schema>>,
    /// A number or a string (also: a quantity).
    pub int_or_string: bool,
    /// Unknown fields are kept.
    pub preserve_unknown: bool,
    /// The object is a Kubernetes object with `apiVersion`, `kind` and `metadata`.
    pub embedded_resource: bool,
    /// How apply merges the list.
    pub list_type: ListType,
    /// Whether apply takes the map or object as one field.
    pub atomic_map: bool,
    /// How a strategic merge patch treats the field.
    pub patch: PatchStrategy,
    /// CEL rules.
    pub rules: Vec<Rule>,
}

/// Why a schema could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// A `pattern` is not a regular expression.
    #[error("invalid pattern {0:?}")]
    Pattern(String),
    /// A `$ref` leads nowhere.
    #[error("unknown definition {0:?}")]
    Reference(String),
}

impl Schema {
    /// Reads an OpenAPI v3 schema without references, as a CRD contains it.
    ///
    /// # Errors
    /// `SchemaError` if a pattern is no regular expression.
    pub fn parse(openapi: &Value) -> Result<Self, SchemaError> {
        Reader {
            definitions: &Map::new(),
            known: BTreeMap::new(),
            open: BTreeSet::new(),
            null_is_absent: false,
        }
        .schema(openapi)
    }

    /// The schema of a field: the declared one, else the one of the map's values.
    pub fn field(&self, name: &str) -> Option<&Arc<Self>> {
        self.properties.get(name).or(match &self.additional {
            Additional::Schema(schema) => Some(schema),
            Additional::None | Additional::Any => None,
        })
    }

    /// Whether the schema says nothing about its fields and keeps them all.
    pub fn keeps_everything(&self) -> bool {
        self.preserve_unknown || matches!(self.additional, Additional::Any)
    }

    /// Whether it describes a map from names to values (as opposed to an object with declared fields).
    pub fn is_map(&self) -> bool {
        matches!(self.additional, Additional::Schema(_) | Additional::Any)
            && self.properties.is_empty()
    }
}

/// Reads definitions that refer to each other, sharing what they have in common.
struct Reader<'a> {
    definitions: &'a Map<String, Value>,
    known: BTreeMap<String, Arc<Schema>>,
    /// Definitions being read: a definition inside itself keeps everything.
    open: BTreeSet<String>,
    /// Whether `null` stands for a missing value everywhere, as in built-in kinds.
    null_is_absent: bool,
}

impl Reader<'_> {
    fn definition(&mut self, name: &str) -> Result<Arc<Schema>, SchemaError> {
        if let Some(schema) = self.known.get(name) {
            return Ok(schema.clone());
        }
        let openapi = self
            .definitions
            .get(name)
            .ok_or_else(|| SchemaError::Reference(name.to_owned()))?;
        if !self.open.insert(name.to_owned()) {
            return Ok(Arc::new(Schema {
                preserve_unknown: true,
                ..Schema::default()
            }));
        }
        let schema = Arc::new(self.schema(openapi)?);
        self.open.remove(name);
        self.known.insert(name.to_owned(), schema.clone());
        Ok(schema)
    }

    /// A child: a reference with nothing beside it is shared, one with extensions beside it is copied and extended.
    fn child(&mut self, openapi: &Value) -> Result<Arc<Schema>, SchemaError> {
        let reference = openapi
            .get("$ref")
            .or_else(|| openapi.pointer("/allOf/0/$ref"));
        let Some(name) = reference
            .and_then(Value::as_str)
            .and_then(|path| path.rsplit('/').next())
        else {
            return Ok(Arc::new(self.schema(openapi)?));
        };
        let shared = self.definition(name)?;
        let beside = [
            "default",
            "x-kubernetes-patch-strategy",
            "x-kubernetes-map-type",
            "nullable",
        ];
        if beside.iter().all(|key| openapi.get(key).is_none()) {
            return Ok(shared);
        }
        let mut own = Schema::clone(&shared);
        own.default = openapi.get("default").cloned();
        own.nullable |= flag(openapi, "nullable");
        own.patch = patch_strategy(openapi);
        match openapi.get("x-kubernetes-map-type").and_then(Value::as_str) {
            Some("atomic") => own.atomic_map = true,
            Some(_) => own.atomic_map = false,
            None => {}
        }
        Ok(Arc::new(own))
    }

    fn list(&mut self, openapi: &Value, key: &str) -> Result<Vec<Schema>, SchemaError> {
        let branches = openapi
            .get(key)
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        branches.iter().map(|branch| self.schema(branch)).collect()
    }

    fn schema(&mut self, openapi: &Value) -> Result<Schema, SchemaError> {
        let mut properties = BTreeMap::new();
        for (name, property) in openapi
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            properties.insert(name.clone(), self.child(property)?);
        }
        let additional = match openapi.get("additionalProperties") {
            None | Some(Value::Bool(false)) => Additional::None,
            Some(Value::Bool(true)) => Additional::Any,
            Some(schema) => Additional::Schema(self.child(schema)?),
        };
        let items = openapi
            .get("items")
            .map(|items| self.child(items))
            .transpose()?;
        let not = openapi
            .get("not")
            .map(|branch| self.schema(branch))
            .transpose()?
            .map(Box::new);
        let pattern = text(openapi, "pattern")
            .map(|pattern| Regex::new(&pattern).map_err(|_| SchemaError::Pattern(pattern)))
            .transpose()?;
        Ok(Schema {
            kind: openapi
                .get("type")
                .and_then(Value::as_str)
                .and_then(Type::parse),
            format: text(openapi, "format"),
            description: text(openapi, "description"),
            properties,
            required: strings(openapi, "required"),
            additional,
            items,
            nullable: self.null_is_absent || flag(openapi, "nullable"),
            default: openapi.get("default").cloned(),
            allowed: openapi.get("enum").and_then(Value::as_array).cloned(),
            minimum: openapi.get("minimum").and_then(Value::as_f64),
            exclusive_minimum: flag(openapi, "exclusiveMinimum"),
            maximum: openapi.get("maximum").and_then(Value::as_f64),
            exclusive_maximum: flag(openapi, "exclusiveMaximum"),
            multiple_of: openapi.get("multipleOf").and_then(Value::as_f64),
            min_length: count(openapi, "minLength"),
            max_length: count(openapi, "maxLength"),
            min_items: count(openapi, "minItems"),
            max_items: count(openapi, "maxItems"),
            unique_items: flag(openapi, "uniqueItems"),
            min_properties: count(openapi, "minProperties"),
            max_properties: count(openapi, "maxProperties"),
            pattern,
            all_of: self.list(openapi, "allOf")?,
            any_of: self.list(openapi, "anyOf")?,
            one_of: self.list(openapi, "oneOf")?,
            not,
            int_or_string: flag(openapi, "x-kubernetes-int-or-string"),
            preserve_unknown: flag(openapi, "x-kubernetes-preserve-unknown-fields"),
            embedded_resource: flag(openapi, "x-kubernetes-embedded-resource"),
            list_type: match openapi
                .get("x-kubernetes-list-type")
                .and_then(Value::as_str)
            {
                Some("set") => ListType::Set,
                Some("map") => ListType::Map(strings(openapi, "x-kubernetes-list-map-keys")),
                _ => ListType::Atomic,
            },
            atomic_map: openapi.get("x-kubernetes-map-type").and_then(Value::as_str)
                == Some("atomic"),
            patch: patch_strategy(openapi),
            rules: rules(openapi),
        })
    }
}

fn patch_strategy(openapi: &Value) -> PatchStrategy {
    let strategies = text(openapi, "x-kubernetes-patch-strategy").unwrap_or_default();
    let has = |wanted: &str| strategies.split(',').any(|strategy| strategy == wanted);
    PatchStrategy {
        merge: has("merge"),
        replace: has("replace"),
        retain_keys: has("retainKeys"),
        merge_key: text(openapi, "x-kubernetes-patch-merge-key"),
    }
}

fn rules(openapi: &Value) -> Vec<Rule> {
    let written = openapi
        .get("x-kubernetes-validations")
        .and_then(Value::as_array);
    written
        .into_iter()
        .flatten()
        .map(|rule| Rule {
            rule: text(rule, "rule").unwrap_or_default(),
            message: text(rule, "message"),
            message_expression: text(rule, "messageExpression"),
            reason: text(rule, "reason"),
            field_path: text(rule, "fieldPath"),
            optional_old_self: rule.get("optionalOldSelf").and_then(Value::as_bool),
        })
        .collect()
}

fn text(openapi: &Value, key: &str) -> Option<String> {
    openapi.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn flag(openapi: &Value, key: &str) -> bool {
    openapi.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn count(openapi: &Value, key: &str) -> Option<u64> {
    openapi.get(key).and_then(Value::as_u64)
}

fn strings(openapi: &Value, key: &str) -> Vec<String> {
    let listed = openapi.get(key).and_then(Value::as_array);
    listed
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}
