//! The chart says what it promises, for default and for other values.

use super::*;

fn release() -> Release {
    Release {
        name: "evenkeel".into(),
        namespace: "evenkeel-system".into(),
    }
}

fn find<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind)
        .unwrap_or_else(|| panic!("no {kind}"))
}

#[test]
fn every_template_of_the_chart_is_compiled_in() {
    let mut on_disk: Vec<String> = std::fs::read_dir(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../charts/evenkeel/templates"
    ))
    .unwrap()
    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
    .filter(|name| name.ends_with(".yaml"))
    .collect();
    on_disk.sort();
    assert_eq!(on_disk, TEMPLATES.map(|(name, _)| name.to_owned()));
}

#[test]
fn default_values_make_a_restricted_deployment() {
    let objects = render(&release(), &json!({})).unwrap();
    let kinds: Vec<_> = objects
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "PodDisruptionBudget",
            "ServiceAccount",
            "ClusterRole",
            "ClusterRole",
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
            "Service",
            "Deployment"
        ]
    );
    let deployment = find(&objects, "Deployment");
    assert_eq!(deployment["metadata"]["name"], "evenkeel");
    assert_eq!(deployment["metadata"]["namespace"], "evenkeel-system");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let container = &pod["containers"][0];
    assert_eq!(container["image"], "ghcr.io/evenkeel/cache-operator:0.1.0");
    assert_eq!(
        container["securityContext"]["capabilities"]["drop"],
        json!(["ALL"])
    );
    assert_eq!(
        container["securityContext"]["allowPrivilegeEscalation"],
        false
    );
    assert_eq!(container["args"][1], "--metrics-addr=$(POD_IP):8080");
    assert_eq!(container["resources"]["limits"]["memory"], "256Mi");
    let spread = &pod["topologySpreadConstraints"][0];
    assert_eq!(spread["maxSkew"], 1);
    assert_eq!(
        spread["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"],
        "evenkeel"
    );
    assert_eq!(
        deployment["spec"]["selector"]["matchLabels"],
        json!({"app.kubernetes.io/name": "cache-operator", "app.kubernetes.io/instance": "evenkeel"})
    );
}

#[test]
fn one_namespace_needs_no_cluster_role_for_the_operator() {
    let overrides = yaml(
        "ci",
        include_str!("../../../charts/evenkeel/ci/one-namespace-values.yaml"),
    )
    .unwrap();
    let objects = render(&release(), &overrides).unwrap();
    let role = objects
        .iter()
        .find(|object| object["metadata"]["namespace"] == "caches" && object["kind"] == "Role")
        .unwrap();
    assert_eq!(role["metadata"]["name"], "cache-keeper");
    assert!(
        objects
            .iter()
            .all(|object| object["kind"] != "ClusterRoleBinding")
    );
    let container = &find(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
    assert!(
        container["args"]
            .as_array()
            .unwrap()
            .contains(&json!("--namespace=caches"))
    );
    assert_eq!(
        find(&objects, "PodDisruptionBudget")["spec"]["maxUnavailable"],
        "50%"
    );
    assert_eq!(
        find(&objects, "ServiceAccount")["metadata"]["annotations"]["example.com/owner"],
        "platform"
    );
    assert!(
        notes(&release(), &overrides)
            .unwrap()
            .contains("kubectl -n caches scale cachecluster sessions")
    );
}

#[test]
fn secrets_are_read_only_where_the_operator_votes() {
    let rendered = |votes: bool| {
        let objects = render(&release(), &json!({"witness": {"enabled": votes}})).unwrap();
        let rules = objects
            .iter()
            .filter_map(|object| object["rules"].as_array());
        let rules: Vec<Value> = rules.flatten().cloned().collect();
        let container = &find(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0];
        (rules, container["args"].to_string())
    };
    let verbs = |rules: &[Value], resource: &str| -> Vec<Value> {
        let rules = rules
            .iter()
            .filter(|rule| rule["resources"] == json!([resource]));
        rules
            .flat_map(|rule| rule["verbs"].as_array().unwrap().clone())
            .collect()
    };
    let (rules, arguments) = rendered(true);
    assert_eq!(verbs(&rules, "secrets"), ["create", "get"]);
    assert!(verbs(&rules, "configmaps").contains(&json!("update")));
    assert!(
        arguments.contains("--witness-address=$(POD_IP)"),
        "{arguments}"
    );
    assert!(
        arguments.contains("--witness-ports=16400-16899"),
        "{arguments}"
    );
    let (rules, arguments) = rendered(false);
    assert_eq!(verbs(&rules, "secrets"), ["create"]);
    assert!(!verbs(&rules, "configmaps").contains(&json!("update")));
    assert!(!arguments.contains("witness"), "{arguments}");
}

#[test]
fn no_rule_has_a_wildcard_and_every_rule_has_its_reason() {
    for (name, text) in TEMPLATES {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines
            .iter()
            .enumerate()
            .filter(|(_, line)| line.starts_with("  - apiGroups:"))
        {
            let above = lines[number - 1].trim_start();
            // The second rule of a pair shares the comment of the first.
            assert!(
                above.starts_with("# ") || above.starts_with("verbs:"),
                "{name}:{number}: no reason above {line}"
            );
        }
    }
    for object in render(&release(), &json!({})).unwrap() {
        let rules = object["rules"].to_string();
        assert!(!rules.contains('*'), "{rules}");
    }
}

#[test]
fn the_schema_takes_the_values_and_refuses_others() {
    let schema =
        serde_json::from_str(include_str!("../../../charts/evenkeel/values.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let named = yaml(
        "ci",
        include_str!("../../../charts/evenkeel/ci/one-namespace-values.yaml"),
    )
    .unwrap();
    for good in [
        json!({}),
        named,
        json!({"serviceAccount": {"create": false, "name": "mine"}}),
    ] {
        let values = values(&good).unwrap();
        let errors: Vec<String> = schema
            .iter_errors(&values)
            .map(|error| error.to_string())
            .collect();
        assert!(errors.is_empty(), "{good}: {errors:?}");
    }
    for bad in [
        json!({"replica": 2}),
        json!({"replicas": "two"}),
        json!({"image": {"digest": "x"}}),
        json!({"log": {"format": "xml"}}),
        json!({"serviceAccount": {"create": false}}),
        json!({"metrics": {"port": 0}}),
    ] {
        assert!(!schema.is_valid(&values(&bad).unwrap()), "{bad} was taken");
    }
}

#[test]
fn every_value_is_commented() {
    let mut above = "";
    for line in VALUES.lines() {
        let key = line.strip_prefix("  ").unwrap_or(line);
        let has_value =
            key.starts_with(|first: char| first.is_ascii_alphabetic()) && !key.ends_with(':');
        assert!(
            !has_value || above.trim_start().starts_with("# "),
            "no comment above: {line}"
        );
        above = line;
    }
}

#[test]
fn a_missing_service_account_name_is_refused_by_the_template_too() {
    let error = render(&release(), &json!({"serviceAccount": {"create": false}})).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("serviceAccount.name must be given"),
        "{error}"
    );
}

#[test]
fn the_charts_crds_are_the_generated_ones() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let read = |folder: &str| -> BTreeMap<_, _> {
        std::fs::read_dir(format!("{root}/{folder}"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (
                    path.file_name().unwrap().to_owned(),
                    std::fs::read_to_string(&path).unwrap(),
                )
            })
            .collect()
    };
    assert!(
        read("crds") == read("charts/evenkeel/crds"),
        "copy crds/* to charts/evenkeel/crds/"
    );
}
