use serde_json::json;

use super::*;
use crate::{schema, validation::invalid_status};

const TRANSCRIPTS: [&str; 3] = [
    include_str!("../../tests/transcripts/objects.json"),
    include_str!("../../tests/transcripts/apply.json"),
    include_str!("../../tests/transcripts/workloads.json"),
];

fn decoded(group: &str, kind: &str, object: &Value) -> Value {
    let mut object = object.clone();
    let schema = schema::builtin(group, "v1", kind).expect("a built-in kind");
    schema::canonical(schema, &mut object);
    default(group, kind, &mut object);
    object
}

/// Everything but what the server itself adds to metadata and allocates.
fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| {
            matches!(
                field.as_str(),
                "name" | "labels" | "annotations" | "generateName" | "finalizers"
            )
        });
        if metadata.get("generateName").is_some() {
            metadata.remove("name");
        }
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.retain(|field, value| {
            !matches!(field.as_str(), "clusterIP" | "clusterIPs")
                || value.to_string().contains("None")
        });
    }
    object
}

#[test]
fn new_objects_are_completed_or_refused_as_recorded() {
    let (mut created, mut refused) = (0, 0);
    for exchange in TRANSCRIPTS
        .iter()
        .flat_map(|text| serde_json::from_str::<Vec<Value>>(text).expect("the transcript is JSON"))
    {
        let (request, response) = (&exchange["request"], &exchange["response"]);
        let body = &request["body"];
        let (api_version, kind) = (
            body["apiVersion"].as_str().unwrap_or_default(),
            body["kind"].as_str().unwrap_or_default(),
        );
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        if request["method"] != "POST"
            || schema::builtin(group, "v1", kind).is_none()
            || kind == "Eviction"
        {
            continue;
        }
        let mut object = decoded(group, kind, body);
        let name = exchange["name"].to_string();
        match response["status"].as_i64() {
            Some(201) => {
                assert_eq!(validate_create(group, kind, &named(&object)), [], "{name}");
                prepare_create(group, kind, &mut object);
                assert_eq!(comparable(&object), comparable(&response["body"]), "{name}");
                created += 1;
            }
            Some(422) => {
                let errors = validate_create(group, kind, &object);
                let status = invalid_status(
                    group,
                    kind,
                    object["metadata"]["name"].as_str().unwrap_or_default(),
                    &errors,
                );
                assert_eq!(status["message"], response["body"]["message"], "{name}");
                assert_eq!(
                    status["details"]["causes"], response["body"]["details"]["causes"],
                    "{name}"
                );
                refused += 1;
            }
            _ => {}
        }
    }
    assert!(
        created >= 8 && refused >= 7,
        "{created} created, {refused} refused"
    );
}

/// The object with the name that the server would generate.
fn named(object: &Value) -> Value {
    let mut object = object.clone();
    if object["metadata"]["name"].is_null() {
        object["metadata"]["name"] = "generated".into();
    }
    object
}

fn stateful_set() -> Value {
    decoded(
        "apps",
        "StatefulSet",
        &json!({
            "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"},
            "spec": {
                "serviceName": "h", "selector": {"matchLabels": {"app": "x"}},
                "template": {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "d", "mountPath": "/data"}]}]}},
                "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}],
            },
        }),
    )
}

#[test]
fn most_of_a_stateful_set_is_immutable() {
    let old = stateful_set();
    assert_eq!(validate_create("apps", "StatefulSet", &old), []);
    let mut new = old.clone();
    new["spec"]["replicas"] = 5.into();
    new["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 5.into();
    assert_eq!(validate_update("apps", "StatefulSet", &new, &old, ""), []);
    new["spec"]["serviceName"] = "other".into();
    let errors = validate_update("apps", "StatefulSet", &new, &old, "");
    assert!(errors[0].to_string().starts_with(
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas'"
    ));
}

#[test]
fn the_address_of_a_service_does_not_change() {
    let mut old = decoded(
        "",
        "Service",
        &json!({"metadata": {"name": "v"}, "spec": {"clusterIP": "10.96.1.1", "ports": [{"port": 80}]}}),
    );
    prepare_create("", "Service", &mut old);
    let mut kept = decoded(
        "",
        "Service",
        &json!({"metadata": {"name": "v"}, "spec": {"ports": [{"port": 81}]}}),
    );
    prepare_update("", "Service", &mut kept, &old);
    assert_eq!(kept["spec"]["clusterIPs"], json!(["10.96.1.1"]));
    assert_eq!(validate_update("", "Service", &kept, &old, ""), []);
    let mut moved = old.clone();
    moved["spec"]["clusterIP"] = "10.96.7.7".into();
    prepare_update("", "Service", &mut moved, &old);
    let errors = validate_update("", "Service", &moved, &old, "");
    assert_eq!(
        errors[0].to_string(),
        r#"spec.clusterIPs[0]: Invalid value: ["10.96.7.7"]: may not change once set"#
    );
}

#[test]
fn a_pod_says_where_it_is_wrong() {
    let pod = decoded(
        "",
        "Pod",
        &json!({
            "metadata": {"name": "p", "labels": {"a": "not ok!"}},
            "spec": {
                "restartPolicy": "Sometimes",
                "containers": [
                    {"name": "C", "ports": [{"containerPort": 99999}], "volumeMounts": [{"name": "data", "mountPath": "/d"}]},
                    {"name": "ok", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}, "readinessProbe": {}},
                ],
            },
        }),
    );
    let fields: Vec<String> = validate_create("", "Pod", &pod)
        .into_iter()
        .map(|error| error.field)
        .collect();
    let expected = [
        "metadata.labels",
        "spec.containers[0].name",
        "spec.containers[0].image",
        "spec.containers[0].ports[0].containerPort",
        "spec.containers[0].volumeMounts[0].name",
        "spec.containers[1].readinessProbe",
        "spec.containers[1].resources.requests",
        "spec.restartPolicy",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn only_the_image_of_a_pod_may_change() {
    let old = decoded(
        "",
        "Pod",
        &json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a:1"}]}}),
    );
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = "a:2".into();
    assert_eq!(validate_update("", "Pod", &new, &old, ""), []);
    new["spec"]["containers"][0]["command"] = json!(["/x"]);
    let errors = validate_update("", "Pod", &new, &old, "");
    assert!(errors[0].to_string().starts_with(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    ));
}

#[test]
fn defaults_of_probes_volumes_and_requests_are_those_of_kubernetes() {
    let pod = decoded(
        "",
        "Pod",
        &json!({"metadata": {"name": "p"}, "spec": {
            "volumes": [{"name": "a"}, {"name": "b", "configMap": {"name": "c"}}],
            "containers": [{
                "name": "c", "image": "a", "resources": {"limits": {"cpu": "1"}},
                "readinessProbe": {"httpGet": {"port": 80}}, "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            }],
        }}),
    );
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(
        container["resources"],
        json!({"limits": {"cpu": "1"}, "requests": {"cpu": "1"}})
    );
    let probe = json!({
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    });
    assert_eq!(container["readinessProbe"], probe);
    assert_eq!(
        container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"],
        "v1"
    );
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "c", "defaultMode": 420}}])
    );
}

#[test]
fn a_secret_takes_text_and_keeps_its_type() {
    let old = decoded(
        "",
        "Secret",
        &json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
    );
    assert_eq!(
        (&old["type"], &old["data"], &old["stringData"]),
        (&json!("Opaque"), &json!({"a": "Yg=="}), &Value::Null)
    );
    let mut new = old.clone();
    new["type"] = "other".into();
    assert_eq!(
        validate_update("", "Secret", &new, &old, "")[0].to_string(),
        r#"type: Invalid value: "other": field is immutable"#
    );
}

#[test]
fn roles_and_bindings_are_checked() {
    let group = "rbac.authorization.k8s.io";
    let role = decoded(
        group,
        "Role",
        &json!({"metadata": {"name": "system:x"}, "rules": [{"verbs": []}]}),
    );
    let fields: Vec<String> = validate_create(group, "Role", &role)
        .into_iter()
        .map(|error| error.field)
        .collect();
    assert_eq!(
        fields,
        ["rules[0].verbs", "rules[0].apiGroups", "rules[0].resources"]
    );
    let binding = decoded(
        group,
        "RoleBinding",
        &json!({
            "metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}],
        }),
    );
    assert_eq!(binding["subjects"][0]["apiGroup"], group);
    assert_eq!(validate_create(group, "RoleBinding", &binding), []);
    let mut other = binding.clone();
    other["roleRef"]["name"] = "q".into();
    assert!(
        validate_update(group, "RoleBinding", &other, &binding, "")[0]
            .message
            .ends_with("cannot change roleRef")
    );
}
