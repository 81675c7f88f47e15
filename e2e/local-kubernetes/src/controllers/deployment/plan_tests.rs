//! Tests of the Deployment plan: a simulated rollout must keep its limits and arrive.

use k8s_openapi::api::apps::v1::ReplicaSetStatus;
use proptest::prelude::*;
use serde_json::json;

use super::*;

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals read better by value"
)]
fn deployment(image: &str, replicas: i32, strategy: serde_json::Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "t", "uid": "u", "generation": 1},
        "spec": {"replicas": replicas, "strategy": strategy, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}}},
    }))
    .expect("a Deployment")
}

/// Does the steps, as an API server with ReplicaSet controllers would see them.
fn apply(sets: &mut Vec<ReplicaSet>, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Create(mut set) => {
                set.metadata.uid = set.metadata.name.clone();
                sets.push(*set);
            }
            Step::Scale { name, to, .. } => {
                let set = sets
                    .iter_mut()
                    .find(|set| set.name_any() == name)
                    .expect("the set exists");
                set.spec.as_mut().expect("a spec").replicas = Some(to);
            }
            Step::Renumber { name, revision } => {
                let set = sets
                    .iter_mut()
                    .find(|set| set.name_any() == name)
                    .expect("the set exists");
                set.metadata
                    .annotations
                    .get_or_insert_default()
                    .insert(REVISION.into(), revision.to_string());
            }
            Step::Delete { name, .. } => sets.retain(|set| set.name_any() != name),
        }
    }
}

fn settle(sets: &mut [ReplicaSet], ready_at_most: i32) {
    for set in sets {
        let (wanted, before) = (size(set), available(set));
        let available = wanted.min(before + ready_at_most);
        set.status = Some(ReplicaSetStatus {
            replicas: wanted,
            available_replicas: Some(available),
            ..ReplicaSetStatus::default()
        });
    }
}

#[test]
fn the_first_rollout_creates_one_replica_set_of_full_size() {
    let steps = plan(&deployment("a", 3, json!({})), &[]);
    let [Step::Create(set)] = steps.as_slice() else {
        panic!("one creation expected, got {steps:?}")
    };
    assert_eq!((size(set), revision_of(set)), (3, 1));
    let hash = &set.labels()["pod-template-hash"];
    assert_eq!(set.name_any(), format!("web-{hash}"));
    assert_eq!(
        set.spec
            .as_ref()
            .and_then(|spec| spec.selector.match_labels.as_ref())
            .expect("a selector")["pod-template-hash"],
        *hash
    );
}

#[test]
fn recreate_waits_until_the_old_pods_are_gone() {
    let strategy = json!({"type": "Recreate"});
    let mut sets = Vec::new();
    apply(&mut sets, plan(&deployment("a", 2, strategy.clone()), &[]));
    settle(&mut sets, 2);
    let next = deployment("b", 2, strategy);
    let steps = plan(&next, &sets);
    assert!(
        matches!(steps.as_slice(), [Step::Scale { to: 0, .. }]),
        "{steps:?}"
    );
    apply(&mut sets, steps);
    assert_eq!(plan(&next, &sets), [], "old pods are still there");
    settle(&mut sets, 2);
    assert!(matches!(plan(&next, &sets).as_slice(), [Step::Create(_)]));
}

#[test]
fn a_rollback_uses_the_old_replica_set_under_a_new_number() {
    let mut sets = Vec::new();
    for image in ["a", "b", "a"] {
        for _ in 0..10 {
            let steps = plan(&deployment(image, 1, json!({})), &sets);
            apply(&mut sets, steps);
            settle(&mut sets, 1);
        }
    }
    assert_eq!(sets.len(), 2);
    let newest = newest(&deployment("a", 1, json!({})), &sets).expect("the first set");
    assert_eq!((revision_of(newest), size(newest)), (3, 1));
}

proptest! {
    #[test]
    fn a_rolling_update_keeps_its_limits_and_arrives(replicas in 1..8i32, surge in 0..4i32, unavailable in 0..4i32, pace in 1..4i32) {
        let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}});
        let (first, second) = (deployment("a", replicas, strategy.clone()), deployment("b", replicas, strategy));
        let (surge, unavailable) = limits(second.spec.as_ref().expect("a spec"));
        let mut sets = Vec::new();
        apply(&mut sets, plan(&first, &[]));
        settle(&mut sets, replicas);
        for _ in 0..60 {
            let steps = plan(&second, &sets);
            apply(&mut sets, steps);
            prop_assert!(sets.iter().map(size).sum::<i32>() <= replicas + surge);
            prop_assert!(sets.iter().map(|set| available(set).min(size(set))).sum::<i32>() >= replicas - unavailable);
            settle(&mut sets, pace);
        }
        let sizes: Vec<_> = sets.iter().map(|set| (revision_of(set), size(set))).collect();
        prop_assert_eq!(sizes, vec![(1, 0), (2, replicas)]);
    }
}
