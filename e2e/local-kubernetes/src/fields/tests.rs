use proptest::prelude::*;

use super::*;

fn builtin_write<'a>(kind: &'a str, manager: &'a str, now: &'a str) -> Write<'a> {
    Write {
        schema: schema::builtin("", "v1", kind).expect("a built-in kind"),
        builtin: true,
        api_version: "v1",
        kind,
        manager,
        subresource: "",
        part: if kind == "Service" {
            Part::NotStatus
        } else {
            Part::All
        },
        now,
    }
}

/// The managers with every time replaced, as the transcripts have them, in a fixed order.
fn comparable(object: &Value) -> Vec<Value> {
    let list = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    let mut entries: Vec<Value> = list.cloned().unwrap_or_default();
    for entry in &mut entries {
        if let Some(time) = entry.get_mut("time") {
            *time = "<time>".into();
        }
    }
    entries.sort_by_key(ToString::to_string);
    entries
}

fn query(path: &str, key: &str) -> Option<String> {
    let (_, query) = path.split_once('?')?;
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
}

fn merge_patch(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (name, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("an object").remove(name);
        } else {
            merge_patch(&mut target[name], value);
        }
    }
}

/// What a server stores beside what was asked: identity and the defaults of a Service.
fn complete(object: &mut Value) {
    object["metadata"]["uid"] = "u".into();
    let ports = object
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if port.get("targetPort").is_none() {
            port["targetPort"] = port["port"].clone();
        }
        if port.get("protocol").is_none() {
            port["protocol"] = "TCP".into();
        }
    }
}

#[test]
fn ownership_follows_the_recorded_exchanges() {
    let transcript: Vec<Value> =
        serde_json::from_str(include_str!("../../tests/transcripts/apply.json"))
            .expect("the transcript is JSON");
    let mut objects: std::collections::BTreeMap<String, Value> = std::collections::BTreeMap::new();
    let mut checked = 0;
    for (step, exchange) in transcript.iter().enumerate() {
        let name = exchange["name"].as_str().expect("a name");
        let path = exchange["request"]["path"].as_str().expect("a path");
        let url = path.split('?').next().expect("a path").to_owned();
        let kind = if url.contains("/services/") {
            "Service"
        } else {
            "ConfigMap"
        };
        let manager = query(path, "fieldManager").unwrap_or_else(|| "unknown".to_owned());
        let now = format!("2026-01-01T00:00:{step:02}Z");
        let write = builtin_write(kind, &manager, &now);
        let media = exchange["request"]["headers"]["Content-Type"]
            .as_str()
            .unwrap_or_default();
        let mut body = exchange["request"]["body"].clone();
        if let Some(text) = body.as_str() {
            body = serde_yaml::from_str(text).expect("YAML");
        }
        let live = objects.get(&url).cloned();
        let expected = &exchange["response"]["body"];
        let result = match media {
            "application/apply-patch+yaml" => {
                match apply(&write, live.as_ref(), &body, query(path, "force").is_some()) {
                    Ok(applied) => applied.object,
                    Err(error) if name == "apiVersion missing" || name == "no fieldManager" => {
                        // The server refuses these before it looks at ownership.
                        assert!(!error.to_string().is_empty());
                        continue;
                    }
                    Err(error) => {
                        assert_eq!(&error.status()["message"], &expected["message"], "{name}");
                        assert_eq!(&error.status()["details"], &expected["details"], "{name}");
                        checked += 1;
                        continue;
                    }
                }
            }
            "application/merge-patch+json" => {
                let mut new = live.clone().expect("a live object");
                merge_patch(&mut new, &body);
                update(&write, live.as_ref(), &mut new);
                new
            }
            _ => continue,
        };
        if expected["kind"] == "Status" {
            continue;
        }
        assert_eq!(comparable(&result), comparable(expected), "{name}");
        checked += 1;
        if query(path, "dryRun").is_none() {
            let mut stored = result;
            complete(&mut stored);
            objects.insert(url, stored);
        }
    }
    assert!(checked >= 18, "only {checked} exchanges were compared");
}

#[test]
fn zero_values_of_a_new_object_belong_to_nobody() {
    let write = builtin_write("Service", "kubectl", "2026-01-01T00:00:00Z");
    let mut service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "labels": {"a": "b"}},
        "spec": {"type": "ClusterIP"}, "status": {"loadBalancer": {}},
    });
    update(&write, None, &mut service);
    let expected =
        json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}}}, "f:spec": {"f:type": {}}});
    assert_eq!(
        service["metadata"]["managedFields"][0]["fieldsV1"],
        expected
    );
}

#[test]
fn an_update_that_changes_nothing_leaves_the_time() {
    let write = |now| builtin_write("ConfigMap", "m", now);
    let mut live = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}, "data": {"a": "1"}});
    update(&write("2026-01-01T00:00:00Z"), None, &mut live);
    live["metadata"]["resourceVersion"] = "5".into();
    let mut same = live.clone();
    same["metadata"]
        .as_object_mut()
        .expect("metadata")
        .remove("resourceVersion");
    update(&write("2026-01-02T00:00:00Z"), Some(&live), &mut same);
    assert_eq!(
        same["metadata"]["managedFields"],
        live["metadata"]["managedFields"]
    );
}

#[test]
fn several_conflicts_are_listed_by_manager() {
    let write = |manager| builtin_write("ConfigMap", manager, "2026-01-01T00:00:00Z");
    let patch = |a: &str, b: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}, "data": {"a": a, "b": b}});
    let live = apply(&write("one"), None, &patch("1", "1"), false)
        .expect("a new object")
        .object;
    let error = apply(&write("two"), Some(&live), &patch("2", "2"), false).expect_err("a conflict");
    assert_eq!(
        error.to_string(),
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .data.a\n- .data.b"
    );
}

fn config_maps() -> impl Strategy<Value = Value> {
    let data = prop::collection::btree_map("[abcd]", "[12]", 0..4);
    let finalizers = prop::collection::btree_set("[xyz]", 0..3);
    (data, finalizers).prop_map(|(data, finalizers)| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s", "finalizers": finalizers}, "data": data})
    })
}

fn owned_by(object: &Value, manager: &str) -> FieldSet {
    let managers =
        Managers::decode(object.pointer("/metadata/managedFields")).expect("valid managers");
    let own = managers.0.iter().filter(|(found, _)| found.name == manager);
    own.fold(FieldSet::default(), |all, (_, owned)| {
        all.union(&owned.fields)
    })
}

proptest! {
    #[test]
    fn applying_twice_changes_nothing(first in config_maps(), second in config_maps()) {
        let write = |manager, now| builtin_write("ConfigMap", manager, now);
        let live = apply(&write("one", "2026-01-01T00:00:00Z"), None, &first, false).expect("a new object").object;
        let once = apply(&write("two", "2026-01-01T00:00:01Z"), Some(&live), &second, true).expect("forced").object;
        let twice = apply(&write("two", "2026-01-01T00:00:02Z"), Some(&once), &second, false).expect("nothing to fight about");
        prop_assert!(!twice.changed);
        prop_assert_eq!(twice.object, once);
    }

    #[test]
    fn what_was_applied_is_there_and_owned(first in config_maps(), second in config_maps()) {
        let write = |manager| builtin_write("ConfigMap", manager, "2026-01-01T00:00:00Z");
        let live = apply(&write("one"), None, &first, false).expect("a new object").object;
        let after = apply(&write("two"), Some(&live), &second, true).expect("forced").object;
        let wanted = strip(&to_set(write("two").schema, &second));
        prop_assert_eq!(owned_by(&after, "two"), wanted);
        prop_assert_eq!(merge(write("two").schema, &after, &second), after);
    }

    #[test]
    fn forcing_takes_exactly_the_fields_that_change(first in config_maps(), second in config_maps()) {
        let write = |manager| builtin_write("ConfigMap", manager, "2026-01-01T00:00:00Z");
        let live = apply(&write("one"), None, &first, false).expect("a new object").object;
        let after = apply(&write("two"), Some(&live), &second, true).expect("forced").object;
        let changes = compare(write("two").schema, &without_managers(&live), &without_managers(&after));
        prop_assert!(owned_by(&after, "one").intersection(&changes.modified).is_empty());
        prop_assert_eq!(owned_by(&live, "one").difference(&changes.modified), owned_by(&after, "one"));
    }

    #[test]
    fn dropping_everything_leaves_what_others_named(first in config_maps(), second in config_maps()) {
        let write = |manager| builtin_write("ConfigMap", manager, "2026-01-01T00:00:00Z");
        let nothing = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "s"}});
        let live = apply(&write("one"), None, &first, false).expect("a new object").object;
        let both = apply(&write("two"), Some(&live), &second, true).expect("forced").object;
        let after = apply(&write("two"), Some(&both), &nothing, false).expect("dropping conflicts with nobody").object;
        prop_assert!(owned_by(&after, "two").is_empty());
        let schema = write("one").schema;
        let left = strip(&to_set(schema, &without_managers(&after)));
        let ones = owned_by(&after, "one");
        prop_assert!(left.paths().iter().all(|path| ones.has(path)));
    }

    #[test]
    fn removing_what_was_added_gives_the_old_value_back(first in config_maps(), second in config_maps()) {
        let schema = builtin_write("ConfigMap", "one", "").schema;
        let changes = compare(schema, &first, &second);
        prop_assert_eq!(changes.is_same(), first == second);
        let reverse = compare(schema, &second, &first);
        prop_assert_eq!(changes.added, reverse.removed);
        prop_assert_eq!(changes.modified, reverse.modified);
    }
}
