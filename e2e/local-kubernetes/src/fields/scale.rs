//! Ownership of the replica count that is written through the scale subresource.

use serde_json::Value;

use super::{FieldSet, Manager, Managers, Operation, Owned, PathElement};

/// The managers of an object whose replica count (at `replicas_path`, as `.spec.replicas`) was changed through its scale subresource:
/// the writer takes the field from everybody else, under the object's own version and without a time, as Kubernetes records it.
pub fn update_scale(
    managed_fields: Option<&Value>,
    api_version: &str,
    manager: &str,
    replicas_path: &str,
) -> Vec<Value> {
    let Some(mut managers) =
        Managers::decode(managed_fields).filter(|managers| !managers.0.is_empty())
    else {
        return managed_fields
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
    };
    let path: Vec<PathElement> = replicas_path
        .trim_start_matches('.')
        .split('.')
        .map(|name| PathElement::Field(name.to_owned()))
        .collect();
    let mut replicas = FieldSet::default();
    replicas.insert(&path);
    for owned in managers.0.values_mut() {
        owned.fields = owned.fields.difference(&replicas);
    }
    let writer = Manager {
        name: manager.to_owned(),
        operation: Operation::Update,
        api_version: api_version.to_owned(),
        subresource: "scale".to_owned(),
    };
    managers.0.insert(
        writer,
        Owned {
            fields: replicas,
            api_version: api_version.to_owned(),
            time: None,
        },
    );
    managers.encode()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_writer_takes_the_replica_count_from_everybody() {
        let before = json!([{
            "manager": "op", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}, "f:serviceName": {}}},
        }]);
        let after = update_scale(Some(&before), "apps/v1", "kubectl", ".spec.replicas");
        assert_eq!(
            after[0]["fieldsV1"],
            json!({"f:spec": {"f:serviceName": {}}})
        );
        let expected = json!({
            "manager": "kubectl", "operation": "Update", "apiVersion": "apps/v1", "subresource": "scale",
            "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:replicas": {}}},
        });
        assert_eq!(after[1], expected);
    }
}
