//! Strategic merge patch: a merge patch that knows which lists are merged, and by which key.
//!
//! Besides nulls (which delete), patches may contain `$patch: replace|delete|merge` in objects and list items, `$deleteFromPrimitiveList/F`,
//! `$setElementOrder/F` and `$retainKeys`. Pure.

mod lists;

use serde_json::{Map, Value};

use crate::schema::Schema;

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

/// Why a patch was refused; Kubernetes answers 400 or 500 with these words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// `$patch` is none of `replace`, `delete` and `merge`.
    #[error("unknown patch type found: {0}")]
    UnknownDirective(String),
    /// An item of a keyed list has no key.
    #[error("map: {item} does not contain declared merge key: {key}")]
    MissingKey {
        /// The item, as JSON.
        item: String,
        /// The key.
        key: String,
    },
    /// A directive has the wrong type.
    #[error("invalid value for {0} directive")]
    BadDirective(String),
    /// The patch sets a field that its `$retainKeys` does not list.
    #[error("precondition failed for: retainKeys list doesn't contain {0}")]
    NotRetained(String),
}

/// The object with the patch merged into it.
///
/// # Errors
/// `PatchError` for malformed directives and keyed items without a key.
pub fn merge(schema: &Schema, object: &Value, patch: &Value) -> Result<Value, PatchError> {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            Ok(merge_objects(Some(schema), object.clone(), patch.clone())?.into())
        }
        _ => Ok(patch.clone()),
    }
}

fn merge_objects(
    schema: Option<&Schema>,
    mut object: Map<String, Value>,
    mut patch: Map<String, Value>,
) -> Result<Map<String, Value>, PatchError> {
    if let Some(directive) = patch.remove(PATCH) {
        match directive.as_str() {
            Some("replace") => return Ok(without_directives_object(patch)),
            Some("delete") => return Ok(Map::new()),
            Some("merge") => {}
            _ => return Err(PatchError::UnknownDirective(directive.to_string())),
        }
    }
    retain_keys(&mut object, &mut patch)?;
    let directives = take_list_directives(&mut patch)?;
    for (name, change) in patch {
        let known = schema
            .and_then(|schema| schema.field(&name))
            .map(AsRef::as_ref);
        let order = directives.order_of(&name);
        match (object.remove(&name), change) {
            (_, Value::Null) => {}
            (Some(Value::Object(old)), Value::Object(new))
                if !known.is_some_and(|known| known.patch.replace) =>
            {
                object.insert(name, merge_objects(known, old, new)?.into());
            }
            (Some(Value::Array(old)), Value::Array(new))
                if known.is_some_and(|known| known.patch.merge) =>
            {
                object.insert(name, lists::merge_lists(known, &old, new, order)?.into());
            }
            (None, Value::Array(new)) if known.is_some_and(|known| known.patch.merge) => {
                object.insert(name, lists::merge_lists(known, &[], new, order)?.into());
            }
            (_, change) => {
                object.insert(name, without_directives(change));
            }
        }
    }
    directives.finish(schema, &mut object)?;
    Ok(object)
}

/// Directives about lists that stand beside them.
#[derive(Default)]
struct ListDirectives {
    deletions: Vec<(String, Vec<Value>)>,
    orders: Vec<(String, Vec<Value>)>,
}

impl ListDirectives {
    fn order_of(&self, field: &str) -> Option<&[Value]> {
        self.orders
            .iter()
            .find(|(name, _)| name == field)
            .map(|(_, order)| order.as_slice())
    }

    /// Applies what concerns lists that the patch itself did not contain, and deletions.
    fn finish(
        &self,
        schema: Option<&Schema>,
        object: &mut Map<String, Value>,
    ) -> Result<(), PatchError> {
        for (name, gone) in &self.deletions {
            if let Some(list) = object.get_mut(name).and_then(Value::as_array_mut) {
                list.retain(|item| !gone.contains(item));
            }
        }
        for (name, order) in &self.orders {
            let known = schema
                .and_then(|schema| schema.field(name))
                .map(AsRef::as_ref);
            if let Some(list) = object.get_mut(name).and_then(Value::as_array_mut) {
                let items = std::mem::take(list);
                *list = lists::reorder(known, items.clone(), order, &items)?;
            }
        }
        Ok(())
    }
}

fn take_list_directives(patch: &mut Map<String, Value>) -> Result<ListDirectives, PatchError> {
    let mut directives = ListDirectives::default();
    let names: Vec<String> = patch
        .keys()
        .filter(|name| name.starts_with(DELETE_FROM) || name.starts_with(ELEMENT_ORDER))
        .cloned()
        .collect();
    for name in names {
        let Some(Value::Array(values)) = patch.remove(&name) else {
            return Err(PatchError::BadDirective(name));
        };
        if let Some(field) = name.strip_prefix(DELETE_FROM) {
            directives.deletions.push((field.to_owned(), values));
        } else if let Some(field) = name.strip_prefix(ELEMENT_ORDER) {
            directives.orders.push((field.to_owned(), values));
        }
    }
    Ok(directives)
}

fn retain_keys(
    object: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), PatchError> {
    let Some(retained) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Some(retained) = retained.as_array() else {
        return Err(PatchError::BadDirective(RETAIN_KEYS.to_owned()));
    };
    let is_retained = |name: &str| retained.iter().any(|kept| kept.as_str() == Some(name));
    let lost = patch
        .iter()
        .find(|(name, value)| !value.is_null() && !name.starts_with('$') && !is_retained(name));
    if let Some((name, _)) = lost {
        return Err(PatchError::NotRetained(name.clone()));
    }
    object.retain(|name, _| is_retained(name));
    Ok(())
}

/// What a patch says about something that is not there yet: its values without nulls and directives.
fn without_directives(patch: Value) -> Value {
    match patch {
        Value::Object(fields) => without_directives_object(fields).into(),
        Value::Array(items) => items
            .into_iter()
            .filter(|item| {
                item.get(PATCH)
                    .and_then(Value::as_str)
                    .is_none_or(|directive| directive == "merge")
            })
            .map(without_directives)
            .collect(),
        other => other,
    }
}

fn without_directives_object(fields: Map<String, Value>) -> Map<String, Value> {
    fields
        .into_iter()
        .filter(|(name, value)| {
            let directive = name == PATCH
                || name == RETAIN_KEYS
                || name.starts_with(DELETE_FROM)
                || name.starts_with(ELEMENT_ORDER);
            !directive && !value.is_null()
        })
        .map(|(name, value)| (name, without_directives(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::schema::builtin;

    fn patched(kind: (&str, &str), object: &Value, patch: &Value) -> Value {
        merge(
            builtin(kind.0, "v1", kind.1).expect("a built-in kind"),
            object,
            patch,
        )
        .expect("a good patch")
    }

    fn pod(containers: &Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn items_of_keyed_lists_merge_by_their_key() {
        let live = pod(&json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]));
        let patch = pod(&json!([{"name": "b", "image": "2"}, {"name": "c", "image": "3"}]));
        let expected = pod(
            &json!([{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c", "image": "3"}]),
        );
        assert_eq!(patched(("", "Pod"), &live, &patch), expected);
    }

    #[test]
    fn an_item_is_deleted_and_a_list_replaced_by_directive() {
        let live = pod(&json!([{"name": "a"}, {"name": "b"}]));
        let delete = pod(&json!([{"name": "a", "$patch": "delete"}]));
        assert_eq!(
            patched(("", "Pod"), &live, &delete),
            pod(&json!([{"name": "b"}]))
        );
        let replace = pod(&json!([{"name": "x"}, {"$patch": "replace"}]));
        assert_eq!(
            patched(("", "Pod"), &live, &replace),
            pod(&json!([{"name": "x"}]))
        );
    }

    #[test]
    fn new_items_come_before_those_that_the_patch_does_not_name() {
        let live = json!({"spec": {"ports": [{"port": 81}, {"port": 80}]}});
        let patch = json!({"spec": {"ports": [{"port": 81, "$patch": "delete"}, {"port": 90}]}});
        let expected = json!({"spec": {"ports": [{"port": 90}, {"port": 80}]}});
        assert_eq!(patched(("", "Service"), &live, &patch), expected);
    }

    #[test]
    fn an_object_is_replaced_or_emptied_by_directive() {
        let live = json!({"data": {"a": "1", "b": "2"}});
        let replace = json!({"data": {"$patch": "replace", "c": "3"}});
        assert_eq!(
            patched(("", "ConfigMap"), &live, &replace),
            json!({"data": {"c": "3"}})
        );
        let delete = json!({"data": {"$patch": "delete"}});
        assert_eq!(
            patched(("", "ConfigMap"), &live, &delete),
            json!({"data": {}})
        );
        let schema = builtin("", "v1", "ConfigMap").expect("ConfigMap is built in");
        let unknown = merge(schema, &live, &json!({"data": {"$patch": "nope"}}))
            .expect_err("an unknown directive");
        assert_eq!(unknown.to_string(), "unknown patch type found: \"nope\"");
    }

    #[test]
    fn finalizers_are_a_set_that_grows_and_shrinks() {
        let live = json!({"metadata": {"finalizers": ["a", "b"]}});
        let add = json!({"metadata": {"finalizers": ["b", "c"]}});
        assert_eq!(
            patched(("", "ConfigMap"), &live, &add),
            json!({"metadata": {"finalizers": ["a", "b", "c"]}})
        );
        let remove = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}});
        assert_eq!(
            patched(("", "ConfigMap"), &live, &remove),
            json!({"metadata": {"finalizers": ["b"]}})
        );
    }

    #[test]
    fn the_order_of_items_can_be_asked_for() {
        let live = pod(&json!([{"name": "a"}, {"name": "b"}]));
        let patch = json!({"spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
            "containers": [{"name": "c"}],
        }});
        assert_eq!(
            patched(("", "Pod"), &live, &patch),
            pod(&json!([{"name": "c"}, {"name": "b"}, {"name": "a"}]))
        );
    }

    #[test]
    fn retained_keys_drop_the_others() {
        let live = json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
        let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
        assert_eq!(
            patched(("apps", "Deployment"), &live, &patch),
            json!({"spec": {"strategy": {"type": "Recreate"}}})
        );
    }

    #[test]
    fn lists_without_a_strategy_and_missing_fields_are_taken_as_they_are() {
        let live = pod(&json!([{"name": "a", "args": ["1", "2"]}]));
        let patch =
            pod(&json!([{"name": "a", "args": ["3"], "env": [{"name": "E", "value": null}]}]));
        assert_eq!(
            patched(("", "Pod"), &live, &patch),
            pod(&json!([{"name": "a", "args": ["3"], "env": [{"name": "E"}]}]))
        );
    }

    #[test]
    fn an_item_without_its_key_is_refused() {
        let schema = builtin("", "v1", "Pod").expect("Pod is built in");
        let live = pod(&json!([{"name": "a"}]));
        let error = merge(schema, &live, &pod(&json!([{"image": "x"}]))).expect_err("no key");
        assert_eq!(
            error.to_string(),
            r#"map: {"image":"x"} does not contain declared merge key: name"#
        );
    }

    fn pods() -> impl Strategy<Value = Value> {
        let container =
            ("[abc]", "[12]").prop_map(|(name, image)| json!({"name": name, "image": image}));
        prop::collection::vec(container, 0..4).prop_map(|mut containers| {
            let mut seen = std::collections::BTreeSet::new();
            containers.retain(|container| seen.insert(container["name"].to_string()));
            pod(&containers.into())
        })
    }

    proptest! {
        #[test]
        fn an_empty_patch_and_the_object_itself_change_nothing(live in pods()) {
            prop_assert_eq!(patched(("", "Pod"), &live, &json!({})), live.clone());
            prop_assert_eq!(patched(("", "Pod"), &live, &live), live);
        }

        #[test]
        fn patching_twice_is_patching_once(live in pods(), patch in pods()) {
            let once = patched(("", "Pod"), &live, &patch);
            prop_assert_eq!(patched(("", "Pod"), &once, &patch), once);
        }
    }
}
