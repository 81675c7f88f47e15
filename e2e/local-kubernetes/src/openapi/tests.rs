use super::*;

fn recorded() -> (Value, Value) {
    let transcript: Vec<Value> = serde_json::from_str(include_str!(
        "../../tests/transcripts/custom-resources.json"
    ))
    .expect("the transcript is JSON");
    let find = |name: &str| {
        transcript
            .iter()
            .find(|exchange| exchange["name"] == name)
            .expect("the exchange")
            .clone()
    };
    let definition = find("CRD create")["request"]["body"].clone();
    (
        definition,
        find("openapi v3 of the group")["response"]["body"].clone(),
    )
}

/// A document without the wording of its parameters.
fn without_descriptions(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("description");
            fields.values_mut().for_each(without_descriptions);
        }
        Value::Array(items) => {
            items.retain(|item| item["name"] != "shardSelector");
            items.iter_mut().for_each(without_descriptions);
            if items.iter().all(|item| item["name"].is_string()) {
                items.sort_by_key(|item| item["name"].to_string());
            }
        }
        _ => {}
    }
}

#[test]
fn a_custom_group_is_described_as_recorded() {
    let (definition, mut expected) = recorded();
    let selectable = ["spec.tier".to_owned()];
    let openapi = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    let served = Served {
        group: "demo.example.com",
        version: "v1alpha1",
        kind: "Shelf",
        list_kind: "ShelfList",
        plural: "shelves",
        namespaced: true,
        status: true,
        scale: true,
        source: Source::Custom {
            openapi,
            selectable: &selectable,
        },
    };
    let mut built = document(&[served]);
    let shelf = "com.example.demo.v1alpha1.Shelf";
    assert_eq!(
        built["components"]["schemas"][shelf],
        expected["components"]["schemas"][shelf]
    );
    without_descriptions(&mut built);
    without_descriptions(&mut expected);
    let paths = |document: &Value| document["paths"].as_object().cloned().unwrap_or_default();
    assert_eq!(
        paths(&built).keys().collect::<Vec<_>>(),
        paths(&expected).keys().collect::<Vec<_>>()
    );
    let mut different = Vec::new();
    for (path, item) in paths(&expected) {
        for (verb, operation) in item.as_object().into_iter().flatten() {
            if built["paths"][&path][verb] != *operation {
                different.push(format!(
                    "{verb} {path}\n{}\n{operation}",
                    built["paths"][&path][verb]
                ));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    let names = |document: &Value| -> Vec<String> {
        document["components"]["schemas"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect()
    };
    // Sharded lists are not served.
    let expected: Vec<String> = names(&expected)
        .into_iter()
        .filter(|name| !name.ends_with(".ShardInfo"))
        .collect();
    let missing: Vec<&String> = expected
        .iter()
        .filter(|name| !names(&built).contains(name))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
}

fn builtin<'a>(group: &'a str, kind: &'a str, list_kind: &'a str, plural: &'a str) -> Served<'a> {
    Served {
        group,
        version: "v1",
        kind,
        list_kind,
        plural,
        namespaced: true,
        status: true,
        scale: false,
        source: Source::Builtin,
    }
}

#[test]
fn a_built_in_group_explains_its_kinds_and_every_reference_resolves() {
    let document = document(&[
        builtin("", "Pod", "PodList", "pods"),
        builtin("", "Service", "ServiceList", "services"),
    ]);
    let schemas = document["components"]["schemas"]
        .as_object()
        .expect("schemas");
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(
        (
            &containers["x-kubernetes-patch-merge-key"],
            &containers["x-kubernetes-list-type"]
        ),
        (&json!("name"), &json!("map"))
    );
    assert!(
        containers["description"]
            .as_str()
            .is_some_and(|text| text.starts_with("List of containers belonging to the pod."))
    );
    assert!(containers.get("default").is_none());
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(schemas.contains_key(name), "{name}");
    }
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    let names: Vec<&Value> = patch["parameters"]
        .as_array()
        .expect("parameters")
        .iter()
        .map(|parameter| &parameter["name"])
        .collect();
    assert_eq!(
        names,
        ["dryRun", "fieldManager", "fieldValidation", "force"]
    );
}

#[test]
fn the_index_points_to_documents_by_their_hash() {
    let document = json!({"openapi": "3.0.0"});
    let index = index([
        (document_path("apps", "v1"), &document),
        (document_path("", "v1"), &document),
    ]);
    let url = format!("/openapi/v3/apis/apps/v1?hash={}", hash(&document));
    assert_eq!(
        index["paths"]["apis/apps/v1"]["serverRelativeURL"],
        url.as_str()
    );
    assert!(index["paths"]["api/v1"].is_object());
}
