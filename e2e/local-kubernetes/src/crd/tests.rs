use serde_json::Value;

use super::*;
use crate::validation::{FieldError, invalid_status};

fn transcript() -> Vec<Value> {
    serde_json::from_str(include_str!(
        "../../tests/transcripts/custom-resources.json"
    ))
    .expect("the transcript is JSON")
}

fn shelves() -> Definition {
    let transcript = transcript();
    let created = transcript
        .iter()
        .find(|exchange| exchange["name"] == "CRD create")
        .expect("the definition is created");
    let mut definition = created["request"]["body"].clone();
    default_definition(&mut definition);
    assert_eq!(validate_definition(&definition), []);
    Definition::compile(&definition).expect("a valid definition")
}

fn same_refusal(name: &str, answered: &Value, expected: &Value) {
    for part in ["message", "details", "code", "reason"] {
        assert_eq!(answered[part], expected[part], "{name}: {part}");
    }
}

#[test]
fn bad_definitions_are_refused_as_recorded() {
    let mut checked = 0;
    for exchange in transcript() {
        let url = exchange["request"]["path"].as_str().expect("a path");
        if !url.ends_with("/customresourcedefinitions") || exchange["response"]["status"] != 422 {
            continue;
        }
        let mut definition = exchange["request"]["body"].clone();
        default_definition(&mut definition);
        let name = definition["metadata"]["name"]
            .as_str()
            .expect("a name")
            .to_owned();
        let errors = validate_definition(&definition);
        let status = invalid_status(
            "apiextensions.k8s.io",
            "CustomResourceDefinition",
            &name,
            &errors,
        );
        same_refusal(
            &exchange["name"].to_string(),
            &status,
            &exchange["response"]["body"],
        );
        checked += 1;
    }
    assert_eq!(checked, 3);
}

#[test]
fn objects_are_completed_and_refused_as_recorded() {
    let definition = shelves();
    let version = definition.storage().expect("a storage version");
    let mut checked = 0;
    for exchange in transcript() {
        let (request, response) = (&exchange["request"], &exchange["response"]);
        let url = request["path"].as_str().expect("a path");
        if request["method"] != "POST" || !url.contains("/shelves") {
            continue;
        }
        let mut object = request["body"].clone();
        let unknown = version.unknown_fields(&object);
        if response["status"] == 400 {
            let message = response["body"]["message"].as_str().expect("a message");
            assert!(
                message.ends_with(&format!("unknown field \"{}\"", unknown[0])),
                "{message}"
            );
            checked += 1;
            continue;
        }
        if let Some(object) = object.as_object_mut() {
            object.remove("status");
        }
        version.complete(&mut object);
        let errors = version.validate_create(&object);
        let name = object["metadata"]["name"].as_str().expect("a name");
        if response["status"] == 201 {
            assert_eq!(errors, [], "{}", exchange["name"]);
            assert_eq!(
                object["spec"], response["body"]["spec"],
                "{}",
                exchange["name"]
            );
        } else {
            let status = invalid_status(&definition.group, &definition.kind, name, &errors);
            same_refusal(&exchange["name"].to_string(), &status, &response["body"]);
        }
        checked += 1;
    }
    assert!(checked >= 15, "only {checked} exchanges were compared");
}

#[test]
fn updates_are_refused_as_recorded() {
    let definition = shelves();
    let version = definition.storage().expect("a storage version");
    let transcript = transcript();
    let answer = |name: &str| {
        transcript
            .iter()
            .find(|exchange| exchange["name"] == name)
            .map(|exchange| exchange["response"]["body"].clone())
    };
    let live = answer("status apply").expect("a live object");
    let check = |name: &str, errors: &[FieldError]| {
        let status = invalid_status(&definition.group, &definition.kind, "a", errors);
        same_refusal(name, &status, &answer(name).expect("an answer"));
    };
    let changed = |pointer: &str, value: Value| {
        let mut new = live.clone();
        *new.pointer_mut(pointer).expect("a field") = value;
        new
    };
    check(
        "transition rule",
        &version.validate_update(&changed("/spec/tier", "Gold".into()), &live),
    );
    let mut shrunk = changed("/spec/shards", 4.into());
    shrunk["spec"]["allowShrink"] = false.into();
    check("shrink refused", &version.validate_update(&shrunk, &live));
    check(
        "scale below minimum",
        &version.validate_update(&changed("/spec/shards", 0.into()), &live),
    );
    check(
        "scale negative",
        &version.validate_update(&changed("/spec/shards", (-1).into()), &live),
    );
    check(
        "status bad value",
        &version.validate_status_update(&changed("/status/shards", "x".into()), &live),
    );
    assert_eq!(
        version.validate_update(&changed("/spec/shards", 6.into()), &live),
        []
    );
}

#[test]
fn an_old_mistake_does_not_stop_other_changes() {
    let definition = shelves();
    let version = definition.storage().expect("a storage version");
    let old = json!({"metadata": {"name": "a"}, "spec": {"shards": 900, "replicasPerShard": 1, "allowShrink": true}});
    let mut new = old.clone();
    new["spec"]["replicasPerShard"] = 2.into();
    assert_eq!(version.validate_update(&new, &old), []);
    new["spec"]["shards"] = 901.into();
    assert_eq!(version.validate_update(&new, &old).len(), 1);
}

#[test]
fn an_established_definition_says_so() {
    let transcript = transcript();
    let established = transcript
        .iter()
        .find(|exchange| exchange["name"] == "CRD established")
        .expect("the definition is read");
    let body = &established["response"]["body"];
    assert_eq!(established_status(body, "<time>"), body["status"]);
}

#[test]
fn a_definition_says_where_it_is_wrong() {
    let mut definition = json!({
        "metadata": {"name": "as.b.c"},
        "spec": {
            "group": "b.c", "scope": "Global", "names": {"plural": "as", "kind": "A", "listKind": "A"},
            "versions": [{
                "name": "v1", "served": true, "storage": false,
                "additionalPrinterColumns": [{"name": "X", "type": "text", "jsonPath": "spec"}],
                "subresources": {"scale": {"specReplicasPath": ".status.x", "statusReplicasPath": ".status.x"}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "list": {"type": "array", "x-kubernetes-list-type": "map", "items": {"type": "object"}},
                    "map": {"type": "object", "additionalProperties": false},
                    "number": {"type": "integer", "default": "x"},
                    "text": {"type": "string", "pattern": "("},
                }}},
            }],
        },
    });
    default_definition(&mut definition);
    let fields: Vec<String> = validate_definition(&definition)
        .into_iter()
        .map(|error| error.field)
        .collect();
    let schema = "spec.validation.openAPIV3Schema.properties";
    let expected = [
        "spec.scope".to_owned(),
        "spec.names.listKind".to_owned(),
        "spec.versions".to_owned(),
        format!("{schema}[list].x-kubernetes-list-map-keys"),
        format!("{schema}[map].additionalProperties"),
        format!("{schema}[number].default"),
        format!("{schema}[text].pattern"),
        "spec.additionalPrinterColumns[0].type".to_owned(),
        "spec.additionalPrinterColumns[0].jsonPath".to_owned(),
        "spec.subresources.scale.specReplicasPath".to_owned(),
    ];
    assert_eq!(fields, expected);
}
