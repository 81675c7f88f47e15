//! Tests of the StatefulSet plan: transcripts' situations, and a simulated cluster that must converge.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::controllers::pods::fixtures::{pod, terminating};

const SAME: Revisions<'_> = Revisions {
    current: "a",
    update: "a",
};
const CHANGED: Revisions<'_> = Revisions {
    current: "a",
    update: "b",
};

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals read better by value"
)]
fn set(replicas: i32, policy: &str, strategy: serde_json::Value) -> StatefulSet {
    serde_json::from_value(json!({
        "metadata": {"name": "db", "namespace": "t", "uid": "u", "generation": 4},
        "spec": {"replicas": replicas, "podManagementPolicy": policy, "updateStrategy": strategy, "selector": {}, "template": {}},
    }))
    .expect("a StatefulSet")
}

fn on_delete() -> serde_json::Value {
    json!({"type": "OnDelete"})
}

fn rolling(partition: i32) -> serde_json::Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"partition": partition}})
}

fn member(ordinal: i32, revision: &str, ready: bool) -> Pod {
    let mut pod = pod(
        &format!("db-{ordinal}"),
        if ready { "Running" } else { "Pending" },
        ready,
    );
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(REVISION_LABEL.into(), revision.into());
    pod
}

fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH
}

fn create(ordinal: i32, template: Template) -> Step {
    Step::Create { ordinal, template }
}

fn delete_step(ordinal: i32) -> Step {
    Step::Delete {
        name: format!("db-{ordinal}"),
        uid: format!("uid-db-{ordinal}"),
    }
}

#[test]
fn parallel_creates_all_at_once_and_ordered_one_by_one() {
    let all = plan(&set(3, "Parallel", on_delete()), &[], SAME, now());
    assert_eq!(
        all,
        [0, 1, 2].map(|ordinal| create(ordinal, Template::Update))
    );
    let ordered = set(3, "OrderedReady", on_delete());
    assert_eq!(
        plan(&ordered, &[], SAME, now()),
        [create(0, Template::Update)]
    );
    assert_eq!(plan(&ordered, &[member(0, "a", false)], SAME, now()), []);
    assert_eq!(
        plan(&ordered, &[member(0, "a", true)], SAME, now()),
        [create(1, Template::Update)]
    );
}

#[test]
fn surplus_pods_go_from_the_top() {
    let pods: Vec<_> = (0..4).map(|ordinal| member(ordinal, "a", true)).collect();
    assert_eq!(
        plan(&set(2, "Parallel", on_delete()), &pods, SAME, now()),
        [delete_step(3), delete_step(2)]
    );
    assert_eq!(
        plan(&set(2, "OrderedReady", on_delete()), &pods, SAME, now()),
        [delete_step(3)]
    );
}

#[test]
fn a_failed_pod_is_deleted_so_that_it_can_be_recreated() {
    let mut failed = member(0, "a", false);
    failed.status.as_mut().expect("a status").phase = Some("Failed".into());
    assert_eq!(
        plan(
            &set(1, "Parallel", on_delete()),
            std::slice::from_ref(&failed),
            SAME,
            now()
        ),
        [delete_step(0)]
    );
    assert_eq!(
        plan(
            &set(1, "Parallel", on_delete()),
            &[terminating(failed)],
            SAME,
            now()
        ),
        []
    );
}

#[test]
fn on_delete_leaves_old_pods_and_gives_new_ones_the_new_template() {
    let set = set(2, "Parallel", on_delete());
    let both = [member(0, "a", true), member(1, "a", true)];
    assert_eq!(plan(&set, &both, CHANGED, now()), []);
    let status = super::status(&set, &both, CHANGED, now());
    assert_eq!(
        (status.current_replicas, status.updated_replicas),
        (Some(2), None)
    );
    assert_eq!(
        (
            status.current_revision.as_deref(),
            status.update_revision.as_deref()
        ),
        (Some("a"), Some("b"))
    );
    assert_eq!(
        plan(&set, &both[..1], CHANGED, now()),
        [create(1, Template::Update)]
    );
    let status = super::status(
        &set,
        &[member(0, "a", true), member(1, "b", true)],
        CHANGED,
        now(),
    );
    assert_eq!(
        (
            status.current_replicas,
            status.updated_replicas,
            status.observed_generation
        ),
        (Some(1), Some(1), Some(4))
    );
    assert_eq!(
        status.current_revision.as_deref(),
        Some("a"),
        "OnDelete never completes a revision"
    );
}

#[test]
fn a_rolling_update_goes_down_one_healthy_pod_at_a_time_to_the_partition() {
    let set = set(3, "OrderedReady", rolling(1));
    let pods = |revisions: [&str; 3]| -> Vec<Pod> {
        revisions
            .iter()
            .zip(0..)
            .map(|(revision, ordinal)| member(ordinal, revision, true))
            .collect()
    };
    assert_eq!(
        plan(&set, &pods(["a", "a", "a"]), CHANGED, now()),
        [delete_step(2)]
    );
    assert_eq!(
        plan(&set, &pods(["a", "a", "a"])[..2], CHANGED, now()),
        [create(2, Template::Update)]
    );
    assert_eq!(
        plan(&set, &pods(["a", "a", "b"]), CHANGED, now()),
        [delete_step(1)]
    );
    assert_eq!(plan(&set, &pods(["a", "b", "b"]), CHANGED, now()), []);
    assert_eq!(
        plan(&set, &pods(["a", "b", "b"])[1..], CHANGED, now()),
        [create(0, Template::Current)]
    );
}

#[test]
fn a_finished_rolling_update_completes_the_revision() {
    let set = set(2, "Parallel", rolling(0));
    let status = super::status(
        &set,
        &[member(0, "b", true), member(1, "b", true)],
        CHANGED,
        now(),
    );
    assert_eq!(status.current_revision.as_deref(), Some("b"));
    assert_eq!(
        (status.current_replicas, status.updated_replicas),
        (Some(2), Some(2))
    );
}

#[test]
fn a_set_that_is_being_deleted_plans_nothing() {
    let mut set = set(2, "Parallel", on_delete());
    set.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now()));
    assert_eq!(plan(&set, &[], SAME, now()), []);
}

proptest! {
    /// From any pods, doing the steps (deleted pods vanish, created ones become ready) ends with exactly the wanted pods.
    #[test]
    fn every_start_converges(
        replicas in 0..5i32,
        parallel in any::<bool>(),
        strategy in 0..3usize,
        start in proptest::collection::btree_map(0..8i32, (any::<bool>(), any::<bool>(), any::<bool>()), 0..8),
    ) {
        let strategies = [on_delete(), rolling(0), rolling(2)];
        let set = set(replicas, if parallel { "Parallel" } else { "OrderedReady" }, strategies[strategy].clone());
        let mut pods: BTreeMap<i32, Pod> = start
            .into_iter()
            .map(|(ordinal, (new, ready, going))| {
                let pod = member(ordinal, if new { "b" } else { "a" }, ready);
                (ordinal, if going { terminating(pod) } else { pod })
            })
            .collect();
        for _ in 0..60 {
            let owned: Vec<Pod> = pods.values().cloned().collect();
            let steps = plan(&set, &owned, CHANGED, now());
            // Time passes: what is terminating goes, what exists becomes ready.
            pods.retain(|_, pod| !pods::is_terminating(pod));
            for (ordinal, pod) in &mut pods {
                *pod = member(*ordinal, revision_of(&pod.clone()), true);
            }
            for step in steps {
                match step {
                    Step::Create { ordinal, template } => {
                        let revision = if template == Template::Update { "b" } else { "a" };
                        prop_assert!(pods.insert(ordinal, member(ordinal, revision, false)).is_none());
                    }
                    Step::Delete { name, .. } => pods.retain(|ordinal, _| name != format!("db-{ordinal}")),
                }
            }
        }
        prop_assert_eq!(pods.keys().copied().collect::<Vec<_>>(), (0..replicas).collect::<Vec<_>>());
        if strategy == 1 {
            prop_assert!(pods.values().all(|pod| revision_of(pod) == "b"));
        }
    }
}
