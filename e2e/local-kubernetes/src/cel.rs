//! CEL rules of custom resources: compiling them, checking them when a definition comes, and evaluating them.
//!
//! Evaluation is `kube-cel`'s; this module puts its findings into Kubernetes's words. It never sees requests.

mod check;

use std::{fmt, sync::Arc};

use kube_cel::{
    CompiledSchema, ErrorKind, RootContext, ValidationError, Validator, compile_schema,
};
use serde_json::Value;

pub use self::check::rule_problem;
use crate::{
    schema::{Rule, Schema, type_name},
    validation::{FieldError, Reason},
};

thread_local! {
    static VALIDATOR: Validator = Validator::new();
}

/// The compiled rules of one version of a custom resource.
#[derive(Clone)]
pub struct Rules {
    compiled: Arc<CompiledSchema>,
    root: RootContext,
    any: bool,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("kind", &self.root.kind)
            .field("any", &self.any)
            .finish_non_exhaustive()
    }
}

impl Rules {
    /// Compiles the rules of a schema as a definition contains it.
    pub fn compile(openapi: &Value, group: &str, version: &str, kind: &str) -> Self {
        let root = RootContext {
            api_version: format!("{group}/{version}"),
            api_group: group.to_owned(),
            kind: kind.to_owned(),
        };
        Self {
            compiled: Arc::new(compile_schema(openapi)),
            root,
            any: has_rules(openapi),
        }
    }

    /// Whether there are any rules.
    pub fn any(&self) -> bool {
        self.any
    }

    /// Evaluates all rules; transition rules only if there is an old object. What has not changed is not held against an update.
    pub fn validate(
        &self,
        schema: &Schema,
        object: &Value,
        old: Option<&Value>,
    ) -> Vec<FieldError> {
        if !self.any {
            return Vec::new();
        }
        let result = VALIDATOR.with(|validator| {
            validator.validate_compiled_with_context(&self.compiled, object, old, Some(&self.root))
        });
        let errors = result
            .err()
            .map(kube_cel::ValidationErrors::into_vec)
            .unwrap_or_default();
        errors
            .iter()
            .filter(|error| !is_unchanged(error, object, old))
            .map(|error| describe(error, schema, object))
            .collect()
    }
}

fn has_rules(openapi: &Value) -> bool {
    match openapi {
        Value::Object(fields) => {
            fields.contains_key("x-kubernetes-validations") || fields.values().any(has_rules)
        }
        Value::Array(items) => items.iter().any(has_rules),
        _ => false,
    }
}

/// Ratcheting: a rule over a value that the update leaves alone does not refuse the update, unless it compares with the old value.
fn is_unchanged(error: &ValidationError, object: &Value, old: Option<&Value>) -> bool {
    let Some(old) = old else {
        return false;
    };
    if error.rule.contains("oldSelf") {
        return false;
    }
    let node = parent(&error.field_path);
    value_at(object, node).is_some_and(|value| Some(value) == value_at(old, node))
}

fn describe(error: &ValidationError, schema: &Schema, object: &Value) -> FieldError {
    let (path, message) = (error.field_path.as_str(), error.message.as_str());
    if error.kind != ErrorKind::ValidationFailure {
        let detail = message
            .strip_prefix("rule evaluation error: ")
            .unwrap_or(message);
        let kind = value_at(object, path).map_or("object", type_name);
        return FieldError::invalid(
            path,
            &kind.into(),
            &format!("{detail} evaluating rule: {}", error.rule),
        );
    }
    let reason = match error.reason.as_deref() {
        Some("FieldValueForbidden") => Reason::Forbidden,
        Some("FieldValueRequired") => Reason::Required,
        Some("FieldValueDuplicate") => Reason::Duplicate,
        _ => Reason::Invalid,
    };
    let own_value = value_at(object, path).filter(|value| !value.is_object() && !value.is_array());
    let is_own_rule = schema_at(schema, path)
        .is_some_and(|node| node.rules.iter().any(|rule| rule.rule == error.rule));
    match (reason, own_value) {
        (Reason::Invalid, Some(value)) if is_own_rule => FieldError::invalid(path, value, message),
        (Reason::Duplicate, Some(value)) if is_own_rule => FieldError::duplicate(path, value),
        _ => FieldError::with_reason(path, reason, message),
    }
}

/// The path of the value that contains the one at `path`.
pub fn parent(path: &str) -> &str {
    path.rfind(['.', '[']).map_or("", |at| &path[..at])
}

/// The value at a path like `spec.ports[0].name`; the empty path is the object itself.
pub fn value_at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path).try_fold(object, |value, step| match value {
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        other => other.get(step),
    })
}

fn schema_at<'a>(schema: &'a Schema, path: &str) -> Option<&'a Schema> {
    steps(path).try_fold(schema, |schema, step| match &schema.items {
        Some(items) if step.parse::<usize>().is_ok() => Some(items.as_ref()),
        _ => schema.field(step).map(AsRef::as_ref),
    })
}

fn steps(path: &str) -> impl Iterator<Item = &str> {
    path.split(['.', '['])
        .map(|step| step.trim_end_matches(']'))
        .filter(|step| !step.is_empty())
}

/// A rule as Go prints it within an error.
pub fn go_rule(rule: &Rule) -> String {
    let text = |text: Option<&String>| crate::validation::quoted(text.map_or("", String::as_str));
    let reason = rule.reason.as_ref().map_or("null".to_owned(), |reason| {
        crate::validation::quoted(reason)
    });
    let optional = rule
        .optional_old_self
        .map_or("null".to_owned(), |optional| optional.to_string());
    let printed = format!(
        "{{\"Rule\":{},\"Message\":{},\"MessageExpression\":{},\"Reason\":{reason},\"FieldPath\":{},\"OptionalOldSelf\":{optional}}}",
        text(Some(&rule.rule)),
        text(rule.message.as_ref()),
        text(rule.message_expression.as_ref()),
        text(rule.field_path.as_ref()),
    );
    // Go's JSON escapes what HTML would take for markup.
    printed
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn errors(openapi: &Value, object: &Value, old: Option<&Value>) -> Vec<String> {
        let schema = Schema::parse(openapi).expect("a valid schema");
        let rules = Rules::compile(openapi, "demo.example.com", "v1", "Shelf");
        rules
            .validate(&schema, object, old)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn shelf() -> Value {
        json!({"type": "object", "properties": {"spec": {
            "type": "object",
            "properties": {
                "shards": {"type": "integer"},
                "tier": {"type": "string", "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "tier is immutable"}]},
            },
            "x-kubernetes-validations": [{
                "rule": "self.shards > 1", "messageExpression": "'too few: ' + string(self.shards)", "fieldPath": ".shards",
                "reason": "FieldValueForbidden",
            }],
        }}})
    }

    #[test]
    fn a_rule_reports_its_path_reason_and_own_message() {
        let object = json!({"spec": {"shards": 1, "tier": "Gold"}});
        assert_eq!(
            errors(&shelf(), &object, None),
            ["spec.shards: Forbidden: too few: 1"]
        );
    }

    #[test]
    fn a_transition_rule_compares_with_the_old_object() {
        let (old, new) = (
            json!({"spec": {"shards": 2, "tier": "Gold"}}),
            json!({"spec": {"shards": 2, "tier": "Silver"}}),
        );
        assert_eq!(
            errors(&shelf(), &new, Some(&old)),
            [r#"spec.tier: Invalid value: "Silver": tier is immutable"#]
        );
        assert!(errors(&shelf(), &new, None).is_empty());
    }

    #[test]
    fn what_an_update_leaves_alone_is_not_held_against_it() {
        let object = json!({"spec": {"shards": 1}});
        assert!(errors(&shelf(), &object, Some(&object)).is_empty());
    }

    #[test]
    fn values_are_found_by_path() {
        let object = json!({"spec": {"ports": [{"name": "a"}]}});
        assert_eq!(value_at(&object, "spec.ports[0].name"), Some(&json!("a")));
        assert_eq!(value_at(&object, ""), Some(&object));
        assert_eq!(
            (parent("spec.ports[0]"), parent("spec")),
            ("spec.ports", "")
        );
    }
}
