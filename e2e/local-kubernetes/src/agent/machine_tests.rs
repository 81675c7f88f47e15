//! Tests of the pod machine.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals read better by value"
)]
fn machine(spec: Value) -> Machine {
    let pod: Pod = serde_json::from_value(
        json!({"metadata": {"name": "db-0", "namespace": "t", "uid": "u"}, "spec": spec}),
    )
    .expect("a Pod");
    Machine::new(&pod, BackoffPolicy::default())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn ended(exit_code: i32, from: i64, to: i64) -> Ended {
    let reason = if exit_code == 0 { "Completed" } else { "Error" };
    Ended {
        id: "run".into(),
        exit_code,
        reason,
        message: None,
        started: Some(at(from)),
        finished: at(to),
    }
}

/// Effects without events.
fn deeds(effects: Vec<Effect>) -> Vec<Effect> {
    effects
        .into_iter()
        .filter(|effect| !matches!(effect, Effect::Event { .. }))
        .collect()
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "literals read better by value"
)]
fn one(extra: Value) -> Machine {
    let mut container = json!({"name": "c"});
    container
        .as_object_mut()
        .expect("an object")
        .extend(extra.as_object().expect("an object").clone());
    machine(json!({"containers": [container], "terminationGracePeriodSeconds": 5}))
}

#[test]
fn init_containers_run_one_after_the_other_before_the_main_ones() {
    let mut machine = machine(
        json!({"initContainers": [{"name": "a"}, {"name": "b"}], "containers": [{"name": "c"}, {"name": "d"}]}),
    );
    assert_eq!(machine.prepared(), [Effect::Start(0)]);
    machine.started(0, "run".into(), at(0));
    assert_eq!(machine.phase(), "Pending");
    assert_eq!(machine.exited(0, ended(0, 0, 1)), [Effect::Start(1)]);
    machine.started(1, "run".into(), at(1));
    assert_eq!(
        machine.exited(1, ended(0, 1, 2)),
        [Effect::Start(2), Effect::Start(3)]
    );
    machine.started(2, "run".into(), at(2));
    machine.started(3, "run".into(), at(2));
    assert!(
        machine.is_initialized() && machine.phase() == "Running" && machine.containers[2].ready
    );
}

#[test]
fn a_crashing_container_restarts_at_once_then_backs_off() {
    let mut machine = one(json!({}));
    machine.prepared();
    machine.started(0, "run".into(), at(0));
    assert_eq!(deeds(machine.exited(0, ended(1, 0, 1))), [Effect::Start(0)]);
    machine.started(0, "run2".into(), at(1));
    let effects = machine.exited(0, ended(1, 1, 2));
    assert!(
        matches!(&effects[0], Effect::Event { reason: "BackOff", message, .. } if message == "Back-off restarting failed container c in pod db-0_t(u)")
    );
    assert!(
        matches!(&machine.containers[0].phase, Phase::Waiting { reason: "CrashLoopBackOff", message: Some(text), .. } if text == "back-off 10s restarting failed container=c pod=db-0_t(u)")
    );
    assert_eq!(
        (machine.next_wake(), machine.phase()),
        (Some(at(12)), "Running")
    );
    assert_eq!(machine.tick(at(11)), []);
    assert_eq!(machine.tick(at(12)), [Effect::Start(0)]);
    machine.started(0, "run3".into(), at(12));
    assert_eq!(machine.containers[0].restarts, 2);
    assert_eq!(
        machine.containers[0]
            .last
            .as_ref()
            .map(|last| last.exit_code),
        Some(1)
    );
}

#[test]
fn readiness_follows_thresholds_and_startup_comes_first() {
    let mut machine = one(
        json!({"startupProbe": {"failureThreshold": 2}, "readinessProbe": {"failureThreshold": 2}, "livenessProbe": {}}),
    );
    machine.prepared();
    assert_eq!(
        deeds(machine.started(0, "run".into(), at(0))),
        [Effect::Probe(0, ProbeKind::Startup)]
    );
    let effects = machine.probed(0, ProbeKind::Startup, &Err("no".into()), at(1));
    assert!(
        matches!(&effects[..], [Effect::Event { reason: "Unhealthy", message, .. }] if message == "Startup probe failed: no")
    );
    assert_eq!(
        deeds(machine.probed(0, ProbeKind::Startup, &Ok(()), at(2))),
        [
            Effect::Probe(0, ProbeKind::Liveness),
            Effect::Probe(0, ProbeKind::Readiness)
        ]
    );
    assert!(!machine.containers[0].ready);
    machine.probed(0, ProbeKind::Readiness, &Ok(()), at(3));
    machine.probed(0, ProbeKind::Readiness, &Err("no".into()), at(4));
    assert!(machine.containers[0].ready, "one failure is not enough");
    machine.probed(0, ProbeKind::Readiness, &Err("no".into()), at(5));
    assert!(!machine.containers[0].ready);
}

#[test]
fn a_failed_liveness_probe_stops_the_container_and_kills_it_after_the_grace() {
    let mut machine = one(json!({"livenessProbe": {"failureThreshold": 1}}));
    machine.prepared();
    machine.started(0, "run".into(), at(0));
    assert_eq!(
        deeds(machine.probed(0, ProbeKind::Liveness, &Err("no".into()), at(1))),
        [Effect::Stop(0, 5)]
    );
    assert_eq!(
        deeds(machine.probed(0, ProbeKind::Liveness, &Err("no".into()), at(2))),
        [],
        "stopped once"
    );
    assert_eq!(machine.tick(at(6)), [Effect::Kill(0)]);
    assert_eq!(
        deeds(machine.exited(0, ended(137, 0, 6))),
        [Effect::Start(0)]
    );
}

#[test]
fn a_deleted_pod_stops_gracefully_and_a_shorter_grace_is_honoured() {
    let mut machine = one(json!({"readinessProbe": {}}));
    machine.prepared();
    machine.started(0, "run".into(), at(0));
    assert_eq!(deeds(machine.stop(30, at(10))), [Effect::Stop(0, 30)]);
    assert_eq!(
        machine.stop(60, at(11)),
        [],
        "a longer time changes nothing"
    );
    assert_eq!(machine.next_wake(), Some(at(40)));
    assert_eq!(machine.stop(0, at(12)), [Effect::Kill(0)]);
    assert_eq!(machine.exited(0, ended(137, 0, 12)), []);
    assert!(machine.is_finished());
    assert_eq!(machine.phase(), "Failed");
}

#[test]
fn a_pod_that_ends_well_when_stopped_has_succeeded() {
    let mut machine = one(json!({}));
    machine.prepared();
    machine.started(0, "run".into(), at(0));
    machine.stop(5, at(1));
    machine.exited(0, ended(0, 0, 2));
    assert_eq!(machine.phase(), "Succeeded");
}

#[test]
fn a_start_that_is_under_way_when_the_pod_stops_is_stopped_as_soon_as_it_is_there() {
    let mut machine = one(json!({}));
    machine.prepared();
    assert_eq!(deeds(machine.stop(5, at(0))), []);
    assert_eq!(
        deeds(machine.started(0, "run".into(), at(1))),
        [Effect::Stop(0, 4)]
    );
}

#[test]
fn what_cannot_start_yet_is_tried_again() {
    let mut machine = one(json!({}));
    machine.prepared();
    machine.postponed(
        0,
        "CreateContainerConfigError",
        "configmap \"m\" not found".into(),
        at(0),
    );
    assert_eq!(
        (machine.next_wake(), machine.phase()),
        (Some(at(10)), "Pending")
    );
    assert_eq!(machine.tick(at(10)), [Effect::Start(0)]);
    machine.started(0, "run".into(), at(10));
    assert_eq!(machine.containers[0].restarts, 0);
}

#[test]
fn restart_policies_decide_what_a_finished_pod_is() {
    for (policy, code, phase) in [
        ("Never", 0, "Succeeded"),
        ("Never", 1, "Failed"),
        ("OnFailure", 0, "Succeeded"),
    ] {
        let mut machine = machine(json!({"restartPolicy": policy, "containers": [{"name": "c"}]}));
        machine.prepared();
        machine.started(0, "run".into(), at(0));
        assert_eq!(deeds(machine.exited(0, ended(code, 0, 1))), []);
        assert_eq!(machine.phase(), phase, "{policy} {code}");
    }
}

proptest! {
    /// Whatever happens before, a stopped pod is finished once its processes have ended and no later than its kill.
    #[test]
    fn a_stopped_pod_always_finishes(steps in proptest::collection::vec((0..5u8, 0..3usize, any::<bool>()), 0..40), grace in 0..20i64) {
        let mut machine = machine(json!({"initContainers": [{"name": "i"}], "containers": [{"name": "c", "livenessProbe": {"failureThreshold": 1}}, {"name": "d"}]}));
        let mut now = 0;
        let mut pending = machine.prepared();
        for (what, index, good) in steps {
            now += 1;
            let effects = match what {
                0 => machine.tick(at(now)),
                1 if machine.containers[index].phase == Phase::Starting => machine.started(index, "run".into(), at(now)),
                2 if machine.containers[index].is_running() => machine.exited(index, ended(i32::from(!good), now - 1, now)),
                3 => machine.probed(index, ProbeKind::Liveness, &if good { Ok(()) } else { Err("no".into()) }, at(now)),
                4 if machine.containers[index].phase == Phase::Starting => machine.postponed(index, "CreateContainerConfigError", "no".into(), at(now)),
                _ => Vec::new(),
            };
            let init_done = machine.is_initialized();
            for effect in &effects {
                if let Effect::Start(index) = effect {
                    prop_assert!(machine.containers[*index].init || init_done);
                }
            }
            pending.extend(effects);
        }
        machine.stop(grace, at(now));
        for index in 0..3 {
            if machine.containers[index].phase == Phase::Starting {
                machine.started(index, "run".into(), at(now));
            }
        }
        let killed = machine.tick(at(now + grace));
        for index in 0..3 {
            if machine.containers[index].is_running() {
                prop_assert!(killed.contains(&Effect::Kill(index)) || machine.containers[index].kill_at.is_none());
                machine.exited(index, ended(137, now, now));
            }
        }
        prop_assert!(machine.is_finished());
        prop_assert_eq!(machine.next_wake(), None);
    }
}
