use super::*;
use crate::names::PodPlace;
use crate::observe::{Observed, Pod};
use crate::plan::ShardFinding;
use crate::slots::SlotSet;
use serde_json::json;

fn cluster(shards: i32) -> CacheCluster {
    serde_json::from_value(json!({
        "apiVersion": "cache.evenkeel.dev/v1alpha1", "kind": "CacheCluster",
        "metadata": {"name": "a", "namespace": "n", "generation": 3}, "spec": {"shards": shards}}))
    .unwrap()
}

fn healthy_plan(shards: u32) -> Plan {
    let findings = Findings {
        formed: true,
        quorum: true,
        slots_owned: SLOT_COUNT,
        slots_served: SLOT_COUNT,
        shards: (0..shards)
            .map(|index| ShardFinding {
                index,
                primary: Some(PodPlace {
                    shard: index,
                    ordinal: 0,
                }),
                replicas: vec![PodPlace {
                    shard: index,
                    ordinal: 1,
                }],
                slots: SlotSet::new(),
                health: Health::Healthy,
                message: String::new(),
            })
            .collect(),
        ..Findings::default()
    };
    Plan {
        pods: (0..shards).map(|index| (index, 2)).collect(),
        findings,
        ..Plan::default()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

#[test]
fn a_healthy_cluster_is_ready_and_its_status_does_not_change_with_time() {
    let mut cluster = cluster(3);
    let first = status(&cluster, &healthy_plan(3), at(1));
    assert_eq!(first.phase, Phase::Ready);
    assert_eq!((first.ready_shards, first.slots_covered), (3, 16_384));
    assert_eq!(first.shard_status[1].primary, "a-s1-0");
    cluster.status = Some(first.clone());
    assert_eq!(status(&cluster, &healthy_plan(3), at(1000)), first);
    assert!(notices(&first, &first).is_empty());
}

#[test]
fn the_time_of_a_condition_changes_only_with_its_status() {
    let mut cluster = cluster(3);
    cluster.status = Some(status(&cluster, &healthy_plan(3), at(1)));
    let mut plan = healthy_plan(3);
    plan.findings.slots_served = 5;
    plan.findings.shards[1].health = Health::Down;
    let after = status(&cluster, &plan, at(1000));
    let time = |type_: &str| {
        let condition = after
            .conditions
            .iter()
            .find(|condition| condition.type_ == type_);
        condition.unwrap().last_transition_time.0
    };
    assert_eq!((time("Ready"), time("Rebalanced")), (at(1000), at(1)));
    assert_eq!(after.phase, Phase::Degraded);
}

#[test]
fn of_nodes_that_run_and_are_not_reached_nothing_is_said_but_that() {
    let mut cluster = cluster(2);
    let mut plan = healthy_plan(2);
    plan.findings.slots_to_move = 100;
    let before = status(&cluster, &plan, at(1));
    cluster.status = Some(before.clone());

    let place = |shard| PodPlace { shard, ordinal: 0 };
    let pod = Pod {
        ip: Some("10.0.0.1".to_owned()),
        running: true,
        ..Pod::default()
    };
    let observed = Observed {
        pods: (0..2).map(|shard| (place(shard), pod.clone())).collect(),
        shards: (0..2).map(|shard| (shard, 2)).collect(),
        ..Observed::default()
    };
    let plan = crate::plan::plan(&desired(&cluster), &observed);
    assert_eq!((plan.steps, &plan.pods), (vec![], &observed.shards));
    let plan = crate::plan::plan(&desired(&cluster), &observed);
    let after = status(&cluster, &plan, at(2));
    assert_eq!(after.phase, Phase::Degraded);
    assert_eq!(after.rebalance, before.rebalance);
    let of = |type_| after.conditions.iter().find(|one| one.type_ == type_);
    for type_ in [
        "Ready",
        "Available",
        "SlotsCovered",
        "Rebalanced",
        "QuorumHealthy",
    ] {
        let condition = of(type_).unwrap();
        assert_eq!(condition.status, "Unknown", "{type_}");
        assert_eq!(condition.reason, "NodesNotReached", "{type_}");
    }
    assert_eq!(of("Progressing").unwrap().reason, "Waiting");
    let news = notices(&before, &after);
    assert!(news[0].note.contains("no node answers"), "{news:?}");
}

#[test]
fn progress_is_told_against_what_was_planned() {
    let findings = |slots_to_move| Findings {
        slots_to_move,
        ..Findings::default()
    };
    let begun = rebalance(None, &findings(100)).unwrap();
    assert_eq!((begun.planned_slots, begun.moved_slots), (100, 0));
    let going = rebalance(Some(&begun), &findings(60)).unwrap();
    assert_eq!((going.planned_slots, going.moved_slots), (100, 40));
    let back = rebalance(Some(&going), &findings(80)).unwrap();
    assert_eq!((back.planned_slots, back.moved_slots), (120, 40));
    let done = rebalance(Some(&back), &findings(0)).unwrap();
    assert_eq!((done.planned_slots, done.moved_slots), (120, 120));
    assert_eq!(rebalance(None, &findings(0)), None);
}

#[test]
fn events_tell_the_story_of_a_cluster_once() {
    let pending = CacheClusterStatus::default();
    let reasons = |before: &CacheClusterStatus, after: &CacheClusterStatus| -> Vec<&str> {
        notices(before, after)
            .iter()
            .map(|notice| notice.reason)
            .collect()
    };
    let mut cluster = cluster(3);
    let ready = status(&cluster, &healthy_plan(3), at(1));
    assert_eq!(reasons(&pending, &ready), ["Ready"]);
    cluster.spec.shards = 5;
    let mut plan = healthy_plan(5);
    plan.findings.slots_to_move = 10;
    cluster.status = Some(ready.clone());
    let scaling = status(&cluster, &plan, at(2));
    assert_eq!(reasons(&ready, &scaling), ["ScalingOut"]);
    cluster.status = Some(scaling.clone());
    let done = status(&cluster, &healthy_plan(5), at(3));
    assert_eq!(reasons(&scaling, &done), ["Ready", "SlotsMoved"]);
}

#[test]
fn long_texts_are_cut_between_characters() {
    assert!(shorten(&"ä".repeat(2000)).len() <= TEXT + 4);
}
