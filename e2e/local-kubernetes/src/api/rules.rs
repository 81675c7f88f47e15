//! The rules of metadata that hold for every kind: names, labels, owners, finalizers, and what an update may not change.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::{object, registry::Resource, validation::FieldError};

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SERVICE: &str = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
const QUALIFIED: &str = "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const LABEL_VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";

/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "foregroundDeletion", "orphan"];

fn pattern(text: &str) -> Regex {
    Regex::new(&format!("^(?:{text})$")).expect("the patterns of this module are well-formed")
}

static SUBDOMAIN_PATTERN: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"));
static LABEL_PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern("[a-z0-9]([-a-z0-9]*[a-z0-9])?"));
static SERVICE_PATTERN: LazyLock<Regex> = LazyLock::new(|| pattern("[a-z]([-a-z0-9]*[a-z0-9])?"));
static QUALIFIED_PATTERN: LazyLock<Regex> =
    LazyLock::new(|| pattern("([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"));
static LABEL_VALUE_PATTERN: LazyLock<Regex> =
    LazyLock::new(|| pattern("(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"));

/// How objects of a kind may be named.
struct NameRule {
    pattern: &'static Regex,
    text: &'static str,
    longest: u64,
}

fn name_rule(resource: &Resource) -> Option<NameRule> {
    let label = || NameRule {
        pattern: &LABEL_PATTERN,
        text: LABEL,
        longest: 63,
    };
    let subdomain = || NameRule {
        pattern: &SUBDOMAIN_PATTERN,
        text: SUBDOMAIN,
        longest: 253,
    };
    if resource.custom.is_some() {
        return Some(subdomain());
    }
    match resource.kind.as_str() {
        "Namespace" => Some(label()),
        "Service" => Some(NameRule {
            pattern: &SERVICE_PATTERN,
            text: SERVICE,
            longest: 63,
        }),
        "Role" | "RoleBinding" | "ClusterRole" | "ClusterRoleBinding" => None,
        _ => Some(subdomain()),
    }
}

/// What is wrong with the metadata of a new object.
pub(super) fn check_new(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = vec![];
    let name = object::name(object);
    if name.is_empty() {
        errors.push(FieldError::required(
            "metadata.name",
            "name or generateName is required",
        ));
    } else {
        check_name(resource, name, &mut errors);
    }
    check_common(object, &mut errors);
    errors
}

/// What is wrong with the metadata of a changed object.
pub(super) fn check_changed(live: &Value, new: &Value) -> Vec<FieldError> {
    let mut errors = vec![];
    check_common(new, &mut errors);
    let added = added_finalizers(live, new);
    if object::is_deleting(live) && !added.is_empty() {
        let quoted: Vec<String> = added
            .iter()
            .map(|finalizer| format!("\"{finalizer}\""))
            .collect();
        let error = FieldError::forbidden(
            "metadata.finalizers",
            &format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                quoted.join(", ")
            ),
        );
        // Kubernetes checks this twice and reports both.
        errors.push(error.clone());
        errors.push(error);
    }
    errors
}

fn added_finalizers(live: &Value, new: &Value) -> Vec<String> {
    let before = object::finalizers(live);
    object::finalizers(new)
        .into_iter()
        .filter(|finalizer| !before.contains(finalizer))
        .collect()
}

fn check_name(resource: &Resource, name: &str, errors: &mut Vec<FieldError>) {
    let Some(rule) = name_rule(resource) else {
        if name == "." || name == ".." || name.contains(['/', '%']) {
            errors.push(FieldError::invalid(
                "metadata.name",
                &name.into(),
                "may not contain '/' or '%'",
            ));
        }
        return;
    };
    if name.len() as u64 > rule.longest {
        let text = format!("must be no more than {} bytes", rule.longest);
        errors.push(FieldError::invalid("metadata.name", &name.into(), &text));
    }
    if !rule.pattern.is_match(name) {
        errors.push(FieldError::invalid(
            "metadata.name",
            &name.into(),
            rule.text,
        ));
    }
}

fn check_common(object: &Value, errors: &mut Vec<FieldError>) {
    let metadata = &object["metadata"];
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        check_key("metadata.labels", key, errors);
        let text = value.as_str().unwrap_or_default();
        if text.len() > 63 {
            errors.push(FieldError::invalid(
                "metadata.labels",
                value,
                "must be no more than 63 bytes",
            ));
        }
        if !LABEL_VALUE_PATTERN.is_match(text) {
            errors.push(FieldError::invalid("metadata.labels", value, LABEL_VALUE));
        }
    }
    for (key, _) in metadata["annotations"].as_object().into_iter().flatten() {
        check_key("metadata.annotations", &key.to_lowercase(), errors);
    }
    check_finalizers(object, errors);
    check_owners(&metadata["ownerReferences"], errors);
}

/// Keys of labels and annotations: a name, or a domain and a name.
fn check_key(field: &str, key: &str, errors: &mut Vec<FieldError>) {
    let (domain, name) = key
        .split_once('/')
        .map_or((None, key), |(domain, name)| (Some(domain), name));
    if domain.is_some_and(|domain| !SUBDOMAIN_PATTERN.is_match(domain)) {
        errors.push(FieldError::invalid(
            field,
            &key.into(),
            &format!("prefix part {SUBDOMAIN}"),
        ));
    }
    if name.is_empty() {
        errors.push(FieldError::invalid(
            field,
            &key.into(),
            "name part must be non-empty",
        ));
    }
    if name.len() > 63 {
        errors.push(FieldError::invalid(
            field,
            &key.into(),
            "name part must be no more than 63 bytes",
        ));
    }
    if !QUALIFIED_PATTERN.is_match(name) {
        errors.push(FieldError::invalid(field, &key.into(), QUALIFIED));
    }
}

fn check_finalizers(object: &Value, errors: &mut Vec<FieldError>) {
    let finalizers = object::finalizers(object);
    for (index, finalizer) in finalizers.iter().enumerate() {
        if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer.as_str()) {
            let text = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(FieldError::invalid(
                format!("metadata.finalizers[{index}]"),
                &finalizer.as_str().into(),
                text,
            ));
        }
    }
    let has = |name: &str| finalizers.iter().any(|finalizer| finalizer == name);
    if has("foregroundDeletion") && has("orphan") {
        let text = "finalizer orphan and foregroundDeletion cannot be both set";
        errors.push(FieldError::invalid(
            "metadata.finalizers",
            &finalizers.into(),
            text,
        ));
    }
}

fn check_owners(owners: &Value, errors: &mut Vec<FieldError>) {
    let mut controller: Option<&Value> = None;
    for (index, owner) in owners.as_array().into_iter().flatten().enumerate() {
        for (field, text) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                let path = format!("metadata.ownerReferences[{index}].{field}");
                errors.push(FieldError::invalid(path, &"".into(), text));
            }
        }
        if owner["controller"] != true {
            continue;
        }
        match controller {
            None => controller = Some(owner),
            Some(first) => {
                let text = |owner: &Value, field: &str| {
                    owner[field].as_str().unwrap_or_default().to_owned()
                };
                let text = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
                    text(first, "kind"),
                    text(first, "name"),
                    text(owner, "kind"),
                    text(owner, "name"),
                );
                let value = go_owners(owners);
                errors.push(FieldError::invalid_omitted(
                    "metadata.ownerReferences",
                    &format!("{value}: {text}"),
                ));
            }
        }
    }
}

/// Owner references as Go prints them: fields in the order of the type.
fn go_owners(owners: &Value) -> String {
    let fields = [
        "apiVersion",
        "kind",
        "name",
        "uid",
        "controller",
        "blockOwnerDeletion",
    ];
    let texts: Vec<String> = owners
        .as_array()
        .into_iter()
        .flatten()
        .map(|owner| {
            let present = fields
                .iter()
                .filter_map(|field| Some(format!("\"{field}\":{}", owner.get(*field)?)));
            format!("{{{}}}", present.collect::<Vec<_>>().join(","))
        })
        .collect();
    format!("[{}]", texts.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::Registry;

    fn errors(kind: (&str, &str), object: &Value) -> Vec<String> {
        let registry = Registry::builtin();
        let resource = registry.find("", kind.0, kind.1).unwrap();
        check_new(resource, object)
            .iter()
            .map(|error| error.field.clone())
            .collect()
    }

    #[test]
    fn names_follow_the_rule_of_their_kind() {
        let named = |name: &str| json!({"metadata": {"name": name}});
        assert!(errors(("v1", "configmaps"), &named("a.b-c")).is_empty());
        assert_eq!(
            errors(("v1", "namespaces"), &named("a.b")),
            ["metadata.name"]
        );
        assert_eq!(errors(("v1", "services"), &named("1a")), ["metadata.name"]);
        assert_eq!(errors(("v1", "configmaps"), &named("")), ["metadata.name"]);
    }

    #[test]
    fn a_finalizer_needs_a_domain_unless_it_is_a_standard_one() {
        let held = json!({"metadata": {"name": "a", "finalizers": ["orphan", "hold", "a.b/c"]}});
        assert_eq!(
            errors(("v1", "configmaps"), &held),
            ["metadata.finalizers[1]"]
        );
    }

    #[test]
    fn labels_are_checked_by_key_and_value() {
        let labelled =
            json!({"metadata": {"name": "a", "labels": {"a.b/c": "d", "-": "x", "y": "!"}}});
        assert_eq!(
            errors(("v1", "configmaps"), &labelled),
            ["metadata.labels", "metadata.labels"]
        );
    }
}
