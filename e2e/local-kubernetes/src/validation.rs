//! Field errors in Kubernetes's wording.
//!
//! Owns how a refused field is described: its path, its reason and its message, and how a list of them becomes the message and the causes of a
//! `422 Invalid` status. Never decides whether something is valid.

use std::fmt;

use serde_json::{Value, json};

/// Why a field was refused; `as_str` is the `reason` of a status cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The field must be given.
    Required,
    /// The value has the wrong form or meaning.
    Invalid,
    /// The value has the wrong JSON type.
    TypeInvalid,
    /// The value is not one of the allowed ones.
    NotSupported,
    /// The value occurs twice where it may occur once.
    Duplicate,
    /// The value may not be set or changed.
    Forbidden,
    /// The string is too long.
    TooLong,
    /// The list or map has too many entries.
    TooMany,
    /// The value names something that does not exist.
    NotFound,
    /// The server failed to check the value.
    Internal,
}

impl Reason {
    /// The machine-readable reason of a status cause.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Duplicate => "FieldValueDuplicate",
            Self::Forbidden => "FieldValueForbidden",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::NotFound => "FieldValueNotFound",
            Self::Internal => "InternalError",
        }
    }

    /// The words a message begins with.
    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::Duplicate => "Duplicate value",
            Self::Forbidden => "Forbidden",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::NotFound => "Not found",
            Self::Internal => "Internal error",
        }
    }
}

/// One refused field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path as in `spec.ports[0].name`; empty means the whole object and prints as `<nil>`.
    pub field: String,
    /// Why.
    pub reason: Reason,
    /// The message without the field, as in a status cause.
    pub message: String,
}

impl FieldError {
    fn new(field: impl Into<String>, reason: Reason, body: &str) -> Self {
        let words = reason.words();
        let message = if body.is_empty() {
            words.to_owned()
        } else {
            format!("{words}: {body}")
        };
        Self {
            field: field.into(),
            reason,
            message,
        }
    }

    /// `Required value[: detail]`.
    pub fn required(field: impl Into<String>, detail: &str) -> Self {
        Self::new(field, Reason::Required, detail)
    }

    /// `Invalid value: <value>: detail`.
    pub fn invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(field, Reason::Invalid, &with_value(value, detail))
    }

    /// `Invalid value: <printed>: detail`, for values that are printed in an order of their own.
    pub fn invalid_printed(field: impl Into<String>, printed: &str, detail: &str) -> Self {
        Self::new(field, Reason::Invalid, &format!("{printed}: {detail}"))
    }

    /// `Invalid value: detail`, for values that are too large to print.
    pub fn invalid_omitted(field: impl Into<String>, detail: &str) -> Self {
        Self::new(field, Reason::Invalid, detail)
    }

    /// `Invalid value: "string": detail` with the reason for a wrong type.
    pub fn type_invalid(field: impl Into<String>, value: &Value, detail: &str) -> Self {
        Self::new(field, Reason::TypeInvalid, &with_value(value, detail))
    }

    /// `Unsupported value: <value>: supported values: "a", "b"`.
    pub fn not_supported(field: impl Into<String>, value: &Value, supported: &[String]) -> Self {
        let mut names: Vec<String> = supported.iter().map(|name| quoted(name)).collect();
        names.sort();
        Self::new(
            field,
            Reason::NotSupported,
            &with_value(value, &format!("supported values: {}", names.join(", "))),
        )
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new(field, Reason::Duplicate, &value.to_string())
    }

    /// `Forbidden: detail`.
    pub fn forbidden(field: impl Into<String>, detail: &str) -> Self {
        Self::new(field, Reason::Forbidden, detail)
    }

    /// `Too long: may not be more than N bytes`.
    pub fn too_long(field: impl Into<String>, max: u64) -> Self {
        Self::new(
            field,
            Reason::TooLong,
            &format!("may not be more than {max} bytes"),
        )
    }

    /// `Too many: N: must have at most M items`.
    pub fn too_many(field: impl Into<String>, actual: usize, max: u64) -> Self {
        Self::new(
            field,
            Reason::TooMany,
            &format!("{actual}: must have at most {max} items"),
        )
    }

    /// `Not found: <value>`.
    pub fn not_found(field: impl Into<String>, value: &Value) -> Self {
        Self::new(field, Reason::NotFound, &value.to_string())
    }

    /// An error with a chosen reason whose value is not printed (`Invalid value: detail`).
    pub fn with_reason(field: impl Into<String>, reason: Reason, detail: &str) -> Self {
        Self::new(field, reason, detail)
    }

    /// Whether CEL rules are left unchecked because of this error.
    pub fn is_blocking(&self) -> bool {
        matches!(
            self.reason,
            Reason::NotSupported
                | Reason::Required
                | Reason::TooLong
                | Reason::TooMany
                | Reason::TypeInvalid
        )
    }

    /// The path as it is printed: the empty path is `<nil>`.
    pub fn printed_field(&self) -> &str {
        if self.field.is_empty() {
            "<nil>"
        } else {
            &self.field
        }
    }

    /// The entry of `details.causes`.
    pub fn cause(&self) -> Value {
        json!({"reason": self.reason.as_str(), "message": self.message, "field": self.printed_field()})
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.printed_field(), self.message)
    }
}

/// The errors as one line: a single one alone, several in brackets, equal ones once.
pub fn aggregate(errors: &[FieldError]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for error in errors {
        let line = error.to_string();
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    if lines.len() == 1 {
        lines.remove(0)
    } else {
        format!("[{}]", lines.join(", "))
    }
}

/// The `metav1.Status` for an object that was refused: `422`, reason `Invalid`, one cause an error.
pub fn invalid_status(group: &str, kind: &str, name: &str, errors: &[FieldError]) -> Value {
    let qualified = if group.is_empty() {
        kind.to_owned()
    } else {
        format!("{kind}.{group}")
    };
    let mut details = serde_json::Map::new();
    if !name.is_empty() {
        details.insert("name".to_owned(), name.into());
    }
    if !group.is_empty() {
        details.insert("group".to_owned(), group.into());
    }
    details.insert("kind".to_owned(), kind.into());
    details.insert(
        "causes".to_owned(),
        errors.iter().map(FieldError::cause).collect(),
    );
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("{qualified} {} is invalid: {}", quoted(name), aggregate(errors)),
        "reason": "Invalid", "details": details, "code": 422,
    })
}

/// `parent.child`, or the child alone at the root.
pub fn child(parent: &str, name: &str) -> String {
    if parent.is_empty() {
        name.to_owned()
    } else {
        format!("{parent}.{name}")
    }
}

/// `parent[index]`.
pub fn index(parent: &str, index: usize) -> String {
    format!("{parent}[{index}]")
}

/// `parent[key]`, for entries of maps.
pub fn key(parent: &str, key: &str) -> String {
    format!("{parent}[{key}]")
}

/// A string in double quotes, escaped as JSON does.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn with_value(value: &Value, detail: &str) -> String {
    if detail.is_empty() {
        value.to_string()
    } else {
        format!("{value}: {detail}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_errors_stand_in_brackets_and_equal_ones_stand_once() {
        let name = FieldError::required("spec.name", "");
        assert_eq!(
            aggregate(std::slice::from_ref(&name)),
            "spec.name: Required value"
        );
        assert_eq!(
            aggregate(&[name.clone(), name.clone()]),
            "spec.name: Required value"
        );
        let whole = FieldError::invalid_omitted("", "no");
        assert_eq!(
            aggregate(&[name, whole]),
            "[spec.name: Required value, <nil>: Invalid value: no]"
        );
    }

    #[test]
    fn an_invalid_status_names_kind_group_and_object() {
        let error = FieldError::not_supported(
            "spec.tier",
            &json!("Bronze"),
            &["Silver".to_owned(), "Gold".to_owned()],
        );
        let status = invalid_status("demo.example.com", "Shelf", "bad", &[error]);
        assert_eq!(
            status["message"],
            r#"Shelf.demo.example.com "bad" is invalid: spec.tier: Unsupported value: "Bronze": supported values: "Gold", "Silver""#
        );
        assert_eq!(
            status["details"]["causes"][0]["reason"],
            "FieldValueNotSupported"
        );
    }
}
